"""Who may look and who may act: tokens, cookies, and where a request comes from.

Owns the tokens of one run and the cookies that were given for them. Decides by the headers of a
request; knows no socket. Any thread.

A link carries a token in its fragment, which browsers send to nobody. The page's script exchanges
it (`POST /enter`, token in a header) for a cookie that scripts can't read and other sites can't
make a browser send. Every act needs the cookie and the token. The token of control is exchanged
once: who reads the link later, from a terminal on the wall or a history, is refused. The other may
be exchanged again and again.

After a restart a page that is open goes on by itself: who shows token *and* cookie of the run
before gets those of this one. By `Gate.digests` they are known; the digests open nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol, final

from webpage.refusals import Refused

TOKEN_BYTES: Final = 24
"""192 bits."""
TOKEN_HEADER: Final = "X-Page-Token"
CODE_HEADER: Final = "X-Page-Code"
CODE_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""Those that nobody takes for another when a code is read from the wall."""
CODE_LENGTH: Final = 10
"""Nearly 50 bits: at the pace of strangers, guessing takes longer than anybody lives."""
CONTROL: Final = "control"
VIEW: Final = "view"
COOKIE_SECONDS: Final = 12 * 3600
"""A school day: who closes the browser by mistake opens the same link again, and still controls."""
EMPTY: Final[Mapping[str, str]] = MappingProxyType({})
NO_LINK: Final = "Open the page by its whole link, as the program shows it."
WRONG_LINK: Final = (
    "This link is of an earlier run, or it is not whole. Open the link that the program shows now, "
    "or type l and Enter there for a new one."
)
USED_LINK: Final = (
    "This link was used by another browser, and it controls only one: open it there. To look on, "
    "open the link for the wall; to control from here, type l and Enter where the program runs, "
    "and open the new link that it shows."
)


class Headers(Protocol):
    """The headers of a request."""

    def get(self, name: str) -> str | None:
        """Return the first value of a header, None where there is none."""


@dataclass(frozen=True)
class Pass:
    """What a token opens: a role, and the cookie that is given for it."""

    token: str = field(repr=False)
    cookie: str = field(repr=False)
    role: str


@final
class Gate:
    """The tokens of one page at one port."""

    def __init__(self, port: int, code: str = "", earlier: Mapping[str, str] = EMPTY) -> None:
        """Make new tokens; `earlier` are the `digests` of the run before."""
        self._port = port
        self.code = code or "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))
        """By it programs (and no browsers) are known; short enough to be typed."""
        self._lock = threading.Lock()  # guards what follows
        self._passes = {role: _new_pass(role) for role in (CONTROL, VIEW)}
        self._is_taken = False
        self._earlier = dict(earlier)

    def token(self, role: str) -> str:
        """Return the token of a role as it is now."""
        with self._lock:
            return self._passes[role].token

    def renew_control(self) -> None:
        """Give control a new token, for one browser again; who had control loses it."""
        with self._lock:
            self._passes[CONTROL] = _new_pass(CONTROL)
            self._is_taken = False
            self._earlier.pop(CONTROL, None)

    def digests(self) -> dict[str, str]:
        """Return by role what the next run needs to know again who is let in now."""
        with self._lock:
            return {role: _digest(each.token, each.cookie) for role, each in self._passes.items()}

    def enter(self, headers: Headers) -> tuple[Pass, str]:
        """Exchange the token of a request; return what it has now, and the value for `Set-Cookie`.

        Raises Refused for a token that is wrong, of an earlier run, or used by another browser.
        """
        token = headers.get(TOKEN_HEADER) or ""
        with self._lock:
            given = next((e for e in self._passes.values() if _equal(e.token, token)), None)
            if given is None:
                given = self._of_the_run_before(headers, token)
            elif given.role == CONTROL and not self._has_cookie(headers, given):
                if self._is_taken:
                    raise Refused(403, USED_LINK)
                self._earlier.pop(CONTROL, None)
            self._is_taken = self._is_taken or given.role == CONTROL
        cookie = f"{self._cookie_name(given.role)}={given.cookie}"
        ends = f"Max-Age={COOKIE_SECONDS}"
        return given, f"{cookie}; Path=/; HttpOnly; SameSite=Strict; {ends}"

    def _of_the_run_before(self, headers: Headers, token: str) -> Pass:
        """Return what a page gets now that was let in by the run before; Refused for any other."""
        for role, digest in self._earlier.items():
            for cookie in self._cookies(headers, role):
                if _equal(_digest(token, cookie), digest):
                    return self._passes[role]
        raise Refused(403, WRONG_LINK)

    def check_viewer(self, headers: Headers, role: str) -> None:
        """Refuse who asks to look in a role without its cookie."""
        with self._lock:
            given = self._passes.get(role)
            if given is None or not self._has_cookie(headers, given):
                raise Refused(401, NO_LINK)

    def has_control(self, headers: Headers) -> bool:
        """Return whether a request comes from the browser that controls."""
        with self._lock:
            return self._has_cookie(headers, self._passes[CONTROL])

    def check_program(self, headers: Headers) -> None:
        """Refuse who has not the code, and every browser: each tells its Origin with a POST."""
        if headers.get("Origin") is not None or headers.get("Cookie") is not None:
            raise Refused(403, "This address is for programs.")
        if not _equal(headers.get(CODE_HEADER) or "", self.code):
            raise Refused(403, "The code is another one: see what the wall shows.")

    def actor(self, headers: Headers) -> str:
        """Return the role of whoever asks to act, by token and cookie; Refused without both."""
        token = headers.get(TOKEN_HEADER) or ""
        with self._lock:
            for each in self._passes.values():
                if _equal(each.token, token) and self._has_cookie(headers, each):
                    return each.role
        raise Refused(403, NO_LINK)

    def _cookie_name(self, role: str) -> str:
        """Return the name of a role's cookie: browsers send it to every port of a machine."""
        return f"webpage-{self._port}-{role}"

    def _has_cookie(self, headers: Headers, given: Pass) -> bool:
        return any(_equal(each, given.cookie) for each in self._cookies(headers, given.role))

    def _cookies(self, headers: Headers, role: str) -> list[str]:
        """Return the values that a request tells for the cookie of a role."""
        pairs = [each.strip().partition("=") for each in (headers.get("Cookie") or "").split(";")]
        return [value for name, _, value in pairs if name == self._cookie_name(role)]


def check_source(headers: Headers, hosts: Collection[str], *, must_tell_origin: bool) -> None:
    """Refuse a request that another site's page may have caused.

    `Host` must be one of `hosts` (else a name of an attacker leads here: DNS rebinding), and
    `Origin` the page's own, which browsers tell with each POST.
    """
    host = (headers.get("Host") or "").lower()
    if host not in hosts:
        raise Refused(421, "This page has another address: see the link that the program shows.")
    origin = headers.get("Origin")
    if origin is None and must_tell_origin:
        raise Refused(403, "The request has no Origin: only this page may ask.")
    if origin is not None and origin.lower() != f"http://{host}":
        raise Refused(403, "The request comes from another page.")
    if (headers.get("Sec-Fetch-Site") or "none") not in ("same-origin", "none"):
        raise Refused(403, "The request comes from another site.")


def _new_pass(role: str) -> Pass:
    return Pass(secrets.token_urlsafe(TOKEN_BYTES), secrets.token_urlsafe(TOKEN_BYTES), role)


def _digest(token: str, cookie: str) -> str:
    """Return what a pass is known by later; of 384 random bits, so nobody finds them from it."""
    return hashlib.sha256(f"{token} {cookie}".encode("utf-8", "surrogatepass")).hexdigest()


def _equal(one: str, other: str) -> bool:
    """Compare in a time that tells nothing."""
    return hmac.compare_digest(one.encode("utf-8"), other.encode("utf-8", "surrogatepass"))
