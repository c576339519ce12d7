"""What teachers see of the class: who is on, all rooms, and the hands that are raised.

Raising one's own hand is for anybody. That only teachers get to the rest, the conversation has
checked.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import protocol
from protocol import (
    ErrorCode,
    GetAllRooms,
    GetSessions,
    LowerHand,
    RaiseHand,
    Refusal,
)
from server.base.frame_sizes import members_named
from server.handlers.act_news import time_or_null
from server.handlers.context import Context
from server.handlers.named_users import user_named
from server.handlers.pages import Page, answer_page
from server.handlers.rooms import Names, described
from server.handlers.sessions import check_current, hand_down, tell_hand, wait_for_predecessors
from server.handlers.table import handles_for_session
from server.state.hands import Hand
from server.state.restrictions import Restrictions
from server.state.session import Session
from server.writing.delivery import Delivery
from storage import accounts, rooms
from storage.accounts import Account
from storage.acts import BAN, MUTE


@handles_for_session(GetSessions)
def get_sessions(context: Context, session: Session, request: GetSessions) -> bytes:
    """Answer who is on, and what they do; with `offline`, also who is not."""

    def make(reader: sqlite3.Connection) -> bytes:
        page = Page(context.settings, request.limit)
        online = {each.account_id: each for each in context.registry.sessions() if each.is_online}
        hands = context.hands.by_account()
        for account in accounts.page(reader, request.after, -1):
            here = online.get(account.id)
            if here is None and not request.offline:
                continue
            entry = _restrictions_of(context.restrictions, account)
            entry |= _presence(reader, account, here, context.clock())
            place, hand = hands.get(account.id, (0, None))
            entry["hand"] = None if hand is None else _shown_hand(place, hand)
            if request.offline:
                seen = accounts.last_seen(reader, account.id)
                entry["last_seen"] = None if here is not None else time_or_null(seen)
            if not page.add(entry):
                break
        return protocol.build_list(
            "sessions_list",
            {"has_more": page.has_more},
            "sessions",
            page.entries,
            request_id=request.request_id,
        )

    return answer_page(context, session, make)


def _presence(
    reader: sqlite3.Connection, account: Account, here: Session | None, now: float
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "chatid": account.chatid,
        "role": account.role,
        "address": None,
        "since": None,
        "idle_seconds": None,
        "rooms": 0,
        "messages": 0,
    }
    if here is not None:
        entry |= {
            "address": here.connection.address,
            "since": protocol.format_time(here.since),
            "idle_seconds": max(0, int(now - here.active_at)),
            "rooms": rooms.count_heard(reader, account.id),
            "messages": here.messages_sent,
        }
    return entry


def _restrictions_of(restrictions: Restrictions, account: Account) -> dict[str, Any]:
    mute = restrictions.find(MUTE, account.id)
    ban = restrictions.find(BAN, account.id)
    return {
        "muted": mute is not None,
        "muted_until": None if mute is None else mute.until,
        "banned": ban is not None,
        "banned_until": None if ban is None else ban.until,
    }


def _shown_hand(place: int, hand: Hand) -> dict[str, Any]:
    return {"place": place, "text": hand.text, "since": protocol.format_time(hand.at)}


@handles_for_session(GetAllRooms)
def get_all_rooms(context: Context, session: Session, request: GetAllRooms) -> bytes:
    """Answer every room of the server, private and deleted ones too."""
    wait_for_predecessors(session, context.clock)  # what was read there counts

    def make(reader: sqlite3.Connection) -> bytes:
        names = Names(reader, members_named(context.settings))
        page = Page(context.settings, request.limit)
        for room in rooms.every(reader, request.after, protocol.MAX_ELEMENTS):
            entry = described(reader, session, room, names)
            if not page.add({**entry, "deleted": room.deleted}):
                break
        return protocol.build_list(
            "all_rooms_list",
            {"has_more": page.has_more},
            "rooms",
            page.entries,
            request_id=request.request_id,
        )

    return answer_page(context, session, make)


# --- Hands ----------------------------------------------------------------------------------------


@handles_for_session(RaiseHand)
def raise_hand(context: Context, session: Session, request: RaiseHand) -> bytes:
    """Put one's hand up."""
    data: dict[str, Any] = {"user": session.chatid, "text": request.text}

    def check(connection: sqlite3.Connection) -> int:
        check_current(connection, session)
        return context.wall_clock.seconds()

    def tell(now: int, delivery: Delivery) -> None:
        hand = Hand(session.account_id, session.chatid, request.text, now)
        data["place"], is_new = context.hands.put_up(hand)
        if context.registry.online(session.account_id) is None:  # the connection is just lost
            context.hands.leave(session.account_id, context.clock())
        if is_new:
            tell_hand(
                context.registry,
                delivery,
                "hand_raised",
                hand.account_id,
                hand.chatid,
                text=hand.text,
            )

    context.writer.run(check, tell)
    return protocol.build("hand_raised", data, request_id=request.request_id)


@handles_for_session(LowerHand)
def lower_hand(context: Context, session: Session, request: LowerHand) -> bytes:
    """Take one's own hand down; a teacher may take down anybody's."""
    name = session.chatid if request.user is None else request.user
    is_own = protocol.fold_chatid(name) == session.folded
    if not is_own and not session.is_teacher:
        raise Refusal(ErrorCode.FORBIDDEN, "data.user: only teachers take down another's hand")
    data: dict[str, Any] = {}

    def find(connection: sqlite3.Connection) -> Account:
        check_current(connection, session)
        account = user_named(connection, name, "data.user")
        data["user"] = account.chatid
        return account

    def tell(account: Account, delivery: Delivery) -> None:
        hand_down(context, delivery, account.id, account.chatid)

    context.writer.run(find, tell)
    return protocol.build("hand_lowered", data, request_id=request.request_id)
