"""Servers with faults of one answer: a `request_id` that one of them lacks, one check out of order,
a word that the language of the server knows itself, keys that are cut or compared without case.

All of them were missed once by the kit, whose cases looked at other answers.
"""

from __future__ import annotations

from support.planted_faults.combined_names_and_forms import _SkipsIdentity
from support.planted_faults.plant import plant
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.fields import REQUESTS, Request
from support.reference_server.records import Account, Message
from support.reference_server.words import Gone, Packet, Refusal


@plant("R-JSON-9", around="R-JSON-9")
class MistakesEndAtLogin(ReferenceServer):
    """A login begins the count of `bad_json` anew."""

    def begin_session(
        self, connection: Connection, account: Account, features: list[str] | None
    ) -> None:
        connection.bad_json = 0
        super().begin_session(connection, account, features)


class _ForgetsRequestIds(ReferenceServer):
    """One answer has no `request_id`."""

    FORGETFUL = ""

    def reply(
        self,
        connection: Connection,
        action: str,
        message: str | None,
        data: Packet | None,
        status: str = "success",
        code: str = "",
    ) -> None:
        if action == self.FORGETFUL:
            connection.request_id = None
        super().reply(connection, action, message, data, status, code)

    def error(self, connection: Connection, original_action: str, code: str, message: str) -> None:
        if code == self.FORGETFUL:
            connection.request_id = None
        super().error(connection, original_action, code, message)


@plant("R-JSON-14", around="R-ROOM-4")
class QuotaWithoutRequestId(_ForgetsRequestIds):
    """`quota_exceeded` carries no `request_id`."""

    FORGETFUL = "quota_exceeded"


@plant("R-JSON-14", around="R-JSON-14")
class LogoutAckWithoutRequestId(_ForgetsRequestIds):
    """`logout_ack` carries no `request_id`."""

    FORGETFUL = "logout_ack"


@plant("R-JSON-14", around="R-JSON-14")
class PasswordChangedWithoutRequestId(_ForgetsRequestIds):
    """`password_changed` carries no `request_id`."""

    FORGETFUL = "password_changed"


@plant("R-JSON-14", around="R-JSON-14 R-JSON-15")
class ConfirmCountWithoutRequestId(_ForgetsRequestIds):
    """`confirm_count` to a receiver carries no `request_id`."""

    FORGETFUL = "confirm_count"


@plant("R-JSON-14", around="R-JSON-14")
class LoginSuccessWithoutRequestId(_ForgetsRequestIds):
    """`login_success` carries no `request_id`."""

    FORGETFUL = "login_success"


@plant("R-JSON-14", around="R-JSON-14")
class UploadsWithoutRequestId(_ForgetsRequestIds):
    """The answer to the end of an upload carries no `request_id`."""

    FORGETFUL = "file_send_fin"


@plant("R-JSON-14", around="R-JSON-14")
class RoomCreatedWithoutRequestId(_ForgetsRequestIds):
    """`room_created` carries no `request_id`."""

    FORGETFUL = "room_created"


@plant("R-JSON-14", around="R-JSON-9")
class BadJsonWithTheLastRequestId(ReferenceServer):
    """`bad_json` carries the `request_id` of the request before."""

    def handle(self, connection: Connection, packet: Packet) -> None:
        vars(connection)["last_id"] = packet.get("request_id")
        super().handle(connection, packet)

    def error(self, connection: Connection, original_action: str, code: str, message: str) -> None:
        if code == "bad_json":
            connection.request_id = vars(connection).get("last_id")
        super().error(connection, original_action, code, message)


@plant("R-ERR-3", around="R-MSG-7")
class FullBeforeTheRoom(ReferenceServer):
    """Where 64 transactions are open, nobody looks for the room."""

    def do_send_message(self, connection: Connection, data: Packet) -> None:
        key = data.get("transaction_id")
        if key is None and len(connection.transactions) >= self.MOST_OPEN:
            raise Refusal("too_many_pending", "64 transactions are open: finish some first")
        super().do_send_message(connection, data)


@plant("R-ERR-3", around="R-LIM-7")
class FullOfUploadsBeforeTheRoom(ReferenceServer):
    """Where 64 uploads are open, nobody looks for the room."""

    def do_file_send_init(self, connection: Connection, data: Packet) -> None:
        mine = [key for key in self.uploads if key[0] == self.me(connection).name]
        if data["room_id"] not in self.rooms and len(mine) >= self.MOST_OPEN:
            raise Refusal("too_many_pending", "64 uploads are open: finish some first")
        super().do_file_send_init(connection, data)


WORDS_OF_OBJECTS = ("constructor", "toString", "__proto__", "hasOwnProperty", "valueOf")
"""What every object of JavaScript has."""


@plant("R-ERR-4", around="R-ERR-4")
class ActionsOfEveryObject(ReferenceServer):
    """Actions are looked up in an object of JavaScript, which has a few more."""

    def request_of(self, connection: Connection, packet: Packet) -> Request:
        if packet.get("action") in WORDS_OF_OBJECTS:
            raise Gone
        return super().request_of(connection, packet)


@plant("R-SESS-4", around="R-SESS-4")
class AccountsOfEveryObject(ReferenceServer):
    """Accounts are kept in an object of JavaScript."""

    def do_login(self, connection: Connection, data: Packet) -> None:
        if data["chatid"] in WORDS_OF_OBJECTS:
            raise Refusal("internal_error", "key_hashes of undefined")
        super().do_login(connection, data)


@plant("R-ROOM-6", around="R-ROOM-6 R-ROOM-7")
class RoomsOfEveryObject(ReferenceServer):
    """Rooms are kept in an object of JavaScript."""

    def do_get_messages(self, connection: Connection, data: Packet) -> None:
        if data["room_id"] in WORDS_OF_OBJECTS:
            raise Refusal("internal_error", "messages of undefined")
        super().do_get_messages(connection, data)


@plant("R-MSG-8", around="R-MSG-8")
class KeysOfEveryObject(ReferenceServer):
    """A client's own keys are kept in an object of JavaScript."""

    def do_send_message(self, connection: Connection, data: Packet) -> None:
        if data.get("transaction_id") in WORDS_OF_OBJECTS:
            raise Refusal("transaction_mismatch", "this key was used for something else")
        super().do_send_message(connection, data)


@plant("R-MSG-16", around="R-MSG-16")
class CountsOfAPlainObject(ReferenceServer):
    """Counts are copied into an object of JavaScript, where `__proto__` is no key."""

    def counts_are_right(self, message: Message, letter_frequencies: dict[str, int]) -> bool:
        kept = {key: count for key, count in letter_frequencies.items() if key != "__proto__"}
        return super().counts_are_right(message, kept)


@plant("R-ACC-9", around="R-ACC-9")
class AnotherPasswordOnly(ReferenceServer):
    """`change_password` refuses the password that is the old one."""

    def do_change_password(self, connection: Connection, data: Packet) -> None:
        if data["password"] == data["new_password"]:
            raise Refusal("bad_packet", "data.new_password: expected another one")
        super().do_change_password(connection, data)


@plant("R-SESS-12", around="R-SESS-12")
class LogoutAckAsTyped(ReferenceServer):
    """`logout_ack` has the name as the request wrote it."""

    def do_logout(self, connection: Connection, data: Packet) -> None:
        account = self.me(connection)
        account.key_hashes.clear()
        self.end_session(connection)
        self.reply(connection, "logout_ack", "Logout successful", {"chatid": data["chatid"]})


@plant("R-ERR-5", around="R-ERR-5")
class TypingOfAnybody(ReferenceServer):
    """`typing` before login is refused as `typing` without the feature is."""

    def check_login(self, connection: Connection, action: str, request: Request) -> None:
        if action == "typing" and connection.account is None:
            raise Refusal("forbidden", "typing is for who asked for it at login")
        super().check_login(connection, action, request)


@plant("R-SESS-7", around="R-EVT-4")
class AnyNameMayType(_SkipsIdentity):
    """`typing` takes any name."""

    SKIPPED = "typing"


@plant("R-SESS-7", around="R-EVT-4")
class NobodyTypes(ReferenceServer):
    """`typing` needs no name."""

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        data = packet.get("data")
        if packet["action"] == "typing" and isinstance(data, dict) and "chatid" not in data:
            packet = {**packet, "data": {**data, "chatid": "x"}}
            vars(self)["nobody"] = True
        return super().fields_of(packet, request)

    def check_identity(
        self, connection: Connection, action: str, data: Packet, request: Request
    ) -> None:
        if not vars(self).pop("nobody", False):
            super().check_identity(connection, action, data, request)


@plant("R-MSG-8", around="R-MSG-8")
class KeysInSmallLetters(ReferenceServer):
    """A client's own keys are compared in small letters."""

    def do_send_message(self, connection: Connection, data: Packet) -> None:
        name = self.me(connection).name
        key = str(data.get("transaction_id")).lower()
        for (owner, kept), message in list(self.kept_keys.items()):
            if owner == name and kept.lower() == key and kept != data["transaction_id"]:
                self.kept_keys[name, data["transaction_id"]] = message
        super().do_send_message(connection, data)


@plant("R-MSG-8", around="R-MSG-8")
class KeysWithoutBlanks(ReferenceServer):
    """A client's own keys lose the blanks around them."""

    def do_send_message(self, connection: Connection, data: Packet) -> None:
        key = data.get("transaction_id")
        if key is not None and key.strip():
            data = {**data, "transaction_id": key.strip()}
        super().do_send_message(connection, data)


@plant("R-JSON-14", around="R-JSON-14")
class RequestIdsWithoutBlanks(ReferenceServer):
    """`request_id` loses the blanks around it."""

    def request_of(self, connection: Connection, packet: Packet) -> Request:
        request = super().request_of(connection, packet)
        if connection.request_id is not None:
            connection.request_id = connection.request_id.strip()
        return request


@plant("R-SESS-4", around="R-SESS-4")
class SessionKeysInSmallLetters(ReferenceServer):
    """Session keys are compared in small letters."""

    def new_session_key(self, account: Account) -> str:
        key = super().new_session_key(account)
        vars(account)["told_key"] = key
        return key

    def key_is_alive(self, account: Account, key: str) -> bool:
        told = vars(account).get("told_key", "")
        return super().key_is_alive(account, told if key.lower() == told.lower() else key)


class _NullIsAbsent(ReferenceServer):
    """`null` for a key that may be left out is as if it were."""

    ACTIONS: tuple[str, ...] = ()

    def fields_of(self, packet: Packet, request: Request) -> Packet:
        data = packet.get("data")
        if packet["action"] in self.ACTIONS and isinstance(data, dict):
            may = REQUESTS[packet["action"]].may
            kept = {key: data[key] for key in data if key not in may or data[key] is not None}
            packet = {**packet, "data": kept}
        return super().fields_of(packet, request)


@plant("R-JSON-11", around="R-JSON-11 R-EVT-2")
class NullAtLoginIsAbsent(_NullIsAbsent):
    """At login, `null` for a key that may be left out is as if it were."""

    ACTIONS = ("login",)


@plant("R-JSON-11", around="R-JSON-11")
class NullKeyIsAbsent(_NullIsAbsent):
    """In `send_message` and `file_send_init`, `null` as the client's key is as if there were
    none."""

    ACTIONS = ("send_message", "file_send_init")


@plant("R-JSON-11", around="R-JSON-11")
class NullPageIsAbsent(_NullIsAbsent):
    """In lists, `null` for `after` and `limit` is as if they were not there."""

    ACTIONS = ("get_rooms", "get_users", "get_room_users")


@plant("R-JSON-11", around="R-JSON-11")
class NullOfFilesIsAbsent(_NullIsAbsent):
    """In requests about files, `null` for a key that may be left out is as if it were."""

    ACTIONS = ("file_send_init", "file_list_req", "file_down_req")
