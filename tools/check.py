"""Check the code with ruff and mypy: what `make check` does, and `python tools/check.py` without
make.

Makes an environment of its own, `.venv-check`, with exactly the versions below, so that everybody
gets the same answer. Runs `ruff format --check`, `ruff check`, and mypy for Linux, Windows and
macOS. The exit status is 0 only if every check ran and passed: where the tools can't be
installed, that is said in one line, and the status is 2.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv-check"
TOOLS = ("ruff==0.17.6", "mypy==2.4.1")
PLATFORMS = ("linux", "win32", "darwin")
CHECKS = (
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    *(("mypy", "--platform", platform) for platform in PLATFORMS),
)
INSTALL_SECONDS = 300.0


class CannotCheck(Exception):
    """The tools could not be installed; the text says why in one line."""


def main() -> int:
    """Run every check, also after one has failed; return the exit status."""
    try:
        python = prepare(FOLDER)
    except CannotCheck as error:
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


def prepare(folder: Path) -> Path:
    """Return the Python of an environment in `folder` that has TOOLS; make it where it lacks."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ready = folder / "ready"
    wanted = "\n".join(TOOLS) + "\n"
    if ready.exists() and ready.read_text("utf-8") == wanted:
        return python
    try:
        venv.create(folder, clear=True, with_pip=True)
        _install(python)
    except (OSError, subprocess.SubprocessError) as error:
        tools = " and ".join(TOOLS)
        said = _reason(error)
        raise CannotCheck(f"cannot install {tools}; is there a network? pip: {said}") from None
    ready.write_text(wanted, "utf-8")
    return python


def _install(python: Path) -> None:
    options = ("--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "15")
    subprocess.run(
        [python, "-m", "pip", "install", *options, *TOOLS],
        capture_output=True,
        encoding="utf-8",
        timeout=INSTALL_SECONDS,
        check=True,
    )


def _reason(error: Exception) -> str:
    """Return the last line that pip wrote, or the error itself."""
    written = getattr(error, "stderr", None) or getattr(error, "output", None) or str(error)
    text = written.decode("utf-8", "replace") if isinstance(written, bytes) else str(written)
    return text.strip().splitlines()[-1] if text.strip() else type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
