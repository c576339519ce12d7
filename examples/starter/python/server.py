"""A chat server to begin with: it knows login and send_message, and nothing else yet. The protocol is in docs/PROTOCOL.md.

    python server.py [PORT]

One thread for each client. Everything that the threads share is guarded by one lock. What is missing is marked with TODO.
"""

import contextlib
import json
import secrets
import socket
import sys
import threading
import time

ACCOUNTS = {"anna": "pw-anna", "ben": "pw-ben", "carla": "pw-carla", "dora": "pw-dora", "emil": "pw-emil", "fay": "pw-fay"}
MAX_FRAME = 1_048_576

lock = threading.Lock()  # guards all of these:
clients = {}             # who is on: name -> Client
rooms = {"lobby": []}    # room_id -> its messages
next_message_id = 1


class Client:
    """One connection."""

    def __init__(self, sock):
        self.sock = sock
        self.name = None         # set by login
        self.transactions = {}   # transaction_id -> (room_id, content), while they wait for confirm_count
        self.sending = threading.Lock()

    def send(self, packet):
        """One packet as one frame: 4 bytes of length, big-endian, then the JSON."""
        payload = json.dumps(packet, ensure_ascii=False).encode("utf-8")
        with self.sending, contextlib.suppress(OSError):  # two threads must not mix their bytes; who is gone misses it
            self.sock.sendall(len(payload).to_bytes(4, "big") + payload)

    def receive(self):
        """The next packet. TCP may hand over half a frame or three: so we read until the frame is whole."""
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

    def error(self, original_action, code, message):
        self.send({"action": "error", "original_action": original_action, "status": "error", "message": message, "code": code})


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
        is_right = ACCOUNTS.get(name) == password and name not in clients
        if is_right:
            clients[name] = client
            client.name = name
    if not is_right:
        return client.send({"action": "login_fail", "status": "error", "message": "Invalid credentials or user already logged in"})
    answer = {"chatid": name, "session_key": secrets.token_urlsafe(24)}  # TODO: login with the key (R-SESS-8)
    client.send({"action": "login_success", "status": "success", "message": "Login successful", "data": answer})


def send_message(client, data):
    """The first handshake: tell the sender which letters arrived, and store nothing yet."""
    transaction_id = "t-" + secrets.token_hex(8)  # TODO: another's name in chatid is forbidden (R-SESS-7)
    client.transactions[transaction_id] = (data["room_id"], data["content"])
    counts = {}
    for character in data["content"]:
        counts[character] = counts.get(character, 0) + 1
    answer = {"transaction_id": transaction_id, "letter_frequencies": counts, "original_action": "send_message"}
    client.send({"action": "character_count", "data": answer})


def confirm_count(client, data):
    """The sender says whether these are the letters that it meant: store the message and hand it on, or drop it."""
    global next_message_id
    answer = {"transaction_id": data["transaction_id"]}
    room_id, content = client.transactions.pop(data["transaction_id"], (None, None))
    if room_id is None:
        return client.error("confirm_count", "transaction_not_found", "no such transaction is open")
    if data["confirm"] is not True:
        message = "You did not confirm the counts: the message was dropped."
        return client.send({"action": "ack", "status": "error", "message": message, "code": "not_confirmed", "data": answer})
    timestamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with lock:  # everybody gets the messages in the order of their numbers, so numbering and sending are one step
        number = {"message_id": next_message_id, "timestamp": timestamp}
        next_message_id += 1
        message = {"room_id": room_id, "sender_chatid": client.name, "content": content, **number}
        rooms.setdefault(room_id, []).append(message)  # TODO: get_messages (R-HIST-1)
        client.send({"action": "ack", "status": "success", "message": "Action processed successfully.", "data": {**answer, **number}})
        message = {"transaction_id": "r-" + secrets.token_hex(8), **message}
        for name, other in clients.items():
            if name != client.name:  # TODO: a client that does not read makes everybody wait here: give each a thread that sends
                other.send({"action": "receive_message", "status": "success", "message": "New message received.", "data": message})
    # TODO: the second handshake: each receiver counts too, and we say whether it is right (R-MSG-16 to R-MSG-18).


HANDLERS = {"login": login, "send_message": send_message, "confirm_count": confirm_count}


def serve(client):
    """One client from its first packet to its last."""
    try:
        while True:
            handle(client, client.receive())
    except (OSError, ValueError):  # the connection is over, or what came is no JSON. TODO: answer bad_json and go on (R-JSON-9)
        pass
    finally:
        with lock:
            clients.pop(client.name, None)
        client.sock.close()


if __name__ == "__main__":
    try:
        listener = socket.create_server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9876))
    except (OSError, ValueError, OverflowError) as error:
        sys.exit(f"cannot listen: {error}")
    print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
    while True:
        threading.Thread(target=serve, args=(Client(listener.accept()[0]),), daemon=True).start()
