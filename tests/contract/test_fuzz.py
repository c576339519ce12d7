"""Valid packets, spoilt: whatever comes, the server answers as the page says and goes on serving
the others.

Every case is drawn from its seed and number alone, and a failure names both. To see one again:
`CHAT_TEST_SEED=1 CHAT_FUZZ_CASES=1234:1235 pytest tests/contract/test_fuzz.py`; a single number is
a count. (What the server makes up, as ids and keys, differs from run to run, but has the same
length.)
"""

from __future__ import annotations

import json
import math
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import fresh_name
from support.document import REPLIES, REQUESTS, example_data
from support.files import encoded
from support.patience import patience
from support.raw_client import (
    ClosedByServer,
    Packet,
    RawClient,
    encode,
    error_code,
    frame,
    letter_frequencies,
)
from support.seed import SEED, drawn
from support.server_process import ServerProcess

SERVER_OPTIONS = (
    "--rate-limit",
    "0",
    "--login-failures",
    "0",
    "--max-rooms",
    "5",
    "--min-free",
    "0",
)

LIMITS = {"before login": 65_536, "after login": 1_048_576}
MAX_INTEGER = 2**53 - 1
REFRESH_CASES = 25
NEW_USER_CASES = 1_000
BAD_JSON_FRAMES = 10
BY_ITSELF = {"receive_message", "receive_file", "event"}
LATE = {"file_down_meta", "file_down_data", "file_down_fin"}
LETTERS = "Hello everyone!"
MORE_MEMORY_MB = 96
MORE_THREADS = 8


def cases(default: int) -> range:
    """The numbers of the cases to run: `default` of them unless CHAT_FUZZ_CASES says otherwise."""
    first, colon, end = os.environ.get("CHAT_FUZZ_CASES", str(default)).partition(":")
    return range(int(first), int(end)) if colon else range(int(first))


# --- An own reading of the rules R-JSON-1 to R-JSON-8 ---------------------------------------------


def strict_json(body: bytes) -> Packet | None:
    """The object that a body is, or None where it is `bad_json`."""
    try:
        text = body.decode("utf-8")
        if text.startswith("\ufeff"):
            return None
        packet = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=_none_such,
        )
        if isinstance(packet, dict) and _elements(packet, 1) <= 10_000:
            return packet
    except (ValueError, RecursionError):
        pass
    return None


def _none_such(word: str) -> Any:
    raise ValueError(word)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _whole(digits: str) -> int:
    if len(digits) > 1_000 or abs(int(digits)) > MAX_INTEGER:
        raise ValueError(digits)
    return int(digits)


def _finite(digits: str) -> float:
    if len(digits) > 1_000 or math.isinf(float(digits)):
        raise ValueError(digits)
    return float(digits)


def _elements(value: object, depth: int) -> int:
    """Keys and elements of a value and all in it; ValueError where it breaks a rule."""
    if isinstance(value, str):
        value.encode()
        return 0
    if not isinstance(value, (dict, list)):
        return 0
    if depth > 32:
        raise ValueError("too deep")
    if isinstance(value, dict):
        for key in value:
            key.encode()
    inner = list(value.values()) if isinstance(value, dict) else value
    return len(inner) + sum(_elements(item, depth + 1) for item in inner)


# --- Mutations ------------------------------------------------------------------------------------

TOKENS = (
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\x00",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xef\xbb\xbf",
    b"NaN",
    b"-Infinity",
    b"1e400",
    b"-0",
    b"01",
    b"null",
    b"true",
    b"9007199254740992",
    b'\\ud800"',
    b"\\u0000",
    b"\\u001b[2J",
    b"/**/",
    b"\n",
    b"\x1b",
    b"\xe2\x80\xae",
    b"'",
    b"5.0",
    b'"data":{}',
    b'"action":"ping",',
    b"9" * 1001,
)
SIZES = (0, 1, 2, 31, 32, 33, 63, 64, 65, 128, 129, 255, 256, 1_000, 16_384, 16_385, 60_000)
LETTER_KINDS = (
    "a",
    " ",
    "\0",
    "\n",
    "\x1b",
    "\x9b",
    "\u202e",
    "\u200b",
    "\ufeff",
    "é",
    "ß",
    "ﷺ",
    "👍",
    "\u0301",
    "/",
    "\\",
    ".",
    "%",
    "'",
    '"',
)
WORDS = (
    "..",
    ".",
    "/",
    "a/..",
    "C:\\x",
    "con",
    "nul.txt",
    "COM1 .x",
    "~",
    "*",
    "lobby",
    "Lobby",
    "p-",
    "p-0",
    "success",
    "error",
    "ping",
    "2024-01-01T00:00:00Z",
    "2024-02-30T00:00:00Z",
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59",
    "0000-01-01T00:00:00Z",
    "2024-01-01T00:00:60.999999999999Z",
    "2024-01-01T00:00:00+99:99",
    "true",
    "0",
    "AAA=",
    "AA==",
    "A",
    "====",
    "AAAA\n",
    "\ufdfa" * 32,
)
NUMBERS = (
    0,
    -1,
    1,
    2,
    3,
    7,
    63,
    64,
    255,
    1000,
    1001,
    262_144,
    262_145,
    2**31,
    2**32,
    MAX_INTEGER,
    -MAX_INTEGER,
    MAX_INTEGER + 1,
    10**30,
)
OTHERS = (
    None,
    True,
    False,
    5.0,
    -0.0,
    1e308,
    1.5,
    [],
    {},
    [[]],
    [None],
    {"": 0},
    ["a", 1],
    {"a": None},
    [""] * 65,
    ["x"] * 1_001,
)


def any_value(rng: random.Random) -> Any:
    """A value of any type and size."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.choice(LETTER_KINDS) * rng.choice(SIZES)
    if kind == 1:
        return rng.choice(WORDS) + rng.choice(("", "", rng.choice(LETTER_KINDS)))
    if kind == 2:
        return rng.choice(NUMBERS)
    if kind == 3:
        return "".join(
            chr(
                rng.choice(
                    (rng.randrange(0x80), rng.randrange(0xD800), rng.randrange(0xE000, 0x110000))
                )
            )
            for _ in range(8)
        )
    return rng.choice(OTHERS)


def written(packet: Any, rng: random.Random) -> bytes:
    return json.dumps(packet, ensure_ascii=rng.random() < 0.5).encode(errors="surrogatepass")


def by_bytes(packet: Packet, rng: random.Random) -> bytes:
    """Its text with bytes changed, lost, doubled, put in, or cut."""
    body = bytearray(written(packet, rng))
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        if not body:
            break
        at, size = rng.randrange(len(body)), rng.choice((1, 1, 2, 8, 40))
        kind = rng.randrange(6)
        if kind == 0:
            body[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del body[at : at + size]
        elif kind == 2:
            body[at:at] = body[at : at + size]
        elif kind == 3:
            body[at:at] = rng.choice(TOKENS)
        elif kind == 4:
            body[at : at + size] = rng.choice(TOKENS)
        elif rng.random() < 0.3:
            del body[at:]
        else:
            body[at] = rng.randrange(256)
    return bytes(body)


def by_structure(packet: Packet, rng: random.Random) -> bytes:
    """Keys lost, renamed, doubled and moved; values wrapped, nested and swapped."""
    data = dict(packet.get("data", {}))
    packet = {**packet, "data": data}
    target: Packet = data if data and rng.random() < 0.8 else packet
    key = rng.choice(sorted(target))
    kind = rng.randrange(12)
    if kind == 0:
        del target[key]
    elif kind == 1:
        target[rng.choice((key.upper(), key + " ", "", "__proto__", "a" * 70, "\ud800", "\0"))] = (
            target.pop(key)
        )
    elif kind == 2:
        text = written(packet, rng).decode()
        doubled = f"{{{json.dumps(key)}: {json.dumps(any_value(rng))}, "
        return text.replace("{", doubled, rng.choice((1, 2))).encode(errors="surrogatepass")
    elif kind == 3:
        (packet if target is data else data)[key] = target.pop(key)
    elif kind == 4:
        opened = rng.choices(("[", '{"a":'), k=rng.choice((1, 2, 29, 30, 31, 32, 33, 200, 3_000)))
        nested = (
            "".join(opened)
            + "0"
            + "".join("]" if mark == "[" else "}" for mark in reversed(opened))
        )
        target[rng.choice((key, "unknown"))] = "NESTED"
        return written(packet, rng).replace(b'"NESTED"', nested.encode())
    elif kind == 5:
        target["unknown"] = rng.choice(
            (
                [0] * 9_000,
                {str(number): 0 for number in range(3_000)},
                [[0]] * 4_000,
                [[]] * 9_900,
                [{}] * 10_001,
                [0] * 12_000,
                any_value(rng),
            )
        )
    elif kind == 6:
        other = rng.choice(sorted(target))
        target[key], target[other] = target[other], target[key]
    elif kind == 7:
        packet["data"] = rng.choice((None, [], "", 0, [data], json.dumps(data), True))
    elif kind == 8:
        packet["action"] = rng.choice(
            (*REQUESTS, *REPLIES, "", " ping", "PING", "x" * 100, "\0", any_value(rng))
        )
    elif kind == 9:
        packet["request_id"] = any_value(rng)
    elif kind == 10:
        data["chat_id" if "chatid" in data else "chatid"] = rng.choice(
            (data.get("chatid", data.get("chat_id")), any_value(rng))
        )
    else:
        return written(
            rng.choice(([packet], [], None, 17, "text", {}, {"data": packet}, [packet, packet])),
            rng,
        )
    return written(packet, rng)


def by_type_and_size(packet: Packet, rng: random.Random) -> bytes:
    """One or two fields with another value; the rest stays valid."""
    packet = {**packet, "data": dict(packet.get("data", {}))}
    for _ in range(rng.choice((1, 1, 1, 2))):
        row = REQUESTS[packet["action"]]
        keys = sorted(row.required | row.optional) or ["unknown"]
        target = packet if packet["action"] == "ack" and rng.random() < 0.3 else packet["data"]
        target["status" if target is packet else rng.choice(keys)] = any_value(rng)
    return written(packet, rng)


def by_near_values(packet: Packet, rng: random.Random) -> bytes:
    """One to three fields with another value of their own type, so that checks behind those of the
    fields are reached."""
    data = dict(packet.get("data", {}))
    row = REQUESTS[packet["action"]]
    keys = sorted((row.required | row.optional) - {"chatid", "chat_id"})
    for key in rng.sample(keys, min(len(keys), rng.choice((1, 1, 2, 3)))):
        value = data.get(key)
        if key in NEAR:
            data[key] = rng.choice(NEAR[key])
        elif key == "content":
            data[key] = rng.choice(LETTER_KINDS[4:]) * rng.choice((1, 5, 300, 4_096, 16_384))
        elif key == "file_data":
            data[key] = encoded(
                rng.randbytes(rng.choice((0, 1, 999, 1000, 1001, 2000, 262_144, 262_145)))
            )
        elif key == "letter_frequencies":
            data[key] = rng.choice(
                (
                    {},
                    {"": 1},
                    {"aa": 1},
                    {"a": 0},
                    {"a": -1},
                    {"\U0001f44d": MAX_INTEGER},
                    {chr(n): n for n in range(32, 999)},
                )
            )
        elif type(value) is bool:
            data[key] = not value
        elif type(value) is int or key in (
            "file_size",
            "total_packets",
            "chunk_size",
            "sequence_number",
            "from_sequence",
            "limit",
        ):
            data[key] = rng.choice((0, 1, 2, 3, 10, 1000, 2000, 2**20, 2**27, 2**40))
    return written({**packet, "data": data}, rng)


NEAR: dict[str, tuple[Any, ...]] = {
    "room_id": (
        "lobby",
        "fuzz-1",
        "fuzz-\U0001f44d",
        "p-" + "0" * 32,
        "LOBBY",
        "no\u0301",
        "\u0301",
        "a\ufe0f",
    ),
    "file_path": (
        "stored.txt",
        "begun.txt",
        "new.txt",
        "a/b\\c.txt",
        "\u202etxt.exe",
        "x" * 255,
        ".hidden",
        "a, b",
        "stored.txt ",
    ),
    "from_time": (
        "2024-01-01T00:00:00Z",
        "2030-01-01T00:00:00.5+01:00",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "no time",
    ),
    "after_id": (0, 1, 10**6, MAX_INTEGER),
    "before_id": (None, 0, 1, 10**6, MAX_INTEGER),
    "after": ("", " ", "a", "p-", "\U0010ffff" * 60),
    "transaction_id": (
        "own",
        "t1",
        "m1",
        "m0",
        "m-1",
        "m999999999999",
        "m9007199254740993",
        "m\u0661",
        "\u202e",
        " ",
    ),
    "participants": ([], ["nobody"], ["a"] * 1000),
    "user_to_add": ("nobody", "a" * 32, "\ufdfa"),
    "user_to_remove": ("nobody", "\ufdfa"),
    "room_name": ("x", "\U0001f44d" * 64, "a\u0301"),
    "new_room_name": ("x", "\U0001f44d" * 64),
    "features": ([], ["typing"], ["x"] * 64),
    "session_key": ("x", "x" * 255),
    "original_action": ("send_message", "x", "\u202e"),
    "file_type": ("x", "\u202e\x1b[2J", "\n"),
}


def unchanged(packet: Packet, rng: random.Random) -> bytes:
    return written(packet, rng)


MUTATIONS: tuple[Callable[[Packet, random.Random], bytes], ...] = (
    by_bytes,
    by_structure,
    by_type_and_size,
    by_near_values,
)


def spoilt_stream(frames: list[bytes], rng: random.Random) -> bytes:
    """Whole frames whose lengths are wrong, or which are cut or run into each other."""
    stream = bytearray(b"".join(frames))
    at = rng.choice([0, *(sum(map(len, frames[:count])) for count in range(1, len(frames)))])
    kind = rng.randrange(6)
    length = int.from_bytes(stream[at : at + 4], "big")
    if kind == 0:
        stream[at : at + 4] = rng.choice(
            (0, 1, length - 1, length + 1, 65_536, 65_537, 2**20, 2**20 + 1, 2**31, 2**32 - 1)
        ).to_bytes(4, "big")
    elif kind == 1:
        stream[at + rng.randrange(4)] ^= 1 << rng.randrange(8)
    elif kind == 2:
        del stream[rng.randrange(len(stream)) :]
    elif kind == 3:
        stream[at:at] = rng.choice(
            (
                b"GET / HTTP/1.1\r\n\r\n",
                b"SSH-2.0-x\r\n",
                b"\x16\x03\x01\x02\x00\x01",
                b"POST",
                b"\0\0\0\0",
                b"{",
                b"\n",
                b"\xff" * 8,
            )
        )
    elif kind == 4:
        del stream[at : at + rng.randrange(1, 12)]
    else:
        stream = bytearray(rng.randbytes(rng.randrange(1, 200)))
    return bytes(stream)


def whole_frames(stream: bytes, limit: int) -> tuple[list[bytes], bool]:
    """The bodies of a stream up to its first impossible length, and whether there is one."""
    bodies, at = [], 0
    while at + 4 <= len(stream):
        length = int.from_bytes(stream[at : at + 4], "big")
        if not 1 <= length <= limit:
            return bodies, True
        if at + 4 + length > len(stream):
            break
        bodies.append(stream[at + 4 : at + 4 + length])
        at += 4 + length
    return bodies, False


# --- The users ------------------------------------------------------------------------------------


class Actor:
    """The user whose packets are spoilt, with all that valid packets need: rooms, messages, an
    upload, a file."""

    def __init__(self, server: ServerProcess, bystander: RawClient) -> None:
        self.server, self.bystander = server, bystander
        self.bad_json = 0
        self.client = self.connect()
        self.values: dict[str, Any] = {}
        self.become_new()

    def connect(self) -> RawClient:
        self.bad_json = 0
        return RawClient(self.server.port)

    def log_in(self) -> None:
        self.client.close()
        self.client = self.connect()
        reply = self.client.login(self.name, features=["events", "typing"], take_over=True)
        assert reply["action"] == "login_success", reply

    def become_new(self) -> None:
        """Go on as somebody new, as who has rooms to make and a password that is known."""
        self.name = fresh_name("fuzz")
        self.client.close()
        self.client = self.connect()
        assert self.client.register(self.name)["action"] == "register_success"
        self.log_in()
        reply = self.client.ask(
            "create_room", participants=[self.bystander.chatid], room_name="fuzz"
        )
        self.room_id = reply["data"]["room_id"]
        self.refresh()

    def refresh(self) -> None:
        """See that whatever a valid packet names is there, and that the bystander is served."""
        bystander = self.bystander
        word = f"word {time.monotonic_ns()}"
        counted = bystander.ask("send_message", room_id=self.room_id, content=word)
        if counted["action"] == "error":  # a case deleted the room, or took the bystander out of it
            reply = self.client.ask(
                "create_room", participants=[bystander.chatid], room_name="fuzz"
            )
            if reply["action"] == "error":
                self.become_new()
                return
            self.room_id = reply["data"]["room_id"]
            counted = bystander.propose(self.room_id, word)
        assert bystander.confirm(counted["data"]["transaction_id"])["action"] == "ack"
        message = self.client.receive_message(word)
        key = f"key-{drawn(word).randrange(10**9):09}"
        self.client.propose(self.room_id, LETTERS, transaction_id=key)
        numbers = {
            "file_size": 2000,
            "total_packets": 2,
            "chunk_size": 1000,
            "file_type": "text/plain",
        }
        for name in ("stored.txt", "begun.txt"):
            begun = self.client.ask(
                "file_send_init", room_id=self.room_id, file_path=name, **numbers
            )
            if begun["action"] == "error":
                assert error_code(begun) == "too_many_pending", begun
                self.become_new()
                return
            if name == "stored.txt":
                for number in (1, 2):
                    chunk = {
                        "file_path": name,
                        "sequence_number": number,
                        "file_data": encoded(b"x" * 1000),
                    }
                    assert (
                        self.client.ask("file_send_data", room_id=self.room_id, **chunk)["action"]
                        == "file_send_data"
                    )
                self.client.ask(
                    "file_send_fin", room_id=self.room_id, file_path=name, total_packets=2
                )
        self.values = {
            **example_data(),
            "chatid": self.client.chatid,
            "chat_id": self.client.chatid,
            "password": "password",
            "new_password": "password",
            "session_key": self.client.session_key,
            "take_over": False,
            "features": ["events", "typing"],
            "room_id": self.room_id,
            "content": LETTERS,
            "transaction_id": message["data"]["transaction_id"],
            "confirm": True,
            "letter_frequencies": letter_frequencies(word),
            "original_action": "receive_message",
            "from_time": "2024-01-01T00:00:00Z",
            "after_id": 0,
            "before_id": None,
            "limit": 10,
            "after": "a",
            "file_path": "begun.txt",
            **numbers,
            "sequence_number": 1,
            "file_data": encoded(b"y" * 1000),
            "from_sequence": 1,
            "participants": [bystander.chatid],
            "room_name": "another",
            "new_room_name": "renamed",
            "user_to_add": bystander.chatid,
            "user_to_remove": bystander.chatid,
            "key": key,
        }
        self.client.nothing_before_pong()
        bystander.nothing_before_pong()

    def packet(self, action: str, rng: random.Random) -> Packet:
        """A valid packet: all it needs, and now and then what it may have."""
        row = REQUESTS[action]
        keys = sorted(row.required) + [key for key in sorted(row.optional) if rng.random() < 0.3]
        if action == "login":
            keys.append("password")
        if action == "get_messages" and not {"from_time", "after_id", "before_id"} & set(keys):
            keys.append("after_id")
        data = {key: self.values[key] for key in keys}
        if action == "confirm_count":
            data["transaction_id"] = self.values["key"]
        elif action == "file_down_req" or (action == "file_send_fin" and rng.random() < 0.5):
            data["file_path"] = "stored.txt"
        elif "transaction_id" in row.optional and "transaction_id" in data:
            data["transaction_id"] = f"own-{rng.randrange(10**6):06}"
        packet: Packet = {"action": action, "data": data}
        if action == "ack":
            packet["status"] = "success"
        if rng.random() < 0.5:
            packet["request_id"] = f"fuzz-{rng.randrange(10**6):06}"
        return packet


# --- What must be true of every answer ------------------------------------------------------------


def check_packet(packet: Packet) -> None:
    """One packet of the server: right by the page's table."""
    if packet["action"] == "error":
        assert error_code(packet) not in ("internal_error", "server_full", "storage_full"), packet
        return
    row = REPLIES.get(packet["action"])
    assert row is not None, f"the page has no such packet of the server: {packet}"
    data = packet.get("data", {})
    assert row.required <= data.keys() or (
        packet["action"] == "ack" and packet["status"] == "error"
    ), packet
    assert data.keys() <= row.required | row.optional, packet
    if packet["action"] not in ("character_count", "confirm_count", "file_down_data", "event"):
        assert packet["status"] in ("success", "error"), packet
        assert isinstance(packet["message"], str) and packet["message"], packet


def code_due(body: bytes, logged_in: bool) -> str | None:
    """The code of what can be told without looking at the fields; None where that is right."""
    packet = strict_json(body)
    if packet is None:
        return "bad_json"
    action = packet.get("action")
    if not isinstance(action, str) or not action:
        return "bad_packet"
    if action not in REQUESTS:
        return "unknown_action"
    if not logged_in and not REQUESTS[action].before_login:
        return "not_logged_in"
    return None


def check_answers(body: bytes, answers: list[Packet], logged_in: bool) -> None:
    """What came of one frame: the right number of answers, each with the request_id, and the code
    where it is certain."""
    due = code_due(body, logged_in)
    packet = strict_json(body) or {}
    codes = [answer.get("code") for answer in answers]
    if due is not None:
        assert codes == [due], f"expected {due}, got {answers}"
        original = packet.get("action")
        named = original[:64] if isinstance(original, str) and original else "unknown"
        assert answers[0]["original_action"] == named, answers
    else:
        assert not set(codes) & {"bad_json", "bad_frame", "unknown_action", "not_logged_in"}, (
            answers
        )
        others = [answer for answer in answers if answer["action"] not in LATE]
        silent = packet["action"] in ("ack", "typing", "file_down_req")
        assert len(others) == 1 or (silent and not others), (
            f"one request, {len(others)} answers: {answers}"
        )
        assert (
            silent
            or not others
            or others[0].get("original_action", packet["action"]) == packet["action"]
            or others[0]["action"] == "character_count"
        ), answers
    request_id = packet.get("request_id")
    valid = isinstance(request_id, str) and 1 <= len(request_id) <= 64 and "\0" not in request_id
    for answer in answers:
        assert answer.get("request_id") == (request_id if valid else None), (
            f"request_id of {answer}"
        )


# --- The cases ------------------------------------------------------------------------------------


class Fuzz:
    """Runs cases against one server, and keeps what they need and what came of them."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.bystander = RawClient(server.port)
        assert (
            self.bystander.register(name := fresh_name("bystander"))["action"] == "register_success"
        )
        assert self.bystander.login(name, features=["events"])["action"] == "login_success"
        self.guest = fresh_name("guest")
        assert (
            self.bystander.request(
                {"action": "register", "data": {"chatid": name, "password": "x"}}
            )["action"]
            == "register_fail"
        )
        self.actor = Actor(server, self.bystander)
        self.outside = self.new_outside()
        assert self.outside.register(self.guest)["action"] == "register_success"
        self.seen: Counter[str] = Counter()

    def close(self) -> None:
        for client in (self.bystander, self.actor.client, self.outside):
            client.close()

    def new_outside(self) -> RawClient:
        self.outside_bad_json = 0
        self.outside_since = time.monotonic()
        return RawClient(self.server.port)

    def run(self, numbers: range) -> None:
        actions = sorted(REQUESTS)
        for number in numbers:
            rng = drawn("fuzz", number)
            if number % NEW_USER_CASES == NEW_USER_CASES - 1:
                self.actor.become_new()
            elif number % REFRESH_CASES == 0:
                self.actor.refresh()
            # By turns, so that even few cases reach every packet in every manner.
            action = actions[number % len(actions)]
            manner = rng.choices(("member", "outside", "stream"), (85, 8, 7))[0]
            what = ""
            try:
                packet = self.actor.packet(action, rng)
                if manner == "stream":
                    what = self.stream_case(packet, rng)
                else:
                    mutate = (
                        unchanged
                        if rng.random() < 0.06
                        else MUTATIONS[number // len(actions) % len(MUTATIONS)]
                    )
                    body = mutate(packet, rng)[: LIMITS["after login"]] or b" "
                    what = f"{mutate.__name__}, {body[:2000]!r}"
                    (self.member_case if manner == "member" else self.outside_case)(body)
            except AssertionError as error:
                raise AssertionError(
                    f"seed {SEED}, case {number} ({manner}, {action}, {what}): {error}\n"
                    f"{self.server.log()[-3000:]}"
                ) from error
            except ConnectionError as error:
                raise AssertionError(
                    f"seed {SEED}, case {number} ({manner}, {action}, {what}): {error!r}"
                ) from error

    def member_case(self, body: bytes) -> None:
        """A frame of somebody who is logged in."""
        actor = self.actor
        answers, closed = self.exchange(actor.client, body)
        check_answers(body, answers, logged_in=True)
        actor.bad_json += [answer.get("code") for answer in answers] == ["bad_json"]
        assert closed is (actor.bad_json == BAD_JSON_FRAMES), (
            f"closed: {closed} after {actor.bad_json} frames of bad JSON"
        )
        last = answers[0] if answers else {"action": ""}
        if closed or last["action"] == "logout_ack":
            actor.log_in()
            actor.refresh()
        elif last["action"] == "password_changed":
            actor.become_new()
        elif last["action"] == "character_count":
            confirm = len(body) % 4 != 0
            transaction = {"transaction_id": last["data"]["transaction_id"], "confirm": confirm}
            reply = actor.client.request({"action": "confirm_count", "data": transaction})
            check_packet(reply)
            assert reply["action"] == "ack" or reply["code"] in (
                "quota_exceeded",
                "room_not_found",
            ), reply

    def outside_case(self, body: bytes) -> None:
        """A frame of somebody who is not logged in."""
        if time.monotonic() - self.outside_since > 15:
            self.outside.close()
            self.outside = self.new_outside()
        if len(body) > LIMITS["before login"]:
            body = body[: LIMITS["before login"]]
        body = body.replace(self.actor.name.encode(), self.guest.encode()).replace(
            self.actor.client.session_key.encode(), b"k"
        )
        body = body[: LIMITS["before login"]]
        answers, closed = self.exchange(self.outside, body)
        check_answers(body, answers, logged_in=False)
        self.outside_bad_json += [answer.get("code") for answer in answers] == ["bad_json"]
        assert closed is (self.outside_bad_json == BAD_JSON_FRAMES), (
            f"closed: {closed} after {self.outside_bad_json} of bad JSON"
        )
        if closed or answers[0]["action"] == "login_success":
            self.outside.close()
            self.outside = self.new_outside()

    def exchange(self, client: RawClient, body: bytes) -> tuple[list[Packet], bool]:
        """Send a frame and a ping; everything that answers the frame, and whether the connection
        was closed."""
        fence = f"fence {time.monotonic_ns()}"
        answers: list[Packet] = []
        closed = False
        confirms = (strict_json(body) or {}).get("action") == "confirm_count"
        try:
            client.send_bytes(frame(body) + encode({"action": "ping", "request_id": fence}))
            while (packet := client.receive()).get("request_id") != fence or packet[
                "action"
            ] != "pong":
                answers.append(packet)
            while confirms and not any(
                self.answers_confirm(answer) for answer in answers
            ):  # R-ORDER-6
                answers.append(client.receive())
        except (ClosedByServer, BrokenPipeError, ConnectionResetError):
            closed = True
        for packet in answers:
            check_packet(packet)
            self.seen[packet.get("code") or packet["action"]] += 1
        late = [packet for packet in answers if packet["action"] in LATE]
        mine = (strict_json(body) or {}).get("action") == "file_down_req"
        return [
            packet
            for packet in answers
            if packet["action"] not in BY_ITSELF and (mine or packet not in late)
        ], closed

    @staticmethod
    def answers_confirm(packet: Packet) -> bool:
        return packet["action"] in ("ack", "error")

    def stream_case(self, packet: Packet, rng: random.Random) -> str:
        """A stream that loses its place, from a new connection: answers up to there, `bad_frame`,
        and the end."""
        with_login = rng.random() < 0.3
        client = RawClient(self.server.port)
        try:
            if with_login:
                assert client.login(self.guest, take_over=True)["action"] == "login_success"
            frames = [
                encode({"action": "ping"}),
                frame(written({**packet, "action": "get_users"}, rng)),
                encode({"action": "ping"}),
            ]
            stream = spoilt_stream(frames, rng)
            limit = LIMITS["after login" if with_login else "before login"]
            bodies, lost = whole_frames(stream, limit)
            what = f"{'guest' if with_login else 'nobody'}, {stream[:600]!r}"
            try:
                client.send_bytes(stream)
                client.end_sending()
            except OSError:
                assert lost, f"reset, but no length was impossible: {what}"
            try:
                came = client.expect_closed()
            except AssertionError as error:
                raise AssertionError(f"{what}: {error}") from error
            for answer in came:
                check_packet(answer)
                self.seen[answer.get("code") or answer["action"]] += 1
            answers = [answer for answer in came if answer["action"] not in BY_ITSELF]
            codes = [answer.get("code") for answer in answers]
            assert ("bad_frame" in codes) is lost and codes.count("bad_frame") <= 1, (
                f"{what}: {answers}"
            )
            assert not lost or codes[-1] == "bad_frame", f"{what}: {answers}"
            assert len(answers) == len(bodies) + lost, (
                f"{what}: {len(bodies)} whole frames, {answers}"
            )
            for body, answer in zip(bodies, answers, strict=False):
                check_answers(body, [answer], logged_in=with_login)
            return what
        finally:
            client.close()


# --- The server as a whole ------------------------------------------------------------------------


def held_by(server: ServerProcess) -> tuple[float, int]:
    """MiB of memory and the number of threads; zeros where /proc does not tell."""
    try:
        text = Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0, 0
    found = dict(re.findall(r"^(VmRSS|Threads):\s+(\d+)", text, re.MULTILINE))
    return int(found["VmRSS"]) / 1024, int(found["Threads"])


def run(server: ServerProcess, numbers: range) -> None:
    fuzz = Fuzz(server)
    memory, threads = held_by(server)
    try:
        fuzz.run(numbers)
        word = f"still served {fresh_name()}"
        listener = RawClient(server.port)
        assert listener.register(name := fresh_name())["action"] == "register_success"
        assert listener.login(name)["action"] == "login_success"
        fuzz.bystander.say("lobby", word)
        assert (
            listener.receive_message(word, "lobby")["data"]["sender_chatid"]
            == fuzz.bystander.chatid
        )
        listener.close()
    finally:
        fuzz.close()
    assert server.is_running()
    assert "Traceback" not in server.log(), server.log()[-5000:]
    assert " ERROR " not in server.log(), server.log()[-5000:]
    deadline = time.monotonic() + patience(10)
    while held_by(server)[1] > threads + MORE_THREADS and time.monotonic() < deadline:
        time.sleep(0.05)
    memory_after, threads_after = held_by(server)
    assert threads_after <= threads + MORE_THREADS, (
        f"{threads} threads before, {threads_after} after"
    )
    assert memory_after <= memory + MORE_MEMORY_MB, (
        f"{memory:.0f} MiB before, {memory_after:.0f} after"
    )
    if len(numbers) >= 3_000:
        expected = {
            "bad_json",
            "bad_packet",
            "bad_frame",
            "unknown_action",
            "not_logged_in",
            "forbidden",
            "room_not_found",
            "pong",
            "character_count",
            "confirm_count",
            "ack",
            "messages_list",
            "file_down_meta",
            "rooms_list",
        }
        assert expected <= set(fuzz.seen), f"never seen: {expected - set(fuzz.seen)}"


def test_the_own_reading_of_the_json_rules_agrees_with_their_words() -> None:
    for good in (
        b'{"a":1}',
        b'{"a":"\\ud83d\\ude00"}',
        b'{"a":9007199254740991}',
        b" {} ",
        b'{"a":' + b"[" * 31 + b"]" * 31 + b"}",
    ):
        assert strict_json(good) is not None, good
    for bad in (
        b"",
        b"[]",
        b'{"a":NaN}',
        b'{"a":1e400}',
        b'{"a":9007199254740992}',
        b'{"a":1,"a":1}',
        b'{"a":"\\ud800"}',
        b'{"\\udc00":1}',
        b"\xef\xbb\xbf{}",
        b'{"a":' + b"[" * 32 + b"]" * 32 + b"}",
        b'{"a":"\xff"}',
        b'{"a":0.' + b"1" * 1000 + b"}",
    ):
        assert strict_json(bad) is None, bad


def test_spoilt_packets_are_answered_and_nobody_else_is_troubled(server: ServerProcess) -> None:
    run(server, cases(1_500))


@pytest.mark.long
def test_a_hundred_thousand_spoilt_packets(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server(*SERVER_OPTIONS, "--log-level", "warning")
    run(server, cases(100_000))
    assert server.stop() == 0
