"""Cases for the chapter Errors: codes, the order of the checks, what an error changes."""

from __future__ import annotations

from conformance.packets import FUTURE, Packet, shown
from conformance.server.cases.fields import SERVERS_OWN, client_actions
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.wire import Wire

CODES = (
    "bad_frame",
    "bad_json",
    "bad_packet",
    "unknown_action",
    "not_logged_in",
    "forbidden",
    "room_not_found",
    "user_not_found",
    "file_not_found",
    "transaction_not_found",
    "transaction_mismatch",
    "too_many_pending",
    "bad_time",
    "incomplete_file",
    "too_large",
    "quota_exceeded",
    "storage_full",
    "server_full",
    "internal_error",
    "not_confirmed",
    "name_taken",
    "registration_closed",
)
"""The words of the table in the chapter on errors."""


@case(
    rules=["R-ERR-1"],
    level="full",
    title="an error has `original_action`, `status`, `message` and a `code` of the table",
)
def shape_of_an_error(context: ServerContext) -> None:
    user = context.user()
    tries: list[tuple[str, Packet]] = [
        ("get_messages", {"room_id": "lobby"}),
        ("confirm_count", {"transaction_id": "none", "confirm": True}),
        ("file_down_req", {"room_id": "lobby", "file_path": "missing.bin"}),
        ("send_message", {"room_id": "lobby"}),
        (
            "get_messages",
            {"room_id": "lobby", "from_time": FUTURE, "chatid": context.name("other")},
        ),
    ]
    for action, data in tries:
        reply = user.request(action, data)
        context.equal(reply.get("action"), "error", f"the reply to a wrong `{action}`")
        context.equal(reply.get("original_action"), action, "`original_action`")
        context.equal(reply.get("status"), "error", "`status`")
        context.check(bool(context.get(reply, "message", str)), "a message", "it was empty")
        code = context.get(reply, "code", str)
        context.check(code in CODES, "a `code` of the table", f"it was {code!r}")


@case(
    rules=["R-ERR-1"],
    title="a wrong request is answered by `error` with `original_action`, `status` and `message`",
)
def an_error_of_the_24(context: ServerContext) -> None:
    user = context.user()
    reply = user.request(
        "file_down_req", {"room_id": context.room_id(), "file_path": "missing.bin"}
    )
    context.equal(
        reply.get("action"), "error", "the reply to `file_down_req` for a file that is not there"
    )
    context.equal(reply.get("original_action"), "file_down_req", "`original_action`")
    context.equal(reply.get("status"), "error", "`status`")
    context.get(reply, "message", str)
    user.fence()


@case(
    rules=["R-ERR-2"],
    level="full",
    title="`original_action` is the request's action, cut to 64 characters",
)
def original_action(context: ServerContext) -> None:
    user = context.user()
    long = context.name() * 20
    for action in ("dance", long, "tanz é 漢", "👍" * 65):
        user.wire.send({"action": action, "data": {"chatid": user.chatid}})
        reply = user.wire.expect("error")
        context.equal(reply.get("original_action"), action[:64], "`original_action`")


def first_answer(
    context: ServerContext, wire: Wire, packet: Packet | bytes, code: str, what: str
) -> None:
    """Fail unless a request with several mistakes is answered by this code, and once."""
    if isinstance(packet, bytes):
        wire.send_frame(packet, what)
    else:
        wire.send(packet, what)
    reply = wire.expect("error")
    context.refused(reply, code)
    if "code" in reply:
        context.equal(reply["code"], code, f"the code for {what}")


@case(
    rules=["R-ERR-3"],
    level="full",
    offers="code",
    title="of several mistakes the first in the order of the checks gives the only answer",
)
def order_of_the_checks(context: ServerContext) -> None:
    user, guest = context.user(), context.connect()
    room, other = "p-" + "0" * 32, context.name("other")
    mine, wrong = {"chatid": user.chatid}, {"chatid": other}
    message, history = {"room_id": room, "content": "x"}, {"room_id": room, "from_time": FUTURE}
    missing = {"chat_id": user.chatid, "room_id": room, "file_path": "missing"}
    broken = b'{"action": "dance", "data": 17'
    stranger = "of somebody who is not logged in"
    both = "another's name and an unknown room"
    for packet, code, about in (
        (broken, "bad_json", "broken JSON and an unknown action"),
        (asked("dance", 17), "unknown_action", f"an unknown action {stranger}"),
        (asked("send_message", {}), "not_logged_in", f"missing fields {stranger}"),
    ):
        first_answer(context, guest, packet, code, about)
    for packet, code, about in (
        (
            asked("send_message", {**wrong, "room_id": room}),
            "bad_packet",
            f"a missing field, {both}",
        ),
        (asked("send_message", {**wrong, **message}), "forbidden", both),
        (asked("send_message", {**mine, **message}), "room_not_found", "an unknown private room"),
        (asked("get_messages", {**wrong, **history}), "forbidden", both),
        (
            asked("file_down_req", {"chat_id": other, "room_id": room}),
            "bad_packet",
            f"a missing field, {both}",
        ),
        (asked("file_down_req", {**missing, "chat_id": other}), "forbidden", both),
        (asked("file_down_req", missing), "room_not_found", "an unknown room and an unknown file"),
        (
            asked("get_messages", {**mine, **history, "from_time": "noon"}),
            "room_not_found",
            "no time",
        ),
        (asked("login", {"chatid": 17}), "bad_packet", "a second login, its name is none"),
        (asked("file_cancel", missing), "room_not_found", "an unknown room and an unknown upload"),
        (
            asked("add_user_to_room", {**mine, "room_id": room, "user_to_add": other}),
            "room_not_found",
            "an unknown room and an unknown user",
        ),
    ):
        if context.offers(str(packet["action"])):
            first_answer(context, user.wire, packet, code, about)
    user.fence()
    strange = [packet for packet in user.wire.aside() if packet.get("action") == "error"]
    context.check(not strange, "one answer to each request", f"this came besides: {shown(strange)}")


def asked(action: str, data: object) -> dict[str, object]:
    """Return the packet of a request."""
    return {"action": action, "data": data}


@case(
    rules=["R-ERR-4"],
    level="full",
    title="an action that nobody knows, or that only servers send, is `unknown_action`, "
    "before login too",
)
def unknown_actions(context: ServerContext) -> None:
    user = context.user()
    for wire in (context.connect(), user.wire):
        odd = ("LOGIN", " login", "login\0", "constructor", "toString", "__proto__", "reply")
        for action in ("dance", *odd, context.name(), *SERVERS_OWN):
            wire.send({"action": action, "data": {"chatid": user.chatid}})
            context.refused(wire.expect("error"), "unknown_action", original=action)


@case(
    rules=["R-ERR-5"],
    level="full",
    title="before login every known action but `login`, `register` and `ping` is "
    "`not_logged_in`, whatever its fields hold",
)
def before_login(context: ServerContext) -> None:
    wire = context.connect()
    types: Packet = {"chatid": "anna", "room_id": "lobby"}
    for action, data in [*client_actions(), ("typing", types)]:
        if context.offers(action):
            for fields in (data, {}, {"chatid": 17}):
                wire.send({"action": action, "data": fields})
                context.refused(wire.expect("error"), "not_logged_in", original=action)


@case(rules=["R-ERR-5"], title="before login a message is refused, and nobody sees it")
def no_message_before_login(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    room, said = context.room_id(), context.text()
    wire = context.connect()
    wire.send(
        {
            "action": "send_message",
            "data": {"chatid": sender.chatid, "room_id": room, "content": "from nobody"},
        }
    )
    context.refused(wire.expect("error"), "not_logged_in", original="send_message")
    sender.say(room, said)
    hearer.hear_this(room, said)


@case(
    rules=["R-ERR-6"],
    level="full",
    offers="code",
    title="an `ack` with `status` `error` carries `code` too",
)
def code_in_an_ack(context: ServerContext) -> None:
    user = context.user()
    opened = user.ask(
        "send_message", {"room_id": "lobby", "content": context.text()}, want="character_count"
    )
    ack = user.ask(
        "confirm_count",
        {"transaction_id": context.get(opened, "data.transaction_id", str), "confirm": False},
    )
    context.equal(ack.get("status"), "error", "`status` of the `ack`")
    context.equal(ack.get("code"), "not_confirmed", "`code` of the `ack`")


@case(
    rules=["R-ERR-6"],
    level="full",
    offers=["code", "register"],
    title="`register_fail` carries `code` too",
)
def code_in_register_fail(context: ServerContext) -> None:
    user = context.user()
    wire = context.connect()
    wire.send(
        {"action": "register", "data": {"chatid": user.chatid, "password": context.password()}}
    )
    reply = wire.expect("register_fail")
    code = context.get(reply, "code", str)
    context.check(
        code in ("name_taken", "registration_closed"), "`code` `name_taken`", f"it was {code!r}"
    )


@case(
    rules=["R-ERR-7"],
    level="full",
    title="an error of one request changes nothing, and the connection lives",
)
def errors_change_nothing(context: ServerContext) -> None:
    user, hearer = context.users(2)
    room, said = context.room_id(), context.text()
    user.say(room, said)
    opened = user.ask(
        "send_message", {"room_id": room, "content": "the second"}, want="character_count"
    )
    tid = context.get(opened, "data.transaction_id", str)
    wrong: list[tuple[str, Packet]] = [
        ("send_message", {"room_id": room, "content": ""}),
        ("send_message", {"room_id": room, "content": 17}),
        ("send_message", {"room_id": room, "content": "by another", "chatid": hearer.chatid}),
        ("confirm_count", {"transaction_id": tid, "confirm": "true"}),
        ("confirm_count", {"transaction_id": context.key(), "confirm": True}),
        ("get_messages", {"room_id": room}),
        ("file_send_fin", {"room_id": room, "file_path": "missing.bin", "total_packets": 1}),
    ]
    for action, data in wrong:
        context.refused(user.request(action, data), original=action)
    context.equal(
        [each["content"] for each in user.history(room)], [said], "the messages of the room"
    )
    user.confirm(room, "the second", tid)
    hearer.hear_this(room, said)
    hearer.hear_this(room, "the second")
