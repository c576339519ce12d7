"""Servers that lose a race, or let one client stop the others."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from support.planted_faults.plant import plant
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.fields import folded
from support.reference_server.records import Account, Message
from support.reference_server.words import Packet, RegisterRefusal

A_MOMENT = 0.002


class Unlocks(ReferenceServer):
    """For faults that do something outside of the lock that guards it."""

    @contextlib.contextmanager
    def unlocked(self) -> Iterator[None]:
        self.lock.release()
        try:
            time.sleep(A_MOMENT)
            yield
        finally:
            self.lock.acquire()


@plant("R-ACC-2", around="R-ACC-2", whole=False)
class RegistersTwice(Unlocks):
    """Whether a name is free is looked up in one step, and the account made in another."""

    def do_register(self, connection: Connection, data: Packet) -> None:
        if folded(data["chatid"]) in self.accounts:
            raise RegisterRefusal("name_taken", "This name is taken: choose another.")
        with self.unlocked():
            pass
        self.accounts.pop(folded(data["chatid"]), None)
        super().do_register(connection, data)


@plant("R-SESS-5", around="R-SESS-5", whole=False)
class LogsInTwice(Unlocks):
    """Whether the place is free is looked up in one step, and taken in another."""

    def check_place(self, account: Account, take_over: bool) -> None:
        super().check_place(account, take_over)
        with self.unlocked():
            pass


@plant("R-ORDER-2", around="R-ORDER-2", whole=False)
class DeliversUnlocked(Unlocks):
    """A message is numbered under the lock and delivered outside of it."""

    def deliver(self, sender: Account, message: Message) -> None:
        for account in self.hearers(sender, message.room_id):
            with self.unlocked():
                pass
            self.forward(account, self.received(account, message))


@plant("R-MSG-21", around="R-MSG-21", waits=True, whole=False)
class WaitsForEachReader(ReferenceServer):
    """A message is written to one reader after the other, with the lock held."""

    def forward(self, account: Account, packet: Packet) -> None:
        connection = account.connection
        if connection is None:
            return
        deadline = time.monotonic() + self.STALL_SECONDS
        with connection.wake:
            while connection.waiting and not connection.over and time.monotonic() < deadline:
                connection.wake.wait(0.1)
        super().forward(account, packet)


@plant("R-LIM-11", around="R-LIM-11", whole=False)
class KeepsAllForASlowReader(ReferenceServer):
    """What a reader does not take is kept for it, without a limit."""

    MAX_WAITING = 1 << 40


@plant("R-MSG-21", around="R-MSG-21", waits=True, whole=False)
class DropsInSilence(ReferenceServer):
    """What a slow reader does not take is dropped, and its connection goes on."""

    def forward(self, account: Account, packet: Packet) -> None:
        if account.connection is None or account.connection.waiting_bytes[True] < 100_000:
            super().forward(account, packet)


@plant("R-MSG-21", around="R-MSG-21", waits=True, whole=False)
class OutboxOfAThousand(ReferenceServer):
    """A client has an outbox of a thousand packets; what comes while it is full is dropped."""

    MAX_WAITING = 1 << 40
    MOST = 1000

    def take(self, connection: Connection, payload: bytes) -> None:
        connection.wait_until_written = self.read_on  # type: ignore[method-assign]
        super().take(connection, payload)

    def read_on(self) -> None:
        """Wait for nothing: the next request is read while replies wait."""

    def waiting(self, connection: Connection) -> int:
        return len(connection.waiting)

    def forward(self, account: Account, packet: Packet) -> None:
        if account.connection is None or self.waiting(account.connection) < self.MOST:
            super().forward(account, packet)


@plant("R-MSG-21", around="R-MSG-21", waits=True, whole=False)
class ChannelOf256(OutboxOfAThousand):
    """Messages go to a client by a channel for 256; what comes while it is full is dropped."""

    MOST = 256

    def waiting(self, connection: Connection) -> int:
        return sum(is_forwarded for _, is_forwarded in connection.waiting)


@plant("R-LIM-10", around="R-LIM-10", waits=True, whole=False)
class PoolOfThreads(ReferenceServer):
    """Sixty-four threads serve the clients, each one client until it goes."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.free_threads = threading.Semaphore(64)
        self.served: set[Connection] = set()

    def read_frame(self, connection: Connection) -> bytes:
        if connection not in self.served:
            while not self.free_threads.acquire(timeout=0.1):
                if self.stopping.is_set() or connection.over:
                    break
            self.served.add(connection)
        return super().read_frame(connection)

    def drop(self, connection: Connection) -> None:
        if connection in self.served:
            self.served.discard(connection)
            self.free_threads.release()
        super().drop(connection)


@plant("R-LIM-9", around="R-LIM-9", waits=True, whole=False)
class DelayHoldsAll(ReferenceServer):
    """Who has given wrong passwords waits with the lock held, and everybody waits with him."""

    def slow_down(self, connection: Connection, packet: Packet) -> None:
        with self.lock:
            super().slow_down(connection, packet)


@plant("R-MSG-9", around="R-MSG-9")
class FewKeys(ReferenceServer):
    """The last fifty keys are remembered."""

    def do_send_message(self, connection: Connection, data: Packet) -> None:
        for key in list(self.kept_keys)[:-50]:
            del self.kept_keys[key]
        super().do_send_message(connection, data)


@plant("R-MSG-15", around="R-MSG-15")
class FewT2(ReferenceServer):
    """The last fifty messages can be answered."""

    def message_to_answer(self, connection: Connection, transaction_id: str) -> Message:
        for key in list(self.messages)[:-50]:
            del self.messages[key]
        return super().message_to_answer(connection, transaction_id)
