"""Logins beside a crowd: whoever is known at an address waits for one of the crowd (R-LIM-15), and
a server that stops sends away who waits, at once. Logins of those who were on just now."""

from __future__ import annotations

import contextlib
import logging
import os

import pytest
from support.in_process import Clock, Serve, member, stranger
from support.patience import until
from support.raw_client import RawClient

from server.handlers import accounts
from server.running.service import Service

CROWD = 30


def taken(service: Service) -> contextlib.ExitStack:
    """Take all places of the hash gate, until the block is left."""
    places = contextlib.ExitStack()
    for number in range(os.cpu_count() or 1):
        places.enter_context(service.context.hash_gate.line.place("test", number))
    return places


def crowd(service: Service, register: bool = False) -> list[RawClient]:
    """Let many who are not known wait for a password check, and return their connections."""
    clients = [stranger(service) for _ in range(CROWD)]
    for number, client in enumerate(clients):
        data = {"chatid": f"nobody{number}", "password": "wrong"}
        client.send({"action": "register" if register else "login", "data": data})
    line = service.context.hash_gate.line
    until(lambda: line.waiting == CROWD, "they don't wait in the line")
    return clients


@pytest.mark.parametrize("register", [False, True], ids=["logins", "registrations"])
def test_an_honest_login_waits_for_one_of_a_crowd_at_its_own_address(
    register: bool, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    # with one place, who has it next is who is hashed next, however the threads are woken
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    service = serve(rate_limit=0)
    member(service, "honest").ask("logout")
    order: list[str] = []
    for name in ("_check", "_hash_for_new"):
        real = getattr(accounts, name)

        def noting(context, folded, password, real=real):  # type: ignore[no-untyped-def]
            order.append(folded)
            return real(context, folded, password)

        monkeypatch.setattr(accounts, name, noting)
    honest = stranger(service)
    with taken(service):
        clients = crowd(service, register)
        data = {"chatid": "honest", "password": "password"}
        honest.send({"action": "login", "data": data})
        line = service.context.hash_gate.line
        until(lambda: line.waiting == CROWD + 1, "it does not wait in the line")
    assert honest.receive()["action"] == "login_success"
    assert order.index("honest") <= 2
    for client in clients:
        client.receive()


def test_stopping_sends_away_at_once_who_waits_for_a_password_check(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    service = serve(rate_limit=0)
    with taken(service), caplog.at_level(logging.INFO):
        clients = crowd(service)
        assert service.stop() == [], "nobody holds the end up, though no place came free"
    for client in clients:
        packets = client.expect_closed()
        assert [packet["code"] for packet in packets] in (["internal_error"], [])
    assert [record for record in caplog.records if record.exc_info] == [], "no tracebacks"


def test_a_quick_return_never_meets_the_old_session(serve: Serve) -> None:
    """What a user who leaves has sent last is given time; this clock lets none of it pass."""
    service = serve(clock=Clock(1_000.0))
    watcher, client = member(service, "watcher"), member(service, "quick")
    for number in range(60):
        watcher.say("lobby", f"{number}")  # unread by who leaves
        client.send({"action": "ping"})
        client.close()
        client = stranger(service)
        assert client.login("quick")["action"] == "login_success", f"refused at return {number}"
    watcher.say("lobby", "last")
    client.receive_message("last")
    assert "quick" in watcher.ask("get_users")["data"]["online"]
