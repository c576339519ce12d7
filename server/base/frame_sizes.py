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
HEAD_ELEMENTS: Final = 32
"""Kept free of the 10,000 keys and elements of a packet (R-JSON-4) for everything around a list."""
MEMBERS_NAMED: Final = 1_000
"""Members of a room that a list of rooms names; `get_room_users` pages through all."""
MEMBER_BYTES: Final = 4 * protocol.MAX_CHATID_CHARACTERS + 3
"""The most that one name takes in a list."""
RECEIVED_BYTES: Final = 40
"""The most that one range of received chunks takes in a list; its elements are 3."""
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

    It is bounded so that every packet about it fits into a frame. The worst content is of control
    characters: each byte takes 6 as JSON, as in `\\u0001`. (The counts of its letters take 3.5 for
    each byte, where letters of 2 bytes stand once each, as in `"é":1,`.)
    """
    most, fits = settings.max_content, (settings.max_frame - HEAD_BYTES) // 6
    return min(most or fits, fits) if settings.max_frame else most


def members_named(settings: Settings) -> int:
    """Return how many members of a room a list of rooms names at most: so many fit beside all else
    that is said of the room."""
    return min(MEMBERS_NAMED, (frame_room(settings) - 2 * HEAD_BYTES) // MEMBER_BYTES)


def ranges_named(settings: Settings) -> int:
    """Return how many ranges of received chunks one reply names at most."""
    fits = (frame_room(settings) - 2 * HEAD_BYTES) // RECEIVED_BYTES
    return min((protocol.MAX_ELEMENTS - HEAD_ELEMENTS) // 3, fits)


def max_chunk(settings: Settings) -> int:
    """Return the largest chunk of a file whose packet fits into a frame (base64 adds a third)."""
    fits = (frame_room(settings) - CHUNK_HEAD_BYTES) * 3 // 4
    return max(1, min(protocol.MAX_CHUNK_BYTES, fits))


def download_chunk(settings: Settings) -> int:
    """Return the chunk size of downloads."""
    return min(DOWNLOAD_CHUNK_BYTES, max_chunk(settings))
