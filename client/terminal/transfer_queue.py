"""The line client's files: one after the other is sent or fetched while the chat goes on, with
progress in words.

Owns the queue and the thread "chat-transfer". Never reads what is typed. Any thread may add, cancel
and ask.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client.base.text import size_in_words, visible
from client.connection import Connection
from client.errors import ChatError, FileTooLarge
from client.terminal.colours import Palette, Tone
from client.terminal.plain_screens import PlainScreen
from client.transfers import download, upload

SHOWN_SECONDS: Final = 0.3
_NOTICE: Final = "file"


@dataclass(frozen=True)
class Job:
    """One file to send (`what` is its path) or to fetch (`what` is its name)."""

    kind: str
    room: str
    what: str
    name: str


class Transfers:
    """Sends and fetches files one after the other while the chat goes on."""

    def __init__(
        self,
        chat: Connection,
        screen: PlainScreen,
        say: Callable[[str, Tone], None],
        folder: Path,
        palette: Palette,
    ) -> None:
        self._chat = chat
        self._screen = screen
        self._say = say
        self._palette = palette
        self._folder = folder
        self._jobs: queue.Queue[Job] = queue.Queue()
        self._lock = threading.Lock()  # guards the three below
        self._running: tuple[Job, threading.Event, Progress] | None = None
        self._thread: threading.Thread | None = None
        self.failed = 0

    def add(self, job: Job) -> None:
        """Do a job after those that wait."""
        self._jobs.put(job)
        with self._lock:
            waits = self._running is not None
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="chat-transfer", daemon=True
                )
                self._thread.start()
        if waits:
            self._say(f"{visible(job.name)} waits for the file before it.", self._palette.plain)

    def cancel(self) -> bool:
        """Stop the running job; False where there is none."""
        with self._lock:
            if self._running is None:
                return False
            self._running[1].set()
            return True

    def finish(self) -> None:
        """Wait until all jobs are done; each of them ends by itself when nothing moves."""
        while self._jobs.unfinished_tasks:
            time.sleep(0.02)

    def status(self) -> str:
        """Return the running job in a line."""
        with self._lock:
            if self._running is None:
                return "No file is being sent or fetched."
            job, _, progress = self._running
        waiting = f"; {self._jobs.qsize()} more wait" if self._jobs.qsize() else ""
        return progress.text(job) + waiting

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            cancel, progress = threading.Event(), Progress(self._screen, job)
            with self._lock:
                self._running = (job, cancel, progress)
            try:
                self._say(self._do(job, cancel, progress), self._palette.good)
            except FileTooLarge as error:
                self.failed += 1
                self._say(f"{error}.", self._palette.bad)
            except Exception as error:  # a thread begins here: the jobs behind this one go on
                self.failed += 1
                is_known = isinstance(error, (ChatError, OSError))
                why = str(error) if is_known else f"a defect of this client, {error!r}"
                self._say(
                    f"{visible(job.name)} was not {_done_word(job)}: {visible(why)}.",
                    self._palette.bad,
                )
            finally:
                self._screen.notice("", _NOTICE)
                with self._lock:
                    self._running = None
                self._jobs.task_done()

    def _do(self, job: Job, cancel: threading.Event, progress: Progress) -> str:
        if job.kind == "send":
            sent = upload(self._chat, job.room, job.what, progress=progress, cancel=cancel)
            return (
                f"{visible(sent.stored_as)} is sent, {size_in_words(sent.size)}, "
                f"SHA-256 {sent.sha256[:16]}... agrees."
            )
        path = download(
            self._chat, job.room, job.what, self._folder, progress=progress, cancel=cancel
        )
        return f"{visible(job.name)} is fetched whole and lies in {visible(str(path))}"


def _done_word(job: Job) -> str:
    return "sent" if job.kind == "send" else "fetched"


class Progress:
    """Shows how far a transfer is: one line that changes on a terminal, a line each 10 %
    elsewhere."""

    def __init__(self, screen: PlainScreen, job: Job) -> None:
        self._screen = screen
        self._job = job
        self._begin: float | None = None
        self._first = 0  # what was there at the beginning, of an earlier attempt
        self._shown_at = 0.0
        self._shown_tenth = 0
        self._done = 0
        self._total = 0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._begin is None:
            self._begin, self._first = now, done
        self._done, self._total = done, total
        tenth = done * 10 // total if total else 10
        if self._screen.can_replace:
            if now - self._shown_at >= SHOWN_SECONDS:
                self._shown_at = now
                self._screen.notice("* " + self.text(self._job), _NOTICE)
        elif tenth > self._shown_tenth:
            self._shown_tenth = tenth
            self._screen.show("* " + self.text(self._job))

    def text(self, job: Job) -> str:
        """Return bytes, rate and time left in words."""
        verb = "Sending" if job.kind == "send" else "Fetching"
        percent = (
            self._done * 100 // self._total
            if self._total
            else 100
            if self._begin is not None
            else 0
        )
        sizes = f"{size_in_words(self._done)} of {size_in_words(self._total)}"
        text = f"{verb} {visible(job.name)}: {percent} %, {sizes}"
        seconds = time.monotonic() - self._begin if self._begin is not None else 0.0
        moved = self._done - self._first
        if seconds > 0.5 and moved:
            left = (self._total - self._done) * seconds / moved
            text += f", {size_in_words(int(moved / seconds))}/s, {left:.0f} s left"
        return text
