"""Cases about clients: logging in, and the form of every packet."""

from __future__ import annotations

from conformance.client.cases.steps import (
    converse,
)
from conformance.client.context import (
    ClientContext,
)
from conformance.client.registry import case
from conformance.packets import shown, value


@case(
    rules=["R-SESS-1", "R-FRAME-1"],
    level="seed",
    title="the client logs in with the name and password that it was given, in a whole frame",
    gate=True,
)
def logs_in(context: ClientContext) -> None:
    context.start()
    packet = context.expect("login")
    for key, expected in (("chatid", context.user), ("password", context.password)):
        context.check(
            value(packet, key) == expected, f"`data.{key}` {shown(expected)}", shown(packet)
        )
    context.send(*context.default_server.answer(packet))


@case(
    rules=["R-JSON-10", "R-JSON-11"],
    level="seed",
    title="every packet has a string `action` and its keys, of the right types, in an object "
    "`data`, and no text is empty",
)
def packets_are_whole(context: ClientContext) -> None:
    converse(context)
    context.no_remarks("R-JSON-10", "R-JSON-11")


@case(
    rules=["R-JSON-12"],
    level="seed",
    title="keys are spelled as in the packet: `chatid` in chat packets, `chat_id` in file packets",
)
def keys_keep_their_spelling(context: ClientContext) -> None:
    converse(context)
    context.no_remarks("R-JSON-12")


@case(
    rules=["R-SESS-7"],
    level="seed",
    title="every request that has the key names the session's user",
)
def names_itself(context: ClientContext) -> None:
    converse(context)
    context.no_remarks("R-SESS-7")


@case(
    rules=["R-MSG-19", "R-MSG-12"],
    level="seed",
    title="an `ack` of the client has `status` beside `data`, and every answer is about a "
    "transaction of the other side",
)
def acks_have_a_status(context: ClientContext) -> None:
    converse(context)
    context.no_remarks("R-MSG-19", "R-MSG-12")


@case(
    rules=["R-HIST-3", "R-HIST-2"],
    level="seed",
    title="a client that asks for the history says from when: date, time and zone, or an id",
)
def asks_for_history(context: ClientContext) -> None:
    converse(context)
    if "get_messages" not in context.actions:
        context.not_offered("`get_messages`", "the client did not ask for the history")
    context.no_remarks("R-HIST-3", "R-HIST-2")
