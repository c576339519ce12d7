"""Who answers where no chat server does: names the other service, so that a wrong port is found at
once.

Owns one short look at a server, on a connection of its own, the table of what other servers say
first, and the words for it. Sends no name and no password. Any thread may use it;
`identify_service` waits, at most `LOOK_SECONDS` for each of its three steps, all within its
deadline; the rest is pure functions.
"""

from __future__ import annotations

import selectors
from typing import Final

from client.base.deadline import Deadline
from client.base.waiting import wait_for_socket
from client.errors import CannotConnect, ConnectionLost, NoAnswer
from client.network.dialing import dial

LOOK_SECONDS: Final = 2.0
GREETING_SECONDS: Final = 0.5
"""A server that speaks first, as SSH does, has done so by then; a web server waits for a
question."""
_QUESTION: Final = b"HEAD / HTTP/1.0\r\n\r\n"

_FIRST_BYTES: Final = (
    (b"HTTP/", "a web server (HTTP)"),
    (b"<!DOC", "a web server (HTTP)"),
    (b"<!doc", "a web server (HTTP)"),
    (b"<html", "a web server (HTTP)"),
    (b"SSH-", "a server for remote login (SSH)"),
    (b"RFB ", "a shared screen (VNC)"),
    (b"+OK", "a mail server (POP3)"),
    (b"* OK", "a mail server (IMAP)"),
    (b"220", "a mail or file server (SMTP or FTP)"),
    (b"-ERR", "a database (Redis)"),
    (b"\x15\x03", "a server of TLS"),
    (b"\x16\x03", "a server of TLS"),
)

_CHECK_PORT: Final = "Check that the port is the one the server's first screen shows."


def service_name(first: bytes) -> str | None:
    """Return the kind of server that begins to speak like this; None where it is not known, or
    nothing was said."""
    if first[1:5] == b"\0\0\0\n":
        # its greeting: a length of three bytes, number 0, version 10 of its protocol
        return "a database (MySQL)"
    return next((name for start, name in _FIRST_BYTES if first.startswith(start)), None)


def identify_service(host: str, port: int, deadline: Deadline) -> str | None:
    """Return the kind of server on a port that gave no answer to a frame; None where this can't be
    told by the deadline."""
    try:
        with dial(host, port, deadline.within(LOOK_SECONDS)) as sock:
            try:
                wait_for_socket(sock, selectors.EVENT_READ, deadline.within(GREETING_SECONDS))
            except TimeoutError:
                sock.sendall(_QUESTION)
                wait_for_socket(sock, selectors.EVENT_READ, deadline.within(LOOK_SECONDS))
            greeting = sock.recv(64)
    except (OSError, UnicodeError):
        return None
    return service_name(greeting)


def other_service(host: str, port: int, name: str) -> CannotConnect:
    """Return the error that says which other service answers."""
    return CannotConnect(
        f"What answers on {host} port {port} is no chat server, but {name}.", _CHECK_PORT
    )


def needs_tls(host: str, port: int) -> CannotConnect:
    """Return the error for a server of TLS that was talked to without."""
    return CannotConnect(
        f"The server on {host} port {port} speaks TLS, and this client was started without it.",
        "Start it with --tls --cafile FILE, where FILE is the teacher's certificate file.",
    )


def not_a_chat_server(host: str, port: int, error: ConnectionLost) -> CannotConnect:
    """Return the error for a server of which only `error`, the end of the talk with it, is
    known."""
    if isinstance(error, NoAnswer):
        return CannotConnect(
            f"{host} port {port} takes connections, but does not answer as a chat server: {error}.",
            "Check that the port is the one the server's first screen shows, or try again in a "
            "while.",
        )
    return CannotConnect(
        f"What answers on {host} port {port} is no chat server: {error}.", _CHECK_PORT
    )


def hung_up(host: str, error: ConnectionLost) -> CannotConnect:
    """Return the error for a chat server that ended the connection before it answered."""
    return CannotConnect(f"{host} hung up: {error}.", "Try again in a while.")


def server_full(message: str) -> CannotConnect:
    """Return the error for a server that takes nobody more."""
    return CannotConnect(f"The server is full: {message}.", "Try again in a while.")
