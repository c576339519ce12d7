"""`forget`: an account, its texts, files and names leave the data folder for good, also while a
server runs.

Owns the order of the steps. Each transaction is short and a pause follows it, so that the server's
writer gets its turns; the database is rewritten once, at the end. Whatever ends it midway, doing it
again goes on.

Called by the thread of a command.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from server.archive import questions
from storage import erasing
from storage.accounts import Account
from storage.database import Database
from storage.erasing import Numbering
from storage.errors import FolderInUse, StorageError
from storage.folder import DataFolder
from storage.journal import Journal
from storage.upload_files import UploadFiles

STEP_SECONDS: Final = 0.01
"""How long the writing connection is held at most before the server gets a turn."""
PAUSE_SECONDS: Final = 0.03
NOTICE_SECONDS: Final = 10.0
"""How long a running server may take to end the session and to say so."""
MOST_BESIDE: Final = 256 * 1024 * 1024
"""A database up to so many bytes is rewritten beside a running server: that takes 2 s or so, and
the server waits up to 5 s. A larger one is left to a time when no server runs."""


class CannotForget(StorageError):
    """It can't be done now; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was erased: messages (or those that stay without a name), files, journal records; and
    what is left to be told."""

    name: str
    messages: int
    files: int
    records: int
    is_compact: bool
    """Whether no byte of it can be left in the write-ahead log."""


def forget(folder: DataFolder, database: Database, account: Account, *, keep: bool) -> Forgotten:
    """Erase the account; with `keep` its messages stay, without a name. Raises CannotForget or
    StorageError."""
    with _server_kept_out(folder) as is_alone:
        if not is_alone and database.path.stat().st_size > MOST_BESIDE:
            raise CannotForget(
                "the database is so large that a running server would have to stand still: stop "
                "it, then try again"
            )
        token = secrets.token_hex(8)
        with database.transaction() as connection:
            erasing.begin(connection, account.id, token, int(time.time()))
        if not is_alone:
            _wait_for_server(folder, account.chatid, token)
        files = _erase_files(folder, database, account.id)
        numbering = Numbering()
        _in_steps(
            database,
            lambda connection: erasing.erase_messages(
                connection, account.id, numbering, keep_texts=keep
            ),
        )
        journal = Journal(folder.journal_path)
        records = journal.forget_sender(account.chatid, keep=keep, cut=is_alone)
        with database.transaction() as connection:
            erasing.erase_details(connection, account.id, account.chatid)
            name = erasing.rename(connection, account.id)
        is_compact = database.compact()
    return Forgotten(name, numbering.erased, files, records, is_compact)


@contextmanager
def _server_kept_out(folder: DataFolder) -> Iterator[bool]:
    """Keep servers out meanwhile; yield False where one runs already."""
    try:
        folder.lock()
    except FolderInUse:
        yield False
        return
    try:
        yield True
    finally:
        folder.unlock()


def _wait_for_server(folder: DataFolder, chatid: str, token: str) -> None:
    """Wait until the running server has noticed that the account is deleted, has ended its session,
    and has written everything of it."""
    deadline = time.monotonic() + NOTICE_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        try:
            answer = questions.ask(folder.path, left) or {}
        except OSError as error:
            raise CannotForget(f"the server can't be asked: {error.strerror or error}") from error
        if answer.get("noticed") == token and chatid not in answer["online"]:
            return
    raise CannotForget(
        f"the server has not ended the session within {NOTICE_SECONDS:.0f} s: the account is "
        "deleted, nothing else is; try again, or stop the server first"
    )


def _in_steps(database: Database, step: Callable[..., bool]) -> None:
    """Do `step` until it has no more to do, many times in a transaction but never for long."""
    is_more = True
    while is_more:
        with database.transaction() as connection:
            end = time.monotonic() + STEP_SECONDS
            is_more = step(connection)
            while is_more and time.monotonic() < end:
                is_more = step(connection)
        time.sleep(PAUSE_SECONDS)


def _erase_files(folder: DataFolder, database: Database, account_id: int) -> int:
    """Erase the account's files. The bytes go before the rows, which alone know where they are."""
    files, count = UploadFiles(folder.uploads_path), 0
    while True:
        with database.reading() as reader:
            names = erasing.files_of(reader, account_id)
        if not names:
            return count
        for name in names:
            files.remove(name)
        with database.transaction() as connection:
            erasing.erase_file_rows(connection, names)
        count += len(names)
        time.sleep(PAUSE_SECONDS)
