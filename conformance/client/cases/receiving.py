"""Cases about clients: receiving a message."""

from __future__ import annotations

import contextlib
from typing import Any, Final

from conformance.client.cases.steps import (
    answers_all,
    check_counts,
    confirm,
    hear_counts,
    open_message,
    sound,
)
from conformance.client.context import (
    ClientContext,
)
from conformance.client.registry import case
from conformance.packets import Packet, key_of, shown, value

MANY: Final = 20


@case(
    rules=["R-MSG-16"], level="seed", title="a message is answered with the counts of its letters"
)
def counts_what_it_receives(context: ClientContext) -> None:
    context.log_in()
    room = context.setting.driver.room
    for content, room_id in (
        (f"{context.text()}, Aa a!", room),
        (context.text(1), room),
        (context.text(1), f"not-{room}"[:64]),  # open rooms are everyone's
    ):
        message = context.default_server.message(content, room_id=room_id)
        context.send(message)
        packet = hear_counts(context, message)
        check_counts(context, packet, content)
        context.send(*context.default_server.answer(packet))


@case(
    rules=["R-MSG-1"],
    level="seed",
    title="every code point of a received text counts: case, blanks, accents, emoji, joined emoji",
)
def counts_code_points_of_others(context: ClientContext) -> None:
    context.log_in()
    for content in (
        "Hello",
        "a  b!",
        "👍👍🏽",
        "e\u0301 é",
        "👩\u200d💻",
        f"Zoë {context.text(1)} 日本語",
    ):
        message = context.default_server.message(content)
        context.send(message)
        plain = content == "Hello"
        with context.given("an answer to a message") if plain else contextlib.nullcontext():
            packet = hear_counts(context, message)
        check_counts(context, packet, content)
        context.send(*context.default_server.answer(packet))


@case(
    rules=["R-MSG-17"],
    level="seed",
    title="counts that the server confirms are followed by `ack` with `status` success",
)
def acknowledges(context: ClientContext) -> None:
    context.log_in()
    message = context.default_server.message(context.text())
    context.send(message)
    with context.given("`character_count` for a received message"):
        hear_counts(context, message)
    packet = confirm(context, message, True)
    context.check(packet.get("status") == "success", '`status` "success"', shown(packet))


@case(
    rules=["R-MSG-18"],
    level="seed",
    title="counts that the server does not confirm are followed by `ack` with `status` "
    "error, and the copy that comes is counted and acknowledged anew",
)
def acknowledges_a_failure(context: ClientContext) -> None:
    context.log_in()
    content = context.text()
    message = context.default_server.message(content)
    context.send(message)
    with context.given("`character_count` for a received message"):
        first = hear_counts(context, message)
    packet = confirm(context, message, False)
    context.check(packet.get("status") == "error", '`status` "error"', shown(packet))
    context.send(context.default_server.copy(message["data"]["transaction_id"], content))
    again = hear_counts(context, message)
    counts, before = (value(each, "letter_frequencies") for each in (again, first))
    context.check(counts == before, f"the same counts as before: {shown(before)}", shown(again))
    packet = confirm(context, message, True)
    context.check(packet.get("status") == "success", '`status` "success"', shown(packet))


@case(
    rules=["R-MSG-16", "R-MSG-17"],
    level="seed",
    title=f"{MANY} messages that come without a pause are all counted and acknowledged",
)
def answers_many_messages(context: ClientContext) -> None:
    context.log_in()
    answers_all(context, MANY, together=False)


@case(
    rules=["R-ORDER-8"],
    level="seed",
    title="messages and files of others may come in the middle of one's own handshake",
)
def takes_messages_between_replies(context: ClientContext) -> None:
    sound(context)
    first, second = (
        context.default_server.message(context.text(1)),
        context.default_server.message(context.text(1)),
    )
    mine = open_message(context, context.text(1))
    context.send(
        first, context.default_server.new_file(context.text(1)), context.default_server.counts(mine)
    )
    keys = [key for key, sent in context.default_server.sent.items() if sent is mine]
    packet = context.expect(
        "confirm_count",
        where=lambda each: key_of(each) in keys,
        what="`confirm_count` for its own message",
    )
    context.send(second, *context.default_server.answer(packet))
    both = [message["data"]["transaction_id"] for message in (first, second)]
    context.settle(
        lambda: all(key in context.default_server.acks for key in both),
        "an `ack` for each message that came in between",
    )
    context.fence()


@case(rules=["R-JSON-13"], level="seed", title="keys that the client does not know are ignored")
def ignores_unknown_keys(context: ClientContext) -> None:
    sound(context)
    mine = open_message(context, context.text(1))
    reply = with_more_keys(context.default_server.counts(mine))
    context.send(reply)
    packet = context.expect(
        "confirm_count", where=lambda each: key_of(each) == reply["data"]["transaction_id"]
    )
    context.check(
        value(packet, "confirm") is True,
        "`confirm` true: the keys beside the counts mean nothing",
        shown(packet),
    )
    context.send(*(with_more_keys(each) for each in context.default_server.answer(packet)))
    message = with_more_keys(context.default_server.message(context.text(1)))
    context.send(message)
    packet = hear_counts(context, message)
    check_counts(context, packet, message["data"]["content"])
    context.send(
        with_more_keys(context.default_server.confirmation(message["data"]["transaction_id"], True))
    )
    context.expect("ack", where=lambda each: key_of(each) == message["data"]["transaction_id"])


def with_more_keys(packet: Packet) -> Packet:
    """Return the packet with keys that nobody knows, in it and in its `data`."""
    more: dict[str, Any] = {
        "x_colour": "blue",
        "x_list": [1, {"deep": None}],
        "x_flag": False,
        "x_nothing": None,
    }
    return {
        "x_first": 1,
        **packet,
        **more,
        "data": {"x_first": [], **packet.get("data", {}), **more},
    }
