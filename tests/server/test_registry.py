"""The registry: places are counted, taken and released by identity, and audiences are right."""

from __future__ import annotations

import pytest
from support.server_parts import connection, open_room, outbox_of, private_room, session

from server.state.registry import Registry
from server.state.session import Session


@pytest.fixture
def registry() -> Registry:
    return Registry(max_connections=3, max_per_address=2)


def online(registry: Registry, *sessions: Session) -> None:
    for one in sessions:
        registry.go_online(one)


# Connections


def test_connections_are_counted_and_their_places_come_free(registry: Registry) -> None:
    peers = [connection(address=f"192.0.2.{number}") for number in range(3)]
    for peer in peers:
        assert registry.refuses(peer.address, is_loopback=False) is None
        registry.add_connection(peer)
    assert "at most 3 connections" in str(registry.refuses("192.0.2.9", is_loopback=False))
    assert registry.refuses("127.0.0.1", is_loopback=True) is not None
    registry.remove_connection(peers[0])
    assert registry.refuses("192.0.2.9", is_loopback=False) is None
    assert set(registry.connections()) == set(peers[1:])


def test_an_address_has_places_of_its_own_and_loopback_as_many_as_it_wants() -> None:
    registry = Registry(max_connections=0, max_per_address=2)
    peers = [connection() for _ in range(2)]
    for peer in peers:
        registry.add_connection(peer)
    assert "from one address" in str(registry.refuses("192.0.2.1", is_loopback=False))
    assert registry.refuses("192.0.2.1", is_loopback=True) is None
    assert registry.refuses("192.0.2.2", is_loopback=False) is None
    registry.remove_connection(peers[0])
    assert registry.refuses("192.0.2.1", is_loopback=False) is None


def test_0_means_no_limit() -> None:
    registry = Registry(0, 0)
    for _ in range(50):
        registry.add_connection(connection())
    assert registry.refuses("192.0.2.1", is_loopback=False) is None


def test_what_is_returned_is_a_copy(registry: Registry) -> None:
    peer, one = connection(), session(1)
    registry.add_connection(peer)
    online(registry, one)
    registry.connections().clear()
    registry.sessions().clear()
    assert registry.connections() == [peer]
    assert registry.sessions() == [one]


# Places of accounts


def test_an_account_has_one_session_and_the_newer_takes_its_place(registry: Registry) -> None:
    old, new = session(1), session(1)
    assert registry.go_online(old) is None
    assert registry.holder(1) is registry.online(1) is old
    assert registry.go_online(new) is old
    assert registry.holder(1) is registry.online(1) is new
    assert (old.is_online, new.is_online) == (False, True)
    assert registry.sessions() == [new]
    assert registry.online_ids() == {1}


def test_a_place_is_released_by_identity_not_by_name(registry: Registry) -> None:
    old, new = session(1), session(1)
    online(registry, old, new)
    assert not registry.release(old), "the clean-up of the old session, which comes late"
    assert registry.holder(1) is new and new.is_online
    assert registry.release(new)
    assert registry.holder(1) is None
    assert not registry.release(new), "only once"


def test_a_login_that_was_given_up_takes_no_place(registry: Registry) -> None:
    holder, given_up = session(1), session(1)
    online(registry, holder)
    registry.release(given_up)
    assert registry.go_online(given_up) is None
    assert not given_up.is_online
    assert registry.holder(1) is holder and holder.is_online


def test_a_silenced_session_keeps_its_place_and_hears_nothing(registry: Registry) -> None:
    one = session(1, "events")
    online(registry, one)
    registry.silence(one)
    assert registry.holder(1) is one
    assert registry.online(1) is None
    assert registry.online_ids() == set()
    assert registry.audience(open_room(7)) == ()
    assert registry.listeners() == ()


def test_of_two_logins_in_one_transaction_the_second_asks_about_the_first(
    registry: Registry,
) -> None:
    first, second = session(1), session(1)
    asked: list[Session] = []

    def spare(holder: Session) -> bool:
        asked.append(holder)
        registry.sessions()  # would raise if the registry's lock were held here
        return False

    assert registry.promise(first, spare)
    assert asked == [], "nobody has the place"
    assert not registry.promise(second, spare)
    assert asked == [first]
    assert registry.promise(second, lambda holder: True)
    assert registry.holder(1) is None, "a promise is no place yet"
    registry.forget_promises()
    assert registry.promise(first, spare)
    assert asked == [first]


def test_a_login_is_asked_about_the_session_that_is_there(registry: Registry) -> None:
    there, late = session(1), session(1)
    online(registry, there)
    assert not registry.promise(late, lambda holder: holder is not there)
    assert registry.promise(late, lambda holder: holder is there)


def test_a_session_knows_who_still_saves_what_they_have(registry: Registry) -> None:
    first, second, third = session(1), session(1), session(1)
    online(registry, first, second)
    assert second.predecessors == (first,)
    registry.release(second)
    registry.has_ended(first)
    assert first.has_ended
    online(registry, third)
    assert third.predecessors == (second,), "the first has saved everything"
    registry.has_ended(second)
    assert second.predecessors == ()


# Audiences


def test_an_open_room_is_heard_by_everybody_who_is_online_and_has_not_left(
    registry: Registry,
) -> None:
    here, departed, released = session(1), session(2), session(3)
    online(registry, here, departed, released)
    registry.release(released)
    assert registry.audience(open_room(7, 2)) == (here,)


def test_a_private_room_is_heard_by_its_members_who_are_online(registry: Registry) -> None:
    member, stranger = session(1), session(2)
    online(registry, member, stranger)
    assert registry.audience(private_room(7, 1, 9)) == (member,)


def test_an_audience_is_remembered_until_somebody_comes_or_goes(registry: Registry) -> None:
    room, one, two = open_room(7), session(1), session(2)
    online(registry, one)
    before = registry.audience(room)
    assert registry.audience(room) is before
    online(registry, two)
    assert set(registry.audience(room)) == {one, two}
    registry.release(one)
    assert registry.audience(room) == (two,)


def test_an_audience_is_made_anew_where_the_room_has_changed(registry: Registry) -> None:
    one, two = session(1), session(2)
    online(registry, one, two)
    assert registry.audience(private_room(7, 1)) == (one,)
    assert set(registry.audience(private_room(7, 1, 2))) == {one, two}
    assert registry.audience(open_room(7, 1)) == (two,)


def test_events_are_heard_by_those_who_asked_for_them(registry: Registry) -> None:
    hears, deaf, later = session(1, "events"), session(2), session(3, "events", "typing")
    online(registry, hears, deaf)
    assert registry.listeners() == (hears,)
    online(registry, later)
    assert set(registry.listeners()) == {hears, later}
    assert registry.listeners([2, 3]) == (later,)
    assert registry.listeners([]) == ()
    registry.release(later)
    assert registry.listeners() == (hears,)


def test_the_registry_sends_nothing(registry: Registry) -> None:
    one = session(1, "events")
    online(registry, one)
    registry.audience(open_room(7))
    registry.release(one)
    assert outbox_of(one).sent == [] and outbox_of(one).broken is None
