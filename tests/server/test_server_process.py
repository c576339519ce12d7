"""The server as a process: accounts changed from outside, signals, running out of descriptors, full
pipes, stopping in time."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.files import Upload
from support.patience import patience
from support.raw_client import RawClient, error_code
from support.server_process import REPOSITORY, ServerProcess, server_command, server_environment

User = Callable[..., RawClient]
Start = Callable[..., ServerProcess]
unix_only = pytest.mark.skipif(os.name == "nt", reason="needs signals and limits of Unix")


def command(process: ServerProcess, *arguments: str, said: str = "") -> str:
    """What a command of `chat_server.py` prints about the server's data folder; it must succeed."""
    line = [
        sys.executable,
        "chat_server.py",
        *arguments,
        "--data",
        str(process.data_dir),
        "--password-cost",
        "4",
    ]
    if arguments[0] in ("users", "deluser", "restore-room"):
        line = line[:-2]
    done = subprocess.run(
        line,
        cwd=REPOSITORY,
        env=server_environment(),
        input=said,
        capture_output=True,
        text=True,
        timeout=patience(30),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- Accounts from the command line, while it serves ----------------------------------------------


@pytest.mark.parametrize(
    "arguments", [("passwd", "{name}"), ("deluser", "{name}")], ids=["passwd", "deluser"]
)
def test_a_session_ends_soon_after_its_account_was_changed_outside(
    start_server: Start, user: User, client_factory: User, arguments: tuple[str, str]
) -> None:
    process = start_server()
    changed, other = user("changed", process), user("other", process)
    command(process, arguments[0], "changed", said="new password\n")
    changed.expect_closed()
    other.say("lobby", "still here")
    again = client_factory(process)
    assert again.login("changed")["action"] == "login_fail", "the old password is no longer good"
    assert again.login("changed", None, session_key=changed.session_key)["action"] == "login_fail"
    renewed = again.login("changed", "new password")["action"]
    assert renewed == ("login_success" if arguments[0] == "passwd" else "login_fail")


def test_an_account_made_outside_can_log_in_at_once(
    start_server: Start, client_factory: User
) -> None:
    process = start_server("--registration", "closed")
    client = client_factory(process)
    refused = client.register("ada")
    assert (refused["action"], refused["code"]) == ("register_fail", "registration_closed")
    command(process, "adduser", "ada", said="secret\n")
    assert client.login("ada", "secret")["action"] == "login_success"
    assert command(process, "users").split() == ["ada"]


def test_a_deleted_room_comes_back_while_the_server_runs(start_server: Start, user: User) -> None:
    process = start_server()
    owner, member = user("owner", process), user("member", process)
    room = owner.ask("create_room", participants=["member"], room_name="ours")["data"]["room_id"]
    member.say(room, "before")
    assert owner.ask("delete_room", room_id=room)["action"] == "room_deleted"
    assert error_code(member.ask("get_room_users", room_id=room)) == "room_not_found"
    assert "ours" in command(process, "restore-room", room)
    deadline = time.monotonic() + patience(10)
    while member.ask("get_room_users", room_id=room)["action"] == "error":
        assert time.monotonic() < deadline, "the server has not noticed"
        time.sleep(0.05)
    history = member.ask("get_messages", room_id=room, after_id=0)["data"]["messages"]
    assert [message["content"] for message in history] == ["before"]
    owner.say(room, "after")
    member.receive_message("after")


# --- Signals and stopping -------------------------------------------------------------------------


@unix_only
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_it_well(tmp_path: Path, name: str) -> None:
    process = ServerProcess(tmp_path / "data")
    process.start()
    os.kill(process.pid, getattr(signal, name))
    deadline = time.monotonic() + patience(15)
    while process.is_running():
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.01)
    assert process.stop() == 0
    last = process.log().rstrip().splitlines()[-1]
    assert last.endswith(" closed"), "what is measured of the writer is nothing for a teacher"
    assert "Traceback" not in process.log()


def test_it_stops_in_time_with_idle_silent_deaf_and_busy_clients(
    start_server: Start, user: User, client_factory: User
) -> None:
    process = start_server("--rate-limit", "0")
    idle = [user(server=process) for _ in range(20)]
    silent = [client_factory(process) for _ in range(5)]
    deaf, busy = user(server=process, receive_buffer=4096), user(server=process)
    upload = Upload(busy, "lobby", "half", b"x" * 5000)
    upload.init()
    upload.send(1)
    for _ in range(40):
        busy.say("lobby", "y" * 16000)
    begun = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - begun < patience(10), "5 s are promised; over twice that is a hang"
    for client in [*idle, *silent]:
        client.expect_closed()
    assert deaf is not None
    process.start()
    again = client_factory(process)
    assert again.login(busy.chatid)["action"] == "login_success"
    history = again.ask("get_messages", room_id="lobby", after_id=0)["data"]["messages"]
    assert len(history) == 40, "every acknowledged message is stored"
    upload.client = again
    assert upload.init()["data"]["received"] == [[1, 1]]


@unix_only
def test_a_second_signal_ends_it_at_once(start_server: Start, user: User) -> None:
    process = start_server(
        "--shutdown-timeout",
        "600",
        "--stall-timeout",
        "600",
        "--max-waiting",
        "0",
        "--rate-limit",
        "0",
    )
    deaf = user(server=process, receive_buffer=4096)
    ask = {
        "action": "get_messages",
        "data": {"chatid": deaf.chatid, "room_id": "lobby", "after_id": 0},
    }
    talker = user(server=process)
    for _ in range(60):
        talker.say("lobby", "z" * 16000)
    for _ in range(8):
        deaf.send(ask)
    os.kill(process.pid, signal.SIGTERM)
    talker.expect_closed(timeout=patience(15))
    assert process.is_running(), "it waits for the one that does not take its answers"
    os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + patience(15)
    while process.is_running():
        assert time.monotonic() < deadline, "a second signal ends it"
        time.sleep(0.01)


# --- Its surroundings -----------------------------------------------------------------------------


@unix_only
def test_out_of_descriptors_a_client_is_refused_and_the_server_recovers(
    start_server: Start, user: User
) -> None:
    import resource

    if not hasattr(resource, "prlimit"):
        pytest.skip("needs prlimit")
    process = start_server()
    bystander = user(server=process)
    used = len(os.listdir(f"/proc/{process.pid}/fd"))
    before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (used + 3, before[1]))
    crowd = [socket.create_connection(("127.0.0.1", process.port)) for _ in range(12)]
    bystander.say("lobby", "meanwhile")
    told = 0
    for one in crowd[6:]:
        one.settimeout(patience(10))
        data = one.recv(4096)
        told += b"server_full" in data
    assert told, "nobody was told why"
    for one in crowd:
        one.close()
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)
    deadline = time.monotonic() + patience(15)
    while True:
        late = RawClient(process.port)
        try:
            late.send({"action": "ping"})
            if late.receive()["action"] == "pong":
                break
        except AssertionError:
            assert time.monotonic() < deadline, "it does not recover"
        finally:
            late.close()
    bystander.say("lobby", "afterwards")
    assert "Traceback" not in process.log()


@unix_only
@pytest.mark.parametrize(
    "what",
    [
        "closed",
        # quickly: row 115 of test_bad_inputs_load.py
        pytest.param("a full pipe", marks=pytest.mark.long),
    ],
)
def test_output_that_nobody_takes_does_not_stop_the_chat(tmp_path: Path, what: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = [
        *server_command(tmp_path / "data", "--log-level", "debug", "--rate-limit", "0"),
        "--port",
        str(port),
    ]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(line, cwd=REPOSITORY, env=server_environment(), **streams) as server:
        try:
            assert server.stdout is not None and server.stderr is not None
            if what == "closed":
                server.stdout.close()
                server.stderr.close()
            client = connect_soon(port)
            for number in range(400):  # some 100 KiB of log lines
                client.register(f"somebody{number}")
            client.login("somebody0")
            client.say("lobby", "heard")
            client.close()
            server.send_signal(signal.SIGTERM)
            server.stdout.close()
            server.stderr.close()
            assert server.wait(patience(15)) in (0, 1, 120), (
                "120: Python could not flush its own stdout at the end"
            )
        finally:
            server.kill()


def connect_soon(port: int) -> RawClient:
    deadline = time.monotonic() + patience(20)
    while True:
        try:
            return RawClient(port)
        except OSError:
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.05)


def test_a_first_screen_says_what_to_type(start_server: Start) -> None:
    process = start_server()
    said = process.output()
    assert re.search(rf"listening on 127\.0\.0\.1:{process.port}\b", said)
    assert (
        f"python3 chat_client.py 127.0.0.1:{process.port}" in said
        and "Ctrl-C" in said
        and str(process.data_dir) in said
    )
