"""The user's 24 packets, each over a real socket, on a server started with no options."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import fresh_name
from support.raw_client import Packet, RawClient, fence, letter_frequencies
from support.seed import drawn
from support.server_process import ServerProcess

SERVER_OPTIONS = ()

SEED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "packets.json").read_text("utf-8")
)
SEED_BY_TITLE: dict[str, Packet] = {entry["title"]: entry["packet"] for entry in SEED}
TITLES = [entry["title"] for entry in SEED]
SERVER_ACTIONS = {
    entry["packet"]["action"]
    for entry in SEED
    if entry["title"].startswith(("Response", "Notification")) or "S->C" in entry["title"]
}

# The extra keys that the contract allows, by action; `data.` for those inside data.
EXTRA_KEYS = {
    "login_success": {"data.role", "data.limits", "data.features"},
    "receive_message": {"data.message_id", "data.announce"},
    "messages_list": {"data.has_more"},
    "error": {"code"},
    "ack": {"data.message_id", "data.timestamp"},
    "file_send_init": {"data.received", "data.done"},
    "file_send_fin": {"data.sha256", "data.stored_as"},
    "file_list_req": {"data.files", "data.has_more"},
    "file_down_meta": {"data.sha256", "data.chunk_size"},
}
CONTENT = "Hello everyone! é 👍"
FILE = bytes(range(256)) * 10
CHUNK = 1024


def json_type(value: Any) -> str:
    """The JSON type of a decoded value; a bool is no integer."""
    names = {
        bool: "bool",
        int: "integer",
        float: "number",
        str: "string",
        list: "list",
        dict: "object",
    }
    return names.get(type(value), "null")


def differences(seed: Any, real: Any, extra: set[str], path: str = "") -> list[str]:
    """How `real` differs from the seed in keys and types; letters counted may be any."""
    if json_type(seed) != json_type(real):
        return [f"{path}: {json_type(seed)} expected, {json_type(real)} came"]
    if isinstance(seed, list):
        return [line for item in real for line in differences(seed[0], item, extra, f"{path}[]")]
    if not isinstance(seed, dict):
        return []
    if path == "data.letter_frequencies":
        return [
            f"{path}.{key}: no count"
            for key, value in real.items()
            if json_type(value) != "integer"
        ]
    prefix = f"{path}." if path else ""
    lines = [f"{prefix}{key}: missing" for key in seed if key not in real]
    lines += [
        f"{prefix}{key}: extra" for key in real if key not in seed and prefix + key not in extra
    ]
    for key in seed.keys() & real.keys():
        lines += differences(seed[key], real[key], extra, prefix + key)
    return lines


def fill(title: str, **values: Any) -> Packet:
    """The seed's request of this title with values of our own under its own keys."""
    packet = copy.deepcopy(SEED_BY_TITLE[title])
    for key, value in values.items():
        assert key in packet["data"], f"{title} has no {key}"
        packet["data"][key] = value
    return packet


class Recorder:
    """Two clients of the 24 packets, and what they sent and got, by the seed's titles."""

    def __init__(self, port: int) -> None:
        self.alice = RawClient(port)
        self.bob = RawClient(port)
        self.packets: dict[str, Packet] = {}
        self.names = {"alice": fresh_name("alice"), "bob": fresh_name("bob")}
        self.room = fresh_name("room")

    def close(self) -> None:
        self.alice.close()
        self.bob.close()

    def send(self, client: RawClient, title: str, **values: Any) -> None:
        self.packets[title] = fill(title, **values)
        client.send(self.packets[title])

    def receive(self, client: RawClient, title: str, action: str) -> Packet:
        packet = client.receive()
        assert packet["action"] == action, f"{action} expected, {packet} came"
        self.packets[title] = packet
        return packet

    def run(self) -> None:
        self.log_in()
        self.talk()
        self.read_history()
        self.upload()
        self.download()

    def log_in(self) -> None:
        for who, client in (("alice", self.alice), ("bob", self.bob)):
            assert client.register(self.names[who], "password123")["action"] == "register_success"
            self.send(client, "Request: Login", chatid=self.names[who], password="wrong")
            self.receive(client, "Response: Login Fail", "login_fail")
            client.send(fill("Request: Get Messages", chatid=self.names[who]))
            self.receive(client, "Response: Error", "error")
            self.send(client, "Request: Login", chatid=self.names[who], password="password123")
            self.receive(client, "Response: Login Success", "login_success")

    def talk(self) -> None:
        self.send(
            self.alice,
            "Request: Send Message",
            chatid=self.names["alice"],
            room_id=self.room,
            content=CONTENT,
        )
        counted = self.receive(
            self.alice, "Request: Character Count (C->S or S->C)", "character_count"
        )
        transaction = counted["data"]["transaction_id"]
        self.send(
            self.alice,
            "Response: Confirm Count (C->S or S->C)",
            transaction_id=transaction,
            confirm=True,
        )
        self.receive(self.alice, "Response: Ack (C->S or S->C)", "ack")
        title = "Response: Receive Message (forwarded to other clients)"
        message = self.receive(self.bob, title, "receive_message")
        self.bob.send(
            fill(
                "Request: Character Count (C->S or S->C)",
                transaction_id=message["data"]["transaction_id"],
                letter_frequencies=letter_frequencies(CONTENT),
            )
        )
        confirmed = self.bob.receive()
        assert confirmed["action"] == "confirm_count" and confirmed["data"]["confirm"] is True, (
            confirmed
        )
        self.packets["Response: Confirm Count (C->S or S->C)"] = confirmed
        self.bob.send(
            fill("Response: Ack (C->S or S->C)", transaction_id=message["data"]["transaction_id"])
        )

    def read_history(self) -> None:
        self.send(self.bob, "Request: Get Messages", chatid=self.names["bob"], room_id=self.room)
        self.receive(self.bob, "Response: Get Messages", "messages_list")

    def upload(self) -> None:
        name = {
            "chat_id": self.names["alice"],
            "room_id": self.room,
            "file_path": "my_document.pdf",
        }
        chunks = [FILE[at : at + CHUNK] for at in range(0, len(FILE), CHUNK)]
        self.send(
            self.alice,
            "Request: File Send Init (Client -> Server)",
            **name,
            file_size=len(FILE),
            total_packets=len(chunks),
        )
        self.receive(
            self.alice, "Response: File Send Init Ack (Server -> Client)", "file_send_init"
        )
        for number, chunk in enumerate(chunks, 1):
            encoded = base64.b64encode(chunk).decode()
            title = "Request: File Send Data (Client -> Server)"
            self.send(self.alice, title, **name, sequence_number=number, file_data=encoded)
            title = "Response: File Send Data Ack (Server -> Client)"
            reply = self.receive(self.alice, title, "file_send_data")
            assert reply["data"]["sequence_number"] == number, reply
        title = "Request: File Send Fin (Client -> Server)"
        self.send(self.alice, title, **name, total_packets=len(chunks))
        self.receive(self.alice, "Response: File Send Fin Ack (Server -> Client)", "file_send_fin")
        title = "Notification: Receive File (forwarded to other clients)"
        self.receive(self.bob, title, "receive_file")

    def download(self) -> None:
        who = {"chat_id": self.names["bob"], "room_id": self.room}
        self.send(self.bob, "Request: File List Request (Client -> Server)", **who)
        self.receive(self.bob, "Response: File List Response (Server -> Client)", "file_list_req")
        title = "Request: File Download Request (Client -> Server)"
        self.send(self.bob, title, **who, file_path="my_document.pdf")
        title = "Response: File Download Meta (Server -> Client)"
        meta = self.receive(self.bob, title, "file_down_meta")
        received = b""
        for number in range(1, meta["data"]["total_packets"] + 1):
            title = "Response: File Download Data (Server -> Client)"
            chunk = self.receive(self.bob, title, "file_down_data")
            assert chunk["data"]["sequence_number"] == number, chunk
            received += base64.b64decode(chunk["data"]["file_data"], validate=True)
        self.receive(self.bob, "Response: File Download Fin (Server -> Client)", "file_down_fin")
        assert received == FILE


@pytest.fixture(scope="module")
def conversation(server: ServerProcess) -> Recorder:
    recorder = Recorder(server.port)
    try:
        recorder.run()
    finally:
        recorder.close()
    return recorder


@pytest.mark.parametrize("title", TITLES)
def test_a_seed_packet_keeps_its_keys_and_types(conversation: Recorder, title: str) -> None:
    seed, real = SEED_BY_TITLE[title], conversation.packets[title]
    assert differences(seed, real, EXTRA_KEYS.get(seed["action"], set())) == []
    assert real["action"] == seed["action"]
    assert real.get("status") == seed.get("status")


def test_all_seed_packets_were_driven(conversation: Recorder) -> None:
    assert len(TITLES) == 24
    assert set(conversation.packets) == set(TITLES)


def test_the_values_of_the_conversation_are_the_right_ones(conversation: Recorder) -> None:
    packets = {title: packet.get("data", {}) for title, packet in conversation.packets.items()}
    alice, bob, room = conversation.names["alice"], conversation.names["bob"], conversation.room
    named = {"chat_id": alice, "room_id": room, "file_path": "my_document.pdf"}
    counted = packets["Request: Character Count (C->S or S->C)"]
    assert counted["letter_frequencies"] == letter_frequencies(CONTENT)
    assert counted["original_action"] == "send_message"
    assert packets["Response: Login Success"]["chatid"] == bob
    assert conversation.packets["Response: Login Fail"] == SEED_BY_TITLE["Response: Login Fail"], (
        "login_fail is the seed's to the letter"
    )
    assert packets["Response: Ack (C->S or S->C)"]["transaction_id"] == counted["transaction_id"]
    message = packets["Response: Receive Message (forwarded to other clients)"]
    assert (message["room_id"], message["sender_chatid"], message["content"]) == (
        room,
        alice,
        CONTENT,
    )
    listed = packets["Response: Get Messages"]
    assert listed["room_id"] == room
    assert listed["messages"] == [
        {
            "message_id": message["message_id"],
            "sender_chatid": alice,
            "content": CONTENT,
            "timestamp": message["timestamp"],
        }
    ]
    assert packets["Response: File Send Init Ack (Server -> Client)"].items() >= named.items()
    assert packets["Response: File Send Data Ack (Server -> Client)"].items() >= named.items()
    finished = packets["Response: File Send Fin Ack (Server -> Client)"]
    assert finished.items() >= named.items()
    assert finished["sha256"] == hashlib.sha256(FILE).hexdigest()
    told = packets["Notification: Receive File (forwarded to other clients)"]
    assert (told["room_id"], told["sender_chatid"], told["file_path"]) == (
        room,
        alice,
        "my_document.pdf",
    )
    assert (told["file_size"], told["file_type"]) == (len(FILE), "application/pdf")
    assert (
        packets["Response: File List Response (Server -> Client)"]["file_list"] == "my_document.pdf"
    )
    meta = packets["Response: File Download Meta (Server -> Client)"]
    assert (meta["room_id"], meta["file_path"], meta["file_size"]) == (
        room,
        "my_document.pdf",
        len(FILE),
    )


def classic_day(client: RawClient, name: str, room: str, others: list[RawClient]) -> None:
    """All that the 24 packets can do, as one client does it, while others are busy."""
    client.send(fill("Request: Login", chatid=name, password="password"))
    assert client.receive_action("login_success", "login_fail")["action"] == "login_success"
    client.chatid = name
    for number in range(5):
        title = "Request: Send Message"
        client.send(fill(title, chatid=name, room_id=room, content=f"classic {number}"))
        counted = client.receive_action("character_count")
        transaction = counted["data"]["transaction_id"]
        title = "Response: Confirm Count (C->S or S->C)"
        client.send(fill(title, transaction_id=transaction, confirm=number != 3))
        client.receive_action("ack")
        for other in others:
            other.say(room, f"to the classic one {number}")
            message = client.receive_message(f"to the classic one {number}")
            title = "Request: Character Count (C->S or S->C)"
            counts = letter_frequencies(message["data"]["content"]) if number else {"?": 1}
            transaction = message["data"]["transaction_id"]
            client.send(fill(title, transaction_id=transaction, letter_frequencies=counts))
            agreed = client.receive_action("confirm_count")["data"]["confirm"]
            acked = fill("Response: Ack (C->S or S->C)", transaction_id=transaction)
            acked["status"] = "success" if agreed else "error"
            client.send(acked)
    client.send(fill("Request: Get Messages", chatid=name, room_id=room))
    client.receive_action("messages_list")
    client.send(fill("Request: Get Messages", chatid=name, room_id="no such room"))
    client.receive_action("error")
    named = {"chat_id": name, "room_id": room, "file_path": "notes.txt"}
    client.send(
        fill("Request: File Send Init (Client -> Server)", **named, file_size=3, total_packets=1)
    )
    client.receive_action("file_send_init")
    title = "Request: File Send Data (Client -> Server)"
    client.send(fill(title, **named, sequence_number=0, file_data="YWJj"))
    client.receive_action("file_send_data")
    client.send(fill("Request: File Send Fin (Client -> Server)", **named, total_packets=1))
    client.receive_action("file_send_fin")
    client.send(fill("Request: File List Request (Client -> Server)", chat_id=name, room_id=room))
    client.receive_action("file_list_req")
    client.send(fill("Request: File Download Request (Client -> Server)", **named))
    client.receive_action("file_down_fin")
    client.send({"action": "no_such_action", "data": {}})
    client.receive_action("error")
    client.send_body(b"no JSON")
    client.receive_action("error")


def modern_bustle(one: RawClient, two: RawClient, classic_name: str, room: str) -> None:
    """What clients of the extensions do around a classic one: every event there is."""
    made = one.ask("create_room", participants=[classic_name, two.chatid], room_name="Private talk")
    assert made["action"] == "room_created", made
    private = made["data"]["room_id"]
    one.send({"action": "typing", "data": {"chatid": one.chatid, "room_id": room}})
    one.send({"action": "typing", "data": {"chatid": one.chatid, "room_id": private}})
    for action, data in (
        ("rename_room", {"room_id": private, "new_room_name": "Renamed"}),
        ("remove_user_from_room", {"room_id": private, "user_to_remove": classic_name}),
        ("add_user_to_room", {"room_id": private, "user_to_add": classic_name}),
    ):
        reply = one.ask(action, **data)
        assert reply["status"] == "success", reply
    one.say(private, "in private")
    two.ask("leave_room", room_id=room)
    two.ask("join_room", room_id=room)
    assert one.ask("delete_room", room_id=private)["status"] == "success"


def test_a_client_of_the_seed_never_receives_another_action(
    user: Callable[..., RawClient],
    client_factory: Callable[..., RawClient],
    room: str,
) -> None:
    features = ["events", "typing"]
    one, two = user(features=features), user(features=features)
    classic = client_factory()
    name = fresh_name("classic")
    one.say(room, "first")
    assert user(name).ask("logout")["action"] == "logout_ack"
    seen: list[Packet] = []
    read = classic._read

    def recording_read(deadline: float) -> Packet:
        packet = read(deadline)
        seen.append(packet)
        return packet

    classic._read = recording_read  # type: ignore[method-assign]
    classic_day(classic, name, room, [one, two])
    modern_bustle(one, two, name, room)
    passing = user(features=features)
    passing.close()
    fence(one, classic)
    assert {packet["action"] for packet in seen} <= SERVER_ACTIONS
    assert not [packet for packet in seen if "request_id" in packet]


def test_a_client_of_the_seed_needs_nobody_on_a_first_login_server(
    start_server: Callable[..., ServerProcess], client_factory: Callable[..., RawClient]
) -> None:
    process = start_server("--registration", "first-login")
    client = client_factory(process)
    client.send(fill("Request: Login", chatid="Newcomer", password="password"))
    welcome = client.receive()
    assert (
        differences(SEED_BY_TITLE["Response: Login Success"], welcome, EXTRA_KEYS["login_success"])
        == []
    ), welcome
    client.send(fill("Request: Send Message", chatid="Newcomer", room_id="lobby"))
    assert client.receive()["action"] == "character_count"


def test_the_conversation_works_whatever_the_order_of_keys(
    user: Callable[..., RawClient], room: str
) -> None:
    client = user()
    packet = {
        "data": {"content": "x", "room_id": room, "chatid": client.chatid},
        "action": "send_message",
    }
    client.send(packet)
    assert client.receive()["action"] == "character_count"
    shuffled = list(packet["data"].items())  # type: ignore[attr-defined]
    drawn("order of packets").shuffle(shuffled)
    client.send({"action": "send_message", "data": dict(shuffled)})
    assert client.receive()["action"] == "character_count"
