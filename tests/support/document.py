"""The tables of docs/PROTOCOL.md as data, so that tests hold the server to what the page says.

Owns nothing; never imports the product. Read once, at import.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_TEXT: Final = (Path(__file__).resolve().parents[2] / "docs" / "PROTOCOL.md").read_text(
    encoding="utf-8"
)


def _rows(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    section = _TEXT.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table is not None, f"no table under {heading}"
    lines = [line.strip().strip("|").split("|") for line in table.group().splitlines()]
    return [
        [cell.strip() for cell in line] for line in lines if not set("".join(line)) <= set("-: ")
    ][1:]


def _plain(cell: str) -> str:
    return cell.strip("*`")


@dataclass(frozen=True)
class PacketRow:
    """One packet: the keys of its `data` that must be there, and those that may."""

    action: str
    required: frozenset[str]
    optional: frozenset[str]
    before_login: bool
    answers: frozenset[str]
    """The requests to which a server's packet is the reply."""


def _packets(sender: str) -> dict[str, PacketRow]:
    found = {}
    for action, sent_by, when, keys, _rule in _rows("All packets"):
        if sent_by == sender:
            words = [] if keys == "–" else keys.split(", ")
            optional = frozenset(_plain(word) for word in words if word.startswith("*"))
            required = frozenset(_plain(word) for word in words) - optional
            found[_plain(action)] = PacketRow(
                _plain(action),
                required,
                optional,
                when == "before login",
                frozenset(re.findall(r"`(\w+)`", when) if when.startswith("reply to") else ()),
            )
    return found


REQUESTS: Final = _packets("client")
REPLIES: Final = _packets("server")
ERROR_CODES: Final = frozenset(_plain(row[0]) for row in _rows("Errors"))
EXAMPLES: Final[list[dict[str, Any]]] = [
    json.loads(fence) for fence in re.findall(r"^```json\n(.*?)^```$", _TEXT, re.M | re.S)
]
"""Every packet that the page shows."""


def example_data(action: str = "") -> dict[str, Any]:
    """The values that the page's examples give to the keys of requests: those of `action` where it
    has the key, else those of the first request that has."""
    values: dict[str, Any] = {}
    for example in sorted(EXAMPLES, key=lambda example: example["action"] != action):
        if example["action"] in REQUESTS:
            values = {**example.get("data", {}), **values}
    return values


COLUMNS: Final = ("not logged in", "stranger", "member", "owner", "open room", "teacher")
RIGHTS: Final = {
    _plain(row[0]): dict(zip(COLUMNS, map(_plain, row[1:]), strict=True))
    for row in _rows("Who may do what")
}
"""action -> column -> the reply's action, an error's code, or `no reply`."""
