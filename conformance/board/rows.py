"""The rows of a board: who has told what, and since when the same thing fails.

Owns the rows and their keys. A row belongs to who made it: the key that comes with each telling is
its own, kept as a hash, and shown to nobody. Everything that is told is checked here, and bounded.
Any thread.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, final

from conformance.board.keeping import Keeping
from conformance.reports.words import harmless, spreadsheet_cell
from conformance.rules import RULES
from conformance.stages.plan import STAGES
from conformance.verdicts import LEVELS

MAX_ROWS: Final = 200
MAX_NAME: Final = 40
"""Characters of a name; more are cut."""
MAX_HOLDS: Final = 1000
MAX_COUNT: Final = 10**6
KINDS: Final = ("server", "client")
RUNNING_SECONDS: Final = 40.0
"""So long after its last word a run counts as running; the kit speaks each 15 s."""
RULE: Final = re.compile(r"R-[A-Z]{1,10}-[0-9]{1,4}")
KEY: Final = re.compile(r"[0-9a-f]{64}")
FULL: Final = (
    f"The board is full: it shows {MAX_ROWS} rows. The teacher can remove rows on its page."
)


class BadTelling(ValueError):
    """What was told, or asked, can't be; the text says why."""


@dataclass(frozen=True)
class Row:
    """What one student's program has come to. `stage` is how many stages hold, None where that is
    not known; `failing` a rule, "" where none fails; `since` and `told` are seconds since 1970."""

    number: int
    name: str
    kind: str
    since: float
    told: float
    stage: int | None = None
    percent: float | None = None
    level: str = ""
    failing: str = ""
    fails: int = 0


@final
class Rows:
    """All rows of one board; `on_change` is called after each change, with no lock held."""

    def __init__(
        self,
        keeping: Keeping,
        on_change: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keeping, self._on_change, self._clock = keeping, on_change, clock
        self._lock = threading.Lock()  # guards all that follows, and the file
        self._rows: dict[str, Row] = {}
        self._running: dict[int, tuple[float, int]] = {}
        self._trouble = ""
        self._shows_names = keeping.about("names") != "hidden"
        for number, key, value in keeping.rows():
            self._rows[key] = Row(**{**value, "number": number})
        self._last = max((row.number for row in self._rows.values()), default=0)

    # --- What programs tell -----------------------------------------------------------------------

    def tell(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Take what a run tells; return its row's number, and the name that is shown for it.

        Raises BadTelling for what has another form, and for a row more than the board has.
        """
        key, was = (_key_of(asked, name) for name in ("key", "was"))
        if not key:
            raise BadTelling("A telling needs its key.")
        name = _name_of(asked)
        kind = _one_of(asked, "kind", KINDS)
        result = asked.get("result")
        cases = _count_of(asked, "cases")
        with self._lock:
            if key not in self._rows and was in self._rows:
                self._rows[key] = self._rows.pop(was)  # who had no name has one now
            old = self._rows.get(key)
            if old is None and len(self._rows) >= MAX_ROWS:
                raise BadTelling(FULL)
            now = self._clock()
            if old is None:
                self._last += 1
                old = Row(self._last, name, kind, now, now)
            row = replace(old, name=name, kind=kind, told=now)
            if result is not None:
                row = _with_result(row, result, now)
            if asked.get("running") is True:
                self._running[row.number] = (time.monotonic(), cases)
            else:
                self._running.pop(row.number, None)
            is_new = key not in self._rows
            self._rows[key] = row
            if is_new or replace(old, told=now) != row or result is not None:
                self._keep(lambda: self._keeping.set_row(row.number, key, _kept(row)))
            shown = self._names()[row.number]
        self._on_change()
        return {"number": row.number, "shown": shown}

    def _keep(self, write: Callable[[], None]) -> None:
        """Write to the file; what that fails by is shown, and the board goes on."""
        try:
            write()
            self._trouble = ""
        except sqlite3.Error as error:
            self._trouble = f"The board's file can't be written, so a restart loses this: {error}"

    # --- What the page asks -----------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Return all that the page shows, in the order of numbers; times as seconds ago."""
        with self._lock:
            now, moment = self._clock(), time.monotonic()
            names = self._names()
            rows = []
            for row in sorted(self._rows.values(), key=lambda row: row.number):
                said, cases = self._running.get(row.number, (0.0, 0))
                is_running = row.number in self._running and moment - said < RUNNING_SECONDS
                shown = {
                    "name": names[row.number],
                    "since": max(0.0, now - row.since),
                    "told": max(0.0, now - row.told),
                    "running": is_running,
                    "cases": cases if is_running else 0,
                }
                rows.append({**asdict(row), **shown})
            return {
                "stages": [{"word": stage.word, "goal": stage.goal} for stage in STAGES],
                "rules": {
                    row.failing: RULES[row.failing].sentence
                    for row in self._rows.values()
                    if row.failing in RULES
                },
                "names": self._shows_names,
                "trouble": self._trouble,
                "rows": rows,
            }

    def show_names(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Show names to everybody who looks on, or numbers in their place."""
        shows = asked.get("show")
        if not isinstance(shows, bool):
            raise BadTelling("Say whether names are shown: true or false.")
        with self._lock:
            self._shows_names = shows
            self._keep(lambda: self._keeping.set_about("names", "shown" if shows else "hidden"))
        self._on_change()
        return {}

    def remove(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Remove a row; its program may make a new one."""
        with self._lock:
            key = next(
                (k for k, row in self._rows.items() if row.number == asked.get("number")), ""
            )
            if not key:
                raise BadTelling("This row is gone already.")
            number = self._rows.pop(key).number
            self._running.pop(number, None)
            self._keep(lambda: self._keeping.remove_row(number))
        self._on_change()
        return {}

    def table(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return all rows as CSV, with their names, also where the page hides them."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(
            ("number", "name", "kind", "stage", "percent", "level", "fails now", "since", "told")
        )
        with self._lock:
            for row in sorted(self._rows.values(), key=lambda row: row.number):
                stage = "" if row.stage is None else row.stage
                percent = "" if row.percent is None else f"{row.percent:.1f}"
                times = (_in_words(row.since), _in_words(row.told))
                name = spreadsheet_cell(row.name)
                head = (row.number, name, row.kind, stage, percent, row.level)
                writer.writerow((*head, row.failing, *times))
        return {"csv": text.getvalue()}

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._keeping.close()

    def _names(self) -> dict[int, str]:
        """Return by row's number what is shown as its name: two of one name are told apart."""
        seen: Counter[str] = Counter()
        names = {}
        for row in sorted(self._rows.values(), key=lambda row: row.number):
            name = row.name if self._shows_names else ""
            seen[name.casefold()] += 1
            again = seen[name.casefold()]
            names[row.number] = (
                (f"{name} ({again})" if again > 1 else name) if name else f"student {row.number}"
            )
        return names


def _with_result(row: Row, result: Any, now: float) -> Row:
    """Return the row after a run's result. A run of some cases only changes what it looked at."""
    if not isinstance(result, dict):
        raise BadTelling("The result is no object.")
    stage = None if result.get("stage") is None else _count_of(result, "stage", len(STAGES))
    failing = result.get("failing", "")
    if not isinstance(failing, str) or (failing and not RULE.fullmatch(failing)):
        raise BadTelling("What fails is named by its rule, as R-MSG-1.")
    holds = result.get("holds", [])
    if not isinstance(holds, list) or len(holds) > MAX_HOLDS:
        raise BadTelling(f"What holds is a list of {MAX_HOLDS} rules at most.")
    is_whole, fails = result.get("whole") is True, _count_of(result, "fails")
    if is_whole:
        possible = _points_of(result, "possible")
        percent = 100 * min(1.0, _points_of(result, "got") / possible) if possible else 0.0
        level = _one_of(result, "level", LEVELS)
        row = replace(row, stage=stage, percent=round(percent, 1), level=level)
    elif failing and stage is not None:
        row = replace(row, stage=stage)
    elif stage is not None:
        row = replace(row, stage=max(stage, row.stage or 0))
    if not (is_whole or failing or row.failing in holds):
        return row
    since = row.since if failing == row.failing else now
    return replace(row, failing=failing, fails=fails, since=since)


def _kept(row: Row) -> dict[str, Any]:
    return {key: value for key, value in asdict(row).items() if key != "number"}


def _key_of(asked: Mapping[str, Any], name: str) -> str:
    """Return the hash of a key, "" where there is none."""
    key = asked.get(name, "")
    if not isinstance(key, str) or (key and not KEY.fullmatch(key)):
        raise BadTelling("A key is 64 hex digits.")
    return hashlib.sha256(key.encode("ascii")).hexdigest() if key else ""


def _name_of(asked: Mapping[str, Any]) -> str:
    name = asked.get("name", "")
    if not isinstance(name, str):
        raise BadTelling("A name is a text.")
    return harmless(name[:MAX_NAME].strip())[:MAX_NAME]


def _one_of(asked: Mapping[str, Any], name: str, values: tuple[str, ...]) -> str:
    value = asked.get(name)
    if value not in values:
        raise BadTelling(f"{name} is one of {', '.join(values)}.")
    return str(value)


def _count_of(asked: Mapping[str, Any], name: str, most: int = MAX_COUNT) -> int:
    value = asked.get(name, 0)
    if type(value) is not int or not 0 <= value <= most:
        raise BadTelling(f"{name} is a whole number from 0 to {most}.")
    return value


def _points_of(asked: Mapping[str, Any], name: str) -> float:
    value = asked.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadTelling(f"{name} is a number.")
    if not 0 <= value <= MAX_COUNT:  # nor is it NaN
        raise BadTelling(f"{name} are points from 0 to {MAX_COUNT}.")
    return float(value)


def _in_words(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
