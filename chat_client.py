"""The door of the client: options, settings, standard streams and the exit status. Nobody imports
it.

python chat_client.py [HOST[:PORT]] [OPTIONS]              talks, in a terminal
python chat_client.py [HOST[:PORT]] [OPTIONS] COMMAND …    does one thing, for scripts; a first word that is a command is no host
"""

from __future__ import annotations

import argparse
import dataclasses
import getpass
import io
import os
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import protocol
from client.base.text import visible
from client.command_line import preferences
from client.command_line.preferences import BadSettings, KeptSession, Store, Value
from client.errors import CannotConnect
from client.network.tls import Trust
from client.records import Session
from client.scripts import commands as scripts
from client.scripts import doctor
from client.scripts.commands import INTERRUPTED, OK, STATUSES, Output
from client.terminal import colours, packet_view
from client.terminal import line_client as terminal
from client.terminal.screens import open_screen

DEFAULT_SERVER: Final = ("127.0.0.1", protocol.DEFAULT_PORT)
COMMANDS: Final = {
    **{name: command.help for name, command in scripts.COMMANDS.items()},
    "doctor": "find out, step by step, why a server can't be reached",
}
PROGRAM: Final = Path(sys.argv[0]).name if sys.argv[0].endswith(".pyz") else "chat_client.py"
COLOURS: Final = ("auto", "always", "never")


# --- The command line -----------------------------------------------------------------------------


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
    """The address as it is typed."""
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
    """What may stand before a command and after it. No defaults: what is not given may be set
    otherwise."""
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


def parser() -> argparse.ArgumentParser:
    """What stands before a command."""
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    result = argparse.ArgumentParser(
        prog=PROGRAM,
        allow_abbrev=False,
        parents=[general_options()],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage=f"{PROGRAM} [HOST[:PORT]] [OPTIONS] [COMMAND ...]",
        description="Talk on a chat server. Asks for name and password; then type to talk, and /help for what else there is.",
        epilog=f"commands for scripts ({PROGRAM} COMMAND --help says more):\n{listed}\n\nexit status:\n  "
        + STATUSES.replace(", 4", ",\n  4").replace(", 6", ",\n  6"),
    )
    result.add_argument(
        "server",
        nargs="?",
        metavar="HOST[:PORT]",
        type=address,
        help=f"the server's address, IPv6 in brackets; {joined(DEFAULT_SERVER)} unless given or saved",
    )
    result.add_argument("--room", metavar="ROOM", help="the room to begin in (lobby)")
    result.add_argument(
        "--download-folder", metavar="DIR", help="where /get puts files (./downloads)"
    )
    result.add_argument(
        "--color", choices=COLOURS, help="colours (auto: on a terminal, unless NO_COLOR is set)"
    )
    result.add_argument(
        "--packets",
        choices=packet_view.MODES,
        default="off",
        help="show the packets that go over the wire (%(default)s)",
    )
    result.add_argument(
        "--save", action="store_true", help="remember server, name and options for the next start"
    )
    result.add_argument(
        "--stay",
        action=argparse.BooleanOptionalAction,
        help="stay logged in at /quit, so that the next start asks for no password",
    )
    result.add_argument(
        "--version",
        action="version",
        version=f"{PROGRAM} {protocol.VERSION} (Python {platform.python_version()})",
    )
    result.add_argument(
        "--show-settings",
        action="store_true",
        help="print what holds and where it comes from, and end",
    )
    _add_script_options(result)
    return result


def command_parser(name: str) -> argparse.ArgumentParser:
    """What stands behind a command."""
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
    door = parser()
    given = door.parse_args(before)
    given.command = command
    if command is not None:
        server, given.server = given.server, None
        command_parser(command).parse_args(after, given)
        given.server = given.server or server  # only the doctor has one behind it
    elif given.no_input or given.timeout is not None or given.json:
        door.error("--no-input, --timeout and --json need a command")
    return given


def _split(arguments: list[str]) -> tuple[list[str], str | None, list[str]]:
    """What stands before the command, the command, and what stands behind it."""
    takes_value = {
        name
        for action in parser()._actions
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
            parser().error(f"there is no command {word!r}; expected one of {', '.join(COMMANDS)}")
    return arguments, None, []


# --- Settings -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What holds, of flags, variables, the settings file and defaults. `user` and `server` may be
    asked for or defaults."""

    server: tuple[str, int] = DEFAULT_SERVER
    user: str | None = None
    room: str = "lobby"
    tls: bool = False
    cafile: str | None = None
    color: str = "auto"
    download_folder: str = "downloads"
    stay: bool = False


def wanted(given: argparse.Namespace, settings: Mapping[str, Value]) -> Wanted:
    """Flags beat variables, which beat the file. Raises `BadSettings`."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if key == "server":
            try:
                found[key] = address(value.text)
            except argparse.ArgumentTypeError as error:
                raise BadSettings(f"{value.origin}: {error}") from error
        elif key in ("tls", "stay"):
            found[key] = preferences.as_flag(value, key)
        else:
            found[key.replace("-", "_")] = value.text
    if found.get("color", "auto") not in COLOURS:
        raise BadSettings(
            f"{settings['color'].origin}: color is {found['color']!r}; expected one of {', '.join(COLOURS)}"
        )
    if given.server is not None and found.get("server") not in (None, given.server):
        found.pop("tls", None)  # those are another server's
        found.pop("cafile", None)
    flags = {field.name: getattr(given, field.name, None) for field in dataclasses.fields(Wanted)}
    if flags["cafile"] is not None and flags["tls"] is None and not found.get("tls"):
        raise BadSettings("--cafile needs --tls")
    result = Wanted(
        **{**found, **{key: value for key, value in flags.items() if value is not None}}
    )
    return result if result.tls else dataclasses.replace(result, cafile=None)


def to_save(held: Wanted, given: argparse.Namespace) -> dict[str, str]:
    """What `--save` writes: what was given, and the server."""
    values = {"server": joined(held.server)}
    for key in preferences.KEYS:
        value = getattr(given, key.replace("-", "_"), None)
        if key == "cafile" and value is not None:
            value = os.path.abspath(value)
        if key != "server" and value is not None:
            values[key] = {True: "yes", False: "no"}.get(value, value)
    return values


def show_settings(
    store: Store, settings: Mapping[str, Value], held: Wanted, given: argparse.Namespace
) -> None:
    """Print every setting as a line of the file, and behind it where it comes from."""
    print(f"# {store.path}{'' if store.path.exists() else ' (not there)'}\n[{preferences.SECTION}]")
    for key in preferences.KEYS:
        name = key.replace("-", "_")
        value: Any = getattr(held, name)
        if getattr(given, name, None) is not None:
            origin = "flag"
        else:
            origin = settings[key].origin if key in settings else "default"
        shown = (
            joined(value)
            if key == "server"
            else {True: "yes", False: "no", None: ""}.get(value, value)
        )
        print(f"{key} = {shown}".rstrip() + f"    # {origin}")


def place_of_settings(given: argparse.Namespace) -> Store:
    """Beside the program where asked for, or where such a file lies there already; else the
    system's own place."""
    beside = Path(sys.argv[0]).resolve().parent
    portable = given.portable or (beside / preferences.PORTABLE_NAME).is_file()
    return Store(beside if portable else None)


# --- Running --------------------------------------------------------------------------------------


def read_password(name: str, *, as_bytes: bool = False) -> str:
    """The first line of a file, or of standard input for `-`; `as_bytes` where bytes will be read
    behind it, as by `send ROOM -`."""
    if name == "-":
        line = sys.stdin.buffer.readline().decode("utf-8") if as_bytes else sys.stdin.readline()
        return line.rstrip("\r\n")
    with open(name, encoding="utf-8") as file:
        return file.readline().rstrip("\r\n")


def talk(held: Wanted, given: argparse.Namespace, password: str | None, store: Store) -> int:
    """The dialogue of the line client."""
    host, port = held.server
    chat = terminal.connection_for(host, port, tls=held.tls, cafile=held.cafile)
    options = terminal.Options(
        held.user,
        password,
        held.room,
        Path(held.download_folder),
        given.take_over,
        colours=colours.wanted(held.color, sys.stdout),
        packets=given.packets,
    )
    kept = kept_session(held, store) if held.stay else None
    if kept is not None:
        options = dataclasses.replace(options, user=kept.user, session_key=kept.key)
    if held.stay:
        options = dataclasses.replace(
            options, keep=lambda session: keep_session(held, store, session)
        )
    elif given.stay is False:
        store.forget_session()
    status = terminal.LineClient(chat, open_screen(), options).run()
    if (
        kept is not None
        and status in (scripts.CANNOT_CONNECT, INTERRUPTED)
        and store.kept_session() is None
    ):
        store.keep_session(kept)  # it was not taken up, or is as good as before
    if status == scripts.CANNOT_CONNECT:
        encrypted = (" --tls" if held.tls else "") + (
            f" --cafile {held.cafile}" if held.cafile is not None else ""
        )
        print(
            f"To look closer: python {PROGRAM} doctor {visible(joined(held.server))}{visible(encrypted)}",
            file=sys.stderr,
        )
    return status


def kept_session(held: Wanted, store: Store) -> KeptSession | None:
    """The session to be taken up. Taken away from the file: in two windows at once each would take
    the other's place, for ever."""
    kept = store.kept_session()
    if kept is None or kept.server != joined(held.server) or kept.tls != held.tls:
        return None
    if held.user is not None and protocol.fold_chatid(held.user) != protocol.fold_chatid(kept.user):
        return None
    store.forget_session()
    return kept


def keep_session(held: Wanted, store: Store, session: Session) -> bool:
    """Keep the session for the next start; says so where that is not possible."""
    if store.keep_session(
        KeptSession(joined(held.server), session.chatid, held.tls, session.session_key)
    ):
        return True
    print(
        "* Your session can't be kept here, where others could read its key; you are logged out.",
        file=sys.stderr,
    )
    return False


def do_command(
    held: Wanted, given: argparse.Namespace, password: str | None, door: argparse.ArgumentParser
) -> int:
    """One command for scripts."""
    host, port = held.server
    asks = sys.stdin.isatty() and not given.no_input
    user = held.user
    if given.command == "doctor":
        if user is not None and given.user is not None and password is None and asks:
            password = getpass.getpass("Password: ")
        return doctor.run(
            doctor.Patient(
                host,
                port,
                held.tls,
                held.cafile,
                user,
                password,
                given.take_over,
                given.timeout or doctor.SECONDS,
            ),
            Output(given.json),
        )
    if user is None:
        if not asks:
            door.error(f"{given.command} needs a name: -u NAME")
        print("Name: ", end="", file=sys.stderr, flush=True)
        user = sys.stdin.readline().strip()
    if password is None:
        if not asks:
            door.error(
                f"{given.command} needs a password: --password-file FILE, or - for standard input"
            )
        password = getpass.getpass("Password: ")
    problem = "expected a name" if not user else protocol.password_problem(password)
    if problem is not None:
        door.error(problem)
    login = scripts.Login(
        host, port, held.tls, held.cafile, user, password, given.take_over, given.timeout
    )
    return scripts.run(login, given)


def prepare_streams() -> bool:
    """Characters that a console can't show are written as escapes, and bytes that are no text read
    as U+FFFD.

    Where a descriptor is closed (`>&-`) Python has no stream, and the next file opened would take
    its number: the null device stands in. False where that is stdout, which nobody reads then.
    """
    good = sys.stdout is not None
    for name, mode in (
        ("stdin", "r"),
        ("stdout", "w"),
        ("stderr", "w"),
    ):  # in this order each gets its own number back
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream, errors in (
        (sys.stdout, "backslashreplace"),
        (sys.stderr, "backslashreplace"),
        (sys.stdin, "replace"),
    ):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    return good


def flush_streams() -> bool:
    """Write out what is left; False where nobody reads stdout any more (Python would complain at
    its end)."""
    good = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            good = False
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            except (OSError, ValueError):
                pass  # it has no descriptor that could complain
    return good


def password_from(
    given: argparse.Namespace, door: argparse.ArgumentParser, user: str | None
) -> str | None:
    """What `--password-file` names; None where it is not given."""
    name = given.password_file
    if name is None:
        return None
    if user is None:
        door.error("--password-file needs -u NAME")
    try:
        password = read_password(name, as_bytes=given.command is not None)
    except (OSError, UnicodeDecodeError) as error:
        door.error(f"--password-file {name}: {error}")
    problem = protocol.password_problem(password)
    if problem is not None:
        door.error(f"--password-file {name}: {problem}")
    return password


def start(arguments: list[str]) -> int:
    """Do what the command line says; returns the exit status."""
    given = parse(arguments)
    door = parser() if given.command is None else command_parser(given.command)
    store = place_of_settings(given)
    try:
        settings = store.load()
        held = wanted(given, settings)
        if held.stay and store.is_portable and given.command is None:
            raise BadSettings(
                "--stay is not possible with settings beside the program: others could read the key of the session"
            )
        if given.show_settings:
            show_settings(store, settings, held, given)
            return OK
        if held.cafile is not None:
            Trust(held.cafile)
        if given.save:
            store.save(to_save(held, given))
    except CannotConnect as error:
        door.error(f"--cafile: {visible(str(error))}")
    except BadSettings as error:
        door.error(visible(str(error)))
    except OSError as error:
        door.error(f"the settings can't be saved in {store.path}: {error.strerror}")
    password = password_from(given, door, held.user)
    if given.command is not None:
        return do_command(held, given, password, door)
    return talk(held, given, password, store)


def main(arguments: list[str] | None = None) -> int:
    """Run the client; returns the exit status."""
    is_read = prepare_streams()
    try:
        status = start(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        status = INTERRUPTED
    return status if (flush_streams() and is_read) or status != OK else scripts.FAILED


if __name__ == "__main__":
    sys.exit(main())
