"""Servers with a fault about errors."""

from __future__ import annotations

from support.planted_faults.plant import plant
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.fields import Request
from support.reference_server.words import Packet, Refusal


@plant("R-ERR-1")
class NoCode(ReferenceServer):
    """Errors have no `code`."""

    def encode(self, packet: Packet) -> bytes:
        return super().encode(
            {
                key: value
                for key, value in packet.items()
                if key != "code" or packet["action"] != "error"
            }
        )


@plant("R-ERR-2")
class ForgetsOriginalAction(ReferenceServer):
    """`original_action` is always "unknown"."""

    def error(self, connection: Connection, original_action: str, code: str, message: str) -> None:
        super().error(connection, "unknown", code, message)


@plant("R-ERR-3", "R-ERR-5")
class FieldsBeforeLogin(ReferenceServer):
    """The fields are checked before it is asked who is logged in."""

    def handle(self, connection: Connection, packet: Packet) -> None:
        self.fields_of(packet, self.request_of(connection, packet))
        super().handle(connection, packet)


@plant("R-ERR-4")
class UnknownIsBadPacket(ReferenceServer):
    """An action that nobody knows is `bad_packet`."""

    def request_of(self, connection: Connection, packet: Packet) -> Request:
        try:
            return super().request_of(connection, packet)
        except Refusal as refusal:
            raise Refusal("bad_packet", str(refusal)) from None


@plant("R-ERR-6")
class FailsWithoutCode(ReferenceServer):
    """`register_fail` and `ack` with `error` have no `code`."""

    def encode(self, packet: Packet) -> bytes:
        if packet["action"] in ("ack", "register_fail"):
            packet = {key: value for key, value in packet.items() if key != "code"}
        return super().encode(packet)


@plant("R-ERR-7")
class ErrorsEndIt(ReferenceServer):
    """The connection is closed after every error."""

    def error(self, connection: Connection, original_action: str, code: str, message: str) -> None:
        super().error(connection, original_action, code, message)
        with connection.wake:
            connection.last_word = True
            connection.wake.notify_all()
