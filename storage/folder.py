"""The data folder: whether it may be used, its lay-out, its rights, its lock.

Owns the folder and the lock file. Never opens the database, never changes a folder that it refuses.
Called by the thread that starts the program, before any other thread runs.
"""

from __future__ import annotations

import os
import shlex
import stat
from contextlib import suppress
from pathlib import Path

from storage import portable
from storage.errors import FolderInUse, FolderUnusable
from storage.schema import APPLICATION_ID, read_header

__all__ = ["DataFolder"]

_DATABASE, _UPLOADS, _JOURNAL, _LOCK = "chat.db", "uploads", "journal", "lock"
_DATABASE_FILES = (_DATABASE, f"{_DATABASE}-wal", f"{_DATABASE}-shm", f"{_DATABASE}-journal")
# What a system puts into a folder by itself makes it nobody else's.
_CLUTTER = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", "lost+found"})


class DataFolder:
    """The folder at `path`, which need not exist yet. Nothing is looked at or changed before
    `prepare`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.database_path = self.path / _DATABASE
        self.uploads_path = self.path / _UPLOADS
        self.journal_path = self.path / _JOURNAL
        self._lock_descriptor: int | None = None

    def prepare(self) -> None:
        """Make the folder where there is none; make sure that it is ours, private (folders 0700,
        files 0600) and complete. Raises FolderUnusable, and changes nothing, where it can't be."""
        try:
            self._refuse_network()
            is_new = not os.path.lexists(self.path)
            if not is_new:
                self._refuse_unsuitable()
            self._make(is_new)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise self._unusable(
                f"can't be used: {reason}; use --data with a folder that you may write to"
            ) from error

    def lock(self) -> None:
        """Keep other servers out until `unlock` or the end of the process. Raises FolderInUse where
        one is in already."""
        try:
            descriptor = portable.open_own(self.path / _LOCK, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise self._unusable(f"can't be locked: {error.strerror}") from error
        try:
            if not portable.lock(descriptor):
                raise self._in_use(descriptor)
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, b"%d\n" % os.getpid())
        except OSError as error:
            os.close(descriptor)
            raise self._unusable(f"can't be locked: {error.strerror}") from error
        except FolderInUse:
            os.close(descriptor)
            raise
        self._lock_descriptor = descriptor

    def unlock(self) -> None:
        """Let other servers in. The file stays: removing it would let two processes lock two files
        of one name."""
        descriptor, self._lock_descriptor = self._lock_descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
                portable.unlock(descriptor)
            os.close(descriptor)

    # -- refusing ----------------------------------------------------------------------------------

    def _refuse_network(self) -> None:
        kind = portable.network_file_system(self.path)
        if kind is not None:
            raise self._unusable(
                f"lies on a network file system ({kind}), where WAL isn't safe: use --data "
                "with a local folder"
            )

    def _refuse_unsuitable(self) -> None:
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            raise self._unusable(
                "is a symbolic link that leads nowhere; use --data with a folder"
            ) from None
        if not stat.S_ISDIR(status.st_mode):
            raise self._unusable("is not a folder; use --data with a folder")
        if not portable.owned_by_us(status):
            raise self._unusable(
                "belongs to another account of this machine; use --data with a folder of your own"
            )
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise self._unusable(
                "can't be read and written by this account; use --data with a folder that can"
            )
        if self._holds_our_data() and portable.others_may_look_in(status):
            raise self._unusable(
                "can be read by other accounts of this machine: chmod 700 "
                f"{shlex.quote(_shown(self.path))}"
            )

    def _holds_our_data(self) -> bool:
        """Return False where the folder is empty. Raises FolderUnusable where it is somebody
        else's, or ours with the database missing."""
        names = set(os.listdir(self.path)) - _CLUTTER
        header = read_header(self.database_path)
        if header is not None:
            if header.application_id != APPLICATION_ID:
                raise self._unusable(
                    "holds a chat.db that is not of this server; use --data with another folder"
                )
            return True
        foreign = sorted(names - {_LOCK, _UPLOADS, _JOURNAL, *_DATABASE_FILES})
        if foreign:
            raise self._unusable(
                f"holds other files ({_shown(foreign[0])}, …) and no chat.db; use --data with "
                "an empty folder"
            )
        for name in sorted(names & {_UPLOADS, _JOURNAL}):
            # Files without the database that knows them would be taken for orphans and removed.
            if os.listdir(self.path / name):
                raise self._unusable(
                    f"holds {name} but no chat.db that knows them: put it back, or use --data "
                    "with an empty folder"
                )
        return bool(names)

    def _unusable(self, reason: str) -> FolderUnusable:
        return FolderUnusable(f"data folder {_shown(self.path)} {reason}")

    def _in_use(self, descriptor: int) -> FolderInUse:
        os.lseek(descriptor, 0, os.SEEK_SET)
        pid = os.read(descriptor, 32).strip()
        who = f" (process {int(pid)})" if pid.isdigit() else ""
        return FolderInUse(
            f"data folder {_shown(self.path)} is in use by another server{who}; stop that "
            "one, or use --data with another folder"
        )

    # -- making ------------------------------------------------------------------------------------

    def _make(self, is_new: bool) -> None:
        if is_new:
            os.makedirs(self.path.parent, mode=0o700, exist_ok=True)
            os.mkdir(self.path, 0o700)
        portable.keep_private(self.path, 0o700)
        if portable.others_may_look_in(os.stat(self.path)):
            if is_new:
                os.rmdir(self.path)
            raise self._unusable(
                "can't be kept from other accounts: its file system has no access rights; "
                "use --data with another folder"
            )
        for folder in (self.uploads_path, self.journal_path):
            with suppress(FileExistsError):
                os.mkdir(folder, 0o700)
            portable.keep_private(folder, 0o700)
        # Made before SQLite does, which gives its -wal and -shm the rights that this file has.
        os.close(portable.open_own(self.database_path, os.O_RDWR | os.O_CREAT))
        for name in _DATABASE_FILES:
            with suppress(FileNotFoundError):
                portable.keep_private(self.path / name, 0o600)
        portable.sync_folder(self.path)
        if is_new:
            portable.sync_above(self.path)


def _shown(path: str | Path) -> str:
    """Return the path fit for a terminal: what isn't printable stands as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(path))
