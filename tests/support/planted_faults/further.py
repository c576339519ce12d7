"""Servers with the faults that students make most often, of those that no other module has."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from support.planted_faults.plant import plant
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.records import Account, Message, Room
from support.reference_server.words import Packet


@plant("R-MSG-4", around="R-MSG-4")
class EscapesForWebPages(ReferenceServer):
    """What is forwarded is escaped for HTML: `&` is `&amp;`."""

    def received(self, account: Account, message: Message) -> Packet:
        packet = super().received(account, message)
        packet["data"]["content"] = html.escape(message.content)
        return packet


@plant("R-HIST-1", around="R-HIST-1")
class DoublesQuotes(ReferenceServer):
    """Apostrophes are doubled for SQL by hand, and stay so in the history."""

    def history_entry(self, message: Message) -> Packet:
        return {**super().history_entry(message), "content": message.content.replace("'", "''")}


@plant("R-HIST-1", around="R-HIST-1")
class LineByLine(ReferenceServer):
    """A message is a line of a file: in the history it ends at its first line end."""

    def history_entry(self, message: Message) -> Packet:
        first = message.content.split("\n")[0]
        return {**super().history_entry(message), "content": first}


@plant("R-HIST-1", around="R-HIST-1")
class HistoryOfFifty(ReferenceServer):
    """A room keeps its last fifty messages."""

    def keep(self, room: Room, message: Message) -> None:
        super().keep(room, message)
        del room.messages[:-50]


@plant("R-MSG-18", around="R-MSG-18")
class CopiesWithoutEnd(ReferenceServer):
    """Every `ack` with `error` brings one more copy."""

    def do_ack(self, connection: Connection, data: Packet) -> None:
        self.message_to_answer(connection, data["transaction_id"]).copies.clear()
        super().do_ack(connection, data)


@plant("R-SESS-11", around="R-SESS-11", may_break="R-ACC-9")
class KeyOutlivesPassword(ReferenceServer):
    """A change of the password leaves the session key alive."""

    def do_change_password(self, connection: Connection, data: Packet) -> None:
        account = self.me(connection)
        kept = set(account.key_hashes)
        super().do_change_password(connection, data)
        account.key_hashes = kept


@plant("R-SESS-12", around="R-SESS-12")
class TransactionsOutliveLogout(ReferenceServer):
    """What is open at `logout` can be confirmed by the next user of the connection."""

    def end_session(self, connection: Connection, is_told: bool = True) -> None:
        kept = dict(connection.transactions)
        super().end_session(connection, is_told)
        connection.transactions.update(kept)


@plant("R-ROOM-16", around="R-ROOM-16")
class DeletedRoomsAreListed(ReferenceServer):
    """A deleted room stays in the list of rooms."""

    def do_get_rooms(self, connection: Connection, data: Packet) -> None:
        deleted = [
            room
            for room in self.rooms.values()
            if room.deleted and self.me(connection).name in room.members
        ]
        for room in deleted:
            room.deleted = False
        try:
            super().do_get_rooms(connection, data)
        finally:
            for room in deleted:
                room.deleted = True


@plant("R-ROOM-13", around="R-ROOM-13", may_break="R-FILE-19")
class RemovedHearsOn(ReferenceServer):
    """Who is removed reads nothing more, and is told what is said all the same."""

    def take_member_away(self, room: Room, removed: Account) -> None:
        super().take_member_away(room, removed)
        self.ghosts = [*getattr(self, "ghosts", []), (room.room_id, removed)]

    def hearers(self, sender: Account, room_id: str) -> list[Account]:
        ghosts = [who for where, who in getattr(self, "ghosts", []) if where == room_id]
        heard = super().hearers(sender, room_id)
        return heard + [who for who in ghosts if who not in heard and who is not sender]


@plant("R-ROOM-12", around="R-ROOM-12")
class AddedHearsNothing(ReferenceServer):
    """Who is added to a room hears it from the next login on."""

    def do_add_user_to_room(self, connection: Connection, data: Packet) -> None:
        super().do_add_user_to_room(connection, data)
        added = self.account_of(data["user_to_add"])
        self.deaf = [*getattr(self, "deaf", []), (data["room_id"], added.connection)]

    def hearers(self, sender: Account, room_id: str) -> list[Account]:
        deaf = [who for where, who in getattr(self, "deaf", []) if where == room_id]
        return [one for one in super().hearers(sender, room_id) if one.connection not in deaf]


@plant("R-ROOM-20", around="R-ROOM-20", may_break="R-EVT-5")
class AfterIsInclusive(ReferenceServer):
    """A page begins with the entry that `after` names."""

    def page_of(
        self, entries: list[Any], data: Packet, key: Callable[[Any], str]
    ) -> tuple[list[Any], bool]:
        if "after" in data and data["after"] in [key(each) for each in entries]:
            at = [key(each) for each in entries].index(data["after"])
            rest = entries[at:]
            page = self.what_fits(rest[: data.get("limit", 1000)])
            return page, len(page) < len(rest)
        return super().page_of(entries, data, key)


@plant("R-MSG-14", around="R-MSG-14")
class UnreadCountsOwn(ReferenceServer):
    """What one said oneself is unread, until something is read."""

    def mark(self, account: Account, room_id: str, message_id: int) -> None:
        room = self.rooms[room_id]
        is_own = bool(room.messages) and room.messages[-1].sender == account.name
        if not (is_own and room.messages[-1].message_id == message_id):
            super().mark(account, room_id, message_id)

    def unread(self, account: Account, room: Room) -> int:
        mark = account.marks.get(room.room_id, 0)
        return sum(1 for message in room.messages if message.message_id > mark)


@plant("R-HIST-7", around="R-HIST-7", may_break="R-HIST-8")
class MoreWhereNothingFollows(ReferenceServer):
    """`has_more` is true where a page is full, whether more follows or not."""

    def page_of_messages(self, messages: list[Message], data: Packet) -> tuple[list[Message], bool]:
        page, has_more = super().page_of_messages(messages, data)
        return page, has_more or len(page) == data.get("limit", 1000)


@plant("R-FRAME-5", around="R-FRAME-5", waits=True)
class SkipsEmptyFrames(ReferenceServer):
    """A frame of length 0 is skipped, as if nothing had come."""

    def read_frame(self, connection: Connection) -> bytes:
        while True:
            payload = super().read_frame(connection)
            if payload:
                return payload

    def lost_the_place(self, connection: Connection, header: bytes, length: int) -> None:
        if length:
            super().lost_the_place(connection, header, length)


@plant("R-EVT-3", around="R-EVT-4", may_break="R-EVT-4")
class TypistsHearThemselves(ReferenceServer):
    """`typing` comes back to who typed."""

    def do_typing(self, connection: Connection, data: Packet) -> None:
        super().do_typing(connection, data)
        account = self.me(connection)
        self.tell([account], "typing", room_id=data["room_id"], chatid=account.name)
