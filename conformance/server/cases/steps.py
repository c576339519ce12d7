"""Steps that cases of several chapters take: private rooms, uploads, downloads, and a look at every
page of a list.

Owns no case and no rule. Knows the packets of rooms and files. One thread runs a case, and so
these.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, final

from conformance.endings import NotOffered
from conformance.last_words import how_it_ended
from conformance.packets import Packet, shown
from conformance.server.context import ServerContext
from conformance.server.process import NotStarted, ServerCommand
from conformance.server.user import User

CHUNK_BYTES = 1000
MOST_PAGES = 200
PAUSES = (0.0, 0.1, 0.5, 2.0)
SEED_PACKETS = (
    "login",
    "login_success",
    "login_fail",
    "send_message",
    "receive_message",
    "receive_file",
    "get_messages",
    "messages_list",
    "error",
    "character_count",
    "confirm_count",
    "ack",
    "file_send_init",
    "file_send_data",
    "file_send_fin",
    "file_list_req",
    "file_down_req",
    "file_down_meta",
    "file_down_data",
    "file_down_fin",
)
"""The actions of the course's 24 packets."""


# --- rooms


def private_room(context: ServerContext, owner: User, *members: User, name: str = "") -> str:
    """Make a private room and return its id (a precondition)."""
    with context.given("a private room", remember="private room"):
        participants = [member.chatid for member in members]
        reply = owner.ask(
            "create_room",
            {"participants": participants, "room_name": name or context.room_id("team")},
        )
        return context.get(reply, "data.room_id", str)


def pages(
    context: ServerContext,
    user: User,
    action: str,
    key: str,
    data: Packet | None = None,
    mark: str = "",
) -> Iterator[list[Any]]:
    """Return every page of a list: `key` is that of the entries, `mark` the key of an entry that
    `after` wants ("": the entry itself)."""
    asked = dict(data or {})
    for _ in range(MOST_PAGES):
        reply = user.ask(action, asked)
        page: list[Any] = context.get_list(reply, f"data.{key}", dict if mark else str)
        yield page
        if not page or reply["data"].get("has_more") is not True:
            return
        last = page[-1]
        asked["after"] = context.get(last, mark, str) if mark else last
    context.fail(f"`{action}` to come to an end", f"`has_more` was still true on page {MOST_PAGES}")


def rooms_of(context: ServerContext, user: User) -> dict[str, Packet]:
    """Return every room that exists for the user, by id (an assertion)."""
    rooms: dict[str, Packet] = {}
    for page in pages(context, user, "get_rooms", "rooms", mark="id"):
        for room in page:
            rooms[context.get(room, "id", str)] = room
    return rooms


def everybody_in(context: ServerContext, user: User, room_id: str) -> list[str]:
    """Return every name that `get_room_users` tells, in its order (an assertion)."""
    return [
        name
        for page in pages(context, user, "get_room_users", "users", {"room_id": room_id})
        for name in page
    ]


def in_room(packets: list[Packet], room_id: str) -> list[Packet]:
    """Return those of the packets that are about a room."""
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

    context: ServerContext
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
        """Return the `data` of `file_send_init`."""
        sizes = {
            "file_size": len(self.content),
            "file_type": self.file_type,
            "total_packets": self.total,
        }
        return self._data(**{**sizes, **more})

    def piece(self, place: int) -> Packet:
        """Return the `data` of the chunk in this place, counted from 0."""
        part = self.content[place * self.chunk : (place + 1) * self.chunk]
        return self._data(
            sequence_number=place + self.first, file_data=base64.b64encode(part).decode("ascii")
        )

    def fin(self) -> Packet:
        """Return the `data` of `file_send_fin`."""
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
            number = place + self.first
            action, what = reply.get("action"), f"the answer to chunk {number}"
            self.context.equal(action, "file_send_data", what, "" if number else "R-FILE-2")
            self.context.equal(
                self.context.get(reply, "data.sequence_number", int),
                place + self.first,
                "`sequence_number` of the answer",
            )

    def finish(self) -> Packet:
        """End the upload; the reply."""
        reply = self.user.ask("file_send_fin", self.fin())
        self.context.equal(reply.get("status"), "success", "`status` of `file_send_fin`")
        return reply

    def run(self, **more: Any) -> Packet:
        """Upload the whole file; return the last reply."""
        self.begin(**more)
        if self.total:
            self.send()
        return self.finish()


def uploaded(
    context: ServerContext,
    user: User,
    room_id: str,
    file_path: str,
    content: bytes,
    chunk: int = CHUNK_BYTES,
) -> str:
    """Put a file into a room (a precondition); the name under which it is stored."""
    with context.given("a file that is uploaded", remember="upload"):
        data = Upload(context, user, room_id, file_path, content, chunk).run().get("data")
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


def download(
    context: ServerContext, user: User, room_id: str, file_path: str, **more: Any
) -> Download:
    """Ask for a file and take all of it (an assertion)."""
    beside = {"request_id": more.pop("request_id")} if "request_id" in more else {}
    meta = user.ask("file_down_req", {"room_id": room_id, "file_path": file_path, **more}, **beside)
    return take_download(context, user, meta)


def take_download(context: ServerContext, user: User, meta: Packet) -> Download:
    """Take everything that follows a `file_down_meta`, up to `file_down_fin`."""
    actual = Download(meta, packets=[meta])
    while True:
        packet = user.wire.expect("file_down_data", "file_down_fin")
        actual.packets.append(packet)
        if packet["action"] == "file_down_fin":
            return actual
        actual.numbers.append(context.get(packet, "data.sequence_number", int))
        actual.parts.append(bytes_of(context, context.get(packet, "data.file_data", str)))


def bytes_of(context: ServerContext, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        context.fail(
            "`data.file_data` to be base64 with padding", f"{text[:60]!r}: {error}", "R-FILE-19"
        )


def files_of(context: ServerContext, user: User, room_id: str) -> list[Packet]:
    """Return the entries of `files` of a room (an assertion)."""
    found: list[Packet] = []
    for page in pages(
        context, user, "file_list_req", "files", {"room_id": room_id}, mark="file_path"
    ):
        found += page
    return found


# --- sessions


def another_session(context: ServerContext, user: User) -> User:
    """Log the same user in on a new connection, the old one closed without a word (a precondition).

    A server may need a moment to see that the old connection is gone; four attempts are no flood of
    failed logins (R-LIM-9).
    """
    with context.given("one more session of the same user", remember="another session"):
        user.close()
        reply: Packet = {}
        for pause in PAUSES:
            time.sleep(pause)
            again = context.guest(user.account)
            reply = again.login()
            if again.is_on:
                return again
            again.close()
        context.fail(
            f"`login_success` for {user.chatid}, whose connection was closed",
            f"this came: {shown(reply)}",
        )


# --- the server's process


def own_process(context: ServerContext) -> ServerCommand:
    """Return the server's process, where the kit may end it; NOT OFFERED where it was not started
    by the kit."""
    if context.target.process is None:
        raise NotOffered(
            "a server that the kit may kill and start again",
            'give its command: localhost:0 --start-cmd "COMMAND {port}"',
        )
    return context.target.process


def killed_and_started(context: ServerContext) -> None:
    """Kill the server without a word and start it again (the current rule fails where it does not
    come back)."""
    process = own_process(context)
    context.transcript.note("the server is killed (SIGKILL) and started again")
    with _that_it_starts(context):
        process.restart()


def ended_politely(context: ServerContext) -> int | None:
    """Ask the server to end (SIGTERM); its exit status, None where it did not end."""
    context.transcript.note("the server is asked to end (SIGTERM)")
    return own_process(context).terminate()


def ended_well(context: ServerContext, status: int | None, rule: str = "") -> None:
    """Fail unless the server ended with exit status 0 when it was asked to end."""
    actual = "it did not end, and was killed" if status is None else f"it {how_it_ended(status)}"
    if status in (-signal.SIGTERM, 128 + signal.SIGTERM):  # or so by a shell
        actual += ": it has no handler for SIGTERM"
    context.check(status == 0, "exit status 0 after SIGTERM", actual, rule)


def started(context: ServerContext) -> None:
    """Start the server that ended."""
    with _that_it_starts(context):
        own_process(context).start()


@contextlib.contextmanager
def _that_it_starts(context: ServerContext) -> Iterator[None]:
    try:
        yield
    except NotStarted as error:
        context.fail("that the server starts again with its data", str(error))
