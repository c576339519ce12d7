"""Frames: their length, how the network splits and joins them, what is too large, and what never
ends."""

from __future__ import annotations

import contextlib
import json
import struct
import time

from conformance.endings import NotOffered
from conformance.packets import FUTURE, REPLIES, Packet, encode, shown
from conformance.server.cases.sessions import log_in
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.user import User
from conformance.wire import MAX_FRAME_BYTES, Silence, Wire, WireProblem

FRAME_BEFORE_LOGIN = 65_536
FRAME_AFTER_LOGIN = 1_048_576
IDLE_SECONDS = 30.0
"""R-FRAME-7 and R-FRAME-8."""
LATE_SECONDS = 15.0
"""So much later a server may be that looks at its clock now and then."""
BYTE_SECONDS = 2.0
"""So often one more byte comes of a frame that never ends."""
MORE_BYTES = 100
"""More than come in the time that such a frame has."""


def probe(**more: object) -> Packet:
    """Return a request that everybody may send before login: its answer is `error`, `not_logged_in`
    (R-ERR-5)."""
    return {
        "action": "get_messages",
        "data": {"chatid": "anna", "room_id": "lobby", "from_time": FUTURE},
        **more,
    }


def filled(packet: Packet, size: int) -> bytes:
    """Return the payload of a packet, made exactly so many bytes long by a key that nobody knows
    (R-JSON-13)."""
    empty = len(encode({**packet, "filling": ""})) - 4
    return encode({**packet, "filling": "x" * (size - empty)})[4:]


def understood(context: ServerContext, wire: Wire, what: str) -> None:
    """Fail unless the probe that was sent is answered as a packet that was read."""
    reply = wire.expect("error")
    code = reply.get("code", "not_logged_in")
    context.check(
        code not in ("bad_frame", "bad_json", "bad_packet"),
        f"an answer to {what} that was understood",
        f"this came: {shown(reply)}",
    )


def read_as(reply: Packet) -> object:
    """Return the action that an answer shows to have been read: an error that names a request of
    ours answers it as well as its reply does.

    What a server does not know yet (`get_messages`, in a starter) is the fault of another rule; the
    frame was understood.
    """
    original = reply.get("original_action")
    is_unknown = (
        reply.get("action") == "error" and reply.get("code", "unknown_action") == "unknown_action"
    )
    if is_unknown and original in ("get_messages", "file_list_req"):
        return REPLIES[original][0]
    return reply.get("action")


def is_read(context: ServerContext, user: User, action: str, what: str) -> None:
    """Fail unless the next answer shows that the request was read."""
    context.equal(read_as(user.reply(action)), REPLIES[action][0], what)


def max_frame(user: User) -> int:
    """Return the most bytes of a frame after login."""
    data = user.login_success.get("data")
    limits = data.get("limits") if isinstance(data, dict) else None
    told = limits.get("max_frame") if isinstance(limits, dict) else None
    most = told if isinstance(told, int) and told > 0 else FRAME_AFTER_LOGIN
    if most > MAX_FRAME_BYTES:
        raise NotOffered(f"`limits.max_frame` of at most {MAX_FRAME_BYTES}", f"it is {most}")
    return most


def refused_and_closed(
    context: ServerContext, wire: Wire, header: bytes, rest: bytes = b""
) -> Packet:
    """Send a header that can't be followed: `bad_frame` must come, and then the end."""
    wire.send_raw(header + rest, "a frame that can't be read")
    with context.rule("R-FRAME-5"):
        packets = wire.wait_closed()
        errors = [packet for packet in packets if packet.get("action") == "error"]
        context.check(
            bool(errors),
            "`error` with code `bad_frame` before the connection is closed",
            "nothing came before the end",
        )
        context.refused(errors[-1], "bad_frame")
    return errors[-1]


@case(rules=["R-FRAME-1"], title="the length counts bytes and not characters")
def length_in_bytes(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    room, said = context.room_id(), "äöü 漢字 👍🏽 " + context.text()
    opened = sender.ask("send_message", {"room_id": room, "content": said}, want="character_count")
    sender.confirm(room, said, context.get(opened, "data.transaction_id", str))
    hearer.hear_this(room, said)
    hearer.fence()


@case(
    rules=["R-FRAME-1"],
    title="the same JSON may be written in other ways: blanks, other order, escapes",
)
def other_ways_to_write_json(context: ServerContext) -> None:
    user = context.user()
    packet = user.packet("get_messages", {"room_id": "lobby", "from_time": FUTURE})
    turned = {key: packet[key] for key in reversed(packet)}
    escaped = (
        json.dumps(packet)
        .replace("get_messages", "get\\u005fmessages")
        .replace("lobby", "lo\\u0062by")
    )
    for body in (
        json.dumps(packet, indent=4),
        json.dumps(turned),
        f" \r\n\t{json.dumps(packet)}\n ",
        escaped,
    ):
        user.wire.send_frame(body.encode())
        is_read(context, user, "get_messages", "the answer to that spelling")


# --- split and joined


@case(rules=["R-FRAME-2"], level="robust", title="a frame that comes byte by byte is understood")
def byte_by_byte(context: ServerContext) -> None:
    user = context.user()
    user.wire.send_split(user.packet("get_messages", {"room_id": "lobby", "from_time": FUTURE}))
    is_read(context, user, "get_messages", "the answer to a frame in pieces of a byte")


@case(
    rules=["R-FRAME-2"],
    title="a frame that is split anywhere is understood: in the length, behind it, in the "
    "middle of a character",
)
def split_anywhere(context: ServerContext) -> None:
    sender, hearer = context.users(2)
    room, said = context.room_id(), "👍" * 3 + context.text()
    sender.send("send_message", {"room_id": room, "content": "the first"})
    opened = sender.reply("send_message")
    sender.confirm(room, "the first", context.get(opened, "data.transaction_id", str))
    packet = sender.packet("send_message", {"room_id": room, "content": said})
    inside = encode(packet).index("👍".encode()) + 2
    for sizes in ([2], [4], [5], [inside], [1, 3, 1, inside]):
        other = context.connect()
        other.close()
        sender.wire.send_split(packet, sizes)
        hearer.fence()
        opened = sender.reply("send_message")
        context.equal(
            opened.get("action"),
            "character_count",
            f"the answer to a frame in pieces of {sizes} bytes and the rest",
        )
        sender.confirm(room, said, context.get(opened, "data.transaction_id", str))
        while hearer.hear(room)["data"]["content"] != said:
            context.transcript.note("an earlier message", hearer.chatid)


@case(rules=["R-FRAME-2"], title="many frames in one piece are all understood, in order")
def joined(context: ServerContext) -> None:
    user = context.user()
    room = context.room_id()
    user.say(room, context.text())
    lists = user.packet("get_messages", {"room_id": room, "from_time": FUTURE})
    files = user.packet("file_list_req", {"room_id": room})
    user.wire.send_together([lists, files, files, lists, files])
    wanted = ["messages_list", "file_list_req", "file_list_req", "messages_list", "file_list_req"]
    actual = [read_as(user.wire.expect("messages_list", "file_list_req", "error")) for _ in wanted]
    context.equal(actual, wanted, "the answers to five requests in one piece")


@case(
    rules=["R-FRAME-2"],
    level="robust",
    title="one and a half frames in one piece, then the rest, are two requests",
)
def one_and_a_half(context: ServerContext) -> None:
    user = context.user()
    data = encode(user.packet("get_messages", {"room_id": "lobby", "from_time": FUTURE}))
    whole = data * 6
    for place in range(0, len(whole), len(data) * 3 // 2):
        user.wire.send_raw(whole[place : place + len(data) * 3 // 2], "one and a half frames")
    for _ in range(6):
        is_read(context, user, "get_messages", "the answer to each request")


# --- lengths


@case(
    rules=["R-FRAME-3"],
    level="robust",
    title="before login a frame of 65,536 bytes is read, and one byte more is not",
)
def largest_before_login(context: ServerContext) -> None:
    wire = context.connect()
    wire.send_frame(filled(probe(), FRAME_BEFORE_LOGIN), f"{FRAME_BEFORE_LOGIN} bytes")
    understood(context, wire, f"a frame of {FRAME_BEFORE_LOGIN} bytes before login")
    refused_and_closed(context, context.connect(), struct.pack(">I", FRAME_BEFORE_LOGIN + 1))


@case(
    rules=["R-FRAME-3"],
    level="robust",
    title="after each login, a second one and one by key too, a frame of `limits.max_frame` bytes "
    "is read, and one byte more is not",
)
def largest_after_login(context: ServerContext) -> None:
    user = context.user(own=True)
    size = max_frame(user)
    packet = user.packet("get_messages", {"room_id": "lobby", "from_time": FUTURE})

    def send_the_largest(login: str) -> None:
        user.wire.send_frame(filled(packet, size), f"{size} bytes")
        what = f"the answer to a frame of {size} bytes after {login}"
        is_read(context, user, "get_messages", what)

    send_the_largest("the login")
    if context.offers("logout"):
        with context.given("a second login on one connection"):
            user.ask("logout")
            context.equal(user.login().get("action"), "login_success", "the reply to `login`")
        send_the_largest("a second login on the same connection")
    if context.offers("session_key"):
        with context.given("a login with the session key"):
            user = log_in(context, user.account, session_key=user.session_key)
        send_the_largest("a login with the session key")
    refused_and_closed(context, user.wire, struct.pack(">I", size + 1))


@case(
    rules=["R-FRAME-5"],
    level="robust",
    title="a length of 0 or over the limit is answered `bad_frame`, and the connection is closed",
)
def lengths_that_can_not_be(context: ServerContext) -> None:
    for length in (0, FRAME_AFTER_LOGIN * 64, 2**31, 2**32 - 1):
        reply = refused_and_closed(context, context.connect(), struct.pack(">I", length))
        context.equal(
            reply.get("original_action"), "unknown", "`original_action` of `bad_frame`", "R-ERR-2"
        )


@case(
    rules=["R-FRAME-5"],
    level="robust",
    title="the answer `bad_frame` arrives, although more bytes are on their way to the server",
)
def the_answer_arrives(context: ServerContext) -> None:
    for rest in (b"x" * 100, b"x" * 60_000):
        refused_and_closed(context, context.connect(), struct.pack(">I", 2**32 - 1), rest)


@case(
    rules=["R-FRAME-5"],
    level="robust",
    title="`bad_frame` of one connection does no harm to others, and what came before it counts",
)
def others_live_on(context: ServerContext) -> None:
    user, other = context.user(own=True), context.user()
    room = context.room_id()
    user.say(room, "said before")
    request = encode(user.packet("get_messages", {"room_id": room, "from_time": FUTURE}))
    user.wire.send_raw(request + bytes(4), "a request, then a frame of length 0")
    packets = user.wire.wait_closed()
    actions = [
        packet.get("action")
        for packet in packets
        if packet.get("action") in ("messages_list", "error")
    ]
    context.equal(actions, ["messages_list", "error"], "what came before the end")
    context.equal(
        [each["content"] for each in other.history(room)],
        ["said before"],
        "what another user reads after that",
    )


@case(
    rules=["R-FRAME-6"],
    level="robust",
    title="the message of `bad_frame` names the length, and a protocol that it looks like",
)
def the_message_names_the_length(context: ServerContext) -> None:
    looks: dict[bytes, tuple[str, ...]] = {
        b"\x7f\x00\x00\x01": (),
        b"GET / HTTP/1.1\r\nHost: chat\r\n\r\n": ("HTTP", "web"),
        b"POST / HTTP/1.1\r\nHost: chat\r\n\r\n": ("HTTP", "web"),
        b"SSH-2.0-OpenSSH_9.6\r\n": ("SSH",),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40): ("TLS", "SSL"),
    }
    for sent, words in looks.items():
        reply = refused_and_closed(context, context.connect(), sent)
        message = context.get(reply, "message", str)
        length = int.from_bytes(sent[:4], "big")
        digits = "".join(letter for letter in message if letter.isdecimal() or letter.isspace())
        context.check(
            str(length) in digits or str(length) in message.replace(",", "").replace("_", ""),
            f"a message that names {length}",
            f"it was {message!r}",
        )
        named = not words or any(word.lower() in message.lower() for word in words)
        context.check(
            named, f"a message that says it looks like {' or '.join(words)}", f"it was {message!r}"
        )


@case(
    rules=["R-FRAME-1"],
    level="robust",
    title="many headers that promise much keep nobody from being served",
)
def promises(context: ServerContext) -> None:
    wires = [context.connect() for _ in range(50)]
    for wire in wires:
        wire.send_raw(struct.pack(">I", FRAME_BEFORE_LOGIN) + b"{", "a header and one byte")
    sender, hearer = context.users(2)
    room, said = context.room_id(), context.text()
    sender.say(room, said)
    hearer.hear_this(room, said)


# --- what never ends


def closed_in_time(context: ServerContext, wire: Wire, began: float, what: str) -> None:
    """Fail unless the connection is closed when 30 s, and a little, are over."""
    try:
        # However late it is, what has come meanwhile must first be read.
        wire.wait_closed(
            max(context.target.timeout, began + IDLE_SECONDS + LATE_SECONDS - time.monotonic())
        )
    except Silence:
        context.fail(
            f"{what} to be closed {IDLE_SECONDS:g} s later",
            f"it was still open after {time.monotonic() - began:.0f} s",
        )


def not_closed_yet(context: ServerContext, wire: Wire, began: float, what: str) -> None:
    """Fail where the connection is closed although its time has not come; says nothing when it may
    have come."""
    if time.monotonic() > began + IDLE_SECONDS - 8:
        return
    try:
        wire.receive_where(lambda packet: False, what, timeout=0.05)
    except Silence:
        return
    except WireProblem as problem:
        if time.monotonic() < began + IDLE_SECONDS - 4:
            context.fail(f"{what} to be left open for {IDLE_SECONDS:g} s", problem.actual)


def half_a_frame(context: ServerContext) -> tuple[Wire, float] | None:
    """Send the beginning of a frame as somebody who is logged in, when the run begins; None where
    accounts are few."""
    return None if context.people.accounts_are_few() else half_a_frame_now(context)


def half_a_frame_now(context: ServerContext) -> tuple[Wire, float]:
    """Send the beginning of a frame as a user who is logged in, and from then on a byte now and
    then, which does not give it more time; return the connection and when."""
    user = context.user(own=True)
    data = encode(user.packet("get_messages", {"room_id": "lobby", "from_time": FUTURE}))
    length = struct.pack(">I", len(data) - 4 + MORE_BYTES)
    user.wire.send_raw(length + data[4:-5], "a frame without its last bytes")
    began = sent = time.monotonic()

    def one_byte_more() -> None:
        nonlocal sent
        if time.monotonic() > sent + BYTE_SECONDS:
            sent = time.monotonic()
            with contextlib.suppress(WireProblem):  # it may be closed by now
                user.wire.send_raw(b" ", "one byte more")

    context.meanwhile = one_byte_more
    return user.wire, began


def nobody_logs_in(context: ServerContext) -> tuple[Wire, Wire, float]:
    """Make two connections that do not log in: one is silent, one asks. Return both, and when."""
    silent, asking = context.connect("silent"), context.connect("asking")
    asking.send(probe())
    asking.receive()
    return silent, asking, time.monotonic()


@case(
    rules=["R-FRAME-7"],
    level="robust",
    early=half_a_frame,
    title="a frame that has begun and does not end ends the connection after 30 s",
)
def frame_without_end(context: ServerContext) -> None:
    wire, began = context.early or half_a_frame_now(context)
    what = "the connection with half a frame, of which a byte comes now and then,"
    not_closed_yet(context, wire, began, what)
    latest = began + IDLE_SECONDS + LATE_SECONDS
    while time.monotonic() < latest - BYTE_SECONDS:
        context.meanwhile()
        with contextlib.suppress(Silence):
            wire.wait_closed(BYTE_SECONDS)
            return
    closed_in_time(context, wire, began, what)


@case(
    rules=["R-FRAME-8"],
    level="robust",
    early=nobody_logs_in,
    title="a connection that does not log in is closed after 30 s",
)
def no_login(context: ServerContext) -> None:
    silent, asking, began = context.early
    for wire in (silent, asking):
        not_closed_yet(context, wire, began, "the connection without a login")
    for wire in (silent, asking):
        closed_in_time(context, wire, began, "the connection without a login")


def logged_out(context: ServerContext) -> tuple[Wire, float] | None:
    """Log somebody out who says nothing more, when the run begins; None where accounts are few."""
    context.people.release(keep=True)
    return None if context.people.accounts_are_few() else logged_out_now(context)


def logged_out_now(context: ServerContext) -> tuple[Wire, float]:
    """Log somebody out who says nothing more; return the connection, and when."""
    user = context.user(own=True)
    with context.given("a logout"):
        user.ask("logout")
    return user.wire, time.monotonic()


@case(
    rules=["R-FRAME-8"],
    level="robust",
    offers="logout",
    early=logged_out,
    title="a connection that is logged out is closed after 30 s",
)
def no_second_login(context: ServerContext) -> None:
    wire, began = context.early or logged_out_now(context)
    closed_in_time(context, wire, began, "the connection after `logout`")


@case(
    rules=["R-FRAME-9"],
    level="robust",
    title="what came before a half-close is answered, then the server closes",
)
def answers_after_a_half_close(context: ServerContext) -> None:
    user = context.user(own=True)
    room = context.room_id()
    for _ in range(3):
        user.wire.send(
            {
                "action": "get_messages",
                "data": {"chatid": user.chatid, "room_id": room, "from_time": FUTURE},
            }
        )
    user.wire.finish_sending()
    came = [
        packet for packet in user.wire.wait_closed() if packet.get("action") != "receive_message"
    ]
    actions = [packet.get("action") for packet in came]
    context.equal(len(actions), 3, "how many replies came after the half-close, for 3 requests")
