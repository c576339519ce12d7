"""Programs that mean harm to the kit, or just die: no memory without bounds, no "kit error", no
wait beyond a deadline, and what a program printed last stands in the report."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from support.kit_parts import HOST, LONG_ENOUGH, a_case, closes, options, peer
from support.patience import patience

from conformance import command_words, wire
from conformance.client import runner as client_runner
from conformance.client import scripted_server
from conformance.client.process import ClientProgram, Driver
from conformance.endings import Failed
from conformance.last_words import last_words
from conformance.packets import encode, is_too_deep
from conformance.server import runner
from conformance.server.cases.files.steps import ranges
from conformance.server.cases.steps import bytes_of
from conformance.server.checks import Checks
from conformance.server.context import ServerContext
from conformance.server.process import LINE_CHARACTERS, ServerCommand
from conformance.server.target import Target
from conformance.transcript import Transcript
from conformance.verdicts import Outcome, Verdict
from conformance.wire import BrokenFrame, Wire

EVENT = {"action": "event", "data": {"type": "x_flood", "words": ["y" * 20] * 20}}
FORGETFUL_CLIENT = """
import json, os, socket, struct, sys
def frame(packet):
    body = json.dumps(packet).encode()
    return struct.pack(">I", len(body)) + body
def log_in():
    sock = socket.create_connection((os.environ["CHAT_HOST"], int(os.environ["CHAT_PORT"])))
    login = {"chatid": os.environ["CHAT_USER"], "password": os.environ["CHAT_PASSWORD"]}
    sock.sendall(frame({"action": "login", "data": login}))
    return sock
sock = log_in()
"""


def checks() -> Checks:
    return Checks(Target(HOST, 1), "R-MSG-1")


# --- Packets of any shape -------------------------------------------------------------------------


@pytest.mark.parametrize("packet", [None, [], 17, "text", {"data": None}, {"data": [None]}])
def test_what_is_no_object_is_a_failure_of_the_server(packet: Any) -> None:
    with pytest.raises(Failed):
        checks().get(packet, "data.users", list)


@pytest.mark.parametrize("element", [None, 17, True, [], {}, 1.5])
def test_a_null_in_a_list_is_a_failure_of_the_server(element: Any) -> None:
    packet = {"action": "users_list", "data": {"users": ["anna", element]}}
    with pytest.raises(Failed, match="each element"):
        checks().get_list(packet, "data.users", str)
    packet["data"]["users"].pop()
    assert checks().get_list(packet, "data.users", str) == ["anna"]


def a_context() -> ServerContext:
    return ServerContext(Target(HOST, 1), "a.b", "R-MSG-1", seed=1, until=time.monotonic() + 60)


@pytest.mark.parametrize("text", ["!!!!", "QQ", "QQ==\n", "é", "\ud800", "QQ==QQ=="])
def test_bad_base64_is_a_failure_of_the_server(text: str) -> None:
    with pytest.raises(Failed, match="base64"):
        bytes_of(a_context(), text)


@pytest.mark.parametrize(
    "received", [None, [None], [[1]], [[1, 10**15]], [[2, 1]], [[-1, 3]], [["1", "2"]], [[1, True]]]
)
def test_ranges_that_can_not_be_are_a_failure_of_the_server(received: Any) -> None:
    reply = {"action": "file_send_init", "data": {"received": received}}
    with pytest.raises(Failed):
        ranges(a_context(), reply)


def test_depth_is_bounded_where_packets_are_read() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = {"a": [deep]}
    assert is_too_deep(deep)
    assert not is_too_deep({"a": [{"b": [1, {}]}]})


@pytest.mark.parametrize(
    "body", [b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 200 + b"1" + b"}" * 200, b"1" * 5_000]
)
def test_payloads_that_no_parser_likes_are_broken_frames(body: bytes) -> None:
    ours, theirs = socket.socketpair()
    with contextlib.closing(theirs):
        theirs.sendall(len(body).to_bytes(4, "big") + body)
        with pytest.raises(BrokenFrame):
            Wire(ours, Transcript(), timeout=patience(5.0)).receive()
        ours.close()


# --- Floods ---------------------------------------------------------------------------------------


def floods(sock: socket.socket) -> None:
    sock.recv(65536)
    while True:
        sock.sendall(encode(EVENT) * 100)


def asks_a_flood(context: ServerContext) -> None:
    connection = context.connect()
    connection.send({"action": "ping"})
    connection.expect("pong")


def needs_a_flood(context: ServerContext) -> None:
    with context.given("a pong"):
        asks_a_flood(context)


@pytest.mark.parametrize("body", [asks_a_flood, needs_a_flood])
def test_a_server_that_floods_fails_the_rule_under_test_in_bounded_memory(
    body: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MAX_ASIDE_PACKETS", 500)
    with peer(floods) as port:
        (one,) = runner.run(options(port, timeout=60.0), [a_case(body, "R-SESS-13")]).outcomes
    assert (one.verdict, one.rule_id) == (Verdict.FAIL, "R-SESS-13"), one.actual
    assert "501 other packets came that nobody asked for" in one.actual


def test_what_is_asked_for_later_is_taken_off_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_ASIDE_BYTES", 3 * len(encode(EVENT)))
    ours, theirs = socket.socketpair()
    with contextlib.closing(theirs):
        connection = Wire(ours, Transcript(), timeout=patience(5.0))
        for _ in range(10):
            theirs.sendall(encode(EVENT) * 2 + encode({"action": "pong"}))
            connection.expect("pong")
            assert [connection.receive()["action"] for _ in range(2)] == ["event"] * 2
        connection.close()


def test_what_is_taken_in_meanwhile_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "TAKE_IN_BYTES", 1_000)
    with peer(floods) as port:
        connection = Wire.connect(HOST, port, Transcript())
        connection.send({"action": "ping"})
        for _ in range(20):
            connection.take_in()
        assert len(connection._buffer) < 20 * 262_144 + 1
        connection.close()


def grade_client(program: str, *cases: str, **changes: Any) -> list[Outcome]:
    values: dict[str, Any] = {
        "commands": [[sys.executable, "-c", FORGETFUL_CLIENT + program]],
        "driver": None,
        "faults": None,
        "level": "robust",
        "seed": 7,
        "timeout": 5.0,
        "limit": None,
        "rules": [],
        "case": [f"client.{name}" for name in cases],
        "points": {},
        "transcripts": False,
        "run_as": "",
    }
    return list(client_runner.run(argparse.Namespace(**{**values, **changes})).outcomes)


CLIENT_FLOODS = """
packet = {"action": "get_messages", "data": {"chatid": "x", "room_id": "lobby", "x": ["y"] * 200}}
try:
    while True: sock.sendall(frame(packet) * 50)
except OSError: pass
"""


def test_a_client_that_floods_fails_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripted_server, "MAX_CASE_PACKETS", 300)
    (one,) = grade_client(CLIENT_FLOODS, "confirms_counts_that_agree")
    assert (one.verdict, one.rule_id) == (Verdict.FAIL, "R-MSG-3")
    assert "packets" in one.actual


def test_a_client_that_floods_does_not_outlast_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripted_server, "SEND_SECONDS", 0.5)
    began = time.monotonic()
    grade_client(CLIENT_FLOODS, "logs_in", "counts_what_it_receives", limit=1.0)
    assert time.monotonic() - began < LONG_ENOUGH


# --- Output and files without end -----------------------------------------------------------------


def server_program(tmp_path: Path, *, then: str) -> str:
    """The command of a server that takes one connection, reads once, and goes on as told."""
    path = tmp_path / "server.py"
    path.write_text(
        "import os, signal, socket, sys\n"
        "server = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        "while True:\n"
        "    sock, _ = server.accept()\n"
        "    if sock.recv(65536):\n"
        f"        {then}\n",
        "utf-8",
    )
    return f"{command_words.join([sys.executable, str(path)])} {{port}}"


def test_an_endless_line_is_kept_in_pieces(tmp_path: Path) -> None:
    endless = "os.write(1, b'x' * 5_000_000 + b'\\n'); print('done', flush=True)"
    with ServerCommand(server_program(tmp_path, then=endless), HOST, 0) as process:
        with socket.create_connection((HOST, process.port)) as sock:
            sock.sendall(b"go")
        assert process.wait_for_line(re.compile("^done$"), LONG_ENOUGH)
        assert max(map(len, process.output().splitlines())) <= LINE_CHARACTERS


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    program = ClientProgram(command, {"folder": str(tmp_path)}, Driver())
    try:
        with open(tmp_path / "a.bin", "wb") as file:
            file.truncate(20 << 30)  # sparse: it takes no place on the disk
        problem = program.find_file("a.bin", b"1234", 0.1, lambda: None)
    finally:
        program.close()
    assert f"with {20 << 30} bytes" in problem


# --- Programs that die ----------------------------------------------------------------------------


def waits_for_an_answer(context: ServerContext) -> None:
    connection = context.connect()
    connection.send({"action": "ping"})
    connection.expect("pong")


@pytest.mark.parametrize(
    ("then", "told"),
    [
        ("print('line one'); print('boom', flush=True); os._exit(7)", "exit status 7"),
        pytest.param(
            "print('line one'); print('boom', flush=True); os.kill(os.getpid(), signal.SIGKILL)",
            "signal SIGKILL",
            marks=pytest.mark.skipif(os.name == "nt", reason="Windows has no signals"),
        ),
    ],
)
def test_how_a_server_died_stands_in_the_failure(tmp_path: Path, then: str, told: str) -> None:
    command = server_program(tmp_path, then=then)
    done = runner.run(
        options(0, timeout=patience(10.0), start_command=command),
        [a_case(waits_for_an_answer, "R-SESS-13")],
    )
    (one,) = done.outcomes
    assert one.verdict is Verdict.FAIL
    assert told in one.actual
    assert "line one / boom" in one.actual


class PrintsLate(threading.Condition):
    """Of a server that prints a traceback only while somebody waits for what it prints."""

    def __init__(self, lines: Iterable[str], kept: deque[tuple[float, str]]) -> None:
        super().__init__()
        self.left, self.kept = list(lines), kept

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None and timeout < 1
        if self.left:
            self.kept.append((time.monotonic(), self.left.pop(0)))
            return True
        return False


def test_the_traceback_behind_the_end_of_a_connection_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with peer(closes) as port:
        process = ServerCommand("unused", HOST, port)
        monkeypatch.setattr(process, "is_running", lambda: True)
        lines = ["Traceback (most recent call last):", "KeyError: 'room_id'"]
        monkeypatch.setattr(process, "_changed", PrintsLate(lines, process._lines))
        monkeypatch.setattr("conformance.server.process.PRINTING_SECONDS", 30.0)
        given = options(port, timeout=patience(10.0))
        one_run = runner._Run(given, [a_case(waits_for_an_answer)], lambda one: None)
        one_run.target.process = process
        (one,) = one_run.go().outcomes
    notes = [line.note for line in one.transcript]
    assert notes[-2:] == [f"it printed: {line}" for line in lines]
    assert one.actual == "the connection was closed; the server printed: KeyError: 'room_id'"


def test_a_server_that_prints_without_end_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = ServerCommand("unused", HOST, 1)
    monkeypatch.setattr(process._changed, "wait", lambda seconds: True)
    monkeypatch.setattr("conformance.server.process.PRINTING_SECONDS", 0.01)
    waiting = threading.Thread(target=process.let_it_print, daemon=True)
    waiting.start()
    waiting.join(patience(10))
    assert not waiting.is_alive()


def test_how_a_client_died_stands_in_the_failure() -> None:
    (one,) = grade_client(
        "print('line one'); print('boom', flush=True); os._exit(7)", "confirms_counts_that_agree"
    )
    assert one.verdict is Verdict.FAIL
    assert "exit status 7" in one.actual and "line one / boom" in one.actual


def test_a_program_that_lives_is_not_said_to_have_died(tmp_path: Path) -> None:
    command = server_program(tmp_path, then="print('alive', flush=True)")
    done = runner.run(
        options(0, timeout=0.3, start_command=command), [a_case(waits_for_an_answer, "R-SESS-13")]
    )
    assert "ended" not in done.outcomes[0].actual


def test_last_words_are_the_last_twenty_lines_and_bounded() -> None:
    told = last_words(1, "\n".join(f"line {number}" for number in range(100)))
    assert told.startswith("ended with exit status 1; it printed last: line 80 / line 81")
    assert told.endswith("line 99")
    assert len(last_words(0, "x" * 1_000_000)) < 1_000
    assert last_words(0, "") == "ended with exit status 0; it printed nothing"
    if os.name != "nt":
        assert "signal SIGSEGV" in last_words(-signal.SIGSEGV, "")
    assert "signal 99" in last_words(-99, "")
