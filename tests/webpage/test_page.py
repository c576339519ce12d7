"""A page over raw sockets: what its program tells arrives, and acts are answered."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.patience import patience

from webpage import ActRefused, Page


def double(asked: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(asked.get("n"), int):
        raise ActRefused("n is no number")
    return {"twice": 2 * asked["n"]}


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    (tmp_path / "index.html").write_text("<!doctype html><title>test</title>", "utf-8")
    page = Page("127.0.0.1", 0, tmp_path, "Test", {"double": double, "wipe": dict})
    page.start()
    yield page
    page.close()


def test_it_serves_its_files(page: Page) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=patience(10))
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert answer.status == 200 and b"test" in answer.read()
    connection.close()


def test_an_act_is_answered(page: Page) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=patience(10))
    headers = {
        "Origin": f"http://127.0.0.1:{page.port}",
        "X-Page-Token": page.link.partition("#")[2],
        "Content-Type": "application/json",
    }
    connection.request("POST", "/enter", "{}", headers)
    answer = connection.getresponse()
    assert answer.status == 200 and json.loads(answer.read())["role"] == "control"
    cookie = str(answer.getheader("Set-Cookie")).partition(";")[0]
    connection.request("POST", "/act/double", '{"n": 21}', {**headers, "Cookie": cookie})
    assert json.loads(connection.getresponse().read()) == {"twice": 42}
    connection.close()
