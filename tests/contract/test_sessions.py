"""Accounts and sessions: register, login, keys, take-over, logout, passwords, names."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from support import fresh_name
from support.patience import patience
from support.raw_client import Packet, RawClient, encode, error_code
from support.server_process import ServerProcess

Connect = Callable[..., RawClient]
Start = Callable[..., ServerProcess]

LOGIN_FAIL = {
    "action": "login_fail",
    "status": "error",
    "message": "Invalid credentials or user already logged in",
}


def assert_login_fails(
    client: RawClient, chatid: str, password: str | None = "password", **data: object
) -> None:
    reply = client.login(chatid, password, **data)
    reply.pop("request_id")
    assert reply == LOGIN_FAIL


def is_logged_in(client: RawClient) -> bool:
    reply = client.ask("get_users")
    if reply["action"] == "error":
        assert error_code(reply) == "not_logged_in"
    return bool(reply["action"] == "users_list")


def wait_until_offline(watcher: RawClient, chatid: str) -> None:
    """Return once the server has seen the end of a user's connection."""
    deadline = time.monotonic() + patience(10)
    while chatid in watcher.ask("get_users")["data"]["online"]:
        assert time.monotonic() < deadline, f"{chatid} stays online"


# login


def test_login_tells_the_limits_and_a_key(client_factory: Connect) -> None:
    client, name = client_factory(), fresh_name()
    assert client.register(name)["action"] == "register_success"
    reply = client.login(name)
    assert reply["action"] == "login_success" and reply["status"] == "success" and reply["message"]
    assert reply["data"]["chatid"] == name
    assert isinstance(reply["data"]["session_key"], str) and len(reply["data"]["session_key"]) >= 22
    assert reply["data"]["limits"] == {
        "max_frame": 1024 * 1024,
        "max_content": 16 * 1024,
        "max_file": 100 * 1024 * 1024,
        "max_chunk": 256 * 1024,
    }


def test_wrong_credentials_get_the_seeds_one_message(client_factory: Connect) -> None:
    client, name = client_factory(), fresh_name()
    client.register(name)
    assert_login_fails(client, name, "wrong")
    assert_login_fails(client, fresh_name("nobody"))
    assert_login_fails(client, name, "Password")
    assert_login_fails(client, name, None, session_key="no key")
    assert not is_logged_in(client)
    assert client.login(name)["action"] == "login_success"


def test_a_second_login_of_a_user_who_is_on_fails_alike(
    user: Connect, client_factory: Connect
) -> None:
    first, second = user(), client_factory()
    assert_login_fails(second, first.chatid)
    assert_login_fails(second, first.chatid, take_over=False)
    assert is_logged_in(first)
    assert not is_logged_in(second)


def test_a_connection_that_is_logged_in_cannot_log_in(user: Connect) -> None:
    alice, bob = user(), user()
    bob.ask("logout")
    for name in (alice.chatid, bob.chatid, "nobody"):
        answer = alice.request(
            {"action": "login", "data": {"chatid": name, "password": "password"}}
        )
        assert error_code(answer) == "forbidden"
        assert answer["original_action"] == "login"
    assert is_logged_in(alice)


def test_a_login_without_password_or_key_is_a_bad_packet(client_factory: Connect) -> None:
    answer = client_factory().request({"action": "login", "data": {"chatid": "x"}})
    assert error_code(answer) == "bad_packet"
    assert "data.password" in answer["message"]


def test_of_many_logins_at_once_one_wins(client_factory: Connect) -> None:
    clients, name = [client_factory() for _ in range(8)], fresh_name()
    clients[0].register(name)
    packet = {"action": "login", "data": {"chatid": name, "password": "password"}}
    for client in clients:
        client.send(packet)
    actions = sorted(client.receive()["action"] for client in clients)
    assert actions == ["login_fail"] * 7 + ["login_success"]


def test_a_connection_may_be_lost_and_made_again_at_once(
    user: Connect, client_factory: Connect
) -> None:
    name = fresh_name()
    user(name).close()
    for _ in range(20):
        client = client_factory()
        assert client.login(name, take_over=True)["action"] == "login_success"
        assert is_logged_in(client)
        client.close()


# keys and taking over


def test_a_key_logs_in_and_closes_the_old_connection(
    user: Connect, client_factory: Connect
) -> None:
    old, new = user(), client_factory()
    reply = new.login(old.chatid, None, session_key=old.session_key)
    assert reply["action"] == "login_success", reply
    assert reply["data"]["session_key"] == old.session_key, "a login with the key keeps it"
    old.expect_closed()
    assert is_logged_in(new)
    third = client_factory()
    assert third.login(old.chatid, None, session_key=old.session_key)["action"] == "login_success"
    new.expect_closed()


def test_the_password_takes_over_and_ends_the_old_key(
    user: Connect, client_factory: Connect
) -> None:
    old, new = user(), client_factory()
    assert_login_fails(new, old.chatid, "wrong", take_over=True)
    assert is_logged_in(old)
    assert new.login(old.chatid, take_over=True)["action"] == "login_success"
    old.expect_closed()
    assert new.session_key != old.session_key
    assert_login_fails(client_factory(), old.chatid, None, session_key=old.session_key)
    assert is_logged_in(new)


def test_a_key_outlives_its_connection(user: Connect, client_factory: Connect) -> None:
    watcher, old = user(), user()
    old.close()
    wait_until_offline(watcher, old.chatid)
    new = client_factory()
    assert new.login(old.chatid, None, session_key=old.session_key)["action"] == "login_success"


def test_a_key_is_its_users_own(user: Connect, client_factory: Connect) -> None:
    alice, bob = user(), user()
    assert_login_fails(client_factory(), alice.chatid, None, session_key=bob.session_key)
    changed = ("A" if bob.session_key[0] != "A" else "B") + bob.session_key[1:]
    assert_login_fails(client_factory(), bob.chatid, None, session_key=changed)
    assert_login_fails(client_factory(), bob.chatid, None, session_key=bob.session_key[:-1])
    assert is_logged_in(alice) and is_logged_in(bob)


def test_the_cleaning_up_of_an_old_connection_leaves_the_new_one(
    user: Connect, client_factory: Connect
) -> None:
    watcher, old = user(), user()
    new = client_factory()
    new.login(old.chatid, take_over=True)
    old.expect_closed()
    old.close()
    watcher.nothing_before_pong()
    for _ in range(5):
        assert new.chatid in watcher.ask("get_users")["data"]["online"]
    watcher.say("lobby", f"for {new.chatid}")
    new.receive_message(f"for {new.chatid}")


def test_taking_over_ends_a_password_login_that_waits(
    user: Connect, client_factory: Connect
) -> None:
    name = user().chatid
    clients = [client_factory() for _ in range(6)]
    packet = {
        "action": "login",
        "data": {"chatid": name, "password": "password", "take_over": True},
    }
    for client in clients:
        client.send(packet)
    alive = []
    for client in clients:
        assert client.receive_action("login_success", "login_fail")["action"] == "login_success"
        client.chatid = name
    for client in clients:
        try:
            alive.append(is_logged_in(client))
        except (AssertionError, OSError):
            continue
    assert alive == [True], "a user has one connection"


# logout


def test_after_logout_the_connection_may_log_in_again(
    user: Connect, client_factory: Connect
) -> None:
    client, other = user(), fresh_name()
    first, old_key = client.chatid, client.session_key
    reply = client.ask("logout")
    assert (reply["action"], reply["status"]) == ("logout_ack", "success") and reply["message"]
    assert not is_logged_in(client)
    assert_login_fails(client_factory(), first, None, session_key=old_key)
    assert client.register(other)["action"] == "register_success"
    assert client.login(other)["data"]["chatid"] == other
    assert client.session_key != old_key
    answer = client.request({"action": "get_users", "data": {"chatid": first}})
    assert error_code(answer) == "forbidden"


def test_nothing_is_heard_behind_a_logout(user: Connect, room: str) -> None:
    client = user()
    packets: list[Packet] = [
        {"action": "logout", "data": {"chatid": client.chatid}},
        {
            "action": "send_message",
            "data": {"chatid": client.chatid, "room_id": room, "content": "x"},
        },
        {"action": "get_users", "data": {"chatid": client.chatid}},
    ]
    client.send_bytes(b"".join(encode(packet) for packet in packets))
    assert client.receive()["action"] == "logout_ack"
    assert [error_code(client.receive()) for _ in range(2)] == ["not_logged_in"] * 2


def test_logout_drops_open_transactions(user: Connect, room: str) -> None:
    client = user()
    transaction = client.propose(room, "dropped")["data"]["transaction_id"]
    client.ask("logout")
    assert client.login(client.chatid)["action"] == "login_success"
    assert error_code(client.confirm(transaction)) == "transaction_not_found"


def test_who_logged_out_gets_no_messages(user: Connect, room: str) -> None:
    alice, bob = user(), user()
    bob.ask("logout")
    alice.say(room, "behind bob's back")
    assert bob.login(bob.chatid)["action"] == "login_success"
    alice.say(room, "welcome back")
    assert bob.receive_message(room_id=room)["data"]["content"] == "welcome back"


# passwords


def test_changing_the_password_needs_the_old_one(user: Connect, client_factory: Connect) -> None:
    client = user()
    answer = client.ask("change_password", password="wrong", new_password="new")
    assert error_code(answer) == "forbidden"
    reply = client.ask("change_password", password="password", new_password="new")
    assert (reply["action"], reply["status"]) == ("password_changed", "success") and reply[
        "message"
    ]
    assert is_logged_in(client)
    other = client_factory()
    assert_login_fails(other, client.chatid, "password", take_over=True)
    assert_login_fails(other, client.chatid, None, session_key=client.session_key)
    assert other.login(client.chatid, "new", take_over=True)["action"] == "login_success"


@pytest.mark.parametrize(
    ("password", "good"),
    [("x", True), ("x" * 128, True), ("é👍 \n" * 32, True), (" ", True), ("x" * 129, False)],
)
def test_a_password_is_1_to_128_characters(
    client_factory: Connect, password: str, good: bool
) -> None:
    client, name = client_factory(), fresh_name()
    reply = client.register(name, password)
    if good:
        assert reply["action"] == "register_success", reply
        assert client.login(name, password)["action"] == "login_success"
        answer = client.ask("change_password", password=password, new_password="x" * 129)
        assert error_code(answer) == "bad_packet" and "data.new_password" in answer["message"]
    else:
        assert error_code(reply) == "bad_packet" and "data.password" in reply["message"]


# names


@pytest.mark.parametrize(
    "name",
    [
        " ",
        "a b",
        " a",
        "a ",
        "a/b",
        "a\\b",
        "a\nb",
        "a:b",
        "a,b",
        "a@b",
        "a\u202eb",
        "a\u200bb",
        "👍",
        "x" * 33,
        "ﬃ" * 11,
        "\ufdfa",
        "a\x1bb",
        "x" * 1000,
    ],
)
def test_an_impossible_name_is_a_bad_packet(client_factory: Connect, name: str) -> None:
    answer = client_factory().register(name)
    assert error_code(answer) == "bad_packet", answer
    assert "data.chatid" in answer["message"]


@pytest.mark.parametrize("form", ["a", "A-b_c.d", "0", "Łódź", "名前", "x" * 32])
def test_names_are_letters_digits_and_three_signs(client_factory: Connect, form: str) -> None:
    client, name = client_factory(), (form + fresh_name("")[:32])[:32]
    assert client.register(name)["action"] == "register_success"
    assert client.login(name)["data"]["chatid"] == name


def test_names_are_compared_folded_and_shown_as_registered(
    client_factory: Connect, user: Connect, room: str
) -> None:
    client, tail, watcher = client_factory(), fresh_name(""), user()
    shown = f"Weißfi{tail}"
    assert client.register(shown)["action"] == "register_success"
    forms = [
        f"weißfi{tail}",
        f"WEISSFI{tail}",
        f"Weißﬁ{tail}",
        f"Ｗeißfi{tail}",
        f"WEIßFI{tail.upper()}",
    ]
    for form in forms:
        taken = client.register(form)
        assert (taken["action"], taken["status"], taken["code"]) == (
            "register_fail",
            "error",
            "name_taken",
        )
        assert taken["message"]
        reply = client.login(form)
        assert reply["action"] == "login_success" and reply["data"]["chatid"] == shown, reply
        client.chatid = form
        assert is_logged_in(client), "any form of the name is the session's user"
        client.say(room, form)
        assert watcher.receive_message(form)["data"]["sender_chatid"] == shown
        assert client.ask("logout")["action"] == "logout_ack"


def test_another_name_cannot_be_registered_while_logged_in(user: Connect) -> None:
    client, name = user(), fresh_name()
    assert error_code(client.register(name)) == "forbidden"
    client.ask("logout")
    assert client.login(name)["action"] == "login_fail"


def test_of_many_registrations_of_a_name_one_wins(client_factory: Connect) -> None:
    clients, name = [client_factory() for _ in range(8)], fresh_name()
    for number, client in enumerate(clients):
        form = name.upper() if number % 2 else name
        client.send({"action": "register", "data": {"chatid": form, "password": f"{number}"}})
    replies = [client.receive() for client in clients]
    assert sorted(reply["action"] for reply in replies) == ["register_fail"] * 7 + [
        "register_success"
    ]
    [winner] = [
        number for number, reply in enumerate(replies) if reply["action"] == "register_success"
    ]
    assert client_factory().login(name, str(winner))["action"] == "login_success"


def test_a_registration_does_not_log_in(client_factory: Connect) -> None:
    client, name = client_factory(), fresh_name()
    reply = client.register(name)
    assert (reply["action"], reply["status"]) == ("register_success", "success") and reply[
        "message"
    ]
    client.chatid = name
    assert not is_logged_in(client)


def test_closed_registration_refuses_and_lets_the_known_in(
    start_server: Start, client_factory: Connect
) -> None:
    with_open = start_server()
    client_factory(with_open).register("known")
    with_open.stop()
    closed = start_server("--registration", "closed")
    client = client_factory(closed)
    for name in ("newcomer", "known"):
        reply = client.register(name)
        assert (reply["action"], reply["status"]) == ("register_fail", "error"), reply
        assert reply["code"] in {"registration_closed", "name_taken"} and reply["message"]
    assert client.register("newcomer")["code"] == "registration_closed"
    assert_login_fails(client, "newcomer")
    assert client.login("known")["action"] == "login_success"


def test_first_login_makes_an_account(start_server: Start, client_factory: Connect) -> None:
    process = start_server("--registration", "first-login")
    client = client_factory(process)
    assert client.login("Newcomer")["data"]["chatid"] == "Newcomer"
    client.ask("logout")
    assert_login_fails(client, "Newcomer", "other")
    assert_login_fails(client, "NEWCOMER", "other")
    assert client.login("newcomer")["data"]["chatid"] == "Newcomer"
    other = client_factory(process)
    answer = other.login("a b")
    assert error_code(answer) == "bad_packet" and "data.chatid" in answer["message"]
    assert other.register("by-hand")["action"] == "register_success"
    assert other.register("newcomer")["code"] == "name_taken"
    assert other.login("by-hand", "other")["action"] == "login_fail"
    assert_login_fails(other, "unknown", None, session_key="key")
    assert other.login("by-hand")["action"] == "login_success"


# restarts


@pytest.mark.parametrize("how", [pytest.param("stop", marks=pytest.mark.long), "kill"])
def test_accounts_and_keys_survive_a_restart(
    start_server: Start, user: Connect, client_factory: Connect, how: str
) -> None:
    process = start_server()
    alice, bob, carol = user("Alice", process), user("Bob", process), user("Carol", process)
    bob.ask("logout")
    carol.ask("change_password", password="password", new_password="new")
    getattr(process, how)()
    process.restart()
    again = client_factory(process)
    reply = again.login("alice", None, session_key=alice.session_key)
    assert reply["action"] == "login_success" and reply["data"]["chatid"] == "Alice", reply
    assert reply["data"]["session_key"] == alice.session_key
    other = client_factory(process)
    assert_login_fails(other, "Bob", None, session_key=bob.session_key)
    assert other.login("Bob")["action"] == "login_success"
    third = client_factory(process)
    assert_login_fails(third, "Carol", "password")
    assert third.login("Carol", "new")["action"] == "login_success"


def test_keys_are_not_in_the_data_folder(start_server: Start, user: Connect) -> None:
    process = start_server()
    alice = user("Alice", process)
    alice.ask("change_password", password="password", new_password="a very secret word")
    process.stop()
    for path in process.data_dir.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert alice.session_key.encode() not in data, path
            assert b"a very secret word" not in data, path
    assert alice.session_key not in process.log() + process.output()


def test_the_server_ends_with_0_however_many_are_on(start_server: Start, user: Connect) -> None:
    process = start_server()
    clients = [user(server=process) for _ in range(5)]
    clients[0].propose("lobby", "open")
    clients[1].send_bytes(b"\x00\x00\x00\x10")
    assert process.stop() == 0
    for client in clients:
        client.expect_closed()
    assert "Traceback" not in process.log(), process.log()
