"""Servers that take one text for another, or one time."""

from __future__ import annotations

import time
import unicodedata
from collections import Counter
from collections.abc import Callable
from typing import Any

from support.planted_faults.plant import plant
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.fields import Request
from support.reference_server.records import Account, Message, Room, Transaction
from support.reference_server.words import Packet, Refusal, written


@plant("R-MSG-1", around="R-MSG-1")
class CountsInAByte(ReferenceServer):
    """A count is a byte: 256 equal letters are none."""

    def count_letters(self, content: str) -> dict[str, int]:
        return {letter: count % 256 for letter, count in Counter(content).items()}


@plant("R-MSG-1", around="R-MSG-1")
class CountsSigned(ReferenceServer):
    """A count is a byte with a sign: 128 equal letters are -128."""

    def count_letters(self, content: str) -> dict[str, int]:
        counts = Counter(content).items()
        return {letter: (count + 128) % 256 - 128 for letter, count in counts}


@plant("R-MSG-1", around="R-MSG-1")
class CountsTenThousand(ReferenceServer):
    """Of a text the first ten thousand letters are counted."""

    def count_letters(self, content: str) -> dict[str, int]:
        return super().count_letters(content[:10_000])


@plant("R-FRAME-1", around="R-FRAME-1")
class FewEscapes(ReferenceServer):
    """The JSON reader, written by hand, knows no \\b and \\f."""

    def decode(self, payload: bytes) -> Packet:
        if b"\\b" in payload or b"\\f" in payload:
            raise Refusal("bad_json", "an escape that nobody knows")
        return super().decode(payload)


@plant("R-ROOM-7", around="R-ROOM-7")
class RoomsFold(ReferenceServer):
    """The ids of rooms are the same in capitals and small letters."""

    def form_of(self, room_id: str) -> str:
        return room_id.lower()

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        data = super().fields_of(packet, request)
        if "room_id" in data:
            data["room_id"] = self.form_of(data["room_id"])
        return data


@plant("R-ROOM-7", around="R-ROOM-7")
class RoomsNormalise(RoomsFold):
    """The ids of rooms are normalised, as a database does."""

    def form_of(self, room_id: str) -> str:
        return unicodedata.normalize("NFC", room_id)


@plant("R-ROOM-20", around="R-ROOM-20")
class SortsLikeJavaScript(ReferenceServer):
    """Lists are sorted by UTF-16 units, as JavaScript and Java do it."""

    def key_of(self, text: str) -> Any:
        return text.encode("utf-16-be")

    def page_of(
        self, entries: list[Any], data: Packet, key: Callable[[Any], str]
    ) -> tuple[list[Any], bool]:
        ordered = sorted(entries, key=lambda entry: self.key_of(key(entry)))
        after = self.key_of(data["after"]) if "after" in data else None
        rest = [each for each in ordered if after is None or self.key_of(key(each)) > after]
        page = self.what_fits(rest[: data.get("limit", 1000)])
        return page, len(page) < len(rest)


@plant("R-ROOM-20", around="R-ROOM-20")
class SortsLikeADictionary(SortsLikeJavaScript):
    """Lists are sorted without regard to capitals."""

    def key_of(self, text: str) -> Any:
        return (text.lower(), text)


@plant("R-ERR-4", around="R-ERR-4")
class ActionsFold(ReferenceServer):
    """Actions are known in capitals, and with blanks around them."""

    def request_of(self, connection: Connection, packet: Packet) -> Request:
        action = packet.get("action")
        if isinstance(action, str):
            packet["action"] = action.strip().lower()
        return super().request_of(connection, packet)


@plant("R-MSG-8", around="R-MSG-8")
class CountedT(ReferenceServer):
    """T is counted from 1, and nobody looks whether a client's key is the next."""

    last_t = 0

    def do_send_message(self, connection: Connection, data: Packet) -> None:
        if "transaction_id" in data:
            return super().do_send_message(connection, data)
        self.last_t += 1
        before, mine = dict(connection.transactions), f"tx{self.last_t:04}"
        connection.transactions.pop(mine, None)
        super().do_send_message(connection, {**data, "transaction_id": mine})
        taken = connection.transactions.get(mine)
        if taken is not None and mine not in before:
            taken.key = None


@plant("R-SESS-4", around="R-SESS-4")
class EightCharacters(ReferenceServer):
    """Of a password the first eight characters count, as crypt(3) has it."""

    def what_counts(self, password: str) -> str:
        return password[:8]

    def set_password(self, account: Account, password: str) -> None:
        super().set_password(account, self.what_counts(password))

    def password_is_right(self, account: Account, password: str) -> bool:
        return super().password_is_right(account, self.what_counts(password))


@plant("R-SESS-4", around="R-SESS-4")
class SeventyTwoBytes(EightCharacters):
    """Of a password the first 72 bytes count, as bcrypt has it."""

    def what_counts(self, password: str) -> str:
        return password.encode()[:72].decode("utf-8", "ignore")


@plant("R-SESS-4", around="R-SESS-4")
class HundredBytes(EightCharacters):
    """A password is kept in an array of a hundred bytes."""

    def what_counts(self, password: str) -> str:
        return password.encode()[:99].decode("utf-8", "ignore")


@plant("R-SESS-4", around="R-SESS-4")
class AnyCase(EightCharacters):
    """Passwords are the same in capitals and small letters, as some databases compare."""

    def what_counts(self, password: str) -> str:
        return password.lower()


@plant("R-SESS-4", around="R-SESS-4")
class StripsPasswords(EightCharacters):
    """Blanks around a password are cut off."""

    def what_counts(self, password: str) -> str:
        return password.strip()


@plant("R-SESS-4", around="R-SESS-4")
class PasswordsInTheSystemsEncoding(EightCharacters):
    """Passwords are hashed in the system's encoding: under LC_ALL=C all letters with accents are
    the same."""

    def what_counts(self, password: str) -> str:
        return password.encode("ascii", "replace").decode()


@plant("R-MSG-2", "R-MSG-4", "R-HIST-1", around="R-MSG-2 R-MSG-4 R-HIST-1")
class StoresInTheSystemsEncoding(ReferenceServer):
    """Texts are stored in the system's encoding: under LC_ALL=C letters with accents are lost."""

    def keep(self, room: Room, message: Message) -> None:
        message.content = message.content.encode("ascii", "replace").decode()
        super().keep(room, message)


@plant("R-SESS-2", around="R-SESS-2")
class CountedKeys(ReferenceServer):
    """Session keys are long, and counted."""

    keys = 0

    def new_session_key(self, account: Account) -> str:
        self.keys += 1
        return f"session-key-of-this-server-{self.keys:012}"


@plant("R-SESS-2", around="R-SESS-2")
class KeysAreAClock(ReferenceServer):
    """Session keys are the time of the login."""

    def new_session_key(self, account: Account) -> str:
        return f"{time.time_ns():032x}"


@plant("R-ORDER-4", around="R-ORDER-4")
class LocalTime(ReferenceServer):
    """Times are those of the server's place, with a Z behind them."""

    def store(self, sender: Account, transaction: Transaction) -> Message:
        message = super().store(sender, transaction)
        message.timestamp += 19_800
        return message


@plant("R-ORDER-4", around="R-ORDER-4")
class TwelveHours(ReferenceServer):
    """The hours go from 1 to 12 (`hh` for `HH`); here it is afternoon."""

    def store(self, sender: Account, transaction: Transaction) -> Message:
        message = super().store(sender, transaction)
        message.timestamp -= 43_200
        return message


@plant("R-MSG-4", around="R-MSG-4", may_break="R-HIST-1")
class AsksTheClockTwice(ReferenceServer):
    """The time of a delivery is that of the delivery, not of the message."""

    def received(self, account: Account, message: Message) -> Packet:
        packet = super().received(account, message)
        time.sleep(0.0005)
        packet["data"]["timestamp"] = written(int(time.time()))
        return packet
