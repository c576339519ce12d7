"""The server's process, where the kit starts it itself (`--start-cmd`): start, kill, start again.

Owns one child process at a time, the thread that reads its output, and a folder for its data. Ends
only what it started. One thread uses it; the reading thread only appends lines, under a lock.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import IO, final

from conformance import command_words
from conformance.foreground import wait_for
from conformance.last_words import last_words
from conformance.left_running import Marked

START_SECONDS = 30.0
STOP_SECONDS = 10.0
PORTS = 12_000, 32_000
"""Linux gives outgoing connections ports from 32,768 on, others from 49,152 on."""
PORT_TRIES = 20
KEPT_LINES = 100
ENDING_SECONDS = 0.1
QUIET_SECONDS = 0.1
PRINTING_SECONDS = 0.5
"""The most that `let_it_print` waits."""
_ZONE = "Asia/Kolkata"
ZONE_SECONDS = 5.5 * 3600
"""Of that zone, ahead of UTC."""
SURROUNDINGS = {
    "PYTHONUNBUFFERED": "1",
    "TZ": _ZONE if os.path.exists(f"/usr/share/zoneinfo/{_ZONE}") else "IST-5:30",
    "LC_ALL": "C",
}
"""Of every server: its output comes at once, its clock is not in UTC (5:30 h ahead: Node and Go
know zones by name only, a system without a table of zones as POSIX writes them), and UTF-8 is not
its system's encoding. A server that says what it means does not notice."""
LINE_CHARACTERS = 2_000
"""A longer line of output is kept as several."""


class NotStarted(Exception):
    """The command did not give a server that listens; the text says what happened instead."""


def free_port(host: str) -> int:
    """Return a port that nobody listens on just now, below those that systems give to outgoing
    connections: many runs side by side would take it meanwhile."""
    for wanted in (*(random.SystemRandom().randrange(*PORTS) for _ in range(PORT_TRIES)), 0):
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe,
        ):
            probe.bind((host, wanted))
            port: int = probe.getsockname()[1]
            return port
    raise NotStarted(f"no port is free on {host}")


@final
class ServerCommand:
    """A server that a command line starts; `{port}`, `{host}` and `{data}` in it are filled in.

    `data` is a folder that lives as long as this object, so that a killed server finds its data
    again. Where `port` is 0 a free one is chosen. `run_as` is the user that it runs as (see
    `Marked`). A context manager, which ends the server and removes the folder.
    """

    def __init__(
        self,
        command: str,
        host: str,
        port: int,
        start_seconds: float = START_SECONDS,
        run_as: str = "",
    ) -> None:
        self.host = host
        self.port = port or free_port(host)
        self._command = command
        self._start_seconds = start_seconds
        self._folder = ""
        self._marked = Marked(run_as)
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._lines: deque[tuple[float, str]] = deque(maxlen=KEPT_LINES)
        """With the moment at which each came, in monotonic seconds."""
        self._changed = threading.Condition()
        """Guards `_lines`; told of each line."""

    def __enter__(self) -> ServerCommand:
        self._folder = tempfile.mkdtemp(prefix="conformance-")
        self._marked.give(self._folder)
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def words(self) -> list[str]:
        """Return the command as it is started."""
        values = {
            "{port}": str(self.port),
            "{host}": self.host,
            "{data}": os.path.join(self._folder, "data"),
        }
        words = command_words.split(self._command)
        for mark, value in values.items():
            words = [word.replace(mark, value) for word in words]
        return words

    def start(self) -> None:
        """Start it and return once it takes connections; NotStarted where it does not within the
        time."""
        with self._changed:
            self._lines.clear()
        environment = {**os.environ, **SURROUNDINGS, **self._marked.environment}
        try:
            self._process = subprocess.Popen(
                self.words(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=os.name != "nt",
                env=environment,
                **self._marked.options,
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise NotStarted(f"the command can't be started: {error}") from error
        assert self._process.stdout is not None
        self._reader = threading.Thread(
            target=self._collect, args=(self._process.stdout,), daemon=True, name="server output"
        )
        self._reader.start()
        self._wait_until_it_listens(self._process)

    def _wait_until_it_listens(self, process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + self._start_seconds
        while time.monotonic() < deadline:
            with (
                contextlib.suppress(OSError),
                socket.create_connection((self.host, self.port), timeout=1.0),
            ):
                return
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            if self._reader is not None:
                self._reader.join(1.0)  # its last words
            raise NotStarted(
                f"the command ended with exit status {process.returncode}\n{self.output()}"
            )
        self.kill()
        raise NotStarted(
            f"nobody listened on {self.host}:{self.port} for {self._start_seconds:g} "
            f"s\n{self.output()}"
        )

    def _collect(self, stream: IO[str]) -> None:
        with contextlib.suppress(OSError, ValueError):
            while piece := stream.readline(LINE_CHARACTERS):  # so an endless line is many lines
                with self._changed:
                    self._lines.append((time.monotonic(), piece.rstrip("\n")))
                    self._changed.notify_all()
        stream.close()

    def is_running(self) -> bool:
        """Return whether the process that was started last has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The number of the process, None where none was started."""
        return self._process.pid if self._process is not None else None

    @property
    def exit_status(self) -> int | None:
        """How the process ended, None where it runs or never did."""
        return self._process.poll() if self._process is not None else None

    def how_it_ended(self) -> str:
        """Return how the process ended by itself and what it printed last, "" while it runs.

        Waits a moment: a connection is closed before the process has ended.
        """
        if self._process is None:
            return ""
        try:
            self._process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            return ""
        if self._reader is not None:
            self._reader.join(1.0)  # its last words
        return last_words(self._process.returncode, self.output())

    def let_it_print(self) -> None:
        """Wait, for a moment, until it prints nothing more: the thread of a handler that crashed
        closes its connection before it has printed the traceback."""
        deadline = time.monotonic() + PRINTING_SECONDS
        with self._changed:
            while (left := deadline - time.monotonic()) > 0:
                if not self._changed.wait(min(left, QUIET_SECONDS)):
                    return

    def kill(self) -> None:
        """End it the hard way (SIGKILL), with all that it started; nothing happens where
        none runs."""
        process = self._process
        if process is None:
            return
        for end in self._endings(process):
            with contextlib.suppress(OSError):
                end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        self._marked.end_all()
        if self._reader is not None:
            self._reader.join(STOP_SECONDS)
        self._process = None

    @staticmethod
    def _endings(process: subprocess.Popen[str]) -> Iterator[Callable[[], None]]:
        if sys.platform != "win32":
            yield lambda: os.killpg(process.pid, signal.SIGKILL)
        if process.poll() is None:
            yield process.kill

    def terminate(self) -> int | None:
        """Ask it to end (SIGTERM) and return its exit status, None where it did not within the time
        (it is killed then)."""
        process = self._process
        if process is None:
            return None
        process.terminate()
        try:
            status: int | None = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            status = None
        self.kill()
        return status

    def restart(self) -> None:
        """Kill it and start it again on the same port and data; NotStarted where it does not come
        back."""
        self.kill()
        self.start()

    def output(self) -> str:
        """Return the last lines that it printed since it was started."""
        with self._changed:
            return "\n".join(line for _, line in self._lines)

    def printed_since(self, moment: float) -> list[tuple[float, str]]:
        """Return the last lines that it printed since a moment (monotonic seconds), each with its
        own."""
        with self._changed:
            return [(at, line) for at, line in self._lines if at >= moment]

    def wait_for_line(self, pattern: re.Pattern[str], seconds: float) -> str:
        """Wait for the first of these lines in which the pattern is found; "" where none comes in
        time."""

        def found() -> str:
            return next((line for _, line in self._lines if pattern.search(line)), "")

        with self._changed:
            wait_for(self._changed, found, seconds)
            return found()
