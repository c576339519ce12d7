"""The assertions of a case: what fails, over which rule, and what is only a precondition.

Owns the rule that a failure is counted to. Decides by raising `Failed` or `NotReached`; knows
packets, but no connection. One thread runs a case.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn, TypeVar, final

from conformance.endings import Failed, Flood, NotReached, needed_first
from conformance.packets import RULE_OF_REQUEST, Packet, look_alike, shown
from conformance.server.target import Target
from conformance.wire import BrokenFrame, Refused, WireProblem

T = TypeVar("T")

GIVE_UP_AFTER = 3
"""A precondition that failed so often in a row, and never held since, is not waited for again."""
KINDS: dict[type, str] = {
    str: "a string",
    int: "an integer",
    list: "a list",
    dict: "an object",
    bool: "true or false",
}


@final
class Checks:
    """The assertions of one case; `rule` is the one that it is about."""

    def __init__(self, target: Target, rule: str) -> None:
        self.target = target
        self.first_rule = rule
        self.last_request = ""
        """The action of the request that was sent last."""
        self._rules = [rule]

    @property
    def current_rule(self) -> str:
        """The rule that a failure would be counted to now."""
        return self._rules[-1]

    @contextlib.contextmanager
    def rule(self, rule_id: str) -> Iterator[None]:
        """Count what goes wrong inside as a failure of this rule; "" changes nothing."""
        self._rules.append(rule_id or self._rules[-1])
        try:
            yield
        except WireProblem as problem:
            if isinstance(problem, (BrokenFrame, Refused)):
                raise
            raise Failed(problem.expected, problem.actual, self._rules[-1]) from problem
        finally:
            self._rules.pop()

    @contextlib.contextmanager
    def given(self, what: str, *, remember: str = "") -> Iterator[None]:
        """Make the case NOT REACHED where something goes wrong inside.

        `remember`: a name under which the run gives up waiting for it.
        """
        troubles = self.target.troubles
        if troubles.get(remember, 0) >= GIVE_UP_AFTER:
            raise NotReached(what, "this failed in several cases before, so it was not tried again")
        try:
            yield
        except Flood:
            raise  # whatever was needed: this is the server's fault
        except (Failed, NotReached, WireProblem) as problem:
            if remember:
                troubles[remember] = troubles.get(remember, 0) + 1
            expected = (
                problem.expected
                if isinstance(problem, NotReached)
                else needed_first(what, problem.expected)
            )
            waits_for = (
                problem.waits_for
                if isinstance(problem, NotReached)
                else RULE_OF_REQUEST.get(self.last_request, "")
            )
            raise NotReached(expected, problem.actual, waits_for=waits_for) from problem
        if remember:
            troubles[remember] = 0

    def fail(self, expected: str, actual: str, rule: str = "") -> NoReturn:
        """Say that the rule (by default the current one) does not hold."""
        raise Failed(expected, actual, rule or self.current_rule)

    def check(self, holds: bool, expected: str, actual: str, rule: str = "") -> None:
        """Fail unless it holds."""
        if not holds:
            self.fail(expected, actual, rule)

    def equal(self, actual: object, expected: object, what: str, rule: str = "") -> None:
        """Fail unless both are the same, types included (True is not 1)."""
        if actual != expected or type(actual) is not type(expected):
            is_plain = not look_alike(actual, expected)
            self.fail(
                f"{what}: {shown(expected, is_plain=is_plain)}",
                f"it was {shown(actual, is_plain=is_plain)}",
                rule,
            )

    def get(self, packet: Packet, path: str, kind: type[T], rule: str = "") -> T:
        """Return the value at a path as `data.transaction_id`.

        Fails where it is missing or of another type. A bool is no int.
        """
        value: Any = packet
        for key in path.split("."):
            if not isinstance(value, dict) or key not in value:
                name = packet.get("action") if isinstance(packet, dict) else None
                self.fail(
                    f"`{path}` in `{name if isinstance(name, str) else 'the object'}`",
                    f"it is missing: {shown(packet)}",
                    rule,
                )
            value = value[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.fail(
                f"`{path}` to be {KINDS.get(kind, kind.__name__)}",
                f"it is {shown(value)}: {shown(packet)}",
                rule,
            )
        return value

    def get_list(self, packet: Packet, path: str, kind: type[T], rule: str = "") -> list[T]:
        """Return the list at a path; fails where it is none, or an element is of another type."""
        found: list[T] = []
        for element in self.get(packet, path, list, rule):
            if not isinstance(element, kind) or (kind is int and isinstance(element, bool)):
                self.fail(
                    f"each element of `{path}` to be {KINDS.get(kind, kind.__name__)}",
                    f"one is {shown(element)}: {shown(packet)}",
                    rule,
                )
            found.append(element)
        return found

    def refused(
        self, reply: Packet, code: str | Sequence[str] = (), *, original: str = "", rule: str = ""
    ) -> None:
        """Fail unless the reply is an `error` with this code (or one of these).

        An error without any `code` passes, since a server of the 24 packets has none (R-ERR-1 has a
        case of its own); `original` is compared where given.
        """
        codes = (code,) if isinstance(code, str) else tuple(code)
        wanted = "`error`" + (f" with code {' or '.join(codes)}" if codes else "")
        if reply.get("action") != "error":
            self.fail(wanted, f"this came: {shown(reply)}", rule)
        if codes and "code" in reply and reply["code"] not in codes:
            self.fail(wanted, f"the code was {shown(reply['code'])}: {shown(reply)}", rule)
        if original:
            self.equal(
                reply.get("original_action"), original, "`original_action` of the error", "R-ERR-2"
            )
