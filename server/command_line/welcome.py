"""The first screen: where the chat is, what a student types, where the data lies, how to stop; in
plain words.

Owns that text. Sends nothing over the network and writes nothing: the caller prints what `screen`
returns. This machine's addresses come from `interfaces`.

Called once, by the main thread, when the port is bound.
"""

from __future__ import annotations

import ipaddress
import re
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from server.base.logs import printable
from server.base.settings import Settings
from server.command_line import interfaces
from server.command_line.arguments import typed
from server.command_line.interfaces import Place
from terminals import quoted

CLIENT: Final = "chat_client.py"
MAX_PATH_CHARACTERS: Final = 1_000
MOST_OTHERS: Final = 8
LABEL: Final = 11
"""Columns of "Data:      " and its like, under which the rest of a line goes on."""
_COMMAND: Final = re.compile(r"(?<![\w.])'[^'\n]+'(?!\w)")
"""What stands in quotation marks, as a command in a sentence: not to be broken."""


def screen(
    settings: Settings,
    host: str,
    port: int,
    data_path: str | Path,
    accounts: int,
    encoding: str = "ascii",
    notices: Sequence[str] = (),
    *,
    kept: str = "",
    width: int = 0,
) -> str:
    """Return the screen for a server bound to `host` and `port`; exactly one of its lines holds
    `listening on HOST:PORT`.

    `kept` says what is in the data folder, "" where it is new. Lines are folded at `width` columns,
    commands never; 0 folds none. Characters that `encoding` (that of the stream it goes to) doesn't
    know are escaped. Waits at most 1 s.
    """
    local = _is_loopback(host)
    lines = [f"The chat server is listening on {joined(host, port)}", ""]
    lines += _local_lines(settings, host, port) if local else _class_lines(settings, host, port)
    lines += ["", f"Data:      {printable(data_path, MAX_PATH_CHARACTERS)}"]
    lines += [f"           {kept}"] if kept else []
    lines += _account_lines(settings, accounts)
    lines += [f"Notice:    {notice}" for notice in notices]
    if not local:
        lines += _firewall(port)
    lines += ["Stop:      Ctrl-C in this window", ""]
    text = "\n".join(part for line in lines for part in _folded(line, width))
    return text.encode(encoding, "backslashreplace").decode(encoding)


def kept_words(accounts_since: int | None, messages: int, files: int) -> str:
    """Return what is in a data folder that was there already, "" for a new one; `accounts_since` is
    when its first account was made, in seconds since 1970."""
    if accounts_since is None:
        return ""
    day = time.strftime("%Y-%m-%d", time.localtime(accounts_since))
    return (
        f"kept there since {day}: {messages:,} message{'s' * (messages != 1)}, "
        f"{files:,} file{'s' * (files != 1)}"
    )


def _folded(line: str, width: int) -> list[str]:
    """Return a line in rows of `width` columns; a command, and what stands in quotation marks, is
    never broken."""
    if not width or len(line) <= width or line.startswith("    "):
        return [line]
    whole = _COMMAND.sub(lambda match: match[0].replace(" ", "\0"), line)
    rows = textwrap.wrap(
        whole,
        width,
        subsequent_indent=" " * LABEL if re.match(r"[A-Z]\w+: +", line) else "",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [row.replace("\0", " ") for row in rows]


def places(host: str) -> list[Place]:
    """Return where others reach a server bound to `host`, the likeliest first; empty without a
    network."""
    try:
        bound = ipaddress.ip_address(host)
    except ValueError:
        return [Place(host)]
    if not bound.is_unspecified:
        return [Place(host)]
    return interfaces.places(ipv6=bound.version == 6)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def joined(host: str, port: int) -> str:
    """Return host and port as one text: `[::1]:9876` for an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _class_lines(settings: Settings, host: str, port: int) -> list[str]:
    found = places(host)
    if not found:
        return [_no_address(host), *_client_lines(settings, "127.0.0.1", port)]
    first, others = found[0], found[1 : 1 + MOST_OTHERS]
    where = f" (this machine's address on {first.words})" if first.words and others else ""
    lines = [f"Students type on their machines{where}:"]
    lines += _client_lines(settings, first.address, port)
    if others:
        width = max(len(joined(place.address, port)) for place in others)
        lines.append("Where that one doesn't answer, this machine's other addresses may:")
        lines += [
            f"    {joined(place.address, port):{width}}   {printable(place.words)}".rstrip()
            for place in others
        ]
    return lines


def _no_address(host: str) -> str:
    if host == "0.0.0.0" and interfaces.places(ipv6=True):
        return (
            "This machine has addresses of IPv6 alone, and the server those of IPv4: start it "
            "again with '--host ::'."
        )
    return "This machine has no network address now: connect it, then start again."


def _local_lines(settings: Settings, host: str, port: int) -> list[str]:
    return [
        "Only this machine can connect (--host 0.0.0.0 lets others in). Type here, in "
        "another window:",
        *_client_lines(settings, host, port),
    ]


def _client_lines(settings: Settings, address: str, port: int) -> list[str]:
    where = joined(address, port)
    # Each student needs the certificate's file; where it will lie there, only its name can tell.
    if settings.certfile:
        name = printable(Path(settings.certfile).name, MAX_PATH_CHARACTERS)
        where += f" --tls --cafile {quoted(name)}"
    return [f"    python3 {CLIENT} {where}", f"    py {CLIENT} {where}      (on Windows)"]


def _account_lines(settings: Settings, accounts: int) -> list[str]:
    place = (
        ""
        if settings.data == Settings().data
        else f' --data "{printable(settings.data, MAX_PATH_CHARACTERS)}"'
    )
    adduser = f"           {typed()} adduser NAME{place}"
    roster = f"           {typed()} import ROSTER.csv{place}"
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


def _firewall(port: int) -> list[str]:
    label = "Firewall:  if students can't connect,"
    if sys.platform == "win32":
        return [f"{label} allow Python in Windows' firewall, for private networks"]
    if sys.platform == "darwin":
        return [f"{label} allow Python in System Settings > Network > Firewall"]
    return [f"{label} open TCP port {port} here:", f"           sudo ufw allow {port}/tcp"]
