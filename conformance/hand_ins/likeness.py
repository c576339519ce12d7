"""How much of one hand-in's text stands in another, in the starters, or in this project's server.

Pure but for reading the files. A hint for the teacher's eyes, never a verdict: a line of code has
few ways to be written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from conformance.hand_ins.hand_in import files_of

LINES: Final = 4
"""So many lines in a row are compared as one piece, as a reader would notice them."""
MOST_BYTES: Final = 512 * 1024
"""A larger file was made by a program, or is no source."""
ALIKE: Final = 0.6
"""From this share on a pair is told: two servers of one exercise share some 10 to 30 % (measured
with the starters and servers of the kit's own tests)."""
ENDINGS: Final = (
    *(".py", ".js", ".ts", ".mjs", ".java", ".go", ".c", ".h", ".cc", ".cpp", ".cs", ".rs"),
    *(".kt", ".rb", ".php", ".pl", ".lua", ".swift", ".scala", ".hs", ".ml", ".ex", ".erl"),
)


@dataclass(frozen=True)
class Alike:
    """That `share` (0 to 1) of the pieces of `one` stand in `other`."""

    one: str
    other: str
    share: float


def pieces_of(folder: Path, given: Iterable[str] = ()) -> frozenset[int]:
    """Return marks of all pieces of the source files in a folder; blanks, comments and the folders
    named `given` do not count."""
    found: set[int] = set()
    left_out = set(given)
    for path in files_of(folder):
        if path.suffix.lower() not in ENDINGS or left_out & set(path.parts):
            continue
        if path.stat().st_size <= MOST_BYTES:
            found |= pieces_of_text(path.read_text("utf-8", "replace"))
    return frozenset(found)


def pieces_of_text(text: str) -> set[int]:
    """Return marks of each run of LINES lines that say something."""
    lines = []
    for line in text.splitlines():
        plain = re.sub(r"\s+|(?:#|//).*", "", line)
        if len(plain) > 2:
            lines.append(plain)
    return {hash(tuple(lines[at : at + LINES])) for at in range(len(lines) - LINES + 1)}


def compare(
    pieces: Mapping[str, frozenset[int]], known: Mapping[str, frozenset[int]]
) -> list[Alike]:
    """Return the pairs that are alike, the most alike first: each hand-in with what is known, and
    with each other, but for the pieces that both have from there."""
    common = frozenset().union(*known.values())
    found = [
        Alike(name, other, share)
        for name, own in pieces.items()
        for other, theirs in known.items()
        if (share := _share(own, theirs)) >= ALIKE
    ]
    own_pieces = {name: own - common for name, own in pieces.items()}
    names = sorted(own_pieces)
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            share = max(
                _share(own_pieces[one], own_pieces[other]),
                _share(own_pieces[other], own_pieces[one]),
            )
            if share >= ALIKE:
                found.append(Alike(one, other, share))
    return sorted(found, key=lambda pair: (-pair.share, pair.one, pair.other))


def _share(own: frozenset[int], theirs: frozenset[int]) -> float:
    return len(own & theirs) / len(own) if len(own) >= LINES else 0.0
