"""One client that sends a file and fetches it: a process of its own. `python -m benchmarks.transfer
PORT NAME BYTES CHUNK WINDOW up|down`

Only counts what it fetches, and what it sends is cut and encoded beforehand, so that the server is
measured rather than a client. Prints its figures as JSON. Only to 127.0.0.1.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from typing import Any, Final

from benchmarks.scripts import Client, client
from benchmarks.wire_formats import frame

ROOM: Final = "lobby"
FILE: Final = "benchmark.bin"


def upload(one: Client, name: str, size: int, chunk: int, window: int) -> float:
    """Send a file of `size` bytes with at most `window` unanswered chunks; return the seconds until
    it is finished and on disk."""
    total = -(-size // chunk)
    about = {"chat_id": name, "room_id": ROOM, "file_path": FILE}
    bodies = [
        _chunk_frame(about, number, min(chunk, size - (number - 1) * chunk))
        for number in range(1, total + 1)
    ]
    begun = time.perf_counter()
    init = {
        **about,
        "file_size": size,
        "file_type": "application/octet-stream",
        "total_packets": total,
        "chunk_size": chunk,
    }
    one.ask("file_send_init", init, "file_send_init")
    answered = 0
    for number, body in enumerate(bodies):
        while number - answered >= window:
            answered += b'"file_send_data"' in one.next_payload()
        one.socket.sendall(body)
    while answered < total:
        answered += b'"file_send_data"' in one.next_payload()
    one.ask("file_send_fin", {**about, "total_packets": total}, "file_send_fin")
    return time.perf_counter() - begun


def _chunk_frame(about: dict[str, str], number: int, size: int) -> bytes:
    data = base64.b64encode((os.urandom(1024) * (size // 1024 + 1))[:size])
    text = json.dumps(
        {
            "action": "file_send_data",
            "data": {**about, "sequence_number": number, "file_data": "DATA"},
        }
    )
    return frame(text.encode().replace(b'"DATA"', b'"' + data + b'"'))


def download(one: Client, name: str, size: int) -> float:
    """Fetch the file again; return the seconds from the request to the last packet."""
    begun = time.perf_counter()
    one.send("file_down_req", {"chat_id": name, "room_id": ROOM, "file_path": FILE})
    meta = one.expect("file_down_meta")["data"]
    chunks, fetched = 0, 0
    while b'"file_down_fin"' not in (payload := one.next_payload())[:200]:
        if (
            b'"file_down_data"' in payload[:200]
        ):  # the rest is chat, which passes between the chunks
            chunks += 1
            fetched += len(payload)
    if chunks != meta["total_packets"] or meta["file_size"] != size or fetched < size * 4 // 3:
        raise ConnectionError(
            f"expected {meta['total_packets']} chunks of {size} bytes, got {chunks} of {fetched} "
            "bytes of JSON"
        )
    return time.perf_counter() - begun


def main() -> int:
    """Run one transfer, up or down."""
    port, name, size, chunk, window, way = sys.argv[1:]
    with client(int(port), name, register=way == "up") as one:
        seconds = (
            upload(one, name, int(size), int(chunk), int(window))
            if way == "up"
            else download(one, name, int(size))
        )
    figures: dict[str, Any] = {"seconds": seconds, "mb_per_second": int(size) / seconds / 1e6}
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
