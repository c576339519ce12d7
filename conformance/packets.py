"""Packets as the kit sees them: JSON objects in frames, and what it knows of their form.

Pure functions and constants. Knows which action answers which request and how letters are counted;
knows no socket and no rule.
"""

from __future__ import annotations

import json
import struct
import unicodedata
from collections import Counter
from typing import Any

Packet = dict[str, Any]

MAX_DEPTH = 100
"""No packet of the protocol has more than 8 levels; R-JSON-3 lets requests have 32."""
FUTURE = "2100-01-01T00:00:00Z"
"""A `from_time` that no message has reached."""
PAST = "2000-01-01T00:00:00Z"
"""A `from_time` before every message."""

REPLIES: dict[str, tuple[str, ...]] = {
    "login": ("login_success", "login_fail"),
    "register": ("register_success", "register_fail"),
    "ping": ("pong",),
    "logout": ("logout_ack",),
    "change_password": ("password_changed",),
    "send_message": ("character_count", "ack"),
    "character_count": ("confirm_count",),
    "confirm_count": ("ack",),
    "get_messages": ("messages_list",),
    "file_send_init": ("file_send_init",),
    "file_send_data": ("file_send_data",),
    "file_send_fin": ("file_send_fin",),
    "file_cancel": ("file_cancelled",),
    "file_list_req": ("file_list_req",),
    "file_down_req": ("file_down_meta",),
    "create_room": ("room_created",),
    "get_rooms": ("rooms_list",),
    "join_room": ("room_joined",),
    "leave_room": ("room_left",),
    "add_user_to_room": ("user_added",),
    "remove_user_from_room": ("user_removed",),
    "rename_room": ("room_renamed",),
    "delete_room": ("room_deleted",),
    "get_room_users": ("room_users_list",),
    "get_users": ("users_list",),
    "mute_user": ("user_muted",),
    "unmute_user": ("user_unmuted",),
    "kick_user": ("user_kicked",),
    "ban_user": ("user_banned",),
    "unban_user": ("user_unbanned",),
    "set_room": ("room_set",),
    "pause_class": ("class_paused",),
    "resume_class": ("class_resumed",),
    "hide_message": ("message_hidden",),
    "show_message": ("message_shown",),
    "remove_file": ("file_removed",),
    "get_sessions": ("sessions_list",),
    "get_all_rooms": ("all_rooms_list",),
    "raise_hand": ("hand_raised",),
    "lower_hand": ("hand_lowered",),
    "get_audit": ("audit_list",),
}
"""By action of a request: the actions of its reply, besides `error`."""

RULE_OF_REQUEST: dict[str, str] = {
    "login": "R-SESS-1",
    "register": "R-ACC-1",
    "send_message": "R-MSG-1",
    "character_count": "R-MSG-16",
    "confirm_count": "R-MSG-4",
    "get_messages": "R-HIST-1",
    "file_send_init": "R-FILE-1",
    "file_send_data": "R-FILE-1",
    "file_send_fin": "R-FILE-1",
    "file_list_req": "R-FILE-24",
    "file_down_req": "R-FILE-19",
    "create_room": "R-ROOM-8",
    "get_rooms": "R-ROOM-17",
}
"""By action of a request that many cases need: the rule that its usual reply keeps."""


def letters(content: str) -> dict[str, int]:
    """Count each code point of a text (R-MSG-1); nothing is normalised."""
    return dict(Counter(content))


def data_of(packet: Packet) -> Packet:
    """Return `data` of a packet, {} where it has none or it is no object."""
    data = packet.get("data")
    return data if isinstance(data, dict) else {}


def value(packet: Packet, key: str) -> Any:
    """Return a value of `data`, None where there is none.

    `chatid` and `chat_id` stand for each other, so that a wrong spelling breaks one rule only.
    """
    data = data_of(packet)
    other = {"chatid": "chat_id", "chat_id": "chatid"}.get(key, key)
    return data.get(key, data.get(other))


def key_of(packet: Packet) -> str:
    """Return the `transaction_id` of a packet, "" where it has none that is text."""
    key = value(packet, "transaction_id")
    return key if isinstance(key, str) else ""


def encode(packet: Packet) -> bytes:
    """Return the frame of a packet: 4-byte big-endian length, then UTF-8 JSON."""
    return frame(
        json.dumps(packet, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8", "surrogatepass"
        )
    )


def frame(body: bytes) -> bytes:
    """Return the frame of any bytes."""
    return struct.pack(">I", len(body)) + body


def shown(packet: Any, limit: int = 300, *, is_plain: bool = True) -> str:
    """Return a packet as one short line of JSON, for `actual`.

    Without `is_plain` all but ASCII is written as escapes, that is, by its code points.
    """
    text = json.dumps(packet, ensure_ascii=not is_plain)
    return text if len(text) <= limit else f"{text[:limit]}{'…' if is_plain else '...'}"


def look_alike(one: object, other: object) -> bool:
    """Return whether two values differ in nothing that a reader sees."""
    return _as_seen(one) == _as_seen(other)


def _as_seen(value: object) -> str:
    """Return JSON without what is not seen, and with one form for letters that look the same."""
    text = unicodedata.normalize("NFKC", json.dumps(value, ensure_ascii=False))
    return "".join(each for each in text if unicodedata.category(each) not in ("Cf", "Mn"))


def is_too_deep(value: Any) -> bool:
    """Return whether JSON is nested deeper than `MAX_DEPTH`, so that nothing here may recurse."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            return True
        level = [
            inner
            for each in level
            if isinstance(each, (dict, list))
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, (dict, list))
        ]
    return False


def hex_of(data: bytes, limit: int = 64) -> str:
    """Return bytes as "00 00 00 11", shortened."""
    return data[:limit].hex(" ") + (f" … ({len(data)} bytes)" if len(data) > limit else "")


def text_of(body: bytes) -> str:
    """Return a payload as it is shown: its text, or hex where it is no UTF-8."""
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return hex_of(body)
