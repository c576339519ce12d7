"""The report as `results.json` of Gradescope's autograders ("Autograder Specifications, Output
format").

A test for each rule, so that a student sees points by rule; a rule of which some cases hold gives
its share. All formats are `text`: what a peer sent must never be read as HTML. A rule that the peer
does not offer is worth its points where the level asks for it, else nothing.
"""

from __future__ import annotations

import json
from typing import Any, Final

from conformance.reports.words import (
    WORDS,
    first_line,
    harmless,
    in_short,
    note_lines,
    number,
    story,
    word_of,
)
from conformance.verdicts import Report, RuleResult, Verdict, verdict_on

MAX_OUTPUT_CHARACTERS: Final = 20_000


def render(report: Report) -> str:
    """Return `results.json`, ready for /autograder/results."""
    return json.dumps(results(report), indent=1) + "\n"


def results(report: Report) -> dict[str, Any]:
    """Return the object of `results.json`.

    `score` is the sum of the tests, said once more so that a run without any is 0, not an error.
    """
    return {
        "score": _points(report.points_got),
        "execution_time": max(0, round(report.seconds)),
        "output": _head(report),
        "output_format": "text",
        "test_output_format": "text",
        "test_name_format": "text",
        "stdout_visibility": "hidden",
        "visibility": "visible",
        "tests": [_test(result, report) for result in report.rule_results()],
        "extra_data": {
            "target": harmless(report.target),
            "mode": report.mode,
            "level": report.level,
            "seed": report.seed,
            "points_possible": _points(report.points_possible),
            "exit_status": report.exit_status,
        },
    }


def _points(points: float) -> float:
    return round(points, 4)


def _head(report: Report) -> str:
    lines = [
        in_short(report),
        f"level {report.level}, seed {report.seed}",
        *note_lines(report),
    ]
    return "\n".join(lines)


def _test(result: RuleResult, report: Report) -> dict[str, Any]:
    rule = result.rule
    offered = result.verdict is not Verdict.NOT_OFFERED
    test: dict[str, Any] = {
        "name": f"{rule.id} ({rule.level}): {rule.sentence}",
        "name_format": "text",
        "number": rule.id,
        "score": _points(result.got),
        "max_score": _points(result.points) if result.is_asked else 0.0,
        "output": _output(result, report),
        "output_format": "text",
        "tags": [rule.group, rule.level, result.verdict.value],
        "visibility": _visibility(result, report),
    }
    if offered:
        test["status"] = "passed" if result.verdict is Verdict.PASS else "failed"
    return test


def _visibility(result: RuleResult, report: Report) -> str:
    """Return who sees a test: a failure of the kit is the teacher's, all else the student's."""
    return "hidden" if result.verdict is Verdict.KIT_ERROR else "visible"


def _output(result: RuleResult, report: Report) -> str:
    points = (
        f"{number(result.got)} of {number(result.points)} points"
        if result.is_asked
        else "not counted"
    )
    lines = [f"{word_of(result)}: {points}"]
    for outcome in report.outcomes:
        if outcome.case_id not in result.cases:
            continue
        verdict = verdict_on(result.rule.id, outcome)
        lines.append(f"- {WORDS[verdict]}: {harmless(outcome.title)} ({harmless(outcome.case_id)})")
        if verdict is Verdict.FAIL or outcome.verdict is Verdict.KIT_ERROR:
            lines += ["    " + line for line in story(outcome, report)]
        elif verdict is Verdict.NOT_REACHED and outcome.verdict is Verdict.FAIL:
            lines.append(f"    it had failed over {outcome.rule_id} before")
        elif verdict is not Verdict.PASS and outcome.actual:
            lines.append(f"    {first_line(outcome.actual)}")
    text = "\n".join(lines)
    return (
        text
        if len(text) <= MAX_OUTPUT_CHARACTERS
        else text[:MAX_OUTPUT_CHARACTERS] + "\n… the rest is in the HTML report"
    )
