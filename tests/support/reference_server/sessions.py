"""Logins, sessions, accounts."""

from __future__ import annotations

import hashlib
import math
import secrets
import threading
import time

from support.reference_server.connection import Connection
from support.reference_server.fields import (
    folded,
    is_chatid,
)
from support.reference_server.records import Account
from support.reference_server.state import State
from support.reference_server.words import (
    MAX_CHUNK,
    MAX_CONTENT,
    MAX_FILE,
    MAX_FRAME,
    LoginRefusal,
    Packet,
    Refusal,
    RegisterRefusal,
)


class Sessions(State):
    """Logins, sessions, accounts."""

    def do_ping(self, connection: Connection, data: Packet) -> None:
        self.reply(connection, "pong", "pong", None)

    def do_register(self, connection: Connection, data: Packet) -> None:
        name = data["chatid"]
        if not is_chatid(name):
            raise Refusal("bad_packet", "data.chatid: expected letters, digits, '_', '-' and '.'")
        if folded(name) in self.accounts:
            raise RegisterRefusal("name_taken", "This name is taken: choose another.")
        account = self.accounts[folded(name)] = Account(name)
        self.set_password(account, data["password"])
        self.reply(connection, "register_success", "Registration successful", {"chatid": name})

    def set_password(self, account: Account, password: str) -> None:
        account.salt = secrets.token_bytes(16)
        account.password_hash = hashlib.pbkdf2_hmac("sha256", password.encode(), account.salt, 100)

    def password_is_right(self, account: Account, password: str) -> bool:
        return (
            hashlib.pbkdf2_hmac("sha256", password.encode(), account.salt, 100)
            == account.password_hash
        )

    def note_failure(self, connection: Connection, name: str) -> None:
        self.failures.setdefault((folded(name), connection.sock.getpeername()[0]), []).append(
            time.monotonic()
        )

    def end_count(self, connection: Connection, name: str) -> None:
        """A login that succeeds ends the count of failed ones (R-LIM-9)."""
        self.failures.pop((folded(name), connection.sock.getpeername()[0]), None)

    def do_login(self, connection: Connection, data: Packet) -> None:
        if "password" not in data and "session_key" not in data:
            raise Refusal("bad_packet", "data: expected password or session_key")
        account = self.accounts.get(folded(data["chatid"]))
        key = data.get("session_key")
        if key is not None:
            if account is None or not self.key_is_alive(account, key):
                raise LoginRefusal
        else:
            if account is None or not self.password_is_right(account, data["password"]):
                self.note_failure(connection, data["chatid"])
                raise LoginRefusal
            self.check_place(account, data.get("take_over", False))
            account.key_hashes.clear()
            key = self.new_session_key(account)
            account.key_hashes.add(hashlib.sha256(key.encode()).digest())
        self.end_count(connection, account.name)
        self.begin_session(connection, account, data.get("features"))
        answer: Packet = {"chatid": account.name, "session_key": key, "limits": self.limits()}
        if "features" in data:
            answer["features"] = connection.features
        self.reply(connection, "login_success", "Login successful", answer)

    def check_place(self, account: Account, take_over: bool) -> None:
        if account.connection is not None and not take_over:
            raise LoginRefusal

    def key_is_alive(self, account: Account, key: str) -> bool:
        return hashlib.sha256(key.encode()).digest() in account.key_hashes

    def new_session_key(self, account: Account) -> str:
        return secrets.token_urlsafe(24)

    def limits(self) -> Packet:
        return {
            "max_frame": MAX_FRAME,
            "max_content": MAX_CONTENT,
            "max_file": MAX_FILE,
            "max_chunk": MAX_CHUNK,
        }

    def begin_session(
        self, connection: Connection, account: Account, features: list[str] | None
    ) -> None:
        other = account.connection
        if other is not None:
            self.tell_of_take_over(account)
            self.end_session(other, is_told=False)
            other.finish()
        account.connection, connection.account = connection, account
        connection.login_deadline = math.inf
        connection.features = [word for word in ("events", "typing") if word in (features or [])]
        self.tell_presence(account)

    def tell_of_take_over(self, account: Account) -> None:
        self.tell([account], "taken_over")

    def tell_presence(self, account: Account) -> None:
        """Tell whether a user is on, once in `PRESENCE_SECONDS` at most, and the last state always
        (R-EVT-9)."""
        is_on = account.connection is not None
        was_on, at = self.told_presence.get(account.name, (False, -math.inf))
        left = at + self.PRESENCE_SECONDS - time.monotonic()
        if left > 0:
            timer = threading.Timer(left, self.tell_presence_later, [account])
            timer.daemon = True
            timer.start()
            self.timers.append(timer)
        elif is_on != was_on:
            self.told_presence[account.name] = (is_on, time.monotonic())
            kind = "user_online" if is_on else "user_offline"
            self.tell(self.all_but(account), kind, chatid=account.name)

    def tell_presence_later(self, account: Account) -> None:
        with self.lock:
            self.tell_presence(account)

    def end_session(self, connection: Connection, is_told: bool = True) -> None:
        account = connection.account
        if account is None:
            return
        connection.account = account.connection = None
        connection.features = []
        connection.transactions.clear()
        with connection.wake:
            connection.downloads.clear()
        connection.login_deadline = time.monotonic() + self.LOGIN_SECONDS
        if is_told:
            self.tell_presence(account)

    def let_go(self, connection: Connection) -> None:
        """A client that sends no more is offline for the others; it gets the rest of what it asked
        for (R-FRAME-9)."""
        with self.lock:
            account = connection.account
            if account is not None:
                connection.account = account.connection = None
                connection.transactions.clear()
                self.tell_presence(account)

    def do_logout(self, connection: Connection, data: Packet) -> None:
        account = self.me(connection)
        account.key_hashes.clear()
        self.end_session(connection)
        self.reply(connection, "logout_ack", "Logout successful", {"chatid": account.name})

    def do_change_password(self, connection: Connection, data: Packet) -> None:
        account = self.me(connection)
        if not self.password_is_right(account, data["password"]):
            self.note_failure(connection, account.name)
            raise Refusal("forbidden", "data.password: this is not your password")
        self.set_password(account, data["new_password"])
        account.key_hashes.clear()
        self.reply(
            connection,
            "password_changed",
            "Password changed successfully.",
            {"chatid": account.name},
        )
