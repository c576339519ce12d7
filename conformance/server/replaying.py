"""Steps of a recorded talk, done again with a server, and checked against the rules of messages.

Owns no step: a case made by `recording --case` lists them. Users and rooms are fresh; what is said,
by whom, in which order and in which pieces is as it was recorded. One thread runs a case.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

from conformance.packets import Packet, data_of, encode, letters, shown
from conformance.server.context import ServerContext
from conformance.server.user import User

PIECE_SECONDS: Final = 0.02
MAX_PIECES: Final = 50


@dataclass(frozen=True)
class Send:
    """A user sends `text` to `room`; `label` names the message in later steps. With `pieces` its
    frame comes in pieces of so many bytes."""

    user: str
    label: int
    room: str
    text: str
    pieces: int = 0


@dataclass(frozen=True)
class Confirm:
    """The user says whether the counts of an own message agree."""

    user: str
    label: int
    answer: bool = True


@dataclass(frozen=True)
class Read:
    """A user reads the history of a room."""

    user: str
    room: str


Step = Send | Confirm | Read


@dataclass
class _Message:
    send: Send
    transaction_id: str
    number: int | None = None
    is_stored: bool = False


@final
@dataclass
class _Replay:
    context: ServerContext
    users: dict[str, User]
    rooms: dict[str, str]
    messages: dict[int, _Message] = field(default_factory=dict)

    def send(self, step: Send) -> None:
        """Send, and compare the counts that answer."""
        user, room = self.users[step.user], self.rooms[step.room]
        packet = user.packet("send_message", {"room_id": room, "content": step.text})
        user.checks.last_request = "send_message"
        if step.pieces:
            self._send_in_pieces(user, packet, step.pieces)
        else:
            user.wire.send(packet)
        rule = "R-FRAME-2" if step.pieces else "R-MSG-2"
        with self.context.rule(rule):
            reply = user.reply("send_message")
            self.context.check(
                reply.get("action") == "character_count",
                "`character_count` as the reply to `send_message`",
                f"this came: {shown(reply)}",
            )
        counts = self.context.get(reply, "data.letter_frequencies", dict, "R-MSG-1")
        self.context.equal(counts, letters(step.text), "`data.letter_frequencies`", "R-MSG-1")
        key = self.context.get(reply, "data.transaction_id", str, "R-MSG-2")
        self.messages[step.label] = _Message(step, key)

    def _send_in_pieces(self, user: User, packet: Packet, size: int) -> None:
        data = encode(packet)
        size = max(size, len(data) // MAX_PIECES + 1)
        for start in range(0, len(data), size):
            user.wire.send_raw(data[start : start + size], "a piece of a frame")
            time.sleep(PIECE_SECONDS)  # or the network joins them again

    def confirm(self, step: Confirm) -> None:
        """Confirm, when it was seen that nobody has the message yet."""
        message = self.messages[step.label]
        self._nobody_has(message)
        user = self.users[step.user]
        answer = {"transaction_id": message.transaction_id, "confirm": step.answer}
        rule = "R-MSG-4" if step.answer else "R-MSG-5"
        ack = user.ask("confirm_count", answer, want="ack", rule=rule)
        expected = "success" if step.answer else "error"
        self.context.equal(ack.get("status"), expected, "`status` of the `ack`", rule)
        number = data_of(ack).get("message_id")
        message.number = number if type(number) is int else None
        message.is_stored = step.answer

    def read(self, step: Read) -> None:
        """Compare the history with what was acknowledged so far."""
        found = self.users[step.user].history(self.rooms[step.room])
        contents = [each["content"] for each in found]
        expected = [each.send.text for each in self._stored(step.room)]
        for text in expected:
            self.context.check(
                text in contents,
                f"a history with every message that was acknowledged, {text!r} too",
                f"it holds {shown(contents)}",
                "R-ORDER-1",
            )
        self.context.equal(
            contents, expected, "the history, in the order of message_id", "R-ORDER-2"
        )

    def heard(self) -> None:
        """Compare what each user heard, and in which order, with what the others said."""
        for name, user in self.users.items():
            for room in self.rooms:
                expected = [each.send.text for each in self._stored(room) if each.send.user != name]
                with self.context.rule("R-MSG-4"):
                    came = [user.hear(self.rooms[room])["data"]["content"] for _ in expected]
                what = f"what {name} of the recording hears, in the order of message_id"
                self.context.equal(came, expected, what, "R-ORDER-2")

    def _stored(self, room: str) -> list[_Message]:
        """Return the messages of a room that were acknowledged, by their numbers if they have
        some, else in the order of the acknowledgements."""
        found = [each for each in self.messages.values() if each.send.room == room]
        stored = [each for each in found if each.is_stored]
        return sorted(stored, key=lambda each: each.number or 0)

    def _nobody_has(self, message: _Message) -> None:
        room, text = self.rooms[message.send.room], message.send.text
        same = [each for each in self.messages.values() if each.send.text == text]
        if len(same) > 1:
            return  # another message of the same text may be there rightly
        for name, user in self.users.items():
            if name == message.send.user:
                continue
            user.fence()
            early = [each for each in user.wire.aside() if _is_message(each, room, text)]
            self.context.check(
                not early,
                "that nobody has a message that is not confirmed",
                f"this came to {name}: {shown(early[:1])}",
                "R-MSG-2",
            )


def _is_message(packet: Packet, room: str, text: str) -> bool:
    data: dict[str, Any] = data_of(packet)
    return (
        packet.get("action") == "receive_message"
        and data.get("room_id") == room
        and data.get("content") == text
    )


def replay(context: ServerContext, steps: Sequence[Step]) -> None:
    """Do the steps in their order, then compare what everybody heard and can read."""
    names = sorted({each.user for each in steps})
    rooms = sorted({each.room for each in steps if not isinstance(each, Confirm)})
    users = dict(zip(names, context.users(len(names)), strict=True))
    talk = _Replay(context, users, {room: context.room_id() for room in rooms})
    for step in steps:
        if isinstance(step, Send):
            talk.send(step)
        elif isinstance(step, Confirm):
            talk.confirm(step)
        else:
            talk.read(step)
    for room in {each.send.room for each in talk.messages.values() if each.is_stored}:
        for name in names:
            talk.read(Read(name, room))
    talk.heard()
