"""The real client in a pseudo-terminal against the scripted server: what stands on the screen, cell by cell."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo-terminals", allow_module_level=True)

from client_fakes import FakeServer, Packet, Peer
from client_terminals import PtyClient, TerminalModel


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


def start(server: FakeServer, folder: Path, *, columns: int = 80) -> PtyClient:
    (folder / "password").write_text("secret\n")
    client = PtyClient(
        f"127.0.0.1:{server.port}", "-u", "ada", "--password-file", str(folder / "password"), folder=folder, columns=columns
    )
    client.sees("You are in lobby.")
    client.sees("[lobby] ")
    return client


def test_a_typed_line_survives_arrivals(server: FakeServer, tmp_path: Path) -> None:
    with start(server, tmp_path, columns=40) as client:
        for number, typed in enumerate(("half", " a line that is longer than one row", " and ends 日本 ", "wide"), 1):
            client.type(typed)
            client.sees(typed[-4:])
            server.peers[0].message(number, f"arrival {number}")
            client.sees(f"arrival {number}")
        client.shows("2024-01-01 12:00 bob: arrival 4", "[lobby] half a line that is longer than", "one row and ends 日本 wide")
        client.type("!\n")
        client.sees("stored as message")
        assert server.history[-1][3] == "half a line that is longer than one row and ends 日本 wide!"


def test_a_line_that_just_fills_its_row_is_put_back_right(server: FakeServer, tmp_path: Path) -> None:
    with start(server, tmp_path, columns=20) as client:
        client.type("x" * 12)
        client.shows("[lobby] xxxxxxxxxxxx")
        server.peers[0].message(1, "hi")
        client.shows("2024-01-01 12:00", "    bob: hi", "[lobby] xxxxxxxxxxxx")
        client.type("yy")
        client.shows("    bob: hi", "[lobby] xxxxxxxxxxxx", "yy")
        server.peers[0].message(2, "ho")
        client.shows("    bob: hi", "2024-01-01 12:00", "    bob: ho", "[lobby] xxxxxxxxxxxx", "yy")


def test_being_named_rings_the_bell(server: FakeServer, tmp_path: Path) -> None:
    with start(server, tmp_path) as client:
        server.peers[0].message(1, "nobody else, @adam?")
        server.peers[0].message(2, "hello @Ada")
        client.sees("hello @Ada")
        client.sees("\a")
        assert client.output.count("\a") == 1


def test_states_of_an_own_message_change_in_one_line(server: FakeServer, tmp_path: Path) -> None:
    with start(server, tmp_path) as client:
        client.type("hello\n")
        client.shows("* You are in lobby.", "[lobby] hello", "* stored as message 1: sent, counts agree, stored", "[lobby]")
        assert "* sending" in client.output


def test_progress_changes_in_one_line_while_something_is_typed(server: FakeServer, tmp_path: Path) -> None:
    def slowly(peer: Peer, packet: Packet) -> None:
        peer.meta(packet)
        for number, chunk in peer.chunks(packet):
            peer.chunk(packet, number, chunk)
            if number == 3:
                server.wait_for(lambda: resume)
        peer.fin(packet)

    resume: list[bool] = []
    server.files["a.txt"] = b"x" * 5000
    server.handlers["file_down_req"] = slowly
    with start(server, tmp_path) as client:
        client.type("/get a.txt\n")
        client.sees("Fetching a.txt")
        client.type("half a li")
        client.sees("half a li")
        resume.append(True)
        client.shows("[lobby] /get a.txt", "* Fetching a.txt: 100 %, 4.9 KiB of 4.9 KiB",
                     "* a.txt is fetched whole and lies in downloads/a.txt", "[lobby] half a li")  # fmt: skip
    assert (tmp_path / "downloads" / "a.txt").read_bytes() == b"x" * 5000


def test_ctrl_c_clears_then_quits_and_tab_completes(server: FakeServer, tmp_path: Path) -> None:
    with start(server, tmp_path) as client:
        client.type("/hist\t")
        client.shows("[lobby] /history")
        client.interrupt()
        client.shows("[lobby] /history", "[lobby]")
        client.interrupt()
        assert client.ends() == 130
    assert "logout" in server.actions() and "send_message" not in server.actions()


def test_ctrl_d_quits_and_a_password_is_not_shown(server: FakeServer, tmp_path: Path) -> None:
    with PtyClient(f"127.0.0.1:{server.port}", folder=tmp_path) as client:
        client.log_in("ada", "secret", register=True)
        client.type("\x04")
        assert client.ends() == 0
        assert "secret" not in client.output


def test_a_server_that_is_not_there_ends_with_3(tmp_path: Path) -> None:
    with FakeServer() as gone:
        port = gone.port
    with PtyClient(f"127.0.0.1:{port}", folder=tmp_path) as client:
        client.sees("nothing listens")
        client.sees("Check that the server runs")
        assert client.ends() == 3


def test_the_model_of_the_terminal_wraps_and_clears() -> None:
    model = TerminalModel(5)
    model.feed("abcdefg\r\x1b[A\x1b[2C\x1b[KX\x1b[Dz\n\b日本é\x1b[P\x1b[@\x1b[?2004h")
    assert model.lines()[0] == "abz"
