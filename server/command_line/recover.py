"""`recover-messages`: what the journal has and the database has lost, put back.

Owns the reading of the journal's frames for this. A database loses its newest rows with its
write-ahead log (`chat.db-wal` deleted, damaged, or left behind when `chat.db` was copied); the
journal, a copy in files of its own, still has them. Never runs beside a server: the caller holds
the folder's lock.
"""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass, field
from typing import Any

import protocol
from storage import accounts, messages, meta, rooms
from storage.journal import Journal

NO_PASSWORD = "lost"
"""The record of an account whose password nobody knows: it fits none."""


@dataclass
class Recovered:
    """What was put back: message ids, and who had to be made for it."""

    ids: list[int] = field(default_factory=list)
    accounts: list[str] = field(default_factory=list)
    rooms: list[str] = field(default_factory=list)


def recover_messages(connection: sqlite3.Connection, journal: Journal) -> Recovered:
    """Store every message of the journal whose id the database lacks, in the order of ids."""
    kept: set[int] = set()
    lost: dict[int, dict[str, Any]] = {}
    for _, _, path in journal.days():
        for payload in journal.read(path):
            said = _message_of(payload)
            if said is None or said["message_id"] in kept:
                continue
            kept.add(said["message_id"])
            if messages.get(connection, said["message_id"]) is None:
                lost[said["message_id"]] = said
    recovered = Recovered()
    for message_id in sorted(lost):
        said = lost[message_id]
        sender = _account(connection, said["sender_chatid"], recovered)
        room = _room(connection, said["room_id"], sender, recovered)
        sent_at = protocol.parse_time(said["timestamp"])
        content = said["content"]
        is_announced = said.get("announce") is True
        message = messages.Message(
            message_id, room.pk, sender.id, sender.chatid, content, sent_at, is_announced
        )
        messages.put_back(connection, message)
        recovered.ids.append(message_id)
    if recovered.ids:
        messages.renumber(connection, recovered.ids[0])
        _skip_what_is_kept(connection, kept)
    return recovered


def _skip_what_is_kept(connection: sqlite3.Connection, kept: set[int]) -> None:
    """Tell the next start that the journal has these messages: it would add them again."""
    position = int(meta.get(connection, "journal_message") or 0)
    for message in messages.since(connection, position):
        if message.id not in kept:
            break
        position = message.id
    meta.put(connection, "journal_message", str(position))


def _message_of(payload: bytes) -> dict[str, Any] | None:
    """Return the data of a `receive_message`; None for a file, or what is none of our frames: the
    journal is a copy that nobody checks, and one bad frame must not keep the others back."""
    try:
        packet = json.loads(payload)
        data: dict[str, Any] = packet["data"]
        if packet["action"] != "receive_message":
            return None
        protocol.parse_time(data["timestamp"])
        for field_name in ("content", "room_id", "sender_chatid"):
            data[field_name].encode()
        number = data["message_id"]
        is_whole = type(number) is int and 0 < number <= messages.MOST_ID
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return data if is_whole and data["room_id"] and data["sender_chatid"] else None


def _account(connection: sqlite3.Connection, chatid: str, recovered: Recovered) -> accounts.Account:
    folded = protocol.fold_chatid(chatid)
    known = accounts.find(connection, folded)
    if known is not None:
        return known
    recovered.accounts.append(chatid)
    return accounts.create(connection, chatid, folded, NO_PASSWORD, int(time.time()))


def _room(
    connection: sqlite3.Connection, room_id: str, sender: accounts.Account, recovered: Recovered
) -> rooms.Room:
    """Return the room, made anew where it is lost, too; a private one then has its speakers as
    members, and the first of them as its owner."""
    now = int(time.time())
    room = rooms.find(connection, room_id)
    is_private = room_id.startswith(protocol.PRIVATE_ROOM_PREFIX)
    if room is None:
        recovered.rooms.append(room_id)
        if not is_private:
            return rooms.create_open(connection, room_id, sender.id, now)
        return rooms.create_private(connection, room_id, room_id, sender.id, (), now)
    if is_private and room_id in recovered.rooms:
        rooms.add_member(connection, room.pk, sender.id)
    return room
