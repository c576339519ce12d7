"""A chat server with asyncio's streams that keeps our promises: one loop, a task for each client,
and commits in a thread beside the loop, one for all messages that came during the last one."""

from __future__ import annotations

import asyncio
import json

from benchmarks.machine import raise_open_files
from benchmarks.peer_servers.promises import Handshakes, Messages, Waiting
from benchmarks.peer_servers.wire import encoded, welcome

members: dict[asyncio.StreamWriter, str] = {}
handshakes, messages = Handshakes(), Messages()
to_store: list[Waiting] = []
has_work = asyncio.Event()


async def store() -> None:
    """Commit what has come, then acknowledge and deliver it, for ever."""
    while True:
        await has_work.wait()
        has_work.clear()
        batch = to_store.copy()
        to_store.clear()
        numbers = await asyncio.to_thread(messages.commit, batch)
        for waiting, number in zip(batch, numbers, strict=True):
            ack, said = handshakes.stored(waiting, number)
            waiting.sender.write(ack)
            for other in list(members):
                if other is not waiting.sender:
                    other.write(said)


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
                writer.write(handshakes.open(writer, members[writer], data))
            elif action == "confirm_count":
                waiting = handshakes.confirmed(data)
                if waiting is not None:
                    to_store.append(waiting)
                    has_work.set()
            elif action == "character_count":
                writer.write(handshakes.answered(data))
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
        await store()


if __name__ == "__main__":
    asyncio.run(main())
