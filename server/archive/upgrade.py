"""The copy that is made of an older version's data folder, before this version changes anything in
it.

Owns the name and place of that copy. Called by the thread that starts the server, with the folder's
lock held.
"""

from __future__ import annotations

import os
from pathlib import Path

import protocol
from server.archive.backup import make_backup
from storage import database, schema
from storage.errors import FolderUnusable, StorageError
from storage.folder import DataFolder


def is_older(folder: DataFolder) -> bool:
    """Return whether the folder's database was made by an older version, and is to be changed
    before this one can use it."""
    return 0 < database.stored_version(folder.database_path) < len(schema.MIGRATIONS)


def copy_first(folder: DataFolder) -> str | None:
    """Copy a folder of an older version into a zip beside it; return the sentence that says where,
    or None for a folder that is of this version. Raises FolderUnusable where that can't be done:
    nothing was changed then."""
    if not is_older(folder):
        return None
    target = _new_place(folder.path)
    try:
        make_backup(folder, target)
    except StorageError as problem:
        raise FolderUnusable(
            f"data folder {folder.path} is of an older version and could not be copied before it "
            f"is brought up to date: {problem}; nothing was changed: make room for {target}"
        ) from problem
    return (
        f"the data was brought up to version {protocol.VERSION}, which older ones refuse. As it "
        f"was, it is kept in {target}"
    )


def _new_place(folder: Path) -> Path:
    """Return the path of the copy: beside the folder, or in it where nothing may be written beside
    it. A copy of an attempt that failed stays."""
    beside = folder.resolve().parent
    place = beside if os.access(beside, os.W_OK) else folder
    stem, number = f"{folder.resolve().name}-before-{protocol.VERSION}", 1
    path = place / f"{stem}.zip"
    while os.path.lexists(path):
        number += 1
        path = place / f"{stem}-{number}.zip"
    return path
