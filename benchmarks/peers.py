"""The servers that are measured: ours, our small peers, and others where they are installed. Starts
each, and ends what it started."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import machine

__all__ = ["OURS", "PEERS", "Peer", "Running", "serving"]

ROOT: Final = Path(__file__).resolve().parent.parent
HOST: Final = "127.0.0.1"
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 30.0
FOR_LOADS: Final = ("--rate-limit", "0", "--password-cost", "4")
"""Nothing else of ours is turned off for a load: every message is counted, confirmed, stored and
synced."""


@dataclass(frozen=True)
class Running:
    """A server that runs."""

    process: subprocess.Popen[str]
    port: int
    start_seconds: float

    @property
    def pid(self) -> int:
        """Return the id of its process."""
        return self.process.pid

    def cpu(self) -> float | None:
        """Return its CPU seconds so far."""
        return machine.cpu_seconds(self.pid)


@dataclass(frozen=True)
class Peer:
    """A server to measure."""

    name: str
    title: str
    wire_format: str
    command: Callable[[Path, int], list[str]]
    """What starts it, given a folder of its own and a free port."""
    missing: Callable[[], str | None] = lambda: None
    """Why it can't be measured here; None where it can."""
    says_port: bool = True
    """Whether it prints `listening on HOST:PORT`; else it uses the port that it was given."""
    register: bool = True


def _own(module: str) -> Callable[[Path, int], list[str]]:
    return lambda folder, port: [sys.executable, "-m", f"benchmarks.peer_servers.{module}"]


def _ours(folder: Path, port: int) -> list[str]:
    command = [
        sys.executable,
        "chat_server.py",
        "--host",
        HOST,
        "--port",
        "0",
        "--data",
        str(folder / "data"),
    ]
    return [*command, "--log-level", "warning"]


def _no_websockets() -> str | None:
    try:
        found = importlib.util.find_spec("websockets.asyncio.server")
    except ImportError:
        found = None
    return (
        None
        if found
        else f"the package websockets (13 or later) is not installed for {sys.executable}"
    )


def _program(name: str) -> str | None:
    places = os.pathsep.join(
        (os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
    )
    return shutil.which(name, path=places)


def _no_program(name: str) -> Callable[[], str | None]:
    return lambda: None if _program(name) else f"{name} is not installed"


INSPIRCD_SETTINGS: Final = """<config format="xml">
<server name="bench.local" description="benchmark" network="bench" id="1AB">
<admin name="nobody" nick="nobody" email="nobody@bench.local">
<bind address="127.0.0.1" port="{port}" type="clients">
<connect name="all" allow="*" timeout="120" pingfreq="36000" hardsendq="64M" softsendq="32M"
 recvq="1M" threshold="1000000" commandrate="100000000" fakelag="no" localmax="100000"
 globalmax="100000" maxconnwarn="no" resolvehostnames="no" limit="20000">
<performance netbuffersize="65534" somaxconn="1024" softlimit="20000" clonesonconnect="no"
 quietbursts="yes">
<options defaultmodes="nt">
<files motd="{folder}/motd.txt">
<log method="file" type="* -USERINPUT -USEROUTPUT" level="default" target="{folder}/log.txt">
<pid file="{folder}/pid">
"""
"""No limits against floods, as ours has its limit on speed off."""


def _inspircd(folder: Path, port: int) -> list[str]:
    (folder / "motd.txt").write_text("benchmark\n", "ascii")
    settings = folder / "inspircd.conf"
    settings.write_text(INSPIRCD_SETTINGS.format(port=port, folder=folder.as_posix()), "utf-8")
    as_root = ["--runasroot"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return [str(_program("inspircd")), "--config", str(settings), "--nofork", *as_root]


def _mosquitto(folder: Path, port: int) -> list[str]:
    settings = folder / "mosquitto.conf"
    lines = [
        f"listener {port} {HOST}",
        "allow_anonymous true",
        "max_queued_messages 0",
        "persistence false",
        "log_type error",
    ]
    lines += ["set_tcp_nodelay true"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        lines.append("user root")
    settings.write_text("\n".join(lines) + "\n", "ascii")
    return [str(_program("mosquitto")), "-c", str(settings)]


OURS: Final = Peer("ours", "this server", "json", _ours)
PEERS: Final = {
    one.name: one
    for one in (
        OURS,
        Peer("asyncio", "asyncio streams", "json", _own("asyncio_streams")),
        Peer("asyncio_kept", "asyncio, same promises", "json", _own("asyncio_promises")),
        Peer("selectors_kept", "selectors, same promises", "json", _own("selectors_promises")),
        Peer("naive", "naive threads", "json", _own("naive_threads")),
        Peer(
            "websockets", "websockets broadcast", "ws", _own("websockets_broadcast"), _no_websockets
        ),
        Peer(
            "inspircd", "InspIRCd (C++)", "irc", _inspircd, _no_program("inspircd"), says_port=False
        ),
        Peer(
            "mosquitto",
            "Mosquitto (C)",
            "mqtt",
            _mosquitto,
            _no_program("mosquitto"),
            says_port=False,
        ),
    )
}


@contextlib.contextmanager
def serving(
    peer: Peer, *options: str, folder: Path | None = None, log: Path | None = None
) -> Iterator[Running]:
    """Run a server, ours with `options`, and end it. A folder that is given is used and stays; what
    the server writes on stderr goes to the file `log`."""
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chat-bench-")))
        port = _free_port()
        begun = time.perf_counter()
        process = subprocess.Popen(
            [*peer.command(folder, port), *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if log is None else stack.enter_context(open(log, "wb")),
            text=True,
        )
        try:
            if peer.says_port:
                port = _port_said(process, peer)
            else:
                _wait_until_open(port, process, peer)
            yield Running(process, port, time.perf_counter() - begun)
        finally:
            _end(process)


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


def _port_said(process: subprocess.Popen[str], peer: Peer) -> int:
    assert process.stdout is not None
    timer = threading.Timer(START_SECONDS, process.kill)
    timer.start()
    try:
        for line in process.stdout:
            found = re.search(r"listening on \S+:(\d+)", line)
            if found:
                threading.Thread(
                    target=process.stdout.read, name="server-output", daemon=True
                ).start()
                return int(found[1])
    finally:
        timer.cancel()
    raise SystemExit(f"benchmarks: {peer.title} did not start; by hand: {process.args!r}")


def _wait_until_open(port: int, process: subprocess.Popen[str], peer: Peer) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((HOST, port), 1.0).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise SystemExit(f"benchmarks: {peer.title} did not open its port; by hand: {process.args!r}")


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
