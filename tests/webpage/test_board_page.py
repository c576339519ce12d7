"""The board's page in a real browser: a class of forty, a restart in the middle, hostile names."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browser import NAMES, Browser, Tab, program
from support.patience import until

from conformance.board import telling
from conformance.board.command import Board
from conformance.board.keeping import Keeping
from conformance.board.rows import MAX_ROWS
from conformance.board.telling import Teller
from webpage import listening

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        program() is None, reason=f"no browser: none of {', '.join(NAMES)} is installed"
    ),
]

LIVE = "document.getElementById('state').textContent === 'live' && document.title !== 'Board'"
LOST = "document.getElementById('state').textContent === 'not connected'"
ROWS = "document.querySelectorAll('tbody tr').length"
FITS = (
    "document.documentElement.scrollWidth <= innerWidth &&"
    " document.querySelector('main').scrollHeight <= document.querySelector('main').clientHeight"
)
CUT = (
    "Array.from(document.querySelectorAll('tbody td, thead th'))"
    ".filter((cell) => cell.scrollWidth > cell.clientWidth).map((cell) => cell.textContent)"
)
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</td><script>alert(1)</script>",
    "\u202egnp.exe\u2066",
    "\x00\x1b[31m\ud800 \U0001f469\u200d\U0001f680",
    "Z\u0338\u0322\u031b\u034e\u0341a\u0337\u034d\u0353l\u0335go" * 3,
    "__proto__",
    "=HYPERLINK(1)",
    "x" * 5000,
)
RULES = ("R-FRAME-2", "R-SESS-2", "R-MSG-16", "R-HIST-1", "R-ORDER-1", "R-FILE-12")


class Clock:
    """The board's clock, set forward by a test."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Boards:
    """One board at a time, always in the same folder and at the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, 0
        self.clock = Clock()
        self.start()

    def start(self) -> None:
        keeping = Keeping(self._folder)
        listen = ("127.0.0.1", self._port)
        args = argparse.Namespace(
            listen=listen, title="Class 3b", new_code=False, data=self._folder
        )
        self.board = Board(args, keeping, self.clock)
        self._port = self.board.page.port

    def stop(self) -> None:
        self.board.page.close()
        self.board.rows.close()


@pytest.fixture
def boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Boards]:
    monkeypatch.setattr(listening, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(telling, "AGAIN_SECONDS", 0.05)
    secrets = iter(range(100))
    monkeypatch.setattr(telling, "_secret", lambda say: f"student {next(secrets)}")
    boards = Boards(tmp_path / "board")
    yield boards
    boards.stop()


@pytest.fixture
def browser() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.close()


def names() -> list[str]:
    return [*HOSTILE, *(f"student {chr(97 + number % 26)}{number}" for number in range(30)), "", ""]


def result(number: int, **more: Any) -> dict[str, Any]:
    failing = RULES[number % len(RULES)] if number % 5 else ""
    stage = number % 12 if failing else 12
    points = {"got": 82.0 * stage / 12, "possible": 82.0, "level": "seed"}
    return {"whole": True, "stage": stage, "failing": failing, "fails": 3, **points, **more}


def open_page(tab: Tab, boards: Boards) -> None:
    tab.go(boards.board.page.link)
    tab.wait(LIVE)


def test_a_class_of_forty_stays_on_the_wall_over_a_restart(
    boards: Boards, browser: Browser
) -> None:
    tab = browser.tab(width=1920, height=1080)
    open_page(tab, boards)
    assert "--tell 127.0.0.1:" in tab.text("#nothing")
    board = telling.board_address(tab.text("#tell").removeprefix("--tell "))
    with contextlib.ExitStack() as stack:
        tellers = [
            stack.enter_context(Teller(board, "server", name, io.StringIO())) for name in names()
        ]
        for number, teller in enumerate(tellers):
            teller.result(result(number))
        tab.wait(f"{ROWS} === 40", 30)
        _looks_right(tab)
        boards.clock.now += 700
        boards.stop()
        tab.wait(LOST)
        for teller in tellers[20:]:
            teller.result(result(21))  # told to nobody, for now
        boards.start()
        assert boards.board.page.code == board.code
        until(
            lambda: all(not teller._pending for teller in tellers),
            "a board that is there again is not told",
        )
    tab.wait(LIVE, 30)  # the page goes on by itself
    browser.events.clear()  # it noted that the board was away
    tab.wait(f"{ROWS} === 40")
    _looks_right(tab)
    stuck = tab.js("document.querySelectorAll('tr.stuck').length")
    assert stuck == sum(row["since"] >= 600 and bool(row["failing"]) for row in rows(boards)) > 10
    assert tab.js("document.querySelector('tbody tr').className") == "stuck"
    assert tab.troubles() == []


def rows(boards: Boards) -> list[dict[str, Any]]:
    found = boards.board.rows.snapshot()["rows"]
    assert isinstance(found, list)
    return found


def _looks_right(tab: Tab) -> None:
    """Every row is seen, in type that is read from afar, and nothing but a name is cut."""
    for scheme in ("light", "dark"):
        tab.prefer(scheme)
        tab.wait(FITS)
        assert tab.js("parseFloat(getComputedStyle(document.querySelector('td')).fontSize)") >= 20
        assert tab.js(CUT) == []
    assert tab.js("document.querySelectorAll('main img, main script').length") == 0
    shown = set(tab.js("Array.from(document.querySelectorAll('tbody th'), (e) => e.textContent)"))
    assert {HOSTILE[0], HOSTILE[1], "__proto__", "x" * 40, "\\u202egnp.exe\\u2066"} <= shown


def test_who_steers_hides_names_and_removes_rows_and_the_wall_looks_on(
    boards: Boards, browser: Browser
) -> None:
    tab, wall = browser.tab(), browser.tab()
    open_page(tab, boards)
    wall.go(boards.board.page.wall_link)
    wall.wait(LIVE)
    for number, name in enumerate(("bob", "ada")):
        boards.board.rows.tell(
            {"key": f"{number:064}", "name": name, "kind": "server", "result": result(number + 3)}
        )
    wall.wait(f"{ROWS} === 2")
    assert wall.js("document.getElementById('names').offsetParent") is None
    tab.wait(f"{ROWS} === 2")
    first = "document.querySelector('tbody th').textContent"
    assert (tab.js(first), tab.text("#order")) != ("", "")
    tab.press("o")
    tab.wait(f"{first} === 'ada'")
    tab.press("n")
    for each in (tab, wall):
        each.wait(f"{first} === 'student 1'")
    assert "bob" not in wall.js("document.body.textContent")
    wall.press("n")
    tab.press("Tab")
    tab.js("document.querySelector('tbody button').focus()")
    tab.press("Enter")
    tab.wait("document.getElementById('details').open")
    assert "3 of 12 hold" in tab.text("#details-list")
    tab.press("Escape")
    tab.wait("!document.getElementById('details').open")
    tab.press("Enter")
    tab.click("#remove")
    wall.wait(f"{ROWS} === 1")
    tab.press("p")
    assert tab.js("getComputedStyle(document.querySelector('.buttons')).display") == "none"
    tab.press("p")
    assert tab.js(f"({SAVED})()") == "number,name"
    for width in (320, 390, 1280, 2560):
        tab.resize(width, 800)
        tab.wait(f"innerWidth === {width}")
        assert tab.js("document.documentElement.scrollWidth") <= width
    assert tab.troubles() == wall.troubles() == []


SAVED = """async () => {
  let saved = null;
  const real = URL.createObjectURL;
  URL.createObjectURL = (blob) => { saved = blob; return real.call(URL, blob); };
  document.getElementById('save').click();
  while (!saved) await new Promise((done) => setTimeout(done, 10));
  URL.createObjectURL = real;
  return (await saved.text()).slice(0, 11);
}"""


def test_a_full_board_takes_bounded_memory_in_program_and_page(
    boards: Boards, browser: Browser
) -> None:
    def tell_all(stage: int) -> None:
        for number in range(MAX_ROWS):
            boards.board.rows.tell(
                {
                    "key": f"{number:064x}",
                    "name": "\u202e" * 10_000,
                    "kind": "server",
                    "result": result(stage, holds=["R-MSG-1" * 9] * 300),
                }
            )

    tab = browser.tab(width=1920, height=1080)
    open_page(tab, boards)
    tell_all(1)
    tab.wait(f"{ROWS} === {MAX_ROWS}")
    elements = "document.querySelectorAll('*').length"
    before = tab.js(elements)
    tracemalloc.start()
    for stage in range(10):
        tell_all(stage)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 1_000_000
    kept = sum(file.stat().st_size for file in boards._folder.iterdir())
    assert kept < 8_000_000
    tab.wait("!document.querySelector('.held:nth-child(10)')")
    assert tab.js(elements) < before + 100
    assert len(json.dumps(boards.board.state())) < 200_000
    assert tab.troubles() == []
