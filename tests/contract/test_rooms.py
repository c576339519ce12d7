"""Open and private rooms: who belongs, who may do what, lists and their pages, unread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.raw_client import Packet, RawClient, error_code, fence
from support.server_process import ServerProcess

User = Callable[..., RawClient]
Start = Callable[..., ServerProcess]


def make_private(owner: RawClient, *members: RawClient, name: str = "Private") -> str:
    """Make a private room and return its id."""
    reply = owner.ask(
        "create_room", participants=[member.chatid for member in members], room_name=name
    )
    assert (reply["action"], reply["status"]) == ("room_created", "success") and reply["message"], (
        reply
    )
    room_id = reply["data"]["room_id"]
    assert room_id.startswith("p-") and 22 <= len(room_id[2:]) <= 62, "128 random bits"
    return str(room_id)


def all_pages(
    client: RawClient, action: str, key: str, name: Callable[[Any], str], limit: int | None
) -> list[Any]:
    """A whole list, gathered page by page."""
    found: list[Any] = []
    while True:
        data: Packet = {} if limit is None else {"limit": limit}
        if found:
            data["after"] = name(found[-1])
        reply = client.ask(action, **data)["data"]
        assert limit is None or len(reply[key]) <= limit
        found += reply[key]
        if not reply.get("has_more", False):
            return found
        assert reply[key], "an empty page says that more follow"


def rooms_of(client: RawClient) -> dict[str, Packet]:
    """The rooms that a user sees, by id."""
    rooms = all_pages(client, "get_rooms", "rooms", lambda room: str(room["id"]), None)
    return {room["id"]: room for room in rooms}


def unread(client: RawClient, room_id: str) -> int:
    number = rooms_of(client)[room_id]["unread"]
    assert type(number) is int
    return number


# open rooms


def test_a_fresh_server_has_one_room(start_server: Start, user: User) -> None:
    client = user(server=start_server())
    reply = client.ask("get_rooms")
    assert (reply["action"], reply["status"]) == ("rooms_list", "success") and reply["message"]
    [lobby] = reply["data"]["rooms"]
    assert lobby.keys() == {
        "id",
        "name",
        "owner",
        "private",
        "members",
        "has_more",
        "unread",
        "last_message_id",
        "read_only",
        "uploads",
    }
    assert (lobby["id"], lobby["owner"], lobby["private"], lobby["unread"]) == (
        "lobby",
        None,
        False,
        0,
    )
    users = client.ask("get_users")
    assert (users["action"], users["status"]) == ("users_list", "success") and users["message"]
    assert users["data"]["users"] == [client.chatid] and users["data"]["online"] == [client.chatid]


def test_the_first_stored_message_makes_the_room(user: User, room: str) -> None:
    alice, bob = user(), user()
    transaction = alice.propose(room, "first")["data"]["transaction_id"]
    assert room not in rooms_of(bob)
    number = alice.confirm(transaction)["data"]["message_id"]
    made = rooms_of(bob)[room]
    assert (made["owner"], made["private"], made["last_message_id"]) == (None, False, number)
    assert bob.receive_message("first")["data"]["room_id"] == room


def test_everybody_who_is_on_belongs_to_an_open_room(
    user: User, client_factory: User, room: str
) -> None:
    alice, bob = user(), user()
    alice.say(room, "hello")
    late = user()
    outside = client_factory()
    alice.say(room, "hello again")
    assert [bob.receive_message(room_id=room)["data"]["content"] for _ in range(2)] == [
        "hello",
        "hello again",
    ]
    assert late.receive_message(room_id=room)["data"]["content"] == "hello again"
    assert outside.nothing_before_pong() == []
    listed = alice.ask("get_room_users", room_id=room)
    assert (listed["action"], listed["data"]["room_id"]) == ("room_users_list", room)
    assert listed["data"]["room_name"]
    if not listed["data"].get("has_more"):
        assert {alice.chatid, bob.chatid, late.chatid} <= set(listed["data"]["users"])


def test_leaving_an_open_room_ends_live_delivery_until_one_joins(user: User, room: str) -> None:
    alice, bob, carol = user(), user(), user()
    alice.say(room, "one")
    left = bob.ask("leave_room", room_id=room)
    assert (left["action"], left["status"], left["data"]["room_id"]) == (
        "room_left",
        "success",
        room,
    )
    alice.say(room, "two")
    [came] = fence(alice, bob)
    assert [packet["data"]["content"] for packet in came] == ["one"]
    assert carol.receive_message("two", room)
    joined = bob.ask("join_room", room_id=room)
    assert (joined["action"], joined["status"], joined["data"]["room_id"]) == (
        "room_joined",
        "success",
        room,
    )
    alice.say(room, "three")
    assert bob.receive_message(room_id=room)["data"]["content"] == "three"
    history = bob.ask("get_messages", room_id=room, after_id=0)["data"]["messages"]
    assert [message["content"] for message in history] == ["one", "two", "three"]


def test_sending_to_an_open_room_brings_it_back(user: User, room: str) -> None:
    alice, bob = user(), user()
    alice.say(room, "one")
    bob.receive_message("one")
    bob.ask("leave_room", room_id=room)
    bob.say(room, "back again")
    alice.say(room, "two")
    assert bob.receive_message(room_id=room)["data"]["content"] == "two"


def test_leaving_holds_over_logins(user: User, client_factory: User, room: str) -> None:
    alice, bob = user(), user()
    alice.say(room, "one")
    bob.ask("leave_room", room_id=room)
    again = client_factory()
    assert again.login(bob.chatid, take_over=True)["action"] == "login_success"
    alice.say(room, "two")
    assert fence(alice, again) == [[]]


def test_joining_and_leaving_twice_is_as_good_as_once(user: User, room: str) -> None:
    alice, bob = user(), user()
    alice.say(room, "one")
    bob.receive_message("one")
    for action, reply in (("join_room", "room_joined"), ("leave_room", "room_left")):
        for _ in range(3):
            assert bob.ask(action, room_id=room)["action"] == reply
    bob.ask("join_room", room_id=room)
    bob.ask("join_room", room_id=room)
    alice.say(room, "two")
    assert fence(alice, bob)[0][0]["data"]["content"] == "two"


@pytest.mark.parametrize(
    ("action", "data"),
    [
        ("add_user_to_room", {"user_to_add": "no-such-user"}),
        ("remove_user_from_room", {"user_to_remove": "no-such-user"}),
        ("rename_room", {"new_room_name": "Mine"}),
        ("delete_room", {}),
    ],
)
def test_an_open_room_belongs_to_nobody(user: User, room: str, action: str, data: Packet) -> None:
    maker, other = user(), user()
    maker.say(room, "mine?")
    for client in (maker, other):
        for room_id in (room, "lobby"):
            assert error_code(client.ask(action, room_id=room_id, **data)) == "forbidden"


def test_without_new_rooms_an_unknown_id_is_not_found(start_server: Start, user: User) -> None:
    alice = user(server=start_server("--no-new-rooms"))
    alice.say("lobby", "hello")
    assert error_code(alice.ask("send_message", room_id="new", content="x")) == "room_not_found"
    upload = {"file_path": "a", "file_size": 0, "file_type": "x", "total_packets": 0}
    assert error_code(alice.ask("file_send_init", room_id="new", **upload)) == "room_not_found"
    assert list(rooms_of(alice)) == ["lobby"]


def test_a_user_makes_at_most_100_rooms(user: User, room: str) -> None:
    alice, bob = user(), user()
    for number in range(50):
        alice.say(f"{room} {number}", "x")
        make_private(alice)
    answer = alice.ask("create_room", participants=[], room_name="one more")
    assert error_code(answer) == "quota_exceeded"
    answer = alice.ask("send_message", room_id=f"{room} more", content="x")
    if answer["action"] == "character_count":
        answer = alice.confirm(answer["data"]["transaction_id"])
        assert (answer["status"], answer["code"]) == ("error", "quota_exceeded"), answer
    else:
        assert error_code(answer) == "quota_exceeded"
    alice.say(f"{room} 7", "an old one is still good")
    bob.say(f"{room} more", "another user makes it")
    alice.say(f"{room} more", "now it is there")


# private rooms


def test_a_private_room_is_its_members_only(user: User) -> None:
    alice, bob, stranger = user(), user(), user()
    private = make_private(alice, bob, name="The two of us")
    for client in (alice, bob):
        seen = rooms_of(client)[private]
        assert (seen["name"], seen["owner"], seen["private"]) == (
            "The two of us",
            alice.chatid,
            True,
        )
        users = client.ask("get_room_users", room_id=private)["data"]
        assert (users["room_id"], users["room_name"]) == (private, "The two of us")
        assert users["users"] == sorted([alice.chatid, bob.chatid])
    assert private not in rooms_of(stranger)
    alice.say(private, "a secret")
    assert bob.receive_message("a secret")["data"]["room_id"] == private
    bob.say(private, "kept")
    alice.receive_message("kept")
    assert fence(alice, stranger) == [[]]


STRANGERS_TRIES: list[tuple[str, Packet]] = [
    ("send_message", {"content": "x"}),
    ("get_messages", {"from_time": "2024-01-01T00:00:00Z"}),
    ("get_messages", {"after_id": 0}),
    ("join_room", {}),
    ("leave_room", {}),
    ("add_user_to_room", {"user_to_add": "no-such-user"}),
    ("remove_user_from_room", {"user_to_remove": "no-such-user"}),
    ("rename_room", {"new_room_name": "x"}),
    ("delete_room", {}),
    ("get_room_users", {}),
    ("file_send_init", {"file_path": "a", "file_size": 1, "file_type": "x", "total_packets": 1}),
    ("file_send_data", {"file_path": "a", "sequence_number": 1, "file_data": "YQ=="}),
    ("file_send_fin", {"file_path": "a", "total_packets": 1}),
    ("file_list_req", {}),
    ("file_down_req", {"file_path": "a"}),
    ("file_cancel", {"file_path": "a"}),
]


@pytest.mark.parametrize(("action", "data"), STRANGERS_TRIES)
def test_to_a_stranger_a_private_room_does_not_exist(user: User, action: str, data: Packet) -> None:
    alice, stranger = user(), user()
    private = make_private(alice)
    real = stranger.ask(action, room_id=private, **data)
    made_up = stranger.ask(action, room_id="p-0123456789abcdefghijkl", **data)
    for answer in (real, made_up):
        assert error_code(answer) == "room_not_found"
        answer.pop("request_id")
    assert real["message"].replace(private, "") == made_up["message"].replace(
        "p-0123456789abcdefghijkl", ""
    )


def test_typing_in_a_strangers_room_is_not_found(user: User) -> None:
    alice, stranger = user(), user(features=["typing"])
    assert error_code(stranger.ask("typing", room_id=make_private(alice))) == "room_not_found"


def test_an_unknown_participant_makes_no_room(user: User) -> None:
    alice, bob = user(), user()
    before = set(rooms_of(bob))
    answer = alice.ask("create_room", participants=[bob.chatid, "no-such-user"], room_name="x")
    assert error_code(answer) == "user_not_found"
    assert "no-such-user" in answer["message"]
    assert set(rooms_of(bob)) == before


def test_participants_may_be_named_in_any_form_and_twice(user: User) -> None:
    alice, bob = user(), user()
    names = [bob.chatid.upper(), bob.chatid, alice.chatid]
    reply = alice.ask("create_room", participants=names, room_name="x")
    users = alice.ask("get_room_users", room_id=reply["data"]["room_id"])["data"]["users"]
    assert users == sorted([alice.chatid, bob.chatid])


@pytest.mark.parametrize("name", ["", " ", " x", "x ", "x" * 65, "a\nb", "a\u202eb", "\x1b[2J"])
def test_an_impossible_room_name_is_a_bad_packet(user: User, name: str) -> None:
    alice = user()
    answer = alice.ask("create_room", participants=[], room_name=name)
    assert error_code(answer) == "bad_packet" and "data.room_name" in answer["message"]
    answer = alice.ask("rename_room", room_id=make_private(alice), new_room_name=name)
    assert error_code(answer) == "bad_packet" and "data.new_room_name" in answer["message"]


def test_members_old_and_new_read_all_of_the_history(user: User) -> None:
    alice, bob = user(), user()
    private = make_private(alice)
    alice.say(private, "long ago")
    added = alice.ask("add_user_to_room", room_id=private, user_to_add=bob.chatid)
    assert (added["action"], added["status"]) == ("user_added", "success") and added["message"]
    assert (added["data"]["room_id"], added["data"]["user_added"]) == (private, bob.chatid)
    history = bob.ask("get_messages", room_id=private, after_id=0)["data"]["messages"]
    assert [message["content"] for message in history] == ["long ago"]
    alice.say(private, "welcome")
    assert bob.receive_message(room_id=private)["data"]["content"] == "welcome"


def test_who_left_a_private_room_is_out_until_added_again(user: User) -> None:
    alice, bob = user(), user()
    private = make_private(alice, bob)
    assert bob.ask("leave_room", room_id=private)["action"] == "room_left"
    assert error_code(bob.ask("join_room", room_id=private)) == "room_not_found"
    assert error_code(bob.ask("send_message", room_id=private, content="x")) == "room_not_found"
    assert private not in rooms_of(bob)
    alice.say(private, "gone?")
    assert fence(alice, bob) == [[]]
    alice.ask("add_user_to_room", room_id=private, user_to_add=bob.chatid)
    assert private in rooms_of(bob)
    assert bob.ask("join_room", room_id=private)["action"] == "room_joined"
    bob.say(private, "here again")


def test_who_was_removed_is_out_at_once(user: User) -> None:
    alice, bob = user(), user()
    private = make_private(alice, bob)
    transaction = bob.propose(private, "begun before")["data"]["transaction_id"]
    removed = alice.ask("remove_user_from_room", room_id=private, user_to_remove=bob.chatid)
    assert (removed["action"], removed["status"]) == ("user_removed", "success") and removed[
        "message"
    ]
    assert (removed["data"]["room_id"], removed["data"]["user_removed"]) == (private, bob.chatid)
    assert error_code(bob.ask("get_messages", room_id=private, after_id=0)) == "room_not_found"
    late = bob.confirm(transaction)
    assert late["status"] == "error" and late["code"] in {
        "room_not_found",
        "transaction_not_found",
    }, late
    alice.say(private, "without bob")
    assert fence(alice, bob) == [[]]


def test_the_owner_cannot_leave_or_be_removed(user: User) -> None:
    alice, bob = user(), user()
    private = make_private(alice, bob)
    assert error_code(alice.ask("leave_room", room_id=private)) == "forbidden"
    answer = alice.ask("remove_user_from_room", room_id=private, user_to_remove=alice.chatid)
    assert error_code(answer) == "forbidden"
    assert alice.ask("get_room_users", room_id=private)["data"]["users"] == sorted(
        [alice.chatid, bob.chatid]
    )


@pytest.mark.parametrize(
    ("action", "data"),
    [
        ("add_user_to_room", {"user_to_add": "no-such-user"}),
        ("remove_user_from_room", {"user_to_remove": "no-such-user"}),
        ("rename_room", {"new_room_name": "Mine"}),
        ("delete_room", {}),
    ],
)
def test_what_the_owner_may_is_forbidden_to_members(user: User, action: str, data: Packet) -> None:
    alice, bob = user(), user()
    private = make_private(alice, bob)
    assert error_code(bob.ask(action, room_id=private, **data)) == "forbidden"
    assert rooms_of(alice)[private]["name"] == "Private"


def test_unknown_users_are_not_found(user: User) -> None:
    alice = user()
    private = make_private(alice)
    answer = alice.ask("add_user_to_room", room_id=private, user_to_add="no-such-user")
    assert error_code(answer) == "user_not_found"
    answer = alice.ask("remove_user_from_room", room_id=private, user_to_remove="no-such-user")
    assert error_code(answer) == "user_not_found"


def test_a_renamed_room_shows_its_new_name(user: User) -> None:
    alice, bob = user(), user()
    private = make_private(alice, bob)
    renamed = alice.ask("rename_room", room_id=private, new_room_name="Neu 👍")
    assert (renamed["action"], renamed["status"]) == ("room_renamed", "success") and renamed[
        "message"
    ]
    assert (renamed["data"]["room_id"], renamed["data"]["new_room_name"]) == (private, "Neu 👍")
    assert rooms_of(bob)[private]["name"] == "Neu 👍"
    assert bob.ask("get_room_users", room_id=private)["data"]["room_name"] == "Neu 👍"


def test_a_deleted_room_is_out_of_reach(user: User) -> None:
    alice, bob = user(), user()
    private = make_private(alice, bob)
    alice.say(private, "last words")
    transaction = bob.propose(private, "too late")["data"]["transaction_id"]
    deleted = alice.ask("delete_room", room_id=private)
    assert (deleted["action"], deleted["status"], deleted["data"]["room_id"]) == (
        "room_deleted",
        "success",
        private,
    )
    for client in (alice, bob):
        assert private not in rooms_of(client)
        for action, data in STRANGERS_TRIES:
            assert error_code(client.ask(action, room_id=private, **data)) == "room_not_found", (
                action
            )
    late = bob.confirm(transaction)
    assert late["status"] == "error" and late["code"] in {
        "room_not_found",
        "transaction_not_found",
    }, late


def test_private_rooms_have_ids_of_their_own(user: User) -> None:
    alice = user()
    assert len({make_private(alice, name="Same") for _ in range(10)}) == 10


# lists


def test_rooms_are_sorted_and_come_in_pages(start_server: Start, user: User) -> None:
    alice = user(server=start_server())
    names = [f"room{number:02}" for number in range(12)]
    for name in reversed(names):
        alice.say(name, "x")
    expected = ["lobby", *names]
    whole = alice.ask("get_rooms")["data"]
    assert [room["id"] for room in whole["rooms"]] == expected
    assert not whole.get("has_more", False)
    page = alice.ask("get_rooms", limit=5)["data"]
    assert [room["id"] for room in page["rooms"]] == expected[:5] and page["has_more"] is True
    for limit in (1, 5, 13, 100):
        rooms = all_pages(alice, "get_rooms", "rooms", lambda room: str(room["id"]), limit)
        assert [room["id"] for room in rooms] == expected
    assert alice.ask("get_rooms", after="room11")["data"]["rooms"] == []
    assert alice.ask("get_rooms", after="room10x")["data"]["rooms"][0]["id"] == "room11"


def test_users_are_sorted_and_come_in_pages(
    start_server: Start, user: User, client_factory: User
) -> None:
    process = start_server()
    alice = user("alice", process)
    names = [f"user{number:02}" for number in range(12)]
    registrar = client_factory(process)
    for name in reversed(names):
        assert registrar.register(name)["action"] == "register_success"
    registrar.login("user07")
    expected = ["alice", *names]
    whole = alice.ask("get_users")["data"]
    assert whole["users"] == expected and whole["online"] == ["alice", "user07"]
    for limit in (1, 5, 13, 100):
        assert all_pages(alice, "get_users", "users", str, limit) == expected
    page = alice.ask("get_users", after="user05", limit=3)["data"]
    assert (page["users"], page["online"], page["has_more"]) == (names[6:9], ["user07"], True)
    page = alice.ask("get_room_users", room_id="lobby", after="user05", limit=3)["data"]
    assert (page["users"], page["has_more"]) == (names[6:9], True)


def test_pages_miss_nobody_whatever_the_letters(
    start_server: Start, user: User, client_factory: User
) -> None:
    process = start_server()
    alice, registrar = user("Mia", process), client_factory(process)
    names = ["Zoe", "adam", "Ärne", "_x", "a.b", "a-b", "A_c", "ÿ", "名前", "Straße", "10", "9"]
    for name in names:
        assert registrar.register(name)["action"] == "register_success"
    ids = ["Zoo", "apple", "Ä", "_", "a b", "10", "9", "'", "%", "名"]
    for room_id in ids:
        alice.say(room_id, "x")
    for limit in (1, 2, 100):
        users = all_pages(alice, "get_users", "users", str, limit)
        assert len(users) == len(set(users)) and set(users) == {"Mia", *names}
        rooms = [
            room["id"]
            for room in all_pages(alice, "get_rooms", "rooms", lambda room: str(room["id"]), limit)
        ]
        assert len(rooms) == len(set(rooms)) and set(rooms) == {"lobby", *ids}


def test_a_list_that_would_pass_the_frame_is_cut(
    start_server: Start, user: User, client_factory: User
) -> None:
    process = start_server("--max-frame", "32768", "--max-content", "1024", "--rate-limit", "0")
    alice, registrar = user("alice", process), client_factory(process)
    names = [f"{number:04}{'x' * 28}" for number in range(100)]
    made = sorted(make_private(alice, name="👍" * 64) for _ in range(100))
    for name in names:
        assert registrar.register(name)["action"] == "register_success"
    assert all_pages(alice, "get_users", "users", str, None) == [*names, "alice"]
    rooms = all_pages(alice, "get_rooms", "rooms", lambda room: str(room["id"]), None)
    assert [room["id"] for room in rooms] == ["lobby", *made]


# unread


def test_unread_counts_others_messages_above_the_mark(user: User, room: str) -> None:
    alice, bob = user(), user()
    for number in range(4):
        alice.say(room, f"{number}")
    assert unread(bob, room) == 4
    assert unread(alice, room) == 0
    messages = [bob.receive_message(f"{number}", room) for number in range(4)]
    bob.answer(messages[1])
    assert unread(bob, room) == 2
    bob.answer(messages[0])
    assert unread(bob, room) == 2, "the mark never goes back"
    bob.answer(messages[2], {"x": 1})
    assert unread(bob, room) == 2, "what was miscounted is not acknowledged"
    bob.say(room, "an answer")
    assert unread(bob, room) == 0
    assert unread(alice, room) == 1


def test_reading_the_history_moves_the_mark(user: User, room: str) -> None:
    alice, bob = user(), user()
    numbers = [alice.say(room, f"{number}")["data"]["message_id"] for number in range(5)]
    bob.ask("get_messages", room_id=room, after_id=0, limit=2)
    assert unread(bob, room) == 3
    bob.ask("get_messages", room_id=room, after_id=numbers[3])
    assert unread(bob, room) == 0


def test_unread_survives_a_restart(start_server: Start, user: User, client_factory: User) -> None:
    process = start_server()
    alice, bob = user("alice", process), user("bob", process)
    for number in range(3):
        alice.say("lobby", f"{number}")
    bob.ask("get_messages", room_id="lobby", after_id=0, limit=1)
    process.restart()
    again = client_factory(process)
    again.login("bob", take_over=True)
    assert unread(again, "lobby") == 2


def test_rooms_survive_a_kill(start_server: Start, user: User, client_factory: User) -> None:
    process = start_server()
    alice, bob = user("alice", process), user("bob", process)
    private = make_private(alice, bob, name="Kept")
    alice.say(private, "kept")
    alice.say("open", "kept")
    gone = make_private(alice)
    alice.ask("delete_room", room_id=gone)
    bob.ask("leave_room", room_id="open")
    process.kill()
    process.start()
    again, alice = client_factory(process), client_factory(process)
    again.login("bob", take_over=True)
    alice.login("alice", take_over=True)
    assert rooms_of(again)[private]["name"] == "Kept"
    assert gone not in rooms_of(alice) and {"lobby", "open", private} <= set(rooms_of(alice))
    assert error_code(again.ask("rename_room", room_id=private, new_room_name="x")) == "forbidden"
    alice.say("open", "bob left")
    assert fence(alice, again) == [[]]
