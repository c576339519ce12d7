"""The one scale of all waits: how long a test waits for what must come.

`CHAT_TEST_PATIENCE=3` makes every deadline of the tests three times as long, for a slow or a busy
machine. It never changes a limit that a test is about, as the server's own timeouts.
"""

from __future__ import annotations

import os
from typing import Final

PATIENCE: Final = float(os.environ.get("CHAT_TEST_PATIENCE") or 1)


def patience(seconds: float) -> float:
    """Return the deadline for a wait that should take far less than `seconds`."""
    return seconds * PATIENCE
