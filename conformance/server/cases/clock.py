"""The server's clock: in UTC, of 24 hours, and asked once for each message."""

from __future__ import annotations

import ipaddress
import time
from datetime import datetime, timezone

from conformance.endings import NotOffered
from conformance.packets import Packet, data_of
from conformance.server.cases.messages.steps import opened
from conformance.server.context import ServerContext
from conformance.server.process import ZONE_SECONDS
from conformance.server.registry import case

WRONG_SECONDS = 600.0
"""A clock may be wrong by less; a wrong zone or half of the day is wrong by far more."""
ROUND = 40
"""Messages that are confirmed at once, while a second ends."""
ROUNDS = 2
BEFORE = 0.01
"""So long before the end of a second they are confirmed."""


@case(
    rules=["R-ORDER-4"],
    title="timestamp is the time of now, in UTC and of 24 hours (where the server runs here)",
)
def utc(context: ServerContext) -> None:
    if context.target.process is None and not _is_here(context.target.host):
        raise NotOffered("a server on this machine", "its clock may be another")
    sender, room = context.user(), context.room_id()
    sender.say(room, context.text())
    (message,) = sender.history(room)[-1:] or [{}]
    stamp = context.get(message, "timestamp", str)
    try:
        told = datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        context.fail("a time as 2024-01-01T12:00:00Z", f"it was {stamp!r}")
    now = datetime.now(timezone.utc)
    wrong = (told - now).total_seconds()
    context.check(
        abs(wrong) < WRONG_SECONDS,
        f"about {now:%Y-%m-%dT%H:%M:%SZ}, which is now in UTC",
        f"it was {stamp}{zone_of(wrong) if context.target.process is not None else ''}",
    )


def zone_of(wrong: float) -> str:
    """Return the reason why the clock of a server that the kit started is wrong by so many seconds,
    "" where it is not the zone."""
    if abs(wrong - ZONE_SECONDS) >= WRONG_SECONDS:
        return ""
    return (
        ": the kit started your server in another time zone, 5:30 hours ahead of UTC; use UTC, not "
        "local time"
    )


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@case(
    rules=["R-MSG-4"],
    level="robust",
    offers="message_id",
    title="ack, receive_message and history tell one timestamp, also where a second ends meanwhile",
)
def one_timestamp(context: ServerContext) -> None:
    sender, hearer = context.user(own=True), context.user(own=True)
    room = context.room_id()
    for _ in range(ROUNDS):
        tids = [opened(context, sender, room, context.text(1)) for _ in range(ROUND)]
        packets = [
            sender.packet("confirm_count", {"transaction_id": tid, "confirm": True}) for tid in tids
        ]
        time.sleep((1.0 - BEFORE - time.time() % 1.0) % 1.0)
        sender.wire.send_together(packets, "many confirmations as a second ends")
        acked = [data_of(sender.reply("confirm_count")) for _ in tids]
        heard = [hearer.hear(room)["data"] for _ in tids]
        for ack, message in zip(acked, heard, strict=True):
            _same(context, message, ack, "`receive_message`")
    stored = {message.get("message_id"): message for message in hearer.history(room)}
    for message in heard:
        _same(context, stored.get(message.get("message_id"), {}), message, "the history")


def _same(context: ServerContext, one: Packet, other: Packet, where: str) -> None:
    for key in ("message_id", "timestamp"):
        context.equal(one.get(key), other.get(key), f"`{key}` in {where}")
