"""Frames, and the JSON in them."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterable
from typing import Any

from support.reference_server.connection import Connection
from support.reference_server.state import State
from support.reference_server.words import (
    MAX_FRAME,
    MAX_FRAME_BEFORE_LOGIN,
    MAX_INTEGER,
    Packet,
    Refusal,
)

LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Frames(State):
    """Frames, and the JSON in them."""

    def encode(self, packet: Packet) -> bytes:
        payload = json.dumps(packet, ensure_ascii=False, separators=(",", ":")).encode()
        return self.header(len(payload)) + payload

    def header(self, length: int) -> bytes:
        return length.to_bytes(4, "big")

    def length_of(self, header: bytes) -> int:
        return int.from_bytes(header, "big")

    def max_frame(self, connection: Connection) -> int:
        return MAX_FRAME if connection.account else MAX_FRAME_BEFORE_LOGIN

    def read_frame(self, connection: Connection) -> bytes:
        deadline = math.inf
        header = b""
        while len(header) < 4:
            header += connection.receive(4 - len(header), min(deadline, connection.login_deadline))
            deadline = min(deadline, time.monotonic() + self.FRAME_SECONDS)
        length = self.length_of(header)
        if not 1 <= length <= self.max_frame(connection):
            self.lost_the_place(connection, header, length)
        return self.read_payload(connection, length, deadline)

    def read_payload(self, connection: Connection, length: int, deadline: float) -> bytes:
        payload = bytearray()
        while len(payload) < length:
            payload += connection.receive(
                min(65_536, length - len(payload)), min(deadline, connection.login_deadline)
            )
        return bytes(payload)

    def lost_the_place(self, connection: Connection, header: bytes, length: int) -> None:
        kinds = {b"GET ": "an HTTP request", b"POST": "an HTTP request", b"SSH-": "an SSH client"}
        kind = kinds.get(header, "a TLS hello" if header[:2] == b"\x16\x03" else "")
        hint = f"; the bytes {header.hex(' ')} look like {kind}" if kind else ""
        limit = self.max_frame(connection)
        connection.request_id = None
        self.error(
            connection,
            "unknown",
            "bad_frame",
            f"a frame of length {length} can't be read: expected 1 to {limit}{hint}",
        )
        connection.say_last()

    def decode(self, payload: bytes) -> Packet:
        """The packet; raises Refusal `bad_json` for all that R-JSON-1 to R-JSON-8 forbid."""
        try:
            packet = json.loads(
                payload.decode(),
                object_pairs_hook=self.object_of,
                parse_constant=self.no_number,
                parse_int=self.integer_of,
                parse_float=self.float_of,
            )
        except Refusal:
            raise
        except (ValueError, RecursionError) as problem:
            raise Refusal("bad_json", f"the payload is no JSON: {problem}") from None
        if not isinstance(packet, dict):
            raise Refusal("bad_json", "the payload is JSON, but no object")
        self.check_shape(packet)
        return packet

    def object_of(self, pairs: list[tuple[str, Any]]) -> Packet:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise Refusal("bad_json", "a key stands twice in one object")
        return found

    def no_number(self, word: str) -> Any:
        raise Refusal("bad_json", f"{word} is no JSON number")

    def integer_of(self, digits: str) -> int:
        if len(digits) > 1000 or abs(int(digits)) > MAX_INTEGER:
            raise Refusal("bad_json", "an integer is too large")
        return int(digits)

    def float_of(self, digits: str) -> float:
        if len(digits) > 1000 or math.isinf(float(digits)):
            raise Refusal("bad_json", "a number is too large")
        return float(digits)

    def check_shape(self, packet: Packet) -> None:
        """At most 32 deep, at most 10,000 keys and elements, no half of a surrogate pair."""
        count, level, depth = 0, [packet], 0
        while level:
            depth += 1
            below: list[Any] = []
            for thing in level:
                count += len(thing)
                if isinstance(thing, dict):
                    self.check_texts(thing)
                values = list(thing.values()) if isinstance(thing, dict) else thing
                self.check_texts(values)
                below.extend(value for value in values if isinstance(value, (dict, list)))
            if depth > 32 or count > 10_000:
                raise Refusal(
                    "bad_json", "the packet is nested too deep or has too many keys and elements"
                )
            level = below

    def check_texts(self, values: Iterable[Any]) -> None:
        for value in values:
            if isinstance(value, str) and LONE_SURROGATE.search(value):
                raise Refusal("bad_json", "a text holds a lone surrogate")
