"""What receivers send about messages: rights before work, free while the message is recent, and at
most three copies of one."""

from __future__ import annotations

from typing import Any

import pytest
from support.gates import HeldWriter
from support.in_process import Clock, Serve, member, stranger
from support.raw_client import error_code

import protocol
from server.running.housekeeping import MARKS_EVERY_SECONDS
from server.running.service import Service
from server.state.recent_messages import Resends
from server.writing.writer import Writer
from storage import messages

HERE = 1_700_000_000.0


def forget_recent(service: Service) -> None:
    """As after 32 MiB of other messages, or a restart."""
    service.context.recent._messages.clear()


def test_nothing_of_a_message_is_read_or_counted_before_the_rights(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    ada, eve = member(service, "ada"), member(service, "eve")
    room = ada.ask("create_room", participants=[], room_name="secret")["data"]["room_id"]
    number = ada.say(room, "x" * 16_000)["data"]["message_id"]
    forget_recent(service)

    def never(*arguments: Any) -> Any:
        raise AssertionError("the length of a stranger's message would show in the time")

    for module, name in ((protocol, "count_letters"), (messages, "get"), (messages, "Message")):
        monkeypatch.setattr(module, name, never)
    for transaction in (f"m{number}", f"m{number + 1}"):
        assert error_code(eve.count(transaction, {"x": 16_000})) == "transaction_not_found"
        eve.acknowledge(transaction, "error")
        assert error_code(eve.receive()) == "transaction_not_found"


def charged(service: Service, account_id: int) -> float:
    """The requests of an account that were counted, where its clock stands still."""
    bucket = service.context.rates._buckets.get(account_id)
    return 0.0 if bucket is None else bucket._burst - bucket._tokens


def test_packets_about_recent_messages_are_free_and_those_about_old_ones_count(
    serve: Serve,
) -> None:
    wall = Clock(HERE)
    service = serve(clock=Clock(1_000.0), wall=wall, rate_limit=20)
    ada, bob = member(service, "ada"), member(service, "bob")
    data = ada.say("lobby", "hello")["data"]
    bob.ask("ping")  # his login is counted behind its reply
    before = charged(service, 2)

    def answer() -> float:
        counts = {"h": 1, "e": 1, "l": 2, "o": 1}
        assert bob.count(f"m{data['message_id']}", counts)["data"]["confirm"] is True
        bob.acknowledge(f"m{data['message_id']}")
        bob.ask("ping")
        return charged(service, 2) - before

    assert answer() == 0
    forget_recent(service)
    wall.now += 60
    assert [answer() for _ in range(4)] == [0] * 4, "for at least 60 s they are free"
    assert answer() == 2, "but for more than a receiver has to answer"
    wall.now += 1
    bob.close()
    bob = stranger(service)
    bob.login("bob")
    bob.ask("ping")
    before = charged(service, 2)
    assert answer() == 2


def test_who_comes_back_has_no_new_burst(serve: Serve) -> None:
    service = serve(clock=Clock(1_000.0), rate_limit=20)
    ada = member(service, "ada")
    for _ in range(10):
        ada.ask("get_users")
    before, key = charged(service, 1), ada.session_key
    assert before == 11, "the login and ten requests"
    ada.close()
    ada = stranger(service)
    assert ada.login("ada", None, session_key=key)["action"] == "login_success"
    ada.ask("ping")
    assert charged(service, 1) == before + 1


def test_a_message_is_sent_again_three_times_whatever_else_is_asked_for(serve: Serve) -> None:
    service = serve(rate_limit=0)
    ada, eve = member(service, "ada"), member(service, "eve")
    numbers = [ada.say("lobby", "x")["data"]["message_id"] for _ in range(Resends.MESSAGES + 1)]
    eve.receive_where(lambda packet: packet.get("data", {}).get("message_id") == numbers[-1])
    eve.nothing_before_pong()
    copies = 0
    for turn in range(6):
        if turn == 3:
            eve.close()
            eve = stranger(service)
            assert eve.login("eve")["action"] == "login_success", "coming back changes nothing"
        for number in numbers:
            eve.acknowledge(f"m{number}", "error")
        copies += sum(
            packet["data"]["message_id"] == numbers[-1]
            for packet in eve.nothing_before_pong()
            if packet["action"] == "receive_message"
        )
    assert copies == 3


def test_who_asks_for_many_messages_in_turn_gets_no_more_copies_of_one() -> None:
    resends, copies = Resends(), 0
    for _ in range(8):
        for number in range(1, 1_002):
            copies += resends.count(1, number) and number == 1
    assert 1 <= copies <= Resends.MOST_TIMES
    assert resends.count(2, 1), "another account has its own"


def test_what_was_read_is_not_unread_while_that_is_being_stored(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Writer, "TICK_SECONDS", 3600.0)
    service = serve(upload_lifetime=0)  # nobody else has the writer store anything
    ada, bob = member(service, "ada"), member(service, "bob")
    ada.say("lobby", "x")
    bob.answer(bob.receive_message("x"))
    bob.nothing_before_pong()
    service._housekeeping._marks_saved_at -= 2 * MARKS_EVERY_SECONDS
    with HeldWriter(service, monkeypatch):  # in the transaction that stores it
        marking = [session.chatid for session, _, _ in service._housekeeping._marking]
        assert "bob" in marking
        (room,) = bob.ask("get_rooms")["data"]["rooms"]
    assert room["unread"] == 0
