"""Fixtures of the black-box tests: one server a module, clients with fresh names."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["PROTOCOL_CHECK_REPLIES"] = "1"  # read when protocol.py is imported, here and in servers

from support import fresh_name
from support.in_process import Serve, Services
from support.raw_client import RawClient
from support.seed import SEED
from support.server_process import ServerProcess

gc.disable()  # until the tests are collected, which takes a third longer otherwise


def pytest_configure() -> None:
    """Hear the signals that who started the tests has turned off, as `nohup` and a script's `&` do:
    programs would inherit that. Let coverage measure what tests/run.py says."""
    if os.environ.get("CHAT_TEST_MEASURES") == "itself":
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)  # coverage starts in each child by it
    if sys.platform == "win32":  # a new process group hears no Ctrl-C, nor do its children
        ctypes.windll.kernel32.SetConsoleCtrlHandler(None, False)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Know `--part 2/3`: the second of three parts of the tests, as tests/run.py cuts them."""
    parser.addoption("--part", default="1/1", metavar="K/N", help="only each N-th test, from K on")


def is_wine() -> bool:
    """Whether this Windows is Wine: its ntdll says so ("Developer FAQ", wiki.winehq.org)."""
    ntdll = getattr(getattr(ctypes, "windll", None), "ntdll", None)
    return ntdll is not None and hasattr(ntdll, "wine_get_version")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the other parts to other processes; skip under Wine what only Windows itself can do:
    the first argument of such a mark says why."""
    for item in items if is_wine() else ():
        for mark in item.iter_markers("wine"):
            item.add_marker(pytest.mark.skip(reason=f"Wine: {mark.args[0]}"))
    number, count = map(int, config.getoption("--part").split("/"))
    others = [item for place, item in enumerate(items) if place % count != number - 1]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = items[number - 1 :: count]


def pytest_collection_finish() -> None:
    """Collect garbage from here on, but never look again at what is there for good: the modules and
    the thousands of tests."""
    gc.freeze()
    gc.enable()


def pytest_report_header() -> str:
    """Show the seed above all tests."""
    return f"CHAT_TEST_SEED={SEED}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the seed in the report of each test that fails."""
    report = yield
    if report.failed:
        report.sections.append(("to draw the same again", f"CHAT_TEST_SEED={SEED}"))
    return report


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server for all tests of a module, started with its SERVER_OPTIONS.

    At the end it must have survived everything, have logged no traceback, and end with 0.
    """
    options = getattr(request.module, "SERVER_OPTIONS", ("--rate-limit", "0"))
    with ServerProcess(tmp_path_factory.mktemp("server") / "data", *options) as process:
        yield process
        assert process.is_running(), f"the server died\n{process.log()}"
        status = process.stop()
        assert status == 0, f"exit status {status} after SIGTERM\n{process.log()}"
        assert "Traceback" not in process.log(), process.log()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts services in the test's own process; all are stopped with the test."""
    services = Services(tmp_path)
    yield services.start
    services.stop()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers with options of their own; `data` names the folder. All end with the test."""
    started: list[ServerProcess] = []

    def start(*options: str, data: str = "data") -> ServerProcess:
        process = ServerProcess(tmp_path / data, *options)
        started.append(process)
        process.start()
        return process

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def client_factory(request: pytest.FixtureRequest) -> Iterator[Callable[..., RawClient]]:
    """Connects clients, to the module's server unless told another; all are closed at the end."""
    clients: list[RawClient] = []

    def connect(server: ServerProcess | None = None, **options: Any) -> RawClient:
        process = server or request.getfixturevalue("server")
        client = RawClient(process.port, **options)
        clients.append(client)
        return client

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def user(client_factory: Callable[..., RawClient]) -> Callable[..., RawClient]:
    """Makes logged-in clients: fresh names unless one is given, other keys go into the login."""

    def log_in(
        name: str | None = None,
        server: ServerProcess | None = None,
        receive_buffer: int | None = None,
        **login: Any,
    ) -> RawClient:
        client = client_factory(server, receive_buffer=receive_buffer)
        chatid = name or fresh_name()
        registered = client.register(chatid)
        assert registered["action"] == "register_success", registered
        reply = client.login(chatid, **login)
        assert reply["action"] == "login_success", reply
        return client

    return log_in


@pytest.fixture
def room() -> str:
    """The id of an open room that nobody has made yet."""
    return f"room-{fresh_name('')}"
