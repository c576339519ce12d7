"""One request: the order of the checks, and how it is answered."""

from __future__ import annotations

import time

from support.reference_server.connection import Connection
from support.reference_server.fields import (
    KEY,
    REQUESTS,
    Request,
    folded,
    last_part,
)
from support.reference_server.records import Account
from support.reference_server.state import State
from support.reference_server.words import (
    LoginRefusal,
    Packet,
    Refusal,
    RegisterRefusal,
)


class Requests(State):
    """One request: the order of the checks, and how it is answered."""

    def take(self, connection: Connection, payload: bytes) -> None:
        """Handle one frame's payload and queue the answer."""
        connection.request_id = None
        try:
            packet = self.decode(payload)
        except Refusal as refusal:
            connection.bad_json += 1
            self.error(connection, "unknown", refusal.code, str(refusal))
            if connection.bad_json >= 10:
                connection.say_last()
            return
        action = packet.get("action")
        self.slow_down(connection, packet)
        try:
            with self.lock:
                self.handle(connection, packet)
        except RegisterRefusal as refusal:
            self.reply(
                connection, "register_fail", str(refusal), None, status="error", code=refusal.code
            )
        except Refusal as refusal:
            name = action[:64] if isinstance(action, str) and action else "unknown"
            self.error(connection, name, refusal.code, str(refusal))
        except LoginRefusal:
            self.reply(
                connection,
                "login_fail",
                "Invalid credentials or user already logged in",
                None,
                status="error",
            )

    def slow_down(self, connection: Connection, packet: Packet) -> None:
        """R-LIM-3 and R-LIM-9: who asks too much is heard later."""
        now = time.monotonic()
        action, data = packet.get("action"), packet.get("data")
        if connection.account is not None and action not in self.NOT_RATE_LIMITED:
            self.stopping.wait(self.owed(connection, connection.account, now))
        if (
            action == "login"
            and isinstance(data, dict)
            and "password" in data
            and "session_key" not in data
        ):
            failures = self.failures.get(
                (folded(str(data.get("chatid"))), connection.sock.getpeername()[0]), []
            )
            recent = sum(1 for at in failures if at > now - 60)
            if recent >= 5:
                self.stopping.wait(self.delay_after(recent))

    def delay_after(self, failures: int) -> float:
        """Return for how many seconds the next password waits (R-LIM-9)."""
        return min(10.0, 2.0 ** (failures - 5))

    def owed(self, connection: Connection, account: Account, now: float) -> float:
        """Count a request of an account; return the seconds for which it is heard later."""
        left, at = self.tokens.get(account.name, (self.BURST, now))
        left = min(self.BURST, left + (now - at) * self.RATE) - 1
        self.tokens[account.name] = left, now
        return max(0.0, -left / self.RATE)

    def handle(self, connection: Connection, packet: Packet) -> None:
        """The checks in the order of R-ERR-3, then the request's own method."""
        request = self.request_of(connection, packet)
        self.check_login(connection, packet["action"], request)
        data = self.fields_of(packet, request)
        self.check_identity(connection, packet["action"], data, request)
        getattr(self, "do_" + packet["action"])(connection, data)

    def request_of(self, connection: Connection, packet: Packet) -> Request:
        request_id = packet.get("request_id")
        if KEY(request_id):
            connection.request_id = request_id
        action = packet.get("action")
        if not isinstance(action, str) or not action:
            raise Refusal("bad_packet", "action: expected a text")
        if action not in REQUESTS:
            raise Refusal("unknown_action", f"there is no request {action[:64]!r}")
        return REQUESTS[action]

    def check_login(self, connection: Connection, action: str, request: Request) -> None:
        if connection.account is None and not request.before_login:
            raise Refusal("not_logged_in", f"{action} needs a login first")

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        """The keys of `data` that the request knows, checked; `chat_id` comes as `chatid`, a file's
        path as its name."""
        if "request_id" in packet and not KEY(packet["request_id"]):
            raise Refusal("bad_packet", f"request_id: expected {KEY.__doc__}")
        data = packet.get("data", {})
        if not isinstance(data, dict):
            raise Refusal("bad_packet", "data: expected an object")
        data = dict(data)
        other = data.get("chat_id") if "chatid" in request.needs else None
        if other is not None and data.setdefault("chatid", other) != other:
            raise Refusal("bad_packet", "data.chatid and data.chat_id are both there and differ")
        for key, check in {**request.needs, **request.may}.items():
            if (key in data or key in request.needs) and not (key in data and check(data[key])):
                name = "chat_id" if key == "chatid" and request.file_packet else key
                raise Refusal("bad_packet", f"data.{name}: expected {check.__doc__}")
        if packet["action"] == "ack" and packet.get("status") not in ("success", "error"):
            raise Refusal("bad_packet", 'status: expected "success" or "error"')
        known = {
            key: value for key, value in data.items() if key in request.needs or key in request.may
        }
        if "file_path" in known:
            known["file_path"] = last_part(known["file_path"])
        if packet["action"] == "ack":
            known["status"] = packet["status"]
        return known

    def check_identity(
        self, connection: Connection, action: str, data: Packet, request: Request
    ) -> None:
        account = connection.account
        if account is None:
            return
        if action == "login":
            raise Refusal("forbidden", "this connection is logged in already")
        if "chatid" in request.needs and folded(data["chatid"]) != folded(account.name):
            raise Refusal("forbidden", "data.chatid: expected your own name")

    def reply(
        self,
        connection: Connection,
        action: str,
        message: str | None,
        data: Packet | None,
        status: str = "success",
        code: str = "",
    ) -> None:
        packet: Packet = {"action": action}
        if message is not None:
            packet.update(status=status, message=message)
        if code:
            packet["code"] = code
        if data is not None:
            packet["data"] = data
        if connection.request_id is not None:
            packet["request_id"] = connection.request_id
        connection.put(packet, forwarded=False)

    def error(self, connection: Connection, original_action: str, code: str, message: str) -> None:
        packet = {
            "action": "error",
            "original_action": original_action,
            "status": "error",
            "message": message,
            "code": code,
        }
        if connection.request_id is not None:
            packet["request_id"] = connection.request_id
        connection.put(packet, forwarded=False)

    def me(self, connection: Connection) -> Account:
        assert connection.account is not None
        return connection.account
