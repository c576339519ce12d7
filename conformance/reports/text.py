"""The report as text for people: colours where the terminal has them, and words that say the same
without."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from typing import Final, TextIO

from conformance.reports import pairs
from conformance.reports.words import (
    MENDED_FIRST,
    WORDS,
    explained,
    first_line,
    harmless,
    harmless_lines,
    in_short,
    others_wait,
    points_of,
    story,
    to_mend_first,
    waiting_for,
    word_of,
)
from conformance.rules import RULES
from conformance.verdicts import Outcome, Report, RuleResult, Verdict

WIDTH: Final = 100
Paint = Callable[[str, Verdict], str]
_COLOURS: Final = {
    Verdict.PASS: "32",
    Verdict.FAIL: "1;31",
    Verdict.NOT_OFFERED: "2",
    Verdict.NOT_REACHED: "33",
    Verdict.KIT_ERROR: "1;35",
}


def wants_colour(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that shows colours (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def render(report: Report, colour: bool = False) -> str:
    """Return head, every rule in a line, every case that did not pass, and the sum at the end,
    where the eye is."""
    paint: Paint = _paint if colour else _plain
    lines = [
        f"Conformance of {report.mode} {harmless(report.target)}",
        f"level {report.level}, seed {report.seed}, {report.started}, {report.seconds:.1f} s",
        "",
        *_begin_with(report),
    ]
    group = ""
    for result in report.rule_results():
        if result.rule.group != group:
            group = result.rule.group
            lines.append(group)
        lines.append(_rule(result, paint))
    lines += ["", *explained(report)]
    told = [
        outcome
        for outcome in report.outcomes
        if outcome.verdict in (Verdict.FAIL, Verdict.KIT_ERROR)
    ]
    if told:
        lines += ["", "What failed", ""]
        for outcome in told:
            lines += [*_case(outcome, report, paint), ""]
    lines += _not_reached(report)
    if report.mode == "matrix":
        lines += ["", *pairs.table(report.outcomes), ""]
    for note in report.notes:
        first, *more = harmless_lines(note)
        lines += [f"Note: {first}", *(f"      {line}" for line in more)]
    if report.rules_without_case:
        lines.append(
            f"{len(report.rules_without_case)} rules have no case here; --list names them."
        )
    lines += _mend_first(report)
    verdict = Verdict.PASS if report.exit_status == 0 else Verdict.FAIL
    lines += ["", paint(f"{in_short(report)}", verdict), ""]
    return "\n".join(lines)


def _paint(text: str, verdict: Verdict) -> str:
    return f"\x1b[{_COLOURS[verdict]}m{text}\x1b[0m"


def _plain(text: str, verdict: Verdict) -> str:
    return text


def _rule(result: RuleResult, paint: Paint) -> str:
    head = (
        f"  {paint(f'{word_of(result):<11}', result.verdict)}  {result.rule.id:<11} "
        f"{points_of(result):>7}  "
    )
    return head + textwrap.shorten(result.rule.sentence, WIDTH - 36, placeholder=" …")


def _case(outcome: Outcome, report: Report, paint: Paint) -> list[str]:
    rule = RULES.get(outcome.rule_id)
    lines = [
        (
            f"{paint(WORDS[outcome.verdict], outcome.verdict)}  {harmless(outcome.title)}  "
            f"({harmless(outcome.case_id)})"
        )
    ]
    if rule is not None:
        lines += textwrap.wrap(
            f"{rule.id} ({rule.level}) {rule.sentence}",
            WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
        )
    return lines + ["  " + line for line in story(outcome, report)]


def _begin_with(report: Report) -> list[str]:
    """Return what to mend first: a few failures, each with what most of all has to be known."""
    failures = to_mend_first(report)
    if not failures:
        return []
    lines = ["Mend first"]
    for one, count in failures[:MENDED_FIRST]:
        cases = f"; {others_wait(count)}" if count else ""
        lines.append(f"  {harmless(one.rule_id or one.case_id)}  {harmless(one.title)}{cases}")
        for name, told in (("expected:", one.expected), ("came:", one.came)):
            if told:
                cut = textwrap.shorten(first_line(told), WIDTH - 16, placeholder=" …")
                lines.append(f"      {name:<9} {cut}")
    left = len(failures) - MENDED_FIRST
    more = [f"  then {left} more that {'fails' if left == 1 else 'fail'}: see below"]
    return [*lines, *(more if left > 0 else []), ""]


def _mend_first(report: Report) -> list[str]:
    """Return a line that says which broken rules most other cases wait for."""
    waiting = waiting_for(report)
    if not waiting:
        return []
    told = ", ".join(f"{rule_id} ({count})" for rule_id, count in waiting.items())
    whole = sum(waiting.values())
    return [f"{whole} {'case waits' if whole == 1 else 'cases wait'} for {told}: mend those first."]


def _not_reached(report: Report) -> list[str]:
    reasons: dict[str, int] = {}
    for outcome in report.outcomes:
        if outcome.verdict is Verdict.NOT_REACHED:
            reason = first_line(outcome.actual or outcome.expected or "something before it failed")
            reasons[reason] = reasons.get(reason, 0) + 1
    return [
        f"Not reached, {count} case{'' if count == 1 else 's'}: {reason}"
        for reason, count in reasons.items()
    ]
