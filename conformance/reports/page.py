"""The style and the script of the HTML report, from `page.css` and `page.js` beside this module.

Owns their text only; read once at import.
"""

from __future__ import annotations

import pkgutil
from typing import Final


def _read(name: str) -> str:
    data = pkgutil.get_data("conformance.reports", name)
    if data is None:
        raise RuntimeError(f"conformance/reports/{name} is missing: copy the whole folder")
    return data.decode("utf-8")


STYLE: Final = _read("page.css")
SCRIPT: Final = _read("page.js")
