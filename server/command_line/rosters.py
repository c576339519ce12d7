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

import protocol
from protocol import ROLES, STUDENT
from server.base.logs import printable
from server.command_line.console import AdminError, reserved, shown, taken
from server.command_line.new_password import make_up_password, password_problem
from storage import accounts

MOST_BAD_ROWS: Final = 20
COLUMNS: Final = ("chatid", "password")
ROLE_COLUMN: Final = "role"
"""A third column that a roster may have; an empty cell makes a student."""


@dataclass(frozen=True)
class RosterRow:
    """One account to be made; `line` is where its row begins in the file, counted from 1."""

    line: int
    chatid: str
    folded: str
    password: str = field(repr=False)
    made_up: bool
    role: str


def read_roster(path: str) -> list[RosterRow]:
    """Return the rows of a CSV file with the columns chatid and password, and perhaps role;
    AdminError names every bad row with its line."""
    bad: list[str] = []
    rows: dict[str, RosterRow] = {}
    for line, cells in _cells(path):
        chatid, password = cells.get("chatid", ""), cells.get("password", "")
        role = cells.get(ROLE_COLUMN, "").strip().lower() or STUDENT
        folded = protocol.fold_chatid(chatid)
        problem = cells.get(_PROBLEM)
        if problem:
            pass
        elif role not in ROLES:
            problem = f"role '{printable(role)}': expected teacher or student"
        elif chatid_problem := protocol.chatid_problem(chatid):
            problem = f"chatid '{printable(chatid)}': {chatid_problem}"
        elif folded in rows:
            problem = f"chatid '{chatid}': the same name as in line {rows[folded].line}"
        elif password and (trouble := password_problem(password)):
            problem = f"password: {trouble}"
        if problem:
            bad.append(f"{shown(path)}:{line}: {problem}")
        else:
            rows[folded] = RosterRow(
                line, chatid, folded, password or make_up_password(), not password, role
            )
    refuse_bad_rows(path, bad)
    return list(rows.values())


_PROBLEM: Final = ""
"""Stands for a column in a row that has too few or too many cells: what is wrong with it."""


def _cells(path: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row below the header with the line where it begins, by column; empty lines are
    left out."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except OSError as error:
        raise AdminError(f"cannot read '{shown(path)}': {error.strerror or error}") from None
    except ValueError:  # UnicodeDecodeError, and a NUL in the path
        raise AdminError(f"{shown(path)}: expected text in UTF-8: save it as 'CSV UTF-8'") from None
    header: list[str] | None = None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for cells in reader:
            if header is None:
                header = [cell.strip().lower() for cell in cells]
                if not _is_header(header):
                    break
            elif len(cells) == len(header):
                yield line, dict(zip(header, cells, strict=True))
            elif cells:
                wrong = f"expected {len(header)} columns, got {len(cells)}"
                yield line, {_PROBLEM: wrong}
            line = reader.line_num + 1
    except csv.Error as error:
        raise AdminError(
            f"{shown(path)}:{line}: expected comma-separated values, got a row with: {error}"
        ) from None
    if header is None or not _is_header(header):
        came = printable(",".join(header or []))
        raise AdminError(f"{shown(path)}:1: expected the header {','.join(COLUMNS)}, got '{came}'")


def _is_header(header: list[str]) -> bool:
    return sorted(set(header) | {ROLE_COLUMN}) == sorted((*COLUMNS, ROLE_COLUMN)) and len(
        header
    ) == len(set(header))


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
