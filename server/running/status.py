"""How the server is: who is on, how much is said, what waits; for `chat_server.py status`.

Owns the samples of the last minute. Never blocks and never writes to the database. Only the watch's
thread calls `look`; what it reads of other threads are single numbers.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import sys
from collections import deque
from pathlib import Path
from typing import Any, Final

import protocol
from server.archive import questions
from server.handlers.context import Context
from server.running.housekeeping import Housekeeping
from server.state.session import Session
from server.writing.delivery import Delivery
from storage.acts import MUTE
from storage.errors import StorageError

log: Final = logging.getLogger("server.status")

MINUTE_SECONDS: Final = 60.0
SAMPLE_SECONDS: Final = 1.0


class Status:
    """What is known of the running server; `look` answers who asks for it."""

    def __init__(
        self,
        context: Context,
        delivery: Delivery,
        housekeeping: Housekeeping,
        folder: Path,
        port: int,
    ) -> None:
        self._context, self._delivery, self._housekeeping = context, delivery, housekeeping
        self._folder, self._port = folder, port
        self._since = context.wall_clock.seconds()
        # When, messages and files stored by then since the start; the oldest first.
        self._samples: deque[tuple[float, int, int]] = deque([(context.clock(), 0, 0)])
        self._is_failing = False

    def look(self) -> None:
        """Take a sample, and answer whoever has asked."""
        now = self._context.clock()
        if now >= self._samples[-1][0] + SAMPLE_SECONDS:
            stored = self._delivery.stored
            self._samples.append((now, stored["message"], stored["file"]))
            while len(self._samples) > 1 and self._samples[1][0] <= now - MINUTE_SECONDS:
                self._samples.popleft()
        try:
            questions.answer_all(self._folder, self.document)
            self._is_failing = False
        except OSError as error:
            if not self._is_failing:
                log.error("the question of 'status' could not be answered: %s", error)
            self._is_failing = True

    def document(self) -> dict[str, Any]:
        """Return everything as one JSON object; bytes, seconds since 1970, milliseconds."""
        context = self._context
        free, total = self._disk()
        sessions = sorted(context.registry.sessions(), key=lambda session: session.folded)
        messages, files = self._per_minute()
        return {
            "version": protocol.VERSION,
            "process": os.getpid(),
            "port": self._port,
            "since": protocol.format_time(self._since),
            "online": [session.chatid for session in sessions],
            "sessions": [self._session(session) for session in sessions],
            "connections": len(context.registry.connections()),
            "messages_per_minute": messages,
            "files_per_minute": files,
            "waiting_changes": context.writer.waiting,
            "last_commit_ms": round(1000 * context.writer.last_commit_seconds, 2),
            "disk_free_bytes": free,
            "disk_total_bytes": total,
            "memory_bytes": memory_bytes(),
            "held_for_clients_bytes": context.budget.held,
            "slowest_client": self._slowest(),
            "noticed": self._housekeeping.noticed,
        }

    def _session(self, session: Session) -> dict[str, Any]:
        """Return what `who` says of a session."""
        mute = self._context.restrictions.find(MUTE, session.account_id)
        _, hand = self._context.hands.by_account().get(session.account_id, (0, None))
        return {
            "chatid": session.chatid,
            "role": session.role,
            "address": session.connection.address,
            "since": protocol.format_time(session.since),
            "idle_seconds": max(0, int(self._context.clock() - session.active_at)),
            "messages": session.messages_sent,
            "muted": mute is not None,
            "muted_until": None if mute is None else mute.until,
            "hand": None if hand is None else hand.text or "up",
        }

    def _per_minute(self) -> tuple[int, int]:
        """Return the messages and files of the last minute, or since the start if that is less."""
        stored, (_, messages, files) = self._delivery.stored, self._samples[0]
        return stored["message"] - messages, stored["file"] - files

    def _disk(self) -> tuple[int | None, int | None]:
        try:
            return self._context.files.free()
        except StorageError:
            return None, None

    def _slowest(self) -> dict[str, Any] | None:
        """Return who has the most bytes waiting to be taken; None where nothing waits."""
        waiting = max(
            self._context.registry.connections(),
            key=lambda connection: connection.outbox.waiting,
            default=None,
        )
        if waiting is None or not waiting.outbox.waiting:
            return None
        session = waiting.session
        return {
            "chatid": session.chatid if session else None,
            "address": waiting.address,
            "waiting_bytes": waiting.outbox.waiting,
        }


def memory_bytes() -> int | None:
    """Return the memory that this process has now; on macOS the most that it ever had; None where
    the system doesn't tell."""
    try:
        if sys.platform == "win32":
            return _memory_on_windows()
        if sys.platform == "darwin":
            usage = importlib.import_module("resource")
            return int(usage.getrusage(usage.RUSAGE_SELF).ru_maxrss)
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ImportError, ValueError, AttributeError, IndexError):
        return None


def _memory_on_windows() -> int | None:
    # PROCESS_MEMORY_COUNTERS of psapi.h: the third of its fields is the working set.
    windll = getattr(ctypes, "windll", None)
    if windll is None:
        return None
    counters = (ctypes.c_size_t * 10)()
    counters[0] = ctypes.sizeof(counters)
    windll.kernel32.GetCurrentProcess.restype = ctypes.c_void_p
    process = ctypes.c_void_p(windll.kernel32.GetCurrentProcess())
    done = windll.kernel32.K32GetProcessMemoryInfo(
        process, ctypes.byref(counters), ctypes.sizeof(counters)
    )
    return int(counters[2]) if done else None
