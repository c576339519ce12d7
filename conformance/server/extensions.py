"""Which extensions a server knows: one harmless request for each, followed by one that every server
answers.

Owns the questions. Never fails a rule: what is not known is not offered. Called by `Bench.offers`,
once a word and run.
"""

from __future__ import annotations

from typing import Any

from conformance.server.context import REPLIES, Bench, User
from conformance.wire import Packet, WireProblem

SEED_ACTIONS = frozenset(
    [
        "login",
        "send_message",
        "get_messages",
        "character_count",
        "confirm_count",
        "ack",
        "file_send_init",
        "file_send_data",
    ]
    + ["file_send_fin", "file_list_req", "file_down_req"]
)
FEATURES = ("events", "typing")
"""Words of `features`; `typing` is an action too, and is offered where the feature is granted."""


def offered(bench: Bench, what: str) -> bool:
    """Whether the server knows this action, feature or key; NOT REACHED where it can't be asked."""
    if what in SEED_ACTIONS:
        return True
    if what in FEATURES:
        return _grants(bench, what)
    if what in REPLIES:
        return _knows_action(bench, what)
    if what == "first_login":
        return bench.guest().login().get("action") == "login_success"
    return _knows_key(bench, what)


def _grants(bench: Bench, feature: str) -> bool:
    user = bench.user(features=[feature])
    data = user.login_success.get("data")
    granted = data.get("features") if isinstance(data, dict) else None
    user.close()
    return isinstance(granted, list) and feature in granted


def _knows_action(bench: Bench, action: str) -> bool:
    if action == "register" and bench.target.way == "register":
        return True
    user = bench.user()
    announced = bench.target.login_data.get("actions")
    if isinstance(announced, list):
        return action in announced
    user.is_own = user.is_own or action == "logout"
    reply = _answer(user, action, _question(bench, user, action))
    if reply is None:
        return False
    if reply.get("code") == "registration_closed":
        return False
    if reply.get("action") in REPLIES[action]:
        if action == "create_room":
            data = reply.get("data")
            room_id = data.get("room_id") if isinstance(data, dict) else None
            bench.target.probe_room = room_id if isinstance(room_id, str) else ""
        return True
    code = reply.get("code")
    return isinstance(code, str) and code != "unknown_action"


def _question(bench: Bench, user: User, action: str) -> dict[str, Any]:
    room = bench.target.probe_room or "lobby"
    questions: dict[str, dict[str, Any]] = {
        "register": {"password": bench.password()},
        "change_password": {"password": bench.password(), "new_password": bench.password()},
        "create_room": {"participants": [], "room_name": bench.room_id()},
        "join_room": {"room_id": room},
        "leave_room": {"room_id": bench.room_id()},
        "add_user_to_room": {"room_id": room, "user_to_add": user.chatid},
        "remove_user_from_room": {"room_id": room, "user_to_remove": bench.name()},
        "rename_room": {"room_id": room, "new_room_name": bench.room_id()},
        "delete_room": {"room_id": bench.room_id()},
        "get_room_users": {"room_id": room},
        "file_cancel": {"room_id": room, "file_path": "nothing.bin"},
    }
    return questions.get(action, {})


def _answer(user: User, action: str, data: dict[str, Any]) -> Packet | None:
    """The reply to a request that may be unknown; None where the server ignores it or closes."""
    user.send(action, data)
    user.send("get_messages", {"room_id": "lobby", "from_time": "2100-01-01T00:00:00Z"})
    answers: list[Packet] = []
    expected = (*REPLIES[action], "messages_list", "error")
    try:
        while len(answers) < 2:
            packet = user.wire.receive_where(
                lambda each: each.get("action") in expected, f"a reply to `{action}`"
            )
            answers.append(packet)
            if (
                packet.get("action") == "messages_list"
                or packet.get("original_action") == "get_messages"
            ):
                break
    except WireProblem:
        user.close()
    first = answers[0] if answers else {"action": "messages_list"}
    is_fence = (
        first.get("action") == "messages_list" or first.get("original_action") == "get_messages"
    )
    return None if is_fence else first


def _knows_key(bench: Bench, key: str) -> bool:
    if not bench.target.login_data:
        bench.user()
    if isinstance(bench.target.login_data.get("limits"), dict):
        return True
    if key == "request_id":
        reply = bench.user().request(
            "get_messages",
            {"room_id": "lobby", "from_time": "2100-01-01T00:00:00Z"},
            request_id="probe",
        )
        return reply.get("request_id") == "probe"
    if key in ("transaction_id", "message_id"):
        return _knows_message_key(bench, key)
    if key == "code":
        reply = bench.user().request("get_messages", {"room_id": "lobby", "from_time": "no time"})
        return isinstance(reply.get("code"), str)
    if key == "session_key":
        return _knows_session_key(bench)
    return False


def _knows_message_key(bench: Bench, key: str) -> bool:
    user, mine = bench.user(), bench.key()
    said = user.say(
        bench.room_id(),
        bench.text(),
        **({"transaction_id": mine} if key == "transaction_id" else {}),
    )
    return said.transaction_id == mine if key == "transaction_id" else said.message_id is not None


def _knows_session_key(bench: Bench) -> bool:
    user = bench.user(own=True)
    if not user.session_key:
        return False
    user.close()
    again = bench.guest(user.account)
    try:
        return again.login(session_key=user.session_key).get("action") == "login_success"
    except WireProblem:
        return False
