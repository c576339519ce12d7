"""Take pictures of the relay's page while Ada and Bob talk: `relay-*.png` beside this file.

    python docs/demo/relay_page.py [FOLDER]

Runs the real programs: a server, a relay with its page, two clients, and a browser that this
machine has (Chromium, Chrome or Edge; `CHAT_BROWSER` names another). Every second confirmation to
the server is dropped on the page, as README says. Uses the standard library alone.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
sys.path[:0] = [str(ROOT / "tests")]

from support.browser import Browser, Tab, program  # noqa: E402  (it stands in tests/)

LIVE: Final = "document.getElementById('state').textContent === 'live'"
SHOWN: Final = (("relay", "9875"), ("server", "9876"))
"""What the ports of this run are shown as."""


class Programs:
    """The programs of the demonstration; all end with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[str]] = []

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start one of our programs, with pipes to type into and to read from."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("CHAT_")}
        home = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "LOCALAPPDATA"), str(self._folder))
        process = subprocess.Popen(
            [sys.executable, "-u", *words],
            cwd=ROOT,
            env={**kept, **home, "CHAT_PASSWORD_COST": "4", "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        self._running.append(process)
        return process

    def wait_for(self, process: subprocess.Popen[str], pattern: str) -> str:
        """Read what a program prints until a line fits; return its first group."""
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(pattern, line):
                return found[1]
        raise SystemExit(f"a program ended before it printed {pattern}")

    def end(self) -> None:
        """End all, the last first."""
        for process in reversed(self._running):
            process.terminate()
            process.communicate()


def say(client: subprocess.Popen[str], *lines: str) -> None:
    """Type lines into a client."""
    assert client.stdin is not None
    client.stdin.write("".join(f"{line}\n" for line in lines))
    client.stdin.flush()


def rows_with(tab: Tab, text: str, count: int) -> None:
    """Wait until so many rows of the diagram hold a text."""
    tab.wait(
        "Array.from(document.querySelectorAll('.row')).filter((row) =>"
        f" row.textContent.includes('{text}')).length >= {count}",
        30,
    )


def show_usual_ports(tab: Tab, ports: Sequence[str]) -> None:
    """Show the ports of README in the place of those of this run."""
    for port, (_, usual) in zip(ports, SHOWN, strict=True):
        tab.js(
            "document.getElementById('target').textContent ="
            f" document.getElementById('target').textContent.replace('{port}', '{usual}')"
        )


def talk(tab: Tab, start: Callable[[], subprocess.Popen[str]]) -> None:
    """Start two clients, and let them talk while every second confirmation is dropped."""
    ada = start()
    say(ada, "register", "ada", "a-long-secret")
    tab.wait("document.querySelector('.heads').textContent === 'adaserver'")
    say(start(), "register", "bob", "a-long-secret")
    tab.wait("document.querySelector('.heads').textContent === 'adaserverbob'")
    tab.press("f")
    for field, text in (("fault-action", "confirm_count"), ("fault-every", "2")):
        tab.click(f"#{field}")
        tab.type(text)
    tab.js("document.getElementById('fault-to').value = 'server'")
    tab.click("#fault-add")
    tab.wait("!document.getElementById('faults-banner').hidden")
    tab.press("Escape")
    say(ada, "Is anybody there?")
    rows_with(tab, "confirm_count", 2)
    say(ada, "The tide comes in.")
    rows_with(tab, "stored once", 1)
    rows_with(tab, "lobby · ada: The tide comes in.", 1)
    tab.wait("!document.querySelector('#said').textContent")


def pictures(tab: Tab, folder: Path) -> None:
    """Take the pictures: light, dark, one packet opened, and the projector."""
    tab.js("document.activeElement.blur()")
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    tab.picture(folder / "relay-light.png")
    tab.prefer("dark")
    tab.picture(folder / "relay-dark.png")
    tab.prefer("light")
    tab.js("document.querySelector('.row.lost .label').click()")
    tab.wait("!document.getElementById('details').hidden")
    tab.picture(folder / "relay-packet.png")
    tab.resize(1920, 1080)
    tab.press("Escape", "p")
    tab.js("document.getElementById('newest').click()")
    tab.wait("document.getElementById('newest').hidden")
    tab.js("document.activeElement.blur()")
    tab.picture(folder / "relay-projector.png")


def main(words: list[str]) -> int:
    """Take the pictures into the folder that is named, or beside this file."""
    if program() is None:
        print("relay_page.py: no browser is installed; the pictures stay as they are")
        return 0
    target = Path(words[0]) if words else HERE
    with tempfile.TemporaryDirectory() as data:
        programs = Programs(Path(data))
        browser = Browser()
        try:
            server = programs.start(
                "chat_server.py", "--host", "127.0.0.1", "--port", "0", "--data", f"{data}/chat"
            )
            port = programs.wait_for(server, r"listening on 127\.0\.0\.1:(\d+)")
            to_server = f"127.0.0.1:{port}"
            relay = programs.start("-m", "conformance", "relay", "0", to_server, "--page", "0")
            relayed = programs.wait_for(relay, r"relay on 127\.0\.0\.1:(\d+)")
            tab = browser.tab(programs.wait_for(relay, r"(http://\S+)"), 1280, 720)
            tab.prefer("light")  # whatever this machine prefers
            tab.wait(LIVE)
            talk(tab, lambda: programs.start("chat_client.py", f"127.0.0.1:{relayed}"))
            show_usual_ports(tab, (relayed, port))
            pictures(tab, target)
        finally:
            browser.close()
            programs.end()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
