"""Steps that cases of several chapters take: a message there and back, a file up and down.

Owns no case. One thread runs a case, and so these.
"""

from __future__ import annotations

import contextlib
from typing import Final

from conformance.client.context import (
    ClientContext,
    agrees,
    said,
)
from conformance.client.default_server import Upload
from conformance.endings import NotReached
from conformance.packets import Packet, key_of, letters, shown, value

TWO_CHUNKS: Final = 300_007
"""More than one chunk may hold, so that every client needs several; a prime, so that the last is
never full."""


def open_message(context: ClientContext, text: str) -> Packet:
    """Let the user type a text; return its `send_message`, which is not answered yet."""
    context.say(text)
    return context.expect(
        "send_message",
        where=lambda each: said(each, text),
        what=f"`send_message` with what was typed: {shown(text)}",
    )


def count_message(
    context: ClientContext, message: Packet, counts: dict[str, int] | None = None
) -> Packet:
    """Tell the client these counts for its message; its `confirm_count`, to which no answer went
    yet."""
    reply = context.default_server.counts(message, counts)
    context.send(reply)
    key = reply["data"]["transaction_id"]
    packet = context.expect(
        "confirm_count",
        where=lambda each: key_of(each) == key,
        what=f"`confirm_count` for transaction {key}",
    )
    return packet


def hear_counts(context: ClientContext, message: Packet) -> Packet:
    """Wait for the `character_count` of a delivered message; it is not answered yet."""
    key = message["data"]["transaction_id"]
    return context.expect(
        "character_count",
        where=lambda each: key_of(each) == key,
        what=f"`character_count` for transaction {key}",
    )


def confirm(context: ClientContext, message: Packet, holds: bool) -> Packet:
    """Tell the client whether its counts are right; its `ack`."""
    key = message["data"]["transaction_id"]
    context.send(context.default_server.confirmation(key, holds))
    return context.expect(
        "ack", where=lambda each: key_of(each) == key, what=f"`ack` for transaction {key}"
    )


def check_counts(context: ClientContext, packet: Packet, content: str, rule: str = "") -> None:
    """Fail unless the client counted these letters."""
    context.check(
        agrees(packet, content),
        f"the counts of {shown(content)}: {shown(letters(content))}",
        shown(packet),
        rule,
    )


def upload(context: ClientContext, size: int) -> tuple[Upload, bytes, list[Packet]]:
    """Let the user send a file; return the upload, the file's content, and the packets with its
    chunks."""
    path = context.make_file(size)
    context.type_line(context.setting.driver.send, file=str(path), name=path.name)
    context.send(*context.default_server.answer(context.expect("file_send_init")))
    chunks: list[Packet] = []
    while True:
        packet = context.expect(
            "file_send_data", "file_send_fin", what="`file_send_data` or `file_send_fin`"
        )
        context.send(*context.default_server.answer(packet))
        if packet["action"] == "file_send_fin":
            break
        chunks.append(packet)
    uploads = list(context.default_server.uploads.values())
    context.check(bool(uploads), "an upload that is not cancelled", "it was cancelled")
    return uploads[-1], path.read_bytes(), chunks


def sound_upload(context: ClientContext) -> None:
    """Check first that the client sends a file as it should. A precondition."""
    with context.given("an upload in which everything is right"):
        done, content, _ = upload(context, TWO_CHUNKS)
        context.check(
            done.content() == content and done.total == len(done.chunks) and min(done.chunks) < 2,
            "the whole file",
            "another",
        )


def download(context: ClientContext, content: bytes) -> None:
    """Let the user fetch a file; fail unless it lies on disk with this content."""
    name = ask_for_file(context, content)
    packet = context.expect("file_down_req", where=lambda each: value(each, "file_path") == name)
    context.send(*context.default_server.answer(packet))
    check_fetched(context, name, content)


def ask_for_file(context: ClientContext, content: bytes) -> str:
    """Put a file into the room and let the user fetch it; its name."""
    name = context.make_file(0).name
    context.default_server.files[name] = content
    context.type_line(context.setting.driver.get, name=name)
    return name


def check_fetched(context: ClientContext, name: str, content: bytes) -> None:
    """Fail unless a fetched file lies on disk with this content."""
    assert context.program is not None
    problem = context.program.find_file(name, content, context.setting.timeout, context.answer_all)
    context.program.remove_files(name)
    context.check(
        not problem, f"a file {name} with the {len(content)} bytes that were sent", problem
    )


def sound(
    context: ClientContext, content: str = "", *, sends: bool = True, hears: bool = True
) -> None:
    """Check first that the client logs in, sends a message and answers one (with this content).

    A precondition, when nothing is out of the ordinary.
    """
    if context.peer is None:
        context.log_in()
    if sends:
        with context.given("a message that is sent and confirmed"):
            message = open_message(context, context.text(1))
            packet = count_message(context, message)
            context.check(
                value(packet, "confirm") is True,
                "`confirm` true, since the counts agree",
                shown(packet),
            )
            context.send(*context.default_server.answer(packet))
    if hears:
        with context.given("a message that is counted and acknowledged"):
            hear_one(context, content or context.text(1))


def hear_one(context: ClientContext, content: str) -> None:
    """Deliver a message to the end: its counts are right, and an `ack` follows."""
    message = context.default_server.message(content)
    context.send(message)
    check_counts(context, hear_counts(context, message), content)
    packet = confirm(context, message, True)
    context.default_server.answer(packet)
    context.check(packet.get("status") == "success", '`status` "success"', shown(packet))


def converse(context: ClientContext) -> None:
    """Have a conversation with one of each packet of a client, as far as this one gets.

    NOT REACHED where it does not even log in.
    """
    context.log_in()
    message = context.default_server.message(context.text())
    context.send(message)
    with contextlib.suppress(NotReached), context.given("an `ack` of a message"):
        context.settle(
            lambda: message["data"]["transaction_id"] in context.default_server.acks,
            "an `ack` of a message",
        )
    with contextlib.suppress(NotReached), context.given("a message that is sent and confirmed"):
        context.fence()
    with contextlib.suppress(NotReached), context.given("an upload"):
        upload(context, 100)
    with contextlib.suppress(NotReached), context.given("a small file that is fetched"):
        download(context, context.content(100))


def answers_all(context: ClientContext, count: int, together: bool) -> None:
    messages = [
        context.default_server.message(f"{context.text(1)}{number}") for number in range(count)
    ]
    if together:
        assert context.peer is not None
        context.peer.send(*messages)
    else:
        context.send(*messages)
    keys = {message["data"]["transaction_id"] for message in messages}
    context.settle(
        lambda: keys <= context.default_server.counted,
        f"`character_count` for all of {count} messages",
        lambda: f"{len(keys - context.default_server.counted)} were not counted",
    )
    with context.rule("R-MSG-17"):
        context.settle(
            lambda: keys <= context.default_server.acks.keys(),
            f"`ack` for all of {count} messages",
            lambda: f"{len(keys - context.default_server.acks.keys())} were not acknowledged",
        )
