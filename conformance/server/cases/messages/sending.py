"""Cases for the chapter Sending a message: the counting rule, the sender's handshake."""

from __future__ import annotations

from conformance.packets import FUTURE, Packet, shown
from conformance.server.cases.messages.steps import (
    PLAIN,
    UNICODE,
    check_counts,
    contents,
    heard_message,
    open_message,
    opened,
)
from conformance.server.cases.sessions import comes_free
from conformance.server.cases.steps import Upload, private_room
from conformance.server.context import ServerContext
from conformance.server.registry import case


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
    sender.say(room, later)
    with context.given("`receive_message`"):
        hearer.hear(room)
        heard = hearer.hear(room)
    context.equal(heard["data"]["content"], later, "the second message that the room hears")
    stored = contents(context, hearer, room)
    context.check(
        early not in stored,
        "a history without the message that was not confirmed",
        f"it holds {shown(stored)}",
    )


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
    title="every other member who is on gets receive_message with room, sender, content and "
    "timestamp",
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
    title="the content arrives as it was sent: blanks at both ends, doubled ones, tabs and "
    "line ends too",
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
    with context.rule("R-MSG-12"):
        reply = sender.request("confirm_count", {"transaction_id": tid, "confirm": True})
        context.refused(reply, "transaction_not_found", original="confirm_count")
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
    upload = Upload(context, member, room, "late.bin", b"0123456789")
    with context.given("an upload that waits for its end, and `room_deleted`"):
        upload.begin()
        upload.send()
        owner.ask("delete_room", {"room_id": room})
    beside: Packet = {"request_id": "late"} if context.offers("request_id") else {}
    reply = member.request("confirm_count", {"transaction_id": tid, "confirm": True}, **beside)
    # Whether the transaction is open still is for the server to say (Who may do what).
    codes = ("room_not_found", "transaction_not_found")
    context.refused(reply, codes, original="confirm_count")
    context.equal(
        reply.get("request_id"), beside.get("request_id"), "`request_id` of the error", "R-JSON-14"
    )
    ended = member.request("file_send_fin", upload.fin())
    context.refused(ended, "room_not_found", original="file_send_fin", rule="R-ROOM-16")


@case(
    rules=["R-MSG-6", "R-ROOM-22", "R-ROOM-6"],
    level="full",
    offers=["create_room", "remove_user_from_room"],
    title="what somebody has begun to send before being taken out of the room is not stored",
)
def taken_out_meanwhile(context: ServerContext) -> None:
    owner, member = context.users(2)
    room = private_room(context, owner, member)
    tid = opened(context, member, room, context.text())
    upload = Upload(context, member, room, "late.bin", b"0123456789")
    with context.given("an upload that waits for its end, and `user_removed`"):
        upload.begin()
        upload.send()
        owner.ask("remove_user_from_room", {"room_id": room, "user_to_remove": member.chatid})
        reply = member.request("get_messages", {"room_id": room, "from_time": FUTURE})
        context.check(reply.get("action") == "error", "an `error`", f"this came: {shown(reply)}")
    sent = member.request("confirm_count", {"transaction_id": tid, "confirm": True})
    stored = member.request("file_send_fin", upload.fin())
    context.equal(contents(context, owner, room), [], "the room's history")
    context.check(sent.get("action") == "error", "an `error`", f"this came: {shown(sent)}")
    with context.rule("R-ROOM-22"):
        context.check(stored.get("action") == "error", "an `error`", f"this came: {shown(stored)}")
    with context.rule("R-ROOM-6"):
        # Whether the transaction is open still is for the server to say (Who may do what).
        codes = ("room_not_found", "transaction_not_found")
        context.refused(sent, codes, original="confirm_count")
        context.refused(stored, "room_not_found", original="file_send_fin")
        if context.offers("file_cancel"):
            given_up = member.request("file_cancel", {"room_id": room, "file_path": "late.bin"})
            context.refused(given_up, "room_not_found", original="file_cancel")


@case(
    rules=["R-MSG-7"],
    level="full",
    offers="limits",
    title="64 transactions may be open, and the next send_message is too_many_pending",
)
def too_many_open(context: ServerContext) -> None:
    sender, room = context.user(own=True), context.room_id()
    packet = sender.packet("send_message", {"room_id": room, "content": "x"})
    key = {"transaction_id": context.key()} if context.offers("transaction_id") else {}
    first = sender.packet("send_message", {"room_id": room, "content": "x", **key})
    beside: Packet = {"request_id": "65"} if context.offers("request_id") else {}
    sender.wire.send_together([first] + [packet] * 63 + [{**packet, **beside}])
    replies = [sender.reply("send_message") for _ in range(65)]
    for place, reply in enumerate(replies[:64], 1):
        context.equal(
            reply.get("action"),
            "character_count",
            f"`action` of the answer to message {place} of 65 that stay open",
        )
    context.refused(replies[64], "too_many_pending", original="send_message")
    told = replies[64].get("request_id")
    context.equal(told, beside.get("request_id"), "`request_id` of the error", "R-JSON-14")
    unknown = sender.request("send_message", {"room_id": "p-" + "0" * 32, "content": "x"})
    context.refused(unknown, "room_not_found", original="send_message", rule="R-ERR-3")
    if key:
        again = sender.request("send_message", first["data"])
        what = "`action` of the answer to a key that is open, once more"
        context.equal(again.get("action"), "character_count", what, "R-MSG-10")
    for reply, confirm in ((replies[0], False), (replies[1], True)):
        tid = context.get(reply, "data.transaction_id", str)
        sender.ask("confirm_count", {"transaction_id": tid, "confirm": confirm})
        reply = sender.request("send_message", packet["data"])
        context.equal(
            reply.get("action"),
            "character_count",
            f"`action` of the answer once one of the 64 has ended by `confirm` {shown(confirm)}",
        )


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
    tid, _ = open_message(context, sender, room, content)
    said = sender.confirm(room, content, tid)
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
