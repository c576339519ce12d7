"""Raised hands: who wants to ask the teacher something, in the order of raising.

Owns the queue, and until when the hand of somebody whose connection was lost stays up. In memory
only. Only the writer's thread changes it; any thread may read a copy, and `due_at`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

AWAY_SECONDS: Final = 300.0
"""So long a lost connection costs nobody the place in the queue (R-TEACH-20)."""


@dataclass(frozen=True, slots=True)
class Hand:
    """A raised hand; `at` is in seconds since 1970."""

    account_id: int
    chatid: str
    text: str
    at: int


class Hands:
    """The queue of hands."""

    def __init__(self) -> None:
        self._hands: dict[int, Hand] = {}
        self._kept_until: dict[int, float] = {}
        """Of whose connection was lost: when the hand goes down, by the monotonic clock."""
        self.due_at = math.inf
        """When the first of these goes down."""

    def put_up(self, hand: Hand) -> tuple[int, bool]:
        """Raise a hand; who has raised it already keeps their place, with the new text. Return the
        place, counted from 1, and whether anything has changed."""
        earlier = self._hands.get(hand.account_id)
        at = hand.at if earlier is None else earlier.at
        self._hands[hand.account_id] = Hand(hand.account_id, hand.chatid, hand.text, at)
        is_new = earlier is None or earlier.text != hand.text
        return 1 + list(self._hands).index(hand.account_id), is_new

    def take_down(self, account_id: int) -> bool:
        """Lower the hand; False where it was not raised."""
        self._kept_until.pop(account_id, None)
        return self._hands.pop(account_id, None) is not None

    def leave(self, account_id: int, now: float) -> None:
        """Keep the hand of somebody whose connection is lost, for a while from `now`."""
        if account_id in self._hands:
            self._kept_until[account_id] = now + AWAY_SECONDS
            self.due_at = min(self.due_at, now + AWAY_SECONDS)

    def overdue(self, now: float, is_back: Callable[[int], bool]) -> list[Hand]:
        """Return the hands of those whose time has passed, and who have not come back. They stay in
        the queue."""
        passed = [account_id for account_id, at in self._kept_until.items() if at <= now]
        for account_id in passed:
            del self._kept_until[account_id]
        self.due_at = min(self._kept_until.values(), default=math.inf)
        return [self._hands[account_id] for account_id in passed if not is_back(account_id)]

    def by_account(self) -> dict[int, tuple[int, Hand]]:
        """Return each hand with its place, counted from 1."""
        hands = list(self._hands.values())
        return {hand.account_id: (place, hand) for place, hand in enumerate(hands, start=1)}
