"""Cases for the chapters JSON and Errors."""

from __future__ import annotations

from typing import Final

from conformance.server.cases.json_errors import errors, packets, payloads

MODULES: Final = (payloads, packets, errors)
"""In the order in which they run."""
