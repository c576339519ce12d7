"""Rooms: the lobby, open rooms that a message makes, private rooms and their owners, lists and
their pages."""

from __future__ import annotations

from conformance.packets import PAST, Packet, shown
from conformance.server.cases.steps import (
    another_session,
    download,
    everybody_in,
    in_room,
    private_room,
    rooms_of,
    uploaded,
)
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.user import User

UNPRINTABLE = {
    "an empty id": "",
    "65 characters": "r" * 65,
    "a blank before it": " room",
    "a blank behind it": "room ",
    "a line feed": "ro\nom",
    "NUL": "ro\0om",
    "an escape": "ro\x1bom",
}


def lobby_alone(context: ServerContext) -> list[str] | None:
    """Asked when the run begins: the rooms of a fresh server, those of this run left out; None
    where it may not be fresh."""
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
    context.refused(user.request("create_room", one_more), "quota_exceeded")
    user.ask("delete_room", {"room_id": made[0]})
    user.ask("create_room", one_more)


# --- leaving and joining


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
    joined = hearer.ask("join_room", {"room_id": room})
    context.equal(context.get(joined, "data.room_id", str), room, "`room_id` of `room_joined`")
    hearer.ask("join_room", {"room_id": room})
    sender.say(room, heard)
    hearer.hear_this(room, heard)


@case(
    rules=["R-ROOM-5"],
    level="full",
    offers=["leave_room"],
    title="who left an open room hears nothing of it in later sessions; a message to it brings it back",
)
def leaving_outlives_the_session(context: ServerContext) -> None:
    sender, hearer = context.user(), context.user(own=True)
    room, heard = context.room_id(), context.text()
    sender.say(room, context.text())
    hearer.hear(room)
    hearer.ask("leave_room", {"room_id": room})
    later = another_session(context, hearer)
    sender.say(room, context.text())
    later.say(room, context.text())
    sender.say(room, heard)
    later.hear_this(room, heard)


# --- private rooms


def tries(room: str) -> list[tuple[str, Packet]]:
    """What a stranger may try with a room."""
    upload = {
        "room_id": room,
        "file_path": "a.txt",
        "file_size": 1,
        "file_type": "text/plain",
        "total_packets": 1,
    }
    return [
        ("send_message", {"room_id": room, "content": "let me in"}),
        ("get_messages", {"room_id": room, "from_time": PAST}),
        ("file_send_init", upload),
        ("file_list_req", {"room_id": room}),
        ("file_down_req", {"room_id": room, "file_path": "a.txt"}),
    ]


def extension_tries(room: str, name: str) -> list[tuple[str, Packet]]:
    """The same with requests that not every server knows."""
    return [
        ("join_room", {"room_id": room}),
        ("leave_room", {"room_id": room}),
        ("add_user_to_room", {"room_id": room, "user_to_add": name}),
        ("remove_user_from_room", {"room_id": room, "user_to_remove": name}),
        ("rename_room", {"room_id": room, "new_room_name": "mine now"}),
        ("delete_room", {"room_id": room}),
        ("get_room_users", {"room_id": room}),
    ]


@case(
    rules=["R-ROOM-6"],
    level="full",
    offers="create_room",
    title="for a stranger a private room does not exist, whatever is tried",
)
def a_stranger_finds_no_room(context: ServerContext) -> None:
    owner, member, stranger = context.users(3)
    room = private_room(context, owner, member)
    uploaded(context, owner, room, "a.txt", b"for members")
    owner.say(room, context.text())
    for action, data in tries(room) + extension_tries(room, stranger.chatid):
        if context.offers(action):
            context.refused(stranger.request(action, data), "room_not_found", original=action)
    context.equal(len(member.history(room)), 1, "how many messages the room has after all that")


@case(
    rules=["R-ROOM-6"],
    level="full",
    offers=["create_room", "get_rooms"],
    title="a private room is not in a stranger's list, and its messages and files reach no stranger",
)
def a_stranger_hears_nothing(context: ServerContext) -> None:
    owner, member, stranger = context.users(3)
    room, elsewhere, said = private_room(context, owner, member), context.room_id(), context.text()
    context.check(
        room not in rooms_of(context, stranger),
        "that the stranger's list does not have the room",
        "it has",
    )
    owner.say(room, said)
    uploaded(context, owner, room, "a.txt", b"for members")
    owner.say(elsewhere, said)
    stranger.hear(elsewhere)
    member.hear_this(room, said)
    member.wire.expect("receive_file")
    got = in_room(stranger.wire.aside(), room)
    context.check(
        not got, "that nothing of the private room reaches a stranger", f"this came: {shown(got)}"
    )


@case(
    rules=["R-ROOM-6"],
    level="full",
    offers="create_room",
    title="an unknown id that begins with `p-` is `room_not_found` and never makes a room",
)
def an_unknown_private_id(context: ServerContext) -> None:
    user = context.user()
    room = f"p-{context.random.getrandbits(128):032x}"
    for action, data in tries(room) + extension_tries(room, user.chatid):
        if context.offers(action):
            context.refused(user.request(action, data), "room_not_found", original=action)


@case(
    rules=["R-ROOM-7"],
    level="full",
    title="a room's id is 1 to 64 printable characters without blanks around them",
)
def shape_of_an_id(context: ServerContext) -> None:
    user = context.user()
    for what, room in UNPRINTABLE.items():
        context.transcript.note(what)
        context.refused(
            user.request("get_messages", {"room_id": room, "from_time": PAST}), "bad_packet"
        )
    stem = context.room_id()
    for room in (stem + "x" * (64 - len(stem)), f"{stem} two words", f"{stem} é漢👍"):
        said = context.text()
        opened = user.ask(
            "send_message", {"room_id": room, "content": said}, want="character_count"
        )
        user.confirm(room, said, context.get(opened, "data.transaction_id", str))
        context.equal(
            [each["content"] for each in user.history(room)],
            [said],
            f"the messages of the room {room!r}",
        )


@case(
    rules=["R-ROOM-7"],
    level="full",
    offers=["create_room"],
    title="a room's name is 1 to 64 printable characters without blanks around them",
)
def shape_of_a_name(context: ServerContext) -> None:
    user = context.user()
    for what, name in UNPRINTABLE.items():
        context.transcript.note(what)
        context.refused(
            user.request("create_room", {"participants": [], "room_name": name}), "bad_packet"
        )
    for name in ("n" * 64, "é", "two words 漢"):
        user.ask("create_room", {"participants": [], "room_name": name})


@case(
    rules=["R-ROOM-8"],
    level="full",
    offers="create_room",
    title="`create_room` makes a private room of the sender and the participants, with an id of 128 random bits",
)
def a_private_room(context: ServerContext) -> None:
    owner, member = context.users(2)
    name = context.room_id("team")
    ids = []
    for participants in ([member.chatid], []):
        reply = owner.ask("create_room", {"participants": participants, "room_name": name})
        ids.append(context.get(reply, "data.room_id", str))
    for room in ids:
        context.check(
            room.startswith("p-") and len(room) >= 24,
            "an id of `p-` and 128 random bits",
            f"it is {room!r}",
        )
    context.check(ids[0] != ids[1], "two ids for two rooms", f"both are {ids[0]!r}")
    said = context.text()
    owner.say(ids[0], said)
    member.hear_this(ids[0], said)
    context.refused(
        member.request("get_messages", {"room_id": ids[1], "from_time": PAST}), "room_not_found"
    )


@case(
    rules=["R-ROOM-8"],
    level="full",
    offers="create_room",
    title="`participants` is a list of at most 1,000 names",
)
def participants_are_a_list(context: ServerContext) -> None:
    owner = context.user()
    wrong: list[object] = [owner.chatid, None, {"0": owner.chatid}, [17], [owner.chatid] * 1001]
    for participants in wrong:
        context.refused(
            owner.request("create_room", {"participants": participants, "room_name": "team"}),
            "bad_packet",
        )
    owner.ask("create_room", {"participants": [owner.chatid], "room_name": "team"})


@case(
    rules=["R-ROOM-9"],
    level="full",
    offers=["create_room", "add_user_to_room", "remove_user_from_room", "get_room_users"],
    title="a name that no account has is `user_not_found`, and nothing changes",
)
def unknown_names(context: ServerContext) -> None:
    owner, member, other = context.users(3)
    nobody, name = context.name("nobody"), context.room_id("team")
    context.refused(
        owner.request("create_room", {"participants": [member.chatid, nobody], "room_name": name}),
        "user_not_found",
    )
    if context.offers("get_rooms"):
        names = [room.get("name") for room in rooms_of(context, owner).values()]
        context.check(
            name not in names, "no room after `user_not_found`", f"there is a room called {name}"
        )
    room = private_room(context, owner, member)
    context.refused(
        owner.request("add_user_to_room", {"room_id": room, "user_to_add": nobody}),
        "user_not_found",
    )
    for absent in (nobody, other.chatid):
        context.refused(
            owner.request("remove_user_from_room", {"room_id": room, "user_to_remove": absent}),
            "user_not_found",
        )
    context.equal(
        sorted(everybody_in(context, owner, room)),
        sorted([owner.chatid, member.chatid]),
        "the members after that",
    )


@case(
    rules=["R-ROOM-10", "R-ROOM-12"],
    level="full",
    offers=["create_room", "add_user_to_room"],
    title="a new member reads all of the room's history and files",
)
def new_members_read_everything(context: ServerContext) -> None:
    owner, later = context.users(2)
    room, said, content = (
        private_room(context, owner),
        context.text(),
        context.random.randbytes(1500),
    )
    owner.say(room, said)
    uploaded(context, owner, room, "old.bin", content)
    owner.ask("add_user_to_room", {"room_id": room, "user_to_add": later.chatid}, rule="R-ROOM-12")
    context.equal(
        [each["content"] for each in later.history(room)], [said], "what the new member reads"
    )
    context.check(
        download(context, later, room, "old.bin").content == content,
        "the bytes of the file",
        "others came",
    )


OWNERS = ["create_room", "add_user_to_room", "remove_user_from_room", "rename_room", "delete_room"]


def owner_requests(room: str, name: str) -> list[tuple[str, Packet]]:
    """What only an owner may ask for."""
    return [each for each in extension_tries(room, name) if each[0] in OWNERS]


@case(
    rules=["R-ROOM-11"],
    level="full",
    offers=OWNERS,
    title="what is the owner's is `forbidden` to a member, and to anybody in an open room",
)
def what_is_the_owners(context: ServerContext) -> None:
    owner, member, stranger = context.users(3)
    room, open_room = private_room(context, owner, member), context.room_id()
    owner.say(open_room, context.text())
    for action, data in owner_requests(room, stranger.chatid):
        context.refused(member.request(action, data), "forbidden", original=action)
    for action, data in owner_requests(room, member.chatid):
        context.refused(stranger.request(action, data), "room_not_found", original=action)
    for action, data in owner_requests(open_room, member.chatid):
        context.refused(owner.request(action, data), "forbidden", original=action)
    owner.say(room, context.text())
    context.equal(len(member.history(room)), 1, "how many messages the member reads after that")


@case(
    rules=["R-ROOM-12"],
    level="full",
    offers=["create_room", "add_user_to_room"],
    title="`add_user_to_room` makes a member who hears the room; adding again succeeds",
)
def add_a_member(context: ServerContext) -> None:
    owner, added = context.users(2)
    room, said = private_room(context, owner), context.text()
    for spelling in (added.chatid, added.chatid.upper()):
        reply = owner.ask("add_user_to_room", {"room_id": room, "user_to_add": spelling})
        context.equal(
            context.get(reply, "data.user_added", str),
            added.chatid,
            "`user_added`, the name as registered",
        )
        context.equal(context.get(reply, "data.room_id", str), room, "`room_id` of `user_added`")
    owner.say(room, said)
    added.hear_this(room, said)


@case(
    rules=["R-ROOM-13"],
    level="full",
    offers=["create_room", "remove_user_from_room"],
    title="`remove_user_from_room` ends a membership at once; the owner can't be removed",
)
def remove_a_member(context: ServerContext) -> None:
    owner, removed = context.users(2)
    room, elsewhere = private_room(context, owner, removed), context.room_id()
    reply = owner.ask("remove_user_from_room", {"room_id": room, "user_to_remove": removed.chatid})
    context.equal(context.get(reply, "data.user_removed", str), removed.chatid, "`user_removed`")
    owner.say(room, context.text())
    owner.say(elsewhere, context.text())
    removed.hear(elsewhere)
    got = in_room(removed.wire.aside(), room)
    context.check(
        not got, "that nothing of the room reaches who was removed", f"this came: {shown(got)}"
    )
    context.refused(
        removed.request("get_messages", {"room_id": room, "from_time": PAST}), "room_not_found"
    )
    context.refused(
        owner.request("remove_user_from_room", {"room_id": room, "user_to_remove": owner.chatid}),
        "forbidden",
    )


@case(
    rules=["R-ROOM-14"],
    level="full",
    offers=["create_room", "leave_room", "add_user_to_room"],
    title="leaving a private room is for good until the owner adds one again; the owner can't leave",
)
def leave_a_private_room(context: ServerContext) -> None:
    owner, member = context.users(2)
    room, said = private_room(context, owner, member), context.text()
    member.ask("leave_room", {"room_id": room})
    context.refused(
        member.request("get_messages", {"room_id": room, "from_time": PAST}), "room_not_found"
    )
    if context.offers("join_room"):
        context.refused(member.request("join_room", {"room_id": room}), "room_not_found")
    context.refused(owner.request("leave_room", {"room_id": room}), "forbidden")
    owner.say(room, said)
    owner.ask("add_user_to_room", {"room_id": room, "user_to_add": member.chatid})
    context.equal(
        [each["content"] for each in member.history(room)],
        [said],
        "the history after being added again",
    )
    got = in_room(member.wire.aside(), room)
    context.check(not got, "that nothing of the room reaches who left", f"this came: {shown(got)}")


@case(
    rules=["R-ROOM-15"],
    level="full",
    offers=["create_room", "rename_room", "get_rooms"],
    title="`rename_room` changes the name that is shown, and never the id",
)
def rename(context: ServerContext) -> None:
    owner, member = context.users(2)
    room, name = private_room(context, owner, member), context.room_id("new name")
    reply = owner.ask("rename_room", {"room_id": room, "new_room_name": name})
    context.equal(context.get(reply, "data.room_id", str), room, "`room_id` of `room_renamed`")
    context.equal(context.get(reply, "data.new_room_name", str), name, "`new_room_name`")
    rooms = rooms_of(context, member)
    context.check(
        room in rooms, "the room under its old id", f"the rooms are {shown(sorted(rooms))}"
    )
    context.equal(rooms[room].get("name"), name, "`name` in the member's list")


@case(
    rules=["R-ROOM-16"],
    level="full",
    offers=["create_room", "delete_room"],
    title="a deleted room is out of everybody's reach",
)
def delete(context: ServerContext) -> None:
    owner, member = context.users(2)
    room = private_room(context, owner, member)
    owner.say(room, context.text())
    reply = owner.ask("delete_room", {"room_id": room})
    context.equal(context.get(reply, "data.room_id", str), room, "`room_id` of `room_deleted`")
    for user in (owner, member):
        for action, data in tries(room) + extension_tries(room, member.chatid):
            if context.offers(action):
                context.refused(user.request(action, data), "room_not_found", original=action)
        if context.offers("get_rooms"):
            context.check(
                room not in rooms_of(context, user),
                "that the list does not have the room",
                "it has",
            )


# --- lists


@case(
    rules=["R-ROOM-17"],
    level="full",
    offers=["get_rooms", "create_room", "leave_room"],
    title="`get_rooms` has every open room, also one that was left, and one's own private rooms",
)
def list_of_rooms(context: ServerContext) -> None:
    owner, member, stranger = context.users(3)
    private, open_room = private_room(context, owner, member), context.room_id()
    owner.say(open_room, context.text())
    stranger.ask("leave_room", {"room_id": open_room})
    for user, sees in ((owner, True), (member, True), (stranger, False)):
        rooms = rooms_of(context, user)
        context.check(
            {"lobby", open_room} <= set(rooms),
            "every open room",
            f"{user.chatid} sees {shown(sorted(rooms))}",
        )
        context.equal(private in rooms, sees, f"whether {user.chatid} sees the private room")


def listed(context: ServerContext, user: User, room_id: str) -> Packet:
    """A room as the user's list has it."""
    rooms = rooms_of(context, user)
    context.check(
        room_id in rooms, f"the room {room_id} in the list", f"the rooms are {shown(sorted(rooms))}"
    )
    return rooms[room_id]


@case(
    rules=["R-ROOM-18"],
    level="full",
    offers=["get_rooms", "create_room"],
    title="a listed room has id, name, owner, private, members, unread and last_message_id",
)
def a_listed_room(context: ServerContext) -> None:
    owner, member = context.users(2)
    name = context.room_id("team")
    room = private_room(context, owner, member, name=name)
    expected = {
        "id": room,
        "name": name,
        "owner": owner.chatid,
        "private": True,
        "unread": 0,
        "last_message_id": 0,
    }
    expected_members = sorted([owner.chatid, member.chatid])

    def look(user: User, **changed: object) -> None:
        entry = listed(context, user, room)
        for key, value in {**expected, **changed}.items():
            context.equal(entry.get(key), value, f"`{key}` in the list of {user.chatid}")
        context.equal(entry.get("members"), expected_members, "`members`, sorted")

    look(member)
    ids = [owner.say(room, context.text()).message_id for _ in range(2)]
    context.check(ids[1] is not None, "`message_id` in the ack", "it is missing", rule="R-MSG-4")
    look(owner, last_message_id=ids[1])
    look(member, last_message_id=ids[1], unread=2)


@case(
    rules=["R-ROOM-19"],
    level="full",
    offers=["get_room_users", "create_room"],
    title="`get_room_users` tells the members of a private room",
)
def users_of_a_private_room(context: ServerContext) -> None:
    owner, member = context.users(2)
    name = context.room_id("team")
    room = private_room(context, owner, member, name=name)
    reply = member.ask("get_room_users", {"room_id": room})
    context.equal(context.get(reply, "data.room_name", str), name, "`room_name`")
    context.equal(context.get(reply, "data.room_id", str), room, "`room_id`")
    context.equal(
        context.get(reply, "data.users", list), sorted([owner.chatid, member.chatid]), "`users`"
    )


@case(
    rules=["R-ROOM-19"],
    level="full",
    offers=["get_room_users", "leave_room"],
    title="`get_room_users` tells of an open room every account that has not left it",
)
def users_of_an_open_room(context: ServerContext) -> None:
    sender, leaver = context.users(2)
    room, offline = context.room_id(), context.account()
    sender.say(room, context.text())
    leaver.ask("leave_room", {"room_id": room})
    names = everybody_in(context, sender, room)
    for name, there in ((sender.chatid, True), (offline.chatid, True), (leaver.chatid, False)):
        context.equal(name in names, there, f"whether {name} is among the users of the room")


@case(
    rules=["R-ROOM-20", "R-ROOM-21"],
    level="full",
    offers=["get_rooms", "create_room"],
    title="the list of rooms is sorted by id and pages by `after` and `limit`",
)
def pages_of_rooms(context: ServerContext) -> None:
    user = context.user()
    for _ in range(3):
        private_room(context, user)
    every = list(rooms_of(context, user))
    context.equal(every, sorted(every), "the order of the ids")
    with context.rule("R-ROOM-20"):
        first = user.ask("get_rooms", {"limit": 2})
        ids = [context.get(room, "id", str) for room in context.get(first, "data.rooms", list)]
        context.equal(ids, every[:2], "the first page of `limit` 2")
        context.equal(
            context.get(first, "data.has_more", bool),
            True,
            "`has_more` of the first page",
            "R-ROOM-21",
        )
        last = user.ask("get_rooms", {"after": every[-2], "limit": 2})
        ids = [context.get(room, "id", str) for room in context.get(last, "data.rooms", list)]
        context.equal(ids, every[-1:], "the page after the last but one")
        context.equal(
            context.get(last, "data.has_more", bool),
            False,
            "`has_more` of the last page",
            "R-ROOM-21",
        )


@case(
    rules=["R-ROOM-20", "R-ROOM-21"],
    level="full",
    offers=["get_room_users", "create_room"],
    title="the list of a room's users is sorted by name and pages by `after` and `limit`",
)
def pages_of_users(context: ServerContext) -> None:
    owner, second, third = context.users(3)
    room = private_room(context, owner, second, third)
    every = sorted([owner.chatid, second.chatid, third.chatid])
    for asked, names, more in (
        ({"limit": 2}, every[:2], True),
        ({"after": every[1], "limit": 2}, every[2:], False),
        ({"limit": 3}, every, False),
        ({"after": every[0]}, every[1:], False),
    ):
        reply = owner.ask("get_room_users", {"room_id": room, **asked})
        context.equal(context.get(reply, "data.users", list), names, f"`users` for {shown(asked)}")
        context.equal(
            context.get(reply, "data.has_more", bool),
            more,
            f"`has_more` for {shown(asked)}",
            "R-ROOM-21",
        )
