"""The recordings of docs/lessons show what their pages say; their cases find the mistakes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.in_process import Serve
from support.kit_parts import verdicts_of
from support.lesson_servers import SERVERS

from conformance.__main__ import main
from conformance.relay import drawing
from conformance.relay.casemaking import to_case
from conformance.relay.frames import Piece
from conformance.relay.recording import BadRecording, read_file
from conformance.relay.recording_command import events_of
from conformance.relay.traffic import Passed
from conformance.server import runner
from conformance.server.cases import load_file
from conformance.verdicts import Report, Verdict

LESSONS = Path(__file__).resolve().parents[2] / "docs" / "lessons"
RECORDINGS = sorted(LESSONS.glob("*.frames"))
BROKEN = {"early_ack": "R-ORDER-1", "order_by_time": "R-ORDER-2", "half_frame": "R-FRAME-2"}
"""By recording: the rule that its server breaks."""


def actions(name: str) -> list[str]:
    events = events_of(read_file(str(LESSONS / f"{name}.frames")))
    return [each["action"] for each in events if each["kind"] == "frame"]


def came_of(name: str) -> str:
    events = events_of(read_file(str(LESSONS / f"{name}.frames")))
    return "; ".join(each["text"] for each in events if each["kind"] == "came_of")


def test_each_lesson_has_a_recording_a_picture_and_a_page_that_names_both() -> None:
    assert len(RECORDINGS) == 6
    pages = "".join(page.read_text("utf-8") for page in sorted(LESSONS.glob("*.md")))
    for path in RECORDINGS:
        assert f"({path.stem}.svg)" in pages, path.stem
        assert f"docs/lessons/{path.name}" in pages, path.stem


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_the_pictures_are_those_of_the_recordings(path: Path) -> None:
    recording = read_file(str(path))
    svg = drawing.to_svg(events_of(recording), str(recording.about["title"]))
    assert path.with_suffix(".svg").read_text("utf-8") == svg
    assert b"a password" not in path.read_bytes()


def test_the_recordings_show_what_they_are_for() -> None:
    assert "sent again" in came_of("handshake") and "stored once" in came_of("handshake")
    assert "counts disagreed" in came_of("counts") and "not noticed" in came_of("counts")
    assert actions("early_ack")[-5:-1] == ["ack", "get_messages", "messages_list", "get_messages"]
    assert actions("half_frame")[-1] == "error"


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """By recording with a mistake: the file of the case that is made of it."""
    folder = tmp_path_factory.mktemp("cases")
    made = {}
    for name in BROKEN:
        made[name] = str(folder / f"{name}.py")
        recording = str(LESSONS / f"{name}.frames")
        assert main(["recording", recording, "--case", name, "-o", made[name]]) == 0
    return made


def run(port: int, file: str) -> Report:
    return runner.run(runner.Options("127.0.0.1", port, seed=3), load_file(file))


@pytest.mark.parametrize("name", BROKEN)
def test_the_case_of_a_recording_fails_on_the_mistake(name: str, cases: dict[str, str]) -> None:
    server = SERVERS[name]().start()
    try:
        report = run(server.port, cases[name])
    finally:
        server.stop()
    verdicts = verdicts_of(report)
    failed = {rule for rule, verdict in verdicts.items() if verdict is Verdict.FAIL}
    assert failed == {BROKEN[name]}, [each.actual for each in report.outcomes]


def test_the_cases_of_recordings_pass_on_our_server(serve: Serve, cases: dict[str, str]) -> None:
    service = serve(rate_limit=0)
    for file in [*cases.values()]:
        report = run(service.listener.port, file)
        assert [each.verdict for each in report.outcomes] == [Verdict.PASS], report.outcomes


@pytest.mark.parametrize("name", ["handshake", "counts"])
def test_a_lesson_without_a_mistake_makes_a_case_that_passes(
    name: str, serve: Serve, tmp_path: Path
) -> None:
    recording = read_file(str(LESSONS / f"{name}.frames"))
    file = tmp_path / f"{name}.py"
    file.write_text(to_case(recording.items, name, 'a "title"\\\n', "x"), "utf-8")
    report = run(serve(rate_limit=0).listener.port, str(file))
    assert [each.verdict for each in report.outcomes] == [Verdict.PASS], report.outcomes


def test_no_case_can_be_made_of_nothing(tmp_path: Path) -> None:
    recording = read_file(str(LESSONS / "frames.frames"))
    with pytest.raises(BadRecording, match="no message in it"):
        to_case(recording.items, "name", "title", "file")
    for name in ("two words", "class", ""):
        with pytest.raises(BadRecording, match="expected a name as for a function"):
            to_case(recording.items, name, "title", "file")
    unreadable = Passed(0.0, 1, 1, True, Piece(b"\0\0\0\1x", True))
    with pytest.raises(BadRecording, match="no message in it"):
        to_case([unreadable], "name", "title", "file")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "has no case: `recording FILE --case NAME` makes one"),
        ("def (", "can't be read: invalid syntax"),
        ("import nothing_of_this_name", "can't be read: No module named"),
    ],
)
def test_a_file_without_cases_is_told(
    tmp_path: Path, text: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.py"
    file.write_text(text, "utf-8")
    assert main(["server", "127.0.0.1:1", "--with", str(file)]) == 2
    assert expected in capsys.readouterr().err
    assert main(["server", "127.0.0.1:1", "--with", "none.py"]) == 2
    assert "expected a Python file with cases" in capsys.readouterr().err


def test_the_case_is_listed_under_its_name(
    cases: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["server", "127.0.0.1:1", "--with", cases["early_ack"], "--list"]) == 0
    assert re.search(r"R-ORDER-1 .* own\.early_ack", capsys.readouterr().out)
