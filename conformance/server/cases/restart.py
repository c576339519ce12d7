"""Kill and restart (`--start-cmd`): what was acknowledged is there, once and in order, and nothing
is stored twice.

Every case has an `early`, so that these run after all others and no waiting connection of theirs is
cut.
"""

from __future__ import annotations

import os

from conformance.server.cases.steps import (
    Upload,
    download,
    ended_politely,
    everybody_in,
    killed_and_started,
    own_process,
    private_room,
    started,
    uploaded,
)
from conformance.server.cases.users_events import event
from conformance.server.context import PAST, Bench, Said, User, case
from conformance.wire import Closed, Packet, shown

PLACE = 99


def last(bench: Bench) -> None:
    """Nothing to begin early: puts the case behind all others, NOT OFFERED where the kit has no
    process to kill."""
    bench.release(keep=True)
    own_process(bench)


def back(bench: Bench, user: User) -> User:
    """The user, logged in again after the restart (an assertion, since accounts must survive)."""
    again = bench.guest(user.account)
    reply = again.login()
    bench.check(
        again.is_on,
        f"`login_success` for {user.chatid} after the restart",
        f"this came: {shown(reply)}",
    )
    return again


@case(
    rules=["R-ORDER-1", "R-ORDER-3"],
    level="robust",
    early=last,
    title="what was acknowledged before a kill is there after it, once and in order, with its id and time",
)
def acked_messages(bench: Bench) -> None:
    sender, reader = bench.users(2, own=True)
    room = bench.room_id()
    acked: dict[str, Said] = {}
    texts = [f"{number} {bench.text()}" for number in range(60)]
    tids = {}
    for text in texts:
        opened = sender.ask(
            "send_message", {"room_id": room, "content": text}, want="character_count"
        )
        tids[bench.get(opened, "data.transaction_id", str)] = text
    sender.wire.send_together(
        [sender.packet("confirm_count", {"transaction_id": tid, "confirm": True}) for tid in tids],
        "many confirmations under way at the kill",
    )
    for _ in range(bench.random.randrange(15, 45)):
        ack = sender.reply("confirm_count")
        tid = bench.get(ack, "data.transaction_id", str)
        bench.check(
            tid in tids and ack.get("status") == "success",
            "`ack` of an open transaction",
            f"this came: {shown(ack)}",
            "R-MSG-4",
        )
        data = ack["data"]
        acked[tids[tid]] = Said(
            room, tids[tid], tid, ack, data.get("message_id"), data.get("timestamp")
        )
    killed_and_started(bench)
    _hold(bench, acked, texts, back(bench, reader).history(room))
    with bench.rule("R-ORDER-3"):
        later = back(bench, sender).say(room, "said after the restart")
        ids = [said.message_id for said in acked.values() if said.message_id is not None]
        if later.message_id is not None and ids:
            bench.check(
                later.message_id > max(ids),
                f"a `message_id` above {max(ids)}",
                f"it was {later.message_id}",
            )


def _hold(bench: Bench, acked: dict[str, Said], texts: list[str], history: list[Packet]) -> None:
    """Fail unless all that was acked is in the history, once, in its order, and nothing that was
    never said."""
    came = [each["content"] for each in history]
    missing = [text for text in acked if text not in came]
    bench.check(
        not missing,
        f"all {len(acked)} acknowledged messages",
        f"{len(missing)} are lost, as {shown(missing[:2])}",
        "R-ORDER-1",
    )
    bench.check(
        len(came) == len(set(came)),
        "each message once",
        f"{len(came) - len(set(came))} are there twice",
        "R-ORDER-1",
    )
    bench.check(
        set(came) <= set(texts),
        "nothing that was never said",
        f"this is there: {shown(sorted(set(came) - set(texts))[:2])}",
        "R-ORDER-1",
    )
    order = [text for text in came if text in acked]
    bench.check(
        order == list(acked),
        "the messages in the order of their acks",
        "they are in another order",
        "R-ORDER-2",
    )
    for message in history:
        said = acked.get(message["content"])
        if said is not None and said.message_id is not None:
            bench.equal(
                message.get("message_id"),
                said.message_id,
                "`message_id` after the restart",
                "R-ORDER-3",
            )
            bench.equal(
                message["timestamp"], said.timestamp, "`timestamp` after the restart", "R-ORDER-1"
            )


@case(
    rules=["R-MSG-8", "R-MSG-9"],
    level="robust",
    offers="transaction_id",
    early=last,
    title="the same key after a kill stores nothing twice, whether the ack was seen or not",
)
def same_key_not_twice(bench: Bench) -> None:
    sender = bench.user(own=True)
    room = bench.room_id()
    keys = {bench.key(): f"{number} {bench.text()}" for number in range(10)}
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
    killed_and_started(bench)
    sender = back(bench, sender)
    for key, text in keys.items():
        reply = sender.request(
            "send_message", {"room_id": room, "content": text, "transaction_id": key}
        )
        if key in seen:
            with bench.rule("R-MSG-9"):
                bench.equal(
                    reply.get("action"), "ack", "the reply to a key whose message is stored"
                )
                bench.equal(
                    bench.get(reply, "data.message_id", int),
                    seen[key],
                    "`message_id` of the ack of then",
                )
        elif reply.get("action") == "character_count":
            sender.confirm(room, text, key)
        else:
            bench.equal(reply.get("action"), "ack", "the reply to a key that may be stored")
    came = [each["content"] for each in sender.history(room)]
    bench.equal(sorted(came), sorted(keys.values()), "the messages of the room, each once")


@case(
    rules=["R-SESS-11"],
    level="robust",
    offers="session_key",
    early=last,
    title="a session key survives a kill and a restart of the server",
)
def session_key(bench: Bench) -> None:
    user = bench.user(own=True)
    key = user.session_key
    bench.check(bool(key), "a `session_key`", f"this came: {shown(user.login_success)}", "R-SESS-2")
    killed_and_started(bench)
    again = bench.guest(user.account)
    reply = again.login(session_key=key)
    bench.equal(reply.get("action"), "login_success", "the reply to a login with the key of before")


@case(
    rules=["R-ORDER-1", "R-FILE-12"],
    level="robust",
    early=last,
    title="a file whose `file_send_fin` was answered is there after a kill, byte for byte",
)
def finished_files(bench: Bench) -> None:
    sender = bench.user(own=True)
    room, contents = (
        bench.room_id(),
        [bench.random.randbytes(bench.random.randrange(1, 200_000)) for _ in range(3)],
    )
    names = [
        uploaded(bench, sender, room, f"kept{number}.bin", content, chunk=50_000)
        for number, content in enumerate(contents)
    ]
    killed_and_started(bench)
    reader = back(bench, sender)
    listed = bench.get(reader.ask("file_list_req", {"room_id": room}), "data.file_list", str)
    bench.equal(listed, ", ".join(names), "`file_list` after the restart")
    for name, content in zip(names, contents):
        bench.check(
            download(bench, reader, room, name).content == content,
            f"the bytes of {name}",
            "others came after the restart",
        )


@case(
    rules=["R-FILE-15", "R-FILE-8"],
    level="robust",
    offers="received",
    early=last,
    title="an upload is taken up again after a kill, and what `received` lists is there",
)
def unfinished_upload(bench: Bench) -> None:
    sender = bench.user(own=True)
    room, content = bench.room_id(), bench.random.randbytes(9500)
    upload = Upload(bench, sender, room, "cut.bin", content)
    upload.begin()
    upload.send(0, 1, 2, 5)
    killed_and_started(bench)
    upload.user = back(bench, sender)
    there = bench.get(upload.begin(), "data.received", list)
    have: set[int] = set()
    for pair in there:
        right = (
            isinstance(pair, list)
            and len(pair) == 2
            and all(type(each) is int for each in pair)
            and pair[0] <= pair[1]
        )
        bench.check(right, "`received` as a list of [first, last]", f"it was {shown(there)}")
        have |= set(range(pair[0], pair[1] + 1))
    bench.check(
        have <= {1, 2, 3, 6},
        "`received` with none but the chunks 1, 2, 3 and 6",
        f"it was {shown(there)}",
        "R-FILE-8",
    )
    upload.send(*(place for place in range(upload.total) if place + 1 not in have))
    upload.finish()
    bench.check(
        download(bench, upload.user, room, "cut.bin").content == content,
        "the bytes that were sent",
        "others came",
        "R-FILE-8",
    )


@case(
    rules=["R-ORDER-1"],
    level="robust",
    offers=["create_room", "rename_room", "add_user_to_room", "get_room_users"],
    early=last,
    title="rooms, their names and members survive a kill",
)
def rooms_and_members(bench: Bench) -> None:
    owner, member, added = bench.users(3, own=True)
    room, name = private_room(bench, owner, member), bench.room_id("kept")
    owner.ask("rename_room", {"room_id": room, "new_room_name": name})
    owner.ask("add_user_to_room", {"room_id": room, "user_to_add": added.chatid})
    killed_and_started(bench)
    again = back(bench, added)
    bench.equal(
        sorted(everybody_in(bench, again, room)),
        sorted(user.chatid for user in (owner, member, added)),
        "the members after the restart",
    )
    reply = again.ask("get_room_users", {"room_id": room})
    bench.equal(bench.get(reply, "data.room_name", str), name, "`room_name` after the restart")


@case(
    rules=["R-EVT-3"],
    level="robust",
    offers="events",
    early=last,
    title="who asked for events is told that the server closes",
)
def server_closing(bench: Bench) -> None:
    watcher = bench.user(features=["events"])
    if os.name == "nt":
        return
    status = ended_politely(bench)
    try:
        event(bench, watcher, "server_closing")
        watcher.wire.wait_closed()
    except Closed as problem:
        bench.fail("`event` of type server_closing before the end", problem.came)
    finally:
        started(bench)
    bench.equal(status, 0, "the exit status after SIGTERM", "R-CLI-1")


@case(
    rules=["R-ORDER-1"],
    level="robust",
    early=last,
    title="what was acknowledged is there after three kills in a row",
)
def three_kills(bench: Bench) -> None:
    sender = bench.user(own=True)
    room, said = bench.room_id(), []
    for _ in range(3):
        for _ in range(3):
            said.append(bench.text())
            sender.say(room, said[-1])
        killed_and_started(bench)
        sender = back(bench, sender)
    bench.equal(
        [each["content"] for each in sender.history(room, from_time=PAST)],
        said,
        "the messages after three kills",
    )
