"""What several threads share keeps its counts when they come at once, also on a Python without the
GIL, where they really run at the same time.

Each test lets threads loose on one structure and compares what is left with what must be: nothing
lost, nothing counted twice. Where there is a GIL it is handed on as often as it can be.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import cast

import pytest
from support.in_process import Clock
from support.patience import patience
from support.server_parts import connection, open_room, session

from server.base import logs
from server.base.limits import LoginThrottle, MemoryBudget, RateLimits
from server.base.locks import Rank, RankedLock
from server.handlers.sessions import put_marks_back, take_marks
from server.state.open_transactions import Transaction, Transactions
from server.state.recent_messages import RecentMessages, Resends, delivered, receiver_transaction
from server.state.registry import Registry
from server.state.room_directory import RoomDirectory
from storage.database import Database
from storage.messages import Message

THREADS = 4
TIMES = 200


@pytest.fixture(autouse=True)
def _short_turns() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(*acts: Callable[[], None]) -> None:
    """Run each in a thread of its own, all from the same moment; raise the first error."""
    start, errors = threading.Barrier(len(acts)), list[BaseException]()

    def run(act: Callable[[], None]) -> None:
        start.wait(patience(10))
        try:
            act()
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=(act,), name=f"at-once-{number}", daemon=True)
        for number, act in enumerate(acts)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience(30))
        assert not thread.is_alive(), f"{thread.name} hangs"
    if errors:
        raise errors[0]


def test_a_ranked_lock_lets_one_in_at_a_time() -> None:
    lock, counts = RankedLock(Rank.REGISTRY, "stress"), [0]

    def count() -> None:
        for _ in range(TIMES):
            with lock:
                seen = counts[0]
                assert lock.locked() and lock.held_here()
                counts[0] = seen + 1

    at_once(*[count] * THREADS)
    assert counts == [THREADS * TIMES] and not lock.locked()


def test_connections_that_come_and_go_at_once_leave_no_count() -> None:
    registry = Registry(0, max_per_address=THREADS)

    def come_and_go() -> None:
        for _ in range(TIMES):
            peer = connection(address="192.0.2.1")
            registry.add_connection(peer)
            assert peer in registry.connections()
            registry.remove_connection(peer)

    at_once(*[come_and_go] * THREADS)
    assert registry.connections() == [] and registry._by_address == {}
    assert registry.refuses("192.0.2.1", is_loopback=False) is None


def test_a_place_that_changes_hands_has_one_holder_and_the_audience_is_of_these() -> None:
    registry, room, over = Registry(0, 0), open_room(1), threading.Event()

    def log_in(account_id: int) -> None:
        for _ in range(TIMES):
            one = session(account_id)
            registry.go_online(one)
            registry.release(one)
            registry.has_ended(one)

    def look() -> None:
        while not over.is_set():
            heard = registry.audience(room)
            assert len({each.account_id for each in heard}) == len(heard), "one session an account"
            assert registry.online_ids() <= {1, 2}

    def log_in_all() -> None:
        try:
            at_once(*(lambda number=number: log_in(number) for number in (1, 1, 2)))
        finally:
            over.set()

    at_once(log_in_all, look)
    assert registry.sessions() == [] and registry._leaving == {}
    assert registry.audience(room) == () and registry.listeners() == ()


def test_of_guesses_that_come_at_once_each_counts_those_before_it() -> None:
    throttle, delays = LoginThrottle(2, Clock(0.0)), list[float]()
    at_once(*[lambda: delays.append(throttle.begin("192.0.2.1", "ada"))] * 6)
    assert sorted(delays) == [0.0, 0.0, 1.0, 2.0, 4.0, 8.0]

    def guess() -> None:
        for _ in range(TIMES):
            throttle.begin("192.0.2.1", "bob")
            throttle.end("192.0.2.1", "bob")

    at_once(*[guess] * THREADS)
    assert throttle.delay("192.0.2.1", "bob") == 0.0, "no attempt is left under way"


def test_requests_of_one_address_at_once_are_charged_as_one_after_the_other() -> None:
    rates, told = (RateLimits(5.0, 20.0, Clock(0.0)) for _ in range(2)), list[float]()
    shared, alone = rates

    def ask() -> None:
        told.extend([shared.charge_address("192.0.2.1") for _ in range(TIMES)])

    at_once(*[ask] * THREADS)
    expected = [alone.charge_address("192.0.2.1") for _ in range(THREADS * TIMES)]
    assert sorted(told) == pytest.approx(sorted(expected))


def test_a_message_is_sent_again_three_times_however_many_ask() -> None:
    resends, granted = Resends(), list[bool]()
    at_once(
        *[lambda: granted.extend(resends.count(1, number) for number in range(1, 50))] * THREADS
    )
    assert sum(granted) == 49 * Resends.MOST_TIMES


def test_what_is_held_and_given_back_at_once_adds_up_to_nothing() -> None:
    budget = MemoryBudget(1_000)

    def hold() -> None:
        for _ in range(TIMES):
            budget.reserve(100, lambda: False)
            budget.settle(100)
            budget.keep(10)
            budget.keep(-10)
            budget.settle(-100)
            budget.add(-100)

    at_once(*[hold] * THREADS)
    assert budget.held == 0 and budget.excess == -1_000 and not budget.over.is_set()


def test_transactions_opened_by_one_thread_and_expired_by_another_are_counted_out() -> None:
    budget, over = MemoryBudget(0), threading.Event()
    transactions = Transactions(8, budget)

    def send() -> None:
        for number in range(TIMES):
            one = Transaction(f"k{number % 16}", True, "lobby", "x" * 100, {"x": 100}, 5.0)
            reserved = transactions.reserve(one.content, lambda: False)
            if transactions.open(one, reserved) and number % 3:
                taken = transactions.take(one.transaction_id, to_store=True)
                if taken is not None:
                    transactions.settled(taken)
        over.set()

    def expire() -> None:
        while not over.is_set():
            transactions.expire(10.0)

    at_once(send, expire)
    transactions.drop_all()
    assert transactions.held == transactions.unsettled == budget.held == 0


def test_marks_are_taken_by_the_writer_while_their_session_makes_new_ones() -> None:
    reader, over, stored = session(1), threading.Event(), dict[int, int]()

    def take() -> None:
        for turn, (_, room, message) in enumerate(marks := take_marks([reader])):
            if turn % 5:
                stored[room] = max(message, stored.get(room, 0))
            else:
                put_marks_back(marks[turn : turn + 1])  # as after a disk that was full

    def read() -> None:
        for message in range(1, 5 * TIMES):
            reader.mark(message % 7, message)
        over.set()

    def write() -> None:
        while not over.is_set():
            take()

    at_once(read, write)
    for _, room, message in take_marks([reader]):
        stored[room] = max(message, stored.get(room, 0))
    assert stored == reader.marks, "the newest of each room is stored in the end"


def test_recent_messages_are_read_while_the_writer_adds_and_drops() -> None:
    budget, over = MemoryBudget(8 * 20_000), threading.Event()
    recent, newest = RecentMessages(budget), [0]

    def add() -> None:
        for number in range(1, 3 * TIMES):
            message = Message(number, 1, 1, "ada", "x" * 500, 0)
            recent.add(delivered("lobby", message, {"x": 500}))
            newest[0] = number
        over.set()

    def get() -> None:
        while not over.is_set():
            number = newest[0]
            for each in (number, max(1, number - 30), 1):
                found = recent.get(receiver_transaction(each))
                assert found is None or found.message_id == each

    at_once(add, get, get)
    assert recent.get(receiver_transaction(newest[0])) is not None
    recent.clear()
    assert budget.excess == -8 * 20_000, "what is remembered is counted out with it"


def test_lines_that_many_threads_log_are_written_or_counted() -> None:
    handler = logs._QueueHandler()

    def say() -> None:
        for number in range(TIMES):
            record = logging.LogRecord(
                "x", logging.INFO, __file__, 1, f"line {number % 9}", (), None
            )
            handler.handle(record)

    at_once(*[say] * THREADS)
    assert handler.lines.qsize() + handler.take_dropped() == THREADS * TIMES


def test_of_two_marks_of_a_room_that_come_back_the_newer_stays() -> None:
    reader = session(1)
    reader.mark(7, 1)
    taken = take_marks([reader])
    reader.mark(7, 2)
    taken += take_marks([reader])
    put_marks_back(taken)
    assert take_marks([reader]) == [(reader, 7, 2)]


@pytest.fixture
def rooms(monkeypatch: pytest.MonkeyPatch) -> RoomDirectory:
    """The rooms "1", "2" and so on, as storage would say of them."""
    monkeypatch.setattr(RoomDirectory, "_read", lambda self, room_id, _: open_room(int(room_id)))
    return RoomDirectory(cast(Database, SimpleNamespace(reading=nullcontext)))


def test_rooms_are_found_while_the_writer_changes_them(rooms: RoomDirectory) -> None:
    over = threading.Event()

    def change() -> None:
        for number in range(TIMES):
            rooms.begin_change(str(number % 4))
            rooms.end_changes()
        over.set()

    def find() -> None:
        while not over.is_set():
            for number in range(4):
                found = rooms.find(str(number))
                assert found is not None and found.room.pk == number

    at_once(change, find, find)


def test_a_room_that_is_known_is_found_without_the_lock(rooms: RoomDirectory) -> None:
    first = rooms.find("1")
    with rooms._lock:
        assert rooms.find("1") is first is not None
