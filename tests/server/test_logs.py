"""The log: it neither blocks nor stops anybody, and nobody's text forges a line of it."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from support.patience import patience

from server.base import logs
from server.base.logs import printable

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?: DEBUG| WARNING| ERROR)?  .*")


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    before = logging.raiseExceptions, logging.lastResort
    yield
    logging.raiseExceptions, logging.lastResort = before


class Stuck(io.StringIO):
    """A stream whose write() waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        assert self.go.wait(patience(20))
        return super().write(text)


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError


def test_one_line_per_event_with_its_time_for_people() -> None:
    stream = io.StringIO()
    stop = logs.start("info", stream)
    logging.getLogger("server.sessions").info("%s is on from %s", "ada", "127.0.0.1")
    logging.getLogger("server.sessions").debug("not shown")
    stop()
    (line,) = stream.getvalue().splitlines()
    assert LINE.fullmatch(line)
    assert line[19:] == "  ada is on from 127.0.0.1"


def test_what_is_no_everyday_event_says_so() -> None:
    stream = io.StringIO()
    stop = logs.start("debug", stream)
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger("server.sessions").log(level, "text")
    stop()
    lines = stream.getvalue().splitlines()
    assert all(map(LINE.fullmatch, lines))
    assert [line[19:] for line in lines] == [
        *(" DEBUG  text", "  text", " WARNING  text", " ERROR  text")
    ]


def test_programs_get_one_object_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "QUEUE_RECORDS", 3)
    stream = Stuck()
    stop = logs.start("info", stream, "json")
    logger = logging.getLogger("server.sessions")
    logger.info("%s is on", "Zo\u00eb\n\x1b\ud800")
    assert stream.entered.wait(patience(5))
    try:
        raise ValueError("reason")
    except ValueError:
        logger.exception("failed")
    for _ in range(4):
        logger.info("more")
    stream.go.set()
    stop()
    first, failed, *more, dropped = map(json.loads, stream.getvalue().splitlines())
    assert stream.getvalue().isascii()
    assert datetime.fromisoformat(first["time"]).tzinfo is not None
    assert (first["level"], first["logger"]) == ("info", "server.sessions")
    assert first["text"] == "Zo\u00eb\n\x1b\ud800 is on"
    assert first["thread"] == threading.current_thread().name
    assert failed["traceback"].endswith("ValueError: reason")
    assert len(more) == 2
    assert (dropped["level"], dropped["text"]) == ("warning", "2 events were not logged")


def test_a_room_is_called_by_its_name_and_by_an_id_that_is_another() -> None:
    assert logs.room_words("lobby", "lobby") == "lobby"
    assert logs.room_words("p-1x", "Ma\x1bths") == "'Ma\\x1bths' (p-1x)"


def test_foreign_text_forges_no_line() -> None:
    stream = io.StringIO()
    stop = logs.start("info", stream)
    logging.getLogger("a").info(
        "got %s", "x\n2026-01-01 00:00:00 INFO root  forged\u2028\x85\x1b[2J\ud800"
    )
    stop()
    assert len(stream.getvalue().splitlines()) == 1
    assert (
        "got x\\x0a2026-01-01 00:00:00 INFO root  forged\\u2028\\x85\\x1b[2J\\ud800\n"
        in stream.getvalue()
    )


def test_a_traceback_is_indented_and_escaped() -> None:
    stream = io.StringIO()
    stop = logs.start("info", stream)
    try:
        raise ValueError("x\n2026-01-01 00:00:00 INFO root  forged\x1b")
    except ValueError:
        logging.getLogger("a").exception("failed", stack_info=True)
    stop()
    first, *rest = stream.getvalue().splitlines()
    assert LINE.fullmatch(first)
    assert rest
    assert all(line.startswith("    ") for line in rest)
    assert "\x1b" not in stream.getvalue()


def test_a_stuck_stream_blocks_neither_the_caller_nor_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "QUEUE_RECORDS", 10)
    monkeypatch.setattr(logs, "STOP_SECONDS", 0.1)
    stream = Stuck()
    stop = logs.start("info", stream)
    logger = logging.getLogger("a")
    logger.info("first")
    assert stream.entered.wait(patience(5))
    began = time.monotonic()
    for number in range(50):
        logger.info("number %d", number)
    stop()
    assert time.monotonic() - began < patience(5)
    stream.go.set()
    for thread in threading.enumerate():
        if thread.name == "log-writer":
            thread.join(patience(5))
    assert "number 9\n" in stream.getvalue()
    assert "number 10\n" not in stream.getvalue()
    assert " WARNING  40 events were not logged" in stream.getvalue()


def test_a_flood_of_one_kind_is_cut_and_counted_and_hides_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(time, "time_ns", lambda: int(now[0] * 1e9))
    stream = io.StringIO()
    stop = logs.start("info", stream)
    flood = logging.getLogger("flood")
    for number in range(logs.BURST_LINES + 500):
        flood.warning("refused %d", number)
    flood.info("something else")
    now[0] += 10.0
    for number in range(300):
        flood.warning("refused %d", number)
    stop()
    lines = stream.getvalue().splitlines()
    refused = sum("refused" in line for line in lines)
    assert refused == logs.BURST_LINES + 10 * logs.LINES_PER_SECOND
    assert any("something else" in line for line in lines)
    lost = sum(int(line.split()[3]) for line in lines if "events were not logged" in line)
    assert lost == 500 + 300 - 10 * logs.LINES_PER_SECOND


def test_a_record_that_cannot_be_formatted_ends_nobody() -> None:
    stream = io.StringIO()
    stop = logs.start("info", stream)
    logging.getLogger("a").info("%d", "no number")
    logging.getLogger("a").info("%s", Unprintable())
    stop()
    assert "2 events were not logged" in stream.getvalue()


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_a_closed_or_missing_stderr_ends_nobody(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None
) -> None:
    if stream is not None:
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    stop = logs.start("info")
    logging.getLogger("a").info("into nothing")
    stop()
    stop()
    logging.getLogger("a").error("after the end")


def test_a_stream_with_a_descriptor_gets_its_own_encoding(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w", encoding="cp1252") as stream:
        stop = logs.start("info", stream)
        logging.getLogger("a").info("Ü 😀")
        stop()
    assert (tmp_path / "log").read_bytes().endswith(b"  \xdc \\U0001f600\n")


def test_a_console_of_windows_is_written_as_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with open(tmp_path / "log", "w", encoding="utf-8") as stream:
        assert logs._descriptor(stream) == stream.fileno()
        monkeypatch.setattr(os, "name", "nt")
        assert logs._descriptor(stream) == stream.fileno()
        monkeypatch.setattr(stream, "isatty", lambda: True)
        found = logs._descriptor(stream)
        monkeypatch.undo()
    assert found is None


@pytest.mark.skipif(
    os.name == "nt", reason="a pipe's reading end is kept open by the parent only on POSIX"
)
def test_a_full_pipe_that_nobody_reads_does_not_keep_the_process_from_ending_well() -> None:
    program = (
        "import logging; from server.base import logs; stop = logs.start('info')\n"
        "for number in range(30_000): logging.getLogger('a').info('%0100d', number)\n"
        "stop()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE)
    try:
        assert child.wait(patience(20)) == 0
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ada", "ada"),
        ("", ""),
        ("Ünï 日本 😀", "Ünï 日本 😀"),
        ("a\r\nb\tc\x00\x7f", "a\\x0d\\x0ab\\x09c\\x00\\x7f"),
        ("\x9b2J\x85", "\\x9b2J\\x85"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\u202e\u2066\u200f\u061c", "\\u202e\\u2066\\u200f\\u061c"),
        ("a\u200bb\u200db\ufeff\u2060\u00ad", "a\\u200bb\\u200db\\ufeff\\u2060\\xad"),
        ("\ud800\udfff", "\\ud800\\udfff"),
        ("\U000e0041", "\\U000e0041"),
        (12, "12"),
        (b"\x00", "b'\\x00'"),
    ],
)
def test_what_would_steer_a_terminal_is_escaped(text: object, shown: str) -> None:
    assert printable(text) == shown


def test_every_control_and_format_character_is_escaped() -> None:
    import unicodedata

    for code in range(0x110000):
        if unicodedata.category(chr(code)) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(
            chr(code)
        ) in (
            "RLO",
            "LRO",
            "RLE",
            "LRE",
            "PDF",
            "RLI",
            "LRI",
            "FSI",
            "PDI",
            "BN",
        ):
            assert printable(chr(code)) != chr(code) or unicodedata.category(chr(code)) == "Cn", (
                hex(code)
            )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x" * 8, "x" * 8),
        ("x" * 9, "xxxxxxx…"),
        ("xxxx\n", "xxxx\\x0a"),
        ("xxxxx\n", "xxxxx…"),
        ("\n\n\n", "\\x0a…"),
        ("\n" * 10**6, "\\x0a…"),
    ],
)
def test_text_is_cut_between_escapes(text: str, shown: str) -> None:
    assert printable(text, 8) == shown
    assert len(printable(text, 8)) <= 8
