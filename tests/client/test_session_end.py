"""The session ends against its user's will: the client says so, and two programs with one key do
not throw each other out for ever."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.client_fakes import FakeServer, Peer, good
from support.line_client import talk
from support.server_process import ServerProcess

from client.connection import Connection
from client.errors import ConnectionLost, LoginRefused, SessionEnded
from client.events import Disconnected, Event, LoggedOut, Reconnected, ServerEvent
from client.session.session_end import told_end


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("data"), "--login-failures", "0") as server:
        yield server


def all_events(chat: Connection) -> tuple[list[Event], Exception]:
    """What a connection tells until it ends, and the error with which it ends."""
    seen: list[Event] = []
    with pytest.raises(Exception) as caught:
        for event in chat.events(8.0):
            seen.append(event)
    return seen, caught.value


def says(event: str, **data: str) -> object:
    """A server that tells of the end and, as another might, does not close."""

    def script(peer: Peer) -> None:
        peer.serve(until="get_users")
        peer.send("event", {"type": event, **data})
        peer.serve()

    return script


@pytest.mark.parametrize(
    ("event", "data", "words"),
    [
        ("taken_over", {}, "another login with your name has taken your place"),
        ("session_ended", {"reason": "account_deleted"}, "your account was deleted"),
        ("session_ended", {"reason": "password_changed"}, "your password was changed"),
        ("session_ended", {"reason": "the bell rang"}, "the server gives as its reason: the bell"),
        ("session_ended", {}, "the server gives as its reason: none"),
    ],
)
def test_who_is_told_of_the_end_stays_away(event: str, data: dict[str, str], words: str) -> None:
    with FakeServer(says(event, **data), good) as fake:  # type: ignore[arg-type]
        chat = Connection("127.0.0.1", fake.port, pauses=(0.01,))
        chat.login("ada", "secret")
        chat.push("get_users", {})
        seen, error = all_events(chat)
        assert seen[0] == ServerEvent(event, reason=data.get("reason", ""))
        assert isinstance(seen[1], LoggedOut) and seen[1].told and words in seen[1].reason
        assert len(seen) == 2 and len(fake.peers) == 1, "it came back"
        assert isinstance(error, SessionEnded) and error.code == event
        assert chat.session is None
        chat.login("ada", "secret")  # the user may
        chat.close()


def test_who_is_told_while_coming_back_stays_away_too() -> None:
    def taken(peer: Peer) -> None:
        peer.serve(until="get_rooms")
        peer.send("event", {"type": "taken_over"})
        peer.serve()

    with FakeServer(lambda peer: peer.serve(until="ping", count=2), taken, good) as fake:
        chat = Connection("127.0.0.1", fake.port, pauses=(0.01,))
        chat.login("ada", "secret")
        with pytest.raises(ConnectionLost):
            chat.ping()
        seen, error = all_events(chat)
        assert isinstance(seen[-1], LoggedOut) and isinstance(error, SessionEnded)
        assert len(fake.peers) == 2
        chat.close()


def test_an_event_of_another_kind_ends_nothing() -> None:
    assert told_end("user_online", "") is None


def test_the_line_client_says_it_in_plain_words() -> None:
    with FakeServer(says("taken_over"), good) as fake:  # type: ignore[arg-type]
        _, text = talk(fake, "/who", ["does not take your place back"], is_terminal=True)
    assert "* You are logged out: another login with your name has taken your place" in text
    assert (
        "* This client does not take your place back by itself: type /login to log in again, or "
        "/quit." in text
    )


# --- Two programs with one key, at the real server ------------------------------------------------


def account(server: ServerProcess, name: str) -> None:
    with Connection("127.0.0.1", server.port) as chat:
        chat.register(name, "secret")


def test_a_displaced_session_with_events_is_told_and_stays_away(real: ServerProcess) -> None:
    account(real, "twice")
    first = Connection("127.0.0.1", real.port, pauses=(0.01,))
    key = first.login("twice", "secret").session_key
    with Connection("127.0.0.1", real.port) as second:
        second.resume("twice", key)
        seen, error = all_events(first)
        assert [type(event) for event in seen[-2:]] == [ServerEvent, LoggedOut]
        assert isinstance(error, SessionEnded) and error.code == "taken_over"
        assert not any(isinstance(event, (Disconnected, Reconnected)) for event in seen)
        assert second.ping() < 5
    first.close()


def test_two_programs_with_one_key_and_no_events_stop_after_one_turn(real: ServerProcess) -> None:
    account(real, "both")
    chats = [
        Connection("127.0.0.1", real.port, features=(), pauses=(0.05,), watch_files=False)
        for _ in range(2)
    ]
    key = chats[0].login("both", "secret").session_key
    chats[1].resume("both", key)
    seen, error = all_events(chats[0])
    assert [type(event) for event in seen if not isinstance(event, LoggedOut)] == [
        Disconnected,
        Reconnected,
    ]
    assert isinstance(error, SessionEnded) and "another program uses the same" in str(error)
    chats[1].wait_until_online(5.0)
    assert chats[1].ping() < 5, "the other one has the place"
    for chat in chats:
        chat.close()


def test_a_server_that_was_away_between_has_displaced_nobody() -> None:
    """A server that is started anew again and again, is no other program."""

    def dies(peer: Peer) -> None:
        peer.serve(until="get_users")

    with FakeServer(dies, lambda peer: None, dies, lambda peer: None, dies, good) as fake:
        fake.features = []
        chat = Connection("127.0.0.1", fake.port, features=(), pauses=(0.01,))
        chat.login("ada", "secret")
        for _ in range(3):
            chat.push("get_users", {})
            while not isinstance(chat.next_event(8.0), Reconnected):
                pass
        assert chat.ping() < 5
        chat.close()


def test_who_is_refused_is_no_error_of_the_network() -> None:
    assert issubclass(SessionEnded, LoginRefused)
