"""Features: who asked gets events, who did not gets none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support import fresh_name
from support.raw_client import Packet, RawClient, encode, error_code, fence
from support.server_process import ServerProcess

User = Callable[..., RawClient]
BOTH = ["events", "typing"]


def events_of(packets: list[Packet]) -> list[Packet]:
    return [packet["data"] for packet in packets if packet["action"] == "event"]


def about_rooms(packets: list[Packet], room_id: str) -> list[Packet]:
    return [data for data in events_of(packets) if data.get("room_id") == room_id]


def make_private(owner: RawClient, *members: RawClient) -> str:
    reply = owner.ask(
        "create_room", participants=[member.chatid for member in members], room_name="Private"
    )
    assert reply["action"] == "room_created", reply
    return str(reply["data"]["room_id"])


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ([], []),
        (["events"], ["events"]),
        (["typing"], ["typing"]),
        (BOTH, BOTH),
        (BOTH[::-1], BOTH),
        (["no-such-feature"], []),
        (["events", "no-such-feature", "events"], ["events"]),
    ],
)
def test_the_reply_names_the_features_granted(
    client_factory: User, asked: list[str], granted: list[str]
) -> None:
    client, name = client_factory(), fresh_name()
    client.register(name)
    reply = client.login(name, features=asked)
    assert reply["action"] == "login_success"
    assert sorted(reply["data"]["features"]) == granted


def test_who_did_not_ask_gets_no_event(user: User, room: str) -> None:
    actor, plain, typist = user(features=BOTH), user(), user(features=["typing"])
    actor.say(room, "makes a room")
    private = make_private(actor, plain, typist)
    actor.ask("rename_room", room_id=private, new_room_name="x")
    actor.ask("remove_user_from_room", room_id=private, user_to_remove=plain.chatid)
    actor.ask("add_user_to_room", room_id=private, user_to_add=plain.chatid)
    actor.send({"action": "typing", "data": {"chatid": actor.chatid, "room_id": room}})
    actor.ask("delete_room", room_id=private)
    passing = user(features=BOTH)
    passing.close()
    [came, to_typist] = fence(actor, plain, typist)
    assert {packet["action"] for packet in came} == {"receive_message"}
    assert {data["type"] for data in events_of(to_typist)} <= {"typing"}


def test_coming_and_going_are_told(user: User, client_factory: User) -> None:
    watcher, leaving, closing, again = user(features=["events"]), user(), user(), client_factory()
    names = [leaving.chatid, closing.chatid]

    def told(kind: str) -> None:
        for name in names:  # side by side: of one name it is told once in 5 s (R-EVT-9)
            watcher.receive_event(kind, chatid=name)

    told("user_online")
    leaving.ask("logout")
    closing.close()
    told("user_offline")
    leaving.login(leaving.chatid)
    again.login(closing.chatid, take_over=True)
    told("user_online")
    leaving.close()
    again.close()
    told("user_offline")


def test_an_event_has_the_shape_of_the_contract(user: User) -> None:
    watcher = user(features=["events"])
    other = user()
    packet = watcher.receive_where(
        lambda packet: packet.get("data", {}).get("chatid") == other.chatid
    )
    assert packet == {"action": "event", "data": {"type": "user_online", "chatid": other.chatid}}


def test_a_new_open_room_is_told_to_all(user: User, room: str) -> None:
    watcher, maker = user(features=["events"]), user()
    maker.say(room, "first")
    event = watcher.receive_event("room_created", room_id=room)
    assert isinstance(event["name"], str) and event["name"]
    maker.say(room, "second")
    [came] = fence(maker, watcher)
    assert about_rooms(came, room) == [], "a room is made once"


def test_the_life_of_a_private_room_is_told_to_its_members_only(user: User) -> None:
    owner, member, stranger = user(), user(features=["events"]), user(features=["events"])
    private = make_private(owner, member)
    created = member.receive_event("room_created", room_id=private)
    assert created["name"] == "Private"
    owner.ask("rename_room", room_id=private, new_room_name="Renamed")
    assert member.receive_event("room_renamed", room_id=private)["name"] == "Renamed"
    owner.ask("delete_room", room_id=private)
    assert member.receive_event("room_deleted", room_id=private)["name"] == "Renamed"
    [came] = fence(owner, stranger)
    assert about_rooms(came, private) == []


def test_who_is_added_or_removed_is_told_with_the_members(user: User) -> None:
    owner, member = user(), user(features=["events"])
    moved, stranger = user(features=["events"]), user(features=["events"])
    private = make_private(owner, member)
    about = {"room_id": private, "chatid": moved.chatid}
    owner.ask("add_user_to_room", room_id=private, user_to_add=moved.chatid)
    for client in (member, moved):
        client.receive_event("user_added", **about)
    owner.ask("remove_user_from_room", room_id=private, user_to_remove=moved.chatid)
    for client in (member, moved):
        client.receive_event("user_removed", **about)
    owner.ask("rename_room", room_id=private, new_room_name="Later")
    member.receive_event("room_renamed", room_id=private)
    for came in fence(owner, moved, stranger):
        assert about_rooms(came, private) == []


def test_nobody_is_told_of_a_request_that_changes_nothing(user: User) -> None:
    owner, member, newcomer = user(), user(features=["events"]), user()
    private = make_private(owner, member)
    member.receive_event("room_created", room_id=private)
    again = owner.ask("add_user_to_room", room_id=private, user_to_add=member.chatid.upper())
    assert again["data"] == {"room_id": private, "user_added": member.chatid}
    same = owner.ask("rename_room", room_id=private, new_room_name="Private")
    assert same["action"] == "room_renamed"
    owner.ask("add_user_to_room", room_id=private, user_to_add=newcomer.chatid)
    owner.ask("add_user_to_room", room_id=private, user_to_add=newcomer.chatid)
    [came] = fence(owner, member)
    assert about_rooms(came, private) == [
        {"type": "user_added", "room_id": private, "chatid": newcomer.chatid}
    ]


@pytest.mark.parametrize("by", ["session_key", "take_over"])
def test_who_is_displaced_is_told_before_the_close(
    user: User, client_factory: User, by: str
) -> None:
    first = user(features=["events"])
    first.nothing_before_pong()
    second = client_factory()
    if by == "session_key":
        second.login(first.chatid, None, session_key=first.session_key)
    else:
        second.login(first.chatid, take_over=True)
    assert [packet["data"] for packet in first.expect_closed()] == [{"type": "taken_over"}]


def test_who_is_displaced_in_the_midst_of_sending_is_told(user: User, client_factory: User) -> None:
    first = user(features=["events"])
    first.send_bytes(encode({"action": "ping"}) * 200)
    client_factory().login(first.chatid, take_over=True)
    told = [packet["data"] for packet in first.expect_closed() if packet["action"] == "event"]
    assert told == [{"type": "taken_over"}], "before or behind what was being answered"


def test_who_is_displaced_without_events_is_told_nothing(user: User, client_factory: User) -> None:
    first = user(features=["typing"])
    first.nothing_before_pong()
    client_factory().login(first.chatid, take_over=True)
    assert first.expect_closed() == []


def test_who_leaves_a_private_room_is_told_as_removed(user: User) -> None:
    owner, leaver = user(features=["events"]), user()
    private = make_private(owner, leaver)
    leaver.ask("leave_room", room_id=private)
    owner.receive_event("user_removed", room_id=private, chatid=leaver.chatid)


def test_typing_is_told_to_the_room_and_has_no_reply(user: User) -> None:
    typist, member = user(features=BOTH), user(features=BOTH)
    stranger = user(features=BOTH)
    private = make_private(typist, member)
    typist.send({"action": "typing", "data": {"chatid": typist.chatid, "room_id": private}})
    replies = [packet for packet in typist.nothing_before_pong() if packet["action"] != "event"]
    assert replies == []
    event = member.receive_event("typing", room_id=private)
    assert event == {"type": "typing", "room_id": private, "chatid": typist.chatid}
    typist.send({"action": "typing", "data": {"chatid": typist.chatid, "room_id": "lobby"}})
    stranger.receive_event("typing", room_id="lobby", chatid=typist.chatid)
    [came] = fence(typist, stranger)
    assert about_rooms(came, private) == []


@pytest.mark.parametrize("features", [None, [], ["events"], ["no-such-feature"]])
def test_typing_without_the_feature_is_forbidden(user: User, features: list[str] | None) -> None:
    client = user() if features is None else user(features=features)
    answer = client.ask("typing", room_id="lobby")
    assert error_code(answer) == "forbidden" and answer["original_action"] == "typing"


def test_typing_in_an_unknown_room_is_not_found(user: User, room: str) -> None:
    client = user(features=["typing"])
    assert error_code(client.ask("typing", room_id=room)) == "room_not_found"


def test_features_are_asked_for_at_each_login(user: User) -> None:
    watcher, actor = user(features=BOTH), user()
    watcher.ask("logout")
    assert watcher.login(watcher.chatid)["action"] == "login_success"
    watcher.nothing_before_pong()
    other = user(features=BOTH)
    [came] = fence(actor, watcher)
    assert events_of(came) == []
    assert other.chatid
    assert error_code(watcher.ask("typing", room_id="lobby")) == "forbidden"


def test_who_asked_is_told_that_the_server_closes(
    start_server: Callable[..., ServerProcess], user: User
) -> None:
    process = start_server()
    asked, plain = user(server=process, features=["events"]), user(server=process)
    asked.nothing_before_pong()
    assert process.stop() == 0
    assert {"type": "server_closing"} in events_of(asked.expect_closed())
    assert plain.expect_closed() == []


def test_events_keep_their_place_among_messages(user: User, room: str) -> None:
    watcher, maker = user(features=["events"]), user()
    key = {"chatid": maker.chatid, "room_id": room, "content": "first", "transaction_id": "k"}
    confirm = {"transaction_id": "k", "confirm": True}
    maker.send_bytes(
        encode({"action": "send_message", "data": key})
        + encode({"action": "confirm_count", "data": confirm})
    )
    created = watcher.receive_where(
        lambda packet: packet.get("data", {}).get("room_id") == room, what="anything about the room"
    )
    assert created["action"] == "event" and created["data"]["type"] == "room_created"
    watcher.receive_message("first", room)
