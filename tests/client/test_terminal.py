"""The line client: its dialogue, its commands, what it shows of each event, and its exit status."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.client_fakes import FakeServer, Packet, Peer, good
from support.line_client import ScriptedScreen, client, talk
from support.patience import patience
from support.scripted_keys import ScriptedKeys

import chat_client
from client.base.text import wrap
from client.base.times import local_time
from client.command_line.options import address
from client.connection import Connection
from client.errors import ServerError, TransferFailed
from client.events import EventsDropped, Message, ProtocolViolation, ServerEvent
from client.terminal import line_client as terminal
from client.terminal import screens as prompt_module
from client.terminal import transfer_queue
from client.terminal.colours import Palette
from client.terminal.commands import COMMANDS, Command
from client.terminal.key_screen import KeyScreen
from client.terminal.keys import PASTE_OFF, PASTE_ON
from client.terminal.line_client import LineClient, Options
from client.terminal.overview import GROUPS, overview
from client.terminal.person_screens import PipeScreen
from client.terminal.plain_screens import PlainScreen, PromptScreen
from client.terminal.screens import open_screen
from client.terminal.transfer_queue import Job, Progress, Transfers


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


# --- logging in ---


def test_name_and_password_are_asked_and_talk_begins(server: FakeServer) -> None:
    server.history.append((1, "lobby", "bob", "earlier"))
    status, text = talk(
        server,
        "what now?",
        "",
        "login",
        "ada",
        "secret",
        "hello",
        ["sent 2"],
        "/quit",
        user=None,
        password=None,
    )
    assert status == 0
    assert text.count("Please type login or register") == 2
    assert "* You are ada on 127.0.0.1" in text and "* Waiting for you: lobby (1 unread)." in text
    assert "2024-01-01 " in text and "bob: earlier" in text
    assert server.history[-1] == (2, "lobby", "ada", "hello")
    assert server.actions()[-1] == "logout"


def test_registering_makes_the_account_and_logs_in(server: FakeServer) -> None:
    status, text = talk(
        server,
        "register",
        "not a name!",
        "ada",
        "secret",
        "secret",
        user=None,
        password=None,
        is_terminal=True,
    )
    assert status == 0 and "That can't be a name" in text
    assert server.actions()[1:3] == ["register", "login"]


def test_two_passwords_that_differ_are_asked_again(server: FakeServer) -> None:
    status, text = talk(
        server,
        "r",
        "ada",
        "secret",
        "other",
        "secret",
        "secret",
        user=None,
        password=None,
        is_terminal=True,
    )
    assert status == 0 and "two passwords differ" in text
    assert server.actions().count("register") == 1


@pytest.mark.parametrize(
    "steps", [("l", "ada", "wrong"), ("l", "ada", ""), ("l", ""), ("r", "a b")]
)
def test_a_refused_login_from_a_pipe_ends_with_4(
    server: FakeServer, steps: tuple[str, ...]
) -> None:
    assert talk(server, *steps, user=None, password=None)[0] == 4


def test_a_refused_login_on_a_terminal_may_be_tried_again_or_take_over(server: FakeServer) -> None:
    status, text = talk(
        server,
        "l",
        "ada",
        "wrong",
        "take",
        "ada",
        "secret",
        user=None,
        password=None,
        is_terminal=True,
    )
    assert status == 0 and (
        "Wrong password, no such name, or this name is on in another window." in text
    )
    assert [
        packet["data"].get("take_over") for packet in server.heard if packet["action"] == "login"
    ] == [None, True]


def test_three_refused_logins_are_enough_and_that_is_said(server: FakeServer) -> None:
    status, text = talk(
        server, "wrong", "try", "wrong", "try", "wrong", password=None, is_terminal=True
    )
    assert status == 4 and "Not logged in after 3 attempts." in text


def test_slips_of_a_person_are_no_attempts(server: FakeServer) -> None:
    """A bad name, no password, and two that differ: each is asked again, as often as it takes."""
    steps = ("r", "a b", "", "x y", "ada", "", "one1", "two2", "secret", "secret")
    status, text = talk(server, *steps, user=None, password=None, is_terminal=True)
    assert status == 0 and server.actions().count("register") == 1, text


def test_the_name_that_was_refused_is_offered_again(server: FakeServer) -> None:
    screen = ScriptedScreen(
        *("ada", "wrong", "try", "", "wrong", "take", "secret"), is_terminal=True
    )
    assert client(server, screen, user=None, password=None).run() == 0
    what_next = "[try/register/take/quit] "
    again = ["Name [ada]: ", "Password: "]
    assert screen.asked[1:7] == ["Password: ", what_next, *again, what_next, "Password: "]


def test_enter_alone_chooses_nothing_after_a_refusal(server: FakeServer) -> None:
    status, text = talk(server, "wrong", "", "TRY", "secret", password=None, is_terminal=True)
    assert status == 0 and text.count("Please type try, register, take or quit") == 1


def test_another_user_begins_with_numbers_of_their_own(server: FakeServer) -> None:
    screen = ScriptedScreen()
    on = client(server, screen)
    on.chat.login("ada", "secret")
    on._logged_in()
    on.display.rooms.begin("maths", "maths")
    on._logged_in()
    assert on.room_number("maths") == 1
    on.chat.logout()
    on.chat.login("ben", "secret")
    on._logged_in()
    assert on.room_number("maths") is None
    on.chat.close()


def test_who_has_no_name_yet_gets_from_the_login_to_registering(server: FakeServer) -> None:
    steps = ("login", "ada", "wrong", "register", "cleo", "secret", "secret")
    status, _ = talk(server, *steps, user=None, password=None, is_terminal=True)
    assert status == 0
    asked = [packet["data"]["chatid"] for packet in server.heard if packet["action"] == "register"]
    assert asked == ["cleo"]


@pytest.mark.parametrize(
    "steps",
    [("/quit",), ("quit",), ("EXIT",), ("l", "/quit"), ("l", "ada", "wrong", "quit")],
)
def test_every_question_before_the_talk_can_be_left(
    server: FakeServer, steps: tuple[str, ...]
) -> None:
    assert talk(server, *steps, user=None, password=None, is_terminal=True)[0] == 0
    assert "send_message" not in server.actions()


def test_a_name_typed_at_the_first_question_is_a_login(server: FakeServer) -> None:
    status, text = talk(server, "Ada", "secret", user=None, password=None)
    assert status == 0 and "Logging in as Ada." in text and "You are Ada on" in text


def test_the_screen_does_not_show_what_is_typed_after_a_refusal(server: FakeServer) -> None:
    hidden: list[str] = []

    class Hiding(ScriptedScreen):
        def ask_hidden(self, question: str) -> str:
            hidden.append(question)
            return self.read_line(question)

    screen = Hiding("wrong", "geheim", "quit", is_terminal=True)
    assert client(server, screen, password=None).run() == 0
    question = "[try/register/take/quit] "
    assert hidden == ["Password: ", question, question]


def test_a_short_new_password_is_warned_about(server: FakeServer) -> None:
    _, text = talk(server, "/password", "secret", "abc", "/password", "abc", "abcd")
    assert text.count("That is a short password, easy to guess.") == 1


def test_a_given_password_that_is_refused_ends_with_4(server: FakeServer) -> None:
    assert talk(server, password="wrong", is_terminal=True)[0] == 4


def test_ending_the_input_before_login_is_no_failure_on_a_terminal_alone(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert talk(server, user=None, password=None, is_terminal=True)[0] == 0
    status, text = talk(server, "grace,", "secret,", "hi!", user=None, password=None)
    assert status == 4 and "secret" not in text
    assert (
        "Nobody is logged in" in (hint := capsys.readouterr().err)
        and "-u NAME --password-file FILE" in hint
    )
    assert talk(server, KeyboardInterrupt(), user=None, password=None)[0] == 130


def test_no_server_is_said_in_plain_words(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeServer(lambda peer: None) as fake:
        status = client(fake, ScriptedScreen()).run()
    assert status == 3 and "no chat server" in capsys.readouterr().err


def test_a_server_that_fails_at_login_ends_with_1(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.handlers["login"] = lambda peer, packet: peer.refuse(
        packet, "internal_error", "It broke.\x1b"
    )
    assert talk(server)[0] == 1
    assert "It broke.\\x1b" in capsys.readouterr().err


def test_a_word_that_was_not_offered_is_asked_for_again_and_never_shown(server: FakeServer) -> None:
    status, text = talk(server, "wrong", "geheim", "try", "secret", password=None, is_terminal=True)
    assert status == 0 and "Please type try, register, take or quit" in text
    assert "geheim" not in text
    sent = [packet["data"] for packet in server.heard if packet["action"] == "login"]
    assert [data["password"] for data in sent] == ["wrong", "secret"] and not any(
        data.get("take_over") for data in sent
    )


def test_a_login_that_is_not_answered_for_long_is_told(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.connection.SILENT_SECONDS", 0.02)

    def late(peer: Peer, packet: Packet) -> None:
        time.sleep(patience(0.6))
        peer.refuse(packet, "internal_error", "It broke.")

    server.handlers["login"] = late
    assert f"127.0.0.1 port {server.port} is reached, but has not answered yet." in talk(server)[1]


# --- talking ---


def test_a_number_beyond_the_list_leads_into_no_room(server: FakeServer) -> None:
    text = talk(server, "/rooms", "/room 99", "/room")[1]
    assert "No room 99. Make it? /join 99" in text and "You are in 99" not in text


def test_a_mistyped_name_of_a_room_never_makes_one(server: FakeServer) -> None:
    server.rooms["maths"] = ("maths", None)
    _, text = talk(server, "/room nowhere", "/room mahts", "/room maths", "/room", "hello")
    assert "No room nowhere. Make it? /join nowhere" in text and "You are in nowhere" not in text
    assert [room for _, room, _, _ in server.history] == ["maths"]


def test_a_room_made_meanwhile_is_found_by_its_name(server: FakeServer) -> None:
    def make() -> None:
        server.rooms["new"] = ("new", None)

    assert "You are in new." in talk(server, make, "/room new")[1]


def test_a_number_leads_to_the_same_room_for_the_whole_session(server: FakeServer) -> None:
    server.rooms["maths"] = ("maths", None)

    def make() -> None:
        server.rooms["biology"] = ("biology", None)  # sorted before the others

    _, text = talk(server, "/rooms", make, "/rooms", "/room 2", "/room 3")
    listed = [line.split(":")[0] for line in text.splitlines() if ": open" in line]
    assert listed[-3:] == ["*   1 lobby", "*   2 maths", "*   3 biology"]
    assert text.index("You are in maths.") < text.index("You are in biology.")


def test_the_field_of_a_message_is_for_programs(server: FakeServer) -> None:
    message = "data.participants: there is no user 'nosuch'"
    server.handlers["create_room"] = lambda peer, packet: peer.refuse(
        packet, "user_not_found", message
    )
    text = talk(server, "/create club nosuch")[1]
    assert "The server refused: there is no user" in text and "data.participants" not in text
    assert ServerError("user_not_found", message).message == message


def test_arrivals_are_shown_and_can_not_look_like_the_clients_own_lines(server: FakeServer) -> None:
    def arrive() -> None:
        server.peers[0].message(5, "one\n* you are logged out\x1b[2J")
        server.peers[0].message(6, "elsewhere", room="other")

    _, text = talk(server, arrive, ["elsewhere"])
    assert "bob: one\\n* you are logged out\\x1b[2J\n" in text
    assert "[other] bob: elsewhere" in text


def test_two_slashes_say_one_and_blank_lines_say_nothing(server: FakeServer) -> None:
    talk(server, "//join is a command", "   ", ["* sent 1"])
    assert [content for _, _, _, content in server.history] == ["/join is a command"]


def test_unknown_commands_name_the_known_ones(server: FakeServer) -> None:
    _, text = talk(
        server,
        "/jion lobby",
        "/hlep",
        "/exti",
        "/xyzzy",
        "/help /exit",
        "/help msg",
        "/help",
        "/help /join",
        "/help nonsense",
        "/history many",
        "/history 9999",
        "/get",
    )
    assert "There is no command /jion. Is /join meant?" in text
    assert "There is no command /hlep. Is /help meant?" in text
    assert "There is no command /exti. Is /exit meant?" in text
    assert "There is no command /xyzzy. /help lists the commands." in text
    assert "* /quit: Leave." in text
    assert "  Example: /msg ben Can you hear me?" in text
    for command in COMMANDS.values():
        is_shown = command.usage in text and command.short in text
        assert is_shown == (command.group != "Teach"), "those of teachers are shown to teachers"
    assert "* /join ROOM: Go to an open room" in text
    assert "There is no command /nonsense. /help lists" in text
    assert "'many' is no number" in text and "'9999' is no number" in text
    assert "The name of the file is missing. Type: /get NAME" in text


def test_the_help_fits_a_screen_of_80_by_24() -> None:
    rows = overview(COMMANDS).split("\n")
    assert len(rows) <= 21 and max(map(len, rows)) < 80, "beside its head, what was typed, a prompt"
    heads = [row.split("/")[0].strip() for row in rows if row[0].isalpha()]
    assert heads[:-1] == list(GROUPS)


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_on_a_narrow_screen_a_students_help_fits_40_by_15(role: str) -> None:
    commands = {name: c for name, c in COMMANDS.items() if c.group != "Teach" or role == "teacher"}
    head = "* Type to talk. What begins with a slash is a command; more on one: /help msg"
    text = overview(commands, 40)
    rows = [row for line in [head, *text.split("\n")] for row in wrap(line, 39)]
    assert len(rows) <= (13 if role == "student" else 18), rows
    assert all(f"/{name}" in text.split() for name in commands)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_command_says_what_it_does(command: Command, server: FakeServer) -> None:
    name = command.usage.split()[0]
    text = talk(server, f"/help {name}")[1]
    assert f"* {command.usage}: {command.help}" in text
    assert (f"  Example: {name} " in text) == bool(command.example)


def test_rooms_are_listed_joined_made_and_left(server: FakeServer) -> None:
    server.rooms["maths"] = ("maths", None)
    _, text = talk(
        server,
        "/rooms",
        "/room 2",
        "/room",
        "/create 'Our club' bob",
        "/add cleo",
        "/remove cleo",
        "/rename Team",
        "/room team",
        "/delete p-1",
        "/join nowhere",
        "/join p-secret",
        "/join MATHS",
        "/leave",
        "/leave lobby",
        '/create "open',
    )
    assert "1 lobby: open, you are here" in text
    assert "You are in maths." in text and "You are in Our club." in text
    assert "cleo is now a member of Our club." in text and "cleo is no longer a member" in text
    assert "now called Team" in text and "is deleted." in text
    assert "You are in nowhere. The first message that you type makes this room." in text
    assert "The server refused: no such room for you" in text
    assert "You left maths." in text and "You left lobby." in text


def test_who_and_history_and_files_and_status(server: FakeServer) -> None:
    server.history += [(1, "lobby", "bob", "one"), (2, "lobby", "bob", "two")]
    server.files["a.txt"] = b"x" * 3000
    _, text = talk(server, "/who", "/history 1", "/files", "/status", "/cancel", "/retry", "/login")
    assert "In lobby, on now: ada. Not on: bob." in text
    assert "The last 1 message of lobby, older ones left out:" in text
    assert "a.txt, 2.9 KiB by bob" in text
    assert "answers in" in text and "logged in as ada" in text and "No file is being" in text
    assert "There is no refused message." in text and "You are logged in." in text


def test_a_refused_message_can_be_sent_again_and_makes_the_status_1(server: FakeServer) -> None:
    def refuse(peer: Peer, packet: Any) -> None:
        del server.handlers["send_message"]
        peer.refuse(packet, "bad_packet", "too long")

    server.handlers["send_message"] = refuse
    status, text = talk(server, "words", ["Not stored: too long"], "/retry", ["sent 1"])
    assert status == 1 and server.history == [(1, "lobby", "ada", "words")]
    assert "Type /retry to send it again: words" in text


def test_a_message_that_can_not_be_one_is_said(server: FakeServer) -> None:
    status, text = talk(server, "a\0b")
    assert status == 1 and "Not sent: a message needs" in text


def test_the_password_can_be_changed(server: FakeServer) -> None:
    _, text = talk(server, "/password", "secret", "new", "/password", "secret", "")
    assert text.count("Your password is changed.") == 1
    data = next(packet["data"] for packet in server.heard if packet["action"] == "change_password")
    assert (data["password"], data["new_password"]) == ("secret", "new")


def test_files_are_sent_and_fetched_while_the_chat_goes_on(
    server: FakeServer, tmp_path: Path
) -> None:
    source = tmp_path / "my notes.txt"
    source.write_bytes(b"y" * 200_000)
    status, text = talk(
        server,
        f"/send {source}",
        ["is sent"],
        f"/send '{source}'",
        "/get my notes.txt",
        ["lies in"],
        "/send nowhere.txt",
        "/get nothing",
        ["was not fetched"],
        download_folder=tmp_path / "down",
    )
    assert status == 1  # because one was not fetched
    assert (tmp_path / "down" / "my notes.txt").read_bytes() == source.read_bytes()
    assert "Sending my notes.txt: 100 %, 195 KiB of 195 KiB" in text
    assert "There is no file 'nowhere.txt'" in text


def test_a_transfer_can_be_cancelled_and_others_wait(server: FakeServer, tmp_path: Path) -> None:
    server.files["a.txt"] = b"x" * 5000
    server.handlers["file_down_req"] = lambda peer, packet: (
        peer.meta(packet),
        peer.chunk(packet, 1, b"x" * 1000),
    )
    _, text = talk(
        server,
        "/get a.txt",
        ["Fetching a.txt: 20 %"],
        "/get a.txt",
        "/status",
        "/cancel",
        ["was not fetched: cancelled"],
        lambda: server.wait_for(lambda: server.actions().count("file_down_req") == 2),
        "/cancel",
        download_folder=tmp_path,
    )
    assert "a.txt waits for the file before it." in text and "; 1 more wait" in text


def test_ctrl_c_clears_the_line_then_quits_with_130(server: FakeServer) -> None:
    screen = ScriptedScreen(is_terminal=True)

    def typing(words: str) -> Callable[[], None]:
        return lambda: setattr(screen, "left_over", words)

    screen.steps = [typing("half a line"), KeyboardInterrupt(), typing(""), KeyboardInterrupt()]
    assert client(server, screen).run() == 130
    assert "(sent" not in screen.text() and "(sending" not in screen.text()


def test_ctrl_c_breaks_off_a_command_and_ctrl_d_quits_with_0(server: FakeServer) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    screen = ScriptedScreen("/status", is_terminal=True)
    line_client = client(server, screen)
    line_client.status_lines = interrupt  # type: ignore[method-assign, assignment]
    assert line_client.run() == 0
    assert "Broken off." in screen.text()


def test_states_are_shown_on_a_terminal_and_names_can_be_completed(server: FakeServer) -> None:
    server.files["a.txt"] = b""
    screen = ScriptedScreen(is_terminal=True)
    screen.steps = ["hello", screen.sees("(sent 1)"), "/files"]
    assert client(server, screen).run() == 0
    text = screen.text()
    assert (
        text.index("hello (sending)")
        < text.index("hello (counts agree)")
        < text.index("hello (sent 1)")
    )
    assert (
        screen.complete("/jo") == ["/join"]
        and screen.complete("/get a") == ["a.txt"]
        and screen.complete("hi @a") == ["@ada"]
    )


def test_every_event_has_its_words(server: FakeServer) -> None:
    def arrive() -> None:
        peer = server.peers[0]
        peer.send(
            "receive_file",
            {
                "room_id": "lobby",
                "sender_chatid": "bob",
                "file_path": "a.txt",
                "file_size": 3,
                "file_type": "text/plain",
                "timestamp": "t",
            },
        )
        for kind in (
            "user_online",
            "user_offline",
            "user_added",
            "user_removed",
            "room_created",
            "room_renamed",
            "room_deleted",
            "server_closing",
            "something new",
        ):
            peer.send("event", {"type": kind, "chatid": "cleo", "room_id": "p-9", "name": "club"})
        server.handlers["character_count"] = lambda peer, packet: peer.send(
            "confirm_count",
            {
                "transaction_id": packet["data"]["transaction_id"],
                "confirm": "a" in packet["data"]["letter_frequencies"],
            },
        )
        peer.message(7, "bbb")
        server.wait_for(lambda: server.heard[-1]["action"] == "ack")
        peer.message(7, "aaa")
        peer.send("nonsense")

    _, text = talk(server, arrive, ["nonsense"])
    for words in (
        "bob put the file a.txt (3 bytes) into lobby; fetch it there with /get a.txt",
        "cleo is on.",
        "cleo is gone.",
        "cleo is now a member of club.",
        "cleo is no longer a member of club.",
        "There is a new private room: club. Go there with /room 2",
        "A room has a new name: club",
        "The room club was deleted.",
        "The server is closing.",
        "letter counts of the message",
        "The same message came again, with other letters: 'a' 0 -> 3, 'b' 3 -> 0",
        "could not be understood",
    ):
        assert words in text, (words, text)


def test_a_lost_connection_is_told_and_messages_wait_for_it() -> None:
    with FakeServer(lambda peer: peer.serve(until="get_users"), lambda peer: None, good) as fake:
        _, text = talk(
            fake, "/who", "while away", ["The connection is back."], ["(sent "], is_terminal=True
        )
    assert "The connection is lost" in text and "That did not work" in text
    assert [content for _, _, _, content in fake.history] == ["while away"]


def test_missed_messages_are_counted_when_the_connection_is_back() -> None:
    def second(peer: Peer) -> None:
        peer.server.history.append((1, "lobby", "bob", "missed you"))
        peer.serve()

    with FakeServer(lambda peer: peer.serve(until="get_users"), second) as fake:
        _, text = talk(fake, "/who", ["1 message while you were away."])
    assert "bob: missed you" in text


def test_a_session_that_is_not_taken_up_again_asks_for_a_login() -> None:
    def second(peer: Peer) -> None:
        peer.server.handlers["login"] = lambda peer, packet: peer.reply(
            packet, "login_fail", status="error", message="No"
        )
        peer.serve(until="login")
        peer.answer(peer.server.heard[-1])
        peer.server.handlers.clear()
        peer.serve()

    with FakeServer(lambda peer: peer.serve(until="get_users"), second, good) as fake:
        status, text = talk(
            fake,
            "/who",
            ["You are logged out"],
            "lost words",
            "/status",
            "/login",
            "",
            "ada",
            "secret",
            "found words",
            ["* sent 1"],
        )
        assert (
            status == 1
            and "Type /login to log in again." in text
            and "You are logged in again." in text
        )
    with FakeServer(lambda peer: peer.serve(until="get_users"), second, good) as fake:
        assert talk(fake, "/who", ["You are logged out"])[0] == 4


def test_messages_that_are_not_stored_in_time_make_the_status_1(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "GRACE_SECONDS", 0.05)
    server.handlers["send_message"] = lambda peer, packet: None
    server.handlers["logout"] = lambda peer, packet: peer.refuse(packet, "internal_error")
    status, text = talk(server, "words")
    assert status == 1 and "1 message was not stored." in text


def test_while_messages_are_stored_the_end_waits_for_them(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "GRACE_SECONDS", patience(0.3))
    monkeypatch.setattr(terminal, "WAIT_TOLD_SECONDS", patience(0.2))

    def slowly(peer: Peer, packet: Packet) -> None:
        time.sleep(patience(0.04))
        peer.on_confirm_count(packet)

    server.handlers["confirm_count"] = slowly
    lines = [f"line {number}" for number in range(20)]
    status, text = talk(server, *lines, is_terminal=True)
    assert status == 0 and [content for *_, content in server.history] == lines
    assert "still on the way; waiting. Ctrl-C ends without." in text


def test_what_may_have_been_stored_is_not_called_lost(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "GRACE_SECONDS", patience(0.1))
    server.handlers["confirm_count"] = lambda peer, packet: None
    server.handlers["send_message"] = lambda peer, packet: (
        peer.on_send_message(packet) if packet["data"]["content"] != "three" else None
    )
    status, text = talk(server, "one", "two", "three")
    assert status == 1 and "1 message was not stored." in text
    assert "2 messages may be stored or not" in text


def test_nobody_reading_our_output_ends_the_client(server: FakeServer) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    screen = ScriptedScreen("never read")
    screen._stdout = Broken()
    assert client(server, screen).run() == 1


def test_a_server_of_the_24_packets_is_enough() -> None:
    with FakeServer(seed_only=True) as fake:
        fake.handlers["join_room"] = lambda peer, packet: peer.refuse(packet, "", "what?")
        status, text = talk(fake, "hello", ["* sent"], "/join maths", "/rooms")
    assert status == 0 and "You are in maths." in text


def test_a_history_that_can_not_be_had_is_said(server: FakeServer) -> None:
    server.handlers["get_messages"] = lambda peer, packet: peer.refuse(
        packet, "room_not_found", "no such room"
    )
    server.handlers["get_rooms"] = lambda peer, packet: (
        peer.on_get_rooms(packet)
        if server.actions().count("get_rooms") == 1
        else peer.refuse(packet, "internal_error")
    )
    assert "There is no such room yet" in talk(server)[1]


# --- parts ---


def test_times_are_local_and_wrong_ones_are_dashes() -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    assert local_time(now) == time.strftime("%H:%M")
    assert local_time("2001-05-05T12:00:00Z").startswith("2001-05-05 ")
    assert local_time("yesterday") == "--:--"


def test_gaps_and_troubles_have_words() -> None:
    screen = ScriptedScreen()
    line_client = LineClient(Connection(), screen, Options())
    for event in (
        EventsDropped(5),
        ProtocolViolation("x\x1b"),
        ServerEvent("user_online", "bob"),
        Message("lobby", "bob", "hi", "?", corrected=True),
    ):
        line_client.display._SHOW[type(event)](line_client.display, event)
    assert (
        "5 lines came too quickly" in screen.text()
        and "x\\x1b" in screen.text()
        and "--:-- bob: hi" in screen.text()
    )


def test_a_defect_in_one_event_keeps_back_none_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = ScriptedScreen()
    line_client = LineClient(Connection(), screen, Options())
    arrived = [object(), Message("lobby", "bob", "hi", "?")]
    monkeypatch.setattr(Connection, "closed", property(lambda self: not arrived))
    monkeypatch.setattr(Connection, "next_event", lambda self, seconds: arrived.pop(0))
    line_client.display.run()
    assert "A defect of this client: KeyError" in screen.text() and "bob: hi" in screen.text()


def test_progress_is_a_line_each_tenth_in_a_pipe_and_tells_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moment = [100.0]
    monkeypatch.setattr(transfer_queue.time, "monotonic", lambda: moment[0])
    screen = ScriptedScreen()
    progress = Progress(screen, Job("fetch", "lobby", "a", "a"))
    assert "Fetching a: 0 %" in progress.text(Job("fetch", "lobby", "a", "a"))
    for done in range(0, 1001, 25):
        moment[0] += 0.1
        progress(done * 1024, 1000 * 1024)
    lines = screen.text().splitlines()
    assert len(lines) == 10
    assert lines[4] == "* Fetching a: 50 %, 500 KiB of 1000 KiB, 250 KiB/s, 2 s left"


def test_progress_on_a_terminal_is_not_drawn_for_every_chunk() -> None:
    screen = ScriptedScreen(is_terminal=True)
    progress = Progress(screen, Job("send", "lobby", "a", "a"))
    for done in range(101):
        progress(done, 100)
    assert screen.text() == "" and 1 <= len(screen.notices) < 20


def test_a_failing_job_does_not_end_the_worker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[str] = []
    errors = [TransferFailed("no luck"), OSError("no disk"), KeyError("planted")]

    def fail(*_: object, **__: object) -> None:
        raise errors.pop()

    monkeypatch.setattr(transfer_queue, "upload", fail)
    transfers = Transfers(
        Connection(), ScriptedScreen(), lambda text, tone: said.append(text), tmp_path, Palette()
    )
    for _ in range(3):
        transfers.add(Job("send", "lobby", "a", "a"))
        transfers.finish()
    assert said == [
        "a was not sent: a defect of this client, KeyError('planted').",
        "a was not sent: no disk.",
        "a was not sent: no luck.",
    ]
    assert transfers.failed == 3


# --- screens ---


def keys(screen_out: io.StringIO, *pressed: str | Callable[[], object]) -> KeyScreen:
    return KeyScreen(io.StringIO(), screen_out, ScriptedKeys(*pressed))


def drawn(out: io.StringIO) -> str:
    return out.getvalue().replace(PASTE_ON, "").replace(PASTE_OFF, "")


def shown_while_typing(
    monkeypatch: pytest.MonkeyPatch, typed: str, *shown: tuple[str, str], columns: int = 20
) -> str:
    """What is written from when the line is typed until Enter is pressed."""
    out = io.StringIO()
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "24")
    written: list[str] = []

    def show() -> None:
        begin = len(out.getvalue())
        for text, key in shown:
            screen.show(text, key)
        written.append(out.getvalue()[begin:])

    screen = keys(out, *typed, show, "\r")
    assert screen.read_line("[lobby] ") == typed
    return written[0]


def test_an_arrival_puts_the_typed_line_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown_while_typing(monkeypatch, "half", ("hello", "")) == "\r\x1b[Jhello\n[lobby] half"


def test_a_typed_line_of_several_rows_is_taken_away_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        shown_while_typing(monkeypatch, "x" * 40, ("hello", ""))
        == "\x1b[2A\r\x1b[Jhello\n[lobby] " + "x" * 40
    )
    assert (
        shown_while_typing(monkeypatch, "日本" * 3, ("hi", ""))
        == "\x1b[1A\r\x1b[Jhi\n[lobby] " + "日本" * 3 + " \r"
    )


def test_a_line_with_a_key_replaces_the_one_above(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown_while_typing(
        monkeypatch,
        "",
        ("10 % of a long line that is wrapped", "f"),
        ("20 %", "f"),
        ("other", ""),
        ("30 %", "f"),
    )
    assert text == (
        "\r\x1b[J10 % of a long line\n    that is wrapped\n[lobby] "
        "\r\x1b[J\x1b[2A\r\x1b[J20 %\n[lobby] "
        "\r\x1b[Jother\n[lobby] "
        "\r\x1b[J30 %\n[lobby] "
    )


def test_a_long_notice_is_wrapped_and_taken_away_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("LINES", "24")

    def tell() -> None:
        screen.notice("* Not connected. Attempt 4 in 4 s: nothing listens there", "retry")
        shown = out.getvalue()
        assert shown.endswith("there\n> ")
        screen.notice("", "retry")
        rows = shown.count(chr(10))
        assert out.getvalue()[len(shown) :] == f"\x1b[{rows}A\r\x1b[J> "

    screen = keys(out, tell, "\r")
    screen.read_line("> ")


def test_long_arrivals_are_wrapped_with_an_indent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown_while_typing(monkeypatch, "", ("12:00 bob: a long message comes", "")) == (
        "\r\x1b[J12:00 bob: a long \n    message comes\n[lobby] "
    )


def test_without_anything_typed_nothing_is_redrawn() -> None:
    out = io.StringIO()
    keys(out).show("hello")
    assert out.getvalue() == "hello\n"


def test_keys_edit_the_line_and_keep_it_across_arrivals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    out = io.StringIO()
    screen = keys(out, "a", "b", "left", "X", "\r")
    screen.complete_with(lambda before: [])
    assert screen.read_line("> ") == "aXb"
    assert drawn(out).endswith("\r\x1b[J> aXb\r\x1b[4C\r\x1b[J> aXb\n")
    out.truncate(0)
    out.seek(0)

    def arrival() -> None:
        screen.show("hello")
        raise KeyboardInterrupt

    screen._keys = ScriptedKeys("y", "left", arrival)
    with pytest.raises(KeyboardInterrupt):
        screen.read_line("> ")
    assert screen.typed() == "y"
    assert drawn(out).endswith("\r\x1b[Jhello\n> y\r\x1b[2C\r\x1b[J> y")


def test_a_cursor_in_an_earlier_row_is_put_back_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    out = io.StringIO()
    screen = keys(out, *"0123456789", "home", "\r")
    screen.read_line("> ")
    assert drawn(out).endswith("\x1b[1A\r\x1b[J> 0123456789\x1b[1A\r\x1b[2C\r\x1b[J> 0123456789\n")


def test_a_pipe_is_read_by_lines_and_shows_no_prompt() -> None:
    out = io.StringIO()
    screen = PlainScreen(io.StringIO("one\r\ntwo\n"), out)
    assert [screen.ask("?"), screen.ask_hidden("?")] == ["one", "two"]
    with pytest.raises(EOFError):
        screen.read_line("?")
    assert out.getvalue() == "" and screen.typed() == ""
    screen.complete_with(lambda before: [])


def test_each_kind_of_terminal_gets_its_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def fileno(self) -> int:
            return 0

    assert type(open_screen()) is PipeScreen
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert type(open_screen()) is PromptScreen
    monkeypatch.setenv("TERM", "xterm")
    assert type(open_screen()) is KeyScreen
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(prompt_module, "is_terminal", lambda stream: stream.isatty())
    monkeypatch.setattr(prompt_module, "understands_sequences", lambda stream: True)
    assert type(open_screen()) is KeyScreen
    monkeypatch.setattr(prompt_module, "understands_sequences", lambda stream: False)
    screen = open_screen()
    assert type(screen) is PromptScreen
    monkeypatch.setattr("builtins.input", lambda prompt: prompt + "typed")
    monkeypatch.setattr("getpass.getpass", lambda prompt: prompt + "hidden")
    assert screen.ask("? ") == "? typed" and screen.ask_hidden("? ") == "? hidden"


# --- the entry point ---


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("lab", ("lab", 9876)),
        ("lab:1234", ("lab", 1234)),
        ("[::1]:1234", ("::1", 1234)),
        ("[::1]", ("::1", 9876)),
        ("fe80::1", ("fe80::1", 9876)),
        ("10.0.0.5:65535", ("10.0.0.5", 65535)),
    ],
)
def test_addresses_are_split(text: str, where: tuple[str, int]) -> None:
    assert address(text) == where


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lab:0"], "no number from 1 to 65535"),
        (["lab:http"], "no number"),
        (["lab:"], "no number"),
        (["lab:99999"], "no number"),
        (["[::1"], "is no address"),
        ([":99"], "is no address"),
        (["--password-file", "x"], "needs -u"),
        (
            ["-u", "ada", "--password-file", "/nowhere/at/all"],
            "--password-file /nowhere/at/all: No such file or directory",
        ),
        (["--nonsense"], "nonsense"),
    ],
)
def test_wrong_options_are_one_clear_line_and_status_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        chat_client.main(arguments)
    assert caught.value.code == 2 and words in capsys.readouterr().err.splitlines()[-1]


def test_the_door_runs_from_a_pipe_with_a_password_file(
    server: FakeServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "password").write_text("secret\nmore\n")
    (tmp_path / "empty").write_text("")
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n"))
    where = f"127.0.0.1:{server.port}"
    assert (
        chat_client.main([where, "-u", "ada", "--password-file", str(tmp_path / "password")]) == 0
    )
    assert "* sent 1\n" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.StringIO("secret\nagain\n"))
    assert chat_client.main([where, "-u", "ada", "--password-file", "-", "--room", "maths"]) == 0
    assert server.history[-1] == (2, "maths", "ada", "again")
    with pytest.raises(SystemExit):
        chat_client.main([where, "-u", "ada", "--password-file", str(tmp_path / "empty")])


def test_the_door_can_be_interrupted_and_never_crashes_on_a_character(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.BytesIO()
    narrow = io.TextIOWrapper(out, encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", narrow)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\x81\n"), encoding="utf-8"))

    def interrupted(self: object) -> int:
        print("🙂", sys.stdin.readline() == "\ufffd\n")
        raise KeyboardInterrupt

    monkeypatch.setattr(LineClient, "run", interrupted)
    assert chat_client.main([]) == 130
    narrow.flush()
    assert out.getvalue().split() == [b"\\U0001f642", b"True"]


def test_no_thread_of_the_client_stays_behind(server: FakeServer) -> None:
    talk(server, "hello", ["* sent 1"])
    deadline = time.monotonic() + patience(5)
    while any(
        thread.name in ("chat-reader", "chat-sender", "chat-screen")
        for thread in threading.enumerate()
    ):
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.01)
