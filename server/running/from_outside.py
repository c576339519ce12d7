"""What the command line did beside the running server: its acts are told and come into force here,
and its errands are done.

Owns the numbers of the acts up to which they are in force, and up to which the clients were told.
Runs on the writer's thread, whenever another process has written: `heed` at the begin of a
transaction, `look` between two.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable
from typing import Any, Final

import protocol
from server.base.frame_sizes import max_content
from server.handlers.act_news import tell_act
from server.handlers.context import Context
from server.handlers.sessions import hand_down
from server.state.recent_messages import delivered
from server.state.room_directory import RoomState
from server.writing.delivery import Delivery
from storage import accounts, acts, errands
from storage.acts import Act
from storage.errors import StorageError
from storage.messages import Message

log: Final = logging.getLogger("server.acts")
ENDING: Final = ("ban_user", "kick_user")
"""The acts that end the sessions of their user."""
FORGOTTEN_SECONDS: Final = 60
"""Nobody waits any more for an errand that was asked for longer ago: the command, which waits 5 s,
was killed."""
Told = tuple[RoomState, Message]


class FromOutside:
    """The acts and errands of the command line."""

    def __init__(
        self, context: Context, delivery: Delivery, transaction_ended: Callable[[bool], None]
    ) -> None:
        self._context, self._delivery = context, delivery
        self._transaction_ended = transaction_ended
        with context.database.reading() as reader:
            self._last = self._heeded = acts.last_id(reader)

    def heed(self, connection: sqlite3.Connection) -> None:
        """Let what is stored from here on heed what another process has done (R-TEACH-5); it is
        told by `look`. Each act ends the sessions of its moment: a later login goes on."""
        self._context.restrictions.load(acts.restrictions(connection))
        for act in acts.since(connection, self._heeded):
            if act.act in ENDING and act.user_id is not None:
                for session in self._context.registry.served([act.user_id]):
                    session.was_ended = True
            self._heeded = act.id

    def look(self) -> None:
        """Put in force what another process has done, tell of it, and do its errands."""
        context = self._context
        with context.database.reading() as reader:
            self.heed(reader)
            for act in acts.since(reader, self._last):
                self._tell(reader, act)
                self._last = act.id
            self._last = self._heeded = acts.last_id(reader)
            for account_id, (_, hand) in context.hands.by_account().items():
                account = accounts.by_id(reader, account_id)
                holder = context.registry.holder(account_id)
                # a connection was lost before; a session's own thread may be long in ending it
                is_ended = holder is not None and holder.was_ended
                if account is None or account.deleted or is_ended:
                    hand_down(context, self._delivery, account_id, hand.chatid)
            since = context.wall_clock.seconds() - FORGOTTEN_SECONDS
            has_work = errands.waiting(reader, since) or errands.forgotten(reader, since)
        if has_work:
            self._do(since)

    def _tell(self, reader: sqlite3.Connection, act: Act) -> None:
        context = self._context
        try:
            state = None
            if act.room_id is not None:
                state = context.rooms.find(act.room_id, reader)
            tell_act(context, self._delivery, act, state)
        except (StorageError, sqlite3.Error):
            raise
        except Exception:  # a defect in one act must not keep back those behind it
            log.exception("an act of the command line is in force, but telling of it met a defect")

    def _do(self, since: int) -> None:
        told: list[Told] = []
        committed = False
        try:
            with self._context.database.transaction() as connection:
                errands.erase_forgotten(connection, since)
                # Read here: a command may have taken its errand back, and said that it is not done.
                for number, kind, question in errands.waiting(connection, since):
                    answer = self._answer_or_say(connection, kind, question, told)
                    errands.answer(connection, number, json.dumps(answer))
            committed = True
        finally:
            self._transaction_ended(committed)
        for state, message in told:
            counts = protocol.count_letters(message.content)
            sent = delivered(state.room.room_id, message, counts)
            self._context.recent.add(sent)
            row = ("message", message.id)
            self._delivery.to_room(state, message.sender_id, sent.frame, message.sent_at, row)

    def _answer_or_say(
        self, connection: sqlite3.Connection, kind: str, question: str, told: list[Told]
    ) -> dict[str, Any]:
        try:
            with self._context.database.savepoint(connection):
                return self._answer(connection, kind, question, told)
        except (StorageError, sqlite3.Error):
            raise
        except Exception:  # as in `_tell`
            log.exception("an errand of the command line met a defect")
            return {"error": "the server met a defect; its log says more"}

    def _answer(
        self, connection: sqlite3.Connection, kind: str, question: str, told: list[Told]
    ) -> dict[str, Any]:
        if kind != "announce":
            return {"error": f"this server knows no errand {kind!r}: is it of another version?"}
        asked: dict[str, Any] = json.loads(question)
        context, text = self._context, str(asked["text"])
        state = context.rooms.find(asked["room_id"], connection)
        account = accounts.by_id(connection, asked["account_id"])
        most = max_content(context.settings)
        if state is None or state.room.deleted:
            return {"error": f"there is no room '{asked['room_id']}'"}
        if account is None or account.deleted:
            return {"error": "that account is deleted"}
        if most and len(text.encode()) > most:
            return {"error": f"the text has more than {most} bytes"}
        now = context.wall_clock.seconds()
        pk, high = state.room.pk, context.wall_clock.high(now)
        number = acts.announce(connection, pk, account.id, text, now, high)
        message = Message(number, pk, account.id, account.chatid, text, now, announce=True)
        told.append((state, message))
        return {"message_id": number}
