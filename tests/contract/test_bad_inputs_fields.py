"""Bad inputs 49 to 70: packets whose keys are missing or wrong, and what is asked by whom or when
it may not be."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support import fresh_name
from support.bad_inputs import House, Place, Row, Table, house, play, rows_of
from support.document import REQUESTS, example_data
from support.files import Upload, encoded
from support.patience import patience, until
from support.raw_client import Packet, RawClient, encode, error_code
from support.server_process import REPOSITORY, server_environment

TABLE = Table()
__all__ = ["house"]

VALUES: dict[str, Any] = {
    **example_data(),
    "password": "password",
    "new_password": "password",
    "session_key": "x" * 32,
    "take_over": True,
    "features": [],
    "room_id": "lobby",
    "content": "Hi",
    "transaction_id": "nothing",
    "confirm": True,
    "letter_frequencies": {"H": 1},
    "original_action": "receive_message",
    "from_time": "2024-01-01T00:00:00Z",
    "after_id": 0,
    "before_id": 10,
    "limit": 10,
    "after": "a",
    "file_path": "a.txt",
    "file_size": 4,
    "file_type": "text/plain",
    "total_packets": 1,
    "chunk_size": 4,
    "sequence_number": 1,
    "from_sequence": 1,
    "file_data": encoded(b"four"),
    "participants": [],
    "room_name": "x",
    "new_room_name": "y",
    "user_to_add": "nobody",
    "user_to_remove": "nobody",
}
WRONG: dict[type, tuple[Any, ...]] = {
    str: (None, 5, 1.5, True, [], {}, ["a"]),
    int: (None, "5", 1.5, True, [], {}, -1),
    bool: (None, "true", 1, 0, 1.0, [], {}),
    list: (None, "a", 5, True, {}, [5], [None], ["a", []]),
    dict: (None, "a", 5, True, [], {"H": "1"}, {"H": None}, {"H": True}, {"H": 1.5}),
}
NULL_IS_FINE = {"before_id"}


def whole(action: str, chatid: str, *, optional: bool = False) -> Packet:
    """A packet in which every field is right."""
    row = REQUESTS[action]
    keys = row.required | (row.optional if optional else frozenset())
    data = {key: chatid if key in ("chatid", "chat_id") else VALUES[key] for key in sorted(keys)}
    if action == "get_messages" and not optional:
        data["from_time"] = VALUES["from_time"]
    packet: Packet = {"action": action, "data": data}
    if action == "ack":
        packet["status"] = "success"
    return packet


def bad_packet(client: RawClient, packet: Packet, named: str = "") -> None:
    """The packet is `bad_packet`, and the message names this key."""
    answer = client.request(packet)
    assert error_code(answer) == "bad_packet", f"{packet} was answered {answer}"
    assert named in answer["message"], f"{named} is not named: {answer['message']}"


# --- The packet and its fields --------------------------------------------------------------------


@TABLE.row(49, "an action that is missing, unknown, no string, very long")
def _(place: Place) -> None:
    client = place.user()
    for packet in (
        {},
        {"action": None},
        {"action": 1},
        {"action": []},
        {"action": ""},
        {"data": {}},
    ):
        bad_packet(client, packet, "action")
    for action in (
        "no_such",
        "x" * 10_000,
        "\x1b[2J\r\n\u202e" * 20,
        "\U0001f44d" * 1_000,
        "error",
    ):
        answer = client.request({"action": action, "data": {}})
        assert error_code(answer) == "unknown_action"
        assert answer["original_action"] == action[:64]
        assert len(answer["message"]) < 400 and not any(c < " " for c in answer["message"])


@TABLE.row(
    50,
    "a required field missing:",
    {action: action for action in REQUESTS if REQUESTS[action].required},
)
def _(place: Place, action: str) -> None:
    anonymous = action in ("login", "register")
    client = place.connect() if anonymous else place.user()
    right = whole(action, client.chatid or fresh_name())
    for key in right["data"]:
        if key == "from_time":
            continue
        packet = {
            **right,
            "data": {other: value for other, value in right["data"].items() if other != key},
        }
        bad_packet(client, packet, f"data.{key}" if key not in ("chatid", "chat_id") else "chat")
    bad_packet(client, {**right, "data": None}, "data")
    bad_packet(client, {"action": action}, "data")


@TABLE.row(
    51,
    "every wrong type of every field:",
    {action: action for action in REQUESTS if action != "ping"},
)
def _(place: Place, action: str) -> None:
    anonymous = action in ("login", "register")
    client = place.connect() if anonymous else place.user()
    right = whole(action, client.chatid or fresh_name(), optional=True)
    for key, value in right["data"].items():
        for wrong in WRONG[type(value)]:
            if wrong is None and key in NULL_IS_FINE:
                continue
            named = f"data.{key}" if key not in ("chatid", "chat_id") else "chat"
            bad_packet(client, {**right, "data": {**right["data"], key: wrong}}, named)
    for wrong in ([], "x", 5, True):
        bad_packet(client, {**right, "data": wrong}, "data")
    if action == "ack":
        for wrong in WRONG[str]:
            bad_packet(client, {**right, "status": wrong}, "status")


@TABLE.row(52, "a boolean where an integer is due")
def _(place: Place) -> None:
    client = place.user()
    for action, row in REQUESTS.items():
        for key in sorted(row.required | row.optional):
            if type(VALUES.get(key)) is int:
                right = whole(action, client.chatid, optional=True)
                for wrong in (True, False):
                    bad_packet(
                        client, {**right, "data": {**right["data"], key: wrong}}, f"data.{key}"
                    )


@TABLE.row(53, "1.0, 1e3, -0 where an integer is due")
def _(place: Place) -> None:
    client = place.user()
    body = b'{"action":"get_messages","data":{"chatid":"%b","room_id":"lobby","after_id":%b}}'
    for text, action in (
        (b"1.0", "error"),
        (b"1e3", "error"),
        (b"-0.0", "error"),
        (b"-0", "messages_list"),
        (b"0", "messages_list"),
    ):
        client.send_body(body % (client.chatid.encode(), text))
        answer = client.receive()
        assert answer["action"] == action, f"{text!r}: {answer}"


@TABLE.row(54, "fields that nobody knows")
def _(place: Place) -> None:
    client = place.user()
    more = {"x": None, "admin": True, "unknown": [{}], "": 0, "data": {"a": 1}}
    for action, expected in (
        ("get_users", "users_list"),
        ("get_rooms", "rooms_list"),
        ("send_message", "character_count"),
    ):
        right = whole(action, client.chatid)
        answer = client.request({**more, **right, "data": {**more, **right["data"]}})
        assert answer["action"] == expected, answer


@TABLE.row(55, "a request id missing, repeated, of 10 kB, an object")
def _(place: Place) -> None:
    client = place.user()
    client.send({"action": "ping"})
    assert "request_id" not in client.receive()
    for _ in range(3):
        client.send({"action": "ping", "request_id": "same \x1b \u202e"})
        assert client.receive()["request_id"] == "same \x1b \u202e"
    for wrong in ("x" * 10_000, "x" * 65, "", {}, [], 5, None, True):
        client.send({"action": "ping", "request_id": wrong})
        answer = client.receive()
        assert (
            error_code(answer) == "bad_packet"
            and "request_id" in answer["message"]
            and "request_id" not in answer
        )


# --- Keys of messages -----------------------------------------------------------------------------


@TABLE.row(56, "a message sent again after its ack was lost")
def _(place: Place) -> None:
    client, listener = place.user(), place.user()
    room_id = place.private_room(client, listener)
    first = client.say(room_id, "once", transaction_id="key")
    client.close()
    again = place.connect()
    again.login(client.chatid, take_over=True)
    second = again.ask("send_message", room_id=room_id, content="once", transaction_id="key")
    assert second["action"] == "ack" and second["data"] == first["data"]
    assert len(again.ask("get_messages", room_id=room_id, after_id=0)["data"]["messages"]) == 1
    listener.receive_message("once")
    assert listener.nothing_before_pong() == []


@TABLE.row(57, "a key used again for another text or room")
def _(place: Place) -> None:
    client = place.user()
    room_id, other = place.private_room(client), place.private_room(client)
    client.say(room_id, "one", transaction_id="key")
    client.propose(room_id, "open", transaction_id="open")
    for key, room, content in (
        ("key", room_id, "two"),
        ("key", other, "one"),
        ("open", room_id, "shut"),
        ("open", other, "open"),
    ):
        answer = client.ask("send_message", room_id=room, content=content, transaction_id=key)
        assert error_code(answer) == "transaction_mismatch", answer
    assert len(client.ask("get_messages", room_id=room_id, after_id=0)["data"]["messages"]) == 1


# --- Sessions -------------------------------------------------------------------------------------


@TABLE.row(58, "every request before login")
def _(place: Place) -> None:
    owner, stranger = place.user(), place.connect()
    room_id = place.private_room(owner)
    for action in REQUESTS:
        if action in ("login", "register", "ping"):
            continue
        said = set()
        for name in (owner.chatid, "nobody"):
            for room in (room_id, "lobby", "p-" + "0" * 32):
                packet = whole(action, name)
                if "room_id" in packet["data"]:
                    packet["data"]["room_id"] = room
                stranger.send(packet)
                answer = stranger.receive()
                assert error_code(answer) == "not_logged_in", answer
                said.add(str(answer))
        assert len(said) == 1, f"{action} tells what there is: {said}"


@TABLE.row(59, "a second login on a connection")
def _(place: Place) -> None:
    client, other = place.user(), place.user()
    for name, fields in (
        (client.chatid, {"password": "password"}),
        (other.chatid, {"password": "password"}),
        (other.chatid, {"session_key": other.session_key}),
        (other.chatid, {"password": "password", "take_over": True}),
        ("nobody", {"password": "x"}),
    ):
        assert (
            error_code(client.request({"action": "login", "data": {"chatid": name, **fields}}))
            == "forbidden"
        )
        assert client.ask("get_users")["action"] == "users_list", "the session goes on"
    assert other.ask("get_users")["action"] == "users_list"
    late = place.connect()
    assert late.login(other.chatid)["action"] == "login_fail", "who is on is on"


@TABLE.row(60, "requests behind a logout, in the same segment too")
def _(place: Place) -> None:
    client, listener = place.user(), place.user()
    room_id = place.private_room(client, listener)
    transaction = client.propose(room_id, "too late")["data"]["transaction_id"]
    behind = [
        {"action": "confirm_count", "data": {"transaction_id": transaction, "confirm": True}},
        whole("get_users", client.chatid),
        {
            "action": "send_message",
            "data": {"chatid": client.chatid, "room_id": room_id, "content": "x"},
        },
    ]
    client.send_bytes(b"".join(map(encode, [whole("logout", client.chatid), *behind])))
    assert client.receive()["action"] == "logout_ack"
    assert [error_code(client.receive()) for _ in behind] == ["not_logged_in"] * 3
    assert error_code(client.request(whole("get_users", client.chatid))) == "not_logged_in"
    assert listener.nothing_before_pong() == []


@TABLE.row(61, "a session key that is another's, cut, changed, of a deleted user")
def _(place: Place) -> None:
    watched = place.main
    owner, other, deleted = (place.user(watched) for _ in range(3))
    line = [
        sys.executable,
        "chat_server.py",
        "deluser",
        deleted.chatid,
        "--data",
        str(watched.process.data_dir),
    ]
    done = subprocess.run(
        line,
        cwd=REPOSITORY,
        env=server_environment(),
        capture_output=True,
        text=True,
        timeout=patience(30),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    deleted.expect_closed()
    key = owner.session_key
    middle = len(key) // 2
    changed = key[:middle] + ("A" if key[middle] != "A" else "B") + key[middle + 1 :]
    attempts = [
        (owner.chatid, other.session_key),
        (owner.chatid, key[:-1]),
        (owner.chatid, key + "A"),
        (owner.chatid, changed),
        (owner.chatid, key.swapcase()),
        (owner.chatid, " "),
        (owner.chatid, "\u202e"),
        (deleted.chatid, deleted.session_key),
        ("nobody", key),
        (other.chatid, key),
    ]
    said = []
    for name, tried in attempts:
        client = place.connect(watched)
        client.send({"action": "login", "data": {"chatid": name, "session_key": tried}})
        said.append(client.receive())
    assert [answer["action"] for answer in said] == ["login_fail"] * len(attempts), said
    assert len(set(map(str, said))) == 1, "one and the same text for all"
    assert owner.ask("get_users")["action"] == "users_list", "nobody took its place"


@TABLE.row(61, "a session key that has expired", long=True)
def _(place: Place) -> None:
    watched = place.server("--session-lifetime", "1")
    client, stranger = place.user(watched), place.connect(watched)
    client.close()
    time.sleep(2.1)  # its lifetime; whole seconds are stored
    late = place.connect(watched).login(client.chatid, None, session_key=client.session_key)
    unknown = stranger.login("nobody", None, session_key=client.session_key)
    assert late["action"] == "login_fail" and {**late, "request_id": ""} == {
        **unknown,
        "request_id": "",
    }


# --- Rooms ----------------------------------------------------------------------------------------


@TABLE.row(62, "a message to a room never joined, left, deleted, or that one was removed from")
def _(place: Place) -> None:
    owner, member, stranger = place.user(), place.user(), place.user()
    never, left, deleted, removed = (place.private_room(owner, member) for _ in range(4))
    waiting = {
        room_id: member.propose(room_id, "waits")["data"]["transaction_id"]
        for room_id in (left, deleted, removed)
    }
    assert member.ask("leave_room", room_id=left)["action"] == "room_left"
    assert owner.ask("delete_room", room_id=deleted)["action"] == "room_deleted"
    assert (
        owner.ask("remove_user_from_room", room_id=removed, user_to_remove=member.chatid)["action"]
        == "user_removed"
    )
    for client, room_id in (
        (stranger, never),
        (member, left),
        (member, deleted),
        (owner, deleted),
        (member, removed),
    ):
        answer = client.ask("send_message", room_id=room_id, content="let me in")
        assert error_code(answer) == "room_not_found", answer
    for room_id, transaction in waiting.items():
        answer = member.confirm(transaction)
        assert error_code(answer) in ("room_not_found", "transaction_not_found"), (
            f"{room_id}: {answer}"
        )
    for client in (owner, member, stranger):
        assert [packet["action"] for packet in client.nothing_before_pong()] == []
    for room_id in (never, left, removed):
        assert owner.ask("get_messages", room_id=room_id, after_id=0)["data"]["messages"] == []


@TABLE.row(63, "the history of a private room by its id")
def _(place: Place) -> None:
    owner, stranger = place.user(), place.user()
    room_id, unknown = place.private_room(owner), "p-" + "0" * 32
    owner.say(room_id, "secret")
    said = []
    for room in (room_id, unknown):
        for keys in ({"after_id": 0}, {"before_id": None}, {"from_time": "2024-01-01T00:00:00Z"}):
            answer = stranger.ask("get_messages", room_id=room, **keys)
            assert error_code(answer) == "room_not_found"
            said.append(answer["message"].replace(room, "ROOM"))
    assert said[:3] == said[3:]


@TABLE.row(64, "a limit of 0, -1, 10^9")
def _(place: Place) -> None:
    client = place.user()
    for action in ("get_messages", "get_users", "get_rooms", "get_room_users", "file_list_req"):
        right = whole(action, client.chatid)
        for limit in (0, -1, 1_001, 10**9, -(10**9)):
            bad_packet(client, {**right, "data": {**right["data"], "limit": limit}}, "data.limit")
        for limit in (1, 1_000):
            assert (
                client.request({**right, "data": {**right["data"], "limit": limit}})["status"]
                == "success"
            )


@TABLE.row(65, "a cursor of another room, of the future, negative")
def _(place: Place) -> None:
    client = place.user()
    room_id, other = place.private_room(client), place.private_room(client)
    ids = [
        client.say(room, content)["data"]["message_id"]
        for room, content in ((room_id, "a"), (other, "b"), (room_id, "c"))
    ]
    for keys, contents in (
        ({"after_id": ids[1]}, ["c"]),
        ({"before_id": ids[1]}, ["a"]),
        ({"after_id": ids[2]}, []),
        ({"after_id": 2**53 - 1}, []),
        ({"before_id": 2**53 - 1}, ["a", "c"]),
        ({"before_id": 0}, []),
        ({"after_id": ids[2], "before_id": ids[0]}, []),
        ({"from_time": "9999-12-31T23:59:59Z"}, []),
        ({"from_time": "0001-01-01T00:00:00+23:59"}, ["a", "c"]),
    ):
        answer = client.ask("get_messages", room_id=room_id, **keys)
        assert answer["action"] == "messages_list", f"{keys}: {answer}"
        assert [message["content"] for message in answer["data"]["messages"]] == contents, keys
    for key in ("after_id", "before_id"):
        assert error_code(client.ask("get_messages", room_id=room_id, **{key: -1})) == "bad_packet"


@TABLE.row(66, "what is the owner's, by a member; a role smuggled into login and register")
def _(place: Place) -> None:
    owner, member = place.user(), place.user()
    room_id = place.private_room(owner, member)
    roles = {"role": "admin", "admin": True, "owner": True, "is_admin": 1, "private": False}
    name = fresh_name()
    smuggler = place.connect()
    assert (
        smuggler.request(
            {
                "action": "register",
                **roles,
                "data": {"chatid": name, "password": "password", **roles},
            }
        )["status"]
        == "success"
    )
    assert smuggler.login(name, **roles)["action"] == "login_success"
    for client, code in ((member, "forbidden"), (smuggler, "room_not_found")):
        for action, keys in (
            ("rename_room", {"new_room_name": "mine"}),
            ("delete_room", {}),
            ("add_user_to_room", {"user_to_add": smuggler.chatid}),
            ("remove_user_from_room", {"user_to_remove": member.chatid}),
        ):
            answer = client.request(
                {
                    "action": action,
                    **roles,
                    "data": {"chatid": client.chatid, "room_id": room_id, **keys, **roles},
                }
            )
            assert error_code(answer) == code, answer
    users = owner.ask("get_room_users", room_id=room_id)["data"]
    assert (
        users["users"] == sorted((owner.chatid, member.chatid)) and users["room_name"] == "a room"
    )


@TABLE.row(67, "sender, number and time by the client's word")
def _(place: Place) -> None:
    client, listener = place.user(), place.user()
    room_id = place.private_room(client, listener)
    claims = {
        "from": listener.chatid,
        "sender_chatid": listener.chatid,
        "seq": 1,
        "message_id": 1,
        "id": 1,
        "time": "2001-01-01T00:00:00Z",
        "timestamp": "2001-01-01T00:00:00Z",
    }
    counted = client.ask("send_message", room_id=room_id, content="mine", **claims)
    confirm = {
        "transaction_id": counted["data"]["transaction_id"],
        "confirm": True,
        **claims,
        "content": "another",
        "room_id": "lobby",
    }
    ack = client.request({"action": "confirm_count", "data": confirm})
    came = listener.receive_message("mine", room_id)["data"]
    assert came["sender_chatid"] == client.chatid
    assert came["message_id"] == ack["data"]["message_id"] > 1
    assert came["timestamp"] == ack["data"]["timestamp"] > "2024"


def join_storm(place: Place, times: int) -> None:
    """R-ROOM-5: joining again succeeds and changes nothing."""
    client = place.user()
    join = encode({"action": "join_room", "data": {"chatid": client.chatid, "room_id": "lobby"}})
    for _ in range(times // 100):
        client.send_bytes(join * 100)
        for _ in range(100):
            assert client.receive_action("room_joined")
    assert (
        client.ask("get_room_users", room_id="lobby", limit=1000)["data"]["users"].count(
            client.chatid
        )
        == 1
    )


@TABLE.row(68, "the same room joined 200 times")
def _(place: Place) -> None:
    join_storm(place, 200)


@TABLE.row(68, "the same room joined 1,000 times", long=True)
def _(place: Place) -> None:
    join_storm(place, 1_000)


def room_storm(client: RawClient, most: int) -> None:
    made = [client.ask("create_room", participants=[], room_name="x") for _ in range(most - 1)]
    client.say(fresh_name("room"), "makes the last one")
    assert all(answer["action"] == "room_created" for answer in made)
    assert error_code(client.ask("create_room", participants=[], room_name="x")) == "quota_exceeded"
    counted = client.ask("send_message", room_id=fresh_name("room"), content="one too many")
    answer = (
        counted
        if counted["action"] == "error"
        else client.confirm(counted["data"]["transaction_id"])
    )
    assert error_code(answer) == "quota_exceeded"
    assert error_code(Upload(client, fresh_name("room"), "a", b"x").init()) == "quota_exceeded"
    client.say("lobby", "still heard")


@TABLE.row(69, "rooms over the quota")
def _(place: Place) -> None:
    room_storm(place.user(place.server("--max-rooms", "5")), 5)


@TABLE.row(69, "10,000 rooms and 1,000 accounts from one client", long=True)
def _(place: Place) -> None:
    client = place.user()
    room_storm(client, 100)
    ask = encode(
        {
            "action": "create_room",
            "data": {"chatid": client.chatid, "participants": [], "room_name": "x"},
        }
    )
    for _ in range(99):
        client.send_bytes(ask * 100)
        assert {error_code(client.receive_action("error")) for _ in range(100)} == {
            "quota_exceeded"
        }
    stranger = place.connect()
    for _ in range(
        1_000
    ):  # accounts have no quota: who wants none from strangers closes registration
        assert stranger.register(fresh_name("many"))["action"] == "register_success"
    assert rows_of(
        place.main.process.data_dir,
        "SELECT count(*) FROM rooms WHERE made_by = (SELECT id FROM accounts WHERE chatid = ?)",
        client.chatid,
    ) == [(100,)]


@TABLE.row(70, "a room with oneself, with somebody unknown")
def _(place: Place) -> None:
    # There is no direct message and no blocking; a private room of two is the nearest.
    client = place.user()
    alone = client.ask("create_room", participants=[client.chatid, client.chatid], room_name="me")
    assert alone["action"] == "room_created"
    client.say(alone["data"]["room_id"], "to myself")
    assert client.nothing_before_pong() == []
    assert client.ask("get_room_users", room_id=alone["data"]["room_id"])["data"]["users"] == [
        client.chatid
    ]
    before = len(client.ask("get_rooms")["data"]["rooms"])
    for names in (["nobody"], [client.chatid, "nobody"], ["\ufdfa"], ["x" * 33], [""]):
        assert error_code(client.ask("create_room", participants=names, room_name="x")) in (
            "user_not_found",
            "bad_packet",
        )
    until(lambda: len(client.ask("get_rooms")["data"]["rooms"]) == before, "a room was half made")


@pytest.mark.parametrize("row", TABLE.parameters())
def test_bad_input(row: Row, house: House, tmp_path: Path) -> None:
    play(row, house, tmp_path)
