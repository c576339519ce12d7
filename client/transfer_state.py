"""What sending and fetching a file share: one file of one room, and waiting for the reading thread.

Owns how long a transfer waits, and when it gives up. Never reads or writes a file. `wait` and what
follows it are for the thread that transfers, the rest for any.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from client.connection import Connection
from client.errors import ChatError, ConnectionLost, TransferFailed

PATIENCE_SECONDS: Final = 60.0
"""How long a transfer waits without any progress, the time without connection included."""


class Transfer:
    """What both directions share: one file of one room, and a condition between the reading thread
    and the waiting one."""

    def __init__(
        self, room_id: str, name: str, cancel: threading.Event | None, patience: float
    ) -> None:
        self.room_id = room_id
        self.name = name
        self.cancel = cancel
        self.patience = patience
        # guards the fields below and those of the subclasses; notified at every change
        self.changed = threading.Condition()
        self.failure: ChatError | None = None
        self.moved_at = time.monotonic()

    def lost(self, reason: str) -> None:
        """Hear that the connection is gone (as a `PacketConsumer`)."""
        self.fail(ConnectionLost(reason))

    def fail(self, error: ChatError) -> None:
        """End the transfer with an error, unless it has one."""
        with self.changed:
            self.failure = self.failure or error
            self.changed.notify_all()

    def is_ours(self, packet: Mapping[str, Any]) -> bool:
        """Return whether a packet names this file of this room."""
        data = packet.get("data")
        return (
            isinstance(data, dict)
            and data.get("room_id") == self.room_id
            and data.get("file_path") == self.name
        )

    def wait(self, ready: Callable[[], bool]) -> None:
        """Wait for `ready`, which is asked under the condition; raise what stops the transfer."""
        with self.changed:
            while not ready():
                if self.failure is not None:
                    raise self.failure
                self.check()
                self.changed.wait(0.2)  # short: cancelling sets an event that notifies nobody here

    def check(self) -> None:
        """Raise where the user has cancelled, or nothing has moved for too long."""
        if self.cancel is not None and self.cancel.is_set():
            raise TransferFailed("cancelled")
        if time.monotonic() - self.moved_at > self.patience:
            raise TransferFailed(f"nothing moved for {self.patience:.0f} seconds")

    def wait_for_connection(self, chat: Connection, error: ConnectionLost) -> None:
        """Wait after `error` until the connection is back; raise `TransferFailed` where it does not
        come."""
        while not chat.wait_until_online(0.2):
            self.check()
            if chat.session is None:
                raise TransferFailed(f"the connection was lost: {error}") from error
        self.check()
        if chat.session is None:
            raise TransferFailed(f"the connection was lost: {error}") from error
        with self.changed:
            self.failure = None

    def give_up(self, chat: Connection) -> None:
        """Tell the server that we don't go on; it may be gone, or have ended the transfer
        itself."""
        chat.drop_chunks()
        with contextlib.suppress(ChatError):
            chat.request(
                "file_cancel", {"room_id": self.room_id, "file_path": self.name}, timeout=5.0
            )
