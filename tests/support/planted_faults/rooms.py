"""Servers with a fault about rooms and events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from support.planted_faults.plant import plant
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.fields import Request
from support.reference_server.records import Account, Message, Room
from support.reference_server.words import Packet, Refusal


@plant("R-ROOM-5")
class NobodyLeaves(ReferenceServer):
    """Who left an open room goes on hearing it."""

    def hearers(self, sender: Account, room_id: str) -> list[Account]:
        return (
            super().hearers(sender, room_id)
            if self.rooms[room_id].private
            else self.all_but(sender)
        )


@plant("R-ROOM-6")
class StrangersAreForbidden(ReferenceServer):
    """A private room tells strangers that it exists: `forbidden`."""

    def room(self, connection: Connection, room_id: str) -> Room:
        room = self.rooms.get(room_id)
        if room is not None and not room.deleted and not self.may_read(self.me(connection), room):
            raise Refusal("forbidden", "you are no member")
        return super().room(connection, room_id)


@plant("R-ROOM-2")
class MakersOwnOpenRooms(ReferenceServer):
    """Who made an open room is told as its owner."""

    def room_entry(self, account: Account, room: Room) -> Packet:
        return {**super().room_entry(account, room), "owner": room.owner or room.maker or None}


@plant("R-ROOM-5", "R-ROOM-6")
class SendsToAllRooms(ReferenceServer):
    """A message goes to everybody who is on, also from a private room."""

    def deliver(self, sender: Account, message: Message) -> None:
        for account in self.all_but(sender):
            self.forward(account, self.received(account, message))


@plant("R-ROOM-7")
class AnyRoomId(ReferenceServer):
    """Blanks around a room's id are cut off and not refused."""

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        data = packet.get("data")
        if (
            isinstance(data, dict)
            and isinstance(data.get("room_id"), str)
            and data["room_id"].strip()
        ):
            packet = {**packet, "data": {**data, "room_id": data["room_id"].strip()}}
        return super().fields_of(packet, request)


@plant("R-ROOM-11")
class MembersMayAll(ReferenceServer):
    """A member may do what is the owner's."""

    def owned(self, connection: Connection, data: Packet) -> Room:
        room = self.room(connection, data["room_id"])
        return room if room.private else super().owned(connection, data)


@plant("R-ROOM-13")
class RemovesNobody(ReferenceServer):
    """`remove_user_from_room` is answered, but the user stays a member."""

    def take_member_away(self, room: Room, removed: Account) -> None:
        pass


@plant("R-ROOM-16", "R-MSG-6")
class DeletedRoomsStay(ReferenceServer):
    """A deleted room can still be read."""

    def room(self, connection: Connection, room_id: str) -> Room:
        room = self.rooms.get(room_id)
        is_kept = room is not None and room.deleted and self.me(connection).name in room.members
        return room if room is not None and is_kept else super().room(connection, room_id)


@plant("R-ROOM-20")
class UnsortedLists(ReferenceServer):
    """Lists come in the opposite order."""

    def page_of(
        self, entries: list[Any], data: Packet, key: Callable[[Any], str]
    ) -> tuple[list[Any], bool]:
        page, has_more = super().page_of(entries, data, key)
        return page[::-1], has_more


@plant("R-EVT-1")
class EventsForAll(ReferenceServer):
    """Everybody gets events, asked for or not."""

    def hears_events(self, connection: Connection) -> bool:
        return True


@plant("R-EVT-6")
class TellsAgain(ReferenceServer):
    """Who is a member already is added once more, and everybody told."""

    def do_add_user_to_room(self, connection: Connection, data: Packet) -> None:
        room, added = self.owned(connection, data), self.account_of(data["user_to_add"])
        room.members.discard(added.name)
        super().do_add_user_to_room(connection, data)


@plant("R-EVT-9")
class TellsEachComing(ReferenceServer):
    """Each coming and going is told, however often."""

    PRESENCE_SECONDS = 0.0


@plant("R-EVT-7")
class TakesOverInSilence(ReferenceServer):
    """Who is displaced hears nothing of it."""

    def tell_of_take_over(self, account: Account) -> None:
        pass


@plant("R-ROOM-22")
class DownloadsWhatIsLost(ReferenceServer):
    """A download that waited is not checked again."""

    def if_still_there(
        self, account: Account, room: Room, request_id: str | None, packets: Iterator[Packet]
    ) -> Iterator[Packet]:
        return packets


@plant("R-EVT-4")
class TypingForAll(ReferenceServer):
    """`typing` is taken from who was not granted it."""

    def do_typing(self, connection: Connection, data: Packet) -> None:
        before, connection.features = connection.features, [*connection.features, "typing"]
        try:
            super().do_typing(connection, data)
        finally:
            connection.features = before


@plant("R-EVT-5")
class EverybodyIsOnline(ReferenceServer):
    """`online` lists all accounts."""

    def reply(
        self,
        connection: Connection,
        action: str,
        message: str | None,
        data: Packet | None,
        status: str = "success",
        code: str = "",
    ) -> None:
        if action == "users_list" and data is not None:
            data = {**data, "online": data["users"]}
        super().reply(connection, action, message, data, status, code)
