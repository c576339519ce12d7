"""A recording as a case of the kit: Python text with the steps that were recorded.

Pure: from items to text. Takes what clients did about messages (send, confirm, read); what the
server should have answered is in the rules, so that the case fails until the server keeps them.
"""

from __future__ import annotations

import keyword
from collections.abc import Sequence
from typing import Final

from conformance import own_name
from conformance.packets import Packet, data_of, key_of
from conformance.relay import reading
from conformance.relay.recording import BadRecording
from conformance.relay.traffic import Item, Passed

RULES: Final = ("R-MSG-4", "R-MSG-1", "R-MSG-2", "R-MSG-5", "R-ORDER-1", "R-ORDER-2", "R-FRAME-2")
LEAD: Final = '''"""A case from a recording: {title}.

Made by `{kit} recording {file} --case {name}`. Run it with

    {kit} server localhost:9876 --with {name}.py

It fails until the server keeps the rules; then keep it, so that the mistake does not come back.
"""

from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.replaying import Confirm, Read, Send, replay

STEPS = [
{steps}
]


@case(
    rules={rules},
    title={quoted},
)
def {name}(context: ServerContext) -> None:
    replay(context, STEPS)
'''


def to_case(items: Sequence[Item], name: str, title: str, file: str) -> str:
    """Return the text of a file with one case. Raises `BadRecording` where nothing was said."""
    if not name.isidentifier() or keyword.iskeyword(name):
        raise BadRecording(f"--case {name}: expected a name as for a function, as lost_message")
    steps = _Steps()
    for item in items:
        if isinstance(item, Passed) and item.piece.is_frame:
            steps.take(item)
    if not steps.lines:
        raise BadRecording("no message in it that a client sent and confirmed: no case to make")
    plain = _quotable("".join(each for each in title if each.isprintable()))
    return LEAD.format(
        title=plain,
        file=_quotable(file),
        kit=_quotable(own_name.NAME),
        name=name,
        steps="\n".join(f"    {line}," for line in steps.lines),
        rules=list(RULES),
        quoted=repr(f"as recorded: {plain}"),
    )


def _quotable(text: str) -> str:
    """Return a text as it may stand in a docstring: on one line, without quotes and backslashes."""
    return " ".join(text.replace("\\", "/").replace('"', "'").split())


class _Steps:
    """The lines of the steps, and what is known of each connection meanwhile."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._users: dict[int, str] = {}
        self._waiting: dict[int, list[tuple[str, int]]] = {}  # key and label, oldest first
        self._labels: dict[tuple[int, str], int] = {}
        self._last = 0

    def take(self, item: Passed) -> None:
        """Take the next packet that passed."""
        packet = reading.read(item.piece.payload)
        if packet is None:
            return
        if not item.to_server:
            self._opened(item.connection, packet)
        elif item.sent != ():  # what was lost has not happened to the server
            self._done(item, packet)

    def _done(self, item: Passed, packet: Packet) -> None:
        action, data = packet.get("action"), data_of(packet)
        if action == "login":
            self._users[item.connection] = str(data.get("chatid"))
        user = self._users.get(item.connection)
        room, content = data.get("room_id"), data.get("content")
        if user is None:
            return
        if action == "send_message" and isinstance(content, str) and isinstance(room, str):
            self._send(item, user, room, content, key_of(packet))
        elif action == "confirm_count":
            label = self._labels.get((item.connection, key_of(packet)))
            if label is not None:
                answer = data.get("confirm") is True
                more = "" if answer else ", answer=False"
                self.lines.append(f"Confirm({user!r}, {label}{more})")
        elif action == "get_messages" and isinstance(room, str) and self.lines:
            self.lines.append(f"Read({user!r}, {room!r})")

    def _send(self, item: Passed, user: str, room: str, content: str, key: str) -> None:
        self._last += 1
        self._waiting.setdefault(item.connection, []).append((key, self._last))
        kind, _, size = item.fault.partition(" ")
        pieces = f", pieces={int(size)}" if kind == "split" and size.isdecimal() else ""
        self.lines.append(f"Send({user!r}, {self._last}, {room!r}, {content!r}{pieces})")

    def _opened(self, connection: int, packet: Packet) -> None:
        """Learn from the counts which transaction a message has."""
        waiting, key = self._waiting.get(connection, []), key_of(packet)
        if packet.get("action") != "character_count" or not waiting:
            return
        found = next((each for each in waiting if each[0] == key), waiting[0])
        waiting.remove(found)
        self._labels[connection, key] = found[1]
