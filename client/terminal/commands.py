"""The commands of the line client: what is typed after a slash.

Owns the table of commands, with usage and help, and what most of them do; those about rooms are
`client.terminal.room_commands`. Never reads or draws the screen itself: a `CommandContext` does.
Runs in the thread that reads what is typed; a command may wait for the server.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import incoming_text
from client.base.text import counted, size_in_words, visible
from client.errors import ChatError, ServerError
from client.terminal import room_commands, teacher_commands
from client.terminal.command_context import CommandContext, Quit, WrongUse, needed, words_of
from client.terminal.overview import FILES, LEAVE, LOOK, ROOMS, TALK, TEACH, overview
from client.terminal.packet_view import MODES

MAX_HISTORY: Final = 1_000


@dataclass(frozen=True)
class Command:
    """One command: how it is typed, what it does in a sentence, and the function that does it."""

    usage: str
    help: str
    run: Callable[[CommandContext, str], None]
    group: str
    """One of `overview.GROUPS`, under which /help shows it."""
    short: str
    """What it does, in the few words for which the overview has room."""
    example: str = ""


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
    command = _find(word)
    if command is None:
        context.say(_unknown(context, word))
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


def _unknown(context: CommandContext, word: str) -> str:
    """Return what to say of a word after a slash that is no command."""
    near = difflib.get_close_matches(word.lower(), [*commands_for(context), *_ALIASES], 1)
    advice = f"Is /{near[0]} meant?" if near else "/help lists the commands."
    return f"There is no command /{visible(word)}. {advice}"


# --- What the commands do -------------------------------------------------------------------------


def _help(context: CommandContext, argument: str) -> None:
    if argument.lower() == "privacy":
        context.say(teacher_commands.PRIVACY)
        return
    if argument:
        word = argument.lstrip("/")
        command = _find(word)
        if command is None:
            context.say(_unknown(context, word))
            return
        context.say(f"{command.usage}: {command.help}")
        if command.example:
            context.say_rows(f"  Example: {command.example}")
        return
    context.say("Type to talk. What begins with a slash is a command; more on one: /help msg")
    context.say_rows(overview(commands_for(context), context.columns()))


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
    count = counted(len(page.messages), "message")
    context.say(f"The last {count} of {context.name_of(context.room)}{older}:")
    for message in page.messages:
        context.show_message(message)


def _send(context: CommandContext, argument: str) -> None:
    path = _place(needed(argument, "The file"))
    # a name dropped onto a terminal comes in quotation marks, or with backslashes before its spaces
    if not path.is_file():
        words = words_of(argument)
        path = _place(words[0]) if len(words) == 1 else path
    if not path.is_file():
        raise WrongUse(f"There is no file {visible(str(path))!r}")
    context.send_file(path)


def _place(path: str) -> Path:
    try:
        return Path(incoming_text.place(path))
    except incoming_text.BadText as error:
        raise WrongUse(visible(str(error))) from error


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
    context.fetch_file(needed(argument, "The name of the file"))


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
            "brief": "Each packet is shown in a line: -> to the server, <- from it, time, bytes, "
            "the four length bytes, action, transaction.",
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


_ALIASES: Final = {"exit": "quit"}

COMMANDS: Final[dict[str, Command]] = {
    command.usage.split()[0][1:]: command
    for command in (
        Command(
            "/msg USER [TEXT]",
            "Talk with one other alone, in a private room of you two.",
            room_commands.talk_with,
            TALK,
            "talk alone",
            "/msg ben Can you hear me?",
        ),
        Command(
            "/history [COUNT]",
            "Show the last messages, 20 unless said.",
            _history,
            TALK,
            "what was said",
            "/history 50",
        ),
        Command(
            "/retry",
            "Send your last refused message again.",
            _retry,
            TALK,
            "send refused words again",
        ),
        Command(
            "/hand [TEXT]",
            "Raise your hand, and say why; /hand down takes it down.",
            teacher_commands.hand,
            TALK,
            "ask for the teacher",
            "/hand Which port?",
        ),
        Command(
            "/rooms",
            "Show your rooms, with what is unread.",
            room_commands.list_rooms,
            ROOMS,
            "list them",
        ),
        Command(
            "/room [ROOM]",
            "Go to a room by its name or number.",
            room_commands.go_to_room,
            ROOMS,
            "go to one",
            "/room 2",
        ),
        Command(
            "/join ROOM",
            "Go to an open room and get its messages; one that is not there is made.",
            room_commands.join_room,
            ROOMS,
            "go there, or make it",
            "/join maths",
        ),
        Command(
            "/leave [ROOM]",
            "Get a room's messages no longer.",
            room_commands.leave_room,
            ROOMS,
            "hear it no longer",
        ),
        Command(
            "/create NAME [USER ...]",
            "Make a private room with these members.",
            room_commands.create_room,
            ROOMS,
            "private",
            '/create "Group 3" ben cara',
        ),
        Command(
            "/who", "Show the members of this room, and who is on.", _who, ROOMS, "who is here"
        ),
        Command(
            "/add USER",
            "Make somebody a member of your private room.",
            room_commands.add_member,
            ROOMS,
            "take somebody in",
        ),
        Command(
            "/remove USER",
            "End somebody's membership of your private room.",
            room_commands.remove_member,
            ROOMS,
            "take somebody out",
        ),
        Command(
            "/rename NAME",
            "Give your private room another name.",
            room_commands.rename_room,
            ROOMS,
            "another name",
        ),
        Command(
            "/delete ROOM",
            "Delete a private room of yours; a teacher deletes open ones, too.",
            room_commands.delete_room,
            ROOMS,
            "delete your own",
        ),
        Command(
            "/send FILE",
            "Send a file to this room.",
            _send,
            FILES,
            "into this room",
            "/send notes.txt",
        ),
        Command("/files", "Show the files of this room.", _files, FILES, "those of this room"),
        Command(
            "/get NAME",
            "Fetch a file of this room into your folder.",
            _get,
            FILES,
            "fetch one",
            "/get notes.txt",
        ),
        Command(
            "/cancel", "Stop the file that is being sent or fetched.", _cancel, FILES, "stop one"
        ),
        Command(
            "/packets [off|brief|full]",
            "Show every packet that goes over the wire.",
            _packets,
            LOOK,
            "wire",
            "/packets brief",
        ),
        Command(
            "/status",
            "Show server, session, what is unread and on its way.",
            _status,
            LOOK,
            "server and session",
        ),
        Command(
            "/help [COMMAND]",
            "Show the commands, or what one of them does.",
            _help,
            LOOK,
            "more on one",
            "/help msg",
        ),
        Command("/password", "Change your password.", _password, LEAVE, "change yours"),
        Command(
            "/login",
            "Log in again after your session was ended.",
            _login,
            LEAVE,
            "log in again",
        ),
        Command(
            "/ids on|off",
            "Show the number of each message, as /hide and /show need it.",
            teacher_commands.show_ids,
            LOOK,
            "numbers of messages",
        ),
        Command("/quit", "Leave. Ctrl-D and /exit do the same.", _quit, LEAVE, "leave; or Ctrl-D"),
        Command(
            "/mute NAME [TIME] [WHY]",
            "Let somebody write no more, for 90s, 10m, 2h, 1d, or until /unmute.",
            teacher_commands.mute,
            TEACH,
            "silence",
            "/mute ben 10m Please listen.",
        ),
        Command("/unmute NAME", "Let somebody write again.", teacher_commands.unmute, TEACH, ""),
        Command(
            "/kick NAME [WHY]",
            "End somebody's session; they may come back.",
            teacher_commands.kick,
            TEACH,
            "end a session",
            "/kick ben Not your name.",
        ),
        Command(
            "/ban NAME [TIME] [WHY]",
            "End somebody's session and let them in no more, for a time or until /unban.",
            teacher_commands.ban,
            TEACH,
            "keep out",
            "/ban ben 1h Come back later.",
        ),
        Command("/unban NAME", "Let somebody in again.", teacher_commands.unban, TEACH, ""),
        Command(
            "/pause [TIME] [WHY]",
            "Let only teachers write in all rooms, for a time or until /resume.",
            teacher_commands.pause,
            TEACH,
            "all rooms",
            "/pause 5m Look at the board.",
        ),
        Command("/resume", "Let everybody write again.", teacher_commands.resume, TEACH, ""),
        Command(
            "/announce TEXT",
            "Say something that nobody is to miss, also in a paused class.",
            teacher_commands.announce,
            TEACH,
            "stands out",
            "/announce Ten minutes left.",
        ),
        Command(
            "/hide ID [WHY]",
            "Take a message out of sight; Tab twice shows the last ones.",
            teacher_commands.hide,
            TEACH,
            "a message",
            "/hide 15",
        ),
        Command("/show ID", "Bring a hidden message back.", teacher_commands.show, TEACH, ""),
        Command(
            "/readonly on|off",
            "Let only teachers write in this room, or everybody.",
            teacher_commands.read_only,
            TEACH,
            "this room",
        ),
        Command(
            "/uploads on|off",
            "Let only teachers send files to this room, or everybody.",
            teacher_commands.uploads,
            TEACH,
            "files here",
        ),
        Command(
            "/removefile NAME",
            "Take a file out of this room for good.",
            teacher_commands.remove_file,
            TEACH,
            "a file",
        ),
        Command("/allrooms", "Show every room there is.", teacher_commands.all_rooms, TEACH, ""),
        Command(
            "/look ROOM",
            "Go to any room to read there; the members of a private one are told.",
            teacher_commands.look,
            TEACH,
            "read any room",
        ),
        Command("/hands", "Show whose hands are up, in order.", teacher_commands.hands, TEACH, ""),
        Command(
            "/sessions",
            "Show who is on, from where, since when, and who is muted.",
            teacher_commands.sessions,
            TEACH,
            "who, from where",
        ),
        Command(
            "/audit",
            "Show what teachers did last, to whom and why.",
            teacher_commands.audit,
            TEACH,
            "what was done",
        ),
    )
}


def _find(word: str) -> Command | None:
    """Return the command of this name, which may be another word for it; None for no command."""
    name = word.lower()
    return COMMANDS.get(_ALIASES.get(name, name))


def commands_for(context: CommandContext) -> dict[str, Command]:
    """Return the commands that are of use to this user, by their names."""
    session = context.chat.session
    is_teacher = session is not None and session.role == "teacher"
    return {name: c for name, c in COMMANDS.items() if is_teacher or c.group != TEACH}
