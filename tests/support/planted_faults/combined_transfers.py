"""Servers with faults in uploads and downloads that show only where two things meet: a newer
version that is not whole yet, two rooms with one name, what was counted and has ended.

As those of `combined`, all of them were missed once by the kit.
"""

from __future__ import annotations

from collections import deque
from urllib.parse import unquote

from support.planted_faults.plant import plant
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.fields import Request, folded
from support.reference_server.records import Account, File, Room, Upload
from support.reference_server.words import Packet, Refusal

Place = tuple[str, str, str]


# --- a newer version


@plant("R-FILE-19", around="R-FILE-18")
class BeginningEmptiesTheOld(ReferenceServer):
    """The file is opened for writing at its init, which empties what is stored."""

    def do_file_send_init(self, connection: Connection, data: Packet) -> None:
        super().do_file_send_init(connection, data)
        room, name = self.rooms.get(data["room_id"]), self.me(connection).name
        stored = room.files.get(data["file_path"]) if room else None
        upload = self.uploads[name, data["room_id"], data["file_path"]]
        if stored and stored.sender == name and upload.result is None:
            stored.content = b""


@plant("R-FILE-19", around="R-FILE-18")
class CancelDeletesTheOld(ReferenceServer):
    """Who cancels the upload of a newer version deletes the file."""

    def give_up(self, account: Account, place: Place, upload: Upload) -> None:
        super().give_up(account, place, upload)
        if place[1] in self.rooms:
            self.rooms[place[1]].files.pop(place[2], None)


@plant("R-FILE-18", around="R-FILE-18")
class EmptyIsNoVersion(ReferenceServer):
    """No bytes are taken for no file: the old version stays."""

    def store_file(self, account: Account, upload: Upload) -> File:
        room = self.rooms.get(upload.room_id)
        old = room.files.get(upload.name) if room else None
        stored = super().store_file(account, upload)
        if old and not stored.content:
            self.rooms[upload.room_id].files[stored.name] = old
        return stored


@plant("R-FILE-14", around="R-FILE-18")
class SameNumbersAreTheSameFile(ReferenceServer):
    """A newer version of as many bytes is taken for the old one, which has come already."""

    def ranges(self, upload: Upload) -> list[list[int]]:
        place = next((key for key, one in self.uploads.items() if one is upload), None)
        room = self.rooms.get(upload.room_id)
        if place and room and upload.name in room.files:
            stored = room.files[upload.name]
            if (stored.sender, len(stored.content)) == (place[0], upload.size):
                return [[1, upload.total]]
        return super().ranges(upload)


# --- names


@plant("R-FILE-18", around="R-FILE-18")
class NameAtTheBeginning(ReferenceServer):
    """Who begins first has the name, not who ends first."""

    def do_file_send_init(self, connection: Connection, data: Packet) -> None:
        super().do_file_send_init(connection, data)
        taken = vars(self).setdefault("taken", {})
        taken.setdefault((data["room_id"], data["file_path"]), self.me(connection).name)

    def free_name(self, room: Room, account: Account, name: str) -> str:
        first = vars(self).get("taken", {}).get((room.room_id, name), account.name)
        if first == account.name or name in room.files:
            return super().free_name(room, account, name)
        room.files[name] = File(name, first, "", b"", 0, "")
        try:
            return super().free_name(room, account, name)
        finally:
            del room.files[name]


@plant("R-FILE-18", around="R-FILE-17")
class NamesOfAddresses(ReferenceServer):
    """Names are decoded as those in web addresses are."""

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        known = super().fields_of(packet, request)
        if "file_path" in known:
            known["file_path"] = unquote(known["file_path"])
        return known


@plant("R-FILE-17", around="R-FILE-17")
class CapitalsAreTheSame(ReferenceServer):
    """A.txt and a.txt are one file, as on Windows."""

    def free_name(self, room: Room, account: Account, name: str) -> str:
        same = [each for each in room.files if each.lower() == name.lower()]
        return super().free_name(room, account, same[0] if same else name)


# --- what is counted


@plant("R-FILE-13", around="R-FILE-13")
class CountsWhatCame(ReferenceServer):
    """A file is whole where as many chunks came as it has, whichever they were."""

    def keep_chunk(self, upload: Upload, index: int, chunk: bytes) -> None:
        super().keep_chunk(upload, index, chunk)
        vars(upload)["came"] = vars(upload).get("came", 0) + 1

    def check_complete(self, upload: Upload) -> None:
        if vars(upload).get("came", 0) < upload.total:
            super().check_complete(upload)
        for index in range(upload.total):
            upload.chunks.setdefault(index, bytes(upload.chunk_size or 0))


@plant("R-LIM-7", around="R-LIM-7")
class UploadsEverBegun(ReferenceServer):
    """An upload counts as open also when it has ended."""

    def check_share(self, account: Account, size: int, place: Place) -> None:
        vars(account)["begun"] = vars(account).get("begun", 0) + 1
        if vars(account)["begun"] > 64:
            raise Refusal("too_many_pending", "64 uploads are open: finish some first")
        super().check_share(account, size, place)


# --- two rooms


@plant("R-FILE-23", around="R-FILE-23")
class CancelsTheNameInEveryRoom(ReferenceServer):
    """A download is cancelled by its name alone."""

    def stop_downloads(self, connection: Connection, of_file: tuple[str, str]) -> bool:
        with connection.wake:
            before = len(connection.downloads)
            kept = [each for each in connection.downloads if each[0][1] != of_file[1]]
            connection.downloads = deque(kept)
        return len(kept) < before


@plant("R-FILE-23", around="R-FILE-23")
class GivesUpTheNameInEveryRoom(ReferenceServer):
    """An upload is given up by its name alone."""

    def give_up(self, account: Account, place: Place, upload: Upload) -> None:
        super().give_up(account, place, upload)
        for key in [key for key in self.uploads if (key[0], key[2]) == (place[0], place[2])]:
            del self.uploads[key]


# --- who may, and who hears


@plant("R-FILE-16", around="R-FILE-16")
class KeysOfOneSession(ReferenceServer):
    """The keys of uploads are those of the session."""

    def begin_session(
        self, connection: Connection, account: Account, features: list[str] | None
    ) -> None:
        super().begin_session(connection, account, features)
        keys = self.upload_keys
        self.upload_keys = {key: one for key, one in keys.items() if key[0] != account.name}


@plant("R-ROOM-12", around="R-FILE-19")
class AddedHearsOfNoFiles(ReferenceServer):
    """Of files those hear who were members when the room was made."""

    def tell_of_file(self, sender: Account, room_id: str, stored: File) -> None:
        room = self.rooms[room_id]
        members, room.members = room.members, room.members - vars(room).get("added", set())
        super().tell_of_file(sender, room_id, stored)
        room.members = members

    def do_add_user_to_room(self, connection: Connection, data: Packet) -> None:
        super().do_add_user_to_room(connection, data)
        added = self.accounts[folded(data["user_to_add"])].name
        vars(self.rooms[data["room_id"]]).setdefault("added", set()).add(added)


@plant("R-ROOM-6", around="R-MSG-6")
class CancelsForWhoWasRemoved(ReferenceServer):
    """Who was taken out of a room can still give up an upload there."""

    def do_file_cancel(self, connection: Connection, data: Packet) -> None:
        account = self.me(connection)
        place = (account.name, data["room_id"], data["file_path"])
        upload = self.uploads.get(place)
        if upload is None or upload.result is not None:
            return super().do_file_cancel(connection, data)
        self.give_up(account, place, upload)
        answer = self.file_of(account, data)
        self.reply(connection, "file_cancelled", "Transfer cancelled.", answer)


@plant("R-ROOM-16", around="R-MSG-6")
class EndsInADeletedRoom(ReferenceServer):
    """The end of an upload does not ask whether the room was deleted meanwhile."""

    def do_file_send_fin(self, connection: Connection, data: Packet) -> None:
        room = self.rooms.get(data["room_id"])
        was_deleted = room is not None and room.deleted
        if room is not None and was_deleted:
            room.deleted = False
        super().do_file_send_fin(connection, data)
        if room is not None:
            room.deleted = was_deleted


@plant("R-ROOM-13", around="R-ROOM-6")
class RemovedSeeWhoTypes(ReferenceServer):
    """Who was removed from a room is still told who types there."""

    def take_member_away(self, room: Room, removed: Account) -> None:
        super().take_member_away(room, removed)
        vars(room).setdefault("gone", []).append(removed)

    def do_typing(self, connection: Connection, data: Packet) -> None:
        super().do_typing(connection, data)
        gone = vars(self.rooms[data["room_id"]]).get("gone", [])
        name = self.me(connection).name
        self.tell(gone, "typing", room_id=data["room_id"], chatid=name)
