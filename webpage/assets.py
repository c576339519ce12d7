"""The files of a page, read once at the start. A request is looked up by its whole path.

So no path can lead out of the folder: what was not there at the start does not exist. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final, Protocol

TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""By ending: the content types of what is served; other files are left out."""


class Entry(Protocol):
    """A file or folder: a `pathlib.Path`, or one in a package, which may lie in a `.pyz`."""

    @property
    def name(self) -> str:
        """Its last name."""

    def iterdir(self) -> Iterator[Entry]:
        """Return what lies in the folder."""

    def is_file(self) -> bool:
        """Return whether it is a file."""

    def read_bytes(self) -> bytes:
        """Return the bytes of the file."""


@dataclass(frozen=True)
class Asset:
    """One file."""

    content_type: str
    data: bytes


def load(folder: Entry) -> Mapping[str, Asset]:
    """Return by path: the folder's files at `/`, this package's own at `/webpage/`.

    Raises FileNotFoundError for a folder without `index.html`.
    """
    shared = resources.files("webpage") / "assets"
    found = {f"/webpage/{name}": asset for name, asset in _files(shared)}
    found.update({f"/{name}": asset for name, asset in _files(folder)})
    if "/index.html" not in found:
        raise FileNotFoundError(f"no index.html in {folder}")
    return {**found, "/": found["/index.html"]}


def _files(folder: Entry) -> list[tuple[str, Asset]]:
    return [
        (entry.name, Asset(TYPES[ending], entry.read_bytes()))
        for entry in folder.iterdir()
        if (ending := entry.name.rpartition(".")[2]) in TYPES and entry.is_file()
    ]
