"""A mistyped variable is named by both programs, with the right one; that of another program is
not."""

from __future__ import annotations

import os

import pytest
from support.scripts_in_process import alone, call

from client.command_line import preferences
from server.base.settings import OPTIONS
from server.command_line import arguments

__all__ = ["alone"]
CLIENTS = [preferences.variable(key) for key in preferences.KEYS]
SERVERS = [*(option.variable for option in OPTIONS.values()), "CHAT_CONFIG"]
KITS = ["CHAT_HOST", "CHAT_PORT", "CHAT_USER", "CHAT_PASSWORD", "CHAT_ROOM", "CHAT_FOLDER"]
TESTS = ["CHAT_TEST_SEED", "CHAT_TEST_PATIENCE", "CHAT_ROUNDS", "CHAT_FUZZ_CASES"]


def named(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "x")


@pytest.mark.parametrize(
    ("typed", "right"),
    [
        ("CHAT_SEVER", "CHAT_SERVER"),
        ("CHAT_TSL", "CHAT_TLS"),
        pytest.param(
            "chat_user",
            "CHAT_USER",
            marks=pytest.mark.skipif(
                os.name == "nt", reason="Windows knows no small letters there"
            ),
        ),
        ("CHAT_COLOUR", "CHAT_COLOR"),
        ("CHAT_DOWNLOADFOLDER", "CHAT_DOWNLOAD_FOLDER"),
    ],
)
def test_the_client_names_a_mistyped_variable(
    typed: str, right: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert preferences.mistyped_variables(named(typed)) == [(typed, right)]
    monkeypatch.setenv(typed, "x")
    result = call("--show-settings")
    assert result.status == 0 and result.err == (
        f"chat_client.py: warning: the variable {typed} is no setting; is {right} meant?\n"
    )


@pytest.mark.parametrize(
    ("typed", "right"),
    [
        ("CHAT_PROT", "CHAT_PORT"),
        ("chat_port", "CHAT_PORT"),
        ("CHAT_NEWROOMS", "CHAT_NEW_ROOMS"),
        ("CHAT_REGISTRATON", "CHAT_REGISTRATION"),
        ("CHAT_CONFIGS", "CHAT_CONFIG"),
    ],
)
def test_the_server_names_a_mistyped_variable(
    typed: str, right: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments.parse([], named(typed))
    assert capsys.readouterr().err == (
        f"chat_server.py: warning: the variable {typed} is no option; is {right} meant?\n"
    )


def test_no_right_variable_is_taken_for_a_mistyped_one() -> None:
    everything = named(*CLIENTS, *SERVERS, *KITS, *TESTS, "PATH", "CHAT_OF_ANOTHER_PROGRAM")
    assert preferences.mistyped_variables(everything) == []
    assert arguments.mistyped_variables(everything) == []


def test_a_variable_that_is_set_to_nothing_is_not_set() -> None:
    assert preferences.mistyped_variables({"CHAT_SEVER": ""}) == []
    assert arguments.mistyped_variables({"CHAT_PROT": ""}) == []
