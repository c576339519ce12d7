"""`forget`: an account, its texts, files and names leave the data folder for good, also while a
server runs.

Owns the order of the steps. Each transaction is short and a pause follows it, so that the server's
writer gets its turns; the database is rewritten once, at the end or at the next start. Whatever
ends it midway, doing it again goes on.

Called by the thread of a command.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from server.archive import questions, served
from server.archive.rewriting import Traces, remove_traces
from server.base.deadline import Deadline
from storage import erasing
from storage.accounts import Account
from storage.database import Database
from storage.erasing import Numbering
from storage.folder import DataFolder
from storage.journal import Journal
from storage.upload_files import UploadFiles

STEP_SECONDS: Final = 0.01
"""How long the writing connection is held at most before the server gets a turn."""
PAUSE_SECONDS: Final = 0.03


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was erased: messages (or those that stay without a name), files, journal records; and
    what is left to be told."""

    name: str
    messages: int
    files: int
    records: int
    traces: Traces


def forget(folder: DataFolder, database: Database, account: Account, *, keep: bool) -> Forgotten:
    """Erase the account; with `keep` its messages stay, without a name. Raises StorageError."""
    with served.kept_out(folder) as is_alone:
        token = secrets.token_hex(8)
        with database.transaction() as connection:
            erasing.begin(connection, account.id, token, int(time.time()))
        if not is_alone:
            served.wait_until_noticed(
                folder,
                token,
                lambda status: account.chatid not in status["online"],
                "the account is deleted",
            )
        journal = Journal(folder.journal_path)
        # Before the messages: a start that finds this half done would take for lost what the
        # journal has more, and offer to bring it back.
        records = journal.forget_sender(account.chatid, keep=keep, cut=is_alone)
        files = erase_files(folder, database, lambda reader: erasing.files_of(reader, account.id))
        numbering = Numbering()
        in_steps(
            database,
            lambda connection: erasing.erase_messages(
                connection, account.id, numbering, keep_texts=keep
            ),
        )
        # What a running server has made up for meanwhile, where it could not write before.
        records += journal.forget_sender(account.chatid, keep=keep, cut=is_alone)
        # They name who was on. Before the name is gone: what fails here can be done again.
        questions.remove_left(folder.path)
        with database.transaction() as connection:
            erasing.erase_details(connection, account.id, account.chatid)
            name = erasing.rename(connection, account.id)
        traces = remove_traces(database, is_alone=is_alone)
    return Forgotten(name, numbering.erased, files, records, traces)


def in_steps(database: Database, step: Callable[..., bool]) -> None:
    """Do `step` until it has no more to do, many times in a transaction but never for long."""
    is_more = True
    while is_more:
        with database.transaction() as connection:
            deadline = Deadline(STEP_SECONDS)
            is_more = step(connection)
            while is_more and not deadline.has_passed:
                is_more = step(connection)
        time.sleep(PAUSE_SECONDS)


def erase_files(
    folder: DataFolder, database: Database, some: Callable[[sqlite3.Connection], list[str]]
) -> int:
    """Erase the files whose names `some` gives, until it gives none; return how many. First nobody
    finds them any more, then the bytes go, then the rows, which alone know where they are."""
    files, count = UploadFiles(folder.uploads_path), 0
    while True:
        with database.reading() as reader:
            names = some(reader)
        if not names:
            return count
        with database.transaction() as connection:
            erasing.take_files_out(connection, names, int(time.time()))
        for name in names:
            files.remove(name)
        with database.transaction() as connection:
            erasing.erase_file_rows(connection, names)
        count += len(names)
        time.sleep(PAUSE_SECONDS)
