"""The tables of both handshakes are what docs/PROTOCOL.md draws, and what the server and the client
send and take.

Each path below is walked with the real server, by a raw client, and with the real client, by a fake
server. Together the paths use every step of the tables, so a new step needs a new path.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import fresh_name
from support.client_fakes import FakeServer, Peer
from support.patience import patience, until
from support.raw_client import RawClient, letter_frequencies

from client.connection import Connection
from client.errors import ChatError
from protocol import RECEIVERS_HANDSHAKE, REPLIES, REQUESTS, SENDERS_HANDSHAKE, Step

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "PROTOCOL.md").read_text("utf-8")
SENDING = PAGE.split("\n## Sending a message\n", 1)[1].split("\n## ", 1)[0]
CONTENT = "Hello everyone!"
SENDERS_PATHS = (
    "unsent announced counted confirmed stored",
    "unsent announced counted rejected dropped",
    "unsent announced counted announced counted confirmed stored",
    "unsent announced stored",
    "unsent announced refused",
    "unsent announced counted confirmed refused",
)
RECEIVERS_PATHS = (
    "stored delivered checking agreed read",
    "stored delivered checking disagreed stored delivered checking agreed read",
)
RESTARTS = "counted announced"
"""The client never starts over on the connection on which its message is open; others may."""

Packet = dict[str, Any]


def steps_of(path: str, table: Iterable[Step]) -> list[Step]:
    found = {(step.before, step.after): step for step in table}
    return [found[pair] for pair in itertools.pairwise(path.split())]


def used(paths: Iterable[str], table: Iterable[Step]) -> set[Step]:
    return {step for path in paths for step in steps_of(path, table)}


def says(packet: Packet) -> str:
    """What a packet says, in the words of the tables."""
    if packet["action"] == "ack":
        return f"status {packet['status']}"
    if packet["action"] == "confirm_count":
        return f"confirm {str(packet['data']['confirm']).lower()}"
    return ""


def is_step(packet: Packet, step: Step) -> bool:
    return (packet["action"], says(packet)) == (step.packet, step.says)


# --- The tables, and the page ---------------------------------------------------------------------


@pytest.mark.parametrize("table", [SENDERS_HANDSHAKE, RECEIVERS_HANDSHAKE])
def test_every_step_is_a_packet_of_the_catalogue_and_leads_on_or_ends(
    table: tuple[Step, ...],
) -> None:
    begun = {step.before for step in table}
    for step in table:
        assert step.packet in (REQUESTS if step.sender == "client" else REPLIES)
        assert step.after in begun or step.after in ("stored", "dropped", "refused", "read")
    for before, steps in itertools.groupby(sorted(table, key=by_state), by_state):
        assert len({step.sender for step in steps}) == 1, f"who sends in state {before}?"


def by_state(step: Step) -> str:
    return step.before


@pytest.mark.parametrize("action", ["send_message", "character_count", "confirm_count", "ack"])
def test_what_answers_a_step_is_what_the_catalogue_says(action: str) -> None:
    table = RECEIVERS_HANDSHAKE if action in ("character_count", "ack") else SENDERS_HANDSHAKE
    reached = {step.after for step in table if step.packet == action and step.sender == "client"}
    answers = {step.packet for step in table if step.before in reached and step.sender == "server"}
    assert answers - {"error", "receive_message"} == set(REQUESTS[action].answers)


def test_the_table_of_steps_in_the_page_is_that_of_the_catalogue() -> None:
    lines = re.findall(
        r"^\| `(\w+)` \| (\w+) \| `(\w+)`(.*?) \| `(\w+)` \| (\S+) \|$", SENDING, re.M
    )
    rows = [Step(a, b, c, words.strip(), d, rule) for a, b, c, words, d, rule in lines]
    assert rows == [*SENDERS_HANDSHAKE, *RECEIVERS_HANDSHAKE]


def drawn() -> Iterator[tuple[str, str, str, str]]:
    """The arrows of the page's diagram, from top to bottom: who, to whom, the packet, what it
    says."""
    text = SENDING.split("```text\n", 1)[1].split("```", 1)[0]
    who, *lines = text.splitlines()
    names = re.split(r"\s{2,}", who.strip())
    assert names == ["sender", "server", "every other member who is on"]
    for labels, arrows in itertools.pairwise(lines):
        cells = zip(labels.split("|")[1:], arrows.split("|")[1:], strict=False)
        for between, (label, arrow) in enumerate(cells):
            if "--" in arrow:
                ends = names[between : between + 2]
                start, end = ends if ">" in arrow else reversed(ends)
                packet, _, rest = label.strip().partition(" ")
                yield start, end, packet, spoken(packet, rest)


def spoken(packet: str, rest: str) -> str:
    word = ["", *re.findall(r"\w+", rest)][-1]
    return {"confirm_count": f"confirm {word}", "ack": f"status {word}"}.get(packet, "")


def test_the_diagram_in_the_page_is_a_walk_along_the_tables() -> None:
    state = {"sender": "unsent", "every other member who is on": "stored"}
    for start, end, packet, word in drawn():
        side = end if start == "server" else start
        table = SENDERS_HANDSHAKE if side == "sender" else RECEIVERS_HANDSHAKE
        sender = "server" if start == "server" else "client"
        legal = [
            step
            for step in table
            if (step.before, step.sender, step.packet) == (state[side], sender, packet)
            and step.says == word
        ]
        assert len(legal) == 1, f"{start} sends {packet} {word} in state {state[side]}"
        state[side] = legal[0].after
    assert list(state.values()) == ["stored", "read"]


# --- The real server ------------------------------------------------------------------------------


def test_the_paths_use_every_step() -> None:
    assert used(SENDERS_PATHS, SENDERS_HANDSHAKE) == set(SENDERS_HANDSHAKE)
    assert used(RECEIVERS_PATHS, RECEIVERS_HANDSHAKE) == set(RECEIVERS_HANDSHAKE)


def of_client(step: Step, key: str, counts: dict[str, int], place: Packet) -> Packet:
    """The packet of a client's step."""
    data: Packet = {"transaction_id": key}
    packet: Packet = {"action": step.packet, "data": data, "request_id": f"r-{step.packet}"}
    if step.packet == "send_message":
        data |= place
    if step.packet == "character_count":
        data |= {"letter_frequencies": counts, "original_action": "receive_message"}
    if step.packet == "confirm_count":
        data["confirm"] = step.says == "confirm true"
    if step.packet == "ack":
        packet["status"] = step.says.removeprefix("status ")
    return packet


@pytest.mark.parametrize("path", SENDERS_PATHS)
def test_the_server_walks_the_senders_handshake(path: str, user: Callable[..., RawClient]) -> None:
    owner, sender = user(), user()
    made = owner.ask("create_room", participants=[sender.chatid], room_name="Team")
    room_id, key = made["data"]["room_id"], fresh_name("key-")
    place = {"chatid": sender.chatid, "room_id": room_id, "content": CONTENT}
    if path == "unsent announced stored":
        sender.say(room_id, CONTENT, transaction_id=key)
    for step in steps_of(path, SENDERS_HANDSHAKE):
        if path.endswith("refused") and step.before == path.split()[-3]:
            owner.ask("delete_room", room_id=room_id)
        if step.sender == "client":
            sender.send(of_client(step, key, {}, place))
        else:
            came = sender.receive()
            assert is_step(came, step), came
            assert came["request_id"].startswith("r-")
    again = sender.confirm(key)
    assert again["code"] == "transaction_not_found", "the transaction is over"


@pytest.mark.parametrize("path", RECEIVERS_PATHS)
def test_the_server_walks_the_receivers_handshake(
    path: str, user: Callable[..., RawClient], room: str
) -> None:
    sender, receiver = user(), user()
    sender.say(room, CONTENT)
    told: list[Packet] = []
    for step in steps_of(path, RECEIVERS_HANDSHAKE):
        if step.packet == "receive_message":
            came = receiver.receive_message(CONTENT, room)
            told.append(came["data"])
        elif step.sender == "server":
            came = receiver.receive_action("confirm_count")
        else:
            wrong = len(told) == 1 and "disagreed" in path
            counts = {"x": 1} if wrong else letter_frequencies(CONTENT)
            came = of_client(step, told[0]["transaction_id"], counts, {})
            receiver.send(came)
        assert is_step(came, step), came
    assert receiver.nothing_before_pong() == []
    assert all(copy == told[0] for copy in told)


# --- The real client ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [path for path in SENDERS_PATHS if RESTARTS not in path])
def test_the_client_walks_the_senders_handshake(path: str) -> None:
    steps = steps_of(path, SENDERS_HANDSHAKE)

    def script(peer: Peer) -> None:
        packet: Packet = {}
        for step in steps:
            if step.sender == "client":
                packet = peer.serve(until=step.packet)
                assert is_step(packet, step), packet
            else:
                counts = letter_frequencies(CONTENT if "rejected" not in path else "other")
                answer(peer, packet, step, counts)
        peer.serve(until="logout")

    def heard() -> int:
        own = ("send_message", "confirm_count", "ack")
        return sum(packet["action"] in own for packet in fake.heard)

    expected = sum(step.sender == "client" for step in steps)
    with (
        FakeServer(script) as fake,
        Connection("127.0.0.1", fake.port, timeout=patience(5.0)) as chat,
    ):
        chat.login("ada", "secret")
        message = chat.post("lobby", CONTENT)
        if path.endswith("stored"):
            message.wait(patience(8.0))
        else:
            with pytest.raises(ChatError):
                message.wait(patience(8.0))
        # it reads the last answer a moment after it was sent
        until(lambda: heard() == expected, "the server did not hear it all")
    assert heard() == expected


def answer(peer: Peer, packet: Packet, step: Step, counts: dict[str, int]) -> None:
    """Send what the server sends in a step of the sender's handshake."""
    if step.packet == "error":
        peer.refuse(packet, "room_not_found")
        return
    data: Packet = {"transaction_id": packet["data"]["transaction_id"]}
    if step.packet == "character_count":
        data |= {"letter_frequencies": counts, "original_action": "send_message"}
        peer.send(step.packet, data, request_id=packet["request_id"])
        return
    top: Packet = {"status": step.says.removeprefix("status ")}
    if top["status"] == "error":
        top["code"] = "not_confirmed"
    else:
        data |= {"message_id": 1, "timestamp": "2024-01-01T12:00:00Z"}
    peer.reply(packet, "ack", data, **top)


@pytest.mark.parametrize("path", RECEIVERS_PATHS)
def test_the_client_walks_the_receivers_handshake(path: str) -> None:
    steps = steps_of(path, RECEIVERS_HANDSHAKE)

    def script(peer: Peer) -> None:
        peer.answer(peer.serve(until="login"))
        for step in steps:
            if step.packet == "receive_message":
                peer.message(1, CONTENT)
            elif step.sender == "server":
                confirm = step.says == "confirm true"
                peer.send(step.packet, {"transaction_id": "T1", "confirm": confirm})
            else:
                packet = peer.serve(until=step.packet)
                assert is_step(packet, step), packet
                assert packet["data"]["transaction_id"] == "T1"
        done.append(path)
        peer.serve(until="logout")

    done: list[str] = []
    with (
        FakeServer(script) as fake,
        Connection("127.0.0.1", fake.port, timeout=patience(5.0)) as chat,
    ):
        chat.login("ada", "secret")
        fake.wait_for(lambda: done)
        heard = [packet["action"] for packet in fake.heard]
        for action in ("character_count", "ack"):
            assert heard.count(action) == sum(step.packet == action for step in steps)
