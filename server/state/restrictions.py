"""What is in force of mutes, bans and pauses, as every thread sees it.

Owns the memory of them only; storage is the truth. While the server runs each ends by the monotonic
clock, whatever the time of day does; what a restart finds in storage ends by the time of day.

The writer's thread changes it, inside its transactions: what it changed there holds for what is
written after it in the same transaction, and for everybody once that is committed. Any thread may
ask.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from protocol import format_time
from server.base.limits import Clock
from server.base.wall_clock import WallClock
from server.state.session import Session
from storage.acts import Row


@dataclass(frozen=True, slots=True)
class Restriction:
    """A row of storage, and when it ends by the monotonic clock."""

    row: Row
    deadline: float

    @property
    def until(self) -> str | None:
        """When it ends, as the protocol writes a time; None = until it is lifted."""
        return None if self.row.ends_at is None else format_time(self.row.ends_at)

    def sentence(self, what: str) -> str:
        """Return `what` with how long and why, for the user whom it hits."""
        end = f"until {self.until}" if self.until else "until a teacher lifts it"
        return f"{what} {end}" + (f": {self.row.reason}" if self.row.reason else "")


Table = dict[tuple[str, int], Restriction]
"""By kind and account."""


class Restrictions:
    """The mutes, bans and pauses in force."""

    def __init__(self, clock: Clock, wall_clock: WallClock) -> None:
        self._clock, self._wall_clock = clock, wall_clock
        self._table: Table = {}
        """Replaced as a whole, never changed: any thread reads it."""
        self._draft: Table | None = None
        """What will hold once the open transaction is committed; None where it changes nothing."""
        self._ending: list[Session] = []
        """The sessions that the open transaction ends."""

    def load(self, rows: Iterable[Row]) -> None:
        """Take what storage has, at the start and when another process has written. What was known
        before ends when it was to end. The writer's thread, or before it runs."""
        now, wall = self._clock(), self._wall_clock.seconds()
        table: Table = {}
        for row in rows:
            known = self._table.get((row.kind, row.account_id))
            left = math.inf if row.ends_at is None else row.ends_at - wall
            fresh = Restriction(row, now + left)
            table[row.kind, row.account_id] = known if known and known.row == row else fresh
        self._table = table

    def find(self, kind: str, account_id: int, *, writing: bool = False) -> Restriction | None:
        """Return what is in force of this kind for the account. `writing` is for the writer's
        transaction: what that has changed counts then."""
        table = self._draft if writing and self._draft is not None else self._table
        found = table.get((kind, account_id))
        return found if found is not None and found.deadline > self._clock() else None

    def put(self, row: Row, seconds: int) -> Restriction:
        """Put it in force for so many seconds (0 = until it is lifted), with the open
        transaction."""
        made = Restriction(row, self._clock() + seconds if seconds else math.inf)
        self._changed()[row.kind, row.account_id] = made
        return made

    def lift(self, kind: str, account_id: int) -> None:
        """End it, with the open transaction."""
        self._changed().pop((kind, account_id), None)

    def over(self) -> list[Row]:
        """Return those whose time has passed."""
        now = self._clock()
        return [known.row for known in self._table.values() if known.deadline <= now]

    def end(self, session: Session) -> None:
        """End the session, with the open transaction: nothing is stored for it behind this. One
        that was ended before stays ended, also where the transaction fails."""
        if not session.was_ended:
            session.was_ended = True
            self._ending.append(session)

    def end_changes(self, committed: bool) -> None:
        """Let everybody see what the transaction has changed, or forget it. The writer's thread."""
        if self._draft is not None and committed:
            self._table = self._draft
        self._draft = None
        if not committed:
            for session in self._ending:
                session.was_ended = False
        self._ending.clear()

    def _changed(self) -> Table:
        if self._draft is None:
            self._draft = dict(self._table)
        return self._draft
