"""What is nobody else's: messages of a private room, typing in it, and downloads of a session that
has ended."""

from __future__ import annotations

from conformance.packets import PAST, Packet, shown
from conformance.server.cases.files.steps import big_file, narrow_reader
from conformance.server.cases.messages.steps import heard_message
from conformance.server.cases.steps import another_session, in_room, private_room
from conformance.server.cases.users_events import event, events_of
from conformance.server.context import ServerContext
from conformance.server.registry import case

REQUESTS_AFTER_LOGOUT = 5
"""A server that goes on with a download may answer one of them before a chunk, hardly five."""


@case(
    rules=["R-MSG-12"],
    level="full",
    offers="create_room",
    title="a stranger can't answer for a message of a private room, and gets no copy of it",
)
def anothers_t2(context: ServerContext) -> None:
    owner, member, stranger = context.users(3)
    room = private_room(context, owner, member)
    heard = heard_message(context, member, owner.say(room, context.text()))
    context.refused(stranger.count_back(heard), "transaction_not_found", original="character_count")
    stranger.acknowledge(heard, "error")
    stranger.fence()
    got = in_room(stranger.wire.aside(), room)
    context.check(not got, "no copy of the message for a stranger", f"this came: {shown(got)}")


@case(
    rules=["R-ROOM-6"],
    level="full",
    offers=["create_room", "events", "typing"],
    title="typing in a private room reaches no stranger, and a stranger can't type there",
)
def typing_of_strangers(context: ServerContext) -> None:
    wanted = ["events", "typing"]
    owner, member, stranger = (context.user(features=wanted) for _ in range(3))
    room = private_room(context, owner, member)
    stranger.send("typing", {"room_id": room})
    context.refused(stranger.wire.expect("error"), "room_not_found", original="typing")
    owner.send("typing", {"room_id": room})
    with context.given("the event `typing` for a member"):
        event(context, member, "typing", room_id=room, chatid=owner.chatid)
    stranger.fence()
    member.fence()
    for user, what in ((stranger, "a stranger"), (member, "a member")):
        got = [packet for packet in in_room(events_of(user), room) if _types(packet)]
        context.check(not got, f"no further `typing` for {what}", f"this came: {shown(got)}")
    if context.offers("remove_user_from_room"):
        owner.ask("remove_user_from_room", {"room_id": room, "user_to_remove": member.chatid})
        owner.send("typing", {"room_id": room})
        owner.fence()
        member.fence()
        got = [packet for packet in in_room(events_of(member), room) if _types(packet)]
        what = "no `typing` for who was removed"
        context.check(not got, what, f"this came: {shown(got)}", "R-ROOM-13")


def _types(packet: Packet) -> bool:
    return bool(packet["data"].get("type") == "typing")


@case(
    rules=["R-SESS-12"],
    level="robust",
    offers="logout",
    title="a download stops at logout: no packet of it follows `logout_ack`",
)
def no_download_after_logout(context: ServerContext) -> None:
    sender, reader, room = context.user(own=True), narrow_reader(context), context.room_id()
    big_file(context, sender, room)
    reader.ask("file_down_req", {"room_id": room, "file_path": "big.bin"})
    reader.send("logout")
    reader.wire.receive_where(lambda packet: packet.get("action") == "logout_ack", "`logout_ack`")
    before = len(reader.wire.aside())
    for _ in range(REQUESTS_AFTER_LOGOUT):
        reader.send("get_messages", {"room_id": room, "from_time": PAST})
        reader.wire.receive_where(
            lambda packet: (
                packet.get("action") == "error" and packet.get("original_action") == "get_messages"
            ),
            "an answer to a request after the logout",
        )
    late = [each for each in reader.wire.aside()[before:] if _is_of_a_download(each)]
    context.check(not late, "no packet of the download after `logout_ack`", f"{len(late)} came")


def _is_of_a_download(packet: Packet) -> bool:
    return packet.get("action") in ("file_down_data", "file_down_fin")


@case(
    rules=["R-MSG-20"],
    title="what a user heard is not sent again at the next login",
)
def nothing_again_at_login(context: ServerContext) -> None:
    sender, hearer, room = context.user(), context.user(own=True), context.room_id()
    for _ in range(2):
        heard_message(context, hearer, sender.say(room, context.text()))
    again, last = another_session(context, hearer), context.text()
    again.fence()
    sender.say(room, last)
    heard = again.hear(room)
    context.equal(heard["data"]["content"], last, "the first message that the next session hears")


@case(
    rules=["R-HIST-1"],
    level="full",
    offers="register",
    title="who is new reads what was said before in an open room",
)
def newcomers_read_what_was_said(context: ServerContext) -> None:
    sender, room = context.user(), context.room_id()
    said = [context.text(), context.text()]
    for content in said:
        sender.say(room, content)
    newcomer = context.user(fresh=True)
    context.equal(
        [each["content"] for each in newcomer.history(room)], said, "the history for somebody new"
    )
