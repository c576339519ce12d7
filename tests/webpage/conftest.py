"""One page for the tests of a module, and those who look at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from webpage import ActRefused, Page

INDEX = b"<!doctype html><title>A page</title>"


def double(asked: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(asked.get("n"), int):
        raise ActRefused("n must be a whole number, as 21")
    return {"twice": 2 * asked["n"]}


def make_folder(top: Path) -> Path:
    """Make assets, and files beside them that must never be served."""
    folder = top / "assets"
    folder.mkdir()
    (folder / "index.html").write_bytes(INDEX)
    (folder / "own.js").write_bytes(b"export {};")
    (folder / "secret.txt").write_bytes(b"not served")
    (folder / "inner").mkdir()
    (folder / "inner" / "deep.js").write_bytes(b"not served")
    (top / "above.js").write_bytes(b"not served")
    return folder


def start_page(folder: Path, **options: Any) -> Page:
    """Start a page with two acts: `double`, which viewers may call too, and `wipe`."""
    acts = {"double": double, "wipe": lambda asked: {"wiped": True}}
    options.setdefault("state", lambda: {"rooms": 3})
    more = {"viewers_may": {"double"}, "programs": {"tell": double}, **options}
    page = Page("127.0.0.1", 0, folder, "Test", acts, **more)
    page.start()
    return page


@pytest.fixture
def make_page(tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Starts pages of a test's own."""
    pages: list[Page] = []
    folder = make_folder(tmp_path)

    def make(**options: Any) -> Page:
        pages.append(start_page(folder, **options))
        return pages[-1]

    yield make
    for page in pages:
        page.close()


@pytest.fixture(scope="module")
def shared_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    page = start_page(make_folder(tmp_path_factory.mktemp("page")))
    yield page
    page.close()


@pytest.fixture
def page(shared_page: Page) -> Page:
    """The page of the module, with a link that nobody has used."""
    shared_page.renew_link()
    return shared_page
