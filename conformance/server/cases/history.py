"""History: `get_messages` by time, by id, in pages, and what a page may hold."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from conformance.packets import FUTURE, PAST, Packet, shown
from conformance.server.cases.steps import another_session
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.user import User

MAX_CONTENT_BYTES = 16_384
"""R-MSG-13: no server may announce more."""


def contents(messages: list[Packet]) -> list[str]:
    """Return what was said, oldest first."""
    return [message["content"] for message in messages]


def page(context: ServerContext, user: User, room: str, **data: object) -> tuple[list[int], bool]:
    """Return the ids of one page and its `has_more`."""
    reply = user.ask("get_messages", {"room_id": room, **data})
    messages: list[Packet] = context.get_list(reply, "data.messages", dict)
    return [context.get(message, "message_id", int) for message in messages], context.get(
        reply, "data.has_more", bool
    )


def spoken(context: ServerContext, user: User, room: str, count: int) -> list[int]:
    """Say so many messages and return their ids."""
    ids = []
    for number in range(count):
        said = user.say(room, f"{number} {context.text()}")
        context.check(
            said.message_id is not None,
            "`message_id` in the ack",
            f"this came: {shown(said.ack)}",
            "R-MSG-4",
        )
        ids.append(said.message_id or 0)
    return ids


@case(
    rules=["R-HIST-1"],
    title="`get_messages` tells the messages of a room, oldest first, with id, sender, "
    "content and time",
)
def messages_of_a_room(context: ServerContext) -> None:
    first, second = context.users(2)
    room, elsewhere = context.room_id(), context.room_id()
    said = []
    for user in (first, second, first):
        text = context.text()
        ack = user.say(room, text).ack
        user.say(elsewhere, context.text())
        said.append((user.chatid, text, ack))
    for reader in (first, second):
        reply = reader.ask("get_messages", {"room_id": room, "from_time": PAST})
        context.equal(context.get(reply, "data.room_id", str), room, "`room_id` of `messages_list`")
        messages = reader.history(room)
        context.equal(
            [(each["sender_chatid"], each["content"]) for each in messages],
            [(who, text) for who, text, _ in said],
            "who said what",
        )
        ids = [context.get(each, "message_id", int) for each in messages]
        context.check(ids == sorted(set(ids)), "`message_id` to grow", f"the ids are {shown(ids)}")


@case(
    rules=["R-HIST-1", "R-MSG-4"],
    level="full",
    offers="message_id",
    title="history has the `message_id` and the `timestamp` of the ack",
)
def as_the_ack_said(context: ServerContext) -> None:
    user = context.user()
    room = context.room_id()
    said = [user.say(room, context.text()) for _ in range(2)]
    actual = [(each.get("message_id"), each["timestamp"]) for each in user.history(room)]
    context.equal(
        actual, [(each.message_id, each.timestamp) for each in said], "`message_id` and `timestamp`"
    )


@case(
    rules=["R-HIST-2"],
    title="with `from_time` the list holds what was said at that time or later, and nothing "
    "earlier",
)
def from_a_time_on(context: ServerContext) -> None:
    user, reader = context.users(2)
    room = context.room_id()
    said = [context.text() for _ in range(2)]
    for text in said:
        user.say(room, text)
    context.equal(contents(reader.history(room, from_time=FUTURE)), [], "what is to come")
    messages = reader.history(room, from_time=PAST)
    context.equal(contents(messages), said, "everything")
    last = messages[-1]["timestamp"]
    expected = [each["content"] for each in messages if each["timestamp"] >= last]
    context.equal(
        contents(reader.history(room, from_time=last)),
        expected,
        f"what was said at {last} or later",
    )


@case(
    rules=["R-HIST-2"],
    level="full",
    title="without `from_time`, `after_id` and `before_id` the request is `bad_packet`",
)
def from_nowhere(context: ServerContext) -> None:
    user = context.user()
    for data in ({"room_id": "lobby"}, {"room_id": "lobby", "limit": 10}):
        context.refused(user.request("get_messages", data), "bad_packet", original="get_messages")


@case(
    rules=["R-HIST-3"],
    level="full",
    title="`from_time` takes `Z`, any offset and fractions of a second",
)
def ways_to_write_a_time(context: ServerContext) -> None:
    user = context.user()
    room, text = context.room_id(), context.text()
    user.say(room, text)
    with context.given("the room's history"):
        (stored,) = user.history(room) or [{}]
        moment = moment_of(context, context.get(stored, "timestamp", str))
    for hours in (-3.5, 1.0, 5.5):
        there = moment.astimezone(timezone(timedelta(hours=hours)))
        for written, found in (
            (there, 1),
            (there - timedelta(seconds=1), 1),
            (there + timedelta(seconds=1), 0),
        ):
            context.equal(
                len(user.history(room, from_time=written.isoformat())),
                found,
                f"how many messages are at or after {written.isoformat()}",
            )
    near = {
        f"{moment:%Y-%m-%dT%H:%M:%S}.000Z": 1,
        f"{moment:%Y-%m-%dT%H:%M:%S}.5Z": 0,
        f"{moment:%Y-%m-%dT%H:%M:%S}.25+00:00": 0,
        f"{moment - timedelta(seconds=1):%Y-%m-%dT%H:%M:%S}.5Z": 1,
        f"{moment - timedelta(seconds=1):%Y-%m-%dT%H:%M:%S}.123456789Z": 1,
        "0001-01-01T00:00:00Z": 1,
        "1969-12-31T23:59:59Z": 1,
        "9999-12-31T23:59:59Z": 0,
    }
    for written_so, found in near.items():
        context.equal(
            len(user.history(room, from_time=written_so)),
            found,
            f"how many messages are at or after {written_so}",
        )


@case(
    rules=["R-HIST-3"],
    level="full",
    title="a `from_time` without a zone, or that is no time at all, is `bad_time`",
)
def no_time(context: ServerContext) -> None:
    user = context.user()
    wrong = [
        "2024-01-01T00:00:00",
        "2024-01-01",
        "yesterday",
        "1704067200",
        "2024-13-01T00:00:00Z",
        "2024-02-30T00:00:00Z",
        "2024-01-01T25:00:00Z",
        "2024-01-01T00:00:00+25:00",
        "12:00:00Z",
        " 2024-01-01T00:00:00Z",
        "2024-01-01T00:00:00 CET",
    ]
    for text in ("9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00"):
        reply = user.request("get_messages", {"room_id": "lobby", "from_time": text})
        if reply.get("action") != "messages_list":
            context.refused(reply, "bad_time", original="get_messages")
    for text in wrong:
        context.refused(
            user.request("get_messages", {"room_id": "lobby", "from_time": text}),
            "bad_time",
            original="get_messages",
        )
    for value in (17, None, True, ["2024-01-01T00:00:00Z"]):
        context.refused(
            user.request("get_messages", {"room_id": "lobby", "from_time": value}),
            "bad_packet",
            original="get_messages",
        )


@case(
    rules=["R-HIST-4", "R-HIST-6", "R-HIST-7"],
    level="full",
    offers="after_id",
    title="`after_id` gives what has a greater id, `limit` bounds the page, `has_more` says "
    "whether more follows",
)
def after_an_id(context: ServerContext) -> None:
    user, reader = context.users(2)
    room = context.room_id()
    ids = spoken(context, user, room, 5)
    for after, limit, expected, more in (
        (0, 100, ids, False),
        (ids[1], 100, ids[2:], False),
        (ids[4], 100, [], False),
        (ids[0], 2, ids[1:3], True),
        (ids[2], 2, ids[3:], False),
        (0, 1, ids[:1], True),
        (ids[1] + 0, 1000, ids[2:], False),
    ):
        actual, has_more = page(context, reader, room, after_id=after, limit=limit)
        context.equal(
            actual,
            expected,
            f"the ids after {after} with limit {limit}",
            "R-HIST-6" if limit < 5 else "R-HIST-4",
        )
        context.equal(has_more, more, f"`has_more` after {after} with limit {limit}", "R-HIST-7")
    actual, _ = page(context, reader, room, after_id=ids[2])
    context.equal(actual, ids[3:], f"the ids after {ids[2]}")
    actual, _ = page(context, reader, room, after_id=0, from_time=FUTURE)
    context.equal(actual, [], "the ids after 0 that are of a time to come", "R-HIST-2")
    elsewhere, later = spoken(context, user, context.room_id(), 1), spoken(context, user, room, 1)
    with context.given("an id in another room that lies between two of this room"):
        context.check(ids[-1] < elsewhere[0] < later[0], "ids that grow", "they do not")
    actual, _ = page(context, reader, room, after_id=elsewhere[0])
    context.equal(actual, later, f"the ids after {elsewhere[0]}, which is of another room")


@case(
    rules=["R-HIST-5", "R-HIST-7"],
    level="full",
    offers="before_id",
    title="`before_id` gives the page that ends just before it, `null` the newest, oldest first",
)
def before_an_id(context: ServerContext) -> None:
    user, reader = context.users(2)
    room = context.room_id()
    ids = spoken(context, user, room, 5)
    for before, limit, expected, more in (
        (None, 2, ids[3:], True),
        (ids[3], 2, ids[1:3], True),
        (ids[1], 2, ids[:1], False),
        (ids[0], 2, [], False),
        (None, 5, ids, False),
        (ids[4] + 1, 3, ids[2:], True),
    ):
        actual, has_more = page(context, reader, room, before_id=before, limit=limit)
        context.equal(actual, expected, f"the ids before {before} with limit {limit}")
        context.equal(has_more, more, f"`has_more` before {before} with limit {limit}", "R-HIST-7")
    actual, _ = page(context, reader, room, before_id=None)
    context.equal(actual, ids, "the newest page")
    actual, _ = page(context, reader, room, before_id=None, from_time=FUTURE)
    context.equal(actual, [], "the newest page of a time to come", "R-HIST-2")
    elsewhere = spoken(context, user, context.room_id(), 1)
    later = spoken(context, user, room, 1)
    with context.given("an id in another room that lies between two of this room"):
        context.check(ids[-1] < elsewhere[0] < later[0], "ids that grow", "they do not")
    actual, _ = page(context, reader, room, before_id=elsewhere[0])
    context.equal(actual, ids, f"the ids before {elsewhere[0]}, which is of another room")
    if context.offers("after_id"):
        actual, _ = page(context, reader, room, before_id=ids[4], after_id=ids[1])
        between = f"the ids after {ids[1]} and before {ids[4]}"
        context.equal(actual, ids[2:4], between, "R-HIST-4")


@case(
    rules=["R-HIST-6", "R-LIM-6"],
    level="full",
    offers="limit",
    title="`limit` is an integer from 1 to 1,000",
)
def bounds_of_limit(context: ServerContext) -> None:
    user = context.user()
    for limit in (0, -1, 1001, True, 1.0, "5", None):
        reply = user.request(
            "get_messages", {"room_id": "lobby", "from_time": PAST, "limit": limit}
        )
        context.refused(reply, "bad_packet", original="get_messages")
    for limit in (1, 1000):
        user.ask("get_messages", {"room_id": "lobby", "from_time": FUTURE, "limit": limit})


@case(
    rules=["R-HIST-6"],
    level="robust",
    offers=["before_id", "limits"],
    title="a page that would pass `max_frame` is cut to what fits, and the rest follows",
)
def page_of_a_frame(context: ServerContext) -> None:
    user = context.user(own=True)
    room = context.room_id()
    most = context.get(user.login_success, "data.limits.max_content", int)
    frame = context.get(user.login_success, "data.limits.max_frame", int)
    count = frame // max(1, most) + 3
    if most > MAX_CONTENT_BYTES or not 0 < count <= 90:
        return
    text = context.text().encode("ascii", "ignore").decode() + "x"
    ids = []
    for _ in range(count):
        said = user.say(room, (text * (most // len(text) + 1))[:most])
        ids.append(said.message_id)
    actual, more = page(context, user, room, before_id=None, limit=1000)
    context.check(
        0 < len(actual) < count,
        f"a page of fewer than {count} messages that fits into {frame} bytes",
        f"it had {len(actual)}",
    )
    context.equal(more, True, "`has_more` of the newest page", "R-HIST-7")
    context.equal(actual, ids[-len(actual) :], "the newest page")
    rest, _ = page(context, user, room, before_id=actual[0], limit=1000)
    context.equal(rest + actual, ids, "both pages together")


def talk(context: ServerContext, users: list[User], room: str, each: int) -> set[str]:
    """Say so many messages by each user, many under way at once; what was said (a precondition)."""
    with context.given(f"{each} messages of each of {len(users)} users"):
        said = {
            user.chatid: [f"{context.key()} of {user.chatid}" for _ in range(each)]
            for user in users
        }
        for user in users:
            user.wire.send_together(
                [
                    user.packet("send_message", {"room_id": room, "content": text})
                    for text in said[user.chatid]
                ]
            )
        for user in users:
            for _ in range(each):
                opened = user.wire.expect("character_count")
                user.send(
                    "confirm_count",
                    {
                        "transaction_id": context.get(opened, "data.transaction_id", str),
                        "confirm": True,
                    },
                )
        for user in users:
            for _ in range(each):
                context.equal(
                    user.reply("confirm_count").get("status"), "success", "`status` of the ack"
                )
            user.wire.take_aside()
    return {text for texts in said.values() for text in texts}


def pages_by_time(context: ServerContext, reader: User, room: str) -> list[list[Packet]]:
    """Return every page of a room, read on from the last timestamp of each.

    Where such a page brings nothing new, although more follows, its seconds are whole, so the next
    second is asked for.
    """
    pages: list[list[Packet]] = []
    known: set[int] = set()
    from_time = PAST
    for _ in range(40):
        reply = reader.ask("get_messages", {"room_id": room, "from_time": from_time})
        messages: list[Packet] = context.get_list(reply, "data.messages", dict)
        ids = {context.get(message, "message_id", int) for message in messages}
        for message in messages:
            context.get(message, "content", str)
            moment_of(context, context.get(message, "timestamp", str))
        pages.append(messages)
        if context.get(reply, "data.has_more", bool) is False:
            return pages
        context.check(bool(messages), "messages on a page with `has_more`", "it was empty")
        last = moment_of(context, messages[-1]["timestamp"])
        context.check(last.year < 9999, "a timestamp of these years", f"it was {last}", "R-ORDER-4")
        from_time = f"{last if ids - known else last + timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}"
        known |= ids
    context.fail("the pages to come to an end", "`has_more` was still true on the 40th")


def moment_of(context: ServerContext, stamp: str) -> datetime:
    """Return the time that a `timestamp` means."""
    try:
        return datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        context.fail("a timestamp as 2024-01-01T12:00:00Z", f"it was {stamp!r}", "R-ORDER-4")


@case(
    rules=["R-HIST-8", "R-HIST-6"],
    level="robust",
    offers="limits",
    title="who reads on from the last timestamp of each page misses nothing; a page holds "
    "whole seconds",
)
def page_by_page_by_time(context: ServerContext) -> None:
    users = context.users(3, own=True)
    room = context.room_id()
    said: set[str] = set()
    few = context.people.accounts_are_few()
    for turn in range(4):  # others each time, so that nobody waits for a new burst (R-LIM-3)
        if turn and few:
            users = [another_session(context, user) for user in users]
        elif turn:
            for user in users:
                user.close()
            users = context.users(3, own=True)
        said |= talk(context, users, room, 45) | talk(context, users, room, 45)
    pages = pages_by_time(context, another_session(context, users[0]), room)
    stamps = {message["message_id"]: message["timestamp"] for each in pages for message in each}
    found = {message["content"] for each in pages for message in each}
    missing = said - found
    context.check(
        not missing,
        f"all {len(said)} messages",
        f"{len(missing)} were on no page, as {shown(sorted(missing)[:3])}",
    )
    for each in (page for page in pages if page):
        ids = [message["message_id"] for message in each]
        context.check(
            ids == sorted(set(ids)),
            "each page oldest first",
            f"the ids are {shown(ids)}",
            "R-HIST-1",
        )
        last = each[-1]["timestamp"]
        whole = {message_id for message_id, stamp in stamps.items() if stamp == last}
        context.check(
            whole <= set(ids),
            f"all messages of {last} on one page",
            f"{len(whole - set(ids))} of them were not",
        )
        before = len(ids) - len(whole)
        context.check(
            len(ids) <= 1000 or before < 1000,
            "at most 1,000 messages and the rest of a second",
            f"{len(ids)}",
            "R-HIST-6",
        )
