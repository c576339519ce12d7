"""The commands of the line client about rooms and their members.

Owns what each does. Never reads or draws the screen itself: a `CommandContext` does. Runs in the
thread that reads what is typed; a command may wait for the server.
"""

from __future__ import annotations

from typing import Final

import protocol
from client.base.text import counted, visible
from client.errors import ServerError
from client.records import Room
from client.terminal.command_context import CommandContext, WrongUse, needed, words_of

MAX_ROOM_NAME: Final = 64  # of the protocol; two names of 32 are longer together


def list_rooms(context: CommandContext, argument: str) -> None:
    """Show the rooms."""
    rooms = context.chat.rooms()
    context.remember_rooms(rooms)
    lines = []
    for room in sorted(rooms, key=lambda room: context.room_number(room.room_id) or 0):
        number = context.room_number(room.room_id)
        kind = (
            f"private, of {visible(room.owner or '?')}, {counted(room.members, 'member')}"
            if room.private
            else "open"
        )
        unread = f", {words}" if (words := context.unread_in_words(room.room_id)) else ""
        here = ", you are here" if room.room_id == context.room else ""
        lines.append(f"  {number} {visible(room.name)}: {kind}{unread}{here}")
    context.say(
        "\n".join([f"Rooms ({len(rooms)}); go to one with /room NAME or its number:", *lines])
    )


def go_to_room(context: CommandContext, argument: str) -> None:
    """Go to a room."""
    if not argument:
        context.say(f"You are in {context.name_of(context.room)}.")
        return
    room_id = context.find_room(argument)
    if not context.is_known(room_id):  # it may have been made since the list was had
        context.remember_rooms(context.chat.rooms())
        room_id = context.find_room(argument)
    if context.is_known(room_id):
        context.enter(room_id)
    else:
        shown = visible(argument)
        context.say(f"No room {shown}. Make it? /join {shown}   All rooms: /rooms")


def join_room(context: CommandContext, argument: str) -> None:
    """Go to an open room, and have its messages delivered."""
    room_id = context.find_room(needed(argument, "The room"))
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


def leave_room(context: CommandContext, argument: str) -> None:
    """Have a room's messages delivered no longer."""
    room_id = context.find_room(argument) if argument else context.room
    context.chat.leave_room(room_id)
    context.say(f"You left {context.name_of(room_id)}.")
    if room_id == context.room and room_id != "lobby":
        context.enter("lobby")


def create_room(context: CommandContext, argument: str) -> None:
    """Make a private room."""
    words = words_of(needed(argument, "The name of the room"))
    room_id = context.chat.create_room(words[0], words[1:])
    context.remember_rooms(context.chat.rooms())
    context.enter(room_id)


def talk_with(context: CommandContext, argument: str) -> None:
    """Talk with one other alone."""
    user, _, text = needed(argument, "The name of the user").partition(" ")
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


def add_member(context: CommandContext, argument: str) -> None:
    """Make somebody a member of this private room."""
    context.chat.add_user(context.room, needed(argument, "The name of the user"))
    context.say(f"{visible(argument)} is now a member of {context.name_of(context.room)}.")


def remove_member(context: CommandContext, argument: str) -> None:
    """End somebody's membership of this private room."""
    context.chat.remove_user(context.room, needed(argument, "The name of the user"))
    context.say(f"{visible(argument)} is no longer a member of {context.name_of(context.room)}.")


def rename_room(context: CommandContext, argument: str) -> None:
    """Give this private room another name."""
    context.chat.rename_room(context.room, needed(argument, "The new name"))
    context.remember_rooms(context.chat.rooms())
    context.say(f"The room is now called {visible(argument)}.")


def delete_room(context: CommandContext, argument: str) -> None:
    """Delete a private room."""
    room_id = context.find_room(needed(argument, "The room"))
    context.chat.delete_room(room_id)
    context.say(f"{context.name_of(room_id)} is deleted.")
    if room_id == context.room:
        context.enter("lobby")
