"""A plain chat server and a plain chat client, written from docs/PROTOCOL.md alone, to test the
conformance kit with.

Owns all it does: it imports nothing of the product and nothing of the kit. Everything is in memory,
one lock guards it all, and each promise of the protocol stands in a method of its own, so that
tests/support/conformance_faults.py can break one by overriding one. It is not made for use: it forgets
everything when it ends, and its passwords are hashed for a moment's test.

Threads: one accepts, and each connection has one that reads and handles and one that writes.
`start` and `stop` may be called by any.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
import secrets
import socket
import sys
import threading
import time
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
import contextlib

Packet = dict[str, Any]

MAX_FRAME = 1_048_576
MAX_FRAME_BEFORE_LOGIN = 65_536
MAX_CONTENT = 16_384
MAX_FILE = 104_857_600
MAX_CHUNK = 262_144
QUOTA = 1_073_741_824
MAX_INTEGER = 2**53 - 1


class Refusal(Exception):
    """A request is answered by `error` with this code, and changes nothing."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RegisterRefusal(Refusal):
    """The answer is `register_fail`."""


class LoginRefusal(Exception):
    """The answer is `login_fail`, which never says why."""


class Gone(Exception):
    """The connection is over."""


# ---------------------------------------------------------------------------------------------------- what a request must look like

Check = Callable[[Any], bool]


def text(most: int, unit: str = "characters") -> Check:
    def check(value: Any) -> bool:
        if not isinstance(value, str) or not value or "\0" in value:
            return False
        return len(value if unit == "characters" else value.encode()) <= most

    check.__doc__ = f"a text of 1 to {most} {unit} without NUL"
    return check


def integer(least: int, most: int = MAX_INTEGER) -> Check:
    def check(value: Any) -> bool:
        return type(value) is int and least <= value <= most

    check.__doc__ = f"an integer from {least} to {most}"
    return check


def list_of(each: Check, most: int) -> Check:
    def check(value: Any) -> bool:
        return isinstance(value, list) and len(value) <= most and all(map(each, value))

    check.__doc__ = f"a list of at most {most}, each {each.__doc__}"
    return check


def boolean(value: Any) -> bool:
    """true or false"""
    return isinstance(value, bool)


def room_name(value: Any) -> bool:
    """a text of 1 to 64 printable characters without leading or trailing space"""
    return (
        isinstance(value, str)
        and 1 <= len(value) <= 64
        and value.isprintable()
        and value == value.strip()
    )


def message_id_or_null(value: Any) -> bool:
    """a message_id or null"""
    return value is None or integer(0)(value)


def counts(value: Any) -> bool:
    """an object of characters and integers"""
    return isinstance(value, dict) and all(type(count) is int for count in value.values())


def base64_text(value: Any) -> bool:
    """base64 with padding and without line breaks"""
    try:
        return (
            isinstance(value, str)
            and value != ""
            and bool(base64.b64decode(value, validate=True) or True)
        )
    except (binascii.Error, ValueError):
        return False


def file_name(value: Any) -> bool:
    """a file's name of 1 to 255 bytes that no system reserves"""
    if not isinstance(value, str) or "\0" in value:
        return False
    name = last_part(value)
    if not name or len(name.encode()) > 255 or name in (".", ".."):
        return False
    stem = name.split(".")[0].rstrip(" ").upper()
    reserved = (
        stem in ("CON", "PRN", "AUX", "NUL") or re.fullmatch(r"(COM|LPT)[1-9¹²³]", stem) is not None
    )
    return not reserved and not any(unicodedata.category(character) == "Cc" for character in name)


def last_part(path: str) -> str:
    return re.split(r"[/\\]", path)[-1]


NAME = text(32)
KEY = text(64)
LIMIT = integer(1, 1000)
PAGE: dict[str, Check] = {"after": text(255), "limit": LIMIT}
IN_ROOM: dict[str, Check] = {"chatid": NAME, "room_id": room_name}
OF_FILE: dict[str, Check] = {**IN_ROOM, "file_path": file_name}


@dataclass(frozen=True)
class Request:
    """The keys of `data` that a request needs and those that it may have."""

    needs: dict[str, Check]
    may: dict[str, Check] = field(default_factory=dict)
    before_login: bool = False
    file_packet: bool = False


REQUESTS: dict[str, Request] = {
    "login": Request(
        {"chatid": NAME},
        {
            "password": text(128),
            "session_key": text(255),
            "take_over": boolean,
            "features": list_of(text(64), 64),
        },
        before_login=True,
    ),
    "register": Request({"chatid": NAME, "password": text(128)}, before_login=True),
    "ping": Request({}, before_login=True),
    "logout": Request({"chatid": NAME}),
    "change_password": Request({"chatid": NAME, "password": text(128), "new_password": text(128)}),
    "send_message": Request(
        {**IN_ROOM, "content": text(MAX_CONTENT, "bytes")}, {"transaction_id": KEY}
    ),
    "character_count": Request(
        {"transaction_id": KEY, "letter_frequencies": counts, "original_action": KEY}
    ),
    "confirm_count": Request({"transaction_id": KEY, "confirm": boolean}),
    "ack": Request({"transaction_id": KEY}),
    "get_messages": Request(
        IN_ROOM,
        {
            "from_time": text(255),
            "after_id": integer(0),
            "before_id": message_id_or_null,
            "limit": LIMIT,
        },
    ),
    "file_send_init": Request(
        {**OF_FILE, "file_size": integer(0), "file_type": text(255), "total_packets": integer(0)},
        {"chunk_size": integer(1, MAX_CHUNK), "transaction_id": KEY},
        file_packet=True,
    ),
    "file_send_data": Request(
        {**OF_FILE, "sequence_number": integer(0), "file_data": base64_text}, file_packet=True
    ),
    "file_send_fin": Request({**OF_FILE, "total_packets": integer(0)}, file_packet=True),
    "file_cancel": Request(OF_FILE, file_packet=True),
    "file_list_req": Request(IN_ROOM, PAGE, file_packet=True),
    "file_down_req": Request(OF_FILE, {"from_sequence": integer(1)}, file_packet=True),
    "create_room": Request(
        {"chatid": NAME, "participants": list_of(NAME, 1000), "room_name": room_name}
    ),
    "get_rooms": Request({"chatid": NAME}, PAGE),
    "join_room": Request(IN_ROOM),
    "leave_room": Request(IN_ROOM),
    "add_user_to_room": Request({**IN_ROOM, "user_to_add": NAME}),
    "remove_user_from_room": Request({**IN_ROOM, "user_to_remove": NAME}),
    "rename_room": Request({**IN_ROOM, "new_room_name": room_name}),
    "delete_room": Request(IN_ROOM),
    "get_room_users": Request(IN_ROOM, PAGE),
    "get_users": Request({"chatid": NAME}, PAGE),
    "typing": Request(IN_ROOM),
}

INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def is_chatid(name: str) -> bool:
    """Whether an account may have this name (R-ACC-5)."""
    if (
        not 1 <= len(name) <= 32
        or len(folded(name)) > 32
        or INVISIBLE.search(name)
        or unicodedata.category(name[0])[0] == "M"
    ):
        return False
    return all(
        letter in "_-."
        or unicodedata.category(letter)[0] in "LM"
        or unicodedata.category(letter) == "Nd"
        for letter in name
    )


# ---------------------------------------------------------------------------------------------------- what the server keeps


@dataclass
class Account:
    name: str
    salt: bytes = b""
    password_hash: bytes = b""
    key_hashes: set[bytes] = field(default_factory=set)
    connection: Connection | None = None
    marks: dict[str, int] = field(default_factory=dict)


@dataclass
class Message:
    message_id: int
    room_id: str
    sender: str
    content: str
    timestamp: int
    t2: str
    copies: Counter[str] = field(default_factory=Counter)


@dataclass
class File:
    name: str
    sender: str
    file_type: str
    content: bytes
    timestamp: int
    told_sha256: str


@dataclass
class Room:
    room_id: str
    name: str
    owner: str | None
    maker: str
    members: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    deleted: bool = False
    messages: list[Message] = field(default_factory=list)
    files: dict[str, File] = field(default_factory=dict)

    @property
    def private(self) -> bool:
        return self.owner is not None


@dataclass
class Transaction:
    room_id: str
    content: str
    key: str | None
    ends: float


@dataclass
class Upload:
    size: int
    total: int
    file_type: str
    chunk_size: int | None
    room_id: str
    name: str
    key: str | None
    first_number: int | None = None
    chunks: dict[int, bytes] = field(default_factory=dict)
    result: Packet | None = None


class Connection:
    """One client: a thread that reads and handles, and a thread that writes what waits."""

    def __init__(self, server: ReferenceServer, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.account: Account | None = None
        self.features: list[str] = []
        self.transactions: dict[str, Transaction] = {}
        self.downloads: deque[tuple[tuple[str, str], Iterator[Packet]]] = deque()
        self.request_id: str | None = None
        self.bad_json = 0
        self.tokens, self.tokens_at = float(server.BURST), time.monotonic()
        self.login_deadline = time.monotonic() + server.LOGIN_SECONDS
        self.waiting: deque[tuple[bytes, bool]] = deque()
        self.waiting_bytes = {True: 0, False: 0}
        self.wake = threading.Condition()
        self.last_word = False
        self.over = False
        sock.settimeout(0.25)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        threading.Thread(target=self.read_all, name="reference-reads", daemon=True).start()
        threading.Thread(target=self.write_all, name="reference-writes", daemon=True).start()

    # ---- reading

    def read_all(self) -> None:
        try:
            while True:
                payload = self.server.read_frame(self)
                self.server.take(self, payload)
                self.wait_until_written()
        except (Gone, OSError):
            pass
        finally:
            self.server.drop(self)

    def receive(self, most: int, deadline: float) -> bytes:
        """Some bytes, at least one; raises Gone at the end of the stream and at the deadline."""
        while True:
            try:
                some = self.sock.recv(most)
            except TimeoutError:
                if self.over or time.monotonic() > deadline:
                    raise Gone from None
                continue
            if not some:
                raise Gone
            return some

    def wait_until_written(self) -> None:
        """Nothing more is read while direct replies wait (R-LIM-12)."""
        with self.wake:
            while self.waiting_bytes[False] > 262_144 and not self.over:
                self.wake.wait(1)

    def say_last(self) -> None:
        """What waits is still written, then nothing: reads on for a moment, so that it arrives
        (R-FRAME-5)."""
        with self.wake:
            self.last_word = True
            self.wake.notify_all()
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            self.receive(65_536, deadline)
        raise Gone

    # ---- writing

    def put(self, packet: Packet, forwarded: bool) -> None:
        frame = self.server.encode(packet)
        with self.wake:
            self.waiting.append((frame, forwarded))
            self.waiting_bytes[forwarded] += len(frame)
            if self.waiting_bytes[True] > self.server.MAX_WAITING:
                self.close()
            self.wake.notify_all()

    def write_all(self) -> None:
        try:
            while (frame := self.next_frame()) is not None:
                self.write(frame)
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()

    def next_frame(self) -> bytes | None:
        """Blocks for what waits; a chunk of a download only where nothing else does. None: write no
        more."""
        while True:
            with self.wake:
                if self.over or (self.last_word and not self.waiting):
                    return None
                if self.waiting:
                    frame, forwarded = self.waiting.popleft()
                    self.waiting_bytes[forwarded] -= len(frame)
                    self.wake.notify_all()
                    return frame
                if not self.downloads:
                    self.wake.wait(1)
                    continue
            packet = self.server.next_of_download(self)
            if packet is not None:
                return self.server.encode(packet)

    def write(self, frame: bytes) -> None:
        deadline = time.monotonic() + self.server.STALL_SECONDS
        view = memoryview(frame)
        while view:
            try:
                view = view[self.sock.send(view) :]
                deadline = time.monotonic() + self.server.STALL_SECONDS
            except TimeoutError:
                if self.over or time.monotonic() > deadline:
                    raise OSError("the client takes nothing") from None

    def close(self) -> None:
        self.over = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        with self.wake:
            self.wake.notify_all()


class ReferenceServer:
    """The whole protocol but its command line. Every method below `handle` runs under
    `self.lock`."""

    BURST, RATE = 100, 20.0
    LOGIN_SECONDS = FRAME_SECONDS = STALL_SECONDS = 30.0
    TRANSACTION_SECONDS = 60.0
    MAX_WAITING = 1_048_576
    FREE = ("character_count", "confirm_count", "ack", "file_send_data", "ping")

    def __init__(self, port: int = 0) -> None:
        self.listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.listener.settimeout(0.25)
        self.port: int = self.listener.getsockname()[1]
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self.connections: set[Connection] = set()
        self.accounts: dict[str, Account] = {}
        self.rooms: dict[str, Room] = {"lobby": Room("lobby", "lobby", None, "")}
        self.messages: dict[str, Message] = {}
        self.kept_keys: dict[tuple[str, str], Message] = {}
        self.uploads: dict[tuple[str, str, str], Upload] = {}
        self.upload_keys: dict[tuple[str, str], Upload] = {}
        self.failures: dict[tuple[str, str], list[float]] = {}
        self.last_message_id = 0

    # ------------------------------------------------------------------------------------------------ its life

    def start(self) -> ReferenceServer:
        threading.Thread(target=self.accept_all, name="reference-accepts", daemon=True).start()
        return self

    def accept_all(self) -> None:
        while not self.stopping.is_set():
            try:
                sock, _ = self.listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            connection = Connection(self, sock)
            with self.lock:
                self.connections.add(connection)
            connection.start()

    def stop(self) -> None:
        self.stopping.set()
        with self.lock:
            self.tell(list(self.accounts.values()), "server_closing")
            connections = list(self.connections)
        self.listener.close()
        deadline = time.monotonic() + 0.5
        for connection in connections:
            with connection.wake:
                connection.last_word = True
                connection.wake.notify_all()
                while connection.waiting and not connection.over and time.monotonic() < deadline:
                    connection.wake.wait(0.05)
        for connection in connections:
            connection.close()

    def drop(self, connection: Connection) -> None:
        with self.lock:
            self.connections.discard(connection)
            self.end_session(connection)
        connection.close()
        connection.sock.close()

    # ------------------------------------------------------------------------------------------------ frames and JSON

    def encode(self, packet: Packet) -> bytes:
        payload = json.dumps(packet, ensure_ascii=False, separators=(",", ":")).encode()
        return self.header(len(payload)) + payload

    def header(self, length: int) -> bytes:
        return length.to_bytes(4, "big")

    def length_of(self, header: bytes) -> int:
        return int.from_bytes(header, "big")

    def max_frame(self, connection: Connection) -> int:
        return MAX_FRAME if connection.account else MAX_FRAME_BEFORE_LOGIN

    def read_frame(self, connection: Connection) -> bytes:
        deadline = math.inf
        header = b""
        while len(header) < 4:
            header += connection.receive(4 - len(header), min(deadline, connection.login_deadline))
            deadline = min(deadline, time.monotonic() + self.FRAME_SECONDS)
        length = self.length_of(header)
        if not 1 <= length <= self.max_frame(connection):
            self.lost_the_place(connection, header, length)
        return self.read_payload(connection, length, deadline)

    def read_payload(self, connection: Connection, length: int, deadline: float) -> bytes:
        payload = bytearray()
        while len(payload) < length:
            payload += connection.receive(
                min(65_536, length - len(payload)), min(deadline, connection.login_deadline)
            )
        return bytes(payload)

    def lost_the_place(self, connection: Connection, header: bytes, length: int) -> None:
        kinds = {b"GET ": "an HTTP request", b"POST": "an HTTP request", b"SSH-": "an SSH client"}
        kind = kinds.get(header, "a TLS hello" if header[:2] == b"\x16\x03" else "")
        hint = f"; the bytes {header.hex(' ')} look like {kind}" if kind else ""
        limit = self.max_frame(connection)
        connection.request_id = None
        self.error(
            connection,
            "unknown",
            "bad_frame",
            f"a frame of length {length} can't be read: expected 1 to {limit}{hint}",
        )
        connection.say_last()

    def decode(self, payload: bytes) -> Packet:
        """The packet; raises Refusal `bad_json` for all that R-JSON-1 to R-JSON-8 forbid."""
        try:
            packet = json.loads(
                payload.decode(),
                object_pairs_hook=self.object_of,
                parse_constant=self.no_number,
                parse_int=self.integer_of,
                parse_float=self.float_of,
            )
        except Refusal:
            raise
        except (ValueError, RecursionError) as problem:
            raise Refusal("bad_json", f"the payload is no JSON: {problem}") from None
        if not isinstance(packet, dict):
            raise Refusal("bad_json", "the payload is JSON, but no object")
        self.check_shape(packet)
        return packet

    def object_of(self, pairs: list[tuple[str, Any]]) -> Packet:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise Refusal("bad_json", "a key stands twice in one object")
        return found

    def no_number(self, word: str) -> Any:
        raise Refusal("bad_json", f"{word} is no JSON number")

    def integer_of(self, digits: str) -> int:
        if len(digits) > 1000 or abs(int(digits)) > MAX_INTEGER:
            raise Refusal("bad_json", "an integer is too large")
        return int(digits)

    def float_of(self, digits: str) -> float:
        if len(digits) > 1000 or math.isinf(float(digits)):
            raise Refusal("bad_json", "a number is too large")
        return float(digits)

    def check_shape(self, packet: Packet) -> None:
        """At most 32 deep, at most 10,000 keys and elements, no half of a surrogate pair."""
        count, level, depth = 0, [packet], 0
        while level:
            depth += 1
            below: list[Any] = []
            for thing in level:
                count += len(thing)
                if isinstance(thing, dict):
                    self.check_texts(thing)
                values = list(thing.values()) if isinstance(thing, dict) else thing
                self.check_texts(values)
                below.extend(value for value in values if isinstance(value, (dict, list)))
            if depth > 32 or count > 10_000:
                raise Refusal(
                    "bad_json", "the packet is nested too deep or has too many keys and elements"
                )
            level = below

    def check_texts(self, values: Iterable[Any]) -> None:
        for value in values:
            if isinstance(value, str) and any(
                "\ud800" <= character <= "\udfff" for character in value
            ):
                raise Refusal("bad_json", "a text holds a lone surrogate")

    # ------------------------------------------------------------------------------------------------ one request

    def take(self, connection: Connection, payload: bytes) -> None:
        """Handle one frame's payload and queue the answer."""
        connection.request_id = None
        try:
            packet = self.decode(payload)
        except Refusal as refusal:
            connection.bad_json += 1
            self.error(connection, "unknown", refusal.code, str(refusal))
            if connection.bad_json >= 10:
                connection.say_last()
            return
        action = packet.get("action")
        self.slow_down(connection, packet)
        try:
            with self.lock:
                self.handle(connection, packet)
        except RegisterRefusal as refusal:
            self.reply(
                connection, "register_fail", str(refusal), None, status="error", code=refusal.code
            )
        except Refusal as refusal:
            name = action[:64] if isinstance(action, str) and action else "unknown"
            self.error(connection, name, refusal.code, str(refusal))
        except LoginRefusal:
            self.reply(
                connection,
                "login_fail",
                "Invalid credentials or user already logged in",
                None,
                status="error",
            )

    def slow_down(self, connection: Connection, packet: Packet) -> None:
        """R-LIM-3 and R-LIM-9: who asks too much is heard later."""
        now = time.monotonic()
        action, data = packet.get("action"), packet.get("data")
        if connection.account is not None and action not in self.FREE:
            connection.tokens = (
                min(self.BURST, connection.tokens + (now - connection.tokens_at) * self.RATE) - 1
            )
            connection.tokens_at = now
            if connection.tokens < 0:
                self.stopping.wait(-connection.tokens / self.RATE)
        if (
            action == "login"
            and isinstance(data, dict)
            and "password" in data
            and "session_key" not in data
        ):
            failures = self.failures.get(
                (folded(str(data.get("chatid"))), connection.sock.getpeername()[0]), []
            )
            recent = sum(1 for at in failures if at > now - 60)
            if recent >= 5:
                self.stopping.wait(min(10.0, 2.0 ** (recent - 5)))

    def handle(self, connection: Connection, packet: Packet) -> None:
        """The checks in the order of R-ERR-3, then the request's own method."""
        request = self.request_of(connection, packet)
        self.check_login(connection, packet["action"], request)
        data = self.fields_of(packet, request)
        self.check_identity(connection, packet["action"], data, request)
        getattr(self, "do_" + packet["action"])(connection, data)

    def request_of(self, connection: Connection, packet: Packet) -> Request:
        request_id = packet.get("request_id")
        if KEY(request_id):
            connection.request_id = request_id
        action = packet.get("action")
        if not isinstance(action, str) or not action:
            raise Refusal("bad_packet", "action: expected a text")
        if action not in REQUESTS:
            raise Refusal("unknown_action", f"there is no request {action[:64]!r}")
        return REQUESTS[action]

    def check_login(self, connection: Connection, action: str, request: Request) -> None:
        if connection.account is None and not request.before_login:
            raise Refusal("not_logged_in", f"{action} needs a login first")

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        """The keys of `data` that the request knows, checked; `chat_id` comes as `chatid`, a file's
        path as its name."""
        if "request_id" in packet and not KEY(packet["request_id"]):
            raise Refusal("bad_packet", f"request_id: expected {KEY.__doc__}")
        data = packet.get("data", {})
        if not isinstance(data, dict):
            raise Refusal("bad_packet", "data: expected an object")
        data = dict(data)
        other = data.get("chat_id") if "chatid" in request.needs else None
        if other is not None and data.setdefault("chatid", other) != other:
            raise Refusal("bad_packet", "data.chatid and data.chat_id are both there and differ")
        for key, check in {**request.needs, **request.may}.items():
            if (key in data or key in request.needs) and not (key in data and check(data[key])):
                name = "chat_id" if key == "chatid" and request.file_packet else key
                raise Refusal("bad_packet", f"data.{name}: expected {check.__doc__}")
        if packet["action"] == "ack" and packet.get("status") not in ("success", "error"):
            raise Refusal("bad_packet", 'status: expected "success" or "error"')
        known = {
            key: value for key, value in data.items() if key in request.needs or key in request.may
        }
        if "file_path" in known:
            known["file_path"] = last_part(known["file_path"])
        if packet["action"] == "ack":
            known["status"] = packet["status"]
        return known

    def check_identity(
        self, connection: Connection, action: str, data: Packet, request: Request
    ) -> None:
        account = connection.account
        if account is None:
            return
        if action == "login":
            raise Refusal("forbidden", "this connection is logged in already")
        if "chatid" in request.needs and folded(data["chatid"]) != folded(account.name):
            raise Refusal("forbidden", "data.chatid: expected your own name")

    def reply(
        self,
        connection: Connection,
        action: str,
        message: str | None,
        data: Packet | None,
        status: str = "success",
        code: str = "",
    ) -> None:
        packet: Packet = {"action": action}
        if message is not None:
            packet.update(status=status, message=message)
        if code:
            packet["code"] = code
        if data is not None:
            packet["data"] = data
        if connection.request_id is not None:
            packet["request_id"] = connection.request_id
        connection.put(packet, forwarded=False)

    def error(self, connection: Connection, original_action: str, code: str, message: str) -> None:
        packet = {
            "action": "error",
            "original_action": original_action,
            "status": "error",
            "message": message,
            "code": code,
        }
        if connection.request_id is not None:
            packet["request_id"] = connection.request_id
        connection.put(packet, forwarded=False)

    def me(self, connection: Connection) -> Account:
        assert connection.account is not None
        return connection.account

    # ------------------------------------------------------------------------------------------------ sessions and accounts

    def do_ping(self, connection: Connection, data: Packet) -> None:
        self.reply(connection, "pong", "pong", None)

    def do_register(self, connection: Connection, data: Packet) -> None:
        name = data["chatid"]
        if not is_chatid(name):
            raise Refusal("bad_packet", "data.chatid: expected letters, digits, '_', '-' and '.'")
        if folded(name) in self.accounts:
            raise RegisterRefusal("name_taken", "This name is taken: choose another.")
        account = self.accounts[folded(name)] = Account(name)
        self.set_password(account, data["password"])
        self.reply(connection, "register_success", "Registration successful", {"chatid": name})

    def set_password(self, account: Account, password: str) -> None:
        account.salt = secrets.token_bytes(16)
        account.password_hash = hashlib.pbkdf2_hmac("sha256", password.encode(), account.salt, 100)

    def password_is_right(self, account: Account, password: str) -> bool:
        return (
            hashlib.pbkdf2_hmac("sha256", password.encode(), account.salt, 100)
            == account.password_hash
        )

    def note_failure(self, connection: Connection, name: str) -> None:
        self.failures.setdefault((folded(name), connection.sock.getpeername()[0]), []).append(
            time.monotonic()
        )

    def do_login(self, connection: Connection, data: Packet) -> None:
        if "password" not in data and "session_key" not in data:
            raise Refusal("bad_packet", "data: expected password or session_key")
        account = self.accounts.get(folded(data["chatid"]))
        key = data.get("session_key")
        if key is not None:
            if account is None or not self.key_is_alive(account, key):
                raise LoginRefusal
        else:
            if account is None or not self.password_is_right(account, data["password"]):
                self.note_failure(connection, data["chatid"])
                raise LoginRefusal
            self.check_place(account, data.get("take_over", False))
            account.key_hashes.clear()
            key = self.new_session_key(account)
            account.key_hashes.add(hashlib.sha256(key.encode()).digest())
        self.begin_session(connection, account, data.get("features"))
        answer: Packet = {"chatid": account.name, "session_key": key, "limits": self.limits()}
        if "features" in data:
            answer["features"] = connection.features
        self.reply(connection, "login_success", "Login successful", answer)

    def check_place(self, account: Account, take_over: bool) -> None:
        if account.connection is not None and not take_over:
            raise LoginRefusal

    def key_is_alive(self, account: Account, key: str) -> bool:
        return hashlib.sha256(key.encode()).digest() in account.key_hashes

    def new_session_key(self, account: Account) -> str:
        return secrets.token_urlsafe(24)

    def limits(self) -> Packet:
        return {
            "max_frame": MAX_FRAME,
            "max_content": MAX_CONTENT,
            "max_file": MAX_FILE,
            "max_chunk": MAX_CHUNK,
        }

    def begin_session(
        self, connection: Connection, account: Account, features: list[str] | None
    ) -> None:
        other = account.connection
        if other is not None:
            self.end_session(other)
            other.close()
        account.connection, connection.account = connection, account
        connection.login_deadline = math.inf
        connection.features = [word for word in ("events", "typing") if word in (features or [])]
        self.tell(self.all_but(account), "user_online", chatid=account.name)

    def end_session(self, connection: Connection) -> None:
        account = connection.account
        if account is None:
            return
        connection.account = account.connection = None
        connection.features = []
        connection.transactions.clear()
        with connection.wake:
            connection.downloads.clear()
        connection.login_deadline = time.monotonic() + self.LOGIN_SECONDS
        self.tell(self.all_but(account), "user_offline", chatid=account.name)

    def do_logout(self, connection: Connection, data: Packet) -> None:
        account = self.me(connection)
        account.key_hashes.clear()
        self.end_session(connection)
        self.reply(connection, "logout_ack", "Logout successful", {"chatid": account.name})

    def do_change_password(self, connection: Connection, data: Packet) -> None:
        account = self.me(connection)
        if not self.password_is_right(account, data["password"]):
            self.note_failure(connection, account.name)
            raise Refusal("forbidden", "data.password: this is not your password")
        self.set_password(account, data["new_password"])
        account.key_hashes.clear()
        self.reply(
            connection,
            "password_changed",
            "Password changed successfully.",
            {"chatid": account.name},
        )

    # ------------------------------------------------------------------------------------------------ rooms

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
        room.name = data["new_room_name"]
        answer = {"room_id": room.room_id, "new_room_name": room.name}
        self.reply(connection, "room_renamed", "Room renamed.", answer)
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

    # ------------------------------------------------------------------------------------------------ messages

    def count_letters(self, content: str) -> dict[str, int]:
        return dict(Counter(content))

    def do_send_message(self, connection: Connection, data: Packet) -> None:
        room_id, content, key = data["room_id"], data["content"], data.get("transaction_id")
        self.room_or_new(connection, room_id)
        self.forget_old_transactions(connection)
        kept = self.kept_keys.get((self.me(connection).name, key)) if key else None
        if kept is not None:
            self.check_same(kept, room_id, content)
            return self.acknowledge(connection, str(key), kept)
        started = connection.transactions.get(key) if key else None
        if started is not None:
            self.check_same(started, room_id, content)
        elif len(connection.transactions) >= 64:
            raise Refusal("too_many_pending", "64 transactions are open: finish some first")
        transaction_id = key or "t-" + secrets.token_hex(8)
        ends = time.monotonic() + self.TRANSACTION_SECONDS
        connection.transactions[transaction_id] = Transaction(room_id, content, key, ends)
        self.answer_counts(connection, transaction_id, content)

    def answer_counts(self, connection: Connection, transaction_id: str, content: str) -> None:
        answer = {
            "transaction_id": transaction_id,
            "letter_frequencies": self.count_letters(content),
            "original_action": "send_message",
        }
        self.reply(connection, "character_count", None, answer)

    def check_same(self, before: Message | Transaction, room_id: str, content: str) -> None:
        if (before.room_id, before.content) != (room_id, content):
            raise Refusal(
                "transaction_mismatch", "data.transaction_id: this key was used for something else"
            )

    def forget_old_transactions(self, connection: Connection) -> None:
        now = time.monotonic()
        connection.transactions = {
            key: one for key, one in connection.transactions.items() if one.ends > now
        }

    def do_confirm_count(self, connection: Connection, data: Packet) -> None:
        self.forget_old_transactions(connection)
        transaction_id = data["transaction_id"]
        transaction = connection.transactions.pop(transaction_id, None)
        if transaction is None:
            raise Refusal(
                "transaction_not_found", "data.transaction_id: no such transaction is open"
            )
        if not self.is_confirmed(transaction, data["confirm"]):
            message = "You did not confirm the counts: the message was dropped."
            answer = {"transaction_id": transaction_id}
            return self.reply(
                connection, "ack", message, answer, status="error", code="not_confirmed"
            )
        self.room_or_new(connection, transaction.room_id)
        message_stored = self.store(self.me(connection), transaction)
        self.acknowledge(connection, transaction_id, message_stored)
        self.deliver(self.me(connection), message_stored)

    def is_confirmed(self, transaction: Transaction, confirm: bool) -> bool:
        return confirm

    def store(self, sender: Account, transaction: Transaction) -> Message:
        room = self.make_open_room(sender, transaction.room_id)
        timestamp, t2 = int(time.time()), "r-" + secrets.token_hex(8)
        message = Message(
            self.next_message_id(), room.room_id, sender.name, transaction.content, timestamp, t2
        )
        self.keep(room, message)
        self.messages[t2] = message
        if transaction.key is not None:
            self.kept_keys[sender.name, transaction.key] = message
        self.mark(sender, room.room_id, message.message_id)
        return message

    def keep(self, room: Room, message: Message) -> None:
        room.messages.append(message)

    def next_message_id(self) -> int:
        self.last_message_id += 1
        return self.last_message_id

    def mark(self, account: Account, room_id: str, message_id: int) -> None:
        account.marks[room_id] = max(message_id, account.marks.get(room_id, 0))

    def acknowledge(self, connection: Connection, transaction_id: str, message: Message) -> None:
        answer = {
            "transaction_id": transaction_id,
            "message_id": message.message_id,
            "timestamp": written(message.timestamp),
        }
        self.reply(connection, "ack", "Action processed successfully.", answer)

    def deliver(self, sender: Account, message: Message) -> None:
        for account in self.hearers(sender, message.room_id):
            self.forward(account, self.received(account, message))

    def hearers(self, sender: Account, room_id: str) -> list[Account]:
        return [account for account in self.in_room(self.rooms[room_id]) if account is not sender]

    def forward(self, account: Account, packet: Packet) -> None:
        if account.connection is not None:
            account.connection.put(packet, forwarded=True)

    def received(self, account: Account, message: Message) -> Packet:
        data = {
            "transaction_id": message.t2,
            "room_id": message.room_id,
            "sender_chatid": message.sender,
            "content": message.content,
            "timestamp": written(message.timestamp),
            "message_id": message.message_id,
        }
        return {
            "action": "receive_message",
            "status": "success",
            "message": "New message received.",
            "data": data,
        }

    def message_to_answer(self, connection: Connection, transaction_id: str) -> Message:
        """The message of a T2; raises where this user has none to answer for (R-MSG-12)."""
        message, account = self.messages.get(transaction_id), self.me(connection)
        if (
            message is None
            or message.sender == account.name
            or not self.may_read(account, self.rooms[message.room_id])
        ):
            raise Refusal(
                "transaction_not_found", "data.transaction_id: there is no such message for you"
            )
        return message

    def do_character_count(self, connection: Connection, data: Packet) -> None:
        message = self.message_to_answer(connection, data["transaction_id"])
        confirm = self.counts_are_right(message, data["letter_frequencies"])
        self.reply(
            connection, "confirm_count", None, {"transaction_id": message.t2, "confirm": confirm}
        )

    def counts_are_right(self, message: Message, letter_frequencies: dict[str, int]) -> bool:
        return letter_frequencies == self.count_letters(message.content)

    def do_ack(self, connection: Connection, data: Packet) -> None:
        message, account = (
            self.message_to_answer(connection, data["transaction_id"]),
            self.me(connection),
        )
        if data["status"] == "success":
            self.mark(account, message.room_id, message.message_id)
        elif message.copies[account.name] < 3:
            message.copies[account.name] += 1
            self.forward(account, self.received(account, message))

    # ------------------------------------------------------------------------------------------------ history

    def do_get_messages(self, connection: Connection, data: Packet) -> None:
        if not {"from_time", "after_id", "before_id"} & set(data):
            raise Refusal("bad_packet", "data.from_time: expected a time, or after_id or before_id")
        room = self.room(connection, data["room_id"])
        begin = self.time_of(data["from_time"]) if "from_time" in data else None
        messages = [message for message in room.messages if self.is_wanted(message, begin, data)]
        page, has_more = self.page_of_messages(messages, data)
        if page:
            self.mark(self.me(connection), room.room_id, page[-1].message_id)
        answer = {
            "room_id": room.room_id,
            "messages": [self.history_entry(message) for message in page],
            "has_more": has_more,
        }
        self.reply(connection, "messages_list", "Messages retrieved successfully.", answer)

    def time_of(self, written_time: str) -> datetime:
        shape = r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?(?:([Zz])|([+-])(\d\d):?(\d\d)?)"
        found = re.fullmatch(shape, written_time, re.ASCII)
        try:
            if found is None:
                raise ValueError
            year, month, day, hour, minute, second, fraction, zulu, sign, hours, minutes = (
                found.groups()
            )
            zone = (
                timezone.utc
                if zulu
                else timezone(
                    int(sign + "1") * timedelta(hours=int(hours), minutes=int(minutes or 0))
                )
            )
            micro = int((fraction or "0")[:6].ljust(6, "0"))
            return datetime(
                int(year),
                int(month),
                int(day),
                int(hour),
                int(minute),
                int(second or 0),
                micro,
                zone,
            )
        except ValueError:
            raise Refusal(
                "bad_time", "data.from_time: expected an ISO 8601 time with a zone"
            ) from None

    def is_wanted(self, message: Message, begin: datetime | None, data: Packet) -> bool:
        if begin is not None and datetime.fromtimestamp(message.timestamp, timezone.utc) < begin:
            return False
        if message.message_id <= data.get("after_id", 0):
            return False
        before = data.get("before_id")
        return before is None or message.message_id < int(before)

    def page_of_messages(self, messages: list[Message], data: Packet) -> tuple[list[Message], bool]:
        limit = data.get("limit", 1000)
        backwards = "before_id" in data
        whole_seconds = not {"after_id", "before_id", "limit"} & set(data)
        if backwards:
            messages = messages[::-1]
        fitting = len(self.what_fits([self.history_entry(message) for message in messages]))
        page = messages[: min(limit, fitting)]
        if whole_seconds and len(page) < len(messages):
            next_second = messages[len(page)].timestamp
            page = [message for message in page if message.timestamp < next_second]
            if (
                not page or page[-1].timestamp == messages[0].timestamp
            ):  # who goes on from there must get further
                page = [
                    message for message in messages[:fitting] if message.timestamp <= next_second
                ]
        has_more = len(page) < len(messages)
        return (page[::-1] if backwards else page), has_more

    def history_entry(self, message: Message) -> Packet:
        return {
            "message_id": message.message_id,
            "sender_chatid": message.sender,
            "content": message.content,
            "timestamp": written(message.timestamp),
        }

    # ------------------------------------------------------------------------------------------------ files

    def do_file_send_init(self, connection: Connection, data: Packet) -> None:
        account, key = self.me(connection), data.get("transaction_id")
        self.room_or_new(connection, data["room_id"])
        place = (account.name, data["room_id"], data["file_path"])
        upload = self.upload_of_key(account, data)
        if upload is None:
            self.check_numbers(data)
            upload = self.uploads.get(place)
            same = (data["file_size"], data["total_packets"])
            if (
                upload is None
                or upload.result is not None
                or (upload.size, upload.total) != same
                or (key and upload.key != key)
            ):
                self.check_share(account, data["file_size"], place)
                upload = Upload(
                    data["file_size"],
                    data["total_packets"],
                    data["file_type"],
                    data.get("chunk_size"),
                    data["room_id"],
                    data["file_path"],
                    key,
                )
            if key is not None:
                self.upload_keys[account.name, key] = upload
        self.uploads[place] = upload
        answer = {**self.file_of(account, data), "received": self.ranges(upload)}
        if upload.result is not None:
            answer["done"] = True
        self.reply(connection, "file_send_init", "Server ready to receive file.", answer)

    def upload_of_key(self, account: Account, data: Packet) -> Upload | None:
        upload = self.upload_keys.get((account.name, data.get("transaction_id", "")))
        if upload is None:
            return None
        wanted = (data["room_id"], data["file_path"], data["file_size"], data["total_packets"])
        if (upload.room_id, upload.name, upload.size, upload.total) != wanted:
            raise Refusal(
                "transaction_mismatch", "data.transaction_id: this key was used for another file"
            )
        return upload

    def check_numbers(self, data: Packet) -> None:
        size, total, chunk_size = data["file_size"], data["total_packets"], data.get("chunk_size")
        if size > MAX_FILE:
            raise Refusal("too_large", f"data.file_size: expected at most {MAX_FILE}")
        fits = (
            total <= size <= total * MAX_CHUNK
            if chunk_size is None
            else total == -(-size // chunk_size)
        )
        if not fits:
            raise Refusal("bad_packet", "data.total_packets: this number does not fit to file_size")

    def check_share(self, account: Account, size: int, place: tuple[str, str, str]) -> None:
        open_now = {
            key: one
            for key, one in self.uploads.items()
            if key[0] == account.name and one.result is None and key != place
        }
        if len(open_now) >= 64:
            raise Refusal("too_many_pending", "64 uploads are open: finish some first")
        stored = sum(
            len(one.content)
            for room in self.rooms.values()
            for one in room.files.values()
            if one.sender == account.name
        )
        if stored + sum(one.size for one in open_now.values()) + size > QUOTA:
            raise Refusal("quota_exceeded", "your share is used up")

    def file_of(self, account: Account, data: Packet) -> Packet:
        return {"chat_id": account.name, "room_id": data["room_id"], "file_path": data["file_path"]}

    def ranges(self, upload: Upload) -> list[list[int]]:
        """The numbers of the chunks that are there, as the sender counts them (R-FILE-15)."""
        found: list[list[int]] = []
        shift = 1 if upload.first_number is None else upload.first_number
        for index in sorted(upload.chunks):
            if found and found[-1][1] == index + shift - 1:
                found[-1][1] = index + shift
            else:
                found.append([index + shift, index + shift])
        return found

    def open_upload(self, connection: Connection, data: Packet) -> Upload:
        place = (self.me(connection).name, data["room_id"], data["file_path"])
        if place not in self.uploads or data["room_id"] in self.rooms:
            self.room(connection, data["room_id"])
        if place not in self.uploads:
            raise Refusal("file_not_found", "no such upload is open")
        return self.uploads[place]

    def do_file_send_data(self, connection: Connection, data: Packet) -> None:
        upload = self.open_upload(connection, data)
        if upload.result is not None:
            raise Refusal("file_not_found", "no such upload is open")
        number, chunk = data["sequence_number"], base64.b64decode(data["file_data"])
        first = (
            upload.first_number if upload.first_number is not None else (0 if number == 0 else 1)
        )
        index = number - first
        self.check_chunk(upload, index, len(chunk))
        if upload.chunk_size is None:
            upload.chunk_size = len(chunk)
        upload.first_number = first
        self.keep_chunk(upload, index, chunk)
        answer = {**self.file_of(self.me(connection), data), "sequence_number": number}
        self.reply(connection, "file_send_data", f"Chunk {number} received.", answer)

    def keep_chunk(self, upload: Upload, index: int, chunk: bytes) -> None:
        upload.chunks[index] = chunk

    def check_chunk(self, upload: Upload, index: int, length: int) -> None:
        """R-FILE-2, R-FILE-3, R-FILE-4."""
        last = upload.total - 1
        if not 0 <= index <= last:
            raise Refusal("bad_packet", f"data.sequence_number: expected {upload.total} chunks")
        if upload.chunk_size is None and index == last and last > 0:
            raise Refusal(
                "bad_packet", "data.sequence_number: the last chunk can't be the first to come"
            )
        chunk_size = upload.chunk_size or length
        wanted = chunk_size if index < last else upload.size - chunk_size * last
        if length != wanted or length > MAX_CHUNK or -(-upload.size // chunk_size) != upload.total:
            raise Refusal(
                "bad_packet",
                f"data.file_data: {length} bytes do not fit to file_size and total_packets",
            )

    def do_file_send_fin(self, connection: Connection, data: Packet) -> None:
        account, upload = self.me(connection), self.open_upload(connection, data)
        if data["total_packets"] != upload.total:
            raise Refusal(
                "bad_packet", f"data.total_packets: expected {upload.total} as in file_send_init"
            )
        if upload.result is None:
            self.check_complete(upload)
            stored = self.store_file(account, upload)
            upload.result = {"sha256": stored.told_sha256, "stored_as": stored.name}
            self.answer_fin(connection, data, upload.result)
            self.tell_of_file(account, upload.room_id, stored)
        else:
            self.answer_fin(connection, data, upload.result)

    def answer_fin(self, connection: Connection, data: Packet, result: Packet) -> None:
        self.reply(
            connection,
            "file_send_fin",
            "File assembled successfully.",
            {**self.file_of(self.me(connection), data), **result},
        )

    def check_complete(self, upload: Upload) -> None:
        for index in range(upload.total):
            if index not in upload.chunks:
                number = index + (1 if upload.first_number is None else upload.first_number)
                raise Refusal("incomplete_file", f"chunk {number} of {upload.total} is missing")

    def assemble(self, upload: Upload) -> bytes:
        return b"".join(upload.chunks[index] for index in range(upload.total))

    def store_file(self, account: Account, upload: Upload) -> File:
        room, content = self.make_open_room(account, upload.room_id), self.assemble(upload)
        upload.chunks = dict.fromkeys(upload.chunks, b"")
        name = self.free_name(room, account, upload.name)
        stored = File(
            name,
            account.name,
            upload.file_type,
            content,
            int(time.time()),
            hashlib.sha256(content).hexdigest(),
        )
        room.files.pop(name, None)
        room.files[name] = stored
        return stored

    def free_name(self, room: Room, account: Account, name: str) -> str:
        """R-FILE-18: the name itself, or `stem (2).ext` and so on where it is another user's."""
        stem, dot, extension = name.rpartition(".")
        if not stem:
            stem, dot, extension = name, "", ""
        candidate, number = name, 1
        while candidate in room.files and room.files[candidate].sender != account.name:
            number += 1
            tail = f" ({number}){dot}{extension}"
            candidate = stem.encode()[: 255 - len(tail.encode())].decode(errors="ignore") + tail
        return candidate

    def tell_of_file(self, sender: Account, room_id: str, stored: File) -> None:
        data = {
            "room_id": room_id,
            "sender_chatid": stored.sender,
            "file_path": stored.name,
            "file_size": len(stored.content),
            "file_type": stored.file_type,
            "timestamp": written(stored.timestamp),
        }
        for account in self.hearers(sender, room_id):
            self.forward(
                account,
                {
                    "action": "receive_file",
                    "status": "success",
                    "message": "New file received.",
                    "data": data,
                },
            )

    def do_file_cancel(self, connection: Connection, data: Packet) -> None:
        account = self.me(connection)
        place = (account.name, data["room_id"], data["file_path"])
        upload = self.uploads.get(place)
        if upload is None or data["room_id"] in self.rooms:
            self.room(connection, data["room_id"])
        stopped = self.stop_downloads(connection, (data["room_id"], data["file_path"]))
        if upload is not None and upload.result is None:
            self.give_up(account, place, upload)
        elif not stopped:
            raise Refusal("file_not_found", "nothing of that name is under way")
        self.reply(connection, "file_cancelled", "Transfer cancelled.", self.file_of(account, data))

    def give_up(self, account: Account, place: tuple[str, str, str], upload: Upload) -> None:
        del self.uploads[place]
        if upload.key is not None:
            self.upload_keys.pop((account.name, upload.key), None)

    def stop_downloads(self, connection: Connection, of_file: tuple[str, str]) -> bool:
        with connection.wake:
            kept = [download for download in connection.downloads if download[0] != of_file]
            stopped = len(kept) < len(connection.downloads)
            connection.downloads = deque(kept)
        return stopped

    def do_file_list_req(self, connection: Connection, data: Packet) -> None:
        room = self.room(connection, data["room_id"])
        names = list(room.files)
        if data.get("after") in names:
            names = names[names.index(data["after"]) + 1 :]
        page = self.what_fits(
            [self.file_entry(room.files[name]) for name in names[: data.get("limit", 1000)]]
        )
        answer: Packet = {
            "file_list": ", ".join(entry["file_path"] for entry in page),
            "files": page,
        }
        if len(page) < len(names):
            answer["has_more"] = True
        self.reply(connection, "file_list_req", f"File list for room {room.room_id}", answer)

    def file_entry(self, stored: File) -> Packet:
        return {
            "file_path": stored.name,
            "file_size": len(stored.content),
            "file_type": stored.file_type,
            "sender_chatid": stored.sender,
            "timestamp": written(stored.timestamp),
            "sha256": stored.told_sha256,
        }

    def do_file_down_req(self, connection: Connection, data: Packet) -> None:
        room = self.room(connection, data["room_id"])
        stored = room.files.get(data["file_path"])
        if stored is None:
            raise Refusal("file_not_found", "the room has no such file")
        total = -(-len(stored.content) // self.chunk_size_of_downloads())
        begin = data.get("from_sequence", 1)
        if begin > total + 1:
            raise Refusal("bad_packet", f"data.from_sequence: the file has {total} chunks")
        with connection.wake:
            if len(connection.downloads) > 16:
                raise Refusal("too_many_pending", "16 downloads wait already")
            packets = self.download(room.room_id, stored, total, begin, connection.request_id)
            connection.downloads.append(((room.room_id, stored.name), packets))
            connection.wake.notify_all()

    def chunk_size_of_downloads(self) -> int:
        return 65_536

    def download(
        self, room_id: str, stored: File, total: int, begin: int, request_id: str | None
    ) -> Iterator[Packet]:
        """The packets of one download, each made when its turn has come."""
        tail: Packet = {} if request_id is None else {"request_id": request_id}
        place = {"room_id": room_id, "file_path": stored.name}
        meta = {
            **place,
            "file_size": len(stored.content),
            "total_packets": total,
            "sha256": stored.told_sha256,
        }
        yield {
            "action": "file_down_meta",
            "status": "success",
            "message": "Starting file download.",
            "data": meta,
            **tail,
        }
        for number in range(begin, total + 1):
            yield {
                "action": "file_down_data",
                "data": {**place, **self.chunk(stored, number)},
                **tail,
            }
        yield {
            "action": "file_down_fin",
            "status": "success",
            "message": "File download complete.",
            "data": place,
            **tail,
        }

    def chunk(self, stored: File, number: int) -> Packet:
        size = self.chunk_size_of_downloads()
        data = stored.content[(number - 1) * size : number * size]
        return {"sequence_number": number, "file_data": base64.b64encode(data).decode()}

    def next_of_download(self, connection: Connection) -> Packet | None:
        with connection.wake:
            if not connection.downloads:
                return None
            packet = next(connection.downloads[0][1], None)
            if packet is None:
                connection.downloads.popleft()
            return packet

    # ------------------------------------------------------------------------------------------------ events

    def do_typing(self, connection: Connection, data: Packet) -> None:
        room, account = self.room(connection, data["room_id"]), self.me(connection)
        if "typing" not in connection.features:
            raise Refusal("forbidden", "typing is for who asked for it at login")
        self.tell(
            self.hearers(account, room.room_id), "typing", room_id=room.room_id, chatid=account.name
        )

    def tell(self, accounts: list[Account], kind: str, **keys: str) -> None:
        """One event to those of these who asked for events."""
        for account in accounts:
            if account.connection is not None and self.hears_events(account.connection):
                account.connection.put(
                    {"action": "event", "data": {"type": kind, **keys}}, forwarded=True
                )

    def hears_events(self, connection: Connection) -> bool:
        return "events" in connection.features


def written(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def main() -> None:
    """`python tests/support/conformance_reference.py server [PORT]`: serve until the standard input or the
    process ends."""
    server = ReferenceServer(int(sys.argv[2]) if len(sys.argv) > 2 else 0).start()
    print(f"listening on 127.0.0.1:{server.port}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
