"""Accepting: the `socketserver.ThreadingTCPServer` that hands each client over, and refuses the
clients that can't be taken.

Owns the listening socket and the `accept` thread. Never reads from a client and never waits for
one: a refused client is left to the `LingeringCloser`.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import protocol
from server.base.threads import repeat
from server.net.lingering_close import LingeringCloser
from server.net.sockets import bind_patiently, prepare_listener

log: Final = logging.getLogger("server.listener")

Take = Callable[[socket.socket, str], "str | None"]
"""Serves an accepted socket from this address, or says why not."""
OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Listener(socketserver.ThreadingTCPServer):
    """Accepts clients on one address and port. The port is taken at once; clients are accepted from
    `start` on."""

    request_queue_size = 1024
    """With socketserver's own 5, 300 simultaneous connects waited 5 s (measured); with 1,024 they
    waited 0.03 s."""
    daemon_threads = True
    # else server_close() waits for idle clients for ever; Service.stop ends them in order
    block_on_close = False
    allow_reuse_address = False  # prepare_listener decides, by system

    def __init__(self, host: str, port: int) -> None:
        self._take: Take | None = None
        self._lingering = LingeringCloser()
        self._has_begun = self._stopping = False
        self._spare: int | None = None
        family, _, _, _, address = socket.getaddrinfo(
            host or None,
            port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV,
        )[0]
        self.address_family = family
        super().__init__(address[:2], socketserver.BaseRequestHandler)  # type: ignore[arg-type]  # AF_INET6 takes (host, port), too
        self._keep_spare()
        self._thread = threading.Thread(target=self._accept, name="accept", daemon=True)

    def server_bind(self) -> None:
        """Take the port, exclusively where the system needs to be told."""
        prepare_listener(self.socket)
        if self.address_family == socket.AF_INET6 and hasattr(socket, "IPPROTO_IPV6"):
            # `--host ::` serves IPv4, too
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bind_patiently(super().server_bind, lambda text: print(text, file=sys.stderr, flush=True))

    def start(self, take: Take) -> None:
        """Begin to accept: each client is handed to `take`, on the `accept` thread."""
        self._take = take
        self._lingering.start()
        self._thread.start()

    def _accept(self) -> None:
        # once in any case: `shutdown` waits until it has ended, also where it had not begun
        repeat(self._turn, lambda: self._has_begun and self._stopping)

    def _turn(self) -> None:
        self._has_begun = True
        self.serve_forever(0.25)

    def stop(self) -> None:
        """Accept no more, and give the port back."""
        self._stopping = True
        self.shutdown()
        self.server_close()
        self._lingering.stop()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    @property
    def port(self) -> int:
        """The port that is really listened on."""
        return int(self.server_address[1])

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept one client; when out of descriptors, refuse it with the spare one instead of
        spinning on it."""
        try:
            return super().get_request()
        except OSError as error:
            if error.errno not in OUT_OF_DESCRIPTORS:
                raise
            self._refuse_with_spare()
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand the client over, or tell it why not. (Not the base class's way, which closes at once
        and so may lose the reply.)"""
        address = str(client_address[0])
        # an IPv4 client of `--host ::` (RFC 4291, section 2.5.5.2)
        if address.startswith("::ffff:") and "." in address:
            address = address.removeprefix("::ffff:")
        assert self._take is not None, "set by start"
        reason = self._take(request, address)
        if reason is not None:
            self._refuse(request, address, reason)

    def _refuse(self, request: socket.socket, address: str, reason: str) -> None:
        log.warning("refused a connection from %s: %s", address, reason)
        self._lingering.refuse(
            request, protocol.build_error("unknown", protocol.ErrorCode.SERVER_FULL, reason)
        )

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong while accepting, instead of printing it."""
        log.exception("a connection from %s could not be taken", client_address[0])

    def _keep_spare(self) -> None:
        try:
            self._spare = os.open(os.devnull, os.O_RDONLY)
        except OSError:
            self._spare = None

    def _refuse_with_spare(self) -> None:
        """Free one descriptor, so that the client in front of the queue can be told; then take it
        back."""
        log.warning("out of descriptors: a connection is refused")
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
        try:
            request, _ = self.socket.accept()
        except OSError:
            time.sleep(0.1)  # nothing to be freed: look again in a while, not at once
        else:
            reason = protocol.build_error(
                "unknown",
                protocol.ErrorCode.SERVER_FULL,
                "the server has no descriptor left; try again later",
            )
            try:
                request.setblocking(False)
                request.send(reason)
                request.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            time.sleep(0.02)  # lets the reply leave before the close
            request.close()
        self._keep_spare()
