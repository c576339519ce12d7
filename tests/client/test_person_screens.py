"""People at what is no terminal: IDLE, Thonny, Git Bash, ssh without -t."""

from __future__ import annotations

import io
import os
import queue
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.client_fakes import FakeServer
from support.patience import patience

import chat_client
from client.connection import Connection
from client.terminal import person_screens
from client.terminal.job_control import watching
from client.terminal.line_client import LineClient, Options
from client.terminal.person_screens import PipeScreen, WindowScreen
from client.terminal.screens import open_screen


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


class Window(io.StringIO):
    """A stream as IDLE's: it says that it is a terminal, and has no descriptor. What is written and
    what is typed stand in one list, as in the window."""

    def __init__(self, typed: queue.Queue[str] | None = None) -> None:
        super().__init__()
        self.typed = typed

    def isatty(self) -> bool:
        return True

    def readline(self, size: int | None = -1, /) -> str:
        assert self.typed is not None
        return self.typed.get(timeout=patience(10))

    def wait_for(self, words: str) -> None:
        deadline = threading.Event()
        for _ in range(int(patience(10) / 0.01)):
            if words in self.getvalue():
                return
            deadline.wait(0.01)
        raise AssertionError(f"{words!r} did not come, but:\n{self.getvalue()}")


def test_in_a_window_arrivals_show_when_they_come_without_sequences(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed: queue.Queue[str] = queue.Queue()
    out = Window()
    monkeypatch.setattr(sys, "stdin", Window(typed))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def type_in_turn() -> None:
        for question, answer in (
            ("[login/register] ", "ada"),
            ("Password: (shown while you type) ", "secret"),
            ("[lobby] ", "hello"),
        ):
            out.wait_for(question)
            typed.put(answer + "\n")
        out.wait_for("* sent 1")
        server.peers[0].message(5, "arrives while nothing is typed")
        out.wait_for("bob: arrives while nothing is typed\n[lobby] ")
        typed.put("/quit\n")

    typist = threading.Thread(target=type_in_turn, name="typist", daemon=True)
    typist.start()
    assert chat_client.main([f"127.0.0.1:{server.port}"]) == 0
    typist.join(patience(5))
    assert "\x1b" not in out.getvalue() and "\a" not in out.getvalue()
    assert server.history[-1][3] == "hello"


def test_a_window_has_its_screen_and_no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Window())
    monkeypatch.setattr(sys, "stdout", Window())
    screen = open_screen()
    assert isinstance(screen, WindowScreen)
    screen.ring()
    with watching(screen):
        assert sys.stdout.getvalue() == ""  # type: ignore[attr-defined]


def test_a_pipe_with_a_person_gets_prompts(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(person_screens, "SILENCE_SECONDS", 0.05)
    out = Window()
    read, write = os.pipe()
    with open(read, encoding="utf-8") as stdin, open(write, "w", encoding="utf-8") as pipe:
        screen: Any = PipeScreen(stdin, out)
        chat = Connection("127.0.0.1", server.port, pauses=(0.01,))

        def answer(question: str, line: str) -> None:
            out.wait_for(question)
            pipe.write(line + "\n")
            pipe.flush()

        def type_in_turn() -> None:
            with pipe:  # where a question does not come, the client hears the end of its input
                converse()

        def converse() -> None:
            answer("[login/register] ", "login")
            answer("Name: ", "ada")
            answer("Password: (shown while you type) ", "wrong")
            out.wait_for("[try/register/take/quit] ")
            out.truncate(0)  # before the answer: the next question may come at once
            answer("", "try")
            answer("Name [ada]: ", "")
            answer("Password: ", "secret")
            out.wait_for("[lobby] ")
            server.peers[0].message(5, "hi")
            out.wait_for("\n2024-01-01 12:00 bob: hi\n[lobby] ")
            answer("[lobby] ", "/quit")

        typist = threading.Thread(target=type_in_turn, name="typist", daemon=True)
        typist.start()
        assert LineClient(chat, screen, Options()).run() == 0
        typist.join(patience(5))
    assert screen.is_terminal


def test_a_program_at_a_pipe_gets_no_prompts() -> None:
    out = io.StringIO()
    screen = PipeScreen(io.StringIO("one\ntwo\nthree\n"), out)
    assert [screen.ask("Name: "), screen.ask_hidden("Password: ")] == ["one", "two"]
    assert screen.read_line("[lobby] ") == "three" and not screen.is_terminal
    screen.show("hello")
    assert out.getvalue() == "hello\n"
    with pytest.raises(EOFError):
        screen.ask("Name: ")
