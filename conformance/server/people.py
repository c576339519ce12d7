"""The users of one case: new connections, accounts, and users who are logged in.

Owns how an account comes about (given, registered, made by the first login) and which users
several cases share. Judges nothing about the protocol. One thread runs a case.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any, final

from conformance.endings import NotOffered, NotReached
from conformance.packets import Packet, shown
from conformance.server.checks import Checks
from conformance.server.names import Names
from conformance.server.target import Account, Target
from conformance.server.user import User
from conformance.transcript import FROM_BEFORE, Transcript
from conformance.wire import Closed, Silence, Wire, WireProblem


@final
class People:
    """The users and connections of one case.

    `idle` is shared by all cases of a run: users who are logged in and free for the next case.
    `until` is when the case must be over, as `time.monotonic()`.
    """

    def __init__(
        self,
        target: Target,
        idle: list[User],
        names: Names,
        checks: Checks,
        transcript: Transcript,
        until: float,
    ) -> None:
        self.target = target
        self.idle = idle
        self.names = names
        self.checks = checks
        self.transcript = transcript
        self.until = until
        self._users: list[User] = []
        self._wires: list[Wire] = []

    def apart(self) -> People:
        """Return the same for users of their own, whom a question needs for a moment.

        What goes wrong there is counted to the rule of the case.
        """
        checks = Checks(self.target, self.checks.first_rule)
        return People(self.target, self.idle, self.names, checks, self.transcript, self.until)

    def accounts_are_few(self) -> bool:
        """Return whether the run has only given accounts, so that none may be held for long."""
        return (
            bool(self.target.accounts)
            or self.target.account_source == "none"
            or any(user.account.is_given for user in self.idle)
        )

    def connect(self, who: str = "") -> Wire:
        """Make a connection that nobody is logged in on; Refused (NOT REACHED) where nobody
        listens."""
        wire = Wire.connect(
            self.target.host,
            self.target.port,
            self.transcript,
            who or f"c{len(self._wires) + 1}",
            self.target.timeout,
            self.until,
        )
        self._wires.append(wire)
        return wire

    def guest(self, account: Account | None = None) -> User:
        """Make a user on a new connection who is not logged in yet.

        Without an account the name is one that nobody has.
        """
        account = account or Account(self.names.name(), self.names.password())
        user = User(self.checks, self.connect(account.chatid), account)
        user.is_own = True
        self._users.append(user)
        return user

    def account(self, *, fresh: bool = False) -> Account:
        """Return an account that nobody is logged in with and that only this case uses.

        NOT REACHED where none is to be had.

        With `fresh` it is a new one, never one of `--account`: for what can't be undone, as another
        password. Where the server makes no accounts that is NOT OFFERED.
        """
        with self.checks.given("an account", remember="account"):
            user = self._made_user(login=False, own=True, fresh=fresh)
            user.wire.close()
            return user.account

    def user(self, *, own: bool = False, fresh: bool = False, features: Sequence[str] = ()) -> User:
        """Return a user who is logged in (NOT REACHED where that is impossible).

        Cases share users to save the server's hashing, so don't change a password, log out or rely
        on what a user never did unless it is your `own`, which nobody else uses meanwhile. `fresh`
        is `own`, and never an account of `--account`: for what stays with an account, as all its
        room. `features` are asked for at login, and make it `own`.
        """
        with self.checks.given("a user who is logged in", remember="user"):
            if not (own or fresh or features):
                shared = self._shared_user()
                if shared is not None:
                    return shared
            user = self._made_user(login=not features, own=own, fresh=fresh)
            user.is_own = own or fresh or bool(features)
            if features and user.account.is_given:
                self._login_given(user, features=list(features))
            elif features:
                reply = user.login(features=list(features))
                self.checks.check(user.is_on, "`login_success`", f"this came: {shown(reply)}")
            return user

    def users(self, count: int, *, own: bool = False) -> list[User]:
        """Return so many different users who are logged in."""
        return [self.user(own=own) for _ in range(count)]

    def _shared_user(self) -> User | None:
        while self.idle:
            user = self.idle.pop(0)
            user.checks = self.checks
            user.wire.transcript, user.wire.until, user.wire.timeout = (
                Transcript(),
                self.until,
                self.target.timeout,
            )
            try:
                # what other cases left over is nothing that this one's transcript should show, nor
                # a reply to what is asked now
                user.wire.take_aside()
                user.fence()
            except WireProblem:
                user.close()
                self._give_back(user.account)
                continue
            user.wire.take_aside()
            user.wire.transcript = self.transcript
            self.transcript.note(FROM_BEFORE, user.chatid)
            self._users.append(user)
            return user
        return None

    def _give_back(self, account: Account) -> None:
        if account.is_given and account not in self.target.accounts:
            self.target.accounts.append(account)

    def _made_user(self, login: bool = True, own: bool = False, fresh: bool = False) -> User:
        """Return a user with an account that is given or new, logged in if asked for.

        `own` prefers a new account, `fresh` insists.
        """
        if fresh or (own and self.target.account_source != "none") or not self.target.accounts:
            try:
                return self._new_user(login)
            except NotReached:
                if fresh and self.target.account_source == "none":
                    raise NotOffered(
                        "an account for this case alone", "the server makes none"
                    ) from None
                if not fresh:
                    self._free_a_given_account()
                if fresh or not self.target.accounts:
                    raise
        user = self.guest(self.target.accounts.pop(0))
        if login:
            self._login_given(user)
        return user

    def _free_a_given_account(self) -> None:
        """Log a shared user out whose account was given, where no account is free."""
        for user in self.idle if not self.target.accounts else ():
            if user.account.is_given:
                self.idle.remove(user)
                user.close()
                self._give_back(user.account)
                return

    def holds_given_accounts(self) -> bool:
        """Return whether a user of this case has an account of `--account`, of which there are
        few."""
        return any(user.account.is_given for user in self._users)

    def _login_given(self, user: User, **data: Any) -> None:
        """Log in with a given account, whose place of an earlier case may come free a moment
        late. `data` is what the login holds besides."""
        reply: Packet = {}
        for pause in (0.0, 0.1, 0.4, 1.0):
            time.sleep(pause)
            reply = user.login(**data)
            if user.is_on:
                return
        raise NotReached(
            f"`login_success` for the given account {user.chatid}", f"this came: {shown(reply)}"
        )

    def _new_user(self, login: bool) -> User:
        if self.target.account_source == "none":
            raise NotReached(
                "one more account",
                "the server makes none: give more of them (--account NAME:PASSWORD …)",
            )
        if self.target.account_source in ("", "register"):
            user = self._registered()
            if user is not None:
                if login:
                    reply = user.login()
                    self.checks.check(
                        user.is_on,
                        f"`login_success` for {user.chatid}",
                        f"this came: {shown(reply)}",
                    )
                return user
        user = self.guest(self._new_account())
        user.login()
        if not user.is_on and not self.target.account_source:
            self.target.own_tag()  # the name may be that of a run before
            user.close()
            user = self.guest(self._new_account())
            user.login()
        if not user.is_on:
            if not self.target.account_source:
                self.target.account_source = "none"
                if not self.target.has_given:
                    self.target.note(
                        "the server makes no accounts that the kit could use: give some "
                        "(--account NAME:PASSWORD …)"
                    )
            raise NotReached(
                "an account",
                "the server knows no `register` and no login with a new name: use --account "
                "NAME:PASSWORD",
            )
        if not self.target.account_source:
            self.target.account_source = "first-login"
            self.target.note("the server makes accounts at the first login")
        if not login:
            account = user.account
            user.close()
            return self.guest(account)
        return user

    def _new_account(self) -> Account:
        """Return a name and a password; of the first one in a run the seed does not decide the
        password, so that an account of a run before is not taken for a new one."""
        password = self.names.password()
        if not self.target.account_source:
            password = secrets.token_hex(8)
        return Account(self.names.name(), password)

    def _registered(self) -> User | None:
        """Register an account; its user, not logged in. None where the server does not know
        `register`."""
        for _ in range(3):
            user = self.guest(self._new_account())
            try:
                reply = user.request(
                    "register", {"chatid": user.chatid, "password": user.account.password}
                )
            except (Silence, Closed):
                if self.target.account_source == "register":
                    raise
                user.close()
                return None
            if reply.get("action") == "register_success":
                self.target.account_source = "register"
                return user
            user.close()
            is_taken = reply.get("code", "name_taken") == "name_taken"
            if reply.get("action") != "register_fail" or not is_taken:
                break
            if not self.target.account_source:
                self.target.own_tag()
        if self.target.account_source == "register":
            raise NotReached("`register_success`", f"this came: {shown(reply)}")
        return None

    def extend(self, until: float) -> None:
        """Move the deadline of this case and its connections, called by the runner before a body
        whose `early` ran long ago."""
        self.until = until
        for wire in self._wires:
            wire.until = until
        for user in self._users:
            user.wire.until = until

    def keep_reading(self) -> None:
        """Take in what came on this case's connections while others ran, called by the runner."""
        for user in self._users:
            user.wire.take_in()
        for wire in self._wires:
            wire.take_in()

    def release(self, *, keep: bool) -> None:
        """End the case, called by the runner: keep users for later cases, or close them; close
        all other connections."""
        stay = [
            user
            for user in self._users
            if keep and user.is_on and not user.is_own and not user.wire.is_closed
        ]
        self.idle += stay
        kept = {id(user.wire) for user in stay}
        taken = {user.chatid for user in stay}
        for user in self._users:
            if id(user.wire) not in kept:
                user.close()
                if user.chatid not in taken:
                    self._give_back(user.account)
        for wire in self._wires:
            if id(wire) not in kept:
                wire.close()
        self._users.clear()
        self._wires.clear()
