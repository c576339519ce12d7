"""The one seed of all that tests draw by chance.

Runs of one seed draw the same; `CHAT_TEST_SEED=7` sets another. pytest's header shows it, and so
does the report of each test that fails.
"""

from __future__ import annotations

import os
import random
from typing import Final

SEED: Final = int(os.environ.get("CHAT_TEST_SEED") or 1)


def drawn(*names: object) -> random.Random:
    """Return a generator of random numbers that is the same for the same seed and names."""
    return random.Random("/".join(map(str, (SEED, *names))))


def some_bytes(size: int) -> bytes:
    """Return the content of a file that looks like chance, and is the same for the same size."""
    return drawn("bytes", size).randbytes(size)
