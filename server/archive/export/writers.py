"""The forms of an export but the page: CSV for spreadsheets, JSON lines for programs, plain text.

Owns how each one keeps hostile text harmless. Each function writes one room into an open file. Any
thread.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterable
from typing import Final, TextIO

import protocol
from server.archive.export.entries import Entry
from server.base.logs import printable

COLUMNS: Final = ("room", "number", "time", "sender", "kind", "text", "bytes", "sha256", "path")
LONGEST_TEXT: Final = 2**31

# What a spreadsheet takes for a formula (https://owasp.org/www-community/attacks/CSV_Injection),
# also as full-width characters.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# Control characters but tab and line ends, as the pictures that Unicode has for them.
CONTROL_PICTURES: Final = {
    **{code: 0x2400 + code for code in range(32) if code not in (9, 10, 13)},
    0x7F: 0x2421,
}


def harmless_cell(text: str) -> str:
    """Return `text` so that no spreadsheet computes it: an apostrophe stands before what would be a
    formula, and control characters become their pictures."""
    shown = text.translate(CONTROL_PICTURES)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def write_csv(file: TextIO, room_id: str, entries: Iterable[Entry]) -> int:
    """Write a table; return how many rows. The file is to be opened as utf-8-sig: without that
    mark Excel takes UTF-8 for something else."""
    table = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    table.writerow(COLUMNS)
    count, room = 0, harmless_cell(room_id)
    for entry in entries:
        count += 1
        table.writerow(
            (
                room,
                entry.number,
                protocol.format_time(entry.sent_at),
                harmless_cell(entry.sender),
                entry.kind,
                harmless_cell(entry.text),
                "" if entry.size is None else entry.size,
                entry.sha256,
                harmless_cell(entry.path),
            )
        )
    return count


def write_jsonl(file: TextIO, room_id: str, entries: Iterable[Entry]) -> int:
    """Write one JSON object a line; return how many."""
    count = 0
    for entry in entries:
        count += 1
        row = {
            "room": room_id,
            "number": entry.number,
            "time": protocol.format_time(entry.sent_at),
            "sender": entry.sender,
            "kind": entry.kind,
            "text": entry.text,
        }
        if entry.kind == "file":
            row |= {"bytes": entry.size, "sha256": entry.sha256, "path": entry.path}
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return count


def write_txt(file: TextIO, room_id: str, entries: Iterable[Entry]) -> int:
    """Write lines as a chat shows them, by this machine's clock; return how many entries. The
    further lines of a text are indented, so that none can be taken for another's."""
    file.write(f"Room {printable(room_id, LONGEST_TEXT)}\n")
    count, day = 0, ""
    for entry in entries:
        count += 1
        moment = time.localtime(entry.sent_at)
        today = time.strftime("%A, %Y-%m-%d", moment)
        if today != day:
            day = today
            file.write(f"\n{day}\n")
        lines = [printable(line, LONGEST_TEXT) for line in entry.text.splitlines() or [""]]
        text = "\n      ".join(lines)
        if entry.kind == "file":
            text = f"sent the file {text} ({entry.size} bytes)"
        elif entry.kind == "announcement":
            text = f"ANNOUNCES {text}"
        file.write(f"{time.strftime('%H:%M', moment)} {entry.sender}: {text}\n")
    return count
