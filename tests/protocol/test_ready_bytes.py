"""Packets that the server puts together without `protocol.build`, for speed, are those of the
catalogue all the same: each is taken from the wire and compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.files import Upload
from support.raw_client import RawClient, letter_frequencies
from support.server_process import server_environment

import protocol

REQUEST_IDS = (None, "r", 'a"b\\c', "é\u2028\U0001f600", "x" * 64)


def test_servers_of_tests_compare_what_they_build_with_the_catalogue() -> None:
    assert server_environment()["PROTOCOL_CHECK_REPLIES"] == "1"


@pytest.mark.parametrize("request_id", REQUEST_IDS, ids=ascii)
@pytest.mark.parametrize("agrees", [True, False])
def test_the_confirmation_of_a_receivers_counts_is_that_of_the_catalogue(
    request_id: str | None, agrees: bool, user: Callable[..., RawClient], room: str
) -> None:
    sender, receiver = user(), user()
    sender.say(room, "Hello")
    message = receiver.receive_message("Hello", room)
    protocol.check_sent(message)
    key = message["data"]["transaction_id"]
    counts = letter_frequencies("Hello" if agrees else "other")
    data = {"transaction_id": key, "letter_frequencies": counts, "original_action": "x"}
    top: dict[str, Any] = {} if request_id is None else {"request_id": request_id}
    receiver.send({"action": "character_count", "data": data, **top})
    came = receiver.receive()
    protocol.check_sent(came)
    said = {"transaction_id": key, "confirm": agrees}
    assert came == {"action": "confirm_count", "data": said, **top}


@pytest.mark.parametrize("request_id", REQUEST_IDS, ids=ascii)
def test_every_packet_of_a_download_is_that_of_the_catalogue(
    request_id: str | None, user: Callable[..., RawClient], room: str
) -> None:
    reader = user()
    Upload(reader, room, "a.bin", bytes(range(256)) * 300).run()
    data = {"chat_id": reader.chatid, "room_id": room, "file_path": "a.bin"}
    top: dict[str, Any] = {} if request_id is None else {"request_id": request_id}
    reader.send({"action": "file_down_req", "data": data, **top})
    seen: list[str] = []
    while "file_down_fin" not in seen:
        came = reader.receive()
        protocol.check_sent(came)
        assert came.get("request_id") == request_id
        seen.append(came["action"])
    assert {*seen} == {"file_down_meta", "file_down_data", "file_down_fin"}
