"""What a `chat.db` looks like: its two marks in the file header, and the numbered steps that bring
a file up to date.

Owns the SQL that makes tables. Never begins or commits (`database` does), never changes a step that
was released: a change is a new step at the end. Any thread may call it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["APPLICATION_ID", "MIGRATIONS", "Header", "read_header"]

# "CHAT"; bytes 68 to 71 of the file, https://www.sqlite.org/fileformat.html section 1.3
APPLICATION_ID = 0x43484154
_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100


@dataclass(frozen=True, slots=True)
class Header:
    """The marks of a database file. `application_id` is None where the file is no SQLite database
    at all."""

    application_id: int | None
    user_version: int


def read_header(path: Path) -> Header | None:
    """Return the marks of the file at `path` without opening it as a database; None where it is
    missing, empty or all zeros.

    SQLite is kept out of this on purpose: opening somebody's database could recover or checkpoint
    it, that is, change it. All zeros is what a power cut can leave of a file that was being made.
    Raises OSError where the file can't be read.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return None
    if not head.strip(b"\0"):
        return None
    if len(head) < _HEADER_BYTES or not head.startswith(_MAGIC):
        return Header(None, 0)
    return Header(int.from_bytes(head[68:72], "big"), int.from_bytes(head[60:64], "big"))


_STEP_1 = (
    """CREATE TABLE meta(
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE accounts(
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        chatid TEXT NOT NULL UNIQUE,
        folded TEXT NOT NULL UNIQUE,
        password_hash TEXT NOT NULL,
        credential_version INTEGER NOT NULL DEFAULT 1,
        created_at INTEGER NOT NULL,
        deleted_at INTEGER
    )""",
    "CREATE INDEX accounts_living ON accounts(chatid) WHERE deleted_at IS NULL",
    """CREATE TABLE session_keys(
        account_id INTEGER PRIMARY KEY REFERENCES accounts(id),
        key_hash BLOB NOT NULL UNIQUE,
        last_used INTEGER NOT NULL
    )""",
    """CREATE TABLE rooms(
        pk INTEGER PRIMARY KEY AUTOINCREMENT,
        room_id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        owner INTEGER REFERENCES accounts(id),
        made_by INTEGER REFERENCES accounts(id),
        private INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        deleted_at INTEGER
    )""",
    "CREATE INDEX rooms_open ON rooms(room_id) WHERE private = 0 AND deleted_at IS NULL",
    "CREATE INDEX rooms_by_maker ON rooms(made_by) WHERE deleted_at IS NULL",
    """CREATE TABLE members(
        room_pk INTEGER NOT NULL REFERENCES rooms(pk),
        account_id INTEGER NOT NULL REFERENCES accounts(id),
        PRIMARY KEY (room_pk, account_id)
    ) WITHOUT ROWID""",
    "CREATE INDEX members_by_account ON members(account_id, room_pk)",
    # Who left an open room. All other accounts belong to it, so only the exceptions are written
    # down.
    """CREATE TABLE departures(
        room_pk INTEGER NOT NULL REFERENCES rooms(pk),
        account_id INTEGER NOT NULL REFERENCES accounts(id),
        PRIMARY KEY (room_pk, account_id)
    ) WITHOUT ROWID""",
    # How far an account has read a room: the highest message_id that it sent, acknowledged or was
    # given.
    """CREATE TABLE marks(
        room_pk INTEGER NOT NULL REFERENCES rooms(pk),
        account_id INTEGER NOT NULL REFERENCES accounts(id),
        message_id INTEGER NOT NULL,
        PRIMARY KEY (room_pk, account_id)
    ) WITHOUT ROWID""",
    # AUTOINCREMENT: a message id is never used twice. room_number counts 1, 2, 3 within the room.
    # clock_high is the highest sent_at of the whole server up to this message: unlike sent_at it
    # never falls, so it can be searched.
    """CREATE TABLE messages(
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        room_pk INTEGER NOT NULL REFERENCES rooms(pk),
        room_number INTEGER NOT NULL,
        sender_id INTEGER NOT NULL REFERENCES accounts(id),
        content TEXT NOT NULL,
        sent_at INTEGER NOT NULL,
        clock_high INTEGER NOT NULL,
        transaction_id TEXT
    )""",
    # room_number and sent_at are in it so that counting and skipping read the index alone.
    "CREATE INDEX messages_by_room ON messages(room_pk, id, room_number, sent_at)",
    "CREATE INDEX messages_by_clock ON messages(room_pk, clock_high)",
    "CREATE INDEX messages_by_second ON messages(room_pk, sent_at)",
    "CREATE UNIQUE INDEX messages_by_transaction ON messages(sender_id, transaction_id) "
    "WHERE transaction_id IS NOT NULL",
    # room_id is text, not a rooms.pk: the first message or file makes an open room, so an upload
    # may begin without one.
    """CREATE TABLE open_uploads(
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        account_id INTEGER NOT NULL REFERENCES accounts(id),
        room_id TEXT NOT NULL,
        file_name TEXT NOT NULL,
        file_size INTEGER NOT NULL,
        file_type TEXT NOT NULL,
        total_packets INTEGER NOT NULL,
        chunk_size INTEGER,
        first_number INTEGER,
        transaction_id TEXT,
        received TEXT NOT NULL,
        disk_name TEXT NOT NULL UNIQUE,
        touched_at INTEGER NOT NULL,
        UNIQUE (account_id, room_id, file_name)
    )""",
    "CREATE UNIQUE INDEX open_uploads_by_transaction ON open_uploads(account_id, "
    "transaction_id) WHERE transaction_id IS NOT NULL",
    "CREATE INDEX open_uploads_by_touch ON open_uploads(touched_at)",
    """CREATE TABLE files(
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        room_pk INTEGER NOT NULL REFERENCES rooms(pk),
        account_id INTEGER NOT NULL REFERENCES accounts(id),
        base_name TEXT NOT NULL,
        stored_as TEXT NOT NULL,
        file_size INTEGER NOT NULL,
        file_type TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        sent_at INTEGER NOT NULL,
        disk_name TEXT NOT NULL UNIQUE,
        total_packets INTEGER NOT NULL,
        transaction_id TEXT
    )""",
    "CREATE INDEX files_by_room ON files(room_pk, id)",
    "CREATE INDEX files_by_name ON files(room_pk, stored_as, id)",
    "CREATE INDEX files_by_base ON files(room_pk, account_id, base_name, id)",
    "CREATE INDEX files_by_account ON files(account_id, file_size)",
    "CREATE UNIQUE INDEX files_by_transaction ON files(account_id, transaction_id) WHERE "
    "transaction_id IS NOT NULL",
    """INSERT INTO rooms(room_id, name, private, created_at)
        VALUES ('lobby', 'lobby', 0, CAST(strftime('%s', 'now') AS INTEGER))""",
)

# How many bytes of the database an account has filled (storage/shares.py says what counts): kept,
# so that a message need not add up all others.
_STEP_2 = (
    """CREATE TABLE shares(
        account_id INTEGER PRIMARY KEY REFERENCES accounts(id),
        bytes INTEGER NOT NULL
    )""",
    """INSERT INTO shares(account_id, bytes) SELECT account_id, SUM(bytes) FROM (
        SELECT sender_id AS account_id, SUM(LENGTH(CAST(content AS BLOB)) + 256) AS bytes
            FROM messages GROUP BY sender_id
        UNION ALL SELECT account_id, COUNT(*) * 1024 FROM files GROUP BY account_id
        UNION ALL SELECT made_by, COUNT(*) * 1024 FROM rooms
            WHERE made_by IS NOT NULL GROUP BY made_by
        UNION ALL SELECT r.made_by, COUNT(*) * 32 FROM members m JOIN rooms r ON r.pk = m.room_pk
            WHERE r.made_by IS NOT NULL GROUP BY r.made_by
    ) GROUP BY account_id""",
)

# What a teacher does, and what is in force of it. Roles are those of docs/PROTOCOL.md, "The
# teacher". What was hidden or removed stays, with who did it.
_STEP_3 = (
    "ALTER TABLE accounts ADD COLUMN role TEXT NOT NULL DEFAULT 'student'",
    "ALTER TABLE accounts ADD COLUMN last_seen INTEGER",
    "ALTER TABLE rooms ADD COLUMN read_only INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE rooms ADD COLUMN uploads INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE messages ADD COLUMN announce INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE messages ADD COLUMN hidden_by INTEGER REFERENCES accounts(id)",
    "ALTER TABLE files ADD COLUMN removed_at INTEGER",
    "CREATE INDEX files_removed ON files(account_id, file_size) WHERE removed_at IS NOT NULL",
    "CREATE INDEX accounts_teachers ON accounts(chatid) WHERE role = 'teacher'",
    # account_id 0 stands for the whole class; ends_at is in seconds since 1970, NULL = until lifted
    """CREATE TABLE restrictions(
        kind TEXT NOT NULL,
        account_id INTEGER NOT NULL,
        ends_at INTEGER,
        reason TEXT NOT NULL,
        PRIMARY KEY (kind, account_id)
    ) WITHOUT ROWID""",
    # by_id is NULL where the command line did it. Accounts, rooms and messages are named by their
    # numbers only.
    """CREATE TABLE audit(
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        by_id INTEGER REFERENCES accounts(id),
        act TEXT NOT NULL,
        user_id INTEGER REFERENCES accounts(id),
        room_pk INTEGER REFERENCES rooms(pk),
        message_id INTEGER,
        file_path TEXT,
        ends_at INTEGER,
        reason TEXT NOT NULL DEFAULT '',
        detail TEXT NOT NULL DEFAULT ''
    )""",
    # What the command line asks of a running server, and the server's answer.
    """CREATE TABLE errands(
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        question TEXT NOT NULL,
        answer TEXT,
        asked_at INTEGER NOT NULL
    )""",
)

# When each account was on. A row is written when a session ends, and now and then while it lasts.
_STEP_4 = (
    """CREATE TABLE sessions(
        account_id INTEGER NOT NULL REFERENCES accounts(id),
        since INTEGER NOT NULL,
        until INTEGER NOT NULL,
        PRIMARY KEY (account_id, since)
    ) WITHOUT ROWID""",
)

# Who belongs to a private room as a teacher only (R-TEACH-21).
_STEP_5 = ("ALTER TABLE members ADD COLUMN by_role INTEGER NOT NULL DEFAULT 0",)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_STEP_1, _STEP_2, _STEP_3, _STEP_4, _STEP_5)
"""Step n (counted from 1) takes a file from `user_version` n-1 to n, in one transaction."""
