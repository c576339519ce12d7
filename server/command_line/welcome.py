"""The first screen: where the chat is, what a student types, where the data lies, how to stop; in
plain words.

Owns that text and the look-up of this machine's addresses. Sends nothing over the network and
writes nothing: the caller prints what `screen` returns.

Called once, by the main thread, when the port is bound. The look-up of the machine's own name runs
in a thread, because a name server that is gone would hold up the start.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from server.base.logs import printable
from server.base.settings import Settings
from server.command_line.arguments import PROGRAM

CLIENT: Final = "chat_client.py"
LOOKUP_SECONDS: Final = 1.0
MAX_PATH_CHARACTERS: Final = 1_000
MOST_OTHERS: Final = 4

# Networks that exist in no route but the default one (RFC 5737, RFC 3849): connecting a UDP socket
# to them sends nothing and makes the kernel choose the address with which it would.
_PROBES: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def screen(
    settings: Settings,
    host: str,
    port: int,
    data_path: str | Path,
    accounts: int,
    encoding: str = "ascii",
    notices: Sequence[str] = (),
) -> str:
    """Return the screen for a server bound to `host` and `port`; exactly one of its lines holds
    `listening on HOST:PORT`.

    Characters that `encoding` (that of the stream it goes to) doesn't know are escaped. Waits at
    most 1 s.
    """
    local = _is_loopback(host)
    found = [host] if local else addresses(host)
    lines = [f"The chat server is listening on {_joined(host, port)}", ""]
    lines += _local_lines(settings, host, port) if local else _class_lines(settings, found, port)
    lines += ["", f"Data:      {printable(data_path, MAX_PATH_CHARACTERS)}"]
    lines += _account_lines(settings, accounts)
    lines += [f"Notice:    {notice}" for notice in notices]
    if not local:
        lines += ["Firewall:  " + _firewall(port)]
    lines += ["Stop:      Ctrl-C in this window", ""]
    return "\n".join(lines).encode(encoding, "backslashreplace").decode(encoding)


def addresses(host: str) -> list[str]:
    """Return the addresses under which others reach a server bound to `host`, the likeliest first;
    empty without a network."""
    try:
        bound = ipaddress.ip_address(host)
    except ValueError:
        return [host]
    if not bound.is_unspecified:
        return [host]
    candidates = [address for family, probe in _PROBES for address in _route_address(family, probe)]
    usable: list[str] = []
    for text in [*candidates, *_name_addresses()]:
        address = ipaddress.ip_address(text)
        # A link-local address works only together with the name of the other machine's interface.
        if address.is_loopback or address.is_link_local or address.is_unspecified or text in usable:
            continue
        if address.version == 4 or bound.version == 6:
            usable.append(text)
    return sorted(usable, key=lambda text: ":" in text)  # stable: IPv4 first, else as found


def _route_address(family: socket.AddressFamily, probe: str) -> list[str]:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((probe, 9))
            return [str(sock.getsockname()[0]).partition("%")[0]]
    except OSError:  # no such family, or no route
        return []


def _name_addresses() -> list[str]:
    """Return what this machine's own name resolves to; empty where that takes over
    `LOOKUP_SECONDS`."""
    found: list[str] = []

    def look_up() -> None:
        try:
            rows = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):  # UnicodeError: a host name that IDNA can't say
            return
        found.extend(
            str(row[4][0]).partition("%")[0]
            for row in rows
            if row[0] in (socket.AF_INET, socket.AF_INET6)
        )

    thread = threading.Thread(target=look_up, name="address-lookup", daemon=True)
    thread.start()
    thread.join(LOOKUP_SECONDS)
    return list(found)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _class_lines(settings: Settings, found: list[str], port: int) -> list[str]:
    if not found:
        return [
            "This machine has no network address now: connect it, then start again.",
            *_client_lines(settings, "127.0.0.1", port),
        ]
    lines = ["Students type on their machines:", *_client_lines(settings, found[0], port)]
    if len(found) > 1:
        others = ", ".join(_joined(address, port) for address in found[1 : 1 + MOST_OTHERS])
        lines.append(f"Where that one doesn't answer, try this machine's other addresses: {others}")
    return lines


def _local_lines(settings: Settings, host: str, port: int) -> list[str]:
    return [
        "Only this machine can connect (--host 0.0.0.0 lets others in). Type here, in "
        "another window:",
        *_client_lines(settings, host, port),
    ]


def _client_lines(settings: Settings, address: str, port: int) -> list[str]:
    where = _joined(address, port)
    # Each student needs the certificate's file; where it will lie there, only its name can tell.
    if settings.certfile:
        where += f" --tls --cafile {printable(Path(settings.certfile).name, MAX_PATH_CHARACTERS)}"
    return [f"    python {CLIENT} {where}", f"    py {CLIENT} {where}      (on Windows)"]


def _account_lines(settings: Settings, accounts: int) -> list[str]:
    python = "py" if os.name == "nt" else "python"
    place = (
        ""
        if settings.data == Settings().data
        else f' --data "{printable(settings.data, MAX_PATH_CHARACTERS)}"'
    )
    adduser = f"           {python} {PROGRAM} adduser NAME{place}"
    roster = f"           {python} {PROGRAM} import ROSTER.csv{place}"
    if settings.registration == "open":
        how = ["Everybody may register in the client; you can make accounts, too:", adduser]
    elif settings.registration == "first-login":
        how = [
            "The first login with a new name makes its account; you can make accounts, too:",
            adduser,
        ]
    elif accounts:
        how = ["Only you make accounts, in another window:", adduser, roster]
    else:
        how = ["Nobody can log in before you make accounts, in another window:", adduser, roster]
    return [f"Accounts:  {accounts}. {how[0]}", *how[1:]]


def _firewall(port: int) -> str:
    if sys.platform == "win32":
        return "if students can't connect, allow Python in Windows' firewall, for private networks"
    if sys.platform == "darwin":
        return "if students can't connect, allow Python in System Settings > Network > Firewall"
    return f"if students can't connect, open TCP port {port} here, as: sudo ufw allow {port}/tcp"
