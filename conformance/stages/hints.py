"""Hints: for a rule that fails, what to look at, where the mistake usually is, and the rule itself.

Owns the reading of `hints.json` (by rule: `look` and `usually`) and of `case_hints.json`, the same
by case, where a rule can be broken in several ways and the case tells which it is. What came may
tell more than both: a server that serves one connection at a time is known by it. Pure.
"""

from __future__ import annotations

import json
import pkgutil
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from conformance.rules import RULES
from conformance.transcript import CLOSED_BY_KIT, CONNECTED, FROM_BEFORE, IN, IN_VAIN, OUT, Line
from conformance.wire import CLOSED

_ACTION: Final = re.compile(r'"action"\s*:\s*"([^"]*)"')


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


@final
@dataclass
class _Open:
    """A connection that is open: the actions of what was asked on it, and of what was asked before
    the last answer."""

    asked: set[str]
    answered: set[str]


def is_served_alone(lines: Sequence[Line]) -> bool:
    """Return whether a connection never got an answer and was waited for in vain while another one
    was open, which had got an answer to the same request."""
    opened: dict[str, list[_Open]] = {}  # by name
    is_alone = False
    for line in lines:
        own = opened.setdefault(line.who, [])
        if line.note in (CONNECTED, FROM_BEFORE):
            known = {"login"} if line.note == FROM_BEFORE else set[str]()
            own.append(_Open(known, set(known)))
        elif line.note in (CLOSED_BY_KIT, CLOSED):
            del own[-1:]
        elif own and line.direction == OUT:
            own[-1].asked |= set(_ACTION.findall(line.payload)[:1])
        elif own and line.direction == IN:
            own[-1].answered = set(own[-1].asked)
        elif own and line.note.startswith(IN_VAIN):
            elsewhere = [each.answered for some in opened.values() for each in some]
            is_alone = not own[-1].answered and any(own[-1].asked & each for each in elsewhere)
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
