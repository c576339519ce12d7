"""A copy of the database, made while a server writes to it, and the check of one that came from
elsewhere.

Owns the connections for that. Never changes the database that it copies. Any thread may call it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from storage import portable, schema
from storage.errors import FolderUnusable, StorageError, StorageFull

__all__ = ["check_copy", "copy_database", "reading_copy"]

PAGES_AT_ONCE = 4096
"""Pages copied between two looks at Ctrl-C: 16 MiB."""
PATIENCE_SECONDS = 10.0


def copy_database(source: Path, target: Path) -> None:
    """Copy the database at `source`, as it is at this moment, into the new file `target`, which is
    for its owner alone.

    SQLite's online backup (https://sqlite.org/backup.html), under one reading transaction: the
    server goes on writing meanwhile, and nothing of that is in the copy. Raises StorageFull or
    StorageError.
    """
    os.close(portable.open_own(target, os.O_RDWR | os.O_CREAT | os.O_EXCL))
    with (
        _translated(f"copying the database {source}"),
        closing(_connect(source, "ro")) as original,
        closing(_connect(target, "rw")) as copy,
    ):
        copy.execute("PRAGMA synchronous = OFF")  # whoever takes the copy syncs it
        original.execute("BEGIN")
        original.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        original.backup(copy, pages=PAGES_AT_ONCE, progress=lambda *_: None)


@contextmanager
def reading_copy(path: Path) -> Iterator[sqlite3.Connection]:
    """Lend a connection to a copy that nobody else has open; it can't write."""
    with _translated(f"reading the copy {path}"), closing(_connect(path, "ro&immutable=1")) as copy:
        yield copy


_OF_ANALYZE = (
    "CREATE TABLE sqlite_stat1(tbl,idx,stat)",
    "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)",
)
"""What ANALYZE adds, which a browser of databases may run (sqlite.org/fileformat2.html, 2.6)."""


def check_copy(path: Path) -> None:
    """Raise FolderUnusable where the file is no database that this version can open, was changed in
    its structure, or is damaged."""
    header = schema.read_header(path)
    if header is None or header.application_id != schema.APPLICATION_ID:
        raise FolderUnusable("its chat.db is no database of this program")
    if header.user_version > len(schema.MIGRATIONS):
        raise FolderUnusable(
            f"its chat.db has version {header.user_version}, made by a newer server; this one "
            f"knows up to {len(schema.MIGRATIONS)}"
        )
    with reading_copy(path) as copy:
        # A trigger or a view would run SQL of a stranger within our own transactions.
        if _structure(copy) != expected_structure(header.user_version):
            raise FolderUnusable("its chat.db has other tables than this program makes")
        if copy.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise FolderUnusable("its chat.db is damaged")


def expected_structure(version: int) -> set[tuple[str, str, str | None]]:
    """Return what the steps up to `version` make: type, name and SQL of each table and index."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for statements in schema.MIGRATIONS[:version]:
            for statement in statements:
                connection.execute(statement)
        return _structure(connection)


def _structure(connection: sqlite3.Connection) -> set[tuple[str, str, str | None]]:
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master")
    # A trigger may have any name: only these two tables are let through, as SQLite makes them.
    return {(str(kind), str(name), sql) for kind, name, sql in rows if sql not in _OF_ANALYZE}


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}",
        uri=True,
        timeout=PATIENCE_SECONDS,
        isolation_level=None,
    )


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        text = f"{doing}: {error}"
        raise (StorageFull(text) if "full" in str(error) else StorageError(text)) from error
