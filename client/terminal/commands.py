"""The commands of the line client: what is typed after a slash.

Owns the table of commands, with usage and help, and what each does. Never reads or draws the screen
itself: a `CommandContext` does. Runs in the thread that reads what is typed; a command may wait for
the server.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import protocol
from client.base.text import size_in_words, visible
from client.connection import Connection
from client.errors import ChatError, ServerError
from client.events import Message
from client.records import Room
from client.terminal.packet_view import MODES

MAX_HISTORY: Final = 1_000
MAX_ROOM_NAME: Final = 64  # of the protocol; two names of 32 are longer together


class CommandContext(Protocol):
    """What a command may use of the line client."""

    @property
    def chat(self) -> Connection:
        """The connection."""

    @property
    def room(self) -> str:
        """The id of the room in which what is typed is said."""

    def say(self, text: str) -> None:
        """Show a line of the client's own."""

    def show_message(self, message: Message) -> None:
        """Show a line of chat."""

    def talk(self, text: str) -> None:
        """Say something in this room."""

    def name_of(self, room_id: str) -> str:
        """Return a room as people call it, harmless to show."""

    def find_room(self, word: str) -> str:
        """Return the id of the room that is meant by a name, an id or a number of the last list."""

    def is_known(self, room_id: str) -> bool:
        """Return whether the room was listed, made, or spoken in."""

    def room_count(self) -> int:
        """Return how many rooms have a number."""

    def remember_rooms(self, rooms: list[Room]) -> None:
        """Remember the rooms, in the order of their numbers."""

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


@dataclass(frozen=True)
class Command:
    """One command: how it is typed, what it does in a sentence, and the function that does it."""

    usage: str
    help: str
    run: Callable[[CommandContext, str], None]


def run_line(context: CommandContext, line: str) -> str | None:
    """Do what a typed line asks for; return the text to say in the room, or None where it was a
    command.

    A line that begins with two slashes is text that begins with one. Errors are shown by the
    context.
    """
    if not line.startswith("/"):
        return line
    if line.startswith("//"):
        return line[1:]
    word, _, argument = line[1:].partition(" ")
    command = COMMANDS.get(word.lower())
    if command is None:
        context.say(
            f"There is no command /{visible(word)}. There are: "
            f"{' '.join('/' + name for name in COMMANDS)}"
        )
        return None
    try:
        command.run(context, argument.strip())
    except WrongUse as error:
        context.say(f"{error}. Type: {command.usage}")
    except ServerError as error:
        context.say(f"The server refused: {visible(str(error))}")
    except ChatError as error:
        context.say(f"That did not work: {visible(str(error))}")
    return None


# --- What the commands do -------------------------------------------------------------------------


def _needed(argument: str, what: str) -> str:
    if not argument:
        raise WrongUse(f"{what} is missing")
    return argument


def _words(argument: str) -> list[str]:
    try:
        return shlex.split(argument)
    except ValueError:  # a quotation mark without its other half is part of the text
        return argument.split()


def _help(context: CommandContext, argument: str) -> None:
    if argument:
        command = COMMANDS.get(argument.lstrip("/").lower())
        if command is None:
            raise WrongUse(f"There is no command /{visible(argument.lstrip('/'))}")
        context.say(f"{command.usage}: {command.help}")
        return
    width = max(len(command.usage) for command in COMMANDS.values())
    lines = [f"  {command.usage:<{width}}  {command.help}" for command in COMMANDS.values()]
    context.say(
        "\n".join(
            [
                "Type to talk. Commands:",
                *lines,
                "A message that begins with a slash is typed with two: //like this",
            ]
        )
    )


def _rooms(context: CommandContext, argument: str) -> None:
    rooms = context.chat.rooms()
    context.remember_rooms(rooms)
    lines = []
    for number, room in enumerate(rooms, 1):
        kind = (
            f"private, of {visible(room.owner or '?')}, {room.members} members"
            if room.private
            else "open"
        )
        unread = f", {words}" if (words := context.unread_in_words(room.room_id)) else ""
        here = ", you are here" if room.room_id == context.room else ""
        lines.append(f"  {number} {visible(room.name)}: {kind}{unread}{here}")
    context.say(
        "\n".join([f"Rooms ({len(rooms)}); go to one with /room NAME or its number:", *lines])
    )


def _room(context: CommandContext, argument: str) -> None:
    if not argument:
        context.say(f"You are in {context.name_of(context.room)}.")
        return
    room_id = context.find_room(argument)
    if (
        room_id == argument
        and argument.isascii()
        and argument.isdigit()
        and not context.is_known(argument)
    ):
        count = context.room_count()
        there = "there is 1 room" if count == 1 else f"there are {count} rooms"
        raise WrongUse(
            f"No room has the number {argument}; {there}: /rooms lists them, /join {argument} "
            "enters an open room of that name"
        )
    context.enter(room_id)


def _join(context: CommandContext, argument: str) -> None:
    room_id = context.find_room(_needed(argument, "The room"))
    note = ""
    try:
        context.chat.join_room(room_id)
    except ServerError as error:
        session = context.chat.session
        extended = session is not None and session.extended
        if extended and (
            error.code != protocol.ErrorCode.ROOM_NOT_FOUND or room_id.startswith("p-")
        ):
            raise
        note = "The first message that you type makes this room." if extended else ""
    context.enter(room_id, note=note)


def _leave(context: CommandContext, argument: str) -> None:
    room_id = context.find_room(argument) if argument else context.room
    context.chat.leave_room(room_id)
    context.say(f"You left {context.name_of(room_id)}.")
    if room_id == context.room and room_id != "lobby":
        context.enter("lobby")


def _create(context: CommandContext, argument: str) -> None:
    words = _words(_needed(argument, "The name of the room"))
    room_id = context.chat.create_room(words[0], words[1:])
    context.remember_rooms(context.chat.rooms())
    context.enter(room_id)


def _msg(context: CommandContext, argument: str) -> None:
    user, _, text = _needed(argument, "The name of the user").partition(" ")
    session = context.chat.session
    if session is None or not session.extended:
        raise WrongUse(
            "This server knows no private rooms" if session is not None else "You are not logged in"
        )
    two = sorted((session.chatid, user), key=protocol.fold_chatid)
    if protocol.fold_chatid(two[0]) == protocol.fold_chatid(two[1]):
        raise WrongUse("That is your own name")
    rooms = context.chat.rooms()
    found = [room.room_id for room in rooms if room.private and _is_room_of(two, room)]
    if not found:
        found = [context.chat.create_room(_name_for(two), [user])]
        rooms = context.chat.rooms()
    context.remember_rooms(rooms)
    context.enter(found[0])
    if text.strip():
        context.talk(text.strip())


def _is_room_of(two: list[str], room: Room) -> bool:
    """Return whether a room is that of these two: theirs alone, and called after them, which a club
    of two members is not."""
    members = {protocol.fold_chatid(name) for name in room.member_names}
    is_theirs = members == {protocol.fold_chatid(name) for name in two}
    return is_theirs and protocol.fold_chatid(room.name) == protocol.fold_chatid(_name_for(two))


def _name_for(two: list[str]) -> str:
    return " & ".join(two)[:MAX_ROOM_NAME].rstrip()


def _add(context: CommandContext, argument: str) -> None:
    context.chat.add_user(context.room, _needed(argument, "The name of the user"))
    context.say(f"{visible(argument)} is now a member of {context.name_of(context.room)}.")


def _remove(context: CommandContext, argument: str) -> None:
    context.chat.remove_user(context.room, _needed(argument, "The name of the user"))
    context.say(f"{visible(argument)} is no longer a member of {context.name_of(context.room)}.")


def _rename(context: CommandContext, argument: str) -> None:
    context.chat.rename_room(context.room, _needed(argument, "The new name"))
    context.remember_rooms(context.chat.rooms())
    context.say(f"The room is now called {visible(argument)}.")


def _delete(context: CommandContext, argument: str) -> None:
    room_id = context.find_room(_needed(argument, "The room"))
    context.chat.delete_room(room_id)
    context.say(f"{context.name_of(room_id)} is deleted.")
    if room_id == context.room:
        context.enter("lobby")


def _who(context: CommandContext, argument: str) -> None:
    users = context.chat.users()
    members = context.chat.room_users(context.room)
    context.remember_people([*users.users, *members])
    online = [name for name in members if name in users.online]
    others = [name for name in members if name not in users.online]
    context.say(
        f"In {context.name_of(context.room)}, on now: {_names(online)}. Not on: {_names(others)}."
    )


def _names(names: list[str]) -> str:
    return ", ".join(map(visible, names)) or "nobody"


def _history(context: CommandContext, argument: str) -> None:
    if argument and not (
        argument.isascii() and argument.isdigit() and 1 <= int(argument) <= MAX_HISTORY
    ):
        raise WrongUse(f"{visible(argument)!r} is no number from 1 to {MAX_HISTORY}")
    page = context.chat.history(context.room, before_id=None, limit=int(argument or 20))
    older = ", older ones left out" if page.has_more else ""
    context.say(
        f"The last {len(page.messages)} messages of {context.name_of(context.room)}{older}:"
    )
    for message in page.messages:
        context.show_message(message)


def _send(context: CommandContext, argument: str) -> None:
    path = Path(_needed(argument, "The file")).expanduser()
    # a name dropped onto a terminal comes in quotation marks, or with backslashes before its spaces
    if not path.is_file():
        words = _words(argument)
        path = Path(words[0]).expanduser() if len(words) == 1 else path
    if not path.is_file():
        raise WrongUse(f"There is no file {visible(str(path))!r}")
    context.send_file(path)


def _files(context: CommandContext, argument: str) -> None:
    files = context.chat.files(context.room)
    context.remember_files([file.file_path for file in files])
    lines = [
        f"  {visible(file.file_path)}"
        + (f", {size_in_words(file.file_size)} by {visible(file.sender)}" if file.sender else "")
        for file in files
    ]
    context.say(
        "\n".join(
            [
                f"Files of {context.name_of(context.room)} ({len(files)}); fetch one with /get "
                "NAME:",
                *lines,
            ]
        )
    )


def _get(context: CommandContext, argument: str) -> None:
    context.fetch_file(_needed(argument, "The name of the file"))


def _cancel(context: CommandContext, argument: str) -> None:
    context.cancel_transfer()


def _retry(context: CommandContext, argument: str) -> None:
    context.retry()


def _packets(context: CommandContext, argument: str) -> None:
    if argument and argument not in MODES:
        raise WrongUse(f"{visible(argument)!r} is none of {', '.join(MODES)}")
    if argument:
        context.show_packets(argument)
    context.say(
        {
            "off": "Packets are not shown.",
            "brief": "Each packet is shown in a line: direction, time, bytes, the four length "
            "bytes, action, transaction.",
            "full": "Each packet is shown whole. Passwords and keys are hidden, long packets cut.",
        }[context.packets_shown()]
    )


def _status(context: CommandContext, argument: str) -> None:
    context.say("\n".join(context.status_lines()))


def _password(context: CommandContext, argument: str) -> None:
    context.change_password()


def _login(context: CommandContext, argument: str) -> None:
    context.log_in_again()


def _quit(context: CommandContext, argument: str) -> None:
    raise Quit


COMMANDS: Final[dict[str, Command]] = {
    command.usage.split()[0][1:]: command
    for command in (
        Command("/rooms", "Show your rooms, with what is unread.", _rooms),
        Command("/room [ROOM]", "Go to a room by its name or number.", _room),
        Command("/join ROOM", "Go to an open room and get its messages.", _join),
        Command("/leave [ROOM]", "Get a room's messages no longer.", _leave),
        Command("/create NAME [USER ...]", "Make a private room with these members.", _create),
        Command(
            "/msg USER [TEXT]", "Talk with one other alone, in a private room of you two.", _msg
        ),
        Command("/add USER", "Make somebody a member of your private room.", _add),
        Command("/remove USER", "End somebody's membership of your private room.", _remove),
        Command("/rename NAME", "Give your private room another name.", _rename),
        Command("/delete ROOM", "Delete a private room of yours.", _delete),
        Command("/who", "Show the members of this room, and who is on.", _who),
        Command("/history [COUNT]", "Show the last messages, 20 unless said.", _history),
        Command("/send FILE", "Send a file to this room.", _send),
        Command("/files", "Show the files of this room.", _files),
        Command("/get NAME", "Fetch a file of this room into your folder.", _get),
        Command("/cancel", "Stop the file that is being sent or fetched.", _cancel),
        Command("/retry", "Send your last refused message again.", _retry),
        Command("/status", "Show server, session, what is unread and on its way.", _status),
        Command(
            "/packets [off|brief|full]", "Show every packet that goes over the wire.", _packets
        ),
        Command("/password", "Change your password.", _password),
        Command("/login", "Log in again after your session was ended.", _login),
        Command("/help [COMMAND]", "Show the commands, or what one of them does.", _help),
        Command("/quit", "Leave. Ctrl-D does the same.", _quit),
    )
}
