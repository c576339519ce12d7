"""The cases about clients: the client is started, typed to, and answered by a script.

Owns the order in which they run. A case passes by returning; see `conformance.client.context` for
what it may use. What fails is a failure of the first of its rules, unless another is named.
"""

from __future__ import annotations

from typing import Final

from conformance.client.cases import extensions, files, logging_in, receiving, robust, sending
from conformance.client.registry import REGISTRY, Case

MODULES: Final = (logging_in, sending, receiving, files, extensions, robust)
"""In the order in which they run."""


def load() -> list[Case]:
    """Return every case, in the order in which they run."""
    return REGISTRY.cases_of(MODULES)
