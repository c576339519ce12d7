"""Bad inputs 85 to 96: names of files, uploads whose numbers lie, and what is left of uploads that
never end."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support import fresh_name, tls
from support.bad_inputs import House, Place, Row, Table, check_data, house, play, rows_of
from support.files import Upload, download, encoded
from support.patience import until
from support.raw_client import RawClient, error_code
from support.seed import some_bytes
from support.server_process import ServerProcess

from client import transfers
from client.base.text import local_file_name
from client.connection import Connection

TABLE = Table()
__all__ = ["house"]
DATA = bytes(range(250)) * 10  # 2,500 bytes: three chunks of 1,000, the last one shorter
unix_only = pytest.mark.skipif(os.name == "nt", reason="needs links and signals of Unix")


def uploads_folder(place: Place) -> Path:
    return place.main.process.data_dir / "uploads"


def flat_files(place: Place) -> set[str]:
    return {path.name for path in uploads_folder(place).iterdir()}


def listed(client: RawClient, room_id: str) -> list[str]:
    return [
        entry["file_path"]
        for entry in client.ask("file_list_req", room_id=room_id)["data"]["files"]
    ]


# --- Names ----------------------------------------------------------------------------------------


PATHS = {
    "../../x": "x",
    "..\\..\\x": "x",
    "/etc/passwd": "passwd",
    "C:\\x": "x",
    "\\\\host\\share": "share",
    "%2e%2e/": None,
    "%2e%2e%2fx": "%2e%2e%2fx",
    "..": None,
    ".": None,
    "/": None,
    "a/..": None,
    "....//x": "x",
    "~/.ssh/id": "id",
    "x/../../chat.db": "chat.db",
}


@TABLE.row(85, "a name with a path")
def _(place: Place) -> None:
    client, room_id = place.user(), fresh_name("room")
    parent = place.main.process.data_dir.parent
    before = {
        path
        for path in parent.rglob("*")
        if "uploads" not in path.parts and "journal" not in path.parts
    }
    for name, label in PATHS.items():
        upload = Upload(client, room_id, name, b"x")
        if label is None:
            assert error_code(upload.init()) == "bad_packet", name
        else:
            assert upload.run()["stored_as"] == label
            meta = client.ask("file_down_req", room_id=room_id, file_path=name)["data"]
            assert meta["file_path"] == label, "a request is cleaned in the same way"
            client.receive_action("file_down_fin")
    assert all(len(name) == 32 for name in flat_files(place))
    after = {
        path
        for path in parent.rglob("*")
        if "uploads" not in path.parts and "journal" not in path.parts
    }
    assert after <= before | {parent / "data" / "chat.db-wal", parent / "data" / "chat.db-shm"}


IMPOSSIBLE = (
    "CON",
    "nul",
    "COM1.txt",
    "con.tar.gz",
    "LPT9",
    "a\0b",
    "",
    "a\nb",
    "\x7f",
    "x" * 256,
    "é" * 128,
)
ODD = (
    "a.",
    "a ",
    "a:b",
    ".htaccess",
    "x" * 255,
    "console.txt",
    "a\u202etxt.exe",
    "-rf",
    "*?<>|",
    " ",
    "a, b",
)


@TABLE.row(86, "a name that some system can't keep")
def _(place: Place) -> None:
    client, room_id = place.user(), fresh_name("room")
    for name in IMPOSSIBLE:
        assert error_code(Upload(client, room_id, name, b"x").init()) == "bad_packet", repr(name)
    for name in ODD:
        reply = Upload(client, room_id, name, b"x").init()
        if reply["action"] == "error":
            assert error_code(reply) == "bad_packet", name
        else:
            assert Upload(client, room_id, name, b"x").run()["stored_as"]
    assert all(len(name) == 32 for name in flat_files(place)), "no name of theirs is a file's"


@TABLE.row(87, "the same name twice, names that differ by case")
def _(place: Place) -> None:
    client, other, room_id = place.user(), place.user(), fresh_name("room")
    Upload(client, room_id, "notes.txt", b"first").run()
    Upload(client, room_id, "notes.txt", b"second").run()
    assert Upload(client, room_id, "NOTES.txt", b"large").run()["stored_as"] == "NOTES.txt"
    assert Upload(other, room_id, "notes.txt", b"other").run()["stored_as"] == "notes (2).txt"
    for name, data in (
        ("notes.txt", b"second"),
        ("NOTES.txt", b"large"),
        ("notes (2).txt", b"other"),
    ):
        assert download(other, room_id, name)[0] == data
    versions = rows_of(
        place.main.process.data_dir,
        "SELECT disk_name FROM files JOIN rooms ON rooms.pk = room_pk WHERE room_id = ?",
        room_id,
    )
    whole = {(uploads_folder(place) / name).read_bytes() for (name,) in versions}
    assert whole == {b"first", b"second", b"large", b"other"}, "nothing was overwritten"


@TABLE.row(88, "links and folders in the folder of uploads")
@unix_only
def _(place: Place) -> None:
    client, room_id, outside = place.user(), fresh_name("room"), place.tmp_path / "outside"
    outside.write_bytes(b"mine")
    folder = uploads_folder(place)
    (folder / "evil").symlink_to(outside)
    (folder / "folder").mkdir()
    Upload(client, room_id, "fine.txt", DATA).run()
    assert outside.read_bytes() == b"mine" and listed(client, room_id) == ["fine.txt"]
    (folder / "evil").unlink()
    (folder / "folder").rmdir()


@TABLE.row(88, "a link in the place of an upload")
@unix_only
def _(place: Place) -> None:
    client, room_id, outside = place.user(), fresh_name("room"), place.tmp_path / "outside"
    outside.write_bytes(b"mine")
    upload = Upload(client, room_id, "linked.txt", DATA)
    upload.init()
    upload.send(1)
    [(disk_name,)] = rows_of(
        place.main.process.data_dir, "SELECT disk_name FROM open_uploads WHERE room_id = ?", room_id
    )
    client.close()
    part, kept = uploads_folder(place) / f"{disk_name}.part", place.tmp_path / "kept"
    part.rename(kept)
    part.symlink_to(outside)
    again = upload.client = place.connect()
    again.login(client.chatid, take_over=True)
    for number in (2, 3):
        assert error_code(upload.send(number)), "a link is followed"
    assert upload.fin()["action"] == "error"
    assert outside.read_bytes() == b"mine"
    assert (
        again.ask("file_cancel", room_id=room_id, file_path="linked.txt")["action"]
        == "file_cancelled"
    )
    assert outside.read_bytes() == b"mine"


# --- Numbers --------------------------------------------------------------------------------------


@TABLE.row(89, "a declared size that is smaller, larger, 0, negative, 2^53")
def _(place: Place) -> None:
    client, room_id = place.user(), fresh_name("room")
    before = flat_files(place)
    for fields in (
        {"file_size": -1},
        {"file_size": 0},
        {"file_size": 2},
        {"total_packets": 0},
        {"total_packets": -1},
        {"total_packets": 2**53 - 1},
    ):
        reply = Upload(client, room_id, "never", DATA).init(**fields)
        assert error_code(reply) == "bad_packet", f"{fields}: {reply}"
    assert error_code(Upload(client, room_id, "never", DATA).init(file_size=2**53 - 1)) in (
        "too_large",
        "bad_packet",
    )
    for size in (2_001, 2_499, 2_501, 3_001, 9_000):
        upload = Upload(client, room_id, f"lies-{size}", DATA)
        begun = upload.init(file_size=size)
        replies = (
            [begun]
            if begun["action"] == "error"
            else [*(upload.send(number) for number in (1, 2, 3)), upload.fin()]
        )
        codes = {error_code(reply) for reply in replies if reply["action"] == "error"}
        assert codes and codes <= {"bad_packet", "incomplete_file"}, f"{size}: {replies}"
        assert error_code(upload.fin()) in ("incomplete_file", "bad_packet", "file_not_found")
        assert client.ask("file_cancel", room_id=room_id, file_path=f"lies-{size}")["action"] in (
            "file_cancelled",
            "error",
        )
    assert listed_or_none(client, room_id) == []
    assert flat_files(place) == before, "a partial file is left"


def listed_or_none(client: RawClient, room_id: str) -> list[str]:
    """The names of a room's files, none where the room was never made."""
    reply = client.ask("file_list_req", room_id=room_id)
    return (
        []
        if reply["action"] == "error"
        else [entry["file_path"] for entry in reply["data"]["files"]]
    )


@TABLE.row(
    90,
    "chunks out of order, repeated, overlapping, beyond the end, after the end, for another's"
    " upload",
)
def _(place: Place) -> None:
    client, other, room_id = place.user(), place.user(), fresh_name("room")
    upload = Upload(client, room_id, "chunks.bin", DATA)
    upload.init()
    upload.send(1)
    for number, data in (
        (4, b"x"),
        (2**53 - 1, b"x"),
        (0, DATA[:1000]),
        (2, b"short"),
        (2, b"x" * 1001),
        (3, b"x" * 501),
        (1, b""),
        (3, b""),
    ):
        assert error_code(upload.send(number, data)) == "bad_packet", number
    stolen = Upload(other, room_id, "chunks.bin", DATA)
    assert (
        error_code(stolen.send(2)) == "file_not_found"
        and error_code(stolen.fin()) == "file_not_found"
    )
    assert (
        error_code(other.ask("file_cancel", room_id=room_id, file_path="chunks.bin"))
        == "file_not_found"
    )
    assert error_code(upload.fin()) == "incomplete_file"
    for number in (3, 1, 3, 2):  # R-FILE-6: any order, and again, is A
        assert upload.send(number)["status"] == "success"
    assert upload.fin()["data"]["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert error_code(upload.send(2, b"y" * 1000)) == "file_not_found"
    assert download(other, room_id, "chunks.bin")[0] == DATA
    for text in ("", "====", "A", "AAA", "A A=", "AAAA\n", "\u202e", "!!!!", "AA==AA=="):
        wrong = Upload(client, room_id, "base64.bin", b"x" * 4)
        wrong.init()
        packet = wrong.chunk_packet(1)
        packet["data"]["file_data"] = text
        assert error_code(client.request(packet)) == "bad_packet", text
    client.ask("file_cancel", room_id=room_id, file_path="base64.bin")


@TABLE.row(91, "other bytes than were meant")
def _(place: Place) -> None:
    # A sender sends no checksum: the server's is in the answer, so a sender sees what was stored; a
    # receiver has it before the bytes.
    client, room_id = place.user(), fresh_name("room")
    upload = Upload(client, room_id, "spoilt.bin", DATA)
    upload.init()
    for number in (1, 2, 3):
        upload.send(number, upload.chunks[number - 1][::-1] if number == 2 else None)
    sha256 = upload.fin()["data"]["sha256"]
    assert sha256 != hashlib.sha256(DATA).hexdigest()
    data, meta = download(client, room_id, "spoilt.bin")
    assert hashlib.sha256(data).hexdigest() == meta["sha256"] == sha256
    if not tls.EVERYWHERE:
        with Connection("127.0.0.1", place.main.process.port) as chat:
            name = fresh_name("sender")
            chat.register(name, "secret")
            chat.login(name, "secret")
            source = place.tmp_path / "mine.bin"
            source.write_bytes(DATA)
            assert (
                transfers.upload(chat, room_id, source).sha256 == hashlib.sha256(DATA).hexdigest()
            )


def abandon(place: Place, users: int) -> None:
    """Uploads begun and left: at most 64 of a user, counted against the quota, and gone when they
    are cancelled."""
    watched = place.server("--quota", "100000")
    folder = watched.process.data_dir / "uploads"
    room_id = fresh_name("room")
    for _ in range(users):
        client = place.user(watched)
        begun = []
        for number in range(70):
            upload = Upload(client, room_id, f"half-{number}", b"x" * 1000, chunk=500)
            reply = upload.init()
            if reply["action"] == "error":
                assert error_code(reply) == "too_many_pending"
                break
            upload.send(1)
            begun.append(upload)
        assert len(begun) == 64
        for upload in begun[:32]:
            assert (
                client.ask("file_cancel", room_id=room_id, file_path=upload.file_path)["action"]
                == "file_cancelled"
            )
        assert (
            error_code(
                Upload(client, room_id, "large", b"x").init(file_size=70_000, total_packets=70)
            )
            == "quota_exceeded"
        )
        for upload in begun[32:]:
            assert (
                client.ask("file_cancel", room_id=room_id, file_path=upload.file_path)["action"]
                == "file_cancelled"
            )
        assert Upload(client, room_id, "small", b"x" * 20_000).init()["status"] == "success"
        assert (
            client.ask("file_cancel", room_id=room_id, file_path="small")["action"]
            == "file_cancelled"
        )
        client.close()
    until(lambda: not list(folder.iterdir()), "flat files are left")


@TABLE.row(92, "uploads begun and abandoned")
def _(place: Place) -> None:
    abandon(place, 1)


@TABLE.row(92, "1,000 uploads begun and abandoned", long=True)
def _(place: Place) -> None:
    abandon(place, 16)


@TABLE.row(93, "a download from a private room, of a guessed name, of what never was")
def _(place: Place) -> None:
    owner, stranger = place.user(), place.user()
    room_id, unknown = place.private_room(owner), "p-" + "0" * 32
    Upload(owner, room_id, "secret.txt", b"secret").run()
    said: dict[str, list[Any]] = {room_id: [], unknown: []}
    for room in (room_id, unknown):
        for name in ("secret.txt", "no such file"):
            for action in ("file_down_req", "file_send_fin", "file_send_data", "file_cancel"):
                keys = {"total_packets": 1} if action == "file_send_fin" else {}
                keys = (
                    {"sequence_number": 1, "file_data": encoded(b"x")}
                    if action == "file_send_data"
                    else keys
                )
                answer = stranger.ask(action, room_id=room, file_path=name, **keys)
                assert error_code(answer) == "room_not_found"
                said[room].append(answer["message"].replace(room, "ROOM"))
        assert error_code(stranger.ask("file_list_req", room_id=room)) == "room_not_found"
    assert said[room_id] == said[unknown]
    assert (
        error_code(owner.ask("file_down_req", room_id=room_id, file_path="no such file"))
        == "file_not_found"
    )
    assert (
        error_code(owner.ask("file_down_req", room_id="lobby", file_path="secret.txt"))
        == "file_not_found"
    )


@TABLE.row(94, "bombs, pages and programs")
def _(place: Place) -> None:
    client, room_id = place.user(), fresh_name("room")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../zeros", bytes(20_000_000))
    bombs = {
        "bomb.zip": packed.getvalue(),
        "bomb.gz": gzip.compress(bytes(20_000_000)),
        "x.html": b"<script>alert(1)</script>",
        "x.exe": b"MZ\x90\0",
        "x.png": b"\x89PNG\r\n\x1a\n" + b"\xff" * 50,
    }
    for name, data in bombs.items():
        assert (
            Upload(client, room_id, name, data, chunk=50_000).run()["sha256"]
            == hashlib.sha256(data).hexdigest()
        )
        assert download(client, room_id, name)[0] == data
    stored = {(uploads_folder(place) / name).stat().st_size for name in flat_files(place)}
    assert max(stored) < 1_000_000, "something was unpacked"


# --- The client's side, and crashes ---------------------------------------------------------------


@TABLE.row(95, "a file whose name leads out of the download folder, or is there already")
def _(place: Place) -> None:
    if tls.EVERYWHERE:
        pytest.skip("the client is told nothing of the certificate here")
    client, room_id, folder = place.user(), fresh_name("room"), place.tmp_path / "in" / "downloads"
    names = ("plain.txt", ".profile", "a:b", "a.", "x\u202etxt.exe", "*?<>|.txt")
    for name in names:
        Upload(client, room_id, name, name.encode()).run()
    folder.mkdir(parents=True)
    (folder / "plain.txt").write_bytes(b"mine")
    with Connection("127.0.0.1", place.main.process.port) as chat:
        name = fresh_name("fetcher")
        chat.register(name, "secret")
        chat.login(name, "secret")
        for name in names:
            kept = transfers.download(chat, room_id, name, folder)
            assert kept.parent == folder and kept.read_bytes() == name.encode()
            assert kept.name not in (".profile", "a:b", "a.") and "\u202e" not in kept.name
    assert (folder / "plain.txt").read_bytes() == b"mine" and (
        folder / "plain (2).txt"
    ).read_bytes() == b"plain.txt"
    assert [path.name for path in folder.parent.iterdir()] == ["downloads"]
    for name in (
        *PATHS,
        *IMPOSSIBLE,
        *ODD,
        "..\\..\\x",
        "/etc/passwd",
        "C:\\Windows\\x",
        "\x1b[2J",
        "..",
        ".",
    ):
        local = local_file_name(name)
        assert (
            local
            and local not in (".", "..")
            and not any(c in local for c in '/\\:\0*?"<>|\x1b')
            and not local.startswith(".")
        ), name


@TABLE.row(96, "kill -9 within an upload")
def _(place: Place) -> None:
    watched = place.server("--quota", "999999")
    process, room_id = watched.process, fresh_name("room")
    client = place.user(watched)
    upload = Upload(client, room_id, "half.bin", DATA)
    upload.init()
    upload.send(1)
    upload.send(2)
    process.kill()
    orphans = [process.data_dir / "uploads" / name for name in ("0" * 32, "1" * 32 + ".part")]
    for orphan in orphans:
        orphan.write_bytes(b"left over")
    process.start()
    watched.restarted()
    assert not any(orphan.exists() for orphan in orphans)
    upload.client = place.connect(watched)
    upload.client.login(client.chatid)
    assert listed_or_none(upload.client, room_id) == []
    missing = {1, 2, 3} - {
        number
        for first, last in upload.init()["data"]["received"]
        for number in range(first, last + 1)
    }
    assert 3 in missing
    for number in missing:
        upload.send(number)
    assert upload.fin()["data"]["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert listed(upload.client, room_id) == ["half.bin"]


@TABLE.row(96, "kill -9 at 40 moments of an upload", long=True)
def _(place: Place) -> None:
    # In front of each single system call: test_killed_between_steps.py
    process = ServerProcess(
        place.tmp_path / "data", "--rate-limit", "0", "--min-free", "0", "--password-cost", "4"
    )
    data = some_bytes(1_000_000)
    process.start()
    first = RawClient(process.port)
    first.register("ada")
    first.close()
    try:
        for moment in range(40):
            client = RawClient(process.port)
            client.login("ada", take_over=True)
            upload = Upload(client, "lobby", f"file-{moment}", data, chunk=100_000)
            upload.init()
            packets = [upload.chunk_packet(number) for number in range(1, 11)]
            for packet in packets:
                client.send(packet)
            client.send(
                {
                    "action": "file_send_fin",
                    "data": {"chat_id": "ada", **upload.named, "total_packets": 10},
                }
            )
            time.sleep(moment * 0.002)
            process.kill()
            client.close()
            process.start()
            client = upload.client = RawClient(process.port)
            client.login("ada", take_over=True)
            for name in listed(client, "lobby"):
                assert download(client, "lobby", name)[0] == data, "a half file is listed"
            check_data(process.data_dir)
            client.close()
        assert process.stop() == 0
        until(lambda: "Traceback" not in process.log(), process.log())
    finally:
        process.kill()


@pytest.mark.parametrize("row", TABLE.parameters())
def test_bad_input(row: Row, house: House, tmp_path: Path) -> None:
    play(row, house, tmp_path)
