"""`python -m conformance class`: hand-ins are graded each alone, whatever they are."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support import sixty_hand_ins
from support.patience import patience

from conformance.__main__ import main
from conformance.board import telling
from conformance.hand_ins import hand_in, likeness, limits, tables
from conformance.hand_ins.grading import Grader, How, Result, Run
from conformance.hand_ins.likeness import Alike
from conformance.left_running import Marked

ROOT = Path(__file__).resolve().parents[2]
STARTER = ROOT / "examples" / "starter" / "python" / "server.py"
ACCOUNTS = [f"--account={name}:pw-{name}" for name in ("anna", "ben", "carla", "dora")]
ONE_RULE = ["--rules", "R-FRAME-1", "--runs", "1", "--limit", "30", "--timeout", "5", *ACCOUNTS]
START = "--start-cmd", f'"{sys.executable}" server.py {{port}}'
FORKING = """
import os, subprocess, sys
command = [sys.executable, "-c", "import time; time.sleep(600)"]
left = subprocess.Popen(command, start_new_session=True)
with open({file!r}, "w") as file:
    file.write(str(left.pid))
os.execv(sys.executable, [sys.executable, "real.py", *sys.argv[1:]])
"""


def make(folder: Path, **files: str) -> Path:
    """Make a hand-in; a file's name has `__` for its dot."""
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, "utf-8")
    return folder


def starter() -> str:
    return STARTER.read_text("utf-8")


def grade(folder: Path, out: Path, *words: str) -> int:
    return main(["class", str(folder), "-o", str(out), *START, *ONE_RULE, *words])


def rows(out: Path) -> dict[str, dict[str, str]]:
    text = (out / "grades.csv").read_text("utf-8-sig")
    return {row["name"]: row for row in csv.DictReader(text.splitlines())}


def test_each_hand_in_gets_its_grade_and_its_page_whatever_the_others_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    board: dict[str, Mapping[str, Any]] = {}
    monkeypatch.setattr(
        telling.Teller, "result", lambda self, what, name: board.update({name: what})
    )
    folder, out = tmp_path / "in", tmp_path / "out"
    make(folder / "anna", server__py=starter())
    make(folder / "by-ini", real__py=starter()).joinpath("chat.ini").write_text(
        f'[chat]\nbuild = echo built > built\nstart = "{sys.executable}" real.py {{port}}\n',
        "utf-8",
    )
    make(folder / "=crashing", server__py="raise SystemExit('not ready')")
    make(folder / "unbuilt", chat__ini="[chat]\nbuild = exit 3\nstart = x\n")
    make(folder / "portless", chat__ini="[chat]\nstart = python server.py {prt}\n")
    make(folder / "odd", chat__ini="start = x")
    grader = make(folder / "self-grading", server__py="raise SystemExit(1)") / "conformance"
    make(grader, __init____py="", __main____py="raise SystemExit(0)")
    assert grade(folder, out) == 0
    found = rows(out)
    assert float(found["anna"]["percent"]) == float(found["by-ini"]["percent"]) > 0
    assert found["'=crashing"]["percent"] == "0.0", "a name is no formula"
    assert found["self-grading"]["percent"] == "0.0"
    assert "status 3" in found["unbuilt"]["remarks"]
    assert "{port} is missing in the start command" in found["portless"]["remarks"]
    assert "section" in found["odd"]["remarks"]
    assert (out / "anna" / "report-1.html").exists() and (out / "index.html").exists()
    assert not (folder / "by-ini" / "built").exists(), "the hand-in itself is never changed"
    assert "7 of 7" not in capsys.readouterr().out, "three could not be run"
    assert set(board) == {"anna", "by-ini", "=crashing", "self-grading"}
    assert board["anna"]["holds"] == ["R-FRAME-1"] and not board["anna"]["whole"]
    assert board["=crashing"] == {}, "where no server is, there is no result"


def test_a_name_that_the_code_page_lacks_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "in" / "\u0141ukasz", chat__ini="start = x")
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, "cp1252"))
    assert grade(tmp_path / "in", tmp_path / "out") == 0
    assert b"\\u0141ukasz" in shown.getvalue()
    assert "\u0141ukasz" in rows(tmp_path / "out")


class NobodyReads(io.StringIO):
    """Standard output behind `| head`, which has ended."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_where_nobody_reads_the_lines_all_are_graded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("anna", "ben"):
        make(tmp_path / "in" / name, chat__ini="start = x")
    monkeypatch.setattr(sys, "stdout", NobodyReads())
    assert grade(tmp_path / "in", tmp_path / "out") == 0
    assert set(rows(tmp_path / "out")) == {"anna", "ben"}


def test_where_the_table_is_open_elsewhere_all_results_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "in" / "odd", chat__ini="start = x")

    def held(*_: object) -> None:
        raise PermissionError(13, "The process cannot access the file", "grades.csv")

    with monkeypatch.context() as patch:
        patch.setattr(tables, "write", held)
        assert grade(tmp_path / "in", tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert "grades.csv" in told and "type the same with --resume" in told
    assert grade(tmp_path / "in", tmp_path / "out", "--resume") == 0
    assert "section" in rows(tmp_path / "out")["odd"]["remarks"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_what_a_hand_in_left_running_is_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    make(tmp_path / "in" / "forking", server__py=FORKING.format(file=str(pid)), real__py=starter())
    assert grade(tmp_path / "in", tmp_path / "out") == 0
    assert float(rows(tmp_path / "out")["forking"]["percent"]) > 0
    status = Path(f"/proc/{pid.read_text('utf-8')}/status")
    assert not status.exists() or "State:\tZ" in status.read_text("utf-8")


def test_with_resume_only_what_changed_is_graded_anew(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    make(folder / "anna", server__py=starter())
    assert grade(folder, out) == 0
    kept = (out / "anna" / "result.json").stat().st_mtime_ns
    make(folder / "ben", server__py="raise SystemExit(1)")
    assert grade(folder, out) == 2, "OUT holds results"
    assert grade(folder, out, "--resume") == 0
    assert (out / "anna" / "result.json").stat().st_mtime_ns == kept
    assert set(rows(out)) == {"anna", "ben"}
    (folder / "anna" / "server.py").write_text("raise SystemExit(1)", "utf-8")
    assert grade(folder, out, "--resume") == 0
    assert rows(out)["anna"]["percent"] == "0.0"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["in", "-o", "in/out"], "outside"),
        (["missing", "-o", "out"], "can't be read"),
        (["empty", "-o", "out"], "holds no folders"),
        (["in", "-o", "in/anna/server.py"], "outside"),
        (["in", "-o", "file"], "can't be written"),
        (["in", "-o", "out", "--points", "missing"], "can't be read"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_runs(
    words: list[str],
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "in" / "anna", server__py=starter())
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("", "utf-8")
    assert main(["class", *words, *START]) == 2
    assert why in capsys.readouterr().err


def test_a_hand_in_without_a_start_command_is_told_what_to_do(tmp_path: Path) -> None:
    make(tmp_path / "anna", server__py=starter())
    with pytest.raises(hand_in.BadHandIn, match=r"chat\.ini"):
        hand_in.read(tmp_path / "anna", "", "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_links_and_pipes_of_a_hand_in_are_not_read(tmp_path: Path) -> None:
    folder = make(tmp_path / "anna", server__py="x")
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")  # type: ignore[attr-defined,unused-ignore]
    assert [path.name for path in hand_in.files_of(folder)] == ["server.py"]


def test_too_large_a_hand_in_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hand_in, "MOST_BYTES", 10)
    make(tmp_path / "anna", server__py="x" * 11)
    with pytest.raises(hand_in.BadHandIn, match="more than"):
        list(hand_in.files_of(tmp_path / "anna"))


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of Linux")
def test_a_program_may_have_as_many_threads_as_its_limit_says() -> None:
    words = ["--memory=64", "--processes=60", "--", sys.executable, "-c"]
    program = (
        "import threading; stop = threading.Event()\n"
        "threads = [threading.Thread(target=stop.wait) for _ in range(50)]\n"
        "for thread in threads: thread.start()\n"
        "stop.set()"
    )
    command = [sys.executable, limits.__file__, *words, program]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=patience(30), check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of Linux")
@pytest.mark.parametrize(
    ("limit", "program", "came"),
    [
        ("--memory=64", "x = bytearray(200_000_000)", "MemoryError"),
        ("--file-size=1", "open('f', 'wb').write(bytes(2_000_000))", "large"),
        ("--open-files=20", "x = [open('/dev/null') for _ in range(40)]", "Too many open files"),
        pytest.param("--cpu=1", "while True: pass", "", marks=pytest.mark.long),
    ],
)
def test_a_program_is_held_to_its_limits(
    limit: str, program: str, came: str, tmp_path: Path
) -> None:
    command = [sys.executable, limits.__file__, limit, "--", sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=patience(30), check=False
    )
    assert done.returncode != 0 and came in done.stderr


def test_the_port_may_stand_in_the_words_of_wrap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrap = ["run", "-p", "{port}:9876"]
    how = How([1], takes_best=False, kit=(), limit_seconds=1.0, limits=(), wrap=wrap)
    monkeypatch.setattr(Grader, "_wait", lambda *values: 0)
    anna = hand_in.HandIn("anna", tmp_path, "server 9876", "")
    assert "left no report" in str(Grader(how, tmp_path)._run(anna, tmp_path, 1, tmp_path))


def test_a_build_command_may_hold_blanks_in_quotation_marks(tmp_path: Path) -> None:
    make(tmp_path / "in", server__py=starter()).joinpath("my build.py").write_text(
        "import sys; open('built', 'w').write(sys.argv[1])", "utf-8"
    )
    build = f'"{sys.executable}" "my build.py" "a b" && echo built'
    how = How([], takes_best=False, kit=(), limit_seconds=1.0, limits=())
    anna = hand_in.HandIn("anna", tmp_path / "in", "server {port}", build)
    Grader(how, tmp_path)._build(anna, tmp_path / "in", Marked(""))
    assert (tmp_path / "in" / "built").read_text("utf-8") == "a b"


def test_what_cannot_be_started_is_said(tmp_path: Path) -> None:
    command = [sys.executable, limits.__file__, "--", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == limits.CANNOT_START and "can't be started" in done.stderr


def test_copies_are_found_and_the_starter_is_not_blamed_on_two_who_began_with_it(
    tmp_path: Path,
) -> None:
    own = "\n".join(f"def own_{number}(): return {number}" for number in range(60))
    text = starter()
    folders = {
        "anna": make(tmp_path / "anna", server__py=text + own),
        "ben": make(tmp_path / "ben", server__py=own.replace("    ", "\t") + "\n# mine\n" + text),
        "carla": make(tmp_path / "carla", server__py=text),
    }
    pieces = {name: likeness.pieces_of(folder) for name, folder in folders.items()}
    known = {"a starter": likeness.pieces_of(STARTER.parent)}
    found = {(pair.one, pair.other) for pair in likeness.compare(pieces, known)}
    assert ("anna", "ben") in found and ("carla", "a starter") in found
    assert ("anna", "carla") not in found


def a_run(*fails: tuple[str, str], percent: float = 50.0) -> Run:
    return Run(1, percent, 1.0, 2.0, fails, 0, {"R-FRAME-1": "fail"}, 1.0)


def test_hand_ins_that_fail_alike_are_told_and_hostile_names_stay_text() -> None:
    fail = ("R-FRAME-1", "frames.one")
    hostile = "<script>alert(1)</script>"
    results = [
        Result("a", "", (), a_run(fail)),
        Result(hostile, "", (), a_run(fail), notes=("<b>",)),
        Result("c", "", (), a_run()),
        Result("d", "", why="no <build>"),
    ]
    assert tables.alike_failures(results) == [(("R-FRAME-1",), ["a", hostile])]
    page = tables.page(results, [Alike("a", hostile, 0.9)])
    assert "<script>" not in page and "<b>" not in page and "<build>" not in page
    assert "90 %" in page and "compared with" not in page


def test_the_page_says_what_hand_ins_could_not_be_compared_with() -> None:
    for alike in ([], [Alike("a", "b", 0.9)]):
        page = tables.page([Result("a", "", (), a_run())], alike, ["a <starter>"])
        assert "Nobody's source was compared with a &lt;starter&gt;" in page


def test_a_result_is_read_back_as_it_was_written() -> None:
    run = a_run(("R-FRAME-1", "frames.one"))
    result = Result("a", "mark", (run,), run, notes=("x",))
    again = Result.from_json(result.to_json())
    assert (again.name, again.percent, again.taken) == ("a", 50.0, again.runs[0])
    assert tuple(again.runs[0].fails) == tuple(run.fails)


def test_the_packed_kit_grades_a_class(tmp_path: Path) -> None:
    make(tmp_path / "in" / "anna", server__py=starter())
    packed = tmp_path / "kit"
    shutil.copytree(
        ROOT / "conformance", packed / "conformance", ignore=shutil.ignore_patterns("__pycache__")
    )
    if (ROOT / "webpage").is_dir():
        shutil.copytree(ROOT / "webpage", packed / "webpage")
    (packed / "__main__.py").write_text(
        "import sys\nfrom conformance.__main__ import main\nsys.exit(main())\n", "utf-8"
    )
    archive = tmp_path / "kit.pyz"
    subprocess.run([sys.executable, "-m", "zipapp", packed, "-o", archive], check=True)
    command = [sys.executable, str(archive), "class", "in", "-o", "out", *START, *ONE_RULE]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert float(rows(tmp_path / "out")["anna"]["percent"]) > 0
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert page.count("Nobody's source was compared with") == 2


def test_sixty_hand_ins_of_a_class_are_made(tmp_path: Path) -> None:
    """The class of 60 that is graded by hand, twice, before a release (docs/RELEASING.md)."""
    made = sixty_hand_ins.make(tmp_path)
    read = [hand_in.read(folder, "", "") for folder in made]
    assert len(read) == len({one.name for one in read}) == 60
    assert {"hung", "forking", "without-a-build", "our-own-server"} <= {one.name for one in read}
    assert all((one.folder / "support").exists() for one in read if one.name[:6] == "fault-")
