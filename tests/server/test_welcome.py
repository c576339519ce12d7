"""The first screen: what it must say, and that no network and no encoding keeps it from being
shown."""

from __future__ import annotations

import socket
import sys
import threading
import time
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from support.patience import patience

from server.base.settings import Settings
from server.command_line import interfaces, welcome
from server.command_line.interfaces import Place


@pytest.fixture
def two_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two IPv4 networks and one of IPv6, whose name also resolves to what nobody
    else can reach."""
    routes = {socket.AF_INET: ["192.168.1.7"], socket.AF_INET6: ["2001:db8::7"]}
    monkeypatch.setattr(interfaces, "_route_address", lambda family, probe: routes[family])
    monkeypatch.setattr(interfaces, "_of_interfaces", list)
    names = [
        "127.0.1.1",
        "fe80::1",
        "192.168.1.7",
        "10.0.0.3",
        "169.254.9.9",
        "0.0.0.0",
        "2001:db8::7",
    ]
    monkeypatch.setattr(interfaces, "_name_addresses", lambda: names)


def addresses(host: str) -> list[str]:
    return [place.address for place in welcome.places(host)]


def no_network(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    """A machine without interfaces and routes, whose name resolves to `names`."""
    monkeypatch.setattr(interfaces, "_route_address", lambda family, probe: [])
    monkeypatch.setattr(interfaces, "_of_interfaces", list)
    monkeypatch.setattr(interfaces, "_name_addresses", lambda: names)


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
    assert "    python3 chat_client.py 192.168.1.7:9876" in lines
    assert any(line.startswith("    py chat_client.py 192.168.1.7:9876") for line in lines)
    assert "other addresses may:\n    10.0.0.3:9876\n" in shown()
    assert "127.0" not in shown()


def test_ipv6_addresses_are_shown_where_they_are_listened_on_after_those_of_ipv4(
    two_networks: None,
) -> None:
    assert addresses("0.0.0.0") == ["192.168.1.7", "10.0.0.3"]
    assert addresses("::") == ["192.168.1.7", "10.0.0.3", "2001:db8::7"]
    assert "listening on [::]:9876" in shown("::")
    assert "[2001:db8::7]:9876" in shown("::")


def test_a_server_bound_to_one_address_or_name_shows_that_alone(two_networks: None) -> None:
    assert addresses("10.0.0.3") == ["10.0.0.3"]
    assert addresses("pc7.school") == ["pc7.school"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_bound_to_loopback_it_says_that_only_this_machine_can_connect(
    two_networks: None, host: str
) -> None:
    text = shown(host)
    assert "Only this machine can connect" in text
    assert "192.168" not in text
    assert "Firewall" not in text


def test_without_a_network_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch, ["127.0.0.1"])
    assert "no network address now" in shown()
    assert "python3 chat_client.py 127.0.0.1:9876" in shown()


def test_a_machine_with_ipv6_alone_is_told_how_to_serve_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_network(monkeypatch, ["fd12:3456::7"])
    assert "again with '--host ::'" in shown()
    assert "python3 chat_client.py [fd12:3456::7]:9876\n" in shown("::")


def test_what_leads_to_a_classroom_stands_before_vpns_and_bridges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_network(monkeypatch, [])
    monkeypatch.setattr(
        interfaces,
        "_of_interfaces",
        lambda: [
            Place("127.0.0.1", "lo"),
            Place("172.17.0.1", "docker0"),
            Place("10.8.0.6", "tun7"),
            Place("100.100.1.2", "eno9"),
            Place("169.254.12.7", "eth1"),
            Place("fe80::1", "wlan7"),
            Place("fd12::7", "wlan7"),
            Place("10.20.3.4", "wlan7"),
            Place("192.168.50.1", "eth7"),
        ],
    )
    routes = {socket.AF_INET: ["10.8.0.6"], socket.AF_INET6: []}
    monkeypatch.setattr(interfaces, "_route_address", lambda family, probe: routes[family])
    assert [(place.address, place.words) for place in welcome.places("::")] == [
        ("10.20.3.4", "wlan7"),
        ("192.168.50.1", "eth7"),
        ("fd12::7", "wlan7"),
        ("169.254.12.7", "eth1, a cable without a router"),
        ("10.8.0.6", "tun7, a VPN"),
        ("100.100.1.2", "eno9"),
        ("172.17.0.1", "docker0, inside this machine"),
    ]
    text = shown()
    assert "Students type on their machines (this machine's address on wlan7):\n" in text
    assert "\n    192.168.50.1:9876   eth7\n    169.254.12.7:9876   eth1, a cable" in text
    routes[socket.AF_INET] = ["192.168.50.1"]
    assert addresses("0.0.0.0")[0] == "192.168.50.1", "of two likely ones that of the route"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows calls them otherwise")
def test_the_real_interfaces_have_names() -> None:
    found = list(interfaces._of_interfaces())
    assert "127.0.0.1" in [place.address for place in found]
    assert all(place.interface in dict(map(reversed, socket.if_nameindex())) for place in found)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no getifaddrs")
def test_a_system_that_tells_no_interfaces_is_looked_up_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interfaces.ctypes, "CDLL", lambda name: object())
    assert list(interfaces._of_interfaces()) == []
    library = SimpleNamespace(getifaddrs=lambda first: -1, freeifaddrs=None)
    monkeypatch.setattr(interfaces.ctypes, "CDLL", lambda name: library)
    assert list(interfaces._of_interfaces()) == []


@pytest.mark.parametrize("width", [40, 80])
def test_lines_are_folded_and_no_command_is_broken(two_networks: None, width: int) -> None:
    notice = "the database lacks messages: 'chat_server.py recover-messages --data x' puts them"
    whole = welcome.screen(Settings(), "0.0.0.0", 9876, "/d", 0, notices=[notice])
    folded = welcome.screen(Settings(), "0.0.0.0", 9876, "/d", 0, notices=[notice], width=width)
    assert " ".join(folded.split()) == " ".join(whole.split())
    commands = [line for line in whole.splitlines() if line.startswith("    ")]
    assert all(line in folded.splitlines() for line in commands)
    assert "'chat_server.py recover-messages --data x'" in folded
    assert all(len(line) <= width or "chat_" in line for line in folded.splitlines()), folded


def test_a_certificate_with_a_blank_in_its_name_can_be_typed_as_it_is_shown(
    two_networks: None,
) -> None:
    lines = shown(certfile="/etc/our class.pem").splitlines()
    command = "python3 chat_client.py 192.168.1.7:9876 --tls --cafile"
    assert f'    {command} "our class.pem"' in lines
    assert f"    {command} class-1.pem" in shown(certfile="class-1.pem").splitlines()


def test_it_says_what_a_folder_that_was_there_holds(two_networks: None) -> None:
    noon = int(datetime(2026, 9, 1, 12).timestamp())
    kept = welcome.kept_words(noon, 1204, 1)
    assert kept == "kept there since 2026-09-01: 1,204 messages, 1 file"
    text = welcome.screen(Settings(), "0.0.0.0", 9876, "/d", 0, kept=kept)
    assert f"Data:      /d\n           {kept}\n" in text
    assert welcome.kept_words(None, 0, 0) == ""


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
    monkeypatch.setattr(sys, "platform", "win32")
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
    for address in addresses("0.0.0.0"):
        assert socket.inet_aton(address)
        assert not address.startswith("127.")


def test_a_family_or_route_that_is_missing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(socket, "socket", refuse)
    assert interfaces._route_address(socket.AF_INET6, "2001:db8::1") == []


def test_a_name_that_does_not_resolve_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert interfaces._name_addresses() == []


def test_a_dead_name_server_does_not_hold_up_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def wait(*_: object, **__: object) -> list[Any]:
        go.wait(patience(20))
        return []

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    monkeypatch.setattr(interfaces, "LOOKUP_SECONDS", 0.05)
    began = time.monotonic()
    assert interfaces._name_addresses() == []
    assert time.monotonic() - began < patience(5)
    go.set()
