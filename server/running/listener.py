"""Accepting: the `socketserver.ThreadingTCPServer` that gives each client a thread, and refuses
whom it can't take.

Owns the listening socket. Never reads from a client and never waits for one: a refused client's
goodbye is left to the `Farewells` thread.
"""

from __future__ import annotations

import errno
import ipaddress
import itertools
import logging
import os
import selectors
import socket
import socketserver
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import protocol
from server.base.limits import RateLimit
from server.base.locks import Rank, RankedLock
from server.net.outbox import Outbox
from server.net.sockets import Stream, prepare_listener, tune
from server.net.tls import TlsStream
from server.running.conversation import Conversation
from server.state.session import Connection

if TYPE_CHECKING:
    from server.running.service import Service

log: Final = logging.getLogger("server.listener")

OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Listener(socketserver.ThreadingTCPServer):
    """Accepts clients on one address and port."""

    request_queue_size = 1024
    """With socketserver's own 5, 300 simultaneous connects waited 5 s (measured); with 1,024 they
    waited 0.03 s."""
    daemon_threads = True
    # else server_close() waits for idle clients for ever; Service.stop ends them in order
    block_on_close = False
    allow_reuse_address = False  # prepare_listener decides, by system

    def __init__(self, service: Service, host: str, port: int) -> None:
        self._service = service
        self._numbers = itertools.count(1)
        self._farewells = Farewells()
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
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.25,), name="accept", daemon=True
        )

    def server_bind(self) -> None:
        """Take the port, exclusively where the system needs to be told."""
        prepare_listener(self.socket)
        if self.address_family == socket.AF_INET6 and hasattr(socket, "IPPROTO_IPV6"):
            self.socket.setsockopt(
                socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0
            )  # `--host ::` serves IPv4, too
        super().server_bind()

    def start(self) -> None:
        """Begin to accept."""
        self._farewells.start()
        self._thread.start()

    def stop(self) -> None:
        """Accept no more, and give the port back."""
        self.shutdown()
        self.server_close()
        self._farewells.stop()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    @property
    def port(self) -> int:
        """The port that is really listened on."""
        return int(self.server_address[1])

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept one; out of descriptors, refuse it with the spare one instead of spinning on
        it."""
        try:
            return super().get_request()
        except OSError as error:
            if error.errno not in OUT_OF_DESCRIPTORS:
                raise
            self._refuse_with_spare()
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the client a thread, or a reason why not. (Not the base class's way, which closes at
        once and so may lose the reply.)"""
        service, address = self._service, str(client_address[0])
        if (
            address.startswith("::ffff:") and "." in address
        ):  # an IPv4 client of `--host ::` (RFC 4291, section 2.5.5.2)
            address = address.removeprefix("::ffff:")
        reason = service.registry.refuses(
            address, ipaddress.ip_address(address.partition("%")[0]).is_loopback
        )
        if reason is not None:
            self._refuse(request, address, reason)
            return
        connection = self._connection(request, address)
        service.registry.add_connection(connection)
        try:
            thread = threading.Thread(
                target=self._converse, args=(connection,), name=connection.name, daemon=True
            )
            thread.start()
        except RuntimeError:
            service.registry.remove_connection(connection)
            self._refuse(
                request, address, "the server can't start one more thread; try again later"
            )

    def _connection(self, request: socket.socket, address: str) -> Connection:
        service, settings = self._service, self._service.settings
        tune(request)
        if service.tls is None:
            stream = Stream(request, force_fallback=service.force_fallback)
        else:
            stream = TlsStream(request, service.tls, force_fallback=service.force_fallback)
        outbox = Outbox(stream, service.drain, service.budget, settings.max_waiting, service.clock)
        rate = RateLimit(settings.rate_limit, settings.rate_burst, service.clock)
        return Connection(
            f"client-{next(self._numbers)}", address, stream, outbox, rate, service.login_deadline()
        )

    def _converse(self, connection: Connection) -> None:
        try:
            Conversation(self._service, connection).run()
        except Exception:  # a thread begins here
            log.exception("the conversation with %s failed", connection.name)

    def _refuse(self, request: socket.socket, address: str, reason: str) -> None:
        log.warning("refused a connection from %s: %s", address, reason)
        self._farewells.refuse(request, protocol.build_error("unknown", "server_full", reason))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """What went wrong while accepting goes to the log, not to stderr."""
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
                "unknown", "server_full", "the server has no descriptor left; try again later"
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


class Farewells:
    """The thread that keeps refused sockets until they have read why: closing one with unread bytes
    would lose the reply."""

    MOST: Final = 256
    SECONDS: Final = 2.0

    def __init__(self) -> None:
        self._lock = RankedLock(Rank.DRAIN, "farewells")
        self._new: deque[socket.socket] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="farewells", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; sockets left are closed."""
        self._stopping = True
        self._wake.set()
        self._thread.join(1.0)

    def refuse(self, request: socket.socket, reply: bytes) -> None:
        """Say why, and close soon after. Never waits."""
        try:
            request.setblocking(False)
            request.send(reply)
            request.shutdown(socket.SHUT_WR)
        except OSError:
            request.close()
            return
        with self._lock:
            if len(self._new) < self.MOST and not self._stopping:
                self._new.append(request)
                self._wake.set()
                return
        request.close()

    def _run(self) -> None:
        leaving: dict[socket.socket, float] = {}
        with selectors.DefaultSelector() as selector:
            while not self._stopping:
                if not leaving:
                    self._wake.wait(5.0)
                self._take_new(leaving, selector)
                for key, _ in selector.select(0.1) if leaving else ():
                    self._read(key.fileobj, leaving, selector)
                now = time.monotonic()
                for late in [
                    request for request, until in leaving.items() if until < now or self._stopping
                ]:
                    self._close(late, leaving, selector)
            for request in list(leaving):
                self._close(request, leaving, selector)

    def _take_new(
        self, leaving: dict[socket.socket, float], selector: selectors.BaseSelector
    ) -> None:
        with self._lock:
            new = [
                self._new.popleft()
                for _ in range(min(len(self._new), max(0, self.MOST - len(leaving))))
            ]
            if not self._new:
                self._wake.clear()
        for request in new:
            leaving[request] = time.monotonic() + self.SECONDS
            selector.register(request, selectors.EVENT_READ)

    def _read(
        self, request: Any, leaving: dict[socket.socket, float], selector: selectors.BaseSelector
    ) -> None:
        try:
            if request.recv(65536):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close(request, leaving, selector)

    @staticmethod
    def _close(
        request: socket.socket,
        leaving: dict[socket.socket, float],
        selector: selectors.BaseSelector,
    ) -> None:
        selector.unregister(request)
        del leaving[request]
        request.close()
