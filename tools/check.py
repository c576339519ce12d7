"""Check the code with ruff and mypy: what `make check` does, and `python tools/check.py` without
make.

Makes an environment of its own, `.venv-check`, with exactly the versions below, so that everybody
gets the same answer. Runs `ruff format --check`, `ruff check`, and mypy for Linux, Windows and
macOS. The exit status is 0 only if every check ran and passed: where the tools can't be
installed, that is said in one line, and the status is 2.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import closed_pipe
from environments import CannotInstall, prepare

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv-check"
TOOLS = ("ruff==0.17.6", "mypy==2.4.1")
PLATFORMS = ("linux", "win32", "darwin")
CHECKS = (
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    *(("mypy", "--platform", platform) for platform in PLATFORMS),
)


def main() -> int:
    """Run every check, also after one has failed; return the exit status."""
    try:
        python = prepare(FOLDER, TOOLS)
    except CannotInstall as error:
        print(f"make check: {error}", file=sys.stderr)
        return 2
    failed = []
    for check in CHECKS:
        print(f"== {' '.join(check)}", flush=True)
        if subprocess.run([python, "-m", *check], cwd=ROOT, check=False).returncode != 0:
            failed.append(" ".join(check))
    if failed:
        print(f"make check: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(closed_pipe.run(main))
