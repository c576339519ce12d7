"""What the load speaks: our frames of JSON, and for peers JSON over WebSocket, IRC, and MQTT 3.1.1.

Pure: bytes in, bytes out; no socket. A wire format logs a member in, says something to the room,
cuts what came into messages, and reads each into a `Heard`. A message of the load begins with `~@`,
its number (8 hex digits) and when it was sent (16 hex digits, nanoseconds of
`time.perf_counter_ns`, which all processes of one machine share), so that any process can measure
it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["WIRE_FORMATS", "Heard", "WireFormat", "content_of", "frame"]

ROOM: Final = "lobby"
PASSWORD: Final = "load"
STAMP: Final = re.compile(rb"~@([0-9a-f]{8})([0-9a-f]{16})")
FILL: Final = "hello class this is a chat line as people write them "


@dataclass(slots=True)
class Heard:
    """One packet from the server, as far as a load cares."""

    kind: str
    """message, counts, ack, verdict, error, or other."""
    number: int = 0
    sent_ns: int = 0
    answer: bytes = b""
    """What every client answers with the same bytes."""
    tid: str = ""
    letters: list[str] = field(default_factory=list)
    """With a message: each letter and its count as JSON, for answers that differ."""
    agrees: bool = False
    text: str = ""


def content_of(number: int, sent_ns: int, length: int) -> str:
    """Return the text of a message: its stamp, and chat up to `length` characters."""
    head = f"~@{number:08x}{sent_ns:016x} "
    return (head + FILL * (length // len(FILL) + 1))[: max(length, len(head))]


def packet(action: str, data: dict[str, Any], **top: str) -> bytes:
    """Return a packet's JSON."""
    return json.dumps({"action": action, **top, "data": data}, separators=(",", ":")).encode()


def frame(payload: bytes) -> bytes:
    """Return the payload with its length before it."""
    return len(payload).to_bytes(4, "big") + payload


class WireFormat:
    """Our own wire, and what the others share."""

    def steps(self, name: str, register: bool) -> list[tuple[bytes, bytes]]:
        """Return how a member logs in: what it sends, and what the answer must hold, in order."""
        secret = {"chatid": name, "password": PASSWORD}
        login = (self.wrap(packet("login", secret)), b"login_success")
        return (
            [(self.wrap(packet("register", secret)), b"register_success"), login]
            if register
            else [login]
        )

    def wrap(self, payload: bytes) -> bytes:
        """Return a packet's bytes on the wire."""
        return frame(payload)

    def say(self, name: str, content: str) -> bytes:
        """Return the bytes of one message to the room."""
        return self.wrap(
            packet("send_message", {"chatid": name, "room_id": ROOM, "content": content})
        )

    def cut(self, data: bytes) -> tuple[list[bytes], int]:
        """Return the whole payloads at the beginning of `data`, and how many bytes they took."""
        payloads, at, size = [], 0, len(data)
        while size - at >= 4:
            end = at + 4 + int.from_bytes(data[at : at + 4], "big")
            if end > size:
                break
            payloads.append(data[at + 4 : end])
            at = end
        return payloads, at

    def read(self, payload: bytes) -> Heard:
        """Parse a payload; give the answer to it, if all clients give the same."""
        try:
            said = json.loads(payload)
        except ValueError:
            return Heard("other")
        action, data = said.get("action"), said.get("data") or {}
        tid = str(data.get("transaction_id", ""))
        if action == "receive_message":
            return self._message(data, tid)
        if action == "character_count":
            return Heard(
                "counts",
                answer=self.wrap(packet("confirm_count", {"transaction_id": tid, "confirm": True})),
                tid=tid,
            )
        if action == "confirm_count":
            done = packet(
                "ack",
                {"transaction_id": tid},
                status="success",
                message="Action processed successfully.",
            )
            return Heard(
                "verdict", answer=self.wrap(done), tid=tid, agrees=data.get("confirm") is True
            )
        if action == "ack":
            return Heard("ack", tid=tid)
        return Heard(
            "error" if action == "error" else "other", text=payload[:300].decode("utf-8", "replace")
        )

    def _message(self, data: dict[str, Any], tid: str) -> Heard:
        stamp = STAMP.match(data["content"].encode())
        if stamp is None:
            return Heard("other")
        letters = dict(Counter(data["content"]))
        counts = {
            "transaction_id": tid,
            "letter_frequencies": letters,
            "original_action": "receive_message",
        }
        answer = self.wrap(packet("character_count", counts))
        written = [f"{json.dumps(letter)}:{count}" for letter, count in letters.items()]
        return Heard("message", int(stamp[1], 16), int(stamp[2], 16), answer, tid, written)

    def answer_of(self, member: int, name: str, heard: Heard) -> bytes:
        """Return an answer that no other client gives: a request_id of its own, the keys in another
        order, the letters begun elsewhere."""
        if heard.kind == "verdict":
            parts = [
                '"action":"ack"',
                '"status":"success"',
                '"message":"Action processed successfully."',
            ]
            data = f'"data":{{"transaction_id":"{heard.tid}"}}'
        else:
            cut = member * 7 % len(heard.letters)
            mixed = ",".join(heard.letters[cut:] + heard.letters[:cut])
            parts = ['"action":"character_count"']
            fields = [
                f'"transaction_id":"{heard.tid}"',
                f'"letter_frequencies":{{{mixed}}}',
                '"original_action":"receive_message"',
            ]
            data = f'"data":{{{",".join(fields if member & 1 else fields[::-1])}}}'
        keys = [f'"request_id":"{name}"', *parts, data]
        turn = member % len(keys)
        return self.wrap(("{" + ",".join(keys[turn:] + keys[:turn]) + "}").encode())


class WebSocket(WireFormat):
    """The same packets as text messages over WebSocket (RFC 6455), masked by a key of zeros, as a
    client's must be masked."""

    HELLO: Final = (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )

    def steps(self, name: str, register: bool) -> list[tuple[bytes, bytes]]:
        return [(self.HELLO, b"\r\n\r\n"), *super().steps(name, register)]

    def wrap(self, payload: bytes) -> bytes:
        if len(payload) < 126:
            return bytes((0x81, 0x80 | len(payload))) + bytes(4) + payload
        return b"\x81\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload

    def cut(self, data: bytes) -> tuple[list[bytes], int]:
        payloads, at, size = [], 0, len(data)
        while size - at >= 2:
            length, head = data[at + 1] & 127, 2
            if length == 126:
                length, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
            end = at + head + length
            if size < at + head or end > size:
                break
            payloads.append(data[at + head : end])
            at = end
        return payloads, at


class Stamped(WireFormat):
    """Wire formats without packets of ours: a payload is a message if it holds a stamp."""

    def read(self, payload: bytes) -> Heard:
        stamp = STAMP.search(payload)
        return Heard("message", int(stamp[1], 16), int(stamp[2], 16)) if stamp else Heard("other")


class Irc(Stamped):
    """IRC: lines."""

    def steps(self, name: str, register: bool) -> list[tuple[bytes, bytes]]:
        return [
            (f"NICK {name}\r\nUSER u 0 * :u\r\n".encode(), b" 376 "),
            (f"JOIN #{ROOM}\r\n".encode(), b" 366 "),
        ]

    def say(self, name: str, content: str) -> bytes:
        return f"PRIVMSG #{ROOM} :{content}\r\n".encode()

    def cut(self, data: bytes) -> tuple[list[bytes], int]:
        end = data.rfind(b"\n") + 1
        return data[:end].splitlines(), end


class Mqtt(Stamped):
    """MQTT 3.1.1, quality of service 0: one topic is the room."""

    def steps(self, name: str, register: bool) -> list[tuple[bytes, bytes]]:
        hello = b"\0\4MQTT\4\2\0\0" + len(name).to_bytes(2, "big") + name.encode()
        topic = b"\0\1" + len(ROOM).to_bytes(2, "big") + ROOM.encode() + b"\0"
        return [(self._packet(0x10, hello), b"\x20\x02"), (self._packet(0x82, topic), b"\x90\x03")]

    def say(self, name: str, content: str) -> bytes:
        return self._packet(0x30, len(ROOM).to_bytes(2, "big") + ROOM.encode() + content.encode())

    @staticmethod
    def _packet(kind: int, body: bytes) -> bytes:
        size, length = len(body), bytearray((kind,))
        while True:
            size, low = divmod(size, 128)
            length.append(low | (0x80 if size else 0))
            if not size:
                return bytes(length) + body

    def cut(self, data: bytes) -> tuple[list[bytes], int]:
        payloads: list[bytes] = []
        at, size = 0, len(data)
        while True:
            length, shift, head = 0, 0, at + 1
            while head < size:
                length |= (data[head] & 127) << shift
                shift, head = shift + 7, head + 1
                if not data[head - 1] & 128:
                    break
            else:
                return payloads, at
            if head + length > size:
                return payloads, at
            payloads.append(data[head : head + length])
            at = head + length


WIRE_FORMATS: Final[dict[str, WireFormat]] = {
    "json": WireFormat(),
    "ws": WebSocket(),
    "irc": Irc(),
    "mqtt": Mqtt(),
}
