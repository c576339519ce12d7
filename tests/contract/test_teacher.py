"""What a teacher does by packets, what students meet of it, and that it is stored."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from support import fresh_name
from support.files import Upload, download
from support.patience import patience, until
from support.raw_client import Packet, RawClient, error_code, letter_frequencies
from support.server_process import ServerProcess
from support.teachers import teacher_of

SERVER_OPTIONS = ("--rate-limit", "0", "--max-rooms", "0", "--login-failures", "0")


@dataclass
class Class:
    """A teacher and two students; the first of them asked for events, the other for nothing."""

    server: ServerProcess
    teacher: RawClient
    ann: RawClient
    bob: RawClient

    def student(self, **login: object) -> RawClient:
        client = RawClient(self.server.port)
        name = fresh_name("student")
        assert client.register(name)["action"] == "register_success"
        assert client.login(name, **login)["data"]["role"] == "student"
        return client

    def last_act(self) -> Packet:
        after, acts = 0, [{}]
        while page := self.teacher.ask("get_audit", after_id=after)["data"]["acts"]:
            acts, after = page, page[-1]["id"]
        return dict(acts[-1])


@pytest.fixture(scope="module")
def teacher(server: ServerProcess) -> Iterator[RawClient]:
    client = teacher_of(server, features=["events"])
    yield client
    client.close()


@pytest.fixture
def school(server: ServerProcess, teacher: RawClient) -> Iterator[Class]:
    teacher.nothing_before_pong()
    made = Class(server, teacher, teacher, teacher)
    made.ann, made.bob = made.student(features=["events"]), made.student()
    yield made
    teacher.ask("resume_class")
    for client in (made.ann, made.bob):
        client.close()


def refused_to_speak(client: RawClient, code: str, room_id: str = "lobby") -> str:
    """Everything with which a student says something is refused with this code; return what is
    told."""
    reply = client.ask("send_message", room_id=room_id, content="hi")
    assert error_code(reply) == code
    assert error_code(Upload(client, room_id, "a.txt", b"x").init()) == code
    return str(reply["message"])


# --- Mute -----------------------------------------------------------------------------------------


def test_a_muted_student_says_nothing_until_the_mute_is_lifted(school: Class) -> None:
    bob, teacher = school.bob, school.teacher
    reply = teacher.ask("mute_user", user=bob.chatid.upper(), seconds=600, reason="Listen.")
    assert reply["action"] == "user_muted" and reply["data"]["user"] == bob.chatid
    until = reply["data"]["until"]
    told = refused_to_speak(bob, "muted")
    assert until in told and "Listen." in told
    refused = bob.ask("create_room", participants=[], room_name="away")
    assert error_code(refused) == "muted"
    school.ann.say("lobby", "others may")
    data = school.ann.receive_event("user_muted", chatid=bob.chatid)
    assert (data["until"], data["reason"]) == (until, "")
    told_teacher = teacher.receive_event("user_muted", chatid=bob.chatid)
    assert told_teacher["reason"] == "Listen."
    assert teacher.ask("unmute_user", user=bob.chatid)["action"] == "user_unmuted"
    school.ann.receive_event("user_unmuted", chatid=bob.chatid)
    bob.say("lobby", "again")
    last = school.last_act()
    assert (last["act"], last["by"], last["user"]) == ("unmute_user", teacher.chatid, bob.chatid)


def test_the_muted_student_with_events_hears_why(school: Class) -> None:
    school.teacher.ask("mute_user", user=school.ann.chatid, seconds=0, reason="Enough.")
    data = school.ann.receive_event("user_muted", chatid=school.ann.chatid)
    assert (data["until"], data["reason"]) == (None, "Enough.")
    assert "until a teacher lifts it: Enough." in refused_to_speak(school.ann, "muted")


def test_who_logs_in_while_muted_and_paused_hears_of_both(school: Class) -> None:
    ann, name = school.ann, school.ann.chatid
    school.teacher.ask("mute_user", user=name, seconds=0, reason="Enough.")
    school.teacher.ask("pause_class", seconds=60, reason="Look.")
    back = RawClient(school.server.port)
    back.login(name, features=["events"], take_over=True)
    assert back.receive_event("user_muted", chatid=name)["reason"] == "Enough."
    assert back.receive_event("class_paused")["reason"] == "Look."
    plain = RawClient(school.server.port)
    plain.login(name, take_over=True)
    assert plain.nothing_before_pong() == []
    for client in (back, plain, ann):
        client.close()


def test_what_waits_for_its_confirmation_at_the_mute_is_not_stored(school: Class) -> None:
    bob = school.bob
    key = fresh_name("key")
    stored = bob.say("lobby", "before", transaction_id=key)
    waiting = bob.propose("lobby", "between")["data"]["transaction_id"]
    school.teacher.ask("mute_user", user=bob.chatid, seconds=60)
    assert error_code(bob.confirm(waiting)) == "muted"
    again = bob.ask("send_message", room_id="lobby", content="before", transaction_id=key)
    assert again["action"] == "ack" and again["data"] == stored["data"]


def test_an_upload_begun_before_a_mute_can_be_ended_after_it(school: Class) -> None:
    bob, upload = school.bob, Upload(school.bob, "lobby", fresh_name("file"), b"bytes")
    assert upload.init()["status"] == "success"
    assert upload.send(1)["status"] == "success"
    school.teacher.ask("mute_user", user=bob.chatid, seconds=60)
    assert error_code(upload.fin()) == "muted"
    school.teacher.ask("unmute_user", user=bob.chatid)
    assert upload.fin()["status"] == "success"


def test_a_muted_owner_renames_nothing(school: Class) -> None:
    room = school.bob.ask("create_room", participants=[], room_name="mine")["data"]["room_id"]
    school.teacher.ask("mute_user", user=school.bob.chatid, seconds=60)
    reply = school.bob.ask("rename_room", room_id=room, new_room_name="rude")
    assert error_code(reply) == "muted"


# --- Kick and ban ---------------------------------------------------------------------------------


def test_a_kicked_student_with_events_is_told_and_its_key_has_ended(school: Class) -> None:
    ann, key = school.ann, school.ann.session_key
    reply = school.teacher.ask("kick_user", user=ann.chatid, reason="Calm down.")
    assert reply["data"] == {"user": ann.chatid}
    last = ann.expect_closed()[-1]
    assert last["data"] == {"type": "user_kicked", "chatid": ann.chatid, "reason": "Calm down."}
    back = RawClient(school.server.port)
    assert back.login(ann.chatid, None, session_key=key)["action"] == "login_fail"
    assert back.login(ann.chatid)["action"] == "login_success"
    back.close()


def test_a_kicked_client_of_the_24_packets_is_closed_and_meets_nothing_else(school: Class) -> None:
    school.teacher.ask("kick_user", user=school.bob.chatid)
    assert school.bob.expect_closed() == []
    data = school.ann.receive_event("user_kicked", chatid=school.bob.chatid)
    assert data["reason"] == ""


def test_a_banned_student_is_told_at_login_and_a_wrong_password_learns_nothing(
    school: Class,
) -> None:
    ann, key = school.ann, school.ann.session_key
    reply = school.teacher.ask("ban_user", user=ann.chatid, seconds=600, reason="Not here.")
    until = reply["data"]["until"]
    told = [packet["data"]["type"] for packet in ann.expect_closed()]
    assert told[-2:] == ["user_banned", "user_kicked"]
    back = RawClient(school.server.port)
    for secret in ({"password": "password"}, {"password": None, "session_key": key}):
        refused = back.login(ann.chatid, **secret)
        assert error_code(refused) == "banned"
        assert until in refused["message"] and "Not here." in refused["message"]
    assert back.login(ann.chatid, "wrong")["action"] == "login_fail"
    assert school.teacher.ask("unban_user", user=ann.chatid)["action"] == "user_unbanned"
    assert back.login(ann.chatid)["action"] == "login_success"
    back.close()


# --- Rooms and the class --------------------------------------------------------------------------


def test_in_a_read_only_room_only_teachers_write(school: Class) -> None:
    room = fresh_name("room")
    school.bob.say(room, "first")
    reply = school.teacher.ask("set_room", room_id=room, read_only=True)
    assert reply["data"] == {"room_id": room, "read_only": True, "uploads": True}
    refused_to_speak(school.bob, "read_only", room)
    school.teacher.say(room, "only me")
    event = school.ann.receive_event("room_set", room_id=room)
    assert (event["read_only"], event["uploads"]) == (True, True)
    listed = school.bob.ask("get_rooms", limit=1000)["data"]["rooms"]
    assert [r["read_only"] for r in listed if r["id"] == room] == [True]
    school.teacher.ask("set_room", room_id=room, read_only=False, uploads=False)
    school.bob.say(room, "text only")
    assert error_code(Upload(school.bob, room, "a.txt", b"x").init()) == "read_only"
    assert school.last_act()["detail"] == "read_only: false, uploads: false"


def test_a_teacher_sets_a_private_room_of_others_and_strangers_hear_nothing(school: Class) -> None:
    room = school.bob.ask("create_room", participants=[], room_name="mine")["data"]["room_id"]
    assert school.teacher.ask("set_room", room_id=room, read_only=True)["action"] == "room_set"
    school.teacher.receive_event("room_set", room_id=room)
    refused_to_speak(school.bob, "read_only", room)
    reply = school.bob.ask("rename_room", room_id=room, new_room_name="x")
    assert error_code(reply) == "read_only"
    events = [packet["data"]["type"] for packet in school.ann.nothing_before_pong()]
    assert "room_set" not in events


def test_a_pause_holds_for_every_room_and_a_resume_ends_it(school: Class) -> None:
    reply = school.teacher.ask("pause_class", seconds=300, reason="Look here.")
    until = reply["data"]["until"]
    told = refused_to_speak(school.bob, "read_only", fresh_name("new room"))
    assert until in told and "Look here." in told
    refused = school.bob.ask("create_room", participants=[], room_name="away")
    assert error_code(refused) == "read_only"
    assert school.ann.receive_event("class_paused")["until"] == until
    school.teacher.say("lobby", "listen")
    assert school.teacher.ask("resume_class")["action"] == "class_resumed"
    school.ann.receive_event("class_resumed")
    school.bob.say("lobby", "thanks")


# --- Messages -------------------------------------------------------------------------------------


def test_an_announcement_is_marked_and_goes_through_a_pause(school: Class) -> None:
    school.teacher.ask("pause_class", seconds=60)
    text = fresh_name("announcement")
    ack = school.teacher.say("lobby", text, announce=True)
    came = school.bob.receive_message(text)
    assert came["data"]["announce"] is True
    number = ack["data"]["message_id"]
    [entry] = school.bob.ask("get_messages", room_id="lobby", after_id=number - 1)["data"][
        "messages"
    ]
    assert entry["announce"] is True and "hidden" not in entry
    reply = school.bob.ask("send_message", room_id="p-none", content="x", announce=True)
    assert error_code(reply) == "forbidden"


def test_a_hidden_message_says_who_removed_it_everywhere(school: Class) -> None:
    room = fresh_name("room")
    number = school.bob.say(room, "rude words")["data"]["message_id"]
    received = school.ann.receive_message("rude words")["data"]
    reply = school.teacher.ask("hide_message", message_id=number, reason="Rude.")
    assert reply["data"] == {"message_id": number}
    shown = f"[removed by {school.teacher.chatid}]"
    event = school.ann.receive_event("message_hidden", message_id=number)
    assert (event["content"], event["room_id"], event["reason"]) == (shown, room, "Rude.")
    [entry] = school.bob.ask("get_messages", room_id=room, after_id=0)["data"]["messages"]
    assert (entry["content"], entry["hidden"], entry["message_id"]) == (shown, True, number)
    # whoever has either text counts it rightly; a copy says what is shown
    t2 = received["transaction_id"]
    for text in ("rude words", shown):
        counted = school.ann.count(t2, letter_frequencies(text))
        assert counted["data"]["confirm"] is True
    assert school.ann.count(t2, {"x": 1})["data"]["confirm"] is False
    school.ann.acknowledge(t2, "error")
    assert school.ann.receive_message(shown)["data"]["message_id"] == number
    assert school.teacher.ask("show_message", message_id=number)["action"] == "message_shown"
    assert school.ann.receive_event("message_shown", message_id=number)["content"] == "rude words"
    [entry] = school.bob.ask("get_messages", room_id=room, after_id=0)["data"]["messages"]
    assert entry["content"] == "rude words" and "hidden" not in entry


def test_what_a_private_room_says_is_told_to_its_members_only(school: Class) -> None:
    room = school.ann.ask("create_room", participants=[], room_name="ours")["data"]["room_id"]
    number = school.ann.say(room, "between us")["data"]["message_id"]
    assert school.teacher.ask("hide_message", message_id=number)["action"] == "message_hidden"
    removed = f"[removed by {school.teacher.chatid}]"
    for client in (school.ann, school.teacher):
        assert client.receive_event("message_hidden", message_id=number)["content"] == removed
    school.teacher.ask("show_message", message_id=number)
    for client, content in ((school.ann, "between us"), (school.teacher, "")):
        told = client.receive_event("message_shown", message_id=number)
        assert (told["content"], told["room_id"]) == (content, room)


def test_who_has_lost_a_deleted_room_hears_no_more_of_its_messages(school: Class) -> None:
    room = fresh_name("room")
    number = school.bob.say(room, "rude")["data"]["message_id"]
    school.teacher.ask("delete_room", room_id=room)
    school.ann.receive_event("room_deleted", room_id=room)
    for action, event in (("hide_message", "message_hidden"), ("show_message", "message_shown")):
        assert school.teacher.ask(action, message_id=number)["action"] == event
        assert school.teacher.receive_event(event, message_id=number)["room_id"] == room
    school.ann.nothing_before_pong()


def test_a_hidden_message_sent_again_by_its_sender_is_acknowledged(school: Class) -> None:
    key = fresh_name("key")
    stored = school.bob.say("lobby", "rude", transaction_id=key)
    school.teacher.ask("hide_message", message_id=stored["data"]["message_id"])
    again = school.bob.ask("send_message", room_id="lobby", content="rude", transaction_id=key)
    assert again["action"] == "ack" and again["data"] == stored["data"]


# --- What changes nothing (bad input: test_bad_inputs_teacher.py) ---------------------------------


def test_what_changes_nothing_is_neither_told_nor_in_the_audit(school: Class) -> None:
    number = school.bob.say("lobby", "hi")["data"]["message_id"]
    school.teacher.ask("hide_message", message_id=number)
    before = school.last_act()
    school.ann.nothing_before_pong()
    for action, data in (
        ("unmute_user", {"user": school.bob.chatid}),
        ("unban_user", {"user": school.bob.chatid}),
        ("resume_class", {}),
        ("set_room", {"room_id": "lobby"}),
        ("set_room", {"room_id": "lobby", "read_only": False, "uploads": True}),
        ("hide_message", {"message_id": number}),
    ):
        reply = school.teacher.ask(action, **data)
        assert reply["status"] == "success", reply
    assert school.last_act() == before
    assert school.ann.nothing_before_pong() == []


# --- Order ----------------------------------------------------------------------------------------


def test_no_message_is_stored_behind_the_mute_of_its_sender(school: Class) -> None:
    """Whoever sends as fast as it can: what was acknowledged has a lower number than what the
    teacher says after the mute."""
    bob, stored, room = school.bob, [], fresh_name("race")
    started = threading.Event()

    def talk() -> None:
        while True:
            counted = bob.ask("send_message", room_id=room, content="x")
            if counted["action"] == "error":
                assert error_code(counted) == "muted"
                return
            reply = bob.confirm(counted["data"]["transaction_id"])
            if reply["action"] == "error":
                assert error_code(reply) == "muted"
                return
            stored.append(reply["data"]["message_id"])
            started.set()

    thread = threading.Thread(target=talk, name="talker")
    thread.start()
    assert started.wait(patience(10))
    school.teacher.ask("mute_user", user=bob.chatid, seconds=60)
    after = school.teacher.say(room, "quiet")["data"]["message_id"]
    thread.join(patience(10))
    assert not thread.is_alive()
    assert max(stored) < after
    page = school.ann.ask("get_messages", room_id=room, after_id=0)["data"]["messages"]
    assert [entry["message_id"] for entry in page if entry["content"] == "x"] == stored[
        -len(page) :
    ]


# --- Kept -----------------------------------------------------------------------------------------


def test_acts_are_in_force_again_after_a_crash_but_not_those_that_were_lifted(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with ServerProcess(tmp_path_factory.mktemp("crash"), *SERVER_OPTIONS) as server:
        teacher = teacher_of(server)
        school = Class(server, teacher, teacher, teacher)
        muted, banned, freed = school.student(), school.student(), school.student()
        number = freed.say("room", "rude")["data"]["message_id"]
        teacher.ask("mute_user", user=muted.chatid, seconds=600)
        teacher.ask("ban_user", user=banned.chatid, seconds=0, reason="why")
        teacher.ask("mute_user", user=freed.chatid, seconds=600)
        teacher.ask("unmute_user", user=freed.chatid)
        teacher.ask("set_room", room_id="lobby", read_only=True)
        teacher.ask("hide_message", message_id=number)
        server.kill()
        server.start()
        clients = [RawClient(server.port) for _ in range(3)]
        for client, student in zip(clients, (muted, freed, banned), strict=True):
            client.chatid = student.chatid
        assert clients[0].login(muted.chatid)["action"] == "login_success"
        refused_to_speak(clients[0], "muted", "room")
        assert clients[1].login(freed.chatid)["action"] == "login_success"
        refused_to_speak(clients[1], "read_only", "lobby")
        [entry] = clients[1].ask("get_messages", room_id="room", after_id=0)["data"]["messages"]
        assert entry["content"].startswith("[removed by ")
        assert error_code(clients[2].login(banned.chatid)) == "banned"
        for client in (*clients, teacher, muted, banned, freed):
            client.close()


# --- Files ----------------------------------------------------------------------------------------


def test_a_removed_file_is_gone_from_list_download_and_disk(school: Class) -> None:
    room, path = fresh_name("room"), "slides.pdf"
    for content in (b"first version", b"second version"):
        Upload(school.bob, room, path, content).run()
    key = fresh_name("key")
    uploads = school.server.data_dir / "uploads"
    before = {entry.name for entry in uploads.iterdir()}
    reply = school.teacher.ask("remove_file", room_id=room, file_path=path)
    assert reply["data"] == {"room_id": room, "file_path": path}
    assert len(before - {entry.name for entry in uploads.iterdir()}) == 2
    assert school.ann.receive_event("file_removed", room_id=room)["file_path"] == path
    assert school.bob.ask("file_list_req", room_id=room)["data"]["files"] == []
    gone = school.ann.ask("file_down_req", room_id=room, file_path=path)
    assert error_code(gone) == "file_not_found"
    again = school.teacher.ask("remove_file", room_id=room, file_path=path)
    assert error_code(again) == "file_not_found"
    assert (school.last_act()["file_path"], school.last_act()["user"]) == (path, school.bob.chatid)
    # the name is free again, for others too, and a key that was used stays used
    Upload(school.ann, room, path, b"mine").run(transaction_id=key)
    assert download(school.bob, room, path)[0] == b"mine"
    for room_id, name in ((fresh_name("never"), path), (room, "nothing.txt")):
        reply = school.teacher.ask("remove_file", room_id=room_id, file_path=name)
        assert error_code(reply) in ("room_not_found", "file_not_found")


# --- What a teacher sees --------------------------------------------------------------------------


def sessions(school: Class, **data: object) -> dict[str, Packet]:
    reply = school.teacher.ask("get_sessions", limit=1000, **data)
    return {entry["chatid"]: entry for entry in reply["data"]["sessions"]}


def test_sessions_tell_who_is_on_and_what_they_do(school: Class) -> None:
    school.bob.say("lobby", "one")
    school.teacher.ask("mute_user", user=school.ann.chatid, seconds=0)
    school.bob.ask("raise_hand", text="Help!")
    seen = sessions(school)
    bob, ann, teacher = (seen[client.chatid] for client in (school.bob, school.ann, school.teacher))
    assert (bob["role"], bob["messages"], bob["address"]) == ("student", 1, "127.0.0.1")
    assert bob["rooms"] >= 1 and bob["idle_seconds"] < 60 and bob["since"] is not None
    assert bob["hand"]["text"] == "Help!" and bob["hand"]["place"] == 1
    assert (ann["muted"], ann["muted_until"], bob["muted"]) == (True, None, False)
    assert teacher["role"] == "teacher" and "last_seen" not in teacher
    school.bob.ask("lower_hand")


def test_offline_adds_those_who_are_not_on_and_when_they_were(school: Class) -> None:
    gone, never = school.student(), fresh_name("never")
    assert school.bob.register(never)["code"] == "forbidden"
    gone.ask("logout")
    assert gone.register(never)["action"] == "register_success"
    gone.close()
    school.teacher.ask("ban_user", user=gone.chatid, seconds=60)
    seen = sessions(school, offline=True)
    assert gone.chatid not in sessions(school)
    assert seen[gone.chatid]["last_seen"] is not None and seen[gone.chatid]["since"] is None
    assert seen[gone.chatid]["banned"] and seen[gone.chatid]["banned_until"] is not None
    assert seen[never]["last_seen"] is None and seen[school.bob.chatid]["last_seen"] is None
    page = school.teacher.ask("get_sessions", limit=1, after=min(sessions(school)))["data"]
    assert [entry["chatid"] for entry in page["sessions"]] == [sorted(sessions(school))[1]]
    assert page["has_more"] is True


def test_a_teacher_deletes_an_open_room_but_not_the_lobby(school: Class) -> None:
    room_id = fresh_name("typo")
    school.ann.say(room_id, "made by a typo")
    assert error_code(school.ann.ask("delete_room", room_id=room_id)) == "forbidden"
    assert school.teacher.ask("delete_room", room_id=room_id)["action"] == "room_deleted"
    assert school.ann.receive_event("room_deleted", room_id=room_id)["name"] == room_id
    assert school.last_act()["act"] == "delete_room"
    refused = school.ann.ask("send_message", room_id=room_id, content="hi")
    assert error_code(refused) == "room_not_found"
    assert error_code(school.teacher.ask("delete_room", room_id="lobby")) == "forbidden"
    private = school.ann.ask("create_room", participants=[], room_name="club")["data"]["room_id"]
    assert error_code(school.teacher.ask("delete_room", room_id=private)) == "room_not_found"


def test_all_rooms_are_listed_and_a_teacher_who_reads_a_private_one_is_seen(
    school: Class,
) -> None:
    ann, teacher = school.ann, school.teacher
    members = [school.bob.chatid]
    room = ann.ask("create_room", participants=members, room_name="Secret")["data"]["room_id"]
    gone = ann.ask("create_room", participants=[], room_name="Gone")["data"]["room_id"]
    ann.ask("delete_room", room_id=gone)
    ann.say(room, "between us")
    listed = teacher.ask("get_all_rooms", limit=1000)["data"]["rooms"]
    entries = {entry["id"]: entry for entry in listed}
    assert (entries[room]["private"], entries[room]["deleted"]) == (True, False)
    assert entries[gone]["deleted"] is True and entries["lobby"]["read_only"] is False
    for _ in range(2):
        page = teacher.ask("get_messages", room_id=room, after_id=0)["data"]
        assert [entry["content"] for entry in page["messages"]] == ["between us"]
    assert ann.receive_event("teacher_reads", room_id=room)["chatid"] == teacher.chatid
    last = school.last_act()
    assert (last["act"], last["room_id"]) == ("get_messages", room)
    told = [p["data"]["type"] for p in ann.nothing_before_pong() if p["action"] == "event"]
    assert "teacher_reads" not in told, "once a minute"
    assert error_code(teacher.ask("get_messages", room_id=gone, after_id=0)) == "room_not_found"
    assert error_code(teacher.ask("get_room_users", room_id=room)) == "room_not_found"
    assert error_code(teacher.ask("send_message", room_id=room, content="x")) == "room_not_found"


def test_a_teacher_sees_the_files_of_a_private_room_and_is_seen(school: Class) -> None:
    ann, teacher = school.ann, school.teacher
    room = ann.ask("create_room", participants=[], room_name="Secret")["data"]["room_id"]
    Upload(ann, room, "plan.txt", b"the plan").run()
    gone = ann.ask("create_room", participants=[], room_name="Gone")["data"]["room_id"]
    ann.ask("delete_room", room_id=gone)
    listed = teacher.ask("file_list_req", room_id=room)["data"]
    assert listed["file_list"] == "plan.txt"
    assert ann.receive_event("teacher_reads", room_id=room)["chatid"] == teacher.chatid
    last = school.last_act()
    assert (last["act"], last["room_id"]) == ("file_list_req", room)
    assert download(teacher, room, "plan.txt")[0] == b"the plan"
    assert school.last_act() == last, "once a minute"
    assert error_code(school.bob.ask("file_list_req", room_id=room)) == "room_not_found"
    ann.ask("delete_room", room_id=room)
    for action, more in (("file_list_req", {}), ("file_down_req", {"file_path": "plan.txt"})):
        for room_id in (gone, room):
            assert error_code(teacher.ask(action, room_id=room_id, **more)) == "room_not_found"


# --- Hands ----------------------------------------------------------------------------------------


def test_hands_are_a_queue_that_teachers_see(school: Class) -> None:
    ann, bob, teacher = school.ann, school.bob, school.teacher
    assert ann.ask("raise_hand", text="first")["data"]["place"] == 1
    assert bob.ask("raise_hand")["data"]["place"] == 2
    for _ in range(2):  # the second one changes nothing, so that nobody is told (R-EVT-6)
        assert ann.ask("raise_hand", text="still first")["data"]["place"] == 1
    assert teacher.receive_event("hand_raised", chatid=bob.chatid)["text"] == ""
    told = [
        p["data"].get("chatid")
        for p in ann.nothing_before_pong()
        if p["action"] == "event" and p["data"]["type"] == "hand_raised"
    ]
    assert told == [ann.chatid] * 2
    assert error_code(ann.ask("lower_hand", user=bob.chatid)) == "forbidden"
    assert error_code(ann.ask("lower_hand", user="nobody-there")) == "forbidden"
    assert error_code(teacher.ask("lower_hand", user="nobody-there")) == "user_not_found"
    lowered = teacher.ask("lower_hand", user=ann.chatid.upper())
    assert lowered["data"] == {"user": ann.chatid}
    ann.receive_event("hand_lowered", chatid=ann.chatid)
    bob.ask("logout")
    teacher.receive_event("hand_lowered", chatid=bob.chatid)
    for text in ("x" * 201, "a\0", 17, None):
        assert error_code(ann.ask("raise_hand", text=text)) == "bad_packet"


def test_a_hand_outlives_a_take_over_and_a_lost_connection(school: Class) -> None:
    ann, teacher = school.ann, school.teacher
    ann.ask("raise_hand", text="here")
    second = RawClient(school.server.port)
    assert second.login(ann.chatid, take_over=True)["action"] == "login_success"
    ann.expect_closed()
    assert sessions(school)[ann.chatid]["hand"]["text"] == "here"
    second.close()
    until(lambda: ann.chatid not in sessions(school), "the lost connection is still listed")
    hand = sessions(school, offline=True)[ann.chatid]["hand"]
    assert hand["text"] == "here"
    third = RawClient(school.server.port)
    assert third.login(ann.chatid)["action"] == "login_success"
    assert sessions(school)[ann.chatid]["hand"] == hand
    teacher.ask("kick_user", user=ann.chatid)
    teacher.receive_event("hand_lowered", chatid=ann.chatid)
    third.close()


# --- Who makes private rooms ----------------------------------------------------------------------


def test_where_only_teachers_make_private_rooms_a_student_makes_none(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server("--private-rooms", "teachers")
    teacher = teacher_of(server)
    student = Class(server, teacher, teacher, teacher).student()
    refused = student.ask("create_room", participants=[], room_name="mine")
    assert error_code(refused) == "forbidden"
    made = teacher.ask("create_room", participants=[student.chatid], room_name="ours")
    student.say(made["data"]["room_id"], "hi")
    for client in (teacher, student):
        client.close()


def test_with_teacher_every_teacher_is_a_member_of_every_private_room(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server("--private-rooms", "with-teacher")
    teacher = teacher_of(server)
    student = Class(server, teacher, teacher, teacher).student(features=["events"])
    room = student.ask("create_room", participants=[], room_name="mine")["data"]["room_id"]
    later = teacher_of(server)
    added = {"type": "user_added", "room_id": room, "chatid": later.chatid}
    student.receive_where(lambda packet: packet.get("data") == added, what="the event")
    users = student.ask("get_room_users", room_id=room)["data"]
    assert users["teachers"] == sorted([teacher.chatid, later.chatid])
    assert set(users["users"]) == {teacher.chatid, later.chatid, student.chatid}
    refused = student.ask("remove_user_from_room", room_id=room, user_to_remove=later.chatid)
    assert error_code(refused) == "forbidden"
    everybody = student.ask("get_users", limit=1000)["data"]
    assert everybody["teachers"] == users["teachers"]
    for client in (teacher, student, later):
        client.close()
