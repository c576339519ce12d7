"""What was said: pages of a room's messages."""

from __future__ import annotations

import sqlite3

import protocol
from protocol import ABSENT, MAX_PAGE, ErrorCode, GetMessages, Refusal
from server.handlers.context import Context
from server.handlers.looking_in import readable_for
from server.handlers.pages import Page, answer_page
from server.handlers.table import handles_for_session
from server.state.session import Session
from storage import messages
from storage.messages import Message


@handles_for_session(GetMessages)
def get_messages(context: Context, session: Session, request: GetMessages) -> bytes:
    """Answer a page of messages, oldest first, as many as were asked for and fit into a frame."""

    readable = readable_for(context, session, request.room_id, request.ACTION)

    def make(reader: sqlite3.Connection) -> bytes:
        room, is_guest = readable(reader)
        from_time = _from_time(request)
        if request.after_id is None and request.before_id is ABSENT and request.limit is None:
            assert from_time is not None, "checked by protocol.read_request"
            page = Page(context.settings, MAX_PAGE)
            last_id = _read_seconds(reader, room.pk, from_time, page)
        else:
            page = Page(context.settings, request.limit or MAX_PAGE)
            last_id = _read(reader, room.pk, from_time, request, page)
        if last_id is not None and not is_guest:
            session.mark(room.pk, last_id)
        data = {"room_id": request.room_id, "has_more": page.has_more}
        return protocol.build_list(
            "messages_list", data, "messages", page.entries, request_id=request.request_id
        )

    return answer_page(context, session, make)


def _from_time(request: GetMessages) -> int | None:
    if request.from_time is None:
        return None
    try:
        return protocol.parse_time(request.from_time)
    except (ValueError, OverflowError) as error:
        came = protocol.describe(request.from_time)
        expected = "expected ISO 8601 with date, time and zone, as 2024-01-01T12:00:00Z"
        raise Refusal(
            ErrorCode.BAD_TIME, f"data.from_time: {expected}, got {came} ({error})"
        ) from None


def _read(
    reader: sqlite3.Connection,
    room_pk: int,
    from_time: int | None,
    request: GetMessages,
    page: Page,
) -> int | None:
    """Fill the page that the request names; return the highest id on it."""
    assert page.most is not None
    backwards = request.before_id is not ABSENT
    found = messages.page(
        reader,
        room_pk,
        from_time=from_time,
        after_id=request.after_id,
        before_id=request.before_id if isinstance(request.before_id, int) else None,
        newest=backwards,
        limit=page.most + 1,
    )
    last_id = None
    for message in found:
        if not page.add(_entry(message)):
            break
        last_id = max(message.id, last_id or 0)
    if backwards:
        page.entries.reverse()
    return last_id


def _read_seconds(
    reader: sqlite3.Connection, room_pk: int, from_time: int, page: Page
) -> int | None:
    """Fill the page with whole seconds, for a client that knows only `from_time` and goes on with
    the second after the last one it saw; return the highest id on it."""
    read: list[tuple[int, int]] = []  # id and second
    for message in messages.page(reader, room_pk, from_time=from_time, limit=MAX_PAGE + 1):
        if not page.add(_entry(message)):
            whole = len(read)
            while whole and read[whole - 1][1] == message.sent_at:
                whole -= 1
            if whole:
                page.cut(whole)
                return read[whole - 1][0]
            break
        read.append((message.id, message.sent_at))
    if page.has_more and len(read) == MAX_PAGE:
        return _read_on_in_second(reader, room_pk, from_time, *read[-1], page)
    return read[-1][0] if read else None


def _read_on_in_second(
    reader: sqlite3.Connection,
    room_pk: int,
    from_time: int,
    last_id: int,
    second: int,
    page: Page,
) -> int:
    """Add the rest of a second that has more messages than a page: it comes whole, as far as the
    frame goes."""
    page.most, page.has_more = None, False
    for message in messages.page_within_second(
        reader, room_pk, second, last_id, protocol.MAX_ELEMENTS
    ):
        if not page.add(_entry(message)):
            return last_id
        last_id = message.id
    following = messages.page(reader, room_pk, from_time=from_time, after_id=last_id, limit=1)
    page.has_more = any(True for _ in following)
    return last_id


def _entry(message: Message) -> dict[str, object]:
    return {
        "message_id": message.id,
        "sender_chatid": message.sender_chatid,
        "content": message.content,
        "timestamp": protocol.format_time(message.sent_at),
        **({"announce": True} if message.announce else {}),
        **({"hidden": True} if message.is_hidden else {}),
    }
