"""Everything that can go wrong for a user of the client, as one small tree of exceptions.

Owns the exception types and their words. Never opens a socket. Any thread may use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from client.base.refusals import in_words
from client.base.text import size_in_words, visible
from protocol import ErrorCode


class ChatError(Exception):
    """The root of the tree: catch this to catch all of them."""


class CannotConnect(ChatError):
    """No chat server answers there. `what` says in plain words what happened, `advice` the next
    thing to try."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what} {advice}")
        self.what = what
        self.advice = advice


class ConnectionLost(ChatError):
    """The connection is gone, or the server did not answer in time."""


class NoAnswer(ConnectionLost):
    """The server did not answer in time; the connection may be there."""


class ProtocolBroken(ConnectionLost):
    """What the server sent was no frame, so nothing behind it can be read."""


class BadAnswer(ChatError):
    """The server answered, but against the protocol: the reply can't be read, or a list that comes
    in pages never ends."""


class ServerError(ChatError):
    """The server refused a request: `code` is its stable word (docs/PROTOCOL.md), `message` says
    why.

    As text it is what people are told (`client.base.refusals`); the message is for who writes a
    client.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(in_words(code, message))
        self.code = code
        self.message = message


class NotOffered(ServerError):
    """The server does not know `action`: as those of the 24 packets do with every extension."""

    def __init__(self, action: str, code: str, message: str) -> None:
        super().__init__(code, message)
        self.action = action


class LoginRefused(ServerError):
    """Name, password or session key were not taken, or the account could not be made. Never tried
    again by itself."""


class SessionEnded(LoginRefused):
    """The server has ended the session: another login took its place, the account has changed, or a
    teacher has done it (`by_teacher`; the message is then the reason that was given, or "").
    Never taken up again by itself; `code` is `taken_over`, `session_ended` or `user_kicked`."""

    def __init__(self, code: str, message: str, *, by_teacher: bool = False) -> None:
        super().__init__(code, message)
        self.by_teacher = by_teacher


def ended_by_teacher(reason: str) -> str:
    """Return the sentence that says so, without a full stop behind a reason that was given."""
    return f"The teacher has ended your session{': ' + visible(reason) if reason else '.'}"


class TransferFailed(ChatError):
    """A file was not sent or fetched whole; nothing half stays under its real name."""


class FileTooLarge(TransferFailed):
    """The server takes only smaller files: at most `most` bytes, 0 where it has not said so."""

    def __init__(self, name: str, size: int, most: int) -> None:
        takes = f"takes at most {size_in_words(most)}" if most else "takes smaller ones only"
        super().__init__(f"{visible(name)} is {size_in_words(size)}; this server {takes}")


class HashDiffers(TransferFailed):
    """All of a file came, but its SHA-256 is another than the server's."""


@dataclass(frozen=True)
class LetterDifference:
    """One character whose two counts differ."""

    letter: str
    meant: int
    counted: int

    def __str__(self) -> str:
        letter, meant, counted = visible(self.letter), _times(self.meant), _times(self.counted)
        return f"'{letter}' was meant {meant} and counted {counted}"


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


class CountsDiffer(ServerError):
    """The server counted other letters than the sender meant, so the sender did not confirm and
    nothing was stored."""

    def __init__(self, differences: Sequence[LetterDifference]) -> None:
        shown = "; ".join(str(difference) for difference in differences[:5])
        more = f"; and {len(differences) - 5} more" if len(differences) > 5 else ""
        super().__init__(ErrorCode.NOT_CONFIRMED, f"the letter counts differ: {shown}{more}")
        self.differences = tuple(differences)
