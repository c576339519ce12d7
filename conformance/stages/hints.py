"""Hints: for a rule that fails, what to look at, where the mistake usually is, and the rule itself.

Owns the reading of `hints.json` (by rule: `look` and `usually`). Pure.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Mapping
from typing import Final

from conformance.rules import RULES


def _read() -> Mapping[str, Mapping[str, str]]:
    data = pkgutil.get_data("conformance.stages", "hints.json")
    if data is None:
        raise RuntimeError("conformance/stages/hints.json is missing: copy the whole folder")
    hints: Mapping[str, Mapping[str, str]] = json.loads(data)
    return hints


HINTS: Final = _read()


def hint(rule_id: str) -> list[str]:
    """Return the steps of a rule's hint, to be read one at a time: the last is its paragraph of
    docs/PROTOCOL.md."""
    own = HINTS.get(rule_id, {})
    steps = [
        own.get(
            "look", "Compare what the transcript shows with what was expected, packet by packet."
        )
    ]
    if "usually" in own:
        steps.append(own["usually"])
    if rule_id in RULES:
        steps.append(f"docs/PROTOCOL.md, {rule_id}: {RULES[rule_id].sentence}")
    return steps
