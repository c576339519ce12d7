"""The line editor for consoles without readline."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable

import pytest

from client.terminal.keys import ConsoleKeys, TerminalKeys, name_key, name_terminal_key
from client.terminal.line_editor import MAX_HISTORY, LineEditor


def edit(*keys: str, editor: LineEditor | None = None) -> LineEditor:
    """The editor after these keys; a key of several letters that is no key's name is typed."""
    editor = editor or LineEditor()
    editor.begin()
    names = {
        "left",
        "right",
        "home",
        "end",
        "up",
        "down",
        "delete",
        "word left",
        "word right",
        "f5",
    }
    for key in keys:
        for one in [key] if key in names or len(key) == 1 else key:
            editor.press(one)
    return editor


class Console:
    """`getwch` and `ungetwch` of a Windows console: behind the first half of a special key the
    second waits in the place for the one character that can be given back."""

    def __init__(self, events: Iterable[str]) -> None:
        self._events = deque(events)  # each as many characters as one press of a key sends
        self._back: str | None = None

    def next(self) -> str:
        if self._back is not None:
            character, self._back = self._back, None
            return character
        event = self._events.popleft()
        if event[0] in "\x00\xe0" and len(event) == 2:
            self._back = event[1]
        elif len(event) > 1:  # an emoji is two events
            self._events.appendleft(event[1:])
        return event[0]

    def give_back(self, character: str) -> None:
        if self._back is not None:
            raise OSError(0, "Error")
        self._back = character

    @property
    def is_empty(self) -> bool:
        return not self._events and self._back is None


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        (("abc",), "abc|"),
        (("abc", "left", "X"), "abX|c"),
        (("abc", "home", "right", "\b"), "|bc"),
        (("abc", "home", "\b"), "|abc"),
        (("abc", "home", "delete"), "|bc"),
        (("abc", "right", "end"), "abc|"),
        (("abc", "home", "left"), "|abc"),
        (("one two ", "word left", "X"), "one X|two "),
        (("one two", "\x01", "word right"), "one| two"),
        (("one two", "home", "word right", "word right"), "one two|"),
        (("one two", "\x17"), "one |"),
        (("one two", "\x15"), "|"),
        (("one two", "word left", "\x15"), "|two"),
        (("one two", "word left", "\x0b"), "one |"),
        (("abc", "\x1b"), "|"),
        (("abc", "left", "\x05", "\x7f"), "ab|"),
        (("a", "\x07", "f5", "", "b"), "ab|"),
        (("日", "🙂"), "日🙂|"),
        (("x", "\x04"), "x|"),
    ],
)
def test_keys_edit_the_line(keys: tuple[str, ...], shown: str) -> None:
    editor = edit(*keys)
    assert editor.text[: editor.cursor] + "|" + editor.text[editor.cursor :] == shown


def test_enter_ends_the_line_and_history_brings_it_back() -> None:
    editor = LineEditor()
    for line in ("one", "two", "two", ""):
        edit(line, editor=editor)
        assert editor.press("\r") == line
    edit("draft", "up", editor=editor)
    assert editor.text == "two"
    edit("draft", "up", "up", "up", editor=editor)
    assert editor.text == "one"
    editor.press("down")
    editor.press("down")
    editor.press("down")
    assert editor.text == "draft"


def with_history(*lines: str) -> LineEditor:
    editor = LineEditor()
    for line in lines:
        editor.begin()
        editor.insert(line)
        editor.press("\r")
    editor.begin()
    return editor


@pytest.mark.parametrize(
    ("keys", "text", "label"),
    [
        (["\x12"], "draft", "[search: ] "),
        ([*"\x12two"], "/msg two", "[search: two] "),
        ([*"\x12TWO\x12"], "two, says one", "[search: TWO] "),
        ([*"\x12two\x12\x12"], "two, says one", "[search: two] "),
        ([*"\x12twö"], "/msg two", "[nothing has: twö] "),
        ([*"\x12two\x12\x7f\x7f"], "/msg two", "[search: t] "),
        ([*"\x12two\x07"], "draft", ""),
        ([*"\x12two\x1b"], "draft", ""),
        ([*"\x12two", "left", "!"], "/msg tw!o", ""),
        ([*"\x12two", "up"], "two, says one", ""),
    ],
)
def test_ctrl_r_searches_what_was_typed_before(keys: list[str], text: str, label: str) -> None:
    editor = with_history("two, says one", "/msg two")
    editor.insert("draft")
    for key in keys:
        assert editor.press(key) is None
    assert (editor.text, editor.label) == (text, label)


def test_enter_takes_the_line_that_was_found_and_a_question_searches_nothing() -> None:
    editor = with_history("hello", "other")
    assert [editor.press(key) for key in "\x12hel\r"][-1] == "hello"
    editor.begin()
    editor.press("\x12", keep=False)
    assert editor.label == ""
    editor.press("\x12")
    editor.insert("pasted")
    assert (editor.text, editor.label) == ("pasted", "")


def test_history_is_bounded() -> None:
    editor = LineEditor()
    for number in range(MAX_HISTORY + 5):
        edit(str(number), editor=editor).press("\n")
    assert len(editor._history) == MAX_HISTORY


def test_tab_completes_as_far_as_it_is_clear() -> None:
    editor = LineEditor()
    words = ["/join", "/history", "/help", "lobby", "docs/"]
    editor.complete = lambda before: [
        word for word in words if word.startswith(before.split(" ")[-1])
    ]
    assert edit("/j", "\t", "lo", "\t", editor=editor).text == "/join lobby "
    assert edit("/h", "\t", editor=editor).text == "/h" and editor.choices == []
    assert edit("/h", "\t", "\t", editor=editor).text == "/h" and editor.choices == [
        "/history",
        "/help",
    ]
    assert edit("/h", "\t", "\t", "i", editor=editor).choices == []
    assert edit("/hi", "\t", editor=editor).text == "/history "
    assert edit("xyz", "\t", editor=editor).text == "xyz"
    words += ["lob", "/historian"]
    assert edit("lo", "\t", editor=editor).text == "lob"
    assert edit("/hi", "\t", editor=editor).text == "/histor"
    assert edit("/send d", "\t", editor=editor).text == "/send docs/"


@pytest.mark.parametrize(
    ("key", "error"), [("\x03", KeyboardInterrupt), ("\x04", EOFError), ("\x1a", EOFError)]
)
def test_control_keys_end_the_input(key: str, error: type[BaseException]) -> None:
    with pytest.raises(error):
        edit(key)


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ("a", "a"),
        ("\xe0K", "left"),
        ("\x00S", "delete"),
        ("\xe0?", ""),
        ("\ud83d\ude42", "🙂"),
        ("\r", "\r"),
    ],
)
def test_what_a_console_sends_becomes_one_key(sent: str, key: str) -> None:
    console = Console([sent])
    assert name_key(console.next, console.give_back) == key and console.is_empty


@pytest.mark.parametrize("first", range(0x20, 0x3000, 0x200))
def test_every_printable_character_comes_through_a_console(first: int) -> None:
    text = "".join(filter(str.isprintable, map(chr, range(first, first + 0x200))))
    console, editor = Console(text), LineEditor()
    editor.begin()
    while not console.is_empty:
        editor.press(name_key(console.next, console.give_back))
    assert editor.text == text


def test_a_letter_that_is_also_the_prefix_of_keys_is_told_from_them() -> None:
    console = Console(["\xe0", "K", "\xe0K", "\xe0", "\xe0K", "\xe0", "\xe0"])
    keys = []
    while not console.is_empty:
        keys.append(name_key(console.next, console.give_back))
    assert keys == ["\xe0", "K", "left", "\xe0", "left", "\xe0", "\xe0"]


@pytest.mark.skipif(sys.platform == "win32", reason="a Windows console has keys")
def test_other_systems_have_no_such_console() -> None:
    console = ConsoleKeys()
    console.begin()
    with pytest.raises(OSError, match="Windows only"):
        console.next_key()
    console.end()


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ("a", "a"),
        ("\x1b[D", "left"),
        ("\x1bOC", "right"),
        ("\x1b[3~", "delete"),
        ("\x1b[1;5C", "word right"),
        ("\x1b[1~", "home"),
        ("\x1bb", "word left"),
        ("\x1b\x7f", "\x17"),
        ("\x1b", "\x1b"),
        ("\x1b[?25x", ""),
        ("\x1b[", ""),
        ("\x1bz", ""),
        ("\r", "\r"),
        ("\x1b[200~", "paste"),
        ("\x1b[12;34R", "position"),
        ("\x1bd", "delete word"),
    ],
)
def test_what_a_terminal_sends_becomes_one_key(sent: str, key: str) -> None:
    characters = list(sent)
    assert name_terminal_key(lambda: characters.pop(0), lambda: bool(characters)) == key
    assert not characters


def test_a_sequence_without_end_is_not_waited_for() -> None:
    characters = list("\x1b[" + "1;" * 50)
    assert name_terminal_key(lambda: characters.pop(0), lambda: bool(characters)) == ""
    assert len(characters) > 50


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")
def test_a_terminal_gives_whole_characters_and_is_left_as_it_was() -> None:
    import os
    import pty
    import termios

    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    keys = TerminalKeys(slave)
    keys.begin()
    try:
        os.write(master, "é\x1b[A\x7f".encode())
        assert [keys.next_key() for _ in range(3)] == ["é", "up", "\x7f"]
        assert not termios.tcgetattr(slave)[3] & termios.ECHO
    finally:
        keys.end()
    keys.end()
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_joined_emoji_and_names_asked_for_are_kept_right() -> None:
    editor = edit("👩", "\u200d", "👧")
    assert editor.text == "👩\u200d👧"
    editor.press("\r")
    edit("my name", editor=editor).press("\r", keep=False)
    assert edit("up", editor=editor).text == "👩\u200d👧"
