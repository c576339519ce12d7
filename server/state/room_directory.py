"""The rooms as every thread sees them: a bounded memory of what storage says about each.

Owns the cache only; storage is the truth. While the writer changes a room nobody remembers it, and
once the change is committed everybody reads the new state. Any thread.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from server.base.locks import Rank, RankedLock
from server.base.refusals import no_such_room
from storage import rooms
from storage.database import Database
from storage.rooms import Room


@dataclass(frozen=True, slots=True, eq=False)
class RoomState:
    """A room, and by account who is in it (private) or has left it (open)."""

    room: Room
    members: frozenset[int]
    departed: frozenset[int]

    @property
    def size(self) -> int:
        """How many accounts it names."""
        return len(self.members) + len(self.departed)

    def admits(self, account_id: int) -> bool:
        """Return whether the room exists for this account."""
        return not self.room.deleted and (not self.room.private or account_id in self.members)


class RoomDirectory:
    """Finds rooms by id, in memory where it can."""

    REMEMBERED: Final = 10_000
    """Rooms at most."""
    ACCOUNTS: Final = 200_000
    """Their members, or who has left them, at most: some 64 bytes each."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = RankedLock(Rank.ROOMS, "rooms")
        self._states: OrderedDict[str, RoomState] = OrderedDict()
        self._accounts = 0
        self._changes = 0
        self._changing: set[str] = set()

    def find(self, room_id: str, connection: sqlite3.Connection | None = None) -> RoomState | None:
        """Return the room, a deleted one too; None where there never was one. Reads by `connection`
        where given."""
        known = self._states.get(room_id)  # without the lock, as `RecentMessages.get`
        if known is not None:
            return known
        with self._lock:
            changes = self._changes
        if connection is not None:
            # May see what is not yet committed: not to be remembered.
            return self._read(room_id, connection)
        with self._database.reading() as reader:
            state = self._read(room_id, reader)
        if state is not None:
            with self._lock:
                if self._changes == changes and room_id not in self._changing:
                    self._remember(room_id, state)
        return state

    def _remember(self, room_id: str, state: RoomState) -> None:
        assert self._lock.held_here()
        self._forget(room_id)
        self._states[room_id] = state
        self._accounts += state.size
        while len(self._states) > 1 and (
            len(self._states) > self.REMEMBERED or self._accounts > self.ACCOUNTS
        ):
            self._forget(next(iter(self._states)))

    def _forget(self, room_id: str) -> None:
        assert self._lock.held_here()
        state = self._states.pop(room_id, None)
        if state is not None:
            self._accounts -= state.size

    def visible(
        self, room_id: str, account_id: int, connection: sqlite3.Connection | None = None
    ) -> RoomState:
        """Return the room where it exists for this account; else raise `room_not_found`."""
        state = self.find(room_id, connection)
        if state is None or not state.admits(account_id):
            raise no_such_room(room_id)
        return state

    def begin_change(self, room_id: str) -> None:
        """Forget the room, because the writer changes it in the open transaction: until that ends,
        only the transaction knows the room."""
        with self._lock:
            self._changes += 1
            self._changing.add(room_id)
            self._forget(room_id)

    def end_changes(self) -> None:
        """Let everybody read the changed rooms from storage again: the writer's transaction has
        ended, either way."""
        with self._lock:
            if self._changing:
                self._changes += 1
                self._changing.clear()

    def forget_all(self) -> None:
        """Forget every room, because another process has changed the database."""
        with self._lock:
            self._changes += 1
            self._states.clear()
            self._accounts = 0

    @staticmethod
    def _read(room_id: str, connection: sqlite3.Connection) -> RoomState | None:
        room = rooms.find(connection, room_id)
        if room is None:
            return None
        if room.private:
            return RoomState(room, rooms.member_ids(connection, room.pk), frozenset())
        return RoomState(room, frozenset(), rooms.departed_ids(connection, room.pk))
