"""Cases for the chapter Sessions: login, the session key, taking over, logout, ping."""

from __future__ import annotations

import itertools
import time

from conformance.endings import NotOffered
from conformance.packets import FUTURE, Packet, shown
from conformance.server.cases.steps import Upload
from conformance.server.cases.wrong_names import with_wrong_keys, with_wrong_names
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.target import Account
from conformance.server.user import User

MAX_CHUNK_BYTES = 262144


def log_in(context: ServerContext, account: Account, **data: object) -> User:
    """Log a user of this account in on a new connection; an assertion."""
    user = context.guest(account)
    reply = user.login(**data)
    context.check(user.is_on, f"`login_success` for {account.chatid}", f"this came: {shown(reply)}")
    return user


def answers(context: ServerContext, user: User, what: str) -> None:
    """Fail unless this session goes on: a request of it is answered, and not by `not_logged_in`."""
    reply = user.request("get_messages", {"room_id": user.last_room, "from_time": FUTURE})
    context.check(reply.get("code") != "not_logged_in", what, f"this came: {shown(reply)}")


@case(
    rules=["R-SESS-1", "R-SESS-2"],
    title="login with name and password answers login_success with chatid and session_key",
)
def login(context: ServerContext) -> None:
    account = context.account()
    user = log_in(context, account)
    reply = user.login_success
    with context.rule("R-SESS-2"):
        context.equal(context.get(reply, "data.chatid", str), account.chatid, "`data.chatid`")
        context.check(
            bool(context.get(reply, "data.session_key", str)),
            "a `session_key` that is not empty",
            f"this came: {shown(reply)}",
        )


LEAST_DIFFERENCE = 10
"""In so many places two keys of 128 random bits differ, however they are written: in hexadecimal
fewer than 10 of 32 do once in 10**18 pairs."""


@case(
    rules=["R-SESS-2"],
    title="session keys are long, never the same twice, and neither counted nor a clock",
)
def keys_differ(context: ServerContext) -> None:
    users = context.users(2, own=True)
    keys = [user.session_key for user in users]
    if not context.people.accounts_are_few():
        keys.append(log_in(context, context.account()).session_key)
    context.check(
        len(set(keys)) == len(keys), "another `session_key` for each login", f"these came: {keys}"
    )
    for key in keys:
        context.check(
            len(key) >= 16,
            "a `session_key` of at least 128 random bits",
            f"{key!r} has {len(key)} characters",
        )
    for one, other in itertools.combinations(keys, 2):
        places = sum(a != b for a, b in itertools.zip_longest(one, other))
        context.check(
            places >= LEAST_DIFFERENCE,
            "two `session_key` that have nothing to do with one another",
            f"only {places} places differ in {one!r} and {other!r}",
        )


@case(
    rules=["R-SESS-2"],
    level="full",
    offers="limits",
    title="login_success announces its limits as numbers of bytes",
)
def announces_limits(context: ServerContext) -> None:
    reply = context.user().login_success
    for key in ("max_frame", "max_content", "max_file", "max_chunk"):
        value = context.get(reply, f"data.limits.{key}", int)
        context.check(value >= 0, f"`limits.{key}` to be 0 or more", f"it is {value}")


@case(
    rules=["R-SESS-3"],
    level="full",
    offers="limits",
    title="limits.max_chunk is at most 262,144 and fits into a frame as base64",
)
def chunk_fits(context: ServerContext) -> None:
    reply = context.user().login_success
    chunk, frame = (
        context.get(reply, "data.limits.max_chunk", int),
        context.get(reply, "data.limits.max_frame", int),
    )
    context.check(0 < chunk <= MAX_CHUNK_BYTES, "`max_chunk` of 1 to 262144", f"it is {chunk}")
    context.check(
        frame == 0 or chunk * 4 / 3 < frame,
        "a chunk that fits into `max_frame` as base64",
        f"{chunk} and {frame}",
    )


@case(rules=["R-SESS-4"], title="a wrong password answers login_fail")
def wrong_password(context: ServerContext) -> None:
    guest = context.guest(context.account())
    reply = guest.login(password=context.password())
    context.equal(reply.get("action"), "login_fail", "`action` of the answer to a wrong password")


@case(rules=["R-SESS-4"], title="an unknown name answers login_fail")
def unknown_name(context: ServerContext) -> None:
    if context.offers("first_login"):
        raise NotOffered(
            "a server that refuses unknown names",
            "this one makes accounts at the first login (R-ACC-3)",
        )
    guest = context.guest()
    reply = guest.login()
    context.equal(reply.get("action"), "login_fail", "`action` of the answer to an unknown name")


@case(rules=["R-SESS-4"], title="after login_fail the connection lives and may log in")
def login_after_fail(context: ServerContext) -> None:
    guest = context.guest(context.account())
    with context.given("`login_fail` for a wrong password"):
        reply = guest.login(password=context.password())
        context.equal(reply.get("action"), "login_fail", "`action`")
    reply = guest.login()
    context.equal(
        reply.get("action"),
        "login_success",
        "`action` of the answer to the right password after a wrong one",
    )


@case(
    rules=["R-SESS-4"],
    level="full",
    title="wrong password, unknown name, a second login and a dead key give the same message",
)
def one_message_for_all(context: ServerContext) -> None:
    on = context.user()
    replies: dict[str, Packet] = {}
    with context.given("`login_fail` for each of them"):
        replies["a wrong password"] = context.guest(context.account()).login(
            password=context.password()
        )
        if not context.offers("first_login"):
            replies["an unknown name"] = context.guest().login()
        replies["a second login"] = context.guest(on.account).login()
        if context.offers("session_key"):
            replies["a foreign key"] = context.guest(on.account).login(session_key=context.key())
        for why, reply in replies.items():
            context.equal(reply.get("action"), "login_fail", f"`action` of the answer to {why}")
    said = {why: reply.get("message") for why, reply in replies.items()}
    context.check(
        len(set(map(str, said.values()))) == 1,
        "one and the same message for all",
        f"these came: {shown(said)}",
    )


@case(
    rules=["R-SESS-5"],
    title="a second login of a user who is on is refused, and the first session goes on",
)
def second_login(context: ServerContext) -> None:
    first = context.user()
    second = context.guest(first.account)
    reply = second.login()
    context.equal(reply.get("action"), "login_fail", "`action` of the answer to a second login")
    answers(context, first, "that the first session goes on")


@case(
    rules=["R-SESS-6"],
    title="login on a connection that is logged in is an error, and the session goes on",
)
def login_twice_here(context: ServerContext) -> None:
    user = context.user()
    reply = user.request("login", {"chatid": user.chatid, "password": user.account.password})
    context.refused(reply, "forbidden", original="login")
    answers(context, user, "that the session goes on")


@case(
    rules=["R-SESS-7"],
    title="a request with another's name is an error, and nothing is done in that name",
)
def anothers_name(context: ServerContext) -> None:
    user, other = context.users(2)
    room = context.room_id()
    reply = user.request(
        "send_message", {"chatid": other.chatid, "room_id": room, "content": context.text()}
    )
    context.refused(reply, "forbidden", original="send_message")
    reply = user.request(
        "get_messages", {"chatid": other.chatid, "room_id": "lobby", "from_time": FUTURE}
    )
    context.refused(reply, "forbidden", original="get_messages")


@case(rules=["R-SESS-7"], level="full", title="a request that leaves chatid out is bad_packet")
def no_name(context: ServerContext) -> None:
    with_wrong_names(context, context.user(own=True))


@case(
    rules=["R-SESS-7"],
    level="full",
    offers="limits",
    title="chatid of a request may be written in another case, and is shown as it was registered",
)
def name_in_capitals(context: ServerContext) -> None:
    user, hearer = context.users(2)
    room, said, capitals = context.room_id(), context.text(), user.chatid.upper()
    reply = user.ask(
        "send_message",
        {"chatid": capitals, "room_id": room, "content": said},
        want="character_count",
    )
    user.confirm(room, said, context.get(reply, "data.transaction_id", str))
    heard = hearer.hear_this(room, said)
    context.equal(heard["data"]["sender_chatid"], user.chatid, "`sender_chatid`", "R-ACC-6")
    reply = Upload(context, user, room, "capitals.bin", b"a file").begin(chat_id=capitals)
    name = context.get(reply, "data.chat_id", str)
    context.equal(name, user.chatid, "`chat_id` of the reply to `file_send_init`", "R-ACC-6")


@case(
    rules=["R-SESS-1"],
    level="full",
    offers="session_key",
    title="login with the session key answers login_success",
)
def login_by_key(context: ServerContext) -> None:
    user = context.user(own=True)
    user.close()
    again = log_in(context, user.account, session_key=user.session_key)
    answers(context, again, "a session")


@case(
    rules=["R-SESS-1"],
    level="full",
    offers="session_key",
    title="login with neither password nor key is bad_packet; of both the key counts",
)
def key_counts(context: ServerContext) -> None:
    user = context.user(own=True)
    guest = context.guest(user.account)
    context.refused(guest.request("login", {"chatid": user.chatid}), "bad_packet", original="login")
    reply = guest.login(session_key=context.key(), password=user.account.password, take_over=True)
    context.equal(reply.get("action"), "login_fail", "`action`, where the password is right")
    with context.given("`login_fail` for a second login"):
        context.equal(guest.login().get("action"), "login_fail", "`action`")
    reply = guest.login(session_key=user.session_key, password=context.password(), take_over=False)
    context.equal(
        reply.get("action"),
        "login_success",
        "`action` where the key is right and the password wrong",
    )


@case(
    rules=["R-SESS-4"],
    level="full",
    offers="session_key",
    title="another's session key answers login_fail",
)
def foreign_key(context: ServerContext) -> None:
    user, other = context.user(own=True), context.user()
    with_wrong_keys(context, other)
    user.close()
    reply = context.guest(user.account).login(session_key=other.session_key)
    context.equal(reply.get("action"), "login_fail", "`action` of the answer to another's key")


@case(
    rules=["R-SESS-8"],
    level="full",
    offers="session_key",
    title="a login with the key takes the place of the other connection, which is closed; its end "
    "does not take the place of the new one",
)
def key_takes_over(context: ServerContext) -> None:
    first, other = context.user(own=True), context.user()
    second = log_in(context, first.account, session_key=first.session_key)
    first.wire.wait_closed()
    answers(context, second, "that the new session goes on")
    first.close()
    room = context.room_id()
    for pause in (0.0, 0.05, 0.15):  # news of the end may take a moment
        time.sleep(pause)
        second.hear_this(room, other.say(room, context.text()).content)


@case(
    rules=["R-SESS-8"],
    level="full",
    offers="take_over",
    title="a login with the right password and take_over does, too; with a wrong one nothing "
    "happens",
)
def password_takes_over(context: ServerContext) -> None:
    first = context.user(own=True)
    guest = context.guest(first.account)
    reply = guest.login(password=context.password(), take_over=True)
    context.equal(
        reply.get("action"),
        "login_fail",
        "`action` of the answer to take_over with a wrong password",
    )
    answers(context, first, "that the first session goes on")
    reply = guest.login(take_over=True)
    context.equal(reply.get("action"), "login_success", "`action` of the answer to take_over")
    first.wire.wait_closed()
    answers(context, guest, "that the new session goes on")


def comes_free(context: ServerContext, account: Account) -> User:
    """Log the user in again whose connection ended just now; fails where that is impossible. Asks a
    few times, as news of the end may take a moment."""
    guest = context.guest(account)
    reply: Packet = {}
    for pause in (0.0, 0.1, 0.5, 2.0):
        time.sleep(pause)
        reply = guest.login()
        if guest.is_on:
            return guest
    context.fail(
        "`login_success` once the user's connection was closed", f"this came: {shown(reply)}"
    )


@case(rules=["R-SESS-9"], title="the place of a client that closed its connection comes free")
def place_comes_free(context: ServerContext) -> None:
    user = context.user(own=True)
    user.close()
    comes_free(context, user.account)


@case(rules=["R-SESS-9"], title="the place of a client whose connection was reset comes free")
def place_comes_free_after_reset(context: ServerContext) -> None:
    user = context.user(own=True)
    user.wire.reset()
    comes_free(context, user.account)


@case(
    rules=["R-SESS-10"],
    level="full",
    offers="session_key",
    title="a login with the key keeps the key, one with the password ends the old one",
)
def key_is_kept(context: ServerContext) -> None:
    account = context.user(own=True)
    first = account.session_key
    second = log_in(context, account.account, session_key=first)
    context.equal(
        context.get(second.login_success, "data.session_key", str),
        first,
        "`session_key` after a login with it",
    )
    second.close()
    third = log_in(context, account.account, take_over=True)
    key = context.get(third.login_success, "data.session_key", str)
    context.check(
        key != first,
        "a new `session_key` after a login with the password",
        f"the old one came: {key}",
    )
    reply = context.guest(account.account).login(session_key=first)
    context.equal(reply.get("action"), "login_fail", "`action` of the answer to the old key")


@case(
    rules=["R-SESS-11"],
    level="full",
    offers=["session_key", "logout"],
    title="the session key dies at logout",
)
def key_dies_at_logout(context: ServerContext) -> None:
    user = context.user(own=True)
    with context.given("`logout_ack`"):
        user.ask("logout")
    reply = context.guest(user.account).login(session_key=user.session_key)
    context.equal(
        reply.get("action"), "login_fail", "`action` of the answer to the key after `logout`"
    )


@case(
    rules=["R-SESS-11"],
    level="full",
    offers=["session_key", "change_password"],
    title="the session key dies at a change of the password",
)
def key_dies_with_password(context: ServerContext) -> None:
    account = context.account(fresh=True)
    user = log_in(context, account)
    with context.given("`password_changed`"):
        user.ask(
            "change_password", {"password": account.password, "new_password": context.password()}
        )
    user.close()
    reply = context.guest(account).login(session_key=user.session_key)
    context.equal(
        reply.get("action"),
        "login_fail",
        "`action` of the answer to the key after a change of the password",
    )


@case(
    rules=["R-SESS-11"],
    level="robust",
    last=True,
    offers="session_key",
    title="the session key survives that the server is killed and started again",
)
def key_survives_restart(context: ServerContext) -> None:
    process = context.target.process
    if process is None:
        raise NotOffered("a server that the kit may kill", "use --start-cmd")
    user = context.user(own=True)
    process.restart()
    log_in(context, user.account, session_key=user.session_key)


@case(
    rules=["R-SESS-12"],
    level="full",
    offers="logout",
    title="logout answers logout_ack, and the connection stays and may log in as somebody else",
)
def logout(context: ServerContext) -> None:
    user = context.user(own=True)
    name = user.chatid.upper() if context.offers("limits") else user.chatid
    reply = user.ask("logout", {"chatid": name})
    context.equal(context.get(reply, "data.chatid", str), user.chatid, "`data.chatid`")
    user.wire.send(user.packet("get_messages", {"room_id": "lobby", "from_time": FUTURE}))
    context.refused(user.reply("get_messages"), "not_logged_in")
    other = context.account()
    reply = user.request("login", {"chatid": other.chatid, "password": other.password})
    context.equal(
        reply.get("action"),
        "login_success",
        "`action` of the answer to a login on the same connection",
    )
    context.equal(context.get(reply, "data.chatid", str), other.chatid, "`data.chatid`")


@case(
    rules=["R-SESS-12"],
    level="full",
    offers="logout",
    title="logout frees the user's place at once",
)
def logout_frees_the_place(context: ServerContext) -> None:
    user = context.user(own=True)
    user.ask("logout")
    log_in(context, user.account)


@case(
    rules=["R-SESS-12"],
    level="full",
    offers="logout",
    title="open transactions are dropped at logout",
)
def logout_drops_transactions(context: ServerContext) -> None:
    user = context.user(own=True)
    room = context.room_id()
    with context.given("an open transaction, and a second session on this connection"):
        opened = user.ask(
            "send_message", {"room_id": room, "content": context.text()}, want="character_count"
        )
        tid = context.get(opened, "data.transaction_id", str)
        user.ask("logout")
        reply = user.login()
        context.check(user.is_on, "`login_success`", f"this came: {shown(reply)}")
    context.refused(
        user.request("confirm_count", {"transaction_id": tid, "confirm": True}),
        "transaction_not_found",
    )
