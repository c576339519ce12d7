"""What the page may ask of the relay: rows, faults, holding, editing, sending again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.patience import until
from support.relays import Line, Listener, RelayUnderTest

from conformance.packets import encode
from conformance.relay import step as stepping
from conformance.relay.acts import VIEWERS_MAY, Acts
from webpage import ActRefused

PING = {"action": "ping"}
LOGIN = {"action": "login", "data": {"chatid": "ada", "password": "hush"}}


@pytest.fixture
def line(relay: RelayUnderTest, listener: Listener) -> Iterator[Line]:
    both = Line(listener, relay)
    yield both
    both.client.close()
    both.server.close()


@pytest.fixture
def acts(relay: RelayUnderTest) -> Acts:
    return Acts(
        relay.story, relay.steering, relay.relay, "127.0.0.1:9875", "127.0.0.1:9876", ActRefused
    )


def do(acts: Acts, name: str, **asked: Any) -> Any:
    return acts.all[name](asked)


def refused(acts: Acts, name: str, **asked: Any) -> str:
    with pytest.raises(ActRefused) as caught:
        do(acts, name, **asked)
    return str(caught.value)


def held(relay: RelayUnderTest, *rows: int) -> None:
    """Wait until exactly these rows are held."""
    until(lambda: relay.steering.step.held() == list(rows), f"{rows} are not held")


def test_the_state_tells_a_page_that_comes_later(
    relay: RelayUnderTest, line: Line, acts: Acts
) -> None:
    line.to_server(LOGIN)
    relay.events.wait_kind("name")
    do(acts, "fault_add", fault="drop", action="ack", every="")
    state = acts.state()
    assert state["connections"][0]["user"] == "ada"
    assert [each["text"] for each in state["faults"]] == ["drop ack"]
    assert "confirm_count" in state["actions"] and len(state["kinds"]) == 12
    assert json.loads(json.dumps(state)) == state
    assert set(acts.all) >= VIEWERS_MAY


def test_a_row_is_told_in_full(relay: RelayUnderTest, line: Line, acts: Acts) -> None:
    line.to_server(LOGIN)
    relay.events.wait_kind("frame", row=1)
    detail = do(acts, "row", row=1)
    assert (detail["action"], detail["user"], detail["length"]) == ("login", "ada", 60)
    assert "not kept any more" in refused(acts, "row", row=7)
    for row in (None, "x", [], float("nan"), 1e400):
        refused(acts, "row", row=row)


def test_faults_are_added_and_removed_and_all_pages_are_told(
    relay: RelayUnderTest, line: Line, acts: Acts
) -> None:
    added = do(acts, "fault_add", fault="drop", to="server", every="2")["faults"]
    assert [each["text"] for each in added] == ["drop to=server every=2"]
    line.to_server(PING, PING, LOGIN)
    assert [line.at_server(), line.at_server()] == [PING, LOGIN]
    relay.events.wait(
        lambda each: each["kind"] == "faults" and [x["hits"] for x in each["faults"]] == [1]
    )
    assert do(acts, "fault_remove", id=added[0]["id"]) == {"faults": []}
    assert refused(acts, "fault_remove", id=1) == "This fault is gone already."
    assert "'lose' is no kind" in refused(acts, "fault_add", fault="lose")


def test_held_messages_go_one_by_one_and_only_relayed_ones_wait(
    relay: RelayUnderTest, listener: Listener, line: Line, acts: Acts
) -> None:
    do(acts, "step", do="on")
    other = Line(listener, relay)
    line.to_server(PING, LOGIN)
    held(relay, 1)
    other.to_client(PING)
    held(relay, 1, 2)
    assert relay.events.wait_kind("frame", row=1)["held"] is True
    do(acts, "step", do="one", row=2)
    assert other.at_client() == PING
    do(acts, "step", do="one")
    assert line.at_server() == PING
    held(relay, 3)
    assert refused(acts, "step", do="one", row=1) == "Row 1 is not held."
    do(acts, "step", do="off")
    assert line.at_server() == LOGIN
    assert refused(acts, "step", do="one") == "Nothing is held."
    assert refused(acts, "step", do="back") == "Expected on, off, one or until."
    other.client.close()
    other.server.close()


def test_all_pass_up_to_an_action(relay: RelayUnderTest, line: Line, acts: Acts) -> None:
    assert "up to which action" in refused(acts, "step", do="until")
    do(acts, "step", do="on")
    line.to_server(PING)
    held(relay, 1)
    do(acts, "step", do="until", action="log*")
    assert acts.state()["step"] == {"on": True, "held": [], "until": "log*"}
    line.to_server(PING, LOGIN)
    assert [line.at_server(), line.at_server()] == [PING, PING]
    held(relay, 3)
    assert acts.state()["step"]["until"] is None


def test_a_held_message_is_edited_and_keeps_its_password(
    relay: RelayUnderTest, line: Line, acts: Acts
) -> None:
    do(acts, "step", do="on")
    line.to_server(LOGIN, PING)
    held(relay, 1)
    relay.events.wait_kind("frame", row=1)
    shown = do(acts, "row", row=1)["json"]
    assert "hush" not in shown
    do(acts, "edit", row=1, json=shown.replace("ada", "ben"))
    packet = {"action": "login", "data": {"chatid": "ben", "password": "hush"}}
    assert line.at_server() == packet
    held(relay, 2)
    assert "Write the text" in refused(acts, "edit", row=2, json="")
    do(acts, "edit", row=2, json="[1")
    assert line.server.recv(100) == b"\0\0\0\2[1"
    assert "is not held" in refused(acts, "edit", row=2, json="{}")


def test_a_packet_is_sent_again(relay: RelayUnderTest, line: Line, acts: Acts) -> None:
    line.to_server(PING)
    relay.events.wait_kind("frame", row=1)
    do(acts, "again", row=1)
    assert [line.at_server(), line.at_server()] == [PING, PING]
    assert relay.events.wait_kind("frame", row=2)["fault"] == "again 1"
    line.client.sendall(encode(LOGIN)[:5])
    line.server.recv(5)
    assert "Half a packet is under way" in refused(acts, "again", row=1)
    line.client.close()
    line.server.close()
    relay.events.wait_kind("close")
    until(lambda: relay.relay.open_connections == 0, "the connection stays open")
    assert refused(acts, "again", row=1) == "Connection 1 is over."
    assert "still kept" in refused(acts, "again", row=9)
    assert "still kept" in refused(acts, "again", row=3)


def test_what_is_held_when_its_client_leaves_is_forgotten(
    relay: RelayUnderTest, line: Line, acts: Acts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepping, "LOOK_SECONDS", 0.02)
    do(acts, "step", do="on")
    line.to_server(PING)
    held(relay, 1)
    connection = relay.relay.connection(1)
    assert connection is not None
    connection.end("left", reset=True)
    held(relay)
    relay.events.wait_kind("close")


def test_time_limits_are_told_where_holding_trips_them(
    relay: RelayUnderTest, line: Line, acts: Acts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepping, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(stepping, "LIMITS", ((0.02, "held for too long (R-FRAME-8)"),))
    do(acts, "step", do="on")
    line.to_server(PING)
    assert "R-FRAME-8" in relay.events.wait_kind("came_of", row=1)["text"]
