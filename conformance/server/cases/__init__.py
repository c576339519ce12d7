"""The cases, one module for each chapter of docs/PROTOCOL.md; how one is written stands in
`conformance/server/context.py`.

Owns the loading of its modules, nothing else.
"""

from __future__ import annotations

import importlib
import pkgutil

from conformance.server.context import REGISTRY, Case


def load() -> list[Case]:
    """Every case of every module of this package, in the order in which they run: by the module's
    PLACE, its name, the case's place in it."""
    modules = [
        importlib.import_module(f"{__name__}.{info.name}")
        for info in pkgutil.iter_modules(__path__)
    ]
    modules.sort(key=lambda module: (getattr(module, "PLACE", 50), module.__name__))
    return [
        each
        for module in modules
        for each in REGISTRY.values()
        if each.body.__module__ == module.__name__
    ]
