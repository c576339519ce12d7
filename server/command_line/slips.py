"""`slips`: a page of login slips, to print and cut apart.

Owns the page. A password stands on a slip only where the import has just made it up: by this
command, or by `import`, whose file of passwords is given. Called by the main thread of a process of
its own.
"""

from __future__ import annotations

import html
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from server.base.settings import Settings
from server.command_line import welcome
from server.command_line.arguments import Invocation
from server.command_line.console import AdminError, Terminal, counted, open_database, shown
from server.command_line.importing import create_accounts, hash_all, new_rows
from server.command_line.new_password import looks_made_up
from server.command_line.new_places import new_file
from server.command_line.rosters import Roster, RosterRow, read_roster
from storage import accounts, passwords, portable
from storage.database import Database
from storage.errors import NameTaken, StorageError
from storage.folder import DataFolder
from terminals import quoted

# The same policy as that of an export: the page loads and runs nothing.
_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Login slips</title>
<style>
@page {{ margin: 12mm; }}
body {{ font: 11pt/1.4 system-ui, sans-serif; color: #000; background: #fff; margin: 1rem; }}
main {{ display: grid; grid-template-columns: 1fr 1fr; }}
article {{ border: 1px dashed #888; padding: 4mm 6mm; break-inside: avoid; margin: -1px 0 0 -1px; }}
h2 {{ font-size: 13pt; margin: 0 0 2mm; overflow-wrap: anywhere; }}
dl {{ display: grid; grid-template-columns: 5.5em 1fr; margin: 0; }}
dt {{ color: #444; }}
dd {{ margin: 0; overflow-wrap: anywhere; }}
code {{ font: 12pt/1.4 ui-monospace, monospace; }}
</style>
</head>
<body>
<main>
{slips}</main>
</body>
</html>
"""
_SLIP: Final = """<article><h2><bdi>{name}</bdi></h2>
<dl><dt>Address</dt><dd><code>{address}</code></dd>
<dt>Name</dt><dd><code><bdi>{name}</bdi></code></dd>
<dt>Password</dt><dd>{password}</dd>
<dt>Type</dt><dd><code>python chat_client.py {options}</code></dd></dl></article>
"""
_KNOWN: Final = "the one that you have"


@dataclass(frozen=True)
class Slip:
    """What one student gets; `password` is None for one that the student has already."""

    name: str
    password: str | None = field(repr=False)


def make_slips(invocation: Invocation, terminal: Terminal) -> None:
    """Make an account for each row of the roster that has none, and a slip for each row."""
    given, settings = invocation.arguments, invocation.settings
    roster = read_roster(given.roster)
    target = new_file(given.output, DataFolder(settings.data))
    address = given.address or _address(settings)
    with open_database(settings, create=True) as database:
        rows = new_rows(database, given.roster, roster, skip=True)
        slips = _slips(database, roster, rows)
        records = hash_all([row.password for row in rows], settings.password_cost)
        # Before the accounts: passwords that nobody can read are not to be set.
        _write(target, page(slips, address, settings))
        try:
            create_accounts(database, rows, records)
        except (NameTaken, StorageError) as problem:
            portable.remove(target)
            raise AdminError(f"{problem}; no account was made: try again") from None
        except BaseException:
            portable.remove(target)
            raise
    told = sum(slip.password is not None for slip in slips)
    terminal.tell(
        f"'{shown(str(target))}' has {counted(len(slips), 'slip')}, {told} of them with a "
        f"password; {counted(len(rows), 'account')} made"
    )


def _slips(database: Database, roster: Roster, rows: list[RosterRow]) -> list[Slip]:
    new = {row.folded for row in rows}
    slips = []
    with database.reading() as connection:
        for row in roster.rows:
            if row.folded in new:
                is_shown = row.made_up
            else:
                account = accounts.find(connection, row.folded)
                is_shown = (
                    account is not None
                    and looks_made_up(row.password)
                    and passwords.verify_password(row.password, account.password_hash)
                )
            slips.append(Slip(row.chatid, row.password if is_shown else None))
    return slips


def _address(settings: Settings) -> str:
    """Return what students connect to: this machine's likeliest address, and the port."""
    found = welcome.places(settings.host)
    return welcome.joined(found[0].address if found else "127.0.0.1", settings.port)


def page(slips: list[Slip], address: str, settings: Settings) -> str:
    """Return the page of these slips."""
    options = address
    if settings.certfile:
        options += f" --tls --cafile {quoted(Path(settings.certfile).name)}"
    parts = []
    for slip in slips:
        password = _KNOWN if slip.password is None else f"<code>{html.escape(slip.password)}</code>"
        parts.append(
            _SLIP.format(
                name=html.escape(slip.name),
                address=html.escape(address),
                options=html.escape(options),
                password=password,
            )
        )
    return _PAGE.format(slips="".join(parts))


def _write(target: Path, text: str) -> None:
    """Write the new file, for its owner alone."""
    try:
        descriptor = portable.open_own(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                portable.sync_file(file.fileno())
            portable.sync_above(target)
        except BaseException:
            portable.remove(target)
            raise
    except OSError as error:
        raise AdminError(
            f"cannot write '{shown(str(target))}': {error.strerror or error}; no account was made"
        ) from None
