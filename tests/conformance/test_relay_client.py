"""Our own client over each kind of fault: what is said ends exactly once, or it is said why not.

The table "What can be noticed" of docs/TEACHING.md says the same in words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.in_process import Serve, member
from support.patience import patience
from support.relays import relay_before

from client.connection import Connection
from client.errors import CountsDiffer
from client.events import Message
from conformance.relay.faults import KINDS, parse
from server.running.service import Service

TEXT = "listen to me"
TEACHING = (Path(__file__).resolve().parents[2] / "docs" / "TEACHING.md").read_text("utf-8")
ONCE = (
    "drop send_message first=1",
    "drop character_count first=1 to=client",
    "drop confirm_count first=1 to=server",
    "drop ack first=1 to=client",
    "delay 100 confirm_count",
    "duplicate send_message",
    "duplicate confirm_count",
    "duplicate receive_message",
    "duplicate ack",
    "swap send_message first=1",
    "swap ack first=1",
    "split 3 send_message",
    "split 3 to=client first=4",
    "join send_message",
    "cut 10 send_message first=1",
    "cut confirm_count first=1",
    "cut 8 ack first=1",
    "reset send_message first=1",
    "reset ack first=1",
    "letter receive_message first=1",
    "count character_count first=1 to=server",
    "id send_message first=1",
    "id character_count first=1 to=client",
    "id confirm_count first=1 to=server",
    "id ack first=1 to=client",
)
"""What ends with one message that is stored once and seen once."""
REFUSED = ("letter send_message first=1", "count character_count first=1 to=client")
"""What the counts find: the sender is told, and nothing is stored."""


@pytest.fixture
def service(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr("client.session.reader.READ_SECONDS", 0.02)
    monkeypatch.setattr("client.session.outgoing.RESEND_SECONDS", 0.2)
    monkeypatch.setattr("client.session.outgoing.ACK_SECONDS", 0.2)
    monkeypatch.setattr("conformance.relay.way.WAIT_SECONDS", 0.1)
    yield serve(rate_limit=0)


def stored(service: Service) -> list[str]:
    """The contents of the lobby, as somebody reads them who comes straight to the server."""
    reader = member(service, "reader")
    data = {"chatid": "reader", "room_id": "lobby", "from_time": "2000-01-01T00:00:00Z"}
    page = reader.request({"action": "get_messages", "data": data})
    return [each["content"] for each in page["data"]["messages"]]


def talk(service: Service, fault: str, awaited: str | None = None) -> tuple[list[str], list[str]]:
    """Ada says something to Ben over a relay with a fault; what is stored, what Ben sees. What is
    `awaited` may come after the end: a message that arrived wrongly is sent again meanwhile."""
    for name in ("ada", "ben"):
        member(service, name).close()
    with (
        relay_before(service.listener.port, faults=[parse(fault)]) as relay,
        Connection("127.0.0.1", relay.port, pauses=(0.01, 0.02)) as ada,
        Connection("127.0.0.1", relay.port, pauses=(0.01, 0.02)) as ben,
    ):
        ada.login("ada", "password")
        ben.login("ben", "password")
        try:
            ada.send("lobby", TEXT, timeout=patience(10))
        finally:
            ada.send("lobby", "the end", timeout=patience(10))
        seen, is_over = list[str](), False
        for event in ben.events(patience(10)):
            if isinstance(event, Message) and event.content == "the end":
                is_over = True
            elif isinstance(event, Message):
                seen.append(event.content)
            if is_over and awaited in (None, *seen):
                break
        return stored(service)[:-1], seen


@pytest.mark.parametrize("fault", ONCE)
def test_a_message_ends_exactly_once(service: Service, fault: str) -> None:
    found, seen = talk(service, fault, TEXT)
    assert found == [TEXT]
    assert TEXT in seen and len(set(seen)) == len(seen)


@pytest.mark.parametrize("fault", REFUSED)
def test_counts_that_differ_are_told_and_nothing_is_stored(service: Service, fault: str) -> None:
    with pytest.raises(CountsDiffer):
        talk(service, fault)
    assert stored(service) == ["the end"]


def test_an_anagram_is_stored_as_it_arrives_and_nobody_notices(service: Service) -> None:
    found, seen = talk(service, "anagram send_message first=1")
    assert found == seen != [TEXT] and sorted(found[0]) == sorted(TEXT)


def test_a_delivery_that_is_lost_is_stored_and_not_seen(service: Service) -> None:
    found, seen = talk(service, "drop receive_message first=1")
    assert (found, seen) == ([TEXT], [])


def test_every_kind_is_tried_here_and_stands_in_the_table() -> None:
    tried = {each.split()[0] for each in (*ONCE, *REFUSED)} | {"anagram"}
    assert tried == set(KINDS)
    table = TEACHING.split("### What can be noticed", 1)[1].split("\n## ", 1)[0]
    named = set(re.findall(r"^\| `(\w+)", table, re.MULTILINE))
    assert named == set(KINDS)
