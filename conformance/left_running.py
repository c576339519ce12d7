"""What a program under test has started and left running: found by a mark, and ended.

Owns the mark that stands in the environment of every program that the kit starts, and whose child
processes have it too: also those that left the process group. Ends nothing else. Any thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import sys
import time
from pathlib import Path
from typing import Any, final

MARK = "CONFORMANCE_MARK"
if sys.platform == "win32":
    KILL = signal.SIGTERM
else:
    KILL = signal.SIGKILL
ROUNDS = 20
"""So often the processes are looked for: one that ends may have started another meanwhile."""
PAUSE_SECONDS = 0.01
PR_SET_CHILD_SUBREAPER = 36
"""Of prctl(2), <linux/prctl.h>."""
_adopts: list[bool] = []


class NoSuchUser(ValueError):
    """The user of `--run-as` can't be used; the text says why."""


@final
class Marked:
    """The programs that one part of the kit starts, by a mark of its own.

    `run_as` is the user that they run as, "" for the user of the kit itself; all processes of that
    user that were not there before are ended, marked or not. NoSuchUser where that can't be.
    """

    def __init__(self, run_as: str = "") -> None:
        self._mark = secrets.token_hex(16)
        self._user = _user_id(run_as) if run_as else None
        self._before = _of_user(self._user) if self._user is not None else set()
        self._run_as = run_as

    @property
    def environment(self) -> dict[str, str]:
        """What to add to the environment of a program."""
        return {MARK: self._mark}

    @property
    def options(self) -> dict[str, Any]:
        """What `subprocess.Popen` has to be told besides."""
        return (
            {"user": self._run_as, "group": _group(self._run_as), "extra_groups": []}
            if (self._run_as)
            else {}
        )

    def give(self, folder: str) -> None:
        """Make a folder that of the user whom the programs run as."""
        if self._user is not None and sys.platform != "win32":
            os.chown(folder, self._user, -1)

    def end_all(self) -> None:
        """End all that is left running, where the system tells of it (Linux)."""
        for _ in range(ROUNDS):
            found = _marked(self._mark)
            if self._user is not None:
                found |= _of_user(self._user) - self._before
            if not found:
                return
            for pid in found:
                with contextlib.suppress(OSError):
                    os.kill(pid, KILL)
            time.sleep(PAUSE_SECONDS)


def adopt() -> None:
    """Let orphans of this process's children become its own children (Linux), for
    `end_descendants`. Only where this process starts nothing but programs under test."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        _adopts.append(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def end_descendants() -> None:
    """End all that this process has started, in however many steps, where it has adopted them."""
    if sys.platform == "win32":
        return
    for _ in range(ROUNDS if any(_adopts) else 0):
        found = _descendants(os.getpid())
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for pid in found:
            with contextlib.suppress(OSError):
                os.waitpid(pid, 0 if _parent(pid) == os.getpid() else os.WNOHANG)
        if not found:
            return


def _descendants(root: int) -> set[int]:
    parents = {int(each.name): _parent(int(each.name)) for each in _processes()}
    found, grown = {root}, True
    while grown:
        below = {pid for pid, parent in parents.items() if parent in found}
        grown = not below <= found
        found |= below
    return found - {root}


def _parent(pid: int) -> int:
    """Return the parent of a process, 0 where there is none (field 4 of proc(5), stat)."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        return int(stat.rpartition(")")[2].split()[1])
    return 0


def _processes() -> list[Path]:
    """Return a folder of /proc for each process; none where there is no /proc."""
    with contextlib.suppress(OSError):
        return [each for each in Path("/proc").iterdir() if each.name.isdecimal()]
    return []


def _marked(mark: str) -> set[int]:
    wanted, found = f"{MARK}={mark}".encode(), set()
    for each in _processes():
        with contextlib.suppress(OSError):
            if wanted in (each / "environ").read_bytes().split(b"\0"):
                found.add(int(each.name))
    return found


def _of_user(user: int) -> set[int]:
    """Return the processes of a user that have not ended."""
    found = set()
    for each in _processes():
        with contextlib.suppress(OSError, IndexError):
            is_zombie = (each / "stat").read_text("utf-8", "replace").rpartition(")")[2][1] == "Z"
            if each.stat().st_uid == user and not is_zombie:
                found.add(int(each.name))
    return found


def _user_id(name: str) -> int:
    """Return the number of a user whom the kit may give programs to."""
    if sys.platform == "win32":
        raise NoSuchUser("--run-as needs a Unix system")
    import pwd

    try:
        user = pwd.getpwnam(name).pw_uid
    except KeyError:
        raise NoSuchUser(f"--run-as {name}: there is no such user") from None
    if os.geteuid() != 0:
        raise NoSuchUser("--run-as: only root may start a program as somebody else")
    if user == 0:
        raise NoSuchUser("--run-as: choose a user who may do less than root")
    return user


def _group(name: str) -> int:
    if sys.platform == "win32":
        return 0
    import pwd

    return pwd.getpwnam(name).pw_gid
