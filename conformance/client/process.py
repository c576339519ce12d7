"""A client as a program: started by its command line, typed to as a user would, read, and ended.

Owns one child process with its three streams, and the words of a driver file: what is typed to log
in, to say something, to send and to fetch a file. Used by the thread of the case; two threads
collect what the program prints. Ends only what it started.

A driver file says how a client is used; every value is optional, and those of our own line client
stand where one is missing:

    [driver]
    # Lines typed after the start, one below the other; by default those of {user} and {password}
    # that the client's command does not hold. A comment has a line of its own.
    login =
        {user}
        {password}
    # say something in the room
    say = {text}
    # send a file: {file} is its path, {name} its name
    send = /send {file}
    # fetch a file of the room
    get = /get {name}
    # typed at the end; where it is empty, the end of the input has to do
    quit =
    # the room in which the client speaks
    room = lobby
    # folders in which fetched files appear; by default these two:
    downloads =
        {folder}
        downloads
"""

from __future__ import annotations

import configparser
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from conformance import command_words, text_files
from conformance.last_words import last_words
from conformance.left_running import Marked

MAX_OUTPUT_CHARACTERS: Final = 1_000_000
KEYS: Final = ("login", "say", "send", "get", "quit", "room", "downloads")
END_SECONDS: Final = 3.0
ENDING_SECONDS: Final = 0.2


class BadDriver(ValueError):
    """A driver file that can't be used; the text says why."""


@dataclass(frozen=True)
class Driver:
    """What is typed into a client. `login` None: by what its command line holds, see
    `login_lines`."""

    login: tuple[str, ...] | None = None
    say: str = "{text}"
    send: str = "/send {file}"
    get: str = "/get {name}"
    quit: str = ""
    room: str = "lobby"
    downloads: tuple[str, ...] = ("{folder}", "downloads")

    def login_lines(self, command: Sequence[str]) -> tuple[str, ...]:
        """Return the lines that log in: those of the file, else name and password, without what the
        command says already."""
        if self.login is not None:
            return self.login
        words = " ".join(command)
        if "{password}" in words:
            return ()
        return ("{password}",) if "{user}" in words else ("{user}", "{password}")


def read_driver(path: str | None) -> Driver:
    """Read the driver in a file, or take that of our own client; raises `BadDriver`."""
    if path is None:
        return Driver()
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text_files.read(path), path)
    except (OSError, ValueError, configparser.Error) as error:
        raise BadDriver(f"the driver file {path} can't be read: {error}") from None
    if not parser.has_section("driver"):
        raise BadDriver(f"the driver file {path} has no section [driver]")
    given = dict(parser["driver"])
    unknown = sorted(given.keys() - set(KEYS))
    if unknown:
        raise BadDriver(
            f"the driver file {path} says {', '.join(unknown)}; expected {', '.join(KEYS)}"
        )
    plain = Driver()
    login = given.get("login")
    downloads = _lines(given.get("downloads", ""))
    return Driver(
        None if login is None else _lines(login),
        given.get("say", plain.say),
        given.get("send", plain.send),
        given.get("get", plain.get),
        given.get("quit", plain.quit),
        given.get("room", plain.room),
        downloads or plain.downloads,
    )


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return `text` with each `{name}` of `values` filled in; other braces stay as they are."""
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text


def split_command(words: Sequence[str]) -> list[str]:
    """Split a command into words; one word with spaces in it is split as a shell would."""
    if len(words) != 1 or " " not in words[0] or os.path.exists(words[0]):
        return list(words)
    return command_words.split(words[0])


def start(
    command: Sequence[str],
    values: Mapping[str, str],
    *,
    has_input: bool = True,
    marked: Marked | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command with its placeholders filled in, in a process group of its own, its output
    piped. `marked` says as whom, and ends what is left of it. Raises `OSError`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CHAT_")}
    environment.update({f"CHAT_{name.upper()}": value for name, value in values.items()})
    environment.update({"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"})
    environment.update(marked.environment if marked else {})
    windows = sys.platform == "win32"
    return subprocess.Popen(
        [fill(word, values) for word in command],
        env=environment,
        stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=not windows,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) if windows else 0,
        **(marked.options if marked else {}),
    )


def end(process: subprocess.Popen[bytes], seconds: float = END_SECONDS) -> None:
    """End a process that `start` started, and what it has started itself; politely first."""
    for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        if process.poll() is None or number != signal.SIGTERM:
            _signal(process, number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, number)  # its group has its number; members may outlive it
    except (OSError, PermissionError):
        pass  # nobody is left


class ClientProgram:
    """A running client."""

    def __init__(
        self,
        command: Sequence[str],
        values: Mapping[str, str],
        driver: Driver,
        run_as: str = "",
    ) -> None:
        self.driver = driver
        self._marked = Marked(run_as)
        self._marked.give(values.get("folder", "."))
        self.values = dict(values)
        self._changed = (
            threading.Condition()
        )  # guards the next two; notified when something was printed or a stream ended
        self._output = ""
        self._open_streams = 2
        self._process = start(command, values, marked=self._marked)
        assert (
            self._process.stdin is not None
            and self._process.stdout is not None
            and self._process.stderr is not None
        )
        self._stdin: IO[bytes] = self._process.stdin
        for stream in (self._process.stdout, self._process.stderr):
            threading.Thread(
                target=self._collect, args=(stream,), name="client-output", daemon=True
            ).start()

    def type(self, line: str, **values: str) -> str:
        """Type a line, its placeholders filled in; returns what was typed."""
        text = fill(line, {**self.values, **values})
        try:
            self._stdin.write(text.encode() + b"\n")
            self._stdin.flush()
        except OSError:
            pass  # it has ended; whoever waits for its packets will see
        return text

    def end_input(self) -> None:
        """Let it see the end of its input."""
        with contextlib.suppress(OSError):
            self._stdin.close()

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def how_it_ended(self) -> str:
        """Return how it ended by itself and what it printed last, "" while it runs.

        Waits a moment: a connection is closed before the process has ended.
        """
        try:
            status = self._process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            return ""
        with self._changed:
            self._changed.wait_for(lambda: not self._open_streams, ENDING_SECONDS)
        return last_words(status, self.output)

    @property
    def output(self) -> str:
        """What it has printed."""
        with self._changed:
            return self._output

    def find_file(
        self, name: str, content: bytes, timeout: float, meanwhile: Callable[[], None]
    ) -> str:
        """Wait until a fetched file lies in one of the folders with this content; returns what is
        wrong, or "".

        `meanwhile` is called again and again.
        """
        deadline = time.monotonic() + timeout
        pause = threading.Event()
        while True:
            found = self._fetched(name)
            if any(_holds(path, content) for path in found):
                return ""
            if time.monotonic() > deadline or (self.status is not None and not self._open_streams):
                break
            meanwhile()
            pause.wait(
                0.05
            )  # no system tells all others when a file is written: it has to be looked for
        if not found:
            return "no such file in " + " or ".join(str(folder) for folder in self._folders())
        return f"{found[0]} with {_size(found[0])} bytes, which are not those of the file"

    def remove_files(self, name: str) -> None:
        """Remove fetched files of this name."""
        for path in self._fetched(name):
            with contextlib.suppress(OSError):
                path.unlink()

    def close(self) -> None:
        """End it."""
        self.end_input()
        end(self._process)
        self._marked.end_all()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
        with self._changed:
            self._changed.wait_for(lambda: not self._open_streams, END_SECONDS)

    def _folders(self) -> list[Path]:
        return [Path(fill(folder, self.values)) for folder in self.driver.downloads]

    def _fetched(self, name: str) -> list[Path]:
        return [
            path
            for folder in self._folders()
            if folder.is_dir()
            for path in folder.rglob(name)
            if path.is_file()
        ]

    def _collect(self, stream: IO[bytes]) -> None:
        while True:
            data = os.read(stream.fileno(), 65_536)
            with self._changed:
                if not data:
                    self._open_streams -= 1
                self._output = (self._output + data.decode("utf-8", "replace"))[
                    -MAX_OUTPUT_CHARACTERS:
                ]
                self._changed.notify_all()
            if not data:
                stream.close()
                return


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _holds(path: Path, content: bytes) -> bool:
    """Return whether a file has this content; a file of another size is not read."""
    if _size(path) != len(content):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(len(content) + 1) == content
    except OSError:
        return False
