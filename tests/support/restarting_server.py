"""The reference server as a process that the kit may kill and start again, without a process: what
it keeps is handed to the next one, which stands for a disk.

A fault overrides `keeps` and so loses what a reply has promised.
"""

from __future__ import annotations

import contextlib
import re
import socket
from typing import Any

from support.patience import until
from support.reference_server import ReferenceServer


class KeepingServer(ReferenceServer):
    """A server whose data outlive it."""

    def take_over_from(self, old: ReferenceServer) -> None:
        """Take what was kept of another, as if from a disk."""
        self.accounts, self.rooms, self.messages = old.accounts, old.rooms, old.messages
        self.kept_keys, self.last_message_id = old.kept_keys, old.last_message_id
        self.uploads, self.upload_keys = old.uploads, old.upload_keys
        for account in self.accounts.values():
            account.connection = None


class InProcess:
    """What the kit's runner needs of a `ServerCommand`."""

    pid = None
    exit_status = None

    def __init__(self, kind: type[KeepingServer]) -> None:
        self.kind = kind
        self.server: Any = kind().start()
        self.port = self.server.port

    def is_running(self) -> bool:
        return True

    def how_it_ended(self) -> str:
        return ""

    def restart(self) -> None:
        """End it without a word, and begin the next with its data."""
        old = self.server
        with old.lock:
            old.stopping.set()
            connections = list(old.connections)
            for connection in connections:
                connection.account = None  # nobody is told of anything any more
        with contextlib.suppress(OSError):
            old.listener.shutdown(socket.SHUT_RDWR)
        old.listener.close()
        for connection in connections:
            connection.close()
        until(self._can_listen_again, "the port does not get free")
        self.server.take_over_from(old)
        self.server.start()

    def _can_listen_again(self) -> bool:
        """On Windows the port is free a moment after its last connection has ended."""
        with contextlib.suppress(OSError):
            self.server = self.kind(self.port)
            return True
        return False

    def kill(self) -> None:
        self.server.stop()

    def output(self) -> str:
        return ""

    def printed_since(self, moment: float) -> tuple[str, ...]:
        return ()

    def wait_for_line(self, pattern: re.Pattern[str], seconds: float) -> str:
        return ""
