"""One client's thread: reads, cuts frames, decodes, checks, answers, and cleans up at the end.

Owns the order of the checks (docs/PROTOCOL.md, R-ERR) and nothing else; what a packet does is in
`handlers/`. Runs on the thread that `clients.py` starts for the connection. That thread alone
closes the connection's socket.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from typing import Final

import protocol
from protocol import (
    BadFrame,
    BadJson,
    Envelope,
    ErrorCode,
    FrameReader,
    ProtocolError,
    Refusal,
    Request,
)
from server.base.fair_line import LineClosed
from server.base.frame_sizes import max_content, max_frame
from server.base.limits import Clock, MemoryBudget
from server.base.locks import Rank, RankedLock
from server.base.logs import printable
from server.base.refusals import as_refusal
from server.base.settings import Settings
from server.handlers import HANDLERS
from server.handlers.context import Context
from server.handlers.sessions import end_session
from server.state.open_transactions import LETTER_BYTES
from server.state.session import Connection
from storage.errors import StorageError, StorageFailed, StorageFull

log: Final = logging.getLogger("server.conversation")

READ_BYTES: Final = (448, 4 * 1024, 16 * 1024, 256 * 1024)
"""A client's thread holds a buffer of one of these sizes while it waits: idle, talking, talking
fast, or uploading. The first is a small object to Python's allocator, which saves 4 KiB for each of
10,000 idle clients (measured)."""
BETWEEN_FRAMES_BYTES: Final = 16 * 1024
"""The largest buffer of a thread that waits for the begin of a frame. A larger one counts for the
memory budget, as the bytes of an unfinished frame do."""
REPLIES_AT_ONCE_BYTES: Final = 64 * 1024
"""Answers of more than this are sent at once, not joined with those that follow."""
WAITING_BYTES: Final = 512 * 1024
"""While more than this waits for the client, its next frame is not read: backpressure. It is more
than a download keeps waiting (256 KiB and a chunk); else a client on a slow line could not talk
until its download has ended."""
LINGER_SECONDS: Final = 1.5
"""How long a client that is not served any more has to take what says why."""

NOT_RATE_LIMITED: Final = frozenset(
    {
        protocol.Ping,
        protocol.CharacterCount,
        protocol.ConfirmCount,
        protocol.Ack,
        protocol.FileSendData,
    }
)
"""Requests that the rate limit does not count where they succeed (R-LIM-4), unless the handler says
so of one (`Connection.is_charged`)."""
CACHEABLE: Final = frozenset({protocol.CharacterCount, protocol.Ack})
"""Packets that all receivers of a message send with mostly the same bytes: decoding them once saves
12 µs a delivery."""
CACHEABLE_BYTES: Final = 1_024
CACHED_PACKET_BYTES: Final = 512
"""What a cached packet takes besides its bytes and counts, roughly."""


Waiting = Callable[[float], bool]
"""Waits at most so many seconds; says whether what it waits for has come."""


class DecodedPackets:
    """The last small packets by their bytes, each decoded and checked, none with anything of its
    sender in it. Any thread."""

    MOST_BYTES: Final = 4 * 1024 * 1024

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget, self._most = budget, budget.share(self.MOST_BYTES, 64)
        self._requests: dict[bytes, Request] = {}
        self._held = 0
        self._lock = RankedLock(Rank.BUDGET, "decoded packets")
        self.get = self._requests.get

    def add(self, payload: bytes, request: Request) -> None:
        """Remember it, if it is one of those that come again."""
        if type(request) not in CACHEABLE or len(payload) > CACHEABLE_BYTES:
            return
        if request.request_id is not None:  # each is another one: it would only fill the memory
            return
        size = CACHED_PACKET_BYTES + len(payload)
        if isinstance(request, protocol.CharacterCount):
            size += LETTER_BYTES * len(request.letter_frequencies)
        with self._lock:
            if payload in self._requests:
                return
            change = size
            if self._held + size > self._most:
                change -= self._held
                self._requests.clear()
                self._held = 0
            self._held += size
            self._requests[payload] = request
        self._budget.keep(change)


def _next_read(size: int, most: int) -> int:
    """Return the size of the next read, after one of `size` bytes and `most` that came with the
    last two."""
    if most >= size:
        return READ_BYTES[min(READ_BYTES.index(size) + 1, len(READ_BYTES) - 1)]
    return next(enough for enough in READ_BYTES if most < enough)


def login_deadline(settings: Settings, clock: Clock) -> float | None:
    """Return the monotonic time by which a client that connects now must be logged in; None where
    no limit is set."""
    return clock() + settings.login_timeout if settings.login_timeout else None


class Conversation:
    """Serves one connection until it ends."""

    __slots__ = ("_connection", "_context", "_decoded", "_reader")

    def __init__(self, context: Context, decoded: DecodedPackets, connection: Connection) -> None:
        self._context, self._decoded, self._connection = context, decoded, connection
        self._reader = FrameReader(max_frame(context.settings, logged_in=False))

    def run(self) -> None:
        """Serve, then clean up; return when the socket is closed."""
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
        connection, reader = self._connection, self._reader
        clock, shutdown = self._context.clock, self._context.shutdown
        size, last = READ_BYTES[0], 0
        while not (connection.ended or shutdown.is_closing):
            if reader.waiting:
                if connection.frame_begun_at is None:
                    connection.frame_begun_at = clock()
            else:
                size = min(size, BETWEEN_FRAMES_BYTES)
            # an unfinished frame lies in a bytearray, which takes an eighth more than it holds
            held = reader.waiting + reader.waiting // 8
            held += size if size > BETWEEN_FRAMES_BYTES else 0
            if held != connection.input_held:
                connection.hold_input(held)
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
            request = self._decode(payload)
            del payload  # it may be large, and its request may have to wait
            reply = request if isinstance(request, bytes) else self._handle(request)
            if reply is not None:
                connection.replies.append(reply)
                connection.replies_bytes += len(reply)
                if (
                    connection.replies_bytes > REPLIES_AT_ONCE_BYTES
                    or len(connection.replies) > 256
                ):
                    connection.flush()
                    self._wait_for_reader()
            if connection.reply_held:
                connection.hold_reply(0)
            most = self._context.settings.max_bad_json
            if most and connection.bad_json_frames >= most:
                raise LostStream(f"{most} frames that were no JSON")

    def _wait_for_reader(self) -> None:
        """Read nothing more from a client that does not take its answers; the drain closes it if it
        takes none at all."""
        outbox, shutdown = self._connection.outbox, self._context.shutdown
        while (
            outbox.waiting > WAITING_BYTES and not self._connection.ended and not shutdown.is_over()
        ):
            if outbox.wait_below(WAITING_BYTES, 1.0):
                return

    def _decode(self, payload: bytes) -> Request | bytes:
        """Return the request in a frame, or the error that answers it."""
        connection = self._connection
        request = self._decoded.get(payload)
        if request is not None and connection.session is not None:
            return request
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
        self._decoded.add(payload, request)
        return request

    def _read(self, envelope: Envelope) -> Request:
        """Check action, login, fields and identity, in this order; raise Refusal for the first that
        fails."""
        session, entry = self._connection.session, envelope.type
        if session is None and not entry.before_login:
            raise Refusal(
                ErrorCode.NOT_LOGGED_IN,
                f"{entry.action} needs a login first; before it only login, register "
                "and ping are heard",
            )
        request: Request = protocol.read_request(envelope, max_content(self._context.settings))
        identity = entry.identity
        if session is not None and identity is not None and entry.record is not protocol.Login:
            named = getattr(request, identity)
            if named != session.chatid and protocol.fold_chatid(named) != session.folded:
                raise Refusal(
                    ErrorCode.FORBIDDEN,
                    f"data.{identity}: expected your own name {session.chatid!r}, got "
                    f"{protocol.describe(named)}",
                )
        if session is not None and entry.for_teachers and not session.is_teacher:
            raise Refusal(ErrorCode.FORBIDDEN, f"{entry.action}: only teachers may do this")
        return request

    def _handle(self, request: Request) -> bytes | None:
        kind, connection, context = type(request), self._connection, self._context
        try:
            if kind is protocol.Login or kind is protocol.Register or kind is protocol.Logout:
                reply = self._handle_entry(request)
            else:
                reply = HANDLERS[kind](context, connection, request)
        except ProtocolError as error:
            self._charge()
            return protocol.build_error(kind.ACTION, error.code, error.message, request.request_id)
        except LineClosed as error:
            return self._refusal(request, error)
        except StorageError as error:
            if not isinstance(error, StorageFull):
                log.error("%s of %s failed: %s", kind.ACTION, connection.name, error)
            if isinstance(error, StorageFailed):
                context.writer.disk_failed(error)
            return self._refusal(request, error)
        # A request is where foreign input meets all of our code: its defects end here.
        except Exception as error:
            log.exception("%s of %s failed", kind.ACTION, connection.name)
            return self._refusal(request, error)
        if kind not in NOT_RATE_LIMITED or connection.is_charged:
            connection.is_charged = False
            if connection.session is not None:
                connection.session.active_at = context.clock()
            self._charge()
        return reply

    def _refusal(self, request: Request, error: Exception) -> bytes:
        self._charge()
        refusal = as_refusal(error)
        return protocol.build_error(
            request.ACTION, refusal.code, refusal.message, request.request_id
        )

    def _handle_entry(self, request: Request) -> bytes | None:
        """Handle a login, registration or logout: the time the server takes over it is not held
        against the client's time to log in."""
        connection, context = self._connection, self._context
        deadline, begun = connection.login_deadline, context.clock()
        connection.login_deadline = None
        was_logged_in = connection.session is not None
        try:
            return HANDLERS[type(request)](context, connection, request)
        finally:
            logged_in = connection.session is not None
            self._reader.max_frame = max_frame(context.settings, logged_in=logged_in)
            if not logged_in and was_logged_in:
                connection.login_deadline = login_deadline(context.settings, context.clock)
            elif not logged_in and deadline is not None:
                connection.login_deadline = deadline + context.clock() - begun

    def _charge(self) -> None:
        """Count a request; a client that is over its rate is read more slowly, and nothing is
        refused."""
        connection, rates = self._connection, self._context.rates
        if connection.session is None:
            wait = rates.charge_address(connection.address)
        else:
            wait = rates.charge_account(connection.session.account_id)
        if wait > 0:
            self._connection.flush()
            self._context.shutdown.pause(wait, lambda: self._connection.ended)

    def _part(self) -> None:
        """Let what the client was told arrive, whatever it still sends: nothing of that is read."""
        connection = self._connection
        connection.flush()
        connection.outbox.wait_below(0, LINGER_SECONDS)
        connection.stream.discard_rest(LINGER_SECONDS)

    def _clean_up(self) -> None:
        connection = self._connection
        session = connection.session
        connection.login_deadline = connection.frame_begun_at = None
        try:
            if session is not None:
                if connection.parting is not None:
                    session.downloads.cancel_all()
                # What was confirmed is stored and acknowledged when this returns.
                end_session(self._context, session)
                if not connection.ended:
                    self._finish_sending(session.downloads.wait_idle)
                session.downloads.cancel_all()
            if connection.parting is not None:
                self._part()
            if not connection.ended:
                connection.flush()
                self._finish_sending(lambda seconds: connection.outbox.wait_below(0, seconds))
        finally:
            connection.hold_input(0)
            connection.hold_reply(0)
            self._context.registry.remove_connection(connection)
            usual = "the server stops" if self._context.shutdown.is_closing else "the client left"
            why = connection.parting or connection.outbox.broken or usual
            connection.outbox.discard()
            connection.stream.shut()
            connection.stream.socket.close()
            if session is not None:
                log.info(
                    "%s of %s ended: %s", connection.name, printable(session.chatid), printable(why)
                )

    def _finish_sending(self, wait: Waiting) -> None:
        """Wait while a client that has only closed its own direction still takes its answers."""
        connection, shutdown = self._connection, self._context.shutdown
        while not (connection.ended or connection.outbox.broken or shutdown.is_over()):
            if wait(0.5):
                return


class LostStream(Exception):
    """Nothing that the client sends from here on can be read."""
