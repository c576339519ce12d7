"""Cases about sessions in which nothing is said: they go on, and `ping` shows it."""

from __future__ import annotations

import time

from conformance.server.cases.sessions import answers
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.user import User

SILENT_SECONDS = 31.0
"""A little more than what ends a connection without a login (R-FRAME-8)."""


def says_nothing(context: ServerContext) -> tuple[User, float] | None:
    """Log somebody in who says nothing, when the run begins; None where accounts are few."""
    context.people.release(keep=True)
    if context.people.accounts_are_few():
        return None
    return context.user(own=True), time.monotonic()


@case(
    rules=["R-SESS-9"],
    level="robust",
    early=says_nothing,
    title="a session that says nothing for 31 s is not closed for that",
)
def silent_session(context: ServerContext) -> None:
    user, began = context.early or (context.user(own=True), time.monotonic())
    time.sleep(max(0.0, began + SILENT_SECONDS - time.monotonic()))
    answers(context, user, "that a session goes on that said nothing for 31 s")


@case(
    rules=["R-SESS-13"],
    level="full",
    offers="ping",
    title="ping answers pong, before login too, without data",
)
def ping(context: ServerContext) -> None:
    wire = context.connect()
    wire.send({"action": "ping"})
    wire.expect("pong")
    user = context.user()
    user.wire.send({"action": "ping"})
    user.wire.expect("pong")
    user.wire.send({"action": "ping", "data": {}})
    user.wire.expect("pong")
