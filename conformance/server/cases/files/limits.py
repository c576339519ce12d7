"""Cases for the chapter Files: limits, cancelling, lists, private rooms."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from conformance.endings import NotOffered
from conformance.packets import Packet, shown
from conformance.server.cases.files.steps import (
    big_file,
    fetch,
    file_told,
    files_told,
    narrow_reader,
    same_bytes,
)
from conformance.server.cases.limits import unless_turned_off
from conformance.server.cases.steps import (
    Upload,
    bytes_of,
    files_of,
    in_room,
    private_room,
    uploaded,
)
from conformance.server.context import ServerContext
from conformance.server.registry import case


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
    title="what a user has begun counts at its declared size: over the share it is "
    "`quota_exceeded`",
)
def over_the_quota(context: ServerContext) -> None:
    unless_turned_off(context, "--quota")
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
    sizes = [(path, size) for path in begun]
    if refusal.get("code") != "storage_full":
        sizes.append((begun[0], size - 1))  # in the place of the first
    for path, size in sizes:
        upload = Upload(context, user, room, path, b"")
        reply = user.request("file_send_init", upload.init(file_size=size, total_packets=400))
        context.equal(
            reply.get("action"),
            "file_send_init",
            "the reply to an upload in the place of one that was cancelled, or of another size",
        )
    for path in begun:
        user.ask("file_cancel", {"room_id": room, "file_path": path})


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
    elsewhere = Upload(context, user, context.room_id(), "dropped.bin", content)
    elsewhere.begin()
    elsewhere.send()
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
    elsewhere.finish()  # the upload of this name in another room went on


@case(
    rules=["R-FILE-23"],
    level="robust",
    offers="file_cancel",
    title="`file_cancel` stops a download that runs or waits: no packet follows, but of others",
)
def cancel_a_download(context: ServerContext) -> None:
    sender, reader = context.user(), narrow_reader(context)
    room, elsewhere, small = context.room_id(), context.room_id(), b"a small file"
    big_file(context, sender, room)
    for name in ("small.txt", "other.txt"):
        uploaded(context, sender, room, name, small)
    uploaded(context, sender, elsewhere, "big.bin", small)
    reader.ask("file_down_req", {"room_id": room, "file_path": "big.bin"})
    for name in ("small.txt", "other.txt"):
        reader.send("file_down_req", {"room_id": room, "file_path": name})
    reader.send("file_down_req", {"room_id": elsewhere, "file_path": "big.bin"})
    for name in ("other.txt", "big.bin"):
        reader.send("file_cancel", {"room_id": room, "file_path": name})
        reply = reader.wire.expect("file_cancelled", "error")
        what = f"the reply to `file_cancel` of {name}"
        context.equal(reply.get("action"), "file_cancelled", what)

    def of_others(packets: list[Packet]) -> list[Packet]:
        return [*_of_file(packets, room, "small.txt"), *_of_file(packets, elsewhere, "big.bin")]

    waited = of_others(reader.wire.take_aside())
    late: list[Packet] = []
    while [packet.get("action") for packet in waited].count("file_down_fin") < 2:
        packet = reader.wire.expect("file_down_meta", "file_down_data", "file_down_fin")
        (waited if of_others([packet]) else late).append(packet)
    context.check(not late, "no packet of a cancelled download", f"this came: {shown(late)}")
    texts = [packet["data"].get("file_data", "") for packet in waited]
    same_bytes(context, b"".join(bytes_of(context, text) for text in texts), small * 2)


def _of_file(packets: list[Packet], room: str, name: str) -> list[Packet]:
    return [each for each in in_room(packets, room) if each["data"].get("file_path") == name]


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
    for user, (name, content) in zip((first, second), contents.items(), strict=True):
        Upload(context, user, room, name, content, file_type="text/x-kit").run()
    for entry, user, (name, content) in zip(
        files_of(context, first, room), (first, second), contents.items(), strict=False
    ):
        expected: dict[str, Any] = {
            "file_path": name,
            "file_size": len(content),
            "file_type": "text/x-kit",
            "sender_chatid": user.chatid,
        }
        for key, value in expected.items():
            context.equal(context.get(entry, key, type(value)), value, f"`{key}` in `files`")
        digest = context.get(entry, "sha256", str).lower()
        context.equal(digest, hashlib.sha256(content).hexdigest(), "`sha256` in `files`")
        context.get(entry, "timestamp", str)
    context.equal(len(files_of(context, second, room)), 2, "how many files there are")


@case(
    rules=["R-FILE-25", "R-FILE-24"],
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
        ({"after": "nothing.txt"}, [], False),
    ):
        reply = user.ask("file_list_req", {"room_id": room, **asked})
        page = [
            context.get(each, "file_path", str) for each in context.get(reply, "data.files", list)
        ]
        context.equal(page, expected, f"`files` for {shown(asked)}")
        context.equal(
            context.get(reply, "data.has_more", bool), more, f"`has_more` for {shown(asked)}"
        )
    uploaded(context, user, room, "c.txt", b"the newest version")
    listed = context.get(user.ask("file_list_req", {"room_id": room}), "data.file_list", str)
    context.equal(
        listed,
        "a.txt, b.txt, c.txt",
        "`file_list`, in the order of the newest versions",
        "R-FILE-24",
    )


@case(
    rules=["R-FILE-26"],
    level="full",
    title="`file_type` is handed on as it is; sizes and numbers are integers from 0",
)
def types_and_numbers(context: ServerContext) -> None:
    sender, reader = context.users(2)
    room, odd = context.room_id(), 'X-Odd/é 漢; charset="none"' + "y" * 220
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
    with context.rule("R-FILE-14"):
        file_told(member, room)
    fetch(context, member, room, "secret.bin", content)
    if context.offers("add_user_to_room"):
        owner.ask("add_user_to_room", {"room_id": room, "user_to_add": stranger.chatid})
        uploaded(context, owner, room, "second.bin", content)
        with context.rule("R-ROOM-12"):
            file_told(stranger, room)  # who was added hears of files, too
