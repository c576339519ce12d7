"""Every limit of docs/PROTOCOL.md: reached, passed by one, and turned off; those of time with a
clock that the test drives."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from support.files import Upload
from support.gates import account_id
from support.in_process import Clock, Serve, idle_drain, member, stranger
from support.patience import patience, until
from support.raw_client import RawClient, encode, error_code

import protocol
from server.base.limits import LoginThrottle, MemoryBudget, RateLimit
from server.base.settings import OPTIONS
from server.net.outbox import Drain, Outbox
from server.net.sockets import Stream
from server.running.service import Service
from server.state import uploads
from storage.shares import MEMBER_BYTES, MESSAGE_BYTES, ROOM_BYTES

HERE: Final = 1_700_000_000.0


class Limit(NamedTuple):
    """One limit: the option's value for the test, and what shows the limit at that value, at one
    more, and at 0."""

    option: str
    value: int
    check: Callable[[Serve, dict[str, Any], int], None]


TABLE: Final[list[Limit]] = []


def limit(
    option: str, value: int
) -> Callable[[Callable[[Serve, dict[str, Any], int], None]], None]:
    """The decorated function checks `option`: with its value in `chosen` it must hold exactly, with
    0 it must not be there. It is given the value as `most`, also where it is turned off."""

    def add(check: Callable[[Serve, dict[str, Any], int], None]) -> None:
        TABLE.append(Limit(option, value, check))

    return add


NOT_A_LIMIT: Final = {
    "host",
    "port",
    "data",
    "registration",
    "new_rooms",
    "private_rooms",  # who may: tests/contract/test_teacher.py
    "retain",  # how long: tests/server/test_retention.py
    "password_cost",
    "certfile",
    "keyfile",
    "log_format",
    "log_level",
    "shutdown_timeout",  # of the server itself: tests/server/test_server_process.py
    "rate_burst",  # with rate_limit
}


def is_refused(packet: dict[str, Any], code: str) -> bool:
    """Whether it is an `error` with this code; any other error is a fault of the test."""
    if packet["action"] != "error":
        return False
    assert error_code(packet) == code
    return True


def send(client: RawClient, content: str, room_id: str = "lobby", **data: Any) -> dict[str, Any]:
    """What the server answers to a `send_message`, counts or error."""
    return client.ask("send_message", room_id=room_id, content=content, **data)


# Sizes


def ping_of(size: int) -> bytes:
    body = {"action": "ping", "request_id": "p", "pad": ""}
    body["pad"] = "x" * (size - len(json.dumps(body)))
    return json.dumps(body).encode()


@limit("max_frame", 100_000)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    client = member(serve(**chosen), "ada")
    client.send_body(ping_of(most))
    assert client.receive()["action"] == "pong"
    client.send_body(ping_of(most + 1))
    last = client.receive()
    assert is_refused(last, "bad_frame") == bool(chosen["max_frame"])


@limit("max_content", 1_000)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    client = member(serve(**chosen), "ada")
    assert client.propose("lobby", "ä" * (most // 2))["action"] == "character_count", (
        "bytes of UTF-8 are counted"
    )
    assert is_refused(send(client, "ä" * (most // 2) + "x"), "bad_packet") == bool(
        chosen["max_content"]
    )


@limit("max_file", 1_000)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    client = member(serve(**chosen), "ada")
    assert Upload(client, "lobby", "a", b"x" * most).init()["action"] != "error"
    assert is_refused(Upload(client, "lobby", "b", b"x" * (most + 1)).init(), "too_large") == bool(
        chosen["max_file"]
    )


@limit("quota", 1_000)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    client = member(serve(**chosen), "ada")
    Upload(client, "lobby", "stored", b"x" * 300).run()
    assert Upload(client, "lobby", "begun", b"x" * (most - 300)).init()["action"] != "error"
    assert is_refused(Upload(client, "lobby", "one", b"x").init(), "quota_exceeded") == bool(
        chosen["quota"]
    )


@limit("message_quota", 5_000)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    client = member(serve(**chosen), "ada")
    client.say("lobby", "x" * (most - 2 * MESSAGE_BYTES - 1))
    client.say("lobby", "x")
    over = client.confirm(client.propose("lobby", "x")["data"]["transaction_id"])
    assert is_refused(over, "quota_exceeded") == bool(chosen["message_quota"])
    room = client.ask("create_room", participants=[], room_name="room")
    assert is_refused(room, "quota_exceeded") == bool(chosen["message_quota"])
    upload = Upload(client, "lobby", "a", b"").init()
    assert is_refused(upload, "quota_exceeded") == bool(chosen["message_quota"])


def test_all_that_is_stored_heeds_the_room_that_the_disk_is_to_keep(serve: Serve) -> None:
    clock = Clock(1_000.0)
    service = serve(min_free=20, clock=clock)
    ada = member(service, "ada")
    service.files.free = lambda: (399, 2_000)  # type: ignore[method-assign]
    clock.now += 1.0
    tag = ada.propose("lobby", "hello")["data"]["transaction_id"]
    assert is_refused(ada.confirm(tag), "storage_full")
    assert is_refused(ada.ask("create_room", participants=[], room_name="x"), "storage_full")
    service.files.free = lambda: (400, 2_000)  # type: ignore[method-assign]
    room = ada.ask("create_room", participants=[], room_name="x")
    assert is_refused(room, "storage_full"), "it is looked at once a second"
    clock.now += 1.0
    ada.say("lobby", "hello")


def test_a_new_room_and_what_makes_it_fit_into_the_share_together(serve: Serve) -> None:
    client = member(serve(message_quota=5_000), "ada")
    most = 5_000 - ROOM_BYTES - MESSAGE_BYTES
    over = client.confirm(client.propose("new", "x" * (most + 1))["data"]["transaction_id"])
    assert is_refused(over, "quota_exceeded")
    assert client.say("new", "x" * most)["action"] == "ack"
    assert is_refused(Upload(client, "lobby", "a", b"").init(), "quota_exceeded")


def test_members_count_in_the_share_of_the_rooms_owner(serve: Serve) -> None:
    service = serve(message_quota=ROOM_BYTES + 2 * MEMBER_BYTES)
    ada, bob, cara = (member(service, name) for name in ("ada", "bob", "cara"))
    room = ada.ask("create_room", participants=[], room_name="r")["data"]["room_id"]

    def add(name: str) -> dict[str, Any]:
        return ada.ask("add_user_to_room", room_id=room, user_to_add=name)

    assert add("bob")["action"] == "user_added"
    assert add("bob")["action"] == "user_added", "which changes nothing"
    assert is_refused(add("cara"), "quota_exceeded")
    for client, rooms_seen in ((bob, 2), (cara, 1)):
        assert len(client.ask("get_rooms")["data"]["rooms"]) == rooms_seen


def test_empty_files_count_against_the_share(serve: Serve) -> None:
    client = member(serve(quota=10_000), "ada")
    for name in ("a", "b"):
        Upload(client, "lobby", name, b"").run()
    assert is_refused(Upload(client, "lobby", "c", b"").init(), "quota_exceeded")


@limit("min_free", 20)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    service = serve(**chosen)
    client = member(service, "ada")
    service.files.free = lambda: (1_000, 2_000)  # type: ignore[method-assign]
    keep = 2_000 * most // 100
    assert Upload(client, "lobby", "a", b"x" * (1_000 - keep - 1)).init()["action"] != "error"
    assert Upload(client, "lobby", "b", b"x").init()["action"] != "error", (
        "what is begun counts, and this is the last byte"
    )
    assert is_refused(Upload(client, "lobby", "c", b"x").init(), "storage_full") == bool(
        chosen["min_free"]
    )


# Numbers


@limit("rate_limit", 20)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    clock = Clock(0.0)
    rate = RateLimit(chosen["rate_limit"], 100, clock)
    assert [rate.charge() for _ in range(100)] == [0.0] * 100, "a burst of 100 goes through"
    assert rate.charge() == (pytest.approx(1 / most) if chosen["rate_limit"] else 0.0)
    clock.now += 2 / most
    assert rate.charge() == 0.0, "after its pause the next goes through, and one has come back"


@pytest.mark.parametrize("is_off", [False, True])
def test_the_messages_of_one_account_come_at_a_pace(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, is_off: bool
) -> None:
    clock, pauses = Clock(1.0), list[float]()
    service = serve(clock=clock, rate_limit=0 if is_off else 20, max_waiting=100_000)

    def pause(seconds: float, gone: Callable[[], bool]) -> None:
        pauses.append(seconds)
        clock.now += seconds

    ada = member(service, "ada")
    monkeypatch.setattr(service.shutdown, "pause", pause)

    def say(*texts: str) -> list[str]:
        """Confirm all of them at once; what they are answered with."""
        opened = [ada.propose("lobby", text)["data"]["transaction_id"] for text in texts]
        del pauses[:]
        for number in opened:
            packet = {"transaction_id": number, "confirm": True}
            ada.send({"action": "confirm_count", "data": packet})
        return [ada.receive_action("ack", "error")["action"] for _ in opened]

    assert say(*["x" * 1_024] * 48) == ["ack"] * 48 and pauses == []  # 1,026 bytes each
    assert say(*["x" * 1_024] * 12) == ["ack"] * 12
    assert ada.ask("ping")["action"] == "pong"
    assert len(pauses) == (0 if is_off else 12), "short ones count, too"
    clock.now += 1.0
    assert say(*["\x01" * 5_000] * 4) == ["ack"] * 4  # 30,002 bytes each; 50,000 at once
    assert ada.ask("ping")["action"] == "pong"
    assert [round(seconds, 1) for seconds in pauses] == ([] if is_off else [0.2, 0.6, 0.6])
    assert say("x" * 5_000) == ["ack"] and ada.ask("ping")["action"] == "pong"
    assert [round(seconds, 1) for seconds in pauses] == ([] if is_off else [0.1])
    service.context.said.charge_account(account_id(service, "ada"), 500_000)  # owed for 10 s
    with monkeypatch.context() as patch:
        if is_off:
            patch.setattr(service.context.said, "charge_account", None)  # nothing is even counted
        assert say("y") == ["ack"] and ada.ask("ping")["action"] == "pong"
    assert pauses == ([] if is_off else [2.0]), "for so long a client's end may go unnoticed"
    clock.now += 8.0
    service.context.said.charge_account(account_id(service, "ada"), 50_000)
    del pauses[:]
    again = stranger(service)
    assert again.login("ada", take_over=True)["action"] == "login_success"
    owed = [round(seconds, 1) for seconds in pauses if seconds]
    assert owed == ([] if is_off else [1.0]), "a new session owes what the account owes"


@limit("login_failures", 5)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    clock = Clock(0.0)
    throttle = LoginThrottle(chosen["login_failures"], clock)
    delays = []
    for _ in range(most + 6):
        delays.append(throttle.delay("192.0.2.1", "ada"))
        throttle.failed("192.0.2.1", "ada")
    slowed = [1.0, 2.0, 4.0, 8.0, 10.0, 10.0] if chosen["login_failures"] else [0.0] * 6
    assert delays == [0.0] * most + slowed
    assert throttle.delay("192.0.2.2", "ada") == throttle.delay("192.0.2.1", "bob") == 0.0, (
        "others are not slowed"
    )
    clock.now += 60.1
    assert throttle.delay("192.0.2.1", "ada") == 0.0, "a minute later all is forgotten"


def test_attempts_that_begin_together_each_count_those_before() -> None:
    throttle = LoginThrottle(5, Clock(0.0))
    together, delays = threading.Barrier(20), []

    def attempt() -> None:
        together.wait(patience(10))
        delays.append(throttle.begin("192.0.2.1", "ada"))

    threads = [threading.Thread(target=attempt, name=f"attempt-{n}") for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience(10))
    assert sorted(delays) == [0.0] * 5 + [1.0, 2.0, 4.0, 8.0] + [10.0] * 11


def test_only_a_login_that_succeeds_ends_the_count_of_failed_ones(serve: Serve) -> None:
    service = serve(login_failures=4)
    ada, late, pair = member(service, "ada"), stranger(service), ("127.0.0.1", "ada")
    for password in ("wrong", "wrong", "password", "wrong"):  # the right one while she is on
        assert late.login("ada", password)["action"] == "login_fail"
    assert service.context.throttle.delay(*pair) == 1.0
    by_key = late.login("ada", None, session_key=ada.session_key)
    assert by_key["action"] == "login_success" and service.context.throttle.delay(*pair) == 0.0


@limit("max_connections", 3)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    service = serve(**chosen)
    inside = [member(service, f"user{number}") for number in range(most)]
    more = stranger(service)
    if chosen["max_connections"]:
        assert [error_code(packet) for packet in more.expect_closed()] == ["server_full"]
        inside.pop().close()
        until(lambda: len(service.registry.connections()) < most, "a place does not come free")
        more = stranger(service)
    assert more.request({"action": "ping", "request_id": "1"})["action"] == "pong"
    for client in (*inside, more):
        client.close()


@limit("max_per_address", 2)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    service = serve(**chosen)
    inside = [stranger(service) for _ in range(most)]
    until(lambda: len(service.registry.connections()) == most, "they are not counted")
    address = service.registry.connections()[0].address
    assert service.registry.refuses(address, is_loopback=True) is None, "loopback is free of it"
    reason = service.registry.refuses(address, is_loopback=False)
    assert (reason is not None) == bool(chosen["max_per_address"])
    assert service.registry.refuses("192.0.2.7", is_loopback=False) is None, (
        "another address has places of its own"
    )
    inside.pop().close()
    until(
        lambda: service.registry.refuses(address, is_loopback=False) is None,
        "a place does not come free",
    )
    inside.pop().close()


@limit("max_rooms", 2)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    ada = member(serve(**chosen), "ada")
    for _ in range(most):
        assert ada.ask("create_room", participants=[], room_name="room")["action"] != "error"
    assert is_refused(
        ada.ask("create_room", participants=[], room_name="x"), "quota_exceeded"
    ) == bool(chosen["max_rooms"])
    assert is_refused(send(ada, "an open room counts, too", "a-new-one"), "quota_exceeded") == bool(
        chosen["max_rooms"]
    )
    ada.say("lobby", "other rooms are not concerned")


@limit("max_pending", 3)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    client = member(serve(**chosen), "ada")
    tags = [
        client.propose("lobby", f"{number}")["data"]["transaction_id"] for number in range(most)
    ]
    assert is_refused(send(client, "one more"), "too_many_pending") == bool(chosen["max_pending"])
    assert client.confirm(tags[0])["status"] == "success"
    assert client.propose("lobby", "again")["action"] == "character_count"
    uploads = [Upload(client, "lobby", f"{number}", b"x") for number in range(most + 1)]
    assert [upload.init()["action"] for upload in uploads[:most]] == ["file_send_init"] * most
    assert is_refused(uploads[most].init(), "too_many_pending") == bool(chosen["max_pending"])


@limit("max_downloads", 2)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    service = serve(**chosen)
    ada = member(service, "ada")
    slow = stranger(service, receive_buffer=4096)
    slow.register("slow")
    slow.login("slow")
    data = bytes(8 * 1024 * 1024)
    Upload(ada, "lobby", "zeros", data, chunk=262_144).run()
    for number in range(most + 2):
        request = {
            "action": "file_down_req",
            "data": {"chat_id": "slow", "room_id": "lobby", "file_path": "zeros"},
        }
        slow.send({**request, "request_id": f"get-{number}"})
    slow.send({"action": "ping", "request_id": "after"})
    refused = slow.receive_where(lambda packet: packet["action"] in ("error", "pong"), 30.0)
    assert (refused["action"] == "error" and is_refused(refused, "too_many_pending")) == bool(
        chosen["max_downloads"]
    )
    if chosen["max_downloads"]:
        assert refused["request_id"] == f"get-{most + 1}", (
            "one runs, and as many as the limit says wait"
        )
    slow.close()


@limit("max_bad_json", 3)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    client = member(serve(**chosen), "ada")
    for _ in range(most - 1):
        client.send_body(b"{")
        assert is_refused(client.receive(), "bad_json")
    assert client.request({"action": "ping", "request_id": "1"})["action"] == "pong", (
        "below the limit the connection lives"
    )
    client.send_body(b"{")
    assert is_refused(client.receive(), "bad_json")
    if chosen["max_bad_json"]:
        assert client.expect_closed() == []
    else:
        assert client.request({"action": "ping", "request_id": "2"})["action"] == "pong"


# What is held for clients


@limit("max_waiting", 10_000)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, idle_drain() as drain:
        outbox = Outbox(Stream(ours), drain, MemoryBudget(0), chosen["max_waiting"], Clock(0.0))
        while outbox.waiting == 0:
            outbox.put(bytes(65_536))  # replies, until the socket takes no more: these don't count
        outbox.put(bytes(most), forwarded=most)
        assert outbox.broken is None and outbox.forwarded == most
        outbox.put(bytes(20_000))
        assert outbox.broken is None, "replies never count"
        outbox.put(b"x", forwarded=1)
        assert (outbox.broken is not None) == bool(chosen["max_waiting"])


@limit("max_memory", 1_000)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    budget = MemoryBudget(chosen["max_memory"])
    budget.add(most)
    assert not budget.over.is_set()
    budget.add(1)
    assert budget.over.is_set() == bool(chosen["max_memory"])
    budget.add(-1)
    assert not budget.over.is_set()


# Times


def closed_after(service: Service, clock: Clock, limit_seconds: float, is_on: bool) -> None:
    """One connection is there; it ends when the limit has passed and not before, or never where the
    limit is off."""
    clock.now += limit_seconds
    service.watch.look()
    assert [connection.ended for connection in service.registry.connections()] == [False]
    clock.now += 0.001 if is_on else 1e6
    service.watch.look()
    if is_on:
        until(lambda: not service.registry.connections(), "it is not closed")
    else:
        assert [connection.ended for connection in service.registry.connections()] == [False]


@limit("login_timeout", 30)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    clock = Clock(1_000.0)
    service = serve(clock=clock, frame_timeout=0.0, login_timeout=float(chosen["login_timeout"]))
    silent = stranger(service)
    until(lambda: len(service.registry.connections()) == 1, "it is not taken")
    closed_after(service, clock, most, bool(chosen["login_timeout"]))
    silent.close()


@limit("frame_timeout", 30)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    clock = Clock(1_000.0)
    service = serve(clock=clock, login_timeout=0.0, frame_timeout=float(chosen["frame_timeout"]))
    slow = stranger(service)
    packet = encode({"action": "ping"})
    slow.send_bytes(
        packet[:3]
    )  # a byte now and then makes no difference: the frame has its time as a whole
    until(
        lambda: any(c.frame_begun_at for c in service.registry.connections()), "no frame is begun"
    )
    clock.now += most / 2
    slow.send_bytes(packet[3:6])
    clock.now -= most / 2
    closed_after(service, clock, most, bool(chosen["frame_timeout"]))
    slow.close()


@limit("stall_timeout", 30)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    clock = Clock(1_000.0)
    ours, theirs = socket.socketpair()
    drain = Drain(float(chosen["stall_timeout"]), clock)
    drain.start()
    outbox = Outbox(Stream(ours), drain, MemoryBudget(0), 0, clock)
    while outbox.waiting == 0:
        outbox.put(bytes(65_536))
    clock.now += most
    assert not outbox.wait_below(0, 1.2) and outbox.broken is None, "two looks of the drain"
    clock.now += 0.001
    assert outbox.wait_below(0, 10.0 if chosen["stall_timeout"] else 1.2) == bool(
        chosen["stall_timeout"]
    )
    assert (outbox.broken is not None) == bool(chosen["stall_timeout"])
    outbox.discard()
    drain.stop(5.0)
    ours.close()
    theirs.close()


@limit("transaction_timeout", 60)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    clock = Clock(1_000.0)
    client = member(
        serve(clock=clock, transaction_timeout=float(chosen["transaction_timeout"])), "ada"
    )
    first, second = (
        client.propose("lobby", text)["data"]["transaction_id"] for text in ("in time", "too late")
    )
    clock.now += most - 0.001
    assert client.confirm(first)["status"] == "success"
    clock.now += 0.001 if chosen["transaction_timeout"] else 1e6
    assert is_refused(client.confirm(second), "transaction_not_found") == bool(
        chosen["transaction_timeout"]
    )


@limit("upload_lifetime", 86_400)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    wall = Clock(HERE)
    service = serve(wall=wall, upload_lifetime=float(chosen["upload_lifetime"]))
    ada = member(service, "ada")
    upload = Upload(ada, "lobby", "half", b"x" * 3_000)
    upload.init()
    upload.send(1)
    ada.close()
    until(lambda: not service.registry.connections(), "a connection stays")

    def count() -> int:
        return len(list((Path(service.settings.data) / "uploads").iterdir()))

    wall.now += most
    service.watch.remove_stale_uploads()
    assert count() == 1
    wall.now += 1 if chosen["upload_lifetime"] else 1e6
    service.watch.remove_stale_uploads()
    assert count() == (0 if chosen["upload_lifetime"] else 1)


@limit("session_lifetime", 86_400)
def _(serve: Serve, chosen: dict[str, Any], most: int) -> None:
    wall = Clock(HERE)
    service = serve(wall=wall, session_lifetime=float(chosen["session_lifetime"]))
    ada = stranger(service)
    ada.register("ada")
    key = ada.login("ada")["data"]["session_key"]

    def back(after: float) -> dict[str, Any]:
        nonlocal ada
        ada.close()
        until(lambda: not service.registry.connections(), "a connection stays")
        wall.now += after
        ada = stranger(service)
        return ada.login("ada", None, session_key=key)

    assert back(most)["action"] == "login_success"
    assert back(most)["action"] == "login_success", "each use begins the time anew"
    assert back(most + 1 if chosen["session_lifetime"] else 1e9)["action"] == (
        "login_fail" if chosen["session_lifetime"] else "login_success"
    )
    ada.close()


@pytest.mark.parametrize("is_off", [False, True], ids=["on", "off"])
@pytest.mark.parametrize("row", TABLE, ids=[row.option for row in TABLE])
def test_limit(row: Limit, is_off: bool, serve: Serve) -> None:
    row.check(serve, {row.option: 0 if is_off else row.value}, row.value)


def test_every_option_that_is_a_limit_has_its_row() -> None:
    assert {row.option for row in TABLE} == set(OPTIONS) - NOT_A_LIMIT


# The limits that no option moves: the form of a packet or a file


def nested(depth: int) -> bytes:
    inner = depth - 1  # the packet itself is the first
    return b'{"action":"ping","x":' + b"[" * inner + b"]" * inner + b"}"


def elements(count: int) -> bytes:
    return b'{"action":"ping","x":[' + b",".join([b"0"] * (count - 2)) + b"]}"


@pytest.mark.parametrize(
    ("at", "over"),
    [(nested(32), nested(33)), (elements(10_000), elements(10_001))],
    ids=["depth", "keys and elements"],
)
def test_the_form_of_a_packet(at: bytes, over: bytes) -> None:
    assert protocol.decode_packet(at)["action"] == "ping"
    with pytest.raises(protocol.BadJson):
        protocol.decode_packet(over)


def test_the_gaps_of_an_upload(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_RANGES", 100)  # instead of 32,768, which take a minute
    upload = Upload(member(serve(rate_limit=0), "ada"), "lobby", "gaps", bytes(300), chunk=1)
    upload.init()
    for number in range(1, 200, 2):
        assert upload.send(number)["action"] == "file_send_data"
    assert is_refused(upload.send(299), "too_many_pending")
    assert upload.send(1)["action"] == "file_send_data", "what is there already may come again"


@pytest.mark.parametrize(
    ("field", "most"),
    [
        ("request_id", 64),
        ("transaction_id", 64),
        ("chatid", 32),
        ("after", 255),
        ("limit", 1_000),
        ("chunk", 262_144),
    ],
)
def test_fields_of_a_packet(field: str, most: int, serve: Serve) -> None:
    ada = member(serve(rate_limit=0), "ada")

    def ask(size: int) -> dict[str, Any]:
        if field == "request_id":
            ada.send({"action": "get_rooms", "data": {"chatid": "ada"}, "request_id": "r" * size})
            return ada.receive()
        if field == "transaction_id":
            return send(ada, f"{size}", transaction_id="t" * size)
        if field == "chatid":
            return ada.request(
                {"action": "register", "data": {"chatid": "a" * size, "password": "password"}}
            )
        if field == "after":
            return ada.ask("get_users", after="z" * size)
        if field == "limit":
            return ada.ask("get_messages", room_id="lobby", after_id=0, limit=size)
        upload = Upload(ada, "lobby", f"{size}", bytes(most + 1), chunk=most)
        upload.init()
        return upload.send(1, bytes(size))

    if (
        field == "chatid"
    ):  # while somebody is logged in, another's name is refused for another reason
        ada.ask("logout")
    assert ask(most)["action"] != "error"
    assert is_refused(ask(most + 1), "bad_packet")
