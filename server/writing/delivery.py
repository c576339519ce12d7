"""The notifications of a commit: acknowledgements, fan-out, the journal's copy.

Owns what is gathered between a commit and its `flush`. Only the writer's thread uses it. Each
client gets everything of one commit as ONE joined send that does not block: joining frames decides
the cost of a delivery (one send of 1,250 bytes costs hardly more than one of 250).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from protocol import build_event
from server.net.outbox import Outbox
from server.state.registry import Registry
from server.state.room_directory import RoomState
from server.state.session import Connection, Session
from server.writing.journaling import JournalKeeper

log: Final = logging.getLogger("server.delivery")


class Delivery:
    """Gathers the notifications of a commit, by client."""

    def __init__(self, registry: Registry, journal: JournalKeeper) -> None:
        self._registry = registry
        self._journal = journal
        self._rooms: dict[int, tuple[RoomState, list[tuple[int, bytes]]]] = {}
        # Frames forwarded, replies.
        self._clients: dict[Outbox, tuple[list[bytes], list[bytes]]] = {}
        self._records: dict[tuple[int, int], list[bytes]] = {}
        self._parting: list[tuple[Connection, str]] = []
        self.stored = {"message": 0, "file": 0}
        """How many were stored since the start. Any thread may read them."""

    def reply(self, outbox: Outbox, frame: bytes) -> None:
        """Queue an answer to the client's own request."""
        self._of(outbox)[1].append(frame)

    def to_room(
        self, room: RoomState, sender_id: int, frame: bytes, sent_at: int, row: tuple[str, int]
    ) -> None:
        """Queue a message or file for everyone who hears the room but its sender, and for the
        journal. `row` says which one it is: "message" or "file", and its id."""
        said = self._rooms.get(room.room.pk)
        # Somebody came back or left between two messages of this commit.
        if said is not None and said[0] is not room:
            self.settle()
            said = None
        if said is None:
            said = self._rooms[room.room.pk] = (room, [])
        said[1].append((sender_id, frame))
        self.stored[row[0]] += 1
        self._records.setdefault((room.room.pk, sent_at // 86_400), []).append(frame)
        self._journal.reached(*row)

    def to_session(self, session: Session, frame: bytes) -> None:
        """Queue a packet that somebody else caused."""
        self._of(session.connection.outbox)[0].append(frame)

    def event(
        self,
        kind: str,
        audience: Iterable[int] | None = None,
        besides: int | None = None,
        **data: Any,
    ) -> None:
        """Queue an event for everyone who asked for events, or for those of `audience` (accounts),
        but not for `besides`."""
        listeners = self._registry.listeners(audience)
        if not listeners:
            return
        frame = build_event(kind, **data)
        for session in listeners:
            if session.account_id != besides:
                self.to_session(session, frame)

    def end(self, session: Session, why: str, kind: str, **data: Any) -> None:
        """End a session: tell its client by this event, if it asked for events, then close its
        connection, once that is on its way. `why` is for the log."""
        self.settle()
        self._registry.silence(session)
        if "events" in session.features:
            self.to_session(session, build_event(kind, **data))
        self._parting.append((session.connection, why))

    def settle(self) -> None:
        """Fix who gets what was said so far. To be called before anybody comes, goes, or a room
        changes."""
        for room, said in self._rooms.values():
            joined = b"".join([frame for _, frame in said])
            senders = {sender_id for sender_id, _ in said}
            for session in self._registry.audience(room):
                if session.account_id not in senders:
                    self._of(session.connection.outbox)[0].append(joined)
                else:
                    own = session.account_id
                    # joined when it is sent, one client after the other
                    others = [frame for sender_id, frame in said if sender_id != own]
                    if others:
                        self._of(session.connection.outbox)[0].extend(others)
        self._rooms.clear()

    def flush(self) -> None:
        """Send everything, one send a client; then write the journal. Sessions end first: from the
        moment of any answer nothing more is heard from them (R-SESS-8, R-SESS-16, R-TEACH-8)."""
        self.settle()
        clients, self._clients = self._clients, {}
        parting, self._parting = self._parting, []
        if parting:
            outboxes = {connection.outbox for connection, _ in parting}
            _send({outbox: clients.pop(outbox) for outbox in outboxes & clients.keys()})
            for connection, why in parting:
                connection.part(why)
        _send(clients)
        records, self._records = self._records, {}
        for (room_pk, day), frames in records.items():
            self._journal.append(room_pk, day, b"".join(frames))

    def _of(self, outbox: Outbox) -> tuple[list[bytes], list[bytes]]:
        found = self._clients.get(outbox)
        if found is None:
            found = self._clients[outbox] = ([], [])
        return found


def _send(clients: Mapping[Outbox, tuple[list[bytes], list[bytes]]]) -> None:
    for outbox, (forwarded, replies) in clients.items():
        if not replies:
            data = forwarded[0] if len(forwarded) == 1 else b"".join(forwarded)
            outbox.put(data, len(data))
        else:
            told = b"".join(replies)
            data = b"".join((told, *forwarded))
            outbox.put(data, len(data) - len(told))
