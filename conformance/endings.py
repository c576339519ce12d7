"""How a case ends early: one exception for each way.

Owns the exceptions only. Who catches them turns them into a verdict: a run of cases, or
`Checks.given`.
"""

from __future__ import annotations


class Ending(Exception):
    """A case ends here; the subclass says how.

    `expected` and `actual` are sentences for people. `rule` is the rule to blame, "" where the
    case decides.
    """

    def __init__(self, expected: str, actual: str, rule: str = "") -> None:
        super().__init__(f"expected {expected}; {actual}")
        self.expected = expected
        self.actual = actual
        self.rule = rule


class Failed(Ending):
    """The rule does not hold."""


class Flood(Failed):
    """The program under test sent far more than anybody asked for."""


class NotReached(Ending):
    """What the case needs was not to be had.

    `waits_for` is the rule of the packet that was missing or wrong, "" where that is not known.
    """

    def __init__(self, expected: str, actual: str, rule: str = "", waits_for: str = "") -> None:
        super().__init__(expected, actual, rule)
        self.waits_for = waits_for


class NotOffered(Ending):
    """The program under test does not know what the case is about.

    `is_asked` says whether the level asks for it all the same, so that it is missing: not for what
    this run can't look at, or what has an alternative.
    """

    def __init__(self, expected: str, actual: str, *, is_asked: bool = False) -> None:
        super().__init__(expected, actual)
        self.is_asked = is_asked


def needed_first(what: str, expected: str) -> str:
    """Return what is expected where a case needs something before it looks at its rule: `what` it
    needs, and what was `expected` for that."""
    return f"{expected} (this case first needs {what})"
