"""Cases for the chapter Sending a message."""

from __future__ import annotations

from typing import Final

from conformance.server.cases.messages import own_keys, receiving, sending

MODULES: Final = (sending, own_keys, receiving)
"""In the order in which they run."""
