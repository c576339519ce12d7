"""`doctor`: walks from the name to the first message, one step after the other, and says where two
machines don't meet.

Owns the steps and their words. Logs in only where a user and a password are given; then it says one
message to itself, in a private room that it deletes. For the main thread; every step has a
deadline.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import protocol
from client.base.deadline import Deadline
from client.base.text import size_in_words, visible
from client.errors import BadAnswer, CannotConnect, ChatError
from client.exit_status import OK, explain
from client.network.dialing import Address, connect_to, look_up, share
from client.network.link import in_plain_words
from client.network.tls import Trust, certificate_of
from client.records import Limits
from client.scripts.output import Output
from client.scripts.script_connection import DeadlineConnection

SECONDS: Final = 30.0
"""The time for the whole walk where the user names none."""
STEP_SECONDS: Final = 10.0
"""Of them for finding the name, and for reaching the port."""
NEIGHBOUR_SECONDS: Final = 2.0
MAX_CLOCK_SECONDS: Final = 5
"""More than this between two clocks is worth a word; a second of it may be the way and the
rounding."""
MOST_ADDRESSES: Final = 8
COLUMNS: Final = 96
INDENT: Final = " " * 18
TEXT: Final = "The doctor was here: ÄÖÜ 你好 🙂"


@dataclass(frozen=True)
class DoctorOptions:
    """Which server to look at, and as whom."""

    host: str
    port: int
    tls: bool = False
    cafile: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    take_over: bool = False
    timeout: float | None = None
    """Seconds for the whole walk; None where the user named none."""


@dataclass(frozen=True)
class Finding:
    """What one step found. `status` is the exit status where the walk ends here, else None;
    `advice` the next thing to try."""

    step: str
    said: str
    advice: str = ""
    status: int | None = None


def run(options: DoctorOptions, out: Output) -> int:
    """Walk until a step fails; return the exit status."""
    status = OK
    for finding in examine(options):
        failed = finding.status is not None
        out.data(
            {
                "step": finding.step,
                "ok": not failed,
                "said": finding.said,
                "advice": finding.advice,
            },
            _text(finding),
        )
        if finding.status is not None:
            status = finding.status
    if status == OK:
        out.talk(
            "All is well."
            if options.password is not None
            else "All is well up to the login. With -u NAME the doctor logs in, too, and says a "
            "message to itself."
        )
    return status


def _text(finding: Finding) -> str:
    """Return a finding as lines for people, the state in words."""
    failed = finding.status is not None
    label = f"{'FAILED' if failed else 'ok'}"
    text = textwrap.fill(
        finding.said,
        COLUMNS,
        initial_indent=f"{label:<6}  {finding.step:<8}  ",
        subsequent_indent=INDENT,
    )
    if finding.advice:
        text += "\n" + textwrap.fill(
            finding.advice,
            COLUMNS,
            initial_indent=INDENT + "Try: " * failed,
            subsequent_indent=INDENT,
        )
    return text


def examine(options: DoctorOptions) -> Iterator[Finding]:
    """Yield the findings, in the order of the steps; the last may be a failure."""
    deadline = Deadline(options.timeout or SECONDS)
    step = deadline if options.timeout is not None else deadline.within(STEP_SECONDS)
    try:
        addresses = _look_up(options, step)
        yield _named(options, addresses)
        yield from _way(addresses[0])
        step = deadline if options.timeout is not None else deadline.within(STEP_SECONDS)
        yield _reach(options, addresses, step, deadline)
        chat = DeadlineConnection(
            options.host,
            options.port,
            deadline,
            tls=options.tls,
            cafile=options.cafile,
            reconnect=False,
        )
    except CannotConnect as error:
        yield _failure("connect", error)
        return
    except _Stopped as stop:
        yield stop.finding
        return
    try:
        yield from _talk(options, chat, deadline)
    except _Stopped as stop:
        yield stop.finding
    finally:
        chat.close()


class _Stopped(Exception):
    """A step failed, and those behind it make no sense."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.said)
        self.finding = finding


def _failure(step: str, error: ChatError, hint: str = "") -> Finding:
    status, text = explain(error)
    said, _, advice = text.partition("\n")
    return Finding(step, said, " ".join(filter(None, (advice, hint))), status)


# --- Name, address, TCP ---------------------------------------------------------------------------


def _look_up(options: DoctorOptions, deadline: Deadline) -> list[Address]:
    try:
        return look_up(options.host, options.port, deadline)[:MOST_ADDRESSES]
    except (OSError, UnicodeError) as error:
        words = in_plain_words(error, options.host, options.port, deadline.seconds)
        raise _Stopped(_failure("name", words)) from error


def _named(options: DoctorOptions, addresses: list[Address]) -> Finding:
    shown = ", ".join(str(address[0]) for _, address in addresses)
    host = visible(options.host)
    return Finding(
        "name",
        f"{host} is an address, no name to look up."
        if shown == options.host
        else f"{host} is {shown}.",
    )


def _way(address: Address) -> Iterator[Finding]:
    """Find from which of this machine's addresses the way to the server begins. Sends nothing:
    connecting a UDP socket only asks the system."""
    family, target = address
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect(target)
            own = str(sock.getsockname()[0])
    except OSError:
        return  # the next step says why
    there = ipaddress.ip_address(str(target[0]).partition("%")[0])
    if there.is_loopback:
        yield Finding("address", f"{there} is this machine itself.")
    elif own == str(there):
        yield Finding("address", f"{there} is one of this machine's own addresses.")
    else:
        yield Finding(
            "address",
            f"This machine would go there from its address {own}.",
            _other_network(own, there),
        )


def _other_network(own: str, there: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    here = ipaddress.ip_address(own.partition("%")[0])
    if (
        here.version == there.version == 4
        and here.is_private
        and there.is_private
        and here.packed[:2] != there.packed[:2]
    ):
        return (
            "The two look like addresses of different networks; machines of different networks "
            "often can't reach each other."
        )
    return ""


def _reach(
    options: DoctorOptions, addresses: list[Address], step: Deadline, deadline: Deadline
) -> Finding:
    first: OSError | None = None
    for number, address in enumerate(addresses):
        begun = time.monotonic()
        try:
            connect_to(address, share(step, len(addresses) - number)).close()
        except OSError as error:
            first = first or error
            continue
        taken = (time.monotonic() - begun) * 1000
        return Finding(
            "tcp",
            f"Port {options.port} of {visible(str(address[1][0]))} takes connections, after "
            f"{taken:.0f} ms.",
        )
    assert first is not None
    words = in_plain_words(first, options.host, options.port, step.seconds)
    raise _Stopped(_failure("tcp", words, _hint(options, addresses[0], deadline))) from first


def _hint(options: DoctorOptions, address: Address, deadline: Deadline) -> str:
    """Return what else could be meant, where nothing was reached."""
    usual = (address[0], (address[1][0], protocol.DEFAULT_PORT))
    if options.port != protocol.DEFAULT_PORT and _is_open(usual, deadline):
        return (
            f"Something listens there on port {protocol.DEFAULT_PORT}, which is the usual one: "
            f"try {visible(options.host)} without a port."
        )
    return ""


def _is_open(address: Address, deadline: Deadline) -> bool:
    try:
        connect_to(address, deadline.within(NEIGHBOUR_SECONDS)).close()
    except OSError:
        return False
    return True


# --- Protocol, TLS, login, message ----------------------------------------------------------------


def _talk(
    options: DoctorOptions, chat: DeadlineConnection, deadline: Deadline
) -> Iterator[Finding]:
    try:
        chat.connect()
    except ChatError as error:
        raise _Stopped(_failure("protocol", error)) from error
    try:
        answer = f"A chat server answers, in {chat.ping() * 1000:.0f} ms."
    except ChatError as error:
        raise _Stopped(_failure("protocol", error)) from error
    yield Finding("protocol", answer)
    yield _encryption(options, deadline)
    if options.user is None or options.password is None:
        return
    try:
        session = chat.login(options.user, options.password, take_over=options.take_over)
    except ChatError as error:
        raise _Stopped(
            _failure(
                "login",
                error,
                f"Check name and password. If {visible(options.user)} is on from another window: "
                "--take-over ends that session.",
            )
        ) from error
    yield Finding("login", f"{visible(session.chatid)} is logged in. {_limits(session.limits)}")
    try:
        yield from _say(chat)
    except ChatError as error:
        raise _Stopped(_failure("message", error)) from error


def _encryption(options: DoctorOptions, deadline: Deadline) -> Finding:
    if not options.tls:
        return Finding(
            "tls", "Not encrypted: others in the network can read what is said, and the passwords."
        )
    try:
        found = certificate_of(Trust(options.cafile), options.host, options.port, deadline)
        left = (ssl.cert_time_to_seconds(str(found["notAfter"])) - time.time()) / 86_400
    except (OSError, ValueError, KeyError):
        return Finding("tls", "Encrypted, and the certificate is trusted.")
    return Finding(
        "tls",
        f"Encrypted; the certificate is trusted, for {visible(options.host)}, and ends in "
        f"{left:.0f} days.",
    )


def _limits(limits: Limits) -> str:
    if not (limits.max_content or limits.max_file):
        return "The server names no limits."
    message = f"{limits.max_content:,} bytes" if limits.max_content else "any length"
    file = size_in_words(limits.max_file) if limits.max_file else "any size"
    return f"A message may have {message}, a file {file}."


def _say(chat: DeadlineConnection) -> Iterator[Finding]:
    """Send a message to nobody, which proves the whole way to the server's disk, and compare the
    clocks by its time."""
    room = chat.create_room("doctor")
    try:
        begun, clock = time.monotonic(), time.time()
        sent = chat.send(room, TEXT, timeout=chat.left())
        taken = time.monotonic() - begun
    finally:
        chat.delete_room(room)
    yield Finding(
        "message",
        f"A message of {len(TEXT)} letters was counted alike and stored, in {taken * 1000:.0f} ms, "
        "in a private room that is deleted again.",
    )
    if sent.timestamp is None:
        return
    try:
        apart = protocol.parse_time(sent.timestamp) - clock
    except (ValueError, OverflowError):
        problem = BadAnswer(f"its time for a message is {sent.timestamp[:64]!r}, which is no time")
        raise _Stopped(_failure("time", problem)) from None
    if abs(apart) <= MAX_CLOCK_SECONDS + taken:
        yield Finding("time", "The clocks of both machines agree.")
    else:
        yield Finding(
            "time",
            f"The server's clock is {_span(abs(apart))} {'ahead of' if apart > 0 else 'behind'} "
            "this machine's.",
            "Set the one that is wrong: messages carry the server's time, and certificates are "
            "checked by this machine's.",
        )


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
