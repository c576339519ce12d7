"""The benchmarks' own machinery, with tiny numbers: that it runs, what its figures look like, that
its pages are well-formed.

No speed is asserted here: figures belong to `python -m benchmarks`.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support.patience import patience

from benchmarks import page, plots, rooms, sizes, targets, workloads
from benchmarks.load import Plan
from benchmarks.peer_servers.promises import Handshakes, Messages
from benchmarks.peers import PEERS, serving
from benchmarks.running import _parts, percentile, run_load
from benchmarks.wire_formats import WIRE_FORMATS, WireFormat, content_of

ROOT = Path(__file__).resolve().parents[2]
TINY = sizes.Sizes(
    seconds=0.2,
    warm=0.05,
    members=6,
    rest_seconds=0.5,
    idle=8,
    students=3,
    hash_seconds=0.1,
    messages=(40, 10),
    pages=2,
    file_mib=1,
    growth=(5, 9),
)


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """Run one workload in earnest: two servers in turn, each with a load of two processes."""
    return rooms.both(TINY)


def report_of(results: dict[str, Any]) -> dict[str, Any]:
    """A report as `python -m benchmarks` makes it."""
    return {
        "machine": {
            "python": "CPython <3>",
            "system": "A & B",
            "processor": "one",
            "cores": 2,
            "load_before": None,
        },
        "when": "2024-01-01T12:00:00Z",
        "seconds": 1.0,
        "sizes": {"repeat": 1, "seconds": 0.2},
        "titles": {},
        "results": results,
        "targets": [row.as_json() for row in targets.rows(results)],
    }


def made_up() -> dict[str, Any]:
    """Results that hold something for every plot and every row of the targets."""
    server = {
        "per_second": 1000.0,
        "cpu_us": 2.0,
        "p50_ms": 1.0,
        "p99_ms": 3.0,
        "max_ms": 4.0,
        "percentiles_ms": {
            "0": 0.1,
            "10": 0.5,
            "50": 1.0,
            "90": 2.0,
            "99": 3.0,
            "99.9": 3.5,
            "100": 4.0,
        },
    }
    ratio = {"cpu_us": {"median": 0.5, "rounds": [0.5]}, "p99_ms": {"median": 1.0, "rounds": [1.0]}}
    room = {
        "members": 6,
        "servers": {"ours": server, **dict.fromkeys(plots.NAMES, server)},
        "skipped": {"websockets": "it's <not> here"},
    }
    rows = [{**server, "members": members} for members in (5, 9)]
    idle = [{"clients": count, "kib_all": 1000.0 + count, "kib_each": 9.0} for count in (4, 8)]
    return {
        **{
            name: {**room, "ratios": dict.fromkeys(plots.NAMES, ratio)}
            for name in ("room", "both", "varied", "one", "rest")
        },
        **{
            name: {**room, "ratios": dict.fromkeys(rooms.KEPT, ratio)}
            for name in ("kept_room", "kept_both", "kept_one")
        },
        "writer": {"members": 4, "longest_turn_ms": 12.5},
        "retain": {"erased": {"longest_turn_ms": 20.0, "cpu_ms": 6.0}},
        "idle": {
            "rows": idle,
            "clients": 8,
            "kib_each": 9.0,
            "to_all_ms": 2.0,
            "threads_each": 1.0,
        },
        "mass_login": {"students": 3, "of_ceiling": 0.95, "chat_p99_ms": 5.0, "back_seconds": 0.1},
        "attack": {"clients": 60, "budget_mib": 64, "beside_mib": 20.0},
        "past": {
            "rooms": {"huge": 40, "small": 10},
            "start_seconds": 0.1,
            "pages": {
                kind: {"huge": 1.0, "small": 1.0, "ratio": 1.0}
                for kind in ("newest", "from_time", "after_id")
            },
        },
        "files": {"up_mb_per_second": 70.0, "down_mb_per_second": 100.0, "chat_p99_ms": 60.0},
        "relay": {"added_ms": 0.2, "share_messages": 0.9, "share_up": 0.9, "share_down": 0.9},
        "growth": {"rows": rows, "asyncio": rows, "flat_within": 1.2},
    }


# --- The machinery --------------------------------------------------------------------------------


def test_a_work_measures_ours_and_its_peer(measured: dict[str, Any]) -> None:
    assert set(measured["servers"]) == {"ours", "naive"}
    assert measured["members"] == 6
    for figures in measured["servers"].values():
        assert figures["deliveries"] > 0
        assert figures["errors"] == figures["refused"] == figures["lost"] == 0
        assert figures["p50_ms"] <= figures["p99_ms"] <= figures["max_ms"]
    assert measured["servers"]["ours"]["confirms"] > 0, (
        "the receivers' handshake was to be answered"
    )


@pytest.mark.parametrize("name", rooms.KEPT)
def test_a_peer_with_our_promises_does_both_handshakes(name: str) -> None:
    plan = Plan(0, "m", 4, senders=2, window=2, answers="same")
    with serving(PEERS[name]) as server:
        figures = run_load(PEERS[name], server, plan, 0.2, 1, 0.1)
    assert figures["deliveries"] > 0 and figures["confirms"] > 0
    assert figures["errors"] == figures["refused"] == figures["lost"] == 0


def test_what_such_a_peer_acknowledges_is_on_the_disk() -> None:
    messages, handshakes = Messages(), Handshakes()
    pragma = messages._connection.execute("PRAGMA synchronous").fetchone()[0]
    assert pragma == 2, "FULL"
    for content in ("one", "two"):
        asked = {"room_id": "lobby", "content": content, "transaction_id": content}
        handshakes.open(None, "ada", asked)
    one = handshakes.confirmed({"transaction_id": "one", "confirm": True})
    assert handshakes.confirmed({"transaction_id": "two", "confirm": False}) is None
    assert one is not None and messages.commit([one, one]) == [1, 2]
    found = messages._connection.execute("SELECT id, sender, content FROM messages").fetchall()
    assert found == [(1, "ada", "one"), (2, "ada", "one")]
    handshakes.stored(one, 1)
    right, wrong = (
        {"transaction_id": "m1", "letter_frequencies": {"o": 1, "n": 1, "e": count}}
        for count in (1, 2)
    )
    assert b'"confirm": true' in handshakes.answered(right)
    assert b'"confirm": false' in handshakes.answered(wrong)
    messages.close()


def test_the_figures_of_a_work_are_plain_json(measured: dict[str, Any]) -> None:
    assert json.loads(json.dumps(measured)) == measured


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux tells the CPU of another process"
)
def test_ratios_are_taken_round_by_round(measured: dict[str, Any]) -> None:
    ours, naive = measured["servers"]["ours"], measured["servers"]["naive"]
    found = measured["ratios"]["naive"]["cpu_us"]
    if naive["cpu_us"]:
        assert found["rounds"] == [ours["cpu_us"] / naive["cpu_us"]]
    else:  # it used less than one tick of the clock
        assert found is None


def test_a_round_without_a_figure_of_the_peer_counts_for_no_ratio() -> None:
    ours = [{"cpu_us": cost, "p99_ms": None} for cost in (3.0, 4.0, 5.0)]
    peer = [{"cpu_us": cost, "p99_ms": 1.0} for cost in (2.0, 0.0, 1.0)]
    assert rooms._ratios(ours, peer) == {"cpu_us": {"median": 3.25, "rounds": [1.5, 5.0]}}
    assert rooms._ratios(ours[:1], [{"cpu_us": 0.0, "p99_ms": 1.0}]) == {"cpu_us": None}


def test_the_help_names_every_measurement() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=True,
    )
    for name in (
        "--full",
        "--only",
        "--json",
        "--html",
        "--repeat",
        *(workload.name for workload in workloads.WORKLOADS),
    ):
        assert name in done.stdout


def test_a_measurement_that_does_not_exist_is_named() -> None:
    command = [sys.executable, "-m", "benchmarks", "--only", "nothing"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=patience(60), check=False
    )
    assert done.returncode == 2
    assert "invalid choice: 'nothing'" in done.stderr


@pytest.mark.long
@pytest.mark.parametrize(
    "name", [workload.name for workload in workloads.WORKLOADS if workload.name != "both"]
)
def test_every_other_work_runs(name: str) -> None:
    workload = next(workload for workload in workloads.WORKLOADS if workload.name == name)
    figures = workload.measure(TINY)
    assert json.loads(json.dumps(figures)) == figures


@pytest.mark.long
def test_the_command_writes_figures_page_and_plots(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "--only",
        "growth",
        "--only",
        "rest",
        "--seconds",
        "0.2",
        "--members",
        "5",
    ]
    command += [
        "--json",
        str(tmp_path / "all.json"),
        "--html",
        str(tmp_path / "page.html"),
        "--plots",
        str(tmp_path / "plots"),
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=patience(300), check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "all.json").read_text("utf-8"))
    assert set(report["results"]) == {"growth", "rest"}
    ElementTree.parse(tmp_path / "page.html")
    assert {path.stem for path in (tmp_path / "plots").iterdir()} >= {"latency-rest", "throughput"}


# --- Its parts ------------------------------------------------------------------------------------


def test_a_load_cut_into_processes_has_every_member_once() -> None:
    parts = _parts(Plan(1, "m", 203, senders=4, window=4), 3)
    assert [
        number for part in parts for number in range(part.first, part.first + part.members)
    ] == list(range(203))
    assert [part.senders for part in parts] == [4, 0, 0]
    assert parts[0].others == 2


def test_a_small_load_is_one_process() -> None:
    assert len(_parts(Plan(1, "m", 5, senders=4, window=4), 2)) == 1


def test_percentiles_are_of_all_deliveries() -> None:
    latencies = Counter({0: 90, 99: 9, 999: 1})  # in steps of 10 microseconds
    assert percentile(latencies, 50.0) == 0.01
    assert percentile(latencies, 99.0) == 1.0
    assert percentile(latencies, 100.0) == 10.0
    assert percentile(Counter(), 50.0) == 0.0


def from_server(wire_format: WireFormat, name: str, content: str) -> bytes:
    """A message of the load as a server of this wire_format sends it on."""
    data = {"transaction_id": "m1", "room_id": "lobby", "sender_chatid": "a", "content": content}
    payload = json.dumps({"action": "receive_message", "data": data}).encode()
    if name == "json":
        return len(payload).to_bytes(4, "big") + payload
    if name == "ws":
        return b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload
    return wire_format.say("a", content)


@pytest.mark.parametrize("name", WIRE_FORMATS)
def test_a_message_is_found_wherever_the_bytes_are_cut(name: str) -> None:
    wire_format = WIRE_FORMATS[name]
    data = from_server(wire_format, name, content_of(7, 123_456_789, 100)) * 2
    for cut in range(len(data)):
        first, used = wire_format.cut(data[:cut])
        second, _ = wire_format.cut(data[used:])
        heard = [wire_format.read(payload) for payload in first + second]
        assert [(one.kind, one.number, one.sent_ns) for one in heard] == [
            ("message", 7, 123_456_789)
        ] * 2


def test_varied_answers_mean_the_same_and_are_all_different() -> None:
    wire_format = WIRE_FORMATS["json"]
    heard = wire_format.read(from_server(wire_format, "json", content_of(7, 1, 100))[4:])
    same = json.loads(heard.answer[4:])
    answers = [wire_format.answer_of(member, f"m{member}", heard) for member in range(50)]
    assert len(set(answers)) == 50
    for member, answer in enumerate(answers):
        said = json.loads(answer[4:])
        assert said.pop("request_id") == f"m{member}"
        assert said == same
    assert same["data"]["letter_frequencies"] == Counter(content_of(7, 1, 100))


# --- What people see ------------------------------------------------------------------------------


def test_every_plot_is_well_formed() -> None:
    found = plots.all_plots(report_of(made_up()))
    assert set(found) == {
        "cpu",
        "latency",
        "latency-workloads",
        "latency-rest",
        "throughput",
        "cost",
        "memory",
        "targets",
    }
    for svg in found.values():
        assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"


def test_the_page_is_well_formed_and_needs_nothing_else() -> None:
    text = page.html(report_of(made_up()))
    ElementTree.fromstring(text)
    assert "CPython &lt;3&gt;" in text
    assert "it&#x27;s &lt;not&gt; here" in text
    for word in ("<script", "<link", "<img", "src=", "url("):
        assert word not in text


def test_a_page_of_one_small_work_is_well_formed(measured: dict[str, Any]) -> None:
    report = report_of({"both": measured})
    ElementTree.fromstring(page.html(report))
    for svg in plots.all_plots(report).values():
        ElementTree.fromstring(svg)


def test_a_page_of_nothing_is_well_formed() -> None:
    ElementTree.fromstring(page.html(report_of({})))
    assert plots.all_plots(report_of({})) == {}


def test_a_target_is_reached_on_its_own_side() -> None:
    found = {row.what: row for row in targets.rows(made_up())}
    assert found["upload of one client"].reached is True
    assert found["download of one client"].reached is False
    assert found["p99 of the chat meanwhile"].reached is False
    assert found["p99 of the latency"].reached is True


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    assert {row.reached for row in targets.rows({})} == {None}
    assert targets.shown(None, "ms") == "not measured"


def test_every_figure_of_the_targets_has_its_place_in_the_results() -> None:
    assert all(row.measured is not None for row in targets.rows(made_up()))


def test_the_full_form_is_the_larger_one() -> None:
    assert sizes.FULL.idle == 10_000
    assert sizes.FULL.repeat == 5
    assert dataclasses.replace(sizes.SHORT, say=sizes.FULL.say) != sizes.FULL
