"""Hints: for a rule that fails, what to look at, where the mistake usually is, and the rule itself.

Owns the reading of `hints.json` (by rule: `look` and `usually`) and of `case_hints.json`, the same
by case, where a rule can be broken in several ways and the case tells which it is. Pure.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Mapping
from typing import Final

from conformance.rules import RULES


def _read(name: str) -> Mapping[str, Mapping[str, str]]:
    data = pkgutil.get_data("conformance.stages", name)
    if data is None:
        raise RuntimeError(f"conformance/stages/{name} is missing: copy the whole folder")
    hints: Mapping[str, Mapping[str, str]] = json.loads(data)
    return hints


HINTS: Final = _read("hints.json")
CASE_HINTS: Final = _read("case_hints.json")


def hint(rule_id: str, case_id: str = "") -> list[str]:
    """Return the steps of the hint for a rule that failed in a case, to be read one at a time: the
    last is the rule's paragraph of docs/PROTOCOL.md."""
    own = CASE_HINTS.get(case_id) or HINTS.get(rule_id, {})
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
