"""The line client in the test's own process: a screen whose typist follows a script."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from typing import Any

from client.connection import Connection
from client.terminal.line_client import LineClient, Options
from client.terminal.plain_screens import PlainScreen
from support.client_fakes import FakeServer
from support.patience import patience

Step = str | Callable[[], object] | BaseException


class ScriptedScreen(PlainScreen):
    """A screen whose typist follows a script: lines, things to wait for, and exceptions such as
    those of Ctrl-C."""

    def __init__(self, *steps: Step, is_terminal: bool = False) -> None:
        self.out = io.StringIO()
        super().__init__(io.StringIO(), self.out)
        self.steps = list(steps)
        self.is_terminal = is_terminal  # type: ignore[misc]
        self.can_replace = is_terminal  # type: ignore[misc]
        self.asked: list[str] = []
        self.complete: Callable[[str], list[str]] = lambda before: []
        self.notices: list[str] = []
        self.line = ""
        self.left_over = ""

    def read_line(self, prompt: str) -> str:
        self.asked.append(prompt)
        while self.steps:
            step = self.steps.pop(0)
            if isinstance(step, str):
                return step
            if isinstance(step, BaseException):
                raise step
            step()
        raise EOFError

    def typed(self) -> str:
        return self.left_over

    def being_typed(self) -> str:
        return self.line

    def replace(self, text: str, key: str, settled: str = "") -> bool:
        if self.can_replace:
            self.show(text, key)
        return self.can_replace

    def notice(self, text: str, key: str) -> None:
        self.notices.append(text)

    def complete_with(self, complete: Callable[[str], list[str]]) -> None:
        self.complete = complete

    def text(self) -> str:
        return self.out.getvalue()

    def sees(self, words: str) -> Callable[[], None]:
        """A step that waits until something is shown."""

        def wait() -> None:
            deadline = time.monotonic() + patience(8)
            while words not in self.text():
                assert time.monotonic() < deadline, f"{words!r} was not shown, but:\n{self.text()}"
                time.sleep(0.005)

        return wait


def client(
    server: FakeServer,
    screen: ScriptedScreen,
    *,
    features: Sequence[str] = ("events",),
    **options: Any,
) -> LineClient:
    chat = Connection(
        "127.0.0.1",
        server.port,
        pauses=(0.01, 0.02, 0.03),
        timeout=patience(5.0),
        features=features,
    )
    return LineClient(chat, screen, Options(**{"user": "ada", "password": "secret", **options}))


def talk(server: FakeServer, *steps: Any, **options: Any) -> tuple[int, str]:
    """Run the client through a script; steps that are lists of one string are waited for."""
    is_terminal = options.pop("is_terminal", False)
    screen = ScriptedScreen(is_terminal=is_terminal)
    screen.left_over = options.pop("left_over", "")
    screen.steps = [screen.sees(step[0]) if isinstance(step, list) else step for step in steps]
    status = client(server, screen, **options).run()
    assert not screen.steps, f"the client ended before {screen.steps}\n{screen.text()}"
    return status, screen.text()
