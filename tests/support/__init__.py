"""What the black-box tests stand on: a server process and a client of raw frames.

Nothing here imports the product, so that a mistake in it cannot hide itself.
"""

from __future__ import annotations

import itertools

from support.seed import drawn

_numbers = itertools.count(1)
_letters = drawn("names")


def fresh_name(prefix: str = "user") -> str:
    """A name that no other test uses: small ASCII letters and digits only."""
    return f"{prefix}{next(_numbers)}x{_letters.randrange(2**32):08x}"
