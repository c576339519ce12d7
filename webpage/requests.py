"""What a browser asks for: assets, the stream of events, entering, and acts.

Owns one connection of a browser, in a thread of its own ("page-N"), and answers its requests in
turn. From the beginning of its wait to its last byte a request has 20 s. A body is read only after
its header was found to be allowed. An answer holds nothing of the request.
"""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import socket
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, final
from urllib.parse import parse_qs

from webpage.assets import Asset
from webpage.gate import CONTROL, Gate, check_source
from webpage.pace import Pace
from webpage.refusals import ActRefused, Refused
from webpage.ring import Ring

Act = Callable[[dict[str, Any]], Mapping[str, Any]]

PROGRAM: Final = "/program/"
REQUEST_SECONDS: Final = 20.0
SLICE_SECONDS: Final = 0.5
"""So often a thread that waits for its browser looks whether the page was closed: on Windows
`shutdown` of a socket does not wake who waits at it."""
MAX_BODY_BYTES: Final = 64 * 1024
SEND_SECONDS: Final = 10.0
"""A browser that takes nothing for so long is dropped."""
QUIET_SECONDS: Final = 2.0
"""So long after the last event a stream says that it is there, and looks whether its viewer is."""
PACE_SECONDS: Final = 0.05
"""So often events go to a viewer at most: what comes meanwhile goes together."""
SEND_BUFFER_BYTES: Final = 256 * 1024
WRONG_CODE_SECONDS: Final = 0.5
"""So long a program with a wrong code waits for its answer: from one address 64 tries a second."""
READ_ON_BYTES: Final = 256 * 1024
READ_ON_SECONDS: Final = 1.0
"""So much of a refused body is read and thrown away, so that the answer arrives."""

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""In every answer. The policy allows the page's own files only, and no markup made by scripts."""


@dataclass(frozen=True)
class Content:
    """All that requests are answered from."""

    title: str
    run: str
    assets: Mapping[str, Asset]
    ring: Ring
    gate: Gate
    acts: Mapping[str, Act]
    viewers_may: Collection[str]
    state: Callable[[], Mapping[str, Any]]
    hosts: Callable[[str], Collection[str]]
    """By our address of a connection: which values of `Host` lead here."""
    programs: Mapping[str, Act]
    pace: Pace
    place_for_a_viewer: Callable[[], contextlib.AbstractContextManager[None]]
    is_open: Callable[[socket.socket], bool]
    """Whether a connection goes on: False when the page is closed."""


class _Incoming(io.RawIOBase):
    """The bytes of a connection, until a deadline that does not move when some come."""

    def __init__(self, connection: socket.socket, is_open: Callable[[socket.socket], bool]) -> None:
        self._connection, self._is_open = connection, is_open
        self.deadline = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while (left := self.deadline - time.monotonic()) > 0:
            if not self._is_open(self._connection):
                raise ConnectionAbortedError("the page was closed")
            self._connection.settimeout(min(left, SLICE_SECONDS))
            with contextlib.suppress(TimeoutError):
                return self._connection.recv_into(buffer)
        raise TimeoutError("the request took too long")


@final
class Request(http.server.BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # never 0.9, whose answers have no headers
    disable_nagle_algorithm = True
    server_version = "webpage"
    sys_version = ""

    def __init__(self, content: Content, *connection: Any) -> None:
        self._content = content
        super().__init__(*connection)  # answers all its requests

    def setup(self) -> None:
        """Take the connection."""
        super().setup()
        self.rfile.close()
        self._incoming = _Incoming(self.connection, self._content.is_open)
        self.rfile = io.BufferedReader(self._incoming)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)

    def handle_one_request(self) -> None:
        """Answer one request; a browser that is gone or too slow ends the connection."""
        self._incoming.deadline = time.monotonic() + REQUEST_SECONDS
        try:
            super().handle_one_request()
        except (OSError, ValueError):  # ValueError: written to after the other side was closed
            self.close_connection = True

    def do_GET(self) -> None:
        """Answer with a file, or with the stream of events."""
        try:
            self._check(must_tell_origin=False)
            path, _, query = self.path.partition("?")
            if path == "/events":
                asked = parse_qs(query)
                self._stream(asked.get("as", [""])[0], asked.get("after", [""])[0])
                return
            asset = self._content.assets.get(path)
            if asset is None:
                raise Refused(404, "There is nothing at this address.")
            self._answer(200, asset.data, asset.content_type)
        except Refused as refused:
            self._refuse(refused)

    def do_POST(self) -> None:
        """Exchange a token, or do an act."""
        try:
            if self.path.startswith(PROGRAM):
                self._program(self.path.removeprefix(PROGRAM))
                return
            self._check(must_tell_origin=True)
            if self.path == "/enter":
                self._body()
                given, cookie = self._content.gate.enter(self.headers)
                about = {"role": given.role, "token": given.token, "title": self._content.title}
                self._answer_json(about, cookie)
                return
            self._act(self.path)
        except Refused as refused:
            self._refuse(refused)

    def _check(self, *, must_tell_origin: bool) -> None:
        if not self._content.gate.has_control(self.headers):
            self._content.pace.wait()
        if len(self.headers.get_all("Host") or []) != 1:
            raise Refused(400, "A request names one Host.")
        local = self.connection.getsockname()
        hosts = self._content.hosts(str(local[0]))
        check_source(self.headers, hosts, must_tell_origin=must_tell_origin)

    # --- Acts -------------------------------------------------------------------------------------

    def _act(self, path: str) -> None:
        role = self._content.gate.actor(self.headers)
        name = path.removeprefix("/act/")
        act = self._content.acts.get(name) if path.startswith("/act/") else None
        if act is None:
            raise Refused(404, "There is no such act.")
        if role != CONTROL and name not in self._content.viewers_may:
            raise Refused(403, "This link is for looking on: it can't change anything.")
        self._do(act)

    def _program(self, name: str) -> None:
        """Do an act of a program that knows the code."""
        self._content.pace.wait()
        try:
            self._content.gate.check_program(self.headers)
        except Refused:
            self._content.ring.wait_until_closed(WRONG_CODE_SECONDS)
            raise
        act = self._content.programs.get(name)
        if act is None:
            raise Refused(404, "There is no such act.")
        self._do(act)

    def _do(self, act: Act) -> None:
        asked = _object_of(self._body())
        try:
            self._answer_json(act(asked))
        except ActRefused as refusal:
            raise Refused(409, str(refusal)) from None

    def _body(self) -> bytes:
        """Read the body; Refused by its header where it is too large, or can't be told."""
        lengths = self.headers.get_all("Content-Length") or []
        if "Transfer-Encoding" in self.headers or len(lengths) != 1:
            raise Refused(411, "A body needs one Content-Length.")
        if not (lengths[0].isascii() and lengths[0].isdecimal() and len(lengths[0]) < 20):
            raise Refused(400, "Content-Length is no number.")
        length = int(lengths[0])
        if length > MAX_BODY_BYTES:
            raise Refused(413, f"A body has at most {MAX_BODY_BYTES:,} bytes.")
        if self.headers.get_content_type() != "application/json":
            raise Refused(415, "A body is application/json.")
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionError("the body is not whole")
        return body

    def handle_expect_100(self) -> bool:
        """Never ask for a body before its header was looked at; a client sends it anyway."""
        return True

    # --- Events -----------------------------------------------------------------------------------

    def _stream(self, role: str, after: str) -> None:
        """Send the events after the id `after` ("": all that are kept), and those that come.

        Returns when the page is closed; OSError where the viewer leaves or takes nothing any more.
        """
        content = self._content
        content.gate.check_viewer(self.headers, role)
        with content.place_for_a_viewer():
            self.close_connection = True
            self.send_response(200)
            self._send_headers("text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.connection.settimeout(SEND_SECONDS)
            number = self._number_of(after)
            hello = {"kind": "hello", "run": content.run, "title": content.title, "role": role}
            self._send_events(number, [_json({**hello, "state": dict(content.state())})])
            while not (content.ring.is_closed or self._has_left()):
                batch = content.ring.after(number, QUIET_SECONDS)
                number = batch.last
                events = list(batch.events)
                if batch.lost:
                    events.insert(0, _json({"kind": "gap", "lost": batch.lost}))
                self._send_events(number, events)
                content.ring.wait_until_closed(PACE_SECONDS)

    def _has_left(self) -> bool:
        """Return whether the viewer has closed its side (or sends what nobody asked for)."""
        self.connection.settimeout(0)
        try:
            self.connection.recv(1)
        except BlockingIOError:
            return False
        finally:
            self.connection.settimeout(SEND_SECONDS)
        return True

    def _number_of(self, after: str) -> int:
        """Return the number in an id of this run; 0 for others."""
        run, _, number = after.rpartition("-")
        is_number = number.isascii() and number.isdecimal() and len(number) < 20
        if run != self._content.run or not is_number:
            return 0
        return min(int(number), self._content.ring.last)

    def _send_events(self, number: int, events: list[bytes]) -> None:
        """Send events as one message; where there are none, a line that says we are here."""
        data = b": still here\n\n"
        if events:
            head = f"id: {self._content.run}-{number}\ndata: [".encode("ascii")
            data = head + b",".join(events) + b"]\n\n"
        self.connection.sendall(data)

    # --- Answers ----------------------------------------------------------------------------------

    def _answer_json(self, value: Mapping[str, Any], cookie: str = "") -> None:
        self._answer(200, _json(value), "application/json", cookie)

    def _refuse(self, refused: Refused) -> None:
        """Answer with a sentence, and end the connection: what follows may be a body."""
        self.close_connection = True
        self._answer(refused.status, _json({"error": str(refused)}), "application/json")
        self._read_on()

    def _answer(self, status: int, data: bytes, content_type: str, cookie: str = "") -> None:
        self.connection.settimeout(SEND_SECONDS)
        self.send_response(status)
        self._send_headers(content_type)
        self.send_header("Content-Length", str(len(data)))
        if cookie:
            self.send_header("Set-Cookie", cookie)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def _send_headers(self, content_type: str) -> None:
        self.send_header("Content-Type", content_type)
        for name, value in HEADERS.items():
            self.send_header(name, value)

    def _read_on(self) -> None:
        """Throw away what the browser still sends, for a moment: a reset would take our answer."""
        self._incoming.deadline = time.monotonic() + READ_ON_SECONDS
        left = READ_ON_BYTES
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while left > 0 and (data := self.rfile.read1(8192)):
                left -= len(data)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what http.server itself refuses in the same way, without a word of the request."""
        self._refuse(Refused(code, f"{HTTPStatus(code).phrase}."))

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: a flood of requests would be a flood of lines."""


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _object_of(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise Refused(400, "The body is no JSON.") from None
    if not isinstance(value, dict):
        raise Refused(400, "The body is no JSON object.")
    return value
