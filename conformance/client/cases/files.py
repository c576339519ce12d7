"""Cases about clients: sending and fetching files."""

from __future__ import annotations

import base64
import binascii
import contextlib
import threading
from typing import Final

from conformance.client.cases.steps import (
    TWO_CHUNKS,
    ask_for_file,
    check_fetched,
    download,
    sound,
    sound_upload,
    upload,
)
from conformance.client.context import (
    ClientContext,
)
from conformance.client.registry import case
from conformance.endings import Failed
from conformance.packets import Packet, shown, value

MULTIPLE = 786_432
"""Bytes: 3 * 2**18, so a multiple of 1,024 as of 262,144."""
TOGETHER_SECONDS: Final = 0.1


@case(rules=["R-FILE-1"], level="seed", title="a file is sent whole: init, every chunk, fin")
def sends_a_file(context: ClientContext) -> None:
    context.log_in()
    done, content, _ = upload(context, TWO_CHUNKS)
    actual = done.content()
    context.check(
        actual == content,
        f"the {len(content)} bytes of the file",
        f"{len(actual)} bytes, which are not those of the file",
    )


@case(
    rules=["R-FILE-2"],
    level="seed",
    title="chunks are numbered from 1 (or from 0, in all of an upload)",
)
def numbers_chunks(context: ClientContext) -> None:
    context.log_in()
    with context.given("an upload"):
        done, _, _ = upload(context, TWO_CHUNKS)
        context.check(bool(done.numbers), "chunks that can be read", "none came")
    first = done.numbers[0]
    expected = list(range(first, first + len(set(done.numbers))))
    context.check(
        first in (0, 1), "`sequence_number` 1 (or 0) for the first chunk", f"it is {first}"
    )
    context.check(
        sorted(set(done.numbers)) == expected,
        f"the numbers {first} to {expected[-1]}",
        f"the numbers {done.numbers[:20]}",
    )


@case(
    rules=["R-FILE-3"],
    level="seed",
    title="all chunks but the last have one size, at most 262,144 bytes",
)
def keeps_one_chunk_size(context: ClientContext) -> None:
    context.log_in()
    with context.given("an upload"):
        done, _, _ = upload(context, TWO_CHUNKS)
    sizes = [len(done.chunks[number]) for number in sorted(done.chunks)]
    context.check(
        len(set(sizes[:-1])) <= 1 and all(size <= sizes[0] for size in sizes),
        "chunks of one size, the last at most as large",
        f"chunks of {sizes[:20]} bytes",
    )
    context.check(
        max(sizes, default=0) <= 262_144,
        "at most 262,144 bytes in a chunk",
        f"a chunk of {max(sizes, default=0)} bytes",
    )


@case(
    rules=["R-FILE-4"],
    level="seed",
    title="`file_size` and `total_packets` fit the chunks, in init and fin",
)
def tells_the_right_numbers(context: ClientContext) -> None:
    context.log_in()
    with context.given("an upload"):
        done, content, chunks = upload(context, TWO_CHUNKS)
    context.check(
        done.size == len(content), f"`file_size` {len(content)}", f"it is {shown(done.size)}"
    )
    count = len(
        {
            value(chunk, "sequence_number")
            for chunk in chunks
            if isinstance(value(chunk, "sequence_number"), int)
        }
    )
    context.check(
        done.total == count,
        f"`total_packets` {count} in `file_send_init`, as many as chunks came",
        f"it is {shown(done.total)}",
    )
    context.check(
        done.announced == count,
        f"`total_packets` {count} in `file_send_fin`",
        f"it is {shown(done.announced)}",
    )


@case(
    rules=["R-FILE-5"], level="seed", title="chunks are base64 with padding and without line breaks"
)
def sends_base64(context: ClientContext) -> None:
    context.log_in()
    chunks: list[Packet] = []
    with context.given("an upload"):
        _, _, chunks = upload(context, 10_000)
    for chunk in chunks:
        text = value(chunk, "file_data")
        try:
            decoded = base64.b64decode(text.encode("ascii"), validate=True)
            right = base64.b64encode(decoded).decode() == text
        except (binascii.Error, ValueError, AttributeError):
            right = False
        context.check(right, "`file_data` in base64 (RFC 4648, section 4)", shown(chunk))


@case(rules=["R-FILE-7"], level="seed", title="an empty file is sent without a data packet")
def sends_an_empty_file(context: ClientContext) -> None:
    context.log_in()
    done, _, chunks = upload(context, 0)
    context.check(
        not chunks, "no `file_send_data`", f"{len(chunks)} of them, the first {shown(chunks[:1])}"
    )
    context.check(
        (done.size, done.total) == (0, 0),
        "`file_size` 0 and `total_packets` 0",
        f"{shown(done.size)} and {shown(done.total)}",
    )


@case(
    rules=["R-FILE-19"],
    level="seed",
    title="a file of several chunks is fetched and lies on disk as it was sent",
)
def fetches_a_file(context: ClientContext) -> None:
    context.log_in()
    download(context, context.content(20_000))


@case(
    rules=["R-FILE-4"],
    level="seed",
    title="a file that is a multiple of the chunk size has no empty chunk at its end",
)
def sends_a_multiple_of_its_chunk(context: ClientContext) -> None:
    context.log_in()
    done, content, chunks = upload(context, MULTIPLE)
    size = max(map(len, done.chunks.values()), default=0)
    if size and MULTIPLE % size:
        done, content, chunks = upload(context, 2 * size)
    context.check(
        done.total == len(chunks) and all(done.chunks.values()),
        f"`total_packets` as many as the chunks of {len(content)} bytes, none of them empty",
        f"it is {shown(done.total)}, and {len(chunks)} chunks came",
    )


@case(
    rules=["R-FILE-17"],
    level="seed",
    title="a file whose name has `../` in it is not written outside of the folder for files",
)
def stays_in_its_folder(context: ClientContext) -> None:
    context.log_in()
    with context.given("a fetched file"):
        download(context, context.content(100))
    _fetched_as(context, "outside.bin", "../outside.bin")


@case(
    rules=["R-FILE-17"],
    level="seed",
    title="a file whose name is a whole path is not written outside of the folder for files",
)
def no_whole_path(context: ClientContext) -> None:
    # A case of its own: a client may wait for good for the file that it asked for by its name.
    context.log_in()
    with context.given("a fetched file"):
        download(context, context.content(100))
    _fetched_as(context, "whole.bin", str(context.folder / "whole.bin"))


def _fetched_as(context: ClientContext, name: str, path: str) -> None:
    """Give a file, in the answers, the name that leads out of the folder."""
    context.default_server.files[name] = context.content(100)
    context.type_line(context.setting.driver.get, name=name)
    packet = context.expect("file_down_req", where=lambda each: value(each, "file_path") == name)
    for answer in context.default_server.answer(packet):
        if value(answer, "file_path") is not None:
            answer = {**answer, "data": {**answer["data"], "file_path": path}}
        context.send(answer)
    context.fence()
    context.check(
        not (context.folder / name).exists(),
        f"nothing outside of the folder for a file called {path}",
        "the file lies beside that folder",
    )


@case(
    rules=["R-ERR-7"],
    level="seed",
    title="a file that can't be fetched ends nothing: the next one is fetched",
)
def fetches_after_an_error(context: ClientContext) -> None:
    context.log_in()
    with context.given("a fetched file"):
        download(context, context.content(100))
    name = ask_for_file(context, context.content(100))
    with context.given("`file_down_req`"):
        packet = context.expect(
            "file_down_req", where=lambda each: value(each, "file_path") == name
        )
    del context.default_server.files[name]
    context.send(context.default_server.error(packet, "file_not_found", "There is no such file."))
    download(context, context.content(100))


@case(
    rules=["R-FILE-19"],
    level="full",
    title="a file that was fetched before and has changed is fetched as it is now",
)
def fetches_the_newest_version(context: ClientContext) -> None:
    context.log_in()
    old, new = context.content(9_000), context.content(4_000)
    name = ask_for_file(context, old)
    assert context.program is not None
    with context.given("a fetched file"):
        context.send(*context.default_server.answer(context.expect("file_down_req")))
        problem = context.program.find_file(name, old, context.setting.timeout, context.answer_all)
        context.check(not problem, "a fetched file", problem)
    context.default_server.files[name] = new
    context.type_line(context.setting.driver.get, name=name)
    with contextlib.suppress(Failed):
        context.send(*context.default_server.answer(context.expect("file_down_req")))
        problem = context.program.find_file("*", new, context.setting.timeout, context.answer_all)
        if not problem:
            return
    problem = context.program.find_file(name, old, 0.0, context.answer_all)
    context.check(not problem, f"a file with the {len(new)} bytes of the newest version", problem)
    context.not_offered(
        "a second file of the same name", "the client keeps the first, which it may"
    )


@case(
    rules=["R-FILE-20"],
    level="full",
    title="two files that are asked for at once are both fetched",
)
def fetches_two_at_once(context: ClientContext) -> None:
    context.log_in()
    with context.given("a file of several chunks that is fetched"):
        download(context, context.content(7_000))
    contents = [context.content(7_000), context.content(5_000)]
    names = [ask_for_file(context, content) for content in contents]
    threading.Event().wait(TOGETHER_SECONDS)  # so that both are mostly asked for already
    for name, content in zip(names, contents, strict=True):
        check_fetched(context, name, content)


@case(
    rules=["R-ORDER-8"],
    level="full",
    title="messages that come in the middle of an upload are answered",
)
def chats_while_sending(context: ClientContext) -> None:
    sound(context, sends=False)
    sound_upload(context)
    path = context.make_file(TWO_CHUNKS)
    context.type_line(context.setting.driver.send, file=str(path), name=path.name)
    with context.given("an upload that begins"):
        packet = context.expect("file_send_init")
    messages = [context.default_server.message(context.text(1)) for _ in range(3)]
    context.send(messages[0], *context.default_server.answer(packet), messages[1])
    with context.given("a chunk of the upload"):
        packet = context.expect("file_send_data")
    context.send(messages[2], *context.default_server.answer(packet))
    uploads, acks = context.default_server.uploads, context.default_server.acks
    context.settle(
        lambda: (
            all(message["data"]["transaction_id"] in acks for message in messages)
            and any(each.content() == path.read_bytes() for each in uploads.values())
        ),
        "the whole file, and an `ack` for each message",
    )
