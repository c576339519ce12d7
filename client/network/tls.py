"""TLS to a server: its certificate and the name in it are checked, and two threads may share the
connection.

Owns the encryption of one socket, an `ssl.SSLObject` over memory BIOs under a lock that is never
held while the network waits, and the words for a handshake that fails. One thread receives and one
sends, as those of `client.network.link`; any may shut it down.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from client.base.deadline import Deadline
from client.base.waiting import wait_for_socket
from client.errors import CannotConnect
from client.network.dialing import dial
from client.records import as_object, code_and_message
from protocol import BadFrame, ErrorCode, FrameReader

RAW_READ_BYTES: Final = 64 * 1024
RECORD_BYTES: Final = 16 * 1024
"""The most plaintext in one TLS record (RFC 8446, section 5.1)."""
PIECE_BYTES: Final = 4 * RECORD_BYTES
"""Encrypted at a time, so that the receiving thread waits for the lock some 0.1 ms at most."""
LOOK_SECONDS: Final = 3.0
"""For a second look at a server, to tell what went wrong at the first."""
MOST_NAMES: Final = 5

# with which a server's answer in TLS begins (RFC 8446, section 5.1)
_RECORD_TYPES: Final = frozenset((0x14, 0x15, 0x16, 0x17))
_FRAME_BEGINS: Final = (
    0  # the first byte of every frame under 16 MiB: a chat server that speaks plain TCP
)
# From OpenSSL's x509_vfy.h, as `SSLCertVerificationError.verify_code` has them.
_NOT_YET_VALID, _EXPIRED = 9, 10
# No issuer, another signature, self-signed, self-signed at its root, issuer not known, one alone.
_UNTRUSTED: Final = frozenset((2, 7, 18, 19, 20, 21))
_OTHER_NAME: Final = frozenset((62, 64))  # for a name, for an address


class Trust:
    """Whom to trust: the certificates in `cafile` and nobody else, or what this machine trusts.
    Never changes; any thread.

    Raises `CannotConnect` where `cafile` can't be used.
    """

    def __init__(self, cafile: str | None = None) -> None:
        self.cafile = cafile
        try:
            self.context = _context(cafile)
        except (OSError, ValueError) as error:
            reason = (
                error.strerror
                if isinstance(error, OSError) and not isinstance(error, ssl.SSLError)
                else None
            )
            raise CannotConnect(
                f"The certificate file {cafile} can't be used: "
                f"{reason or 'there is no certificate in it'}.",
                "Expected is the teacher's certificate, a text file that begins with -----BEGIN "
                "CERTIFICATE-----.",
            ) from error


def _context(cafile: str | None) -> ssl.SSLContext:
    """Return the settings of a handshake: TLS 1.2 at least; certificate and name are checked. (Not
    `create_default_context`: its strictness differs by Python.)"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    # A certificate in the file is trusted as it is, also where somebody else has signed it.
    context.verify_flags |= (
        ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    )
    if cafile is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        context.load_verify_locations(cafile)
    return context


class TlsSocket:
    """The connected socket `sock`, encrypted: as much of a socket as a link needs. `handshake`
    comes first."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        # guards the three above; may be taken by who holds the next one
        self._lock = threading.Lock()
        # held from encrypting to sending, so that records leave in their order
        self._sends = threading.Lock()

    def handshake(self, deadline: Deadline) -> bytes:
        """Agree on keys by `deadline`; return what the server has already said after that.

        Raise OSError, or `NotTls` where something else answers.
        """
        heard = False
        while True:
            try:
                self._tls.do_handshake()
                self._push(deadline)
                return self._decrypt()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                self._push(deadline)  # the alert that tells the server why
                raise
            self._push(deadline)
            wait_for_socket(self._sock, selectors.EVENT_READ, deadline)
            data = self._sock.recv(RAW_READ_BYTES)
            if not data:
                raise ConnectionResetError("the server hung up during the handshake")
            if not heard and data[0] not in _RECORD_TYPES:
                raise NotTls(data)
            heard = True
            self._incoming.write(data)
            _limit(self._sock, deadline)

    def getpeercert(self) -> Mapping[str, Any]:
        """Return the server's certificate as `ssl` tells it; after the handshake."""
        return self._tls.getpeercert() or {}

    def fileno(self) -> int:
        """Return the number of the socket, for a selector. Readable means that bytes came, not that
        they make a whole record."""
        return self._sock.fileno()

    def recv(self, size: int) -> bytes:
        """Return all that one read of the socket gave, decrypted; b"" after the server's goodbye.

        Raise `ssl.SSLWantReadError` where it was no whole record, and OSError where the stream
        ended without a goodbye: the rest was cut off, or somebody cut it off.
        """
        data = self._sock.recv(size)
        with self._lock:
            if data:
                self._incoming.write(data)
            try:
                # b"" may stand for "nothing yet" and for "no more"
                return self._decrypt() or self._tls.read(RECORD_BYTES)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLWantReadError:
                if data:
                    raise
                raise ConnectionAbortedError("it was cut off") from None

    def _decrypt(self) -> bytes:
        pieces: list[bytes] = []
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while piece := self._tls.read(RECORD_BYTES):
                pieces.append(piece)
        return b"".join(pieces)

    def sendall(self, data: bytes) -> None:
        """Encrypt and send; waits as the socket under it does. What the other thread's reading made
        to be sent goes along."""
        rest = memoryview(data)
        with self._sends:
            while rest:
                with self._lock:
                    rest = rest[self._tls.write(rest[:PIECE_BYTES]) :]
                    encrypted = self._outgoing.read()
                self._sock.sendall(encrypted)

    def shutdown(self, how: int) -> None:
        """End the connection without waiting; says goodbye first, so that the server knows nothing
        was cut off."""
        # Otherwise it is in the midst of a record, and what ends there is cut off.
        if self._sends.acquire(blocking=False):
            try:
                self._say_goodbye()
            except (OSError, ValueError):
                pass  # it is gone already
            finally:
                self._sends.release()
        self._sock.shutdown(how)

    def _say_goodbye(self) -> None:
        with self._lock:
            # It wants to wait for the goodbye of the server; we do not.
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            goodbye = self._outgoing.read()
        with selectors.DefaultSelector() as selector:
            selector.register(self._sock, selectors.EVENT_WRITE)
            if goodbye and selector.select(0):
                self._sock.send(goodbye)

    def close(self) -> None:
        """Give the socket back to the system."""
        self._sock.close()

    def _push(self, deadline: Deadline) -> None:
        data = self._outgoing.read()
        if data:
            _limit(self._sock, deadline)
            self._sock.sendall(data)
        _limit(self._sock, deadline)


def _limit(sock: socket.socket, deadline: Deadline) -> None:
    """Let the next step of `sock` wait no longer than the deadline; raise TimeoutError where it is
    over."""
    left = deadline.left()
    if not left:
        raise TimeoutError
    sock.settimeout(left)


class NotTls(OSError):
    """The server answered the handshake with `data`, which is no TLS."""

    def __init__(self, data: bytes) -> None:
        super().__init__("no TLS")
        self.data = data


# --- Opening, and what went wrong in plain words --------------------------------------------------


def secure(
    sock: socket.socket, trust: Trust, host: str, port: int, deadline: Deadline
) -> tuple[TlsSocket, bytes]:
    """Make the connected `sock` one of TLS by the deadline; return it, and what came already behind
    the handshake.

    Raise `CannotConnect` with plain words; `sock` is the caller's to close.
    """
    try:
        result = TlsSocket(sock, trust.context, _certificate_name(host))
        return result, result.handshake(deadline)
    except NotTls as error:
        raise _no_tls(sock, error.data, host, port, deadline) from error
    except ssl.SSLCertVerificationError as error:
        raise _not_accepted(error, trust, host, port, deadline) from error
    except TimeoutError as error:
        raise CannotConnect(
            f"{host} did not finish the TLS handshake on port {port} "
            f"within {deadline.seconds:g} seconds.",
            "Check that the port is the chat server's, and that the server was started with "
            "--certfile; then try again.",
        ) from error
    except ssl.SSLError as error:
        raise CannotConnect(
            f"{host} and this machine could not agree on TLS: {error.reason or error}.",
            "Check that both have a Python whose ssl module knows TLS 1.2 or newer.",
        ) from error
    except (OSError, ValueError) as error:
        raise CannotConnect(
            f"{host} hung up during the TLS handshake on port {port}.",
            "Check that the port is the chat server's, and that the server was started with "
            "--certfile; then try again.",
        ) from error


def speaks_tls(host: str, port: int, deadline: Deadline) -> bool:
    """Return whether a server answers a TLS hello in TLS by the deadline, to tell why a plain
    connection failed. Trusts nothing and sends nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with dial(host, port, deadline) as sock:
            TlsSocket(sock, context, _certificate_name(host)).handshake(deadline)
    except ssl.SSLError:
        pass  # it did answer in TLS, for otherwise this would be `NotTls`
    except (OSError, ValueError):
        return False
    return True


def _certificate_name(host: str) -> str:
    # an IPv6 address may name the interface, which no certificate knows
    return host.partition("%")[0]


def _no_tls(
    sock: socket.socket, data: bytes, host: str, port: int, deadline: Deadline
) -> CannotConnect:
    if data[0] != _FRAME_BEGINS:
        return CannotConnect(
            f"What answers on {host} port {port} is no chat server, and speaks no TLS.",
            "Check that the port is the one the server's first screen shows.",
        )
    code, message = _refusal(sock, data, deadline)
    if code == ErrorCode.SERVER_FULL:  # a server that is full refuses before any handshake
        return CannotConnect(f"The server is full: {message}.", "Try again in a while.")
    return CannotConnect(
        f"The server on {host} port {port} speaks plain TCP, without TLS.",
        "Ask the teacher: if the lines on the server's first screen have no --tls, leave it out "
        "here, too; nothing is encrypted then.",
    )


def _refusal(sock: socket.socket, data: bytes, deadline: Deadline) -> tuple[str, str]:
    """Read code and message of a plain error packet; both are "" where none comes. Nothing of it is
    certain: anybody may have sent it."""
    frames = FrameReader(RAW_READ_BYTES)
    with contextlib.suppress(OSError, ValueError, RecursionError, BadFrame):
        while data:
            frames.feed(data)
            payload = frames.next_frame()
            if payload is not None:
                return code_and_message(as_object(json.loads(payload)), "error")
            wait_for_socket(sock, selectors.EVENT_READ, deadline.within(LOOK_SECONDS))
            data = sock.recv(RAW_READ_BYTES)
    return "", ""


def _not_accepted(
    error: ssl.SSLCertVerificationError, trust: Trust, host: str, port: int, deadline: Deadline
) -> CannotConnect:
    code = error.verify_code
    if code in _UNTRUSTED and trust.cafile is None:
        return CannotConnect(
            f"The certificate of {host} is signed by nobody whom this machine trusts.",
            "Get the teacher's certificate file, and name it: --cafile FILE",
        )
    if code in _UNTRUSTED:
        return CannotConnect(
            f"The certificate of {host} is another than the one in {trust.cafile}.",
            "Perhaps the teacher has made a new one: get that file. Otherwise somebody else "
            "answers there; don't log in.",
        )
    if code in _OTHER_NAME:
        names = _names(trust, host, port, deadline)
        return CannotConnect(
            "The certificate of the server is not for "
            f"{host}{f', but for {names}' if names else ''}.",
            "Use a name or address that it is for, or ask the teacher for a certificate that has "
            f"{host}, too.",
        )
    if code in (_NOT_YET_VALID, _EXPIRED):
        state = "has expired" if code == _EXPIRED else "is not valid yet"
        return CannotConnect(
            f"The certificate of {host} {state}; the clock of this machine says "
            f"{time.strftime('%Y-%m-%d %H:%M')}.",
            "Set the clock if it is wrong. If it is right, the teacher has to make a new "
            "certificate.",
        )
    return CannotConnect(
        f"The certificate of {host} can't be accepted: {error.verify_message}.",
        "Ask the teacher to make a new certificate.",
    )


def certificate_of(trust: Trust, host: str, port: int, deadline: Deadline) -> Mapping[str, Any]:
    """Return the server's certificate as `ssl` tells it, by a handshake of its own that checks all
    but the name. Sends nothing else, and takes `LOOK_SECONDS` at most.

    (`ssl` shows no certificate of a handshake that has failed.) Raises OSError or ValueError.
    """
    context = _context(trust.cafile)
    context.check_hostname = False
    by = deadline.within(LOOK_SECONDS)
    with dial(host, port, by) as sock:
        tls = TlsSocket(sock, context, _certificate_name(host))
        tls.handshake(by)
        found = tls.getpeercert()
        tls.shutdown(socket.SHUT_RDWR)
    return found


def _names(trust: Trust, host: str, port: int, deadline: Deadline) -> str:
    """Return the names in the server's certificate; "" where it can't be looked at."""
    try:
        found = certificate_of(trust, host, port, deadline)
    except (OSError, ValueError):
        return ""
    names = [
        str(value)
        for kind, value in found.get("subjectAltName", ())
        if kind in ("DNS", "IP Address")
    ]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return (", ".join(names[:MOST_NAMES]) + more) or "no name at all"
