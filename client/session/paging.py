"""Walks through lists that come in pages, and ends where a server would go on for ever.

Owns what counts as a page that brings something new, and how long a list may be. Never asks the
server: its callers do. A walk is for one thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from client.errors import BadAnswer
from client.records import Page

MAX_ITEMS: Final = 100_000
MAX_CHARACTERS: Final = 64 * 1024 * 1024
"""Of one list, all its pages together: ten times what a server of 10,000 accounts has."""


class PageWalk:
    """One walk through a list called `what`, item by item under their keys."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._seen: set[str] = set()
        self._characters = 0

    def take(self, items: Sequence[Any], keys: Iterable[str], *, has_more: bool) -> None:
        """Take one more page that is not empty (an empty one is the end of any list). Raise
        `BadAnswer` where the server says that more comes, but this page has brought nothing new, or
        the list is too long to be one."""
        before = len(self._seen)
        self._seen.update(keys)
        self._characters += sum(len(str(item)) for item in items)
        if len(self._seen) > MAX_ITEMS or self._characters > MAX_CHARACTERS:
            raise BadAnswer(
                f"the list of {self._what} does not end: {len(self._seen):,} have come, "
                "and the server says that there are more"
            )
        if has_more and len(self._seen) == before:
            raise BadAnswer(
                f"the list of {self._what} does not go on: a page after {before:,} of them brings "
                "nothing new, and the server says that there are more"
            )


def goes_on(page: Page, after: int | None) -> int | None:
    """Return the `message_id` behind which the next page of a history begins; None where this was
    the last.

    Raise `BadAnswer` where the server says that more comes, but this page ends no later than
    `after`, where it was to begin.
    """
    if not page.has_more or not page.messages:
        return None
    last = page.messages[-1].message_id
    if last is None:
        return None  # without numbers nobody can ask for the next page
    if after is not None and last <= after:
        raise _stands_still(after)
    return last


def goes_back(page: Page, before: int | None) -> int | None:
    """Return the `message_id` before which the next page of a history ends, walking back; else as
    `goes_on`."""
    if not page.has_more or not page.messages:
        return None
    first = page.messages[0].message_id
    if first is None:
        return None
    if before is not None and first >= before:
        raise _stands_still(before)
    return first


def _stands_still(at: int) -> BadAnswer:
    return BadAnswer(
        f"the history does not go on: a page after message {at} brings nothing new, and the server "
        "says that there are more messages"
    )
