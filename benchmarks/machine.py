"""What this machine is, and what a process on it has used: CPU, memory, threads.

Reads only; every function gives None where the system does not tell (CPU and memory of another
process: only Linux does).
"""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["cpu_seconds", "description", "memory_kib", "raise_open_files", "thread_count"]


def cpu_seconds(pid: int) -> float | None:
    """Return the CPU time that a process has used, in seconds; None where the system doesn't
    tell."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        # The process's own clock: nanoseconds, where /proc/PID/stat counts in steps of 10 ms.
        # clock_getcpuclockid(3) makes the same number: the inverted pid, shifted by 3, and 2 for
        # the scheduler's clock.
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return None


def memory_kib(pid: int) -> float | None:
    """Return the memory of a process in KiB: its proportional set size, in which shared memory
    counts by its share. None where the system doesn't tell."""
    return _number_after(f"/proc/{pid}/smaps_rollup", "Pss:")


def thread_count(pid: int) -> int | None:
    """Return how many threads a process has; None where the system doesn't tell."""
    count = _number_after(f"/proc/{pid}/status", "Threads:")
    return None if count is None else int(count)


def _number_after(path: str, word: str) -> float | None:
    try:
        lines = Path(path).read_text("ascii").splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) for line in lines if line.startswith(word)), None)


def raise_open_files() -> int | None:
    """Raise the limit of open files for this process and its children as far as allowed. Return the
    limit, or None where the system has none."""
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, 65_536, 10_240):  # macOS says "unlimited" and takes less
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            continue
        return wanted if wanted != resource.RLIM_INFINITY else 1 << 20
    return soft


def description() -> dict[str, Any]:
    """Describe Python, system, processor and cores, for the head of a report."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("ascii", "replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, platform.machine())} ({platform.machine()})"
