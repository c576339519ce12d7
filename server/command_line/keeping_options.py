"""The names of the commands that keep and remove, and the arguments that each one takes.

Owns these two tables. Never decides what a command does (`keeping`). Called once, by the main
thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Final

from server.base.settings import OPTIONS
from server.command_line.option_arguments import add_option

COMMANDS: Final[Mapping[str, str]] = {
    "export": "write what was said into a folder: pages, tables or text",
    "attendance": "write a table: who was on, how long, with how many messages and files",
    "slips": "make the accounts of a roster, and a page of login slips to print and cut apart",
    "new-term": "copy everything, then empty the rooms, and remove the accounts",
    "backup": "copy the whole data folder into one zip",
    "restore": "make a data folder from such a zip, after checking every byte",
    "forget": "erase an account with its messages, files and name, so that no byte is left",
    "status": "say how the running server is: who is on, what waits, how full the disk is",
}
TIMES: Final = "2026-11-23, '2026-11-23 10:15', 10:15, 90m, 2h, 3d"


def _add_export(parser: argparse.ArgumentParser) -> None:
    # with a default argparse counts it as optional, also in the sentence that names what is missing
    parser.add_argument(
        "rooms", metavar="ROOM", nargs="*", default=[], help="ids of rooms; none for all"
    )
    _add_period(parser)
    parser.add_argument(
        "--format",
        choices=("html", "csv", "jsonl", "txt"),
        default="html",
        help="pages for a browser (html, the default), tables for a spreadsheet (csv), "
        "or lines (jsonl, txt)",
    )
    parser.add_argument(
        "--pseudonyms",
        action="store_true",
        help="student-07 instead of names; who is who is written into a file beside the folder",
    )
    parser.add_argument(
        "--hidden", action="store_true", help="with the texts that teachers have removed"
    )
    parser.add_argument("--files", action="store_true", help="with the files that were sent")
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", required=True, help="the folder to make"
    )


def _add_period(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", metavar="TIME", help=f"only from then on: {TIMES}")
    parser.add_argument("--until", metavar="TIME", help="only before then")


def _add_backup(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE.zip", help="the zip to make, outside of the data folder"
    )


def _add_restore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE.zip", help="a zip that 'backup' made; --data names the new folder"
    )


def _add_forget(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the account's name (chatid)")
    parser.add_argument(
        "--keep-messages",
        action="store_true",
        help="leave its messages, under a name that tells nothing",
    )


def _add_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def _add_attendance(parser: argparse.ArgumentParser) -> None:
    _add_period(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE.csv", required=True, help="the table to make"
    )


def _add_slips(parser: argparse.ArgumentParser) -> None:
    add_option(parser, OPTIONS["password_cost"], argparse.SUPPRESS)
    parser.add_argument(
        "roster",
        metavar="ROSTER.csv",
        help="a roster as 'import' takes it, or the passwords that 'import' has written",
    )
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="what the slips tell students to connect to; else this machine's address",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE.html", required=True, help="the page to make"
    )


def _add_new_term(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep-accounts", action="store_true", help="leave the accounts, and who is in which room"
    )
    parser.add_argument(
        "-o", "--output", metavar="ARCHIVE.zip", required=True, help="the copy to make first"
    )


ADD: Final[Mapping[str, Callable[[argparse.ArgumentParser], None]]] = {
    "export": _add_export,
    "attendance": _add_attendance,
    "slips": _add_slips,
    "new-term": _add_new_term,
    "backup": _add_backup,
    "restore": _add_restore,
    "forget": _add_forget,
    "status": _add_status,
}
