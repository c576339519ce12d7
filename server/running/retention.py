"""`--retain DAYS`: what is older leaves for good, at the start and each night, while the chat goes
on.

Owns its thread. Every change goes through the writer, in transactions so short that nobody waits
for one; between two of them the others have their turn. Days are whole days, UTC, as the journal's
are: so the journal never has what the database lacks.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from protocol import Refusal, format_time
from server.base.deadline import Deadline
from server.base.threads import repeat
from server.handlers.context import Context
from server.running.housekeeping import Housekeeping
from server.writing.journaling import JournalKeeper
from storage import archives, erasing
from storage.errors import StorageError

log: Final = logging.getLogger("server.retention")
T = TypeVar("T")

DAY_SECONDS: Final = 86_400
NIGHT_HOUR: Final = 3
"""Of this machine's clock: the hour of the night's round."""
LOOK_SECONDS: Final = 60.0
STEP_SECONDS: Final = 0.005
"""How long a step erases at most, before its commit."""
HELD_SECONDS: Final = 0.025
"""Where the transaction of a step took longer, its commit included, the next step erases half as
many rows: no step is to hold the writer for 50 ms."""
PAUSE_SECONDS: Final = 0.02


class Retention:
    """The thread, and its rounds."""

    def __init__(
        self, context: Context, housekeeping: Housekeeping, journal: JournalKeeper
    ) -> None:
        self._context, self._housekeeping, self._journal = context, housekeeping, journal
        self._stopped = threading.Event()
        self._rows = erasing.FEW
        """How many rows the next step erases at most."""
        self._night = ""
        """The night whose round was made."""
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread, where anything is to leave at all."""
        if self._context.settings.retain:
            self._thread.start()

    def stop(self, seconds: float) -> None:
        """End the thread; a step that runs is finished first."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        repeat(self._turn, self._stopped.is_set)

    def _turn(self) -> None:
        # A night begins at its hour: what was before belongs to the last one.
        now = self._context.wall_clock.seconds()
        night = time.strftime("%Y-%m-%d", time.localtime(now - NIGHT_HOUR * 3600))
        if night != self._night:
            self._night = night
            self.make_round(now)
        self._stopped.wait(LOOK_SECONDS)

    def make_round(self, now: int) -> None:
        """Remove everything of days that ended more than `--retain` days before `now`."""
        days = self._context.settings.retain
        before = (now - days * DAY_SECONDS) // DAY_SECONDS * DAY_SECONDS
        try:
            counts = {
                # First: a start that finds the round half done would take what the journal has
                # more for lost, and offer to bring it back.
                "days of the journal": self._remove_days(format_time(max(0, before))[:10]),
                "messages": self._remove_messages(before),
                "files": self._remove_files(before),
                "acts": self._remove_rows(before),
            }
        except (StorageError, Refusal) as error:
            if not self._stopped.is_set():
                log.error("what is older than %d days could not be removed: %s", days, error)
            return
        if any(counts.values()):
            self._housekeeping.wants_empty_log = True
            told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
            log.info("removed what is older than %d days: %s", days, told)

    def _remove_messages(self, before: int) -> int:
        with self._context.database.reading() as reader:
            rooms = archives.all_rooms(reader)
        total = 0
        for room in rooms:
            while not self._stopped.is_set():
                with self._context.database.reading() as reader:
                    ids = erasing.old_messages(reader, room.pk, before)
                if not ids:
                    break
                total += self._in_steps(lambda c, ids=ids: erasing.erase_some(c, ids))  # type: ignore[misc]
        return total

    def _remove_rows(self, before: int) -> int:
        total = 0
        while not self._stopped.is_set():
            with self._context.database.reading() as reader:
                rows = erasing.old_rows(reader, before)
            if not rows:
                break
            total += self._in_steps(lambda c, rows=rows: erasing.erase_some_rows(c, rows))  # type: ignore[misc]
        return total

    def _in_steps(self, step: Callable[[sqlite3.Connection], int]) -> int:
        """Do `step` again and again until it returns 0; return the sum. Each transaction does as
        many as its time allows."""
        total = 0
        while not self._stopped.is_set():

            def change(connection: sqlite3.Connection) -> tuple[int, bool]:
                done, deadline = 0, Deadline(STEP_SECONDS)
                while True:
                    count = step(connection)
                    done += count
                    if not count or done >= self._rows or deadline.has_passed:
                        return done, bool(count)

            # What is erased is not sent again.
            done, is_more = self._context.writer.run(
                change, lambda *_: self._context.recent.clear()
            )
            total += done
            if not is_more:
                break
            self._adapt()
            self._stopped.wait(PAUSE_SECONDS)
        return total

    def _adapt(self) -> None:
        """Let the next step be shorter where the last transaction was long, else a little
        longer."""
        is_long = self._context.writer.last_commit_seconds > HELD_SECONDS
        self._rows = max(erasing.FEW, self._rows // 2) if is_long else self._rows + erasing.FEW

    def _remove_files(self, before: int) -> int:
        context, total = self._context, 0
        while not self._stopped.is_set():
            with context.database.reading() as reader:
                names = erasing.old_files(reader, before)
            if not names:
                break
            now = context.wall_clock.seconds()
            context.writer.run(partial(erasing.take_files_out, disk_names=names, now=now))
            for name in names:  # before their rows: whatever is left is met by the next round
                context.files.remove(name)
            context.writer.run(lambda c, names=names: erasing.erase_file_rows(c, names))  # type: ignore[misc]
            total += len(names)
            self._stopped.wait(PAUSE_SECONDS)
        return total

    def _remove_days(self, before: str) -> int:
        paths = self._journal.old_files(before)
        for path in paths:
            if self._stopped.is_set():
                break
            self._journal.empty(path)
            # On the writer's thread, which alone may have the file open.
            self._context.writer.run(lambda _, path=path: self._journal.remove(path))  # type: ignore[misc]
        return len(paths)
