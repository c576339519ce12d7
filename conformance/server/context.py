"""All that a case about a server may use.

Owns no behaviour: it joins four parts, each in a module of its own. `names` makes random names and
texts, `people` makes connections and users, `checks` are the assertions, `extensions` knows what
the server offers. A case calls them through its context. One thread runs a case.

A case is a function in a module below `conformance/server/cases/`; it passes by returning:

    from conformance.server.context import ServerContext
    from conformance.server.registry import case

    @case(rules=["R-MSG-5"], level="seed", title="a message that was not confirmed reaches nobody")
    def not_confirmed(context: ServerContext) -> None:
        sender, hearer = context.users(2)      # where no login is possible, NOT REACHED
        room = context.room_id()
        dropped, kept = context.text(), context.text()
        asked = {"room_id": room, "content": dropped}
        opened = sender.ask("send_message", asked, want="character_count")
        tid = context.get(opened, "data.transaction_id", str)
        answer = {"transaction_id": tid, "confirm": False}
        ack = sender.ask("confirm_count", answer, want="ack")
        context.equal(ack.get("status"), "error", "`status` of the ack")
        sender.say(room, kept)                 # a precondition: the sender's whole handshake
        heard = hearer.hear(room)              # the next message of that room, the later one
        context.equal(heard["data"]["content"], kept, "the next message in the room")

Its id is `CHAPTER.FUNCTION` (`messages.not_confirmed`), where the chapter is the module or package
directly below `cases/`; `cases/__init__.py` lists the modules in the order in which they run. What
fails is a FAIL of `rules[0]`, unless a rule is named by `rule=`, or around it by `with
context.rule("R-MSG-4"):`. Inside `with context.given("a private room"):` every failure is NOT
REACHED. `account`, `user`, `users`, `say`, `need` are such preconditions by themselves; `ask`,
`hear`, `get`, `get_list`, `equal`, `check`, `refused` are assertions. Never index into a packet
that was not looked at with `get` or `get_list`: a `KeyError` is a KIT ERROR. Extensions:
`@case(..., level="full", offers="create_room")` makes the case NOT OFFERED where the server does
not know the action (see `Extensions.offers` for keys and features).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any, final

from conformance.server.checks import Checks
from conformance.server.extensions import Extensions
from conformance.server.names import Names
from conformance.server.people import People
from conformance.server.target import Target
from conformance.server.user import User
from conformance.transcript import Transcript


def _source(drawn_from: str) -> random.Random:
    return random.Random(hashlib.sha256(drawn_from.encode()).digest())


@final
class ServerContext:
    """What one case is given; each of its functions is described where its part is.

    `rule` is the one that the case is about; `until` is when it must be over, as
    `time.monotonic()`; `idle` are the users that the cases of a run share.
    """

    def __init__(
        self,
        target: Target,
        case_id: str,
        rule: str,
        *,
        seed: int,
        until: float,
        level: str = "full",
        idle: list[User] | None = None,
    ) -> None:
        self.target = target
        self.level = level
        self.transcript = Transcript()
        self.early: Any = None
        """What the case's `early` returned."""
        self.meanwhile: Callable[[], None] = lambda: None
        """What the case's `early` wants done again and again while other cases run: at once, and
        without waiting."""
        self.let_others_read: Callable[[], None] = lambda: None
        """To be called where much is said in an open room: users of no or of other cases hear it,
        too, and who does not read is disconnected (R-LIM-11)."""
        self.random = _source(f"{seed}/{case_id}")

        self.names = Names(_source(f"names/{seed}/{case_id}"), self.random, lambda: target.tag)
        self.name, self.room_id = self.names.name, self.names.room_id
        self.password, self.key, self.text = self.names.password, self.names.key, self.names.text

        self.checks = Checks(target, rule)
        self.rule, self.given = self.checks.rule, self.checks.given
        self.fail, self.check, self.equal = self.checks.fail, self.checks.check, self.checks.equal
        self.get, self.get_list = self.checks.get, self.checks.get_list
        self.refused = self.checks.refused

        shared = [] if idle is None else idle
        self.people = People(target, shared, self.names, self.checks, self.transcript, until)
        self.connect, self.guest = self.people.connect, self.people.guest
        self.account, self.user, self.users = (
            self.people.account,
            self.people.user,
            self.people.users,
        )

        self.extensions = Extensions(self.people)
        self.offers, self.need = self.extensions.offers, self.extensions.need

    @property
    def until(self) -> float:
        """When this case must be over, as `time.monotonic()`."""
        return self.people.until
