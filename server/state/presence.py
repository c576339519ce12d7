"""Who is online, as it was last told to everybody who asked for events.

Owns how often the state of one name is told (R-EVT-9): at once where it was not told lately, else
the last state when its time has come. Never tells anything itself. The writer's thread only, but
for `due_at`, which any thread may read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from server.base.limits import Clock

TOLD_EVERY_SECONDS: Final = 5.0


@dataclass(slots=True)
class _Told:
    """What was told of an account, when (monotonic), and what became of it since."""

    is_online: bool
    at: float
    chatid: str
    now_online: bool


@dataclass(frozen=True, slots=True)
class News:
    """The state of an account that is to be told now."""

    account_id: int
    chatid: str
    is_online: bool


class Presence:
    """The accounts whose state was told in the last seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: dict[int, _Told] = {}
        self.due_at = math.inf
        """Monotonic time at which `take_due` has something to give, at the earliest."""

    def change(self, account_id: int, chatid: str, is_online: bool) -> bool:
        """Note the new state of an account; return whether it is to be told now."""
        now = self._clock()
        told = self._told.get(account_id)
        if told is None or now >= told.at + TOLD_EVERY_SECONDS:
            self._told[account_id] = _Told(is_online, now, chatid, is_online)
            is_told = True
        else:
            told.now_online = is_online
            is_told = False
        self.due_at = min(self.due_at, self._told[account_id].at + TOLD_EVERY_SECONDS)
        return is_told

    def take_due(self) -> list[News]:
        """Return what is to be told now, and forget what was told long ago."""
        now, news = self._clock(), []
        for account_id, told in list(self._told.items()):
            if now < told.at + TOLD_EVERY_SECONDS:
                continue
            if told.now_online == told.is_online:
                del self._told[account_id]
            else:
                told.is_online, told.at = told.now_online, now
                news.append(News(account_id, told.chatid, told.is_online))
        earliest = min((told.at for told in self._told.values()), default=math.inf)
        self.due_at = earliest + TOLD_EVERY_SECONDS
        return news
