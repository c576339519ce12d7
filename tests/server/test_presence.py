"""Presence of one name is told at most once in 5 s, and the last state always (R-EVT-9)."""

from __future__ import annotations

from support.in_process import Clock, Serve, member, stranger
from support.patience import until

from server.state.presence import News, Presence


def test_the_first_change_is_told_at_once_and_the_last_state_when_its_time_has_come() -> None:
    clock = Clock(100.0)
    presence = Presence(clock)
    assert presence.change(1, "ada", True)
    assert not presence.change(1, "ada", False), "5 s have not passed"
    assert not presence.change(1, "ada", True)
    assert not presence.change(1, "ada", False)
    assert presence.change(2, "bob", True), "another name has its own time"
    assert presence.due_at == 105.0 and presence.take_due() == []
    clock.now += 5.0
    assert presence.take_due() == [News(1, "ada", False)]
    assert presence.due_at == 110.0
    clock.now += 4.9
    assert not presence.change(1, "ada", True)
    clock.now += 0.1
    assert presence.take_due() == [News(1, "ada", True)]


def test_what_is_as_it_was_told_is_not_told_again_and_forgotten() -> None:
    clock = Clock(100.0)
    presence = Presence(clock)
    assert presence.change(1, "ada", True)
    presence.change(1, "ada", False)
    presence.change(1, "ada", True)
    clock.now += 5.0
    assert presence.take_due() == []
    assert presence.due_at == float("inf"), "nothing is remembered of who stays"
    assert presence.change(1, "ada", False)


def test_coming_and_going_many_times_is_told_twice(serve: Serve) -> None:
    clock = Clock(1_000.0)
    service = serve(clock=clock, rate_limit=0)
    watcher = member(service, "watcher", features=["events"])
    guest = stranger(service)
    guest.register("guest")
    for _ in range(20):
        assert guest.login("guest")["action"] == "login_success"
        assert guest.ask("logout")["action"] == "logout_ack"
    assert watcher.receive_event("user_online", chatid="guest")
    assert watcher.nothing_before_pong() == []
    clock.now += 5.0
    service.writer.run(lambda _: None)  # wakes it
    watcher.receive_event("user_offline", chatid="guest")
    clock.now += 1.0
    for _ in range(2):
        service.writer.run(lambda _: None)  # it looks before the second
    assert watcher.nothing_before_pong() == []
    until(lambda: service.context.presence.due_at < float("inf"), "it is forgotten too early")
