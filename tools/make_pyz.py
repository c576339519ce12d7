"""Build `chat.pyz`: client and server in one file, for machines where nobody wants to copy a
folder.

    python tools/make_pyz.py [FILE]

Takes the modules that run and nothing else: no tests and no caches. `python chat.pyz` is the
client, `python chat.pyz serve` the server, `python chat.pyz read FILE` shows a journal; all further
words are theirs. What they write lies where the user stands, as ever: nothing is written into the
file, and nothing is unpacked.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import zipapp
from pathlib import Path

import closed_pipe

ROOT = Path(__file__).resolve().parent.parent
MODULES = ("chat_client.py", "chat_server.py", "protocol.py", "incoming_text.py", "terminals.py")
PACKAGES = ("client", "server", "storage")

MAIN = '''"""Client, server and reader of journals in one file."""

import os
import sys

if sys.version_info < (3, 10):
    sys.exit(
        "This needs Python 3.10 or newer; this one is "
        + sys.version.split()[0]
        + ". See https://www.python.org/downloads/"
    )

ENTRY_POINTS = {"serve": "chat_server", "read": "protocol"}


def main():
    name = os.path.basename(sys.argv[0])
    entry_point = ENTRY_POINTS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if entry_point is not None:
        del sys.argv[1]
    if entry_point == "chat_server":  # what it tells people to type is typed otherwise here
        from server.command_line import arguments

        arguments.PROGRAM = name + " serve"
        from server.command_line import welcome

        welcome.CLIENT = name
    return __import__(entry_point or "chat_client").main()


if __name__ == "__main__":
    sys.exit(main())
'''


def build(target: Path) -> None:
    """Write the archive; replace a file of that name as a whole."""
    with tempfile.TemporaryDirectory(prefix="chat-pyz-") as temporary:
        stage, result = Path(temporary) / "stage", Path(temporary) / "chat.pyz"
        stage.mkdir()
        for name in MODULES:
            shutil.copy(ROOT / name, stage)
        for package in PACKAGES:
            shutil.copytree(
                ROOT / package,
                stage / package,
                ignore=_no_source,
            )
        (stage / "__main__.py").write_text(MAIN, "utf-8")
        zipapp.create_archive(stage, result, interpreter="/usr/bin/env python3", compressed=True)
        part = target.with_name(target.name + ".part")
        shutil.copy(result, part)
        part.replace(target)


def _no_source(folder: str, names: list[str]) -> list[str]:
    """Return which of these names `copytree` is to leave out."""
    return [name for name in names if not _is_source(folder, name)]


def _is_source(folder: str, name: str) -> bool:
    return name.endswith(".py") or ((Path(folder) / name).is_dir() and name != "__pycache__")


def main() -> int:
    """Build what the command line names; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", metavar="FILE", nargs="?", default="chat.pyz", help="(%(default)s)")
    wanted = Path(parser.parse_args().file)
    try:
        build(wanted)
    except OSError as error:
        print(f"make_pyz: {wanted} cannot be written: {error}", file=sys.stderr)
        return 2
    typed = f"python {wanted.name}"
    print(f"{wanted} is made: {typed} HOST is the client, {typed} serve the server.")
    return 0


if __name__ == "__main__":
    sys.exit(closed_pipe.run(main))
