"""The command `import`: accounts out of a roster, and the passwords that were made up for them.

Owns the order of its steps and where made-up passwords go. The roster itself is read by `rosters`.
Called by the main thread of a process of its own.
"""

from __future__ import annotations

import csv
import io
import os
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from server.base.logs import printable
from server.command_line.arguments import Invocation, write_data
from server.command_line.console import AdminError, BadPlace, Terminal, open_database, shown
from server.command_line.rosters import (
    COLUMNS,
    Roster,
    RosterRow,
    read_roster,
    refuse_taken_rows,
)
from storage import accounts, passwords, portable
from storage.database import Database
from storage.errors import NameTaken, StorageError

HASH_THREADS: Final = 4
NAMES_SHOWN: Final = 5
ENDING: Final = "-passwords.csv"
"""How the file is called that `-o FOLDER` makes, behind the roster's own name."""


def import_roster(invocation: Invocation, terminal: Terminal) -> None:
    """Make an account for each row of the roster, or none at all."""
    path = invocation.arguments.roster
    roster = read_roster(path)
    _warn_of_a_guess(roster, terminal)
    with open_database(invocation.settings, create=True) as database:
        rows = new_rows(database, path, roster, skip=invocation.arguments.skip_existing)
        made_up = [row for row in rows if row.made_up]
        with _place_of_passwords(invocation, terminal, bool(made_up)) as write:
            records = hash_all([row.password for row in rows], invocation.settings.password_cost)
            # Before the transaction: a reader of our output who is slow must not keep the server's
            # writer waiting, and passwords that could not be shown must not be set.
            if made_up:
                write(_as_csv(made_up))
            try:
                create_accounts(database, rows, records)
            except (NameTaken, StorageError) as problem:
                void = "; passwords printed above do not count" * bool(made_up)
                raise AdminError(
                    f"{problem}; nothing was taken from '{shown(path)}'{void}: try again"
                ) from None
    _tell_of(terminal, len(rows), len(made_up), len(roster.rows) - len(rows))


def _warn_of_a_guess(roster: Roster, terminal: Terminal) -> None:
    """Say so where names may have come out wrong: the file was in none of Unicode's encodings."""
    foreign = [row.chatid for row in roster.rows if not row.chatid.isascii()]
    if foreign and not roster.encoding.startswith("utf"):
        some = ", ".join(f"'{printable(name)}'" for name in foreign[:NAMES_SHOWN])
        terminal.tell(
            f"the roster is no UTF-8 and was read as {roster.encoding}: see whether names are "
            f"right, as {some}"
        )


def new_rows(database: Database, path: str, roster: Roster, *, skip: bool) -> list[RosterRow]:
    """Return the rows to make accounts of; with `skip` without those that there are. Raise
    AdminError where a name is taken."""
    with database.reading() as connection:
        found = [(row, accounts.find(connection, row.folded)) for row in roster.rows]
    if skip:
        found = [(row, account) for row, account in found if account is None or account.deleted]
    refuse_taken_rows(path, found)
    return [row for row, _ in found]


def hash_all(chosen: list[str], cost: int) -> list[str]:
    """Return what is stored for each of these passwords."""
    # scrypt lets other threads run meanwhile, and takes 50 to 90 ms each: a school's roster would
    # take minutes.
    workers = min(HASH_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="hash") as pool:
        return list(pool.map(lambda password: passwords.hash_password(password, cost), chosen))


def create_accounts(database: Database, rows: list[RosterRow], records: list[str]) -> None:
    """Make all of these accounts, or none."""
    now = int(time.time())
    try:
        with database.transaction() as connection:
            for row, record in zip(rows, records, strict=True):
                accounts.create(connection, row.chatid, row.folded, record, now, row.role)
    except KeyboardInterrupt:
        with database.reading() as connection:
            made = accounts.find(connection, rows[0].folded) if rows else None
        # Ctrl-C may come behind the commit: the passwords count then, and must not be removed.
        if made is None or made.password_hash != records[0]:
            raise


def _tell_of(terminal: Terminal, made: int, made_up: int, skipped: int) -> None:
    """Say how many accounts were made and left alone."""
    words = [f"{made} account{'s' * (made != 1)} made"]
    if made_up:
        words.append(f"{made_up} of them with a password made up")
    if skipped:
        words.append(f"{skipped} left as {'they are' if skipped > 1 else 'it is'}")
    terminal.tell(", ".join(words))


# --- Made-up passwords ----------------------------------------------------------------------------


def _as_csv(rows: list[RosterRow]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((row.chatid, row.password) for row in rows)
    return text.getvalue()


@contextmanager
def _place_of_passwords(
    invocation: Invocation, terminal: Terminal, is_needed: bool
) -> Iterator[Callable[[str], None]]:
    """Give a function that writes passwords to stdout, or with `-o` to a new file for the owner
    alone, which is removed again where the import fails."""
    output = invocation.arguments.output
    if output is None or output == "-" or not is_needed:
        yield lambda text: write_data(terminal.stdout, text)
        return
    target = Path(output)
    if target.is_dir():
        target /= Path(invocation.arguments.roster).stem + ENDING
    is_new = not target.exists()
    try:
        descriptor = _open(target)
        try:  # from here on a new file is ours
            with open(descriptor, "w", encoding="utf-8-sig", newline="\n") as file:

                def write(text: str) -> None:
                    file.write(text)
                    file.flush()
                    if is_new:  # else a device or a pipe
                        portable.sync_file(file.fileno())
                        portable.sync_above(target)

                yield write
        except BaseException:
            if is_new:
                portable.remove(target)
            raise
    except FileExistsError:
        raise AdminError(
            f"-o: '{shown(str(target))}' exists, and may hold passwords that are in use: "
            "name another file"
        ) from None
    except OSError as error:
        raise BadPlace(
            f"-o: cannot write '{shown(str(target))}': {error.strerror or error}: "
            "name another place"
        ) from None


def _open(target: Path) -> int:
    """Open a new file for its owner alone, or a device or pipe; return its descriptor. Raise
    OSError, FileExistsError where there is a plain file."""
    try:
        is_plain = stat.S_ISREG(target.stat().st_mode)
    except FileNotFoundError:
        is_plain = True
    return os.open(target, os.O_WRONLY | (os.O_CREAT | os.O_EXCL if is_plain else 0), 0o600)
