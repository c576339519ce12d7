"""The registry of the cases about clients.

Owns `case`, the decorator of every case below `conformance/client/cases/`.
"""

from __future__ import annotations

from conformance import registry
from conformance.client.context import ClientContext

Case = registry.Case[ClientContext]

REGISTRY: registry.Registry[ClientContext] = registry.Registry(
    "conformance.client.cases", chapter="client"
)

case = REGISTRY.case
