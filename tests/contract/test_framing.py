"""Framing, the rules of JSON, the checks of packets, and the order in which they answer."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
from support import fresh_name
from support.patience import patience
from support.raw_client import (
    ClosedByServer,
    NothingCame,
    Packet,
    RawClient,
    encode,
    error_code,
    frame,
)
from support.seed import drawn
from support.server_process import ServerProcess

Connect = Callable[..., RawClient]

FIRST_LIMIT = 64 * 1024
FULL_LIMIT = 1024 * 1024

CLIENT_ACTIONS = [
    "send_message",
    "get_messages",
    "character_count",
    "confirm_count",
    "ack",
    "file_send_init",
    "file_send_data",
    "file_send_fin",
    "file_cancel",
    "file_list_req",
    "file_down_req",
    "logout",
    "change_password",
    "create_room",
    "get_rooms",
    "join_room",
    "leave_room",
    "add_user_to_room",
    "remove_user_from_room",
    "rename_room",
    "delete_room",
    "get_room_users",
    "get_users",
    "typing",
]
UNKNOWN_ACTIONS = [
    "no_such_action",
    "LOGIN",
    "login ",
    "__class__",
    "login_success",
    "login_fail",
    "receive_message",
    "receive_file",
    "messages_list",
    "error",
    "pong",
    "file_down_meta",
    "file_down_data",
    "file_down_fin",
    "register_success",
    "register_fail",
    "logout_ack",
    "room_created",
    "rooms_list",
    "event",
    "file_cancelled",
]


def ping_of(size: int) -> bytes:
    """The body of a ping that is exactly this long, by a key that nobody knows."""
    start, end = b'{"action":"ping","padding":"', b'"}'
    return start + b"x" * (size - len(start) - len(end)) + end


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    """A ping nested this deep, its own object counted."""
    inner = depth - 1
    middle = '"x":'.join([opening] * inner) if opening == "{" else opening * inner
    return f'{{"action":"ping","x":{middle}{closing * inner}}}'.encode()


def elements(count: int) -> bytes:
    """A ping of this many keys and elements."""
    return b'{"action":"ping","x":[' + b",".join([b"0"] * (count - 2)) + b"]}"


BAD_JSON = {
    "a byte that UTF-8 never has": b'{"action":"ping","x":"\xff"}',
    "an overlong form": b'{"action":"ping","x":"\xc0\xaf"}',
    "an encoded surrogate": b'{"action":"ping","x":"\xed\xa0\x80"}',
    "a code point over the last": b'{"action":"ping","x":"\xf5\x80\x80\x80"}',
    "a sequence cut off": b'{"action":"ping","x":"\xe2\x82"}',
    "a byte-order mark": b'\xef\xbb\xbf{"action":"ping"}',
    "UTF-16": '{"action":"ping"}'.encode("utf-16"),
    "UTF-16 without a mark": '{"action":"ping"}'.encode("utf-16-le"),
    "UTF-32": '{"action":"ping"}'.encode("utf-32"),
    "blanks": b"   ",
    "an array": b"[]",
    "a string": b'"ping"',
    "a number": b"1",
    "null": b"null",
    "true": b"true",
    "two objects": b'{"action":"ping"}{"action":"ping"}',
    "bytes behind the object": b'{"action":"ping"} x',
    "a NUL behind the object": b'{"action":"ping"}\x00',
    "a cut object": b'{"action":"pi',
    "a comment": b'{"action":"ping"/* hi */}',
    "a comma at the end": b'{"action":"ping",}',
    "single quotes": b"{'action':'ping'}",
    "a hexadecimal number": b'{"action":"ping","x":0x10}',
    "a leading zero": b'{"action":"ping","x":01}',
    "a plus sign": b'{"action":"ping","x":+1}',
    "a number without its zero": b'{"action":"ping","x":.5}',
    "NaN": b'{"action":"ping","x":NaN}',
    "Infinity": b'{"action":"ping","x":Infinity}',
    "-Infinity": b'{"action":"ping","x":-Infinity}',
    "a number that overflows": b'{"action":"ping","x":1e999}',
    "a negative number that overflows": b'{"action":"ping","x":[-1e999]}',
    "2^53": b'{"action":"ping","x":9007199254740992}',
    "-2^53": b'{"action":"ping","x":-9007199254740992}',
    "2^63": b'{"action":"ping","x":9223372036854775808}',
    "4300 digits": b'{"action":"ping","x":' + b"9" * 4300 + b"}",
    "4301 digits": b'{"action":"ping","x":' + b"9" * 4301 + b"}",
    "33 deep in arrays": nested(33),
    "33 deep in objects": nested(33, "{", "}"),
    "1,000 deep": nested(1000),
    "30,000 deep": nested(30000),
    "10,000 deep in arrays never closed": b'{"action":"ping","x":' + b"[" * 10000,
    "10,001 keys and elements": elements(10001),
    "a key twice": b'{"action":"login","action":"ping"}',
    "a key twice inside": b'{"action":"ping","data":{"a":1,"a":1}}',
    "a key twice, once escaped": b'{"action":"ping","\\u0061ction":"ping"}',
    "a lone surrogate": b'{"action":"ping","x":"\\ud800"}',
    "a lone low surrogate": b'{"action":"ping","x":"\\udc00x"}',
    "a lone surrogate in a key": b'{"action":"ping","\\ud800":1}',
    "a raw control byte": b'{"action":"ping","x":"a\nb"}',
    "another protocol's line": b"GET / HTTP/1.1\r\n\r\n",
}

GOOD_JSON = {
    "32 deep": nested(32),
    "10,000 keys and elements": elements(10000),
    "2^53-1": b'{"action":"ping","x":[9007199254740991,-9007199254740991]}',
    "a fraction": b'{"action":"ping","x":[1.5,-0.0,1e10]}',
    "blanks around": b' \r\n\t{"action" : "ping" } \n',
    "an escaped key": b'{"\\u0061ction":"ping"}',
    "a pair of surrogates": b'{"action":"ping","x":"\\ud83d\\ude00"}',
    "keys that programs know": b'{"action":"ping","__proto__":1,"__class__":{},"constructor":[]}',
    "data without keys": b'{"action":"ping","data":{}}',
    "data with unknown keys": b'{"action":"ping","data":{"x":[{}]},"y":null}',
}


def check_bad_json(client: RawClient, body: bytes) -> None:
    client.send_body(body)
    answer = client.receive()
    assert error_code(answer) == "bad_json", answer
    assert answer["original_action"] == "unknown", answer
    assert client.nothing_before_pong() == []


@pytest.mark.parametrize("body", BAD_JSON.values(), ids=BAD_JSON.keys())
def test_bad_json_is_answered_and_the_connection_lives(
    client_factory: Connect, body: bytes
) -> None:
    check_bad_json(client_factory(), body)


@pytest.mark.parametrize("body", GOOD_JSON.values(), ids=GOOD_JSON.keys())
def test_good_json_is_taken(client_factory: Connect, body: bytes) -> None:
    client = client_factory()
    client.send_body(body)
    assert client.receive()["action"] == "pong"


@pytest.mark.parametrize(
    "body",
    [
        nested(100_000),
        b'{"action":"ping","x":[' + b"{}," * 300_000 + b"0]}",
        b'{"' + b"k" * 900_000 + b'":1}',
        b'{"action":"ping","x":0.' + b"0" * 1_000_000 + b"1e999999}",
    ],
    ids=["100,000 deep", "a wide one", "a long key", "a long number"],
)
def test_a_bomb_in_a_large_frame_is_refused_at_once(user: Connect, body: bytes) -> None:
    client = user()
    client.send_body(body)
    assert error_code(client.receive()) in {"bad_json", "bad_packet"}
    assert client.nothing_before_pong() == []


def test_the_tenth_bad_json_closes_after_its_answer(client_factory: Connect) -> None:
    client = client_factory()
    for _ in range(9):
        check_bad_json(client, b"{")
    client.send_body(b"{")
    packets = client.expect_closed()
    assert [error_code(packet) for packet in packets] == ["bad_json"]


def test_only_bad_json_counts_towards_the_ten(client_factory: Connect) -> None:
    client = client_factory()
    for _ in range(12):
        assert error_code(client.request({"action": "no_such"})) == "unknown_action"
        assert error_code(client.request({"action": "get_users", "data": {}})) == "not_logged_in"
        assert error_code(client.request({"action": "login", "data": {}})) == "bad_packet"
    assert client.nothing_before_pong() == []


# frames


def refused(client: RawClient, data: bytes, length: int) -> str:
    """Send bytes that are no frame; return the text of the answer, and see the stream end."""
    client.send_bytes(data)
    packets = client.expect_closed()
    assert len(packets) == 1, packets
    assert error_code(packets[0]) == "bad_frame"
    assert packets[0]["original_action"] == "unknown"
    message = str(packets[0]["message"])
    assert str(length) in message.replace(",", "").replace("_", ""), (
        f"{length} is not named: {message}"
    )
    return message


@pytest.mark.parametrize(
    "length", [0, FIRST_LIMIT + 1, FULL_LIMIT, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
)
def test_a_bad_length_is_answered_and_closes_before_login(
    client_factory: Connect, length: int
) -> None:
    refused(client_factory(), struct.pack(">I", length), length)


@pytest.mark.parametrize("length", [0, FULL_LIMIT + 1, 0xFFFFFFFF])
def test_a_bad_length_is_answered_and_closes_after_login(user: Connect, length: int) -> None:
    refused(user(), struct.pack(">I", length), length)


def test_the_answer_to_a_bad_frame_arrives_though_more_is_sent(client_factory: Connect) -> None:
    refused(client_factory(), struct.pack(">I", FIRST_LIMIT + 1) + b"x" * 200_000, FIRST_LIMIT + 1)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", ("http", "get")),
        (b"POST /x HTTP/1.1\r\n\r\n", ("http", "post")),
        (b"SSH-2.0-OpenSSH_9.0\r\n", ("ssh",)),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", ("tls",)),
    ],
    ids=["GET", "POST", "SSH", "TLS"],
)
def test_another_protocol_is_recognised(
    client_factory: Connect, start: bytes, words: tuple[str, ...]
) -> None:
    message = refused(client_factory(), start, struct.unpack(">I", start[:4])[0])
    assert any(word in message.lower() for word in words), message


def test_a_little_endian_length_is_refused(client_factory: Connect) -> None:
    body = b'{"action":"ping"}'
    refused(client_factory(), struct.pack("<I", len(body)) + body, 0x11000000)


def test_a_frame_of_the_limit_is_taken_before_login(client_factory: Connect) -> None:
    client = client_factory()
    client.send_body(ping_of(FIRST_LIMIT))
    assert client.receive()["action"] == "pong"


def test_a_frame_of_the_limit_is_taken_after_login(user: Connect) -> None:
    client = user()
    client.send_body(ping_of(FULL_LIMIT))
    assert client.receive()["action"] == "pong"


def test_the_limit_rises_with_the_login_of_the_same_segment(client_factory: Connect) -> None:
    client, name = client_factory(), fresh_name()
    client.register(name)
    login = {"action": "login", "data": {"chatid": name, "password": "password"}}
    client.send_bytes(encode(login) + frame(ping_of(FULL_LIMIT)))
    assert client.receive()["action"] == "login_success"
    assert client.receive()["action"] == "pong"


def test_a_frame_comes_in_any_pieces(client_factory: Connect) -> None:
    client = client_factory()
    data = encode({"action": "ping", "request_id": "bytes"})
    for at in range(len(data)):
        client.send_bytes(data[at : at + 1])
    assert client.receive()["request_id"] == "bytes"
    for cut in (2, 4, 10):
        client.send_bytes(data[:cut])
        client.send_bytes(data[cut:] + data)
        assert [client.receive()["action"] for _ in range(2)] == ["pong", "pong"]


def test_500_frames_of_one_segment_are_answered_in_order(client_factory: Connect) -> None:
    client = client_factory()
    names = [f"n{number}" for number in range(500)]
    client.send_bytes(b"".join(encode({"action": "ping", "request_id": name}) for name in names))
    assert [client.receive()["request_id"] for _ in names] == names


def test_a_length_too_small_loses_the_place_without_harm(client_factory: Connect) -> None:
    client = client_factory()
    body = b'{"action":"ping","x":"0123456789"}'
    client.send_bytes(struct.pack(">I", 10) + body)
    codes = [error_code(packet) for packet in client.expect_closed()]
    assert codes == ["bad_json", "bad_frame"]


def test_all_that_was_sent_before_a_half_close_is_answered(client_factory: Connect) -> None:
    client, name = client_factory(), fresh_name()
    packets: list[Packet] = [
        {"action": "register", "data": {"chatid": name, "password": "password"}},
        {"action": "login", "data": {"chatid": name, "password": "password"}},
    ]
    packets += [{"action": "get_users", "data": {"chatid": name}}] * 20 + [{"action": "ping"}]
    client.send_bytes(b"".join(encode(packet) for packet in packets))
    client.end_sending()
    actions = [packet["action"] for packet in client.expect_closed()]
    assert actions == ["register_success", "login_success", *["users_list"] * 20, "pong"]


def test_a_message_confirmed_before_a_half_close_is_acknowledged(user: Connect, room: str) -> None:
    client = user()
    client.propose(room, "the last word", transaction_id="last")
    data = {"transaction_id": "last", "confirm": True}
    client.send({"action": "confirm_count", "data": data})
    client.end_sending()
    packets = client.expect_closed()
    assert [packet["action"] for packet in packets] == ["ack"], packets


@pytest.mark.parametrize("cut", [1, 3, 4, 20, -1])
def test_a_frame_cut_by_the_end_of_the_stream_is_nothing(client_factory: Connect, cut: int) -> None:
    client = client_factory()
    client.send_bytes(encode({"action": "ping"})[:cut])
    client.end_sending()
    assert client.expect_closed() == []


# packets


@pytest.mark.parametrize("action", [None, 1, True, [], {}, "absent"])
def test_an_action_that_is_no_string_is_a_bad_packet(user: Connect, action: Any) -> None:
    client = user()
    client.send({"data": {}} if action == "absent" else {"action": action, "data": {}})
    answer = client.receive()
    assert error_code(answer) == "bad_packet", answer
    assert answer["original_action"] == "unknown"
    assert "action" in answer["message"]
    assert client.nothing_before_pong() == []


@pytest.mark.parametrize("logged_in", [False, True], ids=["before login", "after login"])
@pytest.mark.parametrize("action", UNKNOWN_ACTIONS)
def test_an_action_that_clients_do_not_send_is_unknown(
    client_factory: Connect, user: Connect, action: str, logged_in: bool
) -> None:
    client = user() if logged_in else client_factory()
    for data in ({}, {"chatid": client.chatid}, [], None):
        answer = client.request({"action": action, "data": data})
        assert error_code(answer) == "unknown_action", answer
        assert answer["original_action"] == action


@pytest.mark.parametrize("action", CLIENT_ACTIONS)
def test_before_login_nothing_else_is_heard(client_factory: Connect, action: str) -> None:
    client = client_factory()
    for data in ({}, {"chatid": "someone", "room_id": "lobby"}, [], None):
        answer = client.request({"action": action, "data": data})
        assert error_code(answer) == "not_logged_in", answer
        assert answer["original_action"] == action


@pytest.mark.parametrize("data", [[], "x", 1, None, True])
@pytest.mark.parametrize("action", ["ping", "get_users", "send_message"])
def test_data_that_is_no_object_is_a_bad_packet(user: Connect, action: str, data: Any) -> None:
    answer = user().request({"action": action, "data": data})
    assert error_code(answer) == "bad_packet", answer
    assert "data" in answer["message"]
    assert answer["original_action"] == action


def test_data_may_be_left_out_only_where_no_key_is_required(user: Connect) -> None:
    client = user()
    assert client.request({"action": "ping"})["action"] == "pong"
    answer = client.request({"action": "get_users"})
    assert error_code(answer) == "bad_packet"
    assert "data" in answer["message"]


WRONG: dict[str, list[Any]] = {
    "text": [1, True, None, [], {}, "", "a\u0000b"],
    "any text": [1, True, None, [], {}],
    "integer": [True, "1", None, [], {}, 1.5],
    "bool": [1, 0, "true", None, [], {}],
    "object": [[], "x", 1, None, True],
    "list": [{}, "x", 1, None, True],
}

# Every action with the keys that it requires, a good value and the kind of each; identity apart.
REQUIRED: dict[str, dict[str, tuple[Any, str]]] = {
    "send_message": {"room_id": ("lobby", "text"), "content": ("x", "text")},
    "get_messages": {
        "room_id": ("lobby", "text"),
        "from_time": ("2024-01-01T00:00:00Z", "any text"),
    },
    "character_count": {
        "transaction_id": ("no such", "text"),
        "letter_frequencies": ({"x": 1}, "object"),
    },
    "confirm_count": {"transaction_id": ("no such", "text"), "confirm": (True, "bool")},
    "ack": {"transaction_id": ("no such", "text")},
    "file_send_init": {
        "room_id": ("lobby", "text"),
        "file_path": ("a.txt", "text"),
        "file_size": (3, "integer"),
        "file_type": ("text/plain", "any text"),
        "total_packets": (1, "integer"),
    },
    "file_send_data": {
        "room_id": ("lobby", "text"),
        "file_path": ("a.txt", "text"),
        "sequence_number": (1, "integer"),
        "file_data": ("YWJj", "any text"),
    },
    "file_send_fin": {
        "room_id": ("lobby", "text"),
        "file_path": ("a.txt", "text"),
        "total_packets": (1, "integer"),
    },
    "file_cancel": {"room_id": ("lobby", "text"), "file_path": ("a.txt", "text")},
    "file_list_req": {"room_id": ("lobby", "text")},
    "file_down_req": {"room_id": ("lobby", "text"), "file_path": ("a.txt", "text")},
    "change_password": {"password": ("wrong", "text"), "new_password": ("new", "text")},
    "create_room": {"participants": ([], "list"), "room_name": ("Name", "text")},
    "join_room": {"room_id": ("lobby", "text")},
    "leave_room": {"room_id": ("lobby", "text")},
    "add_user_to_room": {"room_id": ("lobby", "text"), "user_to_add": ("someone", "text")},
    "remove_user_from_room": {"room_id": ("lobby", "text"), "user_to_remove": ("someone", "text")},
    "rename_room": {"room_id": ("lobby", "text"), "new_room_name": ("Name", "text")},
    "delete_room": {"room_id": ("lobby", "text")},
    "get_room_users": {"room_id": ("lobby", "text")},
    "typing": {"room_id": ("lobby", "text")},
}
HANDSHAKE = {"character_count", "confirm_count", "ack"}


@pytest.mark.parametrize("action", REQUIRED)
def test_a_key_missing_or_of_the_wrong_type_is_named(user: Connect, action: str) -> None:
    client = user()
    good: dict[str, Any] = {} if action in HANDSHAKE else dict(client.identity(action))
    good |= {key: value for key, (value, _) in REQUIRED[action].items()}
    extra = {"status": "success", "message": "ok"} if action == "ack" else {}
    if action == "character_count":
        good["original_action"] = "receive_message"
    wrong = []
    for key, (_, kind) in REQUIRED[action].items():
        bad_values = [*WRONG[kind], "absent"]
        for value in bad_values:
            data = {**good, key: value}
            if value == "absent":
                del data[key]
            answer = client.request({"action": action, **extra, "data": data})
            try:
                assert error_code(answer) == "bad_packet", answer
                assert answer["original_action"] == action, answer
                assert f"data.{key}" in answer["message"], answer
            except AssertionError as error:
                wrong.append(f"{key}={value!r}: {error}")
    assert not wrong, "\n".join(wrong)
    assert client.nothing_before_pong() == []


OPTIONAL = [
    ("login", {"chatid": "x", "password": "x"}, "take_over", [1, "true", None]),
    ("login", {"chatid": "x", "password": "x"}, "features", ["events", [1], {}]),
    ("login", {"chatid": "x"}, "session_key", [1, "", None, {}]),
    ("login", {"chatid": "x"}, "password", [1, "", None, "x" * 129, "a\u0000b"]),
    ("login", {"password": "x"}, "chatid", [1, "", None, True]),
    ("register", {"chatid": "newname"}, "password", [1, "", None, "x" * 129, "a\u0000b"]),
]


@pytest.mark.parametrize(("action", "good", "key", "values"), OPTIONAL)
def test_wrong_keys_before_login_are_named(
    client_factory: Connect, action: str, good: Packet, key: str, values: list[Any]
) -> None:
    client = client_factory()
    for value in values:
        answer = client.request({"action": action, "data": {**good, key: value}})
        assert error_code(answer) == "bad_packet", (value, answer)
        assert f"data.{key}" in answer["message"], (value, answer)


OPTIONAL_AFTER = [
    (
        "send_message",
        {"room_id": "lobby", "content": "x"},
        "transaction_id",
        ["", "x" * 65, 1, None, "\u0000"],
    ),
    ("get_messages", {"room_id": "lobby"}, "after_id", ["1", True, 1.5, []]),
    ("get_messages", {"room_id": "lobby"}, "before_id", ["1", True, 1.5, []]),
    ("get_messages", {"room_id": "lobby", "after_id": 0}, "limit", [0, -1, 1001, "1", True, 1.5]),
    ("get_rooms", {}, "limit", [0, -1, "1", True]),
    ("get_users", {}, "after", [1, True, {}]),
    ("create_room", {"room_name": "x"}, "participants", [[1], [None], ["x", 2]]),
]


@pytest.mark.parametrize(("action", "good", "key", "values"), OPTIONAL_AFTER)
def test_wrong_optional_keys_are_named(
    user: Connect, action: str, good: Packet, key: str, values: list[Any]
) -> None:
    client = user()
    for value in values:
        answer = client.ask(action, **{**good, key: value})
        assert error_code(answer) == "bad_packet", (value, answer)
        assert f"data.{key}" in answer["message"], (value, answer)


@pytest.mark.parametrize("request_id", ["", "x" * 65, 1, None, {}, "a\u0000b"])
def test_a_bad_request_id_is_a_bad_packet(user: Connect, request_id: Any) -> None:
    client = user()
    client.send({"action": "ping", "request_id": request_id})
    answer = client.receive()
    assert error_code(answer) == "bad_packet", answer
    assert "request_id" in answer["message"]


BAD_ROOM_IDS = ["x" * 65, " x", "x ", "a\nb", "a\u001bb", "a\u202eb", "a\u200bb", "   "]


@pytest.mark.parametrize("room_id", BAD_ROOM_IDS)
@pytest.mark.parametrize("action", ["send_message", "file_send_init", "join_room", "get_messages"])
def test_an_impossible_room_id_is_a_bad_packet(user: Connect, action: str, room_id: str) -> None:
    good = {key: value for key, (value, _) in REQUIRED[action].items()}
    answer = user().ask(action, **{**good, "room_id": room_id})
    assert error_code(answer) == "bad_packet", answer
    assert "data.room_id" in answer["message"]


@pytest.mark.parametrize(
    "room_id",
    ["x", "x" * 64, "../../etc/passwd", "CON", "a b", "'; DROP TABLE rooms;--", "Ünï 👍", "%_"],
)
def test_any_printable_room_id_is_good(user: Connect, room_id: str) -> None:
    client = user()
    ack = client.say(room_id, "hello")
    listed = client.ask("get_messages", room_id=room_id, from_time="2024-01-01T00:00:00Z")
    assert ack["data"]["message_id"] in [
        message["message_id"] for message in listed["data"]["messages"]
    ]


# the order of checks


def test_logged_in_is_checked_before_fields(client_factory: Connect) -> None:
    answer = client_factory().request({"action": "send_message", "data": {"content": 5}})
    assert error_code(answer) == "not_logged_in"


def test_fields_are_checked_before_identity(user: Connect) -> None:
    data = {"chatid": "someone-else", "room_id": "lobby"}
    assert error_code(user().request({"action": "send_message", "data": data})) == "bad_packet"


@pytest.mark.parametrize("action", [action for action in REQUIRED if action not in HANDSHAKE])
def test_another_users_name_is_forbidden_before_the_room_is_looked_at(
    user: Connect, action: str
) -> None:
    client = user()
    good = {key: value for key, (value, _) in REQUIRED[action].items()}
    if "room_id" in good:
        good["room_id"] = "p-no-such-room"
    name = next(iter(client.identity(action)))
    answer = client.request({"action": action, "data": {**good, name: "someone-else"}})
    assert error_code(answer) == "forbidden", answer
    missing = client.request({"action": action, "data": good})
    assert error_code(missing) == "bad_packet", missing
    assert f"data.{name}" in missing["message"], missing


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        ("get_messages", {"from_time": "no time"}),
        (
            "file_send_init",
            {"file_path": "x", "file_size": 2**50, "file_type": "x", "total_packets": 2**33},
        ),
        ("file_send_data", {"file_path": "x", "sequence_number": 1, "file_data": ""}),
        ("file_send_fin", {"file_path": "x", "total_packets": 1}),
        ("file_down_req", {"file_path": "x"}),
        ("file_list_req", {}),
        ("file_cancel", {"file_path": "x"}),
        ("send_message", {"content": "x"}),
        ("add_user_to_room", {"user_to_add": "no-such-user"}),
        ("remove_user_from_room", {"user_to_remove": "no-such-user"}),
        ("rename_room", {"new_room_name": "x"}),
        ("delete_room", {}),
        ("join_room", {}),
        ("leave_room", {}),
        ("get_room_users", {}),
    ],
)
def test_the_room_is_checked_before_the_rest(user: Connect, action: str, fields: Packet) -> None:
    client = user()
    answer = client.ask(action, room_id="p-no-such-room", **fields)
    assert error_code(answer) == "room_not_found", answer


@pytest.mark.parametrize(
    "action",
    [
        "get_messages",
        "file_down_req",
        "file_list_req",
        "join_room",
        "leave_room",
        "rename_room",
        "delete_room",
        "get_room_users",
        "add_user_to_room",
        "remove_user_from_room",
    ],
)
def test_a_room_that_is_not_there_is_not_found(user: Connect, room: str, action: str) -> None:
    good = {key: value for key, (value, _) in REQUIRED[action].items()}
    assert error_code(user().ask(action, **{**good, "room_id": room})) == "room_not_found"


def test_a_file_that_is_not_there_is_not_found(user: Connect) -> None:
    client = user()
    fields = {"room_id": "lobby", "file_path": "nothing.txt"}
    assert error_code(client.ask("file_down_req", **fields)) == "file_not_found"
    chunk = {"sequence_number": 1, "file_data": "YWJj"}
    assert error_code(client.ask("file_send_data", **fields, **chunk)) == "file_not_found"
    assert error_code(client.ask("file_send_fin", **fields, total_packets=1)) == "file_not_found"
    assert error_code(client.ask("file_cancel", **fields)) == "file_not_found"


# replies


def test_replies_carry_the_request_id_and_come_in_order(user: Connect) -> None:
    client = user()
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("get_users", "users_list", {}),
        ("get_rooms", "rooms_list", {}),
        ("no_such", "error", {}),
        ("ping", "pong", {}),
        (
            "get_messages",
            "messages_list",
            {"room_id": "lobby", "from_time": "2024-01-01T00:00:00Z"},
        ),
        ("file_list_req", "file_list_req", {"room_id": "lobby"}),
        ("get_messages", "error", {"room_id": "lobby", "from_time": "never"}),
        ("send_message", "character_count", {"room_id": "lobby", "content": "x"}),
        ("send_message", "error", {"room_id": "lobby"}),
        ("confirm_count", "error", {"transaction_id": "none", "confirm": True}),
        ("join_room", "room_joined", {"room_id": "lobby"}),
    ] * 5
    packets = [
        {"action": action, "request_id": f"q{number}", "data": {**client.identity(action), **data}}
        for number, (action, _, data) in enumerate(asked)
    ]
    client.send_bytes(b"".join(encode(packet) for packet in packets))
    replies = [client.receive() for _ in packets]
    assert [reply["action"] for reply in replies] == [action for _, action, _ in asked]
    assert [reply["request_id"] for reply in replies] == [
        f"q{number}" for number in range(len(asked))
    ]


def test_without_a_request_id_there_is_none_in_the_reply(user: Connect) -> None:
    client = user()
    for packet in ({"action": "ping"}, {"action": "no_such"}, {"action": "get_users", "data": {}}):
        client.send(packet)
        assert "request_id" not in client.receive()


def test_a_request_id_of_64_characters_comes_back_unchanged(client_factory: Connect) -> None:
    client = client_factory()
    for request_id in ("x" * 64, 'é👍 "\\', "7"):
        client.send({"action": "ping", "request_id": request_id})
        assert client.receive()["request_id"] == request_id


def test_unknown_keys_are_ignored(user: Connect, room: str) -> None:
    client = user()
    counted = client.propose(
        room, "x", sender_chatid="other", message_id=1, timestamp="1999-01-01T00:00:00Z"
    )
    ack = client.confirm(counted["data"]["transaction_id"])
    assert ack["data"]["message_id"] > 1 or not ack["data"]["timestamp"].startswith("1999")
    listed = client.ask("get_messages", room_id=room, after_id=0)["data"]["messages"]
    assert listed[0]["sender_chatid"] == client.chatid
    assert not listed[0]["timestamp"].startswith("1999")


def test_either_spelling_of_the_identity_is_taken_in_any_request(
    client_factory: Connect, room: str
) -> None:
    client, name = client_factory(), fresh_name()
    identity = {"chat_id": name}
    register = {"action": "register", "data": {**identity, "password": "password"}}
    assert client.request(register)["action"] == "register_success"
    reply = client.request({"action": "login", "data": {**identity, "password": "password"}})
    assert reply["action"] == "login_success" and reply["data"]["chatid"] == name
    message = {"action": "send_message", "data": {**identity, "room_id": "lobby", "content": "x"}}
    assert client.request(message)["action"] == "character_count"
    assert client.request({"action": "get_users", "data": identity})["action"] == "users_list"
    upload = {"chatid": name, "room_id": room, "file_path": "a", "file_size": 0, "file_type": "x"}
    reply = client.request({"action": "file_send_init", "data": {**upload, "total_packets": 0}})
    assert reply["action"] == "file_send_init" and reply["data"]["chat_id"] == name, reply
    assert (
        client.request({"action": "file_list_req", "data": {"chatid": name, "room_id": "lobby"}})[
            "status"
        ]
        == "success"
    )


def test_many_connections_that_end_at_once_leave_the_server_well(
    server: ServerProcess, client_factory: Connect
) -> None:
    for number in range(200):
        client = RawClient(server.port)
        if number % 2:
            client.send_bytes(b"\x00\x00\x00")
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    assert client_factory().nothing_before_pong() == []


@pytest.mark.parametrize("number", range(4))
def test_a_mutated_packet_never_harms(user: Connect, number: int) -> None:
    """Bytes changed, lost and put in: each frame gets an answer or none, and the server lives."""
    generator = drawn("mutated", number)
    client = user()
    data = {"chatid": client.chatid, "room_id": "lobby", "content": "aé👍", "transaction_id": "t"}
    body = json.dumps(
        {"action": "send_message", "request_id": "m", "data": data}, ensure_ascii=False
    ).encode()
    bad = 0
    for _ in range(150):
        mutated = bytearray(body)
        at = generator.randrange(len(mutated))
        kind = generator.randrange(3)
        if kind == 0:
            mutated[at] = generator.randrange(256)
        elif kind == 1:
            del mutated[at]
        else:
            mutated.insert(at, generator.randrange(256))
        client.send_body(bytes(mutated))
        answer = client.receive()
        assert answer["action"] in {"error", "character_count"}, (mutated, answer)
        if answer["action"] == "error":
            assert error_code(answer) != "internal_error", (mutated, answer)
            bad += answer["code"] == "bad_json"
        if bad == 9:
            client.close()
            client, bad = RawClient(client.port), 0
            name = str(data["chatid"])
            assert client.login(name, take_over=True)["action"] == "login_success"
    client.close()


@pytest.mark.long
def test_a_connection_that_does_not_log_in_is_closed(client_factory: Connect) -> None:
    silent, pinging, slow = client_factory(), client_factory(), client_factory()
    slow.send_bytes(b"\x00\x00")
    for _ in range(16):
        try:
            pinging.receive(5)
        except NothingCame:
            pinging.send_bytes(encode({"action": "ping"}))
        except ClosedByServer:
            break
    else:
        raise AssertionError("it is open after 40 s")
    for client in (silent, slow):
        client.expect_closed(patience(10))


@pytest.mark.long
def test_a_frame_begun_and_not_finished_closes(user: Connect) -> None:
    silent, dripping = user(), user()
    data = encode({"action": "ping", "padding": "x" * 100})
    silent.send_bytes(data[:2])
    for at in range(8):
        dripping.send_bytes(data[at : at + 1])
        try:
            dripping.receive(5)
        except NothingCame:
            continue
        except ClosedByServer:
            break
    silent.expect_closed(patience(5))
    dripping.expect_closed(patience(5))
