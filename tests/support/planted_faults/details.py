"""Servers with faults that show in one detail only: a number that is written in another way, an
answer that comes later, a session that follows."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from datetime import datetime

from support.planted_faults.plant import plant
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.records import Account, File, Message, Room, Transaction, Upload
from support.reference_server.words import Packet, Refusal


@plant("R-JSON-3", around="R-JSON-3")
class CountsBracketsInTexts(ReferenceServer):
    """The depth of a packet is counted on its bytes, those inside of texts included."""

    def decode(self, payload: bytes) -> Packet:
        depth = deepest = 0
        for letter in payload.decode(errors="replace"):
            depth += (letter in "[{") - (letter in "]}")
            deepest = max(deepest, depth)
        if deepest > 32:
            raise Refusal("bad_json", "nested more than 32 deep")
        return super().decode(payload)


@plant("R-JSON-1", around="R-JSON-1")
class ReadsPastTheEnd(ReferenceServer):
    """The text ends at its first NUL, as a text of C does."""

    def decode(self, payload: bytes) -> Packet:
        return super().decode(payload.split(b"\0")[0] or payload)


@plant("R-JSON-1", around="R-JSON-1")
class ReadsNumbersAsC(ReferenceServer):
    """A number may begin with a zero or a plus."""

    def decode(self, payload: bytes) -> Packet:
        return super().decode(re.sub(rb": [0+]+(?=[1-9])", b": ", payload))


@plant("R-JSON-11", around="R-JSON-11")
class PingTakesAnything(ReferenceServer):
    """`ping` is answered whatever its `data` is."""

    def handle(self, connection: Connection, packet: Packet) -> None:
        is_ping = packet.get("action") == "ping"
        super().handle(connection, {**packet, "data": {}} if is_ping else packet)


@plant("R-JSON-14", around="R-JSON-14")
class FailsWithoutRequestId(ReferenceServer):
    """`login_fail` and `register_fail` carry no `request_id`."""

    def encode(self, packet: Packet) -> bytes:
        if packet["action"] in ("login_fail", "register_fail"):
            packet.pop("request_id", None)
        return super().encode(packet)


@plant("R-HIST-3", around="R-HIST-3")
class AddsTheMinutes(ReferenceServer):
    """Of an offset west of Greenwich only the hours are taken with their sign."""

    def time_of(self, written_time: str) -> datetime:
        moment = super().time_of(written_time)
        found = re.search(r"-(\d\d):(\d\d)$", written_time)
        hours = "" if found is None else f"-{int(found[1]) - 1:02}:{60 - int(found[2]):02}"
        if found is None or found[2] == "00":
            return moment
        return super().time_of(written_time[: found.start()] + hours)


@plant("R-HIST-2", around="R-HIST-[24]")
class TimeOrId(ReferenceServer):
    """Where `after_id` is given, `from_time` is not looked at."""

    def is_wanted(self, message: Message, begin: datetime | None, data: Packet) -> bool:
        return super().is_wanted(message, None if "after_id" in data else begin, data)


@plant("R-MSG-16", around="R-MSG-16")
class ComparesTheirJson(ReferenceServer):
    """The counts of a receiver have to come in the order of the letters in the text."""

    def counts_are_right(self, message: Message, letter_frequencies: dict[str, int]) -> bool:
        ours = self.count_letters(message.content)
        return list(letter_frequencies.items()) == list(ours.items())


@plant("R-MSG-18", around="R-MSG-18")
class CopiesForEachSession(ReferenceServer):
    """Each session of a receiver gets three copies of a message."""

    def do_ack(self, connection: Connection, data: Packet) -> None:
        copied = vars(connection).setdefault("copied", set())
        if data["transaction_id"] not in copied:
            copied.add(data["transaction_id"])
            message = self.message_to_answer(connection, data["transaction_id"])
            message.copies[self.me(connection).name] = 0
        super().do_ack(connection, data)


@plant("R-MSG-18", around="R-MSG-18")
class CopiesOnlyAfterFalse(ReferenceServer):
    """A message comes again only where the server had found the counts wrong."""

    def do_ack(self, connection: Connection, data: Packet) -> None:
        if data["status"] == "success" or vars(connection).get("was_wrong"):
            super().do_ack(connection, data)

    def do_character_count(self, connection: Connection, data: Packet) -> None:
        super().do_character_count(connection, data)
        message = self.messages[data["transaction_id"]]
        vars(connection)["was_wrong"] = not self.counts_are_right(
            message, data["letter_frequencies"]
        )


@plant("R-MSG-14", around="R-MSG-14")
class MarkGoesBack(ReferenceServer):
    """An `ack` of an earlier message makes the later ones unread again."""

    def mark(self, account: Account, room_id: str, message_id: int) -> None:
        account.marks[room_id] = message_id


@plant("R-MSG-12", around="R-MSG-12 R-MSG-5", may_break="R-MSG-7")
class RejectedStaysOpen(ReferenceServer):
    """What was not confirmed may be confirmed later."""

    def do_confirm_count(self, connection: Connection, data: Packet) -> None:
        transaction = connection.transactions.get(data["transaction_id"])
        super().do_confirm_count(connection, data)
        if transaction is not None and not data["confirm"]:
            connection.transactions[data["transaction_id"]] = transaction


@plant("R-MSG-6", around="R-MSG-6")
class StoresForWhoWasRemoved(ReferenceServer):
    """Whether the sender is still in the room is not asked again at `confirm_count`."""

    def do_confirm_count(self, connection: Connection, data: Packet) -> None:
        transaction = connection.transactions.get(data["transaction_id"])
        room = None if transaction is None else self.rooms.get(transaction.room_id)
        is_late = room is not None and room.private and not room.deleted
        name = self.me(connection).name
        was_out = is_late and room is not None and name not in room.members
        if room is not None and was_out:
            room.members.add(name)
        super().do_confirm_count(connection, data)
        if room is not None and was_out:
            room.members.discard(name)


@plant("R-ROOM-3", around="R-ROOM-3")
class UploadsMakeRooms(ReferenceServer):
    """A room is there once an upload to it is begun."""

    def do_file_send_init(self, connection: Connection, data: Packet) -> None:
        super().do_file_send_init(connection, data)
        self.make_open_room(self.me(connection), data["room_id"])


@plant("R-ROOM-5", around="R-ROOM-5")
class FilesBringNobodyBack(ReferenceServer):
    """Who sends a file to an open room that they left does not hear it again."""

    def store_file(self, account: Account, upload: Upload) -> File:
        room = self.rooms.get(upload.room_id)
        had_left = room is not None and account.name in room.left
        stored = super().store_file(account, upload)
        if room is not None and had_left:
            room.left.add(account.name)
        return stored


@plant("R-FILE-18", around="R-FILE-18")
class EndingFromTheFirstDot(ReferenceServer):
    """The number of a second name stands before the first dot."""

    def free_name(self, room: Room, account: Account, name: str) -> str:
        stem, dot, rest = name.partition(".")
        hidden = rest.replace(".", "\N{ONE DOT LEADER}")
        return (
            super()
            .free_name(room, account, f"{stem}{dot}{hidden}")
            .replace("\N{ONE DOT LEADER}", ".")
        )


@plant("R-FILE-24", around="R-FILE-2[45]")
class KeepsTheFirstPlace(ReferenceServer):
    """A newer version of a file stays in the place of the list that the first one had."""

    def store_file(self, account: Account, upload: Upload) -> File:
        room = self.rooms.get(upload.room_id)
        before = [] if room is None else list(room.files)
        stored = super().store_file(account, upload)
        files = self.rooms[upload.room_id].files
        for name in [*before, *(name for name in list(files) if name not in before)]:
            files[name] = files.pop(name)
        return stored


@plant("R-FILE-15", around="R-FILE-15")
class ReceivedFromOne(ReferenceServer):
    """`received` counts from 1 for a sender that counts from 0, too."""

    def ranges(self, upload: Upload) -> list[list[int]]:
        shift = 1 if upload.first_number == 0 else 0
        return [[first + shift, last + shift] for first, last in super().ranges(upload)]


@plant("R-FILE-14", around="R-FILE-14")
class EndsOnceInASession(ReferenceServer):
    """A `file_send_fin` that is sent again in a later session is `file_not_found`."""

    def do_file_send_fin(self, connection: Connection, data: Packet) -> None:
        upload = self.open_upload(connection, data)
        ended = vars(self).setdefault("ended", {})
        if ended.setdefault(id(upload), connection) is not connection:
            raise Refusal("file_not_found", "no such upload is open")
        super().do_file_send_fin(connection, data)


@plant("R-FILE-11", around="R-FILE-11")
class TakesChunksAfterTheEnd(ReferenceServer):
    """A chunk of an upload that has ended is taken, and thrown away."""

    def do_file_send_data(self, connection: Connection, data: Packet) -> None:
        upload = self.uploads.get((self.me(connection).name, data["room_id"], data["file_path"]))
        if upload is None or upload.result is None:
            return super().do_file_send_data(connection, data)
        answer = {"sequence_number": data["sequence_number"]}
        answer = {**self.file_of(self.me(connection), data), **answer}
        self.reply(connection, "file_send_data", "Chunk received.", answer)


@plant("R-ACC-6", around="R-ACC-6")
class LowerIsNotCasefold(ReferenceServer):
    """Names are compared in small letters: `ß` is not `SS`."""

    def do_register(self, connection: Connection, data: Packet) -> None:
        lower = unicodedata.normalize("NFKC", data["chatid"]).lower()
        known = [unicodedata.normalize("NFKC", one.name).lower() for one in self.accounts.values()]
        same = data["chatid"].casefold()
        kept = self.accounts.pop(same, None) if lower not in known else None
        super().do_register(connection, data)
        if kept is not None:
            self.accounts[same + " of before"] = kept


@plant("R-ROOM-8", around="R-ROOM-8")
class ParticipantsAsTyped(ReferenceServer):
    """Who is written in other letters in `participants` does not become a member."""

    def do_create_room(self, connection: Connection, data: Packet) -> None:
        for name in data["participants"]:
            self.account_of(name)
        names = {account.name for account in self.accounts.values()}
        typed = [name for name in data["participants"] if name in names]
        super().do_create_room(connection, {**data, "participants": typed})


@plant("R-EVT-9", around="R-EVT-[79]")
class TellsOfTakeOvers(ReferenceServer):
    """At a take-over everybody is told that the user went and came."""

    def tell_of_take_over(self, account: Account) -> None:
        super().tell_of_take_over(account)
        for kind in ("user_offline", "user_online"):
            self.tell(self.all_but(account), kind, chatid=account.name)


@plant("R-LIM-9", around="R-LIM-9")
class SlowsOnlyTheWrong(ReferenceServer):
    """A right password is answered at once, however many wrong ones came before."""

    def slow_down(self, connection: Connection, packet: Packet) -> None:
        data = packet.get("data")
        account = self.accounts.get(str(data.get("chatid"))) if isinstance(data, dict) else None
        password = data.get("password") if isinstance(data, dict) else None
        is_right = account is not None and self.password_is_right(account, str(password))
        if packet.get("action") != "login" or not is_right:
            super().slow_down(connection, packet)


@plant("R-LIM-9", around="R-LIM-9")
class FailuresStayCounted(ReferenceServer):
    """A login that succeeds does not end the count of failed ones."""

    def end_count(self, connection: Connection, name: str) -> None:
        pass


@plant("R-LIM-9", around="R-LIM-9 R-ACC-9")
class DelayStaysTheSame(ReferenceServer):
    """Each password behind five wrong ones is answered after one second."""

    def delay_after(self, failures: int) -> float:
        return 1.0


@plant("R-ACC-9", around="R-ACC-9")
class ChangesAreNoLogins(ReferenceServer):
    """A wrong old password does not count as a failed login."""

    def do_change_password(self, connection: Connection, data: Packet) -> None:
        failures = {who: list(when) for who, when in self.failures.items()}
        try:
            super().do_change_password(connection, data)
        finally:
            self.failures = failures


@plant("R-LIM-4", around="R-LIM-4")
class CountsEveryChunk(ReferenceServer):
    """Chunks of an upload count as requests."""

    NOT_RATE_LIMITED = tuple(
        action for action in ReferenceServer.NOT_RATE_LIMITED if action != "file_send_data"
    )


@plant("R-FRAME-9", around="R-FRAME-9")
class OnlineAfterTheEnd(ReferenceServer):
    """Who closes their own direction while a download runs is online for ever."""

    def let_go(self, connection: Connection) -> None:
        if connection.downloads:
            connection.account = None
        super().let_go(connection)


@plant("R-FRAME-9", around="R-FRAME-9")
class DropsDownloads(ReferenceServer):
    """A half-close ends the downloads."""

    def let_go(self, connection: Connection) -> None:
        with connection.wake:
            connection.downloads.clear()
        super().let_go(connection)


@plant("R-SESS-8", around="R-SESS-8")
class TheOldTakesTheNewAlong(ReferenceServer):
    """The end of a connection whose place was taken takes the new session off the list."""

    def begin_session(
        self, connection: Connection, account: Account, features: list[str] | None
    ) -> None:
        other = account.connection
        super().begin_session(connection, account, features)
        if other is not None:
            vars(other)["was"] = account

    def drop(self, connection: Connection) -> None:
        super().drop(connection)
        account: Account | None = vars(connection).get("was")
        if account is not None:
            account.connection = None


@plant("R-MSG-9", around="R-MSG-9")
class KeysKnowNoRooms(ReferenceServer):
    """The same key and content in another room is taken for the same message."""

    def check_same(self, before: Message | Transaction, room_id: str, content: str) -> None:
        if isinstance(before, Transaction) or room_id not in self.rooms:
            room_id_of_then = room_id
        else:
            room_id_of_then = before.room_id
        super().check_same(before, room_id_of_then, content)


@plant("R-FILE-12", around="R-FILE-12 R-FILE-6")
class HashesAsTheyCome(ReferenceServer):
    """`sha256` is that of the chunks in the order in which they came."""

    def store_file(self, account: Account, upload: Upload) -> File:
        arrived = b"".join(upload.chunks.values())
        stored = super().store_file(account, upload)
        stored.told_sha256 = hashlib.sha256(arrived).hexdigest()
        return stored


@plant("R-LIM-3", around="R-LIM-3")
class NewBurstForEachConnection(ReferenceServer):
    """Each connection of an account has a burst of its own."""

    def owed(self, connection: Connection, account: Account, now: float) -> float:
        return super().owed(connection, Account(str(id(connection))), now)


@plant("R-EVT-3", around="R-EVT-3")
class FilesMakeRoomsInSilence(ReferenceServer):
    """Nobody is told of an open room that a file has made."""

    def store_file(self, account: Account, upload: Upload) -> File:
        self.rooms.setdefault(
            upload.room_id, Room(upload.room_id, upload.room_id, None, account.name)
        )
        return super().store_file(account, upload)


@plant("R-EVT-3", around="R-EVT-[34]", may_break="R-EVT-4 R-ROOM-6")
class TypingReachesWhoLeft(ReferenceServer):
    """Who left an open room is told who types there."""

    def do_typing(self, connection: Connection, data: Packet) -> None:
        room = self.room(connection, data["room_id"])
        kept, room.left = room.left, set()
        try:
            super().do_typing(connection, data)
        finally:
            room.left = kept
