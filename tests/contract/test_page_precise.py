"""Where a rule of docs/PROTOCOL.md could be read in two ways, its exact words hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.files import Upload
from support.raw_client import RawClient, error_code

DATA = b"0123456789" * 300  # three chunks of 1,000 bytes


def test_all_that_came_before_a_half_close_is_answered_downloads_to_their_end(
    user: Callable[..., RawClient], client_factory: Callable[..., RawClient], room: str
) -> None:  # R-FRAME-9
    reader = user()
    Upload(reader, room, "a.bin", bytes(300_000)).run()
    where = {"chat_id": reader.chatid, "room_id": room, "file_path": "a.bin"}
    reader.send({"action": "file_down_req", "data": where})
    reader.send({"action": "get_users", "data": {"chatid": reader.chatid}})
    reader.end_sending()
    actions = {packet["action"] for packet in reader.expect_closed()}
    assert actions == {"file_down_meta", "file_down_data", "file_down_fin", "users_list"}
    assert client_factory().login(reader.chatid)["action"] == "login_success", "the place is free"


@pytest.mark.parametrize("action", ["send\0message", "\0", "x" * 1000, " ping", "PING"])
def test_an_action_is_looked_up_whatever_characters_it_holds(
    action: str, client_factory: Callable[..., RawClient]
) -> None:  # R-JSON-11, R-ERR-4
    reply = client_factory().request({"action": action})
    assert (error_code(reply), reply["original_action"]) == ("unknown_action", action[:64])


def test_a_login_on_a_session_has_its_fields_checked_first(
    user: Callable[..., RawClient],
) -> None:  # R-ERR-3
    client = user()
    for data, code in (
        ({"chatid": client.chatid}, "bad_packet"),
        ({"chatid": 5, "password": "x"}, "bad_packet"),
        ({"chatid": "somebody else", "password": "x"}, "forbidden"),
        ({"chatid": client.chatid, "password": "password"}, "forbidden"),
    ):
        assert error_code(client.request({"action": "login", "data": data})) == code


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("x\u00b2", True),  # No: superscript two
        ("x\u2164", True),  # Nl: roman numeral five
        ("x\u0e4d", True),  # Mn
        ("x\u0903", True),  # Mc
        ("\u0301x", False),
        ("x\ufe0f", False),  # a variation selector
        ("x+", False),
        ("x\u00b4", False),
    ],
)
def test_a_name_is_of_letters_digits_and_marks_of_any_script(
    name: str, right: bool, client_factory: Callable[..., RawClient], room: str
) -> None:  # R-ACC-5
    reply = client_factory().register(room[5:17] + name if right or name[0] == "x" else name)
    assert reply["action"] == ("register_success" if right else "error"), reply


def test_room_ids_are_compared_code_point_by_code_point(
    user: Callable[..., RawClient], room: str
) -> None:  # R-ROOM-7
    client = user()
    ids = [f"{room}{end}" for end in ("\u00e9", "e\u0301", "E\u0301", "\u212b", "\u00c5", "a b")]
    for number, room_id in enumerate(ids):
        client.say(room_id, f"in {number}")
    for number, room_id in enumerate(ids):
        page = client.ask("get_messages", room_id=room_id, after_id=0)["data"]
        assert [message["content"] for message in page["messages"]] == [f"in {number}"]
        assert page["has_more"] is False


@pytest.mark.parametrize(
    "space", ["\u00a0", "\u2003", "\u2028", "\u200b", "\u00ad", "\ue000", "\t"]
)
def test_no_space_but_u0020_and_nothing_unseen_is_printable(
    space: str, user: Callable[..., RawClient], room: str
) -> None:  # R-ROOM-7
    reply = user().ask("send_message", room_id=f"{room}{space}x", content="x")
    assert error_code(reply) == "bad_packet"


def test_received_counts_as_its_upload_does_but_from_1_where_it_is_done(
    user: Callable[..., RawClient], room: str
) -> None:  # R-FILE-15, R-FILE-16
    client = user()
    upload = Upload(client, room, "zero.bin", DATA, first=0)
    upload.init(transaction_id=room)
    upload.send(0)
    upload.send(2)
    assert upload.init(transaction_id=room)["data"]["received"] == [[0, 0], [2, 2]]
    upload.send(1)
    upload.fin()
    again = upload.init(transaction_id=room)["data"]
    assert (again["received"], again["done"]) == ([[1, 3]], True)


@pytest.mark.parametrize(
    ("first", "then", "goes_on"),
    [
        ({}, {}, True),
        ({"chunk_size": 1000}, {}, True),
        ({}, {"chunk_size": 1000}, True),
        ({"chunk_size": 1000}, {"chunk_size": 1200}, False),
        ({"transaction_id": "one"}, {}, True),
        ({}, {"transaction_id": "one"}, True),
        ({"transaction_id": "one"}, {"transaction_id": "two"}, False),
        ({}, {"file_type": "image/png"}, True),
    ],
)
def test_an_upload_is_taken_up_unless_something_contradicts_it(
    first: dict[str, object],
    then: dict[str, object],
    goes_on: bool,
    user: Callable[..., RawClient],
    room: str,
) -> None:  # R-FILE-9
    upload = Upload(user(), room, "a.bin", DATA)
    upload.init(**first)
    upload.send(1)
    reply = upload.init(**then)
    assert reply["action"] == "file_send_init"
    assert reply["data"].get("received") == ([[1, 1]] if goes_on else None)


def test_fin_succeeds_again_also_in_a_later_session_until_the_next_upload(
    user: Callable[..., RawClient], client_factory: Callable[..., RawClient], room: str
) -> None:  # R-FILE-14
    client = user()
    upload = Upload(client, room, "a.bin", DATA)
    done = upload.run()
    client.close()
    upload.client = later = client_factory()
    later.login(client.chatid, take_over=True)
    assert upload.fin()["data"] == done
    upload.init()
    assert error_code(upload.fin()) == "incomplete_file"
    later.ask("file_cancel", room_id=room, file_path="a.bin")
    assert error_code(upload.fin()) == "file_not_found"


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("a.tar.gz", "a.tar (2).gz"),
        (".bashrc", ".bashrc (2)"),
        ("README", "README (2)"),
        ("a.b" + "c" * 32, "a.b" + "c" * 32 + " (2)"),
        ("a." + "c" * 32, "a (2)." + "c" * 32),
        (".a.b", ".a (2).b"),
    ],
)
def test_the_ending_of_a_name_is_what_stands_behind_its_last_dot(
    name: str, second: str, user: Callable[..., RawClient], room: str
) -> None:  # R-FILE-18
    one, two = user(), user()
    Upload(one, room, name, DATA).run()
    upload = Upload(two, room, f"C:\\dir/{name}", DATA)
    assert upload.init()["data"]["file_path"] == name
    assert upload.send(1)["data"]["file_path"] == name
    upload.send_all()
    fin = upload.fin()["data"]
    assert (fin["file_path"], fin["stored_as"]) == (name, second)
    assert one.receive_action("receive_file")["data"]["file_path"] == second


def test_the_list_of_files_tells_newest_versions_in_the_order_of_these(
    user: Callable[..., RawClient], room: str
) -> None:  # R-FILE-24, R-FILE-25
    client = user()
    for name, size in (("a", 1), ("b", 2), ("a", 3)):
        Upload(client, room, name, bytes(size)).run()
    data = client.ask("file_list_req", room_id=room)["data"]
    assert data["file_list"] == "b, a" and data["has_more"] is False
    assert [(file["file_path"], file["file_size"]) for file in data["files"]] == [
        ("b", 2),
        ("a", 3),
    ]
    assert client.ask("file_list_req", room_id=room, after="x")["data"]["files"] == []


def test_every_chunk_of_a_download_but_the_last_has_the_size_that_meta_tells(
    user: Callable[..., RawClient], room: str
) -> None:  # R-FILE-19, R-FILE-21
    client = user()
    Upload(client, room, "a.bin", bytes(range(256)) * 1200, chunk=100_000).run()
    metas = []
    for first in (1, 2, 5):
        where = {"room_id": room, "file_path": "a.bin", "from_sequence": first}
        metas.append(client.ask("file_down_req", **where)["data"])
        sizes = []
        while (packet := client.receive())["action"] == "file_down_data":
            sizes.append(len(packet["data"]["file_data"]) // 4 * 3)
        assert len(sizes) == metas[0]["total_packets"] + 1 - first
        assert all(abs(size - metas[0]["chunk_size"]) <= 2 for size in sizes[:-1])
    assert metas[0] == metas[1] == metas[2]
