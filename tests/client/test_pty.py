"""The real client in a pseudo-terminal against the scripted server: what stands on the screen, cell
by cell."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo-terminals", allow_module_level=True)

import termios

from support.client_fakes import FakeServer, Packet, Peer
from support.client_terminals import PtyClient, TerminalModel

from client.terminal.keys import WHERE


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


QUICK = (
    "from client.terminal import key_screen, keys; "
    "keys.TICK_SECONDS = key_screen.STEADY_SECONDS = 0.02"
)


def start(server: FakeServer, folder: Path, **options: Any) -> PtyClient:
    (folder / "password").write_text("secret\n")
    client = PtyClient(
        f"127.0.0.1:{server.port}",
        "-u",
        "ada",
        "--password-file",
        str(folder / "password"),
        folder=folder,
        **options,
    )
    client.sees("You are in lobby.")
    client.sees("[lobby] ")
    return client


def test_a_typed_line_survives_arrivals(server: FakeServer, tmp_path: Path) -> None:
    with start(server, tmp_path, columns=40) as client:
        for number, typed in enumerate(
            ("half", " a line that is longer than one row", " and ends 日本 ", "wide"), 1
        ):
            client.type(typed)
            client.sees(typed[-4:])
            server.peers[0].message(number, f"arrival {number}")
            client.sees(f"arrival {number}")
        client.shows(
            "2024-01-01 12:00 bob: arrival 4",
            "[lobby] half a line that is longer than",
            "one row and ends 日本 wide",
        )
        client.type("!\n")
        client.sees("(sent ")
        assert (
            server.history[-1][3] == "half a line that is longer than one row and ends 日本 wide!"
        )


def test_a_line_that_just_fills_its_row_is_put_back_right(
    server: FakeServer, tmp_path: Path
) -> None:
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
        client.shows(
            "* You are in lobby.",
            "2024-01-01 12:00 ada: hello (sent 1)",
            "[lobby]",
        )
        assert "(sending)" in client.output and "(counts agree)" in client.output


def test_an_own_line_of_several_rows_gets_its_mark(server: FakeServer, tmp_path: Path) -> None:
    with start(server, tmp_path, columns=40) as client:
        client.type("x" * 32 + "y" * 40 + "z\n")  # one row with the prompt, one, and a letter
        client.shows(
            "* You are in lobby.",
            "2024-01-01 12:00 ada: " + "x" * 17,
            "    " + "x" * 15 + "y" * 20,
            "    " + "y" * 20 + "z (sent 1)",
            "[lobby]",
        )
        client.type("w" * 32 + "\n")  # just a row
        client.shows(
            "    " + "y" * 20 + "z (sent 1)",
            "2024-01-01 12:00 ada:",
            "    " + "w" * 32,
            "    (sent 2)",
            "[lobby]",
        )


def test_progress_changes_in_one_line_while_something_is_typed(
    server: FakeServer, tmp_path: Path
) -> None:
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
        client.shows(
            "[lobby] /get a.txt",
            "* a.txt is fetched whole and lies in downloads/a.txt",
            "[lobby] half a li",
        )
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


def test_notices_go_away_again(server: FakeServer, tmp_path: Path) -> None:
    server.features = ["events", "typing"]
    with start(server, tmp_path) as client:
        client.type("half")
        client.shows("[lobby] half")
        server.peers[0].send("event", {"type": "typing", "room_id": "lobby", "chatid": "bob"})
        client.shows("* You are in lobby.", "* bob is typing", "[lobby] half")
        server.peers[0].send("event", {"type": "typing", "room_id": "lobby", "chatid": "cleo"})
        client.shows("* You are in lobby.", "* bob, cleo are typing", "[lobby] half")
        server.peers[0].send("event", {"type": "typing", "room_id": "elsewhere", "chatid": "dora"})
        server.peers[0].message(1, "there", room="lobby")
        client.shows(
            "* You are in lobby.", "2024-01-01 12:00 bob: there", "* cleo is typing", "[lobby] half"
        )
        client.type("!\n")
        client.shows(
            "* You are in lobby.",
            "2024-01-01 12:00 bob: there",
            "2024-01-01 12:00 ada: half! (sent 1)",
            "* cleo is typing",
            "[lobby]",
        )
        server.peers[0].message(2, "me, too", sender="cleo")
        client.shows(
            "2024-01-01 12:00 ada: half! (sent 1)",
            "2024-01-01 12:00 cleo: me, too",
            "[lobby]",
        )
        server.wait_for(lambda: "typing" in server.actions())  # ours is told as well


def test_a_cursor_in_the_middle_stays_there_when_something_arrives(
    server: FakeServer, tmp_path: Path
) -> None:
    with start(server, tmp_path, columns=40) as client:
        client.type("a line that is longer than one row of it, 日本 and more")
        client.sees("and more")
        client.type("\x01")  # Ctrl-A: to the beginning, which is a row higher
        server.peers[0].message(1, "one")
        client.sees("one")
        server.peers[0].message(2, "two")
        client.shows(
            "* You are in lobby.",
            "2024-01-01 12:00 bob: one",
            "2024-01-01 12:00 bob: two",
            "[lobby] a line that is longer than one r",
            "ow of it, 日本 and more",
        )
        client.type("Here: ")
        client.shows(
            "2024-01-01 12:00 bob: two",
            "[lobby] Here: a line that is longer than",
            " one row of it, 日本 and more",
        )
        client.type("\n")
        client.sees("(sent ")
        assert (
            server.history[-1][3] == "Here: a line that is longer than one row of it, 日本 and more"
        )


def test_the_editor_does_what_shells_do(server: FakeServer, tmp_path: Path) -> None:
    with start(server, tmp_path, columns=40) as client:
        client.type("a line that is longer than one row of it, 日本 and mor")
        client.shows("[lobby] a line that is longer than one r", "ow of it, 日本 and mor")
        client.type("\x1b[H")
        server.peers[0].message(1, "one")
        client.shows(
            "2024-01-01 12:00 bob: one",
            "[lobby] a line that is longer than one r",
            "ow of it, 日本 and mor",
        )
        client.type("Here: \x1b[Fe\n")
        client.sees("(sent ")
        assert (
            server.history[-1][3] == "Here: a line that is longer than one row of it, 日本 and more"
        )
        client.type("\x1b[A")
        client.shows("[lobby] Here: a line that is longer than", " one row of it, 日本 and more")
        client.type("\x15/h\t\t")
        client.shows("/hand  /help  /history", "[lobby] /h")
        client.type("i\t")
        client.shows("[lobby] /history")
        client.type("\n")
        client.sees("The last")
        client.sees("[lobby] ")
        client.type("half")
        client.shows("[lobby] half")
        client.interrupt()
        client.shows("[lobby] half", "[lobby]")
        client.type("\x04")
        assert client.ends() == 0


@pytest.mark.parametrize("flows", [False, True], ids=["cuts rows off", "breaks lines anew"])
def test_what_is_typed_survives_another_width(
    server: FakeServer, tmp_path: Path, flows: bool
) -> None:
    with start(server, tmp_path, columns=60, flows=flows, before=QUICK) as client:
        client.type("half a line")
        client.shows("[lobby] half a line")
        for number, columns in enumerate((40, 100, 30, 60), 1):
            resize(client, columns)
            server.peers[0].message(number, f"arrival {number}")
            rows = (
                ["2024-01-01 12:00 bob: arrival", f"    {number}"]
                if columns == 30
                else [f"2024-01-01 12:00 bob: arrival {number}"]
            )
            client.shows(*rows, "[lobby] half a line")
        client.type(" more\n")
        client.sees("(sent ")
        assert server.history[-1][3] == "half a line more"


@pytest.mark.parametrize("flows", [False, True], ids=["cuts rows off", "breaks lines anew"])
def test_no_cell_is_lost_by_another_width(server: FakeServer, tmp_path: Path, flows: bool) -> None:
    typed = "a sentence of several rows, with 日本 in it, and so on until it is long enough " * 2
    above = ["* You are in lobby.", "2024-01-01 12:00 bob: one", "2024-01-01 12:00 bob: two"]
    with start(server, tmp_path, columns=100, flows=flows, before=QUICK) as client:
        for number in (1, 2):
            server.peers[0].message(number, ("one", "two")[number - 1])
        client.shows(*above, "[lobby]")
        client.type(typed)
        for columns in (60, 100, 40, 77, 120, 33):
            resize(client, columns)
            client.shows(*above, *rows_of("[lobby] " + typed, columns))
        client.type("\x01!")  # to the first row
        client.shows(*above, *rows_of("[lobby] !" + typed, 33))
        for columns in (100, 50):
            resize(client, columns)
            client.shows(*above, *rows_of("[lobby] !" + typed, columns))


def resize(client: PtyClient, columns: int) -> None:
    """Another width; return when the client has drawn for it."""
    client.resize(columns)
    client.sees(WHERE)
    client.sees("[lobby] ")


def rows_of(text: str, columns: int) -> list[str]:
    model = TerminalModel(columns)
    model.feed(text)
    return [line for line in model.lines() if line]


def test_emoji_of_two_columns_are_counted_so(server: FakeServer, tmp_path: Path) -> None:
    with start(server, tmp_path, columns=30) as client:
        client.type("❤\ufe0f" * 11)  # 8 columns and 22: just the row
        server.peers[0].message(1, "x")
        client.shows("2024-01-01 12:00 bob: x", "[lobby] " + "❤\ufe0f" * 11)
        client.type("!")
        client.shows("2024-01-01 12:00 bob: x", "[lobby] " + "❤\ufe0f" * 11, "!")
        server.peers[0].message(2, "❤\ufe0f" * 11)
        client.shows(
            "2024-01-01 12:00 bob: x",
            "2024-01-01 12:00 bob:",
            "    " + "❤\ufe0f" * 11,
            "[lobby] " + "❤\ufe0f" * 11,
            "!",
        )


def test_a_terminal_that_can_do_nothing_shows_arrivals_by_their_rows(
    server: FakeServer, tmp_path: Path
) -> None:
    with start(server, tmp_path, columns=40, environment={"TERM": "dumb"}) as client:
        client.type("half")
        client.shows("[lobby] half")
        server.peers[0].message(1, "x" * 20 + " * The server is closing.")
        client.shows(
            "[lobby] half",
            "2024-01-01 12:00 bob:",
            "    " + "x" * 20 + " * The server",
            "    is closing.",
            "[lobby]",
        )
        client.type(" a line\n")
        client.sees("* sent")
        assert server.history[-1][3] == "half a line", "what was typed before counts"
        assert "\x1b[" not in client.output.replace("\x1b[?2004", "")


def test_colours_are_there_on_a_terminal_unless_unwanted(
    server: FakeServer, tmp_path: Path
) -> None:
    for environment, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        with start(server, tmp_path, environment=environment) as client:
            server.peers[-1].message(7, "hello @ada")
            client.shows("2024-01-01 12:00 bob (to you): hello @ada", "[lobby]")
            assert ("\x1b[1;7m(to you)\x1b[0m" in client.output) == coloured


def test_a_terminal_of_few_characters_is_never_torn_by_others(
    server: FakeServer, tmp_path: Path
) -> None:
    environment = {
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONUTF8": "0",
        "PYTHONIOENCODING": "ascii:strict",
    }
    with start(server, tmp_path, columns=40, environment=environment) as client:
        client.type("half")
        client.shows("[lobby] half")
        server.peers[0].message(1, "日本 🙂 é")
        client.shows(
            "2024-01-01 12:00 bob: \\u65e5\\u672c", "    \\U0001f642 \\xe9", "[lobby] half"
        )
        client.type("!\n")
        client.sees("(sent ")
        assert server.history[-1][3] == "half!"


def test_what_is_typed_ahead_is_shown_only_in_its_own_line(
    server: FakeServer, tmp_path: Path
) -> None:
    server.history.append((1, "lobby", "bob", "earlier"))

    def slowly(peer: Peer, packet: Packet) -> None:
        client.type("typed ahead")
        assert not client.read(0.05) or "ahead" not in client.output
        peer.on_get_messages(packet)

    with start(server, tmp_path) as client:
        server.handlers["get_messages"] = slowly
        client.type("/history\n")
        client.shows(
            "* The last 1 message of lobby:",
            "2024-01-01 12:00 bob: earlier",
            "[lobby] typed ahead",
        )
        client.type("\x15/quit\n")
        assert client.ends() == 0
        assert termios.tcgetattr(client.master)[3] & termios.ECHO, "the terminal is left as it was"


def test_letters_that_the_locale_lacks_can_be_typed_all_the_same(
    server: FakeServer, tmp_path: Path
) -> None:
    """With LC_ALL=C Python says UTF-8, and readline knows ASCII only: it refused the line, and the
    client ended."""
    with start(server, tmp_path, environment={"LC_ALL": "C"}) as client:
        client.type("né 日本")
        client.sees("日本")
        server.peers[0].message(1, "arrival")
        client.sees("arrival")
        client.type("!\n")
        client.sees("(sent ")
        assert server.history[-1][3] == "né 日本!"
