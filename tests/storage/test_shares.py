"""`storage.shares`: what an account has filled of the database is counted with each row, and added
up once for a database that is older than the count."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import accounts, messages, rooms, schema, shares, uploads
from storage.database import Database

ANN, BOB = 1, 2


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "chat.db", readers=1)
    with opened.transaction() as connection:
        for name in ("ann", "bob"):
            accounts.create(connection, name, name, "record", 1)
    yield opened
    opened.close()


def fill(opened: Database) -> int:
    """Store one row of each kind for ann, and return what they count as."""
    with opened.transaction() as connection:
        messages.insert(connection, 1, ANN, "Größe", 1, 1, None)
        rooms.create_open(connection, "other", ANN, 1)
        private = rooms.create_private(connection, "p-1", "team", ANN, [BOB], 1)
        rooms.mark_deleted(connection, private.pk, 2)
        uploads.store(
            connection, 1, ANN, "a", "a", 0, "text/plain", "00" * 32, 1, "0" * 32, 0, None
        )
    return (
        shares.MESSAGE_BYTES
        + len("Größe".encode())
        + 2 * shares.ROOM_BYTES
        + 2 * shares.MEMBER_BYTES
        + shares.FILE_BYTES
    )


def test_each_row_is_counted_with_whoever_made_it_also_when_it_is_deleted(
    database: Database,
) -> None:
    expected = fill(database)
    with database.reading() as connection:
        assert (shares.used(connection, ANN), shares.used(connection, BOB)) == (expected, 0)


def test_an_older_database_is_added_up_once(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fill(database)
    with database.transaction() as connection:
        connection.execute("DROP TABLE shares")
        # the steps behind it add columns, which can't be taken out again: they stay away this time
        connection.execute("PRAGMA user_version = 1")
    database.close()
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:2])
    for _ in range(2):
        opened = Database(tmp_path / "chat.db", readers=1)
        with opened.reading() as connection:
            assert (shares.used(connection, ANN), shares.used(connection, BOB)) == (expected, 0)
            assert connection.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)
        opened.close()


def test_what_is_undone_is_not_counted(database: Database) -> None:
    with pytest.raises(RuntimeError), database.transaction() as connection:
        messages.insert(connection, 1, ANN, "hello", 1, 1, None)
        raise RuntimeError
    with database.reading() as connection:
        assert shares.used(connection, ANN) == 0
