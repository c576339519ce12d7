"""What the black-box tests stand on: a server process and a client of raw frames.

Nothing here imports the product, so that a mistake in it cannot hide itself.
"""

from __future__ import annotations

import itertools
import secrets

_numbers = itertools.count(1)


def fresh_name(prefix: str = "user") -> str:
    """A name that no other test uses: small ASCII letters and digits only."""
    return f"{prefix}{next(_numbers)}x{secrets.token_hex(4)}"
