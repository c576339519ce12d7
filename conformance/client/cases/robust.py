"""Cases about clients: frames in pieces, long messages, strange characters, large frames."""

from __future__ import annotations

from typing import Final

from conformance.client.cases.steps import (
    TWO_CHUNKS,
    answers_all,
    check_counts,
    download,
    hear_counts,
    hear_one,
    sound,
)
from conformance.client.context import ClientContext
from conformance.client.delivering import deliver_in_pieces, deliver_together
from conformance.client.registry import case

VERY_MANY: Final = 100


@case(
    rules=["R-FRAME-2"],
    level="robust",
    title="frames are understood in small pieces: the length byte by byte, the text cut anywhere",
)
def understands_pieces(context: ClientContext) -> None:
    content = f"{context.text(1)} 👍🏽 ëëë 日本語"
    sound(context, content)
    context.deliver = deliver_in_pieces
    hear_one(context, content)
    message = context.default_server.message(content)
    assert context.peer is not None
    context.peer.send_bytewise(message)
    check_counts(context, hear_counts(context, message), content)
    context.fence()


@case(
    rules=["R-FRAME-2"],
    level="robust",
    title="the very first frames are understood in small pieces, too",
)
def logs_in_by_pieces(context: ClientContext) -> None:
    context.deliver = deliver_in_pieces
    context.log_in()
    context.fence()


@case(
    rules=["R-FRAME-2"],
    level="robust",
    title="frames are understood when several come in one piece, and the last of them only in half",
)
def understands_joined_frames(context: ClientContext) -> None:
    sound(context)
    context.deliver = deliver_together
    messages = [context.default_server.message(context.text(1)) for _ in range(5)]
    assert context.peer is not None
    context.peer.send_cut(messages, 40)
    keys = [message["data"]["transaction_id"] for message in messages]
    context.settle(
        lambda: all(key in context.default_server.acks for key in keys),
        "an `ack` for each of 5 messages that came in one piece",
    )
    context.fence()


@case(
    rules=["R-MSG-16", "R-MSG-17"],
    level="robust",
    title=f"{VERY_MANY} messages in one piece are all counted and acknowledged",
)
def answers_very_many_messages(context: ClientContext) -> None:
    context.log_in()
    answers_all(context, VERY_MANY, together=True)


@case(rules=["R-MSG-13"], level="robust", title="a message of 16 KiB is counted like any other")
def counts_a_long_message(context: ClientContext) -> None:
    content = "".join(context.text(1) for _ in range(2_000))[:16_384]
    sound(context, content[-100:], sends=False)
    message = context.default_server.message(content)
    context.send(message)
    check_counts(context, hear_counts(context, message), content)


@case(
    rules=["R-MSG-1"],
    level="robust",
    title="control characters, line ends, quotes and invisible characters count like all others",
)
def counts_strange_characters(context: ClientContext) -> None:
    context.log_in()
    for content in (
        "\x1b[2J\x1b[31mred\x07",
        'quote " and \\ and / \b\t',
        "line\nline\r\nend\n",
        "\u202eabc\u200b\u2028\ufeff",
        " ",
        "\ud7ff\ue000\uffff\U0010ffff",
    ):
        message = context.default_server.message(content)
        context.send(message)
        with context.given("`character_count` for a received message"):
            packet = hear_counts(context, message)
        check_counts(context, packet, content)
        context.send(*context.default_server.answer(packet))


@case(
    rules=["R-FRAME-3"],
    level="robust",
    title="a frame as large as a chunk of 262,144 bytes needs is taken",
)
def takes_large_frames(context: ClientContext) -> None:
    context.log_in()
    with context.given("a file of several chunks that is fetched"):
        download(context, context.content(10_000))
    context.default_server.chunk_bytes = 262_144
    download(context, context.content(TWO_CHUNKS))


@case(rules=["R-FILE-7"], level="robust", title="an empty file is fetched: it lies there, empty")
def fetches_an_empty_file(context: ClientContext) -> None:
    context.log_in()
    with context.given("a small file that is fetched"):
        download(context, context.content(100))
    download(context, b"")
