"""Cases for the chapter Rooms: lists of rooms and users, and their pages."""

from __future__ import annotations

from conformance.packets import Packet, shown
from conformance.server.cases.steps import (
    everybody_in,
    private_room,
    rooms_of,
)
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.user import User


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
    """Return a room as the user's list has it."""
    rooms = rooms_of(context, user)
    context.check(
        room_id in rooms, f"the room {room_id} in the list", f"the rooms are {shown(sorted(rooms))}"
    )
    return rooms[room_id]


@case(
    rules=["R-ROOM-18"],
    level="full",
    offers=["get_rooms", "create_room"],
    title="a listed room has id, name, owner, private, members, has_more, unread and "
    "last_message_id",
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
        "has_more": False,
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
    owner.say(context.room_id(), context.text())
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
    gone, *_ = [private_room(context, user) for _ in range(3)]
    every = list(rooms_of(context, user))
    context.equal(every, sorted(every), "the order of the ids")
    context.check(len(every) > 3, "the lobby and three rooms", f"the rooms are {shown(every)}")
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
        if context.offers("delete_room"):  # a client may have seen it last
            user.ask("delete_room", {"room_id": gone})
            rest = user.ask("get_rooms", {"after": gone, "limit": 1})
            ids = [context.get(room, "id", str) for room in context.get(rest, "data.rooms", list)]
            behind = [each for each in every if each > gone][:1]
            context.equal(ids, behind, "the page after a room that is deleted")


@case(
    rules=["R-ROOM-20", "R-ROOM-21"],
    level="full",
    offers=["get_room_users", "create_room"],
    title="the list of a room's users is sorted by name and pages by `after` and `limit`",
)
def pages_of_users(context: ServerContext) -> None:
    owner, second, third = sorted(context.users(3), key=lambda user: user.chatid)
    room = private_room(context, owner, second, third)
    every = [owner.chatid, second.chatid, third.chatid]
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
    if context.offers("remove_user_from_room"):  # a client may have seen this name last
        owner.ask("remove_user_from_room", {"room_id": room, "user_to_remove": second.chatid})
        rest = owner.ask("get_room_users", {"room_id": room, "after": second.chatid})
        names = context.get(rest, "data.users", list)
        context.equal(names, [third.chatid], "`users` after a name that is gone", "R-ROOM-20")
