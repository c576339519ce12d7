"""A real server, started by its command line.

Owns one child process at a time and the two threads that read its output.
Never imports the product and never ends a process that it did not start.
One test thread uses an instance; the reader threads only append lines.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, final

from support import tls
from support.ending import OWN_CONSOLE, ask_to_end
from support.patience import patience

REPOSITORY = Path(__file__).resolve().parents[2]
LISTENING = re.compile(r"listening on (\S+):(\d+)")
START_SECONDS = patience(20.0)
STOP_SECONDS = patience(15.0)


def server_command(data_dir: Path, *options: str) -> list[str]:
    """The command line of a server on a free loopback port."""
    defaults = ["--host", "127.0.0.1", "--port", "0", "--password-cost", "4"]
    if tls.EVERYWHERE and "--certfile" not in options:
        defaults += tls.everywhere().options
    return [sys.executable, "chat_server.py", *defaults, "--data", str(data_dir), *options]


def server_environment() -> dict[str, str]:
    """The environment of a server: ours, without any CHAT_* option of the machine."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CHAT_")}
    kept["PYTHONUNBUFFERED"] = "1"
    kept["PYTHONIOENCODING"] = "utf-8"  # Windows would write its code page into our pipes
    return kept


def complaints(log: str) -> list[str]:
    """The lines that a server wrote before it ended, but not the notice that on Windows it tries
    again to have a port (`server.net.sockets.bind_patiently`)."""
    return [
        line
        for line in log.splitlines()
        if line.strip() and not line.startswith("the port is not free: trying for")
    ]


@final
class ServerProcess:
    """A server of one data folder; a context manager that always ends what it started."""

    def __init__(self, data_dir: Path | str, *options: str) -> None:
        self.data_dir = Path(data_dir)
        self.options = options
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        self._lines: list[str] = []
        self._errors: list[str] = []
        self._changed = threading.Condition()
        self._readers: list[threading.Thread] = []

    def __enter__(self) -> ServerProcess:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was not started"
        return self._process.pid

    def start(self) -> None:
        """Start it and return once it listens; AssertionError with its log otherwise."""
        assert self._process is None, "the server runs already"
        self._lines.clear()
        process = subprocess.Popen(
            server_command(self.data_dir, *self.options),
            cwd=REPOSITORY,
            env=server_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            creationflags=OWN_CONSOLE,
        )
        self._process = process
        assert process.stdout is not None and process.stderr is not None
        self._readers = [
            threading.Thread(target=self._collect, args=args, daemon=True, name="server output")
            for args in ((process.stdout, self._lines), (process.stderr, self._errors))
        ]
        for reader in self._readers:
            reader.start()
        self.port = self._wait_for_port()

    def _collect(self, stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            with self._changed:
                lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        stream.close()
        with self._changed:
            self._changed.notify_all()

    def _wait_for_port(self) -> int:
        deadline = time.monotonic() + START_SECONDS
        with self._changed:
            while True:
                for line in self._lines:
                    found = LISTENING.search(line)
                    if found:
                        return int(found.group(2))
                assert self._process is not None
                exited = self._process.poll()
                left = deadline - time.monotonic()
                if exited is not None or left <= 0:
                    break
                self._changed.wait(min(left, 0.2))
        raise AssertionError(
            f"no 'listening on HOST:PORT' on stdout (exit status {exited})\n"
            f"{self.output()}\n{self.log()}"
        )

    def stop(self) -> int:
        """Ask it to end (SIGTERM, on Windows Ctrl-C) and return its exit status; None running is an
        error."""
        assert self._process is not None, "the server does not run"
        ask_to_end(self._process)
        return self._reap("did not end after SIGTERM")

    def kill(self) -> None:
        """End it the hard way, as a power cut would; nothing happens if it does not run."""
        if self._process is not None:
            self._process.kill()
            self._reap("did not end after SIGKILL")

    def restart(self) -> None:
        """Stop it, if it runs, and start it on the same folder; the port may change."""
        if self._process is not None:
            status = self.stop()
            assert status == 0, f"exit status {status} after SIGTERM\n{self.log()}"
        self.start()

    def _reap(self, complaint: str) -> int:
        assert self._process is not None
        process = self._process
        try:
            status = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)
            self._process = None
            raise AssertionError(
                f"the server {complaint} within {STOP_SECONDS} s\n{self.log()}"
            ) from None
        for reader in self._readers:
            reader.join(STOP_SECONDS)
        self._process = None
        return status

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def output(self) -> str:
        """What it printed on stdout since its last start."""
        with self._changed:
            return "\n".join(self._lines)

    def log(self) -> str:
        """What it printed on stderr, over all its starts."""
        with self._changed:
            return "\n".join(self._errors)
