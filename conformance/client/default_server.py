"""How the scripted server behaves where a case does not say otherwise: a small, friendly chat
server for one user.

Owns accounts, history, files and open transactions of one case, in memory. Knows no sockets: it is
given a packet and says what to answer. Used by the thread of the case.

At the level seed it is a server of the 24 packets: it announces no limits, repeats no `request_id`,
makes every transaction's key itself and answers all else `error`. At the other levels it knows the
extensions as far as a client may need them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from conformance.packets import Packet, key_of, letters, value

TIMESTAMP: Final = "2024-01-01T12:00:{:02d}Z"
CHUNK_BYTES: Final = 3_000
"""Of what the client fetches, so that a small file has several chunks."""
FEATURES: Final = ("events", "typing")


@dataclass
class Upload:
    """A file on its way to the server; chunks by their number as the client counts them."""

    name: str
    size: Any
    total: Any
    chunks: dict[int, bytes] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    announced: Any = None
    """`total_packets` of `file_send_fin`."""

    def content(self) -> bytes:
        """Return all chunks, in the order of their numbers."""
        return b"".join(self.chunks[number] for number in sorted(self.chunks))


class DefaultServer:
    """The standard answers. `extended` is whether the extensions are known."""

    def __init__(
        self, user: str, password: str, other: str, room: str, extended: bool, source: random.Random
    ) -> None:
        self.user, self.password, self.other, self.room, self.extended = (
            user,
            password,
            other,
            room,
            extended,
        )
        self.session_key = f"{source.getrandbits(128):032x}"
        self._random = source
        self._next_id = 1
        self.chunk_bytes = CHUNK_BYTES
        self.features: tuple[str, ...] = ()
        self.sent: dict[str, Packet] = {}
        """By transaction: the `send_message` that opened it."""
        self.confirmed: dict[str, bool] = {}
        self.stored: dict[str, int] = {}
        """By transaction: the number of the stored message."""
        self.delivered: dict[str, str] = {}
        """By T2: the content of a message that was delivered to the client."""
        self.counted: set[str] = set()
        """By T2: the messages for which the client has sent counts."""
        self.acks: dict[str, list[str]] = {}
        """By T2: the `status` of each `ack` of the client."""
        self.history: list[dict[str, Any]] = []
        self.uploads: dict[str, Upload] = {}
        self.files: dict[str, bytes] = {}
        """Files that the client can fetch."""

    # --- Packets that the server sends by itself ---

    def new_key(self) -> str:
        """Return a transaction's key of the server's own."""
        return f"t{self._random.getrandbits(64):016x}"

    def message(self, content: str, **extra: Any) -> Packet:
        """Make a new message of the other user: `receive_message`."""
        key, number = self.new_key(), self._number()
        self.delivered[key] = content
        self._remember(self.other, content, number)
        return self.copy(key, content, number, **extra)

    def copy(self, key: str, content: str, number: int | None = None, **extra: Any) -> Packet:
        """Make `receive_message` for a message that was delivered before."""
        data = {
            "transaction_id": key,
            "room_id": self.room,
            "sender_chatid": self.other,
            "content": content,
            "timestamp": TIMESTAMP.format(0),
            **extra,
        }
        if self.extended:
            data["message_id"] = self._next_id - 1 if number is None else number
        return {
            "action": "receive_message",
            "status": "success",
            "message": "New message received.",
            "data": data,
        }

    def new_file(self, name: str) -> Packet:
        """Make `receive_file` for a new file of the other user; it can be fetched."""
        content = self.files.setdefault(name, b"x")
        return self._good(
            "receive_file",
            "New file received.",
            {
                "room_id": self.room,
                "sender_chatid": self.other,
                "file_path": name,
                "file_size": len(content),
                "file_type": "text/plain",
                "timestamp": TIMESTAMP.format(0),
            },
        )[0]

    def counts(self, packet: Packet, counted: dict[str, int] | None = None, **extra: Any) -> Packet:
        """Make `character_count` for a `send_message`, and open the transaction.

        The counts are right unless others are given.
        """
        key = (key_of(packet) if self.extended else "") or self.new_key()
        self.sent[key] = packet
        content = value(packet, "content")
        counted = (
            letters(content if isinstance(content, str) else "") if counted is None else counted
        )
        reply = {
            "action": "character_count",
            "data": {
                "transaction_id": key,
                "letter_frequencies": counted,
                "original_action": "send_message",
                **extra,
            },
        }
        return self._to(packet, reply)

    def confirmation(self, key: str, confirm: bool) -> Packet:
        """Make `confirm_count` for a delivered message."""
        return {"action": "confirm_count", "data": {"transaction_id": key, "confirm": confirm}}

    def error(self, packet: Packet, code: str, message: str) -> Packet:
        """Make `error` for a request."""
        reply: Packet = {
            "action": "error",
            "original_action": str(packet.get("action", "unknown"))[:64],
            "status": "error",
            "message": message,
        }
        if self.extended:
            reply["code"] = code
        return self._to(packet, reply)

    # --- Answers ---

    def answer(self, packet: Packet) -> list[Packet]:
        """Return what the server sends for a packet, in order."""
        action = packet.get("action")
        handler = self._SEED.get(str(action)) or (
            self._EXTENSIONS.get(str(action)) if self.extended else None
        )
        if handler is None:
            return [self.error(packet, "unknown_action", f"unknown action {str(action)[:40]!r}")]
        return [self._to(packet, reply) for reply in handler(self, packet)]

    def _to(self, packet: Packet, reply: Packet) -> Packet:
        if self.extended and isinstance(packet.get("request_id"), str):
            reply.setdefault("request_id", packet["request_id"])
        return reply

    def _good(self, action: str, message: str, data: dict[str, Any] | None = None) -> list[Packet]:
        reply: Packet = {"action": action, "status": "success", "message": message}
        return [reply if data is None else {**reply, "data": data}]

    def skip_numbers(self, number: int) -> None:
        """Go on with this `message_id`."""
        self._next_id = number

    def _number(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def _remember(self, sender: str, content: str, number: int) -> None:
        self.history.append(
            {
                "message_id": number,
                "sender_chatid": sender,
                "content": content,
                "timestamp": TIMESTAMP.format(0),
            }
        )

    def _login(self, packet: Packet) -> list[Packet]:
        key = value(packet, "session_key")
        by_key = self.extended and isinstance(key, str) and key == self.session_key
        if value(packet, "chatid") != self.user or not (
            by_key or value(packet, "password") == self.password
        ):
            return [
                {
                    "action": "login_fail",
                    "status": "error",
                    "message": "Invalid credentials or user already logged in",
                }
            ]
        data: dict[str, Any] = {"chatid": self.user, "session_key": self.session_key}
        if self.extended:
            data["limits"] = {
                "max_frame": 1_048_576,
                "max_content": 16_384,
                "max_file": 104_857_600,
                "max_chunk": 262_144,
            }
            asked = value(packet, "features")
            if isinstance(asked, list):
                self.features = tuple(word for word in FEATURES if word in asked)
                data["features"] = list(self.features)
        return self._good("login_success", "Login successful", data)

    def _register(self, packet: Packet) -> list[Packet]:
        return [
            {
                "action": "register_fail",
                "status": "error",
                "message": "This name is taken.",
                "code": "name_taken",
            }
        ]

    def _send_message(self, packet: Packet) -> list[Packet]:
        key = key_of(packet)
        if self.extended and key in self.stored:  # the same message once more: the ack of then
            return [self._ack(key)]
        return [self.counts(packet)]

    def _confirm_count(self, packet: Packet) -> list[Packet]:
        key, confirm = key_of(packet), value(packet, "confirm")
        if key not in self.sent or key in self.confirmed:
            return [self.error(packet, "transaction_not_found", "no such transaction is open")]
        self.confirmed[key] = confirm is True
        if confirm is not True:
            reply: Packet = {
                "action": "ack",
                "status": "error",
                "message": "You did not confirm the counts.",
                "data": {"transaction_id": key},
            }
            return [{**reply, "code": "not_confirmed"} if self.extended else reply]
        self.stored[key] = self._number()
        content = value(self.sent[key], "content")
        self._remember(self.user, content if isinstance(content, str) else "", self.stored[key])
        return [self._ack(key)]

    def _ack(self, key: str) -> Packet:
        data: dict[str, Any] = {"transaction_id": key}
        if self.extended:
            data.update(message_id=self.stored[key], timestamp=TIMESTAMP.format(0))
        return {
            "action": "ack",
            "status": "success",
            "message": "Action processed successfully.",
            "data": data,
        }

    def _character_count(self, packet: Packet) -> list[Packet]:
        key = key_of(packet)
        if key not in self.delivered:
            return [self.error(packet, "transaction_not_found", "no such transaction is open")]
        self.counted.add(key)
        return [
            self.confirmation(
                key, value(packet, "letter_frequencies") == letters(self.delivered[key])
            )
        ]

    def _acknowledged(self, packet: Packet) -> list[Packet]:
        key = key_of(packet)
        if key not in self.delivered:
            return [self.error(packet, "transaction_not_found", "no such transaction is open")]
        self.acks.setdefault(key, []).append(str(packet.get("status")))
        return []

    def _get_messages(self, packet: Packet) -> list[Packet]:
        rows = self.history if value(packet, "room_id") == self.room else []
        after, limit, data = value(packet, "after_id"), value(packet, "limit"), packet.get("data")
        if self.extended and isinstance(after, int):
            rows = [row for row in rows if row["message_id"] > after]
        if self.extended and isinstance(limit, int):
            rows = rows[-limit:] if isinstance(data, dict) and "before_id" in data else rows[:limit]
        messages = [
            row if self.extended else {key: row[key] for key in row if key != "message_id"}
            for row in rows
        ]
        reply: dict[str, Any] = {"room_id": value(packet, "room_id"), "messages": messages}
        return self._good(
            "messages_list",
            "Messages retrieved successfully.",
            {**reply, **({"has_more": False} if self.extended else {})},
        )

    # --- Files ---

    def _where(self, packet: Packet) -> dict[str, Any]:
        return {
            "chat_id": self.user,
            "room_id": value(packet, "room_id"),
            "file_path": value(packet, "file_path"),
        }

    def _file_send_init(self, packet: Packet) -> list[Packet]:
        name = str(value(packet, "file_path"))
        self.uploads[name] = Upload(
            name, value(packet, "file_size"), value(packet, "total_packets")
        )
        return self._good("file_send_init", "Server ready to receive file.", self._where(packet))

    def _file_send_data(self, packet: Packet) -> list[Packet]:
        upload, at = (
            self.uploads.get(str(value(packet, "file_path"))),
            value(packet, "sequence_number"),
        )
        if upload is None:
            return [self.error(packet, "file_not_found", "no such upload is open")]
        try:
            chunk = base64.b64decode(
                "".join(str(value(packet, "file_data")).split()), validate=True
            )  # line breaks: see sends_base64
        except (binascii.Error, ValueError):
            return [self.error(packet, "bad_packet", "data.file_data is no base64")]
        if type(at) is not int:
            return [self.error(packet, "bad_packet", "data.sequence_number is no integer")]
        upload.chunks[at] = chunk
        upload.numbers.append(at)
        return self._good(
            "file_send_data",
            f"Chunk {at} received.",
            {**self._where(packet), "sequence_number": at},
        )

    def _file_send_fin(self, packet: Packet) -> list[Packet]:
        upload = self.uploads.get(str(value(packet, "file_path")))
        if upload is None:
            return [self.error(packet, "file_not_found", "no such upload is open")]
        upload.announced = value(packet, "total_packets")
        data = self._where(packet)
        if self.extended:
            data.update(sha256=hashlib.sha256(upload.content()).hexdigest(), stored_as=upload.name)
        return self._good("file_send_fin", "File assembled successfully.", data)

    def _file_list_req(self, packet: Packet) -> list[Packet]:
        data: dict[str, Any] = {"file_list": ", ".join(self.files)}
        if self.extended:
            data["files"] = [
                {
                    "file_path": name,
                    "file_size": len(content),
                    "file_type": "application/octet-stream",
                    "sender_chatid": self.other,
                    "timestamp": TIMESTAMP.format(0),
                    "sha256": hashlib.sha256(content).hexdigest(),
                }
                for name, content in self.files.items()
            ]
        return self._good("file_list_req", f"File list for room {value(packet, 'room_id')}", data)

    def _file_down_req(self, packet: Packet) -> list[Packet]:
        name = str(value(packet, "file_path"))
        if name not in self.files:
            return [self.error(packet, "file_not_found", "there is no such file")]
        content = self.files[name]
        where = {"room_id": value(packet, "room_id"), "file_path": name}
        chunks = [
            content[at : at + self.chunk_bytes] for at in range(0, len(content), self.chunk_bytes)
        ]
        meta: dict[str, Any] = {**where, "file_size": len(content), "total_packets": len(chunks)}
        if self.extended:
            meta["sha256"] = hashlib.sha256(content).hexdigest()
        data: list[Packet] = [
            {
                "action": "file_down_data",
                "data": {
                    **where,
                    "sequence_number": at,
                    "file_data": base64.b64encode(chunk).decode(),
                },
            }
            for at, chunk in enumerate(chunks, 1)
        ]
        return [
            *self._good("file_down_meta", "Starting file download.", meta),
            *data,
            *self._good("file_down_fin", "File download complete.", where),
        ]

    # --- Extensions ---

    def _ping(self, packet: Packet) -> list[Packet]:
        return self._good("pong", "pong")

    def _logout(self, packet: Packet) -> list[Packet]:
        return self._good("logout_ack", "Logout successful", {"chatid": self.user})

    def _get_rooms(self, packet: Packet) -> list[Packet]:
        last = max((row["message_id"] for row in self.history), default=0)
        room = {
            "id": self.room,
            "name": self.room,
            "owner": None,
            "private": False,
            "members": sorted((self.user, self.other)),
            "unread": 0,
            "last_message_id": last,
        }
        rooms = [room] if value(packet, "after") is None else []
        return self._good(
            "rooms_list", "Rooms retrieved successfully.", {"rooms": rooms, "has_more": False}
        )

    def _get_users(self, packet: Packet) -> list[Packet]:
        names = sorted((self.user, self.other)) if value(packet, "after") is None else []
        if packet.get("action") == "get_users":
            return self._good(
                "users_list",
                "Users retrieved successfully.",
                {"users": names, "online": names, "has_more": False},
            )
        return self._good(
            "room_users_list",
            "Users of the room retrieved successfully.",
            {"room_id": self.room, "room_name": self.room, "users": names, "has_more": False},
        )

    def _to_and_from(self, packet: Packet) -> list[Packet]:
        joins = packet.get("action") == "join_room"
        return self._good(
            "room_joined" if joins else "room_left",
            "Room joined." if joins else "Room left.",
            {"room_id": value(packet, "room_id")},
        )

    def _file_cancel(self, packet: Packet) -> list[Packet]:
        self.uploads.pop(str(value(packet, "file_path")), None)
        return self._good("file_cancelled", "Transfer cancelled.", self._where(packet))

    def _forbidden(self, packet: Packet) -> list[Packet]:
        return [self.error(packet, "forbidden", "not allowed here")]

    def _nothing(self, packet: Packet) -> list[Packet]:
        return []

    _SEED: Final[dict[str, Callable[[DefaultServer, Packet], list[Packet]]]] = {
        "login": _login,
        "send_message": _send_message,
        "confirm_count": _confirm_count,
        "character_count": _character_count,
        "ack": _acknowledged,
        "get_messages": _get_messages,
        "file_send_init": _file_send_init,
        "file_send_data": _file_send_data,
        "file_send_fin": _file_send_fin,
        "file_list_req": _file_list_req,
        "file_down_req": _file_down_req,
    }
    _EXTENSIONS: Final[dict[str, Callable[[DefaultServer, Packet], list[Packet]]]] = {
        "register": _register,
        "ping": _ping,
        "logout": _logout,
        "get_rooms": _get_rooms,
        "get_users": _get_users,
        "get_room_users": _get_users,
        "join_room": _to_and_from,
        "leave_room": _to_and_from,
        "file_cancel": _file_cancel,
        "create_room": _forbidden,
        "add_user_to_room": _forbidden,
        "remove_user_from_room": _forbidden,
        "rename_room": _forbidden,
        "delete_room": _forbidden,
        "change_password": _forbidden,
        "typing": _nothing,
    }
