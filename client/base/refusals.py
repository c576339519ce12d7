"""What a server's refusals mean in people's words: a sentence for each code of the protocol.

Owns those sentences. Pure functions; any thread may use them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

from client.base.text import size_in_words
from client.base.times import local_time
from protocol import ErrorCode

SENTENCES: Final[Mapping[ErrorCode, str]] = {
    ErrorCode.BAD_FRAME: "the server could not read what this client sent",
    ErrorCode.BAD_JSON: "the server could not read what this client sent",
    ErrorCode.BAD_PACKET: "the server does not take this as it is",
    ErrorCode.UNKNOWN_ACTION: "this server can't do that",
    ErrorCode.NOT_LOGGED_IN: "you are not logged in any more; log in again",
    ErrorCode.FORBIDDEN: "you may not do that",
    ErrorCode.ROOM_NOT_FOUND: "there is no such room for you",
    ErrorCode.USER_NOT_FOUND: "there is no user of that name",
    ErrorCode.FILE_NOT_FOUND: "there is no such file",
    ErrorCode.TRANSACTION_NOT_FOUND: "the server has forgotten this message; send it again",
    ErrorCode.TRANSACTION_MISMATCH: "the server takes this for another message; send it again",
    ErrorCode.TOO_MANY_PENDING: "too much of yours is under way at once; wait a moment",
    ErrorCode.BAD_TIME: "that is no time that the server can read",
    ErrorCode.INCOMPLETE_FILE: "the file has not arrived whole",
    ErrorCode.TOO_LARGE: "that is more than this server takes",
    ErrorCode.QUOTA_EXCEEDED: "your share of the server's room is full",
    ErrorCode.STORAGE_FULL: "the server's disk is full; tell who runs it",
    ErrorCode.SERVER_FULL: "the server is full; try again in a while",
    ErrorCode.INTERNAL_ERROR: "the server failed; its log says why, so tell who runs it",
    ErrorCode.NOT_CONFIRMED: "the letter counts did not agree, so nothing was stored",
    ErrorCode.NAME_TAKEN: "that name is taken; choose another one",
    ErrorCode.MESSAGE_NOT_FOUND: "there is no message with this number",
    ErrorCode.MUTED: "a teacher has muted you",
    ErrorCode.BANNED: "a teacher has banned you",
    ErrorCode.READ_ONLY: "only teachers may write here now",
    ErrorCode.REGISTRATION_CLOSED: (
        "on this server accounts are made by the teacher, or by who runs it; ask there for yours"
    ),
}

_FIELD: Final = re.compile(r"^data(\.\w+)*: ")  # it is for who writes a client
_TOO_MUCH: Final = re.compile(r"expected at most (\d{1,18}) bytes.*, got (\d{1,18})")
_TOO_LONG: Final = re.compile(r"expected (\d.*), got (.+)")
_CHARACTER: Final = re.compile(r"the character U\+([0-9A-F]{4,6})")
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"")
_OF_THE_WIRE: Final = re.compile(r"\bdata\.\w|\bexpected\b|\w_\w|\baction\b|\bneeds a login\b")
_NAMES_NOTHING_MORE: Final = frozenset((ErrorCode.REGISTRATION_CLOSED, ErrorCode.NAME_TAKEN))
"""Codes whose sentence says all, and what to do, whatever the server writes."""
_SAY_WHY: Final = frozenset((ErrorCode.MUTED, ErrorCode.BANNED, ErrorCode.READ_ONLY))
"""Codes whose message names until when and why (R-TEACH-7)."""
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def in_words(code: str, message: str) -> str:
    """Return what to tell people of a refusal: the server's own message, or the sentence of its
    code where the message speaks of packets."""
    text = _FIELD.sub("", message)
    sentence = SENTENCES.get(code)  # type: ignore[call-overload]
    too_much = _TOO_MUCH.search(text)
    if too_much is not None:
        most, size = (size_in_words(int(number)) for number in too_much.groups())
        return f"that is {size}; this server takes at most {most}"
    text = plain(text)
    # what a teacher gives as a reason is not the server's
    own, colon, reason = text.partition(": ") if code in _SAY_WHY else (text, "", "")
    if sentence is None or not (
        code in _NAMES_NOTHING_MORE or not own or _OF_THE_WIRE.search(_QUOTED.sub("", own))
    ):
        return _TIME.sub(lambda found: local_time(found[0]), own) + colon + reason
    return str(sentence)


def plain(problem: str) -> str:
    """Return what is wrong with a name or a password, as `protocol.chatid_problem` says it, in
    people's words."""
    wrong = _TOO_LONG.fullmatch(_CHARACTER.sub(_name_of_character, problem))
    return problem if wrong is None else f"it must have {wrong[1]}; this has {wrong[2]}"


def _name_of_character(found: re.Match[str]) -> str:
    character = chr(min(int(found[1], 16), 0x10FFFF))
    if character == " ":
        return "a space"
    if not character.isprintable() or unicodedata.category(character)[0] == "M":
        return f"a character that is not seen (U+{found[1]})"
    return f"the character {character}"
