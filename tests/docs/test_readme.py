"""The pages say what is true: README's commands are run, ARCHITECTURE's tables compared with the
code, links followed.

A command in a code fence that no test here knows is itself a failure.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import html
import io
import os
import re
import shlex
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ending import OWN_CONSOLE, ask_to_end, press_ctrl_c
from support.files import Upload
from support.patience import patience
from support.raw_client import RawClient
from support.tls import needs_openssl

from client.command_line import options
from conformance.__main__ import make_parser as kit_parser
from server.base.locks import Rank
from server.base.settings import OPTIONS, Settings
from server.command_line import welcome
from server.command_line.arguments import COMMANDS, parse
from server.command_line.arguments import make_parser as server_parser
from server.command_line.interfaces import Place
from server.running.service import Service

ROOT = Path(__file__).resolve().parents[2]
RUNNING = (ROOT / "docs" / "RUNNING.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
SECURITY = (ROOT / "SECURITY.md").read_text("utf-8")
ARCHITECTURE = (ROOT / "docs" / "ARCHITECTURE.md").read_text("utf-8")
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    *(f"docs/{file.name}" for file in sorted((ROOT / "docs").glob("*.md"))),
]
WAIT_SECONDS = patience(30.0)


def section(page: str, heading: str) -> str:
    """What stands between `## heading` and the next heading of that rank."""
    return page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def fences(page: str, kind: str) -> list[str]:
    """The code blocks of this kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def rows(text: str) -> list[list[str]]:
    """The cells of a section's table, without its header."""
    found = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in found[2:]]


def first_cells(heading: str) -> list[str]:
    """The first column of a table of ARCHITECTURE, out of its backquotes."""
    return [row[0].strip("`") for row in rows(section(ARCHITECTURE, heading))]


# --- README's commands, run as they stand there ---------------------------------------------------

SERVE = "python chat_server.py"
TALK = "python chat_client.py 192.168.1.20:9876"
DOCTOR = "python chat_client.py doctor 192.168.1.20:9876"
SCRIPTS = [
    'python chat_client.py -u ada --password-file secret.txt send lobby "The build is done."',
    "python chat_client.py -u ada --password-file secret.txt history lobby --since 2h --json",
]
READ_JOURNAL = "python protocol.py chat-data/journal/room-000001/2026-11-23.frames"
ACCOUNT_COMMANDS = [
    "python chat_server.py adduser ada",
    "python chat_server.py passwd ada",
    "python chat_server.py role ada teacher",
    "python chat_server.py deluser ada",
    "python chat_server.py users",
    "python chat_server.py import class.csv",
    "python chat_server.py restore-room ROOM_ID",
    "python chat_server.py recover-messages",
]
KEEPING_COMMANDS = [
    "python chat_server.py export -o lessons",
    "python chat_server.py attendance -o attendance.csv",
    "python chat_server.py slips class.csv -o slips.html",
    "python chat_server.py new-term -o autumn.zip",
    "python chat_server.py backup class.zip",
    "python chat_server.py restore class.zip --data copy",
    "python chat_server.py forget ada",
    "python chat_server.py status",
]
STEERING_COMMANDS = [
    "python chat_server.py who",
    "python chat_server.py rooms",
    "python chat_server.py room lobby --read-only on",
    "python chat_server.py mute ada 10m",
    "python chat_server.py unmute ada",
    "python chat_server.py kick ada",
    "python chat_server.py ban ada 2h",
    "python chat_server.py unban ada",
    "python chat_server.py pause 5m",
    "python chat_server.py resume",
    "python chat_server.py announce Class ends at noon",
    "python chat_server.py hide 17",
    "python chat_server.py show 17",
    "python chat_server.py audit",
]
OPTION_COMMANDS = [
    "python chat_server.py --port 9000 --registration closed",
    "python chat_server.py --show-config",
    "python chat_server.py --config chat.ini",
]
MAKE_CERTIFICATE = (
    'openssl req -x509 -newkey rsa:2048 -nodes -days 180 -subj "/CN=chat"'
    ' -addext "subjectAltName=IP:192.168.1.20,DNS:localhost" -keyout class.key -out class.pem'
)
SERVE_TLS = "python chat_server.py --certfile class.pem --keyfile class.key"
TALK_TLS = "python chat_client.py 192.168.1.20:9876 --tls --cafile class.pem"
TLS_COMMANDS = [MAKE_CERTIFICATE, SERVE_TLS, TALK_TLS]
RELAY = "python -m conformance relay 9875 127.0.0.1:9876 --page 8080"
TALK_TO_RELAY = "python chat_client.py 127.0.0.1:9875"
ASSESS_COMMANDS = [
    "python -m conformance server 127.0.0.1:9876 --account ada:secret",
    "python -m conformance client -- python chat_client.py {host}:{port} -u {user}",
]
TEST_COMMANDS = ["make test", "python tests/run.py"]


class Folder:
    """An empty folder in which README's commands are typed, and the server that one of them
    started."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._server: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def environment(self) -> dict[str, str]:
        """Loopback, a free port and cheap hashes, by the variables that README names: the commands
        stay as they are."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("CHAT_")}
        kept.update(dict.fromkeys(("XDG_CONFIG_HOME", "LOCALAPPDATA", "HOME"), str(self.path)))
        kept["PYTHONPATH"] = str(ROOT)  # for `python -m`, which is typed in the project's folder
        return {
            **kept,
            "CHAT_HOST": "127.0.0.1",
            "CHAT_PORT": "0",
            "CHAT_PASSWORD_COST": "4",
            "PYTHONIOENCODING": "utf-8",
        }

    @staticmethod
    def words(command: str) -> list[str]:
        python, script, *others = shlex.split(command)
        assert python == "python"
        if script == "-m":
            return [sys.executable, "-m", *others]
        return [sys.executable, str(ROOT / script), *others]

    def run(self, command: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """What the command prints, given `typed` on standard input."""
        return subprocess.run(
            self.words(command),
            cwd=self.path,
            env=self.environment(),
            input=typed,
            capture_output=True,
            encoding="utf-8",
            timeout=WAIT_SECONDS,
            check=False,
        )

    def done(self, command: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """The same of a command that must succeed."""
        result = self.run(command, typed)
        assert result.returncode == 0, (command, result.stdout, result.stderr)
        return result

    def serve(self, command: str = SERVE) -> int:
        """Run a serving command of README's; its port, once it says that it listens."""
        log = open(self.path / "server.log", "w", encoding="utf-8")  # noqa: SIM115  closed with the server
        self._server = subprocess.Popen(
            self.words(command),
            cwd=self.path,
            env={**self.environment(), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
            creationflags=OWN_CONSOLE,
        )
        log.close()
        stdout = self._server.stdout
        assert stdout is not None
        guard = threading.Timer(WAIT_SECONDS, self._server.kill)
        guard.start()
        try:
            for line in stdout:
                found = re.search(r"listening on 127\.0\.0\.1:(\d+)", line)
                if found:
                    self._reader = threading.Thread(target=stdout.read, name="server-output")
                    self._reader.start()
                    return int(found[1])
        finally:
            guard.cancel()
        raise AssertionError(
            f"the server never listened: {(self.path / 'server.log').read_text('utf-8')}"
        )

    def stop(self) -> None:
        """End the server, as Ctrl-C does."""
        if self._server is None:
            return
        if self._server.poll() is None:
            ask_to_end(self._server)
        try:
            status = self._server.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
            raise
        finally:
            if self._reader is not None:
                self._reader.join(WAIT_SECONDS)
            assert self._server.stdout is not None
            self._server.stdout.close()
        assert status == 0 or os.name == "nt", (self.path / "server.log").read_text("utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    result = Folder(tmp_path)
    try:
        yield result
    finally:
        result.stop()


def test_every_command_of_readme_is_known_here() -> None:
    blocks = fences(README, "sh")
    assert all(block.count("\n") == 1 for block in blocks), "one command to a block"
    assert [block.strip() for block in blocks] == [
        SERVE,
        TALK,
        DOCTOR,
        *SCRIPTS,
        *TLS_COMMANDS,
        READ_JOURNAL,
        RELAY,
        *ASSESS_COMMANDS,
        *TEST_COMMANDS,
    ]
    for heading, commands in (
        ("Accounts", ACCOUNT_COMMANDS),
        ("Keep and hand over", KEEPING_COMMANDS),
        ("Options", OPTION_COMMANDS),
    ):
        assert [row[0].strip("`") for row in rows(section(README, heading))] == commands
    steering = [row[0].strip("`") for row in rows(section(RUNNING, "Steer the class"))]
    assert steering == STEERING_COMMANDS
    named = [*ACCOUNT_COMMANDS, *KEEPING_COMMANDS, *STEERING_COMMANDS]
    assert list(COMMANDS) == [command.split()[2] for command in named], "README names every command"


def test_the_commands_of_readme_do_what_it_says(folder: Folder) -> None:
    folder.done("python chat_server.py adduser ada", "first\n")
    port = folder.serve()
    folder.done("python chat_server.py passwd ada", "second\n")
    (folder.path / "class.csv").write_text("chatid,password\ngrace,stone\nlin,\n", "utf-8")
    printed = folder.done("python chat_server.py import class.csv").stdout
    assert re.fullmatch(r"chatid,password\nlin,\S+\n", printed), (
        "a password that was made up is printed"
    )
    assert folder.done("python chat_server.py users").stdout.split() == ["ada", "grace", "lin"]

    talk = TALK.replace("192.168.1.20:9876", f"127.0.0.1:{port}")
    first = folder.done(talk, "login\nada\nsecond\nHello, is anybody there?\n").stdout
    assert f"* You are ada on 127.0.0.1 port {port}. Type to talk, /help for help." in first
    assert "* sent 1\n" in first
    second = folder.done(talk, "register\nlinus\nthird\n/history\n").stdout
    assert "ada: Hello, is anybody there?" in second

    found = folder.done(DOCTOR.replace("192.168.1.20:9876", f"127.0.0.1:{port}"))
    assert "A chat server answers" in found.stdout
    (folder.path / "secret.txt").write_text("second\n", "utf-8")
    sent, history = (
        command.replace("chat_client.py", f"chat_client.py 127.0.0.1:{port}") for command in SCRIPTS
    )
    assert folder.done(sent).stdout == "stored as message 2: sent, counts agree, stored\n"
    assert '"content": "The build is done."' in folder.done(history).stdout

    days = list((folder.path / "chat-data" / "journal" / "room-000001").iterdir())
    journal = folder.done(READ_JOURNAL.replace("2026-11-23.frames", days[0].name)).stdout
    assert '"content": "Hello, is anybody there?"' in journal

    folder.done("python chat_server.py deluser ada")
    assert folder.run(talk, "login\nada\nsecond\n").returncode == 4
    assert "ada" not in folder.done("python chat_server.py users").stdout.split()
    assert folder.run("python chat_server.py adduser ada", "again\n").returncode == 1, (
        "the name stays reserved"
    )


def test_the_commands_that_assess_do_what_readme_says(folder: Folder) -> None:
    folder.done("python chat_server.py adduser ada", "secret\n")
    port = folder.serve()
    server, client = ASSESS_COMMANDS
    quick = "--level seed --rules R-MSG-2 --rules R-MSG-16"
    assessed = folder.done(f"{server} {quick}".replace("9876", str(port))).stdout
    assert re.search(r"PASS +R-MSG-2", assessed) and "FAIL" not in assessed
    here = shlex.join([sys.executable, str(ROOT / "chat_client.py")])
    assessed = folder.done(client.replace("-- python chat_client.py", f"{quick} -- {here}")).stdout
    assert re.search(r"PASS +R-MSG-16", assessed) and "FAIL" not in assessed


def test_the_relay_of_readme_shows_what_a_client_says(folder: Folder) -> None:
    assert f"`{TALK_TO_RELAY}`" in README
    port = folder.serve()
    words = RELAY.replace("9876", str(port)).replace("9875", "0").replace("8080", "0")
    relay = subprocess.Popen(
        folder.words(words),
        cwd=folder.path,
        env={**folder.environment(), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        creationflags=OWN_CONSOLE,
    )
    guard = threading.Timer(WAIT_SECONDS, relay.kill)
    guard.start()
    try:
        assert relay.stdout is not None
        found: dict[str, str] = {}
        for line in relay.stdout:
            for name, pattern in (
                ("port", r"relay listening on \S+:(\d+);"),
                ("page", r"Page: +(\S+)"),
            ):
                if match := re.search(pattern, line):
                    found[name] = match[1]
            if "The wall:" in line:
                break
        page = urllib.request.urlopen(found["page"].partition("#")[0], timeout=WAIT_SECONDS)
        with page:
            assert b"/relay.js" in page.read()
        talk = TALK_TO_RELAY.replace("9875", found["port"])
        said = folder.done(talk, "register\nada\nfirst\nHello\n").stdout
        assert "* sent 1\n" in said
        press_ctrl_c(relay)
        assert "1 connection" in relay.stdout.read()
    finally:
        guard.cancel()
        relay.kill()
        relay.communicate()


@needs_openssl
def test_the_commands_for_encryption_do_what_readme_says(folder: Folder) -> None:
    command = shlex.split(MAKE_CERTIFICATE.replace("192.168.1.20", "127.0.0.1"))
    subprocess.run(command, cwd=folder.path, capture_output=True, timeout=WAIT_SECONDS, check=True)
    port = folder.serve(SERVE_TLS)
    talk = TALK_TLS.replace("192.168.1.20:9876", f"127.0.0.1:{port}")
    said = folder.done(talk, "register\nada\nfirst\nHello, is anybody there?\n").stdout
    assert "* sent 1\n" in said
    troubles = re.sub(r"\W+", " ", section(README, "When something goes wrong"))
    for wrong in (
        talk.replace(" --cafile class.pem", ""),
        talk.replace(" --tls --cafile class.pem", ""),
    ):
        failed = folder.run(wrong)
        assert failed.returncode == 3
        shown = re.search(r"(is signed|speaks TLS)[^.]*", failed.stderr)
        assert shown is not None and re.sub(r"\W+", " ", shown.group()) in troubles, failed.stderr


def test_a_deleted_room_comes_back_by_the_id_that_the_journal_shows(folder: Folder) -> None:
    port = folder.serve()
    with contextlib.closing(RawClient(port)) as client:
        client.register("ada")
        client.login("ada")
        room_id = client.ask("create_room", room_name="tides", participants=[])["data"]["room_id"]
        client.say(room_id, "In here")
        client.ask("delete_room", room_id=room_id)
    journals = [
        file
        for file in (folder.path / "chat-data" / "journal").glob("*/*")
        if room_id.encode() in file.read_bytes()
    ]
    assert len(journals) == 1
    assert room_id.startswith("p-")
    assert folder.done(f"python chat_server.py restore-room {room_id}").stdout == "tides\n"


def test_the_files_table_names_what_lies_in_the_data_folder(folder: Folder) -> None:
    folder.serve()
    named = set(re.findall(r"`([^`]+)`", section(README, "Files"))) - {"chat-data/"}
    there = {entry.name + "/" * entry.is_dir() for entry in (folder.path / "chat-data").iterdir()}
    assert named == there


@pytest.mark.parametrize("command", OPTION_COMMANDS)
def test_option_commands_are_taken(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chat.ini").write_text("[server]\nport = 9000\n", "utf-8")
    with contextlib.redirect_stdout(io.StringIO()) as shown, pytest.raises(SystemExit) as end:
        parse([*shlex.split(command)[2:], "--show-config"], {})
    assert end.value.code == 0
    assert (
        "port = 9876" if command.endswith("--show-config") else "port = 9000"
    ) in shown.getvalue()


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    """Return all options of a program, those of its commands too."""
    found = set()
    for action in parser._actions:
        found.update(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                found |= flags_of(command)
    return found


def test_every_option_that_a_page_names_exists() -> None:
    known = flags_of(server_parser()) | flags_of(options.main_parser()) | flags_of(kit_parser())
    for name in options.COMMANDS:
        known |= flags_of(options.command_parser(name))
    for page in (README, ARCHITECTURE, SECURITY):
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", page)) <= known
        assert {name for name in re.findall(r"CHAT_[A-Z_]+[A-Z]", page)} <= {
            option.variable for option in OPTIONS.values()
        }


SESSION = (ROOT / "docs" / "demo" / "session.txt").read_text("utf-8")


def test_the_first_screen_is_the_recorded_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(welcome, "places", lambda host: [Place("192.168.1.20")])
    monkeypatch.setattr(sys, "platform", "linux")
    shown = welcome.screen(Settings(), "0.0.0.0", 9876, "/home/teacher/chat/chat-data", 0)
    monkeypatch.undo()
    assert f"--- The teacher ---\n$ {SERVE}\n{shown}" in SESSION


def test_the_picture_that_readme_shows_is_of_the_recorded_session() -> None:
    assert "](docs/demo/session.svg)" in README
    picture = html.unescape(
        re.sub(r"<[^>]+>", "", (ROOT / "docs" / "demo" / "session.svg").read_text("utf-8"))
    )
    for window in re.split(r"^--- .+ ---\n", SESSION, flags=re.MULTILINE)[1:]:
        for line in window.rstrip().splitlines()[-10:]:
            assert "".join(line.split()) in "".join(picture.split()), line


CLIENT_PAGE = (ROOT / "docs" / "CLIENT.md").read_text("utf-8")


def test_the_commands_of_the_clients_page_are_taken() -> None:
    commands = [
        shlex.split(line) for fence in fences(CLIENT_PAGE, "sh") for line in fence.splitlines()
    ]
    assert len(commands) > 10
    given = []
    for command in commands:
        assert command[:2] == ["python", "chat_client.py"]
        given.append(options.parse(command[2:]).command)
    assert {word for word in given if word is not None} == set(options.COMMANDS)


def test_the_clients_page_has_the_statuses_settings_and_steps_of_the_code() -> None:
    from client import exit_status
    from client.command_line import preferences

    assert [row[0] for row in rows(section(CLIENT_PAGE, "For scripts"))] == re.findall(
        r"(?:^|, )(\d+) ", exit_status.STATUSES
    )
    assert re.findall(r"^([\w-]+) = ", fences(CLIENT_PAGE, "ini")[0], re.MULTILINE) == [
        key for key in preferences.KEYS if key != "cafile"
    ]
    steps = [row[0].strip("`") for row in rows(section(CLIENT_PAGE, "The doctor"))]
    source = (ROOT / "client" / "scripts" / "doctor.py").read_text("utf-8")
    assert set(steps) == set(re.findall(r'Finding\(\s*"(\w+)"', source)) | {"tcp"}


def test_the_driver_file_of_the_teaching_page_has_every_key() -> None:
    from conformance.client.process import KEYS

    teaching = (ROOT / "docs" / "TEACHING.md").read_text("utf-8")
    driver = next(block for block in fences(teaching, "ini") if block.startswith("[driver]"))
    assert re.findall(r"^(\w+) =", driver, re.MULTILINE) == list(KEYS)


def test_messages_in_the_table_of_troubles_are_those_of_the_programs() -> None:
    sources = "".join(
        "".join(
            node.value
            for node in ast.walk(ast.parse(file.read_text("utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        )
        for file in [*modules(), ROOT / "protocol.py"]
    )
    for row in rows(section(README, "When something goes wrong")):
        for quoted in re.findall(r'"([^"]+)"', row[0] if not row[0].startswith("Windows") else ""):
            for part in quoted.split("…"):
                for words in re.split(r"port \d+", part):
                    assert words.strip() in sources, f"no program says {words.strip()!r}"


def test_readme_fits_the_patience_of_a_reader() -> None:
    assert README.count("\n") < 230


def test_the_numbers_of_the_security_page_are_those_of_the_code() -> None:
    from server.base.limits import LoginThrottle
    from server.handlers.accounts import KEY_BYTES

    usual = Settings()
    doubling = [int(LoginThrottle.FIRST_DELAY_SECONDS * 2**step) for step in range(4)]
    for words in (
        f"After {usual.login_failures} failed logins within a minute",
        "after {} s, then {}, {} and {}".format(*doubling),
        f"at most {LoginThrottle.LONGEST_DELAY_SECONDS:.0f}.",
        f"{KEY_BYTES * 8} random bits",
        f"{usual.session_lifetime / 3600:.0f} hours after its last use",
        f"{(128 * 8 << usual.password_cost) >> 20} MiB",
    ):
        assert words in " ".join(SECURITY.split()), words


# --- ARCHITECTURE's tables ------------------------------------------------------------------------


def modules() -> list[Path]:
    """Every module of the product but `__init__`s and `protocol.py`."""
    packages = [
        file
        for package in ("server", "storage", "client")
        for file in sorted((ROOT / package).rglob("*.py"))
    ]
    return [file for file in packages if file.name != "__init__.py"] + [
        ROOT / "chat_server.py",
        ROOT / "chat_client.py",
        ROOT / "incoming_text.py",
        ROOT / "terminals.py",
    ]


def test_every_module_has_its_sentence() -> None:
    expected = {file.relative_to(ROOT).as_posix() for file in [*modules(), ROOT / "protocol.py"]}
    named = first_cells("Where each thing lives")
    assert sorted(named) == sorted(expected)
    others = {
        match
        for match in re.findall(
            r"`((?:server|storage|client|tests)/[\w/]+\.(?:py|json))`", ARCHITECTURE
        )
    }
    assert all((ROOT / name).exists() for name in others), sorted(
        name for name in others if not (ROOT / name).exists()
    )


def names_of_threads(files: list[Path]) -> set[str]:
    """The `name=` of every thread that these modules make; what is filled in stands as {}."""
    found: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "threading.Thread":
                name = next(
                    (keyword.value for keyword in node.keywords if keyword.arg == "name"), None
                )
                assert name is not None, f"{file.name}:{node.lineno}: every thread has a name"
                found.add(
                    str(name.value)
                    if isinstance(name, ast.Constant)
                    else re.sub(r"\{.*?\}", "{}", ast.unparse(name).strip("f'"))
                )
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "ThreadPoolExecutor":
                prefix = next(
                    keyword.value
                    for keyword in node.keywords
                    if keyword.arg == "thread_name_prefix"
                )
                found.add(f"{ast.literal_eval(prefix)}_N")
    return found


def test_every_thread_of_the_server_has_its_row() -> None:
    server = [file for file in modules() if "client" not in file.relative_to(ROOT).parts[0]]
    made = names_of_threads(server)
    in_code = {"connection.name": "client-N", "download-{}": "download-client-N"}
    assert {in_code.get(name, name) for name in made} == set(first_cells("Threads"))


def test_every_thread_of_the_client_is_named() -> None:
    made = names_of_threads(
        [file for file in modules() if file.relative_to(ROOT).parts[0] == "client"]
    )
    assert made == set(re.findall(r"`(chat-[a-z]+)`", section(ARCHITECTURE, "Threads")))


def test_a_running_service_has_these_threads(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    settings = Settings(
        host="127.0.0.1", port=0, data=str(tmp_path / "data"), password_cost=4, rate_limit=0
    )
    service = Service(settings, give_up=lambda reason: None)
    service.start()
    try:
        with contextlib.closing(RawClient(service.listener.port, receive_buffer=4096)) as client:
            client.register("ada")
            client.login("ada")
            Upload(client, "lobby", "tides.bin", bytes(3_000_000), chunk=100_000).run()
            client.send(
                {
                    "action": "file_down_req",
                    "data": {"chat_id": "ada", "room_id": "lobby", "file_path": "tides.bin"},
                }
            )
            client.receive_action("file_down_meta")
            wanted = {
                "accept",
                "client-N",
                "hash_N",
                "writer",
                "drain",
                "watch",
                "lingering-close",
                "download-client-N",
            }
            deadline = time.monotonic() + WAIT_SECONDS
            running: set[str] = set()
            while running != wanted and time.monotonic() < deadline:
                running = {
                    re.sub(r"(client-|hash_)\d+$", r"\1N", thread.name)
                    for thread in set(threading.enumerate()) - before
                }
            assert running == wanted
            assert wanted <= set(first_cells("Threads"))
    finally:
        left = service.stop()
    assert left == []


def test_the_ranks_are_those_of_the_code() -> None:
    table = rows(section(ARCHITECTURE, "Locks"))
    assert [(int(row[0]), row[1].strip("`")) for row in table] == [
        (rank.value, rank.name) for rank in Rank
    ]


def test_every_lock_stands_at_its_rank() -> None:
    made: dict[str, set[str]] = {rank.name: set() for rank in Rank}
    for file in modules():
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "RankedLock":
                made[ast.unparse(node.args[0]).removeprefix("Rank.")].add(
                    ast.literal_eval(node.args[1])
                )
    assert {
        row[1].strip("`"): set(row[3].split(", ")) for row in rows(section(ARCHITECTURE, "Locks"))
    } == made


def test_every_table_of_the_database_has_its_row() -> None:
    schema = (ROOT / "storage" / "schema.py").read_text("utf-8")
    assert first_cells("Storage") == re.findall(r"CREATE TABLE (\w+)", schema)


def test_the_numbers_in_prose_are_those_of_the_code() -> None:
    from server.base.fair_line import FairLine
    from server.base.locks import PATIENCE_SECONDS
    from server.state.downloads import DOWNLOAD_AHEAD_BYTES
    from server.writing.writer import Writer
    from storage import database

    for words in (
        f"at most {Writer.QUEUE:,} changes",
        f"up to {Writer.BATCH} waiting changes",
        f"over {DOWNLOAD_AHEAD_BYTES // 1024} KiB wait",
        f"a client for the writer {Writer.PATIENCE_SECONDS:.0f} s",
        f"for a reading connection {database.READER_WAIT_SECONDS:.0f} s",
        f"{FairLine.PATIENCE_SECONDS:.0f} s; any thread for a lock {PATIENCE_SECONDS:.0f} s",
        f"server) {database.BUSY_SECONDS:.0f} s",
    ):
        assert words in " ".join(ARCHITECTURE.split()), words


def test_the_way_to_debug_a_hang_works(folder: Folder) -> None:
    page = ARCHITECTURE.split("\n## How to debug a hang\n", 1)[1]
    command = shlex.split(fences(page, "sh")[0])
    assert command[:2] == ["python", "-c"]
    # A program that still imports may make faulthandler stumble; on Windows that takes longer.
    seconds = patience(0.5 if os.name != "nt" else 3)
    code = (
        command[2]
        .replace("later(20,", f"later({seconds},")
        .replace("'chat_server.py'", repr(str(ROOT / "chat_server.py")))
    )
    assert f"later({seconds}, repeat=True)" in code
    code = f"import sys; sys.path[0] = {str(ROOT)!r}; {code}"
    assert any(shows_the_threads(folder, code) for _ in range(3)), (
        "faulthandler reads running threads and may, rarely, stumble"
    )


def shows_the_threads(folder: Folder, code: str) -> bool:
    server = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder.path,
        env=folder.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    guard = threading.Timer(WAIT_SECONDS, server.kill)
    guard.start()
    try:
        missing = {"writer.py", "outbox.py", "watch.py"}
        with server:
            assert server.stderr is not None
            for line in server.stderr:
                missing = {name for name in missing if name not in line}
                if not missing:
                    server.kill()  # it has nothing to lose
        return not missing
    finally:
        guard.cancel()


# --- Every page -----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings_that_exist(page: str) -> None:
    text = re.sub(
        r"^```.*?^```$", "", (ROOT / page).read_text("utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("https://"):
            continue
        name, _, heading = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        assert file.is_file(), f"{page}: {target}"
        if heading:
            headings = [
                line.lstrip("# ").lower()
                for line in file.read_text("utf-8").splitlines()
                if line.startswith("#")
            ]
            assert heading in [
                re.sub(r"[^\w -]", "", line).replace(" ", "-") for line in headings
            ], f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES)
def test_tests_that_a_page_names_exist(page: str) -> None:
    for name in re.findall(r"\btests/[\w/*]+\.py", (ROOT / page).read_text("utf-8")):
        assert list(ROOT.glob(name)), f"{page}: {name}"


@pytest.mark.parametrize("page", PAGES)
def test_no_list_item_is_longer_than_a_reader_keeps_in_mind(page: str) -> None:
    text = re.sub(r"^ *```.*?^ *```$", "", (ROOT / page).read_text("utf-8"), flags=re.M | re.S)
    for item in re.findall(r"^ *(?:[*-]|\d+\.) .*(?:\n +(?![*-] |\d+\. ).+)*", text, re.MULTILINE):
        assert len(item.split()) <= 80, item


@pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/PROTOCOL.md"])
def test_no_sentence_has_to_be_read_twice(page: str) -> None:
    text = re.sub(r"^ *```.*?^ *```$", "", (ROOT / page).read_text("utf-8"), flags=re.M | re.S)
    prose = "\n".join("" if line.lstrip().startswith("|") else line for line in text.splitlines())
    for part in re.split(r"\n\s*\n|\n(?= *(?:[*-]|\d+\.) )", prose):
        for sentence in re.split(r"(?<=[.!?:;]) ", " ".join(part.split())):
            assert len(sentence.split()) <= 40, sentence


@pytest.mark.skipif(os.name == "nt", reason="make is not on Windows")
def test_make_knows_every_target_that_a_page_names() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for page in PAGES:
        named = re.findall(
            r"^make ([a-z-]+)$|`make ([a-z-]+)`", (ROOT / page).read_text("utf-8"), re.MULTILINE
        )
        for target in {one or other for one, other in named}:
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page}: make {target}"


def test_make_runs_the_tests_as_the_plain_way_does() -> None:
    recipe = re.search(
        r"^test:.*\n\t@\$\(PYTHON\) (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE
    )
    assert recipe is not None
    assert TEST_COMMANDS[1] == f"python {recipe[1]}"
