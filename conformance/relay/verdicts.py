"""Whether the counts of a message agree, as the relay finds by counting itself.

Owns what each connection's open messages say. Counts what a side wrote against what the other side
gets to see, so that a changed letter shows as it will show to them. One thread uses it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any, Final, final

from conformance.packets import Packet, key_of, letters, value

AGREE: Final = "agree"
DIFFER: Final = "differ"
NONE: Final = "none"
MAX_OPEN: Final = 1_000
"""So many messages of one connection are remembered."""


@dataclass(frozen=True)
class Counted:
    """A verdict, and what it was found from; `text` None where the message was not seen."""

    verdict: str = NONE
    text: str | None = None
    expected: dict[str, int] = field(default_factory=dict)
    actual: Any = None


NOTHING: Final = Counted()
HANDSHAKE: Final = ("send_message", "receive_message", "character_count", "ack", "error")


@final
class Counting:
    """The messages of one connection."""

    def __init__(self) -> None:
        self._sent: deque[tuple[str, str]] = deque(maxlen=MAX_OPEN)  # key ("" none), content
        self._texts: OrderedDict[tuple[bool, str], str] = OrderedDict()

    def take(self, packet: Packet, to_server: bool) -> Counted:
        """Take the next packet; the verdict is for `character_count`, else "none"."""
        action = packet.get("action")
        if action not in HANDSHAKE:
            return NOTHING
        if action == "send_message" and to_server:
            content = value(packet, "content")
            self._sent.append((key_of(packet), content if isinstance(content, str) else ""))
        elif action == "receive_message" and not to_server:
            content = value(packet, "content")
            self._keep(True, key_of(packet), content if isinstance(content, str) else "")
        elif action == "error" and not to_server and self._sent:
            if packet.get("original_action") == "send_message":
                self._sent.popleft()
        elif action == "ack" and not to_server:
            self._forget(key_of(packet))
        elif action == "character_count":
            return self._compare(packet, to_server)
        return NOTHING

    def text_of(self, packet: Packet, to_server: bool) -> str | None:
        """Return the text of the message that a packet of its handshake is about."""
        action = packet.get("action")
        if action in ("send_message", "receive_message"):
            content = value(packet, "content")
            return content if isinstance(content, str) else None
        is_received = to_server if action in ("character_count", "ack") else not to_server
        return self._texts.get((is_received, key_of(packet)))

    def _compare(self, packet: Packet, to_server: bool) -> Counted:
        key = key_of(packet)
        if not to_server:
            self._open(key)
        text = self._texts.get((to_server, key))
        counts = value(packet, "letter_frequencies")
        if text is None:
            return Counted(actual=counts)
        expected = letters(text)
        agrees = counts == expected and all(type(count) is int for count in counts.values())
        return Counted(AGREE if agrees else DIFFER, text, expected, counts)

    def _open(self, key: str) -> None:
        """Find the message that a server's counts are about: by its key, else the oldest."""
        if not self._sent:
            return
        found = next((each for each in self._sent if each[0] == key), None)
        found = found or next((each for each in self._sent if not each[0]), self._sent[0])
        self._sent.remove(found)
        self._keep(False, key, found[1])

    def _forget(self, key: str) -> None:
        """Forget a message that was acknowledged without counts: its key was stored before."""
        found = next((each for each in self._sent if each[0] and each[0] == key), None)
        if found is not None:
            self._sent.remove(found)

    def _keep(self, to_server: bool, key: str, text: str) -> None:
        self._texts[to_server, key] = text
        while len(self._texts) > MAX_OPEN:
            self._texts.popitem(last=False)
