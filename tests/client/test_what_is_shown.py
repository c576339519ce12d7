"""What others wrote never drives or deceives who reads: not the server's log, not the client's
screen."""

from __future__ import annotations

import io
import re
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator

import pytest
from support import fresh_name
from support.client_fakes import FakeServer
from support.files import Upload
from support.patience import patience
from support.raw_client import RawClient, error_code
from support.server_process import ServerProcess

from client import events
from client.base.text import cells, local_file_name, visible, wrap
from client.connection import Connection
from client.errors import ChatError
from client.terminal.line_client import LineClient, Options
from client.terminal.plain_screens import PlainScreen

SERVER_OPTIONS = ("--rate-limit", "0", "--login-failures", "0", "--log-level", "debug")

LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?: DEBUG| WARNING| ERROR)?  .*")
FORGED = "2026-01-01 00:00:00  the teacher has logged in"
OTHER_LINE_ENDS = ("\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029")


def between(*ranges: tuple[int, int]) -> list[str]:
    return [chr(number) for first, last in ranges for number in range(first, last + 1)]


CONTROLS = between((0x01, 0x1F), (0x7F, 0x9F))
LINE_BREAKS = ["\u2028", "\u2029"]
BIDI = between((0x061C, 0x061C), (0x200E, 0x200F), (0x202A, 0x202E), (0x2066, 0x2069))
INVISIBLE = between(
    (0x00AD, 0x00AD),
    (0x034F, 0x034F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180E, 0x180E),
    (0x200B, 0x200D),
    (0x2060, 0x2064),
    (0x3164, 0x3164),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF9, 0xFFFB),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0001, 0xE0001),
    (0xE0020, 0xE007F),
)
"""Unicode 15, DerivedCoreProperties.txt: Default_Ignorable_Code_Point, without VARIANTS and what is
unassigned."""
VARIANTS = between((0x180B, 0x180D), (0x180F, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
"""Variation selectors: they belong behind an emoji, a CJK or a Mongolian letter, and behind a Latin
one are not seen."""
BAD = [*CONTROLS, *LINE_BREAKS, *BIDI, *INVISIBLE]

SEQUENCES = {
    "clears the screen": "\x1b[2J\x1b[H",
    "sets the title": "\x1b]0;owned\x07",
    "links (OSC 8)": "\x1b]8;;http://x\x1b\\here\x1b]8;;\x1b\\",
    "writes the clipboard (OSC 52)": "\x1b]52;c;eA==\x07",
    "asks for an answer": "\x1b[6n\x1bP$qm\x1b\\",
    "C1": "\x9b31m\x9d0;x\x9c\x90x\x9c",
    "goes back": "abc\rxyz\x08\x08",
    "reverses": "\u202eexe.txt\u202c",
    "isolates": "\u2066\u2067\u2068x\u2069",
    "breaks the line": "x\n" + FORGED,
    "breaks it otherwise": "x" + "".join(end + FORGED for end in OTHER_LINE_ENDS),
    "rings": "\x07",
    "hides": "ad\u200bm\u2060i\ufeffn",
    "tags": "x\U000e0041\U000e007f",
    "shifts": "\x0e\x0f",
    "keyboard": "\x1b[?1049h\x1b[>4;2m\x1bc",
}


def bad_in(text: str) -> set[str]:
    return {f"U+{ord(character):04X}" for character in set(text) & {*BAD, *VARIANTS}}


# --- The server's log -----------------------------------------------------------------------------


def log_lines(server: ServerProcess, client: RawClient) -> list[str]:
    """The log, after a last line of our own has come out of it."""
    name = fresh_name("last")
    client.register(name)
    deadline = time.monotonic() + patience(10)
    while name not in server.log():
        assert time.monotonic() < deadline, "the log does not come"
        time.sleep(0.005)
    return server.log().split("\n")


def assert_clean(lines: list[str]) -> None:
    for line in lines:
        assert LOG_LINE.fullmatch(line), f"no line of a log: {line!r}"
        assert not bad_in(line), f"{bad_in(line)} in {line!r}"
        assert not line.startswith(FORGED)


def everywhere(client: RawClient, foreign: str) -> None:
    """Put a text wherever a packet takes one, valid there or not."""
    chatid = client.chatid
    client.request({"action": "login", "data": {"chatid": foreign[:32], "password": foreign}})
    client.request({"action": "register", "data": {"chatid": foreign[:32], "password": foreign}})
    client.request({"action": foreign, "data": {}})
    for action in (
        "get_messages",
        "join_room",
        "leave_room",
        "delete_room",
        "get_room_users",
        "file_list_req",
    ):
        client.ask(action, room_id=foreign, after_id=0)
    client.ask("create_room", participants=[foreign[:32]], room_name=foreign)
    client.ask("create_room", participants=[], room_name=foreign)
    client.ask("add_user_to_room", room_id="lobby", user_to_add=foreign[:32])
    client.ask("send_message", room_id=foreign, content=foreign, transaction_id=foreign[:64])
    client.request(
        {"action": "confirm_count", "data": {"transaction_id": foreign[:64], "confirm": True}}
    )
    counted = client.ask("send_message", room_id="lobby", content=f"said {foreign}")
    client.confirm(counted["data"]["transaction_id"])
    for name in (foreign, f"file {foreign}.txt"):
        upload = Upload(client, "lobby", name, b"x")
        if upload.init(file_type=foreign)["action"] == "file_send_init":
            upload.send_all()
            assert upload.fin()["action"] == "file_send_fin"
        client.ask("file_down_req", room_id="lobby", file_path=name)
    client.request({"action": "logout", "data": {"chatid": chatid}})
    for secret in ({"password": foreign[:128]}, {"session_key": foreign}):
        client.request({"action": "login", "data": {"chatid": foreign[:32], **secret}})


@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES.keys())
def test_nothing_that_a_packet_holds_reaches_the_log_raw(
    server: ServerProcess,
    client_factory: Callable[..., RawClient],
    user: Callable[..., RawClient],
    sequence: str,
) -> None:
    before = len(server.log().split("\n"))
    everywhere(user(), sequence)
    lines = log_lines(server, client_factory())
    assert_clean(lines)
    assert len(lines) > before
    assert not [line for line in lines if "said " in line], "messages are nobody's business"


def test_no_character_of_a_name_reaches_the_log_raw(
    server: ServerProcess, client_factory: Callable[..., RawClient]
) -> None:
    client = client_factory()
    for character in (*BAD, *VARIANTS):
        name = f"x{character}y{fresh_name('')}"
        assert (
            client.request({"action": "login", "data": {"chatid": name, "password": "x"}})["action"]
            == "login_fail"
        )
    lines = log_lines(server, client)
    assert_clean(lines)
    refused = [line for line in lines if "login refused" in line]
    assert len(refused) >= len(BAD) + len(VARIANTS)


def test_no_character_of_a_file_name_reaches_the_log_raw(
    server: ServerProcess, user: Callable[..., RawClient], client_factory: Callable[..., RawClient]
) -> None:
    client, refused = user(), 0
    for character in BAD:
        upload = Upload(client, "lobby", f"x{character}y", b"")
        begun = upload.init()
        if begun["action"] == "error":
            assert error_code(begun) == "bad_packet"
            assert unicodedata.category(character) in ("Cc", "Zl", "Zp"), (
                "R-FILE-17 refuses control characters"
            )
            refused += 1
        else:
            assert upload.fin()["status"] == "success"
    assert refused == len(CONTROLS) + len(LINE_BREAKS)
    assert_clean(log_lines(server, client_factory()))


def test_no_account_has_a_name_that_steers_or_breaks_a_line(
    client_factory: Callable[..., RawClient],
) -> None:
    client = client_factory()
    for character in [
        *CONTROLS,
        *LINE_BREAKS,
        *BIDI,
        "\u200b",
        "\u200c",
        "\u200d",
        "\u2060",
        "\ufeff",
        "\u00ad",
        " ",
        "\u00a0",
        "\u3000",
        "*",
        ":",
        "[",
        "/",
    ]:
        for name in (f"a{character}b", f"{character}ab", f"ab{character}", character):
            assert error_code(client.register(name)) == "bad_packet", f"{name!r}"


def test_no_room_has_a_name_that_steers_or_breaks_a_line(user: Callable[..., RawClient]) -> None:
    client = user()
    for character in [
        *CONTROLS,
        *LINE_BREAKS,
        *BIDI,
        "\u200b",
        "\u200c",
        "\u200d",
        "\u2060",
        "\ufeff",
        "\u00ad",
    ]:
        name = f"a{character}b"
        assert (
            error_code(client.ask("create_room", participants=[], room_name=name)) == "bad_packet"
        ), f"{name!r}"
        assert error_code(client.ask("send_message", room_id=name, content="x")) == "bad_packet", (
            f"{name!r}"
        )


# --- The client's screen --------------------------------------------------------------------------


KINDS = pytest.mark.parametrize(
    "kind", [pytest.param(BAD, id="bad"), pytest.param(VARIANTS, id="variants")]
)


@KINDS
def test_every_character_that_steers_or_hides_is_made_visible(kind: list[str]) -> None:
    raw = [
        f"U+{ord(character):04X}"
        for character in kind
        for text in (f"an{character}na", character, f"a{character}")
        if character in visible(text)
    ]
    assert not raw, f"shown raw: {sorted(set(raw))}"


@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES.keys())
def test_every_sequence_is_one_visible_line(sequence: str) -> None:
    shown = visible(f"before {sequence} after")
    assert not bad_in(shown)
    assert len(shown.splitlines()) == 1
    assert visible(shown) == shown


def test_lone_surrogates_can_be_written_to_a_terminal() -> None:
    visible("a\ud800b\udfff").encode("utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "Grüße",
        "नमस्ते",
        "ไทย",
        "می\u200cخواهم",
        "👩\u200d👩\u200d👧",
        "👍🏽",
        "❤\ufe0f",
        "e\u0301",
        "日本語",
        "<>&\"'%{}\\",
    ],
)
def test_honest_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


EMOJI_OF_OTHER_CATEGORIES = "‼⁉ℹ↔◻◼◽◾⤴⤵〰〽"
"""Those of Unicode's emoji-variation-sequences.txt that are no symbols by their category."""
FLAG_OF_WALES = "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in "gbwls\x7f")


@pytest.mark.parametrize(
    "text",
    [
        *(emoji + "\ufe0f" for emoji in EMOJI_OF_OTHER_CATEGORIES),
        "🙂\u200d↔\ufe0f",
        "🏳\ufe0f\u200d🌈",
        "👁\ufe0f\u200d🗨\ufe0f",
        "1\ufe0f\u20e3",
        "⛹🏽\u200d♀\ufe0f",
        FLAG_OF_WALES,
    ],
)
def test_every_standard_emoji_is_shown_and_kept_in_names_of_files(text: str) -> None:
    assert visible(text) == text
    assert local_file_name(f"a {text}.txt") == f"a {text}.txt"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\ufe0f", "\\ufe0f"),
        ("❤\ufe0f\ufe0f", "❤\ufe0f\\ufe0f"),
        ("\u200d👧", "\\u200d👧"),
        ("👩\u200d", "👩\\u200d"),
        ("👩\u200d\u200d👧", "👩\\u200d\\u200d👧"),
        (FLAG_OF_WALES[:-1], "\U0001f3f4" + "".join(f"\\U000e00{ord(c):02x}" for c in "gbwls")),
    ],
)
def test_lone_joiners_selectors_and_tags_are_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_name_that_is_cut_does_not_end_with_a_joiner() -> None:
    family = "👩\u200d"
    for padding in range(8):
        assert not local_file_name("x" * padding + family * 60).endswith("\u200d")


def test_no_two_names_of_accounts_are_shown_alike(client_factory: Callable[..., RawClient]) -> None:
    client, alike = client_factory(), []
    for character in (*BAD, *VARIANTS[:24]):
        name = f"{fresh_name('anna')}{character}"
        if client.register(name)["action"] == "register_success" and character in visible(name):
            alike.append(f"U+{ord(character):04X}")
    assert not alike, f"an account's name may end in what the client does not show: {alike}"


@KINDS
def test_a_file_is_kept_under_a_name_without_it(kind: list[str]) -> None:
    for character in kind:
        name = local_file_name(f"in{character}voice.txt")
        assert character not in name, f"U+{ord(character):04X}"
        assert "/" not in name and "\\" not in name


def test_no_row_of_a_wrapped_chat_line_begins_like_another_line() -> None:
    for columns in (20, 40, 79):
        for padding in range(120):
            line = (
                "12:00 eve: "
                + "x" * padding
                + " * The server is closing. 12:01 teacher: go home "
                + "字" * 30
            )
            first, *others = wrap(visible(line), columns)
            assert first.startswith("12:00 eve:")
            assert all(row.startswith("    ") and cells(row) <= columns for row in others)
            assert cells(first) <= columns


# --- The line client as a whole -------------------------------------------------------------------


class Shown(PlainScreen):
    """A screen that keeps each thing that is shown to it."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        super().__init__(io.StringIO(), io.StringIO())

    def show(self, text: str, key: str = "", settled: str = "") -> None:
        self.shown.append(text)


@pytest.fixture
def window() -> Iterator[tuple[LineClient, Shown]]:
    with FakeServer() as fake:
        screen = Shown()
        chat = Connection("127.0.0.1", fake.port, pauses=(0.01,), timeout=1.0)
        yield LineClient(chat, screen, Options(user="ada", password="secret", room="lobby")), screen


def every_event(foreign: str) -> list[events.Event]:
    """One of each kind, with the foreign text in each of its fields."""
    message = events.Message(foreign, foreign, foreign, foreign, 1)
    own = [
        events.OwnMessage("t", "lobby", foreign, events.State.REFUSED, error=ChatError(foreign)),
        events.OwnMessage("t", "lobby", foreign, events.State.STORED, 1, foreign),
    ]
    kinds = (
        "user_online",
        "user_offline",
        "room_created",
        "room_renamed",
        "room_deleted",
        "user_added",
        "user_removed",
        "typing",
        "server_closing",
    )
    told = [events.ServerEvent(kind, foreign, foreign, foreign) for kind in (*kinds, foreign)]
    return [
        message,
        events.Message("lobby", foreign, foreign, foreign, None, True, True),
        events.CountsDisagreed(message),
        events.FileShared(foreign, foreign, foreign, 1, foreign, foreign),
        *own,
        events.Disconnected(foreign, 1, 1.0),
        events.Disconnected(foreign, 2, 1.0),
        events.Reconnected(3),
        events.LoggedOut(foreign),
        *told,
        events.EventsDropped(1),
        events.ProtocolViolation(foreign),
        events.CatchUpFailed(foreign),
    ]


@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES.keys())
def test_no_event_reaches_the_screen_raw(window: tuple[LineClient, Shown], sequence: str) -> None:
    client, screen = window
    for event in every_event(f"x{sequence}\n* The server is closing.\n12:00 teacher: go home"):
        client.display._SHOW[type(event)](client.display, event)
    assert len(screen.shown) > 15
    for text in screen.shown:
        for row in text.split("\n"):
            assert not bad_in(row), f"{bad_in(row)} in {row!r}"
            assert len(row.splitlines()) == 1, row
            assert not row.startswith(("* The server is closing.\x20", "12:00 teacher"))


def test_where_no_line_can_be_replaced_only_a_message_that_waits_is_told(
    window: tuple[LineClient, Shown],
) -> None:
    client, screen = window  # not connected
    for state in (events.State.SENDING, events.State.COUNTS_AGREE, events.State.STORED):
        client.display._on_own(events.OwnMessage("t", "lobby", "hello", state, 5))
    waits = "* sending; the connection is down, it goes out when that is back"
    assert screen.shown == [waits, "* sent 5"]


def test_a_chat_line_cannot_look_like_a_line_of_the_clients_own(
    window: tuple[LineClient, Shown],
) -> None:
    client, screen = window
    system = "* You are logged out: your password was changed"
    for content in (
        system,
        "\n" + system,
        "\r" + system,
        "\x1b[1G" + system,
        "\u2028" + system,
        "\x08" * 99 + system,
        "\x85" + system,
    ):
        for sender in ("eve", "*", "* ", "\n* eve", "\u202e*"):
            for room_id in ("lobby", "other", "* other", "\n* other"):
                screen.shown.clear()
                client.show_message(
                    events.Message(room_id, sender, content, "2024-01-01T12:00:00Z", 1)
                )
                client.show_message(events.Message(room_id, sender, content, "* no time", 1))
                assert len(screen.shown) == 2
                for text in screen.shown:
                    assert "\n" not in text
                    assert re.match(r"\d\d:\d\d |\d{4}-\d\d-\d\d \d\d:\d\d |--:-- ", text), text


def test_names_that_tab_completes_do_not_reach_the_terminal_raw(
    window: tuple[LineClient, Shown],
) -> None:
    client, _screen = window
    for sequence in SEQUENCES.values():
        for event in every_event(f"x{sequence}"):
            client.display._SHOW[type(event)](client.display, event)
    typed = ("", "@", "/", "/room ", "/msg ", "/get ")
    raw = [word for before in typed for word in client._complete(before) if bad_in(word)]
    assert not raw, f"completed raw: {raw[:3]}"


@pytest.fixture
def threads_before() -> set[threading.Thread]:
    """The threads before the test's client is made; those of other tests' clients may be among
    them."""
    return set(threading.enumerate())


def test_no_thread_of_a_client_is_left(
    threads_before: set[threading.Thread], window: tuple[LineClient, Shown]
) -> None:
    client, _screen = window
    client.chat.close()
    deadline = time.monotonic() + patience(10)
    while left := [
        thread.name
        for thread in set(threading.enumerate()) - threads_before
        if thread.name.startswith("chat-")
    ]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)
