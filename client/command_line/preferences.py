"""What the client remembers between two starts: server, name and options in an INI file, and the
key of a session that is kept.

Owns the places and forms of both files. Never asks the user anything and knows no network. For the
main thread; the key may be kept by any, one at a time.

    Linux      $XDG_CONFIG_HOME/classroom-chat/client.ini, usually below ~/.config
    macOS      ~/Library/Application Support/classroom-chat/client.ini
    Windows    %LOCALAPPDATA%\\classroom-chat\\client.ini
    portable   chat-client.ini beside the program

`session.ini` lies in the same folder, for this account alone; beside the program there is none,
since others read there.
"""

from __future__ import annotations

import configparser
import difflib
import io
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import incoming_text
from client.base import files

FOLDER: Final = "classroom-chat"
SETTINGS_NAME: Final = "client.ini"
PORTABLE_NAME: Final = "chat-client.ini"
SESSION_NAME: Final = "session.ini"
SECTION: Final = "client"
MAX_BYTES: Final = 64 * 1024

KEYS: Final = ("server", "user", "room", "tls", "cafile", "color", "download-folder", "stay")
"""What can be remembered, under the names of the options. Each is also a variable: CHAT_SERVER,
CHAT_DOWNLOAD_FOLDER …"""
PREFIX: Final = "CHAT_"
NEARNESS: Final = 0.65
"""From which ratio of `difflib` on two names are one mistyped: TSL for TLS is 0.67."""
OTHERS: Final = ("CHAT_CERTFILE", "CHAT_MAX_FILE")
"""The server's variables that look like ours."""
_YES: Final = frozenset(("yes", "on", "true", "1"))
_NO: Final = frozenset(("no", "off", "false", "0", ""))


class BadSettings(Exception):
    """A settings file can't be used; the text names it, and what was expected."""


@dataclass(frozen=True)
class Value:
    """One setting, and where it comes from."""

    text: str
    origin: str


@dataclass(frozen=True)
class KeptSession:
    """A session that can be taken up without a password. `server` is HOST:PORT as it was typed."""

    server: str
    user: str
    tls: bool
    key: str = field(repr=False)


def own_folder(
    environ: Mapping[str, str] = os.environ, platform: str = sys.platform, home: Path | None = None
) -> Path | None:
    """Return the system's own place for the settings of this account; None where it has no home, as
    in some containers."""
    chosen = environ.get("LOCALAPPDATA" if platform == "win32" else "XDG_CONFIG_HOME", "")
    # A relative path is to be ignored (XDG Base Directory Specification).
    if chosen and platform != "darwin" and (platform == "win32" or os.path.isabs(chosen)):
        return Path(chosen) / FOLDER
    own = incoming_text.home_folder()
    if home is None and own is None:
        return None
    home = home or Path(own or "")
    if platform == "win32":
        return home / "AppData" / "Local" / FOLDER
    if platform == "darwin":
        return home / "Library" / "Application Support" / FOLDER
    return home / ".config" / FOLDER


def variable(key: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + key.replace("-", "_").upper()


def mistyped_variables(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return each variable that is set and looks like a setting, but is none, with the setting that
    is nearest. Other `CHAT_` variables are left alone: the server and the kit have theirs."""
    rights = {variable(key)[len(PREFIX) :]: variable(key) for key in KEYS}
    found = []
    for name, value in environ.items():
        known = name in rights.values() or name in OTHERS
        if value and name.upper().startswith(PREFIX) and not known:
            near = difflib.get_close_matches(name.upper()[len(PREFIX) :], rights, 1, NEARNESS)
            found += [(name, rights[word]) for word in near]
    return sorted(found)


def as_flag(value: Value, key: str) -> bool:
    """Return whether a setting says yes; raise `BadSettings` where it says neither yes nor no."""
    word = value.text.strip().lower()
    if word not in _YES | _NO:
        raise BadSettings(f"{value.origin}: {key} is {value.text!r}; expected yes or no")
    return word in _YES


class Store:
    """The files of one place. `portable` is the program's folder where they lie beside it, else
    None."""

    def __init__(
        self, portable: Path | None = None, environ: Mapping[str, str] = os.environ
    ) -> None:
        self.is_portable = portable is not None
        self._environ = environ
        self._folder = portable if portable is not None else own_folder(environ)
        self.path = self._in_folder(PORTABLE_NAME if self.is_portable else SETTINGS_NAME)
        self._session_path = None if self.is_portable else self._in_folder(SESSION_NAME)

    def _in_folder(self, name: str) -> Path | None:
        return None if self._folder is None else self._folder / name

    # --- Settings ---

    def load(self) -> dict[str, Value]:
        """Return what is set, by key: variables beat the file. Raise `BadSettings`."""
        values = {key: Value(text, str(self.path)) for key, text in self._read().items()}
        for key in KEYS:
            text = self._environ.get(variable(key))
            if text:
                values[key] = Value(text, variable(key))
        return values

    def _read(self) -> dict[str, str]:
        text = None if self.path is None else _text_of(self.path)
        if text is None:
            return {}
        file = configparser.ConfigParser(interpolation=None)
        try:
            file.read_string(text, str(self.path))
        except configparser.Error as error:
            raise BadSettings(f"{self.path}: {' '.join(str(error).split())}") from error
        for section in file.sections():
            if section != SECTION:
                raise BadSettings(
                    f"{self.path}: there is a section [{section}]; expected [{SECTION}] alone"
                )
        found = dict(file[SECTION]) if file.has_section(SECTION) else {}
        for key in found:
            if key not in KEYS:
                raise BadSettings(
                    f"{self.path}: {key!r} is no setting; expected one of {', '.join(KEYS)}"
                )
        return found

    def save(self, values: Mapping[str, str]) -> None:
        """Remember these settings, and those of the file that `values` does not name. Raise OSError
        or `BadSettings`."""
        if self.path is None:
            raise BadSettings(
                "there is no home folder to keep settings in: set the variable HOME, or take "
                "--portable"
            )
        together = {**self._read(), **values}
        file = configparser.ConfigParser(interpolation=None)
        file[SECTION] = {key: together[key] for key in KEYS if key in together}
        self._write(self.path, file)

    # --- The key of a session ---

    def kept_session(self) -> KeptSession | None:
        """Return the session that can be taken up, if one is kept and nobody else could have read
        its key."""
        if self._session_path is None or not _is_private(self._session_path):
            return None
        file = configparser.ConfigParser(interpolation=None)
        try:
            file.read_string(_text_of(self._session_path) or "")
            section = file["session"]
            return KeptSession(
                section["server"], section["user"], section["tls"] == "yes", section["key"]
            )
        except (configparser.Error, KeyError, BadSettings):
            return None

    def keep_session(self, session: KeptSession) -> bool:
        """Keep the key, readable for this account alone; False where that is not possible here."""
        if self._session_path is None:
            return False
        file = configparser.ConfigParser(interpolation=None)
        file["session"] = {
            "server": session.server,
            "user": session.user,
            "tls": "yes" if session.tls else "no",
            "key": session.key,
        }
        try:
            self._write(self._session_path, file)
        except OSError:
            return False
        if not _is_private(self._session_path):  # a file system without rights, such as FAT
            self.forget_session()
            return False
        return True

    def forget_session(self) -> None:
        """Remove the key."""
        if self._session_path is None:
            return
        files.remove(self._session_path)  # one that could not be removed has ended on the server

    def _write(self, path: Path, file: configparser.ConfigParser) -> None:
        """Replace a file as a whole; it is readable for this account alone from its first
        moment."""
        text = io.StringIO()
        file.write(text)
        if not self.is_portable:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
        try:
            number = os.open(
                temporary,
                os.O_WRONLY | os.O_CREAT | os.O_EXCL,
                0o644 if self.is_portable else 0o600,
            )
            with open(number, "w", encoding="utf-8") as handle:
                handle.write(text.getvalue())
            files.replace(temporary, path)
        finally:
            files.remove(temporary)


def _text_of(path: Path) -> str | None:
    """Return the text of a file; None where there is none. Raise `BadSettings` where it can't be
    read."""
    try:
        return incoming_text.read(path, MAX_BYTES)
    except FileNotFoundError:
        return None
    except (OSError, incoming_text.BadText) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadSettings(f"{path} can't be read: {reason}") from error


def _is_private(path: Path) -> bool:
    """Return whether a file is this account's alone. (On Windows %LOCALAPPDATA% is, by the system's
    own rules.)"""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    if sys.platform == "win32":
        return True
    return found.st_uid == os.getuid() and found.st_mode & 0o170077 == 0o100000
