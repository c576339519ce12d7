"""Files: uploads in any order and taken up again, versions and names, downloads beside the chat."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.files import Upload, download, read_download
from support.raw_client import Packet, RawClient, encode, error_code, fence
from support.seed import some_bytes
from support.server_process import ServerProcess

User = Callable[..., RawClient]
Start = Callable[..., ServerProcess]
CHUNK_LIMIT = 256 * 1024


def files_of(client: RawClient, room: str, **data: Any) -> list[Packet]:
    reply = client.ask("file_list_req", room_id=room, **data)
    assert reply["status"] == "success" and reply["message"], reply
    files: list[Packet] = reply["data"]["files"]
    assert reply["data"]["file_list"] == ", ".join(file["file_path"] for file in files)
    for file in files:
        keys = {"file_path", "file_size", "file_type", "sender_chatid", "timestamp", "sha256"}
        assert file.keys() >= keys, file
    return files


def names_of(client: RawClient, room: str) -> list[str]:
    return [file["file_path"] for file in files_of(client, room)]


# a whole file


@pytest.mark.parametrize(
    ("size", "chunk"),
    [
        (1, 1),
        (1000, 1000),
        (1001, 1000),
        (3000, 7),
        (CHUNK_LIMIT, CHUNK_LIMIT),
        (3 * CHUNK_LIMIT + 1, CHUNK_LIMIT),
    ],
)
@pytest.mark.parametrize("first", [0, 1])
def test_a_file_comes_back_byte_for_byte(
    user: User, room: str, size: int, chunk: int, first: int
) -> None:
    alice, bob = user(), user()
    data = some_bytes(size)
    finished = Upload(alice, room, "data.bin", data, chunk, first).run()
    digest = hashlib.sha256(data).hexdigest()
    assert (finished["sha256"], finished["stored_as"]) == (digest, "data.bin")
    told = bob.receive_action("receive_file")["data"]
    assert (told["room_id"], told["sender_chatid"], told["file_path"]) == (
        room,
        alice.chatid,
        "data.bin",
    )
    assert (told["file_size"], told["file_type"]) == (size, "text/plain")
    received, meta = download(bob, room, "data.bin")
    assert received == data
    assert (meta["file_size"], meta["sha256"]) == (size, digest)
    [listed] = files_of(bob, room)
    assert listed["timestamp"] == told["timestamp"]
    assert (listed["file_size"], listed["sha256"], listed["sender_chatid"]) == (
        size,
        digest,
        alice.chatid,
    )
    assert [packet["action"] for packet in alice.nothing_before_pong()] == [], (
        "the sender is not told"
    )


def test_an_empty_file_has_no_data_packet(user: User, room: str) -> None:
    alice, bob = user(), user()
    finished = Upload(alice, room, "empty", b"").run()
    assert finished["sha256"] == hashlib.sha256(b"").hexdigest()
    assert bob.receive_action("receive_file")["data"]["file_size"] == 0
    received, meta = download(bob, room, "empty")
    assert received == b"" and (meta["total_packets"], meta["file_size"]) == (0, 0)


def test_an_upload_is_seen_by_nobody_before_fin(user: User, room: str) -> None:
    alice, bob = user(), user()
    upload = Upload(alice, room, "secret", b"x" * 2500)
    upload.init()
    assert error_code(bob.ask("join_room", room_id=room)) == "room_not_found", (
        "the first file makes the room"
    )
    upload.send_all()
    assert fence(alice, bob) == [[]]
    alice.say(room, "now there is a room")
    assert names_of(bob, room) == []
    assert (
        error_code(bob.ask("file_down_req", room_id=room, file_path="secret")) == "file_not_found"
    )
    upload.fin()
    assert names_of(bob, room) == ["secret"]


def test_the_first_file_makes_the_room(user: User, room: str) -> None:
    alice, bob = user(), user()
    Upload(alice, room, "first", b"x").run()
    assert bob.receive_action("receive_file")["data"]["room_id"] == room
    assert bob.ask("join_room", room_id=room)["action"] == "room_joined"


def test_who_left_the_room_is_not_told_of_its_files(user: User, room: str) -> None:
    alice, bob = user(), user()
    alice.say(room, "a room")
    bob.receive_message("a room")
    bob.ask("leave_room", room_id=room)
    Upload(alice, room, "file", b"x").run()
    assert fence(alice, bob) == [[]]
    assert download(bob, room, "file")[0] == b"x"


def test_a_file_of_a_private_room_is_its_members_only(user: User) -> None:
    alice, bob, stranger = user(), user(), user()
    private = alice.ask("create_room", participants=[bob.chatid], room_name="x")["data"]["room_id"]
    Upload(alice, private, "secret", b"x").run()
    assert download(bob, private, "secret")[0] == b"x"
    for action in ("file_list_req", "file_down_req"):
        answer = stranger.ask(action, room_id=private, file_path="secret")
        assert error_code(answer) == "room_not_found"
    assert fence(alice, stranger) == [[]]


def test_two_uploads_of_one_user_go_side_by_side(user: User, room: str) -> None:
    alice = user()
    one, two = Upload(alice, room, "one", b"1" * 5000), Upload(alice, room, "two", b"2" * 3000)
    one.init()
    two.init()
    for number in range(1, 6):
        assert one.send(number)["status"] == "success"
        if number <= 3:
            assert two.send(number)["status"] == "success"
    assert two.fin()["status"] == "success" and one.fin()["status"] == "success"
    assert download(alice, room, "one")[0] == b"1" * 5000
    assert download(alice, room, "two")[0] == b"2" * 3000
    assert names_of(alice, room) == ["two", "one"], "oldest first"


# chunks


def test_after_the_first_chunks_come_in_any_order_and_more_than_once(user: User, room: str) -> None:
    alice, data = user(), some_bytes(9500)
    upload = Upload(alice, room, "shuffled", data)
    upload.init()
    for number in (2, 10, 7, 7, 1, 3, 9, 10, 4, 2, 8, 5, 6):
        reply = upload.send(number)
        assert reply["status"] == "success" and reply["data"]["sequence_number"] == number, reply
    assert upload.fin()["status"] == "success"
    assert download(alice, room, "shuffled")[0] == data


def test_any_order_holds_for_thousands_of_chunks(user: User, room: str) -> None:
    alice, data = user(), some_bytes(9000)
    upload = Upload(alice, room, "every other", data, chunk=1)
    upload.init()
    order = [*range(1, 9001, 2), *range(2, 9001, 2)]
    for start in range(0, len(order), 500):
        batch = order[start : start + 500]
        alice.send_bytes(b"".join(encode(upload.chunk_packet(number)) for number in batch))
        for number in batch:
            reply = alice.receive()
            assert (
                reply.get("status") == "success" and reply["data"]["sequence_number"] == number
            ), reply
    assert upload.fin()["data"]["sha256"] == hashlib.sha256(data).hexdigest()


def test_with_a_chunk_size_the_last_chunk_may_come_first(user: User, room: str) -> None:
    alice, data = user(), some_bytes(2500)
    upload = Upload(alice, room, "backwards", data)
    assert upload.init(chunk_size=1000)["status"] == "success"
    for number in (3, 2, 1):
        assert upload.send(number)["status"] == "success"
    assert upload.fin()["status"] == "success"
    assert download(alice, room, "backwards")[0] == data


@pytest.mark.parametrize("size", [2500, 3000])
def test_without_a_chunk_size_the_last_of_several_cannot_come_first(
    user: User, room: str, size: int
) -> None:
    alice, data = user(), some_bytes(size)
    upload = Upload(alice, room, "file", data)
    upload.init()
    assert error_code(upload.send(3)) == "bad_packet"
    upload.send_all()
    assert upload.fin()["status"] == "success"
    assert download(alice, room, "file")[0] == data


def test_a_number_outside_the_range_is_a_bad_packet(user: User, room: str) -> None:
    alice = user()
    from_one = Upload(alice, room, "from one", b"x" * 2500)
    from_one.init()
    for number in (4, -1, 1000, 2**53 - 1):
        answer = from_one.send(number, b"x" * 1000)
        assert error_code(answer) == "bad_packet" and "data.sequence_number" in answer["message"], (
            answer
        )
    assert from_one.send(1)["status"] == "success"
    assert error_code(from_one.send(0, b"x" * 1000)) == "bad_packet", "it counts from 1 now"
    from_zero = Upload(alice, room, "from zero", b"x" * 2500, first=0)
    from_zero.init()
    assert from_zero.send(0)["status"] == "success"
    assert error_code(from_zero.send(3, b"x" * 500)) == "bad_packet", "it counts from 0 now"
    assert from_zero.send(2)["status"] == "success" and from_zero.send(1)["status"] == "success"
    assert from_zero.fin()["status"] == "success"


@pytest.mark.parametrize(
    ("number", "data"),
    [
        (2, b"x" * 999),
        (2, b"x" * 1001),
        (2, b""),
        (3, b"x" * 499),
        (3, b"x" * 501),
        (3, b"x" * 1000),
    ],
)
def test_a_chunk_of_a_wrong_size_changes_nothing(
    user: User, room: str, number: int, data: bytes
) -> None:
    alice, right = user(), some_bytes(2500)
    upload = Upload(alice, room, "file", right)
    upload.init()
    assert upload.send(1)["status"] == "success"
    answer = upload.send(number, data)
    assert error_code(answer) == "bad_packet" and answer["original_action"] == "file_send_data"
    incomplete = upload.fin()
    assert error_code(incomplete) == "incomplete_file" and "2" in incomplete["message"]
    upload.send_all()
    assert error_code(upload.send(number, data)) == "bad_packet", (
        "also where the right one is there"
    )
    assert upload.fin()["status"] == "success"
    assert download(alice, room, "file")[0] == right


@pytest.mark.parametrize("size", [1, 500, 833, 1250, 2500, 2501])
def test_a_first_chunk_whose_size_contradicts_the_declared_is_a_bad_packet(
    user: User, room: str, size: int
) -> None:
    alice = user()
    upload = Upload(alice, room, "file", b"x" * 2500)
    upload.init()
    assert error_code(upload.send(1, b"x" * size)) == "bad_packet"
    upload.send_all()
    assert upload.fin()["status"] == "success"


def test_a_chunk_is_at_most_256_kib(user: User, room: str) -> None:
    alice = user()
    data = b"x" * (2 * CHUNK_LIMIT)
    upload = Upload(alice, room, "file", data + b"xy", CHUNK_LIMIT + 1)
    answer = upload.init()
    if answer["action"] != "error":
        answer = upload.send(1)
    assert error_code(answer) == "bad_packet"
    answer = upload.init(chunk_size=CHUNK_LIMIT + 1)
    assert error_code(answer) == "bad_packet" and "data.chunk_size" in answer["message"]


@pytest.mark.parametrize("chunk_size", [0, -1, True, "1000", 1.5])
def test_a_bad_chunk_size_is_a_bad_packet(user: User, room: str, chunk_size: Any) -> None:
    answer = Upload(user(), room, "file", b"x" * 2500).init(chunk_size=chunk_size)
    assert error_code(answer) == "bad_packet" and "data.chunk_size" in answer["message"]


@pytest.mark.parametrize(
    "text", ["YWJ", "YW J", "YWJj\n", "Y!Jj", "YWJj=", "=", "YWJé", "YWI=YWI=", "-_-_", "YWJ\x00"]
)
def test_data_that_is_no_base64_is_a_bad_packet(user: User, room: str, text: str) -> None:
    alice = user()
    upload = Upload(alice, room, "file", b"abc")
    upload.init()
    answer = alice.ask("file_send_data", **upload.named, sequence_number=1, file_data=text)
    assert error_code(answer) == "bad_packet" and "data.file_data" in answer["message"]
    upload.send_all()
    assert upload.fin()["status"] == "success"


@pytest.mark.parametrize(
    "data",
    [
        {"file_size": -1},
        {"total_packets": -1},
        {"file_size": 3, "total_packets": 4, "chunk_size": 1},
        {"file_size": 10, "total_packets": 2, "chunk_size": 4},
        {"file_size": True},
        {"total_packets": True},
    ],
)
def test_numbers_that_cannot_be_are_a_bad_packet(user: User, room: str, data: Packet) -> None:
    assert error_code(Upload(user(), room, "file", b"x" * 2500).init(**data)) == "bad_packet"


# fin


def test_fin_names_the_first_missing_number_and_leaves_the_upload_open(
    user: User, room: str
) -> None:
    alice, bob = user(), user()
    upload = Upload(alice, room, "holes", b"x" * 9000)
    upload.init()
    answer = upload.fin()
    assert error_code(answer) == "incomplete_file" and answer["original_action"] == "file_send_fin"
    for number in (1, 2, 3, 4, 6, 9):
        upload.send(number)
    answer = upload.fin()
    assert error_code(answer) == "incomplete_file" and "5" in answer["message"], answer
    assert fence(alice, bob) == [[]]
    for number in (5, 7, 8):
        upload.send(number)
    assert upload.fin()["status"] == "success"


def test_a_repeated_fin_succeeds_and_tells_nobody_twice(user: User, room: str) -> None:
    alice, bob = user(), user()
    upload = Upload(alice, room, "once", b"x" * 2500)
    first = upload.run()
    for _ in range(3):
        again = upload.fin()
        assert again["action"] == "file_send_fin" and again["data"] == first, again
    [came] = fence(alice, bob)
    assert [packet["action"] for packet in came] == ["receive_file"]
    assert names_of(alice, room) == ["once"]


def test_chunks_and_fin_may_be_sent_without_waiting(user: User, room: str) -> None:
    alice, data = user(), some_bytes(50_000)
    upload = Upload(alice, room, "pipelined", data)
    init = {
        **alice.identity("file_"),
        **upload.named,
        "file_size": len(data),
        "file_type": "x",
        "total_packets": 50,
    }
    packets: list[Packet] = [{"action": "file_send_init", "data": init}]
    packets += [upload.chunk_packet(number) for number in range(1, 51)]
    fin = {**alice.identity("file_"), **upload.named, "total_packets": 50}
    packets += [{"action": "file_send_fin", "data": fin}, {"action": "ping"}]
    alice.send_bytes(b"".join(encode(packet) for packet in packets))
    actions = [alice.receive()["action"] for _ in packets]
    assert actions == ["file_send_init", *["file_send_data"] * 50, "file_send_fin", "pong"]
    assert download(alice, room, "pipelined")[0] == data


# taken up again


def missing(received: list[list[int]], total: int) -> list[int]:
    there = {number for first, last in received for number in range(first, last + 1)}
    return [number for number in range(1, total + 1) if number not in there]


def check_ranges(received: Any, sent: set[int]) -> None:
    assert isinstance(received, list), received
    last = -1
    for entry in received:
        assert (
            isinstance(entry, list)
            and len(entry) == 2
            and all(type(number) is int for number in entry)
        )
        assert last < entry[0] <= entry[1], "ranges are ascending and apart"
        last = entry[1]
        assert set(range(entry[0], entry[1] + 1)) <= sent, f"{entry} was never sent"


@pytest.mark.parametrize("key", [None, "upload-key"])
def test_an_upload_is_taken_up_after_a_lost_connection(
    user: User, client_factory: User, room: str, key: str | None
) -> None:
    alice, data = user(), some_bytes(9500)
    extra = {} if key is None else {"transaction_id": key}
    upload = Upload(alice, room, "resumed", data)
    upload.init(**extra)
    sent = {1, 2, 3, 6, 10}
    for number in sorted(sent):
        upload.send(number)
    alice.close()
    again = client_factory()
    assert again.login(alice.chatid, take_over=True)["action"] == "login_success"
    upload.client = again
    begun = upload.init(**extra)
    assert begun["status"] == "success", begun
    check_ranges(begun["data"]["received"], sent)
    assert not begun["data"].get("done", False)
    for number in missing(begun["data"]["received"], 10):
        assert upload.send(number)["status"] == "success"
    assert upload.fin()["status"] == "success"
    assert download(again, room, "resumed")[0] == data


@pytest.mark.parametrize("how", [pytest.param("stop", marks=pytest.mark.long), "kill"])
def test_an_upload_is_taken_up_after_a_restart(
    start_server: Start, user: User, client_factory: User, how: str
) -> None:
    process = start_server("--rate-limit", "0")
    alice, data = user("alice", process), some_bytes(10 * CHUNK_LIMIT)
    upload = Upload(alice, "lobby", "resumed", data, CHUNK_LIMIT)
    upload.init(chunk_size=CHUNK_LIMIT)
    for number in range(1, 8):
        upload.send(number)
    getattr(process, how)()
    process.start()
    upload.client = client_factory(process)
    upload.client.login("alice", take_over=True)
    begun = upload.init(chunk_size=CHUNK_LIMIT)
    check_ranges(begun["data"]["received"], set(range(1, 8)))
    for number in missing(begun["data"]["received"], 10):
        assert upload.send(number)["status"] == "success"
    assert upload.fin()["data"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert download(upload.client, "lobby", "resumed")[0] == data


@pytest.mark.parametrize("when", ["after its connection has ended", "at once"])
def test_an_upload_counted_from_0_is_taken_up_in_its_own_numbers(
    user: User, client_factory: User, room: str, when: str
) -> None:
    alice, watcher, data = user(), user(features=["events"]), some_bytes(5500)
    upload = Upload(alice, room, "from zero", data, first=0)
    upload.init()
    for number in (0, 1, 4):
        upload.send(number)
    alice.close()
    if when != "at once":
        watcher.receive_event("user_offline", chatid=alice.chatid)
    upload.client = client_factory()
    upload.client.login(alice.chatid, take_over=True)
    begun = upload.init()
    check_ranges(begun["data"]["received"], {0, 1, 4})
    for number in (5, 3, 2, 1, 0, 4):
        reply = upload.send(number)
        assert reply["status"] == "success", reply
    assert upload.fin()["status"] == "success"
    assert download(upload.client, room, "from zero")[0] == data


def test_an_upload_into_a_room_lost_meanwhile_is_refused(user: User) -> None:
    alice, bob = user(), user()
    private = alice.ask("create_room", participants=[bob.chatid], room_name="x")["data"]["room_id"]
    upload = Upload(bob, private, "late", b"x" * 2500)
    upload.init()
    upload.send(1)
    alice.ask("remove_user_from_room", room_id=private, user_to_remove=bob.chatid)
    for answer in (upload.send(2), upload.fin()):
        assert error_code(answer) == "room_not_found", answer
    assert names_of(alice, private) == []


@pytest.mark.parametrize("change", ["size", "packets"])
def test_another_size_or_number_of_packets_begins_anew(user: User, room: str, change: str) -> None:
    alice = user()
    old = Upload(alice, room, "file", b"o" * 5000)
    old.init()
    old.send_all()
    new = Upload(
        alice,
        room,
        "file",
        b"n" * (5001 if change == "size" else 5000),
        1000 if change == "size" else 500,
    )
    begun = new.init()
    assert begun["status"] == "success" and begun["data"].get("received", []) == []
    assert error_code(new.fin()) == "incomplete_file"
    new.send_all()
    assert new.fin()["status"] == "success"
    assert download(alice, room, "file")[0][:1] == b"n"


@pytest.mark.parametrize("key", [{}, {"transaction_id": "file-key"}], ids=["no key", "a key"])
def test_another_chunk_size_than_that_of_the_first_chunk_begins_anew(
    user: User, room: str, key: dict[str, str]
) -> None:
    ada = user()
    begun = Upload(ada, room, "work", bytes(400), chunk=100)
    begun.init(**key)
    assert begun.send(1)["status"] == "success"
    anew = Upload(ada, room, "work", bytes(400), chunk=120)
    assert not anew.init(chunk_size=120, **key)["data"].get("received")
    anew.send_all()
    assert anew.fin()["status"] == "success"


def test_a_key_used_again_after_fin_makes_no_second_version(
    user: User, client_factory: User, room: str
) -> None:
    alice, bob = user(), user()
    upload = Upload(alice, room, "keyed", b"x" * 2500)
    first = upload.run(transaction_id="file-key")
    alice.close()
    upload.client = client_factory()
    upload.client.login(alice.chatid, take_over=True)
    for _ in range(2):
        begun = upload.init(transaction_id="file-key")
        assert begun["status"] == "success", begun
        assert begun["data"]["received"] == [[1, 3]] and begun["data"]["done"] is True, begun
        assert upload.fin()["data"] == first
    [came] = fence(upload.client, bob)
    assert [packet["action"] for packet in came] == ["receive_file"]
    assert names_of(bob, room) == ["keyed"]


def test_a_key_that_comes_when_an_upload_is_taken_up_is_its_key_behind_its_end(
    user: User, client_factory: User, room: str
) -> None:
    alice = user()
    upload = Upload(alice, room, "late", b"x" * 2500)
    upload.init()
    upload.send(1)
    alice.close()
    upload.client = client_factory()
    upload.client.login(alice.chatid, take_over=True)
    assert upload.init(transaction_id="late-key")["data"]["received"] == [[1, 1]]
    upload.send_all()
    first = upload.fin()["data"]
    assert upload.init(transaction_id="late-key")["data"]["done"] is True
    assert upload.fin()["data"] == first


def test_a_key_used_again_after_a_newer_version_answers_for_its_own_file(
    user: User, room: str
) -> None:
    alice = user()
    old, new = Upload(alice, room, "notes", b"o" * 2500), Upload(alice, room, "notes", b"n" * 4500)
    first = old.run(transaction_id="old")
    second = new.run(transaction_id="new")
    assert old.init(transaction_id="old")["data"]["done"] is True
    assert old.fin()["data"] == first
    assert new.init(transaction_id="new")["data"]["done"] is True
    assert new.fin()["data"] == second
    assert download(alice, room, "notes")[0] == b"n" * 4500


def test_a_key_is_known_after_a_restart(
    start_server: Start, user: User, client_factory: User
) -> None:
    process = start_server()
    upload = Upload(user("alice", process), "lobby", "keyed", b"x" * 2500)
    first = upload.run(transaction_id="key")
    process.kill()
    process.start()
    upload.client = client_factory(process)
    upload.client.login("alice", take_over=True)
    begun = upload.init(transaction_id="key")
    assert begun["data"]["done"] is True and upload.fin()["data"] == first
    assert names_of(upload.client, "lobby") == ["keyed"]


@pytest.mark.parametrize(
    ("name", "data"),
    [("other", b"x" * 2500), ("keyed", b"x" * 2501)],
    ids=["another name", "another size"],
)
def test_a_key_used_for_another_file_is_a_mismatch(
    user: User, room: str, name: str, data: bytes
) -> None:
    alice = user()
    Upload(alice, room, "keyed", b"x" * 2500).run(transaction_id="key")
    answer = Upload(alice, room, name, data).init(transaction_id="key")
    assert error_code(answer) == "transaction_mismatch"
    answer = Upload(alice, "lobby", "keyed", b"x" * 2500).init(transaction_id="key")
    assert error_code(answer) == "transaction_mismatch"


def test_keys_of_files_and_of_messages_are_kept_apart(user: User, room: str) -> None:
    alice = user()
    alice.say(room, "a message", transaction_id="key")
    Upload(alice, room, "file", b"x").run(transaction_id="key")
    again = alice.ask("send_message", room_id=room, content="a message", transaction_id="key")
    assert again["action"] == "ack" and again["status"] == "success"


# names


def test_the_same_users_next_file_of_a_name_is_its_newest_version(user: User, room: str) -> None:
    alice, bob = user(), user()
    for version in (b"old", b"newer", b"newest!"):
        finished = Upload(alice, room, "notes.txt", version).run()
        assert finished["stored_as"] == "notes.txt"
        assert bob.receive_action("receive_file")["data"]["file_size"] == len(version)
        assert download(bob, room, "notes.txt")[0] == version
    assert set(names_of(bob, room)) == {"notes.txt"}
    assert files_of(bob, room)[-1]["file_size"] == 7


@pytest.mark.parametrize(
    ("name", "second", "third"),
    [
        ("notes.txt", "notes (2).txt", "notes (3).txt"),
        ("README", "README (2)", "README (3)"),
        ("é 👍.pdf", "é 👍 (2).pdf", "é 👍 (3).pdf"),
    ],
)
def test_another_users_file_of_a_name_gets_a_name_of_its_own(
    user: User, room: str, name: str, second: str, third: str
) -> None:
    alice, bob, carol = user(), user(), user()
    Upload(alice, room, name, b"alice").run()
    for client, data, expected in ((bob, b"bob", second), (carol, b"carol", third)):
        upload = Upload(client, room, name, data)
        finished = upload.run()
        assert (finished["file_path"], finished["stored_as"]) == (name, expected)
        assert upload.fin()["data"] == finished
        told = alice.receive_action("receive_file")["data"]
        assert (told["file_path"], told["sender_chatid"]) == (expected, client.chatid)
    assert names_of(alice, room) == [name, second, third]
    for stored, data in ((name, b"alice"), (second, b"bob"), (third, b"carol")):
        assert download(carol, room, stored)[0] == data


@pytest.mark.parametrize(
    "name", ["x" * 251 + ".txt", "é" * 125 + ".txt", "x" * 255, "👍" * 62 + ".tar.gz"]
)
def test_a_name_of_its_own_keeps_255_bytes(user: User, room: str, name: str) -> None:
    alice, bob = user(), user()
    assert Upload(alice, room, name, b"alice").run()["stored_as"] == name
    stored = Upload(bob, room, name, b"bob").run()["stored_as"]
    assert len(stored.encode()) <= 255 and " (2)" in stored
    assert os.path.splitext(stored)[1] == os.path.splitext(name)[1]
    assert download(alice, room, stored)[0] == b"bob"
    assert download(alice, room, name)[0] == b"alice"


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("../../evil.txt", "evil.txt"),
        ("..\\..\\evil.txt", "evil.txt"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\me\\notes.txt", "notes.txt"),
        ("a/b\\c.txt", "c.txt"),
        ("\\\\host\\share\\x", "x"),
        ("%2e%2e%2fx", "%2e%2e%2fx"),
        (".htaccess", ".htaccess"),
        ("a" * 300 + "/x.txt", "x.txt"),
    ],
)
def test_directories_are_cut_off(user: User, room: str, name: str, stored: str) -> None:
    alice, bob = user(), user()
    upload = Upload(alice, room, name, b"x" * 2500)
    begun = upload.init()
    if len(name) > 255 and begun["action"] == "error":
        assert error_code(begun) == "bad_packet"
        return
    upload.send_all()
    assert upload.fin()["data"]["stored_as"] == stored, (
        "later packets go on with the name it began with"
    )
    assert bob.receive_action("receive_file")["data"]["file_path"] == stored
    assert names_of(bob, room) == [stored]
    assert download(bob, room, stored)[0] == b"x" * 2500


def test_replies_of_an_upload_show_the_user_as_registered(user: User, room: str) -> None:
    alice = user()
    upload = Upload(alice, room, "mine.txt", b"mine")
    upload.named["chat_id"] = alice.chatid.upper()
    replies = [upload.init(), upload.send(1), upload.fin()]
    upload.named["file_path"] = "given up.txt"
    replies += [upload.init(), alice.ask("file_cancel", **upload.named)]
    assert upload.named["chat_id"] != alice.chatid
    assert {reply["data"]["chat_id"] for reply in replies} == {alice.chatid}


@pytest.mark.parametrize(
    "name",
    [
        "CON",
        "con",
        "nul.txt",
        "COM1",
        "lpt9.tar.gz",
        "PRN",
        "aux.c",
        "a\x01b",
        "a\nb",
        "a\x7fb",
        "a\x9bb",
        "dir/",
        "..",
        ".",
        "x/..",
        "x" * 256,
        "é" * 128,
        "dir/CON",
    ],
)
def test_an_impossible_name_is_a_bad_packet(user: User, room: str, name: str) -> None:
    answer = Upload(user(), room, name, b"x").init()
    assert error_code(answer) == "bad_packet", answer
    assert "data.file_path" in answer["message"]


def test_no_name_becomes_a_path_on_the_server(start_server: Start, user: User) -> None:
    process = start_server()
    client = user(server=process)
    for number, name in enumerate(
        ["telltale.txt", "../telltale.txt", "telltale/../telltale", "/tmp/telltale"]
    ):
        Upload(client, f"telltale room {number}", name, b"x").run()
    for path in process.data_dir.parent.rglob("*"):
        assert "telltale" not in str(path.relative_to(process.data_dir.parent)), path


def test_files_come_in_pages_by_age(user: User, room: str) -> None:
    alice = user()
    expected = [f"{name}.txt" for name in ("m", "c", "z", "a", "q", "b", "y")]
    for name in expected:
        Upload(alice, room, name, b"x").run()
    assert names_of(alice, room) == expected
    for limit in (1, 3, 7, 10):
        found: list[str] = []
        while True:
            data: Packet = {"after": found[-1]} if found else {}
            page = alice.ask("file_list_req", room_id=room, limit=limit, **data)["data"]
            found += [file["file_path"] for file in page["files"]]
            if not page.get("has_more", False):
                break
            assert len(page["files"]) == limit
        assert found == expected


def test_files_survive_a_kill(start_server: Start, user: User, client_factory: User) -> None:
    process = start_server()
    alice, data = user("alice", process), some_bytes(300_000)
    Upload(alice, "lobby", "kept", data, 100_000).run()
    listed = files_of(alice, "lobby")
    process.kill()
    process.start()
    again = client_factory(process)
    again.login("alice", take_over=True)
    assert files_of(again, "lobby") == listed
    assert download(again, "lobby", "kept")[0] == data


# giving up


def test_a_cancelled_upload_is_gone(user: User, room: str) -> None:
    alice, bob = user(), user()
    alice.say(room, "a room")
    bob.receive_message("a room")
    upload = Upload(alice, room, "cancelled", b"x" * 2500)
    upload.init(transaction_id="key")
    upload.send(1)
    reply = alice.ask("file_cancel", **upload.named)
    assert (reply["action"], reply["status"]) == ("file_cancelled", "success") and reply["message"]
    assert reply["data"].items() >= upload.named.items()
    assert error_code(upload.send(2)) == "file_not_found"
    assert error_code(upload.fin()) == "file_not_found"
    assert error_code(alice.ask("file_cancel", **upload.named)) == "file_not_found"
    assert fence(alice, bob) == [[]] and names_of(bob, room) == []
    assert upload.init()["data"].get("received", []) == []


def big_file(user: User, room: str, size: int = 12 * 1024 * 1024) -> bytes:
    """Put a file into a room that no socket can swallow whole."""
    data = some_bytes(1024) * (size // 1024)
    Upload(user(), room, "big", data, CHUNK_LIMIT).run()
    return data


def begin_download(client: RawClient, room: str) -> None:
    data = {**client.identity("file_"), "room_id": room, "file_path": "big"}
    client.send({"action": "file_down_req", "data": data})


def test_nobodys_chat_waits_for_a_download(user: User, room: str) -> None:
    data = big_file(user, room)
    alice, bob = user(), user(receive_buffer=65536)
    begin_download(bob, room)
    meta = bob.receive_action("file_down_meta")
    bob.send({"action": "ping"})
    alice.say(room, "in between")
    bob.send(
        {
            "action": "send_message",
            "data": {"chatid": bob.chatid, "room_id": room, "content": "also"},
        }
    )
    seen: list[Packet] = []
    while not seen or seen[-1]["action"] != "file_down_fin":
        seen.append(bob.receive())
    actions = [packet["action"] for packet in seen]
    assert {"pong", "receive_message", "character_count"} <= set(actions[:-1])
    chunks = [
        packet["data"]["sequence_number"] for packet in seen if packet["action"] == "file_down_data"
    ]
    assert chunks == list(range(1, meta["data"]["total_packets"] + 1))
    for action in ("pong", "receive_message", "character_count"):
        assert "file_down_data" in actions[actions.index(action) :], (
            f"{action} waited for the whole file"
        )
    assert len(data) == meta["data"]["file_size"]


def test_a_cancelled_download_sends_no_fin(user: User, room: str) -> None:
    big_file(user, room)
    bob = user(receive_buffer=65536)
    begin_download(bob, room)
    meta = bob.receive_action("file_down_meta")
    reply = bob.ask("file_cancel", room_id=room, file_path="big")
    assert reply["action"] == "file_cancelled", reply
    rest = [packet["action"] for packet in bob.nothing_before_pong()]
    assert set(rest) <= {"file_down_data"} and len(rest) < meta["data"]["total_packets"]
    assert error_code(bob.ask("file_cancel", room_id=room, file_path="big")) == "file_not_found"
    assert "file_down_fin" not in rest
    assert download(bob, room, "big")[1]["file_size"] == meta["data"]["file_size"]


def test_a_download_ends_with_its_session(user: User, room: str) -> None:
    big_file(user, room)
    bob = user(receive_buffer=65536)
    begin_download(bob, room)
    bob.receive_action("file_down_data")
    bob.ask("logout")
    bob._aside.clear()
    assert [packet["action"] for packet in bob.nothing_before_pong()] == []
    assert bob.login(bob.chatid)["action"] == "login_success"
    assert [packet["action"] for packet in bob.nothing_before_pong()] == []


def test_who_goes_away_amid_a_download_harms_nobody(user: User, room: str) -> None:
    big_file(user, room)
    for _ in range(5):
        leaver = user(receive_buffer=65536)
        begin_download(leaver, room)
        leaver.receive_action("file_down_data")
        leaver.close()
    assert download(user(), room, "big")[1]["file_size"] == 12 * 1024 * 1024


@pytest.mark.parametrize("from_sequence", [1, 2, 3])
def test_a_download_starts_where_it_is_asked_to(user: User, room: str, from_sequence: int) -> None:
    alice, data = user(), some_bytes(2 * CHUNK_LIMIT + 10_000)
    Upload(alice, room, "file", data, CHUNK_LIMIT).run()
    whole, meta = download(alice, room, "file")
    assert whole == data
    if from_sequence > meta["total_packets"]:
        pytest.skip("the server sends larger chunks")
    rest, _ = download(alice, room, "file", from_sequence)
    chunk = (
        (len(data) - len(download(alice, room, "file", 2)[0])) if meta["total_packets"] > 1 else 0
    )
    assert rest == data[(from_sequence - 1) * chunk :]


@pytest.mark.parametrize("from_sequence", [0, -1, True, "1", None])
def test_a_bad_from_sequence_is_a_bad_packet(user: User, room: str, from_sequence: Any) -> None:
    alice = user()
    Upload(alice, room, "file", b"x").run()
    answer = alice.ask("file_down_req", room_id=room, file_path="file", from_sequence=from_sequence)
    assert error_code(answer) == "bad_packet" and "data.from_sequence" in answer["message"]


def test_downloads_of_a_session_run_one_after_the_other(user: User, room: str) -> None:
    alice = user()
    files = {f"file{number}": some_bytes(1000 + number) for number in range(17)}
    for name, data in files.items():
        Upload(alice, room, name, data).run()
    packets = [
        encode(
            {
                "action": "file_down_req",
                "data": {**alice.identity("file_"), "room_id": room, "file_path": name},
            }
        )
        for name in files
    ]
    alice.send_bytes(b"".join(packets))
    for name, data in files.items():
        assert read_download(alice, room, name)[0] == data


def test_a_version_is_downloaded_whole_though_a_newer_one_comes(user: User, room: str) -> None:
    data = big_file(user, room)
    bob = user(receive_buffer=65536)
    begin_download(bob, room)
    meta = bob.receive_action("file_down_meta")["data"]
    Upload(bob, room, "big", b"another user's").run()
    bob._aside.appendleft(
        {"action": "file_down_meta", "status": "success", "message": "", "data": meta}
    )
    assert read_download(bob, room, "big")[0] == data


# limits


def test_a_file_over_the_limit_is_too_large(start_server: Start, user: User) -> None:
    alice = user(server=start_server("--max-file", "5000"))
    assert error_code(Upload(alice, "lobby", "large", b"x" * 5001).init()) == "too_large"
    Upload(alice, "lobby", "fits", b"x" * 5000).run()


def test_100_mib_is_the_limit_of_a_file(user: User, room: str) -> None:
    alice, limit = user(), 100 * 1024 * 1024
    size = {"chunk_size": CHUNK_LIMIT, "total_packets": 400}
    upload = Upload(alice, room, "huge", b"")
    answer = upload.init(file_size=limit + 1, chunk_size=CHUNK_LIMIT, total_packets=401)
    assert error_code(answer) == "too_large"
    begun = upload.init(file_size=limit, **size)
    assert begun["status"] == "success" or error_code(begun) == "storage_full"
    alice.ask("file_cancel", room_id=room, file_path="huge")


def test_what_is_begun_counts_towards_the_quota(start_server: Start, user: User) -> None:
    process = start_server("--quota", "10000")
    alice, bob = user(server=process), user(server=process)
    begun = Upload(alice, "lobby", "begun", b"x" * 6000)
    assert begun.init()["status"] == "success"
    more = Upload(alice, "lobby", "more", b"x" * 4001)
    assert error_code(more.init()) == "quota_exceeded"
    Upload(bob, "lobby", "bob's", b"x" * 10000).run()
    assert begun.init()["status"] == "success", "taken up again it does not count twice"
    alice.ask("file_cancel", **begun.named)
    more.run()
    assert error_code(begun.init()) == "quota_exceeded", "what is stored counts"
    Upload(alice, "lobby", "rest", b"x" * 5999).run()


@pytest.fixture
def beside_the_product() -> Iterator[Path]:
    """A folder on the disk of the product: where the tests' files lie, nothing may be used.

    Asked for before the server that lies in it, which ends first then: Windows removes no open
    file."""
    build = Path(__file__).resolve().parents[2] / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as folder:
        yield Path(folder)


def test_the_disk_keeps_its_free_part(
    beside_the_product: Path, start_server: Start, user: User
) -> None:
    process = start_server("--min-free", "99", data=str(beside_the_product / "data"))
    usage = shutil.disk_usage(process.data_dir)
    if usage.free > usage.total * 0.98:
        pytest.skip("the disk is empty")
    alice = user(server=process)
    upload = Upload(alice, "lobby", "file", b"x" * 2500)
    answer = upload.init()
    if answer["action"] != "error":
        upload.send_all()
        answer = upload.fin()
    assert error_code(answer) == "storage_full"
    tag = alice.propose("lobby", "messages heed it, too (R-LIM-14)")["data"]["transaction_id"]
    assert error_code(alice.confirm(tag)) == "storage_full"
    assert alice.ask("get_rooms")["action"] == "rooms_list", "reading goes on"
