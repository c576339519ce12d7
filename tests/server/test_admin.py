"""The commands beside serving: what they change, what they refuse, and that what they refuse
changes nothing."""

from __future__ import annotations

import errno
import getpass
import io
import os
import re
import time
from pathlib import Path
from typing import TextIO

import pytest

from server.command_line import admin, importing, rosters
from server.command_line.arguments import parse
from storage import accounts, passwords, rooms
from storage.database import Database
from storage.errors import NameTaken, StorageError, StorageFull
from storage.folder import DataFolder


class Console(io.StringIO):
    def isatty(self) -> bool:
        return True


class Closed(io.StringIO):
    """A stream that nobody reads any more."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def write(self, text: str) -> int:
        raise OSError(self._number, "nobody reads")


class Result:
    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


class Chat:
    """A data folder and the commands on it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, *argv: str, stdin: TextIO | None = None, stdout: TextIO | None = None) -> Result:
        out, err = stdout or io.StringIO(), io.StringIO()
        source = io.StringIO("secret\n") if stdin is None else stdin
        invocation = parse(["--data", str(self.path), "--password-cost", "4", *argv], {})
        status = admin.run(invocation, source, out, err)
        assert all(line.startswith("chat_server.py: ") for line in err.getvalue().splitlines())
        shown = out.getvalue() if isinstance(out, io.StringIO) else ""
        return Result(status, shown, err.getvalue())

    def refused(self, *argv: str, stdin: TextIO | None = None, status: int = 1) -> str:
        result = self.run(*argv, stdin=stdin)
        assert result.status == status
        assert result.out == ""
        return result.err

    def users(self) -> list[str]:
        result = self.run("users")
        assert (result.status, result.err) == (0, "")
        return result.out.splitlines()

    def database(self) -> Database:
        return Database(DataFolder(self.path).database_path, readers=1)

    def account(self, folded: str) -> accounts.Account:
        database = self.database()
        with database.reading() as connection:
            found = accounts.find(connection, folded)
        database.close()
        assert found is not None
        return found

    def has_password(self, folded: str, password: str) -> bool:
        return passwords.verify_password(password, self.account(folded).password_hash)


@pytest.fixture
def chat(tmp_path: Path) -> Chat:
    return Chat(tmp_path / "data")


@pytest.fixture
def roster(tmp_path: Path) -> Path:
    return tmp_path / "roster.csv"


def type_in(monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    waiting = iter(answers)

    def answer(prompt: str) -> str:
        try:
            return next(waiting)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr(getpass, "getpass", answer)


# --- adduser, passwd, deluser, users --------------------------------------------------------------


def test_adduser_works_before_the_first_start(chat: Chat) -> None:
    result = chat.run("adduser", "Ada")
    assert (result.status, result.out) == (0, "")
    assert "account 'Ada' made" in result.err
    assert chat.users() == ["Ada"]
    assert chat.has_password("ada", "secret")
    assert chat.account("ada").password_hash.startswith("scrypt$4$")


def test_the_password_is_the_first_line_of_stdin_where_that_is_no_terminal(chat: Chat) -> None:
    chat.run("adduser", "ada", stdin=io.StringIO(" spaces inside \r\nsecond line\n"))
    assert chat.has_password("ada", "spaces inside")


def test_the_password_is_the_first_line_of_a_file(chat: Chat, tmp_path: Path) -> None:
    (tmp_path / "pw").write_bytes("\ufeffgeheim-ß\r\nrest".encode())
    assert chat.run("adduser", "ada", "--password-file", str(tmp_path / "pw")).status == 0
    assert chat.has_password("ada", "geheim-ß")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_password_file_may_come_from_any_editor(
    chat: Chat, tmp_path: Path, encoding: str
) -> None:
    (tmp_path / "pw").write_bytes(" geheim-ß \r\nrest".encode(encoding))
    assert chat.run("adduser", "ada", "--password-file", str(tmp_path / "pw")).status == 0
    assert chat.has_password("ada", "geheim-ß")


def test_on_a_terminal_the_password_is_asked_for_twice(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    type_in(monkeypatch, "typed", "typed")
    assert chat.run("adduser", "ada", stdin=Console()).status == 0
    assert chat.has_password("ada", "typed")
    type_in(monkeypatch, "typed", "tpyed")
    assert "the two passwords differ" in chat.refused("adduser", "bob", stdin=Console())
    type_in(monkeypatch)
    assert "no password was typed" in chat.refused("adduser", "bob", stdin=Console())
    assert chat.users() == ["ada"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected 1 to 128 characters, got 0"),
        ("\n", "expected 1 to 128 characters, got 0"),
        ("x" * 129 + "\n", "expected 1 to 128 characters, got 129"),
        ("x" * 10**6, "expected 1 to 128 characters, got 1000"),
        ("a\0b\n", "NUL"),
        ("\udcff\n", "expected text in UTF-8"),
    ],
)
def test_an_impossible_password_is_refused_and_makes_no_account(
    chat: Chat, text: str, words: str
) -> None:
    line = chat.refused("adduser", "ada", stdin=io.StringIO(text))
    assert "the first line of stdin: " in line
    assert words in line
    assert chat.users() == []


def test_a_password_source_that_cannot_be_read_is_named(chat: Chat, tmp_path: Path) -> None:
    assert "--password-file: cannot read" in chat.refused(
        "adduser", "ada", "--password-file", str(tmp_path / "none")
    )
    (tmp_path / "pw").write_bytes(b"\xff\xfe\n")
    assert "expected a file with text in UTF-8" in chat.refused(
        "adduser", "a", "--password-file", str(tmp_path / "pw")
    )
    closed = io.StringIO()
    closed.isatty = lambda: False  # type: ignore[method-assign]
    closed.close()
    assert "cannot read a password from stdin" in chat.refused("adduser", "ada", stdin=closed)
    out, err = io.StringIO(), io.StringIO()
    assert admin.run(parse(["adduser", "ada", "--data", str(chat.path)], {}), None, out, err) == 1
    assert "got 0" in err.getvalue()


@pytest.mark.parametrize(
    "name", ["", "a b", "x" * 33, "a\x1b[2J", "\ufdfa", "a/b", "\udcff", "a\u200bb"]
)
def test_an_impossible_name_is_refused_before_anything_is_touched(chat: Chat, name: str) -> None:
    line = chat.refused("adduser", "--", name)
    assert "expected 1 to 32 characters" in line
    assert "\x1b" not in line
    assert not chat.path.exists()


@pytest.mark.parametrize("name", ["x" * 32, "Zoë", "王小明", "-x", "a.b_c-d", "0"])
def test_a_possible_name_is_taken_as_written(chat: Chat, name: str) -> None:
    assert chat.run("adduser", "--", name).status == 0
    assert chat.users() == [name]


def test_a_taken_name_is_refused_in_every_spelling(chat: Chat) -> None:
    chat.run("adduser", "Ada")
    for name in ("Ada", "ADA", "\uff41da"):
        line = chat.refused("adduser", name)
        assert f"there is an account '{name}' already" in line
        assert "passwd" in line


def test_a_name_that_is_taken_while_the_password_is_typed_is_refused(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise NameTaken

    monkeypatch.setattr(accounts, "create", refuse)
    assert "there is an account 'ada' already" in chat.refused("adduser", "ada")


def test_passwd_sets_a_new_password_and_ends_what_the_old_one_opened(chat: Chat) -> None:
    chat.run("adduser", "Ada")
    before = chat.account("ada").credential_version
    result = chat.run("passwd", "ADA", stdin=io.StringIO("new\n"))
    assert result.status == 0
    assert "'Ada' has a new password" in result.err
    assert chat.has_password("ada", "new")
    assert chat.account("ada").credential_version > before


def test_deluser_deletes_and_the_name_stays_reserved(chat: Chat) -> None:
    chat.run("adduser", "ada")
    chat.run("adduser", "bob")
    assert chat.run("deluser", "ADA").status == 0
    assert chat.users() == ["bob"]
    assert "stays reserved" in chat.refused("adduser", "ada")
    assert "was deleted" in chat.refused("deluser", "ada")
    assert "was deleted" in chat.refused("passwd", "ada")
    assert "no account 'eve'" in chat.refused("passwd", "eve")
    assert "no account 'eve'" in chat.refused("deluser", "eve")


def test_users_are_sorted_one_a_line_and_no_hash_is_printed(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bob", "Zoe", "ada", "cy"):
        chat.run("adduser", name)
    assert chat.users() == ["Zoe", "ada", "bob", "cy"]
    monkeypatch.setattr(admin, "PAGE", 2)
    assert chat.users() == ["Zoe", "ada", "bob", "cy"]


@pytest.mark.parametrize(
    "argv", [["users"], ["passwd", "ada"], ["deluser", "ada"], ["restore-room", "x"]]
)
def test_a_slip_in_data_is_told_and_makes_no_folder(chat: Chat, argv: list[str]) -> None:
    assert "no chat data in '" in chat.refused(*argv)
    assert not chat.path.exists()


@pytest.mark.skipif(os.name == "nt", reason="folders have no such modes on Windows")
def test_a_folder_that_others_can_read_is_refused(chat: Chat) -> None:
    chat.run("adduser", "ada")
    chat.path.chmod(0o755)
    assert "chmod 700" in chat.refused("users")


def test_the_commands_work_while_a_server_holds_the_folder(chat: Chat) -> None:
    folder = DataFolder(chat.path)
    folder.prepare()
    folder.lock()
    server = Database(folder.database_path)
    try:
        server.changed_elsewhere()
        chat.run("adduser", "ada")
        assert server.changed_elsewhere()
        with server.reading() as connection:
            assert accounts.find(connection, "ada") is not None
        assert chat.run("deluser", "ada").status == 0
    finally:
        server.close()
        folder.unlock()


# --- import ---------------------------------------------------------------------------------------


def test_import_makes_every_account_of_the_roster(chat: Chat, roster: Path) -> None:
    roster.write_bytes('\ufeffchatid,password\r\nada,one\r\n\r\n"Zoë","t,""wo"\r\n'.encode())
    result = chat.run("import", str(roster))
    assert (result.status, result.out) == (0, "")
    assert "2 accounts made\n" in result.err
    assert chat.users() == ["Zoë", "ada"]
    assert chat.has_password("ada", "one")
    assert chat.has_password("zoë", 't,"wo')


def test_an_empty_password_is_made_up_and_printed_once(chat: Chat, roster: Path) -> None:
    roster.write_text("Password,ChatID\n,ada\nsecret,bob\n,cy\n", encoding="utf-8")
    result = chat.run("import", str(roster))
    header, *lines = result.out.splitlines()
    assert header == "chatid,password"
    made_up = dict(line.split(",") for line in lines)
    assert list(made_up) == ["ada", "cy"]
    assert made_up["ada"] != made_up["cy"]
    assert all(
        re.fullmatch(r"([a-z2-9]{4}-){2}[a-z2-9]{4}", password) for password in made_up.values()
    )
    assert chat.has_password("ada", made_up["ada"])
    assert "3 accounts made, 2 of them with a password made up" in result.err


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a b,x", "chatid 'a b': expected 1 to 32 characters"),
        (",x", "chatid '': expected 1 to 32 characters"),
        ("eve", "expected 2 columns, got 1"),
        ("eve,x,y", "expected 2 columns, got 3"),
        ("ADA,x", "chatid 'ADA': the same name as in line 2"),
        ("Gone,x", "stays reserved"),
        ("taken,x", "there is an account 'taken' already"),
        ("eve," + "x" * 129, "password: expected 1 to 128 characters, got 129"),
        ('eve,"x', "expected comma-separated values"),
        ('eve,"x"y', "expected comma-separated values"),
        ("a\x1b,x", "chatid 'a\\x1b'"),
    ],
)
def test_a_bad_row_is_named_with_its_line_and_nothing_of_the_file_is_taken(
    chat: Chat, roster: Path, row: str, words: str
) -> None:
    for name in ("taken", "gone"):
        chat.run("adduser", name)
    chat.run("deluser", "gone")
    roster.write_text(f"chatid,password\nada,\n\n{row}\n", encoding="utf-8")
    text = chat.refused("import", str(roster))
    assert f"{roster}:4: " in text
    assert words in text
    assert chat.users() == ["taken"]


def test_the_line_of_a_row_is_where_it_begins(chat: Chat, roster: Path) -> None:
    roster.write_text('chatid,password\n"a\nb",x\nc d,x\n', encoding="utf-8", newline="\n")
    text = chat.refused("import", str(roster))
    assert f"{roster}:2: chatid 'a\\x0ab'" in text
    assert f"{roster}:4: chatid 'c d'" in text
    assert "nothing was taken" in text
    assert not chat.path.exists()


@pytest.mark.parametrize(
    "content",
    [
        "chatid;password\nada;one\nZoë;two\n",
        "chatid\tpassword\nada\tone\nZoë\ttwo\n",
        "sep=;\nchatid;password\nada;one\nZoë;two\n",
        "SEP=|\nchatid|password\nada|one\nZoë|two\n",
        "name,password\nada,one\nZoë,two\n",
        " Name , Password ,,\n ada , one ,,\n,,,\n\u00a0Zoë,two\u200b,\n , \n",
        'chatid, password\nada, "one"\nZoë, two\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_rosters_of_every_spreadsheet_make_the_same_accounts(
    chat: Chat, roster: Path, content: str, encoding: str
) -> None:
    roster.write_bytes(content.replace("\n", "\r\n").encode(encoding, "ignore"))
    assert chat.run("import", str(roster)).status == 0
    assert chat.users() == ["Zoë", "ada"]
    assert chat.has_password("ada", "one") and chat.has_password("zoë", "two")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            "eve,a\u00a0b",
            "3: password: character 2 is U+00A0 (no-break space), which can't be typed",
        ),
        ("eve,a\u200bb", "3: password: character 2 is U+200B"),
        ('eve,"a\nb"', "3: password: character 2 is U+000A"),
        ("eve,a,b", "quotation marks around a cell keep a comma in it"),
        ('eve,a"b"', ""),
    ],
)
def test_a_password_that_nobody_can_type_is_refused(
    chat: Chat, roster: Path, row: str, words: str
) -> None:
    roster.write_text(f"sep=,\nchatid,password\n{row}\n", encoding="utf-8")
    if words:
        assert words in chat.refused("import", str(roster))
    else:
        assert chat.run("import", str(roster)).status == 0


def test_names_of_a_guessed_encoding_are_shown(chat: Chat, roster: Path) -> None:
    roster.write_bytes("chatid,password\nZoë,x\nada,y\n".encode("cp1252"))
    assert "was read as cp1252: see whether names are right, as 'Zoë'\n" in (
        chat.run("import", str(roster)).err
    )


def test_existing_accounts_are_left_alone_where_asked(chat: Chat, roster: Path) -> None:
    chat.run("adduser", "ada")
    roster.write_text("chatid,password\nADA,other\nbob,one\n", encoding="utf-8")
    assert "there is an account 'ADA' already" in chat.refused("import", str(roster))
    result = chat.run("import", "--skip-existing", str(roster))
    assert "1 account made, 1 left as it is\n" in result.err
    assert chat.has_password("ada", "secret") and chat.has_password("bob", "one")
    chat.run("deluser", "bob")
    assert "stays reserved" in chat.refused("import", "--skip-existing", str(roster))


def test_made_up_passwords_are_utf_8_with_a_mark_where_stdout_is_not(
    chat: Chat, roster: Path
) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), "cp1252", newline="\n")
    roster.write_text("chatid,password\nŁukasz,\n", encoding="utf-8")
    assert chat.run("import", str(roster), stdout=narrow).status == 0
    assert narrow.buffer.getvalue().startswith("\ufeffchatid,password\nŁukasz,".encode())
    names = io.TextIOWrapper(io.BytesIO(), "cp1252", newline="\n")
    assert chat.run("users", stdout=names).status == 0
    assert names.buffer.getvalue() == "\ufeffŁukasz\n".encode()


def test_made_up_passwords_go_to_a_new_file_for_the_owner_alone(
    chat: Chat, roster: Path, tmp_path: Path
) -> None:
    roster.write_text("name\tpassword\nŁukasz\t\nbob\tone\n", encoding="utf-8")
    target = tmp_path / "made up.csv"
    result = chat.run("import", str(roster), "-o", str(target))
    assert (result.status, result.out) == (0, "")
    assert target.read_bytes().startswith("\ufeffchatid,password\nŁukasz,".encode())
    if os.name == "posix":
        assert target.stat().st_mode & 0o777 == 0o600
    again = Chat(tmp_path / "again")
    assert again.run("import", str(target)).status == 0  # what came out goes in
    assert again.users() == ["Łukasz"]


def test_a_folder_gets_a_file_named_after_the_roster(
    chat: Chat, roster: Path, tmp_path: Path
) -> None:
    roster.write_text("chatid,password\nada,\n", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    assert chat.run("import", str(roster), "--output", str(tmp_path / "folder")).status == 0
    assert (tmp_path / "folder" / "roster-passwords.csv").exists()


def test_a_place_for_passwords_is_refused_before_anything_is_made(
    chat: Chat, roster: Path, tmp_path: Path
) -> None:
    roster.write_text("chatid,password\nada,\n", encoding="utf-8")
    target = tmp_path / "there.csv"
    target.write_text("keep", "utf-8")
    refused = chat.refused("import", str(roster), "-o", str(target))
    assert "exists, and may hold passwords" in refused and target.read_text() == "keep"
    nowhere = tmp_path / "none" / "file"
    refused = chat.refused("import", str(roster), "-o", str(nowhere), status=2)
    assert "-o: cannot write" in refused
    assert chat.users() == []


def test_a_file_of_passwords_that_do_not_count_is_removed(
    chat: Chat, roster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StorageError("the disk failed")

    monkeypatch.setattr(accounts, "create", fail)
    roster.write_text("chatid,password\nada,\n", encoding="utf-8")
    chat.refused("import", str(roster), "-o", str(tmp_path / "out.csv"))
    assert not (tmp_path / "out.csv").exists()


def test_passwords_that_another_import_has_written_meanwhile_stay(
    chat: Chat, roster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, really_open = tmp_path / "out.csv", importing._open
    monkeypatch.setattr(
        importing, "_open", lambda path: target.write_text("x") and really_open(path)
    )
    roster.write_text("chatid,password\nada,\n", encoding="utf-8")
    assert "exists, and may hold passwords" in chat.refused(
        "import", str(roster), "-o", str(target)
    )
    assert target.read_text() == "x"


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="there is no /dev/null")
def test_a_device_is_written_and_stays(chat: Chat, roster: Path) -> None:
    roster.write_text("chatid,password\nada,\n", encoding="utf-8")
    assert chat.run("import", str(roster), "-o", "/dev/null").status == 0
    assert Path("/dev/null").is_char_device()


def test_many_bad_rows_are_not_all_named(chat: Chat, roster: Path) -> None:
    roster.write_text("chatid,password\n" + "a b,x\n" * 50, encoding="utf-8")
    text = chat.refused("import", str(roster))
    assert text.count("expected 1 to 32") == rosters.MOST_BAD_ROWS
    assert "and 30 more bad rows" in text


@pytest.mark.parametrize(
    "content", [b"", b"ada,one\n", b"chatid:password\n", b"chatid\nada\n", b"chatid,password,x\n"]
)
def test_the_header_is_required(chat: Chat, roster: Path, content: bytes) -> None:
    roster.write_bytes(content)
    assert f"{roster}:1: expected the header chatid,password, got '" in chat.refused(
        "import", str(roster)
    )


def test_a_roster_that_cannot_be_read_is_named(chat: Chat, roster: Path) -> None:
    assert "cannot read" in chat.refused("import", str(roster))
    roster.write_bytes(b"chatid,password\nZo\x81,x\n")
    refused = chat.refused("import", str(roster))
    assert f"{roster}: line 2, column 3: " in refused and "as 'CSV UTF-8'" in refused
    assert not chat.path.exists()


def test_a_roster_without_rows_makes_nothing(chat: Chat, roster: Path) -> None:
    roster.write_text("chatid,password\n", encoding="utf-8")
    assert "0 accounts made" in chat.run("import", str(roster)).err


def test_an_import_that_fails_at_its_last_row_takes_nothing(
    chat: Chat, roster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = accounts.create

    def refuse_cy(connection: object, chatid: str, *rest: object) -> object:
        if chatid == "cy":
            raise StorageError("the disk failed")
        return create(connection, chatid, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(accounts, "create", refuse_cy)
    roster.write_text("chatid,password\nada,x\nbob,x\ncy,x\n", encoding="utf-8")
    text = chat.refused("import", str(roster))
    assert "the disk failed; nothing was taken from" in text
    assert chat.users() == []
    roster.write_text("chatid,password\nada,\ncy,\n", encoding="utf-8")
    result = chat.run("import", str(roster))
    assert result.status == 1
    assert "passwords printed above do not count" in result.err
    assert chat.users() == []


def test_passwords_that_cannot_be_shown_are_not_set(chat: Chat, roster: Path) -> None:
    roster.write_text("chatid,password\nada,\n", encoding="utf-8")
    result = chat.run("import", str(roster), stdout=Closed(errno.EPIPE))
    assert result.status == 1
    assert "cannot write to stdout: nobody reads" in result.err
    assert chat.users() == []


# --- restore-room and the way out -----------------------------------------------------------------


def test_restore_room_brings_a_deleted_room_back_and_prints_its_name(chat: Chat) -> None:
    chat.run("adduser", "ada")
    ada = chat.account("ada").id
    database = chat.database()
    now = int(time.time())
    with database.transaction() as connection:
        room = rooms.create_private(connection, "p-1", "Maths 7b", ada, [ada], now)
        rooms.mark_deleted(connection, room.pk, now)
    result = chat.run("restore-room", "p-1")
    assert (result.status, result.out) == (0, "Maths 7b\n")
    assert "room restored" in result.err
    with database.reading() as connection:
        found = rooms.find(connection, "p-1")
    database.close()
    assert found is not None
    assert not found.deleted
    again = chat.run("restore-room", "p-1")
    assert (again.status, again.out) == (0, "Maths 7b\n")
    assert "nothing to do" in again.err
    assert "no room has the id 'p-\\x1b'" in chat.refused("restore-room", "p-\x1b")


def test_a_full_disk_is_one_line_with_the_way_out(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StorageFull("the disk is full")

    monkeypatch.setattr(accounts, "create", refuse)
    assert "the disk is full; nothing was changed: make room" in chat.refused("adduser", "ada")


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EINVAL], ids=["posix", "windows"])
def test_a_reader_who_has_seen_enough_of_the_users_is_not_told(chat: Chat, number: int) -> None:
    chat.run("adduser", "ada")
    result = chat.run("users", stdout=Closed(number))
    assert (result.status, result.err) == (1, "")


def test_the_null_device_is_nobody_who_types_a_password(chat: Chat) -> None:
    """Windows takes it for a terminal: the command would wait for ever."""
    with open(os.devnull, encoding="utf-8") as null:
        assert "got 0" in chat.refused("adduser", "ada", stdin=null)


def test_ctrl_c_ends_with_the_shells_status(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(prompt: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(getpass, "getpass", interrupt)
    result = chat.run("adduser", "ada", stdin=Console())
    assert result.status == 130
    assert "stopped" in result.err
    assert chat.users() == []


# --- Roles ----------------------------------------------------------------------------------------


def test_accounts_have_the_role_that_the_command_line_gave(chat: Chat, tmp_path: Path) -> None:
    assert chat.run("adduser", "Ada").status == 0
    result = chat.run("adduser", "Grace", "--teacher")
    assert "a teacher's" in result.err
    roster = tmp_path / "roster.csv"
    roster.write_text("role,chatid,password\nteacher,Mary,x\n,Bob,y\nStudent,Eve,z\n")
    assert chat.run("import", str(roster)).status == 0
    assert chat.users() == ["Ada", "Bob", "Eve", "Grace\tteacher", "Mary\tteacher"]


def test_a_new_role_ends_what_was_logged_in_and_the_same_role_nothing(chat: Chat) -> None:
    chat.run("adduser", "Ada")
    assert "nothing to do" in chat.run("role", "ada", "student").err
    assert chat.account("ada").credential_version == 1
    assert "'Ada' is a teacher now" in chat.run("role", "ada", "teacher").err
    changed = chat.account("ada")
    assert (changed.role, changed.credential_version) == ("teacher", 2)
    assert "no account 'bob'" in chat.refused("role", "bob", "teacher")
    with pytest.raises(SystemExit):
        chat.run("role", "ada", "boss")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("chatid,password,role\nada,x,boss\n", ":2: role 'boss': expected teacher or student"),
        ("chatid,password,role\nada,x\n", ":2: expected 3 columns, got 2"),
        ("chatid,password,role,role\n", ":1: expected the header"),
        ("chatid,role\n", ":1: expected the header"),
        ("chatid,password,class\n", ":1: expected the header"),
    ],
)
def test_a_roster_with_a_wrong_role_is_refused(
    chat: Chat, tmp_path: Path, text: str, told: str
) -> None:
    roster = tmp_path / "roster.csv"
    roster.write_text(text)
    assert told in chat.refused("import", str(roster))
    assert not (chat.path / "chat.db").exists() or chat.users() == []
