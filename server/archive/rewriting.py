"""After something was erased: the database is rewritten, so that no page of its file holds an old
copy of it.

Owns when that is done: at once, or at the next start where a running server would have to stand
still for too long. Called by the thread of a command, and by that which makes the service.
"""

from __future__ import annotations

import logging
from enum import Enum
from typing import Final

from storage import erasing
from storage.database import Database
from storage.errors import StorageError

log: Final = logging.getLogger("server.rewriting")
MOST_BESIDE: Final = 256 * 1024 * 1024
"""So much is rewritten beside a running server: that takes 2 s or so, and the server waits up to
5 s. A larger database waits for the next start."""


class Traces(Enum):
    """What is left of what was erased."""

    NONE = "none"
    IN_LOG = "another program reads the database, so that its log can't be emptied"
    IN_PAGES = "pages of the file may hold old copies, until the next start"


def remove_traces(database: Database, *, is_alone: bool) -> Traces:
    """Rewrite the database, or leave word to do so at the next start. `is_alone` says that no
    server runs. Raises StorageError."""
    if not is_alone and database.live_bytes() > MOST_BESIDE:
        with database.transaction() as connection:
            erasing.set_rewrite_due(connection, True)
        database.checkpoint(truncate=True)
        return Traces.IN_PAGES
    if not database.compact():
        return Traces.IN_LOG
    with database.transaction() as connection:
        if erasing.is_rewrite_due(connection):
            erasing.set_rewrite_due(connection, False)
    return Traces.NONE


def rewrite_if_due(database: Database) -> str:
    """Rewrite the database where a command has left word; return what the teacher is to know, ""
    for nothing."""
    with database.reading() as reader:
        if not erasing.is_rewrite_due(reader):
            return ""
    # Before the log is started: this goes to stderr as it is.
    log.warning(
        "rewriting the database, %d MB, as 'forget' or 'new-term' has put off: about a second for "
        "each 100 MB",
        database.live_bytes() // 1_000_000,
    )
    try:
        if remove_traces(database, is_alone=True) is Traces.NONE:
            return ""
        why = Traces.IN_LOG.value
    except StorageError as error:
        why = str(error)
    return (
        "the database could not be rewritten, so pages of its file may still hold old copies of "
        f"what was forgotten: {why}. It is tried again at the next start"
    )
