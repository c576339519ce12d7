"""The flat files of uploads: `NAME.part` while it grows, `NAME` when it is complete, and in the
folder `orphans` what no row of the database names. Names are ours, never a user's.

Owns the folder `uploads`. Never knows which user, room or file name a file belongs to (see
`uploads`), never keeps a file open. Any thread may call `UploadFiles`; a `PartFile` belongs to one
thread at a time. All of it blocks on the disk.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from storage import portable
from storage.errors import from_os_error

__all__ = ["ORPHAN_DAYS", "PartFile", "UploadFiles", "new_name"]

ORPHAN_DAYS = 30
"""How long a file that no row names is kept."""

_NAME = re.compile(r"[0-9a-f]{32}")
_OURS = re.compile(r"([0-9a-f]{32})(\.part)?")
_BLOCK_BYTES = 1024 * 1024


def new_name() -> str:
    """Make a name for a flat file that no other has: 128 random bits in hexadecimal."""
    return secrets.token_hex(16)


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise from_os_error(error, doing) from error


class PartFile:
    """An upload's growing file, open for writing. Close it before `UploadFiles.finish` or `remove`:
    Windows renames no open file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data` at `offset` bytes from the start; a gap before it reads as zeros. Not
        synced."""
        with _translated("writing an upload"):
            descriptor = self._open_descriptor()
            os.lseek(descriptor, offset, os.SEEK_SET)
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]

    def sync(self) -> None:
        """Make what was written so far survive a power cut."""
        with _translated("syncing an upload"):
            portable.sync_file(self._open_descriptor())

    def close(self) -> None:
        """Close the file; a second call does nothing. Doesn't sync."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with _translated("closing an upload"):
                os.close(descriptor)

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError("this part file is closed")
        return self._descriptor


class UploadFiles:
    """The files in `folder`, which exists. OSErrors come out as StorageFull, FileMissing,
    StorageFailed or StorageError."""

    new_name = staticmethod(new_name)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._orphanage = folder / "orphans"

    # -- growing files -----------------------------------------------------------------------------

    def create(self, disk_name: str) -> PartFile:
        """Make a new part file, whose name survives a power cut; it must not exist."""
        with _translated("creating an upload"):
            part = PartFile(
                portable.open_own(self._part(disk_name), os.O_RDWR | os.O_CREAT | os.O_EXCL)
            )
            try:
                portable.sync_folder(self._folder)
            except OSError:
                part.close()
                raise
            return part

    def resume(self, disk_name: str) -> PartFile:
        """Open the part file of an upload that is open in the database, to write on. Raises
        FileMissing where it is gone.

        A crash between `finish` and the commit leaves the finished name; it is taken back.
        """
        with _translated("resuming an upload"):
            part, whole = self._part(disk_name), self._whole(disk_name)
            if not os.path.lexists(part) and os.path.lexists(whole):
                os.replace(whole, part)
            return PartFile(portable.open_own(part, os.O_RDWR))

    def finish(self, disk_name: str) -> None:
        """Give the complete file its final name, under which it survives a power cut; only then may
        its row be stored. Repeating it is fine."""
        part, whole = self._part(disk_name), self._whole(disk_name)
        with _translated("finishing an upload"):
            if os.path.lexists(part) or not os.path.lexists(whole):
                descriptor = portable.open_own(part, os.O_RDWR)
                try:
                    portable.sync_file(descriptor)
                finally:
                    os.close(descriptor)
                os.replace(part, whole)
            portable.sync_folder(self._folder)

    # -- reading -----------------------------------------------------------------------------------

    def open_part(self, disk_name: str) -> BinaryIO:
        """Open a growing file, to read; the caller closes it."""
        return self._reader(self._part(disk_name))

    def open_file(self, disk_name: str) -> BinaryIO:
        """Open a complete file, to read; the caller closes it."""
        return self._reader(self._whole(disk_name))

    def sha256(self, disk_name: str, part: bool) -> str:
        """Return the file's SHA-256 in hexadecimal, of the growing or of the complete one. Takes
        about a second for 500 MB."""
        digest = hashlib.sha256()
        with (
            self.open_part(disk_name) if part else self.open_file(disk_name) as file,
            _translated("reading an upload"),
        ):
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()

    # -- housekeeping ------------------------------------------------------------------------------

    def remove(self, disk_name: str) -> None:
        """Remove the growing and the complete file; there may be none."""
        with _translated("removing an upload"):
            self._part(disk_name).unlink(missing_ok=True)
            self._whole(disk_name).unlink(missing_ok=True)

    def part_names(self) -> list[str]:
        """Return the names of the growing files that are there, in no order."""
        with _translated("listing the uploads"):
            entries = os.listdir(self._folder)
        return [
            entry[: -len(".part")]
            for entry in entries
            if entry.endswith(".part") and _OURS.fullmatch(entry)
        ]

    def bring_back(self, known: set[str]) -> int:
        """Move what was set aside, and is in `known` now, back to its place; how many files. For
        the start, before anybody uploads: the database that knows them was put back."""
        count = 0
        with _translated("bringing uploads back"):
            for entry, name in self._orphans():
                if name in known and not os.path.lexists(self._folder / entry):
                    os.replace(self._orphanage / entry, self._folder / entry)
                    count += 1
            if count:
                portable.sync_folder(self._folder)
        return count

    def set_orphans_aside(self, known: set[str], now: float) -> int:
        """Move the files of ours whose name is not in `known` into `orphans`, and say how many.

        For the start, before anybody uploads. A file that no row names may be all that is left of
        an upload that a newer database knows, so it is kept for `ORPHAN_DAYS` from `now` (seconds
        since 1970). What isn't named in our way is left alone.
        """
        count = 0
        with _translated("setting orphaned uploads aside"):
            for entry in os.listdir(self._folder):
                ours = _OURS.fullmatch(entry)
                if ours is None or ours[1] in known:
                    continue
                with suppress(FileExistsError):
                    os.mkdir(self._orphanage, 0o700)
                os.replace(self._folder / entry, self._orphanage / entry)
                with suppress(OSError):  # a symbolic link that leads nowhere
                    os.utime(self._orphanage / entry, (now, now))
                count += 1
        return count

    def remove_old_orphans(self, now: float) -> int:
        """Remove what was set aside more than `ORPHAN_DAYS` ago, and say how many files."""
        count = 0
        with _translated("removing old orphaned uploads"):
            for entry, _ in self._orphans():
                path = self._orphanage / entry
                if path.lstat().st_mtime < now - ORPHAN_DAYS * 86_400:
                    path.unlink(missing_ok=True)
                    count += 1
        return count

    def _orphans(self) -> list[tuple[str, str]]:
        """Return (entry, disk name) of each file of ours that was set aside."""
        try:
            entries = os.listdir(self._orphanage)
        except FileNotFoundError:
            return []
        found = ((entry, _OURS.fullmatch(entry)) for entry in entries)
        return [(entry, ours[1]) for entry, ours in found if ours]

    def remove_orphans(self, known: set[str]) -> int:
        """Remove the files of ours whose name is not in `known`, and say how many. For the start,
        before anybody uploads.

        What isn't named in our way is left alone.
        """
        removed = 0
        with _translated("removing orphaned uploads"):
            for entry in os.listdir(self._folder):
                ours = _OURS.fullmatch(entry)
                if ours and ours[1] not in known:
                    (self._folder / entry).unlink(missing_ok=True)
                    removed += 1
        return removed

    def free(self) -> tuple[int, int]:
        """Return (bytes that this account may still write, size of the disk in bytes)."""
        with _translated("measuring the disk"):
            usage = shutil.disk_usage(self._folder)
        return usage.free, usage.total

    def _reader(self, path: Path) -> BinaryIO:
        with _translated("opening an upload"):
            return open(portable.open_own(path, os.O_RDONLY), "rb")

    def _whole(self, disk_name: str) -> Path:
        if not _NAME.fullmatch(disk_name):
            raise ValueError(f"a flat file's name is 32 hexadecimal digits, not {disk_name!r}")
        return self._folder / disk_name

    def _part(self, disk_name: str) -> Path:
        return self._whole(disk_name).with_suffix(".part")
