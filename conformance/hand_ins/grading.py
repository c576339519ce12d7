"""Grade one hand-in: copy it, build it, and run the kit on it, once for each seed.

Owns the copy, and the processes of the build and the kit, which never outlive `grade`. The hand-in
itself is never changed. What goes wrong with one is its result, and never ends the others. Any
thread, one hand-in each.
"""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, final

from conformance import command_words, free_choices, reports
from conformance.board import told
from conformance.hand_ins.hand_in import BadHandIn, HandIn, files_of
from conformance.left_running import Marked
from conformance.verdicts import EXIT_NO_SERVER, Report, Verdict

ROOT: Final = Path(__file__).resolve().parents[2]
"""Where the kit lies: a folder, or the packed file."""
KIT: Final = (
    "import sys; sys.path[0] = {!r}; from conformance.__main__ import program; sys.exit(program())"
)
"""The kit is imported from ROOT only: the process runs in the copy of a hand-in, which may hold a
folder `conformance` of its own. Nothing of this reaches the hand-in's own environment."""
BUILD_SECONDS: Final = 300.0
SPARE_SECONDS: Final = 60.0
"""So much longer than its `--limit` the kit may take, to write its reports."""
LIKENESS: Final = "likeness.txt"
SHOWN: Final = 2000
"""Characters of a build's output that a page shows."""


@dataclass(frozen=True)
class How:
    """How all hand-ins are graded. `kit` are the words that each run of the kit gets besides its
    seed and its start command; `limits` are the words for limits.py, `wrap` those before the start
    command ({folder} is filled in)."""

    seeds: Sequence[int]
    takes_best: bool
    kit: Sequence[str]
    limit_seconds: float
    limits: Sequence[str]
    wrap: Sequence[str] = ()
    run_as: str = ""


@dataclass(frozen=True)
class Run:
    """What one run of the kit came to; `fails` are (rule, case) that failed."""

    seed: int
    percent: float
    got: float
    possible: float
    fails: Sequence[tuple[str, str]]
    not_reached: int
    verdicts: Mapping[str, str]
    """By rule id."""
    seconds: float
    likeness: str = ""
    """Where its free choices are those of this project's server: how many, and how sure it is."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """What a board is told of it."""


@dataclass(frozen=True)
class Result:
    """What a hand-in came to. `taken` is the run that counts, None where there is none; `why` says
    why it could not be run, or what the teacher should know. `is_kit_fault` where nothing of this
    is the student's."""

    name: str
    digest: str
    runs: Sequence[Run] = ()
    taken: Run | None = None
    why: str = ""
    is_kit_fault: bool = False
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def percent(self) -> float:
        """Points in percent of what the level asks, 0 where it could not be run."""
        return self.taken.percent if self.taken is not None else 0.0

    def to_json(self) -> str:
        """Return all of it as one JSON object."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> Result:
        """Return what `to_json` wrote; ValueError, KeyError or TypeError where it is not that."""
        whole = json.loads(text)
        runs = tuple(_run_from(values) for values in whole.pop("runs"))
        taken = whole.pop("taken")
        return Result(**whole, runs=runs, taken=None if taken is None else _run_from(taken))


def _run_from(values: Mapping[str, Any]) -> Run:
    return Run(**{**values, "fails": tuple((rule, case) for rule, case in values["fails"])})


@final
class Grader:
    """Grades hand-ins in the same way; `end` stops all that runs, and what is asked for later."""

    def __init__(self, how: How, out: Path) -> None:
        self.how, self._out = how, out
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_ended = False

    def grade(self, hand_in: HandIn, digest: str) -> Result:
        """Return what the hand-in comes to; its pages lie in its folder of the results then."""
        marked = Marked(self.how.run_as)
        work = Path(tempfile.mkdtemp(prefix="class-"))
        try:
            copy = work / "hand-in"
            self._copy(hand_in.folder, copy, marked)
            self._build(hand_in, copy, marked)
            runs = [self._run(hand_in, copy, seed, work) for seed in self.how.seeds]
        except BadHandIn as problem:
            return Result(hand_in.name, digest, why=str(problem))
        finally:
            marked.end_all()
            shutil.rmtree(work, ignore_errors=True)
        return self._result(hand_in, digest, runs)

    def end(self) -> None:
        """Stop what runs, and start nothing more."""
        with self._lock:
            self._is_ended = True
            running = list(self._running)
        for process in running:
            _end(process)

    def _copy(self, folder: Path, copy: Path, marked: Marked) -> None:
        for _ in files_of(folder):
            pass  # raises where it is too large
        try:
            shutil.copytree(folder, copy, symlinks=True, ignore=_only_files)
        except (OSError, shutil.Error) as error:
            raise BadHandIn(f"it can't be copied: {str(error)[:300]}") from None
        os.chmod(copy.parent, 0o711)  # for the user of --run-as
        for path in (copy, *copy.rglob("*")):
            if not path.is_symlink():
                marked.give(str(path))

    def _build(self, hand_in: HandIn, copy: Path, marked: Marked) -> None:
        """Build the copy, where there is something to do. Raises BadHandIn."""
        if not hand_in.build:
            return
        limits = _limits_file(copy.parent)
        with open(copy.parent / "build.txt", "wb+") as output:
            limited = [sys.executable, str(limits), *self.how.limits]
            words = [*limited, "--shell", "--", hand_in.build]
            status = self._wait(words, copy, BUILD_SECONDS, output, marked)
            output.seek(0)
            said = output.read(SHOWN).decode("utf-8", "replace").strip()
        if status is None:
            raise BadHandIn(f"the build took more than {BUILD_SECONDS:.0f} s: {hand_in.build}")
        if status != 0:
            raise BadHandIn(f"the build ended with status {status}: {hand_in.build}\n{said}")

    def _run(self, hand_in: HandIn, copy: Path, seed: int, work: Path) -> Run | str:
        """Run the kit once; return what came of it, or how the kit itself ended."""
        folder = work / f"seed-{seed}"
        folder.mkdir()
        try:
            start = [*command_words.split(hand_in.start)]
        except ValueError as error:
            raise BadHandIn(f"the start command can't be read ({error}): {hand_in.start}") from None
        wrap = [word.replace("{folder}", str(copy)) for word in self.how.wrap]
        if not any("{port}" in word for word in (*wrap, *start)):
            raise BadHandIn(f"{{port}} is missing in the start command: {hand_in.start}")
        limits = [sys.executable, str(_limits_file(work)), *self.how.limits, "--"]
        words = [
            *(sys.executable, "-c", KIT.format(str(ROOT)), "server", "localhost:0"),
            *("--start-cmd", command_words.join([*wrap, *start] if wrap else [*limits, *start])),
            *("--seed", str(seed), "--limit", f"{self.how.limit_seconds:g}", *self.how.kit),
            *("--report", "json", "-o", str(folder / "report.json")),
            *("--report", "html", "-o", str(folder / "report.html")),
            *("--likeness", str(folder / LIKENESS)),
        ]
        if self.how.run_as:
            words += ["--run-as", self.how.run_as]
        with open(folder / "output.txt", "wb+") as output:
            patience = self.how.limit_seconds + SPARE_SECONDS
            status = self._wait(words, copy, patience, output, None)
            output.seek(0)
            said = output.read(SHOWN).decode("utf-8", "replace").strip()
        try:
            report = Report.from_json(json.loads((folder / "report.json").read_text("utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            how = f"ended with status {status}" if status is not None else "did not end in time"
            return f"the kit {how} and left no report: {said[-SHOWN:]}"
        report = _to_be_typed(report, words[words.index("--start-cmd") + 1], hand_in.start)
        target = self._out / hand_in.name
        target.mkdir(parents=True, exist_ok=True)
        for kind in ("json", "html"):
            reports.write(report, kind, target / f"report-{seed}.{kind}")
        board = told.of_report(report, is_whole="--rules" not in self.how.kit)
        return replace(_run_of(report, _likeness(folder)), told=board)

    def _wait(
        self,
        words: list[str],
        folder: Path,
        seconds: float,
        output: Any,
        marked: Marked | None,
    ) -> int | None:
        """Run a program; return its exit status, None where it was ended after `seconds`."""
        environment = dict(os.environ)
        options: dict[str, Any] = {}
        if marked is not None:
            environment.update(marked.environment)
            options = marked.options
        with self._lock:
            if self._is_ended:
                raise KeyboardInterrupt
            process = subprocess.Popen(
                words,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=os.name != "nt",
                **options,
            )
            self._running.add(process)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            return None
        finally:
            with self._lock:
                self._running.discard(process)

    def _result(self, hand_in: HandIn, digest: str, outcomes: Sequence[Run | str]) -> Result:
        runs = [run for run in outcomes if isinstance(run, Run)]
        notes = [text for text in outcomes if isinstance(text, str)]
        if not runs:
            return Result(hand_in.name, digest, why=notes[-1], is_kit_fault=True)
        choose = max if self.how.takes_best else min
        taken = choose(runs, key=lambda run: run.percent)
        notes += dict.fromkeys(run.likeness for run in runs if run.likeness)
        if len({run.percent for run in runs}) > 1:
            notes.append(
                "the seeds disagree: "
                + ", ".join(f"{run.percent:.1f} % with seed {run.seed}" for run in runs)
            )
        return Result(hand_in.name, digest, tuple(runs), taken, notes=tuple(notes))


def _to_be_typed(report: Report, started: str, command: str) -> Report:
    """Return the report with "again" lines for the student's own folder, without the limits."""
    ours, theirs = command_words.join([started]), command_words.join([command])
    return replace(
        report,
        outcomes=tuple(
            replace(outcome, again=outcome.again.replace(ours, theirs))
            for outcome in report.outcomes
        ),
    )


def _only_files(folder: str, names: list[str]) -> set[str]:
    """Return what is neither a file, a folder nor a link: a pipe would be read for ever."""
    paths = {name: Path(folder, name) for name in names}
    return {
        name
        for name, path in paths.items()
        if not (path.is_symlink() or path.is_file() or path.is_dir())
    }


def _limits_file(work: Path) -> Path:
    """Return limits.py as a file: the kit may be packed into one."""
    path = work / "limits.py"
    if not path.exists():
        data = pkgutil.get_data("conformance.hand_ins", "limits.py")
        assert data is not None, "it lies beside this module"
        path.write_bytes(data)
    return path


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a program end in order, the kit ends what it has started; then the hard way."""
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            process.send_signal(signal.SIGINT)
    try:
        process.wait(10.0)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _likeness(folder: Path) -> str:
    """Return what the teacher should know of a hand-in's likeness to this project's server."""
    try:
        text = (folder / LIKENESS).read_text("utf-8").strip()
    except (OSError, ValueError):
        return ""
    return text if text.endswith(free_choices.SURENESS) else ""


def _run_of(report: Report, likeness: str = "") -> Run:
    fails = sorted(
        (outcome.rule_id, outcome.case_id)
        for outcome in report.outcomes
        if outcome.verdict is Verdict.FAIL
    )
    if report.exit_status == EXIT_NO_SERVER:
        fails = [("", "it did not start")]
    return Run(
        seed=report.seed,
        percent=report.percent,
        got=report.points_got,
        possible=report.points_possible,
        fails=tuple(fails),
        not_reached=report.count(Verdict.NOT_REACHED),
        verdicts={result.rule.id: result.verdict.value for result in report.rule_results()},
        seconds=report.seconds,
        likeness=likeness,
    )
