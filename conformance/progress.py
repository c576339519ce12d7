"""Partial results of a run, so that one that is cut off has not been for nothing.

Owns the file beside the first report, and the line on a terminal. One thread.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import IO, final

from conformance import reports
from conformance.verdicts import Outcome, outcome_to_line


@final
class Progress:
    """Partial results: a line of JSON for each outcome, beside the first report's file, and a short
    line on a terminal."""

    def __init__(self, path: str | None) -> None:
        self._path = f"{path}.partial" if path and reports.is_plain(Path(path)) else None
        self._file: IO[str] | None = None
        self._shows = sys.stderr.isatty()
        self._count = 0

    def __call__(self, outcome: Outcome) -> None:
        self._count += 1
        if self._path:
            if self._file is None:
                Path(self._path).parent.mkdir(parents=True, exist_ok=True)
                self._file = reports.new_file(Path(self._path))
            self._file.write(outcome_to_line(outcome) + "\n")
            self._file.flush()
        if self._shows:
            sys.stderr.write(
                f"\r\x1b[K{self._count:4} {outcome.verdict.value:<11} {outcome.case_id[:60]}"
            )
            sys.stderr.flush()

    def done(self, *, keep: bool) -> None:
        """End the partial results: remove them, or with `keep` leave them there."""
        if self._shows and self._count:
            sys.stderr.write("\r\x1b[K")
        if self._file is not None:
            self._file.close()
            if not keep and self._path:
                with contextlib.suppress(OSError):
                    os.remove(self._path)
