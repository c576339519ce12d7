"""The options: who beats whom, what is refused and how the refusal reads."""

from __future__ import annotations

import argparse
import dataclasses
import io
import sys
from pathlib import Path

import pytest

import incoming_text
import protocol
from server.base.settings import OPTIONS, Settings
from server.command_line.arguments import COMMANDS, parse, write_safely


def refusal(
    capsys: pytest.CaptureFixture[str], argv: list[str], environ: dict[str, str] | None = None
) -> str:
    """The one line with which `argv` is refused."""
    with pytest.raises(SystemExit) as end:
        parse(argv, environ or {})
    assert end.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.endswith("\n")
    return printed.err


def printed_by(
    capsys: pytest.CaptureFixture[str], argv: list[str], environ: dict[str, str] | None = None
) -> str:
    with pytest.raises(SystemExit) as end:
        parse(argv, environ or {})
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    return tmp_path / "chat.ini"


def test_without_any_source_every_option_has_its_default() -> None:
    invocation = parse([], {})
    assert invocation.settings == Settings()
    assert invocation.command is None
    assert invocation.origins == {}


def test_flags_beat_variables_beat_the_file_beat_the_defaults(ini: Path) -> None:
    ini.write_text("[server]\nport = 1\nmax_rooms = 1\nquota = 1\n", encoding="utf-8")
    environ = {"CHAT_CONFIG": str(ini), "CHAT_PORT": "2", "CHAT_MAX_ROOMS": "2"}
    invocation = parse(["--port", "3"], environ)
    found = invocation.settings
    assert (found.port, found.max_rooms, found.quota, found.max_pending) == (3, 2, 1, 64)
    assert invocation.origins == {
        "port": "--port",
        "max_rooms": "CHAT_MAX_ROOMS",
        "quota": f"{ini}:quota",
    }


def test_the_flag_config_beats_its_variable(ini: Path) -> None:
    ini.write_text("[server]\nport = 1\n", encoding="utf-8")
    assert parse(["--config", str(ini)], {"CHAT_CONFIG": "/nowhere"}).settings.port == 1


def test_a_variable_set_to_nothing_is_as_if_not_set() -> None:
    assert parse([], {"CHAT_PORT": "", "CHAT_CONFIG": ""}).settings.port == 9876


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("8192", 8192),
        ("64K", 65536),
        ("64k", 65536),
        ("1M", 1024**2),
        ("2G", 2 * 1024**3),
    ],
)
def test_bytes_may_be_written_with_a_unit(text: str, count: int) -> None:
    assert parse(["--max-frame", text], {}).settings.max_frame == count


@pytest.mark.parametrize("word", ["no", "NO", "false", "off", "0"])
def test_a_switch_knows_the_usual_words(word: str, ini: Path) -> None:
    assert parse([], {"CHAT_NEW_ROOMS": word}).settings.new_rooms is False
    assert parse(["--new-rooms"], {"CHAT_NEW_ROOMS": word}).settings.new_rooms is True
    ini.write_text(f"[server]\nnew-rooms = {word}\n", encoding="utf-8")
    assert parse(["--config", str(ini)], {"CHAT_NEW_ROOMS": "yes"}).settings.new_rooms is True


def test_a_switch_tells_which_of_its_flags_was_given() -> None:
    assert parse(["--no-new-rooms"], {}).origins == {"new_rooms": "--no-new-rooms"}
    assert parse(["--new-rooms"], {}).origins == {"new_rooms": "--new-rooms"}


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("30", 30.0), ("0.25", 0.25)])
def test_seconds_may_have_a_fraction(text: str, seconds: float) -> None:
    assert parse(["--login-timeout", text], {}).settings.login_timeout == seconds


@pytest.mark.parametrize(
    ("flag", "text", "expected"),
    [
        ("--port", "65536", "from 0 to 65535"),
        ("--port", "-1", "from 0 to 65535"),
        ("--port", "x", "from 0 to 65535"),
        ("--port", "80.0", "from 0 to 65535"),
        ("--port", "", "from 0 to 65535"),
        ("--port", "٣", "from 0 to 65535"),
        ("--port", "1" * 5000, "from 0 to 65535"),
        ("--min-free", "100", "from 0 to 99"),
        ("--password-cost", "0", "from 1 to 20"),
        ("--password-cost", "21", "from 1 to 20"),
        ("--rate-burst", "0", "from 1 to 1000000"),
        ("--max-frame", "8191", "0 or from 8192"),
        ("--rate-limit", "-1", "from 0 to 1000000"),
        ("--max-frame", "5G", "0 or from 8192"),
        ("--max-frame", "many", "0 or from 8192"),
        ("--max-frame", "1T", "1M or 1G"),
        ("--quota", "1Ki", "from 0 to"),
        ("--quota", "1.5.2", "from 0 to"),
        ("--login-timeout", "nan", "seconds from 0"),
        ("--login-timeout", "inf", "seconds from 0"),
        ("--login-timeout", "1e3", "seconds from 0"),
        ("--login-timeout", "1000001", "seconds from 0"),
        ("--registration", "maybe", "open or closed or first-login"),
        ("--log-level", "loud", "debug or info or warning or error"),
        ("--host", "", "a host name or address"),
        ("--data", "a\nb", "a folder's path"),
    ],
)
def test_a_value_out_of_its_bounds_is_one_line_with_what_was_expected(
    capsys: pytest.CaptureFixture[str], flag: str, text: str, expected: str
) -> None:
    line = refusal(capsys, [flag, text])
    assert line.startswith(f"chat_server.py: {flag}: expected ")
    assert expected in line
    assert len(line) < 300


def test_a_refusal_names_the_variable_or_the_files_key(
    capsys: pytest.CaptureFixture[str], ini: Path
) -> None:
    assert "CHAT_PORT: expected a whole number from 0 to 65535, got 'x'" in refusal(
        capsys, [], {"CHAT_PORT": "x"}
    )
    assert "CHAT_NEW_ROOMS: expected yes or no, got 'maybe'" in refusal(
        capsys, [], {"CHAT_NEW_ROOMS": "maybe"}
    )
    ini.write_text("[server]\nport = x\n", encoding="utf-8")
    assert f"{ini}:port: expected " in refusal(capsys, ["--config", str(ini)])


def test_a_bad_value_is_refused_also_where_another_beats_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "CHAT_PORT" in refusal(capsys, ["--port", "1"], {"CHAT_PORT": "x"})


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("--data-dir", "--data"), ("--max-fame", "--max-frame"), ("--no-new-room", "--no-new-rooms")],
)
def test_an_unknown_option_is_named_and_not_its_value(
    capsys: pytest.CaptureFixture[str], typed: str, meant: str
) -> None:
    assert f"there is no option {typed}; is {meant} meant?" in refusal(capsys, [typed, "4"])


def test_an_unknown_key_or_section_is_named(capsys: pytest.CaptureFixture[str], ini: Path) -> None:
    ini.write_text("[server]\nprot = 1\n", encoding="utf-8")
    assert f"{ini}:prot: no such option" in refusal(capsys, ["--config", str(ini)])
    ini.write_text("[DEFAULT]\nport = 1\n", encoding="utf-8")
    assert "expected only the section [server], got [DEFAULT]" in refusal(
        capsys, ["--config", str(ini)]
    )


def test_a_tilde_is_the_home_of_whoever_starts_the_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    (tmp_path / "chat.ini").write_text("[server]\ndata = ~/kept\nkeyfile = ~\n", "utf-8")
    settings = parse(["--certfile=~/cert.pem"], {"CHAT_CONFIG": "~/chat.ini"}).settings
    assert (settings.data, settings.keyfile) == (str(tmp_path / "kept"), str(tmp_path))
    assert settings.certfile == str(tmp_path / "cert.pem")
    monkeypatch.setattr(incoming_text, "home_folder", lambda: None)
    line = refusal(capsys, [], {"CHAT_DATA": "~/kept"})
    assert "CHAT_DATA: there is no home folder for the ~ in '~/kept'" in line


@pytest.mark.parametrize(
    "content",
    [
        b"port = 1\n",
        b"[server]\nport\n",
        b"[server]\nport=1\nport=2\n",
        b"[server]\ndata = \x81\n",
        b"\0\0",
    ],
)
def test_a_file_that_is_no_ini_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], ini: Path, content: bytes
) -> None:
    ini.write_bytes(content)
    assert "--config: expected an INI file in UTF-8" in refusal(capsys, ["--config", str(ini)])


def test_a_file_that_cannot_be_read_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "--config: cannot read" in refusal(capsys, ["--config", str(tmp_path / "none.ini")])
    assert "CHAT_CONFIG: cannot read" in refusal(capsys, [], {"CHAT_CONFIG": str(tmp_path)})
    assert "expected an INI file" in refusal(capsys, ["--config", "a\0b"])


def test_the_file_may_begin_with_a_byte_order_mark_and_hold_percent_signs(ini: Path) -> None:
    ini.write_bytes("\ufeff[server]\r\ndata = C:\\%TEMP%\\Übung\r\nmax-frame = 64K\r\n".encode())
    found = parse(["--config", str(ini)], {}).settings
    assert (found.data, found.max_frame) == ("C:\\%TEMP%\\Übung", 65536)


@pytest.mark.parametrize(
    "argv", [["--bogus"], ["9876"], ["adduser"], ["users", "x"], ["--por", "1"], ["--port"]]
)
def test_a_wrong_command_line_is_one_line(
    capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    assert refusal(capsys, argv).startswith("chat_server.py: ")


def test_a_refusal_escapes_what_would_steer_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "\\x1b[2J" in refusal(capsys, ["--port", "\x1b[2J"])
    assert "\\x1b" in refusal(capsys, ["--bogus\x1b\ud800"])


def test_passwords_are_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    refusal(capsys, ["adduser", "ada", "--password", "x"])


@pytest.mark.parametrize(
    ("argv", "command", "expected"),
    [
        (["adduser", "ada"], "adduser", {"name": "ada", "password_file": None}),
        (["adduser", "--", "-x"], "adduser", {"name": "-x"}),
        (
            ["passwd", "ada", "--password-file", "f"],
            "passwd",
            {"name": "ada", "password_file": "f"},
        ),
        (["deluser", "ada"], "deluser", {"name": "ada"}),
        (["users"], "users", {}),
        (["import", "r.csv"], "import", {"roster": "r.csv"}),
        (["restore-room", "p-1"], "restore-room", {"room_id": "p-1"}),
    ],
)
def test_the_commands_and_their_arguments(
    argv: list[str], command: str, expected: dict[str, object]
) -> None:
    invocation = parse(argv, {})
    assert invocation.command == command
    assert expected.items() <= vars(invocation.arguments).items()


def test_data_and_config_stand_before_or_after_the_command(ini: Path) -> None:
    ini.write_text("[server]\npassword_cost = 4\n", encoding="utf-8")
    for argv in (
        ["--data", "d", "--config", str(ini), "users"],
        ["users", "--data", "d", "--config", str(ini)],
        ["--data", "d", "users", "--config", str(ini)],
        ["--data", "weaker", "--config", str(ini), "users", "--data", "d"],
    ):
        found = parse(argv, {}).settings
        assert (found.data, found.password_cost) == ("d", 4)
    assert parse(["adduser", "ada", "--password-cost", "5"], {}).settings.password_cost == 5


def test_help_tells_of_every_option_its_flag_default_and_zero(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = " ".join(printed_by(capsys, ["--help"]).split())
    for option in OPTIONS.values():
        assert option.flag in words
        assert option.help_line() in words
    for command in COMMANDS:
        assert command in words
    assert "default 1M; 0: only the 4 GiB" in words
    assert "NAME" in printed_by(capsys, ["adduser", "--help"])


def test_show_config_prints_a_file_that_gives_the_same_settings(
    capsys: pytest.CaptureFixture[str], ini: Path
) -> None:
    argv = [
        "--port",
        "0",
        "--no-new-rooms",
        "--max-frame",
        "100000",
        "--login-timeout",
        "0.5",
        "--data",
        "Übung %d",
    ]
    text = printed_by(capsys, [*argv, "--show-config"], {"CHAT_QUOTA": "3G"})
    assert "# --port\nport = 0\n" in text
    assert "# --no-new-rooms\nnew_rooms = no\n" in text
    assert "# CHAT_QUOTA\nquota = 3G\n" in text
    assert "# default\nmax_rooms = 100\n" in text
    ini.write_text(text, encoding="utf-8")
    assert parse(["--config", str(ini)], {}).settings == parse(argv, {"CHAT_QUOTA": "3G"}).settings


def test_version_names_the_program_python_and_sqlite(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed_by(capsys, ["--version"])
    assert text.startswith(f"chat_server.py {protocol.VERSION} (Python 3.")
    assert "SQLite 3." in text


def test_a_narrow_encoding_escapes_instead_of_raising() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="cp1252", newline="\n")
    write_safely(stream, "Ü 😀\n")
    assert raw.getvalue() == b"\xdc \\U0001f600\n"


def test_a_refusal_without_stderr_still_ends_with_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(SystemExit) as end:
        parse(["--port", "x"], {})
    assert end.value.code == 2


def test_every_default_can_be_written_and_read_back() -> None:
    for option in OPTIONS.values():
        assert option.kind.read(option.kind.show(option.default)) == option.default


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]
    assert isinstance(parse([], {}).arguments, argparse.Namespace)
