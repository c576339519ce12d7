"""chat.pyz: client and server in one file, run from an empty folder with nothing else beside it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ending import OWN_CONSOLE, ask_to_end
from support.patience import patience

ROOT = Path(__file__).resolve().parents[2]
SECONDS = patience(30.0)


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("built") / "chat.pyz"
    subprocess.run(
        [sys.executable, str(ROOT / "tools" / "make_pyz.py"), str(target)],
        check=True,
        timeout=SECONDS,
        stdout=subprocess.DEVNULL,
    )
    return target


@pytest.fixture
def folder(pyz: Path, tmp_path: Path) -> Path:
    """An empty folder with the file alone."""
    shutil.copy(pyz, tmp_path)
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    # Without coverage, which finds no source in a packed file.
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("CHAT_", "PYTHONPATH", "COVERAGE_"))
    }
    return {
        **kept,
        "CHAT_PASSWORD_COST": "4",
        "XDG_CONFIG_HOME": str(folder / "config"),
        "PYTHONUNBUFFERED": "1",
    }


def run(folder: Path, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "chat.pyz", *words],
        cwd=folder,
        env=environment(folder),
        input=typed,
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture
def port(folder: Path) -> Iterator[int]:
    """A server out of the file."""
    process = subprocess.Popen(
        [sys.executable, "chat.pyz", "serve", "--host", "127.0.0.1", "--port", "0"],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        creationflags=OWN_CONSOLE,
    )
    assert process.stdout is not None
    guard = threading.Timer(SECONDS, process.kill)
    guard.start()
    try:
        first = process.stdout.readline()
        found = re.search(r"listening on 127\.0\.0\.1:(\d+)", first)
        assert found, first
        yield int(found[1])
        ask_to_end(process)
        shown = process.stdout.read()
        process.wait(SECONDS)
        assert "python3 chat.pyz 127.0.0.1:" in shown, (
            "the first screen says what is typed with this file"
        )
        assert "chat.pyz serve adduser NAME" in shown
        assert "chat_client.py" not in shown and "chat_server.py" not in shown
    finally:
        guard.cancel()
        process.kill()
        process.wait(SECONDS)
        process.stdout.close()


def test_it_holds_the_modules_that_run_and_nothing_else(pyz: Path) -> None:
    with zipfile.ZipFile(pyz) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        assert archive.testzip() is None
    packages = [
        file.relative_to(ROOT).as_posix()
        for package in ("client", "server", "storage")
        for file in (ROOT / package).rglob("*.py")
    ]
    assert sorted(names) == sorted(
        [
            "__main__.py",
            "chat_client.py",
            "chat_server.py",
            "incoming_text.py",
            "protocol.py",
            "terminals.py",
            *packages,
        ]
    )
    assert pyz.read_bytes().startswith(b"#!/usr/bin/env python3\n")


def test_client_and_server_talk_out_of_the_file(folder: Path, port: int) -> None:
    (folder / "class.csv").write_text("chatid,password\nada,secret\ngrace,\n", "utf-8")
    imported = run(folder, "serve", "import", "class.csv")  # hashes in processes of their own
    assert (imported.returncode, imported.stdout[:22]) == (0, "chatid,password\ngrace,"), (
        imported.stderr
    )
    (folder / "password").write_text("secret\n", "utf-8")
    server = f"127.0.0.1:{port}"
    said = run(
        folder, server, "-u", "ada", "--password-file", "-", typed="secret\nHello out of one file\n"
    )
    assert said.returncode == 0 and "* sent 1\n" in said.stdout, said
    heard = run(folder, server, "-u", "ada", "--password-file", "password", "history", "lobby")
    assert heard.stdout.endswith(" ada: Hello out of one file\n"), heard
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "chat-data",
        "chat.pyz",
        "class.csv",
        "password",
    ], "data lie where one stands"
    day = next((folder / "chat-data" / "journal" / "room-000001").iterdir())
    assert '"content": "Hello out of one file"' in run(folder, "read", str(day)).stdout


def test_wrong_words_are_answered_in_the_name_of_the_file(folder: Path) -> None:
    wrong = run(folder, "serve", "--no-such-option")
    assert wrong.returncode == 2 and "chat.pyz serve" in wrong.stderr
    assert run(folder, "doctor", "127.0.0.1:1").returncode == 3


@pytest.mark.long
def test_further_words_are_passed_on(folder: Path) -> None:
    shown = run(folder, "serve", "--show-config").stdout
    assert shown.startswith("#") or "[server]" in shown
    assert run(folder, "--help").stdout.startswith("usage: chat.pyz [HOST[:PORT]]")


@pytest.mark.long
def test_portable_settings_lie_beside_the_file(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    saved = run(folder, "127.0.0.1:1", "--portable", "--save", "--show-settings")
    assert saved.returncode == 0
    run(folder, "127.0.0.1:1", "-u", "ada", "--portable", "--save", "doctor")
    assert "server = 127.0.0.1:1" in (folder / "chat-client.ini").read_text("utf-8")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shown = subprocess.run(
        [sys.executable, str(folder / "chat.pyz"), "--show-settings"],
        cwd=elsewhere,
        env=environment(folder),
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=True,
    ).stdout
    assert "server = 127.0.0.1:1" in shown and str(folder) in shown
