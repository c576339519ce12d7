"""Names that look like another one, though they are different by R-ACC-6: a student could pass for
the teacher by them.

Owns the table of letters that have one shape, a small part of Unicode's confusables
(https://www.unicode.org/reports/tr39/): Cyrillic and Greek letters and digits that look Latin. Pure
functions; any thread may use them.
"""

from __future__ import annotations

import unicodedata
from typing import Final

import protocol

_SAME_SHAPE: Final = {
    "a": "\u0410\u0430\u0391\u03b1\u0251",
    "b": "\u0412\u0392",
    "c": "\u0421\u0441\u03f2",
    "d": "\u0501",
    "e": "\u0415\u0435\u0395",
    "g": "\u0261",
    "h": "\u041d\u04bb\u0397",
    "i": "1lL\u0131\u0406\u0456\u04c0\u04cf\u0399\u03b9",
    "j": "\u0408\u0458\u03f3",
    "k": "\u041a\u043a\u039a\u03ba",
    "m": "\u041c\u043c\u039c",
    "n": "\u039d",
    "o": "0\u041e\u043e\u039f\u03bf",
    "p": "\u0420\u0440\u03a1\u03c1",
    "q": "\u051b",
    "s": "\u0405\u0455",
    "t": "\u0422\u0442\u03a4\u03c4",
    "u": "\u03c5",
    "v": "\u03bd",
    "w": "\u051d",
    "x": "\u0425\u0445\u03a7\u03c7",
    "y": "\u0423\u0443\u03a5",
    "z": "\u0396",
}
"""Latin letters, and what has the shape of one of them, capital or small."""
_TO_LATIN: Final = {ord(other): latin for latin, others in _SAME_SHAPE.items() for other in others}
_ACCENTS: Final = {number: None for number in range(0x0300, 0x0370)}
"""The block Combining Diacritical Marks. (Marks of other blocks may be vowels of other scripts.)"""


def skeleton(chatid: str) -> str:
    """Return the same text for names that look alike: without accents, and with Latin letters for
    what has their shape."""
    plain = unicodedata.normalize("NFKD", chatid).translate(_ACCENTS)
    kept: list[str] = []
    for character in plain.translate(_TO_LATIN).casefold():
        # behind a Latin letter a mark of any block is an accent
        if not (kept and kept[-1].isascii() and unicodedata.category(character)[0] == "M"):
            kept.append(character)
    return "".join(kept)


RESERVED: Final = frozenset(skeleton(name) for name in protocol.RESERVED_NAMES)
