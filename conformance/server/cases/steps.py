"""Steps that cases of several chapters take: private rooms, uploads, downloads, and a look at every
page of a list.

Owns no case and no rule. Knows the packets of rooms and files. One thread runs a case, and so
these.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, final

from conformance.server.context import Bench, NotOffered, User
from conformance.server.process import NotStarted, ServerCommand
from conformance.wire import Packet, shown

CHUNK_BYTES = 1000
MOST_PAGES = 200
PAUSES = (0.0, 0.1, 0.5, 2.0)
SEED_PACKETS = frozenset(
    [
        "login",
        "login_success",
        "login_fail",
        "send_message",
        "receive_message",
        "receive_file",
        "get_messages",
        "messages_list",
    ]
    + [
        "error",
        "character_count",
        "confirm_count",
        "ack",
        "file_send_init",
        "file_send_data",
        "file_send_fin",
        "file_list_req",
    ]
    + ["file_down_req", "file_down_meta", "file_down_data", "file_down_fin"]
)
"""The actions of the course's 24 packets."""


# --- rooms


def private_room(bench: Bench, owner: User, *members: User, name: str = "") -> str:
    """The id of a new private room (a precondition)."""
    with bench.given("a private room", remember="private room"):
        participants = [member.chatid for member in members]
        reply = owner.ask(
            "create_room",
            {"participants": participants, "room_name": name or bench.room_id("team")},
        )
        return bench.get(reply, "data.room_id", str)


def pages(
    bench: Bench, user: User, action: str, key: str, data: Packet | None = None, mark: str = ""
) -> Iterator[list[Any]]:
    """Every page of a list: `key` is that of the entries, `mark` the key of an entry that `after`
    wants ("": the entry itself)."""
    asked = dict(data or {})
    for _ in range(MOST_PAGES):
        reply = user.ask(action, asked)
        page: list[Any] = bench.get(reply, f"data.{key}", list)
        yield page
        if not page or reply["data"].get("has_more") is not True:
            return
        last = page[-1]
        asked["after"] = bench.get(last, mark, str) if mark else last
    bench.fail(f"`{action}` to come to an end", f"`has_more` was still true on page {MOST_PAGES}")


def rooms_of(bench: Bench, user: User) -> dict[str, Packet]:
    """Every room that exists for the user, by id (an assertion)."""
    rooms: dict[str, Packet] = {}
    for page in pages(bench, user, "get_rooms", "rooms", mark="id"):
        for room in page:
            bench.check(
                isinstance(room, dict), "objects in `data.rooms`", f"this came: {shown(room)}"
            )
            rooms[bench.get(room, "id", str)] = room
    return rooms


def everybody_in(bench: Bench, user: User, room_id: str) -> list[str]:
    """Every name that `get_room_users` tells, in its order (an assertion)."""
    return [
        name
        for page in pages(bench, user, "get_room_users", "users", {"room_id": room_id})
        for name in page
    ]


def in_room(packets: list[Packet], room_id: str) -> list[Packet]:
    """Those of the packets that are about a room."""
    return [
        packet
        for packet in packets
        if isinstance(packet.get("data"), dict) and packet["data"].get("room_id") == room_id
    ]


# --- files


@final
@dataclass
class Upload:
    """One file on its way to the server; `first` is the number of its first chunk (0 or 1)."""

    bench: Bench
    user: User
    room_id: str
    file_path: str
    content: bytes
    chunk: int = CHUNK_BYTES
    first: int = 1
    file_type: str = "application/octet-stream"

    @property
    def total(self) -> int:
        """How many chunks there are."""
        return -(-len(self.content) // self.chunk)

    def _data(self, **more: Any) -> Packet:
        return {"room_id": self.room_id, "file_path": self.file_path, **more}

    def init(self, **more: Any) -> Packet:
        """The `data` of `file_send_init`."""
        sizes = {
            "file_size": len(self.content),
            "file_type": self.file_type,
            "total_packets": self.total,
        }
        return self._data(**{**sizes, **more})

    def piece(self, place: int) -> Packet:
        """The `data` of the chunk in this place, counted from 0."""
        part = self.content[place * self.chunk : (place + 1) * self.chunk]
        return self._data(
            sequence_number=place + self.first, file_data=base64.b64encode(part).decode("ascii")
        )

    def fin(self) -> Packet:
        """The `data` of `file_send_fin`."""
        return self._data(total_packets=self.total)

    def begin(self, **more: Any) -> Packet:
        """Open the upload; the reply."""
        return self.user.ask("file_send_init", self.init(**more))

    def send(self, *places: int) -> None:
        """Send the chunks in these places, all where none is named, without waiting in between;
        then take the answers."""
        order = places or tuple(range(self.total))
        self.user.wire.send_together(
            [self.user.packet("file_send_data", self.piece(place)) for place in order]
        )
        for place in order:
            reply = self.user.reply("file_send_data")
            self.bench.equal(
                reply.get("action"), "file_send_data", f"the answer to chunk {place + self.first}"
            )
            self.bench.equal(
                self.bench.get(reply, "data.sequence_number", int),
                place + self.first,
                "`sequence_number` of the answer",
            )

    def finish(self) -> Packet:
        """End the upload; the reply."""
        reply = self.user.ask("file_send_fin", self.fin())
        self.bench.equal(reply.get("status"), "success", "`status` of `file_send_fin`")
        return reply

    def run(self, **more: Any) -> Packet:
        """The whole upload; the last reply."""
        self.begin(**more)
        if self.total:
            self.send()
        return self.finish()


def uploaded(
    bench: Bench, user: User, room_id: str, file_path: str, content: bytes, chunk: int = CHUNK_BYTES
) -> str:
    """Put a file into a room (a precondition); the name under which it is stored."""
    with bench.given("a file that is uploaded", remember="upload"):
        data = Upload(bench, user, room_id, file_path, content, chunk).run().get("data")
        stored = data.get("stored_as") if isinstance(data, dict) else None
        return stored if isinstance(stored, str) else file_path


@final
@dataclass
class Download:
    """What came of one download: the number and bytes of each chunk, in the order in which they
    came."""

    meta: Packet
    numbers: list[int] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)
    packets: list[Packet] = field(default_factory=list)

    @property
    def content(self) -> bytes:
        """All bytes that came."""
        return b"".join(self.parts)


def download(bench: Bench, user: User, room_id: str, file_path: str, **more: Any) -> Download:
    """Ask for a file and take all of it (an assertion)."""
    beside = {"request_id": more.pop("request_id")} if "request_id" in more else {}
    meta = user.ask("file_down_req", {"room_id": room_id, "file_path": file_path, **more}, **beside)
    return take_download(bench, user, meta)


def take_download(bench: Bench, user: User, meta: Packet) -> Download:
    """Everything that follows a `file_down_meta`, up to `file_down_fin`."""
    came = Download(meta, packets=[meta])
    while True:
        packet = user.wire.expect("file_down_data", "file_down_fin")
        came.packets.append(packet)
        if packet["action"] == "file_down_fin":
            return came
        came.numbers.append(bench.get(packet, "data.sequence_number", int))
        came.parts.append(_bytes_of(bench, bench.get(packet, "data.file_data", str)))


def _bytes_of(bench: Bench, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        bench.fail(
            "`data.file_data` to be base64 with padding", f"{text[:60]!r}: {error}", "R-FILE-19"
        )


def files_of(bench: Bench, user: User, room_id: str) -> list[Packet]:
    """The entries of `files` of a room (an assertion)."""
    found: list[Packet] = []
    for page in pages(
        bench, user, "file_list_req", "files", {"room_id": room_id}, mark="file_path"
    ):
        for each in page:
            bench.check(
                isinstance(each, dict), "objects in `data.files`", f"this came: {shown(each)}"
            )
            found.append(each)
    return found


# --- sessions


def accounts_are_few(bench: Bench) -> bool:
    """Whether the run has only accounts that were given, so that none may be held from its
    beginning to its end."""
    target = bench.target
    return (
        bool(target.accounts)
        or target.way == "none"
        or any(user.account.is_given for user in target.idle)
    )


def another_session(bench: Bench, user: User) -> User:
    """The same user on a new connection, the old one closed without a word (a precondition).

    A server may need a moment to see that the old connection is gone; four attempts are no flood of
    failed logins (R-LIM-9).
    """
    with bench.given("one more session of the same user", remember="another session"):
        user.close()
        reply: Packet = {}
        for pause in PAUSES:
            time.sleep(pause)
            again = bench.guest(user.account)
            reply = again.login()
            if again.is_on:
                return again
            again.close()
        bench.fail(
            f"`login_success` for {user.chatid}, whose connection was closed",
            f"this came: {shown(reply)}",
        )


# --- the server's process


def own_process(bench: Bench) -> ServerCommand:
    """The server's process, where the kit may end it; NOT OFFERED where it was not started by the
    kit."""
    if bench.target.process is None:
        raise NotOffered(
            "a server that the kit may kill and start again", "give its command with --start-cmd"
        )
    return bench.target.process


def killed_and_started(bench: Bench) -> None:
    """Kill the server without a word and start it again (the current rule fails where it does not
    come back)."""
    process = own_process(bench)
    bench.transcript.note("the server is killed (SIGKILL) and started again")
    with _that_it_starts(bench):
        process.restart()


def ended_politely(bench: Bench) -> int | None:
    """Ask the server to end (SIGTERM); its exit status, None where it did not end."""
    bench.transcript.note("the server is asked to end (SIGTERM)")
    return own_process(bench).terminate()


def started(bench: Bench) -> None:
    """Start the server that ended."""
    with _that_it_starts(bench):
        own_process(bench).start()


@contextlib.contextmanager
def _that_it_starts(bench: Bench) -> Iterator[None]:
    try:
        yield
    except NotStarted as error:
        bench.fail("that the server starts again with its data", str(error))
