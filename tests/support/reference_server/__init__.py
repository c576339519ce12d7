"""A plain chat server, written from docs/PROTOCOL.md alone, to test the conformance kit with.

Owns all it does: it imports nothing of the product and nothing of the kit. Everything is in memory,
one lock guards it all, and each promise of the protocol stands in a method of its own, so that
tests/support/planted_faults can break one by overriding one; a module for each chapter holds them.
It is not made for use: it forgets everything when it ends, and hashes passwords quickly.

Threads: one accepts, and each connection has one that reads and handles and one that writes.
`start` and `stop` may be called by any.
"""

from __future__ import annotations

from support.reference_server.server import ReferenceServer

__all__ = ["ReferenceServer"]
