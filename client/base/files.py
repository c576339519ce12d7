"""Giving a finished file its name, and removing one, also while a virus scanner of Windows holds it
open.

Owns that difference between systems. Never opens a file for its content. Any thread may call it;
it blocks on the disk.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from client.base.deadline import Deadline

PATIENCE_SECONDS: Final = 5.0
"""So long a file that another program holds open is tried again."""
PAUSE_SECONDS: Final = 0.05

_is_windows = os.name == "nt"  # the tests replace it


def name_new(source: Path, target: Path) -> None:
    """Give the file `source` the name `target`, in the same folder. Raise FileExistsError where
    there is such a file: nothing is ever replaced."""
    if _is_windows:  # os.rename refuses there, and a placeholder would be opened by a scanner
        _patiently(lambda: os.rename(source, target))
        return
    open(target, "xb").close()
    os.replace(source, target)  # only over the empty file that we have just made


def replace(source: Path, target: Path) -> None:
    """Put the file `source` in place of `target`, which may be there."""
    _patiently(lambda: os.replace(source, target))


def remove(path: Path) -> None:
    """Remove a file of ours, which may be gone already. One that stays held is left: what was done
    with it counts more."""
    with contextlib.suppress(OSError):
        _patiently(lambda: os.unlink(path))


def _patiently(act: Callable[[], None]) -> None:
    """Try again for `PATIENCE_SECONDS` where another program holds the file, which Windows alone
    refuses (ERROR_SHARING_VIOLATION and ERROR_ACCESS_DENIED, both PermissionError)."""
    deadline = Deadline(PATIENCE_SECONDS)
    while True:
        try:
            return act()
        except PermissionError:
            if not _is_windows or deadline.is_over():
                raise
        time.sleep(PAUSE_SECONDS)
