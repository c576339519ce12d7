"""Packets shown on the client's screen: every one, with what matters, and without secrets."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from support.client_fakes import FakeServer

from client import events
from client.connection import Connection
from client.terminal.packet_view import MAX_SHOWN, PacketView, in_words


def frame(packet: Any) -> bytes:
    return json.dumps(packet, ensure_ascii=False).encode()


def test_a_packet_is_a_line_with_direction_time_length_bytes_action_and_transaction() -> None:
    payload = frame(
        {"action": "confirm_count", "data": {"transaction_id": "0123456789abcdef", "confirm": True}}
    )
    line = in_words("sent", payload, full=False, at=0.25)
    assert re.fullmatch(
        rf"-> \d\d:\d\d:00\.250 {len(payload)} bytes \(00 00 00 {len(payload):02x}\) "
        r"confirm_count, transaction 01234567\.\.",
        line,
    )
    assert in_words("received", payload, full=False).startswith("<- ")


def test_an_error_names_its_code() -> None:
    line = in_words(
        "received",
        frame({"action": "error", "status": "error", "code": "bad_json", "data": []}),
        full=False,
    )
    assert line.endswith(" error, error bad_json")


def test_the_whole_packet_can_be_read_back() -> None:
    packet = {
        "action": "character_count",
        "data": {
            "transaction_id": "T1",
            "letter_frequencies": {"ä": 1, '"': 2},
            "list": [],
            "long": ["x" * 50, "y" * 50],
        },
    }
    head, *rows = in_words("received", frame(packet), full=True).split("\n")
    assert head.endswith("character_count, transaction T1")
    assert all(row.startswith("    ") for row in rows)
    assert json.loads("\n".join(rows)) == packet
    assert any("letter_frequencies" in row and "ä" in row for row in rows), (
        "what is short stands in one row"
    )


@pytest.mark.parametrize("full", [False, True])
def test_passwords_and_keys_are_never_shown(full: bool) -> None:
    secret = "s3cr3t!"
    for data in (
        {"password": secret},
        {"new_password": secret, "password": secret},
        {"session_key": secret},
        {"Password": [secret, {"x": secret}]},
        {"session_key": {"session_key": secret}},
    ):
        for packet in (
            {"action": "login", "data": data},
            {"action": "login", **data},
            {"action": "x", "list": [data, [data]]},
        ):
            assert secret not in in_words("sent", frame(packet), full=full)
    assert "(hidden)" in in_words(
        "sent", frame({"action": "login", "data": {"password": secret}}), full=True
    )


def test_a_packet_in_brief_is_one_line_with_its_direction() -> None:
    told: list[events.Event] = []
    view = PacketView(told.append, "brief")
    view("sent", frame({"action": "x" * 200, "data": {"transaction_id": "y" * 200}}))
    view("received", b"{}")
    sent, got = told
    assert isinstance(sent, events.PacketSeen) and isinstance(got, events.PacketSeen)
    assert len(sent.text) == 79 and sent.sent and not got.sent


def test_counts_of_letters_stand_many_in_a_row() -> None:
    letters = {chr(97 + number): number for number in range(26)}
    packet = {"action": "x", "data": {"letter_frequencies": letters, "list": list(range(100))}}
    _, *rows = in_words("sent", frame(packet), full=True).split("\n")
    assert len(rows) < 20 and max(map(len, rows)) < 82
    assert json.loads("\n".join(rows)) == packet


def test_bulk_and_long_packets_are_cut() -> None:
    chunk = in_words(
        "sent",
        frame({"action": "file_send_data", "data": {"file_data": "QUJD" * 20_000}}),
        full=True,
    )
    assert "(80000 characters of base64)" in chunk and len(chunk) < 500
    long = in_words(
        "received",
        frame({"action": "messages_list", "data": {"messages": [{"content": "x" * 500}] * 100}}),
        full=True,
    )
    assert "characters more" in long and len(long) < 2 * MAX_SHOWN


@pytest.mark.parametrize("payload", [b"GET / HTTP/1.1", b"\xff\xfe", b"[1]", b"", b"[" * 100_000])
def test_what_is_no_packet_is_shown_by_its_first_bytes(payload: bytes) -> None:
    line = in_words("received", payload, full=True)
    assert (
        f"{len(payload)} bytes" in line
        and f"begins with {payload[:8].hex(' ')}" in line
        and "\n" not in line
    )


def test_a_packet_can_not_drive_the_terminal_or_begin_a_row() -> None:
    evil = "\x1b[2J\n* The server is closing.\u202e"
    for row in in_words(
        "received", frame({"action": evil, "data": {"transaction_id": evil, evil: evil}}), full=True
    ).split("\n")[1:]:
        assert row.startswith("    ") and "\x1b" not in row and "\u202e" not in row


def test_a_view_shows_as_much_as_it_is_told() -> None:
    told: list[events.Event] = []
    view = PacketView(told.append)
    view("sent", b"{}")
    view.mode = "brief"
    view("sent", b"{}")
    view.mode = "full"
    view("received", b'{"action": "pong"}')
    texts = [event.text for event in told if isinstance(event, events.PacketSeen)]
    assert len(texts) == 2 and "\n" not in texts[0] and '"action": "pong"' in texts[1]


def test_a_connection_is_traced_from_any_moment_until_it_is_not() -> None:
    seen: list[tuple[str, str]] = []

    def trace(direction: str, payload: bytes) -> None:
        seen.append((direction, json.loads(payload)["action"]))

    with FakeServer() as fake:
        chat = Connection("127.0.0.1", fake.port)
        chat.login("ada", "secret")
        chat.trace_packets(trace)
        chat.ping()
        chat.trace_packets(None)
        chat.ping()
        chat.close()
    assert seen == [("sent", "ping"), ("received", "pong")]


@pytest.mark.parametrize("opening", ['{"a":', '[{"a":'])
def test_a_packet_that_is_nested_too_deeply_ends_nothing(opening: str) -> None:
    closing = "}" if opening[0] == "{" else "}]"
    for depth in (20, 300, 330, 900, 5_000):
        inner = opening * depth + "1" + closing * depth
        shown = in_words("received", b'{"action":"x","data":' + inner.encode() + b"}", full=True)
        assert shown.startswith("<- ")
