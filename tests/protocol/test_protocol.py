"""protocol.py by itself: framing, strict JSON, every field of every request, chunks, names, times,
the journal's reader.

No socket, no thread, no clock. What needs a server is in tests/contract/.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import runpy
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from support.document import example_data

import protocol
from protocol import (
    ABSENT,
    BadFrame,
    BadJson,
    ErrorCode,
    FrameReader,
    Kind,
    Presence,
    ProtocolError,
    Refusal,
    clean_file_name,
    decode_object,
    decode_packet,
    fold_chatid,
    frame,
    parse_time,
)

# --- Framing: one list of streams drives the reader in every way the network may cut it -----------

PING = b'{"action":"ping"}'
STREAMS: dict[str, tuple[bytes, list[bytes]]] = {
    "nothing": (b"", []),
    "one packet": (frame(PING), [PING]),
    "the shortest": (frame(b"x"), [b"x"]),
    "the longest": (frame(b"y" * 512), [b"y" * 512]),
    "two": (frame(PING) + frame(b"[]"), [PING, b"[]"]),
    "many": (
        b"".join(frame(bytes([65 + n]) * (n + 1)) for n in range(20)),
        [bytes([65 + n]) * (n + 1) for n in range(20)],
    ),
    "a length in the payload": (
        frame(b"\0\0\0\x05hello") + frame(b"z"),
        [b"\0\0\0\x05hello", b"z"],
    ),
    "no text at all": (frame(bytes(range(256))), [bytes(range(256))]),
}


def read_in(pieces: Iterator[bytes], max_frame: int = 512) -> list[bytes]:
    reader, found = FrameReader(max_frame), []
    for piece in pieces:
        reader.feed(piece)
        while (payload := reader.next_frame()) is not None:
            assert type(payload) is bytes
            found.append(payload)
    assert reader.waiting == 0
    return found


def cut(stream: bytes, size: int) -> Iterator[bytes]:
    return (stream[at : at + size] for at in range(0, len(stream), size))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("name", STREAMS)
def test_frames_are_read_however_the_stream_is_cut(name: str, size: int) -> None:
    stream, payloads = STREAMS[name]
    assert read_in(cut(stream, size)) == payloads
    assert read_in(cut(stream + frame(b"behind"), size)) == [*payloads, b"behind"]
    assert read_in(cut(stream, size), max_frame=0) == payloads


@pytest.mark.parametrize("name", STREAMS)
def test_frames_fed_at_once_and_read_one_by_one(name: str) -> None:
    stream, payloads = STREAMS[name]
    reader = FrameReader(512)
    reader.feed(stream[:3])
    reader.feed(stream[3:])
    assert [reader.next_frame() for _ in payloads] == payloads
    reader.feed(frame(b"behind"))
    assert reader.next_frame() == b"behind"
    assert reader.next_frame() is None


def test_feeding_between_two_frames_of_what_is_held_loses_nothing() -> None:
    reader = FrameReader(512)
    reader.feed(frame(b"one") + frame(b"two")[:5])
    assert reader.next_frame() == b"one"
    assert reader.waiting == 5
    for byte in frame(b"two")[5:]:
        reader.feed(bytes([byte]))
    reader.feed(frame(b"three")[:4])
    assert reader.next_frame() == b"two"
    reader.feed(b"three" + b"\0")
    assert (reader.next_frame(), reader.next_frame(), reader.waiting) == (b"three", None, 1)


@pytest.mark.parametrize("size", [1, 4, 10_000])
@pytest.mark.parametrize(
    ("stream", "told"),
    [
        (b"\0\0\0\0", ["length 0", "1 to 512", "00 00 00 00"]),
        (b"\0\0\x02\x01" + b"x" * 513, ["length 513", "1 to 512"]),
        (b"\xff\xff\xff\xff", ["length 4294967295"]),
        (b"GET / HTTP/1.1\r\n\r\n", ["length 1195725856", "HTTP request"]),
        (b"POST /chat", ["HTTP request"]),
        (b"SSH-2.0-x", ["SSH"]),
        (b"\x16\x03\x01\x02\x00\x01", ["TLS"]),
        (b'{"action":"ping"}', ["JSON without its length"]),
        (b"\x11\0\0\0" + PING, ["11 00 00 00", "big-endian"]),
    ],
)
def test_an_impossible_length_is_named_and_so_is_another_protocol(
    stream: bytes, told: list[str], size: int
) -> None:
    reader = FrameReader(512)
    with pytest.raises(BadFrame) as caught:
        for piece in cut(stream, size):
            reader.feed(piece)
            assert reader.next_frame() is None
    assert caught.value.code == "bad_frame"
    for words in told:
        assert words in caught.value.message


def test_without_a_limit_only_the_empty_frame_is_bad() -> None:
    reader = FrameReader(0)
    reader.feed(b"GET ")
    assert reader.next_frame() is None
    reader = FrameReader(0)
    reader.feed(b"\0\0\0\0")
    with pytest.raises(BadFrame, match="1 to 4294967295"):
        reader.next_frame()


def test_the_limit_may_change_between_two_frames() -> None:
    reader = FrameReader(4)
    reader.feed(frame(b"four") + frame(b"more than four"))
    assert reader.next_frame() == b"four"
    reader.max_frame = 100
    assert reader.next_frame() == b"more than four"


def test_a_great_promise_costs_nothing() -> None:
    reader = FrameReader(2**32 - 1)
    reader.feed((2**31).to_bytes(4, "big") + b"x")
    assert reader.next_frame() is None
    assert reader.waiting == 5


# --- Strict JSON ----------------------------------------------------------------------------------


def nested(depth: int) -> bytes:
    """An object whose lists make it `depth` deep."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


GOOD_JSON: dict[str, tuple[bytes, Any]] = {
    "empty object": (b"{}", {}),
    "white space around": (b' \t\r\n{ "a" : 1 } \n', {"a": 1}),
    "all types": (
        b'{"a":[null,true,false,-1.5,"x",{}]}',
        {"a": [None, True, False, -1.5, "x", {}]},
    ),
    "largest integers": (
        b'{"a":[9007199254740991,-9007199254740991]}',
        {"a": [2**53 - 1, 1 - 2**53]},
    ),
    "a large float": (
        b'{"a":1e308,"b":1E2,"c":12345678901234567890.5}',
        {"a": 1e308, "b": 100.0, "c": 12345678901234567890.5},
    ),
    "a float that is nothing": (b'{"a":1e-999}', {"a": 0.0}),
    "digits in a text": (
        b'{"a":"99999999999999999999 1e999"}',
        {"a": "99999999999999999999 1e999"},
    ),
    "32 deep": (nested(32), None),
    "brackets in a text": (
        json.dumps({"a": "[{" * 6000 + ',"' * 6000}).encode(),
        {"a": "[{" * 6000 + ',"' * 6000},
    ),
    "10,000 elements": (json.dumps({"a": [0] * 9999}).encode(), {"a": [0] * 9999}),
    "10,000 keys": (json.dumps({str(n): 0 for n in range(10_000)}).encode(), None),
    "a pair of surrogates": (b'{"\\ud83d\\ude00":"\\uD83D\\uDE00"}', {"\U0001f600": "\U0001f600"}),
    "the same key in two objects": (b'{"a":{"a":{"a":1}}}', {"a": {"a": {"a": 1}}}),
    "keys that only look the same": (
        json.dumps({"\u00e9": 1, "e\u0301": 2}).encode(),
        {"\u00e9": 1, "e\u0301": 2},
    ),
    "an escaped backslash before a u": (b'{"a":"\\\\ud800"}', {"a": "\\ud800"}),
    "an escape": (b'{"a":"\\u0041\\n"}', {"a": "A\n"}),
    "NUL by escape": (b'{"a":"\\u0000"}', {"a": "\0"}),
}
BAD_JSON: dict[str, tuple[bytes, str]] = {
    "not UTF-8": (b'{"a":"\xff"}', "not UTF-8: byte 0xff at offset 6"),
    "UTF-8 cut off": (b'{"a":"\xe2\x82', "not UTF-8"),
    "a surrogate in UTF-8": (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
    "overlong UTF-8": (b'{"a":"\xc0\x80"}', "not UTF-8"),
    "UTF-16": ("{}".encode("utf-16-le"), "not JSON"),
    "a byte-order mark": (b'\xef\xbb\xbf{"action":"ping"}', "byte-order mark"),
    "no JSON": (b"hello", "not JSON"),
    "nothing but space": (b"  ", "not JSON"),
    "cut off": (b'{"a":', "not JSON"),
    "two objects": (b"{}{}", "not JSON"),
    "a comma too many": (b'{"a":1,}', "not JSON"),
    "single quotes": (b"{'a':1}", "not JSON"),
    "a comment": (b'{"a":1}//', "not JSON"),
    "a bare control character": (b'{"a":"\n"}', "not JSON"),
    "a leading zero": (b'{"a":01}', "not JSON"),
    "a list": (b"[]", "expected one JSON object"),
    "a full list": (b'[1,"x"]', "a list of 2"),
    "a text": (b'"text"', "expected one JSON object"),
    "a number": (b"17", "got 17"),
    "null": (b"null", "got null"),
    "NaN": (b'{"a":NaN}', "NaN"),
    "Infinity": (b'{"a":Infinity}', "Infinity"),
    "-Infinity": (b'{"a":[-Infinity]}', "-Infinity"),
    "overflow": (b'{"a":1e400}', "overflows"),
    "negative overflow": (b'{"a":-1.0e309}', "overflows"),
    "overflow without exponent": (b'{"a":' + b"9" * 400 + b".0}", "overflows"),
    "2^53": (b'{"a":9007199254740992}', "2^53-1"),
    "-2^53": (b'{"a":-9007199254740992}', "2^53-1"),
    "a huge integer": (b'{"a":' + b"9" * 5000 + b"}", "2^53-1"),
    "a long float": (b'{"a":0.' + b"1" * 1000 + b"}", "1002 characters"),
    "33 deep": (nested(33), "32 deep"),
    "very deep": (b'{"a":' + b"[" * 50_000, "32 deep"),
    "10,001 elements": (json.dumps({"a": [0] * 10_000}).encode(), "10000 keys and elements"),
    "10,001 keys": (
        json.dumps({str(n): 0 for n in range(10_001)}).encode(),
        "10000 keys and elements",
    ),
    "many small objects": (
        json.dumps({"a": [{"b": 1}] * 5001}).encode(),
        "10000 keys and elements",
    ),
    "a lone high surrogate": (b'{"a":"\\ud800"}', "surrogate"),
    "a lone low surrogate in a list": (b'{"a":[1,"\\uDC00"]}', "surrogate"),
    "a lone surrogate in a key": (b'{"a":{"\\ud800x":1}}', "surrogate"),
    "the same key twice": (b'{"a":1,"b":2,"a":1}', '"a" stands twice'),
    "the same key twice, inside": (b'{"x":[{"a":1,"\\u0061":1}]}', '"a" stands twice'),
}


@pytest.mark.parametrize("name", GOOD_JSON)
def test_strict_json_is_read(name: str) -> None:
    payload, value = GOOD_JSON[name]
    expected = json.loads(payload) if value is None else value
    assert decode_object(payload) == expected
    assert decode_packet(payload) == expected


@pytest.mark.parametrize("name", BAD_JSON)
def test_what_is_no_strict_json_is_refused_and_named(name: str) -> None:
    payload, told = BAD_JSON[name]
    for decode in (decode_object, decode_packet):
        with pytest.raises(BadJson) as caught:
            decode(payload)
        assert caught.value.code == "bad_json"
        assert told in caught.value.message
        assert len(caught.value.message) < 200 and caught.value.message.isprintable()


def test_what_is_encoded_is_compact_and_comes_back() -> None:
    packet = {
        "action": "send_message",
        "data": {"content": "héllo\n\U0001f600", "n": [1, None, True]},
    }
    payload = protocol.encode_object(packet)
    assert (
        payload
        == (
            '{"action":"send_message","data":{"content":"héllo\\n\U0001f600","n":[1,null,true]}}'
        ).encode()
    )
    assert decode_object(payload) == packet
    with pytest.raises(ValueError, match="JSON"):
        protocol.encode_object({"a": float("nan")})


SLOW: dict[str, bytes] = {
    "a string without its end": b"[" * 33 + b'"' + b'\\"' * 30_000,
    "a name of many marks": (
        '{"action":"register","data":{"password":"p","chatid":"a'
        + "\u0301" * 15_000
        + "\u0316" * 15_000
        + '"}}'
    ).encode(),
    "brackets": b"[" * 60_000,
    "commas": b'{"a":[' + b"," * 60_000,
    "quotes": b'"' * 60_000,
    "backslashes": b'{"a":"' + b"\\" * 60_000,
    "digits": b'{"a":' + b"1" * 60_000 + b"}",
    "a float": b'{"a":1.' + b"1" * 60_000 + b"}",
    "a long file name": b'{"action":"file_list_req","data":{"chat_id":"a","room_id":"'
    + b"/" * 60_000
    + b'"}}',
}
"""Payloads that fit into a frame before login and make a careless reader work for many seconds."""


@pytest.mark.parametrize("name", SLOW)
def test_no_payload_takes_long_to_refuse(name: str) -> None:
    begun = time.process_time()
    with pytest.raises(ProtocolError):
        read(decode_packet(SLOW[name]))
    assert time.process_time() - begun < 3, "a careless reader takes 5 s and more"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (17, "17"),
        ("x\x1b", '"x\\u001b"'),
        ("x" * 65, "a string of 65 characters"),
        ([], "[]"),
        ({}, "{}"),
        ([1, 2], "a list of 2"),
        ({"a": 1}, "an object of 1"),
        (b"abc", "3 bytes"),
        ("é" * 60, '"' + "\\u00e9" * 10 + "\\u…"),
    ],
)
def test_what_came_is_described_shortly_and_printably(value: object, text: str) -> None:
    assert protocol.describe(value) == text


# --- Every field of every request, from the catalogue ---------------------------------------------

SAMPLES: dict[str, Any] = {
    **example_data(),
    "chatid": "user123",
    "chat_id": "user123",
    "features": ["events"],
    "room_id": "unique_room_id",
    "content": "Hello!",
    "transaction_id": "t",
    "letter_frequencies": {"a": 1},
    "original_action": "send_message",
    "status": "success",
    "after_id": 1,
    "before_id": 2,
    "limit": 10,
    "file_path": "file.txt",
    "file_size": 10,
    "total_packets": 1,
    "chunk_size": 10,
    "sequence_number": 1,
    "file_data": "SGVsbG8=",
    "after": "x",
    "from_sequence": 1,
    "participants": ["user456"],
}
"""A value for each key of a request: that of the examples in docs/PROTOCOL.md, or a short one."""
WRONG: dict[type, list[Any]] = {
    str: [None, True, 17, 1.5, [], {}, ["x"], "", "a\0b"],
    int: [None, True, False, 1.5, 2.0, "17", [], {}, -1],
    bool: [None, 0, 1, "true", [], {}],
    list: [None, True, 17, "x", {}, [17], [None], [["x"]], [""], ["x" * 65], ["x"] * 1001],
    dict: [None, True, 17, "x", [], {"a": True}, {"a": 1.5}, {"a": "1"}, {"a": None}, {"a": [1]}],
}
"""What a key is sent as, by the type that is right for it."""
MOST_CHARACTERS = {
    "chatid": 32,
    "chat_id": 32,
    "user_to_add": 32,
    "user_to_remove": 32,
    "password": 128,
    "new_password": 128,
    "room_id": 64,
    "room_name": 64,
    "new_room_name": 64,
    "transaction_id": 64,
    "original_action": 64,
    "session_key": 255,
    "after": 255,
    "file_type": 255,
    "file_path": 255,
    "user": 32,
    "reason": 200,
    "text": 200,
}
MOST_NUMBER = {
    "limit": 1000,
    "chunk_size": 262_144,
    **dict.fromkeys(
        ["file_size", "total_packets", "sequence_number", "from_sequence", "after_id", "before_id"],
        2**53 - 1,
    ),
}
FIELDS = [(entry.action, field) for entry in protocol.REQUESTS.values() for field in entry.fields]
each_field = pytest.mark.parametrize(
    ("action", "field"), FIELDS, ids=lambda part: getattr(part, "name", part)
)


def sample(action: str) -> dict[str, Any]:
    """A valid request with every key, the optional ones too."""
    packet: dict[str, Any] = {"action": action, "request_id": "r", "data": {}}
    for field in protocol.REQUESTS[action].fields:
        (packet if field.on_top else packet["data"])[field.name] = SAMPLES[field.name]
    return packet


def read(packet: dict[str, Any], max_content: int = 0) -> Any:
    return protocol.read_request(protocol.open_packet(packet), max_content)


def refused(packet: dict[str, Any], code: str = "bad_packet", max_content: int = 0) -> str:
    with pytest.raises(Refusal) as caught:
        read(packet, max_content)
    assert caught.value.code == code
    assert caught.value.message.isprintable()
    return caught.value.message


def place(packet: dict[str, Any], field: protocol.Field) -> tuple[dict[str, Any], str]:
    """The object that holds the field, and the field's path as messages name it."""
    return (packet, field.name) if field.on_top else (packet["data"], f"data.{field.name}")


@pytest.mark.parametrize("action", protocol.REQUESTS)
def test_a_request_with_every_key_is_read(action: str) -> None:
    request = read(sample(action))
    assert type(request) is protocol.REQUESTS[action].record
    assert request.request_id == "r"
    for field in protocol.REQUESTS[action].fields:
        value = getattr(request, field.name)
        wanted = SAMPLES[field.name]
        assert value == (
            b"Hello"
            if field.name == "file_data"
            else tuple(wanted)
            if isinstance(wanted, list)
            else wanted
        )


@each_field
def test_a_missing_key_is_named_or_has_its_meaning(action: str, field: protocol.Field) -> None:
    packet = sample(action)
    holder, path = place(packet, field)
    del holder[field.name]
    if field.required:
        message = refused(packet)
        assert message.startswith(f"{path} is missing: {action} needs ")
    else:
        assert getattr(read(packet), field.name) == field.absent


def may_be_empty(field: protocol.Field) -> bool:
    """Return whether the field's own words allow an empty string."""
    return field.check.expected.startswith(("a string of at most ", "base64 text"))


@each_field
def test_a_key_of_the_wrong_type_is_named_with_what_was_expected(
    action: str, field: protocol.Field
) -> None:
    for wrong in WRONG[type(SAMPLES[field.name])]:
        if (wrong is None and field.nullable) or (wrong == "" and may_be_empty(field)):
            continue
        packet = sample(action)
        holder, path = place(packet, field)
        holder[field.name] = wrong
        message = refused(packet)
        assert message.startswith(f"{path}: expected ") and ", got " in message, (wrong, message)


def told_most(field: protocol.Field) -> int:
    """Return the largest number that the field's own words allow."""
    most = field.check.expected.rsplit(" ", 1)[1]
    return 2**53 - 1 if most == "2^53-1" else int(most)


@each_field
def test_a_key_within_its_bound_is_read_and_beyond_it_refused(
    action: str, field: protocol.Field
) -> None:
    if field.name in MOST_CHARACTERS:
        most = MOST_CHARACTERS[field.name]
        values: list[Any] = ["x" * most, "x" * (most + 1)]
    elif type(SAMPLES[field.name]) is int:
        most = MOST_NUMBER.get(field.name) or told_most(field)
        values = [most, most + 1]
    else:
        return
    packet = sample(action)
    holder, path = place(packet, field)
    holder[field.name] = values[0]
    assert getattr(read(packet), field.name) == values[0]
    holder[field.name] = values[1]
    assert refused(packet).startswith(f"{path}: expected ")


@pytest.mark.parametrize("action", protocol.REQUESTS)
def test_data_must_be_an_object_where_a_key_is_required(action: str) -> None:
    wrongs: list[Any] = [None, [], "x", 17, True]
    for wrong in wrongs:
        assert refused({**sample(action), "data": wrong}).startswith(
            "data: expected an object, got "
        )
    packet = sample(action)
    del packet["data"]
    if any(field.required and not field.on_top for field in protocol.REQUESTS[action].fields):
        assert " is missing" in refused(packet)
    else:
        assert read(packet).request_id == "r"


@pytest.mark.parametrize("action", protocol.REQUESTS)
def test_unknown_keys_are_ignored(action: str) -> None:
    packet = sample(action)
    packet["more"] = packet["data"]["more"] = [1]
    assert read(packet) == read(sample(action))


@pytest.mark.parametrize(
    "action", [entry.action for entry in protocol.REQUESTS.values() if entry.identity]
)
def test_either_spelling_of_the_name_is_read(action: str) -> None:
    packet, own = sample(action), protocol.REQUESTS[action].identity
    assert own is not None
    other = "chat_id" if own == "chatid" else "chatid"
    packet["data"][other] = packet["data"][own]
    assert read(packet) == read(sample(action))
    del packet["data"][own]
    assert read(packet) == read(sample(action))
    packet["data"][other] = 17
    assert refused(packet).startswith(f"data.{other}: expected ")
    packet["data"] = {**sample(action)["data"], other: "user456"}
    assert refused(packet) == f"data.{own} and data.{other} differ: expected one of them"


def test_a_request_that_names_nobody_has_no_identity() -> None:
    assert protocol.REQUESTS["ping"].identity is None
    assert protocol.REQUESTS["file_send_init"].identity == "chat_id"


@pytest.mark.parametrize("request_id", [None, 17, True, "", "x" * 65, "a\0b", [], {}])
def test_a_request_id_that_is_none_is_refused_and_not_repeated(request_id: object) -> None:
    packet = {"action": "ping", "request_id": request_id}
    assert refused(packet).startswith("request_id: expected a string of 1 to 64 characters, got ")
    assert protocol.request_id_of(packet) is None


@pytest.mark.parametrize("request_id", ["x", "é" * 64])
def test_a_request_id_is_kept(request_id: str) -> None:
    assert read({"action": "ping", "request_id": request_id}).request_id == request_id


@pytest.mark.parametrize(
    ("packet", "code", "told", "shown"),
    [
        ({}, "bad_packet", "action is missing", "unknown"),
        ({"action": ""}, "bad_packet", "action: expected the name of a packet", "unknown"),
        ({"action": None}, "bad_packet", "action: expected", "unknown"),
        ({"action": 17}, "bad_packet", "got 17", "unknown"),
        ({"action": ["ping"]}, "bad_packet", "a list of 1", "unknown"),
        ({"action": "Ping"}, "unknown_action", 'no packet is called "Ping"', "Ping"),
        ({"action": "login_success"}, "unknown_action", "sent by servers only", "login_success"),
        ({"action": "x" * 100}, "unknown_action", "a string of 100 characters", "x" * 64),
    ],
)
def test_an_action_that_is_none_is_refused(
    packet: dict[str, Any], code: str, told: str, shown: str
) -> None:
    assert told in refused(packet, code)
    assert protocol.shown_action(packet) == shown


def test_a_login_needs_a_password_or_a_key() -> None:
    assert read({"action": "login", "data": {"chatid": "a", "password": "p"}}).session_key is None
    assert read({"action": "login", "data": {"chatid": "a", "session_key": "k"}}).password is None
    assert refused({"action": "login", "data": {"chatid": "a"}}).startswith(
        "data.password is missing: login needs "
    )


def test_history_is_asked_for_by_time_or_by_id() -> None:
    where = {"chatid": "a", "room_id": "r"}
    assert refused({"action": "get_messages", "data": {**where, "limit": 5}}).startswith(
        "data.from_time is missing"
    )
    newest = read({"action": "get_messages", "data": {**where, "before_id": None}})
    assert newest.before_id is None and newest.from_time is None
    assert read({"action": "get_messages", "data": {**where, "after_id": 0}}).before_id is ABSENT


@pytest.mark.parametrize("content", ["abcd", "éé", "\U0001f600", "    ", "\u200b"])
def test_content_is_measured_in_bytes_and_blanks_are_content(content: str) -> None:
    packet = sample("send_message")
    packet["data"]["content"] = content
    size = len(content.encode())
    assert read(packet, size).content == content
    assert f"at most {size - 1} bytes of UTF-8, got {size}" in refused(packet, max_content=size - 1)


@pytest.mark.parametrize(
    "room", [" lobby", "lobby ", "a\tb", "a\u2028b", "a\u200bb", "\u00a0", "\u202eroom", "\x7f"]
)
def test_a_room_with_what_can_not_be_seen_is_refused(room: str) -> None:
    packet = sample("join_room")
    packet["data"]["room_id"] = room
    assert "printable" in refused(packet)


@pytest.mark.parametrize("room", ["lobby", "a b", "Füße", "部屋", "\U0001f600", "../etc", "p-x"])
def test_a_room_of_visible_characters_is_read(room: str) -> None:
    packet = sample("join_room")
    packet["data"]["room_id"] = room
    assert read(packet).room_id == room


@pytest.mark.parametrize(
    "chunk", ["SGVsbG8", "SGVsbG8=\n", "SGVs bG8=", "SGVsbG8-", "====", "é===", "SGVsbG8=SGVs"]
)
def test_a_chunk_that_is_no_strict_base64_is_refused(chunk: str) -> None:
    packet = sample("file_send_data")
    packet["data"]["file_data"] = chunk
    assert refused(packet).startswith("data.file_data: expected base64 text, got ")


def test_the_status_of_an_ack_is_one_of_two() -> None:
    for status in ("success", "error"):
        assert read({**sample("ack"), "status": status}).status == status
    assert (
        refused({**sample("ack"), "status": "ok"})
        == 'status: expected "success" or "error", got "ok"'
    )


# --- What servers send ----------------------------------------------------------------------------


def decoded(data: bytes) -> dict[str, Any]:
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    return decode_object(data[4:])


def test_a_reply_has_the_words_of_the_catalogue_unless_others_are_given() -> None:
    assert decoded(protocol.build("pong")) == {
        "action": "pong",
        "status": "success",
        "message": "pong",
    }
    given = protocol.build(
        "ack",
        {"transaction_id": "t"},
        message="No.",
        request_id="r",
        code="not_confirmed",
        status="error",
    )
    assert decoded(given) == {
        "action": "ack",
        "status": "error",
        "message": "No.",
        "code": "not_confirmed",
        "data": {"transaction_id": "t"},
        "request_id": "r",
    }
    silent = {"transaction_id": "t", "confirm": True}
    assert decoded(protocol.build("confirm_count", silent)) == {
        "action": "confirm_count",
        "data": silent,
    }


def test_an_error_an_event_and_a_request_are_built() -> None:
    error = {
        "action": "error",
        "original_action": "login",
        "status": "error",
        "message": "m",
        "code": "forbidden",
    }
    assert decoded(protocol.build_error("login", "forbidden", "m")) == error
    assert decoded(protocol.build_error("login", "forbidden", "m", "r")) == {
        **error,
        "request_id": "r",
    }
    assert decoded(protocol.build_event("user_online", chatid="a")) == {
        "action": "event",
        "data": {"type": "user_online", "chatid": "a"},
    }
    assert decoded(protocol.build_request("ack", {"transaction_id": "t"}, status="error")) == {
        "action": "ack",
        "status": "error",
        "data": {"transaction_id": "t"},
    }
    assert decoded(protocol.build_request("ping")) == {"action": "ping"}


REPLY_WRONG: dict[str, list[Any]] = {
    "a text or null": [1, True, [], {}],
    "a time or null": [1, True, [], {}],
    "an integer from 0 or null": [True, 1.0, "1", []],
    "an object or null": [1, True, "x", []],
    "a SHA-256 in hex": [None, 1, True, [], {}],
    "a role": [None, 1, True, [], {}],
    "an object": [None, 1, True, "x", []],
    "a text": [None, 1, True, [], {}],
    "a time": [None, 1, True, [], {}],
    "an integer from 0": [None, True, 1.0, "1", []],
    "true or false": [None, 0, 1, "true"],
    "a list": [None, {}, "x", 1],
    "an object of integers": [None, [], "x", 1],
    "base64 text": [None, 1, [], {}],
}
NOT_OURS: dict[str, list[Any]] = {
    "a time": ["", "2024-01-01", "2024-01-01T12:00:00.5Z", "2024-01-01T12:00:00Z\n"],
    "an integer from 0": [-1],
    "a time or null": ["", "2024-01-01"],
    "an object of integers": [{"a": "x"}, {"a": True}, {"a": -1}],
    "a SHA-256 in hex": ["", "0" * 63, "A" * 64],
    "a role": ["", "boss", "Teacher"],
}
"""What `check_reply` lets through, and a packet of this server may not hold."""


def value_of(kind: Kind) -> Any:
    """Something that fits."""
    if kind.keys is not None:
        return {name: value_of(inner) for name, inner in kind.keys.items()}
    if kind.types == (list,):
        return [value_of(kind.items)] if kind.items is not None else []
    values: dict[str, Any] = {
        "a time": "2024-01-01T12:00:00Z",
        "a SHA-256 in hex": "0" * 64,
        "an integer from 0": 1,
        "true or false": True,
        "base64 text": "SGVsbG8=",
        "an object of integers": {"a": 1},
        "a text or null": None,
        "a time or null": None,
        "an integer from 0 or null": None,
        "an object or null": None,
        "a role": "student",
    }
    return values.get(kind.name, "x")


def reply(action: str, type: str = "user_online") -> dict[str, Any]:
    """A packet of this server with every key that it may have."""
    entry = protocol.REPLIES[action]
    packet: dict[str, Any] = {"action": action, "request_id": "r"}
    if entry.message is not None:
        packet |= {"status": entry.status, "message": entry.message}
    if action in ("error", "register_fail"):
        packet["code"] = "forbidden"
    if action == "error":
        packet["original_action"] = "login"
    keys = entry.keys
    if action == "event":
        keys = {name: keys[name] for name in ("type", *protocol.EVENT_TYPES[type])}
    if keys:
        packet["data"] = {name: value_of(kind) for name, kind in keys.items()}
    if action == "event":
        packet["data"]["type"] = type
    return packet


def refused_as_sent(packet: dict[str, Any]) -> str:
    with pytest.raises(AssertionError) as caught:
        protocol.check_sent(packet)
    return str(caught.value)


@pytest.mark.parametrize("action", protocol.REPLIES)
def test_a_reply_is_checked_key_by_key(action: str) -> None:
    entry = protocol.REPLIES[action]
    data = {name: value_of(kind) for name, kind in entry.required.items()}
    assert protocol.check_reply({"action": action, "data": data}) is entry
    for name, kind in entry.required.items():
        for wrong in REPLY_WRONG[kind.name]:
            with pytest.raises(Refusal, match=f"data.{name}: expected {kind.name}"):
                protocol.check_reply({"action": action, "data": {**data, name: wrong}})
        with pytest.raises(Refusal, match=f"data.{name}"):
            protocol.check_reply(
                {
                    "action": action,
                    "data": {key: value for key, value in data.items() if key != name},
                }
            )
    if entry.required:
        for wrong in (None, [], "x"):
            with pytest.raises(Refusal, match="data: expected an object"):
                protocol.check_reply({"action": action, "data": wrong})
    else:
        assert protocol.check_reply({"action": action}) is entry


@pytest.mark.parametrize("action", protocol.REPLIES)
def test_what_the_server_sends_has_the_keys_of_the_catalogue_and_no_other(action: str) -> None:
    protocol.check_sent(reply(action))
    for key in set(reply(action)) - {"request_id", "action"}:
        packet = reply(action)
        del packet[key]
        assert f"{action}.{key} is missing" in refused_as_sent(packet)
    assert "more is not in the catalogue" in refused_as_sent({**reply(action), "more": 1})
    assert "action" in refused_as_sent({**reply(action), "action": "nonsense"})
    if "data" not in reply(action):
        assert "data is not in the catalogue" in refused_as_sent({**reply(action), "data": {}})


@pytest.mark.parametrize(
    ("action", "name"),
    [
        (entry.action, name)
        for entry in protocol.REPLIES.values()
        for name in entry.keys
        if entry.action != "event" or name in ("type", "chatid")
    ],
)
def test_what_the_server_sends_holds_what_the_catalogue_says(action: str, name: str) -> None:
    packet = reply(action)
    kind = protocol.REPLIES[action].keys[name]
    for wrong in [*REPLY_WRONG.get(kind.name, [17]), *NOT_OURS.get(kind.name, [])]:
        packet["data"][name] = wrong
        assert f"{action}.data.{name}" in refused_as_sent(packet), wrong
    del packet["data"][name]
    if kind.presence is Presence.OPTIONAL and action != "event":
        protocol.check_sent(packet)
    else:
        assert f"{action}.data.{name}" in refused_as_sent(packet)


@pytest.mark.parametrize(
    ("action", "name"),
    [
        ("messages_list", "messages"),
        ("rooms_list", "rooms"),
        ("file_list_req", "files"),
        ("audit_list", "acts"),
        ("sessions_list", "sessions"),
        ("all_rooms_list", "rooms"),
    ],
)
def test_every_entry_of_a_list_has_all_its_keys_and_no_other(action: str, name: str) -> None:
    items = protocol.REPLIES[action].keys[name].items
    assert items is not None and items.keys is not None
    for key in reply(action)["data"][name][0]:
        packet = reply(action)
        del packet["data"][name][0][key]
        if items.keys[key].presence is Presence.OPTIONAL:
            protocol.check_sent(packet)
            continue
        assert f"{action}.data.{name}[].{key} is missing" in refused_as_sent(packet)
    packet = reply(action)
    packet["data"][name][0]["more"] = 1
    assert "more is not in the catalogue" in refused_as_sent(packet)


@pytest.mark.parametrize("type", protocol.EVENT_TYPES)
def test_an_event_has_the_keys_of_its_type_and_no_other(type: str) -> None:
    protocol.check_sent(reply("event", type))
    for name in protocol.EVENT_TYPES[type]:
        packet = reply("event", type)
        del packet["data"][name]
        assert f"event.data.{name} is missing" in refused_as_sent(packet)
    packet = reply("event", type)
    packet["data"]["password"] = "x"
    assert "password is not in the catalogue" in refused_as_sent(packet)
    packet["data"] = {**reply("event", type)["data"], "type": "nonsense"}
    assert "event.data.type: expected one of" in refused_as_sent(packet)


def test_an_error_has_a_code_of_the_catalogue() -> None:
    assert "error.code: expected one of" in refused_as_sent({**reply("error"), "code": "nonsense"})


def test_an_ack_that_refuses_has_a_code_and_no_number() -> None:
    packet = {**reply("ack"), "status": "error", "code": "not_confirmed"}
    assert "message_id is not in the catalogue" in refused_as_sent(packet)
    packet["data"] = {"transaction_id": "t"}
    protocol.check_sent(packet)
    del packet["code"]
    assert "ack.code is missing" in refused_as_sent(packet)


def test_what_is_built_is_compared_with_the_catalogue_in_tests() -> None:
    assert protocol.CHECKS_REPLIES, "tests/conftest.py turns it on"
    with pytest.raises(AssertionError, match=r"room_created\.data is missing"):
        protocol.build("room_created")
    with pytest.raises(AssertionError, match=r"room_left\.data\.more is not in the catalogue"):
        protocol.build("room_left", {"room_id": "r", "more": 1})
    with pytest.raises(AssertionError, match=r"error\.code: expected one of"):
        protocol.build_error("login", "nonsense", "m")
    with pytest.raises(AssertionError, match=r"event\.data\.chatid is missing"):
        protocol.build_event("user_online")
    with pytest.raises(AssertionError, match=r"no client could read .* 10000 keys and elements"):
        protocol.build("users_list", {"users": ["x"] * 10_000, "online": [], "has_more": False})


# --- Secrets, and codes ---------------------------------------------------------------------------


@pytest.mark.parametrize("action", protocol.REQUESTS)
def test_no_secret_shows_in_a_repr(action: str) -> None:
    packet = sample(action)
    secrets = [name for name in packet["data"] if "password" in name or "key" in name]
    for name in secrets:
        packet["data"][name] = "s3cret"
    envelope = protocol.open_packet(packet)
    shown = f"{envelope!r} {envelope} {protocol.read_request(envelope)!r}"
    assert "s3cret" not in shown
    assert not secrets or action in ("login", "register", "change_password")


@pytest.mark.parametrize("code", ErrorCode)
def test_an_error_code_is_the_plain_string_everywhere(code: ErrorCode) -> None:
    plain = code.value
    assert code == plain and plain == code and code in {plain} and plain in {code}
    assert str(code) == f"{code}" == "{}".format(code) == "%s" % code == plain  # noqa: UP031, UP032
    assert json.dumps({code: code}) == json.dumps({plain: plain})
    assert protocol.encode_object({"code": code}) == protocol.encode_object({"code": plain})
    assert type(str(code)) is str


@pytest.mark.parametrize("action", ["login", "nonsense", None, 17, []])
def test_what_no_server_sends_is_no_reply(action: object) -> None:
    with pytest.raises(Refusal) as caught:
        protocol.check_reply({"action": action})
    assert caught.value.code == "unknown_action"


def test_an_ack_that_says_no_may_come_without_data() -> None:
    assert protocol.check_reply({"action": "ack", "status": "error"}).action == "ack"


# --- Chunks: the quick way and the slow one give the same -----------------------------------------

HEAD = {"chat_id": "user123", "room_id": "r", "file_path": "f", "sequence_number": 5}


@pytest.mark.parametrize("size", [0, 1, 2, 3, 700, 5000, 65536])
@pytest.mark.parametrize("top", [None, {"request_id": "r"}])
def test_a_chunk_frame_is_that_of_a_plain_json_encoder(
    size: int, top: dict[str, Any] | None
) -> None:
    chunk = bytes(range(256)) * (size // 256) + bytes(size % 256)
    built = protocol.chunk_frame("file_send_data", HEAD, chunk, top)
    data = {**HEAD, "file_data": base64.b64encode(chunk).decode()}
    assert built == frame(
        protocol.encode_object({"action": "file_send_data", **(top or {}), "data": data})
    )
    packet = decode_packet(built[4:])
    held = packet["data"].pop("file_data")
    assert held == (chunk if len(built) - 4 > 1024 else data["file_data"])
    assert packet == {"action": "file_send_data", **(top or {}), "data": HEAD}
    packet["data"]["file_data"] = held
    assert read(packet).file_data == chunk


LONG = base64.b64encode(b"\x5a" * 3000).decode()


def chunk_text(**data: Any) -> str:
    return json.dumps({"action": "file_send_data", "data": {**HEAD, **data}})


@pytest.mark.parametrize(
    ("text", "quick"),
    [
        (chunk_text(file_data=LONG), True),
        (chunk_text(file_data=LONG).replace(": ", " \n:\t"), True),
        (json.dumps({"data": {"file_data": LONG, **HEAD}, "action": "file_send_data"}), True),
        (chunk_text(file_data=LONG[:-1]), False),
        (chunk_text(file_data=LONG).replace(LONG[:1], "\\u00" + f"{ord(LONG[0]):02x}", 1), None),
        (chunk_text(file_data=LONG, more={"file_data": "x"}), False),
        (json.dumps({"action": "x", "file_data": LONG, "data": HEAD}), False),
        (json.dumps({"action": "x", "data": {"inside": {"file_data": LONG}}}), False),
        (json.dumps({"action": "x", "data": [], "file_data": LONG}), False),
        (json.dumps({"action": "x", "data": {"content": "file_data", "more": LONG}}), False),
        (json.dumps({"action": "x", "data": {"content": 'is "file_data": "' + LONG}}), False),
        (json.dumps({"action": "x", "data": {"file_data": 17, "more": LONG}}), False),
        (json.dumps({"action": "x", "data": {"more": LONG, "file_data": None}}), False),
    ],
)
def test_a_large_packet_is_decoded_alike_in_both_ways(text: str, quick: bool | None) -> None:
    slow, fast = decode_object(text.encode()), decode_packet(text.encode())
    held = fast["data"].get("file_data") if isinstance(fast["data"], dict) else None
    if quick is not None:
        assert (type(held) is bytes) == quick
    if type(held) is bytes:
        fast["data"]["file_data"] = base64.b64encode(held).decode()
    assert fast == slow


@pytest.mark.parametrize(
    "text",
    [
        chunk_text(file_data=LONG)[:-40],
        '{"data":{"file_data":"' + LONG,
        '{"more":"' + LONG + '","data":{"file_data"',
        '{"more":"' + LONG + '","data":{"file_data":',
        '{"data":{"file_data":"' + LONG + '","file\\u005fdata":"x"}}',
        '{"data":{"file_data":"' + LONG + '"},"data":{}}',
    ],
)
def test_a_large_packet_that_is_broken_is_bad_json_in_both_ways(text: str) -> None:
    for decode in (decode_object, decode_packet):
        with pytest.raises(BadJson):
            decode(text.encode())


def test_base64_is_read_alike_on_older_pythons(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [b"", b"SGVsbG8=", b"SGVsbG8", b"SGVs\nbG8=", b"SGVsbG8-", b"====", b"QQ==", b"QUI="]
    found = [protocol.decode_base64(text) for text in texts]
    assert found == [b"", b"Hello", None, None, None, None, b"A", b"AB"]
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))
    assert [protocol.decode_base64(text) for text in texts if text != b"===="] == [
        *found[:5],
        *found[6:],
    ]


# --- Names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Anna", "ANNA"),
        ("\uff41\uff4e\uff4e\uff41", "anna"),
        ("Straße", "STRASSE"),
        ("\u00e9", "e\u0301"),
        ("ﬁn", "fin"),
        ("\u212a", "k"),
        ("İ", "i\u0307"),
    ],
)
def test_names_that_fold_alike_are_the_same(one: str, other: str) -> None:
    assert fold_chatid(one) == fold_chatid(other)


def test_names_that_differ_stay_different_and_folding_twice_changes_nothing() -> None:
    names = ["anna", "ana", "a.nna", "a-nna", "a_nna", "\u0430nna", "ﬀ", "ǅ", "ΐ", "ᾳ"]
    assert len({fold_chatid(name) for name in names}) == len(names)
    assert all(fold_chatid(fold_chatid(name)) == fold_chatid(name) for name in names)


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "Anna",
        "user123",
        "a_b-c.d",
        "Jürgen",
        "Ωmega",
        "数学",
        "नमस्ते",
        "e\u0301",
        "x" * 32,
        "٣",
    ],
)
def test_letters_and_digits_of_any_script_make_a_name(name: str) -> None:
    assert protocol.chatid_problem(name) is None


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "got 0 characters"),
        ("x" * 33, "got 33 characters"),
        ("ﬃ" * 20, "after normalising"),
        ("a b", "U+0020"),
        ("a\n", "U+000A"),
        ("a/b", "U+002F"),
        ("a\u200bb", "U+200B"),
        ("\u202ea", "U+202E"),
        ("\u0301a", "U+0301"),
        ("\U0001f600", "U+1F600"),
        ("a@b", "U+0040"),
        ("a\0", "U+0000"),
    ],
)
def test_what_can_not_be_a_name_is_told_why(name: str, told: str) -> None:
    problem = protocol.chatid_problem(name)
    assert problem is not None and told in problem
    assert f"data.chatid: {problem.split(', got')[0]}" in refused(
        {"action": "register", "data": {"chatid": name, "password": "p"}}
    )


@pytest.mark.parametrize(
    ("password", "told"),
    [("", "got 0"), ("x" * 129, "got 129"), ("a\0b", "NUL"), ("\0" * 200, "NUL")],
)
def test_what_can_not_be_a_password_is_told_why(password: str, told: str) -> None:
    assert told in str(protocol.password_problem(password))


@pytest.mark.parametrize("password", ["x", " ", "é" * 128, "\t\n"])
def test_any_other_text_can_be_a_password(password: str) -> None:
    assert protocol.password_problem(password) is None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.txt", "a.txt"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.txt", "a.txt"),
        ("../..\\mixed/x", "x"),
        ("a/b\\c", "c"),
        (".profile", ".profile"),
        ("...", "..."),
        ("a b (2).txt", "a b (2).txt"),
        ("é" * 127, "é" * 127),
        ("x" * 255, "x" * 255),
        ("long/" * 100 + "x", "x"),
        ("console", "console"),
        ("com10", "com10"),
        ("a.con", "a.con"),
        ("nul_", "nul_"),
    ],
)
def test_a_file_name_is_what_stands_behind_the_last_slash(path: str, name: str) -> None:
    assert clean_file_name(path) == name


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("", "a file name"),
        ("a/", "a file name"),
        (".", "a file name"),
        ("x/..", "a file name"),
        ("\\", "a file name"),
        ("x" * 256, "255 bytes"),
        ("é" * 128, "255 bytes"),
        ("a\nb", "control"),
        ("a\x7f", "control"),
        ("a\x9b", "control"),
        ("a\u2028b", "control"),
        ("con", "Windows"),
        ("NUL.txt", "Windows"),
        ("dir/Aux", "Windows"),
        ("com1.tar.gz", "Windows"),
        ("LPT³", "Windows"),
        ("con .txt", "Windows"),
        ("CONIN$", "Windows"),
    ],
)
def test_a_file_name_that_can_not_be_kept_is_told_why(path: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        clean_file_name(path)
    packet = sample("file_down_req")
    packet["data"]["file_path"] = path
    assert refused(packet).startswith("data.file_path: expected ")


def test_the_cut_name_is_what_the_request_holds() -> None:
    packet = sample("file_down_req")
    packet["data"]["file_path"] = "..\\..\\boot.ini"
    assert read(packet).file_path == "boot.ini"


# --- Times and letters ----------------------------------------------------------------------------

NOON = int(datetime(2024, 1, 1, 12, tzinfo=timezone.utc).timestamp())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2024-01-01T12:00:00Z", NOON),
        ("2024-01-01t12:00:00z", NOON),
        ("2024-01-01T12:00Z", NOON),
        ("2024-01-01T13:00:00+01:00", NOON),
        ("2024-01-01T13:00:00+0100", NOON),
        ("2024-01-01T13:00:00+01", NOON),
        ("2024-01-01T06:30:00-05:30", NOON),
        ("2024-01-01T12:00:00-00:00", NOON),
        ("2024-01-01T12:00:00.000Z", NOON),
        ("2024-01-01T12:00:00.001Z", NOON + 1),
        ("2024-01-01T12:00:00,5+00:00", NOON + 1),
        ("2024-01-01T11:59:60Z", NOON),
        ("1969-12-31T23:59:59Z", -1),
        ("1970-01-01T00:00:00Z", 0),
        ("2024-02-29T00:00:00Z", NOON + 58 * 86400 + 43200),
    ],
)
def test_a_time_with_a_zone_is_read(text: str, seconds: int) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2024-01-01",
        "2024-01-01T12:00:00",
        "12:00:00Z",
        "2024-01-01T12Z",
        "2024-1-1T12:00:00Z",
        "24-01-01T12:00:00Z",
        "2024-13-01T12:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T12:60:00Z",
        "2024-01-01T12:00:61Z",
        "2024-01-01T12:00:00+24:00",
        "2024-01-01T12:00:00+01:60",
        "2024-01-01T12:00:00 Z",
        "2024-01-01T12:00:00Z ",
        " 2024-01-01T12:00:00Z",
        "2024-01-01T12:00:00.Z",
        "0000-01-01T00:00:00Z",
        "1704110400",
        "2024-01-01T12:00:00Z\n",
        "\uff12\uff10\uff12\uff14-01-01T12:00:00Z",
        "2024-W01-1T12:00:00Z",
    ],
)
def test_any_other_text_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_time(text)


@pytest.mark.parametrize("seconds", [0, NOON, 2**31, 253402300799])
def test_a_time_is_written_as_the_protocol_has_it_and_read_back(seconds: int) -> None:
    text = protocol.format_time(seconds)
    assert len(text) == 20 and text.endswith("Z") and parse_time(text) == seconds


@pytest.mark.parametrize(
    ("content", "counts"),
    [
        ("Hello", {"H": 1, "e": 1, "l": 2, "o": 1}),
        ("", {}),
        ("a A", {"a": 1, " ": 1, "A": 1}),
        ("e\u0301\u00e9", {"e": 1, "\u0301": 1, "\u00e9": 1}),
        ("\U0001f44d\U0001f44d\U0001f3fd", {"\U0001f44d": 2, "\U0001f3fd": 1}),
        ("\r\n\n", {"\r": 1, "\n": 2}),
    ],
)
def test_every_code_point_is_counted_as_it_is(content: str, counts: dict[str, int]) -> None:
    assert protocol.count_letters(content) == counts


# --- python protocol.py FILE ----------------------------------------------------------------------


@pytest.fixture
def journal(tmp_path: Path) -> Callable[[bytes], str]:
    def write(data: bytes) -> str:
        path = tmp_path / "a.journal"
        path.write_bytes(data)
        return str(path)

    return write


def test_the_packets_of_a_journal_are_printed(
    journal: Callable[[bytes], str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = '{"action":"ping","data":{"content":"\u00e9\x9b"}}'
    assert protocol.main([journal(protocol.build("pong") + frame(text.encode()))]) == 0
    shown = capsys.readouterr()
    assert shown.out.isascii() and "\x1b" not in shown.out and shown.err == ""
    first, second = shown.out.split("# packet 2, ")
    assert first.startswith("# packet 1, 53 bytes (00 00 00 35)\n{\n")
    assert json.loads(second.split("\n", 1)[1]) == json.loads(text)


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0",
        frame(b"{}") + frame(PING)[:-1],
        frame(b"{}") + b"\0\0\0\x05",
        frame(b"no json"),
        frame(b"\xff"),
    ],
)
def test_a_journal_that_can_not_be_read_to_its_end_is_told(
    data: bytes, journal: Callable[[bytes], str], capsys: pytest.CaptureFixture[str]
) -> None:
    name = journal(data)
    assert protocol.main([name]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith(f"protocol.py: {name}: ") and shown.err.count("\n") == 1
    assert shown.out.count("# packet") == data.startswith(frame(b"{}"))


def test_a_journal_that_is_not_there_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = str(tmp_path / "none")
    assert protocol.main([name]) == 1
    assert capsys.readouterr().err == f"protocol.py: {name}: {os.strerror(errno.ENOENT)}\n"


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EINVAL], ids=["posix", "windows"])
def test_a_reader_that_goes_away_ends_it_quietly(
    journal: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    class Gone:
        closed = False

        def write(self, _: str) -> int:
            raise OSError(number, "nobody reads")

        def flush(self) -> None:
            pass

        def close(self) -> None:
            self.closed = True

    errors = Gone()
    name = journal(frame(b"{}"))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Gone())
        patch.setattr(sys, "stderr", errors)
        assert protocol.main([name]) == 1
    assert errors.closed


def test_it_runs_as_a_script(
    journal: Callable[[bytes], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["protocol.py", journal(frame(b'{"a":1}'))])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(protocol.__file__, run_name="__main__")
    assert ended.value.code == 0
    assert '"a": 1' in capsys.readouterr().out


def test_every_error_is_one_of_the_tree_and_carries_its_code() -> None:
    for error in (BadFrame("m"), BadJson("m"), Refusal("forbidden", "m")):
        assert isinstance(error, ProtocolError)
        assert error.code in set(ErrorCode) and str(error) == error.message == "m"
