"""How much of everything is measured, in the short form and in the full one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["FULL", "SHORT", "Figures", "Sizes"]

Figures = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    repeat: int = 1
    seconds: float = 1.5
    warm: float = 0.4
    """Seconds of talk before the measured ones."""
    members: int = 200
    rest_seconds: float = 5.0
    idle: int = 1_000
    idle_steps: int = 2
    students: int = 60
    hash_seconds: float = 1.5
    messages: tuple[int, int] = (1_000_000, 10_000)
    pages: int = 100
    file_mib: int = 24
    growth: tuple[int, ...] = (50, 200, 500)
    budget_seconds: float = 90.0
    """No further work is begun after so long: the short form shall end within two minutes on a slow
    machine, too."""
    processes: int = 2
    """Of one load."""
    say: Callable[[str], None] = field(default=lambda line: None)
    """Where a line of progress goes."""


SHORT: Final = Sizes()
FULL: Final = Sizes(
    repeat=5,
    seconds=5.0,
    rest_seconds=10.0,
    idle=10_000,
    idle_steps=4,
    students=300,
    hash_seconds=4.0,
    messages=(1_000_000, 10_000),
    pages=300,
    file_mib=96,
    growth=(50, 100, 200, 500, 1_000, 2_000),
    warm=1.0,
    budget_seconds=7_200.0,
)
