"""`backup`: one zip of the whole data folder, also while a server writes to it.

Owns the order in which the parts are read, which makes them fit together, and the way in which the
zip gets its name: whole, or not at all. Never changes the data folder.

Called by the thread of a command, or of a start before anything serves.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import protocol
from server.archive import manifest
from server.archive.manifest import Entry
from storage import archives, copies, portable
from storage.archives import Counts
from storage.errors import FileMissing, StorageError, from_os_error
from storage.folder import DataFolder
from storage.journal import Journal
from storage.upload_files import UploadFiles

BLOCK_BYTES: Final = 1024 * 1024
TRIES: Final = 3
"""How often a copy is begun anew because a file was removed while it was made."""

# Quotes within a text are escaped, so that these can't be part of one.
_MESSAGE_ID: Final = re.compile(rb'"message_id":([0-9]{1,15})')
_FILE: Final = re.compile(rb'"action":"receive_file"')


@dataclass(frozen=True, slots=True)
class Backup:
    """What a copy holds, and which files of uploads are lost: the database names them and the
    folder does not have them."""

    counts: Counts
    lost: int


def make_backup(folder: DataFolder, target: Path) -> Backup:
    """Write a copy of the data folder into the new file `target`; return what is in it.

    Unfinished uploads and `uploads/orphans` are not in it. Until all is written it lies under
    another name beside `target`; where something fails nothing is left. Raises StorageFull,
    StorageError or FileExistsError.
    """
    try:
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise from_os_error(error, f"writing {target}") from error
    try:
        for remaining in reversed(range(TRIES)):
            try:
                made = _write(folder, work, may_miss=remaining == 0)
                break
            except FileMissing:
                # Somebody removed a file after its row was read: begin with what holds now.
                shutil.rmtree(work)
                work.mkdir(0o700)
        _give_name(work / "copy.zip", target)
        return made
    except FileExistsError:
        raise
    except OSError as error:
        raise from_os_error(error, f"writing {target}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write(folder: DataFolder, work: Path, *, may_miss: bool) -> Backup:
    # The database first: each of its rows has its file already, and what the journal has beyond it
    # can be told by the ids.
    copy = work / manifest.DATABASE
    copies.copy_database(folder.database_path, copy)
    entries: dict[str, Entry] = {}
    with open(
        portable.open_own(work / "copy.zip", os.O_RDWR | os.O_CREAT | os.O_EXCL), "wb"
    ) as out:
        with zipfile.ZipFile(out, "w", allowZip64=True) as archive:
            _add(archive, entries, manifest.DATABASE, _blocks(copy), zipfile.ZIP_DEFLATED)
            with copies.reading_copy(copy) as connection:
                lost = _add_uploads(archive, entries, folder, connection, may_miss)
                _add_journal(archive, entries, folder, connection)
                counts = archives.counts(connection)
            made_at = protocol.format_time(int(time.time()))
            _write_manifest(archive, manifest.write(entries, made_at, protocol.VERSION))
        out.flush()
        portable.sync_file(out.fileno())
    return Backup(counts, lost)


def _add_uploads(
    archive: zipfile.ZipFile,
    entries: dict[str, Entry],
    folder: DataFolder,
    connection: sqlite3.Connection,
    may_miss: bool,
) -> int:
    """Add the file of each row; return how many are missing, where they may."""
    files, lost = UploadFiles(folder.uploads_path), 0
    for disk_name, size in archives.disk_files(connection):
        try:
            _add(
                archive,
                entries,
                f"uploads/{disk_name}",
                _upload_blocks(files, disk_name, size),
                zipfile.ZIP_STORED,
            )
        except FileMissing:
            if not may_miss:
                raise
            lost += 1
    return lost


def _upload_blocks(files: UploadFiles, disk_name: str, size: int) -> Iterator[bytes]:
    for offset in range(0, max(size, 1), BLOCK_BYTES):
        yield files.read(disk_name, offset, BLOCK_BYTES)


def _add_journal(
    archive: zipfile.ZipFile,
    entries: dict[str, Entry],
    folder: DataFolder,
    connection: sqlite3.Connection,
) -> None:
    journal = Journal(folder.journal_path)
    newest = archives.newest_message(connection)
    for room_pk, day, path in journal.days():
        known = _files_of(connection, room_pk, day)
        frames = _joined(_frames_up_to(journal, path, newest, known))
        name = f"journal/room-{room_pk:06d}/{day}.frames"
        try:
            _add(archive, entries, name, frames, zipfile.ZIP_DEFLATED)
        except StorageError:
            if path.exists():
                raise  # else its time was over: `--retain` has removed it


def _files_of(connection: sqlite3.Connection, room_pk: int, day: str) -> set[tuple[str, str]]:
    """Return name and time, as in a packet, of each file that the copy knows of a room's day."""
    begin = protocol.parse_time(f"{day}T00:00:00Z")
    return {
        (name, protocol.format_time(sent_at))
        for name, sent_at in archives.files_of_day(connection, room_pk, begin)
    }


def _frames_up_to(
    journal: Journal, path: Path, newest: int, known: set[tuple[str, str]]
) -> Iterator[bytes]:
    """Yield the frames of a journal file but those of what was stored after the database was
    copied: to that one they would look as if it had lost something."""
    for payload in journal.read(path):
        if _FILE.search(payload):
            data = json.loads(payload)["data"]
            if (data["file_path"], data["timestamp"]) not in known:
                continue
        else:
            number = _MESSAGE_ID.search(payload)
            if number and int(number[1]) > newest:
                continue
        yield protocol.frame(payload)


def _joined(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in blocks: each write to a zip costs some microseconds."""
    block = bytearray()
    for part in parts:
        block += part
        if len(block) >= BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def _blocks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _add(
    archive: zipfile.ZipFile,
    entries: dict[str, Entry],
    name: str,
    blocks: Iterable[bytes],
    compression: int,
) -> None:
    digest, size, begun = hashlib.sha256(), 0, False
    blocks = iter(blocks)
    first = next(blocks, b"")  # a file that is gone is met before its entry is begun
    with archive.open(_zip_info(name, compression), "w", force_zip64=True) as entry:
        while first or not begun:
            begun = True
            digest.update(first)
            size += len(first)
            entry.write(first)
            first = next(blocks, b"")
    entries[name] = Entry(size, digest.hexdigest())


def _write_manifest(archive: zipfile.ZipFile, text: bytes) -> None:
    archive.writestr(_zip_info(manifest.MANIFEST, zipfile.ZIP_DEFLATED), text)


def _zip_info(name: str, compression: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, time.localtime()[:6])
    info.compress_type = compression
    info.external_attr = 0o600 << 16
    return info


def _give_name(made: Path, target: Path) -> None:
    """Give the finished file its name; FileExistsError where somebody has taken it meanwhile."""
    try:
        os.link(made, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links, as on memory sticks
        if os.path.lexists(target):
            raise FileExistsError(17, "the file is there already", str(target)) from None
        portable.replace(made, target)
    portable.sync_folder(target.parent)
