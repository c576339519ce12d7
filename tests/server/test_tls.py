"""TLS: the protocol over it, what doesn't speak it, what cuts it off, and the client's words for
each certificate that doesn't match."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import fresh_name
from support import tls as support_tls
from support.files import Upload, download
from support.in_process import Clock, Serve
from support.patience import patience
from support.proxy import TO_CLIENT, TO_SERVER, Proxy
from support.raw_client import ClosedByServer, RawClient, encode, error_code, frame
from support.seed import some_bytes
from support.server_process import ServerProcess, server_command, server_environment
from support.tls import Certificate, TlsSocket, make_certificate, make_certificate_of, openssl

from client import transfers
from client.base.deadline import Deadline
from client.connection import Connection
from client.errors import CannotConnect, ConnectionLost
from client.events import Message, Reconnected
from client.network import tls
from server.net.sockets import Stream
from server.net.tls import BadCertificate, TlsStream, context_for

PYTHON = "py" if os.name == "nt" else "python3"

ROOT = Path(__file__).resolve().parents[2]
SECONDS = patience(10.0)

pytestmark = [
    support_tls.needs_openssl,
    pytest.mark.skipif(
        support_tls.EVERYWHERE,
        reason="chooses by itself what speaks TLS; run it without CHAT_TEST_TLS",
    ),
]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """One of the same subject and names, but another key."""
    return make_certificate(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="module")
def server(
    certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server of TLS for all tests here; it survives them and logs no traceback."""
    with ServerProcess(
        tmp_path_factory.mktemp("server") / "data", "--rate-limit", "0", *certificate.options
    ) as process:
        yield process
        assert process.is_running(), process.log()
        assert process.stop() == 0, process.log()
        assert "Traceback" not in process.log(), process.log()


Join = Callable[..., RawClient]


@pytest.fixture
def join(server: ServerProcess, certificate: Certificate) -> Iterator[Join]:
    """Logs clients in over TLS, through `port` where given."""
    clients: list[RawClient] = []

    def log_in(port: int | None = None, **login: Any) -> RawClient:
        client = RawClient(port or server.port, certificate=certificate)
        clients.append(client)
        name = fresh_name()
        assert client.register(name)["action"] == "register_success"
        assert client.login(name, **login)["action"] == "login_success"
        return client

    yield log_in
    for client in clients:
        client.close()


def exchange(one: RawClient, two: RawClient) -> None:
    """A message with both handshakes: nobody is held up."""
    word = fresh_name("word")
    one.say("lobby", word)
    assert two.answer(two.receive_message(word))["data"]["confirm"] is True


# --- The protocol over TLS ------------------------------------------------------------------------


def test_both_handshakes_over_tls(join: Join) -> None:
    ada, grace = join(), join()
    assert ada.socket.version() in ("TLSv1.2", "TLSv1.3")
    assert grace.socket.version() == ada.socket.version()
    exchange(ada, grace)
    exchange(grace, ada)


def test_a_file_goes_up_and_down_over_tls(join: Join) -> None:
    ada, grace = join(), join()
    data = some_bytes(1_000_003)
    Upload(ada, "lobby", "tides.bin", data, chunk=100_000).run()
    assert download(grace, "lobby", "tides.bin")[0] == data


def test_two_threads_share_a_connection(
    server: ServerProcess, certificate: Certificate, join: Join, tmp_path: Path
) -> None:
    """While one thread of the client and the server decrypts a stream of chunks, another encrypts
    messages and chunks."""
    (tmp_path / "up.bin").write_bytes(some_bytes(3_000_000))
    (tmp_path / "down").mkdir()
    listener = join()
    done: list[int] = []

    def talk(chat: Connection, name: str) -> None:
        for number in range(60):
            chat.send("lobby", f"line {number} of {name}").wait(SECONDS)
            done.append(number)

    with Connection(
        "127.0.0.1", server.port, tls=True, cafile=certificate.certfile, reconnect=False
    ) as chat:
        name = fresh_name()
        chat.register(name, "password")
        chat.login(name, "password")
        stored = transfers.upload(chat, "lobby", tmp_path / "up.bin").stored_as
        talker = threading.Thread(target=talk, args=(chat, name), name="talker")
        talker.start()
        found = transfers.download(chat, "lobby", stored, tmp_path / "down")
        transfers.upload(chat, "lobby", tmp_path / "up.bin")
        talker.join(3 * SECONDS)
        assert done == list(range(60))
    assert found.read_bytes() == (tmp_path / "up.bin").read_bytes()
    for number in range(60):
        listener.receive_message(f"line {number} of {name}")


def test_a_half_close_is_answered(join: Join) -> None:
    ada = join()
    ada.send({"action": "ping", "request_id": "last"})
    ada.end_sending()
    assert [
        packet["request_id"] for packet in ada.expect_closed() if packet["action"] == "pong"
    ] == ["last"]


def test_an_end_of_sending_without_goodbye_is_answered_too(join: Join) -> None:
    ada = join()
    ada.send({"action": "ping", "request_id": "last"})
    ada.socket.raw.shutdown(socket.SHUT_WR)
    assert [
        packet["request_id"] for packet in ada.expect_closed() if packet["action"] == "pong"
    ] == ["last"]


def test_a_server_that_closes_says_so(
    start_server: Callable[..., ServerProcess], certificate: Certificate
) -> None:
    closing = start_server(*certificate.options, data="closing")
    with contextlib.closing(RawClient(closing.port, certificate=certificate)) as client:
        client.register("ada")
        client.login("ada", features=["events"])
        assert closing.stop() == 0, closing.log()
        client.receive_event("server_closing")
        client.expect_closed()


def test_the_packets_of_the_seed_hold_over_tls() -> None:
    run_contract("test_seed_packets.py")


@pytest.mark.long
def test_the_whole_contract_holds_over_tls() -> None:
    left_out = ("bad_inputs", "end_to_end", "fuzz", "model")
    files = sorted((ROOT / "tests" / "contract").glob("test_*.py"))
    run_contract(
        *(file.name for file in files if not file.stem.removeprefix("test_").startswith(left_out)),
        seconds=600,
    )


def run_contract(*files: str, seconds: float = 120) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            *(f"tests/contract/{file}" for file in files),
        ],
        cwd=ROOT,
        env={**os.environ, "CHAT_TEST_TLS": "1"},
        capture_output=True,
        text=True,
        timeout=patience(seconds),
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert " passed" in done.stdout.splitlines()[-1]


# --- What doesn't speak TLS, and what is cut off --------------------------------------------------


def test_silent_connects_hold_nobody_up(serve: Serve, certificate: Certificate) -> None:
    """The handshake is made by each client's own thread, and counts as time to log in."""
    clock = Clock(1_000.0)
    service = serve(clock=clock, certfile=certificate.certfile, keyfile=certificate.keyfile)
    port = service.listener.port
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), SECONDS))
            for _ in range(50)
        ]
        half = stack.enter_context(socket.create_connection(("127.0.0.1", port), SECONDS))
        half.sendall(client_hello()[:40])
        clients = [
            stack.enter_context(contextlib.closing(RawClient(port, certificate=certificate)))
            for _ in range(2)
        ]
        for client in clients:
            name = fresh_name()
            client.register(name)
            client.login(name)
        exchange(*clients)
        clock.now += service.context.settings.login_timeout + 0.001
        service.watch.look()
        for sock in (*silent, half):
            # Up to the end of the stream, which comes within the time of the socket.
            while sock.recv(4096):
                pass
        exchange(*clients)


class AskedForKeys:
    """Stands for the TLS of a connection whose client asks for new keys again and again."""

    def __init__(self, outgoing: ssl.MemoryBIO) -> None:
        self.outgoing, self.times = outgoing, 0

    def do_handshake(self) -> None:
        pass

    def read(self, size: int) -> bytes:
        self.times += 1
        assert self.times < 1_000, "it answers without end"
        self.outgoing.write(bytes(4_096))
        raise ssl.SSLWantReadError


def test_a_client_that_takes_no_answers_of_tls_fills_no_memory(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stream, "receive", lambda stream, size: b"asked")
    monkeypatch.setattr(Stream, "send_now", lambda stream, data: 0)
    context = context_for(certificate.certfile, certificate.keyfile)
    assert context is not None
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stream = TlsStream(ours, context)
        stream._tls = AskedForKeys(stream._outgoing)  # type: ignore[assignment]
        with pytest.raises(ConnectionError, match="answers of TLS"):
            stream.receive(448)


def client_hello() -> bytes:
    """What a client of TLS says first."""
    outgoing = ssl.MemoryBIO()
    hello = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(
        ssl.MemoryBIO(), outgoing, server_hostname="localhost"
    )
    with contextlib.suppress(ssl.SSLWantReadError):
        hello.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    "sent",
    [
        encode({"action": "ping"}),
        frame(b"{" * 70_000),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\x05nonsense",
        bytes(5),
        b"\xff" * 5000,
    ],
    ids=["a plain frame", "a large plain frame", "HTTP", "a broken hello", "zeros", "ones"],
)
def test_what_is_no_tls_is_closed_and_others_go_on(
    server: ServerProcess, join: Join, sent: bytes
) -> None:
    ada, grace = join(), join()
    with socket.create_connection(("127.0.0.1", server.port), SECONDS) as stranger:
        stranger.sendall(sent)
        with contextlib.suppress(ConnectionError):
            while got := stranger.recv(4096):
                assert got[0] == 0x15, "an alert of TLS, if anything"
    exchange(ada, grace)


def test_a_tls_hello_to_a_plain_server_is_named(start_server: Callable[..., ServerProcess]) -> None:
    plain = start_server(data="plain")
    with contextlib.closing(RawClient(plain.port)) as client:
        client.send_bytes(client_hello())
        (answer,) = client.expect_closed()
    assert error_code(answer) == "bad_frame"
    assert "a TLS handshake" in answer["message"]


@pytest.mark.parametrize(
    "kept", [1, 5, -1], ids=["one byte", "the record's head", "all but one byte"]
)
def test_a_record_that_is_cut_off_is_not_taken(join: Join, kept: int) -> None:
    ada, grace = join(), join()
    word = fresh_name("word")
    counted = ada.propose("lobby", word)
    confirmed = {
        "action": "confirm_count",
        "data": {"transaction_id": counted["data"]["transaction_id"], "confirm": True},
    }
    ada.socket.raw.sendall(ada.socket.encrypt(encode(confirmed))[:kept])
    ada.socket.raw.shutdown(socket.SHUT_WR)
    ada.expect_closed()
    assert not [
        packet
        for packet in grace.nothing_before_pong()
        if packet.get("data", {}).get("content") == word
    ]


def test_a_changed_byte_ends_the_connection(join: Join) -> None:
    ada, grace = join(), join()
    word = fresh_name("word")
    counted = ada.propose("lobby", word)
    confirmed = {
        "action": "confirm_count",
        "data": {"transaction_id": counted["data"]["transaction_id"], "confirm": True},
    }
    record = bytearray(ada.socket.encrypt(encode(confirmed)))
    record[-1] ^= 1
    ada.socket.raw.sendall(record)
    with pytest.raises((ssl.SSLError, ClosedByServer)):  # the server's alert: bad record
        ada.receive_where(lambda packet: packet.get("action") == "ack")
    assert not [
        packet
        for packet in grace.nothing_before_pong()
        if packet.get("data", {}).get("content") == word
    ]


@contextlib.contextmanager
def fake(script: Callable[[socket.socket], None], count: int = 1) -> Iterator[int]:
    """A server of `count` connections, each handed to `script`; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)

        def serve() -> None:
            for _ in range(count):
                with contextlib.suppress(OSError), listener.accept()[0] as sock:
                    sock.settimeout(SECONDS)
                    script(sock)

        thread = threading.Thread(target=serve, name="fake server")
        thread.start()
        yield listener.getsockname()[1]
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
    thread.join(SECONDS)


def server_side(sock: socket.socket, certificate: Certificate) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certfile, certificate.keyfile)
    return context.wrap_socket(sock, server_side=True)


@pytest.mark.parametrize("goodbye", [True, False], ids=["with a goodbye", "cut off"])
def test_half_a_packet_is_not_taken_for_one(certificate: Certificate, goodbye: bool) -> None:
    whole = encode(
        {
            "action": "receive_message",
            "status": "success",
            "message": "New.",
            "data": {
                "transaction_id": "m1",
                "room_id": "lobby",
                "sender_chatid": "eve",
                "content": "half",
                "timestamp": "2026-01-01T00:00:00Z",
            },
        }
    )

    def script(sock: socket.socket) -> None:
        secured = server_side(sock, certificate)
        secured.recv(4096)
        secured.sendall(whole + whole[:-5])
        if goodbye:
            secured.settimeout(0.1)
            with contextlib.suppress(OSError):
                secured.unwrap()  # would wait for ours
        secured.close()

    with fake(script) as port:
        trust = tls.Trust(certificate.certfile)
        with socket.create_connection(("127.0.0.1", port), SECONDS) as sock:
            secured, early = tls.secure(sock, trust, "127.0.0.1", port, Deadline(SECONDS))
            assert early == b""
            secured.sendall(b"go on")
            got = b""
            with (
                contextlib.nullcontext()
                if goodbye
                else pytest.raises(ConnectionAbortedError, match="cut off")
            ):
                while data := receive(secured):
                    got += data
    assert got == whole + whole[:-5]


def receive(secured: tls.TlsSocket) -> bytes:
    while True:
        with contextlib.suppress(ssl.SSLWantReadError):
            return secured.recv(4096)


def test_the_client_ends_where_the_stream_is_cut_inside_a_packet(certificate: Certificate) -> None:
    def script(sock: socket.socket) -> None:
        secured = server_side(sock, certificate)
        secured.recv(4096)
        secured.sendall(encode({"action": "pong", "status": "success", "message": "pong"})[:-5])
        secured.close()

    with (
        fake(script) as port,
        pytest.raises(CannotConnect, match="the connection broke: it was cut off"),
    ):
        Connection(
            "127.0.0.1", port, tls=True, cafile=certificate.certfile, reconnect=False
        ).connect()


# --- The server's options -------------------------------------------------------------------------


def bad_options(
    folder: Path, good: Certificate, other: Certificate
) -> dict[str, tuple[tuple[str, ...], str]]:
    """Options that can't be used, and what the server says."""
    nonsense, locked = folder / "nonsense.pem", folder / "locked.key"
    nonsense.write_text("no certificate\n")
    openssl("pkey", "-in", good.keyfile, "-aes256", "-passout", "pass:secret", "-out", locked)
    return {
        "no such certificate": (
            ("--certfile", str(folder / "none.pem"), "--keyfile", good.keyfile),
            "No such file",
        ),
        "no such key": (
            ("--certfile", good.certfile, "--keyfile", str(folder / "none.key")),
            "No such file",
        ),
        "no key in the file": (("--certfile", good.certfile), "can't use"),
        "another's key": (
            ("--certfile", good.certfile, "--keyfile", other.keyfile),
            "KEY_VALUES_MISMATCH",
        ),
        "no PEM": (("--certfile", str(nonsense), "--keyfile", good.keyfile), "can't use"),
        "a key with a passphrase": (
            ("--certfile", good.certfile, "--keyfile", str(locked)),
            "can't use",
        ),
        "a key alone": (("--keyfile", good.keyfile), "--keyfile needs the --certfile"),
    }


@pytest.mark.parametrize(
    "quick", [True, pytest.param(False, marks=pytest.mark.long)], ids=["two of them", "the others"]
)
def test_files_that_cannot_be_used_give_one_line(
    tmp_path: Path, certificate: Certificate, other: Certificate, quick: bool
) -> None:
    two = {"no key in the file", "a key alone"}
    cases = {
        name: case
        for name, case in bad_options(tmp_path, certificate, other).items()
        if (name in two) is quick
    }
    started = {
        name: subprocess.Popen(
            server_command(tmp_path / name.replace(" ", "-"), *options),
            cwd=ROOT,
            env=server_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, (options, _) in cases.items()
    }
    for name, process in started.items():
        try:
            output, errors = process.communicate(timeout=patience(20))
        finally:
            process.kill()
        assert (process.returncode, output) == (1, ""), name
        assert errors.count("\n") == 1 and errors.startswith("chat_server.py: "), (name, errors)
        assert cases[name][1] in errors, (name, errors)


def test_a_sentence_says_what_is_wrong_with_the_files(
    tmp_path: Path, certificate: Certificate, other: Certificate
) -> None:
    def said(certfile: str | Path, keyfile: str | Path = "") -> str:
        with pytest.raises(BadCertificate) as refused:
            context_for(str(certfile), str(keyfile))
        assert "_ssl.c" not in str(refused.value) and "PEM lib" not in str(refused.value)
        return str(refused.value)

    key, marked, damaged = certificate.keyfile, tmp_path / "marked.pem", tmp_path / "damaged.pem"
    locked, rsa = tmp_path / "locked.key", tmp_path / "rsa.key"
    openssl("pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", locked)
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", rsa)
    marked.write_bytes(Path(certificate.certfile).read_text("ascii").encode("utf-16"))
    damaged.write_bytes(Path(certificate.certfile).read_bytes()[:200])
    assert "holds no private key in PEM: name the key's file" in said(certificate.certfile)
    assert "locked by a passphrase" in said(certificate.certfile, locked)
    assert f"'openssl pkey -in {locked} -out" in said(certificate.certfile, locked)
    assert "belongs to another certificate" in said(certificate.certfile, other.keyfile)
    assert "belongs to another certificate" in said(certificate.certfile, rsa)
    assert "no certificate in PEM but a key: name the certificate" in said(key, key)
    assert "holds no certificate in PEM" in said(os.devnull, key)
    assert "is UTF-16, as PowerShell writes it" in said(marked, key)
    assert "one of them is damaged" in said(damaged, key)
    assert f"{tmp_path / 'none'} can't be read: No such file" in said(tmp_path / "none", key)


# --- The client's words ---------------------------------------------------------------------------


def words(port: int, host: str = "127.0.0.1", **options: Any) -> CannotConnect:
    """Why the client can't connect."""
    begun = time.monotonic()
    with pytest.raises(CannotConnect) as failure:
        Connection(host, port, **{"tls": True, "timeout": SECONDS, **options}).connect()
    assert time.monotonic() - begun < SECONDS
    return failure.value


def test_a_certificate_that_nobody_has_signed(server: ServerProcess) -> None:
    error = words(server.port)
    assert (
        error.what == "The certificate of 127.0.0.1 is signed by nobody whom this machine trusts."
    )
    assert error.advice == "Get the teacher's certificate file, and name it: --cafile FILE"


def test_another_certificate_than_the_teachers(server: ServerProcess, other: Certificate) -> None:
    error = words(server.port, cafile=other.certfile)
    assert (
        error.what == f"The certificate of 127.0.0.1 is another than the one in {other.certfile}."
    )
    assert "don't log in" in error.advice


@pytest.mark.parametrize(
    ("host", "names", "shown"),
    [
        (
            "127.0.0.1",
            "DNS:chat.example,IP:192.0.2.7,IP:2001:db8::7",
            "chat.example, 192.0.2.7, 2001:DB8:0:0:0:0:0:7",
        ),
        ("localhost", "IP:127.0.0.1,IP:::1", "127.0.0.1, 0:0:0:0:0:0:0:1"),
        # An address must stand there as an address (RFC 6125, section 1.7.2)
        (
            "127.0.0.1",
            "DNS:127.0.0.1",
            "127.0.0.1",
        ),
        ("127.0.0.1", "email:ada@example.org", "no name at all"),
        (
            "127.0.0.1",
            ",".join(f"DNS:{letter}.example" for letter in "abcdefg"),
            "a.example, b.example, c.example, d.example, e.example and 2 more",
        ),
    ],
)
def test_a_certificate_for_other_names_tells_them(
    tmp_path: Path, host: str, names: str, shown: str
) -> None:
    certificate = make_certificate(tmp_path, names)

    def script(sock: socket.socket) -> None:
        with contextlib.suppress(OSError), server_side(sock, certificate) as secured:
            secured.recv(1)

    with fake(script, count=2) as port:
        error = words(port, host, cafile=certificate.certfile)
    assert error.what == f"The certificate of the server is not for {host}, but for {shown}."
    assert host in error.advice


@pytest.mark.parametrize(
    ("begin", "end", "said"),
    [
        ("20200101000000Z", "20200201000000Z", "has expired"),
        ("20990101000000Z", "20990201000000Z", "is not valid yet"),
    ],
)
def test_a_certificate_of_another_time_points_to_the_clock(
    tmp_path: Path, begin: str, end: str, said: str
) -> None:
    certificate = make_certificate_of(tmp_path, begin, end)

    def script(sock: socket.socket) -> None:
        server_side(sock, certificate).close()

    with fake(script) as port:
        error = words(port, cafile=certificate.certfile)
    assert f"The certificate of 127.0.0.1 {said}; the clock of this machine says 20" in error.what
    assert error.advice.startswith("Set the clock if it is wrong.")


def test_tls_to_a_plain_server(
    start_server: Callable[..., ServerProcess], certificate: Certificate
) -> None:
    plain = start_server(data="plain")
    error = words(plain.port, cafile=certificate.certfile)
    assert error.what == f"The server on 127.0.0.1 port {plain.port} speaks plain TCP, without TLS."
    assert "leave it out" in error.advice


def test_plain_to_a_server_of_tls(server: ServerProcess) -> None:
    error = words(server.port, tls=False)
    assert error.what == (
        f"The server on 127.0.0.1 port {server.port} speaks TLS, "
        "and this client was started without it."
    )
    assert error.advice.startswith("Start it with --tls --cafile FILE")


def test_a_full_server_of_tls_says_so(
    start_server: Callable[..., ServerProcess], certificate: Certificate
) -> None:
    full = start_server("--max-connections", "1", *certificate.options, data="full")
    with contextlib.closing(RawClient(full.port, certificate=certificate)):
        error = words(full.port, cafile=certificate.certfile)
    assert error.what.startswith("The server is full: ")


def test_a_handshake_that_gets_no_answer(certificate: Certificate) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        error = words(port, cafile=certificate.certfile, timeout=0.3)
    assert (
        error.what
        == f"127.0.0.1 did not finish the TLS handshake on port {port} within 0.3 seconds."
    )


def test_a_handshake_by_single_bytes_does_not_last_for_ever(certificate: Certificate) -> None:
    def script(sock: socket.socket) -> None:
        for byte in b"\x16\x03\x03\x40\x00" + bytes(1000):
            sock.sendall(bytes([byte]))
            time.sleep(0.02)

    with fake(script) as port:
        assert "within 0.3 seconds" in words(port, cafile=certificate.certfile, timeout=0.3).what


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "hung up during the TLS handshake"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "is no chat server, and speaks no TLS"),
        # The alert protocol_version (RFC 8446, section 6)
        (
            b"\x15\x03\x03\x00\x02\x02\x46",
            "could not agree on TLS: ",
        ),
        (b"\x00\x00\x00\x05{" + b"[" * 4, "speaks plain TCP"),
        (b"\x00\x00\xff\xff" + b"[" * 0xFFFF, "speaks plain TCP"),
    ],
)
def test_other_answers_to_the_hello(certificate: Certificate, answer: bytes, said: str) -> None:
    def script(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(answer)

    with fake(script) as port:
        assert said in words(port, cafile=certificate.certfile).what


def test_an_older_tls_is_refused_by_both(server: ServerProcess, certificate: Certificate) -> None:
    context = certificate.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", server.port), SECONDS) as sock,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(sock, server_hostname="127.0.0.1")
    assert tls.Trust(certificate.certfile).context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_connection_has_one_handshake(certificate: Certificate) -> None:
    context = context_for(certificate.certfile, certificate.keyfile)
    assert context is not None and context.options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.parametrize("content", [None, b"", b"no certificate\n"])
def test_a_certificate_file_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "class.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CannotConnect) as failure:
        Connection(tls=True, cafile=str(file))
    assert failure.value.what.startswith(f"The certificate file {file} can't be used: ")


def test_a_certificate_file_alone_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="nothing would be encrypted"):
        Connection(cafile="class.pem")


# --- The client as a whole ------------------------------------------------------------------------


def test_coming_back_is_encrypted_too(
    server: ServerProcess, certificate: Certificate, join: Join
) -> None:
    grace = join()
    with Proxy(server.port) as proxy:
        chat = Connection(
            "127.0.0.1", proxy.port, tls=True, cafile=certificate.certfile, pauses=(0.05,)
        )
        with chat:
            name = fresh_name()
            chat.register(name, "password")
            chat.login(name, "password")
            proxy.record()
            proxy.cut_after(TO_CLIENT, 10)
            grace.say("lobby", f"missed by {name}")
            events = chat.events()
            seen: list[object] = []
            while not any(isinstance(event, Reconnected) for event in seen):
                seen.append(next(events))
            assert any(
                isinstance(event, Message) and event.content == f"missed by {name}"
                for event in seen
            )
            chat.send("lobby", f"back: {name}").wait(SECONDS)
            grace.receive_message(f"back: {name}")
            passed = proxy.recorded(TO_SERVER) + proxy.recorded(TO_CLIENT)
    assert b"\x16\x03\x01" in passed, "a second hello"
    assert name.encode() not in passed and b"action" not in passed


def test_a_session_does_not_come_back_to_another_server(
    start_server: Callable[..., ServerProcess], certificate: Certificate, other: Certificate
) -> None:
    true, false = (
        start_server(*certificate.options, data="true"),
        start_server(*other.options, data="false"),
    )
    with Proxy(true.port) as proxy:
        chat = Connection(
            "127.0.0.1", proxy.port, tls=True, cafile=certificate.certfile, pauses=(0.05,)
        )
        with chat:
            chat.register("ada", "password")
            chat.login("ada", "password")
            proxy.server_port = false.port
            true.kill()
            reasons: list[str] = []
            for event in chat.events():
                reasons.append(str(event))
                if "is another than the one in" in reasons[-1]:
                    break
            proxy.record()
            assert not chat.wait_until_online(0.3)
    assert "login" not in false.log()


def client(*arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "chat_client.py", *arguments],
        cwd=ROOT,
        input=typed,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=patience(30),
        check=False,
    )


def test_the_line_client_talks_over_tls(
    server: ServerProcess, certificate: Certificate, join: Join
) -> None:
    grace, name = join(), fresh_name()
    typed = f"register\n{name}\npassword\nHello from {name}\n"
    done = client(
        f"127.0.0.1:{server.port}", "--tls", "--cafile", certificate.certfile, typed=typed
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\* sent \d+$", done.stdout, re.MULTILINE)
    grace.receive_message(f"Hello from {name}")


def test_the_line_client_says_why_and_what_to_do(server: ServerProcess) -> None:
    done = client(f"127.0.0.1:{server.port}", "--tls")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        "The certificate of 127.0.0.1 is signed by nobody whom this machine trusts.\n"
        "Get the teacher's certificate file, and name it: --cafile FILE\n"
        f"To look closer: {PYTHON} chat_client.py doctor 127.0.0.1:{server.port} --tls\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--cafile", "class.pem"), "--cafile needs --tls"),
        (
            ("--tls", "--cafile", "no\x1b[31m.pem"),
            r"--cafile: The certificate file no\x1b[31m.pem can't be used: ",
        ),
    ],
)
def test_wrong_options_of_the_line_client(arguments: tuple[str, ...], said: str) -> None:
    done = client(*arguments)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]


def test_a_closed_connection_says_goodbye_without_waiting(certificate: Certificate) -> None:
    ended: list[bytes] = []

    def script(sock: socket.socket) -> None:
        # b"" only after a goodbye: otherwise ssl raises SSLEOFError.
        with server_side(sock, certificate) as secured:
            ended.append(secured.recv(4096))

    with fake(script) as port, socket.create_connection(("127.0.0.1", port), SECONDS) as sock:
        secured, _ = tls.secure(
            sock, tls.Trust(certificate.certfile), "127.0.0.1", port, Deadline(SECONDS)
        )
        begun = time.monotonic()
        secured.shutdown(socket.SHUT_RDWR)
        assert time.monotonic() - begun < SECONDS / 2
        secured.close()
    assert ended == [b""]


@pytest.mark.long
def test_a_lost_connection_is_one_for_every_thread(certificate: Certificate) -> None:
    with (
        fake(lambda sock: server_side(sock, certificate).close()) as port,
        pytest.raises((CannotConnect, ConnectionLost)),
    ):
        Connection("127.0.0.1", port, tls=True, cafile=certificate.certfile, reconnect=False).login(
            "ada", "password"
        )


def test_the_raw_client_of_these_tests_refuses_another_certificate(
    server: ServerProcess, other: Certificate
) -> None:
    with (
        socket.create_connection(("127.0.0.1", server.port), SECONDS) as sock,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        TlsSocket(sock, other.context())
