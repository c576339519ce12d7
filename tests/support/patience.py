"""The one scale of all waits: how long a test waits for what must come.

`CHAT_TEST_PATIENCE=3` makes every deadline of the tests three times as long, for a slow or a busy
machine. It never changes a limit that a test is about, as the server's own timeouts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

PATIENCE: Final = float(os.environ.get("CHAT_TEST_PATIENCE") or 1)


def patience(seconds: float) -> float:
    """Return the deadline for a wait that should take far less than `seconds`."""
    return seconds * PATIENCE


def until(holds: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Wait for something that has no event; where it never comes, `what` says what is wrong."""
    deadline = time.monotonic() + patience(seconds)
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)
