"""Cases for the chapter The teacher: what a teacher does, with an account of `--teacher`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from conformance.endings import NotOffered
from conformance.packets import Packet, data_of, shown
from conformance.server.cases.sessions import comes_free
from conformance.server.cases.steps import Upload
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.user import User

REASON = "for the kit's test"
A_MOMENT = 1.5
"""Seconds after which an act of one second has ended."""


def the_teacher(context: ServerContext) -> User:
    """Return the teacher, logged in; NOT OFFERED where no account of one is given."""
    account = context.target.teacher
    if account is None:
        raise NotOffered("the account of a teacher", "give one (--teacher NAME:PASSWORD)")
    user = context.guest(account)
    with context.given("a teacher who is logged in"):
        reply = user.login(take_over=True)
        context.equal(reply.get("action"), "login_success", "the reply to the teacher's `login`")
        context.equal(context.get(reply, "data.role", str), "teacher", "`role` of --teacher")
    return user


@contextmanager
def afterwards(user: User, action: str, data: dict[str, Any] | None = None) -> Iterator[None]:
    """Do something at the end of the block, however that ends: an act must not outlive its case."""
    try:
        yield
    finally:
        user.request(action, data or {})


def refused_with_reason(context: ServerContext, reply: Packet, code: str, action: str) -> None:
    context.refused(reply, code, original=action)
    context.check(
        REASON in str(reply.get("message")), "a `message` that says why", f"it is {shown(reply)}"
    )


def upload(room: str) -> dict[str, Any]:
    return {
        "room_id": room,
        "file_path": "a.txt",
        "file_size": 3,
        "file_type": "text/plain",
        "total_packets": 1,
    }


@case(
    rules=["R-TEACH-7", "R-TEACH-5"],
    level="full",
    offers=["mute_user", "unmute_user"],
    title="who is muted writes nothing until it is lifted, and what was open is not stored",
)
def mute(context: ServerContext) -> None:
    teacher, student, room = the_teacher(context), context.user(own=True), context.room_id()
    before = student.say(room, context.text())
    open_text = context.text()
    opened = student.ask("send_message", {"room_id": room, "content": open_text})
    transaction = context.get(opened, "data.transaction_id", str)
    late = Upload(context, student, room, "late.bin", b"not stored either")
    with context.given("an upload that waits for its end"):
        late.begin()
        late.send()
    about = {"user": student.chatid}
    with afterwards(teacher, "unmute_user", about):
        reply = teacher.ask("mute_user", {**about, "seconds": 0, "reason": REASON})
        context.equal(context.get(reply, "data.user", str), student.chatid, "`user`")
        context.check(
            reply["data"].get("until", 0) is None, "`until` null", f"it is {shown(reply)}"
        )
        said = student.request("send_message", {"room_id": room, "content": context.text()})
        refused_with_reason(context, said, "muted", "send_message")
        confirmed = student.request(
            "confirm_count", {"transaction_id": transaction, "confirm": True}
        )
        context.refused(confirmed, "muted", original="confirm_count", rule="R-TEACH-5")
        for action, data in (
            ("file_send_init", upload(room)),
            ("file_send_fin", late.fin()),
            ("create_room", {"participants": [], "room_name": context.room_id()}),
        ):
            if context.offers(action):
                context.refused(student.request(action, data), "muted", original=action)
        texts = [message["content"] for message in student.history(room)]
        context.equal(texts, [before.content], "what the room holds")
    student.say(room, context.text())


@case(
    rules=["R-TEACH-7"],
    level="full",
    offers="mute_user",
    title="a mute ends by itself, and `until` says when",
)
def mute_ends(context: ServerContext) -> None:
    teacher, student = the_teacher(context), context.user(own=True)
    reply = teacher.ask("mute_user", {"user": student.chatid, "seconds": 1})
    context.get(reply, "data.until", str)
    time.sleep(A_MOMENT)
    student.say(context.room_id(), context.text())


@case(
    rules=["R-TEACH-8"],
    level="full",
    offers=["kick_user", "session_key"],
    title="who is kicked is closed with the key ended, and may log in by password",
)
def kick(context: ServerContext) -> None:
    teacher, student = the_teacher(context), context.user(own=True)
    teacher.ask("kick_user", {"user": student.chatid, "reason": REASON})
    student.wire.wait_closed()
    guest = context.guest(student.account)
    context.equal(
        guest.login(session_key=student.session_key).get("action"),
        "login_fail",
        "the reply to a login with the key",
    )
    context.equal(guest.login().get("action"), "login_success", "the reply to the password")


@case(
    rules=["R-TEACH-9"],
    level="full",
    offers=["ban_user", "unban_user"],
    title="who is banned is closed, and told so only with the right password",
)
def ban(context: ServerContext) -> None:
    teacher, student = the_teacher(context), context.user(own=True)
    about = {"user": student.chatid}
    with afterwards(teacher, "unban_user", about):
        teacher.ask("ban_user", {**about, "seconds": 0, "reason": REASON})
        student.wire.wait_closed()
        guest = context.guest(student.account)
        refused_with_reason(context, guest.login(), "banned", "login")
        wrong = guest.login(password=context.password())
        context.equal(wrong.get("action"), "login_fail", "the reply to a wrong password")
    if context.offers("session_key"):
        with_key = context.guest(student.account)
        reply = with_key.login(session_key=student.session_key)
        context.equal(reply.get("action"), "login_success", "the reply to the key after the ban")
        with_key.close()
    comes_free(context, student.account)


@case(
    rules=["R-TEACH-10"],
    level="full",
    offers="set_room",
    title="in a read-only room only teachers write; uploads are turned off by themselves",
)
def read_only(context: ServerContext) -> None:
    teacher, student, room = the_teacher(context), context.user(), context.room_id()
    student.say(room, context.text())
    opened = student.ask("send_message", {"room_id": room, "content": context.text()})
    about = {"transaction_id": context.get(opened, "data.transaction_id", str), "confirm": True}
    reply = teacher.ask("set_room", {"room_id": room, "read_only": True})
    context.check(
        (data_of(reply).get("read_only"), data_of(reply).get("uploads")) == (True, True),
        "`read_only` true and `uploads` true",
        f"this came: {shown(reply)}",
    )
    said = student.request("send_message", {"room_id": room, "content": context.text()})
    context.refused(said, "read_only", original="send_message")
    late = student.request("confirm_count", about)
    context.refused(late, "read_only", original="confirm_count")
    begun = student.request("file_send_init", upload(room))
    context.refused(begun, "read_only", original="file_send_init")
    teacher.say(room, context.text())
    teacher.ask("set_room", {"room_id": room, "read_only": False, "uploads": False})
    student.say(room, context.text())
    begun = student.request("file_send_init", upload(room))
    context.refused(begun, "read_only", original="file_send_init")
    reply = teacher.ask("set_room", {"room_id": room, "read_only": True})
    context.equal(data_of(reply).get("uploads"), False, "`uploads`, which was left out")


@case(
    rules=["R-TEACH-11", "R-TEACH-12"],
    level="full",
    offers=["pause_class", "resume_class"],
    title="in a pause only teachers write",
)
def pause(context: ServerContext) -> None:
    teacher, student, room = the_teacher(context), context.user(), context.room_id()
    with afterwards(teacher, "resume_class"):
        reply = teacher.ask("pause_class", {"seconds": 60, "reason": REASON})
        context.get(reply, "data.until", str)
        said = student.request("send_message", {"room_id": room, "content": context.text()})
        refused_with_reason(context, said, "read_only", "send_message")
        teacher.say(room, context.text())
    student.say(room, context.text())


@case(
    rules=["R-TEACH-12"],
    level="full",
    offers="mute_user",
    title="no packet mutes, kicks or bans a teacher; a name that nobody has is user_not_found",
)
def teachers_are_safe(context: ServerContext) -> None:
    teacher = the_teacher(context)
    for action in ("mute_user", "kick_user", "ban_user"):
        data = {"seconds": 60} if action != "kick_user" else {}
        own = teacher.request(action, {**data, "user": teacher.chatid})
        context.refused(own, "forbidden", original=action)
        nobody = teacher.request(action, {**data, "user": context.name()})
        context.refused(nobody, "user_not_found", original=action)


@case(
    rules=["R-TEACH-14"],
    level="full",
    offers="mute_user",
    title="a teacher's announcement is marked live and in the history; a student's is forbidden",
)
def announce(context: ServerContext) -> None:
    teacher, student, room = the_teacher(context), context.user(), context.room_id()
    asked = {"room_id": room, "content": context.text(), "announce": True}
    context.refused(student.request("send_message", asked), "forbidden", original="send_message")
    said = teacher.say(room, context.text(), announce=True)
    heard = student.hear(room)
    context.check(heard["data"].get("announce") is True, "`announce` true", shown(heard))
    plain = teacher.say(room, context.text())
    marks = [(message["content"], message.get("announce")) for message in student.history(room)]
    context.equal(marks, [(said.content, True), (plain.content, None)], "the history")


@case(
    rules=["R-TEACH-15"],
    level="full",
    offers=["hide_message", "show_message", "message_id"],
    title="a hidden message keeps its place and shows who removed it, until it is shown again",
)
def hide(context: ServerContext) -> None:
    teacher, room = the_teacher(context), context.room_id()
    student, hearer = context.users(2)
    said = [student.say(room, context.text()) for _ in range(3)]
    with context.given("`receive_message` for a receiver"):
        heard = [hearer.hear_this(room, each.content) for each in said]
    about = {"message_id": said[1].message_id}
    teacher.ask("hide_message", about)
    removed = f"[removed by {teacher.chatid}]"
    shown_now = [message["content"] for message in student.history(room)]
    wanted = [said[0].content, removed, said[2].content]
    context.equal(shown_now, wanted, "the history with a hidden message")
    hearer.acknowledge(heard[1], "error")
    hearer.hear_this(room, removed)
    teacher.ask("show_message", about)
    texts = [message["content"] for message in student.history(room)]
    context.equal(texts, [each.content for each in said], "the history after show_message")
    nothing = teacher.request("hide_message", {"message_id": 2**50})
    context.refused(nothing, "message_not_found", original="hide_message")


@case(
    rules=["R-TEACH-17"],
    level="full",
    offers="get_sessions",
    title="sessions_list tells who is on, and what of them",
)
def sessions(context: ServerContext) -> None:
    teacher, student = the_teacher(context), context.user(own=True)
    student.say(context.room_id(), context.text())
    reply = teacher.ask("get_sessions")
    found = {each.get("chatid"): each for each in context.get_list(reply, "data.sessions", dict)}
    context.check(student.chatid in found, f"{student.chatid} in `sessions`", shown(reply))
    entry = found[student.chatid]
    context.equal(entry.get("role"), "student", "`role`")
    context.equal(entry.get("messages"), 1, "`messages` since the login")
    for key in ("address", "since"):
        context.get(entry, key, str)
    context.check(
        found.get(teacher.chatid, {}).get("role") == "teacher", "the teacher too", shown(reply)
    )


@case(
    rules=["R-TEACH-18", "R-TEACH-19"],
    level="full",
    offers=["get_all_rooms", "create_room", "events"],
    title="a teacher sees and reads every room, and its members are told",
)
def reads_private_rooms(context: ServerContext) -> None:
    teacher, owner = the_teacher(context), context.user(features=["events"])
    with context.given("a private room"):
        made = owner.ask("create_room", {"participants": [], "room_name": context.room_id()})
        room = context.get(made, "data.room_id", str)
        said = owner.say(room, context.text())
    texts = [message["content"] for message in teacher.history(room)]
    context.equal(texts, [said.content], "what the teacher reads", rule="R-TEACH-19")
    listed = teacher.ask("file_list_req", {"room_id": room})
    context.get_list(listed, "data.files", dict)
    owner.wire.receive_where(
        lambda packet: (
            packet.get("action") == "event" and data_of(packet).get("type") == "teacher_reads"
        ),
        "the event `teacher_reads`",
    )
    rooms = _every_room(context, teacher)
    context.check(room in rooms, f"{room} in `rooms`", f"{len(rooms)} other rooms came")


def _every_room(context: ServerContext, teacher: User) -> set[str]:
    found: set[str] = set()
    after: dict[str, Any] = {}
    for _ in range(100):
        reply = teacher.ask("get_all_rooms", after)
        entries = context.get_list(reply, "data.rooms", dict)
        found |= {context.get(entry, "id", str) for entry in entries}
        if not entries or not context.get(reply, "data", dict).get("has_more"):
            break
        after = {"after": context.get(entries[-1], "id", str)}
    return found


@case(
    rules=["R-TEACH-6", "R-TEACH-13"],
    level="full",
    offers=["get_audit", "mute_user", "unmute_user"],
    title="each act has its row in the audit, and what changes nothing has none",
)
def audit(context: ServerContext) -> None:
    teacher, student = the_teacher(context), context.user(own=True)
    about = {"user": student.chatid}
    teacher.ask("mute_user", {**about, "seconds": 60, "reason": REASON})
    teacher.ask("unmute_user", about)
    teacher.ask("unmute_user", about)
    acts = [act for act in _all_acts(context, teacher) if act.get("user") == student.chatid]
    context.equal(len(acts), 2, f"the number of acts on {student.chatid}")
    for act in acts:
        context.equal(act.get("by"), teacher.chatid, "`by` of the act")
    context.equal(acts[0].get("reason"), REASON, "`reason` of the mute")


def _all_acts(context: ServerContext, teacher: User) -> list[Packet]:
    acts: list[Packet] = []
    after: dict[str, Any] = {}
    for _ in range(1000):
        reply = teacher.ask("get_audit", after)
        page = context.get_list(reply, "data.acts", dict)
        acts += page
        if not page or not context.get(reply, "data", dict).get("has_more"):
            break
        after = {"after_id": context.get(page[-1], "id", int)}
    return acts


@case(
    rules=["R-TEACH-16"],
    level="full",
    offers="remove_file",
    title="a removed file is gone from the list and from downloads",
)
def remove_file(context: ServerContext) -> None:
    teacher, student, room = the_teacher(context), context.user(), context.room_id()
    about = {"room_id": room, "file_path": "a.txt"}
    for _ in range(2):
        with context.given("a file in the room, in two versions"):
            student.ask("file_send_init", upload(room))
            student.ask("file_send_data", {**about, "sequence_number": 1, "file_data": "YWJj"})
            student.ask("file_send_fin", {**about, "total_packets": 1})
    teacher.ask("remove_file", about)
    listed = student.ask("file_list_req", {"room_id": room})
    context.equal(context.get(listed, "data.file_list", str), "", "`file_list`")
    gone = student.request("file_down_req", about)
    context.refused(gone, "file_not_found", original="file_down_req")
