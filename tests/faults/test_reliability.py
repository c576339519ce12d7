"""`kill -9` under load, again and again: what was acknowledged or delivered is there, once, under
its number, in its order.

The full form (`-m long`) makes as many rounds as CHAT_ROUNDS says, 500 unless given. The checker is
itself tested with planted faults of every kind.
"""

from __future__ import annotations

import bisect
import copy
import itertools
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.history_checker import Ack, Observed, Seen, faults
from support.patience import patience
from support.seed import drawn
from support.server_process import ServerProcess
from support.talkers import Talker, history_of, one_round

ROUNDS = int(os.environ.get("CHAT_ROUNDS", "500"))
SENDERS = 20
CHECK_ALL_EVERY = 50


def run_rounds(tmp_path: Path, rounds: int) -> Observed:
    """Rounds of talk and `kill -9`; everything seen, with the history at the end."""
    observed, guard, chance, known = (
        Observed(),
        threading.Lock(),
        drawn("rounds", rounds),
        dict[Seen, Seen](),
    )
    for number in range(SENDERS):  # made before any thread looks
        observed.sent[f"talker{number}"] = []
    talkers = [Talker(name, observed, guard, known) for name in observed.sent]
    process = ServerProcess(tmp_path / "data", "--rate-limit", "0", "--password-cost", "4")
    process.start()
    try:
        for number in range(1, rounds + 1):
            acks, sessions = len(observed.acks), len(observed.live)
            one_round(process, talkers, patience(chance.uniform(0.05, 0.4)))
            process.restart()
            keep_history(process, observed, known)
            found = faults(seen_since(observed, acks, sessions))
            if number % CHECK_ALL_EVERY == 0:  # what is checked only then is not forgiven
                found += faults(observed)
            assert not found, "\n".join(found[:20])
        observed.history = history_of(process, 0)
        check_journal(tmp_path / "data", observed)
    finally:
        process.kill()
    return observed


def seen_since(observed: Observed, acks: int, sessions: int) -> Observed:
    """What was seen after so many acks and sessions, with all of the history that it speaks of."""
    part = Observed(
        sent=observed.sent,
        acks=observed.acks[acks:],
        live=dict(itertools.islice(observed.live.items(), sessions, None)),
    )
    spoken_of = [ack.message_id for ack in part.acks] + [
        seen[0].message_id for seen in part.live.values() if seen
    ]
    first = bisect.bisect_left(
        observed.history, min(spoken_of, default=0), key=lambda seen: seen.message_id
    )
    part.history = observed.history[first:]
    return part


def keep_history(process: ServerProcess, observed: Observed, known: dict[Seen, Seen]) -> None:
    """Read only what is new: the whole is read at the end, and compared with this."""
    last = observed.earlier[-1].message_id if observed.earlier else 0
    observed.earlier += [known.setdefault(seen, seen) for seen in history_of(process, last)]
    observed.history = list(observed.earlier)


def check_journal(folder: Path, observed: Observed) -> None:
    """The journal of the lobby holds whole frames, and each message exactly once, in its order."""
    contents = []
    for file in sorted((folder / "journal" / "room-000001").glob("*.frames")):
        data, at = file.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack_from(">I", data, at)
            at += 4 + size
            assert at <= len(data), "a frame is cut"
            contents.append(data[at - size : at])
    assert [
        f'"content":"{seen.key}"'.encode() in payload
        for seen, payload in zip(observed.history, contents, strict=True)
    ] == [True] * len(observed.history)
    assert len(contents) == len(observed.history)


@pytest.mark.wine("connections of a killed server may stay open")
def test_what_was_acknowledged_survives_kills_under_load(tmp_path: Path) -> None:
    observed = run_rounds(tmp_path, 3)
    assert faults(observed) == []
    assert len(observed.acks) > SENDERS and observed.live


@pytest.mark.long
def test_what_was_acknowledged_survives_hundreds_of_kills(tmp_path: Path) -> None:
    observed = run_rounds(tmp_path, ROUNDS)
    assert faults(observed) == []
    print(
        f"{ROUNDS} rounds, {len(observed.acks)} acks, "
        f"{sum(map(len, observed.live.values()))} deliveries: no fault"
    )


# --- The checker is checked -----------------------------------------------------------------------


def good_run() -> Observed:
    observed = Observed()
    observed.sent = {"ada": ["ada:1", "ada:2"], "bob": ["bob:1", "bob:2"]}
    observed.history = [
        Seen(1, "ada", "ada:1"),
        Seen(2, "bob", "bob:1"),
        Seen(3, "ada", "ada:2"),
        Seen(5, "bob", "bob:2"),
    ]
    observed.acks = [Ack("ada", "ada:1", 1), Ack("bob", "bob:1", 2), Ack("ada", "ada:2", 3)]
    observed.earlier = observed.history[:2]
    observed.live = {
        "ada/1": [observed.history[1], observed.history[3]],
        "bob/1": [observed.history[0], observed.history[2]],
    }
    return observed


def lose(observed: Observed) -> None:
    del observed.history[2]


def lose_what_was_only_delivered(observed: Observed) -> None:
    del observed.history[3]


def lose_what_was_seen_earlier(observed: Observed) -> None:
    observed.acks, observed.live = [], {}
    del observed.history[0]


def double_in_history(observed: Observed) -> None:
    observed.history.append(Seen(6, "ada", "ada:1"))


def double_live(observed: Observed) -> None:
    observed.live["bob/1"].insert(1, observed.history[0])


def use_an_id_twice(observed: Observed) -> None:
    observed.history[3] = Seen(3, "bob", "bob:2")


def invent(observed: Observed) -> None:
    observed.history.append(Seen(6, "ada", "ada:99"))


def put_in_anothers_mouth(observed: Observed) -> None:
    observed.history[1] = Seen(2, "ada", "bob:1")


def renumber(observed: Observed) -> None:
    observed.history[2] = Seen(4, "ada", "ada:2")


def reorder_live(observed: Observed) -> None:
    observed.live["bob/1"].reverse()


def reorder_history(observed: Observed) -> None:
    observed.history[0], observed.history[1] = observed.history[1], observed.history[0]


def break_the_senders_order(observed: Observed) -> None:
    observed.sent["ada"].reverse()


def leave_a_gap_live(observed: Observed) -> None:
    observed.live["carol/1"] = [observed.history[0], observed.history[2]]


def echo(observed: Observed) -> None:
    observed.live["ada/1"].insert(0, observed.history[0])


PLANTED: dict[Callable[[Observed], None], str] = {
    lose: "lost",
    lose_what_was_only_delivered: "lost",
    lose_what_was_seen_earlier: "lost",
    double_in_history: "doubled",
    double_live: "doubled",
    use_an_id_twice: "doubled",
    invent: "unexpected",
    put_in_anothers_mouth: "unexpected",
    renumber: "renumbered",
    reorder_live: "reordered",
    reorder_history: "reordered",
    break_the_senders_order: "out of the sender's order",
    leave_a_gap_live: "live differs",
    echo: "live differs",
}


def test_the_checker_finds_nothing_in_a_good_run() -> None:
    assert faults(good_run()) == []


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_the_checker_finds_a_planted_fault(plant: Callable[[Observed], None]) -> None:
    observed = copy.deepcopy(good_run())
    plant(observed)
    assert any(fault.startswith(PLANTED[plant]) for fault in faults(observed)), faults(observed)
