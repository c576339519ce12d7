"""Lists that are cut to what one frame may hold (R-ROOM-21)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from server.base import frame_sizes
from server.base.settings import Settings

T = TypeVar("T")


def page_of(
    settings: Settings, found: Iterable[T], limit: int | None, size: Callable[[T], int]
) -> tuple[list[T], bool]:
    """Return the first of `found` that fit into a frame, at most `limit` of them but at least one,
    and whether more follow.

    `size` gives an item's bytes in JSON. `found` holds one item more than could be wanted, where
    there are more.
    """
    most = frame_sizes.page_length(limit)
    room = frame_sizes.frame_room(settings) - frame_sizes.HEAD_BYTES
    page: list[T] = []
    for item in found:
        room -= size(item) + 1
        if len(page) >= most or (room < 0 and page):
            return page, True
        page.append(item)
    return page, False
