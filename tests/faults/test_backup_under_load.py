"""A copy made while a class talks and the server is killed is one moment of its history: all that
was acknowledged before, nothing that came after, no gap.

The full form (`-m long`) makes 50 rounds.
"""

from __future__ import annotations

import io
import json
import threading
import time
from pathlib import Path

import pytest
from support.files import Upload
from support.history_checker import Observed, Seen
from support.raw_client import ClosedByServer, RawClient
from support.server_process import ServerProcess
from support.talkers import ROUND_SECONDS, Talker, history_of

from server.command_line import admin
from server.command_line.arguments import parse
from storage.journal import Journal

TALKERS = 6


def command(*argv: str) -> str:
    errors = io.StringIO()
    status = admin.run(parse(list(argv), {}), io.StringIO(), io.StringIO(), errors)
    assert status == 0, errors.getvalue()
    return errors.getvalue()


class Sender:
    """A user that uploads one file after another until the server dies."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, port: int) -> None:
        try:
            client = RawClient(port)
        except OSError:
            return
        try:
            client.register("sender")
            client.login("sender", take_over=True)
            while True:
                name = f"file{len(self.sent)}.txt"
                Upload(client, "lobby", name, name.encode() * 500).run()
                self.sent.append(name)
        except (OSError, ClosedByServer):
            pass
        finally:
            client.close()


def copy_under_load(
    process: ServerProcess, talkers: list[Talker], sender: Sender, target: Path
) -> tuple[int, int]:
    """Copy the folder in the middle of the talk, then kill the server; return how many acks and
    files there were when the copy was begun."""
    runs = [(talker.name, talker.talk) for talker in talkers] + [("sender", sender.send)]
    threads = [
        threading.Thread(target=run, args=(process.port,), name=name, daemon=True)
        for name, run in runs
    ]
    observed = talkers[0].observed
    acks, files = len(observed.acks) + 5 * TALKERS, len(sender.sent) + 2
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + ROUND_SECONDS
    while (len(observed.acks) < acks or len(sender.sent) < files) and time.monotonic() < deadline:
        time.sleep(0.01)
    before = len(observed.acks), len(sender.sent)
    command("backup", str(target), "--data", str(process.data_dir))
    process.kill()
    for thread in threads:
        thread.join(ROUND_SECONDS)
        assert not thread.is_alive(), f"{thread.name} hangs"
    problems = [talker.problem for talker in talkers if talker.problem is not None]
    assert not problems, problems[0]
    return before


def journal_of(folder: Path) -> list[int]:
    """The ids of the messages in the lobby's journal."""
    journal = Journal(folder / "journal")
    packets = [json.loads(text) for _, _, path in journal.days() for text in journal.read(path)]
    return [p["data"]["message_id"] for p in packets if p["action"] == "receive_message"]


def files_of(process: ServerProcess) -> list[str]:
    client = RawClient(process.port)
    try:
        client.login("historian", take_over=True)
        packet = {"action": "file_list_req", "data": {"chat_id": "historian", "room_id": "lobby"}}
        return [file["file_path"] for file in client.request(packet)["data"]["files"]]
    finally:
        client.close()


def check_copy(target: Path, real: list[Seen], acks: list[int], sent: list[str]) -> None:
    folder = target.with_suffix("")
    command("restore", str(target), "--data", str(folder))
    with ServerProcess(folder) as restored:
        assert "Notice:" not in restored.output()
        history = history_of(restored, 0)
        files = files_of(restored)
        assert restored.stop() == 0
    assert history == real[: len(history)]
    assert set(acks) <= {seen.message_id for seen in history}
    assert set(sent) <= set(files)
    assert journal_of(folder) == [seen.message_id for seen in history]
    for name in (folder / "uploads").iterdir():
        assert len(name.read_bytes()) > 500


def run_rounds(tmp_path: Path, rounds: int) -> None:
    observed, guard, sender = Observed(), threading.Lock(), Sender()
    talkers = [Talker(f"talker{n}", observed, guard, {}) for n in range(TALKERS)]
    process = ServerProcess(tmp_path / "data", "--rate-limit", "0")
    process.start()
    try:
        for number in range(rounds):
            target = tmp_path / f"copy{number}.zip"
            acks, sent = copy_under_load(process, talkers, sender, target)
            process.start()
            check_copy(
                target,
                history_of(process, 0),
                [ack.message_id for ack in observed.acks[:acks]],
                sender.sent[:sent],
            )
    finally:
        process.kill()


@pytest.mark.wine("connections of a killed server may stay open")
def test_a_copy_made_under_load_is_one_moment_of_the_history(tmp_path: Path) -> None:
    run_rounds(tmp_path, 2)


@pytest.mark.long
def test_fifty_copies_made_under_load_are_moments_of_the_history(tmp_path: Path) -> None:
    run_rounds(tmp_path, 50)
