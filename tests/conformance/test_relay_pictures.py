"""A recording as a picture, a text and a capture; tshark reads it with our dissector."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support.patience import patience

from conformance.__main__ import main
from conformance.packets import encode, letters
from conformance.relay import capture, drawing, mermaid
from conformance.relay.frames import Piece
from conformance.relay.recording import Recorder, Recording, read_file
from conformance.relay.recording_command import events_of
from conformance.relay.traffic import Closed, Instead, Item, Opened, Passed

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = '</text><script>alert(1)</script> & "quoted" \x07\u202e end; # -->>'


def message(action: str, content: str, key: str, **more: Any) -> bytes:
    data = {"room_id": "lobby", "content": content, "transaction_id": key, **more}
    return encode({"action": action, "data": data})


def counts(key: str, text: str, original: str = "send_message") -> bytes:
    data = {
        "transaction_id": key,
        "letter_frequencies": letters(text),
        "original_action": original,
    }
    return encode({"action": "character_count", "data": data})


def passed(at: float, connection: int, row: int, to_server: bool, data: bytes, *more: Any) -> Item:
    return Passed(at, connection, row, to_server, Piece(data, True), *more)


ITEMS: list[Item] = [
    Opened(0.0, 1, "127.0.0.1:1"),
    Opened(0.1, 2, "127.0.0.1:2"),
    passed(0.2, 1, 1, True, encode({"action": "login", "data": {"chatid": "ada"}})),
    passed(0.3, 2, 2, True, encode({"action": "login", "data": {"chatid": "<ben>"}})),
    passed(0.4, 1, 3, True, message("send_message", "Zoë 👍🏽 a\\b", "t1")),
    passed(0.5, 1, 4, False, counts("t1", "Zoë 👍🏽 a\\b"), "drop", ()),
    passed(5.6, 1, 5, False, counts("t1", "Zoë 👍🏽 a\\b")),
    passed(5.7, 2, 6, False, message("receive_message", HOSTILE, "t2", message_id=7)),
    passed(5.8, 2, 7, True, counts("t2", "another", "receive_message")),
    Passed(5.9, 2, 8, True, Piece(b"GET / HTTP/1.1\r\n\r\n", False)),
    Closed(6.0, 2, "fault: cut 3 of row 8"),
]


@pytest.fixture
def path(tmp_path: Path) -> str:
    recorder = Recorder(str(tmp_path / "lesson.frames"), {})
    for item in ITEMS:
        recorder(item)
    recorder.close()
    return str(tmp_path / "lesson.frames")


# --- Pictures -------------------------------------------------------------------------------------


def test_the_picture_is_well_formed_and_hostile_text_stays_text() -> None:
    svg = drawing.to_svg(events_of(Recording({}, ITEMS)), HOSTILE)
    root = ElementTree.fromstring(svg)
    names = {each.tag.rpartition("}")[2] for each in root.iter()}
    assert names == {"svg", "title", "style", "rect", "line", "text", "path"}
    words = [each.text or "" for each in root.iter() if each.tag.endswith("}text")]
    assert {"ada", "<ben>", "server", "drop", "5.1 s later"} <= set(words)
    assert "character_count  ✓ counts agree" in words
    assert "character_count  ✗ counts differ" in words
    assert "\u202e" not in svg and "\x07" not in svg


def test_every_packet_has_its_arrow_and_a_lost_one_a_cross() -> None:
    svg = drawing.to_svg(events_of(Recording({}, ITEMS)), "lesson")
    assert svg.count('class="arrow"') == 8 and svg.count('class="cross"') == 1


def test_who_comes_back_keeps_the_lane() -> None:
    login = encode({"action": "login", "data": {"chatid": "ada"}})
    items = [passed(0.0, 1, 1, True, login), passed(1.0, 2, 2, True, login)]
    events = events_of(Recording({}, items))
    assert drawing.lane_names(events) == {1: "ada", 2: "ada"}


def test_mermaid_has_an_arrow_for_each_packet_and_nothing_that_it_could_misread() -> None:
    lines = mermaid.to_mermaid(events_of(Recording({}, ITEMS)), HOSTILE).splitlines()
    assert lines[1:5] == [
        "sequenceDiagram",
        "    participant P0 as ada",
        "    participant S as server",
        "    participant P2 as #60;ben#62;",
    ]
    arrows = [line for line in lines if "->>" in line or "-x" in line]
    assert len(arrows) == 8 and sum("S-xP0" in line for line in arrows) == 1
    assert "<script>" not in "\n".join(lines)
    assert all(line.count(":") == 1 for line in arrows)


def test_the_command_writes_what_is_asked_for(
    path: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    for option, begin in (("--svg", b"<svg "), ("--mermaid", b"%% "), ("--pcap", b"\xd4\xc3\xb2")):
        out = tmp_path / "out"
        assert main(["recording", path, option, "-o", str(out)]) == 0
        written = out.read_bytes()
        capfdbinary.readouterr()
        assert main(["recording", path, option]) == 0
        assert capfdbinary.readouterr().out == written and written.startswith(begin)
    assert main(["recording", path, "-o", str(tmp_path / "out")]) == 0
    assert "send_message" in (tmp_path / "out").read_text("utf-8")


def test_rows_choose_a_part(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recording", path, "--rows", "3-4"]) == 0
    said = capsys.readouterr().out
    assert "send_message" in said and "receive_message" not in said and "login" not in said
    assert main(["recording", path, "--rows", "x"]) == 2
    assert "expected numbers of packets, as 9-15" in capsys.readouterr().err
    assert main(["recording", path, "--svg", "-o", "no/such/folder"]) == 2
    assert "can't be written" in capsys.readouterr().err


# --- The capture ----------------------------------------------------------------------------------


def packets_of(pcap: bytes) -> list[tuple[float, bytes]]:
    found, at = [], 24
    while at < len(pcap):
        seconds, micros, size, _ = struct.unpack_from("<IIII", pcap, at)
        found.append((seconds + micros / 1e6, pcap[at + 16 : at + 16 + size]))
        at += 16 + size
    return found


def test_a_capture_holds_what_left_the_relay_in_tcp_segments_of_right_numbers() -> None:
    frame = encode({"action": "x" * 150_000})
    items = [
        passed(0.5, 1, 1, True, frame),
        passed(0.6, 1, 2, True, frame, "drop", ()),
        passed(0.7, 1, 3, True, b"\0\0\0\1a", "duplicate", (b"\0\0\0\1a",) * 2),
        passed(0.8, 1, 4, True, b"\0\0\0\1b"),
        Instead(0.9, 4, (b"\0\0\0\1c",)),
        Closed(1.0, 1, "closed"),
    ]
    found = packets_of(capture.to_pcap(items, 1000.0))
    number, sent = 1, b""
    for _, packet in found[3:-3]:
        assert capture._checksum(packet[:20]) == 0, "the checksum of IP"
        pseudo = packet[12:20] + struct.pack(">BBH", 0, 6, len(packet) - 20)
        assert capture._checksum(pseudo + packet[20:]) == 0, "the checksum of TCP"
        assert struct.unpack_from(">I", packet, 24) == (number,)
        sent += packet[40:]
        number += len(packet) - 40
    assert sent == frame + b"\0\0\0\1a\0\0\0\1a\0\0\0\1c"
    assert [packet[33] for _, packet in (*found[:3], *found[-3:])] == [2, 18, 16, 17, 17, 16]
    assert found[0][0] == 1000.5 and found[-1][0] == 1001.0


@pytest.mark.skipif(not shutil.which("tshark"), reason="needs tshark, to read a capture")
def test_tshark_reads_the_capture_with_the_dissector(path: str, tmp_path: Path) -> None:
    pcap = tmp_path / "lesson.pcap"
    pcap.write_bytes(capture.to_pcap(read_file(path).items, 1_000_000.0))
    script = ROOT / "docs" / "wireshark" / "chat.lua"
    names = ("action", "transaction_id", "room", "counts_agree", "user", "message_id", "content")
    command = ["tshark", "-X", f"lua_script:{script}", "-r", str(pcap), "-Y", "chat", "-T", "json"]
    fields = [word for name in names for word in ("-e", f"chat.{name}")]
    done = subprocess.run(
        [*command, *fields], capture_output=True, encoding="utf-8", timeout=patience(60), check=True
    )
    rows = [each["_source"]["layers"] for each in json.loads(done.stdout)]
    found = [{name: row.get(f"chat.{name}", [None])[0] for name in names} for row in rows]
    assert [each["action"] for each in found] == [
        "login",
        "login",
        "send_message",
        "character_count",
        "receive_message",
        "character_count",
        None,
    ]
    assert [each["counts_agree"] for each in found[3:6:2]] == ["1", "0"]
    assert found[2]["transaction_id"] == "t1" and found[2]["room"] == "lobby"
    assert found[2]["content"] == "Zoë 👍🏽 a\\b"
    assert (found[1]["user"], found[4]["message_id"]) == ("<ben>", "7")
    assert "Lua" not in done.stderr, done.stderr
