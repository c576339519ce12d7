"""The report in the Test Anything Protocol, version 14
(https://testanything.org/tap-version-14-specification.html)."""

from __future__ import annotations

import json

from conformance.reports.words import (
    first_line,
    harmless,
    harmless_lines,
    in_short,
    note_lines,
    peer_of,
    told_before,
    transcript_lines,
)
from conformance.rules import RULES
from conformance.verdicts import Outcome, Report, Verdict


def render(report: Report) -> str:
    """Return a test point for each case.

    Not offered and not reached are skipped, a kit error is not ok.
    """
    lines = [
        "TAP version 14",
        (
            f"# conformance of {report.mode} {harmless(report.target)}, level {report.level}, "
            f"seed {report.seed}"
        ),
    ]
    if not report.outcomes:
        lines.append("1..0 # SKIP no case was run")
    else:
        lines.append(f"1..{len(report.outcomes)}")
    for place, outcome in enumerate(report.outcomes, 1):
        lines += _point(place, outcome, report)
    lines += [f"#  {line}" for line in note_lines(report)]
    lines.append(f"# {in_short(report)}")
    if report.no_server:
        lines.append(f"Bail out! no {peer_of(report)} at {harmless(report.target)}")
    return "\n".join(lines) + "\n"


def _point(place: int, outcome: Outcome, report: Report) -> list[str]:
    bad = outcome.verdict in (Verdict.FAIL, Verdict.KIT_ERROR)
    skipped = outcome.verdict in (Verdict.NOT_OFFERED, Verdict.NOT_REACHED)
    line = (
        f"{'not ok' if bad else 'ok'} {place} - {_described(f'{outcome.case_id}: {outcome.title}')}"
    )
    if skipped:
        reason = f": {first_line(outcome.actual)}" if outcome.actual else ""
        line += f" # SKIP {_described(outcome.verdict.value + reason)}"
    return [line, *(_diagnostics(outcome, report) if bad else [])]


def _described(text: str) -> str:
    """Return a text in which nothing reads as a directive."""
    return harmless(text).replace("\\", "\\\\").replace("#", "\\#")


def _diagnostics(outcome: Outcome, report: Report) -> list[str]:
    """Return a YAML block; its values are written as JSON, which YAML 1.2 holds."""
    rule = RULES.get(outcome.rule_id)
    entries = {
        "verdict": outcome.verdict.value,
        "rule": outcome.rule_id,
        "sentence": rule.sentence if rule is not None else "",
        "expected": "\n".join(harmless_lines(outcome.expected)),
        "came": "\n".join(harmless_lines(outcome.came)),
        "again": harmless(outcome.again),
    }
    lines = ["  ---", *(f"  {key}: {_quoted(value)}" for key, value in entries.items() if value)]
    before = told_before(outcome, report)
    if before:
        lines.append(f"  transcript: {_quoted(f'the same packets as in {before}')}")
    elif outcome.transcript:
        lines += [
            "  transcript:",
            *(f"    - {_quoted(line)}" for line in transcript_lines(outcome, report)),
        ]
    return [*lines, "  ..."]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
