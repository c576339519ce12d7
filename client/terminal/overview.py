"""What `/help` shows of all commands at once.

Owns the groups and how they are laid out. Does no command. Any thread may call it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

TALK, ROOMS, FILES, LOOK, LEAVE = "Talk", "Rooms", "Files", "Look inside", "Leave"
TEACH = "Teach"  # for teachers, who alone see it
GROUPS: Final = (TALK, ROOMS, FILES, LOOK, LEAVE, TEACH)
WIDE: Final = 80  # columns that two columns of commands need
_SLASH: Final = "A message that begins with a slash is typed with two: //like this"


class Listed(Protocol):
    """What is shown of a command."""

    @property
    def usage(self) -> str:
        """How it is typed."""

    @property
    def group(self) -> str:
        """One of `GROUPS`."""

    @property
    def short(self) -> str:
        """What it does, in the few words for which there is room; "" where its name says it."""


def overview(commands: Mapping[str, Listed], columns: int = WIDE) -> str:
    """Return commands by groups. On a screen of `WIDE` columns they stand in two, with what they
    do, few enough for 24 rows. On a narrower one stand only their names; a student's fit 15 rows
    of 40."""
    rows: list[str] = []
    for group in GROUPS:
        of_group = [c for c in commands.values() if c.group == group]
        if columns >= WIDE:
            rows += _in_two_columns(group, of_group)
        elif of_group:
            rows.append(f"{group}: {' '.join(c.usage.split(' ')[0] for c in of_group)}")
    return "\n".join([*rows, _SLASH])


def _in_two_columns(group: str, of_group: list[Listed]) -> list[str]:
    cells = [f"{c.usage}  {c.short}" for c in of_group if c.short]
    half = (len(cells) + 1) // 2
    rows = []
    for at, left in enumerate(cells[:half]):
        right = cells[half + at] if half + at < len(cells) else ""
        rows.append(f"{'' if at else group:<11} {left:<33} {right}".rstrip())
    if rest := [c.usage for c in of_group if not c.short]:
        rows.append(f"{'':<11} {', '.join(rest)}")
    return rows
