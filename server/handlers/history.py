"""What was said: pages of a room's messages."""

from __future__ import annotations

import protocol
from protocol import ABSENT, MAX_PAGE, GetMessages, Refusal
from server.base.frame_sizes import HEAD_BYTES, frame_room
from server.handlers.context import Context
from server.handlers.table import handles_for_session
from server.state.room_directory import RoomState
from server.state.session import Session
from storage import messages
from storage.messages import Message


@handles_for_session(GetMessages)
def get_messages(context: Context, session: Session, request: GetMessages) -> bytes:
    """Answer a page of messages, oldest first, as many as were asked for and fit into a frame."""
    room = context.rooms.visible(request.room_id, session.account_id)
    from_time = None
    if request.from_time is not None:
        try:
            from_time = protocol.parse_time(request.from_time)
        except (ValueError, OverflowError) as error:
            came = protocol.describe(request.from_time)
            expected = "expected ISO 8601 with date, time and zone, as 2024-01-01T12:00:00Z"
            raise Refusal("bad_time", f"data.from_time: {expected}, got {came} ({error})") from None
    if request.after_id is None and request.before_id is ABSENT and request.limit is None:
        assert from_time is not None, "checked by protocol.read_request"
        found, has_more = _page_by_time(context, room, from_time)
    else:
        found, has_more = _page_by_id(context, room, from_time, request)
    page, cut = _fit(context, found, from_the_end=request.before_id is not ABSENT)
    if cut and request.after_id is None and request.before_id is ABSENT and request.limit is None:
        page = _whole_seconds(page, found[len(page)].sent_at) or page
    if page:
        session.mark(room.room.pk, page[-1].id)
    return _reply(request, page, has_more or cut)


def _page_by_time(context: Context, room: RoomState, from_time: int) -> tuple[list[Message], bool]:
    """Return a page for a client that knows only `from_time`: whole seconds, so that it can go on
    from the last one it saw."""
    with context.database.reading() as reader:
        found = list(messages.page(reader, room.room.pk, from_time=from_time, limit=MAX_PAGE + 1))
        if len(found) <= MAX_PAGE:
            return found, False
        whole = _whole_seconds(found[:MAX_PAGE], found[MAX_PAGE].sent_at)
        if whole:
            return whole, True
        # One second holds more than a page: it comes whole, as far as a frame goes. No message is
        # smaller than its frame's share of 64 bytes, so this bounds what is read.
        most = frame_room(context.settings) // 64 + 1
        found = list(
            messages.page_within_second(
                reader, room.room.pk, found[0].sent_at, found[0].id - 1, most
            )
        )
        after = messages.page(
            reader, room.room.pk, from_time=from_time, after_id=found[-1].id, limit=1
        )
        return found, any(True for _ in after)


def _whole_seconds(page: list[Message], next_second: int) -> list[Message]:
    """Return the page without the messages at its end that share the second of the first one left
    out."""
    end = len(page)
    while end and page[end - 1].sent_at == next_second:
        end -= 1
    return page[:end]


def _page_by_id(
    context: Context, room: RoomState, from_time: int | None, request: GetMessages
) -> tuple[list[Message], bool]:
    limit = request.limit or MAX_PAGE
    backwards = request.before_id is not ABSENT
    before_id = request.before_id if isinstance(request.before_id, int) else None
    with context.database.reading() as reader:
        found = list(
            messages.page(
                reader,
                room.room.pk,
                from_time=from_time,
                after_id=request.after_id,
                before_id=before_id,
                newest=backwards,
                limit=limit + 1,
            )
        )
    if backwards:
        found.reverse()
    if len(found) <= limit:
        return found, False
    return (found[1:] if backwards else found[:limit]), True


def _fit(
    context: Context, found: list[Message], *, from_the_end: bool
) -> tuple[list[Message], bool]:
    """Return as many of `found` as fit into a frame, at least one, from the end that was asked for;
    and whether any were cut off."""
    room = frame_room(context.settings) - HEAD_BYTES
    count = 0
    for message in reversed(found) if from_the_end else found:
        room -= len(protocol.encode_object(_entry(message))) + 1
        if room < 0 and count:
            break
        count += 1
    if count == len(found):
        return found, False
    return (found[-count:] if from_the_end else found[:count]), True


def _entry(message: Message) -> dict[str, object]:
    return {
        "message_id": message.id,
        "sender_chatid": message.sender_chatid,
        "content": message.content,
        "timestamp": protocol.format_time(message.sent_at),
    }


def _reply(request: GetMessages, page: list[Message], has_more: bool) -> bytes:
    data = {
        "room_id": request.room_id,
        "messages": [_entry(message) for message in page],
        "has_more": has_more,
    }
    return protocol.build("messages_list", data, request_id=request.request_id)
