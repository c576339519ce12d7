"""`storage.uploads` and `storage.upload_files`: what is begun, what is complete, and the flat files
of both."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage import accounts, portable, rooms, upload_files, uploads
from storage.database import Database
from storage.errors import FileMissing, NameTaken, StorageError, StorageFailed, StorageFull
from storage.upload_files import MOST_OPEN, ORPHAN_DAYS, UploadFiles, new_name


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "chat.db", readers=1)
    with opened.transaction() as connection:
        for name in ("ann", "bob", "cat"):  # ids 1 to 3
            accounts.create(connection, name, name, "record", 1)
        rooms.create_open(connection, "other", 1, 1)  # pk 2
    yield opened
    opened.close()


ANN, BOB, CAT = 1, 2, 3


def begin(connection: Any, **changes: Any) -> uploads.OpenUpload:
    values: dict[str, Any] = {
        "account_id": ANN,
        "room_id": "lobby",
        "file_name": "a.txt",
        "file_size": 10,
        "file_type": "text/plain",
        "total_packets": 2,
        "chunk_size": None,
        "first_number": None,
        "transaction_id": None,
        "received": (),
        "disk_name": new_name(),
        "touched_at": 5,
    }
    return uploads.open_upload(connection, **{**values, **changes})


def keep(
    connection: Any,
    account: int = ANN,
    base_name: str = "a.txt",
    room: int = 1,
    key: str | None = None,
    size: int = 10,
) -> uploads.StoredFile:
    stored_as = uploads.free_name(connection, room, account, base_name)
    return uploads.store(
        connection,
        room,
        account,
        base_name,
        stored_as,
        size,
        "text/plain",
        "00" * 32,
        5,
        new_name(),
        2,
        key,
    )


# -- rows ------------------------------------------------------------------------------------------


def test_an_open_upload_is_found_with_its_progress(database: Database) -> None:
    with database.transaction() as connection:
        made = begin(connection, transaction_id="k")
        assert uploads.find_open(connection, ANN, "lobby", "a.txt") == made
        uploads.save_progress(connection, made.id, 5, 1, "[[0, 0], [3, 4]]", 9)
        expected = replace(
            made, chunk_size=5, first_number=1, received=((0, 0), (3, 4)), touched_at=9
        )
        assert uploads.find_open_by_transaction(connection, ANN, "k") == expected
        assert uploads.all_open(connection) == [expected]
        uploads.close_upload(connection, made.id)
        assert uploads.find_open(connection, ANN, "lobby", "a.txt") is None
        assert uploads.find_open_by_transaction(connection, ANN, "k") is None


@pytest.mark.parametrize("changes", [{}, {"file_name": "b.txt", "transaction_id": "k"}])
def test_one_upload_is_open_for_each_name_and_for_each_key(
    database: Database, changes: dict[str, Any]
) -> None:
    with database.transaction() as connection:
        begin(connection, transaction_id="k")
        begin(connection, account_id=BOB, transaction_id="k")
        with pytest.raises(NameTaken):
            begin(connection, **changes)
        assert uploads.count_open(connection, ANN) == 1


def test_an_upload_takes_one_key_and_none_of_another(database: Database) -> None:
    with database.transaction() as connection:
        made = begin(connection)
        begin(connection, file_name="b.txt", transaction_id="k")
        assert not uploads.save_progress(connection, made.id, 5, 1, "[]", 9, "k")
        for key in ("own", "later"):
            assert uploads.save_progress(connection, made.id, 5, 1, "[]", 9, key)
        found = uploads.find_open_by_transaction(connection, ANN, "own")
        assert found is not None and found.id == made.id


def test_what_is_begun_counts_at_its_declared_size(database: Database) -> None:
    with database.transaction() as connection:
        assert (
            uploads.declared_bytes(connection, ANN) == 0 == uploads.declared_bytes_total(connection)
        )
        begin(connection, file_size=100)
        begin(connection, file_name="b", file_size=20)
        begin(connection, account_id=BOB, file_size=3)
        assert uploads.declared_bytes(connection, ANN) == 120
        assert uploads.declared_bytes_total(connection) == 123
        assert uploads.count_open(connection, ANN) == 2


def test_one_alone_is_told_that_it_closed_an_upload_and_owns_its_bytes(database: Database) -> None:
    with database.transaction() as connection:
        made = begin(connection)
        assert uploads.save_progress(connection, made.id, 5, 1, "[]", 9)
        assert uploads.close_upload(connection, made.id)
        assert not uploads.close_upload(connection, made.id)
        assert not uploads.save_progress(connection, made.id, 5, 1, "[[0, 0]]", 9)
        assert uploads.all_open(connection) == []


def test_sums_of_the_largest_sizes_do_not_overflow(database: Database) -> None:
    with database.transaction() as connection:
        for number in range(3):
            begin(connection, file_name=f"{number}", file_size=2**62)
            keep(connection, base_name=f"{number}", size=2**62)
        assert uploads.declared_bytes(connection, ANN) >= 2**62
        assert uploads.declared_bytes_total(connection) >= 2**62
        assert uploads.used_bytes(connection, ANN) >= 2**62


def test_only_untouched_uploads_are_stale(database: Database) -> None:
    with database.transaction() as connection:
        old, _ = begin(connection, touched_at=5), begin(connection, file_name="b", touched_at=6)
        assert uploads.stale(connection, 6) == [old]


def test_a_file_is_found_by_every_name_it_has(database: Database) -> None:
    with database.transaction() as connection:
        made = keep(connection, key="k")
        assert (made.sender_chatid, made.stored_as, made.transaction_id) == ("ann", "a.txt", "k")
        assert uploads.newest(connection, 1, "a.txt") == made
        assert uploads.by_transaction(connection, ANN, "k") == made
        assert uploads.last_of(connection, 1, ANN, "a.txt") == made
        assert uploads.newest(connection, 2, "a.txt") is None
        assert uploads.by_transaction(connection, BOB, "k") is None
        with pytest.raises(NameTaken):
            keep(connection, base_name="b.txt", key="k")


def test_the_same_user_makes_a_new_version_and_another_gets_a_number(database: Database) -> None:
    with database.transaction() as connection:
        assert keep(connection).stored_as == "a.txt"
        assert keep(connection, BOB).stored_as == "a (2).txt"
        assert keep(connection, BOB, "a (3).txt").stored_as == "a (3).txt"
        assert keep(connection, CAT).stored_as == "a (4).txt"
        assert keep(connection, ANN, "a (2).txt").stored_as == "a (2) (2).txt"
        newest = keep(connection, BOB)
        assert newest.stored_as == "a (2).txt"
        assert uploads.newest(connection, 1, "a (2).txt") == newest
        assert keep(connection, BOB, room=2).stored_as == "a.txt"


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("README", "README (2)"),
        (".profile", ".profile (2)"),
        ("a.tar.gz", "a.tar (2).gz"),
        ("a.", "a (2)."),
        ("x" * 251 + ".txt", "x" * 247 + " (2).txt"),
        ("é" * 125 + ".txt", "é" * 123 + " (2).txt"),
        ("😀" * 63, "😀" * 62 + " (2)"),
        ("a." + "b" * 253, "a." + "b" * 249 + " (2)"),
    ],
)
def test_a_numbered_name_keeps_its_extension_whole_characters_and_255_bytes(
    name: str, second: str
) -> None:
    first, numbered, third = itertools.islice(uploads._candidates(name), 3)
    assert (first, numbered) == (name, second)
    assert "(3)" in third
    assert len(numbered.encode()) <= 255


def test_few_names_are_tried_where_somebody_has_taken_all_numbers(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "NUMBERED_IN_TURN", 5)
    tried: list[str] = []
    newest = uploads.newest
    with database.transaction() as connection:
        for name in ("a.txt", *(f"a ({number}).txt" for number in range(2, 50))):
            keep(connection, BOB, name)
        monkeypatch.setattr(uploads, "newest", lambda *of: tried.append(of[2]) or newest(*of))
        name = keep(connection).stored_as
    assert tried[:5] == ["a.txt", *(f"a ({number}).txt" for number in range(2, 6))]
    assert tried[-1] == name and len(tried) < 10
    assert 6 <= int(name[3:-5]) <= 10**9 + 5 and (name[:3], name[-5:]) == ("a (", ").txt")


def test_a_list_has_the_newest_version_of_each_name_oldest_first(database: Database) -> None:
    with database.transaction() as connection:
        keep(connection)
        middle = keep(connection, BOB, "b.txt")
        keep(connection, room=2)
        last = keep(connection)
        assert list(uploads.listing(connection, 1, None, 9)) == [middle, last]
        assert list(uploads.listing(connection, 1, None, 1)) == [middle]
        assert list(uploads.listing(connection, 1, "b.txt", 9)) == [last]
        assert list(uploads.listing(connection, 1, "a.txt", 9)) == []
        assert list(uploads.listing(connection, 1, "never seen", 9)) == []


def test_an_empty_file_counts_as_a_block_of_the_disk(database: Database) -> None:
    with database.transaction() as connection:
        keep(connection, size=0)
        assert uploads.used_bytes(connection, ANN) == 4096 == uploads.counted_bytes(0)
        begin(connection, file_size=0, total_packets=0)
        assert uploads.declared_bytes(connection, ANN) == 4096
        assert uploads.declared_bytes_total(connection) == 0, "what the disk is to keep free for it"


def test_earlier_versions_are_kept_and_count(database: Database) -> None:
    with database.transaction() as connection:
        first, second = keep(connection, size=10), keep(connection, size=7)
        begun = begin(connection)
        assert uploads.used_bytes(connection, ANN) == 17
        assert uploads.used_bytes(connection, BOB) == 0
        assert uploads.disk_names(connection) == {
            first.disk_name,
            second.disk_name,
            begun.disk_name,
        }
        assert uploads.since(connection, 0) == [first, second]
        assert uploads.since(connection, first.id) == [second]


# -- flat files ------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> UploadFiles:
    folder = tmp_path / "uploads"
    folder.mkdir()
    return UploadFiles(folder)


def names(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "uploads").iterdir()}


def test_a_file_grows_in_any_order_and_is_then_complete(tmp_path: Path, files: UploadFiles) -> None:
    name = files.new_name()
    files.create(name)
    files.write_at(name, 3, b"def")
    files.write_at(name, 0, memoryview(b"abc"))
    files.sync(name)
    files.create(name)
    files.write_at(name, 6, b"ghi")
    files.sync(name)
    assert names(tmp_path) == {f"{name}.part"}
    expected = hashlib.sha256(b"abcdefghi").hexdigest()
    assert files.sha256(name, part=True) == expected
    files.finish(name)
    files.finish(name)
    assert names(tmp_path) == {name}
    assert files.sha256(name, part=False) == expected
    assert files.read(name, 0, 100) == b"abcdefghi"
    assert files.read(name, 3, 4) == b"defg"
    assert files.read(name, 9, 4) == files.read(name, 0, 0) == b""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_a_flat_file_is_for_its_owner_alone(tmp_path: Path, files: UploadFiles) -> None:
    name = new_name()
    files.create(name)
    assert (tmp_path / "uploads" / f"{name}.part").stat().st_mode & 0o777 == 0o600


def test_no_file_can_be_so_long_is_a_full_disk_and_not_a_broken_one(
    files: UploadFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = new_name()
    files.create(name)
    for number in (errno.EINVAL, errno.EOVERFLOW):
        monkeypatch.setattr(os, "lseek", failing(number))
        with pytest.raises(StorageFull):
            files.write_at(name, 2**62, b"x")


def test_files_that_are_open_at_once_are_bounded(
    files: UploadFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_files, "OPEN_SECONDS", 0.01)
    name = new_name()
    files.create(name)
    with ExitStack() as held:
        for _ in range(MOST_OPEN):
            held.enter_context(files._opened(files._part(name), os.O_RDONLY))
        with pytest.raises(StorageError, match="were open"):
            files.write_at(name, 0, b"x")
    files.write_at(name, 0, b"x")


@pytest.mark.parametrize("name", ["", "../chat.db", "a" * 31, "A" * 32, "a" * 32 + "\n"])
def test_only_names_of_ours_become_paths(files: UploadFiles, name: str) -> None:
    with pytest.raises(ValueError, match="32 hexadecimal"):
        files.read(name, 0, 1)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_symbolic_link_is_never_followed(tmp_path: Path, files: UploadFiles) -> None:
    name, target = new_name(), tmp_path / "target"
    target.write_text("secret")
    (tmp_path / "uploads" / name).symlink_to(target)
    (tmp_path / "uploads" / f"{name}.part").symlink_to(target)
    attempts: list[Callable[[], object]] = [
        lambda: files.read(name, 0, 1),
        lambda: files.sha256(name, part=True),
        lambda: files.write_at(name, 0, b"x"),
        lambda: files.sync(name),
        lambda: files.create(name),
        lambda: files.finish(name),
    ]
    for attempt in attempts:
        with pytest.raises(StorageError):
            attempt()
    assert target.read_text() == "secret"


def test_a_file_renamed_before_a_crash_is_taken_back(tmp_path: Path, files: UploadFiles) -> None:
    name = new_name()
    files.create(name)
    files.write_at(name, 0, b"abc")
    files.finish(name)
    files.take_back(name)
    files.take_back(name)
    assert names(tmp_path) == {f"{name}.part"}
    assert files.sha256(name, part=True) == hashlib.sha256(b"abc").hexdigest()


def test_a_missing_file_is_named_as_missing(files: UploadFiles) -> None:
    name = new_name()
    attempts: list[Callable[[], object]] = [
        lambda: files.take_back(name),
        lambda: files.finish(name),
        lambda: files.read(name, 0, 1),
        lambda: files.sha256(name, part=True),
        lambda: files.write_at(name, 0, b"x"),
        lambda: files.sync(name),
    ]
    for attempt in attempts:
        with pytest.raises(FileMissing):
            attempt()


def test_a_file_is_removed_by_either_name(tmp_path: Path, files: UploadFiles) -> None:
    begun, done = new_name(), new_name()
    for entry in (f"{begun}.part", done, "notes.txt"):
        (tmp_path / "uploads" / entry).write_text("x")
    files.remove(begun)
    files.remove(done)
    files.remove(done)
    assert names(tmp_path) == {"notes.txt"}


def test_what_no_row_names_is_set_aside_and_kept_for_30_days(
    tmp_path: Path, files: UploadFiles
) -> None:
    begun, done, orphan, orphan_part = (new_name() for _ in range(4))
    for entry in (f"{begun}.part", done, orphan, f"{orphan_part}.part", "notes.txt"):
        (tmp_path / "uploads" / entry).write_text(entry)
    now = 1_700_000_000.0
    assert files.set_orphans_aside({begun, done}, now) == 2
    assert files.set_orphans_aside({begun, done}, now) == 0
    assert names(tmp_path) == {f"{begun}.part", done, "notes.txt", "orphans"}
    aside = tmp_path / "uploads" / "orphans"
    assert {path.name for path in aside.iterdir()} == {orphan, f"{orphan_part}.part"}
    assert (aside / orphan).read_text() == orphan
    (aside / "notes.txt").write_text("not ours")
    assert files.remove_old_orphans(now + ORPHAN_DAYS * 86_400) == 0
    assert files.remove_old_orphans(now + ORPHAN_DAYS * 86_400 + 1) == 2
    assert {path.name for path in aside.iterdir()} == {"notes.txt"}


def test_what_was_set_aside_comes_back_with_the_database_that_knows_it(
    tmp_path: Path, files: UploadFiles
) -> None:
    stored, begun, other = (new_name() for _ in range(3))
    for entry in (stored, f"{begun}.part", other):
        (tmp_path / "uploads" / entry).write_text(entry)
    assert files.bring_back({stored}) == 0, "nothing was ever set aside"
    assert files.set_orphans_aside(set(), 5.0) == 3
    assert files.bring_back({stored, begun}) == 2
    assert names(tmp_path) == {stored, f"{begun}.part", "orphans"}
    assert (tmp_path / "uploads" / stored).read_text() == stored


def test_a_file_in_its_place_is_never_replaced_by_one_set_aside(
    tmp_path: Path, files: UploadFiles
) -> None:
    name = new_name()
    (tmp_path / "uploads" / name).write_text("aside")
    files.set_orphans_aside(set(), 5.0)
    (tmp_path / "uploads" / name).write_text("in its place")
    assert files.bring_back({name}) == 0
    assert (tmp_path / "uploads" / name).read_text() == "in its place"


def test_the_free_room_is_told(files: UploadFiles) -> None:
    free, total = files.free()
    assert 0 < free <= total


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise OSError(number, "made up")

    return fail


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOSPC, StorageFull), (errno.EIO, StorageFailed)]
)
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_failing_disk_is_told_from_a_full_one(
    files: UploadFiles,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    expected: type[Exception],
    call: str,
) -> None:
    name = new_name()
    files.create(name)
    with monkeypatch.context() as patched:
        patched.setattr(os, call, failing(number))
        with pytest.raises(expected):
            files.write_at(name, 0, b"x") if call == "write" else files.sync(name)


def test_a_file_whose_name_cannot_be_made_safe_is_not_handed_out(
    files: UploadFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portable, "sync_folder", failing(errno.EIO))
    with pytest.raises(StorageFailed):
        files.create(new_name())


def test_a_short_write_is_gone_on_with(files: UploadFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    name, real = new_name(), os.write
    files.create(name)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:2]))
        files.write_at(name, 0, b"abcde")
    assert files.sha256(name, part=True) == hashlib.sha256(b"abcde").hexdigest()


# -- Windows, where a virus scanner may hold a file ------------------------------------------------


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often a file of this name is still found held open: Windows then refuses to move or
    remove it."""
    left: dict[str, int] = {}

    def refusing(act: Callable[..., None]) -> Callable[..., None]:
        def call(path: Any, *others: Any, **options: Any) -> None:
            name = os.path.basename(path)
            if left.get(name):
                left[name] -= 1
                raise PermissionError(13, "The process cannot access the file", str(path))
            act(path, *others, **options)

        return call

    monkeypatch.setattr(portable, "_platform", "win32")
    monkeypatch.setattr(portable, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(os, "replace", refusing(os.replace))
    monkeypatch.setattr(os, "unlink", refusing(os.unlink))
    monkeypatch.setattr(Path, "unlink", refusing(Path.unlink))
    return left


def test_a_finished_upload_that_is_held_open_is_tried_again(
    files: UploadFiles, tmp_path: Path, held: dict[str, int]
) -> None:
    name = new_name()
    files.create(name)
    held[f"{name}.part"] = 3
    files.finish(name)
    assert names(tmp_path) == {name} and held[f"{name}.part"] == 0
    held[name] = 3
    files.remove(name)
    assert names(tmp_path) == set()


def test_a_finished_upload_that_stays_held_is_an_error(
    files: UploadFiles, monkeypatch: pytest.MonkeyPatch, held: dict[str, int]
) -> None:
    monkeypatch.setattr(portable, "HELD_SECONDS", -1)
    name = new_name()
    files.create(name)
    held[f"{name}.part"] = 1_000
    with pytest.raises(StorageError):
        files.finish(name)


def test_an_orphan_that_is_held_open_is_left_for_the_next_start(
    files: UploadFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: dict[str, int]
) -> None:
    monkeypatch.setattr(portable, "HELD_SECONDS", -1)
    busy, free = new_name(), new_name()
    for name in (busy, free):
        (tmp_path / "uploads" / name).write_text(name)
    held[busy] = 1_000_000
    assert files.set_orphans_aside(set(), 5.0) == 1
    assert names(tmp_path) == {busy, "orphans"}
    held[busy] = 0
    assert files.set_orphans_aside(set(), 5.0) == 1
    held[busy] = 1_000_000
    assert files.bring_back({busy}) == 0
    assert files.remove_old_orphans(5.0 + ORPHAN_DAYS * 86_400 + 1) == 1
    held[busy] = 0
    assert files.bring_back({busy}) == 1 and names(tmp_path) == {busy, "orphans"}


def test_a_removed_file_that_is_held_open_keeps_no_server_from_starting(
    files: UploadFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: dict[str, int]
) -> None:
    monkeypatch.setattr(portable, "HELD_SECONDS", -1)
    name = new_name()
    files.create(name)
    held[f"{name}.part"] = 2
    with pytest.raises(StorageError):
        files.remove(name)
    files.remove(name, leave_held=True)
    assert names(tmp_path) == {f"{name}.part"}
    files.remove(name, leave_held=True)
    assert names(tmp_path) == set()


def test_elsewhere_a_refusal_is_heard_at_once(
    files: UploadFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: dict[str, int]
) -> None:
    monkeypatch.setattr(portable, "_platform", "linux")
    name = new_name()
    (tmp_path / "uploads" / name).write_text(name)
    held[name] = 1
    with pytest.raises(StorageError):
        files.set_orphans_aside(set(), 5.0)
