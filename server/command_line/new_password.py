"""A new password for an account: read from a file, stdin or the terminal, or made up.

Owns the reading and the checks of passwords. Never takes one from the command line, never prints a
hash. Called by the main thread of a process of its own.
"""

from __future__ import annotations

import getpass
import secrets
from typing import Final, TextIO

import incoming_text
import protocol
from server.command_line.arguments import Invocation
from server.command_line.console import AdminError, Terminal, shown
from storage import passwords
from terminals import is_terminal

PASSWORD_READ_CHARACTERS: Final = 1_000

# No characters that are mistaken for another when a password is read from paper: 0 o, 1 l i, u v.
_READABLE: Final = "abcdefghjkmnpqrstwxyz23456789"


def new_record(invocation: Invocation, terminal: Terminal, name: str) -> str:
    """Return what is stored for the new password of `name`, which comes from a file, stdin or the
    terminal."""
    path = invocation.arguments.password_file
    if path is not None:
        password, where = _password_of_file(path), f"the first line of '{shown(path)}'"
    elif terminal.stdin is not None and is_terminal(terminal.stdin):
        password, where = _asked_password(name), "the password"
    else:
        password, where = _password_of_stream(terminal.stdin), "the first line of stdin"
    problem = password_problem(password)
    if problem:
        raise AdminError(f"{where}: {problem}")
    return passwords.hash_password(password, invocation.settings.password_cost)


def password_problem(password: str) -> str | None:
    """Return why `password` can't be set, in words; None where it can."""
    # Surrogates are how Python keeps bytes that are not UTF-8.
    if any("\ud800" <= character <= "\udfff" for character in password):
        return "expected text in UTF-8"
    return protocol.password_problem(password) or incoming_text.unseen_character(password)


def _password_of_file(path: str) -> str:
    try:
        return incoming_text.first_line(path, PASSWORD_READ_CHARACTERS)
    except OSError as error:
        raise AdminError(
            f"--password-file: cannot read '{shown(path)}': {error.strerror or error}"
        ) from None
    except ValueError as error:  # BadText, and a NUL in the path
        raise AdminError(
            f"--password-file: expected a file with text in UTF-8, got '{shown(path)}': {error}"
        ) from None


def _password_of_stream(stdin: TextIO | None) -> str:
    try:
        if stdin is None:
            return ""
        return incoming_text.line_of(stdin, PASSWORD_READ_CHARACTERS)
    except (OSError, ValueError) as error:  # closed, or bytes that are no text
        raise AdminError(
            f"cannot read a password from stdin: {error}; use --password-file FILE"
        ) from None


def _asked_password(name: str) -> str:
    try:
        password = getpass.getpass(f"New password for {name}: ")
        again = getpass.getpass("The same again: ")
    except EOFError:
        raise AdminError("no password was typed: nothing was changed") from None
    if password != again:
        raise AdminError("the two passwords differ: nothing was changed, try again")
    return password


def make_up_password() -> str:
    """Make up a password that can be read from paper: 12 characters in groups, 58 bits of
    randomness."""
    return "-".join("".join(secrets.choice(_READABLE) for _ in range(4)) for _ in range(3))


def looks_made_up(password: str) -> bool:
    """Return whether a password has the form of those that `make_up_password` makes."""
    groups = password.split("-")
    return len(groups) == 3 and all(
        len(group) == 4 and set(group) <= set(_READABLE) for group in groups
    )
