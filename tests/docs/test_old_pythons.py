"""A Python that is too old, as Apple's own, ends with a sentence and no traceback."""

from __future__ import annotations

import ast
import functools
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.patience import patience

ROOT = Path(__file__).resolve().parents[2]
STARTS = {
    "chat_server.py": ["chat_server.py"],
    "chat_client.py": ["chat_client.py"],
    "conformance": ["-m", "conformance"],
    "protocol.py": ["protocol.py"],
}
OLD = [(2, 7), *((3, minor) for minor in range(4, 10))]
QUICK = [(2, 7), (3, 7), (3, 9)]
"""The first, the last that can't read `:=`, and the last."""
KNOWN_TO_2_7 = (
    *(ast.Module, ast.Expr, ast.Constant, ast.Name, ast.Load, ast.Store, ast.Assign, ast.If),
    *(ast.Import, ast.ImportFrom, ast.alias, ast.Compare, ast.Lt, ast.Eq, ast.Tuple, ast.Call),
    *(ast.Attribute, ast.Subscript, ast.BinOp, ast.Add),
)
"""The parts of the language that the entry points use, all of them of Python 2.7."""


@functools.cache
def installed(major: int, minor: int) -> str | None:
    """Return the path of a Python of that version, if this machine has one."""
    found = shutil.which(f"python{major}.{minor}")
    of_pyenv = sorted(Path.home().glob(f".pyenv/versions/{major}.{minor}.*/bin/python"))
    for each in [*([found] if found else []), *map(str, of_pyenv)]:
        shown = subprocess.run([each, "--version"], capture_output=True, check=False, text=True)
        if f"Python {major}.{minor}." in shown.stdout + shown.stderr:
            return each
    return None


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize(
    "version",
    [
        pytest.param(
            each,
            marks=() if each in QUICK else pytest.mark.long,
            id=f"{each[0]}.{each[1]}",
        )
        for each in OLD
    ],
)
def test_an_old_python_is_told_which_one_is_needed(version: tuple[int, int], name: str) -> None:
    python = installed(*version)
    if python is None:
        pytest.skip("not installed here")
    command = [python, "-B", *STARTS[name]]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=patience(30), check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    if name == "protocol.py" and version < (3, 8):  # its line stands in Python's own complaint
        assert "# needs Python 3.10: https://www.python.org/downloads/" in done.stderr
        return
    assert done.stderr.startswith(
        f"{name} needs Python 3.10 or newer, and this is Python {version[0]}.{version[1]}."
    )
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("path", ["chat_server.py", "chat_client.py", "conformance/__init__.py"])
def test_what_is_read_first_is_python_2_7(path: str) -> None:
    text = (ROOT / path).read_bytes().decode("ascii")
    for node in ast.walk(ast.parse(text)):
        assert isinstance(node, KNOWN_TO_2_7), (type(node).__name__, ast.unparse(node))


@pytest.mark.parametrize("path", ["chat_server.py", "chat_client.py", "conformance/__init__.py"])
def test_the_version_is_looked_at_before_anything_of_ours_is_read(path: str) -> None:
    _, first, second, *_ = ast.parse((ROOT / path).read_text("ascii")).body
    assert ast.unparse(first) == "import sys"
    assert ast.unparse(second).startswith("if sys.version_info < (3, 10):\n    sys.exit(")
