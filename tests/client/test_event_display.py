"""What the line client tells by itself: mentions, unread, who types, days, the countdown, what was
missed, a place that was taken."""

from __future__ import annotations

import ntpath
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.client_fakes import FakeServer, Packet, Peer, good
from support.line_client import ScriptedScreen, client, talk
from support.patience import patience

from client import events
from client.base.times import SleepWatch, day
from client.connection import Connection
from client.errors import LetterDifference
from client.records import Room
from client.terminal import command_context, event_display
from client.terminal.commands import COMMANDS
from client.terminal.completion import Words, completions
from client.terminal.line_client import LineClient, Options, connection_for
from client.terminal.room_list import RoomList


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


@pytest.fixture
def window(server: FakeServer) -> Iterator[tuple[LineClient, ScriptedScreen]]:
    """A client that is logged in, whose events are shown by the test itself."""
    screen = ScriptedScreen(is_terminal=True)
    line_client = client(server, screen, features=("events", "typing"))
    line_client.chat.login("ada", "secret")
    yield line_client, screen
    line_client.chat.close()


def show(line_client: LineClient, *shown: events.Event) -> None:
    for event in shown:
        line_client.display._SHOW[type(event)](line_client.display, event)


def message(content: str, sender: str = "bob", room: str = "lobby", **more: Any) -> events.Message:
    return events.Message(room, sender, content, "2024-01-01T12:00:00Z", **more)


# --- Mentions and unread ---


def test_being_named_stands_out_in_words(window: tuple[LineClient, ScriptedScreen]) -> None:
    line_client, screen = window
    show(
        line_client,
        message("hello @ADA!"),
        message("mail ada@ada.example, @adam"),
        message("I, @ada", sender="ada"),
    )
    lines = screen.text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == [
        "bob (to you): hello @ADA!",
        "bob: mail ada@ada.example, @adam",
        "ada: I, @ada",
    ]


def test_unread_is_counted_until_the_room_is_entered(
    window: tuple[LineClient, ScriptedScreen],
) -> None:
    line_client, _screen = window
    line_client.remember_rooms(
        [Room("lobby", "lobby", None, False, 2, 7, 9), Room("m", "maths", None, False, 2, 3, 9)]
    )
    show(line_client, message("here"), message("there", room="m"), message("you, @ada", room="m"))
    assert line_client.unread_in_words("m") == "5 unread, 1 to you"
    assert any("maths (5 unread, 1 to you)" in line for line in line_client.status_lines())
    line_client.remember_rooms(
        [Room("lobby", "lobby", None, False, 2, 0, 9), Room("m", "maths", None, False, 2, 0, 9)]
    )
    assert line_client.unread_in_words("m") == "5 unread, 1 to you", (
        "the server only knows that this client has it"
    )
    line_client.enter("m")
    assert line_client.unread_in_words("m") == ""


def test_a_room_keeps_its_number_when_it_is_renamed() -> None:
    book = RoomList()
    book.remember([Room("a", "one", None, False, 1, 0, 0), Room("b", "two", None, False, 1, 4, 0)])
    book.begin("a", "first")
    book.begin("p-3", "three")
    assert [room.name for room in book.all()] == ["first", "two", "three"] and book.number_of(
        "p-3"
    ) == 3
    assert (
        book.find("FIRST") == "a"
        and book.find("2") == "b"
        and book.find("9") == "9"
        and book.number_of("x") is None
    )
    book.arrived("unknown", names_user=False)
    assert book.all_unread() == ["two (4 unread)", "unknown (1 unread)"]
    book.forget()
    assert book.all() == [] and book.all_unread() == []


# --- Typing ---


def test_who_types_is_told_until_it_is_over(
    window: tuple[LineClient, ScriptedScreen], monkeypatch: pytest.MonkeyPatch
) -> None:
    line_client, screen = window
    for name in ("bob", "cleo", "dora", "eve\x1b"):
        show(line_client, events.ServerEvent("typing", name, "lobby"))
    assert screen.notices[-1] == "* bob, cleo, dora and 1 more are typing"
    show(
        line_client,
        events.ServerEvent("typing", "frank", "elsewhere"),
        message("done"),
        message("x", sender="cleo"),
    )
    assert screen.notices[-1] == "* dora, eve\\x1b are typing"
    line_client.display._show_typists(time.monotonic() + event_display.TYPING_SECONDS + 1)
    assert screen.notices[-1] == ""


def test_that_we_type_is_told_now_and_then_and_never_for_a_command(server: FakeServer) -> None:
    server.features = ["events", "typing"]
    screen = ScriptedScreen(is_terminal=True)
    line_client = client(server, screen)
    line_client.chat.login("ada", "secret")
    for now, typed in (
        (10.0, ""),
        (10.5, "h"),
        (11.0, "he"),
        (14.0, "hel"),
        (14.5, "hel"),
        (18.0, "hel"),
        (19.0, "/who"),
        (30.0, "/who "),
        (40.0, "//not a command"),
    ):
        screen.line = typed
        line_client.display._tell_typing(now)
    line_client.chat.ping()
    assert [packet["data"] for packet in server.heard if packet["action"] == "typing"] == [
        {"chatid": "ada", "room_id": "lobby"}
    ] * 3
    line_client.chat.close()


def test_nothing_is_told_of_typing_where_the_server_does_not_know_it() -> None:
    for seed_only, features in ((True, ["typing"]), (False, ["events"])):
        with FakeServer(seed_only=seed_only) as fake:
            fake.features = features
            screen = ScriptedScreen(is_terminal=True)
            line_client = client(fake, screen)
            line_client.chat.login("ada", "secret")
            screen.line = "hello"
            line_client.display._tell_typing(100.0)
            line_client.chat.close()
        assert "typing" not in fake.actions()


# --- Days and the clock ---


def test_a_new_day_is_told_once(
    window: tuple[LineClient, ScriptedScreen], monkeypatch: pytest.MonkeyPatch
) -> None:
    line_client, screen = window
    monkeypatch.setattr(event_display, "day", lambda: "Tuesday, 2026-11-24")
    for now in (1.0, 2.0, 3.0):
        line_client.display._tick(now)
    assert screen.text().splitlines() == ["* A new day: Tuesday, 2026-11-24."]
    monkeypatch.undo()
    assert day().endswith(time.strftime("%Y-%m-%d"))


@pytest.mark.parametrize(
    ("steady", "shown", "slept"),
    [
        (1.0, 1.0, False),
        (5.5, 5.5, False),
        (1.0, 3600.0, True),
        (3600.0, 3600.0, True),
        (1.0, -3600.0, False),
        (0.0, 0.0, False),
    ],
    ids=["awake", "busy", "Linux and macOS", "Windows", "clock set back", "at once"],
)
def test_sleep_is_seen_by_either_clock(steady: float, shown: float, slept: bool) -> None:
    clocks = {"steady": 100.0, "shown": 5000.0}
    watch = SleepWatch(1.0, monotonic=lambda: clocks["steady"], wall=lambda: clocks["shown"])
    clocks["steady"] += steady
    clocks["shown"] += shown
    assert watch.has_slept() is slept
    assert not watch.has_slept()


class OnceAsleep(SleepWatch):
    """The machine has slept when the test says so."""

    slept = False

    def has_slept(self) -> bool:
        slept, self.slept = self.slept, False
        return slept


def test_after_a_sleep_a_dead_connection_is_given_up_quickly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("client.session.server_watch.WAKE_SECONDS", 0.05)
    monkeypatch.setattr("client.session.reader.READ_SECONDS", 0.05)

    def silent(peer: Peer) -> None:
        peer.serve(until="get_users")
        peer.get("ping")
        peer.server.wait_for(lambda: len(peer.server.peers) > 1)

    with FakeServer(silent, good) as fake:
        chat = Connection("127.0.0.1", fake.port, pauses=(0.01,), idle_seconds=3600.0)
        watch = chat._reader._watch.sleep = OnceAsleep(1.0)
        chat.login("ada", "secret")
        chat.push("get_users", {})
        fake.wait_for(lambda: "get_users" in fake.actions())
        watch.slept = True
        told = [chat.next_event(8.0), chat.next_event(8.0)]
        assert (
            isinstance(told[0], events.Disconnected)
            and "slept" in told[0].reason
            and isinstance(told[1], events.Reconnected)
        )
        chat.close()


def test_a_sleep_between_two_attempts_ends_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.session.reader.READ_SECONDS", 0.05)
    with FakeServer(lambda peer: peer.serve(until="get_users"), good) as fake:
        chat = Connection("127.0.0.1", fake.port, pauses=(3600.0,))
        watch = chat._reader._watch.sleep = OnceAsleep(1.0)
        chat.login("ada", "secret")
        chat.push("get_users", {})
        assert isinstance(chat.next_event(8.0), events.Disconnected)
        deadline = time.monotonic() + patience(8.0)
        while not chat.online:
            assert time.monotonic() < deadline
            watch.slept = True
            time.sleep(0.01)
        chat.close()


# --- Losing the connection ---


def test_the_countdown_is_visible_and_goes_away(window: tuple[LineClient, ScriptedScreen]) -> None:
    line_client, screen = window
    show(
        line_client,
        events.Disconnected("gone\x1b", 1, 0.5),
        events.Disconnected("nobody there", 2, 4.0),
    )
    at, _ = line_client.display._retry or (0.0, None)
    for now in (at - 4.0, at - 3.2, at - 0.1, at + 1):
        line_client.display._count_down(now)
    assert screen.notices[-4:] == [
        f"* Not connected. Attempt 2 {when}: nobody there"
        for when in ("in 4 s", "in 4 s", "in 1 s", "now")
    ]
    show(line_client, events.Reconnected(0))
    line_client.display._tick(time.monotonic())
    assert "" in screen.notices[-2:]
    assert screen.text().splitlines() == [
        "* The connection is lost: gone\\x1b. Trying to get it back.",
        "* The connection is back.",
    ]


def test_in_a_pipe_each_attempt_is_a_line(server: FakeServer) -> None:
    screen = ScriptedScreen()
    line_client = client(server, screen)
    show(
        line_client,
        events.Disconnected("gone", 1, 0.5),
        events.Disconnected("nobody there", 2, 4.0),
    )
    line_client.display._tick(1e9)
    assert (
        screen.text().splitlines()[1:] == ["* Attempt 2 in 4 seconds: nobody there"]
        and screen.notices == []
    )


@pytest.mark.parametrize(
    ("messages", "files", "words"),
    [
        (12, 1, " 12 messages and 1 file while you were away."),
        (1, 0, " 1 message while you were away."),
        (0, 2, " 2 files while you were away."),
        (0, 0, ""),
    ],
)
def test_what_was_missed_is_counted(
    window: tuple[LineClient, ScriptedScreen], messages: int, files: int, words: str
) -> None:
    line_client, screen = window
    show(line_client, events.Reconnected(messages, files))
    assert screen.text() == f"* The connection is back.{words}\n"


def test_files_that_came_meanwhile_are_told_and_known_ones_are_not() -> None:
    def second(peer: Peer) -> None:
        peer.server.files["new.txt"] = b"xyz"
        peer.server.history.append((9, "lobby", "bob", "missed you"))
        peer.serve()

    with FakeServer(lambda peer: peer.serve(until="get_users"), second) as fake:
        fake.files["old.txt"] = b"x"
        chat = Connection("127.0.0.1", fake.port, pauses=(0.01,), watch_files=True)
        chat.login("ada", "secret")
        fake.peers[0].send(
            "receive_file",
            {
                "room_id": "lobby",
                "sender_chatid": "bob",
                "file_path": "live.txt",
                "file_size": 1,
                "file_type": "t",
                "timestamp": "2024-01-01T12:00:00Z",
            },
        )
        assert isinstance(chat.next_event(8.0), events.FileShared)
        fake.files["live.txt"] = b"x"
        chat.push("get_users", {})
        told = [chat.next_event(8.0)]
        while not isinstance(told[-1], events.Reconnected):
            told.append(chat.next_event(8.0))
        chat.close()
    files = [event for event in told if isinstance(event, events.FileShared)]
    assert [(file.file_path, file.missed) for file in files] == [("new.txt", True)]
    assert told[-1] == events.Reconnected(1, 1)


def test_a_place_that_was_taken_is_said_and_not_taken_back(tmp_path: Path) -> None:
    def second(peer: Peer) -> None:
        peer.server.handlers["login"] = lambda peer, packet: peer.reply(
            packet, "login_fail", status="error", message="No"
        )
        peer.serve()

    with FakeServer(lambda peer: peer.serve(until="get_users"), second) as fake:
        _, text = talk(fake, "/who", ["You are logged out"], ["/quit"], is_terminal=True)
        assert (
            "Your place was taken by another session with your name, or your password was changed."
            in text
        )
        assert "does not take it back by itself" in text.replace("\n", " ")
        assert fake.actions().count("login") == 2, "once with the key, and never again"


# --- Counts ---


def test_a_disagreement_names_the_letters_of_an_own_message(server: FakeServer) -> None:
    def count_wrong(peer: Peer, packet: Packet) -> None:
        del server.handlers["send_message"]
        peer.server.open["T"] = ("lobby", "")
        peer.send(
            "character_count",
            {
                "transaction_id": packet["data"]["transaction_id"],
                "letter_frequencies": {"h": 1, "é": 2, "x": 1},
                "original_action": "send_message",
            },
        )

    server.handlers["send_message"] = count_wrong
    server.handlers["confirm_count"] = lambda peer, packet: server.handlers.pop("confirm_count")
    status, text = talk(server, "héé é", ["Type /retry"], "/retry", ["sent 1"])
    assert (
        "the letter counts differ: ' ' was meant once and counted never; 'x' was meant never and "
        "counted once; 'é' was meant 3 times and counted twice" in text
    )
    assert status == 1 and server.history[-1][3] == "héé é"


def test_a_second_copy_names_its_letters_too(window: tuple[LineClient, ScriptedScreen]) -> None:
    line_client, screen = window
    many = tuple(LetterDifference(letter, 1, 0) for letter in "abcdefg")
    show(line_client, message("ab", corrected=True), message("x", corrected=True, differences=many))
    assert (
        "with other letters: in another order" in screen.text()
        and "'e' 0 -> 1 and 2 more" in screen.text()
    )


# --- Commands ---


def test_msg_opens_a_room_of_two_and_finds_it_again(server: FakeServer) -> None:
    def create(peer: Peer, packet: Packet) -> None:
        server.rooms["p-1"] = (packet["data"]["room_name"], "ada")
        members["p-1"] = ["ada", *packet["data"]["participants"]]
        peer.reply(packet, "room_created", {"room_id": "p-1"})

    def rooms(peer: Peer, packet: Packet) -> None:
        listed = [{**room, "members": members.get(room["id"], 3)} for room in server.rooms_list()]
        peer.reply(packet, "rooms_list", {"rooms": listed})

    members = {"p-0": ["ada", "Grace"]}
    server.rooms["p-0"] = ("our club", "Grace")  # of two as well, but not theirs by name
    server.handlers.update(create_room=create, get_rooms=rooms)
    _, text = talk(
        server,
        "/msg Grace psst",
        ["sent 1"],
        "/room lobby",
        "/msg grace",
        "again",
        ["sent 2"],
        "/msg",
        "/msg ADA",
    )
    assert server.history == [(1, "p-1", "ada", "psst"), (2, "p-1", "ada", "again")]
    assert server.actions().count("create_room") == 1
    assert text.count("You are in ada & Grace.") == 2
    assert (
        "The name of the user is missing. Type: /msg USER [TEXT]" in text
        and "That is your own name." in text
    )


def test_two_long_names_find_their_room_too(server: FakeServer) -> None:
    from client.terminal.room_commands import _is_room_of, _name_for

    two = ["a" * 32, "b" * 32]
    room = Room("p-1", _name_for(two), two[0], True, 2, 0, 0, ("B" * 32, "a" * 32))
    assert len(room.name) <= 64 and _is_room_of(two, room)
    assert not _is_room_of(two, Room("p-1", _name_for(two), two[0], True, 3, 0, 0, (*two, "cleo")))


def test_packets_are_shown_on_demand_with_the_password_hidden(server: FakeServer) -> None:
    _, text = talk(
        server,
        "/packets",
        "/packets brief",
        "hello",
        ["sent 1"],
        "/packets full",
        "/password",
        "secret",
        "n3w!",
        ["password_changed"],
        "/packets off",
        "/packets loud",
        "/status",
        packets="brief",
    )
    for words in (
        "<- ",
        " login_success",
        "-> ",
        " send_message, transaction",
        "character_count, transaction",
        "confirm_count",
        " ack, transaction",
        '"new_password": "(hidden)"',
        "Packets are not shown.",
        "'loud' is none of off, brief, full. Type: /packets",
        "Packets shown: off",
    ):
        assert words in text, words
    assert "n3w!" not in text and "secret" not in text and '"session_key": "key"' not in text


def test_every_command_works_on_a_server_of_the_24_packets() -> None:
    with FakeServer(seed_only=True) as fake:
        status, text = talk(
            fake,
            *(f"/{name} x" for name in COMMANDS if name not in ("password", "login", "quit")),
            "hello",
            ["* sent"],
        )
        told = fake.actions()
    assert (
        status in (0, 1)
        and "This server knows no private rooms." in text
        and "knows the 24 packets of the course only" in text
    )
    assert not {"typing", "logout"} & set(told), (
        "nothing is sent unasked that such a server does not know"
    )
    assert {"login", "send_message"} <= set(told)


def test_nothing_but_the_24_packets_is_sent_unasked_to_a_server_that_knows_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("client.connection.TLS_LOOK_SECONDS", 0.1)

    def strict(peer: Peer) -> None:
        while True:
            packet = peer.get()
            if packet["action"] not in seed:
                peer.server.errors.clear()
                return  # hangs up, as a hasty server does
            peer.answer(packet)

    seed = {"login", "get_messages", "send_message", "character_count", "confirm_count", "ack"}
    with FakeServer(strict, seed_only=True) as fake:
        status, text = talk(
            fake,
            "hello",
            ["* sent"],
            lambda: fake.peers[-1].message(5, "hi @ada"),
            ["hi @ada"],
        )
        assert set(fake.actions()) - seed == {"ping"} and fake.actions().count("ping") == 1
    assert status == 0 and "lost" not in text


# --- Tab ---

WORDS = Words(
    ["/get", "/join", "/msg"],
    ["Our club", "Our cat", "maths"],
    ["grace", "gus", "x\x1b"],
    ["a b.txt", "notes.txt"],
    ["off", "brief"],
)


@pytest.mark.parametrize(
    ("before", "found"),
    [
        ("/", ["/get", "/join", "/msg"]),
        ("/jo", ["/join"]),
        ("/join our", []),
        ("/join Our", ["Our cat", "Our club"]),
        ("/join Our c", ["cat", "club"]),
        ("/msg g", ["grace", "gus"]),
        ("/get a ", ["b.txt"]),
        ("/packets o", ["off"]),
        ("/help jo", ["/join"]),
        ("hi @gr", ["@grace"]),
        ("hi gr", ["grace"]),
        ("see not", ["notes.txt"]),
        ("x", []),
        ("/nonsense g", ["grace", "gus"]),
    ],
)
def test_tab_knows_what_belongs_where(before: str, found: list[str]) -> None:
    assert completions(before, WORDS) == found


def test_tab_finds_files_to_send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my notes.txt").write_text("x")
    (tmp_path / "music").mkdir()
    (tmp_path / ".hidden").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert completions("/send m", WORDS) == ["music" + os.sep, "my notes.txt"]
    assert completions("/send my n", WORDS) == ["notes.txt"]
    assert completions(f"/send {tmp_path}{os.sep}mu", WORDS) == [str(tmp_path / "music") + os.sep]
    assert ".hidden" not in completions("/send ", WORDS) and completions("/send .h", WORDS) == [
        ".hidden"
    ]
    slashes = f"{tmp_path.as_posix()}/mu"
    assert completions(f"/send {slashes}", WORDS) == [f"{tmp_path.as_posix()}/music/"], (
        "Windows takes both slashes: what was typed stays as it is"
    )
    monkeypatch.setattr(os.path, "normcase", ntpath.normcase)
    assert completions("/send MU", WORDS) == ["music" + os.sep], "Windows knows no case"
    assert completions("/send nowhere/x", WORDS) == [] and completions("/send \0", WORDS) == []


@pytest.mark.parametrize(
    ("argument", "posix", "windows"),
    [
        (r'"\\nas\our files\a.txt"', [r"\nas\our files\a.txt"], [r"\\nas\our files\a.txt"]),
        (r"C:\Users\ada\a.txt", ["C:Usersadaa.txt"], [r"C:\Users\ada\a.txt"]),
        (r"my\ notes.txt", ["my notes.txt"], ["my\\", "notes.txt"]),
        ("'a b' \"c # d\" #e", ["a b", "c # d", "#e"], ["a b", "c # d", "#e"]),
        ("it's", ["it's"], ["it's"]),
        ("", [], []),
    ],
)
def test_on_windows_a_backslash_is_itself(
    argument: str, posix: list[str], windows: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_context, "_is_windows", False)
    assert command_context.words_of(argument) == posix
    monkeypatch.setattr(command_context, "_is_windows", True)
    assert command_context.words_of(argument) == windows


def test_a_connection_for_people_asks_for_more_than_one_for_programs() -> None:
    chat = connection_for("127.0.0.1", 1)
    assert (
        chat._reader.options.features == ("events", "typing")
        and not chat.encrypted
        and not chat.closed
    )
    assert Options().packets == "off"
