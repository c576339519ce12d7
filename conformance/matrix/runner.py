"""The run of the matrix: which programs there are, and every server with every client.

Owns the options of this mode and the report. Prints nothing. One thread.

The server's command may hold {host} {port} {data} {folder}, the client's what
`conformance.client.runner` says. Ours are found beside the kit where it lies in the project's
folder.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from conformance import command_words, own_name
from conformance.client.process import (
    read_driver,
    split_command,
)
from conformance.matrix.pair import Pair, Program
from conformance.reports import pairs
from conformance.verdicts import Outcome, Report

WAIT_SECONDS: Final = 15.0
"""The longest single wait, unless `--timeout` says another: two programs have to start, and to
hash passwords."""
LIMIT_SECONDS: Final = 480.0
"""The longest time of a whole run, unless `--limit` says another."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that only this mode has."""
    parser.add_argument(
        "--our-server",
        metavar="CMD",
        help="our server; ../chat_server.py unless given, where it lies there",
    )
    parser.add_argument(
        "--our-client",
        metavar="CMD",
        help="our client; ../chat_client.py unless given, where it lies there",
    )
    parser.add_argument(
        "--driver", metavar="FILE", help="what is typed into their client (INI); ours is known"
    )
    parser.add_argument(
        "--account",
        metavar="NAME:PASSWORD",
        action="append",
        default=[],
        help="two of them where their server knows no register",
    )


def beside_the_kit(name: str) -> list[str] | None:
    """Return the command of one of our programs, where the kit lies in the project's folder, as a
    folder or packed (also in build/)."""
    home = Path(__file__).resolve().parents[2]
    folders = [home.parent, home.parent.parent] if home.is_file() else [home]
    for folder in folders:
        if (folder / name).is_file():
            return [sys.executable, str(folder / name)]
    return None


def run(args: argparse.Namespace, on_outcome: Callable[[Outcome], None] | None = None) -> Report:
    """Let each server talk with each client; `on_outcome` is told of each step as it ends.

    Uses `commands` (their server's and their client's), `our_server`, `our_client`, `driver`,
    `account`, `seed`, `timeout`, `points` and `transcripts`. Raises `ValueError` for what can't be
    used.
    """
    if len(args.commands) != 2 or not all(args.commands):
        raise ValueError(f"expected: {own_name.NAME} matrix -- SERVER_CMD -- CLIENT_CMD")
    servers, clients, notes = _programs(args)
    started, began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), time.monotonic()
    outcomes: list[Outcome] = []
    until = began + (args.limit or LIMIT_SECONDS)
    for one, other in itertools.product(servers, clients):
        timeout = args.timeout or WAIT_SECONDS
        pair = Pair(
            one,
            other,
            args.seed,
            args.account,
            timeout,
            keep=args.transcripts,
            again=_again(args),
            until=until,
        )
        for outcome in pair.run():
            outcomes.append(outcome)
            if on_outcome is not None:
                on_outcome(outcome)
    if side := pairs.which_side(outcomes):
        notes.append(side)
    target = (
        f"{command_words.join(servers[0].command)} with {command_words.join(clients[0].command)}"
    )
    return Report(
        target=target,
        mode="matrix",
        level="full",
        seed=args.seed,
        started=started,
        seconds=round(time.monotonic() - began, 3),
        outcomes=tuple(outcomes),
        notes=tuple(notes),
        points=args.points or {},
    )


def _programs(args: argparse.Namespace) -> tuple[list[Program], list[Program], list[str]]:
    """Return the servers, the clients, and what the report is to note: theirs first, then ours if
    they are found."""
    server, client = args.commands
    notes: list[str] = []
    servers = [Program("their", tuple(split_command(server)))]
    clients = [Program("their", tuple(split_command(client)), read_driver(args.driver))]
    ours = _ours(
        args.our_server,
        "chat_server.py",
        ["--host", "{host}", "--port", "{port}", "--data", "{folder}/data"],
    )
    if ours is not None:
        servers.append(Program("our", tuple(ours)))
    ours = _ours(
        args.our_client,
        "chat_client.py",
        ["{host}:{port}", "-u", "{user}", "--download-folder", "{folder}"],
    )
    if ours is not None:
        clients.append(Program("our", tuple(ours)))
    if len(servers) + len(clients) < 4:
        notes.append(
            "Ours are not beside the kit: give --our-server CMD and --our-client CMD for the "
            "whole table."
        )
    return servers, clients, notes


def _again(args: argparse.Namespace) -> str:
    """Return the command line that runs all of it again, with the same names and texts; passwords
    are to be put in."""
    options = ["--seed", str(args.seed)]
    for name in ("timeout", "driver", "our_server", "our_client"):
        given = getattr(args, name)
        options += (
            [
                f"--{name.replace('_', '-')}",
                f"{given:g}" if isinstance(given, float) else str(given),
            ]
            if given
            else []
        )
    for account in args.account or ():
        options += ["--account", f"{account.partition(':')[0]}:PASSWORD"]
    server, client = args.commands
    return command_words.join([*own_name.WORDS, "matrix", *options, "--", *server, "--", *client])


def _ours(given: str | None, name: str, options: Sequence[str]) -> list[str] | None:
    if given is not None:
        return split_command([given])
    found = beside_the_kit(name)
    return None if found is None else [*found, *options]
