"""`kill -9` between any two steps of an upload: no half file is ever listed, and the upload goes on
to exactly one version.

strace kills the server in front of the n-th system call that touches the disk, for n from 1 on,
until the upload comes through. strace counts each call of each thread by itself, so they are gone
through one by one: those of the uploader's thread (the flat file is made, written, synced, renamed)
and those of SQLite in the writer's (the rows).
"""

from __future__ import annotations

import hashlib
import itertools
import time
from pathlib import Path

import pytest
from support.files import Upload, download
from support.patience import patience
from support.raw_client import ClosedByServer, NothingCame, RawClient
from support.server_process import ServerProcess
from support.trouble import failing_calls, needs_strace

OPTIONS = ("--rate-limit", "0", "--min-free", "0")
DATA = bytes(range(256)) * 20
RENAME = "?rename,?renameat,?renameat2"  # which of them there is depends on the processor
CALLS = ("openat", "write", "fsync", RENAME, "close", "pwrite64", "fdatasync")
MOST_CALLS = 80

pytestmark = needs_strace


def logged_in(port: int) -> RawClient:
    client = RawClient(port)
    client.register("ada")
    assert client.login("ada", take_over=True)["action"] == "login_success"
    return client


def upload_by(client: RawClient) -> str:
    """Take the upload up, or begin it, and finish it; its SHA-256 by the server's word."""
    upload = Upload(client, "lobby", "steps.bin", DATA, chunk=2000)
    begun = upload.init(transaction_id="the one")
    assert begun["action"] == "file_send_init", begun
    if not begun["data"].get("done"):
        upload.send_all()
    finished = upload.fin()
    assert finished["action"] == "file_send_fin", finished
    return str(finished["data"]["sha256"])


def killed_at(folder: Path, calls: str, number: int) -> bool:
    """Whether the server was killed in front of this call; checks what it left, and that the upload
    goes on to its end."""
    with ServerProcess(folder, *OPTIONS) as server:
        client = logged_in(server.port)
        with failing_calls(server.pid, calls, f"signal=KILL:when={number}"):
            try:
                upload_by(client)
                killed = False
            except (ClosedByServer, NothingCame, OSError):
                killed = True
        assert not killed or has_died(server), "the connection ended, and the server goes on"
        client.close()
        server.kill()
        server.start()
        client = logged_in(server.port)
        check_listed(client)
        assert upload_by(client) == hashlib.sha256(DATA).hexdigest()
        check_listed(client)
        assert len(client.ask("file_list_req", room_id="lobby")["data"]["files"]) == 1
        client.close()
        assert server.stop() == 0
        assert "Traceback" not in server.log(), server.log()
        left = sorted(path.name for path in (folder / "uploads").iterdir())
        assert len(left) == 1 and not left[0].endswith(".part"), (
            f"one version, and nothing else: {left}"
        )
    return killed


def has_died(server: ServerProcess) -> bool:
    """Whether it ended; a process is only buried a moment after its connections, when all of its
    threads are."""
    deadline = time.monotonic() + patience(5)
    while server.is_running() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not server.is_running()


def check_listed(client: RawClient) -> None:
    """Whatever is listed is whole."""
    for entry in client.ask("file_list_req", room_id="lobby")["data"]["files"]:
        assert entry["file_path"] == "steps.bin"
        assert download(client, "lobby", "steps.bin")[0] == DATA


@pytest.mark.parametrize(
    ("calls", "number"),
    [(RENAME, 1), ("fsync", 3), ("fdatasync", 2)],
    ids=["before its name", "named, not synced", "uncommitted"],
)
def test_an_upload_that_was_killed_before_its_last_steps_goes_on(
    tmp_path: Path, calls: str, number: int
) -> None:
    assert killed_at(tmp_path / "data", calls, number), "the server was meant to be killed"


@pytest.mark.long
def test_an_upload_that_was_killed_before_any_of_its_steps_goes_on(tmp_path: Path) -> None:
    kills = 0
    for which, calls in enumerate(CALLS):
        for number in itertools.count(1):
            assert number < MOST_CALLS, "an upload was not meant to take so many calls"
            if not killed_at(tmp_path / f"data-{which}-{number}", calls, number):
                break
            kills += 1
    print(f"an upload killed in front of {kills} calls, each in its turn: one version each time")
    assert kills > 20, "the server was meant to be killed"
