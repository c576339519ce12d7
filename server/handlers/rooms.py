"""Rooms: who is in them, who owns them, what they are called."""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import protocol
from protocol import (
    AddUserToRoom,
    CreateRoom,
    DeleteRoom,
    ErrorCode,
    GetRooms,
    GetRoomUsers,
    JoinRoom,
    LeaveRoom,
    Refusal,
    RemoveUserFromRoom,
    RenameRoom,
)
from server.base.frame_sizes import members_named
from server.base.logs import printable, room_words
from server.base.refusals import no_such_room
from server.handlers.context import Context
from server.handlers.named_users import no_such_user, user_named
from server.handlers.pages import Page, answer_page, readable_room
from server.handlers.room_access import check_may_speak, check_room_share, check_share
from server.handlers.sessions import check_current, wait_for_predecessors
from server.handlers.table import handles_for_session
from server.state.registry import Registry
from server.state.room_directory import RoomState
from server.state.session import Session
from server.writing.delivery import Delivery
from storage import accounts, acts, rooms, shares
from storage.accounts import Account

log: Final = logging.getLogger("server.rooms")
LOBBY: Final = "lobby"
"""The open room in which every client begins: nobody deletes it."""
T = TypeVar("T")


@handles_for_session(CreateRoom)
def create_room(context: Context, session: Session, request: CreateRoom) -> bytes:
    """Make a private room, with an id nobody can guess."""
    room_id = protocol.PRIVATE_ROOM_PREFIX + secrets.token_hex(16)  # 128 random bits

    policy = context.settings.private_rooms
    if policy == "teachers" and not session.is_teacher:
        raise Refusal(ErrorCode.FORBIDDEN, "create_room: only teachers make rooms on this server")
    with context.database.reading() as reader:
        invited = _account_ids(reader, request.participants)

    def change(connection: sqlite3.Connection) -> frozenset[int]:
        check_current(connection, session)
        check_may_speak(context.restrictions, session, None, writing=True)
        watchers = accounts.teachers(connection) if policy == "with-teacher" else []
        members = frozenset({session.account_id, *invited, *watchers})
        context.disk_space.check()
        check_room_share(connection, context.settings.max_rooms, session.account_id)
        size = shares.ROOM_BYTES + len(members) * shares.MEMBER_BYTES
        check_share(connection, context.settings, session.account_id, size)
        context.rooms.begin_change(room_id)
        rooms.create_private(
            connection,
            room_id,
            request.room_name,
            session.account_id,
            invited,
            context.wall_clock.seconds(),
            watchers,
        )
        return members

    def tell(members: frozenset[int], delivery: Delivery) -> None:
        delivery.event("room_created", members, room_id=room_id, name=request.room_name)

    context.writer.run(change, tell)
    words = room_words(room_id, request.room_name)
    log.info("room made: %s by %s", words, printable(session.chatid))
    return protocol.build("room_created", {"room_id": room_id}, request_id=request.request_id)


def _account_ids(reader: sqlite3.Connection, chatids: Iterable[str]) -> list[int]:
    """Return the accounts of these names. They hold on the writer's thread, too: a name is never
    given to another account, and the rooms of a deleted one don't count it."""
    folded = {protocol.fold_chatid(chatid): chatid for chatid in chatids}
    found = accounts.active_ids(reader, folded)
    for name, chatid in folded.items():
        if name not in found:
            raise no_such_user(chatid, "data.participants")
    return list(found.values())


@handles_for_session(GetRooms)
def get_rooms(context: Context, session: Session, request: GetRooms) -> bytes:
    """Answer every room that exists for the user, with what is unread in it."""
    wait_for_predecessors(session, context.clock)  # what was read there counts

    def make(reader: sqlite3.Connection) -> bytes:
        names = Names(reader, members_named(context.settings))
        page = Page(context.settings, request.limit)
        for room in rooms.visible(reader, session.account_id, request.after, protocol.MAX_ELEMENTS):
            if not page.add(described(reader, session, room, names)):
                break
        return protocol.build_list(
            "rooms_list",
            {"has_more": page.has_more},
            "rooms",
            page.entries,
            request_id=request.request_id,
        )

    return answer_page(context, session, make)


class Names:
    """The first members of rooms, as many as a list of rooms names, and one more. Those of an open
    room that nobody has left are everybody's, read once for all rooms."""

    def __init__(self, reader: sqlite3.Connection, most: int) -> None:
        self._reader, self.most = reader, most
        self._everybody: list[str] | None = None

    def of(self, room: rooms.Room) -> list[str]:
        """Return the names of the room's first members, sorted."""
        if room.private or rooms.departed_ids(self._reader, room.pk):
            return list(rooms.member_chatids(self._reader, room, None, self.most + 1))
        if self._everybody is None:
            first = accounts.page(self._reader, None, self.most + 1)
            self._everybody = [account.chatid for account in first]
        return self._everybody


def described(
    reader: sqlite3.Connection, session: Session, room: rooms.Room, names: Names
) -> dict[str, Any]:
    """Return the entry of a room in a list of rooms, as the session's user sees it. How far that
    has read is in the session before it is stored."""
    owner = None if room.owner is None else accounts.by_id(reader, room.owner)
    read_to = session.marks.get(room.pk, 0)
    overview = rooms.overview(reader, room.pk, session.account_id, read_to)
    members = names.of(room)
    return {
        "id": room.room_id,
        "name": room.name,
        "owner": None if owner is None else owner.chatid,
        "private": room.private,
        "members": members[: names.most],
        "has_more": len(members) > names.most,
        "unread": overview.unread,
        "last_message_id": overview.last_message_id,
        "read_only": room.read_only,
        "uploads": room.uploads,
    }


@handles_for_session(GetRoomUsers)
def get_room_users(context: Context, session: Session, request: GetRoomUsers) -> bytes:
    """Answer who is in a room, page by page."""

    def make(reader: sqlite3.Connection) -> bytes:
        room = readable_room(reader, request.room_id, session.account_id)
        page = Page(context.settings, request.limit)
        every_teacher, teachers = set(accounts.teachers(reader).values()), []
        for chatid in rooms.member_chatids(reader, room, request.after, protocol.MAX_ELEMENTS):
            is_teacher = chatid in every_teacher
            if not page.add(chatid, *[chatid] * is_teacher):
                break
            teachers += [chatid] * is_teacher
        data = {
            "room_id": room.room_id,
            "room_name": room.name,
            "teachers": teachers,
            "has_more": page.has_more,
        }
        return protocol.build_list(
            "room_users_list", data, "users", page.entries, request_id=request.request_id
        )

    return answer_page(context, session, make)


@handles_for_session(JoinRoom)
def join_room(context: Context, session: Session, request: JoinRoom) -> bytes:
    """Hear an open room again. In a private room nothing is left to do: the user is there
    already."""
    room = context.rooms.visible(request.room_id, session.account_id)
    if session.account_id in room.departed:
        _change_room(
            context,
            session,
            request.room_id,
            lambda c, state: rooms.rejoin(c, state.room.pk, session.account_id),
        )
    return protocol.build(
        "room_joined", {"room_id": request.room_id}, request_id=request.request_id
    )


@handles_for_session(LeaveRoom)
def leave_room(context: Context, session: Session, request: LeaveRoom) -> bytes:
    """Hear an open room no more; leave a private one for good."""

    def change(connection: sqlite3.Connection, state: RoomState) -> RoomState:
        if not state.room.private:
            rooms.depart(connection, state.room.pk, session.account_id)
        elif state.room.owner == session.account_id:
            raise Refusal(
                ErrorCode.FORBIDDEN,
                "data.room_id: the owner can't leave a private room, only delete it (delete_room)",
            )
        else:
            rooms.remove_member(connection, state.room.pk, session.account_id)
        return state

    def tell(state: RoomState, delivery: Delivery) -> None:
        if state.room.private:
            _break_off_downloads(context.registry, request.room_id, [session.account_id])
            delivery.event(
                "user_removed", state.members, room_id=request.room_id, chatid=session.chatid
            )

    _change_room(context, session, request.room_id, change, tell)
    return protocol.build("room_left", {"room_id": request.room_id}, request_id=request.request_id)


@handles_for_session(AddUserToRoom)
def add_user_to_room(context: Context, session: Session, request: AddUserToRoom) -> bytes:
    """Take somebody into a private room, for its owner."""
    added: Account

    def change(connection: sqlite3.Connection, state: RoomState) -> set[int] | None:
        nonlocal added
        _check_owner(session, state)
        added = user_named(connection, request.user_to_add, "data.user_to_add")
        if added.id in state.members:
            rooms.add_member(connection, state.room.pk, added.id)  # no longer as a teacher only
            return None
        check_share(connection, context.settings, session.account_id, shares.MEMBER_BYTES)
        rooms.add_member(connection, state.room.pk, added.id)
        shares.add(connection, session.account_id, shares.MEMBER_BYTES)
        return {*state.members, added.id}

    def tell(members: Iterable[int], delivery: Delivery) -> None:
        delivery.event("user_added", members, room_id=request.room_id, chatid=added.chatid)

    _change_room(context, session, request.room_id, change, tell)
    return protocol.build(
        "user_added",
        {"room_id": request.room_id, "user_added": added.chatid},
        request_id=request.request_id,
    )


@handles_for_session(RemoveUserFromRoom)
def remove_user_from_room(context: Context, session: Session, request: RemoveUserFromRoom) -> bytes:
    """Take somebody out of a private room, for its owner."""
    removed: Account

    def change(connection: sqlite3.Connection, state: RoomState) -> Iterable[int]:
        nonlocal removed
        _check_owner(session, state)
        removed = user_named(connection, request.user_to_remove, "data.user_to_remove")
        if removed.id == session.account_id:
            raise Refusal(
                ErrorCode.FORBIDDEN,
                "data.user_to_remove: the owner can't be removed, only delete the room "
                "(delete_room)",
            )
        if context.settings.private_rooms == "with-teacher" and removed.role == protocol.TEACHER:
            raise Refusal(
                ErrorCode.FORBIDDEN,
                "data.user_to_remove: on this server every private room has its teachers",
            )
        if removed.id not in state.members:
            raise Refusal(
                ErrorCode.USER_NOT_FOUND,
                f"data.user_to_remove: {removed.chatid!r} is not in this room",
            )
        rooms.remove_member(connection, state.room.pk, removed.id)
        return state.members

    def tell(members: Iterable[int], delivery: Delivery) -> None:
        _break_off_downloads(context.registry, request.room_id, [removed.id])
        delivery.event("user_removed", members, room_id=request.room_id, chatid=removed.chatid)

    _change_room(context, session, request.room_id, change, tell)
    return protocol.build(
        "user_removed",
        {"room_id": request.room_id, "user_removed": removed.chatid},
        request_id=request.request_id,
    )


@handles_for_session(RenameRoom)
def rename_room(context: Context, session: Session, request: RenameRoom) -> bytes:
    """Give a private room another name, for its owner; its id stays."""
    name = request.new_room_name

    def change(connection: sqlite3.Connection, state: RoomState) -> Iterable[int] | None:
        _check_owner(session, state)
        check_may_speak(context.restrictions, session, state, writing=True)
        if state.room.name == name:
            return None
        rooms.rename(connection, state.room.pk, name)
        return state.members

    def tell(members: Iterable[int], delivery: Delivery) -> None:
        delivery.event("room_renamed", members, room_id=request.room_id, name=name)

    _change_room(context, session, request.room_id, change, tell)
    return protocol.build(
        "room_renamed",
        {"room_id": request.room_id, "new_room_name": name},
        request_id=request.request_id,
    )


@handles_for_session(DeleteRoom)
def delete_room(context: Context, session: Session, request: DeleteRoom) -> bytes:
    """Put a private room out of reach, for its owner, or an open one, for a teacher; the command
    line can bring it back."""

    def change(connection: sqlite3.Connection, state: RoomState) -> RoomState:
        now = context.wall_clock.seconds()
        if session.is_teacher and not state.room.private and request.room_id != LOBBY:
            acts.note(connection, request.ACTION, now, session.account_id, room_pk=state.room.pk)
        else:
            _check_owner(session, state)
        rooms.mark_deleted(connection, state.room.pk, now)
        return state

    def tell(state: RoomState, delivery: Delivery) -> None:
        audience = state.members if state.room.private else None
        # everybody: a teacher may have looked in who is none of the members
        _break_off_downloads(context.registry, request.room_id, None)
        delivery.event("room_deleted", audience, room_id=request.room_id, name=state.room.name)
        words = room_words(request.room_id, state.room.name)
        log.info("room deleted: %s by %s", words, printable(session.chatid))

    _change_room(context, session, request.room_id, change, tell)
    return protocol.build(
        "room_deleted", {"room_id": request.room_id}, request_id=request.request_id
    )


def _break_off_downloads(
    registry: Registry, room_id: str, account_ids: Iterable[int] | None
) -> None:
    """Let nothing more of the room's files go to those who have lost the room (R-ROOM-22), None
    for everybody. The writer's thread only: whoever asked for the change is answered after this."""
    for session in registry.served(account_ids):
        session.downloads.break_off(room_id, no_such_room(room_id))


def _check_owner(session: Session, state: RoomState) -> None:
    if not state.room.private:
        raise Refusal(
            ErrorCode.FORBIDDEN,
            "data.room_id: an open room belongs to nobody, so nobody can change it",
        )
    if state.room.owner != session.account_id:
        raise Refusal(ErrorCode.FORBIDDEN, "data.room_id: only the room's owner may do this")


def _change_room(
    context: Context,
    session: Session,
    room_id: str,
    change: Callable[[sqlite3.Connection, RoomState], T | None],
    tell: Callable[[T, Delivery], None] | None = None,
) -> None:
    """Change a room that exists for the user, on the writer's thread, and tell of it in the order
    of all changes. All rights are checked in there (R-ROOM-22), and nowhere earlier.

    `tell` is called with what `change` returns, but for None: nothing has changed then, so that
    there is nothing to tell (R-EVT-6).
    """

    def apply(connection: sqlite3.Connection) -> T | None:
        check_current(connection, session)
        state = context.rooms.visible(room_id, session.account_id, connection)
        context.rooms.begin_change(room_id)
        return change(connection, state)

    def after(result: T | None, delivery: Delivery) -> None:
        delivery.settle()
        if tell is not None and result is not None:
            tell(result, delivery)

    context.writer.run(apply, after)
