"""The commands that keep and remove: their checks of what was typed, and their words.

Owns the wording. What they do is in `server/archive`. Each works beside a running server, and for
the owner of the data folder only.

Called by the main thread of a process of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import protocol
from server.archive import attendance, questions, served
from server.archive.backup import make_backup
from server.archive.export.entries import Selection
from server.archive.export.folder import UnknownRoom, Wish, export
from server.archive.forget import forget
from server.archive.new_term import begin_new_term
from server.archive.restore import BadCopy, restore_backup
from server.archive.rewriting import Traces
from server.command_line.arguments import Invocation, typed
from server.command_line.console import (
    AdminError,
    Terminal,
    checked_name,
    counted,
    existing_folder,
    open_database,
    shown,
)
from server.command_line.moments import period
from server.command_line.new_places import is_there, new_file, new_folder
from server.command_line.slips import make_slips
from server.command_line.status import show_status
from storage import accounts, portable
from storage.archives import Counts
from storage.errors import FolderUnusable, StorageError, StorageFull
from storage.folder import DataFolder
from storage.upload_files import UploadFiles
from terminals import quoted

ANSWER_SECONDS: Final = 3.0
"""How long a running server may take to say who is on."""


def _backup(invocation: Invocation, terminal: Terminal) -> None:
    folder = existing_folder(invocation.settings)
    target = new_file(invocation.arguments.file, folder)
    made = make_copy(folder, target)
    terminal.tell(made)


def make_copy(folder: DataFolder, target: Path) -> str:
    """Copy the folder into the zip `target`; return the sentence that says what is in it."""
    name = shown(str(target))
    try:
        made = make_backup(folder, target)
    except StorageFull as problem:
        raise AdminError(
            f"no room for the copy '{name}', nothing of it is left: choose another disk ({problem})"
        ) from None
    except FileExistsError:
        raise AdminError(is_there(name)) from None
    except StorageError as problem:
        raise AdminError(f"no copy was made: {problem}") from None
    lost = (
        f"; missing in uploads/, and so in the copy: {counted(made.lost, 'file')}"
        if made.lost
        else ""
    )
    return f"'{name}' holds {_in_words(made.counts)}{lost}"


def _in_words(counts: Counts) -> str:
    """Return what a copy holds, in words."""
    return (
        f"{counted(counts.accounts, 'account')}, {counted(counts.messages, 'message')} and "
        f"{counted(counts.files, 'file')}"
    )


def _restore(invocation: Invocation, terminal: Terminal) -> None:
    source, folder = invocation.arguments.file, invocation.settings.data
    if not os.path.isfile(source):
        raise AdminError(f"no file '{shown(source)}': name the zip that 'backup' made")
    try:
        entries = restore_backup(Path(source), Path(folder))
    except BadCopy as problem:
        raise AdminError(f"'{shown(source)}' was not restored: {problem}") from None
    except FolderUnusable as problem:
        raise AdminError(f"{problem}; name a new folder with --data") from None
    except StorageError as problem:
        raise AdminError(f"nothing was restored: {problem}") from None
    terminal.tell(
        f"'{shown(folder)}' is as it was copied, each byte of it ({counted(len(entries), 'file')} "
        f"restored, the database among them); start with: {typed()} --data "
        f"{quoted(shown(folder))}"
    )


def _export(invocation: Invocation, terminal: Terminal) -> None:
    given, folder = invocation.arguments, existing_folder(invocation.settings)
    since, until = period(given)
    target = new_folder(given.output, folder)
    key = target.with_name(f"{target.name}-key.csv") if given.pseudonyms else None
    if key is not None and os.path.lexists(key):
        raise AdminError(is_there(shown(str(key))))
    wish = Wish(
        tuple(given.rooms),
        Selection(since, until, given.hidden),
        given.format,
        given.pseudonyms,
        given.files,
    )
    with open_database(invocation.settings) as database, database.reading() as connection:
        try:
            files = UploadFiles(folder.uploads_path)
            done = export(connection, files, wish, target, key, int(time.time()))
        except UnknownRoom as problem:
            raise AdminError(f"no room has the id '{shown(str(problem))}'") from None
        except StorageError as problem:
            raise AdminError(f"nothing was exported: {problem}") from None
    files_told = f" and {counted(done.files, 'file')}" if given.files else ""
    terminal.tell(
        f"'{shown(str(target))}' holds {counted(done.entries, 'entry', 'entries')} of "
        f"{counted(done.rooms, 'room')}{files_told}"
    )
    if done.lost:
        terminal.tell(f"missing in uploads/, and so in the export: {counted(done.lost, 'file')}")
    if key is not None:
        terminal.tell(
            f"who is who stands in '{shown(str(key))}': keep it apart; names that people wrote in "
            "their messages are still there"
        )


def _attendance(invocation: Invocation, terminal: Terminal) -> None:
    folder = existing_folder(invocation.settings)
    since, until = period(invocation.arguments)
    target = new_file(invocation.arguments.output, folder)
    with open_database(invocation.settings) as database:
        running = _running_sessions(folder)
        with database.reading() as connection:
            presences = attendance.collect(connection, since, until, running)
    try:
        descriptor = portable.open_own(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:  # from here on the file is ours
            with open(descriptor, "w", encoding="utf-8-sig", newline="") as file:
                count = attendance.write_table(file, presences)
        except BaseException:
            portable.remove(target)
            raise
    except OSError as problem:
        raise AdminError(
            f"cannot write '{shown(str(target))}': {problem.strerror or problem}"
        ) from None
    terminal.tell(f"'{shown(str(target))}' has {counted(count, 'account')}")


def _running_sessions(folder: DataFolder) -> list[tuple[str, int, int]]:
    """Return name, begin and end so far of the sessions of the server that runs, if one does."""
    with served.kept_out(folder) as is_alone:
        if is_alone:
            return []
    answer = questions.ask(folder.path, ANSWER_SECONDS) or {"sessions": []}
    now = int(time.time())
    return [
        (session["chatid"], protocol.parse_time(session["since"]), now)
        for session in answer["sessions"]
    ]


def _new_term(invocation: Invocation, terminal: Terminal) -> None:
    folder = existing_folder(invocation.settings)
    keep = invocation.arguments.keep_accounts
    target = new_file(invocation.arguments.output, folder)
    name = shown(str(target))
    with open_database(invocation.settings) as database:
        try:
            done = begin_new_term(folder, database, target, keep_accounts=keep)
        except FileExistsError:
            raise AdminError(is_there(name)) from None
        except StorageError as problem:
            made = "no copy"
            if target.exists():
                made = (
                    f"the copy is made, so it can be done again; keep '{name}', as a new one lacks "
                    "what is gone by now"
                )
            raise AdminError(f"the term was not ended: {problem} ({made})") from None
    counts = done.copy.counts
    terminal.tell(f"'{name}' holds {_in_words(counts)}")
    accounts_told = "all accounts stay" if keep else "the accounts are gone, their names are free"
    terminal.tell(
        f"gone from the rooms: {counted(done.messages, 'message')} and "
        f"{counted(done.files, 'file')}; {accounts_told}"
    )


def _forget(invocation: Invocation, terminal: Terminal) -> None:
    name, folded = checked_name(invocation)
    folder = existing_folder(invocation.settings)
    keep = invocation.arguments.keep_messages
    with open_database(invocation.settings) as database:
        with database.reading() as connection:
            account = accounts.find(connection, folded)
        if account is None:
            raise AdminError(f"no account '{name}', not even a deleted one: nothing is forgotten")
        done = forget(folder, database, account, keep=keep)
    stay = f"kept, sent by '{done.name}'" if keep else "erased"
    terminal.tell(
        f"'{name}' is forgotten: {counted(done.messages, 'message')} {stay}, "
        f"{counted(done.files, 'file')} gone"
    )
    terminal.tell(
        "copies made by 'backup' and folders made by 'export' before now may still hold all of it: "
        "remove them, or make them anew"
    )
    terminal.tell(
        "what others wrote about that name stays, and so do the ids of open rooms; students may "
        f"have messages and files on their own machines; the name '{name}' is free again"
    )
    if done.traces is Traces.IN_PAGES:
        terminal.tell(
            "the database is large, and the server would stand still while it is rewritten: that "
            "is done when it starts next. Until then its file may hold old copies, which the "
            "server gives to nobody"
        )
    if done.traces is Traces.IN_LOG:
        raise AdminError(
            "another program reads the database, so that its log can't be emptied: end that "
            f"program, then '{typed()} forget {done.name}' finishes it"
        )


COMMANDS: Final[Mapping[str, Callable[[Invocation, Terminal], None]]] = {
    "export": _export,
    "backup": _backup,
    "restore": _restore,
    "attendance": _attendance,
    "slips": make_slips,
    "forget": _forget,
    "new-term": _new_term,
    "status": show_status,
}
