"""Cases about clients: extensions, as far as the client uses them."""

from __future__ import annotations

import time
from typing import Any, Final

from conformance.client.cases.steps import (
    TWO_CHUNKS,
    ask_for_file,
    check_counts,
    converse,
    count_message,
    hear_counts,
    hear_one,
    open_message,
    sound,
    sound_upload,
)
from conformance.client.context import (
    ClientContext,
    said,
)
from conformance.client.registry import case
from conformance.endings import Failed
from conformance.packets import key_of, shown, value

RECONNECT_SECONDS: Final = 12.0
"""So long a client that comes back may take for its first attempts."""
AWAY_FACTOR: Final = 1.5
AWAY_SECONDS: Final = 0.2
"""A client that is not to come back is watched for so many times as long as it took to come back
the time before, and this."""


@case(
    rules=["R-JSON-14"],
    level="full",
    title="a `request_id`, where the client sends any, is text of 1 to 64 characters",
)
def request_ids_are_text(context: ClientContext) -> None:
    converse(context)
    context.no_remarks("R-JSON-14")


@case(
    rules=["R-EVT-3"],
    level="full",
    title="events are taken by who asked for them, unknown types and unknown keys too",
)
def takes_events(context: ClientContext) -> None:
    sound(context, hears=False)
    if "events" not in context.default_server.features:
        context.not_offered(
            'a login with `features` that hold "events"', "the client did not ask for them"
        )
    room = context.setting.driver.room
    for data in (
        {"type": "user_online", "chatid": context.other},
        {"type": "x_comet_seen", "x_tail": [1, 2]},
        {"type": "room_renamed", "room_id": room, "name": room},
        {"type": "user_offline", "chatid": context.other},
    ):
        context.send({"action": "event", "data": data})
    context.fence()


@case(
    rules=["R-SESS-8"],
    level="full",
    title="a client that lost its connection comes back, and the talk goes on",
)
def comes_back(context: ClientContext) -> None:
    sound(context)
    come_back(context)
    context.fence()
    hear_one(context, context.text(1))


def come_back(context: ClientContext) -> None:
    """Close the connection, and log the client in again where it comes back."""
    assert context.peer is not None
    context.peer.close()
    if context.expect_connection(RECONNECT_SECONDS) is None:
        context.not_offered("that the client comes back by itself", "it did not, and need not")
    packet = context.expect("login")
    replies = context.default_server.answer(packet)
    context.send(*replies)
    context.check(
        replies[0]["action"] == "login_success",
        "a login with the session key or the password",
        shown(packet),
    )


def stays_away(context: ClientContext, event: dict[str, str]) -> None:
    """Tell a client that comes back by itself that it is not to, and close its connection."""
    sound(context, hears=False)
    if "events" not in context.default_server.features:
        context.not_offered(
            'a login with `features` that hold "events"', "the client did not ask for them"
        )
    began = time.monotonic()
    come_back(context)
    seconds = AWAY_FACTOR * (time.monotonic() - began) + AWAY_SECONDS
    context.fence()
    assert context.peer is not None
    context.send({"action": "event", "data": event})
    context.peer.close()
    if context.expect_connection(seconds) is None:
        return
    try:
        packet = context.expect("login")
    except Failed:
        return
    context.fail("no login by itself", shown(packet))


@case(
    rules=["R-EVT-7"],
    level="full",
    title="a client whose place a newer login took does not log in again by itself",
)
def leaves_its_place(context: ClientContext) -> None:
    stays_away(context, {"type": "taken_over"})


@case(
    rules=["R-TEACH-8"],
    level="robust",
    title="a client that the teacher has put out does not log in again by itself",
)
def stays_out(context: ClientContext) -> None:
    stays_away(context, {"type": "user_kicked", "chatid": context.user})


@case(
    rules=["R-MSG-8"],
    level="full",
    title="a message whose ack was lost goes out again with the same key, where the client "
    "makes keys",
)
def repeats_with_the_same_key(context: ClientContext) -> None:
    context.log_in()
    text = context.text()
    with context.given("a message that is sent"):
        mine = open_message(context, text)
    key = key_of(mine)
    if not key:
        context.not_offered(
            "`transaction_id` in `send_message`", "the client makes no keys of its own"
        )
    context.check(len(key) <= 64, "a key of 1 to 64 characters", shown(mine))
    packet = count_message(context, mine)
    context.default_server.answer(packet)  # stored, but the ack is lost
    come_back(context)
    again = context.expect(
        "send_message",
        where=lambda each: said(each, text),
        what="`send_message` of the same text once more",
    )
    context.check(key_of(again) == key, f"the same `transaction_id` {key}", shown(again))
    context.send(*context.default_server.answer(again))
    context.fence()


@case(
    rules=["R-FILE-15"],
    level="full",
    title="an upload that the server has a part of is continued with the chunks that it lacks",
)
def continues_an_upload(context: ClientContext) -> None:
    context.log_in()
    sound_upload(context)
    path = context.make_file(TWO_CHUNKS)
    context.type_line(context.setting.driver.send, file=str(path), name=path.name)
    init = context.expect("file_send_init")
    total = value(init, "total_packets")
    context.check(isinstance(total, int) and total > 1, "`total_packets` over 1", shown(init))
    replies = context.default_server.answer(init)
    has = [2, max(2, total - 1)]  # with a hole before it, and one behind where there are more
    lacked = [number for number in range(1, total + 1) if not has[0] <= number <= has[1]]
    replies[0]["data"]["received"] = [has]
    context.send(*replies)
    numbers: list[Any] = []
    while True:
        packet = context.expect(
            "file_send_data", "file_send_fin", what="`file_send_data` or `file_send_fin`"
        )
        context.send(*context.default_server.answer(packet))
        if packet["action"] == "file_send_fin":
            break
        numbers.append(value(packet, "sequence_number"))
    if len(numbers) >= total:
        context.not_offered(
            f"only the chunks of {total} that the server lacked: {lacked}",
            "all were sent again, which is allowed",
        )
    context.check(
        numbers == lacked,
        f"the chunks {lacked}, which the server lacked",
        f"the chunks {numbers[:20]}",
    )


@case(
    rules=["R-FILE-20", "R-ORDER-8"],
    level="full",
    title="messages that pass between the chunks of a download are answered",
)
def chats_while_fetching(context: ClientContext) -> None:
    sound(context, sends=False)
    content = context.content(20_000)
    name = ask_for_file(context, content)
    with context.given("`file_down_req`"):
        packet = context.expect(
            "file_down_req", where=lambda each: value(each, "file_path") == name
        )
    meta, first, *rest = context.default_server.answer(packet)
    message = context.default_server.message(context.text(1))
    context.send(meta, first, message)
    counts = hear_counts(context, message)
    check_counts(context, counts, message["data"]["content"])
    context.send(rest[0], *context.default_server.answer(counts), *rest[1:])
    key = message["data"]["transaction_id"]
    context.settle(lambda: key in context.default_server.acks, f"`ack` for transaction {key}")
