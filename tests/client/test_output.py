"""What the commands for scripts print, where nobody reads it any more."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest

from client.scripts.output import NoReader, Output


class ClosedPipe(io.BytesIO):
    """A pipe whose reader has gone."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def write(self, data: object) -> int:
        raise OSError(self._number, "closed")


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EINVAL], ids=["posix", "windows"])
def test_a_file_for_a_closed_pipe_has_no_reader(tmp_path: Path, number: int) -> None:
    (tmp_path / "a").write_bytes(b"x")
    stdout = io.TextIOWrapper(ClosedPipe(number), encoding="utf-8")
    with pytest.raises(NoReader):
        Output(False, stdout, io.StringIO()).bytes(tmp_path / "a")


def test_a_full_disk_is_no_closed_pipe(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    stdout = io.TextIOWrapper(ClosedPipe(errno.ENOSPC), encoding="utf-8")
    with pytest.raises(OSError, match="closed"):
        Output(False, stdout, io.StringIO()).bytes(tmp_path / "a")
