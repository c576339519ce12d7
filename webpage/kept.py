"""A small file by which the next run of a page knows again who was let in by this one.

Owns its form: by role a digest, which opens nothing. Only its owner can read it. Where it can't be
read or written, pages that are open have to be opened by a new link after a restart. Any thread.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path


def load(path: Path) -> dict[str, str]:
    """Return what the last run has saved, nothing where there is no such file."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return {role: str(digest) for role, digest in found.items()} if isinstance(found, dict) else {}


def save(path: Path, digests: Mapping[str, str]) -> None:
    """Write the file anew, as a whole; where that can't be, nothing."""
    new = path.with_name(f"{path.name}.new")
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(dict(digests), file)
        os.replace(new, path)
