"""The log: one line per event, written by a thread of its own, so that a stuck terminal never stops
the chat.

Owns the root logger's handler, the bounded queue behind it, and `printable`, which makes foreign
text safe to show. Never blocks a caller and never raises into one: where stderr is closed, or a
full pipe that nobody reads, records are dropped and counted. Never writes a password or a message's
text: callers don't hand them over.

Any thread may log and call `printable`. `start` and the function it returns belong to the main
thread.
"""

from __future__ import annotations

import io
import json
import logging
import os
import queue
import re
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, TextIO

QUEUE_RECORDS: Final = 10_000
BURST_LINES: Final = 1_000
LINES_PER_SECOND: Final = 20.0
"""Of one kind (one format string) this many lines are written each second, after a burst. Without a
bound, one program that connects in a loop wrote 800 MB of refusals an hour (measured)."""
STOP_SECONDS: Final = 1.0
BATCH_LINES: Final = 1_000
TIME_FORMAT: Final = "%Y-%m-%d %H:%M:%S"
MAX_LINE_CHARACTERS: Final = 4_000

# C0, DEL, C1 (a terminal obeys them); U+00AD soft hyphen, zero-width and invisible characters (hide
# a difference between two names); line and paragraph separators (forge a line); bidi marks,
# embeddings, overrides and isolates (reorder what is read); Hangul fillers, variation selectors,
# interlinear and tag characters; surrogates (no stream can write them).
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)


def printable(text: object, limit: int = 64) -> str:
    r"""Return `text` made safe for a log or a terminal: what would steer it is escaped as \xNN or
    \uNNNN, the rest unchanged.

    The result has at most `limit` characters; a final "…" shows that something was cut off.
    """
    words = text if isinstance(text, str) else str(text)
    shown = _UNSAFE.sub(_escape, words[: limit + 1])
    return shown if len(words) <= limit and len(shown) <= limit else _cut(words, limit)


def _cut(words: str, limit: int) -> str:
    """Return the longest beginning whose escapes are whole and leave room for the "…"."""
    parts: list[str] = []
    room = limit - 1
    for character in words[:limit]:
        part = _UNSAFE.sub(_escape, character)
        if len(part) > room:
            break
        parts.append(part)
        room -= len(part)
    return "".join(parts) + "…"


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )


def room_words(room_id: str, name: str) -> str:
    """Return how the log calls a room: by its name, and by its id where that is another."""
    shown = printable(room_id)
    return shown if name == room_id else f"'{printable(name)}' ({shown})"


class LineFormatter(logging.Formatter):
    """Formats a record for a person: `2026-11-23 12:00:00  text`, in local time, with WARNING or
    ERROR before the text where it is one. A traceback follows, indented."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s%(severity)s  %(message)s", TIME_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        record.asctime = self.formatTime(record, self.datefmt)
        record.severity = "" if record.levelno == logging.INFO else f" {record.levelname}"
        parts = [printable(self.formatMessage(record), MAX_LINE_CHARACTERS)]
        # Not record.exc_text, which another handler's formatter may have left there unescaped.
        if record.exc_info:
            parts.append(_indented(self.formatException(record.exc_info)))
        if record.stack_info:
            parts.append(_indented(self.formatStack(record.stack_info)))
        return "\n".join(parts)


class JsonFormatter(logging.Formatter):
    """Formats a record for a program: one object of JSON in ASCII a line, the time with its zone
    (RFC 3339)."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).astimezone()
        item = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "text": record.getMessage()[:MAX_LINE_CHARACTERS],
        }
        if record.exc_info:
            item["traceback"] = self.formatException(record.exc_info)
        return json.dumps(item)


FORMATTERS: Final[Mapping[str, Callable[[], logging.Formatter]]] = {
    "text": LineFormatter,
    "json": JsonFormatter,
}
"""By the words of `--log-format`."""


def _indented(block: str) -> str:
    # Indented, so that no line of a traceback can be taken for an event, whatever is in the
    # exception's text.
    return "\n".join("    " + printable(line, MAX_LINE_CHARACTERS) for line in block.split("\n"))


class _QueueHandler(logging.Handler):
    """Formats in the caller's thread (arguments may change later) and queues the line. When the
    queue is full, the line is dropped: no backpressure here."""

    def __init__(self) -> None:
        super().__init__()
        # A SimpleQueue's put() is re-entrant: a signal handler that logs can't meet a lock that its
        # own thread holds.
        self.lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._allowed: dict[str, tuple[float, float]] = {}
        """By format string: lines that may still be written, and when that was counted."""
        self._dropped = 0  # guarded by the handler's own lock, which logging holds around emit()

    def emit(self, record: logging.LogRecord) -> None:
        if self.lines.qsize() >= QUEUE_RECORDS or not self._is_allowed(record):
            self._dropped += 1
            return
        try:
            line = self.format(record)
        # A wrong format string or a failing __str__ must not end the caller's work.
        except Exception:
            self._dropped += 1
        else:
            self.lines.put(line)

    def _is_allowed(self, record: logging.LogRecord) -> bool:
        """Return whether there may be one more line of this kind now: a token bucket."""
        kind = str(record.msg)
        left, counted_at = self._allowed.get(kind, (float(BURST_LINES), record.created))
        earned = max(0.0, record.created - counted_at) * LINES_PER_SECOND
        left = min(float(BURST_LINES), left + earned)
        is_allowed = left >= 1.0
        self._allowed[kind] = (left - is_allowed, record.created)
        return is_allowed

    def take_dropped(self) -> int:
        """Return how many records were lost since this was last called."""
        self.acquire()
        try:
            count, self._dropped = self._dropped, 0
            return count
        finally:
            self.release()


def start(level: str, stream: TextIO | None = None, form: str = "text") -> Callable[[], None]:
    """Log from `level` ("debug", "info", …) up to `stream` (None: stderr), in a form of
    `FORMATTERS`, until the returned function is called.

    That function writes what waits, for at most 1 s, and may be called twice. What is logged after
    it goes nowhere: never to logging's last resort, which writes to stderr in the caller's thread
    and may block there.
    """
    handler = _QueueHandler()
    handler.setFormatter(FORMATTERS[form]())
    logging.raiseExceptions = False
    logging.lastResort = None
    root = logging.getLogger()
    level_before = root.level
    root.setLevel(level.upper())
    root.addHandler(handler)
    # A daemon: one that is stuck in a write for ever must not keep the process from ending.
    target = sys.stderr if stream is None else stream
    writer = threading.Thread(
        target=_write_lines, args=(handler, target), name="log-writer", daemon=True
    )
    writer.start()

    def stop() -> None:
        root.removeHandler(handler)
        root.setLevel(level_before)
        handler.lines.put(None)
        writer.join(STOP_SECONDS)

    return stop


_DROPPED: Final = "%d events were not logged"


def _write_lines(handler: _QueueHandler, stream: TextIO | None) -> None:
    """Write the queued lines, all that wait in one write, until None comes. The `log-writer` thread
    runs this."""
    batch: list[str | None] = []
    while None not in batch:
        batch = [handler.lines.get()]
        while len(batch) < BATCH_LINES and batch[-1] is not None and not handler.lines.empty():
            batch.append(handler.lines.get())
        ready = [line for line in batch if line is not None]
        dropped = handler.take_dropped()
        if dropped:
            values = ("server.logs", logging.WARNING, __file__, 0, _DROPPED, (dropped,), None)
            ready.append(handler.format(logging.LogRecord(*values)))
        if ready and stream is not None:  # there is no stderr under pythonw.exe
            _write(stream, "".join(line + "\n" for line in ready))


def _write(stream: TextIO, text: str) -> None:
    encoded = text.encode(getattr(stream, "encoding", None) or "utf-8", "backslashreplace")
    try:
        descriptor = _descriptor(stream)
        if descriptor is None:
            stream.write(encoded.decode(getattr(stream, "encoding", None) or "utf-8"))
            stream.flush()
        while descriptor is not None and encoded:
            encoded = encoded[os.write(descriptor, encoded) :]
    # Closed, nobody at the other end of the pipe, or a defect, of which nobody could be told
    # but by this thread: the chat goes on without its log.
    except Exception:
        pass


def _descriptor(stream: TextIO) -> int | None:
    """Return the file to write to past the stream's own buffer, or None where only the stream will
    do.

    A thread that is stuck inside a buffered stream holds that stream's lock, and the interpreter,
    which flushes stderr at its end, aborts on it ("could not acquire lock ... at interpreter
    shutdown"). A console of Windows takes text only.
    """
    if os.name == "nt" and stream.isatty():
        return None
    try:
        return stream.fileno()
    except io.UnsupportedOperation:  # a stream in memory
        return None
