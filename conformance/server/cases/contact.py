"""First contact: does the server answer a frame with a frame at all? Without that nothing else is
worth asking."""

from __future__ import annotations

from conformance.server.context import Bench, case

PLACE = 0


@case(
    rules=["R-FRAME-1"],
    title="a login is answered by a frame: 4-byte big-endian length, then one JSON object",
    gate=True,
)
def answers_with_a_frame(bench: Bench) -> None:
    wire = bench.connect()
    wire.send(
        {"action": "login", "data": {"chatid": bench.name("nobody"), "password": bench.password()}}
    )
    reply = wire.receive()
    action = bench.get(reply, "action", str)
    bench.target.offered["first_login"] = action == "login_success"


@case(rules=["R-ERR-7"], title="after an error the connection lives")
def lives_after_an_error(bench: Bench) -> None:
    user = bench.user()
    reply = user.request("get_messages", {"room_id": bench.room_id(), "from_time": "no time"})
    with bench.given("an `error`"):
        bench.refused(reply)
    user.fence()
