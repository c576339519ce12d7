"""What becomes of many lines that are pasted at once.

Owns the question about them and its answers. Never reads or draws the screen. Pure functions; any
thread may use them.
"""

from __future__ import annotations

import re
from typing import Final

from client.base.text import visible

_LINE_END: Final = re.compile(r"\r\n|\r|\n")
SHOWN: Final = 60  # characters of the first line, of which the rest is not shown again


class Block(tuple[str, ...]):
    """The messages that a paste is to become, none of them a command; empty where it was
    cancelled."""

    __slots__ = ()

    def summary(self, prompt: str) -> str:
        """Return what stands in place of the typed line."""
        first = visible(self[0] if len(self) > 1 else self[0].split("\n")[0])
        count = len(self) if len(self) > 1 else len(self[0].split("\n"))
        return f"{prompt}{first[:SHOWN]}{'..' if len(first) > SHOWN else ''} ({count} lines)"


def split(text: str) -> tuple[list[str], bool]:
    """Return the lines of a paste, of whatever system its line ends are, and whether the last of
    them is ended."""
    lines = _LINE_END.split(text)
    ended = len(lines) > 1 and not lines[-1]
    return (lines[:-1] if ended else lines), ended


def question(lines: list[str]) -> str:
    """Return what to ask about many lines; one key answers."""
    return f"{len(lines)} lines: [s]end each, [o]ne message, [c]ancel "


def lines_of(lines: list[str], key: str) -> Block | None:
    """Return what a key chooses: empty lines are no messages of their own; None where the key is no
    answer."""
    if key in ("s", "S"):
        return Block(line for line in lines if line.strip())
    if key in ("o", "O"):
        return Block(["\n".join(lines)])
    return Block() if key in ("c", "C", "\x1b", "\x04") else None
