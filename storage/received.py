"""What has arrived of an upload, as the database keeps it.

Owns that text, and how much of it is kept. Pure functions; any thread may use them.
"""

from __future__ import annotations

import json
from typing import Final

Ranges = tuple[tuple[int, int], ...]
"""Inclusive ranges of chunk indexes, counted from 0, ascending."""

KEPT_RANGES: Final = 3_333
"""No reply names more (R-LIM-13), and what it does not name is sent again (R-FILE-15). A row of all
the ranges that an upload may have made every other client's message wait 0.3 s (measured)."""


def as_text(received: Ranges) -> str:
    """Return the first `KEPT_RANGES` ranges as text."""
    return json.dumps(received[:KEPT_RANGES])


def from_text(text: str) -> Ranges:
    """Return the ranges that `as_text` wrote."""
    return tuple((first, last) for first, last in json.loads(text))
