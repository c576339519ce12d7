"""Delivery: one joined send a client for each commit, to those who heard the room at that moment;
then the journal."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from support.server_parts import (
    connection,
    open_room,
    outbox_of,
    private_room,
    sent,
    session,
)

import protocol
from server.state.registry import Registry
from server.state.session import Session
from server.writing.delivery import Delivery
from server.writing.journaling import JournalKeeper

DAY = 86_400


class FakeJournal:
    """Remembers what it is told, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def reached(self, kind: str, row_id: int) -> None:
        self.calls.append(("reached", kind, row_id))

    def append(self, room_pk: int, day: int, frames: bytes) -> None:
        self.calls.append(("append", room_pk, day, frames))

    @property
    def appended(self) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.calls if call[0] == "append"]


@pytest.fixture
def registry() -> Registry:
    return Registry(0, 0)


@pytest.fixture
def journal() -> FakeJournal:
    return FakeJournal()


@pytest.fixture
def delivery(registry: Registry, journal: FakeJournal) -> Delivery:
    return Delivery(registry, cast(JournalKeeper, journal))


def online(registry: Registry, *sessions: Session) -> None:
    for one in sessions:
        registry.go_online(one)


def events_in(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Type and data of each event in one send."""
    reader = protocol.FrameReader(0)
    reader.feed(data)
    found = []
    while (payload := reader.next_frame()) is not None:
        data_of = json.loads(payload)["data"]
        found.append((data_of.pop("type"), data_of))
    return found


def test_a_client_gets_everything_of_a_commit_as_one_send_its_replies_first(
    registry: Registry, delivery: Delivery
) -> None:
    one, two = session(1), session(2)
    online(registry, one, two)
    room = open_room(7)
    delivery.to_room(room, 2, b"<first>", 0, ("message", 1))
    delivery.reply(one.connection.outbox, b"<ack>")
    delivery.to_room(room, 2, b"<second>", 0, ("message", 2))
    delivery.reply(one.connection.outbox, b"<ack 2>")
    assert sent(one) == [], "nothing goes before the flush"
    delivery.flush()
    assert sent(one) == [b"<ack><ack 2><first><second>"]
    assert outbox_of(one).forwarded == [len(b"<first><second>")], "replies don't count as forwarded"


def test_a_sender_gets_what_others_said_and_not_its_own(
    registry: Registry, delivery: Delivery
) -> None:
    one, two, three = session(1), session(2), session(3)
    online(registry, one, two, three)
    room = open_room(7)
    for sender, frame in ((1, b"<a>"), (2, b"<b>"), (1, b"<c>")):
        delivery.to_room(room, sender, frame, 0, ("message", 1))
    delivery.flush()
    assert (sent(one), sent(two), sent(three)) == ([b"<b>"], [b"<a><c>"], [b"<a><b><c>"])


def test_a_sender_that_is_alone_gets_nothing(registry: Registry, delivery: Delivery) -> None:
    one = session(1)
    online(registry, one)
    delivery.to_room(open_room(7), 1, b"<a>", 0, ("message", 1))
    delivery.flush()
    assert sent(one) == []


def test_only_the_audience_of_each_room_gets_its_messages(
    registry: Registry, delivery: Delivery
) -> None:
    member, stranger = session(1), session(2)
    online(registry, member, stranger)
    delivery.to_room(private_room(7, 1, 9), 9, b"<secret>", 0, ("message", 1))
    delivery.to_room(open_room(8, 1), 9, b"<open>", 0, ("message", 2))
    delivery.flush()
    assert (sent(member), sent(stranger)) == ([b"<secret>"], [b"<open>"])


def test_who_comes_after_settle_gets_only_what_is_said_from_then_on(
    registry: Registry, delivery: Delivery
) -> None:
    early, late = session(1), session(2)
    online(registry, early)
    room = open_room(7)
    delivery.to_room(room, 9, b"<before>", 0, ("message", 1))
    delivery.settle()
    online(registry, late)
    delivery.to_room(room, 9, b"<after>", 0, ("message", 2))
    delivery.flush()
    assert (sent(early), sent(late)) == ([b"<before><after>"], [b"<after>"])


def test_who_goes_after_settle_still_gets_what_was_said_before(
    registry: Registry, delivery: Delivery
) -> None:
    leaver = session(1)
    online(registry, leaver)
    room = open_room(7)
    delivery.to_room(room, 9, b"<before>", 0, ("message", 1))
    delivery.settle()
    registry.release(leaver)
    delivery.to_room(room, 9, b"<after>", 0, ("message", 2))
    delivery.flush()
    assert sent(leaver) == [b"<before>"]


def test_a_room_that_changes_within_a_commit_is_settled_by_itself(
    registry: Registry, delivery: Delivery
) -> None:
    stays, returns = session(1), session(2)
    online(registry, stays, returns)
    delivery.to_room(open_room(7, 2), 9, b"<before>", 0, ("message", 1))
    delivery.to_room(open_room(7), 9, b"<after>", 0, ("message", 2))
    delivery.flush()
    assert (sent(stays), sent(returns)) == ([b"<before><after>"], [b"<after>"])


def test_a_flush_sends_once(registry: Registry, delivery: Delivery, journal: FakeJournal) -> None:
    one = session(1)
    online(registry, one)
    delivery.to_room(open_room(7), 9, b"<a>", 0, ("message", 1))
    delivery.flush()
    delivery.flush()
    assert sent(one) == [b"<a>"]
    assert journal.appended == [(7, 0, b"<a>")]


# Events


def test_an_event_goes_to_those_who_asked_for_events_but_not_to_whom_it_is_about(
    registry: Registry, delivery: Delivery
) -> None:
    about, hears, deaf = session(1, "events"), session(2, "events"), session(3)
    online(registry, about, hears, deaf)
    delivery.event("user_online", None, 1, chatid="user1")
    delivery.flush()
    assert events_in(sent(hears)[0]) == [("user_online", {"chatid": "user1"})]
    assert sent(about) == sent(deaf) == []


def test_an_event_of_a_private_room_goes_to_its_members(
    registry: Registry, delivery: Delivery
) -> None:
    member, stranger = session(1, "events"), session(2, "events")
    online(registry, member, stranger)
    delivery.event("room_deleted", {1, 9}, room_id="p-7", name="Plans")
    delivery.flush()
    assert len(sent(member)) == 1 and sent(stranger) == []


def test_events_and_messages_keep_their_order_and_go_as_one_send(
    registry: Registry, delivery: Delivery
) -> None:
    one = session(1, "events")
    online(registry, one)
    delivery.event("user_online", None, 2, chatid="user2")
    delivery.to_session(one, b"<direct>")
    delivery.event("user_offline", None, 2, chatid="user2")
    delivery.flush()
    assert len(sent(one)) == 1
    before, _, after = sent(one)[0].partition(b"<direct>")
    assert [event for event, _ in events_in(before) + events_in(after)] == [
        "user_online",
        "user_offline",
    ]


# Ending a session


def test_a_session_that_ends_hears_why_then_is_parted_and_hears_nothing_later(
    registry: Registry, delivery: Delivery
) -> None:
    ended, stays = session(1, "events"), session(2)
    online(registry, ended, stays)
    room = open_room(7)
    delivery.to_room(room, 9, b"<before>", 0, ("message", 1))
    delivery.end(ended, "for the log", "server_closing")
    delivery.to_room(room, 9, b"<after>", 0, ("message", 2))
    assert not ended.connection.ended, "before what it is told is on its way"
    delivery.flush()
    (data,) = sent(ended)
    assert data.startswith(b"<before>") and b"<after>" not in data
    assert [event for event, _ in events_in(data.removeprefix(b"<before>"))] == ["server_closing"]
    assert (ended.connection.ended, ended.connection.parting) == (True, "for the log")
    assert registry.holder(1) is ended, "its place is free when its own thread has ended"
    assert sent(stays) == [b"<before><after>"]


def test_a_session_without_events_is_parted_in_silence(
    registry: Registry, delivery: Delivery
) -> None:
    ended = session(1)
    online(registry, ended)
    delivery.end(ended, "for the log", "server_closing")
    delivery.flush()
    assert sent(ended) == [] and ended.connection.ended


def test_a_session_has_ended_before_anybody_else_is_answered(
    registry: Registry, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has the answer to a kick, or the place that was taken over, may count on the end."""
    ended, answered = session(1, "events"), session(2)
    online(registry, ended, answered)
    seen: list[bool] = []
    outbox = outbox_of(answered)
    monkeypatch.setattr(outbox, "put", lambda *sent: seen.append(ended.connection.ended))
    delivery.reply(answered.connection.outbox, b"<kicked>")
    delivery.end(ended, "for the log", "server_closing")
    delivery.flush()
    assert seen == [True]
    assert len(sent(ended)) == 1


# The journal


def test_the_journal_gets_the_frames_of_each_room_and_day_joined_after_all_sends(
    registry: Registry, delivery: Delivery, journal: FakeJournal
) -> None:
    one = session(1)
    online(registry, one)
    room, other = open_room(7), open_room(8)
    delivery.to_room(room, 9, b"<a>", DAY - 1, ("message", 11))
    delivery.to_room(other, 9, b"<b>", DAY - 1, ("file", 5))
    delivery.to_room(room, 9, b"<c>", DAY - 1, ("message", 12))
    delivery.to_room(room, 9, b"<d>", DAY, ("message", 13))
    reached = [
        ("reached", kind, row)
        for kind, row in (("message", 11), ("file", 5), ("message", 12), ("message", 13))
    ]
    assert journal.calls == reached, "before anything of it is appended"
    delivery.flush()
    assert journal.appended == [(7, 0, b"<a><c>"), (8, 0, b"<b>"), (7, 1, b"<d>")]
    assert sent(one) == [b"<a><c><d><b>"], "each room's messages in their order"


def test_the_journal_keeps_what_nobody_hears(delivery: Delivery, journal: FakeJournal) -> None:
    delivery.to_room(open_room(7), 1, b"<a>", 0, ("message", 1))
    delivery.flush()
    assert journal.appended == [(7, 0, b"<a>")]


def test_replies_and_events_are_not_in_the_journal(
    registry: Registry, delivery: Delivery, journal: FakeJournal
) -> None:
    one = session(1, "events")
    online(registry, one)
    delivery.reply(one.connection.outbox, b"<ack>")
    delivery.event("user_online", None, 2, chatid="user2")
    delivery.flush()
    assert journal.calls == []


def test_a_client_that_is_gone_costs_the_others_nothing(
    registry: Registry, delivery: Delivery
) -> None:
    broken, well = session(1, on=connection()), session(2)
    online(registry, broken, well)
    broken.connection.close("connection lost")
    delivery.to_room(open_room(7), 9, b"<a>", 0, ("message", 1))
    delivery.flush()
    assert (sent(broken), sent(well)) == ([], [b"<a>"])
