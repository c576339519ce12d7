"""The terminal is left as it was found, whichever way the client stops or ends."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.patience import patience

if sys.platform == "win32":
    pytest.skip("Windows stops no programs", allow_module_level=True)

import pty
import termios
import tty

from support.client_fakes import FakeServer
from support.client_terminals import PtyClient

from client.terminal import job_control
from client.terminal.job_control import JobControl, watching
from client.terminal.key_screen import KeyScreen
from client.terminal.keys import ConsoleKeys
from client.terminal.plain_screens import PlainScreen, PromptScreen

SHELL = """
import os, signal, sys, termios
def is_as_found():
    return bool(termios.tcgetattr(0)[3] & termios.ECHO and termios.tcgetattr(0)[3] & termios.ICANON)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
child = os.fork()
if child:
    os.setpgid(child, child)
    os.tcsetpgrp(0, child)
    while True:
        status = os.waitpid(child, os.WUNTRACED)[1]
        os.tcsetpgrp(0, os.getpgrp())
        if not os.WIFSTOPPED(status):
            print("ended by", status, "as found:", is_as_found(), flush=True)
            os._exit(0)
        print("stopped by", os.WSTOPSIG(status), "as found:", is_as_found(), flush=True)
        os.read(0, 100)
        os.tcsetpgrp(0, child)
        os.killpg(child, signal.SIGCONT)
os.setpgid(0, 0)
signal.signal(signal.SIGTTOU, signal.SIG_DFL)
while os.tcgetpgrp(0) != os.getpgrp(): pass
print("pid", os.getpid(), flush=True)
"""
"""A shell with job control, as small as can be: it says how the terminal is when its child has
stopped, and Enter brings the child back."""


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


@contextlib.contextmanager
def under_a_shell(server: FakeServer, folder: Path) -> Iterator[tuple[PtyClient, int]]:
    """The client as a child of `SHELL`, and its process id."""
    (folder / "password").write_text("secret\n")
    where, options = f"127.0.0.1:{server.port}", ("-u", "ada", "--password-file", "password")
    with PtyClient(where, *options, folder=folder, before=f"exec({SHELL!r})") as client:
        client.sees("pid ")
        client.sees("You are in lobby.")
        pid = int(client.output.split("pid ")[1].split()[0])
        client.sees("[lobby] ")
        try:
            yield client, pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(
    server: FakeServer, tmp_path: Path
) -> None:
    with under_a_shell(server, tmp_path) as (client, pid):
        client.type("half a line")
        client.shows("[lobby] half a line")
        for number in (1, 2):
            client.type("\x1a")
            client.sees(f"stopped by {signal.SIGTSTP.value} as found: True")
            client.type("\n")
            client.shows("", "[lobby] half a line" + "!" * (number - 1))
            client.type("!")
            client.shows("[lobby] half a line" + "!" * number)
        client.type("\n")
        client.sees("(sent 1)")
        assert server.history[-1][3] == "half a line!!"
        os.kill(pid, signal.SIGTERM)
        client.sees(f"ended by {signal.SIGTERM.value} as found: True")


def test_a_stop_that_nobody_could_foresee_is_recovered_from(
    server: FakeServer, tmp_path: Path
) -> None:
    with under_a_shell(server, tmp_path) as (client, pid):
        client.type("half")
        client.shows("[lobby] half")
        os.kill(pid, signal.SIGSTOP)
        client.sees(f"stopped by {signal.SIGSTOP.value}")
        client.type("\n")
        client.shows("[lobby] half")
        client.type(" a line\n")
        client.sees("(sent 1)")
        assert server.history[-1][3] == "half a line"


# --- Parts ---


class Recording(PlainScreen):
    """A screen that notes what is asked of it."""

    is_terminal = True

    def __init__(self) -> None:
        super().__init__(io.StringIO(), io.StringIO())
        self.asked: list[str] = []
        self.is_free = True

    @contextlib.contextmanager
    def aside(self) -> Iterator[bool]:
        self.asked.append("aside" if self.is_free else "busy")
        yield self.is_free
        self.asked.append("back")

    def take_keys(self) -> None:
        self.asked.append("keys")

    def redraw(self) -> bool:
        self.asked.append("redraw")
        return self.is_free


@pytest.fixture
def terminal() -> Iterator[int]:
    master, slave = pty.openpty()
    yield slave
    os.close(master)
    os.close(slave)


def echoes(number: int) -> bool:
    return bool(termios.tcgetattr(number)[3] & termios.ECHO)


def test_signals_find_and_leave_the_terminal_as_it_was(
    terminal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, bool]] = []

    def raise_signal(number: int) -> None:
        sent.append((number, echoes(terminal)))
        if number == signal.SIGTSTP:
            control._go_on(signal.SIGCONT, None)

    monkeypatch.setattr(job_control.signal, "raise_signal", raise_signal)
    screen = Recording()
    control = JobControl(terminal, screen)
    before = {number: signal.getsignal(number) for number in (signal.SIGTSTP, signal.SIGTERM)}
    control.begin()
    try:
        tty.setcbreak(terminal)
        control._stop(signal.SIGTSTP, None)
        assert sent == [(signal.SIGTSTP, True)] and not echoes(terminal)
        assert screen.asked == ["aside", "back"]
        control._go_on(signal.SIGCONT, None)
        assert screen.asked[2:] == ["keys", "redraw"]
        control._end_by(signal.SIGTERM, None)
        assert sent[1:] == [(signal.SIGTERM, True)]
    finally:
        control.end()
    assert echoes(terminal)
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_signal_that_comes_while_something_is_drawn_comes_again(
    terminal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    again: list[int] = []
    monkeypatch.setattr(JobControl, "_later", lambda self, number: again.append(number))
    screen = Recording()
    screen.is_free = False
    control = JobControl(terminal, screen)
    control._stop(signal.SIGTSTP, None)
    control._go_on(signal.SIGCONT, None)
    assert again == [signal.SIGTSTP, signal.SIGCONT]


def test_a_screen_that_draws_is_not_waited_for() -> None:
    screen = KeyScreen(io.StringIO(), io.StringIO(), ConsoleKeys())
    with screen._lock:
        assert not screen.redraw()
        with screen.aside() as is_free:
            assert not is_free
    assert screen.redraw()


def test_a_signal_that_is_ignored_stays_ignored(terminal: int) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    control = JobControl(terminal, Recording())
    try:
        control.begin()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        control.end()
        signal.signal(signal.SIGHUP, before)


def test_where_there_is_no_terminal_nothing_is_watched() -> None:
    before = signal.getsignal(signal.SIGTSTP)
    with watching(PlainScreen(io.StringIO(), io.StringIO())):
        assert signal.getsignal(signal.SIGTSTP) == before
    seen: list[Any] = []

    def elsewhere() -> None:
        with watching(Recording()):
            seen.append(signal.getsignal(signal.SIGTSTP))

    thread = threading.Thread(target=elsewhere, name="elsewhere")
    thread.start()
    thread.join(patience(5))
    assert seen == [before], "only the main thread may set handlers"


def test_a_terminal_that_was_closed_is_no_trouble() -> None:
    master, slave = pty.openpty()
    os.close(master)
    os.close(slave)
    control = JobControl(slave, Recording())
    control.begin()
    control.end()


def test_a_plain_terminal_shows_its_prompt_again(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    screen = PromptScreen(io.StringIO(), out)

    def read(prompt: str) -> str:
        with screen.aside():
            out.write("$ fg\n")
        return ""

    monkeypatch.setattr("builtins.input", read)
    screen.read_line("> ")
    with screen.aside():
        pass
    PlainScreen(io.StringIO(), out).redraw()
    assert out.getvalue() == "\n$ fg\n> "
