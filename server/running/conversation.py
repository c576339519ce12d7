"""One client's thread: reads, cuts frames, decodes, checks, answers, and cleans up at the end.

Owns the order of the checks (docs/PROTOCOL.md, R-ERR) and nothing else; what a packet does is in
`server.handlers`. Runs on the thread that `server.running.listener` starts for the connection. It alone
closes the connection's socket.
"""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING, Final

import protocol
from protocol import BadFrame, BadJson, Envelope, FrameReader, ProtocolError, Refusal, Request
from server.base.logs import printable
from server.handlers import HANDLERS
from server.state.recent_messages import as_refusal
from server.state.session import Connection
from server.writing.writer import STORAGE_FULL
from storage.errors import StorageError, StorageFailed, StorageFull

if TYPE_CHECKING:
    from server.running.service import Service

log: Final = logging.getLogger("server.conversation")

READ_BYTES: Final = (448, 4 * 1024, 256 * 1024)
"""A client's thread holds a buffer of one of these sizes while it waits: idle, talking, or
uploading. The first is a small object to Python's allocator, which saves 4 KiB for each of 10,000
idle clients (measured)."""
REPLIES_AT_ONCE_BYTES: Final = 64 * 1024
"""An answer of more than this is sent at once, not joined with those that follow."""
WAITING_BYTES: Final = 512 * 1024
"""Where more than this waits for the client, its next frame is not looked at. More than a download
keeps waiting (256 KiB and a chunk), or whoever has a slow line could not talk until its download
has ended."""
PARTING_SECONDS: Final = 1.5

FREE: Final = frozenset(
    {
        protocol.Ping,
        protocol.CharacterCount,
        protocol.ConfirmCount,
        protocol.Ack,
        protocol.FileSendData,
    }
)
"""Requests that the rate limit does not count where they succeed (R-LIM)."""
REMEMBERED: Final = frozenset({protocol.CharacterCount, protocol.Ack})
"""Packets that all receivers of a message send with mostly the same bytes: decoding them once saves
12 µs a delivery."""
REMEMBERED_BYTES: Final = 1_024
REMEMBERED_COUNT: Final = 1_024


class DecodedPackets:
    """The last small packets by their bytes, each decoded and checked, none with anything of its
    sender in it. Any thread."""

    def __init__(self) -> None:
        self._requests: dict[bytes, Request] = {}
        self.get = self._requests.get

    def add(self, payload: bytes, request: Request) -> None:
        """Remember it, if it is one of those that come again."""
        if type(request) in REMEMBERED and len(payload) <= REMEMBERED_BYTES:
            if len(self._requests) >= REMEMBERED_COUNT:
                self._requests.clear()
            self._requests[payload] = request


def _next_read(size: int, most: int) -> int:
    """The size of the next read, after one of `size` bytes and `most` that came with the last
    two."""
    if most >= size:
        return READ_BYTES[min(READ_BYTES.index(size) + 1, len(READ_BYTES) - 1)]
    return next(enough for enough in READ_BYTES if most < enough)


class Conversation:
    """Serves one connection until it ends."""

    __slots__ = ("_connection", "_reader", "_service")

    def __init__(self, service: Service, connection: Connection) -> None:
        self._service, self._connection = service, connection
        self._reader = FrameReader(service.max_frame(logged_in=False))

    def run(self) -> None:
        """Serve, then clean up; returns when the socket is closed."""
        connection = self._connection
        try:
            self._serve()
        except LostStream:
            self._part()
        except OSError as error:
            if isinstance(error, ssl.SSLError):
                log.info(
                    "%s from %s does not speak TLS rightly: %s",
                    connection.name,
                    connection.address,
                    error.reason,
                )
            connection.close(f"connection lost ({error.__class__.__name__})")
        finally:
            self._clean_up()

    def _serve(self) -> None:
        connection, reader, clock = self._connection, self._reader, self._service.clock
        size, last = READ_BYTES[0], 0
        while not (connection.ended or self._service.is_closing):
            if reader.waiting and connection.frame_begun_at is None:
                connection.frame_begun_at = clock()
            data = connection.stream.receive(size)
            if not data:
                return
            reader.feed(data)
            size, last = _next_read(size, max(len(data), last)), len(data)
            del data  # it may be large, and the next may be long in coming
            self._answer_frames()
            connection.flush()
            self._wait_for_reader()

    def _answer_frames(self) -> None:
        connection = self._connection
        while not connection.ended:
            try:
                payload = self._reader.next_frame()
            except BadFrame as error:
                connection.replies.append(
                    protocol.build_error("unknown", error.code, error.message)
                )
                raise LostStream(error.message) from None
            if payload is None:
                return
            connection.frame_begun_at = None
            reply = self._answer(payload)
            if reply is not None:
                connection.replies.append(reply)
                if len(reply) > REPLIES_AT_ONCE_BYTES or len(connection.replies) > 256:
                    connection.flush()
                    self._wait_for_reader()
            most = self._service.settings.max_bad_json
            if most and connection.bad_json_frames >= most:
                raise LostStream(f"{most} frames that were no JSON")

    def _wait_for_reader(self) -> None:
        """Read nothing more from a client that does not take its answers; the drain closes it if it
        takes none at all."""
        outbox, service = self._connection.outbox, self._service
        while outbox.waiting > WAITING_BYTES and not service.is_over():
            if outbox.wait_below(WAITING_BYTES, 1.0):
                return

    def _answer(self, payload: bytes) -> bytes | None:
        connection, service = self._connection, self._service
        request = service.decoded.get(payload)
        if request is not None and connection.session is not None:
            return self._handle(request)
        try:
            packet = protocol.decode_packet(payload)
        except BadJson as error:
            connection.bad_json_frames += 1
            self._charge()
            return protocol.build_error("unknown", error.code, error.message)
        request_id = protocol.request_id_of(packet)
        try:
            request = self._read(protocol.open_packet(packet))
        except Refusal as error:
            self._charge()
            return protocol.build_error(
                protocol.shown_action(packet), error.code, error.message, request_id
            )
        service.decoded.add(payload, request)
        return self._handle(request)

    def _read(self, envelope: Envelope) -> Request:
        """Action, login, fields, identity: in this order, and the first that fails answers."""
        session, entry = self._connection.session, envelope.type
        if session is None and not entry.before_login:
            raise Refusal(
                "not_logged_in",
                f"{entry.action} needs a login first; before it only login, register and ping are heard",
            )
        request: Request = protocol.read_request(envelope, self._service.max_content())
        identity = entry.identity
        if session is not None and identity is not None and entry.record is not protocol.Login:
            named = getattr(request, identity)
            if named != session.chatid and protocol.fold_chatid(named) != session.folded:
                raise Refusal(
                    "forbidden",
                    f"data.{identity}: expected your own name {session.chatid!r}, got {protocol.describe(named)}",
                )
        return request

    def _handle(self, request: Request) -> bytes | None:
        kind, connection, service = type(request), self._connection, self._service
        try:
            if kind is protocol.Login or kind is protocol.Register or kind is protocol.Logout:
                reply = self._handle_entry(request)
            else:
                reply = HANDLERS[kind](service, connection, request)
        except ProtocolError as error:
            self._charge()
            return protocol.build_error(kind.ACTION, error.code, error.message, request.request_id)
        except StorageFull:
            self._charge()
            return protocol.build_error(
                kind.ACTION, STORAGE_FULL.code, STORAGE_FULL.message, request.request_id
            )
        except StorageError as error:
            self._charge()
            log.error("%s of %s failed: %s", kind.ACTION, connection.name, error)
            if isinstance(error, StorageFailed):
                service.disk_failed(error)
            refusal = as_refusal(error)
            return protocol.build_error(
                kind.ACTION, refusal.code, refusal.message, request.request_id
            )
        except (
            Exception
        ) as error:  # a request is where foreign input meets all of our code: its defects end here
            self._charge()
            log.exception("%s of %s failed", kind.ACTION, connection.name)
            refusal = as_refusal(error)
            return protocol.build_error(
                kind.ACTION, refusal.code, refusal.message, request.request_id
            )
        if kind not in FREE:
            self._charge()
        return reply

    def _handle_entry(self, request: Request) -> bytes | None:
        """A login or logout: the time the server takes over it is not held against the client's
        time to log in."""
        connection, service = self._connection, self._service
        deadline, begun = connection.login_deadline, service.clock()
        connection.login_deadline = None
        was_logged_in = connection.session is not None
        try:
            return HANDLERS[type(request)](service, connection, request)
        finally:
            if connection.session is not None:
                self._reader.max_frame = service.max_frame(logged_in=True)
            else:
                self._reader.max_frame = service.max_frame(logged_in=False)
                connection.login_deadline = (
                    service.login_deadline()
                    if was_logged_in
                    else None
                    if deadline is None
                    else deadline + service.clock() - begun
                )

    def _charge(self) -> None:
        """Count a request; a client that is over its rate is read more slowly, and nothing is
        refused."""
        wait = self._connection.rate.charge()
        if wait > 0:
            self._connection.flush()
            self._service.pause(self._connection, wait)

    def _part(self) -> None:
        """The stream has lost its place: the reply shall arrive, whatever the client still
        sends."""
        connection = self._connection
        connection.flush()
        connection.outbox.wait_below(0, PARTING_SECONDS)
        connection.stream.discard_rest(PARTING_SECONDS)

    def _clean_up(self) -> None:
        connection, service = self._connection, self._service
        session = connection.session
        connection.login_deadline = connection.frame_begun_at = None
        try:
            if session is not None:
                service.end_session(
                    session
                )  # what was confirmed is stored and acknowledged when this returns
                if not connection.ended:
                    self._finish_sending(session.downloads.wait_idle)
                session.downloads.cancel_all()
            if not connection.ended:
                connection.flush()
                self._finish_sending(lambda seconds: connection.outbox.wait_below(0, seconds))
        finally:
            service.registry.remove_connection(connection)
            why = connection.outbox.broken or "closed by the client"
            connection.outbox.discard()
            connection.stream.shut()
            connection.stream.socket.close()
            if session is not None:
                log.info(
                    "%s of %s ended: %s", connection.name, printable(session.chatid), printable(why)
                )

    def _finish_sending(self, wait: Waiting) -> None:
        """A client that has only closed its own direction still gets its answers, as long as it
        takes them."""
        while not (
            self._connection.ended or self._connection.outbox.broken or self._service.is_over()
        ):
            if wait(0.5):
                return


class LostStream(Exception):
    """Nothing that the client sends from here on can be read."""


if TYPE_CHECKING:
    from collections.abc import Callable

    Waiting = Callable[[float], bool]
