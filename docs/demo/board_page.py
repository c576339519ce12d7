"""Take pictures of the board with a made-up class: `board-light.png`, `board-dark.png`.

    python docs/demo/board_page.py [FOLDER]

The board, its page and the browser are real (Chromium, Chrome or Edge; `CHAT_BROWSER` names
another), the class is made up. Uses the standard library alone.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.browser import Browser, program  # noqa: E402  (it stands in tests/)

from conformance.board import command, rows  # noqa: E402
from conformance.board.keeping import Keeping  # noqa: E402

LIVE: Final = "document.getElementById('state').textContent === 'live'"
SHOWN: Final = "--tell 192.168.1.5:8080/kfp64zrrgw"
"""What the address of this run is shown as."""
NAMES: Final = (
    "Anna Ben Carla Dilan Emre Fatma Georg Hanna Igor Jana Kofi Lena Mehmet Nora Oskar Petra "
    "Quentin Rosa Sven Tina Umut Vera Willi Xenia Yusuf Zoe"
)
FAILS: Final = (
    *("R-FRAME-1", "R-SESS-1", "R-MSG-1", "R-HIST-1", "R-MSG-5", "R-MSG-16", "R-JSON-9"),
    *("R-FRAME-2", "R-ORDER-1", "R-FILE-1", "R-FILE-12", "R-HIST-1"),
)
"""By how many stages hold: what fails then."""


class Clock:
    """The board's clock."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def tell_all(board: rows.Rows, clock: Clock, draw: random.Random) -> None:
    """Tell of a class in the middle of an assignment."""
    names = NAMES.split()
    told = sorted((draw.uniform(0, 1080), number) for number in range(len(names)))
    for when, number in told:
        clock.now = when
        stage = draw.choice((1, 2, 3, 3, 4, 5, 5, 6, 7, 7, 8, 9, 10, 11, 12))
        result: dict[str, Any] = {
            "whole": True,
            "stage": stage,
            "failing": FAILS[stage] if stage < len(FAILS) else "",
            "fails": draw.randrange(1, 20),
            "got": 6.5 * stage,
            "possible": 82.0,
            "level": "seed",
        }
        name = "" if number % 8 == 7 else names[number]
        about = {"key": f"{number:064x}", "name": name, "kind": "server"}
        board.tell({**about, "result": result, "running": when > 980, "cases": 12})
    clock.now = 1100.0


def main(words: list[str]) -> int:
    """Take the pictures into the folder that is named, or beside this file."""
    if program() is None:
        print("board_page.py: no browser is installed; the pictures stay as they are")
        return 0
    target = Path(words[0]) if words else HERE
    with tempfile.TemporaryDirectory() as data:
        options = {"listen": ("127.0.0.1", 0), "title": "Class 3b", "new_code": False}
        clock = Clock()
        keeping = Keeping(Path(data))
        board = command.Board(argparse.Namespace(data=Path(data), **options), keeping, clock)
        browser = Browser()
        try:
            tell_all(board.rows, clock, random.Random(7))
            tab = browser.tab(board.page.link, 1280, 720)
            tab.prefer("light")  # whatever this machine prefers
            tab.wait(LIVE)
            tab.press("p")
            tab.js(f"document.getElementById('tell').textContent = '{SHOWN}'")
            tab.picture(target / "board-light.png")
            tab.prefer("dark")
            tab.picture(target / "board-dark.png")
        finally:
            browser.close()
            board.page.close()
            keeping.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
