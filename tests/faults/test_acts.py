"""`kill -9` while a teacher acts, again and again: every act that was answered is in force, and in
the audit, once and in its order; none is half done."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from random import Random

import pytest
from support.patience import patience, until
from support.raw_client import ClosedByServer, Packet, RawClient
from support.seed import drawn
from support.server_process import ServerProcess
from support.teachers import make_teacher

ROUNDS = int(os.environ.get("CHAT_ROUNDS", "200"))
STUDENTS = ("ann", "bob", "cid")
TEACHER, SPEAKER = "ms_lee", "zoe"


class Acting:
    """A teacher who does one act after the other until the server dies, and what must be true."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.state: dict[str, bool] = {}
        """What is in force, by "mute ann", "ban bob", "pause" and "read_only"."""
        self.answered: list[tuple[str, str | None]] = []
        """The acts that were answered and have changed something: action and user."""
        self.open: tuple[str, str | None, str, bool] | None = None
        """The act that had no answer at the kill: action, user, what it sets, and to what."""
        self.problem: BaseException | None = None

    def draw(self) -> tuple[str, Packet, str, bool]:
        name = self.chance.choice(STUDENTS)
        user: Packet = {"user": name}
        return self.chance.choice(
            (
                ("mute_user", {**user, "seconds": 0}, f"mute {name}", True),
                ("unmute_user", user, f"mute {name}", False),
                ("ban_user", {**user, "seconds": 600}, f"ban {name}", True),
                ("unban_user", user, f"ban {name}", False),
                ("pause_class", {"seconds": 600}, "pause", True),
                ("resume_class", {}, "pause", False),
                ("set_room", {"room_id": "lobby", "read_only": True}, "read_only", True),
                ("set_room", {"room_id": "lobby", "read_only": False}, "read_only", False),
                ("hide_message", {"message_id": 1}, "hidden", True),
                ("show_message", {"message_id": 1}, "hidden", False),
            )
        )

    def act(self, port: int) -> None:
        try:
            client = RawClient(port)
            try:
                client.login(TEACHER, take_over=True)
                while True:
                    self.step(client)
            finally:
                client.close()
        except (OSError, ClosedByServer):
            pass
        except BaseException as error:
            self.problem = error

    def step(self, client: RawClient) -> None:
        action, data, what, on = self.draw()
        user = SPEAKER if "message_id" in data else data.get("user")
        self.open = (action, user, what, on)
        reply = client.ask(action, **data)
        assert reply["status"] == "success", reply
        self.done(self.open)

    def done(self, act: tuple[str, str | None, str, bool]) -> None:
        action, user, what, on = act
        # muting, banning and pausing again is an act of its own
        changes = self.state.get(what, False) != on
        if action in ("mute_user", "ban_user", "pause_class") or changes:
            self.answered.append((action, user))
        self.state[what], self.open = on, None

    def compare(self, client: RawClient, student: RawClient) -> None:
        """See that the server has what was answered; of the open act, all or nothing."""
        audit, after = list[Packet](), 0
        while page := client.ask("get_audit", after_id=after, limit=1000)["data"]["acts"]:
            audit, after = audit + page, page[-1]["id"]
        acts = [(act["act"], act["user"]) for act in audit]
        assert acts[: len(self.answered)] == self.answered
        more = acts[len(self.answered) :]
        assert len(more) <= 1, "one act at most had no answer"
        found = self.found(client, student)
        if self.open is not None:
            action, user, what, on = self.open
            if more:
                assert more == [(action, user)] and found[what] == on
                self.done(self.open)
            elif found.get(what, False) != self.state.get(what, False):
                raise AssertionError(f"{self.open} is in force, but not in the audit")
        assert {what: found[what] for what in self.state} == self.state
        self.open = None

    @staticmethod
    def found(client: RawClient, student: RawClient) -> dict[str, bool]:
        sessions = client.ask("get_sessions", offline=True)["data"]["sessions"]
        rooms = client.ask("get_all_rooms")["data"]["rooms"]
        found = {f"mute {entry['chatid']}": entry["muted"] for entry in sessions}
        found |= {f"ban {entry['chatid']}": entry["banned"] for entry in sessions}
        reply = student.ask("send_message", room_id="elsewhere", content="x")
        found["pause"] = reply["action"] == "error"
        said = student.ask("get_messages", room_id="lobby", before_id=None)["data"]["messages"]
        found["hidden"] = {"rude": False, f"[removed by {TEACHER}]": True}[said[0]["content"]]
        found["read_only"] = next(room["read_only"] for room in rooms if room["id"] == "lobby")
        return found


def run_rounds(folder: Path, rounds: int) -> Acting:
    chance = drawn("acts", rounds)
    acting = Acting(chance)
    process = ServerProcess(folder, "--rate-limit", "0", "--rate-burst", "100000")
    process.start()
    make_teacher(folder, TEACHER)
    first = RawClient(process.port)
    for name in (*STUDENTS, SPEAKER):
        assert first.register(name)["action"] == "register_success"
    first.login(SPEAKER)
    assert first.say("lobby", "rude")["data"]["message_id"] == 1
    first.close()
    try:
        for _ in range(rounds):
            thread = threading.Thread(target=acting.act, args=(process.port,), name="teacher")
            enough = len(acting.answered) + 6
            thread.start()
            until(lambda n=enough: len(acting.answered) >= n or acting.problem, "no act is done")
            time.sleep(patience(chance.uniform(0.0, 0.2)))  # not for order: how long it may act
            process.kill()
            thread.join(patience(10))
            assert not thread.is_alive() and acting.problem is None, acting.problem
            process.start()
            teacher, student = RawClient(process.port), RawClient(process.port)
            teacher.login(TEACHER)
            student.login(SPEAKER, take_over=True)
            acting.compare(teacher, student)
            teacher.close()
            student.close()
    finally:
        process.kill()
    return acting


def test_acts_that_were_answered_survive_kills(tmp_path: Path) -> None:
    acting = run_rounds(tmp_path / "data", 2)
    assert len(acting.answered) > 10


@pytest.mark.long
def test_acts_that_were_answered_survive_hundreds_of_kills(tmp_path: Path) -> None:
    acting = run_rounds(tmp_path / "data", ROUNDS)
    print(f"{ROUNDS} rounds, {len(acting.answered)} acts: no fault")
