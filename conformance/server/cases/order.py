"""Cases for the chapter Order: what an ack promises, one order for all, numbers and times, the
order of replies."""

from __future__ import annotations

import base64
import itertools
import re
import time

from conformance.endings import NotOffered
from conformance.packets import FUTURE, PAST, Packet, letters
from conformance.server.cases.messages.steps import opened
from conformance.server.cases.sessions import log_in
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.user import User

ASKED = 5
DELAY_SECONDS = 0.035
"""A little less than Linux holds an acknowledgement back (40 ms), for which Nagle's algorithm
waits before the second piece of an answer."""
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@case(
    rules=["R-ORDER-1"],
    level="robust",
    last=True,
    title="what was acknowledged is there after the server was killed, in its order",
)
def survives_a_kill(context: ServerContext) -> None:
    process = context.target.process
    if process is None:
        raise NotOffered("a server that the kit may kill", "use --start-cmd")
    user, room = context.user(own=True), context.room_id()
    said = [user.say(room, context.text()) for _ in range(5)]
    path, body = upload(context, user, room)
    process.restart()
    again = log_in(context, user.account)
    actual = [message["content"] for message in again.history(room)]
    context.equal(actual, [each.content for each in said], "the room's history after the kill")
    packets = download(context, again, room, path)
    came_body = b"".join(
        base64.b64decode(packet["data"]["file_data"])
        for packet in packets
        if packet["action"] == "file_down_data"
    )
    context.check(
        came_body == body,
        "the file as it was sent, after the kill",
        f"{len(came_body)} of {len(body)} bytes came, or others",
    )


@case(
    rules=["R-ORDER-2"],
    title="everybody hears and reads the messages of a room in one and the same order",
)
def one_order(context: ServerContext) -> None:
    senders, hearers = context.users(2), context.users(2)
    room = context.room_id()
    with context.given("messages of two senders at once"):
        for sender in senders:
            packets = [
                sender.packet("send_message", {"room_id": room, "content": context.text()})
                for _ in range(8)
            ]
            sender.wire.send_together(packets)
        for sender in senders:
            tids = [
                context.get(sender.reply("send_message"), "data.transaction_id", str)
                for _ in range(8)
            ]
            sender.wire.send_together(
                [
                    {"action": "confirm_count", "data": {"transaction_id": tid, "confirm": True}}
                    for tid in tids
                ]
            )
        for sender in senders:
            for _ in range(8):
                context.equal(
                    sender.reply("confirm_count").get("status"), "success", "`status` of the ack"
                )
        history = [
            (message["sender_chatid"], message["content"]) for message in hearers[0].history(room)
        ]
        context.equal(len(history), 16, "the number of messages in the history")
    for hearer in hearers:
        live = [heard_by(hearer, room) for _ in range(16)]
        context.check(
            live == history,
            "live the order of the history",
            f"first difference: {difference(live, history)}",
        )
    for sender in senders:
        others = [entry for entry in history if entry[0] != sender.chatid]
        live = [heard_by(sender, room) for _ in others]
        context.check(
            live == others,
            "live the order of the history, for a sender too",
            f"first difference: {difference(live, others)}",
        )


def heard_by(user: User, room: str) -> tuple[str, str]:
    """Wait for the next message of a room; return its sender and content."""
    data = user.hear(room)["data"]
    return data["sender_chatid"], data["content"]


def difference(actual: list[tuple[str, str]], expected: list[tuple[str, str]]) -> str:
    """Return the first place at which two orders differ."""
    place = next(
        (
            place
            for place, pair in enumerate(zip(actual, expected, strict=False))
            if pair[0] != pair[1]
        ),
        0,
    )
    return f"at place {place + 1} {actual[place]} came, where the history has {expected[place]}"


@case(
    rules=["R-ORDER-3", "R-ORDER-2"],
    level="full",
    offers="message_id",
    title="message_id grows over all rooms, and history is sorted by it",
)
def numbers_grow(context: ServerContext) -> None:
    first, second = context.users(2)
    rooms = [context.room_id(), context.room_id()]
    numbers = []
    for place in range(6):
        said = (first, second)[place % 2].say(rooms[place // 2 % 2], context.text())
        numbers.append(context.get(said.ack, "data.message_id", int))
    context.check(
        all(one < other for one, other in itertools.pairwise(numbers)),
        "ids that grow",
        f"these came: {numbers}",
    )
    with context.rule("R-ORDER-2"):
        for room in rooms:
            stored = [context.get(message, "message_id", int) for message in first.history(room)]
            context.equal(
                stored, [number for number in numbers if number in stored], "the ids in the history"
            )


@case(
    rules=["R-ORDER-3"],
    level="robust",
    last=True,
    offers="message_id",
    title="message_id goes on growing after a restart",
)
def numbers_grow_over_restart(context: ServerContext) -> None:
    process = context.target.process
    if process is None:
        raise NotOffered("a server that the kit may kill", "use --start-cmd")
    user, room = context.user(own=True), context.room_id()
    before = context.get(user.say(room, context.text()).ack, "data.message_id", int)
    process.restart()
    with context.given("a login after the restart"):
        again = log_in(context, user.account)
    after = context.get(again.say(room, context.text()).ack, "data.message_id", int)
    context.check(after > before, f"an id above {before}", f"it is {after}")


@case(rules=["R-ORDER-4"], title="timestamp is written 2024-01-01T12:00:00Z, in whole seconds")
def timestamps(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    room = context.room_id()
    said = sender.say(room, context.text())
    with context.given("`receive_message` and the room's history"):
        heard = hearer.hear(room)
        stored = hearer.history(room)
    told = [
        context.get(heard, "data.timestamp", str),
        *(message["timestamp"] for message in stored),
    ]
    for timestamp in [*told, *([] if said.timestamp is None else [said.timestamp])]:
        context.check(
            bool(TIMESTAMP.fullmatch(timestamp)),
            "a time as 2024-01-01T12:00:00Z",
            f"{timestamp!r} came",
        )


@case(rules=["R-ORDER-5"], title="requests sent in one piece are answered in their order")
def replies_in_order(context: ServerContext) -> None:
    user, room = context.user(own=True), context.room_id()  # whose burst (R-LIM-3) is whole
    user.say(room, context.text())
    _note_delays(context, user)
    texts = [context.text() for _ in range(4)]
    packets: list[Packet] = []
    for text in texts:
        packets += [
            user.packet("send_message", {"room_id": room, "content": text}),
            user.packet("get_messages", {"room_id": room, "from_time": PAST}),
        ]
    user.wire.send_together(packets)
    actions = ("character_count", "messages_list", "error")
    replies = [
        user.wire.receive_where(lambda each: each.get("action") in actions, "the replies, each")
        for _ in packets
    ]
    actual = [reply["action"] for reply in replies]
    context.equal(actual, ["character_count", "messages_list"] * 4, "the actions of the replies")
    totals = [sum_of(context, reply) for reply in replies[::2]]
    context.equal(
        totals, [len(text) for text in texts], "how many characters each `character_count` counted"
    )


def _note_delays(context: ServerContext, user: User) -> None:
    """Note where even the quickest of a few answers waits for an acknowledgement of TCP."""
    times = []
    for _ in range(ASKED):
        began = time.monotonic()
        user.fence()
        times.append(time.monotonic() - began)
    if min(times) >= DELAY_SECONDS:
        context.target.note(
            f"every answer takes {min(times) * 1000:.0f} ms or more: is it written in two pieces? "
            "Write length and JSON by one call, or set TCP_NODELAY"
        )


def sum_of(context: ServerContext, reply: Packet) -> int:
    """Return how many characters were counted in all."""
    counts = context.get(reply, "data.letter_frequencies", dict)
    return sum(count for count in counts.values() if isinstance(count, int))


@case(
    rules=["R-ORDER-5"],
    level="full",
    offers="request_id",
    title="errors and successes keep the order of their requests, too",
)
def errors_in_order(context: ServerContext) -> None:
    user = context.user()
    keys = [context.key() for _ in range(6)]
    packets = []
    for place, key in enumerate(keys):
        from_time = FUTURE if place % 2 else "no time"
        packets.append(
            user.packet(
                "get_messages", {"room_id": "lobby", "from_time": from_time}, request_id=key
            )
        )
    user.wire.send_together(packets)
    replies = [user.reply("get_messages") for _ in packets]
    context.equal(
        [reply.get("request_id") for reply in replies], keys, "the `request_id` of the replies"
    )


@case(rules=["R-ORDER-6"], title="the acks of one client come in the order of its confirm_counts")
def acks_in_order(context: ServerContext) -> None:
    user, room = context.user(), context.room_id()
    texts = [context.text() for _ in range(6)]
    tids = [opened(context, user, room, text) for text in texts]
    order = list(range(6))
    context.random.shuffle(order)
    user.wire.send_together(
        [
            {"action": "confirm_count", "data": {"transaction_id": tids[place], "confirm": True}}
            for place in order
        ]
    )
    acks = [user.reply("confirm_count") for _ in order]
    actual = [context.get(ack, "data.transaction_id", str) for ack in acks]
    context.equal(actual, [tids[place] for place in order], "the order of the acks")
    stored = [message["content"] for message in user.history(room)]
    with context.rule("R-ORDER-2"):
        context.equal(stored, [texts[place] for place in order], "the room's history")


def upload(context: ServerContext, user: User, room: str) -> tuple[str, bytes]:
    """Store a file of three chunks; return its name and bytes. A precondition."""
    path, size = f"{context.room_id('file')}.bin", 200_000
    body = context.random.randbytes(2 * size + 17)
    about = {"room_id": room, "file_path": path}
    with context.given("an upload", remember="upload"):
        user.ask(
            "file_send_init",
            {**about, "file_size": len(body), "file_type": "text/plain", "total_packets": 3},
        )
        for number in (1, 2, 3):
            chunk = base64.b64encode(body[(number - 1) * size : number * size]).decode("ascii")
            user.ask("file_send_data", {**about, "sequence_number": number, "file_data": chunk})
        user.ask("file_send_fin", {**about, "total_packets": 3})
    return path, body


def download(context: ServerContext, user: User, room: str, path: str) -> list[Packet]:
    """Download a file; return its packets, `file_down_meta` to `file_down_fin` (an assertion)."""
    user.send("file_down_req", {"room_id": room, "file_path": path})
    packets: list[Packet] = []
    actions = ("file_down_meta", "file_down_data", "file_down_fin")
    while not packets or packets[-1].get("action") != "file_down_fin":
        packets.append(user.wire.expect(*actions))
        if packets[-1].get("action") == "file_down_data":
            context.get(packets[-1], "data.sequence_number", int)
            chunk = context.get(packets[-1], "data.file_data", str)
            context.check(is_base64(chunk), "`file_data` in base64", f"{chunk[:60]!r} came")
    return packets


def is_base64(text: str) -> bool:
    """Return whether a text is base64 with padding and without line breaks."""
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return True


@case(rules=["R-ORDER-7"], title="the packets of a download come in their own order")
def download_in_order(context: ServerContext) -> None:
    user, room = context.user(), context.room_id()
    path, _ = upload(context, user, room)
    packets = download(context, user, room, path)
    actual = [
        packet["data"]["sequence_number"]
        if packet["action"] == "file_down_data"
        else packet["action"]
        for packet in packets
    ]
    total = context.get(packets[0], "data.total_packets", int)
    context.equal(len(packets) - 2, total, "how many chunks came")
    context.equal(
        actual,
        ["file_down_meta", *range(1, total + 1), "file_down_fin"],
        "the order of the packets",
    )


@case(
    rules=["R-ORDER-5", "R-MSG-1"],
    title="two messages sent in one piece are counted each by itself",
)
def two_at_once(context: ServerContext) -> None:
    user, room = context.user(), context.room_id()
    texts = [context.text(), context.text()]
    user.wire.send_together(
        [user.packet("send_message", {"room_id": room, "content": text}) for text in texts]
    )
    for text in texts:
        reply = user.reply("send_message")
        context.equal(
            context.get(reply, "data.letter_frequencies", dict),
            letters(text),
            "`letter_frequencies`",
        )
