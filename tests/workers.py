"""Run groups of test files as pytest processes side by side, and count what they say.

Owns the processes and their folders of results; nothing outlives `Workers`. Knows nothing of
coverage beyond the command that it is given, and imports neither pytest nor the product. One
thread uses it.
"""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from support.patience import patience

POLL_SECONDS = 0.05
ENDING_SECONDS = patience(15.0)
NOTHING_COLLECTED = 5  # pytest's exit status
SMALLEST_SECONDS = 25.0
"""A process costs half a second of its own."""
SECONDS_A_PART = 50.0
"""A file that takes longer is run in parts, by several processes."""
MOST_PARTS = 3
"""A busy machine records too many seconds, and each process costs one more."""
LINE_OF_A_GOOD_TEST = re.compile(r"^tests/\S.* (?:PASSED|SKIPPED|XFAIL)\b.*\n", re.MULTILINE)


@dataclass(frozen=True)
class Group:
    """Targets of one pytest process: files, folders or ids of tests; `seconds` is a guess.

    `measures` says what coverage measures of it: "", "itself", or "children", too. `part` is
    empty, or the number of the part of one file and how many there are: "2/3".
    """

    targets: tuple[str, ...]
    seconds: float
    measures: str
    part: str = ""


@dataclass
class Outcome:
    """What a group came to: counts, seconds of each test by its id, and pytest's output without
    the lines of tests that passed."""

    group: Group
    seconds: float = 0.0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    times: dict[str, float] = field(default_factory=dict)
    text: str = ""


def groups_of(
    seconds: dict[str, float], measures_of: Callable[[str], str], workers: int
) -> list[Group]:
    """Pack files into groups, the longest first, so that no long one begins when others end: each
    is half of a worker's share of what is left ("guided self-scheduling", C. Polychronopoulos and
    D. Kuck, 1987).

    `seconds` holds each file's guess. `measures_of` says what coverage measures of a file; no group
    mixes files of different kinds.
    """
    left = sum(seconds.values())
    smallest = min(SMALLEST_SECONDS, left / (3 * workers))
    groups: list[Group] = []
    waiting: defaultdict[str, list[str]] = defaultdict(list)
    for file in sorted(seconds, key=lambda file: (-seconds[file], file)):
        measures = measures_of(file)
        if seconds[file] > SECONDS_A_PART:
            groups += _parts(file, seconds[file], measures)
            left -= seconds[file]
            continue
        waiting[measures].append(file)
        group = _group(waiting[measures], seconds, measures)
        if group.seconds >= max(left / (2 * workers), smallest):
            groups.append(group)
            left -= group.seconds
            del waiting[measures]
    groups += [_group(files, seconds, measures) for measures, files in waiting.items()]
    return sorted(groups, key=lambda group: -group.seconds)


def _group(files: list[str], seconds: dict[str, float], measures: str) -> Group:
    return Group(tuple(files), sum(seconds[name] for name in files), measures)


def _parts(file: str, seconds: float, measures: str) -> list[Group]:
    count = min(MOST_PARTS, math.ceil(seconds / SECONDS_A_PART))
    return [
        Group((file,), seconds / count, measures, f"{number}/{count}")
        for number in range(1, count + 1)
    ]


@contextmanager
def _no_signals() -> Iterator[None]:
    """Keep what ends a run waiting for the time of a few calls; Windows' Popen has no lock."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


if sys.platform == "win32":
    import ctypes

    class _Family:
        """A process and all that it starts, also what has lost its parent: a job object."""

        def __init__(self, process: subprocess.Popen[bytes]) -> None:
            self._kernel = ctypes.WinDLL("kernel32", use_last_error=True)
            self._kernel.CreateJobObjectW.restype = ctypes.c_void_p
            self._job = ctypes.c_void_p(self._kernel.CreateJobObjectW(None, None))
            handle = ctypes.c_void_p(int(process._handle))
            if not self._kernel.AssignProcessToJobObject(self._job, handle):
                raise ctypes.WinError(ctypes.get_last_error())

        def kill(self) -> None:
            """End them all; may be called again."""
            if self._job:
                self._kernel.TerminateJobObject(self._job, 1)
                self._kernel.CloseHandle(self._job)
                self._job = None

else:

    class _Family:
        """A process and all that it starts: it leads a group of its own."""

        def __init__(self, process: subprocess.Popen[bytes]) -> None:
            self._group = process.pid

        def kill(self) -> None:
            """End them all; may be called again."""
            with suppress(ProcessLookupError, PermissionError):  # nothing of it is left
                os.killpg(self._group, signal.SIGKILL)


class _Worker:
    """One pytest process with its files: `output` for all it writes, `report` in JUnit's XML."""

    def __init__(
        self,
        group: Group,
        command: Sequence[str],
        environment: dict[str, str],
        folder: Path,
        root: Path,
    ) -> None:
        self.group = group
        self._started = time.monotonic()
        self._output = folder / "output"
        self._report = folder / "report.xml"
        folder.mkdir()
        with open(self._output, "wb") as output:
            # a file and not a pipe: a process that a test left behind could hold a pipe open
            self._process = _start(
                [*command, f"--junitxml={self._report}", *group.targets], environment, root, output
            )
        self._family = _Family(self._process)

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs.

        A signal that raised within `Popen.poll` could leave its lock held (CPython's subprocess.py,
        `_internal_poll`): the process would seem to run for ever.
        """
        with _no_signals():
            return self._process.poll()

    def seconds(self) -> float:
        """Return how long it has been running."""
        return time.monotonic() - self._started

    def interrupt(self) -> None:
        """Ask it to end, so that fixtures end what they have started; Windows has no such way."""
        if os.name == "nt":
            self.kill()
        else:
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End it and all that it has started, and wait for it."""
        self._family.kill()
        self._process.wait(ENDING_SECONDS)

    def outcome(self, trouble: str, may_be_empty: bool) -> Outcome:
        """Return the counts; what `trouble`, the exit status or the report tell is a failure."""
        outcome = Outcome(self.group, self.seconds())
        status = self._process.returncode
        try:
            _count(self._report, outcome)
        except (OSError, ElementTree.ParseError):
            trouble = trouble or f"it ended with status {status} and left no report"
        if not trouble and status == NOTHING_COLLECTED:
            if not may_be_empty and not outcome.skipped:
                trouble = "it found no test"
        elif not trouble and status != 0 and not outcome.failed:
            trouble = f"it ended with status {status}, though no test failed"
        if trouble:
            outcome.failed += 1
        text = LINE_OF_A_GOOD_TEST.sub("", self._output.read_text("utf-8", "replace"))
        outcome.text = f"{text.strip()}\n{trouble and f'FAILED as a whole: {trouble}'}".strip()
        return outcome


def _start(
    command: list[str], environment: dict[str, str], root: Path, output: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a process that leads a group of its own, so that all of the group can be ended."""
    is_windows = sys.platform == "win32"
    return subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=not is_windows,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def _count(report: Path, outcome: Outcome) -> None:
    """Add what a report in JUnit's XML says; a test with a failure or an error has failed."""
    for case in ElementTree.parse(report).iter("testcase"):
        found = {child.tag for child in case}
        if found & {"failure", "error"}:
            outcome.failed += 1
        elif "skipped" in found:
            outcome.skipped += 1
        else:
            outcome.passed += 1
        file = case.get("file", "").replace("\\", "/")
        outcome.times[f"{file}::{case.get('name')}"] = float(case.get("time", 0))


class Workers:
    """Runs groups, `count` at a time; a context manager that ends what still runs.

    `seconds` is the deadline of each group: one that passes it is ended and has failed.
    """

    def __init__(self, count: int, seconds: float, folder: Path, root: Path) -> None:
        self._count = count
        self._seconds = seconds
        self._folder = folder
        self._root = root
        self._running: list[_Worker] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            for worker in self._running:
                worker.interrupt()
            deadline = time.monotonic() + ENDING_SECONDS
            while time.monotonic() < deadline and any(one.poll() is None for one in self._running):
                time.sleep(POLL_SECONDS)
        finally:  # also after a second Ctrl-C
            for worker in self._running:
                worker.kill()

    def run(
        self,
        jobs: Iterable[tuple[Group, Sequence[str], dict[str, str]]],
        may_be_empty: bool = False,
    ) -> Iterator[Outcome]:
        """Run each group by its command and environment; yield what comes of it when it ends."""
        waiting = iter(list(jobs))
        number = 0
        while True:
            while len(self._running) < self._count:
                job = next(waiting, None)
                if job is None:
                    break
                number += 1
                folder = self._folder / str(number)
                self._running.append(_Worker(*job, folder, self._root))
            if not self._running:
                return
            for worker in list(self._running):
                trouble = ""
                if worker.poll() is None:
                    if worker.seconds() < self._seconds:
                        continue
                    trouble = f"it did not end within {self._seconds:.0f} s"
                worker.kill()  # what it left behind, too
                self._running.remove(worker)
                yield worker.outcome(trouble, may_be_empty)
            time.sleep(POLL_SECONDS)
