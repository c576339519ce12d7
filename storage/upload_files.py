"""The flat files of uploads: `NAME.part` while it grows, `NAME` when it is complete, and in the
folder `orphans` what no row of the database names. Names are ours, never a user's.

Owns the folder `uploads`. Never knows which user, room or file name a file belongs to (see
`uploads`), never keeps a file open. Any thread may call it. All of it blocks on the disk.
"""

from __future__ import annotations

import errno
import hashlib
import os
import queue
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from storage import portable
from storage.errors import StorageError, StorageFull, from_os_error

__all__ = ["MOST_OPEN", "ORPHAN_DAYS", "UploadFiles", "new_name"]

MOST_OPEN = 32
"""Flat files that may be open at once: the reserve of descriptors counts on it."""
OPEN_SECONDS = 30.0
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


@contextmanager
def _left_where_held() -> Iterator[None]:
    """Go on past a file that another program holds open on Windows: the next start tries again."""
    try:
        yield
    except OSError as error:
        if not portable.is_held(error):
            raise


class UploadFiles:
    """The files in `folder`, which exists. OSErrors come out as StorageFull, FileMissing,
    StorageFailed or StorageError.

    No file stays open between two calls, and at most `MOST_OPEN` are open at once: whoever wants
    one more waits, up to `OPEN_SECONDS`, then StorageError. (An error of writing that the system
    meets later, between a write and its sync, is kept with the file and given to whoever syncs it
    next, by whichever descriptor: errseq_t in Linux.)
    """

    new_name = staticmethod(new_name)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._orphanage = folder / "orphans"
        # A semaphore's places; a SimpleQueue is written in C, and this is once for each chunk.
        self._places: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(MOST_OPEN):
            self._places.put(None)

    @contextmanager
    def _opened(self, path: str, flags: int) -> Iterator[int]:
        try:
            self._places.get(timeout=OPEN_SECONDS)
        except queue.Empty:
            raise StorageError(
                f"{MOST_OPEN} files of uploads were open for {OPEN_SECONDS:g} s"
            ) from None
        try:
            descriptor = portable.open_own(path, flags)
            try:
                yield descriptor
            finally:
                os.close(descriptor)
        finally:
            self._places.put(None)

    # -- growing files -----------------------------------------------------------------------------

    def create(self, disk_name: str) -> None:
        """Make the part file, empty, so that its name survives a power cut. It may be there."""
        with _translated("creating an upload"):
            with self._opened(self._part(disk_name), os.O_RDWR | os.O_CREAT):
                pass
            portable.sync_folder(self._folder)

    def write_at(self, disk_name: str, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data` into the part file, `offset` bytes from the start; a gap before it
        reads as zeros. Not synced. Raises FileMissing where there is no part file, and StorageFull
        also where the file system has no file that long."""
        with (
            _translated("writing an upload"),
            self._opened(self._part(disk_name), os.O_RDWR) as descriptor,
        ):
            try:
                os.lseek(descriptor, offset, os.SEEK_SET)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOVERFLOW):
                    raise
                raise StorageFull(f"writing an upload: no file can have {offset} bytes") from error
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]

    def sync(self, disk_name: str) -> None:
        """Make what was written into the part file so far survive a power cut."""
        with (
            _translated("syncing an upload"),
            self._opened(self._part(disk_name), os.O_RDWR) as descriptor,
        ):
            portable.sync_file(descriptor)

    def take_back(self, disk_name: str) -> None:
        """Make the file of an upload that is open in the database a part file again: it may have
        been finished, and its row not have been stored. Raises FileMissing where it is gone."""
        with _translated("resuming an upload"):
            part, whole = self._part(disk_name), self._whole(disk_name)
            if not os.path.lexists(part):
                portable.replace(whole, part)

    def finish(self, disk_name: str) -> None:
        """Give the complete file its final name, and make both survive a power cut; only then may
        its row be stored. Repeating it is fine."""
        part, whole = self._part(disk_name), self._whole(disk_name)
        with _translated("finishing an upload"):
            if os.path.lexists(part) or not os.path.lexists(whole):
                with self._opened(part, os.O_RDWR) as descriptor:
                    portable.sync_file(descriptor)
                portable.replace(part, whole)
            portable.sync_folder(self._folder)

    # -- reading -----------------------------------------------------------------------------------

    def read(self, disk_name: str, offset: int, size: int) -> bytes:
        """Return up to `size` bytes of a complete file, `offset` bytes from the start."""
        with (
            _translated("reading an upload"),
            self._opened(self._whole(disk_name), os.O_RDONLY) as descriptor,
        ):
            os.lseek(descriptor, offset, os.SEEK_SET)
            parts = []
            while size and (part := os.read(descriptor, size)):
                parts.append(part)
                size -= len(part)
            return b"".join(parts)

    def sha256(self, disk_name: str, part: bool) -> str:
        """Return the file's SHA-256 in hexadecimal, of the growing or of the complete one. Takes
        about a second for 500 MB."""
        digest = hashlib.sha256()
        path = self._part(disk_name) if part else self._whole(disk_name)
        with _translated("reading an upload"), self._opened(path, os.O_RDONLY) as descriptor:
            while block := os.read(descriptor, _BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()

    # -- housekeeping ------------------------------------------------------------------------------

    def remove(self, disk_name: str, *, leave_held: bool = False) -> None:
        """Remove the growing and the complete file; there may be none. With `leave_held` one that
        another program holds open is left."""
        with _translated("removing an upload"):
            for path in (self._part(disk_name), self._whole(disk_name)):
                with _left_where_held() if leave_held else nullcontext():
                    portable.remove(path)

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
                    with _left_where_held():
                        portable.replace(self._orphanage / entry, self._folder / entry)
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
                with _left_where_held():
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
                    with _left_where_held():
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

    def free(self) -> tuple[int, int]:
        """Return (bytes that this account may still write, size of the disk in bytes)."""
        with _translated("measuring the disk"):
            usage = shutil.disk_usage(self._folder)
        return usage.free, usage.total

    def _whole(self, disk_name: str) -> str:
        if not _NAME.fullmatch(disk_name):
            raise ValueError(f"a flat file's name is 32 hexadecimal digits, not {disk_name!r}")
        return os.path.join(self._folder, disk_name)

    def _part(self, disk_name: str) -> str:
        return f"{self._whole(disk_name)}.part"
