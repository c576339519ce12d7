"""Cases for the chapter Limits, as far as a client that means no harm meets them."""

from __future__ import annotations

import itertools
import time
from typing import Any

from conformance.endings import NotOffered
from conformance.packets import FUTURE, Packet, shown
from conformance.server.cases.messages.steps import heard_message
from conformance.server.cases.sessions import log_in
from conformance.server.cases.steps import Upload, another_session
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.target import Account
from conformance.server.user import User

BURST = 130
MORE = 20
PINGS = 500
FAILURES = 6
DELAY_SECONDS, LATE_SECONDS = 1.0, 0.9
"""The delay behind 5 failures, and after how long the kit looks whether an answer is there."""
TRIES = 3
CHUNKS = 300


def is_turned_off(context: ServerContext, option: str) -> bool:
    """Return whether the server's command turns this limit off (R-LIM-2)."""
    process = context.target.process
    words = process.words() if process is not None else []
    return f"{option}=0" in words or (option, "0") in itertools.pairwise(words)


def unless_turned_off(context: ServerContext, option: str) -> None:
    """End the case as NOT OFFERED where the server's command turns this limit off."""
    if is_turned_off(context, option):
        raise NotOffered("a server with this limit", f"`{option} 0` turns it off")


def collected(context: ServerContext, user: User, count: int, *actions: str) -> list[Packet]:
    """Wait for so many replies of these actions, or `error`."""
    wanted = (*actions, "error")
    return [
        user.wire.receive_where(lambda each: each.get("action") in wanted, " or ".join(wanted))
        for _ in range(count)
    ]


@case(
    rules=["R-LIM-1", "R-LIM-3"],
    level="full",
    offers="limits",
    title="130 requests at once are all answered, none is refused, and another client is "
    "heard meanwhile",
)
def burst(context: ServerContext) -> None:
    fast, other = context.user(own=True), context.user()
    packet = fast.packet("get_messages", {"room_id": "lobby", "from_time": FUTURE})
    fast.wire.send_together([packet] * BURST)
    for _ in range(3):
        reply = other.request("get_messages", {"room_id": "lobby", "from_time": FUTURE})
        with context.rule("R-LIM-3"):
            context.equal(
                reply.get("action"),
                "messages_list",
                "`action` of the answer to another client meanwhile",
            )
    replies = collected(context, fast, BURST, "messages_list")
    refused = [reply for reply in replies if reply.get("action") == "error"]
    context.check(
        not refused,
        f"an answer to each of {BURST} requests",
        f"{len(refused)} were refused, as {shown(refused[:1])}",
    )


@case(
    rules=["R-LIM-3"],
    level="robust",
    offers=["limits", "session_key"],
    title="after a burst of 100 requests an account is heard more slowly, also on a new connection",
)
def no_new_burst(context: ServerContext) -> None:
    unless_turned_off(context, "--rate-limit")
    user = context.user(own=True)
    ask = user.packet("get_messages", {"room_id": "lobby", "from_time": FUTURE})
    began = time.monotonic()  # from the first on: what was answered slowly has refilled meanwhile
    user.wire.send_together([ask] * 100)
    collected(context, user, 100, "messages_list")
    user.close()
    again = log_in(context, user.account, session_key=user.session_key)
    again.wire.send_together([ask] * MORE)
    collected(context, again, MORE, "messages_list")
    took = time.monotonic() - began
    context.check(
        took > MORE / 20 / 2,
        f"{MORE} requests behind 100 read at 20 a second, on another connection of the account",
        f"all {100 + MORE} were answered within {took:.2f} s",
    )


@case(
    rules=["R-LIM-4"],
    level="full",
    offers=["limits", "ping"],
    title="ping is free of the limit of requests: 500 at once are answered",
)
def pings_are_free(context: ServerContext) -> None:
    user = context.user(own=True)
    user.wire.send_together([{"action": "ping"}] * PINGS)
    began = time.monotonic()
    replies = collected(context, user, PINGS, "pong")
    took = time.monotonic() - began
    context.check(
        all(reply.get("action") == "pong" for reply in replies),
        f"{PINGS} `pong`",
        f"this came, too: {shown(replies[-1])}",
    )
    _without_waiting(context, f"{PINGS} `pong`", PINGS, took)


@case(
    rules=["R-LIM-4"],
    level="full",
    offers="limits",
    title="chunks of an open upload and receivers' counts of a new message are free of the limit "
    "of requests",
)
def handshakes_are_free(context: ServerContext) -> None:
    sender, hearer = context.users(2, own=True)
    room = context.room_id()
    said = sender.say(room, "plainletters")
    heard = heard_message(context, hearer, said)
    upload = Upload(context, sender, room, "many.bin", bytes(CHUNKS), chunk=1)
    with context.given("an upload"):
        upload.begin()
    began = time.monotonic()
    upload.send()
    _without_waiting(context, f"{CHUNKS} chunks", CHUNKS, time.monotonic() - began)
    data = {
        "transaction_id": heard["data"]["transaction_id"],
        "letter_frequencies": {"p": 1},
        "original_action": "receive_message",
    }
    began = time.monotonic()
    hearer.wire.send_together([hearer.packet("character_count", data)] * CHUNKS)
    collected(context, hearer, CHUNKS, "confirm_count")
    _without_waiting(context, f"{CHUNKS} counts", CHUNKS, time.monotonic() - began)


def _without_waiting(context: ServerContext, what: str, count: int, took: float) -> None:
    """Fail where so many took nearly as long as they would if they counted: at 20 a second behind a
    burst of 100. A busy machine needs a fraction of that."""
    context.check(
        took < (count - 100) / 20 * 0.75, f"{what} without waiting", f"they took {took:.1f} s"
    )


TOO_LONG: list[tuple[str, dict[str, Any]]] = [
    ("send_message", {"room_id": "lobby", "content": "x", "transaction_id": "t" * 65}),
    ("send_message", {"room_id": "lobby", "content": "x", "transaction_id": ""}),
    ("confirm_count", {"transaction_id": "t" * 65, "confirm": True}),
    ("file_list_req", {"room_id": "lobby", "after": "a" * 256}),
    (
        "file_send_init",
        {
            "room_id": "lobby",
            "file_path": "a",
            "file_size": 1,
            "file_type": "t" * 256,
            "total_packets": 1,
        },
    ),
]


@case(
    rules=["R-LIM-5"], level="full", offers="limits", title="texts over their bounds are bad_packet"
)
def texts_are_bounded(context: ServerContext) -> None:
    user = context.user()
    for action, data in TOO_LONG:
        reply = user.request(action, data)
        context.check(
            reply.get("action") == "error",
            f"`error` for {action} with too long a text",
            f"this came: {shown(reply)}",
        )
        context.refused(reply, "bad_packet", original=action)
    reply = user.request(
        "get_messages", {"room_id": "lobby", "from_time": FUTURE}, request_id="r" * 65
    )
    context.refused(reply, "bad_packet")


@case(
    rules=["R-LIM-5"],
    level="full",
    offers="limits",
    title="a login with too long a name or key, or too many features, is bad_packet",
)
def login_is_bounded(context: ServerContext) -> None:
    account = context.account()
    guest = context.guest(account)
    right = {"password": account.password}
    for data in (
        {"chatid": "x" * 33, **right},
        {"session_key": "k" * 256},
        {"features": ["x"] * 65, **right},
        {"features": ["x" * 65], **right},
    ):
        reply = guest.request("login", {"chatid": account.chatid, **data})
        context.check(
            reply.get("action") == "error",
            f"`error` for a login with {shown(data, 80)}",
            f"this came: {shown(reply)}",
        )
        context.refused(reply, "bad_packet", original="login")


@case(rules=["R-LIM-6"], level="full", offers="limits", title="limit is an integer from 1 to 1,000")
def limit(context: ServerContext) -> None:
    user = context.user()
    for value in (0, -1, 1001, "5", 1.5, True, None):
        reply = user.request(
            "get_messages", {"room_id": "lobby", "from_time": FUTURE, "limit": value}
        )
        context.check(
            reply.get("action") == "error",
            f"`error` for `limit` {shown(value)}",
            f"this came: {shown(reply)}",
        )
        context.refused(reply, "bad_packet", original="get_messages")
    for value in (1, 1000):
        user.ask(
            "get_messages",
            {"room_id": "lobby", "from_time": FUTURE, "limit": value},
            want="messages_list",
        )


@case(
    rules=["R-LIM-7"],
    level="full",
    offers="limits",
    title="a user has at most 64 open uploads, and one more is too_many_pending",
)
def open_uploads(context: ServerContext) -> None:
    user, room = context.user(fresh=True), context.room_id()
    about = {"room_id": room, "file_size": 10, "file_type": "text/plain", "total_packets": 1}
    user.wire.send_together(
        [
            user.packet("file_send_init", {**about, "file_path": f"{number}.txt"})
            for number in range(65)
        ]
    )
    replies = collected(context, user, 65, "file_send_init")
    for place, reply in enumerate(replies[:64], 1):
        context.equal(
            reply.get("action"),
            "file_send_init",
            f"`action` of the answer to upload {place} of 65 that stay open",
        )
    context.refused(replies[64], "too_many_pending", original="file_send_init")
    unknown = {**about, "room_id": "p-" + "0" * 32, "file_path": "64.txt"}
    reply = user.request("file_send_init", unknown)
    context.refused(reply, "room_not_found", original="file_send_init", rule="R-ERR-3")
    upload = Upload(context, user, room, "0.txt", b"0123456789")
    upload.send()
    upload.finish()
    again = user.request("file_send_init", {**about, "file_path": "64.txt"})
    what = "the reply once an upload has had its end"
    context.equal(again.get("action"), "file_send_init", what)
    if context.offers("file_cancel"):
        user.ask("file_cancel", {"room_id": room, "file_path": "1.txt"}, rule="R-FILE-23")
        again = user.request("file_send_init", {**about, "file_path": "65.txt"})
        context.equal(again.get("action"), "file_send_init", what, "R-FILE-23")


@case(
    rules=["R-LIM-9"],
    level="robust",
    offers=["limits", "session_key"],
    title="after 5 wrong passwords the next is answered late, right or wrong, and other accounts "
    "and keys are not slowed",
)
def failed_logins(context: ServerContext) -> None:
    unless_turned_off(context, "--login-failures")
    right, guessed, other = context.account(), context.account(), context.account()
    user = context.user(own=True)
    seconds: list[float] = []
    for _ in range(TRIES):  # what holds others up does so each time; a busy machine does not
        seconds.append(_others_beside_late_answers(context, right, guessed, user, other))
        if seconds[-1] < LATE_SECONDS:
            return
        user.close()
        log_in(context, guessed, take_over=True).close()  # which ends the count
        user = log_in(context, user.account, take_over=True)
    guests = [context.guest(right), context.guest()]
    for guest in guests:  # nobody is answered late now: only the passwords are hashed meanwhile
        guest.send("login", {"password": guest.account.password, "take_over": True})
    usual = _two_logins(context, user, other)
    for guest in guests:
        guest.reply("login")
    context.check(
        min(seconds) - usual < LATE_SECONDS,
        "others to log in without waiting, while passwords are answered late",
        f"they took {min(seconds):.1f} s or more, {TRIES} times; else they take {usual:.1f} s",
    )


def _two_logins(context: ServerContext, user: User, other: Account) -> float:
    """Log `other` in by the password, and `user` by the key; return how many seconds it took."""
    began = time.monotonic()
    log_in(context, other, take_over=True).close()
    log_in(context, user.account, session_key=user.session_key).close()
    return time.monotonic() - began


def _others_beside_late_answers(
    context: ServerContext, right: Account, guessed: Account, user: User, other: Account
) -> float:
    """Look whether a right and a wrong password behind 5 wrong ones are answered late; return how
    many seconds two logins take beside them that nothing may slow.

    The two are of two accounts, `right` and `guessed`, as a login that succeeds ends the count of
    its own. Of the two logins one is of `other`, one with the key of `user`, behind 5 wrong ones.
    """
    for _ in range(FAILURES - 1):
        wrong(context, right, guessed, user.account)
    guests = {"right": context.guest(right), "wrong": context.guest(guessed)}
    began = time.monotonic()
    for kind, guest in guests.items():
        password = right.password if kind == "right" else context.password()
        guest.send("login", {"password": password, "take_over": True})
    others = _two_logins(context, user, other)
    time.sleep(max(0.0, LATE_SECONDS - others))
    early = [kind for kind, guest in guests.items() if guest.wire.has_come()]
    looked = time.monotonic() - began
    if looked < DELAY_SECONDS:  # else what has come may have waited its time
        context.check(
            not early,
            "the next password, right or wrong, answered after a delay of 1 s",
            f"within {looked:.2f} s there was an answer to a {' and a '.join(early)} one",
        )
    for kind, guest in guests.items():
        reply = guest.reply("login", timeout=context.target.timeout + 10)
        context.check(
            reply.get("action") != "error",
            f"`login_success` or `login_fail` for a {kind} password",
            f"this came: {shown(reply)}",
        )
        guest.close()
    return others if looked < DELAY_SECONDS else looked


@case(
    rules=["R-ACC-9"],
    level="robust",
    offers=["change_password", "limits"],
    title="a wrong old password counts as a failed login: behind 5 the next is answered late",
)
def failed_changes(context: ServerContext) -> None:
    unless_turned_off(context, "--login-failures")
    user = context.user(own=True)
    passwords = {"password": context.password(), "new_password": context.password()}
    for _ in range(FAILURES - 1):
        reply = user.request("change_password", passwords)
        context.refused(reply, "forbidden", original="change_password")
    took = wrong(context, user.account)
    context.check(
        took >= 0.9,
        "the next wrong password answered after a delay of 1 s",
        f"it was answered within {took:.2f} s",
    )
    took = wrong(context, user.account)
    context.check(
        took >= 1.8,
        "the wrong password after that answered after twice the delay, 2 s",
        f"it was answered within {took:.2f} s",
        "R-LIM-9",
    )


@case(
    rules=["R-LIM-9"],
    level="robust",
    offers="limits",
    title="a login that succeeds ends the count of wrong passwords",
)
def success_ends_the_count(context: ServerContext) -> None:
    unless_turned_off(context, "--login-failures")
    user = context.user(own=True)
    for _ in range(FAILURES - 2):
        wrong(context, user.account)
    another_session(context, user).close()
    _, second, third = (wrong(context, user.account) for _ in range(3))
    context.check(  # a busy machine is slow once, and not in this measure
        second < 0.9 or third < 1.8,
        "wrong passwords after a login that succeeded answered without a delay",
        f"the second took {second:.1f} s, the third {third:.1f} s",
    )


def wrong(context: ServerContext, *accounts: Account) -> float:
    """Fail one login of each, all at once; return how many seconds the answers took. A
    precondition."""
    began = time.monotonic()
    with context.given("`login_fail` for a wrong password"):
        guests = [context.guest(account) for account in accounts]
        for guest in guests:
            guest.send("login", {"password": context.password()})
        for guest in guests:
            context.equal(guest.reply("login").get("action"), "login_fail", "`action`")
            guest.close()
    return time.monotonic() - began
