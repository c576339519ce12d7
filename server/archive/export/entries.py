"""What an export shows of a room: its messages and files in one row of time, with the names that
are to be shown.

Owns the merging, the pseudonyms and what is said of removed texts. Never writes a file. Any thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from storage import archives
from storage.archives import Account, Room, SaidFile, SaidMessage

COMMAND_LINE: Final = "the teacher"
"""Who has removed a text, where no account has."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of an export. `kind` is "message", "announcement", "removed" or "file"; `number` is
    the id of a message or file. For a file `text` is its name, `path` where its bytes lie in the
    export ("" for nowhere)."""

    kind: str
    number: int
    sent_at: int
    sender: str
    text: str
    size: int | None = None
    sha256: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is asked for. Times are seconds since 1970, `until` is the first that is not taken.
    `hidden`: show what teachers have removed."""

    since: int
    until: int
    hidden: bool


def real_names(accounts: list[Account]) -> dict[int, str]:
    """Return each account's name by its id."""
    return {account.id: account.chatid for account in accounts}


def pseudonyms(accounts: list[Account]) -> dict[int, str]:
    """Return a name for each account that tells only its role and its number: the same one in every
    export of this chat."""
    return {account.id: f"{account.role}-{account.id:02d}" for account in accounts}


def entries(
    connection: sqlite3.Connection,
    room: Room,
    selection: Selection,
    names: Mapping[int, str],
    place: Callable[[SaidFile], str],
) -> Iterator[Entry]:
    """Yield the room's messages in their order, and its files between them where they came.
    `place` gives the path under which a file's bytes will lie."""
    said = archives.messages(connection, room.pk, selection.since, selection.until)
    sent = archives.files(connection, room.pk, selection.since, selection.until)
    next_file = next(sent, None)
    for message in said:
        while next_file is not None and next_file.sent_at <= message.sent_at:
            yield _file(next_file, names, place)
            next_file = next(sent, None)
        yield _message(message, selection.hidden, names)
    while next_file is not None:
        yield _file(next_file, names, place)
        next_file = next(sent, None)


def _message(message: SaidMessage, shows_hidden: bool, names: Mapping[int, str]) -> Entry:
    kind, text = "announcement" if message.announce else "message", message.content
    if message.hidden_by is not None:
        by = names.get(message.hidden_by, COMMAND_LINE)
        mark = f"[removed by {by}]"
        kind, text = "removed", f"{mark} {text}" if shows_hidden else mark
    return Entry(kind, message.id, message.sent_at, names[message.sender_id], text)


def _file(file: SaidFile, names: Mapping[int, str], place: Callable[[SaidFile], str]) -> Entry:
    sender = names[file.sender_id]
    if file.removed:
        return Entry("file", file.id, file.sent_at, sender, f"{file.name} [removed]", file.size)
    return Entry(
        "file", file.id, file.sent_at, sender, file.name, file.size, file.sha256, place(file)
    )
