"""`restore`: a data folder made from a copy, if every byte of it is what the copy's list says.

Owns the checks of a zip that may come from anybody: names, kinds, sizes, SHA-256, and what the
database in it is. Never writes outside of the folder, and never over anything.

Called by the thread of a command.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Final

from server.archive import manifest
from server.archive.manifest import BadManifest, Entry
from storage import copies, portable
from storage.errors import FolderUnusable, StorageError, StorageFull, from_os_error

BLOCK_BYTES: Final = 1024 * 1024
WORK: Final = ".restoring"
"""The folder, within the new data folder, in which everything lies until all of it is checked. A
server refuses a folder that has it."""
IGNORED: Final = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", "lost+found"})
"""What a system puts into a folder by itself."""


class BadCopy(StorageError):
    """The zip can't be restored; the text is the reason, for the user."""


def restore_backup(source: Path, folder: Path) -> dict[str, Entry]:
    """Make the data folder `folder`, which is empty or not there, from the copy `source`; return
    what was in it. Raises BadCopy or StorageError; nothing is left then."""
    try:
        is_new = _refuse_used(folder)
        with open(source, "rb") as file, zipfile.ZipFile(file) as archive:
            entries = _listed(archive)
            if is_new:
                os.makedirs(folder.parent, mode=0o700, exist_ok=True)
                os.mkdir(folder, 0o700)
            try:
                _unpack(archive, entries, folder)
                if is_new:
                    portable.sync_above(folder)
            except BaseException:
                shutil.rmtree(folder if is_new else folder / WORK, ignore_errors=True)
                raise
        return entries
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        # RuntimeError: encrypted. NotImplementedError: a method that this Python lacks.
        raise BadCopy("it is no zip, or a damaged one, or was cut off") from None
    except OSError as error:
        raise from_os_error(error, f"restoring into {folder}") from error


def _refuse_used(folder: Path) -> bool:
    """Return whether the folder is to be made. Raises FolderUnusable where something is in it."""
    if not os.path.lexists(folder):
        return True
    if not folder.is_dir():
        raise FolderUnusable(f"{folder} is there already, and is no folder")
    found = sorted(set(os.listdir(folder)) - IGNORED)
    if found:
        left = " (left by a restore that was ended: remove it)" if found[0] == WORK else ""
        raise FolderUnusable(f"the folder {folder} is not empty: it holds {found[0]}{left}")
    return False


def _listed(archive: zipfile.ZipFile) -> dict[str, Entry]:
    """Return the files that the zip holds: exactly those that its manifest lists."""
    infos: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.filename in infos:
            raise BadCopy(f"it holds the file {info.filename!a:.80} twice")
        if kind and kind != stat.S_IFREG:
            raise BadCopy(f"it holds a link or a device, {info.filename!a:.80}")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadCopy("it is packed in a way that a copy never is")
        infos[info.filename] = info
    if manifest.MANIFEST not in infos:
        raise BadCopy("it has no list of its files, so it is no copy made by 'backup'")
    text = _read_bounded(archive, manifest.MANIFEST)
    try:
        entries = manifest.read(text)
    except BadManifest as problem:
        raise BadCopy(str(problem)) from None
    for name in infos.keys() - entries.keys() - {manifest.MANIFEST}:
        raise BadCopy(f"it holds a file that its list does not name: {name!a:.80}")
    for name, entry in entries.items():
        if name not in infos:
            raise BadCopy(f"it lacks the file {name}")
        if infos[name].file_size != entry.size:
            raise BadCopy(f"the file {name} has another size than its list says")
    return entries


def _read_bounded(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as file:
        text = file.read(manifest.MOST_BYTES + 1)
    if len(text) > manifest.MOST_BYTES:
        raise BadCopy("its list of files is too long")
    return text


def _unpack(archive: zipfile.ZipFile, entries: Mapping[str, Entry], folder: Path) -> None:
    portable.keep_private(folder, 0o700)
    needed, free = sum(entry.size for entry in entries.values()), shutil.disk_usage(folder).free
    if needed > free:
        raise StorageFull(f"it needs {needed:,} bytes, and the disk has {free:,} left")
    work = folder / WORK
    os.mkdir(work, 0o700)
    made = {work / "uploads", work / "journal"}
    for path in made:
        os.mkdir(path, 0o700)
    for name, entry in entries.items():
        target = work.joinpath(*name.split("/"))
        with suppress(FileExistsError):
            os.mkdir(target.parent, 0o700)
        made.add(target.parent)
        with archive.open(name) as packed:
            _write_checked(packed, target, name, entry)
    try:
        copies.check_copy(work / manifest.DATABASE)
    except FolderUnusable as problem:
        raise BadCopy(str(problem)) from None
    for path in made:
        portable.sync_folder(path)
    placed: list[str] = []
    try:
        # The database last: without it a server refuses the folder.
        for part in ("uploads", "journal", manifest.DATABASE):
            portable.sync_folder(work)
            portable.while_held(partial(os.rename, work / part, folder / part))
            placed.append(part)
        portable.sync_folder(folder)
        portable.while_held(partial(os.rmdir, work))
    except BaseException:
        with suppress(OSError):  # back to what is removed, the database first
            for part in reversed(placed):
                os.rename(folder / part, work / part)
        raise


def _write_checked(packed: IO[bytes], target: Path, name: str, entry: Entry) -> None:
    digest, left = hashlib.sha256(), entry.size
    descriptor = portable.open_own(target, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    with open(descriptor, "wb") as file:
        # One byte more than it may have is asked for: a zip can claim one size and unpack to
        # another.
        while block := packed.read(min(BLOCK_BYTES, left + 1)):
            left -= len(block)
            if left < 0:
                raise BadCopy(f"the file {name} is longer than its list says")
            digest.update(block)
            file.write(block)
        file.flush()
        portable.sync_file(file.fileno())
    if left or digest.hexdigest() != entry.sha256:
        raise BadCopy(f"the file {name} is not the one that was copied: its SHA-256 differs")
