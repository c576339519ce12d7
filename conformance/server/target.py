"""The server that is graded, and what the run has found out about it so far.

Owns plain records, one `Target` for a run. Touches no socket. One thread uses them.
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass, field
from typing import Any

from conformance.server.process import ServerCommand

TAG_LETTERS = string.ascii_lowercase + string.digits
TAG_LENGTH = 5


def tag_of(seed: int) -> str:
    """Return what ends all names of a run with this seed."""
    return "".join(random.Random(f"names of {seed}").choices(TAG_LETTERS, k=TAG_LENGTH))


@dataclass
class Account:
    """A name and a password that the server knows; `is_given` says that it came from
    `--account`."""

    chatid: str
    password: str = field(repr=False)
    is_given: bool = False


@dataclass
class Target:
    """The server that is graded; one for a run.

    `process` is the server's process where the kit started it (`--start-cmd`), else None. `tag`
    ends every name of this run. The seed decides it, as all names; where the server knows such a
    name already, from a run before, it is another one (`own_tag`), so that this run does not meet
    what that one left.
    """

    host: str
    port: int
    timeout: float = 5.0
    accounts: list[Account] = field(default_factory=list)
    """Given accounts that nobody uses just now."""
    tag: str = ""
    teacher: Account | None = None
    """The account of a teacher, where one was given."""
    process: ServerCommand | None = None
    account_source: str = ""
    """How accounts come about: "" (not known yet), "register", "first-login" or "none"."""
    offered: dict[str, bool] = field(default_factory=dict)
    """By extension: whether the server knows it. See `extensions`."""
    nonsense: str | None = None
    """What the server says of an action that nobody knows, without its name; None: not asked."""
    login_data: dict[str, Any] = field(default_factory=dict)
    """`data` of the first `login_success` of the run: says which limits the server announces."""
    troubles: dict[str, int] = field(default_factory=dict)
    """By precondition: how often it failed since it held last. See `Checks.given`."""
    notes: list[str] = field(default_factory=list)
    probe_room: str = ""

    def __post_init__(self) -> None:
        self.has_given = bool(self.accounts)  # which are taken out one by one

    def own_tag(self) -> None:
        """Tell the names of this run from those of a run before: by chance, not by the seed."""
        self.tag = "".join(random.SystemRandom().choices(TAG_LETTERS, k=TAG_LENGTH))

    def note(self, text: str) -> None:
        """Put a sentence into the report, once."""
        if text not in self.notes:
            self.notes.append(text)
