"""`make grade`: the server and the client beside the kit, or anybody's server at HOST:PORT.

    python -m conformance.grade             ours, in the project's folder, at the level robust
    python -m conformance.grade HOST:PORT   anybody's server that runs already, at the level full

Further options go to the kit (`--level seed`, `--report html -o report.html`, `--account
NAME:PASSWORD` …). Owns nothing but the command lines; the exit status is the worse of both.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from conformance import __main__ as kit
from conformance import command_words
from conformance.verdicts import EXIT_MISUSE

PROJECT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Grade and print; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and re.fullmatch(r"\S+:\d+", words[0]):
        return kit.main(["server", *words])
    if words and not words[0].startswith("-"):
        print(
            f"conformance: {words[0]!r} is no address; expected HOST:PORT, as localhost:9876",
            file=sys.stderr,
        )
        return EXIT_MISUSE
    server, client = PROJECT / "chat_server.py", PROJECT / "chat_client.py"
    if not (server.is_file() and client.is_file()):
        print(
            f"conformance: no chat_server.py and chat_client.py in {PROJECT}; expected HOST:PORT",
            file=sys.stderr,
        )
        return EXIT_MISUSE
    return _grade_ours([sys.executable, str(server)], [sys.executable, str(client)], words)


WITH_TEACHER = """
import os, subprocess, sys
_, data, teacher, *start = sys.argv
if not os.path.exists(data):
    name, _, password = teacher.partition(":")
    words = [*start[:2], "adduser", name, "--teacher", "--data", data, "--password-cost", "4"]
    subprocess.run(words, input=password, text=True, stdout=subprocess.DEVNULL, check=True)
os.execv(start[0], start)
"""
"""Makes the account of a teacher before the first start. On Windows, where a program can't take
another's place, the cases about teachers are left out."""


def _grade_ours(server: list[str], client: list[str], words: Sequence[str]) -> int:
    """Grade both programs; return the worse exit status."""
    place = ["--host", "{host}", "--port", "{port}", "--data", "{data}"]
    start = [*server, *place, "--password-cost", "4"]
    if os.name != "nt" and "--teacher" not in words:
        teacher = f"a_teacher:{secrets.token_hex(8)}"
        start = [sys.executable, "-c", WITH_TEACHER, "{data}", teacher, *start]
        words = ["--teacher", teacher, *words]
    talk = [*client, "{host}:{port}", "-u", "{user}", "--download-folder", "{folder}"]
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        # What this account has told the client to remember must not count.
        os.environ["XDG_CONFIG_HOME"] = folder
        with suppress(OSError):  # nobody reads stdout: the reports will tell
            print("--- chat_server.py", flush=True)
        options = ["--level", "robust", *words, "--start-cmd", command_words.join(start)]
        first = kit.main(["server", "127.0.0.1:0", *options])
        with suppress(OSError):
            print("\n--- chat_client.py", flush=True)
        second = kit.main(["client", "--level", "robust", *_beside(words), "--", *talk])
    return max(first, second)


def _beside(words: Sequence[str]) -> list[str]:
    """Return the options for the client's run.

    Its reports must not be written over the server's, so they go beside, as client-NAME.
    """
    result = list(words)
    if "--teacher" in result:
        at = result.index("--teacher")
        del result[at : at + 2]
    for at, word in enumerate(result[:-1]):
        if word == "-o" and result[at + 1] != "-":
            path = Path(result[at + 1])
            result[at + 1] = str(path.with_name(f"client-{path.name}"))
    return result


if __name__ == "__main__":
    sys.exit(main())
