"""Users, presence and events: who is on, what was asked for at login, and that nobody else is
told."""

from __future__ import annotations

import time
from collections.abc import Callable

from conformance.packets import FUTURE, Packet, shown
from conformance.server.cases.steps import SEED_PACKETS, in_room, pages, private_room, uploaded
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.target import Account
from conformance.server.user import User

PRESENCE = ("user_online", "user_offline")
PRESENCE_SECONDS = 5.0


def event(context: ServerContext, user: User, kind: str, **expected: object) -> Packet:
    """Wait for the next `event` of this type about these things (an assertion)."""

    def wanted(packet: Packet) -> bool:
        data = packet.get("data")
        if (
            packet.get("action") != "event"
            or not isinstance(data, dict)
            or data.get("type") != kind
        ):
            return False
        return all(data.get(key) == value for key, value in expected.items())

    about = "".join(f", {key} {value}" for key, value in expected.items())
    # Who is on is told of one name at most once in 5 s (R-EVT-9): the news may be as old as that.
    patience = user.wire.timeout + (PRESENCE_SECONDS if kind in PRESENCE else 0.0)
    return user.wire.receive_where(wanted, f"`event` of type {kind}{about}", patience)


def unheard_account(context: ServerContext) -> Account:
    """Return an account whose next coming is told: the case before may have used one of --account,
    and news of that comes 5 s late (R-EVT-9)."""
    account = context.account()
    if account.is_given:
        time.sleep(PRESENCE_SECONDS + 0.5)
    return account


def events_of(user: User) -> list[Packet]:
    """Return the `event` packets that wait and have an object `data`."""
    return [
        packet
        for packet in user.wire.aside()
        if packet.get("action") == "event" and isinstance(packet.get("data"), dict)
    ]


@case(
    rules=["R-EVT-1"],
    level="full",
    title="who asked for nothing receives nothing but the 24 packets, whatever others do",
)
def only_the_24(context: ServerContext) -> None:
    plain, busy = _asks_for_nothing(context), context.user()
    room = context.room_id()
    if context.offers("create_room"):
        private = private_room(context, busy, plain)
        for action, data in (
            ("rename_room", {"room_id": private, "new_room_name": "renamed"}),
            ("remove_user_from_room", {"room_id": private, "user_to_remove": plain.chatid}),
            ("add_user_to_room", {"room_id": private, "user_to_add": plain.chatid}),
            ("delete_room", {"room_id": private}),
        ):
            if context.offers(action):
                with context.given(f"a reply to `{action}`"):
                    busy.ask(action, data)
    if context.offers("typing"):
        typist = context.user(features=["typing"])
        busy.say(room, context.text())
        typist.send("typing", {"room_id": room})
        typist.fence()
        typist.close()
    if context.offers("logout"):
        passing = context.user(own=True)
        passing.request("logout")
    busy.say(room, "the last")
    while plain.hear(room)["data"]["content"] != "the last":
        context.transcript.note("an earlier message", plain.chatid)
    strange = [
        packet for packet in plain.wire.take_aside() if packet.get("action") not in SEED_PACKETS
    ]
    context.check(not strange, "nothing but the 24 packets", f"this came: {shown(strange)}")


def _asks_for_nothing(context: ServerContext) -> User:
    """Log a user in without features, behind one who asked for events on the same connection."""
    if not (context.offers("events") and context.offers("logout")):
        return context.user(own=True)
    user = context.guest(context.account())
    with context.given("a second login on one connection"):
        user.login(features=["events"])
        user.ask("logout")
        user.login()
        context.check(user.is_on, "`login_success`", "the login failed")
    user.wire.take_aside()
    return user


@case(
    rules=["R-EVT-2"],
    level="full",
    offers="events",
    title="`features` of the login are granted as far as they are known; unknown words are "
    "no error",
)
def features(context: ServerContext) -> None:
    account = context.account()
    unknown = context.name("feature")
    user = context.guest(account)
    reply = user.login(features=["events", unknown])
    context.equal(
        reply.get("action"), "login_success", "the reply to a login with an unknown feature"
    )
    granted = context.get(reply, "data.features", list)
    context.equal(granted, ["events"], "`features` that are granted")


@case(
    rules=["R-EVT-2"],
    level="full",
    offers="events",
    title="`features` that is no list of words is `bad_packet`",
)
def features_are_words(context: ServerContext) -> None:
    account = context.account()
    user = context.guest(account)
    for wrong in ("events", {"events": True}, [17], [None], True):
        context.refused(
            user.login(features=wrong), "bad_packet", original="login", rule="R-JSON-11"
        )
    right = {"password": account.password}
    nulls: list[Packet] = [{**right, key: None} for key in ("features", "take_over", "session_key")]
    for data in [*nulls, {"session_key": context.key(), "password": None}]:
        reply = user.login(**data)
        context.refused(reply, "bad_packet", original="login", rule="R-JSON-11")
    reply = user.login(features=[])
    context.equal(reply.get("action"), "login_success", "the reply to a login with an empty list")
    context.equal(context.get(reply, "data.features", list), [], "`features` that are granted")


@case(
    rules=["R-EVT-3"],
    level="full",
    offers="events",
    title="who asked for events is told who comes and who goes",
)
def who_comes_and_goes(context: ServerContext) -> None:
    watcher, gone = context.user(features=["events"]), []
    for leave in _ways_to_go(context):
        coming = context.guest(unheard_account(context))
        with context.given("a user who logs in"):
            context.check(
                coming.login().get("action") == "login_success",
                "`login_success`",
                "the login failed",
            )
        event(context, watcher, "user_online", chatid=coming.chatid)
        leave(coming)
        gone.append(coming.chatid)
    for name in gone:  # both at once: each may be told 5 s late (R-EVT-9)
        event(context, watcher, "user_offline", chatid=name)
    own = [
        packet for packet in events_of(watcher) if packet["data"].get("chatid") == watcher.chatid
    ]
    context.check(not own, "no event about oneself", f"this came: {shown(own)}")


@case(
    rules=["R-EVT-9"],
    level="full",
    offers=["events", "logout"],
    title="who comes and goes again and again is told of once in 5 s, and the last state always",
)
def presence_in_turn(context: ServerContext) -> None:
    watcher, account = context.user(features=["events"]), unheard_account(context)
    for _ in range(3):
        coming = context.guest(account)
        with context.given("a user who logs in and out"):
            context.equal(coming.login().get("action"), "login_success", "the reply to `login`")
            coming.ask("logout")
        coming.close()
    event(context, watcher, "user_online", chatid=account.chatid)
    event(context, watcher, "user_offline", chatid=account.chatid)
    watcher.request("get_messages", {"room_id": "lobby", "from_time": FUTURE})
    more = [
        packet for packet in events_of(watcher) if packet["data"].get("chatid") == account.chatid
    ]
    context.check(not more, "one `user_online` and one `user_offline`", f"more: {shown(more)}")


def _ways_to_go(context: ServerContext) -> list[Callable[[User], None]]:
    def log_out(user: User) -> None:
        user.ask("logout")
        user.close()

    ways: list[Callable[[User], None]] = [lambda user: user.close()]
    return [*ways, log_out] if context.offers("logout") else ways


@case(
    rules=["R-EVT-3"],
    level="full",
    offers=["events", "create_room", "rename_room", "delete_room"],
    title="members are told that a room is made, renamed and deleted, and others are not",
)
def a_rooms_life(context: ServerContext) -> None:
    owner, member, stranger = (context.user(features=["events"]) for _ in range(3))
    first, second = context.room_id("team"), context.room_id("new team")
    room = private_room(context, owner, member, name=first)
    owner.ask("rename_room", {"room_id": room, "new_room_name": second})
    if context.offers("remove_user_from_room") and context.offers("add_user_to_room"):
        owner.ask("remove_user_from_room", {"room_id": room, "user_to_remove": member.chatid})
        owner.ask("add_user_to_room", {"room_id": room, "user_to_add": member.chatid})
    owner.ask("delete_room", {"room_id": room})
    for user in (member, owner):
        event(context, user, "room_created", room_id=room, name=first)
        event(context, user, "room_renamed", room_id=room, name=second)
        event(context, user, "room_deleted", room_id=room, name=second)
    everybodys = context.room_id()
    owner.say(everybodys, context.text())
    stranger.hear(everybodys)
    got = in_room(stranger.wire.aside(), room)
    context.check(not got, "that no stranger is told of a private room", f"this came: {shown(got)}")


@case(
    rules=["R-EVT-3"],
    level="full",
    offers="events",
    title="everybody who asked for events is told of a new open room",
)
def a_new_open_room(context: ServerContext) -> None:
    sender, watcher = (context.user(features=["events"]) for _ in range(2))
    room, other = context.room_id(), context.room_id()
    sender.say(room, context.text())
    uploaded(context, sender, other, "first.txt", b"a file makes a room, too")
    for user in (watcher, sender):
        event(context, user, "room_created", room_id=room, name=room)
        event(context, user, "room_created", room_id=other, name=other)


@case(
    rules=["R-EVT-3"],
    level="full",
    offers=["events", "create_room", "add_user_to_room", "remove_user_from_room"],
    title="members, and the user meant, are told who is added and who is removed",
)
def who_joins_a_room(context: ServerContext) -> None:
    owner, member, other = (context.user(features=["events"]) for _ in range(3))
    room = private_room(context, owner, member)
    owner.ask("add_user_to_room", {"room_id": room, "user_to_add": other.chatid})
    for user in (owner, member, other):
        event(context, user, "user_added", room_id=room, chatid=other.chatid)
    owner.ask("remove_user_from_room", {"room_id": room, "user_to_remove": other.chatid})
    for user in (owner, member, other):
        event(context, user, "user_removed", room_id=room, chatid=other.chatid)
    if context.offers("rename_room"):
        owner.ask("rename_room", {"room_id": room, "new_room_name": context.room_id("later")})
        event(context, member, "room_renamed", room_id=room)
        everybodys = context.room_id()
        owner.say(everybodys, context.text())
        other.hear(everybodys)
        told = in_room(events_of(other), room)
        context.check(not told, "no event for who was removed", f"this came: {shown(told)}")


@case(
    rules=["R-EVT-6"],
    level="full",
    offers=["events", "create_room", "add_user_to_room"],
    title="nobody is told of a request that changes nothing",
)
def nothing_changed(context: ServerContext) -> None:
    owner, member = context.user(), context.user(features=["events"])
    newcomer, old = context.user(), context.room_id("team")
    room = private_room(context, owner, member, name=old)
    event(context, member, "room_created", room_id=room)
    reply = owner.ask("add_user_to_room", {"room_id": room, "user_to_add": member.chatid})
    context.equal(reply.get("action"), "user_added", "the reply for somebody who is a member")
    if context.offers("rename_room"):
        reply = owner.ask("rename_room", {"room_id": room, "new_room_name": old})
        context.equal(reply.get("action"), "room_renamed", "the reply for the name that it has")
    owner.ask("add_user_to_room", {"room_id": room, "user_to_add": newcomer.chatid})
    event(context, member, "user_added", room_id=room, chatid=newcomer.chatid)
    told = in_room(events_of(member), room)
    context.check(
        not told, "no event about what was so before", f"this came: {shown(told)}", "R-EVT-6"
    )


@case(
    rules=["R-EVT-7", "R-EVT-9"],
    level="full",
    offers=["events", "session_key"],
    title="a session whose place is taken is told, and then closed; nobody else is told",
)
def taken_over(context: ServerContext) -> None:
    watcher, first = context.user(features=["events"]), context.guest(unheard_account(context))
    with context.given("a user who asked for events"):
        first.login(features=["events"])
        context.check(first.is_on, "`login_success`", "the login failed")
    second = context.guest(first.account)
    with context.given("a login with the session's key"):
        second.login(session_key=first.session_key)
        context.check(second.is_on, "`login_success`", "the login failed")
    event(context, first, "taken_over")
    first.wire.wait_closed()
    event(context, watcher, "user_online", chatid=first.chatid)
    watcher.fence()
    told = [each for each in events_of(watcher) if each["data"].get("chatid") == first.chatid]
    context.check(not told, "no event of a take-over", f"this came: {shown(told)}", "R-EVT-9")


@case(
    rules=["R-EVT-4", "R-EVT-3"],
    level="full",
    offers=["events", "typing"],
    title="`typing` has no reply and reaches every other member who asked for events",
)
def typing(context: ServerContext) -> None:
    typist, watcher = context.user(features=["typing", "events"]), context.user(features=["events"])
    room = context.room_id()
    typist.say(room, context.text())
    typist.send("typing", {"room_id": room})
    event(context, watcher, "typing", room_id=room, chatid=typist.chatid)
    reply = typist.request("get_messages", {"room_id": room, "from_time": FUTURE})
    context.equal(
        reply.get("action"),
        "messages_list",
        "the only reply to `typing` and `get_messages`",
        "R-EVT-4",
    )
    answers = [
        packet
        for packet in typist.wire.aside()
        if packet.get("action") not in ("event", "receive_message", "receive_file")
    ]
    context.check(not answers, "no reply to `typing`", f"this came: {shown(answers)}", "R-EVT-4")
    own = [packet for packet in events_of(typist) if packet["data"].get("type") == "typing"]
    context.check(
        not own, "no `typing` event for the typist", f"this came: {shown(own)}", "R-EVT-3"
    )
    if context.offers("leave_room"):
        watcher.ask("leave_room", {"room_id": room})
        typist.send("typing", {"room_id": room})
        elsewhere, said = context.room_id(), context.text()
        typist.say(elsewhere, said)
        watcher.hear_this(elsewhere, said)
        told = [each for each in events_of(watcher) if each["data"].get("type") == "typing"]
        context.check(
            not told, "no `typing` event for who left", f"this came: {shown(told)}", "R-EVT-3"
        )
    for name, code in ((watcher.chatid, "forbidden"), (None, "bad_packet")):
        data = {"room_id": room, **({"chatid": name} if name else {})}
        typist.wire.send({"action": "typing", "data": data})
        with context.rule("R-SESS-7"):
            context.refused(typist.wire.expect("error"), code, original="typing")


@case(
    rules=["R-EVT-4"],
    level="full",
    offers="typing",
    title="`typing` of somebody who was not granted it is `forbidden`",
)
def typing_not_granted(context: ServerContext) -> None:
    user = context.user()
    room = context.room_id()
    user.say(room, context.text())
    user.send("typing", {"room_id": room})
    reply = user.wire.receive_where(lambda packet: packet.get("action") == "error", "`error`")
    context.refused(reply, "forbidden", original="typing")


@case(
    rules=["R-EVT-5"],
    level="full",
    offers="get_users",
    title="`get_users` tells all accounts, and who of them is on",
)
def who_is_there(context: ServerContext) -> None:
    user, other = context.users(2)
    offline = context.account()
    names, online = everybody(context, user)
    until = time.monotonic() + context.target.timeout
    while offline.chatid in online and time.monotonic() < until:
        names, online = everybody(context, user)
    context.check(
        {user.chatid, other.chatid, offline.chatid} <= set(names),
        "every account",
        f"the names are {shown(names)}",
    )
    context.equal(
        [name in online for name in (user.chatid, other.chatid, offline.chatid)],
        [True, True, False],
        "who of two users and one who left is on",
    )


def everybody(context: ServerContext, user: User) -> tuple[list[str], set[str]]:
    """Return the names of all accounts, and of those who are on (an assertion)."""
    names: list[str] = []
    online: set[str] = set()
    asked: Packet = {}
    for _ in range(200):
        reply = user.ask("get_users", asked)
        page = context.get_list(reply, "data.users", str)
        on = context.get_list(reply, "data.online", str)
        context.check(
            set(on) <= set(page), "`online` to be some of `users`", f"this came: {shown(reply)}"
        )
        names += page
        online |= set(on)
        if context.get(reply, "data.has_more", bool) is False or not page:
            break
        asked = {"after": page[-1]}
    return names, online


@case(
    rules=["R-EVT-5", "R-ROOM-20"],
    level="full",
    offers="get_users",
    title="the list of users is sorted by name and pages by `after` and `limit`",
)
def pages_of_accounts(context: ServerContext) -> None:
    user = context.user()
    context.user()
    names = [name for page in pages(context, user, "get_users", "users") for name in page]
    context.check(
        names == sorted(set(names)),
        "the names sorted by code points",
        f"they were {shown(names)}",
        "R-ROOM-20",
    )
    context.check(len(names) > 1, "two names at least", f"they were {shown(names)}")
    for asked, expected in (
        ({"limit": 1}, names[:1]),
        ({"after": names[0], "limit": 1}, names[1:2]),
        ({"after": names[-2]}, names[-1:]),
        ({"after": names[-2], "limit": 1}, names[-1:]),
    ):
        reply = user.ask("get_users", asked)
        context.equal(
            context.get(reply, "data.users", list), expected, f"`users` for {shown(asked)}"
        )
        online = context.get(reply, "data.online", list)
        context.check(
            all(name in expected for name in online),
            f"`online` to be some of `users` for {shown(asked)}",
            f"it was {shown(online)}",
        )
        context.equal(
            context.get(reply, "data.has_more", bool),
            bool(expected) and expected[-1] != names[-1],
            f"`has_more` for {shown(asked)}",
        )
