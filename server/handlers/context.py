"""What the handlers work with: the parts of the server that a request may need.

Owns nothing: it only names the parts, which the service makes once. Frozen, so that any thread may
read it. A function takes the whole context only where it needs several parts of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.base.fair_line import FairLine
from server.base.limits import Clock, HashGate, LoginThrottle, MemoryBudget, RateLimits
from server.base.settings import Settings
from server.base.shutdown import Shutdown
from server.base.wall_clock import WallClock
from server.state.disk_space import DiskSpace
from server.state.hands import Hands
from server.state.presence import Presence
from server.state.recent_messages import RecentMessages, Resends
from server.state.registry import Registry
from server.state.restrictions import Restrictions
from server.state.room_directory import RoomDirectory
from server.writing.writer import Writer
from storage.database import Database
from storage.upload_files import UploadFiles


@dataclass(frozen=True, slots=True)
class Context:
    """The parts that handlers use."""

    settings: Settings
    clock: Clock
    """Monotonic seconds."""
    wall_clock: WallClock
    shutdown: Shutdown
    budget: MemoryBudget
    rates: RateLimits
    said: RateLimits
    """For the bytes of messages."""
    throttle: LoginThrottle
    hash_gate: HashGate
    page_line: FairLine
    """The line for reading pages of lists. It has fewer places than there are connections to read
    with."""
    registry: Registry
    rooms: RoomDirectory
    recent: RecentMessages
    resends: Resends
    restrictions: Restrictions
    hands: Hands
    presence: Presence
    """The writer's thread only."""
    disk_space: DiskSpace
    database: Database
    files: UploadFiles
    writer: Writer
    dummy_record: str
    """A password record that no password fits: an unknown name takes as long as a known one."""
