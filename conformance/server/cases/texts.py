"""Texts as they come: escapes of JSON, long runs of one letter, ids and names that look alike, and
in which order they are listed."""

from __future__ import annotations

import json
from collections.abc import Callable

from conformance.packets import PAST, Packet, data_of, letters, shown
from conformance.server.cases.accounts import register
from conformance.server.cases.messages.steps import check_counts, opened
from conformance.server.cases.steps import pages, rooms_of
from conformance.server.context import ServerContext
from conformance.server.registry import case

RUNS = (127, 128, 255, 256, 257, 12_345)
"""So many equal letters: what a byte holds, with a sign and without, and more."""
ESCAPED = [
    ("\\u00C9t\\u00e9", "\u00c9t\u00e9"),
    ('a\\/b \\"c\\" \\\\d', 'a/b "c" \\d'),
    ("x\\b\\f\\n\\r\\ty", "x\b\f\n\r\ty"),
    ("\\uD83D\\uDC4d\\u003c", "\U0001f44d<"),
]
"""JSON as it is written, and the text that it means (RFC 8259, section 7)."""

AWKWARD = (
    "it's; DROP TABLE users; --",
    '<b>&amp; "quoted" &lt;</b>',
    "a|b,c;d\te",
    "first\nsecond\r\nthird",
    "null",
    "123",
    "01.50",
    "true",
    "%s %d {0} ${x} %20 +",
    '{"a": [1, 2]}',
    "C:\\new\\table",
    "=1+1",
    "e\u0301 \u00e9 \U0001f44d",
    "\x07\x1b[1m\x7f",
    "/join a\u2028b\ufeffc\x85d\ue000e\ufffef\U0010fffdg\u200bh",
)
"""What SQL, HTML, files of lines, formats and readers of numbers take for their own."""
HUNDRED_AND_TWENTY = 120


@case(
    rules=["R-MSG-4"],
    title="texts that mean something to SQL, HTML, formats or readers of numbers arrive as texts",
)
def awkward_texts_arrive(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    room = context.room_id()
    for content in AWKWARD:
        sender.say(room, content)
        hearer.hear_this(room, content)


@case(
    rules=["R-HIST-1"],
    title="texts that mean something to SQL or HTML, and those of several lines, stand in the "
    "history as they were said",
)
def awkward_texts_stay(context: ServerContext) -> None:
    user, room = context.user(), context.room_id()
    for content in AWKWARD:
        user.say(room, content)
    told = [message["content"] for message in user.history(room)]
    context.equal(told, list(AWKWARD), "the room's history")


@case(
    rules=["R-HIST-1"],
    title=f"the history has all of {HUNDRED_AND_TWENTY} messages",
)
def long_history(context: ServerContext) -> None:
    users, room = context.users(2, own=True), context.room_id()
    said = [f"{number} {context.text(1)}" for number in range(HUNDRED_AND_TWENTY)]
    for number, content in enumerate(said):
        users[number % 2].say(room, content)
    told = [message["content"] for message in users[0].history(room)]
    context.check(
        told == said,
        f"all {len(said)} messages, oldest first",
        f"{len(told)} came, of them {len(set(told) & set(said))} of those",
    )


@case(
    rules=["R-MSG-1"],
    title="the counts of 127 to 12,345 equal letters are right",
)
def many_equal_letters(context: ServerContext) -> None:
    check_counts(context, [("a" * run) + "b" for run in RUNS])


@case(
    rules=["R-FRAME-1"],
    title="every escape that JSON knows is read: `\\u00C9`, `\\/`, `\\b`, surrogate pairs",
)
def escapes(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    room = context.room_id()
    for written, meant in ESCAPED:
        packet = sender.packet("send_message", {"room_id": room, "content": "CONTENT"})
        sender.wire.send_frame(json.dumps(packet).replace("CONTENT", written).encode())
        reply = sender.reply("send_message")
        context.equal(reply.get("action"), "character_count", f"the answer to {written}")
        counts = context.get(reply, "data.letter_frequencies", dict)
        context.equal(counts, letters(meant), f"the counts of {written}")
        tid = context.get(reply, "data.transaction_id", str)
        with context.given("a message that is confirmed"):
            sender.confirm(room, meant, tid)
        hearer.hear_this(room, meant)


@case(
    rules=["R-ROOM-7"],
    title="rooms are different where their ids differ in case, width or form",
)
def ids_that_look_alike(context: ServerContext) -> None:
    user, hearer = context.users(2)
    stem = context.room_id()
    ids = [f"{stem}-Aé", f"{stem}-aé", f"{stem}-Ae\u0301", f"{stem}-\uff21é", f"{stem}-Aé\u0301"]
    said = {room: f"in {number} {context.text()}" for number, room in enumerate(ids)}
    for room, content in said.items():
        user.say(room, content)
        with context.given("`receive_message` for a receiver"):
            heard = hearer.wire.receive_where(_says(content), "`receive_message`")
        context.equal(heard["data"].get("room_id"), room, "`room_id` of `receive_message`")
    for room, content in said.items():
        told = [message["content"] for message in user.history(room)]
        context.equal(told, [content], f"the messages of {shown(room, is_plain=False)}")


def _says(content: str) -> Callable[[Packet], bool]:
    return lambda packet: data_of(packet).get("content") == content


@case(
    rules=["R-ROOM-20"],
    level="full",
    offers="get_rooms",
    title="rooms are listed in the order of code points: capitals first, U+FF5A before U+1F44D",
)
def rooms_by_code_points(context: ServerContext) -> None:
    user, stem = context.user(), context.room_id()
    ids = [f"{stem}-{end}" for end in ("b", "B", "\U0001f44d", "\uff5a", "é", "z", "_")]
    with context.given("rooms"):
        for room in ids:
            user.say(room, context.text())
    listed = [room for room in rooms_of(context, user) if room.startswith(stem)]
    context.equal(listed, sorted(ids), "the ids of the rooms in the list")


@case(
    rules=["R-ROOM-20"],
    level="full",
    offers=["get_users", "register"],
    title="users are listed in the order of code points: capitals first, U+FA0E before U+10400",
)
def users_by_code_points(context: ServerContext) -> None:
    stem = context.name("l")[:20]
    names = [f"{stem}{end}" for end in ("b", "C", "\U00010400", "\ufa0e", "é", "z", "_")]
    with context.given("accounts"):
        for name in names:
            context.equal(
                register(context, name, context.password()).get("action"),
                "register_success",
                f"the reply to `register` of {name}",
            )
    user = context.user()
    found = [name for page in pages(context, user, "get_users", "users") for name in page]
    listed = [name for name in found if name.startswith(stem)]
    context.equal(listed, sorted(names), "the names in the list")


@case(
    rules=["R-ERR-4"],
    level="full",
    title="an action is what it is written: in other letters nobody knows it",
)
def actions_in_other_letters(context: ServerContext) -> None:
    user = context.user()
    for action in ("Get_Messages", "GET_MESSAGES", " get_messages", "get_messages "):
        user.wire.send(
            {
                "action": action,
                "data": {"chatid": user.chatid, "room_id": "lobby", "from_time": PAST},
            }
        )
        reply = user.wire.receive_where(
            lambda packet: packet.get("action") in ("error", "messages_list"), "an answer"
        )
        context.refused(reply, "unknown_action", original=action)


@case(
    rules=["R-MSG-8"],
    level="full",
    offers="transaction_id",
    title="the server's own T is never a key that the session has open",
)
def no_t_twice(context: ServerContext) -> None:
    user, room = context.user(), context.room_id()
    seen = [opened(context, user, room, context.text()) for _ in range(2)]
    mine = next_after(*seen)
    opened(context, user, room, "mine", transaction_id=mine)
    other = opened(context, user, room, "other")
    context.check(
        other != mine, "another T than the key that is open", f"{mine!r} after {seen}, once more"
    )


def next_after(first: str, second: str) -> str:
    """Return the T that comes next where they are counted, else any other."""
    stem = second.rstrip("0123456789")
    number, before = second[len(stem) :], first[len(stem) :]
    is_counted = number and first.startswith(stem) and before.isdecimal() and before != number
    if not is_counted:
        return f"mine-{second}"[:64]
    step = int(number) - int(before)
    return f"{stem}{int(number) + step:0{len(number)}d}"[:64]
