"""Rooms, their members and lists."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

from support.reference_server.connection import Connection
from support.reference_server.fields import (
    folded,
)
from support.reference_server.records import Account, Room
from support.reference_server.state import State
from support.reference_server.words import (
    MAX_FRAME,
    Packet,
    Refusal,
)


class Rooms(State):
    """Rooms, their members and lists."""

    def room(self, connection: Connection, room_id: str) -> Room:
        """The room; raises `room_not_found` where it does not exist for this user (R-ROOM-6)."""
        room = self.rooms.get(room_id)
        if room is None or room.deleted or not self.may_read(self.me(connection), room):
            raise Refusal("room_not_found", "there is no such room for you")
        return room

    def may_read(self, account: Account, room: Room) -> bool:
        return not room.deleted and (not room.private or account.name in room.members)

    def room_or_new(self, connection: Connection, room_id: str) -> None:
        """Checks that one may send there: R-ROOM-3, R-ROOM-4, R-ROOM-6."""
        if room_id in self.rooms or room_id.startswith("p-"):
            self.room(connection, room_id)
        else:
            self.check_room_quota(self.me(connection))

    def check_room_quota(self, account: Account) -> None:
        if (
            sum(
                1 for room in self.rooms.values() if room.maker == account.name and not room.deleted
            )
            >= 100
        ):
            raise Refusal("quota_exceeded", "you made 100 rooms")

    def make_open_room(self, account: Account, room_id: str) -> Room:
        """The room for a commit; it is made where there is none, and heard again by who left it."""
        room = self.rooms.get(room_id)
        if room is None:
            self.check_room_quota(account)
            room = self.rooms[room_id] = Room(room_id, room_id, None, account.name)
            self.tell(list(self.accounts.values()), "room_created", room_id=room_id, name=room_id)
        room.left.discard(account.name)
        return room

    def owned(self, connection: Connection, data: Packet) -> Room:
        room = self.room(connection, data["room_id"])
        if room.owner != self.me(connection).name:
            raise Refusal("forbidden", "only the owner of the room may do this")
        return room

    def account_of(self, name: str) -> Account:
        account = self.accounts.get(folded(name))
        if account is None:
            raise Refusal("user_not_found", "there is no account of that name")
        return account

    def in_room(self, room: Room) -> list[Account]:
        """Whose room it is: the members, or in an open room all who have not left it."""
        if room.private:
            return [account for account in self.accounts.values() if account.name in room.members]
        return [account for account in self.accounts.values() if account.name not in room.left]

    def all_but(self, account: Account) -> list[Account]:
        return [other for other in self.accounts.values() if other is not account]

    def do_create_room(self, connection: Connection, data: Packet) -> None:
        owner = self.me(connection)
        members = {self.account_of(name).name for name in data["participants"]} | {owner.name}
        self.check_room_quota(owner)
        room_id = "p-" + secrets.token_hex(16)
        room = self.rooms[room_id] = Room(
            room_id, data["room_name"], owner.name, owner.name, members
        )
        self.reply(connection, "room_created", "Room created.", {"room_id": room_id})
        self.tell(self.in_room(room), "room_created", room_id=room_id, name=room.name)

    def do_join_room(self, connection: Connection, data: Packet) -> None:
        room = self.room(connection, data["room_id"])
        room.left.discard(self.me(connection).name)
        self.reply(connection, "room_joined", "Room joined.", {"room_id": room.room_id})

    def do_leave_room(self, connection: Connection, data: Packet) -> None:
        room, name = self.room(connection, data["room_id"]), self.me(connection).name
        if room.owner == name:
            raise Refusal("forbidden", "the owner can't leave, only delete")
        told = self.in_room(room)
        if room.private:
            room.members.discard(name)
        else:
            room.left.add(name)
        self.reply(connection, "room_left", "Room left.", {"room_id": room.room_id})
        if room.private:
            self.tell(told, "user_removed", room_id=room.room_id, chatid=name)

    def do_add_user_to_room(self, connection: Connection, data: Packet) -> None:
        room, added = self.owned(connection, data), self.account_of(data["user_to_add"])
        is_new = added.name not in room.members
        room.members.add(added.name)
        self.reply(
            connection,
            "user_added",
            "User added to the room.",
            {"room_id": room.room_id, "user_added": added.name},
        )
        if is_new:
            self.tell(self.in_room(room), "user_added", room_id=room.room_id, chatid=added.name)

    def do_remove_user_from_room(self, connection: Connection, data: Packet) -> None:
        room, removed = self.owned(connection, data), self.account_of(data["user_to_remove"])
        if removed.name == room.owner:
            raise Refusal("forbidden", "the owner can't be removed")
        if removed.name not in room.members:
            raise Refusal("user_not_found", "this user is no member")
        told = self.in_room(room)
        self.take_member_away(room, removed)
        self.reply(
            connection,
            "user_removed",
            "User removed from the room.",
            {"room_id": room.room_id, "user_removed": removed.name},
        )
        self.tell(told, "user_removed", room_id=room.room_id, chatid=removed.name)

    def take_member_away(self, room: Room, removed: Account) -> None:
        room.members.discard(removed.name)

    def do_rename_room(self, connection: Connection, data: Packet) -> None:
        room = self.owned(connection, data)
        is_new, room.name = room.name != data["new_room_name"], data["new_room_name"]
        answer = {"room_id": room.room_id, "new_room_name": room.name}
        self.reply(connection, "room_renamed", "Room renamed.", answer)
        if is_new:
            self.tell(self.in_room(room), "room_renamed", room_id=room.room_id, name=room.name)

    def do_delete_room(self, connection: Connection, data: Packet) -> None:
        room = self.owned(connection, data)
        room.deleted = True
        self.reply(connection, "room_deleted", "Room deleted.", {"room_id": room.room_id})
        self.tell(self.in_room(room), "room_deleted", room_id=room.room_id, name=room.name)

    def do_get_rooms(self, connection: Connection, data: Packet) -> None:
        account = self.me(connection)
        rooms = [
            self.room_entry(account, self.rooms[key])
            for key in sorted(self.rooms)
            if self.may_read(account, self.rooms[key])
        ]
        page, has_more = self.page_of(rooms, data, lambda room: str(room["id"]))
        self.reply(
            connection,
            "rooms_list",
            "Rooms retrieved successfully.",
            {"rooms": page, "has_more": has_more},
        )

    def room_entry(self, account: Account, room: Room) -> Packet:
        return {
            "id": room.room_id,
            "name": room.name,
            "owner": room.owner,
            "private": room.private,
            "members": sorted(member.name for member in self.in_room(room)),
            "has_more": False,
            "unread": self.unread(account, room),
            "last_message_id": room.messages[-1].message_id if room.messages else 0,
        }

    def unread(self, account: Account, room: Room) -> int:
        mark = account.marks.get(room.room_id, 0)
        return sum(
            1
            for message in room.messages
            if message.sender != account.name and message.message_id > mark
        )

    def do_get_room_users(self, connection: Connection, data: Packet) -> None:
        room = self.room(connection, data["room_id"])
        users, has_more = self.page_of(
            sorted(member.name for member in self.in_room(room)), data, str
        )
        answer = {
            "room_id": room.room_id,
            "room_name": room.name,
            "users": users,
            "has_more": has_more,
        }
        self.reply(
            connection, "room_users_list", "Users of the room retrieved successfully.", answer
        )

    def do_get_users(self, connection: Connection, data: Packet) -> None:
        users, has_more = self.page_of(
            sorted(account.name for account in self.accounts.values()), data, str
        )
        online = [name for name in users if self.account_of(name).connection is not None]
        answer = {"users": users, "online": online, "has_more": has_more}
        self.reply(connection, "users_list", "Users retrieved successfully.", answer)

    def page_of(
        self, entries: list[Any], data: Packet, key: Callable[[Any], str]
    ) -> tuple[list[Any], bool]:
        """What comes behind `after`, at most `limit`, and no more than fits into a frame; whether
        more follows."""
        rest = [entry for entry in entries if "after" not in data or key(entry) > data["after"]]
        page = self.what_fits(rest[: data.get("limit", 1000)])
        return page, len(page) < len(rest)

    def what_fits(self, entries: list[Any]) -> list[Any]:
        """The beginning of a list that fits into a frame, with room for the rest of the packet; at
        least one entry."""
        size = 4096
        page: list[Any] = []
        for entry in entries:
            size += (
                2 * len(json.dumps(entry, ensure_ascii=False).encode())
                if isinstance(entry, str)
                else self.size_of(entry)
            )
            if page and size > MAX_FRAME:
                break
            page.append(entry)
        return page

    def size_of(self, entry: Any) -> int:
        return len(json.dumps(entry, ensure_ascii=False).encode()) + 1
