"""The one way in for text that people made elsewhere: rosters, settings, password files, pipes.

Owns which encoding such bytes are in, what around a word is no part of it, and what `~` means.
Windows writes UTF-16 and UTF-8 with a byte-order mark, older programs there the code page of the
system, and cmd's pipes that of the console.

Never decides what the text means. Pure functions but for `read` and `first_line`, which open a
file; any thread may use them. A decoder belongs to one stream.
"""

from __future__ import annotations

import codecs
import functools
import io
import locale
import os
import re
import stat
import unicodedata
from typing import Final, TextIO

MOST_BYTES: Final = 16 * 1024 * 1024
"""A roster of all schools of a country takes less; `/dev/zero` takes more."""
LEGACY: Final = "cp1252"
"""The code page of Windows in Western Europe and America, for systems that have none."""
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_UNSEEN: Final = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
"""Without any width: zero-width blank and joiners, byte-order mark, soft hyphen (Unicode, Cf)."""


class BadText(ValueError):
    """Bytes that are no text; the message says where, and what to do."""


def read(path: str | os.PathLike[str], most_bytes: int = MOST_BYTES) -> str:
    """Return the whole text of a file. Raise OSError, or `BadText` where it is none or longer than
    `most_bytes`."""
    return read_encoded(path, most_bytes)[0]


def read_encoded(path: str | os.PathLike[str], most_bytes: int = MOST_BYTES) -> tuple[str, str]:
    """Return the whole text of a file, and its encoding, which is a guess where it is none of
    Unicode's. Raise as `read`."""
    with open(place(path), "rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise BadText(f"it is too long: expected at most {most_bytes} bytes")
    return decode(data)


def first_line(path: str | os.PathLike[str], most_characters: int) -> str:
    """Return the first line of a file, as `tidy` leaves it, and at most `most_characters` of it;
    nothing behind that line counts. Raise OSError or `BadText`."""
    with open(place(path), encoding=_CODEC_OF_FILES) as file:
        return line_of(file, most_characters)


def line_of(stream: TextIO, most_characters: int) -> str:
    """Return the next line of a stream, as `tidy` leaves it, and at most `most_characters` of it.
    Raise OSError or `BadText`."""
    try:
        return tidy(stream.readline(most_characters))
    except UnicodeDecodeError as error:
        raise _bad_text(error) from None


def place(path: str | os.PathLike[str]) -> str:
    """Return a path that a person wrote, with their home folder for `~` at its beginning. Raise
    `BadText` where there is none: a folder called `~` is never meant."""
    text = os.fspath(path)
    if re.match(r"~(?:[/\\]|$)", text) is None:
        return os.path.expanduser(text)  # ~bob is a home, too, if there is a bob
    home = home_folder()
    if home is None:
        raise BadText(f"there is no home folder for the ~ in '{text}': write the path in full")
    return os.path.join(home, text[2:]) if text[2:] else home


def home_folder() -> str | None:
    """Return the home folder of whoever runs this; None where there is none, as in some containers
    and for service accounts."""
    home = os.path.expanduser("~")
    return home if os.path.isabs(home) and os.environ.get("HOME") != "" else None


def tidy(word: str) -> str:
    """Return `word` without the blanks and signs without width around it, which nobody sees."""
    while word != (word := word.strip().strip(_UNSEEN)):
        pass
    return word


def unseen_character(text: str) -> str | None:
    """Return which character of `text` nobody can see or type, and where; None if there is none.

    A plain blank can be typed; other blanks, control and format characters can't.
    """
    for place, character in enumerate(text, 1):
        category = unicodedata.category(character)
        if category in ("Cc", "Cf", "Zl", "Zp") or (category == "Zs" and character != " "):
            name = unicodedata.name(character, "a control character").lower()
            return f"character {place} is U+{ord(character):04X} ({name}), which can't be typed"
    return None


# --- Bytes ----------------------------------------------------------------------------------------


def decode(data: bytes) -> tuple[str, str]:
    """Return bytes as text with `\\n` at the end of each line, and their encoding: by their
    byte-order mark, else UTF-8, else the code page of this system's files. Raise `BadText`."""
    encoding, mark = _marked(data)
    text = data[len(mark) :]
    try:
        whole = text.decode(encoding)
    except UnicodeDecodeError as error:
        if mark:
            raise _bad_text(error) from None
        encoding = code_page_of_files()
        whole = _in_code_page(error, encoding)
    return whole.replace("\r\n", "\n").replace("\r", "\n"), encoding


def _marked(data: bytes) -> tuple[str, bytes]:
    """Return the encoding and the mark at the beginning; UTF-8 where there is none."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding, mark
    return "utf-8", b""


def _in_code_page(error: UnicodeDecodeError, legacy: str) -> str:
    """Return what is no UTF-8 as text in a code page; a NUL is in no text."""
    if b"\0" in error.object:
        raise _bad_text(error)
    try:
        return error.object.decode(legacy)
    except UnicodeDecodeError as second:
        error.start = second.start
        raise _bad_text(error) from None


def _bad_text(error: UnicodeDecodeError) -> BadText:
    before = error.object[: error.start].decode(error.encoding, "replace")
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    return BadText(f"line {line}, column {column}: expected text in UTF-8: save it as UTF-8")


# --- Code pages -----------------------------------------------------------------------------------


def code_page_of_files() -> str:
    """Return in which code page programs of this system write text, where that is not UTF-8."""
    return _usable(locale.getpreferredencoding(False))


def code_page_of_pipes() -> str:
    """Return in which code page text comes through a pipe: on Windows that of the console, which
    cmd writes in (`GetConsoleCP`, 0 without a console)."""
    try:
        import ctypes

        number = int(ctypes.windll.kernel32.GetConsoleCP())  # type: ignore[attr-defined,unused-ignore]
    except (ImportError, AttributeError, OSError):  # another system
        number = 0
    return _usable(f"cp{number}") if number else code_page_of_files()


def _usable(name: str) -> str:
    """Return a code page by its name; `LEGACY` where it is unknown, or says no more than UTF-8."""
    try:
        found = codecs.lookup(name).name
    except LookupError:
        return LEGACY
    return LEGACY if found in ("utf-8", "ascii") else found


# --- Streams --------------------------------------------------------------------------------------


class _Decoder(codecs.BufferedIncrementalDecoder):
    """Text as it comes, a line at a time where it has no mark: which encoding a line is in shows
    at its end. `legacy` names the code page of what is no UTF-8."""

    def __init__(self, errors: str = "strict", *, legacy: str) -> None:
        super().__init__(errors)
        self._legacy = legacy
        self._encoding: str | None = None

    def reset(self) -> None:
        super().reset()
        self._encoding = None

    def _buffer_decode(  # type: ignore[override,unused-ignore]
        self, data: bytes, errors: str, final: bool
    ) -> tuple[str, int]:
        skipped = 0
        if self._encoding is None:
            if not final and any(mark.startswith(data) for mark, _ in _MARKS):
                return "", 0  # it may become a mark
            self._encoding, mark = _marked(data)
            skipped = len(mark)
        if self._encoding == "utf-8":
            end = len(data) if final else max(data.rfind(b"\n") + 1, skipped)
            return self._lines(data[skipped:end], errors), end
        decoder = (
            codecs.utf_16_le_decode if self._encoding == "utf-16-le" else codecs.utf_16_be_decode
        )
        text, used = decoder(data[skipped:], errors, final)
        return text, skipped + used

    def _lines(self, data: bytes, errors: str) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError:
            return "".join(self._line(line, errors) for line in data.splitlines(keepends=True))

    def _line(self, line: bytes, errors: str) -> str:
        try:
            return line.decode()
        except UnicodeDecodeError:
            pass
        try:
            return line.decode(self._legacy)
        except UnicodeDecodeError:
            return line.decode("utf-8", errors)


_CODEC_OF_FILES: Final = "chat_text_of_files"
_CODEC_OF_PIPES: Final = "chat_text_of_pipes"
_CODE_PAGES: Final = {
    _CODEC_OF_FILES: code_page_of_files,
    _CODEC_OF_PIPES: code_page_of_pipes,
}


def _find_codec(name: str) -> codecs.CodecInfo | None:
    """Return our codecs by name, which Python asks for. They write UTF-8."""
    code_page = _CODE_PAGES.get(name)
    if code_page is None:
        return None
    utf8 = codecs.lookup("utf-8")
    return codecs.CodecInfo(
        utf8.encode,
        utf8.decode,
        incrementalencoder=codecs.getincrementalencoder("utf-8"),
        incrementaldecoder=functools.partial(_Decoder, legacy=code_page()),
        name=name,
    )


codecs.register(_find_codec)


def prepare(stream: TextIO | None, errors: str) -> None:
    """Have a standard stream read text of any origin, before its first read; `errors` is what
    becomes of bytes that are none. A terminal keeps its encoding."""
    if not isinstance(stream, io.TextIOWrapper):
        return  # IDLE's, or a test's
    if stream.isatty():
        stream.reconfigure(errors=errors)
        return
    stream.reconfigure(
        encoding=_CODEC_OF_FILES if _is_plain_file(stream) else _CODEC_OF_PIPES,
        errors=errors,
        newline=None,
    )


def _is_plain_file(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False
