"""Cases for the chapter The command line, where the kit starts the server itself
(`--start-cmd`)."""

from __future__ import annotations

import os
import re

from conformance.server.context import Bench, NotOffered, case
from conformance.server.process import ServerCommand

PLACE = 95
LISTENING = re.compile(r"listening on (\S+):(\d+)")


def process_of(bench: Bench) -> ServerCommand:
    """The server's process; NOT OFFERED where the kit did not start it."""
    if bench.target.process is None:
        raise NotOffered("a server that the kit starts", "use --start-cmd")
    return bench.target.process


@case(
    rules=["R-CLI-2"],
    level="robust",
    last=True,
    title="once it listens the server prints a line with `listening on HOST:PORT`",
)
def says_where_it_listens(bench: Bench) -> None:
    process = process_of(bench)
    process.restart()
    line = process.wait_for_line(LISTENING, bench.target.timeout)
    bench.check(
        bool(line),
        "a line with `listening on HOST:PORT`",
        f"it printed: {process.output()[-300:]!r}",
    )
    found = LISTENING.search(line)
    if found is not None:
        bench.equal(int(found[2]), process.port, "the port that was told")


@case(
    rules=["R-CLI-1"],
    level="robust",
    last=True,
    title="at SIGTERM the server ends with exit status 0",
)
def ends_at_sigterm(bench: Bench) -> None:
    process = process_of(bench)
    if os.name == "nt":
        raise NotOffered("SIGTERM", "Windows has none")
    status = process.terminate()
    process.start()
    bench.check(
        status == 0,
        "exit status 0 after SIGTERM",
        "it had to be killed" if status is None else f"it was {status}",
    )
