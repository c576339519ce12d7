"""Who may do what: every cell of the table in docs/PROTOCOL.md, and that a private room does not
exist for others."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from support import fresh_name
from support.document import COLUMNS, ERROR_CODES, REPLIES, REQUESTS, RIGHTS, example_data
from support.files import Upload, encoded
from support.raw_client import Packet, RawClient, error_code, letter_frequencies
from support.seed import drawn
from support.server_process import ServerProcess
from support.teachers import teacher_of

SERVER_OPTIONS = (
    *("--rate-limit", "0", "--max-rooms", "0", "--login-failures", "0"),
    *("--login-timeout", "0"),  # who is not logged in stays for the whole file
)

CHUNK = b"0123456789"
CONTENT = "Hello everyone!"
_keys = itertools.count(1)


@dataclass(frozen=True)
class Cast:
    """Everybody: the owner, two members and a stranger of each private room, a connection without
    a login, and a teacher."""

    owner: RawClient
    member: RawClient
    third: RawClient
    stranger: RawClient
    anonymous: RawClient
    teacher: RawClient
    absent: str
    """The name of a student who is never on."""

    @property
    def all(self) -> tuple[RawClient, ...]:
        return (
            self.owner,
            self.member,
            self.third,
            self.stranger,
            self.anonymous,
            self.teacher,
        )


@pytest.fixture(scope="module")
def cast(server: ServerProcess) -> Iterator[Cast]:
    teacher, absent = teacher_of(server, features=["typing"]), fresh_name()
    people = Cast(*(RawClient(server.port) for _ in range(5)), teacher, absent)
    assert people.anonymous.register(absent)["action"] == "register_success"
    for client in people.all[:4]:
        name = fresh_name()
        assert client.register(name)["action"] == "register_success"
        assert client.login(name, features=["typing"])["action"] == "login_success"
    yield people
    for client in people.all:
        client.close()


@dataclass(frozen=True)
class Place:
    """A room in which all has been prepared that a request of somebody could be about."""

    room_id: str
    file_path: str
    received: str
    """T2 of a message by `third`."""
    upload: str
    key: str
    """T of a message that waits for its confirmation."""


def private_room(cast: Cast) -> str:
    reply = cast.owner.ask(
        "create_room",
        participants=[cast.member.chatid, cast.third.chatid],
        room_name="Project team",
    )
    return str(reply["data"]["room_id"])


def prepare(cast: Cast, room_id: str, actor: RawClient) -> Place:
    """Have `third` speak and store a file, and `actor` begin an upload and a message."""
    cast.third.say(room_id, CONTENT)
    received = cast.owner.receive_message(CONTENT, room_id)["data"]["transaction_id"]
    Upload(cast.third, room_id, "notes.txt", CHUNK).run()
    begun = Upload(actor, room_id, "begun.txt", CHUNK)
    assert begun.init()["status"] == "success"
    key = f"key-{next(_keys)}"
    actor.propose(room_id, CONTENT, transaction_id=key)
    return Place(room_id, "notes.txt", received, "begun.txt", key)


def request_data(action: str, actor: RawClient, place: Place, cast: Cast) -> Packet:
    """A request in which everything is right but perhaps who sends it."""
    numbers = {"total_packets": 1, "file_size": len(CHUNK), "sequence_number": 1}
    finished = {
        "file_list_req": {},
        "file_down_req": {"file_path": place.file_path},
        "remove_file": {"file_path": place.file_path},
    }
    values: dict[str, Any] = {
        **example_data(action),
        "chatid": actor.chatid,
        "chat_id": actor.chatid,
        "password": "password",
        "new_password": "password",
        "room_id": place.room_id,
        "content": CONTENT,
        "from_time": "2024-01-01T00:00:00Z",
        "confirm": True,
        "transaction_id": place.key if action == "confirm_count" else place.received,
        "letter_frequencies": letter_frequencies(CONTENT),
        "original_action": "receive_message",
        "file_path": place.upload,
        "file_type": "text/plain",
        "file_data": encoded(CHUNK),
        **numbers,
        "participants": [cast.member.chatid],
        "room_name": "Another",
        "new_room_name": "Renamed",
        "user_to_add": cast.stranger.chatid,
        "user_to_remove": cast.third.chatid,
        "user": cast.absent,
        "seconds": 0,
        "message_id": int(place.received[1:]),
        **finished.get(action, {}),
    }
    data = {key: values[key] for key in sorted(REQUESTS[action].required)}
    if action == "login":
        data["password"] = "password"
    if action == "get_messages":
        data["from_time"] = values["from_time"]
    packet: Packet = {"action": action, "data": data}
    if action == "ack":
        packet["status"] = "success"
    return packet


def outcome(client: RawClient, packet: Packet) -> tuple[str, Packet]:
    """What the table calls it, and the reply itself."""
    packet = {**packet, "request_id": f"cell-{next(_keys)}"}
    client.send(packet)
    client.send({"action": "ping", "request_id": f"{packet['request_id']}-after"})
    may_be_late = packet["action"] in ("confirm_count", "file_down_req")  # R-ORDER-6, R-ORDER-7
    if not may_be_late:
        pong = client.receive_where(
            lambda came: came.get("request_id") == f"{packet['request_id']}-after", what="pong"
        )
        assert pong["action"] == "pong"
    mine = [came for came in client._aside if came.get("request_id") == packet["request_id"]]
    if not mine and not may_be_late:
        return "no reply", {}
    reply = client.receive_where(
        lambda came: came.get("request_id") == packet["request_id"], what=f"reply to {packet}"
    )
    if packet["action"] == "file_down_req" and reply["action"] == "file_down_meta":
        client.receive_action("file_down_fin")
    client._aside.clear()
    return (error_code(reply) if reply["action"] == "error" else reply["action"]), reply


def seen_by(client: RawClient, room_id: str) -> str:
    """All that a member sees of a room."""
    rooms = client.ask("get_rooms", limit=1000)["data"]["rooms"]
    [room] = [room for room in rooms if room["id"] == room_id]
    replies = [
        client.ask("get_messages", room_id=room_id, after_id=0)["data"],
        client.ask("file_list_req", room_id=room_id)["data"],
        client.ask("get_room_users", room_id=room_id)["data"],
    ]
    return json.dumps([{**room, "unread": 0}, *replies], sort_keys=True)


def test_the_table_has_every_request_and_only_words_of_the_page() -> None:
    assert RIGHTS.keys() == REQUESTS.keys()
    assert {
        word for row in RIGHTS.values() for word in row.values()
    } <= ERROR_CODES | REPLIES.keys() | {"no reply"}
    for action, row in RIGHTS.items():
        assert (row["not logged in"] == "not_logged_in") is not REQUESTS[action].before_login


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("action", RIGHTS)
def test_each_request_answers_each_person_as_the_table_says(
    cast: Cast, action: str, column: str
) -> None:
    actors = {
        "not logged in": [cast.anonymous],
        "stranger": [cast.stranger],
        "member": [cast.member],
        "owner": [cast.owner],
        "open room": [cast.stranger, cast.member, cast.owner],
        "teacher": [cast.teacher],
    }[column]
    due = RIGHTS[action][column]
    for actor in actors:
        room_id = fresh_name("open") if column == "open room" else private_room(cast)
        insider = cast.member if column in ("not logged in", "stranger", "teacher") else actor
        place = prepare(cast, room_id, insider)
        named = actor if actor.chatid else insider
        packet = request_data(action, named, place, cast)
        if action in ("login", "register") and actor is cast.anonymous:
            packet["data"]["chatid"] = name = fresh_name()
            if action == "login":
                cast.owner.send({"action": "ping"})
                assert actor.register(name)["action"] == "register_success"
        if action == "file_send_fin":
            assert Upload(insider, room_id, place.upload, CHUNK).send(1)["status"] == "success"
        before = seen_by(cast.owner, room_id)
        word, reply = outcome(actor, packet)
        assert word == due, f"{column}: {packet}\n{reply}"
        if word == "logout_ack":
            assert actor.login(actor.chatid, features=["typing"])["action"] == "login_success"
        elif word == "login_success":
            assert (
                actor.request({"action": "logout", "data": {"chatid": packet["data"]["chatid"]}})[
                    "action"
                ]
                == "logout_ack"
            )
        elif word in ERROR_CODES:
            assert reply["original_action"] == action, reply
            assert seen_by(cast.owner, room_id) == before, "a refused request changes nothing"
        elif word != "no reply" and "status" in reply:
            assert reply["status"] == ("error" if word == "register_fail" else "success"), reply
        if word == "class_paused":
            assert actor.ask("resume_class")["action"] == "class_resumed"
        if place.key and insider.chatid:  # leave nothing open behind: 64 are too many
            insider.request(
                {"action": "confirm_count", "data": {"transaction_id": place.key, "confirm": False}}
            )
            insider.ask("file_cancel", room_id=room_id, file_path=place.upload)
        if column != "open room":  # `seen_by` lists the rooms that are left
            cast.owner.ask("delete_room", room_id=room_id)
        for client in cast.all:
            client.nothing_before_pong()


# a private room does not exist for others

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "send_message": [{}, {"transaction_id": "a key"}, {"content": "x" * 16_385}],
    "get_messages": [
        {},
        {"from_time": "no time"},
        {"after_id": 0},
        {"before_id": None, "limit": 1},
    ],
    "file_send_init": [
        {},
        {"file_size": 2**50, "total_packets": 1},
        {"file_size": 2**40, "total_packets": 2**30},
        {"total_packets": 7},
        {"transaction_id": "a key"},
        {"file_size": 0, "total_packets": 0},
    ],
    "file_send_data": [{}, {"sequence_number": 9}, {"file_data": ""}, {"file_path": "nobody's"}],
    "file_send_fin": [{}, {"total_packets": 9}, {"file_path": "nobody's"}],
    "file_cancel": [{}, {"file_path": "notes.txt"}],
    "file_list_req": [{}, {"after": "a", "limit": 1}],
    "file_down_req": [{}, {"from_sequence": 99}, {"file_path": "nobody's"}],
    "add_user_to_room": [{}, {"user_to_add": "nobody"}],
    "remove_user_from_room": [{}, {"user_to_remove": "nobody"}],
}


@pytest.fixture(scope="module")
def no_rooms_of_mine(cast: Cast) -> dict[str, Place]:
    """Private rooms that are none for the stranger: one that lives, a deleted one, ones it is out
    of, one that never was."""
    living = private_room(cast)
    places = {"exists": prepare(cast, living, cast.member)}
    for kind in ("deleted", "deleted, once mine", "left", "removed from"):
        room_id = private_room(cast)
        if kind != "deleted":
            assert (
                cast.owner.ask(
                    "add_user_to_room", room_id=room_id, user_to_add=cast.stranger.chatid
                )["action"]
                == "user_added"
            )
        insider = cast.member if kind == "deleted" else cast.stranger
        places[kind] = prepare(cast, room_id, insider)
        insider.request(
            {
                "action": "confirm_count",
                "data": {"transaction_id": places[kind].key, "confirm": False},
            }
        )
        if kind.startswith("deleted"):
            assert cast.owner.ask("delete_room", room_id=room_id)["action"] == "room_deleted"
        elif kind == "left":
            assert cast.stranger.ask("leave_room", room_id=room_id)["action"] == "room_left"
        else:
            removed = cast.owner.ask(
                "remove_user_from_room", room_id=room_id, user_to_remove=cast.stranger.chatid
            )
            assert removed["action"] == "user_removed"
    never = f"p-{drawn('no room').randrange(16**32):032x}"
    places["never was"] = Place(never, "notes.txt", "m999999999", "begun.txt", "no such key")
    return places


@pytest.mark.parametrize(
    "action",
    [action for action, row in REQUESTS.items() if row.required & {"room_id", "transaction_id"}],
)
def test_no_reply_tells_whether_a_private_room_exists(
    cast: Cast, no_rooms_of_mine: dict[str, Place], action: str
) -> None:
    for variant in VARIANTS.get(action, [{}]):
        replies: dict[str, str] = {}
        for kind, place in no_rooms_of_mine.items():
            packet = request_data(action, cast.stranger, place, cast)
            packet["data"].update(variant)
            _word, reply = outcome(cast.stranger, packet)
            reply.pop("request_id", None)
            text = json.dumps(reply, sort_keys=True)
            for shown in (place.room_id, place.received, place.key):
                text = text.replace(json.dumps(shown)[1:-1], "…")
            replies[kind] = text
        assert len(set(replies.values())) == 1, f"{action} {variant}:\n" + "\n".join(
            f"{kind}: {text}" for kind, text in replies.items()
        )
        if "room_id" in REQUESTS[action].required and variant != {"content": "x" * 16_385}:
            assert RIGHTS[action]["stranger"] in replies["exists"]


def test_no_request_without_a_room_tells_of_rooms_of_others(
    cast: Cast, no_rooms_of_mine: dict[str, Place]
) -> None:
    for action in ("get_rooms", "get_users"):
        shown = json.dumps(cast.stranger.ask(action, limit=1000))
        for kind, place in no_rooms_of_mine.items():
            assert place.room_id not in shown, kind
    page = cast.stranger.ask("get_rooms", after=no_rooms_of_mine["exists"].room_id)
    assert all(
        cast.stranger.chatid in room["members"] for room in page["data"]["rooms"] if room["private"]
    )


def test_nothing_that_happens_in_a_private_room_reaches_a_stranger(cast: Cast) -> None:
    room_id = private_room(cast)
    place = prepare(cast, room_id, cast.member)
    cast.member.confirm(place.key)
    Upload(cast.member, room_id, "more.txt", CHUNK).run()
    cast.owner.ask("rename_room", room_id=room_id, new_room_name="Renamed")
    cast.owner.ask("remove_user_from_room", room_id=room_id, user_to_remove=cast.third.chatid)
    cast.owner.ask("delete_room", room_id=room_id)
    word = f"last word {fresh_name()}"
    cast.owner.say("lobby", word)
    cast.stranger.receive_message(word)
    assert cast.stranger.nothing_before_pong() == []
