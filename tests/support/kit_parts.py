"""Parts for tests of the conformance kit: peers that misbehave, small cases, records."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

from conformance.server import runner
from conformance.server.context import ServerContext
from conformance.server.registry import Case
from conformance.verdicts import Outcome, Report, Verdict
from support.patience import patience

HOST = "127.0.0.1"
SHORT = 0.3
"""A `timeout` for peers that never answer."""
LONG_ENOUGH = patience(30.0)
"""No run against a broken server may take longer, on however busy a machine."""

Converse = Callable[[socket.socket], None]


@contextlib.contextmanager
def peer(converse: Converse) -> Iterator[int]:
    """A server on a free port that treats each connection by `converse`, in a thread; its port."""
    listener = socket.create_server((HOST, 0))
    accepted: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                accepted.append(sock)
                threading.Thread(target=talk, args=(sock,), daemon=True, name="peer").start()

    def talk(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            converse(sock)

    server = threading.Thread(target=serve, daemon=True, name="peers")
    server.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        server.join(patience(10))  # until then it may accept one more
        for sock in accepted:
            sock.close()


def says_nothing(sock: socket.socket) -> None:
    while sock.recv(65536):
        pass


def closes(sock: socket.socket) -> None:
    sock.recv(65536)
    sock.close()


def resets(sock: socket.socket) -> None:
    sock.recv(65536)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def answers(data: bytes) -> Converse:
    def converse(sock: socket.socket) -> None:
        while sock.recv(65536):
            sock.sendall(data)

    return converse


def options(port: int, **values: Any) -> runner.Options:
    return runner.Options(HOST, port, **{"timeout": SHORT, "seed": 7, **values})


def a_case(body: Callable[[ServerContext], None], *rules: str, **values: Any) -> Case:
    title, level = values.pop("title", body.__name__), values.pop("level", "seed")
    return Case(
        values.pop("id", f"test.{body.__name__}"),
        rules or ("R-MSG-1",),
        level,
        title,
        body,
        **values,
    )


def outcome(verdict: Verdict, *rules: str, failed: str = "", **values: Any) -> Outcome:
    return Outcome(
        values.pop("case_id", "a.b"), rules, "seed", verdict, "a title", failed, **values
    )


def report(*outcomes: Outcome, **values: Any) -> Report:
    return Report(
        "localhost:1", "server", "full", 1, "2024-01-01T12:00:00Z", 1.5, tuple(outcomes), **values
    )


def verdicts_of(done: Report) -> dict[str, Verdict]:
    return {result.rule.id: result.verdict for result in done.rule_results()}


def passes(context: ServerContext) -> None:
    context.connect()
