"""Screens for people at what is no terminal: the windows of IDLE and Thonny, and pipes such as
those of Git Bash or of ssh without -t.

Owns standard input and output while the client runs. Knows nothing of chat. `show`, `notice`,
`ring` and `being_typed` may be called by any thread, the rest by the one that reads what is typed.
The thread "chat-prompt" lives while a question to a pipe waits for its answer.
"""

from __future__ import annotations

import threading
from typing import Final, TextIO

from client.terminal.pasting import Block
from client.terminal.plain_screens import PlainScreen, PromptScreen

SILENCE_SECONDS: Final = 1.0
"""A program has answered by then; who has not is a person, who waits for the question."""
_IS_SHOWN: Final = "(shown while you type) "


class WindowScreen(PromptScreen):
    """The window of an editor that runs programs. It says that it is a terminal, but understands no
    control sequences, and can't hide what is typed."""

    def ring(self) -> None:
        """Ring no bell: there is none."""

    def ask_hidden(self, question: str) -> str:
        return str(self.read_line(question + _IS_SHOWN))


class PipeScreen(PlainScreen):
    """A pipe or file. A program needs no prompts; a person is taken for one after a second of
    silence at a question, and from then on sees them all."""

    def __init__(self, stdin: TextIO, stdout: TextIO) -> None:
        super().__init__(stdin, stdout)
        self._reading = False
        self._prompt = ""

    def show(self, text: str, key: str = "", settled: str = "") -> None:
        with self._lock:
            stands = self.is_terminal and self._reading
            self._write(f"\n{text}\n{self._prompt}" if stands else f"{text}\n")

    def ask(self, question: str) -> str:
        if self.is_terminal:
            return str(self.read_line(question))
        answered = threading.Event()
        threading.Thread(
            target=self._wait_for_person,
            args=(question, answered),
            name="chat-prompt",
            daemon=True,
        ).start()
        try:
            return str(self.read_line(question))
        finally:
            answered.set()

    def ask_hidden(self, question: str) -> str:
        return self.ask(question + _IS_SHOWN)

    def read_line(self, prompt: str) -> str | Block:
        with self._lock:
            self._prompt, self._reading = prompt, True
            if self.is_terminal:
                self._write(prompt)
        try:
            return super().read_line(prompt)
        finally:
            with self._lock:
                self._reading = False

    def _wait_for_person(self, question: str, answered: threading.Event) -> None:
        if not answered.wait(SILENCE_SECONDS):
            with self._lock:
                self.is_terminal = True
                self._write(question)
