"""Servers with faults that show only where two things meet: a second login, a file for who left, a
name in other letters beside a key.

All of them were missed once by the kit, which then had a case for each half.
"""

from __future__ import annotations

from support.planted_faults.plant import plant
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.fields import Request, folded
from support.reference_server.records import Account, File, Message, Room
from support.reference_server.words import (
    MAX_FRAME_BEFORE_LOGIN,
    LoginRefusal,
    Packet,
    Refusal,
)

# --- frames and packets


@plant("R-FRAME-3", around="R-FRAME-3")
class SmallFramesAfterKeys(ReferenceServer):
    """After a login by key the frames stay as small as before a login."""

    def max_frame(self, connection: Connection) -> int:
        by_key = vars(connection).get("by_key")
        return MAX_FRAME_BEFORE_LOGIN if by_key else super().max_frame(connection)

    def do_login(self, connection: Connection, data: Packet) -> None:
        super().do_login(connection, data)
        vars(connection)["by_key"] = "session_key" in data


@plant("R-FRAME-3", around="R-FRAME-3")
class SmallFramesAfterLogout(ReferenceServer):
    """After `logout` the frames stay small, also behind the next login on the connection."""

    def max_frame(self, connection: Connection) -> int:
        was_on = vars(connection).get("was_on")
        return MAX_FRAME_BEFORE_LOGIN if was_on else super().max_frame(connection)

    def do_logout(self, connection: Connection, data: Packet) -> None:
        super().do_logout(connection, data)
        vars(connection)["was_on"] = True


@plant("R-JSON-14", around="R-JSON-14")
class RequestIdsInUtf16(ReferenceServer):
    """The length of `request_id` is counted in UTF-16 units, as Java and JavaScript do."""

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        request_id = packet.get("request_id")
        if isinstance(request_id, str) and len(request_id.encode("utf-16-le")) > 128:
            raise Refusal("bad_packet", "request_id: too long")
        return super().fields_of(packet, request)


@plant("R-JSON-14", around="R-JSON-14")
class ForbiddenWithoutRequestId(ReferenceServer):
    """What is refused because of the name carries no `request_id`."""

    def check_identity(
        self, connection: Connection, action: str, data: Packet, request: Request
    ) -> None:
        try:
            super().check_identity(connection, action, data, request)
        except Refusal:
            connection.request_id = None
            raise


@plant("R-JSON-15", around="R-JSON-15")
class RequestIdOfTheFirstChunk(ReferenceServer):
    """Of the chunks of a download only the first carries the `request_id`."""

    def encode(self, packet: Packet) -> bytes:
        if packet["action"] == "file_down_data" and packet["data"]["sequence_number"] > 1:
            packet.pop("request_id", None)
        return super().encode(packet)


@plant("R-JSON-15", around="R-JSON-15")
class TheLatestRequestId(ReferenceServer):
    """The chunks of a download carry the `request_id` of the request that came last."""

    def next_of_download(self, connection: Connection) -> Packet | None:
        packet = super().next_of_download(connection)
        if packet is not None and "request_id" in packet and connection.request_id is not None:
            packet = {**packet, "request_id": connection.request_id}
        return packet


@plant("R-ERR-3", around="R-ERR-3")
class NamesBeforeFieldsInFiles(ReferenceServer):
    """In file packets the name is looked at before the other fields."""

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        data = packet.get("data")
        name = data.get("chat_id") if isinstance(data, dict) and request.file_packet else None
        if isinstance(name, str) and folded(name) not in self.accounts:
            raise Refusal("forbidden", "data.chat_id: expected your own name")
        return super().fields_of(packet, request)


@plant("R-ERR-3", around="R-ERR-3 R-MSG-9")
class KeysBeforeRooms(ReferenceServer):
    """Whether a key was used before is looked up before the room."""

    def do_send_message(self, connection: Connection, data: Packet) -> None:
        kept = self.kept_keys.get((self.me(connection).name, data.get("transaction_id", "")))
        if kept is not None:
            self.check_same(kept, data["room_id"], data["content"])
        super().do_send_message(connection, data)


# --- sessions and accounts


@plant("R-ACC-6", around="R-ACC-6")
class KeysNeedTheSpelling(ReferenceServer):
    """A login by key wants the name as it was registered."""

    def do_login(self, connection: Connection, data: Packet) -> None:
        account = self.accounts.get(folded(data["chatid"]))
        if "session_key" in data and account is not None and account.name != data["chatid"]:
            raise LoginRefusal
        super().do_login(connection, data)


@plant("R-SESS-1", around="R-SESS-1")
class WrongKeysFallBack(ReferenceServer):
    """Where the key is wrong and a password is there too, the password counts."""

    def do_login(self, connection: Connection, data: Packet) -> None:
        account = self.accounts.get(folded(data["chatid"]))
        key = data.get("session_key", "")
        if "password" in data and not (account is not None and self.key_is_alive(account, key)):
            data = {name: value for name, value in data.items() if name != "session_key"}
        super().do_login(connection, data)


@plant("R-SESS-7", around="R-SESS-7")
class FilesNeedTheSpelling(ReferenceServer):
    """`chat_id` of a file packet is compared letter by letter."""

    def check_identity(
        self, connection: Connection, action: str, data: Packet, request: Request
    ) -> None:
        super().check_identity(connection, action, data, request)
        if request.file_packet and data["chatid"] != self.me(connection).name:
            raise Refusal("forbidden", "data.chat_id: expected your own name")


@plant("R-ACC-6", around="R-SESS-7 R-ACC-6")
class FilesShowWhatWasTyped(ReferenceServer):
    """The replies of an upload show the name as it was typed."""

    def file_of(self, account: Account, data: Packet) -> Packet:
        return {**super().file_of(account, data), "chat_id": data["chatid"]}


@plant("R-SESS-11", around="R-SESS-11 R-ACC-9")
class UsedKeysOutlivePasswords(ReferenceServer):
    """A change of the password ends no key with which the session has logged in."""

    def do_login(self, connection: Connection, data: Packet) -> None:
        super().do_login(connection, data)
        vars(connection)["by_key"] = "session_key" in data

    def do_change_password(self, connection: Connection, data: Packet) -> None:
        keys = set(self.me(connection).key_hashes)
        super().do_change_password(connection, data)
        if vars(connection).get("by_key"):
            self.me(connection).key_hashes |= keys


@plant("R-ACC-5", around="R-ACC-5")
class LengthAsItCame(ReferenceServer):
    """How long a name is after it was folded is not looked at."""

    def do_register(self, connection: Connection, data: Packet) -> None:
        name = data["chatid"]
        if len(name) <= 32 < len(folded(name)):
            answer = {"chatid": name}
            return self.reply(connection, "register_success", "Registered", answer)
        super().do_register(connection, data)


@plant("R-EVT-1", around="R-EVT-1")
class FeaturesStay(ReferenceServer):
    """Events go on after a logout and a login without `features` on the same connection."""

    def begin_session(
        self, connection: Connection, account: Account, features: list[str] | None
    ) -> None:
        super().begin_session(connection, account, features)
        had: list[str] = vars(connection).setdefault("had", [])
        had += connection.features
        connection.features = list(had)


# --- rooms


@plant("R-ROOM-5", around="R-ROOM-5")
class LeaversGetFiles(ReferenceServer):
    """Who left an open room is told of its files all the same."""

    def tell_of_file(self, sender: Account, room_id: str, stored: File) -> None:
        room = self.rooms[room_id]
        kept, room.left = room.left, set()
        super().tell_of_file(sender, room_id, stored)
        room.left = kept


@plant("R-ROOM-5", around="R-ROOM-[25]")
class LeaversReadNothing(ReferenceServer):
    """Who left an open room reads nothing there."""

    def do_get_messages(self, connection: Connection, data: Packet) -> None:
        room = self.rooms.get(data["room_id"])
        if room is not None and self.me(connection).name in room.left:
            raise Refusal("room_not_found", "you have left this room")
        super().do_get_messages(connection, data)


@plant("R-ROOM-5", around="R-ROOM-5")
class JoinsForASession(ReferenceServer):
    """Who left a room and joined it again has left it again in the next session."""

    def do_join_room(self, connection: Connection, data: Packet) -> None:
        room, name = self.room(connection, data["room_id"]), self.me(connection).name
        if name in room.left:
            vars(room).setdefault("for_now", set()).add(name)
        super().do_join_room(connection, data)

    def begin_session(
        self, connection: Connection, account: Account, features: list[str] | None
    ) -> None:
        super().begin_session(connection, account, features)
        for room in self.rooms.values():
            if account.name in vars(room).get("for_now", ()):
                room.left.add(account.name)


@plant("R-ROOM-13", around="R-ROOM-13")
class RemovedGetFiles(ReferenceServer):
    """Who was removed is told of the room's files all the same."""

    def take_member_away(self, room: Room, removed: Account) -> None:
        super().take_member_away(room, removed)
        vars(room).setdefault("removed", set()).add(removed.name)

    def tell_of_file(self, sender: Account, room_id: str, stored: File) -> None:
        room = self.rooms[room_id]
        kept = set(room.members)
        room.members |= vars(room).get("removed", set())
        super().tell_of_file(sender, room_id, stored)
        room.members = kept


@plant("R-MSG-12", around="R-MSG-12 R-ROOM-13")
class RemovedAnswer(ReferenceServer):
    """Who was removed may still answer for what they heard before."""

    def deliver(self, sender: Account, message: Message) -> None:
        vars(message)["to"] = {each.name for each in self.hearers(sender, message.room_id)}
        super().deliver(sender, message)

    def message_to_answer(self, connection: Connection, transaction_id: str) -> Message:
        message = self.messages.get(transaction_id)
        if message is not None and self.me(connection).name in vars(message).get("to", ()):
            return message
        return super().message_to_answer(connection, transaction_id)


@plant("R-ROOM-15", around="R-ROOM-15")
class OldNameAmongUsers(ReferenceServer):
    """`get_room_users` tells the name that the room had at first."""

    def do_create_room(self, connection: Connection, data: Packet) -> None:
        super().do_create_room(connection, data)
        vars(list(self.rooms.values())[-1])["first_name"] = data["room_name"]

    def do_get_room_users(self, connection: Connection, data: Packet) -> None:
        room = self.room(connection, data["room_id"])
        name, room.name = room.name, vars(room).get("first_name", room.name)
        super().do_get_room_users(connection, data)
        room.name = name


@plant("R-ROOM-8", around="R-ROOM-8")
class MembersTwice(ReferenceServer):
    """Who is named twice in `participants` is a member twice."""

    def do_create_room(self, connection: Connection, data: Packet) -> None:
        super().do_create_room(connection, data)
        names = [self.account_of(name).name for name in data["participants"]]
        twice = [self.account_of(name) for name in set(names) if names.count(name) > 1]
        vars(list(self.rooms.values())[-1])["twice"] = twice

    def in_room(self, room: Room) -> list[Account]:
        return [*super().in_room(room), *vars(room).get("twice", ())]


@plant("R-ROOM-18", around="R-ROOM-1[28]")
class AddedAtTheEnd(ReferenceServer):
    """`members` has who was added behind the others."""

    def do_add_user_to_room(self, connection: Connection, data: Packet) -> None:
        super().do_add_user_to_room(connection, data)
        added = vars(self.rooms[data["room_id"]]).setdefault("added", [])
        added.append(self.account_of(data["user_to_add"]).name)

    def room_entry(self, account: Account, room: Room) -> Packet:
        entry = super().room_entry(account, room)
        added = vars(room).get("added", [])
        entry["members"].sort(key=lambda name: (name in added, name))
        return entry


@plant("R-ROOM-7", around="R-ROOM-7")
class AnyNewName(ReferenceServer):
    """What `rename_room` may not be called is not looked at."""

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        data = packet.get("data")
        name = data.get("new_room_name") if isinstance(data, dict) else None
        if packet["action"] != "rename_room" or not isinstance(name, str) or len(name) > 64:
            return super().fields_of(packet, request)
        changed = {**packet, "data": {**packet["data"], "new_room_name": "x"}}
        return {**super().fields_of(changed, request), "new_room_name": name}


@plant("R-EVT-3", around="R-EVT-3")
class RemovedHearOfTheRoom(ReferenceServer):
    """Who was removed is told that the room has another name."""

    def take_member_away(self, room: Room, removed: Account) -> None:
        super().take_member_away(room, removed)
        vars(room).setdefault("removed", []).append(removed)

    def tell(self, accounts: list[Account], kind: str, **keys: str) -> None:
        if kind == "room_renamed":
            accounts = [*accounts, *vars(self.rooms[keys["room_id"]]).get("removed", ())]
        super().tell(accounts, kind, **keys)


@plant("R-EVT-4", around="R-EVT-4")
class TypingAnswered(ReferenceServer):
    """`typing` is answered."""

    def do_typing(self, connection: Connection, data: Packet) -> None:
        super().do_typing(connection, data)
        self.reply(connection, "typing", "Typing.", {"room_id": data["room_id"]})


@plant("R-EVT-5", around="R-EVT-5")
class EverybodyOnEachPage(ReferenceServer):
    """`online` of a page has everybody who is on, of the page or not."""

    def reply(
        self,
        connection: Connection,
        action: str,
        message: str | None,
        data: Packet | None,
        status: str = "success",
        code: str = "",
    ) -> None:
        if action == "users_list" and data is not None:
            online = sorted(each.name for each in self.accounts.values() if each.connection)
            data = {**data, "online": online}
        super().reply(connection, action, message, data, status, code)
