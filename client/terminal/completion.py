"""What Tab completes: commands, rooms, people, files, each where it belongs.

Owns that choice. Reads the names of local folders, nothing else. Called by the thread that reads
what is typed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client.base.text import visible

MAX_FOUND: Final = 1_000
_TAKES: Final[Mapping[str, str]] = {
    "/room": "rooms",
    "/join": "rooms",
    "/leave": "rooms",
    "/delete": "rooms",
    "/msg": "people",
    "/add": "people",
    "/remove": "people",
    "/get": "files",
    "/send": "paths",
    "/help": "commands",
    "/packets": "modes",
}


@dataclass(frozen=True)
class Words:
    """All that can be completed."""

    commands: Sequence[str]
    rooms: Sequence[str]
    people: Sequence[str]
    files: Sequence[str]
    modes: Sequence[str]


def completions(before: str, words: Words) -> list[str]:
    """What may stand in place of the last word of `before`, sorted; only what a terminal can be
    shown."""
    command, space, rest = before.partition(" ")
    kind = _TAKES.get(command.lower()) if space else "commands" if before.startswith("/") else None
    last = before.rpartition(" ")[2]
    if kind == "commands":
        return _fitting(words.commands, last if last.startswith("/") else "/" + last, 0)
    if kind == "paths":
        return _fitting(_paths(rest), rest, len(rest) - len(last))
    if kind is not None:
        return _fitting(getattr(words, kind), rest, len(rest) - len(last))
    people = [f"@{name}" for name in words.people] if last.startswith("@") else words.people
    return _fitting([*people, *words.rooms, *words.files], last, 0)


def _fitting(names: Iterable[str], typed: str, done: int) -> list[str]:
    """Those that begin with what is typed, without the `done` characters that stand there already:
    names may hold spaces."""
    return sorted(
        {name[done:] for name in names if name.startswith(typed) and visible(name) == name}
    )[:MAX_FOUND]


def _paths(typed: str) -> list[str]:
    """The files and folders in the folder that `typed` names, in its own words."""
    folder, name = os.path.split(typed)
    try:
        found = [
            entry
            for entry in Path(os.path.expanduser(folder) or ".").iterdir()
            if name or not entry.name.startswith(".")
        ]
    except (OSError, ValueError):
        return []
    return [
        os.path.join(folder, entry.name) + (os.sep if entry.is_dir() else "")
        for entry in found[:MAX_FOUND]
    ]
