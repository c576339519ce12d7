"""The line client: type to talk, with commands after a slash.

Owns the course of the dialogue: what is typed, which room is spoken in, the way from the login to
the goodbye. What is shown of events is `client.terminal.event_display`'s, the screen
`client.terminal.screens`'s, the network `client.connection`'s. Three threads: the one that reads
what is typed, "chat-screen", which shows events, and "chat-transfer".
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from client.base.deadline import Deadline
from client.base.text import counted, visible
from client.connection import Connection
from client.errors import CannotConnect, ChatError, ConnectionLost, LoginRefused
from client.events import Message
from client.exit_status import CANNOT_CONNECT, FAILED, INTERRUPTED, LOGIN_REFUSED, OK
from client.records import Room, Session
from client.terminal.colours import Palette, Tone
from client.terminal.command_context import Quit
from client.terminal.commands import commands_for, run_line
from client.terminal.completion import Words, completions
from client.terminal.event_display import EventDisplay
from client.terminal.login import LoginDialogue
from client.terminal.packet_view import MODES, PacketView
from client.terminal.pasting import Block
from client.terminal.plain_screens import PlainScreen
from client.terminal.transfer_queue import Job, Transfers
from protocol import ErrorCode

FIRST_MESSAGES: Final = 10
MOST_FIRST_MESSAGES: Final = 100
GRACE_SECONDS: Final = 30.0
"""So long it is waited for own messages while none of them comes any further."""
WAIT_TOLD_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    room: str = "lobby"
    download_folder: Path = Path("downloads")
    take_over: bool = False
    colours: bool = False
    packets: str = "off"
    """Which packets to show from the beginning: one of `client.terminal.packet_view.MODES`."""
    session_key: str | None = field(default=None, repr=False)
    """That of a session of `user` which was kept, to be taken up without a password."""
    keep: Callable[[Session], bool] | None = None
    """Called at the end instead of logging out, to keep the session for the next start; False where
    that is not possible."""


def connection_for(
    host: str, port: int, *, tls: bool = False, cafile: str | None = None
) -> Connection:
    """Return a connection for somebody at a keyboard: told who types, and which files came
    meanwhile. Raise as `Connection` does."""
    return Connection(
        host, port, features=("events", "typing"), watch_files=True, tls=tls, cafile=cafile
    )


class LineClient:
    """The dialogue of one user; implements `client.terminal.command_context.CommandContext`."""

    def __init__(self, chat: Connection, screen: PlainScreen, options: Options) -> None:
        self.chat = chat
        self._screen = screen
        self.columns = screen.columns
        self._options = options
        self._palette = palette = Palette(options.colours)
        self.display = EventDisplay(chat, screen, palette, options.room)
        self._failed = False  # a message could not be sent
        self._login = LoginDialogue(chat, screen, self.say)
        self._transfers = Transfers(chat, screen, self.say, options.download_folder, palette)
        self._packets = PacketView(chat.tell)
        self._since = ""
        self._last_name = ""  # who was logged in last
        self.show_packets(options.packets)
        where = f"{visible(chat.host)} port {chat.port}"
        chat.on_silence = lambda: self.say(
            f"{where} is reached, but has not answered yet. Waiting; Ctrl-C ends it."
        )

    # --- Showing ---

    @property
    def room(self) -> str:
        """The id of the room in which what is typed is said."""
        return self.display.room

    def say(self, text: str, tone: Tone | None = None) -> None:
        """Show a line of the client's own; the caller has made foreign text in it harmless."""
        self.display.say(text, tone)

    def say_rows(self, text: str) -> None:
        """Show rows that belong to the line of the client's own above them, and have no star."""
        self._screen.show(text)

    def show_message(self, message: Message) -> None:
        """Show a line of chat."""
        self.display.show_message(message)

    def name_of(self, room_id: str) -> str:
        """Return a room as people call it, harmless to show."""
        return self.display.name_of(room_id)

    # --- From the beginning to the end ---

    def run(self) -> int:
        """Talk until the user goes; return the exit status."""
        try:
            self.chat.connect()
            status = (
                OK if self._resumed() else self._log_in(self._options.user, self._options.password)
            )
            return self._talk() if status == OK else status
        except CannotConnect as error:
            print(f"{visible(error.what)}\n{visible(error.advice)}", file=sys.stderr)
            return CANNOT_CONNECT
        except ChatError as error:
            print(visible(str(error)), file=sys.stderr)
            return FAILED
        except Quit:  # before anybody was logged in
            return OK
        except EOFError:  # before anybody was logged in
            if self._screen.is_terminal:
                return OK
            print(
                "Nobody is logged in: the input ended before that. Without a terminal: -u NAME "
                "--password-file FILE.",
                file=sys.stderr,
            )
            return LOGIN_REFUSED
        except KeyboardInterrupt:
            self._screen.show("")
            return INTERRUPTED
        finally:
            self.chat.close()
            self._screen.close()

    def _talk(self) -> int:
        shower = threading.Thread(target=self.display.run, name="chat-screen", daemon=True)
        shower.start()
        self._screen.complete_with(self._complete)
        self._welcome()
        status = INTERRUPTED
        try:
            status = self._read_lines()
        except KeyboardInterrupt:
            pass
        finally:
            self.display.stop()
            try:
                self._say_goodbye(patient=status != INTERRUPTED)
            except KeyboardInterrupt:  # a second time: don't wait any more
                status = INTERRUPTED
            self.chat.close()
            shower.join(2.0)
        if (
            status == OK
            and not self._screen.is_terminal
            and (self._failed or self.display.failed or self._transfers.failed)
        ):
            return FAILED
        return status

    def _read_lines(self) -> int:
        """Do what is typed until the end; return the exit status."""
        while not self._screen.broken:
            try:
                line = self._screen.read_line(self.display.prompt())
            except EOFError:
                if self._screen.is_terminal:
                    self._screen.show("")
                else:
                    self._transfers.finish()
                return (
                    LOGIN_REFUSED
                    if self.chat.session is None and not self._screen.is_terminal
                    else OK
                )
            except KeyboardInterrupt:
                self._screen.show("")
                if not self._screen.typed():
                    return INTERRUPTED
                continue
            try:
                self._do(line)
            except Quit:
                return OK
            except KeyboardInterrupt:
                self.say("Broken off. Press Ctrl-C at an empty line to quit.")
        return FAILED

    def _do(self, line: str | Block) -> None:
        if isinstance(line, Block):
            try:
                self.display.post_block(self.room, line)
            except ChatError as error:
                self._not_sent(error)
            return
        if not line.strip():
            return
        text = run_line(self, line)
        if text is None:
            return
        is_gone = self.chat.session is not None and self._screen.take_back()
        if not self.talk(text) and is_gone:
            self.say_rows(f"  {visible(text)}")

    def talk(self, text: str, *, announce: bool = False) -> bool:
        """Say something in this room; what becomes of it is shown as it happens. False where it
        can't even be sent, which is said."""
        try:
            self.chat.post(self.room, text, announce=announce)
        except ChatError as error:
            self._not_sent(error)
            return False
        return True

    def _not_sent(self, error: ChatError) -> None:
        self._failed = True
        advice = " Type /login to log in again." if self.chat.session is None else ""
        self.say(f"Not sent: {visible(str(error))}.{advice}", self._palette.bad)

    def _say_goodbye(self, *, patient: bool) -> None:
        """Wait for what is on its way, then end the session, so that nobody can use its key, unless
        it is to be kept."""
        try:
            if patient:
                self._wait_until_stored()
        finally:
            self._tell_losses()
        session = self.chat.session
        if (
            session is None
            or not session.extended
            or (self._options.keep is not None and self._options.keep(session))
        ):
            return
        if self.chat.online:
            with contextlib.suppress(ChatError):  # then the key dies by itself after a day
                self.chat.request("logout", timeout=2.0)

    def _wait_until_stored(self) -> None:
        """Wait until every own message has come to its end, for as long as they do so."""
        deadline, told = Deadline(GRACE_SECONDS), Deadline(WAIT_TOLD_SECONDS)
        before = self.chat.pending
        while (pending := self.chat.pending) and self.chat.session and not deadline.is_over():
            if pending < before:
                before, deadline = pending, Deadline(GRACE_SECONDS)
            if told.is_over() and self._screen.is_terminal:
                told = Deadline(None)
                waits = counted(pending, "message")
                self.say(f"{waits} still on the way; waiting. Ctrl-C ends without.")
            time.sleep(0.02)

    def _tell_losses(self) -> None:
        """Say how many own messages were not stored, as far as that is known."""
        lost, unknown = self.chat.stop_sending()
        if lost:
            were = "was" if lost == 1 else "were"
            self.say(f"{counted(lost, 'message')} {were} not stored.", self._palette.bad)
        if unknown:
            self.say(
                f"{counted(unknown, 'message')} may be stored or not: the server had not answered "
                "yet. The history shows it.",
                self._palette.bad,
            )
        self._failed = self._failed or bool(lost or unknown)

    # --- Logging in ---

    def _resumed(self) -> bool:
        """Take the session up that was kept; False where there is none, or the server has forgotten
        it."""
        user, key = self._options.user, self._options.session_key
        if user is None or key is None:
            return False
        try:
            self.chat.resume(user, key)
        except LoginRefused:
            self.say("The session that was kept has ended; please log in.")
            return False
        self._logged_in()
        return True

    def _log_in(self, user: str | None, password: str | None) -> int:
        """Ask for what is not given, and log in; return an exit status."""
        if not self._login.run(user, password, take_over=self._options.take_over):
            return LOGIN_REFUSED
        self._logged_in()
        return OK

    def _logged_in(self) -> None:
        session = self.chat.session
        if session is not None:
            if self._last_name not in ("", session.chatid):  # what another user knew
                self.display.rooms.forget()
                self.display.restrictions.forget()
            self._last_name = session.chatid
            self.display.names.meet(session.chatid)
        self._since = time.strftime("%H:%M")

    def log_in_again(self) -> None:
        """Ask for name and password, after the server has ended the session."""
        if self.chat.session is not None:
            self.say("You are logged in.")
        elif self._log_in(None, None) == OK:
            self.say("You are logged in again.", self._palette.good)

    def change_password(self) -> None:
        """Ask for the old and the new password, and change it."""
        self._login.change_password()

    def _welcome(self) -> None:
        session = self.chat.session
        if session is None:  # the server has ended it already; the event says why
            return
        self.say(
            f"You are {visible(session.chatid)} on {visible(self.chat.host)} port "
            f"{self.chat.port}. Type to talk, /help for help."
        )
        if session.extended:
            with contextlib.suppress(ChatError):  # their names come with /rooms
                self.remember_rooms(self.chat.rooms())
            unread = self.display.rooms.all_unread()
            if unread:
                self.say(f"Waiting for you: {', '.join(unread)}.")
        self.enter(self.room)

    # --- Rooms ---

    def find_room(self, word: str) -> str:
        """Return the id of the room that is meant by a name, an id or its number."""
        return self.display.rooms.find(word)

    def is_known(self, room_id: str) -> bool:
        """Return whether the room was listed, made, or spoken in."""
        return self.display.rooms.is_known(room_id)

    def room_number(self, room_id: str) -> int | None:
        """Return the number of a room, which never changes; None where it has none."""
        return self.display.rooms.number_of(room_id)

    def remember_name(self, room_id: str, name: str) -> None:
        """Remember how people call a room that is none of the user's."""
        self.display.rooms.begin(room_id, name)

    def remember_rooms(self, rooms: list[Room]) -> None:
        """Remember the rooms; new ones get the next numbers."""
        self.display.rooms.remember(rooms)
        for room in rooms:
            self.display.restrictions.set_room(room.room_id, read_only=room.read_only)

    def unread_in_words(self, room_id: str) -> str:
        """Return what in a room was not looked at; "" for nothing."""
        return self.display.rooms.unread_in_words(room_id)

    def remember_files(self, names: list[str]) -> None:
        """Remember names that can be completed."""
        self.display.names.set_files(names)

    def remember_people(self, names: list[str]) -> None:
        """Remember names that can be completed."""
        for name in names:
            self.display.names.meet(name)

    def enter(self, room_id: str, *, note: str = "") -> None:
        """Make this the room in which is spoken, and show the end of its history."""
        self.display.room = room_id
        unread = self.display.rooms.looked_at(room_id)
        self.say(f"You are in {self.name_of(room_id)}.{' ' + note if note else ''}")
        if note:
            return
        try:
            page = self.chat.history(
                room_id, before_id=None, limit=min(max(FIRST_MESSAGES, unread), MOST_FIRST_MESSAGES)
            )
        except ChatError as error:
            if getattr(error, "code", "") == ErrorCode.ROOM_NOT_FOUND and not room_id.startswith(
                "p-"
            ):
                self.say(
                    "There is no such room yet: the first message that you type makes it. /rooms "
                    "lists those that there are."
                )
            else:
                self.say(f"There is no history: {visible(str(error))}")
            return
        for message in page.messages:
            self.show_message(message)

    # --- Tab ---

    def _complete(self, before: str) -> list[str]:
        return completions(before, self._words())

    def _words(self) -> Words:
        names = self.display.names
        rooms = [room.name for room in self.display.rooms.all()]
        commands = [f"/{name}" for name in commands_for(self)]
        people, files = names.people(), names.files()
        return Words(commands, rooms, people, files, MODES, self.display.recent.of(self.room))

    # --- Files, and the rest of what a command may use ---

    def send_file(self, path: Path) -> None:
        """Send a file, while the chat goes on."""
        self._transfers.add(Job("send", self.room, str(path), path.name))

    def fetch_file(self, name: str) -> None:
        """Fetch a file, while the chat goes on."""
        self._transfers.add(Job("fetch", self.room, name, name))

    def cancel_transfer(self) -> None:
        """Stop the running transfer."""
        if not self._transfers.cancel():
            self.say("No file is being sent or fetched.")

    def retry(self) -> None:
        """Send the last refused message again."""
        refused = self.display.take_refused()
        if refused is None:
            self.say("There is no refused message.")
        else:
            self.chat.post(refused.room_id, refused.content)

    def act(
        self, action: str, data: Mapping[str, Any], event: str, about: str
    ) -> Mapping[str, Any]:
        """Do a teacher's act; return the answer's data."""
        self.display.own_acts.expect(event, about)
        return self.chat.request(action, data)

    def show_ids(self, on: bool) -> None:
        """Show the number of each message from now on, or no longer."""
        self.display.shows_ids = on

    def show_packets(self, mode: str) -> None:
        """Show each packet from now on, `brief` or `full`, or none: `off`."""
        self._packets.mode = mode
        self.chat.trace_packets(None if mode == "off" else self._packets)

    def packets_shown(self) -> str:
        """Return how packets are shown: a word of `MODES`."""
        return self._packets.mode

    def status_lines(self) -> list[str]:
        """Return what goes on in this client, line by line."""
        session = self.chat.session
        encrypted = "encrypted" if self.chat.encrypted else "not encrypted"
        where = f"{visible(self.chat.host)} port {self.chat.port}, {encrypted}"
        try:
            answer = (
                f"answers in {self.chat.ping() * 1000:.1f} ms"
                if self.chat.online
                else "connection down, trying again"
            )
        except ConnectionLost as error:
            answer = visible(str(error))
        who = (
            f"logged in as {visible(session.chatid)} since {self._since}"
            if session is not None
            else "not logged in"
        )
        granted = visible(", ".join(session.features)) if session is not None else ""
        features = f" Granted: {granted}." if granted else ""
        kind = (
            ""
            if session is None or session.extended
            else " This server knows the 24 packets of the course only."
        )
        unread = self.display.rooms.all_unread()
        rooms = counted(len(self.display.rooms.all()), "room")
        return [
            f"Server {where}: {answer}.{kind}",
            f"You are {who}.{features}",
            f"You speak in {self.name_of(self.room)}; {rooms} known, unread: "
            f"{', '.join(unread) or 'nothing'}.",
            f"Own messages on their way: {self.chat.pending}. Packets shown: "
            f"{self.packets_shown()}.",
            self._transfers.status(),
        ]
