"""What all commands share: their three streams, their errors, and how they open the data folder.

Owns the wording of what goes wrong with a name or the folder. Never takes the folder's lock, and
never decides what a command does.

Called by the main thread of a process of its own. Data goes to stdout, talk to stderr.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TextIO

import protocol
from server.archive import upgrade
from server.base.logs import printable
from server.base.settings import Settings
from server.command_line.arguments import PROGRAM, Invocation, typed, write_safely
from storage import accounts
from storage.database import Database
from storage.folder import DataFolder

SHOWN_PATH: Final = 200


class AdminError(Exception):
    """The command can't be done. Each argument is one line for stderr, saying what to do next."""


class BadPlace(AdminError):
    """What the command makes can't be written where it was told to; nothing has begun."""


@dataclass(frozen=True)
class Terminal:
    """The three streams of one command."""

    stdin: TextIO | None
    stdout: TextIO
    stderr: TextIO

    def tell(self, text: str) -> None:
        write_safely(self.stderr, f"{PROGRAM}: {text}\n")


def is_closed_pipe(error: OSError) -> bool:
    """Return whether a write failed because nobody reads any more: EPIPE, on Windows EINVAL."""
    return error.errno in (errno.EPIPE, errno.EINVAL) and error.filename is None


@contextmanager
def open_database(settings: Settings, *, create: bool = False) -> Iterator[Database]:
    """Open the data folder's database. Only `create` makes a folder where there is none: a slip in
    --data is told."""
    folder = DataFolder(settings.data)
    if not create and not os.path.isfile(folder.database_path):
        raise AdminError(
            f"no chat data in '{shown(settings.data)}': "
            "name the server's folder with --data, or make an account first"
        )
    folder.prepare()
    if upgrade.is_older(folder):
        raise AdminError(
            f"the data in '{shown(settings.data)}' is of an older version: start the server once, "
            "which keeps a copy of it and brings it up to date"
        )
    database = Database(folder.database_path, readers=1)
    try:
        yield database
    finally:
        database.close()


def existing_folder(settings: Settings) -> DataFolder:
    """Return the data folder, which has a database and is ours. Nothing in it is opened."""
    folder = DataFolder(settings.data)
    if not os.path.isfile(folder.database_path):
        raise AdminError(
            f"no chat data in '{shown(settings.data)}': name the server's folder with --data"
        )
    folder.prepare()
    return folder


def checked_name(invocation: Invocation) -> tuple[str, str]:
    """Return the command's NAME and its folded form. Raises AdminError where it can't be a name."""
    name = invocation.arguments.name
    problem = protocol.chatid_problem(name)
    if problem:
        raise AdminError(f"NAME '{printable(name)}': {problem}")
    return name, protocol.fold_chatid(name)


def existing(account: accounts.Account | None, name: str) -> accounts.Account:
    if account is None:
        raise AdminError(f"no account '{name}': '{typed()} users' lists all")
    if account.deleted:
        raise AdminError(
            f"account '{name}' was deleted: '{typed()} users' lists those that are left"
        )
    return account


def refuse_taken(account: accounts.Account | None, name: str) -> None:
    if account is not None:
        raise AdminError(reserved(name) if account.deleted else taken(name))


def reserved(name: str) -> str:
    return (
        f"'{name}' was the name of an account that is deleted, and stays reserved: "
        "choose another name"
    )


def taken(name: str) -> str:
    return (
        f"there is an account '{name}' already: choose another name, "
        f"or give it a password with '{typed()} passwd'"
    )


def shown(path: str) -> str:
    return printable(path, SHOWN_PATH)


def counted(count: int, word: str, words: str = "") -> str:
    """Return a number with its word: 1 file, 2 files."""
    return f"{count} {word if count == 1 else words or f'{word}s'}"
