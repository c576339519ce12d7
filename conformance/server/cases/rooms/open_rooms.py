"""Cases for the chapter Rooms: the lobby, rooms that a message makes, leaving and joining."""

from __future__ import annotations

from conformance.packets import PAST, Packet, shown
from conformance.server.cases.steps import (
    Upload,
    another_session,
    in_room,
    rooms_of,
    uploaded,
)
from conformance.server.context import ServerContext
from conformance.server.registry import case


def lobby_alone(context: ServerContext) -> list[str] | None:
    """Return the rooms of a fresh server, when the run begins, without those of this run; None
    where the server may not be fresh."""
    process = context.target.process
    found = None
    if process is not None and any("conformance-" in word for word in process.words()):
        found = [
            room_id
            for room_id in rooms_of(context, context.user())
            if context.target.tag not in room_id
        ]
    context.people.release(keep=True)
    return found


@case(
    rules=["R-ROOM-1"],
    level="full",
    offers="get_rooms",
    early=lobby_alone,
    title="a fresh server has one room, the open room `lobby`",
)
def lobby(context: ServerContext) -> None:
    rooms = rooms_of(context, context.user())
    context.check("lobby" in rooms, "a room `lobby`", f"the rooms are {shown(sorted(rooms))}")
    context.equal(rooms["lobby"].get("private"), False, "`private` of the lobby")
    if context.early is not None:
        ours = [room_id for room_id in context.early if not room_id.startswith("p-")]
        context.equal(ours, ["lobby"], "the rooms of a fresh server")


@case(
    rules=["R-ROOM-2"],
    title="what is said in an open room reaches every user who is on, without joining",
)
def open_room_reaches_everybody(context: ServerContext) -> None:
    sender, first, second = context.users(3)
    for room in ("lobby", context.room_id()):
        said = context.text()
        sender.say(room, said)
        for hearer in (first, second):
            while hearer.hear(room)["data"]["content"] != said:
                context.transcript.note("a message of somebody else", hearer.chatid)


@case(
    rules=["R-ROOM-2"],
    level="full",
    offers="get_rooms",
    title="an open room belongs to nobody and its name is its id",
)
def open_room_belongs_to_nobody(context: ServerContext) -> None:
    sender, other = context.users(2)
    room = context.room_id()
    sender.say(room, context.text())
    rooms = rooms_of(context, other)
    context.check(
        room in rooms, f"the room {room} in the list", f"the rooms are {shown(sorted(rooms))}"
    )
    context.check(
        "owner" in rooms[room] and rooms[room]["owner"] is None,
        "`owner` null",
        f"this came: {shown(rooms[room])}",
    )
    context.equal(rooms[room].get("name"), room, "`name` of an open room")
    context.equal(rooms[room].get("private"), False, "`private` of an open room")


@case(rules=["R-ROOM-3"], title="a message to an id that no room has makes the room", level="seed")
def a_message_makes_a_room(context: ServerContext) -> None:
    sender, other = context.users(2)
    room, said = context.room_id(), context.text()
    opened = sender.ask("send_message", {"room_id": room, "content": said}, want="character_count")
    sender.confirm(room, said, context.get(opened, "data.transaction_id", str))
    context.equal(
        [each["content"] for each in other.history(room)],
        [said],
        "what another user reads in the new room",
    )


@case(
    rules=["R-ROOM-3"],
    level="full",
    offers="get_rooms",
    title="a room is made by the commit of its first message, and not before",
)
def not_before_the_commit(context: ServerContext) -> None:
    sender, other = context.users(2)
    room, said = context.room_id(), context.text()
    opened = sender.ask("send_message", {"room_id": room, "content": said}, want="character_count")
    tid = context.get(opened, "data.transaction_id", str)
    context.check(
        room not in rooms_of(context, other),
        "no such room before `confirm_count`",
        f"{room} is listed already",
    )
    context.refused(
        other.request("get_messages", {"room_id": room, "from_time": PAST}), "room_not_found"
    )
    sender.confirm(room, said, tid)
    context.check(
        room in rooms_of(context, other), "the room after the ack", f"{room} is not listed"
    )


@case(
    rules=["R-ROOM-3"],
    level="full",
    offers="get_rooms",
    title="a message that was not confirmed makes no room",
)
def no_room_without_a_message(context: ServerContext) -> None:
    sender = context.user()
    room = context.room_id()
    opened = sender.ask(
        "send_message", {"room_id": room, "content": context.text()}, want="character_count"
    )
    tid = context.get(opened, "data.transaction_id", str)
    sender.ask("confirm_count", {"transaction_id": tid, "confirm": False}, want="ack")
    context.check(
        room not in rooms_of(context, sender), "no room", f"{room} is listed after `confirm: false`"
    )


@case(
    rules=["R-ROOM-3"],
    level="full",
    offers="get_rooms",
    title="an upload that is begun makes no room",
)
def no_room_before_the_file(context: ServerContext) -> None:
    sender, room = context.user(), context.room_id()
    with context.given("an upload that waits for its end"):
        upload = Upload(context, sender, room, "first.txt", b"the first thing in this room")
        upload.begin()
        upload.send()
    context.check(
        room not in rooms_of(context, sender),
        "no such room before `file_send_fin`",
        f"{room} is listed already",
    )


@case(rules=["R-ROOM-3"], title="a file sent to an id that no room has makes the room")
def a_file_makes_a_room(context: ServerContext) -> None:
    sender, other = context.users(2)
    room = context.room_id()
    uploaded(context, sender, room, "first.txt", b"the first thing in this room")
    reply = other.ask("file_list_req", {"room_id": room})
    context.equal(
        context.get(reply, "data.file_list", str), "first.txt", "`file_list` of the new room"
    )


@case(
    rules=["R-ROOM-4"],
    level="robust",
    offers=["create_room", "delete_room"],
    title="a user makes at most 100 rooms, deleted ones not counted",
)
def hundred_rooms(context: ServerContext) -> None:
    user = context.user(fresh=True)
    user.say(context.room_id(), context.text())
    asked = [
        user.packet("create_room", {"participants": [], "room_name": context.room_id()})
        for _ in range(99)
    ]
    made = []
    for start in range(0, 99, 33):
        user.wire.send_together(asked[start : start + 33])
        for _ in asked[start : start + 33]:
            reply = user.reply("create_room")
            context.equal(
                reply.get("action"), "room_created", "the answer for one of the first 100 rooms"
            )
            made.append(context.get(reply, "data.room_id", str))
    one_more = {"participants": [], "room_name": context.room_id()}
    beside: Packet = {"request_id": "101"} if context.offers("request_id") else {}
    reply = user.request("create_room", one_more, **beside)
    context.refused(reply, "quota_exceeded")
    told = reply.get("request_id")
    context.equal(told, beside.get("request_id"), "`request_id` of the error", "R-JSON-14")
    user.ask("delete_room", {"room_id": made[0]})
    user.ask("create_room", one_more)


@case(
    rules=["R-ROOM-5"],
    level="full",
    offers=["leave_room", "join_room"],
    title="who left an open room hears nothing of it until joining again",
)
def leave_and_join(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    room, missed, heard = context.room_id(), context.text(), context.text()
    sender.say(room, context.text())
    hearer.hear(room)
    left = hearer.ask("leave_room", {"room_id": room})
    context.equal(context.get(left, "data.room_id", str), room, "`room_id` of `room_left`")
    sender.say(room, missed)
    uploaded(context, sender, room, "missed.txt", b"a file that is missed")
    context.equal(len(hearer.history(room)), 2, "how many messages who left reads")
    joined = hearer.ask("join_room", {"room_id": room})
    context.equal(context.get(joined, "data.room_id", str), room, "`room_id` of `room_joined`")
    hearer.ask("join_room", {"room_id": room})
    sender.say(room, heard)
    hearer.hear_this(room, heard)
    told = [each for each in in_room(hearer.wire.aside(), room) if "file_path" in each["data"]]
    context.check(not told, "no `receive_file` for who left", f"this came: {shown(told)}")


@case(
    rules=["R-ROOM-5"],
    level="full",
    offers=["leave_room"],
    title="who left an open room hears nothing of it in later sessions; a message or a file to "
    "it brings it back, as joining does",
)
def leaving_outlives_the_session(context: ServerContext) -> None:
    sender, hearer = context.user(), context.user(own=True)
    room, heard = context.room_id(), context.text()
    sender.say(room, context.text())
    hearer.hear(room)
    hearer.ask("leave_room", {"room_id": room})
    joined = sender.say(context.room_id(), context.text()).room_id
    if context.offers("join_room"):
        hearer.ask("leave_room", {"room_id": joined})
        hearer.ask("join_room", {"room_id": joined})
    later = another_session(context, hearer)
    later.hear_this(joined, sender.say(joined, context.text()).content)
    sender.say(room, context.text())
    later.say(room, context.text())
    sender.say(room, heard)
    later.hear_this(room, heard)
    later.ask("leave_room", {"room_id": room})
    uploaded(context, later, room, "back.txt", b"a file brings one back, too")
    heard = context.text()
    sender.say(room, heard)
    later.hear_this(room, heard)
