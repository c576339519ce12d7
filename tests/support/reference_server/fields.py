"""What a request must look like: the keys of `data`, and a check for each value."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from support.reference_server.words import (
    MAX_CHUNK,
    MAX_CONTENT,
    MAX_INTEGER,
)

Check = Callable[[Any], bool]


def text(most: int, unit: str = "characters") -> Check:
    def check(value: Any) -> bool:
        if not isinstance(value, str) or not value or "\0" in value:
            return False
        return len(value if unit == "characters" else value.encode()) <= most

    check.__doc__ = f"a text of 1 to {most} {unit} without NUL"
    return check


def integer(least: int, most: int = MAX_INTEGER) -> Check:
    def check(value: Any) -> bool:
        return type(value) is int and least <= value <= most

    check.__doc__ = f"an integer from {least} to {most}"
    return check


def list_of(each: Check, most: int) -> Check:
    def check(value: Any) -> bool:
        return isinstance(value, list) and len(value) <= most and all(map(each, value))

    check.__doc__ = f"a list of at most {most}, each {each.__doc__}"
    return check


def boolean(value: Any) -> bool:
    """true or false"""
    return isinstance(value, bool)


def room_name(value: Any) -> bool:
    """a text of 1 to 64 printable characters without leading or trailing space"""
    return (
        isinstance(value, str)
        and 1 <= len(value) <= 64
        and value.isprintable()
        and value == value.strip()
    )


def message_id_or_null(value: Any) -> bool:
    """a message_id or null"""
    return value is None or integer(0)(value)


def counts(value: Any) -> bool:
    """an object of characters and integers"""
    return isinstance(value, dict) and all(type(count) is int for count in value.values())


def base64_text(value: Any) -> bool:
    """base64 with padding and without line breaks"""
    try:
        return (
            isinstance(value, str)
            and value != ""
            and bool(base64.b64decode(value, validate=True) or True)
        )
    except (binascii.Error, ValueError):
        return False


def file_name(value: Any) -> bool:
    """a file's name of 1 to 255 bytes that no system reserves"""
    if not isinstance(value, str) or "\0" in value:
        return False
    name = last_part(value)
    if not name or len(name.encode()) > 255 or name in (".", ".."):
        return False
    stem = name.split(".")[0].rstrip(" ").upper()
    reserved = (
        stem in ("CON", "PRN", "AUX", "NUL") or re.fullmatch(r"(COM|LPT)[1-9¹²³]", stem) is not None
    )
    return not reserved and not any(unicodedata.category(character) == "Cc" for character in name)


def last_part(path: str) -> str:
    return re.split(r"[/\\]", path)[-1]


NAME = text(32)
KEY = text(64)
LIMIT = integer(1, 1000)
PAGE: dict[str, Check] = {"after": text(255), "limit": LIMIT}
IN_ROOM: dict[str, Check] = {"chatid": NAME, "room_id": room_name}
OF_FILE: dict[str, Check] = {**IN_ROOM, "file_path": file_name}


@dataclass(frozen=True)
class Request:
    """The keys of `data` that a request needs and those that it may have."""

    needs: dict[str, Check]
    may: dict[str, Check] = field(default_factory=dict)
    before_login: bool = False
    file_packet: bool = False


REQUESTS: dict[str, Request] = {
    "login": Request(
        {"chatid": NAME},
        {
            "password": text(128),
            "session_key": text(255),
            "take_over": boolean,
            "features": list_of(text(64), 64),
        },
        before_login=True,
    ),
    "register": Request({"chatid": NAME, "password": text(128)}, before_login=True),
    "ping": Request({}, before_login=True),
    "logout": Request({"chatid": NAME}),
    "change_password": Request({"chatid": NAME, "password": text(128), "new_password": text(128)}),
    "send_message": Request(
        {**IN_ROOM, "content": text(MAX_CONTENT, "bytes")}, {"transaction_id": KEY}
    ),
    "character_count": Request(
        {"transaction_id": KEY, "letter_frequencies": counts, "original_action": KEY}
    ),
    "confirm_count": Request({"transaction_id": KEY, "confirm": boolean}),
    "ack": Request({"transaction_id": KEY}),
    "get_messages": Request(
        IN_ROOM,
        {
            "from_time": text(255),
            "after_id": integer(0),
            "before_id": message_id_or_null,
            "limit": LIMIT,
        },
    ),
    "file_send_init": Request(
        {**OF_FILE, "file_size": integer(0), "file_type": text(255), "total_packets": integer(0)},
        {"chunk_size": integer(1, MAX_CHUNK), "transaction_id": KEY},
        file_packet=True,
    ),
    "file_send_data": Request(
        {**OF_FILE, "sequence_number": integer(0), "file_data": base64_text}, file_packet=True
    ),
    "file_send_fin": Request({**OF_FILE, "total_packets": integer(0)}, file_packet=True),
    "file_cancel": Request(OF_FILE, file_packet=True),
    "file_list_req": Request(IN_ROOM, PAGE, file_packet=True),
    "file_down_req": Request(OF_FILE, {"from_sequence": integer(1)}, file_packet=True),
    "create_room": Request(
        {"chatid": NAME, "participants": list_of(NAME, 1000), "room_name": room_name}
    ),
    "get_rooms": Request({"chatid": NAME}, PAGE),
    "join_room": Request(IN_ROOM),
    "leave_room": Request(IN_ROOM),
    "add_user_to_room": Request({**IN_ROOM, "user_to_add": NAME}),
    "remove_user_from_room": Request({**IN_ROOM, "user_to_remove": NAME}),
    "rename_room": Request({**IN_ROOM, "new_room_name": room_name}),
    "delete_room": Request(IN_ROOM),
    "get_room_users": Request(IN_ROOM, PAGE),
    "get_users": Request({"chatid": NAME}, PAGE),
    "typing": Request(IN_ROOM),
}

INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def is_chatid(name: str) -> bool:
    """Whether an account may have this name (R-ACC-5)."""
    if (
        not 1 <= len(name) <= 32
        or len(folded(name)) > 32
        or INVISIBLE.search(name)
        or unicodedata.category(name[0])[0] == "M"
    ):
        return False
    return all(letter in "_-." or unicodedata.category(letter)[0] in "LMN" for letter in name)
