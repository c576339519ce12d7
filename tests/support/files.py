"""Uploads and downloads of whole files by a raw client."""

from __future__ import annotations

import base64
from typing import Any

from support.raw_client import Packet, RawClient


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


class Upload:
    """One upload, step by step; `first` is the number of its first chunk."""

    def __init__(
        self,
        client: RawClient,
        room_id: str,
        file_path: str,
        data: bytes,
        chunk: int = 1000,
        first: int = 1,
    ) -> None:
        self.client = client
        self.file_path = file_path
        self.size = len(data)
        self.named = {"room_id": room_id, "file_path": file_path}
        self.chunks = [data[at : at + chunk] for at in range(0, len(data), chunk)]
        self.first = first

    @property
    def total(self) -> int:
        return len(self.chunks)

    def init(self, **data: Any) -> Packet:
        fields = {
            "file_size": self.size,
            "file_type": "text/plain",
            "total_packets": self.total,
            **data,
        }
        return self.client.ask("file_send_init", **{**self.named, **fields})

    def chunk_packet(self, number: int, data: bytes | None = None) -> Packet:
        """The packet of a chunk by its number; `data` instead of its bytes where given."""
        chunk = self.chunks[number - self.first] if data is None else data
        fields = {**self.named, "sequence_number": number, "file_data": encoded(chunk)}
        return {
            "action": "file_send_data",
            "data": {**self.client.identity("file_send_data"), **fields},
        }

    def send(self, number: int, data: bytes | None = None) -> Packet:
        return self.client.request(self.chunk_packet(number, data))

    def send_all(self) -> None:
        """Send every chunk without waiting for answers between, then see that all succeeded."""
        numbers = range(self.first, self.first + self.total)
        for start in range(0, self.total, 64):
            batch = numbers[start : start + 64]
            for number in batch:
                self.client.send(self.chunk_packet(number))
            for number in batch:
                reply = self.client.receive_action("file_send_data", "error")
                assert reply["action"] == "file_send_data" and reply["status"] == "success", reply
                assert reply["data"]["sequence_number"] == number, "answers come in order"

    def fin(self, **data: Any) -> Packet:
        return self.client.ask(
            "file_send_fin", **{**self.named, "total_packets": self.total, **data}
        )

    def run(self, **data: Any) -> Packet:
        """The whole upload; returns the data of the answer to fin."""
        begun = self.init(**data)
        assert begun["action"] == "file_send_init" and begun["status"] == "success", begun
        self.send_all()
        finished = self.fin()
        assert finished["action"] == "file_send_fin" and finished["status"] == "success", finished
        result: Packet = finished["data"]
        return result


def download(
    client: RawClient,
    room_id: str,
    file_path: str,
    from_sequence: int | None = None,
    timeout: float = 20,
) -> tuple[bytes, Packet]:
    """Fetch a file; returns its bytes (from `from_sequence` on) and the data of file_down_meta."""
    extra = {} if from_sequence is None else {"from_sequence": from_sequence}
    client.send(
        {
            "action": "file_down_req",
            "data": {
                **client.identity("file_down_req"),
                "room_id": room_id,
                "file_path": file_path,
                **extra,
            },
        }
    )
    return read_download(client, room_id, file_path, from_sequence or 1, timeout)


def read_download(
    client: RawClient, room_id: str, file_path: str, first: int = 1, timeout: float = 20
) -> tuple[bytes, Packet]:
    """The packets of one download that was asked for."""
    meta = client.receive_action("file_down_meta", "error", timeout=timeout)
    assert meta["action"] == "file_down_meta" and meta["status"] == "success", meta
    named = {"room_id": room_id, "file_path": file_path}
    assert meta["data"].items() >= named.items(), meta
    data = bytearray()
    for number in range(first, meta["data"]["total_packets"] + 1):
        chunk = client.receive_action("file_down_data", "file_down_fin", timeout=timeout)
        assert chunk["action"] == "file_down_data", f"{number} is missing: {chunk}"
        assert chunk["data"].items() >= {**named, "sequence_number": number}.items(), chunk[
            "data"
        ].keys()
        data += base64.b64decode(chunk["data"]["file_data"], validate=True)
    fin = client.receive_action("file_down_fin", "file_down_data", timeout=timeout)
    assert fin["action"] == "file_down_fin" and fin["status"] == "success", fin
    assert fin["data"].items() >= named.items()
    return bytes(data), meta["data"]
