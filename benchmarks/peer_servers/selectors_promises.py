"""A chat server in one thread that keeps our promises: a loop around a selector, and one commit for
all messages of a turn of it. What a client is sent in a turn goes out by one `send`."""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
from typing import Any

from benchmarks.machine import raise_open_files
from benchmarks.peer_servers.promises import Handshakes, Messages, Waiting
from benchmarks.peer_servers.wire import encoded, welcome

READ_BYTES = 65_536

selector = selectors.DefaultSelector()
handshakes, messages = Handshakes(), Messages()


class Client:
    """One client: what has come in part, and what waits to be sent."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.name = sock, ""
        self.received, self.pending = bytearray(), bytearray()
        self.waits_to_write = False

    def packets(self) -> list[dict[str, Any]]:
        """Read once; return the whole packets. Raise ConnectionError at the end of the stream."""
        data = self.sock.recv(READ_BYTES)
        if not data:
            raise ConnectionResetError
        self.received += data
        found, at = [], 0
        while len(self.received) - at >= 4:
            end = at + 4 + int.from_bytes(self.received[at : at + 4], "big")
            if end > len(self.received):
                break
            found.append(json.loads(self.received[at + 4 : end]))
            at = end
        del self.received[:at]
        return found

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it, and watch it for the rest."""
        with contextlib.suppress(BlockingIOError):
            del self.pending[: self.sock.send(self.pending)]
        if bool(self.pending) != self.waits_to_write:
            self.waits_to_write = bool(self.pending)
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.pending else 0)
            selector.modify(self.sock, events, self)


class Server:
    """The loop and everybody in it."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.members: dict[Client, None] = {}
        self.touched: dict[Client, None] = {}
        """Those to whom something is to be sent at the end of this turn."""
        self.to_store: list[Waiting] = []

    def turn(self) -> None:
        """Read from whoever has sent something, store, and send."""
        for key, events in selector.select():
            client = key.data
            if client is None:
                self.accept()
                continue
            if events & selectors.EVENT_WRITE:
                self.touched[client] = None
            if events & selectors.EVENT_READ:
                try:
                    for packet in client.packets():
                        self.answer(client, packet["action"], packet["data"])
                except OSError:
                    self.leave(client)
        if self.to_store:
            batch, self.to_store = self.to_store, []
            for waiting, number in zip(batch, messages.commit(batch), strict=True):
                self.deliver(waiting, *handshakes.stored(waiting, number))
        touched, self.touched = self.touched, {}
        for client in touched:
            try:
                client.flush()
            except OSError:
                self.leave(client)

    def accept(self) -> None:
        """Take one client."""
        sock, _ = self.listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(sock, selectors.EVENT_READ, Client(sock))

    def leave(self, client: Client) -> None:
        """Forget a client that has gone."""
        self.members.pop(client, None)
        if client.sock.fileno() != -1:
            selector.unregister(client.sock)
            client.sock.close()

    def answer(self, client: Client, action: str, data: dict[str, Any]) -> None:
        """Answer one packet."""
        if action in ("register", "login"):
            if action == "login":
                client.name = data["chatid"]
                self.members[client] = None
            self.put(client, encoded(welcome(action, data["chatid"])))
        elif action == "send_message":
            self.put(client, handshakes.open(client, client.name, data))
        elif action == "confirm_count":
            waiting = handshakes.confirmed(data)
            if waiting is not None:
                self.to_store.append(waiting)
        elif action == "character_count":
            self.put(client, handshakes.answered(data))

    def deliver(self, waiting: Waiting, ack: bytes, said: bytes) -> None:
        """Acknowledge a message to its sender, and give it to all others."""
        for client in self.members:
            self.put(client, ack if client is waiting.sender else said)

    def put(self, client: Client, data: bytes) -> None:
        """Queue bytes for the end of the turn."""
        client.pending += data
        self.touched[client] = None


def main() -> None:
    """Serve on a free port of loopback."""
    raise_open_files()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, None)
        print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
        server = Server(listener)
        while True:
            server.turn()


if __name__ == "__main__":
    main()
