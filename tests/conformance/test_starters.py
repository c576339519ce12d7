"""The servers in examples/starter are small, run, and score what docs/TEACHING.md and their README
say.

The quick run looks at two of the languages, `-m long` at all that can be built here.
"""

from __future__ import annotations

import contextlib
import json
import runpy
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from support.patience import patience
from support.relays import relay_before

from client.connection import Connection
from client.errors import ConnectionLost, CountsDiffer
from conformance.relay.faults import KINDS, parse
from conformance.server import cases, runner
from conformance.verdicts import Report, Verdict

ROOT = Path(__file__).resolve().parents[2]
STARTERS = ROOT / "examples" / "starter"
NAMES = ("anna", "ben", "carla", "dora", "emil", "fay")
SURE = ("R-FRAME-1", "R-FRAME-2", "R-SESS-4", "R-SESS-5", "R-MSG-1", "R-MSG-21", "R-ERR-2")
"""Rules that hold in a starter, all of them."""


@dataclass(frozen=True)
class Language:
    """How a starter is made ready and started: {here} is its folder, {out} an empty one."""

    file: str
    needs: str
    build: tuple[str, ...]
    start: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.file.partition("/")[0]


LANGUAGES = (
    Language("python/server.py", sys.executable, (), (sys.executable, "{here}/server.py")),
    Language("javascript/server.js", "node", (), ("node", "{here}/server.js")),
    Language(
        "java/Server.java",
        "javac",
        ("javac", "-d", "{out}", "{here}/Server.java", "{here}/Json.java"),
        ("java", "-XX:TieredStopAtLevel=1", "-cp", "{out}", "Server"),
    ),
    Language(
        "c/server.c",
        "cc",
        ("cc", "-Wall", "-Werror", "-pthread", "-o", "{out}/chat", "{here}/server.c"),
        ("{out}/chat",),
    ),
    Language(
        "rust/server.rs",
        "rustc",
        (
            "rustc",
            "--edition",
            "2021",
            "-D",
            "warnings",
            "-o",
            "{out}/chat.exe",
            "{here}/server.rs",
        ),
        ("{out}/chat.exe",),
    ),
    Language(
        "go/server.go",
        "go",
        ("go", "build", "-o", "{out}/chat.exe", "{here}/server.go"),
        ("{out}/chat.exe",),
    ),
)

QUICK = ("python", "javascript")
"""Languages that need no compiler."""


@pytest.fixture(scope="module")
def commands(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[str]]:
    """Return the words that start each starter which is asked for and can be built here, but for
    the port."""
    found = {}
    params = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    asked = [each["name"] for each in params if isinstance(each.get("name"), Language)]
    for language in LANGUAGES:
        if why_not(language) or language not in (LANGUAGES[0], *asked):
            continue
        out = tmp_path_factory.mktemp(language.name)
        places = {"here": str((STARTERS / language.file).parent), "out": str(out)}
        if language.build:
            words = [word.format(**places) for word in language.build]
            done = subprocess.run(
                words, capture_output=True, text=True, timeout=patience(120), check=False
            )
            assert done.returncode == 0, done.stderr
        program, *words = [word.format(**places) for word in language.start]
        found[language.name] = [shutil.which(program) or program, *words]
    return found


def why_not(language: Language) -> str:
    """Return why this starter can't be built or run here, or nothing."""
    if language.name == "c" and sys.platform == "win32":
        return "the starter in C needs the sockets and threads of POSIX"
    return "" if shutil.which(language.needs) else f"{language.needs} is not installed"


@pytest.fixture(
    params=[
        pytest.param(each, marks=() if each.name in QUICK else pytest.mark.long, id=each.name)
        for each in LANGUAGES
    ]
)
def name(request: pytest.FixtureRequest) -> str:
    """Return the name of a language whose starter runs here."""
    if why := why_not(request.param):
        pytest.skip(why)
    return str(request.param.name)


@pytest.fixture(scope="module")
def reports(commands: dict[str, list[str]]) -> dict[str, Report]:
    """Return what the kit says of each starter at the level `full`: all at once, as the kit waits
    most of the time."""
    with ThreadPoolExecutor(len(commands)) as pool:
        return dict(zip(commands, pool.map(graded, commands.values()), strict=True))


def graded(command: list[str]) -> Report:
    with subprocess.Popen([*command, "0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening on 127.0.0.1:"), line
            options = runner.Options(
                "127.0.0.1",
                int(line.rpartition(":")[2]),
                "full",
                seed=5,
                accounts=[(name, f"pw-{name}") for name in NAMES],
            )
            return runner.run(options, cases.load())
        finally:
            process.terminate()


@pytest.fixture
def report(name: str, reports: dict[str, Report]) -> Report:
    return reports[name]


def test_starters_of_all_languages_get_the_same_points(
    report: Report, reports: dict[str, Report]
) -> None:
    def points(one: Report) -> tuple[float, float]:
        return round(one.points_got, 2), round(one.points_missing, 2)

    assert points(report) == points(reports["python"])


def test_starter_scores_some_points_and_leaves_some(report: Report) -> None:
    offered = report.points_possible - report.points_missing
    assert 25 <= 100 * report.points_got / offered <= 60, report.notes
    assert report.points_missing > report.points_got
    assert not report.count(Verdict.KIT_ERROR)
    assert report.exit_status == 1


def test_what_a_starter_does_it_does_right(report: Report) -> None:
    verdicts = {result.rule.id: result.verdict for result in report.rule_results()}
    assert {rule: verdicts[rule] for rule in SURE} == dict.fromkeys(SURE, Verdict.PASS)


def sources() -> list[Path]:
    return sorted(path for path in STARTERS.glob("*/*") if path.is_file())


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_starter_has_at_most_150_lines_and_imports_nothing_of_ours(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) <= 150
    assert not any(
        line.startswith(("from protocol", "import protocol", "from server", "from client"))
        for line in lines
    )


class NobodyCalls:
    """A listener at which Ctrl-C is pressed in the end."""

    def __init__(self) -> None:
        self.seconds: float | None = None
        self.came = [TimeoutError(), ConnectionResetError(), KeyboardInterrupt()]

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 9

    def settimeout(self, seconds: float) -> None:
        self.seconds = seconds

    def accept(self) -> None:
        raise self.came.pop(0)


def test_ctrl_c_ends_the_starter_in_python_also_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """There it is heard when a wait is over."""
    listener = NobodyCalls()
    monkeypatch.setattr(socket, "create_server", lambda *_: listener)
    monkeypatch.setattr(sys, "argv", ["server.py"])
    with pytest.raises(KeyboardInterrupt):
        runpy.run_path(str(STARTERS / "python" / "server.py"), run_name="__main__")
    assert listener.came == [] and listener.seconds is not None and listener.seconds <= 1.0


def test_readme_of_the_starters_names_them_all() -> None:
    readme = (STARTERS / "README.md").read_text("utf-8")
    assert all(f"({language.file})" in readme for language in LANGUAGES)


def test_starter_says_in_a_line_why_it_can_not_listen(
    name: str, commands: dict[str, list[str]]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for port in (str(taken.getsockname()[1]), "many", "99999"):
            done = subprocess.run(
                [*commands[name], port],
                capture_output=True,
                text=True,
                timeout=patience(30),
                check=False,
            )
            assert (
                done.returncode == 1
                and done.stderr.startswith("cannot listen: ")
                and done.stderr.count("\n") == 1
            ), done.stderr


def letters(command: list[str], content: str) -> object:
    """Return the letter counts that a starter answers to this JSON of a content."""
    with subprocess.Popen([*command, "0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port), 10) as sock:
                ask(sock, '{"action":"login","data":{"chatid":"anna","password":"pw-anna"}}')
                answer = ask(
                    sock,
                    '{"action":"send_message","data":'
                    f'{{"chatid":"anna","room_id":"lobby","content":"{content}"}}}}',
                )
                return answer["data"]["letter_frequencies"]
        finally:
            process.terminate()


def ask(sock: socket.socket, packet: str) -> dict[str, Any]:
    """Send one packet and return the answer."""
    payload = packet.encode("utf-8")
    sock.sendall(len(payload).to_bytes(4, "big") + payload)
    with sock.makefile("rb") as answers:
        answer = json.loads(answers.read(int.from_bytes(answers.read(4), "big")))
    assert isinstance(answer, dict)
    return answer


def test_starter_reads_escapes_and_counts_code_points(
    name: str, commands: dict[str, list[str]]
) -> None:
    content = r"\u00c9É\/\b\f\n\r\t\\\"\ud83d\uDE00😀\u0001\u007fa"
    assert letters(commands[name], content) == Counter(json.loads(f'"{content}"'))


def test_starter_names_the_key_that_is_missing(name: str, commands: dict[str, list[str]]) -> None:
    packets = (
        ("chatid", "login", {"password": "pw-anna"}),
        ("password", "login", {"chatid": "anna"}),
        ("", "login", {"chatid": "anna", "password": "pw-anna"}),
        ("room_id", "send_message", {"chatid": "anna", "content": "Hello"}),
        ("content", "send_message", {"chatid": "anna", "room_id": "lobby"}),
        ("transaction_id", "confirm_count", {"confirm": True}),
        ("confirm", "confirm_count", {"transaction_id": "t"}),
    )
    with (
        running(commands[name]) as (port, _),
        socket.create_connection(("127.0.0.1", port)) as sock,
    ):
        for key, action, data in packets:
            answer = ask(sock, json.dumps({"action": action, "data": data}))
            told = answer["message"] if answer.get("code") == "bad_packet" else ""
            assert key in told and bool(key) == bool(told), (key, answer)


# --- Our client and a starter, with faults between them -------------------------------------------

STORED = (
    "drop send_message first=1",
    "drop character_count first=1 to=client",
    "delay 100 confirm_count",
    "duplicate send_message",
    "duplicate confirm_count to=server",
    "duplicate ack to=client",
    "swap send_message first=1",
    "split 3 send_message",
    "join send_message",
    "cut 10 send_message first=1",
    "id send_message first=1",
)
"""What ends with a message that is acknowledged and stored once."""
UNKNOWN = (
    "drop confirm_count first=1 to=server",
    "drop ack first=1 to=client",
    "cut confirm_count first=1",
    "reset ack first=1",
    "id character_count first=1 to=client",
    "id confirm_count first=1 to=server",
    "id ack first=1 to=client",
)
"""What ends with "it may have been stored, or not": a starter does not take the client's key."""
REFUSED = ("letter send_message first=1", "count character_count first=1 to=client")
UNNOTICED = "anagram send_message first=1"


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[tuple[int, BinaryIO]]:
    """Run a starter; its port, and what somebody hears who is logged in without a relay."""
    with subprocess.Popen([*command, "0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port), patience(10)) as listener:
                ask(listener, '{"action":"login","data":{"chatid":"carla","password":"pw-carla"}}')
                with listener.makefile("rb") as packets:
                    yield port, packets
        finally:
            process.terminate()


def stored(starter: tuple[int, BinaryIO], fault: str, text: str) -> list[str]:
    """Say a text to a starter over a relay with a fault; what is delivered to who listens without
    one. Raises what the client says."""
    port, packets = starter
    try:
        with (
            relay_before(port, faults=[parse(fault)]) as relay,
            Connection("127.0.0.1", relay.port, pauses=(0.01, 0.02)) as anna,
        ):
            anna.login("anna", "pw-anna")
            anna.send("lobby", text, timeout=patience(5))
    finally:
        with Connection("127.0.0.1", port, pauses=(0.01, 0.02)) as ben:
            ben.login("ben", "pw-ben")
            ben.send("lobby", "the end", timeout=patience(10))
        found = list(heard(packets))
        assert found.count(text) <= 1, "stored twice"
    return found


def heard(packets: BinaryIO) -> Iterator[str]:
    """Yield the texts that a listener is sent, up to "the end"."""
    while True:
        packet = json.loads(packets.read(int.from_bytes(packets.read(4), "big")))
        if packet["action"] == "receive_message":
            if packet["data"]["content"] == "the end":
                return
            yield packet["data"]["content"]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client send again sooner."""
    monkeypatch.setattr("client.session.reader.READ_SECONDS", 0.02)
    monkeypatch.setattr("client.session.outgoing.RESEND_SECONDS", 0.2)
    monkeypatch.setattr("client.session.outgoing.ACK_SECONDS", 0.2)
    monkeypatch.setattr("conformance.relay.way.WAIT_SECONDS", 0.1)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("fault", ["drop send_message first=1", "cut 10 send_message first=1"])
def test_a_message_over_a_bad_network_is_stored_once(
    commands: dict[str, list[str]], fault: str
) -> None:
    with running(commands["python"]) as starter:
        assert stored(starter, fault, "listen") == ["listen"]


@pytest.mark.long
@pytest.mark.usefixtures("hasty")
def test_over_every_kind_of_fault_the_client_of_a_starter_says_what_is_true(
    name: str, commands: dict[str, list[str]]
) -> None:
    tried = {each.split()[0] for each in (*STORED, *UNKNOWN, *REFUSED, UNNOTICED)}
    assert tried == set(KINDS)
    with running(commands[name]) as starter:
        for fault in STORED:
            assert stored(starter, fault, fault) == [fault]
        for fault in UNKNOWN:
            with pytest.raises(ConnectionLost):
                stored(starter, fault, fault)
        for fault in REFUSED:
            with pytest.raises(CountsDiffer):
                stored(starter, fault, fault)
        (other,) = stored(starter, UNNOTICED, "listen")
        assert other != "listen" and sorted(other) == sorted("listen")


def test_the_bot_of_ten_lines_says_how_it_is_called() -> None:
    program = [sys.executable, str(ROOT / "examples" / "ten_lines.py")]
    done = subprocess.run(
        program, capture_output=True, text=True, timeout=patience(30), check=False
    )
    assert (
        done.returncode == 1
        and done.stderr == "usage: python examples/ten_lines.py NAME PASSWORD_FILE\n"
    )
