"""A small chat client of the 24 packets, for testing the conformance kit, and faults that can be
planted in it one at a time.

Run as a program: `python client_with_faults.py HOST PORT FOLDER [FAULT]`. It reads name
and password from standard input, then lines to say, `/send FILE` and `/get NAME`. Two threads: one
reads what is typed, one reads the server.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import struct
import sys
import threading
import time
import unicodedata
from collections import Counter, deque
from typing import Any

ROOM = "lobby"
CHUNK = 60_000
FAULT = ""


def has(name: str) -> bool:
    return name == FAULT


def count(text: str) -> dict[str, Any]:
    """The letters of a text."""
    if has("counts lower case"):
        text = text.lower()
    if has("counts letters only"):
        text = "".join(filter(str.isalpha, text))
    if has("counts ASCII only"):
        text = "".join(filter(str.isascii, text))
    if has("counts UTF-16"):
        raw = text.encode("utf-16-le")
        units = zip(raw[::2], raw[1::2], strict=True)
        return dict(Counter(chr(low | high << 8) for low, high in units))
    if has("counts 256 letters at most"):
        return dict(Counter(text).most_common(256))
    if has("counts as text"):
        return {key: str(number) for key, number in Counter(text).items()}
    return dict(Counter(text))


class Client:
    def __init__(self, host: str, port: int, folder: str) -> None:
        self.address = (host, port)
        self.sock = socket.create_connection(self.address)
        if has("writes once"):
            self.sock.settimeout(60)
        self.folder = folder
        self.lock = threading.Lock()
        self.name = ""
        self.ready = threading.Event()
        self.own: deque[str] = deque()
        self.seen: set[str] = set()
        self.acknowledged: set[str] = set()
        self.busy = self.stuck = False
        self.uploading = self.asked_for = self.last = self.password = ""
        self.fetched: tuple[str, list[bytes]] | None = None

    # --- Frames ---

    def send(self, action: str, data: dict[str, Any] | None = None, **beside: Any) -> None:
        packet: dict[str, Any] = {
            "action": action,
            **({} if data is None else {"data": data}),
            **beside,
        }
        if has("no data object") and data is not None:
            packet = {"action": action, **data, **beside}
        text = json.dumps(packet, ensure_ascii=has("none"))
        body = text.encode("latin-1", "replace") if has("writes Latin-1") else text.encode()
        length = (
            len(text)
            if has("length in characters")
            else len(body) + (4 if has("length counts itself") else 0)
        )
        header = (
            b"" if has("no length") else struct.pack("<I" if has("little-endian") else ">I", length)
        )
        with self.lock:
            if has("writes once"):
                self.sock.send(header + body)
                return
            self.sock.sendall(header + body)

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            got = self.sock.recv(size - len(data))
            if not got:
                raise EOFError
            data += got
            if has("reads once"):
                break
        return data

    def frames(self) -> Any:
        while True:
            if has("one frame per recv"):
                data = self.sock.recv(1_000_000)
                if not data:
                    return
                yield data[4 : 4 + struct.unpack(">I", data[:4])[0]]
                continue
            (length,) = struct.unpack(">I", self.read(4))
            if has("takes small frames only") and length > 65_536:
                return
            yield self.read(length)

    # --- In ---

    def run(self) -> None:
        try:
            for payload in self.frames():
                self.take(json.loads(self.text_of(payload)))
        except (EOFError, OSError, ValueError, struct.error, KeyError):
            pass
        if not has("always comes back"):
            os._exit(1)
        time.sleep(0.1)
        try:
            self.sock = socket.create_connection(self.address)
        except OSError:
            os._exit(1)
        self.log_in(self.name, self.password)
        self.run()

    def text_of(self, payload: bytes) -> str:
        text = payload.decode()
        if has("knows no pairs"):
            text = re.sub(r"\\u[dD][89abAB]..\\u[dD]...", "?", text)
        if has("knows few escapes") and "\\/" in text:
            raise ValueError
        return text

    def take(self, packet: dict[str, Any]) -> None:
        if has("dies of unknown keys") and packet.keys() - {
            "action",
            "data",
            "status",
            "message",
            "original_action",
            "code",
        }:
            raise KeyError
        data = packet.get("data", {})
        if has("dies of null") and None in packet.values():
            raise KeyError
        if has("numbers of 32 bits") and data.get("message_id", 0) >= 2**31:
            raise KeyError
        if has("transactions of 32 characters") and "transaction_id" in data:
            data["transaction_id"] = data["transaction_id"][:32]
        handler = getattr(self, "on_" + packet["action"], None)
        if handler is not None:
            handler(packet.get("data", {}), packet)

    def on_login_success(self, data: dict[str, Any], packet: dict[str, Any]) -> None:
        here = {"chatid": self.name, "room_id": ROOM}
        if has("history without a zone"):
            self.send("get_messages", {**here, "from_time": "2024-01-01T12:00:00"})
        if has("history of everything"):
            self.send("get_messages", here)
        self.ready.set()

    def on_error(self, data: dict[str, Any], packet: dict[str, Any]) -> None:
        if has("dies of an error"):
            raise KeyError
        if has("forgets nothing"):
            return
        self.stuck = has("stuck after an error")
        if packet["original_action"] == "send_message" and self.own:
            self.own.popleft()
            self.busy = False

    def on_character_count(self, data: dict[str, Any], packet: dict[str, Any]) -> None:
        text = self.own.popleft() if self.own else ""
        same = data["letter_frequencies"] == count(text)
        if has("compares as text"):
            same = json.dumps(data["letter_frequencies"]) == json.dumps(count(text))
        if has("remembers the last line only"):
            same = data["letter_frequencies"] == count(self.last)
        if has("compares the keys only"):
            same = data["letter_frequencies"].keys() == count(text).keys()
        if has("compares the sums only"):
            same = sum(data["letter_frequencies"].values()) == len(text)
        if has("never answers what differs") and not same:
            return
        self.send(
            "confirm_count",
            {"transaction_id": data["transaction_id"], "confirm": same or has("always confirms")},
        )

    def on_ack(self, data: dict[str, Any], packet: dict[str, Any]) -> None:
        self.busy = False
        if has("acknowledges acks"):
            self.send("ack", {"transaction_id": data["transaction_id"]}, status="success")

    def on_receive_file(self, data: dict[str, Any], packet: dict[str, Any]) -> None:
        if has("dies of a file of others"):
            raise KeyError

    def on_file_send_fin(self, data: dict[str, Any], packet: dict[str, Any]) -> None:
        if data["file_path"] == self.uploading:
            self.uploading = ""

    def on_receive_message(self, data: dict[str, Any], packet: dict[str, Any]) -> None:
        key = data["transaction_id"]
        if (
            has("ignores messages")
            or (has("deaf while it sends") and self.busy)
            or (has("deaf while it uploads") and self.uploading)
            or (has("hears its own room only") and data["room_id"] != ROOM)
            or (has("takes commands of others") and data["content"].startswith("/"))
            or (has("no answer to blanks") and not data["content"].strip())
            or (has("ignores copies") and key in self.seen)
        ):
            return
        if has("deaf while it fetches") and self.fetched is not None:
            return
        if has("answers two of three only") and len(self.seen) % 3 == 2:
            self.seen.add(key)
            return
        self.seen.add(key)
        self.send(
            "character_count",
            {
                "transaction_id": key,
                "letter_frequencies": count(data["content"]),
                "original_action": "receive_message",
            },
        )

    def on_confirm_count(self, data: dict[str, Any], packet: dict[str, Any]) -> None:
        if has("forgets the ack"):
            return
        if has("acknowledges once") and data["transaction_id"] in self.acknowledged:
            return
        self.acknowledged.add(data["transaction_id"])
        status = "success" if data["confirm"] or has("acknowledges everything") else "error"
        beside = (
            {}
            if has("ack without status")
            else {"status": status, "message": "Action processed successfully."}
        )
        self.send("ack", {"transaction_id": data["transaction_id"]}, **beside)

    def on_file_down_meta(self, data: dict[str, Any], packet: dict[str, Any]) -> None:
        self.fetched = (data["file_path"], [])
        if has("mixes two fetches"):
            self.fetched = (self.asked_for, [])

    def on_file_down_data(self, data: dict[str, Any], packet: dict[str, Any]) -> None:
        if self.fetched is not None:
            self.fetched[1].append(base64.b64decode(data["file_data"]))

    def on_file_down_fin(self, data: dict[str, Any], packet: dict[str, Any]) -> None:
        if self.fetched is not None:
            name, chunks = self.fetched
            self.fetched = None
            if has("fetches without the last chunk"):
                chunks = chunks[:-1] if len(chunks) > 1 else chunks
            mode = "ab" if has("appends what it fetches") else "wb"
            with open(os.path.join(self.folder, os.path.basename(name)), mode) as file:
                file.write(b"".join(chunks))

    # --- Out ---

    def log_in(self, name: str, password: str) -> None:
        self.name, self.password = name, password
        self.send(
            "login",
            {
                "chatid": name,
                "password": password[:-1] if has("cuts the password") else password,
                **({"features": ["events"]} if has("always comes back") else {}),
            },
        )
        self.ready.wait(60)

    def type(self, line: str) -> None:
        if line.startswith("/send "):
            self.upload(line[6:])
        elif line.startswith("/get "):
            if self.stuck:
                return
            self.asked_for = line[5:]
            self.send("file_down_req", self.where(line[5:]))
        else:
            if has("normalises what is typed"):
                line = unicodedata.normalize("NFC", line)
            self.own.append(line)
            self.last = line
            self.busy = True
            name = "somebody" if has("says it is somebody else") else self.name
            self.send(
                "send_message",
                {
                    "chatid": name,
                    "room_id": ROOM,
                    "content": line.upper() if has("shouts") else line,
                },
            )

    def where(self, name: str) -> dict[str, Any]:
        return {
            "chatid" if has("chatid in file packets") else "chat_id": self.name,
            "room_id": ROOM,
            "file_path": name,
        }

    def upload(self, path: str) -> None:
        self.uploading = os.path.basename(path)
        with open(path, "rb") as file:
            content = file.read()
        where, size = (
            self.where(os.path.basename(path)),
            262_145 if has("chunks too large") else CHUNK,
        )
        chunks = [content[at : at + size] for at in range(0, len(content), size)]
        if has("a chunk for an empty file"):
            chunks = chunks or [b""]
        if has("chunks of many sizes") and len(chunks) > 2:
            chunks[:2] = [chunks[0][:100], chunks[0][100:] + chunks[1]]
        if has("pads the last chunk") and chunks:
            chunks[-1] = chunks[-1].ljust(size, b"\0")
        total = len(chunks) + (1 if has("wrong total") else 0)
        self.send(
            "file_send_init",
            {
                **where,
                "file_size": str(len(content)) if has("size as text") else len(content),
                "file_type": "" if has("no file type") else "application/octet-stream",
                "total_packets": total,
            },
        )
        for number, chunk in enumerate(chunks, 7 if has("numbers from 7") else 1):
            if has("loses the last chunk") and chunk is chunks[-1] and len(chunks) > 1:
                break
            encoded = (
                base64.encodebytes(chunk)
                if has("base64 with line breaks")
                else base64.b64encode(chunk)
            )
            self.send(
                "file_send_data",
                {**where, "sequence_number": number, "file_data": encoded.decode()},
            )
        self.send("file_send_fin", {**where, "total_packets": total})


def main(host: str, port: str, folder: str, fault: str = "") -> None:
    global FAULT
    FAULT = fault
    client = Client(host, int(port), folder)
    name, password = sys.stdin.readline().strip(), sys.stdin.readline().strip()
    threading.Thread(target=client.run, daemon=True).start()
    client.log_in(name, password)
    for line in sys.stdin:
        client.type(line.rstrip("\n"))


if __name__ == "__main__":
    main(*sys.argv[1:])
