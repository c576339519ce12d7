"""Slow and rude peers: nobody else may notice them, and what they were promised holds."""

from __future__ import annotations

import struct

from conformance.endings import Failed
from conformance.packets import FUTURE, PAST, Packet, encode, shown
from conformance.server.cases.files.steps import narrow_reader
from conformance.server.cases.limits import is_turned_off
from conformance.server.cases.races import all_open
from conformance.server.cases.steps import another_session, in_room
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.user import User
from conformance.wire import Closed, Silence

FLOOD = 100
"""So many connections come and go at once; loopback and a class room are far above it
(R-LIM-10)."""
LARGE = 16_000
"""Bytes of a large message."""
FILLING, FILLING_REQUESTS = 48, 16
"""So many large messages, asked for so often, are 12 MB: more than the buffers of any system."""
PINGS = 1_100
"""Their answers fill a queue that is bounded by a number of packets, too."""


def talk(context: ServerContext, sender: User, hearer: User, room: str, count: int = 1) -> None:
    """Fail unless two users can talk as usual."""
    for _ in range(count):
        said = context.text()
        opened = sender.ask(
            "send_message", {"room_id": room, "content": said}, want="character_count"
        )
        sender.confirm(room, said, context.get(opened, "data.transaction_id", str))
        hearer.hear_this(room, said)


@case(
    rules=["R-FRAME-2"],
    level="robust",
    title="a peer that sends one byte at a time is served, and keeps nobody waiting",
)
def one_byte_at_a_time(context: ServerContext) -> None:
    sender, hearer, slow = context.user(), context.user(), context.user(own=True)
    room, said = context.room_id(), context.text(2)
    data = encode(slow.packet("send_message", {"room_id": room, "content": said}))
    for place in range(len(data)):
        slow.wire.send_raw(data[place : place + 1], "one byte")
        if place % 25 == 10:
            talk(context, sender, hearer, room)
    opened = slow.reply("send_message")
    context.equal(
        opened.get("action"), "character_count", "the answer to a request that came byte by byte"
    )
    slow.confirm(room, said, context.get(opened, "data.transaction_id", str))
    hearer.hear_this(room, said)


@case(
    rules=["R-MSG-21"],
    level="robust",
    title="peers that stop in the middle of a frame or of a handshake keep nobody waiting",
)
def stopped_in_the_middle(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    half, header, unanswered = context.user(own=True), context.connect(), context.user(own=True)
    room = context.room_id()
    half.wire.send_raw(
        encode(half.packet("send_message", {"room_id": room, "content": "half"}))[:20],
        "twenty bytes of a frame",
    )
    header.send_raw(b"\0\0", "half of a length")
    unanswered.ask(
        "send_message", {"room_id": room, "content": "never confirmed"}, want="character_count"
    )
    talk(context, sender, hearer, room, 5)


@case(
    rules=["R-MSG-21", "R-LIM-11"],
    level="robust",
    title="a reader that stops reading keeps nobody waiting, and finds all it missed in the "
    "history",
)
def a_reader_that_stops(context: ServerContext) -> None:
    senders, hearer, stopped = (
        context.users(3, own=True),
        context.user(own=True),
        narrow_reader(context),
    )
    room = context.room_id()
    _fill_its_buffers(context, senders, stopped)
    said: list[str] = []
    for number in range(36):
        for sender in senders:
            content = f"{number} {sender.chatid} " + "x" * LARGE
            opened = sender.ask(
                "send_message", {"room_id": room, "content": content}, want="character_count"
            )
            sender.confirm(room, content, context.get(opened, "data.transaction_id", str))
            hearer.hear_this(room, content)
            sender.wire.take_aside()
            said.append(content)
        context.let_others_read()
    for sender in senders:  # small ones, which a queue of a few hundred does not hold either
        packets = all_open(context, sender, room)
        sender.wire.send_together(packets, "many confirmations at once")
        for _ in packets:
            sender.reply("confirm_count")
            said.append(hearer.hear(room)["data"]["content"])
        context.let_others_read()
    heard = _read_what_is_left(context, stopped, room, len(said))
    context.check(
        heard == said[: len(heard)],
        "what the slow reader heard to be the beginning, in order",
        f"it heard {[text[:20] for text in heard][:5]}…",
    )
    is_limited = context.offers("limits") and not is_turned_off(context, "--max-waiting")
    if len(heard) == len(said) and is_limited:
        context.fail(
            "a reader to be disconnected for which more than 1 MiB of messages waits",
            f"{sum(map(len, said))} bytes waited for it",
            "R-LIM-11",
        )
    if len(heard) < len(said):
        with context.rule("R-LIM-11"):
            missed = _all_of(context, another_session(context, stopped), room)
            gone = len(set(said) - set(missed))  # how the pages fit together is R-HIST-4's
            context.check(
                not gone, f"all {len(said)} messages in the history", f"{gone} of them are missing"
            )


def _fill_its_buffers(context: ServerContext, senders: list[User], stopped: User) -> None:
    """Let a reader ask for 12 MB that it does not take, so that no buffer of the system has room
    for what comes then."""
    room = context.room_id("long")
    with context.given("a long history"):
        for sender in senders:
            for _ in range(FILLING // len(senders)):
                sender.say(room, "y" * LARGE)
                context.let_others_read()
    pages = [stopped.packet("get_messages", {"room_id": room, "from_time": PAST})]
    stopped.wire.send_together(pages * FILLING_REQUESTS + [{"action": "ping"}] * PINGS)


def _read_what_is_left(context: ServerContext, user: User, room: str, count: int) -> list[str]:
    """Read what still comes, up to the end of the connection or of the messages."""
    heard: list[str] = []
    try:
        while len(heard) < count:
            heard.append(user.hear(room)["data"]["content"])
    except Failed as problem:
        cause = problem.__cause__
        if isinstance(cause, Silence):
            context.fail(
                "all messages, or the end of the connection",
                f"the connection is open, but after {len(heard)} of {count} nothing came",
                "R-MSG-21",
            )
        if not isinstance(cause, Closed):
            raise
    return heard


def _all_of(context: ServerContext, user: User, room: str) -> list[str]:
    """Return the whole history of a room whose messages fill more than one frame."""
    reply = user.ask("get_messages", {"room_id": room, "from_time": PAST})
    found: list[str] = []
    for _ in range(100):
        messages: list[Packet] = context.get(reply, "data.messages", list)
        found += [context.get(message, "content", str) for message in messages]
        if not messages or reply["data"].get("has_more") is not True:
            break
        after = context.get(messages[-1], "message_id", int)
        reply = user.ask("get_messages", {"room_id": room, "after_id": after})
    return found


@case(
    rules=["R-SESS-1"],
    level="robust",
    title="connections that come and go, with and without a reset, keep nobody from logging "
    "in and talking",
)
def connect_and_close(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    room = context.room_id()
    for turn in range(2):
        wires = [context.connect() for _ in range(FLOOD // 2)]
        for place, wire in enumerate(wires):
            if place % 3 == 0:
                wire.send_raw(struct.pack(">I", 100) + b'{"action"', "the beginning of a frame")
            elif place % 3 == 1:
                wire.send(
                    {
                        "action": "get_messages",
                        "data": {"chatid": "anna", "room_id": "lobby", "from_time": FUTURE},
                    }
                )
            if (place + turn) % 2:
                wire.reset()
            else:
                wire.close()
        talk(context, sender, hearer, room)
    newcomer = context.guest(context.account())
    context.equal(
        newcomer.login().get("action"), "login_success", "the reply to a login after the flood"
    )
    talk(context, newcomer, hearer, room)


@case(
    rules=["R-ORDER-5", "R-LIM-1", "R-FRAME-2"],
    level="robust",
    title="many requests in one send are all answered, in order, and none is refused",
)
def many_requests_in_one_send(context: ServerContext) -> None:
    user = context.user(own=True)
    rooms = [context.room_id() for _ in range(3)]
    for room in rooms:
        user.say(room, context.text())
    asked = [context.random.choice(rooms) for _ in range(120)]
    user.wire.send_together(
        [user.packet("get_messages", {"room_id": room, "from_time": FUTURE}) for room in asked]
    )
    answered = []
    for _ in asked:
        with context.rule("R-LIM-1"):
            reply = user.wire.expect("messages_list", timeout=15)
        answered.append(context.get(reply, "data.room_id", str))
    context.equal(answered, asked, "the rooms of the answers, in order")


@case(
    rules=["R-MSG-7", "R-MSG-21"],
    level="robust",
    title="who is torn away in the middle of a handshake leaves nothing behind",
)
def torn_away(context: ServerContext) -> None:
    hearer, witness = context.users(2)
    room = context.room_id()
    for way in ("close", "reset"):
        rude = context.user(own=True)
        opened = rude.ask(
            "send_message",
            {"room_id": room, "content": f"never confirmed before the {way}"},
            want="character_count",
        )
        tid = context.get(opened, "data.transaction_id", str)
        rude.wire.reset() if way == "reset" else rude.wire.close()
        again = another_session(context, rude)
        context.refused(
            again.request("confirm_count", {"transaction_id": tid, "confirm": True}),
            "transaction_not_found",
            original="confirm_count",
        )
        again.close()
    said = context.text()
    witness.say(room, said)
    hearer.hear_this(room, said)
    context.equal(
        [each["content"] for each in hearer.history(room)], [said], "the messages of the room"
    )
    got = in_room(hearer.wire.aside(), room)
    context.check(not got, "that nothing else was heard of the room", f"this came: {shown(got)}")


@case(
    rules=["R-MSG-21"],
    level="robust",
    title="a hearer who is torn away is no trouble for the sender and the others",
)
def hearers_torn_away(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    room = context.room_id()
    for way in ("reset", "close", "reset"):
        rude = context.user(own=True)
        rude.say(room, context.text())
        hearer.hear(room)
        sender.hear(room)
        opened = sender.ask(
            "send_message", {"room_id": room, "content": way}, want="character_count"
        )
        rude.wire.reset() if way == "reset" else rude.wire.close()
        sender.confirm(room, way, context.get(opened, "data.transaction_id", str))
        hearer.hear_this(room, way)
