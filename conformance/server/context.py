"""How a case is written, and all that a case may use.

Owns the registry of cases, and the `Bench` that one case is given: names, users, rooms, texts,
deadlines and verdicts. Knows the protocol as far as many cases need it. Never decides what to run
next and never prints. One thread runs a case.

A case is a function in a module of `conformance/server/cases/`; it passes by returning:

    from conformance.server.context import Bench, case

    PLACE = 25  # modules run in the order of PLACE, then of their names

    @case(rules=["R-MSG-5"], level="seed", title="a message that was not confirmed reaches nobody")
    def not_confirmed(bench: Bench) -> None:
        sender, hearer = bench.users(2)            # given: where no login is possible, the case is NOT REACHED
        room = bench.room_id()
        dropped, kept = bench.text(), bench.text()
        opened = sender.ask("send_message", {"room_id": room, "content": dropped}, want="character_count")
        tid = bench.get(opened, "data.transaction_id", str)
        ack = sender.ask("confirm_count", {"transaction_id": tid, "confirm": False}, want="ack")
        bench.equal(ack.get("status"), "error", "`status` of the ack")
        sender.say(room, kept)                     # given: a whole handshake of the sender
        heard = hearer.hear(room)                  # the next message of that room: must be the later one
        bench.equal(heard["data"]["content"], kept, "the next message in the room")

Its id is `MODULE.FUNCTION` (`messages.not_confirmed`). What fails is a FAIL of `rules[0]`, unless a
rule is named by `rule=` or around it by `with bench.rule("R-MSG-4"):`. Inside `with bench.given("a
private room"):` every failure is NOT REACHED. The helpers `account`, `user`, `users`, `say`, `need`
are such preconditions by themselves; `ask`, `hear`, `get`, `equal`, `check`, `refused` are
assertions. Never index into a packet that was not looked at with `get`: a `KeyError` is a KIT
ERROR. Extensions: `@case(..., level="full", offers="create_room")` makes the case NOT OFFERED where
the server does not know the action (see `Bench.offers` for keys and features).
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import string
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar, final

from conformance.rules import RULES
from conformance.server.process import ServerCommand
from conformance.verdicts import LEVELS
from conformance.wire import (
    BrokenFrame,
    Closed,
    Packet,
    Refused,
    Silence,
    Transcript,
    Wire,
    WireProblem,
    shown,
)

T = TypeVar("T")

FUTURE = "2100-01-01T00:00:00Z"
"""A `from_time` that no message has reached."""
PAST = "2000-01-01T00:00:00Z"
"""A `from_time` before every message."""
GIVE_UP_AFTER = 3
"""A precondition that failed so often in a row, and never held since, is not waited for again."""
HASHING = ("login", "register", "change_password")
"""Requests whose replies may take three times as long as others: passwords are hashed for them, and
failures delayed (R-LIM-9)."""
PATIENCE_SECONDS = 5.0
"""The longest pause that an error `rate_limited` may ask for."""

REPLIES: dict[str, tuple[str, ...]] = {
    "login": ("login_success", "login_fail"),
    "register": ("register_success", "register_fail"),
    "ping": ("pong",),
    "logout": ("logout_ack",),
    "change_password": ("password_changed",),
    "send_message": ("character_count", "ack"),
    "character_count": ("confirm_count",),
    "confirm_count": ("ack",),
    "get_messages": ("messages_list",),
    "file_send_init": ("file_send_init",),
    "file_send_data": ("file_send_data",),
    "file_send_fin": ("file_send_fin",),
    "file_cancel": ("file_cancelled",),
    "file_list_req": ("file_list_req",),
    "file_down_req": ("file_down_meta",),
    "create_room": ("room_created",),
    "get_rooms": ("rooms_list",),
    "join_room": ("room_joined",),
    "leave_room": ("room_left",),
    "add_user_to_room": ("user_added",),
    "remove_user_from_room": ("user_removed",),
    "rename_room": ("room_renamed",),
    "delete_room": ("room_deleted",),
    "get_room_users": ("room_users_list",),
    "get_users": ("users_list",),
}
"""By action of a request: the actions of its reply, besides `error`."""


# --- Cases ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One case: what it looks at and the function that does. See `case` for the fields."""

    id: str
    rules: tuple[str, ...]
    level: str
    title: str
    offers: tuple[str, ...]
    body: Callable[[Bench], None]
    early: Callable[[Bench], Any] | None = None
    gate: bool = False
    last: bool = False


REGISTRY: dict[str, Case] = {}
"""Every case by its id, filled by `@case` when the modules of `conformance.server.cases` are imported."""


def case(
    *,
    rules: Sequence[str],
    title: str,
    level: str = "seed",
    offers: str | Sequence[str] = (),
    early: Callable[[Bench], Any] | None = None,
    gate: bool = False,
    last: bool = False,
) -> Callable[[Callable[[Bench], None]], Callable[[Bench], None]]:
    """Register a function as the case `MODULE.FUNCTION`.

    `rules`: all that hold when it passes, the one that it is about first. `title`: what is shown,
    as a fact that should be true. `level`: "seed", "full" or "robust". `offers`: what the server
    must offer, else NOT OFFERED (see `Bench.offers`). `early`: is called with the same bench when
    the run begins, for what takes long (a connection that says nothing for 30 s); what it returns
    is `bench.early` in the body, which then runs after all cases without `early`. `gate`: where
    this case fails, the run goes no further. `last`: it runs behind all others, for what ends the
    server and every connection with it.
    """
    unknown = [rule_id for rule_id in rules if rule_id not in RULES]
    if unknown or not rules or level not in LEVELS:
        raise ValueError(
            f"a case needs rules of docs/PROTOCOL.md and a level of {LEVELS}: {unknown or level!r} ({title})"
        )

    def register(body: Callable[[Bench], None]) -> Callable[[Bench], None]:
        name = f"{body.__module__.rpartition('.')[2]}.{body.__name__}"
        if (
            name in REGISTRY
            and REGISTRY[name].body.__module__ == body.__module__
            and REGISTRY[name].title != title
        ):
            raise ValueError(f"two cases are called {name}")
        wanted = (offers,) if isinstance(offers, str) else tuple(offers)
        REGISTRY[name] = Case(name, tuple(rules), level, title, wanted, body, early, gate, last)
        return body

    return register


# --- How a case ends ------------------------------------------------------------------------------


class Ending(Exception):
    """A case ends here; which of the subclasses says how."""

    def __init__(self, expected: str, came: str, rule: str = "") -> None:
        super().__init__(f"expected {expected}; {came}")
        self.expected = expected
        self.came = came
        self.rule = rule


class Failed(Ending):
    """The rule does not hold."""


class NotReached(Ending):
    """What the case needs was not to be had."""


class NotOffered(Ending):
    """The server does not know what the case is about."""


# --- The peer -------------------------------------------------------------------------------------


@dataclass
class Account:
    """A name and a password that the server knows; `is_given` says that it came from
    `--account`."""

    chatid: str
    password: str
    is_given: bool = False


@dataclass
class Target:
    """The server that is graded, and what was found out about it so far; one for a run.

    `way` is how accounts come about: "" (not known yet), "register", "first-login" or "none".
    `idle` are users who are logged in and free for the next case. `process` is the server's process
    where the kit started it (`--start-cmd`), else None. `tag` ends every name of this run, so that
    a second run against the same server, with the same seed, does not meet what the first one left.
    """

    host: str
    port: int
    timeout: float = 5.0
    accounts: list[Account] = field(default_factory=list)
    tag: str = ""
    process: ServerCommand | None = None
    way: str = ""
    idle: list[User] = field(default_factory=list)
    offered: dict[str, bool] = field(default_factory=dict)
    login_data: dict[str, Any] = field(default_factory=dict)
    """`data` of the first `login_success` of the run: says which limits the server announces."""
    troubles: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    probe_room: str = ""

    def __post_init__(self) -> None:
        self.has_given = bool(self.accounts)  # which are taken out one by one

    def note(self, text: str) -> None:
        """Put a sentence into the report, once."""
        if text not in self.notes:
            self.notes.append(text)


# --- Users ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """A message that was stored: `ack` is the packet; `message_id` is None where the server does
    not tell it."""

    room_id: str
    content: str
    transaction_id: str
    ack: Packet
    message_id: int | None
    timestamp: str | None


@final
class User:
    """One connection and who is logged in on it.

    `wire` is the connection (see `conformance.wire.Wire`) for everything that is not a request with
    one reply. `login_success` is the packet of the login, whose `data` is an object at least.
    Packets that come by themselves wait aside until `hear` or `wire.expect` asks for them.
    """

    def __init__(self, bench: Bench, wire: Wire, account: Account) -> None:
        self.bench = bench
        self.wire = wire
        self.account = account
        self.login_success: Packet = {}
        self.is_on = False
        """Whether the last login succeeded and no logout did."""
        self.is_own = False
        """Whether this user is for one case only."""
        self.last_room = "lobby"

    @property
    def chatid(self) -> str:
        """The name of the account, as it was registered."""
        return self.account.chatid

    @property
    def session_key(self) -> str:
        """The key of the last login, "" where the server gave none."""
        key = data_of(self.login_success).get("session_key")
        return key if isinstance(key, str) else ""

    def send(self, action: str, data: Packet | None = None, **beside: Any) -> None:
        """Send a request without waiting; `chatid` (`chat_id` in file packets) is put in where
        `data` has neither."""
        self.wire.send(self.packet(action, data, **beside))

    def packet(self, action: str, data: Packet | None = None, **beside: Any) -> Packet:
        """The packet that `send` would send; `beside` are keys beside `data`, as `request_id`."""
        filled = dict(data or {})
        if action not in (
            "character_count",
            "confirm_count",
            "ack",
            "ping",
        ) and not filled.keys() & {"chatid", "chat_id"}:
            filled["chat_id" if action.startswith("file_") else "chatid"] = self.chatid
        if isinstance(filled.get("room_id"), str):
            self.last_room = filled["room_id"]
        return {"action": action, "data": filled, **beside}

    def request(
        self,
        action: str,
        data: Packet | None = None,
        *,
        timeout: float | None = None,
        **beside: Any,
    ) -> Packet:
        """Send a request and return its reply, whatever it is; an `error` is a reply too. Waits as
        `rate_limited` asks it to."""
        for _ in range(5):
            self.send(action, data, **beside)
            reply = self.reply(action, timeout=timeout)
            if reply.get("code") != "rate_limited":
                break
            self.wire.transcript.note("asked to wait", self.wire.who)
            time.sleep(_pause(reply))
        return reply

    def reply(self, action: str, *, timeout: float | None = None) -> Packet:
        """The next reply to a request of this action that was sent, or the next `error`; waits
        longer where a password is hashed."""
        actions = (*REPLIES[action], "error")
        if timeout is None and action in HASHING:
            timeout = 3 * self.bench.target.timeout
        what = "a reply to `" + action + "`: " + " or ".join(f"`{each}`" for each in actions)
        return self.wire.receive_where(
            lambda packet: packet.get("action") in actions, what, timeout
        )

    def ask(
        self,
        action: str,
        data: Packet | None = None,
        *,
        want: str = "",
        rule: str = "",
        timeout: float | None = None,
        **beside: Any,
    ) -> Packet:
        """Send a request; its reply must have the action `want` (by default the usual one), else
        the rule fails."""
        wanted = want or REPLIES[action][0]
        with self.bench.rule(rule):
            reply = self.request(action, data, timeout=timeout, **beside)
            if reply.get("action") != wanted:
                self.bench.fail(
                    f"`{wanted}` as the reply to `{action}`", f"this came: {shown(reply)}"
                )
        return reply

    def login(self, **data: Any) -> Packet:
        """Send `login` and return the reply; `password` is the account's unless `password` or
        `session_key` is given."""
        if not data.keys() & {"password", "session_key"}:
            data["password"] = self.account.password
        reply = self.request("login", {"chatid": self.chatid, **data})
        if reply.get("action") == "login_success":
            known = data_of(reply)
            self.login_success, self.is_on = {**reply, "data": known}, True
            if not self.bench.target.login_data:
                self.bench.target.login_data.update(known)
        return reply

    def say(self, room_id: str, content: str, **data: Any) -> Said:
        """Send a message, confirm it and take the ack (a precondition: where that is impossible,
        NOT REACHED)."""
        with self.bench.given("a message that is sent, confirmed and acknowledged", remember="say"):
            opened = self.ask(
                "send_message",
                {"room_id": room_id, "content": content, **data},
                want="character_count",
            )
            tid = self.bench.get(opened, "data.transaction_id", str)
            return self.confirm(room_id, content, tid)

    def confirm(self, room_id: str, content: str, transaction_id: str) -> Said:
        """Confirm an open transaction and take its ack, which must be a success."""
        ack = self.ask(
            "confirm_count", {"transaction_id": transaction_id, "confirm": True}, want="ack"
        )
        self.bench.equal(ack.get("status"), "success", "`status` of the `ack`")
        data = data_of(ack)
        message_id, timestamp = data.get("message_id"), data.get("timestamp")
        return Said(
            room_id,
            content,
            transaction_id,
            ack,
            message_id
            if isinstance(message_id, int) and not isinstance(message_id, bool)
            else None,
            timestamp if isinstance(timestamp, str) else None,
        )

    def hear(self, room_id: str, *, rule: str = "", timeout: float | None = None) -> Packet:
        """The next `receive_message` of this room; `data` is a dict with string `content`,
        `sender_chatid`, `transaction_id`."""

        def here(packet: Packet) -> bool:
            data = packet.get("data")
            return (
                packet.get("action") == "receive_message"
                and isinstance(data, dict)
                and data.get("room_id") == room_id
            )

        with self.bench.rule(rule):
            packet = self.wire.receive_where(here, f"`receive_message` in {room_id}", timeout)
            for key in ("content", "sender_chatid", "transaction_id"):
                self.bench.get(packet, f"data.{key}", str)
        return packet

    def hear_this(self, room_id: str, content: str, *, rule: str = "") -> Packet:
        """The next `receive_message` of this room, which must have this content."""
        with self.bench.rule(rule):
            packet = self.hear(room_id)
            self.bench.equal(
                packet["data"]["content"],
                content,
                "`content` of the next `receive_message` in the room",
            )
        return packet

    def count_back(self, received: Packet, counts: dict[str, Any] | None = None) -> Packet:
        """Answer a `receive_message` with its letters (or other counts) and return the reply."""
        data = received["data"]
        frequencies = letters(data["content"]) if counts is None else counts
        return self.request(
            "character_count",
            {
                "transaction_id": data["transaction_id"],
                "letter_frequencies": frequencies,
                "original_action": "receive_message",
            },
        )

    def acknowledge(self, received: Packet, status: str = "success") -> None:
        """Send the `ack` of a `receive_message`; it has no reply."""
        data = {"transaction_id": received["data"]["transaction_id"]}
        self.send("ack", data, status=status, message="Action processed successfully.")

    def history(self, room_id: str, **data: Any) -> list[Packet]:
        """The messages of a room, oldest first, by one `get_messages` (from long ago unless `data`
        says otherwise); an assertion."""
        asked = {"room_id": room_id, **(data or {"from_time": PAST})}
        reply = self.ask("get_messages", asked, want="messages_list")
        messages: list[Packet] = self.bench.get(reply, "data.messages", list)
        for message in messages:
            self.bench.check(
                isinstance(message, dict),
                "objects in `data.messages`",
                f"this came: {shown(message)}",
            )
            for key in ("sender_chatid", "content", "timestamp"):
                self.bench.get(message, key, str)
        return messages

    def fence(self) -> None:
        """Return once the server has answered everything that was sent on this connection before
        (R-ORDER-5)."""
        self.request("get_messages", {"room_id": self.last_room, "from_time": FUTURE})

    def close(self) -> None:
        """Close the connection; a given account is free for others then."""
        self.wire.close()
        self.is_on = False


def letters(content: str) -> dict[str, int]:
    """The counting rule (R-MSG-1): every code point counts, nothing is normalised."""
    return dict(Counter(content))


def data_of(packet: Packet) -> Packet:
    """`data` of a packet, empty where it has none or it is no object."""
    data = packet.get("data")
    return data if isinstance(data, dict) else {}


def _pause(reply: Packet) -> float:
    for place in (reply, data_of(reply)):
        for key in ("retry_after", "retry_after_seconds", "wait"):
            if isinstance(place.get(key), (int, float)):
                return min(max(0.0, float(place[key])), PATIENCE_SECONDS)
    return 1.0


# --- The bench ------------------------------------------------------------------------------------


@final
class Bench:
    """All that one case may use. Everything random comes from `random`, which the seed and the
    case's id decide."""

    def __init__(
        self, target: Target, this: Case, seed: int, until: float, level: str = "full"
    ) -> None:
        self.target = target
        self.case = this
        self.level = level
        self.random = random.Random(hashlib.sha256(f"{seed}/{this.id}".encode()).digest())
        self.transcript = Transcript()
        self.until = until
        """When this case must be over, as `time.monotonic()`."""
        self.early: Any = None
        """What the case's `early` returned."""
        self._rules: list[str] = [this.rules[0]]
        self._users: list[User] = []
        self._wires: list[Wire] = []

    # --- random names and texts

    def _letters(self, size: int) -> str:
        return "".join(self.random.choices(string.ascii_lowercase, k=size))

    def name(self, stem: str = "") -> str:
        """A new legal `chatid` of ASCII letters, digits and `_`, at most 24 characters."""
        return f"{stem or self._letters(5)}_{self._letters(4)}{self.target.tag}"

    def room_id(self, stem: str = "room") -> str:
        """An id that no room has yet."""
        return f"{stem}-{self._letters(6)}-{self.target.tag}"

    def password(self) -> str:
        """A new password."""
        return f"{self._letters(10)} {self.random.randrange(10**6)}"

    def key(self) -> str:
        """A new key for `transaction_id` or `request_id`."""
        return f"key-{self._letters(12)}-{self.target.tag}"

    def text(self, words: int = 5) -> str:
        """A text of a few words with capitals, blanks, punctuation and a character beyond ASCII."""
        chosen = [self._letters(self.random.randrange(2, 8)) for _ in range(words)]
        chosen[0] = chosen[0].capitalize()
        return " ".join(chosen) + self.random.choice([" é!", " ß?", " 漢字.", " 👍", " Ж,", " ñ…"])

    # --- connections and users

    def connect(self, who: str = "") -> Wire:
        """A new connection that nobody is logged in on; Refused (NOT REACHED) where nobody
        listens."""
        wire = Wire.connect(
            self.target.host,
            self.target.port,
            self.transcript,
            who or f"c{len(self._wires) + 1}",
            self.target.timeout,
            self.until,
        )
        self._wires.append(wire)
        return wire

    def guest(self, account: Account | None = None) -> User:
        """A user on a new connection who is not logged in yet; without an account the name is one
        that nobody has."""
        account = account or Account(self.name(), self.password())
        user = User(self, self.connect(account.chatid), account)
        user.is_own = True
        self._users.append(user)
        return user

    def account(self, *, fresh: bool = False) -> Account:
        """An account that nobody is logged in with and that only this case uses (NOT REACHED where
        none is to be had).

        With `fresh` it is a new one, never one of `--account`: for what can't be undone, as another
        password. Where the server makes no accounts that is NOT OFFERED.
        """
        with self.given("an account", remember="account"):
            user = self._made_user(login=False, own=True, fresh=fresh)
            user.wire.close()
            return user.account

    def user(self, *, own: bool = False, fresh: bool = False, features: Sequence[str] = ()) -> User:
        """A user who is logged in (NOT REACHED where that is impossible).

        Cases share users to save the server's hashing, so don't change a password, log out or rely
        on what a user never did unless it is your `own`, which nobody else uses meanwhile. `fresh`
        is `own`, and never an account of `--account`: for what stays with an account, as all its
        room. `features` are asked for at login, and make it `own`.
        """
        with self.given("a user who is logged in", remember="user"):
            if not (own or fresh or features):
                shared = self._shared_user()
                if shared is not None:
                    return shared
            user = self._made_user(login=not features, own=own, fresh=fresh)
            user.is_own = own or fresh or bool(features)
            if features:
                reply = user.login(features=list(features))
                self.check(user.is_on, "`login_success`", f"this came: {shown(reply)}")
            return user

    def users(self, count: int, *, own: bool = False) -> list[User]:
        """So many different users who are logged in."""
        return [self.user(own=own) for _ in range(count)]

    def _shared_user(self) -> User | None:
        while self.target.idle:
            user = self.target.idle.pop(0)
            user.bench = self
            user.wire.transcript, user.wire.until, user.wire.timeout = (
                Transcript(),
                self.until,
                self.target.timeout,
            )
            try:
                # what other cases left over is nothing that this one's transcript should show
                user.fence()
            except WireProblem:
                user.close()
                self._give_back(user.account)
                continue
            user.wire.take_aside()
            user.wire.transcript = self.transcript
            self.transcript.note("logged in since an earlier case", user.chatid)
            self._users.append(user)
            return user
        return None

    def _give_back(self, account: Account) -> None:
        if account.is_given and account not in self.target.accounts:
            self.target.accounts.append(account)

    def _made_user(self, login: bool = True, own: bool = False, fresh: bool = False) -> User:
        """A user with an account that is given or new, logged in if asked for; `own` prefers a new
        account, `fresh` insists."""
        if fresh or (own and self.target.way != "none") or not self.target.accounts:
            try:
                return self._new_user(login)
            except NotReached:
                if fresh and self.target.way == "none":
                    raise NotOffered(
                        "an account for this case alone", "the server makes none"
                    ) from None
                if not fresh:
                    self._free_a_given_account()
                if fresh or not self.target.accounts:
                    raise
        user = self.guest(self.target.accounts.pop(0))
        if login:
            self._login_given(user)
        return user

    def _free_a_given_account(self) -> None:
        """Log a shared user out whose account was given, where no account is free."""
        for user in self.target.idle if not self.target.accounts else ():
            if user.account.is_given:
                self.target.idle.remove(user)
                user.close()
                self._give_back(user.account)
                return

    def holds_given_accounts(self) -> bool:
        """Whether a user of this case has an account of `--account`, of which there are few."""
        return any(user.account.is_given for user in self._users)

    def _login_given(self, user: User) -> None:
        """Log in with a given account, whose place of an earlier case may come free a moment
        late."""
        reply: Packet = {}
        for pause in (0.0, 0.1, 0.4, 1.0):
            time.sleep(pause)
            reply = user.login()
            if user.is_on:
                return
        raise NotReached(
            f"`login_success` for the given account {user.chatid}", f"this came: {shown(reply)}"
        )

    def _new_user(self, login: bool) -> User:
        if self.target.way == "none":
            raise NotReached(
                "one more account",
                "the server makes none: give more of them (--account NAME:PASSWORD …)",
            )
        if self.target.way in ("", "register"):
            user = self._registered()
            if user is not None:
                if login:
                    reply = user.login()
                    self.check(
                        user.is_on,
                        f"`login_success` for {user.chatid}",
                        f"this came: {shown(reply)}",
                    )
                return user
        user = self.guest()
        user.login()
        if not user.is_on:
            if not self.target.way:
                self.target.way = "none"
                if not self.target.has_given:
                    self.target.note(
                        "the server makes no accounts that the kit could use: give some (--account NAME:PASSWORD …)"
                    )
            raise NotReached(
                "an account",
                "the server knows no `register` and no login with a new name: use --account NAME:PASSWORD",
            )
        if not self.target.way:
            self.target.way = "first-login"
            self.target.note("the server makes accounts at the first login")
        if not login:
            account = user.account
            user.close()
            return self.guest(account)
        return user

    def _registered(self) -> User | None:
        """A user whose account was registered just now, not logged in; None where the server does
        not know `register`."""
        for _ in range(3):
            user = self.guest()
            try:
                reply = user.request(
                    "register", {"chatid": user.chatid, "password": user.account.password}
                )
            except (Silence, Closed):
                if self.target.way == "register":
                    raise
                user.close()
                return None
            if reply.get("action") == "register_success":
                self.target.way = "register"
                return user
            user.close()
            if reply.get("code") != "name_taken":
                break
        if self.target.way == "register":
            raise NotReached("`register_success`", f"this came: {shown(reply)}")
        return None

    def extend(self, until: float) -> None:
        """Move the deadline of this case and its connections, called by the runner before a body
        whose `early` ran long ago."""
        self.until = until
        for wire in self._wires:
            wire.until = until
        for user in self._users:
            user.wire.until = until

    def keep_reading(self) -> None:
        """Take in what came on this case's connections while others ran, called by the runner."""
        for user in self._users:
            user.wire.take_in()
        for wire in self._wires:
            wire.take_in()

    def release(self, *, keep: bool) -> None:
        """End of the case, called by the runner: users are kept for later cases or closed, other
        connections closed."""
        stay = [
            user
            for user in self._users
            if keep and user.is_on and not user.is_own and not user.wire.is_closed
        ]
        self.target.idle += stay
        kept = {id(user.wire) for user in stay}
        taken = {user.chatid for user in stay}
        for user in self._users:
            if id(user.wire) not in kept:
                user.close()
                if user.chatid not in taken:
                    self._give_back(user.account)
        for wire in self._wires:
            if id(wire) not in kept:
                wire.close()
        self._users.clear()
        self._wires.clear()

    # --- verdicts

    @property
    def current_rule(self) -> str:
        """The rule that a failure would be counted to now."""
        return self._rules[-1]

    @contextlib.contextmanager
    def rule(self, rule_id: str) -> Iterator[None]:
        """Inside, what goes wrong is a failure of this rule; "" changes nothing."""
        self._rules.append(rule_id or self._rules[-1])
        try:
            yield
        except WireProblem as problem:
            if isinstance(problem, (BrokenFrame, Refused)):
                raise
            raise Failed(problem.expected, problem.came, self._rules[-1]) from problem
        finally:
            self._rules.pop()

    @contextlib.contextmanager
    def given(self, what: str, *, remember: str = "") -> Iterator[None]:
        """Inside, what goes wrong makes the case NOT REACHED. `remember`: a name under which the
        run gives up waiting for it."""
        if self.target.troubles.get(remember, 0) >= GIVE_UP_AFTER:
            raise NotReached(what, "this failed in several cases before, so it was not tried again")
        try:
            yield
        except (Failed, NotReached, WireProblem) as problem:
            if remember:
                self.target.troubles[remember] = self.target.troubles.get(remember, 0) + 1
            expected = (
                problem.expected
                if isinstance(problem, NotReached)
                else f"{what} (needed first): {problem.expected}"
            )
            raise NotReached(expected, problem.came) from problem
        if remember:
            self.target.troubles[remember] = 0

    def fail(self, expected: str, came: str, rule: str = "") -> NoReturn:
        """The rule (by default the current one) does not hold."""
        raise Failed(expected, came, rule or self.current_rule)

    def check(self, holds: bool, expected: str, came: str, rule: str = "") -> None:
        """Fail unless it holds."""
        if not holds:
            self.fail(expected, came, rule)

    def equal(self, came: object, expected: object, what: str, rule: str = "") -> None:
        """Fail unless both are the same, types included (True is not 1)."""
        if came != expected or type(came) is not type(expected):
            self.fail(f"{what}: {shown(expected)}", f"it was {shown(came)}", rule)

    def get(self, packet: Packet, path: str, kind: type[T], rule: str = "") -> T:
        """The value at a path as `data.transaction_id`; fails where it is missing or of another
        type. A bool is no int."""
        value: Any = packet
        for key in path.split("."):
            if not isinstance(value, dict) or key not in value:
                self.fail(
                    f"`{path}` in `{packet.get('action', 'the object')}`",
                    f"it is missing: {shown(packet)}",
                    rule,
                )
            value = value[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.fail(
                f"`{path}` to be {KINDS.get(kind, kind.__name__)}",
                f"it is {shown(value)}: {shown(packet)}",
                rule,
            )
        return value

    def refused(
        self, reply: Packet, code: str | Sequence[str] = (), *, original: str = "", rule: str = ""
    ) -> None:
        """Fail unless the reply is an `error` with this code (or one of these).

        An error without any `code` passes, since a server of the 24 packets has none (R-ERR-1 has a
        case of its own); `original` is compared where given.
        """
        codes = (code,) if isinstance(code, str) else tuple(code)
        wanted = "`error`" + (f" with code {' or '.join(codes)}" if codes else "")
        if reply.get("action") != "error":
            self.fail(wanted, f"this came: {shown(reply)}", rule)
        if codes and "code" in reply and reply["code"] not in codes:
            self.fail(wanted, f"the code was {shown(reply['code'])}: {shown(reply)}", rule)
        if original:
            self.equal(
                reply.get("original_action"), original, "`original_action` of the error", "R-ERR-2"
            )

    # --- what the server offers

    def offers(self, what: str) -> bool:
        """Whether the server knows an extension; asked of the server once in a run.

        `what` is the action of an extension's request ("create_room", "ping", …), a feature
        ("events", "typing"), "first_login" (a login with a new name makes the account), or a key
        that goes beyond the 24 packets: "limits" (is `limits` announced in `login_success`),
        "request_id", "transaction_id" (a client's own key), "message_id", "code", "session_key"
        (login with it), or any other word ("take_over", "after_id", "sha256"): such are offered
        where "limits" is, since a server that announces its limits claims the extensions of keys.
        """
        from conformance.server import extensions

        if what not in self.target.offered:
            asking = Bench(
                self.target, self.case, 0, self.until, self.level
            )  # its users are free again before the case goes on
            asking.random, asking.transcript = self.random, self.transcript
            try:
                self.target.offered[what] = extensions.offered(asking, what)
            finally:
                asking.release(keep=True)
        return self.target.offered[what]

    def need(self, *what: str) -> None:
        """End the case as NOT OFFERED unless the server knows all of these (see `offers`)."""
        for each in what:
            if not self.offers(each):
                raise NotOffered(f"a server that knows `{each}`", "this one does not")


KINDS: dict[type, str] = {
    str: "a string",
    int: "an integer",
    list: "a list",
    dict: "an object",
    bool: "true or false",
}
