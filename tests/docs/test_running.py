"""The files and lines of docs/RUNNING.md that start the server with the machine, or copy it each
night, are whole, and name options and commands that there are."""

from __future__ import annotations

import configparser
import plistlib
import re
import shlex
import shutil
import subprocess
from pathlib import Path, PurePosixPath

import pytest
from support.patience import patience

from server.command_line.arguments import parse

RUNNING = (Path(__file__).resolve().parents[2] / "docs" / "RUNNING.md").read_text("utf-8")


def fences(language: str) -> list[str]:
    """Return what stands in the code fences of this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", RUNNING, re.MULTILINE | re.DOTALL)


def known(words: list[str]) -> None:
    """The words behind `chat_server.py` are a command or options of ours."""
    at = next(at for at, word in enumerate(words) if word.endswith("chat_server.py"))
    parse(words[at + 1 :], {})


UNIT, PLIST = fences("ini")[0], fences("xml")[0]


def test_the_unit_of_systemd_starts_the_server_in_a_folder_of_its_own() -> None:
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(UNIT)
    assert unit.sections() == ["Unit", "Service", "Install"]
    service = unit["Service"]
    words = shlex.split(service["ExecStart"])
    known(words)
    assert PurePosixPath(words[0]).is_absolute() and words[1].startswith(
        service["WorkingDirectory"]
    )
    data = words[words.index("--data") + 1]
    assert data.startswith(f"/var/lib/{service['StateDirectory']}/")
    assert service["StateDirectoryMode"] == "0700"
    assert int(service["TimeoutStopSec"]) > 5, "longer than --shutdown-timeout"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_nothing_wrong_in_the_unit(tmp_path: Path) -> None:
    path = tmp_path / "chat.service"
    path.write_text(UNIT, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(path)],
        capture_output=True,
        text=True,
        timeout=patience(30),
        check=False,
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if path.name in line]
    assert said == []


def test_the_file_of_launchd_is_a_property_list() -> None:
    document = plistlib.loads(PLIST.encode())
    known(document["ProgramArguments"])
    assert document["Label"] == "chat" and document["RunAtLoad"] is True
    assert all(PurePosixPath(word).is_absolute() for word in document["ProgramArguments"][:2])


def test_the_task_of_windows_starts_the_server() -> None:
    task = next(fence for fence in fences("bat") if "schtasks" in fence)
    words = shlex.split(task.replace("\\", "/"))
    assert words[:2] == ["schtasks", "/create"]
    known(words[words.index("/tr") + 1].split())


def test_the_lines_of_cron_have_their_five_times_and_no_bare_percent() -> None:
    lines = [line for fence in fences("text") for line in fence.splitlines()]
    assert len(lines) == 2
    for line in lines:
        assert re.match(r"(\d+ ){2}(\* ){3}\S", line), line
        assert "%" not in line.replace("\\%", ""), "cron ends the command there"
    known(shlex.split(re.sub(r"\$\(.*?\)", "today", lines[0].split("&&")[1])))


def test_every_command_of_the_page_is_one_of_ours() -> None:
    commands = [
        line for fence in fences("sh") for line in fence.splitlines() if "chat_server.py" in line
    ]
    assert len(commands) > 8
    for line in commands:
        known(shlex.split(line))
