"""Run the quick tests under coverage and hold its floor: what `make test` does, and `python
tests/run.py` without make.

On success pytest's own closing line is the last line. Where the coverage is under the floor of
pyproject.toml the report follows, and the exit status is not 0. `--report` shows the report always;
other arguments go to pytest.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def coverage(*arguments: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "coverage", *arguments]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=quiet, check=False)


def main(arguments: list[str]) -> int:
    always = "--report" in arguments
    arguments = [argument for argument in arguments if argument != "--report"]
    coverage("erase", quiet=True)
    status = coverage("run", "-m", "pytest", *arguments).returncode
    if status != 0:
        return status
    coverage("combine", "--quiet", quiet=True)
    report = coverage("report", quiet=True)
    if always or (report.returncode != 0 and not arguments):
        print(report.stdout, report.stderr)
    return 0 if arguments else report.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
