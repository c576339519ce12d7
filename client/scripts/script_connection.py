"""The connection of a command for scripts: one login, and one deadline for all its questions.

Owns that deadline. Never uses the key of a kept session. For the main thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from client.base.deadline import Deadline
from client.connection import Connection
from client.errors import ChatError, NoAnswer
from client.events import ProtocolViolation
from client.session.requests import ANSWER_SECONDS

SECONDS: Final = 30.0
"""The time for a command where the user names none."""
LEAST_SECONDS: Final = 0.1
"""Also after the deadline: an answer may be there already."""


@dataclass(frozen=True)
class Login:
    """Where to, and as whom. `timeout` is None where the user named none."""

    host: str
    port: int
    tls: bool
    cafile: str | None
    user: str
    password: str = field(repr=False)
    take_over: bool = False
    timeout: float | None = None


class DeadlineConnection(Connection):
    """A connection whose questions all end by one deadline, until that is lifted."""

    def __init__(self, login: Login) -> None:
        self._seconds = login.timeout or SECONDS
        self._deadline: Deadline | None = Deadline(self._seconds)
        super().__init__(
            login.host,
            login.port,
            timeout=self._seconds,
            features=(),
            tls=login.tls,
            cafile=login.cafile,
        )

    def left(self) -> float:
        """Return the seconds for the next question."""
        if self._deadline is None:
            return ANSWER_SECONDS
        return max(LEAST_SECONDS, self._deadline.left())

    def renew_deadline(self) -> None:
        """Give what follows as much time again."""
        self._deadline = Deadline(self._seconds)

    def lift_deadline(self) -> None:
        """From now on each question has the usual time of its own."""
        self._deadline = None

    def request(
        self, action: str, data: Mapping[str, Any] | None = None, *, timeout: float = ANSWER_SECONDS
    ) -> Mapping[str, Any]:
        """Ask as `Connection.request` does, but not beyond the deadline."""
        if self._deadline is None or timeout <= self.left():
            return super().request(action, data, timeout=timeout)
        try:
            return super().request(action, data, timeout=self.left())
        except NoAnswer:
            raise NoAnswer(
                f"the server did not answer {action} before the {self._seconds:g} s of --timeout "
                "were over"
            ) from None

    def broken_protocol(self) -> str:
        """Return what the server last sent that was no packet; "" where all was well. Takes all
        events that wait."""
        found = ""
        try:
            while (event := self.next_event(0.0)) is not None:
                if isinstance(event, ProtocolViolation):
                    found = event.text
        except ChatError:
            pass
        return found
