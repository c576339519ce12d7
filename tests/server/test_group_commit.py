"""GroupCommit: the writer waits for changes that are under way, and never where there are none."""

from __future__ import annotations

import pytest

from server.writing.group_commit import GroupCommit


def test_a_single_change_never_waits() -> None:
    estimate = GroupCommit()
    assert estimate.wait_seconds(1, now=100.0) == 0.0
    estimate.committed(1, 100.0, 100.004)
    assert estimate.wait_seconds(1, now=100.005) == 0.0


def test_after_a_commit_of_many_the_first_change_waits_for_the_rest() -> None:
    estimate = GroupCommit()
    estimate.committed(16, 100.0, 100.004)
    assert estimate.expected == 16
    assert estimate.wait_seconds(1, now=100.005) == pytest.approx(0.004)
    assert estimate.wait_seconds(16, now=100.005) == 0.0, "all are there"


def test_the_wait_is_as_long_as_the_last_commit_and_10_ms_at_most() -> None:
    estimate = GroupCommit()
    estimate.committed(16, 100.0, 103.0)
    assert estimate.wait_seconds(1, now=103.001) == 0.01


def test_a_commit_of_long_ago_says_nothing() -> None:
    estimate = GroupCommit()
    estimate.committed(16, 100.0, 100.004)
    assert estimate.wait_seconds(1, now=100.1) == 0.0
    assert estimate.expected == 1


def test_where_nothing_came_nothing_more_is_expected() -> None:
    estimate = GroupCommit()
    estimate.committed(16, 100.0, 100.004)
    estimate.wait_seconds(0, now=100.005)
    assert estimate.expected == 1
    assert estimate.wait_seconds(1, now=100.006) == 0.0


def test_what_does_not_come_is_expected_less_and_less() -> None:
    estimate = GroupCommit()
    estimate.committed(20, 100.0, 100.004)
    expected = []
    for _ in range(3):
        estimate.committed(1, 100.0, 100.004)
        expected.append(estimate.expected)
    assert expected == [18, 16, 14], "nine tenths each time, rounded down"
    estimate.committed(30, 100.0, 100.004)
    assert estimate.expected == 30, "and at once more, where more came"
