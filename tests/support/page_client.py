"""A browser's side of a page, over a raw socket: whatever headers a test wants, and no others."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass, field
from typing import Any, final
from urllib.parse import urlsplit

from support.patience import patience

Headers = dict[str, str]


@dataclass(frozen=True)
class Answer:
    """An answer of HTTP, whole."""

    status: int
    headers: Headers
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@final
@dataclass
class PageClient:
    """Asks one page. Each `ask` is a connection of its own unless `sock` is given."""

    link: str
    cookie: str = ""
    token: str = field(init=False)
    port: int = field(init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.link)
        assert parts.port is not None
        self.token, self.port = parts.fragment, parts.port

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), patience(10))

    def headers(self, **changes: str | None) -> Headers:
        """The headers of the page's own script; None leaves one out, `_` stands for `-`."""
        usual: dict[str, str | None] = {
            "Host": self.host,
            "Origin": f"http://{self.host}",
            "Content-Type": "application/json",
            "X-Page-Token": self.token,
            "Cookie": self.cookie or None,
        }
        usual.update({key.replace("_", "-"): value for key, value in changes.items()})
        return {key: value for key, value in usual.items() if value is not None}

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        sock: socket.socket | None = None,
        **changes: str | None,
    ) -> Answer:
        """Send a request and return the answer."""
        headers = self.headers(**changes)
        if method == "POST":
            headers.setdefault("Content-Length", str(len(body)))
        lines = [f"{method} {path} HTTP/1.1", *(f"{key}: {each}" for key, each in headers.items())]
        request = "\r\n".join([*lines, "", ""]).encode() + body
        if sock is not None:
            sock.sendall(request)
            return read_answer(sock)
        with self.connect() as fresh:
            fresh.sendall(request)
            return read_answer(fresh)

    def raw(self, request: bytes) -> Answer:
        """Send bytes and return the answer."""
        with self.connect() as sock:
            sock.sendall(request)
            return read_answer(sock)

    def enter(self, **changes: str | None) -> Answer:
        """Exchange the token, and keep the cookie."""
        answer = self.ask("POST", "/enter", b"{}", **changes)
        if "set-cookie" in answer.headers:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return answer

    def act(self, name: str, value: Any = None, **changes: str | None) -> Answer:
        """Do an act."""
        return self.ask("POST", f"/act/{name}", json.dumps(value or {}).encode(), **changes)

    def watch(self, role: str = "control", after: str = "", buffer: int = 0) -> Watch:
        """Open the stream of events."""
        sock = socket.socket()
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.settimeout(patience(10))
        sock.connect(("127.0.0.1", self.port))
        headers = self.headers(Origin=None, X_Page_Token=None, Content_Type=None)
        lines = [f"{key}: {each}" for key, each in headers.items()]
        start = f"GET /events?as={role}&after={after} HTTP/1.1"
        sock.sendall("\r\n".join([start, *lines, "", ""]).encode())
        return Watch(sock)


@final
class Watch:
    """A stream of events, read when a test asks for it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._file = sock.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self.headers = _read_headers(self._file)
        self.last_id = ""
        self._waiting: list[dict[str, Any]] = []

    def next(self) -> dict[str, Any]:
        """Return the next event; EOFError where the stream has ended."""
        while not self._waiting:
            line = self._file.readline()
            if not line:
                raise EOFError
            if line.startswith(b"id: "):
                self.last_id = line[4:].strip().decode()
            if line.startswith(b"data: "):
                self._waiting = json.loads(line[6:])
        return self._waiting.pop(0)

    def close(self) -> None:
        self._file.close()
        self.sock.close()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _read_headers(file: Any) -> Headers:
    found: Headers = {}
    while (line := file.readline().strip()) != b"":
        key, _, value = line.decode().partition(":")
        found[key.strip().lower()] = value.strip()
    return found


def read_answer(sock: socket.socket) -> Answer:
    """Read one answer, and not a byte more. EOFError where there is none."""
    with sock.makefile("rb", buffering=0) as file:
        first = file.readline()
        if not first:
            raise EOFError
        headers = _read_headers(file)
        left, body = int(headers.get("content-length", "0")), b""
        while left > len(body):
            data = file.read(left - len(body))
            if not data:
                raise EOFError
            body += data
        return Answer(int(first.split()[1]), headers, body)
