"""TLS for a client's connection: an `SSLObject` over memory BIOs, so that one thread receives while
others send.

Owns the encryption of one stream, under a lock that is never held while the socket waits. The
listening socket stays plain: the handshake runs in the client's own thread, and the time to log in
bounds it. Without TLS nothing of this is used.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import Final

from server.base.locks import Rank, RankedLock
from server.base.logs import printable
from server.net.sockets import Stream

RECORD_BYTES: Final = 16 * 1024
"""The most plaintext in one TLS record (RFC 8446, section 5.1)."""
RAW_READ_BYTES: Final = 64 * 1024
MOST_UNSENT_BYTES: Final = 64 * 1024
"""A client that takes nothing may still ask for so much that TLS itself answers, as new keys."""
_MOST_BYTES: Final = 1024 * 1024
"""Of a file of PEM, so much is looked at to say what is wrong with it."""


class BadCertificate(Exception):
    """The files for TLS can't be used; the message is one line that says why."""


def context_for(certfile: str, keyfile: str) -> ssl.SSLContext | None:
    """Return the TLS context for these files; None where there is no `certfile`. An empty
    `keyfile` means that the key is in the certificate's file. Raises BadCertificate."""
    if not certfile:
        if keyfile:
            raise BadCertificate("--keyfile needs the --certfile that it belongs to")
        return None
    try:
        return _server_context(certfile, keyfile or None)
    except OSError as error:
        files = " and ".join(printable(name, 200) for name in (certfile, keyfile) if name)
        raise BadCertificate(
            f"can't use {files} for TLS: {_reason(certfile, keyfile or certfile, error)}"
        ) from error


_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_KEY: Final = b"PRIVATE KEY-----"
_LOCKED: Final = b"ENCRYPTED"
_OF_OTHERS: Final = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
"""What OpenSSL says of a key that belongs to another certificate."""
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
"""Byte-order marks of a file that PowerShell wrote, in which OpenSSL finds no PEM."""


def _reason(certfile: str, keyfile: str, error: OSError) -> str:
    """Return in words why the files were not taken, and what to do; OpenSSL itself says no more
    than "PEM lib"."""
    content: dict[str, bytes] = {}
    for name in (certfile, keyfile):
        shown = printable(name, 200)
        try:
            with open(name, "rb") as file:
                content[name] = file.read(_MOST_BYTES)
        except OSError as unreadable:
            return f"{shown} can't be read: {unreadable.strerror or unreadable}"
        if content[name].startswith(_UTF_16):
            return f"{shown} is UTF-16, as PowerShell writes it: save it as ASCII"
    certificate, key = printable(certfile, 200), printable(keyfile, 200)
    if _CERTIFICATE not in content[certfile]:
        swapped = " but a key: name the certificate with --certfile" * (_KEY in content[certfile])
        return f"{certificate} holds no certificate in PEM{swapped}"
    if _KEY not in content[keyfile]:
        return f"{key} holds no private key in PEM: name the key's file with --keyfile"
    if _LOCKED in content[keyfile]:
        return (
            f"the key in {key} is locked by a passphrase, which nobody types at a server's start: "
            f"'openssl pkey -in {key} -out open.key' makes one without"
        )
    reason = getattr(error, "reason", None) or "unknown to OpenSSL"
    if reason in _OF_OTHERS:
        return (
            f"the key in {key} belongs to another certificate ({reason}): name the key that was "
            "made with it"
        )
    return f"one of them is damaged ({reason}): make both anew, as README shows"


def _server_context(certfile: str, keyfile: str | None) -> ssl.SSLContext:
    """Return a context for TLS 1.2 at least, with this certificate chain and key. Raises OSError
    (ssl.SSLError is one) where the files can't be read or don't belong together."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A handshake costs the server more than its client: one for each connection, also with OpenSSL
    # 1.1.1, which takes more by default.
    context.options |= ssl.OP_NO_RENEGOTIATION
    # The empty password: never ask at the terminal for a key's passphrase.
    context.load_cert_chain(certfile, keyfile, password=lambda: b"")
    return context


class TlsStream(Stream):
    """A stream whose bytes are encrypted on the way. `receive` makes the handshake first."""

    __slots__ = ("_ahead", "_incoming", "_is_shaken", "_lock", "_outgoing", "_tls", "_unsent")

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, *, force_fallback: bool = False
    ) -> None:
        super().__init__(sock, force_fallback=force_fallback)
        self._lock = RankedLock(Rank.TLS, "tls")
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._is_shaken = False
        # encrypted, not yet taken by the socket: one record and what a handshake adds, at most
        self._unsent = b""
        # plaintext bytes encrypted in _unsent that the caller was told are still to be sent
        self._ahead = 0

    def receive(self, size: int) -> bytes:
        """Wait for decrypted bytes; return b"" at the end of the stream. Raises OSError where the
        peer doesn't speak TLS rightly, or asks for answers of TLS and takes none."""
        while True:
            with self._lock:
                if len(self._unsent) > MOST_UNSENT_BYTES:
                    raise ConnectionError("it takes none of the answers of TLS")
                try:
                    if not self._is_shaken:
                        self._tls.do_handshake()
                        self._is_shaken = True
                    return self._tls.read(size)
                except ssl.SSLWantReadError:
                    pass
                except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                    return b""
                finally:
                    self._push()  # handshake, alert or key update: what the reading made to be sent
            data = super().receive(RAW_READ_BYTES)
            if not data:
                # OpenSSL is not told: it would send a fatal alert, and the client could not be
                # answered any more.
                return b""
            with self._lock:
                self._incoming.write(data)

    def send_now(self, data: bytes | memoryview) -> int:
        """Encrypt and send what the socket takes without waiting.

        A record that it takes only in part counts as not taken. The next call must begin with the
        same bytes, as an outbox's do; they are not encrypted again (the manner of SSL_write without
        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER).
        """
        taken = 0
        with self._lock:
            if not self._push():
                return 0
            taken, self._ahead = self._ahead, 0
            while taken < len(data):
                record = data[taken : taken + RECORD_BYTES]
                try:
                    self._tls.write(record)
                except ssl.SSLWantReadError:
                    return taken  # the handshake is not over, or the peer renews its keys first
                if not self._push():
                    self._ahead = len(record)
                    return taken
                taken += len(record)
        return taken

    def shut(self, how: int = socket.SHUT_RDWR) -> None:
        """Shut one or both directions down; say goodbye first, so that the peer knows nothing was
        cut off."""
        if not self._lock.held_here():
            with self._lock:
                # The handshake is not over, or the peer's goodbye is missing: we don't wait for it.
                with suppress(OSError, ValueError):
                    self._tls.unwrap()
                with suppress(OSError):
                    self._push()
        super().shut(how)

    def _push(self) -> bool:
        """Send what is encrypted, without waiting; return whether all of it is gone."""
        assert self._lock.held_here()
        self._unsent += self._outgoing.read()
        while self._unsent:
            sent = super().send_now(self._unsent)
            if not sent:
                return False
            self._unsent = self._unsent[sent:]
        return True
