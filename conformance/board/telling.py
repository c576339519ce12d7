"""Tells a board how a run goes: the options `--tell` and `--tell-as`, and who sends.

Owns one thread ("board-teller"), and of each row only the latest that is to be told. Grading never
waits for it: while a board is away it is tried again, and at the end of a run for a moment only.
What became of it is said in one line. Methods are for the thread that made it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import re
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO, final

from conformance.reports.words import harmless
from conformance.verdicts import Outcome

ADDRESS_VARIABLE: Final = "CHAT_BOARD"
NAME_VARIABLE: Final = "CHAT_BOARD_NAME"
CODE_HEADER: Final = "X-Page-Code"
SEND_SECONDS: Final = 2.0
"""The longest wait for the board to take or answer something."""
END_SECONDS: Final = 2.0
"""So long the end of a run waits until the last has been told."""
AGAIN_SECONDS: Final = 3.0
STILL_SECONDS: Final = 15.0
"""So often a run says that it still goes on, also to a board that was started anew."""
BUSY: Final = 503
BUSY_SECONDS: Final = 0.2
"""So long the end of a run waits before it tries again a board that has too much to do."""
MAX_ANSWER: Final = 4096
MAX_SHOWN: Final = 200
FORM: Final = "HOST:PORT/CODE, as the board shows it"


@dataclass(frozen=True)
class Board:
    """Where a board is, and the code of its wall."""

    host: str
    port: int
    code: str

    def __str__(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def board_address(text: str) -> Board:
    """Read HOST:PORT/CODE."""
    found = re.fullmatch(r"(?:http://)?([^/\s]+):([0-9]{1,5})/([A-Za-z0-9-]{1,64})", text.strip())
    if found is None or not 0 < int(found[2]) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r}: expected {FORM}")
    return Board(found[1].strip("[]"), int(found[2]), found[3].lower())


def add_arguments(parser: argparse.ArgumentParser, *, has_name: bool = True) -> None:
    """Add the options of who tells a board; without `has_name` others give the names."""
    parser.add_argument(
        "--tell",
        metavar="HOST:PORT/CODE",
        type=board_address,
        help="tell the teacher's board how far this comes: stage, points, what fails; nothing of "
        f"the program itself (or {ADDRESS_VARIABLE} in the environment)",
    )
    if has_name:
        parser.add_argument(
            "--tell-as",
            metavar="NAME",
            default="",
            help=f"your name there, or your team's; without it a number (or {NAME_VARIABLE})",
        )


def of_arguments(args: argparse.Namespace) -> Teller:
    """Return who tells the board that the options or the environment name, if any.

    The environment's are taken out of it: programs under test don't get them.
    """
    address = os.environ.pop(ADDRESS_VARIABLE, "")
    name = os.environ.pop(NAME_VARIABLE, "")
    if "tell" not in args:
        return NOBODY
    board = args.tell
    if board is None and address:
        try:
            board = board_address(address)
        except argparse.ArgumentTypeError as problem:
            print(f"conformance: no board is told: {ADDRESS_VARIABLE}={problem}", file=sys.stderr)
    kind = "client" if args.mode == "client" else "server"
    return Teller(board, kind, getattr(args, "tell_as", "") or name)


@final
class Teller:
    """Tells one board, or nobody where `board` is None. To be used in a `with`."""

    def __init__(
        self, board: Board | None, kind: str, name: str = "", stream: TextIO | None = None
    ) -> None:
        self._board, self._kind, self._name, self._stream = board, kind, name, stream
        self._changed = threading.Condition()  # guards what follows
        self._pending: dict[str, dict[str, Any]] = {}
        self._cases = 0
        self._is_running = self._is_ending = self._is_given_up = False
        self._shown: set[str] = set()
        self._problem = self._refused = ""
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Teller:
        if self._board is not None:
            self._secret = _secret(self._say)
            self._thread = threading.Thread(target=self._send_all, name="board-teller", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._board is not None:
            self._end()

    def case(self, _: Outcome) -> None:
        """Count a case that was looked at. That a run goes on is told at its first, and then now
        and then."""
        with self._changed:
            self._cases += 1
            is_first = self._cases == 1
        if is_first:
            self._tell(self._name, is_running=True)

    def counting(self, progress: Callable[[Outcome], None]) -> Callable[[Outcome], None]:
        """Return a function that counts a case, too, which `progress` is told of."""

        def count(outcome: Outcome) -> None:
            progress(outcome)
            self.case(outcome)

        return count

    def result(self, told: Mapping[str, Any], name: str | None = None) -> None:
        """Tell what a run came to; `name` where it is one of several."""
        self._tell(self._name if name is None else name, is_running=False, result=told)

    def _tell(self, name: str, *, is_running: bool, **what: Any) -> None:
        if self._board is None:
            return
        with self._changed:
            self._is_running = is_running
            self._put(name, **what)
            self._changed.notify_all()

    def _put(self, name: str, **what: Any) -> None:
        """Let a row be told; what waited of it is replaced. The lock is held."""
        key = self._key(name)
        about = {"key": key, "was": self._key(""), "name": name, "kind": self._kind}
        self._pending[key] = {**about, "running": self._is_running, "cases": 0, **what}

    def _key(self, name: str) -> str:
        """Return the key of a row, another one for each board: none can speak for it elsewhere."""
        assert self._board is not None
        whole = "\n".join((self._secret, self._board.code, self._kind, name))
        return hashlib.sha256(whole.encode("utf-8", "backslashreplace")).hexdigest()

    def _end(self) -> None:
        """Wait a moment until the last was told, and say what became of it."""
        if self._is_running:  # it was broken off
            self._tell(self._name, is_running=False)
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()
        self._thread.join(END_SECONDS)
        with self._changed:
            self._is_given_up = True
            self._changed.notify_all()
            problem = "it does not answer" if self._thread.is_alive() else self._problem
            sock = None if self._connection is None else self._connection.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            self._thread.join(END_SECONDS)
        with self._changed:
            why = self._refused or problem * bool(self._pending)
            shown = self._shown
        if why:
            self._say(f"the board at {self._board} was not told how this ended: {why}")
        elif shown:
            who = f"this as {shown.pop()!r}" if len(shown) == 1 else f"{len(shown)} rows of this"
            self._say(f"the board at {self._board} shows {who}")

    def _say(self, text: str) -> None:
        line = f"conformance: {harmless(text)}\n"
        stream = self._stream or sys.stderr
        with contextlib.suppress(OSError):
            encoding = getattr(stream, "encoding", None) or "utf-8"
            stream.write(line.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()

    # --- The thread -------------------------------------------------------------------------------

    def _send_all(self) -> None:
        """Send what is to be told until the end; what could not be sent is tried again."""
        while (found := self._next()) is not None:
            key, body = found
            status, problem = self._send(body)
            with self._changed:
                self._problem = problem
                if status in _DONE:
                    self._refused = self._refused or problem
                    if self._pending.get(key) == {**body, "cases": 0}:
                        del self._pending[key]
                elif status in _HOPELESS or (self._is_ending and status != BUSY):
                    return
                elif self._is_ending:
                    self._changed.wait(BUSY_SECONDS)
                else:
                    self._changed.wait_for(lambda: self._is_ending, AGAIN_SECONDS)

    def _next(self) -> tuple[str, dict[str, Any]] | None:
        """Wait for a row that is to be told; return its key and all of it, None at the end."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._is_ending, STILL_SECONDS)
                if self._is_given_up or (self._is_ending and not self._pending):
                    return None
                if not self._pending and self._is_running:
                    self._put(self._name)
                if self._pending:
                    key, body = next(iter(self._pending.items()))
                    return key, {**body, "cases": self._cases}

    def _send(self, body: Mapping[str, Any]) -> tuple[int, str]:
        """Tell one row; return the status of the answer, 0 where there was none, and what is wrong.

        Of the answer so much is read as a board says, and no more.
        """
        board = self._board
        assert board is not None
        connection = http.client.HTTPConnection(board.host, board.port, timeout=SEND_SECONDS)
        self._connection = connection
        headers = {"Content-Type": "application/json", CODE_HEADER: board.code}
        try:
            connection.request("POST", "/program/tell", json.dumps(body), headers)
            answer = connection.getresponse()
            said = json.loads(answer.read(MAX_ANSWER))
            if answer.status == 200:
                self._shown.add(str(said["shown"])[:MAX_SHOWN])
            return answer.status, _wrong(answer.status, said)
        except ConnectionResetError:  # http.client's RemoteDisconnected is one, too
            return BUSY, "it has too many connections, or is no board"
        except OSError as error:
            return 0, f"it does not answer ({error.strerror or error})"
        except (http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError):
            return 404, _wrong(404, {})
        finally:
            connection.close()


NOBODY: Final = Teller(None, "server")
"""Who tells no board."""
_DONE: Final = (200, 409)
_HOPELESS: Final = (400, 403, 404, 411, 413, 415)


def _wrong(status: int, said: Any) -> str:
    """Return what is wrong by the answer of a board, "" where nothing is."""
    if status == 200:
        return ""
    if status == 403:
        return "the code is another one: see what the wall shows"
    if status == 404:
        return "another program listens there: see which address the wall shows"
    return str(said.get("error", f"its answer is {status}"))[:MAX_SHOWN]


def _secret(say: Callable[[str], None]) -> str:
    """Return what this account is known by to boards; made at the first time, and kept."""
    windows = sys.platform == "win32"
    chosen = os.environ.get("LOCALAPPDATA" if windows else "XDG_CONFIG_HOME", "")
    try:
        folder = Path(chosen) if chosen else Path.home() / ".config"
        file = folder / "classroom-chat" / "board-key"
        if file.exists():
            kept = file.read_text("ascii")[:100].strip()
            if len(kept) >= 32:
                return kept
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        secret = secrets.token_hex(32)
        beside = file.with_name(f"board-key.{os.getpid()}")
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:
            made.write(secret)
        beside.replace(file)
        return file.read_text("ascii")
    except (OSError, ValueError, RuntimeError) as error:
        say(f"no key for the board can be kept ({error}): each run gets a row of its own there")
        return secrets.token_hex(32)
