"""Bad inputs 25 to 48: frames whose bodies aren't the JSON that is asked for, and bodies made to be
dear."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import fresh_name
from support.bad_inputs import House, Place, Row, Table, house, play, refused
from support.document import REQUESTS, example_data
from support.raw_client import Packet, RawClient, error_code, frame
from support.seed import drawn

TABLE = Table()
__all__ = ["house"]
MIB = 1_048_576


def ping(value: bytes) -> bytes:
    """A ping with this text as the value of a key that nobody knows."""
    return b'{"action":"ping","x":' + value + b"}"


def nested(depth: int, opening: bytes, closing: bytes) -> bytes:
    """A ping nested this deep, its own object counted."""
    return ping(opening * (depth - 1) + b"0" + closing * (depth - 1))


def bad_json(place: Place, *bodies: bytes) -> None:
    client = place.user()
    for body in bodies:
        refused(client, body, "bad_json")


def taken(place: Place, *bodies: bytes) -> None:
    client = place.user()
    for body in bodies:
        client.send_body(body)
        assert client.receive()["action"] == "pong", body[:100]


NOT_UTF_8 = {
    "FF": b"\xff",
    "C0 AF": b"\xc0\xaf",
    "ED A0 80": b"\xed\xa0\x80",
    "F5": b"\xf5\x80\x80\x80",
    "cut short": b"\xe2\x82",
    "a continuation": b"\x80",
}


@TABLE.row(25, "invalid UTF-8", NOT_UTF_8)
def _(place: Place, piece: bytes) -> None:
    bad_json(place, ping(b'"' + piece + b'"'), piece, b'{"' + piece + b'":1}')


@TABLE.row(26, "UTF-8 with a byte-order mark")
def _(place: Place) -> None:
    bad_json(place, b'\xef\xbb\xbf{"action":"ping"}')


@TABLE.row(27, "another encoding")
def _(place: Place) -> None:
    bad_json(
        place,
        *(
            '{"action":"ping"}'.encode(name)
            for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
        ),
    )


@TABLE.row(28, "an empty body, blanks only")
def _(place: Place) -> None:
    bad_json(place, b" ", b"   \r\n\t ", b"\0", b"\x0b")  # a body of no bytes is row 6


@TABLE.row(29, "a top level that is no object")
def _(place: Place) -> None:
    bad_json(
        place, b"[]", b'[{"action":"ping"}]', b'"ping"', b"17", b"-1.5", b"null", b"true", b"false"
    )


@TABLE.row(30, "bytes behind the object, two objects")
def _(place: Place) -> None:
    one = b'{"action":"ping"}'
    bad_json(place, one + b" x", one + one, one + b"\n" + one, one + b"\0", one + b"}", one + b",")


@TABLE.row(31, "near-JSON")
def _(place: Place) -> None:
    values = (b"0x10", b"01", b"+1", b".5", b"1.", b"-", b"1e", b"--1")
    bad_json(place, *map(ping, values))
    forms = (
        b'{"action":"ping"/* hi */}',
        b'{"action":"ping",}',
        b"{'action':'ping'}",
        b"{action:1}",
        b'{"action":"ping"}// x',
        b"# x\n{}",
    )
    bad_json(place, *forms, ping(b"[1,]"), ping(b"True"))


@TABLE.row(32, "NaN and Infinity")
def _(place: Place) -> None:
    bad_json(place, *map(ping, (b"NaN", b"Infinity", b"-Infinity", b"[NaN]", b'{"y":NaN}')))


@TABLE.row(33, "1e999")
def _(place: Place) -> None:
    bad_json(place, *map(ping, (b"1e999", b"-1e999", b"[1E+999]", b"1" + b"0" * 400 + b".0")))


@TABLE.row(34, "integers of 4,300 and 4,301 digits")
def _(place: Place) -> None:
    bad_json(place, *(ping(b"9" * size) for size in (1_001, 4_300, 4_301, 60_000)))


@TABLE.row(35, "integers beyond 2^53")
def _(place: Place) -> None:
    bad_json(
        place,
        *(
            ping(str(number).encode())
            for number in (2**53, -(2**53), 2**63 - 1, 2**63, -(2**63) - 1, 2**64)
        ),
    )
    client = place.user()
    for number in (2**53, 2**63 - 1, 2**63, -(2**63) - 1):
        for action, key in (
            ("get_messages", "after_id"),
            ("get_users", "limit"),
            ("file_send_init", "file_size"),
        ):
            data = {**client.identity(action), "room_id": "lobby", key: number}
            client.send({"action": action, "data": data})
            assert error_code(client.receive()) == "bad_json"
        client = place.user()  # its 10 bad frames are not used up
    edge = client.ask("get_messages", room_id="lobby", after_id=2**53 - 1)
    assert edge["data"]["messages"] == []


@TABLE.row(36, "nesting at and over the limit")
def _(place: Place) -> None:
    taken(place, nested(32, b"[", b"]"), nested(32, b'{"y":', b"}"))
    bad_json(place, nested(33, b"[", b"]"), nested(33, b'{"y":', b"}"))


@TABLE.row(37, "nesting of", {"1,000": 1_000, "100,000": 100_000})
def _(place: Place, depth: int) -> None:
    bad_json(
        place,
        nested(depth, b"[", b"]"),
        nested(depth, b'{"y":', b"}"),
        ping(b"[" * depth),
        ping(b'{"y":' * depth),
    )


@TABLE.row(38, "1 MiB of {},")
def _(place: Place) -> None:
    bad_json(
        place,
        *(
            ping(b"[" + piece * (MIB // len(piece) - 20) + b"0]")
            for piece in (b"{},", b"[],", b"0,", b'"",')
        ),
    )


@TABLE.row(39, "a key twice")
def _(place: Place) -> None:
    bad_json(
        place,
        b'{"action":"login","action":"ping"}',
        b'{"action":"ping","data":{"a":1,"a":1}}',
        b'{"action":"ping","x":[{"":1,"":2}]}',
    )


@TABLE.row(40, "keys that differ by escape or by case")
def _(place: Place) -> None:
    taken(
        place,
        b'{"\\u0061ction":"ping"}',
        b'{"action":"ping","Action":"logout"}',
        b'{"action":"p\\u0069ng"}',
    )
    bad_json(place, b'{"action":"ping","\\u0061ction":"ping"}')
    refused(place.user(), b'{"Action":"ping"}', "bad_packet")


@TABLE.row(41, "a lone surrogate")
def _(place: Place) -> None:
    client, listener = place.user(), place.user()
    room_id = place.private_room(client, listener)
    texts = ["\ud800", "x\udfffx", "\udc00\ud800"]
    packets: list[Packet] = []
    for text in texts:
        packets += [
            {
                "action": "send_message",
                "data": {"chatid": client.chatid, "room_id": room_id, "content": text},
            },
            {"action": "register", "data": {"chatid": text, "password": "password"}},
            {
                "action": "create_room",
                "data": {"chatid": client.chatid, "participants": [], "room_name": text},
            },
            {
                "action": "file_send_init",
                "data": {"chat_id": client.chatid, "room_id": "lobby", "file_path": text},
            },
            {"action": "ping", text: 1},
        ]
    for first in range(0, len(packets), 5):
        client = place.connect()
        for packet in packets[first : first + 5]:
            refused(client, json.dumps(packet).encode(), "bad_json")
    assert listener.nothing_before_pong() == []


@TABLE.row(42, "a surrogate pair, escaped")
def _(place: Place) -> None:
    client, listener = place.user(), place.user()
    room_id = place.private_room(client, listener)
    data = b'{"chatid":"%b","room_id":"%b","content":"\\ud83d\\ude00"}'
    body = b'{"action":"send_message","data":' + data + b"}"
    client.send_body(body % (client.chatid.encode(), room_id.encode()))
    counted = client.receive()
    assert counted["data"]["letter_frequencies"] == {"\U0001f600": 1}
    client.confirm(counted["data"]["transaction_id"])
    listener.receive_message("\U0001f600", room_id)


@TABLE.row(43, "NUL inside a text")
def _(place: Place) -> None:
    client = place.user()
    packets: list[Packet] = [
        {
            "action": "send_message",
            "data": {"chatid": client.chatid, "room_id": "lobby", "content": "a\0b"},
        },
        {
            "action": "send_message",
            "data": {"chatid": client.chatid, "room_id": "a\0b", "content": "x"},
        },
        {
            "action": "create_room",
            "data": {"chatid": client.chatid, "participants": [], "room_name": "a\0b"},
        },
        {
            "action": "create_room",
            "data": {"chatid": client.chatid, "participants": ["a\0b"], "room_name": "x"},
        },
        {"action": "get_users", "data": {"chatid": client.chatid, "after": "a\0b"}},
        {
            "action": "get_messages",
            "data": {
                "chatid": client.chatid,
                "room_id": "lobby",
                "from_time": "2024-01-01T00:00:00Z\0",
            },
        },
        {
            "action": "change_password",
            "data": {"chatid": client.chatid, "password": "password", "new_password": "a\0b"},
        },
        {"action": "ping", "request_id": "a\0b"},
    ]
    for packet in packets:
        refused(client, json.dumps(packet).encode(), "bad_packet")


@TABLE.row(44, "a raw control byte inside a string")
def _(place: Place) -> None:
    for number in (0x00, 0x01, 0x0A, 0x1B, 0x1F):
        bad_json(place, ping(b'"a%cb"' % number), b'{"action":"ping","a%cb":1}' % number)


@TABLE.row(45, "keys that programs know")
def _(place: Place) -> None:
    client = place.user()
    keys = ("__proto__", "__class__", "constructor", "__init__", "self", "status", "code")
    for key in keys:
        for value in ({"admin": True}, [], 1, "x", None):
            client.send({"action": "ping", key: value, "data": {key: value}})
            assert client.receive()["action"] == "pong"


@TABLE.row(46, "a key of 1 MiB, 100,000 keys")
def _(place: Place) -> None:
    long_key = b'"' + b"k" * (MIB - 100) + b'"'
    client = place.user()
    refused(client, b"{" + long_key + b":1}", "bad_packet")
    many = b",".join(b'"%d":0' % number for number in range(100_000))
    refused(client, b'{"action":"ping",' + many[: MIB - 50].rpartition(b",")[0] + b"}", "bad_json")
    taken(
        place, b'{"action":"ping",' + long_key + b":1}"
    )  # R-JSON-13: a key that nobody knows is ignored, whatever its length


@TABLE.row(47, "a number of 1 MiB")
def _(place: Place) -> None:
    bad_json(
        place,
        *(
            ping(text)
            for text in (
                b"0." + b"0" * 1_048_000,
                b"0." + b"0" * 1_000_000 + b"1e999999",
                b"-" + b"1" * 1_048_000,
            )
        ),
    )
    bad_json(place, ping(b"1e" + b"9" * 1_048_000))


# --- Every mutation of every packet ---------------------------------------------------------------


VALUES = {
    **example_data(),
    "password": "wrong",
    "new_password": "password",
    "room_id": "mutated",
    "content": "Hi",
    "transaction_id": "t1",
    "confirm": False,
    "letter_frequencies": {"H": 1},
    "original_action": "send_message",
    "from_time": "2024-01-01T00:00:00Z",
    "file_path": "a.txt",
    "file_size": 4,
    "file_type": "text/plain",
    "total_packets": 1,
    "sequence_number": 1,
    "file_data": "AAAAAA==",
    "participants": [],
    "room_name": "x",
    "new_room_name": "y",
    "user_to_add": "nobody",
    "user_to_remove": "nobody",
    "user": "nobody",
    "seconds": 1,
    "message_id": 1,
}


def valid_bodies(name: str) -> list[bytes]:
    """One valid packet of each action, as `name` would send it."""
    bodies = []
    for action, row in REQUESTS.items():
        data = {
            key: name if key in ("chatid", "chat_id") else VALUES[key]
            for key in sorted(row.required)
        }
        if action == "get_messages":
            data["from_time"] = VALUES["from_time"]
        packet: Packet = {"action": action, "data": data}
        if action == "ack":
            packet["status"] = "success"
        bodies.append(json.dumps(packet, separators=(",", ":")).encode())
    return bodies


def mutations(bodies: list[bytes]) -> Iterator[bytes]:
    """Each body with each byte changed, lost, and one put in before it."""
    rng = drawn("mutations")
    for body in bodies:
        for at in range(len(body)):
            yield body[:at] + body[at + 1 :]
            yield body[:at] + bytes([body[at] ^ (1 << rng.randrange(8))]) + body[at + 1 :]
            yield body[:at] + bytes([rng.choice(b'"{}[],:\\0-\0\xff\xe2x')]) + body[at:]


def play_mutations(place: Place, bodies: list[bytes], name: str) -> None:
    """E or A for each; nine on a connection, since the tenth bad frame of one closes it."""
    for first in range(0, len(bodies), 9):
        client: RawClient = place.main.connect()
        try:
            assert client.login(name, take_over=True)["action"] == "login_success"
            client.send_bytes(b"".join(map(frame, bodies[first : first + 9])))
            for answer in client.nothing_before_pong():
                if answer["action"] == "error":
                    error_code(answer)
        finally:
            client.close()


def mutated_user(place: Place) -> str:
    name = fresh_name("mutant")
    assert place.connect().register(name)["action"] == "register_success"
    return name


@TABLE.row(48, "1,000 mutations of one byte")
def _(place: Place) -> None:
    name = mutated_user(place)
    play_mutations(
        place, drawn("mutations").sample(list(mutations(valid_bodies(name))), 1_000), name
    )


@TABLE.row(48, "every mutation of one byte of every packet", long=True)
def _(place: Place) -> None:
    name = mutated_user(place)
    play_mutations(place, list(mutations(valid_bodies(name))), name)


@pytest.mark.parametrize("row", TABLE.parameters())
def test_bad_input(row: Row, house: House, tmp_path: Path) -> None:
    play(row, house, tmp_path)
