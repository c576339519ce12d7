"""A whole relay: its parts put together, in the order in which they start and end.

Owns one `Relay`, the traffic that it tells, what steers it, and the story that is told of
it. Prints nothing. `start` and `close` are for one thread.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import final

from conformance.relay.connection import Target
from conformance.relay.faults import Fault
from conformance.relay.listening import Relay
from conformance.relay.steering import Steering
from conformance.relay.story import Event, Story
from conformance.relay.traffic import Item, Traffic


@final
class Station:
    """A relay at `address` before `target`, not started yet. OSError where it can't listen.

    `listeners` are told each event, `observers` each item as it passed, bytes and all.
    """

    def __init__(
        self,
        address: tuple[str, int],
        target: Target,
        *,
        listeners: Sequence[Callable[[Event], None]] = (),
        observers: Sequence[Callable[[Item], None]] = (),
        faults: Sequence[Fault] = (),
        seed: int = 1,
        is_stepping: bool = False,
        front_tls: ssl.SSLContext | None = None,
    ) -> None:
        self.story = Story([self._name, *listeners])
        self.traffic = Traffic([*observers, self.story])
        self.steering = Steering(self.traffic, seed)
        self.relay = Relay(address, target, self.traffic, self.steering, front_tls)
        for fault in faults:
            self.steering.faults.add(fault)
        if is_stepping:
            self.steering.step.turn(True)

    def start(self) -> None:
        """Begin to accept clients."""
        self.traffic.start()
        self.relay.start()

    def close(self) -> None:
        """End all connections, and tell what is left to tell."""
        self.steering.step.turn(False)
        self.relay.close()
        self.traffic.end()
        self.story.end(self.traffic.now())

    def _name(self, event: Event) -> None:
        """Tell a connection who it is, also where nothing looks at its messages one by one."""
        if event["kind"] == "name":
            connection = self.relay.connection(event["connection"])
            if connection is not None:
                connection.user = event["user"]
