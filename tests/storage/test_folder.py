"""`storage.folder` and `storage.portable`: which folder may be used, who keeps it, and each
system's way of doing so."""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.patience import patience

from storage import portable
from storage.database import Database
from storage.errors import FolderInUse, FolderUnusable
from storage.folder import DataFolder

posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")


def snapshot(path: Path) -> list[tuple[str, int, int, bytes]]:
    """Everything below `path` with mode, time and content: equal before and after means nothing was
    touched."""
    found = []
    for entry in sorted([path, *path.rglob("*")]):
        status = entry.lstat()
        found.append(
            (
                str(entry),
                status.st_mode,
                status.st_mtime_ns,
                entry.read_bytes() if entry.is_file() else b"",
            )
        )
    return found


def refuse(path: Path, reason: str) -> None:
    before = snapshot(path.parent)
    with pytest.raises(FolderUnusable, match=reason) as caught:
        DataFolder(path).prepare()
    assert "\n" not in str(caught.value)
    assert snapshot(path.parent) == before


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    prepared = DataFolder(tmp_path / "data")
    prepared.prepare()
    yield prepared
    prepared.unlock()


def test_the_name_of_a_new_folder_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(portable, "sync_folder", synced.append)
    place = tmp_path.resolve() / "of a term" / "data"
    DataFolder(place).prepare()
    assert synced[:3] == [place, place.parent, tmp_path.resolve()]
    DataFolder(place).prepare()
    assert synced[-1] == place, "it has its name already"


# -- which folder ----------------------------------------------------------------------------------


@posix_only
def test_a_new_folder_is_complete_and_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        folder = DataFolder(str(tmp_path / "new" / "data"))
        folder.prepare()
        database = Database(folder.database_path)
    finally:
        os.umask(old)
    modes = {
        path.name: path.stat().st_mode & 0o777 for path in [folder.path, *folder.path.iterdir()]
    }
    database.close()
    assert modes == {
        "data": 0o700,
        "uploads": 0o700,
        "journal": 0o700,
        "chat.db": 0o600,
        "chat.db-wal": 0o600,
        "chat.db-shm": 0o600,
    }


def test_a_prepared_folder_may_be_prepared_again(folder: DataFolder) -> None:
    folder.prepare()
    Database(folder.database_path).close()
    (folder.path / "notes of the teacher.txt").write_text("x")
    folder.prepare()


@posix_only
def test_an_empty_folder_is_made_private(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    (tmp_path / "data" / "lost+found").mkdir()
    DataFolder(tmp_path / "data").prepare()
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


@posix_only
def test_our_data_that_others_may_read_is_refused_with_the_way_out(folder: DataFolder) -> None:
    Database(folder.database_path).close()
    folder.path.chmod(0o750)
    refuse(folder.path, r"other accounts.*chmod 700 \S*data$")


@posix_only
def test_rights_of_files_within_are_put_right(folder: DataFolder) -> None:
    folder.database_path.chmod(0o644)
    folder.prepare()
    assert folder.database_path.stat().st_mode & 0o777 == 0o600


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    refuse(tmp_path / "data", "is not a folder; use --data")


@posix_only
def test_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(tmp_path / "none")
    refuse(tmp_path / "data", "leads nowhere")


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    # Windows takes no control characters in names, but those that turn the text round.
    sign, shown = ("\u202e", r"\\u202e") if os.name == "nt" else ("\x1b", r"\\x1b")
    (tmp_path / "data" / f"homework{sign}.txt").write_text("x")
    refuse(tmp_path / "data", rf"homework{shown}.txt.*empty folder")


@pytest.mark.parametrize("content", [b"not a database" * 10, None])
def test_a_folder_with_a_foreign_database_is_refused(tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "chat.db"
    if content is None:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE t(x)")
        connection.close()
    else:
        path.write_bytes(content)
    refuse(tmp_path / "data", "not of this server")


def test_uploads_without_their_database_are_not_taken_for_orphans(folder: DataFolder) -> None:
    (folder.uploads_path / "file").write_text("x")
    refuse(folder.path, "holds uploads but no chat.db")


def test_a_folder_of_another_account_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 4242, raising=False)
    refuse(tmp_path / "data", "belongs to another account")


def test_a_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)
    refuse(tmp_path / "data", "can't be read and written")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    refuse(tmp_path / "file" / "data", "can't be used: ")
    with pytest.raises(FolderUnusable, match="can't be used: "):
        DataFolder("\0").prepare()


@posix_only
@pytest.mark.parametrize("existing", [False, True])
def test_a_file_system_without_rights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    if existing:
        (tmp_path / "data").mkdir(mode=0o700)
    monkeypatch.setattr(portable, "others_may_look_in", lambda _: True)
    with pytest.raises(FolderUnusable, match="no access rights"):
        DataFolder(tmp_path / "data").prepare()
    assert (tmp_path / "data").exists() == existing


def test_a_network_file_system_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portable, "network_file_system", lambda _: "nfs4")
    refuse(
        tmp_path / "data",
        "network file system.*nfs4.*WAL isn't safe: use --data with a local folder",
    )
    assert not (tmp_path / "data").exists()


# -- the lock --------------------------------------------------------------------------------------


def test_a_second_server_is_kept_out_and_told_who_is_in(folder: DataFolder) -> None:
    folder.lock()
    other = DataFolder(folder.path)
    with pytest.raises(FolderInUse, match=f"in use by another server .process {os.getpid()}."):
        other.lock()
    folder.unlock()
    folder.unlock()
    other.lock()
    other.unlock()


def test_the_lock_ends_with_the_process(folder: DataFolder) -> None:
    code = (
        "import sys, os; from storage.folder import DataFolder; f = DataFolder(sys.argv[1]); "
        "f.lock(); print('in', flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path)],
        cwd=Path(portable.__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "in\n"
        with pytest.raises(FolderInUse, match=str(process.pid)):
            folder.lock()
    finally:
        process.kill()
        process.communicate(timeout=patience(10))
    folder.lock()


def test_a_lock_without_a_pid_is_still_a_lock(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portable, "lock", lambda _: False)
    with pytest.raises(FolderInUse, match="another server;"):
        folder.lock()


def test_a_folder_that_cannot_be_locked_is_refused(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portable, "_fcntl", None)
    monkeypatch.setattr(portable, "_msvcrt", None)
    with pytest.raises(FolderUnusable, match="neither fcntl nor msvcrt"):
        folder.lock()
    with pytest.raises(FolderUnusable, match="can't be locked"):
        DataFolder(folder.path / "missing").lock()


# -- each system's way -----------------------------------------------------------------------------


def test_on_windows_a_byte_behind_the_text_is_locked(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, int]] = []

    def locking(descriptor: int, mode: int, count: int) -> None:
        if mode == 2 and calls and calls[-1][0] == 2:
            raise OSError(errno.EACCES, "locked")
        calls.append((mode, os.lseek(descriptor, 0, os.SEEK_CUR)))

    monkeypatch.setattr(portable, "_fcntl", None)
    monkeypatch.setattr(
        portable, "_msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2, LK_UNLCK=0)
    )
    folder.lock()
    with pytest.raises(FolderInUse, match=str(os.getpid())):
        DataFolder(folder.path).lock()
    folder.unlock()
    assert calls == [(2, 1 << 20), (0, 1 << 20)]


def test_unlocking_without_either_module_does_nothing(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.lock()
    monkeypatch.setattr(portable, "_fcntl", None)
    monkeypatch.setattr(portable, "_msvcrt", None)
    folder.unlock()


def test_a_module_that_this_system_lacks_is_none() -> None:
    assert portable._import_if_there("no_such_module_here") is None


@posix_only
def test_without_o_nofollow_a_link_is_refused_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    monkeypatch.setattr(portable, "_O_NOFOLLOW", 0)
    with pytest.raises(OSError, match="symbolic link"):
        portable.open_own(tmp_path / "link", os.O_RDWR | os.O_CREAT)
    assert not (tmp_path / "target").exists()
    os.close(portable.open_own(tmp_path / "plain", os.O_RDWR | os.O_CREAT))


def test_where_folders_cannot_be_opened_they_are_not_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    portable.sync_folder(tmp_path)
    monkeypatch.setattr(portable, "_O_DIRECTORY", None)
    portable.sync_folder(tmp_path / "missing")


@pytest.mark.parametrize(
    ("number", "synced"), [(None, False), (errno.ENOTSUP, True), (errno.EIO, None)]
)
def test_on_macos_a_file_is_synced_through_the_drives_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None, synced: bool | None
) -> None:
    """Only where the file system lacks F_FULLFSYNC is fsync good enough; a failed write must not be
    hidden by it."""
    asked: list[int] = []
    plain: list[int] = []

    def control(_: int, command: int) -> None:
        asked.append(command)
        if number is not None:
            raise OSError(number, "made up")

    monkeypatch.setattr(portable, "_fcntl", SimpleNamespace(fcntl=control, F_FULLFSYNC=51))
    monkeypatch.setattr(os, "fsync", plain.append)
    if synced is None:
        with pytest.raises(OSError, match="made up"):
            portable.sync_file(7)
    else:
        portable.sync_file(7)
    assert (asked, plain) == ([51], [7] if synced else [])


def test_without_numbered_accounts_modes_say_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status = os.stat(tmp_path)
    monkeypatch.delattr(os, "geteuid", raising=False)
    assert portable.owned_by_us(status)
    assert not portable.others_may_look_in(status)


def test_windows_has_no_modes_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "chmod", lambda path, mode: asked.append(mode))
    for system in ("linux", "win32"):
        monkeypatch.setattr(portable, "_platform", system)
        portable.keep_private(tmp_path, 0o700)
    assert asked == [0o700]


# -- network file systems --------------------------------------------------------------------------

MOUNTS = """\
overlay / overlay rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sda1 /home/local ext4 rw 0 0
//nas/class /mnt/class\\040room cifs rw 0 0
host /mnt/p 9p rw 0 0
me@host: /mnt/ssh fuse.sshfs rw 0 0
autofs /net autofs rw 0 0
server:/net /net nfs rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/ada/chat-data", "nfs4"),
        ("/home", "nfs4"),
        ("/homework", None),
        ("/home/local/x", None),
        ("/mnt/class room/x", "cifs"),
        ("/mnt/p/x", None),
        ("/mnt/ssh/x", "fuse.sshfs"),
        ("/net/x", "nfs"),
        ("/", None),
    ],
)
def test_linux_the_innermost_mount_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, kind: str | None
) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(portable, "_platform", "linux")
    monkeypatch.setattr(portable, "_MOUNTS", tmp_path / "mounts")
    monkeypatch.setattr(os.path, "realpath", lambda path: Path(path).as_posix())
    assert portable.network_file_system(Path(path)) == kind


def test_an_unknown_mount_table_is_taken_for_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portable, "_platform", "linux")
    monkeypatch.setattr(portable, "_MOUNTS", tmp_path / "missing")
    assert portable.network_file_system(tmp_path) is None


@pytest.mark.parametrize(
    ("path", "kind"), [("/Volumes/share on disk/x", "smbfs"), ("/Users/ada", None)]
)
def test_macos_the_mount_command_tells(
    monkeypatch: pytest.MonkeyPatch, path: str, kind: str | None
) -> None:
    listed = (
        b"/dev/disk1 on / (apfs, local, journaled)\n"
        b"//ada@nas/s on /Volumes/share on disk (smbfs, nodev, mounted by ada)\nodd\n"
    )
    monkeypatch.setattr(portable, "_platform", "darwin")
    monkeypatch.setattr(os.path, "realpath", lambda path: Path(path).as_posix())
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=listed))
    assert portable.network_file_system(Path(path)) == kind


def test_macos_a_mount_command_that_hangs_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("mount", 5)

    monkeypatch.setattr(portable, "_platform", "darwin")
    monkeypatch.setattr(subprocess, "run", hang)
    assert portable.network_file_system(tmp_path) is None


@pytest.mark.parametrize(
    ("path", "drive_type", "kind"),
    [
        ("\\\\nas\\class", 0, "network share"),
        ("\\\\?\\UNC\\nas\\class", 0, "network share"),
        ("\\\\?\\C:\\chat-data", 3, None),
        ("\\\\?\\Z:\\chat-data", 4, "network drive"),
        ("\\\\.\\nul", 0, None),
        ("H:\\chat", 4, "network drive"),
        ("C:\\chat", 3, None),
        ("chat", 4, None),
    ],
)
def test_windows_shares_and_their_drive_letters_are_known(
    monkeypatch: pytest.MonkeyPatch, path: str, drive_type: int, kind: str | None
) -> None:
    asked: list[str] = []

    def drive_of(root: str) -> int:
        asked.append(root)
        return drive_type

    fake: Any = SimpleNamespace(
        windll=SimpleNamespace(kernel32=SimpleNamespace(GetDriveTypeW=drive_of))
    )
    monkeypatch.setattr(portable, "_platform", "win32")
    monkeypatch.setattr(portable, "ctypes", fake)
    monkeypatch.setattr(os.path, "abspath", lambda path: str(path))
    assert portable.network_file_system(Path(path)) == kind
    drive = path.removeprefix("\\\\?\\")
    assert asked == ([drive[:3]] if drive[1] == ":" else [])


def test_storage_opens_no_socket(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", None)
    folder.prepare()
    Database(folder.database_path).close()
