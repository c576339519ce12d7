"""The commands that keep and remove: their checks of what was typed, and their words.

Owns the wording. What they do is in `server/archive`. Each works beside a running server, and for
the owner of the data folder only.

Called by the main thread of a process of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from server.archive.backup import make_backup
from server.archive.restore import BadCopy, restore_backup
from server.command_line.arguments import PROGRAM, Invocation
from server.command_line.console import AdminError, Terminal, existing_folder, shown
from server.command_line.status import show_status
from storage.errors import FolderUnusable, StorageError, StorageFull
from storage.folder import DataFolder


def _backup(invocation: Invocation, terminal: Terminal) -> None:
    folder = existing_folder(invocation.settings)
    target = _new_file(invocation.arguments.file, folder)
    made = make_copy(folder, target)
    terminal.tell(made)


def make_copy(folder: DataFolder, target: Path) -> str:
    """Copy the folder into the zip `target`; return the sentence that says what is in it."""
    name = shown(str(target))
    try:
        made = make_backup(folder, target)
    except StorageFull as problem:
        raise AdminError(
            f"no room for the copy '{name}', nothing of it is left: choose another disk ({problem})"
        ) from None
    except FileExistsError:
        raise AdminError(_is_there(name)) from None
    except StorageError as problem:
        raise AdminError(f"no copy was made: {problem}") from None
    lost = f"; {made.lost} files are missing in uploads/, and so in the copy" if made.lost else ""
    return (
        f"'{name}' holds {made.accounts} accounts, {made.messages} messages and {made.files} "
        f"files{lost}"
    )


def _restore(invocation: Invocation, terminal: Terminal) -> None:
    source, folder = invocation.arguments.file, invocation.settings.data
    if not os.path.isfile(source):
        raise AdminError(f"no file '{shown(source)}': name the zip that 'backup' made")
    try:
        entries = restore_backup(Path(source), Path(folder))
    except BadCopy as problem:
        raise AdminError(f"'{shown(source)}' was not restored: {problem}") from None
    except FolderUnusable as problem:
        raise AdminError(f"{problem}; name a new folder with --data") from None
    except StorageError as problem:
        raise AdminError(f"nothing was restored: {problem}") from None
    terminal.tell(
        f"{len(entries)} files restored into '{shown(folder)}', each one as it was copied; "
        f"start with: {PROGRAM} --data {shown(folder)}"
    )


COMMANDS: Final[Mapping[str, Callable[[Invocation, Terminal], None]]] = {
    "backup": _backup,
    "restore": _restore,
    "status": show_status,
}


# --- Folders and files ----------------------------------------------------------------------------


def _new_file(path: str, folder: DataFolder) -> Path:
    """Return the path of a file that is to be made, outside of the data folder."""
    target = Path(path)
    if os.path.lexists(target):
        raise AdminError(_is_there(shown(path)))
    if not target.name or not target.parent.is_dir():
        raise AdminError(f"there is no folder for '{shown(path)}': make it first")
    inside = folder.path.resolve()
    if inside in (target.parent.resolve(), *target.parent.resolve().parents):
        raise AdminError(
            f"'{shown(path)}' lies in the data folder, with which it would be lost: choose a place "
            "outside, best on another disk"
        )
    return target


def _is_there(name: str) -> str:
    return f"'{name}' is there already: choose another name, nothing is written over"
