"""A new link for who controls a page and has lost it: by a letter in the program's terminal.

Owns one thread, "page-key", which reads what is typed until the program ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable

from webpage.page import Page


def new_links(page: Page, say: Callable[[str], None], typed: int = 0) -> None:
    """Make a new link each time that `l` and Enter are typed, and `say` it; without a terminal
    nobody types. For the main thread: a program in the background must not be stopped for reading.
    """
    if not os.isatty(typed):
        return
    if hasattr(signal, "SIGTTIN"):
        signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    threading.Thread(target=obey, args=(page, say, typed), name="page-key", daemon=True).start()


def obey(page: Page, say: Callable[[str], None], typed: int) -> None:
    """Do what is typed, until the end of it. (Read without Python's own buffer: whoever waits in
    there holds a lock that the interpreter needs at its end.)"""
    with contextlib.suppress(OSError):  # the terminal is gone, or another program has it
        while text := os.read(typed, 1024):
            for word in text.split():
                if word == b"l":
                    page.renew_link()
                    say(f"Page:     {page.link}    (new; who had control before looks on)")
                else:
                    say("l and Enter show a new link for the page; Ctrl-C ends it.")
