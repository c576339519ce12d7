"""Reading a teacher's text files: drivers, points. The kit shares no code with the chat, so it has
its own small reader.

Owns which encoding such a file is in. Never decides what the text means. One thread.
"""

from __future__ import annotations

import codecs
import os

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read(path: str) -> str:
    """Return the text of a file, by its byte-order mark, else as UTF-8, else as cp1252; `~` is the
    home folder. Raise OSError, or ValueError where it is no text."""
    with open(os.path.expanduser(path), "rb") as file:
        data = file.read()
    mark, encoding = next((row for row in _MARKS if data.startswith(row[0])), (b"", "utf-8"))
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError:
        try:
            text = data.decode("cp1252" if not mark and b"\0" not in data else encoding)
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise ValueError(f"line {line} is no text in UTF-8: save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
