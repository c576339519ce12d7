"""The thread that reads: it takes in what the server sends, and comes back after a lost connection.

Owns the link, the session, and the thread "chat-reader". Reading and coming back stand together,
because coming back asks the server, and for the answers somebody must read. Never gives anything to
the user itself: events go to the queue. The methods without an underscore may be called by any
thread, but `request` not by the reading one.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import protocol
from client.base.deadline import Deadline
from client.base.waiting import wait_for, wait_for_end
from client.errors import (
    ChatError,
    ConnectionLost,
    LoginRefused,
    NoAnswer,
    ProtocolBroken,
)
from client.events import (
    Arrivals,
    CatchUpFailed,
    Disconnected,
    LoggedOut,
    ProtocolViolation,
    Reconnected,
)
from client.network.link import Link, Trace, open_link
from client.network.tls import Trust
from client.records import Session, as_text, session_from
from client.session.catch_up import CatchUp, Missed
from client.session.incoming import Incoming
from client.session.outgoing import Outgoing, OwnMessages
from client.session.pending_requests import PendingRequest, PendingRequests
from client.session.requests import ANSWER_SECONDS
from client.session.server_watch import READ_SECONDS, ServerWatch
from client.session.session_end import DisplacementWatch

JOIN_SECONDS: Final = 10.0
"""How long a new link waits for the thread that clears up after the one before."""
MAX_REPLY_ELEMENTS: Final = 1_000_000
"""Keys and elements in one packet of a server. R-LIM-13 lets it send 10,000, as R-JSON-4 does a
client; but a list that is too long must not keep anybody from logging in."""


class PacketConsumer(Protocol):
    """Takes the packets of a transfer, in the reading thread: it must be quick and must not
    wait."""

    def wants(self, packet: Mapping[str, Any]) -> bool:
        """Return whether this packet belongs to the transfer."""

    def take(self, packet: Mapping[str, Any]) -> None:
        """Take a packet that it wanted."""

    def lost(self, reason: str) -> None:
        """Hear that the connection is gone: nothing that was asked for will come."""


@dataclass(frozen=True)
class ConnectionOptions:
    """What a connection was asked to be; `client.connection.Connection` says what each means."""

    host: str
    port: int
    timeout: float
    trust: Trust | None
    features: tuple[str, ...]
    reconnects: bool
    pauses: tuple[float, ...]
    idle_seconds: float


class Reader:
    """The link and the session of one connection, kept up by one thread."""

    def __init__(
        self, options: ConnectionOptions, arrivals: Arrivals, catch_up: CatchUp, trace: Trace | None
    ) -> None:
        self.options = options
        self._arrivals = arrivals
        self._catch_up = catch_up
        numbers = itertools.count(1)
        self.pending = PendingRequests(numbers)
        # Guards all that follows; notified when link, session or closing change, and when a
        # message of our own has come to its end.
        self.changed = threading.Condition()
        self._own = OwnMessages(arrivals.put, self.changed, numbers)
        self._trace = trace
        self._link: Link | None = None
        self._thread: threading.Thread | None = None
        self._session: Session | None = None
        self._password: str | None = None  # kept only for servers that know no login by key
        self._last_chatid = ""  # whose the messages and marks are
        self._closing = False
        self._consumers: list[PacketConsumer] = []
        # The rest belongs to the reading thread.
        self._incoming = Incoming(catch_up, arrivals.put)
        self._watch = ServerWatch(options.idle_seconds)
        self._displacement = DisplacementWatch()

    # --- Opening and closing ---

    def begin(self, deadline: Deadline) -> Link:
        """Open a link by the deadline, and start the thread that reads it. Raise
        `CannotConnect`."""
        with self.changed:
            before = self._thread
        if before is not None:
            wait_for_end(before, JOIN_SECONDS)  # it is clearing up after a link that has ended
        link = self._open(deadline)
        with self.changed:
            self._link = link
            self._thread = threading.Thread(
                target=self._read, args=(link,), name="chat-reader", daemon=True
            )
            self._thread.start()
        return link

    def _open(self, deadline: Deadline) -> Link:
        options = self.options
        return open_link(options.host, options.port, deadline, self._trace, options.trust)

    def close(self, grace_seconds: float) -> None:
        """End everything, after waiting up to `grace_seconds` for own messages to be stored."""
        with self.changed:
            wait_for(self.changed, lambda: not self._own or self._link is None, grace_seconds)
            self._closing = True
            link, thread = self._link, self._thread
            self.changed.notify_all()
        if link is not None:
            link.flush(min(1.0, grace_seconds))
            link.close()
        self._arrivals.close()
        if thread is not None and thread is not threading.current_thread():
            wait_for_end(thread, 2.0)  # it may be connecting still, and ends when that is over

    def needs_link(self) -> bool:
        """Return whether nobody has connected yet. Raise `ConnectionLost` where there is no
        connecting: closed, or coming back already."""
        with self.changed:
            if self._live_link() is not None:
                return False
            if self._closing or self._session is not None:
                raise ConnectionLost(_why_down(closed=self._closing))
            return True

    # --- How things stand ---

    @property
    def session(self) -> Session | None:
        """Who is logged in."""
        with self.changed:
            return self._session

    @property
    def link(self) -> Link | None:
        """The present link, also where it has ended."""
        with self.changed:
            return self._link

    @property
    def online(self) -> bool:
        """Whether there is a connection right now."""
        with self.changed:
            return self._live_link() is not None

    @property
    def unfinished(self) -> int:
        """How many own messages are not yet stored or refused."""
        with self.changed:
            return len(self._own)

    @property
    def is_this_thread(self) -> bool:
        """Whether the caller is the reading thread."""
        return threading.current_thread() is self._thread

    def wait_until_online(self, timeout: float) -> bool:
        """Wait until there is a connection, or none is going to come; return whether there is."""
        with self.changed:
            wait_for(self.changed, self._is_settled, timeout)
            return self._live_link() is not None

    def link_by(self, deadline: Deadline) -> Link:
        """Wait for a link; raise `ConnectionLost` where none is there by then."""
        with self.changed:
            wait_for(self.changed, self._is_settled, deadline.left())
            link = self._live_link()
            if link is None:
                raise ConnectionLost(_why_down(closed=self._session is None))
            return link

    def _is_settled(self) -> bool:
        return self._live_link() is not None or self._session is None or self._closing

    def _live_link(self) -> Link | None:
        """Return the link, unless it has ended and the reading thread is about to notice. The
        condition is held."""
        return self._link if self._link is not None and not self._link.ended else None

    # --- The session, and what it sends ---

    def expect(self, chatid: str) -> None:
        """Get ready for a login: where it is another user's, nothing of the one before is
        theirs."""
        with self.changed:
            if self._session is None and not _is_same(self._last_chatid, chatid):
                self._catch_up.forget()
                self._own.forget(ConnectionLost("not sent: somebody else has logged in"))
                self._last_chatid = chatid

    def login_data(self, chatid: str, proof: Mapping[str, Any]) -> dict[str, Any]:
        """Return the `data` of a login: who, with what proof, and which features are wanted."""
        features = {"features": list(self.options.features)} if self.options.features else {}
        return {"chatid": chatid, **proof, **features}

    def begin_session(self, session: Session, password: str | None) -> None:
        """Take on a session that the server has just granted; send what waits."""
        with self.changed:
            link = self._live_link()
            if link is None:
                raise ConnectionLost("the connection was lost right after the login")
            self._session = session
            self._incoming.chatid = session.chatid
            self._password = None if session.extended else password
            self._arrivals.reopen()
            self._own.begin(link, session.chatid)
            self.changed.notify_all()

    def end_session(self) -> None:
        """Take note that the user has logged out; the link stays."""
        with self.changed:
            self._session = None
            self._password = None
            self._own.lost()

    def post(self, message: Outgoing) -> None:
        """Take on an own message. Raise `ConnectionLost` where nobody is logged in."""
        with self.changed:
            if self._closing or self._session is None:
                raise ConnectionLost("not logged in")
            self._catch_up.come(message.room_id)
            self._own.add(message)

    def stop_sending(self) -> tuple[int, int]:
        """Do what `client.connection.Connection.stop_sending` says."""
        with self.changed:
            return self._own.stop()

    def with_name(self, action: str, data: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the `data` of a request with the user's name filled in."""
        filled = dict(data or {})
        key = protocol.REQUESTS[action].identity
        session = self.session
        if key is not None and session is not None:
            filled.setdefault(key, session.chatid)
        return filled

    def trace_packets(self, trace: Trace | None) -> None:
        """Call `trace` with each frame from now on; None ends it."""
        with self.changed:
            self._trace = trace
            if self._link is not None:
                self._link.trace = trace

    def add_consumer(self, consumer: PacketConsumer) -> None:
        """Give `consumer` the packets that it wants, from now on."""
        with self.changed:
            self._consumers.append(consumer)

    def remove_consumer(self, consumer: PacketConsumer) -> None:
        """Give `consumer` no more."""
        with self.changed:
            self._consumers.remove(consumer)

    # --- The reading thread: taking in ---

    def _read(self, link: Link) -> None:
        at: Link | None = link
        try:
            while at is not None:
                at = self._read_until_lost(at)
        except Exception as error:  # the thread begins here: who waits must hear that it ends
            self._drop(f"the client failed: {error!r}")
            if at is not None:
                at.dispose()
            with self.changed:
                self._session = None
                self.changed.notify_all()
            self._arrivals.close(ConnectionLost(f"the client failed: {error!r}"))
            raise

    def _read_until_lost(self, link: Link) -> Link | None:
        """Take in what comes; return the next link, or None where there is none to be."""
        try:
            while True:
                self._pump(link, READ_SECONDS)
        except ConnectionLost as error:
            reason = str(error)
            if isinstance(error, ProtocolBroken):
                self._arrivals.put(ProtocolViolation(reason))
        # Before looking for a session: a login that comes later must find the link ended.
        link.close(reason)
        session, ended, idle = self.session, self._incoming.ended, self._is_idle()
        self._drop(reason)
        link.dispose()
        if self._closing or session is None:
            self._arrivals.close(ConnectionLost(reason))
            return None
        ended = ended or self._displacement.closed(link, session, idle=idle)
        if ended is not None:
            self._give_up(ended, str(ended), told=True)
            return None
        if not self.options.reconnects:
            self._give_up(ConnectionLost(reason), reason)
            return None
        return self._come_back(session, reason)

    def _pump(self, link: Link, seconds: float) -> None:
        """Take in one packet, or let `seconds` pass. Raise `ConnectionLost`."""
        payload = link.receive(seconds)
        with self.changed:
            self._own.start_overdue_over()
        if self._watch.woke_up():
            self._ping(link)
        if payload is not None:
            self._watch.heard()
            self._take(link, payload)
        elif self._watch.is_silent(link.heard_at) and not self.pending.waits_for("ping"):
            self._ping(link)

    def _ping(self, link: Link) -> None:
        self.pending.send(link, PendingRequest("ping"), {})

    def _take(self, link: Link, payload: bytes) -> None:
        """Give one packet to the part that it is for."""
        try:
            packet = protocol.decode_packet(payload, MAX_REPLY_ELEMENTS)
            protocol.check_reply(packet)
        except protocol.ProtocolError as error:
            self._arrivals.put(ProtocolViolation(error.message))
            self.pending.fail_unreadable(payload, error.message)
            return
        with self.changed:
            consumers = list(self._consumers)
        for consumer in consumers:
            if consumer.wants(packet):
                consumer.take(packet)
                return
        if self._incoming.take(link, packet):
            if self._incoming.ended is not None and self.session is not None:
                raise ConnectionLost(str(self._incoming.ended))
            return
        with self.changed:
            if self._own.take(link, packet):
                return
        request = self.pending.take(packet)
        if request is not None:
            if request.action == "ping":
                self._watch.answered_ping()
        elif packet["action"] == "error":
            self._arrivals.put(ProtocolViolation(as_text(packet.get("message"))))

    # --- The reading thread: losing the connection and coming back ---

    def _is_idle(self) -> bool:
        """Return whether nothing of ours is under way: no request, message or file."""
        with self.changed:
            return not self._own and not self._consumers and not self.pending

    def _drop(self, reason: str) -> None:
        """Tell everybody who waits for something that the connection is gone."""
        with self.changed:
            if self._link is not None:
                self._link.close(reason)
            self._link = None
            consumers = list(self._consumers)
            self._own.lost()
            self.changed.notify_all()
        self.pending.fail_all(ConnectionLost(reason))
        for consumer in consumers:
            consumer.lost(reason)
        self._incoming.forget()

    def _give_up(self, error: ChatError, reason: str, *, told: bool = False) -> None:
        with self.changed:
            self._session = None
            self.changed.notify_all()
        self._arrivals.put(LoggedOut(reason, told, getattr(error, "by_teacher", False)))
        self._arrivals.close(error)

    def _come_back(self, session: Session, reason: str) -> Link | None:
        """Connect and take the session up again, with growing pauses; return the new link, or None
        where the user closes or the server refuses."""
        for attempt, pause in enumerate(self._pauses(), 1):
            self._arrivals.put(Disconnected(reason, attempt, pause))
            if not self._pause(pause):
                return None
            link: Link | None = None
            try:
                link = self._open(Deadline(self.options.timeout))
                if self._closing:
                    link.dispose()
                    return None
                missed = self._take_up(link, session)
                if missed.problem:
                    self._arrivals.put(CatchUpFailed(missed.problem))
                self._arrivals.put(Reconnected(missed.messages, missed.files))
                self._displacement.came_back(attempt)
                return link
            except ChatError as error:
                ended = self._incoming.ended
                reason = error.message if isinstance(error, LoginRefused) else str(error)
                self._catch_up.broke()
                self._drop(reason)
                if link is not None:
                    link.dispose()
                if ended is not None:
                    self._give_up(ended, str(ended), told=True)
                    return None
                if isinstance(error, LoginRefused):
                    self._give_up(error, f"the server does not take the session up again: {reason}")
                    return None
        raise AssertionError("unreachable")

    def _pauses(self) -> Iterator[float]:
        """Yield the seconds before each attempt; the last of them repeats."""
        yield from self.options.pauses
        while True:
            yield self.options.pauses[-1]

    def _pause(self, seconds: float) -> bool:
        """Wait before the next attempt, no longer where the machine has slept meanwhile; return
        False where the user closes."""
        deadline = Deadline(seconds)
        self._watch.sleep.has_slept()
        while not deadline.is_over() and not self._watch.sleep.has_slept():
            with self.changed:
                if self.changed.wait_for(lambda: self._closing, min(deadline.left(), READ_SECONDS)):
                    return False
        return not self._closing

    def _take_up(self, link: Link, session: Session) -> Missed:
        """Log in on a new link, send again what was not acknowledged, fetch what was missed; return
        how much that was."""
        self._watch.begin()
        self._catch_up.hold()
        proof = (
            {"session_key": session.session_key}
            if session.extended
            else {"password": self._password}
        )
        reply = self._ask(link, "login", self.login_data(session.chatid, proof))
        renewed = session_from(reply, session.chatid)
        with self.changed:
            self._session = renewed
            self._link = link
            self._own.begin(link, renewed.chatid)
            self.changed.notify_all()
        missed = Missed(0, 0)
        if session.extended:
            missed = self._catch_up.fetch(
                lambda action, data: self._ask(link, action, self.with_name(action, data)), renewed
            )
        self._catch_up.release()
        return missed

    def _ask(self, link: Link, action: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask as `request` does, for the reading thread: it goes on reading until its answer is
        there."""
        request, deadline = PendingRequest(action), Deadline(ANSWER_SECONDS)
        heard_before = link.heard_at
        request_id = self.pending.send(link, request, data)
        while not request.done.is_set():
            if self._closing:
                raise ConnectionLost("closed")
            if deadline.is_over():
                self.pending.forget(request_id)
                words = f"the server did not answer {action} within {ANSWER_SECONDS:g} s"
                # A server that says other things is there, and only this goes unanswered.
                raise (NoAnswer if link.heard_at > heard_before else ConnectionLost)(words)
            self._pump(link, 0.5)
        return request.data()


def _why_down(*, closed: bool) -> str:
    return "not connected" if closed else "the connection is down; it is tried again"


def _is_same(one: str, other: str) -> bool:
    return protocol.fold_chatid(one) == protocol.fold_chatid(other)
