"""What `--list` shows: rules, points and cases, and the rules that no case looks at.

Pure; runs nothing. Any thread.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from conformance.registry import Case, Context, chosen, without_case
from conformance.rules import RULES, Rule

MOST_LINES: Final = 12
"""A reason that more rules share is said once, with their number."""


def listing(
    cases: Sequence[Case[Context]], no_case: Callable[[Rule], str], args: argparse.Namespace
) -> str:
    """Return what `--list` shows: each rule with its cases, then the rules without one and why."""
    wanted = chosen(cases, args.level, args.rules, args.case)
    missing = without_case(cases, no_case)
    lines = [f"{'rule':<12} {'must?':<7} {'points':>6}  case"]
    for rule in RULES.values():
        for each in (each for each in wanted if rule.id in each.rules):
            points = args.points.get(rule.id, rule.points)
            lines.append(
                f"{rule.id:<12} {rule.level:<7} {points:>6g}  {each.id} ({each.level}):"
                f" {each.title}"
            )
    lines += _without_case(missing)
    seen = {rule_id for each in cases for rule_id in each.rules}
    lines += ["", *_sums(wanted, args.points)]
    lines += ["", f"{len(wanted)} cases here; {len(seen)} of {len(RULES)} rules have a case"]
    return "\n".join(lines) + "\n"


def _without_case(missing: Mapping[str, str]) -> list[str]:
    """Return a line for each rule without a case, and one for all that share a common reason."""
    if not missing:
        return []
    counts = Counter(missing.values())
    lines = ["", f"{len(missing)} rules without a case:"]
    lines += [
        f"{rule_id:<12} {RULES[rule_id].level:<7} {'':>6}  {why}"
        for rule_id, why in missing.items()
        if counts[why] <= MOST_LINES
    ]
    many = [(why, count) for why, count in counts.items() if count > MOST_LINES]
    return lines + [f"{f'{count} rules':<28}  {why}" for why, count in many]


def _sums(wanted: Sequence[Case[Context]], points: dict[str, float]) -> list[str]:
    """Return the points by chapter of the protocol, and all together."""
    looked_at = {rule_id for each in wanted for rule_id in each.rules}
    groups: dict[str, float] = {}
    for rule in RULES.values():
        if rule.id in looked_at:
            worth = points.get(rule.id, rule.points)
            groups[rule.group] = groups.get(rule.group, 0.0) + worth
    whole = sum(groups.values())
    return [f"{worth:>7g} points  {group}" for group, worth in groups.items()] + [
        f"{whole:>7g} points  in all; the report names the rules that a run does not count"
    ]
