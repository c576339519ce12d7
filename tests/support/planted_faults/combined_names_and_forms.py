"""Servers with faults that show in one form of a thing only: one request of many, a name in other
letters, a number that another type wraps.

All of them were missed once by the kit, whose cases looked at another form.
"""

from __future__ import annotations

import re
from datetime import datetime

from support.planted_faults.plant import plant
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.fields import Request, folded
from support.reference_server.records import Account, Message, Room
from support.reference_server.words import Gone, Packet, Refusal


class _SkipsIdentity(ReferenceServer):
    """In one request nobody looks whose name it has."""

    SKIPPED = ""

    def check_identity(
        self, connection: Connection, action: str, data: Packet, request: Request
    ) -> None:
        if action != self.SKIPPED:
            super().check_identity(connection, action, data, request)


@plant("R-SESS-7", around="R-SESS-7")
class AnyNameMayLeave(_SkipsIdentity):
    """`leave_room` takes any name."""

    SKIPPED = "leave_room"


@plant("R-SESS-7", around="R-SESS-7")
class AnyNameMayRename(_SkipsIdentity):
    """`rename_room` takes any name."""

    SKIPPED = "rename_room"


@plant("R-SESS-7", around="R-SESS-7")
class AnyNameChangesPassword(_SkipsIdentity):
    """`change_password` takes any name, and changes the password of the session's user."""

    SKIPPED = "change_password"


@plant("R-JSON-14", around="R-JSON-14")
class NotLoggedInWithoutRequestId(ReferenceServer):
    """`not_logged_in` carries no `request_id`."""

    def error(self, connection: Connection, original_action: str, code: str, message: str) -> None:
        if code == "not_logged_in":
            connection.request_id = None
        super().error(connection, original_action, code, message)


@plant("R-JSON-14", around="R-JSON-14")
class PongWithoutRequestId(ReferenceServer):
    """`pong` carries no `request_id`."""

    def do_ping(self, connection: Connection, data: Packet) -> None:
        connection.request_id = None
        super().do_ping(connection, data)


@plant("R-JSON-1", around="R-JSON-1")
class WordsOfPython(ReferenceServer):
    """`True` and `None` are read as JSON."""

    def decode(self, payload: bytes) -> Packet:
        written = payload.replace(b": True", b": true").replace(b":True", b":true")
        return super().decode(written)


@plant("R-JSON-1", around="R-JSON-1")
class StripsAnyBlank(ReferenceServer):
    """A payload is stripped of all blanks of Unicode before it is read."""

    def decode(self, payload: bytes) -> Packet:
        try:
            return super().decode(payload.decode().strip().encode())
        except UnicodeError:
            return super().decode(payload)


@plant("R-JSON-1", around="R-JSON-1")
class PairsOfThreeBytes(ReferenceServer):
    """A pair of surrogates is read from six bytes, as Java's own form of UTF-8 writes it."""

    def decode(self, payload: bytes) -> Packet:
        pair = rb"\xed[\xa0-\xaf].\xed[\xb0-\xbf]."
        return super().decode(re.sub(pair, b"x", payload, flags=re.DOTALL))


@plant("R-ERR-3", around="R-ERR-3")
class TimesBeforeRooms(ReferenceServer):
    """`from_time` is read before the room is looked up."""

    def do_get_messages(self, connection: Connection, data: Packet) -> None:
        if "from_time" in data:
            self.time_of(data["from_time"])
        super().do_get_messages(connection, data)


@plant("R-ERR-3", around="R-ERR-3")
class OnBeforeFields(ReferenceServer):
    """A second `login` on a connection is refused before its fields are looked at."""

    def check_login(self, connection: Connection, action: str, request: Request) -> None:
        if action == "login" and connection.account is not None:
            raise Refusal("forbidden", "this connection is logged in already")
        super().check_login(connection, action, request)


@plant("R-MSG-16", around="R-MSG-16")
class ZerosAreNothing(ReferenceServer):
    """Counts of 0 are left out before both are compared, as Python's `Counter` does."""

    def counts_are_right(self, message: Message, letter_frequencies: dict[str, int]) -> bool:
        some = {letter: count for letter, count in letter_frequencies.items() if count}
        return super().counts_are_right(message, some)


@plant("R-MSG-16", around="R-MSG-16")
class CountsOf32Bits(ReferenceServer):
    """Counts are kept in 32 bits: 2^32 + 1 is 1."""

    def counts_are_right(self, message: Message, letter_frequencies: dict[str, int]) -> bool:
        kept = {letter: count % 2**32 for letter, count in letter_frequencies.items()}
        return super().counts_are_right(message, kept)


@plant("R-MSG-16", around="R-MSG-16")
class FirstLettersOfKeys(ReferenceServer):
    """Of each key of the counts only the first letter is read."""

    def counts_are_right(self, message: Message, letter_frequencies: dict[str, int]) -> bool:
        kept = {letter[:1]: count for letter, count in letter_frequencies.items()}
        return super().counts_are_right(message, kept)


@plant("R-MSG-14", around="R-MSG-14")
class WrongAcksAreReads(ReferenceServer):
    """An `ack` with `status` `"error"` marks the message as read, too."""

    def do_ack(self, connection: Connection, data: Packet) -> None:
        super().do_ack(connection, data)
        message = self.messages[data["transaction_id"]]
        self.mark(self.me(connection), message.room_id, message.message_id)


@plant("R-SESS-1", around="R-SESS-1")
class RefusedLoginsEndTheKey(ReferenceServer):
    """A second login with the right password is refused, and has ended the key by then."""

    def check_place(self, account: Account, take_over: bool) -> None:
        if account.connection is not None and not take_over:
            account.key_hashes.clear()
        super().check_place(account, take_over)


@plant("R-ACC-9", around="R-ACC-9")
class WrongPasswordsEndTheKey(ReferenceServer):
    """`change_password` with a wrong old password ends the keys all the same."""

    def do_change_password(self, connection: Connection, data: Packet) -> None:
        if not self.password_is_right(self.me(connection), data["password"]):
            self.me(connection).key_hashes.clear()
        super().do_change_password(connection, data)


@plant("R-SESS-4", around="R-SESS-4")
class PasswordsWithoutBlanksBehind(ReferenceServer):
    """Passwords lose the blanks behind them, as in a column of fixed width."""

    def set_password(self, account: Account, password: str) -> None:
        super().set_password(account, password.rstrip())

    def password_is_right(self, account: Account, password: str) -> bool:
        return super().password_is_right(account, password.rstrip())


@plant("R-SESS-4", around="R-SESS-4")
class PasswordsInLatin1(ReferenceServer):
    """In a password each letter beyond Latin-1 becomes a question mark."""

    def set_password(self, account: Account, password: str) -> None:
        super().set_password(account, password.encode("latin-1", "replace").decode("latin-1"))

    def password_is_right(self, account: Account, password: str) -> bool:
        kept = password.encode("latin-1", "replace").decode("latin-1")
        return super().password_is_right(account, kept)


@plant("R-ACC-5", around="R-ACC-5")
class NamesBeginWithLetters(ReferenceServer):
    """A name must begin with a letter."""

    def do_register(self, connection: Connection, data: Packet) -> None:
        if data["chatid"][0] in "0123456789-.":
            raise Refusal("bad_packet", "data.chatid: expected a letter first")
        super().do_register(connection, data)


@plant("R-ACC-5", around="R-ACC-5")
class LineEndsBehindNames(ReferenceServer):
    """The pattern of names ends in `$`, which a line feed may follow."""

    def do_register(self, connection: Connection, data: Packet) -> None:
        name = data["chatid"]
        super().do_register(connection, {**data, "chatid": name[:-1] if name[-1] == "\n" else name})


@plant("R-ROOM-13", around="R-ROOM-13")
class OwnersInCapitalsGo(ReferenceServer):
    """The owner can be removed by the name in other letters."""

    def do_remove_user_from_room(self, connection: Connection, data: Packet) -> None:
        room, name = self.owned(connection, data), data["user_to_remove"]
        if name != room.owner and folded(name) == folded(str(room.owner)):
            answer = {"room_id": room.room_id, "user_removed": room.owner}
            return self.reply(connection, "user_removed", "User removed.", answer)
        super().do_remove_user_from_room(connection, data)


@plant("R-ROOM-7", around="R-ROOM-7")
class AnyPIsPrivate(ReferenceServer):
    """Every unknown id that begins with `p` is taken for a private room's."""

    def room_or_new(self, connection: Connection, room_id: str) -> None:
        if room_id not in self.rooms and room_id.startswith("p"):
            raise Refusal("room_not_found", "there is no such room for you")
        super().room_or_new(connection, room_id)


@plant("R-ROOM-7", around="R-ROOM-7")
class RoomsInUtf16(ReferenceServer):
    """The length of a `room_id` is counted in UTF-16 units."""

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        found = super().fields_of(packet, request)
        if len(found.get("room_id", "").encode("utf-16-le")) > 128:
            raise Refusal("bad_packet", "data.room_id: too long")
        return found


@plant("R-HIST-3", around="R-HIST-3")
class TimesSince1970(ReferenceServer):
    """A `from_time` before 1970 or after 2038 ends the connection."""

    def time_of(self, written_time: str) -> datetime:
        year = written_time[:4]
        if year.isdigit() and not "1970" <= year <= "2038" and year != "2100":
            raise Gone
        return super().time_of(written_time)


@plant("R-MSG-4", "R-HIST-1", around="R-MSG-4 R-HIST-1")
class UnseenLettersAreLost(ReferenceServer):
    """Characters that nobody sees are taken out of a message when it is stored."""

    def keep(self, room: Room, message: Message) -> None:
        message.content = re.sub("[\ufeff\u200b\ue000]", "", message.content)
        super().keep(room, message)
