"""A plain line client, written from docs/PROTOCOL.md alone, to test the conformance kit with.

Owns one connection: it imports nothing of the product and nothing of the kit. Each duty of a client
stands in a method of its own, so that tests/support/planted_faults can break one by overriding one.
Lines of the standard input are said in the lobby, `/send FILE` and `/get NAME` move files:

    python -m support.reference_client HOST PORT USER PASSWORD FOLDER

Threads: the main thread reads the input, one reads the connection and handles what comes.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import sys
import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Packet = dict[str, Any]


@dataclass
class Upload:
    """A file on its way to the server: what waits for the answer to `file_send_init`, then for the
    last answers."""

    name: str
    content: bytes
    waiting_for: set[int] = field(default_factory=set)


@dataclass
class Download:
    """A file on its way from the server."""

    size: int
    total: int
    sha256: str | None
    chunks: dict[int, bytes] = field(default_factory=dict)


class PlainClient:
    """One user on one connection. `handle` and the `on_` methods run in the reading thread."""

    chunk_bytes = 4096

    def __init__(
        self, host: str, port: int, user: str, password: str, folder: str, room: str = "lobby"
    ) -> None:
        self.user, self.password, self.folder, self.room = user, password, Path(folder), room
        self.sock = socket.create_connection((host, port), timeout=30)
        self.sock.settimeout(None)
        self.lock = (
            threading.Lock()
        )  # guards the sending, and what waits for an answer in its order
        self.is_on = threading.Event()
        self.sent: deque[str] = deque()
        self.open: dict[str, str] = {}
        self.seen: set[Any] = set()
        self.uploads: dict[str, Upload] = {}
        self.downloads: dict[str, Download] = {}

    # ---- frames

    def send(self, action: str, data: Packet, **beside: Any) -> None:
        with self.lock:
            self.put({"action": action, "data": data, **beside})

    def put(self, packet: Packet) -> None:
        with contextlib.suppress(OSError):  # the reading thread sees that it is over
            self.sock.sendall(self.encode(packet))

    def encode(self, packet: Packet) -> bytes:
        payload = json.dumps(packet, ensure_ascii=False).encode()
        return self.header(len(payload)) + payload

    def header(self, length: int) -> bytes:
        return length.to_bytes(4, "big")

    def receive(self) -> Packet:
        packet: Packet = json.loads(self.read(int.from_bytes(self.read(4), "big")))
        return packet

    def read(self, length: int) -> bytes:
        """Exactly so many bytes, however they come."""
        data = b""
        while len(data) < length:
            some = self.sock.recv(length - len(data))
            if not some:
                raise EOFError
            data += some
        return data

    # ---- what the user does

    def run(self) -> None:
        threading.Thread(target=self.listen, name="plain-reads", daemon=True).start()
        self.log_in()
        if not self.is_on.wait(30):
            return
        for line in sys.stdin:
            self.command(line.rstrip("\n"))

    def log_in(self) -> None:
        self.send("login", {"chatid": self.user, "password": self.password})

    def command(self, line: str) -> None:
        if line.startswith("/send "):
            self.send_file(Path(line[6:]))
        elif line.startswith("/get "):
            self.send(
                "file_down_req", {"chat_id": self.user, "room_id": self.room, "file_path": line[5:]}
            )
        elif line:
            self.say(line)

    def say(self, text: str) -> None:
        with self.lock:
            self.sent.append(text)
            self.put(
                {
                    "action": "send_message",
                    "data": {"chatid": self.user, "room_id": self.room, "content": text},
                }
            )

    def send_file(self, path: Path) -> None:
        upload = self.uploads[path.name] = Upload(path.name, path.read_bytes())
        data = {
            "file_size": len(upload.content),
            "file_type": "application/octet-stream",
            "total_packets": self.total(upload),
        }
        self.send("file_send_init", {**self.of_file(upload.name), **data})

    def of_file(self, name: str) -> Packet:
        return {"chat_id": self.user, "room_id": self.room, "file_path": name}

    def total(self, upload: Upload) -> int:
        return -(-len(upload.content) // self.chunk_bytes)

    # ---- what comes

    def listen(self) -> None:
        with contextlib.suppress(OSError, EOFError, ValueError):
            while True:
                self.handle(self.receive())
        print("the connection is over", flush=True)

    def handle(self, packet: Packet) -> None:
        """Unknown actions and keys are ignored (R-JSON-13)."""
        method = getattr(self, "on_" + str(packet.get("action")), None)
        if method is not None:
            method(packet, packet.get("data") or {})

    def on_login_success(self, packet: Packet, data: Packet) -> None:
        print("logged in", flush=True)
        self.is_on.set()

    def on_login_fail(self, packet: Packet, data: Packet) -> None:
        print(f"not logged in: {packet.get('message')}", flush=True)
        self.sock.shutdown(socket.SHUT_RDWR)

    def on_error(self, packet: Packet, data: Packet) -> None:
        print(f"refused: {packet.get('original_action')}: {packet.get('message')}", flush=True)
        if packet.get("original_action") == "send_message" and self.sent:
            self.sent.popleft()

    # ---- messages

    def count(self, text: str) -> dict[str, int]:
        return dict(Counter(text))

    def on_character_count(self, packet: Packet, data: Packet) -> None:
        """The server tells what arrived: compare it with what was meant (R-MSG-3). Answers come in
        the order of the requests."""
        transaction_id = data["transaction_id"]
        if transaction_id not in self.open:
            self.open[transaction_id] = self.sent.popleft()
        self.send(
            "confirm_count",
            {"transaction_id": transaction_id, "confirm": self.is_meant(transaction_id, data)},
        )

    def is_meant(self, transaction_id: str, data: Packet) -> bool:
        return bool(data["letter_frequencies"] == self.count(self.open[transaction_id]))

    def on_ack(self, packet: Packet, data: Packet) -> None:
        text = self.open.pop(data["transaction_id"], "")
        print(
            "sent: " + text if packet.get("status") == "success" else "NOT SENT: " + text,
            flush=True,
        )

    def on_receive_message(self, packet: Packet, data: Packet) -> None:
        """Counts what came, and shows it once: a copy has the same number (R-MSG-18)."""
        number = data.get("message_id", data["transaction_id"])
        if number not in self.seen:
            self.seen.add(number)
            print(f"{data['sender_chatid']}: {data['content']}", flush=True)
        self.answer_counts(data)

    def answer_counts(self, data: Packet) -> None:
        answer = {
            "transaction_id": data["transaction_id"],
            "letter_frequencies": self.count(data["content"]),
        }
        self.send("character_count", {**answer, "original_action": "receive_message"})

    def on_confirm_count(self, packet: Packet, data: Packet) -> None:
        status = "success" if data["confirm"] is True else "error"
        self.send(
            "ack",
            {"transaction_id": data["transaction_id"]},
            status=status,
            message="Action processed.",
        )

    # ---- files

    def on_receive_file(self, packet: Packet, data: Packet) -> None:
        print(f"{data['sender_chatid']} sent the file {data['file_path']}", flush=True)

    def on_file_send_init(self, packet: Packet, data: Packet) -> None:
        upload = self.uploads[data["file_path"]]
        upload.waiting_for = set(range(1, self.total(upload) + 1))
        for number in self.numbers(upload):
            part = upload.content[(number - 1) * self.chunk_bytes : number * self.chunk_bytes]
            chunk = base64.b64encode(part).decode()
            self.send(
                "file_send_data",
                {**self.of_file(upload.name), "sequence_number": number, "file_data": chunk},
            )
        if not upload.waiting_for:
            self.finish(upload)

    def numbers(self, upload: Upload) -> list[int]:
        return list(range(1, self.total(upload) + 1))

    def on_file_send_data(self, packet: Packet, data: Packet) -> None:
        upload = self.uploads[data["file_path"]]
        upload.waiting_for.discard(data["sequence_number"])
        if not upload.waiting_for:
            self.finish(upload)

    def finish(self, upload: Upload) -> None:
        self.send(
            "file_send_fin", {**self.of_file(upload.name), "total_packets": self.total(upload)}
        )

    def on_file_send_fin(self, packet: Packet, data: Packet) -> None:
        upload = self.uploads.pop(data["file_path"])
        is_right = data.get("sha256") in (None, hashlib.sha256(upload.content).hexdigest())
        print(
            f"the file {upload.name} " + ("is there" if is_right else "arrived DAMAGED"), flush=True
        )

    def on_file_down_meta(self, packet: Packet, data: Packet) -> None:
        self.downloads[data["file_path"]] = Download(
            data["file_size"], data["total_packets"], data.get("sha256")
        )

    def on_file_down_data(self, packet: Packet, data: Packet) -> None:
        self.downloads[data["file_path"]].chunks[data["sequence_number"]] = base64.b64decode(
            data["file_data"]
        )

    def on_file_down_fin(self, packet: Packet, data: Packet) -> None:
        name = data["file_path"]
        download = self.downloads.pop(name)
        content = self.assemble(download)
        if not self.is_whole(download, content):
            print(f"the file {name} came DAMAGED and was not kept", flush=True)
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / Path(name).name).write_bytes(content)
        print(f"the file {name} lies in {self.folder}", flush=True)

    def assemble(self, download: Download) -> bytes:
        return b"".join(download.chunks[number] for number in sorted(download.chunks))

    def is_whole(self, download: Download, content: bytes) -> bool:
        right = hashlib.sha256(content).hexdigest() == download.sha256 if download.sha256 else True
        return right and len(content) == download.size


def main(kind: type[PlainClient] = PlainClient, words: list[str] | None = None) -> None:
    host, port, user, password, folder = sys.argv[1:6] if words is None else words
    kind(host, int(port), user, password, folder).run()


if __name__ == "__main__":
    main()
