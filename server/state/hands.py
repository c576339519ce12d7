"""Raised hands: who wants to ask the teacher something, in the order of raising.

Owns the queue. In memory only: a hand ends with its session. Only the writer's thread changes it;
any thread may read a copy.
"""

from __future__ import annotations

from dataclasses import dataclass


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

    def put_up(self, hand: Hand) -> int:
        """Raise a hand; who has raised it already keeps their place, with the new text. Return the
        place, counted from 1."""
        earlier = self._hands.get(hand.account_id)
        at = hand.at if earlier is None else earlier.at
        self._hands[hand.account_id] = Hand(hand.account_id, hand.chatid, hand.text, at)
        return 1 + list(self._hands).index(hand.account_id)

    def take_down(self, account_id: int) -> bool:
        """Lower the hand; False where it was not raised."""
        return self._hands.pop(account_id, None) is not None

    def by_account(self) -> dict[int, tuple[int, Hand]]:
        """Return each hand with its place, counted from 1."""
        hands = list(self._hands.values())
        return {hand.account_id: (place, hand) for place, hand in enumerate(hands, start=1)}
