"""A network with faults between a client that is graded and the scripted server.

Owns a relay; what it does to messages stands in the case's transcript. One thread uses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from conformance.relay.connection import Target
from conformance.relay.faults import Fault
from conformance.relay.station import Station
from conformance.relay.story import Event
from conformance.transcript import Transcript

HOST: Final = "127.0.0.1"


@final
class FaultyNetwork:
    """A relay on a free port before the server on `server_port`."""

    def __init__(
        self, server_port: int, faults: Sequence[Fault], seed: int, transcript: Transcript
    ) -> None:
        self._transcript = transcript
        self._station = Station(
            (HOST, 0),
            Target(HOST, server_port),
            listeners=[self._note],
            faults=faults,
            seed=seed,
        )
        self.port = self._station.relay.port
        self._station.start()

    def close(self) -> None:
        """End it."""
        self._station.close()

    def _note(self, event: Event) -> None:
        if event.get("fault"):
            self._transcript.note(f"fault: {event['fault']} of `{event.get('action')}`", "relay")
        elif event["kind"] == "came_of":
            self._transcript.note(f"of a fault: {event['text']}", "relay")
