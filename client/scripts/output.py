"""What the commands for scripts print: data to stdout, talk and progress to stderr.

Owns the two forms of data, text and JSON (one object a line, in ASCII). Never asks the server. For
the main thread; progress comes from the thread that transfers, which is the same one here.
"""

from __future__ import annotations

import contextlib
import errno
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import protocol
from client.base.text import size_in_words, visible
from client.events import FileShared, Message
from client.records import Room


class NoReader(Exception):
    """Nobody reads stdout any more."""


class Output:
    """Data to stdout, as text or as JSON; talk to stderr."""

    def __init__(
        self, as_json: bool, stdout: TextIO | None = None, stderr: TextIO | None = None
    ) -> None:
        self.as_json = as_json
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        self._shown_at = 0.0

    def data(self, item: Mapping[str, Any], text: str) -> None:
        """Print one item: an object of JSON in ASCII, or `text`, which is harmless already. Raise
        `NoReader`."""
        try:
            print(json.dumps(item) if self.as_json else text, file=self._stdout, flush=True)
        except (OSError, ValueError) as error:  # ValueError: closed
            raise NoReader from error

    def bytes(self, path: Path) -> None:
        """Write the content of a file as it is. Raise `NoReader`."""
        try:
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    self._stdout.buffer.write(block)
            self._stdout.buffer.flush()
        except OSError as error:
            # A closed pipe is EINVAL on Windows, where no file was named.
            if error.errno not in (errno.EPIPE, errno.EINVAL) or error.filename is not None:
                raise
            raise NoReader from error

    def talk(self, text: str) -> None:
        """Say a line to people; it is no loss where nobody reads it."""
        with contextlib.suppress(OSError, ValueError):
            print(text, file=self._stderr, flush=True)

    def progress(self, verb: str, name: str) -> Callable[[int, int], None]:
        """Return a function that shows how far a file is, in one line, where stderr is a
        terminal."""

        def show(done: int, total: int) -> None:
            now = time.monotonic()
            if not self._stderr.isatty() or (done < total and now - self._shown_at < 0.2):
                return
            self._shown_at = now
            percent = done * 100 // total if total else 100
            sizes = f"{size_in_words(done)} of {size_in_words(total)}"
            text = f"{verb} {visible(name)}: {percent} %, {sizes}"
            print(f"\r{text:<70}", end="\n" if done == total else "", file=self._stderr, flush=True)

        return show


def message_item(message: Message) -> dict[str, Any]:
    """Return a message under the names of the protocol."""
    return {
        "type": "message",
        "room_id": message.room_id,
        "message_id": message.message_id,
        "sender_chatid": message.sender,
        "content": message.content,
        "timestamp": message.timestamp,
    }


def message_text(message: Message) -> str:
    """Return a message as one harmless line, its time by this machine's clock and zone."""
    return (
        f"{local_moment(message.timestamp)} {visible(message.sender)}: {visible(message.content)}"
    )


def local_moment(timestamp: str) -> str:
    """Return a time of the protocol by this machine's clock and zone, with its date."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(protocol.parse_time(timestamp)))
    except (ValueError, OverflowError, OSError):
        return visible(timestamp) or "(no time)"


def file_item(event: FileShared) -> dict[str, Any]:
    """Return the news of a file under the names of the protocol."""
    return {
        "type": "file",
        "room_id": event.room_id,
        "sender_chatid": event.sender,
        "file_path": event.file_path,
        "file_size": event.file_size,
        "timestamp": event.timestamp,
    }


def room_item(room: Room) -> dict[str, Any]:
    """Return a room under the names of the protocol."""
    return {
        "type": "room",
        "room_id": room.room_id,
        "name": room.name,
        "owner": room.owner,
        "private": room.private,
        "members": room.members,
        "unread": room.unread,
        "last_message_id": room.last_message_id,
    }
