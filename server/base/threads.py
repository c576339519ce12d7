"""What a thread of the server does at a defect of ours: it says so in the log, and goes on.

A thread that ends by an exception ends in silence for everybody but stderr, and what it did is done
no more. Any thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

log: Final = logging.getLogger("server.threads")

PAUSE_SECONDS: Final = 0.5
"""After a defect: one that stays must not fill the log or keep a core busy."""


def repeat(turn: Callable[[], None], is_over: Callable[[], bool]) -> None:
    """Call `turn` until `is_over()`. A defect in a turn is logged, and after `PAUSE_SECONDS` comes
    the next one."""
    while not is_over():
        try:
            turn()
        except Exception:  # a thread begins here
            log.exception("%s met a defect, and goes on", threading.current_thread().name)
            if not is_over():
                time.sleep(PAUSE_SECONDS)
