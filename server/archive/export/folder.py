"""The folder that an export makes: a file for each room, the files that were sent, the key of the
pseudonyms.

Owns the names in it. Writes beside the place where the folder is to be, and gives it its name when
all is there. Called by the thread of a command.
"""

from __future__ import annotations

import csv
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from server.archive.export import entries as said
from server.archive.export.entries import Selection
from server.archive.export.page import write_index, write_page
from server.archive.export.writers import harmless_cell, write_csv, write_jsonl, write_txt
from storage import archives, portable
from storage.archives import Account, Room, SaidFile
from storage.errors import FileMissing, from_os_error
from storage.upload_files import UploadFiles

FORMATS: Final = ("html", "csv", "jsonl", "txt")
BLOCK_BYTES: Final = 1024 * 1024
MOST_NAME: Final = 60
"""Characters of a room's or file's name that go into the name of a file."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What `export` was asked for; no rooms for all of them."""

    rooms: tuple[str, ...]
    selection: Selection
    form: str
    with_pseudonyms: bool
    with_files: bool


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: rooms, entries of all rooms, copied files, and files whose bytes are
    lost."""

    rooms: int
    entries: int
    files: int
    lost: int


class UnknownRoom(Exception):
    """No room has this id; the text is the id."""


def export(
    connection: sqlite3.Connection,
    uploads: UploadFiles,
    wish: Wish,
    target: Path,
    key: Path | None,
    now: int,
) -> Exported:
    """Write the folder `target`, which is not there, and the key of the pseudonyms into the file
    `key`. Raises UnknownRoom, or StorageError with nothing left behind."""
    rooms = _wished(archives.all_rooms(connection), wish.rooms)
    made: Path | None = None
    try:
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            done = _Export(connection, uploads, wish, work, now).write(rooms)
            if key is not None:
                with _new_file(key, "w", encoding="utf-8-sig", newline="") as file:
                    made = key
                    _write_key(file, archives.accounts(connection))
            portable.while_held(lambda: os.rename(work, target))
        except BaseException:
            if made is not None:
                portable.remove(made)
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return done
    except OSError as error:
        raise from_os_error(error, f"writing {target}") from error


def _wished(rooms: list[Room], wanted: tuple[str, ...]) -> list[Room]:
    if not wanted:
        return rooms
    by_id = {room.room_id: room for room in rooms}
    for room_id in wanted:
        if room_id not in by_id:
            raise UnknownRoom(room_id)
    return [by_id[room_id] for room_id in dict.fromkeys(wanted)]


class _Export:
    """One export under way."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        uploads: UploadFiles,
        wish: Wish,
        work: Path,
        now: int,
    ) -> None:
        self._connection, self._uploads, self._wish = connection, uploads, wish
        self._work, self._now = work, now
        accounts = archives.accounts(connection)
        self._names = (said.pseudonyms if wish.with_pseudonyms else said.real_names)(accounts)
        self._files = self._lost = 0

    def write(self, rooms: list[Room]) -> Exported:
        done: list[tuple[str, Room, int]] = []
        for number, room in enumerate(rooms, start=1):
            name = f"{number:02d}-{safe_name(room.room_id)}.{self._wish.form}"
            # utf-8-sig: Excel takes a CSV without this mark for something else.
            encoding = "utf-8-sig" if self._wish.form == "csv" else "utf-8"
            with _new_file(self._work / name, "w", encoding=encoding, newline="") as file:
                done.append((name, room, self._write_room(file, room)))
        if self._wish.form == "html":
            with _new_file(self._work / "index.html", "w", encoding="utf-8") as file:
                write_index(file, done)
        total = sum(count for _, _, count in done)
        return Exported(len(done), total, self._files, self._lost)

    def _write_room(self, file: TextIO, room: Room) -> int:
        entries = said.entries(
            self._connection, room, self._wish.selection, self._names, self._place
        )
        if self._wish.form == "html":
            return write_page(file, room, self._now, entries)
        writers: dict[str, Callable[..., int]] = {
            "csv": write_csv,
            "jsonl": write_jsonl,
            "txt": write_txt,
        }
        return writers[self._wish.form](file, room.room_id, entries)

    def _place(self, file: SaidFile) -> str:
        """Copy the file's bytes, if they are wished for; return where they lie."""
        if not self._wish.with_files:
            return ""
        path = f"files/{file.id:06d}-{safe_name(file.name)}"
        (self._work / "files").mkdir(0o700, exist_ok=True)
        try:
            with _new_file(self._work / path, "wb") as copy:
                for offset in range(0, file.size, BLOCK_BYTES):
                    copy.write(self._uploads.read(file.disk_name, offset, BLOCK_BYTES))
        except FileMissing:
            self._lost += 1
            (self._work / path).unlink()
            return ""
        self._files += 1
        return path


def safe_name(name: str) -> str:
    """Return a name that no system or browser takes for anything but a plain file: letters and
    digits stay, so does the dot between them."""
    kept = "".join(c if c.isalnum() or c in "._-" else "_" for c in name[-MOST_NAME:])
    return kept.strip(".") or "_"


def _write_key(file: TextIO, accounts: list[Account]) -> None:
    names = said.pseudonyms(accounts)
    table = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    table.writerow(("pseudonym", "chatid"))
    for account in accounts:
        table.writerow((names[account.id], harmless_cell(account.chatid)))


def _new_file(path: Path, mode: str, **options: str) -> Any:
    """Open a new file for its owner alone."""
    descriptor = portable.open_own(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    return open(descriptor, mode, **options)  # type: ignore[call-overload]
