"""A checker of histories, in the manner of Jepsen's: what clients saw, held against what the server
says was said.

Each message has a key that its sender made; its content is made from the key, so that any two can
be told apart. Nothing here knows the server: it compares records.
"""

from __future__ import annotations

import bisect
import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Ack:
    """A sender was told that its message is stored under this id."""

    sender: str
    key: str
    message_id: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A message as a reader was given it, live or in the history."""

    message_id: int
    sender: str
    key: str


@dataclass
class Observed:
    """Everything that the clients of a run saw."""

    sent: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """By sender, the keys in the order in which each was first sent; a sender waits for the ack of
    one before the next."""
    acks: list[Ack] = field(default_factory=list)
    live: dict[str, list[Seen]] = field(default_factory=lambda: defaultdict(list))
    """By reader's session, the messages in the order in which they came."""
    history: list[Seen] = field(default_factory=list)
    """The room's history at the end, oldest first."""
    earlier: list[Seen] = field(default_factory=list)
    """What the history was seen to be at any earlier time."""


def faults(observed: Observed) -> list[str]:
    """Every promise that was broken, each named by its kind; empty where all held."""
    return [
        *_lost(observed),
        *_doubled(observed),
        *_unexpected(observed),
        *_renumbered(observed),
        *_reordered(observed),
        *_out_of_senders_order(observed),
        *_live_differs(observed),
    ]


def _lost(observed: Observed) -> list[str]:
    there = {seen.key for seen in observed.history}
    lost = [
        f"lost: {ack.key} was acknowledged as {ack.message_id}"
        for ack in observed.acks
        if ack.key not in there
    ]
    lost += [
        f"lost: {seen.key} was delivered to {reader}"
        for reader, all_seen in observed.live.items()
        for seen in all_seen
        if seen.key not in there
    ]
    return lost + [
        f"lost: {seen.key} was in the history" for seen in observed.earlier if seen.key not in there
    ]


def _doubled(observed: Observed) -> list[str]:
    found = []
    for what, all_seen in (("the history", observed.history), *observed.live.items()):
        found += [
            f"doubled: {key} {count} times in {what}"
            for key, count in Counter(s.key for s in all_seen).items()
            if count > 1
        ]
        ids = Counter(seen.message_id for seen in all_seen)
        found += [
            f"doubled: id {number} {count} times in {what}"
            for number, count in ids.items()
            if count > 1
        ]
    return found


def _unexpected(observed: Observed) -> list[str]:
    sent = {(sender, key) for sender, keys in observed.sent.items() for key in keys}
    everything = [
        *observed.history,
        *(seen for all_seen in observed.live.values() for seen in all_seen),
    ]
    return [
        f"unexpected: {seen.sender} never sent {seen.key}"
        for seen in everything
        if (seen.sender, seen.key) not in sent
    ]


def _renumbered(observed: Observed) -> list[str]:
    numbers = {seen.key: seen.message_id for seen in observed.history}
    said = [(ack.key, ack.message_id, "acknowledged") for ack in observed.acks]
    said += [(seen.key, seen.message_id, "in the history") for seen in observed.earlier]
    return [
        f"renumbered: {key} is {numbers[key]}, and was {how} as {number}"
        for key, number, how in said
        if numbers.get(key, number) != number
    ]


def _reordered(observed: Observed) -> list[str]:
    found = []
    for what, all_seen in (("the history", observed.history), *observed.live.items()):
        ids = [seen.message_id for seen in all_seen]
        found += [
            f"reordered: {later} after {earlier} in {what}"
            for earlier, later in itertools.pairwise(ids)
            if later < earlier
        ]
    return found


def _out_of_senders_order(observed: Observed) -> list[str]:
    order: dict[str, list[str]] = defaultdict(list)
    for seen in observed.history:
        order[seen.sender].append(seen.key)
    found = []
    for sender, keys in order.items():
        place = {key: number for number, key in enumerate(observed.sent.get(sender, ()))}
        places = [place[key] for key in keys if key in place]
        if places != sorted(places):
            found.append(f"out of the sender's order: {sender}")
    return found


def _live_differs(observed: Observed) -> list[str]:
    """Between the first and the last message that a session was given live, nothing of others may
    be missing."""
    found = []
    history = sorted(observed.history, key=lambda seen: seen.message_id)
    numbers = [seen.message_id for seen in history]
    for reader, all_seen in observed.live.items():
        if not all_seen:
            continue
        own = reader.partition("/")[0]
        first, last = (
            bisect.bisect_left(numbers, all_seen[0].message_id),
            bisect.bisect_right(numbers, all_seen[-1].message_id),
        )
        due = {(seen.message_id, seen.key) for seen in history[first:last] if seen.sender != own}
        given = {(seen.message_id, seen.key) for seen in all_seen}
        missing = {key for _, key in due} - {key for _, key in given}
        found += [f"live differs: {reader} was not given {key}" for key in sorted(missing)]
        found += [
            f"live differs: {reader} was given {key} as {number}"
            for number, key in sorted(given - due)
        ]
    return found
