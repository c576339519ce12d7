"""Cases for the chapter Sending a message: the receiver's handshake, unread messages."""

from __future__ import annotations

from conformance.packets import FUTURE, PAST, letters, shown
from conformance.server.cases.messages.steps import UNICODE, contents, heard_message
from conformance.server.cases.sessions import comes_free
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.user import User


@case(
    rules=["R-MSG-15"],
    title="every receiver of a message gets the same transaction_id, each message has its own",
)
def same_t2(context: ServerContext) -> None:
    sender, first, second = context.users(3)
    room = context.room_id()
    seen = []
    for _ in range(2):
        said = sender.say(room, context.text())
        one, other = (
            heard_message(context, hearer, said)["data"]["transaction_id"]
            for hearer in (first, second)
        )
        context.equal(other, one, "`transaction_id` of the second receiver")
        seen.append(one)
    context.check(
        seen[0] != seen[1],
        "another `transaction_id` for another message",
        f"both times {seen[0]!r}",
    )


@case(rules=["R-MSG-15"], title="a receiver may answer in its next session")
def answered_later(context: ServerContext) -> None:
    sender, hearer = context.user(), context.user(own=True)
    said = sender.say(context.room_id(), "plainletters")
    heard = heard_message(context, hearer, said)
    with context.given("a new session of the receiver"):
        hearer.close()
        again = comes_free(context, hearer.account)
    reply = again.count_back(heard)
    context.equal(
        reply.get("action"), "confirm_count", "`action` of the answer in the next session"
    )
    context.equal(context.get(reply, "data.confirm", bool), True, "`data.confirm`")


@case(
    rules=["R-MSG-16"],
    title="right counts of a receiver are answered by confirm_count true, with the same "
    "transaction_id",
)
def right_counts(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    room, counted = context.room_id(), letters("plainletters")
    orders = {"": counted, ", the letters in other order": dict(reversed(counted.items()))}
    for order, counts in orders.items():  # a message each: after `confirm: true` comes only `ack`
        heard = heard_message(context, hearer, sender.say(room, "plainletters"))
        reply = hearer.count_back(heard, counts)
        context.equal(reply.get("action"), "confirm_count", "`action` of the answer")
        context.equal(
            context.get(reply, "data.transaction_id", str),
            heard["data"]["transaction_id"],
            "`data.transaction_id`",
        )
        context.equal(context.get(reply, "data.confirm", bool), True, f"`data.confirm`{order}")


@case(rules=["R-MSG-16"], title="wrong counts of a receiver are answered by confirm_count false")
def wrong_counts(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    room, right = context.room_id(), letters("plainletters")
    wrongs = {
        "one too many": {**right, "l": right["l"] + 1},
        "a letter that is not there": {**right, "z": 1},
        "none at all": {},
    }
    wrongs["the right sum, but not of each"] = {**right, "l": right["l"] + 1, "t": right["t"] - 1}
    wrongs["a letter left out"] = {key: count for key, count in right.items() if key != "p"}
    for why, counted in wrongs.items():  # a message each: after `confirm: false` comes only `ack`
        heard = heard_message(context, hearer, sender.say(room, "plainletters"))
        reply = hearer.count_back(heard, counted)
        context.equal(
            reply.get("action"), "confirm_count", f"`action` of the answer to counts with {why}"
        )
        context.equal(
            context.get(reply, "data.confirm", bool), False, f"`data.confirm` for counts with {why}"
        )


@case(rules=["R-MSG-16"], title="counts of text beyond ASCII are compared by code points")
def counts_back_unicode(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    said = sender.say(context.room_id(), UNICODE[context.random.randrange(len(UNICODE))])
    heard = heard_message(context, hearer, said)
    reply = hearer.count_back(heard)
    context.equal(reply.get("action"), "confirm_count", "`action` of the answer")
    with context.rule("R-MSG-1"):
        context.equal(context.get(reply, "data.confirm", bool), True, "`data.confirm`")


@case(
    rules=["R-MSG-16"],
    level="full",
    offers="limits",
    title="counts that are no integers are bad_packet; zero, negative and huge ones are wrong",
)
def counts_of_other_types(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    said = sender.say(context.room_id(), "a")
    heard = heard_message(context, hearer, said)
    for count in (1.0, True, "1", None, [1]):
        reply = hearer.count_back(heard, {"a": count})
        context.check(
            reply.get("action") == "error",
            f"`error` for the counts {shown({'a': count})}",
            f"this came: {shown(reply)}",
        )
        context.refused(reply, "bad_packet", original="character_count")
    wrongs = ({"a": 1, "z": 0}, {"a": 2**32 + 1}, {"a": -1}, {"a": 1, "ab": 1}, {"ab": 1})
    for counts in (*wrongs, {"a": 1, "__proto__": 1}, {"a": 1, "constructor": 1}):
        heard = heard_message(context, hearer, sender.say(said.room_id, "a"))
        reply = hearer.count_back(heard, counts)
        context.equal(reply.get("action"), "confirm_count", "`action` of the answer")
        confirm = context.get(reply, "data.confirm", bool)
        context.equal(confirm, False, f"`data.confirm` for {shown(counts)}, where `a` was said")


@case(
    rules=["R-MSG-17", "R-MSG-19"],
    title="the ack of a receiver has no reply, and a second one does no harm",
)
def ack_has_no_reply(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    room, later = context.room_id(), context.text()
    said = sender.say(room, context.text())
    heard = heard_message(context, hearer, said)
    with context.given("`confirm_count` for a receiver"):
        context.equal(hearer.count_back(heard).get("action"), "confirm_count", "`action`")
    for _ in range(2):
        hearer.acknowledge(heard)
    stray = [hearer.request("get_messages", {"room_id": room, "from_time": FUTURE})]
    stray += hearer.wire.aside()
    stray = [
        packet for packet in stray if packet.get("action") in ("ack", "error", "confirm_count")
    ]
    context.check(not stray, "no reply to `ack`", f"this came: {shown(stray)}")
    sender.say(room, later)
    hearer.hear_this(room, later)


@case(
    rules=["R-MSG-18"],
    title="after confirm false and an ack with status error the message comes again, with "
    "the same transaction_id",
)
def comes_again(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    said = sender.say(context.room_id(), context.text())
    heard = heard_message(context, hearer, said)
    with context.given("`confirm_count` for wrong counts"):
        reply = hearer.count_back(heard, {"q": 99})
        context.equal(reply.get("action"), "confirm_count", "`action`")
    hearer.acknowledge(heard, "error")
    again = hearer.hear(said.room_id)
    context.equal(
        again["data"]["content"], said.content, "`content` of the message that comes again"
    )
    context.equal(
        again["data"]["transaction_id"],
        heard["data"]["transaction_id"],
        "`transaction_id` of the message that comes again",
    )
    context.equal(
        again["data"].get("message_id"),
        heard["data"].get("message_id"),
        "`message_id` of the message that comes again",
    )
    reply = hearer.count_back(again)
    context.equal(reply.get("action"), "confirm_count", "`action` of the answer to new counts")
    context.equal(context.get(reply, "data.confirm", bool), True, "`data.confirm`, counted anew")


@case(
    rules=["R-MSG-18"],
    level="full",
    title="an ack with status error brings the message again, also where no counts came or they "
    "were right",
)
def comes_again_without_counts(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    room = context.room_id()
    for is_counted in (False, True):
        said = sender.say(room, context.text())
        heard = heard_message(context, hearer, said)
        if is_counted:
            with context.given("`confirm_count` for a receiver"):
                context.equal(hearer.count_back(heard).get("action"), "confirm_count", "`action`")
        hearer.acknowledge(heard, "error")
        hearer.hear_this(room, said.content)


@case(
    rules=["R-MSG-18"],
    level="full",
    title="the 3 copies of a message are all of them, also in the user's next session",
)
def no_more_copies_later(context: ServerContext) -> None:
    sender, hearer = context.user(), context.user(own=True)
    room, last = context.room_id(), context.text()
    heard = heard_message(context, hearer, sender.say(room, context.text()))
    for _ in range(3):
        hearer.count_back(heard, {"q": 99})
        hearer.acknowledge(heard, "error")
        with context.given("a message that comes again"):
            hearer.hear_this(room, heard["data"]["content"])
    with context.given("a new session of the receiver"):
        hearer.close()
        hearer = comes_free(context, hearer.account)
        context.equal(
            hearer.count_back(heard, {"q": 99}).get("action"), "confirm_count", "`action`"
        )
    hearer.acknowledge(heard, "error")
    hearer.fence()
    sender.say(room, last)
    hearer.hear_this(room, last)


@case(
    rules=["R-MSG-18"],
    title="a message is sent again at most 3 times, and only to who asked for it",
)
def at_most_three_times(context: ServerContext) -> None:
    sender, hearer, other = context.users(3)
    room, last = context.room_id(), context.text()
    said = sender.say(room, context.text())
    heard = heard_message(context, hearer, said)
    heard_by_other = heard_message(context, other, said)
    for _ in range(6):
        hearer.count_back(heard, {"q": 99})
        hearer.acknowledge(heard, "error")
    hearer.fence()
    sender.say(room, last)
    copies = 0
    while hearer.hear(room)["data"]["content"] != last:
        copies += 1
    context.check(copies <= 3, "at most 3 copies", f"{copies} came")
    with context.given("a message that comes again"):
        context.check(copies > 0, "a copy", "none came")
    other.hear_this(room, last)
    other.acknowledge(heard_by_other, "error")
    other.hear_this(room, said.content)


@case(
    rules=["R-MSG-19"],
    level="full",
    offers="limits",
    title="an ack needs status, success or error; its message may be left out",
)
def ack_needs_status(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    said = sender.say(context.room_id(), context.text())
    heard = heard_message(context, hearer, said)
    data = {"transaction_id": heard["data"]["transaction_id"]}
    hearer.send("ack", data)
    context.refused(hearer.wire.expect("error"), "bad_packet", original="ack")
    hearer.send("ack", data, status="fine")
    context.refused(hearer.wire.expect("error"), "bad_packet", original="ack")
    hearer.send("ack", data, status="success")
    reply = hearer.request("get_messages", {"room_id": said.room_id, "from_time": FUTURE})
    context.equal(reply.get("action"), "messages_list", "what comes behind `ack` without `message`")


@case(
    rules=["R-MSG-20"],
    title="a receiver that never answers is told once, and history has the message",
)
def never_answers(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    room, first, second = context.room_id(), context.text(), context.text()
    sender.say(room, first)
    sender.say(room, second)
    with context.given("`receive_message` for a receiver"):
        hearer.hear_this(room, first)
    hearer.hear_this(room, second)
    context.equal(contents(context, hearer, room), [first, second], "the room's history")


@case(rules=["R-MSG-21"], title="a message never comes to its sender")
def not_to_its_sender(context: ServerContext) -> None:
    first, second = context.users(2)
    room, mine, theirs = context.room_id(), context.text(), context.text()
    first.say(room, mine)
    second.say(room, theirs)
    with context.given("`receive_message` for a receiver"):
        heard = first.hear(room)
    context.equal(
        heard["data"]["content"], theirs, "the first message of the room that its sender hears"
    )


@case(
    rules=["R-MSG-14"],
    level="full",
    offers=["get_rooms", "message_id"],
    title="unread counts the messages of others above what was acknowledged, sent or read, also "
    "after a logout and in a room that was left",
)
def unread(context: ServerContext) -> None:
    sender, hearer = context.user(), context.user(own=True)
    room = context.room_id()
    heard = [heard_message(context, hearer, sender.say(room, context.text())) for _ in range(4)]
    context.equal(unread_of(context, hearer, room), 4, "`unread` after four messages")
    context.equal(unread_of(context, sender, room), 0, "`unread` of who sent them")
    if context.offers("limit"):
        first = {"room_id": room, "from_time": PAST, "limit": 1}
        with context.given("the room's first message"):
            hearer.ask("get_messages", first, want="messages_list")
        context.equal(unread_of(context, hearer, room), 3, "`unread` after a page of the first")
    before = unread_of(context, hearer, room)
    with context.given("`confirm_count` for a receiver"):
        context.equal(hearer.count_back(heard[2]).get("action"), "confirm_count", "`action`")
    hearer.acknowledge(heard[1], "error")
    context.equal(unread_of(context, hearer, room), before, "`unread` before the ack of the third")
    hearer.acknowledge(heard[2])
    context.equal(unread_of(context, hearer, room), 1, "`unread` after an ack of the third")
    hearer.acknowledge(heard[0])
    context.equal(unread_of(context, hearer, room), 1, "`unread` after an ack of the first")
    with context.given("the room's history"):
        hearer.ask("get_messages", {"room_id": room, "from_time": PAST}, want="messages_list")
    context.equal(unread_of(context, hearer, room), 0, "`unread` after get_messages")
    sender.say(room, context.text())
    context.equal(unread_of(context, hearer, room), 1, "`unread` after one more message")
    hearer.say(room, context.text())
    context.equal(unread_of(context, hearer, room), 0, "`unread` after sending there")
    for action, data in (("leave_room", {"room_id": room}), ("join_room", {"room_id": room})):
        if context.offers(action):
            with context.given(f"a reply to `{action}`"):
                hearer.ask(action, data)
            context.equal(unread_of(context, hearer, room), 0, f"`unread` after `{action}`")
    if context.offers("logout"):
        with context.given("`login_success` after `logout`"):
            hearer.ask("logout")
            context.equal(hearer.login().get("action"), "login_success", "`action`")
        context.equal(unread_of(context, hearer, room), 0, "`unread` in the next session")


def unread_of(context: ServerContext, user: User, room: str) -> int:
    """Return `unread` of a room in `get_rooms`, which is paged through."""
    after: dict[str, str] = {}
    for _ in range(50):
        reply = user.ask("get_rooms", after)
        rooms = context.get(reply, "data.rooms", list)
        for each in rooms:
            if isinstance(each, dict) and each.get("id") == room:
                return context.get(each, "unread", int)
        last = rooms[-1].get("id") if rooms and isinstance(rooms[-1], dict) else None
        if not isinstance(last, str) or not context.get(reply, "data.has_more", bool):
            break
        after = {"after": last}
    context.fail(f"the room {room} in `rooms_list`", "it is not there")
