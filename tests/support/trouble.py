"""Trouble for a running server's disk: no room, failing syncs, a lock held by somebody else, small
file systems of our own.

Owns what it mounts, attaches and starts, and ends it again. Never touches another process than the
one it was given. Most of it is for Linux, some for root: `needs_…` are the marks that say so.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from support.patience import patience

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0

needs_prlimit = pytest.mark.skipif(
    not hasattr(resource, "prlimit"), reason="needs prlimit(2), which Linux has"
)
needs_mount = pytest.mark.skipif(
    not (IS_ROOT and sys.platform == "linux" and shutil.which("mount")),
    reason="needs root on Linux, to mount a small file system",
)
needs_strace = pytest.mark.skipif(
    not (sys.platform == "linux" and shutil.which("strace")),
    reason="needs strace, to make system calls fail",
)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )


@contextmanager
def mounted(folder: Path, *options: str | Path) -> Iterator[Path]:
    """`mount OPTIONS folder`, and always the opposite; skips the test where the machine does not
    let us."""
    folder.mkdir(exist_ok=True)
    done = run("mount", *options, folder)
    if done.returncode != 0:
        pytest.skip(f"can't mount here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        deadline = time.monotonic() + patience(10)
        while (
            run("umount", folder).returncode != 0
        ):  # busy as long as a server that was just killed is being buried
            if time.monotonic() > deadline:
                run("umount", "--lazy", folder)
                break
            time.sleep(0.05)


def limit_file_size(pid: int, size: int | None) -> None:
    """No file of the process grows beyond `size` bytes: writes fail as on a full disk. None takes
    the limit away."""
    limits = cast(Any, resource)
    _, hard = limits.prlimit(pid, limits.RLIMIT_FSIZE)
    limits.prlimit(pid, limits.RLIMIT_FSIZE, (limits.RLIM_INFINITY if size is None else size, hard))


def fill(folder: Path) -> Path:
    """Take all room of a file system; the file to remove when there is to be room again."""
    ballast = folder / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    return ballast


@contextmanager
def failing_calls(pid: int, calls: str, fault: str) -> Iterator[None]:
    """Inject `fault` (as strace's -e inject=CALLS:FAULT takes it) into system calls of a running
    process."""
    command = [
        "strace",
        "-f",
        "-q",
        "-p",
        str(pid),
        "-e",
        f"trace={calls}",
        "-e",
        f"inject={calls}:{fault}",
        "-o",
        os.devnull,
    ]
    tracer = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    said: list[str] = []
    assert tracer.stderr is not None
    listener = threading.Thread(target=lambda: said.extend(tracer.stderr or ()), daemon=True)
    listener.start()
    try:
        deadline = time.monotonic() + patience(10)
        while not _is_traced(pid):
            if tracer.poll() is not None:
                listener.join(patience(5))
                pytest.skip(f"strace can't attach here: {' '.join(said).strip()}")
            assert time.monotonic() < deadline, "strace did not attach"
            time.sleep(0.01)
        yield
    finally:
        if is_dead(pid):
            # strace 6.1 may never take notice of a killed process with threads, and keeps it from
            # being buried
            tracer.kill()
        else:
            tracer.send_signal(signal.SIGINT)
        try:
            tracer.wait(patience(5))
        except subprocess.TimeoutExpired:
            tracer.kill()
            tracer.wait(patience(10))
        listener.join(patience(5))
        tracer.stderr.close()


def _is_traced(pid: int) -> bool:
    """Whether every thread of the process has a tracer."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return all("TracerPid:\t0\n" not in (thread / "status").read_text() for thread in threads)
    except OSError:
        return False


def is_dead(pid: int) -> bool:
    """Whether the process has ended, though perhaps not been waited for."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


HOLD_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""


@contextmanager
def locked_by_another_process(database: Path) -> Iterator[None]:
    """Another process is in the midst of a change."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin is not None and holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        yield
    finally:
        holder.stdin.close()
        holder.wait(patience(10))
        holder.stdout.close()
