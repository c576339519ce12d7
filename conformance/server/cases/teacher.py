"""Cases for the chapter The teacher: roles, and what is refused to students."""

from __future__ import annotations

from typing import Any

from conformance.endings import NotOffered
from conformance.server.context import ServerContext
from conformance.server.registry import case


def need_roles(context: ServerContext) -> None:
    """End the case as NOT OFFERED where the server knows no roles."""
    role = context.get(context.user().login_success, "data", dict).get("role")
    if role is None:
        raise NotOffered("a server whose `login_success` has `role`", "this one's has none")


@case(
    rules=["R-TEACH-1"],
    level="full",
    offers="limits",
    title="login_success tells the role, and who registers is a student",
)
def role_is_told(context: ServerContext) -> None:
    need_roles(context)
    role = context.get(context.user().login_success, "data.role", str)
    context.check(role in ("student", "teacher"), "`role` student or teacher", f"it is {role!r}")
    if context.offers("register"):
        account = context.account()
        with context.given("a new account"):
            guest = context.guest(account)
            reply = guest.login()
        if context.target.account_source == "register":
            context.equal(context.get(reply, "data.role", str), "student", "the role of a new name")


FOR_TEACHERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("mute_user", {"user": "nobody", "seconds": 60}),
    ("unmute_user", {"user": "nobody"}),
    ("kick_user", {"user": "nobody"}),
    ("ban_user", {"user": "nobody", "seconds": 60}),
    ("unban_user", {"user": "nobody"}),
    ("set_room", {"room_id": "nowhere", "read_only": True}),
    ("pause_class", {"seconds": 60}),
    ("resume_class", {}),
    ("hide_message", {"message_id": 2**50}),
    ("show_message", {"message_id": 2**50}),
    ("remove_file", {"room_id": "nowhere", "file_path": "nothing.txt"}),
    ("get_sessions", {}),
    ("get_all_rooms", {}),
    ("get_audit", {}),
)


@case(
    rules=["R-TEACH-4"],
    level="full",
    offers="mute_user",
    title="what only teachers may do is forbidden to a student, whatever it is about",
)
def forbidden_to_students(context: ServerContext) -> None:
    need_roles(context)
    student = context.user()
    if context.get(student.login_success, "data.role", str) != "student":
        raise NotOffered("the account of a student", "this one is a teacher's")
    there = context.user()
    for action, data in FOR_TEACHERS:
        if context.offers(action):
            about = [data, {**data, "user": there.chatid}] if "user" in data else [data]
            for each in about:
                context.refused(student.request(action, each), "forbidden", original=action)


@case(
    rules=["R-TEACH-20"],
    level="full",
    offers=["raise_hand", "lower_hand"],
    title="anybody raises a hand and lowers it; another's is for teachers",
)
def hands(context: ServerContext) -> None:
    first, second = context.user(), context.user()
    places = []
    for user in (first, second):
        reply = user.ask("raise_hand", {"text": "me"})
        context.equal(context.get(reply, "data.user", str), user.chatid, "`user` of hand_raised")
        places.append(context.get(reply, "data.place", int))
    place = context.get(first.ask("raise_hand", {"text": "me, too"}), "data.place", int)
    context.check(place <= places[0], f"the place {places[0]} as before", f"place {place}")
    if second.login_success.get("data", {}).get("role") == "student":
        reply = second.request("lower_hand", {"user": first.chatid})
        context.refused(reply, "forbidden", original="lower_hand")
    place = context.get(second.ask("raise_hand", {"text": "still me"}), "data.place", int)
    context.check(place >= 2, "the second place or a later one", f"place {place}")
    for user in (first, second):
        user.ask("lower_hand")


@case(
    rules=["R-TEACH-3"],
    level="full",
    offers=["limits", "register"],
    title="the names teacher, admin, server and system can't be registered",
)
def reserved_names(context: ServerContext) -> None:
    need_roles(context)
    for name in ("teacher", "Admin", "SERVER", "\uff53ystem", "te\u0430cher"):
        reply = context.guest().request(
            "register", {"chatid": name, "password": context.password()}
        )
        context.equal(reply.get("action"), "register_fail", f"the answer to registering {name!r}")
        context.equal(context.get(reply, "code", str), "name_taken", "`code` of register_fail")
