"""One TCP connection that speaks frames, with a deadline for every wait.

Owns a socket and its buffer. Knows frames and JSON, and nothing of sessions or rooms. Never waits
without a deadline. One thread uses a `Wire` at a time; a `Transcript` may be shared by threads.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import final

from conformance.endings import Ending, Flood
from conformance.foreground import SLICE_SECONDS
from conformance.packets import Packet, encode, frame, hex_of, is_too_deep, shown, text_of
from conformance.transcript import CLOSED_BY_KIT, CONNECTED, IN, IN_VAIN, OUT, Transcript

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""Above this a length can only be a mistake (text or the wrong byte order): a server's frames have
1 MiB unless it says otherwise."""

MAX_ASIDE_BYTES = 64 * 1024 * 1024
MAX_ASIDE_PACKETS = 20_000
"""So much may wait on one connection while nobody asks for it: several times what a case needs."""
CLOSED = "the peer closed the connection"
"""What a transcript notes then."""
WAS_CLOSED = "the connection was closed"
"""How what came begins then."""
PIECE_SECONDS = 0.02
"""Pieces that come at once a busy peer reads as one."""
TAKE_IN_BYTES = 4 * 1024 * 1024
"""The most that one call of `take_in` takes."""


class WireProblem(Ending):
    """The peer did not do what was waited for."""


class Refused(WireProblem):
    """Nobody listens at the address, or the connection could not be made in time."""


class Closed(WireProblem):
    """The peer closed the connection; a reset counts as closed."""


class Silence(WireProblem):
    """Nothing that was waited for came before the deadline."""


class Unexpected(WireProblem):
    """Another packet came than the one that was waited for; `packet` is it."""

    def __init__(self, expected: str, actual: str, packet: Packet) -> None:
        super().__init__(expected, actual)
        self.packet = packet


class BrokenFrame(WireProblem):
    """What the peer sent is no frame with one JSON object (R-FRAME-1)."""

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(expected, actual, "R-FRAME-1")


@final
class Wire:
    """One connection with a deadline for every wait.

    Packets that a waiting call does not want are kept aside, in order, for later calls. `timeout`
    is the longest single wait in seconds; `until` (a `time.monotonic()` value, None for none) ends
    every wait besides. What is kept aside is bounded: a peer that sends without end is a `Flood`.
    """

    def __init__(
        self,
        sock: socket.socket,
        transcript: Transcript,
        who: str = "",
        timeout: float = 5.0,
        until: float | None = None,
    ) -> None:
        self._socket = sock
        self.transcript = transcript
        self.who = who
        self.timeout = timeout
        self.until = until
        self._buffer = bytearray()
        self._aside: deque[tuple[Packet, int]] = deque()  # with the bytes of each
        self._aside_bytes = 0
        self._last_bytes = 0
        self.is_closed = False
        """Whether this side closed it, or the peer was seen to."""

    @classmethod
    def connect(
        cls,
        host: str,
        port: int,
        transcript: Transcript,
        who: str = "",
        timeout: float = 5.0,
        until: float | None = None,
    ) -> Wire:
        """Make a new connection; Refused where nobody is there."""
        try:
            sock = socket.create_connection((host, port), timeout=max(0.001, _left(timeout, until)))
        except OSError as error:
            transcript.note(f"can't connect to {host}:{port}: {error}", who)
            raise Refused(
                f"a server at {host}:{port}", f"the connection failed: {error}"
            ) from error
        with contextlib.suppress(OSError):  # one that has reset already (macOS, Windows)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transcript.note(CONNECTED, who)
        return cls(sock, transcript, who, timeout, until)

    # --- sending

    def send(self, packet: Packet, note: str = "") -> None:
        """Send one packet as one frame."""
        self.send_frame(encode(packet)[4:], note)

    def send_frame(self, body: bytes, note: str = "") -> None:
        """Send any bytes as the payload of one frame."""
        self.transcript.add(
            OUT, text_of(body), note, self.who, struct.pack(">I", len(body)).hex(" ")
        )
        self._push(frame(body))

    def send_raw(self, data: bytes, note: str = "raw bytes") -> None:
        """Send these bytes and nothing else; no length is put before them."""
        self.transcript.add(OUT, hex_of(data), note, self.who)
        self._push(data)

    def send_together(self, packets: Iterable[Packet], note: str = "sent in one piece") -> None:
        """Send several packets by one call, so that they arrive joined."""
        joined = bytearray()
        for packet in packets:
            data = encode(packet)
            self.transcript.add(OUT, text_of(data[4:]), note, self.who, data[:4].hex(" "))
            joined += data
        self._push(bytes(joined))

    def send_split(
        self, packet: Packet, sizes: Iterable[int] = (), note: str = "sent in pieces"
    ) -> None:
        """Send one packet in pieces of these sizes, what is left over last; without sizes byte by
        byte. Behind a piece of a given size the peer has `PIECE_SECONDS` to read it alone."""
        data = encode(packet)
        self.transcript.add(OUT, text_of(data[4:]), note, self.who, data[:4].hex(" "))
        place = 0
        for size in sizes or [1] * len(data):
            self._push(data[place : place + size])
            place += size
            if sizes:
                time.sleep(PIECE_SECONDS)
        if place < len(data):
            self._push(data[place:])

    def _push(self, data: bytes) -> None:
        try:
            self._socket.settimeout(max(0.001, _left(self.timeout, self.until)))
            self._socket.sendall(data)
        except TimeoutError as error:
            raise Silence(
                "that the peer takes what is sent", f"it took nothing more for {self.timeout:g} s"
            ) from error
        except OSError as error:
            # The peer may have closed with an answer under way: that is for the next receive to
            # tell.
            self.transcript.note(f"sending failed: {error}", self.who)

    # --- receiving

    def receive(self, timeout: float | None = None) -> Packet:
        """Wait for the next packet, first those kept aside; Closed, Silence or BrokenFrame."""
        if self._aside:
            return self._take(0)
        return self._read(self._deadline(timeout), "a packet")

    def receive_where(
        self, wanted: Callable[[Packet], bool], what: str, timeout: float | None = None
    ) -> Packet:
        """Wait for the first packet that is wanted; the others are kept aside. `what` names it in
        the complaint."""
        for index, (packet, _) in enumerate(self._aside):
            if wanted(packet):
                return self._take(index)
        deadline = self._deadline(timeout)
        meanwhile = ""
        while True:
            try:
                packet = self._read(deadline, what)
            except (Silence, Closed) as problem:
                raise type(problem)(what, problem.actual + meanwhile) from problem
            if wanted(packet):
                return packet
            if packet.get("action") == "error":
                meanwhile = f"; meanwhile this came: {shown(packet)}"
            self._keep_aside(packet, what)

    def expect(self, *actions: str, timeout: float | None = None) -> Packet:
        """Wait for the first packet with one of these actions; others are kept aside. An `error`
        that is not asked for is Unexpected at once."""
        what = " or ".join(f"`{action}`" for action in actions)
        packet = self.receive_where(
            lambda each: each.get("action") in (*actions, "error"), what, timeout
        )
        if packet.get("action") not in actions:
            raise Unexpected(what, f"this came: {shown(packet)}", packet)
        return packet

    def wait_closed(self, timeout: float | None = None) -> list[Packet]:
        """Wait until the peer closes; what came before that, oldest first. Silence where it does
        not close."""
        deadline = self._deadline(timeout)
        while True:
            try:
                packet = self._read(deadline, "that the connection is closed")
                self._keep_aside(packet, "that the connection is closed")
            except Closed:
                return self.take_aside()

    def take_aside(self) -> list[Packet]:
        """Return what was kept aside so far, and forget it."""
        packets = self.aside()
        self._aside.clear()
        self._aside_bytes = 0
        return packets

    def take_in(self) -> None:
        """Take in what has come so far, without waiting and without looking at it, so that the peer
        need not hold it (R-LIM-11)."""
        with contextlib.suppress(
            OSError
        ):  # also what tells of an end or a reset: the next receive meets that by itself
            self._socket.settimeout(0)
            most = min(len(self._buffer) + TAKE_IN_BYTES, MAX_ASIDE_BYTES)
            while len(self._buffer) < most:
                data = self._socket.recv(262144)
                if not data:
                    break
                self._buffer += data

    def has_come(self) -> bool:
        """Return whether something has come that nobody has read, without waiting."""
        self.take_in()
        return bool(self._buffer or self._aside)

    def aside(self) -> list[Packet]:
        """Return what was kept aside so far."""
        return [packet for packet, _ in self._aside]

    def _take(self, index: int) -> Packet:
        packet, size = self._aside[index]
        del self._aside[index]
        self._aside_bytes -= size
        return packet

    def _keep_aside(self, packet: Packet, what: str) -> None:
        """Keep what nobody waits for just now, in bounded memory."""
        self._aside.append((packet, self._last_bytes))
        self._aside_bytes += self._last_bytes
        if len(self._aside) > MAX_ASIDE_PACKETS or self._aside_bytes > MAX_ASIDE_BYTES:
            count = len(self._aside)
            self._aside.clear()
            self._aside_bytes = 0
            raise Flood(what, f"{count} other packets came that nobody asked for")

    def _deadline(self, timeout: float | None) -> float:
        return time.monotonic() + _left(self.timeout if timeout is None else timeout, self.until)

    def _fill(self, size: int, deadline: float, what: str) -> None:
        while len(self._buffer) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                rest = (
                    f", but {hex_of(bytes(self._buffer), 16)}, which is no whole frame"
                    if self._buffer
                    else ""
                )
                rest += _guess(bytes(self._buffer[:4]), len(self._buffer))
                self.transcript.note(f"{IN_VAIN} {what}", self.who)
                raise Silence(what, f"nothing came in time{rest}")
            try:
                self._socket.settimeout(min(left, SLICE_SECONDS))
                data = self._socket.recv(262144)
            except TimeoutError:
                continue
            except OSError as error:
                data = b""
                self.transcript.note(f"connection lost: {error}", self.who)
            if not data:
                self.is_closed = True
                self.transcript.note(CLOSED, self.who)
                rest = (
                    f" in the middle of a frame ({len(self._buffer)} bytes of it came)"
                    if self._buffer
                    else ""
                )
                raise Closed(what, f"{WAS_CLOSED}{rest}")
            self._buffer += data

    def _read(self, deadline: float, what: str) -> Packet:
        self._fill(4, deadline, what)
        header = bytes(self._buffer[:4])
        (length,) = struct.unpack(">I", header)
        if not 1 <= length <= MAX_FRAME_BYTES:
            self.transcript.add(
                IN, text_of(bytes(self._buffer[4:68])), "no frame", self.who, header.hex(" ")
            )
            self.is_closed = True
            raise BrokenFrame(
                "a frame: 4 bytes of length (big-endian), then so many bytes of JSON",
                f"the first four bytes were {header.hex(' ')}, a length of {length}"
                + _guess(header, len(self._buffer)),
            )
        self._fill(4 + length, deadline, what)
        body = bytes(self._buffer[4 : 4 + length])
        del self._buffer[: 4 + length]
        self._last_bytes = length
        self.transcript.add(IN, text_of(body), "", self.who, header.hex(" "))
        return _object(body)

    # --- ending

    def finish_sending(self) -> None:
        """Close this side's direction only (a half-close): the peer may go on sending."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.transcript.note(f"no half-close possible: {error}", self.who)
        else:
            self.transcript.note("half-closed by the kit", self.who)

    def close(self) -> None:
        """Close it politely; closing twice does no harm."""
        if self._socket.fileno() != -1:
            self.transcript.note(CLOSED_BY_KIT, self.who)
            self._socket.close()
        self.is_closed = True

    def reset(self) -> None:
        """Tear it down with a reset, as a killed client's machine may."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError as error:
            self.transcript.note(f"no reset possible: {error}", self.who)
        self.close()


def _left(timeout: float, until: float | None) -> float:
    return timeout if until is None else max(0.0, min(timeout, until - time.monotonic()))


def _guess(header: bytes, actual: int) -> str:
    little = int.from_bytes(header, "little")
    if len(header) == 4 and 0 < little <= actual:
        return f"; read in the wrong byte order it would be {little}"
    if header[:1] in (b"{", b"["):
        return ": JSON without a length before it"
    return ""


def _object(body: bytes) -> Packet:
    try:
        packet = json.loads(body.decode("utf-8"))
        is_deep = is_too_deep(packet)
    except ValueError as error:
        raise BrokenFrame("a payload of UTF-8 JSON", f"{hex_of(body)}: {error}") from error
    except RecursionError:
        is_deep = True
    if is_deep:
        raise BrokenFrame("a payload of UTF-8 JSON", f"{hex_of(body)}: nested too deeply")
    if not isinstance(packet, dict):
        raise BrokenFrame("a payload that is one JSON object", f"this came: {shown(packet)}")
    return packet
