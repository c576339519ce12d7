"""The errors of storage, and the one place that turns an OSError into one of them.

Owns no state. Any thread may use it.

    StorageError              this change was not stored; the server may go on
        StorageFull           there is no room; it may work again when there is
        StorageFailed         the disk failed; a restart must look at what it holds
        FileMissing           a flat file that should be there is gone
        NameTaken             the name, id or key is in use
        FolderUnusable        the data folder can't be used; the text is one line for the user
            FolderInUse       another server has it
"""

from __future__ import annotations

import errno

__all__ = [
    "FileMissing",
    "FolderInUse",
    "FolderUnusable",
    "NameTaken",
    "StorageError",
    "StorageFailed",
    "StorageFull",
    "from_os_error",
    "means_no_room",
]


class StorageError(Exception):
    """This change was not stored, and nothing of it is left behind."""


class StorageFull(StorageError):
    """There is no room on the disk, in the quota, or within the largest file size that this process
    may write."""


class StorageFailed(StorageError):
    """The disk or its file system is broken: the kernel may have dropped what it was given, so
    nothing that it said earlier can be trusted."""


class FileMissing(StorageError):
    """A flat file that the database knows is not in its folder."""


class NameTaken(StorageError):
    """The name, id or key belongs to another row, perhaps to a deleted one."""


class FolderUnusable(StorageError):
    """The data folder or its database can't be used. The text is one line that names the way
    out."""


class FolderInUse(FolderUnusable):
    """Another process holds the folder's lock."""


_NO_ROOM = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
_WINDOWS_NO_ROOM = frozenset({39, 112})  # ERROR_HANDLE_DISK_FULL, ERROR_DISK_FULL
# Only these say that the device or its file system is broken (errno(3); some are Linux's alone).
# Everything else, known or not, is this one request's trouble: a server that ends over it could be
# ended by a packet.
_BROKEN = frozenset(
    number
    for name in (
        "EIO",
        "ENXIO",
        "EROFS",
        "ENODEV",
        "ESTALE",
        "EUCLEAN",  # "Structure needs cleaning": ext4, XFS
        "EBADMSG",  # a checksum that does not fit: ext4, btrfs
        "EREMOTEIO",
        "ENOMEDIUM",
        "EMEDIUMTYPE",
    )
    if (number := getattr(errno, name, None)) is not None
)
# winerror.h: write protect, not ready, CRC, write fault, read fault, general failure, device gone
# (three words for it), hardware error, I/O device, file corrupt, disk corrupt.
_WINDOWS_BROKEN = frozenset({19, 21, 23, 29, 30, 31, 55, 433, 483, 1117, 1167, 1392, 1393})


def means_no_room(error: OSError) -> bool:
    """Return whether the error says that disk, quota or file-size limit is used up."""
    return error.errno in _NO_ROOM or getattr(error, "winerror", None) in _WINDOWS_NO_ROOM


def from_os_error(error: OSError, doing: str) -> StorageError:
    """Return the storage error that stands for `error`; `doing` says what was attempted, as in
    "writing an upload"."""
    reason = error.strerror or str(error)
    if means_no_room(error):
        return StorageFull(f"{doing}: no room left ({reason})")
    if isinstance(error, FileNotFoundError):
        return FileMissing(f"{doing}: the file is gone ({reason})")
    if error.errno in _BROKEN or getattr(error, "winerror", None) in _WINDOWS_BROKEN:
        return StorageFailed(f"{doing}: {reason}")
    return StorageError(f"{doing}: {reason}")
