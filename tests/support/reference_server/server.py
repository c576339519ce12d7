"""The reference server: all chapters together, and its life from start to stop."""

from __future__ import annotations

import threading
import time

from support.reference_server.connection import Connection
from support.reference_server.events import Events
from support.reference_server.files import Files
from support.reference_server.frames import Frames
from support.reference_server.history import History
from support.reference_server.messages import Messages
from support.reference_server.requests import Requests
from support.reference_server.rooms import Rooms
from support.reference_server.sessions import Sessions


class ReferenceServer(Frames, Requests, Sessions, Rooms, Messages, History, Files, Events):
    """The whole protocol but its command line."""

    def start(self) -> ReferenceServer:
        threading.Thread(target=self.accept_all, name="reference-accepts", daemon=True).start()
        return self

    def accept_all(self) -> None:
        while not self.stopping.is_set():
            try:
                sock, _ = self.listener.accept()
            except TimeoutError:
                continue
            except OSError:  # Windows: it was reset before it was taken (WSAENOTCONN, too)
                self.stopping.wait(0.01)
                continue
            try:
                connection = Connection(self, sock)
            except OSError:  # Windows and macOS: it was reset meanwhile, and takes no option
                sock.close()
                continue
            with self.lock:
                if self.stopping.is_set():  # `stop` has taken those that it closes
                    sock.close()
                    return
                self.connections.add(connection)
            connection.start()

    def stop(self) -> None:
        self.stopping.set()
        with self.lock:
            self.tell(list(self.accounts.values()), "server_closing")
            connections = list(self.connections)
        self.listener.close()
        deadline = time.monotonic() + 0.5
        for connection in connections:
            with connection.wake:
                connection.last_word = True
                connection.wake.notify_all()
                while connection.waiting and not connection.over and time.monotonic() < deadline:
                    connection.wake.wait(0.05)
        for connection in connections:
            connection.close()
        for timer in self.timers:
            timer.cancel()

    def drop(self, connection: Connection) -> None:
        with self.lock:
            self.connections.discard(connection)
            self.end_session(connection)
        connection.close()
        connection.sock.close()
