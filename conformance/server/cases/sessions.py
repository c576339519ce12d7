"""Cases for the chapter Sessions: login, the session key, taking over, logout, ping."""

from __future__ import annotations

import time

from conformance.server.context import FUTURE, Account, Bench, NotOffered, User, case
from conformance.wire import Packet, shown

PLACE = 10
MAX_CHUNK_BYTES = 262144


def log_in(bench: Bench, account: Account, **data: object) -> User:
    """A user of this account on a new connection, logged in; an assertion."""
    user = bench.guest(account)
    reply = user.login(**data)
    bench.check(user.is_on, f"`login_success` for {account.chatid}", f"this came: {shown(reply)}")
    return user


def answers(bench: Bench, user: User, what: str) -> None:
    """Fail unless this session goes on: a request of it is answered, and not by `not_logged_in`."""
    reply = user.request("get_messages", {"room_id": user.last_room, "from_time": FUTURE})
    bench.check(reply.get("code") != "not_logged_in", what, f"this came: {shown(reply)}")


@case(
    rules=["R-SESS-1", "R-SESS-2"],
    title="login with name and password answers login_success with chatid and session_key",
)
def login(bench: Bench) -> None:
    account = bench.account()
    user = log_in(bench, account)
    reply = user.login_success
    with bench.rule("R-SESS-2"):
        bench.equal(bench.get(reply, "data.chatid", str), account.chatid, "`data.chatid`")
        bench.check(
            bool(bench.get(reply, "data.session_key", str)),
            "a `session_key` that is not empty",
            f"this came: {shown(reply)}",
        )


@case(rules=["R-SESS-2"], title="session keys are long and never the same twice")
def keys_differ(bench: Bench) -> None:
    keys = [user.session_key for user in bench.users(2)]
    bench.check(
        len(set(keys)) == len(keys), "another `session_key` for each login", f"these came: {keys}"
    )
    for key in keys:
        bench.check(
            len(key) >= 16,
            "a `session_key` of at least 128 random bits",
            f"{key!r} has {len(key)} characters",
        )


@case(
    rules=["R-SESS-2"],
    level="full",
    offers="limits",
    title="login_success announces its limits as numbers of bytes",
)
def announces_limits(bench: Bench) -> None:
    reply = bench.user().login_success
    for key in ("max_frame", "max_content", "max_file", "max_chunk"):
        value = bench.get(reply, f"data.limits.{key}", int)
        bench.check(value >= 0, f"`limits.{key}` to be 0 or more", f"it is {value}")


@case(
    rules=["R-SESS-3"],
    level="full",
    offers="limits",
    title="limits.max_chunk is at most 262,144 and fits into a frame as base64",
)
def chunk_fits(bench: Bench) -> None:
    reply = bench.user().login_success
    chunk, frame = (
        bench.get(reply, "data.limits.max_chunk", int),
        bench.get(reply, "data.limits.max_frame", int),
    )
    bench.check(0 < chunk <= MAX_CHUNK_BYTES, "`max_chunk` of 1 to 262144", f"it is {chunk}")
    bench.check(
        frame == 0 or chunk * 4 / 3 < frame,
        "a chunk that fits into `max_frame` as base64",
        f"{chunk} and {frame}",
    )


@case(rules=["R-SESS-4"], title="a wrong password answers login_fail")
def wrong_password(bench: Bench) -> None:
    guest = bench.guest(bench.account())
    reply = guest.login(password=bench.password())
    bench.equal(reply.get("action"), "login_fail", "`action` of the answer to a wrong password")


@case(rules=["R-SESS-4"], title="an unknown name answers login_fail")
def unknown_name(bench: Bench) -> None:
    if bench.offers("first_login"):
        raise NotOffered(
            "a server that refuses unknown names",
            "this one makes accounts at the first login (R-ACC-3)",
        )
    guest = bench.guest()
    reply = guest.login()
    bench.equal(reply.get("action"), "login_fail", "`action` of the answer to an unknown name")


@case(rules=["R-SESS-4"], title="after login_fail the connection lives and may log in")
def login_after_fail(bench: Bench) -> None:
    guest = bench.guest(bench.account())
    with bench.given("`login_fail` for a wrong password"):
        reply = guest.login(password=bench.password())
        bench.equal(reply.get("action"), "login_fail", "`action`")
    reply = guest.login()
    bench.equal(
        reply.get("action"),
        "login_success",
        "`action` of the answer to the right password after a wrong one",
    )


@case(
    rules=["R-SESS-4"],
    level="full",
    title="wrong password, unknown name, a second login and a dead key give the same message",
)
def one_message_for_all(bench: Bench) -> None:
    on = bench.user()
    replies: dict[str, Packet] = {}
    with bench.given("`login_fail` for each of them"):
        replies["a wrong password"] = bench.guest(bench.account()).login(password=bench.password())
        if not bench.offers("first_login"):
            replies["an unknown name"] = bench.guest().login()
        replies["a second login"] = bench.guest(on.account).login()
        if bench.offers("session_key"):
            replies["a foreign key"] = bench.guest(on.account).login(session_key=bench.key())
        for why, reply in replies.items():
            bench.equal(reply.get("action"), "login_fail", f"`action` of the answer to {why}")
    said = {why: reply.get("message") for why, reply in replies.items()}
    bench.check(
        len(set(map(str, said.values()))) == 1,
        "one and the same message for all",
        f"these came: {shown(said)}",
    )


@case(
    rules=["R-SESS-5"],
    title="a second login of a user who is on is refused, and the first session goes on",
)
def second_login(bench: Bench) -> None:
    first = bench.user()
    second = bench.guest(first.account)
    reply = second.login()
    bench.equal(reply.get("action"), "login_fail", "`action` of the answer to a second login")
    answers(bench, first, "that the first session goes on")


@case(
    rules=["R-SESS-6"],
    title="login on a connection that is logged in is an error, and the session goes on",
)
def login_twice_here(bench: Bench) -> None:
    user = bench.user()
    reply = user.request("login", {"chatid": user.chatid, "password": user.account.password})
    bench.refused(reply, "forbidden", original="login")
    answers(bench, user, "that the session goes on")


@case(
    rules=["R-SESS-7"],
    title="a request with another's name is an error, and nothing is done in that name",
)
def anothers_name(bench: Bench) -> None:
    user, other = bench.users(2)
    room = bench.room_id()
    reply = user.request(
        "send_message", {"chatid": other.chatid, "room_id": room, "content": bench.text()}
    )
    bench.refused(reply, "forbidden", original="send_message")
    reply = user.request(
        "get_messages", {"chatid": other.chatid, "room_id": "lobby", "from_time": FUTURE}
    )
    bench.refused(reply, "forbidden", original="get_messages")


@case(rules=["R-SESS-7"], level="full", title="a request that leaves chatid out is bad_packet")
def no_name(bench: Bench) -> None:
    user = bench.user()
    user.wire.send({"action": "get_messages", "data": {"room_id": "lobby", "from_time": FUTURE}})
    bench.refused(user.reply("get_messages"), "bad_packet", original="get_messages")
    user.wire.send({"action": "file_list_req", "data": {"room_id": "lobby"}})
    bench.refused(user.reply("file_list_req"), "bad_packet", original="file_list_req")


@case(
    rules=["R-SESS-7"],
    level="full",
    offers="limits",
    title="chatid of a request may be written in another case",
)
def name_in_capitals(bench: Bench) -> None:
    user = bench.user()
    room = bench.room_id()
    user.ask(
        "send_message",
        {"chatid": user.chatid.upper(), "room_id": room, "content": bench.text()},
        want="character_count",
    )


@case(
    rules=["R-SESS-1"],
    level="full",
    offers="session_key",
    title="login with the session key answers login_success",
)
def login_by_key(bench: Bench) -> None:
    user = bench.user(own=True)
    user.close()
    again = log_in(bench, user.account, session_key=user.session_key)
    answers(bench, again, "a session")


@case(
    rules=["R-SESS-1"],
    level="full",
    offers="session_key",
    title="login with neither password nor key is bad_packet; of both the key counts",
)
def key_counts(bench: Bench) -> None:
    user = bench.user(own=True)
    guest = bench.guest(user.account)
    bench.refused(guest.request("login", {"chatid": user.chatid}), "bad_packet", original="login")
    reply = guest.login(session_key=bench.key(), password=user.account.password)
    bench.equal(
        reply.get("action"), "login_fail", "`action` where the key is wrong and the password right"
    )
    reply = guest.login(session_key=user.session_key, password=bench.password())
    bench.equal(
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
def foreign_key(bench: Bench) -> None:
    user, other = bench.user(own=True), bench.user()
    user.close()
    reply = bench.guest(user.account).login(session_key=other.session_key)
    bench.equal(reply.get("action"), "login_fail", "`action` of the answer to another's key")


@case(
    rules=["R-SESS-8"],
    level="full",
    offers="session_key",
    title="a login with the key takes the place of the other connection, which is closed",
)
def key_takes_over(bench: Bench) -> None:
    first = bench.user(own=True)
    second = log_in(bench, first.account, session_key=first.session_key)
    first.wire.wait_closed()
    answers(bench, second, "that the new session goes on")


@case(
    rules=["R-SESS-8"],
    level="full",
    offers="take_over",
    title="a login with the right password and take_over does, too; with a wrong one nothing happens",
)
def password_takes_over(bench: Bench) -> None:
    first = bench.user(own=True)
    guest = bench.guest(first.account)
    reply = guest.login(password=bench.password(), take_over=True)
    bench.equal(
        reply.get("action"),
        "login_fail",
        "`action` of the answer to take_over with a wrong password",
    )
    answers(bench, first, "that the first session goes on")
    reply = guest.login(take_over=True)
    bench.equal(reply.get("action"), "login_success", "`action` of the answer to take_over")
    first.wire.wait_closed()
    answers(bench, guest, "that the new session goes on")


def comes_free(bench: Bench, account: Account) -> User:
    """The user, whose connection ended just now, in a new session; fails where there is none. Asks
    a few times, as news of the end may take a moment."""
    guest = bench.guest(account)
    reply: Packet = {}
    for pause in (0.0, 0.1, 0.5, 2.0):
        time.sleep(pause)
        reply = guest.login()
        if guest.is_on:
            return guest
    bench.fail(
        "`login_success` once the user's connection was closed", f"this came: {shown(reply)}"
    )


@case(rules=["R-SESS-9"], title="the place of a client that closed its connection comes free")
def place_comes_free(bench: Bench) -> None:
    user = bench.user(own=True)
    user.close()
    comes_free(bench, user.account)


@case(rules=["R-SESS-9"], title="the place of a client whose connection was reset comes free")
def place_comes_free_after_reset(bench: Bench) -> None:
    user = bench.user(own=True)
    user.wire.reset()
    comes_free(bench, user.account)


@case(
    rules=["R-SESS-10"],
    level="full",
    offers="session_key",
    title="a login with the key keeps the key, one with the password ends the old one",
)
def key_is_kept(bench: Bench) -> None:
    account = bench.user(own=True)
    first = account.session_key
    second = log_in(bench, account.account, session_key=first)
    bench.equal(
        bench.get(second.login_success, "data.session_key", str),
        first,
        "`session_key` after a login with it",
    )
    second.close()
    third = log_in(bench, account.account, take_over=True)
    key = bench.get(third.login_success, "data.session_key", str)
    bench.check(
        key != first,
        "a new `session_key` after a login with the password",
        f"the old one came: {key}",
    )
    reply = bench.guest(account.account).login(session_key=first)
    bench.equal(reply.get("action"), "login_fail", "`action` of the answer to the old key")


@case(
    rules=["R-SESS-11"],
    level="full",
    offers=["session_key", "logout"],
    title="the session key dies at logout",
)
def key_dies_at_logout(bench: Bench) -> None:
    user = bench.user(own=True)
    with bench.given("`logout_ack`"):
        user.ask("logout")
    reply = bench.guest(user.account).login(session_key=user.session_key)
    bench.equal(
        reply.get("action"), "login_fail", "`action` of the answer to the key after `logout`"
    )


@case(
    rules=["R-SESS-11"],
    level="full",
    offers=["session_key", "change_password"],
    title="the session key dies at a change of the password",
)
def key_dies_with_password(bench: Bench) -> None:
    account = bench.account(fresh=True)
    user = log_in(bench, account)
    with bench.given("`password_changed`"):
        user.ask(
            "change_password", {"password": account.password, "new_password": bench.password()}
        )
    user.close()
    reply = bench.guest(account).login(session_key=user.session_key)
    bench.equal(
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
def key_survives_restart(bench: Bench) -> None:
    process = bench.target.process
    if process is None:
        raise NotOffered("a server that the kit may kill", "use --start-cmd")
    user = bench.user(own=True)
    process.restart()
    log_in(bench, user.account, session_key=user.session_key)


@case(
    rules=["R-SESS-12"],
    level="full",
    offers="logout",
    title="logout answers logout_ack, and the connection stays and may log in as somebody else",
)
def logout(bench: Bench) -> None:
    user = bench.user(own=True)
    reply = user.ask("logout")
    bench.equal(bench.get(reply, "data.chatid", str), user.chatid, "`data.chatid`")
    user.wire.send(user.packet("get_messages", {"room_id": "lobby", "from_time": FUTURE}))
    bench.refused(user.reply("get_messages"), "not_logged_in")
    other = bench.account()
    reply = user.request("login", {"chatid": other.chatid, "password": other.password})
    bench.equal(
        reply.get("action"),
        "login_success",
        "`action` of the answer to a login on the same connection",
    )
    bench.equal(bench.get(reply, "data.chatid", str), other.chatid, "`data.chatid`")


@case(
    rules=["R-SESS-12"],
    level="full",
    offers="logout",
    title="logout frees the user's place at once",
)
def logout_frees_the_place(bench: Bench) -> None:
    user = bench.user(own=True)
    user.ask("logout")
    log_in(bench, user.account)


@case(
    rules=["R-SESS-12"],
    level="full",
    offers="logout",
    title="open transactions are dropped at logout",
)
def logout_drops_transactions(bench: Bench) -> None:
    user = bench.user(own=True)
    room = bench.room_id()
    with bench.given("an open transaction, and a second session on this connection"):
        opened = user.ask(
            "send_message", {"room_id": room, "content": bench.text()}, want="character_count"
        )
        tid = bench.get(opened, "data.transaction_id", str)
        user.ask("logout")
        reply = user.login()
        bench.check(user.is_on, "`login_success`", f"this came: {shown(reply)}")
    bench.refused(
        user.request("confirm_count", {"transaction_id": tid, "confirm": True}),
        "transaction_not_found",
    )


@case(
    rules=["R-SESS-13"],
    level="full",
    offers="ping",
    title="ping answers pong, before login too, without data",
)
def ping(bench: Bench) -> None:
    wire = bench.connect()
    wire.send({"action": "ping"})
    wire.expect("pong")
    user = bench.user()
    user.wire.send({"action": "ping"})
    user.wire.expect("pong")
    user.wire.send({"action": "ping", "data": {}})
    user.wire.expect("pong")
