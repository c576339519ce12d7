"""Servers with a fault about sessions and accounts."""

from __future__ import annotations

import hashlib

from support.planted_faults.plant import plant
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.fields import Request
from support.reference_server.records import Account
from support.reference_server.words import Packet, Refusal


@plant("R-SESS-2", "R-SESS-4", "R-SESS-10")
class SameSessionKey(ReferenceServer):
    """Everybody gets the same session key."""

    def new_session_key(self, account: Account) -> str:
        return "unique_session_key"


@plant("R-SESS-4")
class TellsWhichWasWrong(ReferenceServer):
    """`login_fail` says whether the name or the password was wrong."""

    def do_login(self, connection: Connection, data: Packet) -> None:
        if data["chatid"].casefold() not in self.accounts:
            return self.reply(
                connection, "login_fail", "There is no such user", None, status="error"
            )
        super().do_login(connection, data)


@plant("R-SESS-4", "R-SESS-8", "R-ACC-9")
class AnyPassword(ReferenceServer):
    """Every password is right."""

    def password_is_right(self, account: Account, password: str) -> bool:
        return True


@plant("R-SESS-5", "R-SESS-8", waits=True)
class SecondLogin(ReferenceServer):
    """A user who is on may log in a second time, and both go on."""

    def check_place(self, account: Account, take_over: bool) -> None:
        pass

    def begin_session(
        self, connection: Connection, account: Account, features: list[str] | None
    ) -> None:
        account.connection = None
        super().begin_session(connection, account, features)


@plant("R-SESS-6")
class LogsInAgain(ReferenceServer):
    """`login` on a connection that is logged in logs in once more."""

    def check_identity(
        self, connection: Connection, action: str, data: Packet, request: Request
    ) -> None:
        if action != "login":
            return super().check_identity(connection, action, data, request)
        self.end_session(connection)


@plant("R-SESS-7", "R-ACC-4")
class AnyName(ReferenceServer):
    """`chatid` of a request is not compared with who is logged in."""

    def check_identity(
        self, connection: Connection, action: str, data: Packet, request: Request
    ) -> None:
        if action == "login":
            super().check_identity(connection, action, data, request)


@plant("R-SESS-8", waits=True)
class TakeOverLeavesBoth(ReferenceServer):
    """A login with the key takes the place, but the other connection is not closed."""

    def begin_session(
        self, connection: Connection, account: Account, features: list[str] | None
    ) -> None:
        if account.connection is not None:
            self.end_session(account.connection)
        super().begin_session(connection, account, features)


@plant("R-SESS-10")
class KeyChanges(ReferenceServer):
    """A login with the key gives a new key, and the old one dies."""

    def reply(
        self,
        connection: Connection,
        action: str,
        message: str | None,
        data: Packet | None,
        status: str = "success",
        code: str = "",
    ) -> None:
        if action == "login_success" and data is not None:
            account = self.me(connection)
            fresh = self.new_session_key(account)
            account.key_hashes = {hashlib.sha256(fresh.encode()).digest()}
            data = {**data, "session_key": fresh}
        super().reply(connection, action, message, data, status, code)


@plant("R-SESS-11")
class KeyOutlivesLogout(ReferenceServer):
    """The key goes on after `logout`."""

    def do_logout(self, connection: Connection, data: Packet) -> None:
        account = self.me(connection)
        kept = set(account.key_hashes)
        super().do_logout(connection, data)
        account.key_hashes = kept


@plant("R-SESS-12")
class LogoutCloses(ReferenceServer):
    """`logout` closes the connection."""

    def do_logout(self, connection: Connection, data: Packet) -> None:
        super().do_logout(connection, data)
        with connection.wake:
            connection.last_word = True
            connection.wake.notify_all()


@plant("R-SESS-13")
class PingAfterLoginOnly(ReferenceServer):
    """`ping` needs a login."""

    def check_login(self, connection: Connection, action: str, request: Request) -> None:
        if connection.account is None and action == "ping":
            raise Refusal("not_logged_in", "ping needs a login first")
        super().check_login(connection, action, request)


@plant("R-ACC-2", "R-ACC-4")
class RegisterAgain(ReferenceServer):
    """`register` for a taken name gives the account a new password."""

    def do_register(self, connection: Connection, data: Packet) -> None:
        account = self.accounts.get(data["chatid"].casefold())
        if account is None or account.name != data["chatid"]:
            return super().do_register(connection, data)
        self.set_password(account, data["password"])
        self.reply(
            connection, "register_success", "Registration successful", {"chatid": account.name}
        )


@plant("R-ACC-5")
class AnyChatid(ReferenceServer):
    """`register` takes any text as a name."""

    def do_register(self, connection: Connection, data: Packet) -> None:
        name = data["chatid"]
        if all(character.isalnum() or character in "_-." for character in name):
            return super().do_register(connection, data)
        account = self.accounts[name.casefold()] = Account(name)
        self.set_password(account, data["password"])
        self.reply(connection, "register_success", "Registration successful", {"chatid": name})


@plant("R-ACC-9")
class OldPasswordNotAsked(ReferenceServer):
    """`change_password` does not look at the old password."""

    def do_change_password(self, connection: Connection, data: Packet) -> None:
        account = self.me(connection)
        self.set_password(account, data["new_password"])
        account.key_hashes.clear()
        self.reply(
            connection,
            "password_changed",
            "Password changed successfully.",
            {"chatid": account.name},
        )
