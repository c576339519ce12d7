"""The kit finds the faults of students in a server of another language, too: each is a patch of the
starter in JavaScript."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.kit_parts import HOST
from support.patience import patience
from support.starter_faults import FAULTS, StarterFault, starter

from conformance import command_words
from conformance.server import cases, runner
from conformance.verdicts import Verdict

Fails = Callable[[str, str], set[str]]


def test_each_patch_fits_the_starter() -> None:
    assert len({fault.planted_in(starter()) for fault in FAULTS}) == len(FAULTS) >= 20


@pytest.fixture(scope="module")
def fails(tmp_path_factory: pytest.TempPathFactory) -> Fails:
    """Tells which cases about a rule fail over it, of a server with this source."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")

    @functools.cache
    def fail(source: str, rule: str) -> set[str]:
        script: Path = tmp_path_factory.mktemp("starter") / "server.js"
        script.write_text(source, "utf-8")
        start = command_words.join([node, str(script), "{port}"])
        options = runner.Options(
            HOST, 0, "robust", 5, rules=[rule], timeout=patience(3.0), start_command=start
        )
        report = runner.run(options, cases.load())
        return {
            one.case_id
            for one in report.outcomes
            if one.verdict is Verdict.FAIL and one.rule_id == rule
        }

    return fail


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.mistake)
def test_a_fault_in_the_starter_is_found(fault: StarterFault, fails: Fails) -> None:
    assert fails(fault.planted_in(starter()), fault.rule) - fails(starter(), fault.rule)
