"""Accounts of teachers, which only the command line makes.

Runs `chat_server.py` beside the server. Never imports the product.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support import fresh_name
from support.patience import patience
from support.raw_client import RawClient
from support.server_process import REPOSITORY, ServerProcess, server_environment


def command(data_dir: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command of the server's program on the data folder."""
    return subprocess.run(
        [sys.executable, "chat_server.py", words[0], "--data", str(data_dir), *words[1:]],
        cwd=REPOSITORY,
        env=server_environment(),
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=patience(30),
        check=False,
    )


def make_teacher(data_dir: Path, name: str) -> None:
    """Make a teacher's account with the password "password"."""
    done = command(
        data_dir, "adduser", "--password-cost", "4", name, "--teacher", stdin="password\n"
    )
    assert done.returncode == 0, done.stderr


def teacher_of(server: ServerProcess, **login: object) -> RawClient:
    """Return a new teacher who is logged in."""
    name = fresh_name("teacher")
    make_teacher(server.data_dir, name)
    client = RawClient(server.port)
    reply = client.login(name, **login)
    assert reply["data"]["role"] == "teacher", reply
    return client
