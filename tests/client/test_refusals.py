"""Words of the wire never reach people: each code of the protocol has its sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.client_fakes import FakeServer
from support.line_client import ScriptedScreen, client, talk

import protocol
from client.base.refusals import SENTENCES, in_words, plain
from client.base.times import local_time
from client.errors import ServerError
from protocol import ErrorCode

WIRE_WORDS = re.compile(r"data\.|_|expected|action|packet|U\+0020")


def test_every_code_has_its_sentence() -> None:
    assert set(SENTENCES) == set(ErrorCode)


@pytest.mark.parametrize("code", ErrorCode)
def test_a_message_about_packets_becomes_the_sentence_of_its_code(code: ErrorCode) -> None:
    for message in ("", "data.room_id: expected a string, got 5", "send file_send_fin again"):
        said = in_words(code, message)
        assert said and not WIRE_WORDS.search(said), said
        assert str(ServerError(code, message)) == said


@pytest.mark.parametrize(
    ("code", "message", "said"),
    [
        (
            ErrorCode.TOO_LARGE,
            "data.file_size: expected at most 104857600 bytes, got 150000000",
            "that is 143 MiB; this server takes at most 100 MiB",
        ),
        (
            ErrorCode.BAD_PACKET,
            "data.content: expected at most 16384 bytes of UTF-8, got 20000",
            "that is 19.5 KiB; this server takes at most 16.0 KiB",
        ),
        (
            ErrorCode.USER_NOT_FOUND,
            "data.participants: there is no user 'a_b'",
            "there is no user 'a_b'",
        ),
        (
            ErrorCode.BAD_PACKET,
            f"data.chatid: {protocol.chatid_problem('a b')}",
            "it must have 1 to 32 characters: letters, digits, '_', '-' or '.'; this has a space",
        ),
        (
            ErrorCode.MUTED,
            "a teacher has muted you until 2001-05-05T12:00:00Z: no data.x, my_dear: listen",
            f"a teacher has muted you until {local_time('2001-05-05T12:00:00Z')}: no data.x, "
            "my_dear: listen",
        ),
        ("a_new_code", "data.x: what nobody knows yet", "what nobody knows yet"),
        (ErrorCode.REGISTRATION_CLOSED, "closed", str(SENTENCES[ErrorCode.REGISTRATION_CLOSED])),
    ],
)
def test_what_a_message_says_to_people_is_kept(code: str, message: str, said: str) -> None:
    assert in_words(code, message) == said


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (protocol.chatid_problem("a!"), "; this has the character !"),
        (protocol.chatid_problem("a\u200b"), "this has a character that is not seen (U+200B)"),
        (protocol.chatid_problem("x" * 40), "; this has 40 characters"),
        (protocol.password_problem(""), "it must have 1 to 128 characters; this has 0"),
        ("something else", "something else"),
    ],
)
def test_what_is_wrong_with_a_name_is_said_plainly(problem: str, said: str) -> None:
    assert plain(problem).endswith(said)


def test_a_file_that_is_too_large_is_told_with_its_size_and_the_limit(tmp_path: Path) -> None:
    (tmp_path / "huge.bin").write_bytes(b"x" * 5000)
    with FakeServer() as server:
        server.handlers["file_send_init"] = lambda peer, packet: peer.refuse(
            packet, "too_large", "data.file_size: expected at most 4000 bytes, got 5000"
        )
        status, text = talk(server, f"/send {tmp_path / 'huge.bin'}", ["huge.bin is"])
    assert status == 1 and "* huge.bin is 4.9 KiB; this server takes at most 95.4 MiB.\n" in text


def test_who_makes_accounts_is_said_where_nobody_can_register() -> None:
    with FakeServer() as server:
        server.handlers["register"] = lambda peer, packet: peer.reply(
            packet, "register_fail", status="error", code="registration_closed", message="closed"
        )
        screen = ScriptedScreen("register", "ada", "secret", "secret", "quit", is_terminal=True)
        assert client(server, screen, user=None, password=None).run() == 0
    assert "accounts are made by the teacher" in screen.text()
