"""What the reference server keeps, in memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from support.reference_server.words import (
    Packet,
)


@dataclass
class Account:
    name: str
    salt: bytes = b""
    password_hash: bytes = b""
    key_hashes: set[bytes] = field(default_factory=set)
    connection: Any = None
    """The `Connection` on which the account is logged in, None while it is not."""
    marks: dict[str, int] = field(default_factory=dict)


@dataclass
class Message:
    message_id: int
    room_id: str
    sender: str
    content: str
    timestamp: int
    t2: str
    copies: Counter[str] = field(default_factory=Counter)


@dataclass
class File:
    name: str
    sender: str
    file_type: str
    content: bytes
    timestamp: int
    told_sha256: str


@dataclass
class Room:
    room_id: str
    name: str
    owner: str | None
    maker: str
    members: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    deleted: bool = False
    messages: list[Message] = field(default_factory=list)
    files: dict[str, File] = field(default_factory=dict)

    @property
    def private(self) -> bool:
        return self.owner is not None


@dataclass
class Transaction:
    room_id: str
    content: str
    key: str | None
    ends: float


@dataclass
class Upload:
    size: int
    total: int
    file_type: str
    chunk_size: int | None
    room_id: str
    name: str
    key: str | None
    first_number: int | None = None
    chunks: dict[int, bytes] = field(default_factory=dict)
    result: Packet | None = None
