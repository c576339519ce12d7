"""A command line and its words, as on Linux and as on Windows, on every machine."""

from __future__ import annotations

import ast
import shutil
import sys
from pathlib import Path

import pytest

from conformance import command_words, own_name, rules
from conformance.client.process import split_command
from conformance.server.process import ServerCommand


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Command lines are read as on Windows."""
    monkeypatch.setattr(command_words, "_is_windows", True)


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            r'"C:\Program Files\Python\python.exe" "C:\my chat\server.py" {port}',
            [r"C:\Program Files\Python\python.exe", r"C:\my chat\server.py", "{port}"],
        ),
        (r"C:\py\python.exe  -u\ x", ["C:\\py\\python.exe", "-u\\", "x"]),
        (r'"C:\a b\\" c', ["C:\\a b\\", "c"]),
        (r'\\host\share\x "\\host\a b"', [r"\\host\share\x", r"\\host\a b"]),
        (r'a\"b "c\\\"d" ""', ['a"b', 'c\\"d', ""]),
        (r'C:"\a b"\c', [r"C:\a b\c"]),
        ("it's one", ["it's", "one"]),
        ("  ", []),
    ],
)
def test_on_windows_a_command_line_is_split_as_programs_there_do(
    text: str, words: list[str]
) -> None:
    assert command_words.split(text) == words


WORDS = [
    [r"C:\Program Files\py.exe", "a b", "", r"C:\end here" + "\\", 'say "hi"', r"\\host\x", "it's"],
    ["plain", "{port}", "--data", "{data}"],
    ['\\"', "\\\\", '"', "a\tb", '\\\\"x y\\\\'],
]


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("is_windows", [False, True])
def test_what_is_joined_is_split_into_the_same_words(
    words: list[str], is_windows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_words, "_is_windows", is_windows)
    assert command_words.split(command_words.join(words)) == words
    assert split_command([command_words.join(words)]) == words


@pytest.mark.usefixtures("windows")
def test_the_server_of_start_cmd_may_lie_in_a_folder_with_blanks() -> None:
    line = r'"C:\Program Files\python.exe" "C:\my chat\server.py" {port}'
    command = ServerCommand(line, "127.0.0.1", 1234)
    assert command.words() == [
        r"C:\Program Files\python.exe",
        r"C:\my chat\server.py",
        "1234",
    ]


@pytest.mark.parametrize("text", ['"a b', 'x "'])
@pytest.mark.parametrize("is_windows", [False, True])
def test_a_quotation_mark_without_its_other_half_is_an_error(
    text: str, is_windows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_words, "_is_windows", is_windows)
    with pytest.raises(ValueError, match="quotation"):
        command_words.split(text)


def test_the_way_of_this_system_is_taken() -> None:
    assert command_words._is_windows == (sys.platform == "win32")


def test_the_kit_calls_itself_as_it_was_started(tmp_path: Path) -> None:
    packed = tmp_path / "conformance.pyz"
    packed.write_bytes(b"")
    python = own_name.PYTHON
    assert shutil.which(python)
    assert own_name.words(tmp_path, "-c") == (python, "-m", "conformance")
    assert own_name.words(packed, "build/conformance.pyz") == (python, "build/conformance.pyz")
    assert own_name.words(packed, "-c") == (python, "conformance.pyz")
    assert own_name.named("python -m conformance board") == f"{own_name.NAME} board"


KIT = Path(own_name.__file__).parent


def unnamed(source: str) -> list[str]:
    """Return the texts of a module, its docstrings aside, that say `python -m conformance` and are
    not given to `own_name.named`."""
    every = list(ast.walk(ast.parse(source)))
    fine: set[ast.AST] = {each.value for each in every if isinstance(each, ast.Expr)}
    for each in every:
        if isinstance(each, ast.Call) and ast.unparse(each.func) == "own_name.named":
            fine.update(each.args)
    texts = [each for each in every if isinstance(each, ast.Constant) and each not in fine]
    return [str(each.value) for each in texts if "-m conformance" in str(each.value)]


def test_no_text_of_the_kit_calls_it_by_another_name_than_its_own() -> None:
    assert unnamed("A = 'python -m conformance board'")
    assert not unnamed("'python -m conformance'; own_name.named('python -m conformance board')")
    sources = [path.read_text("utf-8") for path in KIT.rglob("*.py")]
    wanted = [source for source in sources if "-m conformance" in source]
    assert len(wanted) > 5
    assert [text for source in wanted for text in unnamed(source)] == []


def test_no_data_of_the_kit_does_either(monkeypatch: pytest.MonkeyPatch) -> None:
    data = [path for path in KIT.rglob("*.*") if path.suffix in (".json", ".html", ".js", ".css")]
    holding = [path.name for path in data if b"-m conformance" in path.read_bytes()]
    assert holding == ["rules.json"]
    monkeypatch.setattr(own_name, "NAME", r"python build\kit.pyz")
    reasons = [rule.why_not for rule in rules._read().values() if "kit.pyz" in rule.why_not]
    assert reasons == [r"binds clients: `python build\kit.pyz client` has its cases"]
