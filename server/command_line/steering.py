"""The commands with which the teacher steers the class from the server's machine: mute, kick, ban,
pause, rooms, hidden messages, announcements, and what was done.

Owns the order and the wording of these commands. Each is one transaction with its row in the
audit, by which a running server learns of it within a second. Called by the main thread of a
process of its own. Data goes to stdout, talk to stderr.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import protocol
from server.archive import questions
from server.base.deadline import Deadline
from server.base.logs import printable
from server.command_line.arguments import Invocation, typed, write_data
from server.command_line.console import (
    AdminError,
    Terminal,
    checked_name,
    existing,
    existing_folder,
    open_database,
)
from storage import accounts, acts, errands, messages, rooms
from storage.accounts import Account
from storage.acts import BAN, CLASS, MUTE, PAUSE, Row
from storage.database import Database
from storage.errors import FolderInUse
from storage.folder import DataFolder

PATIENCE_SECONDS: Final = 5.0
"""How long an errand waits for the running server."""
PAUSE_SECONDS: Final = 0.05
_TIME: Final = re.compile(r"([0-9]{1,9})([smhd]?)", re.IGNORECASE)
_UNITS: Final = {"": 60, "s": 1, "m": 60, "h": 3600, "d": 86_400}


# --- Users ----------------------------------------------------------------------------------------


def _mute(invocation: Invocation, terminal: Terminal) -> None:
    account, end = _restrict(invocation, MUTE, "mute_user")
    terminal.tell(f"'{account.chatid}' is muted {end}")


def _ban(invocation: Invocation, terminal: Terminal) -> None:
    account, end = _restrict(invocation, BAN, "ban_user")
    terminal.tell(f"'{account.chatid}' is banned {end}; the session ends within a second")


def _restrict(invocation: Invocation, kind: str, act: str) -> tuple[Account, str]:
    (name, folded), why = checked_name(invocation), _why(invocation)
    seconds = _seconds(invocation.arguments.time)
    with open_database(invocation.settings) as database, database.transaction() as connection:
        account = existing(accounts.find(connection, folded), name)
        ends_at = _put_in_force(connection, kind, account.id, seconds, why)
        now = int(time.time())
        acts.note(connection, act, now, None, user_id=account.id, ends_at=ends_at, reason=why)
    return account, _end(ends_at)


def _put_in_force(
    connection: sqlite3.Connection, kind: str, account_id: int, seconds: int, why: str
) -> int | None:
    ends_at = int(time.time()) + seconds if seconds else None
    acts.restrict(connection, Row(kind, account_id, ends_at, why))
    return ends_at


def _end(ends_at: int | None) -> str:
    if ends_at is None:
        return "until you lift it"
    return time.strftime("until %H:%M:%S on %Y-%m-%d", time.localtime(ends_at))


def _unmute(invocation: Invocation, terminal: Terminal) -> None:
    _lift(invocation, terminal, MUTE, "unmute_user", "muted")


def _unban(invocation: Invocation, terminal: Terminal) -> None:
    _lift(invocation, terminal, BAN, "unban_user", "banned")


def _lift(invocation: Invocation, terminal: Terminal, kind: str, act: str, word: str) -> None:
    name, folded = checked_name(invocation)
    with open_database(invocation.settings) as database, database.transaction() as connection:
        account = existing(accounts.find(connection, folded), name)
        was_so = acts.lift(connection, kind, account.id)
        if was_so:
            acts.note(connection, act, int(time.time()), None, user_id=account.id)
    if was_so:
        terminal.tell(f"'{account.chatid}' is no longer {word}")
    else:
        terminal.tell(f"'{account.chatid}' is not {word}: nothing to do")


def _kick(invocation: Invocation, terminal: Terminal) -> None:
    (name, folded), why = checked_name(invocation), _why(invocation)
    with open_database(invocation.settings) as database, database.transaction() as connection:
        account = existing(accounts.find(connection, folded), name)
        accounts.drop_key(connection, account.id)
        now = int(time.time())
        acts.note(connection, "kick_user", now, None, user_id=account.id, reason=why)
    terminal.tell(
        f"'{account.chatid}' is kicked: a session ends within a second, and its key has ended; "
        f"'{typed()} ban' keeps a user out"
    )


# --- The class and its rooms ----------------------------------------------------------------------


def _pause(invocation: Invocation, terminal: Terminal) -> None:
    seconds, why = _seconds(invocation.arguments.time), _why(invocation)
    with open_database(invocation.settings) as database, database.transaction() as connection:
        ends_at = _put_in_force(connection, PAUSE, CLASS, seconds, why)
        acts.note(connection, "pause_class", int(time.time()), None, ends_at=ends_at, reason=why)
    terminal.tell(f"the class is paused {_end(ends_at)}; '{typed()} resume' ends it")


def _resume(invocation: Invocation, terminal: Terminal) -> None:
    with open_database(invocation.settings) as database, database.transaction() as connection:
        was_paused = acts.lift(connection, PAUSE, CLASS)
        if was_paused:
            acts.note(connection, "resume_class", int(time.time()), None)
    terminal.tell("the class goes on" if was_paused else "there is no pause: nothing to do")


def _set_room(invocation: Invocation, terminal: Terminal) -> None:
    arguments = invocation.arguments
    with open_database(invocation.settings) as database, database.transaction() as connection:
        room = rooms.find(connection, arguments.room_id)
        if room is None or room.deleted:
            raise AdminError(
                f"there is no room '{printable(arguments.room_id)}': '{typed()} rooms' lists all"
            )
        chosen = {"on": True, "off": False}
        read_only = chosen.get(arguments.read_only, room.read_only)
        uploads = chosen.get(arguments.uploads, room.uploads)
        if (read_only, uploads) != (room.read_only, room.uploads):
            rooms.set_rules(connection, room.pk, read_only=read_only, uploads=uploads)
            detail = f"read_only: {read_only}, uploads: {uploads}".lower()
            acts.note(
                connection, "set_room", int(time.time()), None, room_pk=room.pk, detail=detail
            )
    writers = "only teachers write" if read_only else "everybody writes"
    senders = "students may send files" if uploads else "only teachers send files"
    terminal.tell(f"room '{printable(room.room_id)}': {writers}, {senders}")


def _list_rooms(invocation: Invocation, terminal: Terminal) -> None:
    with open_database(invocation.settings) as database, database.reading() as connection:
        lines = ["ID\tNAME\tKIND\tREAD-ONLY\tUPLOADS\n"]
        for room in rooms.every(connection, None, -1):
            kind = "private" if room.private else "open"
            kind += ", deleted" * room.deleted
            values = (
                printable(room.room_id, 400),
                printable(room.name, 400),
                kind,
                "on" if room.read_only else "off",
                "on" if room.uploads else "off",
            )
            lines.append("\t".join(values) + "\n")
    write_data(terminal.stdout, "".join(lines))


# --- Messages -------------------------------------------------------------------------------------


def _announce(invocation: Invocation, terminal: Terminal) -> None:
    arguments, text = invocation.arguments, " ".join(invocation.arguments.text)
    if not text.strip() or "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise AdminError("TEXT: expected something to say, in UTF-8")
    with open_database(invocation.settings) as database:
        with database.reading() as connection:
            teacher = _teacher(connection, arguments.teacher)
            room = rooms.find(connection, arguments.room)
        if room is None or room.deleted:
            raise AdminError(
                f"there is no room '{printable(arguments.room)}': '{typed()} rooms' lists all"
            )
        folder = DataFolder(invocation.settings.data)
        try:
            folder.lock()
        except FolderInUse:
            number = _ask_server(database, teacher, room.room_id, text)
        else:
            try:
                with database.transaction() as connection:
                    now = int(time.time())
                    high = max(now, messages.clock_high(connection))
                    number = acts.announce(connection, room.pk, teacher.id, text, now, high)
            finally:
                folder.unlock()
    terminal.tell(
        f"announced as '{teacher.chatid}' in '{printable(room.room_id)}': number {number}"
    )


def _ask_server(database: Database, teacher: Account, room_id: str, text: str) -> int:
    """Have the running server say it, so that it gets its place in the order of all messages;
    return its number."""
    question = json.dumps({"account_id": teacher.id, "room_id": room_id, "text": text})
    with database.transaction() as connection:
        number = errands.ask(connection, "announce", question, int(time.time()))
    deadline = Deadline(PATIENCE_SECONDS)
    found = None
    try:
        while found is None and not deadline.has_passed:
            time.sleep(PAUSE_SECONDS)
            with database.reading() as connection:
                found = errands.answer_of(connection, number)
    finally:
        with database.transaction() as connection:
            found = errands.take_back(connection, number)
    if found is None:
        raise AdminError(
            f"the running server did not answer within {PATIENCE_SECONDS:g} s, so nothing was "
            "announced: try again"
        )
    answer: dict[str, Any] = json.loads(found)
    if "error" in answer:
        raise AdminError(f"{printable(answer['error'])}; nothing was announced")
    return int(answer["message_id"])


def _teacher(connection: sqlite3.Connection, name: str | None) -> Account:
    """Return the teacher in whose name something is done: the one named, or the only one."""
    if name is None:
        names = sorted(accounts.teachers(connection).values())
        if len(names) != 1:
            which = ", ".join(map(printable, names[:10])) or "nobody is one"
            raise AdminError(
                f"say in which teacher's name, with --as ({which}); '{typed()} role NAME teacher' "
                "makes one"
            )
        name = names[0]
    account = existing(accounts.find(connection, protocol.fold_chatid(name)), name)
    if account.role != protocol.TEACHER:
        raise AdminError(
            f"--as: '{account.chatid}' is no teacher; '{typed()} role NAME teacher' makes one"
        )
    return account


def _hide(invocation: Invocation, terminal: Terminal) -> None:
    number = _message_id(invocation)
    with open_database(invocation.settings) as database, database.transaction() as connection:
        teacher = _teacher(connection, invocation.arguments.teacher)
        was_so = _set_hidden(connection, number, teacher, _why(invocation))
    shown = f"[removed by {teacher.chatid}]"
    told = "is hidden already: nothing to do" if was_so else f"is shown as '{shown}' now"
    terminal.tell(f"message {number} {told}")


def _show(invocation: Invocation, terminal: Terminal) -> None:
    number = _message_id(invocation)
    with open_database(invocation.settings) as database, database.transaction() as connection:
        was_so = _set_hidden(connection, number, None, "")
    told = "is not hidden: nothing to do" if was_so else "is shown again"
    terminal.tell(f"message {number} {told}")


def _set_hidden(
    connection: sqlite3.Connection, number: int, teacher: Account | None, why: str
) -> bool:
    """Hide the message in the teacher's name, or show it (None); return whether it was so
    already."""
    message = messages.get(connection, number)
    if message is None:
        raise AdminError(f"there is no message {number}: the client shows numbers with /ids on")
    if message.is_hidden == (teacher is not None):
        return True
    messages.set_hidden(connection, number, None if teacher is None else teacher.id)
    acts.note(
        connection,
        "show_message" if teacher is None else "hide_message",
        int(time.time()),
        None,
        user_id=message.sender_id,
        room_pk=message.room_pk,
        message_id=number,
        reason=why,
    )
    return False


# --- What there is --------------------------------------------------------------------------------


def _who(invocation: Invocation, terminal: Terminal) -> None:
    folder = existing_folder(invocation.settings)
    found = questions.ask(folder.path, PATIENCE_SECONDS)
    if found is None:
        raise AdminError(
            f"no server answers for '{printable(str(folder.path), 200)}': start one, or name the "
            "folder of the one that runs with --data"
        )
    lines = ["NAME\tROLE\tSINCE\tIDLE\tADDRESS\tMESSAGES\tNOTES\n"]
    for entry in found["sessions"]:
        notes = ["muted until " + (entry["muted_until"] or "lifted")] * entry["muted"]
        notes += [f"hand {entry['hand']}"] * bool(entry["hand"])
        values = (
            entry["chatid"],
            entry["role"],
            entry["since"],
            f"{entry['idle_seconds']} s",
            entry["address"],
            str(entry["messages"]),
            ", ".join(notes) or "-",
        )
        lines.append("\t".join(map(printable, values)) + "\n")
    write_data(terminal.stdout, "".join(lines))


def _audit(invocation: Invocation, terminal: Terminal) -> None:
    text = invocation.arguments.last
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise AdminError(f"--last '{printable(text)}': expected a whole number")
    lines = ["ID\tTIME\tBY\tACT\tUSER\tABOUT\tUNTIL\tREASON\n"]
    with open_database(invocation.settings) as database, database.reading() as connection:
        after = max(0, acts.last_id(connection) - int(text))
        for act in acts.page(connection, after, -1):
            number = None if act.message_id is None else f"message {act.message_id}"
            about = [act.room_id, act.file_path, number, act.detail]
            values = (
                str(act.id),
                protocol.format_time(act.at),
                act.by or "(command line)",
                act.act,
                act.user or "-",
                " ".join(part for part in about if part) or "-",
                "-" if act.ends_at is None else protocol.format_time(act.ends_at),
                act.reason or "-",
            )
            lines.append("\t".join(printable(value, 400) for value in values) + "\n")
    write_data(terminal.stdout, "".join(lines))


# --- Arguments ------------------------------------------------------------------------------------


def _seconds(text: str) -> int:
    """Return the seconds that TIME says; 0 = until it is lifted. Raises AdminError."""
    found = _TIME.fullmatch(text)
    seconds = int(found[1]) * _UNITS[found[2].lower()] if found else -1
    if not 0 <= seconds <= protocol.MAX_ACT_SECONDS:
        raise AdminError(
            f"TIME '{printable(text)}': expected how long, such as 90s, 10m, 2h or 3d, at most a "
            "year; 0 for until you lift it; a reason comes behind it"
        )
    return seconds


def _why(invocation: Invocation) -> str:
    why = " ".join(invocation.arguments.why)
    if len(why) > protocol.MAX_REASON_CHARACTERS or not why.isprintable():
        raise AdminError(
            f"WHY: expected at most {protocol.MAX_REASON_CHARACTERS} printable characters, "
            f"got {len(why)}"
        )
    return why


def _message_id(invocation: Invocation) -> int:
    text = invocation.arguments.message_id
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise AdminError(f"ID '{printable(text)}': expected the number of a message")
    return int(text)


COMMANDS: Final[Mapping[str, Callable[[Invocation, Terminal], None]]] = {
    "who": _who,
    "rooms": _list_rooms,
    "room": _set_room,
    "mute": _mute,
    "unmute": _unmute,
    "kick": _kick,
    "ban": _ban,
    "unban": _unban,
    "pause": _pause,
    "resume": _resume,
    "announce": _announce,
    "hide": _hide,
    "show": _show,
    "audit": _audit,
}
