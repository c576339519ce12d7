"""tests/run.py, on a small project of its own: what it counts, shows and returns."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from run import TIMES
from support.patience import patience
from workers import SECONDS_A_PART, Group, _Worker, groups_of

ROOT = Path(__file__).resolve().parent.parent
COPIED = (
    "tests/run.py",
    "tests/workers.py",
    "tests/support/__init__.py",
    "tests/support/patience.py",
    "tests/support/seed.py",
    "tools/closed_pipe.py",
    "tools/environments.py",
)
SETTINGS = """
[tool.pytest.ini_options]
pythonpath = [".", "tests"]
addopts = "--import-mode=importlib"

[tool.coverage.run]
branch = true
parallel = true
patch = ["subprocess"]
source = ["protocol"]

[tool.coverage.report]
fail_under = 96
"""
PROTOCOL = """
def answer(asked):
    if asked:
        return 42
    return None
"""
GOOD = "import protocol\n\ndef test_it():\n    assert protocol.answer(True) == 42\n"
OTHER = "import protocol\n\ndef test_it():\n    assert protocol.answer(False) is None\n"
FAILING = "def test_it():\n    assert list(range(90)) == list(range(1, 91))\n"
BROKEN = "import no_such_module\n"
SKIPPED = "import pytest\n\ndef test_it():\n    pytest.skip('not here')\n"
CRASHING = "import os\n\ndef test_it():\n    os._exit(7)\n"
EMPTY = ""
HANGING = """
import subprocess, sys

def test_it(request):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (request.config.rootpath / "child").write_text(str(child.pid))
    child.wait()
"""


class Project:
    """A folder with a copy of tests/run.py, and test files of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        (folder / "pyproject.toml").write_text(SETTINGS, "utf-8")
        (folder / "protocol.py").write_text(PROTOCOL, "utf-8")

    def start(self, *words: str, **files: str) -> subprocess.Popen[str]:
        (self.folder / "tests" / "protocol").mkdir(exist_ok=True)
        for name, text in files.items():
            (self.folder / "tests" / "protocol" / f"test_{name}.py").write_text(text, "utf-8")
        kept = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
        return subprocess.Popen(
            [sys.executable, "tests/run.py", "--jobs", "9", *words],
            cwd=self.folder,
            env=kept,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    def run(self, *words: str, **files: str) -> tuple[int, str]:
        """Return the exit status and all that was printed."""
        with self.start(*words, **files) as process:
            try:
                printed, _ = process.communicate(timeout=patience(60))
            finally:
                process.kill()
        return process.returncode, printed


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, though perhaps not been waited for."""
    if sys.platform == "win32":  # there 0 would be Ctrl-C
        kernel = ctypes.WinDLL("kernel32")
        kernel.OpenProcess.restype = ctypes.c_void_p
        synchronize, has_ended = 0x100000, 0
        process = ctypes.c_void_p(kernel.OpenProcess(synchronize, False, pid))
        return not process or kernel.WaitForSingleObject(process, 0) == has_ended
    try:
        os.kill(pid, 0)
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:
        return True


@pytest.mark.long
def test_what_passes_under_full_coverage_ends_with_one_line_and_0(project: Project) -> None:
    status, printed = project.run(good=GOOD, other=OTHER, skipped=SKIPPED)
    assert status == 0, printed
    assert printed.splitlines()[-2:] == ["coverage: 100 %", "2 passed, 0 failed, 1 skipped"]
    assert printed.count("\n") == 6, "a line that says what is run, and one for each group"


@pytest.mark.long
def test_under_the_floor_the_report_precedes_the_closing_line(project: Project) -> None:
    status, printed = project.run(good=GOOD)
    assert status == 2, printed
    assert "Coverage failure: total of" in printed
    assert printed.splitlines()[-1] == "1 passed, 0 failed"


def test_each_way_to_fail_is_counted_and_shown_whole(project: Project) -> None:
    status, printed = project.run(
        good=GOOD, failing=FAILING, broken=BROKEN, crashing=CRASHING, empty=EMPTY
    )
    assert status != 0
    assert printed.splitlines()[-1] == "1 passed, 4 failed", printed
    assert all(f" {number},\n" in printed for number in range(91)), "no difference is cut short"
    assert "No module named 'no_such_module'" in printed
    assert "FAILED as a whole: it ended with status 7 and left no report" in printed
    assert "FAILED as a whole: it found no test" in printed


def test_what_hangs_is_ended_with_all_that_it_has_started(project: Project) -> None:
    status, printed = project.run("--deadline", "3", hanging=HANGING)
    assert status != 0
    assert printed.splitlines()[-1] == "0 passed, 1 failed", printed
    assert f"FAILED as a whole: it did not end within {patience(3):.0f} s" in printed
    child = project.folder / "child"
    assert not child.exists() or is_gone(int(child.read_text("utf-8")))


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C can't be sent to one process there")
def test_ctrl_c_ends_all_that_was_started(project: Project) -> None:
    with project.start(good=GOOD, hanging=HANGING) as process:
        try:
            child, deadline = project.folder / "child", time.monotonic() + patience(30)
            while not child.exists() or not child.read_text("utf-8"):
                assert time.monotonic() < deadline, "no test has begun"
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            printed, _ = process.communicate(timeout=patience(30))
        finally:
            process.kill()
    assert process.returncode == 130, printed
    assert "\ninterrupted\n" in printed
    assert is_gone(int(child.read_text("utf-8")))


@pytest.mark.skipif(os.name == "nt", reason="Popen has no lock there")
def test_ctrl_c_while_a_process_is_looked_at_leaves_no_lock_held(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "", ""]
    worker = _Worker(Group(("",), 1.0, ""), command, dict(os.environ), tmp_path / "1", tmp_path)
    lock = worker._process._waitpid_lock

    class Interrupted:
        release = lock.release

        def acquire(self, blocking: bool) -> bool:
            is_ours = lock.acquire(blocking)
            os.kill(os.getpid(), signal.SIGINT)
            return is_ours

    worker._process._waitpid_lock = Interrupted()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            worker.poll()
    finally:
        signal.signal(signal.SIGINT, before)
    assert not lock.locked()
    worker._process._waitpid_lock = lock
    worker.kill()


@pytest.mark.long
def test_arguments_choose_tests_and_nothing_chosen_is_no_success(project: Project) -> None:
    assert (
        project.run("tests/protocol/test_good.py", "-k", "it", good=GOOD, failing=FAILING)[0] == 0
    )
    status, printed = project.run("-k", "none_is_called_so")
    assert (status, printed.splitlines()[-1]) == (5, "0 passed, 0 failed")


def test_groups_hold_each_file_once_and_the_longest_is_first() -> None:
    seconds = {"tests/long.py": 20.0, "tests/conformance/b.py": 5.0}
    seconds |= {f"tests/{number}.py": 1.0 for number in range(20)}
    other = "tests/conformance/b.py"
    groups = groups_of(seconds, lambda file: "" if file == other else "itself", workers=2)
    assert groups[0].targets == ("tests/long.py",)
    assert sorted(name for group in groups for name in group.targets) == sorted(seconds)
    assert [group.targets for group in groups if not group.measures] == [(other,)]


def test_a_long_file_is_run_in_parts_that_hold_each_test_once(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = groups_of(
        {"tests/protocol/test_handshakes.py": 2.5 * SECONDS_A_PART}, lambda _: "", workers=2
    )
    assert [group.part for group in groups] == ["1/3", "2/3", "3/3"]

    conftest = request.config.pluginmanager.getplugin(str(ROOT / "tests" / "conftest.py"))

    monkeypatch.setattr(conftest, "is_wine", lambda: False)  # these items have no marks

    def kept(part: str) -> list[int]:
        deselected: list[list[int]] = []
        hook = SimpleNamespace(pytest_deselected=lambda items: deselected.append(items))
        items = list(range(10))
        conftest.pytest_collection_modifyitems(
            SimpleNamespace(getoption=lambda _: part, hook=hook), items
        )
        assert sorted([*items, *itertools.chain(*deselected)]) == list(range(10))
        return items

    parts = [kept(group.part) for group in groups]
    assert sorted(itertools.chain(*parts)) == list(range(10))
    assert all(parts)
    assert request.config.getoption("--part").count("/") == 1


def test_the_recorded_seconds_are_of_files_that_exist() -> None:
    known = json.loads(TIMES.read_text("utf-8"))
    names = {*known["files"], *(test.partition("::")[0] for test in known["slow"])}
    assert [name for name in names if not (ROOT / name).exists()] == [], (
        "python tests/run.py --record"
    )


@pytest.mark.long
def test_quick_leaves_out_slow_tests(project: Project) -> None:
    times = project.folder / "tests" / "data" / "seconds.json"
    times.parent.mkdir(parents=True, exist_ok=True)
    times.write_text('{"files": {}, "slow": ["tests/protocol/test_slow.py::test_it"]}', "utf-8")
    status, printed = project.run("--quick", "protocol", good=GOOD, slow=GOOD)
    assert (status, printed.splitlines()[-1]) == (0, "1 passed, 0 failed")
    assert project.run("tests/protocol/test_slow.py")[1].splitlines()[-1] == "1 passed, 0 failed"
