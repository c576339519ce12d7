"""The addresses of this machine, with the interface that has each, the likeliest first.

Owns the look-up and the order. Sends nothing over the network. Where the system doesn't tell,
there are addresses by the machine's own name, without interfaces.

Called by the main thread. The look-up by name runs in a thread, because a name server that is gone
would hold up the start.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import ipaddress
import re
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from server.command_line import windows_interfaces

LOOKUP_SECONDS: Final = 1.0

# Networks that exist in no route but the default one (RFC 5737, RFC 3849): connecting a UDP socket
# to them sends nothing and makes the kernel choose the address with which it would.
_PROBES: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_VPN: Final = re.compile(
    r"(?:tun|tap|utun|wg|ppp|ipsec|gif|zt|tailscale|nordlynx|openvpn|wireguard)", re.IGNORECASE
)
_INSIDE: Final = re.compile(
    r"(?:docker|podman|br-|bridge|veth|virbr|vmnet|vboxnet|lxc|lxd|cni|flannel|vethernet|vmware|virtualbox)",
    re.IGNORECASE,
)
"""Interfaces of containers and virtual machines on this machine."""
_SHARED: Final = ipaddress.ip_network("100.64.0.0/10")
"""Of providers and some VPNs (RFC 6598)."""
_UP_AND_RUNNING: Final = 0x1 | 0x40
"""IFF_UP and IFF_RUNNING, of the same value on Linux, macOS and the BSDs."""


@dataclass(frozen=True)
class Place:
    """An address that a student could type, and the interface that has it, "" where that is not
    known."""

    address: str
    interface: str = ""

    @property
    def words(self) -> str:
        """What stands beside the address: its interface, and what that is."""
        if not self.interface:
            return ""
        if _VPN.match(self.interface):
            return f"{self.interface}, a VPN"
        if _INSIDE.match(self.interface):
            return f"{self.interface}, inside this machine"
        if _of(self.address).is_link_local:
            return f"{self.interface}, a cable without a router"
        return self.interface


def _of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(text)


def places(*, ipv6: bool) -> list[Place]:
    """Return where others may reach this machine, the likeliest first: what leads to a classroom's
    network before VPNs and bridges of containers; IPv6 only with `ipv6`."""
    on_interfaces = list(_of_interfaces())
    by_address = {place.address: place for place in on_interfaces}
    routed = [text for family, probe in _PROBES for text in _route_address(family, probe)]
    found = dict.fromkeys([*routed, *by_address, *_name_addresses()])
    usable = [
        by_address.get(text, Place(text))
        for text in found
        if _is_usable(text, ipv6=ipv6, interface_is_known=text in by_address)
    ]
    return sorted(usable, key=_rank)  # stable: within a rank the default route's comes first


def _is_usable(text: str, *, ipv6: bool, interface_is_known: bool) -> bool:
    address = _of(text)
    if address.is_loopback or address.is_unspecified or (address.version == 6 and not ipv6):
        return False
    # One of IPv6 works only together with the name of the other machine's interface; one of IPv4
    # by name alone may be that of a card to which nothing is plugged in.
    return not address.is_link_local or (address.version == 4 and interface_is_known)


def _rank(place: Place) -> int:
    address = _of(place.address)
    if _INSIDE.match(place.interface):
        return 4
    if _VPN.match(place.interface) or (address.version == 4 and address in _SHARED):
        return 3
    if address.is_link_local:
        return 2
    return 1 if address.version == 6 else 0


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


# --- Interfaces: getifaddrs(3) --------------------------------------------------------------------


class _InterfaceAddress(ctypes.Structure):
    """`struct ifaddrs`, whose first fields are the same on Linux, macOS and the BSDs."""


_InterfaceAddress._fields_ = [
    ("next", ctypes.POINTER(_InterfaceAddress)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
]


def _of_interfaces() -> Iterator[Place]:
    """Yield the addresses of each interface that is up; none where the system has no list."""
    if sys.platform == "win32":
        for name, pointer in windows_interfaces.addresses(ctypes.windll.iphlpapi):
            text = _address_at(pointer)
            if text is not None:
                yield Place(text, name)
        return
    try:
        library = ctypes.CDLL(None)
        get, free = library.getifaddrs, library.freeifaddrs
    except (AttributeError, OSError):
        return
    first = ctypes.POINTER(_InterfaceAddress)()
    if get(ctypes.byref(first)) != 0:
        return
    try:
        entry: Any = first
        while entry:
            text = _address_at(entry.contents.address)
            if text is not None and entry.contents.flags & _UP_AND_RUNNING == _UP_AND_RUNNING:
                yield Place(text, entry.contents.name.decode(errors="replace"))
            entry = entry.contents.next
    finally:
        free(first)


def _address_at(pointer: int | None) -> str | None:
    """Return the address of a `struct sockaddr` as text; None where it is none of IP. (The family
    is two bytes on Linux and Windows, and the second byte elsewhere.)"""
    if not pointer:
        return None
    head = ctypes.string_at(pointer, 2)
    is_wide = sys.platform in ("linux", "win32")
    family = int.from_bytes(head, sys.byteorder) if is_wide else head[1]
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, ctypes.string_at(pointer + 4, 4))
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, ctypes.string_at(pointer + 8, 16))
    return None
