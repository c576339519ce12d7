"""The catalogue of 120 bad inputs, and of 12 about teachers, is complete: each is played by
test_bad_inputs_*.py, or stands there with the reason why not."""

from __future__ import annotations

from collections import Counter

from tests.contract import (
    test_bad_inputs_fields,
    test_bad_inputs_files,
    test_bad_inputs_framing,
    test_bad_inputs_json,
    test_bad_inputs_load,
    test_bad_inputs_names,
    test_bad_inputs_teacher,
)

TABLES = [
    module.TABLE
    for module in (
        test_bad_inputs_framing,
        test_bad_inputs_json,
        test_bad_inputs_fields,
        test_bad_inputs_names,
        test_bad_inputs_files,
        test_bad_inputs_load,
        test_bad_inputs_teacher,
    )
]
NOT_YET = {number: reason for table in TABLES for number, reason in table.not_yet.items()}


def test_every_row_is_played_or_has_a_reason() -> None:
    played = {number for table in TABLES for number in table.quick_numbers}
    assert played | set(NOT_YET) == set(range(1, 133))
    assert not played & set(NOT_YET), "played, and yet excused"
    assert all(len(reason) > 20 for reason in NOT_YET.values())


def test_every_case_has_a_name_of_its_own() -> None:
    names = Counter((row.number, row.name) for table in TABLES for row in table.rows)
    assert [name for name, count in names.items() if count > 1] == []
