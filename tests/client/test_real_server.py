"""The client's connection against the real server, through a network that keeps breaking."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.patience import patience
from support.seed import drawn, some_bytes
from support.server_process import ServerProcess

from client.connection import Connection
from client.errors import ConnectionLost, LoginRefused, ServerError
from client.events import Disconnected, FileShared, LoggedOut, Message, Reconnected
from client.transfers import download, upload

ROOT = Path(__file__).resolve().parents[2]


class BreakingNetwork:
    """Passes bytes on between clients and a server, and breaks a connection after a random number
    of them."""

    def __init__(self, port: int, seed: int, mean_bytes: int) -> None:
        self.breaks = 0
        self.stable = False
        self._server = port
        self._random = drawn("breaks", seed)
        self._mean_bytes = mean_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._acceptor = threading.Thread(target=self._accept, name="breaking-network", daemon=True)
        self._acceptor.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                self._open.add(client)
                server = socket.create_connection(("127.0.0.1", self._server), 5)
            except OSError:
                return
            self._open.add(server)
            for source, target in ((client, server), (server, client)):
                left = int(self._random.expovariate(1 / self._mean_bytes)) + 200
                threading.Thread(
                    target=self._pass_on, args=(source, target, left), daemon=True
                ).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, left: int) -> None:
        try:
            while self.stable or left > 0:
                data = source.recv(65536 if self.stable else min(left, 65536))
                if not data:
                    return
                left -= len(data)
                target.sendall(data)
            self.breaks += 1
        except OSError:
            pass
        finally:
            for sock in (source, target):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(patience(10))  # until then it may accept one more
        for sock in self._open:
            sock.close()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("real") / "data", "--rate-limit", "0") as server:
        yield server
        assert server.stop() == 0
        assert "Traceback" not in server.log(), server.log()


def account(server: ServerProcess, name: str) -> None:
    with Connection("127.0.0.1", server.port) as chat:
        chat.register(name, "secret")


def through(network: BreakingNetwork, name: str) -> Connection:
    chat = Connection("127.0.0.1", network.port, pauses=(0.01, 0.02), timeout=patience(5.0))
    deadline = time.monotonic() + patience(10)
    while True:
        try:
            chat.login(name, "secret", take_over=True)
            return chat
        except ConnectionLost:
            assert time.monotonic() < deadline
            if chat.wait_until_online(1) and chat.session is not None:
                return chat


def test_no_message_is_lost_or_doubled_or_out_of_order_over_a_network_that_keeps_breaking(
    real: ServerProcess,
) -> None:
    account(real, "sender")
    account(real, "reader")
    network = BreakingNetwork(real.port, seed=11, mean_bytes=20_000)
    network.stable = True
    sender, reader = through(network, "sender"), through(network, "reader")
    network.stable = False
    try:
        posted = [
            sender.post("storm" if number % 3 else "lobby", f"message {number}")
            for number in range(400)
        ]
        identities = [message.wait(patience(30)).message_id for message in posted]
        breaks = network.breaks
        network.stable = True
        assert None not in identities and len(set(identities)) == 400
        got: dict[str, list[str]] = {"storm": [], "lobby": []}
        for event in reader.events(10):
            if isinstance(event, Message):
                got[event.room_id].append(event.content)
            if sum(map(len, got.values())) >= 400:
                break
        time.sleep(0.1)
        assert not [event for event in reader.events(0.2) if isinstance(event, Message)]
        stored = {
            room: [message.content for message in reader.history(room, after_id=0).messages]
            for room in got
        }
        assert got == stored
        assert sorted(got["storm"] + got["lobby"]) == sorted(message.content for message in posted)
        assert breaks >= 3, "the network was meant to break"
    finally:
        sender.close()
        reader.close()
        network.close()


def test_files_arrive_whole_over_a_network_that_keeps_breaking(
    real: ServerProcess, tmp_path: Path
) -> None:
    account(real, "giver")
    account(real, "taker")
    content = some_bytes(3_000_000)
    (tmp_path / "big.bin").write_bytes(content)
    network = BreakingNetwork(real.port, seed=5, mean_bytes=1_500_000)
    giver, taker = through(network, "giver"), through(network, "taker")
    try:
        upload(giver, "files", tmp_path / "big.bin", patience=20)
        path = download(taker, "files", "big.bin", tmp_path / "down", patience=20)
        assert path.read_bytes() == content
        assert [file.file_size for file in taker.files("files")] == [len(content)]
    finally:
        giver.close()
        taker.close()
        network.close()


def test_who_takes_the_place_of_another_session_ends_it_for_good(real: ServerProcess) -> None:
    account(real, "twice")
    first = Connection("127.0.0.1", real.port, pauses=(0.01,))
    first.login("twice", "secret")
    with Connection("127.0.0.1", real.port) as second:
        with pytest.raises(LoginRefused):
            second.login("twice", "secret")
        second.login("twice", "secret", take_over=True)
        kinds = []
        with pytest.raises(LoginRefused):
            kinds += [type(event) for event in first.events(5)]
        assert first.session is None
        time.sleep(0.1)
        assert second.ping() < 5  # nobody has taken the place back
    first.close()


def test_private_rooms_and_everything_else_can_be_asked(real: ServerProcess) -> None:
    for name in ("owner", "member"):
        account(real, name)
    with Connection("127.0.0.1", real.port) as owner, Connection("127.0.0.1", real.port) as member:
        owner.login("owner", "secret")
        member.login("member", "secret")
        room = owner.create_room("our club", ["member"])
        owner.send(room, "welcome")
        assert next(member.messages(patience(5))).content == "welcome"
        assert {found.name: (found.private, found.owner) for found in member.rooms()}[
            "our club"
        ] == (True, "owner")
        assert set(owner.room_users(room)) == {"owner", "member"}
        assert {"owner", "member"} <= set(owner.users().online)
        owner.rename_room(room, "new name")
        owner.remove_user(room, "member")
        with pytest.raises(ServerError) as caught:
            member.send(room, "let me in")
        assert caught.value.code == "room_not_found"
        owner.add_user(room, "member")
        member.leave_room(room)
        owner.delete_room(room)
        owner.leave_room("lobby")
        owner.join_room("lobby")
        owner.change_password("secret", "other")
        owner.logout()
        with pytest.raises(LoginRefused):
            owner.login("owner", "secret")
        owner.login("owner", "other")


def test_a_password_changed_elsewhere_is_not_tried_again(real: ServerProcess) -> None:
    account(real, "moved")
    chat = Connection("127.0.0.1", real.port, features=(), pauses=(0.01,))  # so told nothing
    chat.login("moved", "secret")
    with Connection("127.0.0.1", real.port) as other:
        other.login("moved", "secret", take_over=True)
        other.change_password("secret", "new")
    seen = []
    with pytest.raises(LoginRefused):
        for event in chat.events(5):
            seen.append(type(event))
    assert seen[-1] is LoggedOut and Disconnected in seen and Reconnected not in seen
    chat.close()


def test_the_ten_lines_talk(real: ServerProcess, tmp_path: Path) -> None:
    account(real, "robot")
    account(real, "human")
    script = (
        (ROOT / "examples" / "ten_lines.py")
        .read_text(encoding="utf-8")
        .replace("9876", str(real.port))
    )
    (tmp_path / "password").write_text("secret\n", "utf-8-sig")  # as Notepad may write it
    changed = tmp_path / "ten_lines.py"
    changed.write_text(
        script.replace("Path(__file__).resolve().parent.parent", f"Path({str(ROOT)!r})"),
        encoding="utf-8",
    )
    with Connection("127.0.0.1", real.port) as human:
        human.login("human", "secret")
        robot = subprocess.Popen(
            [sys.executable, "-u", str(changed), "robot", str(tmp_path / "password")],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            arrivals = human.messages(patience(10))
            assert next(arrivals).content == "Hello, everybody!"
            human.send("lobby", "ping")
            assert next(arrivals).content == "pong"
        finally:
            robot.terminate()
            output = robot.communicate(timeout=patience(10))[0]
    assert "lobby human: 'ping'" in output


# --- A server that is killed and started again ----------------------------------------------------


class Killer:
    """A trace that tells when a packet of one kind has gone over the wire so many times."""

    def __init__(self, direction: str, action: str, count: int) -> None:
        self.reached = threading.Event()
        self._direction = direction
        self._needle = f'"action":"{action}"'.encode()
        self._count = count

    def __call__(self, direction: str, payload: bytes) -> None:
        if direction == self._direction and self._needle in payload[:64]:
            self._count -= 1
            if self._count == 0:
                self.reached.set()

    def kill(self, server: ServerProcess, data: Path) -> ServerProcess:
        """Kill the server when it is time; the one that takes its port over."""
        assert self.reached.wait(patience(15))
        server.kill()
        return ServerProcess(data, "--rate-limit", "0", "--port", str(server.port))


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[list[ServerProcess]]:
    """A list that holds a server; those that are put into it end with the test."""
    servers = [ServerProcess(tmp_path / "data", "--rate-limit", "0")]
    servers[0].start()
    yield servers
    for server in servers:
        server.kill()


def steady(port: int, name: str, trace: Killer | None = None) -> Connection:
    chat = Connection("127.0.0.1", port, pauses=(0.05,), trace=trace)
    chat.login(name, "secret")
    return chat


@pytest.mark.parametrize(
    ("direction", "action"),
    [("received", "character_count"), ("sent", "confirm_count"), ("received", "ack")],
)
def test_a_server_killed_in_mid_message_loses_and_doubles_nothing(
    mortal: list[ServerProcess], tmp_path: Path, direction: str, action: str
) -> None:
    account(mortal[0], "ada")
    killer = Killer(direction, action, 20)
    chat = steady(mortal[0].port, "ada", killer)
    posted = [chat.post("lobby", f"message {number}") for number in range(60)]
    mortal.append(killer.kill(mortal[0], tmp_path / "data"))
    mortal[-1].start()
    identities = [message.wait(patience(30)).message_id for message in posted]
    assert len(set(identities)) == 60 and None not in identities
    stored = chat.history("lobby", after_id=0).messages
    assert sorted(message.content for message in stored) == sorted(
        f"message {number}" for number in range(60)
    )
    chat.close()


def test_a_server_killed_in_mid_transfer_gets_and_gives_the_file_whole(
    mortal: list[ServerProcess], tmp_path: Path
) -> None:
    account(mortal[0], "ada")
    content = some_bytes(4_000_000)
    (tmp_path / "big.bin").write_bytes(content)
    killer = Killer("received", "file_send_data", 20)
    chat = steady(mortal[0].port, "ada", killer)
    sending = threading.Thread(
        target=upload, args=(chat, "lobby", tmp_path / "big.bin"), name="test-sends", daemon=True
    )
    sending.start()
    mortal.append(killer.kill(mortal[0], tmp_path / "data"))
    mortal[-1].start()
    sending.join(patience(60))
    assert [file.file_size for file in chat.files("lobby")] == [len(content)]

    killer = Killer("received", "file_down_data", 20)
    chat.trace_packets(killer)
    done: list[Path] = []
    fetching = threading.Thread(
        target=lambda: done.append(download(chat, "lobby", "big.bin", tmp_path / "down")),
        name="test-fetches",
        daemon=True,
    )
    fetching.start()
    mortal.append(killer.kill(mortal[-1], tmp_path / "data"))
    mortal[-1].start()
    fetching.join(patience(60))
    assert done and done[0].read_bytes() == content
    assert [file.name for file in (tmp_path / "down").iterdir()] == ["big.bin"], (
        "nothing half is left"
    )
    chat.close()


def test_messages_and_files_that_came_while_away_are_told(
    real: ServerProcess, tmp_path: Path
) -> None:
    for name in ("traveller", "stayer"):
        account(real, name)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    network = BreakingNetwork(real.port, seed=1, mean_bytes=1_000_000)
    network.stable = True
    with Connection("127.0.0.1", real.port) as stayer:
        stayer.login("stayer", "secret")
        upload(stayer, "trip", tmp_path / "a.txt")
        chat = Connection("127.0.0.1", network.port, pauses=(0.01,), watch_files=True)
        chat.login("traveller", "secret")
        for sock in list(network._open):
            with contextlib.suppress(OSError):  # the other side's end has ended this one already
                sock.shutdown(socket.SHUT_RDWR)
        stayer.send("trip", "one")
        stayer.send("trip", "two")
        upload(stayer, "trip", tmp_path / "b.txt")
        told: list[object] = []
        deadline = time.monotonic() + patience(15)
        while [type(one) for one in told].count(Message) < 2 or not any(
            isinstance(one, FileShared) for one in told
        ):
            assert time.monotonic() < deadline, told
            told.append(chat.next_event(1))
        assert [event.file_path for event in told if isinstance(event, FileShared)] == ["b.txt"], (
            "the first one was known"
        )
        chat.close()
    network.close()
