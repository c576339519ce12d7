"""Servers with a fault about files."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

from support.planted_faults.plant import plant
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.fields import Request
from support.reference_server.records import Account, File, Room, Upload
from support.reference_server.words import Packet, Refusal


@plant("R-FILE-2")
class CountsFromOneOnly(ReferenceServer):
    """A sender that counts its chunks from 0 is refused."""

    def do_file_send_data(self, connection: Connection, data: Packet) -> None:
        self.open_upload(connection, data).first_number = 1
        super().do_file_send_data(connection, data)


@plant("R-FILE-3", "R-FILE-4")
class TakesAnyChunk(ReferenceServer):
    """The sizes of chunks are not checked."""

    def check_chunk(self, upload: Upload, index: int, length: int) -> None:
        if not 0 <= index < upload.total:
            raise Refusal("bad_packet", "data.sequence_number: there is no such chunk")


@plant("R-FILE-6")
class InOrderOfArrival(ReferenceServer):
    """The chunks are put together in the order in which they came."""

    def assemble(self, upload: Upload) -> bytes:
        return b"".join(upload.chunks.values())


@plant("R-FILE-6")
class FirstChunkCounts(ReferenceServer):
    """Of two chunks of one number the earlier counts."""

    def keep_chunk(self, upload: Upload, index: int, chunk: bytes) -> None:
        upload.chunks.setdefault(index, chunk)


@plant("R-FILE-7")
class NoEmptyFiles(ReferenceServer):
    """An empty file is refused."""

    def check_numbers(self, data: Packet) -> None:
        if data["file_size"] == 0:
            raise Refusal("bad_packet", "data.file_size: expected at least 1")
        super().check_numbers(data)


@plant("R-FILE-11")
class UnknownFileIsBadPacket(ReferenceServer):
    """A download of a file that is not there is `bad_packet`."""

    def do_file_down_req(self, connection: Connection, data: Packet) -> None:
        try:
            super().do_file_down_req(connection, data)
        except Refusal as refusal:
            raise Refusal(
                "bad_packet" if refusal.code == "file_not_found" else refusal.code, str(refusal)
            ) from None


@plant("R-FILE-12")
class HashOfTheName(ReferenceServer):
    """`file_send_fin` tells the `sha256` of something else."""

    def answer_fin(self, connection: Connection, data: Packet, result: Packet) -> None:
        super().answer_fin(
            connection,
            data,
            {**result, "sha256": hashlib.sha256(data["file_path"].encode()).hexdigest()},
        )


@plant("R-FILE-13")
class FinWithHoles(ReferenceServer):
    """`file_send_fin` succeeds though a chunk is missing."""

    def check_complete(self, upload: Upload) -> None:
        pass

    def assemble(self, upload: Upload) -> bytes:
        return b"".join(upload.chunks.get(index, b"") for index in range(upload.total))


@plant("R-FILE-14")
class TellsOfFilesTwice(ReferenceServer):
    """A repeated `file_send_fin` tells everybody again."""

    def do_file_send_fin(self, connection: Connection, data: Packet) -> None:
        account, upload = self.me(connection), self.open_upload(connection, data)
        again = upload.result is not None
        super().do_file_send_fin(connection, data)
        if again and upload.result is not None:
            self.tell_of_file(
                account,
                upload.room_id,
                self.rooms[upload.room_id].files[upload.result["stored_as"]],
            )


@plant("R-FILE-14", waits=True)
class TellsNobodyOfFiles(ReferenceServer):
    """Nobody gets `receive_file`."""

    def tell_of_file(self, sender: Account, room_id: str, stored: File) -> None:
        pass


@plant("R-FILE-15")
class ClaimsToHaveAll(ReferenceServer):
    """`received` of an upload that is taken up again lists all chunks, there or not."""

    def ranges(self, upload: Upload) -> list[list[int]]:
        return [[1, upload.total]] if upload.chunks else []


@plant("R-FILE-17")
class KeepsFolders(ReferenceServer):
    """Everything up to the last backslash is kept in the name of a file."""

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        known = super().fields_of(packet, request)
        if "file_path" in known:
            known["file_path"] = packet["data"]["file_path"].split("/")[-1]
        return known


@plant("R-FILE-18")
class OneNameForAll(ReferenceServer):
    """Another user's file of the same name takes the place of the first."""

    def free_name(self, room: Room, account: Account, name: str) -> str:
        return name


@plant("R-FILE-19")
class LosesTheLastChunk(ReferenceServer):
    """A download of several chunks ends one chunk early."""

    def download(
        self, room_id: str, stored: File, total: int, begin: int, request_id: str | None
    ) -> Iterator[Packet]:
        number = begin  # and not the one it shows, which another fault may change
        for packet in super().download(room_id, stored, total, begin, request_id):
            is_chunk = packet["action"] == "file_down_data"
            if not is_chunk or number < max(total, 2):
                yield packet
            number += is_chunk


@plant("R-FILE-19")
class DownloadsFromZero(ReferenceServer):
    """The chunks of a download are numbered from 0."""

    def chunk(self, stored: File, number: int) -> Packet:
        return {**super().chunk(stored, number), "sequence_number": number - 1}


@plant("R-FILE-19")
class BreaksLines(ReferenceServer):
    """The base64 of a download has line breaks."""

    def chunk(self, stored: File, number: int) -> Packet:
        packet = super().chunk(stored, number)
        return {
            **packet,
            "file_data": base64.encodebytes(base64.b64decode(packet["file_data"])).decode(),
        }


@plant("R-FILE-21")
class IgnoresFromSequence(ReferenceServer):
    """`from_sequence` is ignored."""

    def download(
        self, room_id: str, stored: File, total: int, begin: int, request_id: str | None
    ) -> Iterator[Packet]:
        return super().download(room_id, stored, total, 1, request_id)


@plant("R-FILE-23")
class CancelsNothing(ReferenceServer):
    """`file_cancel` is answered and nothing else happens."""

    def give_up(self, account: Account, place: tuple[str, str, str], upload: Upload) -> None:
        pass


@plant("R-FILE-24")
class ListsWithSemicolons(ReferenceServer):
    """The names of `file_list` are joined by `; `."""

    def reply(
        self,
        connection: Connection,
        action: str,
        message: str | None,
        data: Packet | None,
        status: str = "success",
        code: str = "",
    ) -> None:
        if action == "file_list_req" and data is not None:
            data = {**data, "file_list": data["file_list"].replace(", ", "; ")}
        super().reply(connection, action, message, data, status, code)
