"""The relay passes everything on as it came: bytes, order, ends, resets, back pressure, TLS."""

from __future__ import annotations

import argparse
import contextlib
import errno
import random
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.patience import patience, until
from support.relays import Listener, RelayUnderTest, read_exactly, read_to_end, relay_before
from support.tls import make_certificate, needs_openssl

from conformance.__main__ import main
from conformance.foreground import Misuse, listening_address, refuse
from conformance.packets import encode
from conformance.relay import command, reading, showing
from conformance.relay.acts import Acts
from conformance.relay.frames import MAX_FRAME_BYTES, Cutter

LINGER_ZERO = struct.pack("ii", 1, 0)
LOGIN = {"action": "login", "data": {"chatid": "ada", "password": "hush"}}


class Ends:
    """Both ends of one relayed connection."""

    def __init__(self, relay: RelayUnderTest, listener: Listener) -> None:
        self.client = socket.create_connection(("127.0.0.1", relay.port), patience(10))
        self.server = listener.accept()

    def close(self) -> None:
        self.client.close()
        self.server.close()


@pytest.fixture
def ends(relay: RelayUnderTest, listener: Listener) -> Iterator[Ends]:
    both = Ends(relay, listener)
    yield both
    both.close()


# --- Frames ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
def test_pieces_of_a_stream_are_its_frames_however_it_is_split(size: int) -> None:
    frames = [encode(LOGIN), encode({"action": "ping"}), encode({"action": "é" * 50})]
    stream, cutter = b"".join(frames), Cutter()
    pieces = [
        piece
        for start in range(0, len(stream), size)
        for piece in cutter.feed(stream[start : start + size])
    ]
    assert [piece.data for piece in pieces] == frames
    assert all(piece.is_frame for piece in pieces) and not cutter.begun_bytes and not cutter.end()


@pytest.mark.parametrize("length", [0, MAX_FRAME_BYTES + 1, 0x47455420])
def test_a_stream_that_is_no_frames_is_given_out_whole(length: int) -> None:
    bad = length.to_bytes(4, "big") + b"and what follows"
    cutter = Cutter()
    pieces = [*cutter.feed(encode({"action": "ping"}) + bad), *cutter.feed(b"more")]
    assert [piece.is_frame for piece in pieces] == [True, False, False]
    assert b"".join(piece.data for piece in pieces[1:]) == bad + b"more"
    assert cutter.is_lost and cutter.feed(b"") == []


# --- Bytes ----------------------------------------------------------------------------------------


def test_bytes_pass_both_ways_unchanged_and_in_order_whatever_they_are(ends: Ends) -> None:
    source = random.Random(4)
    to_server = encode(LOGIN) * 200 + source.randbytes(300_000)
    to_client = encode({"action": "pong"}) * 50 + b"HTTP/1.1 400 Bad Request" + bytes(200_000)

    def send(sock: socket.socket, data: bytes) -> None:
        place = 0
        while place < len(data):
            size = source.choice([1, 3, 100, 5_000, 70_000])
            sock.sendall(data[place : place + size])
            place += size
        sock.shutdown(socket.SHUT_WR)

    threads = [
        threading.Thread(target=send, args=pair, name="sender")
        for pair in ((ends.client, to_server), (ends.server, to_client))
    ]
    received: list[bytes] = []
    reader = threading.Thread(
        target=lambda: received.append(read_to_end(ends.client)), name="reader"
    )
    for thread in [*threads, reader]:
        thread.start()
    assert read_to_end(ends.server) == to_server
    for thread in [*threads, reader]:
        thread.join(patience(10))
    assert received == [to_client]


def test_half_a_frame_is_passed_on_before_the_rest_comes(ends: Ends) -> None:
    whole = encode(LOGIN)
    ends.client.sendall(whole[:2])
    assert read_exactly(ends.server, 2) == whole[:2]
    ends.client.sendall(whole[2:9])
    assert read_exactly(ends.server, 7) == whole[2:9]
    ends.client.sendall(whole[9:])
    assert read_exactly(ends.server, len(whole) - 9) == whole[9:]


def test_frames_are_told_with_what_matters_and_no_password(
    ends: Ends, relay: RelayUnderTest
) -> None:
    ends.client.sendall(encode(LOGIN))
    event = relay.events.wait_kind("frame")
    assert (event["action"], event["to"], event["summary"], event["counts"], event["held"]) == (
        "login",
        "server",
        "ada",
        "none",
        False,
    )
    assert relay.events.wait_kind("name")["user"] == "ada"
    detail = relay.story.detail(event["row"])
    assert detail is not None
    assert detail["length_hex"] == encode(LOGIN)[:4].hex(" ")
    assert "hush" not in detail["json"] and '"ada"' in detail["json"]
    assert "R-SESS-1" in [rule["id"] for rule in detail["rules"]]
    assert relay.story.detail(999) is None


def test_bytes_that_are_no_frame_are_passed_on_and_shown(ends: Ends, relay: RelayUnderTest) -> None:
    ends.client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert read_exactly(ends.server, 18) == b"GET / HTTP/1.1\r\n\r\n"
    assert relay.events.wait_kind("raw")["summary"].startswith("47 45 54 20")


def test_an_answer_never_stands_above_its_question(ends: Ends, relay: RelayUnderTest) -> None:
    for _ in range(200):
        ends.client.sendall(encode({"action": "ping"}))
        read_exactly(ends.server, len(encode({"action": "ping"})))
        ends.server.sendall(encode({"action": "pong"}))
        read_exactly(ends.client, len(encode({"action": "pong"})))
    relay.events.wait_kind("frame", row=400)
    rows = [(each["row"], each["action"]) for each in relay.events.all("frame")]
    assert rows == [(row, "ping" if row % 2 else "pong") for row in range(1, 401)]


def test_the_relay_counts_letters_itself(ends: Ends, relay: RelayUnderTest) -> None:
    def counts(key: str, letters: dict[str, int]) -> bytes:
        data = {"transaction_id": key, "letter_frequencies": letters}
        return encode({"action": "character_count", "data": data})

    def message(action: str, content: str, **more: str) -> bytes:
        return encode({"action": action, "data": {"room_id": "r", "content": content, **more}})

    ends.client.sendall(message("send_message", "aab") + message("send_message", "x"))
    relay.events.wait_kind("frame", row=2)
    ends.server.sendall(counts("t1", {"a": 2, "b": 1}) + counts("t2", {"y": 1}))
    assert relay.events.wait_kind("frame", row=3)["counts"] == "agree"
    assert relay.events.wait_kind("frame", row=4)["counts"] == "differ"
    ends.server.sendall(message("receive_message", "é", transaction_id="t3"))
    relay.events.wait_kind("frame", row=5)
    ends.client.sendall(counts("t3", {"é": 1}) + counts("t4", {"é": 1}))
    assert relay.events.wait_kind("frame", row=6)["counts"] == "agree"
    assert relay.events.wait_kind("frame", row=7)["counts"] == "none"
    detail = relay.story.detail(4)
    assert detail is not None
    assert detail["counts"] == {
        "verdict": "differ",
        "text": "x",
        "expected": {"x": 1},
        "came": {"y": 1},
    }


# --- Ends -----------------------------------------------------------------------------------------


def test_a_half_close_passes_as_one_and_the_other_direction_goes_on(
    ends: Ends, relay: RelayUnderTest
) -> None:
    ends.client.sendall(b"\0\0\0\5half")
    ends.client.shutdown(socket.SHUT_WR)
    assert read_to_end(ends.server) == b"\0\0\0\5half"
    ends.server.sendall(encode({"action": "pong"}))
    assert read_exactly(ends.client, 21) == encode({"action": "pong"})
    ends.server.close()
    assert read_to_end(ends.client) == b""
    assert relay.events.wait_kind("close")["how"] == "closed by the client"
    assert [each["size"] for each in relay.events.all("raw")] == [8]


@pytest.mark.wine("a reset reaches the peer as an end")
@pytest.mark.parametrize("side", ["client", "server"])
def test_a_reset_passes_as_a_reset(ends: Ends, relay: RelayUnderTest, side: str) -> None:
    here, there = ends.client, ends.server
    if side == "server":
        here, there = there, here
    here.sendall(b"x")
    read_exactly(there, 1)
    here.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
    here.close()
    with pytest.raises(ConnectionError):
        there.recv(1)
    assert relay.events.wait_kind("close")["how"] == f"broken by the {side}: reset"


def test_a_target_that_is_away_is_told_and_the_client_is_reset() -> None:
    with closed_port() as port, relay_before(port) as under_test:
        with (
            contextlib.suppress(ConnectionError),  # the reset may come before connect() returns
            socket.create_connection(("127.0.0.1", under_test.port), patience(10)) as client,
        ):
            assert client.recv(1) == b""
        how = under_test.events.wait_kind("close")["how"]
        assert how.startswith(f"no connection to 127.0.0.1:{port}: nobody listens there")


@pytest.mark.parametrize("way", ["to-server", "to-client"])
def test_a_thread_that_can_not_start_costs_one_connection(
    relay: RelayUnderTest, listener: Listener, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    real, failed = threading.Thread.start, list[str]()

    def start(thread: threading.Thread) -> None:
        if thread.name.endswith(way) and not failed:
            failed.append(thread.name)
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    address = ("127.0.0.1", relay.port)
    with (
        contextlib.suppress(ConnectionError),  # it is reset, perhaps while it still connects
        socket.create_connection(address, patience(10)) as client,
    ):
        assert client.recv(1) == b""
    how = relay.events.wait_kind("close")["how"]
    assert how == "ended: no thread is left for it"
    if way == "to-client":
        with contextlib.suppress(OSError):  # Windows: a connection that was reset is none any more
            listener.accept().close()
    both = Ends(relay, listener)
    both.client.sendall(encode(LOGIN))
    assert read_exactly(both.server, len(encode(LOGIN))) == encode(LOGIN)
    both.close()


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else gets meanwhile."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def test_who_does_not_read_stops_who_sends(ends: Ends, relay: RelayUnderTest) -> None:
    ends.server.settimeout(0.3)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 200_000_000:
            sent += ends.server.send(bytes(65536))
    assert sent < 200_000_000, "nothing stopped a sender that nobody reads"
    ends.client.settimeout(patience(10))
    assert len(read_exactly(ends.client, sent)) == sent


def test_stopping_ends_a_connection_in_which_everybody_waits(
    relay: RelayUnderTest, ends: Ends
) -> None:
    relay.close()
    assert ends.client.recv(1) == b"" and ends.server.recv(1) == b""
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("relay")]


def test_two_hundred_connections_at_once(relay: RelayUnderTest, listener: Listener) -> None:
    every = [Ends(relay, listener) for _ in range(200)]
    try:
        assert relay.relay.open_connections == 200
        frame = encode(LOGIN)
        for ends in every:
            ends.client.sendall(frame)
        assert all(read_exactly(ends.server, len(frame)) == frame for ends in every)
    finally:
        for ends in every:
            ends.close()
    until(lambda: relay.relay.open_connections == 0, "connections stay open")


# --- TLS ------------------------------------------------------------------------------------------


@needs_openssl
@pytest.mark.parametrize(("front", "behind"), [(True, False), (False, True), (True, True)])
def test_tls_in_front_and_behind(tmp_path: Path, front: bool, behind: bool) -> None:
    certificate = make_certificate(tmp_path)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate.certfile, certificate.keyfile)
    listener = Listener(server_side if behind else None)
    options = {"front_tls": server_side if front else None}
    if behind:
        options["tls"] = certificate.context()
    accepted: list[socket.socket] = []
    thread = threading.Thread(target=lambda: accepted.append(listener.accept()), name="accept")
    with relay_before(listener.port, **options) as under_test:
        thread.start()
        raw = socket.create_connection(("127.0.0.1", under_test.port), patience(10))
        client = (
            certificate.context().wrap_socket(raw, server_hostname="127.0.0.1") if front else raw
        )
        data = random.Random(1).randbytes(500_000)
        client.sendall(encode(LOGIN))
        thread.join(patience(10))
        server = accepted[0]
        assert read_exactly(server, len(encode(LOGIN))) == encode(LOGIN)
        under_test.events.wait_kind("frame", action="login")
        sender = threading.Thread(target=server.sendall, args=(data,), name="sender")
        sender.start()
        assert read_exactly(client, len(data)) == data
        sender.join(patience(10))
        client.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            assert server.recv(1) == b""
        server.close()
    listener.close()


@needs_openssl
def test_a_client_without_tls_is_told_of(tmp_path: Path, listener: Listener) -> None:
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certfile, certificate.keyfile)
    with (
        relay_before(listener.port, front_tls=context) as under_test,
        socket.create_connection(("127.0.0.1", under_test.port), patience(10)) as client,
    ):
        client.sendall(encode(LOGIN))
        how = under_test.events.wait_kind("close")["how"]
        assert how.startswith("no TLS with the client: TLS:")


# --- What is told ---------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["password", "new_password", "session_key"])
def test_secrets_are_stars_of_the_same_length(key: str) -> None:
    for text in (
        f'{{"action":"x","data":{{"{key}" : "a\\"b"}}}}',
        f'x{{"{key}":"begun and not end',
    ):
        starred = reading.without_secrets(text.encode())
        assert len(starred) == len(text.encode()) and b"*" in starred
        assert b"a" not in starred.partition(b"*")[2] and b"begun" not in starred


def test_a_secret_behind_an_escaped_key_is_not_shown() -> None:
    payload = b'{"action":"login","data":{"p\\u0061ssword":"hush"}}'
    assert "hush" not in reading.pretty(payload, 1000)


@pytest.mark.parametrize("action", sorted(reading._TELLS))
def test_a_hostile_packet_has_a_summary(action: str) -> None:
    for data in ({}, [], {"letter_frequencies": []}, {"letter_frequencies": {"a": "x"}}, None):
        packet = {"action": action, "data": data, "message": {"deep": [1]}}
        assert isinstance(reading.summary(packet, b""), str)


def test_a_chunk_of_a_file_is_read_without_its_bytes() -> None:
    payload = b'{"action":"file_send_data","data":{"file_data":"%s","sequence_number":3}}' % (
        b"A" * 100_000
    )
    packet = reading.read(payload)
    assert packet is not None and packet["data"] == {"file_data": "", "sequence_number": 3}
    assert reading.read(payload.replace(b"file_data", b"otherkey1")) is not None
    assert reading.read(payload[:90_000]) is None


# --- The command line -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "relay needs a port"),
        (["9875"], "relay needs a port"),
        (["0", "127.0.0.1:1", "--keyfile", "x"], "--keyfile needs --certfile"),
        (["0", "127.0.0.1:1", "--certfile", "none.pem"], "no certificate with its key"),
        (["0", "127.0.0.1:1", "--cafile", "none.pem"], "--cafile none.pem can't be read"),
        (["203.0.113.7:0", "127.0.0.1:1"], "this machine has no such address"),
        (["0", "127.0.0.1:1", "--", "x"], "relay takes no command behind --"),
    ],
)
def test_what_is_wrong_with_the_command_line_is_said(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["relay", *words]) == 2
    assert expected in capsys.readouterr().err


def test_a_port_in_use_is_named_with_what_to_do(
    listener: Listener, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["relay", str(listener.port), "127.0.0.1:1"]) == 2
    assert "the port is in use; take another one" in capsys.readouterr().err


class ReservedPort(OSError):
    """WSAEACCES as Python for Windows shows it: its errno is EACCES."""

    winerror = 10013  # type: ignore[assignment]  # a number on Windows alone


def test_a_port_that_windows_reserves_has_a_sentence_of_its_own() -> None:
    with pytest.raises(Misuse, match="excludedportrange") as found:
        refuse("127.0.0.1", 9875, ReservedPort(errno.EACCES, "forbidden"), "relay 9876 …")
    assert "administrators" not in str(found.value)


@pytest.mark.parametrize("text", ["", "x", "70000", ":5", "host:"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        listening_address(text)
    with pytest.raises(argparse.ArgumentTypeError):
        command.target_address(text)
    assert listening_address("9875") == ("127.0.0.1", 9875)
    assert command.target_address("[::1]:9876") == ("::1", 9876)


# --- The page -------------------------------------------------------------------------------------


def test_an_open_page_is_known_again_by_a_file_of_the_users_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = Path("classroom-chat", "page-8080.json")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert showing.kept_file(8080) == tmp_path / name
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert showing.kept_file(8080) == Path("~/.local/state").expanduser() / name
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert showing.kept_file(8080) == tmp_path / name
    monkeypatch.delenv("LOCALAPPDATA")
    assert showing.kept_file(8080) is None
    assert showing.kept_file(0) is None, "another port each time"


def test_the_page_is_opened_where_it_is_asked_for_and_says_its_links(
    monkeypatch: pytest.MonkeyPatch, relay: RelayUnderTest
) -> None:
    acts = Acts(relay.story, relay.steering, relay.relay, "here", "there", showing.refusal())
    with contextlib.ExitStack() as stack:
        assert showing.open_page(None, relay.story, acts, stack) is None
        assert showing.links(None) == []
        page = showing.open_page(("127.0.0.1", 0), relay.story, acts, stack)
        assert page is not None and page.link in showing.links(page)[0]
        with pytest.raises(Misuse, match="the port is in use"):
            showing.open_page(("127.0.0.1", page.port), relay.story, acts, stack)
    monkeypatch.setattr(showing, "webpage", None)
    with pytest.raises(Misuse, match="copy it, too"):
        showing.open_page(("127.0.0.1", 0), relay.story, acts, stack)
    assert showing.refusal() is ValueError
