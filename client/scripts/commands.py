"""The commands for scripts: `send`, `tail`, `history`, `put`, `get`, `rooms`, `who`, each for one
login and one purpose.

Owns their options, what they print and their exit status. Data goes to stdout, talk and progress to
stderr; with `--json` the data are one object a line. Never uses the key of a kept session, and
never asks. For the main thread.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final, TextIO

import protocol
from client.base.text import local_file_name, size_in_words, visible
from client.connection import Connection
from client.errors import (
    CannotConnect,
    ChatError,
    ConnectionLost,
    CountsDiffer,
    HashDiffers,
    LoginRefused,
    NoAnswer,
    ProtocolBroken,
    ServerError,
    TransferFailed,
)
from client.events import (
    Disconnected,
    EventsDropped,
    FileShared,
    Message,
    ProtocolViolation,
    Reconnected,
)
from client.records import Room, Users
from client.session.requests import ANSWER_SECONDS
from client.transfers import download, upload

OK: Final = 0
FAILED: Final = 1
WRONG_USE: Final = 2
CANNOT_CONNECT: Final = 3
LOGIN_REFUSED: Final = 4
DISAGREE: Final = 5
PROTOCOL_BROKEN: Final = 6
INCOMPLETE: Final = 7
INTERRUPTED: Final = 130
STATUSES: Final = (
    "0 ok, 1 something else failed, 2 wrong options, 3 cannot connect or the connection was lost, 4 login refused, 5 letter counts or "
    "SHA-256 disagree, 6 the server breaks the protocol, 7 a file was not sent or fetched whole, 130 ended by Ctrl-C"
)

SECONDS: Final = 30.0
HISTORY: Final = 20
PAGE: Final = 500


class WrongUse(Exception):
    """What was typed can't be done; the text says what was expected."""


class NoReader(Exception):
    """Nobody reads stdout any more."""


class Failure(Exception):
    """The command failed for another reason than the network; the text says why."""


@dataclass(frozen=True)
class Login:
    """Where to, and as whom. `timeout` is None where the user named none."""

    host: str
    port: int
    tls: bool
    cafile: str | None
    user: str
    password: str = field(repr=False)
    take_over: bool = False
    timeout: float | None = None


# --- Output ---------------------------------------------------------------------------------------


class Output:
    """Data to stdout, as text or as JSON; talk to stderr."""

    def __init__(
        self, as_json: bool, stdout: TextIO | None = None, stderr: TextIO | None = None
    ) -> None:
        self.as_json = as_json
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        self._shown_at = 0.0

    def data(self, item: Mapping[str, Any], text: str) -> None:
        """One item: an object of JSON in ASCII, or `text`, which is harmless already. Raises
        `NoReader`."""
        try:
            print(json.dumps(item) if self.as_json else text, file=self._stdout, flush=True)
        except (OSError, ValueError) as error:  # ValueError: closed
            raise NoReader from error

    def bytes(self, path: Path) -> None:
        """The content of a file as it is. Raises `NoReader`."""
        try:
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    self._stdout.buffer.write(block)
            self._stdout.buffer.flush()
        except BrokenPipeError as error:
            raise NoReader from error

    def talk(self, text: str) -> None:
        """A line for people; it is no loss where nobody reads it."""
        try:
            print(text, file=self._stderr, flush=True)
        except (OSError, ValueError):
            pass

    def progress(self, verb: str, name: str) -> Callable[[int, int], None]:
        """Shows how far a file is, in one line, where stderr is a terminal."""

        def show(done: int, total: int) -> None:
            now = time.monotonic()
            if not self._stderr.isatty() or (done < total and now - self._shown_at < 0.2):
                return
            self._shown_at = now
            percent = done * 100 // total if total else 100
            text = f"{verb} {visible(name)}: {percent} %, {size_in_words(done)} of {size_in_words(total)}"
            print(f"\r{text:<70}", end="\n" if done == total else "", file=self._stderr, flush=True)

        return show


def message_item(message: Message) -> dict[str, Any]:
    """A message under the names of the protocol."""
    return {
        "type": "message",
        "room_id": message.room_id,
        "message_id": message.message_id,
        "sender_chatid": message.sender,
        "content": message.content,
        "timestamp": message.timestamp,
    }


def message_text(message: Message) -> str:
    """A message as one harmless line, its time by this machine's clock and zone."""
    return f"{_local(message.timestamp)} {visible(message.sender)}: {visible(message.content)}"


def _local(timestamp: str) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(protocol.parse_time(timestamp)))
    except (ValueError, OverflowError, OSError):
        return visible(timestamp) or "(no time)"


# --- The connection of a script -------------------------------------------------------------------


class Patient(Connection):
    """A connection whose questions all end by one deadline; None = each has time of its own."""

    def __init__(self, login: Login) -> None:
        self._seconds = seconds = login.timeout or SECONDS
        self.deadline: float | None = time.monotonic() + seconds
        super().__init__(
            login.host, login.port, timeout=seconds, features=(), tls=login.tls, cafile=login.cafile
        )

    def left(self) -> float:
        """Seconds until the deadline."""
        return (
            ANSWER_SECONDS if self.deadline is None else max(0.1, self.deadline - time.monotonic())
        )  # a last answer may be there

    def request(
        self, action: str, data: Mapping[str, Any] | None = None, *, timeout: float = ANSWER_SECONDS
    ) -> Mapping[str, Any]:
        """As `Connection.request`, but not beyond the deadline."""
        if self.deadline is None or timeout <= self.left():
            return super().request(action, data, timeout=timeout)
        try:
            return super().request(action, data, timeout=self.left())
        except NoAnswer:
            raise NoAnswer(
                f"the server did not answer {action} before the {self._seconds:g} s of --timeout were over"
            ) from None

    def broken_protocol(self) -> str:
        """What the server last sent that was no packet; "" where all was well. Takes all events
        that wait."""
        found = ""
        try:
            while (event := self.next_event(0.0)) is not None:
                if isinstance(event, ProtocolViolation):
                    found = event.text
        except ChatError:
            pass
        return found


def run(login: Login, given: argparse.Namespace, out: Output | None = None) -> int:
    """Log in, do the command that `given` names, log out; returns the exit status, and has said why
    where it is not 0."""
    out = out or Output(given.json)
    command = COMMANDS[given.command]
    chat: Patient | None = None
    try:
        command.check(given)
        chat = Patient(login)
        chat.login(login.user, login.password, take_over=login.take_over)
        command.run(Work(chat, given, out, login.timeout))
    except WrongUse as error:
        out.talk(f"{given.command}: {error}")
        return WRONG_USE
    except Failure as error:
        out.talk(str(error))
        return FAILED
    except NoReader:
        return FAILED
    except ChatError as error:
        status, text = explain(error, chat)
        if status == LOGIN_REFUSED and not login.take_over:
            text += (
                f"\nEither the name or the password is wrong, or {visible(login.user)} is on from another window or script: "
                "--take-over ends that session."
            )
        out.talk(text)
        return status
    finally:
        if chat is not None:
            _leave(chat)
    return OK


def _leave(chat: Patient) -> None:
    """End the session, so that its key can't be used, and its place is free at once."""
    try:
        if chat.session is not None and chat.online:
            chat.deadline = None
            chat.request("logout", timeout=2.0)
    except ChatError:
        pass  # then the key dies by itself after a day
    finally:
        chat.close()


def explain(error: ChatError, chat: Patient | None = None) -> tuple[int, str]:
    """The exit status of an error, and its words."""
    if isinstance(error, CannotConnect):
        return CANNOT_CONNECT, f"{visible(error.what)}\n{visible(error.advice)}"
    if isinstance(error, LoginRefused):
        return LOGIN_REFUSED, f"The server refused: {visible(str(error).rstrip('.'))}."
    if isinstance(error, (CountsDiffer, HashDiffers)):
        return DISAGREE, f"Not done: {visible(str(error))}."
    if isinstance(error, ProtocolBroken) or (
        isinstance(error, ServerError) and error.code == "unknown_action"
    ):
        return PROTOCOL_BROKEN, f"The server does not keep to the protocol: {visible(str(error))}."
    if isinstance(error, ServerError):
        return FAILED, f"The server refused: {visible(str(error).rstrip('.'))}."
    if isinstance(error, TransferFailed):
        status = FAILED if isinstance(error.__cause__, ServerError) else INCOMPLETE
        return status, f"The file was not transferred: {visible(str(error))}."
    broken = chat.broken_protocol() if chat is not None else ""
    if broken:
        return PROTOCOL_BROKEN, f"The server does not keep to the protocol: {visible(broken)}"
    return CANNOT_CONNECT, f"The connection was lost: {visible(str(error))}."


# --- The commands ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """What a command works with. `timeout` is None where the user named none."""

    chat: Patient
    given: argparse.Namespace
    out: Output
    timeout: float | None

    def room(self, *, new: bool = False) -> str:
        """The id of the room that was named by id or name; with `new` one that does not exist yet
        may be named."""
        word = self.given.room
        session = self.chat.session
        if session is None or not session.extended:
            return str(word)
        rooms = self.chat.rooms()
        if any(room.room_id == word for room in rooms):
            return str(word)
        named = [room.room_id for room in rooms if room.name.casefold() == word.casefold()]
        if len(named) == 1:
            return named[0]
        if named:
            raise Failure(
                f"{len(named)} rooms are called {visible(word)}; name one by its id: {', '.join(map(visible, named))}"
            )
        if new:
            return str(word)
        known = ", ".join(visible(room.name) for room in rooms[:20])
        more = f" and {len(rooms) - 20} more" if len(rooms) > 20 else ""
        hint = "; --new-room makes it" if hasattr(self.given, "new_room") else ""
        raise Failure(f"There is no room called {visible(word)}{hint}. There are: {known}{more}")


def _send(work: Work) -> None:
    room_id = work.room(new=work.given.new_room)
    for text in work.given.texts:
        sent = work.chat.send(room_id, text, timeout=work.chat.left())
        work.out.data(
            {
                "type": "stored",
                "room_id": room_id,
                "message_id": sent.message_id,
                "timestamp": sent.timestamp,
                "content": text,
            },
            f"stored{'' if sent.message_id is None else f' as message {sent.message_id}'}: sent, counts agree, stored",
        )
        work.chat.deadline = time.monotonic() + (work.timeout or SECONDS)


def _check_send(given: argparse.Namespace) -> None:
    """Read what is to be sent before anything else is done; leaves it in `texts`."""
    text = _standard_input() if given.text == ["-"] else " ".join(given.text)
    given.texts = (
        [line for line in text.splitlines() if line]
        if given.lines
        else [text.rstrip("\r\n") if given.text == ["-"] else text]
    )
    if not given.texts or not given.texts[0]:
        raise WrongUse("there is no text to send")
    for line in given.texts:
        if "\0" in line or any("\ud800" <= character <= "\udfff" for character in line):
            raise WrongUse("the text holds bytes that are no UTF-8, or a NUL; neither can be sent")


def _standard_input() -> str:
    data = sys.stdin.buffer.read()
    for encoding in ("utf-8-sig", sys.stdin.encoding or "utf-8"):
        try:
            text = data.decode(encoding)
            return (
                text.replace("\r\n", "\n") if os.linesep == "\r\n" else text
            )  # a pipe of that system ends lines so
        except UnicodeDecodeError:
            pass
    raise WrongUse("standard input is no UTF-8 text")


def _history(work: Work) -> None:
    room_id = work.room()
    for message in _messages(work.chat, room_id, work.given.number, work.given.since):
        work.out.data(message_item(message), message_text(message))


def _messages(
    chat: Patient, room_id: str, number: int | None, since: str | None
) -> Iterator[Message]:
    """The newest `number` messages (None = `HISTORY`, or all since a time), oldest first."""
    if since is not None:
        found = _since(chat, room_id, since)
        yield from found if number is None else deque(found, maxlen=number)
        return
    wanted = HISTORY if number is None else number
    newest: list[Message] = []
    before: int | None = None
    while len(newest) < wanted:
        page = chat.history(room_id, before_id=before, limit=min(PAGE, wanted - len(newest)))
        newest = [*page.messages, *newest]
        if not page.has_more or not page.messages or page.messages[0].message_id is None:
            break
        before = page.messages[0].message_id
    yield from newest[-wanted:] if wanted else []


def _since(chat: Patient, room_id: str, since: str) -> Iterator[Message]:
    after: int | None = None
    while True:
        page = chat.history(room_id, from_time=since, after_id=after, limit=PAGE)
        yield from page.messages
        if not page.has_more or not page.messages or page.messages[-1].message_id is None:
            return
        after = page.messages[-1].message_id


def _tail(work: Work) -> None:
    chat, out, room_id = work.chat, work.out, work.room()
    if chat.session is not None and chat.session.extended:
        chat.join_room(room_id)  # back into an open room that was left; else nothing
    shown = 0
    if work.given.number:
        for message in _messages(chat, room_id, work.given.number, None):
            shown = message.message_id or shown
            out.data(message_item(message), message_text(message))
    out.talk(f"Listening in {visible(work.given.room)}; Ctrl-C ends it.")
    chat.deadline = None
    down_since: float | None = None
    while not chat.closed:
        event = chat.next_event(0.5)
        if (
            isinstance(event, Message)
            and event.room_id == room_id
            and (event.message_id is None or event.message_id > shown)
        ):
            out.data(message_item(event), message_text(event))
        elif isinstance(event, FileShared) and event.room_id == room_id:
            out.data(
                _file_item(event),
                f"{_local(event.timestamp)} {visible(event.sender)} put the file {visible(event.file_path)} "
                f"({size_in_words(event.file_size)})",
            )
        elif isinstance(event, Disconnected):
            down_since = down_since or time.monotonic()
            out.talk(
                f"The connection is lost: {visible(event.reason)}. Next attempt in {event.retry_seconds:g} s."
            )
        elif isinstance(event, Reconnected):
            down_since = None
            out.talk("The connection is back.")
        elif isinstance(event, EventsDropped):
            out.talk(f"{event.count} lines came too quickly; history has them.")
        elif isinstance(event, ProtocolViolation):
            out.talk(
                f"The server sent something that could not be understood: {visible(event.text)}"
            )
        if (
            work.timeout is not None
            and down_since is not None
            and time.monotonic() - down_since > work.timeout
        ):
            raise ConnectionLost(f"it did not come back within {work.timeout:g} seconds")


def _file_item(event: FileShared) -> dict[str, Any]:
    return {
        "type": "file",
        "room_id": event.room_id,
        "sender_chatid": event.sender,
        "file_path": event.file_path,
        "file_size": event.file_size,
        "timestamp": event.timestamp,
    }


def _put(work: Work) -> None:
    room_id = work.room(new=work.given.new_room)
    path = Path(work.given.file)
    work.chat.deadline = None
    sent = upload(
        work.chat,
        room_id,
        path,
        progress=work.out.progress("Sending", path.name),
        patience=work.timeout or 60.0,
    )
    work.out.data(
        {
            "type": "file",
            "room_id": room_id,
            "file_path": sent.stored_as,
            "file_size": sent.size,
            "sha256": sent.sha256,
        },
        f"{visible(sent.stored_as)} is sent whole: {sent.size} bytes, SHA-256 {sent.sha256}",
    )


def _check_put(given: argparse.Namespace) -> None:
    try:
        with open(given.file, "rb"):
            pass
    except OSError as error:
        raise Failure(f"{visible(given.file)} can't be read: {error.strerror}") from error


def _get(work: Work) -> None:
    room_id = work.room()
    name, target = work.given.name, work.given.output
    folder = Path(".") if target in (None, "-") else Path(target).parent
    patience = work.timeout or 60.0
    work.chat.deadline = None
    progress = work.out.progress("Fetching", name)
    if target is None:
        _fetched(
            work,
            room_id,
            download(work.chat, room_id, name, folder, progress=progress, patience=patience),
        )
        return
    place = None if target == "-" else folder
    try:
        with tempfile.TemporaryDirectory(prefix=".chat-", dir=place) as temporary:
            path = download(
                work.chat, room_id, name, temporary, progress=progress, patience=patience
            )
            if target == "-":
                work.out.bytes(path)
            else:
                _place(path, Path(target))
    except OSError as error:
        raise TransferFailed(f"{target} can't be written: {error.strerror or error}") from error
    if target != "-":
        _fetched(work, room_id, Path(target))


def _place(path: Path, target: Path) -> None:
    """Give the finished file its name, never that of another file."""
    try:
        open(target, "xb").close()
    except FileExistsError as error:
        raise Failure(f"{visible(str(target))} exists, and nothing is ever overwritten") from error
    os.replace(path, target)  # only over the empty file that we have just made


def _fetched(work: Work, room_id: str, path: Path) -> None:
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    work.out.data(
        {
            "type": "file",
            "room_id": room_id,
            "file_path": work.given.name,
            "file_size": size,
            "sha256": digest.hexdigest(),
            "saved_as": str(path),
        },
        f"{visible(local_file_name(work.given.name))} is fetched whole: {size} bytes, SHA-256 {digest.hexdigest()}, in {visible(str(path))}",
    )


def _check_get(given: argparse.Namespace) -> None:
    if given.output == "-":
        if given.json:
            raise WrongUse(
                "-o - writes the file itself to stdout, where --json writes objects; choose one"
            )
    elif given.output is not None:
        target = Path(given.output)
        if target.exists():
            raise Failure(f"{visible(given.output)} exists, and nothing is ever overwritten")
        if not target.parent.is_dir():
            raise Failure(f"there is no folder {visible(str(target.parent))}")


def _rooms(work: Work) -> None:
    for room in work.chat.rooms():
        kind = "private" if room.private else "open"
        text = [visible(room.name), kind, f"{room.unread} unread", f"{room.members} members"]
        work.out.data(
            _room_item(room),
            "\t".join([*text, *([] if room.name == room.room_id else [visible(room.room_id)])]),
        )


def _room_item(room: Room) -> dict[str, Any]:
    return {
        "type": "room",
        "room_id": room.room_id,
        "name": room.name,
        "owner": room.owner,
        "private": room.private,
        "members": room.members,
        "unread": room.unread,
        "last_message_id": room.last_message_id,
    }


def _who(work: Work) -> None:
    users = work.chat.users()
    if work.given.room is not None:
        users = Users(work.chat.room_users(work.room()), users.online)
    on = {protocol.fold_chatid(name) for name in users.online}
    for name in users.users:
        is_on = protocol.fold_chatid(name) in on
        work.out.data(
            {"type": "user", "chatid": name, "online": is_on},
            f"{visible(name)}\t{'on' if is_on else 'off'}",
        )


# --- Their options --------------------------------------------------------------------------------


def moment(text: str, now: datetime | None = None) -> str:
    """A time as people type it, in the protocol's form; without a zone it is this machine's.

    `2026-11-23`, `2026-11-23 10:15`, `2026-11-23T10:15:00Z`, `10:15` (today), `90m`, `2h`, `3d`
    (ago). Raises `WrongUse`.
    """
    present = now or datetime.now().astimezone()
    units = {"m": "minutes", "h": "hours", "d": "days"}
    try:
        if text[-1:] in units and text[:-1].isdigit():
            found = present - timedelta(**{units[text[-1]]: int(text[:-1])})
        elif len(text) <= 8 and ":" in text:
            clock = datetime.strptime(text, "%H:%M" if text.count(":") == 1 else "%H:%M:%S")
            found = present.replace(hour=clock.hour, minute=clock.minute, second=clock.second)
        else:
            found = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] in "zZ" else text)
        return found.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
    except (ValueError, OverflowError) as error:
        raise WrongUse(
            f"{text!r} is no time; expected one like 2026-11-23, '2026-11-23 10:15', 10:15, 90m, 2h or 3d"
        ) from error


def _check_history(given: argparse.Namespace) -> None:
    if given.since is not None:
        given.since = moment(given.since)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of messages")
    return int(text)


def _nothing(given: argparse.Namespace) -> None:
    """Nothing needs to be looked at beforehand."""


def _add_room(parser: argparse.ArgumentParser, *, new: bool = False) -> None:
    parser.add_argument("room", metavar="ROOM", help="the room's name or id")
    if new:
        parser.add_argument(
            "--new-room",
            action="store_true",
            help="make an open room of that name where there is none",
        )


def _add_send(parser: argparse.ArgumentParser) -> None:
    _add_room(parser, new=True)
    parser.add_argument(
        "text",
        metavar="TEXT",
        nargs="+",
        help="what to say; - takes it from standard input, as one message",
    )
    parser.add_argument(
        "--lines", action="store_true", help="send each line as a message of its own"
    )


def _add_tail(parser: argparse.ArgumentParser) -> None:
    _add_room(parser)
    parser.add_argument(
        "-n",
        "--number",
        metavar="N",
        type=_count,
        default=0,
        help="begin with the newest N messages",
    )


def _add_history(parser: argparse.ArgumentParser) -> None:
    _add_room(parser)
    parser.add_argument(
        "-n",
        "--number",
        metavar="N",
        type=_count,
        help=f"the newest N messages ({HISTORY}; with --since all)",
    )
    parser.add_argument(
        "--since",
        metavar="TIME",
        help="only from then on: 2026-11-23, '2026-11-23 10:15', 10:15, 90m, 2h, 3d",
    )


def _add_put(parser: argparse.ArgumentParser) -> None:
    _add_room(parser, new=True)
    parser.add_argument("file", metavar="FILE", help="the file to send")


def _add_get(parser: argparse.ArgumentParser) -> None:
    _add_room(parser)
    parser.add_argument("name", metavar="NAME", help="the file's name in the room")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="where to put it (here, under its own name); - is standard output",
    )


def _add_who(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("room", metavar="ROOM", nargs="?", help="only the members of this room")


@dataclass(frozen=True)
class Command:
    """One command: its sentence, its options, what is looked at before connecting, and what it
    does."""

    help: str
    add: Callable[[argparse.ArgumentParser], None]
    check: Callable[[argparse.Namespace], None]
    run: Callable[[Work], None]


COMMANDS: Final[Mapping[str, Command]] = {
    "send": Command(
        "say something in a room, and wait until it is stored", _add_send, _check_send, _send
    ),
    "tail": Command("show what is said in a room, until Ctrl-C", _add_tail, _nothing, _tail),
    "history": Command("show what was said in a room", _add_history, _check_history, _history),
    "put": Command("send a file to a room", _add_put, _check_put, _put),
    "get": Command("fetch a file from a room", _add_get, _check_get, _get),
    "rooms": Command("list the rooms", lambda parser: None, _nothing, _rooms),
    "who": Command("list everybody, and who is on", _add_who, _nothing, _who),
}
