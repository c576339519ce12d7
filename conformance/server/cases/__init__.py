"""The cases about servers, a module or package for each chapter of docs/PROTOCOL.md.

Owns the order in which they run; the module `conformance.server.context` shows how one is written.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
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
    silence,
    teacher,
    teacher_acts,
    texts,
    users_events,
)
from conformance.server.registry import REGISTRY, Case

MODULES: Final = (
    contact,
    sessions,
    silence,
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
    teacher_acts,
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


def load_file(path: str) -> list[Case]:
    """Return the cases of a Python file of somebody's own; its code is run. They are called
    `own.FUNCTION`. Raises ValueError where it can't be read or has none."""
    spec = importlib.util.spec_from_file_location(f"own.{Path(path).stem}", path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise ValueError(f"--with {path}: expected a Python file with cases")
    REGISTRY.forget(spec.name)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError, NameError) as error:
        raise ValueError(f"--with {path} can't be read: {error}") from error
    cases = REGISTRY.cases_of([module])
    if not cases:
        raise ValueError(f"--with {path} has no case: `recording FILE --case NAME` makes one")
    return cases
