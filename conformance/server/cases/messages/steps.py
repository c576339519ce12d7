"""Steps of the cases about messages.

Owns no case. One thread runs a case, and so these.
"""

from __future__ import annotations

from typing import Any

from conformance.packets import Packet, letters
from conformance.server.context import ServerContext
from conformance.server.user import Said, User

PLAIN = [
    "Hello",
    "a  b!",
    "Mississippi river, 1234567890",
    " leading and trailing ",
    '{}[]"\\/:,',
    "AaAaA",
    "two\tblanks\r\n\nand lines\n",
]

UNICODE = [
    "👍👍🏽",  # the skin tone is a code point of its own
    "e\u0301 \u00e9",  # two code points, and one that looks the same
    "👩\u200d💻",  # one picture of three code points
    "漢字かな交じり文",
    "Straße ΑΒΓ \u0440\u0443\u0441",
]


def open_message(
    context: ServerContext, user: User, room: str, content: str, **data: Any
) -> tuple[str, Packet]:
    """Send a message and return its transaction and the `character_count`; an assertion."""
    opened = user.ask(
        "send_message", {"room_id": room, "content": content, **data}, want="character_count"
    )
    return context.get(opened, "data.transaction_id", str), opened


def opened(context: ServerContext, user: User, room: str, content: str, **data: Any) -> str:
    """Open a transaction and return it; a precondition."""
    with context.given("`character_count` for a message"):
        return open_message(context, user, room, content, **data)[0]


def contents(context: ServerContext, user: User, room: str) -> list[str]:
    """Return what the history of a room holds, as far as one page goes; a precondition."""
    with context.given("the room's history"):
        return [message["content"] for message in user.history(room)]


def heard_message(context: ServerContext, hearer: User, said: Said) -> Packet:
    """Wait for the `receive_message` of this message; a precondition."""
    with context.given("`receive_message` for a receiver"):
        return hearer.hear_this(said.room_id, said.content)


def check_counts(context: ServerContext, texts: list[str]) -> None:
    sender, room = context.user(), context.room_id()
    for content in texts:
        with context.given("`character_count` as the answer to `send_message`"):
            reply = sender.ask(
                "send_message", {"room_id": room, "content": content}, want="character_count"
            )
        counts = context.get(reply, "data.letter_frequencies", dict)
        expected = letters(content)
        wrong = {
            key: (expected.get(key, 0), counts.get(key, 0))
            for key in expected.keys() | counts.keys()
            if expected.get(key) != counts.get(key) or isinstance(counts.get(key), (bool, float))
        }
        told = ", ".join(
            f"{key!r}: {right} expected, {actual!r} came"
            for key, (right, actual) in sorted(wrong.items())[:5]
        )
        context.check(not wrong, f"the counts of every code point of {content!r}", told)
