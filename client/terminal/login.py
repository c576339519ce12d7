"""The questions before the talk: log in or register, name, password, and what to do after a
refusal.

Owns that dialogue. Never stores a password. Called by the thread that reads what is typed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import protocol
from client.base.refusals import plain
from client.base.text import visible
from client.connection import Connection
from client.errors import LoginRefused
from client.terminal.command_context import Quit
from client.terminal.plain_screens import PlainScreen

MAX_LOGINS: Final = 3
SHORT_PASSWORD: Final = 4  # characters


class LoginDialogue:
    """Asks until somebody is logged in or gives up; `say` shows a line of the client's own."""

    def __init__(self, chat: Connection, screen: PlainScreen, say: Callable[[str], None]) -> None:
        self._chat = chat
        self._screen = screen
        self._say = say

    def run(self, user: str | None, password: str | None, *, take_over: bool = False) -> bool:
        """Ask what is not given, and log in; False where the server refused to the end. Raise
        `Quit` where the user rather goes."""
        new, name = (False, user) if user is not None else self._first_question()
        known = name or ""
        for attempt in range(1, MAX_LOGINS + 1):
            answers = self._name_and_password(name, known, password, new)
            if answers is None:
                return False
            known, secret = answers
            if self._try(known, secret, new, take_over):
                return True
            if password is not None or not self._screen.is_terminal:
                return False
            if attempt < MAX_LOGINS:
                new, take_over = self._what_next(new, take_over)
                name = known if user is not None or take_over else None
        self._say(f"Not logged in after {MAX_LOGINS} attempts. Start again to try again.")
        return False

    def _name_and_password(
        self, name: str | None, known: str, password: str | None, new: bool
    ) -> tuple[str, str] | None:
        """Ask for what is None, and again after a slip of a person, which is no attempt; return
        None where a program made it. Enter alone gives the `known` name."""
        while True:
            name = name or self._ask_name(known)
            is_name = self._is_name(name, new)
            if is_name:
                secret = password if password is not None else self._ask_password(new)
                if secret is not None:
                    return name, secret
            if password is not None or not self._screen.is_terminal:
                return None
            name = name if is_name else None

    def _is_name(self, name: str, new: bool) -> bool:
        """Return whether this name may be tried; where not, it was said why."""
        problem = protocol.chatid_problem(name) if new else None if name else "it is empty"
        if problem is not None:
            self._say(f"That can't be a name: {plain(problem).rstrip('.')}.")
        return problem is None

    def change_password(self) -> None:
        """Ask for the old and the new password, and change it."""
        old, new = self._screen.ask_hidden("Old password: "), self._ask_password(True)
        if new is not None:
            self._chat.change_password(old, new)
            self._say("Your password is changed.")

    def _first_question(self) -> tuple[bool, str | None]:
        """Ask whether to register; return that, and the name where one was typed instead."""
        while True:
            words = self._screen.ask("Log in, or register a new name? [login/register] ").strip()
            answer = words.lower()
            if answer in ("l", "login", "log in"):
                return False, None
            if answer in ("r", "register"):
                return True, None
            _quit_if_meant(answer)
            if protocol.chatid_problem(words) is None:
                self._say(f"Logging in as {visible(words)}.")
                return False, words
            self._say("Please type login or register, or quit.")

    def _ask_name(self, known: str) -> str:
        name = self._screen.ask(f"Name [{visible(known)}]: " if known else "Name: ").strip()
        if name.startswith("/"):
            _quit_if_meant(name.lower())
        return name or known

    def _what_next(self, new: bool, take_over: bool) -> tuple[bool, bool]:
        """Ask how to go on after a refusal; return whether to register, and whether to end another
        session of that name.

        Only the words offered are taken, and none is shown while it is typed: many type the
        password again here.
        """
        while True:
            answer = self._screen.ask_hidden("[try/register/take/quit] ").strip().lower()
            if answer == "try":
                return new, take_over
            if answer in ("register", "r"):
                return True, False
            if answer in ("take", "t"):
                return False, True
            _quit_if_meant(answer)
            self._say(
                "Please type try, register, take or quit; what you type here is not shown, and the "
                "password is asked for after that."
            )

    def _ask_password(self, new: bool) -> str | None:
        """Ask for a password, twice where it is new; return None, after saying why, where there is
        none to go on with."""
        secret = self._screen.ask_hidden("Password: ")
        problem = protocol.password_problem(secret)
        if problem is not None:
            self._say(f"That can't be a password: {plain(problem)}.")
            return None
        if new and len(secret) < SHORT_PASSWORD:
            self._say("That is a short password, easy to guess. /password changes it later.")
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
            self._say(_why_refused(error))
            return False
        return True


def _quit_if_meant(answer: str) -> None:
    if answer in ("q", "quit", "exit", "/quit", "/exit"):
        raise Quit


def _why_refused(error: LoginRefused) -> str:
    """Return what to say of a refusal. A server gives one reason for all that can be wrong with a
    login, so that nobody can try out names."""
    if error.code == "login_fail":
        return "Wrong password, no such name, or this name is on in another window."
    return f"The server refused: {visible(str(error).rstrip('.'))}."
