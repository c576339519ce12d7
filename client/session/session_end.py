"""How a session ends against its user's will: told by the server, or by being displaced in turn.

Owns both, and the words for them. Two programs with one session key must not throw each other out
for ever: who is told `taken_over` stays away (R-EVT-7), and who is told nothing tries the key once.
For the reading thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from client.base.deadline import Deadline
from client.errors import SessionEnded
from client.network.link import Link
from client.records import Session

IN_TURN_SECONDS: Final = 600.0
"""Closed again so soon after coming back, we leave the place to the other program."""

_TAKEN_OVER: Final = "another login with your name has taken your place"
_IN_TURN: Final = (
    "the server closed the connection again, after the session had just been taken up: perhaps "
    "another program uses the same session"
)
_REASONS: Final[Mapping[str, str]] = {
    "account_deleted": "your account was deleted",
    "password_changed": "your password was changed",
}
"""For the reasons of `session_ended` (R-EVT-8)."""


def told_end(kind: str, reason: str, *, is_us: bool = False) -> SessionEnded | None:
    """Return the end of the session that an event of this kind tells of; None for other kinds.
    `is_us` is whether it is about this session's user (R-TEACH-8)."""
    if kind == "user_kicked" and is_us:
        return SessionEnded(kind, reason, by_teacher=True)
    if kind == "taken_over":
        return SessionEnded(kind, _TAKEN_OVER)
    if kind == "session_ended":
        words = _REASONS.get(reason, f"the server gives as its reason: {reason or 'none'}")
        return SessionEnded(kind, words, by_teacher=reason == "account_deleted")
    return None


class DisplacementWatch:
    """Tells whether another program with the same key takes our place each time we take it.

    Only for a session without `events`, which the server closes without a word. It is no other
    program where the network cut us off in the midst of something, or where the server could not be
    reached again at once, because it was away.
    """

    def __init__(self) -> None:
        self._suspected = False
        self._until: Deadline | None = None

    def closed(self, link: Link, session: Session, *, idle: bool) -> SessionEnded | None:
        """Take note that a link has ended, `idle` where nothing of ours was under way on it; return
        the end of the session where it is to be left to the other program, None where it may be
        taken up again."""
        is_told_nothing = session.extended and "events" not in session.features
        self._suspected = link.server_closed and idle and is_told_nothing
        if self._suspected and self._until is not None and not self._until.is_over():
            return SessionEnded("taken_over", _IN_TURN)
        return None

    def came_back(self, attempts: int) -> None:
        """Take note that the session was taken up again, at that attempt."""
        once = self._suspected and attempts == 1
        self._until = Deadline(IN_TURN_SECONDS) if once else None
