"""One hand-in: its folder, how it is built and started, and the mark of its content.

Owns the reading of `chat.ini`. Never starts anything. Any thread.
"""

from __future__ import annotations

import configparser
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SETTINGS: Final = "chat.ini"
MOST_FILES: Final = 20_000
MOST_BYTES: Final = 500 * 1024 * 1024
"""What one hand-in may hold: it is copied before it is run."""
SETTINGS_BYTES: Final = 64 * 1024


class BadHandIn(ValueError):
    """The hand-in can't be run; the text says why and what to do, for its student, too."""


@dataclass(frozen=True)
class HandIn:
    """A student's folder. `start` and `build` are command lines, `build` "" where there is none."""

    name: str
    folder: Path
    start: str
    build: str


def read(folder: Path, start: str, build: str) -> HandIn:
    """Return the hand-in of a folder. What its chat.ini says comes before `start` and `build`.

    Raises BadHandIn.
    """
    own = _settings(folder / SETTINGS)
    hand_in = HandIn(folder.name, folder, own.get("start") or start, own.get("build") or build)
    if not hand_in.start:
        raise BadHandIn(
            f"nobody said how it is started: put a file {SETTINGS} into the folder, with the lines "
            "[chat] and start = python server.py {port} (or give --start-cmd)"
        )
    return hand_in


def _settings(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    try:
        with open(path, "rb") as file:
            text = file.read(SETTINGS_BYTES).decode("utf-8-sig")
        parser.read_string(text, SETTINGS)
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise BadHandIn(f"{SETTINGS} can't be read: {' '.join(str(error).split())}") from None
    if not parser.has_section("chat"):
        raise BadHandIn(f"{SETTINGS}: expected a section [chat] with a line start = COMMAND")
    unknown = set(parser["chat"]) - {"start", "build"}
    if unknown:
        raise BadHandIn(f"{SETTINGS}: {min(unknown)} is unknown; expected start and build")
    return dict(parser["chat"])


def files_of(folder: Path) -> Iterator[Path]:
    """Yield the plain files of a folder in the order of their paths; links are not followed.

    Raises BadHandIn where there are too many.
    """
    count = size = 0
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            if path.is_symlink() or not path.is_file():
                continue
            count, size = count + 1, size + path.stat().st_size
            if count > MOST_FILES or size > MOST_BYTES:
                raise BadHandIn(
                    f"it holds more than {MOST_FILES} files or {MOST_BYTES >> 20} MiB: take out "
                    "what a build makes anew"
                )
            yield path


def digest(hand_in: HandIn, how: str) -> str:
    """Return a mark of all that the hand-in holds and of how it is graded: with `--resume` one
    whose mark is known is kept."""
    whole = hashlib.sha256(f"{hand_in.start}\0{hand_in.build}\0{how}\0".encode("utf-8", "replace"))
    for path in files_of(hand_in.folder):
        with open(path, "rb") as file:
            name = path.relative_to(hand_in.folder).as_posix()
            inner = hashlib.sha256(name.encode("utf-8", "surrogateescape"))
            while block := file.read(1 << 20):
                inner.update(block)
        whole.update(inner.digest())
    return whole.hexdigest()
