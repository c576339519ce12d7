"""What Tab completes: commands, rooms, people, files, each where it belongs.

Owns that choice, and the names of people and files that can be completed. Reads the names of local
folders, nothing else. `completions` is called by the thread that reads what is typed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client.base.text import visible

MAX_FOUND: Final = 1_000
MAX_PEOPLE: Final = 5_000
MAX_NUMBERS: Final = 12  # messages: so many rows are looked through at a glance
MAX_SHOWN: Final = 60  # characters of each
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
    "/mute": "people",
    "/unmute": "people",
    "/kick": "people",
    "/ban": "people",
    "/unban": "people",
    "/hide": "messages",
    "/show": "messages",
    "/readonly": "switches",
    "/ids": "switches",
}


@dataclass(frozen=True)
class Words:
    """All that can be completed."""

    commands: Sequence[str]
    rooms: Sequence[str]
    people: Sequence[str]
    files: Sequence[str]
    modes: Sequence[str]
    messages: Sequence[tuple[int, str, str]] = ()
    """Number, sender and text of the last ones in this room, oldest first."""
    switches: Sequence[str] = ("on", "off")


class Choice(str):
    """A word that can be completed, with more words for who is to choose."""

    shown: str

    @classmethod
    def of(cls, word: str, shown: str) -> Choice:
        """Return the word, shown in other words than itself."""
        choice = cls(word)
        choice.shown = shown
        return choice


class KnownNames:
    """The people and files that were named so far. Any thread may tell of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the two below
        self._people: set[str] = set()
        self._files: list[str] = []

    def meet(self, name: str) -> None:
        """Take note of a person."""
        with self._lock:
            if len(self._people) < MAX_PEOPLE:
                self._people.add(name)

    def add_file(self, name: str) -> None:
        """Take note of one more file."""
        with self._lock:
            self._files.append(name)

    def set_files(self, names: Iterable[str]) -> None:
        """Take these files for all there are."""
        with self._lock:
            self._files = list(names)

    def people(self) -> list[str]:
        """Return the people, sorted."""
        with self._lock:
            return sorted(self._people)

    def files(self) -> list[str]:
        """Return the files, in the order in which they came."""
        with self._lock:
            return list(self._files)


def completions(before: str, words: Words) -> list[str]:
    """Return what may stand in place of the last word of `before`, sorted; only what a terminal can
    be shown."""
    command, space, rest = before.partition(" ")
    kind = _TAKES.get(command.lower()) if space else "commands" if before.startswith("/") else None
    last = before.rpartition(" ")[2]
    if kind == "commands":
        return _fitting(words.commands, last if last.startswith("/") else "/" + last, 0)
    if kind == "paths":
        return _fitting(_paths(rest), rest, len(rest) - len(last), os.path.normcase)
    if kind == "messages":
        return _numbers(words.messages, rest)
    if kind is not None:
        return _fitting(getattr(words, kind), rest, len(rest) - len(last))
    people = [f"@{name}" for name in words.people] if last.startswith("@") else words.people
    return _fitting([*people, *words.rooms, *words.files], last, 0)


def _numbers(messages: Sequence[tuple[int, str, str]], typed: str) -> list[str]:
    """Return the numbers of the last messages, the newest last, each with what was said."""
    found: list[str] = [
        Choice.of(str(number), f"{number} {visible(sender)}: {visible(text)}"[:MAX_SHOWN])
        for number, sender, text in messages
        if str(number).startswith(typed)
    ]
    return found[-MAX_NUMBERS:]


def _fitting(
    names: Iterable[str], typed: str, done: int, folded: Callable[[str], str] = str
) -> list[str]:
    """Return those that begin with what is typed, without the `done` characters that stand there
    already: names may hold spaces. Two texts are the same where `folded` makes them so."""
    return sorted(
        {
            name[done:]
            for name in names
            if folded(name).startswith(folded(typed)) and visible(name) == name
        }
    )[:MAX_FOUND]


def _paths(typed: str) -> list[str]:
    """Return the files and folders in the folder that `typed` names, in its own words and with its
    own slashes."""
    folder, name = os.path.split(typed)
    before = typed[: len(typed) - len(name)]
    slash = before[-1] if before.endswith(("/", os.sep)) else os.sep
    try:
        found = [
            entry
            for entry in Path(os.path.expanduser(folder) or ".").iterdir()
            if name or not entry.name.startswith(".")
        ]
    except (OSError, ValueError):
        return []
    return [before + entry.name + (slash if entry.is_dir() else "") for entry in found[:MAX_FOUND]]
