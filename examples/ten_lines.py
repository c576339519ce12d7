"""A whole chat program in ten lines: says hello in the lobby, and answers every "ping" with "pong".

Run it from the folder above: `python examples/ten_lines.py NAME PASSWORD` (the account must exist). Ctrl-C ends it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from anywhere, with nothing installed

from client.connection import Connection

with Connection("127.0.0.1", 9876) as chat:
    chat.login(sys.argv[1], sys.argv[2])
    chat.send("lobby", "Hello, everybody!")
    for message in chat.messages():
        print(f"{message.room_id} {message.sender}: {message.content!a}")
        if message.content == "ping":
            chat.send(message.room_id, "pong")
