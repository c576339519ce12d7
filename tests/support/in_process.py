"""A service inside the test's own process, with clocks that the test drives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from server.base.settings import Settings
from server.net.outbox import Drain
from server.running.service import Service
from support import tls
from support.patience import patience
from support.raw_client import RawClient

Serve = Callable[..., Service]
_clients: list[RawClient] = []


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@contextmanager
def idle_drain() -> Iterator[Drain]:
    """Give a drain that is not started: nothing that waits for a client goes on."""
    drain = Drain(0.0, Clock(0.0))
    try:
        yield drain
    finally:  # only a thread that has run can be ended
        drain.start()
        drain.stop(patience(5))


class Services:
    """Starts services; `stop` ends those that still run, and fails where a thread would not end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Service] = []

    def start(self, folder: str = "data", **options: object) -> Service:
        """A service on a free port; `options` are settings, or what `Service` itself takes
        (clocks). With a clock of its own no rate holds unless it is asked for: on a clock that
        stands still, a client that is over its rate would wait for ever."""
        names = {"clock", "wall", "force_fallback"}
        kept = {key: value for key, value in options.items() if key in names}
        chosen: dict[str, Any] = {key: options[key] for key in options.keys() - names}
        chosen.setdefault("min_free", 0)
        if "clock" in kept:
            chosen.setdefault("rate_limit", 0)
        if tls.EVERYWHERE:
            chosen = {**asdict(tls.everywhere()), **chosen}
        settings = replace(
            Settings(),
            host="127.0.0.1",
            port=0,
            data=str(self._folder / folder),
            password_cost=4,
            **chosen,
        )
        service = Service(settings, lambda reason: None, **kept)  # type: ignore[arg-type]
        self._started.append(service)
        service.start()
        return service

    def stop(self) -> None:
        """End them all, and close the clients that have connected to them."""
        for service in self._started:
            if not service.shutdown.is_closing:
                assert service.stop() == []
        while _clients:
            _clients.pop().close()


def stranger(service: Service, **options: Any) -> RawClient:
    """Return a client that is not logged in; it is closed with the services."""
    client = RawClient(service.listener.port, **options)
    _clients.append(client)
    return client


def member(service: Service, name: str, **login: Any) -> RawClient:
    """Return somebody new who is logged in; the client is closed with the services."""
    client = stranger(service)
    client.register(name)
    assert client.login(name, **login)["action"] == "login_success"
    return client
