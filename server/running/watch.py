"""The watch: the one thread that looks at the clock, so that no client's thread has to.

Owns the time limits of connections (login, unfinished frame), of open transactions and of uploads
nobody goes on with, the bound on memory, and how long a thread may compute before others get their
turn (the GIL's switch interval). It closes by shutting a connection down; the client's own thread
then cleans up.
"""

from __future__ import annotations

import logging
import sqlite3
import sys
import threading
from collections.abc import Callable
from typing import Final

from protocol import Refusal
from server.base.threads import repeat
from server.handlers.context import Context
from storage import uploads
from storage.errors import StorageError

log: Final = logging.getLogger("server.watch")

SWITCH_SECONDS: Final = sys.getswitchinterval()
"""Python's default switch interval for the GIL: a thread that waits for the GIL wakes up this often
to ask for it."""
WAKES_A_SECOND: Final = 20_000
"""How often all waiting threads together may wake up for the GIL. Where 9,900 clients leave at
once, each of their threads waits for it: at Python's 5 ms they woke up two million times a second
and were gone after 10 to 40 s, at 0.5 s after three (measured, 2 cores). With 100 clients it stays
at 5 ms."""


SOON_SECONDS: Final = 0.005
"""How long the watch waits for closed clients' threads before it looks again."""
LATER_SECONDS: Final = 0.1
"""How long it waits where there was nobody to close."""


class Watch:
    """The thread, and what it does at each look."""

    LONGEST_TICK_SECONDS: Final = 1.0
    UPLOADS_EVERY_SECONDS: Final = 600.0

    def __init__(self, context: Context, also: Callable[[], None] = lambda: None) -> None:
        """`also` is called at each look, too."""
        self._context, self._also = context, also
        self._stopped = threading.Event()
        self._uploads_seen_at: float | None = None
        self._look_at = 0.0
        timeouts = (
            context.settings.login_timeout,
            context.settings.frame_timeout,
            context.settings.transaction_timeout,
        )
        self._tick = min(
            [self.LONGEST_TICK_SECONDS, *(timeout / 4 for timeout in timeouts if timeout)]
        )
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End the thread."""
        self._stopped.set()
        self._context.budget.over.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        repeat(self._turn, self._stopped.is_set)

    def _turn(self) -> None:
        is_over = self._context.budget.over.wait(self._tick)
        if self._stopped.is_set():
            return
        if is_over:
            # the threads of those who were closed give more memory back
            self._stopped.wait(SOON_SECONDS if self.make_room() else LATER_SECONDS)
        if not is_over or self._context.clock() >= self._look_at:
            self._look_at = self._context.clock() + self._tick
            self.look()

    def look(self) -> None:
        """Close the connections that are late, drop what was not confirmed or gone on with, and set
        the switch interval; `also` follows."""
        context = self._context
        now, frame_timeout = context.clock(), context.settings.frame_timeout
        connections = context.registry.connections()
        sys.setswitchinterval(max(SWITCH_SECONDS, len(connections) / WAKES_A_SECOND))
        for connection in connections:
            deadline, begun = connection.login_deadline, connection.frame_begun_at
            session = connection.session  # read once: its thread may log it out meanwhile
            if deadline is not None and now > deadline:
                log.info(
                    "closing %s from %s: not logged in in time", connection.name, connection.address
                )
                connection.close("not logged in in time")
            elif begun is not None and frame_timeout and now > begun + frame_timeout:
                log.info(
                    "closing %s from %s: a frame was not finished in time",
                    connection.name,
                    connection.address,
                )
                connection.close("a frame was not finished in time")
            elif session is not None and session.transactions.held:
                session.transactions.expire(now)
        self._also()
        if (
            self._uploads_seen_at is None
            or now > self._uploads_seen_at + self.UPLOADS_EVERY_SECONDS
        ):
            self._uploads_seen_at = now
            self.remove_stale_uploads()

    def make_room(self) -> bool:
        """Close those who hold most, as many as it takes, because too much memory is held for all
        together. False where nobody could be closed: what is on its way to the disk waits for
        it."""
        connections = self._context.registry.connections()
        # What these hold comes free by itself, when their threads have seen that they are closed.
        leaving = sum(connection.held for connection in connections if connection.ended)
        excess, has_closed = self._context.budget.excess - leaving, False
        staying = (connection for connection in connections if not connection.ended)
        for largest in sorted(staying, key=lambda connection: connection.held, reverse=True):
            held = largest.held
            if excess <= 0 or not held:
                break
            log.warning(
                "closing %s: it holds %d bytes, and all together hold too much", largest.name, held
            )
            excess -= held
            session = largest.session
            largest.close("it held more memory than any other")
            if session is not None:
                session.transactions.drop_all()
            has_closed = True
        return has_closed

    def remove_stale_uploads(self) -> None:
        """Give up uploads that nobody has gone on with for their lifetime (24 h)."""
        context, lifetime = self._context, self._context.settings.upload_lifetime
        if not lifetime:
            return
        before = context.wall_clock.seconds() - int(lifetime)

        def change(connection: sqlite3.Connection) -> list[str]:
            # Looked at here, in the order of all changes: one that was just taken up is not old.
            in_use = {
                upload.row.id
                for session in context.registry.sessions()
                for upload in list(session.uploads.values())
            }
            stale = [row for row in uploads.stale(connection, before) if row.id not in in_use]
            closed = [row for row in stale if uploads.close_upload(connection, row.id)]
            return [row.disk_name for row in closed]

        try:
            for disk_name in context.writer.run(change):
                context.files.remove(disk_name)
        except (StorageError, Refusal) as error:
            log.error("old uploads could not be removed: %s", error)
