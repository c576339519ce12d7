"""What the line client says of a teacher's acts: mutes, kicks, pauses, rooms that are set.

Owns those words. Pure functions; any thread may use them.
"""

from __future__ import annotations

import re
from typing import Final

from client import events
from client.base.text import visible
from client.base.times import local_time

ACTS: Final = frozenset(
    (
        "user_muted",
        "user_unmuted",
        "user_kicked",
        "user_banned",
        "room_set",
        "class_paused",
        "class_resumed",
        "message_hidden",
        "message_shown",
        "file_removed",
        "hand_raised",
        "hand_lowered",
        "teacher_reads",
    )
)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def time_in(message: str) -> str:
    """Return the first time of the protocol in a message, as in that of `muted`; "" for none."""
    found = _TIME.search(message)
    return found[0] if found is not None else ""


def in_words(event: events.ServerEvent, room: str, *, is_us: bool) -> str:
    """Return what to say of an act; "" for nothing. `room` is the name of its room, harmless to
    show, and `is_us` whether it is about this user."""
    who = "You are" if is_us else f"{visible(event.chatid)} is"
    why = f": {visible(event.reason)}" if event.reason else "."
    until = f" until {local_time(event.until)}" if event.until else ""
    number, content = event.message_id, visible(event.content)
    says = f": {content}" if content else "."
    hand = "Your hand is" if is_us else f"{visible(event.chatid)}'s hand is"
    writers = "Only teachers write" if event.read_only else "Everybody writes"
    senders = "" if event.uploads else " Only teachers send files there."
    return {
        "user_muted": f"{who} muted{until}{why}",
        "user_unmuted": f"{who} no longer muted.",
        # who is kicked hears it as the end of the session
        "user_kicked": "" if is_us else f"{who} put out by a teacher{why}",
        "user_banned": "" if is_us else f"{who} banned{until}{why}",
        "room_set": f"{writers} in {room} now.{senders}",
        "class_paused": f"The class is paused{until}: only teachers write{why}",
        "class_resumed": "The class goes on: everybody writes again.",
        "message_hidden": f"Message {number} in {room} is hidden now: {content}",
        "message_shown": f"Message {number} in {room} is shown again{says}",
        "file_removed": f"A teacher has removed the file {visible(event.name)} from {room}{why}",
        "hand_raised": f"{hand} up{says}",
        "hand_lowered": f"{hand} down.",
        "teacher_reads": f"A teacher reads {room}: {visible(event.chatid)}",
    }[event.kind]
