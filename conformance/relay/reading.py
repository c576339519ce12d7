"""What a payload says: its packet, one short line about it, and the same bytes without secrets.

Pure functions. Reads whatever came, also from a hostile peer; never raises for it. Any thread.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from typing import Any, Final

from conformance.packets import MAX_DEPTH, Packet, data_of, is_too_deep, key_of, value
from conformance.rules import RULES

SHOWN_CHARACTERS: Final = 60
SHOWN_BYTES: Final = 200
"""So much of what is no JSON."""
LARGE_BYTES: Final = 32 * 1024
"""From here on the longest text of a payload is left out before it is read: chunks of files."""
SECRETS: Final = ("password", "new_password", "session_key")
STARS: Final = "********"

_SECRET: Final = re.compile(
    rb'"(?:' + "|".join(SECRETS).encode() + rb')"\s*:\s*"((?:[^"\\]|\\.)*)', re.DOTALL
)
_CHUNK: Final = re.compile(rb'"file_data"\s*:\s*"')


def read(data: bytes, start: int = 0) -> Packet | None:
    """Return the packet of the JSON from `start` on, None where it is no JSON object.

    Of a large one the text `file_data` is left out: nobody reads it, and it takes longest.
    """
    payload = data[start:] if len(data) <= LARGE_BYTES else _without_chunk(data, start)
    try:
        packet = json.loads(payload)
        if not isinstance(packet, dict):
            return None
        is_suspect = payload.count(b"[") + payload.count(b"{") > MAX_DEPTH
        return None if is_suspect and is_too_deep(packet) else packet
    except (ValueError, RecursionError):
        return None


def _without_chunk(data: bytes, start: int) -> bytes:
    found = _CHUNK.search(data, start)
    if found is None:
        return data[start:]
    end = data.find(b'"', found.end())  # base64 has no quotation mark, and memchr is quick
    return data[start:] if end < 0 else data[start : found.end()] + data[end:]


def without_secrets(data: bytes) -> bytes:
    """Return the same bytes with each password and key as stars, of the same length."""
    if b"passw" not in data and b"session_key" not in data and b"\\u" not in data:
        return data
    starred = _SECRET.sub(lambda found: _starred(found, data), data)
    return starred


def _starred(found: re.Match[bytes], data: bytes) -> bytes:
    start, end = found.span(1)
    return data[found.start() : start] + b"*" * (end - start)


def action_of(packet: Packet | None) -> str:
    """Return the action of a packet, "" where there is none that is text."""
    action = None if packet is None else packet.get("action")
    return action[:64] if isinstance(action, str) else ""


def room_of(packet: Packet | None) -> str | None:
    """Return the room that a packet is about, None for none."""
    room = None if packet is None else value(packet, "room_id")
    return room[:64] if isinstance(room, str) else None


def transaction_of(packet: Packet | None) -> str | None:
    """Return the transaction of a packet, None for none."""
    return None if packet is None else key_of(packet)[:64] or None


def message_of(packet: Packet | None) -> int | None:
    """Return the number of the message that a packet is about, None for none."""
    number = None if packet is None else value(packet, "message_id")
    return number if type(number) is int else None


def rules_about(action: str) -> list[dict[str, str]]:
    """Return the rules of docs/PROTOCOL.md whose sentence names an action, in their order."""
    named = f"`{action}`"
    return [
        {"id": rule.id, "sentence": rule.sentence}
        for rule in RULES.values()
        if action and named in rule.sentence
    ]


def summary(packet: Packet | None, payload: bytes) -> str:
    """Return the one thing that matters of a packet, in a few words."""
    if packet is None:
        start = without_secrets(payload[:SHOWN_BYTES])
        return "not JSON: " + short(start.decode("utf-8", "backslashreplace"))
    tell = _TELLS.get(action_of(packet), _tell_other)
    try:
        return tell(packet)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
        return "keys of a wrong type"


def short(text: object) -> str:
    """Return a text in one line of at most `SHOWN_CHARACTERS`."""
    line = " ".join(str(text).split())
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1] + "…"


def _tell_message(packet: Packet) -> str:
    data = data_of(packet)
    sender = data.get("sender_chatid")
    who = f"{sender}: " if sender else ""
    return short(f"{data.get('room_id')} · {who}{data.get('content')}")


def _tell_counts(packet: Packet) -> str:
    counts = data_of(packet).get("letter_frequencies")
    if not isinstance(counts, dict):
        return "no counts"
    total = sum(count for count in counts.values() if isinstance(count, int))
    shown = list(counts.items())[:6]
    first = ", ".join(f"{'blank' if key == ' ' else key} {count}" for key, count in shown)
    return short(f"{total} characters: {first}{' …' if len(counts) > 6 else ''}")


def _tell_confirm(packet: Packet) -> str:
    confirm = data_of(packet).get("confirm")
    return "yes, the same counts" if confirm is True else "no, the counts differ"


def _tell_ack(packet: Packet) -> str:
    number = data_of(packet).get("message_id")
    if packet.get("status") != "success":
        return short(f"{packet.get('code') or 'error'}: {packet.get('message')}")
    return "success" if number is None else f"stored as message {number}"


def _tell_login(packet: Packet) -> str:
    data = data_of(packet)
    by = " with a key" if packet.get("action") == "login" and data.get("session_key") else ""
    return short(f"{data.get('chatid')}{by}")


def _tell_error(packet: Packet) -> str:
    code = packet.get("code") or "error"
    return short(f"{packet.get('original_action')}: {code}: {packet.get('message')}")


def _tell_list(packet: Packet) -> str:
    data = data_of(packet)
    lists = [f"{key}: {len(each)}" for key, each in data.items() if isinstance(each, list)]
    return short(", ".join([*([str(data["room_id"])] if "room_id" in data else []), *lists]))


def _tell_messages(packet: Packet) -> str:
    messages = data_of(packet).get("messages")
    if not isinstance(messages, list):
        return "no list"
    texts = [str(each.get("content")) for each in messages if isinstance(each, dict)]
    said = f": {' | '.join(texts[:20])}" if texts else ""
    return short(f"{data_of(packet).get('room_id')} · {len(messages)} messages{said}")


def _tell_file(packet: Packet) -> str:
    data = data_of(packet)
    words = [str(data.get("file_path"))]
    if "sequence_number" in data:
        words.append(f"chunk {data['sequence_number']}")
    if "total_packets" in data:
        words.append(f"{data['total_packets']} chunks")
    if "file_size" in data:
        words.append(f"{data['file_size']} bytes")
    return short(", ".join(words))


def _tell_event(packet: Packet) -> str:
    data = data_of(packet)
    words = [data.get("type"), data.get("chatid"), data.get("room_id"), data.get("user")]
    return short(" · ".join(str(word) for word in words if word))


def _tell_other(packet: Packet) -> str:
    data = data_of(packet)
    words = [data.get("room_id"), data.get("user"), packet.get("message")]
    return short(" · ".join(str(word) for word in words if word))


_TELLS: Final[dict[str, Callable[[Packet], str]]] = {
    "send_message": _tell_message,
    "receive_message": _tell_message,
    "character_count": _tell_counts,
    "confirm_count": _tell_confirm,
    "ack": _tell_ack,
    "login": _tell_login,
    "login_success": _tell_login,
    "register": _tell_login,
    "error": _tell_error,
    "event": _tell_event,
    "messages_list": _tell_messages,
    "rooms_list": _tell_list,
    "users_list": _tell_list,
    "room_users_list": _tell_list,
    **dict.fromkeys(
        (
            "file_send_init",
            "file_send_data",
            "file_send_fin",
            "file_down_req",
            "file_down_meta",
            "file_down_data",
            "file_down_fin",
            "file_cancel",
            "receive_file",
        ),
        _tell_file,
    ),
}


def pretty(payload: bytes, limit: int) -> str:
    """Return a payload as indented JSON without secrets, shortened; as text where it is none."""
    text = without_secrets(payload).decode("utf-8", "backslashreplace")
    if len(text) <= limit:
        with contextlib.suppress(ValueError, RecursionError):
            text = json.dumps(_starred_value(json.loads(text)), ensure_ascii=False, indent=2)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(payload)} bytes)"


def _starred_value(found: Any) -> Any:
    """Star secrets whose key was written with escapes, too."""
    if isinstance(found, dict):
        return {
            key: STARS if key in SECRETS and isinstance(each, str) else _starred_value(each)
            for key, each in found.items()
        }
    return [_starred_value(each) for each in found] if isinstance(found, list) else found
