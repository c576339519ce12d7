"""The program of the server: options, wiring, signals, shutdown.

Owns the order of start and end, and the exit status. Never answers a client. Nobody but the entry
point calls it, on the main thread.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import Final

import incoming_text
from server.base import logs
from server.base.settings import Settings
from server.command_line import admin, welcome
from server.command_line.arguments import parse
from server.net.sockets import raise_open_files_limit
from server.net.tls import BadCertificate
from server.running.service import Service
from storage import accounts, archives
from storage.errors import StorageError

log: Final = logging.getLogger("server")
WSAEACCES: Final = 10013
"""Winsock: the port is taken exclusively, or reserved. Its errno is EACCES."""


class Signals:
    """Turns SIGINT, SIGTERM, SIGHUP and Ctrl-Break into one wake-up of the main thread.

    By `signal.set_wakeup_fd`: an Event set by a handler while the main thread waits for it ignored
    SIGINT in 50 of 150 starts on a busy machine, this in none.
    """

    def __init__(self) -> None:
        self._in, self._out = socket.socketpair()
        self._in.setblocking(False)
        signal.set_wakeup_fd(self._in.fileno(), warn_on_full_buffer=False)
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
            number = getattr(signal, name, None)
            if number is None:
                continue
            if name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN:
                continue  # started by nohup
            signal.signal(number, lambda *_: None)

    def wait(self) -> None:
        """Return at the first signal, or when `wake` is called."""
        self._out.recv(1)

    def wake(self) -> None:
        """Wake the main thread as a signal does. Any thread."""
        with suppress(OSError):  # its buffer is full of wake-ups
            self._in.send(b"w")

    def second_ends_at_once(self) -> None:
        """Have the next signal end the process at once; what was acknowledged is on disk
        already."""

        def end() -> None:
            self._out.recv(1)
            os._exit(1)

        threading.Thread(target=end, name="second-signal", daemon=True).start()


def serve(settings: Settings) -> int:
    """Serve until a signal comes or the disk fails; return the exit status."""
    raise_open_files_limit()
    failure: list[str] = []
    signals = Signals()

    def give_up(reason: str) -> None:
        failure.append(reason)
        signals.wake()

    try:
        service = Service(settings, give_up)
    except (StorageError, BadCertificate) as error:
        return _fail(str(error))
    except (OSError, OverflowError) as error:
        return _fail(_cannot_listen(settings, error))
    stop_logging = logs.start(settings.log_level, form=settings.log_format)
    for notice in service.notices:
        log.warning("%s", notice)
    service.start()
    _say_hello(service)
    signals.wait()
    signals.second_ends_at_once()
    log.info("closing%s", f": {failure[0]}" if failure else "")
    still_ran = service.stop()
    if still_ran:
        log.warning(
            "still running after %.0f s: %s",
            settings.shutdown_timeout,
            ", ".join(still_ran + _threads_still_running()),
        )
    writer = service.writer
    turn, cpu = 1000 * writer.longest_turn_seconds, 1000 * writer.longest_turn_cpu_seconds
    log.debug("the writer's longest turn took %.1f ms, and at most %.1f ms of CPU", turn, cpu)
    log.info("closed")
    stop_logging()
    return _fail(failure[0]) if failure else 0


def _threads_still_running() -> list[str]:
    """Return the names of all other threads: for the log, when stopping took too long."""
    return [
        thread.name for thread in threading.enumerate() if thread is not threading.current_thread()
    ]


def _say_hello(service: Service) -> None:
    with service.database.reading() as reader:
        counts, since = archives.counts(reader), accounts.oldest(reader)
    settings = service.settings
    screen = welcome.screen(
        settings,
        settings.host,
        service.listener.port,
        os.path.abspath(service.folder.path),
        counts.accounts,
        sys.stdout.encoding,
        service.notices,
        kept=welcome.kept_words(since, counts.messages, counts.files),
        width=shutil.get_terminal_size().columns if sys.stdout.isatty() else 0,
    )
    with suppress(OSError):  # nobody reads stdout, which is no reason not to serve
        print(screen, flush=True)


def _cannot_listen(settings: Settings, error: OSError | OverflowError) -> str:
    place = f"{settings.host}:{settings.port}"
    number = getattr(error, "errno", None)
    if isinstance(error, socket.gaierror) or number == errno.EADDRNOTAVAIL:
        return (
            f"can't listen on {place}: {settings.host!r} is no address of this machine "
            "(--host 0.0.0.0 takes all of them)"
        )
    if getattr(error, "winerror", None) == WSAEACCES:
        return (
            f"can't listen on {place}: Windows keeps the port, for another program or for itself "
            "(Hyper-V and WSL reserve some: netsh interface ipv4 show excludedportrange tcp lists "
            "them); choose another with --port"
        )
    if number == errno.EADDRINUSE:
        return (
            f"can't listen on {place}: the port is in use, perhaps by a server that still runs; "
            "stop it, or choose another with --port"
        )
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return f"can't listen on {place}: {reason}; see --host and --port"


def _fail(message: str) -> int:
    print(f"chat_server.py: {message}", file=sys.stderr)
    return 1


def _stand_in_for_closed_streams() -> None:
    """Open os.devnull for each standard stream that is closed (`>&-`, pythonw.exe): Python has none
    then, and the next file opened would take its descriptor."""
    # In this order each gets its own number back.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def main() -> int:
    """Do what the command line says; return the exit status."""
    _stand_in_for_closed_streams()
    invocation = parse(sys.argv[1:], os.environ)
    if invocation.command is not None:
        # As Ctrl-C: a copy or an export that is ended so leaves nothing half-made.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        incoming_text.prepare(sys.stdin, "surrogateescape")
        return admin.run(invocation, sys.stdin, sys.stdout, sys.stderr)
    return serve(invocation.settings)
