"""What a crash left in the data folder is put right before anybody is served.

Owns the order of these repairs: uploads without their bytes, files without their row, a journal
that lags behind the database. Called once by the thread that makes the service, before any other
thread runs.
"""

from __future__ import annotations

import logging
from typing import Final

from server.writing.journaling import JournalKeeper
from storage import uploads
from storage.database import Database
from storage.errors import FileMissing
from storage.upload_files import UploadFiles

log: Final = logging.getLogger("server.recovery")


def recover(database: Database, files: UploadFiles, journal: JournalKeeper) -> None:
    """Make files, rows and journal agree. Raises StorageError where the disk refuses."""
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
        log.info("removed %d files that no upload goes on with", removed)
    journal.repair()
