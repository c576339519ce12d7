"""The program of the client: options, settings, standard streams and the exit status.

Owns the order in which these are looked at. Never talks to a server. A first word that is a command
is no host. Nobody but the entry point calls it, on the main thread.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import getpass
import io
import os
import sys
from pathlib import Path
from typing import Final

import incoming_text
import protocol
from client.base.refusals import plain
from client.base.text import visible
from client.command_line import preferences
from client.command_line.client_settings import (
    ClientSettings,
    keep_session,
    kept_session,
    place_of_settings,
    settings_from,
    show_settings,
    to_save,
)
from client.command_line.options import PROGRAM, command_parser, joined, main_parser, parse
from client.command_line.preferences import BadSettings, Store
from client.errors import CannotConnect
from client.exit_status import CANNOT_CONNECT, FAILED, INTERRUPTED, OK
from client.network.tls import Trust
from client.scripts import commands as scripts
from client.scripts import doctor
from client.scripts.output import Output
from client.scripts.script_connection import Login
from client.terminal import colours, line_client
from client.terminal.job_control import watching
from client.terminal.screens import open_screen
from incoming_text import BadText
from terminals import is_terminal, quoted

PASSWORD_READ_CHARACTERS: Final = 1_000
"""Of a line that is no password, so much is looked at."""


def read_password(name: str) -> str:
    """Return the first line of a file, or of standard input for `-`. Raise OSError or `BadText`."""
    if name == "-":
        return incoming_text.line_of(sys.stdin, PASSWORD_READ_CHARACTERS)
    return incoming_text.first_line(name, PASSWORD_READ_CHARACTERS)


def talk(
    settings: ClientSettings, given: argparse.Namespace, password: str | None, store: Store
) -> int:
    """Run the dialogue of the line client; return its exit status."""
    host, port = settings.server
    chat = line_client.connection_for(host, port, tls=settings.tls, cafile=settings.cafile)
    options = line_client.Options(
        settings.user,
        password,
        settings.room,
        Path(settings.download_folder),
        given.take_over,
        colours=colours.wants_colour(settings.color, sys.stdout),
        packets=given.packets,
    )
    kept = kept_session(settings, store) if settings.stay else None
    if kept is not None:
        options = dataclasses.replace(options, user=kept.user, session_key=kept.key)
    if settings.stay:
        options = dataclasses.replace(
            options, keep=lambda session: keep_session(settings, store, session)
        )
    elif given.stay is False:
        store.forget_session()
    screen = open_screen()
    with watching(screen):
        status = line_client.LineClient(chat, screen, options).run()
    if (
        kept is not None
        and status in (CANNOT_CONNECT, INTERRUPTED)
        and store.kept_session() is None
    ):
        store.keep_session(kept)  # it was not taken up, or is as good as before
    if status == CANNOT_CONNECT:
        encrypted = (" --tls" if settings.tls else "") + (
            f" --cafile {quoted(settings.cafile)}" if settings.cafile is not None else ""
        )
        print(
            f"To look closer: {'py' if os.name == 'nt' else 'python3'} {PROGRAM} doctor "
            f"{visible(joined(settings.server))}{visible(encrypted)}",
            file=sys.stderr,
        )
    return status


def do_command(
    settings: ClientSettings,
    given: argparse.Namespace,
    password: str | None,
    parser: argparse.ArgumentParser,
) -> int:
    """Do one command for scripts; return its exit status."""
    host, port = settings.server
    asks = is_terminal(sys.stdin) and not given.no_input
    user = settings.user
    if given.command == "doctor":
        if user is not None and given.user is not None and password is None and asks:
            password = getpass.getpass("Password: ")
        return doctor.run(
            doctor.DoctorOptions(
                host,
                port,
                settings.tls,
                settings.cafile,
                user,
                password,
                given.take_over,
                given.timeout,
            ),
            Output(given.json),
        )
    if user is None:
        if not asks:
            parser.error(f"{given.command} needs a name: -u NAME")
        print("Name: ", end="", file=sys.stderr, flush=True)
        user = sys.stdin.readline().strip()
    if password is None:
        if not asks:
            parser.error(
                f"{given.command} needs a password: --password-file FILE, or - for standard input"
            )
        password = getpass.getpass("Password: ")
    problem = protocol.password_problem(password) if user else "a name is needed: -u NAME"
    if problem is not None:
        parser.error(plain(problem))
    login = Login(
        host, port, settings.tls, settings.cafile, user, password, given.take_over, given.timeout
    )
    return scripts.run(login, given)


def prepare_streams() -> bool:
    """Make the standard streams show anything: characters that a console can't show are
    written as escapes.

    Where a descriptor is closed (`>&-`) Python has no stream, and the next file opened would take
    its number: the null device stands in. False where that is stdout, which nobody reads then.
    """
    good = sys.stdout is not None
    # in this order each gets its own number back
    for name, mode in (
        ("stdin", "r"),
        ("stdout", "w"),
        ("stderr", "w"),
    ):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
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
            # it has no descriptor that could complain
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return good


def password_from(
    given: argparse.Namespace, parser: argparse.ArgumentParser, user: str | None
) -> str | None:
    """Return the password that `--password-file` names; None where it is not given."""
    name = given.password_file
    if name is None:
        return None
    if user is None:
        parser.error("--password-file needs -u NAME")
    try:
        password = read_password(name)
    except OSError as error:
        parser.error(f"--password-file {visible(name)}: {error.strerror or error}")
    except BadText as error:
        parser.error(f"--password-file {visible(name)}: {error}")
    problem = protocol.password_problem(password)
    if problem is not None:
        parser.error(f"--password-file {visible(name)}: {plain(problem)}")
    return password


def start(arguments: list[str]) -> int:
    """Do what the command line says; return the exit status."""
    given = parse(arguments)
    # a person is shown what was no text; a script is told
    incoming_text.prepare(sys.stdin, "replace" if given.command is None else "strict")
    parser = main_parser() if given.command is None else command_parser(given.command)
    store = place_of_settings(given)
    for name, right in preferences.mistyped_variables(os.environ):
        print(
            f"{PROGRAM}: warning: the variable {visible(name)} is no setting; is {right} meant?",
            file=sys.stderr,
        )
    try:
        values = store.load()
        settings = settings_from(given, values)
        if settings.stay and store.is_portable and given.command is None:
            raise BadSettings(
                "--stay is not possible with settings beside the program: others could read the "
                "key of the session"
            )
        if given.show_settings:
            with contextlib.suppress(OSError):  # nobody reads them: `flush_streams` says so
                show_settings(store, values, settings, given)
            return OK
        if settings.cafile is not None:
            Trust(settings.cafile)
        if given.save:
            store.save(to_save(settings, given))
    except CannotConnect as error:
        parser.error(f"--cafile: {visible(str(error))}")
    except BadSettings as error:
        parser.error(visible(str(error)))
    except OSError as error:
        parser.error(f"the settings can't be saved in {store.path}: {error.strerror}")
    password = password_from(given, parser, settings.user)
    if given.command is not None:
        return do_command(settings, given, password, parser)
    return talk(settings, given, password, store)


def main(arguments: list[str] | None = None) -> int:
    """Run the client; return the exit status."""
    is_read = prepare_streams()
    try:
        status = start(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        status = INTERRUPTED
    return status if (flush_streams() and is_read) or status != OK else FAILED
