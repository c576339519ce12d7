"""Waits that Ctrl-C ends soon, on Windows too.

Owns that difference between systems: there no signal interrupts a wait for a lock, a condition or
an event, so that Ctrl-C would be heard when the whole wait is over. Any thread may use it.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from typing import Final

from client.base.deadline import Deadline

SLICE_SECONDS: Final = 0.25
"""So late Ctrl-C is heard at most."""


def wait_in_slices(wait: Callable[[float], bool], seconds: float) -> bool:
    """Call `wait` with a few seconds at a time until it returns True, or `seconds` are over; return
    which. `Event.wait` is such a function."""
    deadline = Deadline(seconds)
    while not wait(min(SLICE_SECONDS, deadline.left())):
        if deadline.is_over():
            return False
    return True


def wait_for(changed: threading.Condition, is_so: Callable[[], bool], seconds: float) -> bool:
    """Wait, with the condition held, until `is_so`; return False where it is not within
    `seconds`."""
    return wait_in_slices(lambda part: changed.wait_for(is_so, part), seconds)


def wait_for_end(thread: threading.Thread, seconds: float) -> None:
    """Wait until a thread has ended, at most `seconds`."""

    def has_ended(part: float) -> bool:
        thread.join(part)
        return not thread.is_alive()

    wait_in_slices(has_ended, seconds)


def wait_for_socket(sock: socket.socket, event: int, deadline: Deadline) -> None:
    """Wait until a socket can be read or written (an event of `selectors`). Raise TimeoutError
    where it can't by the deadline."""
    with selectors.DefaultSelector() as selector:
        selector.register(sock, event)
        if not wait_in_slices(lambda part: bool(selector.select(part)), deadline.left()):
            raise TimeoutError
