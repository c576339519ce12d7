"""Clients with a fault."""

from __future__ import annotations

import json
import os
import threading

from support.planted_faults.plant import plant
from support.reference_client import Download, PlainClient
from support.reference_client import Upload as ClientUpload
from support.reference_server.words import Packet


@plant("R-FRAME-1")
class LittleEndianClient(PlainClient):
    """The length is written with the smallest byte first."""

    def header(self, length: int) -> bytes:
        return length.to_bytes(4, "little")


@plant("R-FRAME-2")
class SplitFrameBlocks(PlainClient):
    """One recv has to bring the whole payload."""

    def read(self, length: int) -> bytes:
        data = self.sock.recv(length)
        if not data:
            raise EOFError
        return data


@plant("R-FRAME-2", whole=False)
class JoinedFramesAreLost(PlainClient):
    """What comes behind the second frame of one piece is thrown away."""

    second: bytes = b""

    def receive(self) -> Packet:
        data, self.second = self.second, b""
        while len(data) < 4 or len(data) < self.end_of(data):
            some = self.sock.recv(1_048_576)
            if not some:
                raise EOFError
            data += some
        rest = data[self.end_of(data) :]
        if len(rest) >= 4:
            self.second = rest[: self.end_of(rest)]
        packet: Packet = json.loads(data[4 : self.end_of(data)])
        return packet

    def end_of(self, data: bytes) -> int:
        return 4 + int.from_bytes(data[:4], "big")


@plant("R-MSG-3")
class ConfirmsAnything(PlainClient):
    """`confirm` is true whatever the server counted."""

    def is_meant(self, transaction_id: str, data: Packet) -> bool:
        return True


@plant("R-MSG-3")
class ConfirmsNothing(PlainClient):
    """`confirm` is false whatever the server counted."""

    def is_meant(self, transaction_id: str, data: Packet) -> bool:
        return False


@plant("R-MSG-16")
class WrongCounts(PlainClient):
    """A received message is counted without its blanks."""

    def answer_counts(self, data: Packet) -> None:
        super().answer_counts({**data, "content": data["content"].replace(" ", "")})


@plant("R-MSG-16")
class CountsNothing(PlainClient):
    """A received message is not answered."""

    def answer_counts(self, data: Packet) -> None:
        pass


@plant("R-MSG-17")
class NoAck(PlainClient):
    """`confirm_count` is not answered by `ack`."""

    def on_confirm_count(self, packet: Packet, data: Packet) -> None:
        pass


@plant("R-MSG-18")
class AlwaysAcks(PlainClient):
    """`ack` says `success` though the server said that the counts are wrong."""

    def on_confirm_count(self, packet: Packet, data: Packet) -> None:
        super().on_confirm_count(packet, {**data, "confirm": True})


@plant("R-JSON-13")
class DiesOfUnknownKeys(PlainClient):
    """A key that the client does not know ends it."""

    KNOWN = frozenset(
        [
            "transaction_id",
            "letter_frequencies",
            "original_action",
            "confirm",
            "message_id",
            "timestamp",
            "room_id",
            "sender_chatid",
            "content",
        ]
    )

    def handle(self, packet: Packet) -> None:
        about_messages = packet.get("action") in (
            "character_count",
            "confirm_count",
            "ack",
            "receive_message",
        )
        if about_messages and set(packet["data"]) - self.KNOWN:
            raise EOFError
        super().handle(packet)


@plant("R-FILE-1")
class ForgetsFin(PlainClient):
    """An upload has no `file_send_fin`."""

    def finish(self, upload: ClientUpload) -> None:
        pass


@plant("R-FILE-1")
class SendsNoLastChunk(PlainClient):
    """The last chunk of an upload is not sent."""

    def numbers(self, upload: ClientUpload) -> list[int]:
        return super().numbers(upload)[:-1]

    def on_file_send_init(self, packet: Packet, data: Packet) -> None:
        super().on_file_send_init(packet, data)
        upload = self.uploads[data["file_path"]]
        upload.waiting_for.discard(self.total(upload))


@plant("R-FILE-19")
class DropsLastChunk(PlainClient):
    """The last chunk of a download is not kept, and what is there is taken for the file."""

    def assemble(self, download: Download) -> bytes:
        return b"".join(download.chunks[number] for number in sorted(download.chunks)[:-1])

    def is_whole(self, download: Download, content: bytes) -> bool:
        return True


@plant("R-MSG-3")
class LosesTheSecondLine(PlainClient):
    """What stands behind the first line of one read from the keyboard is lost."""

    def run(self) -> None:
        threading.Thread(target=self.listen, name="plain-reads", daemon=True).start()
        self.log_in()
        if not self.is_on.wait(30):
            return
        while data := os.read(0, 65_536):
            self.command(data.decode().split("\n")[0])


@plant("R-MSG-3")
class SplitsWords(PlainClient):
    """What is typed is split into words and joined again."""

    def command(self, line: str) -> None:
        super().command(" ".join(line.split()))


@plant("R-FILE-4")
class OneChunkMore(PlainClient):
    """The number of chunks is `size // chunk + 1`."""

    def total(self, upload: ClientUpload) -> int:
        return len(upload.content) // self.chunk_bytes + 1 if upload.content else 0


@plant("R-FILE-4")
class OneChunkMoreOfTenThousand(OneChunkMore):
    """The number of chunks is `size // chunk + 1`, and a chunk has ten thousand bytes."""

    chunk_bytes = 10_000


@plant("R-FILE-17")
class WritesAnywhere(PlainClient):
    """A fetched file is written to the path that the server says."""

    def on_file_down_meta(self, packet: Packet, data: Packet) -> None:
        super().on_file_down_meta(packet, data)
        self.path = data["file_path"]

    def on_file_down_fin(self, packet: Packet, data: Packet) -> None:
        content = self.assemble(self.downloads[data["file_path"]])
        super().on_file_down_fin(packet, data)
        (self.folder / self.path).write_bytes(content)


@plant("R-FILE-17")
class WritesToWholePaths(PlainClient):
    """`../` in the name of a fetched file is taken out, and a whole path is kept."""

    def on_file_down_meta(self, packet: Packet, data: Packet) -> None:
        super().on_file_down_meta(packet, data)
        self.path = data["file_path"].replace("../", "")

    def on_file_down_fin(self, packet: Packet, data: Packet) -> None:
        content = self.assemble(self.downloads[data["file_path"]])
        super().on_file_down_fin(packet, data)
        (self.folder / self.path).write_bytes(content)
