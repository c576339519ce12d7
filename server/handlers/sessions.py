"""Ending a session, and what outlives it: how far its user has read, and what has arrived of
uploads.

Owns the order in which a session ends. Nothing here is an answer to a packet: the handlers, the
conversation and the housekeeping call it.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from protocol import ErrorCode, Refusal
from server.base.deadline import Deadline
from server.base.limits import Clock
from server.base.logs import printable
from server.base.wall_clock import WallClock
from server.handlers.context import Context
from server.state.presence import Presence
from server.state.registry import Registry
from server.state.restrictions import Restrictions
from server.state.session import Session
from server.state.uploads import Ranges, Upload
from server.writing.delivery import Delivery
from server.writing.writer import Writer
from storage import accounts, attendance, rooms, uploads
from storage.acts import BAN
from storage.database import Database
from storage.errors import FileMissing, StorageError, StorageFailed
from storage.received import KEPT_RANGES, as_text, from_text

log: Final = logging.getLogger("server.sessions")

MARKS_AT_ONCE: Final = 500
"""Marks stored in one transaction at most, which takes some 5 ms: more would hold up every message
that waits for the writer."""
Mark = tuple[Session, int, int]
"""A session, a room's `pk`, and the message up to which the session's user has read it."""
PREDECESSOR_SECONDS: Final = 5.0
"""How long a session waits at most for the user's earlier ones."""
SESSION_ENDED: Final = Refusal(
    ErrorCode.NOT_LOGGED_IN, "your session was ended: the rest of this file is not sent"
)


class SessionEnd:
    """Why a session is ended from outside: the `reason` of its `session_ended` (R-EVT-8)."""

    ACCOUNT_DELETED: Final = "account_deleted"
    PASSWORD_CHANGED: Final = "password_changed"
    ROLE_CHANGED: Final = "role_changed"


def end_for(registry: Registry, delivery: Delivery, session: Session, reason: str) -> None:
    """End a session from outside, and tell its client why. The writer's thread only."""
    log.info("ending the session of %s: %s", printable(session.chatid), reason)
    end_from_outside(
        registry, delivery, session, f"ended: {reason}", "session_ended", reason=reason
    )


def end_from_outside(
    registry: Registry, delivery: Delivery, session: Session, why: str, kind: str, **data: Any
) -> bool:
    """End a session, and tell its client by the event `kind`; `why` is for the log. It gets nothing
    more of files (R-SESS-16); who only reads on hears nothing new (R-FRAME-9). Return whether it
    was online. The writer's thread only."""
    session.was_ended = True
    is_online = registry.online(session.account_id) is session
    if is_online:
        delivery.end(session, why, kind, **data)
    session.downloads.break_off(None, SESSION_ENDED)  # now: its own thread may stand in a line
    return is_online


def end_session(context: Context, session: Session) -> None:
    """Free the user's place, store what is to be stored, and tell who asked for events: its
    connection has ended.

    Waits for the writer: everything that the session confirmed is on disk and acknowledged when
    this returns.
    """

    def change(connection: sqlite3.Connection) -> None:
        now = context.wall_clock.seconds()
        attendance.note(connection, session.account_id, session.since, now)
        if held_place:
            accounts.touch_key(connection, session.account_id, now)
            accounts.note_seen(connection, session.account_id, now)

    def tell(_: None, delivery: Delivery) -> None:
        # (who has come back meanwhile was told of as online, and is)
        if held_place and context.registry.online(session.account_id) is None:
            tell_presence(context.presence, delivery, session, is_online=False)
            if session.was_ended:
                hand_down(context, delivery, session.account_id, session.chatid)
            else:
                context.hands.leave(session.account_id, context.clock())

    # Before the place is free: the next session finds all of its uploads.
    _keep_uploads(context, session)
    held_place = context.registry.release(session)
    session.transactions.drop_all()
    try:
        _store_end(context.writer, session, change, tell)
    except (StorageError, Refusal) as error:
        name = printable(session.chatid)
        log.error("the end of %s's session was not stored: %s", name, error)
        with suppress(StorageError):  # it is gone all the same
            context.writer.later(lambda connection: None, tell)
    finally:
        context.registry.has_ended(session)


def log_out(context: Context, session: Session) -> None:
    """End the session and its key, and tell who asked for events. Raises Refusal or StorageError
    where that can't be stored: the session goes on then (R-ERR-7)."""

    def change(connection: sqlite3.Connection) -> None:
        if context.registry.holder(session.account_id) is session:
            now = context.wall_clock.seconds()
            accounts.end_key(connection, session.account_id, session.key_hash)
            accounts.note_seen(connection, session.account_id, now)
            attendance.note(connection, session.account_id, session.since, now)

    def tell(_: None, delivery: Delivery) -> None:
        delivery.settle()
        if context.registry.release(session):
            tell_presence(context.presence, delivery, session, is_online=False)
            hand_down(context, delivery, session.account_id, session.chatid)

    _keep_uploads(context, session)
    _store_end(context.writer, session, change, tell)
    session.transactions.drop_all()
    context.registry.has_ended(session)


def tell_presence(
    presence: Presence, delivery: Delivery, session: Session, *, is_online: bool
) -> None:
    """Tell who asked for events that the session's user came or went: now, or, where that was told
    of this name lately, by `tell_due`. The writer's thread only."""
    if presence.change(session.account_id, session.chatid, is_online):
        _tell_presence(delivery, session.account_id, session.chatid, is_online)


def tell_due(context: Context, delivery: Delivery) -> None:
    """Tell what `tell_presence` has put off, and take down the hands of those whose connection was
    lost, and who have not come back: each when its time has come. The writer's thread only, between
    two transactions."""
    now, registry = context.clock(), context.registry
    if now >= context.presence.due_at:
        for news in context.presence.take_due():
            _tell_presence(delivery, news.account_id, news.chatid, news.is_online)
    if now >= context.hands.due_at:
        for hand in context.hands.overdue(now, lambda pk: registry.online(pk) is not None):
            hand_down(context, delivery, hand.account_id, hand.chatid)
    delivery.flush()


def _tell_presence(delivery: Delivery, account_id: int, chatid: str, is_online: bool) -> None:
    kind = "user_online" if is_online else "user_offline"
    delivery.event(kind, None, account_id, chatid=chatid)


def hand_down(context: Context, delivery: Delivery, account_id: int, chatid: str) -> None:
    """Take down the hand of an account, and tell of it where it was up. The writer's thread
    only."""
    if context.hands.take_down(account_id):
        tell_hand(context.registry, delivery, "hand_lowered", account_id, chatid)


def tell_hand(
    registry: Registry, delivery: Delivery, kind: str, account_id: int, chatid: str, **more: Any
) -> None:
    """Tell teachers and that user of a hand. The writer's thread only."""
    delivery.event(kind, {account_id, *registry.teachers()}, chatid=chatid, **more)


def _keep_uploads(context: Context, session: Session) -> None:
    try:
        save_uploads(context.writer, context.wall_clock, session)
    except StorageError as error:
        name = printable(session.chatid)
        log.error("what %s has sent of uploads was not saved: %s", name, error)
        if isinstance(error, StorageFailed):
            context.writer.disk_failed(error)


def wait_for_predecessors(session: Session, clock: Clock) -> None:
    """Wait until the user's earlier sessions have saved what they have of uploads and marks, or
    `PREDECESSOR_SECONDS` have passed."""
    if session.predecessors:
        deadline = Deadline(PREDECESSOR_SECONDS, clock)
        for earlier in session.predecessors:
            while not earlier.has_ended and not deadline.has_passed:
                time.sleep(0.005)
        session.predecessors = ()


def check_current(connection: sqlite3.Connection, session: Session) -> None:
    """Raise `not_logged_in` where the session's account was deleted, or given another password or
    role, since its login (R-SESS-16).

    To be asked in the transaction that writes for the session, and in the snapshot that is read
    for it: what was true before a wait need not be true after it.
    """
    if session.was_ended:
        raise Refusal(ErrorCode.NOT_LOGGED_IN, "a teacher has ended this session")
    if not accounts.is_current(connection, session.account_id, session.credential_version):
        raise Refusal(
            ErrorCode.NOT_LOGGED_IN,
            "your account was deleted, or has a new password or role: this session has ended",
        )


def check_not_banned(restrictions: Restrictions, account_id: int, *, writing: bool) -> None:
    """Raise `banned` where the account may not log in now (R-TEACH-9). `writing` is for the
    writer's transaction, in which it is decided."""
    ban = restrictions.find(BAN, account_id, writing=writing)
    if ban is not None:
        raise Refusal(ErrorCode.BANNED, ban.sentence("a teacher has banned you"))


@contextmanager
def reading_for(database: Database, session: Session) -> Iterator[sqlite3.Connection]:
    """Give a snapshot in which the session is current, to read for it. What its user may read is
    to be asked in this snapshot, not before: a free connection may be long in coming (R-ROOM-22).
    Raises `not_logged_in` and StorageError."""
    with database.reading() as reader:
        check_current(reader, session)
        yield reader


# How far the user has read


def take_marks(sessions: Iterable[Session]) -> list[Mark]:
    """Take out of these sessions what is not stored yet, `MARKS_AT_ONCE` at most."""
    taken: list[Mark] = []
    for session in sessions:
        while session.unsaved_marks and len(taken) < MARKS_AT_ONCE:
            try:
                taken.append((session, *session.unsaved_marks.popitem()))
            except KeyError:  # another thread has taken the last one
                break
    return taken


def put_marks_back(marks: Iterable[Mark]) -> None:
    """Have the newest marks of these sessions and rooms stored the next time."""
    for session, room_pk, _ in marks:
        # The session goes on and makes newer ones: look again until none of them was overwritten.
        while session.unsaved_marks.get(room_pk, 0) < (newest := session.marks[room_pk]):
            session.unsaved_marks[room_pk] = newest


def write_marks(connection: sqlite3.Connection, marks: Iterable[Mark]) -> None:
    """Store these marks. The writer's thread only."""
    rooms.advance_marks(
        connection, [(session.account_id, pk, message_id) for session, pk, message_id in marks]
    )


def _store_end(
    writer: Writer,
    session: Session,
    change: Callable[[sqlite3.Connection], None],
    tell: Callable[[None, Delivery], None],
) -> None:
    """Store the end of a session with how far its user has read, `MARKS_AT_ONCE` in a transaction.
    Where it raises Refusal or StorageError, the session keeps what is not stored: one that goes on
    (`log_out`) has it stored later, of one that is over (`end_session`) it is lost."""
    while len(session.unsaved_marks) > MARKS_AT_ONCE:
        _store_with_marks(writer, session, lambda connection: None, None)
    _store_with_marks(writer, session, change, tell)


def _store_with_marks(
    writer: Writer,
    session: Session,
    change: Callable[[sqlite3.Connection], None],
    tell: Callable[[None, Delivery], None] | None,
) -> None:
    marks: list[Mark] = []

    def both(connection: sqlite3.Connection) -> None:
        # Taken here: a transaction of the housekeeping that failed before has put its own back.
        marks.extend(take_marks([session]))
        write_marks(connection, marks)
        change(connection)

    try:
        writer.run(both, tell)
    except BaseException:
        put_marks_back(marks)
        raise


# What has arrived of uploads


def save_uploads(writer: Writer, wall_clock: WallClock, session: Session) -> None:
    """Keep what has arrived of the uploads of a session that ends, for the next session. Raises
    StorageError where that of one could not be kept."""
    failed: StorageError | None = None
    for upload in session.uploads.values():
        try:
            if upload.unsaved_bytes:
                save_progress(writer, wall_clock, upload, wait=False, is_late=True)
        except FileMissing:
            pass  # somebody gave it up meanwhile
        except StorageError as error:
            failed = error
        finally:
            upload.close()
    session.uploads.clear()
    if failed is not None:
        raise failed


def save_progress(
    writer: Writer, wall_clock: WallClock, upload: Upload, *, wait: bool, is_late: bool = False
) -> None:
    """Make the upload's progress survive a crash: the bytes first, then the word that they are
    there. With `wait`, return once that is on disk. Where the upload is open no more, mark it so.

    A late save comes when a newer session may have gone on with the upload already: it takes back
    nothing that the newer one has promised.
    """
    upload.sync()
    row, received = upload.row, as_text(upload.received.pairs(KEPT_RANGES))
    chunk_size, first_number = upload.chunk_size, upload.first_number
    before, upload.saved = upload.saved, hash(received)

    def change(connection: sqlite3.Connection) -> bool:
        text = received
        if is_late:
            known = uploads.received_of(connection, row.id)
            if known is None:
                return False
            if hash(known) != before:
                both = Ranges(from_text(known)).union(Ranges(from_text(text)))
                text = as_text(both.pairs())
        now = wall_clock.seconds()
        return uploads.save_progress(
            connection, row.id, chunk_size, first_number, text, now, row.transaction_id
        )

    def note(is_open: bool, _: Delivery) -> None:
        upload.is_closed = upload.is_closed or not is_open

    if wait:
        writer.run(change, note)
    else:
        writer.later(change, note)
