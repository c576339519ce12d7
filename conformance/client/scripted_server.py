"""A server that follows a script: the other end of the line of a client that is graded.

Owns a listening socket on loopback, a thread that accepts, and a thread for each connection that
cuts the client's bytes into frames. Never answers by itself: what comes in goes into one queue, and
the case that holds the script sends what it wants, whole, in pieces or several frames in one.
`ScriptedServer` and `Peer` are used by one thread, that of the case; the reading threads only fill
the queue.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from conformance.foreground import wait_for
from conformance.packets import Packet, encode, is_too_deep, text_of
from conformance.packets import frame as framed
from conformance.transcript import IN, OUT, Transcript

HEADER_BYTES: Final = 4
MAX_BEFORE_LOGIN: Final = 65_536
MAX_FRAME: Final = 1_048_576
PIECE_PAUSE_SECONDS: Final = 0.002
"""Between two pieces of a frame. The system may join them all the same: the pause only makes it
unlikely."""
SEND_SECONDS: Final = 10.0
NARROW_BYTES: Final = 4_096
NARROW_SEGMENT: Final = 1_400
"""Bytes; the sender's buffer grows with the segment, which has 64 KiB on loopback."""
ACCEPT_SECONDS: Final = 0.1
"""Closing a listening socket wakes nobody on some systems, so the accepting thread looks up this
often."""


MAX_QUEUED_BYTES: Final = 16 * 1024 * 1024
"""So much waits for the case; then the connection is not read on (backpressure)."""
MAX_CASE_BYTES: Final = 32 * 1024 * 1024
MAX_CASE_PACKETS: Final = 20_000
"""Several times what any case needs; a client that sends more is a flood."""


@dataclass(frozen=True)
class Arrival:
    """One thing that came from the client: `kind` is connected, packet, broken or closed.

    `broken` is a frame that can't be read: `rule` says which rule it breaks, `expected` and `came`
    why. Nothing follows it.
    """

    kind: str
    peer: Peer
    packet: Packet = field(default_factory=dict)
    rule: str = ""
    expected: str = ""
    actual: str = ""
    size: int = 0


class Arrivals:
    """What came and waits for the case, oldest first; bounded in bytes.

    Any thread may call `put` and `close`, the thread of the case calls `next`.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards the rest
        self._waiting: deque[Arrival] = deque()
        self._bytes = 0
        self._packets_ever = self._bytes_ever = 0
        self._closed = False

    def put(self, arrival: Arrival) -> bool:
        """Add one; waits while too much waits. False where nothing more is wanted."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._bytes < MAX_QUEUED_BYTES)
            self._packets_ever += arrival.kind == "packet"
            self._bytes_ever += arrival.size
            is_flood = self._packets_ever > MAX_CASE_PACKETS or self._bytes_ever > MAX_CASE_BYTES
            if self._closed:
                return False
            if is_flood:
                arrival = Arrival(
                    "flood",
                    arrival.peer,
                    expected=f"at most {MAX_CASE_PACKETS} packets and {MAX_CASE_BYTES} bytes",
                    actual=f"{self._packets_ever} packets, {self._bytes_ever} bytes in one case",
                )
            self._waiting.append(arrival)
            self._bytes += arrival.size
            self._changed.notify_all()
            return not is_flood

    def next(self, timeout: float) -> Arrival | None:
        """Wait for the next one; None after `timeout` seconds."""
        with self._changed:
            if not wait_for(self._changed, lambda: self._waiting, timeout):
                return None
            arrival = self._waiting.popleft()
            self._bytes -= arrival.size
            self._changed.notify_all()
            return arrival

    def close(self) -> None:
        """Take nothing more, and free who waits in `put`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Peer:
    """One connection that the client made."""

    def __init__(
        self,
        sock: socket.socket,
        number: int,
        arrivals: Arrivals,
        transcript: Transcript,
    ) -> None:
        self.number = number
        self.who = "client" if number == 1 else f"client, connection {number}"
        self.max_frame = MAX_BEFORE_LOGIN
        self.closed = False
        """Whether the client has closed it, or we have."""
        self._sock = sock
        self._arrivals = arrivals
        self._transcript = transcript
        self._pause = threading.Event()  # never set: only waited for
        self._reads = threading.Event()
        self._reads.set()
        with contextlib.suppress(OSError):  # one that has reset already (macOS, Windows)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._thread = threading.Thread(target=self._read, name=f"peer-{number}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def pause_reading(self) -> None:
        """Take nothing more from the network until `resume_reading`."""
        self._reads.clear()

    def resume_reading(self) -> None:
        """Take again what comes."""
        self._reads.set()

    # --- Out ---

    def send_written(self, packet: Packet, text: str) -> None:
        """Send a packet as this JSON."""
        data = framed(text.encode())
        self._note(data, packet, "")
        self._send_pieces([data])

    def send(self, *packets: Packet, note: str = "") -> None:
        """Send packets, all in one piece."""
        frames = [encode(packet) for packet in packets]
        for frame, packet in zip(frames, packets, strict=True):
            self._note(
                frame, packet, note or ("in one piece with the others" if len(packets) > 1 else "")
            )
        self._send_pieces([b"".join(frames)])

    def send_in_pieces(self, packet: Packet, cuts: Iterable[int], note: str = "") -> None:
        """Send a packet cut at these places (bytes from the beginning of the frame), with a moment
        in between."""
        frame = encode(packet)
        places = [0, *sorted(cut for cut in set(cuts) if 0 < cut < len(frame)), len(frame)]
        self._note(frame, packet, note or f"in {len(places) - 1} pieces")
        self._send_pieces([frame[begin:end] for begin, end in itertools.pairwise(places)])

    def send_cut(self, packets: Sequence[Packet], held_back: int) -> None:
        """Send packets in one piece, but for the last so many bytes, which follow after a
        moment."""
        frames = [encode(packet) for packet in packets]
        for frame, packet in zip(frames, packets, strict=True):
            self._note(
                frame,
                packet,
                f"in one piece with the others, the last {held_back} bytes of all a moment later",
            )
        whole = b"".join(frames)
        self._send_pieces([whole[:-held_back], whole[-held_back:]])

    def send_bytewise(self, packet: Packet) -> None:
        """Send a packet byte by byte."""
        self.send_in_pieces(packet, range(1, len(encode(packet))), "byte by byte")

    def close(self, note: str = "the server closes the connection") -> None:
        """End the connection."""
        if not self.closed:
            self._transcript.note(note, self.who)
        self.closed = True
        with contextlib.suppress(OSError):  # it is gone already
            self._sock.shutdown(socket.SHUT_RDWR)

    def dispose(self) -> None:
        """End the connection without a word in the transcript, and give the socket back."""
        self.closed = True
        self._reads.set()
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _note(self, frame: bytes, packet: Packet, note: str) -> None:
        self._transcript.add(
            OUT, text_of(frame[HEADER_BYTES:]), note, self.who, frame[:HEADER_BYTES].hex(" ")
        )

    def _send_pieces(self, pieces: Sequence[bytes]) -> None:
        for number, piece in enumerate(pieces):
            if number:
                self._pause.wait(PIECE_PAUSE_SECONDS)
            try:
                self._sock.sendall(piece)
            except TimeoutError:
                self.close(f"the client took nothing for {SEND_SECONDS:g} s")
                return
            except OSError:
                return  # the reading thread tells that it is closed

    # --- In ---

    def _read(self) -> None:
        buffer = bytearray()
        while True:
            self._reads.wait(SEND_SECONDS)
            try:
                data = self._sock.recv(65_536)
            except TimeoutError:
                continue
            except OSError:
                data = b""  # a reset counts as closed
            if not data:
                break
            buffer += data
            if not self._cut(buffer):
                return
        if not self.closed:
            rest = (
                f" with {len(buffer)} bytes of an unfinished frame: {bytes(buffer[:32]).hex(' ')}"
                if buffer
                else ""
            )
            self._transcript.note(f"the client closed the connection{rest}", self.who)
        self.closed = True
        self._arrivals.put(
            Arrival(
                "closed",
                self,
                actual=f"{len(buffer)} bytes of an unfinished frame" if buffer else "",
            )
        )

    def _cut(self, buffer: bytearray) -> bool:
        """Take the whole frames out of the buffer; False where nothing can be read any more."""
        while len(buffer) >= HEADER_BYTES:
            (length,) = struct.unpack_from(">I", buffer)
            header = bytes(buffer[:HEADER_BYTES]).hex(" ")
            if not 1 <= length <= self.max_frame:
                return self._broken(
                    header,
                    bytes(buffer[HEADER_BYTES:]),
                    *_bad_length(bytes(buffer), length, self.max_frame),
                )
            if len(buffer) < HEADER_BYTES + length:
                return True
            payload = bytes(buffer[HEADER_BYTES : HEADER_BYTES + length])
            del buffer[: HEADER_BYTES + length]
            try:
                packet = decode(payload)
            except Unreadable as error:
                return self._broken(header, payload, error.rule, error.expected, error.actual)
            self._transcript.add(IN, text_of(payload), "", self.who, header)
            if not self._arrivals.put(Arrival("packet", self, packet, size=len(payload))):
                return False
        return True

    def _broken(self, header: str, payload: bytes, rule: str, expected: str, actual: str) -> bool:
        self._transcript.add(IN, text_of(payload), f"breaks {rule}", self.who, header)
        self._arrivals.put(Arrival("broken", self, rule=rule, expected=expected, actual=actual))
        return False


def _bad_length(data: bytes, length: int, most: int) -> tuple[str, str, str]:
    expected = f"a 4-byte big-endian length from 1 to {most}, then as many bytes of JSON"
    actual = f"{data[:HEADER_BYTES].hex(' ')}, which is {length:,}"
    little = struct.unpack_from("<I", data)[0]
    if data[:1] in (b"{", b"["):
        return "R-FRAME-1", expected, f"{data[:16]!r}: JSON without a length before it"
    if 1 <= little <= most:
        return (
            "R-FRAME-1",
            expected,
            f"{actual}; read from the other end it is {little}: the byte order is wrong",
        )
    return ("R-FRAME-1" if length > MAX_FRAME or length == 0 else "R-FRAME-3"), expected, actual


class Unreadable(Exception):
    """A payload that is no packet."""

    def __init__(self, rule: str, expected: str, actual: str) -> None:
        super().__init__(actual)
        self.rule, self.expected, self.actual = rule, expected, actual


def decode(payload: bytes) -> Packet:
    """Return the packet in a payload; raises `Unreadable`."""
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(
            "R-FRAME-1",
            "UTF-8",
            f"byte {error.start} of the payload is {payload[error.start]:#04x}",
        ) from None
    try:
        packet = json.loads(text, object_pairs_hook=_without_twins, parse_constant=_no_constant)
    except Unreadable:
        raise
    except (ValueError, RecursionError) as error:
        raise Unreadable("R-FRAME-1", "a payload that is JSON", f"{error}: {text[:60]!r}") from None
    if is_too_deep(packet):
        raise Unreadable("R-FRAME-1", "a payload that is JSON", f"nested too deep: {text[:60]!r}")
    if not isinstance(packet, dict):
        raise Unreadable("R-FRAME-1", "a payload that is one JSON object", text[:60])
    return packet


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Unreadable(
            "R-JSON-8", "every key once in an object", f"the keys {[key for key, _ in pairs]}"
        )
    return result


def _no_constant(name: str) -> None:
    raise Unreadable("R-JSON-5", "numbers that JSON knows", name)


class ScriptedServer:
    """Listens on a free port of loopback and queues what comes; a context manager."""

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self._arrivals = Arrivals()
        self._lock = threading.Lock()  # guards `peers` and `_ended`
        self.peers: list[Peer] = []
        self._ended = False
        self._sock = socket.create_server(("127.0.0.1", 0))
        self._sock.settimeout(ACCEPT_SECONDS)
        self.host, self.port = "127.0.0.1", int(self._sock.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, name="scripted-accept", daemon=True)
        self._thread.start()

    def __enter__(self) -> ScriptedServer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def narrow(self) -> None:
        """Let little be on its way on later connections, so that a client that is not read soon has
        to wait. Systems differ in how little."""
        with contextlib.suppress(OSError, AttributeError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_BYTES)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, NARROW_SEGMENT)

    def next(self, timeout: float) -> Arrival | None:
        """Wait for the next thing that comes; None after `timeout` seconds."""
        return self._arrivals.next(timeout)

    def close(self) -> None:
        """End listening and all connections."""
        with self._lock:
            self._ended = True
            peers = list(self.peers)
        self._arrivals.close()
        self._thread.join(10 * ACCEPT_SECONDS)
        self._sock.close()
        for peer in peers:
            peer.dispose()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._sock.accept()
            except OSError as error:
                if self._ended:
                    return
                if not isinstance(error, TimeoutError):
                    # Windows: the client has reset it before it was taken (WSAENOTCONN, too).
                    time.sleep(0.01)
                continue
            sock.settimeout(SEND_SECONDS)
            with self._lock:
                if self._ended:
                    sock.close()
                    return
                peer = Peer(sock, len(self.peers) + 1, self._arrivals, self.transcript)
                self.peers.append(peer)
            self.transcript.note("the client connects", peer.who)
            self._arrivals.put(Arrival("connected", peer))
            peer.start()
