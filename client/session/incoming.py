"""What others do: their messages, files and events, as they come in.

Owns the receiver's half of the handshake (docs/PROTOCOL.md, "Receiving a message"): it counts the
letters, and acknowledges; `client.session.outgoing` is the sender's half. Never decides whether a
message is handed on twice: `client.session.catch_up` does. For the thread that reads.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

import protocol
from client.errors import SessionEnded
from client.events import CountsDisagreed, Event, FileShared, Message, ServerEvent
from client.network.link import Link
from client.records import as_id, as_text
from client.session.catch_up import CatchUp
from client.session.outgoing import letters_between
from client.session.session_end import told_end

MAX_REMEMBERED: Final = 1_000
"""Messages of which a second copy can be told from a new one."""


class Incoming:
    """Takes what others do. `tell` is called with each event that `catch_up` has no part in."""

    def __init__(self, catch_up: CatchUp, tell: Callable[[Event], None]) -> None:
        self._catch_up = catch_up
        self._tell = tell
        self._received: OrderedDict[str, Message] = OrderedDict()  # by the server's transaction_id
        self.chatid = ""
        """Who is logged in."""
        self.ended: SessionEnded | None = None
        """What the server has said of the end of the session, which comes before it closes."""

    def take(self, link: Link, packet: Mapping[str, Any]) -> bool:
        """Take a checked packet and answer it on `link`; return False where it is none of these.
        Raise `ConnectionLost` on a link that has ended."""
        take = self._TAKES.get(packet["action"])
        if take is None:
            return False
        take(self, link, packet)
        return True

    def forget(self) -> None:
        """Forget what belongs to a connection that is gone."""
        self._received.clear()
        self.ended = None

    def _message(self, link: Link, packet: Mapping[str, Any]) -> None:
        data = packet["data"]
        key, content = data["transaction_id"], data["content"]
        counts = {
            "transaction_id": key,
            "letter_frequencies": protocol.count_letters(content),
            "original_action": "receive_message",
        }
        link.send(protocol.build_request("character_count", counts))
        first = self._received.get(key)
        message = Message(
            data["room_id"],
            data["sender_chatid"],
            content,
            data["timestamp"],
            as_id(data.get("message_id")),
            corrected=first is not None,
            differences=() if first is None else letters_between(first.content, content),
            announce=data.get("announce") is True,
        )
        self._received[key] = message
        while len(self._received) > MAX_REMEMBERED:
            self._received.popitem(last=False)
        if first is None:
            self._catch_up.hand_on(message)
        elif first.content != content:
            self._tell(message)

    def _confirmation(self, link: Link, packet: Mapping[str, Any]) -> None:
        key, confirmed = packet["data"]["transaction_id"], packet["data"]["confirm"]
        status, text = (
            ("success", "Action processed successfully.")
            if confirmed
            else ("error", "The letter counts differ.")
        )
        link.send(
            protocol.build_request("ack", {"transaction_id": key}, status=status, message=text)
        )
        message = self._received.get(key)
        if not confirmed and message is not None:
            self._tell(CountsDisagreed(message))

    def _file(self, link: Link, packet: Mapping[str, Any]) -> None:
        data = packet["data"]
        self._catch_up.hand_on_file(
            FileShared(
                data["room_id"],
                data["sender_chatid"],
                data["file_path"],
                data["file_size"],
                data["file_type"],
                data["timestamp"],
            )
        )

    def _event(self, link: Link, packet: Mapping[str, Any]) -> None:
        data = packet["data"]
        kind, reason = data["type"], as_text(data.get("reason"))
        chatid, room_id = as_text(data.get("chatid")), as_text(data.get("room_id"))
        name = as_text(data.get("name")) or as_text(data.get("file_path"))
        self._tell(
            ServerEvent(
                kind,
                chatid,
                room_id,
                name,
                reason,
                as_text(data.get("until")),
                data.get("read_only") is True,
                data.get("uploads") is not False,
                as_id(data.get("message_id")),
                as_text(data.get("content")) or as_text(data.get("text")),
            )
        )
        is_us = bool(chatid) and protocol.fold_chatid(chatid) == protocol.fold_chatid(self.chatid)
        self.ended = self.ended or told_end(kind, reason, is_us=is_us)

    _TAKES: Final[Mapping[str, Callable[[Incoming, Link, Mapping[str, Any]], None]]] = {
        "receive_message": _message,
        "confirm_count": _confirmation,
        "receive_file": _file,
        "event": _event,
    }
