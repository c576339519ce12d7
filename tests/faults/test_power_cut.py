"""A power cut: what was acknowledged is on the disk, not only in the kernel's memory.

The data folder lies on an ext4 image behind a loop device. While clients talk and upload, the
server is stopped by SIGSTOP, and the image is copied as the device holds it: what the kernel keeps
in memory is not in the copy, as after a power cut. The copy is mounted, which replays ext4's
journal, and a new server opens what it finds.

A copy is taken only when two readings in a row were the same, so that it is the disk at one moment.
What it can't show is a drive that loses its own cache although it was told to flush it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import fresh_name
from support.files import Upload, download
from support.patience import patience, until
from support.raw_client import RawClient
from support.seed import drawn
from support.server_process import ServerProcess
from support.trouble import mounted, needs_mount, run

IMAGE_BYTES = 96 * 1024 * 1024
OPTIONS = ("--rate-limit", "0", "--min-free", "0", "--quota", "0")
SENDERS = 6
UPLOADERS = 2

pytestmark = [
    needs_mount,
    pytest.mark.skipif(not shutil.which("mkfs.ext4"), reason="needs mkfs.ext4"),
    pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="needs loop devices"),
]


class Load:
    """Clients that talk and upload until they are told to stop, and a list of all that was
    acknowledged to them."""

    def __init__(self, port: int) -> None:
        self._lock = threading.Lock()
        self._messages: dict[str, int] = {}
        self._files: dict[str, str] = {}
        self._stop = threading.Event()
        self.failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._guard, args=(self._talk, port), daemon=True)
            for _ in range(SENDERS)
        ]
        self._threads += [
            threading.Thread(target=self._guard, args=(self._give, port), daemon=True)
            for _ in range(UPLOADERS)
        ]
        for thread in self._threads:
            thread.start()

    def acknowledged(self) -> tuple[dict[str, int], dict[str, str]]:
        """(id by content, SHA-256 by file name) of all successes that have arrived."""
        with self._lock:
            return dict(self._messages), dict(self._files)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(patience(20))
        assert not self.failures, self.failures

    def _guard(self, work: Callable[[RawClient], None], port: int) -> None:
        client = RawClient(port)
        try:
            name = fresh_name()
            client.register(name)
            client.login(name)
            work(client)
        except Exception as error:  # a thread begins here
            if not self._stop.is_set():
                self.failures.append(repr(error))
        finally:
            client.close()

    def _talk(self, client: RawClient) -> None:
        number, chance = 0, drawn("talk", client.chatid)
        while not self._stop.is_set():
            number += 1
            content = f"{client.chatid} {number} ".ljust(chance.choice((20, 200, 3000)), "m")
            message_id = client.say("lobby", content, transaction_id=own_key(content))["data"][
                "message_id"
            ]
            with self._lock:
                self._messages[content] = message_id
            client.nothing_before_pong()  # reads what the others say

    def _give(self, client: RawClient) -> None:
        number, chance = 0, drawn("files", client.chatid)
        while not self._stop.is_set():
            number += 1
            name = f"{client.chatid}-{number}.bin"
            data = chance.randbytes(chance.choice((100, 5_000, 60_000)))
            result = Upload(client, "lobby", name, data, chunk=8192).run()
            assert result["sha256"] == hashlib.sha256(data).hexdigest()
            with self._lock:
                self._files[name] = result["sha256"]
            client.nothing_before_pong()


def own_key(content: str) -> str:
    """The sender's own transaction_id of a message of the load."""
    return "-".join(content.split(" ")[:2])


def snapshot(image: Path, copy: Path) -> None:
    """Copy the image as it is at one moment: again, as long as something was still being written to
    it."""
    last = b""
    for _ in range(20):
        digest = hashlib.sha256()
        with open(image, "rb") as source, open(copy, "wb") as target:
            while block := source.read(1 << 20):
                digest.update(block)
                if block.count(0) == len(block):
                    target.seek(len(block), os.SEEK_CUR)
                else:
                    target.write(block)
            target.truncate(IMAGE_BYTES)
        if digest.digest() == last:
            return
        last = digest.digest()
    raise AssertionError("the image never held still")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """(an ext4 image, the folder where it is mounted)."""
    image = tmp_path / "disk.img"
    with open(image, "wb") as file:
        file.truncate(IMAGE_BYTES)
    made = run("mkfs.ext4", "-q", "-F", image)
    assert made.returncode == 0, made.stderr
    with mounted(tmp_path / "disk", "-o", "loop", image) as folder:
        yield image, folder


def check_copy(copy: Path, folder: Path, messages: dict[str, int], files: dict[str, str]) -> None:
    """Open the copy with a new server; whatever was acknowledged is there, once, and what is there
    is whole."""
    with mounted(folder, "-o", "loop", copy), ServerProcess(folder / "data", *OPTIONS) as server:
        client = RawClient(server.port)
        try:
            name = fresh_name("reader")
            assert client.register(name)["action"] == "register_success"
            assert client.login(name)["action"] == "login_success"
            found: dict[str, list[int]] = {}
            after = 0
            while True:
                page = client.ask("get_messages", room_id="lobby", after_id=after)["data"]
                for message in page["messages"]:
                    after = message["message_id"]
                    found.setdefault(message["content"], []).append(after)
                if not page["has_more"]:
                    break
            senders = {content.split(" ")[0] for content in messages}
            users = client.ask("get_users")["data"]["users"]
            assert senders <= set(users), "an account is lost"
            lost = [content[:30] for content in messages if content not in found]
            assert not lost, (
                f"{len(lost)} of {len(messages)} acknowledged messages are lost: {lost[:5]}"
            )
            assert not [ids for ids in found.values() if len(ids) > 1], "stored twice"
            assert all(found[content] == [number] for content, number in messages.items()), (
                "renumbered"
            )
            listed = {
                entry["file_path"]: entry
                for entry in client.ask("file_list_req", room_id="lobby")["data"]["files"]
            }
            gone = sorted(set(files) - set(listed))
            assert not gone, f"{len(gone)} of {len(files)} acknowledged files are lost: {gone[:5]}"
            for name, entry in listed.items():
                data, _ = download(client, "lobby", name)
                assert (
                    hashlib.sha256(data).hexdigest()
                    == entry["sha256"]
                    == files.get(name, entry["sha256"])
                ), f"{name} is broken"
        finally:
            client.close()
        for content in drawn("sent again").sample(sorted(messages), min(3, len(messages))):
            send_again(server.port, content, messages[content])
        assert server.stop() == 0
        assert "Traceback" not in server.log(), server.log()


def send_again(port: int, content: str, message_id: int) -> None:
    """Who sends an acknowledged message again, with its own transaction_id, gets the same ack, and
    nothing is stored twice."""
    client = RawClient(port)
    try:
        assert client.login(content.split(" ")[0])["action"] == "login_success"
        ack = client.ask(
            "send_message", room_id="lobby", content=content, transaction_id=own_key(content)
        )
        assert ack["action"] == "ack" and ack["data"]["message_id"] == message_id, ack
    finally:
        client.close()


def cut_power(disk: tuple[Path, Path], folder: Path, rounds: int) -> tuple[int, int]:
    """(messages, files) that were acknowledged before the last of so many cuts, each of them
    checked."""
    image, data = disk
    checked = (0, 0)
    done, chance = 0, drawn("cuts")
    while done < rounds:
        with ServerProcess(data / "data", *OPTIONS) as server:
            load = Load(server.port)
            until(lambda load=load: all(load.acknowledged()), "nothing is acknowledged")
            for _ in range(
                min(10, rounds - done)
            ):  # then a new server: its restart is part of the trial
                done += 1
                time.sleep(chance.uniform(0.1, 0.6))
                os.kill(server.pid, signal.SIGSTOP)
                try:
                    snapshot(image, folder / "copy.img")
                    messages, files = load.acknowledged()
                    check_copy(folder / "copy.img", folder / "copy", messages, files)
                finally:
                    os.kill(server.pid, signal.SIGCONT)
                assert not load.failures, load.failures
                checked = (checked[0] + len(messages), checked[1] + len(files))
            load.stop()
            server.kill()
        shutil.rmtree(data / "data")
    return checked


def test_what_was_acknowledged_survives_a_power_cut(
    disk: tuple[Path, Path], tmp_path: Path
) -> None:
    messages, files = cut_power(disk, tmp_path, 1)
    assert messages and files, "nothing was acknowledged before the cut: nothing was shown"


@pytest.mark.long
def test_what_was_acknowledged_survives_fifty_power_cuts(
    disk: tuple[Path, Path], tmp_path: Path
) -> None:
    messages, files = cut_power(disk, tmp_path, 50)
    print(
        f"50 power cuts: {messages} messages and {files} files were looked for, "
        "0 lost, 0 twice, 0 renumbered"
    )
