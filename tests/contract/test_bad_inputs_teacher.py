"""Bad inputs 121 to 132: what a teacher asks for that can't be, by packets and on the command line,
beside a running server. They go on where the catalogue of 120 ends."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
from support import fresh_name, trouble
from support.bad_inputs import House, Place, Row, Table, house, play, rows_of
from support.data_folder import Folder
from support.patience import until
from support.raw_client import Packet, RawClient, error_code

TABLE = Table()
__all__ = ["house"]
YEAR = 366 * 86_400
"""The longest time that a mute, a ban or a pause may last (R-TEACH-7)."""


def commands(place: Place) -> Folder:
    """Return the commands, on the data folder of the running server."""
    return Folder(place.main.process.data_dir)


def teacher(place: Place) -> RawClient:
    name = fresh_name("teacher")
    commands(place).done("adduser", "--password-cost", "4", name, "--teacher")
    client = place.connect()
    assert client.login(name, "secret")["data"]["role"] == "teacher"
    return client


def acts(place: Place) -> int:
    """Return how many acts there were."""
    return int(rows_of(place.main.process.data_dir, "SELECT COUNT(*) FROM audit")[0][0])


def refused(client: RawClient, code: str, action: str, **data: object) -> Packet:
    reply = client.ask(action, **data)
    assert error_code(reply) == code, f"{action} {data} was answered {reply}"
    return reply


# --- By packets -----------------------------------------------------------------------------------


@TABLE.row(
    121,
    "a time that is negative, huge, past, none:",
    {action: action for action in ("mute_user", "ban_user", "pause_class")},
)
def _(place: Place, action: str) -> None:
    ms_lee, student, before = teacher(place), place.user(), acts(place)
    data = {} if action == "pause_class" else {"user": student.chatid}
    for seconds in (-1, YEAR + 1, 2**53 - 1, True, 1.5, "60", None, [], "2020-01-01T00:00:00Z"):
        reply = refused(ms_lee, "bad_packet", action, seconds=seconds, **data)
        assert "data.seconds" in reply["message"]
    student.say(place.private_room(student), "still here")
    assert acts(place) == before


@TABLE.row(
    122,
    "about a teacher, oneself, nobody:",
    {
        action: action
        for action in ("mute_user", "unmute_user", "kick_user", "ban_user", "unban_user")
    },
)
def _(place: Place, action: str) -> None:
    ms_lee, other, before = teacher(place), teacher(place), acts(place)
    more = {"seconds": 1} if action in ("mute_user", "ban_user") else {}
    for name, code in (
        (other.chatid, "forbidden"),
        (ms_lee.chatid, "forbidden"),
        (fresh_name("nobody"), "user_not_found"),
        ("no name at all", "user_not_found"),
    ):
        refused(ms_lee, code, action, user=name, **more)
    for name in ("", "x" * 33, 17, None, [other.chatid]):
        refused(ms_lee, "bad_packet", action, user=name, **more)
    other.say(place.private_room(other), "as ever")
    assert acts(place) == before


@TABLE.row(123, "a message that is none, hidden or shown")
def _(place: Place) -> None:
    ms_lee = teacher(place)
    for action in ("hide_message", "show_message"):
        for number in (0, 2**53 - 1):
            refused(ms_lee, "message_not_found", action, message_id=number)
        for wrong in (-1, True, "1", 1.0, None):
            refused(ms_lee, "bad_packet", action, message_id=wrong)


@TABLE.row(124, "a message hidden twice, shown twice")
def _(place: Place) -> None:
    ms_lee, student = teacher(place), place.user()
    room_id = place.private_room(student)
    number = student.say(room_id, "rude")["data"]["message_id"]
    before = acts(place)
    for action in ("hide_message", "hide_message", "show_message", "show_message"):
        assert ms_lee.ask(action, message_id=number)["status"] == "success"
    assert acts(place) == before + 2, "what changes nothing is no act"
    page = student.ask("get_messages", room_id=room_id, after_id=0)["data"]["messages"]
    assert [message["content"] for message in page] == ["rude"]


@TABLE.row(125, "reasons, rooms, files and hands that are none")
def _(place: Place) -> None:
    ms_lee, student, before = teacher(place), place.user(), acts(place)
    for reason in ("x" * 201, "a\0", 5, None, []):
        reply = refused(ms_lee, "bad_packet", "kick_user", user=student.chatid, reason=reason)
        assert "data.reason" in reply["message"]
    for text in ("x" * 201, "a\0", 17, None):
        refused(student, "bad_packet", "raise_hand", text=text)
    for room_id in (fresh_name("never"), "p-" + "0" * 32):
        refused(ms_lee, "room_not_found", "set_room", room_id=room_id, read_only=True)
        refused(ms_lee, "room_not_found", "remove_file", room_id=room_id, file_path="a.txt")
    for flag in (1, "true", None, []):
        refused(ms_lee, "bad_packet", "set_room", room_id="lobby", read_only=flag)
        refused(ms_lee, "bad_packet", "set_room", room_id="lobby", uploads=flag)
    refused(ms_lee, "file_not_found", "remove_file", room_id="lobby", file_path="nothing.txt")
    refused(student, "forbidden", "lower_hand", user=ms_lee.chatid)
    refused(ms_lee, "user_not_found", "lower_hand", user="nobody-there")
    for wrong in (-1, True, "1"):
        refused(ms_lee, "bad_packet", "get_audit", after_id=wrong)
    assert acts(place) == before


@TABLE.row(126, "a ban that ends while the banned one logs in")
def _(place: Place) -> None:
    ms_lee, student = teacher(place), place.user()
    key, name = student.session_key, student.chatid
    ms_lee.ask("ban_user", user=name, seconds=1, reason="loud")
    late, codes = place.connect(), []

    def is_in() -> bool:
        reply = late.login(name, None, session_key=key)
        codes.append(reply.get("code", reply["action"]))
        return reply["action"] == "login_success"

    until(is_in, "the ban does not end")
    assert set(codes) == {"banned", "login_success"}, codes
    late.say(place.private_room(late), "back")


# --- On the command line --------------------------------------------------------------------------


@TABLE.row(127, "forget of one who is on, of a teacher, twice, of a name that never was")
def _(place: Place) -> None:
    folder, ms_lee, student = commands(place), teacher(place), place.user()
    room_id = place.private_room(student)
    number = student.say(room_id, "soon gone")["data"]["message_id"]
    for client in (student, ms_lee):
        folder.done("forget", client.chatid)
        client.expect_closed()
        assert "not even a deleted one" in folder.refused("forget", client.chatid)
    assert "not even a deleted one" in folder.refused("forget", fresh_name("nobody"))
    assert "expected" in folder.refused("forget", "no name")
    found = rows_of(folder.path, "SELECT COUNT(*) FROM messages WHERE id = ?", number)
    assert found == [(0,)]


@TABLE.row(128, "a backup into the data folder, over a file, to nowhere, onto a full disk")
def _(place: Place) -> None:
    folder, taken = commands(place), place.tmp_path / "taken.zip"
    taken.write_bytes(b"mine")
    for target, words in (
        (folder.path / "copy.zip", "lies in the data folder"),
        (folder.path / "uploads" / "copy.zip", "lies in the data folder"),
        (taken, "is there already"),
    ):
        assert words in folder.refused("backup", str(target)), target
    nowhere = str(place.tmp_path / "nowhere" / "copy.zip")
    assert "make it first" in folder.refused("backup", nowhere, status=2)
    if hasattr(trouble.resource, "prlimit"):
        trouble.limit_file_size(os.getpid(), 64 * 1024)
        try:
            assert folder.refused("backup", str(place.tmp_path / "c.zip")) != ""
        finally:
            trouble.limit_file_size(os.getpid(), None)
    assert taken.read_bytes() == b"mine" and os.listdir(place.tmp_path) == ["taken.zip"]


def hostile(copy: Path) -> dict[str, bytes]:
    """Return zips that are no copies, by what is wrong."""
    data = copy.read_bytes()
    made = {"cut": data[: len(data) // 2], "empty": b"", "no zip": b"x" * 1000}
    for name in ("../evil", "/etc/evil", "C:\\evil", "uploads/../../evil"):
        made[name] = added(copy, name, b"x")
    made["a bomb"] = added(copy, "uploads/" + "0" * 32, bytes(64 << 20))
    return made


def added(copy: Path, name: str, data: bytes) -> bytes:
    """Return the copy with one file more."""
    other = copy.with_name("other.zip")
    other.write_bytes(copy.read_bytes())
    with zipfile.ZipFile(other, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(name, data)
    return other.read_bytes()


@TABLE.row(129, "a restore of a cut, foreign, hostile zip, into the running server's folder")
def _(place: Place) -> None:
    folder, copy = commands(place), place.tmp_path / "copy.zip"
    folder.done("backup", str(copy))
    assert "not empty" in folder.refused("restore", str(copy))
    target = Folder(place.tmp_path / "new" / "data")
    target.path.parent.mkdir()
    for case, data in hostile(copy).items():
        bad = place.tmp_path / "bad.zip"
        bad.write_bytes(data)
        target.refused("restore", str(bad))
        assert os.listdir(target.path.parent) == [], f"{case} has left something"
    assert not (place.tmp_path / "evil").exists()
    target.done("restore", str(copy))


@TABLE.row(130, "times on the command line that are none, negative, huge")
def _(place: Place) -> None:
    folder, name, before = commands(place), place.user().chatid, acts(place)
    for time in ("soon", "1.5h", "367d", "99999999999d", "2020-01-01", "+5m", "5 m"):
        for words in (("mute", name, time), ("ban", name, time), ("pause", time)):
            assert "TIME" in folder.refused(*words), words
    assert acts(place) == before


@TABLE.row(131, "acts on the command line about nobody, nothing, nowhere")
def _(place: Place) -> None:
    folder, before = commands(place), acts(place)
    for words in (
        ("mute", fresh_name("nobody"), "1m"),
        ("kick", fresh_name("nobody")),
        ("role", fresh_name("nobody"), "teacher"),
        ("hide", "0"),
        ("show", "9" * 15),
        ("hide", "x"),
        ("room", fresh_name("never"), "--read-only", "on"),
        ("announce", " "),
        ("announce", "hi", "--room", fresh_name("never")),
        ("kick", place.user().chatid, "a\x1b[2Jb"),
    ):
        folder.refused(*words)
    assert acts(place) == before


@TABLE.row(132, "an export into the data folder, over something, of no room, of no time")
def _(place: Place) -> None:
    folder, out, full = commands(place), place.tmp_path / "out", place.tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine", encoding="utf-8")
    for words in (
        ("-o", str(folder.path / "uploads" / "x")),
        ("-o", str(full)),
        ("-o", str(out), fresh_name("never")),
        ("-o", str(out), "--since", "yesterday-ish"),
        ("-o", str(out), "--since", "2026-02-30"),
        ("-o", str(out), "--since", "2026-01-02", "--until", "2026-01-01"),
    ):
        folder.refused("export", *words)
    assert sorted(os.listdir(place.tmp_path)) == ["full"]
    assert os.listdir(full) == ["mine.txt"]


@pytest.mark.parametrize("row", TABLE.parameters())
def test_bad_input(row: Row, house: House, tmp_path: Path) -> None:
    play(row, house, tmp_path)
