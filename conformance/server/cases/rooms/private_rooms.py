"""Cases for the chapter Rooms: private rooms, their members and owners."""

from __future__ import annotations

from conformance.packets import PAST, Packet, shown
from conformance.server.cases.steps import (
    download,
    everybody_in,
    in_room,
    private_room,
    rooms_of,
    uploaded,
)
from conformance.server.context import ServerContext
from conformance.server.registry import case

UNPRINTABLE = {
    "an empty id": "",
    "65 characters": "r" * 65,
    "a blank before it": " room",
    "a blank behind it": "room ",
    "a line feed": "ro\nom",
    "NUL": "ro\0om",
    "an escape": "ro\x1bom",
    "a no-break space": "ro\u00a0om",
    "a zero-width space": "ro\u200bom",
}


def tries(room: str) -> list[tuple[str, Packet]]:
    """Return what a stranger may try with a room."""
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
        (
            "file_send_data",
            {"room_id": room, "file_path": "a.txt", "sequence_number": 1, "file_data": "eA=="},
        ),
        ("file_send_fin", {"room_id": room, "file_path": "a.txt", "total_packets": 1}),
        ("file_list_req", {"room_id": room}),
        ("file_down_req", {"room_id": room, "file_path": "a.txt"}),
    ]


def extension_tries(room: str, name: str) -> list[tuple[str, Packet]]:
    """Return the same with requests that not every server knows."""
    return [
        ("join_room", {"room_id": room}),
        ("leave_room", {"room_id": room}),
        ("add_user_to_room", {"room_id": room, "user_to_add": name}),
        ("remove_user_from_room", {"room_id": room, "user_to_remove": name}),
        ("rename_room", {"room_id": room, "new_room_name": "mine now"}),
        ("delete_room", {"room_id": room}),
        ("get_room_users", {"room_id": room}),
        ("file_cancel", {"room_id": room, "file_path": "a.txt"}),
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
    title="a private room is not in a stranger's list, and its messages and files reach no "
    "stranger",
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
    for room in ("constructor", "__proto__"):  # which others may have made
        reply = user.request("get_messages", {"room_id": room, "from_time": PAST})
        if reply.get("action") != "messages_list":
            context.refused(reply, "room_not_found", original="get_messages")


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
    longest = [stem + letter * (64 - len(stem)) for letter in "xé👍"]
    odd = [f"p{stem}", f"P-{stem}", f"{stem}/../it's %41\\ e\u0301"]
    for room in (*longest, *odd, f"{stem} two words", f"{stem} é漢👍"):
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
        reply = user.ask("create_room", {"participants": [], "room_name": name})
    if context.offers("rename_room"):
        room = context.get(reply, "data.room_id", str)
        for name in UNPRINTABLE.values():
            context.refused(
                user.request("rename_room", {"room_id": room, "new_room_name": name}), "bad_packet"
            )


@case(
    rules=["R-ROOM-8"],
    level="full",
    offers="create_room",
    title="`create_room` makes a private room of the sender and the participants, with an id "
    "of 128 random bits",
)
def a_private_room(context: ServerContext) -> None:
    owner, member = context.users(2)
    name = context.room_id("team")
    ids = []
    for participants in ([member.chatid.upper()], []):
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
    title="`participants` is a list of at most 1,000 names; who is named twice is a member once",
)
def participants_are_a_list(context: ServerContext) -> None:
    owner, member = context.users(2)
    wrong: list[object] = [owner.chatid, None, {"0": owner.chatid}, [17], [owner.chatid] * 1001]
    for participants in wrong:
        context.refused(
            owner.request("create_room", {"participants": participants, "room_name": "team"}),
            "bad_packet",
        )
    twice = [owner.chatid, member.chatid, member.chatid.upper()]
    reply = owner.ask("create_room", {"participants": twice, "room_name": "team"})
    if context.offers("get_room_users"):
        context.equal(
            everybody_in(context, owner, context.get(reply, "data.room_id", str)),
            sorted([owner.chatid, member.chatid]),
            "the members of a room for which one was named twice, and the owner, too",
        )


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
    """Return what only an owner may ask for."""
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
    owner, *others = context.users(3)
    before, added = sorted(others, key=lambda user: user.chatid, reverse=True)
    room, said = private_room(context, owner, before), context.text()
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
    if context.offers("get_rooms"):
        members = rooms_of(context, owner).get(room, {}).get("members")
        everybody = sorted(user.chatid for user in (owner, before, added))
        context.equal(members, everybody, "`members`, sorted", "R-ROOM-18")


@case(
    rules=["R-ROOM-13"],
    level="full",
    offers=["create_room", "remove_user_from_room"],
    title="`remove_user_from_room` ends a membership at once; the owner can't be removed",
)
def remove_a_member(context: ServerContext) -> None:
    owner, removed = context.users(2)
    room, elsewhere, before = (
        private_room(context, owner, removed),
        context.room_id(),
        context.text(),
    )
    owner.say(room, before)
    with context.given("`receive_message` for a member"):
        heard = removed.hear_this(room, before)
    is_folded = context.offers("limits")
    name = removed.chatid.upper() if is_folded else removed.chatid
    reply = owner.ask("remove_user_from_room", {"room_id": room, "user_to_remove": name})
    context.equal(context.get(reply, "data.user_removed", str), removed.chatid, "`user_removed`")
    owner.say(room, context.text())
    uploaded(context, owner, room, "missed.txt", b"for members")
    owner.say(elsewhere, context.text())
    removed.hear(elsewhere)
    got = in_room(removed.wire.aside(), room)
    context.check(
        not got, "that nothing of the room reaches who was removed", f"this came: {shown(got)}"
    )
    with context.rule("R-MSG-12"):
        context.refused(
            removed.count_back(heard), "transaction_not_found", original="character_count"
        )
    context.refused(
        removed.request("get_messages", {"room_id": room, "from_time": PAST}), "room_not_found"
    )
    for name in (owner.chatid, owner.chatid.upper() if is_folded else owner.chatid):
        reply = owner.request("remove_user_from_room", {"room_id": room, "user_to_remove": name})
        context.refused(reply, "forbidden")


@case(
    rules=["R-ROOM-14"],
    level="full",
    offers=["create_room", "leave_room", "add_user_to_room"],
    title="leaving a private room is for good until the owner adds one again; the owner "
    "can't leave",
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
    if context.offers("get_room_users"):
        reply = member.ask("get_room_users", {"room_id": room})
        context.equal(context.get(reply, "data.room_name", str), name, "`room_name`")


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
