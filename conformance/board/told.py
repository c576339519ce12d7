"""What a run tells a board: stage, points, what fails first, which rules hold. Nothing else.

Pure. No name, no text and no packet of the program under test is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from conformance.stages.plan import by_stage
from conformance.verdicts import Outcome, Report, Verdict

BAD = (Verdict.FAIL, Verdict.NOT_REACHED, Verdict.KIT_ERROR)


def of_report(report: Report, *, is_whole: bool) -> dict[str, Any]:
    """Return what a run that ended tells; `is_whole` unless only some cases were chosen. Nothing
    where no server was there."""
    if report.no_server:
        return {}
    failed = [each for each in report.outcomes if each.verdict is Verdict.FAIL]
    told = {**_rules(report.outcomes), "fails": len(failed), "whole": is_whole}
    if not is_whole:
        return {**told, "failing": failed[0].rule_id if failed else ""}
    points = {"got": report.points_got, "possible": report.points_possible, "level": report.level}
    first, stage = failed[:1], None
    if report.mode == "server":
        stage, next_ones = stages_held(report.outcomes)
        first = [each for each in failed if each.case_id in next_ones] or first
    return {**told, **points, "stage": stage, "failing": first[0].rule_id if first else ""}


def stages_held(outcomes: Sequence[Outcome]) -> tuple[int, list[str]]:
    """Return how many stages hold in a row from the first, by the cases that ran, and the cases of
    the next. A stage of which no case passed, as where the kit can't kill the server, does not."""
    bad = {outcome.case_id for outcome in outcomes if outcome.verdict in BAD}
    passed = {outcome.case_id for outcome in outcomes if outcome.verdict is Verdict.PASS}
    stages = by_stage([outcome.case_id for outcome in outcomes])
    for held, ran in enumerate(stages):
        if passed.isdisjoint(ran) or not bad.isdisjoint(ran):
            return held, ran
    return len(stages), []


def of_stages(stage: int, failed: Sequence[Outcome], seen: Sequence[Outcome]) -> dict[str, Any]:
    """Return what a walk through the stages tells: `stage` hold, `failed` are those of the next
    that do not, `seen` all that were looked at."""
    failing = next((each.rule_id for each in failed if each.rule_id), "")
    return {**_rules(seen), "stage": stage, "failing": failing, "fails": len(failed)}


def _rules(outcomes: Iterable[Outcome]) -> dict[str, list[str]]:
    """Return which rules hold, by all cases that looked at them."""
    good: set[str] = set()
    bad: set[str] = set()
    for outcome in outcomes:
        passed = outcome.verdict is Verdict.PASS
        (good if passed else bad).update((*outcome.rules, outcome.rule_id))
    return {"holds": sorted(good - bad - {""})}
