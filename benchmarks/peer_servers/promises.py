"""What a peer needs to keep the promises of ours: counted letters, an acknowledgement only for what
is on the disk, and both handshakes.

Owns the database and the packets. Left out in the peers' favour: every check of what clients send,
passwords, rights, rooms, limits. `Messages` belongs to one thread at a time.
"""

from __future__ import annotations

import itertools
import sqlite3
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.peer_servers.wire import encoded


class Waiting:
    """A message that its sender has not confirmed, or that waits for the next commit."""

    def __init__(self, sender: Any, name: str, data: dict[str, Any], key: str) -> None:
        self.sender, self.name, self.key = sender, name, key
        self.room, self.content = data["room_id"], data["content"]
        self.letters = Counter(self.content)


class Messages:
    """A table of messages in a folder of its own that goes with the process."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="chat-peer-")
        self._connection = sqlite3.connect(
            Path(self._folder.name) / "chat.db", check_same_thread=False, isolation_level=None
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(
            "CREATE TABLE messages (id INTEGER PRIMARY KEY, room, sender, content, sent_at)"
        )
        self._next = 1

    def close(self) -> None:
        """Close the database and remove its folder."""
        self._connection.close()
        self._folder.cleanup()

    def commit(self, batch: list[Waiting]) -> list[int]:
        """Store all of them by one commit; return their ids. They survive a power cut now."""
        first, now = self._next, int(time.time())
        self._next += len(batch)
        self._connection.execute("BEGIN")
        self._connection.executemany(
            "INSERT INTO messages VALUES (?, ?, ?, ?, ?)",
            [
                (number, each.room, each.name, each.content, now)
                for number, each in enumerate(batch, first)
            ],
        )
        self._connection.execute("COMMIT")
        return list(range(first, self._next))


class Handshakes:
    """What is open: messages that wait to be confirmed, and the counts of those delivered."""

    KEPT = 10_000
    """Counts of messages that are kept for the receivers' answers."""

    def __init__(self) -> None:
        self._keys = itertools.count(1)
        self._open: dict[str, Waiting] = {}
        self._counts: dict[str, Counter[str]] = {}

    def open(self, sender: Any, name: str, data: dict[str, Any]) -> bytes:
        """Take a `send_message`; return the `character_count` that its sender is to confirm."""
        key = str(data.get("transaction_id") or f"t{next(self._keys)}")
        waiting = self._open[key] = Waiting(sender, name, data, key)
        counts = {
            "transaction_id": key,
            "letter_frequencies": waiting.letters,
            "original_action": "send_message",
        }
        return encoded({"action": "character_count", "data": counts})

    def confirmed(self, data: dict[str, Any]) -> Waiting | None:
        """Take a sender's `confirm_count`; return the message that is to be stored."""
        waiting = self._open.pop(data["transaction_id"], None)
        return waiting if data["confirm"] else None

    def stored(self, waiting: Waiting, number: int) -> tuple[bytes, bytes]:
        """Return the `ack` for the sender, and what all others receive."""
        key, now = f"m{number}", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._counts[key] = waiting.letters
        if len(self._counts) > self.KEPT:
            del self._counts[next(iter(self._counts))]
        ack = {"transaction_id": waiting.key, "message_id": number, "timestamp": now}
        said = {
            "transaction_id": key,
            "room_id": waiting.room,
            "sender_chatid": waiting.name,
            "content": waiting.content,
            "timestamp": now,
            "message_id": number,
        }
        done = {"status": "success", "message": "Action processed successfully."}
        return (
            encoded({"action": "ack", **done, "data": ack}),
            encoded({"action": "receive_message", **done, "data": said}),
        )

    def answered(self, data: dict[str, Any]) -> bytes:
        """Take a receiver's `character_count`; return the verdict on it."""
        agrees = self._counts.get(data["transaction_id"]) == data["letter_frequencies"]
        verdict = {"transaction_id": data["transaction_id"], "confirm": agrees}
        return encoded({"action": "confirm_count", "data": verdict})
