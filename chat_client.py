"""The door of the line client: `python chat_client.py [HOST[:PORT]]`.

Owns the command line, standard streams and the exit status; nobody imports it. Status: 0 ok, 1 something failed, 2 wrong
options, 3 cannot connect, 4 login refused, 130 ended by Ctrl-C.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from pathlib import Path

import protocol
from client.connection import Connection
from client.errors import CannotConnect
from client.prompt import open_screen
from client.terminal import INTERRUPTED, LineClient, Options
from client.text import visible


def address(text: str) -> tuple[str, int]:
    """Split `HOST`, `HOST:PORT`, `[IPv6]:PORT` or a bare IPv6 address into host and port."""
    match = re.fullmatch(r"\[([^\[\]]+)\](?::(.*))?|([^:\[\]]+)(?::([^:]*))?", text)
    if match is None:
        if text.count(":") > 1 and "[" not in text:
            return text, protocol.DEFAULT_PORT
        raise argparse.ArgumentTypeError(f"{text!r} is no address; expected HOST, HOST:PORT or [IPv6]:PORT")
    host, port = match.group(1) or match.group(3), match.group(2) if match.group(1) else match.group(4)
    if port is None:
        return host, protocol.DEFAULT_PORT
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise argparse.ArgumentTypeError(f"the port {port!r} is no number from 1 to 65535")
    return host, int(port)


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    result = argparse.ArgumentParser(
        prog="chat_client.py",
        description="Talk on a chat server. Asks for name and password; then type to talk, and /help for the commands.",
        epilog="Exit status: 0 ok, 1 something failed, 2 wrong options, 3 cannot connect, 4 login refused, 130 ended by Ctrl-C.",
    )
    result.add_argument(
        "server", nargs="?", metavar="HOST[:PORT]", type=address, default=("127.0.0.1", protocol.DEFAULT_PORT),
        help=f"the server's address, IPv6 in brackets; 127.0.0.1:{protocol.DEFAULT_PORT} unless given",
    )  # fmt: skip
    result.add_argument("-u", "--user", metavar="NAME", help="log in with this name, without asking for it")
    result.add_argument(
        "--password-file", metavar="FILE", help="take the password from the first line of FILE, - for standard input; needs -u"
    )
    result.add_argument("--take-over", action="store_true", help="end another session of this user that is still open")
    result.add_argument("--room", metavar="ROOM", default="lobby", help="the room to begin in (%(default)s)")
    result.add_argument(
        "--download-folder", metavar="DIR", type=Path, default=Path("downloads"), help="where /get puts files (./%(default)s)"
    )
    result.add_argument("--tls", action="store_true", help="encrypt the connection, and check the server's certificate")
    result.add_argument(
        "--cafile", metavar="FILE", help="trust the certificate in FILE (PEM), which the teacher hands out, and no other; needs --tls"
    )
    return result


def read_password(name: str) -> str:
    """The first line of a file, or of standard input for `-`."""
    if name == "-":
        return sys.stdin.readline().rstrip("\r\n")
    with open(name, encoding="utf-8") as file:
        return file.readline().rstrip("\r\n")


def prepare_streams() -> None:
    """Characters that a console can't show are written as escapes, and bytes that are no text read as U+FFFD."""
    for stream, errors in ((sys.stdout, "backslashreplace"), (sys.stderr, "backslashreplace"), (sys.stdin, "replace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def main(arguments: list[str] | None = None) -> int:
    """Run the client; returns the exit status."""
    prepare_streams()
    door = parser()
    given = door.parse_args(arguments)
    password = None
    if given.password_file is not None:
        if given.user is None:
            door.error("--password-file needs -u NAME")
        try:
            password = read_password(given.password_file)
        except (OSError, UnicodeDecodeError) as error:
            door.error(f"--password-file {given.password_file}: {error}")
        problem = protocol.password_problem(password)
        if problem is not None:
            door.error(f"--password-file {given.password_file}: {problem}")
    if given.cafile is not None and not given.tls:
        door.error("--cafile needs --tls")
    host, port = given.server
    options = Options(given.user, password, given.room, given.download_folder, given.take_over)
    try:
        chat = Connection(host, port, tls=given.tls, cafile=given.cafile)
    except CannotConnect as error:
        door.error(f"--cafile: {visible(str(error))}")
    try:
        return LineClient(chat, open_screen(), options).run()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
