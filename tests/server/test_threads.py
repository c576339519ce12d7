"""No thread of the server ends in silence: a defect in its loop is logged, and it goes on."""

from __future__ import annotations

import logging
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from support.files import Upload
from support.in_process import Serve, member
from support.patience import patience, until
from support.raw_client import RawClient, error_code

from server.base import threads
from server.net.lingering_close import LingeringCloser
from server.net.outbox import Drain
from server.net.selecting import SlicedSelector, make_selector
from server.running.conversation import Conversation
from server.running.listener import Listener
from server.running.retention import Retention
from server.running.watch import Watch
from server.state.downloads import Downloads
from server.writing.writer import Writer
from storage.errors import StorageError

BROKEN: dict[str, tuple[type, str]] = {
    "accept": (Listener, "service_actions"),
    "drain": (Drain, "_close_stalled"),
    "lingering-close": (LingeringCloser, "_take_new"),
    "retention": (Retention, "_turn"),
    "watch": (Watch, "look"),
    "writer": (Writer, "_take"),
}
"""By thread: a function that its loop calls."""


def once_broken(real: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    """Return a function that fails at its first call, and is `real` from then on."""

    def function(*arguments: Any, **named: Any) -> Any:
        calls.append("called")
        if len(calls) == 1:
            raise RuntimeError("a defect made up by the test")
        return real(*arguments, **named)

    return function


@pytest.fixture(autouse=True)
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PAUSE_SECONDS", 0.01)


@pytest.mark.parametrize("name", BROKEN)
def test_a_thread_outlives_a_defect_and_says_so(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    owner, function = BROKEN[name]
    calls: list[str] = []
    monkeypatch.setattr(owner, function, once_broken(getattr(owner, function), calls))
    monkeypatch.setattr(Watch, "LONGEST_TICK_SECONDS", 0.05)
    service = serve(max_connections=2, retain=1)
    ada, bob = member(service, "ada"), member(service, "bob")
    assert ada.say("lobby", "Hello")["action"] == "ack"
    bob.receive_message("Hello")
    with closing(RawClient(service.listener.port)) as refused:  # one too many
        assert error_code(refused.receive()) == "server_full"
    until(lambda: len(calls) > 1, f"{name} does not go on")
    assert [one for one in caplog.records if one.levelno == logging.ERROR and one.exc_info]


@pytest.mark.parametrize(
    ("owner", "function", "told"),
    [
        (Conversation, "_answer_frames", "the conversation with client-2 failed"),
        (Downloads, "_send", "the download of tides.txt failed"),
    ],
)
def test_where_the_thread_of_one_client_meets_a_defect_this_one_is_closed_and_it_is_told(
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: type,
    function: str,
    told: str,
) -> None:
    service = serve()
    ada, bob = member(service, "ada"), member(service, "bob")
    Upload(ada, "lobby", "tides.txt", b"high").run()
    monkeypatch.setattr(owner, function, once_broken(getattr(owner, function), []))
    named = {**bob.identity("file_down_req"), "room_id": "lobby", "file_path": "tides.txt"}
    bob.send({"action": "file_down_req", "data": named})
    bob.expect_closed()
    assert ada.say("lobby", "Hello")["action"] == "ack"
    until(lambda: told in [one.getMessage() for one in caplog.records if one.exc_info], told)


def test_a_stop_right_behind_the_start_comes_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The accept thread has not begun to serve when it is told to end."""

    def late(turn: Callable[[], None], is_over: Callable[[], bool]) -> None:
        until(lambda: listener._stopping, "it is never stopped")
        threads.repeat(turn, is_over)

    monkeypatch.setattr("server.running.listener.repeat", late)
    listener = Listener("127.0.0.1", 0)
    listener.start(lambda sock, address: "no place")
    stopping = threading.Thread(target=listener.stop, daemon=True)
    stopping.start()
    stopping.join(patience(5))
    assert not stopping.is_alive()


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    made = [socket.socketpair() for _ in range(10)]
    yield made
    for pair in made:
        for sock in pair:
            sock.close()


def test_a_sliced_selector_watches_more_than_one_select_takes(
    pairs: list[tuple[socket.socket, socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SlicedSelector, "SLICE", 3)
    with SlicedSelector() as selector:
        assert selector.select(0.0) == []
        for number, (ours, _) in enumerate(pairs):
            selector.register(ours, selectors.EVENT_READ, number)
        with pytest.raises(KeyError):
            selector.register(pairs[9][0], selectors.EVENT_READ)
        assert selector.select(0.0) == [] and len(selector.get_map()) == 10
        for number in (0, 4, 9):
            pairs[number][1].send(b"x")
        assert {key.data for key, _ in selector.select(5.0)} == {0, 4, 9}
        for number in (0, 4):
            selector.unregister(pairs[number][0])
        with pytest.raises(KeyError):
            selector.unregister(pairs[4][0])
        assert [key.data for key, _ in selector.select(None)] == [9]


def test_where_there_is_only_select_it_is_sliced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)
    with closing(make_selector()) as selector:
        assert isinstance(selector, SlicedSelector)


def test_the_drain_works_by_a_sliced_selector(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)
    monkeypatch.setattr(SlicedSelector, "SLICE", 2)
    service = serve(rate_limit=0)
    ada = member(service, "ada")
    slow = []
    for number in range(4):
        client = RawClient(service.listener.port, receive_buffer=4096)
        client.register(f"slow{number}")
        client.login(f"slow{number}")
        slow.append(client)
    said = [f"{number}" + "x" * 8000 for number in range(60)]
    for text in said:
        ada.say("lobby", text)
    for client in slow:
        assert [client.receive_message()["data"]["content"] for _ in said] == said
        client.close()


def test_a_look_that_fails_keeps_no_change_back(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is taken from the queue is written or refused, whatever else the writer can't do."""
    service = serve()
    ada = member(service, "ada")

    def fail() -> None:
        raise StorageError("busy")

    monkeypatch.setattr(service.writer, "_check_external_changes", fail)
    for number in range(3):
        assert ada.say("lobby", f"{number}")["action"] == "ack"
