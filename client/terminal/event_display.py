"""What the line client shows of each event, and of the time that passes between them.

Owns the words for events, the notices about who types and when the next attempt to reconnect comes,
and what is remembered of them. Never reads what is typed. Runs in the thread "chat-screen"; the
methods without an underscore may be called by any thread.

A line of chat always begins with a time, a line of the client's own with a star; what others wrote
can't begin a row.
"""

from __future__ import annotations

import contextlib
import math
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import protocol
from client import events
from client.base.text import counted, size_in_words, visible
from client.base.times import day, local_time
from client.connection import Connection
from client.errors import ChatError, ServerError, ended_by_teacher
from client.events import State
from client.terminal.act_words import ACTS, in_words, time_in
from client.terminal.colours import Palette, Tone
from client.terminal.completion import KnownNames
from client.terminal.plain_screens import PlainScreen
from client.terminal.remembered import OwnActs, OwnBlock, RecentMessages
from client.terminal.restrictions import Restrictions
from client.terminal.room_list import RoomList

TEACHER: Final = "teacher"
TICK_SECONDS: Final = 0.25
TYPING_SECONDS: Final = 6.0
"""How long somebody counts as typing after the last word of it."""
TYPING_PAUSE_SECONDS: Final = 3.0
"""Between two words of our own."""


class EventDisplay:
    """Shows what happens in one line client; `LineClient` has one, and asks it to show the rest."""

    def __init__(self, chat: Connection, screen: PlainScreen, palette: Palette, room: str) -> None:
        self.room = room
        """The room that is looked at."""
        self.rooms = RoomList()
        self.names = KnownNames()
        self.restrictions = Restrictions()
        self.recent = RecentMessages()
        self.own_acts = OwnActs()
        self.shows_ids = False
        """Whether the number of each message is shown before it."""
        self.failed = False
        """Whether a message of ours was refused."""
        self._chat = chat
        self._screen = screen
        self._palette = palette
        self._quitting = threading.Event()
        # Guards the next one: the thread that reads what is typed and chat-screen both use it.
        self._lock = threading.Lock()
        self._refused: events.OwnMessage | None = None
        # Guards the next one; held while a block is posted, so that none of its events comes first.
        self._posting = threading.Lock()
        self._blocks: dict[str, OwnBlock] = {}  # by the transaction_id of each message
        # The rest belongs to chat-screen.
        self._day = day()
        self._retry: tuple[float, events.Disconnected] | None = None
        self._typists: dict[tuple[str, str], float] = {}  # room and name, and until when
        self._last_typed = ""
        self._told_typing_at = 0.0
        self._next_tick = 0.0

    # --- Showing ---

    def prompt(self) -> str:
        """Return what stands before the typed line: the room, and what keeps one from writing."""
        session = self._chat.session
        is_teacher = session is not None and session.role == TEACHER
        hindrance = "" if is_teacher else self.restrictions.in_words(self.room)
        return f"[{self.name_of(self.room)}{', ' + hindrance if hindrance else ''}] "

    def say(self, text: str, tone: Tone | None = None) -> None:
        """Show a line of the client's own; the caller has made foreign text in it harmless."""
        paint = tone or self._palette.plain
        self._screen.show("\n".join(paint("* " + line) for line in text.split("\n")))

    def show_message(self, message: events.Message) -> None:
        """Show a line of chat."""
        # The brackets are ours: a room called `x] teacher: go home [y` must not look like a line of
        # the teacher's.
        name = self.name_of(message.room_id).replace("[", "\\x5b").replace("]", "\\x5d")
        room = "" if message.room_id == self.room else f"[{name}] "
        sender, content = self._palette.name(visible(message.sender)), visible(message.content)
        if self._names_user(message):
            sender += " " + self._palette.mark("(to you)")
            content = self._palette.strong(content)
        number = f"#{message.message_id} " if self.shows_ids and message.message_id else ""
        moment = self._palette.time(local_time(message.timestamp))
        self.recent.add(message.room_id, message.message_id, message.sender, message.content)
        if message.announce:  # the first row begins with a time, too, and others can't forge it
            head = f"{moment} {self._palette.mark('*** ANNOUNCEMENT ***')}\n"
            self._screen.show(f"{head}{moment} {number}{room}{sender}: {content}")
        else:
            self._screen.show(f"{moment} {number}{room}{sender}: {content}")

    def name_of(self, room_id: str) -> str:
        """Return a room as people call it, harmless to show."""
        return self.rooms.name_of(room_id)

    def take_refused(self) -> events.OwnMessage | None:
        """Return the last own message that was refused, once; None where there is none."""
        with self._lock:
            refused, self._refused = self._refused, None
        return refused

    def post_block(self, room_id: str, texts: Sequence[str]) -> None:
        """Say several things; what becomes of them is summed up. Raise as `Connection.post`."""
        with self._posting:
            block = OwnBlock()
            for text in texts:
                self._blocks[self._chat.post(room_id, text).transaction_id] = block
                block.count += 1

    def _names_user(self, message: events.Message) -> bool:
        session = self._chat.session
        return (
            session is not None
            and session.chatid != message.sender
            and _is_named(session.chatid, message.content)
        )

    # --- The thread ---

    def run(self) -> None:
        """Show events until the connection is closed, or `stop` is called after the session has
        ended; this is what the thread "chat-screen" does."""
        while True:
            try:
                while not self._chat.closed:
                    event = self._chat.next_event(TICK_SECONDS)
                    if event is not None:
                        self._show(event)
                    self._tick(time.monotonic())
                return
            except ChatError:  # the session has ended; `/login` may begin another
                while self._chat.session is None:
                    if self._quitting.wait(0.1):
                        return

    def _show(self, event: events.Event) -> None:
        """Show an event. A defect in it is said, and keeps back none of those behind it."""
        try:
            self._SHOW[type(event)](self, event)
        except ChatError:
            raise
        except Exception as error:  # a thread begins here
            self.say(f"A defect of this client: {visible(repr(error))}.", self._palette.bad)

    def stop(self) -> None:
        """Let `run` end; for any thread."""
        self._quitting.set()

    def _tick(self, now: float) -> None:
        """Do what time brings by itself; cheap where nothing is due."""
        if now < self._next_tick:
            return
        self._next_tick = now + TICK_SECONDS
        if self._day != day():
            self._day = day()
            self.say(f"A new day: {self._day}.")
        self._screen.set_prompt(self.prompt())
        if self._screen.can_replace:
            self._count_down(now)
            self._show_typists(now)
            self._tell_typing(now)

    def _count_down(self, now: float) -> None:
        if self._retry is None:
            self._screen.notice("", "retry")
            return
        at, lost = self._retry
        left = math.ceil(at - now)
        when = f"in {left} s" if left > 0 else "now"
        self._screen.notice(
            f"* Not connected. Attempt {lost.attempt} {when}: {visible(lost.reason)}", "retry"
        )

    def _show_typists(self, now: float) -> None:
        self._typists = {key: until for key, until in self._typists.items() if until > now}
        names = [visible(name) for room_id, name in self._typists if room_id == self.room]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        verb = "is" if len(names) == 1 else "are"
        self._screen.notice(
            f"* {', '.join(names[:3])}{more} {verb} typing" if names else "", "typing"
        )

    def _tell_typing(self, now: float) -> None:
        """Tell the room that we type, where the server has granted that; commands are nobody's
        business."""
        session = self._chat.session
        if session is None or "typing" not in session.features or not self._chat.online:
            return
        typed = self._screen.being_typed()
        changed, self._last_typed = typed != self._last_typed, typed
        is_talk = bool(typed.strip()) and (not typed.startswith("/") or typed.startswith("//"))
        if changed and is_talk and now - self._told_typing_at >= TYPING_PAUSE_SECONDS:
            self._told_typing_at = now
            # the connection is going; nobody needs to know that we type
            with contextlib.suppress(ChatError):
                self._chat.typing(self.room)

    # --- Each event ---

    def _on_message(self, event: events.Message) -> None:
        self.names.meet(event.sender)
        self._typists.pop((event.room_id, event.sender), None)
        if event.corrected:
            self.say(
                f"The same message came again, with other letters: {visible(_differences(event))}",
                self._palette.warn,
            )
        names_user = self._names_user(event)
        if event.room_id != self.room and not event.corrected:
            self.rooms.arrived(event.room_id, names_user=names_user)
        self._show_typists(time.monotonic())
        self.show_message(event)
        if names_user:
            self._screen.ring()

    def _on_disagreed(self, event: events.CountsDisagreed) -> None:
        sender = visible(event.message.sender)
        self.say(
            f"The letter counts of the message of {sender} differ; the server sends it again.",
            self._palette.warn,
        )

    def _on_file(self, event: events.FileShared) -> None:
        self.names.add_file(event.file_path)
        name, room = visible(event.file_path), self.name_of(event.room_id)
        self.say(
            f"{visible(event.sender)} put the file {name} ({size_in_words(event.file_size)}) into "
            f"{room}; "
            f"fetch it there with /get {name}"
        )

    def _on_own(self, event: events.OwnMessage) -> None:
        with self._posting:
            block = self._blocks.get(event.transaction_id)
            if block is not None and event.state in (State.STORED, State.REFUSED):
                del self._blocks[event.transaction_id]
        if block is not None:
            self._on_own_of(block, event)
            return
        key = f"message {event.transaction_id}"
        if event.state is State.REFUSED:
            self.failed = True
            with self._lock:
                self._refused = event
            self._screen.replace(self._own_text(event, "not stored"), key)
            self._note_hindrance(event.error)
            why, content = visible(str(event.error).rstrip(".")), visible(event.content)
            self.say(
                f"Not stored: {why}. Type /retry to send it again: {content}", self._palette.bad
            )
        elif event.state is State.STORED:
            session = self._chat.session
            sender = session.chatid if session is not None else "?"
            self.recent.add(event.room_id, event.message_id, sender, event.content)
            self._on_own_stored(event, key)
        else:
            self._on_own_under_way(event, key)

    def _on_own_stored(self, event: events.OwnMessage, key: str) -> None:
        """Show the number; beside what was said, where that is the last line of a terminal."""
        mark = "sent" if event.message_id is None else f"sent {event.message_id}"
        if not self._screen.replace(self._own_text(event, mark), key):
            self.say(mark, self._palette.quiet)

    def _on_own_under_way(self, event: events.OwnMessage, key: str) -> None:
        """Show how far an own message has come: until something else comes below it, or, where no
        line can be replaced, only if it has to wait."""
        is_new = event.state is State.SENDING
        down = "; the connection is down, it goes out when that is back"
        mark = event.state.value + ("" if self._chat.online else down)
        if self._screen.can_replace:
            text, settled = self._own_text(event, mark), self._own_text(event)
            if not self._screen.replace(text, key, settled) and is_new:
                self._screen.show(text, key, settled)
        elif is_new and not self._chat.online:
            self.say(mark, self._palette.warn)

    def _own_text(self, event: events.OwnMessage, mark: str = "") -> str:
        """Return an own message as a line of chat, with how far it has come."""
        session = self._chat.session
        name = visible(session.chatid) if session is not None else "?"
        moment = local_time(event.timestamp) if event.timestamp else time.strftime("%H:%M")
        name_of_room = self.name_of(event.room_id).replace("[", "\\x5b").replace("]", "\\x5d")
        room = "" if event.room_id == self.room else f"[{name_of_room}] "
        line = f"{self._palette.time(moment)} {room}{self._palette.name(name)}: "
        line += visible(event.content)
        return f"{line} {self._palette.quiet(f'({mark})')}" if mark else line

    def _on_own_of(self, block: OwnBlock, event: events.OwnMessage) -> None:
        """Take note of a message of a block; sum them up at the end."""
        if event.state is State.STORED:
            block.stored.append(event.message_id)
        elif event.state is State.REFUSED:
            self.failed = True
            block.refused.append(event)
        if len(block.stored) + len(block.refused) < block.count:
            return
        if block.stored:
            self.say(block.stored_in_words(), self._palette.quiet)
        if block.refused:
            with self._lock:
                self._refused = block.refused[-1]
            why = visible(str(block.refused[-1].error).rstrip("."))
            lost = counted(len(block.refused), "message")
            self.say(f"Not stored: {lost}, the last one because {why}.", self._palette.bad)

    def _note_hindrance(self, error: ChatError | None) -> None:
        """Take note of a mute that began before this client did: its refusal says until when."""
        if isinstance(error, ServerError) and error.code == protocol.ErrorCode.MUTED:
            self.restrictions.begin("muted", time_in(error.message))

    def _on_disconnected(self, event: events.Disconnected) -> None:
        self._retry = time.monotonic() + event.retry_seconds, event
        if event.attempt == 1:
            self.say(
                f"The connection is lost: {visible(event.reason)}. Trying to get it back.",
                self._palette.bad,
            )
        elif not self._screen.can_replace:
            self.say(
                f"Attempt {event.attempt} in {event.retry_seconds:g} seconds: "
                f"{visible(event.reason)}"
            )
        self._next_tick = 0.0

    def _on_reconnected(self, event: events.Reconnected) -> None:
        self._retry = None
        self._next_tick = 0.0
        counts = ((event.missed, "message"), (event.files, "file"))
        missed = " and ".join(counted(number, what) for number, what in counts if number)
        self.say(
            f"The connection is back.{f' {missed} while you were away.' if missed else ''}",
            self._palette.good,
        )

    def _on_logged_out(self, event: events.LoggedOut) -> None:
        self._retry = None
        self._screen.notice("", "retry")
        self.restrictions.forget()
        if event.by_teacher:
            self.say(ended_by_teacher(event.reason), self._palette.bad)
            self.say("Type /login to log in again, or /quit.")
            return
        self.say(f"You are logged out: {visible(event.reason)}", self._palette.bad)
        guess = (
            ""
            if event.told
            else "Your place was taken by another session with your name, or your password was "
            "changed. "
        )
        place = "your place" if event.told else "it"
        self.say(
            f"{guess}This client does not take {place} back by itself: type /login to log in "
            "again, or /quit."
        )

    def _on_server_event(self, event: events.ServerEvent) -> None:
        if event.kind in ACTS:
            self._on_act(event)
            return
        who = visible(event.chatid)
        if event.kind == "typing":
            self._typists[event.room_id, event.chatid] = time.monotonic() + TYPING_SECONDS
            self._show_typists(time.monotonic())
            return
        if event.kind == "user_online":
            self.names.meet(event.chatid)
        if event.kind in ("room_created", "room_renamed") and event.room_id:
            self.rooms.begin(event.room_id, event.name)
        room = visible(event.name) or self.name_of(event.room_id)
        number = self.rooms.number_of(event.room_id)
        call = f"/room {number}" if number else f"/room {room}"
        kind = "private room" if event.room_id.startswith(protocol.PRIVATE_ROOM_PREFIX) else "room"
        text = {
            "user_online": f"{who} is on.",
            "user_offline": f"{who} is gone.",
            "room_created": f"There is a new {kind}: {room}. Go there with {call}",
            "room_renamed": f"A room has a new name: {room}",
            "room_deleted": f"The room {room} was deleted.",
            "user_added": f"{who} is now a member of {room}.",
            "user_removed": f"{who} is no longer a member of {room}.",
            "server_closing": "The server is closing.",
        }.get(event.kind)
        if text is not None:
            self.say(text, self._palette.quiet if event.kind.startswith("user_o") else None)

    def _on_act(self, event: events.ServerEvent) -> None:
        """Show what a teacher has done, and take note of what it forbids."""
        session = self._chat.session
        is_us = session is not None and protocol.fold_chatid(
            session.chatid
        ) == protocol.fold_chatid(event.chatid)
        self._take_act(event, is_us=is_us)
        text = in_words(event, self.name_of(event.room_id), is_us=is_us)
        if text and not self.own_acts.take(event):
            self.say(text, self._palette.strong if is_us else None)

    def _take_act(self, event: events.ServerEvent, *, is_us: bool) -> None:
        if event.kind == "class_paused":
            self.restrictions.begin("paused", event.until)
        elif event.kind == "class_resumed":
            self.restrictions.lift("paused")
        elif event.kind == "room_set":
            self.restrictions.set_room(event.room_id, read_only=event.read_only)
        elif event.kind == "user_muted" and is_us:
            self.restrictions.begin("muted", event.until)
        elif event.kind == "user_unmuted" and is_us:
            self.restrictions.lift("muted")

    def _on_events_dropped(self, event: events.EventsDropped) -> None:
        self.say(
            f"{counted(event.count, 'line')} came too quickly to be shown; see /history.",
            self._palette.warn,
        )

    def _on_protocol_violation(self, event: events.ProtocolViolation) -> None:
        self.say(
            f"The server sent something that could not be understood: {visible(event.text)}",
            self._palette.warn,
        )

    def _on_catch_up_failed(self, event: events.CatchUpFailed) -> None:
        self.say(
            f"What you miss while you are away may not be shown: {visible(event.reason)}. "
            "/history shows what was said.",
            self._palette.warn,
        )

    def _on_packet(self, event: events.PacketSeen) -> None:
        tone = self._palette.sent if event.sent else self._palette.got
        self._screen.show("\n".join(tone(row) for row in event.text.split("\n")))

    _SHOW: Final[dict[type, Callable[..., None]]] = {
        events.Message: _on_message,
        events.CountsDisagreed: _on_disagreed,
        events.FileShared: _on_file,
        events.OwnMessage: _on_own,
        events.Disconnected: _on_disconnected,
        events.Reconnected: _on_reconnected,
        events.LoggedOut: _on_logged_out,
        events.ServerEvent: _on_server_event,
        events.EventsDropped: _on_events_dropped,
        events.ProtocolViolation: _on_protocol_violation,
        events.CatchUpFailed: _on_catch_up_failed,
        events.PacketSeen: _on_packet,
    }


def _is_named(chatid: str, content: str) -> bool:
    return (
        re.search(rf"(?<![\w@])@{re.escape(chatid)}(?![\w-])", content, re.IGNORECASE) is not None
    )


def _differences(message: events.Message) -> str:
    told = [
        f"'{difference.letter}' {difference.counted} -> {difference.meant}"
        for difference in message.differences[:5]
    ]
    more = f" and {len(message.differences) - 5} more" if len(message.differences) > 5 else ""
    return (", ".join(told) or "in another order") + more
