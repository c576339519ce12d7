"""Steps of the cases about files: comparing, a reader that is slow, a file that is big.

Owns no case. One thread runs a case, and so these.
"""

from __future__ import annotations

import socket

from conformance.endings import NotReached
from conformance.packets import Packet, shown
from conformance.server.cases.steps import (
    Upload,
    download,
    in_room,
)
from conformance.server.context import ServerContext
from conformance.server.user import User
from conformance.wire import Wire

CHUNK_LIMIT = 262_144

MOST_CHUNKS = 10_000
"""More than any file of a case has."""
BIG_BYTES = 12 * CHUNK_LIMIT * 3
"""More than the buffers between two sockets take while nobody reads."""


def same_bytes(context: ServerContext, actual: bytes, sent: bytes, rule: str = "") -> None:
    """Fail unless a file came back as it was sent."""
    if actual != sent:
        place = next(
            (i for i, (a, b) in enumerate(zip(actual, sent, strict=False)) if a != b),
            min(len(actual), len(sent)),
        )
        context.fail(
            f"the {len(sent)} bytes that were sent",
            f"{len(actual)} bytes came, other from byte {place} on",
            rule,
        )


def fetch(
    context: ServerContext,
    user: User,
    room: str,
    name: str,
    content: bytes,
    rule: str = "R-FILE-19",
) -> None:
    """Download a file and compare it."""
    with context.rule(rule):
        same_bytes(context, download(context, user, room, name).content, content)


def ranges(context: ServerContext, reply: Packet) -> list[list[int]]:
    """Return `received` of a `file_send_init`, as pairs of the first and last number."""
    there = context.get_list(reply, "data.received", list)
    for pair in there:
        context.check(
            len(pair) == 2
            and all(type(each) is int for each in pair)
            and 0 <= pair[0] <= pair[1] <= MOST_CHUNKS,
            "`received` as a list of [first, last]",
            f"it was {shown(there)}",
        )
    return there


def files_told(user: User, room: str) -> list[Packet]:
    """Return the `receive_file` of a room that wait."""
    return [
        packet
        for packet in in_room(user.wire.aside(), room)
        if packet.get("action") == "receive_file"
    ]


def file_told(user: User, room: str) -> Packet:
    """Wait for the next `receive_file` of a room, which may come after the reply to anything else
    (R-ORDER-8)."""
    return user.wire.receive_where(
        lambda packet: packet.get("action") == "receive_file" and bool(in_room([packet], room)),
        "`receive_file`",
    )


def narrow_reader(context: ServerContext) -> User:
    """Log in a user whose socket takes little at a time, so that a download waits for it."""
    account = context.account()
    sock = socket.socket(socket.AF_INET6 if ":" in context.target.host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
    sock.settimeout(context.target.timeout)
    try:
        sock.connect((context.target.host, context.target.port))
    except OSError as error:
        sock.close()
        raise NotReached("one more connection", f"it failed: {error}") from error
    wire = Wire(sock, context.transcript, account.chatid, context.target.timeout, context.until)
    user = context.guest(account)
    user.wire.close()
    user.wire = wire
    with context.given("a user who is logged in"):
        context.check(
            user.login().get("action") == "login_success", "`login_success`", "the login failed"
        )
    return user


def big_file(context: ServerContext, sender: User, room: str) -> bytes:
    """Upload a file that no buffer takes whole."""
    content = context.random.randbytes(1024) * (BIG_BYTES // 1024)
    with context.given("a big file that is uploaded"):
        upload = Upload(context, sender, room, "big.bin", content, chunk=CHUNK_LIMIT)
        upload.begin()
        for place in range(upload.total):
            upload.send(place)
        upload.finish()
    return content
