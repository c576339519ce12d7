"""The protocol: which packets exist, what each field must be, how packets become frames and back.

Owns the catalogue of every packet that clients and the server send, the steps of both handshakes,
all checks of fields, the framing, the strict JSON decoder, and the builders that turn a packet into
the bytes of its frame. `docs/PROTOCOL.md` states the same rules in prose; tests compare the two.

Never opens a socket, starts a thread or asks a clock. Everything is a pure function or immutable
and may be used by any thread, except `FrameReader`: it belongs to the one thread that reads its
connection.

`python protocol.py FILE` prints the packets of a journal file readably.
"""

from __future__ import annotations

import sys

# A Python before 3.8 shows this line, and that ":=" is no syntax for it: it needs 3.10 or newer.
if sys.version_info < (NEEDED := (3, 10)):  # needs Python 3.10: https://www.python.org/downloads/
    sys.exit(
        f"protocol.py needs Python 3.10 or newer, and this is Python {sys.version.split()[0]} "
        f"({sys.executable}): get a newer one at https://www.python.org/downloads/"
    )

import argparse
import base64
import binascii
import dataclasses
import errno
import functools
import json
import math
import os
import re
import secrets
import typing
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Annotated, Any, BinaryIO, ClassVar, Final, TypeAlias

VERSION: Final = "0.2.0"
"""The release of server and client, which both show."""

# --- Numbers of the contract (docs/PROTOCOL.md, "Limits") -----------------------------------------

HEADER_BYTES: Final = 4
MAX_FRAME_BEFORE_LOGIN: Final = 64 * 1024
DEFAULT_PORT: Final = 9876
MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 10_000
MAX_LETTERS: Final = 9_900
"""Different characters of a message: their counts leave room for the other keys of a packet."""
MAX_INTEGER: Final = 2**53 - 1
"""The largest whole number that every JSON reader keeps exactly (RFC 8259, section 6)."""
MAX_NUMBER_CHARACTERS: Final = 1_000
MAX_CHUNK_BYTES: Final = 256 * 1024
MAX_PAGE: Final = 1_000
MAX_CHATID_CHARACTERS: Final = 32
MAX_ROOM_CHARACTERS: Final = 64
MAX_KEY_CHARACTERS: Final = 64
MAX_PASSWORD_CHARACTERS: Final = 128
MAX_FILE_NAME_BYTES: Final = 255
MAX_REASON_CHARACTERS: Final = 200
MAX_ACT_SECONDS: Final = 366 * 86_400
"""How long a mute, a ban or a pause that ends by itself may last: a year."""
PRIVATE_ROOM_PREFIX: Final = "p-"
FEATURES: Final = ("events", "typing")
STUDENT: Final = "student"
TEACHER: Final = "teacher"
ROLES: Final = (STUDENT, TEACHER)
RESERVED_NAMES: Final = frozenset({"admin", "server", "system", "teacher"})
"""Folded names that only the command line gives to accounts (R-TEACH-3)."""


# --- Errors ---------------------------------------------------------------------------------------


class ErrorCode(str, Enum):
    """The stable words that programs read in `error`, `register_fail` and a refusing `ack`.

    Each member is also the plain string of the wire: it compares, hashes, prints and encodes as
    one. docs/PROTOCOL.md, "Errors", says when each is sent.
    """

    BAD_FRAME = "bad_frame"
    BAD_JSON = "bad_json"
    BAD_PACKET = "bad_packet"
    UNKNOWN_ACTION = "unknown_action"
    NOT_LOGGED_IN = "not_logged_in"
    FORBIDDEN = "forbidden"
    ROOM_NOT_FOUND = "room_not_found"
    USER_NOT_FOUND = "user_not_found"
    FILE_NOT_FOUND = "file_not_found"
    TRANSACTION_NOT_FOUND = "transaction_not_found"
    TRANSACTION_MISMATCH = "transaction_mismatch"
    TOO_MANY_PENDING = "too_many_pending"
    BAD_TIME = "bad_time"
    INCOMPLETE_FILE = "incomplete_file"
    TOO_LARGE = "too_large"
    QUOTA_EXCEEDED = "quota_exceeded"
    STORAGE_FULL = "storage_full"
    SERVER_FULL = "server_full"
    INTERNAL_ERROR = "internal_error"
    NOT_CONFIRMED = "not_confirmed"
    NAME_TAKEN = "name_taken"
    REGISTRATION_CLOSED = "registration_closed"
    MESSAGE_NOT_FOUND = "message_not_found"
    MUTED = "muted"
    BANNED = "banned"
    READ_ONLY = "read_only"

    __str__ = str.__str__  # from Python 3.12 on f"{code}" would be "ErrorCode.BAD_FRAME"


class ProtocolError(Exception):
    """A mistake of the peer, with the `code` and the `message` of the `error` packet for it."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class BadFrame(ProtocolError):
    """A length that can't be right: nobody knows where the next frame begins. Answer, then close
    (R-FRAME-5)."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.BAD_FRAME, message)


class BadJson(ProtocolError):
    """A whole frame whose text is not one strict JSON object: answer, then read on (R-JSON-9)."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.BAD_JSON, message)


class Refusal(ProtocolError):
    """A packet that can be read but is not granted: answer with its code; the connection lives."""


def describe(value: object) -> str:
    """Return `value` in JSON's words, in at most 64 characters that are safe to print."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, str) and len(value) > 64:
        return f"a string of {len(value)} characters"
    if isinstance(value, (list, dict)) and value:
        kind = "a list" if isinstance(value, list) else "an object"
        return f"{kind} of {len(value)}"
    text = json.dumps(value)
    return text if len(text) <= 64 else text[:63] + "…"


def _bad(path: str, expected: str, actual: object) -> Refusal:
    return Refusal(ErrorCode.BAD_PACKET, f"{path}: expected {expected}, got {describe(actual)}")


# --- The catalogue: what clients send -------------------------------------------------------------
# A request is a record. The type of a field says what the value must be (see "Types of fields"); a
# field with a default is optional. Bases hold what several records share, and come first on the
# wire: the fields of a record are checked from top to bottom, and the first wrong one is answered.


class Absent(Enum):
    """Stands for an optional key that was left out, where `null` has a meaning of its own."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Request:
    """A packet of a client, every field checked. A subclass with an ACTION is one entry."""

    ACTION: ClassVar[str] = ""
    ANSWERS: ClassVar[tuple[str, ...]] = ()
    """The replies of which one answers it, where no `error` does; empty where it has no reply."""
    BEFORE_LOGIN: ClassVar[bool] = False
    FOR_TEACHERS: ClassVar[bool] = False
    """Whether it is `forbidden` to everybody who is no teacher (R-TEACH-4)."""
    request_id: str | None

    def check(self, max_content: int) -> None:
        """Check what one field alone can't show; raise `Refusal` with `bad_packet`.

        `max_content` is the limit of a message's content in bytes of UTF-8; 0 = none. Records
        without such a rule do not override it, and it is not called for them.
        """


@dataclass(frozen=True, slots=True)
class ByUser(Request):
    """A request that names its user by `chatid`."""

    chatid: Chatid


@dataclass(frozen=True, slots=True)
class InRoom(ByUser):
    """A request about one room."""

    room_id: RoomId


@dataclass(frozen=True, slots=True)
class AboutTransaction(Request):
    """A step of a handshake about one message."""

    transaction_id: Key


@dataclass(frozen=True, slots=True)
class InRoomOfFiles(Request):
    """A request about the files of one room; file packets call the user `chat_id`."""

    chat_id: Chatid
    room_id: RoomId


@dataclass(frozen=True, slots=True)
class AboutFile(InRoomOfFiles):
    """A request about one file of a room."""

    file_path: FileName


@dataclass(frozen=True, slots=True)
class Login(ByUser):
    """Begin a session, by the password or by the key of an earlier session (R-SESS-1)."""

    ACTION = "login"
    ANSWERS = ("login_success", "login_fail")
    BEFORE_LOGIN = True
    password: Password | None = field(default=None, repr=False)
    session_key: SessionKey | None = field(default=None, repr=False)
    take_over: Flag = False
    features: Features | None = None

    def check(self, max_content: int) -> None:
        """Check that there is a password or a key."""
        if self.password is None and self.session_key is None:
            raise Refusal(
                ErrorCode.BAD_PACKET,
                f"data.password is missing: login needs {_A_PASSWORD.expected}, or a session_key",
            )


@dataclass(frozen=True, slots=True)
class Register(Request):
    """Make an account (R-ACC-1)."""

    ACTION = "register"
    ANSWERS = ("register_success", "register_fail")
    BEFORE_LOGIN = True
    chatid: NewChatid
    password: Password = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ping(Request):
    """Ask for a sign of life (R-SESS-13)."""

    ACTION = "ping"
    ANSWERS = ("pong",)
    BEFORE_LOGIN = True


@dataclass(frozen=True, slots=True)
class Logout(ByUser):
    """End the session and its key; the connection stays (R-SESS-12)."""

    ACTION = "logout"
    ANSWERS = ("logout_ack",)


@dataclass(frozen=True, slots=True)
class ChangePassword(ByUser):
    """Take a new password; the old one proves who asks (R-ACC-9)."""

    ACTION = "change_password"
    ANSWERS = ("password_changed",)
    password: Password = field(repr=False)
    new_password: Password = field(repr=False)


@dataclass(frozen=True, slots=True)
class SendMessage(InRoom):
    """Announce a message: the sender's handshake begins (R-MSG-2)."""

    ACTION = "send_message"
    ANSWERS = ("character_count", "ack")
    content: Content
    transaction_id: Key | None = None
    announce: Flag = False

    def check(self, max_content: int) -> None:
        """Check that the content is not too long."""
        size = len(self.content.encode()) if max_content else 0
        if size > max_content:
            raise Refusal(
                ErrorCode.BAD_PACKET,
                f"data.content: expected at most {max_content} bytes of UTF-8, got {size}",
            )


@dataclass(frozen=True, slots=True)
class CharacterCount(AboutTransaction):
    """Tell the server which letters a receiver counted (R-MSG-16)."""

    ACTION = "character_count"
    ANSWERS = ("confirm_count",)
    letter_frequencies: Counts
    original_action: Key


@dataclass(frozen=True, slots=True)
class ConfirmCount(AboutTransaction):
    """Say whether the server counted what the sender meant to send (R-MSG-3)."""

    ACTION = "confirm_count"
    ANSWERS = ("ack",)
    confirm: Flag


@dataclass(frozen=True, slots=True)
class Ack(AboutTransaction):
    """End the receivers' handshake; only an error answers it (R-MSG-17, R-MSG-18)."""

    ACTION = "ack"
    status: AckStatus


@dataclass(frozen=True, slots=True)
class GetMessages(InRoom):
    """Read a page of a room's history (R-HIST-1)."""

    ACTION = "get_messages"
    ANSWERS = ("messages_list",)
    from_time: TimeText | None = None
    after_id: MessageId | None = None
    before_id: MessageId | Absent | None = ABSENT
    limit: PageLimit | None = None

    def check(self, max_content: int) -> None:
        """Check that a time or an id says where the page begins (R-HIST-2)."""
        if self.from_time is None and self.after_id is None and self.before_id is ABSENT:
            raise Refusal(
                ErrorCode.BAD_PACKET,
                f"data.from_time is missing: get_messages needs {_A_TIME_TEXT.expected}",
            )


@dataclass(frozen=True, slots=True)
class FileSendInit(AboutFile):
    """Begin an upload, or take it up again (R-FILE-1, R-FILE-15)."""

    ACTION = "file_send_init"
    ANSWERS = ("file_send_init",)
    file_size: Size
    file_type: Text
    total_packets: Size
    chunk_size: ChunkSize | None = None
    transaction_id: Key | None = None


@dataclass(frozen=True, slots=True)
class FileSendData(AboutFile):
    """Send one chunk of an upload (R-FILE-2)."""

    ACTION = "file_send_data"
    ANSWERS = ("file_send_data",)
    sequence_number: Size
    file_data: Chunk


@dataclass(frozen=True, slots=True)
class FileSendFin(AboutFile):
    """End an upload: the file becomes one of the room's (R-FILE-12)."""

    ACTION = "file_send_fin"
    ANSWERS = ("file_send_fin",)
    total_packets: Size


@dataclass(frozen=True, slots=True)
class FileCancel(AboutFile):
    """Give up an upload, or stop a download (R-FILE-23)."""

    ACTION = "file_cancel"
    ANSWERS = ("file_cancelled",)


@dataclass(frozen=True, slots=True)
class FileListReq(InRoomOfFiles):
    """Read a page of the list of a room's files (R-FILE-24)."""

    ACTION = "file_list_req"
    ANSWERS = ("file_list_req",)
    after: Text | None = None
    limit: PageLimit | None = None


@dataclass(frozen=True, slots=True)
class FileDownReq(AboutFile):
    """Download a file, or the rest of it (R-FILE-19, R-FILE-21)."""

    ACTION = "file_down_req"
    ANSWERS = ("file_down_meta",)
    from_sequence: SequenceNumber = 1


@dataclass(frozen=True, slots=True)
class CreateRoom(ByUser):
    """Make a private room (R-ROOM-8)."""

    ACTION = "create_room"
    ANSWERS = ("room_created",)
    participants: Participants
    room_name: RoomId


@dataclass(frozen=True, slots=True)
class GetRooms(ByUser):
    """Read a page of the list of rooms (R-ROOM-17)."""

    ACTION = "get_rooms"
    ANSWERS = ("rooms_list",)
    after: Text | None = None
    limit: PageLimit | None = None


@dataclass(frozen=True, slots=True)
class JoinRoom(InRoom):
    """Hear an open room again (R-ROOM-5)."""

    ACTION = "join_room"
    ANSWERS = ("room_joined",)


@dataclass(frozen=True, slots=True)
class LeaveRoom(InRoom):
    """Hear an open room no more, or end one's membership of a private room (R-ROOM-14)."""

    ACTION = "leave_room"
    ANSWERS = ("room_left",)


@dataclass(frozen=True, slots=True)
class AddUserToRoom(InRoom):
    """Make a user a member of a private room (R-ROOM-12)."""

    ACTION = "add_user_to_room"
    ANSWERS = ("user_added",)
    user_to_add: Chatid


@dataclass(frozen=True, slots=True)
class RemoveUserFromRoom(InRoom):
    """End a user's membership of a private room (R-ROOM-13)."""

    ACTION = "remove_user_from_room"
    ANSWERS = ("user_removed",)
    user_to_remove: Chatid


@dataclass(frozen=True, slots=True)
class RenameRoom(InRoom):
    """Change the name of a private room, never its id (R-ROOM-15)."""

    ACTION = "rename_room"
    ANSWERS = ("room_renamed",)
    new_room_name: RoomId


@dataclass(frozen=True, slots=True)
class DeleteRoom(InRoom):
    """Put a private room out of reach (R-ROOM-16)."""

    ACTION = "delete_room"
    ANSWERS = ("room_deleted",)


@dataclass(frozen=True, slots=True)
class GetRoomUsers(InRoom):
    """Read a page of the list of a room's users (R-ROOM-19)."""

    ACTION = "get_room_users"
    ANSWERS = ("room_users_list",)
    after: Text | None = None
    limit: PageLimit | None = None


@dataclass(frozen=True, slots=True)
class GetUsers(ByUser):
    """Read a page of the list of accounts (R-EVT-5)."""

    ACTION = "get_users"
    ANSWERS = ("users_list",)
    after: Text | None = None
    limit: PageLimit | None = None


@dataclass(frozen=True, slots=True)
class Typing(InRoom):
    """Tell a room that the user types; has no reply (R-EVT-4)."""

    ACTION = "typing"


@dataclass(frozen=True, slots=True)
class AboutUser(ByUser):
    """What a teacher asks about one user."""

    FOR_TEACHERS = True
    user: Chatid


@dataclass(frozen=True, slots=True)
class MuteUser(AboutUser):
    """Let a user say nothing for some seconds; 0 = until lifted (R-TEACH-7)."""

    ACTION = "mute_user"
    ANSWERS = ("user_muted",)
    seconds: Seconds
    reason: Reason = ""


@dataclass(frozen=True, slots=True)
class UnmuteUser(AboutUser):
    """Let a user speak again (R-TEACH-7)."""

    ACTION = "unmute_user"
    ANSWERS = ("user_unmuted",)


@dataclass(frozen=True, slots=True)
class KickUser(AboutUser):
    """End a user's session and its key; the user may come back (R-TEACH-8)."""

    ACTION = "kick_user"
    ANSWERS = ("user_kicked",)
    reason: Reason = ""


@dataclass(frozen=True, slots=True)
class BanUser(AboutUser):
    """Kick a user, and refuse its logins for some seconds; 0 = until lifted (R-TEACH-9)."""

    ACTION = "ban_user"
    ANSWERS = ("user_banned",)
    seconds: Seconds
    reason: Reason = ""


@dataclass(frozen=True, slots=True)
class UnbanUser(AboutUser):
    """Let a user log in again (R-TEACH-9)."""

    ACTION = "unban_user"
    ANSWERS = ("user_unbanned",)


@dataclass(frozen=True, slots=True)
class SetRoom(InRoom):
    """Say whether students may write in a room, and send files there (R-TEACH-10)."""

    ACTION = "set_room"
    ANSWERS = ("room_set",)
    FOR_TEACHERS = True
    read_only: Flag | None = None
    uploads: Flag | None = None


@dataclass(frozen=True, slots=True)
class PauseClass(ByUser):
    """Make every room read-only for some seconds; 0 = until resumed (R-TEACH-11)."""

    ACTION = "pause_class"
    ANSWERS = ("class_paused",)
    FOR_TEACHERS = True
    seconds: Seconds
    reason: Reason = ""


@dataclass(frozen=True, slots=True)
class ResumeClass(ByUser):
    """End the pause (R-TEACH-11)."""

    ACTION = "resume_class"
    ANSWERS = ("class_resumed",)
    FOR_TEACHERS = True


@dataclass(frozen=True, slots=True)
class HideMessage(ByUser):
    """Take what a message says out of sight (R-TEACH-15)."""

    ACTION = "hide_message"
    ANSWERS = ("message_hidden",)
    FOR_TEACHERS = True
    message_id: MessageId
    reason: Reason = ""


@dataclass(frozen=True, slots=True)
class ShowMessage(ByUser):
    """Show a hidden message again (R-TEACH-15)."""

    ACTION = "show_message"
    ANSWERS = ("message_shown",)
    FOR_TEACHERS = True
    message_id: MessageId


@dataclass(frozen=True, slots=True)
class RemoveFile(InRoom):
    """Take a file out of its room, and delete its bytes (R-TEACH-16)."""

    ACTION = "remove_file"
    ANSWERS = ("file_removed",)
    FOR_TEACHERS = True
    file_path: FileName


@dataclass(frozen=True, slots=True)
class GetSessions(ByUser):
    """Read a page of the list of who is on (R-TEACH-17)."""

    ACTION = "get_sessions"
    ANSWERS = ("sessions_list",)
    FOR_TEACHERS = True
    offline: Flag = False
    after: Text | None = None
    limit: PageLimit | None = None


@dataclass(frozen=True, slots=True)
class GetAllRooms(ByUser):
    """Read a page of the list of all rooms (R-TEACH-18)."""

    ACTION = "get_all_rooms"
    ANSWERS = ("all_rooms_list",)
    FOR_TEACHERS = True
    after: Text | None = None
    limit: PageLimit | None = None


@dataclass(frozen=True, slots=True)
class RaiseHand(ByUser):
    """Ask for the teacher's attention; for anybody (R-TEACH-20)."""

    ACTION = "raise_hand"
    ANSWERS = ("hand_raised",)
    text: Reason = ""


@dataclass(frozen=True, slots=True)
class LowerHand(ByUser):
    """Take one's own hand down, or as a teacher anybody's (R-TEACH-20)."""

    ACTION = "lower_hand"
    ANSWERS = ("hand_lowered",)
    user: Chatid | None = None


@dataclass(frozen=True, slots=True)
class GetAudit(ByUser):
    """Read a page of what teachers did (R-TEACH-6)."""

    ACTION = "get_audit"
    ANSWERS = ("audit_list",)
    FOR_TEACHERS = True
    after_id: MessageId = 0
    limit: PageLimit | None = None


# --- The catalogue: what the server sends ---------------------------------------------------------


class Presence(Enum):
    """Whether a key is in a reply."""

    REQUIRED = "every server sends it"
    ADDED = "this server always sends it; one that knows only the course's 24 packets does not"
    OPTIONAL = "it is there only where a rule says so"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a key of a reply holds.

    `name` says it in words; `types` are those of Python after decoding. A text fits `pattern`, the
    elements of a list fit `items`, and an object has exactly `keys`, where one of these is given.
    """

    name: str
    types: tuple[type, ...]
    pattern: re.Pattern[str] | None = None
    items: Kind | None = None
    keys: Mapping[str, Kind] | None = None
    presence: Presence = Presence.REQUIRED


def _list_of(items: Kind) -> Kind:
    return Kind("a list", (list,), items=items)


def _object_of(**keys: Kind) -> Kind:
    return Kind("an object", (dict,), keys=keys)


def _added(kind: Kind) -> Kind:
    return dataclasses.replace(kind, presence=Presence.ADDED)


def _optional(kind: Kind) -> Kind:
    return dataclasses.replace(kind, presence=Presence.OPTIONAL)


_A_TEXT: Final = Kind("a text", (str,))
_A_TEXT_OR_NULL: Final = Kind("a text or null", (str, type(None)))
_A_TIME: Final = Kind("a time", (str,), re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII))
_A_TIME_OR_NULL: Final = Kind("a time or null", (str, type(None)), _A_TIME.pattern)
_A_SHA256: Final = Kind("a SHA-256 in hex", (str,), re.compile(r"[0-9a-f]{64}"))
_A_ROLE: Final = Kind("a role", (str,), re.compile("student|teacher"))
_A_NUMBER: Final = Kind("an integer from 0", (int,))
_A_FLAG: Final = Kind("true or false", (bool,))
_A_NUMBER_OR_NULL: Final = Kind("an integer from 0 or null", (int, type(None)))
_A_CHUNK: Final = Kind("base64 text", (str, bytes))
_COUNTS: Final = Kind("an object of integers", (dict,), items=_A_NUMBER)
_NAMES: Final = _list_of(_A_TEXT)
_RANGES: Final = _list_of(_list_of(_A_NUMBER))
_LIMITS: Final = _object_of(
    max_frame=_A_NUMBER, max_content=_A_NUMBER, max_file=_A_NUMBER, max_chunk=_A_NUMBER
)
_A_STORED_MESSAGE: Final = _object_of(
    message_id=_A_NUMBER,
    sender_chatid=_A_TEXT,
    content=_A_TEXT,
    timestamp=_A_TIME,
    announce=_optional(_A_FLAG),
    hidden=_optional(_A_FLAG),
)
_A_LISTED_FILE: Final = _object_of(
    file_path=_A_TEXT,
    file_size=_A_NUMBER,
    file_type=_A_TEXT,
    sender_chatid=_A_TEXT,
    timestamp=_A_TIME,
    sha256=_A_SHA256,
)
_ROOM_KEYS: Final = {
    "id": _A_TEXT,
    "name": _A_TEXT,
    "owner": _A_TEXT_OR_NULL,
    "private": _A_FLAG,
    "members": _NAMES,
    "has_more": _A_FLAG,
    "unread": _A_NUMBER,
    "last_message_id": _A_NUMBER,
    "read_only": _A_FLAG,
    "uploads": _A_FLAG,
}
_A_LISTED_ROOM: Final = _object_of(**_ROOM_KEYS)
_A_HAND: Final = Kind(
    "an object or null",
    (dict, type(None)),
    keys={"place": _A_NUMBER, "text": _A_TEXT, "since": _A_TIME},
)
_A_LISTED_SESSION: Final = _object_of(
    chatid=_A_TEXT,
    role=_A_ROLE,
    address=_A_TEXT_OR_NULL,
    since=_A_TIME_OR_NULL,
    idle_seconds=_A_NUMBER_OR_NULL,
    rooms=_A_NUMBER,
    messages=_A_NUMBER,
    muted=_A_FLAG,
    muted_until=_A_TIME_OR_NULL,
    banned=_A_FLAG,
    banned_until=_A_TIME_OR_NULL,
    hand=_A_HAND,
    last_seen=_optional(_A_TIME_OR_NULL),
)


_A_LISTED_ACT: Final = _object_of(
    id=_A_NUMBER,
    timestamp=_A_TIME,
    by=_A_TEXT_OR_NULL,
    act=_A_TEXT,
    user=_A_TEXT_OR_NULL,
    room_id=_A_TEXT_OR_NULL,
    message_id=_A_NUMBER_OR_NULL,
    file_path=_A_TEXT_OR_NULL,
    until=_A_TIME_OR_NULL,
    reason=_A_TEXT,
    detail=_A_TEXT,
)


@dataclass(frozen=True, slots=True)
class ReplyType:
    """One entry of the catalogue: a packet of the server.

    `status` and `message` are what the packet says unless `build` is told another; None where the
    packet has neither. `keys` are those of `data`; a packet without any has no `data`. `required`
    are those of them on which a client may count.
    """

    action: str
    status: str | None
    message: str | None
    keys: Mapping[str, Kind]
    required: Mapping[str, Kind]


REPLIES: Final[dict[str, ReplyType]] = {}
"""By action: every packet that the server sends."""


def _reply(
    action: str, message: str | None, /, status: str | None = "success", **keys: Kind
) -> None:
    required = {name: kind for name, kind in keys.items() if kind.presence is Presence.REQUIRED}
    REPLIES[action] = ReplyType(
        action, None if message is None else status, message, keys, required
    )


_reply("error", "The request was refused.", status="error")
_reply(
    "login_success",
    "Login successful",
    chatid=_A_TEXT,
    session_key=_A_TEXT,
    role=_added(_A_ROLE),
    limits=_added(_LIMITS),
    features=_optional(_NAMES),
)
_reply("login_fail", "Invalid credentials or user already logged in", status="error")
_reply("register_success", "Registration successful", chatid=_A_TEXT)
_reply("register_fail", "Registration failed", status="error")
_reply("logout_ack", "Logout successful", chatid=_A_TEXT)
_reply("password_changed", "Password changed successfully.", chatid=_A_TEXT)
_reply(
    "character_count",
    None,
    transaction_id=_A_TEXT,
    letter_frequencies=_COUNTS,
    original_action=_A_TEXT,
)
_reply("confirm_count", None, transaction_id=_A_TEXT, confirm=_A_FLAG)
_reply(
    "ack",
    "Action processed successfully.",
    transaction_id=_A_TEXT,
    message_id=_added(_A_NUMBER),
    timestamp=_added(_A_TIME),
)
_reply(
    "receive_message",
    "New message received.",
    transaction_id=_A_TEXT,
    room_id=_A_TEXT,
    sender_chatid=_A_TEXT,
    content=_A_TEXT,
    timestamp=_A_TIME,
    message_id=_added(_A_NUMBER),
    announce=_optional(_A_FLAG),
)
_reply(
    "receive_file",
    "New file received.",
    room_id=_A_TEXT,
    sender_chatid=_A_TEXT,
    file_path=_A_TEXT,
    file_size=_A_NUMBER,
    file_type=_A_TEXT,
    timestamp=_A_TIME,
)
_reply(
    "messages_list",
    "Messages retrieved successfully.",
    room_id=_A_TEXT,
    messages=_list_of(_A_STORED_MESSAGE),
    has_more=_added(_A_FLAG),
)
_reply(
    "file_send_init",
    "Server ready to receive file.",
    chat_id=_A_TEXT,
    room_id=_A_TEXT,
    file_path=_A_TEXT,
    received=_optional(_RANGES),
    done=_optional(_A_FLAG),
)
_reply(
    "file_send_data",
    "Chunk received.",
    chat_id=_A_TEXT,
    room_id=_A_TEXT,
    file_path=_A_TEXT,
    sequence_number=_A_NUMBER,
)
_reply(
    "file_send_fin",
    "File assembled successfully.",
    chat_id=_A_TEXT,
    room_id=_A_TEXT,
    file_path=_A_TEXT,
    sha256=_added(_A_SHA256),
    stored_as=_added(_A_TEXT),
)
_reply("file_cancelled", "Transfer cancelled.", chat_id=_A_TEXT, room_id=_A_TEXT, file_path=_A_TEXT)
_reply(
    "file_list_req",
    "File list",
    file_list=_A_TEXT,
    files=_added(_list_of(_A_LISTED_FILE)),
    has_more=_added(_A_FLAG),
)
_reply(
    "file_down_meta",
    "Starting file download.",
    room_id=_A_TEXT,
    file_path=_A_TEXT,
    file_size=_A_NUMBER,
    total_packets=_A_NUMBER,
    sha256=_added(_A_SHA256),
    chunk_size=_added(_A_NUMBER),
)
_reply(
    "file_down_data",
    None,
    room_id=_A_TEXT,
    file_path=_A_TEXT,
    sequence_number=_A_NUMBER,
    file_data=_A_CHUNK,
)
_reply("file_down_fin", "File download complete.", room_id=_A_TEXT, file_path=_A_TEXT)
_reply("room_created", "Room created.", room_id=_A_TEXT)
_reply(
    "rooms_list",
    "Rooms retrieved successfully.",
    rooms=_list_of(_A_LISTED_ROOM),
    has_more=_added(_A_FLAG),
)
_reply("room_joined", "Room joined.", room_id=_A_TEXT)
_reply("room_left", "Room left.", room_id=_A_TEXT)
_reply("user_added", "User added to the room.", room_id=_A_TEXT, user_added=_A_TEXT)
_reply("user_removed", "User removed from the room.", room_id=_A_TEXT, user_removed=_A_TEXT)
_reply("room_renamed", "Room renamed.", room_id=_A_TEXT, new_room_name=_A_TEXT)
_reply("room_deleted", "Room deleted.", room_id=_A_TEXT)
_reply(
    "room_users_list",
    "Users of the room retrieved successfully.",
    room_id=_A_TEXT,
    room_name=_A_TEXT,
    users=_NAMES,
    teachers=_added(_NAMES),
    has_more=_added(_A_FLAG),
)
_reply(
    "users_list",
    "Users retrieved successfully.",
    users=_NAMES,
    online=_NAMES,
    teachers=_added(_NAMES),
    has_more=_added(_A_FLAG),
)
_reply("pong", "pong")
_reply("user_muted", "User muted.", user=_A_TEXT, until=_A_TIME_OR_NULL)
_reply("user_unmuted", "User unmuted.", user=_A_TEXT)
_reply("user_kicked", "Session ended.", user=_A_TEXT)
_reply("user_banned", "User banned.", user=_A_TEXT, until=_A_TIME_OR_NULL)
_reply("user_unbanned", "User no longer banned.", user=_A_TEXT)
_reply("room_set", "Room set.", room_id=_A_TEXT, read_only=_A_FLAG, uploads=_A_FLAG)
_reply("class_paused", "Class paused.", until=_A_TIME_OR_NULL)
_reply("class_resumed", "Class resumed.")
_reply("message_hidden", "Message hidden.", message_id=_A_NUMBER)
_reply("message_shown", "Message shown.", message_id=_A_NUMBER)
_reply("file_removed", "File removed.", room_id=_A_TEXT, file_path=_A_TEXT)
_reply(
    "sessions_list",
    "Sessions retrieved successfully.",
    sessions=_list_of(_A_LISTED_SESSION),
    has_more=_added(_A_FLAG),
)
_reply(
    "all_rooms_list",
    "Rooms retrieved successfully.",
    rooms=_list_of(_object_of(**_ROOM_KEYS, deleted=_A_FLAG)),
    has_more=_added(_A_FLAG),
)
_reply("hand_raised", "Hand raised.", user=_A_TEXT, text=_A_TEXT, place=_A_NUMBER)
_reply("hand_lowered", "Hand lowered.", user=_A_TEXT)
_reply(
    "audit_list",
    "Acts retrieved successfully.",
    acts=_list_of(_A_LISTED_ACT),
    has_more=_added(_A_FLAG),
)
_reply(
    "event",
    None,
    type=_A_TEXT,
    chatid=_optional(_A_TEXT),
    room_id=_optional(_A_TEXT),
    name=_optional(_A_TEXT),
    reason=_optional(_A_TEXT),
    until=_optional(_A_TIME_OR_NULL),
    read_only=_optional(_A_FLAG),
    uploads=_optional(_A_FLAG),
    message_id=_optional(_A_NUMBER),
    content=_optional(_A_TEXT),
    file_path=_optional(_A_TEXT),
    text=_optional(_A_TEXT),
)

EVENT_TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "user_online": ("chatid",),
    "user_offline": ("chatid",),
    "room_created": ("room_id", "name"),
    "room_renamed": ("room_id", "name"),
    "room_deleted": ("room_id", "name"),
    "user_added": ("room_id", "chatid"),
    "user_removed": ("room_id", "chatid"),
    "typing": ("room_id", "chatid"),
    "taken_over": (),
    "session_ended": ("reason",),
    "server_closing": (),
    "user_muted": ("chatid", "until", "reason"),
    "user_unmuted": ("chatid",),
    "user_kicked": ("chatid", "reason"),
    "user_banned": ("chatid", "until", "reason"),
    "room_set": ("room_id", "read_only", "uploads"),
    "class_paused": ("until", "reason"),
    "class_resumed": (),
    "message_hidden": ("room_id", "message_id", "content", "reason"),
    "message_shown": ("room_id", "message_id", "content"),
    "file_removed": ("room_id", "file_path"),
    "teacher_reads": ("room_id", "chatid"),
    "hand_raised": ("chatid", "text"),
    "hand_lowered": ("chatid",),
}
"""By type of an event: the keys of its `data` besides `type`."""


# --- The catalogue: the steps of both handshakes --------------------------------------------------
# docs/PROTOCOL.md, "Sending a message", draws them; tests compare the two, and walk the server and
# the client along these tables.


@dataclass(frozen=True, slots=True)
class Step:
    """One legal step. Read it aloud: "In state `before` the `sender` sends `packet` that `says`
    this; then the state is `after`, by this `rule`"."""

    before: str
    sender: str
    packet: str
    says: str
    after: str
    rule: str


SENDERS_HANDSHAKE: Final = (
    Step("unsent", "client", "send_message", "", "announced", "R-MSG-2"),
    Step("announced", "server", "character_count", "", "counted", "R-MSG-2"),
    Step("announced", "server", "ack", "status success", "stored", "R-MSG-9"),
    Step("announced", "server", "error", "", "refused", "R-ERR-1"),
    Step("counted", "client", "confirm_count", "confirm true", "confirmed", "R-MSG-3"),
    Step("counted", "client", "confirm_count", "confirm false", "rejected", "R-MSG-3"),
    Step("counted", "client", "send_message", "", "announced", "R-MSG-10"),
    Step("confirmed", "server", "ack", "status success", "stored", "R-MSG-4"),
    Step("confirmed", "server", "error", "", "refused", "R-MSG-6"),
    Step("rejected", "server", "ack", "status error", "dropped", "R-MSG-5"),
)
"""Of one message between its sender and the server: from `unsent` to `stored`, `dropped` or
`refused`."""

RECEIVERS_HANDSHAKE: Final = (
    Step("stored", "server", "receive_message", "", "delivered", "R-MSG-4"),
    Step("delivered", "client", "character_count", "", "checking", "R-MSG-16"),
    Step("checking", "server", "confirm_count", "confirm true", "agreed", "R-MSG-16"),
    Step("checking", "server", "confirm_count", "confirm false", "disagreed", "R-MSG-16"),
    Step("agreed", "client", "ack", "status success", "read", "R-MSG-17"),
    Step("disagreed", "client", "ack", "status error", "stored", "R-MSG-18"),
)
"""Of one stored message between the server and one receiver: from `stored` to `read`."""


# --- Types of fields ------------------------------------------------------------------------------
# Each is the Python type that a record holds, and the check that every value on the wire must pass.


@dataclass(frozen=True, slots=True)
class Check:
    """What a field must be: `expected` says it in words; `read` returns the value for the record,
    or raises ValueError (its text, where there is one, is more exact than `expected`)."""

    expected: str
    read: Callable[[Any], Any]


def _text(most: int, what: str = "text") -> Check:
    def read(value: Any) -> str:
        if type(value) is not str or not 1 <= len(value) <= most or "\0" in value:
            raise ValueError
        return value

    return Check(f"{what}, a string of 1 to {most} characters without NUL", read)


def _integer(least: int, most: int = MAX_INTEGER) -> Check:
    def read(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError
        return value

    return Check(f"an integer from {least} to {most if most != MAX_INTEGER else '2^53-1'}", read)


def _texts(most: int, count: int, what: str) -> Check:
    item = _text(most)

    def read(value: Any) -> tuple[str, ...]:
        if type(value) is not list or len(value) > count:
            raise ValueError
        return tuple(item.read(word) for word in value)

    return Check(f"a list of at most {count} {what}, each a string of 1 to {most} characters", read)


def _text_or_none(most: int) -> Check:
    def read(value: Any) -> str:
        if type(value) is not str or len(value) > most or "\0" in value:
            raise ValueError
        return value

    return Check(f"a string of at most {most} characters without NUL", read)


def _read_flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError
    return value


def _read_room(value: Any) -> str:
    if (
        type(value) is not str
        or not 1 <= len(value) <= MAX_ROOM_CHARACTERS
        or not value.isprintable()
        or value != value.strip()
    ):
        raise ValueError
    return value


def _read_content(value: Any) -> str:
    if type(value) is not str or not value or "\0" in value:
        raise ValueError
    if len(value) > MAX_LETTERS and len(set(value)) > MAX_LETTERS:
        raise ValueError(f"at most {MAX_LETTERS} different characters")
    return value


_INTEGERS_ONLY: Final = {int}


def _read_counts(value: Any) -> dict[str, int]:
    if type(value) is not dict or (value and set(map(type, value.values())) != _INTEGERS_ONLY):
        raise ValueError
    return value


def _read_chatid(value: Any) -> str:
    if type(value) is not str:
        raise ValueError
    problem = chatid_problem(value)
    if problem is not None:
        raise ValueError(problem.removeprefix("expected "))
    return value


def _read_file_name(value: Any) -> str:
    if type(value) is not str or "\0" in value:
        raise ValueError
    return clean_file_name(value)


def _read_chunk(value: Any) -> bytes:
    if type(value) is bytes:
        return value
    chunk = decode_base64(value.encode()) if type(value) is str else None
    if chunk is None:
        raise ValueError
    return chunk


def _read_status(value: Any) -> str:
    if value not in ("success", "error"):
        raise ValueError
    return str(value)


_A_PASSWORD: Final = _text(MAX_PASSWORD_CHARACTERS, "a password")
_A_TIME_TEXT: Final = Check("a time, a string such as 2024-01-01T12:00:00Z", _read_content)
_BESIDE_DATA: Final = "stands beside `data`, not in it"

AckStatus: TypeAlias = Annotated[str, Check('"success" or "error"', _read_status), _BESIDE_DATA]
Chatid: TypeAlias = Annotated[str, _text(MAX_CHATID_CHARACTERS, "a chatid")]
Chunk: TypeAlias = Annotated[bytes, Check("base64 text", _read_chunk)]
ChunkSize: TypeAlias = Annotated[int, _integer(1, MAX_CHUNK_BYTES)]
Content: TypeAlias = Annotated[
    str, Check("a string that is not empty and holds no NUL", _read_content)
]
Counts: TypeAlias = Annotated[
    Mapping[str, int], Check("an object of integers, one for each character", _read_counts)
]
Features: TypeAlias = Annotated[tuple[str, ...], _texts(64, 64, "features")]
FileName: TypeAlias = Annotated[
    str, Check(f"a file name of 1 to {MAX_FILE_NAME_BYTES} bytes", _read_file_name)
]
Flag: TypeAlias = Annotated[bool, Check("true or false", _read_flag)]
Key: TypeAlias = Annotated[str, _text(MAX_KEY_CHARACTERS)]
MessageId: TypeAlias = Annotated[int, _integer(0)]
NewChatid: TypeAlias = Annotated[
    str,
    Check(
        f"a name of 1 to {MAX_CHATID_CHARACTERS} characters: letters, digits, '_', '-' or '.'",
        _read_chatid,
    ),
]
PageLimit: TypeAlias = Annotated[int, _integer(1, MAX_PAGE)]
Participants: TypeAlias = Annotated[tuple[str, ...], _texts(MAX_CHATID_CHARACTERS, 1_000, "names")]
Password: TypeAlias = Annotated[str, _A_PASSWORD]
Reason: TypeAlias = Annotated[str, _text_or_none(MAX_REASON_CHARACTERS)]
RoomId: TypeAlias = Annotated[
    str,
    Check(
        f"a string of 1 to {MAX_ROOM_CHARACTERS} printable characters "
        "without leading or trailing space",
        _read_room,
    ),
]
Seconds: TypeAlias = Annotated[int, _integer(0, MAX_ACT_SECONDS)]
SequenceNumber: TypeAlias = Annotated[int, _integer(1)]
Size: TypeAlias = Annotated[int, _integer(0)]
Text: TypeAlias = Annotated[str, _text(255)]
SessionKey: TypeAlias = Text
TimeText: TypeAlias = Annotated[str, _A_TIME_TEXT]


# --- Requests as a table --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a request.

    `name` is that on the wire and that of the record's attribute. `absent` is the value where an
    optional key is left out. `nullable`: `null` is allowed. `on_top`: it stands beside `data`.
    """

    name: str
    check: Check
    required: bool
    absent: Any
    nullable: bool
    on_top: bool


@dataclass(frozen=True, slots=True)
class RequestType:
    """One entry of the catalogue: which record a client's packet becomes, and from which fields.

    `answers` are the replies of which one answers it; `identity` is the key that names the
    session's user (`chatid` or `chat_id`), None where there is none; `has_check`: the record has a
    rule that one field alone can't show.
    """

    action: str
    record: type[Request]
    answers: tuple[str, ...]
    before_login: bool
    for_teachers: bool
    fields: tuple[Field, ...]
    identity: str | None
    has_check: bool


def _field_of(item: dataclasses.Field[Any], hint: Any) -> Field:
    choices = typing.get_args(hint) if typing.get_origin(hint) is not Annotated else (hint,)
    (annotated,) = (choice for choice in choices if typing.get_origin(choice) is Annotated)
    check, *more = annotated.__metadata__
    required = item.default is dataclasses.MISSING
    return Field(
        item.name,
        check,
        required,
        None if required else item.default,
        nullable=item.default is ABSENT,
        on_top=_BESIDE_DATA in more,
    )


def _request_type(record: type[Request]) -> RequestType:
    hints = typing.get_type_hints(record, include_extras=True)
    fields = tuple(
        _field_of(item, hints[item.name])
        for item in dataclasses.fields(record)
        if item.name != "request_id"
    )
    return RequestType(
        record.ACTION,
        record,
        record.ANSWERS,
        record.BEFORE_LOGIN,
        record.FOR_TEACHERS,
        fields,
        next((item.name for item in fields if item.name in ("chatid", "chat_id")), None),
        has_check=record.check is not Request.check,
    )


REQUESTS: Final[Mapping[str, RequestType]] = {
    record.ACTION: _request_type(record)
    for record in list(globals().values())
    if isinstance(record, type) and issubclass(record, Request) and record.ACTION
}
"""By action: every record above that has an ACTION, in the order in which they stand there."""


# --- Framing --------------------------------------------------------------------------------------

_OTHER_PROTOCOLS: Final = (
    (b"GET ", "an HTTP request"),
    (b"POST", "an HTTP request"),
    (b"HEAD", "an HTTP request"),
    (b"PUT ", "an HTTP request"),
    (b"OPTI", "an HTTP request"),
    (b"HTTP", "an HTTP answer"),
    (b"SSH-", "SSH"),
    (b"\x16\x03", "a TLS handshake"),
    (b"\x15\x03", "a TLS alert"),
    (b'{"', "JSON without its length"),
    (b"{ ", "JSON without its length"),
    (b"{\n", "JSON without its length"),
)


def frame(payload: bytes) -> bytes:
    """Return the bytes that go over the wire: a 4-byte unsigned big-endian length, then
    `payload`."""
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


class FrameReader:
    """Cuts a stream of bytes into frames, however the network has split or joined them.

    Holds no more than what was fed: a length that promises much costs nothing until the bytes come
    (R-FRAME-4). `max_frame` (bytes; 0 = no limit) may be changed between two frames. Only one
    thread may use it.
    """

    __slots__ = ("_at", "_held", "max_frame")

    def __init__(self, max_frame: int) -> None:
        self.max_frame = max_frame
        self._held: bytes | bytearray = b""
        self._at = 0

    def feed(self, data: bytes) -> None:
        """Take bytes as they came from the network."""
        if self._at >= len(self._held):
            self._held = data
        else:
            if not isinstance(self._held, bytearray):
                self._held = bytearray(memoryview(self._held)[self._at :])
            elif self._at:
                del self._held[: self._at]
            self._held += data
        self._at = 0

    def next_frame(self) -> bytes | None:
        """Return the payload of the next whole frame, or None until more is fed; raise `BadFrame`
        where the length is impossible."""
        at, held = self._at, self._held
        if len(held) - at < HEADER_BYTES:
            return None
        size = int.from_bytes(held[at : at + HEADER_BYTES], "big")
        if size == 0 or (self.max_frame and size > self.max_frame):
            raise BadFrame(self._complaint(size, bytes(held[at : at + HEADER_BYTES])))
        end = at + HEADER_BYTES + size
        if len(held) < end:
            return None
        self._at = end
        if end == len(held):  # keep no memory: the next frame may take long to come
            self._held, self._at = b"", 0
        if isinstance(held, bytes):
            return held[at + HEADER_BYTES : end]
        with memoryview(held) as view:
            return bytes(view[at + HEADER_BYTES : end])

    @property
    def waiting(self) -> int:
        """Return how many bytes of an unfinished frame are held; 0 between frames."""
        return len(self._held) - self._at

    def _complaint(self, size: int, header: bytes) -> str:
        most = self.max_frame or 2**32 - 1
        text = f"a frame of length {size} can't be read: expected 1 to {most} bytes"
        for start, name in _OTHER_PROTOCOLS:
            if header.startswith(start):
                return (
                    f"{text}; the bytes {header.hex(' ')} look like {name}, "
                    "but this is a chat server (4-byte length, then JSON)"
                )
        return f"{text}; the four bytes were {header.hex(' ')}, read as big-endian"


# --- Strict JSON ----------------------------------------------------------------------------------

_LONG_NUMBER: Final = re.compile(r"[0-9]{16}")
_FLOAT_MARK: Final = re.compile(r"[0-9][.eE]")
_STRINGS: Final = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.DOTALL)
"""A string that never ends matches to the end of the text, so the search never starts over."""
_BRACKETS: Final = re.compile(r"[\[{]\s*[\]}]|[\[{\]},]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def _no_constant(word: str) -> float:
    raise BadJson(f"{word} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BadJson(f"the key {describe(key)} stands twice in one object")
            seen.add(key)
    return result


def _whole_number(digits: str) -> int:
    # A text over 17 characters can't be in range; int() itself raises for 4,301 digits and more.
    if len(digits) > 17 or abs(int(digits)) > MAX_INTEGER:
        raise BadJson(f"the integer {describe(digits)} is outside -(2^53-1) to 2^53-1")
    return int(digits)


def _finite(digits: str) -> float:
    if len(digits) > MAX_NUMBER_CHARACTERS:
        raise BadJson(
            f"a number of {len(digits)} characters: expected at most {MAX_NUMBER_CHARACTERS}"
        )
    value = float(digits)
    if math.isinf(value):
        raise BadJson(f"the number {describe(digits)} overflows")
    return value


_QUICK: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
_CAREFUL: Final = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_constant=_no_constant,
    parse_int=_whole_number,
    parse_float=_finite,
)


def decode_object(payload: bytes, elements: int = MAX_ELEMENTS) -> dict[str, Any]:
    """Return the one JSON object that `payload` holds, checked as R-JSON says; raise `BadJson` with
    what is wrong. `elements` is how many keys and elements it may hold.

    A few scans that run in C check the usual packet (7 µs instead of 30 for a packet with 30
    counts). Only where they find something that might break a rule does a slower look decide.
    """
    if payload.startswith(b"\xef\xbb\xbf"):
        raise BadJson("the text begins with a byte-order mark; leave it out")
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadJson(
            f"not UTF-8: byte {payload[error.start]:#04x} at offset {error.start}"
        ) from None
    opened = text.count("{") + text.count("[")
    if opened > MAX_DEPTH or opened + text.count(",") > elements:
        _check_shape(text, elements)
    careful = _LONG_NUMBER.search(text) or _FLOAT_MARK.search(text)
    try:
        value = (_CAREFUL if careful else _QUICK).decode(text)
    except json.JSONDecodeError as error:
        raise BadJson(f"not JSON: {error.msg} at character {error.pos}") from None
    if not isinstance(value, dict):
        raise BadJson(f"expected one JSON object, got {describe(value)}")
    if "\\u" in text:
        _check_surrogates(value)
    return value


def _check_shape(text: str, most: int) -> None:
    """Count depth and elements outside of strings, before a parser fails on too many; raise
    `BadJson`."""
    bare = _STRINGS.sub("s", text)
    depth = elements = 0
    for match in _BRACKETS.finditer(bare):
        mark = match.group()
        if mark[0] in "[{":
            if depth >= MAX_DEPTH:
                raise BadJson(f"nested more than {MAX_DEPTH} deep")
            if len(mark) == 1:  # it is not empty: one element, and one more for each comma
                depth += 1
                elements += 1
        elif mark == ",":
            elements += 1
        else:
            depth -= 1
        if elements > most:
            raise BadJson(f"more than {most} keys and elements")


def _check_surrogates(value: object) -> None:
    if isinstance(value, str):
        if _SURROGATE.search(value):
            raise BadJson(
                "a lone surrogate (\\ud800 to \\udfff without its other half) is no character"
            )
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_surrogates(key)
            _check_surrogates(item)
    elif isinstance(value, list):
        for item in value:
            _check_surrogates(item)


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
"""Made once: `json.dumps` makes an encoder for every packet, which is a third of its time."""


def encode_text(text: str) -> bytes:
    """Return `text` as a JSON string in UTF-8."""
    return _ENCODER.encode(text).encode()


def count_elements(value: object) -> int:
    """Return how many keys and elements `value` holds, counted as R-JSON-4 does."""
    if isinstance(value, dict):
        return len(value) + sum(map(count_elements, value.values()))
    if isinstance(value, (list, tuple)):
        return len(value) + sum(map(count_elements, value))
    return 0


def encode_object(packet: Mapping[str, Any]) -> bytes:
    """Return `packet` as compact UTF-8 JSON, without its length."""
    return _ENCODER.encode(packet).encode()


# --- File chunks: base64 inside JSON, without a JSON parser walking through it --------------------
# json.loads reads 66 MB/s of such packets, and cutting the base64 out by position 90. json.dumps
# writes 56 MB/s, and putting the base64 between ready bytes 287 (CPython 3.11, chunks of 64 KiB).

_CHUNK_MARK: Final = b'"file_data"'
_PLACEHOLDER: Final = secrets.token_hex(16)
_A_CHUNK_BYTES: Final = 1024


def decode_packet(payload: bytes, elements: int = MAX_ELEMENTS) -> dict[str, Any]:
    """Return what `decode_object` returns, but with the `file_data` of a large chunk as bytes,
    already decoded."""
    if len(payload) > _A_CHUNK_BYTES:
        split = _split_chunk(payload)
        if split is not None:
            rest, chunk = split
            packet = decode_object(rest, elements)
            data = packet.get("data")
            if isinstance(data, dict) and data.get("file_data") == _PLACEHOLDER:
                data["file_data"] = chunk
                return packet
    return decode_object(payload, elements)


def _split_chunk(payload: bytes) -> tuple[bytes, bytes] | None:
    mark = payload.find(_CHUNK_MARK)
    if mark < 0 or payload.find(_CHUNK_MARK, mark + 1) >= 0:
        return None
    begin = payload.find(b'"', mark + len(_CHUNK_MARK)) + 1
    if begin == 0 or payload[mark + len(_CHUNK_MARK) : begin - 1].strip(b" \t\r\n") != b":":
        return None
    end = payload.find(b'"', begin)
    if end < 0:
        return None
    chunk = decode_base64(payload[begin:end])
    if chunk is None:  # it holds an escape or a wrong character: decode_object says which
        return None
    return payload[:begin] + _PLACEHOLDER.encode() + payload[end:], chunk


def decode_base64(text: bytes) -> bytes | None:
    """Return the bytes of strict base64 (RFC 4648, section 4, with padding), or None."""
    if len(text) % 4:
        return None
    try:
        if sys.version_info >= (3, 11):
            return binascii.a2b_base64(text, strict_mode=True)
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def chunk_frame(
    action: str, data: Mapping[str, Any], chunk: bytes, top: Mapping[str, Any] | None = None
) -> bytes:
    """Return the frame of a `file_send_data` or `file_down_data`: `data` is completed by
    `file_data`, the base64 of `chunk`.

    `top` are keys beside `data`, as `request_id`.
    """
    head = encode_object({"action": action, **(top or {}), "data": {**data, "file_data": ""}})
    encoded = binascii.b2a_base64(chunk, newline=False)
    size = len(head) + len(encoded)
    return b"".join((size.to_bytes(HEADER_BYTES, "big"), head[:-3], encoded, b'"}}'))


# --- Names, times and letters ---------------------------------------------------------------------


def fold_chatid(chatid: str) -> str:
    """Return the form in which two names are compared: NFKC, casefold, NFKC again (Unicode 15,
    section 3.13, D146)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", chatid).casefold())


_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
"""Letters and marks that nobody sees (Unicode, Default_Ignorable_Code_Point): with them, two
different names would look alike."""


def chatid_problem(chatid: str) -> str | None:
    """Return why `chatid` can't be the name of an account, or None where it can (R-ACC-5)."""
    expected = f"1 to {MAX_CHATID_CHARACTERS} characters: letters, digits, '_', '-' or '.'"
    for fold, stage in ((str, ""), (fold_chatid, " after normalising")):
        name = fold(chatid)
        # The length comes first: to normalise a long text of marks costs the square of its length.
        if not 1 <= len(name) <= MAX_CHATID_CHARACTERS:
            return f"expected {expected}, got {len(name)} characters{stage}"
        for position, character in enumerate(unicodedata.normalize("NFC", name)):
            # A mark (Unicode category M) belongs to the letter before it: names in Devanagari or
            # Thai need them.
            kind = "" if _UNSEEN.match(character) else unicodedata.category(character)[0]
            if not (kind in ("L", "N") or (kind == "M" and position) or character in "_-."):
                return f"expected {expected}, got the character U+{ord(character):04X}"
    return None


def password_problem(password: str) -> str | None:
    """Return why `password` can't be one, or None where it can (R-ACC-7)."""
    if 1 <= len(password) <= MAX_PASSWORD_CHARACTERS and "\0" not in password:
        return None
    if "\0" in password:
        return "expected no NUL character"
    return f"expected 1 to {MAX_PASSWORD_CHARACTERS} characters, got {len(password)}"


_RESERVED_NAMES: Final = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])", re.IGNORECASE
)


def clean_file_name(path: str) -> str:
    """Return the name to show for `path`: what stands after the last slash of either kind. Raise
    ValueError with what is expected (R-FILE-17).

    Names that Windows keeps for devices are refused, with any ending ("Naming Files, Paths, and
    Namespaces", Microsoft).
    """
    name = re.split(r"[/\\]", path)[-1]
    if name in ("", ".", ".."):
        raise ValueError("a file name")
    if len(name.encode()) > MAX_FILE_NAME_BYTES:
        raise ValueError(f"a file name of at most {MAX_FILE_NAME_BYTES} bytes")
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in name):
        raise ValueError("a file name without control characters")
    if _RESERVED_NAMES.fullmatch(name.split(".")[0].rstrip(" ")):
        raise ValueError("a file name that Windows does not keep for a device")
    return name


_ISO_TIME: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,12}))?)?([Zz]|[+-]\d\d(?::?\d\d)?)",
    re.ASCII,
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


def parse_time(text: str) -> int:
    """Return the seconds from 1970 to the first whole second at or after `text`, an ISO 8601 time
    with a zone; raise ValueError where it is none (R-HIST-3)."""
    match = _ISO_TIME.fullmatch(text)
    if match is None:
        raise ValueError("it has another form")
    year, month, day, hour, minute = (int(part) for part in match.groups()[:5])
    second, zone = int(match.group(6) or 0), match.group(8)
    leap = second == 60  # a leap second counts as the second after it
    moment = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=timezone.utc)
    seconds = (moment - _EPOCH) // timedelta(seconds=1) + leap
    if zone not in "Zz":
        hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
        if hours > 23 or minutes > 59:
            raise ValueError("expected an offset between -23:59 and +23:59")
        seconds -= (hours * 3600 + minutes * 60) * (-1 if zone[0] == "-" else 1)
    return seconds + bool((match.group(7) or "").strip("0"))


@functools.lru_cache(maxsize=1024)  # all packets of one second carry the same time
def format_time(seconds: int) -> str:
    """Return `seconds` since 1970 as the protocol writes a time: `2024-01-01T12:00:00Z`."""
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def count_letters(content: str) -> dict[str, int]:
    """Return how often each code point stands in `content`; nothing is normalised (R-MSG-1)."""
    return dict(Counter(content))


# --- Reading a request ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Envelope:
    """A client's packet whose JSON and action are known, and whose fields are still to be read."""

    type: RequestType
    packet: Mapping[str, Any] = field(repr=False)
    request_id: str | None


def shown_action(packet: Mapping[str, Any]) -> str:
    """Return the `original_action` of an `error` about `packet`: at most 64 characters."""
    action = packet.get("action")
    return action[:64] if isinstance(action, str) and action else "unknown"


def request_id_of(packet: Mapping[str, Any]) -> str | None:
    """Return the packet's `request_id` where a reply may repeat it, else None (R-JSON-14)."""
    value = packet.get("request_id")
    return (
        value
        if isinstance(value, str) and 1 <= len(value) <= MAX_KEY_CHARACTERS and "\0" not in value
        else None
    )


def open_packet(packet: Mapping[str, Any]) -> Envelope:
    """Find the packet's entry in the catalogue; raise `Refusal` with `bad_packet` or
    `unknown_action`."""
    action = packet.get("action")
    if not isinstance(action, str) or not action:
        expected = "the name of a packet, a string"
        if "action" in packet:
            raise _bad("action", expected, action)
        raise Refusal(ErrorCode.BAD_PACKET, f"action is missing: expected {expected}")
    entry = REQUESTS.get(action)
    if entry is None:
        shown = describe(action)
        told = f"{shown} is sent by servers only" if action in REPLIES else ""
        raise Refusal(ErrorCode.UNKNOWN_ACTION, f"action: {told or f'no packet is called {shown}'}")
    return Envelope(entry, packet, request_id_of(packet))


def read_request(envelope: Envelope, max_content: int = 0) -> Any:
    """Return the envelope's record, every field checked; raise `Refusal` with `bad_packet`, which
    names the key.

    `max_content` is the limit of a message's content in bytes of UTF-8; 0 = none.
    """
    entry, packet = envelope.type, envelope.packet
    if envelope.request_id is None and "request_id" in packet:
        raise _bad(
            "request_id", f"a string of 1 to {MAX_KEY_CHARACTERS} characters", packet["request_id"]
        )
    data = packet.get("data", _NO_DATA)
    if type(data) is not dict:
        raise _bad("data", "an object", data)
    values: list[Any] = [envelope.request_id]
    for item in entry.fields:
        values.append(_read_field(entry.action, item, packet if item.on_top else data))
    request = entry.record(*values)
    if entry.has_check:
        request.check(max_content)
    return request


_NO_DATA: Final[dict[str, Any]] = {}
_OTHER_SPELLING: Final = {"chatid": "chat_id", "chat_id": "chatid"}


def _read_field(action: str, item: Field, data: Mapping[str, Any]) -> Any:
    name = item.name
    other = _OTHER_SPELLING.get(name)
    if name not in data:
        if other is None or other not in data:
            return _absent(action, item)
        name = other
    value = data[name]
    if value is None and item.nullable:
        return None
    if other is not None and data.get(other, value) != value:
        raise Refusal(
            ErrorCode.BAD_PACKET, f"data.{name} and data.{other} differ: expected one of them"
        )
    try:
        return item.check.read(value)
    except ValueError as error:
        path = name if item.on_top else f"data.{name}"
        raise _bad(path, str(error) or item.check.expected, value) from None


def _absent(action: str, item: Field) -> Any:
    if item.required:
        path = item.name if item.on_top else f"data.{item.name}"
        raise Refusal(
            ErrorCode.BAD_PACKET, f"{path} is missing: {action} needs {item.check.expected}"
        )
    return item.absent


# --- Building packets -----------------------------------------------------------------------------

CHECKS_REPLIES: Final = bool(os.environ.get("PROTOCOL_CHECK_REPLIES"))
"""Whether everything built is compared with the catalogue first. Tests set the variable, for
themselves and the servers that they start; in service it would cost more than building."""


def build(
    action: str,
    data: Mapping[str, Any] | None = None,
    *,
    message: str | None = None,
    request_id: str | None = None,
    code: ErrorCode | None = None,
    status: str | None = None,
) -> bytes:
    """Return the frame of one of the server's packets; status and message are the catalogue's
    unless others are given."""
    entry = REPLIES[action]
    packet: dict[str, Any] = {"action": action}
    if entry.message is not None:
        packet["status"] = status or entry.status
        packet["message"] = message or entry.message
    if code is not None:
        packet["code"] = code
    if data is not None:
        packet["data"] = data
    if request_id is not None:
        packet["request_id"] = request_id
    return _frame_of_reply(_ENCODER.encode(packet).encode())


def build_error(
    original_action: str, code: ErrorCode, message: str, request_id: str | None = None
) -> bytes:
    """Return the frame of the seed's `error` packet, with its `code`."""
    packet = {
        "action": "error",
        "original_action": original_action,
        "status": "error",
        "message": message,
        "code": code,
    }
    if request_id is not None:
        packet["request_id"] = request_id
    return _frame_of_reply(_ENCODER.encode(packet).encode())


def build_event(kind: str, **data: Any) -> bytes:
    """Return the frame of an event of one of `EVENT_TYPES`."""
    return build("event", {"type": kind, **data})


def build_request(action: str, data: Mapping[str, Any] | None = None, **top: Any) -> bytes:
    """Return the frame of a client's packet; `top` are keys beside `data`, such as `request_id` or
    an ack's `status`."""
    packet: dict[str, Any] = {"action": action, **top}
    if data is not None:
        packet["data"] = data
    return frame(encode_object(packet))


def build_list(
    action: str,
    data: Mapping[str, Any],
    name: str,
    entries: Sequence[bytes],
    *,
    message: str | None = None,
    request_id: str | None = None,
) -> bytes:
    """Return the frame of one of the server's packets whose `data` is `data` and, under `name`, a
    list of `entries`, each of them JSON already: what was encoded to be measured is not encoded
    again."""
    head = build(action, {**data, name: []}, message=message)[HEADER_BYTES:-3]  # without ]}}
    beside = b"" if request_id is None else b',"request_id":' + encode_text(request_id)
    return _frame_of_reply(b"".join((head, b",".join(entries), b"]}", beside, b"}")))


def _frame_of_reply(payload: bytes) -> bytes:
    if CHECKS_REPLIES:
        try:
            check_sent(decode_object(payload))
        except BadJson as error:
            raise AssertionError(f"no client could read this reply: {error}") from None
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


# --- Checking replies -----------------------------------------------------------------------------


def check_reply(packet: Mapping[str, Any]) -> ReplyType:
    """Return the catalogue's entry for a packet that some server sent; raise `Refusal` where a
    required key is missing or of the wrong type (`bad_packet`), or nobody knows the action."""
    action = packet.get("action")
    entry = REPLIES.get(action) if isinstance(action, str) else None
    if entry is None:
        raise Refusal(
            ErrorCode.UNKNOWN_ACTION, f"action: no server's packet is called {describe(action)}"
        )
    if not entry.required:
        return entry
    data = packet.get("data")
    if not isinstance(data, dict):
        if entry.action == "ack" and packet.get("status") == "error":
            return entry
        raise _bad("data", "an object", data)
    for name, kind in entry.required.items():
        value = data.get(name)
        if (
            name not in data
            or not isinstance(value, kind.types)
            or (type(value) is bool and bool not in kind.types)
        ):
            raise _bad(f"data.{name}", kind.name, value)
    return entry


def check_sent(packet: Mapping[str, Any]) -> None:
    """Check that a packet of this server is to the letter what the catalogue says: every key that
    must be there, no other, each of the right type. Raises AssertionError with what is not."""
    action = str(packet.get("action"))
    if action not in REPLIES:
        raise AssertionError(f"action: no server's packet is called {describe(action)}")
    wrong = _misfit(action, _object_of(**_keys_beside(packet)), packet)
    if wrong:
        raise AssertionError(wrong)


def _keys_beside(packet: Mapping[str, Any]) -> dict[str, Kind]:
    """Return what the catalogue wants beside `data`, and `data` with its keys."""
    action = str(packet["action"])
    entry = REPLIES[action]
    refuses = action == "ack" and packet.get("status") == "error"
    keys = {"action": _A_TEXT, "request_id": _optional(_A_TEXT)}
    if entry.message is not None:
        keys["status"] = _one_of("error" if refuses else str(entry.status))
        keys["message"] = _A_TEXT
    if action == "error":
        keys["original_action"] = _A_TEXT
    if refuses or action in ("error", "register_fail"):
        keys["code"] = _one_of(*ErrorCode)
    inside = entry.keys
    if refuses:
        inside = {"transaction_id": _A_TEXT}
    if action == "event":
        told = packet.get("data")
        kind = str(told.get("type")) if isinstance(told, dict) else ""
        inside = {
            name: dataclasses.replace(REPLIES["event"].keys[name], presence=Presence.REQUIRED)
            for name in ("type", *EVENT_TYPES.get(kind, ()))
        }
        inside["type"] = _one_of(*EVENT_TYPES)
    if inside:
        keys["data"] = _object_of(**inside)
    return keys


def _one_of(*words: str) -> Kind:
    return Kind("one of " + ", ".join(words), (str,), re.compile("|".join(map(re.escape, words))))


def _misfit(path: str, kind: Kind, value: Any) -> str:
    """Return in words what of `value` is not as `kind` says; "" where all of it is."""
    fits = isinstance(value, kind.types)
    if (
        not fits
        or (type(value) is bool and bool not in kind.types)
        or (int in kind.types and value is not None and value < 0)
        or (kind.pattern is not None and value is not None and not kind.pattern.fullmatch(value))
    ):
        return f"{path}: expected {kind.name}, got {describe(value)}"
    if value is None:
        return ""
    if kind.keys is not None:
        for name in {**kind.keys, **value}:
            if name not in kind.keys:
                return f"{path}.{name} is not in the catalogue"
            if name in value:
                wrong = _misfit(f"{path}.{name}", kind.keys[name], value[name])
                if wrong:
                    return wrong
            elif kind.keys[name].presence is not Presence.OPTIONAL:
                return f"{path}.{name} is missing"
    if kind.items is not None:
        for item in value.values() if isinstance(value, dict) else value:
            wrong = _misfit(f"{path}[]", kind.items, item)
            if wrong:
                return wrong
    return ""


# --- Reading a journal: python protocol.py FILE ---------------------------------------------------


MAX_KEPT_FRAME: Final = 64 * 1024 * 1024
"""Bytes: a longer frame in a journal means that the file is something else."""


def read_frames(file: BinaryIO) -> Iterator[bytes]:
    """Yield the payloads of a file of frames; raise `BadFrame` where the last one is cut off."""
    while True:
        header = file.read(HEADER_BYTES)
        if not header:
            return
        size = int.from_bytes(header, "big")
        if len(header) < HEADER_BYTES:
            raise BadFrame(
                "the last frame is cut off in its length: "
                f"expected {HEADER_BYTES} bytes, got {len(header)}"
            )
        if size > MAX_KEPT_FRAME:
            raise BadFrame(f"a frame of length {size}: this is no journal file")
        payload = file.read(size)
        if len(payload) < size:
            raise BadFrame(f"the last frame is cut off: expected {size} bytes, got {len(payload)}")
        yield payload


def main(arguments: list[str] | None = None) -> int:
    """Print the packets of a journal file; return the exit status: 0, or 1 where the file can't be
    read to its end."""
    parser = argparse.ArgumentParser(
        prog="protocol.py", description="Print the packets of a journal file readably."
    )
    parser.add_argument(
        "file", metavar="FILE", help="a file of frames, as chat-data/journal/ holds them"
    )
    name = parser.parse_args(arguments).file
    try:
        with open(name, "rb") as file:
            for number, payload in enumerate(read_frames(file), 1):
                # ASCII only, so that nothing that was said can control the terminal.
                text = json.dumps(json.loads(payload), indent=2)
                header = len(payload).to_bytes(HEADER_BYTES, "big").hex(" ")
                print(f"# packet {number}, {len(payload)} bytes ({header})\n{text}\n")
    except OSError as error:
        # Nobody reads any more: EPIPE, on Windows EINVAL.
        if error.filename is None and error.errno in (errno.EPIPE, errno.EINVAL):
            sys.stderr.close()
        else:
            print(f"protocol.py: {name}: {error.strerror or error}", file=sys.stderr)
        return 1
    except (ValueError, RecursionError, ProtocolError) as error:
        print(f"protocol.py: {name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
