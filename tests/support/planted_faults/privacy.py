"""Servers that tell what is not for everybody, forget or repeat what was said, or lose a file."""

from __future__ import annotations

import posixpath

from support.planted_faults.plant import plant
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.fields import Request
from support.reference_server.records import Account, Message, Room, Upload
from support.reference_server.words import Packet, Refusal


@plant("R-MSG-12", around="R-MSG-12")
class StrangersAnswer(ReferenceServer):
    """Who knows a T2 may answer for it, member of the room or not."""

    def message_to_answer(self, connection: Connection, transaction_id: str) -> Message:
        message = self.messages.get(transaction_id)
        if message is not None and message.sender != self.me(connection).name:
            return message
        return super().message_to_answer(connection, transaction_id)


@plant("R-ROOM-6", around="R-ROOM-6")
class StrangersType(ReferenceServer):
    """Anybody may type in a private room."""

    def do_typing(self, connection: Connection, data: Packet) -> None:
        room, account = self.rooms.get(data["room_id"]), self.me(connection)
        if "typing" not in connection.features or room is None:
            return super().do_typing(connection, data)
        self.tell(
            self.hearers(account, room.room_id), "typing", room_id=room.room_id, chatid=account.name
        )


@plant("R-SESS-12", around="R-SESS-12")
class DownloadsOutliveLogout(ReferenceServer):
    """A download runs on after `logout`."""

    def end_session(self, connection: Connection, is_told: bool = True) -> None:
        running = list(connection.downloads)
        super().end_session(connection, is_told)
        with connection.wake:
            connection.downloads.extend(running)


@plant("R-ROOM-22", around="R-ROOM-22")
class DownloadsOutliveRemoval(ReferenceServer):
    """Whether a room may be read is asked when a download begins, and not again."""

    def may_go_on(self, account: Account, room: Room) -> bool:
        begun = self.begun = getattr(self, "begun", set())
        if super().may_go_on(account, room):
            begun.add((account.name, room.room_id))
        return (account.name, room.room_id) in begun


@plant("R-MSG-20", around="R-MSG-20")
class RepeatsAtLogin(ReferenceServer):
    """Who logs in is sent the last messages, heard or not."""

    def begin_session(
        self, connection: Connection, account: Account, features: list[str] | None
    ) -> None:
        super().begin_session(connection, account, features)
        for message in list(self.messages.values())[-3:]:
            if message.sender != account.name and self.may_read(
                account, self.rooms[message.room_id]
            ):
                self.forward(account, self.received(account, message))


@plant("R-HIST-1", around="R-HIST-1")
class NewcomersReadNothing(ReferenceServer):
    """The history of a user begins with the account."""

    def do_register(self, connection: Connection, data: Packet) -> None:
        super().do_register(connection, data)
        self.began = {**getattr(self, "began", {}), data["chatid"]: self.last_message_id}

    def do_get_messages(self, connection: Connection, data: Packet) -> None:
        began = getattr(self, "began", {}).get(self.me(connection).name, 0)
        if data.get("after_id", 0) < began and "before_id" not in data:
            data = {**data, "after_id": began} if "from_time" in data else data
        super().do_get_messages(connection, data)


@plant("R-FILE-1", around="R-FILE-1")
class NumbersInAByte(ReferenceServer):
    """The number of a chunk is a byte: the 257th is the first again."""

    def keep_chunk(self, upload: Upload, index: int, chunk: bytes) -> None:
        super().keep_chunk(upload, index % 256, chunk)
        for more in range(256, upload.total):
            upload.chunks.setdefault(more, b"")


@plant("R-FILE-19", around="R-FILE-19")
class OneChunkTooMany(ReferenceServer):
    """A download has `size // chunk + 1` chunks: the last is empty where that comes out even."""

    def do_file_down_req(self, connection: Connection, data: Packet) -> None:
        stored = self.room(connection, data["room_id"]).files.get(data["file_path"])
        size, chunk = 0 if stored is None else len(stored.content), self.chunk_size_of_downloads()
        if stored is not None and size and size % chunk == 0:
            packets = self.download(
                data["room_id"], stored, size // chunk + 1, 1, connection.request_id
            )
            with connection.wake:
                connection.downloads.append(((data["room_id"], stored.name), packets))
                connection.wake.notify_all()
            return
        super().do_file_down_req(connection, data)


@plant("R-FILE-19", around="R-FILE-19")
class OneChunkTooManyOfThousands(OneChunkTooMany):
    """A download has `size // 50,000 + 1` chunks."""

    def chunk_size_of_downloads(self) -> int:
        return 50_000


@plant("R-FILE-22", around="R-FILE-22")
class CancelKeepsTheShare(ReferenceServer):
    """What was cancelled counts on."""

    kept: dict[str, int]

    def check_share(self, account: Account, size: int, place: tuple[str, str, str]) -> None:
        kept = getattr(self, "kept", {}).get(account.name, 0)
        super().check_share(account, size + kept, place)

    def give_up(self, account: Account, place: tuple[str, str, str], upload: Upload) -> None:
        super().give_up(account, place, upload)
        kept = getattr(self, "kept", {})
        self.kept = {**kept, account.name: kept.get(account.name, 0) + upload.size}


@plant("R-ACC-8", around="R-ACC-8")
class RoomsAreFolders(ReferenceServer):
    """The files of a room lie in a folder that is called like it."""

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        data = super().fields_of(packet, request)
        if request.file_packet and "room_id" in data:
            data["room_id"] = posixpath.normpath(data["room_id"])
            if data["room_id"].startswith(".."):
                raise Refusal("internal_error", "no such folder")
        return data


@plant("R-ACC-8", around="R-ACC-8")
class RoomsAreFileNames(ReferenceServer):
    """The files of a room lie in a folder that is called like it, with `_` for each slash."""

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        data = super().fields_of(packet, request)
        if request.file_packet and "room_id" in data:
            data["room_id"] = data["room_id"].replace("/", "_")
        return data
