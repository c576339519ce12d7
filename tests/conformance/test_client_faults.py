"""The cases about clients, with a network between that has faults: `client --faults FILE`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pytest
from support.patience import patience

from conformance.__main__ import main
from conformance.client import runner
from conformance.verdicts import Report, Verdict

ROOT = Path(__file__).resolve().parents[2]
CLIENT = [
    sys.executable,
    str(ROOT / "tests" / "support" / "client_with_faults.py"),
    "{host}",
    "{port}",
    "{folder}",
]


def run(faults: Path, case: str) -> Report:
    given: dict[str, Any] = {
        "commands": [CLIENT],
        "driver": None,
        "level": "seed",
        "seed": 7,
        "timeout": patience(3.0),
        "limit": None,
        "rules": [],
        "case": [case],
        "points": {},
        "transcripts": True,
        "run_as": "",
        "faults": str(faults),
    }
    return runner.run(argparse.Namespace(**given))


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [("fault = split 5", Verdict.PASS), ("fault = drop\naction = confirm_count", Verdict.FAIL)],
)
def test_a_client_is_graded_over_a_network_with_faults(
    tmp_path: Path, fault: str, verdict: Verdict
) -> None:
    file = tmp_path / "faults.ini"
    file.write_text(f"[a fault]\n{fault}\n", "utf-8")
    kind = fault.split()[2]
    report = run(file, "client.confirms_counts_that_agree")
    (outcome,) = report.outcomes
    assert outcome.verdict is verdict, (outcome.expected, outcome.actual)
    assert any(line.note.startswith(f"fault: {kind}") for line in outcome.transcript)
    assert report.notes[0].startswith(f"Under this fault of the network: {kind}")
    assert f"--faults {file}" in outcome.again


def test_a_bad_file_of_faults_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["client", "--faults", "none.ini", "--", sys.executable]) == 2
    assert "the faults in none.ini can't be read" in capsys.readouterr().err
