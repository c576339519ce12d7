"""Cases for the chapter Files."""

from __future__ import annotations

from typing import Final

from conformance.server.cases.files import downloads, limits, names, unfinished, whole_files

MODULES: Final = (whole_files, unfinished, names, downloads, limits)
"""In the order in which they run."""
