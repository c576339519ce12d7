"""The protocol: how a frame is cut, which packets exist, and what each field must be.

Owns the framing, the strict JSON decoder, the catalogue of every packet that clients and the server
send, all checks of fields, and the builders that turn a packet into the bytes of its frame.
`docs/PROTOCOL.md` states the same rules in prose; a test compares its table with this catalogue.

Never opens a socket, starts a thread or asks a clock. Everything is a pure function or immutable,
but for `FrameReader`, which belongs to the one thread that reads its connection.

`python protocol.py FILE` prints the packets of a journal file readably.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import dataclasses
import functools
import json
import math
import re
import secrets
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Any, BinaryIO, ClassVar, Final

VERSION: Final = "0.2.0"
"""The release of server and client, which both show."""

# --- Numbers of the contract (docs/PROTOCOL.md, "Limits") -----------------------------------------

HEADER_BYTES: Final = 4
MAX_FRAME_BEFORE_LOGIN: Final = 64 * 1024
DEFAULT_PORT: Final = 9876
MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 10_000
MAX_INTEGER: Final = (
    2**53 - 1
)  # the largest whole number that every JSON reader keeps exactly (RFC 8259, section 6)
MAX_NUMBER_CHARACTERS: Final = 1_000
MAX_CHUNK_BYTES: Final = 256 * 1024
MAX_PAGE: Final = 1_000
MAX_CHATID_CHARACTERS: Final = 32
MAX_ROOM_CHARACTERS: Final = 64
MAX_KEY_CHARACTERS: Final = 64
MAX_PASSWORD_CHARACTERS: Final = 128
MAX_FILE_NAME_BYTES: Final = 255
PRIVATE_ROOM_PREFIX: Final = "p-"
FEATURES: Final = ("events", "typing")

ERROR_CODES: Final[Mapping[str, str]] = {
    "bad_frame": "the length of a frame is 0 or over the limit; the connection is closed",
    "bad_json": "a frame that is not one strict JSON object",
    "bad_packet": "a key is missing, of the wrong type or out of its bounds",
    "unknown_action": "no such action, or one that only servers send",
    "not_logged_in": "this needs a login first",
    "forbidden": "not yours to do",
    "room_not_found": "no such room for you",
    "user_not_found": "no such account",
    "file_not_found": "no such file, or no such upload open",
    "transaction_not_found": "no such transaction open",
    "transaction_mismatch": "this transaction_id was used for something else",
    "too_many_pending": "too many at once; finish some first",
    "bad_time": "not a time in ISO 8601 with a zone",
    "incomplete_file": "chunks of the file are missing",
    "too_large": "the file is over the limit",
    "quota_exceeded": "your share is used up",
    "storage_full": "the server's disk is full",
    "server_full": "no more connections are taken",
    "internal_error": "the server failed; its log says why",
    "not_confirmed": "the sender did not confirm the counts; nothing was stored",
    "name_taken": "an account of that name exists or existed",
    "registration_closed": "accounts are made by the teacher here",
}


# --- Errors ---------------------------------------------------------------------------------------


class ProtocolError(Exception):
    """Something the peer did wrong, with the stable `code` that the `error` packet carries."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class BadFrame(ProtocolError):
    """The stream has lost its place: answer, then close (R-FRAME)."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_frame", message)


class BadJson(ProtocolError):
    """A whole frame whose text is not one strict JSON object: answer and live on."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_json", message)


class Refusal(ProtocolError):
    """A packet that can be read but not be granted: answer with its code and live on."""


def _bad(path: str, expected: str, came: object) -> Refusal:
    return Refusal("bad_packet", f"{path}: expected {expected}, got {describe(came)}")


def describe(value: object) -> str:
    """What came, in JSON's words and at most 64 characters of it, safe to print."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, str) and len(value) > 64:
        return f"a string of {len(value)} characters"
    if isinstance(value, (list, dict)) and value:
        kind = "a list" if isinstance(value, list) else "an object"
        return f"{kind} of {len(value)}"
    text = json.dumps(value)
    return text if len(text) <= 64 else text[:63] + "…"


# --- Framing --------------------------------------------------------------------------------------

_OTHER_PROTOCOLS: Final = (
    (b"GET ", "an HTTP request"),
    (b"POST", "an HTTP request"),
    (b"HEAD", "an HTTP request"),
    (b"PUT ", "an HTTP request"),
    (b"OPTI", "an HTTP request"),
    (b"HTTP", "an HTTP answer"),
    (b"SSH-", "SSH"),
    (b"\x16\x03", "a TLS handshake"),
    (b"\x15\x03", "a TLS alert"),
    (b'{"', "JSON without its length"),
    (b"{ ", "JSON without its length"),
    (b"{\n", "JSON without its length"),
)


def frame(payload: bytes) -> bytes:
    """The bytes that go over the wire for `payload`: a 4-byte unsigned big-endian length, then the
    payload."""
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


class FrameReader:
    """Cuts a stream of bytes into frames, however the network has split or joined them.

    Holds no more than what was fed: a length that promises much costs nothing until the bytes come
    (R-FRAME-4). `max_frame` (bytes; 0 = no limit) may be changed between two frames. Used by one
    thread.
    """

    __slots__ = ("_at", "_held", "max_frame")

    def __init__(self, max_frame: int) -> None:
        self.max_frame = max_frame
        self._held: bytes | bytearray = b""
        self._at = 0

    def feed(self, data: bytes) -> None:
        """Take bytes as they came from the network."""
        if self._at >= len(self._held):
            self._held = data
        else:
            if not isinstance(self._held, bytearray):
                self._held = bytearray(memoryview(self._held)[self._at :])
            elif self._at:
                del self._held[: self._at]
            self._held += data
        self._at = 0

    def next_frame(self) -> bytes | None:
        """The payload of the next whole frame, or None until more is fed. Raises `BadFrame` on an
        impossible length."""
        at, held = self._at, self._held
        if len(held) - at < HEADER_BYTES:
            return None
        size = int.from_bytes(held[at : at + HEADER_BYTES], "big")
        if size == 0 or (self.max_frame and size > self.max_frame):
            raise BadFrame(self._complaint(size, bytes(held[at : at + HEADER_BYTES])))
        end = at + HEADER_BYTES + size
        if len(held) < end:
            return None
        self._at = end
        if end == len(held):  # holds nothing on to: the next frame may be long in coming
            self._held, self._at = b"", 0
        if isinstance(held, bytes):
            return held[at + HEADER_BYTES : end]
        with memoryview(held) as view:
            return bytes(view[at + HEADER_BYTES : end])

    @property
    def waiting(self) -> int:
        """How many bytes of an unfinished frame are held; 0 between frames."""
        return len(self._held) - self._at

    def _complaint(self, size: int, header: bytes) -> str:
        text = f"a frame of length {size} can't be read: expected 1 to {self.max_frame or 2**32 - 1} bytes"
        for start, name in _OTHER_PROTOCOLS:
            if header.startswith(start):
                return f"{text}; the bytes {header.hex(' ')} look like {name}, but this is a chat server (4-byte length, then JSON)"
        return f"{text}; the four bytes were {header.hex(' ')}, read as big-endian"


# --- Strict JSON ----------------------------------------------------------------------------------

_LONG_NUMBER: Final = re.compile(r"[0-9]{16}")
_FLOAT_MARK: Final = re.compile(r"[0-9][.eE]")
_STRINGS: Final = re.compile(
    r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.DOTALL
)  # one without its end goes to the end: looked at once
_BRACKETS: Final = re.compile(r"[\[{]\s*[\]}]|[\[{\]},]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def _no_constant(word: str) -> float:
    raise BadJson(f"{word} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BadJson(f"the key {describe(key)} stands twice in one object")
            seen.add(key)
    return result


def _whole_number(digits: str) -> int:
    # Longer texts than 17 characters can't be in range; int() of 4,301 digits would raise by
    # itself.
    if len(digits) > 17 or abs(int(digits)) > MAX_INTEGER:
        raise BadJson(f"the integer {describe(digits)} is outside -(2^53-1) to 2^53-1")
    return int(digits)


def _finite(digits: str) -> float:
    if len(digits) > MAX_NUMBER_CHARACTERS:
        raise BadJson(
            f"a number of {len(digits)} characters: expected at most {MAX_NUMBER_CHARACTERS}"
        )
    value = float(digits)
    if math.isinf(value):
        raise BadJson(f"the number {describe(digits)} overflows")
    return value


_QUICK: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
_CAREFUL: Final = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_constant=_no_constant,
    parse_int=_whole_number,
    parse_float=_finite,
)


def decode_object(payload: bytes) -> dict[str, Any]:
    """The one JSON object that `payload` is, checked as R-JSON says; raises `BadJson` with what is
    wrong.

    The common packet is checked by a few scans that run in C (7 µs instead of 30 for a packet with
    30 counts); only where those scans find something that might break a rule is the text looked at
    closely.
    """
    if payload.startswith(b"\xef\xbb\xbf"):
        raise BadJson("the text begins with a byte-order mark; leave it out")
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadJson(
            f"not UTF-8: byte {payload[error.start]:#04x} at offset {error.start}"
        ) from None
    opened = text.count("{") + text.count("[")
    if opened > MAX_DEPTH or opened + text.count(",") > MAX_ELEMENTS:
        _check_shape(text)
    careful = _LONG_NUMBER.search(text) or _FLOAT_MARK.search(text)
    try:
        value = (_CAREFUL if careful else _QUICK).decode(text)
    except json.JSONDecodeError as error:
        raise BadJson(f"not JSON: {error.msg} at character {error.pos}") from None
    if not isinstance(value, dict):
        raise BadJson(f"expected one JSON object, got {describe(value)}")
    if "\\u" in text:
        _check_surrogates(value)
    return value


def _check_shape(text: str) -> None:
    """Depth and number of elements, counted outside of strings, before a parser can stumble over
    them."""
    bare = _STRINGS.sub("s", text)
    depth = elements = 0
    for match in _BRACKETS.finditer(bare):
        mark = match.group()
        if mark[0] in "[{":
            if depth >= MAX_DEPTH:
                raise BadJson(f"nested more than {MAX_DEPTH} deep")
            if len(mark) == 1:  # not empty: one element, and one more for each comma
                depth += 1
                elements += 1
        elif mark == ",":
            elements += 1
        else:
            depth -= 1
        if elements > MAX_ELEMENTS:
            raise BadJson(f"more than {MAX_ELEMENTS} keys and elements")


def _check_surrogates(value: object) -> None:
    if isinstance(value, str):
        if _SURROGATE.search(value):
            raise BadJson(
                "a lone surrogate (\\ud800 to \\udfff without its other half) is no character"
            )
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_surrogates(key)
            _check_surrogates(item)
    elif isinstance(value, list):
        for item in value:
            _check_surrogates(item)


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
"""Made once: `json.dumps` makes one for every packet, which is a third of its time."""


def encode_object(packet: Mapping[str, Any]) -> bytes:
    """`packet` as compact UTF-8 JSON, without its length."""
    return _ENCODER.encode(packet).encode()


# --- File chunks: base64 inside JSON, without a JSON parser walking through it --------------------
# json.loads takes 66 MB/s of such a packet and json.dumps gives 56; cutting the base64 out by
# position gives 90, and putting ready bytes around it 287 (CPython 3.11, 64 KiB chunks).

_CHUNK_MARK: Final = b'"file_data"'
_PLACEHOLDER: Final = secrets.token_hex(16)
_A_CHUNK_BYTES: Final = 1024


def decode_packet(payload: bytes) -> dict[str, Any]:
    """`decode_object`, where the `file_data` of a large chunk comes back as the bytes that it
    stands for."""
    if len(payload) > _A_CHUNK_BYTES:
        split = _split_chunk(payload)
        if split is not None:
            rest, chunk = split
            packet = decode_object(rest)
            data = packet.get("data")
            if isinstance(data, dict) and data.get("file_data") == _PLACEHOLDER:
                data["file_data"] = chunk
                return packet
    return decode_object(payload)


def _split_chunk(payload: bytes) -> tuple[bytes, bytes] | None:
    mark = payload.find(_CHUNK_MARK)
    if mark < 0 or payload.find(_CHUNK_MARK, mark + 1) >= 0:
        return None
    begin = payload.find(b'"', mark + len(_CHUNK_MARK)) + 1
    if begin == 0 or payload[mark + len(_CHUNK_MARK) : begin - 1].strip(b" \t\r\n") != b":":
        return None
    end = payload.find(b'"', begin)
    if end < 0:
        return None
    chunk = decode_base64(payload[begin:end])
    if chunk is None:  # an escape in it, or a wrong character: the slow way says which
        return None
    return payload[:begin] + _PLACEHOLDER.encode() + payload[end:], chunk


def decode_base64(text: bytes) -> bytes | None:
    """The bytes of strict base64 (RFC 4648, with padding), or None."""
    if len(text) % 4:
        return None
    try:
        if sys.version_info >= (3, 11):
            return binascii.a2b_base64(text, strict_mode=True)
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def chunk_frame(
    action: str, data: Mapping[str, Any], chunk: bytes, top: Mapping[str, Any] | None = None
) -> bytes:
    """The frame of a `file_send_data` or `file_down_data` whose `data` is completed by `file_data`,
    the base64 of `chunk`.

    `top` are keys beside `data`, as `request_id`.
    """
    head = encode_object({"action": action, **(top or {}), "data": {**data, "file_data": ""}})
    encoded = binascii.b2a_base64(chunk, newline=False)
    size = len(head) + len(encoded)
    return b"".join((size.to_bytes(HEADER_BYTES, "big"), head[:-3], encoded, b'"}}'))


# --- Names, times and letters ---------------------------------------------------------------------


def fold_chatid(chatid: str) -> str:
    """The form in which two names are compared: NFKC, casefold, NFKC again (Unicode 15, section
    3.13, D146)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", chatid).casefold())


_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
"""Letters and marks that nobody sees (Unicode, Default_Ignorable_Code_Point): with them two names
would look alike."""


def chatid_problem(chatid: str) -> str | None:
    """Why `chatid` can't be the name of an account, or None."""
    expected = f"1 to {MAX_CHATID_CHARACTERS} characters: letters, digits, '_', '-' or '.'"
    for fold in (
        str,
        fold_chatid,
    ):  # the length first: to normalise a long text of marks costs the square of its length
        name = fold(chatid)
        if not 1 <= len(name) <= MAX_CHATID_CHARACTERS:
            return f"expected {expected}, got {len(name)} characters{'' if fold is str else ' after normalising'}"
        for position, character in enumerate(unicodedata.normalize("NFC", name)):
            # A mark (Unicode category M) belongs to the letter before it: names in Devanagari or
            # Thai need them.
            kind = "" if _UNSEEN.match(character) else unicodedata.category(character)[0]
            if not (kind and kind in "LN" or (kind == "M" and position) or character in "_-."):
                return f"expected {expected}, got the character U+{ord(character):04X}"
    return None


def password_problem(password: str) -> str | None:
    """Why `password` can't be one, or None."""
    if 1 <= len(password) <= MAX_PASSWORD_CHARACTERS and "\0" not in password:
        return None
    if "\0" in password:
        return "expected no NUL character"
    return f"expected 1 to {MAX_PASSWORD_CHARACTERS} characters, got {len(password)}"


_RESERVED_NAMES: Final = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])", re.IGNORECASE
)


def clean_file_name(path: str) -> str:
    """The name to show for `path`: directories cut off, both kinds of slash. Raises ValueError
    saying what is expected.

    Names that Windows keeps for devices are refused, with any ending ("Naming Files, Paths, and
    Namespaces", Microsoft).
    """
    name = re.split(r"[/\\]", path)[-1]
    if name in ("", ".", ".."):
        raise ValueError("a file name")
    if len(name.encode()) > MAX_FILE_NAME_BYTES:
        raise ValueError(f"a file name of at most {MAX_FILE_NAME_BYTES} bytes")
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in name):
        raise ValueError("a file name without control characters")
    if _RESERVED_NAMES.fullmatch(name.split(".")[0].rstrip(" ")):
        raise ValueError("a file name that Windows does not keep for a device")
    return name


_ISO_TIME: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,12}))?)?([Zz]|[+-]\d\d(?::?\d\d)?)",
    re.ASCII,
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


def parse_time(text: str) -> int:
    """Seconds since 1970 of the first whole second at or after an ISO 8601 time with a zone. Raises
    ValueError."""
    match = _ISO_TIME.fullmatch(text)
    if match is None:
        raise ValueError("it has another form")
    year, month, day, hour, minute = (int(part) for part in match.groups()[:5])
    second, zone = int(match.group(6) or 0), match.group(8)
    leap = second == 60  # a leap second is counted as the second after it
    moment = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=timezone.utc)
    seconds = (moment - _EPOCH) // timedelta(seconds=1) + leap
    if zone not in "Zz":
        hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
        if hours > 23 or minutes > 59:
            raise ValueError("expected an offset between -23:59 and +23:59")
        seconds -= (hours * 3600 + minutes * 60) * (-1 if zone[0] == "-" else 1)
    return seconds + bool((match.group(7) or "").strip("0"))


@functools.lru_cache(maxsize=1024)  # a busy second's packets all carry the same time
def format_time(seconds: int) -> str:
    """`seconds` since 1970 as the protocol writes a time: `2024-01-01T12:00:00Z`."""
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def count_letters(content: str) -> dict[str, int]:
    """How often each code point stands in `content`; nothing is normalised (R-MSG, the counting
    rule)."""
    return dict(Counter(content))


# --- Checks of fields -----------------------------------------------------------------------------


class Absent(Enum):
    """Stands for an optional key that was left out, where null has a meaning of its own."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Check:
    """What a field must be: `expected` in words, and `read`, which gives the value to go on with or
    raises ValueError."""

    expected: str
    read: Callable[[Any], Any]


def _text(most: int, what: str = "text") -> Check:
    def read(value: Any) -> str:
        if type(value) is not str or not 1 <= len(value) <= most or "\0" in value:
            raise ValueError
        return value

    return Check(f"{what}, a string of 1 to {most} characters without NUL", read)


def _integer(least: int, most: int = MAX_INTEGER) -> Check:
    def read(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError
        return value

    return Check(f"an integer from {least} to {most if most != MAX_INTEGER else '2^53-1'}", read)


def _read_flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError
    return value


def _read_room(value: Any) -> str:
    if (
        type(value) is not str
        or not 1 <= len(value) <= MAX_ROOM_CHARACTERS
        or not value.isprintable()
        or value != value.strip()
    ):
        raise ValueError
    return value


def _read_content(value: Any) -> str:
    if type(value) is not str or not value or "\0" in value:
        raise ValueError
    return value


_INTEGERS_ONLY: Final = {int}


def _read_counts(value: Any) -> dict[str, int]:
    if type(value) is not dict or (value and set(map(type, value.values())) != _INTEGERS_ONLY):
        raise ValueError
    return value


def _read_chatid(value: Any) -> str:
    if type(value) is not str:
        raise ValueError
    problem = chatid_problem(value)
    if problem is not None:
        raise ValueError(problem.removeprefix("expected "))
    return value


def _read_file_name(value: Any) -> str:
    if type(value) is not str or "\0" in value:
        raise ValueError
    return clean_file_name(value)


def _read_chunk(value: Any) -> bytes:
    if type(value) is bytes:
        return value
    chunk = decode_base64(value.encode()) if type(value) is str else None
    if chunk is None:
        raise ValueError
    return chunk


def _read_status(value: Any) -> str:
    if value not in ("success", "error"):
        raise ValueError
    return str(value)


def _texts(most: int, count: int, what: str) -> Check:
    item = _text(most)

    def read(value: Any) -> tuple[str, ...]:
        if type(value) is not list or len(value) > count:
            raise ValueError
        return tuple(item.read(word) for word in value)

    return Check(f"a list of at most {count} {what}, each a string of 1 to {most} characters", read)


A_KEY: Final = _text(MAX_KEY_CHARACTERS)
A_USER: Final = _text(MAX_CHATID_CHARACTERS, "a chatid")
A_NEW_USER: Final = Check(
    f"a name of 1 to {MAX_CHATID_CHARACTERS} characters: letters, digits, '_', '-' or '.'",
    _read_chatid,
)
A_PASSWORD: Final = _text(MAX_PASSWORD_CHARACTERS, "a password")
A_ROOM: Final = Check(
    f"a string of 1 to {MAX_ROOM_CHARACTERS} printable characters without leading or trailing space",
    _read_room,
)
A_CONTENT: Final = Check("a string that is not empty and holds no NUL", _read_content)
A_TIME: Final = Check("a time, a string such as 2024-01-01T12:00:00Z", _read_content)
A_FILE_NAME: Final = Check(f"a file name of 1 to {MAX_FILE_NAME_BYTES} bytes", _read_file_name)
A_FLAG: Final = Check("true or false", _read_flag)
COUNTS: Final = Check("an object of integers, one for each character", _read_counts)
A_CHUNK: Final = Check("base64 text", _read_chunk)
A_STATUS: Final = Check('"success" or "error"', _read_status)
A_TEXT: Final = _text(255)
A_SIZE: Final = _integer(0)
AN_ID: Final = _integer(0)
A_LIMIT: Final = _integer(1, MAX_PAGE)

# --- The catalogue, first part: what clients send -------------------------------------------------


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a request's `data`: its name on the wire (also that of the attribute), its check,
    and what absence means."""

    name: str
    check: Check
    required: bool
    absent: Any = None
    nullable: bool = False
    on_top: bool = False
    """Stands beside `data`, not in it."""


def _required(check: Check, *, on_top: bool = False) -> Any:
    return dataclasses.field(metadata={"check": check, "required": True, "on_top": on_top})


def _optional(check: Check, *, absent: Any = None, nullable: bool = False) -> Any:
    return dataclasses.field(
        default=absent,
        metadata={"check": check, "required": False, "absent": absent, "nullable": nullable},
    )


@dataclass(frozen=True, slots=True)
class Request:
    """A packet of a client, every field checked. Each subclass is one entry of the catalogue."""

    ACTION: ClassVar[str]
    ANSWERS: ClassVar[tuple[str, ...]] = ()
    """The replies of which one answers it, where no `error` does; empty where it has no reply."""
    BEFORE_LOGIN: ClassVar[bool] = False
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Login(Request):
    ACTION = "login"
    ANSWERS = ("login_success", "login_fail")
    BEFORE_LOGIN = True
    chatid: str = _required(A_USER)
    password: str | None = _optional(A_PASSWORD)
    session_key: str | None = _optional(A_TEXT)
    take_over: bool = _optional(A_FLAG, absent=False)
    features: tuple[str, ...] | None = _optional(_texts(64, 64, "features"))


@dataclass(frozen=True, slots=True)
class Register(Request):
    ACTION = "register"
    ANSWERS = ("register_success", "register_fail")
    BEFORE_LOGIN = True
    chatid: str = _required(A_NEW_USER)
    password: str = _required(A_PASSWORD)


@dataclass(frozen=True, slots=True)
class Ping(Request):
    ACTION = "ping"
    ANSWERS = ("pong",)
    BEFORE_LOGIN = True


@dataclass(frozen=True, slots=True)
class Logout(Request):
    ACTION = "logout"
    ANSWERS = ("logout_ack",)
    chatid: str = _required(A_USER)


@dataclass(frozen=True, slots=True)
class ChangePassword(Request):
    ACTION = "change_password"
    ANSWERS = ("password_changed",)
    chatid: str = _required(A_USER)
    password: str = _required(A_PASSWORD)
    new_password: str = _required(A_PASSWORD)


@dataclass(frozen=True, slots=True)
class SendMessage(Request):
    ACTION = "send_message"
    ANSWERS = ("character_count", "ack")
    chatid: str = _required(A_USER)
    room_id: str = _required(A_ROOM)
    content: str = _required(A_CONTENT)
    transaction_id: str | None = _optional(A_KEY)


@dataclass(frozen=True, slots=True)
class CharacterCount(Request):
    ACTION = "character_count"
    ANSWERS = ("confirm_count",)
    transaction_id: str = _required(A_KEY)
    letter_frequencies: Mapping[str, int] = _required(COUNTS)
    original_action: str = _required(A_KEY)


@dataclass(frozen=True, slots=True)
class ConfirmCount(Request):
    ACTION = "confirm_count"
    ANSWERS = ("ack",)
    transaction_id: str = _required(A_KEY)
    confirm: bool = _required(A_FLAG)


@dataclass(frozen=True, slots=True)
class Ack(Request):
    ACTION = "ack"
    transaction_id: str = _required(A_KEY)
    status: str = _required(A_STATUS, on_top=True)


@dataclass(frozen=True, slots=True)
class GetMessages(Request):
    ACTION = "get_messages"
    ANSWERS = ("messages_list",)
    chatid: str = _required(A_USER)
    room_id: str = _required(A_ROOM)
    from_time: str | None = _optional(A_TIME)
    after_id: int | None = _optional(AN_ID)
    before_id: int | None | Absent = _optional(AN_ID, absent=ABSENT, nullable=True)  # noqa: RUF009 (an Enum is immutable)
    limit: int | None = _optional(A_LIMIT)


@dataclass(frozen=True, slots=True)
class FileSendInit(Request):
    ACTION = "file_send_init"
    ANSWERS = ("file_send_init",)
    chat_id: str = _required(A_USER)
    room_id: str = _required(A_ROOM)
    file_path: str = _required(A_FILE_NAME)
    file_size: int = _required(A_SIZE)
    file_type: str = _required(A_TEXT)
    total_packets: int = _required(A_SIZE)
    chunk_size: int | None = _optional(_integer(1, MAX_CHUNK_BYTES))
    transaction_id: str | None = _optional(A_KEY)


@dataclass(frozen=True, slots=True)
class FileSendData(Request):
    ACTION = "file_send_data"
    ANSWERS = ("file_send_data",)
    chat_id: str = _required(A_USER)
    room_id: str = _required(A_ROOM)
    file_path: str = _required(A_FILE_NAME)
    sequence_number: int = _required(A_SIZE)
    file_data: bytes = _required(A_CHUNK)


@dataclass(frozen=True, slots=True)
class FileSendFin(Request):
    ACTION = "file_send_fin"
    ANSWERS = ("file_send_fin",)
    chat_id: str = _required(A_USER)
    room_id: str = _required(A_ROOM)
    file_path: str = _required(A_FILE_NAME)
    total_packets: int = _required(A_SIZE)


@dataclass(frozen=True, slots=True)
class FileCancel(Request):
    ACTION = "file_cancel"
    ANSWERS = ("file_cancelled",)
    chat_id: str = _required(A_USER)
    room_id: str = _required(A_ROOM)
    file_path: str = _required(A_FILE_NAME)


@dataclass(frozen=True, slots=True)
class FileListReq(Request):
    ACTION = "file_list_req"
    ANSWERS = ("file_list_req",)
    chat_id: str = _required(A_USER)
    room_id: str = _required(A_ROOM)
    after: str | None = _optional(A_TEXT)
    limit: int | None = _optional(A_LIMIT)


@dataclass(frozen=True, slots=True)
class FileDownReq(Request):
    ACTION = "file_down_req"
    ANSWERS = ("file_down_meta",)
    chat_id: str = _required(A_USER)
    room_id: str = _required(A_ROOM)
    file_path: str = _required(A_FILE_NAME)
    from_sequence: int = _optional(_integer(1), absent=1)


@dataclass(frozen=True, slots=True)
class CreateRoom(Request):
    ACTION = "create_room"
    ANSWERS = ("room_created",)
    chatid: str = _required(A_USER)
    participants: tuple[str, ...] = _required(_texts(MAX_CHATID_CHARACTERS, 1_000, "names"))
    room_name: str = _required(A_ROOM)


@dataclass(frozen=True, slots=True)
class GetRooms(Request):
    ACTION = "get_rooms"
    ANSWERS = ("rooms_list",)
    chatid: str = _required(A_USER)
    after: str | None = _optional(A_TEXT)
    limit: int | None = _optional(A_LIMIT)


@dataclass(frozen=True, slots=True)
class JoinRoom(Request):
    ACTION = "join_room"
    ANSWERS = ("room_joined",)
    chatid: str = _required(A_USER)
    room_id: str = _required(A_ROOM)


@dataclass(frozen=True, slots=True)
class LeaveRoom(Request):
    ACTION = "leave_room"
    ANSWERS = ("room_left",)
    chatid: str = _required(A_USER)
    room_id: str = _required(A_ROOM)


@dataclass(frozen=True, slots=True)
class AddUserToRoom(Request):
    ACTION = "add_user_to_room"
    ANSWERS = ("user_added",)
    chatid: str = _required(A_USER)
    room_id: str = _required(A_ROOM)
    user_to_add: str = _required(A_USER)


@dataclass(frozen=True, slots=True)
class RemoveUserFromRoom(Request):
    ACTION = "remove_user_from_room"
    ANSWERS = ("user_removed",)
    chatid: str = _required(A_USER)
    room_id: str = _required(A_ROOM)
    user_to_remove: str = _required(A_USER)


@dataclass(frozen=True, slots=True)
class RenameRoom(Request):
    ACTION = "rename_room"
    ANSWERS = ("room_renamed",)
    chatid: str = _required(A_USER)
    room_id: str = _required(A_ROOM)
    new_room_name: str = _required(A_ROOM)


@dataclass(frozen=True, slots=True)
class DeleteRoom(Request):
    ACTION = "delete_room"
    ANSWERS = ("room_deleted",)
    chatid: str = _required(A_USER)
    room_id: str = _required(A_ROOM)


@dataclass(frozen=True, slots=True)
class GetRoomUsers(Request):
    ACTION = "get_room_users"
    ANSWERS = ("room_users_list",)
    chatid: str = _required(A_USER)
    room_id: str = _required(A_ROOM)
    after: str | None = _optional(A_TEXT)
    limit: int | None = _optional(A_LIMIT)


@dataclass(frozen=True, slots=True)
class GetUsers(Request):
    ACTION = "get_users"
    ANSWERS = ("users_list",)
    chatid: str = _required(A_USER)
    after: str | None = _optional(A_TEXT)
    limit: int | None = _optional(A_LIMIT)


@dataclass(frozen=True, slots=True)
class Typing(Request):
    ACTION = "typing"
    chatid: str = _required(A_USER)
    room_id: str = _required(A_ROOM)


@dataclass(frozen=True, slots=True)
class RequestType:
    """One entry of the catalogue: which record a client's packet becomes, and the fields it is read
    from."""

    action: str
    record: type[Request]
    answers: tuple[str, ...]
    before_login: bool
    fields: tuple[Field, ...]

    @property
    def identity(self) -> str | None:
        """The key that names the session's user, as the seed spells it for this packet; None where
        there is none."""
        return next(
            (field.name for field in self.fields if field.name in ("chatid", "chat_id")), None
        )


def _request_type(record: type[Request]) -> RequestType:
    fields = tuple(
        Field(
            item.name,
            item.metadata["check"],
            item.metadata["required"],
            item.metadata.get("absent"),
            item.metadata.get("nullable", False),
            item.metadata.get("on_top", False),
        )
        for item in dataclasses.fields(record)
        if item.name != "request_id"
    )
    return RequestType(record.ACTION, record, record.ANSWERS, record.BEFORE_LOGIN, fields)


REQUESTS: Final[Mapping[str, RequestType]] = {
    record.ACTION: _request_type(record)
    for record in (
        Login,
        Register,
        Ping,
        Logout,
        ChangePassword,
        SendMessage,
        CharacterCount,
        ConfirmCount,
        Ack,
        GetMessages,
        FileSendInit,
        FileSendData,
        FileSendFin,
        FileCancel,
        FileListReq,
        FileDownReq,
        CreateRoom,
        GetRooms,
        JoinRoom,
        LeaveRoom,
        AddUserToRoom,
        RemoveUserFromRoom,
        RenameRoom,
        DeleteRoom,
        GetRoomUsers,
        GetUsers,
        Typing,
    )
}


@dataclass(frozen=True, slots=True)
class Envelope:
    """A client's packet whose JSON and action are known, and whose fields are still to be read."""

    type: RequestType
    packet: Mapping[str, Any]
    request_id: str | None


def shown_action(packet: Mapping[str, Any]) -> str:
    """What an `error` about `packet` names as `original_action`: at most 64 characters of it."""
    action = packet.get("action")
    return action[:64] if isinstance(action, str) and action else "unknown"


def request_id_of(packet: Mapping[str, Any]) -> str | None:
    """The packet's `request_id` where it is one that a reply may repeat, else None."""
    value = packet.get("request_id")
    return (
        value
        if isinstance(value, str) and 1 <= len(value) <= MAX_KEY_CHARACTERS and "\0" not in value
        else None
    )


def open_packet(packet: Mapping[str, Any]) -> Envelope:
    """Find the packet's entry in the catalogue; raises `Refusal` with `bad_packet` or
    `unknown_action`."""
    action = packet.get("action")
    if not isinstance(action, str) or not action:
        raise (
            _bad("action", "the name of a packet, a string", action)
            if "action" in packet
            else Refusal("bad_packet", "action is missing: expected the name of a packet, a string")
        )
    entry = REQUESTS.get(action)
    if entry is None:
        if action in REPLIES:
            raise Refusal("unknown_action", f"action: {describe(action)} is sent by servers only")
        raise Refusal("unknown_action", f"action: no packet is called {describe(action)}")
    return Envelope(entry, packet, request_id_of(packet))


def read_request(envelope: Envelope, max_content: int = 0) -> Any:
    """The envelope's record with every field checked; raises `Refusal` with `bad_packet`, naming
    the key.

    `max_content` is the limit of a message's content in bytes of UTF-8; 0 = none.
    """
    entry, packet = envelope.type, envelope.packet
    if envelope.request_id is None and "request_id" in packet:
        raise _bad(
            "request_id", f"a string of 1 to {MAX_KEY_CHARACTERS} characters", packet["request_id"]
        )
    data = packet.get("data", _NO_DATA)
    if type(data) is not dict:
        raise _bad("data", "an object", data)
    values: list[Any] = [envelope.request_id]
    for field in entry.fields:
        values.append(_read_field(entry.action, field, packet if field.on_top else data))
    if entry.record is SendMessage and max_content:
        size = len(data["content"].encode())
        if size > max_content:
            raise Refusal(
                "bad_packet",
                f"data.content: expected at most {max_content} bytes of UTF-8, got {size}",
            )
    elif entry.record is Login and "password" not in data and "session_key" not in data:
        raise Refusal(
            "bad_packet",
            f"data.password is missing: login needs {A_PASSWORD.expected}, or a session_key",
        )
    elif entry.record is GetMessages and not data.keys() & {"from_time", "after_id", "before_id"}:
        raise Refusal(
            "bad_packet", f"data.from_time is missing: get_messages needs {A_TIME.expected}"
        )
    return entry.record(*values)


_NO_DATA: Final[dict[str, Any]] = {}
_OTHER_SPELLING: Final = {"chatid": "chat_id", "chat_id": "chatid"}


def _read_field(action: str, field: Field, data: Mapping[str, Any]) -> Any:
    name, path = field.name, field.name if field.on_top else f"data.{field.name}"
    if name not in data and name in _OTHER_SPELLING:
        name = _OTHER_SPELLING[name]
    if name not in data:
        if field.required:
            raise Refusal("bad_packet", f"{path} is missing: {action} needs {field.check.expected}")
        return field.absent
    value = data[name]
    if value is None and field.nullable:
        return None
    other = _OTHER_SPELLING.get(name)
    if other is not None and data.get(other, value) != value:
        raise Refusal("bad_packet", f"data.{name} and data.{other} differ: expected one of them")
    try:
        return field.check.read(value)
    except ValueError as error:
        raise _bad(
            path if name == field.name else f"data.{name}",
            str(error) or field.check.expected,
            value,
        ) from None


# --- The catalogue, second part: what the server sends --------------------------------------------

_JSON_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "text": (str,),
    "integer": (int,),
    "flag": (bool,),
    "list": (list,),
    "object": (dict,),
    "text or null": (str, type(None)),
    "chunk": (str, bytes),
}


@dataclass(frozen=True, slots=True)
class ReplyType:
    """One entry of the catalogue: a packet of the server.

    `status` and `message` are those of the seed; None where the packet has none. `required` and
    `optional` name the keys of `data` with their JSON types; a packet without either has no `data`.
    """

    action: str
    status: str | None
    message: str | None
    required: Mapping[str, str]
    optional: Mapping[str, str]


REPLIES: Final[dict[str, ReplyType]] = {}


def _reply(
    action: str, message: str | None, /, status: str | None = "success", **keys: str
) -> None:
    required = {name: kind for name, kind in keys.items() if not kind.endswith("?")}
    optional = {name: kind[:-1] for name, kind in keys.items() if kind.endswith("?")}
    REPLIES[action] = ReplyType(
        action, status if message is not None else None, message, required, optional
    )


_reply("error", "The request was refused.", status="error")
_reply(
    "login_success",
    "Login successful",
    chatid="text",
    session_key="text",
    limits="object?",
    features="list?",
)
_reply("login_fail", "Invalid credentials or user already logged in", status="error")
_reply("register_success", "Registration successful", chatid="text")
_reply("register_fail", "Registration failed", status="error")
_reply("logout_ack", "Logout successful", chatid="text")
_reply("password_changed", "Password changed successfully.", chatid="text")
_reply(
    "character_count",
    None,
    transaction_id="text",
    letter_frequencies="object",
    original_action="text",
)
_reply("confirm_count", None, transaction_id="text", confirm="flag")
_reply(
    "ack",
    "Action processed successfully.",
    transaction_id="text",
    message_id="integer?",
    timestamp="text?",
)
_reply(
    "receive_message",
    "New message received.",
    transaction_id="text",
    room_id="text",
    sender_chatid="text",
    content="text",
    timestamp="text",
    message_id="integer?",
)
_reply(
    "receive_file",
    "New file received.",
    room_id="text",
    sender_chatid="text",
    file_path="text",
    file_size="integer",
    file_type="text",
    timestamp="text",
)
_reply(
    "messages_list",
    "Messages retrieved successfully.",
    room_id="text",
    messages="list",
    has_more="flag?",
)
_reply(
    "file_send_init",
    "Server ready to receive file.",
    chat_id="text",
    room_id="text",
    file_path="text",
    received="list?",
    done="flag?",
)
_reply(
    "file_send_data",
    "Chunk received.",
    chat_id="text",
    room_id="text",
    file_path="text",
    sequence_number="integer",
)
_reply(
    "file_send_fin",
    "File assembled successfully.",
    chat_id="text",
    room_id="text",
    file_path="text",
    sha256="text?",
    stored_as="text?",
)
_reply("file_cancelled", "Transfer cancelled.", chat_id="text", room_id="text", file_path="text")
_reply("file_list_req", "File list", file_list="text", files="list?", has_more="flag?")
_reply(
    "file_down_meta",
    "Starting file download.",
    room_id="text",
    file_path="text",
    file_size="integer",
    total_packets="integer",
    sha256="text?",
)
_reply(
    "file_down_data",
    None,
    room_id="text",
    file_path="text",
    sequence_number="integer",
    file_data="chunk",
)
_reply("file_down_fin", "File download complete.", room_id="text", file_path="text")
_reply("room_created", "Room created.", room_id="text")
_reply("rooms_list", "Rooms retrieved successfully.", rooms="list", has_more="flag?")
_reply("room_joined", "Room joined.", room_id="text")
_reply("room_left", "Room left.", room_id="text")
_reply("user_added", "User added to the room.", room_id="text", user_added="text")
_reply("user_removed", "User removed from the room.", room_id="text", user_removed="text")
_reply("room_renamed", "Room renamed.", room_id="text", new_room_name="text")
_reply("room_deleted", "Room deleted.", room_id="text")
_reply(
    "room_users_list",
    "Users of the room retrieved successfully.",
    room_id="text",
    room_name="text",
    users="list",
    has_more="flag?",
)
_reply("users_list", "Users retrieved successfully.", users="list", online="list", has_more="flag?")
_reply("pong", "pong")
_reply("event", None, type="text", chatid="text?", room_id="text?", name="text?")

EVENT_TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "user_online": ("chatid",),
    "user_offline": ("chatid",),
    "room_created": ("room_id", "name"),
    "room_renamed": ("room_id", "name"),
    "room_deleted": ("room_id", "name"),
    "user_added": ("room_id", "chatid"),
    "user_removed": ("room_id", "chatid"),
    "typing": ("room_id", "chatid"),
    "server_closing": (),
}


def build(
    action: str,
    data: Mapping[str, Any] | None = None,
    *,
    message: str | None = None,
    request_id: str | None = None,
    code: str | None = None,
    status: str | None = None,
) -> bytes:
    """The frame of one of the server's packets, with the status and message of the catalogue unless
    others are given."""
    entry = REPLIES[action]
    packet: dict[str, Any] = {"action": action}
    if entry.message is not None:
        packet["status"] = status or entry.status
        packet["message"] = message or entry.message
    if code is not None:
        packet["code"] = code
    if data is not None:
        packet["data"] = data
    if request_id is not None:
        packet["request_id"] = request_id
    return frame(encode_object(packet))


def build_error(
    original_action: str, code: str, message: str, request_id: str | None = None
) -> bytes:
    """The frame of the seed's `error` packet, with its `code`."""
    packet = {
        "action": "error",
        "original_action": original_action,
        "status": "error",
        "message": message,
        "code": code,
    }
    if request_id is not None:
        packet["request_id"] = request_id
    return frame(encode_object(packet))


def build_event(kind: str, **data: str) -> bytes:
    """The frame of an event of one of `EVENT_TYPES`."""
    return build("event", {"type": kind, **data})


def build_request(action: str, data: Mapping[str, Any] | None = None, **top: Any) -> bytes:
    """The frame of a client's packet; `top` are keys beside `data`, such as `request_id` or an
    ack's `status`."""
    packet: dict[str, Any] = {"action": action, **top}
    if data is not None:
        packet["data"] = data
    return frame(encode_object(packet))


def check_reply(packet: Mapping[str, Any]) -> ReplyType:
    """The catalogue's entry for a packet that a server sent; raises `Refusal` (`bad_packet`) where
    a key is not as it says."""
    action = packet.get("action")
    entry = REPLIES.get(action) if isinstance(action, str) else None
    if entry is None:
        raise Refusal("unknown_action", f"action: no server's packet is called {describe(action)}")
    if not entry.required:
        return entry
    data = packet.get("data")
    if not isinstance(data, dict):
        if entry.action == "ack" and packet.get("status") == "error":
            return entry
        raise _bad("data", "an object", data)
    for name, kind in entry.required.items():
        value = data.get(name)
        if not isinstance(value, _JSON_TYPES[kind]) or (
            kind == "integer" and isinstance(value, bool)
        ):
            raise _bad(f"data.{name}", kind, value)
    return entry


# --- Reading a journal: python protocol.py FILE ---------------------------------------------------


MAX_KEPT_FRAME: Final = 64 * 1024 * 1024


def read_frames(file: BinaryIO) -> Iterator[bytes]:
    """The payloads of a file of frames; an unfinished last one raises `BadFrame`."""
    while True:
        header = file.read(HEADER_BYTES)
        if not header:
            return
        size = int.from_bytes(header, "big")
        if len(header) < HEADER_BYTES:
            raise BadFrame(
                f"the last frame is cut off in its length: expected {HEADER_BYTES} bytes, got {len(header)}"
            )
        if size > MAX_KEPT_FRAME:
            raise BadFrame(f"a frame of length {size}: this is no journal file")
        payload = file.read(size)
        if len(payload) < size:
            raise BadFrame(f"the last frame is cut off: expected {size} bytes, got {len(payload)}")
        yield payload


def main(arguments: list[str] | None = None) -> int:
    """Print the packets of a journal file; exit status 0, or 1 where the file can't be read to its
    end."""
    parser = argparse.ArgumentParser(
        prog="protocol.py", description="Print the packets of a journal file readably."
    )
    parser.add_argument(
        "file", metavar="FILE", help="a file of frames, as chat-data/journal/ holds them"
    )
    name = parser.parse_args(arguments).file
    try:
        with open(name, "rb") as file:
            for number, payload in enumerate(read_frames(file), 1):
                text = json.dumps(
                    json.loads(payload), indent=2
                )  # ASCII: no terminal can be driven by what was said
                print(
                    f"# packet {number}, {len(payload)} bytes ({len(payload).to_bytes(4, 'big').hex(' ')})\n{text}\n"
                )
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except (OSError, ValueError, RecursionError, ProtocolError) as error:
        print(f"protocol.py: {name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
