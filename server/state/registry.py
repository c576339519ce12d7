"""Who is here: every connection, every session, and who of them hears a room.

Owns these three under one lock, under which nothing blocks: callers get copies and act outside. Any
thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from server.base.locks import Rank, RankedLock
from server.state.room_directory import RoomState
from server.state.session import Connection, Session

MOST_HEARERS: Final = 1_000_000
"""Sessions in all remembered audiences: 8 bytes each."""


class Registry:
    """The lock-guarded register of connections and sessions. One account has at most one
    session."""

    def __init__(self, max_connections: int, max_per_address: int) -> None:
        self._max_connections, self._max_per_address = max_connections, max_per_address
        self._lock = RankedLock(Rank.REGISTRY, "registry")
        self._connections: set[Connection] = set()
        self._by_address: Counter[str] = Counter()
        self._sessions: dict[int, Session] = {}
        self._promised: dict[int, Session] = {}
        """By account: the newest login in the open transaction."""
        self._leaving: dict[int, list[Session]] = {}
        """By account: sessions that have lost or left their place, and still save what they
        have."""
        self._audiences: dict[int, tuple[RoomState, tuple[Session, ...]]] = {}
        self._hearers = 0
        self._listeners: tuple[Session, ...] | None = None

    # Connections

    def refuses(self, address: str, is_loopback: bool) -> str | None:
        """Return why one more connection from `address` can't be taken, or None."""
        with self._lock:
            if self._max_connections and len(self._connections) >= self._max_connections:
                return (
                    f"the server takes at most {self._max_connections} connections; try again later"
                )
            if (
                self._max_per_address
                and not is_loopback
                and self._by_address[address] >= self._max_per_address
            ):
                return (
                    f"the server takes at most {self._max_per_address} connections from one address"
                )
        return None

    def add_connection(self, connection: Connection) -> None:
        """Count it in."""
        with self._lock:
            self._connections.add(connection)
            self._by_address[connection.address] += 1

    def remove_connection(self, connection: Connection) -> None:
        """Count it out."""
        with self._lock:
            self._connections.discard(connection)
            self._by_address[connection.address] -= 1
            if self._by_address[connection.address] <= 0:
                del self._by_address[connection.address]

    def connections(self) -> list[Connection]:
        """Return all connections, as a copy."""
        with self._lock:
            return list(self._connections)

    # Sessions

    def holder(self, account_id: int) -> Session | None:
        """Return the session that holds the account's place, or None."""
        with self._lock:
            return self._sessions.get(account_id)

    def served(self, account_ids: Iterable[int] | None = None) -> list[Session]:
        """Return the sessions whose connections are served, of `account_ids` only, where given:
        also those that have lost or left their place and still have something on the way to the
        writer, or get the rest of their downloads (R-FRAME-9). A login that waits to be stored has
        none yet."""
        wanted = None if account_ids is None else set(account_ids)
        with self._lock:
            sessions = [connection.session for connection in self._connections]
        return [
            session
            for session in sessions
            if session is not None and (wanted is None or session.account_id in wanted)
        ]

    def promise(self, session: Session, may_displace: Callable[[Session], bool]) -> bool:
        """Promise the account's place to a login that the open transaction stores, and serve its
        session from here on; False where the login was given up, or somebody has the place, or was
        promised it, whom `may_displace` spares. The writer's thread."""
        with self._lock:
            holder = self._promised.get(session.account_id) or self._sessions.get(
                session.account_id
            )
        if holder is not None and not may_displace(holder):
            return False
        with self._lock:
            if session.has_left:
                return False
            self._promised[session.account_id] = session
            session.connection.session = session
        return True

    def forget_promises(self) -> None:
        """Forget all promises: the transaction has ended, and its logins take their places now, or
        never. The writer's thread."""
        with self._lock:
            self._promised.clear()

    def go_online(self, session: Session) -> Session | None:
        """Give the session its account's place, and let it hear its rooms from now on; return the
        session whose place that was. The writer's thread.

        Nothing happens where its login was given up meanwhile: `is_online` then stays False.
        """
        with self._lock:
            if session.has_left:
                return None
            displaced = self._sessions.get(session.account_id)
            if displaced is not None:
                displaced.is_online = False
                self._leaving.setdefault(session.account_id, []).append(displaced)
            session.predecessors = tuple(self._leaving.get(session.account_id, ()))
            self._sessions[session.account_id] = session
            session.is_online = True
            self._forget_audiences()
        return displaced

    def silence(self, session: Session) -> None:
        """Let it hear nothing more; it keeps its place until its thread has ended."""
        with self._lock:
            session.is_online = False
            self._forget_audiences()

    def release(self, session: Session) -> bool:
        """Give the place up, if it is still this session's own; return whether it was."""
        with self._lock:
            session.is_online, session.has_left = False, True
            self._forget_audiences()
            if self._sessions.get(session.account_id) is not session:
                return False
            del self._sessions[session.account_id]
            self._leaving.setdefault(session.account_id, []).append(session)
        return True

    def has_ended(self, session: Session) -> None:
        """Note that the session has saved everything: nobody waits for it any more."""
        with self._lock:
            session.has_ended = True
            session.predecessors = ()
            leaving = self._leaving.get(session.account_id, [])
            if session in leaving:
                leaving.remove(session)
            if not leaving:
                self._leaving.pop(session.account_id, None)

    def sessions(self) -> list[Session]:
        """Return all sessions, as a copy."""
        with self._lock:
            return list(self._sessions.values())

    def online(self, account_id: int) -> Session | None:
        """Return the account's session, if it hears its rooms."""
        with self._lock:
            session = self._sessions.get(account_id)
        return session if session is not None and session.is_online else None

    def online_ids(self) -> set[int]:
        """Return the accounts that are online."""
        with self._lock:
            return {session.account_id for session in self._sessions.values() if session.is_online}

    def teachers(self) -> set[int]:
        """Return the accounts of the teachers who are online."""
        with self._lock:
            return {
                session.account_id
                for session in self._sessions.values()
                if session.is_teacher and session.is_online
            }

    # Who hears what

    def audience(self, room: RoomState) -> tuple[Session, ...]:
        """Return every session that is online and hears the room. Remembered until somebody comes,
        goes, or the room changes."""
        with self._lock:
            known = self._audiences.get(room.room.pk)
            if known is not None and known[0] is room:
                return known[1]
            if room.room.private:
                found = (self._sessions.get(account_id) for account_id in room.members)
                audience = tuple(
                    session for session in found if session is not None and session.is_online
                )
            else:
                departed = room.departed
                audience = tuple(
                    s
                    for s in self._sessions.values()
                    if s.is_online and s.account_id not in departed
                )
            if self._hearers > MOST_HEARERS:
                self._audiences.clear()
                self._hearers = 0
            self._audiences[room.room.pk] = (room, audience)
            self._hearers += len(audience)
        return audience

    def listeners(self, account_ids: Iterable[int] | None = None) -> tuple[Session, ...]:
        """Return every session that is online and was granted `events`; of `account_ids` only,
        where given."""
        with self._lock:
            if self._listeners is None:
                self._listeners = tuple(
                    s for s in self._sessions.values() if s.is_online and "events" in s.features
                )
            listeners = self._listeners
        if account_ids is None:
            return listeners
        wanted = set(account_ids)
        return tuple(session for session in listeners if session.account_id in wanted)

    def _forget_audiences(self) -> None:
        assert self._lock.held_here()
        self._audiences.clear()
        self._hearers = 0
        self._listeners = None
