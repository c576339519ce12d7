"""Start a program within limits: `python limits.py --memory 1024 --processes 64 -- PROGRAM ...`.

It is run as a file of its own, beside a hand-in, and imports nothing of the kit. On Unix it sets
the limits and becomes the program (setrlimit(2)); on Windows it puts itself and the program into a
job object, and waits.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

MIB = 1024 * 1024
STACK = 8 * MIB
"""Of a thread, as pthread_create(3) reserves it."""
CANNOT_START = 127
"""The exit status where the program can't be started, as shells have it."""


def main() -> int:
    """Do what the command line says; on Unix it returns only where the program can't be started."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name, what in (
        ("memory", "MiB of memory"),
        ("file-size", "MiB of one file"),
        ("processes", "processes (or threads) more than there are"),
        ("open-files", "open files and sockets"),
        ("cpu", "seconds of processor time of one process"),
    ):
        parser.add_argument(f"--{name}", type=int, default=0, metavar="N", help=f"most {what}")
    parser.add_argument("--shell", action="store_true", help="the command is a text for the shell")
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    words: list[str] = args.command
    try:
        if sys.platform == "win32":
            _enter_job(args)
            # As it stands: `cmd` knows no quotation marks that are marked within others.
            command = words[0] if args.shell else words
            return subprocess.run(command, shell=args.shell, check=False).returncode
        _limit(args)
        command = ["sh", "-c", words[0]] if args.shell else words
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{words[0]} can't be started: {error.strerror or error}", file=sys.stderr)
    return CANNOT_START


def _limit(args: argparse.Namespace) -> None:
    """Set the limits of this process and its children; those that the system lacks are left out."""
    if sys.platform == "win32":
        return
    import resource

    wanted = {
        # not RLIMIT_AS: a Java machine or Node reserves many GiB of addresses and uses few;
        # the stacks of threads count from their start (setrlimit(2)), and are hardly used
        "RLIMIT_DATA": args.memory and args.memory * MIB + args.processes * STACK,
        "RLIMIT_FSIZE": args.file_size * MIB,
        "RLIMIT_NOFILE": args.open_files,
        "RLIMIT_CPU": args.cpu,
        "RLIMIT_NPROC": args.processes and args.processes + _running(),
        "RLIMIT_CORE": 0,
    }
    for name, most in wanted.items():
        if hasattr(resource, name) and (most or name == "RLIMIT_CORE"):
            kind = getattr(resource, name)
            hard = resource.getrlimit(kind)[1]
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (most, most))


def _running() -> int:
    """Return how many threads this user has: RLIMIT_NPROC counts them all (getrlimit(2))."""
    count = 0
    if sys.platform == "win32":
        return count
    try:
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal():
                try:
                    if folder.stat().st_uid == os.getuid():
                        count += sum(1 for _ in (folder / "task").iterdir())
                except OSError:
                    continue
    except OSError:
        pass
    return count


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    class _Basic(ctypes.Structure):
        """JOBOBJECT_BASIC_LIMIT_INFORMATION of <winnt.h>."""

        _fields_ = (
            ("PerProcessUserTimeLimit", ctypes.c_int64),
            ("PerJobUserTimeLimit", ctypes.c_int64),
            ("LimitFlags", wintypes.DWORD),
            ("MinimumWorkingSetSize", ctypes.c_size_t),
            ("MaximumWorkingSetSize", ctypes.c_size_t),
            ("ActiveProcessLimit", wintypes.DWORD),
            ("Affinity", ctypes.c_size_t),
            ("PriorityClass", wintypes.DWORD),
            ("SchedulingClass", wintypes.DWORD),
        )

    class _Extended(ctypes.Structure):
        """JOBOBJECT_EXTENDED_LIMIT_INFORMATION of <winnt.h>."""

        _fields_ = (
            ("BasicLimitInformation", _Basic),
            ("IoInfo", ctypes.c_uint64 * 6),
            ("ProcessMemoryLimit", ctypes.c_size_t),
            ("JobMemoryLimit", ctypes.c_size_t),
            ("PeakProcessMemoryUsed", ctypes.c_size_t),
            ("PeakJobMemoryUsed", ctypes.c_size_t),
        )

    def _enter_job(args: argparse.Namespace) -> None:
        """Put this process, and so its children, into a job object with limits (Windows).

        The job ends with its last handle, which is this process's: nothing is left running.
        """
        # <winnt.h>: JOB_OBJECT_LIMIT_PROCESS_TIME, _ACTIVE_PROCESS, _JOB_MEMORY, _KILL_ON_JOB_CLOSE
        process_time, active, memory, kill_on_close = 0x2, 0x8, 0x200, 0x2000
        limits = _Extended()
        basic = limits.BasicLimitInformation
        basic.LimitFlags = kill_on_close
        if args.processes:
            basic.LimitFlags |= active
            basic.ActiveProcessLimit = args.processes + 1
        if args.memory:
            basic.LimitFlags |= memory
            limits.JobMemoryLimit = args.memory * MIB
        if args.cpu:
            basic.LimitFlags |= process_time
            basic.PerProcessUserTimeLimit = args.cpu * 10_000_000
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.CreateJobObjectW.restype = wintypes.HANDLE
        kernel.GetCurrentProcess.restype = wintypes.HANDLE
        job = wintypes.HANDLE(kernel.CreateJobObjectW(None, None))
        extended_limit_information = 9
        if not (
            kernel.SetInformationJobObject(
                job, extended_limit_information, ctypes.byref(limits), ctypes.sizeof(limits)
            )
            and kernel.AssignProcessToJobObject(job, wintypes.HANDLE(kernel.GetCurrentProcess()))
        ):
            raise ctypes.WinError(ctypes.get_last_error())


if __name__ == "__main__":
    sys.exit(main())
