"""Which side misreads the protocol, told from the table of two servers with two clients.

Owns the table and its sentences. Pure; any thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from conformance.verdicts import Outcome, Verdict

WHOSE: Final = ("their", "our")
HOLDS: Final = "all holds"
_CASE: Final = re.compile(r"(\w+)-server\+(\w+)-client/(.*)")


def first_failures(outcomes: Iterable[Outcome]) -> dict[tuple[str, str], str]:
    """Return for each pair (server, client) the step that failed first, HOLDS where none did."""
    found: dict[tuple[str, str], str] = {}
    for outcome in outcomes:
        match = _CASE.fullmatch(outcome.case_id)
        if match is None:
            continue
        pair = match[1], match[2]
        found.setdefault(pair, HOLDS)
        if outcome.verdict is not Verdict.PASS and found[pair] == HOLDS:
            found[pair] = f"fails at {match[3]}"
    return found


def table(outcomes: Iterable[Outcome]) -> list[str]:
    """Return the table as lines of text."""
    found = first_failures(outcomes)
    servers = [one for one in WHOSE if any(pair[0] == one for pair in found)]
    clients = [one for one in WHOSE if any(pair[1] == one for pair in found)]
    rows = [["", *(f"{one} client" for one in clients)]]
    rows += [
        [f"{one} server", *(found.get((one, other), "-") for other in clients)] for one in servers
    ]
    return ["  ".join(f"{cell:<18}" for cell in row).rstrip() for row in rows]


def which_side(outcomes: Iterable[Outcome]) -> str:
    """Return a sentence that says whose program misreads, "" where the table is not whole or all
    of it holds."""
    found = first_failures(outcomes)
    bad = {pair for pair, step in found.items() if step != HOLDS}
    if len(found) < len(WHOSE) ** 2 or not bad:
        return ""
    server, client = ("their", "our") in bad, ("our", "their") in bad
    if ("our", "our") in bad:
        return "Ours fail with each other: look at what surrounds the kit first."
    if server and client:
        return "Both misread: their server fails with our client, and their client with our server."
    if server:
        return (
            "Their server misreads: it fails with our client, while their client talks well with "
            "our server."
        )
    if client:
        return (
            "Their client misreads: it fails with our server, while their server talks well with "
            "our client."
        )
    return (
        "Each talks well with ours, and they don't with each other: they read differently what "
        "ours forgive. "
        "Compare the first failure with docs/PROTOCOL.md."
    )
