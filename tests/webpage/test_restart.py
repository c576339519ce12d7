"""A page that is open when its program is started again, and a new link for who has lost it."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.page_client import PageClient
from support.patience import patience

from webpage import Page, kept, new_links, terminal_key
from webpage.gate import CONTROL, VIEW, Gate, Pass
from webpage.refusals import Refused

PORT = 8080


class Visitor:
    """A browser's side of entering: its token, and its cookies."""

    def __init__(self, token: str) -> None:
        self.token, self.cookies = token, "other=1"

    def enter(self, gate: Gate) -> Pass:
        given, cookie = gate.enter({"X-Page-Token": self.token, "Cookie": self.cookies})
        self.token, self.cookies = given.token, f"other=1; {cookie.partition(';')[0]}"
        return given


@pytest.fixture
def before() -> Gate:
    """The run before."""
    return Gate(PORT)


@pytest.fixture
def teacher(before: Gate) -> Visitor:
    """Who has entered by the first link of the run before."""
    teacher = Visitor(before.token(CONTROL))
    teacher.enter(before)
    return teacher


@pytest.mark.parametrize("role", [CONTROL, VIEW])
def test_who_was_let_in_goes_on_after_a_restart(before: Gate, role: str) -> None:
    browser = Visitor(before.token(role))
    browser.enter(before)
    gate = Gate(PORT, earlier=before.digests())
    for _ in range(2):  # an answer may be lost
        old = (browser.token, browser.cookies)
        given = browser.enter(gate)
        assert (given.role, given.token) == (role, gate.token(role))
        assert gate.actor({"X-Page-Token": browser.token, "Cookie": browser.cookies}) == role
        assert browser.enter(gate) == given
        browser.token, browser.cookies = old


def test_a_token_of_the_run_before_is_worth_nothing_without_its_cookie(
    before: Gate, teacher: Visitor
) -> None:
    gate = Gate(PORT, earlier=before.digests())
    for cookies in ("", "other=1", f"webpage-{PORT}-control=x"):
        with pytest.raises(Refused, match="earlier run"):
            gate.enter({"X-Page-Token": teacher.token, "Cookie": cookies})
    with pytest.raises(Refused, match="earlier run"):
        gate.enter({"X-Page-Token": gate.digests()[CONTROL], "Cookie": teacher.cookies})


def test_only_one_browser_controls_after_a_restart(before: Gate, teacher: Visitor) -> None:
    gate = Gate(PORT, earlier=before.digests())
    teacher.enter(gate)
    with pytest.raises(Refused, match="used by another browser"):
        Visitor(gate.token(CONTROL)).enter(gate)


def test_who_opens_the_new_link_first_takes_the_place_of_the_run_before(
    before: Gate, teacher: Visitor
) -> None:
    gate = Gate(PORT, earlier=before.digests())
    Visitor(gate.token(CONTROL)).enter(gate)
    with pytest.raises(Refused, match="earlier run"):
        teacher.enter(gate)


def test_a_new_link_ends_the_run_before_too(before: Gate, teacher: Visitor) -> None:
    gate = Gate(PORT, earlier=before.digests())
    gate.renew_control()
    with pytest.raises(Refused, match="earlier run"):
        teacher.enter(gate)


def test_what_is_kept_opens_nothing_and_only_its_owner_reads_it(
    make_page: Callable[..., Page], tmp_path: Path
) -> None:
    path = tmp_path / "state" / "page.json"
    page = make_page(kept=path)
    text = path.read_text()
    assert page.link.partition("#")[2] not in text
    assert page.wall_link.partition("#")[2] not in text
    assert sorted(json.loads(text)) == [CONTROL, VIEW]
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    page.renew_link()
    assert path.read_text() != text


@pytest.mark.parametrize("text", ["", "[]", '{"control": 1, "x": []}', "{" * 99_999, "\0"])
def test_a_damaged_file_lets_nobody_in(tmp_path: Path, text: str) -> None:
    (tmp_path / "page.json").write_text(text)
    gate = Gate(PORT, earlier=kept.load(tmp_path / "page.json"))
    with pytest.raises(Refused, match="earlier run"):
        gate.enter({"X-Page-Token": "x", "Cookie": f"webpage-{PORT}-control=x"})


def test_a_file_that_can_not_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    kept.save(tmp_path / "a file" / "page.json", {"control": "x"})
    assert kept.load(tmp_path / "a file" / "page.json") == {}


# --- The key --------------------------------------------------------------------------------------


def test_l_and_enter_give_a_new_link(make_page: Callable[..., Page]) -> None:
    page, said = make_page(), list[str]()
    old = PageClient(page.link)
    assert old.enter().status == 200
    read, write = os.pipe()
    keys = threading.Thread(target=terminal_key.obey, args=(page, said.append, read), name="keys")
    keys.start()
    os.write(write, b"\n")
    os.write(write, b"l\n")
    os.write(write, b"help\n")
    os.close(write)
    keys.join(patience(10))
    os.close(read)
    assert any(page.link in line for line in said)
    assert old.act("double", {"n": 1}).status == 403
    assert PageClient(page.link).enter().status == 200


def test_where_nobody_types_nothing_is_read(make_page: Callable[..., Page]) -> None:
    read, write = os.pipe()
    try:
        new_links(make_page(), print, read)
        assert not any(thread.name == "page-key" for thread in threading.enumerate())
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals here")
def test_the_key_is_read_from_a_terminal(make_page: Callable[..., Page]) -> None:
    page, said = make_page(), threading.Event()
    top, terminal = os.openpty()
    try:
        new_links(page, lambda line: said.set(), terminal)
        keys = next(each for each in threading.enumerate() if each.name == "page-key")
        os.write(top, b"l\n")
        assert said.wait(patience(10))
    finally:
        os.close(top)  # who reads the terminal is told that it is gone
        keys.join(patience(10))
        os.close(terminal)
