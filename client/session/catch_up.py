"""How far each room has been handed on to the user, and fetching what was missed while the
connection was down.

Owns the marks: each message is handed on once, in the order of its room. Never connects: it asks
through its caller. `start`, `forget`, `leave` and `come` may be called by any thread, the rest by
the one that reads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import protocol
from client.errors import BadAnswer, ChatError, ConnectionLost, NoAnswer, ServerError
from client.events import Event, FileShared, Message
from client.records import Room, Session, SharedFile, page_from
from client.session.paging import goes_on
from client.session.requests import all_files, all_rooms

PAGE: Final = (
    200  # messages; halved after each attempt that broke, so that a bad network lets some through
)
MAX_FETCHED: Final = 100_000
"""Missed messages of one room that are fetched at most."""
MAX_WATCHED_ROOMS: Final = 50
"""In how many rooms, the liveliest, missed files are looked for: each costs a request at login and
after each loss."""

Ask = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class Missed:
    """How much was fetched."""

    messages: int
    files: int
    problem: str = ""
    """Why there may be more; "" where that was all."""


class CatchUp:
    """What one user's rooms have brought so far. `tell` takes what is handed on; files are looked
    for where `files` is true."""

    def __init__(self, tell: Callable[[Event], None], *, files: bool = False) -> None:
        self._tell = tell
        self._wants_files = files
        self._lock = threading.Lock()  # guards the next three
        self._left: set[str] = set()
        self._start_at: dict[str, int] | None = (
            None  # the newest message_id of each room when we logged in; None = not known
        )
        self._files: dict[str, set[tuple[str, str]]] | None = (
            None  # name and time of the files that are known, by room
        )
        self._marks: dict[str, int] = {}  # the highest message_id handed on, by room
        self._page = PAGE
        self._held: list[Message] | None = None  # what comes in while older messages are fetched

    # --- At login, and what the user does ---

    def start(self, ask: Ask) -> str:
        """Take note of what there is right after a login: it was not missed.

        Return why that could not be learned, "" where it was: nobody's login fails by it. Raise
        `ConnectionLost` only where the connection is gone.
        """
        problem = _Problem()
        with problem.noted():
            rooms = all_rooms(ask)
            with self._lock:
                self._start_at = {room.room_id: room.last_message_id for room in rooms}
            if self._wants_files:
                found = {
                    room.room_id: {
                        (file.file_path, file.timestamp)
                        for file in _files_of(ask, room.room_id, problem)
                    }
                    for room in _liveliest(rooms)
                }
                with self._lock:
                    self._files = found
        return problem.text

    def forget(self) -> None:
        """Forget everything: another user logs in."""
        with self._lock:
            self._start_at = self._files = None
            self._left.clear()
            self._marks.clear()

    def leave(self, room_id: str) -> None:
        """Stop fetching this room's messages: the user does not want them."""
        with self._lock:
            self._left.add(room_id)

    def come(self, room_id: str) -> None:
        """Fetch what is missed of this room again: the user wants it."""
        with self._lock:
            self._left.discard(room_id)

    # --- As things come in ---

    def hand_on(self, message: Message) -> None:
        """Give a message to the user, once, and not before older ones of its room that are being
        fetched."""
        if self._held is not None:
            self._held.append(message)
            return
        if message.message_id is not None:
            if message.message_id <= self._marks.get(message.room_id, 0):
                return
            self._marks[message.room_id] = message.message_id
        self._tell(message)

    def hand_on_file(self, file: FileShared) -> None:
        """Tell the user of a file."""
        with self._lock:
            if self._files is not None:
                self._files.setdefault(file.room_id, set()).add((file.file_path, file.timestamp))
        self._tell(file)

    # --- Coming back ---

    def hold(self) -> None:
        """Keep back what comes in from now on, until `release`."""
        self._held = []

    def release(self) -> None:
        """Hand on what was kept back: everything older has been fetched."""
        held, self._held = self._held or [], None
        for message in held:
            self.hand_on(message)
        self._page = PAGE

    def broke(self) -> None:
        """Take note that the attempt to come back failed; what was kept back will be fetched by the
        next one."""
        self._held = None
        self._page = max(5, self._page // 2)

    def fetch(self, ask: Ask, session: Session) -> Missed:
        """Hand on what was missed. Raise `ConnectionLost` only where the connection is gone; what
        else goes wrong stands in the result."""
        count, problem = Counter[str](), _Problem()
        with problem.noted():
            rooms = all_rooms(ask)
            with self._lock:
                if self._start_at is None:  # lost before we knew: begin here
                    self._start_at = {room.room_id: room.last_message_id for room in rooms}
                start_at, left = self._start_at, set(self._left)
            # Rooms that we have not heard of are younger than everything that we have.
            newest = max((*self._marks.values(), *start_at.values()), default=0)
            wanted = [room for room in rooms if room.room_id not in left]
            for room in wanted:
                after = self._marks.get(room.room_id, start_at.get(room.room_id, newest))
                if room.last_message_id > after:
                    self._fetch_room(room, after, session, ask, count, problem)
            if self._wants_files:
                self._fetch_files(wanted, session, ask, count, problem)
        return Missed(count["messages"], count["files"], problem.text)

    def _fetch_room(
        self,
        room: Room,
        after: int,
        session: Session,
        ask: Ask,
        count: Counter[str],
        problem: _Problem,
    ) -> None:
        """Hand on what was said in a room after the message `after`, up to the one that was the
        last when we came back: what is younger comes by itself."""
        room_id, mark, most = room.room_id, after, MAX_FETCHED
        while most > 0 and after < room.last_message_id:
            data = {"room_id": room_id, "after_id": after, "limit": self._page}
            try:
                page = page_from(ask("get_messages", data), room_id)
            except ServerError:
                return  # deleted, or we were taken out of it, a moment ago
            except BadAnswer as error:
                problem.note(error)
                return
            for message in page.messages:
                if message.message_id is None or message.message_id <= mark:
                    continue
                mark = self._marks[room_id] = message.message_id
                most -= 1
                if not _same(message.sender, session.chatid):
                    count["messages"] += 1
                    self._tell(dataclasses.replace(message, missed=True))
            try:
                further = goes_on(page, after)
            except BadAnswer as error:
                problem.note(error)
                return
            if further is None:
                return
            after = further
        if most <= 0:
            problem.note(f"more than {MAX_FETCHED:,} messages in one room")

    def _fetch_files(
        self,
        rooms: Sequence[Room],
        session: Session,
        ask: Ask,
        count: Counter[str],
        problem: _Problem,
    ) -> None:
        with self._lock:
            first_time = self._files is None
            known = self._files = self._files or {}
        for room in _liveliest(rooms):
            # Of a private room that is new here nobody knows which files were put into it before we
            # were taken in.
            silent = first_time or (room.private and room.room_id not in known)
            for file in _files_of(ask, room.room_id, problem):
                with self._lock:
                    before = known.setdefault(room.room_id, set())
                    is_new = (file.file_path, file.timestamp) not in before
                    before.add((file.file_path, file.timestamp))
                if is_new and not silent and not _same(file.sender, session.chatid):
                    count["files"] += 1
                    self._tell(
                        FileShared(
                            room.room_id,
                            file.sender,
                            file.file_path,
                            file.file_size,
                            file.file_type,
                            file.timestamp,
                            missed=True,
                        )
                    )


class _Problem:
    """The first thing that went wrong while one user's rooms were caught up with."""

    def __init__(self) -> None:
        self.text = ""

    def note(self, error: ChatError | str) -> None:
        """Take note, where it is the first."""
        self.text = self.text or str(error)

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """End what stands below where the server refuses, is silent, or answers nonsense, and take
        note; only a lost connection goes further."""
        try:
            yield
        except ConnectionLost as error:
            if not isinstance(error, NoAnswer):
                raise
            self.note(error)
        except ChatError as error:
            self.note(error)


def _liveliest(rooms: Sequence[Room]) -> list[Room]:
    return sorted(rooms, key=lambda room: room.last_message_id, reverse=True)[:MAX_WATCHED_ROOMS]


def _files_of(ask: Ask, room_id: str, problem: _Problem) -> Sequence[SharedFile]:
    """Return the files of a room; none where the server refuses or its list can't be read."""
    try:
        return all_files(ask, room_id)
    except ServerError:
        return ()
    except BadAnswer as error:
        problem.note(error)
        return ()


def _same(one: str, other: str) -> bool:
    return protocol.fold_chatid(one) == protocol.fold_chatid(other)
