"""The commands for scripts: `send`, `tail`, `history`, `put`, `get`, `rooms`, `who`, each for one
login and one purpose.

Owns what each does, and the table of them. Data goes to stdout, talk and progress to stderr. Never
uses the key of a kept session, and never asks. For the main thread.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import protocol
from client.base import files
from client.base.text import counted, local_file_name, size_in_words, visible
from client.errors import BadAnswer, ChatError, ConnectionLost, SessionEnded, TransferFailed
from client.events import (
    Disconnected,
    Event,
    EventsDropped,
    FileShared,
    Message,
    ProtocolViolation,
    Reconnected,
)
from client.exit_status import FAILED, LOGIN_REFUSED, OK, WRONG_USE, explain
from client.records import Users
from client.scripts import script_options
from client.scripts.output import (
    NoReader,
    Output,
    file_item,
    local_moment,
    message_item,
    message_text,
    room_item,
)
from client.scripts.script_connection import DeadlineConnection, Login, connection_of
from client.scripts.script_options import HISTORY, Failure, WrongUse
from client.session.paging import goes_back, goes_on
from client.transfer_state import PATIENCE_SECONDS
from client.transfers import download, upload

PAGE: Final = 500
LOGOUT_SECONDS: Final = 2.0
LATE_LOGOUT_SECONDS: Final = 0.5
"""After the deadline, so that the session ends all the same, and its key is worth nothing."""


def run(login: Login, given: argparse.Namespace, out: Output | None = None) -> int:
    """Log in, do the command that `given` names, log out; return the exit status, after saying why
    where it is not 0."""
    out = out or Output(given.json)
    command = COMMANDS[given.command]
    chat: DeadlineConnection | None = None
    try:
        command.check(given)
        chat = connection_of(login)
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
        status, text = explain(error, chat.broken_protocol() if chat is not None else "")
        if status == LOGIN_REFUSED and not login.take_over and not isinstance(error, SessionEnded):
            text += (
                f"\nEither the name or the password is wrong, or {visible(login.user)} is on from "
                "another window or script: --take-over ends that session."
            )
        out.talk(text)
        return status
    finally:
        if chat is not None:
            _leave(chat)
    return OK


def _leave(chat: DeadlineConnection) -> None:
    """End the session, so that its key can't be used, and its place is free at once."""
    try:
        if chat.session is not None and chat.online:
            seconds = LATE_LOGOUT_SECONDS if chat.is_over() else LOGOUT_SECONDS
            chat.lift_deadline()
            chat.request("logout", timeout=seconds)
    except ChatError:
        pass  # then the key dies by itself after a day
    finally:
        chat.close()


# --- The commands ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """What a command works with. `timeout` is None where the user named none."""

    chat: DeadlineConnection
    given: argparse.Namespace
    out: Output
    timeout: float | None

    def room(self, *, new: bool = False) -> str:
        """Return the id of the room that was named by id or name; with `new` one that does not
        exist yet may be named. Raise `Failure`."""
        word = self.given.in_room
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
            ids = ", ".join(map(visible, named))
            raise Failure(
                f"{len(named)} rooms are called {visible(word)}; name one by its id: {ids}"
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
        number = "" if sent.message_id is None else f" as message {sent.message_id}"
        work.out.data(
            {
                "type": "stored",
                "room_id": room_id,
                "message_id": sent.message_id,
                "timestamp": sent.timestamp,
                "content": text,
            },
            f"stored{number}: sent, counts agree, stored",
        )
        if work.timeout is None:  # else that is the time for all of them
            work.chat.renew_deadline()


def _history(work: Work) -> None:
    room_id = work.room()
    for message in _messages(work.chat, room_id, work.given.number, work.given.since):
        work.out.data(message_item(message), message_text(message))


def _messages(
    chat: DeadlineConnection, room_id: str, number: int | None, since: str | None
) -> Iterator[Message]:
    """Yield the newest `number` messages (None = `HISTORY`, or all since a time), oldest first."""
    if since is not None:
        found = _since(chat, room_id, since)
        yield from found if number is None else deque(found, maxlen=number)
        return
    wanted = HISTORY if number is None else number
    newest: list[Message] = []
    before: int | None = None
    stopped: BadAnswer | None = None
    while len(newest) < wanted:
        page = chat.history(room_id, before_id=before, limit=min(PAGE, wanted - len(newest)))
        newest = [*page.messages, *newest]
        try:
            before = goes_back(page, before)
        except BadAnswer as error:
            stopped = error
            break
        if before is None:
            break
    yield from newest[-wanted:] if wanted else []
    if stopped is not None:  # after what did come has been shown
        raise stopped


def _since(chat: DeadlineConnection, room_id: str, since: str) -> Iterator[Message]:
    after: int | None = None
    while True:
        page = chat.history(room_id, from_time=since, after_id=after, limit=PAGE)
        yield from page.messages
        after = goes_on(page, after)
        if after is None:
            return


def _tail(work: Work) -> None:
    chat, out, room_id = work.chat, work.out, work.room()
    if chat.session is not None and chat.session.extended:
        chat.join_room(room_id)  # back into an open room that was left; else nothing
    shown = 0
    if work.given.number:
        for message in _messages(chat, room_id, work.given.number, None):
            shown = message.message_id or shown
            out.data(message_item(message), message_text(message))
    out.talk(f"Listening in {visible(work.given.in_room)}; Ctrl-C ends it.")
    chat.lift_deadline()
    down_since: float | None = None
    while not chat.closed:
        event = chat.next_event(0.5)
        if isinstance(event, Disconnected):
            down_since = down_since or time.monotonic()
        elif isinstance(event, Reconnected):
            down_since = None
        if event is not None:
            _show(event, out, room_id, shown)
        if (
            work.timeout is not None
            and down_since is not None
            and time.monotonic() - down_since > work.timeout
        ):
            raise ConnectionLost(f"it did not come back within {work.timeout:g} seconds")


def _show(event: Event, out: Output, room_id: str, shown: int) -> None:
    """Show an event of `tail`; messages up to `shown` have been shown already."""
    if isinstance(event, Message):
        is_new = event.message_id is None or event.message_id > shown
        if event.room_id == room_id and is_new:
            out.data(message_item(event), message_text(event))
    elif isinstance(event, FileShared):
        if event.room_id == room_id:
            out.data(
                file_item(event),
                f"{local_moment(event.timestamp)} {visible(event.sender)} put the file "
                f"{visible(event.file_path)} ({size_in_words(event.file_size)})",
            )
    elif isinstance(event, Disconnected):
        out.talk(
            f"The connection is lost: {visible(event.reason)}. "
            f"Next attempt in {event.retry_seconds:g} s."
        )
    elif isinstance(event, Reconnected):
        out.talk("The connection is back.")
    elif isinstance(event, EventsDropped):
        out.talk(f"{counted(event.count, 'line')} came too quickly; history has them.")
    elif isinstance(event, ProtocolViolation):
        out.talk(f"The server sent something that could not be understood: {visible(event.text)}")


def _put(work: Work) -> None:
    room_id = work.room(new=work.given.new_room)
    path = Path(work.given.file)
    work.chat.lift_deadline()
    sent = upload(
        work.chat,
        room_id,
        path,
        progress=work.out.progress("Sending", path.name),
        patience=work.timeout or PATIENCE_SECONDS,
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


def _get(work: Work) -> None:
    room_id = work.room()
    name, target = work.given.name, work.given.output
    folder = Path(".") if target in (None, "-") else Path(target)
    is_stream = target == "-" or (folder.exists() and not (folder.is_dir() or folder.is_file()))
    patience = work.timeout or PATIENCE_SECONDS
    work.chat.lift_deadline()
    progress = work.out.progress("Fetching", name)
    if folder.is_dir() and not is_stream:
        _fetched(
            work,
            room_id,
            download(work.chat, room_id, name, folder, progress=progress, patience=patience),
        )
        return
    place = None if is_stream else folder.parent
    try:
        # A scanner of Windows may hold what is left in it, which is no failure of the fetching.
        with tempfile.TemporaryDirectory(
            prefix=".chat-", dir=place, ignore_cleanup_errors=True
        ) as temporary:
            path = download(
                work.chat, room_id, name, temporary, progress=progress, patience=patience
            )
            if target == "-":
                work.out.bytes(path)
            elif is_stream:  # a device or a pipe, which nothing can replace
                with open(path, "rb") as whole, open(target, "wb") as stream:
                    shutil.copyfileobj(whole, stream)
                return _fetched(work, room_id, path, saved_as=Path(target))
            else:
                _place(path, Path(target))
    except OSError as error:
        raise TransferFailed(f"{target} can't be written: {error.strerror or error}") from error
    if target != "-":
        _fetched(work, room_id, Path(target))


def _place(path: Path, target: Path) -> None:
    """Give the finished file its name, never that of another file."""
    try:
        files.name_new(path, target)
    except FileExistsError as error:
        raise Failure(f"{visible(str(target))} exists, and nothing is ever overwritten") from error


def _fetched(work: Work, room_id: str, path: Path, saved_as: Path | None = None) -> None:
    """Print that a file is here, with its size and hash as they are on the disk; `saved_as` is
    where its bytes went, if that is no file."""
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
            "saved_as": str(saved_as or path),
        },
        f"{visible(local_file_name(work.given.name))} is fetched whole: {size} bytes, "
        f"SHA-256 {digest.hexdigest()}, in {visible(str(saved_as or path))}",
    )


def _rooms(work: Work) -> None:
    for room in work.chat.rooms():
        kind = "private" if room.private else "open"
        text = [visible(room.name), kind, f"{room.unread} unread", counted(room.members, "member")]
        work.out.data(
            room_item(room),
            "\t".join([*text, *([] if room.name == room.room_id else [visible(room.room_id)])]),
        )


def _who(work: Work) -> None:
    users = work.chat.users()
    if work.given.in_room is not None:
        users = Users(work.chat.room_users(work.room()), users.online)
    on = {protocol.fold_chatid(name) for name in users.online}
    for name in users.users:
        is_on = protocol.fold_chatid(name) in on
        work.out.data(
            {"type": "user", "chatid": name, "online": is_on},
            f"{visible(name)}\t{'on' if is_on else 'off'}",
        )


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
        "say something in a room, and wait until it is stored",
        script_options.add_send,
        script_options.check_send,
        _send,
    ),
    "tail": Command(
        "show what is said in a room, until Ctrl-C",
        script_options.add_tail,
        script_options.check_nothing,
        _tail,
    ),
    "history": Command(
        "show what was said in a room",
        script_options.add_history,
        script_options.check_history,
        _history,
    ),
    "put": Command("send a file to a room", script_options.add_put, script_options.check_put, _put),
    "get": Command(
        "fetch a file from a room", script_options.add_get, script_options.check_get, _get
    ),
    "rooms": Command(
        "list the rooms", script_options.add_nothing, script_options.check_nothing, _rooms
    ),
    "who": Command(
        "list everybody, and who is on", script_options.add_who, script_options.check_nothing, _who
    ),
}
