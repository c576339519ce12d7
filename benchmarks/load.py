"""One load for a chat server: members of a room that listen and answer, senders that keep messages on the way.

One process, one thread, `selectors`. Speaks the protocol by itself, so that it can load any server of it. Only to
127.0.0.1. Called by `benchmarks.__main__`; prints its figures as one JSON object.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import sys
import time
from collections import Counter
from typing import Any, Final

HOST: Final = "127.0.0.1"
PATIENCE_SECONDS: Final = 30.0
WARM_SECONDS: Final = 0.5


def cpu_seconds(pid: int) -> float | None:
    """CPU time that a process has used, in seconds; None where the system doesn't tell (only Linux does, by /proc)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def frame(packet: dict[str, Any]) -> bytes:
    """The bytes of a packet on the wire."""
    payload = json.dumps(packet, separators=(",", ":")).encode()
    return len(payload).to_bytes(4, "big") + payload


class Member:
    """One client of the load."""

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        self.socket = socket.create_connection((HOST, port), timeout=PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.held = b""
        self.unsent = b""

    def ask(self, action: str, data: dict[str, Any]) -> dict[str, Any]:
        """A request and the next packet, while nothing else is going on."""
        self.socket.sendall(frame({"action": action, "data": data}))
        while True:
            for packet in self.take(self.socket.recv(65536)):
                return packet

    def send(self, data: bytes) -> None:
        """Send, or keep what the socket would not take."""
        self.unsent += data
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            pass

    def take(self, data: bytes) -> list[dict[str, Any]]:
        """The packets that `data` completes."""
        if not data:
            raise SystemExit("the server closed a connection of the load")
        self.held += data
        packets, at = [], 0
        while len(self.held) - at >= 4:
            end = at + 4 + int.from_bytes(self.held[at : at + 4], "big")
            if len(self.held) < end:
                break
            packets.append(json.loads(self.held[at + 4 : end]))
            at = end
        self.held = self.held[at:]
        return packets


class Load:
    """Members of one room, and what they have seen."""

    def __init__(self, port: int, prefix: str, members: int, senders: int, window: int, answers: bool, silent: int) -> None:
        self.answers = answers
        self.members = [Member(port, f"{prefix}{number}") for number in range(members)]
        self.sending = self.members[:senders]
        self.window = window
        self.sent_at: dict[str, float] = {}
        self.seen: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.deliveries = self.confirms = self.number = 0
        self.measuring = False
        self.answers_to: dict[str, bytes] = {}
        for member in self.members:
            secret = {"chatid": member.name, "password": "load"}
            assert member.ask("register", secret)["action"] == "register_success"
            assert member.ask("login", secret)["action"] == "login_success"
            member.socket.setblocking(False)
        self.silent = [self.members.pop() for _ in range(silent)]  # logged in, and never read from again

    def speak(self, member: Member) -> None:
        """One more message on the way."""
        self.number += 1
        content = f"{member.name} {self.number} hello class this is a chat line of about a hundred characters, as people write them"
        self.sent_at[content] = time.perf_counter()
        member.send(frame({"action": "send_message", "data": {"chatid": member.name, "room_id": "lobby", "content": content}}))

    def handle(self, member: Member, packet: dict[str, Any]) -> None:
        """What a client does with a packet."""
        action = packet["action"]
        if action == "receive_message":
            self.received(member, packet["data"])
        elif action == "character_count":
            data = {"transaction_id": packet["data"]["transaction_id"], "confirm": True}
            member.send(frame({"action": "confirm_count", "data": data}))
        elif action == "confirm_count":
            self.confirms += self.measuring and packet["data"]["confirm"]
            data = {"transaction_id": packet["data"]["transaction_id"]}
            member.send(frame({"action": "ack", "status": "success", "message": "Action processed successfully.", "data": data}))
        elif action == "error":
            raise SystemExit(f"the server says: {packet}")

    def received(self, member: Member, data: dict[str, Any]) -> None:
        """A delivery: measure it, answer it, and let the sender go on when everybody has the message."""
        content = data["content"]
        begun = self.sent_at.get(content)
        if begun is None:
            return
        if self.measuring:
            self.deliveries += 1
            self.latencies.append(time.perf_counter() - begun)
        if self.answers:
            if content not in self.answers_to:
                counts = {
                    "transaction_id": data["transaction_id"],
                    "letter_frequencies": Counter(content),
                    "original_action": "receive_message",
                }
                self.answers_to[content] = frame({"action": "character_count", "data": counts})
            member.send(self.answers_to[content])
        self.seen[content] += 1
        if self.seen[content] == len(self.members) - 1:
            del self.seen[content], self.sent_at[content]
            self.answers_to.pop(content, None)
            speaker = content.split(" ", 1)[0]
            self.speak(next(one for one in self.sending if one.name == speaker))

    def run(self, seconds: float) -> dict[str, Any]:
        """Load the server for so many measured seconds; the figures."""
        selector = selectors.DefaultSelector()
        for member in self.members:
            selector.register(member.socket, selectors.EVENT_READ, member)
        for member in self.sending:
            for _ in range(self.window):
                self.speak(member)
        begin = time.perf_counter() + WARM_SECONDS
        all_before = 0
        while time.perf_counter() < begin + seconds:
            if not self.measuring and time.perf_counter() >= begin:
                self.measuring = True
            for key, _ in selector.select(0.1):
                member = key.data
                for packet in member.take(member.socket.recv(262144)):
                    if packet["action"] == "receive_message":
                        all_before += 1
                    self.handle(member, packet)
            for member in self.members:
                if member.unsent:
                    member.send(b"")
        ordered = sorted(self.latencies) or [0.0]
        return {
            "deliveries": self.deliveries,
            "all_deliveries": all_before,
            "per_second": self.deliveries / seconds,
            "p50_ms": 1000 * ordered[len(ordered) // 2],
            "p99_ms": 1000 * ordered[int(len(ordered) * 0.99)],
            "max_ms": 1000 * ordered[-1],
            "confirmed": self.confirms / self.deliveries if self.deliveries and self.answers else 0.0,
        }


def main() -> int:
    """PORT LABEL MEMBERS SENDERS WINDOW answers|listens SECONDS SILENT: the last is how many of the members never read."""
    port, label, members, senders, window, answers, seconds, silent = sys.argv[1:]
    prefix = f"load{os.getpid()}-"
    load = Load(int(port), prefix, int(members), int(senders), int(window), answers == "answers", int(silent))
    figures = load.run(float(seconds))
    print(json.dumps({"load": label, **figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
