"""Bad inputs 97 to 120: crowds, clients that don't read, clocks, full and failing disks, signals,
and what happens around a server."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support import fresh_name, tls
from support.bad_inputs import (
    LINUX,
    House,
    Place,
    Row,
    Table,
    Watched,
    check_data,
    held,
    house,
    play,
    rows_of,
)
from support.files import Upload
from support.patience import patience, until
from support.proxy import TO_CLIENT, TO_SERVER, Proxy
from support.raw_client import ClosedByServer, NothingCame, RawClient, encode, error_code
from support.seed import drawn
from support.server_process import (
    REPOSITORY,
    ServerProcess,
    complaints,
    server_command,
    server_environment,
)
from support.trouble import (
    failing_calls,
    limit_file_size,
    locked_by_another_process,
    needs_prlimit,
    needs_strace,
)

TABLE = Table()
__all__ = ["house"]
unix_only = pytest.mark.skipif(os.name == "nt", reason="needs signals and limits of Unix")
linux_only = pytest.mark.skipif(not LINUX, reason="reads /proc")
plain_only = pytest.mark.skipif(tls.EVERYWHERE, reason="counts connects and bytes below TLS")

if os.name != "nt":
    import resource


def chat(watched: Watched, times: int = 3) -> None:
    """Bystanders talk, while something else is under way."""
    for _ in range(times):
        watched._exchange()


def closed_or_reset(client: RawClient) -> list[str]:
    """The codes of what came before the end."""
    codes = []
    with suppress(ClosedByServer, OSError):
        while True:
            packet = client.receive()
            codes.append(error_code(packet) if packet["action"] == "error" else packet["action"])
    return codes


def aside(place: Place) -> Watched:
    """The server whose disk, limits and life rows play with."""
    return place.server("--max-pending", "0")


# --- Connections ----------------------------------------------------------------------------------


def connect_at_once(place: Place, count: int) -> None:
    address = ("127.0.0.1", place.main.process.port)
    crowd = []
    for _ in range(count):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(address)
        crowd.append(sock)
    for sock in crowd:
        sock.settimeout(patience(20))
        sock.sendall(encode({"action": "ping"}))
    for sock in crowd:
        assert b"pong" in sock.recv(4096)
        sock.close()


@TABLE.row(97, "200 connects at once")
@plain_only
def _(place: Place) -> None:
    connect_at_once(place, 200)


@TABLE.row(97, "1,000 connects at once", long=True)
@plain_only
@unix_only
def _(place: Place) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 1_200:
        if hard != resource.RLIM_INFINITY and hard < 1_200:
            pytest.skip("needs 1,200 descriptors")
        resource.setrlimit(resource.RLIMIT_NOFILE, (1_200, hard))
    connect_at_once(
        place, 900 if soft < 1_200 else 1_000
    )  # the server got the limit that stood when it was started
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@TABLE.row(98, "connections beyond the cap")
def _(place: Place) -> None:
    watched = place.server(
        "--max-connections", "6", "--max-per-address", "2"
    )  # loopback is free of the second
    clients = [place.connect(watched) for _ in range(4)]
    for client in clients:
        assert client.nothing_before_pong() == []
    for _ in range(5):
        refused = place.connect(watched)
        assert [error_code(packet) for packet in refused.expect_closed()] == ["server_full"]
    chat(watched)
    clients[0].close()

    def is_free() -> bool:
        try:
            return place.connect(watched).nothing_before_pong() == []
        except (AssertionError, OSError):
            return False

    until(is_free, "the place did not come free")


@TABLE.row(99, "out of descriptors")
@needs_prlimit
@plain_only
def _(place: Place) -> None:
    watched = aside(place)
    pid = watched.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(
        pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) + 6, before[1])
    )
    crowd = [socket.create_connection(("127.0.0.1", watched.process.port)) for _ in range(30)]
    chat(watched)
    spent = cpu_seconds(pid)
    threading.Event().wait(0.3)
    assert cpu_seconds(pid) - spent < 0.2, "it spins"
    for one in crowd:
        one.close()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    def serves() -> bool:
        try:
            return place.connect(watched).nothing_before_pong() == []
        except (AssertionError, OSError):
            return False

    until(serves, "it does not recover", 15)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


MEDDLING = """
import os, threading, time
_switches = os.path.dirname(os.path.abspath(__file__))
_start, _time = threading.Thread.start, time.time

def start(thread):
    if thread.name.startswith("client-") and os.path.exists(os.path.join(_switches, "no-threads")):
        raise RuntimeError("can't start new thread")
    _start(thread)

def wall_clock():
    try:
        with open(os.path.join(_switches, "offset")) as file:
            return _time() + float(file.read())
    except (OSError, ValueError):
        return _time()

threading.Thread.start, time.time = start, wall_clock
"""
"""Taken in by Python before the server's first line: no more threads, or another wall clock, when a
file says so."""


@contextmanager
def meddled(place: Place) -> Iterator[tuple[Watched, Path]]:
    """A server that meddles with itself, and the folder of its switches."""
    switches = place.house_folder / "switches"
    switches.mkdir(exist_ok=True)
    (switches / "sitecustomize.py").write_text(MEDDLING)
    kept = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(switches), *([kept] if kept else [])])
    try:
        watched = place.server("--login-timeout", "2")
    finally:
        if kept is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = kept
    try:
        yield watched, switches
    finally:
        for name in ("no-threads", "offset"):
            (switches / name).unlink(missing_ok=True)


@TABLE.row(100, "a thread that can't start")
def _(place: Place) -> None:
    with meddled(place) as (watched, switches):
        (switches / "no-threads").touch()
        for _ in range(5):
            assert closed_or_reset(place.connect(watched)) == ["server_full"]
        chat(watched)
        (switches / "no-threads").unlink()
        assert place.user(watched).nothing_before_pong() == []


# --- Clients that don't read, or never stop -------------------------------------------------------


def too_slow(place: Place, read: Callable[[RawClient], None]) -> None:
    """A receiver that doesn't keep up is closed; who keeps up is served."""
    watched = place.server("--max-waiting", "65536")
    speaker, listener = place.user(watched), place.user(watched)
    slow = place.user(watched, receive_buffer=4096)
    room_id = place.private_room(speaker, listener, slow)
    content = "x" * 16_000
    for number in range(1_500):
        speaker.say(room_id, content)
        begun = time.monotonic()
        listener.receive_message(content, room_id)
        assert time.monotonic() - begun < patience(5)
        read(slow)
        if (
            number % 10 == 9
            and slow.chatid not in speaker.ask("get_users", limit=1000)["data"]["online"]
        ):
            break
    else:
        raise AssertionError("a reader that does not read keeps its place")
    again = place.connect(watched)
    assert again.login(slow.chatid)["action"] == "login_success"
    assert again.ask("get_messages", room_id=room_id, after_id=0)["data"]["messages"], (
        "it finds what it missed"
    )


@TABLE.row(101, "a reader that never reads")
def _(place: Place) -> None:
    too_slow(place, lambda client: None)


@TABLE.row(102, "a reader of a byte now and then")
@plain_only
def _(place: Place) -> None:
    def read(client: RawClient) -> None:
        with suppress(OSError):
            client.socket.recv(1)

    too_slow(place, read)


def flood(place: Place, messages: int) -> None:
    """A too fast client is read slowly, never refused; others don't notice."""
    watched = place.server("--rate-limit", "20", "--rate-burst", "50", "--max-pending", "0")
    fast = place.user(watched)
    room_id = place.private_room(fast)
    begun = time.monotonic()
    packet = {
        "action": "send_message",
        "data": {"chatid": fast.chatid, "room_id": room_id, "content": "x"},
    }
    fast.send_bytes(encode(packet) * messages)
    chat(watched, 5)
    assert time.monotonic() - begun < patience(5), "others wait for the fast one"
    for _ in range(messages):
        assert fast.receive(patience(30))["action"] == "character_count"
    assert time.monotonic() - begun > (messages - 60) / 20 / 2, "it was not slowed"


@TABLE.row(103, "messages faster than the rate")
def _(place: Place) -> None:
    flood(place, 65)


@TABLE.row(103, "a thousand messages at once", long=True)
def _(place: Place) -> None:
    flood(place, 1_000)


# --- Passwords ------------------------------------------------------------------------------------


def guesses(place: Place, wrong: int) -> None:
    watched = place.server("--login-failures", "5")
    owner, other = place.user(watched), place.user(watched)
    guesser = place.connect(watched)
    for _ in range(wrong):
        begun = time.monotonic()
        assert (
            guesser.request(
                {"action": "login", "data": {"chatid": owner.chatid, "password": "guess"}}, 30
            )["action"]
            == "login_fail"
        )
        took = time.monotonic() - begun
    assert took > 0.9, "the sixth guess in a minute is answered after 1 s"
    begun = time.monotonic()
    by_key = place.connect(watched)
    assert (
        by_key.login(owner.chatid, None, session_key=owner.session_key)["action"] == "login_success"
    ), "the owner's key is not slowed"
    other.close()
    until(
        lambda: other.chatid not in by_key.ask("get_users", limit=1000)["data"]["online"],
        "it is still on",
    )
    assert place.connect(watched).login(other.chatid)["action"] == "login_success", (
        "others are not slowed"
    )
    many = place.connect(watched)
    for number in range(20):
        assert many.login(f"nobody{number}", "guess")["action"] == "login_fail", (
            "slowed by account and address together, not refused"
        )
    assert time.monotonic() - begun < patience(5)


@TABLE.row(104, "wrong passwords on one name, and on many")
def _(place: Place) -> None:
    guesses(place, 6)


@TABLE.row(104, "wrong passwords on one name: 12", long=True)
def _(place: Place) -> None:
    guesses(place, 12)


def failed_logins(place: Place, watched: Watched, times: int) -> tuple[list[float], list[float]]:
    """Seconds that a wrong password takes, and an unknown name, by turns; the answers are one and
    the same."""
    known, client = fresh_name("known"), place.connect(watched)
    assert client.register(known)["action"] == "register_success"
    took: dict[bool, list[float]] = {True: [], False: []}
    said = set()
    order = [True, False] * times
    drawn("names of logins").shuffle(order)
    for is_known in order:
        name = known if is_known else fresh_name("known")
        packet = encode({"action": "login", "data": {"chatid": name, "password": "wrong password"}})
        begun = time.perf_counter()
        client.send_bytes(packet)
        answer = client.receive()
        took[is_known].append(time.perf_counter() - begun)
        said.add(str(answer))
        assert answer["action"] == "login_fail"
    assert len(said) == 1, said
    return took[True], took[False]


@TABLE.row(105, "an unknown name and a wrong password")
def _(place: Place) -> None:
    wrong, unknown = failed_logins(place, place.server("--password-cost", "12"), 12)
    # A hash of this cost takes many times of all the rest: where none were made, it would be a
    # tenth.
    assert statistics.median(unknown) > statistics.median(wrong) / 3
    assert statistics.median(wrong) > statistics.median(unknown) / 3


@TABLE.row(105, "500 unknown names and 500 wrong passwords", long=True)
def _(place: Place) -> None:
    place.more_mib += 16  # a hash of this cost (RFC 7914: 128 N r bytes), which malloc may keep
    wrong, unknown = failed_logins(place, place.server("--password-cost", "14"), 500)
    medians = statistics.median(wrong), statistics.median(unknown)
    longer = sum((a > b) + (a == b) / 2 for a in wrong for b in unknown) / len(wrong) / len(unknown)
    print(
        f"500 of each: medians {medians[0] * 1000:.2f} and {medians[1] * 1000:.2f} ms, "
        f"AUC {longer:.3f}"
    )
    assert abs(medians[0] - medians[1]) < 0.1 * max(medians)
    assert 0.4 < longer < 0.6


def logins_at_once(place: Place, watched: Watched) -> list[RawClient]:
    clients = [place.connect(watched) for _ in range(30)]
    for client in clients:
        client.send({"action": "login", "data": {"chatid": "nobody", "password": "x"}})
    return clients


@TABLE.row(106, "30 logins at once, by slow hashes")
def _(place: Place) -> None:
    place.more_mib = 512  # what is kept is the next case's
    watched = place.server("--password-cost", "13")
    clients = logins_at_once(place, watched)
    begun = time.monotonic()
    chat(watched, 3)
    assert time.monotonic() - begun < patience(5)
    for client in clients:
        assert client.receive(patience(30))["action"] == "login_fail"


@TABLE.row(106, "30 logins at once keep no memory")
@linux_only
def _(place: Place) -> None:
    watched = place.server(
        "--password-cost", "12"
    )  # 4 MiB a hash, and as many hashes at once as there are cores
    before = held(watched.process.pid)
    for client in logins_at_once(place, watched):
        assert client.receive(patience(30))["action"] == "login_fail"
    grown = held(watched.process.pid).resident_kib - before.resident_kib
    assert grown < 1024 * (16 + 8 * (os.cpu_count() or 1)), (
        f"{grown} KiB more while 30 are connected"
    )


# --- The disk -------------------------------------------------------------------------------------


@TABLE.row(107, "a full disk")
@needs_prlimit
def _(place: Place) -> None:
    # A small file system and uploads on it: test_disk.py
    watched = aside(place)
    client = place.user(watched)
    room_id = place.private_room(client)
    sizes = [path.stat().st_size for path in watched.process.data_dir.glob("chat.db*")]
    limit_file_size(watched.process.pid, max(sizes) + 4096)
    acknowledged, reply = [], {"action": "ack"}
    for number in range(200):
        content = f"{number} ".ljust(8_000, "z")
        reply = client.confirm(client.propose(room_id, content)["data"]["transaction_id"])
        if reply["action"] != "ack":
            break
        acknowledged.append(content)
    assert error_code(reply) == "storage_full" and reply["original_action"] == "confirm_count"
    read = client.ask("get_messages", room_id=room_id, after_id=0)["data"]["messages"]
    assert [message["content"] for message in read] == acknowledged, (
        "reads go on; nothing refused is there"
    )
    limit_file_size(watched.process.pid, None)
    client.say(room_id, "there is room again")


@TABLE.row(108, "a sync that fails")
@needs_strace
def _(place: Place) -> None:
    # Each call of each step: test_disk.py
    process = ServerProcess(place.tmp_path / "data", "--rate-limit", "0")
    with process:
        client = RawClient(process.port)
        client.register("ada")
        client.login("ada")
        client.say("lobby", "kept")
        transaction = client.propose("lobby", "never acknowledged")["data"]["transaction_id"]
        with failing_calls(process.pid, "fsync,fdatasync", "error=EIO"):
            with suppress(ClosedByServer, OSError):
                assert client.confirm(transaction)["action"] == "error"
            until(lambda: not process.is_running(), f"it goes on\n{process.log()}", 15)
        client.close()
        assert process.stop() != 0
        assert "Traceback" not in process.log(), process.log()
        process.start()
        client = RawClient(process.port)
        client.login("ada", take_over=True)
        contents = [
            message["content"]
            for message in client.ask("get_messages", room_id="lobby", after_id=0)["data"][
                "messages"
            ]
        ]
        client.close()
        assert contents[0] == "kept"
        assert process.stop() == 0
        check_data(process.data_dir)


def locked_out(place: Place, seconds: float) -> None:
    watched = aside(place)
    client = place.user(watched)
    room_id = place.private_room(client)
    client.say(room_id, "before")
    transaction = client.propose(room_id, "meanwhile")["data"]["transaction_id"]
    with locked_by_another_process(watched.process.data_dir / "chat.db"):
        client.send(
            {"action": "confirm_count", "data": {"transaction_id": transaction, "confirm": True}}
        )
        begun = time.monotonic()
        if seconds > 5:
            assert error_code(client.receive(patience(20))) == "internal_error"
            assert time.monotonic() - begun < patience(15), "a bounded wait"
        else:
            with pytest.raises(NothingCame):
                client.receive(seconds)
    if seconds <= 5:
        assert client.receive()["action"] == "ack"
    client.say(room_id, "after")


@TABLE.row(109, "a database that another process has locked")
def _(place: Place) -> None:
    locked_out(place, 0.3)


@TABLE.row(109, "a database that another process has locked for 10 s", long=True)
def _(place: Place) -> None:
    locked_out(place, 10)


# --- The start ------------------------------------------------------------------------------------


def started_in_vain(data_dir: Path, *options: str) -> str:
    """The one clear line with which a server that can't serve ends."""
    line = server_command(data_dir, *options)
    done = subprocess.run(
        line,
        cwd=REPOSITORY,
        env=server_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience(20),
        check=False,
    )
    lines = complaints(done.stderr)
    assert done.returncode > 0 and len(lines) == 1 and "Traceback" not in lines[0], (
        f"{done.returncode} {done.stderr}"
    )
    return lines[0]


def database(place: Place, *spoil: str) -> Path:
    """A data folder whose database was spoilt by SQL."""
    pristine, folder = place.house_folder / "pristine", place.tmp_path / "data"
    if not pristine.exists():
        with ServerProcess(pristine) as process:
            assert process.stop() == 0
    shutil.copytree(pristine, folder)
    connection = sqlite3.connect(folder / "chat.db", isolation_level=None)
    for sql in spoil:
        connection.execute(sql)
    connection.close()
    return folder


def newer(place: Place) -> Path:
    return database(place, "PRAGMA user_version = 999")


def foreign(place: Place) -> Path:
    return database(place, "PRAGMA application_id = 7")


def garbage(place: Place) -> Path:
    folder = place.tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "chat.db").write_bytes(b"SQLite? no. " * 500)
    return folder


def torn(place: Place) -> Path:
    """A database of ours, of which the end is missing."""
    folder = database(place)
    content = (folder / "chat.db").read_bytes()
    (folder / "chat.db").write_bytes(content[: 4096 * 3] + b"\xaa" * 4096)
    return folder


def a_file(place: Place) -> Path:
    (place.tmp_path / "data").write_text("mine")
    return place.tmp_path / "data"


def below_a_file(place: Place) -> Path:
    return a_file(place) / "data"


@TABLE.row(
    110,
    "a data folder that can't be used:",
    {made.__name__: made for made in (newer, foreign, garbage, torn, a_file, below_a_file)},
)
def _(place: Place, made: Callable[[Place], Path]) -> None:
    folder = made(place)
    touched = [path for path in (folder, folder / "chat.db", folder.parent) if path.is_file()]
    before = {path: path.read_bytes() for path in touched}
    assert started_in_vain(folder)
    assert {path: path.read_bytes() for path in touched} == before, "it was changed"


@TABLE.row(111, "a second server on the same folder")
def _(place: Place) -> None:
    said = started_in_vain(place.main.process.data_dir)
    assert "in use" in said or "another" in said or str(place.main.process.pid) in said, said


@TABLE.row(112, "a wall clock that jumps back 1 h and forward 10 years")
def _(place: Place) -> None:
    with meddled(place) as (watched, switches):
        client, listener = place.user(watched), place.user(watched)
        room_id = place.private_room(client, listener)
        ids = []
        for number, offset in enumerate((0, -3600, 315_360_000, 0)):
            (switches / "offset").write_text(str(offset))
            young = place.connect(watched)
            ids.append(client.say(room_id, f"{number}")["data"]["message_id"])
            assert young.nothing_before_pong() == [], "its time to log in is not the wall clock's"
        assert ids == sorted(ids)
        assert [listener.receive_message()["data"]["content"] for _ in ids] == ["0", "1", "2", "3"]
        page = listener.ask("get_messages", room_id=room_id, after_id=0)["data"]["messages"]
        assert [message["content"] for message in page] == ["0", "1", "2", "3"], (
            "order is never taken from the clock"
        )
        assert page[2]["timestamp"] > "2034"


# --- The end --------------------------------------------------------------------------------------


def killed_while_all_post(place: Place, clients: int, seconds: float) -> None:
    watched = aside(place)
    speakers = [place.user(watched) for _ in range(clients)]
    room_id = place.private_room(speakers[0], *speakers[1:])
    acknowledged: dict[int, str] = {}
    lock = threading.Lock()

    def post(client: RawClient) -> None:
        with suppress(ClosedByServer, NothingCame, OSError):
            for number in range(100_000):
                content = f"{client.chatid} {number}"
                ack = client.say(room_id, content)
                with lock:
                    acknowledged[ack["data"]["message_id"]] = content

    threads = [threading.Thread(target=post, args=(client,)) for client in speakers]
    for thread in threads:
        thread.start()
    threading.Event().wait(seconds)
    watched.process.kill()
    for thread in threads:
        thread.join(patience(20))
    watched.process.start()
    watched.restarted()
    stored = dict(rows_of(watched.process.data_dir, "SELECT id, content FROM messages"))
    assert acknowledged.items() <= stored.items(), "what was acknowledged is not there"
    assert len(set(stored.values())) == len(stored), "something is there twice"
    reader = place.connect(watched)
    assert reader.login(speakers[0].chatid)["action"] == "login_success"
    page = reader.ask("get_messages", room_id=room_id, after_id=0)["data"]["messages"]
    numbers = [message["message_id"] for message in page]
    assert numbers == sorted(numbers) and numbers


@TABLE.row(113, "kill -9 while 5 clients post")
def _(place: Place) -> None:
    killed_while_all_post(place, 5, 0.3)


@TABLE.row(113, "kill -9 while 20 clients post", long=True)
def _(place: Place) -> None:
    killed_while_all_post(place, 20, 2)


@TABLE.row(114, "a signal, with stuck clients:", {"SIGTERM": "SIGTERM"})
@TABLE.row(
    114, "a signal, with stuck clients:", {"SIGINT": "SIGINT", "SIGHUP": "SIGHUP"}, long=True
)
@unix_only
def _(place: Place, name: str) -> None:
    process = ServerProcess(place.tmp_path / "data", "--rate-limit", "0", "--shutdown-timeout", "1")
    with process:
        told, stuck = RawClient(process.port), RawClient(process.port, receive_buffer=4096)
        for client, user in ((told, "told"), (stuck, "stuck")):
            client.register(user)
            assert client.login(user, features=["events"])["action"] == "login_success"
        stuck.send_bytes(encode({"action": "get_users", "data": {"chatid": "stuck"}}) * 2_000)
        silent = RawClient(process.port)
        silent.send_bytes(b"\0\0")
        upload = Upload(told, "lobby", "half", b"x" * 2_500)
        upload.init()
        upload.send(1)
        begun = time.monotonic()
        os.kill(process.pid, getattr(signal, name))
        told.receive_event("server_closing")
        until(lambda: not process.is_running(), "it goes on", 15)
        assert time.monotonic() - begun < patience(10), "5 s are promised; twice that is a hang"
        assert process.stop() == 0
        for client in (told, stuck, silent):
            client.close()
        assert "Traceback" not in process.log(), process.log()
        check_data(process.data_dir)


@TABLE.row(115, "output that nobody takes:", {"a full pipe": False})
@TABLE.row(115, "output that nobody takes:", {"closed": True}, long=True)
@unix_only
@plain_only
def _(place: Place, is_closed: bool) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = [
        *server_command(place.tmp_path / "data", "--log-level", "debug", "--rate-limit", "0"),
        "--port",
        str(port),
    ]
    with subprocess.Popen(
        line,
        cwd=REPOSITORY,
        env=server_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as server:
        try:
            assert server.stdout is not None and server.stderr is not None
            if is_closed:
                server.stdout.close()
                server.stderr.close()
            clients: list[RawClient] = []

            def is_up() -> bool:
                with suppress(OSError):
                    clients.append(RawClient(port))
                return bool(clients)

            until(is_up, "it does not listen", 20)
            for number in range(800):  # some 100 KiB of lines; a pipe holds 64
                clients[0].register(f"somebody{number}")
            clients[0].login("somebody0")
            clients[0].say("lobby", "heard")
            clients[0].close()
            server.send_signal(signal.SIGTERM)
            server.stdout.close()
            server.stderr.close()
            assert server.wait(patience(15)) in (0, 1, 120), (
                "120: Python could not flush its own stdout at the end"
            )
        finally:
            server.kill()


@TABLE.row(116, "a port in use, IPv6 only, a host name")
@plain_only
def _(place: Place) -> None:
    said = started_in_vain(place.tmp_path / "taken", "--port", str(place.main.process.port))
    assert str(place.main.process.port) in said and not (place.tmp_path / "taken").exists()
    hosts = ["localhost"]
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        hosts.append("::1")
    for host in hosts:
        with ServerProcess(place.tmp_path / f"data-{len(host)}", "--host", host) as process:
            with socket.create_connection((host, process.port), patience(10)) as sock:
                sock.sendall(encode({"action": "ping"}))
                assert b"pong" in sock.recv(4096)
            assert process.stop() == 0
    assert started_in_vain(place.tmp_path / "nowhere", "--host", "no-such-host.invalid")


# --- Coming back ----------------------------------------------------------------------------------


def come_back_all_at_once(place: Place, clients: int) -> None:
    watched = aside(place)
    name, devices = fresh_name(), []
    place.connect(watched).register(name)
    for _ in range(
        50
    ):  # R-SESS-5: a user has one connection, so each device takes the place of the one before
        device = place.connect(watched)
        assert device.login(name, take_over=True)["action"] == "login_success"
        devices.append(device)
    assert place.connect(watched).login(name)["action"] == "login_fail"
    for device in devices[:-1]:
        assert device.expect_closed() == []
    crowd = [place.user(watched) for _ in range(clients)]
    watched.process.kill()
    watched.process.start()
    watched.restarted()
    begun = time.monotonic()
    back = [place.connect(watched) for _ in crowd]
    for client, old in zip(back, crowd, strict=True):
        client.send(
            {"action": "login", "data": {"chatid": old.chatid, "session_key": old.session_key}}
        )
    for client in back:
        assert client.receive(patience(20))["action"] == "login_success"
    assert time.monotonic() - begun < patience(20)


@TABLE.row(117, "50 devices of one account; 50 clients back at once after a restart")
def _(place: Place) -> None:
    come_back_all_at_once(place, 50)


@TABLE.row(117, "400 clients back at once after a restart", long=True)
def _(place: Place) -> None:
    come_back_all_at_once(place, 400)


def lost_acks(place: Place, step: int) -> None:
    """A message whose exchange is cut at an offset, sent again under its key: exactly one row. Our
    client does it so: test_cuts.py."""
    user = place.user()
    room_id = place.private_room(user)
    user.close()
    offsets = 0
    for direction in (TO_SERVER, TO_CLIENT):
        for offset in range(0, 1_200, step):
            key = fresh_name("key")
            send = {
                "chatid": user.chatid,
                "room_id": room_id,
                "content": key,
                "transaction_id": key,
            }
            exchange = encode({"action": "send_message", "data": send})
            exchange += encode(
                {"action": "confirm_count", "data": {"transaction_id": key, "confirm": True}}
            )
            with Proxy(place.main.process.port) as proxy:
                client = RawClient(proxy.port)
                assert client.login(user.chatid, take_over=True)["action"] == "login_success"
                proxy.cut_after(direction, offset)
                with suppress(OSError):
                    client.send_bytes(exchange)
                acked = False
                with suppress(ClosedByServer, OSError):
                    while not acked:
                        acked = client.receive()["action"] == "ack"
                client.close()
            again = place.main.connect()
            assert again.login(user.chatid, take_over=True)["action"] == "login_success"
            reply = again.ask("send_message", room_id=room_id, content=key, transaction_id=key)
            if reply["action"] == "character_count":
                assert not acked, "acknowledged, and not known"
                reply = again.confirm(key)
            assert (reply["action"], reply["status"]) == ("ack", "success"), reply
            again.close()
            offsets += 1
            if acked:
                break
    counts = rows_of(
        place.main.process.data_dir,
        "SELECT count(*) FROM messages WHERE content LIKE 'key%' GROUP BY content",
    )
    assert set(counts) == {(1,)} and len(counts) >= offsets


@TABLE.row(118, "an exchange cut at some bytes of it")
@plain_only
def _(place: Place) -> None:
    lost_acks(place, 97)


@TABLE.row(118, "an exchange cut at every byte of it", long=True)
@plain_only
def _(place: Place) -> None:
    lost_acks(place, 1)


# --- For long -------------------------------------------------------------------------------------


def long_reader(place: Place, messages: int, most_bytes: int) -> None:
    """While somebody reads an old state the log can't be reset; when the reader has gone, it is,
    and it shrinks."""
    watched = aside(place)
    # the newest messages, up to 32 MiB, are kept to check the counts of those who receive them
    place.more_mib = 64
    client = place.user(watched)
    room_id = place.private_room(client)
    path = watched.process.data_dir / "chat.db"
    reader = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM messages").fetchall()

    def say_many(count: int) -> None:
        for first in range(0, count, 100):
            keys = [
                f"{room_id}-{time.monotonic_ns()}-{first}-{number}"
                for number in range(min(100, count - first))
            ]
            for key in keys:
                data = {
                    "chatid": client.chatid,
                    "room_id": room_id,
                    "content": "y" * 2_000,
                    "transaction_id": key[-64:],
                }
                client.send({"action": "send_message", "data": data})
                client.send(
                    {
                        "action": "confirm_count",
                        "data": {"transaction_id": key[-64:], "confirm": True},
                    }
                )
            for _ in keys:
                assert client.receive_action("ack", timeout=patience(20))["status"] == "success"
            client._aside.clear()

    say_many(messages)
    reader.rollback()
    reader.close()
    wal = path.with_name("chat.db-wal")
    grown = wal.stat().st_size
    say_many(100)
    until(
        lambda: wal.stat().st_size <= most_bytes,
        f"the log had {grown} bytes, and has {wal.stat().st_size} still",
        20,
    )


@TABLE.row(119, "one long reader")
def _(place: Place) -> None:
    long_reader(place, 3_000, 17 * 1024 * 1024)


@TABLE.row(119, "one long reader for 20,000 messages", long=True)
def _(place: Place) -> None:
    long_reader(place, 20_000, 17 * 1024 * 1024)


def reconnects(place: Place, times: int) -> None:
    user = place.user()
    room_id = place.private_room(user)
    begun = held(place.main.process.pid)
    for number in range(times):
        client = place.main.connect()
        assert (
            client.login(user.chatid, None, session_key=user.session_key)["action"]
            == "login_success"
        )
        client.say(room_id, f"{number}")
        client.close()
    user.close()
    grown = held(place.main.process.pid).resident_kib - begun.resident_kib
    print(f"{times} reconnects: {grown} KiB more")
    assert grown < 8 * 1024 + times


@TABLE.row(120, "100 reconnects")
@linux_only
def _(place: Place) -> None:
    reconnects(place, 100)


@TABLE.row(
    120, "10,000 reconnects", long=True
)  # as many as 100 minutes have at 100 a minute; a day of it is for a soak test
@linux_only
def _(place: Place) -> None:
    reconnects(place, 10_000)


@pytest.mark.parametrize("row", TABLE.parameters())
def test_bad_input(row: Row, house: House, tmp_path: Path) -> None:
    play(row, house, tmp_path)
