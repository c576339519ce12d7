"""The same chat with the package `websockets`, where it is installed: its own `broadcast`, without
compression and pings."""

from __future__ import annotations

import asyncio
import importlib
import json
from typing import Any, Final

from benchmarks.machine import raise_open_files
from benchmarks.peer_servers.wire import acknowledged, forwarded, welcome

PACKAGE: Final = "websockets.asyncio.server"
"""Named here, because nothing that the project imports may come from outside the standard
library."""

members: dict[Any, str] = {}


async def main() -> None:
    """Serve on a free port of loopback."""
    websockets = importlib.import_module(PACKAGE)
    raise_open_files()

    async def serve_client(connection: Any) -> None:
        try:
            async for text in connection:
                packet = json.loads(text)
                action, data = packet["action"], packet["data"]
                if action in ("register", "login"):
                    if action == "login":
                        members[connection] = data["chatid"]
                    await connection.send(json.dumps(welcome(action, data["chatid"])))
                elif action == "send_message":
                    message = json.dumps(forwarded(members[connection], data))
                    websockets.broadcast(members.keys() - {connection}, message)
                    await connection.send(json.dumps(acknowledged()))
        finally:
            members.pop(connection, None)

    options = {"compression": None, "ping_interval": None, "open_timeout": 120, "backlog": 1024}
    async with websockets.serve(serve_client, "127.0.0.1", 0, **options) as server:
        host, port = next(iter(server.sockets)).getsockname()
        print(f"listening on {host}:{port}", flush=True)
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main())
