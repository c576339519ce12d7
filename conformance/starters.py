"""Writes a small server to begin with into a folder, and says how to start it and what is next.

Owns the table of languages and their files, which lie in `examples/starter` and `docs` beside the
kit, or in the packed kit. Never writes over a file. One thread.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from conformance import command_words, own_name
from conformance.verdicts import EXIT_HOLDS

HELP: Final = "a small server to begin with, in your language: starter python"
ROOT: Final = os.path.dirname(os.path.dirname(__file__))
"""The project's folder, or the packed kit as its loader calls it."""
RULES: Final = "PROTOCOL.md"
ACCOUNTS: Final = ("anna", "ben", "carla", "dora", "emil", "fay")


@dataclass(frozen=True)
class Starter:
    """One language: its files, and the words that build and start it. {here} stands for the folder,
    {chat} for the program that is built, {python} for how Python is called here."""

    files: tuple[str, ...]
    build: tuple[str, ...]
    start: tuple[str, ...]


STARTERS: Final = {
    "python": Starter(("server.py",), (), ("{python}", "{here}server.py")),
    "javascript": Starter(("server.js",), (), ("node", "{here}server.js")),
    "go": Starter(("server.go",), ("go", "build", "-o", "{chat}", "{here}server.go"), ("{chat}",)),
    "java": Starter(
        ("Server.java", "Json.java"),
        ("javac", "-d", "{here}build", "{here}Server.java", "{here}Json.java"),
        ("java", "-cp", "{here}build", "Server"),
    ),
    "c": Starter(
        ("server.c", "json.h", "wire.h"),
        ("cc", "-pthread", "-o", "{chat}", "{here}server.c"),
        ("{chat}",),
    ),
    "rust": Starter(
        ("server.rs", "json.rs", "wire.rs"),
        ("rustc", "--edition", "2021", "-o", "{chat}", "{here}server.rs"),
        ("{chat}",),
    ),
}
"""By language, as `examples/starter/README.md` has them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `starter`."""
    parser.description = (
        "Write a small server that knows `login` and `send_message` into a folder, and the rules "
        "(PROTOCOL.md). No file is written over."
    )
    parser.add_argument("language", choices=STARTERS, metavar="|".join(STARTERS))
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        nargs="?",
        type=Path,
        default=Path(),
        help="where (default: the current folder); it is made where it is not there",
    )


def run(args: argparse.Namespace) -> int:
    """Write the files and print what to type; return the exit status. ValueError where a file can't
    be written or the starters are not there."""
    starter, folder = STARTERS[args.language], args.folder
    try:
        content = {
            name: _read("examples", "starter", args.language, name) for name in starter.files
        }
        content[RULES] = _read("docs", RULES)
    except OSError:
        raise ValueError(
            "the starters are not beside this kit: take the packed kit, or examples/starter of the "
            "project"
        ) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in content.items():
            print(_written(folder / name, data))
    except OSError as error:
        place = error.filename or folder  # of a full disk no name is told
        raise ValueError(f"{place} can't be written: {error.strerror}") from None
    print(*_next(starter, folder), sep="\n")
    return EXIT_HOLDS


def _read(*place: str) -> bytes:
    """Return a file of the project. OSError where it is neither beside the kit nor packed in it."""
    loader: Any = __spec__.loader  # of files or of a packed kit: both read by path
    data: bytes = loader.get_data(os.path.join(ROOT, *place))
    return data


def _written(path: Path, data: bytes) -> str:
    """Write a file that is not there yet; return what is to be said."""
    try:
        with open(path, "xb") as file:
            file.write(data)
    except FileExistsError:
        return f"not written: {path} is there already, and stays as it is"
    return f"written: {path}"


def _next(starter: Starter, folder: Path) -> list[str]:
    """Return lines with the commands that build, start and try the server."""
    names = {
        "python": own_name.PYTHON,
        "here": "" if folder == Path() else f"{folder}{os.sep}",
        "chat": os.path.join(folder, "chat.exe" if os.name == "nt" else "chat"),
    }
    build = [word.format(**names) for word in starter.build]
    start = [word.format(**names) for word in starter.start]
    shown = command_words.join(start)
    accounts = [word for name in ACCOUNTS for word in ("--account", f"{name}:pw-{name}")]
    command = [*own_name.WORDS, "server", "localhost:0", "--start-cmd", f"{shown} {{port}}"]
    lines = ["", "Build it, again after each change:", f"  {command_words.join(build)}"]
    return [
        *(lines if build else []),
        "",
        f"Start it by hand (Ctrl-C ends it): {shown} 9876",
        "",
        f"{RULES} has every packet and every rule. How far your server comes, and what is next:",
        f"  {command_words.join([*command, *accounts, '--stage', 'next'])}",
    ]
