"""The line client: type to talk, with commands after a slash.

Owns the dialogue: logging in, which room is spoken in, what is shown of each event, and the thread that sends and fetches files. The
screen is `client.prompt`'s, the network `client.connection`'s. Three threads: the one that reads what is typed, "chat-screen", which
shows events, and "chat-transfer".

A line of chat always begins with a time, a line of the client's own with a star; what others wrote can't begin a row.
"""

from __future__ import annotations

import queue
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import protocol
from client import events
from client.commands import COMMANDS, Quit, run_line
from client.connection import Connection
from client.errors import CannotConnect, ChatError, ConnectionLost, LoginRefused
from client.events import State
from client.prompt import PlainScreen
from client.records import Room
from client.text import size_in_words, visible
from client.transfers import download, upload

OK: Final = 0
FAILED: Final = 1
CANNOT_CONNECT: Final = 3
LOGIN_REFUSED: Final = 4
INTERRUPTED: Final = 130
MAX_LOGINS: Final = 3
FIRST_MESSAGES: Final = 10
GRACE_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    room: str = "lobby"
    download_folder: Path = Path("downloads")
    take_over: bool = False


class LineClient:
    """The dialogue of one user; implements `client.commands.Desk`."""

    def __init__(self, chat: Connection, screen: PlainScreen, options: Options) -> None:
        self.chat = chat
        self.room = options.room
        self._screen = screen
        self._options = options
        self._failed = False  # a message was refused or a file not transferred
        self._quitting = threading.Event()
        self._lock = threading.Lock()  # guards the next four: the typing thread and chat-screen both use them
        self._rooms: list[Room] = []
        self._people: set[str] = set()
        self._files: list[str] = []
        self._refused: events.OwnMessage | None = None
        self._transfers = Transfers(chat, screen, self.say, options.download_folder)

    # --- From the beginning to the end ---

    def run(self) -> int:
        """Talk until the user goes; returns the exit status."""
        try:
            self.chat.connect()
            status = self._log_in(self._options.user, self._options.password)
            return self._talk() if status == OK else status
        except CannotConnect as error:
            print(f"{visible(error.what)}\n{visible(error.advice)}", file=sys.stderr)
            return CANNOT_CONNECT
        except ChatError as error:
            print(visible(str(error)), file=sys.stderr)
            return FAILED
        except EOFError:
            return OK
        except KeyboardInterrupt:
            self._screen.show("")
            return INTERRUPTED
        finally:
            self.chat.close()

    def _talk(self) -> int:
        shower = threading.Thread(target=self._show_events, name="chat-screen", daemon=True)
        shower.start()
        self._screen.complete_with(self._completions)
        self._welcome()
        status = INTERRUPTED
        try:
            status = self._read_lines()
        except KeyboardInterrupt:
            pass
        finally:
            self._quitting.set()
            try:
                self._say_goodbye(patient=status != INTERRUPTED)
            except KeyboardInterrupt:  # a second time: don't wait any more
                status = INTERRUPTED
            self.chat.close()
            shower.join(2.0)
        if status == OK and not self._screen.is_terminal and (self._failed or self._transfers.failed):
            return FAILED
        return status

    def _read_lines(self) -> int:
        """Do what is typed until the end; returns the exit status."""
        while not self._screen.broken:
            try:
                line = self._screen.read_line(f"[{self.name_of(self.room)}] ")
            except EOFError:
                if self._screen.is_terminal:
                    self._screen.show("")
                else:
                    self._transfers.finish()
                return LOGIN_REFUSED if self.chat.session is None and not self._screen.is_terminal else OK
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

    def _do(self, line: str) -> None:
        if not line.strip():
            return
        text = run_line(self, line)
        if text is None:
            return
        try:
            self.chat.post(self.room, text)
        except ChatError as error:
            self._failed = True
            self.say(f"Not sent: {visible(str(error))}. Type /login to log in again." if self.chat.session is None
                     else f"Not sent: {visible(str(error))}.")  # fmt: skip

    def _say_goodbye(self, *, patient: bool) -> None:
        """Wait for what is on its way, then end the session, so that nobody can use its key."""
        deadline = time.monotonic() + (GRACE_SECONDS if patient else 0.0)
        while self.chat.pending and self.chat.session is not None and time.monotonic() < deadline:
            time.sleep(0.02)
        if self.chat.pending:
            self._failed = True
            self.say(f"{self.chat.pending} messages were not stored.")
        if self.chat.online and self.chat.session is not None and self.chat.session.extended:
            try:
                self.chat.request("logout", timeout=2.0)
            except ChatError:
                pass  # then the key dies by itself after a day

    # --- Logging in ---

    def _log_in(self, user: str | None, password: str | None) -> int:
        """Ask what is not given, and log in; returns an exit status."""
        new = False
        if user is None:
            new = self._ask_whether_new()
        take_over = self._options.take_over
        for attempt in range(MAX_LOGINS):
            name = user or self._screen.ask("Name: ").strip()
            problem = protocol.chatid_problem(name) if new else None if name else "expected a name"
            if problem is not None:
                self.say(f"That can't be a name: {problem}.")
            else:
                secret = password if password is not None else self._ask_password(new)
                if secret is not None and self._try_login(name, secret, new, take_over):
                    return OK
            if password is not None or not self._screen.is_terminal or attempt == MAX_LOGINS - 1:
                break
            if not new and not take_over:
                answer = self._screen.ask("Try again, or take the place of a session of yours that is still open? [try/take] ")
                take_over = answer.strip().lower() in ("take", "t")
        return LOGIN_REFUSED

    def _ask_whether_new(self) -> bool:
        while True:
            answer = self._screen.ask("Log in, or register a new name? [login/register] ").strip().lower()
            if answer in ("", "l", "login", "log in"):
                return False
            if answer in ("r", "register"):
                return True
            self.say("Please type login or register.")

    def _ask_password(self, new: bool) -> str | None:
        """A password, typed twice where it is new; None, after saying why, where there is none to go on with."""
        secret = self._screen.ask_hidden("Password: ")
        problem = protocol.password_problem(secret)
        if problem is not None:
            self.say(f"That can't be a password: {problem}.")
            return None
        if new and self._screen.is_terminal and self._screen.ask_hidden("Password again: ") != secret:
            self.say("The two passwords differ.")
            return None
        return secret

    def _try_login(self, name: str, password: str, new: bool, take_over: bool) -> bool:
        """Log in, after registering where the name is new; False, after saying why, where it was refused."""
        try:
            if new:
                self.chat.register(name, password)
            session = self.chat.login(name, password, take_over=take_over)
        except LoginRefused as error:
            self.say(f"The server refused: {visible(error.message.rstrip('.'))}.")
            return False
        with self._lock:
            self._people.add(session.chatid)
        return True

    def log_in_again(self) -> None:
        """Ask for name and password, after the server has ended the session."""
        if self.chat.session is not None:
            self.say("You are logged in.")
        elif self._log_in(None, None) == OK:
            self.say("You are logged in again.")

    def change_password(self) -> None:
        """Ask for the old and the new password, and change it."""
        old, new = self._screen.ask_hidden("Old password: "), self._ask_password(True)
        if new is not None:
            self.chat.change_password(old, new)
            self.say("Your password is changed.")

    def _welcome(self) -> None:
        session = self.chat.session
        if session is None:  # the server has ended it already; the event says why
            return
        self.say(f"You are {visible(session.chatid)} on {visible(self.chat.host)} port {self.chat.port}. Type to talk, /help for help.")
        if session.extended:
            try:
                rooms = self.chat.rooms()
            except ChatError:
                rooms = []
            self.remember_rooms(rooms)
            unread = [f"{visible(room.name)} {room.unread}" for room in rooms if room.unread]
            if unread:
                self.say(f"Unread: {', '.join(unread)}.")
        self.enter(self.room)

    # --- What is shown ---

    def say(self, text: str) -> None:
        """Show a line of the client's own; the caller has made foreign text in it harmless."""
        self._screen.show("\n".join("* " + line for line in text.split("\n")))

    def show_message(self, message: events.Message) -> None:
        """Show a line of chat."""
        # The brackets are ours: a room called `x] teacher: go home [y` must not look like a line of the teacher's.
        name = self.name_of(message.room_id).replace("[", "\\x5b").replace("]", "\\x5d")
        room = "" if message.room_id == self.room else f"[{name}] "
        self._screen.show(f"{local_time(message.timestamp)} {room}{visible(message.sender)}: {visible(message.content)}")

    def _show_events(self) -> None:
        while True:
            try:
                for event in self.chat.events():
                    self._SHOW[type(event)](self, event)
                return
            except ChatError:  # the session has ended; `/login` may begin another
                while self.chat.session is None:
                    if self._quitting.wait(0.1):
                        return

    def _on_message(self, event: events.Message) -> None:
        with self._lock:
            self._people.add(event.sender)
        if event.corrected:
            self.say("The same message came again, with other letters:")
        self.show_message(event)
        session = self.chat.session
        if session is not None and _is_named(session.chatid, event.content):
            self._screen.ring()

    def _on_disagreed(self, event: events.CountsDisagreed) -> None:
        self.say(f"The letter counts of the message of {visible(event.message.sender)} differ; the server sends it again.")

    def _on_file(self, event: events.FileShared) -> None:
        with self._lock:
            self._files.append(event.file_path)
        name = visible(event.file_path)
        self.say(f"{visible(event.sender)} put the file {name} ({size_in_words(event.file_size)}) into {self.name_of(event.room_id)}; "
                 f"fetch it there with /get {name}")  # fmt: skip

    def _on_own(self, event: events.OwnMessage) -> None:
        if event.state is State.REFUSED:
            self._failed = True
            with self._lock:
                self._refused = event
            self.say(f"Not stored: {visible(str(event.error))}. Type /retry to send it again: {visible(event.content)}")
        elif event.state is State.STORED:
            number = f" as message {event.message_id}" if event.message_id is not None else ""
            self._own_line(f"* stored{number}: sent, counts agree, stored", event)
        elif self._screen.can_replace:
            waiting = "" if self.chat.online else "; the connection is down, it goes out when that is back"
            self._own_line(f"* {event.state.value}{waiting}", event)

    def _own_line(self, text: str, event: events.OwnMessage) -> None:
        self._screen.show(text, key=f"message {event.transaction_id}")

    def _on_lost(self, event: events.Lost) -> None:
        if event.attempt == 1:
            self.say(f"The connection is lost: {visible(event.reason)}. Trying to get it back.")
        else:
            self.say(f"Attempt {event.attempt} in {event.retry_seconds:g} seconds: {visible(event.reason)}")

    def _on_back(self, event: events.Back) -> None:
        missed = f" {event.missed} messages came while you were away." if event.missed else ""
        self.say(f"The connection is back.{missed}")

    def _on_logged_out(self, event: events.LoggedOut) -> None:
        self.say(f"You are logged out: {visible(event.reason)}\nPerhaps somebody logged in with your name elsewhere, or your password "
                 "was changed. Type /login to log in again, or /quit.")  # fmt: skip

    def _on_server_event(self, event: events.ServerEvent) -> None:
        who, room = visible(event.chatid), visible(event.name) or self.name_of(event.room_id)
        text = {
            "user_online": f"{who} is on.", "user_offline": f"{who} is gone.", "room_created": f"There is a new room: {room}",
            "room_renamed": f"A room has a new name: {room}", "room_deleted": f"The room {room} was deleted.",
            "user_added": f"{who} is now a member of {room}.", "user_removed": f"{who} is no longer a member of {room}.",
            "server_closing": "The server is closing.",
        }.get(event.kind)  # fmt: skip
        with self._lock:
            if event.kind == "user_online":
                self._people.add(event.chatid)
            if event.kind in ("room_created", "room_renamed") and event.room_id:
                self._rooms = [known for known in self._rooms if known.room_id != event.room_id]
                self._rooms.append(Room(event.room_id, event.name, None, event.room_id.startswith("p-"), 0, 0, 0))
        if text is not None:
            self.say(text)

    def _on_gap(self, event: events.Gap) -> None:
        self.say(f"{event.count} lines came too quickly to be shown; see /history.")

    def _on_trouble(self, event: events.Trouble) -> None:
        self.say(f"The server sent something that could not be understood: {visible(event.text)}")

    _SHOW: Final[dict[type, Callable[..., None]]] = {
        events.Message: _on_message, events.CountsDisagreed: _on_disagreed, events.FileShared: _on_file, events.OwnMessage: _on_own,
        events.Lost: _on_lost, events.Back: _on_back, events.LoggedOut: _on_logged_out, events.ServerEvent: _on_server_event,
        events.Gap: _on_gap, events.Trouble: _on_trouble,
    }  # fmt: skip

    # --- Rooms ---

    def name_of(self, room_id: str) -> str:
        """A room as people call it, harmless to show."""
        with self._lock:
            names = [room.name for room in self._rooms if room.room_id == room_id]
        return visible(names[0] if names else room_id)

    def find_room(self, word: str) -> str:
        """The id of the room that is meant by a name, an id or a number of the last list."""
        with self._lock:
            rooms = list(self._rooms)
        for room in rooms:
            if room.room_id == word:
                return word
        named = [room.room_id for room in rooms if room.name.casefold() == word.casefold()]
        if named:
            return named[0]
        if word.isascii() and word.isdigit() and 1 <= int(word) <= len(rooms):
            return rooms[int(word) - 1].room_id
        return word

    def remember_rooms(self, rooms: list[Room]) -> None:
        """The rooms, in the order of their numbers."""
        with self._lock:
            self._rooms = list(rooms)

    def remember_files(self, names: list[str]) -> None:
        """Names that can be completed."""
        with self._lock:
            self._files = list(names)

    def enter(self, room_id: str, *, note: str = "") -> None:
        """Make this the room in which is spoken, and show the end of its history."""
        self.room = room_id
        self.say(f"You are in {self.name_of(room_id)}.{' ' + note if note else ''}")
        if note:
            return
        try:
            page = self.chat.history(room_id, before_id=None, limit=FIRST_MESSAGES)
        except ChatError as error:
            self.say(f"There is no history: {visible(str(error))}")
            return
        for message in page.messages:
            self.show_message(message)

    def _completions(self) -> list[str]:
        with self._lock:
            rooms = [room.name for room in self._rooms]
            words = {*("/" + name for name in COMMANDS), *rooms, *self._people, *self._files}
        return sorted(word for word in words if visible(word) == word)  # readline writes them as they are

    # --- Files, and the rest of the desk ---

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
        with self._lock:
            refused, self._refused = self._refused, None
        if refused is None:
            self.say("There is no refused message.")
        else:
            self.chat.post(refused.room_id, refused.content)

    def status_lines(self) -> list[str]:
        """What goes on in this client."""
        session = self.chat.session
        where = f"{visible(self.chat.host)} port {self.chat.port}"
        try:
            answer = f"answers in {self.chat.ping() * 1000:.0f} ms" if self.chat.online else "connection down, trying again"
        except ConnectionLost as error:
            answer = visible(str(error))
        who = f"logged in as {visible(session.chatid)}" if session is not None else "not logged in"
        lines = [f"Server {where}: {answer}", f"You are {who}, in {self.name_of(self.room)}.",
                 f"Own messages on their way: {self.chat.pending}."]  # fmt: skip
        return [*lines, self._transfers.status()]


def _is_named(chatid: str, content: str) -> bool:
    return re.search(rf"(?<![\w@])@{re.escape(chatid)}(?![\w-])", content, re.IGNORECASE) is not None


def local_time(timestamp: str) -> str:
    """A time of the protocol by this machine's clock and zone; with its date where that is not today's."""
    try:
        moment = time.localtime(protocol.parse_time(timestamp))
    except (ValueError, OverflowError, OSError):
        return "--:--"
    today = time.localtime()
    return time.strftime("%H:%M" if moment[:3] == today[:3] else "%Y-%m-%d %H:%M", moment)


# --- Files, in a thread of their own ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One file to send (`what` is its path) or to fetch (`what` is its name)."""

    kind: str
    room: str
    what: str
    name: str


class Transfers:
    """Sends and fetches files one after the other while the chat goes on."""

    def __init__(self, chat: Connection, screen: PlainScreen, say: Callable[[str], None], folder: Path) -> None:
        self._chat = chat
        self._screen = screen
        self._say = say
        self._folder = folder
        self._jobs: queue.Queue[Job] = queue.Queue()
        self._lock = threading.Lock()  # guards the three below
        self._running: tuple[Job, threading.Event, Progress] | None = None
        self._thread: threading.Thread | None = None
        self.failed = 0

    def add(self, job: Job) -> None:
        """Do a job after those that wait."""
        self._jobs.put(job)
        with self._lock:
            waits = self._running is not None
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="chat-transfer", daemon=True)
                self._thread.start()
        if waits:
            self._say(f"{visible(job.name)} waits for the file before it.")

    def cancel(self) -> bool:
        """Stop the running job; False where there is none."""
        with self._lock:
            if self._running is None:
                return False
            self._running[1].set()
            return True

    def finish(self) -> None:
        """Wait until all jobs are done; each of them ends by itself when nothing moves."""
        while self._jobs.unfinished_tasks:
            time.sleep(0.02)

    def status(self) -> str:
        """The running job in a line."""
        with self._lock:
            if self._running is None:
                return "No file is being sent or fetched."
            job, _, progress = self._running
        waiting = f"; {self._jobs.qsize()} more wait" if self._jobs.qsize() else ""
        return progress.text(job) + waiting

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            cancel, progress = threading.Event(), Progress(self._screen, job)
            with self._lock:
                self._running = (job, cancel, progress)
            try:
                self._say(self._do(job, cancel, progress))
            except ChatError as error:
                self.failed += 1
                self._say(f"{visible(job.name)} was not {_done_word(job)}: {visible(str(error))}.")
            finally:
                with self._lock:
                    self._running = None
                self._jobs.task_done()

    def _do(self, job: Job, cancel: threading.Event, progress: Progress) -> str:
        if job.kind == "send":
            sent = upload(self._chat, job.room, job.what, progress=progress, cancel=cancel)
            return f"{visible(sent.stored_as)} is sent, {size_in_words(sent.size)}, SHA-256 {sent.sha256[:16]}… agrees."
        path = download(self._chat, job.room, job.what, self._folder, progress=progress, cancel=cancel)
        return f"{visible(job.name)} is fetched whole and lies in {visible(str(path))}"


def _done_word(job: Job) -> str:
    return "sent" if job.kind == "send" else "fetched"


class Progress:
    """Shows how far a transfer is: one line that changes on a terminal, a line each 10 % elsewhere."""

    def __init__(self, screen: PlainScreen, job: Job) -> None:
        self._screen = screen
        self._job = job
        self._begin: float | None = None
        self._first = 0
        self._shown_at = 0.0
        self._shown_tenth = 0
        self._done = 0
        self._total = 0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._begin is None:
            self._begin, self._first = now, done
        self._done, self._total = done, total
        tenth = done * 10 // total if total else 10
        if self._screen.can_replace:
            if now - self._shown_at >= 0.2 or done == total:
                self._shown_at = now
                self._screen.show("* " + self.text(self._job), key=f"file {id(self)}")
        elif tenth > self._shown_tenth:
            self._shown_tenth = tenth
            self._screen.show("* " + self.text(self._job))

    def text(self, job: Job) -> str:
        """Bytes, rate and time left in words."""
        verb = "Sending" if job.kind == "send" else "Fetching"
        percent = self._done * 100 // self._total if self._total else 100 if self._begin is not None else 0
        text = f"{verb} {visible(job.name)}: {percent} %, {size_in_words(self._done)} of {size_in_words(self._total)}"
        seconds = time.monotonic() - self._begin if self._begin is not None else 0.0
        moved = self._done - self._first
        if seconds > 0.5 and moved:
            left = (self._total - self._done) * seconds / moved
            text += f", {size_in_words(int(moved / seconds))}/s, {left:.0f} s left"
        return text
