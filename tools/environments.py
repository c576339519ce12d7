"""Virtual environments of the tools: `.venv` for tests, `.venv-check` for ruff and mypy.

Owns the folders that it is told to make, and nothing else. One thread uses it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

INSTALL_SECONDS = 300.0


class CannotInstall(Exception):
    """The packages could not be installed; the text says why in one line."""


def prepare(folder: Path, packages: Sequence[str], program: str = sys.executable) -> Path:
    """Return the Python of an environment in `folder` that has `packages`; make it where it lacks.

    `program` is the Python that it is made with. CannotInstall if pip or venv fail.
    """
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ready = folder / "ready"
    wanted = "\n".join((*packages, os.path.realpath(program))) + "\n"
    if ready.exists() and ready.read_text("utf-8") == wanted:
        return python
    install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    try:
        _run(program, "-m", "venv", "--clear", str(folder))
        _run(str(python), *install, "--retries", "1", "--timeout", "15", *packages)
    except (OSError, subprocess.SubprocessError) as error:
        names = " and ".join(packages)
        reason = _reason(error)
        raise CannotInstall(f"cannot install {names}; is there a network? {reason}") from None
    ready.write_text(wanted, "utf-8")
    return python


def _run(*command: str) -> None:
    subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        timeout=INSTALL_SECONDS,
        check=True,
    )


def _reason(error: Exception) -> str:
    """Return the last line that the program wrote, or the error itself."""
    written = getattr(error, "output", None)
    text = written.decode("utf-8", "replace") if isinstance(written, bytes) else written
    lines = (text or str(error)).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
