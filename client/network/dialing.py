"""Reaching a server within one deadline: its name is looked up, then its addresses are tried.

Owns both. A name server that does not answer, and addresses of which nobody is there, must not take
longer than the user wants to wait. Knows no TLS and no frames. Any thread may use it; the look-up
runs in a thread of its own ("chat-lookup"), because the system's can't be ended.
"""

from __future__ import annotations

import errno
import os
import queue
import selectors
import socket
import threading
from typing import Any, Final

from client.base.deadline import Deadline
from client.base.waiting import SLICE_SECONDS, wait_for_socket

_UNDER_WAY: Final = {errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR}
"""What a socket that must not wait says of a connect that has begun."""

Address = tuple[socket.AddressFamily, Any]
"""The family, and what a socket of it connects to."""


class LookUpTimedOut(TimeoutError):
    """Nobody has told the address of a name in time."""


def look_up(host: str, port: int, deadline: Deadline) -> list[Address]:
    """Return the addresses of a host, each once. Raise OSError or UnicodeError where it has none,
    `LookUpTimedOut` where nobody tells by the deadline."""
    try:
        return _addresses(host, port, socket.AI_NUMERICHOST)  # an address needs no name server
    except (OSError, UnicodeError):
        pass
    results: queue.SimpleQueue[list[Address] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            results.put(_addresses(host, port))
        except (OSError, UnicodeError) as error:
            results.put(error)

    threading.Thread(target=ask, name="chat-lookup", daemon=True).start()
    while True:
        try:
            result = results.get(timeout=min(SLICE_SECONDS, deadline.left()))
        except queue.Empty:
            if deadline.is_over():
                raise LookUpTimedOut(f"the name {host} was not looked up in time") from None
        else:
            if isinstance(result, Exception):
                raise result
            return result


def _addresses(host: str, port: int, flags: int = 0) -> list[Address]:
    rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys((row[0], row[4]) for row in rows))


def dial(host: str, port: int, deadline: Deadline) -> socket.socket:
    """Connect to the first address of a host that takes the connection, by the deadline. Raise
    OSError or UnicodeError, that of the first address."""
    first: OSError | None = None
    addresses = look_up(host, port, deadline)
    for number, address in enumerate(addresses):
        try:
            return connect_to(address, share(deadline, len(addresses) - number))
        except OSError as error:
            first = first or error
    raise first or OSError(f"the name {host} has no address")


def share(deadline: Deadline, parts: int) -> Deadline:
    """Return the deadline for the first of so many parts that all have to end by `deadline`."""
    return deadline.within(deadline.left() / parts)


def connect_to(address: Address, deadline: Deadline) -> socket.socket:
    """Connect to one address. Raise OSError, TimeoutError where the deadline is over."""
    if deadline.is_over():
        raise TimeoutError
    family, where = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        number = sock.connect_ex(where)
        if number in _UNDER_WAY:
            wait_for_socket(sock, selectors.EVENT_WRITE, deadline)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        sock.settimeout(max(deadline.left(), 0.001))  # 0.0 would mean: never wait
    except BaseException:
        sock.close()
        raise
    return sock
