"""The relay's page in a browser: made, its links, and the key that gives a new one.

Owns how the relay uses `webpage/`, which may be missing: then all works but `--page`. Main thread.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import os
import sys
from pathlib import Path

from conformance.foreground import Misuse, refuse
from conformance.relay.acts import VIEWERS_MAY, Acts
from conformance.relay.story import Story
from conformance.relay.terminal import Terminal

try:
    import webpage
except ModuleNotFoundError:  # the kit's folder alone, as it is given to a class
    webpage = None  # type: ignore[assignment]


def refusal() -> type[Exception]:
    """Return what an act of the page is refused by."""
    return ValueError if webpage is None else webpage.ActRefused


def open_page(
    address: tuple[str, int] | None, story: Story, acts: Acts, stack: contextlib.ExitStack
) -> webpage.Page | None:
    """Show a story on a page, too, where that is asked for. Raises `Misuse`."""
    if address is None:
        return None
    if webpage is None:
        raise Misuse("--page needs the folder webpage/ beside conformance/: copy it, too")
    host, port = address
    assets = importlib.resources.files("conformance.relay") / "page"
    try:
        page = webpage.Page(
            host,
            port,
            assets,
            "Relay",
            acts.all,
            viewers_may=VIEWERS_MAY,
            state=acts.state,
            kept=kept_file(port),
        )
    except OSError as error:
        refuse(host, port, error, f"--page {port + 1 if port < 65535 else 8080}")
    story.add_listener(page.publish)
    page.start()
    stack.callback(page.close)
    return page


def links(page: webpage.Page | None) -> list[str]:
    """Return the lines that say where the page is."""
    if page is None:
        return []
    return [
        f"Page:     {page.link}    (for one browser: it steers; l and Enter here: a new link)",
        f"The wall: {page.wall_link}    (looks on only)",
    ]


def obey_keys(page: webpage.Page | None, terminal: Terminal) -> None:
    """Give a new link each time that somebody types l and Enter."""
    if page is not None:
        webpage.new_links(page, terminal.say)


def kept_file(port: int) -> Path | None:
    """Return the file by which a page at this port goes on after a restart; None for port 0, which
    is another one each time."""
    if not port:
        return None
    if sys.platform == "win32":
        folder = os.environ.get("LOCALAPPDATA")
    else:
        folder = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(folder, "classroom-chat", f"page-{port}.json") if folder else None
