"""Steps of cases that send requests without a name or with another's, and logins with wrong keys.

Owns no case and no rule. One thread runs it.
"""

from __future__ import annotations

from conformance.packets import Packet
from conformance.server.cases.fields import client_actions
from conformance.server.cases.steps import private_room
from conformance.server.context import ServerContext
from conformance.server.user import User


def with_wrong_names(context: ServerContext, user: User) -> None:
    """Check that each request is `bad_packet` without the user's name, and `forbidden` with
    another's; it is right in all else, so that a server that looks at no name would answer it."""
    other, password = context.name("other"), user.account.password
    own: Packet = {"password": password, "new_password": password}
    if context.offers("create_room"):
        own = {**own, "room_id": private_room(context, user), "user_to_add": user.chatid}
    for action, known in client_actions():
        is_kept = action in ("join_room", "leave_room")  # an owner may not leave
        data = known if is_kept else {name: own.get(name, value) for name, value in known.items()}
        key = "chat_id" if action.startswith("file_") else "chatid"
        if key in data and context.offers(action):
            rest = {name: value for name, value in data.items() if name != key}
            for fields, code in ((rest, "bad_packet"), ({**rest, key: other}, "forbidden")):
                user.wire.send({"action": action, "data": fields})
                context.refused(user.reply(action), code, original=action)


def with_wrong_keys(context: ServerContext, user: User) -> None:
    """Check that a key in other letters is none, and that words which each object of JavaScript
    has are no accounts. A key of one case (hexadecimal digits) may be read in both."""
    key, guest = user.session_key, context.guest(user.account)
    if key.lower() != key != key.upper():
        reply = guest.login(session_key=key.swapcase())
        context.equal(reply.get("action"), "login_fail", "the reply to the key in other letters")
    for name in ("constructor", "__proto__"):
        reply = guest.request("login", {"chatid": name, "session_key": key})
        context.equal(reply.get("action"), "login_fail", f"the reply to a login as {name}")
