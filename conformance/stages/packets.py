"""The 24 packets as examples, so that who writes a server sees what one looks like.

Owns the reading of `packets.json`, the same as the project's tests have. Pure.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Sequence
from typing import Any, Final

from conformance.packets import REPLIES


def _read() -> Sequence[dict[str, Any]]:
    data = pkgutil.get_data("conformance.stages", "packets.json")
    if data is None:
        raise RuntimeError("conformance/stages/packets.json is missing: copy the whole folder")
    examples: Sequence[dict[str, Any]] = json.loads(data)
    return examples


EXAMPLES: Final = _read()
"""Each a `title` and a `packet`."""


def examples_of(actions: Sequence[str]) -> list[str]:
    """Return lines that show the packets with these actions, and the replies to them."""
    wanted = {*actions, *(reply for action in actions for reply in REPLIES.get(action, ()))}
    lines = []
    for example in EXAMPLES:
        if example["packet"]["action"] in wanted:
            lines += [f"  {example['title']}:", f"    {json.dumps(example['packet'])}"]
    return lines
