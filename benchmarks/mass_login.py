"""Many log in at once: a process of its own. `python -m benchmarks.mass_login PORT COUNT
register|password|key`

Connects all, then sends all requests in one moment, and waits for the last answer. Keys come as
JSON on stdin and the new ones go to stdout with the seconds it took. Only to 127.0.0.1.
"""

from __future__ import annotations

import json
import selectors
import sys
import time
from typing import Any

from benchmarks.machine import raise_open_files
from benchmarks.scripts import PATIENCE_SECONDS, Client
from benchmarks.wire_formats import PASSWORD, WIRE_FORMATS, packet

JSON = WIRE_FORMATS["json"]


def mass_login(port: int, count: int, how: str, keys: dict[str, str]) -> dict[str, Any]:
    """Send all requests at once. Return the seconds until the last answer, and the session keys."""
    begun = time.perf_counter()
    selector = selectors.DefaultSelector()
    waiting: dict[str, Client] = {}
    for number in range(count):
        name = f"student{number}"
        client = waiting[name] = Client(port)
        secret = {"session_key": keys[name]} if how == "key" else {"password": PASSWORD}
        client.socket.sendall(
            JSON.wrap(
                packet("register" if how == "register" else "login", {"chatid": name, **secret})
            )
        )
        selector.register(client.socket, selectors.EVENT_READ, name)
    connected = time.perf_counter() - begun
    given: dict[str, str] = {}
    answered: list[float] = []
    while len(answered) < count:
        ready = selector.select(PATIENCE_SECONDS)
        if not ready:
            raise SystemExit(
                f"{count - len(answered)} of {count} had no answer for {PATIENCE_SECONDS:.0f} s"
            )
        for key, _ in ready:
            said = waiting[key.data].expect(
                "register_success" if how == "register" else "login_success"
            )
            answered.append(time.perf_counter() - begun)
            given[key.data] = said["data"].get("session_key", "")
            selector.unregister(key.fileobj)
    for client in waiting.values():
        client.socket.close()
    return {
        "seconds": answered[-1],
        "connected_seconds": connected,
        "median_seconds": sorted(answered)[count // 2],
        "keys": given,
    }


def main() -> int:
    """Run one mass login."""
    port, count, how = sys.argv[1:]
    raise_open_files()
    print(json.dumps(mass_login(int(port), int(count), how, json.loads(sys.stdin.read() or "{}"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
