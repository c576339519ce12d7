"""The flat-file journal: per room and day the very frames that its members received, as on the
wire.

    journal/room-000001/2026-11-23.frames     frames: 4-byte big-endian length, then that many bytes

Owns the folder `journal`. The database is the truth, this is a copy to replay, grep and show; so
nothing here syncs, and no failure here is fatal. Looks into a payload only to forget it: by its
sender, its message's id or its file. One thread at a time may call it.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from storage import portable
from storage.errors import StorageError, StorageFull, means_no_room

__all__ = ["FileFrame", "Journal"]

MAX_OPEN_FILES = 32
SLICE_BYTES = 16 * 1024 * 1024
_SUFFIX = ".frames"
_DAY = re.compile(r"[0-9]{4,5}-[0-9]{2}-[0-9]{2}")
_ROOM = re.compile(r"room-([0-9]{6,14})")
"""A longer number is none that the database has given."""
_PREFIX_BYTES = 4
# Within a text each quote stands as \", so that this can't be part of one.
_SENDER = re.compile(rb'"sender_chatid":"((?:[^"\\]|\\.)*)"')
_MESSAGE_ID = re.compile(rb'"message_id":([0-9]{1,15})')
_FORGOTTEN = b'{"action":"forgotten"}'
FileFrame = tuple[str, str, str]
"""What tells a `receive_file` from others: room, name and time."""


@dataclass(slots=True)
class _OpenFile:
    descriptor: int
    size: int  # in whole frames; what a failed write left behind it is cut away


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        text = f"{doing}: {error.strerror or error}"
        raise (StorageFull(text) if means_no_room(error) else StorageError(text)) from error


class Journal:
    """The journal in `folder`, which exists."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: OrderedDict[Path, _OpenFile] = OrderedDict()  # least recently used first

    def path(self, room_pk: int, day: str) -> Path:
        """Return where the frames of a room and day ("2026-11-23", UTC) lie."""
        if not _DAY.fullmatch(day):
            raise ValueError(f"a day is YYYY-MM-DD, not {day!r}")
        return self._folder / f"room-{room_pk:06d}" / f"{day}{_SUFFIX}"

    def append(self, room_pk: int, day: str, frames: bytes) -> None:
        """Add whole frames, one or many, to a room's day. All of them are in, or none and
        StorageError; not synced."""
        path = self.path(room_pk, day)
        with _translated(f"writing the journal {path.name} of room {room_pk}"):
            file = self._opened(path)
            left = memoryview(frames)
            try:
                while left:
                    left = left[os.write(file.descriptor, left) :]
            except OSError:
                self._cut_back(path, file)
                raise
            file.size += len(frames)

    def rooms(self) -> list[int]:
        """Return the numbers of the rooms that have files."""
        return sorted({room_pk for room_pk, _, _ in self.days()})

    def repair_room(self, room_pk: int) -> int:
        """Cut what a crash may have left to whole frames; how many files were cut. For the start.

        Looks at two files of the room, the one changed last and that of the latest day: nothing
        else was being written.
        """
        self.close()
        with _translated(f"repairing the journal of room {room_pk}"):
            folder = self.path(room_pk, "0000-00-00").parent
            files = list(folder.glob(f"*{_SUFFIX}"))
            if not files:
                return 0
            suspects = {max(files), max(files, key=lambda path: path.stat().st_mtime_ns)}
            return sum(_cut_to_whole_frames(path) for path in suspects)

    def days(self) -> list[tuple[int, str, Path]]:
        """Return every file as room number, day and path, each room's oldest day first."""
        found = []
        for path in self._folder.glob(f"room-*/*{_SUFFIX}"):
            room = _ROOM.fullmatch(path.parent.name)
            if room and _DAY.fullmatch(path.stem):
                found.append((int(room[1]), path.stem, path))
        return sorted(found)

    def read(self, path: Path) -> Iterator[bytes]:
        """Yield the payloads of a journal file in order, up to the first one that isn't whole."""
        with _translated(f"reading the journal {path.name}"), _opened_to_read(path) as file:
            for start, length in _frames(file):
                file.seek(start + _PREFIX_BYTES)
                yield file.read(length)

    def tail(self, room_pk: int, day: str, limit_bytes: int) -> list[bytes]:
        """Return the last payloads of a room's day, oldest first: as many as fit into
        `limit_bytes`, but at least one if there is any."""
        path = self.path(room_pk, day)
        if not path.exists():
            return []
        with _translated(f"reading the journal {path.name}"), _opened_to_read(path) as file:
            last: deque[tuple[int, int]] = deque()
            total = 0
            for start, length in _frames(file):
                last.append((start, length))
                total += length
                while total > limit_bytes and len(last) > 1:
                    total -= last.popleft()[1]
            payloads = []
            for start, length in last:
                file.seek(start + _PREFIX_BYTES)
                payloads.append(file.read(length))
        return payloads

    def old_files(self, before: str) -> list[Path]:
        """Return the files of days before this one ("2026-11-23"), what failed writes have left
        included."""
        return [
            path
            for path in sorted(self._folder.glob("room-*/*"))
            if path.suffix in (_SUFFIX, ".broken")
            and _DAY.fullmatch(path.stem)
            and (len(path.stem), path.stem) < (len(before), before)
        ]

    def empty(self, path: Path) -> None:
        """Make a file that is to be removed short, in slices. To remove 256 MB at once takes
        80 ms (measured, ext4), for which the writer would wait. Any thread."""
        with _translated(f"removing the journal {path.name}"), suppress(FileNotFoundError):
            size = os.stat(path).st_size
            while size > SLICE_BYTES:
                size -= SLICE_BYTES
                os.truncate(path, size)

    def remove(self, path: Path) -> None:
        """Remove a file of the journal, and its room's folder if it was the last in it."""
        file = self._open.pop(path, None)
        if file is not None:
            os.close(file.descriptor)
        with _translated(f"removing the journal {path.name}"):
            portable.remove(path)
            with suppress(OSError):
                os.rmdir(path.parent)

    def forget_sender(self, chatid: str, *, keep: bool, cut: bool) -> int:
        """Write over every frame that tells of a message or file of `chatid`, with one of the same
        length that tells nothing; with `keep` the text of a message stays, and its sender is "?".
        With `cut`, where nobody else writes, the half frame that a crash may have left goes, too.
        Return how many frames.

        Nothing is moved, so another process may append meanwhile. Files that a failed write has
        left behind are removed.
        """
        return self._write_over(lambda payload: _without_sender(payload, chatid, keep), cut=cut)

    def forget_up_to(self, message_id: int, files: Collection[FileFrame], *, cut: bool) -> int:
        """Do the same with every message up to this id, and with these files."""

        def other(payload: bytes) -> bytes | None:
            number = _MESSAGE_ID.search(payload)
            if number is not None:
                is_over = int(number[1]) <= message_id
            else:
                is_over = _file_frame(payload) in files
            return _FORGOTTEN.ljust(len(payload))[: len(payload)] if is_over else None

        return self._write_over(other, cut=cut)

    def _write_over(self, choose: Callable[[bytes], bytes | None], *, cut: bool) -> int:
        """Put what `choose` gives, if anything, in the place of each payload."""
        count = 0
        for path in self._folder.glob("room-*/*.broken"):
            portable.remove(path)
        for _, _, path in self.days():
            if cut:
                _cut_to_whole_frames(path)
            with (
                _translated(f"writing over the journal {path.name}"),
                open(portable.open_own(path, os.O_RDWR), "r+b") as file,
            ):
                for start, length in _frames(file):
                    file.seek(start + _PREFIX_BYTES)
                    other = choose(file.read(length))
                    if other is not None:
                        file.seek(start + _PREFIX_BYTES)
                        file.write(other)
                        count += 1
                file.flush()
                portable.sync_file(file.fileno())
        return count

    def close(self) -> None:
        """Close the files that are open; `append` opens them again."""
        while self._open:
            _, file = self._open.popitem()
            os.close(file.descriptor)

    def _opened(self, path: Path) -> _OpenFile:
        """Return the file, open for appending; the one unused the longest is closed for it."""
        file = self._open.get(path)
        if file is not None:
            self._open.move_to_end(path)
            return file
        with suppress(FileExistsError):
            os.mkdir(path.parent, 0o700)
        if len(self._open) >= MAX_OPEN_FILES:
            _, oldest = self._open.popitem(last=False)
            os.close(oldest.descriptor)
        descriptor = portable.open_own(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        file = self._open[path] = _OpenFile(descriptor, os.fstat(descriptor).st_size)
        return file

    def _cut_back(self, path: Path, file: _OpenFile) -> None:
        """Take a half-written batch away. Where even that fails, forget the file: half a frame must
        not get another behind it."""
        try:
            os.ftruncate(file.descriptor, file.size)
        except OSError:
            del self._open[path]
            os.close(file.descriptor)
            # Moved aside with its whole part readable; the next frames begin a file of their own.
            with suppress(OSError):
                portable.replace(path, path.with_suffix(".broken"))


def _without_sender(payload: bytes, chatid: str, keep: bool) -> bytes | None:
    """Return what is to stand in the place of a frame's payload; None where it is not `chatid`'s.
    Blanks between the parts of a JSON text mean nothing, so they fill it up."""
    found = _SENDER.search(payload)
    try:
        if found is None or json.loads(b'"' + found[1] + b'"') != chatid:
            return None
    except ValueError:
        return None  # none of our frames
    if keep and b'"action":"receive_message"' in payload:
        nobody = b'"?"'.ljust(len(found[1]) + 2)
        return payload[: found.start(1) - 1] + nobody + payload[found.end(1) + 1 :]
    return _FORGOTTEN.ljust(len(payload))[: len(payload)]


def _file_frame(payload: bytes) -> FileFrame | None:
    """Return what a `receive_file` is about; None for any other payload."""
    try:
        packet = json.loads(payload)
        data = packet["data"]
        found = str(data["room_id"]), str(data["file_path"]), str(data["timestamp"])
        return found if packet["action"] == "receive_file" else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


@contextmanager
def _opened_to_read(path: Path) -> Iterator[BinaryIO]:
    with open(portable.open_own(path, os.O_RDONLY), "rb") as file:
        yield file


def _frames(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield (where it starts, length of its payload) of each whole frame from the file's start on;
    end at the first that isn't whole."""
    size = os.fstat(file.fileno()).st_size
    start = 0
    while start + _PREFIX_BYTES < size:
        file.seek(start)
        length = int.from_bytes(file.read(_PREFIX_BYTES), "big")
        if length == 0 or start + _PREFIX_BYTES + length > size:
            return
        yield start, length
        start += _PREFIX_BYTES + length


def _cut_to_whole_frames(path: Path) -> bool:
    """Cut the file behind its last whole frame, or before a frame that a power cut left as zeros;
    return whether that was needed."""
    try:
        with open(portable.open_own(path, os.O_RDWR), "r+b") as file:
            whole = 0
            for start, length in _frames(file):
                file.seek(start + _PREFIX_BYTES)
                # No text begins so: blocks that were allocated and never written.
                if file.read(1) == b"\0":
                    break
                whole = start + _PREFIX_BYTES + length
            if whole == os.fstat(file.fileno()).st_size:
                return False
            file.truncate(whole)
            return True
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise
