"""Sending and receiving messages: both handshakes, keys of clients, order, copies."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.patience import patience
from support.raw_client import Packet, RawClient, encode, error_code, fence, letter_frequencies
from support.server_process import ServerProcess

User = Callable[..., RawClient]

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
CONTENTS = [
    "Hello",
    "aA a",
    "  ",
    " ",
    "\n\t\r\n",
    "é e\u0301",
    "ﬁ fi",
    "👍🏽 👩\u200d👩\u200d👧",
    "\U0001d518\u202egnilsaw",
    "\x1b[2J\x07\x7f\x9b",
    "%s %n {0} {self.__class__}",
    "'; DROP TABLE messages;--",
    "\ufeffmark",
    "\u2028\u2029\u0085",
    '"\\/',
    "\uffff\ufdd0",
]


def stored(client: RawClient, room: str) -> list[str]:
    """The contents of a room, oldest first; none where the room was never made."""
    reply = client.ask("get_messages", room_id=room, after_id=0)
    if reply["action"] == "error":
        assert error_code(reply) == "room_not_found"
        return []
    assert reply["data"]["has_more"] is False
    return [message["content"] for message in reply["data"]["messages"]]


# the sender's handshake


@pytest.mark.parametrize("content", CONTENTS)
def test_every_code_point_counts_and_comes_through_unchanged(
    user: User, room: str, content: str
) -> None:
    alice, bob = user(), user()
    counted = alice.propose(room, content)
    assert counted["data"]["letter_frequencies"] == letter_frequencies(content)
    assert counted["data"]["original_action"] == "send_message"
    ack = alice.confirm(counted["data"]["transaction_id"])
    assert ack["status"] == "success", ack
    message = bob.receive_message(content, room)
    assert bob.answer(message)["data"]["confirm"] is True
    assert stored(alice, room) == [content]


def test_the_ack_tells_the_number_and_time_that_all_others_see(user: User, room: str) -> None:
    alice, bob, carol = user(), user(), user()
    ack = alice.say(room, "hello")
    assert ack["message"]
    number, timestamp = ack["data"]["message_id"], ack["data"]["timestamp"]
    assert type(number) is int and number >= 1
    assert TIMESTAMP.fullmatch(timestamp), timestamp
    first, second = bob.receive_message("hello", room), carol.receive_message("hello", room)
    assert first == second, "the packet is the same for every receiver, T2 included"
    assert first["data"]["message_id"] == number
    assert first["data"]["timestamp"] == timestamp
    assert first["data"]["sender_chatid"] == alice.chatid
    [entry] = alice.ask("get_messages", room_id=room, after_id=0)["data"]["messages"]
    assert (entry["message_id"], entry["timestamp"]) == (number, timestamp)


def test_an_unconfirmed_message_reaches_nobody(user: User, room: str) -> None:
    alice, bob = user(), user()
    alice.say(room, "before")
    bob.receive_message("before")
    alice.propose(room, "never confirmed")
    [came] = fence(alice, bob)
    assert came == []
    assert stored(bob, room) == ["before"]


def test_a_denied_message_is_dropped_and_its_transaction_gone(user: User, room: str) -> None:
    alice, bob = user(), user()
    alice.say(room, "before")
    bob.receive_message("before")
    transaction = alice.propose(room, "denied")["data"]["transaction_id"]
    ack = alice.confirm(transaction, confirm=False)
    assert (ack["action"], ack["status"], ack["code"]) == ("ack", "error", "not_confirmed"), ack
    assert ack["data"]["transaction_id"] == transaction
    assert ack["message"]
    again = alice.confirm(transaction)
    assert error_code(again) == "transaction_not_found"
    [came] = fence(alice, bob)
    assert came == []
    assert stored(bob, room) == ["before"]


def test_a_denied_first_message_makes_no_room(user: User, room: str) -> None:
    alice = user()
    alice.confirm(alice.propose(room, "denied")["data"]["transaction_id"], confirm=False)
    assert error_code(alice.ask("join_room", room_id=room)) == "room_not_found"


def test_the_sender_does_not_receive_its_own_message(user: User, room: str) -> None:
    alice, bob = user(), user()
    alice.say(room, "mine")
    bob.say(room, "an answer")
    alice.receive_message("an answer")
    assert [packet["action"] for packet in alice.nothing_before_pong()] == []


def test_a_transaction_is_confirmed_only_once(user: User, room: str) -> None:
    alice = user()
    transaction = alice.say(room, "once")["data"]["transaction_id"]
    for confirm in (True, False):
        answer = alice.confirm(transaction, confirm)
        assert error_code(answer) == "transaction_not_found", answer
        assert answer["original_action"] == "confirm_count"
    assert stored(alice, room) == ["once"]


def test_a_transaction_belongs_to_its_session(user: User, room: str) -> None:
    alice, mallory = user(), user()
    transaction = alice.propose(room, "alice's")["data"]["transaction_id"]
    assert error_code(mallory.confirm(transaction)) == "transaction_not_found"
    assert error_code(mallory.confirm(transaction, False)) == "transaction_not_found"
    assert alice.confirm(transaction)["status"] == "success"


@pytest.mark.parametrize("transaction", ["no such", "1", "-1", "x" * 64, "9007199254740993", "é"])
def test_an_unknown_transaction_is_not_found(user: User, transaction: str) -> None:
    client = user()
    assert error_code(client.confirm(transaction)) == "transaction_not_found"
    assert error_code(client.count(transaction, {"a": 1})) == "transaction_not_found"
    data = {"transaction_id": transaction}
    answer = client.request({"action": "ack", "status": "success", "message": "ok", "data": data})
    assert error_code(answer) == "transaction_not_found"


def test_server_made_transactions_differ(user: User, room: str) -> None:
    alice = user()
    names = {alice.propose(room, "same")["data"]["transaction_id"] for _ in range(20)}
    assert len(names) == 20


def test_confirmed_in_any_order_the_acks_come_in_the_order_of_confirming(
    user: User, room: str
) -> None:
    alice = user()
    names = [
        alice.propose(room, f"number {number}")["data"]["transaction_id"] for number in range(10)
    ]
    packets = [
        encode(
            {
                "action": "confirm_count",
                "request_id": name[-8:],
                "data": {"transaction_id": name, "confirm": True},
            }
        )
        for name in reversed(names)
    ]
    alice.send_bytes(b"".join(packets))
    acks = [alice.receive_action("ack") for _ in names]
    assert [ack["data"]["transaction_id"] for ack in acks] == names[::-1]
    assert [ack["request_id"] for ack in acks] == [name[-8:] for name in names[::-1]]
    numbers = [ack["data"]["message_id"] for ack in acks]
    assert numbers == sorted(set(numbers))
    assert stored(alice, room) == [f"number {number}" for number in reversed(range(10))]


def test_the_acks_of_one_client_keep_their_order_whatever_they_say(user: User, room: str) -> None:
    alice = user()
    alice.say(room, "stored", transaction_id="stored")
    alice.propose(room, "kept", transaction_id="kept")
    alice.propose(room, "denied", transaction_id="denied")
    kept = {"action": "confirm_count", "data": {"transaction_id": "kept", "confirm": True}}
    denied = {"action": "confirm_count", "data": {"transaction_id": "denied", "confirm": False}}
    data = {
        "chatid": alice.chatid,
        "room_id": room,
        "content": "stored",
        "transaction_id": "stored",
    }
    alice.send_bytes(
        encode(kept) + encode(denied) + encode({"action": "send_message", "data": data})
    )
    acks = [alice.receive_action("ack") for _ in range(3)]
    assert [ack["data"]["transaction_id"] for ack in acks] == ["kept", "denied", "stored"]
    assert [ack["status"] for ack in acks] == ["success", "error", "success"]


def test_at_most_64_transactions_are_open(user: User, room: str) -> None:
    alice = user()
    names = [alice.propose(room, f"{number}")["data"]["transaction_id"] for number in range(64)]
    answer = alice.ask("send_message", room_id=room, content="one too many")
    assert error_code(answer) == "too_many_pending"
    assert answer["original_action"] == "send_message"
    assert alice.confirm(names[0])["status"] == "success"
    last = alice.propose(room, "room again")["data"]["transaction_id"]
    assert (
        error_code(alice.ask("send_message", room_id=room, content="again too many"))
        == "too_many_pending"
    )
    assert alice.confirm(names[1], confirm=False)["code"] == "not_confirmed"
    alice.propose(room, "room again")
    assert alice.confirm(last)["status"] == "success"


def test_transactions_die_with_their_connection(
    user: User, client_factory: User, room: str
) -> None:
    alice = user()
    transaction = alice.propose(room, "cut off")["data"]["transaction_id"]
    alice.close()
    again = client_factory()
    reply = again.login(alice.chatid, take_over=True)
    assert reply["action"] == "login_success", reply
    assert error_code(again.confirm(transaction)) == "transaction_not_found"


@pytest.mark.parametrize(("size", "good"), [(16384, True), (16385, False)])
@pytest.mark.parametrize("letter", ["a", "👍", "é", "\x01"])
def test_content_is_limited_in_bytes_of_utf8(
    user: User, room: str, letter: str, size: int, good: bool
) -> None:
    alice = user()
    width = len(letter.encode())
    content = letter * (size // width) + "a" * (size % width)
    answer = alice.ask("send_message", room_id=room, content=content)
    if good:
        assert answer["action"] == "character_count", answer
        assert answer["data"]["letter_frequencies"] == letter_frequencies(content)
    else:
        assert error_code(answer) == "bad_packet"
        assert "data.content" in answer["message"]


# a client's own key


def test_a_clients_key_is_the_transaction(user: User, room: str) -> None:
    alice, bob = user(), user()
    ack = alice.say(room, "keyed", transaction_id="my key")
    assert ack["data"]["transaction_id"] == "my key"
    message = bob.receive_message("keyed")
    assert message["data"]["transaction_id"] != "my key"


def test_a_stored_key_is_acknowledged_at_once_and_stored_once(
    user: User, client_factory: User, room: str
) -> None:
    alice, bob = user(), user()
    first = alice.say(room, "once", transaction_id="key")
    bob.receive_message("once")
    for _ in range(3):
        again = alice.ask("send_message", room_id=room, content="once", transaction_id="key")
        assert again["action"] == "ack" and again["status"] == "success", again
        assert again["data"] == first["data"]
    other = client_factory()
    other.login(alice.chatid, session_key=alice.session_key, password=None)
    again = other.ask("send_message", room_id=room, content="once", transaction_id="key")
    assert again["action"] == "ack" and again["data"] == first["data"], again
    [came] = fence(other, bob)
    assert came == []
    assert stored(other, room) == ["once"]


@pytest.mark.parametrize("how", [pytest.param("stop", marks=pytest.mark.long), "kill"])
def test_a_stored_key_is_known_after_a_restart(
    start_server: Callable[..., ServerProcess], user: User, client_factory: User, how: str
) -> None:
    process = start_server()
    alice = user("alice", process)
    acks = [
        alice.say("lobby", f"number {number}", transaction_id=f"key {number}")
        for number in range(5)
    ]
    alice.propose("lobby", "open", transaction_id="open")
    getattr(process, how)()
    process.restart()
    alice = client_factory(process)
    assert alice.login("alice", take_over=True)["action"] == "login_success"
    for number, ack in enumerate(acks):
        again = alice.ask(
            "send_message",
            room_id="lobby",
            content=f"number {number}",
            transaction_id=f"key {number}",
        )
        assert again["action"] == "ack" and again["data"] == ack["data"], again
    mismatch = alice.ask("send_message", room_id="lobby", content="other", transaction_id="key 0")
    assert error_code(mismatch) == "transaction_mismatch"
    newer = alice.say("lobby", "open", transaction_id="open")
    assert newer["data"]["message_id"] > acks[-1]["data"]["message_id"]
    assert stored(alice, "lobby") == [f"number {number}" for number in range(5)] + ["open"]


def test_a_key_with_another_content_or_room_is_a_mismatch(user: User, room: str) -> None:
    alice = user()
    alice.say(room, "stored", transaction_id="stored")
    alice.propose(room, "open", transaction_id="open")
    for key in ("stored", "open"):
        other_content = alice.ask("send_message", room_id=room, content="other", transaction_id=key)
        assert error_code(other_content) == "transaction_mismatch", other_content
        other_room = alice.ask("send_message", room_id="lobby", content=key, transaction_id=key)
        assert error_code(other_room) == "transaction_mismatch", other_room
    assert alice.confirm("open")["status"] == "success", "a mismatch leaves the open one alone"
    assert stored(alice, room) == ["stored", "open"]


def test_an_open_key_starts_over(user: User, room: str) -> None:
    alice = user()
    for _ in range(70):
        counted = alice.propose(room, "again", transaction_id="key")
        assert counted["data"]["transaction_id"] == "key"
    assert alice.confirm("key")["status"] == "success"
    assert stored(alice, room) == ["again"]


def test_a_denied_key_is_free_again(user: User, room: str) -> None:
    alice = user()
    alice.propose(room, "first", transaction_id="key")
    assert alice.confirm("key", confirm=False)["code"] == "not_confirmed"
    alice.say(room, "first", transaction_id="key")
    assert stored(alice, room) == ["first"]


def test_keys_are_each_users_own(user: User, room: str) -> None:
    alice, bob = user(), user()
    first = alice.say(room, "alice's", transaction_id="key")
    second = bob.say(room, "bob's", transaction_id="key")
    assert first["data"]["message_id"] < second["data"]["message_id"]
    assert stored(alice, room) == ["alice's", "bob's"]


def test_a_key_sent_again_while_the_first_is_being_stored_stores_once(
    user: User, room: str
) -> None:
    alice = user()
    data = {"chatid": alice.chatid, "room_id": room, "content": "twice", "transaction_id": "key"}
    send = encode({"action": "send_message", "data": data})
    confirm = encode(
        {"action": "confirm_count", "data": {"transaction_id": "key", "confirm": True}}
    )
    alice.send_bytes((send + confirm) * 10)
    alice.nothing_before_pong()
    settled = alice.ask("send_message", room_id=room, content="twice", transaction_id="key")
    if settled["action"] == "character_count":
        assert alice.confirm("key")["status"] == "success"
    assert stored(alice, room) == ["twice"]


# the receiver's handshake


def test_right_counts_are_confirmed_and_an_ack_has_no_reply(user: User, room: str) -> None:
    alice, bob = user(), user()
    alice.say(room, "Hello")
    message = bob.receive_message("Hello")
    transaction = message["data"]["transaction_id"]
    confirmed = bob.count(transaction, {"H": 1, "e": 1, "l": 2, "o": 1})
    assert confirmed["data"] == {"transaction_id": transaction, "confirm": True}, confirmed
    bob.acknowledge(transaction)
    assert bob.nothing_before_pong() == []


@pytest.mark.parametrize("original_action", ["receive_message", "send_message"])
def test_a_receiver_may_name_either_action(user: User, room: str, original_action: str) -> None:
    alice, bob = user(), user()
    alice.say(room, "x")
    data = {
        "transaction_id": bob.receive_message("x")["data"]["transaction_id"],
        "letter_frequencies": {"x": 1},
        "original_action": original_action,
    }
    assert bob.request({"action": "character_count", "data": data})["data"]["confirm"] is True


@pytest.mark.parametrize(
    "counts",
    [
        {},
        {"H": 1},
        {"H": 1, "e": 1, "l": 3, "o": 1},
        {"h": 1, "e": 1, "l": 2, "o": 1},
        {"H": 1, "e": 1, "l": 2, "o": 1, "x": 1},
        {"H": 1, "e": 1, "l": -2, "o": 1},
    ],
)
def test_wrong_counts_are_denied(user: User, room: str, counts: dict[str, int]) -> None:
    alice, bob = user(), user()
    alice.say(room, "Hello")
    message = bob.receive_message("Hello")
    answer = bob.count(message["data"]["transaction_id"], counts)
    if counts.get("l") == -2 and answer["action"] == "error":
        assert error_code(answer) == "bad_packet"
        return
    assert answer["action"] == "confirm_count", answer
    assert answer["data"]["confirm"] is False


def test_a_message_miscounted_comes_again_at_most_three_times(user: User, room: str) -> None:
    alice, bob = user(), user()
    alice.say(room, "Hello")
    message = bob.receive_message("Hello")
    for _ in range(3):
        assert bob.answer(message, {"x": 1})["data"]["confirm"] is False
        copy = bob.receive_message("Hello")
        assert copy == message, "the copy has the same T2 and message_id"
    assert bob.answer(message, {"x": 1})["data"]["confirm"] is False
    [came] = fence(alice, bob)
    assert came == [], "a fourth copy came"
    assert stored(bob, room) == ["Hello"]


def test_a_success_between_does_not_begin_the_three_copies_anew(user: User, room: str) -> None:
    alice, bob = user(), user()
    alice.say(room, "Hello")
    message = bob.receive_message("Hello")
    for _ in range(3):
        bob.answer(message, {"x": 1})
        bob.receive_message("Hello")
    bob.answer(message)
    bob.answer(message, {"x": 1})
    assert fence(alice, bob) == [[]], "a fourth copy came"


def test_a_copy_counted_rightly_ends_it(user: User, room: str) -> None:
    alice, bob, carol = user(), user(), user()
    alice.say(room, "Hello")
    message = bob.receive_message("Hello")
    bob.answer(message, {"x": 1})
    copy = bob.receive_message("Hello")
    assert bob.answer(copy)["data"]["confirm"] is True
    carol.receive_message("Hello")
    for came in fence(alice, bob, carol):
        assert came == [], "only who miscounted gets a copy, and only one"


def test_each_receiver_has_its_own_copies(user: User, room: str) -> None:
    alice, receivers = user(), [user() for _ in range(3)]
    alice.say(room, "Hello")
    for receiver in receivers:
        message = receiver.receive_message("Hello")
        for _ in range(3):
            receiver.answer(message, {"x": 1})
            assert receiver.receive_message("Hello") == message


def test_who_never_answers_has_the_message_all_the_same(user: User, room: str) -> None:
    alice, bob = user(), user()
    for number in range(100):
        alice.say(room, f"{number}")
    for number in range(100):
        bob.receive_message(f"{number}", room)
    assert stored(bob, room) == [f"{number}" for number in range(100)]


def test_counts_may_be_answered_late_and_in_any_order(user: User, room: str) -> None:
    alice, bob = user(), user()
    for number in range(30):
        alice.say(room, f"{number}")
    messages = [bob.receive_message(f"{number}", room) for number in range(30)]
    for message in reversed(messages):
        assert bob.answer(message)["data"]["confirm"] is True


def test_nobody_else_can_count_a_private_message(user: User) -> None:
    alice, bob, mallory = user(), user(), user()
    made = alice.ask("create_room", participants=[bob.chatid], room_name="Private")
    alice.say(made["data"]["room_id"], "Hello")
    transaction = bob.receive_message("Hello")["data"]["transaction_id"]
    answer = mallory.count(transaction, letter_frequencies("Hello"))
    assert error_code(answer) == "transaction_not_found"
    answer = mallory.count(transaction, {"x": 1})
    assert error_code(answer) == "transaction_not_found"
    mallory.acknowledge(transaction, "error")
    assert all(packet["action"] == "error" for packet in mallory.nothing_before_pong())


def test_the_sender_is_no_receiver(user: User, room: str) -> None:
    alice, bob = user(), user()
    alice.say(room, "Hello")
    transaction = bob.receive_message("Hello")["data"]["transaction_id"]
    assert (
        error_code(alice.count(transaction, letter_frequencies("Hello"))) == "transaction_not_found"
    )


# order


def test_all_members_see_one_order_whoever_sends(user: User, room: str) -> None:
    senders, watchers = [user() for _ in range(4)], [user() for _ in range(2)]
    each = 25

    def send(sender: RawClient) -> list[int]:
        return [
            sender.say(room, f"{sender.chatid} {number}")["data"]["message_id"]
            for number in range(each)
        ]

    with ThreadPoolExecutor(len(senders)) as pool:
        numbers = [
            future.result(60) for future in [pool.submit(send, sender) for sender in senders]
        ]
    for own in numbers:
        assert own == sorted(own), "one sender's messages keep their order"
    history = watchers[0].ask("get_messages", room_id=room, after_id=0)["data"]["messages"]
    ids = [message["message_id"] for message in history]
    assert ids == sorted(number for own in numbers for number in own)
    for client in [*watchers, *senders]:
        expected = [entry for entry in history if entry["sender_chatid"] != client.chatid]
        live = [client.receive_message(room_id=room)["data"] for _ in expected]
        assert [message["message_id"] for message in live] == [
            entry["message_id"] for entry in expected
        ]
        assert [message["content"] for message in live] == [entry["content"] for entry in expected]


def test_a_message_id_is_never_used_twice(
    start_server: Callable[..., ServerProcess], user: User
) -> None:
    process = start_server()
    alice = user("alice", process)
    numbers = [alice.say(f"room {number % 3}", "x")["data"]["message_id"] for number in range(6)]
    made = alice.ask("create_room", participants=[], room_name="gone")["data"]["room_id"]
    numbers.append(alice.say(made, "x")["data"]["message_id"])
    alice.ask("delete_room", room_id=made)
    process.restart()
    bob = user("bob", process)
    numbers.append(bob.say("lobby", "x")["data"]["message_id"])
    assert numbers == sorted(set(numbers))


def test_who_logs_in_amid_the_talk_misses_nothing_with_the_history(user: User, room: str) -> None:
    alice = user()
    alice.say(room, "start")
    done = threading.Event()

    def talk() -> int:
        number = 0
        while not done.is_set() and number < 2000:
            number += 1
            alice.say(room, f"{number}")
        return number

    with ThreadPoolExecutor(1) as pool:
        talking = pool.submit(talk)
        try:
            late = user()
            first = late.receive_message(room_id=room)["data"]["message_id"]
            missed = late.ask("get_messages", room_id=room, before_id=first, limit=1000)["data"][
                "messages"
            ]
        finally:
            done.set()
        total = talking.result(30)
    [before] = fence(alice, late)
    live = [
        first,
        *(packet["data"]["message_id"] for packet in before if packet["data"]["room_id"] == room),
    ]
    assert len(missed) + len(live) == total + 1


def test_what_was_acknowledged_survives_a_kill(
    start_server: Callable[..., ServerProcess], user: User, client_factory: User
) -> None:
    process = start_server("--rate-limit", "0")
    clients = [user(f"user{number}", process) for number in range(4)]
    acked: list[tuple[int, str]] = []
    enough = threading.Semaphore(0)

    def talk(client: RawClient) -> None:
        for number in range(100_000):
            content = f"{client.chatid} {number}"
            try:
                ack = client.say("lobby", content, transaction_id=content)
            except (AssertionError, OSError):
                return
            acked.append((ack["data"]["message_id"], content))
            enough.release()

    with ThreadPoolExecutor(len(clients)) as pool:
        for client in clients:
            pool.submit(talk, client)
        for _ in range(200):
            assert enough.acquire(timeout=patience(20))
        process.kill()
    process.start()
    again = client_factory(process)
    again.login("user0", take_over=True)
    found: list[tuple[int, str]] = []
    has_more = True
    while has_more:
        page = again.ask("get_messages", room_id="lobby", after_id=found[-1][0] if found else 0)[
            "data"
        ]
        found += [(message["message_id"], message["content"]) for message in page["messages"]]
        has_more = page["has_more"]
    assert set(acked) <= set(found)
    assert len({content for _, content in found}) == len(found), "nothing is there twice"
    for client in clients:
        own = [
            int(content.split()[1]) for _, content in found if content.split()[0] == client.chatid
        ]
        assert own == list(range(len(own)))


def test_a_large_room_gets_every_message(user: User, room: str) -> None:
    members = [user() for _ in range(30)]
    for number, member in enumerate(members[:10]):
        member.say(room, f"from {number}")
    for member in members:
        expected = [f"from {number}" for number in range(10) if members[number] is not member]
        assert [
            member.receive_message(room_id=room)["data"]["content"] for _ in expected
        ] == expected


@pytest.mark.long
def test_an_unconfirmed_transaction_dies_after_60_seconds(user: User, room: str) -> None:
    alice, bob = user(), user()
    transaction = alice.propose(room, "too late")["data"]["transaction_id"]
    alice.say(room, "Hello")
    message: Packet = bob.receive_message("Hello")
    stop = threading.Event()
    for _ in range(13):
        stop.wait(5)
        alice.nothing_before_pong()
        bob.nothing_before_pong()
    assert error_code(alice.confirm(transaction)) == "transaction_not_found"
    late = bob.count(message["data"]["transaction_id"], letter_frequencies("Hello"))
    assert late["action"] in {"confirm_count", "error"}
