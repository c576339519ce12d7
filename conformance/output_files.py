"""Where reports go: `--report KIND` and `-o FILE` of the command line, and the files themselves.

Owns the pairs of kind and file, and the line that says where the reports are. One thread.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO, final

from conformance import reports
from conformance.foreground import Misuse
from conformance.progress import Progress
from conformance.verdicts import EXIT_MISUSE, Report

KIND_OF_NAME = {
    ".json": "json",
    ".xml": "junit",
    ".tap": "tap",
    ".html": "html",
    ".htm": "html",
    ".txt": "text",
}


@final
class OutputPair(argparse.Action):
    """Collects `--report KIND` and `-o FILE` as pairs, in their order."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        pairs: list[list[str | None]] = getattr(namespace, "outputs", None) or []
        if option == "--report":
            pairs.append([values, None])
        elif pairs and pairs[-1][1] is None:
            pairs[-1][1] = values
        else:
            name = Path(values).name
            kind = (
                "gradescope"
                if name == "results.json"
                else KIND_OF_NAME.get(Path(values).suffix.lower())
            )
            if kind is None:
                parser.error(
                    f"-o {values}: put --report KIND before it, so that it is clear what to write"
                )
            pairs.append([kind, values])
        namespace.outputs = pairs


def places(
    args: argparse.Namespace, stack: contextlib.ExitStack
) -> list[tuple[str, str | TextIO | None]]:
    """Return each report that is wanted and where it goes; an open pipe is closed with `stack`.
    Raise `Misuse` where one can't be written."""
    wanted: list[list[str | None]] = getattr(args, "outputs", None) or [["text", None]]
    found: list[tuple[str, str | TextIO | None]] = []
    for kind, file in wanted:
        folder = Path(os.path.expanduser(file or "")).parent
        is_new = not folder.exists()
        try:
            place = reports.place(kind or "text", file)
        except OSError as error:
            raise Misuse(unwritable(error)) from None
        if is_new:
            print(f"conformance: the folder {folder} is new, for the report", file=sys.stderr)
        if place is not None and not isinstance(place, str):
            stack.enter_context(place)
        found.append((kind or "text", place))
    return found


def unwritable(error: OSError) -> str:
    """Return why a report can't be written."""
    name = f" to {error.filename}" if error.filename else ""
    return f"the report can't be written{name}: {error.strerror or error}"


def write(
    report: Report, outputs: Sequence[tuple[str, str | TextIO | None]], progress: Progress
) -> int:
    """Write each report where it goes; return the exit status."""
    failed = False
    progress.done(keep=True)
    for kind, file in outputs:
        try:
            reports.write(report, kind, file)
        except OSError as error:
            failed = True
            print(f"conformance: {unwritable(error)}", file=sys.stderr)
    if not failed:
        progress.done(keep=False)
        files = [file for _, file in outputs if isinstance(file, str) and file != "-"]
        if len(files) == len(outputs):  # else the text, or what reads stdout, has the points
            print(f"conformance: {reports.where_they_are(report, files)}", file=sys.stderr)
    return EXIT_MISUSE if failed else report.exit_status
