"""The commands that steer the class: what they change, what a running server makes of them, and
what they refuse."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.gates import another_process
from support.in_process import Clock, Serve, member, stranger
from support.patience import patience
from support.raw_client import RawClient, error_code

from client.terminal.teacher_commands import seconds_in
from server.archive import questions
from server.command_line import admin, steering
from server.command_line.arguments import parse, typed
from server.running import from_outside, housekeeping
from server.running.from_outside import FORGOTTEN_SECONDS
from server.running.service import Service
from server.writing.writer import Writer
from storage import accounts, acts, errands, messages
from storage.errors import StorageError


class Folder:
    """A data folder and the commands on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        assert self.run("adduser", "ms_lee", "--teacher") == ""
        assert self.run("adduser", "ann") == ""

    def run(self, *argv: str, status: int = 0) -> str:
        """Run a command; return what it prints on stdout, the last line of stderr is `told`."""
        out, err = io.StringIO(), io.StringIO()
        invocation = parse(["--data", str(self.path), "--password-cost", "4", *argv], {})
        assert admin.run(invocation, io.StringIO("password\n"), out, err) == status, err.getvalue()
        self.told = err.getvalue()
        return out.getvalue()

    def refused(self, *argv: str) -> str:
        assert self.run(*argv, status=1) == ""
        return self.told


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A folder whose server looks often for what other processes did."""
    monkeypatch.setattr(Writer, "TICK_SECONDS", 0.02)
    monkeypatch.setattr(housekeeping, "LOOK_EVERY_SECONDS", 0.0)
    return Folder(tmp_path / "data")


def logged_in(service: Service, name: str, **data: object) -> RawClient:
    client = stranger(service)
    assert client.login(name, **data)["action"] == "login_success"
    return client


def refusal_of(client: RawClient, action: str, **data: object) -> str:
    """What a student's request is refused with, waiting for the server to hear of an act."""
    deadline = time.monotonic() + patience(10)
    while time.monotonic() < deadline:
        reply = client.ask(action, **data)
        if reply["action"] == "error":
            return error_code(reply)
        client.confirm(reply["data"]["transaction_id"], False)
    raise AssertionError("it is never refused")


def test_a_time_without_a_unit_is_minutes_as_in_the_client() -> None:
    for text in ("90s", "10m", "10", "2h", "3d", "0"):
        assert steering._seconds(text) == seconds_in(text)


@pytest.mark.parametrize(
    ("words", "missing"),
    [(("mute",), "NAME"), (("hide",), "ID"), (("export",), "-o/--output")],
    ids=lambda given: given[0],
)
def test_only_what_is_needed_is_called_missing(
    words: tuple[str, ...], missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(words, {})
    page = f"{typed()} {words[0]} --help"
    assert f"arguments are required: {missing} (see {page})\n" in capsys.readouterr().err


def test_what_a_sentence_tells_to_type_can_be_typed(folder: Folder) -> None:
    python = "py" if os.name == "nt" else "python3"
    assert f"'{python} chat_server.py users' lists all" in folder.refused("mute", "nobody")


def test_what_is_done_without_a_server_is_in_force_when_one_starts(
    folder: Folder, serve: Serve
) -> None:
    folder.run("mute", "ann", "10m", "please", "listen")
    assert "'ann' is muted until " in folder.told
    folder.run("room", "lobby", "--uploads", "off")
    assert "everybody writes, only teachers send files" in folder.told
    folder.run("announce", "Hello", "class")
    assert "announced as 'ms_lee' in 'lobby': number 1" in folder.told
    service = serve()
    ann = logged_in(service, "ann")
    refused = ann.ask("send_message", room_id="lobby", content="hi")
    assert error_code(refused) == "muted" and "please listen" in refused["message"]
    [said] = ann.ask("get_messages", room_id="lobby", after_id=0)["data"]["messages"]
    assert (said["content"], said["announce"]) == ("Hello class", True)


def test_a_running_server_tells_what_the_commands_do(folder: Folder, serve: Serve) -> None:
    service = serve()
    ann, bob = logged_in(service, "ann", features=["events"]), member(service, "bob")
    number = bob.say("room", "rude")["data"]["message_id"]
    folder.run("mute", "bob", "0")
    assert ann.receive_event("user_muted", chatid="bob")["until"] is None
    assert refusal_of(bob, "send_message", room_id="room", content="hi") == "muted"
    folder.run("unmute", "bob")
    ann.receive_event("user_unmuted", chatid="bob")
    folder.run("hide", str(number), "rude")
    event = ann.receive_event("message_hidden", message_id=number)
    assert (event["content"], event["reason"]) == ("[removed by ms_lee]", "rude")
    folder.run("show", str(number))
    assert ann.receive_event("message_shown", message_id=number)["content"] == "rude"
    folder.run("room", "room", "--read-only", "on")
    assert ann.receive_event("room_set", room_id="room")["read_only"] is True
    folder.run("pause", "5m")
    ann.receive_event("class_paused")
    assert refusal_of(bob, "send_message", room_id="lobby", content="hi") == "read_only"
    folder.run("announce", "Back at noon", "--room", "room")
    came = bob.receive_message("Back at noon")["data"]
    assert (came["sender_chatid"], came["announce"]) == ("ms_lee", True)
    assert bob.answer({"data": came})["data"]["confirm"] is True
    folder.run("resume")
    ann.receive_event("class_resumed")
    folder.run("kick", "bob", "calm down")
    assert ann.receive_event("user_kicked", chatid="bob")["reason"] == ""
    bob.expect_closed()
    folder.run("ban", "ann", "2h", "enough")
    packets = [packet["data"] for packet in ann.expect_closed()]
    assert packets[-1] == {"type": "user_kicked", "chatid": "ann", "reason": "enough"}
    refused = stranger(service).login("ann")
    assert error_code(refused) == "banned" and "enough" in refused["message"]
    folder.run("unban", "ann")
    deadline = time.monotonic() + patience(10)
    while (again := stranger(service).login("ann"))["action"] != "login_success":
        assert time.monotonic() < deadline, again


def test_a_teacher_is_muted_by_the_command_line_alone(folder: Folder, serve: Serve) -> None:
    service = serve()
    teacher = logged_in(service, "ms_lee")
    assert error_code(teacher.ask("mute_user", user="ms_lee", seconds=1)) == "forbidden"
    folder.run("mute", "ms_lee")
    assert refusal_of(teacher, "send_message", room_id="lobby", content="x") == "muted"
    folder.run("ban", "ms_lee")
    teacher.expect_closed()


def test_a_mute_does_not_outlive_a_change_of_the_role(folder: Folder, serve: Serve) -> None:
    folder.run("mute", "ann")
    folder.run("role", "ann", "teacher")
    service = serve()
    logged_in(service, "ann").say("lobby", "free")


def test_a_mute_ends_by_the_monotonic_clock_and_after_a_restart_by_the_time_of_day(
    folder: Folder, serve: Serve
) -> None:
    clock, wall = Clock(100.0), Clock(1_700_000_000.0)
    service = serve(clock=clock, wall=wall, login_timeout=0, frame_timeout=0)
    teacher, ann = logged_in(service, "ms_lee"), logged_in(service, "ann")
    for name, seconds in (("ann", 60), ("ann", 600)):
        reply = teacher.ask("mute_user", user=name, seconds=seconds)
        assert reply["data"]["until"] is not None
    wall.now += 10_000  # somebody sets the clock
    refused = ann.ask("send_message", room_id="lobby", content="x")
    assert error_code(refused) == "muted"
    clock.now += 601
    ann.say("lobby", "by itself")
    teacher.ask("mute_user", user="ann", seconds=600)
    assert service.stop() == []
    wall.now += 599
    later = serve(clock=Clock(0.0), wall=wall, login_timeout=0, frame_timeout=0)
    refused = logged_in(later, "ann").ask("send_message", room_id="lobby", content="x")
    assert error_code(refused) == "muted"
    assert later.stop() == []
    wall.now += 2
    last = serve(clock=Clock(0.0), wall=wall, login_timeout=0, frame_timeout=0)
    ann = logged_in(last, "ann")
    ann.say("lobby", "over")
    with last.database.reading() as reader:
        assert acts.restrictions(reader) == [], "what is over is removed"


def test_what_is_over_takes_nothing_newer_with_it(
    folder: Folder, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mute has ended, and the command line mutes again before the server has looked."""
    clock = Clock(0.0)
    service = serve(clock=clock, login_timeout=0, frame_timeout=0)
    teacher, ann = logged_in(service, "ms_lee"), logged_in(service, "ann")
    teacher.ask("mute_user", user="ann", seconds=60)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(service.database, "changed_elsewhere", lambda: False)
        service.writer.run(lambda _: None)  # it does not look from here on
        clock.now = 61.0
        folder.run("mute", "ann", "1h")
        ann.say("lobby", "the old one is over")
    assert refusal_of(ann, "send_message", room_id="lobby", content="x") == "muted"


def test_a_new_role_ends_the_session_and_says_why(folder: Folder, serve: Serve) -> None:
    ann = logged_in(serve(), "ann", features=["events"])
    folder.run("role", "ann", "teacher")
    data = ann.expect_closed()[-1]["data"]
    assert data == {"type": "session_ended", "reason": "role_changed"}


def test_a_ban_that_ends_while_the_banned_one_logs_in(folder: Folder, serve: Serve) -> None:
    clock = Clock(0.0)
    service = serve(clock=clock, wall=Clock(1_700_000_000.0), login_timeout=0, frame_timeout=0)
    teacher = logged_in(service, "ms_lee")
    teacher.ask("ban_user", user="ann", seconds=60)
    assert error_code(stranger(service).login("ann")) == "banned"
    clock.now = 60.0
    logged_in(service, "ann").say("lobby", "back")


def test_a_ban_that_comes_while_the_banned_one_logs_in(
    folder: Folder, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password is right before the ban, and the session is stored behind it."""
    service = serve()
    teacher, ann = logged_in(service, "ms_lee"), stranger(service)
    run, held, go_on = service.writer.run, threading.Event(), threading.Event()

    def slow(change: Callable[..., object], after: object = None, **more: object) -> object:
        if "_go_online" in getattr(change, "__qualname__", ""):
            held.set()
            assert go_on.wait(patience(10))
        return run(change, after, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(service.writer, "run", slow)
    ann.send({"action": "login", "data": {"chatid": "ann", "password": "password"}})
    assert held.wait(patience(10))
    assert teacher.ask("ban_user", user="ann", seconds=60)["action"] == "user_banned"
    go_on.set()
    assert error_code(ann.receive()) == "banned"


def test_who_and_rooms_and_audit_are_lists(folder: Folder, serve: Serve) -> None:
    service = serve()
    ann = logged_in(service, "ann")
    ann.ask("raise_hand", text="why?")
    ann.ask("create_room", participants=[], room_name="mine")
    folder.run("mute", "ann", "1h", "loud")
    assert refusal_of(ann, "send_message", room_id="lobby", content="x") == "muted"
    header, line = folder.run("who").splitlines()
    assert header.split("\t")[0] == "NAME" and line.startswith("ann\tstudent\t")
    assert "muted until 20" in line and "hand why?" in line
    listed = folder.run("rooms").splitlines()
    assert "lobby\tlobby\topen\toff\ton" in listed
    assert any(line.endswith("\tmine\tprivate\toff\ton") for line in listed)
    last = folder.run("audit", "--last", "1").splitlines()
    assert len(last) == 2 and "(command line)\tmute_user\tann\t-\t20" in last[1]
    assert last[1].endswith("\tloud")


def test_what_is_done_to_accounts_and_rooms_is_in_the_audit(folder: Folder, serve: Serve) -> None:
    service = serve()
    ann = logged_in(service, "ann")
    room_id = ann.ask("create_room", participants=[], room_name="mine")["data"]["room_id"]
    ann.ask("delete_room", room_id=room_id)
    folder.run("passwd", "ann")
    folder.run("role", "ann", "teacher")
    folder.run("role", "ann", "teacher")  # changes nothing
    folder.run("restore-room", room_id)
    folder.run("deluser", "ann")
    rows = [line.split("\t")[2:6] for line in folder.run("audit").splitlines()[1:]]
    assert rows == [
        ["(command line)", "passwd", "ann", "-"],
        ["(command line)", "role", "ann", "teacher"],
        ["(command line)", "restore-room", "-", room_id],
        ["(command line)", "deluser", "ann", "-"],
    ]


def test_what_changes_nothing_says_so_and_is_not_in_the_audit(folder: Folder) -> None:
    with_one = folder.run("announce", "once") or folder.run("audit")
    for words, told in (
        (("unmute", "ann"), "is not muted: nothing to do"),
        (("unban", "ann"), "is not banned: nothing to do"),
        (("resume",), "no pause: nothing to do"),
        (("show", "1"), "is not hidden: nothing to do"),
        (("room", "lobby"), "everybody writes, students may send files"),
    ):
        folder.run(*words)
        assert told in folder.told
    assert folder.run("audit") == with_one
    folder.run("hide", "1", "--as", "MS_LEE")
    folder.run("hide", "1")
    assert "hidden already" in folder.told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("mute", "nobody", "1m"), "no account 'nobody'"),
        (("kick", "nobody"), "no account 'nobody'"),
        (("ban", "no name", "1m"), "NAME 'no name'"),
        (("mute", "ann", "soon"), "TIME 'soon': expected how long"),
        (("mute", "ann", "-5"), ""),
        (("ban", "ann", "367d"), "at most a year"),
        (("pause", "1.5h"), "TIME '1.5h'"),
        (("mute", "ann", "1m", "x" * 201), "WHY: expected at most 200"),
        (("kick", "ann", "a\x1bb"), "WHY: expected at most 200 printable"),
        (("room", "nowhere", "--read-only", "on"), "no room 'nowhere'"),
        (("announce", "hi", "--room", "nowhere"), "no room 'nowhere'"),
        (("announce", " "), "TEXT: expected something to say"),
        (("announce", "hi", "--as", "ann"), "'ann' is no teacher"),
        (("announce", "hi", "--as", "bob"), "no account 'bob'"),
        (("hide", "1"), "there is no message 1"),
        (("show", "x"), "ID 'x': expected the number"),
        (("audit", "--last", "x"), "--last 'x': expected a whole number"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, tuple) else "",
)
def test_what_cannot_be_is_refused_with_a_sentence(
    folder: Folder, words: tuple[str, ...], told: str
) -> None:
    try:
        assert told in folder.refused(*words)
    except SystemExit as ended:  # argparse takes -5 for an option
        assert ended.code == 2
    assert folder.run("audit").count("\n") == 1


def test_who_says_that_no_server_runs(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "ask", lambda path, seconds: None)
    assert "no server answers" in folder.refused("who")


def test_without_one_teacher_an_announcement_needs_a_name(folder: Folder) -> None:
    folder.run("adduser", "mr_ray", "--teacher")
    assert "--as (mr_ray, ms_lee)" in folder.refused("announce", "hi")
    folder.run("announce", "hi", "--as", "mr_ray")
    for name in ("ms_lee", "mr_ray"):
        folder.run("role", name, "student")
    assert "nobody is one" in folder.refused("announce", "hi")


def test_an_errand_that_no_server_does_is_taken_back(
    folder: Folder, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    monkeypatch.setattr(steering, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(service._housekeeping, "on_change_elsewhere", lambda: None)
    assert "did not answer within 0.1 s" in folder.refused("announce", "hi")
    with service.database.reading() as reader:
        assert errands.waiting(reader, 0) == []
        assert messages.get(reader, 1) is None


@pytest.mark.parametrize(
    ("kind", "question", "told"),
    [
        ("dance", {}, "knows no errand 'dance'"),
        ("announce", {"room_id": "nowhere", "account_id": 1, "text": "x"}, "no room 'nowhere'"),
        ("announce", {"room_id": "lobby", "account_id": 99, "text": "x"}, "deleted"),
        ("announce", {"room_id": "lobby", "account_id": 1, "text": "x" * 20_000}, "more than"),
        ("announce", {"of": "another version"}, "met a defect"),
    ],
)
def test_an_errand_that_cannot_be_done_is_answered_with_why(
    folder: Folder, serve: Serve, kind: str, question: dict[str, object], told: str
) -> None:
    service = serve()
    with service.database.transaction() as connection:
        number = errands.ask(connection, kind, json.dumps(question), int(time.time()))
    service.writer.run(lambda _: None)
    service._housekeeping.on_change_elsewhere()
    with service.database.reading() as reader:
        answer = errands.answer_of(reader, number)
    assert answer is not None and told in json.loads(answer)["error"]


def test_an_answer_with_an_error_is_told(
    folder: Folder, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(max_content=10)
    assert "more than 10 bytes; nothing was announced" in folder.refused("announce", "x" * 11)


def test_an_errand_that_was_taken_back_meanwhile_is_not_done(
    folder: Folder, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    look = service._housekeeping.on_change_elsewhere
    monkeypatch.setattr(service._housekeeping, "on_change_elsewhere", lambda: None)
    question = {"room_id": "lobby", "account_id": 1, "text": "The bell rings."}
    with another_process(service) as connection:
        number = errands.ask(connection, "announce", json.dumps(question), int(time.time()))
    transaction = service.database.transaction

    def late() -> Any:  # the database was kept busy for longer than the command has waited
        with another_process(service) as connection:
            assert errands.take_back(connection, number) is None, "nothing was announced"
        return transaction()

    monkeypatch.setattr(service.database, "transaction", late)
    look()
    with service.database.reading() as reader:
        assert messages.get(reader, 1) is None


def test_an_errand_of_a_command_that_was_killed_is_not_done_later(
    folder: Folder, serve: Serve
) -> None:
    service = serve()
    question = {"room_id": "lobby", "account_id": 1, "text": "The bell rings."}
    with service.database.transaction() as connection:
        asked_at = int(time.time()) - FORGOTTEN_SECONDS - 1
        errands.ask(connection, "announce", json.dumps(question), asked_at)
    service.writer.run(lambda _: None)
    service._housekeeping.on_change_elsewhere()
    with service.database.reading() as reader:
        assert messages.get(reader, 1) is None
        assert errands.waiting(reader, 0) == [], "its text is not kept"


def test_what_was_done_is_in_force_though_the_first_look_at_it_failed(
    folder: Folder, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    ann, bob = logged_in(service, "ann", features=["events"]), member(service, "bob")
    looked: list[str] = []
    credentials, restrictions = accounts.credentials, acts.restrictions

    def fail(part: str) -> None:
        if part not in looked:
            looked.append(part)
            raise StorageError("no reader connection was free")

    def read_credentials(connection: sqlite3.Connection) -> dict[int, tuple[int, str]]:
        fail("credentials")
        return credentials(connection)

    def read_restrictions(connection: sqlite3.Connection) -> list[acts.Row]:
        fail("restrictions")
        return restrictions(connection)

    monkeypatch.setattr(accounts, "credentials", read_credentials)
    monkeypatch.setattr(acts, "restrictions", read_restrictions)
    folder.run("mute", "bob", "0")
    assert refusal_of(bob, "send_message", room_id="lobby", content="hi") == "muted"
    looked.clear()
    folder.run("deluser", "ann")
    ended = {"type": "session_ended", "reason": "account_deleted"}
    told = [packet["data"] for packet in ann.expect_closed()]
    assert told.count(ended) == 1 and looked == ["credentials", "restrictions"]


def test_what_was_done_holds_for_all_that_is_stored_after_it(
    folder: Folder, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "LOOK_EVERY_SECONDS", 3600.0)  # no look comes before
    service = serve()
    acts_of: list[tuple[str, tuple[str, ...], str]] = [
        ("bob", ("mute", "bob", "0"), "muted"),
        ("cat", ("ban", "cat", "0"), "not_logged_in"),
        ("dan", ("kick", "dan"), "not_logged_in"),
        ("eve", ("room", "lobby", "--read-only", "on"), "read_only"),
        ("fay", ("pause", "0"), "read_only"),
    ]
    students = {name: member(service, name) for name, _, _ in acts_of}
    for name, words, code in acts_of:
        opened = students[name].propose("lobby", "too late")["data"]["transaction_id"]
        folder.run(*words)
        assert error_code(students[name].confirm(opened)) == code, words
        if words[0] == "room":
            folder.run("room", "lobby", "--read-only", "off")
    service.writer.run(lambda _: None)
    monkeypatch.setattr(housekeeping, "LOOK_EVERY_SECONDS", 0.0)
    for name in ("cat", "dan"):
        students[name].expect_closed()


def test_a_packet_leaves_alone_what_a_command_has_set_a_moment_before(
    folder: Folder, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "LOOK_EVERY_SECONDS", 3600.0)
    lee = logged_in(serve(), "ms_lee")
    lee.say("lobby", "the server remembers the room")
    folder.run("room", "lobby", "--read-only", "on")
    assert lee.ask("set_room", room_id="lobby", uploads=False)["data"]["read_only"] is True


def test_a_defect_in_telling_of_one_act_keeps_back_no_other(
    folder: Folder, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    ann = logged_in(service, "ann", features=["events"])
    real = from_outside.tell_act

    def tell_act(context: Any, delivery: Any, act: acts.Act, state: Any) -> None:
        if act.act == "mute_user":
            raise RuntimeError("a defect")
        real(context, delivery, act, state)

    monkeypatch.setattr(from_outside, "tell_act", tell_act)
    folder.run("mute", "ann", "1h")
    folder.run("pause", "5m")
    ann.receive_event("class_paused")
    assert refusal_of(ann, "send_message", room_id="lobby", content="x") == "muted"
