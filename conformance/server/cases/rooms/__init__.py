"""Cases for the chapter Rooms."""

from __future__ import annotations

from typing import Final

from conformance.server.cases.rooms import lists, open_rooms, private_rooms

MODULES: Final = (open_rooms, private_rooms, lists)
"""In the order in which they run."""
