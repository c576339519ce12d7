"""Servers with a fault about JSON and packets."""

from __future__ import annotations

import json
from typing import Any

from support.planted_faults.plant import plant
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.fields import Request
from support.reference_server.words import Packet, Refusal


@plant("R-JSON-1")
class ReplacesBadUtf8(ReferenceServer):
    """Bytes that are no UTF-8 are replaced, and the packet is taken."""

    def decode(self, payload: bytes) -> Packet:
        return super().decode(payload.decode("utf-8", "replace").lstrip("\ufeff").encode())


@plant("R-JSON-2")
class TakesLists(ReferenceServer):
    """JSON that is no object is taken for an empty packet."""

    def decode(self, payload: bytes) -> Packet:
        try:
            if not isinstance(json.loads(payload), dict):
                return {}
        except (ValueError, RecursionError):
            pass
        return super().decode(payload)


@plant("R-JSON-3", "R-JSON-4", "R-JSON-7")
class TakesAnyShape(ReferenceServer):
    """Neither the depth, nor the number of keys, nor half pairs are looked at."""

    def check_shape(self, packet: Packet) -> None:
        self.check_texts(())


@plant("R-JSON-5")
class TakesNan(ReferenceServer):
    """`NaN`, `Infinity` and overflowing numbers are taken, as json.loads takes them."""

    def no_number(self, word: str) -> Any:
        return 0.0

    def float_of(self, digits: str) -> float:
        return float(digits)


@plant("R-JSON-6")
class TakesBigIntegers(ReferenceServer):
    """Integers of any size are taken."""

    def integer_of(self, digits: str) -> int:
        return int(digits) if len(digits) < 1000 else super().integer_of(digits)


@plant("R-JSON-7")
class TakesLoneSurrogates(ReferenceServer):
    """Half a surrogate pair is taken for a character."""

    def check_texts(self, values: Any) -> None:
        pass


@plant("R-JSON-8")
class LastKeyWins(ReferenceServer):
    """The same key twice: the later one counts."""

    def object_of(self, pairs: list[tuple[str, Any]]) -> Packet:
        return dict(pairs)


@plant("R-JSON-9")
class BadJsonEndsIt(ReferenceServer):
    """The first payload that is no JSON is answered and ends the connection."""

    def take(self, connection: Connection, payload: bytes) -> None:
        connection.bad_json = 9
        super().take(connection, payload)


@plant("R-JSON-11")
class TakesAnyType(ReferenceServer):
    """Only the presence of keys is checked: a number is as good as a text."""

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        data = packet.get("data")
        fixed = dict(data) if isinstance(data, dict) else data
        if isinstance(fixed, dict):
            for key in ("room_id", "content", "chatid"):
                if key in fixed and isinstance(fixed[key], (int, float)):
                    fixed[key] = str(fixed[key])
        return super().fields_of({**packet, "data": fixed} if "data" in packet else packet, request)


@plant("R-JSON-12")
class OneSpelling(ReferenceServer):
    """`chatid` and `chat_id` are understood only where each belongs."""

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        data = packet.get("data")
        if isinstance(data, dict):
            other = "chatid" if request.file_packet else "chat_id"
            packet = {**packet, "data": {key: value for key, value in data.items() if key != other}}
        return super().fields_of(packet, request)


@plant("R-JSON-13")
class RefusesUnknownKeys(ReferenceServer):
    """A key that the server does not know is an error."""

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        data = packet.get("data", {})
        known = {*request.needs, *request.may, "chat_id"}
        if isinstance(data, dict) and (
            set(data) - known or set(packet) - {"action", "data", "request_id", "status", "message"}
        ):
            raise Refusal("bad_packet", "there is a key that nobody knows")
        return super().fields_of(packet, request)


@plant("R-JSON-14")
class ForgetsRequestId(ReferenceServer):
    """Errors come without the `request_id` of the request."""

    def error(self, connection: Connection, original_action: str, code: str, message: str) -> None:
        connection.request_id = None
        super().error(connection, original_action, code, message)


@plant("R-JSON-16")
class NoStatus(ReferenceServer):
    """Replies have no `message`."""

    def encode(self, packet: Packet) -> bytes:
        return super().encode(
            {
                key: value
                for key, value in packet.items()
                if key != "message" or packet["action"] == "error"
            }
        )
