"""Shows a recording again, at any speed, as if it passed now.

Owns the clock of the replay and one thread, "relay-player". Puts the recorded items into the
traffic, so that page and terminal show them as they show a live relay. `start`, `pause`, `go`,
`again` and `set_speed` may be called by any thread.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Final, final

from conformance.relay.recording import Recording
from conformance.relay.traffic import Played, Traffic

SPEEDS: Final = (0.1, 10.0)
TELL_SECONDS: Final = 0.5
"""So often the position is told."""
PAUSE_SECONDS: Final = 5.0
"""A longer pause of the recording is cut to this: nobody wants to wait for what does not come."""
JOIN_SECONDS: Final = 5.0


@final
class Player:
    """A replay of one recording."""

    def __init__(self, recording: Recording, traffic: Traffic, speed: float = 1.0) -> None:
        self._recording, self._traffic = recording, traffic
        self._changed = threading.Condition()  # guards all below; notified when any of it changes
        self._speed = speed
        self._is_paused = False
        self._is_ended = False
        self._is_started = False
        self._round = 1  # grows when it begins again
        self._position = 0.0  # of the recording, in seconds, at `_since`
        self._since = time.monotonic()
        self.done = threading.Event()
        """Set when all was shown."""
        self._thread = threading.Thread(target=self._run, name="relay-player", daemon=True)

    def start(self) -> None:
        """Begin at the beginning; nothing where it has begun."""
        with self._changed:
            if self._is_started or self._is_ended:
                return
            self._is_started = True
            self._since = time.monotonic()
            self._thread.start()

    def pause(self) -> None:
        """Stand still."""
        self._set(is_paused=True)

    def go(self) -> None:
        """Go on; behind the end nothing happens."""
        self._set(is_paused=False)

    def again(self) -> None:
        """Begin at the beginning once more."""
        with self._changed:
            self._position, self._since = 0.0, time.monotonic()
            self._is_paused = False
            self._round += 1
            self._changed.notify_all()

    def set_speed(self, speed: float) -> None:
        """Go so many times faster from now on; kept within `SPEEDS`."""
        self._set(speed=min(max(speed, SPEEDS[0]), SPEEDS[1]))

    def state(self) -> dict[str, Any]:
        """Return where it is, as the page shows it."""
        with self._changed:
            return {
                "position": round(min(self._now(), self._recording.length), 3),
                "length": round(self._recording.length, 3),
                "speed": self._speed,
                "paused": self._is_paused,
                "round": self._round,
            }

    def close(self) -> None:
        """End it."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()
        if self._is_started:
            self._thread.join(JOIN_SECONDS)

    def _set(self, *, is_paused: bool | None = None, speed: float | None = None) -> None:
        with self._changed:
            self._position, self._since = self._now(), time.monotonic()
            self._is_paused = self._is_paused if is_paused is None else is_paused
            self._speed = speed or self._speed
            self._changed.notify_all()
        self._tell()

    def _now(self) -> float:
        passed = 0.0 if self._is_paused else (time.monotonic() - self._since) * self._speed
        return self._position + passed

    def _tell(self) -> None:
        self._traffic.note(Played(self._traffic.now(), self.state()))

    def _run(self) -> None:
        number = 0
        while number := self._next_round(number):
            self._tell()
            for item in self._recording.items:
                if not self._wait_for(item.at, number):
                    break
                self._traffic.note(item)
            else:
                self._tell()
                self.done.set()

    def _next_round(self, last: int) -> int:
        """Wait until it is to begin (again); return the number of the round, 0 at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_ended or self._round != last)
            return 0 if self._is_ended else self._round

    def _wait_for(self, at: float, number: int) -> bool:
        """Wait until this moment of a round; False where the round is over before."""
        told = time.monotonic()
        while True:
            with self._changed:
                if self._is_ended or self._round != number:
                    return False
                left = at - self._now()
                if left > PAUSE_SECONDS:
                    self._position += left - PAUSE_SECONDS
                    left = PAUSE_SECONDS
                if left <= 0 and not self._is_paused:
                    return True
                pause = TELL_SECONDS if self._is_paused else min(left / self._speed, TELL_SECONDS)
                self._changed.wait(pause)
            if time.monotonic() - told >= TELL_SECONDS:
                told = time.monotonic()
                self._tell()
