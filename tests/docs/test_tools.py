"""The programs of tools/ and tests/ end in order where nobody reads what they print."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.patience import patience

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = [
    path
    for path in (*(ROOT / "tools").glob("*.py"), *(ROOT / "tests").glob("*.py"))
    if "\nif __name__ == " in path.read_text("utf-8")
]
CALL = "sys.exit(closed_pipe.run("


def test_every_program_runs_through_closed_pipe() -> None:
    assert len(PROGRAMS) >= 6
    assert not [path.name for path in PROGRAMS if CALL not in path.read_text("utf-8")]


@pytest.mark.parametrize(
    ("action", "status", "error"),
    [
        ("print(1)", 1, ""),
        ("print(1, flush=True)", 1, ""),
        ("print(1, file=sys.stderr)", 7, "1\n"),
        ("open('no such file')", 1, "FileNotFoundError"),
    ],
)
def test_a_closed_pipe_leaves_no_traceback(action: str, status: int, error: str) -> None:
    code = f"import sys, closed_pipe\nsys.exit(closed_pipe.run(lambda: {action} and 0 or 7))"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT / "tools",
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=patience(60),
        )
    finally:
        os.close(writer)
    assert done.returncode == status
    assert error in done.stderr if error else not done.stderr
