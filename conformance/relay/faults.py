"""Faults: what a message is to suffer, and which messages.

Owns the form in which faults are written, as options, in an INI file and on the page, and the list
of those in force, with the state that makes them repeatable. Changes no byte itself: `changes` and
`way` do. The list may be used by any thread.

A fault as one line:  KIND [VALUE] [ACTION] [to=server|client] [user=NAME] [every=N] [first=N]
[p=0.1]. As a section of an INI file, with the same words as keys:

    [every second confirmation is lost]
    fault = drop
    action = confirm_count
    to = server
    every = 2
"""

from __future__ import annotations

import configparser
import dataclasses
import itertools
import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, final

from conformance.packets import Packet
from conformance.relay import changes, reading


@dataclass(frozen=True)
class Kind:
    """A kind of fault: what it does, and what its value means ("" for none)."""

    does: str
    value: str = ""
    usual: int = 0
    most: int = 0


KINDS: Final[dict[str, Kind]] = {
    "drop": Kind("the message is lost"),
    "delay": Kind("it comes so many milliseconds later, and all behind it", "MS", 500, 600_000),
    "duplicate": Kind("it comes twice"),
    "swap": Kind("it changes places with the next one"),
    "split": Kind("it comes in pieces of so many bytes", "BYTES", 1, 1_000_000),
    "join": Kind("it comes in one piece with the next one"),
    "cut": Kind("so many bytes of it come, then the connection is closed", "BYTES", 0, 1_000_000),
    "reset": Kind("the connection is reset instead"),
    "letter": Kind("one letter of `content` is another: the counts find it"),
    "anagram": Kind("two letters of `content` change places: the counts don't find it"),
    "count": Kind("one of the counts is one too high"),
    "id": Kind("it has another `transaction_id`"),
}

KEYS: Final = ("action", "to", "user", "every", "first", "p")
FORM: Final = "KIND [VALUE] [ACTION] [to=server|client] [user=NAME] [every=N] [first=N] [p=0.1]"


class BadFault(ValueError):
    """A fault that can't be understood; the text says what was expected."""


@dataclass(frozen=True)
class Fault:
    """One fault. It strikes each `every`-th message that fits, with the probability `p`, and after
    `first` strikes no more (0: for ever); each user's messages are counted by themselves."""

    kind: str
    value: int = 0
    action: str = "*"
    to: str = ""
    """ "server", "client", or "" for both."""
    user: str = "*"
    every: int = 1
    first: int = 0
    p: float = 1.0
    name: str = ""
    """What its author calls it."""

    @property
    def mark(self) -> str:
        """The kind with its value, as "delay 300"."""
        return f"{self.kind} {self.value}" if KINDS[self.kind].value else self.kind

    def __str__(self) -> str:
        """Return the fault as one line that `parse` reads."""
        usual = {each.name: each.default for each in dataclasses.fields(Fault)}
        words = [self.mark] + ([] if self.action == "*" else [self.action])
        for key in KEYS[1:]:
            value = getattr(self, key)
            if value != usual[key]:
                words.append(f"{key}={value:g}" if key == "p" else f"{key}={value}")
        return " ".join(words)

    def fits(self, user: str, to_server: bool, packet: Packet) -> bool:
        """Return whether it is about a packet, and can be done to it."""
        return (
            (not self.to or (self.to == "server") == to_server)
            and fnmatchcase(reading.action_of(packet), self.action)
            and (self.user == "*" or fnmatchcase(user, self.user))
            and changes.can_change(self.kind, packet)
        )


def parse(text: str) -> Fault:
    """Read a fault from one line, as "drop confirm_count to=server every=2". Raises `BadFault`."""
    words = text.split()
    if not words:
        raise BadFault(f"an empty fault; expected {FORM}")
    given: dict[str, str] = {"fault": words[0]}
    for place, word in enumerate(words[1:]):
        key, equals, value = word.partition("=")
        if equals:
            given[key] = value
        elif place == 0 and _is_number(word):
            given["fault"] += f" {word}"
        elif "action" not in given:
            given["action"] = word
        else:
            raise BadFault(f"{text!r}: {word!r} is one word too many; expected {FORM}")
    return from_keys(given)


def from_keys(given: dict[str, Any], name: str = "") -> Fault:
    """Make a fault from the keys of a section (all values as text). Raises `BadFault`."""
    unknown = sorted(given.keys() - {"fault", *KEYS})
    if unknown:
        raise BadFault(f"{unknown[0]!r} is no key of a fault; expected {', '.join(KEYS)}")
    kind, *values = str(given.get("fault", "")).split() or [""]
    if kind not in KINDS:
        raise BadFault(f"{kind!r} is no kind of fault; expected one of {', '.join(KINDS)}")
    to = str(given.get("to", ""))
    if to not in ("", "server", "client"):
        raise BadFault(f"to = {to}: expected server or client (or leave it out: both)")
    return Fault(
        kind,
        _value(kind, values),
        str(given.get("action") or "*"),
        to,
        str(given.get("user") or "*"),
        _number(given, "every", 1, 1),
        _number(given, "first", 0, 0),
        _probability(given),
        name,
    )


def _value(kind: str, values: list[str]) -> int:
    about = KINDS[kind]
    if not values:
        return about.usual
    if not about.value or len(values) > 1:
        raise BadFault(f"{kind} {' '.join(values)}: {kind} takes {about.value or 'no value'}")
    if not _is_number(values[0]) or int(values[0]) > about.most:
        raise BadFault(f"{kind} {values[0]}: expected {about.value} of 0 to {about.most}")
    return max(int(values[0]), 1 if kind == "split" else 0)


def _number(given: dict[str, Any], key: str, usual: int, least: int) -> int:
    text = str(given.get(key, usual))
    if not _is_number(text) or int(text) < least:
        raise BadFault(f"{key} = {text}: expected a whole number from {least}")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _probability(given: dict[str, Any]) -> float:
    text = str(given.get("p", "1"))
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise BadFault(f"p = {text}: expected a probability above 0 up to 1, as 0.1")
    return value


def read_file(path: str) -> list[Fault]:
    """Read the faults of an INI file; `BadFault` names the file and the line."""
    parser = configparser.ConfigParser(interpolation=None, default_section="\0none")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFault(f"the faults in {path} can't be read: {error}") from None
    try:
        parser.read_string(text, path)
    except configparser.Error as error:
        raise BadFault(_bad_ini(path, error)) from None
    found = []
    for section in parser.sections():
        try:
            found.append(from_keys(dict(parser[section]), section))
        except BadFault as problem:
            line = _line_of(text, section, str(problem))
            raise BadFault(f"{path}, line {line}, [{section}]: {problem}") from None
    if not found:
        raise BadFault(f"{path} has no fault; a section as [lost] with a line fault = drop is one")
    return found


def _bad_ini(path: str, error: configparser.Error) -> str:
    line: Any = getattr(error, "lineno", None)
    if line is None and isinstance(error, configparser.ParsingError) and error.errors:
        line = error.errors[0][0]
    what = {
        configparser.MissingSectionHeaderError: "a key before the first section: put [NAME] above",
        configparser.DuplicateSectionError: "a section of this name stands above: give it another",
        configparser.DuplicateOptionError: "this key stands in the section already",
    }.get(type(error), "neither [NAME] nor KEY = VALUE")
    return f"{path}, line {line}: {what}"


def _line_of(text: str, section: str, problem: str) -> int:
    """Return the line of the key that a complaint is about, else that of the section."""
    lines = text.splitlines()
    start = next((at for at, line in enumerate(lines) if line.strip() == f"[{section}]"), 0)
    key = (re.match(r"'?(\w+)", problem) or ["", "fault"])[1]
    for at in range(start + 1, len(lines)):
        if lines[at].lstrip().startswith("["):
            break
        name, value = [*re.split("[=:]", lines[at], maxsplit=1), ""][:2]
        if name.strip().lower() == key or (name.strip() == "fault" and key in value.split()):
            return at + 1
    return start + 1


@dataclass
class _State:
    """What one fault has seen of one user's messages."""

    lot: random.Random
    seen: int = 0
    struck: int = 0


@final
class FaultList:
    """The faults in force; `changed` is called when there are others."""

    def __init__(self, seed: int, changed: Callable[[], None] = lambda: None) -> None:
        self._seed = seed
        self._changed = changed
        self._lock = threading.Lock()  # guards all below
        self._numbers = itertools.count(1)
        self._faults: dict[int, Fault] = {}
        self._states: dict[tuple[int, str], _State] = {}
        self._struck: dict[int, int] = {}

    def add(self, fault: Fault) -> int:
        """Put a fault in force; returns its number."""
        with self._lock:
            number = next(self._numbers)
            self._faults[number] = fault
            self._struck[number] = 0
        self._changed()
        return number

    def remove(self, number: int) -> bool:
        """Take a fault back; whether there was one of this number."""
        with self._lock:
            found = self._faults.pop(number, None)
            self._states = {key: each for key, each in self._states.items() if key[0] != number}
        self._changed()
        return found is not None

    def all(self) -> list[tuple[int, Fault, int]]:
        """Return each fault with its number, and how often it has struck."""
        with self._lock:
            return [(each, fault, self._struck[each]) for each, fault in self._faults.items()]

    def touches(self, to_server: bool) -> bool:
        """Return whether the messages of this direction are to be looked at one by one: where a
        fault is about them. Those to the server are where there is any fault: the login among them
        says whose messages are counted."""
        with self._lock:
            return any(to_server or fault.to != "server" for fault in self._faults.values())

    def pick(
        self, user: str, to_server: bool, packet: Packet
    ) -> tuple[Fault, random.Random] | None:
        """Return the first fault that strikes this message, with the lot that it draws by."""
        found = self._pick(user, to_server, packet)
        if found is not None:
            self._changed()
        return found

    def _pick(
        self, user: str, to_server: bool, packet: Packet
    ) -> tuple[Fault, random.Random] | None:
        with self._lock:
            for number, fault in self._faults.items():
                if not fault.fits(user, to_server, packet):
                    continue
                state = self._state(number, user)
                state.seen += 1
                if fault.first and state.struck >= fault.first:
                    continue
                if state.seen % fault.every or state.lot.random() >= fault.p:
                    continue
                state.struck += 1
                self._struck[number] += 1
                return fault, state.lot
        return None

    def _state(self, number: int, user: str) -> _State:
        state = self._states.get((number, user))
        if state is None:
            lot = random.Random(f"{self._seed}/{number}/{user}")
            state = self._states[number, user] = _State(lot)
        return state
