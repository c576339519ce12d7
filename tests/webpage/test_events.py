"""Events from the program to its viewers: in order, numbered, bounded, and nobody is waited for."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.page_client import PageClient
from support.patience import patience

from webpage import Page, listening, requests, ring
from webpage.ring import Ring


@pytest.fixture
def page(make_page: Callable[..., Page]) -> Page:
    return make_page()


@pytest.fixture
def client(page: Page) -> PageClient:
    client = PageClient(page.link)
    token = client.token
    assert client.enter().json == {"role": "control", "token": token, "title": "Test"}
    return client


def test_a_viewer_is_greeted_with_the_state_and_gets_all_that_is_kept(
    page: Page, client: PageClient
) -> None:
    page.publish({"kind": "a"})
    page.publish({"kind": "b", "text": "</script>\u2028 \ud800 é"})
    with client.watch() as watch:
        hello = watch.next()
        assert (hello["kind"], hello["title"], hello["role"]) == ("hello", "Test", "control")
        assert hello["state"] == {"rooms": 3}
        assert watch.next() == {"kind": "a"}
        assert watch.next() == {"kind": "b", "text": "</script>\u2028 \ud800 é"}
        page.publish({"kind": "c"})
        assert watch.next() == {"kind": "c"}


def test_a_viewer_who_comes_back_goes_on_where_it_was(page: Page, client: PageClient) -> None:
    with client.watch() as watch:
        watch.next()
        page.publish({"n": 1})
        assert watch.next() == {"n": 1}
        after = watch.last_id
    page.publish({"n": 2})
    with client.watch(after=after) as watch:
        assert watch.next()["kind"] == "hello"
        assert watch.next() == {"n": 2}


@pytest.mark.parametrize(
    "after", ["", "x", "-5", "other-1", "1", "%20-1", "-", "{run}-x", "{run}-²"]
)
def test_an_id_of_another_run_begins_at_the_beginning(
    page: Page, client: PageClient, after: str
) -> None:
    page.publish({"n": 1})
    with client.watch() as watch:
        run = watch.next()["run"]
    with client.watch(after=after.format(run=run).replace("²", "%C2%B2")) as watch:
        watch.next()
        assert watch.next() == {"n": 1}


def test_an_id_of_the_future_is_the_newest(page: Page, client: PageClient) -> None:
    page.publish({"n": 1})
    with client.watch() as watch:
        run = watch.next()["run"]
    with client.watch(after=f"{run}-99") as watch:
        watch.next()
        page.publish({"n": 2})
        assert watch.next() == {"n": 2}


def test_what_a_viewer_has_missed_is_counted(make_page: Callable[..., Page]) -> None:
    page = make_page(max_events=10)
    client = PageClient(page.link)
    client.enter()
    for number in range(1, 26):
        page.publish({"n": number})
    with client.watch() as watch:
        watch.next()
        assert watch.next() == {"kind": "gap", "lost": 15}
        assert [watch.next()["n"] for _ in range(10)] == list(range(16, 26))


def test_a_slow_viewer_is_dropped_and_nobody_waits_for_it(
    page: Page, client: PageClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "SEND_SECONDS", patience(1.0))
    monkeypatch.setattr(requests, "SEND_BUFFER_BYTES", 4096)
    slow = client.watch(buffer=4096)
    with slow, client.watch() as quick:
        quick.next()
        text = "x" * 30_000
        longest = 0.0
        for number in range(60):
            started = time.perf_counter()
            page.publish({"n": number, "text": text})
            longest = max(longest, time.perf_counter() - started)
        assert longest < patience(1.0)
        assert [quick.next()["n"] for _ in range(60)] == list(range(60))
        deadline = time.monotonic() + patience(10)
        while sum(each.name.startswith("page-") for each in threading.enumerate()) > 2:
            assert time.monotonic() < deadline, "the slow one is still served"
            time.sleep(0.02)  # its thread, and that of `page-accept`, and the quick one's


def test_a_viewer_who_leaves_gives_its_place_back(
    page: Page, client: PageClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "QUIET_SECONDS", 0.05)
    for _ in range(3):
        with client.watch() as watch:
            watch.next()
    deadline = time.monotonic() + patience(10)
    while any(re.fullmatch(r"page-\d+", each.name) for each in threading.enumerate()):
        assert time.monotonic() < deadline, "it is still served"
        time.sleep(0.01)


def test_a_quiet_stream_says_that_it_is_there(
    page: Page, client: PageClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "QUIET_SECONDS", 0.05)
    with client.watch() as watch:
        watch.next()
        assert watch.sock.recv(100).startswith(b": still here")


def test_closing_ends_every_viewer_and_every_thread(page: Page, client: PageClient) -> None:
    with client.watch() as watch, client.connect():  # the second asks for nothing yet
        watch.next()
        page.close()
        with pytest.raises(EOFError):
            watch.next()
    assert not [each for each in threading.enumerate() if each.name.startswith("page-")]


def test_a_page_that_was_never_started_can_be_closed(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("x", "utf-8")
    page = Page("127.0.0.1", 0, tmp_path, "Test", {})
    page.publish({"n": 1})
    page.close()
    with socket.create_server(("127.0.0.1", page.port)):
        pass  # the port is free


def test_a_port_that_is_taken_is_an_error_of_the_system(page: Page, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("x", "utf-8")
    with pytest.raises(OSError):
        Page("127.0.0.1", page.port, tmp_path, "Test", {})


# --- Addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["0.0.0.0", ""])
def test_a_page_for_a_class_shows_the_wall_an_address_that_others_reach(
    tmp_path: Path, address: str
) -> None:
    (tmp_path / "index.html").write_text("x", "utf-8")
    page = Page(address, 0, tmp_path, "Test", {})
    try:
        assert page.link.startswith("http://127.0.0.1:")
        assert "0.0.0.0" not in page.wall_link
    finally:
        page.close()


def test_without_a_network_the_wall_is_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: Any) -> None:
        raise OSError("no way there")

    (tmp_path / "index.html").write_text("x", "utf-8")
    page = Page("0.0.0.0", 0, tmp_path, "Test", {})
    monkeypatch.setattr(socket.socket, "connect", no_network)
    try:
        assert page.wall_link.startswith("http://127.0.0.1:")
    finally:
        page.close()


def test_hosts_are_those_of_the_connections_own_address() -> None:
    listener = listening.Listener("127.0.0.1", 0)
    try:
        port = listener.port
        assert f"[::1]:{port}" in listener.hosts("127.0.0.1")
        lan = listener.hosts("192.168.1.20")
        assert f"192.168.1.20:{port}" in lan and f"localhost:{port}" not in lan
        assert f"{socket.gethostname().lower()}:{port}" in lan
        assert f"[fe80::1]:{port}" in listener.hosts("fe80::1%eth0")
        listener.port = 80
        assert "192.168.1.20" in listener.hosts("192.168.1.20"), "browsers leave :80 out"
    finally:
        listener.close()


# --- The ring -------------------------------------------------------------------------------------


def test_the_ring_is_bounded_in_bytes_too() -> None:
    kept = Ring(max_bytes=1000)
    for number in range(100):
        kept.publish({"n": number, "text": "x" * 80})
    batch = kept.after(0, 0)
    assert batch.lost + len(batch.events) == 100 == batch.last
    assert 0 < sum(map(len, batch.events)) <= 1000


def test_an_event_that_is_too_large_is_told_by_its_kind() -> None:
    kept = Ring()
    kept.publish({"kind": "k" * 300, "text": "x" * 100_000})
    (data,) = kept.after(0, 0).events
    assert len(data) < 300 and b'"too_large"' in data


def test_a_batch_is_bounded_in_number_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Ring()
    for number in range(20):
        kept.publish({"n": number})
    monkeypatch.setattr(ring, "BATCH", 5)
    first = kept.after(0, 0)
    assert (len(first.events), first.last) == (5, 5)
    monkeypatch.setattr(ring, "BATCH_BYTES", 1)
    assert kept.after(first.last, 0).events == (b'{"n":5}',), "one at least"


def test_waiting_ends_with_the_first_event_or_the_end() -> None:
    kept = Ring()
    assert kept.after(0, 0.01).events == ()
    timer = threading.Timer(0.05, kept.publish, [{"n": 1}])
    timer.name = "publisher"
    timer.start()
    assert kept.after(0, patience(10)).events == (b'{"n":1}',)
    timer.join()
    kept.close()
    assert kept.after(1, patience(10)).events == () and kept.is_closed


def test_an_event_may_change_after_it_was_told() -> None:
    kept = Ring()
    event = {"n": 1}
    kept.publish(event)
    event["n"] = 2
    assert kept.after(0, 0).events == (b'{"n":1}',)
