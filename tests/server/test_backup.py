"""`backup` and `restore`: what a copy holds, what is refused, and that nothing is left of what
failed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sqlite3
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.data_folder import Folder

from server.archive import backup, restore
from server.state.recent_messages import delivered
from server.state.uploads import file_frame as build_file_frame
from storage import copies, messages, portable, schema, uploads
from storage.database import Database
from storage.errors import StorageError, StorageFull
from storage.folder import DataFolder

DAY = "2023-11-14"


def frame(message_id: int, content: str) -> bytes:
    message = messages.Message(message_id, 1, 1, "ada", content, 1_700_000_000)
    return delivered("lobby", message, {}).frame


def file_frame(name: str, sent_at: int) -> bytes:
    stored = uploads.StoredFile(
        1, 1, 1, "ada", name, name, 5, "text/plain", "0" * 64, sent_at, "0" * 32, 1, None
    )
    return build_file_frame("lobby", stored)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "data").make()
    made.say("ada", "one", "two")
    made.send_file("ada", "tides.txt", b"high and low" * 100_000)
    made.send_file("bob", "empty.txt", b"")
    made.write_journal(1, DAY, frame(1, "one") + frame(2, "two"))
    return made


@pytest.fixture
def copy(folder: Folder, tmp_path: Path) -> Path:
    folder.done("backup", str(tmp_path / "copy.zip"))
    return tmp_path / "copy.zip"


def contents(path: Path) -> dict[str, bytes]:
    """Every file below `path` but the database's own logs."""
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and not file.name.startswith("chat.db")
    }


# --- What a copy holds ----------------------------------------------------------------------------


def test_a_copy_restores_to_the_same_folder(folder: Folder, copy: Path, tmp_path: Path) -> None:
    result = folder.done("restore", str(copy), "--data", str(tmp_path / "new"))
    assert "4 files restored" in result.err
    assert contents(tmp_path / "new") == contents(folder.path)
    assert Folder(tmp_path / "new").done("users").out == "ada\nbob\n"
    database = Database(tmp_path / "new" / "chat.db", readers=1)
    with database.reading() as reader:
        said = reader.execute("SELECT id, content FROM messages").fetchall()
    database.close()
    assert said == [(1, "one"), (2, "two")]


def test_a_copy_says_what_it_holds_and_is_for_its_owner_alone(
    folder: Folder, tmp_path: Path
) -> None:
    result = folder.done("backup", str(tmp_path / "copy.zip"))
    assert "'copy.zip'" in result.err.replace(f"{tmp_path}{os.sep}", "")
    assert "2 accounts, 2 messages and 2 files" in result.err
    if os.name != "nt":
        assert stat.S_IMODE((tmp_path / "copy.zip").stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["copy.zip", "data"]


def test_a_copy_restores_also_where_a_scanner_of_windows_looks_into_what_is_new(
    folder: Folder, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: set[Any] = set()

    def held_once(act: Callable[..., None]) -> Callable[..., None]:
        def acted(*paths: Path) -> None:
            if paths not in refused:
                refused.add(paths)
                raise PermissionError(13, "Access is denied")
            act(*paths)

        return acted

    monkeypatch.setattr(portable, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(portable, "_platform", "win32")
    monkeypatch.setattr(os, "rename", held_once(os.rename))
    monkeypatch.setattr(os, "rmdir", held_once(os.rmdir))
    folder.done("restore", str(copy), "--data", str(tmp_path / "new"))
    assert len(refused) == 4 and contents(tmp_path / "new") == contents(folder.path)


def test_the_names_of_all_that_is_restored_survive_a_power_cut(
    folder: Folder, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: dict[Path, set[str]] = {}
    monkeypatch.setattr(
        portable, "sync_folder", lambda path: synced.update({Path(path): set(os.listdir(path))})
    )
    new = tmp_path.resolve() / "new"
    restore.restore_backup(copy, new)
    work = new / restore.WORK
    for path in (new / "uploads", new / "journal", *(new / "journal").iterdir()):
        assert synced.get(work / path.relative_to(new)) == set(os.listdir(path)), path
    assert synced[new] >= {"uploads", "journal", "chat.db"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_a_restored_folder_is_for_its_owner_alone(
    folder: Folder, copy: Path, tmp_path: Path
) -> None:
    folder.done("restore", str(copy), "--data", str(tmp_path / "new"))
    for path in (tmp_path / "new", *(tmp_path / "new").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    DataFolder(tmp_path / "new").prepare()


def test_what_the_journal_has_beyond_the_copied_database_is_left_out(
    folder: Folder, tmp_path: Path
) -> None:
    later = frame(3, "later") + file_frame("later.txt", 1_700_000_000)
    known = file_frame("tides.txt", 1_700_000_000)
    path = folder.write_journal(1, DAY, known + later + frame(1, '"message_id":9')[:-3])
    folder.done("backup", str(tmp_path / "copy.zip"))
    name = f"journal/room-000001/{path.name}"
    with zipfile.ZipFile(tmp_path / "copy.zip") as archive:
        assert archive.read(name) == frame(1, "one") + frame(2, "two") + known


def test_a_journal_file_that_goes_meanwhile_is_left_out(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = backup._files_of

    def remove_first(*given: Any) -> set[tuple[str, str]]:
        for path in (folder.path / "journal").rglob("*.frames"):
            path.unlink()
        return real(*given)

    monkeypatch.setattr(backup, "_files_of", remove_first)
    folder.done("backup", str(tmp_path / "copy.zip"))
    with zipfile.ZipFile(tmp_path / "copy.zip") as archive:
        assert not [name for name in archive.namelist() if name.startswith("journal")]


def test_a_journal_that_cannot_be_read_makes_no_copy(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> None:
        raise StorageError("the journal is broken")

    monkeypatch.setattr(backup.Journal, "read", fail)
    assert "no copy was made: the journal is broken" in folder.refused(
        "backup", str(tmp_path / "copy.zip")
    )
    assert os.listdir(tmp_path) == ["data"]


def test_a_file_removed_meanwhile_makes_the_copy_begin_anew(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = backup.copies.copy_database, []

    def copy_then_remove(source: Path, target: Path) -> None:
        real(source, target)
        calls.append(target)
        if len(calls) == 1:  # as `forget` does it: the row, then the file
            database = folder.database()
            with database.transaction() as connection:
                row = connection.execute("SELECT disk_name FROM files WHERE id = 1").fetchone()
                connection.execute("DELETE FROM files WHERE id = 1")
            database.close()
            (folder.path / "uploads" / row[0]).unlink()

    monkeypatch.setattr(backup.copies, "copy_database", copy_then_remove)
    assert "1 file" in folder.done("backup", str(tmp_path / "copy.zip")).err
    assert len(calls) == 2


def test_a_file_that_was_lost_is_told_and_the_rest_is_copied(
    folder: Folder, tmp_path: Path
) -> None:
    for path in (folder.path / "uploads").iterdir():
        path.unlink()
    assert "in the copy: 2 files" in folder.done("backup", str(tmp_path / "copy.zip")).err
    folder.done("restore", str(tmp_path / "copy.zip"), "--data", str(tmp_path / "new"))


# --- Where a copy may not go ----------------------------------------------------------------------


def test_a_copy_is_written_over_nothing(folder: Folder, copy: Path) -> None:
    before = copy.read_bytes()
    assert "is there already" in folder.refused("backup", str(copy))
    assert copy.read_bytes() == before


def test_a_copy_whose_name_is_taken_meanwhile_is_given_up(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = backup._write
    target = tmp_path / "copy.zip"

    def write(*given: Any, **named: Any) -> Any:
        target.write_bytes(b"mine")
        return real(*given, **named)

    monkeypatch.setattr(backup, "_write", write)
    assert "is there already" in folder.refused("backup", str(target))
    assert target.read_bytes() == b"mine"

    def no_links(*given: Any) -> None:
        raise PermissionError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    target.unlink()
    assert "is there already" in folder.refused("backup", str(target))
    monkeypatch.setattr(backup, "_write", real)
    target.unlink()
    folder.done("backup", str(target))
    assert sorted(os.listdir(tmp_path)) == ["copy.zip", "data"]


@pytest.mark.parametrize("place", ["copy.zip", "uploads/copy.zip", "new/../copy.zip"])
def test_no_copy_goes_into_the_data_folder(folder: Folder, place: str) -> None:
    (folder.path / "uploads" / "x").mkdir()
    before = contents(folder.path)
    (folder.path / "new").mkdir()
    assert "lies in the data folder" in folder.refused("backup", str(folder.path / place))
    assert contents(folder.path) == before


@pytest.mark.parametrize("place", ["nowhere/copy.zip", "."])
def test_a_copy_needs_a_folder(folder: Folder, tmp_path: Path, place: str) -> None:
    status = 1 if place == "." else 2
    assert folder.refused("backup", str(tmp_path / place), status=status) != ""
    assert os.listdir(tmp_path) == ["data"]


def test_a_place_without_rights_is_status_2_before_anything_begins(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # root may write anywhere
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    for command in (("backup",), ("export", "-o"), ("new-term", "-o"), ("attendance", "-o")):
        line = folder.refused(*command, str(tmp_path / "out"), status=2)
        assert "nothing can be written in" in line and "name another place" in line
    assert os.listdir(tmp_path) == ["data"]


def test_nothing_is_copied_where_there_is_no_chat(tmp_path: Path) -> None:
    assert "no chat data" in Folder(tmp_path / "data").refused("backup", str(tmp_path / "c.zip"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no room for the copy"),
        (OSError(errno.EACCES, "Permission denied"), "no copy was made"),
        (StorageFull("the disk is full"), "no room for the copy"),
    ],
)
def test_a_copy_that_fails_leaves_nothing(
    folder: Folder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    words: str,
) -> None:
    def fail(*given: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(portable, "sync_file", fail)
        assert words in folder.refused("backup", str(tmp_path / "copy.zip"))
    assert os.listdir(tmp_path) == ["data"]
    monkeypatch.setattr(backup.tempfile, "mkdtemp", lambda **_: fail())
    folder.refused("backup", str(tmp_path / "copy.zip"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux")
def test_a_database_that_does_not_fit_is_one_line(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = copies._connect

    def small(path: Path, mode: str) -> Any:
        connection = real(path, mode)
        if mode == "rw":
            connection.execute("PRAGMA max_page_count = 2")
        return connection

    monkeypatch.setattr(copies, "_connect", small)
    assert "no room for the copy" in folder.refused("backup", str(tmp_path / "copy.zip"))
    assert os.listdir(tmp_path) == ["data"]


# --- What is not restored -------------------------------------------------------------------------


def refused_restore(folder: Folder, copy: Path) -> str:
    """The one line of a restore that is refused; nothing is left of it."""
    target = copy.parent / "new"
    before = sorted(os.listdir(copy.parent))
    line = folder.refused("restore", str(copy), "--data", str(target))
    assert sorted(os.listdir(copy.parent)) == before
    return line


@pytest.mark.parametrize("name", ["notes.txt", "chat.db", restore.WORK])
def test_only_an_empty_folder_is_restored_into(folder: Folder, copy: Path, name: str) -> None:
    target = copy.parent / "new"
    target.mkdir()
    (target / name).write_text("mine")
    line = refused_restore(folder, copy)
    assert f"is not empty: it holds {name}" in line
    assert ("remove it" in line) == (name == restore.WORK)
    assert os.listdir(target) == [name] and (target / name).read_text() == "mine"


def test_an_empty_folder_is_restored_into_and_stays_empty_where_that_fails(
    folder: Folder, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = copy.parent / "new"
    target.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(restore.copies, "check_copy", lambda _: (_ for _ in ()).throw(MemoryError()))
        with pytest.raises(MemoryError):
            folder.run("restore", str(copy), "--data", str(target))
    assert os.listdir(target) == []

    def fail(path: Path) -> None:
        if path == target:  # all lies in its place by then
            raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(portable, "sync_folder", fail)
        line = folder.refused("restore", str(copy), "--data", str(target))
        assert "nothing was restored" in line
    assert os.listdir(target) == []
    folder.done("restore", str(copy), "--data", str(target))
    assert contents(target) == contents(folder.path)


def test_a_file_is_no_folder_to_restore_into(folder: Folder, copy: Path) -> None:
    (copy.parent / "new").write_text("mine")
    assert "is no folder" in refused_restore(folder, copy)


def test_a_copy_that_is_not_there_is_told(folder: Folder, tmp_path: Path) -> None:
    assert "no file" in folder.refused("restore", str(tmp_path / "x.zip"), "--data", "new")


def test_a_disk_without_room_is_told_before_anything_is_unpacked(
    folder: Folder, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = restore.shutil.disk_usage(copy.parent)
    monkeypatch.setattr(restore.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert "the disk has 1,000 left" in refused_restore(folder, copy)


def test_an_error_of_the_disk_is_one_line(
    folder: Folder, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(portable, "sync_file", fail)
    assert "nothing was restored" in refused_restore(folder, copy)


@pytest.mark.parametrize("part", [0, 10, 0.3, 0.9, 0.999])
def test_a_copy_that_was_cut_is_refused(folder: Folder, copy: Path, part: float) -> None:
    data = copy.read_bytes()
    copy.write_bytes(data[: int(part if part > 1 else part * len(data))])
    assert "was cut off" in refused_restore(folder, copy)


def test_a_damaged_byte_is_found(folder: Folder, copy: Path) -> None:
    data = bytearray(copy.read_bytes())
    at = data.index(b"high and low")  # an upload is stored as it is
    data[at] ^= 1
    copy.write_bytes(data)
    assert "damaged" in refused_restore(folder, copy)


Change = Callable[[dict[str, bytes], dict[str, Any]], None]


def rewritten(copy: Path, change: Change, kinds: dict[str, int] | None = None) -> None:
    """Pack the zip anew, as a stranger may: `change` gets its files and its manifest."""
    with zipfile.ZipFile(copy) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    document = json.loads(files.pop("manifest.json"))
    change(files, document)
    files.setdefault("manifest.json", json.dumps(document).encode())
    with zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (kinds or {}).get(name, 0o600) << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)


def add(name: str, *, listed: bool) -> Change:
    def change(files: dict[str, bytes], document: dict[str, Any]) -> None:
        files[name] = b"x"
        if listed:
            document["files"].append({"name": name, "size": 1, "sha256": "0" * 64})

    return change


def set_entry(**values: Any) -> Change:
    def change(files: dict[str, bytes], document: dict[str, Any]) -> None:
        document["files"][0].update(values)

    return change


def set_document(text: bytes) -> Change:
    def change(files: dict[str, bytes], document: dict[str, Any]) -> None:
        files["manifest.json"] = text

    return change


def remove(name: str, *, listed: bool) -> Change:
    def change(files: dict[str, bytes], document: dict[str, Any]) -> None:
        del files[name]
        if not listed:
            document["files"] = [row for row in document["files"] if row["name"] != name]

    return change


def list_twice(files: dict[str, bytes], document: dict[str, Any]) -> None:
    document["files"].append(document["files"][0])


def other_format(files: dict[str, bytes], document: dict[str, Any]) -> None:
    document["format"] = 2


HOSTILE: dict[str, tuple[Change, str]] = {
    "leaves the folder": (add("../evil", listed=True), "no data folder has"),
    "leaves it deeper": (add("uploads/../../evil", listed=True), "no data folder has"),
    "absolute": (add("/etc/evil", listed=True), "no data folder has"),
    "of another drive": (add("C:\\evil", listed=True), "no data folder has"),
    "backslashes": (add("uploads\\..\\..\\evil", listed=True), "no data folder has"),
    "its own name": (add("uploads/evil.exe", listed=True), "no data folder has"),
    "a stranger's lock": (add("lock", listed=True), "no data folder has"),
    "not listed": (add("uploads/" + "a" * 32, listed=False), "does not name"),
    "not listed, leaves": (add("../evil", listed=False), "does not name"),
    "a folder": (add("uploads/", listed=False), "does not name"),
    "a file less": (remove("journal/room-000001/2023-11-14.frames", listed=True), "it lacks"),
    "no database": (remove("chat.db", listed=False), "it has no chat.db"),
    "another size": (set_entry(size=10), "another size"),
    "a negative size": (set_entry(size=-1), "can't be read"),
    "a size that is none": (set_entry(size="many"), "can't be read"),
    "a huge size": (set_entry(size=10**30), "can't be read"),
    "another hash": (set_entry(sha256="0" * 64), "SHA-256 differs"),
    "a hash that is none": (set_entry(sha256="x"), "can't be read"),
    "a hash that is a number": (set_entry(sha256=7), "can't be read"),
    "a name that is a number": (set_entry(name=7), "can't be read"),
    "twice in the list": (list_twice, "twice"),
    "of a later form": (other_format, "its format is 2"),
    "no JSON": (set_document(b"{"), "can't be read"),
    "no object": (set_document(b"[]"), "can't be read"),
    "nested": (set_document(b"[" * 100_000), "can't be read"),
    "bytes": (set_document(b"\xff\xfe\x00"), "can't be read"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_copy_by_a_stranger_is_refused(folder: Folder, copy: Path, case: str) -> None:
    change, words = HOSTILE[case]
    rewritten(copy, change)
    assert words in refused_restore(folder, copy)
    assert not (copy.parent / "evil").exists()


def test_a_link_is_refused(folder: Folder, copy: Path) -> None:
    rewritten(copy, lambda files, document: None, {"chat.db": stat.S_IFLNK | 0o777})
    assert "a link" in refused_restore(folder, copy)


def test_a_zip_of_something_else_is_refused(folder: Folder, copy: Path) -> None:
    with zipfile.ZipFile(copy, "w") as archive:
        archive.writestr("photo.jpg", b"x")
    assert "no copy made by 'backup'" in refused_restore(folder, copy)


def test_a_name_that_stands_twice_in_the_zip_is_refused(folder: Folder, copy: Path) -> None:
    with zipfile.ZipFile(copy, "a") as archive, pytest.warns(UserWarning):
        archive.writestr("chat.db", b"x")
    assert "twice" in refused_restore(folder, copy)


def test_another_packing_is_refused(folder: Folder, copy: Path) -> None:
    with zipfile.ZipFile(copy, "a") as archive:
        archive.writestr(zipfile.ZipInfo("x"), b"x", zipfile.ZIP_BZIP2)
    assert "packed in a way" in refused_restore(folder, copy)


def test_a_bomb_is_unpacked_no_further_than_its_list_says(folder: Folder, copy: Path) -> None:
    size = 5_000_001
    rewritten(copy, lambda files, document: files.update({"chat.db": bytes(size)}))
    data = copy.read_bytes()
    with zipfile.ZipFile(copy) as archive:
        listed = json.loads(archive.read("manifest.json"))["files"][0]["size"]
    # The zip's directory claims the size of the list, too; only unpacking shows more.
    wrong = size.to_bytes(4, "little")
    assert data.count(wrong) == 2
    copy.write_bytes(data.replace(wrong, listed.to_bytes(4, "little")))
    line = refused_restore(folder, copy)
    assert "damaged" in line or "SHA-256 differs" in line or "longer" in line


def test_a_list_that_is_too_long_is_refused(
    folder: Folder, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore.manifest, "MOST_BYTES", 100)
    assert "too long" in refused_restore(folder, copy)


def replaced_database(change: Callable[[Path], None], tmp_path: Path) -> Change:
    """A manifest that fits a database that is changed."""

    def act(files: dict[str, bytes], document: dict[str, Any]) -> None:
        path = tmp_path / "changed.db"
        path.write_bytes(files["chat.db"])
        change(path)
        data = path.read_bytes()
        for left in tmp_path.glob("changed.db*"):
            left.unlink()
        files["chat.db"] = data
        document["files"][0].update(size=len(data), sha256=hashlib.sha256(data).hexdigest())

    return act


def by_sql(*statements: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        for statement in statements:
            connection.execute(statement)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()

    return change


def corrupt(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for page in range(4096, len(data), 4096):
        data[page : page + 8] = b"\xff" * 8
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: path.write_bytes(b"not a database at all"), "no database of this program"),
        (by_sql("PRAGMA application_id = 5"), "no database of this program"),
        (by_sql("PRAGMA user_version = 99"), "made by a newer server"),
        (
            by_sql("CREATE TRIGGER t AFTER INSERT ON messages BEGIN DELETE FROM accounts; END"),
            "other tables",
        ),
        (
            by_sql(
                "CREATE TRIGGER t AFTER INSERT ON messages BEGIN DELETE FROM accounts; END",
                "PRAGMA writable_schema = ON",
                "UPDATE sqlite_master SET name = 'sqlite_stat_1', "
                "sql = replace(sql, 'TRIGGER t', 'TRIGGER sqlite_stat_1') WHERE type = 'trigger'",
            ),
            "other tables",
        ),
        (by_sql("CREATE VIEW v AS SELECT 1"), "other tables"),
        (by_sql("DROP TABLE marks"), "other tables"),
        (corrupt, "was not restored"),
    ],
    ids=[
        "no database",
        "another program's",
        "newer",
        "a trigger",
        "a disguised one",
        "a view",
        "less",
        "damaged",
    ],
)
def test_a_database_of_a_stranger_is_refused(
    folder: Folder, copy: Path, tmp_path: Path, change: Callable[[Path], None], words: str
) -> None:
    rewritten(copy, replaced_database(change, tmp_path))
    line = refused_restore(folder, copy)
    assert words in line or "nothing was restored" in line


def test_a_database_that_a_browser_has_analyzed_is_restored(
    folder: Folder, copy: Path, tmp_path: Path
) -> None:
    rewritten(copy, replaced_database(by_sql("ANALYZE"), tmp_path))
    assert restore.restore_backup(copy, tmp_path / "restored")


def test_each_released_form_of_the_tables_is_known(tmp_path: Path) -> None:
    for version in range(1, len(schema.MIGRATIONS) + 1):
        assert copies.expected_structure(version)
