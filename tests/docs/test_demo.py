"""The recorder of README's session: its screen, its picture, and a whole recording."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as tree
from pathlib import Path
from types import ModuleType

import pytest
from support.patience import patience

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs pseudo-terminals")
ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def record() -> ModuleType:
    spec = importlib.util.spec_from_file_location("record", ROOT / "docs" / "demo" / "record.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["record"] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("one\r\ntwo", "one\ntwo\n"),
        ("torn\r\x1b[Jwhole", "whole\n"),
        ("ab\x1b[D\x1b[Pc", "ac\n"),
        ("up\r\nx\x1b[A\r\x1b[Jover", "over\n"),
        ("0123456789ab", "0123456789\nab\n"),
        ("你好", "你好\n"),
        ("e\u0301", "e\u0301\n"),
        ("ab\b\bx", "xb\n"),
        ("ac\x1b[D\x1b[@b", "abc\n"),
        ("\x1b]0;title\x07\x1b[?2004hx", "x\n"),
    ],
)
def test_the_screen_shows_what_a_terminal_would(record: ModuleType, sent: str, shown: str) -> None:
    screen = record.Screen(10)
    screen.feed(sent)
    assert record.as_text(screen.filled()) == shown


def test_an_unknown_sequence_is_no_guess(record: ModuleType) -> None:
    for sent in ("\x1b[5Z", "\x1b[2J", "\x1bP"):
        with pytest.raises(ValueError, match="unknown sequence"):
            record.Screen(10).feed(sent)


def test_the_picture_is_well_formed_and_holds_letters_colours_and_widths(
    record: ModuleType,
) -> None:
    screen = record.Screen(20)
    screen.feed("\x1b[1;32m<ada>\x1b[0m 你 \x1b[7m & \x1b[0m\x1b[2mfaint\x1b[0m")
    picture = tree.fromstring(record.as_svg([("A & B", screen.filled())]))
    texts = [element for element in picture.iter(f"{SVG}text")]
    assert [element.text for element in texts] == ["A & B", "<ada>", " 你", " & ", "faint"]
    assert texts[1].get("font-weight") == "bold" and texts[1].get("fill") == record._PALETTE[32]
    assert [
        float(element.get("textLength", "0")) / record.CELL for element in texts[1:]
    ] == pytest.approx([5, 3, 3, 5])


def test_the_recorded_picture_is_well_formed_and_small() -> None:
    picture = ROOT / "docs" / "demo" / "session.svg"
    root = tree.parse(picture).getroot()
    assert root.tag == f"{SVG}svg" and root.find(f"{SVG}title") is not None
    assert not {"script", "image", "foreignObject"} & {
        element.tag.removeprefix(SVG) for element in root.iter()
    }
    assert picture.stat().st_size < 60_000


@pytest.mark.long
def test_a_recording_of_today_shows_the_same_lines_of_the_programs(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, str(ROOT / "docs" / "demo" / "record.py"), str(tmp_path)],
        check=True,
        timeout=patience(120),
        stdout=subprocess.DEVNULL,
    )

    def known(path: Path) -> list[str]:
        """The lines but times and what hangs on the machine."""
        lines = path.read_text("utf-8").splitlines()
        return [
            line[5:] if line[:2].isdigit() and line[2:3] == ":" else line
            for line in lines
            if not re.match(r"\d{4}-\d\d-\d\d ", line) and "Firewall" not in line
        ]

    assert known(tmp_path / "session.txt") == known(ROOT / "docs" / "demo" / "session.txt"), (
        "record it anew: make demo"
    )
    tree.parse(tmp_path / "session.svg")
