"""Giving a finished file its name: never over another, and also while a scanner holds it; Windows'
way is forced on every machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from client.base import files


class WindowsRename:
    """`os.rename` and `os.replace` of Windows: a target that is there is refused by the first, and
    a file that is held open by both, which a scanner does for the first `held` calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
        self.held, self.calls = held, 0
        self._replace = os.replace
        monkeypatch.setattr(files, "_is_windows", True)
        monkeypatch.setattr(files, "PAUSE_SECONDS", 0)
        monkeypatch.setattr(os, "rename", self.rename)
        monkeypatch.setattr(os, "replace", self.replace)

    def rename(self, source: Path, target: Path) -> None:
        if target.exists():
            raise FileExistsError(17, "Cannot create a file when that file already exists")
        self.replace(source, target)

    def replace(self, source: Path, target: Path) -> None:
        self.calls += 1
        if self.calls <= self.held:
            raise PermissionError(13, "The process cannot access the file")
        self._replace(source, target)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / ".part"
    path.write_text("new")
    return path


@pytest.mark.parametrize("windows", [False, True])
def test_a_new_name_is_never_that_of_another_file(
    source: Path, monkeypatch: pytest.MonkeyPatch, windows: bool
) -> None:
    if windows:
        WindowsRename(monkeypatch, 0)
    old, target = source.with_name("old"), source.with_name("new")
    old.write_text("old")
    with pytest.raises(FileExistsError):
        files.name_new(source, old)
    files.name_new(source, target)
    assert (old.read_text(), target.read_text(), source.exists()) == ("old", "new", False)


def test_windows_makes_no_file_that_a_scanner_could_open_before_it_is_whole(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = source.with_name("new")
    system = WindowsRename(monkeypatch, 0)
    seen: list[bool] = []
    rename = system.rename
    monkeypatch.setattr(os, "rename", lambda *names: (seen.append(target.exists()), rename(*names)))
    files.name_new(source, target)
    assert seen == [False] and target.read_text() == "new"


def test_a_file_that_a_scanner_holds_is_tried_again(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = WindowsRename(monkeypatch, 3)
    files.replace(source, source.with_name("new"))
    assert system.calls == 4 and source.with_name("new").read_text() == "new"


def test_a_file_that_stays_held_is_an_error_in_the_end(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WindowsRename(monkeypatch, 1_000_000)
    monkeypatch.setattr(files, "PATIENCE_SECONDS", -1)
    with pytest.raises(PermissionError):
        files.name_new(source, source.with_name("new"))
    assert source.exists()


def test_elsewhere_a_refusal_is_final(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = WindowsRename(monkeypatch, 1)
    monkeypatch.setattr(files, "_is_windows", False)
    with pytest.raises(PermissionError):
        files.replace(source, source.with_name("new"))
    assert system.calls == 1


def test_what_stays_held_is_left_and_what_is_gone_is_no_error(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WindowsRename(monkeypatch, 0)
    unlink, calls = os.unlink, list[Path]()

    def held_twice(path: Path) -> None:
        calls.append(path)
        if len(calls) < 3:
            raise PermissionError(13, "The process cannot access the file")
        unlink(path)

    monkeypatch.setattr(os, "unlink", held_twice)
    with monkeypatch.context() as patch:
        patch.setattr(files, "PATIENCE_SECONDS", -1)
        files.remove(source)
    assert source.exists() and len(calls) == 1
    files.remove(source)
    assert not source.exists() and len(calls) == 3
    files.remove(source)
