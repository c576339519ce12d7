"""Lists that are cut to what one frame may hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from server.running.service import Service

T = TypeVar("T")

HEAD_BYTES: Final = 1_024
"""Kept free in a frame for everything around the list: action, message, request_id, room."""


def page_of(
    service: Service, found: Iterable[T], limit: int | None, size: Callable[[T], int]
) -> tuple[list[T], bool]:
    """The first of `found` that fit into a frame, at most `limit` of them but at least one, and
    whether more follow.

    `size` gives an item's bytes in JSON. `found` holds one item more than could be wanted, where
    there are more.
    """
    most = service.page_length(limit)
    room = service.frame_room() - HEAD_BYTES
    page: list[T] = []
    for item in found:
        room -= size(item) + 1
        if len(page) >= most or (room < 0 and page):
            return page, True
        page.append(item)
    return page, False
