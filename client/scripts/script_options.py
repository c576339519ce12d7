"""The options of the commands for scripts, and what is looked at before connecting.

Owns both: a wrong option must be told before anybody logs in. Never asks the server. For the main
thread.
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

import incoming_text
from client.base.text import visible
from client.errors import TransferFailed
from client.source_files import is_pipe

HISTORY: Final = 20
"""How many messages `history` shows unless told."""


class WrongUse(Exception):
    """What was typed can't be done; the text says what was expected."""


class Failure(Exception):
    """The command failed for another reason than the network; the text says why."""


def moment(text: str, now: datetime | None = None) -> str:
    """Return a time as people type it in the protocol's form; without a zone it is this machine's.

    `2026-11-23`, `2026-11-23 10:15`, `2026-11-23T10:15:00Z`, `10:15` (today), `90m`, `2h`, `3d`
    (ago). Raise `WrongUse`.
    """
    present = now or datetime.now().astimezone()
    units = {"m": "minutes", "h": "hours", "d": "days"}
    try:
        if text[-1:] in units and text[:-1].isdigit():
            found = present - timedelta(**{units[text[-1]]: int(text[:-1])})
        elif len(text) <= 8 and ":" in text:
            clock = datetime.strptime(text, "%H:%M" if text.count(":") == 1 else "%H:%M:%S")
            today = present.replace(tzinfo=None, microsecond=0)  # its clock may change today
            found = today.replace(hour=clock.hour, minute=clock.minute, second=clock.second)
        else:
            found = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] in "zZ" else text)
        return (
            _with_zone(found, present)
            .astimezone(timezone.utc)
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .rjust(20, "0")
        )
    except (ValueError, OverflowError) as error:
        raise WrongUse(
            f"{text!r} is no time; expected one like 2026-11-23, '2026-11-23 10:15', 10:15, 90m, "
            "2h or 3d"
        ) from error


def _with_zone(found: datetime, present: datetime) -> datetime:
    """Return a time with a zone: its own, else this machine's at that time; where the system knows
    none for it (Windows: before 1970-01-02, after 3000), that of today.

    Where clocks are put back a time comes twice, and where they are put forward some times never
    come: the earlier reading is taken (PEP 495), so that nothing is left out.
    """
    if found.tzinfo is not None:
        return found
    try:
        readings = (found.replace(fold=fold).astimezone(timezone.utc) for fold in (0, 1))
        return min(readings)
    except OSError:
        return found.replace(tzinfo=present.tzinfo)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of messages")
    return int(text)


# --- The options of each command ------------------------------------------------------------------


def add_nothing(parser: argparse.ArgumentParser) -> None:
    """Add no option."""


def _add_room(parser: argparse.ArgumentParser, *, new: bool = False) -> None:
    # Not `room`: that is --room, which --save remembers.
    parser.add_argument("in_room", metavar="ROOM", help="the room's name or id")
    if new:
        parser.add_argument(
            "--new-room",
            action="store_true",
            help="make an open room of that name where there is none",
        )


def add_send(parser: argparse.ArgumentParser) -> None:
    """Add what `send` takes."""
    _add_room(parser, new=True)
    parser.add_argument(
        "text",
        metavar="TEXT",
        nargs="+",
        help="what to say; - takes it from standard input, as one message",
    )
    parser.add_argument(
        "--lines", action="store_true", help="send each line as a message of its own"
    )


def add_tail(parser: argparse.ArgumentParser) -> None:
    """Add what `tail` takes."""
    _add_room(parser)
    parser.add_argument(
        "-n",
        "--number",
        metavar="N",
        type=_count,
        default=0,
        help="begin with the newest N messages",
    )


def add_history(parser: argparse.ArgumentParser) -> None:
    """Add what `history` takes."""
    _add_room(parser)
    parser.add_argument(
        "-n",
        "--number",
        metavar="N",
        type=_count,
        help=f"the newest N messages ({HISTORY}; with --since all)",
    )
    parser.add_argument(
        "--since",
        metavar="TIME",
        help="only from then on: 2026-11-23, '2026-11-23 10:15', 10:15, 90m, 2h, 3d",
    )


def add_put(parser: argparse.ArgumentParser) -> None:
    """Add what `put` takes."""
    _add_room(parser, new=True)
    parser.add_argument("file", metavar="FILE", help="the file to send")


def add_get(parser: argparse.ArgumentParser) -> None:
    """Add what `get` takes."""
    _add_room(parser)
    parser.add_argument("name", metavar="NAME", help="the file's name in the room")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="where to put it (here, under its own name); a folder keeps that name, - is standard "
        "output",
    )


def add_who(parser: argparse.ArgumentParser) -> None:
    """Add what `who` takes."""
    parser.add_argument("in_room", metavar="ROOM", nargs="?", help="only the members of this room")


# --- What is looked at before connecting ----------------------------------------------------------


def check_nothing(given: argparse.Namespace) -> None:
    """Look at nothing: the parser has checked all there is."""


def check_history(given: argparse.Namespace) -> None:
    """Put `--since` into the protocol's form. Raise `WrongUse`."""
    if given.since is not None:
        given.since = moment(given.since)


def check_send(given: argparse.Namespace) -> None:
    """Read what is to be sent, before anything else is done, into `texts`. Raise `WrongUse`."""
    text = _standard_input() if given.text == ["-"] else " ".join(given.text)
    given.texts = (
        [line for line in text.splitlines() if line]
        if given.lines
        else [text.rstrip("\r\n") if given.text == ["-"] else text]
    )
    if not given.texts or not given.texts[0]:
        raise WrongUse("there is no text to send")
    for line in given.texts:
        if "\0" in line or any("\ud800" <= character <= "\udfff" for character in line):
            raise WrongUse("the text holds bytes that are no UTF-8, or a NUL; neither can be sent")


def _standard_input() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise WrongUse("standard input is no UTF-8 text: save it as UTF-8") from None


def _typed_path(path: str | None) -> str | None:
    """Return a path with the home folder for `~`, which shells leave there in `--output=~/x`."""
    try:
        return None if path is None else incoming_text.place(path)
    except incoming_text.BadText as error:
        raise WrongUse(str(error)) from error


def check_put(given: argparse.Namespace) -> None:
    """Raise `Failure` where the file can't be read."""
    given.file = _typed_path(given.file)
    try:
        if not is_pipe(Path(given.file)):
            with open(given.file, "rb"):
                pass
    except OSError as error:
        raise Failure(f"{visible(given.file)} can't be read: {error.strerror}") from error
    except TransferFailed as error:
        raise Failure(str(error)) from error


def check_get(given: argparse.Namespace) -> None:
    """Raise `WrongUse` or `Failure` where the file can't be put where it is to go."""
    given.output = _typed_path(given.output)
    if given.output is not None and _is_stdout(given.output):
        given.output = "-"
    if given.output == "-":
        if given.json:
            raise WrongUse(
                "-o - writes the file itself to stdout, where --json writes objects; choose one"
            )
    elif given.output is not None:
        _check_target(Path(given.output))


def _is_stdout(path: str) -> bool:
    """Return whether a path, as /dev/stdout, leads to where standard output goes: what the client
    says would stand among the bytes of the file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):  # there is none, or a stream without a number
        return False


def _check_target(target: Path) -> None:
    """Raise `Failure` where no file can be put: a folder, a device and a pipe can take one."""
    if target.is_file():
        raise Failure(f"{visible(str(target))} exists, and nothing is ever overwritten")
    if not target.exists() and not target.parent.is_dir():
        raise Failure(f"there is no folder {visible(str(target.parent))}")
    written = target if target.exists() else target.parent
    if not os.access(written, os.W_OK):
        raise Failure(f"{visible(str(written))} can't be written: name another place")
