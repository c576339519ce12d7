"""`export`: everything that was said and nothing else, hostile text harmless, in every form."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import os
import stat
from collections.abc import Iterator
from datetime import datetime, timezone, tzinfo
from pathlib import Path
from typing import Any

import pytest
from support.data_folder import Folder

from server.archive.export import folder as export_folder
from server.archive.export.folder import safe_name
from server.archive.export.writers import harmless_cell
from server.command_line import moments
from server.command_line.console import AdminError
from server.command_line.moments import moment
from storage import portable, rooms

BEGIN = 1_700_000_000
HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m\x00"


def change(folder: Folder, *statements: str) -> None:
    database = folder.database()
    with database.transaction() as connection:
        for statement in statements:
            connection.execute(statement)
    database.close()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "data").make()
    made.say("ada", "Hello", HOSTILE, "=1+1", "one\ntwo\n12:00 bob: forged")
    made.say("bob", "rude", "Listen!", sent_at=BEGIN + 100_000)
    made.send_file("bob", "../evil name.html", b"<b>bytes</b>", sent_at=BEGIN + 2)
    made.send_file("bob", "gone.txt", b"gone", sent_at=BEGIN + 200_000)
    made.say("bob", "in the other room", room_id="../..")
    change(
        made,
        "UPDATE messages SET hidden_by = 1 WHERE content = 'rude'",
        "UPDATE messages SET announce = 1 WHERE content = 'Listen!'",
        "UPDATE files SET removed_at = 5 WHERE base_name = 'gone.txt'",
        "UPDATE accounts SET role = 'teacher' WHERE chatid = 'ada'",
    )
    return made


def exported(folder: Folder, *options: str) -> dict[str, str]:
    """The texts of the files of an export, by their names."""
    target = folder.path.parent / "out"
    folder.done("export", *options, "-o", str(target))
    return {
        path.relative_to(target).as_posix(): path.read_bytes().decode()
        for path in target.rglob("*")
        if path.is_file()
    }


def lines_of(folder: Folder, *options: str) -> list[dict[str, Any]]:
    text = exported(folder, "lobby", "--format", "jsonl", *options)["01-lobby.jsonl"]
    return [json.loads(line) for line in text.splitlines()]


# --- What is in it --------------------------------------------------------------------------------


def test_every_room_is_exported_with_its_messages_and_files_in_order(folder: Folder) -> None:
    rows = lines_of(folder)
    assert [(row["kind"], row["sender"], row["text"]) for row in rows] == [
        ("message", "ada", "Hello"),
        ("message", "ada", HOSTILE),
        ("file", "bob", "../evil name.html"),
        ("message", "ada", "=1+1"),
        ("message", "ada", "one\ntwo\n12:00 bob: forged"),
        ("removed", "bob", "[removed by ada]"),
        ("announcement", "bob", "Listen!"),
        ("file", "bob", "gone.txt [removed]"),
    ]
    assert rows[0]["time"] == "2023-11-14T22:13:20Z" and rows[0]["number"] == 1
    assert rows[2]["bytes"] == 12 and rows[2]["path"] == "" and len(rows[2]["sha256"]) == 64


def test_what_was_removed_is_shown_on_request(folder: Folder) -> None:
    assert "[removed by ada] rude" in [row["text"] for row in lines_of(folder, "--hidden")]


def test_a_period_is_half_open(folder: Folder) -> None:
    rows = lines_of(folder, "--since", "2023-11-14T22:13:21Z", "--until", "2023-11-14T22:13:23Z")
    assert [row["number"] for row in rows] == [2, 1, 3]


def test_rooms_are_named_by_their_ids(folder: Folder) -> None:
    assert list(exported(folder, "../..", "../..", "--format", "txt")) == ["01-_.txt"]
    assert "no room has the id 'nowhere'" in folder.refused(
        "export", "nowhere", "-o", str(folder.path.parent / "other")
    )
    assert sorted(os.listdir(folder.path.parent)) == ["data", "out"]


def test_files_are_copied_under_harmless_names(folder: Folder) -> None:
    files = exported(folder, "--files")
    assert files["files/000001-_evil_name.html"] == "<b>bytes</b>"
    assert sorted(files) == [
        "01-lobby.html",
        "02-_.html",
        "files/000001-_evil_name.html",
        "index.html",
    ]
    assert 'href="files/000001-_evil_name.html" download>' in files["01-lobby.html"]


def test_a_file_that_is_lost_is_told(folder: Folder) -> None:
    for path in (folder.path / "uploads").iterdir():
        path.unlink()
    result = folder.done("export", "--files", "-o", str(folder.path.parent / "out"))
    assert "in the export: 1 file\n" in result.err and "and 0 files" in result.err


def test_pseudonyms_name_nobody_and_their_key_lies_beside(folder: Folder) -> None:
    texts = exported(folder, "--pseudonyms", "--format", "csv")
    everything = "".join(texts.values())
    assert "teacher-01" in everything and "student-02" in everything
    assert "[removed by teacher-01]" in everything
    assert '"ada"' not in everything and '"bob"' not in everything
    key = (folder.path.parent / "out-key.csv").read_text("utf-8-sig")
    assert '"teacher-01","ada"' in key and '"student-02","bob"' in key
    target = folder.path.parent / "out2"
    (folder.path.parent / "out2-key.csv").write_text("mine")
    assert "is there already" in folder.refused("export", "--pseudonyms", "-o", str(target))
    assert not target.exists()


# --- Hostile text stays text ----------------------------------------------------------------------


class Page(html.parser.HTMLParser):
    """Reads a page: its elements, and the texts of its articles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_is_one_file_that_runs_nothing_and_loads_nothing(folder: Folder) -> None:
    text = exported(folder)["01-lobby.html"]
    page = Page(text)
    assert "script" not in page.tags and "img" not in page.tags and "link" not in page.tags
    assert all(link.startswith("#") for link in page.links)
    assert "default-src 'none'" in text and "url(" not in text and "@import" not in text
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    assert "<script>alert(1)</script>\u202e\u241b[31m\u2400" in page.texts
    assert "one\ntwo\n12:00 bob: forged" in page.texts
    assert '<article id="m6" class="announcement">' in text
    assert "A chat, open room. Exported " in "".join(page.texts)


def test_the_index_leads_to_each_room(folder: Folder) -> None:
    database = folder.database()
    with database.transaction() as connection:
        private = rooms.create_private(connection, "p-1", "<b>ours</b>", 1, [2], BEGIN)
        rooms.mark_deleted(connection, private.pk, BEGIN)
    database.close()
    texts = exported(folder)
    page = Page(texts["index.html"])
    assert page.links == ["01-lobby.html", "02-_.html", "03-p-1.html"]
    assert "<b>ours</b>, private" in page.texts
    assert "private room, deleted" in texts["03-p-1.html"]
    assert "Nothing was said." in texts["03-p-1.html"]


def test_no_cell_is_a_formula_and_excel_knows_the_encoding(folder: Folder) -> None:
    text = exported(folder, "lobby", "--format", "csv")["01-lobby.csv"]
    assert text.startswith("\ufeff") and "\r\n" in text
    table = list(csv.DictReader(io.StringIO(text[1:], newline="")))
    assert [row["text"] for row in table][:5] == [
        "Hello",
        "<script>alert(1)</script>\u202e\u241b[31m\u2400",
        "../evil name.html",
        "'=1+1",
        "one\ntwo\n12:00 bob: forged",
    ]


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff20"])
def test_what_a_spreadsheet_would_compute_gets_an_apostrophe(first: str) -> None:
    assert harmless_cell(f"{first}1") == f"'{first}1"
    assert harmless_cell(f"1{first}") == f"1{first}"


def test_a_text_of_several_lines_forges_none(folder: Folder) -> None:
    text = exported(folder, "lobby", "--format", "txt")["01-lobby.txt"]
    assert "ada: one\n      two\n      12:00 bob: forged\n" in text
    assert "ada: <script>alert(1)</script>\\u202e\\x1b[31m\\x00\n" in text
    assert "bob: ANNOUNCES Listen!" in text
    assert "bob: sent the file ../evil name.html (12 bytes)" in text


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("lobby", "lobby"),
        ("..", "_"),
        ("", "_"),
        ("a/b\\c:d", "a_b_c_d"),
        (".hidden", "hidden"),
        ("höhle-2", "höhle-2"),
        ("x" * 100 + ".txt", "x" * 56 + ".txt"),
    ],
)
def test_names_of_files_are_harmless(name: str, safe: str) -> None:
    assert safe_name(name) == safe


# --- Where it may not go --------------------------------------------------------------------------


def test_an_export_is_for_its_owner_alone_and_takes_an_empty_folder(folder: Folder) -> None:
    (folder.path.parent / "out").mkdir()
    exported(folder)
    if os.name != "nt":
        for path in (folder.path.parent / "out").rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_export_is_written_over_nothing(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    assert "is there already" in folder.refused("export", "-o", str(tmp_path / "out"))
    assert "in the data folder" in folder.refused("export", "-o", str(folder.path / "out"))
    (folder.path / "new").mkdir()
    folder.refused("export", "-o", str(folder.path / "new"))
    assert (folder.path / "new").is_dir() and sorted(os.listdir(tmp_path)) == ["data", "out"]


def test_a_key_of_pseudonyms_that_another_export_has_written_meanwhile_stays(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, write = tmp_path / "out-key.csv", export_folder._Export.write
    monkeypatch.setattr(
        export_folder._Export, "write", lambda *given: key.write_text("x") and write(*given)
    )
    line = folder.refused("export", "--pseudonyms", "-o", str(tmp_path / "out"))
    assert "nothing was exported" in line
    assert key.read_text() == "x" and sorted(os.listdir(tmp_path)) == ["data", "out-key.csv"]


def test_an_export_that_fails_leaves_nothing(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> Iterator[Any]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export_folder.os, "rename", fail)
    line = folder.refused("export", "--pseudonyms", "-o", str(tmp_path / "out"))
    assert "nothing was exported" in line
    folder.refused("export", "-o", str(tmp_path / "out"))
    assert os.listdir(tmp_path) == ["data"]


def test_an_export_is_named_also_where_a_scanner_of_windows_looks_into_it(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, calls = os.rename, list[Any]()

    def held_once(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 1:
            raise PermissionError(13, "Access is denied")
        rename(source, target)

    monkeypatch.setattr(portable, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(portable, "_platform", "win32")
    monkeypatch.setattr(os, "rename", held_once)
    folder.done("export", "-o", str(tmp_path / "out"))
    assert len(calls) == 2 and (tmp_path / "out" / "index.html").is_file()


# --- Times ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2023-11-14T22:13:20Z", BEGIN),
        ("2023-11-14 22:13:20+00:00", BEGIN),
        ("2h", BEGIN - 7200),
        ("90m", BEGIN - 5400),
        ("3d", BEGIN - 3 * 86400),
        ("12:30", BEGIN - (22 * 60 + 13) * 60 - 20 + 12 * 3600 + 1800),
        ("12:30:05", BEGIN - (22 * 60 + 13) * 60 - 20 + 12 * 3600 + 1805),
    ],
)
def test_times_are_taken_as_people_type_them(text: str, seconds: int) -> None:
    now = datetime.fromtimestamp(BEGIN, timezone.utc)
    assert moment("--since", text, now) == seconds


@pytest.mark.parametrize("text", ["", "yesterday", "25:00", "99999999999999d", "-2h", "2023-13-01"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(AdminError, match="is no time"):
        moment("--since", text)


class WindowsTime(datetime):
    """A time on Windows, which knows no zone of the machine for some years."""

    def astimezone(self, tz: tzinfo | None = None) -> WindowsTime:  # type: ignore[override]
        if self.tzinfo is None and not 1970 < self.year <= 3000:
            raise OSError(22, "Invalid argument")
        return super().astimezone(tz)  # type: ignore[return-value]

    def timestamp(self) -> float:
        if self.tzinfo is None:
            self.astimezone()  # both are refused for the same years
        return super().timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1969-12-31", -86_400), ("1970-01-01", 0), ("3002-01-01", 32_566_752_000)],
)
def test_times_of_any_year_are_taken_where_the_system_knows_no_zone_for_them(
    text: str, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moments, "datetime", WindowsTime)
    now = datetime.fromtimestamp(BEGIN, timezone.utc)
    assert moment("--since", text, now) == seconds


def test_a_period_that_ends_before_it_begins_is_refused(folder: Folder, tmp_path: Path) -> None:
    line = folder.refused(
        "export", "--since", "2h", "--until", "2023-01-01", "-o", str(tmp_path / "out")
    )
    assert "--until is not after --since" in line
