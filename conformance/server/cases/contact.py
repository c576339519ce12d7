"""First contact: does the server answer a frame with a frame at all? Without that nothing else is
worth asking."""

from __future__ import annotations

from conformance.server.context import ServerContext
from conformance.server.registry import case


@case(
    rules=["R-FRAME-1"],
    title="a login is answered by a frame: 4-byte big-endian length, then one JSON object",
    gate=True,
)
def answers_with_a_frame(context: ServerContext) -> None:
    wire = context.connect()
    wire.send(
        {
            "action": "login",
            "data": {"chatid": context.name("nobody"), "password": context.password()},
        }
    )
    reply = wire.receive()
    action = context.get(reply, "action", str)
    context.target.offered["first_login"] = action == "login_success"


@case(rules=["R-ERR-7"], title="after an error the connection lives")
def lives_after_an_error(context: ServerContext) -> None:
    user = context.user()
    reply = user.request("get_messages", {"room_id": context.room_id(), "from_time": "no time"})
    with context.given("an `error` for a `from_time` that is no time (R-HIST-3)"):
        context.refused(reply)
    user.fence()
