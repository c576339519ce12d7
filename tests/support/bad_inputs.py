"""How a catalogue of bad inputs is played: a table of numbered rows, servers to play them on, and
five checks behind each.

Owns the servers of one test module (`House`) and, on each, two bystanders who talk in a private
room of theirs. After every row: (1) the server lives; (2) a bystander's message is acknowledged and
delivered; (3) threads, descriptors and memory are back, within a generous bound; (4) the log has
neither a traceback nor a raw control character, and every line of it is one of ours; (5) the
database is whole, and every flat file belongs to a row and the other way round. Knows the server
only from outside, and its folder.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import sqlite3
import sys
import sysconfig
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support import fresh_name
from support.patience import patience, until
from support.raw_client import RawClient, error_code
from support.server_process import ServerProcess
from support.tls import Certificate

BASE = ("--rate-limit", "0", "--login-failures", "0", "--min-free", "0", "--log-level", "debug")
SERVED_SECONDS = patience(10.0)
"""The bound for a bystander: far above what it takes, to find hangs; figures belong to
benchmarks."""
SETTLED_SECONDS = patience(10.0)
HEAPS_MIB = 64 if sysconfig.get_config_var("Py_GIL_DISABLED") else 0
"""Without the GIL every thread has a heap of its own, some 0.5 MiB; it goes to the next thread and
not back to the system. With 100 clients 48 MiB were measured, after one round as after six."""
MORE_MIB = 16 + HEAPS_MIB
"""What one row may leave behind in memory: the frame of 1 MiB, what decoding it took, and the
allocator's own ways."""
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d( DEBUG| WARNING| ERROR| CRITICAL)?  \S")
LINUX = sys.platform.startswith("linux")
_words = itertools.count(1)


# --- The table ------------------------------------------------------------------------------------


JOURNAL_FILES = 32
"""The journal keeps so many files open, one for each room that was spoken in of late; sockets are
counted by themselves."""


@dataclass(frozen=True)
class Row:
    """One row of the catalogue, or one case of it."""

    number: int
    name: str
    act: Callable[..., None]
    values: tuple[Any, ...]
    marks: tuple[Any, ...]

    @property
    def is_long(self) -> bool:
        return any(mark.name == "long" for mark in self.marks)


@dataclass
class Table:
    """The rows of one test module, and those that can't apply, each with the reason."""

    rows: list[Row] = field(default_factory=list)
    not_yet: dict[int, str] = field(default_factory=dict)

    def row(
        self,
        number: int,
        name: str,
        cases: Mapping[str, Any] | None = None,
        *,
        long: bool = False,
        defect: str = "",
        strict: bool = True,
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """The function plays this row; with `cases` it plays one row for each value of them.
        `defect`: why it is known to fail; `strict`: that it passes is then a failure, too."""

        def enter(act: Callable[..., None]) -> Callable[..., None]:
            marks = list(getattr(act, "pytestmark", []))
            marks += [pytest.mark.long] if long else []
            marks += [pytest.mark.xfail(strict=strict, reason=defect)] if defect else []
            if cases is None:
                self.rows.append(Row(number, name, act, (), tuple(marks)))
            else:
                self.rows += [
                    Row(number, f"{name} {case}".strip(), act, (value,), tuple(marks))
                    for case, value in cases.items()
                ]
            return act

        return enter

    def parameters(self) -> list[Any]:
        """What `pytest.mark.parametrize` takes: `test_bad_input[009 length 0xFFFFFFFF]`."""
        ordered = sorted(self.rows, key=lambda row: row.number)
        return [
            pytest.param(row, id=f"{row.number:03} {row.name}", marks=list(row.marks))
            for row in ordered
        ]

    @property
    def quick_numbers(self) -> set[int]:
        return {row.number for row in self.rows if not row.is_long}


# --- The servers ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """What a process holds."""

    threads: int
    sockets: int
    descriptors: int
    resident_kib: int
    peak_kib: int


def held(pid: int) -> Held:
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    kinds = []
    for name in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            kinds.append(os.readlink(name))
    # Each of the few reading connections opens its files at its first use, and the journal keeps up
    # to 32 open: kept, and no leak.
    mine = [kind for kind in kinds if not re.search(r"/chat\.db|/journal/", kind)]
    sockets = sum(kind.startswith("socket:") for kind in mine)
    return Held(
        int(status["Threads"]),
        sockets,
        len(mine) - sockets,
        int(status["VmRSS"].split()[0]),
        int(status["VmHWM"].split()[0]),
    )


def rows_of(data_dir: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """What the database holds, without asking the server."""
    connection = sqlite3.connect(
        f"{(data_dir / 'chat.db').resolve().as_uri()}?mode=ro", uri=True, timeout=patience(10)
    )
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()


class Watched:
    """A server, two bystanders on it, and the five checks."""

    def __init__(self, process: ServerProcess, certificate: Certificate | None = None) -> None:
        self.process, self.certificate = process, certificate
        self._before: Held | None = None
        self._most_threads = 0
        self._lines = 0
        self._meet()

    def _meet(self) -> None:
        self.speaker, self.listener = (self._bystander(fresh_name("by")) for _ in range(2))
        made = self.speaker.ask(
            "create_room", participants=[self.listener.chatid], room_name="bystanders"
        )
        self._room_id = made["data"]["room_id"]
        for client in (self.speaker, self.listener):
            client.ask("leave_room", room_id="lobby")  # what rows say there would wait for them
        self._exchange()
        # A thread to hash passwords is made for each core, when it is first needed.
        self._most_threads = held(self.process.pid).threads + (os.cpu_count() or 1) if LINUX else 0

    def _bystander(self, name: str) -> RawClient:
        client = self.connect()
        assert client.register(name)["action"] == "register_success"
        assert client.login(name)["action"] == "login_success"
        return client

    def connect(self, **options: Any) -> RawClient:
        return RawClient(self.process.port, certificate=self.certificate, **options)

    def restarted(self) -> None:
        """The server is a new process on the same folder: the bystanders come back, and counting
        begins anew."""
        self.close()
        self._meet()
        self.begin()

    def _exchange(self) -> None:
        word = f"word {next(_words)}"
        begun = time.monotonic()
        counted = self.speaker.ask(
            "send_message", SERVED_SECONDS, room_id=self._room_id, content=word
        )
        assert counted["action"] == "character_count", counted
        ack = self.speaker.confirm(counted["data"]["transaction_id"])
        assert (ack["action"], ack["status"]) == ("ack", "success"), ack
        message = self.listener.receive_message(word, self._room_id)
        assert self.listener.answer(message)["data"]["confirm"] is True
        assert time.monotonic() - begun < SERVED_SECONDS, "a bystander waited"
        self.speaker.nothing_before_pong()
        self.listener.nothing_before_pong()

    def begin(self) -> None:
        self._lines = len(self.process.log().split("\n"))
        self._before = held(self.process.pid) if LINUX else None

    def check(self, more_mib: int = MORE_MIB) -> None:
        """The five checks; every client of the row is closed by now."""
        assert self.process.is_running(), f"1. the server died\n{self.process.log()}"
        self._exchange()
        self._check_held(more_mib)
        self._check_log()
        check_data(self.process.data_dir)

    def _check_held(self, more_mib: int) -> None:
        before = self._before
        if before is None:
            return

        deadline = time.monotonic() + SETTLED_SECONDS
        while True:  # one look decides: clients of the row that wait to be accepted come and go
            now = held(self.process.pid)
            is_back = now.threads <= self._most_threads and now.sockets <= before.sockets
            is_back = is_back and now.descriptors <= before.descriptors + JOURNAL_FILES
            if is_back or time.monotonic() > deadline:
                break
            time.sleep(0.01)
        assert is_back, f"3. {before} before, {self._most_threads} threads at most, {now} after"
        grown = now.resident_kib - before.resident_kib
        assert grown < more_mib * 1024, f"3. {grown} KiB more than before"

    def _check_log(self) -> None:
        lines = self.process.log().split("\n")
        for line in lines[max(0, self._lines - 1) :]:
            raw = [
                f"U+{ord(c):04X}"
                for c in line
                if unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs", "Cf") or c == "\ufffd"
            ]
            assert not raw, f"4. {raw} in the log: {line!r}"
            assert not line or LOG_LINE.match(line), (
                f"4. no line of the log's own: {line!r}\n" + "\n".join(lines[-40:])
            )
        assert "Traceback" not in self.process.log(), f"4. {self.process.log()}"

    def close(self) -> None:
        self.speaker.close()
        self.listener.close()


def check_data(data_dir: Path) -> None:
    """5. The database is whole; files and rows belong together; no message is half made."""
    assert rows_of(data_dir, "PRAGMA integrity_check") == [("ok",)], "5."
    assert rows_of(data_dir, "PRAGMA foreign_key_check") == [], "5."
    odd = rows_of(
        data_dir,
        "SELECT id, content FROM messages WHERE typeof(content) <> 'text'"
        " OR typeof(sent_at) <> 'integer' OR content = ''",
    )
    assert not odd, f"5. {odd}"

    def unmatched() -> list[str]:
        whole = dict(rows_of(data_dir, "SELECT disk_name, file_size FROM files"))
        parts = {
            f"{name}.part" for (name,) in rows_of(data_dir, "SELECT disk_name FROM open_uploads")
        }
        found = {
            path.name: path
            for path in (data_dir / "uploads").iterdir()
            if re.fullmatch(r"[0-9a-f]{32}(\.part)?", path.name)
        }
        wrong = [name for name in found if name not in whole and name not in parts]
        wrong += [name for name in whole if name not in found]
        return wrong + [
            name
            for name, size in whole.items()
            if name in found and found[name].stat().st_size != size
        ]

    until(lambda: not unmatched(), f"5. flat files and rows differ: {unmatched()}")


class House:
    """The servers of one test module, each started when a row first wants its options."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._servers: dict[tuple[str, ...], Watched] = {}

    def server(self, *options: str, certificate: Certificate | None = None) -> Watched:
        if options not in self._servers:
            more = certificate.options if certificate else ()
            process = ServerProcess(
                self.folder / f"server-{next(_words)}" / "data", *BASE, *options, *more
            )
            process.start()
            self._servers[options] = Watched(process, certificate)
        return self._servers[options]

    def forget(self, watched: Watched) -> None:
        """End a server on which a row failed: the next rows are to tell of their own faults
        only."""
        watched.close()
        watched.process.kill()
        self._servers = {
            options: kept for options, kept in self._servers.items() if kept is not watched
        }

    def close(self) -> None:
        """Each server has survived everything and ends with 0."""
        try:
            for watched in self._servers.values():
                watched.close()
            with ThreadPoolExecutor(max(1, len(self._servers))) as pool:
                statuses = pool.map(lambda watched: watched.process.stop(), self._servers.values())
            for watched, status in zip(self._servers.values(), statuses, strict=True):
                assert status == 0, f"exit status {status} after SIGTERM\n{watched.process.log()}"
                assert "Traceback" not in watched.process.log(), watched.process.log()
        finally:
            for watched in self._servers.values():
                watched.process.kill()


class Place:
    """Where one row is played: clients that are closed behind it, servers that are checked behind
    it."""

    def __init__(self, house: House, tmp_path: Path) -> None:
        self._house, self.tmp_path, self.house_folder = house, tmp_path, house.folder
        self.more_mib = MORE_MIB
        self._clients: list[RawClient] = []
        self._watched: list[Watched] = []
        self.main = self.server()

    def server(self, *options: str, certificate: Certificate | None = None) -> Watched:
        """The module's server with these options besides BASE."""
        watched = self._house.server(*options, certificate=certificate)
        if watched not in self._watched:
            watched.begin()
            self._watched.append(watched)
        return watched

    def connect(self, watched: Watched | None = None, **options: Any) -> RawClient:
        client = (watched or self.main).connect(**options)
        self._clients.append(client)
        return client

    def user(
        self,
        watched: Watched | None = None,
        name: str | None = None,
        receive_buffer: int | None = None,
        **login: Any,
    ) -> RawClient:
        """A client logged in under a fresh name unless one is given."""
        client = self.connect(watched, receive_buffer=receive_buffer)
        chatid = name or fresh_name()
        registered = client.register(chatid)
        assert registered["action"] == "register_success", registered
        reply = client.login(chatid, **login)
        assert reply["action"] == "login_success", reply
        return client

    def private_room(self, owner: RawClient, *members: RawClient) -> str:
        reply = owner.ask(
            "create_room", participants=[member.chatid for member in members], room_name="a room"
        )
        assert reply["action"] == "room_created", reply
        return str(reply["data"]["room_id"])

    def end(self, *, check: bool) -> None:
        for client in self._clients:
            client.close()
        try:
            if check:
                for watched in self._watched:
                    watched.check(self.more_mib)
            passed = check
        except BaseException:
            passed = False
            raise
        finally:
            if not passed:
                for watched in self._watched:
                    self._house.forget(watched)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """To be imported by the modules of rows."""
    made = House(tmp_path_factory.mktemp("house"))
    yield made
    made.close()


def play(row: Row, house: House, tmp_path: Path) -> None:
    """Play a row, then the five checks; they are not made where the row itself failed."""
    place = Place(house, tmp_path)
    passed = False
    try:
        row.act(place, *row.values)
        passed = True
    finally:
        place.end(check=passed)


# --- What rows say --------------------------------------------------------------------------------


def refused(client: RawClient, body: bytes, *codes: str) -> str:
    """E: these bytes as a frame are answered by an error of one of these codes, and the connection
    is usable. The message."""
    client.send_body(body)
    answer = client.receive()
    assert error_code(answer) in codes, f"{answer} to {body[:100]!r}"
    assert client.nothing_before_pong() == []
    return str(answer["message"])


def cut_off(client: RawClient, data: bytes, code: str = "bad_frame") -> str:
    """X: these bytes are answered by one error, then the stream ends. The message."""
    # It may close while we are sending; the answer must be there all the same.
    with contextlib.suppress(ConnectionError):
        client.send_bytes(data)
    packets = client.expect_closed()
    assert [error_code(packet) for packet in packets] == [code], packets
    return str(packets[0]["message"])
