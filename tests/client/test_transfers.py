"""The client's file transfers: whole or not at all, resumed, checked, and never outside of their
folder."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.client_fakes import FakeServer, Packet, Peer, good
from support.patience import patience

from client import source_files, transfers
from client.base.text import local_file_name, numbered, size_in_words, visible, wrap
from client.connection import Connection
from client.errors import ConnectionLost, ServerError, TransferFailed
from client.transfer_state import Transfer
from client.transfers import download, upload

pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")

CONTENT = bytes(range(256)) * 1100  # five chunks of 64 KiB, the last one short


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "notes.txt"
    path.write_bytes(CONTENT)
    return path


def logged_in(server: FakeServer, **options: Any) -> Connection:
    chat = Connection("127.0.0.1", server.port, pauses=(0.01,), **options)
    chat.login("ada", "secret")
    return chat


# --- sending ---


def test_a_file_is_sent_whole_with_progress(
    server: FakeServer, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "WINDOW", 2)
    seen: list[tuple[int, int]] = []
    with logged_in(server) as chat:
        sent = upload(
            chat, "lobby", source, progress=lambda done, total: seen.append((done, total))
        )
    assert (sent.stored_as, sent.size) == ("notes.txt", len(CONTENT))
    assert server.files["notes.txt"] == CONTENT
    assert seen == sorted(seen) and seen[-1] == (len(CONTENT), len(CONTENT)) and len(seen) == 6
    init = next(packet["data"] for packet in server.heard if packet["action"] == "file_send_init")
    assert (init["total_packets"], init["chunk_size"], init["file_type"]) == (
        5,
        65536,
        "text/plain",
    )


def test_an_empty_file_has_no_chunks(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    with logged_in(server) as chat:
        assert upload(chat, "lobby", tmp_path / "empty").size == 0
    assert server.files == {"empty": b""} and "file_send_data" not in server.actions()


def test_a_lost_upload_goes_on_with_what_is_missing(source: Path) -> None:
    def first(peer: Peer) -> None:
        peer.serve(until="file_send_data", count=4)

    with FakeServer(first, good) as fake, logged_in(fake) as chat:
        upload(chat, "lobby", source)
        assert fake.files["notes.txt"] == CONTENT
        numbers = [
            packet["data"]["sequence_number"]
            for packet in fake.heard
            if packet["action"] == "file_send_data"
        ]
    assert sorted(numbers) == [1, 2, 3, 4, 4, 5]


def test_what_was_finished_before_the_answer_got_lost_is_not_sent_again(source: Path) -> None:
    def second(peer: Peer) -> None:
        peer.server.handlers["file_send_init"] = lambda peer, packet: peer.reply(
            packet,
            "file_send_init",
            {
                "chat_id": "ada",
                "room_id": "lobby",
                "file_path": "notes.txt",
                "received": [[1, 5], "x", [1], [True, 2]],
                "done": True,
            },
        )
        peer.serve()

    with (
        FakeServer(lambda peer: peer.serve(until="file_send_fin"), second) as fake,
        logged_in(fake) as chat,
    ):
        upload(chat, "lobby", source)
        assert fake.actions().count("file_send_data") == 5


def test_a_server_that_forgot_a_chunk_gets_it_again(server: FakeServer, source: Path) -> None:
    def forget(peer: Peer, packet: Packet) -> None:
        del server.handlers["file_send_fin"]
        del server.uploads["notes.txt"][3]
        peer.refuse(packet, "incomplete_file", "chunk 3 is missing")

    server.handlers["file_send_fin"] = forget
    with logged_in(server) as chat:
        upload(chat, "lobby", source)
    assert server.files["notes.txt"] == CONTENT


@pytest.mark.parametrize("action", ["file_send_init", "file_send_data", "file_send_fin"])
def test_a_refused_upload_says_why(server: FakeServer, source: Path, action: str) -> None:
    server.handlers[action] = lambda peer, packet: peer.refuse(
        packet, "quota_exceeded", "Your share is used up."
    )
    with logged_in(server) as chat:
        with pytest.raises(TransferFailed, match="share is used up") as caught:
            upload(chat, "lobby", source)
        assert isinstance(caught.value.__cause__, ServerError)


def test_another_hash_is_not_called_done(server: FakeServer, source: Path) -> None:
    server.handlers["file_send_fin"] = lambda peer, packet: peer.reply(
        packet, "file_send_fin", {**packet["data"], "sha256": "0" * 64}
    )
    with logged_in(server) as chat, pytest.raises(TransferFailed, match="SHA-256"):
        upload(chat, "lobby", source)


def test_a_file_that_shrinks_meanwhile_is_not_called_done(server: FakeServer, source: Path) -> None:
    def shrink(peer: Peer, packet: Packet) -> None:
        source.write_bytes(CONTENT[:70_000])
        peer.on_file_send_init(packet)

    server.handlers["file_send_init"] = shrink
    with logged_in(server) as chat:
        with pytest.raises(TransferFailed, match="changed"):
            upload(chat, "lobby", source)
        server.wait_for(lambda: "file_cancel" in server.actions())


def test_a_file_overwritten_while_it_is_sent_is_cancelled_before_its_end(
    server: FakeServer, source: Path
) -> None:
    def overwrite(peer: Peer, packet: Packet) -> None:
        source.write_bytes(bytes(len(CONTENT)))
        peer.on_file_send_init(packet)

    server.handlers["file_send_init"] = overwrite
    with logged_in(server) as chat:
        with pytest.raises(TransferFailed, match="changed"):
            upload(chat, "lobby", source)
        server.wait_for(lambda: "file_cancel" in server.actions())
    assert "file_send_fin" not in server.actions()


def test_a_file_that_grows_is_sent_as_it_was_at_the_beginning(
    server: FakeServer, source: Path
) -> None:
    def grow(peer: Peer, packet: Packet) -> None:
        with open(source, "ab") as file:
            file.write(b"more")
        peer.on_file_send_init(packet)

    server.handlers["file_send_init"] = grow
    with logged_in(server) as chat:
        assert upload(chat, "lobby", source).size == len(CONTENT)
    assert server.files["notes.txt"] == CONTENT


@pipes
def test_what_comes_out_of_a_pipe_is_sent_whole(server: FakeServer, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(
        target=lambda: (tmp_path / "pipe").write_bytes(CONTENT), name="writer"
    )
    with logged_in(server) as chat:
        writer.start()
        assert upload(chat, "lobby", tmp_path / "pipe").size == len(CONTENT)
    writer.join(patience(5))
    assert server.files["pipe"] == CONTENT


@pipes
def test_a_pipe_that_nobody_writes_into_is_waited_for_no_longer_than_for_a_server(
    server: FakeServer, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with logged_in(server) as chat, pytest.raises(TransferFailed, match="nothing moved for"):
        upload(chat, "lobby", tmp_path / "pipe", patience=0.3)
    assert "file_send_init" not in server.actions()


@pipes
def test_a_pipe_is_read_no_further_than_the_server_takes(tmp_path: Path) -> None:
    transfer = Transfer("lobby", "pipe", None, 5.0)
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as source, open(writing, "wb") as sink:
        sink.write(b"x" * 101)
        sink.flush()
        with (
            pytest.raises(TransferFailed, match=r"more than 100 bytes came out of pipe"),
            source_files._copy(source, Path("pipe"), 100, transfer),
        ):
            pass


@pipes
def test_a_device_is_refused(server: FakeServer) -> None:
    with logged_in(server) as chat, pytest.raises(TransferFailed, match="zero is a device; only"):
        upload(chat, "lobby", "/dev/zero")


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_a_file_that_tells_no_size_is_sent_all_the_same(server: FakeServer) -> None:
    with logged_in(server) as chat:
        upload(chat, "lobby", "/proc/version")
    assert server.files["version"] == Path("/proc/version").read_bytes()


def test_a_cancelled_upload_is_given_up_on_the_server(server: FakeServer, source: Path) -> None:
    cancel = threading.Event()
    server.handlers["file_send_data"] = lambda peer, packet: cancel.set()
    with logged_in(server) as chat, pytest.raises(TransferFailed, match="cancelled"):
        upload(chat, "lobby", source, cancel=cancel)
    assert "file_cancel" in server.actions()


def test_an_upload_without_answers_ends(server: FakeServer, source: Path) -> None:
    server.handlers["file_send_data"] = lambda peer, packet: None
    with logged_in(server) as chat, pytest.raises(TransferFailed, match="nothing moved"):
        upload(chat, "lobby", source, patience=0.3)


def test_an_upload_ends_when_the_connection_does_not_come_back(source: Path) -> None:
    with FakeServer(lambda peer: peer.serve(until="file_send_data")) as fake:
        chat = logged_in(fake, reconnect=False)
        with pytest.raises(TransferFailed, match="connection was lost"):
            upload(chat, "lobby", source)
        chat.close()


def test_an_upload_gives_up_after_many_rounds(
    server: FakeServer, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "MAX_ROUNDS", 2)
    server.handlers["file_send_fin"] = lambda peer, packet: peer.refuse(packet, "incomplete_file")
    with logged_in(server) as chat, pytest.raises(TransferFailed, match="many attempts"):
        upload(chat, "lobby", source)


def test_a_file_that_can_not_be_read_is_said(server: FakeServer, tmp_path: Path) -> None:
    with logged_in(server) as chat:
        with pytest.raises(TransferFailed, match="can't be read"):
            upload(chat, "lobby", tmp_path / "nowhere")
        with pytest.raises(TransferFailed, match="can't be read"):
            upload(chat, "lobby", tmp_path)


def test_a_second_upload_waits_for_its_turn(server: FakeServer, source: Path) -> None:
    with (
        logged_in(server) as chat,
        transfers._one_upload,
        pytest.raises(TransferFailed, match="another file"),
    ):
        upload(chat, "lobby", source, patience=0.01)


# --- fetching ---


def test_a_file_is_fetched_and_never_replaces_another(server: FakeServer, tmp_path: Path) -> None:
    server.files["a.txt"] = CONTENT
    seen: list[int] = []
    with logged_in(server) as chat:
        first = download(
            chat, "lobby", "a.txt", tmp_path / "new", progress=lambda done, total: seen.append(done)
        )
        second = download(chat, "lobby", "a.txt", tmp_path / "new")
    assert (first.name, second.name) == ("a.txt", "a (2).txt")
    assert first.read_bytes() == second.read_bytes() == CONTENT
    assert seen[-1] == len(CONTENT)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a (2).txt", "a.txt"]


@pytest.mark.parametrize("name", ["U\u0308bung.txt", ".profile", "what?"])
def test_a_file_is_fetched_by_the_very_name_under_which_it_was_sent(
    server: FakeServer, tmp_path: Path, name: str
) -> None:
    if os.name == "nt" and "?" in name:
        pytest.skip("Windows has no such names")
    (tmp_path / name).write_bytes(b"text")
    with logged_in(server) as chat:
        upload(chat, "lobby", tmp_path / name)
        assert download(chat, "lobby", name, tmp_path / "new").read_bytes() == b"text"
        with pytest.raises(TransferFailed, match="no such file"):
            download(chat, "lobby", "." + name, tmp_path / "new")


def test_large_chunks_come_as_bytes_and_an_empty_file_has_none(
    server: FakeServer, tmp_path: Path
) -> None:
    server.files |= {"a": CONTENT, "empty": b""}
    server.chunk_bytes = 65536
    with logged_in(server) as chat:
        assert download(chat, "lobby", "a", tmp_path).read_bytes() == CONTENT
        assert download(chat, "lobby", "empty", tmp_path).read_bytes() == b""


def test_a_server_of_the_24_packets_gives_no_hash_and_is_enough(
    tmp_path: Path, source: Path
) -> None:
    with FakeServer(seed_only=True) as fake, logged_in(fake) as chat:
        fake.files["a.txt"] = b"abc"
        assert download(chat, "lobby", "a.txt", tmp_path).read_bytes() == b"abc"
        assert upload(chat, "lobby", source).stored_as == "notes.txt"
        fake.handlers["file_down_req"] = lambda peer, packet: peer.refuse(
            packet, "", "No such file"
        )
        with pytest.raises(TransferFailed, match="No such file"):
            download(chat, "lobby", "b.txt", tmp_path)


def test_a_lost_download_goes_on_where_it_was(tmp_path: Path) -> None:
    def first(peer: Peer) -> None:
        packet = peer.serve(until="file_down_req")
        peer.meta(packet)
        for number, chunk in peer.chunks(packet)[:100]:
            peer.chunk(packet, number, chunk)

    with FakeServer(first, good) as fake, logged_in(fake) as chat:
        fake.files["a.txt"] = CONTENT
        assert download(chat, "lobby", "a.txt", tmp_path).read_bytes() == CONTENT
        assert fake.heard[-1]["data"]["from_sequence"] == 101


def test_a_download_lost_before_its_last_word_is_whole_all_the_same(tmp_path: Path) -> None:
    def first(peer: Peer) -> None:
        packet = peer.serve(until="file_down_req")
        peer.meta(packet)
        for number, chunk in peer.chunks(packet):
            peer.chunk(packet, number, chunk)

    with FakeServer(first, good) as fake, logged_in(fake) as chat:
        fake.files["a.txt"] = CONTENT
        assert download(chat, "lobby", "a.txt", tmp_path).read_bytes() == CONTENT
        assert fake.actions().count("file_down_req") == 1


def test_a_file_replaced_while_the_connection_was_lost_is_not_mixed(tmp_path: Path) -> None:
    def first(peer: Peer) -> None:
        packet = peer.serve(until="file_down_req")
        peer.meta(packet)
        peer.chunk(packet, *peer.chunks(packet)[0])
        peer.server.files["a.txt"] = CONTENT[::-1]

    with FakeServer(first, good) as fake, logged_in(fake) as chat:
        fake.files["a.txt"] = CONTENT
        with pytest.raises(TransferFailed, match="replaced"):
            download(chat, "lobby", "a.txt", tmp_path)
    assert list(tmp_path.iterdir()) == []


def _broken(kind: str) -> Any:
    def answer(peer: Peer, packet: Packet) -> None:
        if kind == "no meta":
            return peer.chunk(packet, 1, b"x")
        peer.meta(packet, **({"sha256": "0" * 64} if kind == "hash" else {}))
        if kind == "order":
            peer.chunk(packet, 2, b"x")
        elif kind == "too much":
            peer.chunk(packet, 1, b"x" * 11)
        elif kind == "base64":
            peer.send(
                "file_down_data",
                {"room_id": "lobby", "file_path": "a.txt", "sequence_number": 1, "file_data": "*"},
            )
        elif kind != "too little":
            peer.chunk(packet, 1, b"0123456789")
        if kind != "silence":
            peer.fin(packet)

    return answer


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("no meta", "before saying"),
        ("order", "where 1 was due"),
        ("too much", "more came"),
        ("base64", "no base64"),
        ("too little", "0 bytes came instead of 10"),
        ("hash", "SHA-256"),
        ("silence", "nothing moved"),
    ],
)
def test_what_is_not_whole_never_gets_its_name(
    server: FakeServer, tmp_path: Path, kind: str, words: str
) -> None:
    server.files["a.txt"] = b"0123456789"
    server.handlers["file_down_req"] = _broken(kind)
    with logged_in(server) as chat, pytest.raises(TransferFailed, match=words):
        download(chat, "lobby", "a.txt", tmp_path, patience=0.3)
    assert list(tmp_path.iterdir()) == []


def test_what_was_wrong_is_said_also_where_a_scanner_holds_what_came(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(path: Path) -> None:
        raise PermissionError(13, "The process cannot access the file")

    server.files["a.txt"] = b"0123456789"
    server.handlers["file_down_req"] = _broken("hash")
    monkeypatch.setattr(os, "unlink", held)
    with logged_in(server) as chat, pytest.raises(TransferFailed, match="SHA-256"):
        download(chat, "lobby", "a.txt", tmp_path, patience=0.3)


def test_a_cancelled_download_leaves_nothing(server: FakeServer, tmp_path: Path) -> None:
    cancel = threading.Event()
    server.files["a.txt"] = CONTENT
    server.handlers["file_down_req"] = lambda peer, packet: (
        peer.meta(packet),
        peer.chunk(packet, 1, b"x" * 1000),
    )
    with logged_in(server) as chat, pytest.raises(TransferFailed, match="cancelled"):
        download(
            chat,
            "lobby",
            "a.txt",
            tmp_path,
            cancel=cancel,
            progress=lambda done, total: cancel.set(),
        )
    assert list(tmp_path.iterdir()) == [] and "file_cancel" in server.actions()


def test_a_download_ends_when_the_connection_does_not_come_back(tmp_path: Path) -> None:
    with FakeServer(lambda peer: peer.serve(until="file_down_req")) as fake:
        chat = logged_in(fake, reconnect=False)
        with pytest.raises(TransferFailed, match="connection was lost"):
            download(chat, "lobby", "a.txt", tmp_path)
        chat.close()
        with pytest.raises(TransferFailed, match="connection was lost") as caught:
            download(chat, "lobby", "a.txt", tmp_path)
        assert isinstance(caught.value.__cause__, ConnectionLost)


def test_a_download_gives_up_after_many_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "MAX_ROUNDS", 2)
    with (
        FakeServer(lambda peer: peer.serve(until="file_down_req")) as fake,
        logged_in(fake) as chat,
        pytest.raises(TransferFailed, match="many attempts"),
    ):
        download(chat, "lobby", "a.txt", tmp_path)


def test_a_folder_that_can_not_be_written_is_said(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with logged_in(server) as chat, pytest.raises(TransferFailed, match="can't take the file"):
        download(chat, "lobby", "a.txt", tmp_path / "file")


def test_a_disk_that_fails_stops_the_download(server: FakeServer, tmp_path: Path) -> None:
    server.files["a.txt"] = CONTENT
    with logged_in(server) as chat:
        with open(tmp_path / "x", "wb") as file:
            pass
        transfer = transfers._Download("lobby", "a.txt", None, 5.0, _Full())  # type: ignore[arg-type]
        assert file.closed
        with pytest.raises(TransferFailed, match="No space left"):
            transfers._fetch(chat, transfer, lambda done, total: None)


class _Full:
    def write(self, data: bytes) -> int:
        raise OSError(28, "No space left on device")


# --- names and text ---


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\win.ini", "win.ini"),
        ("a<b>:c|d?e*.txt", "a_b__c_d_e_.txt"),
        ("trailing. . ", "trailing"),
        ("con.txt", "_con.txt"),
        ("COM¹", "_COM¹"),
        (".profile", "_.profile"),
        ("..", "file"),
        ("", "file"),
        ("a\x00b\u202ecod.exe", "a_b_cod.exe"),
        ("e\u0301.txt", "\u00e9.txt"),
        ("  spaced", "spaced"),
        ("ü" * 150 + ".pdf", "ü" * 98 + ".pdf"),
        ("x" * 300, "x" * 200),
        ("y." + "z" * 250, "y." + "z" * 198),
    ],
)
def test_names_are_cleaned_for_every_system(name: str, kept: str) -> None:
    assert local_file_name(name) == kept


def test_numbers_go_before_the_ending() -> None:
    assert [numbered("a.txt", 2), numbered("a", 3), numbered("a.b", 1), numbered(".x", 2)] == [
        "a (2).txt",
        "a (3)",
        "a.b",
        ".x (2)",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("naïve 🙂 日本", "naïve 🙂 日本"),
        ("\x1b[2Jx", "\\x1b[2Jx"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202eevil", "\\u202eevil"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("a\u2028b", "a\\u2028b"),
        ("👨\u200d👩", "👨\u200d👩"),
        ("x\u200dy", "x\\u200dy"),
        ("\u200d", "\\u200d"),
        ("\U000e0041", "\\U000e0041"),
        ("\u3164", "\\u3164"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_what_could_drive_a_terminal_is_shown_instead(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_long_lines_are_wrapped_with_an_indent() -> None:
    assert wrap("ada: one two three four", 12) == ["ada: one two", "    three ", "    four"]
    assert wrap("日本日本日本日本", 10) == ["日本日本日", "    本日本"]
    assert wrap("short", 80) == ["short"]
    assert wrap("x" * 10, 4) == ["xxxx", " xxx", " xxx"] and wrap("x" * 10, 2) == ["x" * 10]
    assert all(
        row.startswith("    ") for row in wrap("a: " + " " * 60 + "* the server says", 30)[1:]
    )
    assert [size_in_words(count) for count in (5, 2048, 3 * 2**30, 2**44)] == [
        "5 bytes",
        "2.0 KiB",
        "3.0 GiB",
        "16384 GiB",
    ]
