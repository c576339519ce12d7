"""Run all tests, the long ones too, on every Python from 3.10 that this machine has: what `make
test-all` does.

Each Python gets a virtual environment of its own, `.venv-3.12`. Arguments go to pytest, as `-k
files`. The exit status is that of the first Python that failed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from run import ROOT, closed_pipe, environment

RUN = ROOT / "tests" / "run.py"
FIRST_MINOR = 10
LAST_MINOR = 20
ASK_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


def candidates() -> Iterator[str]:
    """Programs that may be a Python: on PATH, under the names that versions have, and what pyenv
    keeps."""
    yield sys.executable
    for minor in range(FIRST_MINOR, LAST_MINOR):
        found = shutil.which(f"python3.{minor}")
        if found:
            yield found
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for folder in sorted((root / "versions").glob("3.*")):
        yield str(folder / "bin" / "python")


def pythons() -> dict[str, str]:
    """Version to program, for each that really runs: a shim of a version that is not selected does
    not."""
    found: dict[str, str] = {}
    for program in candidates():
        try:
            answer = subprocess.run(
                [program, "-c", ASK_VERSION],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        except OSError:
            continue
        version = answer.stdout.strip()
        if answer.returncode == 0 and tuple(map(int, version.split("."))) >= (3, FIRST_MINOR):
            found.setdefault(version, program)
    return dict(sorted(found.items(), key=lambda item: int(item[0].split(".")[1])))


def main(arguments: list[str]) -> int:
    """Run the quick tests as `make test` does, then the long ones alone, on each Python."""
    failed = 0
    for version, program in pythons().items():
        print(f"== Python {version} ({program})", flush=True)
        python = environment(ROOT / f".venv-{version}", program)
        for command in ([python, str(RUN)], [python, "-m", "pytest", "-m", "long"]):
            status = subprocess.run([*command, *arguments], cwd=ROOT, check=False).returncode
            failed = failed or status
    return failed


if __name__ == "__main__":
    sys.exit(closed_pipe.run(lambda: main(sys.argv[1:])))
