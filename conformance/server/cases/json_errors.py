"""Payloads that are no packet, packets with wrong fields, and the errors that answer them: codes,
order, `request_id`."""

from __future__ import annotations

import json
from collections.abc import Iterator

from conformance.packets import FUTURE, Packet, shown
from conformance.server.cases.fields import SERVERS_OWN, WRONG_FIELDS, client_actions
from conformance.server.cases.framing import probe, understood
from conformance.server.cases.steps import Upload, download, private_room, uploaded
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.wire import Wire

CODES = frozenset(
    [
        "bad_frame",
        "bad_json",
        "bad_packet",
        "unknown_action",
        "not_logged_in",
        "forbidden",
        "room_not_found",
        "user_not_found",
    ]
    + [
        "file_not_found",
        "transaction_not_found",
        "transaction_mismatch",
        "too_many_pending",
        "bad_time",
        "incomplete_file",
    ]
    + [
        "too_large",
        "quota_exceeded",
        "storage_full",
        "server_full",
        "internal_error",
        "not_confirmed",
        "name_taken",
    ]
    + ["registration_closed"]
)
"""The words of the table in the chapter on errors."""
BAD_JSON_PER_CONNECTION = 10
WITHOUT_STATUS = frozenset(["character_count", "confirm_count", "file_down_data", "event"])


def bodies(context: ServerContext, wrong: dict[str, bytes]) -> Iterator[tuple[Wire, str, bytes]]:
    """Each payload with a connection that has room for one more mistake (R-JSON-9)."""
    wire = context.connect()
    for count, (what, body) in enumerate(wrong.items(), 1):
        yield wire, what, body
        if count % (BAD_JSON_PER_CONNECTION - 2) == 0:
            wire.close()
            wire = context.connect()


def are_bad_json(context: ServerContext, wrong: dict[str, bytes]) -> None:
    """Fail unless each payload is answered `bad_json` and the connection goes on."""
    for wire, what, body in bodies(context, wrong):
        wire.send_frame(body, what)
        reply = wire.expect("error")
        context.refused(reply, "bad_json")
        context.equal(
            reply.get("original_action"),
            "unknown",
            f"`original_action` of the error for {what}",
            "R-ERR-2",
        )
        wire.send(probe())
        understood(context, wire, f"the next frame after {what}")


def are_read(context: ServerContext, right: dict[str, bytes]) -> None:
    """Fail where one of these payloads is not read as a packet."""
    wire = context.connect()
    for what, body in right.items():
        wire.send_frame(body, what)
        understood(context, wire, what)


def text_with(value: str, key: str = "extra") -> bytes:
    """A probe with one more key, whose value is written as given."""
    start = json.dumps(probe())[:-1]
    return f'{start}, "{key}": {value}}}'.encode("utf-8", "surrogatepass")


@case(
    rules=["R-JSON-1"],
    level="robust",
    title="a payload that is no UTF-8 or no JSON, or begins with a byte-order mark, is `bad_json`",
)
def not_json(context: ServerContext) -> None:
    good = json.dumps(probe()).encode()
    are_bad_json(
        context,
        {
            "an open brace": b"{",
            "words": b"hello, server",
            "half of a packet": good[:-1],
            "a comma too many": good[:-1] + b",}",
            "single quotes": good.replace(b'"', b"'"),
            "two objects": good + b"{}",
            "something behind it": good + b" x",
            "a key without quotes": b'{action: "get_messages"}',
            "a comment": good[:-1] + b"/* */}",
            "blanks only": b"   ",
            "a raw line feed in a string": good.replace(b"lobby", b"lob\nby"),
            "a byte that is no UTF-8": good.replace(b"lobby", b"lob\xffby"),
            "half a character": good.replace(b"lobby", b"lob\xc3"),
            "Latin-1": good.replace(b"lobby", "löbby".encode("latin-1")),
            "an overlong slash": good.replace(b"lobby", b"lob\xc0\xafby"),
            "UTF-16": json.dumps(probe()).encode("utf-16-le"),
            "a byte-order mark": b"\xef\xbb\xbf" + good,
            "one NUL": b"\0",
            "a wrong escape": good.replace(b"lobby", b"lob\\xby"),
        },
    )


@case(rules=["R-JSON-2"], level="robust", title="JSON that is no object is `bad_json`")
def not_an_object(context: ServerContext) -> None:
    are_bad_json(
        context,
        {
            text: text.encode()
            for text in ("[]", '"text"', "17", "null", "true", '[{"action":"get_messages"}]')
        },
    )


@case(rules=["R-JSON-3"], level="robust", title="32 levels are read, and 33 are `bad_json`")
def depth(context: ServerContext) -> None:
    def nested(levels: int) -> dict[str, bytes]:
        lists, objects = levels - 1, levels - 1
        return {
            f"{levels} levels of lists": text_with("[" * lists + "]" * lists),
            f"{levels} levels of objects": text_with(
                '{"a":' * (objects - 1) + "{}" + "}" * (objects - 1)
            ),
        }

    are_read(context, nested(32))
    are_bad_json(context, {**nested(33), "20,000 levels": text_with("[" * 20_000 + "]" * 20_000)})


@case(
    rules=["R-JSON-4"],
    level="robust",
    title="10,000 keys and elements are read, and 10,001 are `bad_json`",
)
def many_elements(context: ServerContext) -> None:
    own = len(probe()) + len(probe()["data"]) + 1

    def of(count: int) -> dict[str, bytes]:
        numbers = ",".join(["0"] * (count - own))
        keys = ",".join(f'"{number:x}":0' for number in range((count - own) // 2))
        rest = ",".join(["0"] * (count - own - (count - own) // 2 - 2))
        return {
            f"{count} elements of a list": text_with(f"[{numbers}]"),
            f"{count} keys and elements": text_with(f"[{{{keys}}},[{rest}]]"),
        }

    are_read(context, of(10_000))
    are_bad_json(context, of(10_001))


@case(
    rules=["R-JSON-5"],
    level="robust",
    title="`NaN`, infinities, numbers that overflow and numbers of more than 1,000 characters are `bad_json`",
)
def numbers_that_are_none(context: ServerContext) -> None:
    long = "0." + "1" * 999
    wrong = ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "[1e999]", long]
    are_bad_json(context, {text[:20]: text_with(text) for text in wrong})
    are_read(
        context, {text[:20]: text_with(text) for text in ("1e300", "-0.5", "1E+2", long[:1000])}
    )


@case(rules=["R-JSON-6"], level="robust", title="an integer beyond 2^53-1 is `bad_json`")
def large_integers(context: ServerContext) -> None:
    edge = 2**53 - 1
    are_read(context, {str(number): text_with(str(number)) for number in (edge, -edge, 0)})
    are_bad_json(
        context,
        {
            str(number)[:20]: text_with(str(number))
            for number in (edge + 1, -edge - 1, 2**64, 10**300)
        },
    )


@case(
    rules=["R-JSON-7"],
    level="robust",
    title="a lone surrogate is `bad_json` in a value and in a key; a pair is one character",
)
def surrogates(context: ServerContext) -> None:
    are_bad_json(
        context,
        {
            "a high one": text_with('"\\ud800"'),
            "a low one": text_with('"\\udc00"'),
            "the wrong order": text_with('"\\udc4d\\ud83d"'),
            "in a key": text_with("1", "\\ud83d"),
            "deep inside": text_with('[{"a": ["x\\ud83dx"]}]'),
            "as raw bytes": text_with('"\ud83d"'),
        },
    )
    user = context.user()
    room = context.room_id()
    said = "{0}{0}!".format("\U0001f44d")
    body = json.dumps(user.packet("send_message", {"room_id": room, "content": said}))
    context.check("\\ud83d\\udc4d" in body, "the pair as escapes", body)
    user.wire.send_frame(body.encode())
    opened = user.reply("send_message")
    context.equal(
        context.get(opened, "data.letter_frequencies", dict),
        {"\U0001f44d": 2, "!": 1},
        "the counts of a text with pairs of escapes",
    )
    user.ask(
        "confirm_count",
        {"transaction_id": context.get(opened, "data.transaction_id", str), "confirm": False},
    )


@case(rules=["R-JSON-8"], level="robust", title="the same key twice in one object is `bad_json`")
def a_key_twice(context: ServerContext) -> None:
    good = json.dumps(probe())
    are_bad_json(
        context,
        {
            "an action twice": b'{"action": "get_messages", "action": "get_messages"}',
            "an unknown key twice": text_with('1, "extra": 1'),
            "inside of data": good.replace('"room_id"', '"chatid": "anna", "room_id"').encode(),
            "in a list": text_with('[{"a": 1, "a": 1}]'),
            "once as an escape": text_with('1, "\\u0065xtra": 1'),
        },
    )
    are_read(context, {"one key in two objects": text_with('[{"a": 1}, {"a": 1}]')})


@case(
    rules=["R-JSON-9"],
    level="robust",
    title="after `bad_json` the connection lives; the tenth closes it, after its answer",
)
def ten_times(context: ServerContext) -> None:
    user = context.user(own=True)
    for number in range(1, BAD_JSON_PER_CONNECTION):
        user.wire.send_frame(b"{", f"mistake {number}")
        context.refused(user.wire.expect("error"), "bad_json")
        user.ask("get_messages", {"room_id": "lobby", "from_time": FUTURE})
    user.wire.send_frame(b"{", "mistake 10")
    packets = user.wire.wait_closed()
    errors = [packet for packet in packets if packet.get("action") == "error"]
    context.equal(len(errors), 1, "how many answers came to the tenth mistake before the end")
    context.refused(errors[0], "bad_json")


# --- packets


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
    title="a key that is missing, of a wrong type, empty, too long or with NUL is `bad_packet`, and the message names its path",
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
    user.fence()


@case(rules=["R-JSON-11"], level="full", title="`data` that is no object is `bad_packet`")
def data_that_is_no_object(context: ServerContext) -> None:
    user = context.user()
    wrong: list[object] = [[], "text", 17, None, True]
    for data in wrong:
        user.wire.send({"action": "get_messages", "data": data})
        context.refused(user.wire.expect("error"), "bad_packet", original="get_messages")


@case(
    rules=["R-JSON-12"],
    level="full",
    title="`chatid` and `chat_id` are taken for one another in requests; both with different values are `bad_packet`",
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
    user = context.user()
    room = context.room_id()
    for request_id in (context.key(), "x", "y" * 64, "é 👍"):
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
            ("confirm_count", {"transaction_id": "none", "confirm": True}),
        ]
        for action, data in wrong:
            reply = user.request(action, data, request_id=request_id)
            context.equal(
                reply.get("action"), "error", f"the reply to a wrong `{action}`", "R-JSON-11"
            )
            context.equal(reply.get("request_id"), request_id, "`request_id` of an error")
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
    uploaded(context, user, room, "chunks.bin", context.random.randbytes(2500))
    actual = download(context, hearer, room, "chunks.bin", request_id="third")
    for packet in actual.packets:
        context.equal(packet.get("request_id"), "third", f"`request_id` of `{packet['action']}`")


@case(
    rules=["R-JSON-16"],
    title="every packet of the server has `status` and `message`, but for the four that have none in the packet list",
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
    title="every extension request but `ping` needs `chatid`, and its reply has `status` and `message`",
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


# --- errors


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
    first_answer(
        context,
        guest,
        b'{"action": "dance", "data": 17',
        "bad_json",
        "broken JSON and an unknown action",
    )
    first_answer(
        context,
        guest,
        {"action": "dance", "data": 17},
        "unknown_action",
        "an unknown action of somebody who is not logged in",
    )
    first_answer(
        context,
        guest,
        {"action": "send_message", "data": {}},
        "not_logged_in",
        "missing fields of somebody who is not logged in",
    )
    mine, wrong = {"chatid": user.chatid}, {"chatid": other}
    message = {"room_id": room, "content": "x"}
    first_answer(
        context,
        user.wire,
        {"action": "send_message", "data": {**wrong, "room_id": room}},
        "bad_packet",
        "a missing field, another's name and an unknown room",
    )
    first_answer(
        context,
        user.wire,
        {"action": "send_message", "data": {**wrong, **message}},
        "forbidden",
        "another's name and an unknown room",
    )
    first_answer(
        context,
        user.wire,
        {"action": "send_message", "data": {**mine, **message}},
        "room_not_found",
        "an unknown private room",
    )
    history = {"room_id": room, "from_time": FUTURE}
    first_answer(
        context,
        user.wire,
        {"action": "get_messages", "data": {**wrong, **history}},
        "forbidden",
        "another's name and an unknown room",
    )
    first_answer(
        context,
        user.wire,
        {
            "action": "file_down_req",
            "data": {"chat_id": user.chatid, "room_id": room, "file_path": "missing"},
        },
        "room_not_found",
        "an unknown room and an unknown file",
    )
    user.fence()
    strange = [packet for packet in user.wire.aside() if packet.get("action") == "error"]
    context.check(not strange, "one answer to each request", f"this came besides: {shown(strange)}")


@case(
    rules=["R-ERR-4"],
    level="full",
    title="an action that nobody knows, or that only servers send, is `unknown_action`, before login too",
)
def unknown_actions(context: ServerContext) -> None:
    user = context.user()
    for wire in (context.connect(), user.wire):
        for action in ("dance", "LOGIN", " login", "login\0", context.name(), *SERVERS_OWN):
            wire.send({"action": action, "data": {"chatid": user.chatid}})
            context.refused(wire.expect("error"), "unknown_action", original=action)


@case(
    rules=["R-ERR-5"],
    level="full",
    title="before login every known action but `login`, `register` and `ping` is `not_logged_in`, whatever its fields hold",
)
def before_login(context: ServerContext) -> None:
    wire = context.connect()
    for action, data in client_actions():
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
