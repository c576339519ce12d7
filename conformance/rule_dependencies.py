"""Which rules a rule depends on, so that one mistake costs the points of one rule.

Owns one table. Where a case fails over a rule, and another rule that it depends on failed in the
same run, nobody can say whose fault it was: the case was not reached. The table holds what
tests/conformance/test_faults.py has shown to be needed, and no more.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache

from conformance.packets import RULE_OF_REQUEST
from conformance.verdicts import Outcome, Verdict

DEPENDS_ON: tuple[tuple[str, str], ...] = (
    ("R-* -R-FRAME-1 -R-FRAME-2 -R-MSG-4", "R-FRAME-2"),
    ("R-* -R-FRAME-* -R-HIST-1", "R-ERR-7"),
    ("R-ERR-7", "R-SESS-7 R-JSON-9 R-JSON-11 R-MSG-2 R-ORDER-2 R-HIST-1"),
    ("R-* -R-MSG-[1245] -R-MSG-16 -R-HIST-1", "R-MSG-4"),
    ("R-* -R-MSG-[12] -R-MSG-16 -R-HIST-1", "R-HIST-1"),
    ("R-FILE-3", "R-FRAME-3"),
    ("R-FRAME-3", "R-JSON-13"),
    ("R-JSON-[1-8] R-ERR-3", "R-JSON-9"),
    ("R-JSON-7", "R-JSON-1"),
    ("R-ERR-1", "R-ERR-2 R-SESS-7"),
    ("R-ERR-3", "R-ERR-4 R-SESS-7 R-MSG-11"),
    ("R-ERR-6", "R-ACC-2 R-MSG-5"),
    ("R-MSG-10 R-MSG-15 R-MSG-16 R-MSG-18 R-ORDER-5 R-JSON-7", "R-MSG-1"),
    ("R-MSG-1 R-MSG-15 R-MSG-17 R-MSG-18", "R-MSG-16"),
    ("R-MSG-5 R-MSG-6 R-MSG-7 R-MSG-10 R-MSG-21 R-ORDER-2 R-ROOM-3", "R-MSG-2"),
    ("R-ROOM-3", "R-MSG-5"),
    ("R-MSG-9 R-MSG-10 R-MSG-11", "R-MSG-8"),
    ("R-ROOM-18", "R-MSG-14"),
    ("R-ORDER-2 R-ROOM-5", "R-MSG-21"),
    ("R-ORDER-5", "R-JSON-14"),
    ("R-MSG-7 R-FILE-20", "R-ORDER-5"),
    ("R-ROOM-5 R-FILE-20", "R-ORDER-2"),
    ("R-HIST-3", "R-HIST-2"),
    ("R-HIST-6", "R-HIST-5"),
    ("R-FILE-12 R-FILE-15 R-FILE-19", "R-FILE-6"),
    ("R-FILE-20 R-FILE-21 R-FILE-23 R-ORDER-7 R-LIM-12 R-ROOM-10 R-ROOM-22", "R-FILE-19"),
    ("R-FILE-9", "R-FILE-13 R-FILE-18"),
    ("R-FILE-7 R-FILE-18 R-FILE-26 R-JSON-16 R-ROOM-6", "R-FILE-14"),
    ("R-FILE-17 R-FILE-18", "R-FILE-24"),
    ("R-ROOM-8 R-ROOM-11 R-ROOM-13 R-ROOM-14", "R-ROOM-6"),
    ("R-ROOM-8 R-ROOM-19", "R-ROOM-20"),
    ("R-ROOM-22", "R-ROOM-13"),
    ("R-MSG-7 R-ROOM-13 R-ROOM-14", "R-EVT-1"),
    # What follows is of clients.
    ("R-FRAME-2 R-JSON-13 R-MSG-16 R-MSG-18 R-ORDER-8", "R-MSG-17"),
    ("R-FILE-20 R-FRAME-2 R-JSON-13 R-MSG-13 R-ORDER-8", "R-MSG-16"),
    ("R-JSON-13 R-MSG-1 R-ORDER-8", "R-MSG-3"),
    ("R-FILE-4 R-FILE-7 R-FILE-15", "R-FILE-1"),
    ("R-FRAME-3", "R-FILE-19"),
)
"""Globs of rules ("-" before one takes out), and the rules that their cases use as tools.

Two rules may depend on each other: then what failed first is to blame.
"""

TOOLS_OF_ALL = ("R-HIST-1", "R-MSG-4")
"""Rules whose packets nearly every case uses: where a case failed over the reply to another
request, they are not to blame."""


@cache
def needed(rule_id: str) -> frozenset[str]:
    """Return the rules that a rule depends on, never itself."""
    found: set[str] = set()
    for globs, rules in DEPENDS_ON:
        out = any(fnmatchcase(rule_id, glob[1:]) for glob in globs.split() if glob.startswith("-"))
        if not out and any(fnmatchcase(rule_id, glob) for glob in globs.split()):
            found.update(rules.split())
    return frozenset(found - {rule_id})


def judged(outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """Return the outcomes of a run, in the order of the run.

    Those that failed over a rule that depends on a broken one were not reached; but see
    `TOOLS_OF_ALL`.
    """
    first: dict[str, int] = {}
    requests: dict[str, set[str]] = {}
    for place, outcome in enumerate(outcomes):
        if outcome.verdict is Verdict.FAIL:
            first.setdefault(outcome.rule_id, place)
            requests.setdefault(outcome.rule_id, set()).add(outcome.request)
    refused = {_packet_of(each) for each in outcomes if each.verdict is Verdict.FAIL}
    return tuple(
        _fair(
            outcome,
            _of_its_packet(outcome, refused)
            or _blamed(outcome.rule_id, outcome.request, first, requests, frozenset()),
        )
        if outcome.verdict is Verdict.FAIL
        else outcome
        for outcome in outcomes
    )


def _packet_of(outcome: Outcome) -> tuple[str, str, str]:
    """Return the rule and the request over which a case failed, and what came, without numbers."""
    return outcome.rule_id, outcome.request, re.sub(r"\d+", "0", outcome.actual)


def _of_its_packet(outcome: Outcome, failed: set[tuple[str, str, str]]) -> str:
    """Return the rule of the request over which a case failed, "" unless that rule failed over the
    same request with the same `error`: as where a server does not know a request at all."""
    rule_id = RULE_OF_REQUEST.get(outcome.request, "")
    own, request, came = _packet_of(outcome)
    is_same = '"error"' in came and (rule_id, request, came) in failed
    return rule_id if own != rule_id and is_same else ""


def _blamed(
    rule_id: str,
    request: str,
    first: dict[str, int],
    requests: dict[str, set[str]],
    asked: frozenset[str],
) -> str:
    """Return the broken rule because of which this one could not hold; "" where it is broken
    itself. `asked` ends circles."""
    asked = asked | {rule_id}
    for other in sorted(needed(rule_id) & first.keys() - asked, key=lambda each: first[each]):
        if other in TOOLS_OF_ALL and request and request not in requests[other]:
            continue  # another packet failed there
        is_before = rule_id not in needed(other) or first[other] < first[rule_id]
        if is_before and not _blamed(other, request, first, requests, asked):
            return other
    return ""


def _fair(outcome: Outcome, blamed: str) -> Outcome:
    if not blamed:
        return outcome
    actual = f"{outcome.actual} ({outcome.rule_id} stands on {blamed}, which does not hold)"
    return dataclasses.replace(
        outcome, verdict=Verdict.NOT_REACHED, actual=actual, waits_for=blamed
    )
