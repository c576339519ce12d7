"""The questions before the talk: log in or register, name, password, and taking a place that is
still held.

Owns that dialogue. Never stores a password. Called by the thread that reads what is typed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import protocol
from client.base.text import visible
from client.connection import Connection
from client.errors import LoginRefused
from client.terminal.plain_screens import PlainScreen

MAX_LOGINS: Final = 3


class LoginDialogue:
    """Asks until somebody is logged in or gives up; `say` shows a line of the client's own."""

    def __init__(self, chat: Connection, screen: PlainScreen, say: Callable[[str], None]) -> None:
        self._chat = chat
        self._screen = screen
        self._say = say

    def run(self, user: str | None, password: str | None, *, take_over: bool = False) -> bool:
        """Ask what is not given, and log in; False where the server refused to the end."""
        new = user is None and self._is_new()
        for attempt in range(MAX_LOGINS):
            name = user or self._screen.ask("Name: ").strip()
            problem = protocol.chatid_problem(name) if new else None if name else "expected a name"
            if problem is not None:
                self._say(f"That can't be a name: {problem}.")
            else:
                secret = password if password is not None else self._ask_password(new)
                if secret is not None and self._try(name, secret, new, take_over):
                    return True
            if password is not None or not self._screen.is_terminal or attempt == MAX_LOGINS - 1:
                break
            if not new and not take_over:
                take_over = self._takes_over()
        return False

    def change_password(self) -> None:
        """Ask for the old and the new password, and change it."""
        old, new = self._screen.ask_hidden("Old password: "), self._ask_password(True)
        if new is not None:
            self._chat.change_password(old, new)
            self._say("Your password is changed.")

    def _is_new(self) -> bool:
        while True:
            answer = (
                self._screen.ask("Log in, or register a new name? [login/register] ")
                .strip()
                .lower()
            )
            if answer in ("", "l", "login", "log in"):
                return False
            if answer in ("r", "register"):
                return True
            self._say("Please type login or register.")

    def _takes_over(self) -> bool:
        """Ask whether the next attempt is to end another session. Only the words offered are taken:
        many type the password again here."""
        while True:
            answer = (
                self._screen.ask(
                    "Try again, or take the place of a session of yours that is still open? "
                    "[try/take] "
                )
                .strip()
                .lower()
            )
            if answer in ("", "try"):
                return False
            if answer in ("take", "t"):
                return True
            self._say("Please type try or take; the password is asked for after that.")

    def _ask_password(self, new: bool) -> str | None:
        """Ask for a password, twice where it is new; return None, after saying why, where there is
        none to go on with."""
        secret = self._screen.ask_hidden("Password: ")
        problem = protocol.password_problem(secret)
        if problem is not None:
            self._say(f"That can't be a password: {problem}.")
            return None
        if (
            new
            and self._screen.is_terminal
            and self._screen.ask_hidden("Password again: ") != secret
        ):
            self._say("The two passwords differ.")
            return None
        return secret

    def _try(self, name: str, password: str, new: bool, take_over: bool) -> bool:
        """Log in, after registering where the name is new; False, after saying why, where it was
        refused."""
        try:
            if new:
                self._chat.register(name, password)
            self._chat.login(name, password, take_over=take_over)
        except LoginRefused as error:
            self._say(f"The server refused: {visible(str(error).rstrip('.'))}.")
            return False
        return True
