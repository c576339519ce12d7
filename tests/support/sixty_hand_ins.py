"""Sixty hand-ins of a class: the starters, planted faults, and those that misbehave.

    PYTHONPATH=tests python -m support.sixty_hand_ins FOLDER
    python -m conformance class FOLDER -o RESULTS --account anna:pw-anna
        --account ben:pw-ben --account carla:pw-carla --account dora:pw-dora

Each knows the accounts of the starters, as a class agrees on some; none of them loses races, so
that two runs say the same. Makes the folder of each, with its chat.ini, and starts nothing. What is
not installed here (a compiler) makes a hand-in whose build fails, as it does for a student.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from support.planted_faults import FAULTS
from support.starter_faults import FAULTS as OF_STARTER
from support.starter_faults import starter

ROOT: Final = Path(__file__).resolve().parents[2]
STARTERS: Final = ROOT / "examples" / "starter"
COUNT: Final = 60
PYTHON: Final = json.dumps(sys.executable)
Files = Mapping[str, str]

BUILDS: Final = {
    "python": ("", f"{PYTHON} server.py {{port}}"),
    "javascript": ("", "node server.js {port}"),
    "java": ("javac Server.java Json.java", "java -XX:TieredStopAtLevel=1 Server {port}"),
    "c": ("cc -pthread -o chat server.c", "./chat {port}"),
    "rust": ("rustc --edition 2021 -o chat server.rs", "./chat {port}"),
    "go": ("go build -o chat server.go", "./chat {port}"),
}
"""By language of the starter: how it is built and started."""

FAULTY: Final = """
import sys, threading
sys.path.insert(0, ".")
from support.planted_faults import FAULTS
from support.reference_server.records import Account
server = FAULTS[{name!r}].kind(int(sys.argv[1]))
for name in ("anna", "ben", "carla", "dora"):
    server.set_password(server.accounts.setdefault(name, Account(name)), "pw-" + name)
server.start()
print("listening on 127.0.0.1:%d" % server.port, flush=True)
threading.Event().wait()
"""
PARTS: Final = ("reference_client.py", "reference_server", "planted_faults")
"""What a server with a planted fault needs of the folder `support`."""

LISTENS: Final = """
import os, socket, subprocess, sys, threading, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
"""
MISBEHAVE: Final[Mapping[str, str]] = {
    "hung": f"{LISTENS}time.sleep(1e6)",
    "hung-with-a-lock": f"{LISTENS}\nwhile True: sock, _ = listener.accept(); sock.recv(1 << 20)",
    "crashing-at-once": "raise SystemExit('not ready')",
    "crashing-at-the-first": f"{LISTENS}listener.accept(); raise RuntimeError('first')",
    "forking": (
        "import os, subprocess, sys\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "for _ in range(20): subprocess.Popen(sleep, start_new_session=True)\n"
        "os.execv(sys.executable, [sys.executable, 'real.py', *sys.argv[1:]])"
    ),
    "wrong-port": f"{LISTENS.replace('int(sys.argv[1])', '0')}time.sleep(1e6)",
    "flooding": f"{LISTENS}\nwhile True:\n    sock, _ = listener.accept()\n"
    "    try:\n        while True: sock.sendall(b'\\0\\0\\0\\2{}' * 9999)\n"
    "    except OSError: pass",
    "chattering": f"{LISTENS}\nwhile True: print('x' * 10000)",
}
"""By name: a server.py that is none."""
OURS: Final = """
import os, subprocess, sys
server, port, data = {server!r}, *sys.argv[1:]
for name in ("anna", "ben", "carla", "dora"):
    add = [sys.executable, server, "adduser", name, "--data", data, "--password-cost", "4"]
    subprocess.run(add, input="pw-" + name, text=True, check=True)
start = ["--port", port, "--data", data, "--password-cost", "4"]
os.execv(sys.executable, [sys.executable, server, *start])
"""
"""A hand-in that starts this project's own server."""


def hand_ins() -> Iterator[tuple[str, Files, Mapping[str, str]]]:
    """Yield each hand-in: its name, its files by name, and what its chat.ini says."""
    for language, (build, start) in BUILDS.items():
        files = {
            path.name: path.read_text("utf-8")
            for path in (STARTERS / language).iterdir()
            if path.is_file()
        }
        yield f"starter-{language}", files, {"build": build, "start": start}
    for number, fault in enumerate(fault for fault in OF_STARTER if not fault.by_chance):
        files = {"server.js": fault.planted_in(starter())}
        yield f"javascript-{number:02}", files, {"start": BUILDS["javascript"][1]}
    plain = {"start": BUILDS["python"][1]}
    real = (STARTERS / "python" / "server.py").read_text("utf-8")
    for name, text in MISBEHAVE.items():
        yield name, {"server.py": text, "real.py": real}, plain
    yield "without-a-build", {"server.c": "int main( {"}, {"build": "cc server.c", "start": "./a"}
    ours = OURS.format(server=str(ROOT / "chat_server.py"))
    yield "our-own-server", {"mine.py": ours}, {"start": f"{PYTHON} mine.py {{port}} {{data}}"}
    for name, planted in FAULTS.items():
        if planted.whole and not planted.is_client:
            yield f"fault-{name}", {"server.py": FAULTY.format(name=name)}, plain


def make(folder: Path) -> list[Path]:
    """Make the sixty hand-ins in a new folder, and return theirs."""
    made = []
    for name, files, settings in hand_ins():
        if len(made) == COUNT:
            break
        own = folder / name
        own.mkdir(parents=True)
        for file, text in files.items():
            (own / file).write_text(text, "utf-8")
        lines = [f"{key} = {value}" for key, value in settings.items() if value]
        (own / "chat.ini").write_text("\n".join(["[chat]", *lines, ""]), "utf-8")
        if name.startswith("fault-"):
            for part in PARTS:
                _copy(ROOT / "tests" / "support" / part, own / "support" / part)
        made.append(own)
    return made


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


if __name__ == "__main__":
    print(f"{len(make(Path(sys.argv[1])))} hand-ins in {sys.argv[1]}")
