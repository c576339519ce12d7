"""Who is there: ping, who is online, who types."""

from __future__ import annotations

import sqlite3

import protocol
from protocol import ErrorCode, GetUsers, Ping, Refusal, Typing
from server.handlers.context import Context
from server.handlers.pages import Page, answer_page
from server.handlers.sessions import check_current
from server.handlers.table import handles, handles_for_session
from server.state.room_directory import RoomState
from server.state.session import Connection, Session
from server.writing.delivery import Delivery
from storage import accounts


@handles(Ping)
def ping(context: Context, connection: Connection, request: Ping) -> bytes:
    """Answer `pong`."""
    return protocol.build("pong", request_id=request.request_id)


@handles_for_session(GetUsers)
def get_users(context: Context, session: Session, request: GetUsers) -> bytes:
    """Answer every account, and which of them are online."""

    def make(reader: sqlite3.Connection) -> bytes:
        online_ids, online, teachers = context.registry.online_ids(), [], []
        page = Page(context.settings, request.limit)
        for account in accounts.page(reader, request.after, protocol.MAX_ELEMENTS):
            is_on, is_teacher = account.id in online_ids, account.role == protocol.TEACHER
            if not page.add(account.chatid, *[account.chatid] * (is_on + is_teacher)):
                break
            online += [account.chatid] * is_on
            teachers += [account.chatid] * is_teacher
        data = {"online": online, "teachers": teachers, "has_more": page.has_more}
        return protocol.build_list(
            "users_list", data, "users", page.entries, request_id=request.request_id
        )

    return answer_page(context, session, make)


@handles_for_session(Typing)
def typing(context: Context, session: Session, request: Typing) -> None:
    """Tell those in the room who asked for events; no reply."""
    if "typing" not in session.features:
        raise Refusal(
            ErrorCode.FORBIDDEN, 'typing: expected a login that was granted the feature "typing"'
        )

    def look(connection: sqlite3.Connection) -> RoomState:
        check_current(connection, session)
        return context.rooms.visible(request.room_id, session.account_id, connection)

    def tell(room: RoomState, delivery: Delivery) -> None:
        hearers = [hearer.account_id for hearer in context.registry.audience(room)]
        delivery.event(
            "typing", hearers, session.account_id, room_id=request.room_id, chatid=session.chatid
        )

    context.writer.run(look, tell)
