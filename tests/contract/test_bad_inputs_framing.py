"""Bad inputs 1 to 24: bytes that are no frames, frames that come late or never, and what isn't ours
at all."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from pathlib import Path

import pytest
from support import fresh_name, tls
from support.bad_inputs import LINUX, House, Place, Row, Table, Watched, cut_off, held, house, play
from support.patience import patience
from support.raw_client import ClosedByServer, NothingCame, RawClient, encode, error_code, frame
from support.tls import Certificate

FIRST_LIMIT, FULL_LIMIT = 65_536, 1_048_576
RESET = struct.pack("ii", 1, 0)
PING = encode({"action": "ping"})

TABLE = Table()
__all__ = ["house"]
pytestmark = pytest.mark.skipif(
    tls.EVERYWHERE, reason="plays bytes below TLS; the rows about TLS choose by themselves"
)


def ping_of(size: int) -> bytes:
    """The body of a ping of exactly this size."""
    start, end = b'{"action":"ping","padding":"', b'"}'
    return start + b"x" * (size - len(start) - len(end)) + end


def impatient(place: Place) -> Watched:
    """A server that waits 2 s for a login and half a second for the rest of a frame, not 30 s."""
    return place.server("--login-timeout", "2", "--frame-timeout", "0.5")


# --- Late or never --------------------------------------------------------------------------------


@TABLE.row(1, "connect, send nothing")
def _(place: Place) -> None:
    assert place.connect(impatient(place)).expect_closed() == []


def connect_and_close(place: Place, times: int) -> None:
    for _ in range(times):
        socket.create_connection(("127.0.0.1", place.main.process.port), patience(10)).close()


@TABLE.row(2, "connect, close at once, 200 times")
def _(place: Place) -> None:
    connect_and_close(place, 200)


@TABLE.row(2, "connect, close at once, 10,000 times", long=True)
def _(place: Place) -> None:
    connect_and_close(place, 10_000)


@TABLE.row(3, "1, 2 or 3 bytes of a header, then silence")
def _(place: Place) -> None:
    clients = [place.user(impatient(place)) for _ in range(3)]
    for size, client in enumerate(clients, 1):
        client.send_bytes(PING[:size])
    assert [client.expect_closed() for client in clients] == [[], [], []]


@TABLE.row(4, "header, then silence")
def _(place: Place) -> None:
    client = place.user(impatient(place))
    client.send_bytes(struct.pack(">I", 1000))
    assert client.expect_closed() == []


@TABLE.row(5, "slowloris")
def _(place: Place) -> None:
    client = place.user(impatient(place))
    begun = time.monotonic()
    with pytest.raises((ClosedByServer, OSError)):
        for at in range(100):
            client.send_bytes(frame(b"x" * 1000)[at : at + 1])
            with pytest.raises(NothingCame):
                client.receive(0.1)
    assert time.monotonic() - begun < patience(8), "a byte now and then keeps a frame open"


# --- Lengths --------------------------------------------------------------------------------------


@TABLE.row(6, "length 0")
def _(place: Place) -> None:
    cut_off(place.connect(), struct.pack(">I", 0))


@TABLE.row(7, "length at the limit", {"before login": FIRST_LIMIT, "after login": FULL_LIMIT})
def _(place: Place, limit: int) -> None:
    client = place.connect() if limit == FIRST_LIMIT else place.user()
    client.send_body(ping_of(limit))
    assert client.receive()["action"] == "pong"


@TABLE.row(8, "length one over the limit", {"before login": FIRST_LIMIT, "after login": FULL_LIMIT})
def _(place: Place, limit: int) -> None:
    client = place.connect() if limit == FIRST_LIMIT else place.user()
    cut_off(
        client, struct.pack(">I", limit + 1)
    )  # no byte of the body: the answer comes all the same


@TABLE.row(
    9, "length", {"0x7FFFFFFF": 0x7FFFFFFF, "0x80000000": 0x80000000, "0xFFFFFFFF": 0xFFFFFFFF}
)
def _(place: Place, length: int) -> None:
    client = place.user()
    before = held(place.main.process.pid) if LINUX else None
    cut_off(client, struct.pack(">I", length) + b"x" * 1000)
    if before is not None:
        assert held(place.main.process.pid).peak_kib - before.peak_kib < 2048, (
            "memory was taken on a length's word"
        )


@TABLE.row(9, "length of the limit, and no more of it: 100 clients take no memory")
def _(place: Place) -> None:
    clients = [place.user() for _ in range(100)]
    before = held(place.main.process.pid) if LINUX else None
    for client in clients:
        client.send_bytes(struct.pack(">I", FULL_LIMIT) + b"x")
    place.connect().nothing_before_pong()
    if before is not None:
        assert held(place.main.process.pid).resident_kib - before.resident_kib < 16 * 1024


@TABLE.row(10, "length larger than the body, then FIN")
def _(place: Place) -> None:
    client, other = place.user(), place.user()
    room_id = place.private_room(client, other)
    transaction = client.propose(room_id, "never confirmed")["data"]["transaction_id"]
    confirm = encode(
        {"action": "confirm_count", "data": {"transaction_id": transaction, "confirm": True}}
    )
    client.send_bytes(struct.pack(">I", len(confirm)) + confirm[4:])
    client.end_sending()
    assert client.expect_closed() == []
    assert other.ask("get_messages", room_id=room_id, after_id=0)["data"]["messages"] == []


@TABLE.row(11, "length smaller than the body")
def _(place: Place) -> None:
    client = place.connect()
    client.send_bytes(struct.pack(">I", 10) + b'{"action":"ping","x":"0123456789"}')
    assert [error_code(packet) for packet in client.expect_closed()] == ["bad_json", "bad_frame"]


@TABLE.row(12, "length little-endian")
def _(place: Place) -> None:
    assert str(0x11000000) in cut_off(place.connect(), struct.pack("<I", 17) + b'{"action":"ping"}')


# --- Pieces ---------------------------------------------------------------------------------------


@TABLE.row(13, "a body byte by byte")
def _(place: Place) -> None:
    client = place.user()
    content = "grüße \U0001f44d" * 3
    packet = {
        "action": "send_message",
        "data": {"chatid": client.chatid, "room_id": "lobby", "content": content},
    }
    data = encode(packet)
    for at in range(len(data)):
        client.send_bytes(data[at : at + 1])
    assert client.receive()["action"] == "character_count"


@TABLE.row(14, "a header in two pieces, two frames and 500 frames in one")
def _(place: Place) -> None:
    client = place.connect()
    client.send_bytes(PING[:2])
    client.send_bytes(PING[2:] + PING)
    assert [client.receive()["action"] for _ in range(2)] == ["pong", "pong"]
    names = [f"n{number}" for number in range(500)]
    client.send_bytes(b"".join(encode({"action": "ping", "request_id": name}) for name in names))
    assert [client.receive()["request_id"] for _ in names] == names


# --- Other protocols ------------------------------------------------------------------------------


@TABLE.row(15, "an HTTP request")
def _(place: Place) -> None:
    said = cut_off(place.connect(), b"GET / HTTP/1.1\r\nHost: x\x1b[2J\r\n\r\n")
    assert str(0x47455420) in said and "HTTP" in said


@TABLE.row(16, "a TLS hello to the plain port")
def _(place: Place) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outgoing = ssl.MemoryBIO()
    hello = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    assert "TLS" in cut_off(place.connect(), outgoing.read())


def over_tls(place: Place, *options: str) -> tuple[Watched, Certificate]:
    certificate = tls.everywhere()
    return place.server(*options, certificate=certificate), certificate


def plain_socket(watched: Watched) -> socket.socket:
    return socket.create_connection(("127.0.0.1", watched.process.port), patience(10))


def ends(sock: socket.socket) -> bool:
    """Whether the stream of a socket ends, whatever comes before its end."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


@TABLE.row(17, "a plain packet to the TLS port")
@tls.needs_openssl
def _(place: Place) -> None:
    watched, certificate = over_tls(place, "--login-timeout", "2")
    with plain_socket(watched) as plain:
        plain.sendall(PING)
        served = RawClient(watched.process.port, certificate=certificate)
        assert served.nothing_before_pong() == []
        served.close()
        assert ends(plain)


@TABLE.row(18, "silence at the TLS port")
@tls.needs_openssl
def _(place: Place) -> None:
    watched, _ = over_tls(place, "--login-timeout", "2")
    silent = [plain_socket(watched) for _ in range(20)]
    speaker, listener = watched.speaker, watched.listener
    assert speaker.nothing_before_pong() == listener.nothing_before_pong() == []
    user = place.user(watched)
    assert user.nothing_before_pong() == []
    for one in silent:
        assert ends(one)
        one.close()


@TABLE.row(19, "data in the clear, then the end, before the TLS handshake")
@tls.needs_openssl
def _(place: Place) -> None:
    watched, _ = over_tls(place, "--login-timeout", "2")
    name = fresh_name("clear")
    with plain_socket(watched) as plain:
        plain.sendall(
            encode({"action": "register", "data": {"chatid": name, "password": "password"}})
        )
        plain.shutdown(socket.SHUT_WR)
        assert ends(plain)
    user = place.user(watched)
    assert name not in user.ask("get_users")["data"]["users"], "it was taken for a packet"


# --- Ends of a stream -----------------------------------------------------------------------------


@TABLE.row(20, "RST in the middle of a frame", {"of its length": 2, "of its body": 10})
def _(place: Place, size: int) -> None:
    client = place.user()
    client.send_bytes(PING[:size])
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()


@TABLE.row(20, "RST while answers come")
def _(place: Place) -> None:
    for _ in range(10):
        client = place.user(receive_buffer=4096)
        client.send_bytes(encode({"action": "get_rooms", "data": {"chatid": client.chatid}}) * 200)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()


@TABLE.row(21, "half-close after a request")
def _(place: Place) -> None:
    client = place.user()
    client.send({"action": "get_users", "data": {"chatid": client.chatid}})
    client.end_sending()
    assert [packet["action"] for packet in client.expect_closed()] == ["users_list"]


def pipelined(place: Place, requests: int) -> None:
    """A too fast client is read slowly, and never refused."""
    watched = place.server("--rate-limit", "20")
    client = place.user(watched, receive_buffer=8192)
    ask = {"action": "get_users", "data": {"chatid": client.chatid, "limit": 1}}
    client.send_bytes(
        PING * 1000
        + b"".join(encode({**ask, "request_id": f"{number}"}) for number in range(requests))
    )
    begun = time.monotonic()
    assert watched.speaker.nothing_before_pong() == []
    for _ in range(1000):
        assert client.receive()["action"] == "pong"
    for number in range(requests):
        reply = client.receive(patience(30))
        assert (reply["action"], reply["request_id"]) == ("users_list", f"{number}")
    assert time.monotonic() - begun > (requests - 100) / 20 / 2, "it was not slowed"


@TABLE.row(22, "1,000 frames without reading")
def _(place: Place) -> None:
    pipelined(place, 115)


@TABLE.row(22, "1,000 requests over the rate", long=True)
def _(place: Place) -> None:
    pipelined(place, 1000)


@TABLE.row(23, "a TCP urgent byte")
def _(place: Place) -> None:
    client = place.connect()
    client.send_bytes(PING[:9])
    client.socket.send(b"!", socket.MSG_OOB)
    client.send_bytes(PING[9:] + PING)
    try:
        answers = [client.receive()["action"] for _ in range(2)]
    except ClosedByServer:
        return  # X: it lost its place, and said so
    assert answers in (["pong", "pong"], ["error", "pong"]), "the framing has shifted"


@TABLE.row(24, "a bad frame and 200 kB more")
def _(place: Place) -> None:
    cut_off(place.connect(), struct.pack(">I", FIRST_LIMIT + 1) + b"x" * 200_000)


@pytest.mark.parametrize("row", TABLE.parameters())
def test_bad_input(row: Row, house: House, tmp_path: Path) -> None:
    play(row, house, tmp_path)
