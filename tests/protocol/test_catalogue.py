"""Catalogue, handlers and docs/PROTOCOL.md say the same: whoever adds a packet is told here what is
missing.

docs/ARCHITECTURE.md, "How to add a packet", lists what each new packet needs. The vectors are
further packets that must stay valid: those of the course, and variants that the page does not show.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import protocol
from protocol import EVENT_TYPES, REPLIES, REQUESTS, ErrorCode, Presence
from server.base.settings import OPTIONS, Settings
from server.handlers import HANDLERS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "PROTOCOL.md").read_text("utf-8")
VECTORS: list[dict[str, Any]] = json.loads(
    (ROOT / "tests" / "data" / "vectors.json").read_text("utf-8")
)
SEED = [
    entry["packet"]
    for entry in json.loads((ROOT / "tests" / "data" / "packets.json").read_text("utf-8"))
]
EXAMPLES = [
    protocol.decode_object(fence.encode())
    for fence in re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
]
RULE = re.compile(r"^\*\*(R-[A-Z]+-\d+)\*\* \((?:must|should|may)\) \S", re.MULTILINE)
RULES = RULE.findall(PAGE)
ENTRIES = [("client", action) for action in REQUESTS] + [("server", action) for action in REPLIES]


def section(heading: str) -> str:
    """What stands between `## heading` and the next heading of that rank."""
    return PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str, header: str) -> list[list[str]]:
    """The cells of the table whose header row begins with `header`."""
    table = text.split(f"\n| {header} |", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()[2:]]


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


PACKET_ROWS = {(row[1], words(row[0])[0]): row for row in rows(section("All packets"), "packet")}


def check_sent_by_client(packet: Mapping[str, Any]) -> None:
    protocol.read_request(
        protocol.open_packet(protocol.decode_packet(protocol.encode_object(packet)))
    )


def check_sent_by_server(packet: Mapping[str, Any]) -> None:
    """More than `check_reply`, which lets keys through that it doesn't know: our own examples have
    no others. Keys that only this server adds may be left out, as the course's examples do."""
    entry = protocol.check_reply(packet)
    data = dict(packet.get("data", {}))
    for name, kind in entry.keys.items():
        if kind.presence is Presence.ADDED and data and packet["status"] == "success":
            data.setdefault(name, ADDED[name])
    whole = {**packet, "data": data} if "data" in packet else dict(packet)
    if entry.action == "error":
        whole.setdefault("code", "forbidden")
    protocol.check_sent(whole)


ADDED = {
    "role": "student",
    "teachers": [],
    "limits": dict.fromkeys(("max_frame", "max_content", "max_file", "max_chunk"), 0),
    "message_id": 1,
    "timestamp": "2024-01-01T12:00:00Z",
    "has_more": False,
    "sha256": "0" * 64,
    "stored_as": "x",
    "chunk_size": 1,
    "files": [],
}


# --- The catalogue is complete --------------------------------------------------------------------


def test_every_request_has_a_handler_and_every_handler_a_request() -> None:
    assert set(HANDLERS) == {entry.record for entry in REQUESTS.values()}, "server/handlers/"


@pytest.mark.parametrize("entry", ENTRIES, ids=" ".join)
def test_every_packet_has_an_example(entry: tuple[str, str]) -> None:
    shown = {(sent_by, packet["action"]) for packet in EXAMPLES for sent_by in senders(packet)}
    assert entry in shown, f"docs/PROTOCOL.md shows no {entry[1]} of the {entry[0]} as an example"


def test_every_event_type_has_a_vector() -> None:
    events = [vector["packet"] for vector in VECTORS if vector["packet"]["action"] == "event"]
    assert {event["data"]["type"] for event in events} == set(EVENT_TYPES)


@pytest.mark.parametrize(
    "vector", VECTORS, ids=lambda vector: f"{vector['sent_by']} {vector['packet']['action']}"
)
def test_every_vector_passes_the_catalogue(vector: dict[str, Any]) -> None:
    check = {"client": check_sent_by_client, "server": check_sent_by_server}[vector["sent_by"]]
    check(vector["packet"])


def test_every_packet_of_the_course_is_a_vector() -> None:
    packets = [vector["packet"] for vector in VECTORS]
    for packet in SEED:
        if packet["action"] == "file_send_data" and "status" not in packet:
            packet = {
                **packet,
                "data": {**packet["data"], "file_data": "QkFTRTY0X0VOQ09ERURfQ0hVTktfREFUQS4uLg=="},
            }
        assert packet in packets


def test_every_event_uses_only_keys_of_the_catalogue() -> None:
    for keys in EVENT_TYPES.values():
        assert set(keys) < set(REPLIES["event"].keys)


# --- docs/PROTOCOL.md says the same ---------------------------------------------------------------


@pytest.mark.parametrize("entry", ENTRIES, ids=" ".join)
def test_every_packet_has_its_row_with_its_keys_and_a_rule(entry: tuple[str, str]) -> None:
    assert entry in PACKET_ROWS, 'the table "All packets" of docs/PROTOCOL.md lacks it'
    _, sent_by, when, keys, rule = PACKET_ROWS[entry]
    optional = re.findall(r"\*`([^`]+)`\*", keys)
    required = [word for word in words(keys) if word not in optional]
    if sent_by == "client":
        fields = [field for field in REQUESTS[entry[1]].fields if not field.on_top]
        assert required == [field.name for field in fields if field.required]
        assert optional == [field.name for field in fields if not field.required]
        assert when == ("before login" if REQUESTS[entry[1]].before_login else "after login")
    else:
        keys = REPLIES[entry[1]].keys
        assert required == list(REPLIES[entry[1]].required)
        assert optional == [name for name in keys if name not in required]
    assert rule in RULES


@pytest.mark.parametrize("action", REPLIES)
def test_the_table_says_which_reply_answers_which_request(action: str) -> None:
    when = PACKET_ROWS["server", action][2]
    told = words(when) if when.startswith("reply to") else []
    assert told == [name for name, request in REQUESTS.items() if action in request.answers]


def test_every_reply_that_answers_a_request_is_in_the_catalogue() -> None:
    for request in REQUESTS.values():
        assert set(request.answers) <= set(REPLIES), request.action


def test_the_table_has_the_packets_of_the_catalogue_in_its_order() -> None:
    assert list(PACKET_ROWS) == ENTRIES, 'the table "All packets" of docs/PROTOCOL.md'


def senders(packet: Mapping[str, Any]) -> Iterator[str]:
    """Who may have sent an example. What has a `status` comes from the server, but for a client's
    `ack`; the server's has the number of the message, or a code."""
    action = packet["action"]
    if action == "ack":
        yield "server" if "code" in packet or "message_id" in packet["data"] else "client"
        return
    if action in REQUESTS and "status" not in packet:
        yield "client"
    if action in REPLIES and ("status" in packet or REPLIES[action].message is None):
        yield "server"


@pytest.mark.parametrize("packet", EXAMPLES, ids=lambda packet: json.dumps(packet)[:60])
def test_every_example_passes_the_catalogue(packet: dict[str, Any]) -> None:
    assert list(senders(packet)), "neither a client nor the server sends it"
    for sender in senders(packet):
        {"client": check_sent_by_client, "server": check_sent_by_server}[sender](packet)


def test_every_example_of_counts_counts_rightly() -> None:
    content = "Hello everyone!"
    counts = [
        packet["data"]["letter_frequencies"]
        for packet in EXAMPLES
        if "letter_frequencies" in packet.get("data", {})
    ]
    assert counts and all(count == protocol.count_letters(content) for count in counts)
    for row in rows(section("Sending a message"), "`content`"):
        assert json.loads(words(row[1])[0]) == protocol.count_letters(example_of(row[0]))


def example_of(cell: str) -> str:
    text = words(cell)[0]
    return "e\u0301" if text == "é" else text


def test_the_example_of_a_frame_is_one() -> None:
    (line,) = re.findall(r"^ ((?:[0-9a-f]{2} +)+[0-9a-f]{2})$", section("Framing"), re.MULTILINE)
    assert bytes.fromhex(line.replace(" ", "")) == protocol.build_request("ping")


def test_the_error_table_is_that_of_the_catalogue() -> None:
    assert [words(row[0])[0] for row in rows(section("Errors"), "code")] == list(ErrorCode)


def test_the_event_table_is_that_of_the_catalogue() -> None:
    table = {
        words(row[0])[0]: tuple(words(row[1]))
        for row in rows(section("Users, presence and events"), "`type`")
    }
    assert table == EVENT_TYPES


def test_the_limits_table_tells_options_that_exist_with_their_defaults() -> None:
    for what, default, option, _ in rows(section("Limits"), "limit"):
        for flag in words(option):
            name = flag[2:].replace("-", "_")
            assert name in OPTIONS, flag
        numbers = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d|\d", default)]
        if len(words(option)) == 1 and "if less" not in option:
            unit = 3600 if what.startswith("hours") else 1
            assert getattr(Settings(), name) == numbers[0] * unit, what
    assert protocol.MAX_FRAME_BEFORE_LOGIN == 65_536 and protocol.MAX_CHUNK_BYTES == 262_144


def test_the_rights_table_names_every_request_and_only_replies_and_codes_that_exist() -> None:
    table = {words(row[0])[0]: row[1:] for row in rows(section("Who may do what"), "action")}
    assert list(table) == list(REQUESTS), 'the table "Who may do what" of docs/PROTOCOL.md'
    for action, cells in table.items():
        assert len(cells) == 6
        for cell in cells:
            assert cell == "no reply" or words(cell)[0] in {*REPLIES, *ErrorCode}
        assert (words(cells[0])[0] == "not_logged_in") == (not REQUESTS[action].before_login)


# --- Rules and codes that are named exist ---------------------------------------------------------


def sources() -> Iterator[tuple[str, str]]:
    """Every text of the project that may name a rule or a code."""
    tops = [
        path for path in ROOT.iterdir() if not path.name.startswith((".", "build", "chat-data"))
    ]
    for path in sorted([*tops, *(path for top in tops for path in top.rglob("*.*"))]):
        if path.suffix in (".py", ".md"):
            yield path.relative_to(ROOT).as_posix(), path.read_text("utf-8")


def test_rules_are_numbered_once_and_without_gaps() -> None:
    assert len(RULES) == len(set(RULES))
    numbers: dict[str, list[int]] = {}
    for rule in RULES:
        family, number = rule.rsplit("-", 1)
        numbers.setdefault(family, []).append(int(number))
    for family, found in numbers.items():
        assert sorted(found) == list(range(1, len(found) + 1)), family


def test_every_rule_is_written_as_rules_are() -> None:
    begun = re.findall(r"^\*\*(R-[^*]+)\*\*", PAGE, re.MULTILINE)
    assert begun == RULES


def test_every_rule_that_is_named_anywhere_exists() -> None:
    families = {rule.rsplit("-", 1)[0] for rule in RULES}
    for name, text in sources():
        for rule in re.findall(r"\bR-[A-Z]{2,}-\d+\b", text):
            assert rule in RULES, f"{name} names {rule}, which docs/PROTOCOL.md does not have"
        for family in re.findall(r"\b(R-[A-Z]{2,})\b(?!-\d)", text):
            assert family in families, (
                f"{name} names {family}, a family that docs/PROTOCOL.md does not have"
            )


def test_every_error_code_is_used_by_the_server_and_none_is_written_as_a_plain_string() -> None:
    used = set()
    for name, text in sources():
        if name.startswith("server/") or name == "protocol.py":
            text = text.split("class ErrorCode", 1)[0] + text.split("__str__ = str.__str__", 1)[-1]
            used |= set(re.findall(r"\bErrorCode\.([A-Z_]+)\b", text))
            # these are the names of keys, too
            for code in set(ErrorCode) - {ErrorCode.READ_ONLY, ErrorCode.MUTED, ErrorCode.BANNED}:
                assert f'"{code}"' not in text, f"{name}: write ErrorCode.{code.name}"
    assert used == {code.name for code in ErrorCode}


def test_links_within_the_page_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-")
        for line in re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    }
    for link in re.findall(r"\]\(#([^)]+)\)", PAGE):
        assert link in headings
