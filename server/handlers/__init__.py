"""The answers to requests, by topic; one function for each packet that clients send, and the table
that finds it.

Each module registers its functions by `handles`; importing the package fills the table. A handler
runs on the client's own thread, once the request's action, login, fields and identity are checked,
and gives the frame of its reply, or None where it has replied otherwise or nothing is due. It
raises `Refusal` to answer with an `error`.
"""

from server.handlers import (
    accounts,
    acts,
    files,
    history,
    messages,
    oversight,
    presence,
    rooms,
    uploads,
)
from server.handlers.table import HANDLERS

__all__ = [
    "HANDLERS",
    "accounts",
    "acts",
    "files",
    "history",
    "messages",
    "oversight",
    "presence",
    "rooms",
    "uploads",
]
