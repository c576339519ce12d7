"""What the client remembers: where the files lie, what beats what, and who can read the key of a
kept session."""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from support.client_fakes import FakeServer, Packet, Peer
from support.scripts_in_process import alone, call

import incoming_text
import protocol
from client.command_line import preferences
from client.command_line.client_settings import (
    ClientSettings,
    keep_session,
    kept_session,
    settings_from,
    to_save,
)
from client.command_line.options import parse
from client.command_line.preferences import KeptSession, Store, own_folder
from client.records import Limits, Session

__all__ = [
    "alone"
]  # the fixture of the scripts' tests: an empty folder, and no settings of the machine
KEPT = KeptSession("127.0.0.1:9876", "ada", False, "a key that nobody may read")
posix = pytest.mark.skipif(os.name != "posix", reason="rights are the system's own there")


def settings(text: str) -> Path:
    """Write the settings file of this account."""
    path = Store().path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def held(*words: str) -> ClientSettings:
    return settings_from(parse(list(words)), Store().load())


# --- Places ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("platform", "environ", "folder"),
    [
        ("linux", {}, "/home/ada/.config/classroom-chat"),
        ("linux", {"XDG_CONFIG_HOME": "/elsewhere"}, "/elsewhere/classroom-chat"),
        ("linux", {"XDG_CONFIG_HOME": "relative"}, "/home/ada/.config/classroom-chat"),
        ("linux", {"XDG_CONFIG_HOME": ""}, "/home/ada/.config/classroom-chat"),
        (
            "darwin",
            {"XDG_CONFIG_HOME": "/elsewhere"},
            "/home/ada/Library/Application Support/classroom-chat",
        ),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/classroom-chat"),
        ("win32", {}, "/home/ada/AppData/Local/classroom-chat"),
    ],
)
def test_each_system_has_its_place(
    platform: str, environ: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preferences.os.path, "isabs", lambda path: str(path).startswith("/"))
    assert own_folder(environ, platform, Path("/home/ada")) == Path(folder)


def test_the_file_is_in_the_systems_own_place_and_private() -> None:
    assert call("127.0.0.1:1", "-u", "ada", "--save", "doctor").status == 3
    path = Store().path
    assert path == own_folder() / "client.ini"
    assert (
        re.sub(r"\s+", " ", path.read_text("utf-8")).strip()
        == "[client] server = 127.0.0.1:1 user = ada"
    )
    if os.name == "posix":
        assert (
            stat.S_IMODE(path.stat().st_mode) == 0o600
            and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        )


def test_portable_settings_lie_beside_the_program_and_are_found_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "chat_client.py")])
    assert call("--show-settings").out.startswith(f"# {own_folder()}")
    assert (
        call(
            "127.0.0.1:1", "-u", "ada", "--room", "tides", "--portable", "--save", "--show-settings"
        ).status
        == 0
    )
    assert not (tmp_path / "chat-client.ini").exists(), "showing saves nothing"
    assert (
        call("127.0.0.1:1", "-u", "ada", "--room", "tides", "--portable", "--save", "doctor").status
        == 3
    )
    assert not own_folder().exists()
    shown = call("--show-settings").out
    assert (
        shown.startswith(f"# {tmp_path / 'chat-client.ini'}\n")
        and f"room = tides    # {tmp_path / 'chat-client.ini'}" in shown
    )


# --- What holds -----------------------------------------------------------------------------------


def test_without_anything_it_is_this_machine() -> None:
    assert held() == ClientSettings(
        ("127.0.0.1", 9876), None, "lobby", False, None, "auto", "downloads", False
    )


def test_flags_beat_variables_which_beat_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    path = settings("[client]\nserver = 10.0.0.1:1\nuser = file\nroom = file\ncolor = never\n")
    monkeypatch.setenv("CHAT_USER", "variable")
    monkeypatch.setenv("CHAT_ROOM", "variable")
    monkeypatch.setenv("CHAT_DOWNLOAD_FOLDER", "there")
    given = held("--room", "flag")
    assert (given.server, given.user, given.room, given.color, given.download_folder) == (
        ("10.0.0.1", 1),
        "variable",
        "flag",
        "never",
        "there",
    )
    lines = call("--room", "flag", "--show-settings").out.splitlines()
    assert lines == [
        f"# {path}",
        "[client]",
        f"server = 10.0.0.1:1    # {path}",
        "user = variable    # CHAT_USER",
        "room = flag    # flag",
        "tls = no    # default",
        "cafile =    # default",
        f"color = never    # {path}",
        "download-folder = there    # CHAT_DOWNLOAD_FOLDER",
        "stay = no    # default",
    ]


def test_encryption_of_the_saved_server_is_not_that_of_another() -> None:
    settings("[client]\nserver = 10.0.0.1\ntls = yes\ncafile = class.pem\n")
    assert (held().tls, held().cafile) == (True, "class.pem")
    assert (held("10.0.0.1").tls, held("10.0.0.1:9876").cafile) == (True, "class.pem")
    assert (held("10.0.0.2").tls, held("10.0.0.2").cafile) == (False, None)
    assert (held("--no-tls").tls, held("--no-tls").cafile) == (False, None)


def test_the_room_of_one_command_is_not_saved_as_the_room_to_begin_in() -> None:
    given = parse(["127.0.0.1:77", "--save", "send", "tides", "hello"])
    assert "room" not in to_save(settings_from(given, {}), given)
    given = parse(["127.0.0.1:77", "--room", "lobby", "--save", "send", "tides", "hello"])
    assert to_save(settings_from(given, {}), given)["room"] == "lobby"
    assert given.in_room == "tides"


def test_saving_keeps_what_was_saved_and_takes_no_password() -> None:
    path = settings("[client]\nroom = tides\nstay = yes\n")
    Path("ca.pem").write_text("")
    given = parse(
        [
            "[::1]:77",
            "-u",
            "ada",
            "--tls",
            "--cafile",
            "ca.pem",
            "--password-file",
            "secret",
            "--no-stay",
            "--save",
        ]
    )
    Store().save(to_save(settings_from(given, Store().load()), given))
    assert {key: value.text for key, value in Store().load().items()} == {
        "server": "[::1]:77",
        "user": "ada",
        "room": "tides",
        "tls": "yes",
        "cafile": str(Path("ca.pem").resolve()),
        "stay": "no",
    }
    assert "secret" not in path.read_text("utf-8")
    assert [entry.name for entry in path.parent.iterdir()] == ["client.ini"]


def test_a_mark_of_an_editor_and_percent_signs_are_read() -> None:
    settings("\ufeff[client]\nroom = 100%\n")
    assert held().room == "100%"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("room = tides\n", "no section headers"),
        ("[client]\nnonsense\n", "nonsense"),
        ("[server]\nport = 1\n", "expected [client] alone"),
        ("[client]\npassword = x\n", "'password' is no setting; expected one of server, user"),
        ("[client]\ntls = maybe\n", "expected yes or no"),
        ("[client]\ncolor = red\n", "expected one of auto, always, never"),
        ("[client]\nserver = [::1\n", "is no address"),
        ("[client]\nserver = host:0\n", "is no number from 1 to 65535"),
        ("[client]\nroom = a\nroom = b\n", "already exists"),
        ("x" * 70_000, "too long"),
    ],
)
def test_a_file_that_is_wrong_is_named(text: str, said: str) -> None:
    path = settings(text)
    result = call("doctor")
    assert (result.status, result.out) == (2, "")
    assert said in " ".join(result.err.split()) and str(path) in result.err


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = settings("")
    path.write_bytes(b"[client]\nroom = \x81\n")
    assert "expected text in UTF-8" in call("doctor").err
    path.unlink()
    path.mkdir()
    assert f"{path} can't be read" in call("doctor").err


def test_settings_that_cannot_be_saved_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for name in ("XDG_CONFIG_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "file" / "below"))
    result = call("127.0.0.1:1", "--save", "doctor")
    assert result.status == 2 and ("can't be saved" in result.err or "can't be read" in result.err)


# --- The key of a session -------------------------------------------------------------------------


def session_file() -> Path:
    return own_folder() / "session.ini"


def test_a_kept_session_comes_back_and_goes() -> None:
    store = Store()
    assert store.kept_session() is None
    assert store.keep_session(KEPT)
    assert Store().kept_session() == KEPT
    assert store.keep_session(KeptSession("elsewhere:1", "grace", True, "another"))
    assert Store().kept_session() == KeptSession("elsewhere:1", "grace", True, "another")
    store.forget_session()
    store.forget_session()
    assert Store().kept_session() is None and not session_file().exists()


@posix
def test_the_key_is_for_this_account_alone_from_its_first_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    modes: list[int] = []
    replace = os.replace

    def looking(source: Any, target: Any) -> None:
        modes.append(stat.S_IMODE(os.stat(source).st_mode))
        replace(source, target)

    monkeypatch.setattr(preferences.os, "replace", looking)
    umask = os.umask(0)
    try:
        assert Store().keep_session(KEPT)
    finally:
        os.umask(umask)
    assert modes == [0o600] and stat.S_IMODE(session_file().stat().st_mode) == 0o600


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_key_that_others_can_read_is_not_used(mode: int) -> None:
    Store().keep_session(KEPT)
    session_file().chmod(mode)
    assert Store().kept_session() is None


@posix
def test_a_key_behind_a_link_is_not_used(tmp_path: Path) -> None:
    Store().keep_session(KEPT)
    session_file().rename(tmp_path / "real")
    session_file().symlink_to(tmp_path / "real")
    assert Store().kept_session() is None


@posix
def test_a_file_system_without_rights_keeps_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open
    monkeypatch.setattr(
        preferences.os, "open", lambda path, flags, mode=0o777: opened(path, flags, 0o644)
    )
    assert not Store().keep_session(KEPT)
    assert not session_file().exists()


def test_no_key_beside_the_program(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert not store.keep_session(KEPT)
    assert store.kept_session() is None
    assert list(tmp_path.glob("*.ini")) == []
    result = call("--portable", "--stay")
    assert result.status == 2 and "others could read the key" in result.err


@pytest.mark.parametrize("text", ["", "nonsense", "[session]\nserver = x\n"])
def test_a_session_file_that_is_broken_is_none(text: str) -> None:
    Store().keep_session(KEPT)
    session_file().write_text(text, "utf-8")
    assert Store().kept_session() is None


@pytest.mark.parametrize(
    ("words", "fits"),
    [
        ((), True),
        (("-u", "ADA"), True),
        (("127.0.0.1:9876",), True),
        (("-u", "grace"), False),
        (("elsewhere",), False),
        (("127.0.0.1:9877",), False),
        (
            ("--tls",),
            False,
        ),  # a key that went in the clear is not taken for another, and the reverse
    ],
)
def test_a_kept_session_is_taken_only_where_it_fits_and_only_once(
    words: tuple[str, ...], fits: bool
) -> None:
    Store().keep_session(KEPT)
    assert kept_session(held(*words), Store()) == (KEPT if fits else None)
    assert Store().kept_session() == (None if fits else KEPT)
    assert not fits or kept_session(held(*words), Store()) is None, (
        "a second window logs in, and takes no place away"
    )


def test_what_can_not_be_kept_is_logged_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session("Ada", "the key", Limits(), (), True)
    assert keep_session(held("10.0.0.1"), Store(), session)
    assert Store().kept_session() == KeptSession("10.0.0.1:9876", "Ada", False, "the key")
    monkeypatch.setattr(Store, "keep_session", lambda self, kept: False)
    assert not keep_session(held("10.0.0.1"), Store(), session)
    assert "you are logged out" in capsys.readouterr().err


def test_a_session_stays_over_quit_and_asks_for_no_password() -> None:
    with FakeServer() as fake:
        server = f"127.0.0.1:{fake.port}"
        first = call(
            server, "-u", "ada", "--password-file", "secret", "--stay", "--save", typed=b"/quit\n"
        )
        assert first.status == 0 and "logout" not in fake.actions(), first.err
        assert Store().kept_session() == KeptSession(server, "ada", False, "key")
        second = call(typed=b"Hello again\n/quit\n")
        assert second.status == 0 and "* sent 1\n" in second.out, second.err
        logins = [sorted(packet["data"]) for packet in fake.heard if packet["action"] == "login"]
        assert ["password" in keys for keys in logins] == [True, False] and "session_key" in logins[
            1
        ]
        assert Store().kept_session() is not None
        third = call("--no-stay", "--password-file", "secret", typed=b"/quit\n")
        assert (
            third.status == 0 and Store().kept_session() is None and fake.actions()[-1] == "logout"
        )


def test_a_kept_session_that_has_ended_asks_for_the_password() -> None:
    with FakeServer() as fake:
        Store().keep_session(KeptSession(f"127.0.0.1:{fake.port}", "ada", False, "an old key"))
        result = call(f"127.0.0.1:{fake.port}", "--stay", typed=b"secret\n/quit\n")
        assert (
            result.status == 0
            and "The session that was kept has ended; please log in." in result.out
        )
        assert Store().kept_session() == KeptSession(f"127.0.0.1:{fake.port}", "ada", False, "key")


def test_a_kept_session_outlives_a_server_that_is_not_there() -> None:
    kept = KeptSession("127.0.0.1:1", "ada", False, "key")
    Store().keep_session(kept)
    assert call("127.0.0.1:1", "--stay").status == 3
    assert Store().kept_session() == kept


def test_scripts_never_use_the_kept_key() -> None:
    logins: list[Packet] = []

    def look(peer: Peer, packet: Packet) -> None:
        logins.append(packet["data"])
        peer.on_login(packet)

    with FakeServer() as fake:
        fake.handlers["login"] = look
        Store().keep_session(KeptSession(f"127.0.0.1:{fake.port}", "ada", False, "key"))
        settings(f"[client]\nserver = 127.0.0.1:{fake.port}\nuser = ada\nstay = yes\n")
        assert call("who").status == 2, "without a password there is no login"
        assert call("--password-file", "secret", "who").status == 0
    assert [sorted(data) for data in logins] == [["chatid", "password"]]
    assert Store().kept_session() is not None, "nor do they end it here"


def test_a_web_address_is_no_address_and_the_version_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words, status in ((["http://lab7:9876/"], 2), (["--version"], 0)):
        with pytest.raises(SystemExit) as end:
            parse(words)
        assert end.value.code == status
    shown = capsys.readouterr()
    assert "as lab7:9876" in shown.err
    assert shown.out.startswith(f"chat_client.py {protocol.VERSION} (Python 3.")


# --- Homes ---


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CONFIG_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(incoming_text, "home_folder", lambda: None)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_nothing_is_kept_and_nothing_is_written_here() -> None:
    before = sorted(Path().iterdir())
    shown = call("--show-settings")
    assert (shown.status, shown.out.splitlines()[0]) == (0, "# no file: there is no home folder")
    saved = call("--save", "-u", "ada", "rooms", "--no-input")
    assert saved.status == 2 and "set the variable HOME, or take --portable" in (
        " ".join(saved.err.split())
    )
    store = Store(None, {})
    assert store.kept_session() is None
    assert not store.keep_session(KeptSession("lab:1", "ada", False, "key"))
    store.forget_session()
    assert sorted(Path().iterdir()) == before


def test_a_tilde_in_settings_variables_and_flags_is_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    settings("[client]\ndownload-folder = ~/got\n")
    assert f"download-folder = {tmp_path / 'got'} " in call("--show-settings").out
    monkeypatch.setenv("CHAT_DOWNLOAD_FOLDER", "~/other")
    assert f"download-folder = {tmp_path / 'other'} " in call("--show-settings").out
    shown = call("--show-settings", "--download-folder=~/flag", "--tls", "--cafile=~/ca.pem").out
    assert f"= {tmp_path / 'flag'} " in shown and f"= {tmp_path / 'ca.pem'} " in shown


@pytest.mark.usefixtures("homeless")
def test_a_tilde_without_a_home_is_refused() -> None:
    result = call("--show-settings", "--download-folder", "~/got")
    assert result.status == 2 and "no home folder for the ~ in '~/got'" in (
        " ".join(result.err.split())
    )
