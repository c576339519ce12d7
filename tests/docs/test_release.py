"""What stands in several places about a version is the same in all of them: its number, its date,
the Pythons it runs on, and how it is tested and checked."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import protocol

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text("utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")
WORKFLOW = (ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")


def test_the_version_is_the_same_everywhere() -> None:
    assert f'\nversion = "{protocol.VERSION}"\n' in PYPROJECT
    headings = re.findall(r"^## \[(.+?)\](.*)$", CHANGELOG, re.MULTILINE)
    released = [(number, rest) for number, rest in headings if number != "Unreleased"]
    assert released[0][0] == protocol.VERSION
    for number, rest in released:
        assert re.fullmatch(r" - \d{4}-\d{2}-\d{2}", rest), f"{number} has no date"
    dates = [rest for _, rest in released]
    assert dates == sorted(dates, reverse=True), "newest first"


def test_the_oldest_python_is_the_same_everywhere() -> None:
    asked = re.search(r'requires-python = ">=(3\.\d+)"', PYPROJECT)
    target = re.search(r'target-version = "py(3)(\d+)"', PYPROJECT)
    tested = re.search(r"python: \[(.+)\]", WORKFLOW)
    assert asked is not None and target is not None and tested is not None
    assert asked[1] == ".".join(target.groups())
    assert tested[1].split(", ")[0].strip('"') == asked[1]
    assert f"(https://www.python.org/downloads/) {asked[1]} or newer" in README


def test_the_workflow_runs_the_commands_of_readme() -> None:
    run = re.findall(r"^ +- run: (.+)$", WORKFLOW, re.MULTILINE)
    assert set(run) - {"make check"} <= set(README.splitlines())


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
    spec = importlib.util.spec_from_file_location("check", ROOT / "tools" / "check.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_where_the_tools_cannot_be_installed_the_check_fails_in_one_line(
    check: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def no_network(*command: str) -> None:
        if "pip" in command:
            raise subprocess.CalledProcessError(1, command, "WARNING: tried\nERROR: no route\n")

    monkeypatch.setattr(check, "FOLDER", tmp_path / "environment")
    monkeypatch.setattr("environments._run", no_network)
    assert check.main() == 2
    shown = capsys.readouterr()
    assert re.fullmatch(
        r"make check: cannot install ruff==\S+ and mypy==\S+; is there a network\?"
        r" ERROR: no route\n",
        shown.err,
    )
    assert not (tmp_path / "environment" / "ready").exists()


def test_a_check_that_fails_is_named_and_the_others_run(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run: list[str] = []

    def one_fails(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        run.append(" ".join(command[2:]))
        return subprocess.CompletedProcess(command, int("win32" in command))

    monkeypatch.setattr(check, "prepare", lambda *_: sys.executable)
    monkeypatch.setattr(check.subprocess, "run", one_fails)
    assert check.main() == 1
    assert run == [
        "ruff format --check .",
        "ruff check .",
        "mypy --platform linux",
        "mypy --platform win32",
        "mypy --platform darwin",
    ]
    assert capsys.readouterr().err == "make check: failed: mypy --platform win32\n"


@pytest.fixture
def windows_python(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    # not syspath_prepend: what it asks of importlib fails in some releases of 3.12
    monkeypatch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
    spec = importlib.util.spec_from_file_location(
        "windows_python", ROOT / "tools" / "windows_python.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_where_wine_is_missing_one_line_says_what_to_install(
    windows_python: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(windows_python, "ROOT", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert windows_python.main(["--smoke"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "wine, x86_64-w64-mingw32-gcc" in said
    assert "apt-get install wine" in said
    assert list(tmp_path.iterdir()) == [], "nothing was begun"


def test_a_python_of_the_same_version_lends_its_library(windows_python: ModuleType) -> None:
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert (windows_python._library_of(here) / "os.py").is_file()
    with pytest.raises(windows_python.CannotMake, match=r"no Python 3\.99 on this machine"):
        windows_python._library_of("3.99")


def test_the_smoke_test_names_tests_that_exist(windows_python: ModuleType) -> None:
    for target in windows_python.SMOKE:
        file, _, test = target.partition("::")
        assert (
            f"def {test}(" in (ROOT / file).read_text("utf-8") if test else (ROOT / file).is_file()
        )
