"""Random names, rooms, keys and texts, so that nothing can be hard-coded.

Owns two random sources, which the seed and the case's id decide. Touches nothing else.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from typing import final


@final
class Names:
    """What one case calls things, and says; what `tag` returns tells this run's names from those of
    another run.

    Texts have a source of their own: how many names are drawn depends on who is still logged in
    from earlier cases, and a case is to say the same whatever ran before it.
    """

    def __init__(self, source: random.Random, texts: random.Random, tag: Callable[[], str]) -> None:
        self._source, self._texts = source, texts
        self._tag = tag

    def _letters(self, size: int) -> str:
        return _word(self._source, size)

    def name(self, stem: str = "") -> str:
        """Return a new legal `chatid` of ASCII letters, digits and `_`, at most 24 characters."""
        return f"{stem or self._letters(5)}_{self._letters(4)}{self._tag()}"

    def room_id(self, stem: str = "room") -> str:
        """Return an id that no room has yet."""
        return f"{stem}-{self._letters(6)}-{self._tag()}"

    def password(self) -> str:
        """Return a new password."""
        return f"{self._letters(10)} {self._source.randrange(10**6)}"

    def key(self) -> str:
        """Return a new key for `transaction_id` or `request_id`."""
        return f"key-{self._letters(12)}-{self._tag()}"

    def text(self, words: int = 5) -> str:
        """Return a few words with capitals, spaces, punctuation and a character beyond ASCII."""
        draw = self._texts
        chosen = [_word(draw, draw.randrange(2, 8)) for _ in range(words)]
        chosen[0] = chosen[0].capitalize()
        return " ".join(chosen) + draw.choice([" é!", " ß?", " 漢字.", " 👍", " Ж,", " ñ…"])


def _word(source: random.Random, size: int) -> str:
    return "".join(source.choices(string.ascii_lowercase, k=size))
