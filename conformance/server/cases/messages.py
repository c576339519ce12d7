"""Cases for the chapter Sending a message: the counting rule, both handshakes, a client's own
keys."""

from __future__ import annotations

from typing import Any

from conformance.packets import PAST, Packet, data_of, letters, shown
from conformance.server.cases.sessions import comes_free
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.user import Said, User

PLAIN = [
    "Hello",
    "a  b!",
    "Mississippi river, 1234567890",
    " leading and trailing ",
    '{}[]"\\/:,',
    "AaAaA",
]
UNICODE = [
    "👍👍🏽",  # the skin tone is a code point of its own
    "e\u0301 \u00e9",  # two code points, and one that looks the same
    "👩\u200d💻",  # one picture of three code points
    "漢字かな交じり文",
    "Straße ΑΒΓ \u0440\u0443\u0441",
]


def open_message(
    context: ServerContext, user: User, room: str, content: str, **data: Any
) -> tuple[str, Packet]:
    """Send a message and return its transaction and the `character_count`; an assertion."""
    opened = user.ask(
        "send_message", {"room_id": room, "content": content, **data}, want="character_count"
    )
    return context.get(opened, "data.transaction_id", str), opened


def opened(context: ServerContext, user: User, room: str, content: str, **data: Any) -> str:
    """The transaction of a message that waits for its confirmation; a precondition."""
    with context.given("`character_count` for a message"):
        return open_message(context, user, room, content, **data)[0]


def contents(context: ServerContext, user: User, room: str) -> list[str]:
    """What the history of a room holds, as far as one page goes; a precondition."""
    with context.given("the room's history"):
        return [message["content"] for message in user.history(room)]


def heard_message(context: ServerContext, hearer: User, said: Said) -> Packet:
    """The `receive_message` of this message; a precondition."""
    with context.given("`receive_message` for a receiver"):
        return hearer.hear_this(said.room_id, said.content)


def check_counts(context: ServerContext, texts: list[str]) -> None:
    sender, room = context.user(), context.room_id()
    for content in texts:
        with context.given("`character_count` as the answer to `send_message`"):
            reply = sender.ask(
                "send_message", {"room_id": room, "content": content}, want="character_count"
            )
        counts = context.get(reply, "data.letter_frequencies", dict)
        expected = letters(content)
        wrong = {
            key: (expected.get(key, 0), counts.get(key, 0))
            for key in expected.keys() | counts.keys()
            if expected.get(key) != counts.get(key) or isinstance(counts.get(key), (bool, float))
        }
        told = ", ".join(
            f"{key!r}: {right} expected, {actual!r} came"
            for key, (right, actual) in sorted(wrong.items())[:5]
        )
        context.check(not wrong, f"the counts of every code point of {content!r}", told)


# --- the sender's handshake


@case(rules=["R-MSG-1"], title="letters, blanks, digits and punctuation count, and case counts")
def counts(context: ServerContext) -> None:
    check_counts(context, [*PLAIN, context.text().encode("ascii", "ignore").decode()])


@case(rules=["R-MSG-1"], title="each key is one Unicode code point, and nothing is normalised")
def counts_unicode(context: ServerContext) -> None:
    check_counts(context, [*UNICODE, context.text()])


@case(
    rules=["R-MSG-2"],
    title="send_message answers character_count with transaction_id, counts and original_action",
)
def opens_a_transaction(context: ServerContext) -> None:
    sender, room = context.user(), context.room_id()
    tid, reply = open_message(context, sender, room, context.text())
    context.check(bool(tid), "a `transaction_id` that is not empty", f"this came: {shown(reply)}")
    context.get(reply, "data.letter_frequencies", dict)
    context.equal(
        context.get(reply, "data.original_action", str), "send_message", "`data.original_action`"
    )
    other, _ = open_message(context, sender, room, context.text())
    context.check(
        other != tid, "another `transaction_id` for another message", f"both times {tid!r}"
    )


@case(
    rules=["R-MSG-2"], title="before the confirmation nothing is stored and nobody sees the message"
)
def nothing_before_confirm(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    room, early, later = context.room_id(), context.text(), context.text()
    sender.say(room, context.text())
    opened(context, sender, room, early)
    stored = contents(context, hearer, room)
    context.check(
        early not in stored,
        "a history without the message that was not confirmed",
        f"it holds {shown(stored)}",
    )
    sender.say(room, later)
    with context.given("`receive_message`"):
        hearer.hear(room)
        heard = hearer.hear(room)
    context.equal(heard["data"]["content"], later, "the second message that the room hears")


@case(
    rules=["R-MSG-4"],
    title="confirm_count true is answered by ack with the same transaction_id and status success",
)
def ack(context: ServerContext) -> None:
    sender, room = context.user(), context.room_id()
    content = context.text()
    tid = opened(context, sender, room, content)
    said = sender.confirm(room, content, tid)
    context.equal(
        context.get(said.ack, "data.transaction_id", str), tid, "`data.transaction_id` of the ack"
    )


@case(rules=["R-MSG-4"], title="after the ack the message stands in the history, once")
def stored_once(context: ServerContext) -> None:
    sender, room, content = context.user(), context.room_id(), context.text()
    sender.say(room, content)
    stored = contents(context, sender, room)
    context.equal(stored, [content], "the room's history")


@case(
    rules=["R-MSG-4"],
    title="every other member who is on gets receive_message with room, sender, content and timestamp",
)
def reaches_the_others(context: ServerContext) -> None:
    sender, first, second = context.users(3)
    room, content = context.room_id(), context.text()
    sender.say(room, content)
    for hearer in (first, second):
        heard = hearer.hear(room)
        context.equal(heard["data"]["content"], content, "`data.content`")
        context.equal(heard["data"]["sender_chatid"], sender.chatid, "`data.sender_chatid`")
        context.get(heard, "data.timestamp", str)


@case(
    rules=["R-MSG-4"],
    title="the content arrives as it was sent: blanks at both ends, doubled ones, tabs and line ends too",
)
def blanks_arrive(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    room = context.room_id()
    for content in (f"  {context.text()} ", f"{context.key()}  two\tblanks\r\n\nand lines\n"):
        sender.say(room, content)
        heard = hearer.hear(room)
        context.equal(context.get(heard, "data.content", str), content, "`data.content`")


@case(
    rules=["R-MSG-4"],
    level="full",
    offers="message_id",
    title="ack, receive_message and history tell the same message_id and timestamp",
)
def same_number_everywhere(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    room = context.room_id()
    said = sender.say(room, context.text())
    number, timestamp = (
        context.get(said.ack, "data.message_id", int),
        context.get(said.ack, "data.timestamp", str),
    )
    heard = heard_message(context, hearer, said)
    context.equal(
        context.get(heard, "data.message_id", int), number, "`message_id` of receive_message"
    )
    context.equal(
        context.get(heard, "data.timestamp", str), timestamp, "`timestamp` of receive_message"
    )
    with context.given("the room's history"):
        (stored,) = hearer.history(room) or [{}]
    context.equal(stored.get("message_id"), number, "`message_id` in the history")
    context.equal(stored.get("timestamp"), timestamp, "`timestamp` in the history")


@case(
    rules=["R-MSG-5"],
    title="after confirm false the answer is ack with status error, and the message is nowhere",
)
def not_confirmed(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    room, dropped, kept = context.room_id(), context.text(), context.text()
    tid = opened(context, sender, room, dropped)
    reply = sender.ask("confirm_count", {"transaction_id": tid, "confirm": False}, want="ack")
    context.equal(reply.get("status"), "error", "`status` of the ack")
    context.equal(
        context.get(reply, "data.transaction_id", str), tid, "`data.transaction_id` of the ack"
    )
    sender.say(room, kept)
    with context.given("`receive_message`"):
        heard = hearer.hear(room)
    context.equal(heard["data"]["content"], kept, "the first message that the room hears")
    context.equal(contents(context, hearer, room), [kept], "the room's history")


@case(
    rules=["R-MSG-5", "R-ERR-6"],
    level="full",
    offers="code",
    title="the ack of a message that was not confirmed has code not_confirmed",
)
def not_confirmed_code(context: ServerContext) -> None:
    sender = context.user()
    with context.given("`ack` for `confirm: false`"):
        tid = opened(context, sender, context.room_id(), context.text())
        reply = sender.ask("confirm_count", {"transaction_id": tid, "confirm": False}, want="ack")
    with context.rule("R-ERR-6"):
        context.equal(context.get(reply, "code", str), "not_confirmed", "`code` of the ack")


@case(
    rules=["R-MSG-6"],
    level="full",
    offers=["create_room", "delete_room"],
    title="a confirmed message whose room was deleted meanwhile is an error, and no ack",
)
def room_deleted_meanwhile(context: ServerContext) -> None:
    owner, member = context.users(2)
    with context.given("a private room"):
        made = owner.ask(
            "create_room", {"participants": [member.chatid], "room_name": context.room_id()}
        )
        room = context.get(made, "data.room_id", str)
    tid = opened(context, member, room, context.text())
    with context.given("`room_deleted`"):
        owner.ask("delete_room", {"room_id": room})
    reply = member.request("confirm_count", {"transaction_id": tid, "confirm": True})
    context.refused(reply, "room_not_found", original="confirm_count")


@case(
    rules=["R-MSG-7"],
    level="full",
    offers="limits",
    title="64 transactions may be open, and the next send_message is too_many_pending",
)
def too_many_open(context: ServerContext) -> None:
    sender, room = context.user(own=True), context.room_id()
    packet = sender.packet("send_message", {"room_id": room, "content": "x"})
    sender.wire.send_together([packet] * 65)
    replies = [sender.reply("send_message") for _ in range(65)]
    for place, reply in enumerate(replies[:64], 1):
        context.equal(
            reply.get("action"),
            "character_count",
            f"`action` of the answer to message {place} of 65 that stay open",
        )
    context.refused(replies[64], "too_many_pending", original="send_message")


@case(
    rules=["R-MSG-7"],
    level="full",
    offers="limits",
    title="an open transaction dies with its connection",
)
def dies_with_connection(context: ServerContext) -> None:
    user, room, content = context.user(own=True), context.room_id(), context.text()
    tid = opened(context, user, room, content)
    user.close()
    with context.given("a new session"):
        again = comes_free(context, user.account)
    context.refused(
        again.request("confirm_count", {"transaction_id": tid, "confirm": True}),
        "transaction_not_found",
    )


@case(
    rules=["R-MSG-12"],
    title="confirm_count for a transaction that is not open is an error, and nothing is stored",
)
def unknown_transaction(context: ServerContext) -> None:
    user = context.user()
    reply = user.request("confirm_count", {"transaction_id": context.key(), "confirm": True})
    context.refused(reply, "transaction_not_found", original="confirm_count")


@case(
    rules=["R-MSG-12"],
    title="a transaction is confirmed once: the second confirm_count is an error",
)
def confirmed_twice(context: ServerContext) -> None:
    user, room, content = context.user(), context.room_id(), context.text()
    said = user.say(room, content)
    reply = user.request("confirm_count", {"transaction_id": said.transaction_id, "confirm": True})
    context.refused(reply, "transaction_not_found", original="confirm_count")
    context.equal(contents(context, user, room), [content], "the room's history")


@case(rules=["R-MSG-12"], title="another's open transaction can't be confirmed")
def anothers_transaction(context: ServerContext) -> None:
    sender, other = context.users(2)
    room, content = context.room_id(), context.text()
    tid = opened(context, sender, room, content)
    reply = other.request("confirm_count", {"transaction_id": tid, "confirm": True})
    context.refused(reply, "transaction_not_found", original="confirm_count")
    sender.confirm(room, content, tid)


@case(
    rules=["R-MSG-12"], title="character_count and ack for a message that does not exist are errors"
)
def answers_for_nothing(context: ServerContext) -> None:
    user, tid = context.user(), context.key()
    counted = {
        "transaction_id": tid,
        "letter_frequencies": {"a": 1},
        "original_action": "receive_message",
    }
    context.refused(
        user.request("character_count", counted),
        "transaction_not_found",
        original="character_count",
    )
    user.send(
        "ack", {"transaction_id": tid}, status="success", message="Action processed successfully."
    )
    context.refused(user.wire.expect("error"), "transaction_not_found", original="ack")


@case(rules=["R-MSG-12"], title="a sender has no answer to give for its own message")
def no_answer_to_oneself(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    said = sender.say(context.room_id(), context.text())
    heard = heard_message(context, hearer, said)
    context.refused(sender.count_back(heard), "transaction_not_found", original="character_count")


@case(rules=["R-MSG-13"], title="blanks alone are content; an empty message is an error")
def empty_message(context: ServerContext) -> None:
    sender, room = context.user(), context.room_id()
    open_message(context, sender, room, "   ")
    context.refused(
        sender.request("send_message", {"room_id": room, "content": ""}),
        "bad_packet",
        original="send_message",
    )


@case(
    rules=["R-MSG-13"],
    level="full",
    offers="limits",
    title="content of max_content bytes is taken; one more, and NUL, are bad_packet",
)
def longest_message(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    limit = context.get(sender.login_success, "data.limits.max_content", int)
    context.check(0 <= limit <= 16384, "`limits.max_content` of at most 16384", f"it is {limit}")
    room, size = context.room_id(), limit or 16384
    content = "é" * (size // 2) + "x" * (size % 2)
    said = sender.say(room, content)
    heard = hearer.hear(room)
    context.check(
        heard["data"]["content"] == said.content,
        f"all of the {size} bytes",
        f"{len(heard['data']['content'])} characters came",
    )
    if limit:
        context.refused(
            sender.request("send_message", {"room_id": room, "content": content + "x"}),
            "bad_packet",
        )
    context.refused(
        sender.request("send_message", {"room_id": room, "content": "a\u0000b"}), "bad_packet"
    )


# --- a client's own keys


@case(
    rules=["R-MSG-8"],
    level="full",
    offers="transaction_id",
    title="a client's own transaction_id is taken over by character_count and ack",
)
def own_key(context: ServerContext) -> None:
    sender, key = context.user(), context.key()
    room, content = context.room_id(), context.text()
    tid, _ = open_message(context, sender, room, content, transaction_id=key)
    context.equal(tid, key, "`data.transaction_id` of character_count")
    said = sender.confirm(room, content, key)
    context.equal(
        context.get(said.ack, "data.transaction_id", str), key, "`data.transaction_id` of the ack"
    )


@case(
    rules=["R-MSG-9", "R-MSG-8"],
    level="full",
    offers="transaction_id",
    title="the same key, content and room again answer with the ack of then, and store nothing",
)
def same_key_again(context: ServerContext) -> None:
    sender, hearer = context.user(own=True), context.user()
    room, content, later, key = context.room_id(), context.text(), context.text(), context.key()
    said = sender.say(room, content, transaction_id=key)
    again = sender.ask(
        "send_message", {"room_id": room, "content": content, "transaction_id": key}, want="ack"
    )
    for name in ("transaction_id", "message_id", "timestamp"):
        context.equal(
            data_of(again).get(name),
            data_of(said.ack).get(name),
            f"`data.{name}` of the second ack",
        )
    sender.close()
    with context.given("a new session"):
        sender = comes_free(context, sender.account)
    sender.ask(
        "send_message", {"room_id": room, "content": content, "transaction_id": key}, want="ack"
    )
    with context.rule("R-MSG-8"):
        sender.say(room, later)
        hearer.hear_this(room, content)
        hearer.hear_this(room, later)
        context.equal(contents(context, hearer, room), [content, later], "the room's history")


@case(
    rules=["R-MSG-9"],
    level="full",
    offers="transaction_id",
    title="a key whose message is stored, with another content or room, is transaction_mismatch",
)
def key_of_another_message(context: ServerContext) -> None:
    sender, key = context.user(), context.key()
    room, content = context.room_id(), context.text()
    sender.say(room, content, transaction_id=key)
    for where, what in ((room, context.text()), (context.room_id(), content)):
        reply = sender.request(
            "send_message", {"room_id": where, "content": what, "transaction_id": key}
        )
        context.refused(reply, "transaction_mismatch", original="send_message")


@case(
    rules=["R-MSG-10"],
    level="full",
    offers="transaction_id",
    title="a key that is still open starts over; with another content or room it is transaction_mismatch",
)
def open_key(context: ServerContext) -> None:
    sender, key = context.user(), context.key()
    room, content = context.room_id(), context.text()
    opened(context, sender, room, content, transaction_id=key)
    _, again = open_message(context, sender, room, content, transaction_id=key)
    context.equal(
        context.get(again, "data.letter_frequencies", dict),
        letters(content),
        "`letter_frequencies` of the second start",
    )
    for where, what in ((room, context.text()), (context.room_id(), content)):
        reply = sender.request(
            "send_message", {"room_id": where, "content": what, "transaction_id": key}
        )
        context.refused(reply, "transaction_mismatch", original="send_message")
    sender.confirm(room, content, key)
    context.equal(contents(context, sender, room), [content], "the room's history")


@case(
    rules=["R-MSG-11"],
    level="full",
    offers="transaction_id",
    title="keys are each user's own, and those of uploads are kept apart",
)
def keys_of_two_users(context: ServerContext) -> None:
    first, second = context.users(2)
    room, key = context.room_id(), context.key()
    texts = [context.text(), context.text()]
    first.say(room, texts[0], transaction_id=key)
    open_message(context, second, room, texts[1], transaction_id=key)
    second.confirm(room, texts[1], key)
    context.equal(contents(context, first, room), texts, "the room's history")
    file = {
        "room_id": room,
        "file_path": "a.txt",
        "file_size": 1,
        "file_type": "text/plain",
        "total_packets": 1,
    }
    first.ask("file_send_init", {**file, "transaction_id": key})


# --- the receiver's handshake


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
    title="right counts of a receiver are answered by confirm_count true, with the same transaction_id",
)
def right_counts(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    said = sender.say(context.room_id(), "plainletters")
    heard = heard_message(context, hearer, said)
    reply = hearer.count_back(heard)
    context.equal(reply.get("action"), "confirm_count", "`action` of the answer")
    context.equal(
        context.get(reply, "data.transaction_id", str),
        heard["data"]["transaction_id"],
        "`data.transaction_id`",
    )
    context.equal(context.get(reply, "data.confirm", bool), True, "`data.confirm`")


@case(rules=["R-MSG-16"], title="wrong counts of a receiver are answered by confirm_count false")
def wrong_counts(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    said = sender.say(context.room_id(), "plainletters")
    heard = heard_message(context, hearer, said)
    right = letters("plainletters")
    wrongs = {
        "one too many": {**right, "l": right["l"] + 1},
        "a letter that is not there": {**right, "z": 1},
        "none at all": {},
    }
    wrongs["the right sum, but not of each"] = {**right, "l": right["l"] + 1, "t": right["t"] - 1}
    wrongs["a letter left out"] = {key: count for key, count in right.items() if key != "p"}
    for why, counted in wrongs.items():
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
    title="counts that are no integers are bad_packet",
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
    hearer.fence()
    stray = [
        packet
        for packet in hearer.wire.aside()
        if packet.get("action") in ("ack", "error", "confirm_count")
    ]
    context.check(not stray, "no reply to `ack`", f"this came: {shown(stray)}")
    sender.say(room, later)
    hearer.hear_this(room, later)


@case(
    rules=["R-MSG-18"],
    title="after confirm false and an ack with status error the message comes again, with the same transaction_id",
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


@case(
    rules=["R-MSG-18"],
    title="a message is sent again at most 3 times, and only to who asked for it",
)
def at_most_three_times(context: ServerContext) -> None:
    sender, hearer, other = context.users(3)
    room, last = context.room_id(), context.text()
    said = sender.say(room, context.text())
    heard = heard_message(context, hearer, said)
    heard_message(context, other, said)
    for _ in range(6):
        hearer.count_back(heard, {"q": 99})
        hearer.acknowledge(heard, "error")
    hearer.fence()
    sender.say(room, last)
    copies = 0
    while hearer.hear(room)["data"]["content"] != last:
        copies += 1
    context.check(copies <= 3, "at most 3 copies", f"{copies} came")
    other.hear_this(room, last)


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
    hearer.fence()
    stray = [packet for packet in hearer.wire.aside() if packet.get("action") == "error"]
    context.check(not stray, "no reply to an `ack` without `message`", f"this came: {shown(stray)}")


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
    title="unread counts the messages of others above what was acknowledged, sent or read",
)
def unread(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    room = context.room_id()
    heard = [heard_message(context, hearer, sender.say(room, context.text())) for _ in range(3)]
    context.equal(unread_of(context, hearer, room), 3, "`unread` after three messages")
    context.equal(unread_of(context, sender, room), 0, "`unread` of who sent them")
    hearer.acknowledge(heard[1])
    context.equal(unread_of(context, hearer, room), 1, "`unread` after an ack of the second")
    with context.given("the room's history"):
        hearer.ask("get_messages", {"room_id": room, "from_time": PAST}, want="messages_list")
    context.equal(unread_of(context, hearer, room), 0, "`unread` after get_messages")
    sender.say(room, context.text())
    context.equal(unread_of(context, hearer, room), 1, "`unread` after one more message")
    hearer.say(room, context.text())
    context.equal(unread_of(context, hearer, room), 0, "`unread` after sending there")


def unread_of(context: ServerContext, user: User, room: str) -> int:
    """`unread` of a room in `get_rooms`, which is paged through."""
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
