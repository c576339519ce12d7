"""Colours: when there are any, and that no word depends on them."""

from __future__ import annotations

import ctypes
import io
import os
import sys
from typing import Any

import pytest

from client.base.text import cells, end_of, visible, wrap
from client.terminal import colours, console
from client.terminal.colours import Palette, wants_colour


class Stream(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("choice", "environ", "on_terminal", "in_pipe"),
    [
        ("auto", {}, True, False),
        ("always", {}, True, True),
        ("never", {}, False, False),
        ("auto", {"TERM": "dumb"}, False, False),
        ("auto", {"NO_COLOR": "1"}, False, False),
        ("auto", {"NO_COLOR": ""}, True, False),
        ("always", {"NO_COLOR": "1"}, True, True),
        ("auto", {"CLICOLOR_FORCE": "1"}, True, True),
        ("auto", {"FORCE_COLOR": "3"}, True, True),
        ("auto", {"CLICOLOR_FORCE": "0"}, True, False),
        ("auto", {"NO_COLOR": "1", "CLICOLOR_FORCE": "1"}, False, False),
        ("auto", {"CLICOLOR": "0"}, False, False),
        ("auto", {"CLICOLOR": "1"}, True, False),
        ("auto", {"CLICOLOR": "0", "CLICOLOR_FORCE": "1"}, True, True),
        ("never", {"CLICOLOR_FORCE": "1"}, False, False),
    ],
)
def test_the_usual_rules_decide(
    choice: str,
    environ: dict[str, str],
    on_terminal: bool,
    in_pipe: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(colours, "understands_sequences", lambda stream: True)
    assert (
        wants_colour(choice, Stream(True), environ),
        wants_colour(choice, Stream(False), environ),
    ) == (
        on_terminal,
        in_pipe,
    )


def test_a_console_that_can_not_show_colours_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colours, "understands_sequences", lambda stream: False)
    assert not wants_colour("auto", Stream(True), {}) and not wants_colour(
        "always", Stream(True), {}
    )
    assert wants_colour("always", Stream(False), {}), "what reads a pipe may understand them"


def test_a_palette_that_is_off_changes_nothing_and_one_that_is_on_only_adds() -> None:
    names = ("time", "name", "good", "bad", "warn", "quiet", "strong", "mark", "plain")
    for name in names:
        assert getattr(Palette(False), name)("text") == "text"
        painted = getattr(Palette(True), name)("text")
        assert "text" in painted and cells(painted) == 4 and getattr(Palette(True), name)("") == ""
    assert Palette(True).name("ada") == Palette(True).name("ada")


def test_colours_need_no_columns_and_are_never_torn() -> None:
    painted = Palette(True).strong("one two three four five six")
    rows = wrap("12:00 " + painted, 16)
    assert [row.replace("\x1b[1m", "").replace("\x1b[0m", "") for row in rows] == wrap(
        "12:00 one two three four five six", 16
    )
    assert "".join(rows).count("\x1b[1m") == "".join(rows).count("\x1b[0m") == 1
    assert end_of(painted, 10) == (2, 7)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("abc", 3),
        ("日本", 4),
        ("e\u0301", 1),
        ("❤\ufe0f", 2),
        ("❤", 1),
        ("1\ufe0f\u20e3", 2),
        ("🙂\ufe0f", 2),
        ("a❤\ufe0fb", 4),
        ("\ufe0f", 0),
        ("", 0),
    ],
)
def test_a_terminals_columns_are_counted(text: str, columns: int) -> None:
    assert cells(text) == columns


def test_a_wide_character_that_does_not_fit_goes_to_the_next_row() -> None:
    assert end_of("x" * 9, 10) == (0, 9) and end_of("x" * 10, 10) == (1, 0)
    assert (
        end_of("x" * 9 + "日", 10) == (1, 2)
        and end_of("日" * 5, 10) == (1, 0)
        and end_of("日" * 5, 9) == (1, 2)
    )
    assert end_of("x" * 9 + "❤\ufe0f", 10) == (1, 2)


def test_rows_of_any_width_keep_their_indent() -> None:
    text = visible("12:00 eve: * The server is closing. ❤\ufe0f日本 13:00 teacher: go home" * 2)
    for columns in range(4, 90):
        first, *others = wrap(text, columns)
        assert first.startswith("12:0") and all(
            row.startswith(" ") and cells(row) <= columns for row in others
        ), columns
        assert cells(first) <= columns


class Kernel32:
    """What `switch_sequences_on` uses of Windows."""

    def __init__(self, mode: int | None, *, settable: bool = True) -> None:
        self.mode = mode
        self.settable = settable
        self.GetStdHandle = self._handle
        self.calls: list[str] = []

    class _Function:
        def __init__(self, call: Any) -> None:
            self.call = call
            self.restype: Any = None

        def __call__(self, *arguments: Any) -> Any:
            return self.call(*arguments)

    @property
    def _handle(self) -> Any:
        return self._Function(lambda number: {-11: 7, -12: 11}[number])

    def GetConsoleMode(self, handle: Any, mode: Any) -> int:
        assert handle.value in (7, 11)
        if self.mode is None:
            return 0
        ctypes.cast(mode, ctypes.POINTER(ctypes.c_uint32))[0] = self.mode
        return 1

    def SetConsoleMode(self, handle: Any, mode: int) -> int:
        self.calls.append(f"{handle.value} {mode:#x}")
        return int(self.settable)


def test_sequences_are_switched_on_in_a_windows_console() -> None:
    kernel = Kernel32(0x3)
    assert console.switch_sequences_on(kernel, 1) and kernel.calls == ["7 0x7"]
    already = Kernel32(0x7)
    assert console.switch_sequences_on(already, 2) and already.calls == []
    assert not console.switch_sequences_on(Kernel32(0x3, settable=False), 1), "an old Windows"
    assert not console.switch_sequences_on(Kernel32(None), 1), "no console behind it"
    assert not console.switch_sequences_on(Kernel32(0x3), 9)


def test_other_systems_need_no_switching_on(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "win32":
        with open(os.devnull, "w", encoding="utf-8") as stream:
            assert console.understands_sequences(stream)
        assert not console.understands_sequences(io.StringIO()), "the window of an editor"
        monkeypatch.setattr(sys, "platform", "win32")
    assert not console.understands_sequences(io.StringIO()), (
        "a stream without a number is no console"
    )
