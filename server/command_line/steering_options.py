"""The names of the commands with which the teacher steers the class, and the arguments that each
one takes.

Owns these two tables. Never decides what a command does (`steering`). Called once, by the main
thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Final

COMMANDS: Final[Mapping[str, str]] = {
    "who": "say who is on, of the running server",
    "rooms": "list all rooms, private and deleted ones too",
    "room": "say whether students may write in a room, and send files there",
    "mute": "let a user say nothing, for a while or until it is lifted",
    "unmute": "let a user speak again",
    "kick": "end a user's session; the user may come back",
    "ban": "end a user's session and refuse its logins, for a while or until it is lifted",
    "unban": "let a user log in again",
    "pause": "make every room read-only, for a while or until the class is resumed",
    "resume": "end the pause",
    "announce": "say something in a teacher's name, shown prominently",
    "hide": "take what a message says out of sight",
    "show": "show a hidden message again",
    "audit": "list what teachers did, by packets and by these commands",
}
_TIME: Final = "how long: 90s, 10m (or 10), 2h, 3d; 0 or nothing: until it is lifted"


def _add_user(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the account's name (chatid)")


def _add_why(parser: argparse.ArgumentParser) -> None:
    # with a default argparse counts it as optional, also in the sentence that names what is missing
    parser.add_argument(
        "why", metavar="WHY", nargs="*", default=[], help="the reason, which that user is told"
    )


def _add_kick(parser: argparse.ArgumentParser) -> None:
    _add_user(parser)
    _add_why(parser)


def _add_restriction(parser: argparse.ArgumentParser) -> None:
    _add_user(parser)
    _add_pause(parser)


def _add_pause(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("time", metavar="TIME", nargs="?", default="0", help=_TIME)
    _add_why(parser)


def _add_room(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("room_id", metavar="ROOM", help="the room's id, as 'rooms' lists it")
    for flag, what in (
        ("--read-only", "whether only teachers write there"),
        ("--uploads", "whether students may send files there"),
    ):
        parser.add_argument(flag, choices=("on", "off"), help=what)


def _add_message(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("message_id", metavar="ID", help="the message's number")
    _add_why(parser)
    _add_teacher(parser)


def _add_teacher(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--as",
        dest="teacher",
        metavar="TEACHER",
        help="the teacher in whose name; not needed where there is only one",
    )


def _add_shown(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("message_id", metavar="ID", help="the message's number")


def _add_announce(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", metavar="TEXT", nargs="+", help="what is said")
    parser.add_argument("--room", metavar="ROOM", default="lobby", help="where (default lobby)")
    _add_teacher(parser)


def _add_audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--last", metavar="N", default="50", help="how many of the newest acts (default 50)"
    )


def _add_nothing(parser: argparse.ArgumentParser) -> None:
    pass


ADD: Final[Mapping[str, Callable[[argparse.ArgumentParser], None]]] = {
    "who": _add_nothing,
    "rooms": _add_nothing,
    "room": _add_room,
    "mute": _add_restriction,
    "unmute": _add_user,
    "kick": _add_kick,
    "ban": _add_restriction,
    "unban": _add_user,
    "pause": _add_pause,
    "resume": _add_nothing,
    "announce": _add_announce,
    "hide": _add_message,
    "show": _add_shown,
    "audit": _add_audit,
}
