"""Whatever clients make the server hold is counted from its first byte to its last, and the bound
is kept while they come (R-LIM-8)."""

from __future__ import annotations

import socket
import sqlite3
from typing import Any

import pytest
from support.files import Upload
from support.in_process import Clock, Serve, idle_drain, member
from support.patience import until
from support.raw_client import RawClient

import protocol
from server.base.limits import MemoryBudget
from server.net.outbox import Outbox
from server.net.sockets import Stream
from server.running.service import Service
from server.state.open_transactions import LETTER_BYTES
from server.state.recent_messages import Delivered, RecentMessages
from server.writing.delivery import Delivery
from server.writing.writer import Change, Writer

MIB = 1024 * 1024


def begin_frame(client: RawClient, size: int, sent: int) -> None:
    """Send the first `sent` bytes of a frame of `size`."""
    client.send_bytes((size.to_bytes(4, "big") + b'{"action":"ping","x":"' + b"x" * size)[:sent])


def test_a_message_that_is_confirmed_is_counted_until_it_is_stored(serve: Serve) -> None:
    service = serve()
    ada = member(service, "ada")
    text = "x" * 16_000
    tag = ada.propose("lobby", text)["data"]["transaction_id"]
    until(lambda: service.budget.held >= len(text), "an open transaction is not counted")
    with service.database.transaction():
        packet = {"transaction_id": tag, "confirm": True}
        ada.send({"action": "confirm_count", "data": packet, "request_id": "confirm"})
        assert ada.request({"action": "ping"})["action"] == "pong"
        assert service.budget.held >= len(text), "it waits for the disk, and is held"
    assert ada.receive()["action"] == "ack"
    until(lambda: service.budget.held == 0, "it is held on to")


def test_the_counts_of_a_message_are_reserved_before_they_are_made(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that waited for memory with their counts in hand would hold them unseen."""
    service, held = serve(), list[int]()
    ada = member(service, "ada")
    count_letters = protocol.count_letters

    def count(content: str) -> dict[str, int]:
        held.append(service.budget.held)
        return count_letters(content)

    monkeypatch.setattr(protocol, "count_letters", count)
    ada.propose("lobby", "".join(map(chr, range(0x4E00, 0x4E00 + 1_000))))
    assert held[0] >= 1_000 * LETTER_BYTES


def test_nobody_is_closed_for_what_waits_for_the_disk(serve: Serve) -> None:
    service = serve(max_memory=2 * MIB, rate_limit=0)
    clients = [member(service, name) for name in ("ada", "bob", "eve")]
    text = "\U0001f642" + "x" * 16_000  # 4 bytes a character: 64 KB each
    with service.database.transaction():
        for client in clients:
            for number in range(20):
                client.send(
                    {
                        "action": "send_message",
                        "data": {
                            "chatid": client.chatid,
                            "room_id": "lobby",
                            "content": text,
                            "transaction_id": f"k{number}",
                        },
                    }
                )
                packet = {"transaction_id": f"k{number}", "confirm": True}
                client.send({"action": "confirm_count", "data": packet})
        until(lambda: service.budget.over.is_set(), "it is not too much")
        assert service.budget.excess <= 0
        service.watch.make_room()
        assert not any(connection.ended for connection in service.registry.connections())
    for client in clients:
        for _ in range(20):
            assert client.receive_action("ack")["status"] == "success"


def test_half_a_frame_is_counted_as_it_comes_and_until_it_is_answered(serve: Serve) -> None:
    service = serve()
    ada = member(service, "ada")
    begin_frame(ada, 500_000, 200_000)
    until(lambda: service.budget.held >= 200_000, "half a frame is not counted")
    assert service.budget.held < 500_000, "what only the length promises is not"
    ada.close()
    until(lambda: service.budget.held == 0, "it is held on to")


def test_half_frames_never_pass_the_bound_and_the_largest_holder_goes(serve: Serve) -> None:
    service = serve(max_memory=2 * MIB)
    small = member(service, "small")
    large = [member(service, f"large{number}") for number in range(4)]
    begin_frame(small, 100_000, 50_000)
    for client in large:
        begin_frame(client, 1_000_000, 900_000)
    until(lambda: len(service.registry.sessions()) < 5, "nobody is closed")
    until(lambda: service.budget.excess <= 0, "too few are closed")
    assert service.registry.online(1) is not None, "who holds little stays"
    assert service.budget.held <= 2 * MIB


def test_who_is_closed_gives_back_at_once_what_waits_for_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, idle_drain() as drain:
        budget = MemoryBudget(0)
        outbox = Outbox(Stream(ours), drain, budget, 0, Clock(0.0))
        while outbox.waiting == 0:
            outbox.put(bytes(65_536))
        assert budget.held == outbox.waiting > 0
        outbox.close("it held more memory than any other")
        assert budget.held == outbox.waiting == 0


def test_of_an_answer_that_is_nearly_sent_no_more_is_held_than_counted() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, idle_drain() as drain:
        outbox = Outbox(Stream(ours), drain, MemoryBudget(0), 0, Clock(0.0))
        size = 65_536
        while outbox.waiting == 0:
            size *= 2
            outbox.put(bytes(size))
        while outbox._pending is not None and 2 * outbox.waiting >= size:
            theirs.recv(16_384)
            outbox.send_waiting()
        assert outbox._pending is not None
        if outbox.waiting:
            assert len(outbox._pending[0][0].obj) == outbox.waiting  # type: ignore[arg-type]
        outbox.discard()


def test_what_is_remembered_of_messages_takes_a_part_of_the_budget() -> None:
    budget = MemoryBudget(8 * MIB)
    recent = RecentMessages(budget)
    for number in range(100):
        recent.add(Delivered(number, "lobby", 1, 1, {}, bytes(50_000), b""))
    assert MIB - 60_000 < budget._kept <= MIB
    assert recent.get("m99") is not None and recent.get("m0") is None


def test_the_gaps_of_an_upload_are_counted_while_it_is_open(serve: Serve) -> None:
    service = serve(rate_limit=0)
    ada = member(service, "ada")
    upload = Upload(ada, "lobby", "gaps", bytes(1_000), chunk=1)
    upload.init()
    for number in range(1, 201, 2):
        assert upload.send(number)["action"] == "file_send_data"
    assert service.budget.held >= 100 * 80
    assert ada.ask("file_cancel", room_id="lobby", file_path="gaps")["action"] == "file_cancelled"
    until(lambda: service.budget.held == 0, "they are held on to")


class Large(Change):
    """A change of 12 MiB that notes when it is made and told."""

    size = 12 * MIB

    def __init__(self, steps: list[str]) -> None:
        self._steps = steps

    def apply(self, connection: sqlite3.Connection) -> None:
        self._steps.append("made")

    def committed(self, delivery: Delivery) -> None:
        self._steps.append("told")


def test_a_commit_takes_no_more_than_its_bytes(serve: Serve) -> None:
    service, steps = serve(), list[str]()
    assert Writer.BATCH_BYTES == 16 * MIB
    with service.database.transaction():
        service.writer.later(lambda connection: None)  # the writer waits for us, with this one
        until(lambda: not service.writer._queue, "the writer does not take it")
        for _ in range(3):
            service.writer.submit(Large(steps))
    service.writer.run(lambda connection: None)
    assert steps == ["made", "made", "told", "told", "made", "told"]


def answers(service: Service, client: RawClient, count: int) -> list[dict[str, Any]]:
    return [client.receive() for _ in range(count)]


def test_answers_are_sent_before_they_fill_the_memory(serve: Serve) -> None:
    service = serve(rate_limit=0)
    ada = member(service, "ada")
    largest = 0
    (connection,) = service.registry.connections()
    flush = connection.__class__.flush

    def watching(self: Any) -> None:
        nonlocal largest
        largest = max(largest, sum(map(len, self.replies)))
        flush(self)

    connection.__class__.flush = watching  # type: ignore[method-assign]
    try:
        long = {"action": "typing" * 10, "data": {}, "request_id": "r" * 64}
        for _ in range(400):
            ada.send(long)
        answers(service, ada, 400)
    finally:
        connection.__class__.flush = flush  # type: ignore[method-assign]
    assert 0 < largest < 2 * 65_536


def test_a_message_gives_back_as_much_as_it_reserved(serve: Serve) -> None:
    """Storing a text with letters beyond ASCII makes Python keep its UTF-8 beside it."""
    service = serve()
    ada = member(service, "ada")
    for _ in range(3):
        ada.say("lobby", "é" * 8_000)
    until(lambda: service.budget.held == 0, f"{service.budget.held} bytes are left over", 2.0)


class Held:
    """A connection that holds memory until its thread has seen that it is closed: never."""

    session = None
    held = MIB

    def __init__(self, name: str) -> None:
        self.name, self.ended = name, False

    def close(self, reason: str) -> None:
        self.ended = True


def test_who_is_closed_for_its_memory_is_logged_once(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it holds comes free when its thread ends; until then the watch looks again and again."""
    service, all_ = serve(), [Held("first"), Held("second")]
    monkeypatch.setattr(service.registry, "connections", lambda: all_)
    monkeypatch.setattr(MemoryBudget, "excess", MIB)
    assert [service.watch.make_room() for _ in range(20)] == [True] + [False] * 19
    assert [record.args for record in caplog.records if "it holds" in record.message] == [
        ("first", MIB)
    ]
    assert [each.ended for each in all_] == [True, False]
