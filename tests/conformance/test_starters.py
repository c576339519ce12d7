"""The servers in examples/starter are small, run, and score what docs/TEACHING.md and their README
say."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.server import cases, runner
from conformance.verdicts import Report, Verdict

ROOT = Path(__file__).resolve().parents[2]
STARTERS = {"python/server.py": sys.executable, "javascript/server.js": "node"}
NAMES = ("anna", "ben", "carla", "dora", "emil", "fay")
SURE = ("R-FRAME-1", "R-FRAME-2", "R-SESS-4", "R-SESS-5", "R-MSG-1", "R-MSG-21", "R-ERR-2")
"""Rules that hold in a starter, all of them."""


@pytest.fixture(scope="module", params=STARTERS, ids=lambda name: str(name).split("/")[0])
def report(request: pytest.FixtureRequest) -> Iterator[Report]:
    """Return what the kit says of a starter at the level `full`."""
    program = shutil.which(STARTERS[request.param])
    if program is None:
        pytest.skip(f"{STARTERS[request.param]} is not installed")
    command = [program, str(ROOT / "examples" / "starter" / request.param), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening on 127.0.0.1:"), line
            options = runner.Options(
                "127.0.0.1",
                int(line.rpartition(":")[2]),
                "full",
                seed=5,
                accounts=[(name, f"pw-{name}") for name in NAMES],
            )
            yield runner.run(options, cases.load())
        finally:
            process.terminate()


def test_starter_scores_some_points_and_leaves_some(report: Report) -> None:
    offered = report.points_possible - report.points_missing
    assert 25 <= 100 * report.points_got / offered <= 60, report.notes
    assert report.points_missing > report.points_got
    assert not report.count(Verdict.KIT_ERROR)
    assert report.exit_status == 1


def test_what_a_starter_does_it_does_right(report: Report) -> None:
    verdicts = {result.rule.id: result.verdict for result in report.rule_results()}
    assert {rule: verdicts[rule] for rule in SURE} == dict.fromkeys(SURE, Verdict.PASS)


@pytest.mark.parametrize("name", STARTERS)
def test_starter_has_at_most_150_lines_and_imports_nothing_of_ours(name: str) -> None:
    text = (ROOT / "examples" / "starter" / name).read_text("utf-8")
    assert len(text.splitlines()) <= 150
    assert not any(
        line.startswith(("from protocol", "import protocol", "from server", "from client"))
        for line in text.splitlines()
    )


def test_readme_of_the_starters_names_them_all() -> None:
    readme = (ROOT / "examples" / "starter" / "README.md").read_text("utf-8")
    assert all(f"({name})" in readme for name in STARTERS)


@pytest.mark.parametrize("name", STARTERS)
def test_starter_says_in_a_line_why_it_can_not_listen(name: str) -> None:
    program = shutil.which(STARTERS[name])
    if program is None:
        pytest.skip(f"{STARTERS[name]} is not installed")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for port in (str(taken.getsockname()[1]), "many", "99999"):
            done = subprocess.run(
                [program, str(ROOT / "examples" / "starter" / name), port],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert (
                done.returncode == 1
                and done.stderr.startswith("cannot listen: ")
                and done.stderr.count("\n") == 1
            ), done.stderr


def test_the_bot_of_ten_lines_says_how_it_is_called() -> None:
    program = [sys.executable, str(ROOT / "examples" / "ten_lines.py")]
    done = subprocess.run(program, capture_output=True, text=True, timeout=30, check=False)
    assert (
        done.returncode == 1
        and done.stderr == "usage: python examples/ten_lines.py NAME PASSWORD_FILE\n"
    )
