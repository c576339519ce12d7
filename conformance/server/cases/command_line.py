"""Cases for the chapter The command line, where the kit starts the server itself
(`--start-cmd`)."""

from __future__ import annotations

import os
import re

from conformance.endings import NotOffered
from conformance.server.cases.steps import ended_well
from conformance.server.context import ServerContext
from conformance.server.process import ServerCommand
from conformance.server.registry import case

LISTENING = re.compile(r"listening on (\S+):(\d+)")


def process_of(context: ServerContext) -> ServerCommand:
    """Return the server's process; NOT OFFERED where the kit did not start it."""
    if context.target.process is None:
        raise NotOffered("a server that the kit starts", "use --start-cmd")
    return context.target.process


@case(
    rules=["R-CLI-2"],
    level="robust",
    last=True,
    title="once it listens the server prints a line with `listening on HOST:PORT`",
)
def says_where_it_listens(context: ServerContext) -> None:
    process = process_of(context)
    process.restart()
    line = process.wait_for_line(LISTENING, context.target.timeout)
    context.check(
        bool(line),
        "a line with `listening on HOST:PORT`",
        f"it printed: {process.output()[-300:]!r}",
    )
    found = LISTENING.search(line)
    if found is not None:
        context.equal(int(found[2]), process.port, "the port that was told")


@case(
    rules=["R-CLI-1"],
    level="robust",
    last=True,
    title="at SIGTERM the server ends with exit status 0",
)
def ends_at_sigterm(context: ServerContext) -> None:
    process = process_of(context)
    if os.name == "nt":
        raise NotOffered("SIGTERM", "Windows has none")
    status = process.terminate()
    process.start()
    ended_well(context, status)
