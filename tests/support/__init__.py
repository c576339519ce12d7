"""What the black-box tests stand on: a server process and a client of raw frames.

Nothing here imports the product, so that a mistake in it cannot hide itself.
"""

from __future__ import annotations

import itertools
import os
import secrets

import pytest

needs_time = pytest.mark.skipif(
    not os.environ.get("CHAT_SLOW_TESTS"), reason="takes over 30 s; set CHAT_SLOW_TESTS=1"
)

_numbers = itertools.count(1)


def fresh_name(prefix: str = "user") -> str:
    """A name that no other test uses: small ASCII letters and digits only."""
    return f"{prefix}{next(_numbers)}x{secrets.token_hex(4)}"
