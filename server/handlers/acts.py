"""What teachers do to users and to the class: mute, kick, ban, pause, read-only rooms, and the list
of what was done.

Each act is one change of the writer: the act, what is in force of it, and its row in the audit are
committed together, before it is answered (R-TEACH-5). That only teachers get here, the conversation
has checked.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import protocol
from protocol import (
    BanUser,
    ErrorCode,
    GetAudit,
    HideMessage,
    KickUser,
    MuteUser,
    PauseClass,
    Refusal,
    RemoveFile,
    ResumeClass,
    SetRoom,
    ShowMessage,
    UnbanUser,
    UnmuteUser,
)
from server.base.refusals import no_such_file, no_such_room
from server.handlers.act_news import tell_act, time_or_null
from server.handlers.context import Context
from server.handlers.named_users import user_named
from server.handlers.pages import Page, answer_page
from server.handlers.sessions import check_current
from server.handlers.table import handles_for_session
from server.state.restrictions import Restrictions
from server.state.room_directory import RoomDirectory, RoomState
from server.state.session import Session
from server.writing.delivery import Delivery
from storage import accounts, acts, messages, rooms, uploads
from storage.accounts import Account
from storage.acts import BAN, CLASS, MUTE, PAUSE, Act, Row

Done = tuple[Act, "RoomState | None"]
"""An act, and the room that it was about, as it is now."""


def do(
    context: Context, session: Session, change: Callable[[sqlite3.Connection, int], Done | None]
) -> None:
    """Do an act in the writer's transaction, and tell of it once it is committed. `change` gets the
    time of day, and returns None where nothing is changed: there is nothing to tell then."""

    def apply(connection: sqlite3.Connection) -> Done | None:
        check_current(connection, session)
        return change(connection, context.wall_clock.seconds())

    def tell(done: Done | None, delivery: Delivery) -> None:
        if done is not None:
            delivery.settle()
            tell_act(context, delivery, *done)

    context.writer.run(apply, tell)


def _student(connection: sqlite3.Connection, name: str) -> Account:
    """Return the account that an act may be about: no teacher's (R-TEACH-12)."""
    account = user_named(connection, name, "data.user")
    if account.role == protocol.TEACHER:
        raise Refusal(
            ErrorCode.FORBIDDEN,
            f"data.user: {account.chatid!r} is a teacher; only the command line can do this",
        )
    return account


def _room(directory: RoomDirectory, connection: sqlite3.Connection, room_id: str) -> RoomState:
    """Return a room, also a private one of others; raises `room_not_found`."""
    state = directory.find(room_id, connection)
    if state is None or state.room.deleted:
        raise no_such_room(room_id)
    return state


@handles_for_session(MuteUser)
def mute_user(context: Context, session: Session, request: MuteUser) -> bytes:
    """Let a student say nothing, for a while or until it is lifted."""
    return _restrict(context, session, request, MUTE, "user_muted")


@handles_for_session(BanUser)
def ban_user(context: Context, session: Session, request: BanUser) -> bytes:
    """End a student's session, and refuse its logins, for a while or until it is lifted."""
    return _restrict(context, session, request, BAN, "user_banned")


def _restrict(
    context: Context, session: Session, request: MuteUser | BanUser, kind: str, reply: str
) -> bytes:
    data: dict[str, Any] = {}

    def change(connection: sqlite3.Connection, now: int) -> Done:
        account = _student(connection, request.user)
        row = _row(kind, account.id, request.seconds, request.reason, now)
        acts.restrict(connection, row)
        context.restrictions.put(row, request.seconds)
        if kind == BAN:
            _end_sessions(context, account.id)
        data.update(user=account.chatid, until=time_or_null(row.ends_at))
        act = acts.note(
            connection,
            request.ACTION,
            now,
            session.account_id,
            user_id=account.id,
            ends_at=row.ends_at,
            reason=request.reason,
        )
        return act, None

    do(context, session, change)
    return protocol.build(reply, data, request_id=request.request_id)


def _row(kind: str, account_id: int, seconds: int, reason: str, now: int) -> Row:
    return Row(kind, account_id, now + seconds if seconds else None, reason)


def _end_sessions(context: Context, account_id: int) -> None:
    for session in context.registry.served([account_id]):
        context.restrictions.end(session)


@handles_for_session(UnmuteUser)
def unmute_user(context: Context, session: Session, request: UnmuteUser) -> bytes:
    """Let a student speak again."""
    return _lift(context, session, request, MUTE, "user_unmuted")


@handles_for_session(UnbanUser)
def unban_user(context: Context, session: Session, request: UnbanUser) -> bytes:
    """Let a student log in again."""
    return _lift(context, session, request, BAN, "user_unbanned")


def _lift(
    context: Context, session: Session, request: UnmuteUser | UnbanUser, kind: str, reply: str
) -> bytes:
    data: dict[str, Any] = {}

    def change(connection: sqlite3.Connection, now: int) -> Done | None:
        account = _student(connection, request.user)
        data.update(user=account.chatid)
        in_force = context.restrictions.find(kind, account.id, writing=True)
        if not lift(context.restrictions, connection, kind, account.id) or in_force is None:
            return None
        by = session.account_id
        return acts.note(connection, request.ACTION, now, by, user_id=account.id), None

    do(context, session, change)
    return protocol.build(reply, data, request_id=request.request_id)


def lift(
    restrictions: Restrictions, connection: sqlite3.Connection, kind: str, account_id: int
) -> bool:
    """End a restriction, in storage and in memory; False where there was none."""
    restrictions.lift(kind, account_id)
    return acts.lift(connection, kind, account_id)


@handles_for_session(KickUser)
def kick_user(context: Context, session: Session, request: KickUser) -> bytes:
    """End a student's session and its key."""
    data: dict[str, Any] = {}

    def change(connection: sqlite3.Connection, now: int) -> Done:
        account = _student(connection, request.user)
        accounts.drop_key(connection, account.id)
        _end_sessions(context, account.id)
        data.update(user=account.chatid)
        by, reason = session.account_id, request.reason
        act = acts.note(connection, request.ACTION, now, by, user_id=account.id, reason=reason)
        return act, None

    do(context, session, change)
    return protocol.build("user_kicked", data, request_id=request.request_id)


@handles_for_session(PauseClass)
def pause_class(context: Context, session: Session, request: PauseClass) -> bytes:
    """Make every room read-only, for a while or until the class is resumed."""
    data: dict[str, Any] = {}

    def change(connection: sqlite3.Connection, now: int) -> Done:
        row = _row(PAUSE, CLASS, request.seconds, request.reason, now)
        acts.restrict(connection, row)
        context.restrictions.put(row, request.seconds)
        data.update(until=time_or_null(row.ends_at))
        act = acts.note(
            connection,
            request.ACTION,
            now,
            session.account_id,
            ends_at=row.ends_at,
            reason=request.reason,
        )
        return act, None

    do(context, session, change)
    return protocol.build("class_paused", data, request_id=request.request_id)


@handles_for_session(ResumeClass)
def resume_class(context: Context, session: Session, request: ResumeClass) -> bytes:
    """End the pause."""

    def change(connection: sqlite3.Connection, now: int) -> Done | None:
        in_force = context.restrictions.find(PAUSE, CLASS, writing=True)
        if not lift(context.restrictions, connection, PAUSE, CLASS) or in_force is None:
            return None
        return acts.note(connection, request.ACTION, now, session.account_id), None

    do(context, session, change)
    return protocol.build("class_resumed", request_id=request.request_id)


@handles_for_session(SetRoom)
def set_room(context: Context, session: Session, request: SetRoom) -> bytes:
    """Say whether students may write in a room, and send files there. A teacher may for any room,
    also for a private one that is not theirs."""
    data: dict[str, Any] = {}

    def change(connection: sqlite3.Connection, now: int) -> Done | None:
        state = _room(context.rooms, connection, request.room_id)
        room = state.room
        read_only = room.read_only if request.read_only is None else request.read_only
        uploads = room.uploads if request.uploads is None else request.uploads
        data.update(room_id=room.room_id, read_only=read_only, uploads=uploads)
        if (read_only, uploads) == (room.read_only, room.uploads):
            return None
        context.rooms.begin_change(room.room_id)
        rooms.set_rules(connection, room.pk, read_only=read_only, uploads=uploads)
        detail = f"read_only: {read_only}, uploads: {uploads}".lower()
        by = session.account_id
        act = acts.note(connection, request.ACTION, now, by, room_pk=room.pk, detail=detail)
        return act, context.rooms.find(room.room_id, connection)

    do(context, session, change)
    return protocol.build("room_set", data, request_id=request.request_id)


@handles_for_session(HideMessage)
def hide_message(context: Context, session: Session, request: HideMessage) -> bytes:
    """Take what a message says out of sight."""
    _set_hidden(context, session, request, True, request.reason)
    data = {"message_id": request.message_id}
    return protocol.build("message_hidden", data, request_id=request.request_id)


@handles_for_session(ShowMessage)
def show_message(context: Context, session: Session, request: ShowMessage) -> bytes:
    """Show a hidden message again."""
    _set_hidden(context, session, request, False, "")
    data = {"message_id": request.message_id}
    return protocol.build("message_shown", data, request_id=request.request_id)


def _set_hidden(
    context: Context,
    session: Session,
    request: HideMessage | ShowMessage,
    hidden: bool,
    reason: str,
) -> None:
    def change(connection: sqlite3.Connection, now: int) -> Done | None:
        message = messages.get(connection, request.message_id)
        if message is None:
            raise Refusal(
                ErrorCode.MESSAGE_NOT_FOUND,
                f"data.message_id: there is no message {request.message_id}",
            )
        if message.is_hidden == hidden:
            return None
        by = session.account_id
        messages.set_hidden(connection, message.id, by if hidden else None)
        act = acts.note(
            connection,
            request.ACTION,
            now,
            by,
            user_id=message.sender_id,
            room_pk=message.room_pk,
            message_id=message.id,
            reason=reason,
        )
        assert act.room_id is not None
        return act, context.rooms.find(act.room_id, connection)

    do(context, session, change)


@handles_for_session(RemoveFile)
def remove_file(context: Context, session: Session, request: RemoveFile) -> bytes:
    """Take a file, all versions of it, out of its room, and delete its bytes."""
    disk_names: list[str] = []

    def change(connection: sqlite3.Connection, now: int) -> Done:
        state = _room(context.rooms, connection, request.room_id)
        file = uploads.newest(connection, state.room.pk, request.file_path)
        if file is None:
            raise no_such_file(request.file_path)
        disk_names.extend(uploads.remove(connection, state.room.pk, file.stored_as, now))
        act = acts.note(
            connection,
            request.ACTION,
            now,
            session.account_id,
            user_id=file.account_id,
            room_pk=state.room.pk,
            file_path=file.stored_as,
        )
        return act, state

    do(context, session, change)
    for disk_name in disk_names:
        context.files.remove(disk_name)
    data = {"room_id": request.room_id, "file_path": request.file_path}
    return protocol.build("file_removed", data, request_id=request.request_id)


@handles_for_session(GetAudit)
def get_audit(context: Context, session: Session, request: GetAudit) -> bytes:
    """Answer what teachers and the command line did, oldest first."""

    def make(reader: sqlite3.Connection) -> bytes:
        page = Page(context.settings, request.limit)
        for act in acts.page(reader, request.after_id, protocol.MAX_ELEMENTS):
            if not page.add(_listed(act)):
                break
        return protocol.build_list(
            "audit_list",
            {"has_more": page.has_more},
            "acts",
            page.entries,
            request_id=request.request_id,
        )

    return answer_page(context, session, make)


def _listed(act: Act) -> dict[str, Any]:
    return {
        "id": act.id,
        "timestamp": protocol.format_time(act.at),
        "by": act.by,
        "act": act.act,
        "user": act.user,
        "room_id": act.room_id,
        "message_id": act.message_id,
        "file_path": act.file_path,
        "until": time_or_null(act.ends_at),
        "reason": act.reason,
        "detail": act.detail,
    }
