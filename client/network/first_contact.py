"""What answers on a port where no chat server does: names the other protocol, so that a wrong port
is found at once.

Owns one short look at a server, on a connection of its own, and the table of what other servers say
first. Sends no name and no password. Any thread may use it; `look` waits, at most `LOOK_SECONDS`
for each of its three steps.
"""

from __future__ import annotations

import socket
from typing import Final

LOOK_SECONDS: Final = 2.0
GREETING_SECONDS: Final = 0.5
"""Who speaks first, as SSH does, has done so by then; a web server waits for a question."""
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


def name_of(first: bytes) -> str | None:
    """The kind of server that begins to speak like this; None where it is not known, or nothing was
    said."""
    if first[1:5] == b"\0\0\0\n":
        # its greeting: a length of three bytes, number 0, version 10 of its protocol
        return "a database (MySQL)"
    return next((name for start, name in _FIRST_BYTES if first.startswith(start)), None)


def look(host: str, port: int) -> str | None:
    """The kind of server on a port that gave no answer to a frame; None where this can't be
    told."""
    try:
        with socket.create_connection((host, port), LOOK_SECONDS) as sock:
            sock.settimeout(GREETING_SECONDS)
            try:
                greeting = sock.recv(64)
            except TimeoutError:
                sock.settimeout(LOOK_SECONDS)
                sock.sendall(_QUESTION)
                greeting = sock.recv(64)
    except (OSError, UnicodeError):
        return None
    return name_of(greeting)
