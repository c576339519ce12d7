"""A bot in ten lines: says hello in the lobby, and answers every "ping" with "pong".

Run it from the folder above: `python examples/ten_lines.py NAME PASSWORD_FILE` (the account must
exist; the password is in the file's first line, since other users of a machine can read what is
typed behind a command). Ctrl-C ends it.
"""

import sys
from contextlib import suppress
from pathlib import Path

# So that it runs from anywhere, with nothing installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from client.connection import Connection

if len(sys.argv) != 3:
    sys.exit("usage: python examples/ten_lines.py NAME PASSWORD_FILE")
name, password_file = sys.argv[1:]

with Connection("127.0.0.1", 9876) as chat, suppress(KeyboardInterrupt):
    chat.login(name, Path(password_file).read_text("utf-8-sig").splitlines()[0])
    chat.send("lobby", "Hello, everybody!")
    for message in chat.messages():
        print(f"{message.room_id} {message.sender}: {message.content!a}")
        if message.content == "ping":
            chat.send(message.room_id, "pong")
