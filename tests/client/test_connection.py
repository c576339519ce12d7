"""The client's connection: handshakes, errors in plain words, and coming back without gap or
double."""

from __future__ import annotations

import errno
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.client_fakes import FakeServer, Packet, Peer, good
from support.patience import patience

from client.base.deadline import Deadline
from client.connection import Connection
from client.errors import (
    CannotConnect,
    ConnectionLost,
    CountsDiffer,
    LoginRefused,
    ServerError,
)
from client.events import (
    Arrivals,
    CountsDisagreed,
    Disconnected,
    Event,
    EventsDropped,
    FileShared,
    LoggedOut,
    Message,
    OwnMessage,
    ProtocolViolation,
    Reconnected,
    ServerEvent,
    State,
)
from client.network import link as link_module
from client.network.link import in_plain_words
from client.session.pending_requests import PendingRequests
from client.session.reader import Reader

QUICK = (0.01, 0.02)


def connection(server: FakeServer, **options: Any) -> Connection:
    return Connection("127.0.0.1", server.port, pauses=QUICK, timeout=patience(5.0), **options)


def until(chat: Connection, kind: type[Event], seconds: float = patience(8.0)) -> list[Event]:
    """Events up to and including the first of a kind."""
    seen: list[Event] = []
    for event in chat.events(seconds):
        seen.append(event)
        if isinstance(event, kind):
            return seen
    raise AssertionError(f"no {kind.__name__} came, only {seen}")


@pytest.fixture(autouse=True)
def _a_short_look_at_other_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.network.first_contact.LOOK_SECONDS", 0.3)
    monkeypatch.setattr("client.network.first_contact.GREETING_SECONDS", 0.1)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


# --- connecting ---


def test_an_address_of_one_link_without_its_interface_names_those_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0"), (7, "wlan0")], raising=False
    )
    monkeypatch.setattr(sys, "platform", "linux")
    failure = OSError(errno.EINVAL, "Invalid argument")
    for host in ("fe80::1", "FE80::1"):
        said = in_plain_words(failure, host, 9876, 10)
        assert said.advice.endswith(f": {host}%eth0 or {host}%wlan0.")
    monkeypatch.setattr(sys, "platform", "win32")
    assert "fe80::1%2 or fe80::1%7." in in_plain_words(failure, "fe80::1", 9876, 10).advice
    monkeypatch.delattr(socket, "if_nameindex")
    assert "fe80::1%eth0." in in_plain_words(failure, "fe80::1", 9876, 10).advice
    for host in ("fe80::1%eth0", "fd12::1", "lab"):
        assert "cable" not in in_plain_words(failure, host, 9876, 10).what


def test_nothing_listening_is_said_in_plain_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(CannotConnect, match="nothing listens") as caught:
        Connection("127.0.0.1", port).connect()
    assert "server runs" in caught.value.advice


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "No machine called"),
        (UnicodeError("label too long"), "No machine called"),
        (TimeoutError("timed out"), "did not answer"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "nothing listens"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "no way from here"),
        (OSError(10065, "WSAEHOSTUNREACH"), "no way from here"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "hung up"),
        (OSError(9999, "odd"), "odd"),
    ],
)
def test_each_failure_to_connect_has_its_words(error: Exception, words: str) -> None:
    assert words in in_plain_words(error, "lab", 9876, 10).what


def test_a_name_that_nobody_has_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(CannotConnect, match="No machine called"):
        Connection("no such host.invalid", 9876).connect()


def test_another_protocol_is_named() -> None:
    with (
        FakeServer(
            lambda peer: (peer.sock.sendall(b"SSH-2.0-OpenSSH_9.6\r\n"), time.sleep(0.2))
        ) as fake,
        pytest.raises(CannotConnect, match="SSH"),
    ):
        connection(fake).connect()


def test_what_is_no_frame_is_told() -> None:
    with (
        FakeServer(lambda peer: (peer.sock.sendall(b"\xff\xff\xff\xff"), time.sleep(0.2))) as fake,
        pytest.raises(CannotConnect, match="no frame"),
    ):
        connection(fake).connect()


def test_a_silent_server_that_does_not_answer_the_login_either_is_no_chat_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("client.connection.PROBE_SECONDS", 0.05)
    with FakeServer(lambda peer: peer.get("ping") and peer.get("login")) as fake:
        chat = connection(fake)
        with pytest.raises(CannotConnect, match=r"no chat server|does not answer as a chat server"):
            chat.login("ada", "secret")
        chat.close()


def test_a_connection_lost_during_login_is_no_session() -> None:
    with FakeServer(lambda peer: peer.serve(until="login")) as fake:
        chat = connection(fake)
        with pytest.raises(ConnectionLost):
            chat.login("ada", "secret")
        assert chat.session is None
        chat.close()


def test_a_server_that_hangs_up_at_once_is_no_chat_server() -> None:
    with (
        FakeServer(lambda peer: None) as fake,
        pytest.raises(CannotConnect, match="no chat server"),
    ):
        connection(fake).connect()


def test_a_server_that_hangs_up_at_every_question_is_no_chat_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("client.connection.speaks_tls", lambda *_: False)
    with (
        FakeServer(lambda peer: peer.get()) as fake,
        pytest.raises(CannotConnect, match="no chat server"),
    ):
        connection(fake).login("ada", "secret")


def test_a_server_that_hangs_up_at_a_ping_may_know_the_24_packets_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("client.connection.TLS_LOOK_SECONDS", 0.1)
    with FakeServer(lambda peer: peer.get("ping"), good, seed_only=True) as fake:
        chat = connection(fake)
        chat.login("ada", "secret")
        chat.send("lobby", "hello")
        chat.close()
    assert "ping" not in fake.actions()[1:]


def test_a_server_that_hangs_up_after_a_frame_is_told_apart() -> None:
    with (
        FakeServer(lambda peer: peer.send("event", {"type": "server_closing"})) as fake,
        pytest.raises(CannotConnect, match="hung up"),
    ):
        connection(fake).connect()


def test_a_full_server_says_so() -> None:
    with (
        FakeServer(
            lambda peer: peer.refuse(peer.get("ping"), "server_full", "500 are connected")
        ) as fake,
        pytest.raises(CannotConnect, match="full"),
    ):
        connection(fake).connect()


def test_a_silent_server_is_given_the_benefit_of_the_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.connection.PROBE_SECONDS", 0.05)
    with (
        FakeServer(lambda peer: (peer.get("ping"), peer.serve())) as fake,
        connection(fake) as chat,
    ):
        chat.login("ada", "secret")


def test_a_connection_closed_before_login_is_opened_again(server: FakeServer) -> None:
    server.scripts = (lambda peer: peer.answer(peer.get("ping")), good)
    chat = connection(server)
    chat.connect()
    server.wait_for(lambda: not chat.online)
    assert chat.login("ada", "secret").chatid == "ada"
    chat.close()


# --- logging in ---


def test_login_gives_a_session_whose_key_is_not_printed(server: FakeServer) -> None:
    with connection(server) as chat:
        session = chat.login("ada", "secret")
    assert (session.chatid, session.session_key, session.extended, session.features) == (
        "ada",
        "key",
        True,
        ("events",),
    )
    assert session.limits.max_content == 16384
    assert "key" not in repr(session).replace("session_key", "")


def test_a_wrong_password_is_refused_and_not_tried_again(server: FakeServer) -> None:
    with connection(server) as chat:
        with pytest.raises(LoginRefused, match="Invalid credentials"):
            chat.login("ada", "wrong")
        time.sleep(0.05)
        assert server.actions().count("login") == 1
        assert chat.login("ada", "secret", take_over=True).chatid == "ada"
        assert server.heard[-2]["data"]["take_over"] is True


def test_register_then_log_in_and_a_taken_name(server: FakeServer) -> None:
    with connection(server) as chat:
        chat.register("ada", "secret")
        chat.login("ada", "secret")
        server.handlers["register"] = lambda peer, packet: peer.reply(
            packet, "register_fail", status="error", code="name_taken", message="The name is taken."
        )
        with pytest.raises(LoginRefused, match="taken") as caught:
            chat.register("ada", "x")
        assert caught.value.code == "name_taken"


def test_logout_ends_the_session(server: FakeServer) -> None:
    with connection(server) as chat:
        chat.login("ada", "secret")
        chat.logout()
        assert chat.session is None
        with pytest.raises(ConnectionLost, match="not logged in"):
            chat.post("lobby", "x")


# --- own messages ---


def test_a_message_goes_through_its_states_to_stored(server: FakeServer) -> None:
    with connection(server) as chat:
        chat.login("ada", "secret")
        sent = chat.send("lobby", "Hello, Wörld 🙂")
        assert (sent.message_id, sent.timestamp) == (1, "2024-01-01T12:00:00Z")
        states = [event.state for event in chat.events(0.05) if isinstance(event, OwnMessage)]
        assert states == [State.SENDING, State.COUNTS_AGREE, State.STORED]
        assert server.history == [(1, "lobby", "ada", "Hello, Wörld 🙂")]


def test_wrong_counts_are_not_confirmed_and_name_the_letters(server: FakeServer) -> None:
    def miscount(peer: Peer, packet: Packet) -> None:
        server.open[packet["data"]["transaction_id"]] = ("lobby", "")
        peer.send(
            "character_count",
            {
                "transaction_id": packet["data"]["transaction_id"],
                "letter_frequencies": {"a": 1, "l": 1, "t": 1},
                "original_action": "send_message",
            },
        )

    server.handlers["send_message"] = miscount
    with connection(server) as chat:
        chat.login("ada", "secret")
        with pytest.raises(CountsDiffer) as caught:
            chat.send("lobby", "all")
        assert [(item.letter, item.meant, item.counted) for item in caught.value.differences] == [
            ("l", 2, 1),
            ("t", 0, 1),
        ]
        assert "'l' was meant twice and counted once" in str(caught.value)
        server.wait_for(lambda: "confirm_count" in server.actions())
        assert server.heard[-1]["data"]["confirm"] is False
        assert chat.pending == 0


@pytest.mark.parametrize("letters", [{"\x00": 1}, {}, {"x": "1"}, {"x": True, "y": 1}])
def test_counts_of_any_kind_can_disagree(server: FakeServer, letters: dict[str, Any]) -> None:
    def miscount(peer: Peer, packet: Packet) -> None:
        server.open["own"] = ("lobby", "")
        peer.reply(
            packet,
            "character_count",
            {"transaction_id": "own", "letter_frequencies": letters, "original_action": "x"},
        )

    server.handlers["send_message"] = miscount
    with connection(server) as chat:
        chat.login("ada", "secret")
        with pytest.raises(CountsDiffer):
            chat.send("lobby", "abcdefgh")


def test_a_refused_message_raises_the_servers_code(server: FakeServer) -> None:
    server.handlers["send_message"] = lambda peer, packet: peer.refuse(
        packet, "bad_packet", "data.content: too long"
    )
    with connection(server) as chat:
        chat.login("ada", "secret")
        with pytest.raises(ServerError, match="too long") as caught:
            chat.send("lobby", "x")
        assert caught.value.code == "bad_packet"


def test_an_ack_with_an_error_refuses(server: FakeServer) -> None:
    server.handlers["confirm_count"] = lambda peer, packet: peer.reply(
        packet, "ack", status="error", message="The disk is full.", code="storage_full"
    )
    with connection(server) as chat:
        chat.login("ada", "secret")
        with pytest.raises(ServerError, match="disk is full"):
            chat.send("lobby", "x")


def test_a_transaction_that_died_is_started_over(server: FakeServer) -> None:
    once: list[Packet] = []

    def forget_once(peer: Peer, packet: Packet) -> None:
        if once:
            peer.on_confirm_count(packet)
        else:
            once.append(packet)
            peer.refuse(packet, "transaction_not_found")

    server.handlers["confirm_count"] = forget_once
    with connection(server) as chat:
        chat.login("ada", "secret")
        assert chat.send("lobby", "x").message_id == 1
    keys = {
        packet["data"]["transaction_id"]
        for packet in server.heard
        if packet["action"] == "send_message"
    }
    assert len(keys) == 1


@pytest.mark.parametrize("action", ["send_message", "confirm_count"])
def test_a_message_without_an_answer_is_started_over_with_its_key(
    server: FakeServer, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.session.reader.READ_SECONDS", 0.02)
    monkeypatch.setattr("client.session.outgoing.RESEND_SECONDS", 0.05)
    lost: list[Packet] = []
    usual = {"send_message": Peer.on_send_message, "confirm_count": Peer.on_confirm_count}

    def lose_one(peer: Peer, packet: Packet) -> None:
        if lost:
            usual[action](peer, packet)
        else:
            lost.append(packet)

    server.handlers[action] = lose_one
    with connection(server) as chat:
        chat.login("ada", "secret")
        assert chat.send("lobby", "x").message_id == 1
    sent = [each["data"] for each in server.heard if each["action"] == "send_message"]
    assert len(sent) >= 2 and len({each["transaction_id"] for each in sent}) == 1
    assert len(server.history) == 1


@pytest.mark.parametrize("seed_only", [False, True])
def test_counts_that_come_twice_are_confirmed_once(server: FakeServer, seed_only: bool) -> None:
    server.seed_only = seed_only

    def send_twice(peer: Peer, packet: Packet) -> None:
        peer.on_send_message(packet)
        peer.on_send_message(packet)

    server.handlers["send_message"] = send_twice
    with connection(server) as chat:
        chat.login("ada", "secret")
        assert chat.send("lobby", "x").state is State.STORED
        chat.ping()
    assert [each["action"] for each in server.heard].count("confirm_count") == 1


def test_a_server_without_keys_is_never_sent_a_confirmed_message_again(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.session.reader.READ_SECONDS", 0.02)
    monkeypatch.setattr("client.session.outgoing.RESEND_SECONDS", patience(0.5))
    monkeypatch.setattr("client.session.outgoing.GIVE_UP_SECONDS", 0.05)
    server.seed_only = True
    server.handlers["confirm_count"] = lambda peer, packet: None
    with connection(server) as chat:
        chat.login("ada", "secret")
        with pytest.raises(ConnectionLost, match="no acknowledgement; it may have been stored"):
            chat.send("lobby", "x")
    assert [each["action"] for each in server.heard].count("send_message") == 1


def test_many_messages_keep_their_order_and_few_are_open_at_once(server: FakeServer) -> None:
    with connection(server) as chat:
        chat.login("ada", "secret")
        posted = [chat.post("lobby", f"{number}") for number in range(100)]
        assert [message.wait(patience(5)).message_id for message in posted] == list(range(1, 101))
    assert [content for _, _, _, content in server.history] == [
        str(number) for number in range(100)
    ]


@pytest.mark.parametrize("content", ["", "a\0b", "\ud800"])
def test_what_can_not_be_a_message_is_said_at_once(server: FakeServer, content: str) -> None:
    with connection(server) as chat:
        chat.login("ada", "secret")
        with pytest.raises(ServerError, match="at least one character"):
            chat.send("lobby", content)


def test_an_unanswered_message_times_out_and_stays_pending(server: FakeServer) -> None:
    server.handlers["send_message"] = lambda peer, packet: None
    chat = connection(server)
    chat.login("ada", "secret")
    with pytest.raises(ConnectionLost, match="still tried"):
        chat.send("lobby", "x", timeout=0.05)
    assert chat.pending == 1
    chat.close()


# --- messages of others ---


def test_a_received_message_is_counted_confirmed_and_acknowledged(server: FakeServer) -> None:
    with connection(server) as chat:
        chat.login("ada", "secret")
        server.peers[0].message(5, "aab")
        message = next(chat.messages(5))
        assert message == Message("lobby", "bob", "aab", "2024-01-01T12:00:00Z", 5)
        server.wait_for(lambda: "ack" in server.actions())
    counted, ack = server.heard[-2:]
    assert counted["data"]["letter_frequencies"] == {"a": 2, "b": 1}
    assert (ack["status"], ack["data"]) == ("success", {"transaction_id": "T5"})


def test_a_message_that_is_not_confirmed_is_acknowledged_with_an_error_and_its_copy_corrects_it(
    server: FakeServer,
) -> None:
    def disagree(peer: Peer, packet: Packet) -> None:
        confirm = "b" in packet["data"]["letter_frequencies"]
        peer.send("confirm_count", {"transaction_id": "T5", "confirm": confirm})
        if not confirm:
            assert peer.get("ack")["status"] == "error"
            peer.message(5, "ab")
            peer.message(5, "ab")

    server.handlers["character_count"] = disagree
    with connection(server) as chat:
        chat.login("ada", "secret")
        server.peers[0].message(5, "aa")
        events = list(chat.events(patience(1.0)))
    assert [type(event) for event in events] == [Message, CountsDisagreed, Message]
    assert (events[0].content, events[2].content, events[2].corrected) == ("aa", "ab", True)  # type: ignore[union-attr]


def test_a_copy_with_the_same_id_is_not_shown_twice(server: FakeServer) -> None:
    with connection(server) as chat:
        chat.login("ada", "secret")
        for _ in range(2):
            server.peers[0].message(5, "a")
        server.peers[0].message(5, "a", transaction_id="other")
        server.peers[0].message(6, "b")
        for _ in range(2):  # one pong comes behind them all, one behind their counts
            chat.ping()
        assert [message.content for message in chat.messages(0.0)] == ["a", "b"]


def test_files_and_events_arrive(server: FakeServer) -> None:
    with connection(server) as chat:
        chat.login("ada", "secret")
        peer = server.peers[0]
        peer.send(
            "receive_file",
            {
                "room_id": "lobby",
                "sender_chatid": "bob",
                "file_path": "a.txt",
                "file_size": 3,
                "file_type": "text/plain",
                "timestamp": "t",
            },
        )
        peer.send("event", {"type": "user_online", "chatid": "cleo"})
        chat.ping()
        assert list(chat.events(0.0)) == [
            FileShared("lobby", "bob", "a.txt", 3, "text/plain", "t"),
            ServerEvent("user_online", "cleo"),
        ]


def test_nonsense_from_the_server_is_reported_and_survived(server: FakeServer) -> None:
    with connection(server) as chat:
        chat.login("ada", "secret")
        peer = server.peers[0]
        peer.send("no_such_action")
        peer.sock.sendall(b"\0\0\0\1[")
        peer.send("receive_message", {"transaction_id": 5})
        peer.send("error", original_action="ping", status="error", message="out of the blue")
        peer.send(
            "character_count",
            {"transaction_id": "?", "letter_frequencies": {}, "original_action": "x"},
        )
        peer.send("ack", {"transaction_id": "?"}, status="success", message="")
        events = list(chat.events(patience(1.0)))
        assert [type(event) for event in events] == [ProtocolViolation] * 4
        assert chat.ping() < 5


# --- requests ---


def test_every_request_has_its_method(server: FakeServer) -> None:
    server.history += [
        (1, "lobby", "bob", "one"),
        (2, "lobby", "bob", "two"),
        (3, "lobby", "ada", "three"),
    ]
    server.files = {"a.txt": b"abc", "b.txt": b"", "c.txt": b"x"}
    server.page = 2
    with connection(server) as chat:
        chat.login("ada", "secret")
        page = chat.history("lobby")
        assert ([message.content for message in page.messages], page.has_more) == (
            ["one", "two"],
            True,
        )
        assert [
            message.content for message in chat.history("lobby", before_id=None, limit=1).messages
        ] == ["three"]
        assert [message.content for message in chat.history("lobby", after_id=2).messages] == [
            "three"
        ]
        assert chat.history("lobby", from_time="2030-01-01T00:00:00Z", before_id=9).messages
        assert [room.name for room in chat.rooms()] == ["lobby"]
        assert chat.create_room("club", ["bob"]) == "p-1"
        assert [(room.owner, room.private) for room in chat.rooms()] == [
            (None, False),
            ("ada", True),
        ]
        chat.join_room("lobby")
        chat.leave_room("lobby")
        chat.add_user("p-1", "cleo")
        chat.remove_user("p-1", "cleo")
        chat.rename_room("p-1", "new")
        chat.delete_room("p-1")
        chat.change_password("secret", "new")
        chat.typing("lobby")
        assert chat.room_users("lobby") == ("ada", "bob")
        assert chat.users().online == ("ada", "cleo")
        assert [file.file_path for file in chat.files("lobby")] == ["a.txt", "b.txt", "c.txt"]
        with pytest.raises(ServerError) as caught:
            chat.join_room("nowhere")
        assert caught.value.code == "room_not_found"


def test_lists_come_in_pages(server: FakeServer) -> None:
    pages = {None: (["ada"], True), "ada": (["bob"], True), "bob": ([], True)}

    def users(peer: Peer, packet: Packet) -> None:
        names, more = pages[packet["data"].get("after")]
        peer.reply(packet, "users_list", {"users": names, "online": names, "has_more": more})

    server.handlers["get_users"] = users
    with connection(server) as chat:
        chat.login("ada", "secret")
        assert chat.users().users == ("ada", "bob")


def test_an_unanswered_request_times_out(server: FakeServer) -> None:
    server.handlers["get_users"] = lambda peer, packet: None
    with connection(server) as chat:
        chat.login("ada", "secret")
        with pytest.raises(ConnectionLost, match="did not answer"):
            chat.request("get_users", timeout=0.05)


# --- a server of the 24 packets alone ---


def test_a_server_of_the_24_packets_is_enough() -> None:
    with FakeServer(seed_only=True) as fake:
        fake.files = {"a.txt": b"x", "b.txt": b"y"}
        with connection(fake) as chat:
            assert chat.login("ada", "secret").extended is False
            first, second = chat.post("lobby", "one"), chat.post("lobby", "two")
            assert first.wait(patience(5)).message_id is None
            second.wait(patience(5))
            assert [
                message.content
                for message in chat.history("lobby", before_id=None, limit=1).messages
            ] == ["two"]
            assert [file.file_path for file in chat.files("lobby")] == ["a.txt", "b.txt"]
            fake.peers[0].message(1, "live")
            assert next(chat.messages(5)).message_id is None
            fake.handlers["get_messages"] = lambda peer, packet: peer.refuse(
                packet, "", "Not today"
            )
            with pytest.raises(ServerError, match="Not today"):
                chat.history("lobby")
            fake.handlers["send_message"] = lambda peer, packet: peer.refuse(packet, "", "No room")
            with pytest.raises(ServerError, match="No room"):
                chat.send("lobby", "three")


def test_a_message_confirmed_but_not_acknowledged_is_not_sent_twice_to_such_a_server() -> None:
    with (
        FakeServer(lambda peer: peer.serve(until="confirm_count"), good, seed_only=True) as fake,
        connection(fake) as chat,
    ):
        chat.login("ada", "secret")
        with pytest.raises(ConnectionLost, match="may have been stored"):
            chat.send("lobby", "once")
        assert isinstance(until(chat, Reconnected)[-1], Reconnected)
        assert fake.actions().count("send_message") == 1
        assert fake.heard[-1]["data"]["password"] == "secret"


# --- coming back ---


def test_an_unacknowledged_message_is_sent_again_under_the_same_key_and_stored_once() -> None:
    def store_and_hang_up(peer: Peer) -> None:
        packet = peer.serve(until="confirm_count")
        key = packet["data"]["transaction_id"]
        peer.server.stored[key] = peer.server.store("lobby", "ada", "once")

    with FakeServer(store_and_hang_up, good) as fake, connection(fake) as chat:
        chat.login("ada", "secret")
        assert chat.send("lobby", "once").message_id == 1
        assert len(fake.history) == 1
        login = [packet["data"] for packet in fake.heard if packet["action"] == "login"][1]
        assert login["session_key"] == "key" and "password" not in login


def test_missed_messages_are_fetched_once_and_before_what_comes_live() -> None:
    def first(peer: Peer) -> None:
        peer.serve(until="get_rooms")
        peer.on_get_rooms(peer.server.heard[-1])
        peer.message(2, "two")
        peer.serve(until="ack")

    def second(peer: Peer) -> None:
        peer.server.rooms["new"] = ("new", None)
        peer.server.history += [
            (2, "lobby", "bob", "two"),
            (3, "lobby", "bob", "three"),
            (4, "lobby", "ada", "mine"),
            (5, "new", "cleo", "five"),
            (6, "lobby", "bob", "six"),
        ]
        peer.answer(peer.get("login"))
        peer.message(7, "seven")
        peer.message(6, "six")
        peer.serve()

    with FakeServer(first, second) as fake, connection(fake) as chat:
        fake.history.append((1, "lobby", "bob", "one"))
        fake.page = 1
        chat.login("ada", "secret")
        events = [
            event
            for event in chat.events(patience(1.0))
            if isinstance(event, (Message, Reconnected))
        ]
    assert [
        (event.content, event.missed) if isinstance(event, Message) else event.missed
        for event in events
    ] == [
        ("two", False),
        ("three", True),
        ("six", True),
        ("five", True),
        ("seven", False),
        3,
    ]


def test_a_room_that_was_left_or_is_gone_is_not_fetched() -> None:
    def second(peer: Peer) -> None:
        peer.server.history += [(1, "left", "bob", "x"), (2, "lobby", "bob", "y")]
        peer.server.handlers["get_messages"] = lambda peer, packet: peer.refuse(
            packet, "room_not_found"
        )
        peer.serve()

    with (
        FakeServer(lambda peer: peer.serve(until="ping", count=2), second) as fake,
        connection(fake) as chat,
    ):
        fake.rooms["left"] = ("left", None)
        chat.login("ada", "secret")
        chat.leave_room("left")
        with pytest.raises(ConnectionLost):
            chat.ping()
        events = until(chat, Reconnected)
        assert isinstance(events[0], Disconnected) and events[-1] == Reconnected(0)
        assert [
            packet["data"]["room_id"] for packet in fake.heard if packet["action"] == "get_messages"
        ] == ["lobby"]


def test_pauses_grow_until_the_server_is_back() -> None:
    with FakeServer(
        lambda peer: peer.serve(until="ping", count=2), lambda peer: None, lambda peer: None, good
    ) as fake:
        chat = Connection("127.0.0.1", fake.port, pauses=(0.01, 0.02, 0.03, 0.04))
        chat.login("ada", "secret")
        with pytest.raises(ConnectionLost):
            chat.ping()
        assert chat.ping() < 5  # a request waits for the connection
        pauses = [
            event.retry_seconds
            for event in until(chat, Reconnected)
            if isinstance(event, Disconnected)
        ]
        assert pauses == [0.01, 0.02, 0.03]
        chat.close()


def test_a_refused_key_ends_it_and_is_not_tried_again() -> None:
    with FakeServer(lambda peer: peer.serve(until="ping", count=2), good) as fake:
        fake.handlers["login"] = lambda peer, packet: (
            peer.reply(packet, "login_fail", status="error", message="Invalid credentials")
            if "session_key" in packet["data"]
            else peer.on_login(packet)
        )
        chat = connection(fake)
        chat.login("ada", "secret")
        with pytest.raises(ConnectionLost):
            chat.ping()
        events = until(chat, LoggedOut)
        assert "Invalid credentials" in events[-1].reason  # type: ignore[union-attr]
        with pytest.raises(LoginRefused):
            next(chat.messages(5))
        assert fake.actions().count("login") == 2 and chat.session is None
        assert chat.login("ada", "secret").chatid == "ada"  # a new login by the user works
        assert list(chat.events(0.05)) == []
        chat.close()


def test_without_reconnect_a_lost_connection_ends_everything() -> None:
    with FakeServer(lambda peer: peer.serve(until="ping", count=2)) as fake:
        chat = connection(fake, reconnect=False)
        chat.login("ada", "secret")
        with pytest.raises(ConnectionLost):
            chat.ping()
        with pytest.raises(ConnectionLost):
            list(chat.messages(5))
        chat.close()


def test_losing_the_connection_before_the_rooms_are_known_fetches_nothing_old() -> None:
    with (
        FakeServer(lambda peer: peer.serve(until="get_rooms"), good) as fake,
        connection(fake) as chat,
    ):
        fake.history.append((1, "lobby", "bob", "old"))
        with pytest.raises(ConnectionLost):
            chat.login("ada", "secret")
        assert not [event for event in until(chat, Reconnected) if isinstance(event, Message)]


def test_a_silent_server_is_pinged_and_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reader, "_pump", _impatient(Reader._pump))

    def falls_silent(peer: Peer) -> None:
        peer.serve(until="ping", count=3)
        while True:  # until the client hangs up
            peer.get()

    with FakeServer(falls_silent, good) as fake:
        chat = connection(fake, idle_seconds=0.4)
        chat.login("ada", "secret")
        lost = until(chat, Disconnected)[-1]
        assert isinstance(lost, Disconnected) and "no sign of life" in lost.reason
        assert fake.actions().count("ping") >= 3
        until(chat, Reconnected)
        chat.close()


def _impatient(pump: Any) -> Any:
    return lambda self, link, seconds: pump(self, link, 0.02)


def test_closing_while_coming_back_is_quick() -> None:
    with FakeServer(lambda peer: peer.serve(until="ping", count=2)) as fake:
        chat = Connection("127.0.0.1", fake.port, pauses=(60.0,))
        chat.login("ada", "secret")
        with pytest.raises(ConnectionLost):
            chat.ping()
        until(chat, Disconnected)
        with pytest.raises(ConnectionLost, match="tried again"):
            chat.push("typing", {"room_id": "lobby"})
        with pytest.raises(ConnectionLost, match="tried again"):
            chat.connect()
        begin = time.monotonic()
        chat.close()
        assert time.monotonic() - begin < 2
        with pytest.raises(ConnectionLost):
            chat.connect()
        assert list(chat.messages()) == []


def test_another_user_inherits_nothing(server: FakeServer) -> None:
    server.handlers["send_message"] = lambda peer, packet: None
    with connection(server) as chat:
        chat.login("ada", "secret")
        pending = chat.post("lobby", "hers")
        chat.logout()
        chat.login("bob", "secret")
        with pytest.raises(ConnectionLost, match="somebody else"):
            pending.wait(patience(5))


def test_a_bug_in_the_reading_thread_reaches_who_waits(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = connection(server)
    chat.login("ada", "secret")
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    monkeypatch.setattr(PendingRequests, "take", lambda self, packet: 1 / 0)
    with pytest.raises(ConnectionLost, match="client failed"):
        chat.ping()
    with pytest.raises(ConnectionLost, match="client failed"):
        list(chat.messages(5))
    chat.close()


# --- the link and the queue ---


def test_a_link_that_can_not_send_ends(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "MAX_WAITING_BYTES", 10)
    link = link_module.open_link("127.0.0.1", server.port, Deadline(5))
    with pytest.raises(ConnectionLost, match="takes nothing"):
        for _ in range(1000):
            link.send(b"\0\0\0\1x" * 100_000)
    assert link.ended
    link.dispose()


def test_frames_are_traced_in_both_directions(server: FakeServer) -> None:
    seen: list[str] = []
    with connection(
        server, trace=lambda direction, payload: seen.append(f"{direction} {payload[:16].decode()}")
    ) as chat:
        chat.connect()
    assert seen[:2] == ['sent {"action":"ping"', 'received {"action": "pong']


def test_a_defect_while_sending_ends_the_link_and_is_told(server: FakeServer) -> None:
    def fail(direction: str, payload: bytes) -> None:
        raise ZeroDivisionError("planted")

    link = link_module.open_link("127.0.0.1", server.port, Deadline(5), trace=fail)
    link.send(b"\0\0\0\1x")
    assert not link.silent_for(patience(5.0))
    with pytest.raises(ConnectionLost, match="the client failed: ZeroDivisionError"):
        link.send(b"\0\0\0\1x")
    link.dispose()


def test_the_queue_drops_the_oldest_and_says_how_many() -> None:
    queue = Arrivals(most=2)
    for number in range(4):
        queue.put(Reconnected(number))
    assert [queue.get(0) for _ in range(4)] == [
        EventsDropped(2),
        Reconnected(2),
        Reconnected(3),
        None,
    ]
    queue.close()
    queue.close(ConnectionLost("late"))
    assert queue.get(1) is None and queue.ended and queue.error is None
