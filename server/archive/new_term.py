"""`new-term`: a copy of everything, then the rooms are empty, with the accounts or without.

Owns the order: the copy first, and then only messages and files that are in it are erased. What a
class says meanwhile is in the one or the other. Called by the thread of a command.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import protocol
from server.archive import questions, served
from server.archive.backup import Backup, make_backup
from server.archive.forget import PAUSE_SECONDS, erase_files, in_steps
from server.archive.rewriting import remove_traces
from storage import archives, erasing
from storage.database import Database
from storage.folder import DataFolder
from storage.journal import FileFrame, Journal

DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class NewTerm:
    """The copy that was made, and what was erased."""

    copy: Backup
    messages: int
    files: int


def begin_new_term(
    folder: DataFolder, database: Database, target: Path, *, keep_accounts: bool
) -> NewTerm:
    """Copy the folder into `target`, then empty it. Raises StorageError or FileExistsError: without
    a copy nothing is erased."""
    with served.kept_out(folder) as is_alone:
        # The days before this one leave the journal. Before the copy: nothing that is said after it
        # belongs to them. Alone, tomorrow's goes too: a clock that was set back has written it.
        now = int(time.time())
        day = protocol.format_time(now + 2 * DAY_SECONDS * is_alone)[:10]
        copy = make_backup(folder, target)
        highest = 0 if keep_accounts else _end_accounts(folder, database, is_alone=is_alone)
        counts = copy.counts
        # Before the messages and once more behind them, as `forget` does it.
        sent = _files_up_to(database, counts.newest_file)
        _empty_journal(folder, day, counts.newest_message, sent, is_alone=is_alone)
        messages = _erase_messages(database, counts.newest_message)
        files = erase_files(
            folder, database, lambda reader: erasing.files_up_to(reader, counts.newest_file)
        )
        erase_files(folder, database, lambda reader: erasing.begun_uploads(reader, highest))
        _empty_journal(folder, day, counts.newest_message, sent, is_alone=is_alone)
        questions.remove_left(folder.path)  # they name who was on
        with database.transaction() as connection:
            # A running server forgets what it holds of messages in memory.
            erasing.leave_token(connection, secrets.token_hex(8))
            erasing.empty_tables(connection)
            if not keep_accounts:
                erasing.erase_accounts(connection, highest)
        remove_traces(database, is_alone=is_alone)
    return NewTerm(copy, messages, files)


def _end_accounts(folder: DataFolder, database: Database, *, is_alone: bool) -> int:
    """End every account and session, so that nothing more comes of them; return the highest id.
    Their names are not free yet: who is on by one of them is a session that ends."""
    token = secrets.token_hex(8)
    with database.transaction() as connection:
        names = {account.chatid for account in archives.accounts(connection)}
        highest = erasing.end_accounts(connection, token, int(time.time()))
    if not is_alone:
        served.wait_until_noticed(
            folder,
            token,
            lambda status: names.isdisjoint(status["online"]),
            "every account is deleted",
        )
    return highest


def _erase_messages(database: Database, highest: int) -> int:
    count = 0
    ids: list[int] = []

    def step(connection: sqlite3.Connection) -> bool:
        nonlocal count
        if not ids:
            ids.extend(erasing.messages_up_to(connection, highest))
        count += erasing.erase_some(connection, ids)
        return bool(ids) or bool(erasing.messages_up_to(connection, highest))

    in_steps(database, step)
    return count


def _files_up_to(database: Database, highest: int) -> set[FileFrame]:
    """Return what the journal says of the files up to this id."""
    with database.reading() as reader:
        return {
            (room_id, name, protocol.format_time(sent_at))
            for room_id, name, sent_at in archives.files_up_to(reader, highest)
        }


def _empty_journal(
    folder: DataFolder, day: str, newest_message: int, sent: set[FileFrame], *, is_alone: bool
) -> None:
    """Remove the journal of the days before `day`. What is left a running server may have open:
    there its frames are written over."""
    journal = Journal(folder.journal_path)
    for path in journal.old_files(day):
        journal.remove(path)
        time.sleep(0.0 if is_alone else PAUSE_SECONDS)
    journal.forget_up_to(newest_message, sent, cut=is_alone)
