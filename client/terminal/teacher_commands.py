"""The commands of the line client with which a teacher steers the class, and what answers them.

Owns what each does. Never decides who may: the server does. Runs in the thread that reads what is
typed; a command may wait for the server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from client.base.text import counted, visible
from client.base.times import local_time
from client.records import as_number, as_object, as_objects, as_text
from client.session.requests import all_pages
from client.terminal.command_context import CommandContext, WrongUse, needed

MAX_ACTS: Final = 20
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION: Final = re.compile(r"(\d{1,6})([smhd]?)", re.IGNORECASE)
PRIVACY: Final = (
    "Who sees what: everybody in a room reads what is said there, now and later, and it is kept on "
    "the server.\nA teacher can read every room and its files, private ones too; members are told. "
    "Teachers see who is on, since when and from which address.\nWho runs the server can read all "
    "that is stored, but no password. Without --tls whoever shares the network can read along."
)


def seconds_in(word: str) -> int | None:
    """Return the seconds of `90s`, `10m`, `2h`, `1d`, or `10`, which are minutes; None for other
    words."""
    found = _DURATION.fullmatch(word)
    return int(found[1]) * _UNITS[found[2].lower() or "m"] if found is not None else None


def _time_and_reason(words: str) -> dict[str, Any]:
    """Return `seconds` (0 = until it is lifted) and `reason` of what was typed."""
    first, _, rest = words.partition(" ")
    seconds = seconds_in(first)
    reason = words.strip() if seconds is None else rest.strip()
    return {"seconds": seconds or 0, **({"reason": reason} if reason else {})}


def _until(reply: Mapping[str, Any], lifted_by: str) -> str:
    until = as_text(reply.get("until"))
    return f"until {local_time(until)}" if until else f"until you type {lifted_by}"


def mute(context: CommandContext, argument: str) -> None:
    """Keep somebody from writing."""
    user, _, rest = needed(argument, "The name of the user").partition(" ")
    reply = context.act(
        "mute_user", {"user": user, **_time_and_reason(rest.strip())}, "user_muted", user
    )
    context.say(f"{visible(user)} is muted {_until(reply, f'/unmute {visible(user)}')}.")


def unmute(context: CommandContext, argument: str) -> None:
    """Let somebody write again."""
    user = needed(argument, "The name of the user")
    context.act("unmute_user", {"user": user}, "user_unmuted", user)
    context.say(f"{visible(argument)} may write again.")


def kick(context: CommandContext, argument: str) -> None:
    """End somebody's session."""
    user, _, reason = needed(argument, "The name of the user").partition(" ")
    why = {"reason": reason.strip()} if reason.strip() else {}
    context.act("kick_user", {"user": user, **why}, "user_kicked", user)
    context.say(f"The session of {visible(user)} is ended. They may log in again: see /ban.")


def ban(context: CommandContext, argument: str) -> None:
    """End somebody's session, and let them in no more for a time."""
    user, _, rest = needed(argument, "The name of the user").partition(" ")
    reply = context.act(
        "ban_user", {"user": user, **_time_and_reason(rest.strip())}, "user_banned", user
    )
    context.say(f"{visible(user)} is banned {_until(reply, f'/unban {visible(user)}')}.")


def unban(context: CommandContext, argument: str) -> None:
    """Let somebody in again."""
    context.chat.request("unban_user", {"user": needed(argument, "The name of the user")})
    context.say(f"{visible(argument)} may log in again.")


def pause(context: CommandContext, argument: str) -> None:
    """Let only teachers write, in all rooms."""
    reply = context.act("pause_class", _time_and_reason(argument), "class_paused", "")
    context.say(f"The class is paused {_until(reply, '/resume')}.")


def resume(context: CommandContext, argument: str) -> None:
    """Let everybody write again."""
    context.act("resume_class", {}, "class_resumed", "")
    context.say("The class goes on.")


def announce(context: CommandContext, argument: str) -> None:
    """Say something that nobody is to miss."""
    context.talk(needed(argument, "The text"), announce=True)


def hide(context: CommandContext, argument: str) -> None:
    """Take a message out of sight."""
    number, _, reason = needed(argument, "The number of the message").partition(" ")
    why = {"reason": reason.strip()} if reason.strip() else {}
    message_id = _number(number)
    data = {"message_id": message_id, **why}
    context.act("hide_message", data, "message_hidden", str(message_id))
    context.say(f"Message {message_id} is hidden. /show {message_id} brings it back.")


def show(context: CommandContext, argument: str) -> None:
    """Bring a hidden message back."""
    number = _number(needed(argument, "The number of the message"))
    context.act("show_message", {"message_id": number}, "message_shown", str(number))
    context.say(f"Message {number} is shown again.")


def _number(word: str) -> int:
    digits = word.removeprefix("#")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 16):
        raise WrongUse(
            f"{visible(word)!r} is no number of a message; /ids on shows them, or press Tab twice"
        )
    return int(digits)


def read_only(context: CommandContext, argument: str) -> None:
    """Let only teachers write in this room, or everybody."""
    on = switch(argument)
    context.act("set_room", {"room_id": context.room, "read_only": on}, "room_set", context.room)
    writes = "only teachers write" if on else "everybody writes"
    context.say(f"From now on {writes} in {context.name_of(context.room)}.")


def uploads(context: CommandContext, argument: str) -> None:
    """Let only teachers send files to this room, or everybody."""
    on = switch(argument)
    context.act("set_room", {"room_id": context.room, "uploads": on}, "room_set", context.room)
    sends = "everybody sends" if on else "only teachers send"
    context.say(f"From now on {sends} files to {context.name_of(context.room)}.")


def remove_file(context: CommandContext, argument: str) -> None:
    """Take a file out of this room for good."""
    data = {"room_id": context.room, "file_path": needed(argument, "The name of the file")}
    context.act("remove_file", data, "file_removed", context.room)
    context.say(f"{visible(argument)} is gone from {context.name_of(context.room)}, for good.")


def all_rooms(context: CommandContext, argument: str) -> None:
    """Show every room, private and deleted ones too."""
    rooms = _all_rooms(context)
    context.say(f"All rooms ({len(rooms)}); look into one with /look ROOM:")
    context.say_rows("\n".join(map(_room_in_words, rooms)))


def look(context: CommandContext, argument: str) -> None:
    """Go to any room to read there; the members of a private one are told."""
    word = needed(argument, "The room")
    found = [
        room
        for room in _all_rooms(context)
        if word == room.get("id")
        or (word.casefold() == as_text(room.get("name")).casefold() and not room.get("deleted"))
    ]
    if not found:
        raise WrongUse(f"There is no room {visible(word)}; /allrooms lists them")
    if len(found) > 1:
        raise WrongUse(f"{len(found)} rooms have that name: give the id of one, from /allrooms")
    room_id = as_text(found[0].get("id"))
    if not context.is_known(room_id):
        context.remember_name(room_id, as_text(found[0].get("name")))
    context.enter(room_id)


def _all_rooms(context: CommandContext) -> list[Mapping[str, Any]]:
    found = all_pages(
        context.chat.request,
        "get_all_rooms",
        {},
        "rooms",
        lambda entry: as_text(as_object(entry).get("id")),
    )
    return as_objects(found)


def _room_in_words(room: Mapping[str, Any]) -> str:
    room_id, name, owner = (visible(as_text(room.get(key))) for key in ("id", "name", "owner"))
    facts = [f"private, of {owner}"] if room.get("private") is True else ["open"]
    facts += ["read-only"] if room.get("read_only") is True else []
    facts += ["no files"] if room.get("uploads") is False else []
    facts += ["deleted"] if room.get("deleted") is True else []
    called = f" {name}" if name != room_id else ""
    return f"  {room_id}{called}: {', '.join(facts)}"


def switch(argument: str) -> bool:
    """Return whether `on` was typed; raise `WrongUse` for all but `on` and `off`."""
    if argument.lower() not in ("on", "off"):
        raise WrongUse(f"{visible(argument)!r} is neither on nor off")
    return argument.lower() == "on"


def show_ids(context: CommandContext, argument: str) -> None:
    """Show the number of each message, or no longer."""
    on = switch(argument)
    context.show_ids(on)
    context.say(f"The numbers of messages are {'shown from now on' if on else 'not shown'}.")


def hand(context: CommandContext, argument: str) -> None:
    """Raise a hand, or take it down."""
    word, _, rest = argument.partition(" ")
    session, user = context.chat.session, rest.strip()
    own = session.chatid if session is not None else ""
    if word.lower() == "down":
        whose = {"user": user} if user else {}
        reply = context.act("lower_hand", whose, "hand_lowered", user or own)
        hand = f"The hand of {visible(as_text(reply.get('user')))}" if user else "Your hand"
        context.say(f"{hand} is down.")
        return
    text = {"text": argument} if argument else {}
    reply = context.act("raise_hand", text, "hand_raised", own)
    place = as_number(reply.get("place"))
    context.say(f"Your hand is up, place {place} in the queue. /hand down takes it down.")


def hands(context: CommandContext, argument: str) -> None:
    """Show whose hands are up, in the order in which they were raised."""
    everybody = _sessions(context, offline=True)  # a lost connection costs nobody the place
    up = [entry for entry in everybody if isinstance(entry.get("hand"), dict)]
    up.sort(key=lambda entry: as_number(entry["hand"].get("place")))
    rows = [_hand_in_words(entry) for entry in up]
    context.say("Hands that are up:" if rows else "No hand is up.")
    if rows:
        context.say_rows("\n".join(rows) + "\n  /hand down NAME takes one down")


def _hand_in_words(entry: Mapping[str, Any]) -> str:
    raised = as_object(entry.get("hand"))
    text = visible(as_text(raised.get("text")))
    said = f": {text}" if text else ""
    when = local_time(as_text(raised.get("since")))
    name = visible(as_text(entry.get("chatid")))
    away = "" if entry.get("since") else ", connection lost"
    return f"  {as_number(raised.get('place'))} {name}, since {when}{away}{said}"


def sessions(context: CommandContext, argument: str) -> None:
    """Show who is on: from where, since when, and what holds for them."""
    rows = [_session_in_words(entry) for entry in _sessions(context)]
    context.say(f"Who is on ({len(rows)}):")
    if rows:
        context.say_rows("\n".join(rows))


def _sessions(context: CommandContext, *, offline: bool = False) -> list[Mapping[str, Any]]:
    found = all_pages(
        context.chat.request,
        "get_sessions",
        {"offline": True} if offline else {},
        "sessions",
        lambda entry: as_text(as_object(entry).get("chatid")),
    )
    return as_objects(found)


def _session_in_words(entry: Mapping[str, Any]) -> str:
    name, role = (visible(as_text(entry.get(key))) for key in ("chatid", "role"))
    facts = [
        f"from {visible(as_text(entry.get('address')))}",
        f"since {local_time(as_text(entry.get('since')))}",
        f"idle {_idle(as_number(entry.get('idle_seconds')))}",
        counted(as_number(entry.get("messages")), "message"),
    ]
    for word in ("muted", "banned"):
        until = as_text(entry.get(f"{word}_until"))
        if entry.get(word) is True or until:
            facts.append(f"{word} until {local_time(until)}" if until else word)
    if isinstance(entry.get("hand"), dict):
        facts.append("hand up")
    is_teacher = " (teacher)" if role == "teacher" else ""
    return f"  {name}{is_teacher}: {', '.join(facts)}"


def _idle(seconds: int) -> str:
    return f"{seconds} s" if seconds < 100 else f"{seconds // 60} min"


def audit(context: CommandContext, argument: str) -> None:
    """Show the last acts."""
    acts: list[Mapping[str, Any]] = []
    after = 0
    while True:
        reply = context.chat.request("get_audit", {"after_id": after})
        page = as_objects(reply.get("acts"))
        acts = [*acts, *page][-MAX_ACTS:]
        last = page[-1].get("id") if page else None
        if not reply.get("has_more") or not isinstance(last, int) or last <= after:
            break
        after = last
    context.say(f"The last acts ({len(acts)}):")
    if acts:
        context.say_rows("\n".join(map(_act_in_words, acts)))


def _act_in_words(act: Mapping[str, Any]) -> str:
    about = [as_text(act.get(key)) for key in ("user", "room_id", "file_path")]
    number = act.get("message_id")
    words = [as_text(act.get("act")).replace("_", " "), *filter(None, about)]
    words += [f"#{number}"] if isinstance(number, int) else []
    until, reason = as_text(act.get("until")), as_text(act.get("reason"))
    words += [f"until {local_time(until)}"] if until else []
    why = f": {visible(reason)}" if reason else ""
    who = visible(as_text(act.get("by")) or "the command line")
    moment = local_time(as_text(act.get("timestamp")))
    return f"  {moment} {who}: {visible(' '.join(words))}{why}"
