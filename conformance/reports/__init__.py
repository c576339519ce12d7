"""Reports: what a run found out, in the form that a person or another program reads.

Owns no facts of its own: every report is made from one `verdicts.Report`. Touches no socket; writes
where it is told to.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TextIO

from conformance.reports import gradescope, html, json_report, junit, tap, text, words
from conformance.verdicts import Report

_RENDERERS: Final[dict[str, Callable[[Report], str]]] = {
    "text": text.render,
    "json": json_report.render,
    "junit": junit.render,
    "tap": tap.render,
    "html": html.render,
    "gradescope": gradescope.render,
}
KINDS: Final = tuple(_RENDERERS)
"""What `--report` takes."""
USUAL_NAMES: Final = {
    "text": "report.txt",
    "json": "report.json",
    "junit": "report.xml",
    "tap": "report.tap",
    "html": "report.html",
    "gradescope": "results.json",
}
"""The names of files in a folder that `-o` names."""
HELD_SECONDS: Final = 5.0
PAUSE_SECONDS: Final = 0.05

_is_windows = os.name == "nt"  # the tests replace it


def render(report: Report, kind: str) -> str:
    """Return a report of one of `KINDS`, without colour."""
    return _RENDERERS[kind](report)


def write(report: Report, kind: str, where: str | os.PathLike[str] | TextIO | None = None) -> None:
    """Write a report of one of `KINDS` to a file or an open stream; to standard output for `-` and
    None, and for a path that is standard output, as /dev/stdout.

    A file's folders are made, and it is there whole or not at all. A device takes it as it comes.
    Raises `OSError`, also for what is no file, as a pipe.
    """
    if where is None or where == "-":
        where = sys.stdout
    if not isinstance(where, (str, os.PathLike)):
        write_to(report, kind, where)
        return
    target = Path(where)
    if is_plain(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(target.name + ".part")
        with new_file(beside) as file:
            file.write(render(report, kind))
        replace(beside, target)
    elif _is_stdout(target):
        write_to(report, kind, sys.stdout)
    elif target.is_char_device():
        with open(target, "w", encoding="utf-8") as file:
            file.write(render(report, kind))
    else:
        raise OSError(f"{target} is neither a file nor a device")


def replace(source: Path, target: Path) -> None:
    """Put the file `source` in the place of `target`. Raise `OSError`. On Windows another program,
    as a virus scanner, may hold either open: it is tried again for `HELD_SECONDS`."""
    last = time.monotonic() + HELD_SECONDS
    while True:
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if not _is_windows or time.monotonic() > last:
                raise
        time.sleep(PAUSE_SECONDS)


def place(kind: str, where: str | None) -> str | TextIO | None:
    """Return where a report of that kind is to go, for `write`, and see that it can be written, as
    early as that can be known: before a run. Raise `OSError`.

    A folder gets a file with the usual name of the kind. A pipe is opened now: one that a program
    under test puts in the place of a file later is none that a person asked for.
    """
    if where is None or where == "-":
        return where
    target = Path(os.path.expanduser(where))
    if target.is_dir():
        target /= USUAL_NAMES[kind]
    if is_plain(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(target.name + ".part")
        new_file(beside).close()
        beside.unlink()
    elif target.is_fifo() and not _is_stdout(target):
        return open(target, "w", encoding="utf-8")
    return str(target)


def where_they_are(report: Report, places: Sequence[str]) -> str:
    """Return a line for who wrote all reports to files: the points, and the files."""
    are = "report is" if len(places) == 1 else "reports are"
    told = words.points_in_short(report)
    if report.no_server:
        told = "; ".join((words.in_short(report), *map(words.first_line, report.notes[:1])))
    return f"{told}. The {are} in {' and '.join(places)}."


def is_plain(path: Path) -> bool:
    """Return whether a path is a file's, or nobody's yet."""
    return path.is_file() or not path.exists()


def new_file(path: Path) -> TextIO:
    """Open a new file for text in the place of what stands there; a link there is not followed."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return open(path, "x", encoding="utf-8", newline="\n")


def _is_stdout(path: Path) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):
        return False


def write_to(report: Report, kind: str, stream: TextIO) -> None:
    """Write a report to an open stream; the text has colours where that is a terminal."""
    if kind == "text":
        content = text.render(report, colour=text.wants_colour(stream))
    else:
        content = render(report, kind)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(content.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
