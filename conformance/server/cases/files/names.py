"""Cases for the chapter Files: the names under which files are stored."""

from __future__ import annotations

import hashlib

from conformance.packets import Packet, data_of
from conformance.server.cases.files.steps import fetch, file_told, same_bytes
from conformance.server.cases.steps import (
    Upload,
    download,
    files_of,
    uploaded,
)
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.user import User


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
        ("PASSWD.txt", "PASSWD.txt"),
        (" 50%41+ . ", " 50%41+ . "),
    ):
        content = context.random.randbytes(300)
        reply = Upload(context, sender, room, path, content).run()
        fetch(context, sender, room, name, content, "R-FILE-17")
        began_as = context.get(reply, "data.file_path", str)
        context.equal(began_as, name, "`file_path` of `file_send_fin`", "R-FILE-18")
    reply = sender.ask("file_list_req", {"room_id": room})
    context.equal(
        context.get(reply, "data.file_list", str),
        "passwd.txt, report.pdf, ü 漢.txt, PASSWD.txt,  50%41+ . ",
        "`file_list`",
    )


@case(
    rules=["R-FILE-17"],
    level="full",
    title="an empty name, `.`, `..`, control characters, names that Windows reserves and "
    "names over 255 bytes are refused",
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
        "a\x7fb.txt",
        "a\x85b.txt",
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
    title="the same user's next file of a name is its newest version, once it is whole; also where "
    "it is empty",
)
def newest_version(context: ServerContext) -> None:
    sender, reader = context.users(2)
    room = context.room_id()
    old, new = context.random.randbytes(2500), context.random.randbytes(2500)
    uploaded(context, sender, room, "draft.txt", old)
    fetch(context, reader, room, "draft.txt", old)
    newer = Upload(context, sender, room, "draft.txt", new, file_type="text/x-new")
    reply = _new_version(context, reader, newer, old)
    context.equal(
        data_of(reply).get("stored_as", "draft.txt"),
        "draft.txt",
        "`stored_as` of the second version",
    )
    fetch(context, reader, room, "draft.txt", new)
    reply = reader.ask("file_list_req", {"room_id": room})
    context.equal(
        context.get(reply, "data.file_list", str), "draft.txt", "`file_list`, each name once"
    )
    if context.offers("files"):
        entries = context.get_list(reply, "data.files", dict)
        context.equal(len(entries), 1, "how many `files` there are", "R-FILE-24")
        entry = entries[0]
        wanted = {"file_size": len(new), "file_type": "text/x-new"}
        actual = {key: entry.get(key) for key in wanted}
        context.equal(actual, wanted, "the newest version in `files`", "R-FILE-24")
        digest = hashlib.sha256(new).hexdigest()
        context.equal(str(entry.get("sha256")).lower(), digest, "`sha256` in `files`", "R-FILE-24")
    _empty_version(context, sender, reader, room)


def _new_version(context: ServerContext, reader: User, newer: Upload, old: bytes) -> Packet:
    """Upload a newer version, of as many bytes as the old; return the reply to its end.

    Until then the old one is there, and what comes later changes nothing.
    """
    room, name, sender = newer.room_id, newer.file_path, newer.user
    began = newer.begin()
    there = data_of(began).get("received", [])
    context.equal(there, [], "`received` of a newer version", "R-FILE-14")
    newer.send(0)
    fetch(context, reader, room, name, old, "R-FILE-19")
    if context.offers("file_cancel"):
        sender.ask("file_cancel", {"room_id": room, "file_path": name})
        fetch(context, reader, room, name, old, "R-FILE-19")
        newer.begin()
    newer.send()
    reply = newer.finish()
    sender.request("file_send_data", Upload(context, sender, room, name, old).piece(0))
    if context.offers("file_cancel"):
        sender.request("file_cancel", {"room_id": room, "file_path": name})
    fetch(context, reader, room, name, newer.content, "R-FILE-19")
    return reply


def _empty_version(context: ServerContext, sender: User, reader: User, room: str) -> None:
    with context.rule("R-FILE-7"):
        Upload(context, sender, room, "draft.txt", b"").run()
    last = download(context, reader, room, "draft.txt")
    same_bytes(context, last.content, b"")
    if context.offers("sha256"):
        told, digest = data_of(last.meta).get("sha256"), hashlib.sha256(b"").hexdigest()
        context.equal(str(told).lower(), digest, "`sha256` of the newest version")
    if context.offers("files"):
        (entry,) = files_of(context, reader, room) or [{}]
        context.equal(entry.get("file_size"), 0, "`file_size` in `files`", "R-FILE-24")
        with context.rule("R-FILE-14"):
            told = [file_told(reader, room) for _ in range(3)][-1]["data"].get("timestamp")
        listed = entry.get("timestamp")
        context.equal(listed, told, "`timestamp` in `files`, as `receive_file` told", "R-FILE-24")


@case(
    rules=["R-FILE-18"],
    level="full",
    title="another user's file of a name is stored under `name (2).ext`",
)
def second_name(context: ServerContext) -> None:
    users = context.users(3)
    room = context.room_id()
    contents = [context.random.randbytes(600) for _ in users]
    Upload(context, users[1], room, "essay.txt", contents[1]).begin()  # and ends as the second
    names = ["essay.txt", "essay (2).txt", "essay (3).txt"]
    for user, content, name in zip(users, contents, names, strict=True):
        reply = Upload(context, user, room, "essay.txt", content).run()
        began_as = context.get(reply, "data.file_path", str)
        context.equal(began_as, "essay.txt", "`file_path` of `file_send_fin`")
        if context.offers("sha256"):
            context.equal(context.get(reply, "data.stored_as", str), name, "`stored_as`")
    with context.rule("R-FILE-14"):
        packets = [file_told(users[0], room) for _ in names[1:]]
    told = [context.get(packet, "data.file_path", str) for packet in packets]
    context.equal(told, names[1:], "`file_path` of the `receive_file` that the first user got")
    for content, name in zip(contents, names, strict=True):
        fetch(context, users[0], room, name, content, "R-FILE-18")


@case(
    rules=["R-FILE-18"],
    level="full",
    title="of a second name the ending is what stands behind the last dot; a name that begins with "
    "its only dot has none, nor has one with over 32 bytes behind it",
)
def second_names_and_endings(context: ServerContext) -> None:
    users, room, long = context.users(2), context.room_id(), "a." + "é" * 17
    seconds = {
        "a.tar.gz": "a.tar (2).gz",
        ".profile": ".profile (2)",
        "README": "README (2)",
        long: f"{long} (2)",
    }
    for name in seconds:
        for user in users:
            Upload(context, user, room, name, user.chatid.encode()).run()
    listed = context.get(users[0].ask("file_list_req", {"room_id": room}), "data.file_list", str)
    context.equal(
        listed, ", ".join(name for pair in seconds.items() for name in pair), "`file_list`"
    )


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
