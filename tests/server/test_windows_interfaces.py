"""Windows' list of network interfaces, read from a list of the test's own."""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Callable
from typing import Any

import pytest

from server.command_line import interfaces
from server.command_line import windows_interfaces as windows
from server.command_line.windows_interfaces import Adapter, Address


def sockaddr(text: str) -> Any:
    """A `struct sockaddr_in` or `sockaddr_in6`."""
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    gap = b"\0" * (6 if family == socket.AF_INET6 else 2)
    head = int(family).to_bytes(2, "little")
    return ctypes.create_string_buffer(head + gap + socket.inet_pton(family, text))


class Library:
    """An iphlpapi whose list is too long at first `grows` times."""

    def __init__(self, *cards: tuple[str, int, list[str]], grows: int = 0, fails: int = 0) -> None:
        self.grows, self.fails = grows, fails
        self.kept: list[Any] = []
        following: Any = None
        for name, status, texts in reversed(cards):
            card = Adapter(friendly_name=name, status=status)
            if following is not None:
                card.next = ctypes.pointer(following)
            before: Any = None
            for text in reversed(texts):
                memory = sockaddr(text)
                entry = Address(sockaddr=ctypes.addressof(memory))
                if before is not None:
                    entry.next = ctypes.pointer(before)
                before = entry
                self.kept += [memory, entry]
            if before is not None:
                card.first_address = ctypes.pointer(before)
            self.kept.append(card)
            following = card
        self.first = following

    def GetAdaptersAddresses(
        self, family: int, flags: int, nothing: None, buffer: Any, size: Any
    ) -> int:
        assert (family, flags, nothing) == (0, 0xE, None)
        if self.fails:
            return self.fails
        if self.grows:
            self.grows -= 1
            size._obj.value *= 2
            return windows.TOO_SMALL
        assert len(buffer) == size._obj.value
        ctypes.memmove(buffer, ctypes.byref(self.first), ctypes.sizeof(Adapter))
        return 0


CARDS = (
    ("Wi-Fi", windows.UP, ["192.168.1.20", "fe80::1"]),
    ("Ethernet", 2, ["10.0.0.9"]),
    ("vEthernet (WSL)", windows.UP, ["172.20.0.1"]),
    ("Bluetooth", windows.UP, []),
)


@pytest.mark.parametrize("grows", [0, 1, 2])
def test_addresses_come_with_the_name_of_their_interface(grows: int) -> None:
    library = Library(*CARDS, grows=grows)
    found = [
        (name, interfaces._address_at(pointer)) for name, pointer in windows.addresses(library)
    ]
    assert found == [
        ("Wi-Fi", "192.168.1.20"),
        ("Wi-Fi", "fe80::1"),
        ("vEthernet (WSL)", "172.20.0.1"),
    ]


@pytest.mark.parametrize(
    "library",
    [lambda: Library(*CARDS, grows=9), lambda: Library(fails=232)],
    ids=["it always grows", "ERROR_NO_DATA"],
)
def test_where_the_system_gives_no_list_there_is_none(library: Callable[[], Library]) -> None:
    assert list(windows.addresses(library())) == []


def test_the_shapes_are_those_of_windows_on_64_bits() -> None:
    """IP_ADAPTER_ADDRESSES_LH: FriendlyName at 72, OperStatus at 104; the address' sockaddr at
    16."""
    if ctypes.sizeof(ctypes.c_void_p) == 8:
        assert (Adapter.friendly_name.offset, Adapter.status.offset) == (72, 104)
        assert Address.sockaddr.offset == 16
