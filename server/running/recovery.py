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
from storage.upload_files import ORPHAN_DAYS, UploadFiles


def recover(
    database: Database, files: UploadFiles, journal: JournalKeeper, now: float
) -> list[str]:
    """Make files, rows and journal agree; return what the teacher is to know, a sentence each.

    `now` is in seconds since 1970. Raises StorageError where the disk refuses.
    """
    notices: list[str] = []
    with database.transaction() as connection:
        brought_back = files.bring_back(uploads.disk_names(connection))
        for row in uploads.all_open(connection):
            try:
                # Also takes back a file that was renamed, but whose row was never committed.
                files.take_back(row.disk_name)
            except FileMissing:
                if row.received:  # else there need not be a file yet
                    uploads.close_upload(connection, row.id)
        for disk_name in files.part_names():
            if uploads.is_stored(connection, disk_name):
                # Its commit was given up as failed, and had happened all the same.
                files.finish(disk_name)
        known = uploads.disk_names(connection)
        for disk_name in uploads.removed_disk_names(connection):
            # A crash may have come between its row and its bytes.
            files.remove(disk_name, leave_held=True)
    set_aside = files.set_orphans_aside(known, now)
    files.remove_old_orphans(now)
    if brought_back:
        notices.append(f"files brought back from uploads/orphans to their place: {brought_back}")
    if set_aside:
        notices.append(
            "files of uploads that chat.db does not know, moved to uploads/orphans, where they "
            f"stay for {ORPHAN_DAYS} days: {set_aside}. After a crash these are uploads that were "
            "never confirmed. If an older chat.db was put back, put the newer one back: at the "
            "next start they return to their place"
        )
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
