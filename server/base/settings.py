"""The options of the server: each one declared once, read from flags, `CHAT_*` variables, an INI
file or its default.

Owns the table of all options (the fields of `Settings`), from which flag, variable, key of the
file, check and help text derive, and the command line with its sub-commands. Reads the file that
`--config` names and nothing else: it makes no folder, opens no port, and never decides what a
sub-command does (`server.command_line.admin`).

Called once, by the main thread, before any other thread exists. What it returns is immutable: any
thread may read it.
"""

from __future__ import annotations

import argparse
import configparser
import dataclasses
import difflib
import platform
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TextIO, TypeVar

import protocol
from server.base.logs import printable

PROGRAM: Final = "chat_server.py"
SECTION: Final = "server"
COMMANDS: Final[Mapping[str, str]] = {
    "adduser": "make an account",
    "passwd": "give an account a new password; who is logged in under it is logged out",
    "deluser": "delete an account; its name stays reserved, so that nobody inherits its rooms and files",
    "users": "print the names of all accounts, one a line",
    "import": "make accounts from a CSV file with the columns chatid,password; all of them or none",
    "restore-room": "bring a deleted room back",
}

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


_FLAG: Final = Kind("yes or no", "yes|no", _read_flag, lambda value: "yes" if value else "no")


def show_bytes(count: int) -> str:
    """`count` bytes as an option takes it, in the largest unit that says it exactly: 65536 is
    64K."""
    for unit in ("G", "M", "K"):
        if count and count % _BYTE_UNITS[unit] == 0:
            return f"{count // _BYTE_UNITS[unit]}{unit}"
    return str(count)


# --- The table of options -------------------------------------------------------------------------


def _option(default: Any, kind: Kind, help_text: str, zero: str | None = None) -> Any:
    """A field of `Settings`. `zero` says what the value 0 means, where it is not a number like
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
        "who makes accounts: everybody by register (open), only you on the command line (closed), or the first login "
        "with a new name (first-login)",
    )
    new_rooms: bool = _option(
        True, _FLAG, "whether sending to an id that no room has makes an open room"
    )
    rate_limit: int = _option(
        20,
        _whole(0, 1_000_000),
        "requests a second of one session, after its burst; over it the session is read more slowly",
        _OFF,
    )
    rate_burst: int = _option(
        100,
        _whole(1, 1_000_000),
        "requests that a session may send at once before --rate-limit counts",
    )
    password_cost: int = _option(
        14,
        _whole(1, 20, "LOG2N"),
        "log2 of scrypt's N for new passwords; each step doubles time and memory; 4 for load tests",
    )
    max_frame: int = _option(
        1024**2,
        _bytes(1024, 2**32 - 1),
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
    min_free: int = _option(
        5,
        _whole(0, 99, "PERCENT"),
        "percent of the disk that uploads leave free",
        "uploads may fill the disk",
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
        "bytes of open transactions and outboxes together; over it the largest holder is closed",
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
        "failed logins a minute of one account from one address, before further ones are answered later",
        "never slowed",
    )
    certfile: str = _option(
        "",
        Kind("the path of a PEM file, or nothing", "FILE", str),
        "certificate (PEM) with which clients are served by TLS; without it they are served in the clear",
    )
    keyfile: str = _option(
        "",
        Kind("the path of a PEM file, or nothing", "FILE", str),
        "private key (PEM) of --certfile, if not in the same file",
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


# --- Reading them ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Invocation:
    """What one start of the program asks for. `command` is None for serving. `origins` tells where
    each value is from."""

    settings: Settings
    command: str | None
    arguments: argparse.Namespace
    origins: Mapping[str, str]


class BadOption(ValueError):
    """A value that can't be taken; the text is the whole line to show."""


def parse(argv: list[str], environ: Mapping[str, str]) -> Invocation:
    """What `argv` (without the program's name) and `environ` ask for; flags beat variables beat the
    file beat defaults.

    A bad value in any of them, also in one that another beats, is one line on stderr and
    SystemExit(2). `--help`, `--version` and `--show-config` print on stdout and raise
    SystemExit(0).
    """
    parser = _make_parser()
    unknown = _unknown_option(argv)
    if unknown is not None:
        parser.error(unknown)
    arguments = parser.parse_args(argv)
    try:
        settings, origins = _resolve(arguments, environ)
    except BadOption as problem:
        parser.error(str(problem))
    if arguments.show_config:
        try:
            write_safely(sys.stdout, show_config(settings, origins))
        except OSError as problem:
            raise SystemExit(
                f"{PROGRAM}: cannot write to stdout: {problem.strerror or problem}"
            ) from None
        raise SystemExit(0)
    return Invocation(settings, arguments.command, arguments, origins)


def _unknown_option(argv: list[str]) -> str | None:
    """What is wrong with the first option before the command that does not exist. argparse alone
    would take the value behind it for a command, and complain about that."""
    flags = {
        flag
        for option in OPTIONS.values()
        for flag in (option.flag, option.negative_flag)[: 1 + (option.kind is _FLAG)]
    }
    flags |= {"--config", "--show-config", "--version", "--help", "--"}
    for word in argv:
        if word in COMMANDS:
            return None
        flag = word.partition("=")[0]
        if flag.startswith("--") and flag not in flags:
            near = difflib.get_close_matches(flag, flags, 1)
            return f"there is no option {printable(flag)}" + (
                f"; is {near[0]} meant?" if near else ""
            )
    return None


def show_config(settings: Settings, origins: Mapping[str, str]) -> str:
    """The effective values as an INI file that `--config` takes, above each one where it comes
    from."""
    lines = [f"[{SECTION}]"]
    for option in OPTIONS.values():
        lines.append(f"# {printable(origins.get(option.name, 'default'), 400)}")
        lines.append(f"{option.name} = {option.kind.show(getattr(settings, option.name))}")
    return "\n".join(lines) + "\n"


def write_safely(stream: TextIO, text: str) -> None:
    """Write `text`; what the stream's encoding doesn't know (cp1252 on Windows) is escaped instead
    of raised."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _resolve(
    arguments: argparse.Namespace, environ: Mapping[str, str]
) -> tuple[Settings, dict[str, str]]:
    """Every given value checked, from the weakest source to the strongest, so that the last one
    stays."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for option, origin, text in _given(arguments, environ):
        try:
            values[option.name] = option.kind.read(text.strip())
        except ValueError:
            raise BadOption(
                f"{origin}: expected {option.kind.expected}, got '{printable(text)}'"
            ) from None
        origins[option.name] = origin
    return Settings(**values), origins


def _given(
    arguments: argparse.Namespace, environ: Mapping[str, str]
) -> Iterator[tuple[Option, str, str]]:
    config = getattr(arguments, "config", None)
    if config is not None:
        yield from _read_file(config, "--config")
    elif environ.get("CHAT_CONFIG"):
        yield from _read_file(environ["CHAT_CONFIG"], "CHAT_CONFIG")
    for option in OPTIONS.values():
        if environ.get(
            option.variable
        ):  # set to nothing is the shell's way of saying: as if it were not set
            yield option, option.variable, environ[option.variable]
    for option in OPTIONS.values():
        text = getattr(arguments, option.name, None)
        if text is not None:
            yield (
                option,
                option.negative_flag if text == "no" and option.kind is _FLAG else option.flag,
                text,
            )


def _read_file(path: str, origin: str) -> Iterator[tuple[Option, str, str]]:
    # No default section and no interpolation: a key means itself, and a `%` in a path is a `%`.
    file = configparser.ConfigParser(interpolation=None, default_section="", strict=True)
    file.optionxform = lambda optionstr: optionstr.lower().replace("-", "_")  # type: ignore[method-assign]
    shown = printable(path, 200)
    try:
        with open(path, encoding="utf-8-sig") as stream:
            file.read_file(stream)
    except OSError as error:
        raise BadOption(f"{origin}: cannot read '{shown}': {error.strerror or error}") from None
    except (UnicodeDecodeError, configparser.Error, ValueError) as error:
        problem = printable(" ".join(str(error).split()), 300)
        raise BadOption(
            f"{origin}: expected an INI file in UTF-8, got '{shown}': {problem}"
        ) from None
    for section in file.sections():
        if section != SECTION:
            raise BadOption(
                f"{shown}: expected only the section [{SECTION}], got [{printable(section)}]"
            )
        for key, text in file.items(section):
            if key not in OPTIONS:
                raise BadOption(
                    f"{shown}:{printable(key)}: no such option; --help and --show-config list them all"
                )
            yield OPTIONS[key], f"{shown}:{key}", text


# --- The command line -----------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """argparse, but an error is one line: whoever reads it wants the reason, not a page of usage
    above it."""

    def error(self, message: str) -> NoReturn:
        if sys.stderr is not None:
            write_safely(
                sys.stderr, f"{PROGRAM}: {printable(message, 600)} (see {PROGRAM} --help)\n"
            )
        raise SystemExit(2)


_EPILOG: Final = """\
Every option is also a variable (CHAT_PORT=9000, CHAT_NEW_ROOMS=no) and a key under [server] in the INI file that
--config or CHAT_CONFIG names (port = 9000). Flags beat variables beat the file beat the defaults.
Bytes may be written as 65536, 64K, 1M or 1G. Without a command the server serves until Ctrl-C.
"""


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [OPTIONS] [COMMAND ...]",
        description="A chat server for the classroom.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for option in OPTIONS.values():
        _add_option(parser, option, None)
    parser.add_argument("--config", metavar="FILE", help="INI file with values for these options")
    parser.add_argument(
        "--show-config",
        action="store_true",
        help="print the effective values and where each comes from, then end",
    )
    about = f"{PROGRAM} {protocol.VERSION} (Python {platform.python_version()}, SQLite {sqlite3.sqlite_version})"
    parser.add_argument("--version", action="version", version=about)
    commands = parser.add_subparsers(
        dest="command",
        prog=PROGRAM,
        title="commands (also while the server runs)",
        metavar="COMMAND",
        parser_class=_Parser,
    )
    for name, what in COMMANDS.items():
        _add_command(
            commands.add_parser(
                name, help=what, description=what[0].upper() + what[1:] + ".", allow_abbrev=False
            ),
            name,
        )
    return parser


def _add_option(parser: argparse.ArgumentParser, option: Option, default: str | None) -> None:
    help_line = option.help_line().replace("%", "%%")
    if option.kind is _FLAG:
        parser.add_argument(
            option.flag,
            dest=option.name,
            action="store_const",
            const="yes",
            default=default,
            help=help_line,
        )
        parser.add_argument(
            option.negative_flag,
            dest=option.name,
            action="store_const",
            const="no",
            default=default,
            help="the opposite",
        )
    else:
        parser.add_argument(
            option.flag,
            dest=option.name,
            metavar=option.kind.metavar,
            default=default,
            help=help_line,
        )


def _add_command(parser: argparse.ArgumentParser, name: str) -> None:
    # SUPPRESS: an option that isn't repeated after the command must not wipe out the one that
    # stands before it.
    _add_option(parser, OPTIONS["data"], argparse.SUPPRESS)
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="INI file with values for the options",
    )
    if name in ("adduser", "passwd", "import"):
        _add_option(parser, OPTIONS["password_cost"], argparse.SUPPRESS)
    if name in ("adduser", "passwd"):
        parser.add_argument(
            "--password-file",
            metavar="FILE",
            help="take the password from the first line of FILE; else it is asked for, or read from stdin",
        )
    if name in ("adduser", "passwd", "deluser"):
        parser.add_argument("name", metavar="NAME", help="the account's name (chatid)")
    elif name == "import":
        parser.add_argument(
            "roster",
            metavar="ROSTER.csv",
            help="the first line is chatid,password; an empty password is made up and printed once",
        )
    elif name == "restore-room":
        parser.add_argument("room_id", metavar="ID", help="the room's id")
