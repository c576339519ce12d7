"""`python -m benchmarks`: start a server, load it, and print deliveries a second, CPU and latency as one table.

Starts the server by its own command line, on loopback, with a data folder that is removed at the end. The load runs in
processes of its own (`benchmarks.load`), so that it does not share the server's interpreter lock. Bounded in time.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Final

from benchmarks.load import cpu_seconds

ROOT: Final = Path(__file__).resolve().parent.parent
START_SECONDS: Final = 20.0


def start_server(data: str) -> tuple[subprocess.Popen[str], int]:
    """The server with its limits on speed off, and its port."""
    command = [sys.executable, "chat_server.py", "--host", "127.0.0.1", "--port", "0", "--data", data]
    command += ["--rate-limit", "0", "--password-cost", "4", "--log-level", "warning"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    timer = threading.Timer(START_SECONDS, server.kill)
    timer.start()
    try:
        for line in server.stdout:
            found = re.search(r"listening on \S+:(\d+)", line)
            if found:
                threading.Thread(target=server.stdout.read, name="server-output", daemon=True).start()
                return server, int(found.group(1))
    finally:
        timer.cancel()
    raise SystemExit("benchmarks: the server did not start; try `python chat_server.py --port 0` to see why")


def run_load(
    port: int, server_pid: int, label: str, members: int, senders: int, window: int, answers: bool, seconds: float, silent: int
) -> dict[str, Any]:
    """One load, in a process of its own; its figures."""
    command = [sys.executable, "-m", "benchmarks.load", str(port), label, str(members), str(senders), str(window)]
    command += ["answers" if answers else "listens", str(seconds), str(silent)]
    before = cpu_seconds(server_pid)
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if output.returncode != 0:
        raise SystemExit(f"benchmarks: the load {label!r} failed:\n{output.stderr}")
    figures: dict[str, Any] = json.loads(output.stdout)
    after = cpu_seconds(server_pid)
    if before is not None and after is not None and figures["deliveries"]:
        figures["cpu_us"] = 1e6 * (after - before) / figures["all_deliveries"]
    return figures


def main() -> int:
    """Run the loads in turn; 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="measured seconds of each load (default 4)")
    parser.add_argument("--members", type=int, default=200, help="members of the room (default 200)")
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    options = parser.parse_args()
    members = options.members
    loads = (
        ("both handshakes, 4 x 4 on the way", members, 4, 4, True, 0),
        ("sender's handshake only, 4 x 4", members, 4, 4, False, 0),
        ("one message on the way", members, 1, 1, False, 0),
        ("room of 50, all read", 50, 2, 2, True, 0),
        ("room of 50, one never reads", 50, 2, 2, True, 1),
    )
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}, room of {members}")
    print(f"{'load':<34} {'deliveries/s':>12} {'CPU us/delivery':>15} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} {'confirmed':>9}")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        server, port = start_server(str(Path(folder, "data")))
        try:
            for label, size, senders, window, answers, silent in loads:
                figures = run_load(port, server.pid, label, size, senders, window, answers, options.seconds, silent)
                results.append(figures)
                cpu = f"{figures['cpu_us']:15.1f}" if "cpu_us" in figures else f"{'-':>15}"
                confirmed = f"{figures['confirmed']:9.0%}" if answers else f"{'-':>9}"
                rate, delays = figures["per_second"], (figures["p50_ms"], figures["p99_ms"], figures["max_ms"])
                times = " ".join(f"{delay:8.2f}" for delay in delays)
                print(f"{label:<34} {rate:12.0f} {cpu} {times} {confirmed}", flush=True)
        finally:
            server.terminate()
            server.wait(15)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
