"""`storage.journal`: whole frames or none, whatever breaks off in between."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import storage.journal as journal_module
from storage.errors import StorageError, StorageFull
from storage.journal import Journal

DAY = "2026-11-23"


def frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path)
    yield opened
    opened.close()


def test_frames_lie_per_room_and_day_as_on_the_wire(tmp_path: Path, journal: Journal) -> None:
    journal.append(1, DAY, frame(b"{one}"))
    journal.append(1, DAY, frame(b"{two}") + frame(b"{three}"))
    journal.append(2, "2026-11-24", frame(b"{x}"))
    path = tmp_path / "room-000001" / f"{DAY}.frames"
    assert path == journal.path(1, DAY)
    assert path.read_bytes() == frame(b"{one}") + frame(b"{two}") + frame(b"{three}")
    assert list(journal.read(path)) == [b"{one}", b"{two}", b"{three}"]
    assert list(journal.read(tmp_path / "room-000002" / "2026-11-24.frames")) == [b"{x}"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_the_journal_is_for_its_owner_alone(tmp_path: Path, journal: Journal) -> None:
    journal.append(1, DAY, frame(b"{}"))
    assert journal.path(1, DAY).stat().st_mode & 0o777 == 0o600
    assert journal.path(1, DAY).parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("day", ["", "../../x", "2026-11-23/x", "２０２６-11-23", "2026-11-23\n"])
def test_only_a_day_becomes_a_file_name(journal: Journal, day: str) -> None:
    with pytest.raises(ValueError, match="YYYY-MM-DD"):
        journal.append(1, day, frame(b"{}"))


def test_few_files_are_open_at_once_and_each_goes_on_where_it_was(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "MAX_OPEN_FILES", 2)
    for turn in range(3):
        for room in (1, 2, 3, 1):
            journal.append(room, DAY, frame(b"{%d}" % turn))
            assert len(journal._open) <= 2
    assert list(journal.read(journal.path(3, DAY))) == [b"{0}", b"{1}", b"{2}"]
    journal.close()
    journal.append(3, DAY, frame(b"{3}"))
    assert len(list(journal.read(journal.path(3, DAY)))) == 4


def test_the_days_of_all_rooms_are_listed_oldest_first(tmp_path: Path, journal: Journal) -> None:
    for room, day in ((2, DAY), (1, "2026-11-24"), (1, DAY)):
        journal.append(room, day, frame(b"{}"))
    (tmp_path / "room-foreign").mkdir()
    (tmp_path / "room-foreign" / f"{DAY}.frames").touch()
    (tmp_path / "room-000001" / "notes.frames").touch()
    assert [(room, day) for room, day, _ in journal.days()] == [
        (1, DAY),
        (1, "2026-11-24"),
        (2, DAY),
    ]


WHOLE = frame(b"{one}") + frame(b"{two}")
LAST = frame(b"{the last one}")


@pytest.mark.parametrize("kept", range(len(LAST)))
def test_a_frame_cut_at_any_byte_is_taken_away_and_the_rest_kept(
    journal: Journal, kept: int
) -> None:
    journal.append(1, DAY, WHOLE + LAST[:kept])
    assert list(journal.read(journal.path(1, DAY))) == [b"{one}", b"{two}"]
    assert journal.repair_room(1) == (1 if kept else 0)
    assert journal.path(1, DAY).read_bytes() == WHOLE
    journal.append(1, DAY, LAST)
    assert list(journal.read(journal.path(1, DAY))) == [b"{one}", b"{two}", b"{the last one}"]


@pytest.mark.parametrize(
    "tail", [bytes(3), bytes(4), bytes(4096), (9).to_bytes(4, "big") + bytes(9), b"\xff" * 50]
)
def test_what_a_power_cut_left_is_cut_away(journal: Journal, tail: bytes) -> None:
    journal.append(1, DAY, WHOLE + tail)
    assert journal.repair_room(1) == 1
    assert journal.path(1, DAY).read_bytes() == WHOLE
    assert journal.repair_room(1) == 0


def test_of_each_room_the_file_last_written_and_the_latest_day_are_repaired(
    tmp_path: Path, journal: Journal
) -> None:
    for day in ("2026-01-01", "2026-01-02", "2026-01-03"):
        journal.append(1, day, WHOLE + b"half")
        os.utime(journal.path(1, day), (1000, 2000 if day == "2026-01-02" else 1000))
    (tmp_path / "room-000002").mkdir()
    assert (journal.repair_room(1), journal.repair_room(2)) == (2, 0)
    assert [journal.path(1, f"2026-01-0{day}").read_bytes() == WHOLE for day in (1, 2, 3)] == [
        False,
        True,
        True,
    ]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_in_the_journal_is_left_alone(tmp_path: Path, journal: Journal) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"half")
    path = journal.path(1, DAY)
    path.parent.mkdir()
    path.symlink_to(target)
    assert journal.repair_room(1) == 0
    with pytest.raises(StorageError):
        journal.append(1, DAY, frame(b"{}"))
    assert target.read_bytes() == b"half"


def test_a_file_that_cannot_be_repaired_is_named(journal: Journal) -> None:
    journal.path(1, DAY).mkdir(parents=True)
    with pytest.raises(StorageError, match="repairing the journal"):
        journal.repair_room(1)


def test_the_tail_has_the_last_payloads_that_fit_but_at_least_one(journal: Journal) -> None:
    assert journal.tail(1, DAY, 100) == []
    for number in range(5):
        journal.append(1, DAY, frame(b"{%d}" % number))
    assert journal.tail(1, DAY, 100) == [b"{0}", b"{1}", b"{2}", b"{3}", b"{4}"]
    assert journal.tail(1, DAY, 7) == [b"{3}", b"{4}"]
    assert journal.tail(1, DAY, 0) == [b"{4}"]


def break_writes(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    real = os.write
    written: list[int] = []

    def write(descriptor: int, data: Any) -> int:
        if written:
            raise OSError(number, "made up")
        written.append(real(descriptor, data[:6]))
        return written[-1]

    monkeypatch.setattr(os, "write", write)


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOSPC, StorageFull), (errno.EIO, StorageError)]
)
def test_a_write_that_fails_midway_leaves_no_half_frame(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[StorageError]
) -> None:
    journal.append(1, DAY, frame(b"{one}"))
    with monkeypatch.context() as patched:
        break_writes(patched, number)
        with pytest.raises(StorageError, match="writing the journal") as caught:
            journal.append(1, DAY, frame(b"{two}"))
        assert type(caught.value) is expected
    journal.append(1, DAY, frame(b"{three}"))
    assert list(journal.read(journal.path(1, DAY))) == [b"{one}", b"{three}"]


def test_a_file_that_cannot_even_be_cut_back_gets_no_more_frames(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append(1, DAY, frame(b"{one}"))
    with monkeypatch.context() as patched:
        break_writes(patched, errno.EIO)
        patched.setattr(os, "ftruncate", lambda *_: os.stat("/no/such/path"))
        with pytest.raises(StorageError):
            journal.append(1, DAY, frame(b"{two}"))
    journal.append(1, DAY, frame(b"{three}"))
    assert list(journal.read(journal.path(1, DAY))) == [b"{three}"]
    assert list(journal.read(journal.path(1, DAY).with_suffix(".broken"))) == [b"{one}"]


def test_a_large_file_is_made_short_in_slices_before_it_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "SLICE_BYTES", 100)
    journal = Journal(tmp_path)
    journal.append(1, "2026-11-23", b"x" * 250)
    sizes: list[int] = []
    real = os.truncate
    monkeypatch.setattr(os, "truncate", lambda path, size: (sizes.append(size), real(path, size)))
    path = journal.path(1, "2026-11-23")
    journal.empty(path)
    assert sizes == [150, 50]
    journal.remove(path)
    assert not path.parent.exists()
    journal.empty(path)  # gone already: nothing to do


def test_frames_that_are_none_of_ours_are_left_alone(journal: Journal) -> None:
    data = b'"data":{"room_id":"lobby","file_path":"a","timestamp":"now"}'
    texts = [b"{%s}" % data, b'{"action":"receive_file",%s}' % data, b"[1]", b"no JSON"]
    journal.append(1, DAY, b"".join(map(frame, texts)))
    journal.close()
    assert journal.forget_up_to(0, {("lobby", "a", "now")}, cut=False) == 1
    left = list(journal.read(journal.path(1, DAY)))
    assert [left[0], *left[2:]] == [texts[0], *texts[2:]] and b"lobby" not in left[1]
