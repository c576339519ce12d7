"""Each accepted socket becomes a connection with a thread of its own.

Owns the numbers of the connections, and what all of them share besides the handlers' context. The
`accept` thread calls `take`; each `client-N` thread runs one conversation.
"""

from __future__ import annotations

import ipaddress
import itertools
import logging
import socket
import ssl
import threading
from typing import Final

from server.handlers.context import Context
from server.net.outbox import Drain, Outbox
from server.net.sockets import Stream, tune
from server.net.tls import TlsStream
from server.running.conversation import Conversation, DecodedPackets, login_deadline
from server.state.session import Connection

log: Final = logging.getLogger("server.clients")


class Clients:
    """Makes connections and runs their conversations. `tls` is None where clients are served in the
    clear; `force_fallback` is for tests (see `Stream`)."""

    def __init__(
        self,
        context: Context,
        drain: Drain,
        tls: ssl.SSLContext | None,
        *,
        force_fallback: bool = False,
    ) -> None:
        self._context, self._drain, self._tls = context, drain, tls
        self._force_fallback = force_fallback
        self._decoded = DecodedPackets(context.budget)
        self._numbers = itertools.count(1)

    def take(self, request: socket.socket, address: str) -> str | None:
        """Give the client a thread; return why not, where it can't have one."""
        registry = self._context.registry
        is_loopback = ipaddress.ip_address(address.partition("%")[0]).is_loopback
        reason = registry.refuses(address, is_loopback)
        if reason is not None:
            return reason
        connection = self._connection(request, address)
        registry.add_connection(connection)
        try:
            threading.Thread(
                target=self._converse, args=(connection,), name=connection.name, daemon=True
            ).start()
        except RuntimeError:
            registry.remove_connection(connection)
            return "the server can't start one more thread; try again later"
        return None

    def _connection(self, request: socket.socket, address: str) -> Connection:
        context, settings = self._context, self._context.settings
        tune(request)
        if self._tls is None:
            stream = Stream(request, force_fallback=self._force_fallback)
        else:
            stream = TlsStream(request, self._tls, force_fallback=self._force_fallback)
        return Connection(
            f"client-{next(self._numbers)}",
            address,
            stream,
            Outbox(stream, self._drain, context.budget, settings.max_waiting, context.clock),
            context.budget,
            login_deadline(settings, context.clock),
        )

    def _converse(self, connection: Connection) -> None:
        try:
            Conversation(self._context, self._decoded, connection).run()
        except Exception:  # a thread begins here
            log.exception("the conversation with %s failed", connection.name)
