"""Recordings: what passed is written, read and shown again, without passwords."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.patience import patience, until
from support.relays import Events, Line, Listener, relay_before

from conformance.__main__ import main
from conformance.packets import encode, frame
from conformance.relay import playing
from conformance.relay.acts import Acts
from conformance.relay.faults import parse
from conformance.relay.frames import Piece
from conformance.relay.recording import BadRecording, Recorder, Recording, read_file
from conformance.relay.steering import Steering
from conformance.relay.story import Story
from conformance.relay.traffic import Closed, Instead, Item, Opened, Passed, Remark, Traffic
from storage.journal import Journal
from webpage import ActRefused

PING = {"action": "ping"}
LOGIN = {"action": "login", "data": {"chatid": "ada", "password": "hush"}}
ITEMS: list[Item] = [
    Opened(0.0, 1, "127.0.0.1:5"),
    Passed(0.01, 1, 1, True, Piece(encode(PING), True)),
    Passed(0.02, 1, 2, True, Piece(encode(PING), True), "drop", ()),
    Passed(0.03, 1, 3, False, Piece(encode(PING), True), "duplicate", (encode(PING),) * 2),
    Passed(0.04, 1, 4, False, Piece(b"GET /", False), is_held=True),
    Instead(0.05, 4, (encode(PING),)),
    Remark(0.06, 2, "said"),
    Closed(0.07, 1, "closed by the client"),
]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "lesson.frames")


def write(path: str, items: list[Item]) -> None:
    recorder = Recorder(path, {"target": "here"})
    for item in items:
        recorder(item)
    recorder.close()


def test_what_is_written_is_read(path: str) -> None:
    write(path, ITEMS)
    recording = read_file(path)
    assert recording.items == ITEMS
    assert recording.about["target"] == "here" and recording.began > 0
    assert recording.length == 0.07


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_recording_is_for_its_owner_only(path: str) -> None:
    write(path, ITEMS)
    assert os.stat(path).st_mode & 0o077 == 0


@pytest.mark.parametrize("count", range(1, 60, 7))
def test_a_recording_that_was_cut_off_is_read_up_to_there(path: str, count: int) -> None:
    write(path, ITEMS)
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[:-count])
    items = read_file(path).items
    assert items == ITEMS[: len(items)] and 0 < len(items) < len(ITEMS)


def test_a_live_relay_is_recorded_without_passwords(path: str) -> None:
    listener = Listener()
    recorder = Recorder(path, {})
    options: Any = {"observers": [recorder], "faults": [parse("id login_success")]}
    with relay_before(listener.port, **options) as under_test:
        line = Line(listener, under_test)
        line.to_server(LOGIN)
        line.at_server()
        line.to_client(
            {"action": "login_success", "data": {"transaction_id": "t", "session_key": "hush"}}
        )
        line.at_client()
        line.client.sendall(b'\0\0\0\0"password":"hush"')
        under_test.events.wait_kind("raw")
        line.client.close()
        line.server.close()
    listener.close()
    recorder.close()
    assert b"hush" not in Path(path).read_bytes()
    passed = [each for each in read_file(path).items if isinstance(each, Passed)]
    assert [(each.to_server, each.fault) for each in passed] == [
        (True, ""),
        (False, "id"),
        (True, ""),
    ]
    assert len(passed[0].piece.data) == len(encode(LOGIN))


def test_a_recording_that_can_not_be_written_on_stops_and_the_relay_goes_on(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder(path, {})
    recorder._file.close()

    class Full:
        def write(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

    recorder._file = Full()  # type: ignore[assignment]
    recorder(ITEMS[0])
    recorder(ITEMS[1])
    assert capsys.readouterr().err.count("ends here: [Errno 28]") == 1


def test_a_journal_of_the_server_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for second in (1, 3):
        data = {"content": "x", "timestamp": f"2026-11-23T12:00:0{second}Z"}
        journal.append(1, "2026-11-23", encode({"action": "receive_message", "data": data}))
    journal.append(1, "2026-11-23", encode({"action": "receive_file", "data": {"timestamp": "?"}}))
    journal.close()
    recording = read_file(str(journal.path(1, "2026-11-23")))
    assert [item.at for item in recording.items] == [0.0, 0.0, 2.0, 2.0]
    assert recording.began == 1795435201.0


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is no recording: expected what relay --record wrote"),
        (b"GET / HTTP/1.1", "is no recording"),
        (encode({"recording": 2}), "made by a newer kit (version 2)"),
        (encode({"recording": 1}) + frame(b"x"), "is damaged"),
        (encode({"recording": 1}) + encode({"kind": "frame"}), "is damaged"),
        (encode({"recording": 1}) + encode({"kind": "open", "at": "x"}), "is damaged"),
    ],
)
def test_a_file_that_is_none_is_told(path: str, data: bytes, expected: str) -> None:
    Path(path).write_bytes(data)
    with pytest.raises(BadRecording) as caught:
        read_file(path)
    assert expected in str(caught.value)


# --- Playing --------------------------------------------------------------------------------------


class Replay:
    """A recording that is shown to `events`, and the acts of its page."""

    def __init__(self, items: list[Item], speed: float) -> None:
        self.events = Events()
        self.story = Story([self.events])
        self.traffic = Traffic([self.story], has_ticks=False)
        self.player = playing.Player(Recording({}, items), self.traffic, speed)
        steering = Steering(self.traffic)
        self.acts = Acts(self.story, steering, None, "a file", "here", ActRefused, self.player)
        self.traffic.start()


@contextlib.contextmanager
def replay(items: list[Item], speed: float = 10.0) -> Iterator[Replay]:
    shown = Replay(items, speed)
    yield shown
    shown.player.close()
    shown.traffic.end()


def test_a_recording_is_shown_as_it_passed() -> None:
    with replay(ITEMS) as shown:
        shown.player.start()
        assert shown.player.done.wait(patience(5))
        shown.events.wait_kind("close")
        kinds = [each["kind"] for each in shown.events.all() if each["kind"] != "replay"]
        assert kinds == ["open", "frame", "frame", "frame", "raw", "came_of", "came_of", "close"]
        assert [each["time"] for each in shown.events.all("frame")] == [0.01, 0.02, 0.03]
        assert shown.acts.state()["replay"]["length"] == 0.07


def test_a_replay_is_paused_goes_on_and_changes_its_speed() -> None:
    items: list[Item] = [ITEMS[0], Closed(4.0, 1, "late")]
    with replay(items, 0.1) as shown:
        act = shown.acts.all["replay"]
        act({"do": "pause"})
        shown.player.start()
        act({"do": "speed", "speed": 99})
        assert shown.acts.state()["replay"]["speed"] == 10.0
        assert not shown.player.done.is_set() and not shown.events.all("close")
        act({"do": "go"})
        shown.events.wait_kind("close")
        for bad in ({}, {"do": "back"}, {"do": "speed", "speed": "x"}, {"do": "speed"}):
            with pytest.raises(ActRefused):
                act(bad)
        with pytest.raises(ActRefused, match="This is a recording"):
            shown.acts.all["step"]({"do": "on"})


def test_a_replay_begins_when_somebody_looks_and_begins_again_when_asked() -> None:
    lost: list[Item] = [*ITEMS[:3], Closed(3.0, 1, "late")]
    with replay(lost, 0.1) as shown:
        assert not shown.events.all()
        assert shown.acts.state()["replay"]["round"] == 1
        shown.acts.state()
        shown.events.wait_kind("frame", row=2)
        shown.acts.all["replay"]({"do": "again"})
        shown.events.wait_kind("replay", round=2)
        until(lambda: len(shown.events.all("open")) == 2, "it does not begin again")
        assert not shown.events.all("close")
        shown.acts.all["replay"]({"do": "speed", "speed": 10})
        shown.events.wait_kind("close")
        assert shown.player.done.wait(patience(5))
        shown.acts.all["replay"]({"do": "again"})
        until(lambda: len(shown.events.all("close")) == 2, "it does not begin again at its end")


def test_a_long_pause_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playing, "PAUSE_SECONDS", 0.1)
    with replay([ITEMS[0], Closed(3600.0, 1, "late")]) as shown:
        shown.player.start()
        shown.events.wait_kind("close")


def test_a_replay_is_ended_in_the_middle() -> None:
    with replay([ITEMS[0], Closed(4.0, 1, "late")], 0.1) as shown:
        shown.player.start()
        shown.events.wait_kind("open")
    assert not shown.events.all("close")
    until(
        lambda: not [each for each in threading.enumerate() if each.name == "relay-player"],
        "the player's thread goes on",
    )


# --- The command line -----------------------------------------------------------------------------


def test_play_shows_a_file_to_its_end(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(path, ITEMS)
    assert main(["relay", "--play", path, "--speed", "10"]) == 0
    said = capsys.readouterr().out
    assert "8 events in 0.1 s" in said and "row 2: said" in said
    assert said.endswith("what came of them: 1 edited, 1 said, 1 lost\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--play", "none.frames"], "none.frames can't be read: No such file"),
        (["--play", "none.frames", "--speed", "50"], "--speed 50: expected 0.1 to 10"),
        (["0", "127.0.0.1:1", "--step"], "--step needs --page PORT"),
        (["0", "127.0.0.1:1", "--record", "no/such/folder"], "can't be written: No such file"),
    ],
)
def test_what_can_not_be_done_is_said(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["relay", *words]) == 2
    assert expected in capsys.readouterr().err


def test_a_recording_can_be_listed_as_frames(path: str) -> None:
    write(path, ITEMS)
    data = Path(path).read_bytes()
    length = int.from_bytes(data[:4], "big")
    assert json.loads(data[4 : 4 + length])["recording"] == 1
