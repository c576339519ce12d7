"""The commands beside serving: accounts and rooms from the command line, also while the server
runs.

Owns the order and the wording of these commands. Never takes the data folder's lock and never talks
to the running server: each command is one transaction over a connection of its own, which the
server notices. Never takes a password from the command line and never prints a hash.

Called by the main thread of a process of its own. Data goes to stdout, talk to stderr.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final, TextIO

from protocol import STUDENT, TEACHER
from server.base.logs import printable
from server.command_line import keeping, steering
from server.command_line.arguments import Invocation, typed, write_data, write_safely
from server.command_line.console import (
    AdminError,
    BadPlace,
    Terminal,
    checked_name,
    counted,
    existing,
    is_closed_pipe,
    open_database,
    refuse_taken,
    taken,
)
from server.command_line.importing import import_roster
from server.command_line.new_password import new_record
from server.command_line.recover import recover_messages
from storage import accounts, acts, rooms
from storage.errors import NameTaken, StorageError, StorageFull
from storage.folder import DataFolder
from storage.journal import Journal

FAILED: Final = 1
MISUSED: Final = 2
"""The exit status of a command line that can't be done, as of wrong options."""
STOPPED: Final = 130
"""The exit status after Ctrl-C, as shells know it: 128 + SIGINT."""
PAGE: Final = 1_000


def run(invocation: Invocation, stdin: TextIO | None, stdout: TextIO, stderr: TextIO) -> int:
    """Do the command of `invocation`; return the exit status. Waits at most for its user, and for
    the database as long as that allows (5 s)."""
    terminal = Terminal(stdin, stdout, stderr)
    try:
        _COMMANDS[str(invocation.command)](invocation, terminal)
    except AdminError as problem:
        for line in problem.args:
            terminal.tell(line)
        return MISUSED if isinstance(problem, BadPlace) else FAILED
    except StorageFull as problem:
        terminal.tell(f"{problem}; nothing was changed: make room on the disk, then try again")
    except StorageError as problem:
        terminal.tell(str(problem))
    except OSError as problem:
        # `users | head` is no error to tell.
        if invocation.command != "users" or not is_closed_pipe(problem):
            terminal.tell(f"cannot write to stdout: {problem.strerror or problem}")
    except KeyboardInterrupt:
        terminal.tell("stopped")
        return STOPPED
    else:
        return 0
    return FAILED


# --- The commands ---------------------------------------------------------------------------------


def _add_user(invocation: Invocation, terminal: Terminal) -> None:
    name, folded = checked_name(invocation)
    role = TEACHER if invocation.arguments.teacher else STUDENT
    with open_database(invocation.settings, create=True) as database:
        with database.reading() as connection:
            refuse_taken(accounts.find(connection, folded), name)
        record = new_record(invocation, terminal, name)
        try:
            with database.transaction() as connection:
                accounts.create(connection, name, folded, record, int(time.time()), role)
        except NameTaken:  # by somebody who registered while the password was typed
            raise AdminError(taken(name)) from None
    terminal.tell(f"account '{name}' made" + ", a teacher's" * (role == TEACHER))


def _change_password(invocation: Invocation, terminal: Terminal) -> None:
    name, folded = checked_name(invocation)
    with open_database(invocation.settings) as database:
        with database.reading() as connection:
            existing(accounts.find(connection, folded), name)
        record = new_record(invocation, terminal, name)
        with database.transaction() as connection:
            account = existing(accounts.find(connection, folded), name)
            accounts.set_password(connection, account.id, record)
            acts.note(connection, "passwd", int(time.time()), None, user_id=account.id)
    terminal.tell(
        f"'{account.chatid}' has a new password; who was logged in under that name is logged out"
    )


def _change_role(invocation: Invocation, terminal: Terminal) -> None:
    (name, folded), role = checked_name(invocation), invocation.arguments.role
    with open_database(invocation.settings) as database, database.transaction() as connection:
        account = existing(accounts.find(connection, folded), name)
        if account.role != role:
            accounts.set_role(connection, account.id, role)
            for kind in (acts.MUTE, acts.BAN):  # of a teacher's account, only what comes later
                acts.lift(connection, kind, account.id)
            now = int(time.time())
            acts.note(connection, "role", now, None, user_id=account.id, detail=role)
    if account.role == role:
        terminal.tell(f"'{account.chatid}' is a {role} already: nothing to do")
    else:
        terminal.tell(
            f"'{account.chatid}' is a {role} now; who was logged in under that name is logged out"
        )


def _delete_user(invocation: Invocation, terminal: Terminal) -> None:
    name, folded = checked_name(invocation)
    with open_database(invocation.settings) as database, database.transaction() as connection:
        account = existing(accounts.find(connection, folded), name)
        now = int(time.time())
        accounts.mark_deleted(connection, account.id, now)
        acts.note(connection, "deluser", now, None, user_id=account.id)
    terminal.tell(f"account '{account.chatid}' deleted; its name stays reserved")


def _list_users(invocation: Invocation, terminal: Terminal) -> None:
    after: str | None = None
    lines: list[str] = []
    with open_database(invocation.settings) as database:
        while True:
            with database.reading() as connection:
                page = list(accounts.page(connection, after, PAGE))
            lines += [f"{_listed(account)}\n" for account in page]
            if len(page) < PAGE:
                break
            after = page[-1].chatid
    write_data(terminal.stdout, "".join(lines))


def _listed(account: accounts.Account) -> str:
    """Return an account's line of `users`: its name, and a teacher's role behind a tab."""
    return printable(account.chatid) + f"\t{TEACHER}" * (account.role == TEACHER)


def _restore_room(invocation: Invocation, terminal: Terminal) -> None:
    room_id = invocation.arguments.room_id
    with open_database(invocation.settings) as database, database.transaction() as connection:
        room = rooms.find(connection, room_id)
        if room is None:
            raise AdminError(
                f"no room has the id '{printable(room_id)}': "
                "its owner or the server's log knows the id"
            )
        if room.deleted:
            rooms.restore(connection, room.pk)
            acts.note(connection, "restore-room", int(time.time()), None, room_pk=room.pk)
    terminal.tell("room restored" if room.deleted else "that room is not deleted: nothing to do")
    write_safely(terminal.stdout, f"{printable(room.name, 400)}\n")


def _recover_messages(invocation: Invocation, terminal: Terminal) -> None:
    with open_database(invocation.settings) as database:
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
    terminal.tell(
        f"put back {counted(len(done.ids), 'message')}, numbers {done.ids[0]} to {done.ids[-1]}"
    )
    if done.rooms:
        terminal.tell(f"rooms made anew: {', '.join(map(printable, done.rooms))}")
    if done.accounts:
        names = ", ".join(map(printable, done.accounts))
        terminal.tell(f"accounts made anew, without a password: {names}")
        terminal.tell(f"give each one a password: '{typed()} passwd NAME'")


_COMMANDS: Final[Mapping[str, Callable[[Invocation, Terminal], None]]] = {
    "adduser": _add_user,
    "passwd": _change_password,
    "role": _change_role,
    "deluser": _delete_user,
    "users": _list_users,
    "import": import_roster,
    "restore-room": _restore_room,
    "recover-messages": _recover_messages,
    **keeping.COMMANDS,
    **steering.COMMANDS,
}
