"""Tables of requests: one of each for before the login, and one of each mistake in a field.

Owns data only, nothing happens here.
"""

from __future__ import annotations

from typing import Any

from conformance.packets import Packet

SERVERS_OWN = (
    "login_success",
    "login_fail",
    "receive_message",
    "receive_file",
    "messages_list",
    "error",
    "file_down_meta",
    "file_down_data",
    "file_down_fin",
    "event",
    "room_created",
    "pong",
)
"""Actions that only servers send."""

ROOM = "lobby"
TIME = "2100-01-01T00:00:00Z"
MESSAGE: Packet = {"chatid": "@", "room_id": ROOM, "content": "text"}
HISTORY: Packet = {"chatid": "@", "room_id": ROOM, "from_time": TIME}
COUNT: Packet = {
    "transaction_id": "none",
    "letter_frequencies": {"a": 1},
    "original_action": "receive_message",
}
CONFIRM: Packet = {"transaction_id": "none", "confirm": True}
UPLOAD: Packet = {
    "chat_id": "@",
    "room_id": ROOM,
    "file_path": "a.txt",
    "file_size": 1,
    "file_type": "text/plain",
    "total_packets": 1,
}
CHUNK: Packet = {
    "chat_id": "@",
    "room_id": ROOM,
    "file_path": "a.txt",
    "sequence_number": 1,
    "file_data": "QQ==",
}
END: Packet = {"chat_id": "@", "room_id": ROOM, "file_path": "a.txt", "total_packets": 1}
FILES: Packet = {"chat_id": "@", "room_id": ROOM}
DOWN: Packet = {"chat_id": "@", "room_id": ROOM, "file_path": "a.txt"}
RIGHT_FIELDS: dict[str, Packet] = {
    "send_message": MESSAGE,
    "get_messages": HISTORY,
    "character_count": COUNT,
    "confirm_count": CONFIRM,
    "file_send_init": UPLOAD,
    "file_send_data": CHUNK,
    "file_send_fin": END,
    "file_list_req": FILES,
    "file_down_req": DOWN,
}
"""Right requests, by action; "@" stands for the user's own name."""


def client_actions() -> list[tuple[str, Packet]]:
    """Return one request of each action that needs a login; an extension may be unknown to a
    server."""
    who: Packet = {"chatid": "anna"}
    room: Packet = {**who, "room_id": ROOM}
    return [
        ("send_message", MESSAGE),
        ("character_count", COUNT),
        ("confirm_count", CONFIRM),
        ("get_messages", HISTORY),
        ("file_send_init", UPLOAD),
        ("file_send_data", CHUNK),
        ("file_send_fin", END),
        ("file_list_req", FILES),
        ("file_down_req", DOWN),
        ("ack", {"transaction_id": "none"}),
        ("file_cancel", DOWN),
        ("logout", who),
        ("get_rooms", who),
        ("get_users", who),
        ("change_password", {**who, "password": "old", "new_password": "new"}),
        ("create_room", {**who, "participants": [], "room_name": "team"}),
        ("join_room", room),
        ("leave_room", room),
        ("get_room_users", room),
        ("add_user_to_room", {**room, "user_to_add": "ben"}),
        ("remove_user_from_room", {**room, "user_to_remove": "ben"}),
        ("rename_room", {**room, "new_room_name": "new"}),
        ("delete_room", room),
    ]


def _without(data: Packet, key: str) -> Packet:
    return {name: value for name, value in data.items() if name != key}


def _mistakes() -> list[tuple[str, str, Packet]]:
    found: list[tuple[str, str, Packet]] = []
    for action, data in RIGHT_FIELDS.items():
        found += [
            (action, key, _without(data, key))
            for key in data
            if (action, key) != ("get_messages", "from_time")
        ]
    wrong: list[tuple[str, str, list[Any]]] = [
        ("send_message", "content", ["", None, 17, True, ["text"], {"text": 1}, "a\0b"]),
        ("send_message", "room_id", [None, 17, "", "a\0b", "x" * 65]),
        ("send_message", "chatid", [None, 17, "", "x" * 33]),
        ("get_messages", "from_time", [17, None]),
        ("confirm_count", "confirm", ["true", 1, 0, None]),
        ("confirm_count", "transaction_id", [17, None, "", "x" * 65, "a\0b"]),
        ("character_count", "letter_frequencies", [None, [], "a", 17]),
        ("character_count", "original_action", [None, 17, "", "x" * 65]),
        ("file_send_init", "file_size", [1.0, True, "1", None]),
        ("file_send_data", "sequence_number", [5.0, False, "1"]),
        ("file_send_data", "file_data", [None, 17, ["QQ=="]]),
        ("file_send_fin", "total_packets", [True, None]),
        ("file_down_req", "file_path", [None, 17, ""]),
    ]
    for action, key, values in wrong:
        found += [(action, key, {**RIGHT_FIELDS[action], key: value}) for value in values]
    return [(action, f"data.{key}", data) for action, key, data in found]


WRONG_FIELDS: list[tuple[str, str, Packet]] = _mistakes()
"""Action, path of the key that is wrong, `data` ("@" stands for the user's own name)."""

WRONG_OPTIONAL_FIELDS: list[tuple[str, str, Packet]] = [
    ("transaction_id", "send_message", {"transaction_id": None}),
    ("transaction_id", "send_message", {"transaction_id": 17}),
    ("transaction_id", "file_send_init", {"transaction_id": None}),
    ("chunk_size", "file_send_init", {"chunk_size": None}),
    ("from_sequence", "file_down_req", {"from_sequence": None}),
    ("files", "file_list_req", {"after": None}),
    ("files", "file_list_req", {"limit": None}),
    ("after_id", "get_messages", {"after_id": None}),
    ("after_id", "get_messages", {"after_id": "1"}),
    ("after_id", "get_messages", {"after_id": 1, "from_time": None}),
    ("before_id", "get_messages", {"before_id": True}),
    ("get_rooms", "get_rooms", {"after": None}),
    ("get_rooms", "get_rooms", {"limit": None}),
    ("get_users", "get_users", {"after": None}),
    ("get_users", "get_users", {"limit": None}),
    ("get_room_users", "get_room_users", {"room_id": ROOM, "after": None}),
    ("get_room_users", "get_room_users", {"room_id": ROOM, "limit": None}),
]
"""What offers the key, the action, and keys that may be left out with a value that one may not
have."""
