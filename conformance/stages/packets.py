"""The 24 packets and a few more as examples, so that who writes a server sees what one looks like.

Owns the reading of `packets.json`, the same as the project's tests have, and what the stages show
besides: `register`, and an error as the project's own server sends it. Pure.
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
FURTHER: Final[Sequence[dict[str, Any]]] = (
    {
        "title": "Response: Error with its code, a word of docs/PROTOCOL.md, Errors",
        "packet": {
            "action": "error",
            "original_action": "send_message",
            "status": "error",
            "message": "data.room_id is missing",
            "code": "bad_packet",
        },
    },
    {
        "title": "Request: Register (or give the kit accounts: --account NAME:PASSWORD)",
        "packet": {
            "action": "register",
            "data": {"chatid": "user123", "password": "password123"},
        },
    },
    {
        "title": "Response: Register Success",
        "packet": {
            "action": "register_success",
            "status": "success",
            "message": "Registration successful",
            "data": {"chatid": "user123"},
        },
    },
)
"""The same, of what is not among the 24 packets."""


def examples_of(actions: Sequence[str]) -> list[str]:
    """Return lines that show the packets with these actions, and the replies to them."""
    wanted = {*actions, *(reply for action in actions for reply in REPLIES.get(action, ()))}
    lines = []
    for example in (*EXAMPLES, *FURTHER):
        if example["packet"]["action"] in wanted:
            lines += [f"  {example['title']}:", f"    {json.dumps(example['packet'])}"]
    return lines
