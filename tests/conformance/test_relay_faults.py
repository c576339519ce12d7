"""Faults of the relay: how they are written, what each does to the bytes, what came of it."""

from __future__ import annotations

import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.patience import patience
from support.relays import Line, Listener, read_exactly, read_to_end, relay_before

from conformance.__main__ import main
from conformance.packets import encode, letters
from conformance.relay.faults import KINDS, BadFault, FaultList, parse, read_file

MESSAGE = {"action": "send_message", "data": {"room_id": "r", "content": "listen to me"}}
PING = {"action": "ping"}


def ask(key: str, content: str = "listen", **more: Any) -> dict[str, Any]:
    data = {"room_id": "r", "content": content, "transaction_id": key, **more}
    return {"action": "send_message", "data": data}


def counts(key: str, content: str) -> dict[str, Any]:
    data = {"transaction_id": key, "letter_frequencies": letters(content)}
    return {"action": "character_count", "data": data}


def confirm(key: str, answer: bool = True) -> dict[str, Any]:
    return {"action": "confirm_count", "data": {"transaction_id": key, "confirm": answer}}


def ack(key: str, number: int) -> dict[str, Any]:
    data = {"transaction_id": key, "message_id": number}
    return {"action": "ack", "status": "success", "data": data}


# --- How faults are written -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "drop",
        "drop confirm_count to=server every=2",
        "delay 300 ack to=client user=ada",
        "split 5 file_* first=3 p=0.1",
        "cut 0",
        *(f"{kind} {each.usual}".strip() if each.value else kind for kind, each in KINDS.items()),
    ],
)
def test_a_fault_is_written_as_it_is_read(text: str) -> None:
    assert str(parse(text)) == text
    assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "an empty fault"),
        ("lose", "'lose' is no kind of fault; expected one of drop, delay"),
        ("drop 5", "drop takes no value"),
        ("delay x ack", "'ack' is one word too many"),
        ("delay 999999999", "expected MS of 0 to 600000"),
        ("drop to=left", "expected server or client"),
        ("drop every=0", "every = 0: expected a whole number from 1"),
        ("drop first=x", "first = x: expected a whole number from 0"),
        ("drop p=2", "p = 2: expected a probability"),
        ("drop p=x", "p = x: expected a probability"),
        ("drop often=2", "'often' is no key of a fault; expected action, to, user"),
    ],
)
def test_a_fault_that_is_none_is_told_with_what_was_expected(text: str, expected: str) -> None:
    with pytest.raises(BadFault) as caught:
        parse(text)
    assert expected in str(caught.value)


def test_a_file_of_faults_is_read(tmp_path: Path) -> None:
    path = tmp_path / "faults.ini"
    path.write_text(
        "[every second one]\nfault = drop\naction = confirm_count\nto = server\nevery = 2\n\n"
        "[late]\nfault = delay 300\np = 0.5\n",
        "utf-8",
    )
    first, second = read_file(str(path))
    assert str(first) == "drop confirm_count to=server every=2"
    assert (first.name, str(second)) == ("every second one", "delay 300 p=0.5")


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("fault = drop\n", 1, "a key before the first section"),
        ("[a]\nfault = drop\nwhat\n", 3, "neither [NAME] nor KEY = VALUE"),
        ("[a]\nfault = drop\n[a]\nfault = drop\n", 3, "a section of this name"),
        ("[a]\nfault = drop\nfault = cut\n", 3, "this key stands in the section already"),
        ("[a]\nfault = drop\n\n[b]\naction = ack\nfault = lose\n", 6, "'lose' is no kind"),
        ("[a]\nfault = drop\nevery = 0\n", 3, "every = 0"),
        ("[a]\nfault = drop\nto = x\n", 3, "to = x"),
        ("[a]\nfault = drop\noften = 1\n", 3, "'often' is no key"),
        ("[a]\n[b]\nfault = drop\n", 1, "'' is no kind of fault"),
        ("", 0, "has no fault; a section as [lost]"),
    ],
)
def test_a_bad_line_of_a_file_is_named(
    tmp_path: Path, text: str, line: int, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "faults.ini"
    path.write_text(text, "utf-8")
    assert main(["relay", "0", "127.0.0.1:1", "--faults", str(path)]) == 2
    said = capsys.readouterr().err
    assert expected in said and (not line or f"faults.ini, line {line}" in said)


def test_a_file_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["relay", "0", "127.0.0.1:1", "--faults", "none.ini"]) == 2
    assert "the faults in none.ini can't be read" in capsys.readouterr().err
    assert main(["relay", "0", "127.0.0.1:1", "--fault", "lose"]) == 2
    assert "'lose' is no kind of fault" in capsys.readouterr().err


# --- Which messages it strikes --------------------------------------------------------------------


def strikes(faults: FaultList, count: int, user: str = "ada") -> list[int]:
    return [at for at in range(1, count + 1) if faults.pick(user, True, MESSAGE)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("drop", [1, 2, 3, 4, 5, 6]),
        ("drop every=2", [2, 4, 6]),
        ("drop first=2", [1, 2]),
        ("drop every=2 first=1", [2]),
        ("drop send_*", [1, 2, 3, 4, 5, 6]),
        ("drop ack", []),
        ("drop to=client", []),
        ("drop user=b*", []),
        ("id", []),
        ("count", []),
    ],
)
def test_a_fault_strikes_what_it_says(text: str, expected: list[int]) -> None:
    faults = FaultList(1)
    faults.add(parse(text))
    assert strikes(faults, 6) == expected


def test_chance_is_repeated_with_the_same_seed_for_each_user_by_itself() -> None:
    def run(seed: int, users: list[str]) -> list[list[int]]:
        faults = FaultList(seed)
        faults.add(parse("drop p=0.3"))
        return [strikes(faults, 50, user) for user in users]

    ada, ben = run(5, ["ada", "ben"])
    assert run(5, ["ben", "ada"]) == [ben, ada] and ada != ben
    assert run(6, ["ada"]) != [ada] and 5 < len(ada) < 30


def test_faults_are_listed_and_taken_back() -> None:
    changes: list[int] = []
    faults = FaultList(1, lambda: changes.append(1))
    number = faults.add(parse("drop to=server first=1"))
    assert faults.touches(True) and not faults.touches(False)
    assert strikes(faults, 3) == [1]
    assert [(each, str(fault), struck) for each, fault, struck in faults.all()] == [
        (number, "drop to=server first=1", 1)
    ]
    assert faults.remove(number) and not faults.remove(number)
    assert strikes(faults, 3) == [] and changes


# --- What each does to the bytes ------------------------------------------------------------------


Begin = Callable[..., Line]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Begins a line with these faults."""
    listener = Listener()
    lines: list[Line] = []
    with_relay = []

    def start(*faults: str, **options: Any) -> Line:
        context = relay_before(listener.port, faults=[parse(each) for each in faults], **options)
        with_relay.append(context)
        lines.append(Line(listener, context.__enter__()))
        return lines[-1]

    yield start
    for line in lines:
        line.client.close()
        line.server.close()
    for context in with_relay:
        context.__exit__(None, None, None)
    listener.close()


def test_drop(begin: Begin) -> None:
    line = begin("drop send_message to=server first=1")
    line.to_server(MESSAGE, PING)
    assert line.at_server() == PING
    assert line.events.wait_kind("frame", row=1)["fault"] == "drop"
    line.to_server(MESSAGE)
    assert line.at_server() == MESSAGE
    assert line.events.wait_kind("came_of")["text"].startswith("sent again: row 3")


def test_the_user_is_known_when_the_login_has_passed(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only when the story comes to tell it, on a thread of its own."""
    monkeypatch.setattr("conformance.relay.station.Station._name", lambda self, event: None)
    line = begin("drop pong to=client user=ada")
    line.to_server({"action": "login", "data": {"chatid": "ada", "password": "password"}})
    assert line.at_server()["action"] == "login"
    line.to_client({"action": "pong"}, PING)
    assert line.at_client() == PING


def test_delay_keeps_the_order(begin: Begin) -> None:
    line = begin("delay 80 send_message")
    line.to_server(MESSAGE, PING)
    assert [line.at_server(), line.at_server()] == [MESSAGE, PING]
    assert line.events.wait_kind("frame", row=1)["fault"] == "delay 80"


def test_duplicate(begin: Begin) -> None:
    line = begin("duplicate pong to=client")
    line.to_client({"action": "pong"}, PING)
    assert [line.at_client()["action"] for _ in range(3)] == ["pong", "pong", "ping"]


def test_swap_with_the_next(begin: Begin) -> None:
    line = begin("swap send_message first=1")
    line.to_server(MESSAGE, PING)
    assert [line.at_server(), line.at_server()] == [PING, MESSAGE]


def test_swap_with_nothing_behind_goes_alone(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conformance.relay.way.WAIT_SECONDS", 0.05)
    line = begin("swap send_message first=1")
    line.to_server(MESSAGE)
    assert line.at_server() == MESSAGE
    assert line.events.wait_kind("came_of")["text"].startswith("no swap: nothing followed")
    line.to_server(ask("k"))
    assert line.at_server() == ask("k")


def test_swap_at_the_end_of_the_stream_loses_nothing(begin: Begin) -> None:
    line = begin("swap send_message")
    line.to_server(MESSAGE)
    line.client.shutdown(socket.SHUT_WR)
    assert read_to_end(line.server) == encode(MESSAGE)


def test_split(begin: Begin) -> None:
    line = begin("split 7 send_message")
    line.to_server(MESSAGE)
    parts = []
    while sum(map(len, parts)) < len(encode(MESSAGE)):
        parts.append(line.server.recv(65536))
    assert b"".join(parts) == encode(MESSAGE)
    assert len(parts) > 3, "it came in one piece"


def test_join(begin: Begin) -> None:
    line = begin("join send_message first=1")
    line.to_server(MESSAGE)
    line.events.wait_kind("frame", row=1)
    line.to_server(PING)
    assert line.server.recv(65536) == encode(MESSAGE) + encode(PING)


@pytest.mark.parametrize("size", [0, 9])
def test_cut(begin: Begin, size: int) -> None:
    line = begin(f"cut {size} send_message")
    line.to_server(MESSAGE)
    assert read_to_end(line.server) == encode(MESSAGE)[:size]
    assert line.client.recv(1) == b""
    assert line.events.wait_kind("close")["how"] == f"fault: cut {size} of row 1"


@pytest.mark.wine("a reset reaches the peer as an end")
def test_reset(begin: Begin) -> None:
    line = begin("reset send_message")
    line.to_server(MESSAGE)
    for end in (line.client, line.server):
        with pytest.raises(ConnectionError):
            end.recv(1)
    assert line.events.wait_kind("close")["how"] == "fault: reset of row 1"


def test_letter_changes_one_letter_and_anagram_the_order_only(begin: Begin) -> None:
    line = begin("letter to=server", "anagram to=client")
    line.to_server(MESSAGE)
    text, other = MESSAGE["data"]["content"], line.at_server()["data"]["content"]
    assert sum(one != two for one, two in zip(text, other, strict=True)) == 1
    assert letters(text) != letters(other)
    line.to_client(MESSAGE)
    other = line.at_client()["data"]["content"]
    assert other != text and letters(other) == letters(text)


def test_count_and_id_change_what_they_say(begin: Begin) -> None:
    line = begin("count to=client", "id to=server")
    line.to_client(counts("t", "listen"))
    assert sum(line.at_client()["data"]["letter_frequencies"].values()) == 7
    line.to_server(confirm("t"))
    assert line.at_server()["data"]["transaction_id"].startswith("changed-")


def test_a_changed_message_shows_what_was_sent_instead(begin: Begin) -> None:
    line = begin("letter")
    line.to_server(MESSAGE)
    line.events.wait_kind("frame", row=1)
    detail = line.relay.story.detail(1)
    assert detail is not None and detail["fault"] == "letter"
    assert json.loads(detail["json"]) == MESSAGE
    assert [json.loads(each) for each in detail["sent"]] == [line.at_server()]


def test_faults_may_come_and_go_in_the_middle_of_a_frame(begin: Begin) -> None:
    line = begin()
    whole = encode(MESSAGE)
    line.client.sendall(whole[:6])
    assert read_exactly(line.server, 6) == whole[:6]
    number = line.relay.steering.faults.add(parse("drop send_message"))
    line.client.sendall(whole[6:10])
    assert read_exactly(line.server, 4) == whole[6:10]
    line.client.sendall(whole[10:] + whole[:8])
    assert read_exactly(line.server, len(whole) - 10) == whole[10:]
    line.relay.steering.faults.remove(number)
    line.client.sendall(whole[8:] + b"\0\0\0\0bad")
    assert read_exactly(line.server, len(whole) + 7) == whole + b"\0\0\0\0bad"
    line.relay.steering.faults.add(parse("drop send_message"))
    line.client.sendall(b"more")
    assert read_exactly(line.server, 4) == b"more"


@pytest.mark.parametrize("seed", range(2))
def test_no_byte_is_lost_while_faults_come_and_go_that_strike_nothing(
    begin: Begin, seed: int
) -> None:
    source = random.Random(seed)
    line = begin()
    stream = b"".join(
        encode({"action": "ping", "data": {"text": "é" * source.randrange(300)}})
        for _ in range(100)
    )
    stream += source.choice([b"", b"\0\0\0\0" + source.randbytes(5_000), b"\0\0\1"])
    ends = threading.Event()

    def change() -> None:
        while not ends.wait(0.0005):
            number = line.relay.steering.faults.add(parse(source.choice(["drop ack", "swap ack"])))
            ends.wait(0.0005)
            line.relay.steering.faults.remove(number)

    def send() -> None:
        place = 0
        while place < len(stream):
            size = source.choice([1, 3, 10, 200, 3_000])
            line.client.sendall(stream[place : place + size])
            place += size
        line.client.shutdown(socket.SHUT_WR)

    threads = [threading.Thread(target=each, name=each.__name__) for each in (change, send)]
    for thread in threads:
        thread.start()
    received = read_to_end(line.server)
    ends.set()
    for thread in threads:
        thread.join(patience(10))
    assert received == stream


# --- What came of it ------------------------------------------------------------------------------


def talk(line: Line, *steps: tuple[str, dict[str, Any]]) -> None:
    """Send packets in turn, each noted before the next is sent."""
    for place, (side, packet) in enumerate(steps, 1):
        (line.to_server if side == "server" else line.to_client)(packet)
        line.events.wait_kind("frame", row=place)


def test_a_confirmation_lost_and_sent_again_is_stored_once(begin: Begin) -> None:
    line = begin("drop confirm_count to=server first=1")
    talk(
        line,
        ("server", ask("k")),
        ("client", counts("k", "listen")),
        ("server", confirm("k")),
        ("server", ask("k")),
        ("client", counts("k", "listen")),
        ("server", confirm("k")),
        ("client", ack("k", 7)),
    )
    line.events.wait(lambda each: each.get("text", "").startswith("stored once: message 7, row 7"))
    assert line.came_of(3)[0].startswith("sent again: row 6")


def test_a_message_stored_twice_is_doubled(begin: Begin) -> None:
    line = begin("drop ack to=client first=1")
    talk(
        line,
        ("server", ask("k")),
        ("client", counts("k", "listen")),
        ("server", confirm("k")),
        ("client", ack("k", 7)),
        ("server", ask("l")),
        ("client", counts("l", "listen")),
        ("server", confirm("l")),
        ("client", ack("l", 8)),
        ("client", ack("k", 9)),
    )
    assert line.events.wait(lambda each: "doubled" in each.get("text", ""))["row"] == 4


@pytest.mark.parametrize(
    ("fault", "answer", "expected"),
    [
        ("letter", False, "counts disagreed: row 3"),
        ("anagram", True, "not noticed: the counts are the same, row 3"),
    ],
)
def test_counts_tell_a_letter_and_no_anagram(
    begin: Begin, fault: str, answer: bool, expected: str
) -> None:
    line = begin(f"{fault} send_message")
    line.to_server(ask("k"))
    content = line.at_server()["data"]["content"]
    line.to_client(counts("k", content))
    verdict = line.events.wait_kind("frame", row=2)["counts"]
    assert verdict == ("agree" if answer else "differ")
    line.at_client()
    line.to_server(confirm("k", answer))
    assert line.events.wait_kind("came_of", row=1)["text"] == expected


def test_an_error_that_answers_a_fault_is_told(begin: Begin) -> None:
    line = begin("id confirm_count")
    error = {
        "action": "error",
        "original_action": "confirm_count",
        "code": "transaction_not_found",
    }
    talk(line, ("server", confirm("k")), ("client", error))
    assert line.events.wait_kind("came_of", row=1)["text"] == (
        "answered by an error: transaction_not_found, row 2"
    )


def test_a_delivery_that_was_lost_is_found_in_the_history(begin: Begin) -> None:
    line = begin("drop receive_message")
    heard = {"action": "receive_message", "data": {"message_id": 3, "content": "x"}}
    page = {"action": "messages_list", "data": {"messages": [{"message_id": 3}]}}
    talk(line, ("client", heard), ("client", page))
    assert line.events.wait_kind("came_of", row=1)["text"] == "found in the history: row 2"


def test_what_nobody_sends_again_is_lost(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conformance.relay.traffic.TICK_SECONDS", 0.02)
    monkeypatch.setattr("conformance.relay.outcomes.OPEN_SECONDS", 0.05)
    line = begin("drop pong", "duplicate ping", "id ack")
    talk(line, ("server", PING), ("client", {"action": "pong"}), ("client", ack("k", 1)))
    assert line.events.wait_kind("came_of", row=2)["text"] == "lost: nobody sent it again"
    assert line.events.wait_kind("came_of", row=1)["text"] == "no harm: all went on as usual"
    expected = "not noticed: nothing that followed shows it"
    assert line.events.wait_kind("came_of", row=3)["text"] == expected
