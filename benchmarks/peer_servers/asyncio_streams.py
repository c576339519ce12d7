"""A chat server as one writes it with asyncio's streams: one loop, one task for each client, each
message encoded once."""

from __future__ import annotations

import asyncio
import json

from benchmarks.machine import raise_open_files
from benchmarks.peer_servers.wire import acknowledged, encoded, forwarded, welcome

members: dict[asyncio.StreamWriter, str] = {}


async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one client until it leaves."""
    try:
        while True:
            size = int.from_bytes(await reader.readexactly(4), "big")
            packet = json.loads(await reader.readexactly(size))
            action, data = packet["action"], packet["data"]
            if action in ("register", "login"):
                if action == "login":
                    members[writer] = data["chatid"]
                writer.write(encoded(welcome(action, data["chatid"])))
            elif action == "send_message":
                message = encoded(forwarded(members[writer], data))
                for other in list(members):
                    if other is not writer:
                        other.write(message)
                        await other.drain()
                writer.write(encoded(acknowledged()))
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        members.pop(writer, None)
        writer.close()


async def main() -> None:
    """Serve on a free port of loopback."""
    raise_open_files()
    server = await asyncio.start_server(serve_client, "127.0.0.1", 0, backlog=1024)
    host, port = server.sockets[0].getsockname()
    print(f"listening on {host}:{port}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
