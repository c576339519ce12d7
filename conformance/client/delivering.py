"""How what the scripted server sends reaches the client: packet by packet, joined, or in pieces.

Pure functions over a `Peer`. Used by the thread of the case.
"""

from __future__ import annotations

import json

from conformance.client.scripted_server import Peer
from conformance.packets import Packet


def deliver_whole(peer: Peer, packets: list[Packet]) -> None:
    """Send each packet in a piece of its own."""
    for packet in packets:
        peer.send(packet)


def deliver_together(peer: Peer, packets: list[Packet]) -> None:
    """Send all packets of one answer in one piece."""
    peer.send(*packets)


def deliver_in_pieces(peer: Peer, packets: list[Packet]) -> None:
    """Send the length bytes one by one and the JSON in a few pieces, cut within a character too."""
    for packet in packets:
        peer.send_in_pieces(packet, [1, 2, 3, 4, 5, 11, 23, 47, 95, 191])


def deliver_escaped(peer: Peer, packets: list[Packet]) -> None:
    """Send packets as other libraries write JSON: `data` first, blanks and line breaks, and every
    character that is not plain ASCII, and the slash, as an escape."""
    for packet in packets:
        text = json.dumps(dict(reversed(packet.items())), indent=1, separators=(" ,", " : "))
        peer.send_written(packet, text.replace("/", "\\/").replace("\n", "\r\n\t"))
