"""The command line: options from flags, `CHAT_*` variables, an INI file or their defaults, and the
sub-commands.

Owns the parser, the order of these sources and the wording of their errors. Reads the file that
`--config` names and nothing else: it makes no folder, opens no port, and never decides what a
sub-command does (`admin`).

Called once, by the main thread, before any other thread exists.
"""

from __future__ import annotations

import argparse
import configparser
import difflib
import functools
import platform
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TextIO

import incoming_text
import protocol
from server.base.logs import printable
from server.base.settings import FLAG, OPTIONS, Option, Settings
from server.command_line.option_arguments import add_option
from server.command_line.sub_commands import COMMANDS, add_command

PROGRAM: Final = "chat_server.py"
SECTION: Final = "server"
NEARNESS: Final = 0.65
"""From which ratio of `difflib` on the name of a variable counts as an option mistyped."""
OTHERS: Final = ("CHAT_CAFILE", "CHAT_PASSWORD")
"""Variables of the client and of the kit that look like ours."""
# --- Reading them ---------------------------------------------------------------------------------


def typed() -> str:
    """Return what is typed before a command here: sentences that name one can be copied."""
    return f"{'py' if sys.platform == 'win32' else 'python3'} {PROGRAM}"


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
    """Return what `argv` (without the program's name) and `environ` ask for; flags beat variables
    beat the file beat defaults.

    A bad value in any of them, also in one that another beats, is one line on stderr and
    SystemExit(2). `--help`, `--version` and `--show-config` print on stdout and raise
    SystemExit(0).
    """
    parser = make_parser()
    unknown = _unknown_option(argv)
    if unknown is not None:
        parser.error(unknown)
    arguments = parser.parse_args(argv)
    try:
        settings, origins = _resolve(arguments, environ)
    except BadOption as problem:
        parser.error(str(problem))
    for name, right in mistyped_variables(environ):
        write_safely(
            sys.stderr,
            f"{PROGRAM}: warning: the variable {printable(name)} is no option; is {right} meant?\n",
        )
    if arguments.show_config:
        try:
            write_safely(sys.stdout, show_config(settings, origins))
        except OSError as problem:
            raise SystemExit(
                f"{PROGRAM}: cannot write to stdout: {problem.strerror or problem}"
            ) from None
        raise SystemExit(0)
    return Invocation(settings, arguments.command, arguments, origins)


def mistyped_variables(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return each variable that is set and looks like an option, but is none, with the option that
    is nearest. Other `CHAT_` variables are left alone: the client and the kit have theirs."""
    rights = [option.variable for option in OPTIONS.values()] + ["CHAT_CONFIG"]
    words = {name.removeprefix("CHAT_"): name for name in rights}
    found = []
    for name, value in environ.items():
        known = name in rights or name in OTHERS
        if value and name.upper().startswith("CHAT_") and not known:
            near = difflib.get_close_matches(name.upper()[len("CHAT_") :], words, 1, NEARNESS)
            found += [(name, words[word]) for word in near]
    return sorted(found)


def _unknown_option(argv: list[str]) -> str | None:
    """Return what is wrong with the first option before the command that does not exist, or None.
    argparse alone would take the value behind it for a command, and complain about that."""
    flags = {
        flag
        for option in OPTIONS.values()
        for flag in (option.flag, option.negative_flag)[: 1 + (option.kind is FLAG)]
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
    """Write the effective values as an INI file that `--config` takes, above each one where it
    comes from."""
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


def write_data(stream: TextIO, text: str) -> None:
    """Write `text` for another program to read; as UTF-8 with a byte-order mark where the stream's
    encoding doesn't know all of it (cp1252 on Windows)."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        buffer = getattr(stream, "buffer", None)
        if buffer is None:
            return write_safely(stream, text)
        stream.flush()
        buffer.write(text.encode("utf-8-sig"))
    else:
        stream.write(text)
    stream.flush()


def _resolve(
    arguments: argparse.Namespace, environ: Mapping[str, str]
) -> tuple[Settings, dict[str, str]]:
    """Check every given value, from the weakest source to the strongest, so that the last one
    stays; return the settings and where each value is from."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for option, origin, text in _given(arguments, environ):
        try:
            value = option.kind.read(text.strip())
            is_path = option.kind.metavar in ("FOLDER", "FILE")
            values[option.name] = incoming_text.place(value) if is_path else value
        except incoming_text.BadText as error:
            raise BadOption(f"{origin}: {printable(error, 200)}") from None
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
        # A variable that is set to nothing counts as not set, as in a shell.
        if environ.get(option.variable):
            yield option, option.variable, environ[option.variable]
    for option in OPTIONS.values():
        text = getattr(arguments, option.name, None)
        if text is not None:
            is_negative = text == "no" and option.kind is FLAG
            yield option, option.negative_flag if is_negative else option.flag, text


def _read_file(path: str, origin: str) -> Iterator[tuple[Option, str, str]]:
    # No default section and no interpolation: a key means itself, and a `%` in a path is a `%`.
    file = configparser.ConfigParser(interpolation=None, default_section="", strict=True)
    file.optionxform = lambda optionstr: optionstr.lower().replace("-", "_")  # type: ignore[method-assign]
    shown = printable(path, 200)
    try:
        file.read_string(incoming_text.read(path), path)
    except OSError as error:
        raise BadOption(f"{origin}: cannot read '{shown}': {error.strerror or error}") from None
    except (configparser.Error, ValueError) as error:
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
                    f"{shown}:{printable(key)}: no such option; "
                    "--help and --show-config list them all"
                )
            yield OPTIONS[key], f"{shown}:{key}", text


# --- The command line -----------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line: the reader wants the reason, not a page of
    usage above it."""

    def error(self, message: str) -> NoReturn:
        if sys.stderr is not None:
            page = (
                f"{self.prog.replace(PROGRAM, typed(), 1)} --help"  # of the command, where one is
            )
            write_safely(sys.stderr, f"{PROGRAM}: {printable(message, 600)} (see {page})\n")
        raise SystemExit(2)


_EPILOG: Final = """\
Every option is also a variable (CHAT_PORT=9000, CHAT_NEW_ROOMS=no) and a key under [server] in \
the INI file that
--config or CHAT_CONFIG names (port = 9000). Flags beat variables beat the file beat the defaults.
Bytes may be written as 65536, 64K, 1M or 1G. Without a command the server serves until Ctrl-C.
"""


@functools.cache
def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line, which is built once."""
    parser = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [OPTIONS] [COMMAND ...]",
        description="A chat server for the classroom.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for option in OPTIONS.values():
        add_option(parser, option, None)
    parser.add_argument("--config", metavar="FILE", help="INI file with values for these options")
    parser.add_argument(
        "--show-config",
        action="store_true",
        help="print the effective values and where each comes from, then end",
    )
    about = (
        f"{PROGRAM} {protocol.VERSION} "
        f"(Python {platform.python_version()}, SQLite {sqlite3.sqlite_version})"
    )
    parser.add_argument("--version", action="version", version=about)
    commands = parser.add_subparsers(
        dest="command",
        prog=PROGRAM,
        title="commands (also while the server runs)",
        metavar="COMMAND",
        parser_class=_Parser,
    )
    for name, what in COMMANDS.items():
        add_command(
            commands.add_parser(
                name, help=what, description=what[0].upper() + what[1:] + ".", allow_abbrev=False
            ),
            name,
        )
    return parser
