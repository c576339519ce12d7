"""Every difference between operating systems that storage meets, each in one function.

Owns no state. Never decides what to do about an answer. Any thread may call it. The tests force
each fallback by replacing the module's private names.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import ntpath
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType

__all__ = [
    "is_held",
    "keep_private",
    "lock",
    "network_file_system",
    "open_own",
    "others_may_look_in",
    "owned_by_us",
    "remove",
    "replace",
    "sync_above",
    "sync_file",
    "sync_folder",
    "unlock",
    "while_held",
]


def _import_if_there(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_fcntl = _import_if_there("fcntl")  # not on Windows
_msvcrt = _import_if_there("msvcrt")  # only on Windows
_O_NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)  # not on Windows
_O_BINARY: int = getattr(os, "O_BINARY", 0)  # only on Windows, where text is the default
_O_DIRECTORY: int | None = getattr(os, "O_DIRECTORY", None)  # not on Windows
_platform = sys.platform

# Windows hides a locked byte from other processes. One far behind the text leaves the text
# readable.
_LOCKED_BYTE = 1 << 20

HELD_SECONDS = 2.0
"""So long a file that another program holds open is tried again."""
PAUSE_SECONDS = 0.05


def open_own(path: str | Path, flags: int) -> int:
    """Open a file of ours: never through a symbolic link; a new file is for its owner alone. Return
    the descriptor."""
    if not _O_NOFOLLOW and os.path.islink(path):
        raise OSError(errno.ELOOP, "it is a symbolic link", str(path))
    return os.open(path, flags | _O_NOFOLLOW | _O_BINARY, 0o600)


def sync_file(descriptor: int) -> None:
    """Make what was written survive a power cut. On macOS that takes F_FULLFSYNC: fsync leaves it
    in the drive's cache (fsync(2))."""
    full = getattr(_fcntl, "F_FULLFSYNC", None)
    if _fcntl is not None and full is not None:
        try:
            _fcntl.fcntl(descriptor, full)
            return
        except OSError as error:
            # Not every file system has it; any other error is a failed write and must be heard.
            if error.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY):
                raise
    os.fsync(descriptor)


def sync_folder(path: Path) -> None:
    """Make the names in the folder survive a power cut. Where a folder can't be opened (Windows)
    the system sees to it."""
    if _O_DIRECTORY is None:
        return
    descriptor = os.open(path, os.O_RDONLY | _O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_above(path: Path) -> None:
    """Make the name of a file or folder that was just made survive a power cut, with those of the
    folders that were made for it. What is above may belong to somebody who lets nobody open it."""
    for folder in path.resolve().parents:
        with suppress(OSError):
            sync_folder(folder)


def lock(descriptor: int) -> bool:
    """Take the file's lock for this process, without waiting; return False where another has it.
    The lock ends with the process at the latest."""
    try:
        if _fcntl is not None:
            _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        elif _msvcrt is not None:
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            _msvcrt.locking(descriptor, _msvcrt.LK_NBLCK, 1)
        else:
            raise OSError(
                errno.ENOTSUP, "this system has neither fcntl nor msvcrt to lock a file with"
            )
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


def unlock(descriptor: int) -> None:
    """Give the file's lock back."""
    if _fcntl is not None:
        _fcntl.flock(descriptor, _fcntl.LOCK_UN)
    elif _msvcrt is not None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        _msvcrt.locking(descriptor, _msvcrt.LK_UNLCK, 1)


def replace(source: str | Path, target: str | Path) -> None:
    """Put `source` in place of `target`. On Windows another program, such as a virus scanner, may
    hold either open: it is tried again for `HELD_SECONDS`. Raises PermissionError after that."""
    while_held(lambda: os.replace(source, target))


def remove(path: str | Path) -> None:
    """Remove a file, which may be gone already, with the patience of `replace`."""
    with suppress(FileNotFoundError):
        while_held(lambda: os.unlink(path))


def while_held(act: Callable[[], None]) -> None:
    """Rename or remove something by `act`, with the patience of `replace`: Windows refuses it for a
    folder, too, while another program has a file in it open."""
    last = time.monotonic() + HELD_SECONDS
    while True:
        try:
            return act()
        except OSError as error:
            if not is_held(error) or time.monotonic() > last:
                raise
        time.sleep(PAUSE_SECONDS)


def is_held(error: OSError) -> bool:
    """Return whether a file could not be moved or removed because a program holds it open, which
    Windows alone refuses (ERROR_SHARING_VIOLATION, ERROR_ACCESS_DENIED)."""
    return _platform == "win32" and isinstance(error, PermissionError)


def keep_private(path: str | Path, mode: int) -> None:
    """Give a file or a folder these rights. Windows has no modes: there the rights of the folder
    around it hold (SECURITY.md says how to look at them)."""
    if _platform != "win32":
        os.chmod(path, mode)


def owned_by_us(status: os.stat_result) -> bool:
    """Return whether the account that runs this process owns the file; True where files have no
    numbered owner (Windows)."""
    if not hasattr(os, "geteuid"):
        return True
    return bool(status.st_uid == os.geteuid())


def others_may_look_in(status: os.stat_result) -> bool:
    """Return whether other accounts have any right to the file; False where the mode doesn't tell
    (Windows)."""
    return hasattr(os, "geteuid") and bool(status.st_mode & 0o077)


# -- network file systems --------------------------------------------------------------------------

_NETWORK_TYPES = frozenset(
    {
        "nfs",
        "nfs3",
        "nfs4",
        "cifs",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
        "afs",
        "afpfs",
        "davfs",
        "davfs2",
        "webdav",
        "ncpfs",
        "coda",
        "ceph",
        "glusterfs",
        "lustre",
        "beegfs",
        "gpfs",
        "orangefs",
        "fuse.sshfs",
        "fuse.davfs2",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.glusterfs",
        "fuse.ceph",
        "fuse.smbnetfs",
        "fuse.curlftpfs",
        "fuse.gvfsd-fuse",
    }
)
_MOUNTS = Path("/proc/self/mounts")
_DRIVE_REMOTE = 4  # GetDriveTypeW, winbase.h


def network_file_system(path: Path) -> str | None:
    """Return the kind of network file system that `path` lies on (or would, once made), as "nfs4";
    None for a local or an unknown one."""
    if _platform == "win32":
        return _remote_drive(path)
    try:
        if _platform == "darwin":
            listed = subprocess.run(
                ["/sbin/mount"],
                capture_output=True,
                timeout=5,
                check=True,
                stdin=subprocess.DEVNULL,
            )
            mounts = _mounts_of_macos(os.fsdecode(listed.stdout))
        else:
            mounts = _mounts_of_linux(os.fsdecode(_MOUNTS.read_bytes()))
    except (OSError, subprocess.SubprocessError):
        return None
    kind = _kind_at(os.path.realpath(path), mounts)
    return kind if kind in _NETWORK_TYPES else None


def _mounts_of_linux(text: str) -> list[tuple[str, str]]:
    """Return (mount point, kind) for each line of /proc/self/mounts, in which blanks and the like
    stand as octal escapes (fstab(5))."""
    lines = [line.split(" ") for line in text.splitlines()]
    return [
        (re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), line[1]), line[2])
        for line in lines
        if len(line) > 2
    ]


def _mounts_of_macos(text: str) -> list[tuple[str, str]]:
    """Return (mount point, kind) for each line that `mount` prints: `server:/share on
    /Volumes/share (nfs, nodev)`."""
    found = (re.fullmatch(r".+? on (/.*) \(([^,)]+).*\)", line) for line in text.splitlines())
    return [(match[1], match[2]) for match in found if match]


def _kind_at(path: str, mounts: list[tuple[str, str]]) -> str | None:
    """Return the kind of the innermost mount that holds `path`; of two at one place the later one
    covers the earlier."""
    best, kind = "", None
    for point, candidate in mounts:
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, candidate
    return kind


def _remote_drive(path: Path) -> str | None:
    """Return the kind of remote drive on Windows: a UNC path, or a drive letter that stands for
    one; else None."""
    full = os.path.abspath(path)
    if full[:4] in ("\\\\?\\", "\\\\.\\") and full[4:8].upper() != "UNC\\":
        full = full[4:]  # a path of this machine in its long form, or a device such as nul
    elif full.startswith(("\\\\", "//")):
        return "network share"
    drive = ntpath.splitdrive(full)[0]
    windll = getattr(ctypes, "windll", None)
    if (
        drive
        and windll is not None
        and windll.kernel32.GetDriveTypeW(drive + "\\") == _DRIVE_REMOTE
    ):
        return "network drive"
    return None
