"""Kill right after the replies (`--start-cmd`): what they promised holds when the server is back.

Each case sends its requests at once, takes the replies, and kills in that moment.
"""

from __future__ import annotations

import time

from conformance.packets import PAST, Packet, shown
from conformance.server.cases.restart import back, last
from conformance.server.cases.steps import in_room, killed_and_started, private_room, rooms_of
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.target import Account
from conformance.server.user import User

MARK_SECONDS = 1.5
"""So old a read mark has to be before it survives a kill (R-MSG-14: one second), with time for a
busy machine."""


def promised(context: ServerContext, requests: list[tuple[User, str, Packet]]) -> None:
    """Send requests without waiting, take their replies, and kill the server at once."""
    for user, action, data in requests:
        user.send(action, data)
    for user, action, _ in requests:
        with context.given(f"a success reply to `{action}`"):
            reply = user.reply(action)
            context.check(
                reply.get("action") != "error", f"success of `{action}`", f"it was {shown(reply)}"
            )
    killed_and_started(context)


@case(
    rules=["R-ORDER-1"],
    level="robust",
    offers=[
        "create_room",
        "leave_room",
        "remove_user_from_room",
        "delete_room",
        "rename_room",
        "get_rooms",
    ],
    early=last,
    title="who left or was removed, what was deleted or renamed, stays so after a kill",
)
def rooms_change(context: ServerContext) -> None:
    owner, member = context.users(2, own=True)
    left, removed, deleted, renamed = (private_room(context, owner, member) for _ in range(4))
    quiet, name = context.room_id(), context.room_id("renamed")
    owner.say(quiet, context.text())
    promised(
        context,
        [
            (member, "leave_room", {"room_id": quiet}),
            (member, "leave_room", {"room_id": left}),
            (
                owner,
                "remove_user_from_room",
                {"room_id": removed, "user_to_remove": member.chatid},
            ),
            (owner, "delete_room", {"room_id": deleted}),
            (owner, "rename_room", {"room_id": renamed, "new_room_name": name}),
        ],
    )
    owner, member = back(context, owner), back(context, member)
    for user, room, what in (
        (member, left, "the room that the member left"),
        (member, removed, "the room that the member was removed from"),
        (owner, deleted, "the room that was deleted"),
    ):
        reply = user.request("get_messages", {"room_id": room, "from_time": PAST})
        context.equal(reply.get("action"), "error", f"the reply to a request in {what}")
    context.equal(
        rooms_of(context, member).get(renamed, {}).get("name"), name, "`name` of the renamed room"
    )
    owner.say(quiet, "for nobody who left")
    owner.say(renamed, "the last")
    member.hear_this(renamed, "the last")
    got = in_room(member.wire.aside(), quiet)
    context.check(
        not got, "nothing of the open room that the member left", f"this came: {shown(got)}"
    )


@case(
    rules=["R-ORDER-1"],
    level="robust",
    offers=["create_room", "add_user_to_room", "leave_room", "join_room", "get_rooms"],
    early=last,
    title="a room that was made, who was added and who joined again are there after a kill",
)
def rooms_grow(context: ServerContext) -> None:
    owner, member = context.users(2, own=True)
    added, name = private_room(context, owner, member), context.room_id("made")
    again, talked = context.room_id(), context.room_id()
    for room in (again, talked):
        owner.say(room, context.text())
    with context.given("`room_left`"):
        for room in (added, again, talked):
            member.ask("leave_room", {"room_id": room})
    member.say(talked, "joins again by this")
    promised(
        context,
        [
            (member, "join_room", {"room_id": again}),
            (owner, "add_user_to_room", {"room_id": added, "user_to_add": member.chatid}),
            (owner, "create_room", {"participants": [member.chatid], "room_name": name}),
        ],
    )
    owner, member, said = back(context, owner), back(context, member), context.text()
    rooms = rooms_of(context, member)
    context.check(added in rooms, "the room that the member was added to", "it is not listed")
    names = [room.get("name") for room in rooms.values()]
    context.check(name in names, f"the room {name!r} that was made", "it is not listed")
    for room in (again, talked):
        owner.say(room, said)
        member.hear_this(room, said)


@case(
    rules=["R-ORDER-1"],
    level="robust",
    offers=["register", "logout", "change_password"],
    early=last,
    title="an account, a new password and a logout hold after a kill",
)
def accounts_change(context: ServerContext) -> None:
    changing, leaving = context.user(fresh=True), context.user(fresh=True)
    guest = context.guest(Account(context.name("Kept"), context.password()))
    key, changed_key = leaving.session_key, changing.session_key
    new = Account(changing.chatid, f" {context.password()}:ü, ")
    passwords = {"password": changing.account.password, "new_password": new.password}
    promised(
        context,
        [
            (guest, "register", {"password": guest.account.password}),
            (changing, "change_password", passwords),
            (leaving, "logout", {}),
        ],
    )
    registered = back(context, guest)
    if registered.session_key:
        with context.rule("R-ACC-6"):
            other_letters = context.guest(Account(guest.chatid.swapcase(), "unused"))
            again = other_letters.login(session_key=registered.session_key)
            told = context.get(again, "data.chatid", str)
            context.equal(told, guest.chatid, "`chatid` of who logs in with other letters")
    if changed_key:
        reply = context.guest(changing.account).login(session_key=changed_key)
        context.equal(reply.get("action"), "login_fail", "the reply to the key of the old password")
    reply = context.guest(changing.account).login()
    context.equal(reply.get("action"), "login_fail", "the reply to the old password")
    reply = context.guest(new).login()
    context.equal(reply.get("action"), "login_success", "the reply to the new password")
    if key:
        reply = context.guest(leaving.account).login(session_key=key)
        context.equal(reply.get("action"), "login_fail", "the reply to the key of before `logout`")


@case(
    rules=["R-MSG-14"],
    level="robust",
    offers=["get_rooms", "message_id"],
    early=last,
    title="what was read stays read after a kill, a second later",
)
def read_marks(context: ServerContext) -> None:
    sender, reader, room = context.user(own=True), context.user(own=True), context.room_id()
    acked = context.room_id("acked")
    for _ in range(2):
        sender.say(acked, context.text())
    heard = [reader.hear(acked) for _ in range(2)]
    reader.count_back(heard[0])
    reader.acknowledge(heard[0])
    for _ in range(3):
        sender.say(room, context.text())
    with context.given("the room's history"):
        reader.ask("get_messages", {"room_id": room, "from_time": PAST}, want="messages_list")
    sender.say(room, context.text())
    time.sleep(MARK_SECONDS)
    killed_and_started(context)
    reader = back(context, reader)
    rooms = rooms_of(context, reader)
    for each in (room, acked):
        unread = rooms.get(each, {}).get("unread")
        context.equal(unread, 1, "`unread` after the restart, with one message unread")
    back(context, sender).say(acked, context.text())
    context.check(
        reader.hear(acked)["data"]["transaction_id"] != heard[0]["data"]["transaction_id"],
        "another T2 for another message",
        "that of a message of before the restart came",
        "R-MSG-15",
    )
