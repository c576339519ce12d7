"""Cases for the chapter Files: uploads that are replaced, incomplete, or taken up again."""

from __future__ import annotations

import hashlib
import re

from conformance.packets import data_of, shown
from conformance.server.cases.files.steps import fetch, file_told, files_told, ranges
from conformance.server.cases.steps import (
    Upload,
    another_session,
    files_of,
    in_room,
    uploaded,
)
from conformance.server.context import ServerContext
from conformance.server.registry import case


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
    rules=["R-FILE-9"],
    level="full",
    offers="chunk_size",
    title="`file_send_init` with another `chunk_size` replaces the upload that is open",
)
def replaced_by_other_chunks(context: ServerContext) -> None:
    sender, room, content = context.user(), context.room_id(), context.random.randbytes(2500)
    for chunk in (1000, 900):
        upload = Upload(context, sender, room, "again.bin", content, chunk)
        upload.begin(chunk_size=chunk)
        reply = sender.request("file_send_fin", upload.fin())
        context.refused(reply, "incomplete_file", original="file_send_fin")
        upload.send()
    upload.finish()
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
    for upload, name in zip(uploads, names, strict=True):
        fetch(context, second, upload.room_id, name, upload.content, "R-FILE-9")


@case(
    rules=["R-FILE-11"],
    title="chunks and ends of an upload that is not open, and downloads of a file that is "
    "not there, are refused",
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
    title="`file_send_fin` answers with the SHA-256 of the whole file and the name it is "
    "stored under",
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
    with context.rule("R-FILE-6"):
        upload.send(1)  # four chunks have come, and one is missing
    reply = sender.request("file_send_fin", upload.fin())
    context.refused(reply, "incomplete_file", original="file_send_fin")
    if context.level != "seed":
        context.check(
            "3" in context.get(reply, "message", str),
            "a message that names the first missing number, 3",
            f"this came: {shown(reply)}",
        )
        from_zero = Upload(context, sender, room, "zero.bin", bytes(14), chunk=1, first=0)
        from_zero.begin()
        from_zero.send(*range(12), 13)
        reply = sender.request("file_send_fin", from_zero.fin())
        context.refused(reply, "incomplete_file", original="file_send_fin")
        context.check(
            re.search(r"(?<!\d)12(?!\d)", context.get(reply, "message", str)) is not None,
            "a message that names the first missing number, 12, counted from 0 as by the sender",
            f"this came: {shown(reply)}",
        )
    got = in_room(reader.wire.aside(), room)
    context.check(not got, "that nobody is told of an incomplete file", f"this came: {shown(got)}")
    upload.send(2)
    upload.finish()
    fetch(context, reader, room, "holes.bin", content, "R-FILE-6")


@case(
    rules=["R-FILE-14"],
    title="after `file_send_fin` every other member who is on gets one `receive_file`, and "
    "the sender none",
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
        told = [file_told(hearer, room)]
        hearer.hear(room)
        told += files_told(hearer, room)
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
    rules=["R-FILE-14", "R-FILE-11"],
    level="full",
    offers="sha256",
    title="the same `file_send_fin` again answers the same, in the next session, too",
)
def end_again(context: ServerContext) -> None:
    sender = context.user(own=True)
    room = context.room_id()
    upload = Upload(context, sender, room, "twice.bin", context.random.randbytes(1500))
    first = upload.run()
    for when in ("at once", "in the next session"):
        again = upload.finish()
        for key in ("sha256", "stored_as"):
            context.equal(
                context.get(again, f"data.{key}", str),
                context.get(first, f"data.{key}", str),
                f"`{key}` of the answer {when}",
            )
        context.refused(
            upload.user.request("file_send_data", upload.piece(0)),
            "file_not_found",
            original="file_send_data",
            rule="R-FILE-11",
        )
        if when == "at once":
            upload.user = another_session(context, sender)
    context.equal(len(files_of(context, upload.user, room)), 1, "how many files the room has")


@case(
    rules=["R-FILE-15"],
    level="full",
    offers="received",
    title="an upload is taken up again after a lost connection: `received` tells the chunks "
    "that are there, as they are counted",
)
def taken_up_again(context: ServerContext) -> None:
    sender = context.user(own=True)
    room, content = context.room_id(), context.random.randbytes(5500)
    uploads = [
        Upload(context, sender, room, f"resume{first}.bin", content, first=first)
        for first in (1, 0)
    ]
    for upload, last in zip(uploads, (4, 2), strict=True):
        upload.begin()
        upload.send(0, 1, last)
    again = another_session(context, sender)
    for upload, last in zip(uploads, (4, 2), strict=True):
        upload.user, first = again, upload.first
        there = ranges(context, upload.begin())
        have = {number - first for pair in there for number in range(pair[0], pair[1] + 1)}
        context.check(
            have <= {0, 1, last},
            f"`received` with ranges of the chunks {first}, {first + 1} and {first + last}",
            f"it was {shown(there)}",
        )
        upload.send(*(place for place in range(upload.total) if place not in have))
        digest, reply = hashlib.sha256(content).hexdigest(), upload.finish()
        fetch(context, again, room, upload.file_path, content, "R-FILE-15")
        told = str(data_of(reply).get("sha256", digest)).lower()
        context.equal(told, digest, "`sha256`", "R-FILE-12")


@case(
    rules=["R-FILE-16"],
    level="full",
    offers="transaction_id",
    title="an upload's key used again after its end says `done` and makes no second version",
)
def a_key_used_again(context: ServerContext) -> None:
    sender = context.user(own=True)
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
    sender = upload.user = another_session(context, sender)
    again = upload.begin(transaction_id=key)
    context.equal(context.get(again, "data.done", bool), True, "`done` in the next session")
    for where, name in ((room, "other.bin"), (context.room_id(), "keyed.bin")):
        other = Upload(context, sender, where, name, content)
        context.refused(
            sender.request("file_send_init", other.init(transaction_id=key)),
            "transaction_mismatch",
            original="file_send_init",
        )
