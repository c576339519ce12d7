"""Kill and restart (`--start-cmd`): what was acknowledged is there, once and in order, and nothing
is stored twice.

Every case has an `early`, so that these run after all others and no waiting connection of theirs is
cut.
"""

from __future__ import annotations

import os

from conformance.packets import PAST, Packet, data_of, shown
from conformance.server.cases.files.steps import ranges
from conformance.server.cases.steps import (
    Upload,
    download,
    ended_politely,
    ended_well,
    everybody_in,
    files_of,
    killed_and_started,
    own_process,
    private_room,
    rooms_of,
    started,
    uploaded,
)
from conformance.server.cases.users_events import event
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.user import Said, User
from conformance.wire import Closed

AWKWARD = (
    " two\nlines",
    " a\r\nb",
    "\ta tab",
    " 'one' \"two\" \\n | ; ,",
    " blanks  ",
    " long" * 840,
)
"""Ends of messages that get lost where a file is read line by line, or column by column."""


def last(context: ServerContext) -> None:
    """Begin nothing early: put the case behind all others.

    NOT OFFERED where the kit has no process to kill.
    """
    context.people.release(keep=True)
    own_process(context)


def back(context: ServerContext, user: User) -> User:
    """Log the user in again after the restart (an assertion, since accounts must survive)."""
    again = context.guest(user.account)
    reply = again.login()
    context.check(
        again.is_on,
        f"`login_success` for {user.chatid} after the restart",
        f"this came: {shown(reply)}",
    )
    return again


@case(
    rules=["R-ORDER-1", "R-ORDER-3"],
    level="robust",
    early=last,
    title="what was acknowledged before a kill is there after it, once and in order, with "
    "its id and time",
)
def acked_messages(context: ServerContext) -> None:
    sender, reader = context.users(2, own=True)
    room = context.room_id("a/ü 漢")
    acked: dict[str, Said] = {}
    texts = [f"{number} {context.text()}" for number in range(60)]
    texts[: len(AWKWARD)] = [text + end for text, end in zip(texts, AWKWARD, strict=False)]
    tids = {}
    for text in texts:
        opened = sender.ask(
            "send_message", {"room_id": room, "content": text}, want="character_count"
        )
        tids[context.get(opened, "data.transaction_id", str)] = text
    sender.wire.send_together(
        [sender.packet("confirm_count", {"transaction_id": tid, "confirm": True}) for tid in tids],
        "many confirmations under way at the kill",
    )
    for _ in range(context.random.randrange(15, 45)):
        ack = sender.reply("confirm_count")
        tid = context.get(ack, "data.transaction_id", str)
        context.check(
            tid in tids and ack.get("status") == "success",
            "`ack` of an open transaction",
            f"this came: {shown(ack)}",
            "R-MSG-4",
        )
        data = ack["data"]
        acked[tids[tid]] = Said(
            room, tids[tid], tid, ack, data.get("message_id"), data.get("timestamp")
        )
    killed_and_started(context)
    _hold(context, acked, texts, back(context, reader).history(room))
    with context.rule("R-ORDER-3"):
        later = back(context, sender).say(room, "said after the restart")
        ids = [said.message_id for said in acked.values() if said.message_id is not None]
        if later.message_id is not None and ids:
            context.check(
                later.message_id > max(ids),
                f"a `message_id` above {max(ids)}",
                f"it was {later.message_id}",
            )


def _hold(
    context: ServerContext, acked: dict[str, Said], texts: list[str], history: list[Packet]
) -> None:
    """Fail unless all that was acked is in the history, once, in its order, and nothing that was
    never said."""
    actual = [each["content"] for each in history]
    missing = [text for text in acked if text not in actual]
    context.check(
        not missing,
        f"all {len(acked)} acknowledged messages",
        f"{len(missing)} are lost, as {shown(missing[:2])}",
        "R-ORDER-1",
    )
    context.check(
        len(actual) == len(set(actual)),
        "each message once",
        f"{len(actual) - len(set(actual))} are there twice",
        "R-ORDER-1",
    )
    context.check(
        set(actual) <= set(texts),
        "nothing that was never said",
        f"this is there: {shown(sorted(set(actual) - set(texts))[:2])}",
        "R-ORDER-1",
    )
    order = [text for text in actual if text in acked]
    context.check(
        order == list(acked),
        "the messages in the order of their acks",
        "they are in another order",
        "R-ORDER-2",
    )
    for message in history:
        said = acked.get(message["content"])
        if said is not None and said.message_id is not None:
            context.equal(
                message.get("message_id"),
                said.message_id,
                "`message_id` after the restart",
                "R-ORDER-3",
            )
            context.equal(
                message["timestamp"], said.timestamp, "`timestamp` after the restart", "R-ORDER-1"
            )


@case(
    rules=["R-MSG-8", "R-MSG-9"],
    level="robust",
    offers="transaction_id",
    early=last,
    title="the same key after a kill stores nothing twice, whether the ack was seen or not",
)
def same_key_not_twice(context: ServerContext) -> None:
    sender = context.user(own=True)
    room = context.room_id()
    keys = {context.key(): f"{number} {context.text()}" for number in range(10)}
    seen: dict[str, int | None] = {}
    for place, (key, text) in enumerate(keys.items()):
        sender.ask(
            "send_message",
            {"room_id": room, "content": text, "transaction_id": key},
            want="character_count",
        )
        if place < 5:
            seen[key] = sender.confirm(room, text, key).message_id
    for key in list(keys)[5:8]:
        sender.send("confirm_count", {"transaction_id": key, "confirm": True})
    killed_and_started(context)
    sender = back(context, sender)
    for key, text in keys.items():
        reply = sender.request(
            "send_message", {"room_id": room, "content": text, "transaction_id": key}
        )
        if key in seen:
            with context.rule("R-MSG-9"):
                context.equal(
                    reply.get("action"), "ack", "the reply to a key whose message is stored"
                )
                context.equal(
                    context.get(reply, "data.message_id", int),
                    seen[key],
                    "`message_id` of the ack of then",
                )
        elif reply.get("action") == "character_count":
            sender.confirm(room, text, key)
        else:
            context.equal(reply.get("action"), "ack", "the reply to a key that may be stored")
    actual = [each["content"] for each in sender.history(room)]
    context.equal(sorted(actual), sorted(keys.values()), "the messages of the room, each once")
    another = {"room_id": room, "content": "another", "transaction_id": next(iter(keys))}
    reply = sender.request("send_message", another)
    context.refused(reply, "transaction_mismatch", original="send_message", rule="R-MSG-9")


@case(
    rules=["R-SESS-11"],
    level="robust",
    offers="session_key",
    early=last,
    title="a session key survives a kill and a restart of the server",
)
def session_key(context: ServerContext) -> None:
    user = context.user(own=True)
    key = user.session_key
    context.check(
        bool(key), "a `session_key`", f"this came: {shown(user.login_success)}", "R-SESS-2"
    )
    killed_and_started(context)
    again = context.guest(user.account)
    reply = again.login(session_key=key)
    context.equal(
        reply.get("action"), "login_success", "the reply to a login with the key of before"
    )


@case(
    rules=["R-ORDER-1", "R-FILE-12"],
    level="robust",
    early=last,
    title="a file whose `file_send_fin` was answered is there after a kill, byte for byte, its "
    "newest version, and what the list tells of it too; its end and its key may come again",
)
def finished_files(context: ServerContext) -> None:
    sender, other = context.users(2, own=True)
    room, contents = (
        context.room_id(),
        [context.random.randbytes(context.random.randrange(1, 200_000)) for _ in range(2)] + [b""],
    )
    names = [f"Kept {3 - number} ü.BIN" for number in range(3)]  # in another order than by name
    uploads = [
        Upload(context, sender, room, name, content, chunk=50_000, file_type="Text/x-Kit")
        for name, content in zip(names, contents, strict=True)
    ]
    key = {"transaction_id": context.key()} if context.offers("transaction_id") else {}
    with context.given("files that are uploaded"):
        Upload(context, sender, room, names[1], b"an older version").run()
        for upload in uploads:
            upload.run(**(key if upload is uploads[0] else {}))
        before = _entries(context, sender, room)
        list_before = sender.ask("file_list_req", {"room_id": room})
    killed_and_started(context)
    reader = back(context, sender)
    listed = context.get(reader.ask("file_list_req", {"room_id": room}), "data.file_list", str)
    context.equal(listed, data_of(list_before).get("file_list"), "`file_list` after the restart")
    context.equal(_entries(context, reader, room), before, "`files` after the restart")
    for name, content in zip(names, contents, strict=True):
        context.check(
            download(context, reader, room, name).content == content,
            f"the bytes of {name}",
            "others came after the restart",
        )
    uploads[0].user = reader
    with context.rule("R-FILE-14"):
        uploads[0].finish()
    if key:
        with context.rule("R-FILE-16"):
            again = uploads[0].begin(**key)
            context.equal(context.get(again, "data.done", bool), True, "`done` for its key")
    if context.offers("sha256"):
        with context.rule("R-FILE-18"):
            ended = Upload(context, back(context, other), room, names[0], b"of another").run()
            context.check(
                data_of(ended).get("stored_as") != names[0],
                "another `stored_as` for another user's file of the name",
                f"this came: {shown(ended)}",
            )


def _entries(context: ServerContext, user: User, room: str) -> list[Packet]:
    """Return what `files` tells of each file; nothing where the server has no `files`."""
    keys = ("file_path", "file_size", "file_type", "sender_chatid", "timestamp", "sha256")
    entries = files_of(context, user, room) if context.offers("files") else []
    return [{key: entry.get(key) for key in keys} for entry in entries]


@case(
    rules=["R-FILE-15", "R-FILE-8"],
    level="robust",
    offers="received",
    early=last,
    title="an upload is taken up again after a kill, counted from 1 or 0, and what `received` "
    "lists is there; one that was cancelled or replaced does not come back",
)
def unfinished_upload(context: ServerContext) -> None:
    sender = context.user(own=True)
    room, content = context.room_id(), context.random.randbytes(9500)
    uploads = [
        Upload(context, sender, room, f"cut{first}.bin", content, first=first) for first in (1, 0)
    ]
    for upload in uploads:
        upload.begin()
        upload.send(0, 1, 2, 5)
    dropped = Upload(context, sender, room, "dropped.bin", content)
    replaced = Upload(context, sender, room, "replaced.bin", content)
    with context.given("uploads that are given up and replaced"):
        for upload in (dropped, Upload(context, sender, room, "replaced.bin", content[:5000])):
            upload.begin()
            upload.send(0, 1)
        replaced.begin()
        if context.offers("file_cancel"):
            sender.ask("file_cancel", {"room_id": room, "file_path": "dropped.bin"})
    killed_and_started(context)
    sender = dropped.user = replaced.user = back(context, sender)
    for upload in uploads:
        upload.user, first = sender, upload.first
        there = ranges(context, upload.begin())
        have = {number - first for pair in there for number in range(pair[0], pair[1] + 1)}
        context.check(
            have <= {0, 1, 2, 5},
            f"`received` with none but the chunks {first} to {first + 2} and {first + 5}",
            f"it was {shown(there)}",
            "R-FILE-8",
        )
        if have:
            other = Upload(context, sender, room, upload.file_path, content, 960, first)
            reply = sender.request("file_send_data", other.piece(3))
            context.refused(reply, "bad_packet", original="file_send_data", rule="R-FILE-4")
        upload.send(*(place for place in range(upload.total) if place not in have))
        upload.finish()
        context.check(
            download(context, sender, room, upload.file_path).content == content,
            "the bytes that were sent",
            "others came",
            "R-FILE-8",
        )
    there = data_of(replaced.begin()).get("received", [])
    context.equal(there, [], "`received` of what had no chunk", "R-FILE-9")
    if context.offers("file_cancel"):
        ended = sender.request("file_send_fin", dropped.fin())
        context.refused(ended, "file_not_found", original="file_send_fin", rule="R-FILE-23")


@case(
    rules=["R-ORDER-1"],
    level="robust",
    offers=["create_room", "rename_room", "add_user_to_room", "get_room_users"],
    early=last,
    title="rooms, their names and members survive a kill, and what was said and sent there",
)
def rooms_and_members(context: ServerContext) -> None:
    owner, member, added = context.users(3, own=True)
    room, name = (
        private_room(context, owner, member),
        context.room_id(
            'kept ü "',
        ),
    )
    said, greeting = owner.say(room, context.text()), owner.say("lobby", context.text())
    uploaded(context, owner, room, "kept.txt", b"a file of the room")
    owner.ask("rename_room", {"room_id": room, "new_room_name": name})
    owner.ask("add_user_to_room", {"room_id": room, "user_to_add": added.chatid})
    killed_and_started(context)
    again = back(context, added)
    context.equal(
        sorted(everybody_in(context, again, room)),
        sorted(user.chatid for user in (owner, member, added)),
        "the members after the restart",
    )
    reply = again.ask("get_room_users", {"room_id": room})
    context.equal(context.get(reply, "data.room_name", str), name, "`room_name` after the restart")
    if context.offers("get_rooms"):
        entry = rooms_of(context, again).get(room, {})
        context.equal(entry.get("owner"), owner.chatid, "`owner` after the restart")
        last_id = entry.get("last_message_id", said.message_id)
        context.equal(last_id, said.message_id, "`last_message_id` after the restart")
    texts = [each["content"] for each in again.history(room)]
    context.equal(texts, [said.content], "the messages of the room after the restart")
    since = greeting.timestamp or PAST
    texts = [each["content"] for each in again.history("lobby", from_time=since)]
    context.check(
        greeting.content in texts, "what was said in `lobby` before", "it is not there any more"
    )
    kept = download(context, again, room, "kept.txt").content
    context.equal(kept, b"a file of the room", "the file of the room after the restart")


@case(
    rules=["R-EVT-3"],
    level="robust",
    offers="events",
    early=last,
    title="who asked for events is told that the server closes",
)
def server_closing(context: ServerContext) -> None:
    watcher = context.user(features=["events"])
    if os.name == "nt":
        return
    status = ended_politely(context)
    try:
        event(context, watcher, "server_closing")
        watcher.wire.wait_closed()
    except Closed as problem:
        context.fail("`event` of type server_closing before the end", problem.actual)
    finally:
        started(context)
    ended_well(context, status, "R-CLI-1")


@case(
    rules=["R-ORDER-1", "R-ORDER-3"],
    level="robust",
    early=last,
    title="what was acknowledged is there after three kills in a row, and no `message_id` comes "
    "again, not even that of a deleted room",
)
def three_kills(context: ServerContext) -> None:
    sender = context.user(own=True)
    room, said, keys = context.room_id(), [], [sender.session_key]
    ids: list[int | None] = []
    rooms: list[str] = []
    for _ in range(3):
        for _ in range(3):
            said.append(context.text())
            ids.append(sender.say(room, said[-1]).message_id)
        if context.offers("create_room") and context.offers("delete_room"):
            with context.given("a private room that is deleted"):
                gone = private_room(context, sender)
                rooms.append(gone)
                ids.append(sender.say(gone, context.text()).message_id)
                sender.ask("delete_room", {"room_id": gone})
        killed_and_started(context)
        is_ended = len(keys) > 1 and all(keys) and keys[-2] != keys[-1]
        if is_ended and context.offers("session_key"):  # by the login with the password behind it
            with context.rule("R-SESS-10"):
                reply = context.guest(sender.account).login(session_key=keys[-2])
                context.equal(
                    reply.get("action"),
                    "login_fail",
                    "the reply to the session key before the last",
                )
        sender = back(context, sender)
        keys.append(sender.session_key)
    context.equal(
        [each["content"] for each in sender.history(room, from_time=PAST)],
        said,
        "the messages after three kills",
    )
    known = [number for number in ids if number is not None]
    context.check(
        known == sorted(set(known)),
        "each `message_id` above all before it",
        f"they were {shown(known)}",
        "R-ORDER-3",
    )
    context.check(  # as where a source of random numbers has the same seed at each start
        len(set(keys)) == len(keys) or not all(keys),
        "another `session_key` after each start of the server",
        f"these came: {keys}",
        "R-SESS-2",
    )
    context.check(
        len(set(rooms)) == len(rooms), "a new id for each room", f"they were {rooms}", "R-ROOM-16"
    )
