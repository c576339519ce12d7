"""The commands beside serving: accounts and rooms from the command line, also while the server
runs.

Owns the reading of passwords and rosters and the wording of these commands. Never takes the data
folder's lock and never talks to the running server: each command is one transaction over a
connection of its own, which the server notices. Never takes a password from the command line and
never prints a hash.

Called by the main thread of a process of its own. Data goes to stdout, talk to stderr.
"""

from __future__ import annotations

import csv
import getpass
import io
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TextIO

import protocol
from server.base.logs import printable
from server.base.settings import Settings
from server.command_line.arguments import PROGRAM, Invocation, write_safely
from server.command_line.recover import recover_messages
from storage import accounts, passwords, rooms
from storage.database import Database
from storage.errors import NameTaken, StorageError, StorageFull
from storage.folder import DataFolder
from storage.journal import Journal

FAILED: Final = 1
STOPPED: Final = 130
"""The exit status after Ctrl-C, as shells know it: 128 + SIGINT."""
MOST_BAD_ROWS: Final = 20
PAGE: Final = 1_000
HASH_THREADS: Final = 4
PASSWORD_READ_CHARACTERS: Final = 1_000
SHOWN_PATH: Final = 200

# No characters that are mistaken for another when a password is read from paper: 0 o, 1 l i, u v.
_READABLE: Final = "abcdefghjkmnpqrstwxyz23456789"
COLUMNS: Final = ("chatid", "password")


class AdminError(Exception):
    """The command can't be done. Each argument is one line for stderr, saying what to do next."""


@dataclass(frozen=True)
class Terminal:
    """The three streams of one command."""

    stdin: TextIO | None
    stdout: TextIO
    stderr: TextIO

    def tell(self, text: str) -> None:
        write_safely(self.stderr, f"{PROGRAM}: {text}\n")


def run(invocation: Invocation, stdin: TextIO | None, stdout: TextIO, stderr: TextIO) -> int:
    """Do the command of `invocation`; return the exit status. Waits at most for its user, and for
    the database as long as that allows (5 s)."""
    terminal = Terminal(stdin, stdout, stderr)
    try:
        _COMMANDS[str(invocation.command)](invocation, terminal)
    except AdminError as problem:
        for line in problem.args:
            terminal.tell(line)
    except StorageFull as problem:
        terminal.tell(f"{problem}; nothing was changed: make room on the disk, then try again")
    except StorageError as problem:
        terminal.tell(str(problem))
    except OSError as problem:
        # `users | head` is no error to tell.
        if invocation.command != "users" or not isinstance(problem, BrokenPipeError):
            terminal.tell(f"cannot write to stdout: {problem.strerror or problem}")
    except KeyboardInterrupt:
        terminal.tell("stopped")
        return STOPPED
    else:
        return 0
    return FAILED


# --- The commands ---------------------------------------------------------------------------------


def _add_user(invocation: Invocation, terminal: Terminal) -> None:
    name, folded = _checked_name(invocation)
    with _open(invocation.settings, create=True) as database:
        with database.reading() as connection:
            _refuse_taken(accounts.find(connection, folded), name)
        record = _new_record(invocation, terminal, name)
        try:
            with database.transaction() as connection:
                accounts.create(connection, name, folded, record, int(time.time()))
        except NameTaken:  # by somebody who registered while the password was typed
            raise AdminError(_taken(name)) from None
    terminal.tell(f"account '{name}' made")


def _change_password(invocation: Invocation, terminal: Terminal) -> None:
    name, folded = _checked_name(invocation)
    with _open(invocation.settings) as database:
        with database.reading() as connection:
            _existing(accounts.find(connection, folded), name)
        record = _new_record(invocation, terminal, name)
        with database.transaction() as connection:
            account = _existing(accounts.find(connection, folded), name)
            accounts.set_password(connection, account.id, record)
    terminal.tell(
        f"'{account.chatid}' has a new password; who was logged in under that name is logged out"
    )


def _delete_user(invocation: Invocation, terminal: Terminal) -> None:
    name, folded = _checked_name(invocation)
    with _open(invocation.settings) as database, database.transaction() as connection:
        account = _existing(accounts.find(connection, folded), name)
        accounts.mark_deleted(connection, account.id, int(time.time()))
    terminal.tell(f"account '{account.chatid}' deleted; its name stays reserved")


def _list_users(invocation: Invocation, terminal: Terminal) -> None:
    after: str | None = None
    with _open(invocation.settings) as database:
        while True:
            with database.reading() as connection:
                page = list(accounts.page(connection, after, PAGE))
            write_safely(
                terminal.stdout, "".join(f"{printable(account.chatid)}\n" for account in page)
            )
            if len(page) < PAGE:
                return
            after = page[-1].chatid


def _import(invocation: Invocation, terminal: Terminal) -> None:
    path = invocation.arguments.roster
    rows = read_roster(path)
    with _open(invocation.settings, create=True) as database:
        with database.reading() as connection:
            _refuse_taken_rows(path, [(row, accounts.find(connection, row.folded)) for row in rows])
        records = _hash_all([row.password for row in rows], invocation.settings.password_cost)
        made_up = [row for row in rows if row.made_up]
        # Before the transaction: a reader of our output who is slow must not keep the server's
        # writer waiting, and passwords that could not be shown must not be set.
        if made_up:
            lines = [",".join(COLUMNS), *(f"{row.chatid},{row.password}" for row in made_up)]
            write_safely(terminal.stdout, "\n".join(lines) + "\n")
        now = int(time.time())
        try:
            with database.transaction() as connection:
                for row, record in zip(rows, records, strict=True):
                    accounts.create(connection, row.chatid, row.folded, record, now)
        except (NameTaken, StorageError) as problem:
            void = "; passwords printed above do not count" if made_up else ""
            raise AdminError(
                f"{problem}; nothing was taken from '{_shown(path)}'{void}: try again"
            ) from None
    terminal.tell(
        f"{len(rows)} accounts made"
        + (f", {len(made_up)} of them with a password made up" * bool(made_up))
    )


def _restore_room(invocation: Invocation, terminal: Terminal) -> None:
    room_id = invocation.arguments.room_id
    with _open(invocation.settings) as database, database.transaction() as connection:
        room = rooms.find(connection, room_id)
        if room is None:
            raise AdminError(
                f"no room has the id '{printable(room_id)}': "
                "its owner or the server's log knows the id"
            )
        if room.deleted:
            rooms.restore(connection, room.pk)
    terminal.tell("room restored" if room.deleted else "that room is not deleted: nothing to do")
    write_safely(terminal.stdout, f"{printable(room.name, 400)}\n")


def _recover_messages(invocation: Invocation, terminal: Terminal) -> None:
    with _open(invocation.settings) as database:
        folder = DataFolder(invocation.settings.data)
        folder.lock()  # ids and counts are made anew: no server may look on
        try:
            with database.transaction() as connection:
                done = recover_messages(connection, Journal(folder.journal_path))
        finally:
            folder.unlock()
    if not done.ids:
        terminal.tell("the database has every message of the journal: nothing to do")
        return
    terminal.tell(f"put back {len(done.ids)} messages, numbers {done.ids[0]} to {done.ids[-1]}")
    if done.rooms:
        terminal.tell(f"rooms made anew: {', '.join(map(printable, done.rooms))}")
    if done.accounts:
        names = ", ".join(map(printable, done.accounts))
        terminal.tell(f"accounts made anew, without a password: {names}")
        terminal.tell(f"give each one a password: '{PROGRAM} passwd NAME'")


_COMMANDS: Final[Mapping[str, Callable[[Invocation, Terminal], None]]] = {
    "adduser": _add_user,
    "passwd": _change_password,
    "deluser": _delete_user,
    "users": _list_users,
    "import": _import,
    "restore-room": _restore_room,
    "recover-messages": _recover_messages,
}


# --- Names and the database -----------------------------------------------------------------------


@contextmanager
def _open(settings: Settings, *, create: bool = False) -> Iterator[Database]:
    """Open the data folder's database. Only `create` makes a folder where there is none: a slip in
    --data is told."""
    folder = DataFolder(settings.data)
    if not create and not os.path.isfile(folder.database_path):
        raise AdminError(
            f"no chat data in '{_shown(settings.data)}': "
            "name the server's folder with --data, or make an account first"
        )
    folder.prepare()
    database = Database(folder.database_path, readers=1)
    try:
        yield database
    finally:
        database.close()


def _checked_name(invocation: Invocation) -> tuple[str, str]:
    """Return the command's NAME and its folded form. Raises AdminError where it can't be a name."""
    name = invocation.arguments.name
    problem = protocol.chatid_problem(name)
    if problem:
        raise AdminError(f"NAME '{printable(name)}': {problem}")
    return name, protocol.fold_chatid(name)


def _existing(account: accounts.Account | None, name: str) -> accounts.Account:
    if account is None:
        raise AdminError(f"no account '{name}': '{PROGRAM} users' lists all")
    if account.deleted:
        raise AdminError(
            f"account '{name}' was deleted: '{PROGRAM} users' lists those that are left"
        )
    return account


def _refuse_taken(account: accounts.Account | None, name: str) -> None:
    if account is not None:
        raise AdminError(_reserved(name) if account.deleted else _taken(name))


def _reserved(name: str) -> str:
    return (
        f"'{name}' was the name of an account that is deleted, and stays reserved: "
        "choose another name"
    )


def _taken(name: str) -> str:
    return (
        f"there is an account '{name}' already: choose another name, "
        f"or give it a password with '{PROGRAM} passwd'"
    )


def _shown(path: str) -> str:
    return printable(path, SHOWN_PATH)


# --- Passwords ------------------------------------------------------------------------------------


def _new_record(invocation: Invocation, terminal: Terminal, name: str) -> str:
    """Return what is stored for the new password of `name`, which comes from a file, stdin or the
    terminal."""
    path = invocation.arguments.password_file
    if path is not None:
        password, where = _password_of_file(path), f"the first line of '{_shown(path)}'"
    elif terminal.stdin is not None and terminal.stdin.isatty():
        password, where = _asked_password(name), "the password"
    else:
        password, where = _password_of_stream(terminal.stdin), "the first line of stdin"
    problem = _password_problem(password)
    if problem:
        raise AdminError(f"{where}: {problem}")
    return passwords.hash_password(password, invocation.settings.password_cost)


def _password_problem(password: str) -> str | None:
    # Surrogates are how Python keeps bytes that are not UTF-8.
    if any("\ud800" <= character <= "\udfff" for character in password):
        return "expected text in UTF-8"
    return protocol.password_problem(password)


def _password_of_file(path: str) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return _first_line(file)
    except OSError as error:
        raise AdminError(
            f"--password-file: cannot read '{_shown(path)}': {error.strerror or error}"
        ) from None
    except ValueError:  # UnicodeDecodeError, and a NUL in the path
        raise AdminError(
            f"--password-file: expected a file with text in UTF-8, got '{_shown(path)}'"
        ) from None


def _password_of_stream(stdin: TextIO | None) -> str:
    try:
        return "" if stdin is None else _first_line(stdin)
    except (OSError, ValueError) as error:  # closed, or bytes that its encoding doesn't know
        raise AdminError(
            f"cannot read a password from stdin: {error}; use --password-file FILE"
        ) from None


def _first_line(file: TextIO) -> str:
    return file.readline(PASSWORD_READ_CHARACTERS).rstrip("\r\n")


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


def _hash_all(chosen: list[str], cost: int) -> list[str]:
    # scrypt lets other threads run meanwhile, and takes 50 to 90 ms each: a school's roster would
    # take minutes.
    workers = min(HASH_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="hash") as pool:
        return list(pool.map(lambda password: passwords.hash_password(password, cost), chosen))


# --- Rosters --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RosterRow:
    """One account to be made; `line` is where its row begins in the file, counted from 1."""

    line: int
    chatid: str
    folded: str
    password: str = field(repr=False)
    made_up: bool


def read_roster(path: str) -> list[RosterRow]:
    """Return the rows of a CSV file with the columns chatid and password; AdminError names every
    bad row with its line."""
    bad: list[str] = []
    rows: dict[str, RosterRow] = {}
    for line, cells in _cells(path):
        chatid, password = cells if len(cells) == len(COLUMNS) else ("", "")
        folded = protocol.fold_chatid(chatid)
        problem = None
        if len(cells) != len(COLUMNS):
            problem = f"expected {len(COLUMNS)} columns, got {len(cells)}"
        elif chatid_problem := protocol.chatid_problem(chatid):
            problem = f"chatid '{printable(chatid)}': {chatid_problem}"
        elif folded in rows:
            problem = f"chatid '{chatid}': the same name as in line {rows[folded].line}"
        elif password and (password_problem := _password_problem(password)):
            problem = f"password: {password_problem}"
        if problem:
            bad.append(f"{_shown(path)}:{line}: {problem}")
        else:
            rows[folded] = RosterRow(
                line, chatid, folded, password or make_up_password(), not password
            )
    _refuse_bad_rows(path, bad)
    return list(rows.values())


def _cells(path: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row below the header with the line where it begins, in the order of `COLUMNS`;
    empty lines are left out."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except OSError as error:
        raise AdminError(f"cannot read '{_shown(path)}': {error.strerror or error}") from None
    except ValueError:  # UnicodeDecodeError, and a NUL in the path
        raise AdminError(
            f"{_shown(path)}: expected text in UTF-8: save it as 'CSV UTF-8'"
        ) from None
    header: list[str] | None = None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for cells in reader:
            if header is None:
                header = [cell.strip().lower() for cell in cells]
                if sorted(header) != sorted(COLUMNS):
                    break
            elif cells:
                in_order = len(cells) == len(COLUMNS)
                yield (
                    line,
                    [cells[header.index(column)] for column in COLUMNS] if in_order else cells,
                )
            line = reader.line_num + 1
    except csv.Error as error:
        raise AdminError(
            f"{_shown(path)}:{line}: expected comma-separated values, got a row with: {error}"
        ) from None
    if header is None or sorted(header) != sorted(COLUMNS):
        came = printable(",".join(header or []))
        raise AdminError(f"{_shown(path)}:1: expected the header {','.join(COLUMNS)}, got '{came}'")


def _refuse_taken_rows(path: str, found: list[tuple[RosterRow, accounts.Account | None]]) -> None:
    _refuse_bad_rows(
        path,
        [
            f"{_shown(path)}:{row.line}: "
            + (_reserved(row.chatid) if account.deleted else _taken(row.chatid))
            for row, account in found
            if account is not None
        ],
    )


def _refuse_bad_rows(path: str, bad: list[str]) -> None:
    if bad:
        more = [f"and {len(bad) - MOST_BAD_ROWS} more bad rows"] if len(bad) > MOST_BAD_ROWS else []
        end = (
            f"nothing was taken from '{_shown(path)}': "
            "correct what is named above, then import it again"
        )
        raise AdminError(*bad[:MOST_BAD_ROWS], *more, end)
