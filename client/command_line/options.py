"""The options of `chat_client.py`: what may be typed, before a command and behind it.

Owns the parsers. Never opens a file or a connection. For the main thread.
"""

from __future__ import annotations

import argparse
import platform
import re
import sys
from pathlib import Path
from typing import Final

import protocol
from client.command_line import preferences
from client.exit_status import STATUSES
from client.scripts import commands as scripts
from client.terminal import packet_view

DEFAULT_SERVER: Final = ("127.0.0.1", protocol.DEFAULT_PORT)
COMMANDS: Final = {
    **{name: command.help for name, command in scripts.COMMANDS.items()},
    "doctor": "find out, step by step, why a server can't be reached",
}
PROGRAM: Final = Path(sys.argv[0]).name if sys.argv[0].endswith(".pyz") else "chat_client.py"
COLOURS: Final = ("auto", "always", "never")


def address(text: str) -> tuple[str, int]:
    """Split `HOST`, `HOST:PORT`, `[IPv6]:PORT` or a bare IPv6 address into host and port."""
    if "://" in text:
        host = text.split("://")[1].split("/")[0] or "lab:9876"
        raise argparse.ArgumentTypeError(
            f"{text!r} is a web address; expected HOST or HOST:PORT alone, as {host}"
        )
    match = re.fullmatch(r"\[([^\[\]]+)\](?::(.*))?|([^:\[\]]+)(?::([^:]*))?", text)
    if match is None:
        if text.count(":") > 1 and "[" not in text:
            return text, protocol.DEFAULT_PORT
        raise argparse.ArgumentTypeError(
            f"{text!r} is no address; expected HOST, HOST:PORT or [IPv6]:PORT"
        )
    host, port = (
        match.group(1) or match.group(3),
        match.group(2) if match.group(1) else match.group(4),
    )
    if port is None:
        return host, protocol.DEFAULT_PORT
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise argparse.ArgumentTypeError(f"the port {port!r} is no number from 1 to 65535")
    return host, int(port)


def joined(server: tuple[str, int]) -> str:
    """Return the address as it is typed."""
    host, port = server
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0.1 to 86400")
    return value


def general_options() -> argparse.ArgumentParser:
    """Return the parser of what may stand before a command and after it. No defaults: what is not
    given may be set otherwise."""
    result = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    result.add_argument(
        "-u", "--user", metavar="NAME", help="log in with this name, without asking for it"
    )
    result.add_argument(
        "--password-file",
        metavar="FILE",
        help="take the password from the first line of FILE, - for standard input",
    )
    result.add_argument(
        "--take-over",
        action="store_true",
        help="end another session of this user that is still open",
    )
    result.add_argument(
        "--tls",
        action=argparse.BooleanOptionalAction,
        help="encrypt the connection, and check the server's certificate",
    )
    result.add_argument(
        "--cafile",
        metavar="FILE",
        help="trust the certificate in FILE (PEM), which the teacher hands out, and no other",
    )
    result.add_argument(
        "--portable",
        action="store_true",
        help=f"keep settings in {preferences.PORTABLE_NAME} beside the program",
    )
    return result


def main_parser() -> argparse.ArgumentParser:
    """Return the parser of what stands before a command."""
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    result = argparse.ArgumentParser(
        prog=PROGRAM,
        allow_abbrev=False,
        parents=[general_options()],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage=f"{PROGRAM} [HOST[:PORT]] [OPTIONS] [COMMAND ...]",
        description="Talk on a chat server. Asks for name and password; then type to talk, and "
        "/help for what else there is.",
        epilog=f"commands for scripts ({PROGRAM} COMMAND --help says more):\n{listed}\n\n"
        "exit status:\n  " + STATUSES.replace(", 4", ",\n  4").replace(", 6", ",\n  6"),
    )
    result.add_argument(
        "server",
        nargs="?",
        metavar="HOST[:PORT]",
        type=address,
        help=f"the server's address, IPv6 in brackets; {joined(DEFAULT_SERVER)} unless given or "
        "saved",
    )
    _add_talk_options(result)
    _add_script_options(result)
    return result


def _add_talk_options(target: argparse.ArgumentParser) -> None:
    target.add_argument("--room", metavar="ROOM", help="the room to begin in (lobby)")
    target.add_argument(
        "--download-folder", metavar="DIR", help="where /get puts files (./downloads)"
    )
    target.add_argument(
        "--color", choices=COLOURS, help="colours (auto: on a terminal, unless NO_COLOR is set)"
    )
    target.add_argument(
        "--packets",
        choices=packet_view.MODES,
        default="off",
        help="show the packets that go over the wire (%(default)s)",
    )
    target.add_argument(
        "--save", action="store_true", help="remember server, name and options for the next start"
    )
    target.add_argument(
        "--stay",
        action=argparse.BooleanOptionalAction,
        help="stay logged in at /quit, so that the next start asks for no password",
    )
    target.add_argument(
        "--version",
        action="version",
        version=f"{PROGRAM} {protocol.VERSION} (Python {platform.python_version()})",
    )
    target.add_argument(
        "--show-settings",
        action="store_true",
        help="print what holds and where it comes from, and end",
    )


def command_parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of what stands behind a command."""
    result = argparse.ArgumentParser(
        prog=f"{PROGRAM} [HOST[:PORT]] {name}",
        description=COMMANDS[name][0].upper() + COMMANDS[name][1:] + ".",
        allow_abbrev=False,
        parents=[general_options()],
        epilog=f"Exit status: {STATUSES}.",
    )
    _add_script_options(result)
    if name == "doctor":
        result.add_argument(
            "server", nargs="?", metavar="HOST[:PORT]", type=address, help="the server's address"
        )
    else:
        scripts.COMMANDS[name].add(result)
    return result


def _add_script_options(target: argparse.ArgumentParser) -> None:
    target.add_argument("--no-input", action="store_true", help="never ask for anything")
    target.add_argument(
        "--timeout", metavar="S", type=_seconds, help="for commands: give up after S seconds (30)"
    )
    target.add_argument(
        "--json", action="store_true", help="for commands: print one JSON object a line"
    )


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the whole command line; `command` is None where it is a person who wants to talk."""
    before, command, after = _split(arguments)
    parser = main_parser()
    given = parser.parse_args(before)
    given.command = command
    if command is not None:
        server, given.server = given.server, None
        command_parser(command).parse_args(after, given)
        given.server = given.server or server  # only the doctor has one behind it
    elif given.no_input or given.timeout is not None or given.json:
        parser.error("--no-input, --timeout and --json need a command")
    return given


def _split(arguments: list[str]) -> tuple[list[str], str | None, list[str]]:
    """Return what stands before the command, the command, and what stands behind it."""
    takes_value = {
        name
        for action in main_parser()._actions
        if action.option_strings and action.nargs is None
        for name in action.option_strings
    }
    words = 0
    skip = False
    for place, word in enumerate(arguments):
        if skip or (word.startswith("-") and word != "-"):
            skip = not skip and word in takes_value
            continue
        if word in COMMANDS and words <= 1:
            return arguments[:place], word, arguments[place + 1 :]
        words += 1
        if words > 1:
            main_parser().error(
                f"there is no command {word!r}; expected one of {', '.join(COMMANDS)}"
            )
    return arguments, None, []
