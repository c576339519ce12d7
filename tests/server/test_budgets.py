"""The rates of accounts and addresses, and the memory that is held for clients."""

from __future__ import annotations

import threading

import pytest
from support.in_process import Clock
from support.patience import patience, until

from server.base.limits import LoginThrottle, MemoryBudget, RateLimits


def test_an_account_has_one_bucket_and_an_address_a_larger_one_of_its_own() -> None:
    clock = Clock(0.0)
    rates = RateLimits(20, 100, clock)
    assert [rates.charge_account(1) for _ in range(100)] == [0.0] * 100
    assert rates.charge_account(1, 0) == 0.0, "the burst is used up, and nothing is owed"
    assert rates.charge_account(1) == pytest.approx(1 / 20) == rates.charge_account(1, 0)
    assert rates.charge_account(2) == 0.0, "another account has its own"
    assert [rates.charge_address("192.0.2.1") for _ in range(2_000)] == [0.0] * 2_000
    assert rates.charge_address("192.0.2.1") == pytest.approx(1 / 400)
    assert rates.charge_address("192.0.2.2") == 0.0
    clock.now += 5.0
    assert [rates.charge_account(1) for _ in range(99)] == [0.0] * 99


def test_only_full_buckets_are_forgotten() -> None:
    clock = Clock(0.0)
    rates = RateLimits(20, 100, clock)
    for account_id in range(RateLimits.MORE):
        rates.charge_account(account_id)
    clock.now += 10.0
    rates.charge_account(0, 101)
    for account_id in range(RateLimits.MORE, 2 * RateLimits.MORE):
        rates.charge_account(account_id)
    assert len(rates._buckets) <= RateLimits.MORE + 1
    assert rates.charge_account(0, 0) == pytest.approx(1 / 20)


def test_no_rate_means_no_waiting() -> None:
    rates = RateLimits(0, 100, Clock(0.0))
    assert [rates.charge_account(1) for _ in range(1_000)] == [0.0] * 1_000
    assert [rates.charge_address("x") for _ in range(5_000)] == [0.0] * 5_000


def test_who_logged_in_from_an_address_stands_there_for_itself() -> None:
    throttle = LoginThrottle(5, Clock(0.0))
    assert throttle.who("192.0.2.1", "ada") == ("192.0.2.1", "")
    throttle.succeeded("192.0.2.1", "ada")
    assert throttle.who("192.0.2.1", "ada") == ("192.0.2.1", "ada")
    assert throttle.who("192.0.2.2", "ada") == ("192.0.2.2", "")


def in_thread(budget: MemoryBudget, size: int, gone: threading.Event) -> threading.Thread:
    thread = threading.Thread(target=budget.reserve, args=(size, gone.is_set))
    thread.start()
    return thread


def test_who_reserves_waits_for_room_and_asks_for_it() -> None:
    budget, gone = MemoryBudget(1_000), threading.Event()
    budget.reserve(700, gone.is_set)
    waiting = in_thread(budget, 500, gone)
    assert budget.over.wait(patience(10)), "nobody is asked to make room"
    assert (budget.held, budget.excess) == (700, 200)
    budget.add(-300)
    waiting.join(patience(10))
    assert (budget.held, budget.excess, budget.over.is_set()) == (900, -100, False)


def test_who_is_gone_waits_for_no_room() -> None:
    budget, gone = MemoryBudget(1_000), threading.Event()
    budget.add(900)
    waiting = in_thread(budget, 500, gone)
    until(budget.over.is_set, "nobody is asked to make room")
    gone.set()
    waiting.join(patience(10))
    assert not waiting.is_alive() and budget.held == 1_400
    budget.add(-500)
    assert not budget.over.is_set()


def test_without_a_limit_nobody_waits() -> None:
    budget = MemoryBudget(0)
    budget.reserve(2**40, lambda: False)
    assert not budget.over.is_set() and budget.excess == 0
    assert budget.share(100, 8) == 100 and MemoryBudget(400).share(100, 8) == 50
