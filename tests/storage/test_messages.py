"""`storage.messages`: order by id whatever the clock does, pages in every form, and an index range
behind each."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.seed import drawn

from storage import accounts, messages, rooms, sequences, shares
from storage.database import Database
from storage.errors import StorageError


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "chat.db", readers=1)
    with opened.transaction() as connection:
        for name in ("ann", "bob"):  # ids 1 and 2
            accounts.create(connection, name, name, "record", 1)
        rooms.create_open(connection, "other", 1, 1)  # pk 2
    yield opened
    opened.close()


def say(
    connection: sqlite3.Connection,
    sent_at: int,
    room: int = 1,
    sender: int = 1,
    key: str | None = None,
) -> int:
    high = max(messages.clock_high(connection), sent_at)
    return messages.insert(connection, room, sender, f"at {sent_at}", sent_at, high, key)


def test_a_message_is_found_by_its_id_and_by_its_senders_key(database: Database) -> None:
    with database.transaction() as connection:
        assert messages.clock_high(connection) == 0
        number = say(connection, 7, key="k")
        expected = messages.Message(number, 1, 1, "ann", "at 7", 7)
        assert (
            messages.get(connection, number)
            == expected
            == messages.by_transaction(connection, 1, "k")
        )
        assert messages.get(connection, number + 1) is None
        assert messages.by_transaction(connection, 2, "k") is None
        assert messages.clock_high(connection) == 7


def test_a_senders_key_stores_once_and_each_sender_has_its_own(database: Database) -> None:
    with database.transaction() as connection:
        say(connection, 7, key="k")
        say(connection, 7, sender=2, key="k")
        with pytest.raises(StorageError, match="UNIQUE"), database.savepoint(connection):
            say(connection, 8, key="k")
        assert len(list(messages.page(connection, 1, limit=9))) == 2


def test_messages_are_numbered_without_gaps_within_their_room(database: Database) -> None:
    with database.transaction() as connection:
        for room in (1, 2, 1, 1, 2):
            say(connection, 5, room)
        numbered = connection.execute(
            "SELECT room_pk, room_number FROM messages ORDER BY id"
        ).fetchall()
    assert numbered == [(1, 1), (2, 1), (1, 2), (1, 3), (2, 2)]


def test_a_clock_that_jumps_changes_no_order_and_loses_no_message_from_a_page(
    database: Database,
) -> None:
    with database.transaction() as connection:
        for sent_at in (100, 200, 150, 150, 199, 201, 1000, 202):
            say(connection, sent_at)

        def times(from_time: int, limit: int = 9) -> list[int]:
            return [
                message.sent_at
                for message in messages.page(connection, 1, from_time=from_time, limit=limit)
            ]

        assert times(0) == [100, 200, 150, 150, 199, 201, 1000, 202]
        assert times(151) == [200, 199, 201, 1000, 202]
        assert times(151, limit=2) == [200, 199]
        assert times(202) == [1000, 202]
        assert times(1001) == []
        assert messages.clock_high(connection) == 1000


def test_every_combination_of_filters_gives_what_a_plain_search_gives(database: Database) -> None:
    """Against a model: 120 messages in two rooms by a clock that jumps, all filters at and around
    the edges."""
    chance = drawn("reading marks")
    with database.transaction() as connection:
        for _ in range(120):
            say(
                connection,
                chance.choice([50, 51, 52, 60]) + chance.randrange(3),
                chance.choice([1, 1, 2]),
            )
        everything = [message for message in messages.since(connection, 0) if message.room_pk == 1]
        ids: list[int | None] = [None, 0, 1, 40, 119, 120, 500]
        for from_time, after, before, newest, limit in itertools.product(
            [None, 0, 52, 62, 99], ids, ids, [False, True], [1, 7, 1000]
        ):
            expected = [
                message
                for message in everything
                if (from_time is None or message.sent_at >= from_time)
                and (after is None or message.id > after)
                and (before is None or message.id < before)
            ]
            backwards = newest or before is not None
            expected = expected[: -limit - 1 : -1] if backwards else expected[:limit]
            found = list(
                messages.page(
                    connection,
                    1,
                    from_time=from_time,
                    after_id=after,
                    before_id=before,
                    newest=newest,
                    limit=limit,
                )
            )
            assert found == expected, (from_time, after, before, newest, limit)


def test_a_second_is_found_whole_wherever_the_clock_put_it(database: Database) -> None:
    with database.transaction() as connection:
        ids = [say(connection, sent_at) for sent_at in (10, 11, 10, 12, 10)]
        say(connection, 10, room=2)
        assert [message.id for message in messages.page_within_second(connection, 1, 10, 0, 9)] == [
            ids[0],
            ids[2],
            ids[4],
        ]
        assert [
            message.id for message in messages.page_within_second(connection, 1, 10, ids[0], 1)
        ] == [ids[2]]
        assert list(messages.page_within_second(connection, 1, 13, 0, 9)) == []


def test_since_gives_all_rooms_in_order(database: Database) -> None:
    with database.transaction() as connection:
        ids = [say(connection, 5, room) for room in (1, 2, 1)]
        assert [message.id for message in messages.since(connection, ids[0])] == ids[1:]


# -- nothing is scanned ----------------------------------------------------------------------------


def test_lost_messages_are_put_back_under_their_ids_and_counted_anew(database: Database) -> None:
    with database.transaction() as connection:
        for sent_at, room in ((5, 1), (9, 2), (6, 1), (7, 2), (8, 1)):
            say(connection, sent_at, room)
        connection.execute("UPDATE messages SET announce = 1 WHERE id = 3")
        whole = connection.execute("SELECT * FROM messages ORDER BY id").fetchall()
        lost = [messages.get(connection, number) for number in (2, 3)]
        connection.execute("DELETE FROM messages WHERE id IN (2, 3)")
        assert [messages.put_back(connection, each) for each in lost if each] == [True, True]
        assert not any(messages.put_back(connection, each) for each in lost if each)
        messages.renumber(connection, 2)
        assert connection.execute("SELECT * FROM messages ORDER BY id").fetchall() == whole


def test_what_is_put_back_counts_in_its_senders_share(database: Database) -> None:
    with database.transaction() as connection:
        before = shares.used(connection, 1)
        lost = messages.Message(7, 1, 1, "ann", "said", 5)
        messages.put_back(connection, lost)
        messages.put_back(connection, lost)  # it is there
        assert shares.used(connection, 1) == before + messages.share_bytes("said")


@pytest.mark.parametrize("stored", [0, 3])
def test_ids_that_the_journal_knows_are_not_given_again(database: Database, stored: int) -> None:
    with database.transaction() as connection:
        for _ in range(stored):
            say(connection, 1)
        sequences.reserve(connection, "messages", 7)
        assert say(connection, 1) == 8
        sequences.reserve(connection, "messages", 7)
        assert say(connection, 1) == 9


def plan(connection: sqlite3.Connection, sql: str, values: list[int]) -> list[str]:
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]


FORMS = list(itertools.product([None, 50], [None, 10], [None, 90], [False, True]))


@pytest.mark.parametrize("with_statistics", [False, True])
@pytest.mark.parametrize(("from_time", "after", "before", "newest"), FORMS)
def test_every_form_of_a_page_walks_an_index_range(
    database: Database,
    from_time: int | None,
    after: int | None,
    before: int | None,
    newest: bool,
    with_statistics: bool,
) -> None:
    with database.transaction() as connection:
        if with_statistics:  # a plan must not turn bad once somebody runs ANALYZE
            for number in range(100):
                say(connection, number, 1 + number % 2)
            connection.execute("ANALYZE")
        backwards = newest or before is not None
        steps = plan(connection, *messages._page_query(1, from_time, after, before, backwards, 10))
    assert not [step for step in steps if "SCAN" in step or "TEMP B-TREE" in step], steps
    bounds = " AND ".join(
        ["id>?"] * (after is not None or from_time is not None) + ["id<?"] * (before is not None)
    )
    assert "messages_by_room (room_pk=?" + (f" AND {bounds})" if bounds else ")") in steps[
        0
    ].replace("COVERING ", ""), steps
    if from_time is not None:
        assert any("messages_by_clock (room_pk=? AND clock_high>?)" in step for step in steps), (
            steps
        )


@pytest.mark.parametrize("with_statistics", [False, True])
@pytest.mark.parametrize(
    ("sql", "values", "index"),
    [
        (
            messages._SECOND,
            [1, 5, 0, 9],
            "messages_by_second (room_pk=? AND sent_at=? AND rowid>?)",
        ),
        (
            f"{messages._SELECT} WHERE m.sender_id = ? AND m.transaction_id = ?",
            [1, 1],
            "messages_by_transaction (sender_id=? AND transaction_id=?)",
        ),
        (
            "SELECT room_number FROM messages WHERE room_pk = ? ORDER BY id DESC LIMIT 1",
            [1],
            "COVERING INDEX messages_by_room (room_pk=?)",
        ),
    ],
)
def test_every_other_search_walks_an_index_range(
    database: Database, sql: str, values: list[int], index: str, with_statistics: bool
) -> None:
    with database.transaction() as connection:
        if with_statistics:
            for number in range(100):
                say(connection, number, 1 + number % 2)
            connection.execute("ANALYZE")
        steps = plan(connection, sql, values)
    assert index in steps[0], steps
    assert not [step for step in steps if "SCAN" in step or "TEMP B-TREE" in step], steps


def test_counting_what_is_unread_reads_no_more_than_a_few_index_entries(database: Database) -> None:
    with database.transaction() as connection:
        for _ in range(300):
            say(connection, 5)
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        connection.set_progress_handler(count, 1)
        assert rooms.overview(connection, 1, 2).unread == 300
        connection.set_progress_handler(None, 0)
    assert steps < 100
