"""The service from the inside: clocks that the test drives, systems without MSG_DONTWAIT, threads
that can't start."""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from pathlib import Path

import pytest
from support.files import Upload, download
from support.in_process import Clock, Serve, member, stranger
from support.patience import until
from support.raw_client import error_code

import protocol
from protocol import Refusal
from server.running import housekeeping
from server.running.watch import SWITCH_SECONDS, WAKES_A_SECOND
from server.state.session import Connection
from storage.errors import StorageError


@pytest.mark.parametrize("force_fallback", [False, True], ids=["MSG_DONTWAIT", "the fallback"])
def test_everything_works_with_and_without_msg_dontwait(serve: Serve, force_fallback: bool) -> None:
    service = serve(force_fallback=force_fallback)
    ada, bob = member(service, "ada"), member(service, "bob", features=["events"])
    ada.say("lobby", "Hello")
    assert bob.answer(bob.receive_message("Hello"))["data"]["confirm"] is True
    data = bytes(range(256)) * 3000
    assert Upload(ada, "lobby", "file", data, chunk=65536).run()["sha256"]
    assert download(bob, "lobby", "file")[0] == data
    assert ada.ask("logout")["action"] == "logout_ack"
    bob.receive_event("user_offline", chatid="ada")
    bob.close()
    ada.close()
    until(lambda: not service.registry.connections(), "a connection stays")
    assert service.budget.held == 0


def test_a_deaf_client_is_closed_and_gives_its_memory_back(serve: Serve) -> None:
    service = serve(max_waiting=65536, rate_limit=0)
    talker = member(service, "talker")
    deaf = stranger(service, receive_buffer=4096)
    deaf.register("deaf")
    deaf.login("deaf")
    others = [member(service, f"other{number}") for number in range(3)]
    for number in range(120):
        talker.say("lobby", f"{number}" + "x" * 8000)
        for other in others:
            other.receive_message(f"{number}" + "x" * 8000)
    until(lambda: len(service.registry.connections()) == 4, "the deaf one keeps its place")
    until(lambda: service.budget.held == 0, "its memory is not given back")


def test_who_takes_nothing_for_the_stall_time_is_closed(serve: Serve) -> None:
    clock = Clock(1000.0)
    service = serve(clock=clock, max_waiting=0, rate_limit=0)
    talker = member(service, "talker")
    deaf = stranger(service, receive_buffer=4096)
    deaf.register("deaf")
    deaf.login("deaf")
    for number in range(100):
        talker.say("lobby", f"{number}" + "x" * 16000)
    until(lambda: service.budget.held > 0, "nothing waits")
    clock.now += 29
    talker.say("lobby", "29 s")
    assert len(service.registry.connections()) == 2
    clock.now += 2
    until(lambda: len(service.registry.connections()) == 1, "it is not closed")


def test_over_the_memory_bound_the_largest_holder_goes(serve: Serve) -> None:
    service = serve(max_memory=300_000, max_waiting=0, rate_limit=0)
    talker = member(service, "talker")
    deaf = stranger(service, receive_buffer=4096)
    deaf.register("deaf")
    deaf.login("deaf")
    for number in range(100):
        talker.say("lobby", f"{number}" + "x" * 16000)
    until(lambda: len(service.registry.connections()) == 1, "nobody is closed")
    talker.say("lobby", "goes on")
    until(lambda: service.budget.held == 0, "its memory is not given back")


def test_open_transactions_count_against_the_memory_and_die_in_time(serve: Serve) -> None:
    clock = Clock(50.0)
    service = serve(clock=clock)
    client = member(service, "ada")
    tags = [
        client.propose("lobby", f"message {number}")["data"]["transaction_id"]
        for number in range(64)
    ]
    refused = client.ask("send_message", room_id="lobby", content="one more")
    assert error_code(refused) == "too_many_pending"
    assert service.budget.held > 64 * 500
    clock.now += 59
    assert client.confirm(tags[0])["status"] == "success"
    clock.now += 2
    assert error_code(client.confirm(tags[1])) == "transaction_not_found"
    until(lambda: service.budget.held == 0, "the others are held on to")


@pytest.mark.parametrize(
    "jump", [-3600, 10 * 365 * 86_400], ids=["an hour back", "ten years forward"]
)
def test_a_jump_of_the_wall_clock_changes_no_order_and_ends_nobody(serve: Serve, jump: int) -> None:
    wall = Clock(1_700_000_000.0)
    service = serve(wall=wall)
    ada, bob = member(service, "ada"), member(service, "bob")
    for number in range(3):
        ada.say("lobby", f"before {number}")
    wall.now += jump
    for number in range(3):
        ada.say("lobby", f"after {number}")
    wall.now -= jump
    ada.say("lobby", "back")
    said = (
        [f"before {number}" for number in range(3)]
        + [f"after {number}" for number in range(3)]
        + ["back"]
    )
    live = [bob.receive_message()["data"] for _ in said]
    assert [message["content"] for message in live] == said
    assert [message["message_id"] for message in live] == sorted(
        message["message_id"] for message in live
    )
    page = bob.ask("get_messages", room_id="lobby", after_id=0)["data"]["messages"]
    assert [message["content"] for message in page] == said
    since = bob.ask("get_messages", room_id="lobby", from_time="2023-11-14T22:13:20Z")["data"][
        "messages"
    ]
    due = said if jump > 0 else [content for content in said if not content.startswith("after")]
    assert [message["content"] for message in since] == due
    assert ada.nothing_before_pong() == [], "and nobody was closed"


def test_who_takes_a_download_slowly_can_talk_meanwhile(serve: Serve) -> None:
    service = serve()
    ada = member(service, "ada")
    Upload(ada, "lobby", "zeros", bytes(8 * 1024 * 1024), chunk=262_144).run()
    slow = stranger(service, receive_buffer=4096)
    slow.register("slow")
    slow.login("slow")
    slow.send(
        {
            "action": "file_down_req",
            "data": {"chat_id": "slow", "room_id": "lobby", "file_path": "zeros"},
        }
    )
    until(lambda: service.budget.held > 256 * 1024, "the download does not run ahead of its reader")
    for word in ("one", "two", "three"):
        said = {"chatid": "slow", "room_id": "lobby", "content": word, "transaction_id": word}
        slow.send({"action": "send_message", "data": said})
        slow.send({"action": "confirm_count", "data": {"transaction_id": word, "confirm": True}})
        ada.receive_message(word)


def test_a_thread_that_can_not_start_costs_only_its_client(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    ada = member(service, "ada")
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if thread.name.startswith("client-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail)
    refused = stranger(service)
    refused.send({"action": "ping"})
    assert [error_code(packet) for packet in refused.expect_closed()] == ["server_full"]
    monkeypatch.undo()
    bob = member(service, "bob")
    ada.say("lobby", "Hello")
    bob.receive_message("Hello")


def test_a_defect_in_one_change_harms_nobody_else(serve: Serve) -> None:
    service = serve()
    ada, bob = member(service, "ada"), member(service, "bob")

    def broken(connection: object) -> None:
        raise ZeroDivisionError("planted")

    with pytest.raises(ZeroDivisionError):
        service.writer.run(broken)
    ada.say("lobby", "Hello")
    bob.receive_message("Hello")


def test_after_the_disk_failed_nothing_is_acknowledged(serve: Serve) -> None:
    from storage.errors import StorageFailed

    service = serve()
    ada = member(service, "ada")
    counted = ada.propose("lobby", "Hello")
    service.writer.disk_failed(StorageFailed("planted"))
    assert error_code(ada.confirm(counted["data"]["transaction_id"])) == "internal_error"
    assert error_code(ada.ask("create_room", participants=[], room_name="x")) == "internal_error"
    assert ada.ask("get_messages", room_id="lobby", after_id=0)["data"]["messages"] == [], (
        "reading goes on until the end"
    )


def test_an_upload_left_alone_for_its_lifetime_is_removed_with_its_file(
    serve: Serve, tmp_path: Path
) -> None:
    wall = Clock(1_700_000_000.0)
    service = serve(wall=wall)
    ada = member(service, "ada")
    upload = Upload(ada, "lobby", "half", b"x" * 3000)
    upload.init()
    upload.send(1)
    ada.close()
    until(lambda: not service.registry.connections(), "a connection stays")
    service.watch.remove_stale_uploads()
    assert len(list((tmp_path / "data" / "uploads").iterdir())) == 1
    wall.now += 86_401
    service.watch.remove_stale_uploads()
    assert list((tmp_path / "data" / "uploads").iterdir()) == []


def test_a_full_disk_keeps_nobody_from_stopping_in_order(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    ada, bob = member(service, "ada"), member(service, "bob")
    ada.say("lobby", "x")

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(housekeeping, "write_marks", full)  # in the next transaction
    with pytest.raises(Refusal):
        service.writer.run(lambda _: None)
    service.watch.remove_stale_uploads()  # it is said in the log, and tried again later
    bob.answer(bob.receive_message("x"))
    assert service.stop() == []
    assert bob.expect_closed() == []


def test_the_watch_goes_on_while_nothing_can_be_stored(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(1_000.0)
    service = serve(clock=clock)
    assert member(service, "guest").ask("logout")["action"] == "logout_ack"

    def refuse(_: object) -> None:
        raise StorageError("nothing is stored any more")

    with monkeypatch.context() as patched:
        patched.setattr(service.writer, "submit", refuse)
        clock.now += 5.0  # now guest's leaving is to be told
        service.watch.look()


@pytest.mark.parametrize(
    "counts",
    [
        (600, 480, 30),
        pytest.param((1_500, 20, 1_200, 5), marks=pytest.mark.long),
        (1_000, 1),
    ],
)
def test_paging_by_time_alone_goes_on_with_the_next_second(
    serve: Serve, counts: tuple[int, ...]
) -> None:
    wall = Clock(1_700_000_000.0)
    service = serve(wall=wall, rate_limit=0, max_pending=0)
    ada = member(service, "ada")
    said = []
    for second, count in enumerate(counts):
        wall.now = 1_700_000_000.0 + second
        for tag in (tags := [f"{second}-{number}" for number in range(count)]):
            ada.send(
                {
                    "action": "send_message",
                    "data": {
                        "chatid": "ada",
                        "room_id": "r",
                        "content": tag,
                        "transaction_id": tag,
                    },
                }
            )
        for tag in tags:
            ada.send({"action": "confirm_count", "data": {"transaction_id": tag, "confirm": True}})
        for _ in tags:
            ada.receive_action("ack")
        said += tags
    seen: list[str] = []
    following = 1_700_000_000
    for _ in counts:
        reply = ada.ask("get_messages", room_id="r", from_time=protocol.format_time(following))[
            "data"
        ]
        seen += [message["content"] for message in reply["messages"]]
        following = protocol.parse_time(reply["messages"][-1]["timestamp"]) + 1
        if not reply["has_more"]:
            break
    assert seen == said, "nothing left out, and nothing twice"


def test_who_is_just_being_answered_is_told_that_the_server_closes(serve: Serve) -> None:
    service = serve(rate_limit=1, rate_burst=1)
    client = member(service, "busy", features=["events"])
    client.ask("list_rooms")
    for _ in range(3):
        # Over its rate: its thread pauses, and looks around four times a second.
        client.send({"action": "list_rooms", "data": {}})
    service.writer.later(lambda _: time.sleep(0.8))  # so long must the announcement wait
    assert service.stop() == []
    client.receive_event("server_closing")
    client.close()


def test_the_more_clients_the_less_often_each_waiting_thread_wakes(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    client = member(service, "one")
    usual = sys.getswitchinterval()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(
                service.registry,
                "connections",
                lambda all=service.registry.connections: all() * 2_000,
            )
            service.watch.look()
        assert sys.getswitchinterval() == pytest.approx(2_000 / WAKES_A_SECOND)
        service.watch.look()
        assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
    finally:
        sys.setswitchinterval(usual)
        client.close()


def test_the_watch_looks_once_at_a_session_that_may_end_meanwhile(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    ada = member(service, "ada")
    ada.propose("lobby", "not confirmed")
    (connection,) = service.registry.connections()
    session, slot = connection.session, Connection.session
    looks = [session]
    fading = property(lambda self: looks.pop() if looks else None, slot.__set__)
    monkeypatch.setattr(Connection, "session", fading)
    service.watch.look()
    monkeypatch.undo()
    assert connection.session is session
