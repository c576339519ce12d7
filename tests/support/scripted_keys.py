"""Keys from a list, in place of a terminal's or a console's."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

Step = str | Callable[[], object]


class ScriptedKeys:
    """Keys from a list; a step that is a function is called before the next one. They are begun,
    taken again and ended in that order, as a real terminal needs it."""

    def __init__(self, *steps: Step) -> None:
        self.left = deque(steps)
        self.taken = False
        self.taken_again = 0

    def begin(self) -> None:
        assert not self.taken
        self.taken = True

    def take_again(self) -> None:
        assert self.taken
        self.taken_again += 1

    def end(self) -> None:
        assert self.taken
        self.taken = False

    def waits(self) -> bool:
        return False

    def next_key(self) -> str:
        while self.left:
            step = self.left.popleft()
            if isinstance(step, str):
                return step
            step()
        raise EOFError
