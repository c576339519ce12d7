"""Housekeeping: marks are stored piece by piece, none is lost; a locked database is told once."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.gates import account_id, another_process
from support.in_process import Clock, Serve, member
from support.patience import patience
from support.raw_client import error_code

from server.base.limits import MemoryBudget
from server.base.wall_clock import WallClock
from server.handlers.sessions import MARKS_AT_ONCE
from server.running.housekeeping import LOOK_EVERY_SECONDS, MARKS_EVERY_SECONDS, Housekeeping
from server.state.recent_messages import RecentMessages
from server.state.registry import Registry
from server.state.restrictions import Restrictions
from server.state.room_directory import RoomDirectory
from server.state.session import Session
from server.writing.delivery import Delivery
from server.writing.journaling import JournalKeeper
from storage import accounts, rooms
from storage.database import Database
from storage.errors import StorageFull
from storage.journal import Journal

ROOMS = 2 * MARKS_AT_ONCE + 7


class FakeRegistry(Registry):
    """A register of sessions without connections."""

    def __init__(self, *sessions: Session) -> None:
        super().__init__(0, 0)
        self._made_up = list(sessions)

    def sessions(self) -> list[Session]:
        return self._made_up


def session_of(account_id: int) -> Session:
    nothing: object = None
    return Session(account_id, "ann", "ann", 1, b"", frozenset(), nothing, nothing, nothing)  # type: ignore[arg-type]


class House:
    """The housekeeping of a database with many rooms and one session."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock(0.0)
        self.database = Database(folder / "chat.db", readers=1)
        with self.database.transaction() as connection:
            ann = accounts.create(connection, "ann", "ann", "record", 1)
            for number in range(ROOMS):
                rooms.create_open(connection, f"r{number}", ann.id, 1)
        (folder / "journal").mkdir()
        journal = JournalKeeper(self.database, Journal(folder / "journal"), self.clock)
        self.session = session_of(ann.id)
        registry = FakeRegistry(self.session)
        self.recent = RecentMessages(MemoryBudget(0))
        self.keeping = Housekeeping(
            self.database,
            registry,
            Delivery(registry, journal),
            RoomDirectory(self.database),
            Restrictions(self.clock, WallClock(lambda: 1, 0)),
            journal,
            self.recent,
            self.clock,
            WallClock(lambda: 1, 0),
        )

    def marks(self) -> dict[int, int]:
        with self.database.reading() as reader:
            return dict(reader.execute("SELECT room_pk, message_id FROM marks").fetchall())

    def work(self) -> bool:
        """Let the time for marks come, and do the work of an idle writer."""
        self.clock.now += MARKS_EVERY_SECONDS
        return self.keeping.periodic_work(None)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.database.close()


def test_only_marks_that_have_changed_are_written(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[int, int, int]] = []
    advance = rooms.advance_marks

    def spy(connection: sqlite3.Connection, marks: list[tuple[int, int, int]]) -> None:
        written.extend(marks)
        advance(connection, marks)

    monkeypatch.setattr(rooms, "advance_marks", spy)
    for pk in range(1, 101):
        house.session.mark(pk, 5)
    house.work()
    assert len(written) == 100
    written.clear()
    house.session.mark(7, 6)
    house.session.mark(8, 4)  # older than what is marked
    house.work()
    assert written == [(house.session.account_id, 7, 6)]


def test_many_marks_are_stored_piece_by_piece_and_all_of_them(house: House) -> None:
    for pk in range(1, ROOMS + 1):
        house.session.mark(pk, pk)
    assert house.work()
    assert len(house.marks()) == MARKS_AT_ONCE
    assert house.keeping.periodic_work(None), "the rest follows at once"
    assert not house.keeping.periodic_work(None)
    assert house.marks() == {pk: pk for pk in range(1, ROOMS + 1)}


def test_marks_of_a_transaction_that_failed_are_stored_by_the_next(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.session.mark(1, 5)
    house.session.mark(2, 5)

    def fail(connection: sqlite3.Connection, marks: object) -> None:
        house.session.mark(2, 9)  # comes while the disk fails
        raise StorageFull("full")

    with monkeypatch.context() as patch:
        patch.setattr(rooms, "advance_marks", fail)
        with pytest.raises(StorageFull):
            house.work()
    assert house.marks() == {}
    house.work()
    assert house.marks() == {1: 5, 2: 9}


def test_marks_set_while_others_are_taken_are_not_lost(house: House) -> None:
    """The session's thread and the writer's work on the same dictionary without a lock."""
    rounds, pks = 300, range(1, 51)
    done = threading.Event()

    def read_on() -> None:
        for number in range(1, rounds + 1):
            for pk in pks:
                house.session.mark(pk, number)
        done.set()

    reader = threading.Thread(target=read_on, name="reader")
    reader.start()
    while not done.is_set():
        house.work()
    reader.join(patience(10))
    house.work()
    assert house.marks() == dict.fromkeys(pks, rounds)


def test_a_locked_database_is_told_once_and_so_is_its_end(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(5):
        house.keeping.database_is_busy()
    house.keeping.transaction_ended(False)
    house.keeping.database_is_busy()
    house.keeping.transaction_ended(True)
    house.keeping.transaction_ended(True)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "another process keeps the database locked" in said[0] and "free again" in said[1]


def test_names_are_looked_up_before_the_writer_has_the_room_to_make(serve: Serve) -> None:
    service = serve(rate_limit=0)
    ada = member(service, "ada")
    turns: list[str] = []
    real = accounts.find

    def find(connection: sqlite3.Connection, folded: str) -> accounts.Account | None:
        turns.append(threading.current_thread().name)
        return real(connection, folded)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts, "find", find)
        names = ["ada"] * 999 + ["nobody"]
        refused = ada.ask("create_room", room_name="x", participants=names)
    assert error_code(refused) == "user_not_found"
    assert "writer" not in turns
    made = ada.ask("create_room", room_name="x", participants=["ADA"])
    assert made["action"] == "room_created"


def test_marks_of_an_account_that_was_erased_keep_nobody_from_talking(serve: Serve) -> None:
    service = serve()
    ada, bob = member(service, "ada"), member(service, "bob")
    number = account_id(service, "bob")
    (late,) = (one for one in service.registry.sessions() if one.chatid == bob.chatid)
    late.was_ended = True  # by `new-term`, and its thread is busy
    late.mark(1, 1)
    with another_process(service) as connection:
        for table in ("session_keys", "marks", "shares", "sessions"):
            connection.execute(f"DELETE FROM {table} WHERE account_id = ?", (number,))
        connection.execute("DELETE FROM accounts WHERE id = ?", (number,))
    service._housekeeping._marks_saved_at -= 2 * MARKS_EVERY_SECONDS
    assert ada.say("lobby", "on it goes")["status"] == "success"


def test_a_look_that_fails_is_made_again_and_heeded_until_then(house: House) -> None:
    looks: list[str] = []
    heeded: list[sqlite3.Connection] = []
    told: list[int] = []

    def fail_once() -> None:
        looks.append("look")
        if len(looks) == 1:
            raise RuntimeError("a defect")

    house.keeping.on_change_elsewhere = fail_once
    house.keeping.on_change_within = heeded.append
    house.keeping.tell_due = lambda: told.append(len(looks))
    with closing(sqlite3.connect(house.database.path)) as other, other:
        other.execute("UPDATE accounts SET last_seen = 1")
    house.clock.now += LOOK_EVERY_SECONDS
    with pytest.raises(RuntimeError):
        house.keeping.check_external_changes()
    assert told == [1], "what was put off is told all the same"
    with house.database.transaction() as connection:
        house.keeping.periodic_work(connection)
        assert heeded == [connection]
    for _ in range(2):
        house.clock.now += LOOK_EVERY_SECONDS
        house.keeping.check_external_changes()
    assert len(looks) == 2
