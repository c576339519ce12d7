"""What every command of the line client builds on: what it may use, and how it says that it was
used wrongly.

Owns that interface. Does nothing itself. Runs in the thread that reads what is typed.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from client.connection import Connection
from client.events import Message
from client.records import Room

_is_windows = os.name == "nt"  # the tests replace it


class CommandContext(Protocol):
    """What a command may use of the line client."""

    @property
    def chat(self) -> Connection:
        """The connection."""

    @property
    def room(self) -> str:
        """The id of the room in which what is typed is said."""

    def columns(self) -> int:
        """Return how wide the screen is."""

    def say(self, text: str) -> None:
        """Show a line of the client's own."""

    def say_rows(self, text: str) -> None:
        """Show rows that belong to the line of the client's own above them."""

    def show_message(self, message: Message) -> None:
        """Show a line of chat."""

    def talk(self, text: str, *, announce: bool = False) -> bool:
        """Say something in this room, `announce` so that nobody misses it; False where it can't be
        sent."""

    def name_of(self, room_id: str) -> str:
        """Return a room as people call it, harmless to show."""

    def find_room(self, word: str) -> str:
        """Return the id of the room that is meant by a name, an id or its number."""

    def is_known(self, room_id: str) -> bool:
        """Return whether the room was listed, made, or spoken in."""

    def room_number(self, room_id: str) -> int | None:
        """Return the number of a room, which never changes; None where it has none."""

    def remember_rooms(self, rooms: list[Room]) -> None:
        """Remember the rooms; new ones get the next numbers."""

    def remember_name(self, room_id: str, name: str) -> None:
        """Remember how people call a room that is none of the user's."""

    def unread_in_words(self, room_id: str) -> str:
        """Return what in a room was not looked at; "" for nothing."""

    def remember_people(self, names: list[str]) -> None:
        """Remember names that can be completed."""

    def remember_files(self, names: list[str]) -> None:
        """Remember names that can be completed."""

    def enter(self, room_id: str, *, note: str = "") -> None:
        """Make this the room in which is spoken, and show the end of its history."""

    def send_file(self, path: Path) -> None:
        """Send a file, while the chat goes on."""

    def fetch_file(self, name: str) -> None:
        """Fetch a file, while the chat goes on."""

    def cancel_transfer(self) -> None:
        """Stop the running transfer."""

    def retry(self) -> None:
        """Send the last refused message again."""

    def log_in_again(self) -> None:
        """Ask for name and password, after the server has ended the session."""

    def change_password(self) -> None:
        """Ask for the old and the new password, and change it."""

    def act(
        self, action: str, data: Mapping[str, Any], event: str, about: str
    ) -> Mapping[str, Any]:
        """Do a teacher's act; return the answer's data. `event` is what others hear of it, `about`
        the user, message or room: it is not told to who has done it."""

    def show_ids(self, on: bool) -> None:
        """Show the number of each message from now on, or no longer."""

    def show_packets(self, mode: str) -> None:
        """Show each packet from now on, `brief` or `full`, or none: `off`."""

    def packets_shown(self) -> str:
        """Return how packets are shown: a word of `MODES`."""

    def status_lines(self) -> list[str]:
        """Return what goes on in this client, line by line."""


class Quit(Exception):
    """The user wants to go."""


class WrongUse(Exception):
    """A command was given what it can't use."""


def needed(argument: str, what: str) -> str:
    """Return the argument; raise `WrongUse` where it is empty, which `what` calls by its name."""
    if not argument:
        raise WrongUse(f"{what} is missing")
    return argument


def words_of(argument: str) -> list[str]:
    """Return the words of an argument, as a shell splits them; on Windows a backslash is no more
    than itself, as in `"\\\\server\\our files"`."""
    lexer = shlex.shlex(argument, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    if _is_windows:
        lexer.escape = ""
    try:
        return list(lexer)
    except ValueError:  # a quotation mark without its other half is part of the text
        return argument.split()
