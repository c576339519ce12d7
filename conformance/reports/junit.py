"""The report as JUnit XML, which most build servers and editors read: a suite for each chapter of
the protocol, a case for each case."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from conformance.reports.words import first_line, harmless, note_lines, peer_of, story
from conformance.rules import RULES
from conformance.verdicts import Outcome, Report, Verdict


def render(report: Report) -> str:
    """Failed is `failure`, a failure of the kit is `error`, not offered and not reached are
    `skipped`."""
    root = ElementTree.Element(
        "testsuites",
        _sums(report.outcomes),
        name=f"conformance of {report.mode} {harmless(report.target)}",
    )
    root.set("time", f"{report.seconds:.3f}")
    for group, outcomes in by_group(report).items():
        suite = ElementTree.SubElement(root, "testsuite", _sums(outcomes), name=group)
        suite.set("timestamp", report.started.rstrip("Z"))
        _properties(suite, report)
        for outcome in outcomes:
            _case(suite, group, outcome, report)
    if report.no_server:
        _nobody(root, report)
    ElementTree.indent(root, " ")
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        + ElementTree.tostring(root, encoding="unicode")
        + "\n"
    )


def by_group(report: Report) -> dict[str, list[Outcome]]:
    """Return the cases by the chapter of their rule, in the order of the run."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in report.outcomes:
        home = next(
            (rule_id for rule_id in (outcome.rule_id, *outcome.rules) if rule_id in RULES), None
        )
        groups.setdefault(RULES[home].group if home is not None else "Everything else", []).append(
            outcome
        )
    return groups


def _sums(outcomes: Sequence[Outcome]) -> dict[str, str]:
    verdicts = [outcome.verdict for outcome in outcomes]
    return {
        "tests": str(len(outcomes)),
        "failures": str(verdicts.count(Verdict.FAIL)),
        "errors": str(verdicts.count(Verdict.KIT_ERROR)),
        "skipped": str(verdicts.count(Verdict.NOT_OFFERED) + verdicts.count(Verdict.NOT_REACHED)),
        "time": f"{sum(outcome.seconds for outcome in outcomes):.3f}",
    }


def _properties(suite: ElementTree.Element, report: Report) -> None:
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (
        ("target", report.target),
        ("level", report.level),
        ("seed", str(report.seed)),
    ):
        ElementTree.SubElement(properties, "property", name=name, value=harmless(value))


def _case(suite: ElementTree.Element, group: str, outcome: Outcome, report: Report) -> None:
    name = f"{outcome.case_id}: {outcome.title}" + (
        f" [{', '.join(outcome.rules)}]" if outcome.rules else ""
    )
    case = ElementTree.SubElement(
        suite,
        "testcase",
        name=harmless(name),
        classname=f"conformance.{report.mode}.{group}",
        time=f"{outcome.seconds:.3f}",
    )
    if outcome.verdict is Verdict.PASS:
        return
    tag = {Verdict.FAIL: "failure", Verdict.KIT_ERROR: "error"}.get(outcome.verdict, "skipped")
    rule = RULES.get(outcome.rule_id)
    message = f"{outcome.verdict.value}: " + (
        f"{rule.id} {rule.sentence}" if rule is not None else first_line(outcome.actual)
    )
    told = ElementTree.SubElement(case, tag, message=message)
    if tag != "skipped":
        told.set("type", outcome.rule_id or outcome.verdict.value)
    told.text = "\n".join(story(outcome, report))


def _nobody(root: ElementTree.Element, report: Report) -> None:
    """Return the error without which a run that met nobody would look like one in which nothing
    failed."""
    who = peer_of(report)
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name="Connecting",
        tests="1",
        failures="0",
        errors="1",
        skipped="0",
        time="0",
    )
    case = ElementTree.SubElement(
        suite,
        "testcase",
        name=f"a {who} is there",
        classname=f"conformance.{report.mode}",
        time="0",
    )
    told = ElementTree.SubElement(
        case, "error", message=f"no {who} at {harmless(report.target)}", type="no server"
    )
    told.text = "\n".join(note_lines(report))
    for name in ("tests", "errors"):
        root.set(name, str(int(root.get(name, "0")) + 1))
