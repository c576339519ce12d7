"""The cases of one wing: what a case is, how it is registered, and which of them a run takes.

Owns the record `Case` and the class `Registry`, of which each wing has one. Knows rules and
levels; never runs a case. Cases are registered while modules are imported, by one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Generic, TypeVar, final

from conformance.rules import RULES, Rule, matching
from conformance.verdicts import LEVELS

Context = TypeVar("Context")
"""What the function of a case is given: `ServerContext` or `ClientContext`."""


@final
@dataclass(frozen=True)
class Case(Generic[Context]):
    """One case: what it looks at, and the function that does. See `Registry.case`."""

    id: str
    rules: tuple[str, ...]
    level: str
    title: str
    body: Callable[[Context], None]
    offers: tuple[str, ...] = ()
    early: Callable[[Context], Any] | None = None
    gate: bool = False
    last: bool = False


@final
class Registry(Generic[Context]):
    """The cases below one package, in the order of its modules.

    `chapter` is the first part of every id; without one it is the name of the module or package
    directly below `package` in which the case stands.
    """

    def __init__(self, package: str, chapter: str = "") -> None:
        self._package = package
        self._chapter = chapter
        self._cases: dict[str, Case[Context]] = {}

    def case(
        self,
        *,
        rules: Sequence[str],
        title: str,
        level: str = "seed",
        offers: str | Sequence[str] = (),
        early: Callable[[Context], Any] | None = None,
        gate: bool = False,
        last: bool = False,
    ) -> Callable[[Callable[[Context], None]], Callable[[Context], None]]:
        """Register a function as the case `CHAPTER.FUNCTION`.

        `rules`: all that hold when it passes, the one that it is about first. `title`: what the
        report shows, as a fact that should be true. `level`: "seed", "full" or "robust".
        `offers`: what the program must offer, else NOT OFFERED. `early`: called with the same
        context when the run begins, for what takes long (a connection that says nothing for
        30 s); what it returns is `context.early` in the body, which then runs after all cases
        without `early`. `gate`: where this case does not pass, the run goes no further. `last`:
        it runs behind all others, for what ends the server and every connection with it.

        ValueError for an unknown rule or level, and where two cases have one id.
        """
        unknown = [rule_id for rule_id in rules if rule_id not in RULES]
        if unknown or not rules or level not in LEVELS:
            raise ValueError(
                f"a case needs rules of docs/PROTOCOL.md and a level of {LEVELS}:"
                f" {unknown or level!r} ({title})"
            )

        def register(body: Callable[[Context], None]) -> Callable[[Context], None]:
            below = body.__module__.removeprefix(self._package + ".")
            name = f"{self._chapter or below.partition('.')[0]}.{body.__name__}"
            if name in self._cases:
                raise ValueError(f"two cases are called {name}")
            wanted = (offers,) if isinstance(offers, str) else tuple(offers)
            self._cases[name] = Case(
                name, tuple(rules), level, title, body, wanted, early, gate, last
            )
            return body

        return register

    def forget(self, module: str) -> None:
        """Forget the cases of a module, which is about to be read again."""
        self._cases = {
            key: each for key, each in self._cases.items() if each.body.__module__ != module
        }

    def cases_of(self, modules: Iterable[ModuleType]) -> list[Case[Context]]:
        """Return the cases of these modules, in the order of the modules and within each."""
        return [
            each
            for module in modules
            for each in self._cases.values()
            if each.body.__module__ == module.__name__
        ]


def chosen(
    cases: Sequence[Case[Context]],
    level: str,
    rules: Sequence[str] = (),
    ids: Sequence[str] = (),
) -> list[Case[Context]]:
    """Return the cases of a level and those below that look at one of the rules, or are named.

    `rules` are globs; where there are `ids`, these alone count. ValueError for what does not exist.
    """
    levels = LEVELS[: LEVELS.index(level) + 1]
    wanted = matching(list(rules)) if rules else set(RULES)
    known = {each.id for each in cases}
    unknown = [name for name in ids if name not in known]
    if unknown:
        raise ValueError(f"no case is called {unknown[0]!r}: --list shows all")
    if ids:
        return [each for each in cases if each.id in ids]
    return [each for each in cases if each.level in levels and wanted & set(each.rules)]


def without_case(
    cases: Sequence[Case[Context]], otherwise: Callable[[Rule], str]
) -> dict[str, str]:
    """Return the rules that no case looks at, each with why not.

    `otherwise` gives the reason for a rule that could be seen.
    """
    seen = {rule_id for each in cases for rule_id in each.rules}
    return {
        rule.id: rule.why_not or otherwise(rule) for rule in RULES.values() if rule.id not in seen
    }
