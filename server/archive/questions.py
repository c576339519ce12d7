"""How a command asks a running server how it is: by an empty file in the data folder, which the
server's watch finds and answers by another.

Owns the names of these files. Only the folder's owner can make or read them, and it works on every
system. Any thread; an answer is written by the watch alone.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from server.base.deadline import Deadline
from storage import portable
from storage.errors import StorageError

PAUSE_SECONDS: Final = 0.05
FORGOTTEN_SECONDS: Final = 60.0
"""An answer that nobody has fetched for so long is removed."""
LEFT_SECONDS: Final = 2.0
"""Whoever waits for an answer has fetched it by then: that is forty looks, `PAUSE_SECONDS` each."""
_QUESTION: Final = re.compile(r"status-([0-9a-f]{16})\.ask")
_ANSWER: Final = re.compile(r"status-[0-9a-f]{16}\.(json|new)")


def ask(folder: Path, seconds: float) -> dict[str, Any] | None:
    """Return what the server of this data folder answers; None where none does within `seconds`.
    Raises OSError where the folder can't be written to."""
    name = folder / f"status-{secrets.token_hex(8)}"
    question, answer = name.with_suffix(".ask"), name.with_suffix(".json")
    os.close(portable.open_own(question, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    deadline = Deadline(seconds)
    try:
        while not deadline.has_passed:
            found = _read(answer)
            if found is not None:
                return found
            time.sleep(PAUSE_SECONDS)
        return None
    finally:
        for path in (question, answer):
            portable.remove(path)


def _read(answer: Path) -> dict[str, Any] | None:
    """Return the answer; None where it is not there yet, or on Windows is just put in its place."""
    try:
        found: dict[str, Any] = json.loads(answer.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        if not portable.is_held(error):
            raise
        return None
    return found


def answer_all(folder: Path, status: Callable[[], Mapping[str, Any]]) -> int:
    """Answer every question that lies in the folder with what `status` gives; return how many.
    Raises OSError where that can't be written."""
    entries = os.listdir(folder)
    asked = [found[1] for found in map(_QUESTION.fullmatch, entries) if found]
    if not asked:
        return 0
    text = json.dumps(status(), indent=1).encode()
    for key in asked:
        path = folder / f"status-{key}"
        with open(
            portable.open_own(path.with_suffix(".new"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb"
        ) as file:
            file.write(text)
        portable.replace(path.with_suffix(".new"), path.with_suffix(".json"))
        portable.remove(path.with_suffix(".ask"))
    for path in _answers(folder):
        if _is_older(path, FORGOTTEN_SECONDS):
            portable.remove(path)
    return len(asked)


def remove_left(folder: Path) -> None:
    """Remove the answers that lie in the folder now, also half written ones: whoever asked, or the
    server, was ended meanwhile. Waits `LEFT_SECONDS` at most for those who still fetch theirs.
    Raises StorageError."""
    deadline = Deadline(LEFT_SECONDS)
    try:
        left = _answers(folder)
        while not deadline.has_passed and not all(_is_older(path, LEFT_SECONDS) for path in left):
            time.sleep(PAUSE_SECONDS)
        for path in left:
            portable.remove(path)
    except OSError as error:
        text = f"an answer to 'status' can't be removed: {error.strerror or error}"
        raise StorageError(text) from error


def _answers(folder: Path) -> list[Path]:
    return [folder / entry for entry in filter(_ANSWER.fullmatch, os.listdir(folder))]


def _is_older(path: Path, seconds: float) -> bool:
    """Return whether the file was written longer ago, or is gone."""
    try:
        return time.time() - path.stat().st_mtime > seconds
    except FileNotFoundError:
        return True
