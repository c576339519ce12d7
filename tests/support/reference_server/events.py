"""Events and `typing`."""

from __future__ import annotations

from support.reference_server.connection import Connection
from support.reference_server.records import Account
from support.reference_server.state import State
from support.reference_server.words import (
    Packet,
    Refusal,
)


class Events(State):
    """Events and `typing`."""

    def do_typing(self, connection: Connection, data: Packet) -> None:
        room, account = self.room(connection, data["room_id"]), self.me(connection)
        if "typing" not in connection.features:
            raise Refusal("forbidden", "typing is for who asked for it at login")
        self.tell(
            self.hearers(account, room.room_id), "typing", room_id=room.room_id, chatid=account.name
        )

    def tell(self, accounts: list[Account], kind: str, **keys: str) -> None:
        """One event to those of these who asked for events."""
        for account in accounts:
            if account.connection is not None and self.hears_events(account.connection):
                account.connection.put(
                    {"action": "event", "data": {"type": kind, **keys}}, forwarded=True
                )

    def hears_events(self, connection: Connection) -> bool:
        return "events" in connection.features
