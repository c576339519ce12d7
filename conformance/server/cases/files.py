"""Files: uploads in chunks, taken up again, versions and names, downloads beside the chat, lists,
limits."""

from __future__ import annotations

import base64
import hashlib
import socket
from collections.abc import Sequence
from typing import Any

from conformance.endings import NotOffered, NotReached
from conformance.packets import Packet, shown
from conformance.server.cases.steps import (
    Upload,
    another_session,
    download,
    files_of,
    in_room,
    private_room,
    take_download,
    uploaded,
)
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.user import User
from conformance.wire import Wire

CHUNK_LIMIT = 262_144
BIG_BYTES = 12 * CHUNK_LIMIT * 3
"""More than the buffers between two sockets take while nobody reads."""


def same_bytes(context: ServerContext, actual: bytes, sent: bytes, rule: str = "") -> None:
    """Fail unless a file came back as it was sent."""
    if actual != sent:
        place = next(
            (i for i, (a, b) in enumerate(zip(actual, sent)) if a != b), min(len(actual), len(sent))
        )
        context.fail(
            f"the {len(sent)} bytes that were sent",
            f"{len(actual)} bytes came, other from byte {place} on",
            rule,
        )


def fetch(
    context: ServerContext,
    user: User,
    room: str,
    name: str,
    content: bytes,
    rule: str = "R-FILE-19",
) -> None:
    """Download a file and compare it."""
    with context.rule(rule):
        same_bytes(context, download(context, user, room, name).content, content)


def ranges(context: ServerContext, reply: Packet) -> list[list[int]]:
    """`received` of a `file_send_init`."""
    return context.get(reply, "data.received", list)


# --- a whole file


@case(
    rules=["R-FILE-1", "R-FILE-19"], title="a file that is sent in chunks comes back byte for byte"
)
def there_and_back(context: ServerContext) -> None:
    sender, reader = context.users(2)
    room, content = (
        context.room_id(),
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
    title="the first data packet says the chunk size, so it can't be the shorter last one",
)
def first_packet_says_the_size(context: ServerContext) -> None:
    sender = context.user()
    room, content = context.room_id(), context.random.randbytes(2500)
    upload = Upload(context, sender, room, "order.bin", content)
    upload.begin()
    context.refused(
        sender.request("file_send_data", upload.piece(2)), "bad_packet", original="file_send_data"
    )
    upload.send(1, 0, 2)
    upload.finish()
    fetch(context, sender, room, "order.bin", content)


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


# --- unfinished uploads


@case(
    rules=["R-FILE-9"],
    level="full",
    title="`file_send_init` with another size replaces the upload that is open",
)
def replaced(context: ServerContext) -> None:
    sender = context.user()
    room, content = context.room_id(), context.random.randbytes(1800)
    old = Upload(context, sender, room, "again.bin", context.random.randbytes(2500))
    old.begin()
    old.send(0, 1)
    new = Upload(context, sender, room, "again.bin", content)
    new.begin()
    context.refused(
        sender.request("file_send_fin", new.fin()), "incomplete_file", original="file_send_fin"
    )
    new.send()
    new.finish()
    fetch(context, sender, room, "again.bin", content, "R-FILE-9")


@case(
    rules=["R-FILE-9"], level="full", title="users and rooms keep their uploads of one name apart"
)
def uploads_side_by_side(context: ServerContext) -> None:
    first, second = context.users(2)
    rooms = [context.room_id(), context.room_id()]
    uploads = [
        Upload(context, user, room, "same.bin", context.random.randbytes(1500))
        for user, room in ((first, rooms[0]), (second, rooms[0]), (first, rooms[1]))
    ]
    for upload in uploads:
        upload.begin()
    for place in range(2):
        for upload in uploads:
            upload.send(place)
    names = ["same.bin", "same (2).bin", "same.bin"]
    for upload in uploads:
        upload.finish()
    for upload, name in zip(uploads, names):
        fetch(context, second, upload.room_id, name, upload.content, "R-FILE-9")


@case(
    rules=["R-FILE-11"],
    title="chunks and ends of an upload that is not open, and downloads of a file that is not there, are refused",
)
def no_such_file(context: ServerContext) -> None:
    user = context.user()
    room = context.room_id()
    uploaded(context, user, room, "there.txt", b"a file")
    missing = Upload(context, user, room, "missing.bin", b"0123456789", chunk=10)
    context.refused(
        user.request("file_send_data", missing.piece(0)),
        "file_not_found",
        original="file_send_data",
    )
    context.refused(
        user.request("file_send_fin", missing.fin()), "file_not_found", original="file_send_fin"
    )
    asked = {"room_id": room, "file_path": "missing.bin"}
    context.refused(
        user.request("file_down_req", asked), "file_not_found", original="file_down_req"
    )


@case(
    rules=["R-FILE-12"],
    level="full",
    offers="sha256",
    title="`file_send_fin` answers with the SHA-256 of the whole file and the name it is stored under",
)
def what_the_end_tells(context: ServerContext) -> None:
    sender = context.user()
    content = context.random.randbytes(2222)
    reply = Upload(context, sender, context.room_id(), "digest.bin", content).run()
    digest = context.get(reply, "data.sha256", str)
    context.equal(digest.lower(), hashlib.sha256(content).hexdigest(), "`sha256`")
    context.equal(context.get(reply, "data.stored_as", str), "digest.bin", "`stored_as`")


@case(
    rules=["R-FILE-13"],
    title="`file_send_fin` with a chunk missing is refused, and the upload stays open for it",
)
def incomplete(context: ServerContext) -> None:
    sender, reader = context.users(2)
    room, content = context.room_id(), context.random.randbytes(3500)
    upload = Upload(context, sender, room, "holes.bin", content)
    upload.begin()
    upload.send(0, 3)
    context.refused(
        sender.request("file_send_fin", upload.fin()), "incomplete_file", original="file_send_fin"
    )
    upload.send(1)
    reply = sender.request("file_send_fin", upload.fin())
    context.refused(reply, "incomplete_file", original="file_send_fin")
    if context.level != "seed":
        context.check(
            "3" in context.get(reply, "message", str),
            "a message that names the first missing number, 3",
            f"this came: {shown(reply)}",
        )
    got = in_room(reader.wire.aside(), room)
    context.check(not got, "that nobody is told of an incomplete file", f"this came: {shown(got)}")
    upload.send(2)
    upload.finish()
    fetch(context, reader, room, "holes.bin", content)


def files_told(user: User, room: str) -> list[Packet]:
    """The `receive_file` of a room that wait."""
    return [
        packet
        for packet in in_room(user.wire.aside(), room)
        if packet.get("action") == "receive_file"
    ]


@case(
    rules=["R-FILE-14"],
    title="after `file_send_fin` every other member who is on gets one `receive_file`, and the sender none",
)
def everybody_is_told(context: ServerContext) -> None:
    sender, first, second = context.users(3)
    room, content = context.room_id(), context.random.randbytes(1700)
    upload = Upload(context, sender, room, "news.txt", content, file_type="text/plain")
    upload.run()
    again = sender.request("file_send_fin", upload.fin())
    context.equal(
        again.get("action"), "file_send_fin", "the reply to the same `file_send_fin` again"
    )
    sender.say(room, context.text())
    for hearer in (first, second):
        hearer.hear(room)
        told = files_told(hearer, room)
        context.equal(len(told), 1, f"how many `receive_file` {hearer.chatid} got")
        expected = {
            "sender_chatid": sender.chatid,
            "file_path": "news.txt",
            "file_size": len(content),
            "file_type": "text/plain",
        }
        for key, value in expected.items():
            context.equal(
                context.get(told[0], f"data.{key}", type(value)),
                value,
                f"`{key}` of `receive_file`",
            )
        context.get(told[0], "data.timestamp", str)
    first.say(room, context.text())
    sender.hear(room)
    context.equal(files_told(sender, room), [], "the `receive_file` that its sender got")


@case(
    rules=["R-FILE-14"],
    level="full",
    offers="sha256",
    title="the same `file_send_fin` again answers the same",
)
def end_again(context: ServerContext) -> None:
    sender = context.user()
    room = context.room_id()
    upload = Upload(context, sender, room, "twice.bin", context.random.randbytes(1500))
    first = upload.run()
    again = upload.finish()
    for key in ("sha256", "stored_as"):
        context.equal(
            context.get(again, f"data.{key}", str),
            context.get(first, f"data.{key}", str),
            f"`{key}` of the second answer",
        )
    context.equal(len(files_of(context, sender, room)), 1, "how many files the room has")


@case(
    rules=["R-FILE-15"],
    level="full",
    offers="received",
    title="an upload is taken up again after a lost connection: `received` tells the chunks that are there",
)
def taken_up_again(context: ServerContext) -> None:
    sender = context.user(own=True)
    room, content = context.room_id(), context.random.randbytes(5500)
    upload = Upload(context, sender, room, "resume.bin", content)
    upload.begin()
    upload.send(0, 1, 4)
    upload.user = another_session(context, sender)
    there = ranges(context, upload.begin())
    context.check(
        there in ([[1, 2], [5, 5]], [[1, 2]], [[1, 1], [5, 5]], [[1, 1]], [[5, 5]], []),
        "`received` with ranges of the chunks 1, 2 and 5",
        f"it was {shown(there)}",
    )
    have = {number for pair in there for number in range(pair[0], pair[1] + 1)}
    upload.send(*(place for place in range(upload.total) if place + 1 not in have))
    upload.finish()
    fetch(context, upload.user, room, "resume.bin", content, "R-FILE-15")


@case(
    rules=["R-FILE-16"],
    level="full",
    offers="transaction_id",
    title="an upload's key used again after its end says `done` and makes no second version",
)
def a_key_used_again(context: ServerContext) -> None:
    sender = context.user()
    room, key, content = context.room_id(), context.key(), context.random.randbytes(2500)
    upload = Upload(context, sender, room, "keyed.bin", content)
    first = upload.run(transaction_id=key)
    again = upload.begin(transaction_id=key)
    context.equal(context.get(again, "data.done", bool), True, "`done`")
    context.equal(ranges(context, again), [[1, 3]], "`received` in full")
    second = upload.finish()
    for name in ("sha256", "stored_as"):
        context.equal(
            context.get(second, f"data.{name}", str),
            context.get(first, f"data.{name}", str),
            f"`{name}`",
        )
    context.equal(len(files_of(context, sender, room)), 1, "how many files the room has")
    other = Upload(context, sender, room, "other.bin", content)
    context.refused(
        sender.request("file_send_init", other.init(transaction_id=key)),
        "transaction_mismatch",
        original="file_send_init",
    )


# --- names


@case(
    rules=["R-FILE-17"],
    level="full",
    title="of `file_path` only what stands behind the last slash is the name",
)
def only_the_name(context: ServerContext) -> None:
    sender = context.user()
    room = context.room_id()
    for path, name in (
        ("../../etc/passwd.txt", "passwd.txt"),
        ("C:\\work\\report.pdf", "report.pdf"),
        ("/a/ü 漢.txt", "ü 漢.txt"),
    ):
        content = context.random.randbytes(300)
        Upload(context, sender, room, path, content).run()
        fetch(context, sender, room, name, content, "R-FILE-17")
    reply = sender.ask("file_list_req", {"room_id": room})
    context.equal(
        context.get(reply, "data.file_list", str), "passwd.txt, report.pdf, ü 漢.txt", "`file_list`"
    )


@case(
    rules=["R-FILE-17"],
    level="full",
    title="an empty name, `.`, `..`, control characters, names that Windows reserves and names over 255 bytes are refused",
)
def names_that_are_none(context: ServerContext) -> None:
    sender = context.user()
    room = context.room_id()
    wrong = [
        "",
        "folder/",
        ".",
        "..",
        "a/..",
        "a\\..",
        "a\nb.txt",
        "a\x1b[2J.txt",
        "nul\0.txt",
        "CON",
        "nul.txt",
        "COM1",
        "x" * 256,
        "é" * 128,
    ]
    for path in wrong:
        reply = sender.request("file_send_init", Upload(context, sender, room, path, b"x").init())
        context.refused(reply, "bad_packet", original="file_send_init")
    longest = "x" * 251 + ".txt"
    Upload(context, sender, room, longest, b"the longest name").run()
    fetch(context, sender, room, longest, b"the longest name", "R-FILE-17")


@case(
    rules=["R-FILE-18", "R-FILE-19"],
    level="full",
    title="the same user's next file of a name is its newest version",
)
def newest_version(context: ServerContext) -> None:
    sender, reader = context.users(2)
    room = context.room_id()
    old, new = context.random.randbytes(2500), context.random.randbytes(1200)
    uploaded(context, sender, room, "draft.txt", old)
    reply = Upload(context, sender, room, "draft.txt", new).run()
    context.equal(
        reply["data"].get("stored_as", "draft.txt"),
        "draft.txt",
        "`stored_as` of the second version",
    )
    fetch(context, reader, room, "draft.txt", new)
    reply = reader.ask("file_list_req", {"room_id": room})
    context.equal(
        context.get(reply, "data.file_list", str), "draft.txt", "`file_list`, each name once"
    )


@case(
    rules=["R-FILE-18"],
    level="full",
    title="another user's file of a name is stored under `name (2).ext`",
)
def second_name(context: ServerContext) -> None:
    users = context.users(3)
    room = context.room_id()
    contents = [context.random.randbytes(600) for _ in users]
    names = ["essay.txt", "essay (2).txt", "essay (3).txt"]
    for user, content, name in zip(users, contents, names):
        reply = Upload(context, user, room, "essay.txt", content).run()
        if context.offers("sha256"):
            context.equal(context.get(reply, "data.stored_as", str), name, "`stored_as`")
    told = [context.get(packet, "data.file_path", str) for packet in _after_fence(users[0], room)]
    context.equal(told, names[1:], "`file_path` of the `receive_file` that the first user got")
    for content, name in zip(contents, names):
        fetch(context, users[0], room, name, content, "R-FILE-18")


def _after_fence(user: User, room: str) -> list[Packet]:
    user.fence()
    return files_told(user, room)


@case(
    rules=["R-FILE-18"],
    level="full",
    title="the stem of a second name is cut so that the whole keeps to 255 bytes",
)
def second_name_of_a_long_one(context: ServerContext) -> None:
    first, second = context.users(2)
    room, long = context.room_id(), "x" * 251 + ".txt"
    uploaded(context, first, room, long, b"first")
    uploaded(context, second, room, long, b"second")
    listed = context.get(first.ask("file_list_req", {"room_id": room}), "data.file_list", str)
    context.equal(listed, f"{long}, {'x' * 247} (2).txt", "`file_list`")


# --- downloads


@case(
    rules=["R-FILE-19"],
    title="a download is `file_down_meta`, then chunks numbered from 1, then `file_down_fin`",
)
def numbered_from_one(context: ServerContext) -> None:
    sender, reader = context.users(2)
    room, content = (
        context.room_id(),
        context.random.randbytes(context.random.randrange(300_000, 310_000)),
    )
    name = uploaded(context, sender, room, "steps.bin", content, chunk=30_000)
    actual = download(context, reader, room, name)
    context.equal(
        context.get(actual.meta, "data.file_size", int),
        len(content),
        "`file_size` of `file_down_meta`",
    )
    total = context.get(actual.meta, "data.total_packets", int)
    context.equal(actual.numbers, list(range(1, total + 1)), "the numbers of the chunks")
    same_bytes(context, actual.content, content)
    for packet in actual.packets:
        context.equal(
            context.get(packet, "data.room_id", str), room, f"`room_id` of `{packet['action']}`"
        )
        context.equal(
            context.get(packet, "data.file_path", str), name, f"`file_path` of `{packet['action']}`"
        )


@case(
    rules=["R-FILE-19"],
    level="full",
    offers="sha256",
    title="`file_down_meta` carries the SHA-256 of the file",
)
def digest_of_a_download(context: ServerContext) -> None:
    user = context.user()
    room, content = context.room_id(), context.random.randbytes(2000)
    uploaded(context, user, room, "digest.bin", content)
    actual = download(context, user, room, "digest.bin")
    context.equal(
        context.get(actual.meta, "data.sha256", str).lower(),
        hashlib.sha256(content).hexdigest(),
        "`sha256`",
    )


def narrow_reader(context: ServerContext) -> User:
    """A user of this case whose socket takes little at a time, so that a download waits for the
    reading."""
    account = context.account()
    sock = socket.socket(socket.AF_INET6 if ":" in context.target.host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
    sock.settimeout(context.target.timeout)
    try:
        sock.connect((context.target.host, context.target.port))
    except OSError as error:
        sock.close()
        raise NotReached("one more connection", f"it failed: {error}") from error
    wire = Wire(sock, context.transcript, account.chatid, context.target.timeout, context.until)
    user = context.guest(account)
    user.wire.close()
    user.wire = wire
    with context.given("a user who is logged in"):
        context.check(
            user.login().get("action") == "login_success", "`login_success`", "the login failed"
        )
    return user


def big_file(context: ServerContext, sender: User, room: str) -> bytes:
    """Upload a file that no buffer takes whole."""
    content = context.random.randbytes(1024) * (BIG_BYTES // 1024)
    with context.given("a big file that is uploaded"):
        upload = Upload(context, sender, room, "big.bin", content, chunk=CHUNK_LIMIT)
        upload.begin()
        for place in range(upload.total):
            upload.send(place)
        upload.finish()
    return content


@case(
    rules=["R-FILE-20", "R-LIM-12"],
    level="robust",
    title="messages pass between the chunks of a download, and nobody waits for a reader that is slow",
)
def chat_beside_a_download(context: ServerContext) -> None:
    sender, reader = context.user(), narrow_reader(context)
    room = context.room_id()
    content = big_file(context, sender, room)
    meta = reader.ask("file_down_req", {"room_id": room, "file_path": "big.bin"})
    said, own = context.text(), context.text()
    sender.say(room, said)
    reader.send("send_message", {"room_id": room, "content": own})
    order: list[str] = []
    parts: list[bytes] = []
    while "file_down_fin" not in order:
        packet = reader.wire.receive_where(lambda each: True, "the next packet of the download")
        order.append(context.get(packet, "action", str))
        if order[-1] == "file_down_data":
            parts.append(base64.b64decode(context.get(packet, "data.file_data", str)))
            if len(parts) < 20:
                sender.fence()
    for action in ("receive_message", "character_count"):
        context.check(
            action in order,
            f"`{action}` before the end of the download",
            f"these came: {shown(sorted(set(order)))}",
        )
    context.equal(
        context.get(meta, "data.file_size", int), len(content), "`file_size`", "R-FILE-19"
    )
    same_bytes(context, b"".join(parts), content, "R-LIM-12")


@case(
    rules=["R-FILE-20"],
    level="robust",
    title="one download runs and 16 wait; the next is `too_many_pending`",
)
def waiting_downloads(context: ServerContext) -> None:
    sender, reader = context.user(), narrow_reader(context)
    room = context.room_id()
    big_file(context, sender, room)
    asked = {"room_id": room, "file_path": "big.bin"}
    reader.ask("file_down_req", asked)
    reader.wire.send_together([reader.packet("file_down_req", asked) for _ in range(17)])
    reply = reader.wire.receive_where(
        lambda packet: packet.get("action") in ("error", "file_down_fin"),
        "`error` for the 18th download",
    )
    context.refused(reply, "too_many_pending", original="file_down_req")


@case(
    rules=["R-FILE-21"],
    level="full",
    offers="from_sequence",
    title="`from_sequence` begins a download with that chunk",
)
def from_a_chunk_on(context: ServerContext) -> None:
    user = context.user()
    room, content = context.room_id(), context.random.randbytes(700_000)
    uploaded(context, user, room, "long.bin", content, chunk=100_000)
    whole = download(context, user, room, "long.bin")
    total = context.get(whole.meta, "data.total_packets", int)
    for start in sorted({1, max(1, total // 2), total, total + 1}):
        actual = download(context, user, room, "long.bin", from_sequence=start)
        context.equal(actual.numbers, list(range(start, total + 1)), f"the numbers from {start} on")
        same_bytes(context, actual.content, b"".join(whole.parts[start - 1 :]))
        context.equal(
            context.get(actual.meta, "data.total_packets", int),
            total,
            "`total_packets` of the whole file",
        )
        context.equal(
            context.get(actual.meta, "data.file_size", int),
            len(content),
            "`file_size` of the whole file",
        )
    asked = {"room_id": room, "file_path": "long.bin", "from_sequence": total + 2}
    context.refused(user.request("file_down_req", asked), "bad_packet", original="file_down_req")


# --- limits, cancelling, lists


@case(
    rules=["R-FILE-22"],
    level="full",
    offers="limits",
    title="a file over `limits.max_file` is `too_large` before a byte is sent",
)
def too_large(context: ServerContext) -> None:
    user = context.user()
    most = context.get(user.login_success, "data.limits.max_file", int)
    if most:
        size = most + 1
        upload = Upload(context, user, context.room_id(), "huge.bin", b"")
        reply = user.request(
            "file_send_init", upload.init(file_size=size, total_packets=-(-size // 100_000))
        )
        context.refused(reply, ("too_large", "storage_full"), original="file_send_init")


@case(
    rules=["R-FILE-22"],
    level="robust",
    offers=["limits", "file_cancel"],
    title="what a user has begun counts at its declared size: over the share it is `quota_exceeded`",
)
def over_the_quota(context: ServerContext) -> None:
    user = context.user(fresh=True)
    size = context.get(user.login_success, "data.limits.max_file", int)
    if size != 104_857_600:
        raise NotOffered("the limits of the protocol page", f"`max_file` is {size}")
    room, begun = context.room_id(), []
    refusal: Packet = {}
    for number in range(11):
        upload = Upload(context, user, room, f"share{number}.bin", b"")
        reply = user.request("file_send_init", upload.init(file_size=size, total_packets=400))
        if reply.get("action") == "error":
            refusal = reply
            break
        begun.append(upload.file_path)
    context.check(
        bool(refusal), "an `error` for the eleventh file of 100 MiB", "all eleven were begun"
    )
    context.refused(refusal, ("quota_exceeded", "storage_full"), original="file_send_init")
    for path in begun:
        user.ask("file_cancel", {"room_id": room, "file_path": path})
    context.check(
        len(begun) == 10 or refusal.get("code") == "storage_full",
        "ten files within the share",
        f"only {len(begun)} were",
    )


@case(
    rules=["R-FILE-23", "R-FILE-11"],
    level="full",
    offers="file_cancel",
    title="`file_cancel` gives an unfinished upload up",
)
def cancel_an_upload(context: ServerContext) -> None:
    user = context.user()
    room, content = context.room_id(), context.random.randbytes(2500)
    user.say(room, context.text())
    upload = Upload(context, user, room, "dropped.bin", content)
    upload.begin()
    upload.send(0, 1, 2)
    asked = {"room_id": room, "file_path": "dropped.bin"}
    reply = user.ask("file_cancel", asked)
    context.equal(
        context.get(reply, "data.file_path", str), "dropped.bin", "`file_path` of `file_cancelled`"
    )
    context.equal(
        context.get(reply, "data.chat_id", str), user.chatid, "`chat_id` of `file_cancelled`"
    )
    context.refused(
        user.request("file_send_fin", upload.fin()), "file_not_found", original="file_send_fin"
    )
    context.refused(
        user.request("file_cancel", asked),
        "file_not_found",
        original="file_cancel",
        rule="R-FILE-11",
    )
    context.equal(
        context.get(user.ask("file_list_req", {"room_id": room}), "data.file_list", str),
        "",
        "`file_list`",
    )


@case(
    rules=["R-FILE-23"],
    level="robust",
    offers="file_cancel",
    title="`file_cancel` stops a download: no packet of it follows",
)
def cancel_a_download(context: ServerContext) -> None:
    sender, reader = context.user(), narrow_reader(context)
    room, small = context.room_id(), b"a small file"
    big_file(context, sender, room)
    uploaded(context, sender, room, "small.txt", small)
    reader.ask("file_down_req", {"room_id": room, "file_path": "big.bin"})
    reader.send("file_cancel", {"room_id": room, "file_path": "big.bin"})
    reader.wire.receive_where(
        lambda packet: packet.get("action") in ("file_cancelled", "file_down_fin"),
        "`file_cancelled`",
    )
    reader.wire.take_aside()
    meta = reader.ask("file_down_req", {"room_id": room, "file_path": "small.txt"})
    same_bytes(context, take_download(context, reader, meta).content, small)
    rest = [
        packet
        for packet in in_room(reader.wire.take_aside(), room)
        if packet["data"].get("file_path") == "big.bin"
    ]
    context.check(not rest, "no packet of the cancelled download", f"this came: {shown(rest)}")


@case(
    rules=["R-FILE-24"],
    title="`file_list` names the room's files, oldest first, joined by a comma and a blank",
)
def list_of_names(context: ServerContext) -> None:
    sender, reader = context.users(2)
    room = context.room_id()
    sender.say(room, context.text())
    empty = reader.ask("file_list_req", {"room_id": room})
    context.equal(
        context.get(empty, "data.file_list", str), "", "`file_list` of a room without files"
    )
    names = [f"{context.name(stem)}.txt" for stem in ("zeta", "alpha", "mid")]
    for name in names:
        uploaded(context, sender, room, name, b"content of " + name.encode())
    reply = reader.ask("file_list_req", {"room_id": room})
    context.equal(context.get(reply, "data.file_list", str), ", ".join(names), "`file_list`")


@case(
    rules=["R-FILE-24"],
    level="full",
    offers="files",
    title="`files` tells name, size, type, sender, time and SHA-256 of each file",
)
def list_of_files(context: ServerContext) -> None:
    first, second = context.users(2)
    room = context.room_id()
    contents = {"a.txt": context.random.randbytes(700), "b.txt": context.random.randbytes(900)}
    for user, (name, content) in zip((first, second), contents.items()):
        Upload(context, user, room, name, content, file_type="text/x-kit").run()
    for entry, user, (name, content) in zip(
        files_of(context, first, room), (first, second), contents.items()
    ):
        expected: dict[str, Any] = {
            "file_path": name,
            "file_size": len(content),
            "file_type": "text/x-kit",
            "sender_chatid": user.chatid,
        }
        for key, value in {**expected, "sha256": hashlib.sha256(content).hexdigest()}.items():
            context.equal(context.get(entry, key, type(value)), value, f"`{key}` in `files`")
        context.get(entry, "timestamp", str)
    context.equal(len(files_of(context, second, room)), 2, "how many files there are")


@case(
    rules=["R-FILE-25"],
    level="full",
    offers="files",
    title="the list of files pages by `after` and `limit`",
)
def pages_of_files(context: ServerContext) -> None:
    user = context.user()
    room = context.room_id()
    names = ["c.txt", "a.txt", "b.txt"]
    for name in names:
        uploaded(context, user, room, name, name.encode())
    for asked, expected, more in (
        ({"limit": 2}, names[:2], True),
        ({"after": "a.txt", "limit": 2}, names[2:], False),
        ({"limit": 3}, names, False),
    ):
        reply = user.ask("file_list_req", {"room_id": room, **asked})
        page = [
            context.get(each, "file_path", str) for each in context.get(reply, "data.files", list)
        ]
        context.equal(page, expected, f"`files` for {shown(asked)}")
        context.equal(reply["data"].get("has_more", False), more, f"`has_more` for {shown(asked)}")


@case(
    rules=["R-FILE-26"],
    level="full",
    title="`file_type` is handed on as it is; sizes and numbers are integers from 0",
)
def types_and_numbers(context: ServerContext) -> None:
    sender, reader = context.users(2)
    room, odd = context.room_id(), 'x-odd/é 漢; charset="none"' + "y" * 220
    upload = Upload(context, sender, room, "typed.bin", b"0123456789", file_type=odd)
    context.transcript.note(f"a file_type of {len(odd)} characters")
    upload.run()
    told = reader.wire.receive_where(
        lambda packet: packet.get("action") == "receive_file" and bool(in_room([packet], room)),
        "`receive_file`",
    )
    context.equal(context.get(told, "data.file_type", str), odd, "`file_type` of `receive_file`")
    wrong: Sequence[Packet] = (
        *({"file_size": each} for each in (-1, True, 10.0, 10.5, "10", None)),
        *({"total_packets": each} for each in (-1, True, 1.0, "1", None)),
        *({"file_type": each} for each in ("", "x" * 256, 17, None)),
    )
    for change in wrong:
        context.refused(
            sender.request("file_send_init", upload.init(**change)),
            "bad_packet",
            original="file_send_init",
        )
    upload.file_path = "numbers.bin"
    upload.begin()
    for number in (True, 1.0, "1", None):
        reply = sender.request("file_send_data", {**upload.piece(0), "sequence_number": number})
        context.refused(reply, "bad_packet", original="file_send_data")
    upload.send()
    upload.finish()


@case(
    rules=["R-FILE-19"],
    level="full",
    offers="create_room",
    title="files of a private room reach its members, and `receive_file` nobody else",
)
def files_of_a_private_room(context: ServerContext) -> None:
    owner, member, stranger = context.users(3)
    room, elsewhere, content = (
        private_room(context, owner, member),
        context.room_id(),
        context.random.randbytes(1500),
    )
    uploaded(context, owner, room, "secret.bin", content)
    owner.say(elsewhere, context.text())
    stranger.hear(elsewhere)
    member.hear(elsewhere)
    context.equal(
        files_told(stranger, room), [], "the `receive_file` that a stranger got", "R-FILE-14"
    )
    context.equal(
        len(files_told(member, room)), 1, "how many `receive_file` the member got", "R-FILE-14"
    )
    fetch(context, member, room, "secret.bin", content)
