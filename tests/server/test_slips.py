"""`slips`: a page to cut apart, with the passwords that the import has just made up and no
others."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.data_folder import Folder

from server.command_line import importing, slips, welcome
from server.command_line.admin import STOPPED
from server.command_line.new_password import looks_made_up, make_up_password
from storage import accounts, passwords, portable
from storage.database import Database
from storage.errors import StorageError

ROSTER = "chatid,password\nada,\nbob,given\n"
COST = ("--password-cost", "4")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "class.csv").write_text(ROSTER)
    return Folder(tmp_path / "data")


def made(folder: Folder, roster: str = "class.csv", *options: str) -> str:
    target = folder.path.parent / "slips.html"
    target.unlink(missing_ok=True)
    path = str(folder.path.parent / roster)
    folder.done("slips", path, *COST, *options, "-o", str(target))
    return target.read_text("utf-8")


def shown(text: str) -> dict[str, str | None]:
    """Name and password of each slip."""
    found: dict[str, str | None] = {}
    for part in text.split("<article>")[1:]:
        name = re.search(r"<h2><bdi>(.*?)</bdi>", part)
        password = re.search(r"Password</dt><dd><code>(.*?)</code>", part)
        assert name is not None
        found[name[1]] = password[1] if password else None
    return found


def fits(folder: Folder, name: str, password: str) -> bool:
    database = folder.database()
    with database.reading() as reader:
        account = accounts.find(reader, name)
    database.close()
    assert account is not None
    return passwords.verify_password(password, account.password_hash)


def test_accounts_are_made_and_each_gets_a_slip(folder: Folder) -> None:
    text = made(folder, "class.csv", "--address", "10.0.0.7:9876")
    found = shown(text)
    assert list(found) == ["ada", "bob"] and found["bob"] is None
    assert found["ada"] is not None and looks_made_up(found["ada"])
    assert fits(folder, "ada", found["ada"]) and fits(folder, "bob", "given")
    assert text.count("python chat_client.py 10.0.0.7:9876") == 2
    assert "given" not in text and "the one that you have" in text
    assert "default-src 'none'" in text and "<script" not in text
    if os.name != "nt":
        assert stat.S_IMODE((folder.path.parent / "slips.html").stat().st_mode) == 0o600


@pytest.mark.parametrize(("command", "module"), [("slips", slips), ("import", importing)])
def test_passwords_survive_a_power_cut_before_there_are_accounts(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, command: str, module: Any
) -> None:
    target, done = folder.path.parent / "new", []
    make = module.create_accounts
    monkeypatch.setattr(portable, "sync_file", lambda _: done.append("bytes"))
    monkeypatch.setattr(portable, "sync_above", lambda path: done.append(path))
    monkeypatch.setattr(module, "create_accounts", lambda *a: done.append("accounts") or make(*a))
    folder.done(command, str(folder.path.parent / "class.csv"), *COST, "-o", str(target))
    assert done == [folder.path, "bytes", target, "accounts"]


@pytest.mark.parametrize("command", ["slips", "import"])
def test_ctrl_c_behind_the_commit_takes_no_password_that_counts(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    target, transaction = folder.make().path.parent / "new", Database.transaction

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    @contextmanager
    def pressed(database: Database) -> Iterator[sqlite3.Connection]:
        with transaction(database) as connection:
            yield connection
        stopped()

    words = (command, str(folder.path.parent / "class.csv"), *COST, "-o", str(target))
    with monkeypatch.context() as patched:
        patched.setattr(accounts, "create", stopped)
        assert folder.run(*words).status == STOPPED and not target.exists()
    monkeypatch.setattr(Database, "transaction", pressed)
    folder.done(*words)
    found = re.search(r"\w{4}-\w{4}-\w{4}", target.read_text("utf-8"))
    assert found is not None and fits(folder, "ada", found[0])


def test_the_passwords_that_import_has_written_are_printed_while_they_fit(folder: Folder) -> None:
    roster = folder.path.parent / "class.csv"
    printed = folder.done("import", str(roster), *COST).out
    (folder.path.parent / "passwords.csv").write_text(printed + "bob,given\n")
    found = shown(made(folder, "passwords.csv"))
    assert found["ada"] is not None and fits(folder, "ada", found["ada"])
    assert found["bob"] is None, "somebody chose it"
    folder.done("passwd", "ada", *COST)
    assert shown(made(folder, "passwords.csv")) == {"ada": None, "bob": None}
    assert shown(made(folder)) == {"ada": None, "bob": None}, "nothing is made up for who is there"


def test_the_address_is_this_machines_and_the_certificate_is_named(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(welcome, "places", lambda host: [welcome.Place("192.168.1.20")])
    assert "chat_client.py 192.168.1.20:9876<" in made(folder)
    monkeypatch.setattr(welcome, "places", lambda host: [])
    assert "chat_client.py 127.0.0.1:9876<" in made(folder)
    settings = slips.Settings(certfile="/etc/class.pem")
    text = slips.page([slips.Slip("<b>x", None)], "a:1", settings)
    assert "a:1 --tls --cafile class.pem" in text and "&lt;b&gt;x" in text
    settings = slips.Settings(certfile="/etc/our class.pem")
    text = slips.page([slips.Slip("x", None)], "a:1", settings)
    assert "--cafile &quot;our class.pem&quot;<" in text


def test_what_cannot_be_written_makes_no_account(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    roster, target = str(folder.path.parent / "class.csv"), str(folder.path.parent / "s.html")
    folder.make()
    assert "in the data folder" in folder.refused(
        "slips", roster, "-o", str(folder.path / "s.html")
    )

    def fail(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(slips, "portable", SimpleNamespace(open_own=fail))
        assert "no account was made" in folder.run("slips", roster, *COST, "-o", target).err
    assert folder.done("users").out == "" and not os.path.exists(target)

    def refuse(*given: Any) -> None:
        raise StorageError("the database is busy")

    with monkeypatch.context() as patch:
        patch.setattr(slips, "create_accounts", refuse)
        assert "no account was made" in folder.refused("slips", roster, *COST, "-o", target)
    assert not os.path.exists(target)

    def stop(*given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(slips, "create_accounts", stop)
    assert folder.run("slips", roster, *COST, "-o", target).status == 130
    assert not os.path.exists(target)


def test_a_deleted_account_keeps_its_name(folder: Folder) -> None:
    folder.make()
    folder.account("ada")
    folder.done("deluser", "ada")
    roster = str(folder.path.parent / "class.csv")
    assert folder.run("slips", roster, "-o", str(folder.path.parent / "s.html")).status == 1


def test_what_is_made_up_is_told_from_what_was_chosen() -> None:
    assert all(looks_made_up(make_up_password()) for _ in range(20))
    for chosen in ("", "secret", "a-b-c", "abcd-efgh-jkmo", "abcd-efgh", "ABCD-EFGH-JKMN"):
        assert not looks_made_up(chosen)
