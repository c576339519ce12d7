"""Is anybody there: ping, who is on, who types."""

from __future__ import annotations

import protocol
from protocol import GetUsers, Ping, Refusal, Typing
from server.base.frame_sizes import page_length
from server.handlers.context import Context
from server.handlers.pages import page_of
from server.handlers.table import handles, handles_for_session
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
    with context.database.reading() as reader:
        found = list(accounts.page(reader, request.after, page_length(request.limit) + 1))
    # `online` repeats at most every name, so each name is reckoned twice.
    page, has_more = page_of(
        context.settings,
        found,
        request.limit,
        lambda account: 2 * len(protocol.encode_object({"": account.chatid})),
    )
    online = context.registry.online_ids()
    data = {
        "users": [account.chatid for account in page],
        "online": [account.chatid for account in page if account.id in online],
        "has_more": has_more,
    }
    return protocol.build("users_list", data, request_id=request.request_id)


@handles_for_session(Typing)
def typing(context: Context, session: Session, request: Typing) -> None:
    """Tell those in the room who asked for events; no reply."""
    if "typing" not in session.features:
        raise Refusal("forbidden", 'typing: expected a login that was granted the feature "typing"')
    room = context.rooms.visible(request.room_id, session.account_id)

    def tell(_: None, delivery: Delivery) -> None:
        hearers = [hearer.account_id for hearer in context.registry.audience(room)]
        delivery.event(
            "typing", hearers, session.account_id, room_id=request.room_id, chatid=session.chatid
        )

    context.writer.run(lambda connection: None, tell)
