"""A roster: accounts to be made, read from a CSV file and checked row by row.

Owns the reading of rosters and the wording of their errors. Never opens the database. Called by the
main thread of a process of its own.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import incoming_text
import protocol
from protocol import ROLES, STUDENT
from server.base.logs import printable
from server.command_line.console import AdminError, reserved, shown, taken
from server.command_line.new_password import make_up_password, password_problem
from storage import accounts

MOST_BAD_ROWS: Final = 20
COLUMNS: Final = ("chatid", "password")
"""What the header must name, in any order."""
ROLE_COLUMN: Final = "role"
"""A third column that a roster may have; an empty cell makes a student."""
OTHER_NAMES: Final = {"name": "chatid"}
"""What a column may be called as well."""
SEPARATORS: Final = ",;\t"
"""Excel writes a semicolon where the comma is that of numbers; a copied table has tabs."""


@dataclass(frozen=True)
class RosterRow:
    """One account to be made; `line` is where its row begins in the file, counted from 1."""

    line: int
    chatid: str
    folded: str
    password: str = field(repr=False)
    made_up: bool
    role: str


@dataclass(frozen=True)
class Roster:
    """The accounts to be made, and the encoding that the file was read in."""

    rows: list[RosterRow]
    encoding: str


def read_roster(path: str) -> Roster:
    """Return the rows of a CSV file with the columns chatid and password, and perhaps role;
    AdminError names every bad row with its line and column."""
    bad: list[str] = []
    rows: dict[str, RosterRow] = {}
    text, encoding = _read(path)
    for line, cells in _rows(path, text):
        problem = cells if isinstance(cells, str) else _problem(cells, rows)
        if problem or isinstance(cells, str):
            bad.append(f"{shown(path)}:{line}: {problem}")
            continue
        chatid, password = cells["chatid"], cells["password"]
        folded = protocol.fold_chatid(chatid)
        rows[folded] = RosterRow(
            line, chatid, folded, password or make_up_password(), not password, _role(cells)
        )
    refuse_bad_rows(path, bad)
    return Roster(list(rows.values()), encoding)


def _read(path: str) -> tuple[str, str]:
    """Return the text of the file and its encoding."""
    try:
        return incoming_text.read_encoded(path)
    except OSError as error:
        raise AdminError(f"cannot read '{shown(path)}': {error.strerror or error}") from None
    except ValueError as error:  # BadText, and a NUL in the path
        raise AdminError(f"{shown(path)}: {error}, in a spreadsheet as 'CSV UTF-8'") from None


def _problem(cells: dict[str, str], rows: dict[str, RosterRow]) -> str | None:
    """Return what is wrong with a row, by its column; `rows` are those above it, by folded name."""
    chatid, password = cells["chatid"], cells["password"]
    known = rows.get(protocol.fold_chatid(chatid))
    trouble = protocol.chatid_problem(chatid)
    if trouble:
        return f"chatid '{printable(chatid)}': {trouble}"
    if known:
        return f"chatid '{chatid}': the same name as in line {known.line}"
    if _role(cells) not in ROLES:
        return f"role '{printable(_role(cells))}': expected teacher or student"
    trouble = password_problem(password) if password else None
    return f"password: {trouble}" if trouble else None


def _role(cells: dict[str, str]) -> str:
    return cells.get(ROLE_COLUMN, "").lower() or STUDENT


def _rows(path: str, text: str) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Yield each row below the header: the line where it begins, and its cells by column, or what
    is wrong with their number. Empty rows are left out."""
    lines = _cells(path, text)
    line, first = next(lines, (1, list[str]()))
    header = [OTHER_NAMES.get(cell.lower(), cell.lower()) for cell in _without_end(first, 0)]
    if not _is_header(header):
        raise AdminError(
            f"{shown(path)}:{line}: expected the header {','.join(COLUMNS)}, "
            f"got '{printable(','.join(header))}': name these columns there, and no others but "
            f"'{ROLE_COLUMN}' (where a password is left empty, one is made up)"
        )
    for line, cells in lines:
        row = _without_end(cells, len(header))
        if len(row) == len(header):
            yield line, dict(zip(header, row, strict=True))
        else:
            yield (
                line,
                f"expected {len(header)} columns, got {len(row)}: quotation marks around a "
                "cell keep a comma in it",
            )


def _is_header(header: list[str]) -> bool:
    return sorted(header) in (sorted(COLUMNS), sorted((*COLUMNS, ROLE_COLUMN)))


def _without_end(cells: list[str], least: int) -> list[str]:
    """Return a row without the empty cells at its end, which programs add, down to `least`."""
    while len(cells) > least and not cells[-1]:
        cells = cells[:-1]
    return cells


def _cells(path: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not empty: the line where it begins, and its cells without the blanks
    around them."""
    first, _, behind = text.partition("\n")
    before, separator = 0, next((each for each in SEPARATORS if each in first), ",")
    if first.lower().startswith("sep=") and len(first) == 5:  # Excel's own, which it never shows
        before, separator, text = 1, first[4], behind
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True
    )
    line = 1
    try:
        for row in reader:
            cells = [incoming_text.tidy(cell) for cell in row]
            if any(cells):
                yield before + line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise AdminError(
            f"{shown(path)}:{before + line}: expected comma-separated values, got a row with: "
            f"{error}: quotation marks belong around a whole cell, and twice inside it"
        ) from None


def refuse_taken_rows(path: str, found: list[tuple[RosterRow, accounts.Account | None]]) -> None:
    refuse_bad_rows(
        path,
        [
            f"{shown(path)}:{row.line}: "
            + (reserved(row.chatid) if account.deleted else taken(row.chatid))
            for row, account in found
            if account is not None
        ],
    )


def refuse_bad_rows(path: str, bad: list[str]) -> None:
    if bad:
        more = [f"and {len(bad) - MOST_BAD_ROWS} more bad rows"] if len(bad) > MOST_BAD_ROWS else []
        end = (
            f"nothing was taken from '{shown(path)}': "
            "correct what is named above, then import it again"
        )
        raise AdminError(*bad[:MOST_BAD_ROWS], *more, end)
