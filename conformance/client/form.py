"""The form of what a client sends: the keys of a packet, their types, and what they name.

Owns the table of keys. Pure functions; never decides a verdict: what is wrong is a `Remark`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from conformance.client.default_server import DefaultServer
from conformance.packets import Packet, key_of, shown, value

# By action: the keys of `data` that must be there, with their types (docs/PROTOCOL.md, "All
# packets").
_KEYS: Final[dict[str, dict[str, type]]] = {
    "login": {"chatid": str},
    "send_message": {"chatid": str, "room_id": str, "content": str},
    "get_messages": {"chatid": str, "room_id": str},
    "character_count": {"transaction_id": str, "letter_frequencies": dict, "original_action": str},
    "confirm_count": {"transaction_id": str, "confirm": bool},
    "ack": {"transaction_id": str},
    "file_send_init": {
        "chat_id": str,
        "room_id": str,
        "file_path": str,
        "file_size": int,
        "file_type": str,
        "total_packets": int,
    },
    "file_send_data": {
        "chat_id": str,
        "room_id": str,
        "file_path": str,
        "sequence_number": int,
        "file_data": str,
    },
    "file_send_fin": {"chat_id": str, "room_id": str, "file_path": str, "total_packets": int},
    "file_list_req": {"chat_id": str, "room_id": str},
    "file_down_req": {"chat_id": str, "room_id": str, "file_path": str},
    "file_cancel": {"chat_id": str, "room_id": str, "file_path": str},
    "typing": {"chatid": str, "room_id": str},
    **{action: {"chatid": str} for action in ("logout", "get_rooms", "get_users")},
    **{
        action: {"chatid": str, "room_id": str}
        for action in ("join_room", "leave_room", "get_room_users")
    },
}
# Keys that may be left out, with their types where they are there.
_OPTIONAL: Final[dict[str, dict[str, type]]] = {
    "login": {"password": str, "session_key": str, "features": list, "take_over": bool},
    "send_message": {"transaction_id": str},
    "get_messages": {"from_time": str, "after_id": int, "limit": int},
    "file_send_init": {"transaction_id": str, "chunk_size": int},
    "file_down_req": {"from_sequence": int},
}
_TIME: Final = re.compile(r"\d{4}-?\d\d-?\d\d[Tt ].*\d([Zz]|[+-]\d\d(:?\d\d)?)")
_TYPES: Final[dict[type, str]] = {
    str: "text",
    int: "an integer",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


@dataclass(frozen=True)
class Remark:
    """Something that was wrong with the form of a packet."""

    rule: str
    expected: str
    actual: str


def remarks(packet: Packet, user: str, server: DefaultServer) -> Iterator[Remark]:
    """Return what is wrong with a packet of this user's session."""
    action, data = packet.get("action"), packet.get("data")
    if not isinstance(action, str) or not action:
        yield Remark("R-JSON-10", "a string `action`", shown(packet))
        return
    request_id = packet.get("request_id")
    if "request_id" in packet and not (isinstance(request_id, str) and 1 <= len(request_id) <= 64):
        yield Remark("R-JSON-14", "`request_id` of 1 to 64 characters", shown(packet))
    keys = _KEYS.get(action)
    if keys is None:
        return
    if not isinstance(data, dict):
        yield Remark("R-JSON-10", f"an object `data` in `{action}`", shown(packet))
        return
    for key, kind in keys.items():
        yield from _of_key(packet, data, key, kind)
    for key, kind in _OPTIONAL.get(action, {}).items():
        if key in data:
            yield from _of_key(packet, data, key, kind, "R-JSON-11")
    if action == "ack" and packet.get("status") not in ("success", "error"):
        yield Remark(
            "R-MSG-19", '`status` "success" or "error" beside `data` of an `ack`', shown(packet)
        )
    name = value(packet, "chatid")
    if isinstance(name, str) and name != user:
        yield Remark("R-SESS-7", f"the name of the session's user, {user}", shown(packet))
    if action == "get_messages":
        yield from _of_history(packet, data)
    yield from _of_transaction(packet, server)


def _of_key(
    packet: Packet, data: dict[str, Any], key: str, kind: type, rule_id: str = "R-JSON-10"
) -> Iterator[Remark]:
    action = packet["action"]
    spelled = key if key in data else {"chatid": "chat_id", "chat_id": "chatid"}.get(key, key)
    if spelled not in data:
        missing = "R-SESS-7" if key in ("chatid", "chat_id") else "R-JSON-10"
        yield Remark(missing, f"`data.{key}` in `{action}`", f"it is missing: {shown(packet)}")
    elif spelled != key:
        yield Remark("R-JSON-12", f"`{key}` in `{action}`", f"`{spelled}`: {shown(packet)}")
    elif not isinstance(data[key], kind) or (kind is int and isinstance(data[key], bool)):
        yield Remark(rule_id, f"`data.{key}` in `{action}` to be {_TYPES[kind]}", shown(packet))
    elif data[key] == "":
        yield Remark(
            "R-JSON-11", f"`data.{key}` in `{action}` of at least one character", shown(packet)
        )


def _of_history(packet: Packet, data: dict[str, Any]) -> Iterator[Remark]:
    if not data.keys() & {"from_time", "after_id", "before_id"}:
        yield Remark(
            "R-HIST-2", "`from_time`, `after_id` or `before_id` in `get_messages`", shown(packet)
        )
    begin = data.get("from_time")
    if isinstance(begin, str) and begin and not _TIME.fullmatch(begin):
        yield Remark("R-HIST-3", "`from_time` with date, time, and `Z` or an offset", shown(packet))


def _of_transaction(packet: Packet, server: DefaultServer) -> Iterator[Remark]:
    """Return whether it answers about a transaction that nobody opened."""
    key, received = key_of(packet), server.delivered.keys()
    known = {
        "ack": received,
        "character_count": received,
        "confirm_count": server.sent.keys(),
    }.get(packet["action"])
    if key and known is not None and key not in known:
        of = "its own message" if packet["action"] == "confirm_count" else "a received message"
        yield Remark("R-MSG-12", f"the `transaction_id` of {of}", shown(packet))
