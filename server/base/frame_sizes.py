"""How large a frame, a message, a chunk and a page may be: pure functions of the settings.

Owns these numbers and the reserve around a list in a reply. Holds no state; any thread may call it.
All sizes are in bytes.
"""

from __future__ import annotations

from typing import Final

import protocol
from server.base.settings import Settings

HEAD_BYTES: Final = 1_024
"""Kept free in a frame for everything around a list: action, message, request_id, room."""
REPLY_FRAME_BYTES: Final = 1024 * 1024
"""The largest frame of a reply where --max-frame sets no limit."""
PAGE_ENTRIES: Final = 10_000
"""Entries of a list in one reply, where the request names no limit and the frame has room."""
DOWNLOAD_CHUNK_BYTES: Final = 64 * 1024
CHUNK_HEAD_BYTES: Final = 2_048
"""Kept free in a frame for everything around the base64 of a chunk."""


def max_frame(settings: Settings, *, logged_in: bool) -> int:
    """Return the largest frame that is taken; 0 means no limit. It is smaller before the login."""
    most = settings.max_frame
    if logged_in:
        return most
    return min(most, protocol.MAX_FRAME_BEFORE_LOGIN) if most else protocol.MAX_FRAME_BEFORE_LOGIN


def frame_room(settings: Settings) -> int:
    """Return the largest frame that a list in a reply may fill."""
    return settings.max_frame or REPLY_FRAME_BYTES


def max_content(settings: Settings) -> int:
    """Return the longest content of a message, in bytes of UTF-8; 0 means no limit.

    It is bounded so that the counts of the content's letters fit into a frame. The worst content
    has letters of 2 bytes, each of them once: a count takes 7 bytes then, as in `"é":1,`.
    """
    most, fits = settings.max_content, (settings.max_frame - HEAD_BYTES) * 2 // 7
    return min(most or fits, fits) if settings.max_frame else most


def page_length(limit: int | None) -> int:
    """Return how many entries of a list one reply holds at most, for a request with this limit."""
    return limit or PAGE_ENTRIES


def max_chunk(settings: Settings) -> int:
    """Return the largest chunk of a file whose packet fits into a frame (base64 adds a third)."""
    fits = (frame_room(settings) - CHUNK_HEAD_BYTES) * 3 // 4
    return max(1, min(protocol.MAX_CHUNK_BYTES, fits))


def download_chunk(settings: Settings) -> int:
    """Return the chunk size of downloads."""
    return min(DOWNLOAD_CHUNK_BYTES, max_chunk(settings))
