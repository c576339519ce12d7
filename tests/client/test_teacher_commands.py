"""A teacher steers the class from the line client, and students are told in plain words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.client_fakes import FakeServer, Packet, Peer
from support.line_client import ScriptedScreen, client, talk

import protocol
from client import events
from client.base.times import local_time
from client.connection import Connection
from client.errors import LoginRefused, SessionEnded
from client.exit_status import explain
from client.terminal.act_words import ACTS, in_words, time_in
from client.terminal.commands import COMMANDS
from client.terminal.completion import Choice, Words, completions
from client.terminal.restrictions import Restrictions
from client.terminal.teacher_commands import seconds_in

UNTIL = "2001-05-05T12:10:00Z"
LATER = protocol.format_time(int(time.time()) + 7200)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        fake.role = "teacher"
        yield fake


def answers(action: str, **data: Any) -> Callable[[Peer, Packet], None]:
    return lambda peer, packet: peer.reply(packet, action, data)


def asked(server: FakeServer, action: str) -> list[dict[str, Any]]:
    """The data of each request of this action, without the name of who asks."""
    return [
        {key: value for key, value in packet["data"].items() if key != "chatid"}
        for packet in server.heard
        if packet["action"] == action
    ]


@pytest.mark.parametrize(
    ("word", "seconds"),
    [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400), ("5", 300), ("1M", 60), ("0", 0)],
)
def test_times_are_typed_as_people_write_them(word: str, seconds: int) -> None:
    assert seconds_in(word) == seconds


@pytest.mark.parametrize("word", ["", "m", "10x", "-5m", "10m please", "1e9s"])
def test_other_words_are_no_times(word: str) -> None:
    assert seconds_in(word) is None


def test_every_act_has_its_command(server: FakeServer) -> None:
    server.handlers.update(
        mute_user=answers("user_muted", user="ben", until=UNTIL),
        unmute_user=answers("user_unmuted", user="ben"),
        kick_user=answers("user_kicked", user="ben"),
        ban_user=answers("user_banned", user="ben", until=None),
        unban_user=answers("user_unbanned", user="ben"),
        pause_class=answers("class_paused", until=UNTIL),
        resume_class=answers("class_resumed"),
        hide_message=answers("message_hidden", message_id=15),
        show_message=answers("message_shown", message_id=15),
        set_room=answers("room_set", room_id="lobby", read_only=True, uploads=True),
        remove_file=answers("file_removed", room_id="lobby", file_path="a.txt"),
    )
    _, text = talk(
        server,
        "/mute ben 10m Please listen.",
        "/mute ben",
        "/unmute ben",
        "/kick ben",
        "/kick ben Not your name.",
        "/ban ben for ever",
        "/unban ben",
        "/pause 5m Look here.",
        "/resume",
        "/hide #15 rude",
        "/hide 16",
        "/hide x",
        "/show 15",
        "/readonly on",
        "/readonly off",
        "/readonly maybe",
        "/uploads off",
        "/uploads on",
        "/removefile a.txt",
        "/removefile",
        "/ids on",
        "/ids off",
    )
    when = local_time(UNTIL)
    for words in (
        f"* ben is muted until {when}.",
        "* ben may write again.",
        "* The session of ben is ended. They may log in again: see /ban.",
        "* ben is banned until you type /unban ben.",
        "* ben may log in again.",
        f"* The class is paused until {when}.",
        "* The class goes on.",
        "* Message 15 is hidden. /show 15 brings it back.",
        "'x' is no number of a message",
        "* Message 15 is shown again.",
        "* From now on only teachers write in lobby.",
        "* From now on everybody writes in lobby.",
        "* From now on only teachers send files to lobby.",
        "* From now on everybody sends files to lobby.",
        "* a.txt is gone from lobby, for good.",
        "The name of the file is missing. Type: /removefile NAME",
        "'maybe' is neither on nor off. Type: /readonly on|off",
        "* The numbers of messages are shown from now on.",
    ):
        assert words in text, (words, text)
    assert asked(server, "mute_user") == [
        {"user": "ben", "seconds": 600, "reason": "Please listen."},
        {"user": "ben", "seconds": 0},
    ]
    assert asked(server, "kick_user")[1] == {"user": "ben", "reason": "Not your name."}
    assert asked(server, "ban_user") == [{"user": "ben", "seconds": 0, "reason": "for ever"}]
    assert asked(server, "pause_class") == [{"seconds": 300, "reason": "Look here."}]
    assert asked(server, "hide_message") == [
        {"message_id": 15, "reason": "rude"},
        {"message_id": 16},
    ]
    keys = ("read_only", "read_only", "uploads", "uploads")
    rules = zip(keys, asked(server, "set_room"), strict=True)
    assert [data[key] for key, data in rules] == [True, False, False, True]
    assert asked(server, "remove_file") == [{"room_id": "lobby", "file_path": "a.txt"}]


def room(room_id: str, name: str = "", **more: Any) -> dict[str, Any]:
    facts = {"private": False, "read_only": False, "uploads": True, "deleted": False}
    return {"id": room_id, "name": name or room_id, "owner": None, **facts, **more}


def test_a_teacher_lists_all_rooms_and_looks_into_one(server: FakeServer) -> None:
    rooms = [
        room("lobby", read_only=True, uploads=False),
        room("p-1", "Secret\x1b", private=True, owner="ben"),
        room("p-2", "Twice", private=True, owner="ben"),
        room("p-3", "Twice", private=True, owner="cleo"),
        room("p-4", "Secret\x1b", private=True, owner="ben", deleted=True),
    ]
    server.handlers["get_all_rooms"] = answers("all_rooms_list", rooms=rooms, has_more=False)
    said = {"message_id": 7, "sender_chatid": "ben", "content": "psst", "timestamp": UNTIL}
    server.handlers["get_messages"] = lambda peer, packet: peer.reply(
        packet,
        "messages_list",
        {"room_id": packet["data"]["room_id"], "messages": [said], "has_more": False},
    )
    asks = ("/allrooms", "/look secret\x1b", "/look twice", "/look p-9")
    _, text = talk(server, *asks)
    assert "  lobby: open, read-only, no files\n" in text
    assert "  p-1 Secret\\x1b: private, of ben\n" in text
    assert "  p-4 Secret\\x1b: private, of ben, deleted\n" in text
    assert asked(server, "get_messages")[-1]["room_id"] == "p-1" and "psst" in text
    assert "* You are in Secret\\x1b." in text
    assert "* 2 rooms have that name: give the id of one, from /allrooms" in text
    assert "* There is no room p-9; /allrooms lists them" in text


def test_who_acts_hears_of_it_once(server: FakeServer) -> None:
    def mute(peer: Peer, packet: Packet) -> None:
        peer.send("event", {"type": "user_muted", "chatid": "Ben", "until": None, "reason": ""})
        peer.reply(packet, "user_muted", {"user": "ben", "until": None})

    def again() -> None:
        server.peers[0].send(
            "event", {"type": "user_muted", "chatid": "Ben", "until": None, "reason": "again"}
        )

    server.handlers["mute_user"] = mute
    _, text = talk(server, "/mute ben", ["until you type"], again, ["is muted: again"])
    assert text.count(" is muted") == 2


def act(number: int, **more: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("by", "user", "room_id", "message_id", "file_path", "until"))
    return {
        "id": number,
        "timestamp": UNTIL,
        "act": "mute_user",
        "reason": "",
        "detail": "",
        **empty,
        **more,
    }


def test_the_audit_shows_the_last_acts_of_all_pages(server: FakeServer) -> None:
    pages = [
        {"acts": [act(number) for number in range(1, 30)], "has_more": True},
        {"acts": [act(30, by="ms\x1b", user="ben", until=UNTIL, reason="x\n")], "has_more": False},
        {"acts": [act(7, act="hide_message", message_id=15)], "has_more": True},
        {"acts": [], "has_more": True},
    ]
    server.handlers["get_audit"] = lambda peer, packet: peer.reply(
        packet, "audit_list", pages.pop(0)
    )
    _, text = talk(server, "/audit", "/audit")
    when = local_time(UNTIL)
    assert "* The last acts (20):" in text
    assert f"  {when} ms\\x1b: mute user ben until {when}: x\\n\n" in text
    assert f"  {when} the command line: hide message #15\n" in text
    assert [data["after_id"] for data in asked(server, "get_audit")] == [0, 29, 0, 7]


def entry(name: str, **more: Any) -> dict[str, Any]:
    return {
        "chatid": name,
        "role": "student",
        "address": "10.0.0.5",
        "since": UNTIL,
        "idle_seconds": 3,
        "rooms": 1,
        "messages": 1,
        "muted": False,
        "muted_until": None,
        "banned": False,
        "banned_until": None,
        "hand": None,
        **more,
    }


def test_who_is_on_and_whose_hands_are_up_is_shown(server: FakeServer) -> None:
    def hand(place: int, text: str) -> dict[str, Any]:
        return {"place": place, "text": text, "since": UNTIL}

    entries = [
        entry("ada", role="teacher", idle_seconds=900),
        entry("ben", muted=True, muted_until=UNTIL, hand=hand(2, "")),
        entry("cleo\x1b", muted=True, banned=True, messages=5, hand=hand(1, "Which port?\n")),
        entry("dave", since=None, address=None, hand=hand(3, "")),
    ]
    server.handlers["get_sessions"] = lambda peer, packet: peer.reply(
        packet,
        "sessions_list",
        {"sessions": entries[1:], "has_more": False}
        if "after" in packet["data"]
        else {"sessions": entries[:1], "has_more": bool(entries[1:])},
    )
    _, text = talk(server, "/sessions", "/hands", lambda: entries.clear(), "/hands", "/sessions")
    when = local_time(UNTIL)
    assert f"  ada (teacher): from 10.0.0.5, since {when}, idle 15 min, 1 message\n" in text
    assert (
        f"  ben: from 10.0.0.5, since {when}, idle 3 s, 1 message, muted until {when}, hand" in text
    )
    assert "5 messages, muted, banned, hand up\n" in text
    rows = text[text.index("* Hands that are up:") :].splitlines()
    assert rows[1:4] == [
        f"  1 cleo\\x1b, since {when}: Which port?\\n",
        f"  2 ben, since {when}",
        f"  3 dave, since {when}, connection lost",
    ]
    assert asked(server, "get_sessions")[2]["offline"] is True
    assert "* No hand is up." in text and "* Who is on (0):" in text


def test_everybody_may_raise_a_hand(server: FakeServer) -> None:
    server.role = "student"
    server.handlers["raise_hand"] = answers("hand_raised", user="ada", text="", place=3)
    server.handlers["lower_hand"] = answers("hand_lowered", user="ben")
    _, text = talk(server, "/hand", "/hand Which port?", "/hand down", "/hand down ben")
    assert "* Your hand is up, place 3 in the queue. /hand down takes it down." in text
    assert "* The hand of ben is down." in text
    assert asked(server, "raise_hand") == [{}, {"text": "Which port?"}]
    assert asked(server, "lower_hand") == [{}, {"user": "ben"}]


def test_the_event_of_an_own_hand_is_not_told_a_second_time(server: FakeServer) -> None:
    server.role = "student"

    def told_first(kind: str) -> Callable[[Peer, Packet], None]:
        def answer(peer: Peer, packet: Packet) -> None:
            peer.send("event", {"type": kind, "chatid": "ada", "text": ""})
            peer.reply(packet, kind, {"user": "ada", "text": "", "place": 1})

        return answer

    for action, kind in (("raise_hand", "hand_raised"), ("lower_hand", "hand_lowered")):
        server.handlers[action] = told_first(kind)
    _, text = talk(server, "/hand", "/hand down", "hello", ["sent 1"])
    assert [row for row in text.splitlines() if "hand" in row and "help" not in row] == [
        "* Your hand is up, place 1 in the queue. /hand down takes it down.",
        "* Your hand is down.",
    ]


def test_an_announcement_is_sent_as_one_and_stands_out_without_colours(server: FakeServer) -> None:
    def tell() -> None:
        server.peers[0].message(9, "Ten minutes left.", announce=True)

    _, text = talk(server, "/announce Stop now.", ["sent 1"], tell, ["minutes left."])
    assert [data.get("announce") for data in asked(server, "send_message")] == [True]
    rows = text.splitlines()
    at = next(number for number, row in enumerate(rows) if "minutes left" in row)
    when = local_time("2024-01-01T12:00:00Z")
    assert rows[at - 1 : at + 1] == [
        f"{when} *** ANNOUNCEMENT ***",
        f"{when} bob: Ten minutes left.",
    ]


@pytest.mark.parametrize("role", ["student", "teacher", ""])
def test_only_a_teacher_sees_a_teachers_commands(server: FakeServer, role: str) -> None:
    server.role = role
    of_teachers = [command.usage for command in COMMANDS.values() if command.group == "Teach"]
    found: list[str] = []
    screen = ScriptedScreen("/help", "/muet", is_terminal=True)
    screen.steps.append(lambda: found.extend(screen.complete("/m")))
    assert client(server, screen).run() == 0
    assert all((usage in screen.text()) == (role == "teacher") for usage in of_teachers)
    assert ("/mute" in found) == ("Is /mute meant?" in screen.text()) == (role == "teacher")


def test_what_is_private_is_told_to_everybody(server: FakeServer) -> None:
    text = talk(server, "/help privacy")[1]
    assert (
        "A teacher can read every room and its files, private ones too; members are told." in text
    )


def test_the_numbers_of_messages_are_shown_where_one_needs_them(server: FakeServer) -> None:
    server.history += [(1, "lobby", "bob", "one"), (2, "lobby", "bob", "two\x1b" + "x" * 99)]
    screen = ScriptedScreen("/ids on", "/history", "own", is_terminal=True)
    found: list[list[str]] = []
    screen.steps += [
        screen.sees("(sent 3)"),
        lambda: found.append(screen.complete("/hide ")),
        lambda: found.append(screen.complete("/show 1")),
    ]
    assert client(server, screen).run() == 0
    assert "#2 bob: two\\x1bx" in screen.text()
    assert found == [["1", "2", "3"], ["1"]]
    shown = [choice.shown for choice in found[0] if isinstance(choice, Choice)]
    assert shown[0] == "1 bob: one" and len(shown[1]) == 60 and shown[2] == "3 ada: own"


def test_no_more_numbers_are_offered_than_are_looked_through() -> None:
    messages = [(number, "bob", "x") for number in range(100, 150)]
    found = completions("/hide 1", Words([], [], [], [], [], messages))
    assert found == [str(number) for number in range(138, 150)]
    assert completions("/readonly o", Words([], [], [], [], [])) == ["off", "on"]


# --- What students are told ---


def event(kind: str, **more: Any) -> Callable[[FakeServer], None]:
    return lambda server: server.peers[0].send("event", {"type": kind, **more})


def test_a_muted_ones_prompt_says_so_and_until_when(server: FakeServer) -> None:
    server.role = "student"
    screen = ScriptedScreen(is_terminal=True)

    def tell(kind: str, **more: Any) -> Callable[[], None]:
        return lambda: server.peers[0].send("event", {"type": kind, **more})

    when = local_time(LATER)
    screen.steps = [
        tell("user_muted", chatid="Ada", until=LATER, reason="Listen."),
        screen.sees(f"* You are muted until {when}: Listen."),
        "hello",
        tell("user_unmuted", chatid="ada"),
        screen.sees("* You are no longer muted."),
        tell("class_paused", until=None, reason=""),
        screen.sees("* The class is paused: only teachers write."),
        "/room",
        tell("class_resumed"),
        screen.sees("* The class goes on"),
        tell("room_set", room_id="lobby", read_only=True, uploads=False),
        screen.sees("* Only teachers write in lobby now. Only teachers send files there."),
        "/room",
        tell("user_muted", chatid="ben", until=None, reason=""),
        screen.sees("* ben is muted."),
    ]
    assert client(server, screen).run() == 0
    prompts = list(dict.fromkeys(screen.asked))
    assert prompts == [
        "[lobby] ",
        f"[lobby, muted until {when}] ",
        "[lobby, paused] ",
        "[lobby, read-only] ",
    ]


def test_a_mute_from_before_is_learned_from_its_refusal(server: FakeServer) -> None:
    server.role = "student"
    server.handlers["send_message"] = lambda peer, packet: peer.refuse(
        packet, "muted", f"a teacher has muted you until {LATER}: why"
    )
    screen = ScriptedScreen("hello", is_terminal=True)
    screen.steps += [screen.sees("Not stored: a teacher has muted you until"), "/room"]
    assert client(server, screen).run() == 0
    assert screen.asked[-1] == f"[lobby, muted until {local_time(LATER)}] "


def test_restrictions_end_by_themselves_and_teachers_have_none(server: FakeServer) -> None:
    now = [0.0]
    kept = Restrictions(lambda: now[0])
    kept.begin("muted", UNTIL)
    kept.begin("paused", "no time")
    assert kept.in_words("lobby").startswith("muted until ")
    now[0] = 1e12
    assert kept.in_words("lobby") == "paused until --:--"
    kept.set_room("m", read_only=True)
    kept.lift("paused")
    assert (kept.in_words("m"), kept.in_words("lobby")) == ("read-only", "")
    kept.forget()
    assert kept.in_words("m") == ""
    screen = ScriptedScreen(is_terminal=True)
    on = client(server, screen)
    on.chat.login("ada", "secret")
    on.display.restrictions.set_room("lobby", read_only=True)
    assert on.display.prompt() == "[lobby] "
    on.chat.close()


@pytest.mark.parametrize("kind", sorted(ACTS))
@pytest.mark.parametrize("is_us", [True, False])
def test_every_act_is_told_in_harmless_words(kind: str, is_us: bool) -> None:
    told = events.ServerEvent(kind, "x\x1b", "m", "n\n", "r\x1b", UNTIL, True, False, 5, "c\n")
    said = in_words(told, "maths", is_us=is_us)
    assert "\x1b" not in said and "\n" not in said
    assert bool(said) == (not is_us or kind not in ("user_kicked", "user_banned"))
    assert in_words(events.ServerEvent(kind, "ben"), "maths", is_us=False)
    assert time_in(f"until {UNTIL}: x") == UNTIL and time_in("until noon") == ""


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("user_kicked", {"chatid": "ada", "reason": "Not your name"}, ": Not your name"),
        ("user_kicked", {"chatid": "ada", "reason": ""}, "."),
        ("session_ended", {"reason": "account_deleted"}, ": your account was deleted"),
    ],
)
def test_who_is_put_out_is_told_and_does_not_come_back(
    kind: str, data: dict[str, Any], words: str
) -> None:
    def ends(peer: Peer) -> None:
        peer.serve(until="get_users")
        peer.send("event", {"type": kind, **data})

    with FakeServer(ends) as fake:
        status, text = talk(fake, "/who", ["Type /login to log in again"], is_terminal=True)
        assert f"* The teacher has ended your session{words}\n" in text
        assert status == 0 and len(fake.peers) == 1, "it came back"
    error = SessionEnded(kind, data["reason"], by_teacher=True)
    assert explain(error)[1].startswith("The teacher has ended your session")


def test_another_ones_kick_ends_nothing_here(server: FakeServer) -> None:
    server.role = "student"

    def kick() -> None:
        server.peers[0].send("event", {"type": "user_kicked", "chatid": "ben", "reason": ""})

    _, text = talk(server, kick, ["ben is put out by a teacher."], "still here", ["* sent 1"])
    assert "ended your session" not in text


def test_who_is_banned_is_told_until_when_and_why(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.handlers["login"] = lambda peer, packet: peer.refuse(
        packet, "banned", f"a teacher has banned you until {UNTIL}: noise"
    )
    status, text = talk(server)
    said = f"The server refused: a teacher has banned you until {local_time(UNTIL)}: noise."
    assert status == 4 and said in text
    with Connection("127.0.0.1", server.port) as chat, pytest.raises(LoginRefused):
        chat.login("ada", "secret")
