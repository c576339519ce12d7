"""Changes of what a message says: another letter, two swapped, another count, another id.

Pure functions from a packet to a changed copy. What they choose is drawn from a given lot, so that
a run can be repeated.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Final

from conformance.packets import Packet, data_of, encode

LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


def can_change(kind: str, packet: Packet) -> bool:
    """Return whether a packet has what this kind of fault changes."""
    data = data_of(packet)
    if kind in ("letter", "anagram"):
        content = data.get("content")
        if not isinstance(content, str) or not content:
            return False
        return kind == "letter" or bool(_unequal_neighbours(content))
    if kind == "count":
        return bool(_counts(packet))
    if kind == "id":
        return isinstance(data.get("transaction_id"), str)
    return True


def change(kind: str, payload: bytes, lot: random.Random) -> bytes:
    """Return the frame of the changed packet; `can_change` holds."""
    packet = copy.deepcopy(json.loads(payload))
    _CHANGES[kind](packet["data"], lot)
    return encode(packet)


def _letter(data: Packet, lot: random.Random) -> None:
    content = data["content"]
    places = [at for at, each in enumerate(content) if each.isalpha()] or range(len(content))
    at = lot.choice(list(places))
    other = lot.choice([each for each in LETTERS if each != content[at].lower()])
    data["content"] = content[:at] + other + content[at + 1 :]


def _anagram(data: Packet, lot: random.Random) -> None:
    content = data["content"]
    at = lot.choice(_unequal_neighbours(content))
    data["content"] = content[:at] + content[at + 1] + content[at] + content[at + 2 :]


def _unequal_neighbours(content: str) -> list[int]:
    """Return where two letters differ that stand side by side; any two characters at worst."""
    pairs = [at for at in range(len(content) - 1) if content[at] != content[at + 1]]
    return [at for at in pairs if content[at].isalpha() and content[at + 1].isalpha()] or pairs


def _count(data: Packet, lot: random.Random) -> None:
    key = lot.choice(sorted(_counts({"data": data})))
    data["letter_frequencies"][key] += 1


def _counts(packet: Packet) -> dict[str, int]:
    counts = data_of(packet).get("letter_frequencies")
    if not isinstance(counts, dict):
        return {}
    return {key: each for key, each in counts.items() if type(each) is int}


def _id(data: Packet, lot: random.Random) -> None:
    data["transaction_id"] = f"changed-{lot.getrandbits(64):016x}"


_CHANGES: Final[dict[str, Callable[[Packet, random.Random], None]]] = {
    "letter": _letter,
    "anagram": _anagram,
    "count": _count,
    "id": _id,
}
"""The kinds of fault that change what a message says."""

CHANGING: Final = tuple(_CHANGES)
