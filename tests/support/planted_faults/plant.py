"""The table of planted faults, and the decorator that fills it.

A fault is a class; its docstring says the mistake as a student would make it. `@plant` says which
rules fail, all of them, and around which rules the quick run looks: those of the same sections
unless said, and only the broken ones where each case takes long.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from support.reference_client import PlainClient

Faulty = TypeVar("Faulty", bound=type)


@dataclass(frozen=True)
class Fault:
    """`breaks` are the rules that fail, all of them but for `may_break`, which fail or not by
    chance (what a lost byte spoils).

    `around` is what the quick run looks at, as globs. `waits` says that the kit waits for things in
    vain. `whole` says that the whole kit may be run; where all that comes by chance is lost, by
    chance another rule fails before the one that is broken.
    """

    name: str
    kind: type
    mistake: str
    breaks: frozenset[str]
    may_break: frozenset[str]
    around: tuple[str, ...]
    waits: bool
    whole: bool

    @property
    def is_client(self) -> bool:
        return issubclass(self.kind, PlainClient)


FAULTS: dict[str, Fault] = {}


def plant(
    *breaks: str, may_break: str = "", around: str = "", waits: bool = False, whole: bool = True
) -> Callable[[Faulty], Faulty]:
    """Put a class into `FAULTS`; `around` and `may_break` are texts with blanks between globs and
    rules."""

    def register(kind: Faulty) -> Faulty:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
        only_these = waits or issubclass(kind, PlainClient)
        sections = sorted(
            breaks if only_these else {rule.rsplit("-", 1)[0] + "-*" for rule in breaks}
        )
        mistake = " ".join((kind.__doc__ or "").split())
        may = frozenset(may_break.split())
        FAULTS[name] = Fault(
            name,
            kind,
            mistake,
            frozenset(breaks),
            may,
            tuple(around.split() or sections),
            waits,
            whole,
        )
        return kind

    return register
