"""Why a server can't be reached: every such error is produced, by the client and by `doctor`, and
its words are checked."""

from __future__ import annotations

import contextlib
import errno
import http.server
import json
import os
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import fresh_name
from support.client_fakes import FakeServer, Packet, Peer
from support.patience import patience
from support.raw_client import RawClient
from support.scripts_in_process import Result, alone, call
from support.server_process import ServerProcess
from support.tls import make_certificate, needs_openssl

from client.base.deadline import Deadline
from client.connection import Connection
from client.errors import CannotConnect
from client.network import tls
from client.network.first_contact import identify_service, service_name
from client.network.link import in_plain_words
from client.scripts import doctor

PYTHON = "py" if os.name == "nt" else "python3"

__all__ = [
    "alone"
]  # the fixture of the scripts' tests: an empty folder, and no settings of the machine
SECONDS = patience(10.0)
SERVER_OPTIONS = ("--rate-limit", "0", "--login-failures", "0")


def examine(target: str, *words: str) -> tuple[int, list[tuple[str, bool]], dict[str, Any]]:
    """Exit status, the steps and whether they were well, and the last finding."""
    result = call("doctor", target, "--json", *words)
    items = result.items()
    return result.status, [(item["step"], item["ok"]) for item in items], items[-1]


def talk(port: int, *words: str) -> Result:
    """The line client, which ends before it asks for anything."""
    return call(f"127.0.0.1:{port}", *words)


@contextlib.contextmanager
def listener(script: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server of another kind; the script has each of its connections, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        open_sockets: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    sock, _ = listening.accept()
                except ConnectionError:  # Windows: it was reset before it was taken
                    continue
                except OSError:
                    return
                open_sockets.append(sock)
                threading.Thread(
                    target=serve, args=(sock,), daemon=True, name="other-service"
                ).start()

        def serve(sock: socket.socket) -> None:
            with contextlib.suppress(OSError), sock:
                sock.settimeout(SECONDS)
                script(sock)

        acceptor = threading.Thread(target=accept, daemon=True, name="other-service-accept")
        acceptor.start()
        try:
            yield listening.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()  # Windows does not shut down what listens
            acceptor.join(SECONDS)  # until then it may accept one more
            for sock in open_sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


def greeting(data: bytes) -> Callable[[socket.socket], None]:
    """A server that speaks first, then listens."""

    def script(sock: socket.socket) -> None:
        sock.sendall(data)
        while sock.recv(4096):
            pass

    return script


@contextlib.contextmanager
def web_server() -> Iterator[int]:
    """Python's own."""

    class Quiet(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *arguments: Any) -> None:
            """Print nothing where the client has reset the connection: stderr is compared."""

    server = Server(("127.0.0.1", 0), Quiet)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True, name="web").start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def ada(server: ServerProcess) -> str:
    name = fresh_name("ada")
    with contextlib.closing(RawClient(server.port)) as client:
        client.register(name, "secret")
    return name


# --- All is well ----------------------------------------------------------------------------------


def test_a_good_server_is_found_good(server: ServerProcess) -> None:
    result = call(f"127.0.0.1:{server.port}", "doctor")
    assert result.status == 0
    assert [line.split()[:2] for line in result.out.splitlines()] == [
        ["ok", step] for step in ("name", "address", "tcp", "protocol", "tls")
    ]
    assert (
        "127.0.0.1 is this machine itself" in result.out and "A chat server answers" in result.out
    )
    assert "All is well up to the login." in result.err


def test_with_a_name_it_logs_in_and_says_a_message_to_itself(
    server: ServerProcess, ada: str
) -> None:
    status, steps, last = examine(
        f"127.0.0.1:{server.port}", "-u", ada, "--password-file", "secret"
    )
    assert status == 0
    assert [step for step, _ in steps] == [
        "name",
        "address",
        "tcp",
        "protocol",
        "tls",
        "login",
        "message",
        "time",
    ]
    assert all(good for _, good in steps)
    assert last["said"] == "The clocks of both machines agree."
    with contextlib.closing(RawClient(server.port)) as again:
        again.login(ada, "secret")
        assert [
            room["name"]
            for room in again.ask("get_rooms", chatid=ada)["data"]["rooms"]
            if room["private"]
        ] == [], "the room is gone"


def test_the_limits_are_told(server: ServerProcess, ada: str) -> None:
    said = call("doctor", f"127.0.0.1:{server.port}", "-u", ada, "--password-file", "secret").out
    assert "A message may have 16,384 bytes, a file 100 MiB." in " ".join(said.split())


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (-7260, "2 hours behind"),
        (3 * 86_400 + 60, "3 days ahead of"),
        (90, r"(89|9\d) seconds ahead of"),
        (-610, "10 minutes behind"),
    ],
)
def test_clocks_that_differ_are_told(ahead: float, said: str) -> None:
    def later(peer: Peer, packet: Packet) -> None:
        key = packet["data"]["transaction_id"]
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + ahead))
        peer.reply(packet, "ack", {"transaction_id": key, "message_id": 1, "timestamp": stamp})

    with FakeServer() as fake:
        fake.handlers["confirm_count"] = later
        status, _, last = examine(
            f"127.0.0.1:{fake.port}", "-u", "ada", "--password-file", "secret"
        )
    assert (status, last["step"], last["ok"]) == (0, "time", True)
    assert re.search(f"The server's clock is {said} this machine's.", last["said"])
    assert last["advice"].startswith("Set the one that is wrong")


@needs_openssl
def test_a_good_certificate_is_shown_with_its_end(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path)
    secure = start_server(*certificate.options)
    result = call("doctor", f"127.0.0.1:{secure.port}", "--tls", "--cafile", certificate.certfile)
    assert result.status == 0
    assert "Encrypted; the certificate is trusted, for 127.0.0.1, and ends in" in result.out


# --- Each error, produced -------------------------------------------------------------------------


def test_refused() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, and not listening: refuses
        port = bound.getsockname()[1]
        result = talk(port)
        status, steps, last = examine(f"127.0.0.1:{port}")
    said, advice = (
        f"127.0.0.1 was reached, but nothing listens on its port {port}.",
        "Check that the server runs",
    )
    assert result.status == 3
    assert result.err.startswith(f"{said}\n{advice}")
    assert (status, steps[-1], last["said"]) == (3, ("tcp", False), said)
    assert last["advice"].startswith(advice)


def test_refused_where_the_usual_port_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with listener(greeting(b"")) as open_port, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setattr(doctor.protocol, "DEFAULT_PORT", open_port)
        _, _, last = examine(f"127.0.0.1:{bound.getsockname()[1]}")
    assert f"Something listens there on port {open_port}" in last["advice"]


def test_the_command_of_the_doctor_can_be_typed_as_it_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tls, "_context", lambda _: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    for name, typed in (("our class.pem", '"our class.pem"'), ("class.pem", "class.pem")):
        told = talk(1, "--tls", "--cafile", name).err
        assert told.endswith(f" doctor 127.0.0.1:1 --tls --cafile {typed}\n")


def test_refused_at_home_points_to_the_other_machine_and_to_the_doctor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor.protocol, "DEFAULT_PORT", 1)  # a server may run on the usual one
    assert examine("127.0.0.1:1")[2]["advice"].endswith(
        "If it runs on another machine, add that one's address."
    )
    assert (
        talk(1).err.splitlines()[-1]
        == f"To look closer: {PYTHON} chat_client.py doctor 127.0.0.1:1"
    )
    assert (
        "another machine"
        not in in_plain_words(
            ConnectionRefusedError(errno.ECONNREFUSED, ""), "10.0.0.1", 9876, 10.0
        ).advice
    )


@pytest.mark.skipif(sys.platform != "linux", reason="other systems answer a full queue otherwise")
def test_timed_out() -> None:
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        for _ in range(4):  # nobody accepts them, and a queue that is full takes no more
            sock = waiting.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        named = f"{patience(1.0):g}"
        status, steps, last = examine(f"127.0.0.1:{port}", "--timeout", named)
        result = call(
            f"127.0.0.1:{port}", "-u", "ada", "--password-file", "secret", "who", "--timeout", named
        )
    said = f"127.0.0.1 did not answer on port {port} within {named} seconds."
    assert (status, steps[-1], last["said"]) == (3, ("tcp", False), said)
    assert "same network" in last["advice"] and "firewall" in last["advice"]
    assert (result.status, result.err.splitlines()[0]) == (3, said)


@pytest.mark.parametrize(
    "number", [errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN]
)
def test_no_route(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "connect_ex", lambda *arguments: number)
    result = talk(9)
    assert (result.status, result.err.splitlines()[0]) == (
        3,
        "There is no way from here to 127.0.0.1.",
    )
    assert "same network" in result.err
    assert (
        "On macOS allow the terminal under System Settings, Privacy & Security, Local Network."
        in result.err
    )
    monkeypatch.setattr(socket.socket, "connect", unreachable)
    status, steps, last = examine("10.1.2.3:9")
    assert (status, steps) == (3, [("name", True), ("tcp", False)])
    assert "Local Network" in last["advice"]


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example"])
def test_a_name_that_can_be_none(name: str) -> None:
    status, steps, last = examine(name)
    assert (status, steps) == (3, [("name", False)])
    assert last["said"] == f"No machine called '{name}' was found."
    assert "such as 192.168.1.20" in last["advice"]


def test_a_name_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert examine("teachers-laptop")[1] == [("name", False)]
    result = call("teachers-laptop")
    assert (result.status, result.err.splitlines()[0]) == (
        3,
        "No machine called 'teachers-laptop' was found.",
    )


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is silent counts as such after a moment."""
    monkeypatch.setattr("client.connection.PROBE_SECONDS", 0.2)
    monkeypatch.setattr("client.network.first_contact.GREETING_SECONDS", 0.1)


@pytest.mark.usefixtures("impatient")
def test_a_web_server() -> None:
    with web_server() as port:
        result = talk(port)
        status, steps, last = examine(f"127.0.0.1:{port}")
    said = f"What answers on 127.0.0.1 port {port} is no chat server, but a web server (HTTP)."
    assert (result.status, result.err.splitlines()[:2]) == (
        3,
        [said, "Check that the port is the one the server's first screen shows."],
    )
    assert "assword" not in result.out, (
        "nothing is asked for, and nothing sent, that another server should not see"
    )
    assert (status, steps[-1], last["said"]) == (3, ("protocol", False), said)


def test_a_server_for_remote_login() -> None:
    with listener(greeting(b"SSH-2.0-OpenSSH_9.6\r\n")) as port:
        result = talk(port)
        _, steps, last = examine(f"127.0.0.1:{port}")
    assert result.status == 3
    assert result.err.startswith(
        f"What answers on 127.0.0.1 port {port} is no chat server, "
        "but a server for remote login (SSH).\n"
    )
    assert steps[-1] == ("protocol", False) and "SSH" in last["said"]


@pytest.mark.parametrize(
    ("first", "name"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "a web server (HTTP)"),
        (b"<!DOCTYPE HTML>", "a web server (HTTP)"),
        (b"220 mail.example ESMTP", "a mail or file server (SMTP or FTP)"),
        (b"+OK POP3 ready", "a mail server (POP3)"),
        (b"* OK IMAP4rev1", "a mail server (IMAP)"),
        (b"RFB 003.008\n", "a shared screen (VNC)"),
        (b"-ERR unknown command", "a database (Redis)"),
        (b"J\x00\x00\x00\x0a8.0.36\x00", "a database (MySQL)"),
        (b"\x15\x03\x03\x00\x02", "a server of TLS"),
        (b"", None),
        (b"\x00\x00\x00\x05hello", None),
        (b"hello", None),
    ],
)
def test_other_services_are_known_by_what_they_say_first(first: bytes, name: str | None) -> None:
    assert service_name(first) == name
    if first:
        with listener(greeting(first)) as port:
            assert identify_service("127.0.0.1", port, Deadline(SECONDS)) == name


def test_looking_where_nobody_is_finds_nobody() -> None:
    assert identify_service("127.0.0.1", 1, Deadline(SECONDS)) is None
    assert identify_service("a..b", 1, Deadline(SECONDS)) is None


def test_a_service_without_a_name_is_no_chat_server() -> None:
    with listener(greeting(b"\xff\xff\xff\xffwhat is this")) as port:
        result = talk(port)
    assert result.status == 3
    assert f"What answers on 127.0.0.1 port {port} is no chat server" in result.err


def test_a_server_that_hangs_up() -> None:
    def at_once(sock: socket.socket) -> None:
        """Nothing is read, so the other side hears a reset or an end."""

    with listener(at_once) as port:
        result = talk(port)
        status, steps, _ = examine(f"127.0.0.1:{port}")
    assert (result.status, status, steps[-1]) == (3, 3, ("protocol", False))
    assert f"127.0.0.1 port {port} is no chat server" in result.err or "hung up" in result.err


def test_a_full_server(start_server: Callable[..., ServerProcess]) -> None:
    full = start_server("--max-connections", "1")
    with contextlib.closing(RawClient(full.port)):
        result = talk(full.port)
        status, _, last = examine(f"127.0.0.1:{full.port}")
    assert (result.status, status) == (3, 3)
    assert (
        result.err.startswith("The server is full: ") and last["advice"] == "Try again in a while."
    )


@needs_openssl
def test_tls_against_plain_and_the_reverse(
    server: ServerProcess, start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    other = make_certificate(tmp_path / "other")
    secure = start_server(*certificate.options)
    cases: tuple[tuple[int, tuple[str, ...], str, str], ...] = (
        (
            server.port,
            ("--tls", "--cafile", certificate.certfile),
            "speaks plain TCP, without TLS.",
            "leave it out here, too",
        ),
        (
            secure.port,
            (),
            "speaks TLS, and this client was started without it.",
            "Start it with --tls --cafile FILE",
        ),
        (secure.port, ("--tls",), "is signed by nobody whom this machine trusts.", "--cafile FILE"),
        (
            secure.port,
            ("--tls", "--cafile", other.certfile),
            f"is another than the one in {other.certfile}.",
            "don't log in",
        ),
    )
    for port, words, said, advice in cases:
        result = talk(port, *words)
        status, steps, last = examine(f"127.0.0.1:{port}", *words)
        assert (result.status, status, steps[-1]) == (3, 3, ("protocol", False))
        assert result.err.splitlines()[0].endswith(said) and advice in result.err
        assert last["said"].endswith(said) and advice in last["advice"]


@needs_openssl
def test_a_certificate_for_another_name(
    tmp_path: Path, start_server: Callable[..., ServerProcess]
) -> None:
    certificate = make_certificate(tmp_path, "DNS:chat.example")
    secure = start_server(*certificate.options)
    status, _, last = examine(f"127.0.0.1:{secure.port}", "--tls", "--cafile", certificate.certfile)
    assert (status, last["said"]) == (
        3,
        "The certificate of the server is not for 127.0.0.1, but for chat.example.",
    )


def test_a_refused_login_is_a_step(server: ServerProcess, ada: str) -> None:
    Path("secret").write_text("wrong\n", "utf-8")
    status, steps, last = examine(
        f"127.0.0.1:{server.port}", "-u", ada, "--password-file", "secret"
    )
    assert (status, steps[-1]) == (4, ("login", False))
    assert "--take-over" in last["advice"]


def test_a_message_that_is_refused_is_a_step() -> None:
    with FakeServer() as fake:
        fake.handlers["create_room"] = lambda peer, packet: peer.refuse(
            packet, "quota_exceeded", "you have too many rooms"
        )
        status, steps, last = examine(
            f"127.0.0.1:{fake.port}", "-u", "ada", "--password-file", "secret"
        )
    assert (status, steps[-1], last["said"]) == (
        1,
        ("message", False),
        "The server refused: you have too many rooms.",
    )


def test_other_networks_are_told() -> None:
    import ipaddress

    assert "different networks" in doctor._other_network(
        "192.168.1.7", ipaddress.ip_address("10.0.0.5")
    )
    assert doctor._other_network("192.168.1.7", ipaddress.ip_address("192.168.9.5")) == ""
    assert doctor._other_network("192.168.1.7", ipaddress.ip_address("93.184.216.34")) == ""
    assert doctor._other_network("fe80::1%eth0", ipaddress.ip_address("fe80::2")) == ""


@pytest.mark.parametrize("time_of_server", ["yesterday", "9999999-01-01T00:00:00Z", "\x1b[2J", ""])
def test_a_time_that_is_none_ends_the_doctor_with_a_sentence(time_of_server: str) -> None:
    def wrong_time(peer: Peer, packet: Packet) -> None:
        key = packet["data"]["transaction_id"]
        data = {"transaction_id": key, "message_id": 1, "timestamp": time_of_server}
        peer.reply(packet, "ack", data)

    with FakeServer() as fake:
        fake.handlers["confirm_count"] = wrong_time
        status, steps, last = examine(
            f"127.0.0.1:{fake.port}", "-u", "ada", "--password-file", "secret"
        )
    if not time_of_server:  # as from a server of the 24 packets alone, which sends none
        assert status == 0 and steps[-1] == ("message", True)
    else:
        assert status == 6 and steps[-1] == ("time", False)
        assert "which is no time" in last["said"] and "\x1b" not in last["said"]


def test_words_fit_on_a_screen_and_each_failure_says_what_to_try() -> None:
    shown = call("doctor", "127.0.0.1:1")
    lines = shown.out.splitlines()
    assert all(len(line) <= 96 for line in lines)
    assert (
        lines[-1 - sum(line.startswith(" " * 18) for line in lines)].startswith("FAILED  tcp")
        and " Try: Check that the server runs" in shown.out
    )


def test_every_failure_to_connect_has_words_and_advice() -> None:
    for number in (*errno.errorcode, 10060, 10061, 10065, 10054):
        words = in_plain_words(OSError(number, "reason"), "10.0.0.1", 9876, 10.0)
        assert words.what.endswith(".") and words.advice.endswith("."), number
        assert isinstance(words, CannotConnect)


@pytest.mark.usefixtures("impatient")
def test_nothing_is_sent_to_another_service_but_a_ping_and_a_question() -> None:
    heard: list[bytes] = []

    def script(sock: socket.socket) -> None:
        while data := sock.recv(4096):
            heard.append(data)
            if b"\r\n\r\n" in data:
                sock.sendall(b"HTTP/1.1 404 Not Found\r\n\r\n")

    with listener(script) as port, pytest.raises(CannotConnect, match="but a web server"):
        Connection("127.0.0.1", port).login("ada", "a secret that nobody may hear")
    assert [json.loads(data[4:])["action"] if data[:1] == b"\0" else data for data in heard] == [
        "ping",
        b"HEAD / HTTP/1.0\r\n\r\n",
    ]
