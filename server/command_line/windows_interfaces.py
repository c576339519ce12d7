"""The addresses of a Windows machine's interfaces, by `GetAdaptersAddresses` (iphlpapi, Microsoft).

Owns the shapes of that call. Chooses nothing: `interfaces` does. Called by the main thread.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any, Final

SKIPPED: Final = 0x2 | 0x4 | 0x8
"""GAA_FLAG_SKIP_ANYCAST, _MULTICAST and _DNS_SERVER: only the machine's own addresses."""
UP: Final = 1  # IfOperStatusUp
TOO_SMALL: Final = 111  # ERROR_BUFFER_OVERFLOW
BUFFER_BYTES: Final = 16_384  # Microsoft's advice is 15 KB
ATTEMPTS: Final = 3
"""A card may come while the size of the list is asked."""


class Address(ctypes.Structure):
    """The beginning of IP_ADAPTER_UNICAST_ADDRESS_LH."""


class Adapter(ctypes.Structure):
    """The beginning of IP_ADAPTER_ADDRESSES_LH."""


# Pointers are aligned as wide as they are; the first two fields fill eight bytes in both.
Address._fields_ = [
    ("length", ctypes.c_uint32),
    ("flags", ctypes.c_uint32),
    ("next", ctypes.POINTER(Address)),
    ("sockaddr", ctypes.c_void_p),
    ("sockaddr_length", ctypes.c_int),
]
Adapter._fields_ = [
    ("length", ctypes.c_uint32),
    ("index", ctypes.c_uint32),
    ("next", ctypes.POINTER(Adapter)),
    ("adapter_name", ctypes.c_char_p),
    ("first_address", ctypes.POINTER(Address)),
    ("anycast", ctypes.c_void_p),
    ("multicast", ctypes.c_void_p),
    ("dns_server", ctypes.c_void_p),
    ("dns_suffix", ctypes.c_wchar_p),
    ("description", ctypes.c_wchar_p),
    ("friendly_name", ctypes.c_wchar_p),
    ("physical_address", ctypes.c_ubyte * 8),
    ("physical_length", ctypes.c_uint32),
    ("adapter_flags", ctypes.c_uint32),
    ("mtu", ctypes.c_uint32),
    ("kind", ctypes.c_uint32),
    ("status", ctypes.c_int),
]


def addresses(iphlpapi: Any) -> Iterator[tuple[str, int]]:
    """Yield for each address of each interface that is up the interface's name, as "Wi-Fi", and
    where its `struct sockaddr` lies in memory; nothing where the system gives no list."""
    size = ctypes.c_ulong(BUFFER_BYTES)
    for _ in range(ATTEMPTS):
        buffer = ctypes.create_string_buffer(size.value)
        code = iphlpapi.GetAdaptersAddresses(0, SKIPPED, None, buffer, ctypes.byref(size))
        if code != TOO_SMALL:
            break
    if code != 0:
        return
    adapter: Any = ctypes.cast(buffer, ctypes.POINTER(Adapter))
    while adapter:
        entry = adapter.contents.first_address if adapter.contents.status == UP else None
        while entry:
            yield adapter.contents.friendly_name or "", entry.contents.sockaddr
            entry = entry.contents.next
        adapter = adapter.contents.next
