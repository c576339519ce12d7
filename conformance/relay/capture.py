"""A recording as a capture (pcap) that Wireshark and tshark open, with made-up TCP headers.

Pure: from items to bytes. Each connection is a TCP connection of made-up addresses with its
handshake and its end, each piece that passed a segment (or several) with its time. What a fault
changed, dropped or doubled is shown as it left the relay. docs/wireshark/ has the dissector.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from conformance.relay.traffic import Closed, Instead, Item, Opened, Passed

MAGIC_MICROSECONDS: Final = 0xA1B2C3D4
LINKTYPE_RAW: Final = 101
"""Packets begin with their IP header (https://www.tcpdump.org/linktypes.html)."""
SNAP_BYTES: Final = 262_144
SEGMENT_BYTES: Final = 60_000
SERVER_PORT: Final = 9876
"""The port that the dissector is registered for."""
SERVER_ADDRESS: Final = bytes((10, 0, 0, 1))
FIN, SYN, PSH, ACK = 1, 2, 8, 16


@dataclass
class _Flow:
    """One made-up connection: the next sequence numbers of both sides."""

    address: bytes
    port: int
    to_server: int = 1
    to_client: int = 1


def to_pcap(items: Sequence[Item], began: float) -> bytes:
    """Return the capture. `began` is when the recording began, in seconds since 1970."""
    parts = [struct.pack("<IHHiIII", MAGIC_MICROSECONDS, 2, 4, 0, 0, SNAP_BYTES, LINKTYPE_RAW)]
    flows: dict[int, _Flow] = {}
    instead = {each.row: each.sent for each in items if isinstance(each, Instead)}
    for item in items:
        if not isinstance(item, (Opened, Passed, Closed)):
            continue
        for packet in _packets(item, flows, instead):
            microseconds = max(0, int((began + item.at) * 1_000_000))
            parts.append(
                struct.pack("<IIII", *divmod(microseconds, 1_000_000), len(packet), len(packet))
            )
            parts.append(packet)
    return b"".join(parts)


def _packets(
    item: Opened | Passed | Closed, flows: dict[int, _Flow], instead: dict[int, tuple[bytes, ...]]
) -> Iterator[bytes]:
    flow = flows.get(item.connection)
    if flow is None:
        number = item.connection
        address = bytes((10, 0, 1 + (number >> 8) % 250, 1 + number % 250))
        flow = flows[item.connection] = _Flow(address, 40_000 + number % 20_000)
        yield from _handshake(flow)
    if isinstance(item, Closed):
        yield _segment(flow, True, FIN | ACK)
        flow.to_server += 1
        yield _segment(flow, False, FIN | ACK)
        flow.to_client += 1
        yield _segment(flow, True, ACK)
    elif isinstance(item, Passed):
        sent = instead.get(item.row, item.sent)
        for data in (item.piece.data,) if sent is None else sent:
            for start in range(0, len(data), SEGMENT_BYTES):
                yield _segment(flow, item.to_server, PSH | ACK, data[start : start + SEGMENT_BYTES])


def _handshake(flow: _Flow) -> Iterator[bytes]:
    flow.to_server = flow.to_client = 0
    yield _segment(flow, True, SYN)
    flow.to_server = 1
    yield _segment(flow, False, SYN | ACK)
    flow.to_client = 1
    yield _segment(flow, True, ACK)


def _segment(flow: _Flow, to_server: bool, flags: int, data: bytes = b"") -> bytes:
    """Return an IPv4 packet with one TCP segment, and count its bytes."""
    ends = [
        (flow.address, flow.port, flow.to_server),
        (SERVER_ADDRESS, SERVER_PORT, flow.to_client),
    ]
    (source, source_port, number), (sink, sink_port, seen) = ends if to_server else ends[::-1]
    header = struct.pack(
        ">HHIIBBHHH",
        source_port,
        sink_port,
        number & 0xFFFFFFFF,
        seen & 0xFFFFFFFF if flags & ACK else 0,
        5 << 4,
        flags,
        65_535,
        0,
        0,
    )
    pseudo = source + sink + struct.pack(">BBH", 0, 6, len(header) + len(data))
    checksum = struct.pack(">H", _checksum(pseudo + header + data))
    if to_server:
        flow.to_server += len(data)
    else:
        flow.to_client += len(data)
    ip = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(header) + len(data), 0, 0x4000, 64, 6, 0, source, sink
    )
    ip = ip[:10] + struct.pack(">H", _checksum(ip)) + ip[12:]
    return ip + header[:16] + checksum + header[18:] + data


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
