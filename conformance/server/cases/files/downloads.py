"""Cases for the chapter Files: downloads, beside the chat too."""

from __future__ import annotations

import hashlib
import itertools
import time

from conformance.packets import shown
from conformance.server.cases.files.steps import big_file, narrow_reader, same_bytes
from conformance.server.cases.steps import (
    bytes_of,
    download,
    in_room,
    private_room,
    take_download,
    uploaded,
)
from conformance.server.cases.users_events import everybody
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.user import User


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
    context.equal(len(actual.numbers), total, "how many chunks came")
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


@case(
    rules=["R-FILE-20", "R-LIM-12"],
    level="robust",
    title="messages pass between the chunks of a download, nobody waits for a reader that is "
    "slow, and a newer version changes nothing in it",
)
def chat_beside_a_download(context: ServerContext) -> None:
    sender, reader = context.user(), narrow_reader(context)
    room = context.room_id()
    content = big_file(context, sender, room)
    meta = reader.ask("file_down_req", {"room_id": room, "file_path": "big.bin"})
    said, own = context.text(), context.text()
    sender.say(room, said)
    reader.send("send_message", {"room_id": room, "content": own})
    uploaded(context, sender, room, "big.bin", b"a newer version of it")
    order: list[str] = []
    parts: list[bytes] = []
    while "file_down_fin" not in order:
        packet = reader.wire.receive_where(lambda each: True, "the next packet of the download")
        order.append(context.get(packet, "action", str))
        if order[-1] == "file_down_data":
            parts.append(bytes_of(context, context.get(packet, "data.file_data", str)))
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
    is_whole = len(parts) == context.get(meta, "data.total_packets", int)
    same_bytes(context, b"".join(parts), content, "R-FILE-19" if is_whole else "R-LIM-12")


@case(
    rules=["R-FILE-20"],
    level="robust",
    title="one download runs and 16 wait; the next is `too_many_pending`",
)
def waiting_downloads(context: ServerContext) -> None:
    sender, reader = context.user(), narrow_reader(context)
    room = context.room_id()
    big_file(context, sender, room)
    _one_after_another(context, sender, room)
    asked = {"room_id": room, "file_path": "big.bin"}
    reader.ask("file_down_req", asked)
    numbered = context.offers("request_id")
    reader.wire.send_together(
        [
            reader.packet(
                "file_down_req", asked, **({"request_id": f"r{each}"} if numbered else {})
            )
            for each in range(17)
        ]
    )
    reply = reader.wire.receive_where(
        lambda packet: packet.get("action") in ("error", "file_down_fin"),
        "`error` for the 18th download",
    )
    context.refused(reply, "too_many_pending", original="file_down_req")
    if numbered:
        context.equal(reply.get("request_id"), "r16", "`request_id` of the first that is refused")


def _one_after_another(context: ServerContext, user: User, room: str) -> None:
    """Fail unless two downloads that were asked for together come one by one, and 16 more do."""
    names, content = ("one.bin", "two.bin"), context.random.randbytes(300_000)
    for name in names:
        uploaded(context, user, room, name, content, chunk=100_000)
    asked = [{"room_id": room, "file_path": name} for name in names]
    user.wire.send_together([user.packet("file_down_req", each) for each in asked])
    order: list[str] = []
    ended = 0
    while ended < len(names):
        packet = user.wire.expect("file_down_meta", "file_down_data", "file_down_fin")
        ended += packet["action"] == "file_down_fin"
        order.append(context.get(packet, "data.file_path", str))
    changes = sum(one != other for one, other in itertools.pairwise(order))
    context.check(changes == 1, "one download behind the other", f"they came as {order}")
    small = uploaded(context, user, room, "small.bin", b"a small file")
    for _ in range(16):
        download(context, user, room, small)


@case(
    rules=["R-ROOM-22"],
    level="full",
    offers=["create_room", "remove_user_from_room"],
    title="a download that waited its turn is refused to who was taken out of the room meanwhile",
)
def waiting_download_of_a_lost_room(context: ServerContext) -> None:
    owner, reader = context.user(), narrow_reader(context)
    everybodys, private = context.room_id(), private_room(context, owner, reader)
    big_file(context, owner, everybodys)
    uploaded(context, owner, private, "private.bin", context.random.randbytes(1000))
    reader.wire.send_together(
        [
            reader.packet("file_down_req", {"room_id": everybodys, "file_path": "big.bin"}),
            reader.packet("file_down_req", {"room_id": private, "file_path": "private.bin"}),
        ]
    )
    with context.given("the first chunk of a long download"):
        reader.wire.receive_where(
            lambda packet: packet.get("action") == "file_down_data", "`file_down_data`"
        )
    owner.ask("remove_user_from_room", {"room_id": private, "user_to_remove": reader.chatid})
    reply = reader.wire.receive_where(
        lambda packet: (
            packet.get("action") == "error"
            or (bool(in_room([packet], private)) and packet.get("action") == "file_down_meta")
        ),
        "`error` for the download that waited",
    )
    context.refused(reply, "room_not_found", original="file_down_req")


@case(
    rules=["R-ROOM-22"],
    level="robust",
    offers=["create_room", "remove_user_from_room"],
    title="a download that runs is broken off for who is taken out of the room",
)
def running_download_of_a_lost_room(context: ServerContext) -> None:
    owner, reader = context.user(), narrow_reader(context)
    private = private_room(context, owner, reader)
    big_file(context, owner, private)
    meta = reader.ask("file_down_req", {"room_id": private, "file_path": "big.bin"})
    total = context.get(meta, "data.total_packets", int)
    with context.given("the first chunk of a long download"):
        reader.wire.receive_where(
            lambda packet: packet.get("action") == "file_down_data", "`file_down_data`"
        )
    owner.ask("remove_user_from_room", {"room_id": private, "user_to_remove": reader.chatid})
    last = reader.wire.receive_where(
        lambda packet: packet.get("action") in ("error", "file_down_fin"),
        "`error` for the download that was broken off",
    )
    chunks = [each for each in reader.wire.aside() if each.get("action") == "file_down_data"]
    context.check(
        last.get("action") == "error" and len(chunks) < total,
        "an `error` in the middle of the download",
        f"{len(chunks) + 1} of {total} chunks came, then {shown(last)}",
    )
    context.refused(last, "room_not_found", original="file_down_req")


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
    context.equal(len(whole.numbers), total, "how many chunks came")
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


@case(
    rules=["R-FRAME-9"],
    level="robust",
    title="a download that was asked for before a half-close comes to its end; for the others the "
    "user is offline then",
)
def download_after_a_half_close(context: ServerContext) -> None:
    sender, reader = context.user(), narrow_reader(context)
    room = context.room_id()
    content = big_file(context, sender, room)
    reader.send("file_down_req", {"room_id": room, "file_path": "big.bin"})
    reader.wire.finish_sending()
    meta = reader.wire.expect("file_down_meta")
    same_bytes(context, take_download(context, reader, meta).content, content)
    reader.wire.wait_closed()
    if context.offers("get_users"):
        # Not before: while the client takes nothing, the server may read nothing (R-LIM-12).
        deadline = time.monotonic() + context.target.timeout
        while reader.chatid in everybody(context, sender)[1]:
            context.check(
                time.monotonic() < deadline, "a user who is offline for others", "still online"
            )
