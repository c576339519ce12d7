"""What is pasted is no key: tabs stay, and many lines are asked about."""

from __future__ import annotations

import io
import os
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from support.client_fakes import FakeServer
from support.line_client import ScriptedScreen, client
from support.scripted_keys import ScriptedKeys, Step

from client.terminal.key_screen import KeyScreen
from client.terminal.keys import TICK, ConsoleKeys, Pasted, Position, TerminalKeys, is_paste
from client.terminal.pasting import Block, lines_of, question, split
from client.terminal.remembered import OwnBlock

MANY = "\n".join(f"line\t{number}" for number in range(20)) + "\n"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


@pytest.mark.parametrize(
    ("burst", "pasted"),
    [
        ("hello\n", False),
        ("/hist\t", False),
        ("a", False),
        ("\t", False),
        ("\r", False),
        ("/h\t\t", False),
        ("\treturn 1", True),
        ("ca\t18", True),
        ("a\nb", True),
        ("a\r\n\r\nb\r\n", True),
        ("a\tb\x1b[A", False),
        ("\x15a\tb", False),
    ],
)
def test_what_came_at_once_is_a_paste_where_text_follows_tab_or_enter(
    burst: str, pasted: bool
) -> None:
    assert is_paste(burst) == pasted


@pytest.mark.parametrize(
    ("text", "lines", "ended"),
    [
        ("a", ["a"], False),
        ("a\n", ["a"], True),
        ("a\r\nb", ["a", "b"], False),
        ("a\rb\r", ["a", "b"], True),
        ("\n", [""], True),
    ],
)
def test_a_paste_has_lines_of_any_system(text: str, lines: list[str], ended: bool) -> None:
    assert split(text) == (lines, ended)


def test_one_key_says_what_becomes_of_many_lines() -> None:
    lines = ["a", "", "b"]
    assert question(lines) == "3 lines: [s]end each, [o]ne message, [c]ancel "
    assert lines_of(lines, "s") == ("a", "b") and lines_of(lines, "O") == ("a\n\nb",)
    assert lines_of(lines, "c") == () and lines_of(lines, "x") is None
    assert Block(["x" * 99, "y"]).summary("> ") == "> " + "x" * 60 + ".. (2 lines)"
    assert Block(["a\nb\nc"]).summary("> ") == "> a (3 lines)"


# --- Where pastes come from ---


def screen(*keys: Step) -> tuple[KeyScreen, io.StringIO]:
    out = io.StringIO()
    return KeyScreen(io.StringIO(), out, ScriptedKeys(*keys)), out


def test_a_pasted_line_is_text_with_its_tabs() -> None:
    on, _ = screen("x", Pasted("\treturn 1\tca\t18\n"), "!", "\r")
    on.complete_with(lambda before: ["completed"])
    assert on.read_line("> ") == "x\treturn 1\tca\t18!"


def test_two_lines_are_sent_as_if_typed() -> None:
    on, _ = screen("x", Pasted("a\tb\nc\n"), Pasted("d\ne"), "f", "\r")
    assert [on.read_line("> ") for _ in range(4)] == ["xa\tb", "c", "d", "ef"]


def test_many_lines_are_asked_about() -> None:
    on, out = screen("x", Pasted(MANY), TICK, Position.at(0), "?", "s")
    lines = on.read_line("[lobby] ")
    assert isinstance(lines, Block) and lines[0] == "xline\t0" and len(lines) == 20
    assert "20 lines: [s]end each, [o]ne message, [c]ancel " in out.getvalue()
    assert "[lobby] xline\\t0 (20 lines)\n" in out.getvalue()


@pytest.mark.parametrize("answer", ["c", "interrupt"])
def test_a_cancelled_paste_leaves_the_typed_line(answer: str) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    on, _ = screen(
        "a", "b", "left", Pasted(MANY), interrupt if answer == "interrupt" else "c", "!", "\r"
    )
    assert on.read_line("> ") == "a!b"


def test_a_question_takes_the_first_pasted_line_only() -> None:
    on, _ = screen(Pasted("ada\nsecret\nmore\n"), "\r")
    assert on.ask("Name: ") == "ada"


def test_a_long_paste_costs_no_more_than_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    text = "word " * 20_000
    on, out = screen(Pasted(text), "left", "x", "home", "y", "end", "\x7f", "\r")
    assert on.read_line("> ") == f"y{text[:-1]}x"
    assert len(out.getvalue()) < 20_000 and out.getvalue().count("\x1b[2") < 10


def test_a_windows_console_tells_a_paste_by_its_speed() -> None:
    keys, waiting = ConsoleKeys(), deque("a\tb")

    def take(typed: str) -> list[str]:
        waiting.extend(typed)
        taken = []
        while waiting or keys.waits():
            taken.append(keys._next(waiting.popleft, waiting.appendleft, lambda: bool(waiting)))
        return taken

    assert take("") == ["a\tb"]
    assert take("/h\t") == ["/", "h", "\t"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")
def test_a_terminal_tells_a_paste_by_its_marks_or_its_speed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("client.terminal.keys.PASTE_SECONDS", 0.05)
    import pty

    master, slave = pty.openpty()
    keys = TerminalKeys(slave)
    keys.begin()
    try:
        os.write(master, b"\x1b[200~a\tb\nc\x1b[201~x")
        assert [keys.next_key(), keys.next_key()] == ["a\tb\nc", "x"]
        os.write(master, b"a\tb")
        pasted = keys.next_key()
        assert isinstance(pasted, Pasted) and pasted == "a\tb" and not keys.waits()
        os.write(master, b"ab")
        assert keys.next_key() == "a" and keys.waits() and keys.next_key() == "b"
        assert keys.next_key() == TICK
    finally:
        keys.end()
    os.write(master, b"\x1b[200~never ended")
    keys.begin()
    assert keys.next_key() == "never ended"
    keys.end()
    os.write(master, b"one\ntwo\nthree\n")  # typed ahead, while nobody read
    keys.begin()
    assert [keys.next_key() for _ in range(4)] == ["o", "n", "e", "\n"]
    assert [keys.next_key() for _ in "two\nthree\n"][-1] == "\n"
    keys.end()
    os.write(master, b"a\tb\n")  # pasted before there was a prompt
    keys.begin()
    assert isinstance([keys.next_key() for _ in range(2)][1], Pasted)
    keys.end()
    os.close(master)
    os.close(slave)


# --- What becomes of them ---


class Pasting(ScriptedScreen):
    """A screen whose typist pastes: a step may be a `Block`."""

    def read_line(self, prompt: str) -> Any:
        while self.steps:
            step: Any = self.steps.pop(0)
            if isinstance(step, (str, Block)):
                return step
            step()
        raise EOFError


def test_many_lines_are_summed_up_and_no_commands(server: FakeServer) -> None:
    on = Pasting(is_terminal=True)
    on.steps = [
        Block(["/quit", "\tb", "c"]),  # type: ignore[list-item]
        on.sees("* stored as messages 1 to 3"),
    ]
    assert client(server, on).run() == 0
    assert [content for *_, content in server.history] == ["/quit", "\tb", "c"]
    assert "sent 1" not in on.text()


def test_lines_that_are_refused_are_counted_and_the_last_can_be_sent_again(
    server: FakeServer,
) -> None:
    def refuse(peer: Any, packet: Any) -> None:
        if packet["data"]["content"] == "a":
            peer.on_send_message(packet)
        else:
            peer.refuse(packet, "storage_full", "no room")

    server.handlers["send_message"] = refuse
    on = Pasting()
    on.steps = [
        Block(["a", "b", "c"]),  # type: ignore[list-item]
        on.sees("Not stored: 2 messages, the last one because no room."),
        server.handlers.clear,
        "/retry",
        on.sees("* sent 2"),
    ]
    assert client(server, on).run() == 1
    assert "* stored as message 1: 1 message\n" in on.text()
    assert server.history[-1][3] == "c"


def test_a_block_that_can_not_be_sent_is_said(server: FakeServer) -> None:
    on = Pasting()
    on.steps = [Block(["a", "b\0"])]  # type: ignore[list-item]
    assert client(server, on).run() == 1
    assert "Not sent: a message needs" in on.text()


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([5, 6, 7], "stored as messages 5 to 7"),
        ([5, 9, 7], "stored as messages 5 to 9, 3 of them"),
        ([5], "stored as message 5: 1 message"),
        ([None, None], "stored: 2 messages"),
    ],
)
def test_the_sum_names_the_messages(numbers: list[int | None], words: str) -> None:
    block = OwnBlock()
    block.stored = numbers
    assert block.stored_in_words() == words
