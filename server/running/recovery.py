"""What a crash left in the data folder is put right before anybody is served.

Owns the order of these repairs: uploads without their bytes, files without their row, a journal
that lags behind the database. Called once by the thread that makes the service, before any other
thread runs.
"""

from __future__ import annotations

from server.writing.journaling import JournalKeeper
from storage import sequences, uploads
from storage.database import Database
from storage.errors import FileMissing
from storage.upload_files import UploadFiles


def recover(database: Database, files: UploadFiles, journal: JournalKeeper) -> list[str]:
    """Make files, rows and journal agree; return what the teacher is to know, a sentence each.

    Raises StorageError where the disk refuses.
    """
    notices: list[str] = []
    with database.transaction() as connection:
        for row in uploads.all_open(connection):
            try:
                # Also takes back a file that was renamed, but whose row was never committed.
                files.resume(row.disk_name).close()
            except FileMissing:
                uploads.close_upload(connection, row.id)
        for disk_name in files.part_names():
            if uploads.is_stored(connection, disk_name):
                # Its commit was given up as failed, and had happened all the same.
                files.finish(disk_name)
        known = uploads.disk_names(connection)
    removed = files.remove_orphans(known)
    if removed:
        notices.append(f"removed {removed} files that no upload goes on with")
    journal.repair()
    lost = journal.newest_lost()
    if lost:
        _reserve_ids(database, lost, journal.newest_room())
        notices.append(
            f"the journal has messages, up to number {lost}, that the database lacks: part of it "
            "was lost, or an older one put back. Stop the server, then bring them back with: "
            "python chat_server.py recover-messages (and the same --data)"
        )
    return notices


def _reserve_ids(database: Database, message_id: int, room_pk: int) -> None:
    """Give no id again that the journal knows, so that what was lost can be put back."""
    with database.transaction() as connection:
        sequences.reserve(connection, "messages", message_id)
        sequences.reserve(connection, "rooms", room_pk)
