"""Random sequences of valid packets from several users, each answer and each delivery compared with
a small model.

The model knows who is on, which rooms there are, who is in them and owns them, what was said and
read, which files there are, and what a teacher does: who is muted, what is hidden, where only
teachers write. A run is drawn from its seed: `CHAT_TEST_SEED=3
CHAT_MODEL_STEPS=500 pytest tests/contract/test_model.py`. A failure prints the last steps.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.files import Upload, download
from support.raw_client import Packet, RawClient, letter_frequencies
from support.seed import drawn
from support.server_process import ServerProcess
from support.teachers import make_teacher

SERVER_OPTIONS = (
    "--rate-limit",
    "0",
    "--max-rooms",
    "0",
    "--login-failures",
    "0",
    "--min-free",
    "0",
)

STEPS = os.environ.get("CHAT_MODEL_STEPS")
TEACHER = "ms_lee"
USERS = ("anna", "Bob", "çelik", "dave.d", "eve_e", TEACHER)
OPEN_ROOMS = ("lobby", "room a", "Room A", "räum", "z")
NAMES = ("notes.txt", "a.tar.gz", "README", ".hidden", "notes (2).txt")
CONTENTS = ("hi", "Hello everyone!", " ", "é e\u0301", "👍🏽", "x" * 3000, "a\nb", "\u202eback")
HEARS_EVENTS = frozenset({"Bob", "eve_e"})
"""Who asks for events at login; the others must get none (R-EVT-1)."""
PRESENCE = frozenset({"user_online", "user_offline"})
MOST_PRIVATE_ROOMS = 12
LAST_STEPS = 25


# --- The model ------------------------------------------------------------------------------------


@dataclass(eq=False)
class Message:
    number: int
    sender: str
    content: str
    timestamp: str
    key: str
    heard_by: set[str]
    transaction: str = ""
    """T2, as its receivers were told."""
    copied_to: set[str] = field(default_factory=set)
    hidden: bool = False

    @property
    def shown(self) -> str:
        return f"[removed by {TEACHER}]" if self.hidden else self.content


@dataclass(eq=False)
class File:
    sender: str
    base_name: str
    stored_as: str
    content: bytes


@dataclass(eq=False)
class Room:
    room_id: str
    name: str
    owner: str | None = None
    members: set[str] = field(default_factory=set)
    """Of a private room: who is in it. Of an open room: who has not left it."""
    messages: list[Message] = field(default_factory=list)
    versions: list[File] = field(default_factory=list)
    deleted: bool = False
    read_only: bool = False
    uploads: bool = True
    read: dict[str, int] = field(default_factory=dict)

    @property
    def private(self) -> bool:
        return self.owner is not None

    def exists_for(self, name: str) -> bool:
        return not self.deleted and (not self.private or name in self.members)

    def mark(self, name: str, number: int) -> None:
        self.read[name] = max(number, self.read.get(name, 0))

    def unread(self, name: str) -> int:
        return sum(
            message.sender != name and message.number > self.read.get(name, 0)
            for message in self.messages
        )

    def newest_files(self) -> list[File]:
        """Each name once, by its newest version, oldest first."""
        newest = {file.stored_as: file for file in self.versions}
        return [file for file in self.versions if newest[file.stored_as] is file]

    def name_for(self, sender: str, base_name: str) -> str:
        """R-FILE-18."""
        for file in reversed(self.versions):
            if (file.sender, file.base_name) == (sender, base_name):
                return file.stored_as
        taken = {file.stored_as for file in self.versions}
        stem, dot, ending = base_name.rpartition(".")
        stem, ending = (stem, dot + ending) if stem else (base_name, "")
        number, name = 1, base_name
        while name in taken:
            number += 1
            name = f"{stem} ({number}){ending}"
        return name


def page_behind(entries: list[Any], limit: int) -> tuple[list[Any], bool]:
    return entries[:limit], len(entries) > limit


# --- The users and the steps ----------------------------------------------------------------------


class World:
    """A server, its users, and the model of both. Each `do_…` is one kind of step."""

    def __init__(self, server: ServerProcess, name: str) -> None:
        self.server, self.name = server, name
        self.rng = drawn("model", name)
        self.steps: deque[str] = deque(maxlen=LAST_STEPS)
        self.on: dict[str, RawClient] = {}
        self.keys: dict[str, str] = {}
        self.due: dict[str, list[Packet]] = {}
        """By user: the events that are still to be seen."""
        self.rooms = {"lobby": Room("lobby", "lobby", members=set(USERS))}
        self.newest = 0
        self.muted: set[str] = set()
        self.paused = False
        self.numbers: Iterator[int] = iter(range(1, 10**9))
        with_client = RawClient(server.port)
        make_teacher(server.data_dir, TEACHER)
        for name in USERS[:-1]:
            assert with_client.register(name)["action"] == "register_success"
        with_client.close()
        for name in USERS:
            self.log_in(name, by_key=False)

    def close(self) -> None:
        for client in self.on.values():
            client.close()

    # what the steps are drawn from

    def who(self) -> str:
        return self.rng.choice(sorted(self.on))

    def somebody(self) -> str:
        return self.rng.choice((*USERS, "nobody"))

    def room_id(self, *, new: bool = False) -> str:
        """Any room's id: an open one, perhaps not made yet, a private one, perhaps deleted, or one
        that never was."""
        living = [room_id for room_id, room in sorted(self.rooms.items()) if not room.deleted]
        deleted = [room_id for room_id, room in self.rooms.items() if room.deleted][-2:]
        return self.rng.choice(
            (
                *living,
                *living,
                *deleted,
                *(OPEN_ROOMS if new else ("no such room",)),
                "p-" + "0" * 32,
            )
        )

    def seen_by(self, name: str, room_id: str) -> Room | None:
        room = self.rooms.get(room_id)
        return room if room is not None and room.exists_for(name) else None

    def spelled(self, name: str) -> str:
        """The name, or the same name in other letters (R-ACC-6)."""
        return self.rng.choice((name, name, name.upper()))

    # running

    def run(self, steps: int) -> None:
        kinds = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("do_")]
        weights = [getattr(kind, "weight", 4) for kind in kinds]
        for step in range(steps):
            self.steps.append("")
            try:
                self.rng.choices(kinds, weights)[0]()
                if step % 10 == 9:
                    self.nothing_else_came()
                if step % 100 == 99 or step == steps - 1:
                    for name in self.on:
                        self.compare_all(name)
                if step % 2_500 == 150:
                    self.restart()
            except AssertionError as error:
                done = "\n".join(self.steps)
                raise AssertionError(
                    f"step {step}: {error}\nthe last steps:\n{done}\n{self.server.log()[-2000:]}"
                ) from error

    def note(self, *words: object) -> None:
        self.steps[-1] += " ".join(str(word)[:60] for word in words) + "; "

    def ask(self, name: str, action: str, **data: Any) -> Packet:
        reply = self.on[name].ask(action, **data)
        self.note(name, action, data, "->", reply.get("code") or reply["action"])
        return reply

    def expect(self, name: str, action: str, due: str, **data: Any) -> Packet:
        """Ask and see that the reply, or the code of its error, is the one that is due."""
        reply = self.ask(name, action, **data)
        assert (reply["code"] if reply["action"] == "error" else reply["action"]) == due, (
            f"{due} is due to {name}'s {action} {data}: {reply}"
        )
        return reply

    def nothing_else_came(self) -> None:
        """What was due was taken at its step, so nothing may be left."""
        for name, client in self.on.items():
            self.compare_events(name, client.nothing_before_pong())

    # events

    def tell(self, names: set[str], kind: str, **data: Any) -> None:
        """An event is due to those of these who hear events."""
        for name in names & HEARS_EVENTS & self.on.keys():
            self.due.setdefault(name, []).append({"type": kind, **data})

    def compare_events(self, name: str, left: list[Packet]) -> None:
        """See that nothing came but the events that were due, in their order. Presence is told of
        changes that last (R-EVT-3), and so has no due order."""
        others = [packet for packet in left if packet["action"] != "event"]
        assert others == [], f"{name} got what is none of theirs: {others}"
        events = [packet["data"] for packet in left if packet["action"] == "event"]
        assert name in HEARS_EVENTS or events == [], f"{name} asked for no events: {events}"
        about_rooms = [data for data in events if data["type"] not in PRESENCE]
        assert about_rooms == self.due.pop(name, []), f"{name} is told what has changed, and once"

    # sessions

    def log_in(self, name: str, *, by_key: bool) -> None:
        client = RawClient(self.server.port)
        fields: Packet = {"session_key": self.keys[name]} if by_key else {"take_over": True}
        if name in HEARS_EVENTS:
            fields["features"] = ["events"]
        reply = client.login(
            name.upper() if name.isascii() else name, None if by_key else "password", **fields
        )
        assert reply["action"] == "login_success", reply
        assert client.chatid == name
        self.keys[name] = client.session_key
        if name in self.on:
            self.tell({name}, "taken_over")
            old = self.on.pop(name)
            self.compare_events(name, old.expect_closed())
            old.close()
        self.due.pop(name, None)
        self.on[name] = client
        if name in self.muted:
            self.tell({name}, "user_muted", chatid=name, until=None, reason="")
        if self.paused:
            self.tell({name}, "class_paused", until=None, reason="")

    def do_log_in(self) -> None:
        name = self.rng.choice(USERS)
        by_key = name in self.keys and self.rng.random() < 0.7
        self.note(
            "login of",
            name,
            "by key" if by_key else "by password",
            "over" if name in self.on else "",
        )
        self.log_in(name, by_key=by_key)

    def do_log_out(self) -> None:
        if len(self.on) > 2:
            name = self.who()
            self.expect(name, "logout", "logout_ack")
            self.on.pop(name).close()
            del self.keys[name]

    def do_cut(self) -> None:
        if len(self.on) > 2:
            name = self.who()
            self.note(name, "is cut off")
            self.on.pop(name).close()
            other = self.who()
            while name in self.on[other].ask("get_users")["data"]["online"]:
                pass  # "at once" is as soon as the server has read the end of the stream

    def restart(self) -> None:
        self.note("the server restarts")
        self.server.restart()
        for client in self.on.values():
            client.close()
        names = sorted(self.on)
        self.on.clear()
        for name in names:
            self.log_in(name, by_key=True)

    # messages

    def deliver(self, room: Room, message: Message) -> None:
        """See that everybody who is on and in the room gets the message."""
        for name in sorted(room.members - {message.sender}):
            if name in self.on:
                came = self.on[name].receive_message(message.content, room.room_id)["data"]
                told = (came["message_id"], came["sender_chatid"], came["timestamp"])
                assert told == (message.number, message.sender, message.timestamp), came
                assert message.transaction in ("", came["transaction_id"]), (
                    "T2 is the same for everybody"
                )
                message.transaction = came["transaction_id"]
                message.heard_by.add(name)

    def do_say(self) -> None:
        name, room_id, content = self.who(), self.room_id(new=True), self.rng.choice(CONTENTS)
        room = self.seen_by(name, room_id)
        if room is None and (room_id in self.rooms or room_id.startswith("p-")):
            self.expect(name, "send_message", "room_not_found", room_id=room_id, content=content)
            return
        if refused := self.refusal(name, room):
            self.expect(name, "send_message", refused, room_id=room_id, content=content)
            return
        key = f"{self.name}-{next(self.numbers)}" if self.rng.random() < 0.5 else None
        counted = self.expect(
            name,
            "send_message",
            "character_count",
            room_id=room_id,
            content=content,
            **({"transaction_id": key} if key else {}),
        )
        assert counted["data"]["letter_frequencies"] == letter_frequencies(content)
        transaction = counted["data"]["transaction_id"]
        assert key in (None, transaction)
        if self.rng.random() < 0.15:
            assert self.on[name].confirm(transaction, False)["code"] == "not_confirmed"
            return
        ack = self.on[name].confirm(transaction)
        assert ack["action"] == "ack" and ack["status"] == "success", ack
        data = ack["data"]
        assert data["message_id"] > self.newest
        self.newest = data["message_id"]
        if room is None:
            room = self.rooms[room_id] = Room(room_id, room_id, members=set(USERS))
            self.tell(set(USERS), "room_created", room_id=room_id, name=room_id)
        room.members.add(name)
        message = Message(data["message_id"], name, content, data["timestamp"], key or "", set())
        room.messages.append(message)
        room.mark(name, message.number)
        self.deliver(room, message)

    do_say.weight = 30  # type: ignore[attr-defined]

    def do_say_again(self) -> None:
        """The same key again: the ack of then, or a mismatch."""
        name = self.who()
        keyed = [
            (room, message)
            for room in self.rooms.values()
            for message in room.messages
            if message.key and message.sender == name
        ]
        if not keyed:
            return
        room, message = self.rng.choice(keyed[-20:])
        same = self.rng.random() < 0.7
        content = message.content if same else message.content + "!"
        due = (
            "room_not_found"
            if not room.exists_for(name)
            else "ack"
            if same
            else "transaction_mismatch"
        )
        reply = self.expect(
            name,
            "send_message",
            due,
            room_id=room.room_id,
            content=content,
            transaction_id=message.key,
        )
        if due == "ack":
            assert (reply["data"]["message_id"], reply["data"]["timestamp"]) == (
                message.number,
                message.timestamp,
            )

    def do_answer(self) -> None:
        """Count a message that one got lately; right, wrong, or where it is none of one's own."""
        name = self.who()
        recent = [
            (room, message)
            for room in self.rooms.values()
            for message in room.messages[-3:]
            if message.transaction
        ]
        if not recent:
            return
        room, message = self.rng.choice(recent)
        if message.sender != name and name not in message.heard_by and room.exists_for(name):
            return  # whether who was off may answer is left open
        may = message.sender != name and room.exists_for(name)
        right = self.rng.random() < 0.7
        counts = letter_frequencies(message.content)
        reply = self.on[name].count(message.transaction, counts if right else {**counts, "q": 77})
        self.note(name, "counts", message.transaction, right, reply.get("code", ""))
        if not may:
            assert reply.get("code") == "transaction_not_found", reply
            return
        assert reply["action"] == "confirm_count" and reply["data"]["confirm"] is right, reply
        if right:
            self.on[name].acknowledge(message.transaction)
            room.mark(name, message.number)
        elif name not in message.copied_to:
            message.copied_to.add(name)
            self.on[name].acknowledge(message.transaction, "error")
            copy = self.on[name].receive_message(message.shown, room.room_id)["data"]
            assert (copy["message_id"], copy["transaction_id"]) == (
                message.number,
                message.transaction,
            )

    do_answer.weight = 15  # type: ignore[attr-defined]

    def do_read(self) -> None:
        """A page of history by any of its keys."""
        name, room_id = self.who(), self.room_id()
        room = self.seen_by(name, room_id)
        if room is None and name == TEACHER:
            return  # tests/contract/test_teacher.py
        limit = self.rng.choice((1, 2, 5, 1000))
        numbers = (
            [0, 1, self.newest, self.newest + 1] + [message.number for message in room.messages]
            if room
            else [0]
        )
        data: dict[str, Any] = {"limit": limit}
        found = list(room.messages) if room else []
        if self.rng.random() < 0.3:
            data["from_time"] = self.rng.choice(
                [message.timestamp for message in found]
                + ["2001-01-01T00:00:00+01:00", "2999-01-01T00:00:00Z"]
            )
            found = [
                message
                for message in found
                if data["from_time"][:4] == "2001" or message.timestamp >= data["from_time"]
            ]
        backwards = self.rng.random() < 0.5
        if backwards:
            data["before_id"] = before = self.rng.choice([None, *numbers])
            found = [message for message in found if before is None or message.number < before]
        if not backwards or self.rng.random() < 0.3:
            data["after_id"] = after = self.rng.choice(numbers)
            found = [message for message in found if message.number > after]
        if room is None:
            self.expect(name, "get_messages", "room_not_found", room_id=room_id, **data)
            return
        page = self.expect(name, "get_messages", "messages_list", room_id=room_id, **data)["data"]
        due = found[-limit:] if backwards else found[:limit]
        self.compare_page(page, due, len(found) > limit)
        for message in due:
            room.mark(name, message.number)

    do_read.weight = 15  # type: ignore[attr-defined]

    @staticmethod
    def compare_page(page: Packet, due: list[Message], has_more: bool) -> None:
        came = [
            (entry["message_id"], entry["sender_chatid"], entry["content"], entry["timestamp"])
            for entry in page["messages"]
        ]
        assert came == [
            (message.number, message.sender, message.shown, message.timestamp) for message in due
        ]
        assert page["has_more"] is has_more

    # rooms

    def do_create(self) -> None:
        name = self.who()
        if (
            sum(room.private and not room.deleted for room in self.rooms.values())
            >= MOST_PRIVATE_ROOMS
        ):
            return
        participants = self.rng.sample((*USERS, *USERS, *USERS, "nobody"), self.rng.randrange(4))
        spelled = [self.spelled(participant) for participant in participants]
        if "nobody" in participants:
            self.expect(
                name, "create_room", "user_not_found", participants=participants, room_name="x"
            )
            return
        title = self.rng.choice(("Project team", "lobby", "Ω"))
        if refused := self.refusal(name, None):
            self.expect(name, "create_room", refused, participants=spelled, room_name=title)
            return
        room_id = self.expect(
            name, "create_room", "room_created", participants=spelled, room_name=title
        )["data"]["room_id"]
        assert room_id not in self.rooms and room_id.startswith("p-")
        self.rooms[room_id] = Room(room_id, title, name, {name, *participants})
        self.tell({name, *participants}, "room_created", room_id=room_id, name=title)

    def do_join(self) -> None:
        name, room_id = self.who(), self.room_id()
        room = self.seen_by(name, room_id)
        self.expect(name, "join_room", "room_joined" if room else "room_not_found", room_id=room_id)
        if room is not None:
            room.members.add(name)

    def do_leave(self) -> None:
        name, room_id = self.who(), self.room_id()
        room = self.seen_by(name, room_id)
        due = (
            "room_not_found" if room is None else "forbidden" if room.owner == name else "room_left"
        )
        self.expect(name, "leave_room", due, room_id=room_id)
        if room is not None and due == "room_left":
            if room.private:
                self.tell(room.members, "user_removed", room_id=room_id, chatid=name)
            room.members.discard(name)

    def owners_only(self, name: str, room: Room | None) -> str | None:
        return "room_not_found" if room is None else "forbidden" if room.owner != name else None

    def do_add(self) -> None:
        name, room_id, other = self.who(), self.room_id(), self.somebody()
        room = self.seen_by(name, room_id)
        refused = self.owners_only(name, room) or ("user_not_found" if other == "nobody" else None)
        reply = self.expect(
            name,
            "add_user_to_room",
            refused or "user_added",
            room_id=room_id,
            user_to_add=self.spelled(other),
        )
        if room is not None and refused is None:
            assert reply["data"] == {"room_id": room_id, "user_added": other}
            if other not in room.members:
                room.members.add(other)
                self.tell(room.members, "user_added", room_id=room_id, chatid=other)

    do_add.weight = 8  # type: ignore[attr-defined]

    def do_remove(self) -> None:
        name, room_id, other = self.who(), self.room_id(), self.somebody()
        room = self.seen_by(name, room_id)
        refused = self.owners_only(name, room)
        if room is not None and refused is None:
            refused = (
                "user_not_found"
                if other not in room.members
                else "forbidden"
                if other == name
                else None
            )
        reply = self.expect(
            name,
            "remove_user_from_room",
            refused or "user_removed",
            room_id=room_id,
            user_to_remove=self.spelled(other),
        )
        if room is not None and refused is None:
            assert reply["data"] == {"room_id": room_id, "user_removed": other}
            self.tell(room.members, "user_removed", room_id=room_id, chatid=other)
            room.members.discard(other)

    def do_rename(self) -> None:
        name, room_id, title = self.who(), self.room_id(), f"title {next(self.numbers)}"
        room = self.seen_by(name, room_id)
        if room is not None and self.rng.random() < 0.3:
            title = room.name
        refused = self.owners_only(name, room) or self.refusal(name, room)
        self.expect(
            name, "rename_room", refused or "room_renamed", room_id=room_id, new_room_name=title
        )
        if room is not None and refused is None and room.name != title:
            room.name = title
            self.tell(room.members, "room_renamed", room_id=room_id, name=title)

    def do_delete(self) -> None:
        name, room_id = self.who(), self.room_id()
        room = self.seen_by(name, room_id)
        refused = self.owners_only(name, room)
        if room is not None and name == TEACHER and not room.private and room_id != "lobby":
            refused = None if self.rng.random() < 0.3 else refused
            if refused is not None:
                return  # else there would soon be no open room left
        self.expect(name, "delete_room", refused or "room_deleted", room_id=room_id)
        if room is not None and refused is None:
            room.deleted = True
            self.tell(self.who_sees(room), "room_deleted", room_id=room_id, name=room.name)

    # lists

    def do_list_rooms(self) -> None:
        name, limit = self.who(), self.rng.choice((1, 3, 1000))
        after = self.rng.choice((None, "", *sorted(self.rooms))) or None
        due = [
            room
            for room_id, room in sorted(self.rooms.items())
            if room.exists_for(name) and room_id > (after or "")
        ]
        data = self.expect(
            name, "get_rooms", "rooms_list", limit=limit, **({"after": after} if after else {})
        )["data"]
        self.compare_rooms(name, data, *page_behind(due, limit))

    do_list_rooms.weight = 10  # type: ignore[attr-defined]

    @staticmethod
    def compare_rooms(name: str, data: Packet, due: list[Room], has_more: bool) -> None:
        assert data["has_more"] is has_more
        for came, room in zip(data["rooms"], due, strict=True):
            newest = room.messages[-1].number if room.messages else 0
            expected = {
                "id": room.room_id,
                "name": room.name,
                "owner": room.owner,
                "private": room.private,
                "members": sorted(room.members),
                "has_more": False,
                "unread": room.unread(name),
                "last_message_id": newest,
                "read_only": room.read_only,
                "uploads": room.uploads,
            }
            assert came == expected, f"for {name}"

    def do_list_members(self) -> None:
        name, room_id, limit = self.who(), self.room_id(), self.rng.choice((1, 2, 1000))
        after = self.rng.choice(("A", "anna", "dave.d", "é"))
        room = self.seen_by(name, room_id)
        if room is None:
            self.expect(name, "get_room_users", "room_not_found", room_id=room_id)
            return
        data = self.expect(
            name, "get_room_users", "room_users_list", room_id=room_id, after=after, limit=limit
        )["data"]
        users, has_more = page_behind(
            sorted(member for member in room.members if member > after), limit
        )
        assert data == {
            "room_id": room_id,
            "room_name": room.name,
            "teachers": [user for user in users if user == TEACHER],
            "users": users,
            "has_more": has_more,
        }

    def do_list_users(self) -> None:
        name, limit = self.who(), self.rng.choice((1, 2, 1000))
        after = self.rng.choice(("A", "anna", "dave.d", "é"))
        users, has_more = page_behind(sorted(user for user in USERS if user > after), limit)
        data = self.expect(name, "get_users", "users_list", after=after, limit=limit)["data"]
        assert data == {
            "users": users,
            "online": [user for user in users if user in self.on],
            "teachers": [user for user in users if user == TEACHER],
            "has_more": has_more,
        }

    # what the teacher does

    def refusal(self, name: str, room: Room | None, *, is_file: bool = False) -> str | None:
        """The code with which the user is kept from writing, if it is."""
        if name in self.muted:
            return "muted"
        if name == TEACHER:
            return None
        keeps = room is not None and (room.read_only or (is_file and not room.uploads))
        return "read_only" if self.paused or keeps else None

    def act(self, action: str, due: str, **data: Any) -> bool:
        """Have the teacher do this, if on; somebody else, who may not, tries it first."""
        name = self.who()
        if name != TEACHER:
            self.expect(name, action, "forbidden", **data)
        if TEACHER in self.on:
            self.expect(TEACHER, action, due, **data)
        return TEACHER in self.on

    @staticmethod
    def who_sees(room: Room) -> set[str]:
        return room.members if room.private else set(USERS)

    def do_mute(self) -> None:
        other = self.somebody()
        due = {"nobody": "user_not_found", TEACHER: "forbidden"}.get(other, "user_muted")
        done = self.act("mute_user", due, user=self.spelled(other), seconds=0)
        if done and due == "user_muted":
            self.muted.add(other)
            self.tell(set(USERS), "user_muted", chatid=other, until=None, reason="")

    do_mute.weight = 2  # type: ignore[attr-defined]

    def do_unmute(self) -> None:
        other = self.rng.choice(sorted(self.muted) or USERS[:-1])
        if self.act("unmute_user", "user_unmuted", user=other) and other in self.muted:
            self.muted.discard(other)
            self.tell(set(USERS), "user_unmuted", chatid=other)

    def do_pause(self) -> None:
        if self.act("pause_class", "class_paused", seconds=0):
            self.paused = True
            self.tell(set(USERS), "class_paused", until=None, reason="")

    do_pause.weight = 1  # type: ignore[attr-defined]

    def do_resume(self) -> None:
        if self.act("resume_class", "class_resumed") and self.paused:
            self.paused = False
            self.tell(set(USERS), "class_resumed")

    def do_set_room(self) -> None:
        room_id = self.room_id()
        room = self.rooms.get(room_id)
        if room is None or room.deleted:
            self.act("set_room", "room_not_found", room_id=room_id, read_only=True)
            return
        state = {"read_only": self.rng.random() < 0.2, "uploads": self.rng.random() < 0.7}
        done = self.act("set_room", "room_set", room_id=room_id, **state)
        if done and (room.read_only, room.uploads) != tuple(state.values()):
            room.read_only, room.uploads = state["read_only"], state["uploads"]
            self.tell(self.who_sees(room), "room_set", room_id=room_id, **state)

    def do_hide(self) -> None:
        """Hide a message, or show it again."""
        found = [(room, message) for room in self.rooms.values() for message in room.messages[-10:]]
        if not found:
            self.act("hide_message", "message_not_found", message_id=self.newest + 1)
            return
        room, message = self.rng.choice(found)
        hide = self.rng.random() < 0.6
        kind = "message_hidden" if hide else "message_shown"
        action = "hide_message" if hide else "show_message"
        if self.act(action, kind, message_id=message.number) and message.hidden != hide:
            message.hidden = hide
            more = {"reason": ""} if hide else {}
            told = {"room_id": room.room_id, "message_id": message.number, **more}
            who = set() if room.deleted else self.who_sees(room)
            self.tell(who, kind, **told, content=message.shown)

    def do_remove_file(self) -> None:
        room_id, path = self.room_id(), self.rng.choice(NAMES)
        room = self.rooms.get(room_id)
        data = {"room_id": room_id, "file_path": path}
        if room is None or room.deleted:
            self.act("remove_file", "room_not_found", **data)
        elif path not in {file.stored_as for file in room.versions}:
            self.act("remove_file", "file_not_found", **data)
        elif self.act("remove_file", "file_removed", **data):
            room.versions = [file for file in room.versions if file.stored_as != path]
            self.tell(self.who_sees(room), "file_removed", **data)

    def do_kick(self) -> None:
        """Kick somebody: who is on is told, if it hears events, and closed."""
        other = self.rng.choice(USERS[:-1])
        if len(self.on) < 4 or not self.act("kick_user", "user_kicked", user=other):
            return
        self.keys.pop(other, None)
        if other in self.on:
            self.tell(set(USERS), "user_kicked", chatid=other, reason="")
            old = self.on.pop(other)
            self.compare_events(other, old.expect_closed())
            old.close()

    do_kick.weight = 2  # type: ignore[attr-defined]

    # files

    def do_upload(self) -> None:
        name, room_id, path = self.who(), self.room_id(new=True), self.rng.choice(NAMES)
        room = self.seen_by(name, room_id)
        content = self.rng.randbytes(self.rng.choice((0, 1, 1000, 2500)))
        upload = Upload(self.on[name], room_id, path, content, first=self.rng.choice((0, 1)))
        begun = upload.init()
        self.note(name, "uploads", path, "to", room_id, "->", begun.get("code", ""))
        if room is None and (room_id in self.rooms or room_id.startswith("p-")):
            assert begun["code"] == "room_not_found", begun
            return
        if refused := self.refusal(name, room, is_file=True):
            assert begun["code"] == refused, begun
            return
        assert begun["action"] == "file_send_init", begun
        upload.send_all()
        if self.rng.random() < 0.2:
            self.expect(name, "file_cancel", "file_cancelled", room_id=room_id, file_path=path)
            self.expect(name, "file_cancel", "file_not_found", room_id=room_id, file_path=path)
            return
        finished = upload.fin()
        assert finished["action"] == "file_send_fin", finished
        if room is None:
            room = self.rooms[room_id] = Room(room_id, room_id, members=set(USERS))
            self.tell(set(USERS), "room_created", room_id=room_id, name=room_id)
        room.members.add(name)
        file = File(name, path, room.name_for(name, path), content)
        room.versions.append(file)
        assert finished["data"]["stored_as"] == file.stored_as, finished
        assert finished["data"]["sha256"] == hashlib.sha256(content).hexdigest()
        for other in sorted(room.members - {name}):
            if other in self.on:
                told = self.on[other].receive_action("receive_file")["data"]
                expected = (room_id, name, file.stored_as, len(content))
                assert (
                    told["room_id"],
                    told["sender_chatid"],
                    told["file_path"],
                    told["file_size"],
                ) == expected
        if self.rng.random() < 0.3:
            again = upload.fin()
            assert again["data"] == finished["data"], (
                "a repeated fin answers the same, and tells nobody"
            )

    do_upload.weight = 10  # type: ignore[attr-defined]

    def do_list_files(self) -> None:
        name, room_id, limit = self.who(), self.room_id(), self.rng.choice((1, 2, 1000))
        room = self.seen_by(name, room_id)
        if room is None and name == TEACHER:
            return  # tests/contract/test_teacher.py
        if room is None:
            self.expect(name, "file_list_req", "room_not_found", room_id=room_id)
            return
        due = room.newest_files()
        behind = self.rng.randrange(-1, len(due))
        after = {"after": due[behind].stored_as} if behind >= 0 else {}
        data = self.expect(
            name, "file_list_req", "file_list_req", room_id=room_id, limit=limit, **after
        )["data"]
        self.compare_files(data, *page_behind(due[behind + 1 :], limit))

    @staticmethod
    def compare_files(data: Packet, due: list[File], has_more: bool) -> None:
        assert data["file_list"] == ", ".join(file.stored_as for file in due)
        came = [
            (entry["file_path"], entry["sender_chatid"], entry["file_size"], entry["sha256"])
            for entry in data["files"]
        ]
        assert came == [
            (
                file.stored_as,
                file.sender,
                len(file.content),
                hashlib.sha256(file.content).hexdigest(),
            )
            for file in due
        ]
        assert data["has_more"] is has_more

    def do_download(self) -> None:
        name, room_id = self.who(), self.room_id()
        room = self.seen_by(name, room_id)
        if room is None and name == TEACHER:
            return
        names = {file.stored_as: file for file in room.versions} if room else {}
        path = self.rng.choice((*NAMES, *sorted(names)))
        if room is None or path not in names:
            self.expect(
                name,
                "file_down_req",
                "file_not_found" if room else "room_not_found",
                room_id=room_id,
                file_path=path,
            )
            return
        self.note(name, "downloads", path)
        content, meta = download(self.on[name], room_id, path)
        assert content == names[path].content and meta["file_size"] == len(content)

    # now and then, everything

    def compare_all(self, name: str) -> None:
        """All rooms, all their messages from the first to the last, and all their files, as one
        user sees them."""
        client = self.on[name]
        due = [room for _, room in sorted(self.rooms.items()) if room.exists_for(name)]
        self.compare_rooms(name, client.ask("get_rooms", limit=1000)["data"], due, False)
        for room in due:
            after, came = 0, []
            while True:
                page = client.ask("get_messages", room_id=room.room_id, after_id=after, limit=400)[
                    "data"
                ]
                came += page["messages"]
                if not page["has_more"]:
                    break
                after = came[-1]["message_id"]
            self.compare_page({"messages": came, "has_more": False}, room.messages, False)
            if room.messages:
                room.mark(name, room.messages[-1].number)
            self.compare_files(
                client.ask("file_list_req", room_id=room.room_id)["data"],
                room.newest_files(),
                False,
            )


def test_the_server_does_what_a_small_model_says(
    start_server: Callable[..., ServerProcess],
) -> None:
    run(start_server(*SERVER_OPTIONS), "short", int(STEPS or 300))


def test_what_was_read_in_a_place_that_was_taken_over_is_read(
    start_server: Callable[..., ServerProcess],
) -> None:
    world = World(start_server(*SERVER_OPTIONS), "taken-over")
    try:
        for _ in range(20):
            world.on["anna"].say("lobby", "hi")
            world.on["Bob"].receive_message("hi", "lobby")
            assert world.on["Bob"].ask("get_messages", room_id="lobby", before_id=None)["data"][
                "messages"
            ]
            world.log_in("Bob", by_key=True)
            assert world.on["Bob"].ask("get_rooms")["data"]["rooms"][0]["unread"] == 0
    finally:
        world.close()


@pytest.mark.long
@pytest.mark.parametrize("name", ["long", "longer"])
def test_ten_thousand_steps(start_server: Callable[..., ServerProcess], name: str) -> None:
    run(start_server(*SERVER_OPTIONS), name, int(STEPS or 10_000))


def run(server: ServerProcess, name: str, steps: int) -> None:
    world = World(server, name)
    try:
        world.run(steps)
    finally:
        world.close()
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()
