"""Programs that are started with closed streams (`>&-`), as by some service managers, do their work
all the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.patience import patience

ROOT = Path(__file__).resolve().parents[2]

if sys.platform == "win32":
    pytest.skip("there a shell can't close streams", allow_module_level=True)


def ended(*words: str, streams: str) -> subprocess.CompletedProcess[str]:
    """A command of this project that ran with these streams."""
    line = ["sh", "-c", f'exec "$0" "$@" {streams}', sys.executable, *words]
    return subprocess.run(
        line, cwd=ROOT, capture_output=True, text=True, timeout=patience(60), check=False
    )


@pytest.mark.parametrize(
    "streams",
    [
        "<&- >&- 2>&-",
        *(pytest.param(one, marks=pytest.mark.long) for one in (">&-", "2>&-", "<&-")),
    ],
)
def test_server_serves_without_streams(streams: str, tmp_path: Path) -> None:
    code = (
        "import os, runpy, signal, sys, threading, time\n"
        "def stop():\n"
        "    while not os.path.exists(sys.argv[-1] + '/chat.db'): time.sleep(0.05)\n"
        "    time.sleep(0.5); os.kill(os.getpid(), signal.SIGTERM)\n"
        "threading.Thread(target=stop, daemon=True).start()\n"
        "sys.argv[0] = 'chat_server.py'\n"
        "sys.path.insert(0, '.')\n"
        "runpy.run_path('chat_server.py', run_name='__main__')\n"
    )
    done = ended("-c", code, "--port", "0", "--data", str(tmp_path / "data"), streams=streams)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("chat_server.py", "--show-config"), 0),
        (("chat_client.py", "127.0.0.1:1", "-u", "ada", "--no-input"), 2),
        (("-m", "conformance", "server", "--list"), 0),
    ],
)
@pytest.mark.parametrize(
    "streams", [pytest.param("<&- >&-", marks=pytest.mark.long), "<&- >&- 2>&-"]
)
def test_nothing_ends_in_a_traceback(words: tuple[str, ...], status: int, streams: str) -> None:
    done = ended(*words, streams=streams)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (status, 3)


@pytest.mark.parametrize(
    "words", [("chat_server.py", "--show-config"), ("-m", "conformance", "server", "--list")]
)
def test_a_full_disk_behind_stdout_is_a_line_and_no_traceback(words: tuple[str, ...]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    done = ended(*words, streams="> /dev/full")
    assert done.returncode and len(done.stderr.splitlines()) == 1, done.stderr
