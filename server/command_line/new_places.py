"""Files and folders that a command is to make: where they may be.

Owns the wording of what is refused. Never makes one. Called by the main thread of a process of its
own.
"""

from __future__ import annotations

import os
from pathlib import Path

from server.command_line.console import AdminError, BadPlace, shown
from storage.folder import DataFolder


def new_folder(path: str, folder: DataFolder) -> Path:
    """Return the path of a folder that is to be made; an empty one of that name is removed."""
    if os.path.isdir(path) and not os.path.islink(path) and not os.listdir(path):
        inside = folder.path.resolve()
        if inside not in (Path(path).resolve(), *Path(path).resolve().parents):
            os.rmdir(path)
    return new_file(path, folder)


def new_file(path: str, folder: DataFolder) -> Path:
    """Return the path of a file or folder that is to be made, outside of the data folder."""
    target = Path(path)
    if os.path.lexists(target):
        raise AdminError(is_there(shown(path)))
    if not target.name or not target.parent.is_dir():
        raise BadPlace(f"there is no folder for '{shown(path)}': make it first")
    if not os.access(target.parent, os.W_OK):
        raise BadPlace(
            f"nothing can be written in '{shown(str(target.parent))}': name another place"
        )
    inside = folder.path.resolve()
    if inside in (target.parent.resolve(), *target.parent.resolve().parents):
        raise AdminError(
            f"'{shown(path)}' lies in the data folder, with which it would be lost: choose a place "
            "outside, best on another disk"
        )
    return target


def is_there(name: str) -> str:
    """Return the sentence for a name that is taken."""
    return f"'{name}' is there already: choose another name, nothing is written over"
