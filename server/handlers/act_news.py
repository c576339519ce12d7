"""What is told of a teacher's act once it is stored, whoever did it: a teacher by a packet, or the
command line.

Owns who hears of which act, and the ends of sessions that acts bring. Runs on the writer's thread
only. The reason of an act about a user is told to that user and to teachers; to others it is "".
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import protocol
from server.base.logs import printable, room_words
from server.base.refusals import no_such_file
from server.handlers.context import Context
from server.handlers.sessions import end_from_outside, hand_down
from server.state.recent_messages import delivered
from server.state.registry import Registry
from server.state.restrictions import Restrictions
from server.state.room_directory import RoomState
from server.state.session import Session
from server.writing.delivery import Delivery
from storage import messages
from storage.acts import CLASS, MUTE, PAUSE, Act

log: Final = logging.getLogger("server.acts")


def time_or_null(ends_at: int | None) -> str | None:
    """Return the time as the protocol writes it; None where there is none."""
    return None if ends_at is None else protocol.format_time(ends_at)


def tell_act(context: Context, delivery: Delivery, act: Act, state: RoomState | None) -> None:
    """Tell of the act; `state` is its room as it is now, None where it is about no room."""
    who = "the command line" if act.by is None else act.by
    about = [printable(text) for text in (act.user, act.file_path) if text is not None]
    if act.room_id is not None:
        about.append(room_words(act.room_id, act.room_id if state is None else state.room.name))
    log.info("%s by %s: %s", act.act, printable(who), " ".join(about))
    teller = _TELLERS.get(act.act)
    if teller is not None:
        teller(context, delivery, act, state)


def tell_restrictions(restrictions: Restrictions, delivery: Delivery, session: Session) -> None:
    """Tell somebody who has just logged in, and asked for events, of the mute and the pause that
    hit them."""
    if "events" not in session.features:
        return
    mute = restrictions.find(MUTE, session.account_id, writing=True)
    pause = restrictions.find(PAUSE, CLASS, writing=True)
    if mute is not None:
        data = {"until": mute.until, "reason": mute.row.reason}
        delivery.to_session(
            session, protocol.build_event("user_muted", chatid=session.chatid, **data)
        )
    if pause is not None:
        data = {"until": pause.until, "reason": pause.row.reason}
        delivery.to_session(session, protocol.build_event("class_paused", **data))


def _muted(context: Context, delivery: Delivery, act: Act, state: RoomState | None) -> None:
    _about_user(context.registry, delivery, act, "user_muted", until=time_or_null(act.ends_at))


def _unmuted(context: Context, delivery: Delivery, act: Act, state: RoomState | None) -> None:
    delivery.event("user_unmuted", chatid=act.user)


def _kicked(context: Context, delivery: Delivery, act: Act, state: RoomState | None) -> None:
    assert act.user_id is not None and act.user is not None
    hand_down(context, delivery, act.user_id, act.user)
    if _end_marked(context.registry, delivery, act):
        _about_user(context.registry, delivery, act, "user_kicked", besides=act.user_id)


def _banned(context: Context, delivery: Delivery, act: Act, state: RoomState | None) -> None:
    assert act.user_id is not None and act.user is not None
    hand_down(context, delivery, act.user_id, act.user)
    _about_user(context.registry, delivery, act, "user_banned", until=time_or_null(act.ends_at))
    _end_marked(context.registry, delivery, act)


def _end_marked(registry: Registry, delivery: Delivery, act: Act) -> bool:
    """End the sessions that were marked as ended when the act came into force; return whether one
    of them was online. A login that came behind the act goes on."""
    assert act.user_id is not None
    why = f"{act.act} by {printable(act.by or 'the command line')}"
    data = {"chatid": act.user, "reason": act.reason}
    were_online = [
        end_from_outside(registry, delivery, session, why, "user_kicked", **data)
        for session in registry.served([act.user_id])
        if session.was_ended
    ]
    return any(were_online)


def _about_user(
    registry: Registry,
    delivery: Delivery,
    act: Act,
    kind: str,
    besides: int | None = None,
    **more: Any,
) -> None:
    concerned = {act.user_id, *registry.teachers()}
    hearers = {session.account_id for session in registry.listeners()} - {besides}
    for audience, reason in ((hearers & concerned, act.reason), (hearers - concerned, "")):
        ids = [account_id for account_id in audience if account_id is not None]
        delivery.event(kind, ids, chatid=act.user, reason=reason, **more)


def _room_set(context: Context, delivery: Delivery, act: Act, state: RoomState | None) -> None:
    assert state is not None
    room = state.room
    audience = _who_sees(context.registry, state)
    values = {"read_only": room.read_only, "uploads": room.uploads}
    delivery.event("room_set", audience, room_id=room.room_id, **values)


def _who_sees(registry: Registry, state: RoomState) -> set[int] | None:
    """Return who may hear of the room: its members and the teachers; None for everybody."""
    return {*state.members, *registry.teachers()} if state.room.private else None


def _paused(context: Context, delivery: Delivery, act: Act, state: RoomState | None) -> None:
    delivery.event("class_paused", until=time_or_null(act.ends_at), reason=act.reason)


def _resumed(context: Context, delivery: Delivery, act: Act, state: RoomState | None) -> None:
    delivery.event("class_resumed")


def _message_changed(
    context: Context, delivery: Delivery, act: Act, state: RoomState | None
) -> None:
    assert state is not None and act.message_id is not None
    with context.database.reading() as reader:
        message = messages.get(reader, act.message_id)
    is_shown = act.act == "show_message"
    if message is None or message.is_hidden == is_shown:
        return  # it was erased, or changed again, which is told as an act of its own
    room, content = state.room, message.content
    context.recent.replace(delivered(room.room_id, message, protocol.count_letters(content)))
    what: dict[str, Any] = {"room_id": room.room_id, "message_id": message.id}
    if is_shown:
        kind, elsewhere = "message_shown", ""
    else:
        kind, elsewhere = "message_hidden", content
        what["reason"] = act.reason
    if room.deleted:  # it is nobody's any more, but a teacher may bring it back
        members: frozenset[int] | None = frozenset()
    else:
        members = frozenset(state.members) if room.private else None
    delivery.event(kind, members, content=content, **what)
    if members is not None:
        # A teacher who is none of them reads it by get_messages, of which they are told.
        teachers = set(context.registry.teachers()) - members
        delivery.event(kind, teachers, content=elsewhere, **what)


def _file_removed(context: Context, delivery: Delivery, act: Act, state: RoomState | None) -> None:
    assert state is not None and act.file_path is not None
    room_id = state.room.room_id
    for session in context.registry.served():
        session.downloads.break_off(room_id, no_such_file(act.file_path), act.file_path)
    audience = _who_sees(context.registry, state)
    delivery.event("file_removed", audience, room_id=room_id, file_path=act.file_path)


def _teacher_reads(context: Context, delivery: Delivery, act: Act, state: RoomState | None) -> None:
    assert state is not None
    room_id = state.room.room_id
    delivery.event("teacher_reads", state.members, room_id=room_id, chatid=act.by)


Teller = Callable[[Context, Delivery, Act, "RoomState | None"], None]
_TELLERS: Final[Mapping[str, Teller]] = {
    "mute_user": _muted,
    "unmute_user": _unmuted,
    "kick_user": _kicked,
    "ban_user": _banned,
    "set_room": _room_set,
    "pause_class": _paused,
    "resume_class": _resumed,
    "hide_message": _message_changed,
    "show_message": _message_changed,
    "remove_file": _file_removed,
    "get_messages": _teacher_reads,
    "file_list_req": _teacher_reads,
    "file_down_req": _teacher_reads,
}
