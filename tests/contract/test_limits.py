"""Limits slow down or refuse clearly, and never punish the honest."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import fresh_name
from support.files import Upload
from support.patience import patience
from support.raw_client import ClosedByServer, NothingCame, RawClient, encode, error_code
from support.server_process import (
    REPOSITORY,
    ServerProcess,
    complaints,
    server_command,
    server_environment,
)

User = Callable[..., RawClient]
Start = Callable[..., ServerProcess]

# The rate is the one that a server has without options.
SERVER_OPTIONS = ()


# rate


def test_a_fast_client_is_read_slowly_and_never_refused(user: User) -> None:
    fast, other = user(), user()
    packet = {"action": "get_users", "data": {"chatid": fast.chatid, "limit": 1}}
    started = time.monotonic()
    fast.send_bytes(
        b"".join(encode({**packet, "request_id": f"{number}"}) for number in range(130))
    )
    other.say("lobby", "while the other waits")
    for number in range(130):
        reply = fast.receive_where(lambda packet: "request_id" in packet, 20)
        assert (reply["action"], reply["request_id"]) == ("users_list", f"{number}")
    assert time.monotonic() - started > 0.5, "30 requests over the burst take 1.5 s at 20 a second"


def test_pings_are_free(user: User) -> None:
    client = user()
    client.send_bytes(encode({"action": "ping"}) * 1000)
    deadline = time.monotonic() + patience(20)
    for _ in range(1000):
        assert (
            client.receive_action("pong", timeout=deadline - time.monotonic())["action"] == "pong"
        )


def test_the_receivers_handshake_is_free(user: User, room: str) -> None:
    speakers, listener = [user() for _ in range(4)], user()
    for speaker in speakers:
        for number in range(60):
            speaker.say(room, f"{number}")
    started = time.monotonic()
    for _ in range(240):
        listener.answer(listener.receive_message(room_id=room))
    assert time.monotonic() - started < patience(10), "480 packets at 20 a second would take 19 s"


def test_chunks_of_an_open_upload_are_free(user: User, room: str) -> None:
    client = user()
    started = time.monotonic()
    Upload(client, room, "many", b"x" * 40_000, chunk=100).run()
    assert time.monotonic() - started < patience(12), "400 packets at 20 a second would take 15 s"


def test_the_rate_can_be_turned_off(start_server: Start, user: User) -> None:
    client = user(server=start_server("--rate-limit", "0"))
    started = time.monotonic()
    packet = encode({"action": "get_users", "data": {"chatid": client.chatid}})
    client.send_bytes(packet * 500)
    for _ in range(500):
        assert client.receive_action("users_list")
    assert time.monotonic() - started < patience(15)


# logins


def test_failed_logins_slow_one_account_of_one_address_only(client_factory: User) -> None:
    victims = [fresh_name(), fresh_name()]  # a login that succeeds ends the count of its own
    guesser, bystander, owner = client_factory(), client_factory(), client_factory()
    for name in victims:
        assert owner.register(name)["action"] == "register_success"
    assert owner.login(victims[1])["action"] == "login_success"
    other = fresh_name()
    assert bystander.register(other)["action"] == "register_success"
    for name in victims * 5:
        assert guesser.login(name, "wrong")["action"] == "login_fail"
    started = time.monotonic()
    guesser.send({"action": "login", "data": {"chatid": victims[0], "password": "wrong"}})
    assert bystander.login(other)["action"] == "login_success"
    by_key = client_factory()
    key = owner.session_key
    assert by_key.login(victims[1], None, session_key=key)["action"] == "login_success"
    assert guesser.receive()["action"] == "login_fail"
    assert time.monotonic() - started > 0.9, "the sixth answer comes after 1 s"


def test_guessing_on_many_connections_is_no_quicker(client_factory: User) -> None:
    victim = fresh_name()
    guessers = [client_factory() for _ in range(2)]
    assert guessers[0].register(victim)["action"] == "register_success"
    for _ in range(5):
        assert guessers[0].login(victim, "wrong")["action"] == "login_fail"
    started = time.monotonic()
    for guesser in guessers:
        guesser.send({"action": "login", "data": {"chatid": victim, "password": "wrong"}})
    for guesser in guessers:
        assert guesser.receive(patience(15))["action"] == "login_fail"
    assert time.monotonic() - started > 1.8, "the delays of two more attempts are 1 and 2 s"


# connections


def refused(server: ServerProcess) -> None:
    client = RawClient(server.port)
    try:
        packets = client.expect_closed()
        assert [error_code(packet) for packet in packets] == ["server_full"], packets
    finally:
        client.close()


def test_over_the_cap_of_connections_is_a_clear_refusal(
    start_server: Start, client_factory: User
) -> None:
    process = start_server("--max-connections", "4")
    clients = [client_factory(process) for _ in range(4)]
    for client in clients:
        assert client.nothing_before_pong() == []
    for _ in range(3):
        refused(process)
    for client in clients:
        assert client.nothing_before_pong() == []
    clients[0].close()
    deadline = time.monotonic() + patience(10)
    while True:
        late = client_factory(process)
        try:
            assert late.nothing_before_pong() == []
            break
        except (AssertionError, OSError):
            assert time.monotonic() < deadline, "the place did not come free"


def test_loopback_is_free_of_the_cap_of_an_address(
    start_server: Start, client_factory: User
) -> None:
    process = start_server("--max-per-address", "2")
    for client in [client_factory(process) for _ in range(10)]:
        assert client.nothing_before_pong() == []


def test_300_connections_at_once_are_all_served(start_server: Start, client_factory: User) -> None:
    process = start_server()
    clients = [client_factory(process) for _ in range(300)]
    for client in clients:
        client.send({"action": "ping"})
    for client in clients:
        assert client.receive()["action"] == "pong"


# content and frames


def test_the_limits_of_content_and_frame_are_options(start_server: Start, user: User) -> None:
    process = start_server("--max-content", "100", "--max-frame", "131072", "--max-file", "1234")
    client = user(server=process)
    assert client.max_frame == 131072
    client.say("lobby", "x" * 100)
    assert (
        error_code(client.ask("send_message", room_id="lobby", content="x" * 101)) == "bad_packet"
    )
    body = b'{"action":"ping","x":"' + b"x" * (131072 - 24) + b'"}'
    client.send_body(body)
    assert client.receive()["action"] == "pong"
    client.send_body(body[:-2] + b'x"}')
    assert [error_code(packet) for packet in client.expect_closed()] == ["bad_frame"]


# readers


def test_a_reader_that_is_gone_is_closed_and_finds_all_in_the_history(
    start_server: Start, user: User, client_factory: User
) -> None:
    process = start_server("--max-waiting", "131072", "--rate-limit", "0")
    speaker, reader = user(server=process), user(server=process)
    gone = user(server=process, receive_buffer=16384)
    content = "x" * 16000
    sent = 0
    while gone.chatid in speaker.ask("get_users")["data"]["online"]:
        for _ in range(10):
            speaker.say("lobby", content)
            sent += 1
            assert reader.receive_message()["data"]["content"] == content
        assert sent < 1500, "a reader that never reads keeps its place"
    try:
        got = len(gone.expect_closed())
    except AssertionError as error:
        assert not isinstance(error, NothingCame), "the connection is open"
        got = -1
    assert got < sent
    again = client_factory(process)
    assert again.login(gone.chatid)["action"] == "login_success"
    after, found = 0, 0
    while True:
        page = again.ask("get_messages", room_id="lobby", after_id=after)["data"]
        found += len(page["messages"])
        if not page["has_more"]:
            break
        after = page["messages"][-1]["message_id"]
    assert found == sent


def test_replies_never_count_as_waiting(start_server: Start, user: User) -> None:
    process = start_server("--max-waiting", "65536", "--rate-limit", "0")
    client = user(server=process, receive_buffer=16384)
    for _ in range(60):
        client.say("lobby", "x" * 16000)
    other = user(server=process)
    packet = encode(
        {
            "action": "get_messages",
            "data": {"chatid": client.chatid, "room_id": "lobby", "after_id": 0},
        }
    )
    client.send_bytes(packet * 20)
    for number in range(20):
        other.say("lobby", f"{number}")
    for _ in range(20):
        assert (
            len(client.receive_action("messages_list", timeout=patience(20))["data"]["messages"])
            >= 60
        )
    for number in range(20):
        client.receive_message(f"{number}")


def test_a_client_that_sends_without_reading_holds_up_only_itself(
    start_server: Start, user: User
) -> None:
    process = start_server("--rate-limit", "0")
    greedy, other, third = (
        user(server=process, receive_buffer=16384),
        user(server=process),
        user(server=process),
    )
    greedy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    packet = encode({"action": "get_rooms", "data": {"chatid": greedy.chatid}}) * 100
    with pytest.raises(TimeoutError):
        for _ in range(10_000):
            greedy.send_bytes(packet, timeout=1)
    for number in range(10):
        other.say("lobby", f"{number}")
        third.receive_message(f"{number}")


def test_talk_goes_on_while_a_class_logs_in(
    start_server: Start, user: User, client_factory: User
) -> None:
    process = start_server()
    alice, bob = user(server=process), user(server=process)
    clients = [client_factory(process) for _ in range(30)]
    threads = [
        threading.Thread(
            target=lambda client=client: (client.register(name := fresh_name()), client.login(name))
        )
        for client in clients
    ]
    for thread in threads:
        thread.start()
    for number in range(10):
        alice.say("lobby", f"{number}")
        bob.receive_message(f"{number}")
    for thread in threads:
        thread.join(patience(30))
    assert all(client.session_key for client in clients)


@pytest.mark.long
def test_a_reader_has_30_seconds_to_take_something(start_server: Start, user: User) -> None:
    process = start_server("--rate-limit", "0", "--max-waiting", "0")
    speaker, gone = user(server=process), user(server=process, receive_buffer=16384)
    started = time.monotonic()
    for _ in range(600):
        speaker.say("lobby", "x" * 16000)
    while gone.chatid in speaker.ask("get_users")["data"]["online"]:
        assert time.monotonic() < started + patience(60), "it keeps its place for ever"
        pause(1)
    assert time.monotonic() - started > 29, "it was closed too early"


# limits of time, made short by their options


def pause(seconds: float) -> None:
    """Let a limit of time run out."""
    threading.Event().wait(seconds)


@pytest.mark.long  # quick in tests/server/test_limits.py, with a clock that the test drives
def test_who_does_not_log_in_is_closed(
    start_server: Start, client_factory: User, user: User
) -> None:
    process = start_server("--login-timeout", "1")
    alice = user(server=process)
    silent, begun, pinging = (client_factory(process) for _ in range(3))
    begun.send_bytes(b"\x00\x00")
    assert silent.expect_closed() == [] and begun.expect_closed() == []
    deadline = time.monotonic() + patience(10)
    with pytest.raises((ClosedByServer, OSError)):
        while time.monotonic() < deadline:
            pinging.nothing_before_pong()
    assert alice.nothing_before_pong() == [], "who is logged in may be silent"
    alice.ask("logout")
    assert alice.expect_closed() == []


@pytest.mark.long  # quick in tests/server/test_limits.py, with a clock that the test drives
def test_a_frame_has_its_time_as_a_whole(start_server: Start, user: User) -> None:
    process = start_server("--frame-timeout", "1")
    idle, halted, dripping = (user(server=process) for _ in range(3))
    data = encode({"action": "ping", "padding": "x" * 1000})
    halted.send_bytes(data[:2])
    closed = False
    for at in range(50):
        try:
            dripping.send_bytes(data[at : at + 1])
            dripping.receive(0.2)
        except NothingCame:
            continue
        except (ClosedByServer, OSError):
            closed = True
            break
    assert closed, "a byte now and then keeps a frame open"
    assert halted.expect_closed() == []
    assert idle.nothing_before_pong() == []


@pytest.mark.long  # quick in tests/server/test_limits.py, with a clock that the test drives
def test_an_unconfirmed_transaction_dies(start_server: Start, user: User) -> None:
    alice = user(server=start_server("--transaction-timeout", "1"))
    transaction = alice.propose("lobby", "too late", transaction_id="key")["data"]["transaction_id"]
    pause(1.5)
    assert error_code(alice.confirm(transaction)) == "transaction_not_found"
    alice.say("lobby", "another content", transaction_id="key")


@pytest.mark.long  # quick in tests/server/test_limits.py, with a clock that the test drives
def test_who_takes_nothing_is_closed(start_server: Start, user: User) -> None:
    process = start_server("--stall-timeout", "1", "--max-waiting", "0", "--rate-limit", "0")
    speaker, idle = user(server=process), user(server=process)
    gone = user(server=process, receive_buffer=16384)
    for _ in range(500):
        speaker.say("lobby", "x" * 16000)
        idle.receive_message()
    deadline = time.monotonic() + patience(15)
    while gone.chatid in speaker.ask("get_users")["data"]["online"]:
        assert time.monotonic() < deadline, "it keeps its place"
        pause(0.1)
    assert idle.nothing_before_pong() == []


@pytest.mark.long  # quick in tests/server/test_limits.py, with a clock that the test drives
def test_a_key_dies_after_its_last_use(
    start_server: Start, user: User, client_factory: User
) -> None:
    process = start_server("--session-lifetime", "1")
    alice, bob = user(server=process), user(server=process)
    bob.close()
    pause(2.2)
    late = client_factory(process)
    assert late.login(bob.chatid, None, session_key=bob.session_key)["action"] == "login_fail"
    alice.nothing_before_pong()
    again = client_factory(process)
    reply = again.login(alice.chatid, None, session_key=alice.session_key)
    assert reply["action"] == "login_success", "a key in use does not die"
    again.close()
    again = client_factory(process)
    reply = again.login(alice.chatid, None, session_key=alice.session_key)
    assert reply["action"] == "login_success", "the end of the connection was its last use"


@pytest.mark.long  # quick in tests/server/test_limits.py, with a clock that the test drives
def test_an_upload_left_untouched_is_removed(
    start_server: Start, user: User, client_factory: User
) -> None:
    process = start_server("--upload-lifetime", "1", "--quota", "4000")
    alice = user("alice", process)
    upload = Upload(alice, "lobby", "left", b"x" * 2500)
    upload.init()
    upload.send(1)
    alice.close()
    pause(2.5)
    process.restart()
    upload.client = client_factory(process)
    upload.client.login("alice", take_over=True)
    other = Upload(upload.client, "lobby", "other", b"x" * 3000)
    deadline = time.monotonic() + patience(10)
    while (answer := other.init())["action"] == "error":
        assert error_code(answer) == "quota_exceeded"
        assert time.monotonic() < deadline, "it still counts"
        pause(0.2)
    assert error_code(upload.send(2)) == "file_not_found"


# the command line


def run(data_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        server_command(data_dir, *options),
        check=False,
        cwd=REPOSITORY,
        env=server_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience(15),
    )


def assert_one_clear_line(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode not in {0, -15, -9}, result
    lines = complaints(result.stderr)
    assert len(lines) == 1 and "Traceback" not in lines[0], result.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--no-such-option"],
        ["--port", "70000"],
        *(
            pytest.param([name, value], marks=pytest.mark.long)  # quickly: server/test_settings.py
            for name, value in (
                ("--port", "x"),
                ("--port", "-1"),
                ("--max-frame", "many"),
                ("--registration", "sometimes"),
                ("--rate-limit", "-1"),
                ("--password-cost", "99"),
                ("--quota", "1.5.2"),
            )
        ),
    ],
)
def test_bad_options_are_one_line_and_touch_nothing(tmp_path: Path, options: list[str]) -> None:
    assert_one_clear_line(run(tmp_path / "data", *options))
    assert not (tmp_path / "data").exists()


@pytest.mark.long  # quickly: row 116 of test_bad_inputs_load.py
def test_a_port_in_use_is_one_line_and_touches_nothing(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert_one_clear_line(run(tmp_path / "data", "--port", str(taken.getsockname()[1])))
    assert not (tmp_path / "data").exists()


def test_a_data_folder_in_use_is_refused(start_server: Start, user: User) -> None:
    process = start_server()
    client = user(server=process)
    assert_one_clear_line(run(process.data_dir))
    client.say("lobby", "the first one serves on")


@pytest.mark.long  # quickly: row 110 of test_bad_inputs_load.py
@pytest.mark.parametrize("kind", ["a file", "a foreign database", "a folder in a file"])
def test_an_unusable_data_folder_is_refused_untouched(tmp_path: Path, kind: str) -> None:
    data_dir = tmp_path / "data"
    if kind == "a file":
        data_dir.write_text("mine")
        touched = data_dir
    elif kind == "a folder in a file":
        (tmp_path / "file").write_text("mine")
        touched, data_dir = tmp_path / "file", tmp_path / "file" / "data"
    else:
        data_dir.mkdir(mode=0o700)
        touched = data_dir / "chat.db"
        touched.write_text("mine" * 1000)
    before = touched.read_bytes()
    assert_one_clear_line(run(data_dir))
    assert touched.read_bytes() == before


def test_the_last_word_of_many_clients_is_stored_before_the_end(
    start_server: Start, user: User
) -> None:
    process = start_server()
    clients = [user(f"user{number}", process) for number in range(5)]
    for client in clients:
        client.propose("lobby", f"last of {client.chatid}", transaction_id="last")
    confirm = encode(
        {"action": "confirm_count", "data": {"transaction_id": "last", "confirm": True}}
    )
    for client in clients:
        client.send_bytes(confirm)
    acks = [client.receive_action("ack") for client in clients]
    assert process.stop() == 0
    process.start()
    again = RawClient(process.port)
    again.login("user0", take_over=True)
    history = again.ask("get_messages", room_id="lobby", after_id=0)["data"]["messages"]
    again.close()
    assert {ack["data"]["message_id"] for ack in acks} == {entry["message_id"] for entry in history}
