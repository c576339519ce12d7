"""A chat server as one first writes it with threads: the sender's thread encodes and sends to every
member in turn."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
from typing import Any

from benchmarks.machine import raise_open_files
from benchmarks.peer_servers.wire import acknowledged, encoded, forwarded, welcome

members: dict[str, Client] = {}
members_lock = threading.Lock()


class Client(socketserver.StreamRequestHandler):
    """One client and its thread."""

    def setup(self) -> None:
        super().setup()
        self.name = ""
        self.sending = threading.Lock()
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def handle(self) -> None:
        """Answer until the client leaves."""
        try:
            while head := self.rfile.read(4):
                packet = json.loads(self.rfile.read(int.from_bytes(head, "big")))
                self.answer(packet["action"], packet["data"])
        except (OSError, ValueError):
            pass
        finally:
            with members_lock:
                members.pop(self.name, None)

    def answer(self, action: str, data: dict[str, Any]) -> None:
        """Answer one packet."""
        if action in ("register", "login"):
            self.put(welcome(action, data["chatid"]))
            if action == "login":
                self.name = data["chatid"]
                with members_lock:
                    members[self.name] = self
        elif action == "send_message":
            message = forwarded(self.name, data)
            with members_lock:
                others = [member for member in members.values() if member is not self]
            for other in others:
                with contextlib.suppress(OSError):  # it is leaving; its own thread notices
                    other.put(message)
            self.put(acknowledged())

    def put(self, packet: dict[str, Any]) -> None:
        """Encode and send. Every receiver costs an encoding, which is what makes it naive."""
        with self.sending:
            self.request.sendall(encoded(packet))


class Server(socketserver.ThreadingTCPServer):
    """One thread for each client."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024


if __name__ == "__main__":
    raise_open_files()
    with Server(("127.0.0.1", 0), Client) as server:
        print(f"listening on 127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
