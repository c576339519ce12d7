"""What is sent: a file as it is when the sending begins, or what comes out of a pipe.

Owns opening it, and noticing that it is another one meanwhile. Never talks to the server. For the
thread that sends.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import select
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from client.base.text import size_in_words
from client.errors import TransferFailed
from client.transfer_state import Transfer

_BLOCK_BYTES: Final = 64 * 1024
_SLICE_SECONDS: Final = 0.2
"""So long one wait for a pipe lasts: then it is asked whether the sending is cancelled."""


class SourceFile:
    """An open file in chunks, each of which must still be what it was when all were read first.

    `size` is in bytes, `sha256` that of all of it, `total` the number of chunks.
    """

    def __init__(self, file: IO[bytes], size: int, chunk_bytes: int, transfer: Transfer) -> None:
        self._file = file
        self.size = size
        self.chunk_bytes = chunk_bytes
        self.total = math.ceil(size / chunk_bytes)
        self._digests: list[bytes] = []
        whole = hashlib.sha256()
        file.seek(0)
        for number in range(1, self.total + 1):
            chunk = self._read(number)
            whole.update(chunk)
            self._digests.append(hashlib.sha256(chunk).digest())
            transfer.moved_at = time.monotonic()
            transfer.check()
        self.sha256 = whole.hexdigest()

    def chunk(self, number: int) -> bytes:
        """Return a chunk by its number, from 1. Raise `TransferFailed` where the file has
        changed."""
        self._file.seek((number - 1) * self.chunk_bytes)
        chunk = self._read(number)
        if hashlib.sha256(chunk).digest() != self._digests[number - 1]:
            raise _changed()
        return chunk

    def _read(self, number: int) -> bytes:
        due = min(self.chunk_bytes, self.size - (number - 1) * self.chunk_bytes)
        chunk = self._file.read(due)
        if len(chunk) != due:
            raise _changed()
        return chunk


def _changed() -> TransferFailed:
    return TransferFailed("the file was changed while it was sent: send it again")


def is_pipe(path: Path) -> bool:
    """Return whether a path is a pipe's, False for a file's. Raise OSError, or `TransferFailed` for
    a device, which may have no end."""
    mode = os.stat(path).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise TransferFailed(f"{path.name} is a device; only files and pipes can be sent")
    return stat.S_ISFIFO(mode)


@contextlib.contextmanager
def opened(path: Path, most: int, transfer: Transfer) -> Iterator[tuple[IO[bytes], int]]:
    """Open what is to be sent; give it and how many bytes of it, which more may follow in a file
    that grows.

    What comes out of a pipe is kept in a temporary file first, since its size must be told before:
    at most `most` bytes, 0 for any number. Raise OSError, or `TransferFailed`, also where nothing
    comes for longer than the transfer's patience.
    """
    if is_pipe(path):
        # without O_NONBLOCK the opening waits for a program at the other end
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with (
            open(number, "rb", buffering=0) as pipe,
            _copy(pipe, path, most, transfer) as copy,
        ):
            yield copy, copy.tell()
        return
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size:
            yield file, size
            return
        with _copy(file, path, most, transfer) as copy:  # as in /proc, where no size is told
            yield copy, copy.tell()


@contextlib.contextmanager
def _copy(source: IO[bytes], path: Path, most: int, transfer: Transfer) -> Iterator[IO[bytes]]:
    """Give a temporary file with all that comes until the end."""
    with tempfile.TemporaryFile() as copy:
        while True:
            transfer.check()
            if not _is_ready(source):
                continue
            block = source.read(_BLOCK_BYTES)
            if block is None:  # another reader of the pipe was quicker
                continue
            if not block:
                break
            copy.write(block)
            transfer.moved_at = time.monotonic()
            if most and copy.tell() > most:
                raise TransferFailed(
                    f"more than {size_in_words(most)} came out of {path.name}, which is what this "
                    "server takes at most"
                )
        yield copy


def _is_ready(source: IO[bytes]) -> bool:
    """Wait a moment for bytes or the end; Windows has no such waiting, and no such pipes."""
    if os.name == "nt":
        return True
    return bool(select.select([source], [], [], _SLICE_SECONDS)[0])
