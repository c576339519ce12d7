"""What is asked of the traffic: the faults in force, and whether messages are held.

Owns both, and whether a direction has to be looked at message by message because of them. Any
thread may use it.
"""

from __future__ import annotations

from typing import final

from conformance.relay.faults import FaultList
from conformance.relay.step import Stepper
from conformance.relay.traffic import Listed, Remark, Stepped, Traffic


@final
class Steering:
    """What one relay is asked to do."""

    def __init__(self, traffic: Traffic, seed: int = 1) -> None:
        self._traffic = traffic
        self.seed = seed
        self._careful = {True: False, False: False}  # by to_server; replaced as a whole
        self.faults = FaultList(seed, self._faults_changed)
        self.step = Stepper(self._stepped, self._remark)

    def is_careful(self, to_server: bool) -> bool:
        """Return whether messages of this direction may be changed or held."""
        return self._careful[to_server]

    def listed(self) -> list[dict[str, object]]:
        """Return the faults in force as the page shows them."""
        return [
            {"id": number, "text": str(fault), "name": fault.name, "hits": hits}
            for number, fault, hits in self.faults.all()
        ]

    def _faults_changed(self) -> None:
        self._look_again()
        self._traffic.note(Listed(self._traffic.now(), self.listed()))

    def _look_again(self) -> None:
        is_on = self.step.is_on
        self._careful = {each: is_on or self.faults.touches(each) for each in (True, False)}

    def _stepped(self, is_on: bool, held: tuple[int, ...], until: str) -> None:
        self._look_again()
        self._traffic.note(Stepped(self._traffic.now(), is_on, held, until))

    def _remark(self, row: int, text: str) -> None:
        self._traffic.note(Remark(self._traffic.now(), row, text))
