"""A data folder with a little in it, and the server's commands on it, in the test's own process."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

from server.command_line import admin
from server.command_line.arguments import parse
from storage import accounts, messages, rooms, uploads
from storage.database import Database
from storage.folder import DataFolder
from storage.journal import Journal
from storage.upload_files import UploadFiles, new_name


@dataclass
class Result:
    """How a command ended."""

    status: int
    out: str
    err: str


class Folder:
    """The folder `path`, and what is done to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, *argv: str, typed: str = "secret\n") -> Result:
        """Run a command on this folder, unless `argv` names another by --data."""
        out, err = io.StringIO(), io.StringIO()
        given = [*argv] if "--data" in argv else [*argv, "--data", str(self.path)]
        status = admin.run(parse(given, {}), io.StringIO(typed), out, err)
        assert all(line.startswith("chat_server.py: ") for line in err.getvalue().splitlines())
        return Result(status, out.getvalue(), err.getvalue())

    def done(self, *argv: str) -> Result:
        """Run a command that works."""
        result = self.run(*argv)
        assert result.status == 0, result.err
        return result

    def refused(self, *argv: str, status: int = 1) -> str:
        """Run a command that is refused; return its one line."""
        result = self.run(*argv)
        assert result.status == status and result.out == "", result
        assert result.err.count("\n") == 1, result.err
        return result.err

    def make(self) -> Folder:
        """Make the folder, without accounts."""
        folder = DataFolder(self.path)
        folder.prepare()
        Database(folder.database_path, readers=0).close()
        return self

    def database(self) -> Database:
        return Database(self.path / "chat.db", readers=1)

    def account(self, name: str) -> int:
        """Make an account without a password, or find it; return its id."""
        database = self.database()
        with database.transaction() as connection:
            known = accounts.find(connection, name.lower())
            found = known or accounts.create(connection, name, name.lower(), "lost", 1_700_000_000)
        database.close()
        return found.id

    def say(
        self, name: str, *texts: str, room_id: str = "lobby", sent_at: int = 1_700_000_000
    ) -> list[int]:
        """Store messages, a second apart; return their ids."""
        sender, stored = self.account(name), []
        database = self.database()
        with database.transaction() as connection:
            room = rooms.find(connection, room_id) or rooms.create_open(
                connection, room_id, sender, sent_at
            )
            for at, text in enumerate(texts, start=sent_at):
                high = max(at, messages.clock_high(connection))
                stored.append(
                    messages.insert(connection, room.pk, sender, text, at, high, f"t{at}{text}")
                )
        database.close()
        return stored

    def send_file(
        self, name: str, file_name: str, data: bytes, sent_at: int = 1_700_000_000
    ) -> str:
        """Store a file in the lobby; return its name on the disk."""
        sender, files = self.account(name), UploadFiles(self.path / "uploads")
        disk_name = new_name()
        files.create(disk_name)
        files.write_at(disk_name, 0, data)
        digest = files.sha256(disk_name, part=True)
        files.finish(disk_name)
        database = self.database()
        with database.transaction() as connection:
            uploads.store(
                connection,
                1,
                sender,
                file_name,
                uploads.free_name(connection, 1, sender, file_name),
                len(data),
                "text/plain",
                digest,
                sent_at,
                disk_name,
                1,
                None,
            )
        database.close()
        return disk_name

    def write_journal(self, room_pk: int, day: str, frames: bytes) -> Path:
        """Add frames to the journal; return the file."""
        journal = Journal(self.path / "journal")
        journal.append(room_pk, day, frames)
        journal.close()
        return journal.path(room_pk, day)

    def bytes_anywhere(self, *wanted: bytes) -> list[tuple[Path, bytes]]:
        """Return where any of these stands, in the bytes of any file or in a file's name."""
        found = []
        for folder, _, names in os.walk(self.path):
            for name in names:
                path = Path(folder, name)
                try:
                    text = path.read_bytes() + b"\n" + os.fsencode(name)
                except FileNotFoundError:  # it went while we looked
                    continue
                found += [(path, part) for part in wanted if part in text]
        return found
