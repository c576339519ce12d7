"""`starter` writes a small server to begin with, never over another file, and says what is next."""

from __future__ import annotations

import errno
import importlib.util
import re
import sys
import zipfile
import zipimport
from pathlib import Path

import pytest

from conformance import own_name, starters
from conformance.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "starter"
BUILT = {"chat", "chat.exe", "build", "__pycache__"}
"""What building and starting leaves in the folder of a starter (.gitignore)."""


def test_a_starter_is_written_and_the_next_command_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["starter", "python"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["PROTOCOL.md", "server.py"]
    server = tmp_path / "server.py"
    assert server.read_bytes() == (EXAMPLES / "python" / "server.py").read_bytes()
    shown = capsys.readouterr().out
    assert f"{own_name.PYTHON} server.py 9876" in shown and "Build" not in shown
    assert f"{own_name.PYTHON} server.py {{port}}" in shown and "--account anna:pw-anna" in shown
    assert shown.endswith("--stage next\n")


def test_a_starter_that_is_built_says_how_and_is_never_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "deep" / "mine"
    mine.mkdir(parents=True)
    (mine / "server.c").write_text("mine", "utf-8")
    assert main(["starter", "c", str(mine)]) == 0
    assert (mine / "server.c").read_text("utf-8") == "mine" and (mine / "json.h").exists()
    shown = capsys.readouterr().out
    assert f"not written: {mine / 'server.c'} is there already" in shown
    assert "  cc -pthread -o " in shown and f"{mine / 'chat'}" in shown


def test_where_nothing_can_be_written_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert main(["starter", "go", str(tmp_path / "file")]) == 2
    assert "can't be written" in capsys.readouterr().err

    def full_disk(path: Path, data: bytes) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(starters, "_written", full_disk)
        assert main(["starter", "go", str(tmp_path)]) == 2
    assert f"{tmp_path} can't be written: No space left" in capsys.readouterr().err
    assert main(["starter", "go", "--", "x"]) == 2
    monkeypatch.setattr(starters, "ROOT", str(tmp_path))
    assert main(["starter", "go", str(tmp_path / "new")]) == 2
    assert "examples/starter" in capsys.readouterr().err and not (tmp_path / "new").exists()


@pytest.mark.parametrize("language", starters.STARTERS)
def test_each_starter_is_there_as_its_page_says(language: str) -> None:
    starter = starters.STARTERS[language]
    assert set(starter.files) == {path.name for path in (EXAMPLES / language).iterdir()} - BUILT
    rows = (EXAMPLES / "README.md").read_text("utf-8").splitlines()
    row = next(row for row in rows if f"({language}/" in row and row.startswith("|"))
    start = " ".join(starter.start).format(here="", chat="./chat", python="python")
    assert f"`{start} 9876`" in row
    build = " ".join(starter.build).format(here="", chat="chat").replace("Server.java Json", "*")
    assert build in row


def test_the_languages_are_those_of_the_examples() -> None:
    page = (EXAMPLES / "README.md").read_text("utf-8")
    assert set(starters.STARTERS) == set(re.findall(r"^\| \[`(\w+)/", page, re.MULTILINE))


def test_a_packed_kit_has_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert "cp -R examples/starter build/kit/examples" in makefile
    assert "cp docs/PROTOCOL.md build/kit/docs" in makefile
    packed = tmp_path / "kit.pyz"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(Path(starters.__file__), "conformance/starters.py")
        archive.write(EXAMPLES / "go" / "server.go", "examples/starter/go/server.go")
    spec = zipimport.zipimporter(str(packed / "conformance")).find_spec("starters")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "starters", module)
    spec.loader.exec_module(module)
    assert b"package main" in module._read("examples", "starter", "go", "server.go")
    with pytest.raises(OSError, match=r"server\.rb"):
        module._read("examples", "starter", "ruby", "server.rb")
