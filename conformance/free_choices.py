"""Whether a server is this project's own, or passes on to it, by what the protocol leaves free.

Owns what our server says where anybody may choose: the wording of its errors, the order of keys,
the form of ids. A hint for the teacher, never a verdict. One thread asks.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from conformance.packets import Packet, data_of
from conformance.transcript import Transcript
from conformance.wire import Wire, WireProblem

WAIT_SECONDS: Final = 2.0
"""The longest wait for one answer: none of these requests takes a server long."""
SURE, LIKELY = 0.8, 0.4
"""Shares of the choices: the starters and the tests' reference server, written from the same
protocol, have none to two of the fifteen (a test holds it)."""
SURENESS: Final = ("(nearly certain)", "(likely)")
ERROR_KEYS: Final = ["action", "original_action", "status", "message", "code"]
NAME: Final = "{name}"

Connect = Callable[[], Wire]
Choice = tuple[str, dict[str, Any], Callable[[Packet], bool]]


def _says(text: str) -> Callable[[Packet], bool]:
    return lambda packet: packet.get("message") == text


def _has_keys(*keys: str) -> Callable[[Packet], bool]:
    return lambda packet: list(packet) == list(keys)


def _has_id(packet: Packet) -> bool:
    return bool(re.fullmatch(r"t-[0-9a-f]{16}", str(data_of(packet).get("transaction_id"))))


BEFORE_LOGIN: Final[Sequence[Choice]] = (
    ("no_such", {}, _says('action: no packet is called "no_such"')),
    ("no_such", {}, _has_keys(*ERROR_KEYS)),
    (
        "login",
        {},
        _says(
            "data.chatid is missing: login needs a chatid, a string of 1 to 32 characters without "
            "NUL"
        ),
    ),
    (
        "login",
        {"chatid": 5, "password": "x"},
        _says("data.chatid: expected a chatid, a string of 1 to 32 characters without NUL, got 5"),
    ),
    (
        "get_room_users",
        {"chatid": "anna", "room_id": "lobby"},
        _says(
            "get_room_users needs a login first; before it only login, register and ping are heard"
        ),
    ),
    (
        "register",
        {"chatid": "!", "password": "long-enough-77"},
        _says(
            "data.chatid: expected 1 to 32 characters: letters, digits, '_', '-' or '.', got the "
            'character U+0021, got "!"'
        ),
    ),
)
"""Requests of somebody who is not logged in, and what our server's answer is like."""
AFTER_LOGIN: Final[Sequence[Choice]] = (
    (
        "send_message",
        {"chatid": NAME, "room_id": "lobby"},
        _says(
            "data.content is missing: send_message needs a string that is not empty and holds no "
            "NUL"
        ),
    ),
    (
        "send_message",
        {"chatid": NAME, "room_id": "lobby", "content": ""},
        _says('data.content: expected a string that is not empty and holds no NUL, got ""'),
    ),
    (
        "send_message",
        {"chatid": "anna", "room_id": "lobby", "content": "x"},
        _says(f"data.chatid: expected your own name '{NAME}', got \"anna\""),
    ),
    ("send_message", {"chatid": NAME, "room_id": "lobby", "content": "x"}, _has_id),
    (
        "confirm_count",
        {"transaction_id": "none", "confirm": True},
        _says(
            'data.transaction_id: "none" is not open; it may have been confirmed, or died after '
            "60 s"
        ),
    ),
    (
        "get_room_users",
        {"chatid": NAME, "room_id": "no_such"},
        _says("data.room_id: there is no room 'no_such' for you"),
    ),
    (
        "get_messages",
        {"chatid": NAME, "room_id": "lobby"},
        _says(
            "data.from_time is missing: get_messages needs a time, a string such as "
            "2024-01-01T12:00:00Z"
        ),
    ),
    (
        "get_messages",
        {"chatid": NAME, "room_id": "lobby", "from_time": "soon"},
        _says(
            "data.from_time: expected ISO 8601 with date, time and zone, as 2024-01-01T12:00:00Z, "
            'got "soon" (it has another form)'
        ),
    ),
    (
        "get_rooms",
        {},
        _says(
            "data.chatid is missing: get_rooms needs a chatid, a string of 1 to 32 characters "
            "without NUL"
        ),
    ),
)
"""Requests of somebody who is logged in as NAME."""


@dataclass(frozen=True)
class Likeness:
    """That `same` of the `asked` free choices are those of this project's server."""

    same: int
    asked: int

    def __str__(self) -> str:
        told = f"{self.same} of {self.asked} free choices are those of this project's server"
        if self.same < max(1, LIKELY * self.asked):
            return told
        if self.same >= SURE * self.asked:
            return f"{told}: it is that server, or passes on to it {SURENESS[0]}"
        return f"{told}: it has parts of that server, or its texts {SURENESS[1]}"


def ask(host: str, port: int) -> Likeness:
    """Ask a server that runs; what it does not answer does not count. Raises nothing of it."""

    def connect() -> Wire:
        return Wire.connect(host, port, Transcript(), "", WAIT_SECONDS)

    answers = [*_answers(connect, BEFORE_LOGIN, None), *_after_login(connect)]
    return Likeness(sum(answers), len(answers))


def _after_login(connect: Connect) -> Iterator[bool]:
    """Yield what holds for an account of our own, where one can be registered."""
    name, password = f"z{secrets.token_hex(4)}", secrets.token_urlsafe(12)
    try:
        wire = connect()
    except WireProblem:
        return
    try:
        for action in ("register", "login"):
            wire.send({"action": action, "data": {"chatid": name, "password": password}})
            if wire.receive(3 * WAIT_SECONDS).get("action") != f"{action}_success":
                return
        yield from _answers(connect, AFTER_LOGIN, wire, name)
    except WireProblem:
        return
    finally:
        wire.close()


def _answers(
    connect: Connect, choices: Sequence[Choice], wire: Wire | None, name: str = ""
) -> Iterator[bool]:
    """Yield for each choice that is answered whether it is ours; without a `wire` each has a
    connection of its own, as a server may close it."""
    for action, asked, is_ours in choices:
        data = {key: name if value == NAME else value for key, value in asked.items()}
        own = None
        try:
            here = wire or (own := connect())
            here.send({"action": action, "data": data})
            answer = here.receive_where(_is_answer, "an answer")
        except WireProblem:
            return
        finally:
            if own is not None:
                own.close()
        message = answer.get("message")
        if name and isinstance(message, str):
            answer["message"] = message.replace(name, NAME)
        yield is_ours(answer)


def _is_answer(packet: Packet) -> bool:
    return packet.get("action") not in ("user_list_update", "receive_message", "event")
