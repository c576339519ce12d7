"""What a run found out: plain records that every report is made from.

Owns the words of the verdicts and the arithmetic of points. Never touches a socket and never
prints. Records are frozen, so any thread may read them.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from conformance.rules import RULES, Rule
from conformance.transcript import Line

LEVELS = ("seed", "full", "robust")
"""The levels of cases, each holding those before it."""

EXIT_HOLDS, EXIT_FAILS, EXIT_MISUSE, EXIT_NO_SERVER = 0, 1, 2, 3


class Verdict(enum.Enum):
    """The outcome of a case, or what its cases together say of a rule."""

    PASS = "pass"
    FAIL = "fail"
    NOT_OFFERED = "not offered"
    """The case is about something that the peer does not know: missing where the level asks for it,
    else it costs nothing."""
    NOT_REACHED = "not reached"
    """Something that the case needs failed before: no points, but no failure of this rule
    either."""
    KIT_ERROR = "kit error"
    """The kit itself failed; never the student's fault."""


@dataclass(frozen=True)
class Outcome:
    """What one case found.

    `rules` are those that the case holds when it passes; `rule_id` is the one that failed (FAIL),
    or was being asked for where there is one (else ""). `expected` and `actual` are sentences for
    people. `level_set` is the level of the case. `again` is the command that runs just this case
    with the same seed. `transcript` may be empty where the verdict is PASS.
    """

    case_id: str
    rules: tuple[str, ...]
    level_set: str
    verdict: Verdict
    title: str
    rule_id: str = ""
    expected: str = ""
    actual: str = ""
    transcript: tuple[Line, ...] = ()
    again: str = ""
    seconds: float = 0.0
    is_asked: bool = False
    """Where the verdict is NOT_OFFERED: whether the level asks for it all the same."""
    waits_for: str = ""
    """The rule that has to hold before this case can be reached; "" where that is not known."""
    request: str = ""
    """The action of the request that was sent last, "" where that is not known."""

    @property
    def came(self) -> str:
        """`actual` as it stands behind the word "came", which it need not say again."""
        return self.actual.removeprefix("this came: ")


@dataclass(frozen=True)
class RuleResult:
    """What all cases together say of one rule; `got` of `points` were reached, `cases` are the ids
    that looked at it. `is_asked` says whether its points are among those possible."""

    rule: Rule
    verdict: Verdict
    points: float
    got: float
    cases: tuple[str, ...]
    is_asked: bool = True

    @property
    def holds_in_part(self) -> bool:
        """Whether no case fails over it, but some did not get as far as this rule."""
        return self.verdict is Verdict.PASS and self.got < self.points - 1e-9


@dataclass(frozen=True)
class Report:
    """All that a run found, as plain data; reports of every kind are made from this alone.

    `target` is `HOST:PORT` or the client's command, `mode` is "server", "client" or "matrix",
    `started` is the wall clock in UTC (`2024-01-01T12:00:00Z`), `seconds` is how long it took.
    `rules_without_case` are ids that no case of this mode looks at, by why. `notes` are sentences
    about the run as a whole (stopped early, what was found out). `points` are those that were set
    by `--points`, by rule id; other rules have those of the rule table. `no_server` says that
    nobody listened at the target.
    """

    target: str
    mode: str
    level: str
    seed: int
    started: str
    seconds: float
    outcomes: tuple[Outcome, ...]
    rules_without_case: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    points: Mapping[str, float] = field(default_factory=dict)
    no_server: bool = False

    def count(self, verdict: Verdict) -> int:
        """Return how many cases had this verdict."""
        return sum(outcome.verdict is verdict for outcome in self.outcomes)

    def rule_results(self) -> list[RuleResult]:
        """Return one entry for each rule that a case of this run looks at, in the order of
        docs/PROTOCOL.md."""
        by_rule: dict[str, list[Outcome]] = {}
        for outcome in self.outcomes:
            for rule_id in dict.fromkeys(
                (*outcome.rules, *([outcome.rule_id] if outcome.verdict is Verdict.FAIL else []))
            ):
                by_rule.setdefault(rule_id, []).append(outcome)
        return [
            self._result(RULES[rule_id], by_rule[rule_id])
            for rule_id in RULES
            if rule_id in by_rule
        ]

    def _result(self, rule: Rule, outcomes: list[Outcome]) -> RuleResult:
        verdict = combined(verdict_on(rule.id, outcome) for outcome in outcomes)
        points = float(self.points.get(rule.id, rule.points))
        counted = [
            outcome.verdict is Verdict.PASS
            for outcome in outcomes
            if rule.id in outcome.rules and not _costs_nothing(outcome)
        ]
        if not counted and verdict is Verdict.FAIL:
            points = 0.0  # only cases about other rules failed over it, and cost those
        got = points * sum(counted) / len(counted) if counted else 0.0
        return RuleResult(
            rule,
            verdict,
            points,
            got,
            tuple(outcome.case_id for outcome in outcomes),
            bool(counted) or verdict is not Verdict.NOT_OFFERED,
        )

    @property
    def points_got(self) -> float:
        """The points of all rules; each gives the share of its cases that passed.

        What failed over another rule, or was not reached, did not pass: so one mistake more can
        never raise the score.
        """
        return sum(result.got for result in self.rule_results())

    @property
    def points_possible(self) -> float:
        """The points of all rules that the level asks for: of those that are not offered, too."""
        return sum(result.points for result in self.rule_results() if result.is_asked)

    @property
    def points_missing(self) -> float:
        """The points of what the level asks for and the peer does not offer at all."""
        return sum(
            result.points
            for result in self.rule_results()
            if result.is_asked and result.verdict is Verdict.NOT_OFFERED
        )

    @property
    def percent(self) -> float:
        """Points got in percent of those possible, 0 where none were possible."""
        possible = self.points_possible
        return 100.0 * self.points_got / possible if possible else 0.0

    @property
    def exit_status(self) -> int:
        """0 where every "must" that was looked at holds, 1 where one fails or was not reached, or
        nothing was looked at, 3 where no server was there."""
        if self.no_server:
            return EXIT_NO_SERVER
        bad = (Verdict.FAIL, Verdict.NOT_REACHED, Verdict.KIT_ERROR)  # and not what is not offered
        results = self.rule_results()
        if (
            all(outcome.verdict is Verdict.NOT_OFFERED for outcome in self.outcomes)
            or any(result.verdict in bad and result.rule.level == "must" for result in results)
            or self.count(Verdict.KIT_ERROR)
        ):
            return EXIT_FAILS
        return EXIT_HOLDS

    def to_json(self) -> dict[str, Any]:
        """Return this report as JSON objects, which `from_json` reads back; the derived values are
        in it under `summary`."""
        whole = dataclasses.asdict(self)
        whole["outcomes"] = [_outcome_to_json(outcome) for outcome in self.outcomes]
        whole["summary"] = {
            "points_got": self.points_got,
            "points_possible": self.points_possible,
            "points_not_offered": self.points_missing,
            "percent": self.percent,
            "exit_status": self.exit_status,
            "cases": {verdict.value: self.count(verdict) for verdict in Verdict},
            "rules": [
                {
                    "id": result.rule.id,
                    "verdict": result.verdict.value,
                    "points": result.points,
                    "is_counted": result.is_asked,
                    "got": result.got,
                    "cases": list(result.cases),
                }
                for result in self.rule_results()
            ],
        }
        return whole

    @staticmethod
    def from_json(whole: Mapping[str, Any]) -> Report:
        """Return the report that `to_json` gave, also after a journey through `json.dumps`."""
        known = {entry.name for entry in dataclasses.fields(Report)}
        values = {key: value for key, value in whole.items() if key in known}
        values["outcomes"] = tuple(outcome_from_json(outcome) for outcome in values["outcomes"])
        values["notes"] = tuple(values.get("notes", ()))
        return Report(**values)


def _costs_nothing(outcome: Outcome) -> bool:
    is_unasked = outcome.verdict is Verdict.NOT_OFFERED and not outcome.is_asked
    return is_unasked or outcome.verdict is Verdict.KIT_ERROR


def outcome_to_line(outcome: Outcome) -> str:
    """Return one outcome as one line of JSON, as partial results are written."""
    return json.dumps(_outcome_to_json(outcome), ensure_ascii=True)


def _outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    """Return the fields of an outcome as JSON values; `actual` is called `came` in reports."""
    values = {**dataclasses.asdict(outcome), "verdict": outcome.verdict.value}
    return {"came" if key == "actual" else key: value for key, value in values.items()}


def outcome_from_json(whole: Mapping[str, Any]) -> Outcome:
    """Return the outcome that `outcome_to_line` or `Report.to_json` wrote."""
    values = dict(whole)
    values["verdict"] = Verdict(values["verdict"])
    values["actual"] = values.pop("came")
    values["rules"] = tuple(values["rules"])
    values["transcript"] = tuple(Line(**line) for line in values["transcript"])
    return Outcome(**values)


def verdict_on(rule_id: str, outcome: Outcome) -> Verdict:
    """Return what one outcome says of one rule: a case that failed over another rule did not reach
    this one."""
    if outcome.verdict is Verdict.FAIL and outcome.rule_id != rule_id:
        return Verdict.NOT_REACHED
    return outcome.verdict


def combined(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict on a rule: a failure counts most, then a pass, then why nothing passed."""
    found = set(verdicts)
    ranked = (
        Verdict.FAIL,
        Verdict.PASS,
        Verdict.KIT_ERROR,
        Verdict.NOT_REACHED,
        Verdict.NOT_OFFERED,
    )
    return next((verdict for verdict in ranked if verdict in found), Verdict.NOT_REACHED)
