"""The rules of docs/PROTOCOL.md as the kit knows them, from `rules.json` beside this module.

Owns the table; a test compares it with the document, so that neither drifts. Read once at import;
any thread may read it.
"""

from __future__ import annotations

import json
import pkgutil
from dataclasses import dataclass
from fnmatch import fnmatchcase

from conformance import own_name


@dataclass(frozen=True)
class Rule:
    """One rule: its number, how strong it is, its chapter, its sentence, and what it is worth.

    `side` is whom it binds ("server" or "client"). `why_not` says why it can't be seen from
    outside, and is empty where it can.
    """

    id: str
    level: str
    group: str
    sentence: str
    points: float
    side: str
    why_not: str

    @property
    def visible(self) -> bool:
        """Whether a case can look at it over the wire."""
        return not self.why_not


def _read() -> dict[str, Rule]:
    data = pkgutil.get_data("conformance", "rules.json")
    if data is None:
        raise RuntimeError("conformance/rules.json is missing: copy the whole folder")
    rows = json.loads(data.decode("utf-8"))
    for row in rows:
        row["why_not"] = own_name.named(row["why_not"])
    return {row["id"]: Rule(**row) for row in rows}


RULES: dict[str, Rule] = _read()
"""Every rule by its number, in the order of docs/PROTOCOL.md."""


def matching(globs: list[str]) -> set[str]:
    """Return the numbers that one of the globs names (`R-MSG-*`); ValueError for a glob that names
    none."""
    found: set[str] = set()
    for glob in globs:
        hits = {rule_id for rule_id in RULES if fnmatchcase(rule_id, glob)}
        if not hits:
            raise ValueError(
                f"no rule is called {glob!r}: expected a number or a glob, as R-MSG-5 or R-MSG-*"
            )
        found |= hits
    return found
