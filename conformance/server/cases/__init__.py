"""The cases about servers, a module or package for each chapter of docs/PROTOCOL.md.

Owns the order in which they run; the module `conformance.server.context` shows how one is written.
"""

from __future__ import annotations

from typing import Final

from conformance.server.cases import (
    accounts,
    clock,
    command_line,
    contact,
    durability,
    files,
    framing,
    history,
    json_errors,
    limits,
    messages,
    order,
    peers,
    privacy,
    races,
    resources,
    restart,
    rooms,
    sessions,
    teacher,
    texts,
    users_events,
)
from conformance.server.registry import REGISTRY, Case

MODULES: Final = (
    contact,
    sessions,
    framing,
    *messages.MODULES,
    order,
    texts,
    clock,
    accounts,
    *json_errors.MODULES,
    *rooms.MODULES,
    history,
    *files.MODULES,
    users_events,
    teacher,
    privacy,
    peers,
    races,
    limits,
    resources,
    command_line,
    restart,
    durability,
)
"""In the order in which they run: what later cases need comes first."""


def load() -> list[Case]:
    """Return every case, in the order in which they run."""
    return REGISTRY.cases_of(MODULES)
