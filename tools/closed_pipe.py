"""What a tool does when nobody reads what it prints, as in `python tools/figures.py | head -1`.

It ends without a traceback. The programs of `tools/` and `tests/run.py` call their `main` through
here; client, server and kit have ways of their own. One thread uses it.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

CLOSED = 1
"""The exit status then."""


def run(main: Callable[[], int]) -> int:
    """Return what `main` returns, or CLOSED where the pipe behind stdout or stderr is closed."""
    try:
        status = main()
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        # EPIPE, on Windows EINVAL. A file that can't be opened has a name.
        if error.errno not in (errno.EPIPE, errno.EINVAL) or error.filename is not None:
            raise
        # Python writes what is left once more at its end ("Note on SIGPIPE", Python's docs).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED
    return status
