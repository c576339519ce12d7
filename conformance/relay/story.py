"""Tells what passes as events: small dicts for the page and the terminal, and all of one row.

Owns what is known of each connection (its user, its open messages) and the latest rows, in bounded
memory. Is told of everything by the thread "relay-traffic"; `detail` and `frame_of` may be called
by any thread.

The events: `open`, `name`, `frame`, `raw`, `close`, `came_of`, `step`, `faults`, `replay`. Texts in
them are what came over the wire: whoever shows them must not read them as markup.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

from conformance.packets import Packet, hex_of, value
from conformance.relay import reading
from conformance.relay.frames import HEADER_BYTES
from conformance.relay.outcomes import Outcomes, Seen
from conformance.relay.traffic import (
    Closed,
    Instead,
    Item,
    Listed,
    Opened,
    Passed,
    Played,
    Remark,
    Stepped,
)
from conformance.relay.verdicts import Counted, Counting

Event = dict[str, Any]

MAX_ROWS: Final = 20_000
MAX_ROW_BYTES: Final = 64 * 1024 * 1024
SHOWN_CHARACTERS: Final = 64 * 1024
"""So much of a payload is shown in a row's detail."""


@dataclass
class _Row:
    passed: Passed
    user: str
    action: str
    counted: Counted
    came_of: list[str] = field(default_factory=list)
    sent: tuple[bytes, ...] | None = None


@dataclass
class _Talk:
    address: str = ""
    user: str = ""
    counting: Counting = field(default_factory=Counting)


@final
class Story:
    """The events of everything that passes; each goes to all listeners, in order."""

    def __init__(self, listeners: Sequence[Callable[[Event], None]]) -> None:
        self._listeners = list(listeners)
        self._lock = threading.Lock()  # guards all below against other threads
        self._talks: dict[int, _Talk] = {}
        self._rows: OrderedDict[int, _Row] = OrderedDict()
        self._row_bytes = 0
        self._round: object = None  # of a replay
        self._outcomes = Outcomes(lambda at, row, text: self._remark(Remark(at, row, text)))

    def add_listener(self, listener: Callable[[Event], None]) -> None:
        """Tell one more, from now on; before the traffic starts."""
        self._listeners.append(listener)

    def __call__(self, item: Item) -> None:
        """Take the next item of the traffic."""
        if isinstance(item, Passed):
            self._passed(item)
        elif isinstance(item, Opened):
            with self._lock:
                self._talks[item.connection] = _Talk(item.address)
            self._tell("open", item, connection=item.connection, **{"from": item.address})
        elif isinstance(item, Closed):
            with self._lock:
                self._talks.pop(item.connection, None)
            self._tell("close", item, connection=item.connection, how=item.how)
        elif isinstance(item, Remark):
            self._remark(item)
        elif isinstance(item, Stepped):
            self._stepped(item)
        elif isinstance(item, Instead):
            self._instead(item)
        elif isinstance(item, Listed):
            self._tell("faults", item, faults=item.faults)
        elif isinstance(item, Played):
            if item.state.get("round") != self._round:
                self._round = item.state.get("round")
                self._outcomes.forget()
            self._tell("replay", item, **item.state)
        else:
            self._outcomes.look_at_clock(item.at)

    def connections(self) -> list[Event]:
        """Return who is connected, oldest first."""
        with self._lock:
            return [
                {"connection": number, "from": talk.address, "user": talk.user}
                for number, talk in self._talks.items()
            ]

    def detail(self, row: int) -> Event | None:
        """Return all that is known of a row, None where it is not kept any more."""
        with self._lock:
            found = self._rows.get(row)
            came_of = [] if found is None else list(found.came_of)
        return None if found is None else _detail(found, came_of)

    def frame_of(self, row: int) -> Passed | None:
        """Return what passed as this row, None where it is not kept any more."""
        with self._lock:
            found = self._rows.get(row)
        return None if found is None else found.passed

    # --- Items

    def _passed(self, item: Passed) -> None:
        talk = self._talks.get(item.connection) or _Talk()
        data = item.piece.data
        packet = reading.read(data, HEADER_BYTES) if item.piece.is_frame else None
        counted = _count(talk.counting, packet, item)
        self._name(talk, item, packet)
        self._keep(_Row(item, talk.user, reading.action_of(packet), counted, sent=item.sent))
        event = {
            "kind": "frame" if item.piece.is_frame else "raw",
            "time": round(item.at, 4),
            "connection": item.connection,
            "row": item.row,
            "to": "server" if item.to_server else "client",
            "size": len(data),
            "fault": item.fault or None,
            "held": item.is_held,
        }
        if item.piece.is_frame:
            start = data[HEADER_BYTES : HEADER_BYTES + reading.SHOWN_BYTES]
            event["action"] = reading.action_of(packet)
            event["summary"] = reading.summary(packet, start)
            event["room"] = reading.room_of(packet)
            event["transaction"] = reading.transaction_of(packet)
            event["message"] = reading.message_of(packet)
            event["counts"] = counted.verdict
        else:
            event["summary"] = hex_of(data, 24)
        self._tell_all(event)
        if packet is not None and (item.fault or self._outcomes.is_watching):
            text = talk.counting.text_of(packet, item.to_server)
            self._outcomes.take(Seen(item, packet, talk.user, text))

    def end(self, now: float) -> None:
        """Say what came of the last faults: nothing follows any more."""
        self._outcomes.end(now)

    def _name(self, talk: _Talk, item: Passed, packet: Packet | None) -> None:
        """Name a connection after who logs in; after `logout` it keeps the name."""
        if packet is None or packet.get("action") not in ("login", "login_success"):
            return
        name = value(packet, "chatid")
        if isinstance(name, str) and name and name != talk.user:
            talk.user = name[:64]
            self._tell("name", item, connection=item.connection, user=talk.user)

    def _remark(self, item: Remark) -> None:
        with self._lock:
            row = self._rows.get(item.row)
            if row is not None:
                row.came_of.append(item.text)
        self._tell("came_of", item, row=item.row, text=item.text)

    def _instead(self, item: Instead) -> None:
        with self._lock:
            row = self._rows.get(item.row)
            if row is not None:
                row.sent = item.sent
        self._remark(Remark(item.at, item.row, "edited: something else went on in its place"))

    def _stepped(self, item: Stepped) -> None:
        self._tell("step", item, on=item.is_on, held=list(item.held), until=item.until or None)

    def _tell(self, kind: str, item: Item, **more: Any) -> None:
        self._tell_all({"kind": kind, "time": round(item.at, 4), **more})

    def _tell_all(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)

    def _keep(self, row: _Row) -> None:
        with self._lock:
            self._rows[row.passed.row] = row
            self._row_bytes += len(row.passed.piece.data)
            while len(self._rows) > MAX_ROWS or self._row_bytes > MAX_ROW_BYTES:
                _, oldest = self._rows.popitem(last=False)
                self._row_bytes -= len(oldest.passed.piece.data)


def _count(counting: Counting, packet: Packet | None, item: Passed) -> Counted:
    """Count what the sender of a message wrote, against the counts as they arrive."""
    if packet is None:
        return Counted()
    if item.sent == ():
        return Counted()  # it never arrives
    if item.sent and reading.action_of(packet) == "character_count":
        packet = reading.read(item.sent[0][HEADER_BYTES:]) or packet
    return counting.take(packet, item.to_server)


def _detail(row: _Row, came_of: list[str]) -> Event:
    item, counted = row.passed, row.counted
    payload = item.piece.payload if item.piece.is_frame else item.piece.data
    detail: Event = {
        "row": item.row,
        "connection": item.connection,
        "user": row.user,
        "to": "server" if item.to_server else "client",
        "time": round(item.at, 4),
        "action": row.action,
        "size": len(item.piece.data),
        "fault": item.fault or None,
        "held": item.is_held,
        "came_of": came_of,
        "rules": reading.rules_about(row.action),
        "counts": {
            "verdict": counted.verdict,
            "text": counted.text,
            "expected": counted.expected,
            "came": counted.actual,
        },
        "json": reading.pretty(payload, SHOWN_CHARACTERS),
        "sent": None,
    }
    if item.piece.is_frame:
        detail["length_hex"] = item.piece.data[:HEADER_BYTES].hex(" ")
        detail["length"] = len(payload)
    else:
        detail["length_hex"] = ""
        detail["hex"] = hex_of(reading.without_secrets(item.piece.data), 1024)
    if row.sent is not None:
        detail["sent"] = [
            reading.pretty(each[HEADER_BYTES:], SHOWN_CHARACTERS) for each in row.sent
        ]
    return detail
