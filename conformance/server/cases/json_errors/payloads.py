"""Cases for the chapter JSON: payloads that are no packet."""

from __future__ import annotations

import json

from conformance.packets import FUTURE, Packet
from conformance.server.cases.framing import probe
from conformance.server.cases.json_errors.steps import (
    BAD_JSON_PER_CONNECTION,
    are_bad_json,
    are_read,
    text_with,
)
from conformance.server.context import ServerContext
from conformance.server.registry import case


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
            "a zero before a number": text_with("01"),
            "a plus before a number": text_with("+1"),
            "a point without digits": text_with("[1.]"),
            "a NUL behind it": good + b"\0",
            "a raw line feed in a string": good.replace(b"lobby", b"lob\nby"),
            "a raw tab in a string": good.replace(b"lobby", b"lob\tby"),
            "a byte that is no UTF-8": good.replace(b"lobby", b"lob\xffby"),
            "half a character": good.replace(b"lobby", b"lob\xc3"),
            "Latin-1": good.replace(b"lobby", "löbby".encode("latin-1")),
            "an overlong slash": good.replace(b"lobby", b"lob\xc0\xafby"),
            "UTF-16": json.dumps(probe()).encode("utf-16-le"),
            "a byte-order mark": b"\xef\xbb\xbf" + good,
            "one NUL": b"\0",
            "a point before the digits": text_with(".5"),
            "a word of Python": text_with("True"),
            "a no-break space behind it": good + b"\xc2\xa0",
            "a form feed before it": b"\x0c" + good,
            "a character beyond Unicode": good.replace(b"lobby", b"lob\xf4\x90\x80\x80by"),
            "two halves of a pair": good.replace(b"lobby", b"lob\xed\xa0\xbd\xed\xb1\x8dby"),
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

    inside = {"40 brackets in a text": "[{" * 20, "40 behind a quotation mark": '\\"' + "[{" * 20}
    are_read(context, nested(32) | {what: text_with(f'"{one}"') for what, one in inside.items()})
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

    are_read(context, of(10_000) | {"10,000 commas in a text": text_with(f'"{"," * 10_000}"')})
    are_bad_json(context, of(10_001))


@case(
    rules=["R-JSON-5"],
    level="robust",
    title="`NaN`, infinities, numbers that overflow and numbers of more than 1,000 "
    "characters are `bad_json`",
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
    title="after `bad_json` the connection lives; the tenth closes it, after its answer, whoever "
    "logged in meanwhile",
)
def ten_times(context: ServerContext) -> None:
    user = context.guest(context.account())
    beside: Packet = {"request_id": "before"} if context.offers("request_id") else {}
    for number in range(1, BAD_JSON_PER_CONNECTION):
        user.wire.send_frame(b"{", f"mistake {number}")
        reply = user.wire.expect("error")
        context.refused(reply, "bad_json")
        told = reply.get("request_id")
        context.equal(told, None, "`request_id` of `bad_json`, behind a request", "R-JSON-14")
        if number == 3:
            with context.given("`login_success` between two mistakes"):
                context.equal(user.login().get("action"), "login_success", "`action`")
        if number >= 3:
            user.ask("get_messages", {"room_id": "lobby", "from_time": FUTURE}, **beside)
    user.wire.send_frame(b"{", "mistake 10")
    packets = user.wire.wait_closed()
    errors = [packet for packet in packets if packet.get("action") == "error"]
    context.equal(len(errors), 1, "how many answers came to the tenth mistake before the end")
    context.refused(errors[0], "bad_json")
