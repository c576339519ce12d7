"""Bad inputs 71 to 84: names and texts that are no names, look like others, steer a terminal, or
mean something to a program."""

from __future__ import annotations

import io
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from support import fresh_name
from support.bad_inputs import House, Place, Row, Table, house, play, rows_of
from support.client_fakes import FakeServer
from support.files import Upload
from support.raw_client import RawClient, error_code, letter_frequencies

from client import events
from client.base.text import cells, visible, wrap
from client.connection import Connection
from client.terminal.line_client import LineClient, Options
from client.terminal.plain_screens import PlainScreen

TABLE = Table()
__all__ = ["house"]

TABLE.not_yet[81] = "there is no search: no packet and no command takes a pattern"
TABLE.not_yet[84] = "there is no export to CSV or HTML: the journal is plain text"

STEERING = {
    "clears the screen": "\x1b[2J\x1b[H",
    "sets the title": "\x1b]0;owned\x07",
    "writes the clipboard": "\x1b]52;c;eA==\x07",
    "C1 CSI": "\x9b31m",
    "rings": "\x07",
    "goes back": "abc\x08\x08\x08\rxyz",
    "DEL": "\x7f",
}
BREAKING = {
    "CR": "\r",
    "LF": "\n",
    "CR LF": "\r\n",
    "U+2028": "\u2028",
    "U+2029": "\u2029",
    "U+0085": "\x85",
    "VT": "\x0b",
    "FF": "\x0c",
}
FORGED = "2026-01-01 00:00:00 INFO server  the teacher has logged in"


def is_raw(text: str) -> bool:
    """Whether something in it would steer, hide or break a line."""
    return any(
        unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp", "Cs") for character in text
    )


def registered(client: RawClient, name: str) -> str:
    """What `register` says: the action, or the code where it failed."""
    reply = client.register(name)
    return str(reply.get("code", reply["action"]))


def said_and_heard(place: Place, *contents: str) -> None:
    """A: each content is stored and delivered as it is, counted letter by letter."""
    client, listener = place.user(), place.user()
    room_id = place.private_room(client, listener)
    for content in contents:
        client.say(room_id, content)
        message = listener.receive_message(room_id=room_id)
        assert message["data"]["content"] == content
        assert listener.answer(message)["data"]["confirm"] is True
    history = listener.ask("get_messages", room_id=room_id, after_id=0)["data"]["messages"]
    assert [message["content"] for message in history] == list(contents)


def no_names(place: Place, *texts: str) -> None:
    """E: no account, room, title of a room or file is called so, whoever asks."""
    client = place.user()
    stranger = place.connect()
    for text in texts:
        assert registered(stranger, text) == "bad_packet", repr(text)
        for action, keys in (
            ("create_room", {"participants": [], "room_name": text}),
            ("send_message", {"room_id": text, "content": "x"}),
            ("rename_room", {"room_id": "lobby", "new_room_name": text}),
            (
                "file_send_init",
                {
                    "room_id": text,
                    "file_path": "x",
                    "file_size": 1,
                    "file_type": "x",
                    "total_packets": 1,
                },
            ),
        ):
            reply: dict[str, Any] = client.ask(action, **keys)
            assert error_code(reply) == "bad_packet", f"{action} {text!r}: {reply}"


# --- Names ----------------------------------------------------------------------------------------


@TABLE.row(71, "names that are empty, blank, at the limit, over it, of 60 kB")
def _(place: Place) -> None:
    client = place.connect()
    for name in ("", " ", "   ", "a b", " a", "a ", "x" * 33, "x" * 60_000):
        assert registered(client, name) == "bad_packet", repr(name)[:80]
    assert registered(client, fresh_name().ljust(32, "x")) == "register_success"
    assert registered(client, fresh_name("ü").ljust(32, "ü")) == "register_success"
    user = place.user()
    for room in ("", " ", " a", "a ", "x" * 65, "x" * 60_000):
        assert error_code(user.ask("send_message", room_id=room, content="x")) == "bad_packet"
        assert error_code(user.ask("create_room", participants=[], room_name=room)) == "bad_packet"
    user.say(fresh_name("room").ljust(64, "\U0001f44d"), "of 64 characters")
    assert (
        user.ask("create_room", participants=[], room_name="\U0001f44d" * 64)["action"]
        == "room_created"
    )


@TABLE.row(72, "names that differ by case, by form, by what can't be seen")
def _(place: Place) -> None:
    client, base = place.connect(), fresh_name("Finé")
    assert registered(client, base) == "register_success"
    folded = (
        base.upper(),
        base.swapcase(),
        unicodedata.normalize("NFD", base),
        base.replace("Fi", "\ufb01"),
        base.replace("n", "\uff4e", 1),
    )
    for name in folded:
        assert registered(client, name) == "name_taken", repr(name)
    for name in (
        base + " ",
        base + "\u200b",
        "\u2060" + base,
        base + "\ufe0f",
        base + "\u00ad",
        base + "\U000e0041",
    ):
        assert registered(client, name) == "bad_packet", repr(name)
    # Another script's letter makes another account, where the name is no teacher's (R-TEACH-3).
    assert (
        registered(client, base.replace("e", "\u0435", 1).replace("x", "\u0445", 1))
        == "register_success"
    )
    assert client.login(base.upper())["data"]["chatid"] == base


@TABLE.row(73, "U+FDFA, which grows 18 times when it is folded")
def _(place: Place) -> None:
    client = place.connect()
    for count in (2, 32, 1_000):
        assert registered(client, "\ufdfa" * count) == "bad_packet"


@TABLE.row(74, "names that mean something elsewhere")
def _(place: Place) -> None:
    client = place.connect()
    assert registered(client, "*") == "bad_packet"
    for name in ("server", "admin", "Teacher", "SYSTEM", "ｓｅｒｖｅｒ", "adm\u0131n"):  # R-TEACH-3
        assert registered(client, name) == "name_taken"
    # R-ACC-5 reserves none of these; they are accounts like any other, and never the names of
    # files.
    for name in ("administrator", "..", "-x", "0", "null", "lobby", "systems", "None", "con"):
        assert registered(client, name) == "register_success"
        user = place.connect()
        assert user.login(name)["action"] == "login_success"
        assert user.ask("get_users")["action"] == "users_list"
        assert error_code(user.ask("delete_room", room_id="lobby")) == "forbidden"
        assert Upload(user, "lobby", "notes.txt", b"x").run()
    folder = place.main.process.data_dir
    assert {path.name for path in folder.iterdir()} <= {
        "chat.db",
        "chat.db-wal",
        "chat.db-shm",
        "journal",
        "uploads",
        "lock",
    }
    assert not list(folder.rglob("*admin*"))


# --- What steers ----------------------------------------------------------------------------------


@TABLE.row(75, "control sequences:", STEERING)
def _(place: Place, sequence: str) -> None:
    text = f"x{sequence}y"
    no_names(place, text)
    said_and_heard(place, text)
    client = place.user()
    assert error_code(Upload(client, "lobby", text, b"x").init()) == "bad_packet"
    assert Upload(client, "lobby", fresh_name("file"), b"x").run(file_type=text)
    assert error_code(client.request({"action": text, "data": {}})) == "unknown_action"
    assert client.ask("login", password=text)["action"] == "error"
    assert place.connect().login(text, text)["action"] in ("error", "login_fail")
    assert not is_raw(visible(text))


@TABLE.row(76, "line breaks:", BREAKING)
def _(place: Place, sequence: str) -> None:
    text = f"x{sequence}{FORGED}"
    no_names(place, text, sequence)
    said_and_heard(place, text)
    client = place.user()
    assert error_code(client.request({"action": text[:64], "data": {}})) == "unknown_action"
    place.connect().login(text, "x")
    assert len(visible(text).splitlines()) == 1
    assert not any(line.startswith(FORGED) for line in place.main.process.log().split("\n"))


@TABLE.row(77, "overrides, isolates, joiners, 1,000 combining marks")
def _(place: Place) -> None:
    texts = ("\u202eexe.txt", "\u2066\u2067a\u2069", "a\u200d" * 40, "\u200f\u200e", "\u061ca")
    no_names(place, *(text[:30] for text in texts))
    marks = "Z" + "\u0301\u0327\u035f" * 333
    said_and_heard(place, *texts, marks, "\U0001f469\u200d\U0001f4bb")
    assert registered(place.connect(), "a" + "\u0301" * 40) == "bad_packet"
    for text in texts:
        assert not is_raw(visible(text).replace("\u200d", "")), (
            "only a joiner between emojis may stay"
        )
        assert all(cells(row) <= 40 for row in wrap(visible(text), 40)[1:]), (
            "other lines keep their place"
        )
    assert len(wrap(visible(marks), 40)) >= 1


@TABLE.row(78, "a text that looks like one of the client's own lines")
def _(place: Place) -> None:
    own = "* bob is on."
    said_and_heard(place, own, "\n" + own, "\r" + own)
    shown: list[str] = []

    class Screen(PlainScreen):
        def show(self, text: str, key: str = "", settled: str = "") -> None:
            shown.append(text)

    with FakeServer() as fake:
        chat = Connection("127.0.0.1", fake.port, pauses=(0.01,), timeout=1.0)
        client = LineClient(
            chat,
            Screen(io.StringIO(), io.StringIO()),
            Options(user="ada", password="secret", room="lobby"),
        )
        for content in (own, "\n" + own, "\r" + own, "\x1b[1G" + own, "\u2028" + own):
            client.show_message(events.Message("lobby", "eve", content, "2024-01-01T12:00:00Z", 1))
        chat.close()
    assert len(shown) == 5
    for line in shown:
        assert "\n" not in line and re.match(r"\d\d:\d\d |\d{4}-\d\d-\d\d ", line), line


# --- What means something to a program ------------------------------------------------------------


FORMATS = (
    "%s %n %d",
    "{0} {self.__class__}",
    "%(message)s",
    "${HOME} $(id) `id`",
    "{}",
    "%",
    "\\x1b[2J \\u202e",
)
SQL = (
    "'; DROP TABLE messages;--",
    '" OR 1=1 --',
    "%",
    "_",
    "a%b_c",
    "'' OR ''",
    "x') UNION SELECT 1--",
    "\\",
)


def used_everywhere(place: Place, texts: tuple[str, ...]) -> None:
    """A: literal wherever a text may stand."""
    said_and_heard(place, *texts)
    for text in texts:
        client, room_id = place.user(), f"{fresh_name('room')} {text}"
        client.say(room_id, text, transaction_id=text)
        assert (
            error_code(
                client.ask("send_message", room_id="lobby", content="other", transaction_id=text)
            )
            == "transaction_mismatch"
        )
        name = f"{text.strip()} a.txt".replace("\\", "").replace("/", "")
        assert Upload(client, room_id, name, b"x").run(file_type=text)["stored_as"] == name
        listed = client.ask("file_list_req", room_id=room_id)["data"]
        assert listed["file_list"] == name and listed["files"][0]["file_type"] == text
        assert client.ask("file_list_req", room_id=room_id, after=text)["status"] in (
            "success",
            "error",
        )
        assert room_id in [
            room["id"] for room in client.ask("get_rooms", limit=1000)["data"]["rooms"]
        ]
        assert client.ask("get_users", after=text)["action"] == "users_list"
        made = client.ask("create_room", participants=[], room_name=text)["data"]["room_id"]
        assert client.ask("get_room_users", room_id=made)["data"]["room_name"] == text
        assert error_code(client.ask("get_messages", room_id="lobby", from_time=text)) == "bad_time"
        assert client.request({"action": text, "data": {}})["original_action"] == text
        assert place.connect().login(client.chatid, text)["action"] == "login_fail"


@TABLE.row(79, "format strings", {"": FORMATS})
def _(place: Place, texts: tuple[str, ...]) -> None:
    used_everywhere(place, texts)


@TABLE.row(80, "SQL and its wildcards", {"": SQL})
def _(place: Place, texts: tuple[str, ...]) -> None:
    used_everywhere(place, texts)
    assert rows_of(place.main.process.data_dir, "SELECT count(*) > 0 FROM messages") == [(1,)]
    alice = place.user()
    for wildcard in ("%", "_", "*"):
        assert place.connect().login(alice.chatid[:-1] + wildcard)["action"] in (
            "login_fail",
            "error",
        )
        assert (
            error_code(alice.ask("file_down_req", room_id="lobby", file_path=wildcard))
            == "file_not_found"
        )


# --- Content --------------------------------------------------------------------------------------


@TABLE.row(82, "a text at the limit and over it, in one and in four bytes a letter")
def _(place: Place) -> None:
    client, listener = place.user(), place.user()
    room_id = place.private_room(client, listener)
    most = 16_384  # R-MSG-13: bytes of UTF-8
    for letter in ("a", "\u00e9", "\u20ac", "\U0001f44d"):
        count = most // len(letter.encode())
        fill = "a" * (most - count * len(letter.encode()))
        client.say(room_id, letter * count + fill)
        assert len(listener.receive_message()["data"]["content"].encode()) == most
        over = client.ask("send_message", room_id=room_id, content=letter * count + fill + "a")
        assert error_code(over) == "bad_packet" and "content" in over["message"]
    assert (
        error_code(client.ask("send_message", room_id=room_id, content="\U0001f44d" * most))
        == "bad_packet"
    )
    varied = "".join(chr(number) for number in range(0x10000, 0x10000 + 4096))
    counted = client.propose(room_id, varied)
    assert counted["data"]["letter_frequencies"] == letter_frequencies(varied)


@TABLE.row(83, "an empty message, one of blanks")
def _(place: Place) -> None:
    client = place.user()
    assert error_code(client.ask("send_message", room_id="lobby", content="")) == "bad_packet"
    said_and_heard(place, " ", "\n", "\t \u3000", "\u200b")  # R-MSG-13: blanks are content


@pytest.mark.parametrize("row", TABLE.parameters())
def test_bad_input(row: Row, house: House, tmp_path: Path) -> None:
    play(row, house, tmp_path)
