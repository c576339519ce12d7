"""A small scripted server for the client's tests: real sockets on loopback, no code of the real
server.

Each connection that comes in is handed to the next script, in a thread of its own; a script that
fails makes the test fail.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from support.patience import patience

SECONDS = patience(8.0)

Packet = dict[str, Any]


class Hangup(Exception):
    """The client has closed the connection."""


class Peer:
    """The server's side of one connection."""

    def __init__(self, server: FakeServer, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.sock.settimeout(SECONDS)
        self.me = ""

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                piece = self.sock.recv(count - len(data))
            except ConnectionError:
                piece = b""
            if not piece:
                raise Hangup
            data += piece
        return data

    def get(self, *actions: str) -> Packet:
        """The next packet, which must be one of `actions`."""
        (size,) = struct.unpack(">I", self._exactly(4))
        packet: Packet = json.loads(self._exactly(size))
        self.server.heard.append(packet)
        assert not actions or packet["action"] in actions, packet
        return packet

    def send(self, action: str, data: Packet | None = None, **top: Any) -> None:
        packet = {"action": action, **top}
        if data is not None:
            packet["data"] = data
        payload = json.dumps(packet).encode()
        try:
            self.sock.sendall(struct.pack(">I", len(payload)) + payload)
        except ConnectionError:
            raise Hangup from None

    def reply(self, to: Packet, action: str, data: Packet | None = None, **top: Any) -> None:
        top.setdefault("status", "success")
        top.setdefault("message", "Well done.")
        if "request_id" in to and not self.server.seed_only:
            top["request_id"] = to["request_id"]
        self.send(action, data, **top)

    def refuse(self, to: Packet, code: str, message: str = "No.") -> None:
        top = {} if self.server.seed_only else {"code": code}
        self.reply(
            to, "error", original_action=to["action"], status="error", message=message, **top
        )

    def serve(self, *, until: str = "", count: int = 1) -> Packet:
        """Answer everything as a good server does; returns the `count`-th packet of the action
        `until`, unanswered."""
        while True:
            packet = self.get()
            if packet["action"] == until:
                count -= 1
                if not count:
                    return packet
            self.answer(packet)

    def answer(self, packet: Packet) -> None:
        handler = self.server.handlers.get(packet["action"]) or getattr(
            self, "on_" + packet["action"], None
        )
        if handler is None:
            self.refuse(packet, "unknown_action", f"no packet is called {packet['action']}")
        elif packet["action"] in self.server.handlers:
            handler(self, packet)
        else:
            handler(packet)

    def message(
        self, number: int, content: str, sender: str = "bob", room: str = "lobby", **extra: Any
    ) -> None:
        data = {
            "transaction_id": f"T{number}",
            "room_id": room,
            "sender_chatid": sender,
            "content": content,
            "timestamp": "2024-01-01T12:00:00Z",
        }
        if not self.server.seed_only:
            data["message_id"] = number
        self.send(
            "receive_message", {**data, **extra}, status="success", message="New message received."
        )

    # --- good answers ---

    def on_ping(self, packet: Packet) -> None:
        self.reply(packet, "pong", message="pong")

    def on_register(self, packet: Packet) -> None:
        self.reply(packet, "register_success", {"chatid": packet["data"]["chatid"]})

    def on_login(self, packet: Packet) -> None:
        data = packet["data"]
        if data.get("password", "secret") != "secret" or data.get("session_key", "key") != "key":
            self.reply(
                packet,
                "login_fail",
                status="error",
                message="Invalid credentials or user already logged in",
            )
            return
        self.me = data["chatid"]
        reply = {"chatid": self.me, "session_key": "key"}
        if not self.server.seed_only:
            reply.update(
                limits={
                    "max_frame": 1048576,
                    "max_content": 16384,
                    "max_file": 10**8,
                    "max_chunk": 262144,
                },
                features=self.server.features,
            )
        if self.server.role:
            reply["role"] = self.server.role
        self.reply(packet, "login_success", reply)

    def on_logout(self, packet: Packet) -> None:
        self.reply(packet, "logout_ack", {"chatid": self.me})

    def on_get_rooms(self, packet: Packet) -> None:
        self.reply(packet, "rooms_list", {"rooms": self.server.rooms_list()})

    def on_get_messages(self, packet: Packet) -> None:
        data = packet["data"]
        found = [
            {
                "message_id": number,
                "sender_chatid": sender,
                "content": content,
                "timestamp": "2024-01-01T12:00:00Z",
            }
            for number, room, sender, content in self.server.history
            if room == data["room_id"] and number > data.get("after_id", 0)
        ]
        limit = min(data.get("limit", 1000), self.server.page)
        page = found[-limit:] if "before_id" in data else found[:limit]
        self.reply(
            packet,
            "messages_list",
            {"room_id": data["room_id"], "messages": page, "has_more": len(found) > limit},
        )

    def on_send_message(self, packet: Packet) -> None:
        data = packet["data"]
        own = data.get("transaction_id") if not self.server.seed_only else None
        key = own or f"S{next(self.server.numbers)}"
        if key in self.server.stored:
            self.reply(
                packet, "ack", {"transaction_id": key, "message_id": self.server.stored[key]}
            )
            return
        counts: dict[str, int] = {}
        for letter in data["content"]:
            counts[letter] = counts.get(letter, 0) + 1
        self.server.open[key] = (data["room_id"], data["content"])
        extra = (
            {"request_id": packet["request_id"]}
            if "request_id" in packet and not self.server.seed_only
            else {}
        )
        self.send(
            "character_count",
            {
                "transaction_id": key,
                "letter_frequencies": counts,
                "original_action": "send_message",
            },
            **extra,
        )

    def on_confirm_count(self, packet: Packet) -> None:
        key = packet["data"]["transaction_id"]
        room, content = self.server.open.pop(key)
        if not packet["data"]["confirm"]:
            self.reply(
                packet,
                "ack",
                {"transaction_id": key},
                status="error",
                message="Not confirmed.",
                code="not_confirmed",
            )
            return
        number = self.server.store(room, self.me, content)
        self.server.stored[key] = number
        extra = (
            {}
            if self.server.seed_only
            else {"message_id": number, "timestamp": "2024-01-01T12:00:00Z"}
        )
        self.reply(packet, "ack", {"transaction_id": key, **extra})

    def on_character_count(self, packet: Packet) -> None:
        self.send(
            "confirm_count", {"transaction_id": packet["data"]["transaction_id"], "confirm": True}
        )

    def on_ack(self, packet: Packet) -> None:
        pass

    def on_typing(self, packet: Packet) -> None:
        pass

    def on_get_room_users(self, packet: Packet) -> None:
        self.reply(
            packet,
            "room_users_list",
            {"room_id": packet["data"]["room_id"], "room_name": "x", "users": ["ada", "bob"]},
        )

    def on_get_users(self, packet: Packet) -> None:
        self.reply(
            packet, "users_list", {"users": ["ada", "bob", "cleo"], "online": ["ada", "cleo"]}
        )

    def on_create_room(self, packet: Packet) -> None:
        self.server.rooms["p-1"] = (packet["data"]["room_name"], "ada")
        self.reply(packet, "room_created", {"room_id": "p-1"})

    def _room_answer(self, packet: Packet, action: str, **extra: Any) -> None:
        if packet["data"]["room_id"] not in self.server.rooms:
            self.refuse(packet, "room_not_found", "no such room for you")
        else:
            self.reply(packet, action, {"room_id": packet["data"]["room_id"], **extra})

    def on_join_room(self, packet: Packet) -> None:
        self._room_answer(packet, "room_joined")

    def on_leave_room(self, packet: Packet) -> None:
        self._room_answer(packet, "room_left")

    def on_add_user_to_room(self, packet: Packet) -> None:
        self._room_answer(packet, "user_added", user_added=packet["data"]["user_to_add"])

    def on_remove_user_from_room(self, packet: Packet) -> None:
        self._room_answer(packet, "user_removed", user_removed=packet["data"]["user_to_remove"])

    def on_rename_room(self, packet: Packet) -> None:
        self._room_answer(packet, "room_renamed", new_room_name=packet["data"]["new_room_name"])

    def on_delete_room(self, packet: Packet) -> None:
        self._room_answer(packet, "room_deleted")

    def on_change_password(self, packet: Packet) -> None:
        self.reply(packet, "password_changed", {"chatid": self.me})

    def on_file_send_init(self, packet: Packet) -> None:
        data = packet["data"]
        upload = self.server.uploads.setdefault(data["file_path"], {})
        numbers = sorted(upload)
        self.reply(
            packet,
            "file_send_init",
            {**_file_keys(data), "received": [[number, number] for number in numbers]},
        )

    def on_file_send_data(self, packet: Packet) -> None:
        data = packet["data"]
        self.server.uploads[data["file_path"]][data["sequence_number"]] = base64.b64decode(
            data["file_data"]
        )
        self.reply(
            packet,
            "file_send_data",
            {**_file_keys(data), "sequence_number": data["sequence_number"]},
        )

    def on_file_send_fin(self, packet: Packet) -> None:
        data = packet["data"]
        upload = self.server.uploads[data["file_path"]]
        whole = b"".join(upload[number] for number in sorted(upload))
        self.server.files[data["file_path"]] = whole
        extra = (
            {}
            if self.server.seed_only
            else {"sha256": hashlib.sha256(whole).hexdigest(), "stored_as": data["file_path"]}
        )
        self.reply(packet, "file_send_fin", {**_file_keys(data), **extra})

    def on_file_cancel(self, packet: Packet) -> None:
        self.reply(packet, "file_cancelled", _file_keys(packet["data"]))

    def on_file_list_req(self, packet: Packet) -> None:
        names = [name for name in self.server.files]
        data: Packet = {"file_list": ", ".join(names)}
        if not self.server.seed_only:
            after = packet["data"].get("after")
            rest = names[names.index(after) + 1 :] if after else names
            data["has_more"] = len(rest) > self.server.page
            data["files"] = [
                {
                    "file_path": name,
                    "file_size": len(self.server.files[name]),
                    "file_type": "text/plain",
                    "sender_chatid": "bob",
                    "timestamp": "2024-01-01T12:00:00Z",
                    "sha256": "",
                }
                for name in rest[: self.server.page]
            ]
        self.reply(packet, "file_list_req", data)

    def on_file_down_req(self, packet: Packet) -> None:
        if packet["data"]["file_path"] not in self.server.files:
            self.refuse(packet, "file_not_found", "no such file")
            return
        self.meta(packet)
        for number, chunk in self.chunks(packet):
            self.chunk(packet, number, chunk)
        self.fin(packet)

    def meta(self, packet: Packet, **other: Any) -> None:
        whole = self.server.files[packet["data"]["file_path"]]
        size = self.server.chunk_bytes
        extra = {} if self.server.seed_only else {"sha256": hashlib.sha256(whole).hexdigest()}
        data = {
            **_down_keys(packet),
            "file_size": len(whole),
            "total_packets": -(-len(whole) // size),
            **extra,
            **other,
        }
        self.reply(packet, "file_down_meta", data)

    def chunks(self, packet: Packet) -> list[tuple[int, bytes]]:
        whole, size = self.server.files[packet["data"]["file_path"]], self.server.chunk_bytes
        pieces = [(at // size + 1, whole[at : at + size]) for at in range(0, len(whole), size)]
        return pieces[packet["data"].get("from_sequence", 1) - 1 :]

    def chunk(self, packet: Packet, number: int, chunk: bytes) -> None:
        data = {
            **_down_keys(packet),
            "sequence_number": number,
            "file_data": base64.b64encode(chunk).decode(),
        }
        self.send("file_down_data", data)

    def fin(self, packet: Packet) -> None:
        self.send(
            "file_down_fin", _down_keys(packet), status="success", message="File download complete."
        )


def _file_keys(data: Packet) -> Packet:
    return {key: data[key] for key in ("chat_id", "room_id", "file_path")}


def _down_keys(packet: Packet) -> Packet:
    return {key: packet["data"][key] for key in ("room_id", "file_path")}


Script = Callable[[Peer], object]


def good(peer: Peer) -> None:
    """The script of a server that does everything right until the client goes."""
    peer.serve()


class FakeServer:
    """Listens on a port of its own. The scripts are used up one for each connection; the last one
    serves all further ones."""

    def __init__(self, *scripts: Script, seed_only: bool = False) -> None:
        self.scripts = scripts or (good,)
        self.seed_only = seed_only
        self.handlers: dict[str, Callable[[Peer, Packet], object]] = {}
        self.heard: list[Packet] = []
        self.rooms: dict[str, tuple[str, str | None]] = {"lobby": ("lobby", None)}
        self.history: list[tuple[int, str, str, str]] = []
        self.stored: dict[str, int] = {}
        self.open: dict[str, tuple[str, str]] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.files: dict[str, bytes] = {}
        self.page = 1000
        self.features = ["events"]
        self.role = ""  # of whoever logs in
        self.chunk_bytes = 1000
        self.numbers = itertools.count(1)
        self.errors: list[BaseException] = []
        self.peers: list[Peer] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []

    def store(self, room: str, sender: str, content: str) -> int:
        number = len(self.history) + 1
        self.history.append((number, room, sender, content))
        return number

    def rooms_list(self) -> list[Packet]:
        result = []
        for room_id, (name, owner) in sorted(self.rooms.items()):
            newest = max(
                (number for number, room, _, _ in self.history if room == room_id), default=0
            )
            result.append(
                {
                    "id": room_id,
                    "name": name,
                    "owner": owner,
                    "private": owner is not None,
                    "members": 2,
                    "unread": 1,
                    "last_message_id": newest,
                }
            )
        return result

    def actions(self) -> list[str]:
        return [packet["action"] for packet in self.heard]

    def wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, (
                f"it did not come; heard {self.actions()}, errors {self.errors}"
            )
            time.sleep(0.005)

    def _accept(self) -> None:
        for number in itertools.count():
            try:
                sock, _ = self._listener.accept()
            except ConnectionError:  # Windows: it was reset before it was taken
                continue
            except OSError:
                return
            script = self.scripts[min(number, len(self.scripts) - 1)]
            thread = threading.Thread(
                target=self._run, args=(script, sock), name=f"fake-{number}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def _run(self, script: Script, sock: socket.socket) -> None:
        peer = Peer(self, sock)
        self.peers.append(peer)
        try:
            script(peer)
        except Hangup:
            pass
        except BaseException as error:  # the test's own thread raises it again
            self.errors.append(error)
        finally:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def __enter__(self) -> FakeServer:
        self._acceptor = threading.Thread(target=self._accept, name="fake-accept", daemon=True)
        self._acceptor.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(SECONDS)  # until then it may accept one more
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SECONDS)
        if self.errors and kind is None:
            raise self.errors[0]
