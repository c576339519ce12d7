"""Messages as their receivers were sent them, and a bounded memory of the recent ones.

Owns what a receiver's counts are checked against, and the frames of `receive_message` and of the
receivers' `confirm_count`. Never sends; the handlers and the delivery do.
"""

from __future__ import annotations

import dataclasses
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import protocol
from server.base.limits import MemoryBudget
from server.base.locks import Rank, RankedLock
from server.state.open_transactions import LETTER_BYTES
from storage.messages import Message


@dataclass(frozen=True, slots=True)
class Delivered:
    """A stored message as its receivers are asked about it. Its transaction (T2) is made from the
    id, so that no receiver needs a state of its own."""

    message_id: int
    room_id: str
    room_pk: int
    sender_id: int
    counts: Mapping[str, int]
    frame: bytes
    """What every receiver was sent."""
    confirmed: bytes
    """The frame that confirms right counts."""
    counts_before: Mapping[str, int] | None = None
    """The counts before it was hidden or shown again: some receivers answer for those."""

    @property
    def size(self) -> int:
        """Bytes held, roughly."""
        letters = len(self.counts) + len(self.counts_before or ())
        return len(self.frame) + len(self.confirmed) + LETTER_BYTES * letters + 256

    def verdict(self, agrees: bool, request_id: str | None) -> bytes:
        """Return the `confirm_count` that answers a receiver."""
        if agrees and request_id is None:
            return self.confirmed
        return confirmation(self.message_id, agrees, request_id)


def receiver_transaction(message_id: int) -> str:
    """Return T2, the id of the transaction in which receivers answer for a message."""
    return f"m{message_id}"


def message_of(transaction_id: str) -> int | None:
    """Return the id of the message whose receivers' transaction this is; None where it can be
    none."""
    number = transaction_id[1:]
    is_id = number.isascii() and number.isdigit() and number[0] != "0" and len(number) <= 15
    return int(number) if transaction_id[0] == "m" and is_id else None


def confirmation(message_id: int, agrees: bool, request_id: str | None) -> bytes:
    """Build the `confirm_count` of a receivers' transaction. Put together by hand: with a
    request_id of each receiver's own this is once a delivery, 1 µs instead of 5."""
    beside = "" if request_id is None else f',"request_id":{json.dumps(request_id)}'
    word = "true" if agrees else "false"
    return protocol.frame(
        f'{{"action":"confirm_count","data":{{"transaction_id":"{receiver_transaction(message_id)}","confirm":{word}}}{beside}}}'.encode()
    )


def delivered(room_id: str, message: Message, counts: Mapping[str, int]) -> Delivered:
    """Build what receivers get of a message that was just stored, or read back."""
    transaction_id = receiver_transaction(message.id)
    frame = protocol.build(
        "receive_message",
        {
            "transaction_id": transaction_id,
            "room_id": room_id,
            "sender_chatid": message.sender_chatid,
            "content": message.content,
            "timestamp": protocol.format_time(message.sent_at),
            "message_id": message.id,
            **({"announce": True} if message.announce else {}),
        },
    )
    confirmed = confirmation(message.id, True, None)
    return Delivered(
        message.id, room_id, message.room_pk, message.sender_id, counts, frame, confirmed
    )


class RecentMessages:
    """A cache of recent messages, to check receivers' counts without asking storage: the oldest go
    when more than `MOST_BYTES` are held, or an eighth of the memory budget.

    The writer alone changes it; any thread gets, without a lock: `dict.get` finds an entry or none
    while another thread changes the dictionary, with the GIL and without ("Thread safety
    guarantees", Python's library reference). Only walking through it would need one.
    """

    MOST_BYTES: Final = 32 * 1024 * 1024

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget, self._most = budget, budget.share(self.MOST_BYTES, 8)
        self._messages: OrderedDict[str, Delivered] = OrderedDict()
        self._held = 0

    def add(self, message: Delivered) -> None:
        """Remember it. The writer's thread only."""
        self._messages[receiver_transaction(message.message_id)] = message
        before = self._held
        self._held += message.size
        while self._held > self._most and len(self._messages) > 1:
            _, oldest = self._messages.popitem(last=False)
            self._held -= oldest.size
        self._budget.keep(self._held - before)

    def replace(self, message: Delivered) -> None:
        """Put the message in the place of what is held of it, if it is: what it says has changed.
        The writer's thread only."""
        held = self._messages.get(receiver_transaction(message.message_id))
        if held is None:
            return
        before = held.counts_before if held.counts == message.counts else held.counts
        fresh = dataclasses.replace(message, counts_before=before)
        self._messages[receiver_transaction(message.message_id)] = fresh
        self._held += fresh.size - held.size
        self._budget.keep(fresh.size - held.size)

    def clear(self) -> None:
        """Forget all of them: some may have been erased. The writer's thread only."""
        self._messages.clear()
        self._budget.keep(-self._held)
        self._held = 0

    def get(self, transaction_id: str) -> Delivered | None:
        """Return the message of a receivers' transaction, if it is still held."""
        return self._messages.get(transaction_id)


class Resends:
    """How often each account was sent a message again after wrong counts: at most `MOST_TIMES` for
    one message (R-MSG-18), also when it comes back. Any thread.

    Of an account the newest messages are remembered. One older than all of those is not sent again,
    so that nobody gets more copies by asking for many messages in turn.
    """

    MOST_TIMES: Final = 3
    MESSAGES: Final = 256
    ACCOUNTS: Final = 10_000

    def __init__(self) -> None:
        self._lock = RankedLock(Rank.BUDGET, "resends")
        self._times: OrderedDict[int, dict[int, int]] = OrderedDict()
        """By account and message."""

    def count(self, account_id: int, message_id: int) -> bool:
        """Count one more copy; False where the account is to get none."""
        with self._lock:
            times = self._times.setdefault(account_id, {})
            self._times.move_to_end(account_id)
            while len(self._times) > self.ACCOUNTS:
                self._times.popitem(last=False)
            if message_id not in times and len(times) >= self.MESSAGES:
                oldest = min(times)
                if message_id < oldest:
                    return False
                # Its place goes to the newer one: from now on it is older than all that are left.
                del times[oldest]
            times[message_id] = times.get(message_id, 0) + 1
            return times[message_id] <= self.MOST_TIMES
