"""Certificates made by the `openssl` command, and a raw client's socket over TLS.

`CHAT_TEST_TLS=1` in the environment puts every `ServerProcess` and every `RawClient` on TLS: all
protocol tests can run so. Owns a folder of the certificate for that, made once a process. Never
imports the product.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.patience import patience

EVERYWHERE = os.environ.get("CHAT_TEST_TLS") == "1"
NAMES = "IP:127.0.0.1,DNS:localhost"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
"""Made in 5 ms; a key for RSA takes a third of a second."""

needs_openssl = pytest.mark.skipif(
    not shutil.which("openssl"), reason="needs the openssl command, to make certificates"
)


@dataclass(frozen=True)
class Certificate:
    """The files of one self-signed certificate."""

    certfile: str
    keyfile: str

    @property
    def options(self) -> tuple[str, ...]:
        """What makes a server use it."""
        return ("--certfile", self.certfile, "--keyfile", self.keyfile)

    def context(self) -> ssl.SSLContext:
        """For clients that trust it and nothing else."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.certfile)
        return context


def openssl(*arguments: str | Path, folder: Path | None = None) -> None:
    done = subprocess.run(
        ["openssl", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    assert done.returncode == 0, done.stderr


def make_certificate(folder: Path, names: str = NAMES, label: str = "class") -> Certificate:
    """One that is good for a day, for these names (as a subjectAltName)."""
    made = Certificate(str(folder / f"{label}.pem"), str(folder / f"{label}.key"))
    openssl(
        "req",
        "-x509",
        *NEW_KEY,
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=Classroom chat",
        "-addext",
        f"subjectAltName={names}",
        "-keyout",
        made.keyfile,
        "-out",
        made.certfile,
    )
    return made


def make_certificate_of(folder: Path, begin: str, end: str) -> Certificate:
    """One that is good from `begin` to `end`, each as YYYYMMDDhhmmssZ; `req` makes none of the past
    or the future."""
    # Relative names: in a configuration the backslashes of Windows would be escapes.
    (folder / "index.txt").write_text("")
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca = all\n[all]\ndatabase = index.txt\nnew_certs_dir = .\n"
        "rand_serial = yes\ndefault_md = sha256\npolicy = any\n"
        "x509_extensions = extensions\n[any]\ncommonName = supplied\n"
        f"[extensions]\nbasicConstraints = critical, CA:TRUE\nsubjectAltName = {NAMES}\n"
    )
    request = ("req", "-new", *NEW_KEY, "-nodes", "-subj", "/CN=Classroom chat")
    openssl(*request, "-keyout", "other-time.key", "-out", "request", folder=folder)
    openssl(
        *("ca", "-batch", "-selfsign", "-notext", "-config", "ca.cnf"),
        *("-keyfile", "other-time.key", "-startdate", begin, "-enddate", end),
        *("-in", "request", "-out", "other-time.pem"),
        folder=folder,
    )
    return Certificate(str(folder / "other-time.pem"), str(folder / "other-time.key"))


@functools.cache
def everywhere() -> Certificate:
    """The certificate of this process's servers under `CHAT_TEST_TLS=1`."""
    folder = tempfile.mkdtemp(prefix="chat-tls-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return make_certificate(Path(folder))


class TlsSocket:
    """A connected socket over TLS, as far as tests use one; unlike `ssl.SSLSocket` it can be
    half-closed.

    What a server says in the clear instead of the first handshake (that it is full) is passed on as
    it is.
    """

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, name: str = "127.0.0.1"
    ) -> None:
        self.raw = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._lock = threading.Lock()
        self._plain: bytes | None = None  # not None: the server speaks no TLS to us
        self._shake()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)

    def version(self) -> str | None:
        return self._tls.version()

    def _shake(self) -> None:
        heard = False
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.raw.sendall(self._outgoing.read())
            data = self.raw.recv(65536)
            if not heard and data[:1] == b"\0":
                self._plain = data
                return
            heard = True
            self._feed(data)
        self.raw.sendall(self._outgoing.read())

    def _feed(self, data: bytes) -> None:
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def encrypt(self, data: bytes) -> bytes:
        """The bytes that would go over the wire for `data`."""
        with self._lock:
            self._tls.write(data)
            return self._outgoing.read()

    def sendall(self, data: bytes) -> None:
        for at in range(0, len(data), 65536):
            self.raw.sendall(self.encrypt(data[at : at + 65536]))

    def recv(self, size: int) -> bytes:
        if self._plain is not None:
            data, self._plain = self._plain or self.raw.recv(size), b""
            return data
        while True:
            with self._lock:
                try:
                    return self._tls.read(size)
                except ssl.SSLWantReadError:
                    pass
                except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                    return b""
            data = self.raw.recv(65536)
            with self._lock:
                self._feed(data)

    def shutdown(self, how: int) -> None:
        with self._lock:
            with contextlib.suppress(ssl.SSLError):  # it waits for the server's goodbye
                self._tls.unwrap()
            self.raw.sendall(self._outgoing.read())
        self.raw.shutdown(how)
