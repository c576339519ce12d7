"""Uploads and downloads."""

from __future__ import annotations

import base64
import hashlib
import time
from collections import deque
from collections.abc import Iterator

from support.reference_server.connection import Connection
from support.reference_server.records import Account, File, Room, Upload
from support.reference_server.state import State
from support.reference_server.words import (
    MAX_CHUNK,
    MAX_FILE,
    QUOTA,
    Packet,
    Refusal,
    written,
)


class Files(State):
    """Uploads and downloads."""

    def do_file_send_init(self, connection: Connection, data: Packet) -> None:
        account, key = self.me(connection), data.get("transaction_id")
        self.room_or_new(connection, data["room_id"])
        place = (account.name, data["room_id"], data["file_path"])
        upload = self.upload_of_key(account, data)
        if upload is None:
            self.check_numbers(data)
            upload = self.uploads.get(place)
            same = (data["file_size"], data["total_packets"])
            if (
                upload is None
                or upload.result is not None
                or (upload.size, upload.total) != same
                or (key and upload.key != key)
                or (data.get("chunk_size") or upload.chunk_size) != upload.chunk_size
            ):
                self.check_share(account, data["file_size"], place)
                upload = Upload(
                    data["file_size"],
                    data["total_packets"],
                    data["file_type"],
                    data.get("chunk_size"),
                    data["room_id"],
                    data["file_path"],
                    key,
                )
            if key is not None:
                self.upload_keys[account.name, key] = upload
        self.uploads[place] = upload
        answer = {**self.file_of(account, data), "received": self.ranges(upload)}
        if upload.result is not None:
            answer["done"] = True
        self.reply(connection, "file_send_init", "Server ready to receive file.", answer)

    def upload_of_key(self, account: Account, data: Packet) -> Upload | None:
        upload = self.upload_keys.get((account.name, data.get("transaction_id", "")))
        if upload is None:
            return None
        wanted = (data["room_id"], data["file_path"], data["file_size"], data["total_packets"])
        if (upload.room_id, upload.name, upload.size, upload.total) != wanted:
            raise Refusal(
                "transaction_mismatch", "data.transaction_id: this key was used for another file"
            )
        return upload

    def check_numbers(self, data: Packet) -> None:
        size, total, chunk_size = data["file_size"], data["total_packets"], data.get("chunk_size")
        if size > MAX_FILE:
            raise Refusal("too_large", f"data.file_size: expected at most {MAX_FILE}")
        fits = (
            total <= size <= total * MAX_CHUNK
            if chunk_size is None
            else total == -(-size // chunk_size)
        )
        if not fits:
            raise Refusal("bad_packet", "data.total_packets: this number does not fit to file_size")

    def check_share(self, account: Account, size: int, place: tuple[str, str, str]) -> None:
        open_now = {
            key: one
            for key, one in self.uploads.items()
            if key[0] == account.name and one.result is None and key != place
        }
        if len(open_now) >= 64:
            raise Refusal("too_many_pending", "64 uploads are open: finish some first")
        stored = sum(
            len(one.content)
            for room in self.rooms.values()
            for one in room.files.values()
            if one.sender == account.name
        )
        if stored + sum(one.size for one in open_now.values()) + size > QUOTA:
            raise Refusal("quota_exceeded", "your share is used up")

    def file_of(self, account: Account, data: Packet) -> Packet:
        return {"chat_id": account.name, "room_id": data["room_id"], "file_path": data["file_path"]}

    def ranges(self, upload: Upload) -> list[list[int]]:
        """The numbers of the chunks that are there, as the sender counts them (R-FILE-15)."""
        found: list[list[int]] = []
        shift = 1 if upload.first_number is None else upload.first_number
        for index in sorted(upload.chunks):
            if found and found[-1][1] == index + shift - 1:
                found[-1][1] = index + shift
            else:
                found.append([index + shift, index + shift])
        return found

    def open_upload(self, connection: Connection, data: Packet) -> Upload:
        place = (self.me(connection).name, data["room_id"], data["file_path"])
        if place not in self.uploads or data["room_id"] in self.rooms:
            self.room(connection, data["room_id"])
        if place not in self.uploads:
            raise Refusal("file_not_found", "no such upload is open")
        return self.uploads[place]

    def do_file_send_data(self, connection: Connection, data: Packet) -> None:
        upload = self.open_upload(connection, data)
        if upload.result is not None:
            raise Refusal("file_not_found", "no such upload is open")
        number, chunk = data["sequence_number"], base64.b64decode(data["file_data"])
        first = (
            upload.first_number if upload.first_number is not None else (0 if number == 0 else 1)
        )
        index = number - first
        self.check_chunk(upload, index, len(chunk))
        if upload.chunk_size is None:
            upload.chunk_size = len(chunk)
        upload.first_number = first
        self.keep_chunk(upload, index, chunk)
        answer = {**self.file_of(self.me(connection), data), "sequence_number": number}
        self.reply(connection, "file_send_data", f"Chunk {number} received.", answer)

    def keep_chunk(self, upload: Upload, index: int, chunk: bytes) -> None:
        upload.chunks[index] = chunk

    def check_chunk(self, upload: Upload, index: int, length: int) -> None:
        """R-FILE-2, R-FILE-3, R-FILE-4."""
        last = upload.total - 1
        if not 0 <= index <= last:
            raise Refusal("bad_packet", f"data.sequence_number: expected {upload.total} chunks")
        if upload.chunk_size is None and index == last and last > 0:
            raise Refusal(
                "bad_packet", "data.sequence_number: the last chunk can't be the first to come"
            )
        chunk_size = upload.chunk_size or length
        wanted = chunk_size if index < last else upload.size - chunk_size * last
        if length != wanted or length > MAX_CHUNK or -(-upload.size // chunk_size) != upload.total:
            raise Refusal(
                "bad_packet",
                f"data.file_data: {length} bytes do not fit to file_size and total_packets",
            )

    def do_file_send_fin(self, connection: Connection, data: Packet) -> None:
        account, upload = self.me(connection), self.open_upload(connection, data)
        if data["total_packets"] != upload.total:
            raise Refusal(
                "bad_packet", f"data.total_packets: expected {upload.total} as in file_send_init"
            )
        if upload.result is None:
            self.check_complete(upload)
            stored = self.store_file(account, upload)
            upload.result = {"sha256": stored.told_sha256, "stored_as": stored.name}
            self.answer_fin(connection, data, upload.result)
            self.tell_of_file(account, upload.room_id, stored)
        else:
            self.answer_fin(connection, data, upload.result)

    def answer_fin(self, connection: Connection, data: Packet, result: Packet) -> None:
        self.reply(
            connection,
            "file_send_fin",
            "File assembled successfully.",
            {**self.file_of(self.me(connection), data), **result},
        )

    def check_complete(self, upload: Upload) -> None:
        for index in range(upload.total):
            if index not in upload.chunks:
                number = index + (1 if upload.first_number is None else upload.first_number)
                raise Refusal("incomplete_file", f"chunk {number} of {upload.total} is missing")

    def assemble(self, upload: Upload) -> bytes:
        return b"".join(upload.chunks[index] for index in range(upload.total))

    def store_file(self, account: Account, upload: Upload) -> File:
        room, content = self.make_open_room(account, upload.room_id), self.assemble(upload)
        upload.chunks = dict.fromkeys(upload.chunks, b"")
        name = self.free_name(room, account, upload.name)
        stored = File(
            name,
            account.name,
            upload.file_type,
            content,
            int(time.time()),
            hashlib.sha256(content).hexdigest(),
        )
        room.files.pop(name, None)
        room.files[name] = stored
        return stored

    def free_name(self, room: Room, account: Account, name: str) -> str:
        """R-FILE-18: the name itself, or `stem (2).ext` and so on where it is another user's."""
        stem, dot, extension = name.rpartition(".")
        if not stem or len(extension.encode()) > 32:
            stem, dot, extension = name, "", ""
        candidate, number = name, 1
        while candidate in room.files and room.files[candidate].sender != account.name:
            number += 1
            tail = f" ({number}){dot}{extension}"
            candidate = stem.encode()[: 255 - len(tail.encode())].decode(errors="ignore") + tail
        return candidate

    def tell_of_file(self, sender: Account, room_id: str, stored: File) -> None:
        data = {
            "room_id": room_id,
            "sender_chatid": stored.sender,
            "file_path": stored.name,
            "file_size": len(stored.content),
            "file_type": stored.file_type,
            "timestamp": written(stored.timestamp),
        }
        for account in self.hearers(sender, room_id):
            self.forward(
                account,
                {
                    "action": "receive_file",
                    "status": "success",
                    "message": "New file received.",
                    "data": data,
                },
            )

    def do_file_cancel(self, connection: Connection, data: Packet) -> None:
        account = self.me(connection)
        place = (account.name, data["room_id"], data["file_path"])
        upload = self.uploads.get(place)
        if upload is None or data["room_id"] in self.rooms:
            self.room(connection, data["room_id"])
        stopped = self.stop_downloads(connection, (data["room_id"], data["file_path"]))
        if upload is not None and upload.result is None:
            self.give_up(account, place, upload)
        elif not stopped:
            raise Refusal("file_not_found", "nothing of that name is under way")
        self.reply(connection, "file_cancelled", "Transfer cancelled.", self.file_of(account, data))

    def give_up(self, account: Account, place: tuple[str, str, str], upload: Upload) -> None:
        del self.uploads[place]
        if upload.key is not None:
            self.upload_keys.pop((account.name, upload.key), None)

    def stop_downloads(self, connection: Connection, of_file: tuple[str, str]) -> bool:
        with connection.wake:
            kept = [download for download in connection.downloads if download[0] != of_file]
            stopped = len(kept) < len(connection.downloads)
            connection.downloads = deque(kept)
        return stopped

    def do_file_list_req(self, connection: Connection, data: Packet) -> None:
        room = self.room(connection, data["room_id"])
        names = list(room.files)
        if "after" in data:
            known = data["after"] in names
            names = names[names.index(data["after"]) + 1 :] if known else []
        page = self.what_fits(
            [self.file_entry(room.files[name]) for name in names[: data.get("limit", 1000)]]
        )
        answer: Packet = {
            "file_list": ", ".join(entry["file_path"] for entry in page),
            "files": page,
            "has_more": len(page) < len(names),
        }
        self.reply(connection, "file_list_req", f"File list for room {room.room_id}", answer)

    def file_entry(self, stored: File) -> Packet:
        return {
            "file_path": stored.name,
            "file_size": len(stored.content),
            "file_type": stored.file_type,
            "sender_chatid": stored.sender,
            "timestamp": written(stored.timestamp),
            "sha256": stored.told_sha256,
        }

    def do_file_down_req(self, connection: Connection, data: Packet) -> None:
        room = self.room(connection, data["room_id"])
        stored = room.files.get(data["file_path"])
        if stored is None:
            raise Refusal("file_not_found", "the room has no such file")
        total = -(-len(stored.content) // self.chunk_size_of_downloads())
        begin = data.get("from_sequence", 1)
        if begin > total + 1:
            raise Refusal("bad_packet", f"data.from_sequence: the file has {total} chunks")
        with connection.wake:
            if len(connection.downloads) > self.MOST_DOWNLOADS:
                raise Refusal("too_many_pending", "16 downloads wait already")
            packets = self.if_still_there(
                self.me(connection),
                room,
                connection.request_id,
                self.download(room.room_id, stored, total, begin, connection.request_id),
            )
            connection.downloads.append(((room.room_id, stored.name), packets))
            connection.wake.notify_all()

    def if_still_there(
        self, account: Account, room: Room, request_id: str | None, packets: Iterator[Packet]
    ) -> Iterator[Packet]:
        """The packets of a download, and its refusal in the place of the rest where the room is
        lost before its turn or meanwhile (R-ROOM-22)."""
        for packet in packets:
            if not self.may_go_on(account, room):
                break
            yield packet
        else:
            return
        yield {
            "action": "error",
            "original_action": "file_down_req",
            "status": "error",
            "message": "there is no such room for you",
            "code": "room_not_found",
            **({} if request_id is None else {"request_id": request_id}),
        }

    def may_go_on(self, account: Account, room: Room) -> bool:
        return self.may_read(account, room)

    def chunk_size_of_downloads(self) -> int:
        return 65_536

    def download(
        self, room_id: str, stored: File, total: int, begin: int, request_id: str | None
    ) -> Iterator[Packet]:
        """The packets of one download, each made when its turn has come."""
        tail: Packet = {} if request_id is None else {"request_id": request_id}
        place = {"room_id": room_id, "file_path": stored.name}
        meta = {
            **place,
            "file_size": len(stored.content),
            "total_packets": total,
            "sha256": stored.told_sha256,
        }
        yield {
            "action": "file_down_meta",
            "status": "success",
            "message": "Starting file download.",
            "data": meta,
            **tail,
        }
        for number in range(begin, total + 1):
            yield {
                "action": "file_down_data",
                "data": {**place, **self.chunk(stored, number)},
                **tail,
            }
        yield {
            "action": "file_down_fin",
            "status": "success",
            "message": "File download complete.",
            "data": place,
            **tail,
        }

    def chunk(self, stored: File, number: int) -> Packet:
        size = self.chunk_size_of_downloads()
        data = stored.content[(number - 1) * size : number * size]
        return {"sequence_number": number, "file_data": base64.b64encode(data).decode()}

    def next_of_download(self, connection: Connection) -> Packet | None:
        with connection.wake:
            if not connection.downloads:
                return None
            packet = next(connection.downloads[0][1], None)
            if packet is None:
                connection.downloads.popleft()
            return packet
