"""What the modules of the reference server share: packets, limits, refusals, times."""

from __future__ import annotations

import time
from typing import Any

Packet = dict[str, Any]

MAX_FRAME = 1_048_576
MAX_FRAME_BEFORE_LOGIN = 65_536
MAX_CONTENT = 16_384
MAX_FILE = 104_857_600
MAX_CHUNK = 262_144
QUOTA = 1_073_741_824
MAX_INTEGER = 2**53 - 1


class Refusal(Exception):
    """A request is answered by `error` with this code, and changes nothing."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RegisterRefusal(Refusal):
    """The answer is `register_fail`."""


class LoginRefusal(Exception):
    """The answer is `login_fail`, which never says why."""


class Gone(Exception):
    """The connection is over."""


def written(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
