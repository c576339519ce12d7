"""Every list of the server can be read by whoever obeys R-JSON-4: at most 10,000 keys and elements
a reply, within `max_frame`, and `has_more` in each (R-LIM-13); and none is read further than it
goes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.in_process import Serve, member, stranger
from support.patience import until
from support.raw_client import RawClient

import protocol
from server.running.service import Service
from storage import accounts, messages, rooms, uploads
from storage.received import KEPT_RANGES, as_text, from_text

Fill = Callable[[sqlite3.Connection], None]
ME = 1
ACCOUNTS, FILES, ROOMS, MESSAGES = 6_000, 1_500, 300, 2_500


def everybody(connection: sqlite3.Connection) -> None:
    for number in range(ACCOUNTS):
        accounts.create(connection, f"user{number:04}", f"user{number:04}", "record", 1)


def many_files(connection: sqlite3.Connection) -> None:
    for number in range(FILES):
        name = f"{number:04}"
        uploads.store(
            connection, 1, ME, name, name, 0, "x", "00" * 32, 1, f"{number:032x}", 0, None
        )


def many_rooms(connection: sqlite3.Connection) -> None:
    for number in range(30):
        accounts.create(connection, f"user{number:04}", f"user{number:04}", "record", 1)
    for number in range(ROOMS):
        rooms.create_open(connection, f"r{number:03}", ME, 1)


def one_second(connection: sqlite3.Connection) -> None:
    for number in range(MESSAGES):
        messages.insert(connection, 1, ME, f"{number}", 1, 1, None)


def filled(serve: Serve, fill: Fill, **options: object) -> tuple[Service, RawClient]:
    service = serve(**options)
    client = member(service, "ada")
    service.writer.run(fill)
    return service, client


def pages(
    client: RawClient, action: str, key: str, seen: Callable[[Any], str], **data: Any
) -> Iterator[list[Any]]:
    """Yield the entries page by page; each page is one that can be read."""
    after: dict[str, str] = {}
    while True:
        reply = client.ask(action, **data, **after)
        assert protocol.count_elements(reply) <= 10_000
        assert len(json.dumps(reply, ensure_ascii=False).encode()) <= client.max_frame
        entries = reply["data"][key]
        yield entries
        assert type(reply["data"]["has_more"]) is bool
        if not reply["data"]["has_more"]:
            return
        after = {"after": seen(entries[-1])}


def test_files_page_by_elements(serve: Serve) -> None:
    _, client = filled(serve, many_files)
    found = list(
        pages(client, "file_list_req", "files", lambda file: file["file_path"], room_id="lobby")
    )
    assert len(found) > 1
    assert [file["file_path"] for page in found for file in page] == [
        f"{number:04}" for number in range(FILES)
    ]


def test_rooms_page_by_elements(serve: Serve) -> None:
    _, client = filled(serve, many_rooms)
    found = list(pages(client, "get_rooms", "rooms", lambda room: room["id"]))
    assert len(found) > 1
    assert len([room for page in found for room in page]) == ROOMS + 1
    assert {len(room["members"]) for page in found for room in page} == {31}


def test_users_page_by_elements(serve: Serve) -> None:
    _, client = filled(serve, everybody)
    for action, data in (("get_users", {}), ("get_room_users", {"room_id": "lobby"})):
        found = list(pages(client, action, "users", str, **data))
        assert len([name for page in found for name in page]) == ACCOUNTS + 1


def test_a_list_of_rooms_names_the_first_members_and_says_that_there_are_more(
    serve: Serve,
) -> None:
    _, client = filled(serve, everybody)
    (lobby,) = client.ask("get_rooms")["data"]["rooms"]
    assert len(lobby["members"]) == 1_000 and lobby["has_more"] is True
    assert lobby["members"][:2] == ["ada", "user0000"]


def test_a_second_that_the_elements_split_goes_on_by_id(serve: Serve) -> None:
    _, client = filled(serve, one_second)
    page = client.ask("get_messages", room_id="lobby", from_time="1970-01-01T00:00:00Z")
    assert protocol.count_elements(page) <= 10_000
    first = page["data"]["messages"]
    assert 1_000 < len(first) < MESSAGES and page["data"]["has_more"] is True
    rest = client.ask("get_messages", room_id="lobby", after_id=first[-1]["message_id"])
    assert len(first) + len(rest["data"]["messages"]) == MESSAGES


def test_what_has_arrived_of_an_upload_is_named_as_far_as_a_reply_goes(serve: Serve) -> None:
    service = serve()
    client = member(service, "ada")
    upload = {
        "room_id": "lobby",
        "file_path": "gaps",
        "file_size": 20_000,
        "file_type": "x",
        "total_packets": 20_000,
        "chunk_size": 1,
    }
    assert client.ask("file_send_init", **upload)["action"] == "file_send_init"
    chunk = {"room_id": "lobby", "file_path": "gaps", "sequence_number": 1, "file_data": "eA=="}
    assert client.ask("file_send_data", **chunk)["action"] == "file_send_data"

    def arrived(connection: sqlite3.Connection) -> None:
        gaps = tuple((number, number) for number in range(0, 20_000, 2))
        uploads.save_progress(connection, 1, 1, 1, as_text(gaps), 1)

    service.writer.run(arrived)
    client.close()
    client = stranger(service)
    client.login("ada")
    reply = client.ask("file_send_init", **upload)
    assert protocol.count_elements(reply) <= 10_000
    assert reply["data"]["received"][:2] == [[1, 1], [3, 3]]
    assert len(reply["data"]["received"]) > 3_000


def test_what_is_kept_of_an_upload_is_short_and_takes_nothing_back(serve: Serve) -> None:
    service = serve()
    ada = member(service, "ada")
    head = {"room_id": "lobby", "file_path": "gaps"}
    about = {"file_size": 20_000, "file_type": "x", "total_packets": 20_000, "chunk_size": 1}
    assert ada.ask("file_send_init", **head, **about)["action"] == "file_send_init"
    send = {**head, "file_data": "eA=="}
    assert ada.ask("file_send_data", **send, sequence_number=1)["action"] == "file_send_data"

    def meanwhile(connection: sqlite3.Connection) -> None:  # a newer session has come further
        gaps = tuple((number, number) for number in range(4, 20_000, 2))
        uploads.save_progress(connection, 1, 1, 1, as_text(gaps), 1)

    service.writer.run(meanwhile)
    ada.close()
    again = stranger(service)
    again.login("ada")
    received = again.ask("file_send_init", **head, **about)["data"]["received"]
    assert received[:3] == [[1, 1], [5, 5], [7, 7]]
    with service.database.reading() as reader:
        kept = uploads.received_of(reader, 1)
        assert uploads.received_of(reader, 2) is None
    assert kept is not None and len(from_text(kept)) == KEPT_RANGES >= len(received)


def test_a_message_of_too_many_different_letters_is_refused(serve: Serve) -> None:
    client = member(serve(max_content=0), "ada")
    letters = "".join(chr(0x4E00 + number) for number in range(9_901))
    counted = client.propose("lobby", letters[:-1] + letters[:100])
    assert protocol.count_elements(counted) <= 10_000
    refused = client.ask("send_message", room_id="lobby", content=letters)
    assert (refused["code"], "9900 different" in refused["message"]) == ("bad_packet", True)


def test_the_names_of_everybody_are_read_once_for_all_open_rooms(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, client = filled(serve, many_rooms)
    assert client.ask("leave_room", room_id="r007")["action"] == "room_left"
    read: list[str] = []
    for module, name in ((accounts, "page"), (rooms, "member_chatids")):
        real = getattr(module, name)

        def counting(*arguments: Any, real: Any = real, name: str = name) -> Any:
            read.append(name)
            return real(*arguments)

        monkeypatch.setattr(module, name, counting)
    listed = client.ask("get_rooms")["data"]["rooms"]
    assert len(listed) > 100
    assert sorted(read) == ["member_chatids", "page"], (
        "a room that somebody left is read for itself"
    )


# A page is not read further than it goes


@pytest.mark.parametrize(
    "data",
    [
        {"before_id": None, "limit": 1_000},
        {"after_id": 0, "limit": 1_000},
        {"from_time": "1970-01-01T00:00:00Z"},
    ],
    ids=["newest", "by id", "by time"],
)
def test_a_page_is_read_row_by_row_until_the_frame_is_full(
    data: dict[str, Any], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, count = "x" * 16_000, 300

    def fill(connection: sqlite3.Connection) -> None:
        for _ in range(count):
            messages.insert(connection, 1, ME, text, 1, 1, None)

    service, client = filled(serve, fill)
    read = 0
    real = messages.Message

    def counting(*row: Any) -> messages.Message:
        nonlocal read
        read += 1
        return real(*row)

    monkeypatch.setattr(messages, "Message", counting)
    page = client.ask("get_messages", room_id="lobby", **data)["data"]
    shown = len(page["messages"])
    assert page["has_more"] is True and 60 <= shown <= 65
    assert read == shown + 1, "the first row that does not fit is the last one that is read"
    until(lambda: service.budget.held == 0, "what was reserved is not given back")


def test_who_asks_for_pages_waits_in_turn_and_messages_do_not(serve: Serve) -> None:
    service = serve()
    ada, bob = member(service, "ada"), member(service, "bob")
    with service.context.page_line.place("x", 0), service.context.page_line.place("y", 0):
        ada.send(
            {"action": "get_messages", "data": {"chatid": "ada", "room_id": "lobby", "after_id": 0}}
        )
        bob.say("lobby", "hello", transaction_id="a key is looked up in the database")
        assert ada.receive()["action"] == "receive_message"
    assert ada.receive()["action"] == "messages_list"
