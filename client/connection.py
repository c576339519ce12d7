"""A connection to a chat server for programs: logging in, talking with both handshakes, history,
rooms, and coming back.

Owns the session, the own messages that are not yet stored, and one reading thread ("chat-reader")
that takes in everything the server sends, answers the handshakes, and reconnects. Never prints and
knows no terminal. Every method may be called by any thread, and every method that waits has a
deadline.

    with Connection("127.0.0.1", 9876) as chat:
        chat.login("ada", "secret")
        chat.send("lobby", "Hello")
        for message in chat.messages():
            print(message.sender, message.content)
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Protocol

import protocol
from client.base.times import SleepWatch
from client.errors import (
    CannotConnect,
    ChatError,
    ConnectionLost,
    LoginRefused,
    NoAnswer,
    ProtocolBroken,
    ServerError,
)
from client.events import (
    Arrivals,
    Back,
    CountsDisagreed,
    Event,
    FileShared,
    LoggedOut,
    Lost,
    Message,
    ServerEvent,
    Trouble,
)
from client.network.first_contact import look
from client.network.link import Link, Trace, open_link
from client.network.tls import Trust, speaks_tls
from client.records import (
    Session,
    as_id,
    as_object,
    as_text,
    code_and_message,
    session_from,
)
from client.session.catch_up import CatchUp, Missed
from client.session.outgoing import SEND_SECONDS, Outgoing, OwnMessages, letters_between
from client.session.requests import ANSWER_SECONDS, Requests

CONNECT_SECONDS: Final = 10.0
SILENT_SECONDS: Final = 2.0
"""After so long without an answer to a login whoever waits is told."""
PROBE_SECONDS: Final = 3.0
HANG_UP_SECONDS: Final = 0.3
TLS_LOOK_SECONDS: Final = 1.0
IDLE_SECONDS: Final = 15.0
"""After this silence a ping goes out, and after as much again the connection counts as lost."""
PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds before each attempt to come back; the last one repeats."""
MAX_REMEMBERED: Final = 1_000
WAKE_SECONDS: Final = 3.0
"""After the machine has slept, a server that does not answer a ping within this counts as lost."""
READ_SECONDS: Final = 1.0
"""How long the reading thread waits for a packet before it looks at the clock."""

_ANSWERS: Final[Mapping[str, frozenset[str]]] = {
    request: frozenset(answers.split())
    for request, answers in {
        "login": "login_success login_fail",
        "register": "register_success register_fail",
        "logout": "logout_ack",
        "change_password": "password_changed",
        "get_messages": "messages_list",
        "file_send_init": "file_send_init",
        "file_send_fin": "file_send_fin",
        "file_cancel": "file_cancelled",
        "file_list_req": "file_list_req",
        "create_room": "room_created",
        "get_rooms": "rooms_list",
        "join_room": "room_joined",
        "leave_room": "room_left",
        "add_user_to_room": "user_added",
        "remove_user_from_room": "user_removed",
        "rename_room": "room_renamed",
        "delete_room": "room_deleted",
        "get_room_users": "room_users_list",
        "get_users": "users_list",
        "ping": "pong",
    }.items()
}


class Listener(Protocol):
    """Takes the packets of a transfer, in the reading thread: it must be quick and must not
    wait."""

    def wants(self, packet: Mapping[str, Any]) -> bool:
        """Whether this packet belongs to the transfer."""

    def take(self, packet: Mapping[str, Any]) -> None:
        """One packet that it wanted."""

    def lost(self, reason: str) -> None:
        """The connection is gone; nothing that was asked for will come."""


class _Waiting:
    """A request whose answer is still to come."""

    def __init__(self, action: str) -> None:
        self.action = action
        self.answers = _ANSWERS.get(action, frozenset())
        self.done = threading.Event()  # set once, when one of the two below has been filled
        self.packet: Mapping[str, Any] = {}
        self.error: ChatError | None = None

    def finish(self, packet: Mapping[str, Any]) -> None:
        self.packet = packet
        action = packet.get("action")
        if action in ("login_fail", "register_fail"):
            self.error = LoginRefused(*code_and_message(packet, str(action)))
        elif action == "error":
            self.error = ServerError(*code_and_message(packet, "error"))
        self.done.set()

    def fail(self, error: ChatError) -> None:
        self.error = error
        self.done.set()

    def data(self) -> Mapping[str, Any]:
        if self.error is not None:
            raise self.error
        return as_object(self.packet.get("data"))


# --- The connection -------------------------------------------------------------------------------


class Connection(Requests):
    """One user's connection to one server. Made without connecting; `connect`, `with` or `login`
    opens it.

    `timeout` is that of connecting, in seconds. `features` are the extras asked for at login.
    `trace` is called with the payload of each frame. With `reconnect` false a lost connection ends
    everything. With `watch_files` files that were put into rooms while the connection was down are
    told, too. With `tls` it is encrypted, and the server must show a certificate for `host` that
    this machine trusts, or one of those in `cafile` where given; `CannotConnect` is raised where
    that file can't be used.
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
        self._timeout = timeout
        self._trust = Trust(cafile) if tls else None
        self._features = tuple(features)
        self._reconnects = reconnect
        self._trace = trace
        self._pauses = tuple(pauses)
        self._idle_seconds = idle_seconds
        self.on_silence: Callable[[], None] | None = None
        """Called by who asks, where a question before the login goes unanswered for some
        seconds."""
        self._arrivals = Arrivals()
        self._numbers = itertools.count(1)
        self._changed = (
            threading.Condition()
        )  # guards everything below; notified when link, session or closing change
        self._link: Link | None = None
        self._reader: threading.Thread | None = None
        self._session: Session | None = None
        self._password: str | None = None  # kept only for servers that know no login by key
        self._last_chatid = ""  # whose the messages and marks below are
        self._pings_answered = False
        self._closing = False
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._own = OwnMessages(self._arrivals.put, self._changed, self._numbers)
        self._listeners: list[Listener] = []
        self._catch_up = CatchUp(self._arrivals.put, files=watch_files)
        self._sleep = SleepWatch(READ_SECONDS)
        # a silent server was asked whether it speaks something else, and it stayed silent
        self._looked = False
        # The rest belongs to the reading thread.
        self._answer_by: float | None = (
            None  # when a server that was asked after a sleep must have answered
        )
        self._received: OrderedDict[str, Message] = OrderedDict()  # by the server's transaction_id

    # --- Opening and closing ---

    def __enter__(self) -> Connection:  # noqa: PYI034 (Self needs Python 3.11)
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
        """Reach the server and make sure that it speaks our protocol; nothing where already
        connected.

        Raises `CannotConnect`. A server may end a connection that has not logged in for 30 s;
        `login` then opens it anew.
        """
        with self._changed:
            if self._live_link() is not None:
                return
            if self._closing or self._session is not None:
                raise ConnectionLost(
                    "not connected"
                    if self._closing
                    else "the connection is down; it is tried again"
                )
        if self._probe(self._begin()):
            return
        # It hung up without a word. Perhaps it knows the 24 packets only, and `ping` is none of
        # them: then the login will tell.
        link = self._begin()
        if not link.silent_for(HANG_UP_SECONDS):
            raise self._no_chat_server(ConnectionLost("it hung up without a word"))

    def _begin(self) -> Link:
        """Open a link, and start the thread that reads it."""
        with self._changed:
            before = self._reader
        if before is not None:
            before.join(CONNECT_SECONDS)  # it is clearing up after a link that has ended
        link = open_link(self.host, self.port, self._timeout, self._trace, self._trust)
        with self._changed:
            self._link = link
            self._reader = threading.Thread(
                target=self._read, args=(link,), name="chat-reader", daemon=True
            )
            self._reader.start()
        return link

    def _probe(self, link: Link) -> bool:
        """Make sure that a chat server answers; False where it hangs up without a word."""
        waiting = _Waiting("ping")
        try:
            self._push(waiting, link, {})
            if not waiting.done.wait(PROBE_SECONDS):
                self._looked = True
                other = look(self.host, self.port) if self._trust is None else None
                if other is not None:
                    link.close()
                    raise self._other_server(other)
                return (
                    True  # silent: perhaps a server that does not know `ping`; the login will tell
                )
            if isinstance(waiting.error, ConnectionLost):
                raise waiting.error
        except ConnectionLost as error:
            if link.heard_a_frame:
                raise CannotConnect(
                    f"{self.host} hung up: {error}.", "Try again in a while."
                ) from None
            if not link.heard_a_byte and not (
                self._trust is None and speaks_tls(self.host, self.port, TLS_LOOK_SECONDS)
            ):
                return False
            raise self._no_chat_server(error) from None
        if isinstance(waiting.error, ServerError) and waiting.error.code == "server_full":
            link.close()
            raise CannotConnect(
                f"The server is full: {waiting.error.message}.", "Try again in a while."
            )
        return True

    def close(self, grace_seconds: float = 0.0) -> None:
        """End the connection, after waiting up to `grace_seconds` for own messages to be stored.
        May be called twice."""
        deadline = time.monotonic() + grace_seconds
        with self._changed:
            self._changed.wait_for(
                lambda: not self._own or self._link is None, max(0.0, deadline - time.monotonic())
            )
            self._closing = True
            link, reader = self._link, self._reader
            self._changed.notify_all()
        if link is not None:
            link.flush(min(1.0, grace_seconds))
            link.close()
        self._arrivals.close()
        if reader is not None and reader is not threading.current_thread():
            reader.join(2.0)  # it may still be connecting; it ends by itself when that is over

    @property
    def session(self) -> Session | None:
        """Who is logged in; None before login and after the server has refused to take the session
        up again."""
        with self._changed:
            return self._session

    @property
    def online(self) -> bool:
        """Whether there is a connection right now."""
        with self._changed:
            return self._live_link() is not None

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
        with self._changed:
            return len(self._own)

    def wait_until_online(self, timeout: float) -> bool:
        """Wait until there is a connection, or none is going to come; True where there is one."""
        with self._changed:
            self._changed.wait_for(self._settled, timeout)
            return self._live_link() is not None

    def _settled(self) -> bool:
        return self._live_link() is not None or self._session is None or self._closing

    def _live_link(self) -> Link | None:
        """The link, unless it has ended and the reading thread is about to notice. The condition is
        held."""
        return self._link if self._link is not None and not self._link.ended else None

    # --- Accounts ---

    def register(self, chatid: str, password: str) -> None:
        """Make an account; logging in comes after. Raises `LoginRefused` where the server does not
        want to."""
        self.connect()
        self._ask_first("register", {"chatid": chatid, "password": password})

    def login(self, chatid: str, password: str, *, take_over: bool = False) -> Session:
        """Log in; `take_over` ends another connection of the same user. Raises `LoginRefused`, and
        never tries again by itself."""
        return self._begin_session(
            chatid, {"password": password, **({"take_over": True} if take_over else {})}
        )

    def resume(self, chatid: str, session_key: str) -> Session:
        """Take up a session that was not logged out, by its key; ends another connection of the
        same user. Raises as `login` does."""
        return self._begin_session(chatid, {"session_key": session_key})

    def _begin_session(self, chatid: str, proof: Mapping[str, Any]) -> Session:
        self.connect()
        with self._changed:
            if self._session is None and protocol.fold_chatid(
                self._last_chatid
            ) != protocol.fold_chatid(chatid):
                self._forget()
                self._last_chatid = chatid
        data: dict[str, Any] = {"chatid": chatid, **proof}
        if self._features:
            data["features"] = list(self._features)
        reply = self._ask_first("login", data)
        session = session_from(reply, chatid)
        with self._changed:
            link = self._live_link()
            if link is None:
                raise ConnectionLost("the connection was lost right after the login")
            self._session = session
            self._password = None if session.extended else proof.get("password")
            self._arrivals.reopen()
            self._own.begin(link, session.chatid)
            self._changed.notify_all()
        if session.extended:
            self._catch_up.start(self.request)
        return session

    def _ask_first(self, action: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """As `request`, for what may be the first question that is answered at all."""
        with self._changed:
            link = self._link
        try:
            return self.request(action, data)
        except ConnectionLost as error:
            if link is None or link.heard_a_frame:
                raise
            raise self._no_chat_server(error) from None

    def _no_chat_server(self, error: ConnectionLost) -> CannotConnect:
        if self._trust is None and speaks_tls(self.host, self.port):
            return CannotConnect(
                f"The server on {self.host} port {self.port} speaks TLS, and this client was started without it.",
                "Start it with --tls --cafile FILE, where FILE is the teacher's certificate file.",
            )
        other = look(self.host, self.port) if self._trust is None and not self._looked else None
        if other is not None:
            return self._other_server(other)
        if isinstance(error, NoAnswer):
            return CannotConnect(
                f"{self.host} port {self.port} takes connections, but does not answer as a chat server: {error}.",
                "Check that the port is the one the server's first screen shows, or try again in a while.",
            )
        return CannotConnect(
            f"What answers on {self.host} port {self.port} is no chat server: {error}.",
            "Check that the port is the one the server's first screen shows.",
        )

    def _other_server(self, name: str) -> CannotConnect:
        return CannotConnect(
            f"What answers on {self.host} port {self.port} is no chat server, but {name}.",
            "Check that the port is the one the server's first screen shows.",
        )

    def _forget(self) -> None:
        """Another user logs in: nothing of the one before is theirs. The condition is held."""
        self._catch_up.forget()
        self._own.forget(ConnectionLost("not sent: somebody else has logged in"))

    def logout(self) -> None:
        """End the session and its key; the connection stays, for another login."""
        self.request("logout")
        with self._changed:
            self._session = None
            self._password = None
            self._own.lost()

    def change_password(self, password: str, new_password: str) -> None:
        """Set a new password."""
        self.request("change_password", {"password": password, "new_password": new_password})

    # --- Talking ---

    def post(self, room_id: str, content: str) -> Outgoing:
        """Send a message without waiting; it is tried, also after reconnecting, until the server
        stores or refuses it."""
        if (
            not content
            or "\0" in content
            or any("\ud800" <= character <= "\udfff" for character in content)
        ):
            raise ServerError(
                "bad_packet",
                "a message needs at least one character, and none that is NUL or half a surrogate pair",
            )
        message = Outgoing(room_id, content)
        with self._changed:
            if self._closing or self._session is None:
                raise ConnectionLost("not logged in")
            self._catch_up.come(room_id)
            self._own.add(message)
        return message

    def send(self, room_id: str, content: str, *, timeout: float = SEND_SECONDS) -> Outgoing:
        """Send a message and wait until it is stored, which `message_id` and `timestamp` of the
        result prove.

        Raises `CountsDiffer` or `ServerError` where it was refused, `ConnectionLost` where nothing
        is known after `timeout` seconds: it is still tried then, and may be waited for again by
        what `post` returns.
        """
        return self.post(room_id, content).wait(timeout)

    def messages(self, timeout: float | None = None) -> Iterator[Message]:
        """Messages of others as they arrive, each once. Ends after `timeout` seconds without one,
        None = when closed.

        Raises `ConnectionLost` or `LoginRefused` where the session has ended otherwise. Other
        events are passed over.
        """
        for event in self.events(timeout):
            if isinstance(event, Message):
                yield event

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """All events as they come; ends as `messages` does."""
        while True:
            event = self.next_event(timeout)
            if event is None:
                return
            yield event

    def next_event(self, timeout: float | None = None) -> Event | None:
        """The next event; None after `timeout` seconds or when closed. Raises why the session
        ended, if it was not closed."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            # Short waits, so that Ctrl-C is heard on Windows too, where a lock can't be
            # interrupted.
            left = 0.5 if deadline is None else min(0.5, deadline - time.monotonic())
            event = self._arrivals.get(max(0.0, left))
            if event is not None:
                return event
            if self._arrivals.ended:
                error = self._arrivals.error
                if error is not None:
                    raise error
                return None
            if deadline is not None and time.monotonic() >= deadline:
                return None

    def tell(self, event: Event) -> None:
        """Put an event of one's own among those that come, behind all that have come."""
        self._arrivals.put(event)

    def trace_packets(self, trace: Trace | None) -> None:
        """From now on call `trace` with "sent" or "received" and the payload of each frame, in the
        threads that send and read: it must be quick. None ends it."""
        with self._changed:
            self._trace = trace
            if self._link is not None:
                self._link.trace = trace

    def ping(self) -> float:
        """How many seconds the server takes to answer."""
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

        While the connection is being made again it waits for that too. Raises `ServerError`
        (`LoginRefused` for login and register) and `ConnectionLost`. Not for the thread that reads,
        which would wait for itself.
        """
        assert threading.current_thread() is not self._reader, (
            "the reading thread can't wait for an answer"
        )
        deadline = time.monotonic() + timeout
        link = self._link_by(deadline)
        waiting = _Waiting(action)
        request_id = self._push(waiting, link, self._with_name(action, data))
        left = max(0.0, deadline - time.monotonic())
        if (
            self.on_silence is not None
            and self.session is None
            and left > SILENT_SECONDS
            and not waiting.done.wait(SILENT_SECONDS)
        ):
            self.on_silence()
        if not waiting.done.wait(max(0.0, deadline - time.monotonic())):
            with self._changed:
                self._waiting.pop(request_id, None)
            raise NoAnswer(f"the server did not answer {action} within {timeout:g} s")
        return waiting.data()

    def push(self, action: str, data: Mapping[str, Any], *, request_id: str | None = None) -> None:
        """Send a request without waiting; a `Listener` takes what comes. Raises
        `ConnectionLost`."""
        link = self._link_by(time.monotonic())
        top = {} if request_id is None else {"request_id": request_id}
        link.send(protocol.build_request(action, self._with_name(action, data), **top))

    def push_frame(self, frame: bytes) -> None:
        """Queue the frame of a chunk, behind everything that is more urgent. Raises
        `ConnectionLost`."""
        self._link_by(time.monotonic()).send(frame, bulk=True)

    def drop_chunks(self) -> None:
        """Forget the chunks that were pushed and have not gone out."""
        with self._changed:
            link = self._link
        if link is not None:
            link.drop_bulk()

    def add_listener(self, listener: Listener) -> None:
        """Give `listener` the packets that it wants, from now on."""
        with self._changed:
            self._listeners.append(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Give `listener` no more."""
        with self._changed:
            self._listeners.remove(listener)

    def _link_by(self, deadline: float) -> Link:
        with self._changed:
            self._changed.wait_for(self._settled, max(0.0, deadline - time.monotonic()))
            link = self._live_link()
            if link is None:
                raise ConnectionLost(
                    "not connected"
                    if self._session is None
                    else "the connection is down; it is tried again"
                )
            return link

    def _with_name(self, action: str, data: Mapping[str, Any] | None) -> dict[str, Any]:
        filled = dict(data or {})
        key = protocol.REQUESTS[action].identity
        session = self.session
        if key is not None and session is not None:
            filled.setdefault(key, session.chatid)
        return filled

    def _push(self, waiting: _Waiting, link: Link, data: Mapping[str, Any]) -> str:
        request_id = f"r{next(self._numbers)}"
        with self._changed:
            self._waiting[request_id] = waiting
            try:
                link.send(protocol.build_request(waiting.action, data, request_id=request_id))
            except ConnectionLost:
                self._waiting.pop(request_id, None)
                raise
        return request_id

    # --- The reading thread: in ---

    def _read(self, link: Link) -> None:
        at: Link | None = link
        try:
            while at is not None:
                at = self._read_until_lost(at)
        except Exception as error:  # the thread begins here: whoever waits must hear that it ends
            self._drop(f"the client failed: {error!r}")
            with self._changed:
                self._session = None
                self._changed.notify_all()
            self._arrivals.close(ConnectionLost(f"the client failed: {error!r}"))
            raise

    def _read_until_lost(self, link: Link) -> Link | None:
        """Take in what comes; returns the next link, or None where there is none to be."""
        try:
            while True:
                self._pump(link, READ_SECONDS)
        except ConnectionLost as error:
            reason = str(error)
            if isinstance(error, ProtocolBroken):
                self._arrivals.put(Trouble(reason))
        link.close(
            reason
        )  # before looking for a session: a login that comes later must find the link ended
        session = self.session
        self._drop(reason)
        link.dispose()
        if self._closing or session is None:
            self._arrivals.close(ConnectionLost(reason))
            return None
        if not self._reconnects:
            self._give_up(ConnectionLost(reason), reason)
            return None
        return self._come_back(session, reason)

    def _pump(self, link: Link, seconds: float) -> None:
        """Take in one packet, or let `seconds` pass; raises `ConnectionLost`."""
        payload = link.receive(seconds)
        if self._sleep.has_slept() and self._pings_answered:
            self._answer_by = time.monotonic() + WAKE_SECONDS
            self._push(_Waiting("ping"), link, {})
        if payload is not None:
            self._answer_by = None
            self._take_in(link, payload)
            return
        if self._answer_by is not None and time.monotonic() > self._answer_by:
            raise ConnectionLost("this machine slept, and the server does not answer any more")
        silent = time.monotonic() - link.heard_at
        if not self._pings_answered:
            return  # a server that does not know them; only the network can tell us then
        if silent > 2 * self._idle_seconds:
            raise ConnectionLost(f"no sign of life from the server for {silent:.0f} s")
        if silent < self._idle_seconds:
            return
        with self._changed:
            asked = any(waiting.action == "ping" for waiting in self._waiting.values())
        if not asked:
            self._push(_Waiting("ping"), link, {})

    def _take_in(self, link: Link, payload: bytes) -> None:
        try:
            packet = protocol.decode_packet(payload)
            protocol.check_reply(packet)
        except protocol.ProtocolError as error:
            self._arrivals.put(Trouble(error.message))
            return
        with self._changed:
            listeners = list(self._listeners)
        for listener in listeners:
            if listener.wants(packet):
                listener.take(packet)
                return
        handler = self._HANDLERS.get(packet["action"])
        if handler is None or not handler(self, link, packet):
            self._answer(packet)

    def _answer(self, packet: Mapping[str, Any]) -> None:
        """Find whose reply this is: by `request_id`, or, where the server repeats none, the oldest
        that fits."""
        action, original = packet["action"], packet.get("original_action")
        with self._changed:
            request_id = packet.get("request_id")
            if not isinstance(request_id, str):
                fits = (
                    name
                    for name, waiting in self._waiting.items()
                    if action in waiting.answers
                    or (action == "error" and original in (waiting.action, "unknown"))
                )
                request_id = next(fits, "")
            waiting = self._waiting.pop(request_id, None)
        if waiting is not None:
            self._pings_answered |= waiting.action == "ping"
            waiting.finish(packet)
        elif action == "error":
            self._arrivals.put(Trouble(as_text(packet.get("message"))))

    # --- The reading thread: messages of others ---

    def _on_receive_message(self, link: Link, packet: Mapping[str, Any]) -> bool:
        data = packet["data"]
        key, content = data["transaction_id"], data["content"]
        link.send(
            protocol.build_request(
                "character_count",
                {
                    "transaction_id": key,
                    "letter_frequencies": protocol.count_letters(content),
                    "original_action": "receive_message",
                },
            )
        )
        first = self._received.get(key)
        message = Message(
            data["room_id"],
            data["sender_chatid"],
            content,
            data["timestamp"],
            as_id(data.get("message_id")),
            corrected=first is not None,
            differences=() if first is None else letters_between(first.content, content),
        )
        self._received[key] = message
        while len(self._received) > MAX_REMEMBERED:
            self._received.popitem(last=False)
        if first is None:
            self._catch_up.hand_on(message)
        elif first.content != content:
            self._arrivals.put(message)
        return True

    def _on_confirm_count(self, link: Link, packet: Mapping[str, Any]) -> bool:
        key, confirmed = packet["data"]["transaction_id"], packet["data"]["confirm"]
        status, text = (
            ("success", "Action processed successfully.")
            if confirmed
            else ("error", "The letter counts differ.")
        )
        link.send(
            protocol.build_request("ack", {"transaction_id": key}, status=status, message=text)
        )
        message = self._received.get(key)
        if not confirmed and message is not None:
            self._arrivals.put(CountsDisagreed(message))
        return True

    def _on_receive_file(self, link: Link, packet: Mapping[str, Any]) -> bool:
        data = packet["data"]
        self._catch_up.hand_on_file(
            FileShared(
                data["room_id"],
                data["sender_chatid"],
                data["file_path"],
                data["file_size"],
                data["file_type"],
                data["timestamp"],
            )
        )
        return True

    def _on_event(self, link: Link, packet: Mapping[str, Any]) -> bool:
        data = packet["data"]
        self._arrivals.put(
            ServerEvent(
                data["type"],
                as_text(data.get("chatid")),
                as_text(data.get("room_id")),
                as_text(data.get("name")),
            )
        )
        return True

    def _on_own(self, link: Link, packet: Mapping[str, Any]) -> bool:
        with self._changed:
            return self._own.take(link, packet)

    _HANDLERS: Final[Mapping[str, Callable[[Connection, Link, Mapping[str, Any]], bool]]] = {
        "receive_message": _on_receive_message,
        "confirm_count": _on_confirm_count,
        "receive_file": _on_receive_file,
        "event": _on_event,
        "character_count": _on_own,
        "ack": _on_own,
        "error": _on_own,
    }

    # --- The reading thread: losing the connection and coming back ---

    def _drop(self, reason: str) -> None:
        """The connection is gone: tell everybody who waits for something from it."""
        with self._changed:
            if self._link is not None:
                self._link.close(reason)
            self._link = None
            waiting = list(self._waiting.values())
            self._waiting.clear()
            listeners = list(self._listeners)
            self._own.lost()
            self._changed.notify_all()
        for item in waiting:
            item.fail(ConnectionLost(reason))
        for listener in listeners:
            listener.lost(reason)
        self._received.clear()

    def _give_up(self, error: ChatError, reason: str) -> None:
        with self._changed:
            self._session = None
            self._changed.notify_all()
        self._arrivals.put(LoggedOut(reason))
        self._arrivals.close(error)

    def _come_back(self, session: Session, reason: str) -> Link | None:
        """Connect and take the session up again, with growing pauses; None where the user closes or
        the server refuses."""
        for attempt in itertools.count(1):
            pause = self._pauses[min(attempt, len(self._pauses)) - 1]
            self._arrivals.put(Lost(reason, attempt, pause))
            if not self._pause(pause):
                return None
            link: Link | None = None
            try:
                link = open_link(self.host, self.port, self._timeout, self._trace, self._trust)
                if self._closing:
                    link.dispose()
                    return None
                missed = self._take_up(link, session)
                self._arrivals.put(Back(missed.messages, missed.files))
                return link
            except LoginRefused as error:
                assert link is not None
                self._catch_up.broke()
                self._drop(error.message)
                link.dispose()
                self._give_up(
                    error, f"the server does not take the session up again: {error.message}"
                )
                return None
            except ChatError as error:
                reason = str(error)
                self._catch_up.broke()
                self._drop(reason)
                if link is not None:
                    link.dispose()
        raise AssertionError("unreachable")

    def _pause(self, seconds: float) -> bool:
        """Wait before the next attempt, no longer where the machine has slept meanwhile; False
        where the user closes."""
        deadline = time.monotonic() + seconds
        self._sleep.has_slept()
        while (left := deadline - time.monotonic()) > 0 and not self._sleep.has_slept():
            with self._changed:
                if self._changed.wait_for(lambda: self._closing, min(left, READ_SECONDS)):
                    return False
        return not self._closing

    def _take_up(self, link: Link, session: Session) -> Missed:
        """Log in on a new link, send again what was not acknowledged, fetch what was missed;
        returns how much that was."""
        self._answer_by = None
        self._sleep.has_slept()
        self._catch_up.hold()
        data: dict[str, Any] = {"chatid": session.chatid}
        if session.extended:
            data["session_key"] = session.session_key
        else:
            data["password"] = self._password
        if self._features:
            data["features"] = list(self._features)
        renewed = session_from(self._ask(link, "login", data), session.chatid)
        with self._changed:
            self._session = renewed
            self._link = link
            self._own.begin(link, renewed.chatid)
            self._changed.notify_all()
        missed = Missed(0, 0)
        if session.extended:
            missed = self._catch_up.fetch(
                lambda action, data: self._ask(link, action, self._with_name(action, data)), renewed
            )
        self._catch_up.release()
        return missed

    def _ask(self, link: Link, action: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """As `request`, for the reading thread itself: it goes on reading until its answer is
        there."""
        waiting = _Waiting(action)
        deadline = time.monotonic() + ANSWER_SECONDS
        self._push(waiting, link, data)
        while not waiting.done.is_set():
            if time.monotonic() > deadline or self._closing:
                raise ConnectionLost(
                    f"the server did not answer {action} within {ANSWER_SECONDS:g} s"
                )
            self._pump(link, 0.5)
        return waiting.data()
