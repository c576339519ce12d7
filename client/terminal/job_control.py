"""The terminal is left as it was found whenever the program stops or ends, and taken again when it
goes on: Ctrl-Z and `fg`, `kill`, a closed window.

Owns the handlers of those signals and what the terminal was set to before. Never draws: the screen
does. For the main thread, where Python runs the handlers. Nothing to do on Windows, where programs
are not stopped and a console's modes are not kept.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

from client.terminal.console import has_descriptor
from client.terminal.plain_screens import PlainScreen

AGAIN_SECONDS: Final = 0.05
TRIES: Final = 20
"""A signal interrupts the wait for what is still to be shown; Python does not go on by itself."""


@contextlib.contextmanager
def watching(screen: PlainScreen) -> Iterator[None]:
    """Leave the terminal as it was found, however the block ends or is stopped."""
    is_main = threading.current_thread() is threading.main_thread()
    if not (screen.is_terminal and has_descriptor(sys.stdin) and is_main):
        yield
        return
    control = JobControl(sys.stdin.fileno(), screen)
    control.begin()
    try:
        yield
    finally:
        control.end()


class JobControl:
    """Watches the signals of one terminal, whose descriptor is `number`, from `begin` to `end`."""

    def __init__(self, number: int, screen: PlainScreen) -> None:
        self._number = number
        self._screen = screen
        self._found: list[Any] | None = None
        self._handlers: dict[int, Any] = {}  # those that were there before
        self._is_stopping = False

    def begin(self) -> None:
        """Note how the terminal is set, and watch from now on."""
        if sys.platform == "win32":
            return
        self._found = self._settings()
        atexit.register(self.end)
        self._watch(signal.SIGTSTP, self._stop)
        self._watch(signal.SIGCONT, self._go_on)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            self._watch(number, self._end_by)

    def end(self) -> None:
        """Leave the terminal as it was found, and watch no longer."""
        atexit.unregister(self.end)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
        self._set(self._found)

    def _watch(self, number: int, handler: Any) -> None:
        # ignored by nohup, and by shells without job control; None: not a handler of Python's
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            self._handlers[number] = signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Stop as every program does, with the terminal as the shell wants it, and go on later."""
        ours = self._settings()
        with self._screen.aside() as is_free:
            if not is_free:
                self._later(number)
                return
            self._set(self._found)
            self._is_stopping = True  # the signal that ends the stop is not to be heard as well
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)  # os.kill may return before another thread has heard it
            signal.signal(number, self._stop)
            self._is_stopping = False
            self._set(ours)

    def _go_on(self, number: int, frame: FrameType | None) -> None:
        """Draw again after a stop that could not be foreseen (SIGSTOP)."""
        if not self._is_stopping:
            self._screen.take_keys()
            if not self._screen.redraw():
                self._later(number)

    def _later(self, number: int) -> None:
        """Have the signal come again in a moment: this one came while something was drawn."""

        def send() -> None:
            time.sleep(AGAIN_SECONDS)
            os.kill(os.getpid(), number)

        threading.Thread(target=send, name="chat-signal", daemon=True).start()

    def _end_by(self, number: int, frame: FrameType | None) -> None:
        """End by this signal, as if it had not been watched."""
        with self._screen.aside():
            self.end()
            signal.raise_signal(number)  # this thread hears it here, and takes no keys again

    def _settings(self) -> list[Any] | None:
        if sys.platform != "win32":
            import termios

            with contextlib.suppress(termios.error):  # it was closed
                return termios.tcgetattr(self._number)
        return None

    def _set(self, settings: list[Any] | None) -> None:
        if sys.platform != "win32" and settings is not None:
            import termios

            for _ in range(TRIES):
                try:
                    return termios.tcsetattr(self._number, termios.TCSADRAIN, settings)
                except termios.error as error:
                    if error.args[0] != errno.EINTR:
                        return  # it was closed
