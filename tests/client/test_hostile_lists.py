"""Lists that can't be read, are too long, or never end: none of them keeps anybody from logging in,
and each walk ends with a sentence."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.client_fakes import FakeServer, Packet, Peer, good
from support.patience import patience
from support.scripts_in_process import alone, call

from client.connection import Connection
from client.errors import BadAnswer, ConnectionLost
from client.events import (
    CatchUpFailed,
    Disconnected,
    Event,
    EventsDropped,
    Message,
    ProtocolViolation,
    Reconnected,
)
from client.records import Page, session_from
from client.session import paging
from client.session.paging import PageWalk, goes_back, goes_on
from client.session.requests import ANSWER_SECONDS

__all__ = ["alone"]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


def connection(server: FakeServer, **options: Any) -> Connection:
    return Connection("127.0.0.1", server.port, pauses=(0.01,), timeout=patience(5.0), **options)


def room(room_id: str, **more: Any) -> Packet:
    return {
        "id": room_id,
        "name": room_id,
        "owner": None,
        "private": False,
        "members": [],
        "unread": 0,
        "last_message_id": 0,
        **more,
    }


def unreadable(peer: Peer, packet: Packet) -> None:
    """Answer with a packet that names the request, and is no JSON behind that."""
    payload = b'{"action":"rooms_list","request_id":"' + packet["request_id"].encode() + b'",'
    peer.sock.sendall(len(payload).to_bytes(4, "big") + payload)


def of_wrong_types(peer: Peer, packet: Packet) -> None:
    """Answer with a list that is none."""
    peer.reply(packet, "rooms_list", {"rooms": "none"})


def refused(peer: Peer, packet: Packet) -> None:
    peer.refuse(packet, "internal_error", "a defect")


def endless(peer: Peer, packet: Packet) -> None:
    """Answer with the same page again and again, and say that there is more."""
    peer.reply(packet, "rooms_list", {"rooms": [room("lobby")], "has_more": True})


def until(chat: Connection, kind: type[Event]) -> list[Event]:
    seen: list[Event] = []
    for event in chat.events(8.0):
        seen.append(event)
        if isinstance(event, kind):
            return seen
    raise AssertionError(f"no {kind.__name__} came, only {seen}")


# --- Logging in and coming back -------------------------------------------------------------------


def test_a_list_of_more_elements_than_a_request_may_have_is_read(server: FakeServer) -> None:
    names = [f"student{number:05}" for number in range(5_000)]
    rooms = [room("lobby", members=names), room("more", members=names), room("yet", members=names)]
    server.handlers["get_rooms"] = lambda peer, packet: peer.reply(
        packet, "rooms_list", {"rooms": rooms, "has_more": False}
    )
    with connection(server) as chat:
        chat.login("ada", "secret")
        assert [found.members for found in chat.rooms()] == [5_000] * 3
        assert list(chat.events(0.0)) == []


@pytest.mark.parametrize("answer", [unreadable, of_wrong_types, refused, endless])
def test_no_list_fails_a_login(server: FakeServer, answer: Callable[[Peer, Packet], None]) -> None:
    server.handlers["get_rooms"] = answer
    with connection(server) as chat:
        assert chat.login("ada", "secret").chatid == "ada"
        told = until(chat, CatchUpFailed)[-1]
        assert isinstance(told, CatchUpFailed) and told.reason
        chat.send("lobby", "I am here")


def test_a_list_that_does_not_come_fails_no_login(server: FakeServer) -> None:
    server.handlers["get_rooms"] = lambda peer, packet: None
    with connection(server) as chat:
        chat.request = functools.partial(chat.request, timeout=patience(1.0))  # type: ignore[method-assign]
        chat.login("ada", "secret")
        assert "did not answer get_rooms" in str(until(chat, CatchUpFailed)[-1])


@pytest.mark.parametrize("answer", [unreadable, of_wrong_types, refused, endless])
def test_no_list_keeps_a_client_from_coming_back(answer: Callable[[Peer, Packet], None]) -> None:
    with FakeServer(lambda peer: peer.serve(until="ping", count=2), good) as fake:
        chat = connection(fake)
        chat.login("ada", "secret")
        fake.handlers["get_rooms"] = answer
        with pytest.raises(ConnectionLost):
            chat.ping()
        seen = until(chat, Reconnected)
        kinds = [type(event) for event in seen if not isinstance(event, ProtocolViolation)]
        assert kinds == [Disconnected, CatchUpFailed, Reconnected]
        chat.send("lobby", "I am back")
        chat.close()


def test_an_answer_that_can_not_be_read_is_told_at_once(server: FakeServer) -> None:
    server.handlers["get_users"] = unreadable
    with connection(server) as chat:
        chat.login("ada", "secret")
        with pytest.raises(BadAnswer, match="get_users can't be read"):
            chat.request("get_users", timeout=ANSWER_SECONDS)
        assert isinstance(chat.next_event(1.0), ProtocolViolation)


def test_limits_that_can_not_be_count_as_none() -> None:
    limits = session_from({"limits": {"max_chunk": -5, "max_frame": "x"}}, "ada").limits
    assert (limits.max_chunk, limits.max_frame) == (0, 0)


# --- Walks through pages --------------------------------------------------------------------------


def test_a_list_whose_pages_bring_nothing_new_ends_with_a_sentence(server: FakeServer) -> None:
    with connection(server) as chat:
        chat.login("ada", "secret")
        server.handlers["get_rooms"] = endless
        with pytest.raises(BadAnswer, match=r"list of rooms does not go on: .* brings nothing new"):
            chat.rooms()
        server.handlers["get_users"] = lambda peer, packet: peer.reply(
            packet, "users_list", {"users": ["ada"], "online": [], "has_more": True}
        )
        with pytest.raises(BadAnswer, match="list of users does not go on"):
            chat.users()
        server.handlers["file_list_req"] = lambda peer, packet: peer.reply(
            packet, "file_list_req", {"file_list": "", "files": [{"file_path": "x"}]} | MORE
        )
        with pytest.raises(BadAnswer, match="list of files does not go on"):
            chat.files("lobby")


MORE = {"has_more": True}


def test_a_list_that_always_brings_something_new_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_ITEMS", 10)
    walk = PageWalk("rooms")
    walk.take(["x"] * 10, map(str, range(10)), has_more=True)
    with pytest.raises(BadAnswer, match="does not end: 11 have come"):
        walk.take(["x"], ["10"], has_more=True)
    monkeypatch.setattr(paging, "MAX_CHARACTERS", 100)
    with pytest.raises(BadAnswer, match="does not end"):
        PageWalk("rooms").take(["x" * 101], ["a"], has_more=False)


def page(*numbers: int | None, has_more: bool = True) -> Page:
    return Page(tuple(Message("r", "bob", "x", "t", number) for number in numbers), has_more)


def test_a_history_goes_on_only_behind_what_has_come() -> None:
    assert goes_on(page(1, 2), None) == 2 and goes_on(page(3, 4), 2) == 4
    assert goes_back(page(8, 9), None) == 8 and goes_back(page(6, 7), 8) == 6
    assert goes_on(page(3, has_more=False), 2) is None is goes_back(page(3, has_more=False), 4)
    assert goes_on(page(None), None) is None is goes_back(page(None), None)
    assert goes_on(page(), 2) is None is goes_back(page(), 8)
    with pytest.raises(BadAnswer, match="after message 2 brings nothing new"):
        goes_on(page(1, 2), 2)
    with pytest.raises(BadAnswer, match="after message 8 brings nothing new"):
        goes_back(page(8, 9), 8)


def test_a_missed_history_that_does_not_go_on_is_left() -> None:
    def stands_still(peer: Peer, packet: Packet) -> None:
        messages = [
            {"message_id": 5, "sender_chatid": "bob", "content": "old", "timestamp": "t"},
        ]
        peer.reply(
            packet, "messages_list", {"room_id": "lobby", "messages": messages, "has_more": True}
        )

    with FakeServer(lambda peer: peer.serve(until="ping", count=2), good) as fake:
        fake.handlers["get_messages"] = stands_still
        chat = connection(fake)
        chat.login("ada", "secret")
        fake.history.append((99, "lobby", "bob", "new"))
        with pytest.raises(ConnectionLost):
            chat.ping()
        seen = until(chat, Reconnected)
        assert [event.message_id for event in seen if isinstance(event, Message)] == [5]
        assert "brings nothing new" in str([e for e in seen if isinstance(e, CatchUpFailed)])
        assert not any(isinstance(event, EventsDropped) for event in seen)
        assert fake.actions().count("get_messages") == 2
        chat.close()


@pytest.mark.parametrize("words", [("-n", "5"), ("--since", "2024-01-01")])
def test_a_history_that_stands_still_ends_the_command_with_a_sentence(
    server: FakeServer, words: tuple[str, ...]
) -> None:
    def stands_still(peer: Peer, packet: Packet) -> None:
        messages = [{"message_id": 5, "sender_chatid": "bob", "content": "old", "timestamp": "t"}]
        peer.reply(
            packet, "messages_list", {"room_id": "lobby", "messages": messages, "has_more": True}
        )

    server.handlers["get_messages"] = stands_still
    login = (f"127.0.0.1:{server.port}", "-u", "ada", "--password-file", "secret")
    result = call(*login, "history", "lobby", *words)
    assert result.status == 6 and "brings nothing new" in result.err
    assert "old" in result.out
