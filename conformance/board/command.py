"""The command line of the board: options, the first screen, and the end.

Owns the page and the rows of one board, and the order in which they start and stop. Runs in the
main thread until Ctrl-C (or SIGTERM).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.resources
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from conformance import own_name
from conformance.board.keeping import Keeping
from conformance.board.rows import BadTelling, Rows
from conformance.foreground import Misuse, listening_address, refuse, wait

try:
    import webpage
except ModuleNotFoundError:  # the kit's folder alone, as it is given to a class: --tell works
    webpage = None  # type: ignore[assignment]

HELP: Final = "show on the wall how far each student has come: board [HOST:]PORT"
DESCRIPTION: Final = """Show on the wall how far each student's program has come.

Students add --tell HOST:PORT/CODE to their command of the kit, as the wall shows it. Then the board
has a row for each: stage, points, what fails now and since when. It gets no source code, and a name
only of who gives one (--tell-as NAME). It is kept in a folder: the same command shows it again."""
EPILOG: Final = own_name.named("""examples:
  python -m conformance board 0.0.0.0:8080             for a class
  python -m conformance board 8080                     for this machine only
  python -m conformance board 0.0.0.0:8080 --data tuesday    another class, another folder

  python -m conformance server localhost:9876 --tell 192.168.1.5:8080/CODE --tell-as anna

exit status: 0 ended by Ctrl-C, 2 the command line can't be followed""")
DATA: Final = "board-data"
VIEWERS_MAY: Final = frozenset({"board"})
"""What the wall may ask."""

Act = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the board."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument(
        "listen",
        type=listening_address,
        metavar="[HOST:]PORT",
        help="where browsers and students' kits find it (0.0.0.0:PORT for other machines; without "
        "HOST from this machine only)",
    )
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        type=Path,
        default=Path(DATA),
        help="where rows and code are kept (default: %(default)s)",
    )
    parser.add_argument("--title", default="The board", help="what stands above (%(default)s)")
    parser.add_argument(
        "--new-code",
        action="store_true",
        help="make a new code: who knows the old one can tell nothing more",
    )


def run(args: argparse.Namespace) -> int:
    """Run the board until Ctrl-C; return the exit status. Raises `Misuse`."""
    if webpage is None:
        raise Misuse("board needs the folder webpage/ beside conformance/: copy it, too")
    with contextlib.ExitStack() as stack, contextlib.suppress(KeyboardInterrupt):
        keeping = _keeping(args.data)
        stack.callback(keeping.close)
        board = Board(args, keeping)
        stack.callback(board.page.close)
        print(_first_screen(args, board), flush=True)
        webpage.new_links(board.page, lambda line: print(line, flush=True))
        wait(threading.Event())
    return 0


def _keeping(folder: Path) -> Keeping:
    """Return what is kept in the folder. Raises `Misuse` where it can't be used."""
    try:
        return Keeping(folder)
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise Misuse(f"--data {folder} can't be used: {error}") from None
        raise Misuse(
            f"another board runs with the folder {folder}: end it, or take another folder "
            f"(--data FOLDER)"
        ) from None
    except sqlite3.DatabaseError:
        raise Misuse(
            f"{folder} holds a file board.db that is no board's: take another folder "
            "(--data FOLDER), or move the file away"
        ) from None
    except OSError as error:
        raise Misuse(f"--data {folder} can't be used: {error.strerror or error}") from None


class Board:
    """The page with its rows; it answers when it is made. Raises `Misuse`."""

    def __init__(
        self, args: argparse.Namespace, keeping: Keeping, clock: Callable[[], float] = time.time
    ) -> None:
        host, port = args.listen
        try:
            self.rows = Rows(keeping, self._changed, clock)
        except (TypeError, ValueError):
            raise Misuse(
                f"{args.data} is of another version of the board: take another folder "
                "(--data FOLDER)"
            ) from None
        try:
            self.page = webpage.Page(
                host,
                port,
                importlib.resources.files("conformance.board") / "page",
                args.title,
                {
                    "board": lambda asked: self.state(),
                    "names": _refusing(self.rows.show_names),
                    "remove": _refusing(self.rows.remove),
                    "table": _refusing(self.rows.table),
                },
                viewers_may=VIEWERS_MAY,
                programs={"tell": _refusing(self.rows.tell)},
                code="" if args.new_code else keeping.about("code"),
                kept=args.data / "page.json",
                state=self.state,
                max_events=1,  # each says only that something has changed
            )
        except OSError as error:
            again = f"board {port + 1 if port < 65535 else 8080}"
            refuse(host, port, error, again)
        keeping.set_about("code", self.page.code)
        self.address = urlsplit(self.page.wall_link).netloc
        """By which other machines find it, where they may."""
        self.page.start()

    def state(self) -> dict[str, Any]:
        """Return all that the page shows."""
        return {"tell": f"{self.address}/{self.page.code}", **self.rows.snapshot()}

    def _changed(self) -> None:
        self.page.publish({"kind": "changed"})


def _refusing(act: Act) -> Act:
    """Return the act, which says by the page's own refusal what can't be."""

    def do(asked: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return act(asked)
        except BadTelling as problem:
            raise webpage.ActRefused(str(problem)) from None

    return do


def _first_screen(args: argparse.Namespace, board: Board) -> str:
    host, port = args.listen[0], board.page.port
    count = len(board.rows.snapshot()["rows"])
    kept = f", with {count} rows of before" if count else ""
    lines = [
        f"board on {host}:{port}, kept in the folder {args.data}{kept}",
        f"The wall: {board.page.wall_link}    (looks on only: for the projector and the class)",
        f"Page:     {board.page.link}    (for one browser, yours: it hides names, removes rows;"
        " l and Enter here: a new link)",
        f"Students add to their command:  --tell {board.address}/{board.page.code}",
    ]
    if host.startswith("127.") or host in ("localhost", "::1"):
        lines.append(f"(from this machine only; for a class: board 0.0.0.0:{port})")
    return "\n".join([*lines, "Ctrl-C ends it; the same command shows the same board again."])
