"""The history of a room: from_time, the pages, and what is cut where."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from support import fresh_name
from support.raw_client import Packet, RawClient, encode, error_code
from support.server_process import ServerProcess

User = Callable[..., RawClient]
EPOCH = "2024-01-01T00:00:00Z"


def ask(client: RawClient, room: str, **data: Any) -> Packet:
    """The data of a successful messages_list, its rules checked."""
    reply = client.ask("get_messages", room_id=room, **data)
    assert (reply["action"], reply["status"]) == ("messages_list", "success") and reply[
        "message"
    ], reply
    page: Packet = reply["data"]
    assert page.keys() == {"room_id", "messages", "has_more"} and page["room_id"] == room
    assert type(page["has_more"]) is bool
    ids = [message["message_id"] for message in page["messages"]]
    assert ids == sorted(set(ids)), "oldest first"
    for message in page["messages"]:
        assert message.keys() == {"message_id", "sender_chatid", "content", "timestamp"}
    return page


def contents(page: Packet) -> list[str]:
    return [message["content"] for message in page["messages"]]


def say_many(client: RawClient, room: str, messages: list[str]) -> None:
    """Say all of them, at most 60 at a time without waiting between."""
    for start in range(0, len(messages), 60):
        batch = messages[start : start + 60]
        keys = [fresh_name("key") for _ in batch]
        data = b""
        for key, content in zip(keys, batch, strict=True):
            send = {
                "chatid": client.chatid,
                "room_id": room,
                "content": content,
                "transaction_id": key,
            }
            data += encode({"action": "send_message", "data": send})
            data += encode(
                {"action": "confirm_count", "data": {"transaction_id": key, "confirm": True}}
            )
        client.send_bytes(data)
        for key in keys:
            ack = client.receive_action("ack", "error")
            assert ack["status"] == "success" and ack["data"]["transaction_id"] == key, ack
        client.nothing_before_pong()


def moment(timestamp: str) -> datetime:
    return datetime.strptime(timestamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def told(server: ServerProcess) -> tuple[str, list[Packet]]:
    """A room of ten messages and its entries; nobody adds to it."""
    client = RawClient(server.port)
    client.register("teller")
    client.login("teller")
    say_many(client, "told", [f"number {number}" for number in range(10)])
    entries = ask(client, "told", after_id=0)["messages"]
    client.close()
    return "told", entries


# from_time


@pytest.mark.parametrize(
    "from_time",
    [
        "2024-01-01T00:00:00Z",
        "2024-01-01T00:00:00.5Z",
        "2024-01-01T00:00:00.123456Z",
        "2024-01-01T00:00:00.123456789Z",
        "2024-01-01T00:00:00+00:00",
        "2024-01-01T00:00:00-05:30",
        "2024-01-01T23:59:59.999+14:00",
        "1970-01-01T00:00:00Z",
        "1900-02-28T00:00:00Z",
        "2024-02-29T12:00:00Z",
    ],
)
def test_forms_of_from_time(user: User, told: tuple[str, list[Packet]], from_time: str) -> None:
    room, entries = told
    page = ask(user(), room, from_time=from_time)
    assert page["messages"] == entries and page["has_more"] is False


@pytest.mark.parametrize(
    "from_time",
    [
        "yesterday",
        "2024-01-01",
        "2024-01-01T00:00:00",
        "00:00:00Z",
        "2024-13-01T00:00:00Z",
        "2024-02-30T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-01-01T24:00:01Z",
        "2024-01-01T00:60:00Z",
        "2024-01-01T00:00:00+25:00",
        "2024-01-01T00:00:00Z ",
        " 2024-01-01T00:00:00Z",
        "2024-1-1T0:0:0Z",
        "1704067200",
        "２０２４-01-01T00:00:00Z",
        "2024-01-01T00:00:00Zx",
        "2024-01-01T00:00:00 UTC",
        "T",
        "Z",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T",
        "-2024-01-01T00:00:00Z",
        "x" * 1000,
    ],
)
def test_anything_else_is_a_bad_time(user: User, from_time: str) -> None:
    answer = user().ask("get_messages", room_id="lobby", from_time=from_time)
    assert error_code(answer) == "bad_time"
    assert answer["original_action"] == "get_messages"


@pytest.mark.parametrize(
    "from_time",
    [
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59-12:00",
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_the_ends_of_time_are_a_list_or_a_bad_time(user: User, from_time: str) -> None:
    answer = user().ask("get_messages", room_id="lobby", from_time=from_time)
    if answer["action"] == "error":
        assert error_code(answer) == "bad_time"
        assert "-12:00" in from_time or "0001" in from_time
    else:
        assert answer["data"]["messages"] == [] or from_time.startswith("0001")


def test_from_time_is_a_lower_bound_in_any_zone(user: User, told: tuple[str, list[Packet]]) -> None:
    room, entries = told
    client = user()
    last = moment(entries[-1]["timestamp"])
    expected = [entry for entry in entries if entry["timestamp"] == entries[-1]["timestamp"]]
    for hours in (-11, 0, 5.5, 14):
        zone = timezone(timedelta(hours=hours))
        exact = last.astimezone(zone).isoformat()
        assert ask(client, room, from_time=exact)["messages"] == expected, exact
        for later in (timedelta(seconds=1), timedelta(seconds=0.5), timedelta(milliseconds=1)):
            just_after = (last + later).astimezone(zone).isoformat()
            assert ask(client, room, from_time=just_after)["messages"] == [], just_after
        just_before = (last - timedelta(milliseconds=500)).astimezone(zone).isoformat()
        assert ask(client, room, from_time=just_before)["messages"] == expected, just_before


def test_without_from_time_one_of_the_ids_is_needed(user: User) -> None:
    client = user()
    for data in ({}, {"limit": 5}):
        answer = client.ask("get_messages", room_id="lobby", **data)
        assert error_code(answer) == "bad_packet" and "data.from_time" in answer["message"]


def test_a_room_without_messages_has_an_empty_list(user: User) -> None:
    client = user()
    made = client.ask("create_room", participants=[], room_name="Empty")["data"]["room_id"]
    for data in (
        {"from_time": EPOCH},
        {"after_id": 0},
        {"before_id": None},
        {"before_id": 5},
        {"after_id": 10**15},
    ):
        page = ask(client, made, **data)
        assert page["messages"] == [] and page["has_more"] is False


# pages


def test_after_id_and_limit_page_forwards(user: User, told: tuple[str, list[Packet]]) -> None:
    room, entries = told
    client = user()
    ids = [entry["message_id"] for entry in entries]
    for limit in (1, 3, 9, 10, 11, 1000):
        found: list[Packet] = []
        while True:
            page = ask(client, room, after_id=found[-1]["message_id"] if found else 0, limit=limit)
            found += page["messages"]
            assert page["has_more"] is (len(found) < 10)
            if not page["has_more"]:
                break
            assert len(page["messages"]) == limit
        assert found == entries
    assert ask(client, room, after_id=ids[3])["messages"] == entries[4:]
    assert ask(client, room, after_id=ids[-1])["messages"] == []
    assert ask(client, room, after_id=2**53 - 1)["messages"] == []


def test_before_id_and_limit_page_backwards(user: User, told: tuple[str, list[Packet]]) -> None:
    room, entries = told
    client = user()
    for limit in (1, 3, 9, 10, 11, 1000):
        before, found = None, []
        while True:
            page = ask(client, room, before_id=before, limit=limit)
            found[:0] = page["messages"]
            assert page["has_more"] is (len(found) < 10)
            if not page["has_more"]:
                break
            assert len(page["messages"]) == limit
            before = found[0]["message_id"]
        assert found == entries
    assert ask(client, room, before_id=entries[4]["message_id"])["messages"] == entries[:4]
    assert ask(client, room, before_id=entries[0]["message_id"])["messages"] == []
    assert ask(client, room, before_id=None)["messages"] == entries


def test_from_time_holds_beside_the_ids(user: User, told: tuple[str, list[Packet]]) -> None:
    room, entries = told
    client = user()
    later = (moment(entries[-1]["timestamp"]) + timedelta(seconds=1)).isoformat()
    for data in ({"after_id": 0}, {"before_id": None}, {"limit": 5}):
        assert ask(client, room, from_time=later, **data)["messages"] == []
    page = ask(client, room, from_time=EPOCH, limit=4)
    assert page["messages"] == entries[:4] and page["has_more"] is True
    page = ask(client, room, from_time=EPOCH, after_id=entries[1]["message_id"], limit=4)
    assert page["messages"] == entries[2:6] and page["has_more"] is True
    page = ask(client, room, from_time=EPOCH, before_id=entries[8]["message_id"], limit=4)
    assert page["messages"] == entries[4:8] and page["has_more"] is True


def test_ids_of_another_room_only_bound(
    user: User, told: tuple[str, list[Packet]], room: str
) -> None:
    told_room, entries = told
    client = user()
    number = client.say(room, "later")["data"]["message_id"]
    assert ask(client, told_room, after_id=number)["messages"] == []
    assert ask(client, told_room, before_id=number, limit=2)["messages"] == entries[-2:]
    assert contents(ask(client, room, after_id=entries[-1]["message_id"])) == ["later"]


def test_a_client_of_the_seed_reads_a_long_history_by_from_time_alone(
    user: User, room: str
) -> None:
    client = user()
    expected = [f"{number}" for number in range(2500)]
    say_many(client, room, expected)
    found: list[str] = []
    from_time = EPOCH
    for _ in range(len(expected)):
        page = ask(client, room, from_time=from_time)
        found += contents(page)
        if not page["messages"]:
            break
        seconds = {message["timestamp"] for message in page["messages"]}
        assert len(page["messages"]) <= 1000 or len(seconds) == 1, "only a whole second is longer"
        last = moment(page["messages"][-1]["timestamp"])
        if len(page["messages"]) > 1900:  # a second of more than a reply holds: by id
            rest = ask(client, room, after_id=page["messages"][-1]["message_id"])["messages"]
            found += [each["content"] for each in rest if moment(each["timestamp"]) == last]
        from_time = (last + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        if not page["has_more"]:
            break
    assert found == expected
    page = ask(client, room, after_id=0)
    assert len(page["messages"]) == 1000 and page["has_more"] is True
    assert len(ask(client, room, before_id=None)["messages"]) == 1000


def test_a_page_by_time_alone_ends_with_a_whole_second(user: User, room: str) -> None:
    client = user()
    expected: list[str] = []
    seconds: set[str] = set()
    while len(expected) <= 1000 or len(seconds) < 2:
        batch = [f"{len(expected) + number}" for number in range(60)]
        if len(expected) < 900 or len(seconds) > 1:
            say_many(client, room, batch)
            expected += batch
        else:
            ack = client.say(room, f"{len(expected)}", transaction_id=f"tick {len(expected)}")
            expected.append(f"{len(expected)}")
            seconds.add(ack["data"]["timestamp"])
            time.sleep(0.01)  # not for order: over 1,900 of one second fit no reply
        assert len(expected) < 20_000
    page = ask(client, room, from_time=EPOCH)
    last = page["messages"][-1]
    assert page["has_more"] is True
    following = ask(client, room, after_id=last["message_id"], limit=1)["messages"][0]
    assert following["timestamp"] > last["timestamp"], "the page ends in the middle of a second"
    first_seconds = {message["timestamp"] for message in page["messages"]}
    assert len(page["messages"]) <= 1000 or len(first_seconds) == 1
    rest = contents(page)
    while page["has_more"]:
        after = moment(page["messages"][-1]["timestamp"]) + timedelta(seconds=1)
        page = ask(client, room, from_time=after.isoformat())
        rest += contents(page)
    assert rest == expected


@pytest.mark.parametrize("letter", ["x", "👍", "\x01", '"'])
def test_a_page_is_cut_where_the_frame_would_pass_its_limit(
    user: User, room: str, letter: str
) -> None:
    client = user()
    content = letter * (16384 // len(letter.encode()))
    say_many(client, room, [content] * 90)
    found: list[Packet] = []
    pages = 0
    while True:
        page = ask(client, room, after_id=found[-1]["message_id"] if found else 0)
        pages += 1
        found += page["messages"]
        if not page["has_more"]:
            break
        assert page["messages"], "an empty page says that more follow"
        spare = client.max_frame - len(json.dumps(page, ensure_ascii=False).encode())
        assert spare < 200_000, f"a page was cut with {spare} bytes to spare"
    assert contents({"messages": found}) == [content] * 90
    assert pages > 1
    back = ask(client, room, before_id=None)
    assert back["has_more"] is True and back["messages"] == found[-len(back["messages"]) :]
    first = ask(client, room, from_time=EPOCH)
    assert first["has_more"] is True and first["messages"]


def test_a_page_cut_by_the_frame_ends_with_a_whole_second(user: User, room: str) -> None:
    client = user()
    letters = "x" * 16000
    say_many(client, room, [letters] * 40)
    threading.Event().wait(1.1)
    say_many(client, room, [letters] * 40)
    page = ask(client, room, from_time=EPOCH)
    last = page["messages"][-1]
    assert page["has_more"] is True
    following = ask(client, room, after_id=last["message_id"], limit=1)["messages"][0]
    assert following["timestamp"] > last["timestamp"], "the page ends in the middle of a second"


def test_the_configured_content_always_fits_a_page(
    start_server: Callable[..., ServerProcess], user: User
) -> None:
    client = user(server=start_server("--max-frame", "131072", "--rate-limit", "0"))
    say_many(client, "lobby", ["\x01" * 16384] * 3)
    after, count = 0, 0
    while True:
        page = ask(client, "lobby", after_id=after)
        count += len(page["messages"])
        if not page["has_more"]:
            break
        assert page["messages"]
        after = page["messages"][-1]["message_id"]
    assert count == 3
