"""The rules as the conformance kit knows them, against docs/PROTOCOL.md, and the cases against the
rules."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from support import document

from conformance import packets, rules
from conformance.client import cases as client_cases
from conformance.registry import without_case
from conformance.server import cases, runner
from conformance.server.cases import teacher
from conformance.verdicts import LEVELS

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "PROTOCOL.md"
RULE = re.compile(r"\*\*(R-[A-Z]+-\d+)\*\* \((must|should|may)\) (.+)")


def document_rules() -> list[tuple[str, str, str, str]]:
    """Id, level, chapter and sentence of every rule of the document, in its order."""
    found, chapter = [], ""
    for line in DOCUMENT.read_text("utf-8").splitlines():
        if line.startswith("## "):
            chapter = line[3:]
        match = RULE.fullmatch(line)
        if match:
            found.append((match[1], match[2], chapter, match[3]))
    return found


def test_the_kit_has_the_rules_of_the_document_word_for_word() -> None:
    known = [(rule.id, rule.level, rule.group, rule.sentence) for rule in rules.RULES.values()]
    expected = document_rules()
    assert len(expected) > 150
    different = [
        (ours, theirs) for ours, theirs in zip(known, expected, strict=False) if ours != theirs
    ]
    assert not different[:1], "conformance/rules.json differs from docs/PROTOCOL.md"
    assert known == expected


def test_the_kit_has_the_replies_of_the_document() -> None:
    answers = {
        action: tuple(name for name, row in document.REPLIES.items() if action in row.answers)
        for action in document.REQUESTS
    }
    assert {action: set(replies) for action, replies in packets.REPLIES.items()} == {
        action: set(replies) for action, replies in answers.items() if replies
    }, "REPLIES in conformance/packets.py"


def test_every_rule_that_can_be_seen_has_a_case() -> None:
    missing = [
        rule_id
        for rule_id, why in without_case(cases.load(), runner.no_case).items()
        if why == runner.NO_CASE
    ]
    assert not missing


def test_no_rule_that_is_called_invisible_has_a_case() -> None:
    seen = {rule_id for each in cases.load() for rule_id in each.rules}
    assert not [rule_id for rule_id in seen if not rules.RULES[rule_id].visible]


def test_rules_for_clients_have_a_case_about_clients() -> None:
    seen = {rule_id for each in client_cases.load() for rule_id in each.rules}
    assert [
        rule.id for rule in rules.RULES.values() if rule.side == "client" and rule.id not in seen
    ] == []


def test_every_rule_is_worth_something_and_says_whom_it_binds() -> None:
    for rule in rules.RULES.values():
        assert rule.points > 0
        assert rule.side in ("server", "client"), rule.id


def test_cases_have_names_of_their_own_and_titles() -> None:
    every = cases.load()
    assert len({each.id for each in every}) == len(every)
    assert len({each.title for each in every}) == len(every)
    assert {each.level for each in every} == set(LEVELS)


def test_loading_twice_gives_the_same_cases() -> None:
    assert [each.id for each in cases.load()] == [each.id for each in cases.load()]


def test_globs_name_rules_and_nothing_else() -> None:
    assert rules.matching(["R-MSG-5", "R-ACC-*"]) == {
        "R-MSG-5",
        *(name for name in rules.RULES if name.startswith("R-ACC-")),
    }
    with pytest.raises(ValueError, match="X-NONE"):
        rules.matching(["X-NONE-*"])


@pytest.mark.parametrize("every", [cases, client_cases], ids=["server", "client"])
def test_every_module_with_cases_has_its_place_in_the_run(every: ModuleType) -> None:
    assert every.__file__ is not None
    with_cases = {
        path
        for path in Path(every.__file__).parent.rglob("*.py")
        if "\n@case(" in path.read_text("utf-8")
    }
    assert {Path(module.__file__) for module in every.MODULES} == with_cases


def test_what_is_for_teachers_only_is_tried_by_a_student() -> None:
    students = ("stranger", "member", "owner", "open room")
    for_teachers = {
        action
        for action, row in document.RIGHTS.items()
        if {row[who] for who in students} == {"forbidden"} and row["teacher"] != "forbidden"
    }
    assert {action for action, _ in teacher.FOR_TEACHERS} == for_teachers, (
        "FOR_TEACHERS in conformance/server/cases/teacher.py"
    )
