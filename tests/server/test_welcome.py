"""The first screen: what it must say, and that no network and no encoding keeps it from being
shown."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from typing import Any

import pytest

from server.base.settings import Settings
from server.command_line import welcome


@pytest.fixture
def two_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two IPv4 networks and one of IPv6, whose name also resolves to what nobody
    else can reach."""
    routes = {socket.AF_INET: ["192.168.1.7"], socket.AF_INET6: ["2001:db8::7"]}
    monkeypatch.setattr(welcome, "_route_address", lambda family, probe: routes[family])
    names = [
        "127.0.1.1",
        "fe80::1",
        "192.168.1.7",
        "10.0.0.3",
        "169.254.9.9",
        "0.0.0.0",
        "2001:db8::7",
    ]
    monkeypatch.setattr(welcome, "_name_addresses", lambda: names)


def shown(host: str = "0.0.0.0", port: int = 9876, accounts: int = 0, **options: Any) -> str:
    return welcome.screen(Settings(**options), host, port, "/srv/chat-data", accounts)


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "192.168.1.7", "pc7", "localhost"])
def test_exactly_one_line_holds_listening_on_with_the_real_port(
    two_networks: None, host: str
) -> None:
    lines = [line for line in shown(host, 41234).splitlines() if "listening on" in line]
    assert len(lines) == 1
    assert f"listening on {host}:41234" in lines[0]


def test_the_line_that_a_student_types_has_the_likeliest_address(two_networks: None) -> None:
    lines = shown().splitlines()
    assert "    python chat_client.py 192.168.1.7:9876" in lines
    assert any(line.startswith("    py chat_client.py 192.168.1.7:9876") for line in lines)
    assert "other addresses: 10.0.0.3:9876" in shown()
    assert "127.0" not in shown()


def test_ipv6_addresses_are_shown_where_they_are_listened_on_after_those_of_ipv4(
    two_networks: None,
) -> None:
    assert welcome.addresses("0.0.0.0") == ["192.168.1.7", "10.0.0.3"]
    assert welcome.addresses("::") == ["192.168.1.7", "10.0.0.3", "2001:db8::7"]
    assert "listening on [::]:9876" in shown("::")
    assert "[2001:db8::7]:9876" in shown("::")


def test_a_server_bound_to_one_address_or_name_shows_that_alone(two_networks: None) -> None:
    assert welcome.addresses("10.0.0.3") == ["10.0.0.3"]
    assert welcome.addresses("pc7.school") == ["pc7.school"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_bound_to_loopback_it_says_that_only_this_machine_can_connect(
    two_networks: None, host: str
) -> None:
    text = shown(host)
    assert "Only this machine can connect" in text
    assert "192.168" not in text
    assert "Firewall" not in text


def test_without_a_network_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(welcome, "_route_address", lambda family, probe: [])
    monkeypatch.setattr(welcome, "_name_addresses", lambda: ["127.0.0.1"])
    assert "no network address now" in shown()
    assert "python chat_client.py 127.0.0.1:9876" in shown()


def test_it_says_where_the_data_lies_and_how_to_stop(two_networks: None) -> None:
    assert "Data:      /srv/chat-data\n" in shown()
    assert "Stop:      Ctrl-C" in shown()


@pytest.mark.parametrize(
    ("registration", "accounts", "words"),
    [
        ("open", 3, "Accounts:  3. Everybody may register"),
        ("first-login", 0, "Accounts:  0. The first login with a new name"),
        ("closed", 3, "Accounts:  3. Only you make accounts"),
        ("closed", 0, "Accounts:  0. Nobody can log in before you make accounts"),
    ],
)
def test_it_says_how_accounts_are_made(
    two_networks: None, registration: str, accounts: int, words: str
) -> None:
    text = shown(accounts=accounts, registration=registration)
    assert words in text
    assert "chat_server.py adduser NAME\n" in text
    assert ("import ROSTER.csv" in text) is (registration == "closed")


def test_the_commands_name_the_data_folder_where_it_is_not_the_usual_one(
    two_networks: None,
) -> None:
    assert 'chat_server.py adduser NAME --data "my data"\n' in shown(data="my data")


@pytest.mark.parametrize(
    ("platform", "words"),
    [
        ("win32", "allow Python in Windows"),
        ("darwin", "System Settings"),
        ("linux", "sudo ufw allow 9876/tcp"),
    ],
)
def test_the_firewall_hint_fits_the_system(
    two_networks: None, monkeypatch: pytest.MonkeyPatch, platform: str, words: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert words in shown()


def test_on_windows_the_commands_begin_with_py(
    two_networks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "name", "nt")
    text = shown()
    monkeypatch.undo()
    assert "  py chat_server.py adduser NAME" in text


def test_the_screen_is_ascii_unless_its_stream_knows_more(two_networks: None) -> None:
    for path in ("/home/Jos\u00e9/\u65e5\u672c", "/tmp/\udcff", "/tmp/\x1b[2J"):
        text = welcome.screen(Settings(), "0.0.0.0", 1, path, 0)
        assert text.isascii()
        assert "\x1b" not in text
        assert text.encode("cp1252")
    assert "/home/Jos\u00e9\n" in welcome.screen(
        Settings(), "0.0.0.0", 1, "/home/Jos\u00e9", 0, encoding="cp1252"
    )


def test_the_real_look_up_finds_only_addresses_that_others_can_use() -> None:
    for address in welcome.addresses("0.0.0.0"):
        assert socket.inet_aton(address)
        assert not address.startswith("127.")


def test_a_family_or_route_that_is_missing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(socket, "socket", refuse)
    assert welcome._route_address(socket.AF_INET6, "2001:db8::1") == []


def test_a_name_that_does_not_resolve_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert welcome._name_addresses() == []


def test_a_dead_name_server_does_not_hold_up_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def wait(*_: object, **__: object) -> list[Any]:
        go.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    monkeypatch.setattr(welcome, "LOOKUP_SECONDS", 0.05)
    began = time.monotonic()
    assert welcome._name_addresses() == []
    assert time.monotonic() - began < 2
    go.set()
