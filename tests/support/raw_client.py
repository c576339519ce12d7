"""A client of raw frames over a real socket, knowing nothing but the contract.

Owns one connection. Every wait has a deadline. One thread uses an instance.
"""

from __future__ import annotations

import itertools
import json
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from support import tls
from support.patience import patience

Packet = dict[str, Any]

WAIT_SECONDS = patience(10.0)
MAX_FRAME_BYTES = 1024 * 1024


class ClosedByServer(AssertionError):
    """The server closed the connection where a packet was expected."""


class NothingCame(AssertionError):
    """The deadline passed without the packet that was waited for."""


def frame(body: bytes) -> bytes:
    """The bytes on the wire for one body."""
    return struct.pack(">I", len(body)) + body


def encode(packet: Packet) -> bytes:
    """The bytes on the wire for one packet."""
    return frame(json.dumps(packet, ensure_ascii=False).encode("utf-8"))


def letter_frequencies(content: str) -> dict[str, int]:
    """The counting rule: every code point counts, nothing is normalised."""
    return dict(Counter(content))


class RawClient:
    """One connection to a server on this machine, over TLS where a certificate of its own is given
    (or `CHAT_TEST_TLS` is set).

    Packets that a waiting call does not want are kept aside, in order, for later calls.
    """

    def __init__(
        self,
        port: int,
        *,
        receive_buffer: int | None = None,
        certificate: tls.Certificate | None = None,
    ) -> None:
        self.port = port
        self.chatid = ""
        self.session_key = ""
        self.max_frame = MAX_FRAME_BYTES
        self._buffer = bytearray()
        self._aside: deque[Packet] = deque()
        self._numbers = itertools.count(1)
        self.socket: Any = socket.socket()
        try:
            self._connect(receive_buffer, certificate)
        except BaseException:
            self.close()
            raise

    def _connect(self, receive_buffer: int | None, certificate: tls.Certificate | None) -> None:
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(WAIT_SECONDS)
        self.socket.connect(("127.0.0.1", self.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if certificate is not None or tls.EVERYWHERE:
            self.socket = tls.TlsSocket(self.socket, (certificate or tls.everywhere()).context())

    def close(self) -> None:
        self.socket.close()

    # sending

    def send_bytes(self, data: bytes, timeout: float = WAIT_SECONDS) -> None:
        self.socket.settimeout(timeout)
        self.socket.sendall(data)

    def send(self, packet: Packet, timeout: float = WAIT_SECONDS) -> None:
        self.send_bytes(encode(packet), timeout)

    def send_body(self, body: bytes) -> None:
        """Send these bytes as one frame, whatever they hold."""
        self.send_bytes(frame(body))

    def end_sending(self) -> None:
        """Half-close: the server reads the end of the stream, and can still answer."""
        self.socket.shutdown(socket.SHUT_WR)

    # receiving

    def _fill(self, size: int, deadline: float) -> None:
        while len(self._buffer) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise NothingCame(f"no whole packet in time; {len(self._buffer)} bytes of it came")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(262144)
            except TimeoutError:
                continue
            except ConnectionError as error:
                raise ClosedByServer(f"the connection was reset ({error})") from error
            if not data:
                raise ClosedByServer(
                    f"closed by the server; {len(self._buffer)} bytes were left over"
                )
            self._buffer += data

    def _read(self, deadline: float) -> Packet:
        self._fill(4, deadline)
        (length,) = struct.unpack(">I", self._buffer[:4])
        assert 1 <= length <= self.max_frame, f"the server sent a frame of {length} bytes"
        self._fill(4 + length, deadline)
        body = bytes(self._buffer[4 : 4 + length])
        del self._buffer[: 4 + length]
        packet = json.loads(body.decode("utf-8"))
        assert isinstance(packet, dict), f"the server sent a body that is no object: {body[:80]!r}"
        assert isinstance(packet.get("action"), str), f"the server sent no action: {body[:80]!r}"
        return packet

    def receive(self, timeout: float = WAIT_SECONDS) -> Packet:
        """The next packet, one that was kept aside first."""
        if self._aside:
            return self._aside.popleft()
        return self._read(time.monotonic() + timeout)

    def receive_where(
        self, wanted: Callable[[Packet], bool], timeout: float = WAIT_SECONDS, what: str = "packet"
    ) -> Packet:
        """The first packet that is wanted; the others are kept aside."""
        for index, packet in enumerate(self._aside):
            if wanted(packet):
                del self._aside[index]
                return packet
        deadline = time.monotonic() + timeout
        while True:
            try:
                packet = self._read(deadline)
            except (NothingCame, ClosedByServer) as error:
                seen = [json.dumps(other)[:200] for other in self._aside]
                raise type(error)(f"waiting for {what}: {error}; kept aside: {seen}") from None
            if wanted(packet):
                return packet
            self._aside.append(packet)

    def receive_action(self, *actions: str, timeout: float = WAIT_SECONDS) -> Packet:
        """The first packet of one of these actions; the others are kept aside."""
        return self.receive_where(
            lambda packet: packet["action"] in actions, timeout, " or ".join(actions)
        )

    def receive_event(self, kind: str, timeout: float = WAIT_SECONDS, **values: Any) -> Packet:
        """The `data` of the first event of this type with these values."""

        def wanted(packet: Packet) -> bool:
            data = packet.get("data", {})
            return (
                packet["action"] == "event"
                and data.get("type") == kind
                and all(data.get(key) == value for key, value in values.items())
            )

        data = self.receive_where(wanted, timeout, f"event {kind} {values}")["data"]
        assert isinstance(data, dict)
        return data

    def expect_closed(self, timeout: float = WAIT_SECONDS) -> list[Packet]:
        """Return all packets up to the end of the stream; NothingCame when it does not end."""
        deadline = time.monotonic() + timeout
        packets = list(self._aside)
        self._aside.clear()
        while True:
            try:
                packets.append(self._read(deadline))
            except ClosedByServer:
                assert not self._buffer, (
                    f"the stream ended inside a frame: {bytes(self._buffer[:40])!r}"
                )
                return packets

    def nothing_before_pong(self) -> list[Packet]:
        """Send ping and return everything that came before its pong, packets kept aside
        included."""
        request_id = f"ping-{next(self._numbers)}"
        self.send({"action": "ping", "request_id": request_id})
        pong = self.receive_where(
            lambda packet: packet.get("request_id") == request_id, what="pong"
        )
        assert pong["action"] == "pong", pong
        packets = list(self._aside)
        self._aside.clear()
        return packets

    # asking

    def request(self, packet: Packet, timeout: float = WAIT_SECONDS) -> Packet:
        """Send a packet with a request_id of its own and return the reply that carries it."""
        request_id = f"r-{next(self._numbers)}"
        self.send({**packet, "request_id": request_id}, timeout)
        return self.receive_where(
            lambda reply: reply.get("request_id") == request_id,
            timeout,
            f"the reply to {packet.get('action')}",
        )

    def ask(self, action: str, /, timeout: float = WAIT_SECONDS, **data: Any) -> Packet:
        """`request` with the session's chatid (chat_id where the seed spells it so) in `data`."""
        return self.request({"action": action, "data": {**self.identity(action), **data}}, timeout)

    def identity(self, action: str) -> dict[str, str]:
        """The key that names the session's user in a request of this action."""
        return {"chat_id" if action.startswith("file_") else "chatid": self.chatid}

    def register(self, chatid: str, password: str = "password") -> Packet:
        return self.request(
            {"action": "register", "data": {"chatid": chatid, "password": password}}
        )

    def login(self, chatid: str, password: str | None = "password", **data: Any) -> Packet:
        """Log in and return the reply; the session's user is remembered where it succeeds."""
        fields = {"chatid": chatid, **data}
        if password is not None:
            fields["password"] = password
        reply = self.request({"action": "login", "data": fields})
        if reply["action"] == "login_success":
            self.chatid = reply["data"]["chatid"]
            self.session_key = reply["data"]["session_key"]
            self.max_frame = reply["data"]["limits"]["max_frame"] or 2**32 - 1  # 0: no limit
        return reply

    # both handshakes

    def propose(self, room_id: str, content: str, **data: Any) -> Packet:
        """Send a message and return the server's character_count for it."""
        reply = self.ask("send_message", room_id=room_id, content=content, **data)
        assert reply["action"] == "character_count", reply
        return reply

    def confirm(self, transaction_id: str, confirm: bool = True) -> Packet:
        """Answer the server's counts and return its reply."""
        return self.request(
            {
                "action": "confirm_count",
                "data": {"transaction_id": transaction_id, "confirm": confirm},
            }
        )

    def say(self, room_id: str, content: str, **data: Any) -> Packet:
        """Send a message with the whole sender's handshake and return the successful ack."""
        counted = self.propose(room_id, content, **data)
        assert counted["data"]["letter_frequencies"] == letter_frequencies(content), counted
        ack = self.confirm(counted["data"]["transaction_id"])
        assert ack["action"] == "ack" and ack["status"] == "success", ack
        return ack

    def receive_message(self, content: str | None = None, room_id: str | None = None) -> Packet:
        """The next receive_message, of this content and room where given."""

        def wanted(packet: Packet) -> bool:
            return (
                packet["action"] == "receive_message"
                and (content is None or packet["data"]["content"] == content)
                and (room_id is None or packet["data"]["room_id"] == room_id)
            )

        return self.receive_where(wanted, what=f"receive_message {content!r}"[:80])

    def count(self, transaction_id: str, counts: dict[str, int]) -> Packet:
        """Send the receiver's counts and return the server's reply."""
        data = {
            "transaction_id": transaction_id,
            "letter_frequencies": counts,
            "original_action": "receive_message",
        }
        return self.request({"action": "character_count", "data": data})

    def acknowledge(self, transaction_id: str, status: str = "success") -> None:
        """Send an ack; the server has no reply to it."""
        data = {"transaction_id": transaction_id}
        self.send({"action": "ack", "status": status, "message": "Action processed.", "data": data})

    def answer(self, message: Packet, counts: dict[str, int] | None = None) -> Packet:
        """Do the receiver's handshake for a receive_message and return the confirm_count.

        `counts` are the right ones where None. The ack has status error where the server disagrees.
        """
        data = message["data"]
        right = letter_frequencies(data["content"])
        confirmed = self.count(data["transaction_id"], right if counts is None else counts)
        assert confirmed["action"] == "confirm_count", confirmed
        agreed = confirmed["data"]["confirm"]
        assert isinstance(agreed, bool), confirmed
        self.acknowledge(data["transaction_id"], "success" if agreed else "error")
        return confirmed


def error_code(packet: Packet) -> str:
    """The code of a well-formed error packet."""
    assert packet["action"] == "error", packet
    assert packet["status"] == "error", packet
    assert isinstance(packet["original_action"], str) and packet["original_action"], packet
    assert isinstance(packet["message"], str) and packet["message"], packet
    extra = set(packet) - {"action", "original_action", "status", "message", "code", "request_id"}
    assert not extra, f"unknown keys in an error: {extra}"
    code = packet["code"]
    assert code in ERROR_CODES, f"no code of the contract: {packet}"
    return str(code)


ERROR_CODES = frozenset(
    {
        "bad_frame",
        "bad_json",
        "bad_packet",
        "unknown_action",
        "not_logged_in",
        "forbidden",
        "room_not_found",
        "user_not_found",
        "file_not_found",
        "transaction_not_found",
        "transaction_mismatch",
        "too_many_pending",
        "bad_time",
        "incomplete_file",
        "too_large",
        "quota_exceeded",
        "storage_full",
        "server_full",
        "internal_error",
        "not_confirmed",
        "name_taken",
        "registration_closed",
        "message_not_found",
        "muted",
        "banned",
        "read_only",
    }
)


def fence(sender: RawClient, *receivers: RawClient, room_id: str = "lobby") -> list[list[Packet]]:
    """Everything that each receiver got up to now.

    The sender says a last word in a room of all of them. The server delivers in the order of
    storing, so what was due to a receiver before has come before it.
    """
    word = f"fence {time.monotonic_ns()}"
    sender.say(room_id, word)
    before = []
    for receiver in receivers:
        receiver.receive_message(word, room_id)
        before.append(list(receiver._aside))
        receiver._aside.clear()
    return before
