"""The client's commands for scripts, run in the test's own process, away from the machine's
settings."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import chat_client


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of the machine, and an empty folder to stand in."""
    for name in [name for name in os.environ if name.startswith("CHAT_")]:
        monkeypatch.delenv(name)
    for name in ("XDG_CONFIG_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "secret").write_text("secret\n", "utf-8")
    monkeypatch.chdir(tmp_path / "here")


class Result:
    """What a run of the program gave."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    def items(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


def call(*words: str, typed: bytes = b"") -> Result:
    """The program inside this process, which is quicker than a new one."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    stdin, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(typed), "utf-8")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = chat_client.main(list(words))
            except SystemExit as end:
                status = int(str(end.code))
    finally:
        sys.stdin = stdin
    out.seek(0)
    err.seek(0)
    return Result(status, out.read(), err.read())
