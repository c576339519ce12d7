"""Cases for the chapter Files: a file that is sent whole, chunk by chunk."""

from __future__ import annotations

import base64
import hashlib

from conformance.server.cases.files.steps import CHUNK_LIMIT, fetch, same_bytes
from conformance.server.cases.steps import (
    Upload,
    download,
    in_room,
    uploaded,
)
from conformance.server.context import ServerContext
from conformance.server.registry import case


@case(
    rules=["R-FILE-1", "R-FILE-19"], title="a file that is sent in chunks comes back byte for byte"
)
def there_and_back(context: ServerContext) -> None:
    sender, reader = context.users(2)
    room, content = (
        context.room_id("Room"),
        context.random.randbytes(context.random.randrange(3500, 4500)),
    )
    upload = Upload(context, sender, room, "data.bin", content)
    opened = upload.begin()
    for key, value in (("room_id", room), ("file_path", "data.bin"), ("chat_id", sender.chatid)):
        context.equal(
            context.get(opened, f"data.{key}", str), value, f"`{key}` of `file_send_init`"
        )
    upload.send()
    finished = upload.finish()
    context.equal(
        context.get(finished, "data.file_path", str), "data.bin", "`file_path` of `file_send_fin`"
    )
    fetch(context, reader, room, "data.bin", content)


@case(rules=["R-FILE-1"], title="each chunk may wait for the answer to the one before")
def one_chunk_at_a_time(context: ServerContext) -> None:
    sender = context.user()
    room, content = context.room_id(), context.random.randbytes(1234)
    upload = Upload(context, sender, room, "slowly.bin", content, chunk=500)
    upload.begin()
    for place in range(upload.total):
        upload.send(place)
    upload.finish()
    fetch(context, sender, room, "slowly.bin", content)


@case(rules=["R-FILE-2"], title="chunks may be counted from 0 as well as from 1")
def counted_from_zero(context: ServerContext) -> None:
    sender, reader = context.users(2)
    room, content = context.room_id(), context.random.randbytes(3100)
    upload = Upload(context, sender, room, "zero.bin", content, first=0)
    upload.run()
    fetch(context, reader, room, "zero.bin", content, "R-FILE-2")


@case(
    rules=["R-FILE-2"],
    level="full",
    title="a chunk with a number outside of the range is refused and does no harm",
)
def numbers_out_of_range(context: ServerContext) -> None:
    sender = context.user()
    room = context.room_id()
    for first, wrong in ((1, [0, 4, -1]), (0, [3, 4, -1])):
        content = context.random.randbytes(2500)
        upload = Upload(context, sender, room, f"from{first}.bin", content, first=first)
        upload.begin()
        upload.send(0)
        for number in wrong:
            reply = sender.request("file_send_data", {**upload.piece(0), "sequence_number": number})
            context.refused(reply, "bad_packet", original="file_send_data")
        upload.send(1, 2)
        upload.finish()
        fetch(context, sender, room, f"from{first}.bin", content, "R-FILE-2")


@case(
    rules=["R-FILE-3"],
    level="full",
    title="a chunk holds up to 262,144 bytes, and one byte more is refused",
)
def largest_chunk(context: ServerContext) -> None:
    sender = context.user()
    room, content = context.room_id(), context.random.randbytes(CHUNK_LIMIT + 1)
    limits = sender.login_success.get("data", {}).get("limits")
    most = limits.get("max_chunk", CHUNK_LIMIT) if isinstance(limits, dict) else CHUNK_LIMIT
    most = most if isinstance(most, int) and 0 < most <= CHUNK_LIMIT else CHUNK_LIMIT
    Upload(context, sender, room, "large.bin", content, chunk=most).run()
    fetch(context, sender, room, "large.bin", content)
    over = Upload(context, sender, room, "over.bin", content + content, chunk=most + 1)
    if sender.request("file_send_init", over.init()).get("action") == "file_send_init":
        context.refused(
            sender.request("file_send_data", over.piece(0)), "bad_packet", original="file_send_data"
        )


@case(
    rules=["R-FILE-3"],
    level="full",
    title="the first data packet says the chunk size, so it can't be the last one, shorter or not",
)
def first_packet_says_the_size(context: ServerContext) -> None:
    sender = context.user()
    room = context.room_id()
    for size in (2500, 3000):
        content, name = context.random.randbytes(size), f"order of {size}.bin"
        upload = Upload(context, sender, room, name, content)
        upload.begin()
        context.refused(
            sender.request("file_send_data", upload.piece(2)),
            "bad_packet",
            original="file_send_data",
        )
        upload.send(1, 0, 2)
        upload.finish()
        fetch(context, sender, room, name, content)


@case(
    rules=["R-FILE-3"],
    level="full",
    offers="chunk_size",
    title="with `chunk_size` in `file_send_init` the last chunk may come first",
)
def chunk_size_given(context: ServerContext) -> None:
    sender = context.user()
    room, content = context.room_id(), context.random.randbytes(2500)
    upload = Upload(context, sender, room, "order.bin", content)
    upload.begin(chunk_size=upload.chunk)
    upload.send(2, 1, 0)
    upload.finish()
    fetch(context, sender, room, "order.bin", content)


@case(
    rules=["R-FILE-4"], level="full", title="a chunk of a wrong size is refused and changes nothing"
)
def chunk_of_a_wrong_size(context: ServerContext) -> None:
    sender = context.user()
    room, content = context.room_id(), context.random.randbytes(2500)
    upload = Upload(context, sender, room, "sizes.bin", content)
    upload.begin()
    upload.send(0, 1, 2)
    for number, size in ((2, 999), (2, 1001), (3, 501), (3, 499), (2, 0)):
        data = base64.b64encode(b"x" * size).decode("ascii")
        reply = sender.request(
            "file_send_data", {**upload.piece(0), "sequence_number": number, "file_data": data}
        )
        context.refused(reply, "bad_packet", original="file_send_data")
    context.refused(
        sender.request("file_send_fin", {**upload.fin(), "total_packets": 4}),
        "bad_packet",
        original="file_send_fin",
    )
    upload.finish()
    fetch(context, sender, room, "sizes.bin", content, "R-FILE-4")


@case(
    rules=["R-FILE-4"],
    level="full",
    title="a `file_send_init` whose numbers can't fit together is refused",
)
def numbers_that_do_not_fit(context: ServerContext) -> None:
    sender = context.user()
    upload = Upload(context, sender, context.room_id(), "misfit.bin", b"x")
    for size, total in ((10, 0), (0, 1), (3, 5), (1_000_000, 1)):
        reply = sender.request("file_send_init", upload.init(file_size=size, total_packets=total))
        context.refused(reply, "bad_packet", original="file_send_init")


@case(
    rules=["R-FILE-5"], level="full", title="`file_data` that is no base64 with padding is refused"
)
def base64_as_it_should_be(context: ServerContext) -> None:
    sender = context.user()
    room, content = context.room_id(), b"\xfb\xff" + context.random.randbytes(98)
    upload = Upload(context, sender, room, "base.bin", content, chunk=100)
    upload.begin()
    right = base64.b64encode(content).decode("ascii")
    wrong = {
        "no padding": right.rstrip("="),
        "a line feed in it": f"{right[:76]}\n{right[76:]}",
        "the URL alphabet": base64.urlsafe_b64encode(content).decode("ascii"),
        "a blank before it": f" {right}",
        "no base64 at all": "!" * len(right),
        "a letter too many": right + "A",
    }
    for what, text in wrong.items():
        context.transcript.note(what)
        reply = sender.request("file_send_data", {**upload.piece(0), "file_data": text})
        context.refused(reply, "bad_packet", original="file_send_data")
    upload.send()
    upload.finish()
    fetch(context, sender, room, "base.bin", content, "R-FILE-5")


@case(
    rules=["R-FILE-6"],
    title="after the first, chunks may come in any order and more than once; the later counts",
)
def any_order(context: ServerContext) -> None:
    sender, reader = context.users(2)
    room, content = context.room_id(), context.random.randbytes(6500)
    upload = Upload(context, sender, room, "shuffled.bin", content)
    spoiled = Upload(context, sender, room, "shuffled.bin", b"?" * len(content))
    order = list(range(1, upload.total))
    context.random.shuffle(order)
    upload.begin()
    upload.send(0)
    spoiled.send(3)
    upload.send(*order, 0)
    upload.finish()
    fetch(context, reader, room, "shuffled.bin", content, "R-FILE-6")
    upload = Upload(context, sender, room, "begun anew.bin", content[:2500])
    spoiled = Upload(context, sender, room, "begun anew.bin", b"?" * 2500)
    upload.begin()
    spoiled.send(0)
    upload.send()
    upload.finish()
    fetch(context, reader, room, "begun anew.bin", upload.content, "R-FILE-6")


@case(
    rules=["R-FILE-12"],
    level="full",
    offers="sha256",
    title="`sha256` is that of the whole file, whose chunks came in another order, one of them "
    "twice",
)
def digest_in_any_order(context: ServerContext) -> None:
    sender, room, content = context.user(), context.room_id(), context.random.randbytes(2500)
    upload = Upload(context, sender, room, "other order.bin", content)
    upload.begin()
    upload.send(0, 2, 0, 1)
    actual = context.get(upload.finish(), "data.sha256", str).lower()
    context.equal(actual, hashlib.sha256(content).hexdigest(), "`sha256`")


@case(rules=["R-FILE-7"], title="an empty file has no data packet, neither up nor down")
def empty_file(context: ServerContext) -> None:
    sender, reader = context.users(2)
    room = context.room_id()
    Upload(context, sender, room, "empty.txt", b"").run()
    told = reader.wire.receive_where(
        lambda packet: packet.get("action") == "receive_file" and bool(in_room([packet], room)),
        "`receive_file`",
    )
    context.equal(context.get(told, "data.file_size", int), 0, "`file_size` of `receive_file`")
    actual = download(context, reader, room, "empty.txt")
    context.equal(actual.numbers, [], "the numbers of the chunks")
    context.equal(
        context.get(actual.meta, "data.total_packets", int),
        0,
        "`total_packets` of `file_down_meta`",
    )
    context.equal(
        context.get(actual.meta, "data.file_size", int), 0, "`file_size` of `file_down_meta`"
    )


@case(rules=["R-FILE-8"], title="each `file_send_data` is answered with its own number")
def each_chunk_is_answered(context: ServerContext) -> None:
    sender = context.user()
    room = context.room_id()
    upload = Upload(context, sender, room, "answers.bin", context.random.randbytes(2500))
    upload.begin()
    for place in (0, 2, 1):
        reply = sender.ask("file_send_data", upload.piece(place))
        context.equal(reply.get("status"), "success", "`status` of the answer")
        for key, value in (
            ("sequence_number", place + 1),
            ("file_path", "answers.bin"),
            ("room_id", room),
            ("chat_id", sender.chatid),
        ):
            context.equal(
                context.get(reply, f"data.{key}", type(value)), value, f"`{key}` of the answer"
            )


@case(
    rules=["R-FILE-1"],
    title="a file of more than 256 chunks comes back byte for byte",
)
def many_chunks(context: ServerContext) -> None:
    user, room, content = context.user(), context.room_id(), context.random.randbytes(300 * 7 - 3)
    upload = Upload(context, user, room, "many.bin", content, chunk=7)
    upload.begin()
    upload.send()
    upload.finish()
    fetch(context, user, room, "many.bin", content, "R-FILE-1")


@case(
    rules=["R-FILE-19"],
    title="a file that is a multiple of the chunk has no empty chunk at its end, up and down",
)
def multiple_of_the_chunk(context: ServerContext) -> None:
    user, room = context.user(), context.room_id()

    def there_and_back_of(size: int, chunk: int) -> int:
        """Return the size of the largest chunk that came."""
        content, name = context.random.randbytes(size), f"{size}.bin"
        uploaded(context, user, room, name, content, chunk)
        came = download(context, user, room, name)
        same_bytes(context, came.content, content)
        context.equal(
            context.get(came.meta, "data.total_packets", int),
            len(came.parts),
            "`total_packets`, of as many chunks as came",
        )
        context.check(all(came.parts), "no empty chunk", f"chunks of {list(map(len, came.parts))}")
        return max(map(len, came.parts), default=1)

    sizes = [there_and_back_of(*each) for each in ((4000, 1000), (524_288, 131_072), (1, 1))]
    if 524_288 % max(sizes):
        there_and_back_of(2 * max(sizes), 131_072)


@case(
    rules=["R-ACC-8"],
    level="full",
    title="rooms whose ids look like paths keep their files apart",
)
def rooms_like_paths(context: ServerContext) -> None:
    user, stem = context.user(), context.room_id()
    ends = ("/a/../x", "/x", "x", ":x", "_x", "-x")
    ids = (*(f"{stem}{end}" for end in ends), f"../{stem}", f"C:\\{stem}")
    files = {room: context.random.randbytes(20) for room in ids}
    for room, content in files.items():
        with context.rule("R-ACC-8"):
            Upload(context, user, room, "same.bin", content).run()
    for room, content in files.items():
        fetch(context, user, room, "same.bin", content, "R-ACC-8")
