"""The kit's cases about teachers hold for our server, and need the account of one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from support.seed import SEED
from support.server_process import REPOSITORY, ServerProcess

from conformance.server import cases, runner
from conformance.server.cases import teacher_acts
from conformance.server.registry import Case
from conformance.verdicts import Outcome, Verdict

TEACHER = ("ms_lee", "teacher-pw")
ACTS = [each for each in cases.load() if each.id.startswith("teacher_acts.")]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    data = tmp_path_factory.mktemp("teacher") / "data"
    words = [sys.executable, "chat_server.py", "adduser", TEACHER[0], "--teacher"]
    subprocess.run(
        [*words, "--password-cost", "4", "--data", data],
        input=TEACHER[1],
        text=True,
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    with ServerProcess(data, "--rate-limit", "0") as server:
        yield server.port


def outcomes(port: int, teacher: tuple[str, str] | None) -> list[Outcome]:
    ids = [each.id for each in ACTS]
    options = runner.Options("127.0.0.1", port, "robust", SEED, cases=ids, teacher=teacher)
    return list(runner.run(options, cases.load()).outcomes)


def test_our_server_holds_all_of_them(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_acts, "A_MOMENT", 1.1)
    bad = [
        (outcome.case_id, outcome.verdict, outcome.expected, outcome.actual)
        for outcome in outcomes(port, TEACHER)
        if outcome.verdict is not Verdict.PASS
    ]
    assert bad == [] and len(ACTS) > 12


def test_without_a_teacher_they_are_not_offered_and_say_what_to_give(port: int) -> None:
    for outcome in outcomes(port, None):
        assert outcome.verdict is Verdict.NOT_OFFERED
        assert "--teacher" in outcome.actual


def of_rule(rule: str) -> Case:
    return next(each for each in ACTS if rule in each.rules)


@pytest.mark.parametrize("number", [*range(5, 20)])
def test_each_rule_about_acts_has_a_case(number: int) -> None:
    assert of_rule(f"R-TEACH-{number}")


def test_an_account_that_is_no_teachers_is_no_failure_of_a_rule(port: int) -> None:
    options = runner.Options(
        "127.0.0.1", port, "robust", SEED, cases=[ACTS[0].id], teacher=("nobody", "nothing")
    )
    (outcome,) = runner.run(options, cases.load()).outcomes
    assert outcome.verdict is Verdict.NOT_REACHED
