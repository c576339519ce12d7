"""Steps of the cases about JSON: payloads that are read, and payloads that are not.

Owns no case. One thread runs a case, and so these.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from conformance.server.cases.framing import probe, understood
from conformance.server.context import ServerContext
from conformance.wire import Wire

BAD_JSON_PER_CONNECTION = 10


def bodies(context: ServerContext, wrong: dict[str, bytes]) -> Iterator[tuple[Wire, str, bytes]]:
    """Return each payload with a connection that has room for one more mistake (R-JSON-9)."""
    wire = context.connect()
    for count, (what, body) in enumerate(wrong.items(), 1):
        yield wire, what, body
        if count % (BAD_JSON_PER_CONNECTION - 2) == 0:
            wire.close()
            wire = context.connect()


def are_bad_json(context: ServerContext, wrong: dict[str, bytes]) -> None:
    """Fail unless each payload is answered `bad_json` and the connection goes on."""
    for wire, what, body in bodies(context, wrong):
        wire.send_frame(body, what)
        reply = wire.expect("error")
        context.refused(reply, "bad_json")
        context.equal(
            reply.get("original_action"),
            "unknown",
            f"`original_action` of the error for {what}",
            "R-ERR-2",
        )
        wire.send(probe())
        understood(context, wire, f"the next frame after {what}")


def are_read(context: ServerContext, right: dict[str, bytes]) -> None:
    """Fail where one of these payloads is not read as a packet."""
    wire = context.connect()
    for what, body in right.items():
        wire.send_frame(body, what)
        understood(context, wire, what)


def text_with(value: str, key: str = "extra") -> bytes:
    """Return a probe with one more key, whose value is written as given."""
    start = json.dumps(probe())[:-1]
    return f'{start}, "{key}": {value}}}'.encode("utf-8", "surrogatepass")
