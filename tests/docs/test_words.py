"""The words of the field are used, and names that were given up do not come back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GIVEN_UP = {
    "contestant": "peer",
    "dialect": "wire format",
    "Farewells": "LingeringCloser",
    "FORGETS": "DECAY",
    "RoomBook": "RoomList",
    "STANDS_ON": "DEPENDS_ON",
    "interpreter's lock": "GIL",
    "the dear part": "the most expensive part",
    "the door of": "the entry point of",
    "left behind, then disconnected": "disconnected; nobody else waits for it",
}
"""By old word or name: what is said rather."""
HERE = Path(__file__).resolve()


def texts() -> list[Path]:
    """Return every page and every source file of the project."""
    tops = ("*.md", "*.py", "Makefile", "pyproject.toml")
    folders = (
        *("benchmarks", "client", "conformance", "docs", "examples", "server", "storage"),
        *("tests", "tools", "webpage"),
    )
    inside = [path for top in folders for path in (ROOT / top).rglob("*.*")]
    found = [*inside, *(path for top in tops for path in ROOT.glob(top))]
    return [path for path in found if path.suffix in {".py", ".md", ".toml", ""} and path != HERE]


@pytest.mark.parametrize("old", GIVEN_UP)
def test_a_word_that_was_given_up_does_not_come_back(old: str) -> None:
    uses = [path.relative_to(ROOT) for path in texts() if old in path.read_text("utf-8")]
    assert not uses, f"say {GIVEN_UP[old]!r}"


@pytest.mark.parametrize("word", ["GIL", "backpressure", "idempotent", "snapshot", "group commit"])
def test_a_word_of_the_field_is_explained_once(word: str) -> None:
    architecture = (ROOT / "docs" / "ARCHITECTURE.md").read_text("utf-8")
    assert len(re.findall(rf"^\* \*\*{word}\*\*:", architecture, re.MULTILINE | re.I)) == 1
