"""How a program under test ended, and what it printed last, in words for a report.

Pure functions.
"""

from __future__ import annotations

import signal

SHOWN_LINES = 20
SHOWN_CHARACTERS = 200


def last_words(status: int, output: str) -> str:
    """Return the exit status or signal of a program, and its last lines, each shortened."""
    lines = [line[:SHOWN_CHARACTERS] for line in output.splitlines() if line.strip()]
    printed = " / ".join(lines[-SHOWN_LINES:])
    told = f"it printed last: {printed}" if printed else "it printed nothing"
    return f"{how_it_ended(status)}; {told}"


def how_it_ended(status: int) -> str:
    """Return the exit status or signal of a program, behind "it" or its name."""
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        return f"was ended by the signal {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by the signal {-status}"
