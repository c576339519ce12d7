"""Recordings: a file of our own frames that holds what passed a relay, with times; and journals.

A recording is a row of frames, as on the wire: four length bytes, then JSON. The first says what it
is; then come notes (`kind`, `at` in seconds), and behind each note of kind `frame` or `raw` the
very bytes that passed, as frames of their own: as they came, then what was sent instead, if
anything was. So `python protocol.py FILE` can list it, too. Passwords and keys are stars of the
same length. A file that was cut off is read up to its last whole frame.

Owns the file while it is written. `Recorder` is for the thread "relay-traffic".
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, final

from conformance.packets import data_of, frame
from conformance.relay import reading
from conformance.relay.frames import HEADER_BYTES, Cutter, Piece
from conformance.relay.traffic import Closed, Instead, Item, Opened, Passed, Remark

VERSION: Final = 1


class BadRecording(ValueError):
    """A file that is neither a recording nor a journal; the text says what was expected."""


@dataclass(frozen=True)
class Recording:
    """What a file holds: about itself, and what passed, in order."""

    about: dict[str, Any]
    items: list[Item]

    @property
    def began(self) -> float:
        """When it began, as seconds since 1970."""
        began = self.about.get("began")
        return float(began) if isinstance(began, (int, float)) else 0.0

    @property
    def length(self) -> float:
        """How many seconds it takes."""
        return max((item.at for item in self.items), default=0.0)


@final
class Recorder:
    """Writes what passes into a new file. OSError where it can't be made."""

    def __init__(self, path: str, about: dict[str, Any]) -> None:
        self._path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
        self._file = open(os.open(path, flags, 0o600), "wb")  # noqa: SIM115  while the relay runs
        self._is_broken = False
        self._write({"recording": VERSION, "began": time.time(), **about})

    def __call__(self, item: Item) -> None:
        """Take the next item of the traffic."""
        if isinstance(item, Passed):
            kind = "frame" if item.piece.is_frame else "raw"
            note = {
                "kind": kind,
                "at": item.at,
                "connection": item.connection,
                "row": item.row,
                "to": "server" if item.to_server else "client",
            }
            if item.fault:
                note["fault"] = item.fault
            if item.is_held:
                note["held"] = True
            if item.sent is not None:
                note["sent"] = len(item.sent)
            data = item.piece.data if item.piece.is_frame else frame(item.piece.data)
            self._write(note, data, *(item.sent or ()))
        elif isinstance(item, Opened):
            self._write(_note("open", item, connection=item.connection, address=item.address))
        elif isinstance(item, Closed):
            self._write(_note("close", item, connection=item.connection, how=item.how))
        elif isinstance(item, Remark):
            self._write(_note("remark", item, row=item.row, text=item.text))
        elif isinstance(item, Instead):
            self._write(_note("instead", item, row=item.row, sent=len(item.sent)), *item.sent)

    def close(self) -> None:
        """End the file."""
        self._file.close()

    def _write(self, note: dict[str, Any], *frames: bytes) -> None:
        if self._is_broken:
            return
        data = [frame(json.dumps(note).encode())]
        data += [
            each[:HEADER_BYTES] + reading.without_secrets(each[HEADER_BYTES:]) for each in frames
        ]
        try:
            self._file.write(b"".join(data))
            self._file.flush()
        except OSError as error:  # the relay goes on without it
            self._is_broken = True
            print(f"relay: the recording {self._path} ends here: {error}", file=sys.stderr)


def _note(kind: str, item: Item, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "at": item.at, **more}


# --- Reading --------------------------------------------------------------------------------------


def read_file(path: str) -> Recording:
    """Read a recording, or a journal of the server. Raises `BadRecording`."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BadRecording(f"{path} can't be read: {error.strerror or error}") from None
    pieces = Cutter().feed(data)
    if not pieces or not pieces[0].is_frame:
        raise BadRecording(
            f"{path} is no recording: expected what relay --record wrote, or a journal "
            "(chat-data/journal/room-000001/DAY.frames)"
        )
    first = reading.read(pieces[0].payload) or {}
    if "recording" not in first:
        return _journal(path, [each for each in pieces if each.is_frame])
    if first["recording"] != VERSION:
        raise BadRecording(f"{path} was made by a newer kit (version {first['recording']})")
    try:
        return Recording(first, list(_items(iter(pieces[1:]))))
    except (KeyError, TypeError, ValueError) as error:
        raise BadRecording(f"{path} is damaged: {error!r}") from None


def _items(pieces: Iterator[Piece]) -> Iterator[Item]:
    for piece in pieces:
        note = reading.read(piece.payload)
        if note is None or not piece.is_frame:
            raise ValueError("bytes that are no note")
        item = _item(note, pieces)
        if item is None:
            return  # cut off in the middle
        yield item


def _item(note: dict[str, Any], pieces: Iterator[Piece]) -> Item | None:
    kind, at = note["kind"], float(note["at"])
    if kind == "open":
        return Opened(at, note["connection"], str(note["address"]))
    if kind == "close":
        return Closed(at, note["connection"], str(note["how"]))
    if kind == "remark":
        return Remark(at, note["row"], str(note["text"]))
    count = int(note.get("sent", 0)) + (kind != "instead")
    frames = [each.data for _, each in zip(range(count), pieces, strict=False)]
    if len(frames) < count:
        return None
    if kind == "instead":
        return Instead(at, note["row"], tuple(frames))
    came = Piece(frames[0], True) if kind == "frame" else Piece(frames[0][HEADER_BYTES:], False)
    return Passed(
        at,
        note["connection"],
        note["row"],
        note["to"] == "server",
        came,
        str(note.get("fault", "")),
        tuple(frames[1:]) if "sent" in note else None,
        is_held=bool(note.get("held")),
    )


def _journal(path: str, pieces: list[Piece]) -> Recording:
    """Read a journal: what the members of a room were sent, each packet with its own time."""
    packets = [reading.read(piece.payload) or {} for piece in pieces]
    times = [_time_of(data_of(packet).get("timestamp")) for packet in packets]
    began = next((each for each in times if each is not None), 0.0)
    items: list[Item] = [Opened(0.0, 1, "the room's members")]
    at = 0.0
    for row, (piece, moment) in enumerate(zip(pieces, times, strict=True), 1):
        at = at if moment is None else max(at, moment - began)
        items.append(Passed(at, 1, row, False, piece))
    return Recording({"journal": path, "began": began}, items)


def _time_of(text: Any) -> float | None:
    try:
        moment = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
