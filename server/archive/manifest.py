"""What a copy of the data folder has in it: the list of its files with size and SHA-256, as
`manifest.json` in the zip.

Owns its form, and which names a copy may hold at all. Reads and writes no file. Any thread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

MANIFEST: Final = "manifest.json"
DATABASE: Final = "chat.db"
FORMAT: Final = 1
MOST_BYTES: Final = 64 * 1024 * 1024
"""Of the manifest itself: enough for 400,000 files."""

# Nothing else lies in a data folder. No name of these leaves it, on any system.
_NAMES: Final = re.compile(
    r"chat\.db|uploads/[0-9a-f]{32}|journal/room-[0-9]{6,14}/[0-9]{4,5}-[0-9]{2}-[0-9]{2}\.frames"
)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class BadManifest(ValueError):
    """The text is no manifest; the reason is fit to be shown."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a copy: its bytes, and their SHA-256 in hexadecimal."""

    size: int
    sha256: str


def write(entries: Mapping[str, Entry], made_at: str, version: str) -> bytes:
    """Return the manifest of these files, by their names in the zip."""
    files = [
        {"name": name, "size": entry.size, "sha256": entry.sha256}
        for name, entry in entries.items()
    ]
    return json.dumps(
        {"format": FORMAT, "made_at": made_at, "version": version, "files": files}, indent=1
    ).encode()


def read(text: bytes) -> dict[str, Entry]:
    """Return the files that the manifest lists. Raises BadManifest where it is none, or lists what
    no data folder has."""
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise BadManifest(f"its format is {document['format']!r}, this version knows {FORMAT}")
        entries: dict[str, Entry] = {}
        for row in document["files"]:
            name = row["name"]
            if name in entries:
                raise BadManifest("its list names a file twice")
            entries[name] = _entry(row)
    except BadManifest:
        raise
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadManifest("its list of files can't be read") from None
    if DATABASE not in entries:
        raise BadManifest("it has no chat.db")
    return entries


def _entry(row: Mapping[str, Any]) -> Entry:
    name, size, sha256 = row["name"], row["size"], row["sha256"]
    if not _NAMES.fullmatch(name):
        raise BadManifest("its list names a file that no data folder has")
    if type(size) is not int or not 0 <= size < 2**53 or not _SHA256.fullmatch(sha256):
        raise BadManifest("its list of files can't be read")
    return Entry(size, sha256)
