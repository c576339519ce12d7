"""`server.base.fair_line`: whoever comes alone is not made to wait for a crowd."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from support.patience import patience, until

from server.base.fair_line import FairLine, LineClosed, Turns


def order(turns: Turns[str], count: int) -> list[str]:
    return [turns.next()[1] for _ in range(count)]


def test_keys_take_turns_and_within_a_key_the_oldest_comes_first() -> None:
    turns: Turns[str] = Turns()
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        turns.add(item[0], item)
    assert order(turns, 6) == ["a1", "b1", "c1", "a2", "b2", "a3"]
    with pytest.raises(IndexError):
        turns.next()


def test_who_comes_new_has_its_turn_in_the_round_under_way() -> None:
    turns: Turns[str] = Turns()
    for number in range(500):
        turns.add("crowd", f"crowd {number}")
    assert order(turns, 3) == ["crowd 0", "crowd 1", "crowd 2"]
    turns.add("honest", "honest")
    assert turns.next()[1] == "honest"


def test_who_was_just_served_and_comes_again_at_once_stands_behind_those_who_wait() -> None:
    turns: Turns[str] = Turns()
    turns.add("a", "a1")
    turns.add("b", "b1")
    assert order(turns, 1) == ["a1"]
    turns.add("a", "a2")
    assert order(turns, 2) == ["b1", "a2"]


def test_ever_new_keys_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Turns, "REMEMBERED", 10)
    turns: Turns[str] = Turns()
    turns.add("waits", "waits")
    for number in range(100):
        turns.add(f"2001:db8::{number:x}", "")
        turns.next()
        assert len(turns._served) <= 10


class Line:
    """A line of one place that is taken, and the names of those who were served behind it."""

    def __init__(self) -> None:
        self.line = FairLine(1, "test")
        self.served: list[str] = []
        self.threads: list[threading.Thread] = []
        self.go = threading.Event()
        self._take(("first", "first"), self.go.wait)
        until(lambda: self.served == ["first"], "the place is not taken")

    def _take(self, who: tuple[str, str], then: Callable[[], object]) -> None:
        def run() -> None:
            try:
                with self.line.place(*who):
                    self.served.append(who[1])
                    then()
            except LineClosed:
                self.served.append(f"{who[1]} sent away")

        thread = threading.Thread(target=run)
        thread.start()
        self.threads.append(thread)

    def wait(self, group: str, member: str) -> None:
        """Let somebody stand in the line."""
        before = self.line.waiting
        self._take((group, member), lambda: None)
        until(lambda: self.line.waiting == before + 1, "nobody stands in the line")

    def finish(self) -> list[str]:
        self.go.set()
        for thread in self.threads:
            thread.join(patience(10))
        return self.served[1:]


def test_a_crowd_of_one_group_makes_another_wait_for_one_of_it() -> None:
    line = Line()
    for number in range(20):
        line.wait("192.0.2.1", f"x{number}")
    line.wait("192.0.2.2", "honest")
    assert line.finish()[:2] == ["x0", "honest"]


def test_within_a_group_members_take_turns() -> None:
    line = Line()
    for _ in range(20):
        line.wait("192.0.2.1", "unknown")
    line.wait("192.0.2.1", "honest")
    assert line.finish()[:2] == ["unknown", "honest"]


def test_a_closed_line_sends_away_who_waits_at_once() -> None:
    line = Line()
    line.wait("a", "a")
    line.wait("b", "b")
    line.line.close()
    for thread in line.threads[1:]:
        thread.join(patience(10))
    assert sorted(line.served) == ["a sent away", "b sent away", "first"]
    with pytest.raises(LineClosed), line.line.place("c", "c"):
        pass
    assert len(line.finish()) == 2


def test_who_gives_up_leaves_its_place_to_the_next() -> None:
    line = Line()
    with pytest.raises(TimeoutError), line.line.place("a", "a", patience=0.01):
        pass
    line.wait("b", "b")
    assert line.finish() == ["b"]
    with line.line.place("c", "c", patience=0.0):
        pass
