"""Servers and clients with one planted fault each, as variations of the two references, and the
rules that each breaks.

Owns the table `FAULTS`. tests/conformance/test_faults.py runs the kit against each and expects
exactly the declared rules to fail. `python tests/support/conformance_faults.py NAME HOST PORT USER PASSWORD
FOLDER` runs a client with a fault, for the kit to start.

A fault is a class; its docstring says the mistake as a student would make it. `@plant` says which
rules fail, all of them, and around which rules the quick run looks: those of the same sections
unless said, and only the broken ones where each case takes long.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import sys
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from support.conformance_reference import (
    MAX_FRAME,
    Account,
    Connection,
    File,
    Gone,
    Message,
    Packet,
    ReferenceServer,
    Refusal,
    Request,
    Room,
    Transaction,
    Upload,
)
from support.conformance_reference_client import Download, PlainClient
from support.conformance_reference_client import Upload as ClientUpload
from support.conformance_reference_client import main as client_main

Faulty = TypeVar("Faulty", bound=type)


@dataclass(frozen=True)
class Fault:
    """`breaks` are the rules that fail, all of them but for `may_break`, which fail or not by
    chance (what a lost byte spoils).

    `around` is what the quick run looks at, as globs. `waits` says that the kit waits for things in
    vain. `whole` says that the whole kit may be run; where all that comes by chance is lost, by
    chance another rule fails before the one that is broken.
    """

    name: str
    kind: type
    mistake: str
    breaks: frozenset[str]
    may_break: frozenset[str]
    around: tuple[str, ...]
    waits: bool
    whole: bool

    @property
    def is_client(self) -> bool:
        return issubclass(self.kind, PlainClient)


FAULTS: dict[str, Fault] = {}


def plant(
    *breaks: str, may_break: str = "", around: str = "", waits: bool = False, whole: bool = True
) -> Callable[[Faulty], Faulty]:
    """Put a class into `FAULTS`; `around` and `may_break` are texts with blanks between globs and
    rules."""

    def register(kind: Faulty) -> Faulty:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
        only_these = waits or issubclass(kind, PlainClient)
        sections = sorted(
            breaks if only_these else {rule.rsplit("-", 1)[0] + "-*" for rule in breaks}
        )
        mistake = " ".join((kind.__doc__ or "").split())
        may = frozenset(may_break.split())
        FAULTS[name] = Fault(
            name,
            kind,
            mistake,
            frozenset(breaks),
            may,
            tuple(around.split() or sections),
            waits,
            whole,
        )
        return kind

    return register


# ------------------------------------------------------------------------------------------------------------------------ frames


@plant("R-FRAME-1")
class LittleEndian(ReferenceServer):
    """The length is written and read with the smallest byte first."""

    def header(self, length: int) -> bytes:
        return length.to_bytes(4, "little")

    def length_of(self, header: bytes) -> int:
        return int.from_bytes(header, "little")


@plant("R-FRAME-1")
class LengthCountsItself(ReferenceServer):
    """N counts its own four bytes, when it writes and when it reads."""

    def header(self, length: int) -> bytes:
        return (length + 4).to_bytes(4, "big")

    def length_of(self, header: bytes) -> int:
        return int.from_bytes(header, "big") - 4


@plant("R-FRAME-1", waits=True)
class NoLength(ReferenceServer):
    """JSON with a line end behind it, and no length before it."""

    def encode(self, packet: Packet) -> bytes:
        return json.dumps(packet).encode() + b"\n"


@plant("R-FRAME-1")
class Latin1(ReferenceServer):
    """Letters like é are written as one byte each, as in Latin-1."""

    def encode(self, packet: Packet) -> bytes:
        escaped = json.dumps(packet).encode()
        payload = re.sub(
            rb"\\u00([89a-f][0-9a-f])", lambda found: bytes.fromhex(found[1].decode()), escaped
        )
        return self.header(len(payload)) + payload


@plant("R-FRAME-2", waits=True)
class OneFramePerRecv(ReferenceServer):
    """What one recv brings is taken for one whole frame, and what else came with it is dropped."""

    def read_frame(self, connection: Connection) -> bytes:
        data = connection.receive(4 + MAX_FRAME, math.inf)
        length = self.length_of(data[:4].ljust(4, b"\0"))
        if not 1 <= length <= MAX_FRAME:
            raise Gone
        return data[4 : 4 + length]


@plant("R-FRAME-2")
class PayloadInOneRecv(ReferenceServer):
    """The payload is taken from one recv, whatever that brings."""

    def read_payload(self, connection: Connection, length: int, deadline: float) -> bytes:
        return connection.receive(length, deadline)


@plant("R-FRAME-2", waits=True)
class DropsWhatIsJoined(ReferenceServer):
    """After each frame, what came in the same piece is thrown away."""

    def take(self, connection: Connection, payload: bytes) -> None:
        connection.sock.setblocking(False)
        try:
            while connection.sock.recv(65_536):
                pass
        except BlockingIOError:
            pass
        connection.sock.settimeout(0.25)
        super().take(connection, payload)


@plant("R-FRAME-3")
class SmallFrames(ReferenceServer):
    """Frames of more than 64 KiB are refused after the login too, though `limits` says
    otherwise."""

    def max_frame(self, connection: Connection) -> int:
        return 65_536


@plant("R-FRAME-5", around="R-FRAME-1 R-FRAME-2 R-FRAME-3 R-FRAME-5 R-FRAME-6")
class ClosesWithoutAWord(ReferenceServer):
    """A length that can't be is answered by closing, and no error says why."""

    def lost_the_place(self, connection: Connection, header: bytes, length: int) -> None:
        raise Gone


@plant("R-FRAME-5", waits=True)
class BadFrameGoesOn(ReferenceServer):
    """A length that can't be is answered, but the connection goes on, out of step."""

    def lost_the_place(self, connection: Connection, header: bytes, length: int) -> None:
        self.error(connection, "unknown", "bad_frame", f"a frame of length {length} can't be read")
        connection.receive(65_536, math.inf)
        while True:
            connection.receive(65_536, math.inf)


@plant("R-FRAME-6", around="R-FRAME-1 R-FRAME-5 R-FRAME-6")
class NamesNoProtocol(ReferenceServer):
    """`bad_frame` says nothing of the length or of what the bytes look like."""

    def lost_the_place(self, connection: Connection, header: bytes, length: int) -> None:
        self.error(connection, "unknown", "bad_frame", "this frame can't be read")
        connection.say_last()


# ------------------------------------------------------------------------------------------------------------------------ JSON


@plant("R-JSON-1")
class ReplacesBadUtf8(ReferenceServer):
    """Bytes that are no UTF-8 are replaced, and the packet is taken."""

    def decode(self, payload: bytes) -> Packet:
        return super().decode(payload.decode("utf-8", "replace").lstrip("\ufeff").encode())


@plant("R-JSON-2")
class TakesLists(ReferenceServer):
    """JSON that is no object is taken for an empty packet."""

    def decode(self, payload: bytes) -> Packet:
        try:
            if not isinstance(json.loads(payload), dict):
                return {}
        except (ValueError, RecursionError):
            pass
        return super().decode(payload)


@plant("R-JSON-3", "R-JSON-4", "R-JSON-7")
class TakesAnyShape(ReferenceServer):
    """Neither the depth, nor the number of keys, nor half pairs are looked at."""

    def check_shape(self, packet: Packet) -> None:
        self.check_texts(())


@plant("R-JSON-5")
class TakesNan(ReferenceServer):
    """`NaN`, `Infinity` and overflowing numbers are taken, as json.loads takes them."""

    def no_number(self, word: str) -> Any:
        return 0.0

    def float_of(self, digits: str) -> float:
        return float(digits)


@plant("R-JSON-6")
class TakesBigIntegers(ReferenceServer):
    """Integers of any size are taken."""

    def integer_of(self, digits: str) -> int:
        return int(digits) if len(digits) < 1000 else super().integer_of(digits)


@plant("R-JSON-7")
class TakesLoneSurrogates(ReferenceServer):
    """Half a surrogate pair is taken for a character."""

    def check_texts(self, values: Any) -> None:
        pass


@plant("R-JSON-8")
class LastKeyWins(ReferenceServer):
    """The same key twice: the later one counts."""

    def object_of(self, pairs: list[tuple[str, Any]]) -> Packet:
        return dict(pairs)


@plant("R-JSON-9")
class BadJsonEndsIt(ReferenceServer):
    """The first payload that is no JSON is answered and ends the connection."""

    def take(self, connection: Connection, payload: bytes) -> None:
        connection.bad_json = 9
        super().take(connection, payload)


@plant("R-JSON-11")
class TakesAnyType(ReferenceServer):
    """Only the presence of keys is checked: a number is as good as a text."""

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        data = packet.get("data")
        fixed = dict(data) if isinstance(data, dict) else data
        if isinstance(fixed, dict):
            for key in ("room_id", "content", "chatid"):
                if key in fixed and isinstance(fixed[key], (int, float)):
                    fixed[key] = str(fixed[key])
        return super().fields_of({**packet, "data": fixed} if "data" in packet else packet, request)


@plant("R-JSON-12")
class OneSpelling(ReferenceServer):
    """`chatid` and `chat_id` are understood only where each belongs."""

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        data = packet.get("data")
        if isinstance(data, dict):
            other = "chatid" if request.file_packet else "chat_id"
            packet = {**packet, "data": {key: value for key, value in data.items() if key != other}}
        return super().fields_of(packet, request)


@plant("R-JSON-13")
class RefusesUnknownKeys(ReferenceServer):
    """A key that the server does not know is an error."""

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        data = packet.get("data", {})
        known = {*request.needs, *request.may, "chat_id"}
        if isinstance(data, dict) and (
            set(data) - known or set(packet) - {"action", "data", "request_id", "status", "message"}
        ):
            raise Refusal("bad_packet", "there is a key that nobody knows")
        return super().fields_of(packet, request)


@plant("R-JSON-14")
class ForgetsRequestId(ReferenceServer):
    """Errors come without the `request_id` of the request."""

    def error(self, connection: Connection, original_action: str, code: str, message: str) -> None:
        connection.request_id = None
        super().error(connection, original_action, code, message)


@plant("R-JSON-16")
class NoStatus(ReferenceServer):
    """Replies have no `message`."""

    def encode(self, packet: Packet) -> bytes:
        return super().encode(
            {
                key: value
                for key, value in packet.items()
                if key != "message" or packet["action"] == "error"
            }
        )


# ------------------------------------------------------------------------------------------------------------------------ errors


@plant("R-ERR-1")
class NoCode(ReferenceServer):
    """Errors have no `code`."""

    def encode(self, packet: Packet) -> bytes:
        return super().encode(
            {
                key: value
                for key, value in packet.items()
                if key != "code" or packet["action"] != "error"
            }
        )


@plant("R-ERR-2")
class ForgetsOriginalAction(ReferenceServer):
    """`original_action` is always "unknown"."""

    def error(self, connection: Connection, original_action: str, code: str, message: str) -> None:
        super().error(connection, "unknown", code, message)


@plant("R-ERR-3", "R-ERR-5")
class FieldsBeforeLogin(ReferenceServer):
    """The fields are checked before it is asked who is logged in."""

    def handle(self, connection: Connection, packet: Packet) -> None:
        self.fields_of(packet, self.request_of(connection, packet))
        super().handle(connection, packet)


@plant("R-ERR-4")
class UnknownIsBadPacket(ReferenceServer):
    """An action that nobody knows is `bad_packet`."""

    def request_of(self, connection: Connection, packet: Packet) -> Request:
        try:
            return super().request_of(connection, packet)
        except Refusal as refusal:
            raise Refusal("bad_packet", str(refusal)) from None


@plant("R-ERR-6")
class FailsWithoutCode(ReferenceServer):
    """`register_fail` and `ack` with `error` have no `code`."""

    def encode(self, packet: Packet) -> bytes:
        if packet["action"] in ("ack", "register_fail"):
            packet = {key: value for key, value in packet.items() if key != "code"}
        return super().encode(packet)


@plant("R-ERR-7")
class ErrorsEndIt(ReferenceServer):
    """The connection is closed after every error."""

    def error(self, connection: Connection, original_action: str, code: str, message: str) -> None:
        super().error(connection, original_action, code, message)
        with connection.wake:
            connection.last_word = True
            connection.wake.notify_all()


# ------------------------------------------------------------------------------------------------------------------------ sessions


@plant("R-SESS-2", "R-SESS-4", "R-SESS-10")
class SameSessionKey(ReferenceServer):
    """Everybody gets the same session key."""

    def new_session_key(self, account: Account) -> str:
        return "unique_session_key"


@plant("R-SESS-4")
class TellsWhichWasWrong(ReferenceServer):
    """`login_fail` says whether the name or the password was wrong."""

    def do_login(self, connection: Connection, data: Packet) -> None:
        if data["chatid"].casefold() not in self.accounts:
            return self.reply(
                connection, "login_fail", "There is no such user", None, status="error"
            )
        super().do_login(connection, data)


@plant("R-SESS-4", "R-SESS-8", "R-ACC-9")
class AnyPassword(ReferenceServer):
    """Every password is right."""

    def password_is_right(self, account: Account, password: str) -> bool:
        return True


@plant("R-SESS-5", "R-SESS-8", waits=True)
class SecondLogin(ReferenceServer):
    """A user who is on may log in a second time, and both go on."""

    def check_place(self, account: Account, take_over: bool) -> None:
        pass

    def begin_session(
        self, connection: Connection, account: Account, features: list[str] | None
    ) -> None:
        account.connection = None
        super().begin_session(connection, account, features)


@plant("R-SESS-6")
class LogsInAgain(ReferenceServer):
    """`login` on a connection that is logged in logs in once more."""

    def check_identity(
        self, connection: Connection, action: str, data: Packet, request: Request
    ) -> None:
        if action != "login":
            return super().check_identity(connection, action, data, request)
        self.end_session(connection)


@plant("R-SESS-7", "R-ACC-4")
class AnyName(ReferenceServer):
    """`chatid` of a request is not compared with who is logged in."""

    def check_identity(
        self, connection: Connection, action: str, data: Packet, request: Request
    ) -> None:
        if action == "login":
            super().check_identity(connection, action, data, request)


@plant("R-SESS-8", waits=True)
class TakeOverLeavesBoth(ReferenceServer):
    """A login with the key takes the place, but the other connection is not closed."""

    def begin_session(
        self, connection: Connection, account: Account, features: list[str] | None
    ) -> None:
        if account.connection is not None:
            self.end_session(account.connection)
        super().begin_session(connection, account, features)


@plant("R-SESS-10")
class KeyChanges(ReferenceServer):
    """A login with the key gives a new key, and the old one dies."""

    def reply(
        self,
        connection: Connection,
        action: str,
        message: str | None,
        data: Packet | None,
        status: str = "success",
        code: str = "",
    ) -> None:
        if action == "login_success" and data is not None:
            account = self.me(connection)
            fresh = self.new_session_key(account)
            account.key_hashes = {hashlib.sha256(fresh.encode()).digest()}
            data = {**data, "session_key": fresh}
        super().reply(connection, action, message, data, status, code)


@plant("R-SESS-11")
class KeyOutlivesLogout(ReferenceServer):
    """The key goes on after `logout`."""

    def do_logout(self, connection: Connection, data: Packet) -> None:
        account = self.me(connection)
        kept = set(account.key_hashes)
        super().do_logout(connection, data)
        account.key_hashes = kept


@plant("R-SESS-12")
class LogoutCloses(ReferenceServer):
    """`logout` closes the connection."""

    def do_logout(self, connection: Connection, data: Packet) -> None:
        super().do_logout(connection, data)
        with connection.wake:
            connection.last_word = True
            connection.wake.notify_all()


@plant("R-SESS-13")
class PingAfterLoginOnly(ReferenceServer):
    """`ping` needs a login."""

    def check_login(self, connection: Connection, action: str, request: Request) -> None:
        if connection.account is None and action == "ping":
            raise Refusal("not_logged_in", "ping needs a login first")
        super().check_login(connection, action, request)


# ------------------------------------------------------------------------------------------------------------------------ accounts


@plant("R-ACC-2", "R-ACC-4")
class RegisterAgain(ReferenceServer):
    """`register` for a taken name gives the account a new password."""

    def do_register(self, connection: Connection, data: Packet) -> None:
        account = self.accounts.get(data["chatid"].casefold())
        if account is None or account.name != data["chatid"]:
            return super().do_register(connection, data)
        self.set_password(account, data["password"])
        self.reply(
            connection, "register_success", "Registration successful", {"chatid": account.name}
        )


@plant("R-ACC-5")
class AnyChatid(ReferenceServer):
    """`register` takes any text as a name."""

    def do_register(self, connection: Connection, data: Packet) -> None:
        name = data["chatid"]
        if all(character.isalnum() or character in "_-." for character in name):
            return super().do_register(connection, data)
        account = self.accounts[name.casefold()] = Account(name)
        self.set_password(account, data["password"])
        self.reply(connection, "register_success", "Registration successful", {"chatid": name})


@plant("R-ACC-9")
class OldPasswordNotAsked(ReferenceServer):
    """`change_password` does not look at the old password."""

    def do_change_password(self, connection: Connection, data: Packet) -> None:
        account = self.me(connection)
        self.set_password(account, data["new_password"])
        account.key_hashes.clear()
        self.reply(
            connection,
            "password_changed",
            "Password changed successfully.",
            {"chatid": account.name},
        )


# ------------------------------------------------------------------------------------------------------------------------ messages


@plant("R-MSG-1")
class LettersOnly(ReferenceServer):
    """Only letters are counted: no blanks, no digits, no punctuation."""

    def count_letters(self, content: str) -> dict[str, int]:
        return dict(Counter(character for character in content if character.isalpha()))


@plant("R-MSG-1")
class CaseBlind(ReferenceServer):
    """`H` and `h` are counted together."""

    def count_letters(self, content: str) -> dict[str, int]:
        return dict(Counter(content.lower()))


@plant("R-MSG-1")
class Utf16Units(ReferenceServer):
    """Characters beyond U+FFFF are not counted as one: what JavaScript's text[i] gives."""

    def count_letters(self, content: str) -> dict[str, int]:
        units = content.encode("utf-16-le")
        return dict(
            Counter(
                units[at : at + 2].decode("utf-16-le", "replace") for at in range(0, len(units), 2)
            )
        )


@plant("R-MSG-1")
class Normalises(ReferenceServer):
    """The text is normalised before it is counted, so `e` + U+0301 becomes one character."""

    def count_letters(self, content: str) -> dict[str, int]:
        return dict(Counter(unicodedata.normalize("NFC", content)))


@plant("R-MSG-1")
class CountsPresence(ReferenceServer):
    """Every letter that is there counts 1."""

    def count_letters(self, content: str) -> dict[str, int]:
        return dict.fromkeys(content, 1)


@plant("R-MSG-2")
class DeliversAtOnce(ReferenceServer):
    """The message goes to the others before it is confirmed, and then is not sent again."""

    def answer_counts(self, connection: Connection, transaction_id: str, content: str) -> None:
        super().answer_counts(connection, transaction_id, content)
        sender = self.me(connection)
        transaction = connection.transactions[transaction_id]
        message = self.store(sender, transaction)
        super().deliver(sender, message)
        self.early = {**getattr(self, "early", {}), transaction_id: message}

    def do_confirm_count(self, connection: Connection, data: Packet) -> None:
        message = getattr(self, "early", {}).get(data["transaction_id"])
        if (
            data["transaction_id"] not in connection.transactions
            or message is None
            or not data["confirm"]
        ):
            return super().do_confirm_count(connection, data)
        del connection.transactions[data["transaction_id"]]
        self.acknowledge(connection, data["transaction_id"], message)


@plant("R-MSG-4", waits=True)
class ForgetsTheAck(ReferenceServer):
    """A confirmed message is stored and delivered, but never acknowledged."""

    def acknowledge(self, connection: Connection, transaction_id: str, message: Message) -> None:
        pass


@plant("R-MSG-4", waits=True)
class WrongRoom(ReferenceServer):
    """`receive_message` names the lobby, whatever the room was."""

    def received(self, account: Account, message: Message) -> Packet:
        packet = super().received(account, message)
        packet["data"]["room_id"] = "lobby"
        return packet


@plant("R-MSG-4")
class SaysWhoElse(ReferenceServer):
    """`sender_chatid` is the receiver's name."""

    def received(self, account: Account, message: Message) -> Packet:
        packet = super().received(account, message)
        packet["data"]["sender_chatid"] = account.name
        return packet


@plant("R-MSG-4")
class TrimsContent(ReferenceServer):
    """What is forwarded is stripped of blanks at both ends, and doubled ones are made one."""

    def received(self, account: Account, message: Message) -> Packet:
        packet = super().received(account, message)
        packet["data"]["content"] = " ".join(message.content.split()) or message.content
        return packet


@plant("R-MSG-5")
class StoresTheUnconfirmed(ReferenceServer):
    """`confirm: false` is taken for true."""

    def is_confirmed(self, transaction: Transaction, confirm: bool) -> bool:
        return True


@plant("R-MSG-8")
class IgnoresKeys(ReferenceServer):
    """`transaction_id` of `send_message` is ignored: T is always the server's own."""

    def do_send_message(self, connection: Connection, data: Packet) -> None:
        super().do_send_message(
            connection, {key: value for key, value in data.items() if key != "transaction_id"}
        )


@plant("R-MSG-9")
class StoresTwice(ReferenceServer):
    """A key whose message is stored already starts a new transaction."""

    def do_send_message(self, connection: Connection, data: Packet) -> None:
        self.kept_keys.clear()
        super().do_send_message(connection, data)


@plant("R-MSG-11")
class KeysOfAll(ReferenceServer):
    """Keys are the whole server's: another user's message of the same key is a mismatch."""

    def do_send_message(self, connection: Connection, data: Packet) -> None:
        key = data.get("transaction_id")
        for (_, kept), message in self.kept_keys.items():
            if kept == key:
                self.check_same(message, data["room_id"], data["content"])
        super().do_send_message(connection, data)


@plant("R-MSG-12")
class SenderAnswersToo(ReferenceServer):
    """The sender of a message may answer for it as a receiver may."""

    def message_to_answer(self, connection: Connection, transaction_id: str) -> Message:
        message = self.messages.get(transaction_id)
        if message is not None and message.sender == self.me(connection).name:
            return message
        return super().message_to_answer(connection, transaction_id)


@plant("R-MSG-13")
class LongContent(ReferenceServer):
    """Blanks alone are no content."""

    def do_send_message(self, connection: Connection, data: Packet) -> None:
        if not data["content"].strip():
            raise Refusal("bad_packet", "data.content is empty")
        super().do_send_message(connection, data)


@plant("R-MSG-14")
class UnreadIsAll(ReferenceServer):
    """`unread` counts every message of the room."""

    def unread(self, account: Account, room: Room) -> int:
        return len(room.messages)


@plant("R-MSG-15")
class OwnT2ForEach(ReferenceServer):
    """Each receiver gets another T2 for the same message."""

    def received(self, account: Account, message: Message) -> Packet:
        packet = super().received(account, message)
        packet["data"]["transaction_id"] = f"{message.t2}-{account.name}"
        return packet

    def message_to_answer(self, connection: Connection, transaction_id: str) -> Message:
        name = "-" + self.me(connection).name
        return super().message_to_answer(
            connection, transaction_id[: -len(name)] if transaction_id.endswith(name) else "none"
        )

    def reply(
        self,
        connection: Connection,
        action: str,
        message: str | None,
        data: Packet | None,
        status: str = "success",
        code: str = "",
    ) -> None:
        if action == "confirm_count" and data is not None:
            data = {
                **data,
                "transaction_id": f"{data['transaction_id']}-{self.me(connection).name}",
            }
        super().reply(connection, action, message, data, status, code)


@plant("R-MSG-16")
class NeverConfirms(ReferenceServer):
    """Right counts of a receiver are answered `confirm: false`."""

    def counts_are_right(self, message: Message, letter_frequencies: dict[str, int]) -> bool:
        return False


@plant("R-MSG-16")
class AlwaysConfirms(ReferenceServer):
    """Any counts of a receiver are answered `confirm: true`."""

    def counts_are_right(self, message: Message, letter_frequencies: dict[str, int]) -> bool:
        return True


@plant("R-MSG-16")
class ComparesSumsOnly(ReferenceServer):
    """Only the sum of the counts is compared."""

    def counts_are_right(self, message: Message, letter_frequencies: dict[str, int]) -> bool:
        return sum(letter_frequencies.values()) == len(message.content)


@plant("R-MSG-17")
class AckAnswered(ReferenceServer):
    """A client's `ack` is answered by an `ack`."""

    def do_ack(self, connection: Connection, data: Packet) -> None:
        super().do_ack(connection, data)
        self.reply(connection, "ack", "Thank you.", {"transaction_id": data["transaction_id"]})


@plant("R-MSG-18")
class NoSecondCopy(ReferenceServer):
    """`ack` with `error` brings no copy of the message."""

    def do_ack(self, connection: Connection, data: Packet) -> None:
        if data["status"] == "success":
            super().do_ack(connection, data)


@plant("R-MSG-21")
class ForwardsToSender(ReferenceServer):
    """The sender hears its own message."""

    def deliver(self, sender: Account, message: Message) -> None:
        super().deliver(sender, message)
        self.forward(sender, self.received(sender, message))


# ------------------------------------------------------------------------------------------------------------------------ order


@plant("R-ORDER-2")
class SlowPath(ReferenceServer):
    """What the first speaker of a room says takes longer than what the others say: their messages
    overtake it."""

    def deliver(self, sender: Account, message: Message) -> None:
        if message.sender != self.rooms[message.room_id].messages[0].sender:
            return super().deliver(sender, message)
        timer = threading.Timer(0.1, self.deliver_late, (sender, message))
        timer.daemon = True
        timer.start()

    def deliver_late(self, sender: Account, message: Message) -> None:
        with self.lock:
            super().deliver(sender, message)


@plant("R-ORDER-3")
class SameIdTwice(ReferenceServer):
    """Each room counts its messages from 1."""

    def store(self, sender: Account, transaction: Transaction) -> Message:
        room = self.rooms.get(transaction.room_id)
        self.last_message_id = len(room.messages) if room else 0
        return super().store(sender, transaction)


@plant("R-ORDER-5", waits=True)
class AnswersLate(ReferenceServer):
    """Every `character_count` comes a moment later, behind the answers to later requests."""

    def answer_counts(self, connection: Connection, transaction_id: str, content: str) -> None:
        request_id = connection.request_id

        def later() -> None:
            with self.lock:
                before, connection.request_id = connection.request_id, request_id
                ReferenceServer.answer_counts(self, connection, transaction_id, content)
                connection.request_id = before

        timer = threading.Timer(0.05, later)
        timer.daemon = True
        timer.start()


# ------------------------------------------------------------------------------------------------------------------------ history


@plant("R-HIST-1")
class ForgetsHistory(ReferenceServer):
    """The history is always empty."""

    def is_wanted(self, message: Message, begin: datetime | None, data: Packet) -> bool:
        return False


@plant("R-HIST-1")
class NewestFirst(ReferenceServer):
    """A page of the history has the newest message first."""

    def page_of_messages(self, messages: list[Message], data: Packet) -> tuple[list[Message], bool]:
        page, has_more = super().page_of_messages(messages, data)
        return page[::-1], has_more


@plant("R-HIST-2")
class FromTimeIsExclusive(ReferenceServer):
    """`from_time` leaves out what was said in that very second."""

    def is_wanted(self, message: Message, begin: datetime | None, data: Packet) -> bool:
        return super().is_wanted(message, begin, data) and (
            begin is None or message.timestamp > begin.timestamp()
        )


@plant("R-HIST-3")
class AnyTime(ReferenceServer):
    """A time without a zone is taken for UTC."""

    def time_of(self, written_time: str) -> datetime:
        has_zone = written_time[-1:] in "Zz" or re.search(r"[+-]\d\d:?\d\d$", written_time)
        return super().time_of(written_time if has_zone else written_time + "Z")


@plant("R-HIST-4")
class AfterIdIsInclusive(ReferenceServer):
    """`after_id` brings the message of this id too."""

    def is_wanted(self, message: Message, begin: datetime | None, data: Packet) -> bool:
        if message.message_id == data.get("after_id"):
            return True
        return super().is_wanted(message, begin, data)


@plant("R-HIST-5")
class BeforeIdFromTheStart(ReferenceServer):
    """`before_id` brings the first messages of the room, not those just before the id."""

    def page_of_messages(self, messages: list[Message], data: Packet) -> tuple[list[Message], bool]:
        if "before_id" in data:
            data = {"limit": data.get("limit", 1000)}
        return super().page_of_messages(messages, data)


@plant("R-HIST-6")
class NoLimit(ReferenceServer):
    """`limit` is ignored, but for pages that end before an id."""

    def page_of_messages(self, messages: list[Message], data: Packet) -> tuple[list[Message], bool]:
        if "limit" in data and "before_id" not in data:
            data = {**data, "limit": 1000}
        return super().page_of_messages(messages, data)


@plant("R-HIST-7")
class NeverHasMore(ReferenceServer):
    """`has_more` is always false."""

    def page_of_messages(self, messages: list[Message], data: Packet) -> tuple[list[Message], bool]:
        return super().page_of_messages(messages, data)[0], False


# ------------------------------------------------------------------------------------------------------------------------ files


@plant("R-FILE-2")
class CountsFromOneOnly(ReferenceServer):
    """A sender that counts its chunks from 0 is refused."""

    def do_file_send_data(self, connection: Connection, data: Packet) -> None:
        self.open_upload(connection, data).first_number = 1
        super().do_file_send_data(connection, data)


@plant("R-FILE-3", "R-FILE-4")
class TakesAnyChunk(ReferenceServer):
    """The sizes of chunks are not checked."""

    def check_chunk(self, upload: Upload, index: int, length: int) -> None:
        if not 0 <= index < upload.total:
            raise Refusal("bad_packet", "data.sequence_number: there is no such chunk")


@plant("R-FILE-6")
class InOrderOfArrival(ReferenceServer):
    """The chunks are put together in the order in which they came."""

    def assemble(self, upload: Upload) -> bytes:
        return b"".join(upload.chunks.values())


@plant("R-FILE-6")
class FirstChunkCounts(ReferenceServer):
    """Of two chunks of one number the earlier counts."""

    def keep_chunk(self, upload: Upload, index: int, chunk: bytes) -> None:
        upload.chunks.setdefault(index, chunk)


@plant("R-FILE-7")
class NoEmptyFiles(ReferenceServer):
    """An empty file is refused."""

    def check_numbers(self, data: Packet) -> None:
        if data["file_size"] == 0:
            raise Refusal("bad_packet", "data.file_size: expected at least 1")
        super().check_numbers(data)


@plant("R-FILE-11")
class UnknownFileIsBadPacket(ReferenceServer):
    """A download of a file that is not there is `bad_packet`."""

    def do_file_down_req(self, connection: Connection, data: Packet) -> None:
        try:
            super().do_file_down_req(connection, data)
        except Refusal as refusal:
            raise Refusal(
                "bad_packet" if refusal.code == "file_not_found" else refusal.code, str(refusal)
            ) from None


@plant("R-FILE-12")
class HashOfTheName(ReferenceServer):
    """`file_send_fin` tells the `sha256` of something else."""

    def answer_fin(self, connection: Connection, data: Packet, result: Packet) -> None:
        super().answer_fin(
            connection,
            data,
            {**result, "sha256": hashlib.sha256(data["file_path"].encode()).hexdigest()},
        )


@plant("R-FILE-13")
class FinWithHoles(ReferenceServer):
    """`file_send_fin` succeeds though a chunk is missing."""

    def check_complete(self, upload: Upload) -> None:
        pass

    def assemble(self, upload: Upload) -> bytes:
        return b"".join(upload.chunks.get(index, b"") for index in range(upload.total))


@plant("R-FILE-14")
class TellsOfFilesTwice(ReferenceServer):
    """A repeated `file_send_fin` tells everybody again."""

    def do_file_send_fin(self, connection: Connection, data: Packet) -> None:
        account, upload = self.me(connection), self.open_upload(connection, data)
        again = upload.result is not None
        super().do_file_send_fin(connection, data)
        if again and upload.result is not None:
            self.tell_of_file(
                account,
                upload.room_id,
                self.rooms[upload.room_id].files[upload.result["stored_as"]],
            )


@plant("R-FILE-14", waits=True)
class TellsNobodyOfFiles(ReferenceServer):
    """Nobody gets `receive_file`."""

    def tell_of_file(self, sender: Account, room_id: str, stored: File) -> None:
        pass


@plant("R-FILE-15")
class ClaimsToHaveAll(ReferenceServer):
    """`received` of an upload that is taken up again lists all chunks, there or not."""

    def ranges(self, upload: Upload) -> list[list[int]]:
        return [[1, upload.total]] if upload.chunks else []


@plant("R-FILE-17")
class KeepsFolders(ReferenceServer):
    """Everything up to the last backslash is kept in the name of a file."""

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        known = super().fields_of(packet, request)
        if "file_path" in known:
            known["file_path"] = packet["data"]["file_path"].split("/")[-1]
        return known


@plant("R-FILE-18")
class OneNameForAll(ReferenceServer):
    """Another user's file of the same name takes the place of the first."""

    def free_name(self, room: Room, account: Account, name: str) -> str:
        return name


@plant("R-FILE-19")
class LosesTheLastChunk(ReferenceServer):
    """A download of several chunks ends one chunk early."""

    def download(
        self, room_id: str, stored: File, total: int, begin: int, request_id: str | None
    ) -> Iterator[Packet]:
        for packet in super().download(room_id, stored, total, begin, request_id):
            if packet["action"] != "file_down_data" or packet["data"]["sequence_number"] < max(
                total, 2
            ):
                yield packet


@plant("R-FILE-19")
class DownloadsFromZero(ReferenceServer):
    """The chunks of a download are numbered from 0."""

    def chunk(self, stored: File, number: int) -> Packet:
        return {**super().chunk(stored, number), "sequence_number": number - 1}


@plant("R-FILE-19")
class BreaksLines(ReferenceServer):
    """The base64 of a download has line breaks."""

    def chunk(self, stored: File, number: int) -> Packet:
        packet = super().chunk(stored, number)
        return {
            **packet,
            "file_data": base64.encodebytes(base64.b64decode(packet["file_data"])).decode(),
        }


@plant("R-FILE-21")
class IgnoresFromSequence(ReferenceServer):
    """`from_sequence` is ignored."""

    def download(
        self, room_id: str, stored: File, total: int, begin: int, request_id: str | None
    ) -> Iterator[Packet]:
        return super().download(room_id, stored, total, 1, request_id)


@plant("R-FILE-23")
class CancelsNothing(ReferenceServer):
    """`file_cancel` is answered and nothing else happens."""

    def give_up(self, account: Account, place: tuple[str, str, str], upload: Upload) -> None:
        pass


@plant("R-FILE-24")
class ListsWithSemicolons(ReferenceServer):
    """The names of `file_list` are joined by `; `."""

    def reply(
        self,
        connection: Connection,
        action: str,
        message: str | None,
        data: Packet | None,
        status: str = "success",
        code: str = "",
    ) -> None:
        if action == "file_list_req" and data is not None:
            data = {**data, "file_list": data["file_list"].replace(", ", "; ")}
        super().reply(connection, action, message, data, status, code)


# ------------------------------------------------------------------------------------------------------------------------ rooms, events


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


# ------------------------------------------------------------------------------------------------------------------------ clients


@plant("R-FRAME-1")
class LittleEndianClient(PlainClient):
    """The length is written with the smallest byte first."""

    def header(self, length: int) -> bytes:
        return length.to_bytes(4, "little")


@plant("R-FRAME-2")
class SplitFrameBlocks(PlainClient):
    """One recv has to bring the whole payload."""

    def read(self, length: int) -> bytes:
        data = self.sock.recv(length)
        if not data:
            raise EOFError
        return data


@plant("R-FRAME-2", whole=False)
class JoinedFramesAreLost(PlainClient):
    """What comes behind the second frame of one piece is thrown away."""

    second: bytes = b""

    def receive(self) -> Packet:
        data, self.second = self.second, b""
        while len(data) < 4 or len(data) < self.end_of(data):
            some = self.sock.recv(1_048_576)
            if not some:
                raise EOFError
            data += some
        rest = data[self.end_of(data) :]
        if len(rest) >= 4:
            self.second = rest[: self.end_of(rest)]
        packet: Packet = json.loads(data[4 : self.end_of(data)])
        return packet

    def end_of(self, data: bytes) -> int:
        return 4 + int.from_bytes(data[:4], "big")


@plant("R-MSG-3")
class ConfirmsAnything(PlainClient):
    """`confirm` is true whatever the server counted."""

    def is_meant(self, transaction_id: str, data: Packet) -> bool:
        return True


@plant("R-MSG-3")
class ConfirmsNothing(PlainClient):
    """`confirm` is false whatever the server counted."""

    def is_meant(self, transaction_id: str, data: Packet) -> bool:
        return False


@plant("R-MSG-16")
class WrongCounts(PlainClient):
    """A received message is counted without its blanks."""

    def answer_counts(self, data: Packet) -> None:
        super().answer_counts({**data, "content": data["content"].replace(" ", "")})


@plant("R-MSG-16")
class CountsNothing(PlainClient):
    """A received message is not answered."""

    def answer_counts(self, data: Packet) -> None:
        pass


@plant("R-MSG-17")
class NoAck(PlainClient):
    """`confirm_count` is not answered by `ack`."""

    def on_confirm_count(self, packet: Packet, data: Packet) -> None:
        pass


@plant("R-MSG-18")
class AlwaysAcks(PlainClient):
    """`ack` says `success` though the server said that the counts are wrong."""

    def on_confirm_count(self, packet: Packet, data: Packet) -> None:
        super().on_confirm_count(packet, {**data, "confirm": True})


@plant("R-JSON-13")
class DiesOfUnknownKeys(PlainClient):
    """A key that the client does not know ends it."""

    KNOWN = frozenset(
        [
            "transaction_id",
            "letter_frequencies",
            "original_action",
            "confirm",
            "message_id",
            "timestamp",
            "room_id",
            "sender_chatid",
            "content",
        ]
    )

    def handle(self, packet: Packet) -> None:
        about_messages = packet.get("action") in (
            "character_count",
            "confirm_count",
            "ack",
            "receive_message",
        )
        if about_messages and set(packet["data"]) - self.KNOWN:
            raise EOFError
        super().handle(packet)


@plant("R-FILE-1")
class ForgetsFin(PlainClient):
    """An upload has no `file_send_fin`."""

    def finish(self, upload: ClientUpload) -> None:
        pass


@plant("R-FILE-1")
class SendsNoLastChunk(PlainClient):
    """The last chunk of an upload is not sent."""

    def numbers(self, upload: ClientUpload) -> list[int]:
        return super().numbers(upload)[:-1]

    def on_file_send_init(self, packet: Packet, data: Packet) -> None:
        super().on_file_send_init(packet, data)
        upload = self.uploads[data["file_path"]]
        upload.waiting_for.discard(self.total(upload))


@plant("R-FILE-19")
class DropsLastChunk(PlainClient):
    """The last chunk of a download is not kept, and what is there is taken for the file."""

    def assemble(self, download: Download) -> bytes:
        return b"".join(download.chunks[number] for number in sorted(download.chunks)[:-1])

    def is_whole(self, download: Download, content: bytes) -> bool:
        return True


if __name__ == "__main__":
    client_main(FAULTS[sys.argv[1]].kind, sys.argv[2:7])
