"""Hints: for a rule that fails, what to look at, where the mistake usually is, and the rule itself.

Owns the reading of `hints.json` (by rule: `look` and `usually`) and of `case_hints.json`, the same
by case, where a rule can be broken in several ways and the case tells which it is. What came may
tell more than both: a server that serves one connection at a time is known by it. Pure.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Final

from conformance.rules import RULES
from conformance.transcript import CLOSED_BY_KIT, CONNECTED, FROM_BEFORE, IN, IN_VAIN, Line
from conformance.wire import CLOSED


def _read(name: str) -> Mapping[str, Mapping[str, str]]:
    data = pkgutil.get_data("conformance.stages", name)
    if data is None:
        raise RuntimeError(f"conformance/stages/{name} is missing: copy the whole folder")
    hints: Mapping[str, Mapping[str, str]] = json.loads(data)
    return hints


HINTS: Final = _read("hints.json")
CASE_HINTS: Final = _read("case_hints.json")
ONE_AT_A_TIME: Final = (
    "A second connection gets no answer while the first is open: does your server serve one at a "
    "time? Each connection needs a thread of its own (or one loop that waits for all of them)."
)


def is_served_alone(lines: Sequence[Line]) -> bool:
    """Return whether a connection never got an answer and was waited for in vain while another one,
    which had got answers, was open."""
    answered: dict[str, list[bool]] = {}  # by name: of each connection that is open
    is_alone = False
    for line in lines:
        own = answered.setdefault(line.who, [])
        if line.note in (CONNECTED, FROM_BEFORE):
            own.append(line.note == FROM_BEFORE)
        elif line.note in (CLOSED_BY_KIT, CLOSED):
            del own[-1:]
        elif own and line.direction == IN:
            own[-1] = True
        elif own and line.note.startswith(IN_VAIN):
            is_alone = not own[-1] and any(map(any, answered.values()))
    return is_alone


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
