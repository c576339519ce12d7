"""A client of the 24 packets while a teacher mutes, pauses, kicks and bans: it meets `error` and
closed connections, nothing else, and loses nothing that was confirmed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import fresh_name
from support.files import Upload, download
from support.in_process import Serve, member, stranger
from support.patience import patience
from support.raw_client import ClosedByServer, NothingCame, Packet, RawClient
from support.server_process import ServerProcess
from support.teachers import teacher_of

SERVER_OPTIONS = ("--rate-limit", "0", "--login-failures", "0")
SEED = json.loads(
    (Path(__file__).resolve().parents[1] / "data" / "packets.json").read_text("utf-8")
)
SEED_ACTIONS = {entry["packet"]["action"] for entry in SEED}


class Plain(RawClient):
    """A raw client that keeps the action of every packet that comes."""

    def __init__(self, port: int, actions: set[str]) -> None:
        self.actions = actions
        super().__init__(port)

    def _read(self, deadline: float) -> Packet:
        packet = super()._read(deadline)
        self.actions.add(packet["action"])
        return packet


class Student:
    """Somebody who goes on, whatever the teacher does: says, sends files, logs in again."""

    def __init__(self, port: int, name: str) -> None:
        self.port, self.name, self.room = port, name, fresh_name("room")
        self.actions: set[str] = set()
        self.codes: set[tuple[str, str]] = set()
        """What was refused: the action and the code."""
        self.said: dict[int, str] = {}
        self.files: dict[str, bytes] = {}
        self.closed = 0
        self.stopped = threading.Event()
        self.problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="student")
        self._thread.start()

    def stop(self) -> None:
        self.stopped.set()
        self._thread.join(patience(20))
        assert not self._thread.is_alive()
        assert self.problem is None, self.problem

    def wait_for(self, what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + patience(20)
        while not what():
            assert self.problem is None and time.monotonic() < deadline, (self.problem, self.codes)
            time.sleep(0.005)

    def _run(self) -> None:
        number = 0
        try:
            while not self.stopped.is_set():
                client = Plain(self.port, self.actions)
                try:
                    if not self._granted(client.login(self.name)):
                        continue
                    while not self.stopped.is_set():
                        number += 1
                        self._turn(client, f"{self.name} {number}")
                except (ClosedByServer, ConnectionError):
                    self.closed += 1
                finally:
                    client.close()
        except BaseException as error:
            self.problem = error

    def _granted(self, reply: Packet) -> bool:
        if reply["action"] == "error":
            self.codes.add((reply["original_action"], reply["code"]))
        return reply["action"] != "error" and reply["action"] != "login_fail"

    def _turn(self, client: RawClient, text: str) -> None:
        counted = client.ask("send_message", room_id=self.room, content=text)
        if self._granted(counted):
            ack = client.confirm(counted["data"]["transaction_id"])
            if self._granted(ack):
                self.said[ack["data"]["message_id"]] = text
        upload = Upload(client, self.room, f"{text}.txt", text.encode())
        if self._granted(upload.init()):
            upload.send_all()
            if self._granted(upload.fin()):
                self.files[upload.file_path] = text.encode()


def test_a_client_of_the_24_packets_meets_errors_and_closed_connections_only(
    server: ServerProcess,
) -> None:
    teacher, name = teacher_of(server), fresh_name("plain")
    teacher.request({"action": "ping"})
    first = RawClient(server.port)
    first.register(name)
    first.close()
    student = Student(server.port, name)
    student.wait_for(lambda: bool(student.files))

    def until_refused(code: str, action: str = "send_message") -> None:
        student.wait_for(lambda: (action, code) in student.codes)

    def until_it_goes_on() -> None:
        before = len(student.files)
        student.wait_for(lambda: len(student.files) > before)

    steps: tuple[tuple[Packet, Callable[[], None], Packet | None], ...] = (
        (
            {"action": "mute_user", "user": name, "seconds": 600},
            lambda: until_refused("muted"),
            {"action": "unmute_user", "user": name},
        ),
        (
            {"action": "pause_class", "seconds": 600},
            lambda: until_refused("read_only"),
            {"action": "resume_class"},
        ),
        (
            {"action": "set_room", "room_id": student.room, "read_only": True},
            lambda: until_refused("read_only", "file_send_init"),
            {"action": "set_room", "room_id": student.room, "read_only": False},
        ),
        (
            {"action": "kick_user", "user": name},
            lambda: student.wait_for(lambda: student.closed > 0),
            None,
        ),
        (
            {"action": "ban_user", "user": name, "seconds": 600},
            lambda: until_refused("banned", "login"),
            {"action": "unban_user", "user": name},
        ),
    )
    for act, met, undo in steps:
        for packet in (act, undo):
            if packet is not None:
                data: dict[str, Any] = {k: v for k, v in packet.items() if k != "action"}
                reply = teacher.ask(packet["action"], **data)
                assert reply["status"] == "success", reply
            if packet is act:
                met()
        until_it_goes_on()
    student.stop()
    assert student.actions <= SEED_ACTIONS, student.actions - SEED_ACTIONS
    # the teacher raised no hand, and the student has lost nothing
    history: dict[int, str] = {}
    after = 0
    while page := teacher.ask("get_messages", room_id=student.room, after_id=after)["data"][
        "messages"
    ]:
        history |= {entry["message_id"]: entry["content"] for entry in page}
        after = page[-1]["message_id"]
    assert student.said.items() <= history.items()
    for file_path in (min(student.files), max(student.files)):
        assert download(teacher, student.room, file_path)[0] == student.files[file_path]
    listed = teacher.ask("file_list_req", room_id=student.room)["data"]["files"]
    assert {entry["file_path"] for entry in listed} >= student.files.keys()
    teacher.close()


def test_a_pause_holds_for_a_whole_class_as_soon_as_it_is_answered(serve: Serve) -> None:
    service = serve(rate_limit=0, message_quota=0)
    students = [member(service, f"s{number}") for number in range(60)]
    pending = [one.propose("lobby", "waits")["data"]["transaction_id"] for one in students]
    with service.database.transaction() as connection:
        connection.execute("UPDATE accounts SET role = 'teacher' WHERE folded = 's0'")
    teacher = students[0]
    teacher.close()
    teacher = stranger(service)
    deadline = time.monotonic() + patience(10)
    while teacher.login("s0", take_over=True)["action"] != "login_success":
        assert time.monotonic() < deadline
    assert teacher.ask("pause_class", seconds=300)["action"] == "class_paused"
    number = teacher.say("lobby", "quiet")["data"]["message_id"]
    for one, transaction in zip(students[1:], pending[1:], strict=True):
        assert one.confirm(transaction)["code"] == "read_only"
        assert one.ask("send_message", room_id="lobby", content="x")["code"] == "read_only"
    page = teacher.ask("get_messages", room_id="lobby", after_id=0)["data"]["messages"]
    assert [entry["message_id"] for entry in page] == [number]
    try:
        students[1].receive_event("class_paused", timeout=0.01)
    except NothingCame:
        pass
    else:
        raise AssertionError("who asked for no events gets none")
