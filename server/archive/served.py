"""Whether a server runs on a data folder, and waiting for it to notice what was changed.

Owns nothing but these two questions. Called by the thread of a command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from server.archive import questions
from server.base.deadline import Deadline
from storage.errors import FolderInUse, StorageError
from storage.folder import DataFolder

NOTICE_SECONDS: Final = 10.0
"""How long a running server may take to end sessions and to say so."""


class CannotErase(StorageError):
    """It can't be done now; the text says what to do."""


@contextmanager
def kept_out(folder: DataFolder) -> Iterator[bool]:
    """Keep servers out meanwhile; yield False where one runs already."""
    try:
        folder.lock()
    except FolderInUse:
        yield False
        return
    try:
        yield True
    finally:
        folder.unlock()


def wait_until_noticed(
    folder: DataFolder, token: str, has_left: Callable[[dict[str, Any]], bool], done: str
) -> None:
    """Wait until the running server has noticed `token`, and `has_left` says of its status that the
    sessions are gone: everything of them is written then. Raises CannotErase, which says that
    nothing but `done` is done."""
    then = f"{done}, nothing else is; try again, or stop the server first"
    deadline = Deadline(NOTICE_SECONDS)
    while left := deadline.left():
        try:
            answer = questions.ask(folder.path, left) or {}
        except OSError as error:
            raise CannotErase(
                f"the server can't be asked: {error.strerror or error}: {then}"
            ) from error
        if answer.get("noticed") == token and has_left(answer):
            return
    raise CannotErase(
        f"the server has not ended the sessions within {NOTICE_SECONDS:.0f} s: {then}"
    )
