"""A chat server to begin with: it knows login and send_message, and nothing else yet.

    python server.py [PORT]

The protocol is in PROTOCOL.md. A thread for each client, one lock; TODO marks what is missing.
"""

import contextlib
import itertools
import json
import secrets
import socket
import sys
import threading
import time
from collections import Counter

ACCOUNTS = {name: f"pw-{name}" for name in ("anna", "ben", "carla", "dora", "emil", "fay")}
MAX_FRAME = 1_048_576

lock = threading.Lock()  # guards all of these:
clients = {}  # who is on: name -> Client
rooms = {"lobby": []}  # room_id -> its messages
message_ids = itertools.count(1)


class Client:
    """One connection."""

    def __init__(self, sock):
        self.sock = sock
        self.name = None  # set by login
        self.transactions = {}  # transaction_id -> (room_id, content): waits for confirm_count
        self.sending = threading.Lock()  # two threads must not mix their bytes

    def send(self, packet):
        """Send one packet as one frame: 4 bytes of length, big-endian, then the JSON."""
        payload = json.dumps(packet, ensure_ascii=False).encode("utf-8")
        with self.sending, contextlib.suppress(OSError):  # who is gone misses it
            self.sock.sendall(len(payload).to_bytes(4, "big") + payload)

    def reply(self, action, message, status="success", **more):
        self.send({"action": action, "status": status, "message": message, **more})

    def error(self, original_action, code, message):
        self.reply("error", message, "error", original_action=original_action, code=code)

    def receive(self):
        """Return the next packet. TCP may hand over half a frame or three, so read it whole."""
        length = int.from_bytes(self.read(4), "big")
        if not 1 <= length <= MAX_FRAME:
            self.error("unknown", "bad_frame", f"a frame of length {length} can't be read")
            raise ConnectionError("bad frame")
        return json.loads(self.read(length).decode("utf-8"))

    def read(self, length):
        data = b""
        while len(data) < length:
            some = self.sock.recv(min(65_536, length - len(data)))
            if not some:
                raise ConnectionError("the client closed the connection")
            data += some
        return data


def handle(client, packet):
    """Answer one packet."""
    action, data = packet.get("action"), packet.get("data")
    if action not in HANDLERS:
        client.error(str(action)[:64], "unknown_action", f"this server does not know {action}")
    elif client.name is None and action != "login":
        client.error(action, "not_logged_in", f"{action} needs a login first")
    elif not isinstance(data, dict):
        client.error(action, "bad_packet", "data: expected an object")
    else:
        try:
            HANDLERS[action](client, data)
        except KeyError as missing:  # TODO: a key of the wrong type is bad_packet too (R-JSON-11)
            client.error(action, "bad_packet", f"data.{missing.args[0]} is missing")


def login(client, data):
    name, password = data["chatid"], data["password"]
    if client.name is not None:
        return client.error("login", "forbidden", "this connection is logged in already")
    with lock:
        if ACCOUNTS.get(name) != password or name in clients:
            why = "Invalid credentials or user already logged in"
            return client.reply("login_fail", why, "error")
        clients[name], client.name = client, name
    key = secrets.token_urlsafe(24)  # TODO: a login with the key (R-SESS-8)
    client.reply("login_success", "Login successful", data={"chatid": name, "session_key": key})


def send_message(client, data):
    """Begin the first handshake: tell the sender which letters arrived; store nothing yet."""
    key = "t-" + secrets.token_hex(8)  # TODO: another's name in chatid is forbidden (R-SESS-7)
    client.transactions[key] = (data["room_id"], data["content"])
    counts = Counter(data["content"])
    told = {"transaction_id": key, "letter_frequencies": counts, "original_action": "send_message"}
    client.send({"action": "character_count", "data": told})


def confirm_count(client, data):
    """End it: the sender says whether the letters are right. Store and hand on, or drop."""
    key, confirm = data["transaction_id"], data["confirm"]
    room_id, content = client.transactions.pop(key, (None, None))
    if room_id is None:
        return client.error("confirm_count", "transaction_not_found", "no such transaction is open")
    if confirm is not True:
        why = "You did not confirm the counts: the message was dropped."
        return client.reply("ack", why, "error", code="not_confirmed", data={"transaction_id": key})
    timestamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with lock:  # numbering and sending are one step, so everybody gets them in the same order
        stamp = {"message_id": next(message_ids), "timestamp": timestamp}
        message = {"room_id": room_id, "sender_chatid": client.name, "content": content, **stamp}
        rooms.setdefault(room_id, []).append(message)  # TODO: get_messages (R-HIST-1)
        client.reply("ack", "Action processed successfully.", data={"transaction_id": key, **stamp})
        message = {"transaction_id": "r-" + secrets.token_hex(8), **message}
        for other in clients.values():
            if other is not client:  # TODO: who does not read makes all wait: a thread for each
                other.reply("receive_message", "New message received.", data=message)
    # TODO: the second handshake: each receiver counts too (R-MSG-16 to R-MSG-18)


HANDLERS = {"login": login, "send_message": send_message, "confirm_count": confirm_count}


def serve(client):
    """Serve one client from its first packet to its last."""
    try:
        with client.sock, contextlib.suppress(OSError, ValueError):  # the end, or no JSON
            while True:  # TODO: answer bad_json, and go on (R-JSON-9)
                handle(client, client.receive())
    finally:
        with lock:
            clients.pop(client.name, None)


if __name__ == "__main__":
    try:
        listener = socket.create_server(("127.0.0.1", int((sys.argv[1:] or ["9876"])[0])))
    except (OSError, ValueError, OverflowError) as error:
        sys.exit(f"cannot listen: {error}")
    print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
    listener.settimeout(1.0)  # Windows hears Ctrl-C between two waits only
    while True:
        with contextlib.suppress(TimeoutError, ConnectionError):  # Windows: reset before it's taken
            sock = listener.accept()[0]
            threading.Thread(target=serve, args=(Client(sock),), daemon=True).start()
