"""A real browser, driven by its own DevTools protocol over a WebSocket that this module speaks.

Chromium (or Chrome, or Edge) headless, with a profile of its own, thrown away. `CHAT_BROWSER`
names another program. One thread uses a `Browser` and its tabs.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final, final
from urllib.parse import urlsplit

from support.patience import patience

NAMES: Final = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
)
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--mute-audio",
    "--remote-debugging-port=0",
)
LOOK_SECONDS: Final = 0.05
KEYS: Final = {
    " ": ("Space", 32),
    "Enter": ("Enter", 13),
    "Tab": ("Tab", 9),
    "Escape": ("Escape", 27),
}


def program() -> str | None:
    """Return the path of a browser on this machine, None where there is none."""
    given = os.environ.get("CHAT_BROWSER")
    return given or next(filter(None, map(shutil.which, NAMES)), None)


@final
class WebSocket:
    """The client's side of RFC 6455, as far as DevTools needs it: text, and no fragments sent."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None and parts.port is not None
        self._socket = socket.create_connection((parts.hostname, parts.port), patience(20))
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._file = self._socket.makefile("rb")
        assert b" 101 " in self._file.readline()
        while self._file.readline() != b"\r\n":
            pass

    def send(self, text: str) -> None:
        """Send one text."""
        data = text.encode("utf-8")
        mask = os.urandom(4)
        size = len(data)
        if size < 126:
            head = struct.pack("!BB", 0x81, 0x80 | size)
        elif size < 65536:
            head = struct.pack("!BBH", 0x81, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", 0x81, 0x80 | 127, size)
        whole = (mask * (size // 4 + 1))[:size]
        masked = (int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")).to_bytes(size, "big")
        self._socket.sendall(head + mask + masked)

    def receive(self, seconds: float) -> str:
        """Wait for the next text. TimeoutError after so long."""
        self._socket.settimeout(seconds)
        text = b""
        while True:
            first, second = self._file.read(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", self._file.read(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", self._file.read(8))
            data = self._file.read(size)
            kind = first & 0x0F
            assert kind != 8, "the browser closed the connection"
            if kind in (0, 1):
                text += data
                if first & 0x80:
                    return text.decode("utf-8")

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()


@final
class Browser:
    """One browser process; `close` ends it and removes its profile."""

    def __init__(self) -> None:
        found = program()
        assert found is not None
        self._profile = Path(tempfile.mkdtemp(prefix="chat-browser-"))
        self._process = subprocess.Popen(
            [found, *FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=os.name == "posix",
        )
        self._numbers = 0
        self.events: list[dict[str, Any]] = []
        try:
            self._socket = WebSocket(self._address())
        except BaseException:
            self._end()
            raise

    def _address(self) -> str:
        """Wait until the browser has written at which port and path it speaks."""
        file = self._profile / "DevToolsActivePort"
        deadline = time.monotonic() + patience(30)
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError):
                port, path = file.read_text("ascii").split()
                return f"ws://127.0.0.1:{port}{path}"
            assert self._process.poll() is None, "the browser ended at once"
            time.sleep(LOOK_SECONDS)
        raise AssertionError("the browser never said where it listens")

    def call(self, method: str, session: str = "", **values: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._numbers += 1
        call: dict[str, Any] = {"id": self._numbers, "method": method, "params": values}
        if session:
            call["sessionId"] = session
        self._socket.send(json.dumps(call))
        deadline = time.monotonic() + patience(30)
        while True:
            message = json.loads(self._socket.receive(max(0.01, deadline - time.monotonic())))
            if message.get("id") == self._numbers:
                assert "error" not in message, (method, message)
                result = message["result"]
                assert isinstance(result, dict)
                return result
            self.events.append(message)
            del self.events[:-500]

    def tab(self, url: str = "about:blank", width: int = 1280, height: int = 800) -> Tab:
        """Open a tab, in a profile of its own: no cookie is shared with other tabs."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        return self.tab_in(context, url, width, height)

    def tab_in(self, context: str, url: str, width: int = 1280, height: int = 800) -> Tab:
        """Open a tab beside others of the same profile."""
        made = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = self.call("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        tab = Tab(self, made["targetId"], attached["sessionId"], context)
        for domain in ("Page", "Runtime", "Log"):
            tab.call(f"{domain}.enable")
        tab.resize(width, height)
        if url != "about:blank":
            tab.go(url)
        return tab

    def close(self) -> None:
        """End the browser."""
        with contextlib.suppress(OSError, AssertionError):
            self.call("Browser.close")
        self._socket.close()
        self._end()

    def _end(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience(5))
        self._process.kill()
        self._process.wait()
        for _ in range(20):  # its helpers may still write for a moment
            shutil.rmtree(self._profile, ignore_errors=True)
            if not self._profile.exists():
                return
            time.sleep(0.1)


@final
class Tab:
    """One page in the browser."""

    def __init__(self, browser: Browser, target: str, session: str, context: str) -> None:
        self.browser, self.target, self.session, self.context = browser, target, session, context

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        """Call a method of the protocol for this tab."""
        return self.browser.call(method, self.session, **values)

    def go(self, url: str) -> None:
        """Load an address."""
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def js(self, expression: str) -> Any:
        """Return the value of an expression, awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = 10.0) -> None:
        """Wait until an expression is true (an element is)."""
        deadline = time.monotonic() + patience(seconds)
        while True:
            with contextlib.suppress(AssertionError):  # while a page is being loaded
                if self.js(f"Boolean({expression})"):
                    return
            if time.monotonic() > deadline:
                shown = self.js("document.body.innerText.slice(0, 1500)")
                raise AssertionError(f"never true: {expression}\n{shown}\n{self.troubles()}")
            time.sleep(LOOK_SECONDS)

    def text(self, selector: str) -> str:
        """Return the text of the first element that fits."""
        return str(self.js(f"document.querySelector({json.dumps(selector)}).textContent"))

    def click(self, selector: str) -> None:
        """Click into the middle of the first element that fits, as a mouse does."""
        box = self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'nearest'}); const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        self.click_at(*box)

    def click_at(self, x: float, y: float) -> None:
        """Click at a place of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, *keys: str) -> None:
        """Press keys, by the names of `KeyboardEvent.key`."""
        for key in keys:
            code, number = KEYS.get(key, (key, 0))
            about: dict[str, Any] = {"key": key, "code": code, "windowsVirtualKeyCode": number}
            text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
            if text:
                about["text"] = text
            self.call("Input.dispatchKeyEvent", type="keyDown", **about)
            self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def type(self, text: str) -> None:
        """Put a text where the focus is."""
        self.call("Input.insertText", text=text)

    def resize(self, width: int, height: int) -> None:
        """Give the window a size."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, scheme: str) -> None:
        """Let the system prefer "light" or "dark"."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def picture(self, file: Path) -> None:
        """Write a picture of the window as PNG."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        file.write_bytes(base64.b64decode(data))

    def troubles(self) -> list[str]:
        """Return what the page has complained of: exceptions, and what its policy forbade."""
        found = []
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            if event["method"] == "Runtime.exceptionThrown":
                details = event["params"]["exceptionDetails"]
                found.append(str(details.get("exception", details).get("description", details)))
            elif (
                event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error"
            ):
                entry = event["params"]["entry"]
                found.append(f"{entry['text']} {entry.get('url', '')}")
        return found

    def close(self) -> None:
        """Close the tab and its profile."""
        self.browser.call("Target.disposeBrowserContext", browserContextId=self.context)
