"""Refusals that more than one part of the server answers with, and the one for an error of ours.

Owns their codes and texts. Holds no state; any thread may call it.
"""

from __future__ import annotations

from typing import Final

from protocol import ErrorCode, Refusal, describe
from storage.errors import StorageError, StorageFull

STORAGE_FULL: Final = Refusal(
    ErrorCode.STORAGE_FULL,
    "the server's disk is full: nothing was stored; try again when there is room",
)


def no_such_room(room_id: str) -> Refusal:
    """Return the one answer for a room that is not there, is deleted, or is private and not the
    user's: nobody can tell which of them it is (R-ROOM-6)."""
    return Refusal(ErrorCode.ROOM_NOT_FOUND, f"data.room_id: there is no room {room_id!r} for you")


def no_such_file(file_path: str) -> Refusal:
    """Return the answer for a file that the room does not have, or has no more."""
    return Refusal(
        ErrorCode.FILE_NOT_FOUND, f"data.file_path: this room has no file {describe(file_path)}"
    )


def as_refusal(error: Exception) -> Refusal:
    """Return what the peer hears of an error: a refusal as it is, a full disk as `storage_full`,
    anything else as `internal_error`."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, StorageFull):
        return STORAGE_FULL
    if isinstance(error, (StorageError, TimeoutError)):
        return Refusal(
            ErrorCode.INTERNAL_ERROR, "the server could not do this now; its log says why"
        )
    return Refusal(
        ErrorCode.INTERNAL_ERROR, "the server met a defect of its own; its log says which"
    )
