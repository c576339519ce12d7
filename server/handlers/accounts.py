"""Accounts: register, log in, log out, change the password."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

import protocol
from protocol import ChangePassword, ErrorCode, Login, Logout, Refusal, Register
from server.base import lookalikes
from server.base.deadline import Deadline
from server.base.frame_sizes import max_chunk, max_content
from server.base.limits import LoginThrottle
from server.base.logs import printable
from server.base.settings import Settings
from server.handlers.act_news import tell_restrictions
from server.handlers.context import Context
from server.handlers.sessions import (
    SessionEnd,
    check_current,
    check_not_banned,
    end_for,
    log_out,
    tell_presence,
)
from server.handlers.table import handles, handles_for_session
from server.state.downloads import Downloads
from server.state.open_transactions import Transactions
from server.state.session import Connection, Session
from server.writing.delivery import Delivery
from storage import accounts, rooms
from storage.accounts import Account
from storage.errors import NameTaken
from storage.passwords import hash_password, verify_password

log: Final = logging.getLogger("server.accounts")

LEAVING_SECONDS: Final = 0.1
NO_FEATURES: Final[frozenset[str]] = frozenset()
KEY_BYTES: Final = 24
"""A session key is 192 random bits; the contract asks for 128."""


@handles(Register)
def register(context: Context, connection: Connection, request: Register) -> bytes:
    """Make an account."""
    if context.settings.registration == "closed":
        return _register_fail(
            ErrorCode.REGISTRATION_CLOSED,
            "Accounts are made by the teacher on this server: ask for one.",
            request,
        )
    try:
        account = _create(context, connection.address, request.chatid, request.password)
    except NameTaken:
        return _register_fail(ErrorCode.NAME_TAKEN, "This name is taken: choose another.", request)
    log.info("account made: %s from %s", printable(account.chatid), connection.address)
    return protocol.build(
        "register_success", {"chatid": account.chatid}, request_id=request.request_id
    )


def _register_fail(code: ErrorCode, message: str, request: Register) -> bytes:
    return protocol.build(
        "register_fail", code=code, message=message, request_id=request.request_id
    )


def _create(context: Context, address: str, chatid: str, password: str) -> Account:
    folded, now = protocol.fold_chatid(chatid), context.wall_clock.seconds()
    if lookalikes.skeleton(chatid) in lookalikes.RESERVED:
        raise NameTaken("this name is kept for the command line to give")
    who = context.throttle.who(address, folded)
    record = context.hash_gate.run(who, _hash_for_new, context, chatid, password)
    account = context.writer.run(
        lambda connection: accounts.create(connection, chatid, folded, record, now)
    )
    context.throttle.succeeded(address, folded)
    return account


def _hash_for_new(context: Context, chatid: str, password: str) -> str:
    """Return the record of a new account's password; raises NameTaken, also where the name looks
    like a teacher's (R-TEACH-3). On a thread of the hash gate: see `_check`."""
    with context.database.reading() as reader:
        if accounts.find(reader, protocol.fold_chatid(chatid)) is not None:
            raise NameTaken("an account with this name exists, or existed")
        teachers = accounts.teachers(reader).values()
    if lookalikes.skeleton(chatid) in map(lookalikes.skeleton, teachers):
        raise NameTaken("this name looks like a teacher's")
    return hash_password(password, context.settings.password_cost)


@handles(Login)
def login(context: Context, connection: Connection, request: Login) -> bytes | None:
    """Open a session. The success is sent by the writer, in the moment from which the session hears
    its rooms."""
    if connection.session is not None:
        raise Refusal(
            ErrorCode.FORBIDDEN, f"you are logged in as {connection.session.chatid}: log out first"
        )
    account = (
        _by_key(context, request)
        if request.session_key is not None
        else _by_password(context, connection, request)
    )
    fail = protocol.build("login_fail", request_id=request.request_id)
    if account is None:
        log.info("login refused: %s from %s", printable(request.chatid), connection.address)
        return fail
    check_not_banned(context.restrictions, account.id, writing=False)
    # A client that logs in again and again waits here: logins count for the account's rate, too.
    owed = max(rates.charge_account(account.id, 0) for rates in (context.rates, context.said))
    context.shutdown.pause(owed, lambda: connection.ended)
    holder = context.registry.holder(account.id)
    if holder is not None and not _may_displace(holder, request) and not _leaves(context, holder):
        log.info(
            "login refused: %s is on already, asked from %s",
            printable(account.chatid),
            connection.address,
        )
        _count_refused(context.throttle, connection, account, request)
        return fail
    key = request.session_key or secrets.token_urlsafe(KEY_BYTES)
    session = _new_session(context, connection, account, key, request.features)
    try:
        _go_online(context, session, key, request)
    except _Overtaken as why:
        log.info(
            "login refused: %s from %s: %s", printable(account.chatid), connection.address, why
        )
        _count_refused(context.throttle, connection, account, request)
        return fail
    return None


def _count_refused(
    throttle: LoginThrottle, connection: Connection, account: Account, request: Login
) -> None:
    """Count a login that is refused behind the right password as a failed one, too (R-LIM-9): how
    soon the next is answered must not tell that it was right (R-SESS-4)."""
    if request.session_key is None:
        throttle.failed(connection.address, account.folded)


def _new_session(
    context: Context,
    connection: Connection,
    account: Account,
    key: str,
    features: Iterable[str] | None,
) -> Session:
    granted = frozenset(features) & frozenset(protocol.FEATURES) if features else NO_FEATURES
    return Session(
        account.id,
        account.chatid,
        account.folded,
        account.credential_version,
        _digest(key),
        granted,
        connection,
        Transactions(context.settings.max_pending, context.budget),
        Downloads(
            connection.name, connection.outbox, connection.close, context.files, context.settings
        ),
        role=account.role,
        since=context.wall_clock.seconds(),
        active_at=context.clock(),
    )


class _Overtaken(Refusal):
    """What this login was granted for was ended while it waited to be stored."""

    def __init__(self, what: str) -> None:
        super().__init__(ErrorCode.FORBIDDEN, f"{what} meanwhile")


def _may_displace(holder: Session, request: Login) -> bool:
    """Return whether this login may take the place of a session: by its key, on demand, or because
    its client is gone."""
    wants_it = request.session_key is not None or request.take_over
    return wants_it or holder.connection.ended or holder.connection.stream.has_ended()


def _leaves(context: Context, holder: Session) -> bool:
    """Return whether the holder's client is just leaving: a user who closes and at once comes back
    is not told that they are online already.

    What the client sent last may still be unread before its end of stream, so its thread is given
    `LEAVING_SECONDS`.
    """
    deadline = Deadline(LEAVING_SECONDS, context.clock)
    while (
        context.registry.holder(holder.account_id) is holder
        and not holder.connection.stream.has_ended()
    ):
        if deadline.has_passed:
            return False
        time.sleep(0.01)
    return True


def _go_online(context: Context, session: Session, key: str, request: Login) -> None:
    """Take the account's place, once that is stored; raises `_Overtaken`. What the login relies on
    was checked by other threads, earlier, so it is checked again in the transaction (R-SESS-15),
    and until that is committed nobody loses a place (R-SESS-17)."""
    success = _login_success(context.settings, session, key, request)
    account_id, connection = session.account_id, session.connection
    moved: list[tuple[str, str, frozenset[int]]] = []

    def store(database: sqlite3.Connection) -> None:
        if not accounts.is_current(database, account_id, session.credential_version):
            raise _Overtaken("the account was deleted, or its password or role changed,")
        check_not_banned(context.restrictions, account_id, writing=True)
        moved.extend(_rooms_of_role(context, database, session))
        if request.session_key is None:
            now = context.wall_clock.seconds()
            accounts.store_key(database, account_id, session.key_hash, now)
        # By key nothing is stored: who lost the connection comes back though the disk is full. That
        # the key is in use, the housekeeping stores.
        elif not accounts.has_key(database, account_id, session.key_hash):
            raise _Overtaken("its key was ended")
        if not context.registry.promise(session, lambda holder: _may_displace(holder, request)):
            raise _Overtaken("somebody else logged in")

    def tell(_: None, delivery: Delivery) -> None:
        delivery.settle()
        heard = context.registry.online(account_id)
        displaced = context.registry.go_online(session)
        for event, room_id, members in moved:
            delivery.event(event, members, room_id=room_id, chatid=session.chatid)
        if not session.is_online:
            return
        context.throttle.succeeded(connection.address, session.folded)
        delivery.reply(connection.outbox, success)
        tell_restrictions(context.restrictions, delivery, session)
        if displaced is None:
            tell_presence(context.presence, delivery, session, is_online=True)
        elif displaced is heard:  # else it was ended in this commit, and told why
            delivery.end(displaced, "its place was taken over by a newer login", "taken_over")

    connection.flush()  # what was asked for earlier is answered earlier
    try:
        context.writer.run(store, tell)
    except BaseException:
        context.registry.release(session)  # first: no promise puts it on the connection after this
        connection.session = None
        raise
    log.info(
        "login: %s from %s (%s)", printable(session.chatid), connection.address, connection.name
    )


def _rooms_of_role(
    context: Context, database: sqlite3.Connection, session: Session
) -> Iterator[tuple[str, str, frozenset[int]]]:
    """Make a teacher a member of each private room, where that is so here, and take who is none
    (any more) out of the rooms that came with it (R-TEACH-21); yield the event, the id of the room,
    and whom to tell. In the writer's transaction."""
    account_id = session.account_id
    if not session.is_teacher:
        for room in rooms.private_by_role(database, account_id):
            context.rooms.begin_change(room.room_id)
            members = rooms.member_ids(database, room.pk)
            rooms.remove_member(database, room.pk, account_id)
            if not room.deleted:
                yield "user_removed", room.room_id, members
    elif context.settings.private_rooms == "with-teacher":
        for room in rooms.private_without(database, account_id):
            context.rooms.begin_change(room.room_id)
            rooms.add_member(database, room.pk, account_id, by_role=True)
            yield "user_added", room.room_id, rooms.member_ids(database, room.pk)


def _login_success(settings: Settings, session: Session, key: str, request: Login) -> bytes:
    data: dict[str, Any] = {
        "chatid": session.chatid,
        "session_key": key,
        "role": session.role,
        "limits": {
            "max_frame": settings.max_frame,
            "max_content": max_content(settings),
            "max_file": settings.max_file,
            "max_chunk": max_chunk(settings),
        },
    }
    if request.features is not None:
        data["features"] = [
            word for word in dict.fromkeys(request.features) if word in session.features
        ]
    return protocol.build("login_success", data, request_id=request.request_id)


def _by_key(context: Context, request: Login) -> Account | None:
    assert request.session_key is not None
    digest = _digest(request.session_key)
    with context.database.reading() as reader:
        found = accounts.find_key(reader, digest)
    if found is None:
        return None
    account, last_used = found
    lifetime = context.settings.session_lifetime
    is_alive = (
        not lifetime
        or context.wall_clock.seconds() <= last_used + lifetime
        or context.registry.holder(account.id) is not None
    )
    is_own = hmac.compare_digest(
        account.folded.encode(), protocol.fold_chatid(request.chatid).encode()
    )
    return account if is_alive and is_own else None


def _by_password(context: Context, connection: Connection, request: Login) -> Account | None:
    folded, password = protocol.fold_chatid(request.chatid), request.password
    assert password is not None, "checked by protocol.read_request"
    account, is_right = _attempt(context, connection, folded, password)
    if account is None and context.settings.registration == "first-login":
        problem = protocol.chatid_problem(request.chatid)
        if problem is not None:
            raise Refusal(ErrorCode.BAD_PACKET, f"data.chatid: {problem}")
        try:
            return _create(context, connection.address, request.chatid, password)
        except NameTaken:
            return None
    return account if is_right else None


def _attempt(
    context: Context, connection: Connection, folded: str, password: str
) -> tuple[Account | None, bool]:
    """Check a password as soon as the throttle allows, and count a wrong one; return what `_check`
    finds. A right one ends the count only once it has logged in (R-LIM-9); where that is refused,
    `login` counts it."""
    delay = context.throttle.begin(connection.address, folded)
    try:
        context.shutdown.pause(delay, lambda: connection.ended)
        who = context.throttle.who(connection.address, folded)
        account, is_right = context.hash_gate.run(who, _check, context, folded, password)
        is_new = account is None and context.settings.registration == "first-login"
        if not is_right and not is_new:
            context.throttle.failed(connection.address, folded)
    finally:
        context.throttle.end(connection.address, folded)
    return account, is_right


def _check(context: Context, folded: str, password: str) -> tuple[Account | None, bool]:
    """Return the account of this name, if there is one, and whether this is its password: at the
    same cost whether there is one or not.

    Runs on a thread of the hash gate, the reading, too: it goes deep into the stack, of which an
    idle client's thread then keeps 8 KiB instead of 12 (measured).
    """
    with context.database.reading() as reader:
        account = accounts.find(reader, folded)
    if account is None and context.settings.registration == "first-login":
        return None, False  # it is to be made
    is_usable = account is not None and not account.deleted
    record = account.password_hash if account is not None and is_usable else context.dummy_record
    return account, verify_password(password, record) and is_usable


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


@handles_for_session(Logout)
def logout(context: Context, session: Session, request: Logout) -> bytes:
    """End the session and its key; the connection stays and may log in again."""
    connection = session.connection
    session.downloads.cancel_all()
    session.downloads.wait_idle(
        context.settings.stall_timeout or 30.0
    )  # no chunk follows the reply
    log_out(context, session)
    connection.session = None
    log.info("logout: %s (%s)", printable(session.chatid), connection.name)
    return protocol.build("logout_ack", {"chatid": session.chatid}, request_id=request.request_id)


@handles_for_session(ChangePassword)
def change_password(context: Context, session: Session, request: ChangePassword) -> bytes:
    """Set a new password; every session key of the account dies, this session goes on."""
    _, is_right = _attempt(context, session.connection, session.folded, request.password)
    if not is_right:
        raise Refusal(ErrorCode.FORBIDDEN, "data.password: this is not your password")
    who = context.throttle.who(session.connection.address, session.folded)
    record = context.hash_gate.run(
        who, hash_password, request.new_password, context.settings.password_cost
    )

    def change(connection: sqlite3.Connection) -> int:
        check_current(connection, session)  # the old password was checked earlier
        accounts.set_password(connection, session.account_id, record)
        changed = accounts.by_id(connection, session.account_id)
        assert changed is not None, "it is current"
        return changed.credential_version

    def tell(credential_version: int, delivery: Delivery) -> None:
        session.credential_version = credential_version
        for other in context.registry.served([session.account_id]):
            if other is not session:
                end_for(context.registry, delivery, other, SessionEnd.PASSWORD_CHANGED)

    context.writer.run(change, tell)
    log.info("password changed: %s", printable(session.chatid))
    return protocol.build(
        "password_changed", {"chatid": session.chatid}, request_id=request.request_id
    )
