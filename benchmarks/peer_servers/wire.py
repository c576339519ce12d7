"""What the small servers share: a frame, the packets they send, and asking for many open files."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

_transactions = itertools.count(1)


def encoded(packet: dict[str, Any]) -> bytes:
    """Return a packet with its length before it."""
    payload = json.dumps(packet).encode()
    return len(payload).to_bytes(4, "big") + payload


def welcome(action: str, name: str) -> dict[str, Any]:
    """Return the answer to a register or login."""
    return {
        "action": f"{action}_success",
        "status": "success",
        "message": "Welcome.",
        "data": {"chatid": name},
    }


def forwarded(sender: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Return what the other members receive of a `send_message`."""
    data = {
        "transaction_id": f"t{next(_transactions)}",
        "room_id": asked["room_id"],
        "sender_chatid": sender,
        "content": asked["content"],
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    return {
        "action": "receive_message",
        "status": "success",
        "message": "New message received.",
        "data": data,
    }


def acknowledged() -> dict[str, Any]:
    """Return what the sender receives."""
    data = {"transaction_id": f"t{next(_transactions)}"}
    return {
        "action": "ack",
        "status": "success",
        "message": "Action processed successfully.",
        "data": data,
    }
