"""One way in for text: whatever a system of our users writes is read as what they meant."""

from __future__ import annotations

import ctypes
import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import incoming_text
from incoming_text import BadText

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = [
    ("UTF-8", "Grüße, Łuk\n".encode(), "Grüße, Łuk\n"),
    ("UTF-8 with a mark", "\ufeffGrüße\r\n".encode(), "Grüße\n"),
    ("UTF-16 of PowerShell", "\ufeffGrüße\r\nŁuk".encode("utf-16-le"), "Grüße\nŁuk"),
    ("UTF-16, big end first", "\ufeffGrüße\n".encode("utf-16-be"), "Grüße\n"),
    ("cp1252", "Grüße – €\r\n".encode("cp1252"), "Grüße – €\n"),
    ("an old Mac's line ends", b"one\rtwo", "one\ntwo"),
    ("nothing", b"", ""),
    ("a part of a mark", b"\xef", "ï"),
]


@pytest.fixture(autouse=True)
def western(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system whose own encoding is UTF-8, on which old files are taken for cp1252."""
    monkeypatch.setattr(incoming_text.locale, "getpreferredencoding", lambda _: "UTF-8")


def pipe(data: bytes, errors: str = "strict") -> io.TextIOWrapper:
    """Return a stream in memory, prepared as a standard stream is."""
    stream = io.TextIOWrapper(io.BytesIO(data), "ascii", newline="\n")
    incoming_text.prepare(stream, errors)
    return stream


@pytest.mark.parametrize(
    ("data", "text"), [row[1:] for row in WRITTEN], ids=[w[0] for w in WRITTEN]
)
def test_every_way_in_reads_the_same_text(data: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    assert incoming_text.read(tmp_path / "file") == text
    assert pipe(data).read() == text
    line = text.split("\n", maxsplit=1)[0]
    assert incoming_text.first_line(tmp_path / "file", 100) == line
    assert incoming_text.line_of(pipe(data), 100) == line


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize(
    ("data", "text"), [row[1:] for row in WRITTEN], ids=[w[0] for w in WRITTEN]
)
def test_a_pipe_gives_the_same_however_its_bytes_come(data: bytes, text: str, size: int) -> None:
    decoder = incoming_text._Decoder(legacy="cp1252")
    parts = [decoder.decode(data[start : start + size]) for start in range(0, len(data) + 1, size)]
    whole = "".join([*parts, decoder.decode(b"", final=True)])
    assert whole.replace("\r\n", "\n").replace("\r", "\n") == text


def test_a_line_is_there_as_soon_as_it_is_whole() -> None:
    reading, writing = os.pipe()
    with open(reading, encoding="ascii") as stream, open(writing, "wb", buffering=0) as sink:
        incoming_text.prepare(stream, "strict")
        sink.write(b"one\nGr\xfc\xdfe\n")
        assert [stream.readline(), stream.readline()] == ["one\n", "Grüße\n"]
        sink.write("später\n".encode())
        assert stream.readline() == "später\n"


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"one\ntwo \x81\n", "line 2, column 5"),
        (b"\xef\xbb\xbfok\n\xff", "line 2, column 1"),
        (b"\xff\xfeo\0\n\0x", "line 2, column 1"),
        ("gr\u00fcn\n".encode() + b"\xfc\0", "line 2, column 1"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(data: bytes, place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(BadText, match=f"^{place}: expected text in UTF-8: save it as UTF-8$"):
        incoming_text.read(tmp_path / "file")


def test_a_stream_says_or_shows_what_is_no_text() -> None:
    with pytest.raises(BadText, match="line 1, column 3"):
        incoming_text.line_of(pipe(b"ab\x81\n"), 100)
    assert pipe(b"ab\x81\n", "replace").read() == "ab\ufffd\n"
    assert pipe(b"\xff\xfea\0b", "replace").read() == "a\ufffd"


def test_a_file_is_read_only_as_far_as_it_may_go(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert incoming_text.read(tmp_path / "file", 5) == "12345"
    with pytest.raises(BadText, match="too long: expected at most 4 bytes"):
        incoming_text.read(tmp_path / "file", 4)
    assert incoming_text.first_line(tmp_path / "file", 3) == "123"


@pytest.mark.parametrize(
    ("word", "left"),
    [
        (" one ", "one"),
        ("\u00a0one\u200b", "one"),
        ("\ufeff \u200b\tone", "one"),
        ("o n\u200be", "o n\u200be"),
        (" \u200b ", ""),
    ],
)
def test_blanks_around_a_word_are_no_part_of_it(word: str, left: str) -> None:
    assert incoming_text.tidy(word) == left


def test_what_cannot_be_typed_is_named() -> None:
    assert incoming_text.unseen_character("plain words ß 🙂") is None
    assert incoming_text.unseen_character("a\u200bb") == (
        "character 2 is U+200B (zero width space), which can't be typed"
    )
    for character in "\n\x1b\u00a0\u2028\u00ad":
        assert f"U+{ord(character):04X}" in str(incoming_text.unseen_character("x" + character))


# --- Paths ---


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    (tmp_path / "file").write_text("text", "utf-8")
    assert incoming_text.read("~/file") == incoming_text.first_line("~/file", 9) == "text"
    assert incoming_text.place("~") == str(tmp_path)
    assert incoming_text.place("~$lock.docx") == "~$lock.docx"
    assert incoming_text.place("a/~/b") == "a/~/b"


@pytest.mark.skipif(os.name == "nt", reason="there the home is another variable")
def test_without_a_home_a_tilde_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "")
    assert incoming_text.home_folder() is None
    for path in ("~", "~/file"):
        with pytest.raises(BadText, match=r"no home folder for the ~ in '~.*': write the path in"):
            incoming_text.place(path)


# --- Code pages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "used"),
    [("cp1250", "cp1250"), ("UTF-8", "cp1252"), ("US-ASCII", "cp1252"), ("nonsense", "cp1252")],
)
def test_files_are_in_the_code_page_of_the_system(
    name: str, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming_text.locale, "getpreferredencoding", lambda _: name)
    assert incoming_text.code_page_of_files() == used


@pytest.mark.parametrize(
    ("number", "used"), [(850, "cp850"), (65001, "cp1252"), (0, "cp1252"), (99999, "cp1252")]
)
def test_pipes_are_in_the_code_page_of_the_console(
    number: int, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel32 = SimpleNamespace(GetConsoleCP=lambda: number)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel32), raising=False)
    assert incoming_text.code_page_of_pipes() == used


def test_a_system_without_consoles_code_page_takes_that_of_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(ctypes, "windll", raising=False)
    assert incoming_text.code_page_of_pipes() == incoming_text.code_page_of_files()


# --- Standard streams -----------------------------------------------------------------------------


def test_a_file_as_standard_input_is_read_as_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes("\ufeffGrüße\r\nŁuk\r\n".encode("utf-16-le"))
    code = (
        "import sys, incoming_text; incoming_text.prepare(sys.stdin, 'strict');"
        "print(ascii(sys.stdin.read()), sys.stdin.tell())"
    )
    with open(tmp_path / "file", "rb") as file:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, stdin=file, capture_output=True, check=True
        )
    assert done.stdout.split()[0] == rb"'Gr\xfc\xdfe\n\u0141uk\n'"


def test_a_stream_that_is_none_of_pythons_own_is_left_alone() -> None:
    incoming_text.prepare(None, "strict")
    incoming_text.prepare(io.StringIO(), "strict")


def test_a_terminal_keeps_its_encoding() -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    stream = Terminal(io.BytesIO(b"\xff\n"), "utf-8")
    incoming_text.prepare(stream, "replace")
    assert (stream.encoding, stream.readline()) == ("utf-8", "\ufffd\n")
