"""Cases about clients: frames in pieces, long messages, strange characters, large frames."""

from __future__ import annotations

import threading
from typing import Final

from conformance.client.cases.steps import (
    TWO_CHUNKS,
    answers_all,
    check_counts,
    confirm,
    download,
    hear_counts,
    hear_one,
    sound,
)
from conformance.client.context import ClientContext
from conformance.client.delivering import deliver_escaped, deliver_in_pieces, deliver_together
from conformance.client.registry import case

VERY_MANY: Final = 100
SLOW_SECONDS: Final = 0.15
"""Twice so long the server reads nothing."""


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


@case(
    rules=["R-MSG-13"],
    level="robust",
    title="a message of 16 KiB, or of 5,000 different letters, is counted like any other",
)
def counts_a_long_message(context: ClientContext) -> None:
    content = "".join(context.text(1) for _ in range(2_000))[:16_384]
    sound(context, content[-100:], sends=False)
    many_letters = "".join(map(chr, range(0x4E00, 0x4E00 + 5_000)))  # at three bytes each
    with context.given("a message of a few such letters"):
        hear_one(context, many_letters[:50])
    for text in (content, many_letters):
        message = context.default_server.message(text)
        context.send(message)
        check_counts(context, hear_counts(context, message), text)


@case(
    rules=["R-MSG-1"],
    level="robust",
    title="control characters, line ends, quotes, invisible characters and what means something "
    "elsewhere count like all others",
)
def counts_strange_characters(context: ClientContext) -> None:
    sound(context, sends=False)
    for content in (
        "\x1b[2J\x1b[31mred\x07",
        'quote " and \\ and / \b\t',
        "line\nline\r\nend\n",
        "\u202eabc\u200b\u2028\ufeff",
        " ",
        "\ud7ff\ue000\uffff\U0010ffff",
        '{{ "action": "ack", "content": "x" ][',
        "/quit",
        "&lt;b&gt; %41+ %s%n {0} ${x} \\u0041",
    ):
        message = context.default_server.message(content)
        context.send(message)
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


@case(
    rules=["R-FRAME-1"],
    level="robust",
    title="JSON is understood however it is written: escapes, blanks, line breaks, keys in another "
    "order",
)
def understands_json_however_written(context: ClientContext) -> None:
    content = f'{context.text(1)} é 👍🏽 a/b "c" \\ \b\f\t'
    sound(context)
    with context.given("the same message, plainly written"):  # its letters are another rule
        hear_one(context, content)
    context.deliver = deliver_escaped
    hear_one(context, content)
    context.fence()


@case(
    rules=["R-MSG-16"],
    level="robust",
    title="the `transaction_id` of a message comes back as it was: 64 characters of any kind",
)
def keeps_transaction_ids(context: ClientContext) -> None:
    sound(context, sends=False)
    for key in ("T-" + "aB9_" * 15 + ".x", "0017", "two words/é"):
        text = context.text(1)
        message = context.default_server.message(text, transaction_id=key)
        context.default_server.delivered[key] = text
        context.send(message)
        check_counts(context, hear_counts(context, message), text)
        context.default_server.answer(confirm(context, message, True))


@case(
    rules=["R-ORDER-3"],
    level="robust",
    title="a `message_id` that needs more than 32 bits is a number like any other",
)
def takes_large_numbers(context: ClientContext) -> None:
    sound(context)
    context.default_server.skip_numbers(2**52)
    for _ in range(2):
        hear_one(context, context.text(1))
        context.fence()


@case(
    rules=["R-FRAME-1"],
    level="robust",
    title="frames stay whole while the server reads nothing for a moment: an upload, and answers "
    "to the messages that come meanwhile",
)
def writes_whole_frames(context: ClientContext) -> None:
    context.server.narrow()
    peer = context.log_in()
    sound(context)
    path, pause = context.make_file(TWO_CHUNKS), threading.Event()
    with context.given("an upload that begins"):
        context.type_line(context.setting.driver.send, file=str(path), name=path.name)
        packet = context.expect("file_send_init")
    peer.pause_reading()
    context.send(*context.default_server.answer(packet))
    pause.wait(SLOW_SECONDS)
    context.send(*[context.default_server.message(context.text(1)) for _ in range(3)])
    pause.wait(SLOW_SECONDS)
    peer.resume_reading()
    context.settle(
        lambda: any(
            upload.announced is not None for upload in context.default_server.uploads.values()
        ),
        "`file_send_fin`",
    )
    context.fence()
