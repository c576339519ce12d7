"""What the connection's methods give back, and how it is read out of a server's packets, which may
hold anything.

Owns the records and the careful reading. Frozen data and pure functions; any thread may use them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from client.events import Message


@dataclass(frozen=True)
class Limits:
    """The server's limits in bytes; 0 where it named none."""

    max_frame: int = 0
    max_content: int = 0
    max_file: int = 0
    max_chunk: int = 0


@dataclass(frozen=True)
class Session:
    """Who is logged in. `extended` is False where the server seems to know the 24 packets only."""

    chatid: str
    session_key: str = field(repr=False)
    limits: Limits
    features: tuple[str, ...]
    extended: bool
    role: str = ""
    """`student` or `teacher`; "" where the server knows no roles."""


@dataclass(frozen=True)
class Room:
    """One room of `rooms`. `owner` is None for an open room."""

    room_id: str
    name: str
    owner: str | None
    private: bool
    members: int
    unread: int
    last_message_id: int
    member_names: tuple[str, ...] = ()
    """Who they are, where the server says so."""
    read_only: bool = False
    """Whether only teachers write there."""


@dataclass(frozen=True)
class Users:
    """Names, and which of them are on."""

    users: tuple[str, ...]
    online: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """A piece of a history, oldest first; `has_more` says whether more lies beyond it."""

    messages: tuple[Message, ...]
    has_more: bool


@dataclass(frozen=True)
class SharedFile:
    """One file of a room. Only `file_path` is known where the server sends no more than the 24
    packets."""

    file_path: str
    file_size: int = 0
    file_type: str = ""
    sender: str = ""
    timestamp: str = ""
    sha256: str = ""


# --- Reading: what is not as it should be counts as left out --------------------------------------


def as_object(value: Any) -> Mapping[str, Any]:
    """Return the value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Return the value where it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def as_objects(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects in a list."""
    return [item for item in as_list(value) if isinstance(item, dict)]


def as_text(value: Any) -> str:
    """Return the value where it is text, else ""."""
    return value if isinstance(value, str) else ""


def as_number(value: Any) -> int:
    """Return the value where it is a whole number, else 0."""
    return value if type(value) is int else 0


def as_id(value: Any) -> int | None:
    """Return the value where it is a whole number, else None."""
    return value if type(value) is int else None


def code_and_message(packet: Mapping[str, Any], otherwise: str) -> tuple[str, str]:
    """Return code and message of an error; `otherwise` is the code where a server sends none, as
    those of the 24 packets alone do."""
    return as_text(packet.get("code")) or otherwise, as_text(
        packet.get("message")
    ) or "the server gave no reason"


def room_from(item: Mapping[str, Any]) -> Room:
    """Return one room of `rooms_list`."""
    owner, members = item.get("owner"), item.get("members")
    room_id = as_text(item.get("id"))
    return Room(
        room_id,
        as_text(item.get("name")) or room_id,
        owner if isinstance(owner, str) else None,
        item.get("private") is True,
        len(members) if isinstance(members, list) else as_number(members),
        as_number(item.get("unread")),
        as_number(item.get("last_message_id")),
        tuple(name for name in as_list(members) if isinstance(name, str)),
        item.get("read_only") is True,
    )


def file_from(item: Mapping[str, Any]) -> SharedFile:
    """Return one file of `file_list_req`'s reply."""
    return SharedFile(
        as_text(item.get("file_path")),
        as_number(item.get("file_size")),
        as_text(item.get("file_type")),
        as_text(item.get("sender_chatid")),
        as_text(item.get("timestamp")),
        as_text(item.get("sha256")),
    )


def page_from(reply: Mapping[str, Any], room_id: str) -> Page:
    """Return the data of `messages_list`."""
    messages = tuple(
        Message(
            room_id,
            as_text(item.get("sender_chatid")),
            as_text(item.get("content")),
            as_text(item.get("timestamp")),
            as_id(item.get("message_id")),
            announce=item.get("announce") is True,
        )
        for item in as_objects(reply.get("messages"))
    )
    return Page(messages, bool(reply.get("has_more")))


def session_from(reply: Mapping[str, Any], chatid: str) -> Session:
    """Return the data of `login_success`; `chatid` is the name that was asked for."""
    limits = reply.get("limits")
    numbers = {
        name: max(0, as_number(as_object(limits).get(name)))
        for name in ("max_frame", "max_content", "max_file", "max_chunk")
    }
    features = tuple(word for word in as_list(reply.get("features")) if isinstance(word, str))
    return Session(
        as_text(reply.get("chatid")) or chatid,
        as_text(reply.get("session_key")),
        Limits(**numbers),
        features,
        isinstance(limits, dict),
        as_text(reply.get("role")),
    )
