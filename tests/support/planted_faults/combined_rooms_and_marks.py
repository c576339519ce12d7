"""Servers with faults that show to the one who acts, to those who have nothing to do with it, and
where a list goes on behind an entry that is gone.

All of them were missed once by the kit, whose cases looked at members and at entries that are
there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.planted_faults.plant import plant
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.records import Account
from support.reference_server.words import Packet


class _ActorsHearNothing(ReferenceServer):
    """Who acts is told of it by the reply alone."""

    KINDS: tuple[str, ...] = ()

    def handle(self, connection: Connection, packet: Packet) -> None:
        vars(self)["actor"] = connection.account
        super().handle(connection, packet)

    def tell(self, accounts: list[Account], kind: str, **keys: str) -> None:
        if kind in self.KINDS:
            accounts = [each for each in accounts if each is not vars(self).get("actor")]
        super().tell(accounts, kind, **keys)


@plant("R-EVT-3", around="R-EVT-3")
class MakersHearNothing(_ActorsHearNothing):
    """Who makes a room gets no `room_created`."""

    KINDS = ("room_created",)


@plant("R-EVT-3", around="R-EVT-3")
class OwnersHearNothing(_ActorsHearNothing):
    """Who renames or deletes a room gets no event of it."""

    KINDS = ("room_renamed", "room_deleted")


@plant("R-EVT-3", around="R-EVT-3")
class AddersHearNothing(_ActorsHearNothing):
    """Who adds or removes a user gets no event of it."""

    KINDS = ("user_added", "user_removed")


class _EverybodyIsTold(ReferenceServer):
    """What is for the members of a room is told to everybody."""

    KINDS: tuple[str, ...] = ()

    def tell(self, accounts: list[Account], kind: str, **keys: str) -> None:
        everybody = list(self.accounts.values())
        super().tell(everybody if kind in self.KINDS else accounts, kind, **keys)


@plant("R-EVT-3", around="R-EVT-3")
class EverybodyHearsWhoIsAdded(_EverybodyIsTold):
    """`user_added` and `user_removed` reach everybody."""

    KINDS = ("user_added", "user_removed")


class _NeedsTheEntry(ReferenceServer):
    """A list is searched for the entry of `after`; where it is gone, the list begins anew."""

    def page_of(
        self, entries: list[Any], data: Packet, key: Callable[[Any], str]
    ) -> tuple[list[Any], bool]:
        known = [key(entry) for entry in entries]
        if "after" in data and data["after"] not in known:
            data = self.without_the_entry(data)
        return super().page_of(entries, data, key)

    def without_the_entry(self, data: Packet) -> Packet:
        return {name: value for name, value in data.items() if name != "after"}


@plant("R-ROOM-20", around="R-ROOM-20")
class BeginsAnewWhereAfterIsGone(_NeedsTheEntry):
    """Where nobody has the name of `after` any more, the list begins anew."""


@plant("R-ROOM-20", around="R-ROOM-20")
class EndsWhereAfterIsGone(_NeedsTheEntry):
    """Where nobody has the name of `after` any more, the list is at its end."""

    def without_the_entry(self, data: Packet) -> Packet:
        return {**data, "after": "\U0010ffff"}


@plant("R-HIST-4", around="R-HIST-4")
class AfterIdOfTheRoom(ReferenceServer):
    """`after_id` of no message of the room gives the history from its beginning."""

    def do_get_messages(self, connection: Connection, data: Packet) -> None:
        room = self.rooms.get(data["room_id"])
        known = [] if room is None else [each.message_id for each in room.messages]
        if "after_id" in data and data["after_id"] not in known:
            data = {**data, "after_id": 0}
        super().do_get_messages(connection, data)


@plant("R-HIST-5", around="R-HIST-5")
class BeforeIdOfTheRoom(ReferenceServer):
    """`before_id` of no message of the room gives nothing."""

    def do_get_messages(self, connection: Connection, data: Packet) -> None:
        room, before = self.rooms.get(data["room_id"]), data.get("before_id")
        last = 0 if room is None or not room.messages else room.messages[-1].message_id
        known = [] if room is None else [each.message_id for each in room.messages]
        if before is not None and before not in known and before != last + 1:
            data = {**data, "before_id": 0}
        super().do_get_messages(connection, data)


@plant("R-MSG-14", around="R-MSG-14")
class LogoutForgetsMarks(ReferenceServer):
    """What a user has read is forgotten at `logout`."""

    def do_logout(self, connection: Connection, data: Packet) -> None:
        self.me(connection).marks.clear()
        super().do_logout(connection, data)


@plant("R-MSG-14", around="R-MSG-14")
class LeaversForgetMarks(ReferenceServer):
    """What a user has read is forgotten when the user leaves the room."""

    def do_leave_room(self, connection: Connection, data: Packet) -> None:
        self.me(connection).marks.pop(data["room_id"], None)
        super().do_leave_room(connection, data)


@plant("R-MSG-14", around="R-MSG-14")
class JoiningReadsNothing(ReferenceServer):
    """`join_room` begins the mark of what was read anew."""

    def do_join_room(self, connection: Connection, data: Packet) -> None:
        super().do_join_room(connection, data)
        self.me(connection).marks[data["room_id"]] = 0
