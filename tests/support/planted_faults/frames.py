"""Servers with a fault about frames."""

from __future__ import annotations

import json
import math
import re

from support.planted_faults.plant import plant
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.words import MAX_FRAME, Gone, Packet


@plant("R-FRAME-1")
class LittleEndian(ReferenceServer):
    """The length is written and read with the smallest byte first."""

    def header(self, length: int) -> bytes:
        return length.to_bytes(4, "little")

    def length_of(self, header: bytes) -> int:
        return int.from_bytes(header, "little")


@plant("R-FRAME-1")
class LengthCountsItself(ReferenceServer):
    """N counts its own four bytes, when it writes and when it reads."""

    def header(self, length: int) -> bytes:
        return (length + 4).to_bytes(4, "big")

    def length_of(self, header: bytes) -> int:
        return int.from_bytes(header, "big") - 4


@plant("R-FRAME-1", waits=True)
class NoLength(ReferenceServer):
    """JSON with a line end behind it, and no length before it."""

    def encode(self, packet: Packet) -> bytes:
        return json.dumps(packet).encode() + b"\n"


@plant("R-FRAME-1")
class Latin1(ReferenceServer):
    """Letters like é are written as one byte each, as in Latin-1."""

    def encode(self, packet: Packet) -> bytes:
        escaped = json.dumps(packet).encode()
        payload = re.sub(
            rb"\\u00([89a-f][0-9a-f])", lambda found: bytes.fromhex(found[1].decode()), escaped
        )
        return self.header(len(payload)) + payload


@plant("R-FRAME-2", waits=True)
class OneFramePerRecv(ReferenceServer):
    """What one recv brings is taken for one whole frame, and what else came with it is dropped."""

    def read_frame(self, connection: Connection) -> bytes:
        data = connection.receive(4 + MAX_FRAME, math.inf)
        length = self.length_of(data[:4].ljust(4, b"\0"))
        if not 1 <= length <= MAX_FRAME:
            raise Gone
        return data[4 : 4 + length]


@plant("R-FRAME-2")
class PayloadInOneRecv(ReferenceServer):
    """The payload is taken from one recv, whatever that brings."""

    def read_payload(self, connection: Connection, length: int, deadline: float) -> bytes:
        return connection.receive(length, deadline)


@plant("R-FRAME-2", waits=True)
class DropsWhatIsJoined(ReferenceServer):
    """After each frame, what came in the same piece is thrown away."""

    def take(self, connection: Connection, payload: bytes) -> None:
        connection.sock.setblocking(False)
        try:
            while connection.sock.recv(65_536):
                pass
        except BlockingIOError:
            pass
        connection.sock.settimeout(0.25)
        super().take(connection, payload)


@plant("R-FRAME-3")
class SmallFrames(ReferenceServer):
    """Frames of more than 64 KiB are refused after the login too, though `limits` says
    otherwise."""

    def max_frame(self, connection: Connection) -> int:
        return 65_536


@plant("R-FRAME-5", around="R-FRAME-1 R-FRAME-2 R-FRAME-3 R-FRAME-5 R-FRAME-6")
class ClosesWithoutAWord(ReferenceServer):
    """A length that can't be is answered by closing, and no error says why."""

    def lost_the_place(self, connection: Connection, header: bytes, length: int) -> None:
        raise Gone


@plant("R-FRAME-5", waits=True)
class BadFrameGoesOn(ReferenceServer):
    """A length that can't be is answered, but the connection goes on, out of step."""

    def lost_the_place(self, connection: Connection, header: bytes, length: int) -> None:
        self.error(connection, "unknown", "bad_frame", f"a frame of length {length} can't be read")
        connection.receive(65_536, math.inf)
        while True:
            connection.receive(65_536, math.inf)


@plant("R-FRAME-6", around="R-FRAME-1 R-FRAME-5 R-FRAME-6")
class NamesNoProtocol(ReferenceServer):
    """`bad_frame` says nothing of the length or of what the bytes look like."""

    def lost_the_place(self, connection: Connection, header: bytes, length: int) -> None:
        self.error(connection, "unknown", "bad_frame", "this frame can't be read")
        connection.say_last()
