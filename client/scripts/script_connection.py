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

    def __init__(
        self,
        host: str,
        port: int,
        deadline: Deadline,
        *,
        tls: bool = False,
        cafile: str | None = None,
        reconnect: bool = True,
    ) -> None:
        self._seconds = deadline.seconds
        self._deadline: Deadline | None = deadline
        super().__init__(
            host,
            port,
            timeout=self._seconds,
            features=(),
            tls=tls,
            cafile=cafile,
            reconnect=reconnect,
        )

    def _time_to_connect(self) -> Deadline:
        return super()._time_to_connect() if self._deadline is None else self._deadline

    def left(self) -> float:
        """Return the seconds in which a message has to be stored. Raise `NoAnswer` where the time
        is over."""
        if self._deadline is None:
            return ANSWER_SECONDS
        if self._deadline.is_over():
            raise NoAnswer(f"the {self._seconds:g} s of --timeout were over before all was done")
        return self._deadline.left()

    def is_over(self) -> bool:
        """Return whether the time is over."""
        return self._deadline is not None and self._deadline.is_over()

    def renew_deadline(self) -> None:
        """Give what follows as much time again."""
        self._deadline = Deadline(self._seconds)

    def lift_deadline(self) -> None:
        """Give each question the usual time of its own from now on."""
        self._deadline = None

    def request(
        self, action: str, data: Mapping[str, Any] | None = None, *, timeout: float = ANSWER_SECONDS
    ) -> Mapping[str, Any]:
        """Ask as `Connection.request` does, but not beyond the deadline."""
        if self._deadline is None or timeout <= self._deadline.left():
            return super().request(action, data, timeout=timeout)
        try:
            if not self._deadline.is_over():
                return super().request(action, data, timeout=self._deadline.left())
        except NoAnswer:
            pass
        raise NoAnswer(
            f"the server did not answer {action} before the {self._seconds:g} s of --timeout "
            "were over"
        )

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


def connection_of(login: Login) -> DeadlineConnection:
    """Return the connection for a login, whose time begins now."""
    deadline = Deadline(login.timeout or SECONDS)
    return DeadlineConnection(login.host, login.port, deadline, tls=login.tls, cafile=login.cafile)
