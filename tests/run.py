"""Run the quick tests side by side and hold the floor of coverage: what `make test` does, and
`python tests/run.py` without make.

Several pytest processes share the test files, the longest first. A failure's report is shown whole
as soon as its process ends; the last line says how many tests passed, failed and were skipped. A
process that crashes, finds no test or takes too long is a failure, too.

pytest and coverage come from this Python, or from an environment of their own in `.venv`. What
begins with `tests/` is run alone, and options that are not listed here go to pytest, as `-k files`
or `-m long`; then the floor is not held, and all that pytest says is shown. For `--pdb` and `-s`
use `python -m pytest`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.patience import patience
from support.seed import SEED
from workers import Group, Outcome, Workers, groups_of

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import closed_pipe  # noqa: E402  (it stands in tools/)
from environments import CannotInstall, prepare  # noqa: E402

PACKAGES = ("pytest>=8", "coverage>=7.10")
ENVIRONMENT = ROOT / ".venv"
TIMES = ROOT / "tests" / "data" / "seconds.json"
MEMORY = Path("/dev/shm")
"""Where Linux has a file system in memory."""
MEMORY_BYTES = 1024**3
"""So much must be free there: the files of a run take a tenth of it."""
DEFAULT_SECONDS = 1.0
GROUP_SECONDS = 300
SLOW_SECONDS = 0.7
"""`--quick` leaves a test that took longer to `make test`, so that a layer takes under 30 s."""
HANGING_SECONDS = 120.0
"""After so long in one test, pytest shows where each of its threads stands."""
INTERRUPTED = 130
WARNINGS = "error::DeprecationWarning"
"""Of the tests and of all programs that they start: what a newer Python takes away fails today."""
MEASURED = (
    "tests/protocol/",
    "tests/storage/",
    "tests/server/",
    "tests/client/",
    "tests/webpage/test_events.py",
    "tests/webpage/test_security.py",
)
"""They reach nearly all lines, in their own process. Measuring the others would make them take half
as long again."""
MEASURED_WITH_CHILDREN = (
    "tests/client/test_scripts.py",
    "tests/contract/test_acts_and_the_24_packets.py",
    "tests/contract/test_bad_inputs_fields.py",
    "tests/contract/test_bad_inputs_files.py",
    "tests/contract/test_bad_inputs_framing.py",
    "tests/contract/test_events.py",
    "tests/server/test_recover.py",
)
"""Of these the programs that they start are measured, too, which takes each a tenth of a second."""
NOT_WORTH_MEASURING = (
    "tests/client/test_pty.py",
    "tests/client/test_what_is_shown.py",
    "tests/protocol/test_catalogue.py",
    "tests/server/test_closed_streams.py",
    "tests/server/test_server_process.py",
    "tests/server/test_service.py",
    "tests/server/test_shared_structures.py",
)
"""They work long and reach a handful of lines that no other test reaches."""
UNMEASURED = ("tests/conformance/",)
"""They run the kit and the servers of tests/support, which no report is about."""
CHAPTERS = (
    *("events", "files", "framing", "history", "limits", "messages", "rights", "rooms"),
    *("seed_packets", "sessions", "teacher"),
)
"""Of tests/contract, one file for each chapter of the protocol; the trials of strength beside them
(bad inputs, fuzz, a model) are left to `make test`."""
LAYERS = {
    "protocol": ("tests/protocol", "tests/storage", "tests/contract/test_framing.py"),
    "storage": ("tests/storage", "tests/faults", "tests/contract/test_history.py"),
    "server": ("tests/server", *(f"tests/contract/test_{name}.py" for name in CHAPTERS)),
    "client": ("tests/client",),
    "webpage": ("tests/webpage",),
    "conformance": ("tests/conformance",),
    "docs": ("tests/docs",),
}
"""What a change to a folder needs; tests/test_architecture.py is run with each."""
FILES_OF_LAYERS = {
    "protocol.py": "protocol",
    "incoming_text.py": "protocol",
    "terminals.py": "protocol",
    "chat_server.py": "server",
    "chat_client.py": "client",
    "benchmarks": "docs",
    "examples": "docs",
    "tools": "docs",
}
"""Files and folders that are not named after their layer."""


def main(words: list[str]) -> int:
    """Run what the command line says; return the exit status."""
    options, rest = _parser().parse_known_args(words)
    targets = [word for word in rest if word.startswith("tests/")]
    further = [word for word in rest if word not in targets]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    for number in _signals():
        signal.signal(number, signal.default_int_handler)
    try:
        python = _python()
    except CannotInstall as error:
        print(f"tests/run.py: {error}", file=sys.stderr)
        return 2
    if options.quick:
        targets = _targets_of(options.quick)
        print(f"quick: {' '.join(targets) or 'nothing has changed'}")
        print("quick: slow tests are left to `make test`")
    try:
        return _repeat(options, python, targets, further)
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tests/run.py",
        usage="%(prog)s [options] [tests/...] [options of pytest]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--quick",
        nargs="?",
        const="changed",
        choices=("changed", *LAYERS),
        help="only the tests of one layer, or of what git sees changed (else of the last commit);"
        " without coverage and the slow tests",
    )
    add("--report", action="store_true", help="show which lines no test reaches")
    add("--jobs", type=int, default=_jobs(), metavar="N", help="processes (%(default)s)")
    add("--repeat", type=int, default=1, metavar="N", help="runs, each with a seed of its own")
    add("--load", type=int, default=0, metavar="N", help="so many of them beside busy processors")
    add(
        "--deadline",
        type=float,
        default=GROUP_SECONDS,
        metavar="S",
        help="end a process that takes longer (%(default)s s)",
    )
    add("--record", action="store_true", help=f"write {TIMES.relative_to(ROOT).as_posix()} anew")
    return parser


def _jobs() -> int:
    """Return how many processes there are: three quarters of a test's time are waiting."""
    return 5 * (os.cpu_count() or 1)


def _signals() -> list[int]:
    """Return the signals that end a run as Ctrl-C does, but such as somebody has turned off."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def _python() -> str:
    """Return a Python that has PACKAGES: this one, or that of ENVIRONMENT."""
    if importlib.util.find_spec("pytest") and importlib.util.find_spec("coverage"):
        version = importlib.metadata.version("coverage").split(".")
        if (int(version[0]), int(version[1])) >= (7, 10):
            return sys.executable
    return environment(ENVIRONMENT, sys.executable)


def environment(folder: Path, program: str) -> str:
    """Return the Python of a virtual environment that has PACKAGES, made with `program`."""
    return str(prepare(folder, PACKAGES, program))


def _repeat(
    options: argparse.Namespace, python: str, targets: list[str], further: list[str]
) -> int:
    """Run everything `options.repeat` times, the last ones beside a load; return the status."""
    statuses = []
    for number in range(options.repeat):
        beside_load = number >= options.repeat - options.load
        if options.repeat > 1:
            print(f"== run {number + 1} of {options.repeat}{', beside a load' * beside_load}")
        with _busy_processors(os.cpu_count() or 1 if beside_load else 0):
            statuses.append(_run(options, python, targets, further, SEED + number))
    if options.repeat > 1:
        failed = sum(map(bool, statuses))
        print(f"{len(statuses) - failed} runs passed, {failed} runs failed")
    return next(filter(None, statuses), 0)


@contextmanager
def _busy_processors(count: int) -> Iterator[None]:
    command = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _run(
    options: argparse.Namespace, python: str, targets: list[str], further: list[str], seed: int
) -> int:
    """Run the tests once; the closing line is the last of what is printed."""
    is_whole = not (targets or further)
    files = list(_files(targets or ["tests"]))
    known = json.loads(TIMES.read_text("utf-8")) if TIMES.exists() else {"files": {}, "slow": []}
    times: dict[str, float] = known["files"]
    left_out: list[str] = []
    if options.quick:
        left_out = [test for test in known["slow"] if test.partition("::")[0] not in targets]
    groups = groups_of(
        {file: times.get(file, DEFAULT_SECONDS) for file in files},
        _measures_all if options.report else _measures_of,
        options.jobs,
    )
    folder = Path(tempfile.mkdtemp(prefix="chat-tests-", dir=_place()))
    outcomes: list[Outcome] = []
    print(f"{len(groups)} groups, {options.jobs} at a time, CHAT_TEST_SEED={seed}", flush=True)
    status = 0
    try:
        environment = _environment(seed, folder)
        measures = (is_whole or options.report) and not options.quick
        jobs = [
            (
                group,
                _command(python, group, measures, further, left_out),
                {**environment, "CHAT_TEST_MEASURES": group.measures},
            )
            for group in groups
        ]
        with Workers(options.jobs, patience(options.deadline), folder, ROOT) as workers:
            for outcome in workers.run(jobs, may_be_empty=not is_whole):
                outcomes.append(outcome)
                _show(outcome, len(outcomes), len(groups), bool(further))
        if measures:
            status = _hold_floor(python, environment, is_whole, options.report)
        if options.record and is_whole:
            _record(outcomes)
    except KeyboardInterrupt:
        print("interrupted")
        raise
    finally:
        status = _close(outcomes) or status
        shutil.rmtree(folder, ignore_errors=True)
    return status


def _place() -> Path | None:
    """Return where the tests' files lie: in memory where there is room, since hundreds of servers
    sync each message to the disk; None = where temporary files always lie."""
    if os.name != "posix" or not os.access(MEMORY, os.W_OK):  # Wine shows the folders of Linux
        return None
    return MEMORY if shutil.disk_usage(MEMORY).free > MEMORY_BYTES else None


def _measures_of(file: str) -> str:
    """Return whether coverage measures a test file: "", "itself", or "children", too."""
    if file.startswith(MEASURED_WITH_CHILDREN):
        return "children"
    is_measured = file.startswith(MEASURED) and not file.startswith(NOT_WORTH_MEASURING)
    return "itself" if is_measured else ""


def _measures_all(file: str) -> str:
    """Return the same for a report on all lines, which no test that reaches one is left out of."""
    return "" if file.startswith(UNMEASURED) else "children"


def _files(targets: Sequence[str]) -> Iterator[str]:
    """Yield the test files of folders, and files and ids of tests as they are."""
    for target in targets:
        if (ROOT / target).is_dir():
            for file in sorted((ROOT / target).rglob("test_*.py")):
                yield file.relative_to(ROOT).as_posix()
        else:
            yield target


def _environment(seed: int, folder: Path) -> dict[str, str]:
    """Return the environment of pytest; the order of sets is drawn from the seed, too.

    Hundreds of processes import the same modules, so their bytecode is always kept.
    """
    temporary = folder / "tmp"
    temporary.mkdir()
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {
        **kept,
        "PYTHONHASHSEED": str(seed % 2**32),
        "CHAT_TEST_SEED": str(seed),
        "COVERAGE_FILE": str(folder / ".coverage"),
        "TMPDIR": str(temporary),
        "COLUMNS": "100",
        # 3.12.1 warns of `?1` in SQL, by mistake.
        **({"PYTHONWARNINGS": WARNINGS} if sys.version_info >= (3, 13) else {}),
    }


def _command(
    python: str, group: Group, measures: bool, further: Sequence[str], left_out: Sequence[str]
) -> list[str]:
    """Return the command of a group; its targets come behind."""
    return [
        python,
        *(("-m", "coverage", "run") if measures and group.measures else ()),
        *("-m", "pytest", "-v", "--continue-on-collection-errors"),
        *("-o", "junit_family=xunit1", "-o", "verbosity_assertions=2"),
        *("-o", f"faulthandler_timeout={patience(HANGING_SECONDS):.0f}"),
        *(further or ("-p", "no:cacheprovider")),
        *((f"--part={group.part}",) if group.part else ()),
        *(f"--deselect={test}" for test in left_out),
    ]


def _show(outcome: Outcome, number: int, of: int, always: bool) -> None:
    """Print one line for a group, and below it what pytest said if a test failed."""
    counts = _counts(outcome.passed, outcome.failed, outcome.skipped)
    first, others = outcome.group.targets[0], len(outcome.group.targets) - 1
    more = f" and {others} more" if others else f" {outcome.group.part}".rstrip()
    print(f"{number:3}/{of} {outcome.seconds:6.1f} s  {first}{more}: {counts}")
    found = outcome.passed or outcome.failed or outcome.skipped
    if outcome.failed or (always and found):
        print(outcome.text)
    sys.stdout.flush()


def _counts(passed: int, failed: int, skipped: int) -> str:
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


def _close(outcomes: list[Outcome]) -> int:
    """Print the closing line; return the exit status that the counts stand for."""
    passed, failed, skipped = (
        sum(getattr(outcome, name) for outcome in outcomes)
        for name in ("passed", "failed", "skipped")
    )
    print(_counts(passed, failed, skipped), flush=True)
    return 1 if failed else 0 if passed else 5


def _hold_floor(
    python: str, environment: dict[str, str], is_whole: bool, report_always: bool
) -> int:
    """Merge what all processes measured into `.coverage`; return 2 under the floor."""
    folder = Path(environment["COVERAGE_FILE"]).parent
    environment = {**environment, "COVERAGE_FILE": str(ROOT / ".coverage")}

    def coverage(*words: str) -> subprocess.CompletedProcess[str]:
        command = [python, "-m", "coverage", *words]
        return subprocess.run(
            command, cwd=ROOT, env=environment, text=True, capture_output=True, check=False
        )

    combined = coverage("combine", "--quiet", str(folder))
    report = coverage("report")
    is_under = is_whole and report.returncode != 0
    if report_always or is_under:
        print(combined.stderr, report.stdout, report.stderr, sep="")
    else:
        total = next((line for line in report.stdout.splitlines() if line.startswith("TOTAL")), "")
        print(f"coverage: {total.rpartition(' ')[2].rstrip('%')} %")
    return 2 if is_under else 0


def _record(outcomes: list[Outcome]) -> None:
    """Write which files take longer than DEFAULT_SECONDS, which tests longer than SLOW_SECONDS."""
    files: defaultdict[str, float] = defaultdict(float)
    slow = []
    for outcome in outcomes:
        for test, seconds in outcome.times.items():
            files[test.partition("::")[0]] += seconds
            if seconds > SLOW_SECONDS:
                slow.append(test)
    kept = {file: round(files[file], 1) for file in sorted(files) if files[file] > DEFAULT_SECONDS}
    text = json.dumps({"files": kept, "slow": sorted(slow)}, indent=2, ensure_ascii=False)
    TIMES.write_text(text + "\n", "utf-8")


def _targets_of(layer: str) -> list[str]:
    """Return the files and folders of a layer's tests, or of those of all changed files."""
    if layer != "changed":
        names = ("tests/test_architecture.py", *LAYERS[layer])
        return [name for name in names if (ROOT / name).exists()]
    found: dict[str, None] = {}
    for file in _changed_files():
        top, _, _ = file.partition("/")
        layer = FILES_OF_LAYERS.get(top, top)
        if file.startswith("tests/") and Path(file).name.startswith("test_"):
            found[file] = None
        elif layer in LAYERS:
            found.update(dict.fromkeys(_targets_of(layer)))
        elif file.endswith(".md"):
            found.update(dict.fromkeys(_targets_of("docs")))
    return [target for target in found if (ROOT / target).exists()]


def _changed_files() -> list[str]:
    """Return what differs from the last commit, new files too; else what that commit changed."""

    def git(*words: str) -> list[str]:
        command = ["git", *words]
        return subprocess.run(
            command, cwd=ROOT, text=True, capture_output=True, check=True
        ).stdout.splitlines()

    changed = git("diff", "--name-only", "HEAD")
    changed += git("ls-files", "--others", "--exclude-standard")
    return changed or git("diff", "--name-only", "HEAD~1")


if __name__ == "__main__":
    sys.exit(closed_pipe.run(lambda: main(sys.argv[1:])))
