"""What was checked on one thread still holds where it is used on another: each test stops a thread
of the server behind its check, changes what it relied on, and lets it go on."""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.files import Upload, read_download
from support.gates import (
    Gate,
    HeldWriter,
    account_id,
    another_process,
    answer,
    ask_later,
    login_later,
    take_out,
)
from support.in_process import Serve, member, stranger
from support.patience import patience, until
from support.raw_client import Packet, RawClient, error_code

from protocol import Refusal
from server.base.locks import Rank, RankedLock
from server.base.refusals import no_such_room
from server.handlers import sessions
from server.handlers.sessions import check_current
from server.running.service import Service
from server.state.session import Session
from storage import accounts, messages
from storage.errors import StorageError
from storage.passwords import hash_password

SECRET = "said after the removal"


# --- A login and the change that ends it (R-SESS-15) ----------------------------------------------


def test_a_login_with_the_old_password_does_not_pass_its_change(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    ada, intruder = member(service, "ada"), stranger(service)
    with HeldWriter(service, monkeypatch) as writer:
        asked = ask_later(ada, "change_password", password="password", new_password="new")
        writer.wait_for_change()
        login_later(intruder, "ada", password="password", take_over=True)
        writer.wait_for_change()
    assert answer(ada, asked)["action"] == "password_changed"
    assert intruder.receive()["action"] == "login_fail"
    assert ada.ask("get_users")["action"] == "users_list", "the right session goes on"
    assert intruder.login("ada", "new", take_over=True)["action"] == "login_success"


def test_a_login_that_came_first_is_ended_by_the_change_of_the_password(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    ada, intruder = member(service, "ada"), stranger(service)
    with HeldWriter(service, monkeypatch) as writer:
        login_later(intruder, "ada", password="password", take_over=True, features=["events"])
        writer.wait_for_change()
        ask_later(ada, "change_password", password="password", new_password="new")
        writer.wait_for_change()
    came = intruder.expect_closed()
    assert came[0]["action"] == "login_success"
    ended = {"type": "session_ended", "reason": "password_changed"}
    assert [packet["data"] for packet in came[1:]] == [ended]
    late = stranger(service)
    key = came[0]["data"]["session_key"]
    assert late.login("ada", None, session_key=key)["action"] == "login_fail"
    assert late.login("ada", "new")["action"] == "login_success"


@pytest.mark.parametrize("command", ["passwd", "deluser"])
def test_a_login_does_not_pass_what_the_teacher_does(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    service = serve()
    stranger(service).register("ada")
    number, late = account_id(service, "ada"), stranger(service)
    submitted = HeldWriter(service, monkeypatch)
    with another_process(service) as connection:
        if command == "passwd":
            accounts.set_password(connection, number, hash_password("new", 4))
        else:
            accounts.mark_deleted(connection, number, 1)
        login_later(late, "ada", password="password")
        submitted.wait_for_change()
    assert late.receive()["action"] == "login_fail"
    assert late.ask("get_users")["code"] == "not_logged_in"
    assert service.registry.sessions() == []


@pytest.mark.parametrize(
    ("command", "reason"), [("passwd", "password_changed"), ("deluser", "account_deleted")]
)
def test_a_session_that_the_teacher_ends_is_told_why_and_hears_nothing_more(
    serve: Serve, command: str, reason: str
) -> None:
    service = serve()
    told, plain = member(service, "told", features=["events"]), member(service, "plain")
    other = member(service, "other")
    with another_process(service) as connection:
        for name in ("told", "plain"):
            number = account_id(service, name)
            if command == "passwd":
                accounts.set_password(connection, number, "a new record")
            else:
                accounts.mark_deleted(connection, number, 1)
    until(lambda: len(service.registry.online_ids()) == 1, "they stay online")
    other.say("lobby", "not for them")
    came = [packet["data"] for packet in told.expect_closed()]
    ended = {"type": "session_ended", "reason": reason}
    assert came[-1] == ended and came.count(ended) == 1
    assert plain.expect_closed() == []


@pytest.mark.parametrize("ended_by", ["logout", "a login with the password"])
def test_a_login_by_key_does_not_pass_the_end_of_its_key(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, ended_by: str
) -> None:
    service = serve()
    ada, other, late = member(service, "ada"), stranger(service), stranger(service)
    with HeldWriter(service, monkeypatch) as writer:
        if ended_by == "logout":
            ask_later(ada, "logout")
        else:
            login_later(other, "ada", password="password", take_over=True)
        writer.wait_for_change()
        login_later(late, "ada", session_key=ada.session_key)
        writer.wait_for_change()
    assert late.receive()["action"] == "login_fail"
    if ended_by != "logout":
        assert other.receive()["action"] == "login_success"
        assert other.nothing_before_pong() == [], "and keeps its place"


def test_of_two_logins_at_once_one_gets_the_place(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    stranger(service).register("ada")
    first, second = stranger(service), stranger(service)
    with HeldWriter(service, monkeypatch) as writer:
        for client in (first, second):
            login_later(client, "ada", password="password")
            writer.wait_for_change()
    replies = [client.receive() for client in (first, second)]
    assert [reply["action"] for reply in replies] == ["login_success", "login_fail"]
    assert first.ask("ping")["action"] == "pong"
    key = replies[0]["data"]["session_key"]
    assert stranger(service).login("ada", None, session_key=key)["action"] == "login_success"


def test_a_password_of_the_teacher_is_not_overwritten_by_a_change_checked_earlier(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    ada = member(service, "ada")
    submitted = HeldWriter(service, monkeypatch)
    number = account_id(service, "ada")
    with another_process(service) as connection:
        accounts.set_password(connection, number, hash_password("teacher's", 4))
        ask_later(ada, "change_password", password="password", new_password="own")
        submitted.wait_for_change()
    ada.expect_closed()
    assert stranger(service).login("ada", "teacher's")["action"] == "login_success"


@pytest.mark.parametrize("command", ["passwd", "deluser"])
@pytest.mark.parametrize("action", ["confirm_count", "create_room", "file_send_init", "leave_room"])
def test_an_ended_session_changes_nothing_more(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, action: str, command: str
) -> None:
    service = serve()
    ada, bob = member(service, "ada"), member(service, "bob")
    transaction = ada.propose("lobby", SECRET)["data"]["transaction_id"]
    requests: dict[str, Packet] = {
        "confirm_count": {"transaction_id": transaction, "confirm": True},
        "create_room": {"participants": [], "room_name": "x"},
        "file_send_init": {
            "room_id": "lobby",
            "file_path": "x",
            "file_size": 1,
            "file_type": "x",
            "total_packets": 1,
        },
        "leave_room": {"room_id": "lobby"},
    }
    number = account_id(service, "ada")
    submitted = HeldWriter(service, monkeypatch)
    with another_process(service) as connection:
        if command == "passwd":
            accounts.set_password(connection, number, hash_password("new", 4))
        else:
            accounts.mark_deleted(connection, number, 1)
        ask_later(ada, action, **requests[action])
        submitted.wait_for_change()
    ada.expect_closed()
    bob.say("lobby", "a fence")
    with service.database.reading() as reader:
        stored = [
            reader.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
            for table in ("messages", "rooms", "open_uploads", "departures")
        ]
    assert stored == [1, 1, 0, 0], "only the fence, and only the lobby"


# --- A login that fails (R-SESS-17) ---------------------------------------------------------------


def test_a_take_over_that_can_not_be_stored_leaves_the_place_alone(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    ada, bob, late = member(service, "ada"), member(service, "bob"), stranger(service)
    with monkeypatch.context() as patched:
        _fill_the_disk(service, patched)
        reply = late.login("ada", take_over=True)
        assert error_code(reply) == "storage_full"
    bob.say("lobby", "still heard")
    ada.receive_message("still heard")
    assert ada.nothing_before_pong() == []
    again = stranger(service)
    assert again.login("ada", None, session_key=ada.session_key)["action"] == "login_success"
    assert late.login("bob", take_over=True)["action"] == "login_success", "and can try again"


def test_a_login_that_was_given_up_ends_no_key_later(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    ada, late = member(service, "ada"), stranger(service)
    run = service.writer.run
    with HeldWriter(service, monkeypatch), monkeypatch.context() as patched:
        patched.setattr(service.writer, "run", lambda *given: run(*given, patience=0.1))
        reply = late.login("ada", take_over=True)
        assert error_code(reply) == "internal_error"
    service.writer.run(lambda _: None)  # what the login had handed in is done by now
    again = stranger(service)
    assert again.login("ada", None, session_key=ada.session_key)["action"] == "login_success"


def give_role(service: Service, name: str, role: str) -> None:
    """Do what the command `role` does."""
    with another_process(service) as connection:
        accounts.set_role(connection, account_id(service, name), role)


def test_members_are_told_of_a_teacher_whose_login_is_given_up_while_it_is_committed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve(private_rooms="with-teacher")
    ada, lee = member(service, "ada", features=["events"]), stranger(service)
    room = ada.ask("create_room", participants=[], room_name="mine")["data"]["room_id"]
    lee.register("lee")
    give_role(service, "lee", "teacher")
    gate = Gate(monkeypatch, service.writer, "_tell_all", "writer")

    def give_up(*given: Any) -> None:
        service.writer.later(*given)
        gate.wait_for_arrival()
        raise StorageError("the disk did not answer")

    with monkeypatch.context() as patched:
        patched.setattr(service.writer, "run", give_up)
        assert error_code(lee.login("lee")) == "internal_error"
    gate.open()
    ada.receive_event("user_added", room_id=room, chatid="lee")


def test_who_is_no_teacher_any_more_reads_only_the_private_rooms_of_invitations(
    serve: Serve,
) -> None:
    service = serve(private_rooms="with-teacher")
    ada, lee = member(service, "ada", features=["events"]), stranger(service)
    early = ada.ask("create_room", participants=[], room_name="early")["data"]["room_id"]
    lee.register("lee")
    give_role(service, "lee", "teacher")
    lee.login("lee")
    late, invited, added = (
        ada.ask("create_room", participants=names, room_name="late")["data"]["room_id"]
        for names in ([], ["lee"], [])
    )
    reply = ada.ask("add_user_to_room", room_id=added, user_to_add="lee")
    assert reply["action"] == "user_added"
    give_role(service, "lee", "student")
    lee = stranger(service)
    assert lee.login("lee", take_over=True)["action"] == "login_success"
    for room in (early, late):
        ada.receive_event("user_removed", room_id=room, chatid="lee")
        assert error_code(lee.ask("get_room_users", room_id=room)) == "room_not_found"
        assert ada.ask("get_room_users", room_id=room)["data"]["users"] == ["ada"]
    for room in (invited, added):
        assert lee.ask("get_room_users", room_id=room)["data"]["users"] == ["ada", "lee"]


def test_a_logout_that_can_not_be_stored_changes_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    ada, bob = member(service, "ada"), member(service, "bob", features=["events"])
    bob.nothing_before_pong()

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(accounts, "end_key", refuse)
        assert error_code(ada.ask("logout")) == "storage_full"
    bob.say("lobby", "still heard")
    ada.receive_message("still heard")
    ada.say("lobby", "still there")
    bob.receive_message("still there")
    assert bob.nothing_before_pong() == [], "nobody is told that ada has gone"
    assert ada.ask("logout")["action"] == "logout_ack"
    late = stranger(service)
    assert late.login("ada", None, session_key=ada.session_key)["action"] == "login_fail"


def test_what_was_read_is_kept_where_a_logout_can_not_be_stored(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    ada, bob = member(service, "ada"), member(service, "bob")
    monkeypatch.setattr(service._housekeeping, "_marks_saved_at", math.inf)
    monkeypatch.setattr(sessions, "MARKS_AT_ONCE", 1)
    for room in ("lobby", "zoo", "maths"):
        bob.say(room, "read me")
        ada.answer(ada.receive_message("read me", room))

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(accounts, "end_key", refuse)
        assert error_code(ada.ask("logout")) == "storage_full"
    assert ada.ask("logout")["action"] == "logout_ack"
    assert ada.login("ada")["action"] == "login_success"
    listed = ada.ask("get_rooms")["data"]["rooms"]
    assert {entry["id"]: entry["unread"] for entry in listed} == {"lobby": 0, "zoo": 0, "maths": 0}


def _fill_the_disk(service: Service, patch: pytest.MonkeyPatch) -> None:
    """From now on no commit finds room."""

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    patch.setattr(accounts, "store_key", refuse)


# --- Reading what was lost meanwhile (R-ROOM-22) --------------------------------------------------


def private_room(owner: RawClient, *others: RawClient) -> str:
    names = [other.chatid for other in others]
    reply = owner.ask("create_room", participants=names, room_name="Private")
    return str(reply["data"]["room_id"])


@pytest.mark.parametrize(
    ("action", "data"),
    [
        ("get_messages", {"before_id": None}),
        ("get_messages", {"after_id": 0, "limit": 5}),
        ("get_messages", {"from_time": "2001-01-01T00:00:00Z"}),
        ("get_room_users", {}),
        ("file_list_req", {}),
        ("file_down_req", {"file_path": "notes"}),
    ],
)
def test_who_is_taken_out_while_a_request_waits_reads_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, action: str, data: Packet
) -> None:
    service = serve()
    owner, mallory = member(service, "owner"), member(service, "mallory")
    room = private_room(owner, mallory)
    owner.say(room, "first")
    Upload(owner, room, "notes", b"x").run()
    mallory.ask("get_messages", room_id=room, before_id=None)
    mallory.nothing_before_pong()

    def say(connection: sqlite3.Connection, pk: int) -> None:
        messages.insert(connection, pk, number, SECRET, 5, 5, None)

    number = account_id(service, "owner")
    with monkeypatch.context() as patched:
        gate = Gate(patched, service.database, "reading")
        asked = ask_later(mallory, action, room_id=room, **data)
        gate.wait_for_arrival()
        take_out(service, room, "mallory", then=say)
        gate.open()
        reply = answer(mallory, asked)
    assert error_code(reply) == "room_not_found", reply
    assert mallory.nothing_before_pong() == []


def test_a_list_of_rooms_is_of_one_moment(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    service = serve()
    owner, mallory = member(service, "owner"), member(service, "mallory")
    room = private_room(owner, mallory)
    with monkeypatch.context() as patched:
        gate = Gate(patched, service.database, "reading")
        asked = ask_later(mallory, "get_rooms")
        gate.wait_for_arrival()
        take_out(service, room, "mallory")
        gate.open()
        reply = answer(mallory, asked)
    assert [entry["id"] for entry in reply["data"]["rooms"]] == ["lobby"]


@pytest.mark.parametrize("command", ["passwd", "deluser"])
@pytest.mark.parametrize(
    ("action", "data"),
    [
        ("get_messages", {"room_id": "lobby", "before_id": None}),
        ("get_rooms", {}),
        ("get_users", {}),
        ("get_room_users", {"room_id": "lobby"}),
        ("file_list_req", {"room_id": "lobby"}),
    ],
)
def test_an_ended_session_reads_nothing_more(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, action: str, data: Packet, command: str
) -> None:
    service = serve()
    ada = member(service, "ada")
    number = account_id(service, "ada")
    # It has not noticed yet.
    monkeypatch.setattr(service.writer, "_check_external_changes", lambda: None)
    with monkeypatch.context() as patched:
        gate = Gate(patched, service.database, "reading")
        asked = ask_later(ada, action, **data)
        gate.wait_for_arrival()
        with another_process(service) as connection:
            if command == "passwd":
                accounts.set_password(connection, number, "a new record")
            else:
                accounts.mark_deleted(connection, number, 1)
        gate.open()
        reply = answer(ada, asked)
    assert error_code(reply) == "not_logged_in"


def test_typing_reaches_and_comes_from_members_of_that_moment(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    both = ["events", "typing"]
    owner, mallory, eve = (
        member(service, name, features=both) for name in ("owner", "mallory", "eve")
    )
    room = private_room(owner, mallory, eve)
    with HeldWriter(service, monkeypatch) as writer:
        ask_later(owner, "remove_user_from_room", room_id=room, user_to_remove="mallory")
        writer.wait_for_change()
        ask_later(owner, "typing", room_id=room)
        asked = ask_later(mallory, "typing", room_id=room)
        writer.wait_for_change()
    assert error_code(answer(mallory, asked)) == "room_not_found"
    eve.receive_event("typing", room_id=room, chatid="owner")
    told = [packet["data"] for client in (mallory, eve) for packet in client.nothing_before_pong()]
    assert not [data for data in told if data.get("type") == "typing"]


@pytest.mark.parametrize("lost_by", ["removal", "deletion"])
def test_a_download_that_waited_asks_again_when_its_turn_comes(serve: Serve, lost_by: str) -> None:
    service = serve()
    owner = member(service, "owner")
    slow = stranger(service, receive_buffer=4096)
    slow.register("slow")
    slow.login("slow")
    room = private_room(owner, slow)
    large = bytes(8 * 1024 * 1024)
    Upload(owner, "lobby", "large", large, chunk=262_144).run()
    Upload(owner, room, "secret", b"secret" * 1000).run()
    ask_later(slow, "file_down_req", room_id="lobby", file_path="large")
    second = ask_later(slow, "file_down_req", room_id=room, file_path="secret")
    ask_later(slow, "file_down_req", room_id="lobby", file_path="large", from_sequence=128)
    slow.request({"action": "ping"})  # all three are asked for, the first runs
    if lost_by == "removal":
        owner.ask("remove_user_from_room", room_id=room, user_to_remove="slow")
    else:
        owner.ask("delete_room", room_id=room)
    assert read_download(slow, "lobby", "large")[0] == large
    refused = slow.receive_where(lambda packet: packet.get("request_id") == second)
    assert error_code(refused) == "room_not_found", refused
    assert refused["original_action"] == "file_down_req"
    assert read_download(slow, "lobby", "large", first=128)[0] == large[127 * 65536 :]


def test_a_download_that_waited_is_not_refused_for_ones_own_new_password(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    slow = stranger(service, receive_buffer=4096)
    slow.register("slow")
    slow.login("slow")
    large = bytes(8 * 1024 * 1024)
    Upload(slow, "lobby", "large", large, chunk=262_144).run()
    Upload(slow, "lobby", "small", b"small").run()
    ask_later(slow, "file_down_req", room_id="lobby", file_path="large")
    ask_later(slow, "file_down_req", room_id="lobby", file_path="small")
    slow.request({"action": "ping"})  # both are asked for, the first runs
    committed, goes_on = threading.Event(), threading.Event()
    tell_all = service.context.writer._tell_all

    def tell_later(*words: Any) -> None:
        if not committed.is_set():
            committed.set()
            assert goes_on.wait(patience(30))
        tell_all(*words)

    def check_and_go_on(connection: sqlite3.Connection, session: Session) -> None:
        try:
            check_current(connection, session)
        except Refusal:
            goes_on.set()
            raise

    monkeypatch.setattr(service.context.writer, "_tell_all", tell_later)
    monkeypatch.setattr(sessions, "check_current", check_and_go_on)
    changed = ask_later(slow, "change_password", password="password", new_password="new password")
    assert committed.wait(patience(30))
    assert read_download(slow, "lobby", "large")[0] == large
    assert read_download(slow, "lobby", "small")[0] == b"small"
    assert slow.receive_where(lambda packet: packet.get("request_id") == changed)


@pytest.mark.parametrize("lost_by", ["removal", "deletion", "leaving"])
def test_a_running_download_of_a_lost_room_is_broken_off(serve: Serve, lost_by: str) -> None:
    service = serve()
    owner = member(service, "owner")
    slow = stranger(service, receive_buffer=4096)
    slow.register("slow")
    slow.login("slow")
    room = private_room(owner, slow)
    large = bytes(16 * 1024 * 1024)
    Upload(owner, room, "secret", large, chunk=262_144).run()
    asked = ask_later(slow, "file_down_req", room_id=room, file_path="secret")
    slow.receive_action("file_down_meta")  # it runs, and more than the sockets take is left
    if lost_by == "leaving":
        ask_later(slow, "leave_room", room_id=room)
    elif lost_by == "removal":
        owner.ask("remove_user_from_room", room_id=room, user_to_remove="slow")
    else:
        owner.ask("delete_room", room_id=room)
    came = 0
    while True:
        packet = slow.receive_action("file_down_data", "file_down_fin", "error")
        if packet["action"] != "file_down_data":
            break
        came += 1
    assert error_code(packet) == "room_not_found", packet
    assert (packet["original_action"], packet["request_id"]) == ("file_down_req", asked)
    assert came * 65536 < len(large) // 2, "what was handed on before may still come, no more"
    assert not [one for one in slow.nothing_before_pong() if one["action"].startswith("file_")]


@pytest.mark.parametrize("lost_by", ["removal", "deletion"])
def test_a_download_of_who_only_reads_on_ends_with_the_room(serve: Serve, lost_by: str) -> None:
    service = serve()
    owner, slow = member(service, "owner"), stranger(service, receive_buffer=4096)
    slow.register("slow")
    slow.login("slow")
    room = private_room(owner, slow)
    large = bytes(4 * 1024 * 1024)
    Upload(owner, room, "secret", large, chunk=262_144).run()
    ask_later(slow, "file_down_req", room_id=room, file_path="secret")
    slow.receive_action("file_down_meta")
    slow.end_sending()
    until(lambda: len(service.registry.online_ids()) == 1, "its session goes on")
    if lost_by == "removal":
        owner.ask("remove_user_from_room", room_id=room, user_to_remove="slow")
    else:
        owner.ask("delete_room", room_id=room)
    came = slow.expect_closed()
    assert error_code(came[-1]) == "room_not_found"
    assert len(came) * 65536 < len(large), "what was handed on before may still come, no more"


def test_a_download_that_is_about_to_begin_tells_nothing_after_the_removal(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    owner, eve = member(service, "owner"), member(service, "eve")
    room = private_room(owner, eve)
    Upload(owner, room, "secret", b"secret").run()
    gate = Gate(monkeypatch, service.files, "read", threads="download-")  # behind its check
    asked = ask_later(eve, "file_down_req", room_id=room, file_path="secret")
    gate.wait_for_arrival()
    owner.ask("remove_user_from_room", room_id=room, user_to_remove="eve")
    gate.open()
    assert error_code(answer(eve, asked)) == "room_not_found"
    assert not [one for one in eve.nothing_before_pong() if one["action"].startswith("file_")]


class _BreakingOff(RankedLock):
    """A lock behind which a thread that downloads is interrupted once."""

    __slots__ = ("then",)
    then: Callable[[], None] | None

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        if self.then is not None and threading.current_thread().name.startswith("download-"):
            then, self.then = self.then, None
            then()


def test_a_download_that_is_broken_off_between_two_chunks_is_told_of_once(serve: Serve) -> None:
    service = serve()
    eve = member(service, "eve")
    Upload(eve, "lobby", "notes", bytes(200_000), chunk=200_000).run()
    downloads = service.registry.sessions()[0].downloads
    downloads._lock = lock = _BreakingOff(Rank.TRANSFERS, "downloads")
    lock.then = None

    def next_time() -> None:  # behind the lock under which the first packet is handed on
        lock.then = lambda: downloads.break_off("lobby", no_such_room("lobby"))

    lock.then = next_time
    asked = ask_later(eve, "file_down_req", room_id="lobby", file_path="notes")
    eve.receive_action("error")
    eve.request({"action": "ping"})
    until(lambda: downloads.wait_idle(0), "the download goes on")
    assert [one for one in eve.nothing_before_pong() if one.get("request_id") == asked][1:] == []
