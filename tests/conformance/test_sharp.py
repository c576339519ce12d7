"""What takes a process, a kill or a long wait is found too: promises that a kill breaks, sessions
that are closed for saying nothing, memory, threads and open files."""

from __future__ import annotations

import hashlib
import itertools
import random
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.kit_parts import HOST, peer
from support.patience import patience
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.records import Account, Message, Transaction, Upload
from support.reference_server.words import Packet
from support.restarting_server import InProcess, KeepingServer

from conformance.endings import Failed
from conformance.packets import encode
from conformance.server import cases, runner
from conformance.server.cases import clock, framing, resources, silence, steps, texts
from conformance.server.checks import Checks
from conformance.server.context import ServerContext
from conformance.server.names import Names
from conformance.server.process import SURROUNDINGS, ServerCommand
from conformance.server.target import Account as TargetAccount
from conformance.server.target import Target
from conformance.server.user import User
from conformance.transcript import Transcript
from conformance.verdicts import Outcome, Verdict
from conformance.wire import Silence, Wire

SEED = 5
DURABILITY = (
    "durability.rooms_change",
    "durability.accounts_change",
    "durability.read_marks",
    "durability.rooms_grow",
)


def outcomes(server: Any, *ids: str, wait: float = 5.0) -> list[Outcome]:
    """Grade a server that runs already, or one that can be restarted."""
    options = runner.Options(HOST, server.port, "robust", SEED, cases=ids, timeout=wait)
    run = runner._Run(options, cases.load(), lambda outcome: None)
    if isinstance(server, InProcess):
        run.target.process = server  # type: ignore[assignment]  # has what the cases use
    return list(run.go().outcomes)


# --- Promises that a kill breaks -----------------------------------------------------------------

Step = Callable[[KeepingServer], None]


class LateServer(KeepingServer):
    """Answers before it stores: what the method `late` names is undone by a kill."""

    late = ""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.undo: list[Step] = []

    def take_over_from(self, old: ReferenceServer) -> None:
        super().take_over_from(old)
        for step in getattr(old, "undo", []):
            step(self)

    def handle(self, connection: Connection, packet: Packet) -> None:
        if packet.get("action") == self.late:
            self.undo.append(self.before(connection, packet))
        super().handle(connection, packet)

    def before(self, connection: Connection, packet: Packet) -> Step:
        """Return what brings back the state of before this request."""
        accounts = {
            key: (each, each.salt, each.password_hash, set(each.key_hashes))
            for key, each in self.accounts.items()
        }
        rooms = {
            key: (room.name, set(room.members), set(room.left), room.deleted)
            for key, room in self.rooms.items()
        }

        def bring_back(server: KeepingServer) -> None:
            if self.late in ("register", "change_password", "logout"):
                server.accounts = {key: each for key, (each, *_) in accounts.items()}
                for each, salt, password_hash, key_hashes in accounts.values():
                    each.salt, each.password_hash = salt, password_hash
                    each.key_hashes = key_hashes
            else:
                for key in [each for each in server.rooms if each not in rooms]:
                    server.rooms[key].deleted |= self.late == "create_room"
                for key, (name, members, left, deleted) in rooms.items():
                    room = server.rooms[key]
                    room.name, room.members, room.left = name, members, left
                    room.deleted = deleted

        return bring_back


class ForgetsMarks(KeepingServer):
    def take_over_from(self, old: ReferenceServer) -> None:
        super().take_over_from(old)
        for account in self.accounts.values():
            account.marks = {}


class SameSeed(KeepingServer):
    """Keys are random numbers, of a source that has the same seed at each start."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.numbers = random.Random(1)

    def new_session_key(self, account: Account) -> str:
        return f"{self.numbers.getrandbits(128):032x}"


def late(action: str) -> type[KeepingServer]:
    return type(f"Late_{action}", (LateServer,), {"late": action})


LATE = (
    "leave_room",
    "remove_user_from_room",
    "delete_room",
    "rename_room",
    "join_room",
    "add_user_to_room",
    "create_room",
    "register",
    "change_password",
    "logout",
)


@pytest.mark.parametrize("action", LATE)
def test_a_promise_that_a_kill_breaks_is_found(action: str) -> None:
    grows = action in ("join_room", "add_user_to_room", "create_room")
    is_account = action in ("register", "change_password", "logout")
    process = InProcess(late(action))
    try:
        (outcome,) = outcomes(process, DURABILITY[3 if grows else 1 if is_account else 0])
    finally:
        process.kill()
    assert (outcome.verdict, outcome.rule_id) == (Verdict.FAIL, "R-ORDER-1"), outcome.actual


def the_keys_of_uploads(server: ReferenceServer) -> None:
    server.upload_keys = {}


def the_ends_of_uploads(server: ReferenceServer) -> None:
    server.uploads = {key: one for key, one in server.uploads.items() if one.result is None}


def that_an_upload_counts_from_zero(server: ReferenceServer) -> None:
    for upload in server.uploads.values():
        upload.first_number = upload.first_number or None


def the_order_of_files(server: ReferenceServer) -> None:
    for room in server.rooms.values():
        room.files = dict(sorted(room.files.items()))


def the_types_of_files(server: ReferenceServer) -> None:
    for room in server.rooms.values():
        for stored in room.files.values():
            stored.file_type = "application/octet-stream"


def the_numbers_of_deleted_rooms(server: ReferenceServer) -> None:
    rooms = [room for room in server.rooms.values() if room.messages and not room.deleted]
    server.last_message_id = max((room.messages[-1].message_id for room in rooms), default=0)


def the_last_number(server: ReferenceServer) -> None:
    server.last_message_id -= 1


def the_letters_of_names(server: ReferenceServer) -> None:
    server.accounts = {account.name: account for account in server.accounts.values()}


def what_was_said_in_the_lobby(server: ReferenceServer) -> None:
    server.rooms["lobby"].messages = []


def all_but_the_first_line(server: ReferenceServer) -> None:
    for message in server.messages.values():
        message.content = message.content.split("\n")[0]


def blanks_at_the_end(server: ReferenceServer) -> None:
    for message in server.messages.values():
        message.content = message.content.rstrip()


def messages_of_private_rooms(server: ReferenceServer) -> None:
    for room in server.rooms.values():
        room.messages = [] if room.private else room.messages


def empty_files(server: ReferenceServer) -> None:
    for room in server.rooms.values():
        room.files = {name: each for name, each in room.files.items() if each.content}


def files_beyond_ascii(server: ReferenceServer) -> None:
    for room in server.rooms.values():
        room.files = {name: each for name, each in room.files.items() if name.isascii()}


def the_chunk_size_of_uploads(server: ReferenceServer) -> None:
    for upload in server.uploads.values():
        upload.chunk_size = None


def the_content_of_keys(server: ReferenceServer) -> None:
    server.check_same = lambda *given: None  # type: ignore[attr-defined]


class AppendsOnly(KeepingServer):
    """A log to which only what is new is added: what was dropped is there again after a start."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.log: list[Step] = []

    def take_over_from(self, old: ReferenceServer) -> None:
        super().take_over_from(old)
        self.log = getattr(old, "log", [])
        for step in self.log:
            step(self)

    def give_up(self, account: Account, place: tuple[str, str, str], upload: Upload) -> None:
        super().give_up(account, place, upload)
        self.log.append(lambda server: server.uploads.setdefault(place, upload) and None)


class AppendsKeys(AppendsOnly):
    def new_session_key(self, account: Account) -> str:
        key = super().new_session_key(account)
        digest = hashlib.sha256(key.encode()).digest()
        self.log.append(lambda server: account.key_hashes.add(digest))
        return key


class CountsT2(KeepingServer):
    """T2 is a number that begins at 1 at each start."""

    def store(self, sender: Account, transaction: Transaction) -> Message:
        message = super().store(sender, transaction)
        message.t2 = f"r-{vars(self).setdefault('numbers', itertools.count()).__next__()}"
        self.messages[message.t2] = message
        return message


@pytest.mark.long
@pytest.mark.parametrize(
    ("lost", "case_id", "rule"),
    [
        (the_keys_of_uploads, "restart.finished_files", "R-FILE-16"),
        (the_ends_of_uploads, "restart.finished_files", "R-FILE-14"),
        (the_order_of_files, "restart.finished_files", "R-ORDER-1"),
        (the_types_of_files, "restart.finished_files", "R-ORDER-1"),
        (that_an_upload_counts_from_zero, "restart.unfinished_upload", "R-FILE-8"),
        (the_numbers_of_deleted_rooms, "restart.three_kills", "R-ORDER-3"),
        (the_last_number, "restart.three_kills", "R-ORDER-3"),
        (the_letters_of_names, "durability.accounts_change", "R-ORDER-1"),
        (what_was_said_in_the_lobby, "restart.rooms_and_members", "R-ORDER-1"),
        (messages_of_private_rooms, "restart.rooms_and_members", "R-ORDER-1"),
        (all_but_the_first_line, "restart.acked_messages", "R-ORDER-1"),
        (blanks_at_the_end, "restart.acked_messages", "R-ORDER-1"),
        (empty_files, "restart.finished_files", "R-ORDER-1"),
        (files_beyond_ascii, "restart.finished_files", "R-ORDER-1"),
        (the_chunk_size_of_uploads, "restart.unfinished_upload", "R-FILE-4"),
        (the_content_of_keys, "restart.same_key_not_twice", "R-MSG-9"),
    ],
)
def test_what_is_not_kept_over_a_restart_is_found(lost: Step, case_id: str, rule: str) -> None:
    class Loses(KeepingServer):
        def take_over_from(self, old: ReferenceServer) -> None:
            super().take_over_from(old)
            lost(self)

    for kind, expected in ((KeepingServer, ""), (Loses, rule)):
        server = InProcess(kind)
        try:
            (outcome,) = outcomes(server, case_id)
        finally:
            server.kill()
        failed = outcome.rule_id if outcome.verdict is Verdict.FAIL else ""
        assert failed == expected, outcome.actual


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "case_id", "rule"),
    [
        (AppendsOnly, "restart.unfinished_upload", "R-FILE-23"),
        (AppendsKeys, "restart.three_kills", "R-SESS-10"),
        (CountsT2, "durability.read_marks", "R-MSG-15"),
    ],
)
def test_what_comes_again_after_a_restart_is_found(
    kind: type[KeepingServer], case_id: str, rule: str
) -> None:
    process = InProcess(kind)
    try:
        (outcome,) = outcomes(process, case_id)
    finally:
        process.kill()
    assert (outcome.verdict, outcome.rule_id) == (Verdict.FAIL, rule), outcome.actual


def test_read_marks_that_a_kill_takes_are_found() -> None:
    process = InProcess(ForgetsMarks)
    try:
        (outcome,) = outcomes(process, DURABILITY[2])
    finally:
        process.kill()
    assert (outcome.verdict, outcome.rule_id) == (Verdict.FAIL, "R-MSG-14"), outcome.actual


def test_session_keys_that_come_again_after_each_start_are_found() -> None:
    process = InProcess(SameSeed)
    try:
        (outcome,) = outcomes(process, "restart.three_kills")
    finally:
        process.kill()
    assert (outcome.verdict, outcome.rule_id) == (Verdict.FAIL, "R-SESS-2"), outcome.actual


def test_a_server_that_keeps_its_promises_passes_every_kill() -> None:
    process = InProcess(KeepingServer)
    try:
        done = outcomes(process, *DURABILITY, "clock.utc", "restart.three_kills")
    finally:
        process.kill()
    assert [one.verdict for one in done] == [Verdict.PASS] * 6, [one.actual for one in done]


# --- A session that says nothing ------------------------------------------------------------------


class ClosesTheSilent(ReferenceServer):
    IDLE = 0.3

    def begin_session(
        self, connection: Connection, account: Account, features: list[str] | None
    ) -> None:
        super().begin_session(connection, account, features)
        closing = threading.Timer(self.IDLE, connection.close)
        closing.daemon = True
        closing.start()


@pytest.mark.parametrize(
    ("kind", "verdict"), [(ClosesTheSilent, Verdict.FAIL), (ReferenceServer, Verdict.PASS)]
)
def test_a_session_that_is_closed_for_its_silence_is_found(
    kind: type[ReferenceServer], verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "SILENT_SECONDS", 1.0)
    server = kind().start()
    try:
        (outcome,) = outcomes(server, "silence.silent_session")
    finally:
        server.stop()
    assert outcome.verdict is verdict, outcome.actual


# --- Memory, threads, open files ------------------------------------------------------------------

SERVER = """
import mmap, sys, threading
sys.path.insert(0, sys.argv[2])
from support.reference_server import ReferenceServer
class Server(ReferenceServer):
    kept = []
    PRESENCE_SECONDS = 0  # no timer, which is a thread, waits for the next news
    def note_failure(self, connection, name):
        if sys.argv[3] in ("leaks with failed logins", "keeps a few files"):
            self.kept.append(open(__file__, "rb"))
        if sys.argv[3] == "keeps a few files":
            del self.kept[:-15]
        super().note_failure(connection, name)
    def begin_session(self, *given):
        super().begin_session(*given)
        if sys.argv[3] == "leaks threads with sessions":
            threading.Thread(target=threading.Event().wait, daemon=True).start()
    def do_get_messages(self, connection, data):
        if sys.argv[3] == "leaks with pages":
            self.kept.append(open(__file__, "rb"))
        super().do_get_messages(connection, data)
    def store(self, *given):
        if sys.argv[3] == "leaks with messages":
            self.kept.append(open(__file__, "rb"))
        return super().store(*given)
    def read_payload(self, connection, length, deadline):
        if sys.argv[3] == "eager":
            self.kept.append(b"x" * length * 40)
        return super().read_payload(connection, length, deadline)
    def lost_the_place(self, connection, header, length):
        if sys.argv[3] == "reserves":
            self.kept.append(mmap.mmap(-1, length))
        if sys.argv[3] == "fills what it has reserved":
            heap.write(b"x" * (80 << 20))
        super().lost_the_place(connection, header, length)
    def keep_chunk(self, upload, index, chunk):
        if sys.argv[3] == "keeps uploads open":
            self.kept.append(open(__file__, "rb"))
        super().keep_chunk(upload, index, chunk)
    def do_file_down_req(self, connection, data):
        super().do_file_down_req(connection, data)
        if sys.argv[3] == "queues downloads":
            with connection.wake:
                place, packets = connection.downloads.pop()
                connection.downloads.append((place, iter(list(packets))))
    def drop(self, connection):
        if sys.argv[3] == "leaks files":
            self.kept.append(connection.sock.dup())
        super().drop(connection)
        if sys.argv[3] == "keeps uploads open":
            self.kept.clear()
        if sys.argv[3] == "leaks threads":
            threading.Event().wait()
        if sys.argv[3] == "fills a pool" and len(self.kept) < 200:
            self.kept.append(threading.Thread(target=threading.Event().wait, daemon=True))
            self.kept[-1].start()
heap = mmap.mmap(-1, 400 << 20)
Server(int(sys.argv[1])).start()
threading.Event().wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize(
    ("fault", "case", "rule"),
    [
        ("eager", "announced_bytes", "R-FRAME-4"),
        ("reserves", "announced_bytes", "R-FRAME-4"),
        ("leaks files", "nothing_stays", "R-SESS-9"),
        ("leaks threads", "nothing_stays", "R-SESS-9"),
        pytest.param(
            "leaks with failed logins", "nothing_stays", "R-SESS-9", marks=pytest.mark.long
        ),
        pytest.param(
            "leaks threads with sessions", "nothing_stays", "R-SESS-9", marks=pytest.mark.long
        ),
        pytest.param("leaks with pages", "nothing_stays", "R-SESS-9", marks=pytest.mark.long),
        pytest.param("leaks with messages", "nothing_stays", "R-SESS-9", marks=pytest.mark.long),
        pytest.param("keeps a few files", "nothing_stays", "", marks=pytest.mark.long),
        pytest.param("fills a pool", "nothing_stays", "", marks=pytest.mark.long),
        pytest.param(
            "fills what it has reserved", "announced_bytes", "R-FRAME-4", marks=pytest.mark.long
        ),
        pytest.param("queues downloads", "downloads_wait", "R-LIM-12", marks=pytest.mark.long),
        pytest.param("", "downloads_wait", "", marks=pytest.mark.long),
        pytest.param(
            "keeps uploads open", "transfers_that_rest", "R-LIM-16", marks=pytest.mark.long
        ),
        pytest.param("", "transfers_that_rest", "", marks=pytest.mark.long),
        ("", "announced_bytes", ""),
        ("", "nothing_stays", ""),
    ],
)
def test_what_a_server_takes_and_keeps_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, case: str, rule: str
) -> None:
    monkeypatch.setattr(
        resources, "SETTLE_SECONDS", 0.5 if rule or fault == "fills a pool" else 30.0
    )
    monkeypatch.setattr(resources, "TRIES", 1 if rule else 3)
    monkeypatch.setattr(resources, "REST_SECONDS", 0.5 if rule else 30.0)
    script = tmp_path / "server.py"
    script.write_text(SERVER, "utf-8")
    tests = Path(__file__).parent.parent
    command = f'{sys.executable} {script} {{port}} {tests} "{fault}"'
    options = runner.Options(
        HOST, 0, "robust", SEED, cases=[f"resources.{case}"], start_command=command
    )
    (outcome,) = runner.run(options, cases.load()).outcomes
    expected = (Verdict.FAIL, rule) if rule else (Verdict.PASS, "")
    assert (outcome.verdict, outcome.rule_id) == expected, outcome.actual


def test_local_time_is_told_from_a_clock_that_is_wrong() -> None:
    assert "use UTC, not local time" in clock.zone_of(5.5 * 3600 - 1)
    assert clock.zone_of(3600) == clock.zone_of(-5.5 * 3600) == ""


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (-15, "it was ended by the signal SIGTERM: it has no handler for SIGTERM"),
        (143, "it ended with exit status 143: it has no handler for SIGTERM"),
        (-9, "it was ended by the signal SIGKILL"),
        (3, "it ended with exit status 3"),
        (None, "it did not end, and was killed"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_how_a_server_ended_at_sigterm_is_a_sentence(status: int | None, told: str) -> None:
    context = ServerContext(Target(HOST, 1), "a.case", "R-CLI-1", seed=1, until=0.0)
    steps.ended_well(context, 0)
    with pytest.raises(Failed) as problem:
        steps.ended_well(context, status)
    assert problem.value.actual == told


def test_a_server_runs_in_another_zone_and_without_utf_8(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    words = "print('zone', os.environ['TZ'], os.environ['LC_ALL'], flush=True)"
    listens = "s = socket.create_server(('127.0.0.1', int(sys.argv[1])))"
    script.write_text(f"import os, socket, sys\n{words}\n{listens}\nwhile True: s.accept()\n")
    with ServerCommand(f"{sys.executable} {script} {{port}}", HOST, 0) as server:
        assert server.wait_for_line(re.compile(f"zone {SURROUNDINGS['TZ']} C"), 30)


def test_only_a_clock_of_this_machine_is_looked_at() -> None:
    assert clock._is_here("127.0.0.1") and clock._is_here("::1") and clock._is_here("localhost")
    assert not clock._is_here("192.0.2.1") and not clock._is_here("chat.example.org")


# --- Names that the seed decides ------------------------------------------------------------------


def names_registered(server: ReferenceServer) -> list[str]:
    before = set(server.accounts)
    assert [one.verdict for one in outcomes(server, "messages.ack")] == [Verdict.PASS]
    return sorted(set(server.accounts) - before)


def test_the_seed_decides_the_names_until_a_server_knows_them() -> None:
    one, other = ReferenceServer().start(), ReferenceServer().start()
    try:
        first, second = names_registered(one), names_registered(other)
        again = names_registered(one)
    finally:
        one.stop()
        other.stop()
    assert first == second
    assert again and not set(again) & set(first)


class FirstLogin(ReferenceServer):
    """Makes accounts at the first login."""

    def handle(self, connection: Connection, packet: Packet) -> None:
        if packet.get("action") == "register":
            packet["action"] = "no_such_action"
        data = packet.get("data")
        if packet.get("action") == "login" and isinstance(data, dict):
            name = data.get("chatid")
            if isinstance(name, str) and name not in self.accounts:
                self.set_password(self.accounts.setdefault(name, Account(name)), data["password"])
        super().handle(connection, packet)


def test_a_first_login_of_a_name_of_before_is_not_taken_for_a_new_one() -> None:
    server = FirstLogin().start()
    try:
        first, again = names_registered(server), names_registered(server)
    finally:
        server.stop()
    assert first and again and not set(again) & set(first)


# --- A reply that nobody waited for ---------------------------------------------------------------


def leaves_an_error_over(sock: socket.socket) -> None:
    """Answer the first request behind the error of another one, which nobody has waited for."""
    sock.recv(65536)
    for packet in ({"action": "error", "original_action": "ack"}, {"action": "messages_list"}):
        sock.sendall(encode(packet))
    sock.recv(65536)


def test_an_error_that_a_case_left_over_is_no_reply_in_the_next() -> None:
    with peer(leaves_an_error_over) as port:
        wire = Wire.connect(HOST, port, Transcript(), timeout=patience(5.0))
        User(Checks(Target(HOST, port), "R-MSG-1"), wire, TargetAccount("anna", "pw")).fence()
        with pytest.raises(Silence):
            wire.receive(0.05)
        wire.close()


# --- A server that hangs -------------------------------------------------------------------------


class HangsInTheHistory(ReferenceServer):
    def do_get_messages(self, connection: Connection, data: Packet) -> None:
        self.stopping.wait()  # with the lock held


def test_a_hang_is_a_failure_of_the_rule_under_test_also_in_what_is_needed_first() -> None:
    server = HangsInTheHistory().start()
    try:
        _, hung = outcomes(server, "contact.answers_with_a_frame", "messages.stored_once", wait=1.0)
    finally:
        server.stop()
    assert (hung.verdict, hung.rule_id) == (Verdict.FAIL, "R-MSG-4")
    assert "since `get_messages` nobody gets an answer" in hung.actual and hung.transcript


# --- Answers that come late -----------------------------------------------------------------------


class AnswersIn40Milliseconds(ReferenceServer):
    def do_get_messages(self, connection: Connection, data: Packet) -> None:
        time.sleep(0.04)
        super().do_get_messages(connection, data)


@pytest.mark.parametrize("kind", [AnswersIn40Milliseconds, ReferenceServer])
def test_a_delay_of_40_ms_for_each_packet_is_a_note(kind: type[ReferenceServer]) -> None:
    server = kind().start()
    options = runner.Options(
        HOST, server.port, "seed", SEED, cases=["order.replies_in_order"], timeout=5.0
    )
    try:
        report = runner.run(options, cases.load())
    finally:
        server.stop()
    assert [one.verdict for one in report.outcomes] == [Verdict.PASS]
    assert ("TCP_NODELAY" in "".join(report.notes)) == (kind is AnswersIn40Milliseconds)


@pytest.mark.parametrize(
    ("first", "second", "mine"),
    [
        ("t9", "t10", "t11"),
        ("t-098", "t-099", "t-100"),
        ("t-a3", "t-b3", "mine-t-b3"),
        ("t-a3", "t-a3", "mine-t-a3"),
        ("x", "y", "mine-y"),
    ],
)
def test_a_key_is_next_to_counted_ones_and_never_one_of_them(
    first: str, second: str, mine: str
) -> None:
    """Ids that are drawn can end with the same digit."""
    assert texts.next_after(first, second) == mine


def test_a_case_says_the_same_however_many_names_it_draws() -> None:
    """Who is still logged in from an earlier case needs no new name and no password."""

    def source() -> Names:
        return Names(random.Random(1), random.Random(2), lambda: "x")

    one, other = source(), source()
    assert other.name() and other.password() and other.key() and other.room_id()
    assert [one.text() for _ in range(9)] == [other.text() for _ in range(9)]


# --- A frame of which a byte comes now and then ---------------------------------------------------


class TimeForEachByte(ReferenceServer):
    """Each byte of a frame gives the frame its time anew."""

    def read_payload(self, connection: Connection, length: int, deadline: float) -> bytes:
        payload = bytearray()
        while len(payload) < length:
            later = time.monotonic() + self.FRAME_SECONDS
            payload += connection.receive(length - len(payload), later)
        return bytes(payload)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "verdict"), [(TimeForEachByte, Verdict.FAIL), (ReferenceServer, Verdict.PASS)]
)
def test_a_frame_that_gets_time_for_each_byte_is_found(
    kind: type[ReferenceServer], verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("IDLE_SECONDS", 1.8), ("LATE_SECONDS", 1.8), ("BYTE_SECONDS", 0.1)):
        monkeypatch.setattr(framing, name, seconds)
    monkeypatch.setattr(kind, "FRAME_SECONDS", 1.8)
    server = kind().start()
    try:
        (outcome,) = outcomes(server, "framing.frame_without_end", wait=0.9)
    finally:
        server.stop()
    assert outcome.verdict is verdict, outcome.actual
