"""The writer: order, one commit for many, backpressure, who is refused alone and who is not, and
that nothing is acknowledged which the disk did not keep."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from support.patience import patience

from protocol import ErrorCode, Refusal
from server.base.refusals import STORAGE_FULL
from server.writing.delivery import Delivery
from server.writing.writer import Change, Writer
from storage import accounts
from storage.database import Database
from storage.errors import NameTaken, StorageError, StorageFailed, StorageFull


class FakeDelivery:
    """Remembers when everything gathered was sent."""

    def __init__(self, events: list[str]) -> None:
        self._events = events

    def flush(self) -> None:
        self._events.append("flush")


class FailingDatabase:
    """A database whose next commits fail with the errors in `failures`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.failures: list[StorageError] = []

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        with self._database.transaction() as connection:
            yield connection
            if self.failures:
                raise self.failures.pop(0)

    def savepoint(self, connection: sqlite3.Connection) -> Any:
        return self._database.savepoint(connection)


class Step(Change):
    """A change that writes an account of its name, and notes what happens to it."""

    def __init__(self, events: list[str], name: str, error: Exception | None = None) -> None:
        self._events, self.name, self._error = events, name, error
        self.error: Exception | None = None
        self.done = threading.Event()

    def apply(self, connection: sqlite3.Connection) -> None:
        self._events.append(f"apply {self.name}")
        accounts.create(connection, self.name, self.name, "record", 1)
        if self._error is not None:
            raise self._error

    def committed(self, delivery: Delivery) -> None:
        self._events.append(f"committed {self.name}")

    def failed(self, error: Exception, delivery: Delivery) -> None:
        self.error = error
        self._events.append(f"failed {self.name}")

    def finished(self) -> None:
        self._events.append(f"finished {self.name}")
        self.done.set()


class CheckedStep(Step):
    """A change that checks everything before its first write."""

    needs_savepoint = False

    def apply(self, connection: sqlite3.Connection) -> None:
        if self._error is not None:
            self._events.append(f"apply {self.name}")
            raise self._error
        super().apply(connection)


class Bench:
    """A writer on a real database, with everything that happens in `events`. Not started: what is
    submitted before `start` comes together into one commit."""

    def __init__(self, folder: Path) -> None:
        self.events: list[str] = []
        self.gave_up: list[str] = []
        self.real = Database(folder / "chat.db")
        self.database = FailingDatabase(self.real)
        self.look: Callable[[], None] = lambda: self.events.append("check")
        self.periodic: Callable[[sqlite3.Connection | None], bool] = lambda connection: False
        self.writer = Writer(
            cast(Database, self.database),
            cast(Delivery, FakeDelivery(self.events)),
            check_external_changes=lambda: self.look(),
            periodic_work=lambda connection: self.periodic(connection),
            transaction_ended=lambda committed: self.events.append(
                "commit" if committed else "rollback"
            ),
            give_up=self.gave_up.append,
        )
        self._is_started = False

    def start(self) -> None:
        self._is_started = True
        self.writer.start()

    def submit(self, *names: str) -> list[Step]:
        steps = [Step(self.events, name) for name in names]
        for step in steps:
            self.writer.submit(step)
        return steps

    def step(self, name: str, error: Exception | None = None) -> Step:
        step = Step(self.events, name, error)
        self.writer.submit(step)
        return step

    def stored(self) -> list[str]:
        """The names of the accounts that are in the database, in the order of their making."""
        with self.real.reading() as reader:
            return [row[0] for row in reader.execute("SELECT chatid FROM accounts ORDER BY id")]

    def of(self, *kinds: str) -> list[str]:
        """The events of these kinds."""
        return [event for event in self.events if event.split()[0] in kinds]

    def close(self) -> None:
        if self._is_started:
            self.writer.stop(patience(10.0))
            assert not self.writer.is_alive
        self.real.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def wait_for(*steps: Step) -> None:
    for step in steps:
        assert step.done.wait(patience(10.0)), f"{step.name} is not finished"


# Order


def test_changes_that_wait_are_one_commit_in_the_order_of_their_coming(bench: Bench) -> None:
    steps = bench.submit("a", "b", "c")
    bench.start()
    wait_for(*steps)
    assert bench.events[:12] == [
        "check",
        *("apply a", "apply b", "apply c"),
        "commit",
        *("committed a", "committed b", "committed c"),
        "flush",
        *("finished a", "finished b", "finished c"),
    ]
    assert bench.stored() == ["a", "b", "c"]


def test_nothing_is_told_before_it_is_on_disk(bench: Bench) -> None:
    seen: list[list[str]] = []

    class Looks(Step):
        def committed(self, delivery: Delivery) -> None:
            seen.append(bench.stored())

    steps = [Looks(bench.events, name) for name in ("a", "b")]
    for step in steps:
        bench.writer.submit(step)
    bench.start()
    wait_for(*steps)
    assert seen == [["a", "b"], ["a", "b"]]


def test_a_commit_takes_a_batch_at_most(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Writer, "BATCH", 3)
    steps = bench.submit(*"abcdefg")
    bench.start()
    wait_for(*steps)
    kinds = [event.split()[0] for event in bench.of("apply", "commit")]
    assert kinds == ["apply"] * 3 + ["commit"] + ["apply"] * 3 + ["commit"] + ["apply", "commit"]
    assert bench.stored() == list("abcdefg")


def test_run_returns_what_the_change_gave_once_its_notifications_are_sent(bench: Bench) -> None:
    bench.start()
    told: list[str] = []

    def tell(result: int, delivery: Delivery) -> None:
        told.append(f"{result} after {bench.of('commit', 'flush')[-1]}")

    assert bench.writer.run(lambda connection: 42, tell) == 42
    assert told == ["42 after commit"]
    assert bench.of("commit", "flush")[-1] == "flush"


def test_later_does_not_wait_and_is_done_in_its_turn(bench: Bench) -> None:
    bench.writer.later(lambda connection: bench.events.append("apply later"))
    step = bench.step("a")
    bench.start()
    wait_for(step)
    assert bench.of("apply") == ["apply later", "apply a"]


def test_periodic_work_runs_inside_each_transaction_and_alone_where_nothing_is_to_write(
    bench: Bench,
) -> None:
    was_alone = threading.Event()

    def work(connection: sqlite3.Connection | None) -> bool:
        if connection is None:
            was_alone.set()
        else:
            assert connection.in_transaction
            bench.events.append("periodic")
        return False

    bench.periodic = work
    steps = bench.submit("a", "b")
    bench.start()
    wait_for(*steps)
    assert bench.events[:4] == ["check", "periodic", "apply a", "apply b"]
    assert was_alone.wait(patience(10.0))


def test_periodic_work_that_is_behind_goes_on_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Writer, "TICK_SECONDS", 3600.0)
    left, is_done = [5], threading.Event()

    def work(connection: sqlite3.Connection | None) -> bool:
        left[0] -= 1
        if not left[0]:
            is_done.set()
        return left[0] > 0

    bench.periodic = work
    step = bench.step("a")
    bench.start()
    wait_for(step)
    assert is_done.wait(patience(10.0))


# Backpressure


def test_a_full_queue_blocks_who_submits_until_there_is_room(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Writer, "QUEUE", 2)
    monkeypatch.setattr(Writer, "BATCH", 1)
    steps = bench.submit("a", "b")
    third = Step(bench.events, "c")
    thread = threading.Thread(target=bench.writer.submit, args=(third,), name="submits")
    thread.start()
    thread.join(0.05)
    assert thread.is_alive(), "the queue is full, and nobody takes from it"
    bench.start()
    thread.join(patience(10.0))
    assert not thread.is_alive()
    wait_for(*steps, third)
    assert bench.of("apply") == ["apply a", "apply b", "apply c"]


def test_who_waits_too_long_for_room_is_told_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Writer, "QUEUE", 1)
    monkeypatch.setattr(Writer, "PATIENCE_SECONDS", 0.01)
    bench.submit("a")
    with pytest.raises(StorageError, match="the disk kept the writer busy"):
        bench.submit("b")


def test_who_waits_too_long_for_an_answer_is_told_so(bench: Bench) -> None:
    with pytest.raises(StorageError, match=r"did not answer within 0\.01 s"):
        bench.writer.run(lambda connection: None, patience=0.01)


# Refused alone


def test_a_refused_change_is_undone_alone(bench: Bench) -> None:
    refusal = Refusal(ErrorCode.FORBIDDEN, "planted")
    before, refused, after = bench.step("a"), bench.step("b", refusal), bench.step("c")
    bench.start()
    wait_for(before, refused, after)
    assert refused.error is refusal
    assert bench.of("committed", "failed") == ["committed a", "failed b", "committed c"]
    assert bench.of("commit", "rollback") == ["commit"]
    assert bench.stored() == ["a", "c"]


def test_a_change_without_savepoint_is_refused_alone_too(bench: Bench) -> None:
    refused = CheckedStep(bench.events, "b", Refusal(ErrorCode.FORBIDDEN, "planted"))
    before = bench.step("a")
    bench.writer.submit(refused)
    after = CheckedStep(bench.events, "c")
    bench.writer.submit(after)
    bench.start()
    wait_for(before, refused, after)
    assert bench.of("committed", "failed") == ["committed a", "failed b", "committed c"]
    assert bench.stored() == ["a", "c"]


def test_a_name_that_is_taken_fails_alone(bench: Bench) -> None:
    first, second = bench.submit("a", "a")
    bench.start()
    wait_for(first, second)
    assert isinstance(second.error, NameTaken)
    assert bench.stored() == ["a"]


def test_run_raises_what_the_change_raised(bench: Bench) -> None:
    bench.start()

    def refuse(connection: sqlite3.Connection) -> None:
        raise Refusal(ErrorCode.FORBIDDEN, "planted")

    with pytest.raises(Refusal, match="planted"):
        bench.writer.run(refuse)


def test_a_defect_in_a_change_fails_that_change_alone(bench: Bench) -> None:
    broken, well = bench.step("a", ZeroDivisionError("planted")), bench.step("b")
    bench.start()
    wait_for(broken, well)
    assert isinstance(broken.error, ZeroDivisionError)
    assert bench.stored() == ["b"]


def test_a_defect_in_a_change_without_savepoint_stores_nothing_of_its_commit(
    bench: Bench,
) -> None:
    well, broken = bench.step("a"), CheckedStep(bench.events, "b", ZeroDivisionError("planted"))
    bench.writer.submit(broken)
    bench.start()
    wait_for(well, broken)
    assert bench.of("committed", "failed") == ["failed a", "failed b"]
    assert bench.of("commit", "rollback")[0] == "rollback"
    assert bench.stored() == []
    again = bench.step("c")
    wait_for(again)
    assert bench.stored() == ["c"], "the writer has outlived it"


def test_a_defect_after_the_commit_keeps_back_nobody_elses_answer(bench: Bench) -> None:
    class Broken(Step):
        def committed(self, delivery: Delivery) -> None:
            raise ZeroDivisionError("planted")

    broken, well = Broken(bench.events, "a"), Step(bench.events, "b")
    bench.writer.submit(broken)
    bench.writer.submit(well)
    bench.start()
    wait_for(broken, well)
    assert bench.of("committed") == ["committed b"]
    assert bench.stored() == ["a", "b"]


def test_a_look_that_always_fails_keeps_no_change_from_being_stored(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("planted")

    bench.look = fail
    monkeypatch.setattr(Writer, "BATCH", 1)
    steps = bench.submit("a", "b", "c")
    bench.start()
    wait_for(*steps)
    assert bench.stored() == ["a", "b", "c"]
    said = [record.getMessage() for record in caplog.records if record.exc_info]
    assert said == ["a defect in what others have written; the writer goes on"], "not each time"


# A disk that is full, busy or broken


def test_where_the_disk_is_full_the_whole_commit_is_refused_and_the_next_may_work(
    bench: Bench,
) -> None:
    bench.database.failures.append(StorageFull("planted"))
    steps = bench.submit("a", "b")
    bench.start()
    wait_for(*steps)
    assert [step.error for step in steps] == [STORAGE_FULL, STORAGE_FULL]
    assert bench.of("commit", "rollback") == ["rollback"]
    assert bench.of("committed") == [] and bench.stored() == []
    assert bench.gave_up == [], "a full disk ends nothing"
    again = bench.step("c")
    wait_for(again)
    assert again.error is None and bench.stored() == ["c"]


def test_where_the_disk_is_full_run_raises_storage_full(bench: Bench) -> None:
    bench.database.failures.append(StorageFull("planted"))
    bench.start()
    with pytest.raises(Refusal) as refusal:
        bench.writer.run(lambda connection: None)
    assert refusal.value is STORAGE_FULL


def test_another_trouble_of_the_database_fails_its_commit_only(bench: Bench) -> None:
    trouble = StorageError("planted: busy")
    bench.database.failures.append(trouble)
    step = bench.step("a")
    bench.start()
    wait_for(step)
    assert step.error is trouble
    again = bench.step("b")
    wait_for(again)
    assert bench.stored() == ["b"] and bench.gave_up == []


def test_after_the_disk_failed_everything_is_refused(bench: Bench) -> None:
    bench.database.failures.append(StorageFailed("planted"))
    step = bench.step("a")
    bench.start()
    wait_for(step)
    assert isinstance(step.error, StorageError)
    assert len(bench.gave_up) == 1 and "planted" in bench.gave_up[0]
    with pytest.raises(StorageError, match="nothing is stored any more"):
        bench.step("b")
    with pytest.raises(StorageError, match="nothing is stored any more"):
        bench.writer.run(lambda connection: None)
    assert bench.stored() == []


def test_what_waits_when_the_disk_fails_is_refused_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Writer, "BATCH", 1)
    bench.database.failures.append(StorageFailed("planted"))
    steps = bench.submit("a", "b", "c")
    bench.start()
    wait_for(*steps)
    assert all(isinstance(step.error, StorageError) for step in steps)
    assert bench.of("apply") == ["apply a"], "the others were not even tried"
    assert bench.stored() == []


def test_what_was_committed_while_the_disk_failed_elsewhere_is_not_acknowledged(
    bench: Bench,
) -> None:
    class SeesFailure(Step):
        def apply(self, connection: sqlite3.Connection) -> None:
            super().apply(connection)
            bench.writer.disk_failed(StorageFailed("planted: a file of an upload"))

    step = SeesFailure(bench.events, "a")
    bench.writer.submit(step)
    bench.start()
    wait_for(step)
    assert bench.of("commit", "rollback") == ["commit"], "SQLite says so, but who would believe it"
    assert bench.of("committed", "failed") == ["failed a"]


# The end


def test_stopping_writes_what_waits_and_takes_nothing_more(bench: Bench) -> None:
    steps = bench.submit("a", "b")
    bench.start()
    bench.writer.stop(patience(10.0))
    assert not bench.writer.is_alive
    assert all(step.done.is_set() and step.error is None for step in steps)
    assert bench.stored() == ["a", "b"]
    with pytest.raises(StorageError, match="the server is closing"):
        bench.step("c")


def test_stopping_wakes_who_waits_for_room(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Writer, "QUEUE", 1)
    bench.submit("a")
    outcome: list[str] = []

    def submit() -> None:
        try:
            bench.step("b")
            outcome.append("taken")
        except StorageError:
            outcome.append("refused")

    thread = threading.Thread(target=submit, name="submits")
    thread.start()
    bench.start()
    bench.writer.stop(patience(10.0))
    thread.join(patience(10.0))
    assert not thread.is_alive()
    assert outcome in (["taken"], ["refused"]), "either way it waits no more"
