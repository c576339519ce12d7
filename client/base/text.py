"""Foreign text made harmless: for the terminal, and as a file name on any system.

Owns which characters are shown as they are. Pure functions; any thread may use them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

_JOINERS: Final = "\u200c\u200d"
# Letters by their category, and blank or without any width on the screen (Unicode,
# Default_Ignorable_Code_Point).
_BLANK: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
# Emoji whose category is that of punctuation, letters or mathematics (Unicode,
# emoji-variation-sequences.txt).
_EMOJI_SIGNS: Final = frozenset(
    "\u203c\u2049\u2139\u2194\u25fb\u25fc\u25fd\u25fe\u2934\u2935\u3030\u303d"
)
# The flags of England, Scotland and Wales are a black flag with letters that are not seen, the only
# such emoji (Unicode, emoji-sequences.txt).
_TAGS: Final = frozenset(map(chr, range(0xE0020, 0xE0080)))
_FLAGS_OF_TAGS: Final = re.compile(
    "\U0001f3f4(?:"
    + "|".join(
        "".join(chr(0xE0000 + ord(letter)) for letter in name)
        for name in ("gbeng", "gbsct", "gbwls")
    )
    + ")\U000e007f"
)
_HIDDEN_CATEGORIES: Final = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str) -> str:
    """Return `text` as one line that can't drive a terminal: what would act, or not be seen, is
    shown as an escape such as `\\x1b`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _escape(character) if _is_hidden(text, position) else character
        for position, character in enumerate(text)
    )


def _is_hidden(text: str, position: int) -> bool:
    character = text[position]
    # Persian, the Indic scripts and joined emoji need them between their own signs
    if character in _JOINERS:
        return not (
            0 < position < len(text) - 1
            and _joins(text[position - 1])
            and _joins(text[position + 1])
        )
    # changes how a symbol looks, as in ❤️; behind another letter or selector it would only hide
    if _is_selector(character):
        before = text[position - 1 : position]
        keycap = text[position + 1 : position + 2] == "\u20e3"
        return not (keycap or (before and _joins(before) and not _is_selector(before)))
    if character in _TAGS:
        return not any(
            flag.start() <= position < flag.end() for flag in _FLAGS_OF_TAGS.finditer(text)
        )
    return character in _BLANK or unicodedata.category(character) in _HIDDEN_CATEGORIES


def _is_selector(character: str) -> bool:
    """Return whether this is a variation selector (Unicode, section 23.4)."""
    return (
        "\ufe00" <= character <= "\ufe0f"
        or "\u180b" <= character <= "\u180f"
        or "\U000e0100" <= character <= "\U000e01ef"
    )


def _joins(character: str) -> bool:
    """Return whether a joiner or a selector may stand beside this one: it is an emoji, or of a
    script that needs them."""
    return character in _EMOJI_SIGNS or (
        not character.isascii()
        and unicodedata.category(character) in ("So", "Sk", "Lo", "Mn", "Mc")
    )


def _escape(character: str) -> str:
    number = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    return (
        f"\\x{number:02x}"
        if number < 0x100
        else f"\\u{number:04x}"
        if number < 0x10000
        else f"\\U{number:08x}"
    )


_SEQUENCE: Final = re.compile(r"\x1b\[[\d;]*m")  # a colour of our own; foreign ones are escaped
_WORD: Final = re.compile(r"(?:\x1b\[[\d;]*m|\S)+|\s+")
_EMOJI_FORM: Final = "\ufe0f"
_KEYCAP: Final = "\u20e3"


def cells(text: str) -> int:
    """Return how many columns a terminal needs for `text`, which is `visible` already (Unicode, UAX
    #11); colours need none."""
    if text.isascii() and text.isprintable():
        return len(text)
    return sum(width for _, width in _pieces(text))


def _pieces(text: str) -> Iterator[tuple[str, int]]:
    """Yield the characters of `text`, each with its columns; colours, and signs that change the one
    before, are not torn off."""
    at = 0
    while at < len(text):
        sequence = _SEQUENCE.match(text, at)
        if sequence is not None:
            yield sequence.group(), 0
            at = sequence.end()
            continue
        piece, width = text[at], _width(text[at])
        # makes a symbol of one column a picture of two (UTS #51)
        if text[at + 1 : at + 2] == _EMOJI_FORM:
            piece = text[at : at + 3] if text[at + 2 : at + 3] == _KEYCAP else text[at : at + 2]
            width = max(width, 2 if width else 0)
        yield piece, width
        at += len(piece)


def _width(character: str) -> int:
    if character < "\x7f":
        return 1
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def end_of(text: str, columns: int) -> tuple[int, int]:
    """Return the row and column, from 0, in which the next character after `text` stands on a
    terminal that wraps at `columns`."""
    if text.isascii() and text.isprintable():
        return divmod(len(text), columns)
    row = column = 0
    for _, width in _pieces(text):
        if column + width > columns:  # one of two columns does not fit into the last one
            row, column = row + 1, 0
        column += width
    return (row + 1, 0) if column >= columns else (row, column)


def wrap(text: str, columns: int, indent: str = "    ") -> list[str]:
    """Return `text` in rows of at most `columns`, the second and later ones indented, so that no
    row of a chat line begins like another line."""
    if cells(text) <= columns or columns < 3:
        return [text]
    if columns <= len(indent) + 2:
        indent = " "
    rows: list[str] = []
    row, used = "", 0
    for word in _WORD.findall(text):
        wide = cells(word)
        if used + wide > columns and wide <= columns - len(indent) and not word.isspace():
            rows.append(row)
            row, used = indent, len(indent)
        for piece, width in _pieces(word):
            if used + width > columns:
                rows.append(row)
                row, used = indent, len(indent)
                if piece.isspace():
                    continue
            row, used = row + piece, used + width
    return [*rows, row]


def cut(text: str, columns: int, *, from_end: bool = False, mark: str = "") -> str:
    """Return as much of `text`, which is `visible` already, as fits into so many columns: its
    beginning, or its end where `from_end`; `mark` stands where something was cut off, also where
    `text` itself is short enough."""
    pieces = list(_pieces(text))
    if not mark and sum(width for _, width in pieces) <= columns:
        return text
    room = columns - len(mark or "..")
    kept: list[str] = []
    for piece, width in reversed(pieces) if from_end else pieces:
        room -= width
        if room < 0:
            break
        kept.append(piece)
    short = "".join(reversed(kept) if from_end else kept)
    return (mark or "..") + short if from_end else short + (mark or "..")


def size_in_words(count: int) -> str:
    """Return a number of bytes as people read it, in powers of 1024."""
    if count < 1024:
        return f"{count} bytes"
    power = min(3, (count.bit_length() - 1) // 10)
    number = count / 1024**power
    return f"{number:.{0 if number >= 100 else 1}f} {('KiB', 'MiB', 'GiB')[power - 1]}"


def counted(number: int, what: str) -> str:
    """Return a number with its noun, as `1 room` and `2 rooms`; `what` is the noun for one."""
    return f"{number} {what}{'' if number == 1 else 's'}"


MAX_NAME_BYTES: Final = 200  # most systems take 255; this leaves room for " (2)"
_FORBIDDEN: Final = re.compile(r'[<>:"|?*]')
_DEVICES: Final = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])", re.IGNORECASE
)


def local_file_name(name: str) -> str:
    """Return a name under which a file called `name` by somebody else can be kept here, on every
    system, without leaving its folder.

    Directories are cut off; what Windows forbids, control and invisible characters become `_`; a
    leading dot, which hides files and would let `.profile` be placed, and device names get a `_` in
    front ("Naming Files, Paths, and Namespaces", Microsoft).
    """
    name = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    name = "".join(
        "_" if _is_hidden(name, position) else character for position, character in enumerate(name)
    )
    name = _FORBIDDEN.sub("_", name).rstrip(". ").lstrip(" ")
    if name.startswith(".") or _DEVICES.fullmatch(name.split(".")[0].rstrip(" ")):
        name = "_" + name
    stem, dot, ending = name.rpartition(".")
    if not dot or len(ending.encode()) > 20:
        stem, dot, ending = name, "", ""
    room = MAX_NAME_BYTES - len((dot + ending).encode())
    stem = stem.encode()[:room].decode(errors="ignore").rstrip(_JOINERS)
    return (stem + dot + ending).rstrip(". ") or "file"


def numbered(name: str, number: int) -> str:
    """Return the name for the `number`-th file called `name`: `name` itself, `name (2).ext`, `name
    (3).ext` …"""
    if number == 1:
        return name
    stem, dot, ending = name.rpartition(".")
    return f"{stem} ({number}).{ending}" if dot and stem else f"{name} ({number})"
