"""A hand-in that is this project's own server, or passes on to it, is told by its free choices, and
to the teacher alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.in_process import Services
from support.kit_parts import HOST, closes, peer, says_nothing
from support.proxy import Proxy
from support.reference_server import ReferenceServer

from conformance import free_choices
from conformance.__main__ import main
from conformance.free_choices import AFTER_LOGIN, BEFORE_LOGIN, Likeness
from conformance.hand_ins.grading import _likeness

ALL = len(BEFORE_LOGIN) + len(AFTER_LOGIN)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a proxy before this project's own server."""
    services = Services(tmp_path_factory.mktemp("ours"))
    proxy = Proxy(services.start().listener.port)
    yield proxy.port
    proxy.close()
    services.stop()


def test_all_free_choices_of_a_proxy_to_our_server_are_ours(ours: int) -> None:
    found = free_choices.ask(HOST, ours)
    assert found == Likeness(ALL, ALL)
    assert str(found).endswith("(nearly certain)")


def test_a_server_written_from_the_same_protocol_has_next_to_none() -> None:
    server = ReferenceServer().start()
    try:
        found = free_choices.ask(HOST, server.port)
    finally:
        server.stop()
    assert found.asked == ALL and found.same <= 2


def test_who_does_not_answer_is_like_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_choices, "WAIT_SECONDS", 0.05)
    for behaviour in (closes, says_nothing):
        with peer(behaviour) as port:
            assert free_choices.ask(HOST, port) == Likeness(0, 0)
    assert free_choices.ask(HOST, 1) == Likeness(0, 0)


def test_it_is_said_how_sure_that_is() -> None:
    assert str(Likeness(8, 15)).endswith("(likely)")
    assert str(Likeness(0, 0)).endswith("server") and str(Likeness(2, 15)).endswith("server")


def test_it_stands_in_a_file_of_its_own_and_in_no_report(
    ours: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["server", f"{HOST}:{ours}", "--case", "contact.answers_with_a_frame"]
    assert main([*words, "--likeness", str(tmp_path / "likeness.txt")]) == 0
    assert "(nearly certain)" in _likeness(tmp_path)
    assert "free choices" not in capsys.readouterr().out
    assert (
        main([*words, "--likeness", "-", "--report", "json", "-o", str(tmp_path / "r.json")]) == 0
    )
    assert "for the teacher: 15 of 15 free choices" in capsys.readouterr().out
    assert "free choices" not in (tmp_path / "r.json").read_text("utf-8")
    assert main([*words, "--likeness", str(tmp_path / "none" / "x")]) == 2


def test_a_class_is_told_of_what_is_remarkable_alone(tmp_path: Path) -> None:
    assert _likeness(tmp_path) == ""
    (tmp_path / "likeness.txt").write_text(str(Likeness(1, 15)), "utf-8")
    assert _likeness(tmp_path) == ""
