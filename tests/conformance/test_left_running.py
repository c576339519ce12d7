"""What a hand-in leaves running is ended, wherever it went; results go onto plain files alone."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from support.kit_parts import HOST, outcome, report
from support.patience import patience, until

from conformance import left_running, reports
from conformance.left_running import Marked, NoSuchUser
from conformance.server.process import ServerCommand
from conformance.verdicts import Report, Verdict

ROOT = Path(__file__).resolve().parents[2]
only_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
FORKS = """
import os, socket, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        if sys.argv[2] == "bare":
            os.execve(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)"], {})
        time.sleep(600)
    os._exit(0)
os.wait()
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    listener.accept()
"""


def a_report() -> Report:
    return report(outcome(Verdict.PASS, "R-MSG-1"))


@only_linux
def test_who_left_the_process_group_is_ended_with_the_server(tmp_path: Path) -> None:
    script = tmp_path / "forks.py"
    script.write_text(FORKS, "utf-8")
    with ServerCommand(f"{sys.executable} {script} {{port}} marked", HOST, 0) as server:
        assert len(left_running._marked(server._marked._mark)) == 2
    assert not left_running._marked(server._marked._mark)


@only_linux
def test_the_command_line_ends_whoever_hides_from_the_mark(tmp_path: Path) -> None:
    script = tmp_path / "forks.py"
    script.write_text(FORKS, "utf-8")
    program = (
        "import os, subprocess, sys, time\n"
        "from conformance import left_running\n"
        "left_running.adopt()\n"
        "server = subprocess.Popen([sys.executable, sys.argv[1], '0', 'bare'])\n"
        "while len(left_running._descendants(os.getpid())) < 2: time.sleep(0.01)\n"
        "left_running.end_descendants()\n"
        "print(len(left_running._descendants(os.getpid())))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(script)],
        capture_output=True,
        text=True,
        timeout=patience(30),
    )
    assert done.stdout.strip() == "0", done.stderr


@only_linux
def test_sigterm_ends_the_kit_as_ctrl_c_does_with_all_that_it_has_started(tmp_path: Path) -> None:
    script, pid = tmp_path / "silent.py", tmp_path / "pid"
    script.write_text(
        "import os, socket, sys, time\n"
        'listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))\n'
        'with open(sys.argv[2] + ".new", "w") as file:\n'
        "    file.write(str(os.getpid()))\n"
        'os.replace(sys.argv[2] + ".new", sys.argv[2])\n'
        "time.sleep(600)\n",
        "utf-8",
    )
    start = f"{sys.executable} {script} {{port}} {pid}"
    with subprocess.Popen(
        [sys.executable, "-m", "conformance", "server", "localhost:0", "--start-cmd", start],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        encoding="utf-8",
        cwd=ROOT,
    ) as kit:
        until(pid.exists, "the server under test is not started")
        kit.terminate()
        _, said = kit.communicate(timeout=patience(20))
    assert kit.returncode == 130 and "conformance: stopped" in said
    assert not Path("/proc", pid.read_text("utf-8")).exists()


def test_who_has_adopted_nobody_ends_nobody() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        left_running.end_descendants()
        assert child.poll() is None
    finally:
        child.communicate(b"\n")


@pytest.mark.parametrize("name", ["nobody-of-that-name", "root"])
def test_nobody_runs_as_a_user_who_is_not_there_or_may_do_all(name: str) -> None:
    with pytest.raises(NoSuchUser):
        Marked(name)


@only_linux
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_a_server_runs_as_another_user_and_can_write_its_data(tmp_path: Path) -> None:
    marked, data = Marked("nobody"), tempfile.mkdtemp(dir="/tmp")
    try:
        marked.give(data)
        done = subprocess.run(
            ["/bin/sh", "-c", f"mkdir {data}/own && id -u"],
            capture_output=True,
            text=True,
            cwd="/",
            timeout=patience(30),
            **marked.options,
        )
        assert done.stdout.strip() == str(os.stat(data).st_uid) != "0", done.stderr
    finally:
        shutil.rmtree(data)
    sleeper = subprocess.Popen(["sleep", "600"], env={}, cwd="/", **marked.options)
    while sleeper.pid not in left_running._of_user(marked._user or 0):
        time.sleep(0.01)
    marked.end_all()  # without the mark, by its user
    assert sleeper.wait(patience(10)) != 0


# --- Where results are written -------------------------------------------------------------------


def test_a_link_that_a_hand_in_left_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine", "utf-8")
    for name in ("results.json", "results.json.part"):
        (tmp_path / name).symlink_to(precious)
    reports.write(a_report(), "json", tmp_path / "results.json")
    assert precious.read_text("utf-8") == "mine"
    assert (tmp_path / "results.json").is_file() and not (tmp_path / "results.json").is_symlink()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_results_go_onto_no_pipe_and_replace_no_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "results.json")
    with pytest.raises(OSError, match="neither a file nor a device"):
        reports.write(a_report(), "json", tmp_path / "results.json")
    reports.write(a_report(), "json", "/dev/null")
    assert Path("/dev/null").is_char_device()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no /dev/stdout")
def test_a_path_that_is_standard_output_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_end, write_end = os.pipe()
    with open(write_end, "w", encoding="utf-8") as stream, open(read_end, encoding="utf-8") as got:
        monkeypatch.setattr(sys, "stdout", stream)
        reports.write(a_report(), "text", f"/dev/fd/{write_end}")
        stream.close()
        assert "1 pass" in got.read()
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with pytest.raises(OSError, match="neither"):
        os.mkfifo(tmp_path / "pipe")
        reports.write(a_report(), "text", tmp_path / "pipe")


# --- The folder alone ----------------------------------------------------------------------------


def test_the_folder_of_the_kit_runs_without_the_rest_of_the_project(tmp_path: Path) -> None:
    kit = Path(left_running.__file__).parent
    shutil.copytree(kit, tmp_path / "conformance", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "conformance", "server", "localhost:1", "--list"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=patience(60),
    )
    assert done.returncode == 0, done.stderr
    asked = ["relay", "0", "localhost:1", "--page", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "conformance", *asked],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=patience(60),
    )
    assert done.returncode == 2 and "webpage/" in done.stderr, done.stderr
