"""Everything at once, as people use it: a server and two clients under pseudo-terminals, and a
restart in between."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo-terminals", allow_module_level=True)

from support.client_terminals import PtyClient
from support.seed import some_bytes
from support.server_process import ServerProcess

FILE_BYTES = 10 * 1024 * 1024


def client(server: ServerProcess, folder: Path) -> PtyClient:
    folder.mkdir(exist_ok=True)
    return PtyClient(f"127.0.0.1:{server.port}", folder=folder, environment={"NO_COLOR": "1"})


def test_two_people_talk_share_a_file_and_find_all_after_a_restart(tmp_path: Path) -> None:
    content = some_bytes(FILE_BYTES)
    (tmp_path / "lecture notes.bin").write_bytes(content)
    with ServerProcess(tmp_path / "data") as server:
        with client(server, tmp_path / "ada") as ada, client(server, tmp_path / "bob") as bob:
            ada.log_in("ada", "correct horse", register=True)
            bob.log_in("bob", "battery staple", register=True)
            ada.sees("bob is on.")

            ada.type("Hello Bob, größe 🙂\n")
            ada.sees("(sent ")
            bob.sees("ada: Hello Bob, größe 🙂")
            bob.type("Hello Ada\n")
            bob.sees("(sent ")
            ada.sees("bob: Hello Ada")

            ada.type("/send ../lecture notes.bin\n")
            ada.sees("lecture notes.bin is sent, 10.0 MiB")
            bob.sees("ada put the file lecture notes.bin (10.0 MiB) into lobby")
            bob.type("/get lecture notes.bin\n")
            bob.sees("is fetched whole")
            assert (tmp_path / "bob" / "downloads" / "lecture notes.bin").read_bytes() == content

            ada.type("/history\n")
            for line in (
                "The last 2 messages of lobby:",
                "ada: Hello Bob, größe 🙂",
                "bob: Hello Ada",
            ):
                ada.sees(line)
            ada.type("/quit\n")
            assert ada.ends() == 0
            bob.type("\x04")
            assert bob.ends() == 0
        assert server.stop() == 0

    with ServerProcess(tmp_path / "data") as server:
        with client(server, tmp_path / "ada") as ada:
            ada.log_in("ada", "correct horse")
            ada.type("/history\n")
            for line in (
                "The last 2 messages of lobby:",
                "ada: Hello Bob, größe 🙂",
                "bob: Hello Ada",
            ):
                ada.sees(line)
            ada.type("/files\n")
            ada.sees("lecture notes.bin, 10.0 MiB by ada")
            ada.type("/get lecture notes.bin\n")
            ada.sees("is fetched whole")
            assert (tmp_path / "ada" / "downloads" / "lecture notes.bin").read_bytes() == content
            ada.interrupt()
            assert ada.ends() == 130
        assert server.stop() == 0


def test_a_restart_of_the_server_loses_nothing_that_was_typed_meanwhile(tmp_path: Path) -> None:
    first = ServerProcess(tmp_path / "data")
    with first as server:
        port = server.port
        ada, bob = client(server, tmp_path / "ada"), client(server, tmp_path / "bob")
        with ada, bob:
            ada.log_in("ada", "secret", register=True)
            bob.log_in("bob", "secret", register=True)
            ada.type("before\n")
            bob.sees("ada: before")
            assert server.stop() == 0
            ada.sees("The connection is lost")
            bob.sees("The connection is lost")
            ada.type("while it was away\n")
            ada.sees("(sending; the connection is down")
            with ServerProcess(tmp_path / "data", "--port", str(port)) as again:
                ada.sees("sent 2")
                bob.sees("ada: while it was away")
                bob.type("/history\n")
                bob.sees("The last 2 messages of lobby:")
                bob.type("/quit\n")
                ada.type("/quit\n")
                assert (ada.ends(), bob.ends()) == (0, 0)
                assert again.stop() == 0
