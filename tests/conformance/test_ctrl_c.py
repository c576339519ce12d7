"""Ctrl-C ends every wait of the kit soon, on Windows too: there no signal interrupts a wait, and it
is heard when the wait is over."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, cast

import pytest

from conformance.client.scripted_server import Arrivals
from conformance.hand_ins.command import _finished
from conformance.matrix.pair import Pair
from conformance.server.process import ServerCommand
from conformance.transcript import Transcript
from conformance.wire import Wire


class CtrlC:
    """Ctrl-C as Windows hears it: after the wait of the main thread during which it was pressed."""

    def __init__(self) -> None:
        self.seconds: list[float | None] = []
        """For how long each wait would have gone on."""

    def after(self, wait: Callable[..., Any]) -> Callable[..., Any]:
        """Return a wait that does not wait, and behind which Ctrl-C is heard."""

        def waited(condition: object, timeout: float | None = None) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return wait(condition, timeout)
            self.seconds.append(timeout)
            raise KeyboardInterrupt

        return waited

    def settimeout(self, seconds: float) -> None:
        """As a socket that says nothing."""
        self.seconds.append(seconds)

    def recv(self, size: int) -> bytes:
        raise KeyboardInterrupt


def wait_for_a_packet(key: CtrlC) -> None:
    Wire(cast(Any, key), Transcript()).receive(60.0)


def wait_for_the_client(key: CtrlC) -> None:
    Arrivals().next(60.0)


def wait_for_what_passes(key: CtrlC) -> None:
    pair = Pair.__new__(Pair)
    pair._timeout, pair._passed, pair._seen = 60.0, [], queue.Queue()
    pair._await("ada", True, "ping")


def wait_for_a_line(key: CtrlC) -> None:
    ServerCommand("server {port}", "127.0.0.1", 9).wait_for_line(re.compile("listening"), 60.0)


def wait_for_a_hand_in(key: CtrlC) -> None:
    list(_finished([Future()]))


@pytest.mark.parametrize(
    "wait",
    [
        wait_for_a_packet,
        wait_for_the_client,
        wait_for_what_passes,
        wait_for_a_line,
        wait_for_a_hand_in,
    ],
)
def test_ctrl_c_is_heard_within_a_second(
    wait: Callable[[CtrlC], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = CtrlC()
    monkeypatch.setattr(threading.Condition, "wait", key.after(threading.Condition.wait))
    with pytest.raises(KeyboardInterrupt):
        wait(key)
    assert [seconds is not None and seconds <= 1.0 for seconds in key.seconds] == [True]


def test_each_hand_in_is_told_when_it_is_done() -> None:
    futures: list[Future[Any]] = [Future() for _ in range(3)]
    for future in futures:
        future.set_result(None)
    assert set(_finished(futures)) == set(futures)
