"""The screen in the test's own process: what it writes when the window gets another width, and when
others have written meanwhile."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from support.scripted_keys import ScriptedKeys, Step

from client.terminal.key_screen import KeyScreen
from client.terminal.keys import PASTE_OFF, PASTE_ON, TICK, WHERE, Position


class Window(KeyScreen):
    """A screen whose width the test sets."""

    def __init__(self, *steps: Step, tells_position: bool = True) -> None:
        self.out = io.StringIO()
        self.script = ScriptedKeys(*steps)
        self.columns = 40
        super().__init__(io.StringIO(), self.out, self.script, tells_position=tells_position)

    def _columns(self) -> int:
        return self.columns

    def written(self) -> str:
        """What was written since it was asked last."""
        text = self.out.getvalue()
        self.out.seek(0)
        self.out.truncate()
        return text


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.terminal.key_screen.STEADY_SECONDS", 0.0)


def at_width(window: Window, columns: int) -> Callable[[], None]:
    def change() -> None:
        window.written()
        window.columns = columns

    return change


@pytest.mark.parametrize(
    ("column", "up"),
    [(5, 3), (10, 1)],
    ids=["its lines were broken anew", "its rows were cut off"],
)
def test_the_terminal_is_asked_where_the_cursor_is_after_a_new_width(column: int, up: int) -> None:
    window = Window()
    typed = "x" * 48  # with the prompt 50 columns: two rows of 40, four of 15
    told: list[str] = []
    window.script.left.extend(
        [
            *typed,
            at_width(window, 15),
            lambda: window.show("arrives"),
            TICK,
            lambda: told.append(window.written()),
            Position.at(column),
            lambda: told.append(window.written()),
            "\r",
        ]
    )
    assert window.read_line("> ") == typed
    assert told[0] == WHERE, "nothing is drawn before it is known"
    assert told[1].startswith(f"\x1b[{up}A\r\x1b[Jarrives\n> ")


@pytest.mark.parametrize("variables", [{}, {"TMUX": "x"}])
def test_where_both_are_possible_what_is_known_of_the_terminal_decides(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.environ", variables)
    window = Window()
    told: list[str] = []
    window.script.left.extend(
        [
            *"x" * 48,
            at_width(window, 20),  # half of it: the cursor's column is the same in any case
            TICK,
            TICK,
            lambda: window.written(),
            Position.at(10),
            lambda: told.append(window.written()),
            "\r",
        ]
    )
    window.read_line("> ")
    assert told[0].startswith("\x1b[2A" if variables else "\x1b[1A")


def test_an_answer_about_an_earlier_width_is_not_taken() -> None:
    window = Window()
    told: list[str] = []
    window.script.left.extend(
        [
            *"half",
            at_width(window, 20),
            TICK,
            TICK,
            at_width(window, 30),
            Position.at(6),
            TICK,
            lambda: told.append(window.written()),
            Position.at(6),
            lambda: told.append(window.written()),
            "\r",
        ]
    )
    assert window.read_line("> ") == "half"
    assert told == [WHERE, "\r\x1b[J> half"]


def test_a_terminal_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("client.terminal.key_screen.ANSWER_SECONDS", 0.0)
    window = Window()
    told: list[str] = []
    window.script.left.extend(
        [
            *"half",
            at_width(window, 20),
            TICK,
            TICK,
            TICK,
            lambda: told.append(window.written()),
            "\r",
        ]
    )
    assert window.read_line("> ") == "half"
    assert told == [WHERE + "\r\x1b[J> half"]


def test_a_console_is_not_asked() -> None:
    window = Window(tells_position=False)
    told: list[str] = []
    window.script.left.extend(
        [
            *"x" * 28,
            at_width(window, 20),
            TICK,
            lambda: told.append(window.written()),
            "left",
            at_width(window, 40),
            "\r",
        ]
    )
    assert window.read_line("> ") == "x" * 28
    assert told == ["\x1b[1A\r\x1b[J> " + "x" * 28]


def test_others_may_write_while_the_program_is_stopped() -> None:
    window = Window()
    told: list[str] = []

    def stop() -> None:
        window.written()
        with window.aside() as is_free:
            assert is_free
            told.append(window.written())
        told.append(window.written())
        window.take_keys()
        assert window.redraw()
        told.append(window.written())

    window.script.left.extend([*"x" * 48, "home", stop, "\r"])
    window.read_line("> ")
    again = "\r\x1b[J" + PASTE_ON + "> " + "x" * 48 + "\x1b[1A\r\x1b[2C"
    assert told == ["\x1b[1B" + PASTE_OFF + "\n", again, again]
    assert window.script.taken_again == 1
    window.take_keys()
    with window.aside():
        window.redraw()
    assert window.script.taken_again == 1, "nothing is typed"


def test_the_prompt_changes_under_what_is_typed_but_not_that_of_a_question() -> None:
    window = Window(*"half", lambda: window.set_prompt("[muted] "), "\r")
    assert window.read_line("> ") == "half"
    assert "\r\x1b[J[muted] half" in window.written()
    window.script.left.extend([lambda: window.set_prompt("[muted] "), "x", "\r"])
    assert window.ask("Name: ") == "x"
    assert "[muted]" not in window.written()


def test_a_typed_line_is_taken_back_only_while_nothing_stands_below_it() -> None:
    window = Window(*"x" * 48, "\r", "y", "\r", "z", "\r")
    window.read_line("> ")
    window.written()
    assert window.take_back() and window.written() == "\x1b[2A\r\x1b[J"
    assert not window.take_back()
    window.read_line("> ")
    window.show("arrives")
    assert not window.take_back()
    window.read_line("> ")
    window.columns = 20
    assert not window.take_back()


def test_a_text_is_replaced_only_while_it_is_the_last() -> None:
    window = Window()
    window.show("sending", "m1")
    assert window.replace("sent", "m1") and not window.replace("sent", "m2")
    window.show("other")
    assert not window.replace("again", "m1")
    assert window.written() == "sending\n\x1b[1A\r\x1b[Jsent\nother\n"


def test_how_things_stood_gives_way_to_what_stays_once_something_comes_below() -> None:
    window = Window()
    told: list[str] = []

    def shows(text: str, key: str = "", settled: str = "") -> Callable[[], None]:
        def show() -> None:
            window.show(text, key, settled)
            told.append(window.written())

        return show

    steps = [shows("hello (sending)", "a", "hello"), shows("below"), shows("more")]
    window.script.left.extend([*steps, "\r"])
    window.read_line("> ")
    assert [text.split("\r\x1b[J", 1)[1] for text in told] == [
        "hello (sending)\n> ",
        "\x1b[1A\r\x1b[Jhello\nbelow\n> ",
        "more\n> ",
    ]


def test_a_search_stands_in_place_of_the_prompt() -> None:
    window = Window("h", "i", "\r", "\x12", "i")
    window.read_line("> ")
    window.written()
    told: list[str] = []
    window.script.left.extend([lambda: told.append(window.written()), "\r"])
    assert window.read_line("> ") == "hi"
    assert told[0].endswith("[search: i] hi")
