"""The options of the server: each one declared once, as a field of `Settings`.

Owns the table of all options, from which flag, variable, key of the file, check and help text
derive. Reads nothing: `command_line/arguments.py` fills it. What is in it is immutable: any thread
may read it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

_Number = TypeVar("_Number", int, float)

# --- What a value may be --------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """How the text of one sort of value is read. `read` raises ValueError where the text is not
    `expected`."""

    expected: str
    metavar: str
    read: Callable[[str], Any]
    show: Callable[[Any], str] = str


def _whole(least: int, most: int, metavar: str = "N", *, or_zero: bool = False) -> Kind:
    def read(text: str) -> int:
        return _bounded(
            int(text) if re.fullmatch(r"[0-9]{1,18}", text) else -1, least, most, or_zero
        )

    return Kind(_range("a whole number", least, str(most), or_zero), metavar, read)


_BYTE_UNITS: Final = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


def _bytes(least: int, most: int = 2**50) -> Kind:
    def read(text: str) -> int:
        match = re.fullmatch(r"([0-9]{1,18})([KMG]?)", text.upper())
        return _bounded(
            int(match[1]) * _BYTE_UNITS[match[2]] if match else -1, least, most, or_zero=True
        )

    what = "a number of bytes as 65536, 64K, 1M or 1G,"
    return Kind(_range(what, least, show_bytes(most), or_zero=True), "BYTES", read, show_bytes)


def _seconds(most: int = 1_000_000) -> Kind:
    # 1,000,000 s is less than the longest wait that Windows knows (threading.TIMEOUT_MAX is
    # 4,294,967 s there).
    def read(text: str) -> float:
        number = float(text) if re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,9})?", text) else -1.0
        return _bounded(number, 0, most, or_zero=True)

    return Kind(f"seconds from 0 to {most}, as 30 or 0.5", "SECONDS", read, "{:g}".format)


def _range(what: str, least: int, most: str, or_zero: bool) -> str:
    if or_zero and least > 1:
        return f"{what} 0 or from {least} to {most}"
    return f"{what} from {0 if or_zero else least} to {most}"


def _bounded(number: _Number, least: int, most: int, or_zero: bool) -> _Number:
    if least <= number <= most or (or_zero and number == 0):
        return number
    raise ValueError


def _choice(*words: str) -> Kind:
    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError
        return text.lower()

    return Kind(" or ".join(words), "|".join(words), read)


def _read_flag(text: str) -> bool:
    word = text.lower()
    if word in ("yes", "true", "on", "1"):
        return True
    if word in ("no", "false", "off", "0"):
        return False
    raise ValueError


def _read_text(text: str) -> str:
    # A control character would make a second line of what is logged and of what --show-config
    # prints.
    if not text.strip() or re.search(r"[\x00-\x1f\x7f-\x9f]", text):
        raise ValueError
    return text


FLAG: Final = Kind("yes or no", "yes|no", _read_flag, lambda value: "yes" if value else "no")
"""Its options have a second flag for no, as --no-new-rooms."""


def show_bytes(count: int) -> str:
    """Write `count` bytes as an option takes it, in the largest unit that says it exactly: 65536 is
    64K."""
    for unit in ("G", "M", "K"):
        if count and count % _BYTE_UNITS[unit] == 0:
            return f"{count // _BYTE_UNITS[unit]}{unit}"
    return str(count)


# --- The table of options -------------------------------------------------------------------------


def _option(default: Any, kind: Kind, help_text: str, zero: str | None = None) -> Any:
    """Make a field of `Settings`. `zero` says what the value 0 means, where it is not a number like
    others."""
    return dataclasses.field(
        default=default, metadata={"kind": kind, "help": help_text, "zero": zero}
    )


_OFF: Final = "no limit"
_FOR_EVER: Final = "no time limit"


@dataclass(frozen=True)
class Settings:
    """Every option with its effective value; bytes, seconds or numbers as its help says. 0 turns a
    limit off."""

    host: str = _option(
        "0.0.0.0",
        Kind("a host name or address", "HOST", _read_text),
        "address to listen on; 127.0.0.1 serves this machine only",
    )
    port: int = _option(9876, _whole(0, 65535, "PORT"), "TCP port to listen on", "any free port")
    data: str = _option(
        "chat-data",
        Kind("a folder's path", "FOLDER", _read_text),
        "folder of the database, uploads and journal; on a local disk",
    )
    registration: str = _option(
        "open",
        _choice("open", "closed", "first-login"),
        "who makes accounts: everybody by register (open), only you on the command line "
        "(closed), or the first login "
        "with a new name (first-login)",
    )
    new_rooms: bool = _option(
        True, FLAG, "whether sending to an id that no room has makes an open room"
    )
    private_rooms: str = _option(
        "everybody",
        _choice("everybody", "teachers", "with-teacher"),
        "who makes private rooms: everybody, only teachers, or everybody, with each teacher as a "
        "member",
    )
    rate_limit: int = _option(
        20,
        _whole(0, 1_000_000),
        "requests a second of one account, after its burst; over it the account is read more "
        "slowly",
        _OFF,
    )
    rate_burst: int = _option(
        100,
        _whole(1, 1_000_000),
        "requests that an account may send at once before --rate-limit counts",
    )
    password_cost: int = _option(
        14,
        _whole(1, 20, "LOG2N"),
        "log2 of scrypt's N for new passwords; each step doubles time and memory; 4 for load tests",
    )
    max_frame: int = _option(
        1024**2,
        _bytes(8 * 1024, 2**32 - 1),  # the longest entry of a list of files takes 4 KiB
        "bytes of one frame after login (before it at most 64K)",
        "only the 4 GiB that the frame's length can say",
    )
    max_content: int = _option(
        16 * 1024, _bytes(1), "bytes (UTF-8) of one message's content", "no limit but --max-frame"
    )
    max_file: int = _option(100 * 1024**2, _bytes(1), "bytes of one file", _OFF)
    quota: int = _option(
        1024**3,
        _bytes(1),
        "bytes of all files of one user, begun uploads counted at their declared size",
        _OFF,
    )
    message_quota: int = _option(
        1024**3,
        _bytes(1),
        "bytes of the database that one user may fill with messages, rooms and entries of files",
        _OFF,
    )
    min_free: int = _option(
        5,
        _whole(0, 99, "PERCENT"),
        "percent of the disk that uploads, messages and new rooms leave free",
        "the disk may be filled",
    )
    max_waiting: int = _option(
        1024**2,
        _bytes(1),
        "bytes of forwarded packets waiting for one client, before it is closed",
        _OFF,
    )
    max_connections: int = _option(10_000, _whole(0, 1_000_000), "connections in all", _OFF)
    max_per_address: int = _option(
        500, _whole(0, 1_000_000), "connections from one address (loopback is free of it)", _OFF
    )
    max_memory: int = _option(
        256 * 1024**2,
        _bytes(1),
        "bytes that clients make the server hold; over it the largest holder is closed",
        _OFF,
    )
    max_rooms: int = _option(100, _whole(0, 1_000_000), "rooms that one user may make", _OFF)
    max_pending: int = _option(
        64,
        _whole(0, 1_000_000),
        "open transactions of one session, and open uploads of one user",
        _OFF,
    )
    max_downloads: int = _option(
        16, _whole(0, 1_000_000), "downloads of one session that wait for the one that runs", _OFF
    )
    max_bad_json: int = _option(
        10, _whole(0, 1_000_000), "frames that are no JSON, before their connection is closed", _OFF
    )
    login_timeout: float = _option(30.0, _seconds(), "seconds from connecting to login", _FOR_EVER)
    frame_timeout: float = _option(
        30.0, _seconds(), "seconds from a frame's first byte to its last", _FOR_EVER
    )
    stall_timeout: float = _option(
        30.0,
        _seconds(),
        "seconds in which a client takes not a byte of what waits for it, before it is closed",
        _FOR_EVER,
    )
    transaction_timeout: float = _option(
        60.0, _seconds(), "seconds that an unconfirmed transaction lives", _FOR_EVER
    )
    upload_lifetime: float = _option(
        86400.0,
        _seconds(1_000_000_000),
        "seconds that an unfinished, untouched upload is kept",
        "kept for ever",
    )
    retain: int = _option(
        0,
        _whole(0, 36_500, "DAYS"),
        "days after which messages, files, the journal and the record of teachers' acts are "
        "erased, each night and at the start",
        "kept for ever",
    )
    session_lifetime: float = _option(
        86400.0,
        _seconds(1_000_000_000),
        "seconds that a session key lives after its last use",
        "lives until logout",
    )
    shutdown_timeout: float = _option(
        5.0,
        _seconds(),
        "seconds that a stopping server gives its clients to take what waits",
        "closes at once",
    )
    login_failures: int = _option(
        5,
        _whole(0, 1_000_000),
        "failed logins a minute of one account from one address, before further ones are "
        "answered later",
        "never slowed",
    )
    certfile: str = _option(
        "",
        Kind("the path of a PEM file, or nothing", "FILE", str),
        "certificate (PEM) with which clients are served by TLS; without it they are served "
        "in the clear",
    )
    keyfile: str = _option(
        "",
        Kind("the path of a PEM file, or nothing", "FILE", str),
        "private key (PEM) of --certfile, if not in the same file",
    )
    log_format: str = _option(
        "text",
        _choice("text", "json"),
        "how events are logged: lines for people, or one object of JSON a line for programs",
    )
    log_level: str = _option(
        "info",
        _choice("debug", "info", "warning", "error"),
        "least severe events that are logged on stderr",
    )


@dataclass(frozen=True)
class Option:
    """One row of the table: a field of `Settings` and every name that it goes by."""

    name: str
    default: Any
    kind: Kind
    help: str
    zero: str | None

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def negative_flag(self) -> str:
        return "--no-" + self.flag[2:]

    @property
    def variable(self) -> str:
        return "CHAT_" + self.name.upper()

    def help_line(self) -> str:
        zero = f"; 0: {self.zero}" if self.zero else ""
        return f"{self.help} (default {self.kind.show(self.default) or 'none'}{zero})"


OPTIONS: Final[Mapping[str, Option]] = {
    row.name: Option(
        row.name, row.default, row.metadata["kind"], row.metadata["help"], row.metadata["zero"]
    )
    for row in dataclasses.fields(Settings)
}
