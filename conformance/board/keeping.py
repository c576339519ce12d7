"""The file of a board: its code, its rows, and whether names are shown, kept over a restart.

Owns a small SQLite database in a folder, and the lock on it: a folder belongs to one running board.
As large as the board's rows are, which are bounded. Called under the lock of `Rows`.
"""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path
from typing import Any, Final, final

FILE: Final = "board.db"
WAIT_SECONDS: Final = 0.5
"""So long a start waits for another board to let go of the file."""


@final
class Keeping:
    """What is kept in a folder. OSError or sqlite3.Error where that can't be, or another board
    runs with the same folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o600))  # names are in it
        self._database = sqlite3.connect(
            folder / FILE, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._begin()
        except BaseException:
            self._database.close()
            raise

    def _begin(self) -> None:
        for line in (
            "PRAGMA locking_mode = EXCLUSIVE",
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = NORMAL",
            "BEGIN EXCLUSIVE",  # the lock stays until the end
            "CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
            "CREATE TABLE IF NOT EXISTS row"
            " (number INTEGER PRIMARY KEY, key TEXT NOT NULL, value TEXT NOT NULL)",
            "COMMIT",
        ):
            self._database.execute(line)

    def about(self, name: str) -> str:
        """Return a value of the board itself, "" where there is none."""
        found = self._database.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return str(found[0]) if found else ""

    def set_about(self, name: str, value: str) -> None:
        """Keep a value of the board itself."""
        self._database.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    def rows(self) -> list[tuple[int, str, dict[str, Any]]]:
        """Return all rows: number, hashed key, and what was told."""
        found = self._database.execute("SELECT number, key, value FROM row ORDER BY number")
        return [(number, key, json.loads(value)) for number, key, value in found]

    def set_row(self, number: int, key: str, value: dict[str, Any]) -> None:
        """Keep a row, committed when this returns."""
        self._database.execute(
            "INSERT OR REPLACE INTO row VALUES (?, ?, ?)", (number, key, json.dumps(value))
        )

    def remove_row(self, number: int) -> None:
        """Forget a row."""
        self._database.execute("DELETE FROM row WHERE number = ?", (number,))

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
