"""Cases for the chapter Sending a message: a client's own keys."""

from __future__ import annotations

from conformance.packets import data_of, letters
from conformance.server.cases.messages.steps import contents, open_message, opened
from conformance.server.cases.sessions import comes_free
from conformance.server.context import ServerContext
from conformance.server.registry import case


@case(
    rules=["R-MSG-8", "R-MSG-5"],
    level="full",
    offers="transaction_id",
    title="a client's own transaction_id is taken over by character_count and ack; a message that "
    "was dropped may be sent again with it",
)
def own_key(context: ServerContext) -> None:
    sender, short = context.user(), context.key()
    room, content = context.room_id(), context.text()
    for key in (short, short + "👍" * (64 - len(short)), short.upper(), f" {short} "):
        tid, _ = open_message(context, sender, room, content, transaction_id=key)
        context.equal(tid, key, "`data.transaction_id` of character_count")
        said = sender.confirm(room, content, key)
        context.equal(
            context.get(said.ack, "data.transaction_id", str),
            key,
            "`data.transaction_id` of the ack",
        )
    dropped = context.key()
    opened(context, sender, room, content, transaction_id=dropped)
    with context.given("`ack` for `confirm: false`"):  # what was dropped may be sent once more
        sender.ask("confirm_count", {"transaction_id": dropped, "confirm": False}, want="ack")
    with context.rule("R-MSG-5"):
        open_message(context, sender, room, content, transaction_id=dropped)
    for key in ("constructor", "__proto__"):  # dropped each time: nobody has stored such a key
        tid, _ = open_message(context, sender, "lobby", "x", transaction_id=key)
        context.equal(tid, key, "`data.transaction_id` of character_count")
        sender.ask("confirm_count", {"transaction_id": key, "confirm": False}, want="ack")


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
    if context.offers("request_id"):
        again = sender.ask(
            "send_message",
            {"room_id": room, "content": content, "transaction_id": key},
            want="ack",
            request_id="again",
        )
        context.equal(again.get("request_id"), "again", "`request_id` of the ack", "R-JSON-14")
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
    elsewhere = sender.say(context.room_id(), context.text()).room_id
    for where, what in ((room, context.text()), (elsewhere, content)):
        reply = sender.request(
            "send_message", {"room_id": where, "content": what, "transaction_id": key}
        )
        context.refused(reply, "transaction_mismatch", original="send_message")
    unknown = {"room_id": "p-" + "0" * 32, "content": content, "transaction_id": key}
    with context.rule("R-ERR-3"):
        context.refused(sender.request("send_message", unknown), "room_not_found")


@case(
    rules=["R-MSG-10"],
    level="full",
    offers="transaction_id",
    title="a key that is still open starts over; with another content or room it is "
    "transaction_mismatch",
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
