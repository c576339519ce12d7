"""How a request is refused: an HTTP status and a sentence. Any thread."""

from __future__ import annotations


class ActRefused(Exception):
    """An act can't be done; the text says why, and what can be done instead."""


class Refused(Exception):
    """A request is answered with an error: `status` is HTTP's, the text says what is wrong."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
