"""The sizes that CONTRIBUTING.md says we hold on to are held, and the script that prints them
measures what it says."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from support.patience import patience

ROOT = Path(__file__).resolve().parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
        return importlib.import_module("figures")


def bounds() -> dict[str, list[int]]:
    """Return the table of CONTRIBUTING: for each package its figures, "at most" each."""
    text = CONTRIBUTING.split("\n### Sizes\n", 1)[1].split("\n#", 1)[0]
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return {
        cells[0].strip().strip("`"): [int(cell.replace(",", "")) for cell in cells[1:]]
        for cells in lines[2:]
    }


def test_every_package_has_its_row(figures: ModuleType) -> None:
    assert list(bounds()) == list(figures.PACKAGES)


@pytest.mark.parametrize("package", bounds())
def test_no_part_of_a_package_is_larger_than_it_may_be(figures: ModuleType, package: str) -> None:
    measured = figures.of(package)
    median, most, longest, file, a_class = bounds()[package]
    row = measured.row()
    assert int(row[1]) <= median
    assert int(row[2]) <= most
    assert not [
        *(part for part in measured.functions if part.lines > longest),
        *(part for part in measured.files if part.lines > file),
        *(part for part in measured.classes if part.lines > a_class),
    ]


def test_only_the_protocol_has_a_file_over_500_lines() -> None:
    for package, (_, _, _, file, _) in bounds().items():
        assert file <= 500 or package == "protocol.py"


def test_the_script_prints_every_package() -> None:
    command = [sys.executable, str(ROOT / "tools" / "figures.py")]
    shown = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=patience(60)
    ).stdout
    for package in bounds():
        assert re.search(rf"^{re.escape(package)} +\d+ +\d+ +\d+ ", shown, re.MULTILINE)
