"""The registry of the cases about servers.

Owns `case`, the decorator of every case below `conformance/server/cases/`; the module `context`
shows how one is written.
"""

from __future__ import annotations

from conformance import registry
from conformance.server.context import ServerContext

Case = registry.Case[ServerContext]

REGISTRY: registry.Registry[ServerContext] = registry.Registry("conformance.server.cases")

case = REGISTRY.case
