"""A selector that takes any number of sockets on every system.

Owns the difference between systems: on Windows there is only `select()`, which CPython builds for
512 sockets at most ("too many file descriptors in select()"). Not safe for several threads.
"""

from __future__ import annotations

import selectors
import time
from typing import Final, Protocol


class HasFileno(Protocol):
    """A socket, or what has one."""

    def fileno(self) -> int: ...


FileObject = HasFileno | int
"""What can be watched: a socket, or its number."""

__all__ = ["SlicedSelector", "make_selector"]


def make_selector() -> selectors.BaseSelector:
    """Return the system's best selector; where that is `select()`, one that asks slice by slice."""
    best: type[selectors.BaseSelector] = selectors.DefaultSelector
    return SlicedSelector() if best is selectors.SelectSelector else best()


class SlicedSelector(selectors.BaseSelector):
    """Selectors by `select()`, each with as many sockets as it takes, asked one after another."""

    SLICE: Final = 500
    STEP_SECONDS: Final = 0.01
    """Where there are several slices, each is waited for so long at most before the next."""

    def __init__(self) -> None:
        self._slices: list[selectors.SelectSelector] = []

    def register(
        self, fileobj: FileObject, events: int, data: object = None
    ) -> selectors.SelectorKey:
        """Watch it. Raises KeyError where it is watched already."""
        if any(fileobj in part.get_map() for part in self._slices):
            raise KeyError(f"{fileobj!r} is registered already")
        for part in self._slices:
            if len(part.get_map()) < self.SLICE:
                return part.register(fileobj, events, data)
        self._slices.append(selectors.SelectSelector())
        return self._slices[-1].register(fileobj, events, data)

    def unregister(self, fileobj: FileObject) -> selectors.SelectorKey:
        """Watch it no more. Raises KeyError where it is not watched."""
        part = next((part for part in self._slices if fileobj in part.get_map()), None)
        if part is None:
            raise KeyError(f"{fileobj!r} is not registered")
        key = part.unregister(fileobj)
        if not part.get_map():
            self._slices.remove(part)
            part.close()
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; wait for it `timeout` seconds at most."""
        if len(self._slices) == 1:
            return self._slices[0].select(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        seconds = 0.0  # first all slices without waiting: those behind must not starve
        while True:
            ready = [found for part in self._slices for found in part.select(seconds)]
            left = None if deadline is None else deadline - time.monotonic()
            if ready or (left is not None and left <= 0):
                return ready
            if not self._slices:
                time.sleep(self.STEP_SECONDS if left is None else min(left, self.STEP_SECONDS))
            seconds = self.STEP_SECONDS if left is None else min(left, self.STEP_SECONDS)

    def close(self) -> None:
        """Close all slices."""
        for part in self._slices:
            part.close()
        self._slices.clear()

    def get_map(self) -> dict[FileObject, selectors.SelectorKey]:
        """Return what is watched."""
        return {key.fileobj: key for part in self._slices for key in part.get_map().values()}
