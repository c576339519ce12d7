"""`status`: how the running server is, in words or as JSON.

Owns the wording. Called by the main thread of a process of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from server.archive import questions
from server.base.logs import printable
from server.command_line.arguments import Invocation, write_safely
from server.command_line.console import AdminError, Terminal, existing_folder, shown

PATIENCE_SECONDS: Final = 5.0
"""A server looks each second at the latest, unless it has far too much to do."""
MOST_NAMES: Final = 200


def show_status(invocation: Invocation, terminal: Terminal) -> None:
    """Ask the server of the data folder, and show what it answers."""
    folder = existing_folder(invocation.settings)
    try:
        found = questions.ask(folder.path, PATIENCE_SECONDS)
    except OSError as error:
        raise AdminError(
            f"the server can't be asked: {error.strerror or error}: '{shown(str(folder.path))}'"
        ) from None
    if found is None:
        raise AdminError(
            f"no server answers for '{shown(str(folder.path))}': start one, or name the folder of "
            "the one that runs with --data"
        )
    if invocation.arguments.json:
        write_safely(terminal.stdout, json.dumps(found, indent=1) + "\n")
    else:
        write_safely(terminal.stdout, in_words(found))


def in_words(found: Mapping[str, Any]) -> str:
    """Return the answer of a server as lines for a person."""
    names = [printable(name) for name in found["online"]]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    free, total = found["disk_free_bytes"], found["disk_total_bytes"]
    percent = f", {100 * free // total} %" if free is not None and total else ""
    lines = [
        ("version", found["version"]),
        ("runs since", f"{found['since']} (process {found['process']}, port {found['port']})"),
        ("online", f"{len(names)}: {', '.join(names[:MOST_NAMES])}{more}" if names else "nobody"),
        ("connections", found["connections"]),
        (
            "last minute",
            f"{_plural(found['messages_per_minute'], 'message')}, "
            f"{_plural(found['files_per_minute'], 'file')}",
        ),
        ("waiting", f"{_plural(found['waiting_changes'], 'change')} for the disk"),
        ("last commit", f"{found['last_commit_ms']:g} ms"),
        ("disk left", _size(free) + percent),
        (
            "memory",
            f"{_size(found['memory_bytes'])}, {_size(found['held_for_clients_bytes'])} of "
            "it for what clients send and wait for",
        ),
        ("slowest client", _slowest(found["slowest_client"])),
    ]
    return "".join(f"{name + ':':16}{value}\n" for name, value in lines)


def _slowest(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "none: nothing waits for anybody"
    name = "somebody who is not logged in" if found["chatid"] is None else found["chatid"]
    waiting = _size(found["waiting_bytes"])
    return f"{printable(name)} at {printable(found['address'])}: {waiting} wait"


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _size(count: int | None) -> str:
    """Write bytes for a person: 12.3 MiB."""
    if count is None:
        return "unknown"
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.1f} {unit}" if unit != "bytes" else f"{count} bytes"
        size /= 1024
    return f"{size:.1f} TiB"
