"""What a teacher's act or `--retain` has ended stays ended, whatever is under way then."""

from __future__ import annotations

import math
import os
from types import SimpleNamespace
from typing import Any

import pytest
from support.files import Upload
from support.gates import (
    Gate,
    HeldWriter,
    account_id,
    another_process,
    answer,
    ask_later,
    login_later,
)
from support.in_process import Clock, Serve, member, stranger
from support.patience import until
from support.raw_client import RawClient, error_code
from support.server_parts import session as session_of

from server.base.wall_clock import WallClock
from server.handlers import sessions
from server.running import conversation, housekeeping, retention
from server.running.retention import DAY_SECONDS
from server.running.service import Service
from server.state.restrictions import Restrictions
from storage import accounts, acts

NOW = 1_700_000_000


def teacher(service: Service, name: str = "lee") -> RawClient:
    """Return a teacher who is logged in."""
    stranger(service).register(name)
    service.writer.run(lambda c: accounts.set_role(c, accounts.find(c, name).id, "teacher"))
    client = stranger(service)
    assert client.login(name, features=["events"])["data"]["role"] == "teacher"
    return client


def make_round(service: Service, days: int, now: int) -> None:
    """Let one round of `--retain` be made."""
    object.__setattr__(service.context.settings, "retain", days)
    retention.Retention(service.context, service._housekeeping, service._journal).make_round(now)


def test_a_file_that_was_removed_is_not_confirmed_to_its_sender_again(serve: Serve) -> None:
    service = serve()
    lee, ann = teacher(service), member(service, "ann")
    upload = Upload(ann, "lobby", "work", b"x" * 2000)
    upload.run()
    assert upload.fin()["status"] == "success"
    assert lee.ask("remove_file", room_id="lobby", file_path="work")["action"] == "file_removed"
    assert error_code(upload.fin()) == "file_not_found"


def test_a_message_that_retain_has_erased_is_not_sent_again(serve: Serve) -> None:
    wall = Clock(NOW)
    service = serve(wall=wall)
    ann, bob = member(service, "ann"), member(service, "bob")
    ann.say("lobby", "quagga")
    said = bob.receive_message("quagga")
    wall.now += 3 * DAY_SECONDS
    make_round(service, 1, wall.now)
    reply = bob.ask("get_messages", room_id="lobby", after_id=0)
    assert reply["data"]["messages"] == []
    bob.acknowledge(said["data"]["transaction_id"], "error")
    came = [packet["action"] for packet in bob.nothing_before_pong()]
    assert came == ["error"]


def test_a_download_whose_file_is_erased_ends_with_an_error_and_the_connection_stays(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = Clock(NOW)
    service = serve(wall=wall)
    ann, bob = member(service, "ann"), member(service, "bob")
    Upload(ann, "lobby", "work", os.urandom(600_000), chunk=200_000).run()
    bob.nothing_before_pong()
    reads: list[Any] = []
    real = service.files.read

    def read(*given: Any) -> bytes:
        reads.append(given)
        if len(reads) == 2:
            make_round(service, 1, NOW + 3 * DAY_SECONDS)
        return real(*given)

    monkeypatch.setattr(service.files, "read", read)
    asked = ask_later(bob, "file_down_req", room_id="lobby", file_path="work")
    end = bob.receive_where(
        lambda packet: packet.get("request_id") == asked and packet["action"] == "error"
    )
    assert error_code(end) == "file_not_found"
    assert bob.ask("get_users")["action"] == "users_list"


def test_a_session_whose_place_was_just_taken_stores_nothing_behind_a_ban(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    lee, ann, again = teacher(service), member(service, "ann"), stranger(service)
    counted = ann.propose("lobby", "behind the ban")
    monkeypatch.setattr(service.writer, "BATCH", 1)  # each in a commit of its own
    with HeldWriter(service, monkeypatch) as writer:
        login_later(again, "ann", password="password", take_over=True)
        writer.wait_for_change()
        ask_later(lee, "ban_user", user="ann", seconds=0)
        writer.wait_for_change()
        ann.send(
            {
                "action": "confirm_count",
                "data": {"transaction_id": counted["data"]["transaction_id"], "confirm": True},
            }
        )
        writer.wait_for_change()
    service.writer.run(lambda _: None)
    said = lee.ask("get_messages", room_id="lobby", after_id=0)["data"]["messages"]
    assert said == []


def test_a_login_behind_a_kick_goes_on(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    service = serve()
    lee, again = teacher(service), stranger(service)
    ann = member(service, "ann", features=["events"])
    again.chatid = "ann"
    with HeldWriter(service, monkeypatch) as writer:
        ask_later(lee, "kick_user", user="ann")
        writer.wait_for_change()
        login_later(again, "ann", password="password", take_over=True)
        writer.wait_for_change()
    assert again.receive()["action"] == "login_success"
    assert again.ask("get_users")["action"] == "users_list"
    assert [packet["data"]["type"] for packet in ann.expect_closed()] == ["user_kicked"]


def test_a_login_behind_a_kick_of_the_command_line_goes_on(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    ann, again = member(service, "ann"), stranger(service)
    number = account_id(service, "ann")
    monkeypatch.setattr(housekeeping, "LOOK_EVERY_SECONDS", math.inf)
    with another_process(service) as connection:
        accounts.drop_key(connection, number)
        acts.note(connection, "kick_user", 1, None, user_id=number)
    assert again.login("ann", take_over=True)["action"] == "login_success"
    assert ann.expect_closed() == []
    monkeypatch.setattr(housekeeping, "LOOK_EVERY_SECONDS", 0.0)
    for _ in range(2):
        service.writer.run(lambda _: None)  # the look is before the second
    assert again.ask("get_users")["action"] == "users_list"


def test_an_act_that_fails_revives_no_session_that_was_ended_before() -> None:
    restrictions = Restrictions(Clock(0.0), WallClock(lambda: 1, 0))
    kicked, other = session_of(1), session_of(2)
    kicked.was_ended = True  # by the command line
    for one in (kicked, other):
        restrictions.end(one)
    restrictions.end_changes(committed=False)
    assert (kicked.was_ended, other.was_ended) == (True, False)


def test_a_teacher_who_loses_a_private_room_reads_nothing_unnoticed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    lee, ann = teacher(service), member(service, "ann", features=["events"])
    room = ann.ask("create_room", participants=["lee"], room_name="r")["data"]["room_id"]
    ann.say(room, "secret")
    lee.receive_message("secret")
    with monkeypatch.context() as patch:
        gate = Gate(patch, service.context.page_line, "place")
        asked = ask_later(lee, "get_messages", room_id=room, after_id=0)
        gate.wait_for_arrival()
        reply = ann.ask("remove_user_from_room", room_id=room, user_to_remove="lee")
        assert reply["action"] == "user_removed"
        gate.open()
        came = answer(lee, asked)
    told = [p for p in ann.nothing_before_pong() if p["data"].get("type") == "teacher_reads"]
    assert came["action"] == "error" or told


def test_a_hand_outlives_a_newer_login_also_where_it_is_raised_again_just_then(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    lee, ann, again = teacher(service), member(service, "ann"), stranger(service)
    ann.ask("raise_hand", text="first")
    with HeldWriter(service, monkeypatch) as writer:
        login_later(again, "ann", password="password", take_over=True)
        writer.wait_for_change()
        ask_later(ann, "raise_hand", text="second")
        writer.wait_for_change()
    service.writer.run(lambda _: None)
    shown = {entry["chatid"]: entry for entry in lee.ask("get_sessions")["data"]["sessions"]}
    assert (shown["ann"]["hand"] or {}).get("text") == "second"


def test_a_hand_goes_down_where_the_user_is_not_back_in_time(serve: Serve) -> None:
    clock = Clock(1_000.0)
    service = serve(clock=clock)
    lee = teacher(service)
    people = [member(service, name) for name in ("ann", "bob")]
    for client in people:
        client.ask("raise_hand", text="here")
        leave(service, client)
    back = stranger(service)
    assert back.login("bob")["action"] == "login_success"
    clock.now += 299.0
    for _ in range(2):
        service.writer.run(lambda _: None)  # it looks before the second
    assert up(lee) == {"ann": 1, "bob": 2}
    clock.now += 1.0
    service.writer.run(lambda _: None)  # wakes it
    lee.receive_event("hand_lowered", chatid="ann")
    assert up(lee) == {"bob": 1}, "who is back keeps the place"
    assert service.context.hands.due_at == float("inf")


def test_a_ban_of_one_who_is_away_takes_the_hand_down(serve: Serve) -> None:
    service = serve()
    lee, ann = teacher(service), member(service, "ann")
    ann.ask("raise_hand")
    leave(service, ann)
    lee.ask("ban_user", user="ann", seconds=60)
    lee.receive_event("hand_lowered", chatid="ann")
    assert up(lee) == {}


def leave(service: Service, client: RawClient) -> None:
    """Lose the connection of somebody whose hand is up."""
    with service.database.reading() as reader:
        account = accounts.find(reader, client.chatid)
    assert account is not None
    client.close()
    kept = service.context.hands._kept_until
    until(lambda: account.id in kept, "the connection's end was not noticed")


def up(lee: RawClient) -> dict[str, int]:
    """Return the raised hands with their places, of those who are away, too."""
    entries = lee.ask("get_sessions", offline=True)["data"]["sessions"]
    return {entry["chatid"]: entry["hand"]["place"] for entry in entries if entry["hand"]}


def test_a_message_that_is_hidden_and_shown_at_once_is_told_to_members_alone(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    lee, kim = teacher(service), teacher(service, "kim")
    ann, bob = member(service, "ann"), member(service, "bob", features=["events"])
    room = ann.ask("create_room", participants=["bob"], room_name="r")["data"]["room_id"]
    number = ann.say(room, "secret")["data"]["message_id"]
    with HeldWriter(service, monkeypatch) as writer:  # both in one commit
        hidden = ask_later(lee, "hide_message", message_id=number)
        writer.wait_for_change()
        shown = ask_later(kim, "show_message", message_id=number)
        writer.wait_for_change()
    assert answer(lee, hidden)["action"] == "message_hidden"
    assert answer(kim, shown)["action"] == "message_shown"
    assert bob.receive_event("message_shown")["content"] == "secret"
    came = [packet for client in (lee, kim) for packet in client.nothing_before_pong()]
    assert "secret" not in str(came), "they read it by get_messages, of which members are told"


def test_a_message_that_is_shown_and_hidden_at_once_agrees_with_the_counts_of_either(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    lee, kim = teacher(service), teacher(service, "kim")
    ann, bob = member(service, "ann"), member(service, "bob")
    number = ann.say("lobby", "rude")["data"]["message_id"]
    came = bob.receive_message("rude")
    assert lee.ask("hide_message", message_id=number)["action"] == "message_hidden"
    with HeldWriter(service, monkeypatch) as writer:
        shown = ask_later(kim, "show_message", message_id=number)
        writer.wait_for_change()
        hidden = ask_later(lee, "hide_message", message_id=number)
        writer.wait_for_change()
    assert answer(kim, shown)["action"] == "message_shown"
    assert answer(lee, hidden)["action"] == "message_hidden"
    assert bob.answer(came)["data"]["confirm"] is True


def test_a_download_that_waits_does_not_begin_for_a_banned_one_who_only_reads_on(
    serve: Serve,
) -> None:
    service = serve()
    lee, ann = teacher(service), stranger(service, receive_buffer=4096)
    ann.register("ann")
    ann.login("ann")
    large = bytes(8 * 1024 * 1024)
    Upload(ann, "lobby", "large", large, chunk=262_144).run()
    Upload(ann, "lobby", "small", b"x").run()
    ask_later(ann, "file_down_req", room_id="lobby", file_path="large")
    waiting = ask_later(ann, "file_down_req", room_id="lobby", file_path="small")
    ann.request({"action": "ping"})  # both are asked for, the first runs
    (session,) = (one for one in service.registry.sessions() if one.chatid == "ann")
    ann.end_sending()
    until(lambda: session.has_ended, "its session goes on")
    assert lee.ask("ban_user", user="ann", seconds=0)["action"] == "user_banned"
    (refused,) = (one for one in ann.expect_closed() if one.get("request_id") == waiting)
    assert error_code(refused) == "not_logged_in"


@pytest.mark.parametrize("ended_by", ["kick_user", "change_password", "deluser"])
def test_a_download_of_who_only_reads_on_ends_with_the_session(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, ended_by: str
) -> None:
    service = serve()
    lee, ann = teacher(service), member(service, "ann")
    number = account_id(service, "ann")
    Upload(ann, "lobby", "work", b"x").run()
    gate = Gate(monkeypatch, service.files, "read", threads="download-")
    asked = ask_later(ann, "file_down_req", room_id="lobby", file_path="work")
    gate.wait_for_arrival()
    session = service.registry.holder(number)
    assert session is not None
    ann.end_sending()
    until(lambda: session.has_ended, "its session goes on")
    if ended_by == "kick_user":
        lee.ask("kick_user", user="ann")
    elif ended_by == "change_password":
        again = stranger(service)
        again.login("ann")
        again.ask("change_password", password="password", new_password="new")
    else:
        with another_process(service) as connection:
            accounts.mark_deleted(connection, number, 1)
        until(lambda: session.was_ended, "nobody looks")
        service.writer.run(lambda _: None)  # behind the look
    gate.open()
    came = [packet for packet in ann.expect_closed() if packet.get("request_id") == asked]
    assert [error_code(packet) for packet in came] == ["not_logged_in"]


def test_a_download_ends_with_the_session_whose_own_thread_stands_in_a_line(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    lee, ann = teacher(service), member(service, "ann", features=["events"])
    Upload(ann, "lobby", "work", b"x").run()
    session = service.registry.holder(account_id(service, "ann"))
    assert session is not None
    reading = Gate(monkeypatch, service.files, "read", threads="download-")
    line = Gate(monkeypatch, service.context.page_line, "place")
    asked = ask_later(ann, "file_down_req", room_id="lobby", file_path="work")
    reading.wait_for_arrival()
    ask_later(ann, "get_messages", room_id="lobby", after_id=0)
    line.wait_for_arrival()
    lee.ask("kick_user", user="ann")
    reading.open()
    until(lambda: session.downloads.wait_idle(0), "the download goes on")
    line.open()
    came = ann.expect_closed()
    answers = [packet for packet in came if packet.get("request_id") == asked]
    assert [error_code(packet) for packet in answers] == ["not_logged_in"]
    assert [packet["data"]["type"] for packet in came if packet["action"] == "event"] == [
        "user_kicked"
    ]


def test_a_teacher_who_looks_in_gets_nothing_more_of_a_room_that_is_deleted(serve: Serve) -> None:
    service = serve()
    teacher(service).ask("logout")
    ann, slow = member(service, "ann"), stranger(service, receive_buffer=4096)
    slow.login("lee")
    room = ann.ask("create_room", participants=[], room_name="r")["data"]["room_id"]
    large = bytes(4 * 1024 * 1024)
    Upload(ann, room, "secret", large, chunk=262_144).run()
    ask_later(slow, "file_down_req", room_id=room, file_path="secret")
    slow.receive_action("file_down_meta")
    assert ann.ask("delete_room", room_id=room)["action"] == "room_deleted"
    came = 0
    while (packet := slow.receive_action("file_down_data", "file_down_fin", "error"))[
        "action"
    ] == "file_down_data":
        came += 1
    assert error_code(packet) == "room_not_found" and came * 65536 < len(large)


def test_the_hand_of_a_deleted_account_keeps_no_place(serve: Serve) -> None:
    service = serve()
    lee, ann, bob = teacher(service), member(service, "ann"), member(service, "bob")
    assert ann.ask("raise_hand")["data"]["place"] == 1
    assert bob.ask("raise_hand")["data"]["place"] == 2
    number = account_id(service, "ann")
    ann.close()
    until(lambda: number not in service.registry.online_ids(), "she stays online")
    with another_process(service) as connection:
        accounts.mark_deleted(connection, number, 1)
    lee.receive_event("hand_lowered", chatid="ann")
    assert bob.ask("raise_hand")["data"]["place"] == 1


def test_a_hand_goes_down_with_its_session_whatever_that_ones_thread_does(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    lee, ann = teacher(service), member(service, "ann")
    assert ann.ask("raise_hand")["data"]["place"] == 1
    gate = Gate(monkeypatch, conversation, "end_session")
    with another_process(service) as connection:
        accounts.set_password(connection, account_id(service, "ann"), "a new record")
    lee.receive_event("hand_lowered", chatid="ann")
    gate.open()


def test_what_the_earlier_session_has_read_counts_in_the_list_of_all_rooms(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    lee, ann, again = teacher(service), member(service, "ann"), stranger(service)
    monkeypatch.setattr(service._housekeeping, "_marks_saved_at", math.inf)
    ann.say("lobby", "read me")
    lee.answer(lee.receive_message("read me"))
    lee.ask("get_users")  # the answer is read
    gate = Gate(monkeypatch, conversation, "end_session")
    wait = SimpleNamespace(sleep=lambda seconds: gate.open())
    monkeypatch.setattr(sessions, "time", wait)
    assert again.login("lee", take_over=True)["action"] == "login_success"
    (lobby,) = again.ask("get_all_rooms")["data"]["rooms"]
    gate.open()
    assert lobby["unread"] == 0
