"""A connection to a chat server for programs: logging in, talking with both handshakes, history,
rooms, and coming back.

Owns the public face: every method that a program calls, with its deadline. The thread that reads
and comes back is `client.session.reader`'s. Never prints and knows no terminal. Every method may be
called by any thread.

    with Connection("127.0.0.1", 9876) as chat:
        chat.login("ada", "secret")
        chat.send("lobby", "Hello")
        for message in chat.messages():
            print(message.sender, message.content)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final

import protocol
from client.base.deadline import Deadline
from client.base.waiting import SLICE_SECONDS, wait_in_slices
from client.errors import CannotConnect, ConnectionLost, NoAnswer, ServerError
from client.events import Arrivals, CatchUpFailed, Event, Message
from client.network.dialing import share
from client.network.first_contact import (
    hung_up,
    identify_service,
    needs_tls,
    not_a_chat_server,
    other_service,
    server_full,
)
from client.network.link import Link, Trace
from client.network.tls import LOOK_SECONDS, Trust, speaks_tls
from client.records import Session, session_from
from client.session.catch_up import CatchUp
from client.session.outgoing import SEND_SECONDS, Outgoing
from client.session.pending_requests import PendingRequest
from client.session.reader import ConnectionOptions, PacketConsumer, Reader
from client.session.requests import ANSWER_SECONDS, Requests

CONNECT_SECONDS: Final = 10.0
SILENT_SECONDS: Final = 2.0
"""After so long without an answer to a login the user is told."""
PROBE_SECONDS: Final = 3.0
HANG_UP_SECONDS: Final = 0.3
TLS_LOOK_SECONDS: Final = 1.0
IDLE_SECONDS: Final = 15.0
"""After this silence a ping goes out, and after as much again the connection counts as lost."""
PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds before each attempt to come back; the last one repeats."""


class Connection(Requests):
    """One user's connection to one server. Made without connecting; `connect`, `with` or `login`
    opens it.

    `timeout` is that of connecting, in seconds: for the name, all addresses, TLS, and the first
    packet together. `features` are the extras asked for at login. `trace` is called with the
    payload of each frame. With `reconnect` false a lost connection ends everything. With
    `watch_files` files that were put into rooms while the connection was down are told, too. With
    `tls` it is encrypted, and the server must show a certificate for `host` that this machine
    trusts, or one of those in `cafile` where given; `CannotConnect` is raised where that file can't
    be used.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = protocol.DEFAULT_PORT,
        *,
        timeout: float = CONNECT_SECONDS,
        features: Sequence[str] = ("events",),
        reconnect: bool = True,
        trace: Trace | None = None,
        pauses: Sequence[float] = PAUSES,
        idle_seconds: float = IDLE_SECONDS,
        tls: bool = False,
        cafile: str | None = None,
        watch_files: bool = False,
    ) -> None:
        if cafile is not None and not tls:
            raise ValueError("cafile is given, but not tls: nothing would be encrypted")
        self.host = host
        self.port = port
        self._trust = Trust(cafile) if tls else None
        self.on_silence: Callable[[], None] | None = None
        """Called by the thread that asks, where a question before the login goes unanswered for
        some seconds."""
        self._arrivals = Arrivals()
        self._catch_up = CatchUp(self._arrivals.put, files=watch_files)
        options = ConnectionOptions(
            host,
            port,
            timeout,
            self._trust,
            tuple(features),
            reconnect,
            tuple(pauses),
            idle_seconds,
        )
        self._reader = Reader(options, self._arrivals, self._catch_up, trace)
        # A silent server was asked whether it speaks something else, and it stayed silent.
        self._looked = False

    # --- Opening and closing ---

    def __enter__(self) -> Connection:
        self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(grace_seconds=5.0 if kind is None else 0.0)

    def connect(self) -> None:
        """Reach the server and make sure that it speaks our protocol; do nothing where already
        connected.

        Raise `CannotConnect`. A server may end a connection that has not logged in for 30 s;
        `login` then opens it anew.
        """
        deadline = self._time_to_connect()
        if not self._reader.needs_link():
            return
        if self._probe(self._reader.begin(deadline), deadline):
            return
        # It hung up without a word. Perhaps it knows the 24 packets only, and `ping` is none of
        # them: then the login will tell.
        link = self._reader.begin(deadline)
        if not link.silent_for(deadline.within(HANG_UP_SECONDS).left()):
            raise self._no_chat_server(ConnectionLost("it hung up without a word"), deadline)

    def _time_to_connect(self) -> Deadline:
        """Return the deadline for connecting, everything included: the name, all its addresses,
        TLS, and the looks at who answers."""
        return Deadline(self._reader.options.timeout)

    def _probe(self, link: Link, deadline: Deadline) -> bool:
        """Make sure that a chat server answers; return False where it hangs up without a word. Half
        of the time is kept for what comes behind."""
        request = PendingRequest("ping")
        try:
            self._reader.pending.send(link, request, {})
            if not wait_in_slices(
                request.done.wait, share(deadline, 2).within(PROBE_SECONDS).left()
            ):
                return self._is_silent_chat_server(link, deadline)
            if isinstance(request.error, ConnectionLost):
                raise request.error
        except ConnectionLost as error:
            if link.heard_a_frame:
                raise hung_up(self.host, error) from None
            if not link.heard_a_byte and not (
                self._trust is None
                and speaks_tls(self.host, self.port, deadline.within(TLS_LOOK_SECONDS))
            ):
                return False
            raise self._no_chat_server(error, deadline) from None
        if (
            isinstance(request.error, ServerError)
            and request.error.code == protocol.ErrorCode.SERVER_FULL
        ):
            link.close()
            raise server_full(request.error.message)
        return True

    def _is_silent_chat_server(self, link: Link, deadline: Deadline) -> bool:
        """Return True: a silent server may be one that does not know `ping`, and the login will
        tell. Raise `CannotConnect` where it turns out to be another service."""
        self._looked = True
        service = None
        if self._trust is None:
            service = identify_service(self.host, self.port, share(deadline, 2))
        if service is not None:
            link.close()
            raise other_service(self.host, self.port, service)
        return True

    def _no_chat_server(self, error: ConnectionLost, deadline: Deadline) -> CannotConnect:
        """Return, after a look at who answers there for as long as there is time, the error that
        says so."""
        if self._trust is None:
            if speaks_tls(self.host, self.port, deadline.within(LOOK_SECONDS)):
                return needs_tls(self.host, self.port)
            service = None if self._looked else identify_service(self.host, self.port, deadline)
            if service is not None:
                return other_service(self.host, self.port, service)
        return not_a_chat_server(self.host, self.port, error)

    def close(self, grace_seconds: float = 0.0) -> None:
        """End the connection, after waiting up to `grace_seconds` for own messages to be stored.
        May be called twice."""
        self._reader.close(grace_seconds)

    @property
    def session(self) -> Session | None:
        """Who is logged in; None before login and after the server has refused to take the session
        up again."""
        return self._reader.session

    @property
    def online(self) -> bool:
        """Whether there is a connection right now."""
        return self._reader.online

    @property
    def closed(self) -> bool:
        """Whether it was closed by the user, and every event has been taken."""
        return self._arrivals.ended and self._arrivals.error is None

    @property
    def encrypted(self) -> bool:
        """Whether what is sent can't be read on the way."""
        return self._trust is not None

    @property
    def pending(self) -> int:
        """How many own messages are not yet stored or refused."""
        return self._reader.unfinished

    def stop_sending(self) -> tuple[int, int]:
        """Send no own message any more. Return how many of them were not stored for certain, and of
        how many more the server had all it needs to store them but has not said so."""
        return self._reader.stop_sending()

    def wait_until_online(self, timeout: float) -> bool:
        """Wait until there is a connection, or none is going to come; return whether there is
        one."""
        return self._reader.wait_until_online(timeout)

    # --- Accounts ---

    def register(self, chatid: str, password: str) -> None:
        """Make an account; logging in comes after. Raise `LoginRefused` where the server does not
        want to."""
        self.connect()
        self._ask_first("register", {"chatid": chatid, "password": password})

    def login(self, chatid: str, password: str, *, take_over: bool = False) -> Session:
        """Log in; `take_over` ends another connection of the same user. Raise `LoginRefused`, and
        never try again by itself."""
        return self._begin_session(
            chatid, {"password": password, **({"take_over": True} if take_over else {})}
        )

    def resume(self, chatid: str, session_key: str) -> Session:
        """Take up a session that was not logged out, by its key; ends another connection of the
        same user. Raise as `login` does."""
        return self._begin_session(chatid, {"session_key": session_key})

    def _begin_session(self, chatid: str, proof: Mapping[str, Any]) -> Session:
        self.connect()
        self._reader.expect(chatid)
        reply = self._ask_first("login", self._reader.login_data(chatid, proof))
        session = session_from(reply, chatid)
        self._reader.begin_session(session, proof.get("password"))
        if session.extended:
            problem = self._catch_up.start(self.request)
            if problem:
                self._arrivals.put(CatchUpFailed(problem))
        return session

    def _ask_first(self, action: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask as `request` does, what may be the first question that is answered at all."""
        link = self._reader.link
        try:
            return self.request(action, data)
        except ConnectionLost as error:
            if link is None or link.heard_a_frame:
                raise
            raise self._no_chat_server(error, self._time_to_connect()) from None

    def logout(self) -> None:
        """End the session and its key; the connection stays, for another login."""
        self.request("logout")
        self._reader.end_session()

    def change_password(self, password: str, new_password: str) -> None:
        """Set a new password."""
        self.request("change_password", {"password": password, "new_password": new_password})

    # --- Talking ---

    def post(self, room_id: str, content: str, *, announce: bool = False) -> Outgoing:
        """Send a message without waiting; it is tried, also after reconnecting, until the server
        stores or refuses it. `announce` is for teachers: clients show it prominently."""
        if (
            not content
            or "\0" in content
            or any("\ud800" <= character <= "\udfff" for character in content)
        ):
            raise ServerError(
                protocol.ErrorCode.BAD_PACKET,
                "a message needs at least one character, and none that is NUL or half a surrogate "
                "pair",
            )
        message = Outgoing(room_id, content, announce=announce)
        self._reader.post(message)
        return message

    def send(self, room_id: str, content: str, *, timeout: float = SEND_SECONDS) -> Outgoing:
        """Send a message and wait until it is stored, which `message_id` and `timestamp` of the
        result prove.

        Raise `CountsDiffer` or `ServerError` where it was refused, `ConnectionLost` where nothing
        is known after `timeout` seconds: it is still tried then, and may be waited for again by
        what `post` returns.
        """
        return self.post(room_id, content).wait(timeout)

    def messages(self, timeout: float | None = None) -> Iterator[Message]:
        """Yield messages of others as they arrive, each once. Ends after `timeout` seconds without
        one, None = when closed.

        Raise `ConnectionLost` or `LoginRefused` where the session has ended otherwise. Other
        events are passed over.
        """
        for event in self.events(timeout):
            if isinstance(event, Message):
                yield event

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """Yield all events as they come; ends as `messages` does."""
        while True:
            event = self.next_event(timeout)
            if event is None:
                return
            yield event

    def next_event(self, timeout: float | None = None) -> Event | None:
        """Return the next event; None after `timeout` seconds or when closed. Raise why the session
        ended, if it was not closed."""
        deadline = Deadline(timeout)
        while True:
            event = self._arrivals.get(min(SLICE_SECONDS, deadline.left()))
            if event is not None:
                return event
            if self._arrivals.ended:
                error = self._arrivals.error
                if error is not None:
                    raise error
                return None
            if deadline.is_over():
                return None

    def tell(self, event: Event) -> None:
        """Put an event of one's own among those that come, behind all that have come."""
        self._arrivals.put(event)

    def trace_packets(self, trace: Trace | None) -> None:
        """Call `trace` from now on with "sent" or "received" and the payload of each frame, in the
        threads that send and read: it must be quick. None ends it."""
        self._reader.trace_packets(trace)

    def ping(self) -> float:
        """Return how many seconds the server takes to answer."""
        begin = time.monotonic()
        self.request("ping")
        return time.monotonic() - begin

    def typing(self, room_id: str) -> None:
        """Tell the room that we are typing; only where the server has granted the feature."""
        self.push("typing", {"room_id": room_id})

    def join_room(self, room_id: str) -> None:
        """Have the messages of an open room delivered (again)."""
        super().join_room(room_id)
        self._catch_up.come(room_id)

    def leave_room(self, room_id: str) -> None:
        """End delivery of an open room, or membership of a private one."""
        super().leave_room(room_id)
        self._catch_up.leave(room_id)

    # --- Requests ---

    def request(
        self, action: str, data: Mapping[str, Any] | None = None, *, timeout: float = ANSWER_SECONDS
    ) -> Mapping[str, Any]:
        """Send any request and wait for its reply's `data`; the user's name is filled in.

        While the connection is being made again it waits for that too. Raise `ServerError`
        (`LoginRefused` for login and register) and `ConnectionLost`. Not for the thread that reads,
        which would wait for itself.
        """
        assert not self._reader.is_this_thread, "the reading thread can't wait for an answer"
        deadline = Deadline(timeout)
        link = self._reader.link_by(deadline)
        request = PendingRequest(action)
        request_id = self._reader.pending.send(link, request, self._reader.with_name(action, data))
        if (
            self.on_silence is not None
            and self.session is None
            and deadline.left() > SILENT_SECONDS
            and not wait_in_slices(request.done.wait, SILENT_SECONDS)
        ):
            self.on_silence()
        if not wait_in_slices(request.done.wait, deadline.left()):
            self._reader.pending.forget(request_id)
            raise NoAnswer(f"the server did not answer {action} within {timeout:g} s")
        return request.data()

    def push(self, action: str, data: Mapping[str, Any], *, request_id: str | None = None) -> None:
        """Send a request without waiting; a `PacketConsumer` takes what comes. Raise
        `ConnectionLost`."""
        link = self._reader.link_by(Deadline(0))
        top = {} if request_id is None else {"request_id": request_id}
        link.send(protocol.build_request(action, self._reader.with_name(action, data), **top))

    def push_frame(self, frame: bytes) -> None:
        """Queue the frame of a chunk, behind everything that is more urgent. Raise
        `ConnectionLost`."""
        self._reader.link_by(Deadline(0)).send(frame, bulk=True)

    def drop_chunks(self) -> None:
        """Forget the chunks that were pushed and have not gone out."""
        link = self._reader.link
        if link is not None:
            link.drop_bulk()

    def add_consumer(self, consumer: PacketConsumer) -> None:
        """Give `consumer` the packets that it wants, from now on."""
        self._reader.add_consumer(consumer)

    def remove_consumer(self, consumer: PacketConsumer) -> None:
        """Give `consumer` no more."""
        self._reader.remove_consumer(consumer)
