"""Which extensions a server knows: one harmless request for each, followed by one that every server
answers.

Owns the questions, and asks each once in a run. Never fails a rule: what is not known is not
offered. One thread runs a case.
"""

from __future__ import annotations

from typing import Any, final

from conformance.endings import NotOffered
from conformance.packets import REPLIES, Packet
from conformance.server.people import People
from conformance.server.user import User
from conformance.wire import WireProblem

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
        "file_send_fin",
        "file_list_req",
        "file_down_req",
    ]
)
FEATURES = ("events", "typing")
"""Words of `features`; `typing` is an action too, and is offered where the feature is granted."""

FORWARDED = ("receive_message", "receive_file", "event")
"""What comes by itself: everything else is a reply, be it the wrong one."""
WAYS_TO_ACCOUNTS = ("register", "first_login")
"""Of these a server needs neither: accounts may be given (`--account`)."""


@final
class Extensions:
    """What the server offers, as one case asks."""

    def __init__(self, people: People) -> None:
        self._people = people

    def offers(self, what: str) -> bool:
        """Return whether the server knows an extension; asked of the server once in a run.

        `what` is the action of an extension's request ("create_room", "ping", …), a feature
        ("events", "typing"), "first_login" (a login with a new name makes the account), or a key
        that goes beyond the 24 packets: "limits" (is `limits` announced in `login_success`),
        "request_id", "transaction_id" (a client's own key), "message_id", "code", "session_key"
        (login with it), or any other word ("take_over", "after_id", "sha256"): such are offered
        where "limits" is, since a server that announces its limits claims the extensions of keys.
        """
        known = self._people.target.offered
        if what not in known:
            asking = self._people.apart()  # its users are free again before the case goes on
            try:
                known[what] = _ask(asking, what)
            finally:
                asking.release(keep=True)
        return known[what]

    def need(self, *what: str) -> None:
        """End the case as NOT OFFERED unless the server knows all of these (see `offers`)."""
        for each in what:
            if not self.offers(each):
                raise NotOffered(
                    f"a server that knows `{each}`",
                    "this one does not",
                    is_asked=each not in WAYS_TO_ACCOUNTS,
                )


def _ask(people: People, what: str) -> bool:
    """Ask whether the server knows this action, feature or key; NOT REACHED where it can't be
    asked."""
    if what in SEED_ACTIONS:
        return True
    if what in FEATURES:
        return _grants(people, what)
    if what in REPLIES:
        return _knows_action(people, what)
    if what == "first_login":
        return people.guest().login().get("action") == "login_success"
    return _knows_key(people, what)


def _grants(people: People, feature: str) -> bool:
    user = people.user(features=[feature])
    data = user.login_success.get("data")
    granted = data.get("features") if isinstance(data, dict) else None
    user.close()
    return isinstance(granted, list) and feature in granted


def _knows_action(people: People, action: str) -> bool:
    if action == "register" and people.target.account_source == "register":
        return True
    user = people.user()
    announced = people.target.login_data.get("actions")
    if isinstance(announced, list):
        return action in announced
    user.is_own = user.is_own or action == "logout"
    reply = _answer(user, action, _question(people, user, action))
    if reply is None:
        return False
    if reply.get("code") == "registration_closed":
        return False
    if reply.get("action") in REPLIES[action]:
        if action == "create_room":
            data = reply.get("data")
            room_id = data.get("room_id") if isinstance(data, dict) else None
            people.target.probe_room = room_id if isinstance(room_id, str) else ""
        return True
    code = reply.get("code")
    if isinstance(code, str):
        return code != "unknown_action"
    return _without_name(reply, action) != _answer_to_nonsense(people, user)


NONSENSE = "no_such_request"


def _answer_to_nonsense(people: People, user: User) -> str:
    """Return what a server without codes says of an action that nobody knows, "" where it says
    nothing; asked once in a run."""
    target = people.target
    if target.nonsense is None:
        if user.wire.is_closed:
            user = people.user()
        reply = _answer(user, NONSENSE, {})
        target.nonsense = "" if reply is None else _without_name(reply, NONSENSE)
    return target.nonsense


def _without_name(reply: Packet, action: str) -> str:
    return str(reply.get("message")).replace(action, "…")


def _question(people: People, user: User, action: str) -> dict[str, Any]:
    room = people.target.probe_room or "lobby"
    questions: dict[str, dict[str, Any]] = {
        "register": {"password": people.names.password()},
        "change_password": {
            "password": people.names.password(),
            "new_password": people.names.password(),
        },
        "create_room": {"participants": [], "room_name": people.names.room_id()},
        "join_room": {"room_id": room},
        "leave_room": {"room_id": people.names.room_id()},
        "add_user_to_room": {"room_id": room, "user_to_add": user.chatid},
        "remove_user_from_room": {"room_id": room, "user_to_remove": people.names.name()},
        "rename_room": {"room_id": room, "new_room_name": people.names.room_id()},
        "delete_room": {"room_id": people.names.room_id()},
        "get_room_users": {"room_id": room},
        "file_cancel": {"room_id": room, "file_path": "nothing.bin"},
    }
    return questions.get(action, {})


def _answer(user: User, action: str, data: dict[str, Any]) -> Packet | None:
    """Return the reply to a request that may be unknown; None where the server ignores it or
    closes."""
    user.send(action, data)
    user.send("get_messages", {"room_id": "lobby", "from_time": "2100-01-01T00:00:00Z"})
    answers: list[Packet] = []
    try:
        while len(answers) < 2:
            packet = user.wire.receive_where(
                lambda each: each.get("action") not in FORWARDED, f"a reply to `{action}`"
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


def _knows_key(people: People, key: str) -> bool:
    if not people.target.login_data:
        people.user()
    if isinstance(people.target.login_data.get("limits"), dict):
        return True
    if key == "request_id":
        reply = people.user().request(
            "get_messages",
            {"room_id": "lobby", "from_time": "2100-01-01T00:00:00Z"},
            request_id="probe",
        )
        return reply.get("request_id") == "probe"
    if key in ("transaction_id", "message_id"):
        return _knows_message_key(people, key)
    if key == "code":
        reply = people.user().request("get_messages", {"room_id": "lobby", "from_time": "no time"})
        return isinstance(reply.get("code"), str)
    if key == "session_key":
        return _knows_session_key(people)
    return False


def _knows_message_key(people: People, key: str) -> bool:
    user, mine = people.user(), people.names.key()
    said = user.say(
        people.names.room_id(),
        people.names.text(),
        **({"transaction_id": mine} if key == "transaction_id" else {}),
    )
    return said.transaction_id == mine if key == "transaction_id" else said.message_id is not None


def _knows_session_key(people: People) -> bool:
    user = people.user(own=True)
    if not user.session_key:
        return False
    user.close()
    again = people.guest(user.account)
    try:
        return again.login(session_key=user.session_key).get("action") == "login_success"
    except WireProblem:
        return False
