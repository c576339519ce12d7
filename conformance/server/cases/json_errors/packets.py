"""Cases for the chapter JSON: keys of packets, their types and spellings, `request_id`."""

from __future__ import annotations

from conformance.packets import FUTURE, Packet, letters, shown
from conformance.server.cases.fields import (
    RIGHT_FIELDS,
    WRONG_FIELDS,
    WRONG_OPTIONAL_FIELDS,
)
from conformance.server.cases.steps import (
    Upload,
    download,
    private_room,
    take_download,
    uploaded,
)
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.user import User

WITHOUT_STATUS = (
    "character_count",
    "confirm_count",
    "file_down_data",
    "event",
)


@case(rules=["R-JSON-10"], level="full", title="a request without an object `data` is `bad_packet`")
def data_is_missing(context: ServerContext) -> None:
    user = context.user()
    for action, data in (
        ("get_messages", {}),
        ("send_message", {"data": None}),
        ("confirm_count", {"data": []}),
    ):
        user.wire.send({"action": action, **data})
        context.refused(user.wire.expect("error"), "bad_packet", original=action)
    user.fence()


@case(
    rules=["R-JSON-10"],
    level="full",
    offers="ping",
    title="where no key of `data` is required, `data` may be left out",
)
def data_left_out(context: ServerContext) -> None:
    user = context.user()
    packets: list[Packet] = [{"action": "ping"}, {"action": "ping", "data": {}}]
    for packet in packets:
        user.wire.send(packet)
        context.equal(user.reply("ping").get("action"), "pong", f"the answer to {shown(packet)}")


@case(
    rules=["R-JSON-11", "R-ERR-1"],
    level="full",
    title="`action` that is missing, empty or no string is `bad_packet`",
)
def actions_that_are_none(context: ServerContext) -> None:
    for user_or_guest in (context.connect(), context.user().wire):
        for packet in (
            {},
            {"action": ""},
            {"action": 17},
            {"action": None},
            {"action": ["login"]},
            {"data": {"chatid": "anna"}},
        ):
            user_or_guest.send(packet)
            reply = user_or_guest.expect("error")
            context.refused(reply, "bad_packet")
            if packet.get("action") != "":
                context.equal(
                    reply.get("original_action"),
                    "unknown",
                    "`original_action` where no string could be read",
                    "R-ERR-2",
                )


@case(
    rules=["R-JSON-11"],
    level="full",
    title="a key that is missing, of a wrong type, empty, too long or with NUL is "
    "`bad_packet`, and the message names its path",
)
def wrong_fields(context: ServerContext) -> None:
    user = context.user(own=True)
    for action, path, data in WRONG_FIELDS:
        filled = dict(data)
        for key in ("chatid", "chat_id"):
            if filled.get(key) == "@":
                filled[key] = user.chatid
        user.wire.send({"action": action, "data": filled})
        reply = user.reply(action)
        context.refused(reply, "bad_packet", original=action)
        message = context.get(reply, "message", str)
        if context.offers("code"):
            context.check(path in message, f"a message that names `{path}`", f"it was {message!r}")
    for offer, action, wrong in WRONG_OPTIONAL_FIELDS:
        if context.offers(offer):
            data = {**RIGHT_FIELDS.get(action, {}), **wrong}
            right = {name: one for name, one in data.items() if one != "@"}
            context.refused(user.request(action, right), "bad_packet", original=action)
    user.fence()


@case(rules=["R-JSON-11"], level="full", title="`data` that is no object is `bad_packet`")
def data_that_is_no_object(context: ServerContext) -> None:
    user = context.user()
    wrong: list[object] = [[], "text", 17, None, True]
    for action in ("get_messages", "ping") if context.offers("ping") else ("get_messages",):
        for data in wrong:
            user.wire.send({"action": action, "data": data})
            context.refused(user.reply(action), "bad_packet", original=action)


@case(
    rules=["R-JSON-12"],
    level="full",
    title="`chatid` and `chat_id` are taken for one another in requests; both with different "
    "values are `bad_packet`",
)
def two_spellings(context: ServerContext) -> None:
    user = context.user()
    room, name = context.room_id(), context.name("other")
    user.say(room, context.text())
    both = {"chatid": user.chatid, "chat_id": user.chatid}
    spellings: list[Packet] = [{"chat_id": user.chatid}, {"chatid": user.chatid}, both]
    for who in spellings:
        user.ask("get_messages", {"room_id": room, "from_time": FUTURE, **who})
        user.ask("file_list_req", {"room_id": room, **who})
    for who in ({"chatid": user.chatid, "chat_id": name}, {"chatid": name, "chat_id": user.chatid}):
        for action, data in (
            ("get_messages", {"room_id": room, "from_time": FUTURE}),
            ("file_list_req", {"room_id": room}),
        ):
            context.refused(user.request(action, {**data, **who}), "bad_packet", original=action)
    upload = Upload(context, user, room, "spelling.bin", b"0123456789")
    reply = user.ask("file_send_init", {**upload.init(), "chatid": user.chatid})
    context.equal(
        context.get(reply, "data.chat_id", str),
        user.chatid,
        "`chat_id` in the answer of a file packet",
    )


@case(
    rules=["R-JSON-13"], level="full", title="unknown keys are ignored, in the packet and in `data`"
)
def unknown_keys(context: ServerContext) -> None:
    user = context.user()
    room, said = context.room_id(), context.text()
    extra: Packet = {"kit_note": "unknown", "kit_list": [1, {"a": None}]}
    opened = user.ask(
        "send_message", {"room_id": room, "content": said, **extra}, want="character_count", **extra
    )
    data = {
        "transaction_id": context.get(opened, "data.transaction_id", str),
        "confirm": True,
        **extra,
    }
    context.equal(
        user.ask("confirm_count", data, **extra).get("status"), "success", "`status` of the `ack`"
    )
    context.equal(
        [each["content"] for each in user.history(room, from_time="2000-01-01T00:00:00Z", **extra)],
        [said],
        "the history",
    )


@case(
    rules=["R-JSON-14"],
    level="full",
    offers="request_id",
    title="every direct reply carries the `request_id` of its request, errors included",
)
def request_ids(context: ServerContext) -> None:
    user = context.user(own=True)
    room = context.room_id()
    for request_id in (context.key(), "x", "y" * 64, "👍" * 64, " é 👍 "):
        reply = user.ask(
            "send_message",
            {"room_id": room, "content": "a text"},
            request_id=request_id,
            want="character_count",
        )
        context.equal(reply.get("request_id"), request_id, "`request_id` of `character_count`")
        tid = context.get(reply, "data.transaction_id", str)
        reply = user.ask(
            "confirm_count", {"transaction_id": tid, "confirm": False}, request_id=request_id
        )
        context.equal(reply.get("request_id"), request_id, "`request_id` of `ack`")
        for action, data in (
            ("get_messages", {"room_id": "lobby", "from_time": FUTURE}),
            ("file_list_req", {"room_id": "lobby"}),
        ):
            context.equal(
                user.ask(action, data, request_id=request_id).get("request_id"),
                request_id,
                f"`request_id` of the reply to `{action}`",
            )
        wrong: list[tuple[str, Packet]] = [
            ("get_messages", {"room_id": "lobby"}),
            ("get_messages", {"room_id": "lobby", "from_time": FUTURE, "chatid": "another"}),
            ("confirm_count", {"transaction_id": "none", "confirm": True}),
        ]
        for action, data in wrong:
            reply = user.request(action, data, request_id=request_id)
            context.equal(
                reply.get("action"), "error", f"the reply to a wrong `{action}`", "R-JSON-11"
            )
            context.equal(reply.get("request_id"), request_id, "`request_id` of an error")
    _answers_of_many_kinds(context, user, room)
    user.send("no_such_action", request_id="unknown-1")
    context.equal(
        user.wire.expect("error").get("request_id"), "unknown-1", "`request_id` of `unknown_action`"
    )
    reply = user.ask("get_messages", {"room_id": "lobby", "from_time": FUTURE})
    context.check(
        "request_id" not in reply,
        "no `request_id` in a reply to a request without one",
        f"this came: {shown(reply)}",
    )
    _last_answers(context, user)


def _last_answers(context: ServerContext, user: User) -> None:
    """Check the `request_id` of the answers that end a session, and of the login behind it."""
    password = user.account.password
    last: list[tuple[str, Packet]] = []
    if context.offers("change_password") and not user.account.is_given:
        last = [("change_password", {"password": password, "new_password": password})]
    if context.offers("logout"):
        last += [("logout", {}), ("login", {"password": password})]
    for action, data in last:
        asks = context.guest(user.account) if action == "login" else user
        reply = asks.request(action, data, request_id="last")
        context.equal(reply.get("request_id"), "last", f"`request_id` of `{reply.get('action')}`")


def _answers_of_many_kinds(context: ServerContext, user: User, room: str) -> None:
    """Check the `request_id` of as many different answers as the server offers."""
    for number, (action, data) in enumerate(_of_many_kinds(context, user, room)):
        reply = user.request(action, data, request_id=f"kind-{number}")
        context.equal(
            reply.get("request_id"),
            f"kind-{number}",
            f"`request_id` of `{reply.get('action')}`, which answers `{action}`",
        )
    guest, login = context.guest(user.account), {"password": user.account.password}
    for action in ("login", "register") if context.offers("register") else ("login",):
        reply = guest.request(action, login, request_id=action)
        context.equal(reply.get("request_id"), action, f"`request_id` of `{reply.get('action')}`")
    if context.offers("register"):
        reply = context.guest().request("register", login, request_id="new")
        context.equal(reply.get("request_id"), "new", f"`request_id` of `{reply.get('action')}`")
    nobody = context.connect()
    nobody.send({**user.packet("get_messages"), "request_id": "nobody"})
    reply = nobody.expect("error")
    context.equal(reply.get("request_id"), "nobody", "`request_id` of `not_logged_in`")


def _of_many_kinds(context: ServerContext, user: User, room: str) -> list[tuple[str, Packet]]:
    """Return requests with as many different answers, errors too, as the server offers."""
    user.say(room, context.text())
    private = private_room(context, user) if context.offers("create_room") else "lobby"
    nobody, in_room, other = context.name("nobody"), {"room_id": room}, context.account().chatid
    kept, given_up = (Upload(context, user, room, name, b"0123456789") for name in ("a", "b"))
    found: list[tuple[str, Packet]] = [
        ("get_messages", {**in_room, "from_time": "noon"}),
        ("get_messages", {"room_id": "p-" + "0" * 32, "from_time": FUTURE}),
        ("ping", {}),
        ("get_rooms", {"limit": 1}),
        ("get_users", {"limit": 1}),
        ("get_room_users", {**in_room, "limit": 1}),
        ("leave_room", in_room),
        ("join_room", in_room),
        ("file_down_req", {**in_room, "file_path": "missing.bin"}),
        ("file_send_init", {**kept.init(), "file_path": "huge", "file_size": 2**53 - 1}),
        ("file_send_init", kept.init()),
        ("file_send_fin", kept.fin()),
        ("file_send_data", kept.piece(0)),
        ("file_send_fin", kept.fin()),
        ("file_send_init", given_up.init()),
        ("file_cancel", {**in_room, "file_path": "b"}),
        ("create_room", {"participants": [], "room_name": "team"}),
        ("create_room", {"participants": [nobody], "room_name": "team"}),
        ("add_user_to_room", {"room_id": private, "user_to_add": other}),
        ("remove_user_from_room", {"room_id": private, "user_to_remove": other}),
        ("rename_room", {"room_id": private, "new_room_name": "renamed"}),
        ("delete_room", {"room_id": private}),
    ]
    if context.offers("transaction_id"):
        key = context.key()
        found += [
            ("send_message", {**in_room, "content": content, "transaction_id": key})
            for content in ("one", "another")
        ]
    return [(action, data) for action, data in found if context.offers(action)]


@case(
    rules=["R-JSON-14"],
    level="full",
    offers="request_id",
    title="a `request_id` that is no string of 1 to 64 characters is `bad_packet`",
)
def request_ids_that_are_none(context: ServerContext) -> None:
    user = context.user()
    for request_id in ("", "x" * 65, 17, None, True, ["a"], {"a": 1}):
        reply = user.request(
            "get_messages", {"room_id": "lobby", "from_time": FUTURE}, request_id=request_id
        )
        context.refused(reply, "bad_packet", original="get_messages")


@case(
    rules=["R-JSON-15"],
    level="full",
    offers="request_id",
    title="the ack of a stored message and every packet of a download carry the `request_id`",
)
def request_ids_of_long_answers(context: ServerContext) -> None:
    user, hearer = context.users(2)
    room, said = context.room_id(), context.text()
    opened = user.ask(
        "send_message",
        {"room_id": room, "content": said},
        want="character_count",
        request_id="first",
    )
    data = {"transaction_id": context.get(opened, "data.transaction_id", str), "confirm": True}
    context.equal(
        user.ask("confirm_count", data, request_id="second").get("request_id"),
        "second",
        "`request_id` of the `ack`",
    )
    heard = hearer.hear_this(room, said)
    context.check(
        "request_id" not in heard,
        "no `request_id` in what others are sent",
        f"this came: {shown(heard)}",
    )
    counted = {
        "transaction_id": heard["data"]["transaction_id"],
        "letter_frequencies": letters(said),
        "original_action": "receive_message",
    }
    reply = hearer.request("character_count", counted, request_id="counted")
    context.equal(
        reply.get("request_id"), "counted", f"`request_id` of `{reply.get('action')}`", "R-JSON-14"
    )
    uploaded(context, user, room, "chunks.bin", context.random.randbytes(300_000), chunk=100_000)
    asked = hearer.packet(
        "file_down_req", {"room_id": room, "file_path": "chunks.bin"}, request_id="third"
    )
    later = hearer.packet(
        "get_messages", {"room_id": room, "from_time": FUTURE}, request_id="fourth"
    )
    hearer.wire.send_together([asked, later])
    meta = hearer.reply("file_down_req")
    context.equal(meta.get("action"), "file_down_meta", "the reply to `file_down_req`")
    actual = take_download(context, hearer, meta)
    for packet in (hearer.reply("get_messages"), *actual.packets):
        wanted = "fourth" if packet["action"] == "messages_list" else "third"
        context.equal(packet.get("request_id"), wanted, f"`request_id` of `{packet['action']}`")


@case(
    rules=["R-JSON-16"],
    title="every packet of the server has `status` and `message`, but for the four that have "
    "none in the packet list",
)
def status_and_message(context: ServerContext) -> None:
    user, hearer = context.users(2)
    room, said = context.room_id(), context.text()
    opened = user.ask("send_message", {"room_id": room, "content": said}, want="character_count")
    tid = context.get(opened, "data.transaction_id", str)
    packets = [opened, user.ask("confirm_count", {"transaction_id": tid, "confirm": True})]
    packets.append(hearer.hear_this(room, said))
    packets.append(hearer.count_back(packets[-1]))
    upload = Upload(context, user, room, "status.bin", b"0123456789")
    packets += [upload.begin(), user.ask("file_send_data", upload.piece(0)), upload.finish()]
    packets += [
        hearer.wire.expect("receive_file"),
        *download(context, hearer, room, "status.bin").packets,
    ]
    for action, data in (
        ("get_messages", {"room_id": room, "from_time": FUTURE}),
        ("file_list_req", {"room_id": room}),
    ):
        packets.append(user.ask(action, data))
    packets.append(user.request("file_down_req", {"room_id": room, "file_path": "missing.bin"}))
    for packet in packets:
        if packet.get("action") not in WITHOUT_STATUS:
            wanted = "error" if packet.get("action") == "error" else "success"
            context.equal(packet.get("status"), wanted, f"`status` of `{packet.get('action')}`")
            context.get(packet, "message", str)


@case(
    rules=["R-JSON-16"],
    level="full",
    title="every extension request but `ping` needs `chatid`, and its reply has `status` and "
    "`message`",
)
def extensions_name_the_user(context: ServerContext) -> None:
    user = context.user()
    room = private_room(context, user) if context.offers("create_room") else "lobby"
    requests: dict[str, Packet] = {
        "get_rooms": {"limit": 1},
        "get_users": {"limit": 1},
        "create_room": {"participants": [], "room_name": "team"},
        "get_room_users": {"room_id": room},
        "join_room": {"room_id": room},
        "rename_room": {"room_id": room, "new_room_name": "renamed"},
    }
    for action, data in requests.items():
        if context.offers(action):
            user.wire.send({"action": action, "data": data})
            context.refused(user.reply(action), "bad_packet", original=action)
            reply = user.ask(action, data)
            context.equal(reply.get("status"), "success", f"`status` of `{reply.get('action')}`")
            context.get(reply, "message", str)
