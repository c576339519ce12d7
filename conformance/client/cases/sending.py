"""Cases about clients: sending a message."""

from __future__ import annotations

import contextlib
import threading
import time

from conformance.client.cases.steps import (
    count_message,
    open_message,
    sound,
)
from conformance.client.context import (
    ClientContext,
    said,
)
from conformance.client.process import fill
from conformance.client.registry import case
from conformance.packets import letters, shown, value

PAUSE_SECONDS = 0.02
TOGETHER_SECONDS = 0.1


@case(
    rules=["R-MSG-3"],
    level="seed",
    title="what is typed is sent, and counts that agree are confirmed, message after message",
)
def confirms_counts_that_agree(context: ClientContext) -> None:
    context.log_in()
    for backwards in (False, True):  # the keys of an object have no order
        text = f"{context.text()}, Aa a!"
        message = open_message(context, text)
        packet = count_message(context, message, letters(text[::-1] if backwards else text))
        context.check(
            value(packet, "confirm") is True,
            "`confirm` true, since the counts agree",
            shown(packet),
        )
        context.send(*context.default_server.answer(packet))


def wrong_counts(text: str) -> list[tuple[str, dict[str, int]]]:
    """Return wrong counts of a text with an `A` and two `a`: each with what is wrong in it."""
    right = letters(text)
    return [
        ("one `a` less", {**right, "a": right["a"] - 1}),
        ("one `a` more", {**right, "a": right["a"] + 1}),
        ("no `a` at all", {key: count for key, count in right.items() if key != "a"}),
        ("a `Q` that is not there", {**right, "Q": 1}),
        ("no blanks", {key: count for key, count in right.items() if key != " "}),
        (
            "`A` counted as `a`",
            {
                key: count + (right["A"] if key == "a" else 0)
                for key, count in right.items()
                if key != "A"
            },
        ),
    ]


@case(
    rules=["R-MSG-3"],
    level="seed",
    title="counts that differ are answered with `confirm` false, and the talk goes on",
)
def refuses_counts_that_differ(context: ClientContext) -> None:
    context.log_in()
    kinds = len(wrong_counts("A aa"))
    for kind in range(kinds):
        text = f"A {context.text()} aa"
        message = open_message(context, text)
        words, counts = wrong_counts(text)[kind]
        packet = count_message(context, message, counts)
        context.check(
            value(packet, "confirm") is False,
            f"`confirm` false, since the server counted {words}",
            shown(packet),
        )
        context.send(*context.default_server.answer(packet))
    context.fence()


@case(
    rules=["R-MSG-1", "R-FRAME-1"],
    level="seed",
    title="every code point of a sent text counts: accents, other scripts, emoji",
)
def counts_code_points_of_its_own(context: ClientContext) -> None:
    context.log_in()
    plain = context.text(1)
    for text in (
        plain,
        f"Zoë {context.text(1)} naïve",
        f"e\u0301 and é {context.text(1)}",
        f"{context.text(1)} 👍👍🏽 日本語 Привет",
    ):
        with context.given("a message that is sent") if text is plain else contextlib.nullcontext():
            message = open_message(context, text)
        packet = count_message(context, message)
        context.check(
            value(packet, "confirm") is True,
            f"`confirm` true for the counts of {text}: {shown(letters(text))}",
            shown(packet),
        )
        context.send(*context.default_server.answer(packet))


@case(
    rules=["R-ERR-7"],
    level="seed",
    title="a message that the server answers with `error` ends nothing: the next one goes out, "
    "and its counts are confirmed",
)
def lives_on_after_an_error(context: ClientContext) -> None:
    sound(context, hears=False)
    with context.given("a message that is sent"):
        message = open_message(context, context.text())
    context.send(context.default_server.error(message, "room_not_found", "There is no such room."))
    packet = count_message(context, open_message(context, context.text()))
    context.check(
        value(packet, "confirm") is True,
        "`confirm` true: these are the counts of the second message, the first one is over",
        shown(packet),
    )


@case(
    rules=["R-MSG-3"],
    level="seed",
    title="two lines that are typed at once are two messages: both go out, and the counts of both "
    "are confirmed",
)
def sends_two_lines_at_once(context: ClientContext) -> None:
    context.log_in()
    texts = [f"{number} {context.text()}" for number in ("first", "second")]
    say = context.setting.driver.say
    context.type_line("\n".join(fill(say, {"text": text}) for text in texts))
    deadline, pause = time.monotonic() + context.setting.timeout, threading.Event()
    missing, confirmed = texts, context.default_server.confirmed
    pause.wait(TOGETHER_SECONDS)  # so that the second is mostly sent before the first is answered
    while (missing or len(confirmed) < len(texts)) and time.monotonic() < deadline:
        context.answer_all()
        pause.wait(PAUSE_SECONDS)
        sent = list(context.default_server.sent.values())
        missing = [text for text in texts if not any(said(packet, text) for packet in sent)]
    context.check(
        not missing,
        "`send_message` with both lines that were typed at once",
        f"none came with {shown(missing)}",
    )
    context.check(
        len(confirmed) == len(texts) and all(confirmed.values()),
        "`confirm_count` with `confirm` true for both: the counts agree",
        f"`confirm` {shown(list(confirmed.values()))}",
    )


@case(
    rules=["R-MSG-3"],
    level="seed",
    title="blanks between typed words are sent as they were typed",
)
def keeps_typed_blanks(context: ClientContext) -> None:
    context.log_in()
    message = open_message(context, f"two  blanks   and {context.text()}")
    packet = count_message(context, message)
    context.send(*context.default_server.answer(packet))
