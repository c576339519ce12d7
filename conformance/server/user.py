"""One user of the server: a connection, who is logged in on it, and the usual requests.

Owns the packets of a request and the waiting for its reply. Raises what `Checks` raises. One
thread runs a case.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, final

from conformance.packets import FUTURE, PAST, REPLIES, Packet, data_of, letters, shown
from conformance.server.checks import Checks
from conformance.server.target import Account
from conformance.wire import Wire

HASHING = ("login", "register", "change_password")
"""Requests whose replies may take three times as long as others: passwords are hashed for them, and
failures delayed (R-LIM-9)."""
PATIENCE_SECONDS = 5.0
"""The longest pause that an error `rate_limited` may ask for."""


@dataclass(frozen=True)
class Said:
    """A message that was stored: `ack` is the packet; `message_id` is None where the server does
    not tell it."""

    room_id: str
    content: str
    transaction_id: str
    ack: Packet
    message_id: int | None
    timestamp: str | None


@final
class User:
    """One connection and who is logged in on it.

    `wire` is the connection (see `conformance.wire.Wire`) for everything that is not a request with
    one reply. `login_success` is the packet of the login, whose `data` is an object at least.
    Packets that come by themselves wait aside until `hear` or `wire.expect` asks for them.
    """

    def __init__(self, checks: Checks, wire: Wire, account: Account) -> None:
        self.checks = checks
        self.wire = wire
        self.account = account
        self.login_success: Packet = {}
        self.is_on = False
        """Whether the last login succeeded and no logout did."""
        self.is_own = False
        """Whether this user is for one case only."""
        self.last_room = "lobby"

    @property
    def chatid(self) -> str:
        """The name of the account, as it was registered."""
        return self.account.chatid

    @property
    def session_key(self) -> str:
        """The key of the last login, "" where the server gave none."""
        key = data_of(self.login_success).get("session_key")
        return key if isinstance(key, str) else ""

    def send(self, action: str, data: Packet | None = None, **beside: Any) -> None:
        """Send a request without waiting; `chatid` (`chat_id` in file packets) is put in where
        `data` has neither."""
        self.wire.send(self.packet(action, data, **beside))

    def packet(self, action: str, data: Packet | None = None, **beside: Any) -> Packet:
        """Return the packet that `send` would send; `beside` are keys beside `data`, as
        `request_id`."""
        self.checks.last_request = action
        filled = dict(data or {})
        if action not in (
            "character_count",
            "confirm_count",
            "ack",
            "ping",
        ) and not filled.keys() & {"chatid", "chat_id"}:
            filled["chat_id" if action.startswith("file_") else "chatid"] = self.chatid
        if isinstance(filled.get("room_id"), str):
            self.last_room = filled["room_id"]
        return {"action": action, "data": filled, **beside}

    def request(
        self,
        action: str,
        data: Packet | None = None,
        *,
        timeout: float | None = None,
        **beside: Any,
    ) -> Packet:
        """Send a request and return its reply, whatever it is; an `error` is a reply too.

        Waits and asks again where it is `rate_limited`.
        """
        for _ in range(5):
            self.send(action, data, **beside)
            reply = self.reply(action, timeout=timeout)
            if reply.get("code") != "rate_limited":
                break
            self.wire.transcript.note("asked to wait", self.wire.who)
            time.sleep(_pause(reply))
        return reply

    def reply(self, action: str, *, timeout: float | None = None) -> Packet:
        """Wait for the next reply to a request of this action, or the next `error`.

        Waits longer where a password is hashed.
        """
        actions = (*REPLIES[action], "error")
        if timeout is None and action in HASHING:
            timeout = 3 * self.checks.target.timeout
        what = "a reply to `" + action + "`: " + " or ".join(f"`{each}`" for each in actions)
        return self.wire.receive_where(
            lambda packet: packet.get("action") in actions, what, timeout
        )

    def ask(
        self,
        action: str,
        data: Packet | None = None,
        *,
        want: str = "",
        rule: str = "",
        timeout: float | None = None,
        **beside: Any,
    ) -> Packet:
        """Send a request and return its reply; the rule fails unless its action is `want`.

        By default that is the usual reply.
        """
        wanted = want or REPLIES[action][0]
        with self.checks.rule(rule):
            reply = self.request(action, data, timeout=timeout, **beside)
            if reply.get("action") != wanted:
                self.checks.fail(
                    f"`{wanted}` as the reply to `{action}`", f"this came: {shown(reply)}"
                )
        return reply

    def login(self, **data: Any) -> Packet:
        """Send `login` and return the reply; `password` is the account's unless `password` or
        `session_key` is given."""
        if not data.keys() & {"password", "session_key"}:
            data["password"] = self.account.password
        reply = self.request("login", {"chatid": self.chatid, **data})
        if reply.get("action") == "login_success":
            known = data_of(reply)
            self.login_success, self.is_on = {**reply, "data": known}, True
            if not self.checks.target.login_data:
                self.checks.target.login_data.update(known)
        return reply

    def say(self, room_id: str, content: str, **data: Any) -> Said:
        """Send a message, confirm it and take the ack.

        A precondition: where that is impossible, the case is NOT REACHED.
        """
        with self.checks.given(
            "a message that is sent, confirmed and acknowledged", remember="say"
        ):
            opened = self.ask(
                "send_message",
                {"room_id": room_id, "content": content, **data},
                want="character_count",
            )
            tid = self.checks.get(opened, "data.transaction_id", str)
            return self.confirm(room_id, content, tid)

    def confirm(self, room_id: str, content: str, transaction_id: str) -> Said:
        """Confirm an open transaction and take its ack, which must be a success."""
        ack = self.ask(
            "confirm_count", {"transaction_id": transaction_id, "confirm": True}, want="ack"
        )
        self.checks.equal(ack.get("status"), "success", "`status` of the `ack`")
        data = data_of(ack)
        message_id, timestamp = data.get("message_id"), data.get("timestamp")
        return Said(
            room_id,
            content,
            transaction_id,
            ack,
            message_id
            if isinstance(message_id, int) and not isinstance(message_id, bool)
            else None,
            timestamp if isinstance(timestamp, str) else None,
        )

    def hear(self, room_id: str, *, rule: str = "", timeout: float | None = None) -> Packet:
        """Wait for the next `receive_message` of this room.

        Its `data` is a dict with string `content`, `sender_chatid` and `transaction_id`.
        """

        def here(packet: Packet) -> bool:
            data = packet.get("data")
            return (
                packet.get("action") == "receive_message"
                and isinstance(data, dict)
                and data.get("room_id") == room_id
            )

        with self.checks.rule(rule):
            packet = self.wire.receive_where(here, f"`receive_message` in {room_id}", timeout)
            for key in ("content", "sender_chatid", "transaction_id"):
                self.checks.get(packet, f"data.{key}", str)
        return packet

    def hear_this(self, room_id: str, content: str, *, rule: str = "") -> Packet:
        """Wait for the next `receive_message` of this room, which must have this content."""
        with self.checks.rule(rule):
            packet = self.hear(room_id)
            self.checks.equal(
                packet["data"]["content"],
                content,
                "`content` of the next `receive_message` in the room",
            )
        return packet

    def count_back(self, received: Packet, counts: dict[str, Any] | None = None) -> Packet:
        """Answer a `receive_message` with its letters (or other counts) and return the reply."""
        data = received["data"]
        frequencies = letters(data["content"]) if counts is None else counts
        return self.request(
            "character_count",
            {
                "transaction_id": data["transaction_id"],
                "letter_frequencies": frequencies,
                "original_action": "receive_message",
            },
        )

    def acknowledge(self, received: Packet, status: str = "success") -> None:
        """Send the `ack` of a `receive_message`; it has no reply."""
        data = {"transaction_id": received["data"]["transaction_id"]}
        self.send("ack", data, status=status, message="Action processed successfully.")

    def history(self, room_id: str, **data: Any) -> list[Packet]:
        """Return the messages of a room, oldest first, by one `get_messages` (an assertion).

        From long ago, unless `data` says otherwise.
        """
        asked = {"room_id": room_id, **(data or {"from_time": PAST})}
        reply = self.ask("get_messages", asked, want="messages_list")
        messages: list[Packet] = self.checks.get_list(reply, "data.messages", dict)
        for message in messages:
            for key in ("sender_chatid", "content", "timestamp"):
                self.checks.get(message, key, str)
        return messages

    def fence(self) -> None:
        """Return once the server has answered everything that was sent on this connection before
        (R-ORDER-5)."""
        reply = self.request("get_messages", {"room_id": self.last_room, "from_time": FUTURE})
        while _answers_another(reply, "get_messages"):
            reply = self.reply("get_messages")

    def close(self) -> None:
        """Close the connection; a given account is free for others then."""
        self.wire.close()
        self.is_on = False


def _answers_another(reply: Packet, action: str) -> bool:
    """Return whether a reply is the error of another request, which nobody has waited for."""
    original = reply.get("original_action")
    others = {*REPLIES, "ack", "typing"} - {action}
    return reply.get("action") == "error" and isinstance(original, str) and original in others


def _pause(reply: Packet) -> float:
    for place in (reply, data_of(reply)):
        for key in ("retry_after", "retry_after_seconds", "wait"):
            if isinstance(place.get(key), (int, float)):
                return float(min(max(0, place[key]), PATIENCE_SECONDS))
    return 1.0
