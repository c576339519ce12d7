"""Servers without limits."""

from __future__ import annotations

from support.planted_faults.plant import plant
from support.reference_server import ReferenceServer
from support.reference_server.fields import Request
from support.reference_server.records import Account
from support.reference_server.words import Packet

NONE = 1 << 40


@plant(
    "R-LIM-5",
    "R-LIM-7",
    "R-MSG-13",
    "R-FILE-22",
    around="R-LIM-[57] R-MSG-13 R-FILE-22",
    whole=False,
)
class NoLimits(ReferenceServer):
    """Limits are announced, and none is held."""

    RATE = float(NONE)
    MAX_WAITING = MOST_OPEN = MOST_DOWNLOADS = NONE

    def check_numbers(self, data: Packet) -> None:
        pass

    def check_share(self, account: Account, size: int, place: tuple[str, str, str]) -> None:
        pass

    def check_room_quota(self, account: Account) -> None:
        pass

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        data = packet.get("data")
        if not isinstance(data, dict):
            return super().fields_of(packet, request)
        long = {
            key: value
            for key, value in data.items()
            if isinstance(value, str) and len(value) > 32 and not key.startswith("file_")
        }
        short = {**data, **{key: value[:32] for key, value in long.items()}}
        known = super().fields_of({**packet, "data": short}, request)
        return {**known, **{key: value for key, value in long.items() if key in known}}
