"""Packets as they go over the wire, made readable: direction, time, length bytes, transaction;
passwords and keys hidden.

Owns what is shown of a frame, and of what nothing is shown. Never prints: it makes events. Any
thread may call it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from client.base.text import visible
from client.events import Event, PacketSeen

MODES: Final = ("off", "brief", "full")
MAX_SHOWN: Final = (
    4_000  # characters of one packet: a list of a thousand messages would bury the chat
)
MAX_VALUE: Final = 200
ROW: Final = 72
LINE: Final = 79  # what is shown in one line fits into the usual 80 columns
_SECRETS: Final = ("password", "session_key")
_BULK: Final = "file_data"


class PacketView:
    """A `trace` of a connection: gives each frame to `tell` as an event, in as many words as `mode`
    says."""

    def __init__(self, tell: Callable[[Event], None], mode: str = "off") -> None:
        self._tell = tell
        self.mode = mode
        """One of `MODES`; may be set at any time."""

    def __call__(self, direction: str, payload: bytes) -> None:
        mode = self.mode
        if mode != "off":
            text = in_words(direction, payload, full=mode == "full")
            self._tell(PacketSeen(text if mode == "full" else text[:LINE], direction == "sent"))


def in_words(direction: str, payload: bytes, *, full: bool, at: float | None = None) -> str:
    """Return a frame in one line, and its packet below where `full`; harmless, without secrets.
    `at` is the time, now unless given."""
    moment = time.time() if at is None else at
    clock = f"{time.strftime('%H:%M:%S', time.localtime(moment))}.{int(moment % 1 * 1000):03d}"
    length = len(payload).to_bytes(4, "big").hex(" ")
    arrow = "->" if direction == "sent" else "<-"
    head = f"{arrow} {clock} {len(payload)} bytes ({length}) "
    try:
        packet = json.loads(payload)
    except (ValueError, RecursionError):
        packet = None
    if not isinstance(packet, dict):
        return head + f"no packet; it begins with {payload[:8].hex(' ')}"
    line = head + _what(packet)
    if not full:
        return line
    try:
        return f"{line}\n{_below(packet)}"
    except RecursionError:  # a packet of a server that breaks the protocol, and not yet checked
        return f"{line}\n    nested too deeply to be shown"


def _what(packet: Mapping[str, Any]) -> str:
    """Return action, status and transaction."""
    words = [visible(str(packet.get("action"))[:64])]
    data = packet.get("data")
    transaction = data.get("transaction_id") if isinstance(data, dict) else None
    if packet.get("status") == "error":
        words.append(f"error {visible(str(packet.get('code', ''))[:64])}".rstrip())
    if isinstance(transaction, str):
        words.append(
            f"transaction {visible(transaction[:8])}{'..' if len(transaction) > 8 else ''}"
        )
    return ", ".join(words)


def _below(packet: Mapping[str, Any]) -> str:
    """Return the packet, indented; what fits into a row stands in one."""
    text = "\n".join(_rows(_hidden(packet), "", "", 1))
    cut = f"\n... and {len(text) - MAX_SHOWN} characters more" if len(text) > MAX_SHOWN else ""
    return "\n".join(f"    {visible(row)}" for row in (text[:MAX_SHOWN] + cut).split("\n"))


def _rows(value: Any, before: str, after: str, least: int) -> list[str]:
    """Return a value as JSON, in one row where it is short, but opened for `least` levels in any
    case."""
    text = json.dumps(value, ensure_ascii=False)
    if (
        not isinstance(value, (dict, list))
        or not value
        or (least <= 0 and len(before + text + after) <= ROW)
    ):
        return [before + text + after]
    if least <= 0 and not any(isinstance(item, (dict, list)) for item in _values(value)):
        return _packed(value, before, after)
    items = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    rows = [before + ("{" if isinstance(value, dict) else "[")]
    for number, (key, item) in enumerate(items, 1):
        name = "" if key is None else json.dumps(key, ensure_ascii=False) + ": "
        rows += [
            "  " + row for row in _rows(item, name, "," if number < len(value) else "", least - 1)
        ]
    return [*rows, ("}" if isinstance(value, dict) else "]") + after]


def _values(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def _packed(value: dict[str, Any] | list[Any], before: str, after: str) -> list[str]:
    """Return numbers and texts, as the counts of letters, as many in a row as fit."""
    if isinstance(value, dict):
        opening, closing = "{", "}"
        items = [
            f"{json.dumps(key, ensure_ascii=False)}: {json.dumps(item, ensure_ascii=False)}"
            for key, item in value.items()
        ]
    else:
        opening, closing = "[", "]"
        items = [json.dumps(item, ensure_ascii=False) for item in value]
    rows = [before + opening]
    row = ""
    for number, item in enumerate(items, 1):
        word = item + ("," if number < len(items) else "")
        if row and len(row) + 1 + len(word) > ROW:
            rows.append("  " + row)
            row = word
        else:
            row = f"{row} {word}".strip()
    return [*rows, "  " + row, closing + after]


def _hidden(value: Any, key: str = "") -> Any:
    """Return the value without secrets, and without the bulk of a file."""
    if any(secret in key.casefold() for secret in _SECRETS):
        return "(hidden)"
    if isinstance(value, dict):
        return {name: _hidden(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_hidden(item) for item in value]
    if key == _BULK and isinstance(value, str) and len(value) > MAX_VALUE:
        return f"{value[: MAX_VALUE // 4]}... ({len(value)} characters of base64)"
    return value
