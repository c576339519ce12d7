"""Servers with faults that show only where two things meet, in messages and files: a key that was
dropped, a message that came again, a download that waits behind another, a newer version of a file.

As those of `combined`, all of them were missed once by the kit.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Iterator

from support.planted_faults.plant import plant
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.fields import Request
from support.reference_server.records import Account, File, Message, Room, Transaction, Upload
from support.reference_server.words import Packet, Refusal

# --- messages


@plant("R-MSG-8", around="R-MSG-8")
class KeysInBytes(ReferenceServer):
    """The length of a key is counted in bytes."""

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        known = super().fields_of(packet, request)
        if len(known.get("transaction_id", "").encode()) > 64:
            raise Refusal("bad_packet", "data.transaction_id: too long")
        return known


@plant("R-MSG-5", around="R-MSG-[58]")
class DroppedKeysAreUsed(ReferenceServer):
    """A key whose message was not confirmed can't be used again."""

    def do_confirm_count(self, connection: Connection, data: Packet) -> None:
        super().do_confirm_count(connection, data)
        if not data["confirm"]:
            used = vars(self.me(connection)).setdefault("used", set())
            used.add(data["transaction_id"])

    def do_send_message(self, connection: Connection, data: Packet) -> None:
        if data.get("transaction_id") in vars(self.me(connection)).get("used", ()):
            raise Refusal("transaction_mismatch", "data.transaction_id: used before")
        super().do_send_message(connection, data)


@plant("R-MSG-10", around="R-MSG-10 R-MSG-7", may_break="R-MSG-7")
class StartingOverIsOneMore(ReferenceServer):
    """A key that is open counts once more where it is started over."""

    def do_send_message(self, connection: Connection, data: Packet) -> None:
        self.room_or_new(connection, data["room_id"])
        if len(connection.transactions) >= self.MOST_OPEN:
            raise Refusal("too_many_pending", "64 transactions are open: finish some first")
        super().do_send_message(connection, data)


@plant("R-MSG-13", around="R-MSG-13")
class OneByteLess(ReferenceServer):
    """A message of exactly `max_content` bytes is refused."""

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        known = super().fields_of(packet, request)
        if len(known.get("content", "").encode()) >= 16_384:
            raise Refusal("bad_packet", "data.content: too long")
        return known


@plant("R-MSG-14", around="R-MSG-14")
class AcksMarkOneMessage(ReferenceServer):
    """An `ack` marks this message as read, and none before it."""

    def do_ack(self, connection: Connection, data: Packet) -> None:
        account = self.me(connection)
        marks = dict(account.marks)
        super().do_ack(connection, data)
        account.marks = marks
        if data["status"] == "success":
            message = self.messages[data["transaction_id"]]
            vars(account).setdefault("acked", set()).add(message.message_id)

    def unread(self, account: Account, room: Room) -> int:
        acked, mark = vars(account).get("acked", set()), account.marks.get(room.room_id, 0)
        later = (each for each in room.messages if each.message_id > mark)
        return sum(each.sender != account.name and each.message_id not in acked for each in later)


@plant("R-MSG-14", around="R-MSG-14")
class CountsMarkAsRead(ReferenceServer):
    """Right counts mark a message as read, before any `ack`."""

    def do_character_count(self, connection: Connection, data: Packet) -> None:
        super().do_character_count(connection, data)
        message = self.messages[data["transaction_id"]]
        self.mark(self.me(connection), message.room_id, message.message_id)


@plant("R-MSG-18", around="R-MSG-18")
class CountedOnce(ReferenceServer):
    """A receiver may send its counts once, also where the message came again."""

    def do_character_count(self, connection: Connection, data: Packet) -> None:
        message = self.message_to_answer(connection, data["transaction_id"])
        counted = vars(message).setdefault("counted", set())
        if self.me(connection).name in counted:
            raise Refusal("transaction_not_found", "data.transaction_id: it was counted already")
        super().do_character_count(connection, data)
        counted.add(self.me(connection).name)


@plant("R-MSG-17", around="R-MSG-17")
class AckedOnce(ReferenceServer):
    """A second `ack` of a message is an error."""

    def do_ack(self, connection: Connection, data: Packet) -> None:
        message = self.message_to_answer(connection, data["transaction_id"])
        acked = vars(message).setdefault("acked", set())
        if self.me(connection).name in acked:
            raise Refusal("transaction_not_found", "data.transaction_id: it was read already")
        super().do_ack(connection, data)
        if data["status"] == "success":
            acked.add(self.me(connection).name)


@plant("R-MSG-18", around="R-MSG-18")
class CopiesForAllTogether(ReferenceServer):
    """All receivers of a message together get three copies."""

    def do_ack(self, connection: Connection, data: Packet) -> None:
        message = self.message_to_answer(connection, data["transaction_id"])
        if data["status"] == "success" or message.copies.total() < 3:
            super().do_ack(connection, data)


@plant("R-HIST-1", around="R-HIST-1")
class HistoryIsNormalised(ReferenceServer):
    """The history has its texts normalised, as a database may do."""

    def history_entry(self, message: Message) -> Packet:
        entry = super().history_entry(message)
        return {**entry, "content": unicodedata.normalize("NFC", message.content)}


@plant("R-MSG-4", around="R-MSG-4")
class ControlsAreCutOut(ReferenceServer):
    """Control characters are cut out of what is forwarded."""

    def received(self, account: Account, message: Message) -> Packet:
        packet = super().received(account, message)
        packet["data"]["content"] = re.sub(r"[\x01-\x08\x0e-\x1f\x7f]", "", message.content)
        return packet


@plant("R-ACC-6", around="R-SESS-7 R-ACC-6")
class SendersAsTyped(ReferenceServer):
    """`receive_message` shows its sender as the sender has typed its name."""

    def do_send_message(self, connection: Connection, data: Packet) -> None:
        vars(self.me(connection))["typed"] = data["chatid"]
        super().do_send_message(connection, data)

    def store(self, sender: Account, transaction: Transaction) -> Message:
        message = super().store(sender, transaction)
        vars(message)["typed"] = vars(sender)["typed"]
        return message

    def received(self, account: Account, message: Message) -> Packet:
        packet = super().received(account, message)
        packet["data"]["sender_chatid"] = vars(message)["typed"]
        return packet


# --- files


@plant("R-FILE-22", around="R-FILE-22")
class ReplacedKeepsItsShare(ReferenceServer):
    """An upload that was replaced counts on."""

    def check_share(self, account: Account, size: int, place: tuple[str, str, str]) -> None:
        if place in self.uploads and self.uploads[place].result is None:
            self.uploads[place[0], place[1], place[2] + "/"] = self.uploads[place]
        super().check_share(account, size, place)


@plant("R-FILE-23", around="R-FILE-23")
class CancelStopsTheFirst(ReferenceServer):
    """Who cancels a download that waits stops the one that runs."""

    def stop_downloads(self, connection: Connection, of_file: tuple[str, str]) -> bool:
        with connection.wake:
            is_there = any(each[0] == of_file for each in connection.downloads)
            if is_there:
                connection.downloads.popleft()
        return is_there


@plant("R-FILE-23", around="R-FILE-23")
class CancelStopsAll(ReferenceServer):
    """Who cancels a download stops those that wait, too."""

    def stop_downloads(self, connection: Connection, of_file: tuple[str, str]) -> bool:
        with connection.wake:
            is_there = any(each[0] == of_file for each in connection.downloads)
            if is_there:
                connection.downloads = deque()
        return is_there


@plant("R-FILE-16", around="R-FILE-16")
class UploadKeysKnowNoRooms(ReferenceServer):
    """The key of an upload in another room is taken for the same upload."""

    def upload_of_key(self, account: Account, data: Packet) -> Upload | None:
        upload = self.upload_keys.get((account.name, data.get("transaction_id", "")))
        if upload is not None:
            data = {**data, "room_id": upload.room_id}
        return super().upload_of_key(account, data)


@plant("R-FILE-24", around="R-FILE-24 R-FILE-18")
class TypeOfTheFirst(ReferenceServer):
    """The list shows the type of the first version of a file."""

    def store_file(self, account: Account, upload: Upload) -> File:
        room = self.rooms.get(upload.room_id)
        before = None if room is None else room.files.get(upload.name)
        stored = super().store_file(account, upload)
        if before is not None and before.name == stored.name:
            stored.file_type = before.file_type
        return stored


@plant("R-FILE-19", around="R-FILE-20", may_break="R-FILE-20")
class RunningDownloadsChange(ReferenceServer):
    """A download that runs goes on with the newer version of the file."""

    def download(
        self, room_id: str, stored: File, total: int, begin: int, request_id: str | None
    ) -> Iterator[Packet]:
        for packet in super().download(room_id, stored, total, begin, request_id):
            newest = self.rooms[room_id].files[stored.name]
            if packet["action"] == "file_down_data" and newest is not stored:
                number = packet["data"]["sequence_number"]
                packet["data"].update(self.chunk(newest, number))
            yield packet


@plant("R-FILE-18", around="R-FILE-18")
class AnswersWithTheStoredName(ReferenceServer):
    """`file_path` of `file_send_fin` is the name under which the file is stored."""

    def answer_fin(self, connection: Connection, data: Packet, result: Packet) -> None:
        super().answer_fin(connection, {**data, "file_path": result["stored_as"]}, result)


@plant("R-FILE-18", around="R-FILE-1[78]")
class AnswersWithTheFolders(ReferenceServer):
    """The replies of an upload show its path with all folders."""

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        known = super().fields_of(packet, request)
        return {**known, "typed": packet["data"]["file_path"]} if "file_path" in known else known

    def file_of(self, account: Account, data: Packet) -> Packet:
        return {**super().file_of(account, data), "file_path": data["typed"]}


@plant("R-FILE-26", around="R-FILE-26")
class TypesInSmallLetters(ReferenceServer):
    """`file_type` is kept in small letters."""

    def do_file_send_init(self, connection: Connection, data: Packet) -> None:
        super().do_file_send_init(connection, {**data, "file_type": data["file_type"].lower()})


@plant("R-FILE-20", around="R-FILE-20")
class FifteenMayWait(ReferenceServer):
    """Fifteen downloads may wait."""

    MOST_DOWNLOADS = 15
