"""A class of sixty, three of whom misbehave, is brought to order: once by commands alone, once by
packets alone."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from support.files import Upload
from support.in_process import Serve, member, stranger
from support.raw_client import Packet, RawClient, error_code

from server.command_line import admin
from server.command_line.arguments import parse
from server.running import housekeeping
from server.running.service import Service
from server.writing.writer import Writer

STUDENTS = 60
Do = Callable[..., None]


def run(folder: Path, *words: str) -> None:
    invocation = parse(["--data", str(folder), "--password-cost", "4", *words], {})
    err = io.StringIO()
    assert admin.run(invocation, io.StringIO("password\n"), io.StringIO(), err) == 0, err.getvalue()


def by_commands(folder: Path, service: Service) -> Do:
    words: dict[str, Callable[[Packet], tuple[str, ...]]] = {
        "mute_user": lambda data: ("mute", data["user"], "10m", data["reason"]),
        "hide_message": lambda data: ("hide", str(data["message_id"])),
        "kick_user": lambda data: ("kick", data["user"], data["reason"]),
        "ban_user": lambda data: ("ban", data["user"], "1h"),
        "set_room": lambda data: ("room", data["room_id"], "--read-only", "on"),
        "pause_class": lambda data: ("pause", "5m"),
        "resume_class": lambda data: ("resume",),
        "announce": lambda data: ("announce", data["content"]),
    }

    def do(action: str, **data: object) -> None:
        run(folder, *words[action](data))
        housekeeping_done(service)

    return do


def housekeeping_done(service: Service) -> None:
    """Wait until the writer has looked at what other processes did."""
    for _ in range(2):
        service.writer.run(lambda _: None)


def by_packets(folder: Path, service: Service) -> Do:
    teacher = stranger(service)
    assert teacher.login("ms_lee")["data"]["role"] == "teacher"

    def do(action: str, **data: object) -> None:
        if action == "announce":
            teacher.say("lobby", str(data["content"]), announce=True)
            return
        more = {"seconds": 600} if action in ("mute_user", "ban_user", "pause_class") else {}
        more |= {"read_only": True} if action == "set_room" else {}
        assert teacher.ask(action, **data, **more)["status"] == "success"

    return do


def is_refused(client: RawClient, room_id: str) -> str:
    reply = client.ask("send_message", room_id=room_id, content="me")
    return error_code(reply) if reply["action"] == "error" else ""


@pytest.mark.parametrize("hand", [by_commands, by_packets], ids=["by commands", "by packets"])
def test_three_who_misbehave_are_brought_to_order(
    serve: Serve,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hand: Callable[[Path, Service], Do],
) -> None:
    monkeypatch.setattr(Writer, "TICK_SECONDS", 0.02)
    monkeypatch.setattr(housekeeping, "LOOK_EVERY_SECONDS", 0.0)
    run(tmp_path / "data", "adduser", "ms_lee", "--teacher")
    service = serve(rate_limit=0)
    do = hand(tmp_path / "data", service)
    students = [member(service, f"student{number:02}") for number in range(STUDENTS)]
    loud, rude, sender, *others = students
    for number in range(20):
        loud.say("lobby", f"la {number}")
    number = rude.say("lobby", "you are stupid")["data"]["message_id"]
    Upload(sender, "lobby", "game.exe", b"x").run()

    do("pause_class")
    assert {is_refused(one, "lobby") for one in students} == {"read_only"}
    do("mute_user", user=loud.chatid, reason="Please listen.")
    do("hide_message", message_id=number)
    do("kick_user", user=rude.chatid, reason="We are kind here.")
    do("ban_user", user=sender.chatid)
    do("announce", content="We go on.")
    do("resume_class")

    for closed in (rude, sender):
        closed.expect_closed()
    assert is_refused(loud, "lobby") == "muted"
    assert error_code(stranger(service).login(sender.chatid)) == "banned"
    back = stranger(service)
    assert back.login(rude.chatid)["action"] == "login_success"
    back.say("lobby", "sorry")
    last = others[-1].say("lobby", "what was the question?")["data"]["message_id"]
    page = others[0].ask("get_messages", room_id="lobby", after_id=0)["data"]["messages"]
    shown = {entry["message_id"]: entry["content"] for entry in page}
    assert shown[number] == "[removed by ms_lee]" and shown[last] == "what was the question?"
    announced = [entry["content"] for entry in page if entry.get("announce")]
    assert announced == ["We go on."]
    do("set_room", room_id="lobby")
    assert is_refused(others[0], "lobby") == "read_only" and is_refused(loud, "lobby") == "muted"
