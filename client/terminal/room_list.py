"""What the line client knows of rooms: their names and numbers, and what in them has not been
looked at.

Owns that knowledge. Never asks the server. Any thread may call it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

import protocol
from client.base.text import visible
from client.records import Room


class RoomList:
    """The rooms with their numbers, and the unread messages of each.

    A room has its number from when it is first heard of until another user logs in: what a line
    said earlier (`/room 3`) leads there for the whole session.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below
        self._rooms: list[Room] = []
        self._numbers: dict[str, int] = {}  # also of rooms that are gone
        self._counted: set[str] = set()  # the rooms of which the server's own count was taken over
        self._unread: Counter[str] = Counter()
        self._named: Counter[str] = Counter()  # those of them that name the user

    def remember(self, rooms: Sequence[Room]) -> None:
        """Take the list that the server has just given; its counts are taken for rooms that are new
        here.

        Later only what arrives is counted: for the server a message is read when this client has
        it, for its user when the room is entered.
        """
        with self._lock:
            for room in rooms:
                self._numbers.setdefault(room.room_id, len(self._numbers) + 1)
            self._rooms = sorted(rooms, key=lambda room: self._numbers[room.room_id])
            for room in rooms:
                if room.room_id not in self._counted:
                    self._counted.add(room.room_id)
                    self._unread[room.room_id] = max(room.unread, self._unread[room.room_id])

    def begin(self, room_id: str, name: str) -> None:
        """Take note that a room was made or has another name; its number, if it has one, stays."""
        with self._lock:
            new = Room(
                room_id, name, None, room_id.startswith(protocol.PRIVATE_ROOM_PREFIX), 0, 0, 0
            )
            self._counted.add(room_id)
            self._numbers.setdefault(room_id, len(self._numbers) + 1)
            for at, room in enumerate(self._rooms):
                if room.room_id == room_id:
                    self._rooms[at] = new
                    return
            self._rooms.append(new)
            self._rooms.sort(key=lambda room: self._numbers[room.room_id])

    def arrived(self, room_id: str, *, names_user: bool) -> None:
        """Take note of a message in a room that is not being looked at."""
        with self._lock:
            self._unread[room_id] += 1
            self._named[room_id] += names_user

    def looked_at(self, room_id: str) -> int:
        """Take note that the room is entered; return how much was unread."""
        with self._lock:
            self._counted.add(room_id)
            self._named.pop(room_id, None)
            return self._unread.pop(room_id, 0)

    def forget(self) -> None:
        """Forget everything: another user logs in."""
        with self._lock:
            self._rooms.clear()
            self._numbers.clear()
            self._counted.clear()
            self._unread.clear()
            self._named.clear()

    def all(self) -> list[Room]:
        """Return the rooms in the order of their numbers."""
        with self._lock:
            return list(self._rooms)

    def name_of(self, room_id: str) -> str:
        """Return a room as people call it, harmless to show."""
        with self._lock:
            names = [room.name for room in self._rooms if room.room_id == room_id]
        return visible(names[0] if names else room_id)

    def find(self, word: str) -> str:
        """Return the id of the room that is meant by an id, a name or a number; a word that means
        none is given back."""
        rooms = self.all()
        for room in rooms:
            if room.room_id == word:
                return word
        named = [room.room_id for room in rooms if room.name.casefold() == word.casefold()]
        if named:
            return named[0]
        numbered = [room.room_id for room in rooms if str(self.number_of(room.room_id)) == word]
        return numbered[0] if numbered else word

    def is_known(self, room_id: str) -> bool:
        """Return whether the room was listed, made, looked at, or something came from it."""
        with self._lock:
            return (
                room_id in self._counted
                or room_id in self._unread
                or any(room.room_id == room_id for room in self._rooms)
            )

    def number_of(self, room_id: str) -> int | None:
        """Return by which number the room can be called; None where it has none."""
        with self._lock:
            return self._numbers.get(room_id)

    def unread_in_words(self, room_id: str) -> str:
        """Return what is unread, as `3 unread, 1 to you`; "" where there is nothing."""
        with self._lock:
            count, named = self._unread[room_id], self._named[room_id]
        return "" if not count else f"{count} unread" + (f", {named} to you" if named else "")

    def all_unread(self) -> list[str]:
        """Return each room with something unread, as `maths (3 unread)`."""
        with self._lock:
            known = [room.room_id for room in self._rooms]
            room_ids = [*known, *(room_id for room_id in self._unread if room_id not in known)]
        return [
            f"{self.name_of(room_id)} ({words})"
            for room_id in room_ids
            if (words := self.unread_in_words(room_id))
        ]
