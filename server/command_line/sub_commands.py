"""The sub-commands of the server's program: their names, and the arguments that each one takes.

Owns these two tables. Never decides what a command does (`admin`). Called once, by the main thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Final

from protocol import ROLES
from server.base.settings import OPTIONS
from server.command_line import keeping_options, steering_options
from server.command_line.option_arguments import add_option

COMMANDS: Final[Mapping[str, str]] = {
    "adduser": "make an account",
    "passwd": "give an account a new password; who is logged in under it is logged out",
    "role": "make an account a teacher's or a student's; who is logged in under it is logged out",
    "deluser": "delete an account; its name stays reserved, "
    "so that nobody inherits its rooms and files",
    "users": "print the names of all accounts, one a line, teachers with their role behind a tab",
    "import": "make accounts from a CSV file with the columns chatid,password and perhaps role; "
    "all of them or none",
    "restore-room": "bring a deleted room back",
    "recover-messages": "put back what the journal has and the database has lost",
    **keeping_options.COMMANDS,
    **steering_options.COMMANDS,
}


def add_command(parser: argparse.ArgumentParser, name: str) -> None:
    # SUPPRESS: an option that isn't repeated after the command must not wipe out the one that
    # stands before it.
    add_option(parser, OPTIONS["data"], argparse.SUPPRESS)
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="INI file with values for the options",
    )
    if name in ("adduser", "passwd", "import"):
        add_option(parser, OPTIONS["password_cost"], argparse.SUPPRESS)
    if name in ("adduser", "passwd"):
        parser.add_argument(
            "--password-file",
            metavar="FILE",
            help="take the password from the first line of FILE; "
            "else it is asked for, or read from stdin",
        )
    if name == "adduser":
        parser.add_argument(
            "--teacher", action="store_true", help="make the account a teacher's, not a student's"
        )
    if name in ("adduser", "passwd", "role", "deluser"):
        parser.add_argument("name", metavar="NAME", help="the account's name (chatid)")
    if name == "role":
        parser.add_argument(
            "role",
            metavar="ROLE",
            choices=ROLES,
            help="what the account is to be: teacher or student",
        )
    if name == "import":
        _add_import(parser)
    elif name == "restore-room":
        parser.add_argument("room_id", metavar="ID", help="the room's id")
    elif name in keeping_options.ADD:
        keeping_options.ADD[name](parser)
    elif name in steering_options.ADD:
        steering_options.ADD[name](parser)


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave accounts that there are as they are, with their passwords",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write the passwords that were made up to a new file (or into a folder), "
        "not to stdout",
    )
    parser.add_argument(
        "roster",
        metavar="ROSTER.csv",
        help="the first line is chatid,password or chatid,password,role, separated by commas, "
        "semicolons or tabs; an empty password is made up and printed once; an empty role is "
        "student",
    )
