"""A page as its program sees it: made, started, told events, closed.

Owns the parts of one page and the order in which they begin and end. Any thread.
"""

from __future__ import annotations

import functools
import secrets
import socket
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

from webpage import assets
from webpage import kept as kept_files
from webpage.gate import CONTROL, VIEW, Gate
from webpage.listening import Listener
from webpage.pace import Pace
from webpage.requests import Act, Content, Request
from webpage.ring import MAX_BYTES, MAX_EVENTS, Ring


@final
class Page:
    """A page at an address; see the package's docstring. OSError where the address can't be had."""

    def __init__(
        self,
        address: str,
        port: int,
        folder_of_assets: assets.Entry,
        title: str,
        acts: Mapping[str, Act],
        *,
        viewers_may: Collection[str] = (),
        programs: Mapping[str, Act] = MappingProxyType({}),
        code: str = "",
        kept: Path | None = None,
        state: Callable[[], Mapping[str, Any]] = dict,
        max_events: int = MAX_EVENTS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        unknown = set(viewers_may) - set(acts)
        if unknown:
            raise ValueError(f"viewers may call acts that are not there: {sorted(unknown)}")
        files = assets.load(folder_of_assets)
        self._address = address
        self._ring = Ring(max_events, max_bytes)
        self._listener = Listener(address, port)
        self.port = self._listener.port
        self._kept = kept
        self._gate = Gate(self.port, code, kept_files.load(kept) if kept else {})
        self._content = Content(
            title=title,
            run=secrets.token_hex(6),
            assets=files,
            ring=self._ring,
            gate=self._gate,
            acts=dict(acts),
            viewers_may=frozenset(viewers_may),
            state=state,
            hosts=self._listener.hosts,
            programs=dict(programs),
            pace=Pace(),
            place_for_a_viewer=self._listener.place_for_a_viewer,
            is_open=self._listener.is_open,
        )
        self._keep()

    @property
    def link(self) -> str:
        """The link that controls, for one browser. Whoever has it first, has control."""
        return self._link(self._near_host(), CONTROL)

    @property
    def wall_link(self) -> str:
        """The link that looks on, for any number of browsers, also on other machines if allowed."""
        return self._link(self._far_host(), VIEW)

    @property
    def code(self) -> str:
        """The code by which programs may call their acts, as `POST /program/NAME`."""
        return self._gate.code

    def renew_link(self) -> None:
        """Make a new `link`, for a browser that has lost it; who had control before loses it."""
        self._gate.renew_control()
        self._keep()

    def start(self) -> None:
        """Begin to answer browsers."""
        self._listener.start(functools.partial(Request, self._content))

    def publish(self, event: Mapping[str, Any]) -> None:
        """Tell all viewers; never blocks. The event is encoded now: it may change afterwards."""
        self._ring.publish(event)

    def close(self) -> None:
        """End all connections, and wait for their threads."""
        self._ring.close()
        self._listener.close()

    def _keep(self) -> None:
        if self._kept is not None:
            kept_files.save(self._kept, self._gate.digests())

    def _link(self, host: str, role: str) -> str:
        return f"http://{host}:{self.port}/#{self._gate.token(role)}"

    def _near_host(self) -> str:
        everywhere = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}
        host = f"[{self._address}]" if ":" in self._address else self._address
        return everywhere.get(self._address, host)

    def _far_host(self) -> str:
        """Return the address by which other machines find this one, where they may."""
        if self._address not in ("", "0.0.0.0", "::"):
            return self._near_host()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))  # sends nothing: it only chooses the way
                return str(probe.getsockname()[0])
            except OSError:  # no network
                return "127.0.0.1"
