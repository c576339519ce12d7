"""Who sits at a stream: a person, a program, or nobody."""

from __future__ import annotations

import io
import os

import pytest

import terminals


class Stream(io.StringIO):
    def __init__(self, says: bool) -> None:
        super().__init__()
        self.says = says

    def isatty(self) -> bool:
        return self.says


def test_the_null_device_is_no_terminal() -> None:
    """Windows says so of it: a command would wait for a password there for ever."""
    with open(os.devnull, encoding="utf-8") as null:
        assert not terminals.is_terminal(null)
    assert terminals.is_terminal(Stream(True)) and not terminals.is_terminal(Stream(False))


@pytest.mark.parametrize("mode", [1, 0], ids=["console", "NUL"])
def test_only_a_console_of_windows_has_a_mode(mode: int) -> None:
    class Kernel32:
        def GetConsoleMode(self, handle: object, found: object) -> int:
            return mode

    assert terminals.has_mode(Kernel32(), 7) is bool(mode)
