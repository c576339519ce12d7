"""Print how large the parts of the product are: what `make figures` does.

For each package: how many functions it has, the median, the 90th percentile and the longest of
their lengths, its largest file and its largest class, all in lines of the source, docstrings and
comments included. CONTRIBUTING.md says what we hold on to; a test compares the two.
"""

from __future__ import annotations

import ast
import math
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import closed_pipe

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "protocol.py": "protocol.py",
    "incoming_text.py": "incoming_text.py",
    "terminals.py": "terminals.py",
    "storage": "storage/**/*.py",
    "server": "server/**/*.py",
    "client": "client/**/*.py",
    "webpage": "webpage/**/*.py",
    "conformance": "conformance/**/*.py",
}
"""By name: which files belong to it."""


@dataclass(frozen=True, order=True)
class Sized:
    """Something with a length in lines."""

    lines: int
    name: str


@dataclass(frozen=True)
class Figures:
    """The parts of one package."""

    functions: list[Sized]
    classes: list[Sized]
    files: list[Sized]

    def row(self) -> list[str]:
        """Return the cells of the table: six figures, the longest with their names."""
        lengths = sorted(function.lines for function in self.functions)
        return [
            str(len(lengths)),
            f"{statistics.median(lengths):.0f}",
            str(lengths[math.ceil(0.9 * len(lengths)) - 1]),
            *(_largest(parts) for parts in (self.functions, self.files, self.classes)),
        ]


def _largest(parts: list[Sized]) -> str:
    return f"{max(parts).lines} ({max(parts).name})" if parts else "none"


def of(package: str) -> Figures:
    """Measure a package of PACKAGES."""
    figures = Figures([], [], [])
    for path in sorted(ROOT.glob(PACKAGES[package])):
        text = path.read_text("utf-8")
        name = path.relative_to(ROOT).as_posix()
        figures.files.append(Sized(text.count("\n"), name))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                parts = figures.classes if isinstance(node, ast.ClassDef) else figures.functions
                assert node.end_lineno is not None
                parts.append(Sized(node.end_lineno - node.lineno + 1, f"{name}: {node.name}"))
    return figures


def main() -> int:
    """Print the table; return the exit status."""
    head = ["", "functions", "median", "90 %", "longest", "largest file", "largest class"]
    table = [head, *([package, *of(package).row()] for package in PACKAGES)]
    widths = [max(len(row[at]) for row in table) for at in range(len(head))]
    for row in table:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    return 0


if __name__ == "__main__":
    sys.exit(closed_pipe.run(main))
