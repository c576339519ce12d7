"""The exit statuses of the client, and which error leads to which, in words.

Owns both. Pure; any thread may use it.
"""

from __future__ import annotations

from typing import Final

from client.base.text import visible
from client.errors import (
    BadAnswer,
    CannotConnect,
    ChatError,
    CountsDiffer,
    HashDiffers,
    LoginRefused,
    NotOffered,
    ProtocolBroken,
    ServerError,
    SessionEnded,
    TransferFailed,
    ended_by_teacher,
)

OK: Final = 0
FAILED: Final = 1
WRONG_USE: Final = 2
CANNOT_CONNECT: Final = 3
LOGIN_REFUSED: Final = 4
DISAGREE: Final = 5
PROTOCOL_BROKEN: Final = 6
INCOMPLETE: Final = 7
INTERRUPTED: Final = 130
STATUSES: Final = (
    "0 ok, 1 something else failed, 2 wrong options, 3 cannot connect or the connection was lost, "
    "4 login refused, 5 letter counts or SHA-256 disagree, 6 the server breaks the protocol or "
    "does not offer this, 7 a file was not sent or fetched whole, 130 ended by Ctrl-C"
)


def explain(error: ChatError, broken: str = "") -> tuple[int, str]:
    """Return the exit status of an error, and its words; `broken` is what the server has sent that
    was no packet, "" where all was well."""
    if isinstance(error, CannotConnect):
        return CANNOT_CONNECT, f"{visible(error.what)}\n{visible(error.advice)}"
    if isinstance(error, SessionEnded) and error.by_teacher:
        return LOGIN_REFUSED, ended_by_teacher(str(error))
    if isinstance(error, SessionEnded):
        return LOGIN_REFUSED, f"The session has ended: {visible(str(error))}."
    if isinstance(error, LoginRefused):
        return LOGIN_REFUSED, f"The server refused: {visible(str(error).rstrip('.'))}."
    if isinstance(error, (CountsDiffer, HashDiffers)):
        return DISAGREE, f"Not done: {visible(str(error))}."
    if isinstance(error, NotOffered):
        return PROTOCOL_BROKEN, f"This server does not offer `{error.action}` (an extension)."
    if isinstance(error, (BadAnswer, ProtocolBroken)):
        return PROTOCOL_BROKEN, f"The server does not keep to the protocol: {visible(str(error))}."
    if isinstance(error, ServerError):
        return FAILED, f"The server refused: {visible(str(error).rstrip('.'))}."
    if isinstance(error, TransferFailed):
        status = FAILED if isinstance(error.__cause__, ServerError) else INCOMPLETE
        return status, f"The file was not transferred: {visible(str(error))}."
    if broken:
        return PROTOCOL_BROKEN, f"The server does not keep to the protocol: {visible(broken)}"
    return CANNOT_CONNECT, f"The connection was lost: {visible(str(error))}."
