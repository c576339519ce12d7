"""The commands for scripts: what each prints as text and as JSON, where, and with which exit
status."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone, tzinfo
from pathlib import Path
from typing import Any

import pytest
from support import fresh_name
from support.client_fakes import FakeServer, Packet, Peer
from support.ending import OWN_CONSOLE, press_ctrl_c
from support.patience import patience
from support.raw_client import RawClient
from support.scripts_in_process import Result, alone, call
from support.seed import some_bytes
from support.server_process import ServerProcess

import incoming_text
from client.command_line.options import COMMANDS, parse
from client.scripts import commands as scripts
from client.scripts import script_options
from client.scripts.script_options import WrongUse, moment

__all__ = [
    "alone"  # a fixture of all tests here, which pytest finds by its name in this module
]

ROOT = Path(__file__).resolve().parents[2]
SECONDS = patience(20.0)
SERVER_OPTIONS = ("--rate-limit", "0", "--login-failures", "0")


def start(*words: str, **options: Any) -> subprocess.Popen[bytes]:
    """The program as a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "chat_client.py"), *words],
        **{
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "creationflags": OWN_CONSOLE,
            **options,
        },
    )


def line_of(process: subprocess.Popen[bytes], stream: str, words: str) -> str:
    """The next line of a stream that holds these words."""
    guard = threading.Timer(SECONDS, process.kill)
    guard.start()
    try:
        for line in getattr(process, stream):
            if words in line.decode():
                return str(line.decode())
    finally:
        guard.cancel()
    raise AssertionError(f"{words!r} did not come")


@contextlib.contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class User:
    """A registered name, and the program run under it."""

    def __init__(self, port: int, name: str) -> None:
        self.port, self.name = port, name

    def words(self, *words: str) -> list[str]:
        return [f"127.0.0.1:{self.port}", "-u", self.name, "--password-file", "secret", *words]

    def does(self, *words: str, typed: bytes = b"") -> Result:
        return call(*self.words(*words), typed=typed)


@pytest.fixture
def ada(server: ServerProcess) -> User:
    name = fresh_name("ada")
    with contextlib.closing(RawClient(server.port)) as client:
        assert client.register(name, "secret")["action"] == "register_success"
    return User(server.port, name)


# --- send, history, tail --------------------------------------------------------------------------


def test_send_says_when_it_is_stored(ada: User, room: str) -> None:
    result = ada.does("send", room, "Hello", "there", "--new-room")
    assert (result.status, result.err) == (0, "")
    assert re.fullmatch(r"stored as message \d+: sent, counts agree, stored\n", result.out)
    item = ada.does("send", room, "Grüße 🙂", "--json").items()[0]
    assert item == {
        "type": "stored",
        "room_id": room,
        "message_id": item["message_id"],
        "timestamp": item["timestamp"],
        "content": "Grüße 🙂",
    }
    assert datetime.fromisoformat(item["timestamp"].replace("Z", "+00:00"))
    assert [line.split(": ", 1)[1] for line in ada.does("history", room).out.splitlines()] == [
        "Hello there",
        "Grüße 🙂",
    ]


@pytest.mark.parametrize(
    ("typed", "options", "expected"),
    [
        ("two\nlines\n", (), ["two\nlines"]),
        ("two\n\nlines\r\n", ("--lines",), ["two", "lines"]),
        ("\ufeffmark\n", (), ["mark"]),
        ("no end", (), ["no end"]),
    ],
)
def test_send_takes_text_from_standard_input(
    ada: User, room: str, typed: str, options: tuple[str, ...], expected: list[str]
) -> None:
    result = ada.does("send", room, "-", "--new-room", "--json", *options, typed=typed.encode())
    assert result.status == 0, result.err
    assert [item["content"] for item in result.items()] == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_password_and_text_are_read_from_every_windows_pipe_and_file(
    ada: User, room: str, encoding: str
) -> None:
    Path("secret").write_bytes(" secret \r\n".encode(encoding))
    result = ada.does(
        *("send", room, "-", "--new-room", "--json"), typed="Grüße\r\nß\r\n".encode(encoding)
    )
    assert result.status == 0, result.err
    assert [item["content"] for item in result.items()] == ["Grüße\nß"]
    typed = "\u00a0secret\r\nund dann\r\n".encode(encoding)
    words = ["send", room, "-", "--json", "--password-file", "-"]
    again = call(f"127.0.0.1:{ada.port}", "-u", ada.name, *words, typed=typed)
    assert again.status == 0, again.err
    assert again.items()[0]["content"] == "und dann"


def test_password_and_text_may_both_come_from_standard_input(ada: User) -> None:
    result = call(
        f"127.0.0.1:{ada.port}",
        "-u",
        ada.name,
        "--password-file",
        "-",
        "send",
        "lobby",
        "-",
        "--json",
        typed=b"secret\nand the text\n",
    )
    assert result.status == 0, result.err
    assert result.items()[0]["content"] == "and the text"


@pytest.mark.parametrize(
    ("words", "typed", "said"),
    [
        (("-",), b"", "no text"),
        (("",), b"", "no text"),
        (("-",), b"nul\0", "NUL"),
        (("-",), b"\xff\xfe\xfa", "UTF-8"),
        (("a\udcffb",), b"", "UTF-8"),
    ],
)
def test_what_can_not_be_sent_is_wrong_use_and_nothing_is_connected(
    words: tuple[str, ...], typed: bytes, said: str
) -> None:
    result = call(
        "127.0.0.1:1",
        "-u",
        "ada",
        "--password-file",
        "secret",
        "send",
        "lobby",
        *words,
        typed=typed,
    )
    assert (result.status, result.out) == (2, "")
    assert said in result.err


def test_a_mistyped_room_is_not_made(ada: User) -> None:
    for words in (
        ("send", "loby", "x"),
        ("history", "loby"),
        ("tail", "loby"),
        ("put", "loby", "secret"),
        ("get", "loby", "x"),
        ("who", "loby"),
    ):
        result = ada.does(*words)
        assert (result.status, result.out) == (1, "")
        assert "There is no room called loby" in result.err and "lobby" in result.err


def test_rooms_are_named_by_id_or_name(ada: User, server: ServerProcess) -> None:
    with contextlib.closing(RawClient(server.port)) as client:
        client.login(ada.name, "secret")
        name = fresh_name("Tides")
        room_id = client.ask("create_room", room_name=name, participants=[])["data"]["room_id"]
        for _ in range(2):
            client.ask("create_room", room_name=name + "2", participants=[])
    assert ada.does("send", name.lower(), "by name", "--json").items()[0]["room_id"] == room_id
    assert ada.does("send", room_id, "by id").status == 0
    twice = ada.does("send", name + "2", "x")
    assert twice.status == 1 and "2 rooms are called" in twice.err
    item = next(item for item in ada.does("rooms", "--json").items() if item["room_id"] == room_id)
    assert item == {
        "type": "room",
        "room_id": room_id,
        "name": name,
        "owner": ada.name,
        "private": True,
        "members": 1,
        "unread": 0,
        "last_message_id": item["last_message_id"],
    }
    assert f"{name}\tprivate\t0 unread\t1 member\t{room_id}\n" in ada.does("rooms").out
    assert re.search(r"^lobby\topen\t", ada.does("rooms").out, re.MULTILINE)


def test_history_is_the_newest_oldest_first(ada: User, room: str) -> None:
    lines = "\n".join(f"line {number}" for number in range(30))
    assert ada.does("send", room, "-", "--lines", "--new-room", typed=lines.encode()).status == 0

    def contents(*words: str) -> list[str]:
        return [item["content"] for item in ada.does("history", room, "--json", *words).items()]

    assert contents() == [f"line {number}" for number in range(10, 30)]
    assert contents("-n", "3") == ["line 27", "line 28", "line 29"]
    assert contents("-n", "1000") == [f"line {number}" for number in range(30)]
    assert contents("-n", "0") == []
    assert contents("--since", "5m") == [f"line {number}" for number in range(30)]
    assert contents("--since", "5m", "-n", "2") == ["line 28", "line 29"]
    assert contents("--since", "2099-01-01") == []
    first = ada.does("history", room, "--json").items()[0]
    assert {*first} == {"type", "room_id", "message_id", "sender_chatid", "content", "timestamp"}


def test_long_histories_come_in_pages(
    ada: User, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "PAGE", 4)
    ada.does("send", room, "-", "--lines", "--new-room", typed=b"a\nb\nc\nd\ne\nf\ng\nh\ni\n")
    for words in (("-n", "9"), ("--since", "1h")):
        assert (
            "".join(item["content"] for item in ada.does("history", room, "--json", *words).items())
            == "abcdefghi"
        )


def test_foreign_text_drives_no_terminal(ada: User, room: str) -> None:
    ada.does(
        "send",
        room,
        "-",
        "--new-room",
        typed="\x1b[2J\u202egnp\n2026-01-01 00:00:00 teacher: go".encode(),
    )
    shown = ada.does("history", room).out
    assert shown.count("\n") == 1 and "\\x1b[2J" in shown and "\\u202e" in shown
    assert ada.does("history", room, "--json").out.isascii()


def test_tail_shows_what_comes_until_ctrl_c(
    ada: User, room: str, user: Callable[..., RawClient]
) -> None:
    bob = user()
    bob.say(room, "before")
    with ending(start(*ada.words("tail", room, "-n", "1", "--json"))) as process:
        assert json.loads(line_of(process, "stdout", "before"))["type"] == "message"
        line_of(process, "stderr", "Listening")
        bob.say(room, "after")
        bob.say("lobby", "elsewhere")
        bob.say(room, "then")
        assert json.loads(line_of(process, "stdout", "{"))["content"] == "after"
        assert json.loads(line_of(process, "stdout", "{"))["content"] == "then"
        press_ctrl_c(process)
        _, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 130, errors
        assert b"Traceback" not in errors
    assert ada.does("who").status == 0, "the place is free again"


def test_a_reader_that_goes_ends_it_quietly(
    ada: User, room: str, user: Callable[..., RawClient]
) -> None:
    bob = user()
    bob.say(room, "first")
    with ending(start(*ada.words("tail", room, "-n", "1"))) as process:
        line_of(process, "stdout", "first")
        line_of(process, "stderr", "Listening")
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        process.stdout = None  # on Windows Popen would read it all the same
        bob.say(room, "second")
        assert process.stderr.read() == b""
        assert process.wait(SECONDS) == 1


def test_tail_goes_on_after_a_lost_connection() -> None:
    def first(peer: Peer) -> None:
        peer.answer(peer.serve(until="join_room"))
        peer.message(1, "before")

    def second(peer: Peer) -> None:
        peer.answer(peer.serve(until="login"))
        peer.message(2, "after")
        peer.serve()

    with (
        FakeServer(first, second) as fake,
        ending(start(*User(fake.port, "ada").words("tail", "lobby"))) as process,
    ):
        line_of(process, "stdout", "bob: before")
        line_of(process, "stderr", "The connection is lost")
        line_of(process, "stdout", "bob: after")
        press_ctrl_c(process)
        process.communicate(timeout=SECONDS)
        assert process.returncode == 130


def test_tail_gives_up_where_a_time_is_named() -> None:
    fake = FakeServer(lambda peer: peer.answer(peer.serve(until="join_room")), lambda peer: None)
    named = f"{patience(2.0):g}"  # connecting and the login take of it, too
    with (
        fake,
        ending(
            start(*User(fake.port, "ada").words("tail", "lobby", "--timeout", named))
        ) as process,
    ):
        line_of(process, "stderr", "Listening")
        line_of(process, "stderr", f"did not come back within {named} seconds")
        assert process.wait(SECONDS) == 3


# --- put, get -------------------------------------------------------------------------------------


def test_a_file_goes_there_and_comes_back(ada: User, room: str) -> None:
    content = some_bytes(150_000)
    digest = hashlib.sha256(content).hexdigest()
    Path("tides.bin").write_bytes(content)
    item = ada.does("put", room, "tides.bin", "--new-room", "--json").items()[0]
    assert item == {
        "type": "file",
        "room_id": room,
        "file_path": "tides.bin",
        "file_size": 150_000,
        "sha256": digest,
    }
    fetched = ada.does("get", room, "tides.bin", "--json")
    assert fetched.items() == [{**item, "saved_as": "tides (2).bin"}], "nothing is overwritten"
    named = ada.does("get", room, "tides.bin", "-o", "other.bin")
    assert named.status == 0 and "other.bin" in named.out and digest in named.out
    for name in ("tides (2).bin", "other.bin"):
        assert Path(name).read_bytes() == content
    again = ada.does("get", room, "tides.bin", "-o", "other.bin")
    assert (again.status, again.out) == (1, "") and "nothing is ever overwritten" in again.err
    process = start(*ada.words("get", room, "tides.bin", "-o", "-"))
    out, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, errors) == (0, b"") and out == content
    assert sorted(path.name for path in Path().iterdir()) == [
        "other.bin",
        "secret",
        "tides (2).bin",
        "tides.bin",
    ], "nothing half is left"


def test_a_file_goes_into_a_folder_a_device_or_a_pipe(
    ada: User, room: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    (tmp_path / "tides.bin").write_bytes(b"tides")
    assert ada.does("put", room, "~/tides.bin", "--new-room").status == 0
    Path("folder").mkdir()
    result = ada.does("get", room, "tides.bin", "-o", "folder", "--json")
    assert result.items()[0]["saved_as"] == str(Path("folder", "tides.bin"))
    assert Path("folder", "tides.bin").read_bytes() == b"tides"
    assert ada.does("get", room, "tides.bin", "--output=~/named.bin").status == 0
    assert (tmp_path / "named.bin").read_bytes() == b"tides"
    with monkeypatch.context() as patched:  # a file that comes after the look at the target
        patched.setattr(script_options, "_check_target", lambda path: path.write_text("mine"))
        late = ada.does("get", room, "tides.bin", "-o", "late.bin")
    assert late.status == 1 and "nothing is ever overwritten" in late.err
    assert Path("late.bin").read_text() == "mine"
    if os.name == "nt":
        return
    done = ada.does("get", room, "tides.bin", "-o", "/dev/null", "--json")
    assert done.items()[0]["saved_as"] == "/dev/null" and Path("/dev/null").is_char_device()
    os.mkfifo("pipe")
    with open(os.open("pipe", os.O_RDONLY | os.O_NONBLOCK), "rb") as pipe:
        assert ada.does("get", room, "tides.bin", "-o", "pipe").status == 0
        assert pipe.read() == b"tides"
    assert Path("pipe").is_fifo()


def test_a_folder_that_a_scanner_holds_is_no_failure_of_the_fetching(
    ada: User, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(cls: type, name: str, ignore_errors: bool = False, *more: object) -> None:
        if not ignore_errors:
            raise PermissionError(13, "The process cannot access the file", name)

    Path("tides.bin").write_bytes(b"tides")
    assert ada.does("put", room, "tides.bin", "--new-room").status == 0
    monkeypatch.setattr(tempfile.TemporaryDirectory, "_rmtree", classmethod(held))
    assert ada.does("get", room, "tides.bin", "-o", "other.bin").status == 0
    assert Path("other.bin").read_bytes() == b"tides"


@pytest.mark.skipif(os.name == "nt", reason="streams have no paths there")
def test_a_path_of_stdout_is_taken_as_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what the client says would stand among the bytes of the file."""
    read, write = os.pipe()
    with open(read, "rb"), open(write, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        given = argparse.Namespace(output=f"/dev/fd/{write}", json=False)
        script_options.check_get(given)
        assert given.output == "-" and not script_options._is_stdout(os.devnull)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert not script_options._is_stdout(os.devnull)


def test_a_tilde_without_a_home_is_wrong_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming_text, "home_folder", lambda: None)
    for words in (("put", "lobby", "~/x"), ("get", "lobby", "x", "-o", "~/x")):
        result = call("127.0.0.1:1", "-u", "ada", "--password-file", "secret", *words)
        assert result.status == 2 and "no home folder for the ~ in '~/x'" in result.err


@pytest.mark.skipif(os.name == "nt", reason="folders have no such rights there")
def test_a_folder_without_rights_is_said_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    for target in ("here.bin", "."):
        result = call(
            *("127.0.0.1:1", "-u", "ada", "--password-file", "secret"),
            *("get", "lobby", "x", "-o", target),
        )
        assert result.status == 1 and "can't be written: name another place" in result.err


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("put", "lobby", "nothing.here"), 1, "can't be read"),
        (("put", "lobby", "."), 1, "can't be read"),
        (("get", "lobby", "nothing.here"), 1, "nothing.here"),
        (("get", "lobby", "x", "-o", "no/where"), 1, "no folder"),
        (("get", "lobby", "x", "-o", "-", "--json"), 2, "choose one"),
    ],
)
def test_files_that_are_not_there(
    ada: User, words: tuple[str, ...], status: int, said: str
) -> None:
    result = ada.does(*words)
    assert (result.status, result.out) == (status, "")
    assert said in result.err


def test_a_transfer_that_breaks_off_is_incomplete() -> None:
    def silent(peer: Peer, packet: Packet) -> None:
        """Take chunks, and answer none."""

    with FakeServer() as fake:
        fake.files["x"] = b"content"
        fake.handlers.update(file_send_data=silent, file_down_req=silent)
        ada = User(fake.port, "ada")
        for words in (("put", "lobby", "secret"), ("get", "lobby", "x")):
            result = ada.does(*words, "--timeout", f"{patience(2.0):g}")
            assert (result.status, result.out) == (7, ""), result.err
            assert "nothing moved for" in result.err


def test_another_hash_is_a_status_of_its_own() -> None:
    def lying_end(peer: Peer, packet: Packet) -> None:
        data = packet["data"]
        peer.reply(
            packet,
            "file_send_fin",
            {
                **{key: data[key] for key in ("chat_id", "room_id", "file_path")},
                "sha256": "0" * 64,
                "stored_as": "x",
            },
        )

    def lying_meta(peer: Peer, packet: Packet) -> None:
        peer.meta(packet, sha256="0" * 64)
        for number, chunk in peer.chunks(packet):
            peer.chunk(packet, number, chunk)
        peer.fin(packet)

    with FakeServer() as fake:
        fake.files["x"] = b"content"
        fake.handlers.update(file_send_fin=lying_end, file_down_req=lying_meta)
        for words in (("put", "lobby", "secret"), ("get", "lobby", "x")):
            result = User(fake.port, "ada").does(*words)
            assert (result.status, result.out) == (5, ""), result.err
            assert "SHA-256" in result.err
    assert [path.name for path in Path().iterdir()] == ["secret"]


# --- who ------------------------------------------------------------------------------------------


def test_who_tells_who_is_on(ada: User, user: Callable[..., RawClient]) -> None:
    there, gone = fresh_name("there"), fresh_name("gone")
    user(there)
    user(gone).ask("logout", chatid=gone)
    lines = ada.does("who").out.splitlines()
    assert {f"{ada.name}\ton", f"{there}\ton", f"{gone}\toff"} <= set(lines)
    items = ada.does("who", "lobby", "--json").items()
    assert {"type": "user", "chatid": gone, "online": False} in items and {
        "type": "user",
        "chatid": there,
        "online": True,
    } in items


# --- Statuses and words of what goes wrong --------------------------------------------------------


def test_a_refused_login_offers_to_take_over(ada: User, server: ServerProcess) -> None:
    with contextlib.closing(RawClient(server.port)) as other:
        other.login(ada.name, "secret")
        refused = ada.does("who")
        assert (refused.status, refused.out) == (4, "")
        assert (
            "The server refused: Invalid credentials or user already logged in." in refused.err
            and "--take-over" in refused.err
        )
        assert ada.does("who", "--take-over").status == 0
    Path("secret").write_text("wrong\n", "utf-8")
    assert ada.does("who").status == 4


def test_a_session_whose_place_is_taken_ends_with_a_refused_login(
    ada: User, server: ServerProcess
) -> None:
    with ending(start(*ada.words("tail", "lobby"))) as process:
        line_of(process, "stderr", "Listening")
        with contextlib.closing(RawClient(server.port)) as other:
            other.login(ada.name, "secret", take_over=True)
            assert process.wait(SECONDS) == 4


def test_counts_that_differ_are_a_status_of_their_own() -> None:
    def miscount(peer: Peer, packet: Packet) -> None:
        peer.send(
            "character_count",
            {
                "transaction_id": packet["data"]["transaction_id"],
                "letter_frequencies": {"x": 9},
                "original_action": "send_message",
            },
            request_id=packet["request_id"],
        )

    with FakeServer() as fake:
        fake.handlers["send_message"] = miscount
        fake.handlers["confirm_count"] = lambda peer, packet: None
        result = User(fake.port, "ada").does("send", "lobby", "Hi")
    assert (result.status, result.out) == (5, "")
    assert "the letter counts differ" in result.err


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00\x00\x00\x05{nope",  # a frame that is no packet
        b"\x00\x00\x00\x00rubbish",  # no frame
    ],
)
def test_a_server_that_breaks_the_protocol_is_a_status_of_its_own(answer: bytes) -> None:
    def broken(peer: Peer, packet: Packet) -> None:
        peer.sock.sendall(answer)

    with FakeServer() as fake:
        fake.handlers["get_users"] = broken
        result = User(fake.port, "ada").does("who", "--timeout", f"{patience(2.0):g}")
    assert (result.status, result.out) == (6, ""), result.err
    assert "does not keep to the protocol" in result.err


def test_a_server_that_knows_no_such_packet_is_told() -> None:
    with FakeServer() as fake:
        fake.handlers["get_users"] = lambda peer, packet: peer.refuse(
            packet, "unknown_action", "no packet is called get_users"
        )
        result = User(fake.port, "ada").does("who")
    assert (result.status, result.out) == (6, "")
    assert result.err == "This server does not offer `get_users` (an extension).\n"


def test_silence_ends_after_the_time_that_was_named() -> None:
    with FakeServer() as fake:
        fake.handlers["get_users"] = lambda peer, packet: None
        named, begun = f"{patience(2.0):g}", time.monotonic()
        result = User(fake.port, "ada").does("who", "--timeout", named)
        assert time.monotonic() - begun < SECONDS / 2
    assert (result.status, result.out) == (3, "")
    assert f"did not answer get_users before the {named} s of --timeout were over" in result.err


def test_a_deadline_that_the_first_question_used_up_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("client.connection.PROBE_SECONDS", 0.2)
    with FakeServer(lambda peer: peer.get("ping") and peer.get("login") and peer.get()) as fake:
        named = f"{patience(1.0):g}"
        result = User(fake.port, "ada").does("rooms", "--timeout", named)
    assert (result.status, result.out) == (3, "")
    assert (
        f"did not answer login before the {named} s of --timeout were over" in result.err
        and "is no chat server" not in result.err
    )


def test_a_server_of_the_24_packets_alone_serves_scripts_too() -> None:
    with FakeServer(seed_only=True) as fake:
        fake.history += [(1, "lobby", "bob", "first"), (2, "lobby", "bob", "second")]
        ada = User(fake.port, "ada")
        sent = ada.does("send", "lobby", "Hi", "--json")
        assert sent.items()[0]["message_id"] is None
        assert [
            line.split(" ", 2)[2]
            for line in ada.does("history", "lobby", "-n", "2").out.splitlines()
        ] == ["bob: second", "ada: Hi"]


def test_nothing_listening_is_a_status_of_its_own() -> None:
    result = call("127.0.0.1:1", "-u", "ada", "--password-file", "secret", "who")
    assert (result.status, result.out) == (3, "")
    assert (
        "was reached, but nothing listens on its port 1.\nCheck that the server runs" in result.err
    )


# --- The command line -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["who"], "needs a name: -u NAME"),
        (["-u", "ada", "who"], "needs a password"),
        (["-u", "ada", "--no-input", "who"], "needs a password"),
        (["-u", "ada", "--password-file", "no such", "who"], "No such file"),
        (["--password-file", "secret", "who"], "needs -u"),
        (["send"], "ROOM"),
        (["send", "lobby"], "TEXT"),
        (["history", "lobby", "-n", "many"], "no number"),
        (["history", "lobby", "-n", "-1"], "-n"),
        (["--timeout", "0", "who"], "seconds"),
        (["host", "shout"], "there is no command 'shout'"),
        (["host", "tail", "a", "b"], "unrecognized"),
        (["--json"], "need a command"),
        (["--no-input"], "need a command"),
        (["--tmeout", "5", "who"], "unrecognized arguments: --tmeout"),
        (["host:0", "who"], "port"),
        (["--cafile", "x", "who"], "--cafile needs --tls"),
        (["--tls", "--cafile", "secret", "who"], "there is no certificate in it"),
    ],
)
def test_wrong_use_is_status_2(words: list[str], said: str) -> None:
    result = call(*words)
    assert (result.status, result.out) == (2, "")
    assert said in result.err


def test_a_first_word_that_is_a_command_is_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    given = parse(["send", "lobby", "who"])
    assert (given.command, given.server, given.in_room, given.text) == (
        "send",
        None,
        "lobby",
        ["who"],
    )
    given = parse(["send:99", "send", "send", "send"])
    assert (given.command, given.server, given.in_room, given.text) == (
        "send",
        ("send", 99),
        "send",
        ["send"],
    )
    given = parse(["-u", "who", "somewhere"])
    assert (given.command, given.user, given.server) == (None, "who", ("somewhere", 9876))
    given = parse(
        ["--timeout", "3", "--json", "somewhere", "history", "--since", "1h", "lobby", "-u", "ada"]
    )
    assert (given.command, given.timeout, given.json, given.since, given.user) == (
        "history",
        3.0,
        True,
        "1h",
        "ada",
    )
    given = parse(["tail", "lobby", "--json"])
    assert (given.json, given.number) == (True, 0)


def test_every_command_explains_itself() -> None:
    listed = call("--help")
    assert listed.status == 0
    for name, about in COMMANDS.items():
        assert f"{name} " in listed.out and about in listed.out
        assert "Exit status: 0 ok" in " ".join(call(name, "--help").out.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23T10:15:00Z", "2026-11-23T10:15:00Z"),
        ("2026-11-23T10:15:00+02:00", "2026-11-23T08:15:00Z"),
        ("2026-11-23", "2026-11-23T00:00:00Z"),
        ("2026-11-23 10:15", "2026-11-23T10:15:00Z"),
        ("10:15", "2026-11-20T10:15:00Z"),
        ("10:15:30", "2026-11-20T10:15:30Z"),
        ("90m", "2026-11-20T10:30:00Z"),
        ("2h", "2026-11-20T10:00:00Z"),
        ("3d", "2026-11-17T12:00:00Z"),
    ],
)
def test_times_as_people_type_them(
    text: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if hasattr(time, "tzset"):
        monkeypatch.setenv("TZ", "UTC")
        time.tzset()
    try:
        assert moment(text, datetime(2026, 11, 20, 12, tzinfo=timezone.utc)) == expected
    finally:
        monkeypatch.undo()
        if hasattr(time, "tzset"):
            time.tzset()


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="Windows takes no zone from TZ")
@pytest.mark.parametrize(
    ("now", "text", "expected"),
    [
        # Berlin put its clocks back at 2026-10-25T01:00Z, from 03:00 to 02:00
        ("2026-10-25T11:00+01:00", "01:30", "2026-10-24T23:30:00Z"),
        ("2026-10-25T11:00+01:00", "02:30", "2026-10-25T00:30:00Z"),
        ("2026-10-25T11:00+01:00", "03:30", "2026-10-25T02:30:00Z"),
        ("2026-10-25T01:00+02:00", "00:30", "2026-10-24T22:30:00Z"),
        ("2026-10-26T11:00+01:00", "2026-10-25 01:30", "2026-10-24T23:30:00Z"),
        # and forward at 2026-03-29T01:00Z, from 02:00 to 03:00
        ("2026-03-29T11:00+02:00", "01:30", "2026-03-29T00:30:00Z"),
        ("2026-03-29T11:00+02:00", "02:30", "2026-03-29T00:30:00Z"),
        ("2026-03-29T11:00+02:00", "03:30", "2026-03-29T01:30:00Z"),
        ("2026-03-29T11:00+02:00", "2026-03-29T03:30:00+02:00", "2026-03-29T01:30:00Z"),
    ],
)
def test_times_of_the_days_on_which_clocks_change(
    now: str, text: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        assert moment(text, datetime.fromisoformat(now)) == expected
    finally:
        monkeypatch.undo()
        time.tzset()


class WindowsTime(datetime):
    """A time on Windows, which knows no zone of the machine for some years."""

    def astimezone(self, tz: tzinfo | None = None) -> WindowsTime:  # type: ignore[override]
        if self.tzinfo is None and not 1970 < self.year <= 3000:
            raise OSError(22, "Invalid argument")
        return super().astimezone(tz)  # type: ignore[return-value]


@pytest.mark.parametrize("text", ["1969-12-31", "1970-01-01", "3002-01-01", "0001-01-02"])
def test_times_of_any_year_are_taken_where_the_system_knows_no_zone_for_them(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script_options, "datetime", WindowsTime)
    assert moment(text, datetime(2026, 11, 20, 12, tzinfo=timezone.utc)) == f"{text}T00:00:00Z"


@pytest.mark.parametrize(
    "text", ["", "yesterday", "25:00", "2026-13-01", "99999999999d", "m", "-5m"]
)
def test_what_is_no_time_is_wrong_use(text: str) -> None:
    with pytest.raises(WrongUse, match="is no time"):
        moment(text)
