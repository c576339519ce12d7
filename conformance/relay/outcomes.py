"""What came of a fault: sent again, counts disagreed, stored once, doubled, answered, lost.

Owns the faults whose outcome is still open, for `OPEN_SECONDS` at most. Only says what it saw pass.
One thread uses it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, final

from conformance.packets import Packet, data_of, value
from conformance.relay import reading
from conformance.relay.traffic import Passed

OPEN_SECONDS: Final = 60.0
MAX_OPEN: Final = 500

LOSING: Final = ("drop", "cut", "reset")
"""What is struck by these has to be sent again, or it is lost."""

CHANGED: Final = ("letter", "anagram", "count", "id")
"""What is struck by these says something else."""


@dataclass(frozen=True)
class Seen:
    """A packet that passed, with who it is of and the text that its transaction is about."""

    passed: Passed
    packet: Packet
    user: str
    text: str | None


@dataclass(eq=False)
class _Open:
    seen: Seen
    kind: str
    stored: list[int]
    """The numbers under which the message is stored, so far as acknowledgements told."""
    said: set[str] = field(default_factory=set)
    is_settled: bool = False
    """Whether something was seen to come of it."""


@final
class Outcomes:
    """Watches for what comes of each fault; `tell` is called with (time, row, text)."""

    def __init__(self, tell: Callable[[float, int, str], None]) -> None:
        self._tell = tell
        self._open: list[_Open] = []

    @property
    def is_watching(self) -> bool:
        """Whether the outcome of a fault is open."""
        return bool(self._open)

    def take(self, seen: Seen) -> None:
        """Take the next packet: what it says of earlier faults, then whether it is struck."""
        self.look_at_clock(seen.passed.at)
        for each in list(self._open):
            self._compare(each, seen)
        if seen.passed.fault:
            kind = seen.passed.fault.split()[0]
            self._open.append(_Open(seen, kind, _numbers(seen.packet)))
            while len(self._open) > MAX_OPEN:
                self._close(self._open[0], seen.passed.at)

    def look_at_clock(self, now: float) -> None:
        """Close what has been open for too long."""
        for each in [each for each in self._open if now - each.seen.passed.at > OPEN_SECONDS]:
            self._close(each, now)

    def end(self, now: float) -> None:
        """Close all that is open: nothing follows any more."""
        for each in list(self._open):
            if each.kind in LOSING:
                self._close(each, now)
        self._open.clear()

    def forget(self) -> None:
        """Forget all that is open: what comes now is no answer to it."""
        self._open.clear()

    def _close(self, each: _Open, now: float) -> None:
        self._open.remove(each)
        if each.is_settled:
            return
        if each.kind in LOSING:
            self._tell(now, each.seen.passed.row, "lost: nobody sent it again")
        elif each.kind in CHANGED:
            self._tell(now, each.seen.passed.row, "not noticed: nothing that followed shows it")
        elif each.kind != "again":
            self._tell(now, each.seen.passed.row, "no harm: all went on as usual")

    def _say(self, each: _Open, seen: Seen, text: str) -> None:
        what = text.partition(":")[0]
        if what not in each.said:
            each.said.add(what)
            each.is_settled = True
            self._tell(seen.passed.at, each.seen.passed.row, text)

    # --- One fault, one later packet

    def _compare(self, each: _Open, seen: Seen) -> None:
        if seen.user != each.seen.user:
            return
        action, row = reading.action_of(seen.packet), seen.passed.row
        if self._is_again(each, seen):
            after = seen.passed.at - each.seen.passed.at
            self._say(each, seen, f"sent again: row {row}, {after:.1f} s later")
        if action == "error" and not seen.passed.to_server:
            if seen.packet.get("original_action") == reading.action_of(each.seen.packet):
                self._say(each, seen, f"answered by an error: {seen.packet.get('code')}, row {row}")
        elif action == "confirm_count" and _same_message(each.seen, seen):
            self._confirmed(each, seen)
        elif action == "ack" and not seen.passed.to_server and _same_message(each.seen, seen):
            self._stored(each, seen)
        elif action == "messages_list" and _holds(seen.packet, each.seen):
            self._say(each, seen, f"found in the history: row {row}")
        elif action == "login_success" and each.kind in ("cut", "reset"):
            self._say(each, seen, f"came back: row {row}")

    def _is_again(self, each: _Open, seen: Seen) -> bool:
        """Return whether a packet is the struck one once more."""
        first = each.seen
        if (
            each.kind not in (*LOSING, *CHANGED, "delay", "swap", "join")
            or reading.action_of(first.packet) != reading.action_of(seen.packet)
            or seen.passed.to_server != first.passed.to_server
        ):
            return False
        if _same_message(first, seen):
            return True
        is_lost = each.kind in LOSING
        return is_lost and first.text is None and _bare(first.packet) == _bare(seen.packet)

    def _confirmed(self, each: _Open, seen: Seen) -> None:
        row = seen.passed.row
        if data_of(seen.packet).get("confirm") is not True:
            self._say(each, seen, f"counts disagreed: row {row}")
        elif each.kind == "anagram":
            self._say(each, seen, f"not noticed: the counts are the same, row {row}")

    def _stored(self, each: _Open, seen: Seen) -> None:
        number, row = data_of(seen.packet).get("message_id"), seen.passed.row
        if seen.packet.get("status") != "success":
            self._say(each, seen, f"not stored: {seen.packet.get('code') or 'error'}, row {row}")
        elif each.stored and number not in each.stored:
            self._say(each, seen, f"doubled: stored as message {each.stored[0]} and as {number}")
        elif each.kind != "anagram":
            each.stored = _numbers(seen.packet)
            name = "" if number is None else f"message {number}, "
            self._say(each, seen, f"stored once: {name}row {row}")


def _same_message(first: Seen, later: Seen) -> bool:
    """Return whether two packets of one user are about one message: the same key or text."""
    key = reading.transaction_of(first.packet)
    if key is not None and key == reading.transaction_of(later.packet):
        return True
    return first.text is not None and first.text == later.text


def _numbers(packet: Packet) -> list[int]:
    """Return the number of a message that an acknowledgement tells, in a list."""
    number = data_of(packet).get("message_id")
    return [number] if packet.get("action") == "ack" and isinstance(number, int) else []


def _bare(packet: Packet) -> Any:
    """Return a packet without what differs when it is sent again."""
    return {key: each for key, each in packet.items() if key != "request_id"}


def _holds(packet: Packet, struck: Seen) -> bool:
    """Return whether a page of history holds a delivery that was struck."""
    number = value(struck.packet, "message_id")
    messages = data_of(packet).get("messages")
    if reading.action_of(struck.packet) != "receive_message" or not isinstance(messages, list):
        return False
    return number is not None and any(
        isinstance(each, dict) and each.get("message_id") == number for each in messages
    )
